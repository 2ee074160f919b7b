"""Any notion of right, any metric by any expression, costs, trees of classes, gaps between groups, means of areas."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy import optimize, stats
from sklearn import metrics as sk

import sqlanalysis
from sqlanalysis.core.classes import imagenet1k, imagenet1k_tree
from sqlanalysis.errors import ArgumentError, QueryError

from ..support import crossed as sim
from ..support.edge_cases import EDGES, Case, load
from ..support.oracle import CASES, Mutant, both, flat, is_noticed, other_run, paired_interval, rows, same
from ..support.shells import cli

SETS, MOST = 60, 9  # ten or more misses of 60 have a probability of 1e-3 at a nominal 0.95


# is_right


def top(example: Case, k: int) -> np.ndarray:
    """Which images have their label among the k most probable classes; of equals the lower class is first."""
    order = np.argsort(-example.proba, axis=1, kind="stable")[:, :k]
    return (order == example.y[:, None]).any(axis=1)


@pytest.mark.parametrize("name", ["binary", "ten", "hundred", "ties", "outside"])
def test_top_k(shared: duckdb.DuckDBPyConnection, name: str) -> None:
    example = CASES[name]
    load(shared, example)
    for k in (1, 2, 5):
        (found,) = rows(shared, f"from accuracy('run_a', is_right := label_rank(probs, label) <= {k})")
        assert (found["n"], found["correct"]) == (len(example.y), top(example, k).sum())
        (same_k,) = rows(shared, f"select * exclude (k) from topk_accuracy('run_a', ks := [{k}])")
        assert found == same_k


def test_label_rank(con: duckdb.DuckDBPyConnection) -> None:
    calls = ["[0.2, 0.5, 0.3], 1", "[0.2, 0.5, 0.3], 0", "[0.4, 0.2, 0.4], 2", "[0.4, 0.2, 0.4]::float[3], 0",
             "[0.5, 0.5], 2", "[0.5, 0.5], -1", "['nan'::double, 0.5], 1", "null::float[], 1", "[0.5, 0.5], null"]  # fmt: skip
    found = con.execute("select " + ", ".join(f"label_rank({call})" for call in calls)).fetchall()
    assert found == [(1, 3, 2, 1, 3, 3, 3, None, None)]


def test_paired_difference_of_top_k(shared: duckdb.DuckDBPyConnection) -> None:
    first, rng = CASES["ten"], np.random.default_rng(8)
    probs = [list(np.array(row) + 0.1 * rng.random(10)) for row in first.probs if row is not None]
    second = Case(first.label, [int(np.argmax(row)) for row in probs], probs, [max(row) for row in probs])
    load(shared, first)
    load(shared, second, "run_b", "FLOAT[10]")
    a, b = top(first, 3), top(second, 3)
    won, lost, n = int((b & ~a).sum()), int((a & ~b).sum()), len(a)
    is_right = "is_right := label_rank(probs, label) <= 3"
    (found,) = rows(shared, f"from mcnemar('run_b', 'run_a', {is_right})")
    assert (found["run_only"], found["baseline_only"], found["n"]) == (won, lost, n)
    same(found["p_exact"], float(stats.binomtest(won, won + lost).pvalue))
    low, high = paired_interval(won, lost, n, 0.95)
    same(found["ci_low"], low)
    same(found["ci_high"], high)
    (anytime,) = rows(shared, f"from mcnemar_anytime('run_b', 'run_a', {is_right})")
    assert (anytime["run_only"], anytime["baseline_only"]) == (won, lost)
    classes = rows(shared, f"from compare_classes('run_b', 'run_a', {is_right}) order by class")
    assert [row["recall_run"] for row in classes] == pytest.approx([float(b[first.y == k].mean()) for k in range(10)])
    # The bootstrap of the difference: its spread is that of the mean of the paired differences.
    boot = {row["metric"]: row for row in rows(shared, f"from paired_bootstrap('run_b', 'run_a', {is_right})")}
    gap, sd = float(b.mean() - a.mean()), float((b.astype(int) - a).std() / np.sqrt(n))
    assert boot["accuracy"]["diff"] == pytest.approx(gap)
    assert boot["accuracy"]["ci_high"] - boot["accuracy"]["ci_low"] == pytest.approx(2 * 1.96 * sd, rel=0.12)
    balanced = [float(np.mean([right[first.y == k].mean() for k in range(10)])) for right in (b, a)]
    assert [boot["balanced_accuracy"][name] for name in ("value_run", "value_baseline")] == pytest.approx(balanced)
    # F1 counts predictions by class, which top 3 does not have.
    assert {boot["f1_macro"][name] for name in ("value_run", "diff", "ci_low", "ci_high", "p_two_sided")} == {None}


def test_an_expression_that_says_the_same_gives_the_same(shared: duckdb.DuckDBPyConnection) -> None:
    for example in (CASES["ten"], EDGES["some_outside"]):
        load(shared, example)
        load(shared, other_run(example), "run_b")
        for call in ("accuracy('run_b'{})", "accuracy_by('run_b', split{})", "mcnemar('run_b', 'run_a'{})",
                     "paired_bootstrap('run_b', 'run_a', n_resamples := 50{})", "compare_many(['run_b'], 'run_a'{})",
                     "compare_seeds(['run_b'], 'run_a'{})", "largest_gap('run_b', split, min_n := 1{})"):  # fmt: skip
            given = rows(shared, "from " + call.format(", is_right := pred = label and pred >= 0"))
            # The order in which threads add up floats is not certain.
            assert given == [
                {
                    key: pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
                    for key, value in row.items()
                }
                for row in rows(shared, "from " + call.format(""))
            ]


def test_accepted_classes(shared: duckdb.DuckDBPyConnection) -> None:
    """Where accepted is NULL nothing is known of the image, whatever the label says; each run has its own list."""
    load(shared, CASES["ten"])
    load(shared, other_run(CASES["ten"]), "run_b")
    y, a, b = both(CASES["ten"], other_run(CASES["ten"]))
    ids = np.arange(len(y))
    known = ids % 3 > 0  # accepted is NULL, empty, or label and 1
    right = [(ids % 3 == 2) & ((p == y) | (p == 1)) for p in (a, b)]
    (found,) = rows(shared, "from accuracy('run_a', is_right := list_contains(accepted, pred)) ")
    assert found["n"] == sum(i % 3 > 0 for i in range(2000))
    is_right = "is_right := list_contains(accepted, pred)"
    for call in (f"mcnemar('run_b', 'run_a', {is_right})", f"compare_many('run_b', 'run_a', {is_right})"):
        (found,) = rows(shared, f"from {call}")
        assert found["n"] == known.sum()
        assert found["run_only"] == (known & right[1] & ~right[0]).sum()
        assert found["baseline_only"] == (known & right[0] & ~right[1]).sum()


def test_without_an_answer_nothing_is_right_or_wrong(shared: duckdb.DuckDBPyConnection) -> None:
    example = EDGES["some_outside"]
    load(shared, example)
    (found,) = rows(shared, "from accuracy('run_a', is_right := label >= 0)")
    assert (found["n"], found["correct"]) == (len(example.y), len(example.y)) == (6, 6)


@pytest.mark.parametrize("call", ["accuracy('run_a'", "mcnemar('run_a', 'run_a'", "largest_gap('run_a', split"])
def test_what_is_no_notion_of_right(shared: duckdb.DuckDBPyConnection, call: str) -> None:
    load(shared, CASES["ten"])
    for given, message in (("'pred = label'", "not VARCHAR"), ("confidence", "not FLOAT"), ("1", "not INTEGER")):
        with pytest.raises(duckdb.InvalidInputException, match=f"is_right has to be true or false .*, {message}"):
            shared.execute(f"from {call}, is_right := {given})").fetchall()


def test_from_python_and_the_command_line(tmp_path: Any) -> None:
    with sqlanalysis.connect(tmp_path / "e.duckdb") as con:
        load(con, CASES["ten"])
        load(con, other_run(CASES["ten"]), "run_b")
        con.execute(
            "create table prices as select a as label, b as pred, 1.5 as cost from range(10) x (a), range(11) y (b)"
        )
        expected = rows(con, "from mcnemar('run_b', 'run_a', is_right := label_rank(probs, label) <= 2)")
        found = sqlanalysis.metric(con, "mcnemar", "run_b", "run_a", is_right="label_rank(probs, label) <= 2")
        assert found.fetchall() == [tuple(expected[0].values())]
        assert len(sqlanalysis.metric(con, "metric_by", "run_a", "auc", "split").fetchall()) == 2
        assert sqlanalysis.metric(con, "cost", "run_b", con.sql("from prices")).fetchall()[0][0] == 1997
        with pytest.raises(QueryError, match="is_right has to be true or false"):
            sqlanalysis.metric(con, "accuracy", "run_a", is_right="confidence")
        with pytest.raises(ArgumentError, match="is a quoted constant"):
            sqlanalysis.metric(con, "accuracy", "run_a", is_right="'pred = label'")
    db = tmp_path / "e.duckdb"
    done = cli("metric", db, "mcnemar", "run_b", "run_a", "is_right=label_rank(probs, label) <= 2", "--format", "json")
    assert f'"run_only":{expected[0]["run_only"]},' in done.stdout.replace(" ", "")
    done = cli("metric", db, "compare_seeds", '["run_a", "run_b"]', '["run_a"]', code=1)
    assert "run_a is both a run and a baseline" in done.stderr
    done = cli("metric", db, "compare_many", '["run_b"]', "run_a", "--format", "csv")
    assert done.stdout.startswith("n,n_left_out,run_only")
    done = cli("metric", db, "metric_by", "run_a", "topk_accuracy", "split", "ks := [2]", "--format", "csv")
    assert len(done.stdout.splitlines()) == 3


# metric_by


@pytest.mark.parametrize("name", ["ten", "outside", "null_label", "empty"])
def test_metric_by(shared: duckdb.DuckDBPyConnection, name: str) -> None:
    load(shared, CASES[name])
    for metric, by in (("accuracy", "accuracy_by"), ("scores", "scores_by")):
        known = rows(shared, f"from {by}('run_a', split)")
        found = rows(shared, f"from metric_by('run_a', '{metric}', split)")
        for row in known:
            (same_slice,) = [each for each in found if each["slice"] == row["slice"]]
            assert {key: same_slice[key] for key in row if key in same_slice} == pytest.approx(
                {key: row[key] for key in row if key in same_slice}, abs=1e-12, nan_ok=True
            )
        # Elsewhere nothing has a label and a prediction.
        slices = {row["slice"] for row in known}
        assert {row["n"] for row in found if row["slice"] not in slices} <= {0, None}


def test_metric_by_of_many(shared: duckdb.DuckDBPyConnection) -> None:
    """Against the metric of each slice alone: several rows, arguments, NULL and structs as values, a list of runs."""
    load(shared, CASES["ten"])
    load(shared, other_run(CASES["ten"]), "run_b")
    expr = "case when label > 1 then (split, label % 2) end"
    for metric, arguments in (
        ("calibration_curve", "n_bins := 4, strategy := 'quantile'"), ("per_class", ""), ("auc", ""), ("proper_scores", ""),
        ("bootstrap_ci", "n_resamples := 20, seed := 3"), ("topk_accuracy", "ks := [2, 4]"), ("threshold_for", "0.7"),
    ):  # fmt: skip
        text = arguments.replace("'", "''")
        found = rows(shared, f"from metric_by(['run_b', 'run_a'], '{metric}', {expr}, '{text}')")
        expected = []
        for run in ("run_a", "run_b"):
            for split, odd in (("test", 0), ("test", 1), ("train", 0), ("train", 1), (None, None)):
                kept = "label <= 1" if split is None else f"label > 1 and split = '{split}' and label % 2 = {odd}"
                call = f"{metric}('kept'{', ' if arguments else ''}{arguments})"
                for row in rows(shared, f"with kept as (from {run} where {kept}) from {call}"):
                    expected.append({"slice": None if split is None else (split, odd), **row, "run": run})
        assert len(found) == len(expected)
        for row, want in zip(found, expected, strict=True):
            assert row.keys() == want.keys()
            assert flat(row) == pytest.approx(flat(want), abs=1e-12)


def test_metric_by_refuses(shared: duckdb.DuckDBPyConnection) -> None:
    load(shared, CASES["ten"])
    with pytest.raises(duckdb.Error, match="is not the name of a metric"):
        shared.execute("from metric_by('run_a', 'accuracy(', split)").fetchall()
    with pytest.raises(duckdb.Error, match="mcnemar"):
        shared.execute("from metric_by('run_a', 'mcnemar', split)").fetchall()
    with pytest.raises(duckdb.Error, match="does not exist"):
        shared.execute("from metric_by('run_a', 'acuracy', split)").fetchall()


# largest_gap


def newcombe(k: np.ndarray, n: np.ndarray, level: float) -> tuple[float, float]:
    proportions = pytest.importorskip("statsmodels.stats.proportion")
    ends = [
        proportions.confint_proportions_2indep(k[i], n[i], k[j], n[j], method="newcomb", compare="diff", alpha=1 - level)
        for i in range(len(k)) for j in range(len(k)) if i != j
    ]  # fmt: skip
    return max(low for low, _ in ends), max(high for _, high in ends)


def test_largest_gap(shared: duckdb.DuckDBPyConnection) -> None:
    example = CASES["ten"]
    load(shared, example)
    (found,) = rows(shared, "from largest_gap('run_a', case when label < 9 then label end, level := 0.9)")
    n = np.bincount(example.y)
    k = np.bincount(example.y[example.y == example.p], minlength=10)
    assert (found["n_groups"], found["n_small"]) == (10, 0)
    best, worst = int(np.argmax(k / n)), int(np.argmin(k / n))
    assert [found[name] for name in ("best", "worst")] == [each if each < 9 else None for each in (best, worst)]
    same(found["gap"], float((k / n)[best] - (k / n)[worst]))
    low, high = newcombe(k, n, 1 - 0.1 / 45)
    same(found["ci_low"], max(0.0, low), 1e-9)
    same(found["ci_high"], high, 1e-9)
    (found,) = rows(shared, "from largest_gap('run_a', split, is_right := label_rank(probs, label) <= 3)")
    halves = [float(top(example, 3)[np.arange(2000) % 2 == odd].mean()) for odd in (0, 1)]
    same(found["gap"], max(halves) - min(halves))


def test_groups_that_are_too_small(shared: duckdb.DuckDBPyConnection) -> None:
    load(shared, CASES["ten"])
    (found,) = rows(shared, "from largest_gap('run_a', greatest(0, image_id - 1980))")
    assert (found["n_groups"], found["n_small"], found["gap"], found["ci_low"]) == (1, 19, None, None)
    (found,) = rows(shared, "from largest_gap('run_a', greatest(0, image_id - 1980), min_n := 1)")
    assert found["n_groups"] == 20
    assert 0 <= found["ci_low"] <= found["gap"] <= found["ci_high"] <= 1


def test_a_gap_where_there_is_none(shared: duckdb.DuckDBPyConnection) -> None:
    assert sum(sim.gap_hits(shared, SETS, 10, 40, 0.9, 0.0)) >= SETS - MOST
    assert sum(sim.gap_hits(shared, SETS, 4, 100, 0.8, 0.1)) >= SETS - MOST


# cost


def score_interval(values: np.ndarray, largest: float) -> tuple[float, float]:
    """The means from which that of `values`, at least 0, is 1.96 standard errors away, those of the mean in question."""
    spread = ((values**2).sum() + 2 * largest**2) / (values.sum() + 2 * largest)

    def excess(mean: float) -> float:
        return float((values.mean() - mean) ** 2 - stats.norm.ppf(0.975) ** 2 * mean * (spread - mean) / len(values))

    middle = float(values.mean())
    return optimize.brentq(excess, 0, middle), optimize.brentq(excess, middle, spread)


def test_cost(shared: duckdb.DuckDBPyConnection) -> None:
    example = CASES["hundred"]
    load(shared, example)
    table = np.random.default_rng(0).gamma(0.5, 4, (100, 100))
    np.fill_diagonal(table, 0)
    pairs = [(a, b, float(table[a, b])) for a in range(100) for b in range(100) if a != b]
    shared.execute("create or replace table prices (label integer, pred integer, cost double)").fetchall()
    shared.executemany("insert into prices values (?, ?, ?)", pairs)
    (found,) = rows(shared, "from cost('run_a', 'prices')")
    costs = table[example.y, example.p]
    assert (found["n"], found["n_wrong"]) == (len(costs), int((costs > 0).sum()))
    same(found["mean_cost"], float(costs.mean()), 1e-9)
    same(found["total_cost"], float(costs.sum()), 1e-9)
    low, high = score_interval(costs, float(table.max()))
    same(found["ci_low"], low, 1e-9)
    same(found["ci_high"], high, 1e-9)
    # By name, and where a right answer is rewarded.
    shared.execute(
        "create or replace view named as select *, 'c' || label as label_name, 'c' || pred as pred_name from run_a"
    )
    shared.execute(
        "create or replace view by_name as select 'c' || label as label, 'c' || pred as pred, cost from prices"
    )
    (named,) = rows(shared, "from cost('named', 'by_name')")
    assert {**named, "run": None} == pytest.approx({**found, "run": None})
    shared.execute("create or replace view rewarded as from prices union all select i, i, -2 from range(100) as _r (i)")
    (found,) = rows(shared, "from cost('run_a', 'rewarded')")
    same(found["mean_cost"], float(np.where(costs > 0, costs, -2).mean()), 1e-9)
    assert found["ci_low"] < found["mean_cost"] < found["ci_high"]


@pytest.mark.parametrize("name", CASES)
def test_a_cost_of_one_is_the_share_of_mistakes(shared: duckdb.DuckDBPyConnection, name: str) -> None:
    """With Wilson's interval."""
    load(shared, CASES[name])
    shared.execute(
        "create or replace table prices as select a as label, b as pred, (a <> b)::integer as cost "
        "from range(-1, 100) as _a (a), range(-1, 100) as _b (b)"
    ).fetchall()
    (found,) = rows(shared, "from cost('run_a', 'prices')")
    (right,) = rows(shared, "from accuracy('run_a')")
    for column, other in (("mean_cost", "accuracy"), ("ci_low", "ci_high"), ("ci_high", "ci_low")):
        same(found[column], None if right[other] is None else 1 - right[other])


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ("(0, 1, 5.0), (1, 2, 1), (2, 0, 3), (0, 1, 5)", "the costs list label 0 with prediction 1 2 times"),
        ("(0, 1, 5.0), (1, 2, 1)", "the costs do not list label 2 with prediction 0"),
        ("(0, 1, null::double), (1, 2, 1), (2, 0, 3)", "the cost of prediction 1 for label 0 is not a number"),
        ("(0, 1, 'nan'::double), (1, 2, 1), (2, 0, 3)", "the cost of prediction 1 for label 0 is not a number"),
    ],
)
def test_costs_that_are_refused(shared: duckdb.DuckDBPyConnection, prices: str, message: str) -> None:
    load(shared, Case([0, 1, 2, 0], [1, 2, 0, 0], [[0.5]] * 4, [0.5] * 4))
    with pytest.raises(duckdb.InvalidInputException, match=message):
        shared.execute(
            f"with prices as (from (values {prices}) as _v (label, pred, cost)) from cost('run_a', 'prices')"
        ).fetchall()


