"""The catalogue keeps its promises: headers, comments, names, parameters and columns."""

from __future__ import annotations

import re

import duckdb
import pytest

from sqlanalysis import templates

from .edge_cases import CALLS, EDGES, load

# The contract: parameters of every macro, and the output columns of those that give a table, in order.
SCALARS = {
    "anytime_high": "k, n, level",
    "anytime_low": "k, n, level",
    "argmax": "xs",
    "binom_logpmf": "k, n, p",
    "bucket": "x, width",
    "chi2_sf": "x, df",
    "chi2_sf_1df": "x",
    "finite_number": "x",
    "fisher_greater": "k1, n1, k2, n2",
    "kolmogorov_sf": "x",
    "norm_ppf": "p",
    "norm_sf": "z",
    "paired_high": "a_only, b_only, n, level",
    "paired_low": "a_only, b_only, n, level",
    "number_range": "low, high",
    "poisson_draw": "mean, steps, bits",
    "poisson_steps": "mean",
    "sign_test": "wins, losses",
    "smirnov_sf": "n, m, gap",
    "two_proportion_z": "k1, n1, k2, n2",
    "uniform_of": "seed_text",
    "wilson_high": "k, n, level",
    "wilson_low": "k, n, level",
}
TABLES = {
    "accuracy": ("rel, level", "n correct accuracy ci_low ci_high"),
    "accuracy_bootstrap": ("rel, level", "n accuracy ci_low ci_high"),
    "accuracy_by": ("rel, expr, level", "slice n correct accuracy ci_low ci_high"),
    "calibration": ("rel, bins, mode", "n ece mce rmsce mean_gap"),
    "check_run": (
        "rel, tolerance",
        "n duplicate_images no_label no_prediction outside_classes no_probs other_length label_out_of_range nan_probs "
        "outside_0_1 sum_not_1 pred_not_argmax confidence_differs no_confidence",
    ),
    "confusion_dense": ("rel, n_classes", "label pred n recall_share precision_share"),
    "confusion_matrix": ("rel", "label pred n"),
    "per_class": (
        "rel, zero_division",
        "class support predicted tp precision recall f1 jaccard recall_low recall_high",
    ),
    "probability_scores": ("rel, eps", "n log_loss brier mean_p_label mean_confidence accuracy"),
    "reliability": ("rel, bins, mode", "bin n conf_min conf_max confidence accuracy gap ci_low ci_high"),
    "scores": (
        "rel, zero_division",
        "n accuracy balanced_accuracy precision_macro recall_macro f1_macro jaccard_macro precision_weighted "
        "recall_weighted f1_weighted f1_micro cohen_kappa mcc",
    ),
    "scores_by": (
        "rel, expr",
        "slice n accuracy ci_low ci_high balanced_accuracy precision_macro recall_macro f1_macro cohen_kappa mcc",
    ),
    "summary": ("rel", "metric value"),
    "top_confusions": ("rel, limit_n", "label pred n share_of_label"),
    "topk_accuracy": ("rel, ks, level", "k n correct accuracy ci_low ci_high"),
    "worst": ("rel, limit_n", "image_id label pred confidence p_label"),
    "agreement": (
        "rel_a, rel_b",
        "n agreement churn negative_flips positive_flips wrong_differently kappa",
    ),
    "bootstrap_ci": ("rel, replicates, level, seed", "metric estimate std_error ci_low ci_high"),
    "bootstrap_replicates": (
        "rel, replicates, seed",
        "replicate n accuracy balanced_accuracy f1_macro cohen_kappa mcc",
    ),
    "class_purity": ("rel, nbr, k", "class n purity knn_accuracy isolated"),
    "classwise_calibration": ("rel, bins", "class n ece mce base_rate"),
    "compare_classes": (
        "rel_a, rel_b, level",
        "class n recall_a recall_b diff ci_low ci_high a_only b_only p_value p_holm p_bh",
    ),
    "confident_joint": ("rel", "label true_class raw calibrated"),
    "confident_thresholds": ("rel", "class n threshold"),
    "drift": ("rel_ref, rel_cur", "feature measure value n_ref n_cur p_value p_holm verdict"),
    "duplicate_groups": ("nbr, max_distance", "group_id image_id group_size"),
    "entropy_scores": ("rel", "n mean_entropy mean_entropy_right mean_entropy_wrong"),
    "flips": ("rel_a, rel_b, limit_n", "image_id label pred_a pred_b ok_a ok_b confidence_b"),
    "knn_graph": ("rel, k", "image_id neighbor_id rank distance"),
    "knn_graph_xy": ("rel, k", "image_id neighbor_id rank distance"),
    "knn_outliers": ("nbr, k", "image_id mean_distance kth_distance percentile"),
    "ks_test": ("rel_ref, rel_cur, expr", "d n_ref n_cur p_value"),
    "label_issues": ("rel", "image_id label pred suggested self_confidence confidence margin"),
    "label_quality": ("rel", "image_id label pred self_confidence normalized_margin"),
    "leaks": ("rel, nbr, max_distance", "image_a image_b split_a split_b label_a label_b distance"),
    "mcnemar": (
        "rel_a, rel_b, level",
        "n both_right a_only b_only both_wrong accuracy_a accuracy_b diff ci_low ci_high p_exact p_mid p_chi2",
    ),
    "mmd": ("rel_ref, rel_cur, sample_n, gamma, seed", "mmd2 gamma n_ref n_cur p_value"),
    "near_duplicates": ("nbr, max_distance", "image_a image_b distance"),
    "neighbour_agreement": ("rel, nbr, k", "image_id label neighbours purity neighbour_label"),
    "paired": ("rel_a, rel_b", "image_id label pred_a pred_b ok_a ok_b"),
    "paired_bootstrap": ("rel_a, rel_b, replicates, level, seed", "metric a b diff ci_low ci_high p_two_sided"),
    "pr_curve": ("rel, cls, points", "threshold precision recall fpr called"),
    "psi_category": (
        "rel_ref, rel_cur, expr, floor_share",
        "psi js_distance total_variation categories n_ref n_cur p_value",
    ),
    "psi_numeric": ("rel_ref, rel_cur, expr, bins, floor_share", "psi bins n_ref n_cur"),
    "ranking": ("rel", "classes n roc_auc_macro roc_auc_weighted map_macro map_weighted"),
    "ranking_per_class": ("rel", "class positives roc_auc average_precision"),
    "risk_coverage": ("rel, points", "coverage risk threshold kept"),
    "selective": ("rel, target_accuracy", "n aurc eaurc coverage_at_target threshold_at_target"),
    "similar_to": ("rel, query_id, k", "image_id distance"),
    "slice_pairs": (
        "rel, cols, min_n",
        "feature value n errors error_rate ci_low ci_high lift diff excess_errors z p_value p_holm p_bh",
    ),
    "slices": (
        "rel, cols, min_n",
        "feature value n errors error_rate ci_low ci_high lift diff excess_errors z p_value p_holm p_bh",
    ),
    "verdict": ("rel_a, rel_b, level", "sentence n diff ci_low ci_high p_exact established"),
    "worst_slices": (
        "rel, cols, min_n, bins, limit_n, alpha",
        "feature value n errors error_rate ci_low ci_high lift diff excess_errors z p_value p_holm p_bh exemplars",
    ),
    "accuracy_accepted": ("rel, level", "n correct accuracy ci_low ci_high n_empty"),
    "accuracy_anytime": ("rel, level", "n correct accuracy ci_low ci_high"),
    "at_threshold": ("rel, threshold, level", "n n_answered n_abstained coverage accuracy ci_low ci_high"),
    "coverage_steps": ("rel", "threshold kept wrong"),
    "log_margins": ("rel, eps", "label pred confidence p_label label_margin margins"),
    "mcnemar_anytime": ("rel_a, rel_b, level", "n a_only b_only diff share_b share_low share_high p_value"),
    "temperature": ("rel, eps", "n temperature log_loss_before log_loss_after ece_before ece_after"),
    "tempered": (
        "rel, t, eps",
        "image_id label pred confidence probs activation x y split neighbor_id rank distance accepted",
    ),
    "threshold_for": (
        "rel, target_accuracy, level",
        "threshold n n_answered n_abstained coverage accuracy ci_low ci_high",
    ),
    "weighted_accuracy": ("rel, weight, level", "n sum_weights effective_n accuracy ci_low ci_high"),
}
DEFAULTS = {
    "accuracy_accepted": "level := 0.95",
    "accuracy_anytime": "level := 0.95",
    "at_threshold": "level := 0.95",
    "log_margins": "eps := 1.1754944e-38",
    "mcnemar_anytime": "level := 0.95",
    "temperature": "eps := 1.1754944e-38",
    "tempered": "eps := 1.1754944e-38",
    "threshold_for": "target_accuracy := 0.99, level := 0.95",
    "weighted_accuracy": "level := 0.95",
    "accuracy": "level := 0.95",
    "accuracy_bootstrap": "level := 0.95",
    "accuracy_by": "level := 0.95",
    "calibration": "bins := 15, mode := 'width'",
    "check_run": "tolerance := 1e-3",
    "confusion_dense": "n_classes := 0",
    "per_class": "zero_division := 0.0",
    "probability_scores": "eps := 1.1920929e-07",
    "reliability": "bins := 15, mode := 'width'",
    "scores": "zero_division := 0.0",
    "top_confusions": "limit_n := 20",
    "topk_accuracy": "ks := [1, 3, 5], level := 0.95",
    "worst": "limit_n := 50",
    "bootstrap_ci": "replicates := 1000, level := 0.95, seed := 0",
    "bootstrap_replicates": "replicates := 1000, seed := 0",
    "class_purity": "k := 10",
    "classwise_calibration": "bins := 15",
    "compare_classes": "level := 0.95",
    "duplicate_groups": "max_distance := 0.05",
    "flips": "limit_n := 50",
    "knn_graph": "k := 10",
    "knn_graph_xy": "k := 10",
    "knn_outliers": "k := 10",
    "leaks": "max_distance := 0.05",
    "mcnemar": "level := 0.95",
    "mmd": "sample_n := 500, gamma := null, seed := 0",
    "near_duplicates": "max_distance := 0.05",
    "neighbour_agreement": "k := 10",
    "paired_bootstrap": "replicates := 1000, level := 0.95, seed := 0",
    "pr_curve": "points := 200",
    "psi_category": "floor_share := 1e-4",
    "psi_numeric": "bins := 10, floor_share := 1e-4",
    "risk_coverage": "points := 100",
    "selective": "target_accuracy := 0.99",
    "similar_to": "k := 10",
    "slice_pairs": "min_n := 20",
    "slices": "min_n := 20",
    "verdict": "level := 0.95",
    "worst_slices": "min_n := 20, bins := 4, limit_n := 20, alpha := 0.05",
}
FILES = sorted(templates.paths())
METRICS = [name for name in FILES if name.startswith("metrics/")]
OBJECTS = [name for name in FILES if name.partition("/")[0] in ("views", "metrics", "tables")]


