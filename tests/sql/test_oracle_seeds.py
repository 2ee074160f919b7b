"""Several seeds and several runs: compare_seeds, compare_many, and Student's t distribution, on which they rest."""

from __future__ import annotations

import math

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from sqlanalysis import metric

from ..support import simulations as sim
from ..support.crossed import World, crossed, show
from ..support.oracle import Mutant, is_noticed, rows, same

# At a nominal 5 % ten or more alarms in 60 sets have a probability of 1e-3.
SETS, MOST = 60, 9


@pytest.mark.parametrize("df", [0.7, 1, 1.3, 2, 3.7, 10, 60, 199, 200, 1000, 1e5, 1e7])
def test_student(shared: duckdb.DuckDBPyConnection, df: float) -> None:
    for t in (0, 1e-3, 0.5, 1.5, 1.73, -1.9, 2.5, 8, 12):
        ((found,),) = shared.execute("select _t_sf(?::double, ?::double)", [t, df]).fetchall()
        assert found == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-8)
    for level in (0.5, 0.9, 0.95, 0.999):
        ((found,),) = shared.execute("select _t_ppf(?, ?::double)", [level, df]).fetchall()
        assert found == pytest.approx(stats.t.ppf((1 + level) / 2, df), rel=1e-10)
    nothing = "select _t_sf('inf'::double, 3), _t_sf(null, 3), _t_sf(1, null), _t_sf(1, 0), _t_ppf(0.95, null)"
    assert shared.execute(nothing).fetchall() == [(0, None, None, None, None)]


# compare_seeds


@pytest.mark.parametrize(
    ("runs", "baselines", "n"), [(2, 2, 40), (3, 5, 300), (1, 4, 60), (4, 1, 60), (2, 2, 2), (6, 2, 1000)]
)
def test_compare_seeds(shared: duckdb.DuckDBPyConnection, runs: int, baselines: int, n: int) -> None:
    run, baseline = World(n, runs, baselines, (3, 1)).draw(np.random.default_rng(n))
    show(shared, "new", run)
    show(shared, "old", baseline)
    (found,) = rows(shared, "from compare_seeds('new', 'old', level := 0.9)")
    for name, value in crossed(run, baseline, 0.9).items():
        same(found[name], value, 1e-10)
    assert (found["n"], found["n_left_out"]) == (n, 0)
    assert (found["n_runs"], found["n_baselines"]) == (runs, baselines)
    same(found["accuracy_run"], float(run.mean()))
    same(found["seed_sd_run"], float(run.mean(axis=0).std(ddof=1)) if runs > 1 else None)
    same(found["seed_sd_baseline"], float(baseline.mean(axis=0).std(ddof=1)) if baselines > 1 else None)


def test_variance_components_of_a_mixed_model(shared: duckdb.DuckDBPyConnection) -> None:
    """The components that the interval is made of are those of statsmodels' analysis of variance of images and seeds."""
    sm = pytest.importorskip("statsmodels.formula.api")
    anova = pytest.importorskip("statsmodels.stats.anova")
    pd = pytest.importorskip("pandas")
    n, m = 60, 3
    run, baseline = World(n, m, m, (8, 8)).draw(np.random.default_rng(3))
    show(shared, "new", run)
    show(shared, "old", baseline)
    (found,) = rows(shared, "from compare_seeds('new', 'old')")
    seeds = 0.0
    for right in (run, baseline):
        frame = pd.DataFrame({"y": right.ravel().astype(float), "i": np.repeat(range(n), m), "s": np.tile(range(m), n)})
        table = anova.anova_lm(sm.ols("y ~ C(i) + C(s)", frame).fit())
        squares = table["sum_sq"] / table["df"]
        seeds += (squares["C(s)"] - squares["Residual"]) / n / m
    gaps = run.mean(axis=1) - baseline.mean(axis=1)
    images = ((gaps**2).sum() + 1 / m - gaps.sum() ** 2 / (n + 2)) / (n + 1) / (n + 2)
    same(found["std_error"], math.sqrt(seeds + images), 1e-10)


def test_seeds_that_are_not_given(shared: duckdb.DuckDBPyConnection) -> None:
    run, baseline = World(50, 2, 2).draw(np.random.default_rng(1))
    show(shared, "new", run)
    show(shared, "old", baseline)
    one = "with new_a as (from new where run = 'new_0'), old_a as (from old where run = 'old_1') "
    (found,) = rows(shared, one + "from compare_seeds('new_a', 'old_a')")
    assert found["diff"] == pytest.approx(run[:, 0].mean() - baseline[:, 1].mean())
    assert {found[name] for name in ("ci_low", "ci_high", "p_value", "std_error", "df", "seed_sd_run")} == {None}
    # Equal runs differ by nothing, but an interval of no width would be certainty.
    (found,) = rows(
        shared, "with copied as (select * replace ('b' || run as run) from new) from compare_seeds('new', 'copied')"
    )
    assert (found["diff"], found["p_value"]) == (0, 1)
    assert found["ci_low"] < 0 < found["ci_high"]
    (found,) = rows(shared, "with none as (from old where false) from compare_seeds('new', 'none')")
    assert (found["n"], found["n_left_out"], found["diff"], found["p_value"]) == (0, 50, None, None)


