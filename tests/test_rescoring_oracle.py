"""Late scoring in SQL against scipy, torch, scikit-learn and statsmodels: temperature, thresholds, weights, any-time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import duckdb
import numpy as np
import pytest
import torch
from scipy import optimize, special, stats
from sklearn import metrics as sk
from statsmodels.stats.proportion import proportion_confint

import sqlanalysis

from .edge_cases import EDGES, Case, case, digits_case, load, random_case
from .test_metrics_oracle import CASES, rows, same

LEAST = 1.1754944e-38


@pytest.fixture(scope="module")
def shared() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = sqlanalysis.connect()
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def digits() -> Case:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return digits_case()


@pytest.fixture(params=[*CASES, "digits"])
def example(request: pytest.FixtureRequest) -> Case:
    return request.getfixturevalue("digits") if request.param == "digits" else CASES[request.param]


def overconfident(n: int, classes: int, seed: int) -> tuple[np.ndarray, Case]:
    """Logits three times too large, and their float32 probabilities, down to 1e-30."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), label] += 1.5
    logits *= 6
    return logits, case(label.tolist(), special.softmax(logits, axis=1).astype(np.float32).tolist())


def loss(logits: np.ndarray, y: np.ndarray, temperature: float) -> float:
    return float(-special.log_softmax(logits / temperature, axis=1)[np.arange(len(y)), y].mean())


def fitted(logits: np.ndarray, y: np.ndarray) -> float:
    found = optimize.minimize_scalar(
        lambda beta: loss(logits, y, 1 / beta), bounds=(0.01, 100), method="bounded", options={"xatol": 1e-10}
    )
    return float(1 / found.x)


# Temperature


@pytest.mark.parametrize("name", ["binary", "ten", "hundred", "noise", "digits", "null_label", "null_pred"])
def test_temperature_of_scipy(shared: duckdb.DuckDBPyConnection, digits: Case, name: str) -> None:
    example = digits if name == "digits" else CASES[name]
    (found,) = rows(shared, f"from temperature('{load(shared, example)}')")
    logits = np.log(np.maximum(example.proba.astype(np.float64), LEAST))
    expected = fitted(logits, example.y)
    assert found["n"] == len(example.y)
    assert found["temperature"] == pytest.approx(expected, abs=1e-4)
    same(found["log_loss_before"], loss(logits, example.y, 1), 1e-6)
    same(found["log_loss_after"], loss(logits, example.y, expected), 1e-6)


