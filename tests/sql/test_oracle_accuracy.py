"""Accuracy in every form: plain, by slice, top-k, weighted, several right answers, watched at any time."""

from __future__ import annotations

import math

import duckdb
import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from scipy import stats
from sklearn import metrics as sk
from statsmodels.stats.proportion import proportion_confint

import sqlanalysis

from ..support.edge_cases import EDGES, Case, load, random_case
from ..support.oracle import CASES, Mutant, is_noticed, on_cases, quietly, rows, same, uniform_mixture


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_wilson(con: duckdb.DuckDBPyConnection, level: float) -> None:
    for k, n in [(0, 1), (1, 1), (0, 50), (3, 7), (50, 50), (999, 1000), (123456, 1000000)]:
        low, high = con.execute("select wilson_low(?, ?, ?), wilson_high(?, ?, ?)", [k, n, level] * 2).fetchall()[0]
        expected = stats.binomtest(k, n).proportion_ci(level, method="wilson")
        same(low, expected.low)
        same(high, expected.high)
    assert con.execute("select wilson_low(0, 0, 0.95), wilson_high(0, 0, 0.95)").fetchall()[0] == (None, None)


def test_accuracy(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    (actual,) = rows(shared, f"from accuracy('{load(shared, example)}', level := 0.9)")
    n, correct = len(example.y), int((example.y == example.p).sum())
    assert (actual["n"], actual["correct"]) == (n, correct)
    if not n:
        assert (actual["accuracy"], actual["ci_low"], actual["ci_high"]) == (None, None, None)
        return
    same(actual["accuracy"], sk.accuracy_score(example.y, example.p))
    expected = stats.binomtest(correct, n).proportion_ci(0.9, method="wilson")
    same(actual["ci_low"], expected.low)
    same(actual["ci_high"], expected.high)


def test_accuracy_by(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    actual = {row["slice"]: row for row in rows(shared, f"from accuracy_by('{name}', (image_id % 3, label > 1), 0.9)")}
    groups: dict[tuple[int, bool], list[bool]] = {}
    for row in example.kept:
        key = (row % 3, example.label[row] > 1)
        groups.setdefault(key, []).append(example.label[row] == example.pred[row])
    assert actual.keys() == groups.keys()
    for key, right in groups.items():
        assert (actual[key]["n"], actual[key]["correct"]) == (len(right), sum(right))
        same(actual[key]["accuracy"], sum(right) / len(right))
        interval = stats.binomtest(sum(right), len(right)).proportion_ci(0.9, method="wilson")
        same(actual[key]["ci_low"], interval.low)
        same(actual[key]["ci_high"], interval.high)


def test_topk_accuracy(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    actual = rows(shared, f"from topk_accuracy('{load(shared, example)}', ks := [1, 2, 3])")
    assert [row["k"] for row in actual] == [1, 2, 3]
    for row in actual:
        # Lower index first on ties: a stable sort of the negated probabilities. NaN is wrong.
        proba = example.proba.reshape(len(example.y), example.proba.shape[1] if len(example.y) else 0)
        top = np.argsort(-proba, axis=1, kind="stable")[:, : row["k"]]
        hit = (top == example.y[:, None]).any(axis=1) & ~np.isnan(proba).any(axis=1)
        assert (row["n"], row["correct"]) == (len(example.y), int(hit.sum()))


@pytest.mark.parametrize("name", ["binary", "ten", "hundred", "digits"])
def test_topk_accuracy_of_libraries(shared: duckdb.DuckDBPyConnection, digits: Case, name: str) -> None:
    example = digits if name == "digits" else CASES[name]
    classes = example.proba.shape[1]
    scores = example.proba[:, 1] if classes == 2 else example.proba
    table = load(shared, example)
    for row in rows(shared, f"from topk_accuracy('{table}', ks := [1, 3, {classes}])"):
        if row["k"] <= classes:
            expected = quietly(sk.top_k_accuracy_score, example.y, scores, k=row["k"], labels=range(classes))
            same(row["accuracy"], expected)
            other = tm.multiclass_accuracy(
                torch.tensor(example.proba), torch.tensor(example.y), classes, top_k=row["k"], average="micro"
            )
            same(row["accuracy"], float(other), 1e-7)


def test_label_beyond_probs_is_wrong(shared: duckdb.DuckDBPyConnection) -> None:
    name = load(shared, Case([2, 0], [1, 0], [[0.4, 0.6], [0.9, 0.1]], [0.6, 0.9]))
    assert [row["correct"] for row in rows(shared, f"from topk_accuracy('{name}', ks := [1, 5])")] == [1, 1]
    (actual,) = rows(shared, f"from proper_scores('{name}')")
    same(actual["mean_p_label"], 0.45, 1e-7)
    assert actual["log_loss"] == pytest.approx((-math.log(1.1920929e-07) - math.log(0.9)) / 2, abs=1e-6)


def test_topk_of_all_classes_is_one(shared: duckdb.DuckDBPyConnection) -> None:
    for name in ("ten", "ties", "p_zero", "certain"):
        example = CASES[name]
        classes = example.proba.shape[1]
        (row,) = rows(shared, f"from topk_accuracy('{load(shared, example)}', ks := [{classes}])")
        assert row["accuracy"] == 1


def test_weighted_accuracy(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    (actual,) = rows(shared, f"from weighted_accuracy('{name}', 1 + image_id % 3, level := 0.9)")
    w = 1.0 + np.array(example.kept) % 3
    assert actual["n"] == len(example.y)
    if not len(example.y):
        assert (actual["sum_weights"], actual["accuracy"], actual["ci_low"]) == (0, None, None)
        return
    right = (example.y == example.p).astype(float)
    share = sk.accuracy_score(example.y, example.p, sample_weight=w)
    same(actual["sum_weights"], float(w.sum()))
    same(actual["accuracy"], share)
    kish = w.sum() ** 2 / (w**2).sum()
    if 0 < share < 1:
        from statsmodels.regression.linear_model import WLS

        variance = float(WLS(right, np.ones_like(right), weights=w).fit(cov_type="HC0").bse[0]) ** 2
        kish = min(kish, share * (1 - share) / variance)
    same(actual["effective_n"], float(kish), 1e-9)
    low, high = proportion_confint(share * kish, kish, 0.1, method="wilson")
    same(actual["ci_low"], float(low), 1e-9)
    same(actual["ci_high"], float(high), 1e-9)


def test_weights_may_be_made_of_counts(shared: duckdb.DuckDBPyConnection) -> None:
    example = random_case(900, 5, 11)
    name = load(shared, example)
    (equal,) = rows(shared, f"from weighted_accuracy('{name}', 1)")
    (plain,) = rows(shared, f"from accuracy('{name}')")
    for column in ("accuracy", "ci_low", "ci_high"):
        same(equal[column], plain[column])
    (balanced,) = rows(shared, f"from weighted_accuracy('{name}', 1 / count(*) over (partition by label))")
    same(balanced["accuracy"], sk.balanced_accuracy_score(example.y, example.p))
    prior = "[0.6, 0.2, 0.1, 0.1, 0][label + 1] / count(*) over (partition by label)"
    recall = sk.recall_score(example.y, example.p, average=None)
    same(rows(shared, f"from weighted_accuracy('{name}', {prior})")[0]["accuracy"], recall @ [0.6, 0.2, 0.1, 0.1, 0])
    called = sqlanalysis.metric(shared, "weighted_accuracy", name, weight=prior).fetchall()[0]
    same(called[3], recall @ [0.6, 0.2, 0.1, 0.1, 0])


def test_odd_weights(shared: duckdb.DuckDBPyConnection) -> None:
    name = load(shared, EDGES["absent_class"])
    assert rows(shared, f"from weighted_accuracy('{name}', 0)")[0]["accuracy"] is None
    assert math.isnan(rows(shared, f"from weighted_accuracy('{name}', 'nan'::double)")[0]["ci_high"])
    (actual,) = rows(shared, f"from weighted_accuracy('{name}', case when image_id > 1 then 2 end)")
    assert (actual["n"], actual["accuracy"]) == (2, 0.5)
    with pytest.raises(duckdb.InvalidInputException, match="weights must not be negative"):
        shared.execute(f"from weighted_accuracy('{name}', -image_id)").fetchall()


def test_accuracy_accepted_is_real_accuracy(shared: duckdb.DuckDBPyConnection) -> None:
    """Beyer et al.: the mean of `prediction in labels` over the images that have labels."""
    rng = np.random.default_rng(2)
    example = random_case(700, 6, 12)
    name = load(shared, example)
    accepted = [rng.choice(6, rng.integers(0, 4), replace=False).tolist() for _ in range(700)]
    given = list(zip(range(700), accepted, strict=True))
    shared.execute("create or replace temp table told (image_id bigint, labels integer[])").fetchall()
    shared.executemany("insert into told values (?, ?)", given)
    shared.execute(f"update {name} set accepted = labels from told where told.image_id = {name}.image_id").fetchall()
    (actual,) = rows(shared, f"from accuracy_accepted('{name}', level := 0.9)")
    right = [pred in labels for pred, labels in zip(example.pred, accepted, strict=True) if labels]
    assert (actual["n"], actual["correct"], actual["n_empty"]) == (len(right), sum(right), 700 - len(right))
    same(actual["accuracy"], float(np.mean(right)))
    same(actual["ci_low"], stats.binomtest(sum(right), len(right)).proportion_ci(0.9, method="wilson").low)
    shared.execute(f"update {name} set accepted = null").fetchall()
    (plain,) = rows(shared, f"from accuracy('{name}')")
    (actual,) = rows(shared, f"from accuracy_accepted('{name}')")
    assert {key: actual[key] for key in plain} == plain


def test_accepted_alone_is_enough(shared: duckdb.DuckDBPyConnection) -> None:
    shared.execute(
        "create or replace table few as from (values (null, 1, [1, 2]), (null, 1, null), (1, null, [1]), (0, -1, [0, 2]), "
        "(0, 1, []), (0, 0, null)) t(label, pred, accepted)"
    ).fetchall()
    (actual,) = rows(shared, "from accuracy_accepted('few')")
    assert (actual["n"], actual["correct"], actual["n_empty"]) == (3, 2, 1)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_anytime_interval(con: duckdb.DuckDBPyConnection, level: float) -> None:
    for k, n in [(0, 1), (1, 1), (0, 10), (3, 7), (50, 50), (900, 1000), (123456, 1000000), (999999, 1000000)]:
        low, high = con.execute("select _anytime_low(?, ?, ?), _anytime_high(?, ?, ?)", [k, n, level] * 2).fetchall()[0]
        expected = uniform_mixture(k, n, level)
        same(low, expected[0], 1e-12)
        same(high, expected[1], 1e-12)
    assert con.execute("select _anytime_low(0, 0, 0.9), _anytime_high(0, 0, 0.9)").fetchall() == [(None, None)]


def test_accuracy_anytime(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    (actual,) = rows(shared, f"from accuracy_anytime('{load(shared, example)}', level := 0.9)")
    n, k = len(example.y), int((example.y == example.p).sum())
    low, high = uniform_mixture(k, n, 0.9) if n else (math.nan, math.nan)
    assert (actual["n"], actual["correct"]) == (n, k)
    same(actual["ci_low"], low, 1e-12)
    same(actual["ci_high"], high, 1e-12)


def test_one_may_look_after_every_image(con: duckdb.DuckDBPyConnection) -> None:
    """Of 400 evaluations watched up to 500 images, few intervals ever miss; Wilson's miss in every second one."""
    p, runs, n = 0.9, 400, 500
    right = (np.random.default_rng(0).random((runs, n)) < p).cumsum(axis=1)
    seen = sorted({(int(k), i + 1) for row in right for i, k in enumerate(row)})
    con.execute("create table looks as select unnest(?) as k, unnest(?) as n", [*map(list, zip(*seen, strict=True))])
    low, high, wilson = "_anytime_low(k, n, 0.95)", "_anytime_high(k, n, 0.95)", "wilson_low(k, n, 0.95)"
    sql = f"select k, n, {low} <= {p} and {p} <= {high}, {wilson} <= {p} and {p} <= wilson_high(k, n, 0.95) from looks"
    holds = {(k, n): (anytime, once) for k, n, anytime, once in con.execute(sql).fetchall()}
    missed = [[not all(holds[int(k), i + 1][which] for i, k in enumerate(row)) for row in right] for which in (0, 1)]
    assert np.mean(missed[0]) < 0.05
    assert np.mean(missed[1]) > 0.4


# What must be noticed: a macro, a text in its file, what stands there instead, and a check that must fail then.
MUTANTS = [
    Mutant("accuracy", "count(was_right) as n", "count(*) as n", on_cases(test_accuracy)),
    Mutant("_correct", "y_true = y_pred", "y_true >= y_pred", on_cases(test_accuracy)),
    Mutant("wilson_low", "k + _q * _q / 2 - _q", "k - _q", on_cases(test_accuracy)),
    Mutant("wilson_low", "+ _q * _q / 4", "+ _q * _q / 2", on_cases(test_accuracy)),
    Mutant("accuracy_by", "correct / nullif(n, 0)", "correct / nullif(n + 1, 0)", on_cases(test_accuracy_by)),
    Mutant("topk_accuracy", "_p = p_label", "_p < p_label", on_cases(test_topk_accuracy)),
    Mutant("topk_accuracy", "label_rank <= _wanted.k", "label_rank < _wanted.k", on_cases(test_topk_accuracy)),
    Mutant(
        "weighted_accuracy", "squares * accuracy * accuracy", "squares * accuracy", on_cases(test_weighted_accuracy)
    ),
    Mutant("weighted_accuracy", "least(kish, own)", "kish", on_cases(test_weighted_accuracy)),
    Mutant(
        "accuracy_accepted",
        "when len(accepted) > 0 then",
        "when accepted is not null then",
        test_accepted_alone_is_enough,
    ),
    Mutant("_anytime_low", "lgamma(n + 2)", "lgamma(n + 1)", on_cases(test_accuracy_anytime)),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{mutant.name}-{number}" for number, mutant in enumerate(MUTANTS)])
def test_a_mutant_is_noticed(con: duckdb.DuckDBPyConnection, mutant: Mutant) -> None:
    assert is_noticed(con, mutant)
