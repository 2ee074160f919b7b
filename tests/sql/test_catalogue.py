"""The catalogue keeps its contract: names, signatures, columns, headers, comments, and what `help` shows."""

from __future__ import annotations

import re
from collections import Counter

import duckdb
import pytest

import sqlanalysis
from sqlanalysis.db import templates

from ..support.edge_cases import CALLS, EDGES, ONE_RELATION, SCALAR_CALLS, load, random_case

# The contract: parameters of every public macro, defaults included, and the columns of those that give rows, in order.
SCALARS = {
    "argmax": "xs",
    "bucket": "x, width",
    "label_rank": "xs, cls",
    "needed_n": "baseline_accuracy, gain, power := 0.8, level := 0.95, differing := null",
    "wilson_high": "k, n, level",
    "wilson_low": "k, n, level",
}
_SLICES = "feature value n n_wrong error_rate ci_low ci_high lift diff excess_errors p_value p_holm p_bh"
TABLES = {
    "accuracy": ("rel, level := 0.95, is_right := null, groups := null", "n correct accuracy ci_low ci_high"),
    "accuracy_accepted": ("rel, level := 0.95", "n correct accuracy ci_low ci_high n_empty"),
    "accuracy_anytime": ("rel, level := 0.95", "n correct accuracy ci_low ci_high"),
    "accuracy_by": (
        "rel, expr, level := 0.95, is_right := null, groups := null",
        "slice n correct accuracy ci_low ci_high",
    ),
    "agreement": ("rel, baseline", "n agreement churn negative_flips positive_flips wrong_differently kappa"),
    "at_threshold": ("rel, threshold, level := 0.95", "n n_answered n_abstained coverage accuracy ci_low ci_high"),
    "auc": (
        "rel, exact := null",
        "classes n roc_auc_macro roc_auc_weighted map_macro map_weighted method roc_auc_max_error map_max_error",
    ),
    "auc_ci": ("rel, level := 0.95", "metric estimate std_error ci_low ci_high"),
    "auc_per_class": (
        "rel, level := 0.95, exact := null",
        "class positives roc_auc average_precision roc_auc_low roc_auc_high average_precision_low "
        "average_precision_high method roc_auc_max_error average_precision_max_error",
    ),
    "bootstrap_ci": (
        "rel, n_resamples := 1000, level := 0.95, seed := 0, groups := null",
        "metric estimate std_error ci_low ci_high",
    ),
    "calibration_curve": (
        "rel, n_bins := 15, strategy := 'uniform'",
        "bin n conf_min conf_max confidence accuracy gap ci_low ci_high gap_sd",
    ),
    "calibration_error": (
        "rel, n_bins := 15, strategy := 'uniform', level := 0.95",
        "n ece mce rmsce mean_gap ece_chance ece_chance_high mean_gap_chance ece_low ece_high",
    ),
    "calibration_error_per_class": ("rel, n_bins := 15", "class n ece mce base_rate"),
    "check_run": (
        "rel, tolerance := 1e-3",
        "n duplicate_images no_label no_prediction outside_classes no_probs other_length label_out_of_range nan_probs "
        "outside_0_1 sum_not_1 pred_not_argmax confidence_differs no_confidence",
    ),
    "class_purity": ("rel, neighbors, k := 10", "class n purity knn_accuracy isolated"),
    "compare_classes": (
        "rel, baseline, level := 0.95, is_right := null, groups := null",
        "class n recall_run recall_baseline diff ci_low ci_high run_only baseline_only p_value p_holm p_bh",
    ),
    "compare_many": (
        "runs, baseline, level := 0.95, is_right := null, groups := null",
        "n n_left_out run_only baseline_only accuracy_run accuracy_baseline diff ci_low ci_high p_value p_holm run",
    ),
    "compare_seeds": (
        "runs, baselines, level := 0.95, is_right := null",
        "n n_left_out n_runs n_baselines accuracy_run accuracy_baseline diff ci_low ci_high p_value std_error df "
        "seed_sd_run seed_sd_baseline",
    ),
    "confident_joint": ("rel", "label true_class raw calibrated"),
    "confident_thresholds": ("rel", "class n threshold"),
    "confusion_dense": ("rel, n_classes := 0", "label pred n recall_share precision_share"),
    "confusion_matrix": ("rel", "label pred n"),
    "cost": ("rel, costs, level := 0.95", "n n_wrong total_cost mean_cost ci_low ci_high"),
    "drift": ("rel_ref, rel_cur", "feature measure value n_ref n_cur p_value p_holm verdict"),
    "duplicate_groups": ("neighbors, max_distance := null", "group_id image_id group_size"),
    "fit_temperature": (
        "rel, eps := 1.1754944e-38",
        "n temperature log_loss_before log_loss_after ece_before ece_after",
    ),
    "flips": (
        "rel, baseline, max_rows := 50",
        "image_id label pred_run pred_baseline correct_run correct_baseline confidence_run",
    ),
    "hierarchical_distance": (
        "rel, tree, level := 0.95",
        "n n_wrong mean_height ci_low ci_high mean_height_wrong wrong_low wrong_high",
    ),
    "hierarchy": ("rel, tree, level := 0.95", "height n correct accuracy ci_low ci_high"),
    "knn_graph": ("rel, k := 10", "image_id neighbor_id rank distance"),
    "knn_outliers": ("neighbors, k := 10", "image_id mean_distance kth_distance percentile"),
    "ks_test": ("rel_ref, rel_cur, expr", "d n_ref n_cur p_value"),
    "label_issues": ("rel", "image_id label pred suggested self_confidence confidence margin p_wrong"),
    "label_quality": ("rel", "image_id label pred self_confidence normalized_margin"),
    "largest_gap": (
        "rel, expr, min_n := 20, level := 0.95, is_right := null",
        "n_groups n_small best worst n_best n_worst accuracy_best accuracy_worst gap ci_low ci_high",
    ),
    "leaks": (
        "rel, neighbors, max_distance := null",
        "image_a image_b split_a split_b label_a label_b distance",
    ),
    "leaderboard": (
        "rels, level := 0.95, groups := null",
        "place n accuracy ci_low ci_high f1_macro roc_auc_macro ece images_per_second n_both diff diff_low diff_high "
        "p_value p_holm roc_auc_max_error",
    ),
    "mcnemar": (
        "rel, baseline, level := 0.95, is_right := null, groups := null",
        "n both_right run_only baseline_only both_wrong accuracy_run accuracy_baseline diff ci_low ci_high p_exact "
        "p_mid p_chi2",
    ),
    "mcnemar_anytime": (
        "rel, baseline, level := 0.95, is_right := null",
        "n run_only baseline_only diff share_run share_low share_high p_value",
    ),
    "metric_by": ("rel, name, expr, arguments := ''", "slice n correct accuracy ci_low ci_high"),
    "mmd": ("rel_ref, rel_cur, sample_n := 500, gamma := null, seed := 0", "mmd2 gamma n_ref n_cur p_value"),
    "near_duplicates": ("neighbors, max_distance := null", "image_a image_b distance"),
    "neighbor_agreement": ("rel, neighbors, k := 10", "image_id label neighbors purity neighbor_label"),
    "paired": ("rel, baseline, is_right := null", "image_id label pred_run pred_baseline correct_run correct_baseline"),
    "paired_bootstrap": (
        "rel, baseline, n_resamples := 1000, level := 0.95, seed := 0, is_right := null, groups := null",
        "metric value_run value_baseline diff ci_low ci_high p_two_sided",
    ),
    "per_class": (
        "rel, zero_division := 0.0, level := 0.95",
        "class support predicted tp precision recall f1 jaccard recall_low recall_high precision_low precision_high "
        "f1_low f1_high",
    ),
    "pr_curve": ("rel, cls, max_points := 200", "threshold precision recall fpr called"),
    "predictive_entropy": ("rel", "n mean_entropy mean_entropy_right mean_entropy_wrong"),
    "proper_scores": (
        "rel, eps := 1.1920929e-07, level := 0.95",
        "n log_loss brier mean_p_label mean_confidence accuracy log_loss_low log_loss_high brier_low brier_high",
    ),
    "psi_category": (
        "rel_ref, rel_cur, expr, floor_share := 1e-4",
        "psi js_distance total_variation categories n_ref n_cur p_value",
    ),
    "psi_numeric": ("rel_ref, rel_cur, expr, bins := 10, floor_share := 1e-4", "psi bins n_ref n_cur"),
    "risk_coverage": ("rel, max_points := 100", "coverage risk threshold kept"),
    "scores": (
        "rel, zero_division := 0.0",
        "n accuracy balanced_accuracy precision_macro recall_macro f1_macro jaccard_macro precision_weighted "
        "recall_weighted f1_weighted f1_micro cohen_kappa mcc",
    ),
    "scores_by": (
        "rel, expr",
        "slice n accuracy ci_low ci_high balanced_accuracy precision_macro recall_macro f1_macro cohen_kappa mcc",
    ),
    "selective_risk": ("rel, target_accuracy := 0.99", "n aurc eaurc coverage_at_target threshold_at_target"),
    "similar_to": ("rel, query_id, k := 10", "image_id distance"),
    "slice_pairs": ("rel, cols, min_n := 20", _SLICES),
    "slices": ("rel, cols, min_n := 20", _SLICES),
    "summary": ("rel", "metric value"),
    "threshold_for": (
        "rel, target_accuracy := 0.99, level := 0.95",
        "threshold n n_answered n_abstained coverage accuracy ci_low ci_high",
    ),
    "top_confusions": ("rel, max_rows := 20", "label pred n share_of_label"),
    "topk_accuracy": ("rel, ks := [1, 3, 5], level := 0.95", "k n correct accuracy ci_low ci_high"),
    "verdict": (
        "rel, baseline, level := 0.95, groups := null",
        "sentence n diff ci_low ci_high p_exact established balanced_diff balanced_low balanced_high needed_n",
    ),
    "weighted_accuracy": ("rel, weight, level := 0.95", "n sum_weights effective_n accuracy ci_low ci_high"),
    # The columns of the relation itself, here those of support/edge_cases.py.
    "with_temperature": (
        "rel, t, eps := null",
        "image_id label pred confidence probs activation x y split neighbor_id rank distance accepted",
    ),
    "worst_mistakes": ("rel, max_rows := 50", "image_id label pred confidence p_label"),
    "worst_slices": (
        "rel, cols, min_n := 20, bins := 4, max_rows := 20, alpha := 0.05",
        f"{_SLICES} exemplars",
    ),
}
# What people read follows the columns of the contract: names of classes and where an image is.
_BOTH = "label_name pred_name"
NAMES = {
    "class_purity": "label_name",
    "confusion_dense": _BOTH,
    "confusion_matrix": _BOTH,
    "flips": f"{_BOTH} uri",
    "label_issues": f"{_BOTH} uri",
    "label_quality": f"{_BOTH} uri",
    "leaks": "label_name_a label_name_b uri_a uri_b",
    "neighbor_agreement": "label_name neighbor_label_name uri",
    "per_class": "label_name",
    "similar_to": "uri",
    "top_confusions": _BOTH,
    "with_temperature": f"{_BOTH} uri",
    "worst_mistakes": f"{_BOTH} uri",
}
TOPICS = [
    "accuracy", "classes", "probabilities", "calibration", "selection", "comparison", "slices", "labels", "embeddings",
    "drift", "statistics",
]  # fmt: skip
INDEX = templates.index()
OBJECTS = [name for name, one in INDEX.items() if one.kind in ("tables", "views", "metrics", "lib")]
HEADED = [name for name, one in INDEX.items() if one.kind in templates.PLAIN]
MACROS = [name for name, one in INDEX.items() if one.kind in ("metrics", "lib")]


