"""Predictions made elsewhere: by path or number, names or indices, with probabilities, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import log_loss

from sqlanalysis import add_images, add_predictions, drop_run
from sqlanalysis.errors import ArgumentError, NotFoundError, SchemaError, SQLAnalysisError

from ..support.trees import png


@pytest.fixture
def pets(con: duckdb.DuckDBPyConnection, photos: Path) -> duckdb.DuckDBPyConnection:
    add_images(con, photos, dataset="pets")
    return con


def test_predictions_by_path_and_name(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    lines = ["path,pred_name,confidence", "cat/0.jpg,cat,0.9", "cat/1.jpg,dog,0.8", "dog/0.jpg,-1,0.7"]
    lines += ["nowhere.jpg,cat,0.5", "0.jpg,cat,0.5", "cat/2.jpg,fox,0.5", "cat/0.jpg,cat,0.9"]
    (tmp_path / "preds.csv").write_text("\n".join(lines))
    done = add_predictions(pets, tmp_path / "preds.csv", "mine")
    assert (done.n_ok, done.n_errors, done.n_repeated) == (3, 3, 1)
    assert done.columns == {"path": "path", "pred_name": "pred_name", "confidence": "confidence"}
    assert done.matched == {"relative": 5}
    rows = pets.sql(
        "select label_name, pred_name, pred, round(confidence::double, 2), correct from mine order by image_id"
    ).fetchall()
    assert rows == [("cat", "cat", 0, 0.9, True), ("cat", "dog", 1, 0.8, False), ("dog", None, -1, 0.7, False)]
    messages = sorted(row[0] for row in pets.sql("select message from errors where run = 'mine'").fetchall())
    assert messages[0].startswith("3 images end with 0.jpg, such as ")
    assert messages[1:] == ["no class fox", "no image nowhere.jpg"]
    assert pets.sql("select n_images, n_errors, status from runs").fetchall() == [(6, 3, "finished")]


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
    with pytest.raises(
        SchemaError, match="pred holds numbers, and class 0 of data set 'set' is called '1': .*pred_name"
    ):
        add_predictions(numbers, tmp_path / "preds.csv", "mine")
    (tmp_path / "preds.csv").write_text("path,pred_name\n1/0.jpg,1\n10/0.jpg,10\n")
    add_predictions(numbers, tmp_path / "preds.csv", "mine")
    assert numbers.sql("select n, accuracy from accuracy('mine')").fetchall() == [(2, 1.0)]
    with pytest.raises(SchemaError, match="label 1 may be an index or a name: class 0 of 'set' is called '1'"):
        add_images(numbers, [(b"", 1)], dataset="set")


def test_digits_are_indices_where_no_class_is_called_by_a_number(pets: duckdb.DuckDBPyConnection) -> None:
    add_predictions(pets, pd.DataFrame({"image_id": [1, 7, 13, 2], "pred": ["0", "1", "2", "-1"]}), "mine")
    assert pets.sql("select pred_name from mine order by image_id").fetchall() == [
        ("cat",),
        (None,),
        ("dog",),
        ("owl",),
    ]


def test_bad_predictions(pets: duckdb.DuckDBPyConnection) -> None:
    good = pd.DataFrame({"image_id": [1], "pred": [0]})
    with pytest.raises(SchemaError, match="no column pred, pred_name, pred_index or probs.*pred.*there are: image_id"):
        add_predictions(pets, good[["image_id"]], "mine")
    with pytest.raises(SchemaError, match="no column path and no image_id"):
        add_predictions(pets, good[["pred"]], "mine")
    with pytest.raises(NotFoundError, match="no file, table or view 'pets'"):
        add_predictions(pets, "pets", "mine")
    with pytest.raises(NotFoundError, match="no data set 'cats'; did you mean pets"):
        add_predictions(pets, good, "mine", dataset="cats")
    assert pets.sql("from runs").fetchall() == []
    short = pd.DataFrame({"image_id": [1, 2], "probs": [[0.5, 0.5], [0.2, 0.3, 0.5]]})
    done = add_predictions(pets, short, "short")
    assert (done.run, done.n_ok, done.n_errors, done.n_repeated) == ("short", 1, 1, 0)
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
    assert (done.n_ok, done.n_errors, done.matched) == (3, 0, {"relative": 2, "other root": 1})
    assert done.notes[0] == "1 row matched by the end of their path, under another root"


def test_an_imported_run_may_be_called_imported(pets: duckdb.DuckDBPyConnection) -> None:
    add_predictions(pets, pd.DataFrame({"image_id": range(1, 19), "pred": 0}), "imported")
    assert pets.sql("select n from accuracy('imported')").fetchall() == [(18,)]
    assert pets.sql("select n_images, n_ok, n_errors from runs").fetchall() == [(18, 18, 0)]


FILES = [f"{name}/{number}.jpg" for name in ("cat", "dog", "owl") for number in range(6)]
LABELS = [number // 6 for number in range(18)]
LOGITS = np.random.default_rng(1).normal(size=(18, 3)) * 3
PROBS = softmax(LOGITS, axis=1)
NAMES = ("cat", "dog", "owl")


def is_empty(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether a refused call has written nothing, not even a temporary table."""
    left = con.sql("select count(*) from duckdb_tables() where temporary or schema_name = 'outputs'").fetchall()
    views = con.sql("select count(*) from duckdb_views() where temporary and not internal").fetchall()
    return con.sql("from runs").fetchall() == con.sql("from errors").fetchall() == [] and left == views == [(0,)]