def test_intervals_of_costs(shared: duckdb.DuckDBPyConnection) -> None:
    """Rare and dear mistakes: the interval of Student's t holds the mean in about a third of such samples."""
    assert sum(sim.cost_hits(shared, SETS, "rare and dear", 60)) >= SETS - MOST
    assert sum(sim.cost_hits(shared, SETS, "many sizes", 60)) >= SETS - MOST


# Trees of classes

# Ten classes: two pairs and a triple below animals, three things below the top.
TREE = {0: 20, 1: 20, 2: 21, 3: 21, 4: 22, 5: 22, 6: 22, 20: 30, 21: 30, 22: 30, 7: 31, 8: 31, 9: 31, 30: 40, 31: 40}


def ancestors(node: int) -> list[int]:
    return [node, *(ancestors(TREE[node]) if node in TREE else [])]


def height(node: int) -> int:
    return max([1 + height(child) for child, parent in TREE.items() if parent == node], default=0)


def meeting(a: int, b: int) -> int:
    return height(next(node for node in ancestors(a) if node in ancestors(b)))


@pytest.fixture
def tree(shared: duckdb.DuckDBPyConnection) -> str:
    values = ", ".join(f"({child}, {parent})" for child, parent in TREE.items())
    shared.execute(f"create or replace table tree as from (values {values}) as _v (class, parent)").fetchall()
    return "tree"