def signature(name: str) -> tuple[str, str, str]:
    """Name, parameter list and kind of body of a macro, from its file."""
    match = re.search(r"create or replace macro (\w+)\((.*?)\) as( table)?\b", INDEX[name].text, re.DOTALL)
    assert match is not None, f"{name} creates no macro"
    return match[1], " ".join(match[2].split()), (match[3] or "").strip()


def parameters(name: str) -> list[str]:
    text = re.sub(r"\[[^\]]*\]", "", signature(name)[1])
    return [part.partition(":=")[0].strip() for part in text.split(",")]


# Files and names


def test_names_are_unique_over_all_files() -> None:
    names: list[str] = []
    for file in templates.root().rglob("*.sql"):
        queries = re.findall(r"^-- name: (\w+)$", file.read_text(), re.M)
        assert bool(queries) == (file.parent.name in ("statements", "page")), file
        names += queries or [file.stem]
    assert [name for name, n in Counter(names).items() if n > 1] == []
    assert set(names) == set(INDEX)


def test_every_public_macro_is_in_the_contract() -> None:
    public = {name for name, each in INDEX.items() if each.kind == "metrics"}
    assert public == {*TABLES, *SCALARS} == {*CALLS, *SCALAR_CALLS}
    assert {INDEX[name].topic for name in public} == set(TOPICS)
    assert all(INDEX[name].folder.count("/") == 1 for name in public)