def run_names(con: duckdb.DuckDBPyConnection) -> list[tuple[str]]:
    return con.sql("select run from runs").fetchall()


def refused(con: duckdb.DuckDBPyConnection, source: object, *words: str, **options: object) -> str:
    with pytest.raises(SchemaError) as caught:
        add_predictions(con, source, "mine", **options)  # type: ignore[arg-type]
    for word in words:
        assert word in str(caught.value)
    assert is_empty(con)
    return str(caught.value)


def stored(con: duckdb.DuckDBPyConnection, run: str = "mine") -> np.ndarray:
    return np.array([row[0] for row in con.sql(f"select probs from {run} order by image_id").fetchall()])


# B: values that cannot be what they are called


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        (LOGITS, "logits", "look like logits"),
        (np.abs(LOGITS), "logits", "look like logits"),
        (np.log(PROBS), "log_probs", "look like log-probabilities"),
        (PROBS * 100, "percent", "look like percents"),
        (expit(LOGITS), "sigmoid", "look like independent probabilities"),
    ],
)
@pytest.mark.parametrize("form", ["list", "text", "columns"])
def test_what_is_no_probability_is_refused_and_taken_with_its_option(
    pets: duckdb.DuckDBPyConnection, tmp_path: Path, values: np.ndarray, kind: str, words: str, form: str
) -> None:
    frame = pd.DataFrame({"path": FILES, "probs": values.tolist()})
    if form == "columns":
        frame = pd.DataFrame({"path": FILES} | dict(zip(NAMES, values.T, strict=True)))
    source: object = frame
    if form == "text":
        source = tmp_path / "given.csv"
        frame.to_csv(tmp_path / "given.csv", index=False)
    refused(pets, source, words, f'outputs="{kind}"', "row 1 (")
    assert add_predictions(pets, source, "mine", outputs=kind).outputs == kind
    right = (
        softmax(values, 1)
        if kind == "logits"
        else values / values.sum(1, keepdims=True)
        if kind == "sigmoid"
        else PROBS
    )
    assert np.abs(stored(pets) - right).max() < 1e-6
    got = pets.sql("select log_loss from proper_scores('mine')").fetchall()[0][0]
    assert got == pytest.approx(log_loss(LABELS, right), abs=1e-5)


def test_a_wrong_option_is_refused(pets: duckdb.DuckDBPyConnection) -> None:
    probs = pd.DataFrame({"path": FILES, "probs": PROBS.tolist()})
    refused(pets, probs, "these are probabilities; leave outputs= out", outputs="logits")
    refused(pets, probs, "these are probabilities", outputs="percent")
    refused(pets, probs, "these are probabilities", outputs="log_probs")
    logits = pd.DataFrame({"path": FILES, "probs": LOGITS.tolist()})
    refused(pets, logits, "these are logits", outputs="sigmoid")
    refused(pets, logits, "correct them", outputs="probs")
    with pytest.raises(ArgumentError, match="outputs is one of auto, .*did you mean logits"):
        add_predictions(pets, logits, "mine", outputs="logit")
    with pytest.raises(ArgumentError, match="no role 'guess'"):
        add_predictions(pets, logits, "mine", columns={"guess": "path"})


def test_a_column_called_logits_is_logits(pets: duckdb.DuckDBPyConnection) -> None:
    done = add_predictions(pets, pd.DataFrame({"path": FILES, "logits": LOGITS.tolist()}), "mine")
    assert (done.outputs, done.columns) == ("logits", {"path": "path", "logits": "logits"})
    assert np.abs(stored(pets) - PROBS).max() < 1e-6
    with pytest.raises(SchemaError, match="these are probabilities"):
        add_predictions(pets, pd.DataFrame({"path": FILES, "logits": PROBS.tolist()}), "other")


def test_one_row_that_does_not_sum_to_1_is_named(pets: duckdb.DuckDBPyConnection) -> None:
    probs = PROBS.copy()
    probs[4] *= 0.9
    refused(pets, pd.DataFrame({"path": FILES, "probs": probs.tolist()}), "row 5 (", "sum 0.9", "in 1 of 18 rows")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([98.0, 77, 55], ["row 1 (", 'outputs="percent"']),
        ([0.5, 0.5, 1.7], ["row 3 (", "has 1.7"]),
        ([-0.1, -0.5, -1.7], ['outputs="log_probs"']),
        ([-4.0, 3, 12], ["a logit alone gives no probability"]),
        ([0.5, 0.5, float("inf")], ["row 3 ("]),
    ],
)
def test_a_confidence_is_a_probability(pets: duckdb.DuckDBPyConnection, values: list[float], words: list[str]) -> None:
    refused(pets, pd.DataFrame({"path": FILES[:3], "pred": [0, 1, 0], "confidence": values}), "confidence", *words)


