"""Calibration and temperature against netcal's definitions, torchmetrics, scikit-learn, scipy and torch."""

from __future__ import annotations

import math

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import torch
import torchmetrics.functional.classification as tm
from scipy import optimize, special, stats

from ..support.edge_cases import EDGES, Case, case, load
from ..support.oracle import CASES, Mutant, has_nan, is_noticed, on_cases, rows, same

LEAST = 1.1754944e-38


def numpy_bins(c: np.ndarray, bins: int, strategy: str) -> np.ndarray:
    """Bin of each confidence: [low, high), the last one closed."""
    if strategy == "uniform":
        return np.minimum(np.floor(c.astype(np.float64) * bins), bins - 1).astype(int)
    last = np.searchsorted(np.sort(c), c, side="right") - 1
    return np.minimum(last * bins // (len(c) - 1), bins - 1) if len(c) > 1 else last + bins - 1


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_calibration(shared: duckdb.DuckDBPyConnection, example: Case, strategy: str) -> None:
    name = load(shared, example)
    (actual,) = rows(shared, f"from calibration_error('{name}', n_bins := 10, strategy := '{strategy}')")
    curve = rows(shared, f"from calibration_curve('{name}', n_bins := 10, strategy := '{strategy}')")
    n = len(example.y)
    assert actual["n"] == n
    if not n or np.isnan(example.c).any():
        assert actual["ece"] is None or math.isnan(actual["ece"])
        assert [row["bin"] for row in curve if row["bin"] is None] == [None] * bool(n)
        return
    right, c = example.y == example.p, example.c.astype(np.float64)
    bins = numpy_bins(example.c, 10, strategy)
    assert [row["bin"] for row in curve] == sorted(set(bins.tolist()))
    gaps = []
    for row in curve:
        inside = bins == row["bin"]
        gaps.append((inside.sum() / n, c[inside].mean() - right[inside].mean()))
        assert (row["n"], row["conf_min"], row["conf_max"]) == (inside.sum(), c[inside].min(), c[inside].max())
        same(row["confidence"], c[inside].mean())
        same(row["accuracy"], right[inside].mean())
        same(row["gap"], gaps[-1][1])
        same(row["gap_sd"], math.sqrt((c[inside] * (1 - c[inside])).sum()) / inside.sum())
        interval = stats.binomtest(int(right[inside].sum()), int(inside.sum())).proportion_ci(method="wilson")
        same(row["ci_low"], interval.low)
        same(row["ci_high"], interval.high)
    same(actual["ece"], sum(w * abs(g) for w, g in gaps))
    same(actual["mce"], max(abs(g) for _, g in gaps))
    same(actual["rmsce"], math.sqrt(sum(w * g * g for w, g in gaps)))
    same(actual["mean_gap"], float(c.mean() - right.mean()))


@pytest.mark.parametrize(("n", "a", "b"), [(200, 2, 2), (1000, 8, 1)])
def test_what_chance_gives(shared: duckdb.DuckDBPyConnection, n: int, a: float, b: float) -> None:
    """Labels drawn from the confidences themselves: the ece that remains is what ece_chance says."""
    rng = np.random.default_rng(n)
    c = rng.beta(a, b, n).astype(np.float32)
    example = Case([0] * n, [0] * n, [[1.0]] * n, c.tolist())
    (actual,) = rows(shared, f"from calibration_error('{load(shared, example)}')")
    bins = numpy_bins(c, 15, "uniform")
    deviations = (rng.random((4000, n)) < c) - c.astype(np.float64)
    sums = np.stack([deviations[:, bins == each].sum(axis=1) for each in range(15)], axis=1)
    eces, gaps = abs(sums).sum(axis=1) / n, abs(deviations.mean(axis=1))
    assert actual["ece_chance"] == pytest.approx(eces.mean(), rel=0.05)
    assert actual["ece_chance_high"] == pytest.approx(np.quantile(eces, 0.95), rel=0.05)
    assert actual["mean_gap_chance"] == pytest.approx(np.quantile(gaps, 0.95), rel=0.06)


@pytest.mark.parametrize("name", ["binary", "ten", "noise", "digits"])
def test_interval_of_ece(shared: duckdb.DuckDBPyConnection, digits: Case, name: str) -> None:
    """From below by the largest bias that noise can have, from both sides by noise."""
    example = digits if name == "digits" else CASES[name]
    (actual,) = rows(shared, f"from calibration_error('{load(shared, example)}', level := 0.9)")
    c, right = example.c.astype(np.float64), example.y == example.p
    bins, variances = numpy_bins(example.c, 15, "uniform"), []
    for each in np.unique(bins):
        inside = bins == each
        variances.append(max((c * (1 - c))[inside].sum(), right[inside].var() * inside.sum()))
    bias = sum(min(math.sqrt(2 / math.pi * each), 2 * each) for each in variances) / len(c)
    margin = stats.norm.ppf(0.95) * math.sqrt(sum(variances)) / len(c)
    same(actual["ece_low"], max(0.0, actual["ece"] - bias - margin), 1e-9)
    same(actual["ece_high"], actual["ece"] + margin, 1e-9)


@pytest.mark.parametrize("name", ["binary", "ten", "hundred", "digits"])
def test_calibration_of_libraries(shared: duckdb.DuckDBPyConnection, digits: Case, name: str) -> None:
    from sklearn.calibration import calibration_curve

    example = digits if name == "digits" else CASES[name]
    table = load(shared, example)
    (actual,) = rows(shared, f"from calibration_error('{table}')")
    classes = example.proba.shape[1]
    # torchmetrics 1.9 gives confidence exactly 1 a bin of its own (issue 3510): keep just below.
    proba = torch.tensor(np.minimum(example.proba, np.float32(1 - 1e-7)))
    for norm, column in (("l1", "ece"), ("max", "mce"), ("l2", "rmsce")):
        expected = tm.multiclass_calibration_error(proba, torch.tensor(example.y), classes, n_bins=15, norm=norm)
        same(actual[column], float(expected), 1e-6)
    for strategy in ("uniform", "quantile"):
        curve = rows(shared, f"from calibration_curve('{table}', n_bins := 7, strategy := '{strategy}')")
        accuracy, confidence = calibration_curve(
            example.y == example.p, example.c.astype(np.float64), n_bins=7, strategy=strategy
        )
        assert np.allclose([row["accuracy"] for row in curve], accuracy, atol=1e-12)
        assert np.allclose([row["confidence"] for row in curve], confidence, atol=1e-12)


def test_calibration_curve_never_splits_equal_confidences(shared: duckdb.DuckDBPyConnection) -> None:
    example = case([0, 1] * 20, [[0.75, 0.25], [0.5, 0.5]] * 20)
    curve = rows(shared, f"from calibration_curve('{load(shared, example)}', n_bins := 5, strategy := 'quantile')")
    assert [row["n"] for row in curve] == [20, 20]
    assert all(row["conf_min"] == row["conf_max"] for row in curve)


def test_wrong_strategy_and_bins(shared: duckdb.DuckDBPyConnection) -> None:
    name = load(shared, CASES["ten"])
    for arguments in ("strategy := 'equal'", "n_bins := 0"):
        with pytest.raises(duckdb.InvalidInputException, match=r"strategy is|n_bins must"):
            shared.execute(f"from calibration_curve('{name}', {arguments})").fetchall()


def test_calibration_error_per_class(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    actual = rows(shared, f"from calibration_error_per_class('{load(shared, example)}', n_bins := 10)")
    if not len(example.y):
        assert actual == []
        return
    proba = example.proba.astype(np.float64)
    assert [row["class"] for row in actual] == list(range(proba.shape[1]))
    for row in actual:
        p, truth = proba[:, row["class"]], example.y == row["class"]
        assert row["n"] == len(p)
        same(row["base_rate"], float(truth.mean()))
        if has_nan(example):
            assert math.isnan(row["ece"])
            continue
        bins = np.minimum(np.floor(p * 10), 9)
        gaps = [
            (inside.mean(), abs(p[inside].mean() - truth[inside].mean()))
            for inside in (bins == number for number in np.unique(bins))
        ]
        same(row["ece"], sum(w * g for w, g in gaps))
        same(row["mce"], max(g for _, g in gaps))


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
    actual = optimize.minimize_scalar(
        lambda beta: loss(logits, y, 1 / beta), bounds=(0.01, 100), method="bounded", options={"xatol": 1e-10}
    )
    return float(1 / actual.x)


@pytest.mark.parametrize("name", ["binary", "ten", "hundred", "noise", "digits", "null_label", "null_pred"])
def test_fit_temperature_of_scipy(shared: duckdb.DuckDBPyConnection, digits: Case, name: str) -> None:
    example = digits if name == "digits" else CASES[name]
    (actual,) = rows(shared, f"from fit_temperature('{load(shared, example)}')")
    logits = np.log(np.maximum(example.proba.astype(np.float64), LEAST))
    expected = fitted(logits, example.y)
    assert actual["n"] == len(example.y)
    assert actual["temperature"] == pytest.approx(expected, abs=1e-4)
    same(actual["log_loss_before"], loss(logits, example.y, 1), 1e-6)
    same(actual["log_loss_after"], loss(logits, example.y, expected), 1e-6)


@pytest.mark.parametrize("classes", [10, 200])
def test_fit_temperature_of_the_logits(shared: duckdb.DuckDBPyConnection, classes: int) -> None:
    """What Guo et al. do with logits in torch comes out of float32 probabilities, too."""
    logits, example = overconfident(6000 // classes, classes, 7)
    (actual,) = rows(shared, f"from fit_temperature('{load(shared, example)}')")
    given, target = torch.from_numpy(logits), torch.tensor(example.label)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scale], lr=0.5, max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(given / scale, target)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[arg-type]
    assert scale.item() > 3
    assert actual["temperature"] == pytest.approx(scale.item(), abs=1e-4)


@pytest.mark.parametrize("name", ["one_class", "all_wrong", "certain", "ties", "one_row", "p_zero", "nan", "empty"])
def test_fit_temperature_at_the_edges(shared: duckdb.DuckDBPyConnection, name: str) -> None:
    (actual,) = rows(shared, f"from fit_temperature('{load(shared, EDGES[name])}')")
    assert actual["n"] == len(EDGES[name].y)
    bounds = {"one_class": 0.01, "ties": 0.01, "one_row": 0.01, "all_wrong": 100.0, "certain": 100.0, "p_zero": 100.0}
    if name in bounds:
        assert actual["temperature"] == pytest.approx(bounds[name], rel=1e-4)
    else:
        same(actual["temperature"], math.nan if name == "nan" else None)
        assert name == "empty" or math.isnan(actual["log_loss_after"])
    each = load(shared, case([0, 0], [[1.0], [1.0]]))
    assert rows(shared, f"from fit_temperature('{each}')")[0]["temperature"] == 1


def test_with_temperature_is_a_softmax(shared: duckdb.DuckDBPyConnection, example: Case) -> None:
    name = load(shared, example)
    actual = rows(shared, f"from with_temperature('{name}', 1.7) order by image_id")
    before = rows(shared, f"from '{name}' order by image_id")
    added = {"label_name": None, "pred_name": None, "uri": None, "run": name}
    assert [row.keys() for row in actual] == [{**row, **added}.keys() for row in before]
    assert all(row[column] == value for row in actual for column, value in added.items())
    for row, old in zip(actual, before, strict=True):
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
    cool = f"with {halves}, cool as (from with_temperature('test', (select temperature from fit_temperature('val')))) "
    before = rows(shared, f"with {halves} from calibration_error('test')")[0]["ece"]
    after = rows(shared, cool + "from calibration_error('cool')")[0]["ece"]
    assert after < before / 3
    (fit,) = rows(shared, f"from fit_temperature('{name}')")
    same(
        rows(shared, f"with c as (from with_temperature('{name}', {fit['temperature']})) from calibration_error('c')")[
            0
        ]["ece"],
        fit["ece_after"],
        1e-6,
    )
    scores = f"with c as (from with_temperature('{name}', {fit['temperature']})) from proper_scores('c')"
    same(rows(shared, scores)[0]["log_loss"], fit["log_loss_after"], 1e-6)
    same(rows(shared, f"from proper_scores('{name}')")[0]["log_loss"], fit["log_loss_before"], 1e-6)
    same(rows(shared, f"from calibration_error('{name}')")[0]["ece"], fit["ece_before"])


@pytest.mark.parametrize("spread", [3, 10, 40])
@pytest.mark.parametrize("t", [0.5, 2, 5])
def test_late_temperature_is_that_of_the_logits(con: duckdb.DuckDBPyConnection, spread: float, t: float) -> None:
    """What a run stores of 1,000 classes in float32 is enough: to 1e-7, to 5e-5 where most are stored as 0."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, spread, (50, 1000)).astype(np.float32)
    load_logits(con, logits)
    actual = con.execute(f"select probs from with_temperature('late', {t}) order by image_id").fetchnumpy()["probs"]
    expected = torch.tensor(logits, dtype=torch.float64).div(t).softmax(1).numpy()
    assert np.abs(np.stack(actual) - expected).max() < (5e-5 if (spread, t) == (40, 5) else 1e-7)


def load_logits(con: duckdb.DuckDBPyConnection, logits: np.ndarray) -> None:
    probs = torch.tensor(logits).softmax(1).numpy()
    con.register("given", pa.table({"image_id": np.arange(len(logits)), "probs": list(probs), "pred": probs.argmax(1),
                                    "label": probs.argmax(1), "confidence": probs.max(1)}))  # fmt: skip
    con.execute(
        f"create table late as select * replace (probs::float[{logits.shape[1]}] as probs) from given"
    ).fetchall()


def test_a_temperature_that_makes_zeros_matter_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    """A class of probability 0 may be ruled out or lost by rounding; at 20 both differ, and eps says which."""
    logits = np.zeros((3, 4), np.float32)
    logits[:, 0] = 200
    logits[2, 1:] = 190
    load_logits(con, logits)
    assert con.execute("select count(*) from with_temperature('late', 3)").fetchall() == [(3,)]
    with pytest.raises(duckdb.InvalidInputException, match="image 0: 3 of its probabilities are 0 as float32"):
        con.execute("select count(*) from with_temperature('late', 20)").fetchall()
    ruled = con.execute("select probs from with_temperature('late', 20, eps := 1e-300) order by image_id").fetchall()
    assert ruled[0][0] == pytest.approx([1, 0, 0, 0], abs=1e-6)
    lost = con.execute("select probs from with_temperature('late', 20, eps := 1e-38) order by image_id").fetchall()
    assert 0.01 < lost[0][0][1] < 0.02
    expected = torch.tensor(logits[2], dtype=torch.float64).div(20).softmax(0).tolist()
    assert ruled[2][0] == pytest.approx(expected, abs=1e-6) == lost[2][0]


def test_with_temperature_refuses_no_temperature(shared: duckdb.DuckDBPyConnection) -> None:
    name = load(shared, EDGES["ties"])
    for wrong in ("0", "-1"):
        with pytest.raises(duckdb.InvalidInputException, match="t must be positive"):
            shared.execute(f"from with_temperature('{name}', {wrong})").fetchall()


# What must be noticed: a macro, a text in its file, what stands there instead, and a check that must fail then.
MUTANTS = [
    Mutant(
        "calibration_curve",
        "least(n_bins - 1, floor(confidence * n_bins))",
        "floor(confidence * n_bins)",
        on_cases(test_calibration, "uniform"),
    ),
    Mutant("calibration_error", "sum(n * abs(gap))", "sum(n * gap)", on_cases(test_calibration, "uniform")),
    Mutant(
        "calibration_curve",
        "sum(confidence * (1 - confidence))",
        "sum(confidence)",
        lambda con: test_what_chance_gives(con, 200, 2, 2),
    ),
    Mutant("with_temperature", "/ _scale", "/ 1", on_cases(test_with_temperature_is_a_softmax)),
    Mutant(
        "with_temperature",
        "coalesce(_p_of(_share, pred), confidence)",
        "list_max(_share)",
        on_cases(test_with_temperature_is_a_softmax),
    ),
    Mutant(
        "_best_temperature", "exp(beta * _z)", "exp(_z)", lambda con: test_fit_temperature_of_scipy(con, None, "ten")
    ),
    Mutant("_best_temperature", "'nan'::double", "1", lambda con: test_fit_temperature_at_the_edges(con, "nan")),
    Mutant(
        "_log_margins",
        "greatest(_p, eps)",
        "greatest(_p, 1e-7)",
        lambda con: test_fit_temperature_of_the_logits(con, 10),
    ),
    Mutant(
        "fit_temperature",
        "list_sum(list_transform(",
        "list_max(list_transform(",
        lambda con: test_fit_temperature_of_scipy(con, None, "ten"),
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{mutant.name}-{number}" for number, mutant in enumerate(MUTANTS)])
def test_a_mutant_is_noticed(con: duckdb.DuckDBPyConnection, mutant: Mutant) -> None:
    assert is_noticed(con, mutant)
