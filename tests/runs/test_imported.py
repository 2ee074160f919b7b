"""Predictions made elsewhere: by path or number, names or indices, with probabilities, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqlanalysis import add_images, add_predictions
from sqlanalysis.errors import ArgumentError, NotFoundError, SchemaError


@pytest.fixture
def pets(con: duckdb.DuckDBPyConnection, photos: Path) -> duckdb.DuckDBPyConnection:
    add_images(con, photos, dataset="pets")
    return con


def test_predictions_by_path_and_name(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    lines = ["path,pred_name,confidence", "cat/0.jpg,cat,0.9", "cat/1.jpg,dog,0.8", "dog/0.jpg,-1,0.7"]
    lines += ["nowhere.jpg,cat,0.5", "0.jpg,cat,0.5", "cat/2.jpg,fox,0.5", "cat/0.jpg,owl,0.1"]
    (tmp_path / "preds.csv").write_text("\n".join(lines))
    done = add_predictions(pets, tmp_path / "preds.csv", "mine")
    assert (done.n_ok, done.n_errors) == (3, 4)
    rows = pets.sql(
        "select label_name, pred_name, pred, round(confidence::double, 2), correct from mine order by image_id"
    ).fetchall()
    assert rows == [("cat", "cat", 0, 0.9, True), ("cat", "dog", 1, 0.8, False), ("dog", None, -1, 0.7, False)]
    messages = sorted(row[0] for row in pets.sql("select message from errors where run = 'mine'").fetchall())
    assert messages == [
        "3 images end with 0.jpg",
        "a second row for the same image",
        "no class fox",
        "no image nowhere.jpg",
    ]
    assert pets.sql("select n_images, n_errors, status from runs").fetchall() == [(7, 4, "finished")]


@pytest.mark.parametrize("kind", ["frame", "arrow", "relation", "table", "parquet"])
def test_predictions_with_probabilities(pets: duckdb.DuckDBPyConnection, tmp_path: Path, kind: str) -> None:
    probs = np.random.default_rng(0).dirichlet([1, 1, 1], 18).astype(np.float32)
    table = pa.table({"image_id": np.arange(1, 19), "probs": list(probs)})
    pets.register("given", table)
    pets.execute("create table given_table as from given")
    pq.write_table(table, tmp_path / "given.parquet")
    source = {
        "frame": table.to_pandas(),
        "arrow": table,
        "relation": pets.table("given_table"),
        "table": "given_table",
        "parquet": tmp_path / "given.parquet",
    }[kind]
    assert add_predictions(pets, source, "mine").n_ok == 18
    actual = pets.sql("select pred, confidence, probs from mine order by image_id").fetchnumpy()
    assert np.array_equal(actual["pred"], probs.argmax(1))
    assert np.array_equal(actual["confidence"], probs.max(1))
    assert pets.sql("select typeof(probs) from mine limit 1").fetchall() == [("FLOAT[3]",)]


@pytest.fixture
def numbers(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> duckdb.DuckDBPyConnection:
    """A data set whose classes 0, 1, 2 are called 1, 10, 2."""
    for number, name in ((1, "cat"), (2, "dog"), (10, "owl")):
        shutil.copytree(photos / name, tmp_path / "set" / str(number))
    add_images(con, tmp_path / "set")
    return con


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        *[("pred_index", int), ("pred_index", float), ("pred", str), ("pred", "category")],
        *[("pred_name", int), ("pred_name", float), ("pred_name", str)],
    ],
)
def test_numbers_are_indices_and_text_is_a_name(
    numbers: duckdb.DuckDBPyConnection, column: str, kind: type | str
) -> None:
    query = "select image_id, label, classes.name from images join classes on label = class"
    frame = numbers.sql(query).df()
    frame[column] = frame["label" if column == "pred_index" else "name"].astype(kind)
    if kind is float:
        frame.loc[17, column] = np.nan
    done = add_predictions(numbers, frame[["image_id", column]], "mine")
    assert (done.n_ok, done.n_errors) == (18, 0)
    n = 17 if kind is float else 18
    assert numbers.sql("select n, accuracy from accuracy('mine')").fetchall() == [(n, 1.0)]


def test_numbers_that_may_be_names_are_refused(numbers: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "preds.csv").write_text("path,pred\n1/0.jpg,1\n10/0.jpg,10\n")
    with pytest.raises(SchemaError, match="pred holds numbers, and class 0 of data set 'set' is called '1': rename"):
        add_predictions(numbers, tmp_path / "preds.csv", "mine")
    (tmp_path / "preds.csv").write_text("path,pred_name\n1/0.jpg,1\n10/0.jpg,10\n")
    add_predictions(numbers, tmp_path / "preds.csv", "mine")
    assert numbers.sql("select n, accuracy from accuracy('mine')").fetchall() == [(2, 1.0)]
    with pytest.raises(SchemaError, match="label 1 may be an index or a name: class 0 of 'set' is called '1'"):
        add_images(numbers, [(b"", 1)], dataset="set")


def test_text_is_no_index(pets: duckdb.DuckDBPyConnection) -> None:
    frame = pd.DataFrame({"image_id": [1, 2], "pred": ["0", "0"]})
    with pytest.raises(SchemaError, match="no row of DataFrame fits data set 'pets'; the first: no class 0"):
        add_predictions(pets, frame, "mine")


def test_bad_predictions(pets: duckdb.DuckDBPyConnection) -> None:
    good = pd.DataFrame({"image_id": [1], "pred": [0]})
    with pytest.raises(SchemaError, match="no column pred, pred_name, pred_index or probs; there are: image_id"):
        add_predictions(pets, good[["image_id"]], "mine")
    with pytest.raises(SchemaError, match="no column image_id and no path column"):
        add_predictions(pets, good[["pred"]], "mine")
    with pytest.raises(NotFoundError, match="no file, table or view 'pets'"):
        add_predictions(pets, "pets", "mine")
    with pytest.raises(NotFoundError, match="no data set 'cats'; did you mean pets"):
        add_predictions(pets, good, "mine", dataset="cats")
    assert pets.sql("from runs").fetchall() == []
    short = pd.DataFrame({"image_id": [1, 2], "probs": [[0.5, 0.5], [0.2, 0.3, 0.5]]})
    assert vars(add_predictions(pets, short, "short")) == {"run": "short", "n_ok": 1, "n_errors": 1}
    with pytest.raises(SchemaError, match="run 'short' exists"):
        add_predictions(pets, short, "short")
    for wrong in ({"image_id": [1], "pred": [0]}, [(1, 0)], None):
        with pytest.raises(ArgumentError, match="predictions come from .*, not from (dict|list|NoneType)"):
            add_predictions(pets, wrong, "mine")


def test_nan_in_probs_is_an_error(pets: duckdb.DuckDBPyConnection) -> None:
    probs = [[0.2, 0.8, 0.0], [0.2, float("nan"), 0.8], [0.0, 0.0, float("nan")]]
    done = add_predictions(pets, pa.table({"image_id": [1, 2, 3], "probs": probs}), "mine")
    assert (done.n_ok, done.n_errors) == (1, 2)
    assert pets.sql("select pred from mine where pred is not null").fetchall() == [(1,)]
    assert pets.sql("select distinct message from errors where run = 'mine'").fetchall() == [("NaN in probs",)]


def test_an_import_without_any_prediction_is_refused(pets: duckdb.DuckDBPyConnection) -> None:
    table = pa.table({"image_id": range(1, 13), "pred": pa.nulls(12, pa.int64())})
    with pytest.raises(SchemaError, match="no row of Table has a prediction; fill its column pred"):
        add_predictions(pets, table, "mine")
    assert pets.sql("from runs").fetchall() == []
    some = table.set_column(1, "pred", pa.array([0] + [None] * 11, pa.int64()))
    assert add_predictions(pets, some, "mine").n_ok == 12


def test_paths_of_predictions_may_begin_with_a_dot(pets: duckdb.DuckDBPyConnection) -> None:
    frame = pd.DataFrame({"path": ["./cat/0.jpg", ".//./dog/1.jpg", "/elsewhere/cat/1.jpg"], "pred": [0, 1, 0]})
    done = add_predictions(pets, frame, "mine")
    assert (done.n_ok, done.n_errors) == (2, 1)


def test_an_imported_run_may_be_called_imported(pets: duckdb.DuckDBPyConnection) -> None:
    add_predictions(pets, pd.DataFrame({"image_id": range(1, 19), "pred": 0}), "imported")
    assert pets.sql("select n from accuracy('imported')").fetchall() == [(18,)]
    assert pets.sql("select n_images, n_ok, n_errors from runs").fetchall() == [(18, 18, 0)]