def test_percents_of_confidence(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "given.csv").write_text('path,pred,confidence\ncat/0.jpg,cat,98%\ncat/1.jpg,dog,"7,5 %"\n')
    refused(pets, tmp_path / "given.csv", "confidence of row 1 is not a number: 98%", "percent")
    add_predictions(pets, tmp_path / "given.csv", "mine", outputs="percent")
    found = [row[0] for row in pets.sql("select confidence from mine order by image_id").fetchall()]
    assert found == pytest.approx([0.98, 0.075])


def test_confidence_is_the_probability_of_the_prediction(pets: duckdb.DuckDBPyConnection) -> None:
    frame = pd.DataFrame({"path": FILES, "pred": PROBS.argmax(1), "confidence": PROBS.max(1), "probs": PROBS.tolist()})
    frame.loc[3, "confidence"] -= 0.1
    refused(pets, frame, "row 4 (", "as the probability of its prediction", "1 rows")
    frame["confidence"] = PROBS.max(1) + 0.004  # 2-byte floats drift
    frame["confidence"] = frame["confidence"].clip(upper=1)
    assert add_predictions(pets, frame, "mine").n_ok == 18


def test_predictions_that_are_not_the_largest_probability_are_said(pets: duckdb.DuckDBPyConnection) -> None:
    names = [NAMES[number] for number in PROBS.argmax(1)]
    frame = pd.DataFrame({"path": FILES, "pred": names, "probs": PROBS[:, [1, 2, 0]].tolist()})
    notes = add_predictions(pets, frame, "mine").notes
    assert any("18 predictions are not the class of the largest probability" in note for note in notes)


@pytest.mark.parametrize("column", ["pred", "pred_index", "Predicted Label"])
@pytest.mark.parametrize("form", ["int", "float", "csv", "json"])
def test_indices_counted_from_1_are_refused(
    pets: duckdb.DuckDBPyConnection, tmp_path: Path, column: str, form: str
) -> None:
    frame = pd.DataFrame({"file": FILES, column: [label + 1 for label in LABELS]})
    source: object = frame
    if form == "float":
        frame[column] = frame[column].astype(float)
    elif form == "csv":
        source = tmp_path / "given.csv"
        frame.to_csv(source, index=False)
    elif form == "json":
        source = tmp_path / "given.json"
        frame.to_json(source, orient="records")
    refused(
        pets, source, "counted from 1, 1 is 'cat'", "0-based", f'"pred_from_1": "{column}"', f'"pred_index": "{column}"'
    )
    assert add_predictions(pets, source, "mine", columns={"pred_from_1": column}).n_ok == 18
    assert pets.sql("select accuracy from accuracy('mine')").fetchall() == [(1.0,)]
    done = add_predictions(pets, source, "other", columns={"pred_index": column})
    assert (done.n_ok, done.n_errors) == (12, 6)


def test_indices_from_1_without_the_last_class_are_refused(pets: duckdb.DuckDBPyConnection) -> None:
    frame = pd.DataFrame({"path": FILES[:12], "pred": [1] * 6 + [2] * 6})
    refused(pets, frame, "0 of 12 agree with their labels, counted from 1 12")
    assert add_predictions(pets, frame, "mine", columns={"pred_from_1": "pred"}).n_ok == 12
    add_predictions(pets, pd.DataFrame({"path": FILES, "pred": 1}), "always_dog")  # a model that knows one class


def test_a_run_comes_back_as_it_went_out(numbers: duckdb.DuckDBPyConnection) -> None:
    """The columns pred and pred_name of a run's view: the name tells that the number is an index."""
    add_predictions(numbers, pd.DataFrame({"image_id": range(1, 19), "pred_index": [-1, *[0, 1, 2] * 5, 0, 1]}), "mine")
    out = numbers.sql("select uri, pred, pred_name, confidence from mine").df()
    add_predictions(numbers, out, "again")
    query = "select count(*) from mine join again using (image_id) where mine.pred is distinct from again.pred"
    assert numbers.sql(query).fetchall() == [(0,)]
    out["pred"] = out["pred"].replace({0: 1, 1: 0})
    with pytest.raises(SchemaError, match="pred and pred_name disagree"):
        add_predictions(numbers, out, "other")


def test_indices_of_another_list_are_refused(pets: duckdb.DuckDBPyConnection) -> None:
    for pred in ([281, 2, 0], [0, 1, -7], [0.5, 1, 2]):
        refused(pets, pd.DataFrame({"path": FILES[:3], "pred": pred}), "pred holds")
    add_predictions(pets, pd.DataFrame({"path": FILES[:3], "pred": [1.0, -1.0, None]}), "mine")
    assert pets.sql("select pred from mine order by image_id").fetchall() == [(1,), (-1,), (None,)]


