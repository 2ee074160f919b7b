"""What stands beside predictions: classes of each value, true labels, numbers of rows, values that no option takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import accuracy_score

from sqlanalysis import add_images, add_predictions
from sqlanalysis.errors import SchemaError

NAMES = ("cat", "dog", "owl")
FILES = [f"{name}/{number}.jpg" for name in NAMES for number in range(6)]
LABELS = np.repeat([0, 1, 2], 6)
PROBS = np.random.default_rng(7).dirichlet([1, 1, 1], 18)
Pets = duckdb.DuckDBPyConnection


@pytest.fixture
def pets(con: duckdb.DuckDBPyConnection, photos: Path) -> Pets:
    add_images(con, photos, dataset="pets")
    return con


def refused(con: Pets, source: object, *words: str, **options: object) -> None:
    with pytest.raises(SchemaError) as caught:
        add_predictions(con, source, "mine", **options)  # type: ignore[arg-type]
    for word in words:
        assert word in str(caught.value)
    assert con.sql("from runs").fetchall() == []


def accuracy(con: Pets, run: str = "mine") -> float:
    return float(con.sql(f"select accuracy from accuracy('{run}')").fetchall()[0][0])


# Of which class a value is

_ORDER = np.argsort(-PROBS, axis=1)
_BEST_FIRST = np.take_along_axis(PROBS, _ORDER, axis=1)
_TEXTS = [[NAMES[number] for number in row] for row in _ORDER]
_SHUFFLED = (2, 0, 1)


@pytest.mark.parametrize("n", [4, 18])
@pytest.mark.parametrize(
    "columns",
    [
        {"index": _ORDER.tolist(), "prob": _BEST_FIRST.tolist()},
        {"labels": _TEXTS, "scores": _BEST_FIRST.tolist()},
        {"pred": _ORDER.tolist(), "probs": _BEST_FIRST.tolist()},
        {"classes": [[NAMES[k] for k in _SHUFFLED]] * 18, "probs": PROBS[:, _SHUFFLED].tolist()},
        {"class_names": [[NAMES[k] for k in _SHUFFLED]] * 18, "logits": np.log(PROBS[:, _SHUFFLED]).tolist()},
        {f"{name}_{k}": one for k in range(3) for name, one in (("index", _ORDER[:, k]), ("prob", _BEST_FIRST[:, k]))},
        {f"{name}_{k}": [row[k] for row in rows] for k in range(3) for name, rows in (("label", _TEXTS), ("prob", _BEST_FIRST))},
    ],
    ids=["timm", "pipeline", "pred", "one other order", "logits", "columns of indices", "columns of names"],
)  # fmt: skip
@pytest.mark.parametrize("form", ["frame", "csv", "parquet", "json"])
def test_values_of_another_order_are_refused(
    pets: Pets, tmp_path: Path, columns: dict[str, list[object]], form: str, n: int
) -> None:
    frame = pd.DataFrame({"path": FILES, **columns}).iloc[:n]
    write: dict[str, Callable[[Path], object]] = {
        "csv": lambda file: frame.to_csv(file, index=False),
        "parquet": lambda file: pq.write_table(pa.Table.from_pandas(frame), file),
        "json": lambda file: frame.to_json(file, orient="records"),
    }
    file = tmp_path / f"p.{form}"
    if form != "frame":
        write[form](file)
    refused(pets, frame if form == "frame" else file, "of which class each value", "cat, dog, owl", "pred_name")


def test_classes_in_order_beside_values_are_taken(pets: Pets) -> None:
    expected = accuracy_score(LABELS, PROBS.argmax(1))
    frame = pd.DataFrame({"path": FILES, "probs": PROBS.tolist()})
    beside = {"classes": [list(NAMES)] * 18, "index": [[0, 1, 2]] * 18, "labels": np.eye(3, dtype=int)[LABELS].tolist()}
    for name, values in beside.items():
        add_predictions(pets, frame.assign(**{name: values}), f"with_{name}")
        assert accuracy(pets, f"with_{name}") == pytest.approx(expected)
    separate = pd.DataFrame(PROBS, columns=["prob_0", "prob_1", "prob_2"]).assign(path=FILES, label_0="cat")
    add_predictions(pets, separate.assign(label_1="dog", label_2="owl"), "separate")
    assert accuracy(pets, "separate") == pytest.approx(expected)


def test_values_of_another_order_are_taken_by_choice(pets: Pets) -> None:
    frame = pd.DataFrame({"path": FILES, "index": _ORDER.tolist(), "odds": PROBS.tolist()})
    assert add_predictions(pets, frame, "mine", columns={"probs": "odds"}).n_ok == 18


# True labels


@pytest.mark.parametrize("column", ["y_true", "target", "label"])
@pytest.mark.parametrize("kind", ["index", "name", "float", "text"])
def test_labels_in_another_order_of_classes_are_refused(pets: Pets, column: str, kind: str) -> None:
    """The table says that 12 of 18 are right, and the file would say 3."""
    theirs = 2 - LABELS
    preds = np.where(np.arange(18) % 3 == 0, (theirs + 1) % 3, theirs)
    forms = {
        "index": theirs.tolist(),
        "name": [NAMES[label] for label in theirs],
        "float": theirs.astype(float).tolist(),
        "text": [str(label) for label in theirs],
    }
    frame = pd.DataFrame({"path": FILES, column: forms[kind], "pred": preds})
    words = (f"{column} says another class than the label", "12 of 18 rows", "row 1 has", "cat, dog, owl")
    refused(pets, frame, *words)
    refused(pets, frame.drop(columns="pred").assign(probs=np.eye(3)[preds].tolist()), *words)
    done = add_predictions(pets, frame, "mine", columns={"pred_index": "pred"})
    assert any("metrics are of the labels of the data set" in note for note in done.notes)
    assert accuracy(pets) == pytest.approx(accuracy_score(LABELS, preds))


def test_a_perfect_table_of_another_order_is_refused(pets: Pets) -> None:
    refused(pets, pd.DataFrame({"path": FILES, "y_true": 2 - LABELS, "y_pred": 2 - LABELS}), "y_true says another")


def test_few_other_labels_are_said(pets: Pets) -> None:
    labels = [NAMES[label] for label in LABELS]
    labels[4] = "owl"
    done = add_predictions(pets, pd.DataFrame({"path": FILES, "label": labels, "pred": LABELS % 2}), "mine")
    assert any("1 of 18 rows: row 5 has 'owl'" in note for note in done.notes)


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.tolist(),
        [NAMES[label].upper() for label in LABELS],
        [NAMES[label] for label in 2 - LABELS],  # the name of the prediction
        ["tabby"] * 18,  # of other classes
        [None] * 18,
        [[0, 1]] * 18,
    ],
    ids=["indices", "names", "name of pred", "other classes", "none", "lists"],
)
def test_labels_that_say_nothing_else_are_silent(pets: Pets, labels: list[object]) -> None:
    done = add_predictions(pets, pd.DataFrame({"path": FILES, "label": labels, "pred": 2 - LABELS}), "mine")
    assert done.n_ok == 18
    assert not any("label" in note for note in done.notes)


# Numbers of rows


@pytest.mark.parametrize("column", ["image_id", "id"])
def test_rows_counted_from_0_are_no_image_ids(pets: Pets, tmp_path: Path, column: str) -> None:
    frame = pd.DataFrame({column: range(18), "pred": LABELS})
    refused(pets, frame, f"{column} holds 0", "count from 1", "a column path")
    frame.to_csv(tmp_path / "p.csv", index=False)
    refused(pets, tmp_path / "p.csv", f"{column} holds 0")
    done = add_predictions(pets, frame, "mine", columns={"image_id": column})
    assert (done.n_ok, done.n_errors) == (17, 1)


# Values that no option takes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda probs: -np.log(probs), ("negative log-probabilities", "change their sign")),
        (np.log10, ("to base 10", "2.302585")),
        (lambda probs: (probs * 255).round(), ("the sum of every row", "divide them by it")),
        (lambda probs: probs * 1000, ("the sum of every row", "divide them by it")),
    ],
    ids=["negative log", "log10", "uint8", "permille"],
)
def test_values_are_told_from_logits(
    pets: Pets, change: Callable[[np.ndarray], np.ndarray], words: tuple[str, ...]
) -> None:
    values = change(PROBS)
    frame = pd.DataFrame({"path": FILES, "probs": values.tolist()})
    refused(pets, frame, *words)
    refused(pets, frame, *words, outputs="log_probs")
    if "sum" not in words[0]:  # a sum of logits can be the same by construction
        refused(pets, frame, *words, outputs="logits")


def test_logits_of_one_sum_are_taken_as_such(pets: Pets) -> None:
    values = np.eye(3)[LABELS] * 8
    add_predictions(pets, pd.DataFrame({"path": FILES, "probs": values.tolist()}), "mine", outputs="logits")
    rows = np.array([row[0] for row in pets.sql("select probs from mine order by image_id").fetchall()])
    assert np.allclose(rows, torch.from_numpy(values).softmax(1).numpy(), atol=1e-6)


# Cells of frames


def test_cells_of_paths_and_tensors_are_read(pets: Pets) -> None:
    frame = pd.DataFrame({"path": [Path(file) for file in FILES], "pred": [torch.tensor(int(one)) for one in LABELS]})
    assert add_predictions(pets, frame, "mine").n_ok == 18
    assert accuracy(pets) == 1.0
    probs = pd.DataFrame({"path": FILES, "probs": list(torch.from_numpy(PROBS))})
    add_predictions(pets, probs, "probs")
    assert accuracy(pets, "probs") == pytest.approx(accuracy_score(LABELS, PROBS.argmax(1)))


def test_a_series_is_no_table(pets: Pets) -> None:
    refused(pets, pd.Series(LABELS, index=FILES, name="pred"), "a Series is one column", "give a frame")