def signature(name: str) -> tuple[str, str, str]:
    """Name, parameter list and kind of body of a macro, from its file."""
    found = re.search(
        r"create or replace macro (\w+)\((.*?)\) as( table)?(?: --[^\n]*)?\n", templates.source(name), re.DOTALL
    )
    assert found is not None, f"{name} creates no macro"
    return found[1], found[2], (found[3] or "").strip()


def parameters(name: str) -> list[str]:
    text = re.sub(r"\[[^\]]*\]", "", signature(name)[1])
    return [part.partition(":=")[0].strip() for part in text.split(",")]


@pytest.mark.parametrize("name", FILES)
def test_header(name: str) -> None:
    lines = templates.source(name).splitlines()
    header = templates.header(name)
    assert all((header.summary, header.grain, header.parameters, header.edges, header.source))
    assert all(len(line) <= 120 for line in lines[:5])
    assert re.match(r"(?!--)|-- severity: ", lines[5]), "the header is five lines"
    assert len(lines) <= 80


@pytest.mark.parametrize("name", METRICS)
def test_file_holds_one_macro_of_its_name(name: str) -> None:
    assert signature(name)[0] == name.partition("/")[2]
    assert len(duckdb.extract_statements(templates.source(name))) == 1


@pytest.mark.parametrize("name", OBJECTS)
def test_object_is_in_help(con: duckdb.DuckDBPyConnection, name: str) -> None:
    short = name.partition("/")[2]
    if short == "outputs":
        pytest.skip("a schema, which takes no comment")
    found = con.execute("select description from help where name = ?", [short]).fetchall()
    assert found == [(templates.header(name).summary,)]