def test_hierarchy(shared: duckdb.DuckDBPyConnection, tree: str) -> None:
    example = other_run(CASES["ten"])
    load(shared, Case(example.label, [9 if p == 10 else p for p in example.pred], example.probs, example.confidence))
    pred = np.where(example.p == 10, 9, example.p)
    heights = np.array([meeting(a, b) for a, b in zip(example.y, pred, strict=True)])
    found = rows(shared, f"from hierarchy('run_a', '{tree}')")
    assert [row["height"] for row in found] == [0, 1, 2, 3]
    for row in found:
        assert (row["n"], row["correct"]) == (len(heights), (heights <= row["height"]).sum())
    (first,) = rows(shared, "from accuracy('run_a')")
    assert {name: found[0][name] for name in first} == first
    (mean,) = rows(shared, f"from hierarchical_distance('run_a', '{tree}')")
    same(mean["mean_height"], float(heights.mean()))
    same(mean["mean_height_wrong"], float(heights[heights > 0].mean()))
    assert [mean["ci_low"], mean["ci_high"]] == pytest.approx(score_interval(heights, 3))
    low, high = score_interval(heights[heights > 0] - 1, 2)
    assert [mean["wrong_low"], mean["wrong_high"]] == pytest.approx([1 + low, 1 + high])
    # The mean height is a cost, too.
    prices = ", ".join(f"({a}, {b}, {meeting(a, b)})" for a in range(10) for b in range(10))
    priced = f"with prices as (from (values {prices}) as _v (label, pred, cost)) from cost('run_a', 'prices')"
    (cost,) = rows(shared, priced)
    assert [cost["mean_cost"], cost["ci_low"], cost["ci_high"]] == pytest.approx(
        [mean["mean_height"], mean["ci_low"], mean["ci_high"]]
    )


