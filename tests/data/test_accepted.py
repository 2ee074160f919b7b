"""Several right answers per image: from manifests into `images.accepted`, and what a run's view makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sqlanalysis
from sqlanalysis.errors import SchemaError


def manifest(photos: Path, accepted: list[Any], label: list[Any] | None = None) -> pd.DataFrame:
    """The first photos with these accepted labels; labels are cat, dog, owl in turn."""
    paths = sorted(photos.glob("*/*.jpg"))[: len(accepted)]
    return pd.DataFrame(
        {"path": list(map(str, paths)), "label": label or ["cat", "dog", "owl"][: len(accepted)], "accepted": accepted}
    )


def stored(con: duckdb.DuckDBPyConnection) -> list[Any]:
    return con.execute("select accepted, meta from images order by image_id").fetchall()


def classes(con: duckdb.DuckDBPyConnection) -> list[str]:
    return [row[0] for row in con.execute("select name from classes order by class").fetchall()]


def test_names(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    sqlanalysis.add_images(con, manifest(photos, [["dog", "cat", "cat"], None, []]), dataset="pets")
    assert classes(con) == ["cat", "dog", "owl"]
    assert stored(con) == [([0, 1], None), (None, None), ([], None)]


def test_a_class_that_is_only_accepted(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    sqlanalysis.add_images(con, manifest(photos, [["wolf", "ant"], ["dog"], ["wolf"]]), dataset="pets")
    assert classes(con) == ["ant", "cat", "dog", "owl", "wolf"]
    assert [row[0] for row in stored(con)] == [[0, 4], [2], [4]]


def test_numbers(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    sqlanalysis.add_images(con, manifest(photos, [[0, 3], None, [2]], label=[0, 1, 2]), dataset="pets")
    assert classes(con) == ["0", "1", "2", "3"]
    assert [row[0] for row in stored(con)] == [[0, 3], None, [2]]


def test_numbers_with_classes(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    frame = manifest(photos, ["[0, -1]", "[2]", "[1]"], label=[0, 1, 2])
    sqlanalysis.add_images(con, frame, dataset="pets", classes=["cat", "dog", "owl"])
    assert [row[0] for row in stored(con)] == [[0], [2], [1]]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_files(con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path, kind: str) -> None:
    frame = manifest(photos, [["dog", "cat"], [], None])
    file = tmp_path / f"list.{kind}"
    if kind == "csv":
        frame.assign(accepted=[None if each is None else json.dumps(each) for each in frame.accepted]).to_csv(file)
    elif kind == "jsonl":
        file.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")))
    else:
        frame.to_parquet(file)
    sqlanalysis.add_images(con, file)
    assert [row[0] for row in stored(con)] == [[0, 1], [], None]


def test_hugging_face(con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path) -> None:
    names = sorted(photos.glob("*/*.jpg"))[:2]
    table = pa.table(
        {
            "image": [{"bytes": name.read_bytes(), "path": name.name} for name in names],
            "label": [0, 1],
            "accepted": [[0, 1], None],
        }
    )
    pq.write_table(table, tmp_path / "part.parquet")
    sqlanalysis.add_images(con, tmp_path / "part.parquet")
    assert [row[0] for row in stored(con)] == [[0, 1], None]


def test_other_columns_of_that_name_are_meta(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    sqlanalysis.add_images(con, manifest(photos, [True, False, True]), dataset="pets")
    assert stored(con) == [(None, '{"accepted": true}'), (None, '{"accepted": false}'), (None, '{"accepted": true}')]


@pytest.mark.parametrize(
    ("accepted", "label", "message"),
    [
        (['["dog"]', "dog"], None, "accepted dog is not a list of labels"),
        (['["dog"]', '{"dog": 1}'], None, "is not a list of labels"),
        ([[1], [0]], None, "label and accepted hold names and numbers"),
        ([[1], [2.5]], [0, 1], "neither text nor a whole number"),
        ([[1], [-2]], [0, 1], "holds -2; labels are indices from 0"),
    ],
)
def test_what_is_refused(
    con: duckdb.DuckDBPyConnection, photos: Path, accepted: list[Any], label: list[Any] | None, message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        sqlanalysis.add_images(con, manifest(photos, accepted, label), dataset="pets")


def test_adding_again(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    def add(accepted: list[Any]) -> tuple[int, int, int]:
        done = sqlanalysis.add_images(con, manifest(photos, accepted), dataset="pets")
        return done.n_added, done.n_changed, done.n_unchanged

    assert add([["cat"], None, None]) == (3, 0, 0)
    assert add([["cat"], None, None]) == (0, 0, 3)
    assert add([["cat", "owl"], [], None]) == (0, 2, 1)
    assert [row[0] for row in stored(con)] == [[0, 2], [], None]
    assert sqlanalysis.add_images(con, photos, dataset="pets").n_changed == 2  # labels of folders: all are cats
    assert [row[0] for row in stored(con)][:3] == [[0, 2], [], None]


def test_the_same_image_twice_with_other_labels(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    frame = manifest(photos, [["cat"], ["dog"], ["owl"]])
    done = sqlanalysis.add_images(con, pd.concat([frame, frame.head(1).assign(accepted=[["owl"]])]), dataset="pets")
    assert (done.n_added, done.n_errors) == (3, 1)
    assert "accepted ('cat',) and ('owl',)" in con.execute("select message from errors").fetchall()[0][0]


def test_view_counts_any_accepted_answer(con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path) -> None:
    sqlanalysis.add_images(con, manifest(photos, [["cat", "dog"], None, []]), dataset="pets")
    given = pa.table({"image_id": [1, 2, 3], "pred": ["dog", "dog", "owl"]})
    sqlanalysis.add_predictions(con, given, "guess", columns={"image_id": "image_id"})
    assert con.execute("select accepted, correct, correct_accepted from guess order by image_id").fetchall() == [
        ([0, 1], False, True),
        (None, True, True),
        ([], True, None),
    ]
    assert con.execute("select sum(correct::int) from predictions").fetchall() == [(2,)]
    actual = sqlanalysis.metric(con, "accuracy_accepted", "guess").fetchall()[0]
    assert (actual[0], actual[1], actual[5]) == (2, 2, 1)
    assert sqlanalysis.metric(con, "accuracy", "guess").fetchall()[0][:2] == (3, 2)
    page = sqlanalysis.report(con, tmp_path / "page.html", runs=["guess"]).read_text()
    assert "Images with accepted answers: 2; figures use the label only" in page
    assert "accuracy, any accepted answer</bdi></th><td>1.0000</td>" in page
    con.execute("update images set accepted = [2] where image_id = 1").fetchall()
    assert con.execute("select correct_accepted from guess where image_id = 1").fetchall() == [(False,)]
    con.execute("update runs set label_space = 'elsewhere'").fetchall()
    assert con.execute("select distinct accepted, correct, correct_accepted from guess").fetchall() == [
        (None, None, None)
    ]