def test_only_images_that_all_have_answered(shared: duckdb.DuckDBPyConnection) -> None:
    run, baseline = World(80, 3, 2, (2, 2)).draw(np.random.default_rng(2))
    show(shared, "new", run)
    show(shared, "old", baseline)
    part = (
        "with part as (select * replace (case when run = 'new_1' and image_id < 5 then null else pred end as pred) "
        "from new where run <> 'new_2' or image_id < 70 union all by name select 'new_0' as run, 99 as image_id, "
        "0 as label, 0 as pred) "
    )
    (found,) = rows(shared, part + "from compare_seeds('part', 'old')")
    assert (found["n"], found["n_left_out"]) == (65, 16)
    for name, value in crossed(run[5:70], baseline[5:70]).items():
        same(found[name], value, 1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("compare_seeds(['a', 'a'], ['b', 'c'])", "a relation is given twice: a, a"),
        ("compare_seeds(['a', 'b'], ['c', 'a'])", "a is both a run and a baseline"),
        ("compare_many(['a', 'b'], 'b')", "b is both a run and a baseline"),
        ("compare_many(['a'], ['b', 'c'])", "a list of several runs, such as b and c, where one run is meant"),
        ("compare_seeds('doubled', 'b')", "doubled: 40 of 80 rows repeat an image_id"),
        ("compare_many(['a', 'c'], 'doubled')", "doubled: 40 of 80 rows repeat an image_id"),
        ("compare_seeds(['a', 'other'], ['b', 'c'])", "image 7 has the label 0 in one run and 3 in another"),
        ("compare_many(['a', 'b'], 'c', is_right := 'pred = 1')", "is_right has to be true or false for an image"),
        ("compare_seeds('a', 'b', is_right := pred)", "is_right has to be true or false .*, not INTEGER"),
    ],
)
def test_what_is_refused(shared: duckdb.DuckDBPyConnection, call: str, message: str) -> None:
    for name in "abc":
        shared.execute(
            f"create or replace table {name} as select i::integer as image_id, 0 as label, (i % 2)::integer as pred "
            "from range(40) as _r (i)"
        ).fetchall()
    shared.execute("create or replace view doubled as from a union all from a").fetchall()
    shared.execute(
        "create or replace view other as select * replace (case when image_id = 7 then 3 else label end as label) from a"
    ).fetchall()
    with pytest.raises(duckdb.InvalidInputException, match=message):
        shared.execute(f"from {call}").fetchall()


@pytest.mark.parametrize(
    ("runs", "baselines", "sd", "alike"),
    [(2, 2, (1, 1), True), (5, 5, (0.5, 0.5), False), (1, 5, (1, 1), True)],
)  # fmt: skip
def test_seeds_of_equally_good_models(
    shared: duckdb.DuckDBPyConnection, runs: int, baselines: int, sd: tuple[float, float], alike: bool
) -> None:
    """More seeds, more images, unequal spread, and true gains: tests/benchmarks/seeds.py."""
    world, rng = World(300, runs, baselines, sd, alike), np.random.default_rng(runs)
    alarms = 0
    for _ in range(SETS):
        for name, right in zip(("new", "old"), world.draw(rng), strict=True):
            show(shared, name, right)
        (found,) = rows(shared, "from compare_seeds('new', 'old')")
        alarms += found["p_value"] <= 0.05
        assert (found["p_value"] <= 0.05) == (found["ci_low"] > 0 or found["ci_high"] < 0)
    assert alarms <= MOST


# compare_many


def test_compare_many_with_groups_has_the_tests_of_mcnemar(con: duckdb.DuckDBPyConnection) -> None:
    made = sim.grouped(30, 12, 0.4, 0.75, 4, 3)
    table = pa.table({key: made[key] for key in ("image_id", "label", "patient", "pred_0", "pred_1", "pred_2")})
    con.register("answers", table)
    for i, run in enumerate(["a", "b", "old"]):
        con.execute(f"create table {run} as select image_id, label, patient, pred_{i} as pred from answers").fetchall()
    found = rows(con, "from compare_many(['a', 'b'], 'old', groups := patient)")
    for row in found:
        (test,) = rows(con, f"from mcnemar('{row['run']}', 'old', level := 0.975, groups := patient)")
        assert row["p_value"] == test["p_exact"]
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((test["ci_low"], test["ci_high"]), abs=1e-12)
    assert all(row["p_value"] is row["p_holm"] is row["ci_low"] is None
               for row in rows(con, "from compare_many(['a', 'b'], 'old', groups := 1)"))  # fmt: skip


