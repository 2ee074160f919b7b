"""Drift between two relations against scipy and numpy."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from scipy.spatial.distance import cdist, jensenshannon, pdist

from ..support.oracle import (
    rows,
    same,
)


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
        actual = stats.ks_2samp(a, b, method="exact")
        gap = round(actual.statistic * n * m)
        (row,) = rows(shared, f"select _smirnov_sf({n}, {m}, {gap}) as p")
        assert row["p"] == pytest.approx(actual.pvalue, rel=1e-12)


@pytest.mark.parametrize(("n", "m", "method"), [(3000, 2999, "exact"), (9000, 9000, "exact"), (60000, 1500, "asymp")])
def test_ks_test_of_scipy(shared: duckdb.DuckDBPyConnection, n: int, m: int, method: str) -> None:
    rng = np.random.default_rng(n)
    for gap in (0.0, 0.04, 0.5):
        a, b = rng.normal(size=n).round(3), rng.normal(gap, 1, m).round(3)
        for name, values in (("ref", a), ("cur", b)):
            shared.register("_side", pa.table({"v": values}))
            shared.execute(f"create or replace table {name} as from _side").fetchall()
        (actual,) = rows(shared, "from ks_test('ref', 'cur', v)")
        expected = stats.ks_2samp(a, b, method=method)
        same(actual["d"], expected.statistic)
        assert actual["p_value"] == pytest.approx(expected.pvalue, abs=1e-12 if method == "exact" else 1e-4)


def mmd2(kernel: np.ndarray, ref: np.ndarray) -> float:
    """The unbiased estimate of Gretton et al. (2012), equation 3."""
    inside = [kernel[np.ix_(each, each)][~np.eye(each.sum(), dtype=bool)].mean() for each in (ref, ~ref)]
    return float(sum(inside) - 2 * kernel[np.ix_(ref, ~ref)].mean())


def test_mmd_tells_a_difference_from_none(shared: duckdb.DuckDBPyConnection) -> None:
    rng = np.random.default_rng(1)
    actual = []
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
            expected = (1 + sum(each >= row["mmd2"] for each in shuffled)) / 200
            assert row["p_value"] == pytest.approx(expected, abs=0.15)
            actual.append((shift, row["p_value"]))
    assert sum(p <= 0.05 for shift, p in actual if not shift) <= 4
    assert sum(p <= 0.05 for shift, p in actual if shift) >= 15


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
    actual = {row["feature"]: row for row in rows(shared, "from drift('ref', 'cur')")}
    assert set(actual) == {"confidence", "width_px", "label", "pred", "activation"}
    for name in ("confidence", "width_px"):
        expected = stats.ks_2samp(sides["ref"][name], sides["cur"][name])
        same(actual[name]["value"], expected.statistic)
        assert actual[name]["p_value"] == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-12)
    for name in ("label", "pred"):
        a, b = (
            [each for each in pa.array(sides[side][name]).to_pylist() if each is not None] for side in ("ref", "cur")
        )
        table = np.array([[part.count(each) for each in range(-1, 5)] for part in (a, b)])
        table = table[:, table.sum(axis=0) > 0]
        same(actual[name]["p_value"], float(stats.chi2_contingency(table, correction=False).pvalue), 1e-12)
        shares = table / table.sum(axis=1, keepdims=True)
        same(actual[name]["value"], float(abs(shares[0] - shares[1]).sum() / 2))
        assert (actual[name]["n_ref"], actual[name]["n_cur"]) == (len(a), len(b))
    (mmd,) = rows(shared, "from mmd('ref', 'cur')")
    assert (actual["activation"]["value"], actual["activation"]["p_value"]) == (mmd["mmd2"], mmd["p_value"])
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    corrected = multitest.multipletests([row["p_value"] for row in actual.values()], method="holm")[1]
    assert np.allclose([row["p_holm"] for row in actual.values()], corrected, atol=1e-15)
    verdicts = {name: row["verdict"] for name, row in actual.items() if row["p_holm"] < 0.05}
    assert verdicts == {"confidence": "differs", "pred": "differs"}
    assert rows(shared, "with none as (from ref limit 0) from drift('ref', 'none')") == []
    few = rows(shared, "with few as (select image_id, pred from cur) from drift('ref', 'few')")
    assert [row["feature"] for row in few] == ["pred"]