# C: rows to images


def test_an_own_image_id_beside_a_path_is_refused(pets: duckdb.DuckDBPyConnection) -> None:
    frame = pd.DataFrame({"image_id": range(18, 0, -1), "file_name": FILES, "pred": LABELS})
    refused(pets, frame, "file_name and image_id disagree in 18 rows", "cat/0.jpg of row 1 is image 1, but image 18 is")
    assert add_predictions(pets, frame, "mine", columns={"path": "file_name"}).n_ok == 18
    assert pets.sql("select accuracy from accuracy('mine')").fetchall() == [(1.0,)]
    agreeing = frame.assign(image_id=range(1, 19))
    assert add_predictions(pets, agreeing, "other").columns["image_id"] == "image_id"
    # A column id numbers the rows of its table, text is an id of its own.
    assert add_predictions(pets, frame.rename(columns={"image_id": "id"}), "third").n_ok == 18
    assert add_predictions(pets, frame.assign(image_id=[f"x{i}" for i in range(18)]), "fourth").n_ok == 18


def test_a_text_image_id_is_the_name_of_a_file(con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path) -> None:
    for number, file in enumerate(FILES):
        (tmp_path / "set" / file[:3]).mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / file, tmp_path / "set" / file[:3] / f"{number:04}.jpg")
    add_images(con, tmp_path / "set")
    (tmp_path / "kaggle.csv").write_text("Id,cat,dog,owl\n0000,0.8,0.1,0.1\n0007,0.1,0.8,0.1\n0017,0,0,1\n")
    done = add_predictions(con, tmp_path / "kaggle.csv", "mine")
    assert (done.n_ok, done.matched) == (3, {"without ending": 3})
    assert con.sql("select accuracy from accuracy('mine')").fetchall() == [(1.0,)]


def test_numbers_may_be_ids_of_the_source_or_names_of_files(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path
) -> None:
    rows = [f"{photos / file},{file[:3]},{18 - number}" for number, file in enumerate(FILES)]
    (tmp_path / "set.csv").write_text("path,label,image_id\n" + "\n".join(rows))
    add_images(con, tmp_path / "set.csv")
    frame = pd.DataFrame({"image_id": range(18, 0, -1), "pred": LABELS})
    refused(con, frame, "image_id 18 of row 1 may be the image_id of `images`", "or the image whose source calls it 18")
    frame["image_id"] += 1000
    con.sql("update images set meta = json_object('image_id', 1000 + (meta ->> 'image_id')::int)")
    done = add_predictions(con, frame, "mine")
    assert (done.n_ok, done.matched) == (18, {"source id": 18})
    assert con.sql("select accuracy from accuracy('mine')").fetchall() == [(1.0,)]


def test_repeated_rows(pets: duckdb.DuckDBPyConnection) -> None:
    frame = pd.DataFrame({"path": [*FILES, FILES[2], FILES[2]], "pred": [*LABELS, 0, 0]})
    done = add_predictions(pets, frame, "mine")
    assert (done.n_ok, done.n_errors, done.n_repeated) == (18, 0, 2)
    assert "2 rows repeat another row and were left out" in done.notes
    frame.loc[19, "pred"] = 2
    with pytest.raises(
        SchemaError, match=r"rows 3 and 20 are about .*cat/2.jpg and say pred 0 and 2 \(so for 1 images"
    ):
        add_predictions(pets, frame, "other")
    assert pets.sql("select run from runs").fetchall() == [("mine",)]


# D, E: names and columns


def test_names_of_classes_in_another_spelling(pets: duckdb.DuckDBPyConnection) -> None:
    done = add_predictions(pets, pd.DataFrame({"path": FILES[:3], "pred": ["Cat", "cat ", "DOG"]}), "mine")
    assert pets.sql("select pred_name from mine order by image_id").fetchall() == [("cat",), ("cat",), ("dog",)]
    assert done.notes == (
        "2 rows name a class in another spelling, such as 'Cat' for 'cat': taken as it",
        "15 images of data set 'pets' have no row: metrics are of the others",
    )


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_of_classes_in_another_unicode_form(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path, form: str
) -> None:
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    name = unicodedata.normalize(form, "Bär")  # type: ignore[arg-type]
    shutil.copytree(photos / "cat", tmp_path / "set" / name)
    shutil.copytree(photos / "dog", tmp_path / "set" / "Hund")
    add_images(con, tmp_path / "set")
    given = unicodedata.normalize(other, f"{name}/1.jpg")  # type: ignore[arg-type]
    done = add_predictions(con, pd.DataFrame({"path": [given], "pred": [given[:-6]]}), "mine")
    assert (done.n_ok, done.matched) == (1, {"Unicode form": 1})
    assert con.sql("select accuracy from accuracy('mine')").fetchall() == [(1.0,)]