def test_a_class_that_has_parts(shared: duckdb.DuckDBPyConnection) -> None:
    """Dog is a class, and so is poodle: right is right, and a poodle called a dog is near."""
    load(shared, Case([0, 1, 1, 2, 0], [0, 1, 0, 0, -1], [[0.5]] * 5, [0.5] * 5))
    shared.execute("create or replace view named as select *, ['dog', 'poodle', 'cat'][label + 1] as label_name, "
                   "['dog', 'poodle', 'cat'][nullif(pred, -1) + 1] as pred_name from run_a")  # fmt: skip
    shared.execute("create or replace table tree as from (values ('poodle', 'dog'), ('dog', 'animal'), ('cat', 'animal')) "
                   "as _v (class, parent)")  # fmt: skip
    assert [row["correct"] for row in rows(shared, "from hierarchy('named', 'tree')")] == [2, 3, 4]
    (mean,) = rows(shared, "from hierarchical_distance('named', 'tree')")
    assert (mean["n"], mean["n_wrong"]) == (5, 3)
    assert mean["mean_height"] == pytest.approx((0 + 0 + 1 + 2 + 2) / 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("union all select 0, 21", "class 0 has two parents in the tree, 20 and 21"),
        ("union all select 40, 20", "the tree has a cycle: .* is above itself"),
        ("where class <> 5", "the tree has no class 5"),
        ("where class <> 31", "the tree has no node above both"),
    ],
)
def test_trees_that_are_refused(shared: duckdb.DuckDBPyConnection, tree: str, change: str, message: str) -> None:
    load(shared, CASES["ten"])
    for metric in ("hierarchy", "hierarchical_distance"):
        with pytest.raises(duckdb.InvalidInputException, match=message):
            shared.execute(f"with changed as (from tree {change}) from {metric}('run_a', 'changed')").fetchall()


