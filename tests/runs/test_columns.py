"""A user's own columns in a run: by image_id, in order, from frames and files; what has two readings is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

import sqlanalysis
from sqlanalysis import add_column, add_images, add_predictions
from sqlanalysis.errors import ArgumentError, NotFoundError, SchemaError

IDS = list(range(1, 19))
SCORES = np.random.default_rng(0).normal(size=18)


@pytest.fixture
def pets(con: duckdb.DuckDBPyConnection, photos: Path) -> duckdb.DuckDBPyConnection:
    add_images(con, photos, dataset="pets")
    add_predictions(con, pd.DataFrame({"image_id": IDS, "pred": [0, 1, 2] * 6}), "mine")
    return con


FORMS: dict[str, Callable[[], Any]] = {
    "list": lambda: SCORES.tolist(),
    "array": lambda: SCORES,
    "tensor": lambda: torch.from_numpy(SCORES),
    "arrow": lambda: pa.chunked_array([SCORES[:5], SCORES[5:]]),
    "polars": lambda: pl.Series(SCORES),
    "pandas": lambda: pd.Series(SCORES),
    "pandas by image_id": lambda: pd.DataFrame({"image_id": IDS, "s": SCORES}).sort_values("s").set_index("image_id")["s"],
    "mapping": lambda: dict(reversed(list(zip(IDS, SCORES.tolist(), strict=True)))),
    "frame": lambda: pd.DataFrame({"score": SCORES, "image_id": IDS, "other": 1}).sort_values("score"),
    "polars frame": lambda: pl.DataFrame({"image_id": IDS[::-1], "anything": SCORES[::-1]}),
    "relation": lambda: duckdb.connect().from_arrow(pa.table({"image_id": IDS, "score": SCORES})),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_values_of_any_form_reach_their_images(pets: duckdb.DuckDBPyConnection, form: str) -> None:
    done = add_column(pets, "mine", "score", FORMS[form]())
    assert (done.run, done.name, done.type, done.n_images, done.n_filled) == ("mine", "score", "DOUBLE", 18, 18)
    found = pets.sql("select image_id, score from mine order by image_id").fetchall()
    assert found == list(zip(IDS, SCORES.tolist(), strict=True))
    worst = pets.sql("select slice, n from accuracy_by('mine', score > 0) order by slice").fetchall()
    assert worst == [(False, int((SCORES <= 0).sum())), (True, int((SCORES > 0).sum()))]


def test_kinds_of_values(pets: duckdb.DuckDBPyConnection) -> None:
    types = {
        "flag": ([True, False] * 9, "BOOLEAN"),
        "word": (["ä", None] * 9, "VARCHAR"),
        "whole": (np.arange(18, dtype=np.int32), "INTEGER"),
        "vector": (torch.ones(18, 4), "FLOAT[4]"),
        "half": (torch.ones(18, 2, 3).half(), "FLOAT[3][2]"),
        "pairs": ([[1, 2]] * 18, "BIGINT[2]"),
    }
    for name, (values, dtype) in types.items():
        assert add_column(pets, "mine", name, values).type == dtype
    assert [str(one) for one in pets.sql("select flag, word, whole, vector, half, pairs from mine").types] == [
        dtype for _, dtype in types.values()
    ]
    add_column(pets, "mine", "activation", np.random.default_rng(1).normal(size=(18, 5)).astype(np.float32))
    sqlanalysis.project(pets, "mine", method="pca")
    assert pets.sql("select count(x) from mine").fetchall() == [(18,)]


def test_images_without_a_value_are_null_and_counted(
    pets: duckdb.DuckDBPyConnection, caplog: pytest.LogCaptureFixture
) -> None:
    done = add_column(pets, "mine", "hard", {3: True, 7: False, 9: None})
    assert (done.n_filled, done.n_images) == (2, 18)
    assert "hard: 16 of 18 images of 'mine' have no value" in caplog.text
    assert pets.sql("select image_id from mine where hard is not null order by 1").fetchall() == [(3,), (7,)]


@pytest.mark.parametrize(
    ("name", "values", "error", "message"),
    [
        ("Score", SCORES, ArgumentError, "not an identifier"),
        ("pred", SCORES, SchemaError, "'pred' is a column that every run has, or what it predicts"),
        ("label", SCORES, SchemaError, "every run has"),
        ("score", SCORES[:5], SchemaError, "5 values for the 18 images of 'mine'"),
        ("score", {99: 1.0}, SchemaError, "image_id 99 is not in the run"),
        ("score", {"1": 1.0, "x": 2.0}, SchemaError, "image_id holds what is no whole number"),
        ("score", pa.table({"image_id": [4, 4], "v": [1, 2]}), SchemaError, "image_id 4 comes 2 times"),
        ("score", pd.DataFrame({"id": [1], "score": [2]}), SchemaError, "has no column image_id; there are: id, score"),
        ("score", pd.DataFrame({"image_id": [1], "a": [1], "b": [2]}), SchemaError, "has no column score"),
        ("score", pd.Series(SCORES).sort_values(), SchemaError, "in an order of their own"),
        ("score", [1, "a"] * 9, ArgumentError, "numbers, text, booleans or arrays of one size"),
        ("score", [[1], [1, 2]] * 9, ArgumentError, "arrays of one size"),
        ("score", "nowhere.csv", NotFoundError, "no table nowhere.csv"),
    ],
)
def test_wrong_values_change_nothing(
    pets: duckdb.DuckDBPyConnection, name: str, values: Any, error: type[Exception], message: str
) -> None:
    before = pets.table("mine").columns
    with pytest.raises(error, match=message):
        add_column(pets, "mine", name, values)
    assert pets.table("mine").columns == before


def test_a_run_in_another_order_needs_ids(pets: duckdb.DuckDBPyConnection) -> None:
    add_predictions(pets, pd.DataFrame({"image_id": IDS[::-1], "pred": 0}), "backwards")
    with pytest.raises(
        SchemaError, match="stored in another order than that of image_id, so 18 values could be in either"
    ):
        add_column(pets, "backwards", "score", SCORES)
    add_column(pets, "backwards", "score", dict(zip(IDS, SCORES, strict=True)))
    assert pets.sql("select score from backwards order by image_id").fetchall() == [(one,) for one in SCORES]


def test_replacing_and_derived_runs(pets: duckdb.DuckDBPyConnection) -> None:
    add_column(pets, "mine", "score", SCORES)
    with pytest.raises(SchemaError, match="run 'mine' has a column 'score'; give another name, or overwrite=True"):
        add_column(pets, "mine", "score", IDS)
    assert add_column(pets, "mine", "score", IDS, overwrite=True).type == "BIGINT"
    frame = pd.DataFrame({"image_id": IDS, "probs": [[0.5, 0.3, 0.2]] * 18})
    add_predictions(pets, frame, "scored")
    sqlanalysis.temperature_scale(pets, "scored", "warm", temperature=2.0)
    with pytest.raises(SchemaError, match="run 'warm' is derived, so it stores no columns; add 'score' to 'scored'"):
        add_column(pets, "warm", "score", SCORES)
    with pytest.raises(NotFoundError, match="no run 'mein'; did you mean mine"):
        add_column(pets, "mein", "score", SCORES)


def test_command_line(tmp_path: Path, photos: Path) -> None:
    with sqlanalysis.connect(tmp_path / "x.duckdb") as con:
        add_images(con, photos)
        add_predictions(con, pd.DataFrame({"image_id": IDS, "pred": 0}), "mine")
    (tmp_path / "values.csv").write_text("image_id,score,code\n" + "".join(f"{one},{one / 4},00{one}\n" for one in IDS))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sqlanalysis", "add-column", "x.duckdb", "mine", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    done = run("score", "values.csv")
    assert (done.returncode, done.stderr) == (0, "mine: score DOUBLE, 18 of 18 images have a value\n")
    assert run("code", "values.csv").stderr == "mine: code VARCHAR, 18 of 18 images have a value\n"
    again = run("score", "values.csv")
    assert (again.returncode, "--overwrite" in again.stderr) == (1, True)
    assert run("score", "values.csv", "--overwrite").returncode == 0
    with sqlanalysis.connect(tmp_path / "x.duckdb", read_only=True) as con:
        assert con.sql("select score, code from mine where image_id = 3").fetchall() == [(0.75, "003")]
