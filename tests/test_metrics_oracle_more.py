"""Comparison, ranking, slices, label errors, neighbours and drift against libraries, or numpy from the definition."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import torch
import torchmetrics.functional.classification as tm
from scipy import sparse, special, stats
from scipy.spatial.distance import cdist, jensenshannon, pdist
from sklearn import metrics as sk
from sklearn.neighbors import NearestNeighbors

import sqlanalysis

from .edge_cases import EDGES, Case, digits_case, load, random_case
from .test_metrics_oracle import oracle, rows, same

CASES = {
    "binary": random_case(300, 2, 1),
    "ten": random_case(2000, 10, 2),
    "hundred": random_case(600, 100, 3),
    **EDGES,
}


@pytest.fixture(scope="module")
def shared() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = sqlanalysis.connect()
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def digits() -> Case:
    """Digits with one label in twenty wrong."""
    example = oracle(digits_case)
    rng = np.random.default_rng(0)
    labels = list(example.label)
    for row in rng.choice(len(labels), 90, replace=False):
        labels[row] = int(rng.integers(0, 10))
    return Case(labels, example.pred, example.probs, example.confidence)


@pytest.fixture(params=[*CASES, "digits"])
def example(request: pytest.FixtureRequest) -> Case:
    return request.getfixturevalue("digits") if request.param == "digits" else CASES[request.param]


def has_nan(example: Case) -> bool:
    return bool(len(example.y) and np.isnan(example.proba).any())


def other_run(example: Case, seed: int = 5) -> Case:
    """A second run on the same images that differs on a third of them; a few images are missing."""
    rng = np.random.default_rng(seed)
    classes = max([1, *(one for one in example.label if one is not None)]) + 1
    change = rng.random(len(example.pred)) < 1 / 3
    pred = [
        int(rng.integers(0, classes)) if new or old is None else old
        for new, old in zip(change, example.pred, strict=True)
    ]
    keep = max(0, len(pred) - 3) if len(pred) > 10 else len(pred)
    return Case(example.label[:keep], pred[:keep], example.probs[:keep], example.confidence[:keep])


def both(example: Case, second: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, first and second predictions of the images that count."""
    found = [
        (a, b, c) for a, b, c in zip(example.label, example.pred, second.pred, strict=False) if None not in (a, b, c)
    ]
    y, a, b = np.array(found, dtype=np.int64).reshape(-1, 3).T
    return y, a, b


# Scalars


def test_scalars(con: duckdb.DuckDBPyConnection) -> None:
    def value(sql: str, *values: Any) -> Any:
        return con.execute(f"select {sql}", list(values)).fetchall()[0][0]

    for wins, losses in [(0, 0), (1, 0), (5, 5), (3, 9), (12, 80), (40000, 39000), (500000, 501500), (0, 3000)]:
        expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        assert value("sign_test(?, ?)", wins, losses) == pytest.approx(expected, rel=1e-8, abs=1e-13)
    for x in (-1, 0, 1e-9, 0.1, 1, 3.84, 20, 200):
        same(value("chi2_sf_1df(?)", x), float(stats.chi2.sf(x, 1)))
    for x in (-1, 0, 0.05, 0.3, 0.8, 0.9999, 1, 1.36, 2, 5):
        same(value("kolmogorov_sf(?)", x), float(special.kolmogorov(x)))
    for df in (0, 1, 2, 3, 10, 99, 1000):
        for x in (-1, 0, 1e-9, 1, df * 0.9, df * 1.2, df * 5):
            same(value("chi2_sf(?, ?)", x, df), float(stats.chi2.sf(x, df)) if df else 1.0)
    pooled = math.sqrt(8 / 30 * 22 / 30 * (1 / 10 + 1 / 20))
    same(value("two_proportion_z(5, 10, 3, 20)"), (0.5 - 0.15) / pooled)
    for call in (
        "two_proportion_z(0, 0, 1, 2)",
        "two_proportion_z(0, 3, 0, 4)",
        "sign_test(null, 1)",
        "chi2_sf(null, 3)",
        "chi2_sf(3, null)",
        "smirnov_sf(0, 3, 1)",
    ):
        assert value(call) is None
    assert value("bucket(37, 10)") == "[30, 40)"
    assert value("bucket(-0.25, 0.1)") == "[-0.3, -0.2)"
    assert value("bucket(1234567, 1000)") == "[1234000, 1235000)"
    assert [value(f"bucket({x})") for x in ("null, 1", "'nan'::double, 1", "'inf'::double, 1", "3, 0")] == [None] * 4
    assert value("uniform_of('a')") == value("md5_number_lower('a') % 9007199254740992") / 2**53
    found = [row[0] for row in con.execute("select uniform_of(i) from range(5000) t(i)").fetchall()]
    assert stats.kstest(found, "uniform").pvalue > 0.01


@pytest.mark.parametrize("mean", [1, 2, 5, 9, 10, 25, 400, 100000])
def test_poisson_draw(con: duckdb.DuckDBPyConnection, mean: int) -> None:
    sql = "select poisson_draw(m, poisson_steps(m), md5_number_lower(i::varchar)) from (select ? as m, unnest(range(20000)) as i)"
    found = np.array([row[0] for row in con.execute(sql, [mean]).fetchall()])
    assert abs(found.mean() - mean) < 5 * math.sqrt(mean / 20000)
    assert abs(found.var() / mean - 1) < 0.06
    edges = np.unique(stats.poisson.ppf(np.arange(0.1, 0.95, 0.1), mean))
    observed = np.bincount(np.searchsorted(edges, found), minlength=len(edges) + 1)
    expected = np.diff([0, *stats.poisson.cdf(edges, mean), 1]) * len(found)
    assert stats.chisquare(observed, expected).pvalue > 1e-3


# Two runs