def test_a_tree_of_numbers_given_as_names(shared: duckdb.DuckDBPyConnection, tree: str) -> None:
    load(shared, CASES["ten"])
    shared.execute(
        "create or replace view named as select *, 'x' as label_name, 'y' as pred_name from run_a"
    ).fetchall()
    text = "with text as (select class::varchar as class, parent::varchar as parent from tree) "
    assert rows(shared, text + "from hierarchy('run_a', 'text')") == rows(shared, "from hierarchy('run_a', 'tree')")
    with pytest.raises(duckdb.InvalidInputException, match="the tree has no class x"):
        shared.execute(text + "from hierarchy('named', 'text')").fetchall()
    both_x = "with text as (select 'x' as class, 'top' as parent), twice as (select * replace ('x' as pred_name) from named) "
    with pytest.raises(
        duckdb.InvalidInputException, match="equal by name, not by number|different by number, not by name"
    ):
        shared.execute(both_x + "from hierarchy('twice', 'text')").fetchall()


# Means of areas


def slopes(y: np.ndarray, p: np.ndarray, score: Any) -> np.ndarray:
    """What each image adds to the score of each class: the derivative along its weight, by scikit-learn's weights."""
    n, step = len(y), 1e-5
    found = np.zeros(p.shape)
    for i in range(n):
        for k in range(p.shape[1]):
            more, less = np.ones(n), np.ones(n)
            more[i] += step
            less[i] -= step
            values = [score(y == k, p[:, k], sample_weight=weight) for weight in (more, less)]
            found[i, k] = (values[0] - values[1]) / (2 * step)
    return found