@pytest.mark.parametrize("name", METRICS)
def test_ctes_cannot_capture_a_relation(name: str) -> None:
    text = re.sub(r"--[^\n]*", "", templates.source(name))
    ctes = re.findall(r"(?:\bwith|\),)\s+(\w+)\s+as\s+(?:materialized\s+)?\(\s*\n", text)
    assert all(cte.startswith("_") for cte in ctes), ctes
    lambdas = re.findall(r"lambda\s+(\w+)", text)
    assert all(variable.startswith("_") for variable in lambdas), lambdas


@pytest.mark.parametrize("name", METRICS)
def test_parameters_shadow_no_column(name: str) -> None:
    contract = {"image_id", "label", "pred", "confidence", "probs", "activation"}
    assert not contract & set(parameters(name))
    if signature(name)[2]:
        assert parameters(name)[0] in ("rel", "rel_a", "rel_ref", "ref", "nbr")
        text = re.sub(r"--[^\n]*|'[^']*'", "", templates.source(name)).partition("as table")[2]
        made = set(re.findall(r"\bas (\w+)", text)) - {"table"}
        assert not made & set(parameters(name)) - {"k", "gamma"}, "a column of the body bears the name of a parameter"


def test_scalars_of_the_contract(con: duckdb.DuckDBPyConnection) -> None:
    found = dict(con.execute("select name, parameters from help where kind = 'function'").fetchall())
    assert {name: found.get(name) for name in SCALARS} == SCALARS


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_the_contract(con: duckdb.DuckDBPyConnection, name: str) -> None:
    found = con.execute("select parameters from help where kind = 'metric' and name = ?", [name]).fetchall()
    assert found == [(TABLES[name][0],)]
    load(con, EDGES["ties"], "example")
    result = con.execute("from " + CALLS[name].format("example"))
    assert [column[0] for column in result.description] == TABLES[name][1].split()
    result.fetchall()
    _, _, defaults = signature(f"metrics/{name}")[1].partition(":=")
    expected = DEFAULTS.get(name, "")
    assert signature(f"metrics/{name}")[1].endswith(expected)
    assert bool(defaults) == bool(expected)


def test_macros_recreate_in_order() -> None:
    order = templates.installed("metrics")
    assert sorted(order) == sorted(name.partition("/")[2] for name in METRICS)
    assert order.index("norm_ppf") < order.index("wilson_low") < order.index("accuracy") < order.index("summary")