def test_zero_padded_names_stay_names(con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path) -> None:
    for number, name in ((1, "cat"), (2, "dog"), (10, "owl")):
        shutil.copytree(photos / name, tmp_path / "set" / f"{number:02}")
    add_images(con, tmp_path / "set")
    (tmp_path / "given.csv").write_text("path,pred\n01/0.jpg,01\n02/0.jpg,02\n10/0.jpg,10\n")
    add_predictions(con, tmp_path / "given.csv", "mine")
    assert con.sql("select n, accuracy from accuracy('mine')").fetchall() == [(3, 1.0)]
    (tmp_path / "given.csv").write_text("path,pred\n01/0.jpg,1\n02/0.jpg,2\n")
    with pytest.raises(SchemaError, match="class 0 of data set 'set' is called '01'"):
        add_predictions(con, tmp_path / "given.csv", "other")


def test_names_and_numbers_are_not_mixed(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    refused(
        pets, pd.DataFrame({"path": FILES[:2], "pred": ["cat", "1"]}), "pred holds names and numbers", "'cat' and '1'"
    )
    (tmp_path / "given.json").write_text('[{"path": "cat/0.jpg", "pred": "cat"}, {"path": "cat/1.jpg", "pred": 1}]')
    refused(pets, tmp_path / "given.json", "pred holds names and numbers")
    both = pd.DataFrame({"path": FILES, "pred_name": [NAMES[label] for label in LABELS], "pred_index": LABELS})
    assert add_predictions(pets, both, "mine").columns["pred_index"] == "pred_index"
    with pytest.raises(SchemaError, match="pred_index and pred_name disagree: row 1 says '2' and 'cat'"):
        add_predictions(pets, both.assign(pred_index=[2 - label for label in LABELS]), "other")


@pytest.mark.parametrize("name", ["owl", "Owl", "prob_owl", "p owl"])
@pytest.mark.parametrize("form", ["frame", "csv", "semicolons", "parquet", "json"])
def test_one_column_per_class(pets: duckdb.DuckDBPyConnection, tmp_path: Path, name: str, form: str) -> None:
    frame = pd.DataFrame({name.replace("owl", "cat").replace("Owl", "Cat"): PROBS[:, 0]})
    frame[name] = PROBS[:, 2]
    frame["image"] = FILES
    frame[name.replace("owl", "dog").replace("Owl", "Dog")] = PROBS[:, 1]
    frame["fox"] = 0.5  # no class
    file = tmp_path / f"given.{form if form in ('parquet', 'json') else 'csv'}"
    if form == "csv":
        frame.to_csv(file, index=False)
    elif form == "semicolons":
        frame.to_csv(file, index=False, sep=";", decimal=",")
    elif form == "parquet":
        frame.to_parquet(file)
    elif form == "json":
        frame.to_json(file, orient="records", lines=True)
    done = add_predictions(pets, frame if form == "frame" else file, "mine")
    assert (done.n_ok, done.columns["path"]) == (18, "image")
    assert np.abs(stored(pets) - PROBS).max() < 1e-6


def test_columns_of_some_classes_are_refused(pets: duckdb.DuckDBPyConnection) -> None:
    frame = pd.DataFrame({"path": FILES, "cat": PROBS[:, 0], "dog": PROBS[:, 1]})
    refused(pets, frame, "a column for 2 of the 3 classes, none for owl")
    frame = pd.DataFrame({"path": FILES, "1": PROBS[:, 0], "2": PROBS[:, 1], "3": PROBS[:, 2]})
    refused(pets, frame, "columns may be counted from 1; call them like the classes")
    frame.columns = pd.Index(["path", "0", "1", "2"])
    add_predictions(pets, frame, "mine")
    assert np.abs(stored(pets) - PROBS).max() < 1e-6


def test_columns_of_other_tools(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    timm = tmp_path / "timm.csv"
    timm.write_text("filename,index,label,prob\ncat/0.jpg,281,cat,0.9\ndog/0.jpg,207,owl,0.4\n")
    done = add_predictions(pets, timm, "timm")
    assert done.columns == {"path": "filename", "confidence": "prob", "pred": "label"}
    assert done.notes[0] == "label, beside prob, taken as the prediction"
    plain = pd.DataFrame({"file": FILES[:3], "label": ["cat", "dog", "dog"]})
    with pytest.raises(SchemaError, match='label may be the true label or the prediction: columns={"pred": "label"}'):
        add_predictions(pets, plain, "plain")
    add_predictions(pets, plain, "plain", columns={"pred": "label"})
    (tmp_path / "coco.json").write_text('[{"image_id": 1, "category_id": 1, "score": 0.9}]')
    with pytest.raises(SchemaError, match='"pred_index": "category_id".*counts them from 0.*"pred_from_1"'):
        add_predictions(pets, tmp_path / "coco.json", "coco")
    add_predictions(pets, tmp_path / "coco.json", "coco", columns={"pred_from_1": "category_id"})
    assert pets.sql("select label_name, pred_name from coco").fetchall() == [("cat", "cat")]
    features = {"info": {"features": {"pred": {"names": ["owl", "cat", "dog"], "_type": "ClassLabel"}}}}
    table = pa.table({"path": FILES, "pred": [(label + 1) % 3 for label in LABELS]})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), tmp_path / "hf.parquet")
    add_predictions(pets, tmp_path / "hf.parquet", "hf")
    assert pets.sql("select accuracy from accuracy('hf')").fetchall() == [(1.0,)]