def precision_beside(is_positive: np.ndarray, score: np.ndarray) -> float:
    """The mean precision of what is called beside each image of the class, the others of it weighted up to all."""
    m, found = is_positive.sum(), []
    for i in np.flatnonzero(is_positive):
        called = score >= score[i]
        called[i] = False
        hits = (is_positive & called).sum() * m / (m - 1)
        found.append(hits / (hits + (called & ~is_positive).sum()) if called.any() else np.nan)
    return float(np.where(np.isnan(found), np.nanmax(found), found).mean())


def few(is_positive: np.ndarray, score: np.ndarray) -> float:
    called = np.array([(score >= each).sum() for each in score[is_positive]])
    share = (np.array([(score[is_positive] >= each).sum() for each in score[is_positive]]) - 0.5) / called
    return float((share * (1 - share) / called).sum() / is_positive.sum() ** 2)


@pytest.mark.parametrize("digits", [9, 1], ids=["distinct", "ties"])
def test_auc_ci(shared: duckdb.DuckDBPyConnection, digits: int) -> None:
    """One class is rare, so that the weights of the classes differ and vary."""
    y, p = sim.scored(np.random.default_rng(9), 3, 120, 1.5)
    y = np.where((y == 1) & (np.arange(120) % 3 > 0), 0, y)
    p = np.round(p, digits).astype(np.float32)
    load(shared, Case(y.tolist(), p.argmax(axis=1).tolist(), p.tolist(), p.max(axis=1).tolist()), column="FLOAT[3]")
    found = rows(shared, "from auc_ci('run_a', level := 0.9)")
    values = list(rows(shared, "from auc('run_a')")[0].values())[2:6]
    assert [row["estimate"] for row in found] == pytest.approx(values, abs=1e-12)
    positives, own = np.bincount(y), np.eye(3)[y] > 0
    errors = []
    for score in (sk.roc_auc_score, sk.average_precision_score):
        theta = np.array([score(y == k, p[:, k]) for k in range(3)])
        added = slopes(y, p, score) * np.where(own, np.sqrt(positives / (positives - 1)), 1)
        weighted = (added @ positives + theta[y] - theta @ positives / len(y)) / len(y)
        # Of precisions that are shares of few images, with half an image less.
        noise = np.array([few(y == k, p[:, k]) if score is sk.average_precision_score else 0 for k in range(3)])
        errors += [np.sqrt((added.mean(axis=1) ** 2).sum() + noise.sum() / 9)]
        errors += [np.sqrt((weighted**2).sum() + (noise * positives**2).sum() / len(y) ** 2)]
    assert [row["std_error"] for row in found] == pytest.approx(errors, rel=1e-4)
    beside = np.array([precision_beside(y == k, p[:, k].astype(float)) for k in range(3)])
    centers = [*values[:2], beside.mean(), beside @ positives / len(y)]
    for row, center in zip(found, centers, strict=True):
        logit, half = np.log(center / (1 - center)), stats.norm.ppf(0.95) * row["std_error"] / (center * (1 - center))
        low, high = 1 / (1 + np.exp(-logit + np.array([half, -half])))
        assert [row["ci_low"], row["ci_high"]] == pytest.approx([min(low, row["estimate"]), max(high, row["estimate"])])