@pytest.mark.parametrize("classes", [10, 200])
def test_temperature_of_the_logits(shared: duckdb.DuckDBPyConnection, classes: int) -> None:
    """What Guo et al. do with logits in torch comes out of float32 probabilities, too."""
    logits, example = overconfident(6000 // classes, classes, 7)
    (found,) = rows(shared, f"from temperature('{load(shared, example)}')")
    given, target = torch.from_numpy(logits), torch.tensor(example.label)
    heat = torch.ones((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([heat], lr=0.5, max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(given / heat, target)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[arg-type]
    assert heat.item() > 3
    assert found["temperature"] == pytest.approx(heat.item(), abs=1e-4)


@pytest.mark.parametrize("name", ["one_class", "all_wrong", "certain", "ties", "one_row", "p_zero", "nan", "empty"])
def test_temperature_at_the_edges(shared: duckdb.DuckDBPyConnection, name: str) -> None:
    (found,) = rows(shared, f"from temperature('{load(shared, EDGES[name])}')")
    assert found["n"] == len(EDGES[name].y)
    bounds = {"one_class": 0.01, "ties": 0.01, "one_row": 0.01, "all_wrong": 100.0, "certain": 100.0, "p_zero": 100.0}
    if name in bounds:
        assert found["temperature"] == pytest.approx(bounds[name], rel=1e-4)
    else:
        same(found["temperature"], math.nan if name == "nan" else None)
        assert name == "empty" or math.isnan(found["log_loss_after"])
    one = load(shared, case([0, 0], [[1.0], [1.0]]))
    assert rows(shared, f"from temperature('{one}')")[0]["temperature"] == 1


def test_tempered_is_a_softmax(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    found = rows(shared, f"from tempered('{name}', 1.7) order by image_id")
    before = rows(shared, f"from '{name}' order by image_id")
    assert [row.keys() for row in found] == [row.keys() for row in before]
    for row, old in zip(found, before, strict=True):
        if math.isnan(sum(old["probs"])):
            assert all(map(math.isnan, row["probs"]))
            continue
        expected = torch.tensor(old["probs"], dtype=torch.float64).clamp_min(LEAST).log().div(1.7).softmax(0)
        assert row["probs"] == pytest.approx(expected.tolist(), abs=1e-7)
        same(row["confidence"], old["confidence"] if old["pred"] in (None, -1) else row["probs"][old["pred"]])
        assert (row["label"], row["pred"], row["activation"]) == (old["label"], old["pred"], old["activation"])


def test_fit_on_one_split_and_use_on_another(shared: duckdb.DuckDBPyConnection) -> None:
    _, example = overconfident(2000, 10, 3)
    name = load(shared, example)
    halves = f"val as (from {name} where image_id % 2 = 0), test as (from {name} where image_id % 2 = 1)"
    cool = f"with {halves}, cool as (from tempered('test', (select temperature from temperature('val')))) "
    before = rows(shared, f"with {halves} from calibration('test')")[0]["ece"]
    after = rows(shared, cool + "from calibration('cool')")[0]["ece"]
    assert after < before / 3
    (fit,) = rows(shared, f"from temperature('{name}')")
    same(
        rows(shared, f"with c as (from tempered('{name}', {fit['temperature']})) from calibration('c')")[0]["ece"],
        fit["ece_after"],
        1e-6,
    )
    scores = f"with c as (from tempered('{name}', {fit['temperature']})) from probability_scores('c')"
    same(rows(shared, scores)[0]["log_loss"], fit["log_loss_after"], 1e-6)
    same(rows(shared, f"from probability_scores('{name}')")[0]["log_loss"], fit["log_loss_before"], 1e-6)
    same(rows(shared, f"from calibration('{name}')")[0]["ece"], fit["ece_before"])


def test_tempered_refuses_no_temperature(shared: duckdb.DuckDBPyConnection) -> None:
    name = load(shared, EDGES["ties"])
    for wrong in ("0", "-1"):
        with pytest.raises(duckdb.InvalidInputException, match="t must be positive"):
            shared.execute(f"from tempered('{name}', {wrong})").fetchall()


# Thresholds


def interval(k: int, n: int, level: float) -> tuple[float, float]:
    low, high = proportion_confint(k, n, 1 - level, method="wilson")
    return float(low), float(high)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 1.0])
def test_at_threshold(shared: duckdb.DuckDBPyConnection, example: Case, threshold: float) -> None:
    (found,) = rows(shared, f"from at_threshold('{load(shared, example)}', {threshold}, level := 0.9)")
    answered = example.c.astype(np.float64) >= threshold
    n, k = int(answered.sum()), int((example.y == example.p)[answered].sum())
    assert (found["n"], found["n_answered"], found["n_abstained"]) == (len(example.y), n, len(example.y) - n)
    same(found["coverage"], n / len(example.y) if len(example.y) else None)
    same(found["accuracy"], k / n if n else None)
    low, high = interval(k, n, 0.9) if n else (math.nan, math.nan)
    same(found["ci_low"], low)
    same(found["ci_high"], high)


@pytest.mark.parametrize(("target", "level"), [(0.5, 0.5), (0.8, 0.95), (0.0, 0.9), (1.0, 0.9)])
def test_threshold_for(shared: duckdb.DuckDBPyConnection, example: Case, target: float, level: float) -> None:
    name = load(shared, example)
    (found,) = rows(shared, f"from threshold_for('{name}', target_accuracy := {target}, level := {level})")
    thresholds = np.unique(example.c[~np.isnan(example.c)])
    answered = example.c >= thresholds[:, None]
    right = (answered & (example.y == example.p)).sum(axis=1)
    lows = proportion_confint(right, answered.sum(axis=1), 1 - level, method="wilson")[0]
    best = float(thresholds[lows >= target][0]) if (lows >= target).any() else None
    assert found["threshold"] == best
    chosen = rows(shared, f"from at_threshold('{name}', {best or 2}, level := {level})")[0]
    assert {key: value for key, value in found.items() if key != "threshold"} == chosen
    assert best is None or found["ci_low"] >= target


# Weights


def test_weighted_accuracy(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    (found,) = rows(shared, f"from weighted_accuracy('{name}', 1 + image_id % 3, level := 0.9)")
    w = 1.0 + np.array(example.kept) % 3
    assert found["n"] == len(example.y)
    if not len(example.y):
        assert (found["sum_weights"], found["accuracy"], found["ci_low"]) == (0, None, None)
        return
    right = (example.y == example.p).astype(float)
    share = sk.accuracy_score(example.y, example.p, sample_weight=w)
    same(found["sum_weights"], float(w.sum()))
    same(found["accuracy"], share)
    kish = w.sum() ** 2 / (w**2).sum()
    if 0 < share < 1:
        from statsmodels.regression.linear_model import WLS

        variance = float(WLS(right, np.ones_like(right), weights=w).fit(cov_type="HC0").bse[0]) ** 2
        kish = min(kish, share * (1 - share) / variance)
    same(found["effective_n"], float(kish), 1e-9)
    low, high = proportion_confint(share * kish, kish, 0.1, method="wilson")
    same(found["ci_low"], float(low), 1e-9)
    same(found["ci_high"], float(high), 1e-9)


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
    (found,) = rows(shared, f"from weighted_accuracy('{name}', case when image_id > 1 then 2 end)")
    assert (found["n"], found["accuracy"]) == (2, 0.5)
    with pytest.raises(duckdb.InvalidInputException, match="weights must not be negative"):
        shared.execute(f"from weighted_accuracy('{name}', -image_id)").fetchall()


# Several right answers


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
    (found,) = rows(shared, f"from accuracy_accepted('{name}', level := 0.9)")
    right = [pred in labels for pred, labels in zip(example.pred, accepted, strict=True) if labels]
    assert (found["n"], found["correct"], found["n_empty"]) == (len(right), sum(right), 700 - len(right))
    same(found["accuracy"], float(np.mean(right)))
    same(found["ci_low"], interval(sum(right), len(right), 0.9)[0])
    shared.execute(f"update {name} set accepted = null").fetchall()
    (plain,) = rows(shared, f"from accuracy('{name}')")
    (found,) = rows(shared, f"from accuracy_accepted('{name}')")
    assert {key: found[key] for key in plain} == plain


def test_accepted_alone_is_enough(shared: duckdb.DuckDBPyConnection) -> None:
    shared.execute(
        "create or replace table few as from (values (null, 1, [1, 2]), (null, 1, null), (1, null, [1]), (0, -1, [0, 2]), "
        "(0, 1, []), (0, 0, null)) t(label, pred, accepted)"
    ).fetchall()
    (found,) = rows(shared, "from accuracy_accepted('few')")
    assert (found["n"], found["correct"], found["n_empty"]) == (3, 2, 1)


# Looking at any time


def mixture(k: int, n: int, level: float) -> tuple[float, float]:
    """Ends of {p: density of p after k of n, from a uniform prior, is at least 1 - level}."""

    def excess(p: float) -> float:
        return float(stats.beta.logpdf(p, k + 1, n - k + 1) - math.log(1 - level))

    low = optimize.brentq(excess, 1e-300, k / n, xtol=1e-15) if k else 0.0
    return low, optimize.brentq(excess, k / n, 1 - 1e-16, xtol=1e-15) if k < n else 1.0


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_anytime_interval(con: duckdb.DuckDBPyConnection, level: float) -> None:
    for k, n in [(0, 1), (1, 1), (0, 10), (3, 7), (50, 50), (900, 1000), (123456, 1000000), (999999, 1000000)]:
        low, high = con.execute("select anytime_low(?, ?, ?), anytime_high(?, ?, ?)", [k, n, level] * 2).fetchall()[0]
        expected = mixture(k, n, level)
        same(low, expected[0], 1e-12)
        same(high, expected[1], 1e-12)
    assert con.execute("select anytime_low(0, 0, 0.9), anytime_high(0, 0, 0.9)").fetchall() == [(None, None)]


def test_accuracy_anytime(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    (found,) = rows(shared, f"from accuracy_anytime('{load(shared, example)}', level := 0.9)")
    n, k = len(example.y), int((example.y == example.p).sum())
    low, high = mixture(k, n, 0.9) if n else (math.nan, math.nan)
    assert (found["n"], found["correct"]) == (n, k)
    same(found["ci_low"], low, 1e-12)
    same(found["ci_high"], high, 1e-12)


def test_one_may_look_after_every_image(con: duckdb.DuckDBPyConnection) -> None:
    """Of 400 evaluations watched up to 500 images, few intervals ever miss; Wilson's miss in every second one."""
    p, runs, n = 0.9, 400, 500
    right = (np.random.default_rng(0).random((runs, n)) < p).cumsum(axis=1)
    seen = sorted({(int(k), i + 1) for row in right for i, k in enumerate(row)})
    con.execute("create table looks as select unnest(?) as k, unnest(?) as n", [*map(list, zip(*seen, strict=True))])
    low, high, wilson = "anytime_low(k, n, 0.95)", "anytime_high(k, n, 0.95)", "wilson_low(k, n, 0.95)"
    sql = f"select k, n, {low} <= {p} and {p} <= {high}, {wilson} <= {p} and {p} <= wilson_high(k, n, 0.95) from looks"
    holds = {(k, n): (anytime, once) for k, n, anytime, once in con.execute(sql).fetchall()}
    missed = [[not all(holds[int(k), i + 1][which] for i, k in enumerate(row)) for row in right] for which in (0, 1)]
    assert np.mean(missed[0]) < 0.05
    assert np.mean(missed[1]) > 0.4


def test_mcnemar_anytime(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    rng = np.random.default_rng(3)
    second = Case(
        example.label,
        [one if one is None or rng.random() < 0.8 else 0 for one in example.pred],
        example.probs,
        example.confidence,
    )
    first, other = load(shared, example), load(shared, second, "run_b")
    (found,) = rows(shared, f"from mcnemar_anytime('{first}', '{other}', level := 0.9)")
    (plain,) = rows(shared, f"from mcnemar('{first}', '{other}')")
    a, b = plain["a_only"], plain["b_only"]
    assert (found["n"], found["a_only"], found["b_only"]) == (plain["n"], a, b)
    same(found["diff"], plain["diff"])
    same(found["p_value"], min(1.0, float(np.exp(-special.betaln(b + 1, a + 1) - (a + b) * np.log(2)))), 1e-9)
    low, high = mixture(b, a + b, 0.9) if a + b else (math.nan, math.nan)
    same(found["share_low"], low, 1e-12)
    same(found["share_high"], high, 1e-12)
