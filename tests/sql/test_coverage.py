"""Intervals hold the truth as often as they say, in data sets whose truth is known.

Sixty data sets each: at a nominal 0.95 fewer than 51 hits have a probability of 1e-3 (binomial). The long form, with
more sizes and a numpy copy of the bootstrap, is tests/benchmarks/coverage.py.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pytest

from ..support import simulations as sim

SETS, LEAST = 60, 51


@pytest.mark.parametrize("fixed", [False, True], ids=["sampled", "fixed"])
def test_macro_f1_of_many_small_classes(shared: duckdb.DuckDBPyConnection, fixed: bool) -> None:
    """The plain percentiles hold it in about 40 of 60 where the labels are sampled."""
    hits, plain = 0, 0
    for seed in range(SETS):
        y, p, truth = sim.labels_and_answers(100, 10, seed, fixed)
        select = "select ci_low, ci_high from bootstrap_ci('made', n_resamples := 150) where metric = 'f1_macro'"
        low, high = sim.answer(shared, {"label": y, "pred": p}, select)
        assert low <= sim.macro_f1(y, p, 100) <= high
        hits += low <= truth <= high
        if not fixed and seed < 20:
            select = "select quantile_cont(f1_macro, [0.025, 0.975]) from _bootstrap_replicates('made', 150)"
            ((low, high),) = sim.answer(shared, {"label": y, "pred": p}, select)
            plain += low <= truth <= high
    assert hits >= LEAST
    assert fixed or plain < 18


def test_auc_and_average_precision(shared: duckdb.DuckDBPyConnection) -> None:
    hits = np.sum(list(sim.area_hits(shared, SETS, 300, 0.2, 1.5)), axis=0)
    assert hits.min() >= LEAST


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_ece(shared: duckdb.DuckDBPyConnection, power: float) -> None:
    assert sum(sim.ece_hits(shared, SETS, 300, power)) >= LEAST


def test_log_loss(shared: duckdb.DuckDBPyConnection) -> None:
    assert sum(sim.loss_hits(shared, SETS, 300)) >= LEAST


def test_precision_recall_and_f1(shared: duckdb.DuckDBPyConnection) -> None:
    assert np.sum(list(sim.class_hits(shared, SETS, 10, 30)), axis=0).min() >= LEAST


@pytest.mark.parametrize(("icc", "p"), [(0.3, 0.7), (0.6, 0.9)])
def test_accuracy_of_images_in_groups(shared: duckdb.DuckDBPyConnection, icc: float, p: float) -> None:
    """The formula in numpy over a thousand data sets; SQL gives the same ends on a few of them."""
    hits = list(sim.group_hits_by_numpy(shared, 1000, 30, 10, icc, p))
    assert np.mean(hits) >= 0.93  # standard error at .95: .007
    assert list(sim.group_hits(shared, 20, 30, 10, icc, p)) == hits[:20]
    for seed in range(5):
        made = sim.grouped(30, 10, icc, p, seed)
        columns = made | {"pred": made["pred_0"]}
        ends = sim.answer(shared, columns, "select ci_low, ci_high from accuracy('made', groups := patient)")
        assert ends == pytest.approx(sim.group_interval(made["pred_0"] == 0, made["patient"]), abs=1e-5)


def test_two_equal_runs_over_images_in_groups(shared: duckdb.DuckDBPyConnection) -> None:
    """As if the images were independent, the test finds a difference in about 24 of 60."""
    assert sum(sim.group_tests(shared, SETS, 30, 10, 0.6, 0.7)) >= LEAST
    assert sum(sim.group_tests(shared, SETS, 30, 10, 0.6, 0.7, "null")) < 45


def test_bootstrap_over_groups(shared: duckdb.DuckDBPyConnection) -> None:
    assert sum(sim.group_resamples(shared, SETS, 30, 10, 0.3, 0.7)) >= LEAST


@pytest.mark.parametrize("nested", [False, True], ids=["mixed labels", "a label each"])
def test_bootstrap_of_five_scores_over_groups(shared: duckdb.DuckDBPyConnection, nested: bool) -> None:
    """Few groups have mistakes; stretched percentiles held accuracy in 46 of 60, kappa in as many."""
    hits = np.sum(list(sim.group_scores(shared, SETS, 30, 10, 0.6, 0.97, nested)), axis=0)
    assert hits.min() >= LEAST


def test_a_true_drop_over_groups(shared: duckdb.DuckDBPyConnection) -> None:
    """mcnemar, balanced accuracy of verdict, three of paired_bootstrap. Fewer than 33 of 40: 1e-3 at a nominal .95."""
    hits = np.sum(list(sim.group_differences(shared, 40, 30, 10, 0.6, 0.97, 0.05)), axis=0)
    assert hits.min() >= 33


@pytest.mark.parametrize(("groups", "size", "icc", "by"), [(300, 1, 0.001, "null"), (30, 10, 0.6, "patient")])
def test_a_gate_of_non_inferiority_fails_what_is_inferior(
    shared: duckdb.DuckDBPyConnection, groups: int, size: int, icc: float, by: str
) -> None:
    """One in forty may pass; more than four of 30 have a probability of 1e-3."""
    assert sum(sim.true_drops(shared, 30, groups, size, icc, 0.9, 0.05, by)) >= 26