def test_auc_ci_of_one_class_is_delong(shared: duckdb.DuckDBPyConnection) -> None:
    """Of two classes, whose areas are one and the same number, the mean has the interval of auc_per_class."""
    y, p = sim.scored(np.random.default_rng(1), 2, 150, 1.0)
    p[:, 1] = 1 - p[:, 0]
    load(shared, Case(y.tolist(), p.argmax(axis=1).tolist(), p.tolist(), p.max(axis=1).tolist()), column="DOUBLE[]")
    (mean, *_) = rows(shared, "from auc_ci('run_a')")
    single = rows(shared, "from auc_per_class('run_a')")[0]
    for name, other in (("estimate", "roc_auc"), ("ci_low", "roc_auc_low"), ("ci_high", "roc_auc_high")):
        assert mean[name] == pytest.approx(single[other], rel=2e-3)


@pytest.mark.parametrize("name", CASES)
def test_auc_ci_on_edges(shared: duckdb.DuckDBPyConnection, name: str) -> None:
    load(shared, CASES[name])
    found = rows(shared, "from auc_ci('run_a')")
    (expected,) = rows(shared, "from auc('run_a')")
    for row in found:
        same(row["estimate"], expected[row["metric"]])
        if row["estimate"] in (None, 0, 1):
            assert row["ci_low"] is None


def test_mean_precision_of_many_small_classes(shared: duckdb.DuckDBPyConnection) -> None:
    """Around the estimate itself the interval holds the truth in one of these 30."""
    assert sum(sim.mean_area_hits(shared, 30, "map_macro", 50, 1500, 1.0)) >= 24