def test_internal_macros_start_with_an_underscore() -> None:
    assert all(name.startswith("_") == (INDEX[name].kind == "lib") for name in OBJECTS)


@pytest.mark.parametrize("name", HEADED)
def test_header(name: str) -> None:
    lines = INDEX[name].text.splitlines()
    header = templates.header(name)
    assert all(vars(header).values())
    assert all(len(line) <= 120 for line in lines[:5])
    assert re.match(r"(?!--)|-- severity: ", lines[5]), "the header is five lines"


@pytest.mark.parametrize("name", [name for name, each in INDEX.items() if each.kind in ("statements", "page")])
def test_a_named_query_says_what_it_is_for(name: str) -> None:
    first, *_ = INDEX[name].text.splitlines()
    assert re.match(r"-- \S.{10,}", first)
    assert "Source: this project" not in INDEX[name].text


@pytest.mark.parametrize("name", MACROS)
def test_file_holds_one_macro_of_its_name(name: str) -> None:
    assert signature(name)[0] == name
    assert len(duckdb.extract_statements(INDEX[name].text)) == 1


@pytest.mark.parametrize("name", MACROS)
def test_ctes_cannot_capture_a_relation(name: str) -> None:
    text = re.sub(r"--[^\n]*", "", INDEX[name].text)
    ctes = re.findall(
        r"(?:\bwith(?: recursive)?|\),)\s+(\w+)(?:\([^)]*\))?\s+as\s+(?:(?:not )?materialized\s+)?\(\s*\n", text
    )
    assert all(cte.startswith("_") for cte in ctes), ctes
    lambdas = re.findall(r"lambda\s+(\w+)", text)
    assert all(variable.startswith("_") for variable in lambdas), lambdas


