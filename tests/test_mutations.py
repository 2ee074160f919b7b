"""Macros broken on purpose: the very checks of the catalogue must notice each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import duckdb
import numpy as np
import pytest

import sqlanalysis
from sqlanalysis import templates

from . import test_metrics_oracle as oracle
from . import test_metrics_oracle_more as more
from . import test_rescoring_oracle as late
from .test_metrics_oracle import CASES

Check = Callable[[duckdb.DuckDBPyConnection], None]


def cases(check: Callable[..., None], *args: object) -> Check:
    """The check of a test that takes one table, over the edge table and the random ones."""

    def run(con: duckdb.DuckDBPyConnection) -> None:
        for case in CASES.values():
            check(con, case, *args)

    return run


POINTS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
# Macro, text in its file, what stands there instead, and the checks of which one must fail.
MUTANTS: list[tuple[str, str, str, Check]] = [
    ("accuracy", "and pred is not null", "and true", cases(oracle.test_accuracy)),
    ("accuracy", "pred = label", "pred >= label", cases(oracle.test_accuracy)),
    ("wilson_low", "k + _q * _q / 2 - _q", "k - _q", cases(oracle.test_accuracy)),
    ("wilson_low", "+ _q * _q / 4", "+ _q * _q / 2", cases(oracle.test_accuracy)),
    ("accuracy_by", "correct / nullif(n, 0)", "correct / nullif(n + 1, 0)", cases(oracle.test_accuracy_by)),
    ("topk_accuracy", "_p = p_label", "_p < p_label", cases(oracle.test_topk_accuracy)),
    ("topk_accuracy", "label_rank <= _wanted.k", "label_rank < _wanted.k", cases(oracle.test_topk_accuracy)),
    ("per_class", "where pred >= 0", "where true", cases(oracle.test_per_class, "0.0", 0.0)),
    ("per_class", "2 * tp / nullif(support + predicted, 0)", "tp / nullif(support + predicted, 0)",
     cases(oracle.test_per_class, "0.0", 0.0)),
    ("scores", "filter (where support > 0) as balanced_accuracy", "as balanced_accuracy",
     cases(oracle.test_scores, "0.0", 0.0)),
    ("scores", "+ (sum(support) - sum(predicted)) ** 2 as preds_squared", "as preds_squared",
     cases(oracle.test_scores, "0.0", 0.0)),
    ("cell_scores", "filter (where class >= 0) as f1_macro", "as f1_macro", cases(oracle.test_scores_by)),
    ("probability_scores", "greatest(p_label, eps)", "p_label", cases(oracle.test_probability_scores)),
    ("probability_scores", "p_squared - 2 * p_label + 1", "p_squared - p_label + 1",
     cases(oracle.test_probability_scores)),
    ("reliability", "least(bins - 1, floor(confidence * bins))", "floor(confidence * bins)",
     cases(oracle.test_calibration, "width")),
    ("calibration", "sum(n * abs(gap))", "sum(n * gap)", cases(oracle.test_calibration, "width")),
    ("mcnemar", "(abs(a_only - b_only) - 1) ** 2", "abs(a_only - b_only) ** 2", cases(more.test_mcnemar)),
    ("mcnemar", "(b_only - a_only) / nullif(n, 0) as diff", "(a_only - b_only) / nullif(n, 0) as diff",
     cases(more.test_mcnemar)),
    ("paired_low", "a_only + b_only + 1 -", "a_only + b_only -", cases(more.test_mcnemar)),
    ("paired", "and pred is not null", "and true", cases(more.test_mcnemar)),
    ("agreement", "ok_a and not ok_b) as lost", "ok_b and not ok_a) as lost", cases(more.test_agreement)),
    ("ranking_per_class", "(first_place + last_place) / 2 as place", "first_place as place", cases(more.test_ranking)),
    ("coverage_steps", "pred <> label", "pred < label", cases(more.test_selective)),
    ("selective", ">= target_accuracy) as kept_at_target", "> target_accuracy) as kept_at_target",
     cases(more.test_selective)),
    ("knn_graph", "_from.image_id <> _to.image_id", "true", lambda con: more.test_knn_graph(con, POINTS)),
    ("tempered", "/ _heat", "/ 1", cases(late.test_tempered_is_a_softmax)),
    ("tempered", "coalesce(_share[pred + 1], confidence)", "list_max(_share)", cases(late.test_tempered_is_a_softmax)),
    ("best_temperature", "exp(beta * _z)", "exp(_z)", lambda con: late.test_temperature_of_scipy(con, None, "ten")),
    ("best_temperature", "'nan'::double", "1", lambda con: late.test_temperature_at_the_edges(con, "nan")),
    ("log_margins", "greatest(_p, eps)", "greatest(_p, 1e-7)",
     lambda con: late.test_temperature_of_the_logits(con, 10)),
    ("temperature", "list_sum(list_transform(", "list_max(list_transform(",
     lambda con: late.test_temperature_of_scipy(con, None, "ten")),
    ("at_threshold", "and not isnan(confidence::double)", "", cases(late.test_at_threshold, 0.5)),
    ("at_threshold", ">= threshold", "> threshold", cases(late.test_at_threshold, 0.5)),
    ("threshold_for", "where target_accuracy < 1", "where true", cases(late.test_threshold_for, 1.0, 0.9)),
    ("coverage_steps", "count(*) over", "row_number() over", cases(more.test_selective)),
    ("risk_coverage", "where part > 0", "where true", cases(more.test_selective)),
    ("weighted_accuracy", "squares * accuracy * accuracy", "squares * accuracy", cases(late.test_weighted_accuracy)),
    ("weighted_accuracy", "least(kish, own)", "kish", cases(late.test_weighted_accuracy)),
    ("accuracy_accepted", "filter (where len(classes) > 0) as n", "as n", late.test_accepted_alone_is_enough),
    ("anytime_low", "lgamma(n + 2)", "lgamma(n + 1)", cases(late.test_accuracy_anytime)),
    ("mcnemar_anytime", "lgamma(a_only + 1)", "lgamma(a_only)", cases(late.test_mcnemar_anytime)),
]  # fmt: skip


@pytest.fixture
def fresh() -> duckdb.DuckDBPyConnection:
    return sqlanalysis.connect()


@pytest.mark.parametrize(("name", "old", "new", "check"), MUTANTS, ids=[f"{m[0]}-{i}" for i, m in enumerate(MUTANTS)])
def test_a_mutant_is_noticed(fresh: duckdb.DuckDBPyConnection, name: str, old: str, new: str, check: Check) -> None:
    text = templates.source(f"metrics/{name}")
    assert old in text, "the macro has changed; choose another mutation"
    with contextlib.closing(fresh):
        try:
            fresh.execute(text.replace(old, new, 1))
            check(fresh)
        except (AssertionError, duckdb.Error):
            return
    pytest.fail("nothing noticed")
