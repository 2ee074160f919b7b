"""The gate of predictions: counts from 1, other data sets, the other class's probability, single values, percents."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss

import sqlanalysis.db.catalogue
from sqlanalysis import add_images, add_predictions, map_batches
from sqlanalysis.data.sources import table
from sqlanalysis.errors import ArgumentError, SchemaError

NAMES = ("cat", "dog", "owl")
FILES = [f"{name}/{number}.jpg" for name in NAMES for number in range(6)]
LABELS = np.repeat([0, 1, 2], 6)
PROBS = np.random.default_rng(5).dirichlet([1, 1, 1], 18)
Pets = duckdb.DuckDBPyConnection


@pytest.fixture
def pets(con: duckdb.DuckDBPyConnection, photos: Path) -> Pets:
    add_images(con, photos, dataset="pets")
    return con


@pytest.fixture
def pair(con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path) -> Pets:
    """A data set of two classes, cat and dog."""
    for name in NAMES[:2]:
        shutil.copytree(photos / name, tmp_path / "pair" / name)
    add_images(con, tmp_path / "pair")
    return con


def refused(con: Pets, source: object, *words: str, **options: object) -> None:
    with pytest.raises(SchemaError) as caught:
        add_predictions(con, source, "mine", **options)  # type: ignore[arg-type]
    for word in words:
        assert word in str(caught.value)
    assert con.sql("from runs").fetchall() == []


def accuracy(con: Pets, run: str = "mine") -> float:
    return float(con.sql(f"select accuracy from accuracy('{run}')").fetchall()[0][0])


# Counted from 1


@pytest.mark.parametrize("column", ["pred", "pred_index", "y_pred"])
@pytest.mark.parametrize("rows", [[0, 6], [0, 1, 6], [0, 1, 2, 6, 7], [3, 4, 5]])
def test_few_indices_counted_from_1_are_refused(pets: Pets, column: str, rows: list[int]) -> None:
    frame = pd.DataFrame({"path": [FILES[row] for row in rows], column: LABELS[rows] + 1})
    right = f'"pred_from_1": "{column}"'
    refused(pets, frame, f"{column} holds no 0", f"counted from 1 {len(rows)}", right, f'"pred_index": "{column}"')
    add_predictions(pets, frame, "mine", columns={"pred_from_1": column})
    assert accuracy(pets) == 1


def test_indices_whose_start_nobody_can_tell_are_said(pets: Pets) -> None:
    """One row, one class, or no labels: both readings in a note."""
    for run, preds in (("one", [1]), ("same", [1] * 18)):
        notes = add_predictions(pets, pd.DataFrame({"path": FILES[: len(preds)], "pred": preds}), run).notes
        assert any("pred holds no 0: taken as counted from 0" in note and "pred_from_1" in note for note in notes)
    pets.sql("update images set label = null")
    notes = add_predictions(pets, pd.DataFrame({"path": FILES[:4], "pred": [1, 2, 1, 2]}), "unlabeled").notes
    assert "where 1 is 'dog', counted from 1 'cat'" in notes[0] + notes[1]


@pytest.mark.parametrize("preds", [[1] * 6 + [2] * 6, [1, 1, 1, 1, 2, 2] + [2] * 6, [1]])
def test_indices_from_0_without_the_first_class_are_silent(pets: Pets, preds: list[int]) -> None:
    rows = np.arange(6, 6 + len(preds))
    done = add_predictions(pets, pd.DataFrame({"path": [FILES[row] for row in rows], "pred": preds}), "mine")
    assert not any("holds no 0" in note for note in done.notes)
    assert accuracy(pets) == accuracy_score(LABELS[rows], preds)


def test_names_are_not_counted(pets: Pets) -> None:
    """A model that calls every cat a dog, and every dog an owl, by name."""
    add_predictions(pets, pd.DataFrame({"path": FILES[:12], "pred": ["dog"] * 6 + ["owl"] * 6}), "mine")
    assert accuracy(pets) == 0


@pytest.mark.parametrize("form", ["lists", "columns", "logits", "percent"])
def test_the_arg_max_says_where_counting_starts(pets: Pets, form: str) -> None:
    best = PROBS.argmax(1)
    rows = np.flatnonzero(best < 2)  # the last class does not occur, so the range of pred tells nothing
    frame = pd.DataFrame({"path": [FILES[row] for row in rows], "pred": best[rows] + 1})
    values = {"logits": np.log(PROBS) + 3, "percent": PROBS * 100}.get(form, PROBS)[rows]
    if form == "columns":
        frame[list(NAMES)] = values
    else:
        frame["logits" if form == "logits" else "probs"] = values.tolist()
    options = {"outputs": "percent"} if form == "percent" else {}
    pets.sql("update images set label = null")
    refused(pets, frame, f"one more than the class of the largest probability (arg max) in {len(rows)}", **options)
    add_predictions(pets, frame, "mine", columns={"pred_from_1": "pred"}, **options)  # type: ignore[arg-type]
    stored = [row[0] for row in pets.sql("select pred from mine order by image_id").fetchall()]
    assert stored == best[rows].tolist()
    others = np.flatnonzero(best > 0)
    frame = pd.DataFrame({"path": [FILES[row] for row in others], "pred": best[others], "probs": list(PROBS[others])})
    notes = add_predictions(pets, frame, "from_0").notes
    assert not any("holds no 0" in note for note in notes)


# Another data set of the same file


@pytest.fixture
def two(pets: Pets, photos: Path, tmp_path: Path) -> Pets:
    """`copies` has other photos under the same relative paths."""
    for number, file in enumerate(FILES):
        (tmp_path / "copies" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / FILES[17 - number], tmp_path / "copies" / file)
    add_images(pets, tmp_path / "copies", dataset="copies")
    return pets


@pytest.mark.parametrize("form", [str, "file://{}".format, lambda path: path.replace("/cat/", "//cat/./")])
def test_paths_of_another_data_set_are_not_matched(two: Pets, photos: Path, form: Callable[[str], str]) -> None:
    theirs = [form(str(photos / file)) for file in FILES]
    frame = pd.DataFrame({"path": theirs, "pred": LABELS})
    refused(two, frame, "fits data set 'copies'", "; it is an image of data set pets", dataset="copies")
    ours = two.sql("select uri from images where dataset = 'copies' order by uri").fetchall()
    frame["path"] = [uri for (uri,) in ours[:9]] + theirs[9:]
    done = add_predictions(two, frame, "mine", dataset="copies")
    assert (done.n_ok, done.n_errors) == (9, 9)
    assert "it is an image of data set pets" in done.notes[0]
    frame["path"] = [f"/cluster/{file}" for file in FILES]  # nobody's path
    assert add_predictions(two, frame, "moved", dataset="copies").matched == {"other root": 18}


def test_a_column_says_of_which_data_set_a_row_is(two: Pets) -> None:
    frame = pd.DataFrame({"path": FILES, "pred": LABELS, "dataset": ["pets"] * 6 + ["copies"] * 12})
    done = add_predictions(two, frame, "mine", dataset="copies")
    assert (done.n_ok, done.n_errors, done.columns["dataset"]) == (12, 6, "dataset")
    assert "the first: the row is of data set pets" in done.notes[0]
    with pytest.raises(SchemaError, match="no row of DataFrame fits data set 'copies'; .*of data set pets"):
        add_predictions(two, frame.assign(dataset="pets"), "other", dataset="copies")
    notes = add_predictions(two, frame.assign(dataset="imagenet"), "third", dataset="pets").notes
    assert notes == ("dataset was not used to tell the data set: it says 'imagenet'",)


# One probability beside a prediction


def test_the_probability_of_class_1_is_no_confidence(pair: Pets) -> None:
    random = np.random.default_rng(0)
    positive = np.clip(np.repeat([0.2, 0.8], 6) + random.normal(size=12) / 8, 0.01, 0.99)
    frame = pd.DataFrame({"path": FILES[:12], "pred": (positive > 0.5).astype(int), "prob": positive})
    refused(pair, frame, "probability of class 1 ('dog')", '"positive": "prob"', '"confidence": "prob"')
    refused(pair, frame.assign(pred=np.where(positive > 0.5, "dog", "cat")), '"positive": "prob"')
    refused(pair, frame.assign(prob=1 - positive), "probability of class 0 ('cat')", "one column per class")
    add_predictions(pair, frame, "mine", columns={"positive": "prob"})
    loss = pair.sql("select log_loss from proper_scores('mine')").fetchall()[0][0]
    assert loss == pytest.approx(log_loss(LABELS[:12], positive), abs=1e-6)
    add_predictions(pair, frame.drop(columns="pred"), "alone", columns={"positive": "prob"})
    frame["prob"] *= 100
    add_predictions(pair, frame, "percents", columns={"positive": "prob"}, outputs="percent")
    same = "select count(*) from mine join {} as other using (image_id) where abs(mine.confidence - other.confidence) < 1e-6"
    assert pair.sql(same.format("alone")).fetchall() == pair.sql(same.format("percents")).fetchall() == [(12,)]


def test_a_confidence_of_the_prediction_is_taken(pair: Pets) -> None:
    frame = pd.DataFrame({"path": FILES[:12], "pred": LABELS[:12], "confidence": np.linspace(0.5, 1, 12)})
    assert add_predictions(pair, frame, "mine").notes == ()
    frame["confidence"] -= 0.2  # by another threshold
    add_predictions(pair, frame, "threshold", columns={"confidence": "confidence"})
    stored = [row[0] for row in pair.sql("select confidence from threshold order by image_id").fetchall()]
    assert stored == pytest.approx(frame["confidence"].tolist())


def test_positive_is_of_two_classes(pets: Pets) -> None:
    frame = pd.DataFrame({"path": FILES, "y_prob": 0.5})
    refused(pets, frame, 'columns={"positive": "y_prob"}')
    refused(pets, frame, "there are 3 classes", columns={"positive": "y_prob"})
    low = add_predictions(pets, pd.DataFrame({"path": FILES, "pred": LABELS, "confidence": 0.2}), "mine")
    assert "the most probable of 3 classes has at least 0.3333 (so in 18 of 18 rows)" in low.notes[0]


def test_positive_is_a_probability(pair: Pets) -> None:
    with pytest.raises(ArgumentError, match="positive is a probability"):
        add_predictions(
            pair, pd.DataFrame({"path": FILES[:12], "p": 0.5}), "mine", columns={"positive": "p"}, outputs="logits"
        )


# Percents, single values, and the edge of the tolerance


@pytest.mark.parametrize("scale", [100, 1])
def test_percents_beside_a_confidence(pets: Pets, scale: int) -> None:
    frame = pd.DataFrame({"path": FILES, "pred": PROBS.argmax(1), "confidence": PROBS.max(1) * scale})
    frame["probs"] = (PROBS * 100).tolist()
    assert add_predictions(pets, frame, "mine", outputs="percent").outputs == "percent"
    stored = [row[0] for row in pets.sql("select confidence from mine order by image_id").fetchall()]
    assert stored == pytest.approx(PROBS.max(1).tolist(), abs=1e-6)
    frame["confidence"] /= 2
    with pytest.raises(SchemaError, match="as the probability of its prediction"):
        add_predictions(pets, frame, "other", outputs="percent")


@pytest.mark.parametrize("outputs", ["auto", "percent"])
@pytest.mark.parametrize("value", [1.2, -0.1, 98.0, float("inf")])
def test_one_confidence_out_of_range_is_its_own_error(pets: Pets, value: float, outputs: str) -> None:
    frame = pd.DataFrame({"path": FILES, "pred": LABELS, "confidence": [0.9] * 10 + [value] + [0.8] * 7})
    refused(pets, frame, "row 11 (", "so in 1 of 18 rows", "correct them", outputs=outputs)


@pytest.mark.parametrize("total", [0.99, 1.01])
@pytest.mark.parametrize("dtype", [pa.float64(), pa.float32()])
@pytest.mark.parametrize("scale", [1, 100])
def test_the_edge_of_the_tolerance_is_within(pets: Pets, total: float, dtype: pa.DataType, scale: int) -> None:
    rows = [np.array([share, 0.6 - share, total - 0.6]) * scale for share in np.linspace(0.05, 0.3, 18)]
    given = pa.table({"path": FILES, "probs": pa.array(rows, pa.list_(dtype))})
    outputs = "percent" if scale == 100 else "auto"
    assert add_predictions(pets, given, "mine", outputs=outputs).n_ok == 18
    rows[7][2] += 0.002 * scale * np.sign(total - 1)
    with pytest.raises(SchemaError, match=r"row 8 \("):
        add_predictions(pets, pa.table({"path": FILES, "probs": rows}), "other", outputs=outputs)


# Names of columns, and what is read


def test_frames_whose_columns_are_numbers_and_text(pets: Pets) -> None:
    frame = pd.DataFrame(PROBS).assign(path=FILES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = add_predictions(pets, frame, "mine")
        assert done.columns == {"path": "path", "probs": "0, 1, 2"}
        add_images(pets, pd.DataFrame({0: ["x"], "path": ["nowhere.jpg"]}), dataset="mixed")
    assert accuracy(pets) == accuracy_score(LABELS, PROBS.argmax(1))


def test_ids_of_categories(pets: Pets, tmp_path: Path) -> None:
    def results(ids: list[int]) -> Path:
        rows = [{"image_id": number + 1, "category_id": one, "score": 0.9} for number, one in enumerate(ids)]
        (tmp_path / "results.json").write_text(json.dumps(rows))
        return tmp_path / "results.json"

    refused(pets, results([1, 3, 90]), "category_id holds 90, and there are 3 classes", "pred_name")
    refused(pets, results([0, 1, 3]), "category_id holds 0 to 3, and there are 3 classes")
    refused(pets, results([1, 2]), "counts them from 0", "counts them from 1")
    with pytest.raises(SchemaError) as caught:
        add_predictions(pets, results([1, 3]), "mine")
    assert "counts them from 1" in str(caught.value)
    assert "counts them from 0" not in str(caught.value)


def test_outputs_are_none_where_none_came(pets: Pets) -> None:
    frame = pd.DataFrame({"path": FILES, "pred": PROBS.argmax(1), "confidence": 0.9})
    assert add_predictions(pets, frame, "mine").outputs is None
    assert add_predictions(pets, frame.assign(confidence=PROBS.max(1), probs=list(PROBS)), "other").outputs == "probs"


@pytest.mark.parametrize("kind", ["struct", "bytes", "view", "frame"])
def test_pictures_beside_predictions_are_not_read(
    pets: Pets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    data = [np.random.default_rng(number).bytes(10_000) for number in range(18)]
    pictures: dict[str, object] = {"image": [{"bytes": one, "path": f} for one, f in zip(data, FILES, strict=True)]}
    if kind != "struct":
        pictures = {"image": data, "file_name": FILES}
    given = pa.table({**pictures, "pred": LABELS, "activation": [[0.5] * 64] * 18})
    source: object = tmp_path / "given.parquet"
    pq.write_table(given, tmp_path / "given.parquet")
    if kind == "view":
        pets.execute(f"create view given as from '{tmp_path}/given.parquet'")
        source = "given"
    elif kind == "frame":
        source = given.drop_columns(["image"]).to_pandas()
    read = []

    def spy(*arguments: object, **options: object) -> table.Table:
        read.append(table.read_table(*arguments, **options))  # type: ignore[arg-type]
        return read[-1]

    monkeypatch.setattr("sqlanalysis.runs.given.read_table", spy)
    assert add_predictions(pets, source, "mine").n_ok == 18
    assert accuracy(pets) == 1
    assert read[0].rows.nbytes < 5000
    assert "activation" in read[0].left_out
    with pytest.raises(SchemaError, match="there are: .*activation"):
        add_predictions(pets, pa.table({"activation": [1]}), "other")
    if kind == "bytes":
        with pytest.raises(SchemaError, match="image holds the bytes of pictures"):
            add_predictions(pets, source, "other", columns={"path": "image"})


# map_batches


def _constant(**values: object) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    return lambda ids: {name: np.array([value] * len(ids)) for name, value in values.items()}


LOGITS = [2.0, -1.0, 0.5]
SHARES = softmax(LOGITS)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"probs": LOGITS}, 'look like logits: outputs="logits" takes them'),
        ({"probs": np.log(SHARES)}, 'look like log-probabilities: outputs="log_probs" takes them'),
        ({"probs": SHARES * 100}, 'look like percents: outputs="percent" takes them'),
        ({"probs": [0.9, 0.8, 0.1]}, "independent probabilities"),
        ({"pred": 3}, "pred is 3, but the 3 classes are 0 to 2"),
        ({"pred": -2}, "pred is -2"),
        ({"pred": "cat"}, "pred holds string"),
        ({"pred": 0, "confidence": 97.0}, "look like percents"),
        ({"pred": 1, "confidence": 0.9, "probs": SHARES}, "as the probability of its prediction, class 1"),
    ],
)
def test_answers_are_what_they_are_called(pets: Pets, answers: dict[str, object], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        map_batches(pets, _constant(**answers), "mine", "image_id", show_progress=False)
    assert pets.sql("from runs").fetchall() == []
    good = _constant(pred=0, confidence=SHARES.max(), probs=SHARES)
    assert map_batches(pets, good, "mine", "image_id", show_progress=False).n_ok == 18


def test_answers_of_a_later_block_that_are_something_else_are_errors(
    pets: Pets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqlanalysis.runs.job.Pace.cut", lambda _pace, n_bytes: min(6, len(n_bytes)))

    def late(ids: np.ndarray) -> dict[str, np.ndarray]:
        return {"probs": np.where(ids[:, None] > 12, LOGITS, SHARES)}

    done = map_batches(pets, late, "mine", "image_id", batch_size=6, show_progress=False)
    assert (done.n_ok, done.n_errors) == (12, 6)
    assert pets.sql("select distinct message from errors").fetchall() == [
        ("probs of this image are not probabilities",)
    ]


def test_other_outputs_are_the_functions_own(pets: Pets) -> None:
    answers = _constant(logits=LOGITS, raw=[-3.0, 4.0], pred=-1, score=7.0)
    assert sqlanalysis.map_batches(pets, answers, "mine", "image_id", show_progress=False).n_ok == 18


def test_what_is_no_table_of_predictions_is_named(pets: Pets, tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.zeros(3))
    (tmp_path / "empty.csv").touch()
    for source, words in [
        (tmp_path / "p.npy", "p.npy is no table; .* .csv"),
        (tmp_path, "is a folder"),
        (tmp_path / "empty.csv", "is empty; a table has a first line"),
    ]:
        with pytest.raises(SchemaError, match=words):
            add_predictions(pets, source, "mine")
    with pytest.raises(SchemaError, match="there are none; give them, or leave outputs= out"):
        add_predictions(pets, pd.DataFrame({"image_id": range(1, 19), "pred": 0}), "mine", outputs="logits")


def test_a_query_of_polars_is_computed(pets: Pets) -> None:
    lazy = pl.DataFrame({"image_id": range(1, 19), "pred": [0, 1, 2] * 6}).lazy()
    assert add_predictions(pets, lazy, "mine").n_ok == 18


# Out again


@pytest.mark.parametrize("to", ["csv", "parquet", "fiftyone", "hf"])
def test_an_export_in_many_blocks_is_the_run(
    pets: Pets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    """Every row once, in order, across the blocks that are sorted and read at once; lists exact, NaN and NULL too."""
    odd = [float("nan"), float("inf"), -1e-30, 1 / 3]
    pets.sql("update images set image_id = 100 - 5 * image_id")  # gaps, and the other order
    add_predictions(pets, pd.DataFrame({"path": FILES, "pred": PROBS.argmax(1), "probs": list(PROBS)}), "mine")
    pets.sql("alter table outputs.mine add column own double[]")
    pets.execute("update outputs.mine set own = ? where image_id > 50", [odd]).fetchall()
    sqlanalysis.db.catalogue.recreate_run_views(pets, ["mine"])
    for name, rows in (("ROWS", 4), ("SORTED", 1), ("PICTURES", 2), ("AS_TEXT", 6)):
        monkeypatch.setattr(f"sqlanalysis.runs.formats.{name}", rows)
    target = tmp_path / {"csv": "out.csv", "parquet": "out.parquet"}.get(to, "out")
    assert sqlanalysis.export(pets, "mine", target, to).n_images == 18
    ids, probs, own = zip(*pets.sql("select image_id, probs, own from mine order by image_id").fetchall(), strict=True)
    if to == "csv":
        frame = pd.read_csv(target)
        frame["probs"], frame["own"] = frame["probs"].map(json.loads), frame["own"].map(json.loads, na_action="ignore")
    elif to == "fiftyone":
        frame = pd.DataFrame(json.loads((target / "samples.json").read_text())["samples"])
    else:
        frame = pq.read_table(target if to == "parquet" else target / "data").to_pandas()
    assert frame["image_id"].tolist() == list(ids)
    assert np.array_equal(np.array(frame["probs"].tolist(), np.float32), np.array(probs, np.float32))
    for found, expected in zip(frame["own"], own, strict=True):
        assert (found is None or isinstance(found, float)) if expected is None else np.array_equal(found, odd, True)