def test_mcnemar(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    second = other_run(example)
    y, a, b = both(example, second)
    first, other = load(shared, example), load(shared, second, "run_b")
    pairs = rows(shared, f"from paired('{first}', '{other}') order by image_id")
    assert [(row["label"], row["pred_a"], row["pred_b"]) for row in pairs] == list(zip(y, a, b, strict=True))
    assert all(row["ok_a"] == (row["label"] == row["pred_a"]) for row in pairs)
    (found,) = rows(shared, f"from mcnemar('{first}', '{other}', level := 0.9)")
    won, lost, n = int(((b == y) & (a != y)).sum()), int(((a == y) & (b != y)).sum()), len(y)
    assert (found["n"], found["a_only"], found["b_only"]) == (n, lost, won)
    assert found["both_right"] + found["both_wrong"] == n - won - lost
    low, total = min(won, lost), won + lost
    twice = 2 * stats.binom.cdf(low, total, 0.5)
    same(found["p_exact"], min(1.0, twice), 1e-12)
    same(found["p_mid"], twice - stats.binom.pmf(low, total, 0.5), 1e-12)
    same(found["p_chi2"], float(stats.chi2.sf((abs(won - lost) - 1) ** 2 / total, 1)) if total else 1.0)
    if not n:
        assert found["diff"] is found["ci_low"] is None
        return
    same(found["accuracy_a"], float((a == y).mean()))
    same(found["accuracy_b"], float((b == y).mean()))
    same(found["diff"], (won - lost) / n)
    up, down, size = won + 0.5, lost + 0.5, n + 2
    half = stats.norm.ppf(0.95) * math.sqrt(up + down - (up - down) ** 2 / size) / size
    same(found["ci_low"], max(-1, (up - down) / size - half))
    same(found["ci_high"], min(1, (up - down) / size + half))


def test_mcnemar_of_statsmodels(shared: duckdb.DuckDBPyConnection) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    first, other = load(shared, CASES["ten"]), load(shared, other_run(CASES["ten"]), "run_b")
    (found,) = rows(shared, f"from mcnemar('{first}', '{other}')")
    cells = [[found["both_right"], found["a_only"]], [found["b_only"], found["both_wrong"]]]
    same(found["p_exact"], tables.mcnemar(cells, exact=True).pvalue)
    same(found["p_chi2"], tables.mcnemar(cells, exact=False).pvalue)


def test_agreement(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    second = other_run(example)
    y, a, b = both(example, second)
    (found,) = rows(shared, f"from agreement('{load(shared, example)}', '{load(shared, second, 'run_b')}')")
    assert found["n"] == len(y)
    if not len(y):
        assert found["agreement"] is found["kappa"] is None
        return
    same(found["agreement"], float((a == b).mean()))
    same(found["churn"], float((a != b).mean()))
    same(found["negative_flips"], float(((a == y) & (b != y)).mean()))
    same(found["positive_flips"], float(((a != y) & (b == y)).mean()))
    same(found["wrong_differently"], float(((a != y) & (b != y) & (a != b)).mean()))
    same(found["kappa"], float(oracle(sk.cohen_kappa_score, a, b)))


def macro_scores(y: np.ndarray, p: np.ndarray) -> list[float]:
    f1 = sk.f1_score(y, p, average="macro", zero_division=0)
    return [
        float((y == p).mean()),
        sk.balanced_accuracy_score(y, p),
        f1,
        sk.cohen_kappa_score(y, p),
        sk.matthews_corrcoef(y, p),
    ]


@pytest.mark.parametrize("name", ["ten", "digits", "binary"])
def test_bootstrap(shared: duckdb.DuckDBPyConnection, digits: Case, name: str) -> None:
    example = digits if name == "digits" else CASES[name]
    second = other_run(example)
    y, a, b = both(example, second)
    first, other = load(shared, Case(*(one[: len(y)] for one in vars(example).values()))), load(shared, second, "run_b")
    rng = np.random.default_rng(0)
    resamples = [rng.integers(0, len(y), len(y)) for _ in range(300)]
    of_a = np.array([macro_scores(y[one], a[one]) for one in resamples])
    of_b = np.array([macro_scores(y[one], b[one]) for one in resamples])
    found = rows(shared, f"from bootstrap_ci('{first}')")
    assert [row["metric"] for row in found] == ["accuracy", "balanced_accuracy", "f1_macro", "cohen_kappa", "mcc"]
    compared = rows(shared, f"from paired_bootstrap('{first}', '{other}')")
    assert [row["metric"] for row in compared] == ["accuracy", "balanced_accuracy", "f1_macro"]
    for index, row in enumerate(found):
        same(row["estimate"], macro_scores(y, a)[index])
        spread = of_a[:, index].std()
        assert row["std_error"] == pytest.approx(spread, rel=0.2)
        assert row["ci_low"] == pytest.approx(np.quantile(of_a[:, index], 0.025), abs=0.5 * spread)
        assert row["ci_high"] == pytest.approx(np.quantile(of_a[:, index], 0.975), abs=0.5 * spread)
    for index, row in enumerate(compared):
        same(row["a"], macro_scores(y, a)[index])
        same(row["b"], macro_scores(y, b)[index])
        same(row["diff"], row["b"] - row["a"])
        gaps = of_b[:, index] - of_a[:, index]
        assert row["ci_low"] == pytest.approx(np.quantile(gaps, 0.025), abs=0.5 * gaps.std())
        assert row["ci_high"] == pytest.approx(np.quantile(gaps, 0.975), abs=0.5 * gaps.std())
    (same_run, *_) = rows(shared, f"from paired_bootstrap('{first}', '{first}', replicates := 99)")
    assert (same_run["diff"], same_run["ci_low"], same_run["p_two_sided"]) == (0, 0, 1)


def test_bootstrap_of_replicates(shared: duckdb.DuckDBPyConnection) -> None:
    """A replicate is the scores of the drawn cells; the seed decides, the threads do not."""
    name = load(shared, CASES["outside"])
    found = rows(shared, f"from bootstrap_replicates('{name}', replicates := 30, seed := 3)")
    cells = rows(
        shared,
        "select replicate, label, pred, poisson_draw(n, poisson_steps(n), "
        "md5_number_lower(concat_ws(':', 3, replicate, label, pred))) as n "
        f"from confusion_matrix('{name}'), range(30) t(replicate)",
    )
    for row in found:
        drawn = [one for one in cells if one["replicate"] == row["replicate"]]
        y = np.repeat([one["label"] for one in drawn], [one["n"] for one in drawn])
        p = np.repeat([one["pred"] for one in drawn], [one["n"] for one in drawn])
        assert row["n"] == len(y)
        if len(y):
            load(shared, Case(y.tolist(), p.tolist(), [[1.0]] * len(y), [1.0] * len(y)), "drawn")
            (expected,) = rows(shared, "from scores('drawn')")
            for metric in ("accuracy", "balanced_accuracy", "f1_macro", "cohen_kappa", "mcc"):
                same(row[metric], expected[metric])
    assert rows(shared, f"from bootstrap_replicates('{name}', 30, 4)") != found


# Ranking and confidence


def test_ranking(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    (found,) = rows(shared, f"from ranking('{name}')")
    per_class = rows(shared, f"from ranking_per_class('{name}')")
    if not len(example.y) or has_nan(example):
        assert found["roc_auc_macro"] is None or math.isnan(found["roc_auc_macro"])
        return
    aucs, precisions, weights = [], [], []
    assert [row["class"] for row in per_class] == list(range(example.proba.shape[1]))
    for row in per_class:
        truth, score = example.y == row["class"], example.proba[:, row["class"]]
        assert row["positives"] == truth.sum()
        auc = sk.roc_auc_score(truth, score) if 0 < truth.sum() < len(truth) else None
        precision = sk.average_precision_score(truth, score) if truth.any() else None
        same(row["roc_auc"], auc)
        same(row["average_precision"], precision)
        if truth.any():
            aucs.append(math.nan if auc is None else auc)
            precisions.append(precision)
            weights.append(truth.sum())
    assert (found["classes"], found["n"]) == (len(weights), sum(weights))
    same(found["map_macro"], float(np.mean(precisions)))
    same(found["map_weighted"], float(np.average(precisions, weights=weights)))
    if not np.isnan(aucs).any():
        same(found["roc_auc_macro"], float(np.mean(aucs)))
        same(found["roc_auc_weighted"], float(np.average(aucs, weights=weights)))


@pytest.mark.parametrize("name", ["ten", "digits"])
def test_ranking_of_torchmetrics(shared: duckdb.DuckDBPyConnection, digits: Case, name: str) -> None:
    example = digits if name == "digits" else CASES[name]
    (found,) = rows(shared, f"from ranking('{load(shared, example)}')")
    probs, y = torch.tensor(example.proba), torch.tensor(example.y)
    same(found["roc_auc_macro"], float(tm.multiclass_auroc(probs, y, 10)), 1e-6)
    same(found["map_weighted"], float(tm.multiclass_average_precision(probs, y, 10, average="weighted")), 1e-6)


def test_pr_curve(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    found = rows(shared, f"from pr_curve('{name}', 1, points := 0)")
    if not len(example.y) or example.proba.shape[1] < 2:
        assert not found
        return
    kept = ~np.isnan(example.proba[:, 1])
    truth, score = example.y[kept] == 1, example.proba[kept, 1]
    thresholds = np.unique(score)[::-1]
    assert [row["threshold"] for row in found] == thresholds.tolist()
    for row in found:
        called = score >= row["threshold"]
        assert row["called"] == called.sum()
        same(row["precision"], float(truth[called].mean()))
        same(row["recall"], float(called[truth].mean()) if truth.any() else None)
        same(row["fpr"], float(called[~truth].mean()) if not truth.all() else None)
    few = rows(shared, f"from pr_curve('{name}', 1, points := 20)")
    assert len(few) <= 21
    assert [few[0], few[-1]] == [found[0], found[-1]]
    assert all(row in found for row in few)


def test_pr_curve_of_sklearn(shared: duckdb.DuckDBPyConnection, digits: Case) -> None:
    found = rows(shared, f"from pr_curve('{load(shared, digits)}', 3, points := 0)")
    precision, recall, thresholds = sk.precision_recall_curve(digits.y == 3, digits.proba[:, 3])
    assert np.allclose([row["threshold"] for row in found][::-1], thresholds, atol=0)
    assert np.allclose([row["precision"] for row in found][::-1], precision[:-1], atol=1e-15)
    assert np.allclose([row["recall"] for row in found][::-1], recall[:-1], atol=1e-15)
    fpr = sk.roc_curve(digits.y == 3, digits.proba[:, 3], drop_intermediate=False)[0]
    assert np.allclose([row["fpr"] for row in found], fpr[1:], atol=1e-15)


def test_entropy_and_classwise(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    (found,) = rows(shared, f"from entropy_scores('{name}')")
    classes = rows(shared, f"from classwise_calibration('{name}', bins := 10)")
    assert found["n"] == len(example.y)
    if not len(example.y):
        assert (found["mean_entropy"], classes) == (None, [])
        return
    proba = example.proba.astype(np.float64)
    entropy, right = special.entr(proba).sum(axis=1), example.y == example.p
    for column, chosen in (
        ("mean_entropy", right | True),
        ("mean_entropy_right", right),
        ("mean_entropy_wrong", ~right),
    ):
        same(found[column], float(entropy[chosen].mean()) if chosen.any() else None)
    for row in classes:
        p, truth = proba[:, row["class"]], example.y == row["class"]
        bins = np.minimum(np.floor(p * 10), 9)
        gaps = [
            (inside.mean(), abs(p[inside].mean() - truth[inside].mean()))
            for inside in (bins == one for one in set(bins))
            if inside.any()
        ]
        assert row["n"] == len(p)
        same(row["base_rate"], float(truth.mean()))
        if not has_nan(example):
            same(row["ece"], sum(w * g for w, g in gaps))
            same(row["mce"], max(g for _, g in gaps))
        else:
            assert math.isnan(row["ece"])


def test_selective(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    (found,) = rows(shared, f"from selective('{name}', target_accuracy := 0.8)")
    curve = rows(shared, f"from risk_coverage('{name}', points := 0)")
    n = len(example.y)
    assert found["n"] == n
    if not n or has_nan(example):
        assert found["aurc"] is None or math.isnan(found["aurc"])
        return
    wrong, c = example.y != example.p, example.c
    risk = np.array([wrong[c >= one].mean() for one in c])
    same(found["aurc"], float(risk.mean()))
    perfect = np.cumsum(np.sort(wrong)) / np.arange(1, n + 1)
    same(found["eaurc"], float(risk.mean() - perfect.mean()))
    good = c[risk <= 0.2 + 1e-12]
    same(found["coverage_at_target"], float((c >= good.min()).mean()) if len(good) else 0.0)
    same(found["threshold_at_target"], float(good.min()) if len(good) else None)
    assert [row["threshold"] for row in curve] == np.unique(c)[::-1].tolist()
    for row in curve:
        same(row["risk"], float(wrong[c >= row["threshold"]].mean()))
        same(row["coverage"], float((c >= row["threshold"]).mean()))
    few = rows(shared, f"from risk_coverage('{name}', points := 7)")
    assert len(few) <= 7
    assert few[-1]["coverage"] == 1


# Slices


def sliced(con: duckdb.DuckDBPyConnection, n: int = 900) -> tuple[list[list[str | None]], np.ndarray]:
    """A table with three columns to slice by, as texts, and which answers are wrong."""
    rng = np.random.default_rng(3)
    features = np.stack([rng.integers(0, 3, n), rng.integers(0, 2, n), rng.integers(0, 40, n)])
    wrong = rng.random(n) < np.where(features[0] == 1, 0.5, 0.2)
    texts = [[None if one == 39 else str(one) for one in column] for column in features.tolist()]
    columns = dict(zip(("camera", "split", "batch"), texts, strict=True))
    rest = {"image_id": np.arange(n), "label": np.zeros(n, int), "pred": np.where(wrong, -1, 0)}
    con.register("_made", pa.table({**rest, **{key: pa.array(one, pa.string()) for key, one in columns.items()}}))
    con.execute("create or replace table sliced as from _made").fetchall()
    return texts, wrong


@pytest.mark.parametrize("macro", ["slices", "slice_pairs"])
def test_slices(shared: duckdb.DuckDBPyConnection, macro: str) -> None:
    texts, wrong = sliced(shared)
    names = ["camera", "split", "batch"]
    found = rows(shared, f"from {macro}('sliced', {names}, min_n := 25)")
    groups: dict[tuple[str, str | None], np.ndarray] = {}
    for i, name in enumerate(names):
        others = [(name, texts[i])] if macro == "slices" else []
        if macro == "slice_pairs":
            for j in range(i + 1, 3):
                pairs = [f"{a or 'NULL'} × {b or 'NULL'}" for a, b in zip(texts[i], texts[j], strict=True)]
                others.append((f"{name} × {names[j]}", pairs))
        for feature, values in others:
            for value in set(values):
                inside = np.array([one == value for one in values])
                if inside.sum() >= 25:
                    groups[feature, value] = inside
    assert {(row["feature"], row["value"]) for row in found} == groups.keys()
    base = wrong.mean()
    for row in found:
        inside = groups[row["feature"], row["value"]]
        n, k = int(inside.sum()), int(wrong[inside].sum())
        assert (row["n"], row["errors"]) == (n, k)
        interval = stats.binomtest(k, n).proportion_ci(method="wilson")
        same(row["ci_low"], interval.low)
        same(row["ci_high"], interval.high)
        same(row["error_rate"], k / n)
        same(row["lift"], k / n / base)
        same(row["diff"], k / n - base)
        same(row["excess_errors"], k - n * base, 1e-11)
        z = (k / n - wrong[~inside].mean()) / math.sqrt(base * (1 - base) * (1 / n + 1 / (len(wrong) - n)))
        same(row["z"], z)
        same(row["p_value"], 2 * stats.norm.sf(abs(z)))
    p = np.array([row["p_value"] for row in found])
    order = np.argsort(p)
    holm = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    assert np.allclose(np.array([row["p_holm"] for row in found])[order], holm, atol=1e-14)
    assert np.allclose([row["p_bh"] for row in found], stats.false_discovery_control(p), atol=1e-14)
    assert [row["ci_low"] for row in found] == sorted((row["ci_low"] for row in found), reverse=True)


def test_slices_of_statsmodels(shared: duckdb.DuckDBPyConnection) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    _, wrong = sliced(shared)
    found = rows(shared, "from slices('sliced', ['camera', 'batch'])")
    p = []
    for row in found:
        rest = [row["errors"], wrong.sum() - row["errors"]], [row["n"], len(wrong) - row["n"]]
        z, p_value = proportion.proportions_ztest(*rest)
        same(row["z"], z)
        same(row["p_value"], p_value)
        p.append(p_value)
    for column, method in (("p_holm", "holm"), ("p_bh", "fdr_bh")):
        assert np.allclose([row[column] for row in found], multitest.multipletests(p, method=method)[1], atol=1e-14)


# Label errors


def whole_numbers(shares: np.ndarray, total: int) -> np.ndarray:
    """The shares rounded (half to even), then those moved that were rounded most, so that they add up to `total`.

    Of equal ones the higher go up and the lower go down.
    """
    whole = np.round(shares).astype(int)
    order = np.argsort(shares - whole, kind="stable")
    missing = total - whole.sum()
    whole[order[::-1][: max(missing, 0)]] += 1
    whole[order[: max(-missing, 0)]] -= 1
    return whole


def test_confident_learning(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    bars = rows(shared, f"from confident_thresholds('{name}')")
    joint = rows(shared, f"from confident_joint('{name}')")
    issues = rows(shared, f"from label_issues('{name}')")
    quality = rows(shared, f"from label_quality('{name}')")
    kept = [row for row in example.kept if not np.isnan(example.probs[row]).any()]
    if not kept:
        assert bars == joint == issues == quality == []
        return
    y = np.array([example.label[row] for row in kept])
    proba = np.array([example.probs[row] for row in kept], dtype=np.float32).astype(np.float64)
    classes = proba.shape[1]
    expected = [proba[y == one, one].mean() if (y == one).any() else None for one in range(classes)]
    for row, bar in zip(bars, expected, strict=True):
        same(row["threshold"], bar)
        assert row["n"] == (y == row["class"]).sum()
    above = proba >= np.array([2 if bar is None else max(bar, 2e-6) for bar in expected]) - 1e-6
    top = proba.argmax(axis=1)
    guess = np.where(above.sum(axis=1) > 1, top, np.where(above.any(axis=1), above.argmax(axis=1), -1))
    raw = np.array([[((y == i) & (guess == j)).sum() for j in range(classes)] for i in range(classes)])
    np.fill_diagonal(raw, np.maximum(raw.diagonal(), 1))
    cells = {(row["label"], row["true_class"]): row for row in joint}
    for i in range(classes):
        n = int((y == i).sum())
        whole = whole_numbers(raw[i] / raw[i].sum() * n, n)
        for j in range(classes):
            if raw[i, j]:
                cell = cells.pop((i, j))
                assert (cell["raw"], cell["calibrated"]) == (raw[i, j], whole[j])
    assert not cells
    own = proba[np.arange(len(y)), y]
    rest = proba.copy()
    rest[np.arange(len(y)), y] = -np.inf
    margin = own - rest.max(axis=1)
    suspects = [one for one in np.lexsort((kept, own)) if guess[one] not in (-1, y[one]) and margin[one] < -1e-6]
    assert [row["image_id"] for row in issues] == [kept[one] for one in suspects]
    for row, one in zip(issues, suspects, strict=True):
        assert row["suggested"] == guess[one]
        same(row["self_confidence"], own[one])
        same(row["confidence"], proba[one].max())
        same(row["margin"], margin[one])
    assert [row["image_id"] for row in quality] == [kept[one] for one in np.lexsort((kept, own))]
    for row in quality:
        same(row["normalized_margin"], (margin[kept.index(row["image_id"])] + 1) / 2)


CLEANLAB = {
    "twenty_thousand": random_case(20_000, 10, 2),
    "three_thousand": random_case(3000, 100, 3),
    "hundred": CASES["hundred"],
    "noise": random_case(500, 5, 4, signal=0.0),
    "binary": CASES["binary"],
    "ties": CASES["ties"],
    "certain": CASES["certain"],
}


def by_cleanlab(example: Case, filter_by: str) -> list[int]:
    search = pytest.importorskip("cleanlab.filter")
    proba = example.proba.astype(np.float64)
    kwargs = {"filter_by": filter_by, "return_indices_ranked_by": "self_confidence", "n_jobs": 1}
    return oracle(search.find_label_issues, example.y, proba, **kwargs).tolist()


@pytest.mark.parametrize("name", [*CLEANLAB, "digits"])
def test_label_issues_of_cleanlab(
    shared: duckdb.DuckDBPyConnection, digits: Case, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows in the same order, once equal remainders have an order: the library's is that of an unstable sort."""
    count = pytest.importorskip("cleanlab.count")
    example = digits if name == "digits" else CLEANLAB[name]
    table = load(shared, example)
    y, proba = example.y, example.proba.astype(np.float64)
    bars = [row["threshold"] for row in rows(shared, f"from confident_thresholds('{table}')")]
    assert np.allclose(bars, count.get_confident_thresholds(y, proba), atol=2e-6 if name == "certain" else 1e-12)
    by_rate = [row["image_id"] for row in rows(shared, f"from label_issues_by_noise_rate('{table}')")]
    as_it_is = by_cleanlab(example, "prune_by_noise_rate")
    if name != "hundred":  # six images a label: most remainders are equal
        assert len(set(by_rate) ^ set(as_it_is)) <= 0.05 * len(as_it_is)

    unstable = np.argsort
    monkeypatch.setattr(np, "argsort", lambda values, **kwargs: unstable(values, **{**kwargs, "kind": "stable"}))
    assert by_rate == by_cleanlab(example, "prune_by_noise_rate")
    issues = [row["image_id"] for row in rows(shared, f"from label_issues('{table}')")]
    assert issues == by_cleanlab(example, "confident_learning")
    for column, calibrate in (("raw", False), ("calibrated", True)):
        found = np.zeros((proba.shape[1],) * 2, dtype=int)
        for row in rows(shared, f"from confident_joint('{table}')"):
            found[row["label"], row["true_class"]] = row[column]
        assert (found == count.compute_confident_joint(y, proba, calibrate=calibrate)).all()


# Neighbours


@pytest.fixture(scope="module")
def points(shared: duckdb.DuckDBPyConnection) -> np.ndarray:
    """300 activations, some the same, in table `points`, with the exact graph in `graph`."""
    rng = np.random.default_rng(0)
    found = rng.normal(size=(300, 16)).astype(np.float32)
    found[1], found[2], found[7] = found[0] * 2, found[0] * 3, found[6]
    labels = rng.integers(0, 4, 300)
    table = {"image_id": np.arange(300), "label": labels, "x": found[:, 0], "y": found[:, 1]}
    activation = pa.FixedSizeListArray.from_arrays(found.ravel(), 16)
    shared.register("_points", pa.table({**table, "activation": activation}))
    shared.execute("create or replace table points as from _points").fetchall()
    extra = "union all by name select 900 as image_id, null as activation union all by name select 901 as image_id, [0::float for _ in range(16)]::float[16] as activation"
    shared.execute(f"create or replace view more_points as from points {extra}").fetchall()
    shared.execute("create or replace table graph as from knn_graph('more_points', k := 6)").fetchall()
    return found


def test_knn_graph(shared: duckdb.DuckDBPyConnection, points: np.ndarray) -> None:
    for macro, values, metric in (("knn_graph", points, "cosine"), ("knn_graph_xy", points[:, :2], "euclidean")):
        found = rows(shared, f"from {macro}('more_points', k := 6)")
        distance = (
            NearestNeighbors(n_neighbors=6, algorithm="brute", metric=metric).fit(values.astype(float)).kneighbors()[0]
        )
        exact = cdist(values.astype(float), values.astype(float), metric)
        assert [(row["image_id"], row["rank"]) for row in found] == [(i, r) for i in range(300) for r in range(1, 7)]
        assert np.allclose([row["distance"] for row in found], distance.ravel(), atol=5e-7)
        for row in found:
            assert row["neighbor_id"] != row["image_id"]
            assert exact[row["image_id"], row["neighbor_id"]] == pytest.approx(row["distance"], abs=5e-7)
    similar = rows(shared, "from similar_to('more_points', 5, k := 299)")
    exact = cdist(points[5:6].astype(float), points.astype(float), "cosine")[0]
    assert {row["image_id"] for row in similar} == set(range(300)) - {5}
    assert np.allclose([row["distance"] for row in similar], np.sort(np.delete(exact, 5)), atol=5e-7)
    assert all(exact[row["image_id"]] == pytest.approx(row["distance"], abs=5e-7) for row in similar)
    assert rows(shared, "from similar_to('more_points', 12345)") == []


@pytest.mark.parametrize("limit", [0.05, 0.25, 0.4])
def test_duplicates(shared: duckdb.DuckDBPyConnection, points: np.ndarray, limit: float) -> None:
    edges = [row for row in rows(shared, "from graph") if row["distance"] <= limit]
    pairs = {(min(row["image_id"], row["neighbor_id"]), max(row["image_id"], row["neighbor_id"])) for row in edges}
    found = rows(shared, f"from near_duplicates('graph', max_distance := {limit})")
    assert {(row["image_a"], row["image_b"]) for row in found} == pairs
    assert len(found) == len(pairs)
    first, second = np.array(sorted(pairs)).T
    graph = sparse.coo_array((np.ones(len(pairs)), (first, second)), shape=(300, 300))
    component = sparse.csgraph.connected_components(graph, directed=False)[1]
    groups = rows(shared, f"from duplicate_groups('graph', max_distance := {limit})")
    assert {row["image_id"] for row in groups} == {one for pair in pairs for one in pair}
    for row in groups:
        members = np.flatnonzero(component == component[row["image_id"]])
        assert (row["group_id"], row["group_size"]) == (members.min(), len(members))


def test_a_long_chain_is_one_group(shared: duckdb.DuckDBPyConnection) -> None:
    chain = "select i as image_id, i + 1 as neighbor_id, 0.01 as distance from range(400) t(i)"
    shared.execute(f"create or replace table chain as {chain}").fetchall()
    assert {(row["group_id"], row["group_size"]) for row in rows(shared, "from duplicate_groups('chain')")} == {
        (0, 401)
    }


def test_outliers_and_purity(shared: duckdb.DuckDBPyConnection, points: np.ndarray) -> None:
    graph = rows(shared, "from graph")
    distance = np.array([row["distance"] for row in graph]).reshape(300, 6)[:, :5]
    nearest = np.array([row["neighbor_id"] for row in graph]).reshape(300, 6)[:, :5]
    outliers = rows(shared, "from knn_outliers('graph', k := 5)")
    means = distance.mean(axis=1)
    for row in outliers:
        same(row["mean_distance"], means[row["image_id"]])
        same(row["kth_distance"], distance[row["image_id"], 4])
        same(row["percentile"], float((means <= means[row["image_id"]] + 1e-15).mean()))
    assert [row["mean_distance"] for row in outliers] == sorted(
        (row["mean_distance"] for row in outliers), reverse=True
    )
    labels = np.array([row["label"] for row in rows(shared, "from points order by image_id")])
    agreement = rows(shared, "from neighbour_agreement('points', 'graph', k := 5)")
    purity = (labels[nearest] == labels[:, None]).mean(axis=1)
    votes = np.array([np.bincount(row, minlength=4).argmax() for row in labels[nearest]])
    assert len(agreement) == 300
    for row in agreement:
        image = row["image_id"]
        assert (row["label"], row["neighbours"], row["neighbour_label"]) == (labels[image], 5, votes[image])
        same(row["purity"], purity[image])
    for row in rows(shared, "from class_purity('points', 'graph', k := 5)"):
        mine = labels == row["class"]
        assert (row["n"], row["isolated"]) == (mine.sum(), (purity[mine] == 0).sum())
        same(row["purity"], purity[mine].mean())
        same(row["knn_accuracy"], float((votes[mine] == row["class"]).mean()))


@pytest.mark.parametrize("k", [5, 10])
def test_outliers_of_cleanlab(shared: duckdb.DuckDBPyConnection, points: np.ndarray, k: int) -> None:
    """cleanlab's score of an image is exp(-mean distance / median of all mean distances)."""
    outlier = pytest.importorskip("cleanlab.outlier")
    expected = oracle(outlier.OutOfDistribution({"k": k}).fit_score, features=points, verbose=False)
    shared.execute(f"create or replace table near as from knn_graph('points', k := {k})").fetchall()
    score = "exp(-mean_distance / median(mean_distance) over ())"
    found = rows(shared, f"select image_id, {score} as score from knn_outliers('near', k := {k}) order by image_id")
    assert np.abs(np.array([row["score"] for row in found]) - expected).max() < 2e-6
    order = [row["image_id"] for row in rows(shared, f"from knn_outliers('near', k := {k})")]
    assert np.array_equal(order[:20], np.argsort(expected, kind="stable")[:20])


def test_leaks(shared: duckdb.DuckDBPyConnection, points: np.ndarray) -> None:
    splits = "case when image_id % 3 = 0 then 'train' when image_id % 3 = 1 then 'test' end"
    shared.execute(f"create or replace view split_points as select *, {splits} as split from points").fetchall()
    found = rows(shared, "from leaks('split_points', 'graph', max_distance := 0.4)")
    pairs = rows(shared, "from near_duplicates('graph', max_distance := 0.4)")
    expected = [row for row in pairs if {row["image_a"] % 3, row["image_b"] % 3} == {0, 1}]
    assert [(row["image_a"], row["image_b"], row["distance"]) for row in found] == [
        tuple(row.values()) for row in expected
    ]
    labels = dict(shared.execute("select image_id, label from points").fetchall())
    for row in found:
        assert (row["split_a"], row["split_b"]) == tuple(
            ["train", "test"][row[one] % 3] for one in ("image_a", "image_b")
        )
        assert (row["label_a"], row["label_b"]) == (labels[row["image_a"]], labels[row["image_b"]])
    assert found[0]["distance"] == 0
    assert rows(shared, "from leaks('split_points', 'graph', max_distance := -1)") == []


# Drift


@pytest.mark.parametrize(("n", "m"), [(30, 25), (300, 500), (3000, 2000), (0, 10), (10, 0)])
def test_drift(shared: duckdb.DuckDBPyConnection, n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    sides = {
        "ref": (rng.normal(size=n), rng.normal(size=(n, 8))),
        "cur": (rng.normal(0.2, 1, m), rng.normal(0.2, 1, (m, 8))),
    }
    for name, (value, activation) in sides.items():
        vectors = pa.array(activation.astype(np.float32).tolist(), pa.list_(pa.float32()))
        shared.register("_side", pa.table({"image_id": np.arange(len(value)), "v": value, "activation": vectors}))
        junk = "union all by name select 99999 as image_id, 'nan'::double as v" if n and m else ""
        shared.execute(f"create or replace table {name} as from _side {junk}").fetchall()
    (a, A), (b, B) = sides.values()
    (ks,) = rows(shared, "from ks_test('ref', 'cur', v)")
    (psi,) = rows(shared, "from psi_numeric('ref', 'cur', v)")
    (category,) = rows(shared, "from psi_category('ref', 'cur', case when not isnan(v) then floor(v * 2) else -9 end)")
    (mmd,) = rows(shared, "from mmd('ref', 'cur', sample_n := 300, gamma := 0.1)")
    assert (ks["n_ref"], ks["n_cur"], psi["n_ref"], psi["n_cur"]) == (n, m, n, m)
    if not n or not m:
        assert (
            ks["d"] is ks["p_value"] is psi["psi"] is category["psi"] is category["js_distance"] is mmd["mmd2"] is None
        )
        return
    expected = stats.ks_2samp(a, b, method="exact")
    same(ks["d"], expected.statistic)
    assert ks["p_value"] == pytest.approx(expected.pvalue, rel=1e-9)
    edges = np.quantile(a, np.arange(1, 10) / 10)
    p, q = (
        np.maximum(np.bincount(np.searchsorted(edges, one, side="right"), minlength=10) / len(one), 1e-4)
        for one in (a, b)
    )
    same(psi["psi"], float(((q - p) * np.log(q / p)).sum()))
    assert psi["bins"] == 10
    a, b = (np.append(np.floor(one * 2), -9) for one in (a, b))
    values = np.union1d(a, b)
    p, q = (np.array([(one == value).mean() for value in values]) for one in (a, b))
    assert category["categories"] == len(values)
    same(category["js_distance"], float(jensenshannon(p, q)))
    same(category["total_variation"], float(abs(p - q).sum() / 2))
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    same(category["psi"], float(((q - p) * np.log(q / p)).sum()))
    table = [[(one == value).sum() for value in values] for one in (a, b)]
    same(category["p_value"], float(stats.chi2_contingency(table, correction=False).pvalue))
    assert (category["n_ref"], category["n_cur"]) == (n + 1, m + 1)
    if max(n, m) <= 300:
        A, B = A.astype(np.float32).astype(float), B.astype(np.float32).astype(float)

        def mean_kernel(one: np.ndarray) -> float:
            return float(np.exp(-0.1 * pdist(one, "sqeuclidean")).mean())

        across = float(np.exp(-0.1 * cdist(A, B, "sqeuclidean")).mean())
        same(mmd["mmd2"], mean_kernel(A) + mean_kernel(B) - 2 * across, 1e-11)
        (free,) = rows(shared, "from mmd('ref', 'cur')")
        same(free["gamma"], float(1 / np.median(pdist(np.vstack([A, B]), "sqeuclidean"))), 1e-11)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 30), (7, 12), (25, 30), (60, 60), (100, 37)])
def test_smirnov_is_exact(shared: duckdb.DuckDBPyConnection, n: int, m: int) -> None:
    """Two samples that lie as far apart as can be asked, against scipy's exact p, tails included."""
    for shift in range(0, n + m, 3):
        a = np.arange(n) * (m + 1)
        b = np.arange(m) * (n + 1) + shift * (n + m) * 0.5 + 0.25
        found = stats.ks_2samp(a, b, method="exact")
        gap = round(found.statistic * n * m)
        (row,) = rows(shared, f"select smirnov_sf({n}, {m}, {gap}) as p")
        assert row["p"] == pytest.approx(found.pvalue, rel=1e-12)


@pytest.mark.parametrize(("n", "m", "method"), [(3000, 2999, "exact"), (9000, 9000, "exact"), (60000, 1500, "asymp")])
def test_ks_test_of_scipy(shared: duckdb.DuckDBPyConnection, n: int, m: int, method: str) -> None:
    rng = np.random.default_rng(n)
    for gap in (0.0, 0.04, 0.5):
        a, b = rng.normal(size=n).round(3), rng.normal(gap, 1, m).round(3)
        for name, values in (("ref", a), ("cur", b)):
            shared.register("_side", pa.table({"v": values}))
            shared.execute(f"create or replace table {name} as from _side").fetchall()
        (found,) = rows(shared, "from ks_test('ref', 'cur', v)")
        expected = stats.ks_2samp(a, b, method=method)
        same(found["d"], expected.statistic)
        assert found["p_value"] == pytest.approx(expected.pvalue, abs=1e-12 if method == "exact" else 1e-4)


def mmd2(kernel: np.ndarray, ref: np.ndarray) -> float:
    """The unbiased estimate of Gretton et al. (2012), equation 3."""
    inside = [kernel[np.ix_(one, one)][~np.eye(one.sum(), dtype=bool)].mean() for one in (ref, ~ref)]
    return float(sum(inside) - 2 * kernel[np.ix_(ref, ~ref)].mean())


def test_mmd_tells_a_difference_from_none(shared: duckdb.DuckDBPyConnection) -> None:
    rng = np.random.default_rng(1)
    found = []
    for repeat in range(20):
        for shift in (0, 0.7):
            vectors = {"ref": rng.normal(size=(40, 4)), "cur": rng.normal(shift, 1, (30, 4))}
            for name, values in vectors.items():
                made = {"image_id": range(len(values)), "activation": pa.array(values.tolist())}
                shared.register("_side", pa.table(made))
                shared.execute(f"create or replace table {name} as from _side").fetchall()
            (row,) = rows(shared, f"from mmd('ref', 'cur', gamma := 0.2, seed := {repeat})")
            both = np.vstack(list(vectors.values()))
            kernel = np.exp(-0.2 * cdist(both, both, "sqeuclidean"))
            side = np.arange(70) < 40
            same(row["mmd2"], mmd2(kernel, side), 1e-12)
            shuffled = [mmd2(kernel, rng.permutation(side)) for _ in range(199)]
            expected = (1 + sum(one >= row["mmd2"] for one in shuffled)) / 200
            assert row["p_value"] == pytest.approx(expected, abs=0.15)
            found.append((shift, row["p_value"]))
    assert sum(p <= 0.05 for shift, p in found if not shift) <= 4
    assert sum(p <= 0.05 for shift, p in found if shift) >= 15


def test_drift_of_all_features(shared: duckdb.DuckDBPyConnection) -> None:
    rng = np.random.default_rng(2)
    sides = {}
    for name, n, shift in (("ref", 400, 0.0), ("cur", 350, 0.8)):
        vectors = pa.FixedSizeListArray.from_arrays(rng.normal(size=n * 6).astype(np.float32), 6)
        sides[name] = {
            "image_id": np.arange(n),
            "confidence": rng.beta(5 - 3 * shift, 1, n),
            "width_px": rng.integers(100, 400, n),
            "label": pa.array([*rng.integers(0, 5, n).tolist()[:-1], None], pa.int32()),
            "pred": np.minimum(rng.integers(-1, 5, n) + (rng.random(n) < shift / 2), 4),
            "value": np.arange(n),  # names of the macro's own columns do no harm
            "feature": ["x"] * n,
            "activation": vectors,
        }
        shared.register("_side", pa.table(sides[name]))
        shared.execute(f"create or replace table {name} as from _side").fetchall()
    found = {row["feature"]: row for row in rows(shared, "from drift('ref', 'cur')")}
    assert set(found) == {"confidence", "width_px", "label", "pred", "activation"}
    for name in ("confidence", "width_px"):
        expected = stats.ks_2samp(sides["ref"][name], sides["cur"][name])
        same(found[name]["value"], expected.statistic)
        assert found[name]["p_value"] == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-12)
    for name in ("label", "pred"):
        a, b = ([one for one in pa.array(sides[side][name]).to_pylist() if one is not None] for side in ("ref", "cur"))
        table = np.array([[part.count(one) for one in range(-1, 5)] for part in (a, b)])
        table = table[:, table.sum(axis=0) > 0]
        same(found[name]["p_value"], float(stats.chi2_contingency(table, correction=False).pvalue), 1e-12)
        shares = table / table.sum(axis=1, keepdims=True)
        same(found[name]["value"], float(abs(shares[0] - shares[1]).sum() / 2))
        assert (found[name]["n_ref"], found[name]["n_cur"]) == (len(a), len(b))
    (mmd,) = rows(shared, "from mmd('ref', 'cur')")
    assert (found["activation"]["value"], found["activation"]["p_value"]) == (mmd["mmd2"], mmd["p_value"])
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    corrected = multitest.multipletests([row["p_value"] for row in found.values()], method="holm")[1]
    assert np.allclose([row["p_holm"] for row in found.values()], corrected, atol=1e-15)
    verdicts = {name: row["verdict"] for name, row in found.items() if row["p_holm"] < 0.05}
    assert verdicts == {"confidence": "differs", "pred": "differs"}
    assert rows(shared, "with none as (from ref limit 0) from drift('ref', 'none')") == []
    few = rows(shared, "with few as (select image_id, pred from cur) from drift('ref', 'few')")
    assert [row["feature"] for row in few] == ["pred"]


# The shell


def test_shell_compares_two_relations(shell: str, tmp_path: Path) -> None:
    path = tmp_path / "two.duckdb"
    con = sqlanalysis.connect(path)
    load(con, CASES["ten"], "a")
    load(con, other_run(CASES["ten"]), "b")
    calls = [
        "select * from mcnemar('a', 'b')",
        "select * from agreement('a', 'b')",
        "select * from paired_bootstrap('a', 'b', replicates := 200)",
        "select * from ks_test('a', 'b', list_max(probs) * (1 + pred))",
        "select * from psi_numeric('a', 'b', confidence * pred)",
        "select * from psi_category('a', 'b', pred)",
        "select * from mmd('a', 'b', sample_n := 100)",
        "select * from slices('b', ['label', 'neighbor_id'])",
    ]
    expected = [[str(one) for row in con.execute(sql).fetchall() for one in row] for sql in calls]
    con.execute("set threads = 1").fetchall()
    alone = [one for row in con.execute(calls[2]).fetchall() for one in row[1:]]
    assert alone == pytest.approx([float(one) for i, one in enumerate(expected[2]) if i % 7], abs=1e-12)
    con.close()
    for sql, python in zip(calls, expected, strict=True):
        command = [
            shell,
            "-readonly",
            "-list",
            "-noheader",
            "-separator",
            "\n",
            "-nullvalue",
            "None",
            str(path),
            "-c",
            sql,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert done.stderr == ""
        for one, other in zip(done.stdout.split("\n")[: len(python)], python, strict=True):
            try:
                assert float(one) == pytest.approx(float(other), abs=1e-6)
            except ValueError:
                assert one == other