def test_compare_many(shared: duckdb.DuckDBPyConnection) -> None:
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    run, baseline = World(200, 4, 1, (6, 0), shift=0.8).draw(np.random.default_rng(5))
    show(shared, "new", run)
    show(shared, "old", baseline)
    shared.execute(
        "create or replace view chosen as from new where run <> 'new_2' or image_id >= 30 "
        "union all by name select 'nothing' as run, 3 as image_id, 0 as label, null as pred"
    ).fetchall()
    found = {row["run"]: row for row in rows(shared, "from compare_many('chosen', 'old')")}
    assert found["nothing"]["n"] == 0
    assert {found["nothing"][name] for name in ("diff", "ci_low", "ci_high", "p_value", "p_holm")} == {None}
    diffs = [row["diff"] for row in found.values() if row["n"]]
    assert list(found)[-1] == "nothing"
    assert diffs == sorted(diffs, reverse=True)
    names = [f"new_{i}" for i in range(4)]
    expected = []
    for i, name in enumerate(names):
        kept = np.arange(200) >= 30 if i == 2 else np.full(200, True)
        won, lost = int((run[kept, i] & ~baseline[kept, 0]).sum()), int((~run[kept, i] & baseline[kept, 0]).sum())
        assert (found[name]["n"], found[name]["n_left_out"]) == (kept.sum(), 200 - kept.sum())
        assert (found[name]["run_only"], found[name]["baseline_only"]) == (won, lost)
        expected.append(float(stats.binomtest(won, won + lost).pvalue))
        same(found[name]["p_value"], expected[-1])
        same(found[name]["accuracy_baseline"], float(baseline[kept, 0].mean()))
        # Beside the correction it is what mcnemar says.
        alone = f"with one as (from chosen where run = '{name}') from mcnemar('one', 'old', level := {1 - 0.05 / 4})"
        (single,) = rows(shared, alone)
        for column in ("accuracy_run", "diff", "ci_low", "ci_high"):
            same(found[name][column], single[column])
    for name, value in zip(names, multipletests(expected, method="holm")[1], strict=True):
        same(found[name]["p_holm"], float(value))


@pytest.mark.parametrize(("runs", "n"), [(2, 100), (10, 300)])
def test_runs_as_good_as_their_baseline(shared: duckdb.DuckDBPyConnection, runs: int, n: int) -> None:
    """Any alarm among all runs, and any interval without 0, count as one."""
    world, rng = World(n, runs, 1), np.random.default_rng(runs)
    alarms = misses = 0
    for _ in range(SETS):
        for name, right in zip(("new", "old"), world.draw(rng), strict=True):
            show(shared, name, right)
        found = rows(shared, "from compare_many('new', 'old')")
        alarms += any(row["p_holm"] <= 0.05 for row in found)
        misses += any(row["ci_low"] > 0 or row["ci_high"] < 0 for row in found)
    assert max(alarms, misses) <= MOST


# By name and in order, from Python


def test_from_python(con: duckdb.DuckDBPyConnection) -> None:
    run, baseline = World(60, 2, 2, (2, 2)).draw(np.random.default_rng(4))
    show(con, "new", run)
    show(con, "old", baseline)
    for name in ("new_0", "new_1", "old_0", "old_1"):
        con.execute(f"create table {name} as select * exclude (run) from {name[:3]} where run = '{name}'").fetchall()
    expected = con.execute("from compare_seeds('new', 'old')").fetchall()
    lists = ["new_0", "new_1"], ["old_0", "old_1"]
    assert metric(con, "compare_seeds", *lists).fetchall() == expected
    assert metric(con, "compare_seeds", lists[0], baselines=lists[1]).fetchall() == expected
    assert metric(con, "compare_seeds", "new", baselines=con.sql("from old")).fetchall() == expected
    assert len(metric(con, "compare_many", lists[0], "old_0", is_right="pred = 1 - label").fetchall()) == 2


def check_seeds(con: duckdb.DuckDBPyConnection) -> None:
    test_compare_seeds(con, 3, 5, 300)
    test_compare_seeds(con, 1, 4, 60)


MUTANTS = [
    Mutant("compare_seeds", "part_run + part_baseline - chance", "part_run + part_baseline", check_seeds),
    Mutant("compare_seeds", "- 2 * products", "+ 2 * products", check_seeds),
    Mutant("compare_seeds", "count(*) = n_runs + n_baselines", "count(*) >= n_runs", test_only_images_that_all_have_answered),
    Mutant("compare_seeds", "variance_run / (n * n)", "variance_run / n", check_seeds),
    Mutant("compare_seeds", "greatest(n_runs, n_baselines) - 1", "greatest(n_runs, n_baselines)", check_seeds),
    Mutant("compare_many", "(tests - rank + 1)", "(tests - rank)", test_compare_many),
    Mutant("compare_many", "1 - (1 - _level(level))", "1 - 2 * (1 - _level(level))", test_compare_many),
    Mutant("compare_many", "n_run + n_baseline - 2 * n", "n_run + n_baseline - n", test_compare_many),
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.name}: {mutant.new}")
def test_mutants_are_noticed(con: duckdb.DuckDBPyConnection, mutant: Mutant) -> None:
    assert is_noticed(con, mutant)