@pytest.mark.parametrize("name", MACROS)
def test_parameters_shadow_no_column(name: str) -> None:
    contract = {"image_id", "label", "pred", "confidence", "probs", "activation"}
    if name in ("_p_of",):  # a scalar over one column of that very name
        contract -= {"probs"}
    assert not contract & set(parameters(name))
    if signature(name)[2]:
        assert parameters(name)[0] in ("rel", "rels", "runs", "rel_ref", "neighbors", "tree")
        text = re.sub(r"--[^\n]*|'[^']*'", "", INDEX[name].text).partition("as table")[2]
        made = set(re.findall(r"\bas (\w+)", text)) - {"table"}
        assert not made & set(parameters(name)) - {"k", "gamma", "neighbors"}, "a column has the name of a parameter"


# What is installed


@pytest.mark.parametrize("name", SCALARS)
def test_scalars_of_the_contract(con: duckdb.DuckDBPyConnection, name: str) -> None:
    actual = con.execute("select topic, signature from help where name = ?", [name]).fetchall()
    assert actual == [("statistics", f"{name}({SCALARS[name]})")]
    con.execute(f"select {SCALAR_CALLS[name]}").fetchall()


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_the_contract(con: duckdb.DuckDBPyConnection, name: str) -> None:
    assert signature(name)[1] == TABLES[name][0]
    actual = con.execute("select topic, signature from help where name = ?", [name]).fetchall()
    assert actual == [(INDEX[name].topic, f"{name}({TABLES[name][0]})")]
    load(con, EDGES["ties"], "example")
    result = con.execute("from " + CALLS[name].format("example"))
    last = ["run"] if name in ONE_RELATION else []
    expected = [*TABLES[name][1].split(), *NAMES.get(name, "").split(), *last]
    assert [column[0] for column in result.description] == expected
    result.fetchall()


@pytest.mark.parametrize("name", OBJECTS)
def test_what_help_says(con: duckdb.DuckDBPyConnection, name: str) -> None:
    actual = con.execute("select description, example from help where name = ?", [name]).fetchall()
    if name == "outputs" or name.startswith("_"):  # a schema, which takes no comment; internal
        assert actual == []
        return
    ((description, example),) = actual
    assert description == templates.header(name).summary
    assert name in example