# L: forms of numbers, and errors


@pytest.mark.parametrize(
    "kind", ["half", "half text", "numpy", "torch", "semicolons", "array", "tensor", "text list", "large", "struct"]
)
def test_forms_of_lists(pets: duckdb.DuckDBPyConnection, tmp_path: Path, kind: str) -> None:
    half = PROBS.astype(np.float16)
    tensor = pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.float64(), [3]), pa.FixedSizeListArray.from_arrays(pa.array(PROBS.ravel()), 3)
    )
    columns: dict[str, object] = {
        "half": pa.array(list(half), pa.list_(pa.float16())),
        "half text": [str(row) for row in half],
        "numpy": [str(row) for row in PROBS],
        "torch": [f"tensor({row.tolist()}, dtype=torch.float64)" for row in PROBS],
        "semicolons": [";".join(str(value).replace(".", ",") for value in row) for row in PROBS],
        "array": [repr(row) for row in PROBS],
        "tensor": tensor,
        "text list": [[str(value) for value in row] for row in PROBS],
        "large": pa.array(PROBS.tolist(), pa.large_list(pa.float64())),
        "struct": [json.dumps({"cat": 1}) for _ in FILES],
    }
    table = pa.table({"path": FILES, "probs": columns[kind]})
    if kind == "struct":
        refused(pets, table, "probs of row 1 is not a list of numbers")
        return
    add_predictions(pets, table, "mine")
    assert np.abs(stored(pets) - PROBS).max() < 2e-3
    if kind in ("half text", "numpy", "torch", "semicolons", "array"):
        table.to_pandas().to_csv(tmp_path / "given.csv", index=False)
        add_predictions(pets, tmp_path / "given.csv", "file")
        assert np.array_equal(stored(pets), stored(pets, "file"))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"probs": ["[0.1 0.2 ... 0.7]"]}, "numpy has shortened it"),
        ({"probs": ["high"]}, "probs of row 1 is not a list of numbers: high"),
        ({"probs": [[[0.1, 0.2, 0.7]]]}, "lists of list"),
        ({"probs": [0.5]}, "one list of numbers per row is needed"),
        ({"probs": [["a", "b", "c"]]}, "not a list of numbers"),
        ({"pred": ["cat"], "confidence": ["sure"]}, "confidence of row 1 is not a number: sure"),
        ({"pred": ["cat"], "confidence": [[0.5]]}, "one list"),
        ({"pred": [[1]]}, "one value per row is needed"),
        ({"pred": ["fox"]}, "no class fox; there are: cat, dog, owl"),
        ({"pred": ["1.5"]}, "no class 1.5"),
    ],
)
def test_values_that_cannot_be_read(
    pets: duckdb.DuckDBPyConnection, columns: dict[str, list[object]], words: str
) -> None:
    text = refused(pets, pa.table({"path": FILES[:1], **columns})) if words != "one list" else words
    assert words in text


