"""What holds for every metric: order, column types, kinds of relations, names of columns, relabeling."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pytest

from sqlanalysis.db import templates

from ..support.edge_cases import CALLS, INTERNAL_CALLS, ONE_RELATION, Case, load
from ..support.oracle import (
    CASES,
    flat,
    rows,
    values,
)

ALL_CALLS = {**CALLS, **INTERNAL_CALLS}


@pytest.mark.parametrize("call", ALL_CALLS.values(), ids=ALL_CALLS)
@pytest.mark.parametrize("name", ["ten", "ties", "outside", "nan", "empty"])
def test_order_and_column_type_do_not_matter(shared: duckdb.DuckDBPyConnection, name: str, call: str) -> None:
    example = CASES[name]
    if call in [CALLS[metric] for metric in ONE_RELATION]:
        call = f"(select * exclude (run) from {call})"
    if "similar_to" in call and name == "empty":
        pytest.skip("the image asked for is not there, which is an error")
    expected = values(shared, call, load(shared, example))
    width = len(example.probs[0]) if example.probs else 2
    for column, order in (("FLOAT[]", 1), (f"FLOAT[{width}]", 0), ("DOUBLE[]", 2)):
        actual = values(shared, call, load(shared, example, "other", column, order))
        assert actual == pytest.approx(expected, abs=1e-12)


# The bootstraps check it themselves, see their tests.
LEVELED = sorted(
    {name for name, one in templates.index().items() if one.kind == "metrics" and "level :=" in one.signature}
)


@pytest.mark.parametrize("name", sorted({*LEVELED} - {"bootstrap_ci", "paired_bootstrap", "needed_n"}))
@pytest.mark.parametrize("level", ["95", "0", "1", "-0.95", "'nan'::double", "null"])
def test_a_level_outside_0_to_1_is_an_error(shared: duckdb.DuckDBPyConnection, name: str, level: str) -> None:
    call = CALLS[name].format(load(shared, CASES["ten"])).replace(", level := 0.5", "")
    first, _, last = call.rpartition(f"{name}(")
    inside, _, rest = last.partition(")")
    with pytest.raises(duckdb.InvalidInputException, match="level must be between 0 and 1, such as 0.95, not"):
        shared.execute(f"from {first}{name}({inside}, level := {level}){rest}").fetchall()


def test_every_kind_of_relation(shared: duckdb.DuckDBPyConnection, tmp_path: Any) -> None:
    name = load(shared, CASES["outside"], "my-run")
    shared.execute(f'create or replace view run_view as from "{name}"').fetchall()
    shared.execute(f"copy \"{name}\" to '{tmp_path}/preds.parquet' (format parquet)").fetchall()
    for metric, call in CALLS.items():
        named = call if metric not in ONE_RELATION else f"(select * exclude (run) from {call})"
        expected = values(shared, named, '"my-run"')
        for other in ("run_view", "main.run_view", f"{tmp_path}/preds.parquet"):
            assert values(shared, named, other) == pytest.approx(expected, abs=1e-12)
        hard = shared.execute(f'with hard as (from "my-run") from {named.format("hard")}').fetchall()
        assert flat(hard) == pytest.approx(expected, abs=1e-12)
    assert rows(shared, "from accuracy(run_view)")[0]["n"] == 4


def test_a_column_may_have_the_name_of_a_parameter(shared: duckdb.DuckDBPyConnection) -> None:
    shared.execute(
        "create or replace table odd as "
        "select i as image_id, 0 as label, i % 2 as pred, i % 3 as level, i as k, i as n, i as slice, "
        "i % 2 = 0 as correct from range(12) t(i)"
    ).fetchall()
    assert [row["slice"] for row in rows(shared, "from accuracy_by('odd', level)")] == [0, 1, 2]
    assert [row["slice"] for row in rows(shared, "from scores_by('odd', correct)")] == [False, True]
    assert len(rows(shared, "from accuracy_by('odd', slice)")) == 12
    assert rows(shared, "from accuracy('odd')")[0]["correct"] == 6


def test_relabeling_classes_changes_nothing(shared: duckdb.DuckDBPyConnection) -> None:
    example = CASES["ten"]
    order = np.random.default_rng(7).permutation(10)
    renamed = Case(
        [int(order[label]) for label in example.label],
        [int(order[pred]) for pred in example.pred],
        [np.asarray(row)[np.argsort(order)].tolist() for row in example.probs],
        example.confidence,
    )
    for call in ("accuracy", "scores", "summary", "topk_accuracy", "proper_scores", "calibration_error"):
        named = f"(select * exclude (run) from {CALLS[call]})"
        expected = values(shared, named, load(shared, example))
        assert values(shared, named, load(shared, renamed, "other")) == pytest.approx(expected, abs=1e-12)