def test_help_opens_with_what_a_newcomer_needs(con: duckdb.DuckDBPyConnection) -> None:
    actual = con.sql("from help")
    assert actual.columns == ["topic", "name", "kind", "signature", "description", "example"]
    rows = actual.fetchall()
    first = [row[1] for row in rows[:12]]
    assert first[0] == "help"
    assert {"images", "runs", "accuracy"} <= set(first)
    first_of_rest = [row[1] for row in rows].index("check_run") + 1
    # After the newcomer's list come the topics, each in one piece, in the order of the documents.
    rest = [row[0] for row in rows[first_of_rest:]]
    topics = list(dict.fromkeys(rest))
    assert [topic for topic in topics if topic in TOPICS] == [topic for topic in TOPICS if topic in rest]
    assert len([topic for topic, following in zip(rest, [*rest[1:], ""], strict=True) if topic != following]) == len(
        topics
    )
    assert not any(row[1].startswith("_") for row in rows)


def test_help_lists_what_the_user_made(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create macro mine(rel) as table select count(*) as n from query_table(rel)").fetchall()
    con.execute("create table my_table as select 1 as x").fetchall()
    con.execute("create view my_view as from my_table").fetchall()
    con.execute("comment on view my_view is 'as I see it'").fetchall()
    actual = con.execute("select name, description from help where topic = 'yours' order by name").fetchall()
    assert actual == [("mine", None), ("my_table", None), ("my_view", "as I see it")]


def test_examples_of_help_run(con: duckdb.DuckDBPyConnection) -> None:
    for name in ("my_run", "old_run", "my_run_neighbors", "seed_1", "seed_2", "old_seed_1", "old_seed_2"):
        load(con, random_case(60, 3, 1), name)
    con.execute(
        "create table my_costs as select distinct _a.label, _b.pred, 2.5 as cost from my_run as _a cross join my_run as _b"
    ).fetchall()
    con.execute("create table my_tree as select i as class, 3 as parent from range(3) as _r (i)").fetchall()
    con.execute(
        "create or replace view wide as select *, 'jpeg' as format, 9 as n_bytes, 640 as width_px from my_run"
    ).fetchall()
    con.execute(
        "create or replace view old_wide as select *, 'jpeg' as format, 9 as n_bytes, 640 as width_px from old_run"
    )
    for name, example in con.execute("select name, example from help where topic <> 'yours'").fetchall():
        example = example.replace("'my_run'", "'wide'").replace("'old_run'", "'old_wide'")
        if example.startswith("select"):
            example = example + " from wide"
        assert con.execute(example).fetchall() is not None, name


def test_list_metrics_is_the_public_macros() -> None:
    """Without a file, too."""
    names = [row[0] for row in sqlanalysis.list_metrics().fetchall()]
    assert sorted(names) == sorted(TABLES)


def test_macros_recreate_in_order() -> None:
    order = [each.name for each in templates.installed(*templates.MACROS)]
    assert sorted(order) == sorted(MACROS)
    assert order.index("_norm_ppf") < order.index("wilson_low") < order.index("accuracy") < order.index("summary")


def test_a_name_that_a_macro_passes_is_not_taken_by_a_macro_that_gets_it() -> None:
    """`query_table('_rows')` in a macro with a CTE `_rows` of its own reads that one, without an error."""
    texts = {name: templates.render(name) for name in MACROS}
    defined = {name: set(re.findall(r"^(?:with (?:recursive )?)?(_\w+) as (?:materialized )?\(", text, re.M))
               for name, text in texts.items()}  # fmt: skip
    called = {name: {other for other in re.findall(r"\b(\w+)\(", text) if other in texts and other != name}
              for name, text in texts.items()}  # fmt: skip

    def reached(name: str) -> set[str]:
        found, left = set(), [name]
        while left:
            one = left.pop()
            if one not in found:
                found.add(one)
                left += called[one]
        return found

    passed = [(name, callee, given) for name, text in texts.items()
              for callee, given in re.findall(r"\b(\w+)\(\s*'(_\w+)'", text) if callee in texts]  # fmt: skip
    assert ("summary", "accuracy", "_given") in passed
    taken = {(name, callee, given, other) for name, callee, given in passed
             for other in reached(callee) if given in defined[other]}  # fmt: skip
    # Sound: the macro that has a CTE of that name reads what it is given within that CTE only, or is given another name.
    assert taken <= {
        ("_bootstrap_replicates", "_resampled_groups", "_cells", "_resampled"),
        ("paired_bootstrap", "_resampled_groups", "_cells", "_resampled"),
        ("worst_slices", "_slice_sets", "_images", "_slice_sets"),
    }