def test_sources_by_name(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    pets.sql("create temp table given as select image_id, label as pred from images")
    assert add_predictions(pets, "given", "mine").n_ok == 18
    (tmp_path / "none.csv").write_text("image_id,pred\n1,0\n")
    pets.execute(f"create view broken as from read_csv('{tmp_path}/none.csv')")
    (tmp_path / "none.csv").unlink()
    with pytest.raises(SchemaError, match="broken cannot be read"):
        add_predictions(pets, "broken", "other")
    for number in range(3):
        pd.DataFrame({"path": FILES[number::3], "pred": LABELS[number::3]}).to_csv(
            tmp_path / f"{number}.csv", index=False
        )
    assert add_predictions(pets, str(tmp_path / "*.csv"), "shards").n_ok == 18
    assert add_predictions(pets, [tmp_path / "0.csv", tmp_path / "1.csv"], "two").n_ok == 12
    with pytest.raises(NotFoundError, match="no file"):
        add_predictions(pets, tmp_path / "none.csv", "other")


def _mutate(random: np.random.Generator, table: pa.Table) -> tuple[pa.Table, dict[str, object]]:
    """One thing that people do to a table of predictions, and the options that they then give."""
    path, pred, confidence, probs = (table[name].to_pylist() for name in table.column_names[:4])
    row, options = int(random.integers(len(path))), {}
    change = int(random.integers(22))
    if change == 0:
        path = [f"/cluster/me/{text}" for text in path]
    elif change == 1:
        path = [text.replace("/", "\\") for text in path]
    elif change == 2:
        path = [text.removesuffix(".jpg") for text in path]
    elif change == 3:
        path[row] = str(random.choice(["", "0.jpg", "fox/0.jpg", "/", "..", "cat", "\x00", "é" * 300]))
    elif change == 4:
        pred = [name.upper() if random.random() < 0.5 else f" {name}" for name in pred]
    elif change == 5:
        pred[row] = str(random.choice(["fox", "", "1", "-1", "NaN", "cat,dog"]))
    elif change == 6:
        start = int(random.integers(2))
        pred = [str(NAMES.index(name) + start) for name in pred]
    elif change == 7:
        confidence, probs = [c * 100 for c in confidence], [[100 * p for p in values] for values in probs]
        options = {"outputs": str(random.choice(["auto", "percent"]))}
    elif change == 8:
        probs, confidence = np.log(probs).tolist(), np.log(confidence).tolist()
        options = {"outputs": str(random.choice(["auto", "log_probs", "logits"]))}
    elif change == 9:
        probs = (np.log(probs) + random.normal(size=(len(path), 1))).tolist()
        options = {"outputs": str(random.choice(["auto", "logits", "probs"]))}
    elif change == 10:
        probs[row] = [None, [], [0.5, 0.5], [0.2, float("nan"), 0.8], [float("inf")] * 3][random.integers(5)]
    elif change == 11:
        confidence[row] = [None, float("nan"), -1.0, 2.0, 0.5][random.integers(5)]
    elif change == 12:
        probs = [values[::-1] for values in probs]
    elif change == 13:
        order = [*range(len(path)), row]
        path, pred, confidence, probs = ([values[i] for i in order] for values in (path, pred, confidence, probs))
        pred[row] = str(random.choice([pred[row], "owl"]))
    elif change == 14:
        order = random.permutation(len(path))
        path, pred, confidence, probs = ([values[i] for i in order] for values in (path, pred, confidence, probs))
    table = pa.table({"path": path, "pred": pred, "confidence": confidence, "probs": probs})
    if change == 15:
        table = table.select(random.permutation(table.column_names[:4]).tolist())
    elif change == 16:
        table = table.drop_columns([str(random.choice(table.column_names))])
    elif change == 17:
        table = table.rename_columns(["File Name", "Predicted-Label", "CONF", "Probabilities"])
    elif change == 18:
        table = table.rename_columns(["x", "y", "z", "w"])
    elif change == 19:
        table = table.slice(0, int(random.integers(2)))
    elif change == 20:
        table = table.append_column("image_id", pa.array(random.permutation(table.num_rows) + 1))
    elif change == 21:
        table = table.drop_columns(["probs"]).append_column("cat", pa.array([p[0] for p in probs]))
    return table, options


def _write(random: np.random.Generator, table: pa.Table, folder: Path) -> Path:
    kind = str(random.choice(["csv", "json", "jsonl", "parquet"]))
    file, frame = folder / f"given.{kind}", table.to_pandas()
    if kind == "parquet":
        pq.write_table(table, file)
    elif kind == "csv":
        separator, decimal = [(",", "."), (";", ","), ("\t", ".")][random.integers(3)]
        frame.to_csv(
            file, index=False, sep=separator, decimal=decimal, encoding=str(random.choice(["utf-8", "utf-8-sig"]))
        )
    else:
        frame.to_json(file, orient="records", lines=kind == "jsonl")
    if random.random() < 0.1:
        data = bytearray(file.read_bytes())
        del data[int(random.integers(len(data))) :]
        file.write_bytes(bytes(data))
    elif random.random() < 0.1:
        data = bytearray(file.read_bytes())
        data[int(random.integers(len(data)))] = int(random.integers(256))
        file.write_bytes(bytes(data))
    return file


RAW = r"(Binder|Conversion|Catalog|Invalid Input|Internal|Arrow\w*) ?Error|LINE \d"


@pytest.mark.parametrize("block", range(4))
def test_mutated_tables_are_right_or_refused(pets: duckdb.DuckDBPyConnection, tmp_path: Path, block: int) -> None:
    """Of 100 mutated tables none ends in another's error, in wrong numbers, or in a run after a refusal."""
    preds = PROBS.argmax(1)
    for seed in range(25 * block, 25 * block + 25):
        random = np.random.default_rng(seed)
        table = pa.table(
            {"path": FILES, "pred": [NAMES[i] for i in preds], "confidence": PROBS.max(1), "probs": PROBS.tolist()}
        )
        table, options = _mutate(random, table)
        (tmp_path / str(seed)).mkdir()
        file = _write(random, table, tmp_path / str(seed))
        try:
            done = add_predictions(pets, file, "mine", **options)  # type: ignore[arg-type]
        except SQLAnalysisError as error:
            raw = str(error) if re.search(RAW, str(error)) else None
        else:
            raw = None
        if raw is not None or run_names(pets) == []:
            assert raw is None, (seed, raw)
            assert is_empty(pets), seed
            continue
        rows = pets.sql("from outputs.mine").to_arrow_table().to_pylist()
        assert len(rows) == done.n_ok, seed
        damaged = 0
        for row in rows:
            right, confidence, probs = PROBS[row["image_id"] - 1], row["confidence"], row.get("probs")
            wrong = row["pred"] not in (None, preds[row["image_id"] - 1])
            wrong = wrong or (confidence is not None and abs(confidence - right.max()) > 0.011)
            damaged += wrong or (probs is not None and np.abs(np.array(probs) - right).max() > 1e-2)
        # A byte that changed one digit, a swapped name or -1 in one row cannot be seen; more rows must not be wrong.
        said = any("largest probability" in note for note in done.notes)
        assert damaged <= 1 or said, (seed, table.column_names, options, done)
        pets.sql("delete from errors")
        drop_run(pets, "mine")


def test_ids_that_lost_their_zeros_are_refused(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """Kaggle's ids are stems such as 0007; read as numbers, 7 would be image 7."""
    for number in range(18):
        file = tmp_path / ("cat", "dog", "owl")[number % 3] / f"{number:04}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(png(number))
    add_images(con, tmp_path, dataset="set")
    frame = pd.DataFrame({"id": range(18), "pred": [number % 3 for number in range(18)]})
    refused(con, frame, "whose zeros a reader of numbers drops")
    padded = frame.assign(id=[f"{number:04}" for number in range(18)])
    add_predictions(con, padded, "mine")
    assert con.sql("select accuracy from accuracy('mine')").fetchall() == [(1.0,)]


def _falling(n: int, seed: int = 0) -> list[list[float]]:
    values = np.random.default_rng(seed).dirichlet(np.ones(3), n)
    return (-np.sort(-values, axis=1)).tolist()


def test_the_best_classes_first_are_no_probabilities_of_each(pets: duckdb.DuckDBPyConnection) -> None:
    frame = pd.DataFrame({"path": FILES, "prob": _falling(18)})
    refused(pets, frame, "fall in every row: they seem to be those of the best classes")
    separate = pd.DataFrame(_falling(18), columns=["prob_0", "prob_1", "prob_2"]).assign(path=FILES)
    refused(pets, separate, "fall in every row")
    assert add_predictions(pets, frame, "mine", columns={"probs": "prob"}).n_ok == 18


def test_labels_as_columns_of_zeros_and_ones_are_no_prediction(pets: duckdb.DuckDBPyConnection) -> None:
    one_hot = pd.DataFrame(np.eye(3)[[0] * 6 + [1] * 6 + [2] * 6], columns=["cat", "dog", "owl"]).assign(path=FILES)
    values = np.random.default_rng(0).dirichlet(np.ones(3), 18)
    refused(pets, one_hot.assign(probs=values.tolist()), "hold only 0 and 1, which may be the true labels")
    refused(
        pets, one_hot.assign(**{f"prob_{name}": values[:, n] for n, name in enumerate(["cat", "dog", "owl"])}), "may be"
    )
    assert add_predictions(pets, one_hot, "hard").n_ok == 18


def test_lists_for_classes_called_by_numbers_have_one_order(numbers: duckdb.DuckDBPyConnection) -> None:
    values = np.random.default_rng(0).dirichlet(np.ones(3), 18).tolist()
    frame = pd.DataFrame({"image_id": range(1, 19), "probs": values})
    refused(numbers, frame, "in the order of the numbers, or of the classes, which is 1, 10, 2")
    assert add_predictions(numbers, frame, "mine", columns={"probs": "probs"}).n_ok == 18


@pytest.mark.parametrize("column", ["y_true", "ground_truth", "target"])
def test_the_true_label_beside_a_score_is_no_prediction(pets: duckdb.DuckDBPyConnection, column: str) -> None:
    refused(pets, pd.DataFrame({"path": FILES, column: "cat", "confidence": 0.5}), "may be the true label")


def test_two_columns_of_predictions_agree(pets: duckdb.DuckDBPyConnection) -> None:
    frame = pd.DataFrame({"path": FILES, "pred": "cat", "prediction": ["cat", "dog", "owl"] * 6})
    refused(pets, frame, "pred and prediction are both called like a prediction and differ")
    assert add_predictions(pets, frame, "mine", columns={"pred": "prediction"}).n_ok == 18


def test_what_has_no_prediction_is_said(pets: duckdb.DuckDBPyConnection) -> None:
    done = add_predictions(pets, pd.DataFrame({"path": FILES[:6], "pred": ["cat"] * 5 + [None]}), "mine")
    assert done.notes == (
        "12 images of data set 'pets' have no row: metrics are of the others",
        "1 rows have no prediction: metrics leave them out",
    )


def test_percents_as_text_beside_a_prediction_are_taken(pets: duckdb.DuckDBPyConnection) -> None:
    frame = pd.DataFrame({"path": FILES, "cat": "70 %", "dog": "20 %", "owl": "10 %", "pred": "cat"})
    assert add_predictions(pets, frame, "mine", outputs="percent").n_ok == 18
