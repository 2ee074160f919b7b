"""Two runs over the same images: tests, intervals, bootstraps, classes, flips, the sentence."""

from __future__ import annotations

import hashlib
import math
import re
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy import special, stats
from sklearn import metrics as sk

from ..support import simulations as sim
from ..support.edge_cases import Case, load
from ..support.oracle import (
    CASES,
    Mutant,
    agresti_min,
    both,
    is_noticed,
    on_cases,
    other_run,
    paired_interval,
    quietly,
    rows,
    same,
    uniform_mixture,
)


def test_mcnemar(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    second = other_run(example)
    y, a, b = both(example, second)
    first, other = load(shared, example), load(shared, second, "run_b")
    pairs = rows(shared, f"from paired('{other}', '{first}') order by image_id")
    assert [(row["label"], row["pred_baseline"], row["pred_run"]) for row in pairs] == list(zip(y, a, b, strict=True))
    assert all(row["correct_baseline"] == (row["label"] == row["pred_baseline"]) for row in pairs)
    (actual,) = rows(shared, f"from mcnemar('{other}', '{first}', level := 0.9)")
    won, lost, n = int(((b == y) & (a != y)).sum()), int(((a == y) & (b != y)).sum()), len(y)
    assert (actual["n"], actual["baseline_only"], actual["run_only"]) == (n, lost, won)
    assert actual["both_right"] + actual["both_wrong"] == n - won - lost
    low, total = min(won, lost), won + lost
    twice = 2 * stats.binom.cdf(low, total, 0.5)
    same(actual["p_exact"], min(1.0, twice), 1e-12)
    same(actual["p_mid"], twice - stats.binom.pmf(low, total, 0.5), 1e-12)
    same(actual["p_chi2"], float(stats.chi2.sf((abs(won - lost) - 1) ** 2 / total, 1)) if total else 1.0)
    if not n:
        assert actual["diff"] is actual["ci_low"] is None
        return
    same(actual["accuracy_baseline"], float((a == y).mean()))
    same(actual["accuracy_run"], float((b == y).mean()))
    same(actual["diff"], (won - lost) / n)
    low, high = paired_interval(won, lost, n, 0.9)
    same(actual["ci_low"], low)
    same(actual["ci_high"], high)


def test_mcnemar_of_statsmodels(shared: duckdb.DuckDBPyConnection) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    first, other = load(shared, CASES["ten"]), load(shared, other_run(CASES["ten"]), "run_b")
    (actual,) = rows(shared, f"from mcnemar('{other}', '{first}')")
    cells = [[actual["both_right"], actual["baseline_only"]], [actual["run_only"], actual["both_wrong"]]]
    same(actual["p_exact"], tables.mcnemar(cells, exact=True).pvalue)
    same(actual["p_chi2"], tables.mcnemar(cells, exact=False).pvalue)


def test_agreement(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    second = other_run(example)
    y, a, b = both(example, second)
    (actual,) = rows(shared, f"from agreement('{load(shared, second, 'run_b')}', '{load(shared, example)}')")
    assert actual["n"] == len(y)
    if not len(y):
        assert actual["agreement"] is actual["kappa"] is None
        return
    same(actual["agreement"], float((a == b).mean()))
    same(actual["churn"], float((a != b).mean()))
    same(actual["negative_flips"], float(((a == y) & (b != y)).mean()))
    same(actual["positive_flips"], float(((a != y) & (b == y)).mean()))
    same(actual["wrong_differently"], float(((a != y) & (b != y) & (a != b)).mean()))
    same(actual["kappa"], float(quietly(sk.cohen_kappa_score, a, b)))


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
    first, other = (
        load(shared, Case(*(each[: len(y)] for each in vars(example).values()))),
        load(shared, second, "run_b"),
    )
    rng = np.random.default_rng(0)
    resamples = [rng.integers(0, len(y), len(y)) for _ in range(300)]
    of_a = np.array([macro_scores(y[each], a[each]) for each in resamples])
    of_b = np.array([macro_scores(y[each], b[each]) for each in resamples])
    actual = rows(shared, f"from bootstrap_ci('{first}')")
    assert [row["metric"] for row in actual] == ["accuracy", "balanced_accuracy", "f1_macro", "cohen_kappa", "mcc"]
    compared = rows(shared, f"from paired_bootstrap('{other}', '{first}')")
    assert [row["metric"] for row in compared] == ["accuracy", "balanced_accuracy", "f1_macro"]
    for index, row in enumerate(actual):
        same(row["estimate"], macro_scores(y, a)[index])
        spread = of_a[:, index].std()
        assert row["std_error"] == pytest.approx(spread, rel=0.2)
        assert row["ci_low"] == pytest.approx(np.quantile(of_a[:, index], 0.025), abs=0.5 * spread)
        assert row["ci_high"] == pytest.approx(np.quantile(of_a[:, index], 0.975), abs=0.5 * spread)
    for index, row in enumerate(compared):
        same(row["value_baseline"], macro_scores(y, a)[index])
        same(row["value_run"], macro_scores(y, b)[index])
        same(row["diff"], row["value_run"] - row["value_baseline"])
        gaps = of_b[:, index] - of_a[:, index]
        assert row["ci_low"] == pytest.approx(np.quantile(gaps, 0.025), abs=0.5 * gaps.std())
        assert row["ci_high"] == pytest.approx(np.quantile(gaps, 0.975), abs=0.5 * gaps.std())
    (same_run, *_) = rows(shared, f"from paired_bootstrap('{first}', '{first}', n_resamples := 99)")
    assert (same_run["diff"], same_run["ci_low"], same_run["p_two_sided"]) == (0, 0, 1)


def lowbias32(x: int) -> int:
    """The 32-bit hash function of C. Wellons, hash-prospector."""
    x = ((x ^ x >> 16) * 0x7FEB352D) & 0xFFFFFFFF
    x = ((x ^ x >> 15) * 0x846CA68B) & 0xFFFFFFFF
    return x ^ x >> 16


def resample_bits(seed: str, cell: str, replicate: str) -> int:
    """MD5 of the cell and of the replicate, mixed; the last eight bytes of MD5, lowest first."""
    keys = (hashlib.md5(f"{seed}:{each}".encode()).digest()[8:] for each in (cell, replicate))
    first, second = (int.from_bytes(key, "little") for key in keys)
    high = lowbias32((first ^ second) >> 32)
    return high << 32 | lowbias32((first ^ second) & 0xFFFFFFFF ^ high)


def test_bootstrap_of_replicates(shared: duckdb.DuckDBPyConnection) -> None:
    """A replicate is the scores of the drawn cells; the seed decides, the threads do not."""
    name = load(shared, CASES["outside"])
    actual = rows(shared, f"from _bootstrap_replicates('{name}', n_resamples := 30, seed := 3)")
    cells = rows(shared, f"from confusion_matrix('{name}'), range(30) t(replicate)")
    for cell in cells:
        bits = resample_bits("3", f"{cell['label']}:{cell['pred']}", str(cell["replicate"]))
        draw = f"_poisson_draw({cell['n']}, _poisson_steps({cell['n']}), {bits})"
        cell["n"] = shared.execute(f"select {draw}").fetchall()[0][0]
    for row in actual:
        drawn = [each for each in cells if each["replicate"] == row["replicate"]]
        y = np.repeat([each["label"] for each in drawn], [each["n"] for each in drawn])
        p = np.repeat([each["pred"] for each in drawn], [each["n"] for each in drawn])
        assert row["n"] == len(y)
        if len(y):
            load(shared, Case(y.tolist(), p.tolist(), [[1.0]] * len(y), [1.0] * len(y)), "drawn")
            (expected,) = rows(shared, "from scores('drawn')")
            for metric in ("accuracy", "balanced_accuracy", "f1_macro", "cohen_kappa", "mcc"):
                same(row[metric], expected[metric])
    assert rows(shared, f"from _bootstrap_replicates('{name}', 30, 4)") != actual


def test_draws_of_every_mean(shared: duckdb.DuckDBPyConnection) -> None:
    """What is drawn by comparing whole numbers is what _poisson_draw gives, below mean 10 and above."""
    means = [1, 2, 3, 5, 8, 9, 10, 11, 60, 1000]
    cells = "(select n as mean, n, concat('cell', n) as cell from (select unnest($means) as n))"
    sql = f"with cells as (from {cells}) select mean, replicate, n from _resampled('cells', 300, 9)"
    drawn = {(mean, replicate): n for mean, replicate, n in shared.execute(sql, {"means": means}).fetchall()}
    for mean in means:
        bits = [resample_bits("9", f"cell{mean}", str(replicate)) for replicate in range(300)]
        sql = "select _poisson_draw($mean, _poisson_steps($mean), bits) from (select unnest($bits::ubigint[]) as bits)"
        expected = [n for (n,) in shared.execute(sql, {"mean": mean, "bits": bits}).fetchall()]
        assert [drawn.get((mean, replicate), 0) for replicate in range(300)] == expected
        assert np.mean(expected) == pytest.approx(mean, abs=5 * np.sqrt(mean / 300))


def exact(baseline_only: int, run_only: int) -> float:
    return float(stats.binomtest(run_only, baseline_only + run_only).pvalue) if baseline_only + run_only else 1.0


def test_paired_interval(con: duckdb.DuckDBPyConnection) -> None:
    both_ends = "select _paired_low($1, $2, $3, $4), 0 - _paired_low($2, $1, $3, $4)"
    for cell in [(0, 0, 1, 0.95), (0, 1, 1, 0.95), (41, 7, 899, 0.9), (3, 9, 12, 0.999), (5000, 4000, 1000000, 0.5)]:
        ((low, high),) = con.execute(both_ends, list(cell)).fetchall()
        expected = paired_interval(*cell)
        same(low, expected[0])
        same(high, expected[1])
    for cell in [(0, 0, 0, 0.95), (None, 1, 2, 0.95)]:
        assert con.execute(both_ends, list(cell)).fetchall() == [(None, None)]


@pytest.mark.parametrize("name", CASES)
def test_compare_classes(shared: duckdb.DuckDBPyConnection, name: str) -> None:
    second = other_run(CASES[name])
    y, a, b = both(CASES[name], second)
    first, other = load(shared, CASES[name]), load(shared, second, "run_b")
    actual = rows(shared, f"from compare_classes('{other}', '{first}', level := 0.9)")
    assert sorted(row["class"] for row in actual) == sorted(set(y.tolist()))
    assert [row["p_value"] for row in actual] == sorted(row["p_value"] for row in actual)
    for row in actual:
        of = y == row["class"]
        correct_baseline, correct_run = (a == y)[of], (b == y)[of]
        counts = int((correct_baseline & ~correct_run).sum()), int((correct_run & ~correct_baseline).sum())
        assert (row["n"], row["baseline_only"], row["run_only"]) == (of.sum(), *counts)
        same(row["recall_baseline"], float(correct_baseline.mean()))
        same(row["recall_run"], float(correct_run.mean()))
        same(row["diff"], float(correct_run.mean() - correct_baseline.mean()))
        low, high = paired_interval(*counts[::-1], int(of.sum()), 0.9)
        same(row["ci_low"], low)
        same(row["ci_high"], high)
        same(row["p_value"], exact(*counts), 1e-12)


def test_compare_classes_with_groups_has_the_tests_of_mcnemar(con: duckdb.DuckDBPyConnection) -> None:
    made = sim.grouped(30, 12, 0.4, 0.75, 5, 2)
    label = made["patient"] % 3
    table = pa.table({"image_id": made["image_id"], "label": label, "patient": made["patient"]}
                     | {run: np.where(made[f"pred_{i}"] == 0, label, 3) for i, run in enumerate("ab")})  # fmt: skip
    con.register("answers", table)
    for run in "ab":
        con.execute(f"create table {run} as select image_id, label, patient, {run} as pred from answers").fetchall()
    found = {row["class"]: row for row in rows(con, "from compare_classes('b', 'a', groups := patient)")}
    assert found.keys() == {0, 1, 2}
    for label, row in found.items():
        con.execute(f"create or replace view part as from b where label = {label}").fetchall()
        (test,) = rows(con, "from mcnemar('part', 'a', groups := patient)")
        for name, other in {"diff": "diff", "ci_low": "ci_low", "ci_high": "ci_high", "p_value": "p_exact"}.items():
            assert row[name] == test[other]
    p_values = sorted(row["p_value"] for row in found.values())
    assert min(row["p_holm"] for row in found.values()) == pytest.approx(min(1, 3 * p_values[0]))
    plain = {row["class"]: row for row in rows(con, "from compare_classes('b', 'a')")}
    assert all(found[label]["p_value"] >= plain[label]["p_value"] for label in plain)
    alone = rows(con, "from compare_classes('b', 'a', groups := label)")
    assert all(row["p_value"] is row["p_holm"] is row["p_bh"] is row["ci_low"] is None for row in alone)


def test_compare_classes_of_statsmodels(shared: duckdb.DuckDBPyConnection) -> None:
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.multitest import multipletests

    first, other = load(shared, CASES["ten"]), load(shared, other_run(CASES["ten"]), "run_b")
    actual = rows(shared, f"from compare_classes('{other}', '{first}')")
    p = [mcnemar([[0, row["baseline_only"]], [row["run_only"], 0]], exact=True).pvalue for row in actual]
    assert [row["p_value"] for row in actual] == pytest.approx(p, abs=1e-12)
    for column, method in (("p_holm", "holm"), ("p_bh", "fdr_bh")):
        expected = multipletests(p, method=method)[1]
        assert [row[column] for row in actual] == pytest.approx(expected, abs=1e-12)
        assert 0 < min(expected) < max(expected)


def flip_case() -> tuple[Case, Case]:
    """Ten images: unchanged, lost (confidences with ties, NaN and NULL), won, wrong in another way."""
    probs = [[0.5, 0.5]] * 10
    first = Case([1] * 10, [1, 1, 1, 1, 1, 1, 1, 0, 0, 0], list(probs), [0.5] * 10)
    confidence = [0.9, 0.2, 0.8, 0.8, math.nan, None, 0.1, 0.3, 0.6, 0.7]
    return first, Case([1] * 10, [1, 0, 0, -1, 0, 0, None, 1, 1, 2], list(probs), confidence)


def test_flips(shared: duckdb.DuckDBPyConnection) -> None:
    first, second = flip_case()
    load(shared, first), load(shared, second, "run_b", order=3)
    actual = rows(shared, "from flips('run_b', 'run_a')")
    assert [row["image_id"] for row in actual] == [2, 3, 1, 4, 5, 8, 7]
    assert [(row["correct_baseline"], row["correct_run"]) for row in actual] == [(True, False)] * 5 + [
        (False, True)
    ] * 2
    assert [row["pred_run"] for row in actual] == [0, -1, 0, 0, 0, 1, 1]
    assert [row["confidence_run"] for row in actual][:3] == pytest.approx([0.8, 0.8, 0.2])
    assert rows(shared, "from flips('run_b', 'run_a', max_rows := 3)") == actual[:3]
    shared.execute("create or replace temp view bare as select image_id, label, pred from run_b")
    bare = rows(shared, "from flips('bare', 'run_a')")
    assert [row["image_id"] for row in bare] == [1, 2, 3, 4, 5, 7, 8]
    assert {row["confidence_run"] for row in bare} == {None}


@pytest.mark.parametrize("name", ["ten", "digits_like", "empty", "null_label"])
def test_flips_are_those_of_mcnemar(shared: duckdb.DuckDBPyConnection, name: str) -> None:
    example = CASES.get(name, CASES["hundred"])
    first, other = load(shared, example), load(shared, other_run(example), "run_b")
    actual = rows(shared, f"from flips('{other}', '{first}', max_rows := 10000)")
    (counts,) = rows(shared, f"from mcnemar('{other}', '{first}')")
    assert sum(row["correct_baseline"] for row in actual) == counts["baseline_only"]
    assert sum(row["correct_run"] for row in actual) == counts["run_only"]


def counted(con: duckdb.DuckDBPyConnection, baseline_only: int, run_only: int, n: int) -> None:
    """Relations old and new with so many images that only one of them has right."""
    con.execute(
        f"create or replace temp table old as select i as image_id, 0 as label, (i < {run_only})::int as pred from range({n}) t(i)"
    )
    con.execute(
        "create or replace temp table new as select i as image_id, 0 as label, "
        f"(i >= {run_only} and i < {baseline_only + run_only})::int as pred from range({n}) t(i)"
    )


@pytest.mark.parametrize(
    ("baseline_only", "run_only", "n", "level", "sentence"),
    [
        (41, 7, 899, 0.95, "new is worse than old by 3.8 points of accuracy (95 % interval 2.3 to 5.3, n = 899)"),
        (7, 41, 899, 0.9, "new is better than old by 3.8 points of accuracy (90 % interval 2.5 to 5.0, n = 899)"),
        (0, 12, 30, 0.999, "new is better than old by 40.0 points of accuracy (99.9 % interval 7.5 to 67.5, n = 30)"),
        # The interval alone would exclude 0, the exact test (p = 1/16) does not establish it.
        (0, 5, 60, 0.95, "new against old: difference not established at this n (60 images; +8.3 points of accuracy, 95 % interval 0.0 to 15.5): a gain of up to 15.5 points or none is still possible; about 150 images would settle a difference of this size"),
        (5, 0, 60, 0.95, "new against old: difference not established at this n (60 images; −8.3 points of accuracy, 95 % interval −15.5 to 0.0): a loss of up to 15.5 points or none is still possible; about 150 images would settle a difference of this size"),
        # The exact test alone would establish it (p = 1/1024), the interval does not exclude 0.
        (0, 11, 9999, 0.999, "new against old: difference not established at this n (9,999 images; +0.1 points of accuracy, 99.9 % interval 0.0 to 0.2): a gain of up to 0.2 points or none is still possible; about 20,000 images would settle a difference of this size"),
        (30, 32, 899, 0.95, "new against old: difference not established at this n (899 images; +0.2 points of accuracy, 95 % interval −1.5 to 1.9): a gain of up to 1.9 or a loss of up to 1.5 points is still possible; about 110,000 images would settle a difference of this size"),
        (0, 0, 7, 0.95, "new against old: difference not established at this n (7 images; 0.0 points of accuracy, 95 % interval −21.8 to 21.8): a gain of up to 21.8 or a loss of up to 21.8 points is still possible; about 14,000 images would settle a difference of one point"),
        # More decimals where one would say 0.0.
        (400, 500, 300000, 0.95, "new is better than old by 0.03 points of accuracy (95 % interval 0.01 to 0.05, n = 300,000)"),
        (1000, 1200, 20000, 0.95, "new is better than old by 1.0 points of accuracy (95 % interval 0.5 to 1.5, n = 20,000)"),
        (0, 0, 0, 0.95, "new against old: nothing to compare, no labeled image that both have answered"),
    ],
)  # fmt: skip
def test_verdict(
    shared: duckdb.DuckDBPyConnection, baseline_only: int, run_only: int, n: int, level: float, sentence: str
) -> None:
    counted(shared, baseline_only, run_only, n)
    (actual,) = rows(shared, f"from verdict('new', 'old', level := {level})")
    assert actual["sentence"] == sentence
    assert actual["n"] == n
    assert actual["p_exact"] == pytest.approx(exact(baseline_only, run_only), rel=1e-9)
    assert actual["established"] == ("not established" not in sentence and n > 0)
    if not n:
        assert actual["diff"] is actual["ci_low"] is actual["ci_high"] is None
        return
    low, high = agresti_min(run_only, baseline_only, n, level)
    assert actual["established"] == (exact(baseline_only, run_only) <= 1 - level and not low <= 0 <= high)
    same(actual["diff"], (run_only - baseline_only) / n)
    same(actual["ci_low"], low if actual["established"] else min(low, 0))
    same(actual["ci_high"], high if actual["established"] else max(high, 0))
    (tested,) = rows(shared, f"from mcnemar('new', 'old', level := {level})")
    assert (tested["ci_low"], tested["ci_high"]) == (actual["ci_low"], actual["ci_high"])


def test_sentence_and_interval_never_contradict_each_other(shared: duckdb.DuckDBPyConnection) -> None:
    """As a reader sees them: the printed interval holds 0 exactly when the difference is not established."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        n = int(10 ** rng.uniform(0, 5))
        baseline_only, run_only = sorted(rng.integers(0, 1 + min(n // 2, 40), 2).tolist(), key=lambda _: rng.random())
        counted(shared, baseline_only, run_only, n)
        level = float(rng.choice([0.5, 0.9, 0.95, 0.99, 0.999]))
        (actual,) = rows(shared, f"from verdict('new', 'old', level := {level})")
        text = actual["sentence"].replace("−", "-")
        low, high = map(float, re.findall(r"interval (\S+) to ([\d.-]+)", text)[0])
        assert low <= high
        if actual["established"]:
            assert low > 0
            assert ("better" in text) == (run_only > baseline_only)
        else:
            assert low <= 0 <= high
        seen.add((actual["established"], run_only > baseline_only))
    assert len(seen) == 4


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_verdict_keeps_to_its_error_rate_exactly(con: duckdb.DuckDBPyConnection, level: float) -> None:
    """The chance of calling one of two equal runs better, summed over every outcome, by the rule of the sentence."""
    grid = con.execute(
        "select n, a, b from (select unnest([5, 12, 40, 150]) as n), range(60) t(a), range(60) u(b) "
        "where a + b <= n and (_paired_low(b, a, n, ?::double) > 0 or _paired_low(a, b, n, ?::double) > 0)",
        [level] * 2,
    ).fetchnumpy()
    n, a, b = (np.asarray(column) for column in grid.values())
    rates = [
        stats.multinomial.pmf(np.stack([a, b, n - a - b], 1)[n == size], size, [share / 2, share / 2, 1 - share]).sum()
        for size in (5, 12, 40, 150)
        for share in (0.02, 0.1, 0.3)
    ]
    assert 0.2 * (1 - level) < max(rates) <= 1 - level


def test_verdict_on_simulated_runs(shared: duckdb.DuckDBPyConnection) -> None:
    """Of 100 pairs of equally good runs at most 1 in 20 is told apart; a planted difference is found every time."""
    rng = np.random.default_rng(7)
    n, pairs = 300, 100
    hard = rng.random((pairs, n)) < 0.3
    wrong = {name: hard & (rng.random((pairs, n)) < 0.5) for name in ("a", "b")}
    wrong["c"] = wrong["a"] & (rng.random((pairs, n)) < 0.5)
    drawn = {name: share.ravel().astype("int32") for name, share in wrong.items()}
    ids = np.arange(pairs * n)
    shared.register("_drawn", pa.table({"image_id": ids % n, "pair": ids // n, **drawn}))
    shared.execute("create or replace temp table drawn as select *, 0 as label from _drawn")

    def verdicts(other: str, count: int) -> list[dict[str, Any]]:
        ctes = ", ".join(
            f"run_{x} as (select image_id, label, {x} as pred from drawn where pair = {{0}})" for x in "abc"
        )
        sql = f"with {ctes} from verdict('run_{other}', 'run_a')"
        return [rows(shared, sql.format(pair))[0] for pair in range(count)]

    assert sum(actual["established"] for actual in verdicts("b", pairs)) <= 0.05 * pairs
    assert all(actual["established"] and "is better" in actual["sentence"] for actual in verdicts("c", 10))


def test_mcnemar_anytime(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    rng = np.random.default_rng(3)
    second = Case(
        example.label,
        [each if each is None or rng.random() < 0.8 else 0 for each in example.pred],
        example.probs,
        example.confidence,
    )
    first, other = load(shared, example), load(shared, second, "run_b")
    (actual,) = rows(shared, f"from mcnemar_anytime('{other}', '{first}', level := 0.9)")
    (plain,) = rows(shared, f"from mcnemar('{other}', '{first}')")
    a, b = plain["baseline_only"], plain["run_only"]
    assert (actual["n"], actual["baseline_only"], actual["run_only"]) == (plain["n"], a, b)
    same(actual["diff"], plain["diff"])
    same(actual["p_value"], min(1.0, float(np.exp(-special.betaln(b + 1, a + 1) - (a + b) * np.log(2)))), 1e-9)
    low, high = uniform_mixture(b, a + b, 0.9) if a + b else (math.nan, math.nan)
    same(actual["share_low"], low, 1e-12)
    same(actual["share_high"], high, 1e-12)


def drawn(con: duckdb.DuckDBPyConnection, label: np.ndarray, run: np.ndarray, baseline: np.ndarray) -> None:
    """Relations new and old; `run` and `baseline` say which images each has right."""
    ids = np.arange(len(label))
    for name, right in (("new", run), ("old", baseline)):
        pred = np.where(right, label, label.max() + 1)
        con.register(name, pa.table({"image_id": ids, "label": label, "pred": pred}))


def balanced_half(sizes: np.ndarray, differing: np.ndarray) -> float:
    overall = (differing.sum() + 1) / (sizes.sum() + 2)
    variance = ((differing + 2 * overall) / (sizes + 2) / sizes).sum()
    return float(stats.norm.ppf(0.975) * math.sqrt(variance) / len(sizes))


def balanced(label: np.ndarray, run: np.ndarray, baseline: np.ndarray) -> tuple[float, float, float]:
    """The difference of balanced accuracy (scikit-learn) and its interval, class by class."""
    fallback = label.max() + 1
    values = [
        quietly(
            partial(sk.recall_score, label, np.where(right, label, fallback), average=None, labels=np.unique(label))
        )
        for right in (run, baseline)
    ]
    diff = float((values[0] - values[1]).mean())
    sizes = np.bincount(label)
    half = balanced_half(sizes, np.bincount(label, run != baseline))
    return diff, max(-1.0, diff - half), min(1.0, diff + half)


def changed(sizes: list[int], won: list[int], lost: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images of classes of these sizes, of which the run wins and loses so many against the baseline."""
    label, number = np.repeat(range(len(sizes)), sizes), np.concatenate([np.arange(size) for size in sizes])
    return (
        label,
        number >= np.repeat(lost, sizes),
        (number < np.repeat(lost, sizes)) | (number >= np.repeat(lost, sizes) + np.repeat(won, sizes)),
    )


@pytest.mark.parametrize(
    ("sizes", "won", "lost", "sentence"),
    [
        ([900, 50, 50], [40, 0, 0], [4, 8, 9], r"new against old: better by 1\.9 points of accuracy \(.*, n = 1,000\), but worse by 10\.0 points of balanced accuracy, which counts every class alike \(95 % interval −15\.\d to −\d\.\d\)"),
        ([900, 50, 50], [4, 8, 9], [40, 0, 0], r"new against old: worse by 1\.9 points of accuracy \(.*, n = 1,000\), but better by 10\.0 points of balanced accuracy, .*interval \d.*\)"),
        ([900, 8], [60, 0], [2, 2], r"new is better than old by 6\.2 points of accuracy \(.*, n = 908\); balanced accuracy, which counts every class alike, does not confirm it: −9\.3 points \(95 % interval −.* to \d.*\)"),
        ([900, 100], [30, 0], [0, 30], r"new against old: difference not established at this n \(1,000 images; 0\.0 points .*; about 5,000 images would settle a difference of one point; but balanced accuracy, which counts every class alike, differs by −13\.3 points \(95 % interval −.* to −.*\)"),
        # Agreement, or classes of one size: not a word.
        ([500, 500], [40, 10], [0, 0], r"new is better than old by 5\.0 points of accuracy \([^;]*\)"),
        ([20, 20], [2, 2], [0, 0], r"new against old: difference not established .*still possible; about 130 images would settle a difference of this size"),
    ],
)  # fmt: skip
def test_the_sentence_names_balanced_accuracy_where_it_disagrees(
    con: duckdb.DuckDBPyConnection, sizes: list[int], won: list[int], lost: list[int], sentence: str
) -> None:
    made = changed(sizes, won, lost)
    drawn(con, *made)
    (actual,) = rows(con, "from verdict('new', 'old')")
    assert re.fullmatch(sentence, actual["sentence"]), actual["sentence"]
    for name, value in zip(("balanced_diff", "balanced_low", "balanced_high"), balanced(*made), strict=True):
        same(actual[name], value, 1e-12)


@pytest.mark.parametrize("gain", [0.0, 0.5])
@pytest.mark.parametrize("sizes", [[940, 60], [300, 100, 30, 10, 4], [10] * 40], ids=["two", "long tail", "many"])
def test_balanced_accuracy_keeps_its_level(sizes: list[int], gain: float) -> None:
    """Easy and hard classes, equally good runs and a true gain: 2,000 pairs, nominal 5 %, Monte Carlo error 0.5 %.

    The interval of the test above, which is that of the macro, with the counts of classes drawn.
    """
    rng = np.random.default_rng(len(sizes))
    n, covered = np.array(sizes), 0
    for _ in range(2000):
        share = np.minimum(0.9, 0.15 * rng.gamma(2, 0.5, len(n)))
        differing = rng.binomial(n, share)
        diff = float(((2 * rng.binomial(differing, (1 + gain) / 2) - differing) / n).mean())
        covered += abs(diff - (gain * share).mean()) <= balanced_half(n, differing)
    assert covered >= 0.94 * 2000


@pytest.mark.parametrize(
    ("accuracy", "gain", "power", "differing"),
    [(0.76, 0.01, 0.8, None), (0.9, 0.05, 0.9, None), (0.95, -0.03, 0.8, 0.05), (0.5, 0.2, 0.5, 0.2)],
)
def test_needed_n_reaches_its_power(
    con: duckdb.DuckDBPyConnection, accuracy: float, gain: float, power: float, differing: float | None
) -> None:
    """20,000 simulated comparisons of that many images: established in as many as the power says, by scipy's test."""
    sql = "select needed_n(?::double, ?::double, ?::double, differing := ?::double)"
    ((n,),) = con.execute(sql, [accuracy, gain, power, differing]).fetchall()
    share = differing or accuracy * (1 - accuracy - gain) + (1 - accuracy) * (accuracy + gain)
    rng = np.random.default_rng(2)

    def established(images: int) -> float:
        total = rng.binomial(images, share, 20000)
        won = rng.binomial(total, (share + gain) / 2 / share)
        p = 2 * stats.binom.cdf(np.minimum(won, total - won), total, 0.5)
        return float(((p <= 0.05) & ((won > total / 2) == (gain > 0))).mean())

    assert power - 0.007 <= established(n) <= power + 0.15
    assert established(int(0.8 * n)) < power


def test_needed_n_refuses(con: duckdb.DuckDBPyConnection) -> None:
    for call, words in [
        ("0.995, 0.01", "baseline_accuracy and baseline_accuracy"),
        ("76, 1", "from 0 to 1, such as 0.76"),
        ("0.76, 0", "gain must not be 0"),
        ("0.76, 0.01, 80", "power must be between 0 and 1"),
        ("0.76, 0.01, level := 95", "level must be between 0 and 1"),
        ("0.76, 0.01, differing := 0.001", "differing must be from gain"),
    ]:
        with pytest.raises(duckdb.InvalidInputException, match=words):
            con.execute(f"select needed_n({call})").fetchall()
    assert con.execute("select needed_n(null, 0.01)").fetchall() == [(None,)]


@pytest.mark.parametrize(("n", "differing"), [(200, 20), (2000, 100), (300, 0), (50000, 900)])
def test_the_smallest_drop_is_noticed_in_four_of_five(con: duckdb.DuckDBPyConnection, n: int, differing: int) -> None:
    ((drop,),) = con.execute("select _smallest_drop(?, ?, 0.95)", [n, differing]).fetchall()
    share, rng = max((differing + 2) / (n + 4), drop), np.random.default_rng(3)
    total = rng.binomial(n, share, 20000)
    lost = rng.binomial(total, (share + drop) / 2 / share)
    p = 2 * stats.binom.cdf(np.minimum(lost, total - lost), total, 0.5)
    assert 0.79 <= ((p <= 0.05) & (lost > total / 2)).mean() <= 0.94


# What must be noticed: a macro, a text in its file, what stands there instead, and a check that must fail then.
MUTANTS = [
    Mutant(
        "mcnemar",
        "(abs(run_only - baseline_only) - 1) ** 2",
        "abs(run_only - baseline_only) ** 2",
        on_cases(test_mcnemar),
    ),
    Mutant(
        "_pair_tests",
        "(run_only - baseline_only) / nullif(n, 0) as diff",
        "(baseline_only - run_only) / nullif(n, 0) as diff",
        on_cases(test_mcnemar),
    ),
    Mutant("_agresti_min_end", "baseline_only + run_only + 1 -", "baseline_only + run_only -", on_cases(test_mcnemar)),
    Mutant("_pairs", "where pred is not null", "where true", on_cases(test_mcnemar)),
    Mutant(
        "agreement",
        "correct_baseline and not correct_run",
        "correct_run and not correct_baseline",
        on_cases(test_agreement),
    ),
    Mutant("mcnemar_anytime", "lgamma(baseline_only + 1)", "lgamma(baseline_only)", on_cases(test_mcnemar_anytime)),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{mutant.name}-{number}" for number, mutant in enumerate(MUTANTS)])
def test_a_mutant_is_noticed(con: duckdb.DuckDBPyConnection, mutant: Mutant) -> None:
    assert is_noticed(con, mutant)