def test_intervals_of_means_of_areas(shared: duckdb.DuckDBPyConnection) -> None:
    assert sum(sim.mean_area_hits(shared, SETS, "roc_auc_macro", 5, 100, 1.0)) >= SETS - MOST
    assert sum(sim.mean_area_hits(shared, SETS, "map_macro", 5, 300, 1.5)) >= SETS - MOST


def check_tree(con: duckdb.DuckDBPyConnection) -> None:
    values = ", ".join(f"({child}, {parent})" for child, parent in TREE.items())
    con.execute(f"create or replace table tree as from (values {values}) as _v (class, parent)").fetchall()
    test_hierarchy(con, "tree")


def check_area(con: duckdb.DuckDBPyConnection) -> None:
    test_auc_ci(con, 1)


MUTANTS = [
    Mutant("_right", "when y_pred is null then null", "", test_without_an_answer_nothing_is_right_or_wrong),
    Mutant("_right", "try_cast(given as boolean)", "coalesce(try_cast(given as boolean), _correct(y_true, y_pred))", test_accepted_classes),
    Mutant("_pairs", "_right(is_right, null, pred) as was_right", "_correct(label, pred) as was_right", test_accepted_classes),
    Mutant("label_rank", "_x > _p", "_x >= _p", lambda con: test_label_rank(con)),
    Mutant("metric_by", "is not distinct from _values.slice", "= _values.slice", test_metric_by_of_many),
    Mutant("largest_gap", "n_groups * (n_groups - 1)", "2 * n_groups", test_largest_gap),
    Mutant("cost", "_priced.price - _limits.lowest", "_priced.price", test_cost),
    Mutant("_mean_low", "(squares + 2 * largest ** 2)", "(squares + largest ** 2)", lambda con: test_a_cost_of_one_is_the_share_of_mistakes(con, "ten")),
    Mutant("_tree_paths", "max(steps) as height", "min(steps) as height", check_tree),
    Mutant("_lca_heights", "min(_above.height)", "max(_above.height)", check_tree),
    Mutant("auc_ci", "- tied_hits / 2) / positives - 1)", ") / positives - 1)", check_area),
    Mutant("auc_ci", "(hits - 1) * positives\n", "hits * positives\n", check_area),
    Mutant("auc_ci", "(hits - 0.5)", "hits", check_area),
    Mutant("auc_ci", "_classes.gain - sum", "_classes.loss - sum", check_area),
    Mutant("auc_ci", "coalesce(max(own_area) - any_value(estimates[2]), 0)", "0", check_area),
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.name}: {mutant.new}")
def test_mutants_are_noticed(con: duckdb.DuckDBPyConnection, mutant: Mutant) -> None:
    assert is_noticed(con, mutant)


def test_wordnet_over_the_classes_of_imagenet(con: duckdb.DuckDBPyConnection) -> None:
    """Every class is there once; where two classes meet is what WordNet says, such as its web page shows it."""
    known = imagenet1k()
    tree = dict(zip(*imagenet1k_tree().to_pydict().values(), strict=True))
    assert set(known.names) <= tree.keys()
    assert [node for node, parent in tree.items() if parent is None] == ["entity"]
    pairs = [("tench", "tench"), ("tench", "goldfish"), ("golden retriever", "Labrador retriever"), ("tench", "pizza")]
    table = pa.table({"image_id": range(4), "label": [known.names.index(a) for a, _ in pairs],
                      "pred": [known.names.index(b) for _, b in pairs],
                      "label_name": [a for a, _ in pairs], "pred_name": [b for _, b in pairs]})  # fmt: skip
    con.register("answers", table)
    con.execute("create table named as from answers").fetchall()
    meets = {}
    for image, (label, _) in enumerate(pairs):
        con.execute(f"create or replace view one as from named where image_id = {image}").fetchall()
        found = sqlanalysis.metric(con, "hierarchy", "one", "imagenet1k").fetchall()
        meets[image] = next(height for height, _, correct, *_ in found if correct)
        assert found[-1][0] == max(height for height, *_ in found)
        assert label in tree
    assert meets[0] == 0
    assert 1 <= meets[2] < 10 < meets[3] <= found[-1][0]
    # Fishes: cyprinid is above both, retriever above both dogs.
    assert tree["tench"] == tree["goldfish"] == "cyprinid"
    assert meets[1] == 1
    assert tree["golden retriever"] == tree["Labrador retriever"] == "retriever"
    con.execute("update named set label_name = 'unicorn' where image_id = 0").fetchall()
    with pytest.raises(QueryError, match="the tree has no class"):
        sqlanalysis.metric(con, "hierarchy", "named", tree="imagenet1k")
