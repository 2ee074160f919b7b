"""Classes of a data set: where their names and order come from, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqlanalysis import add_images, add_predictions
from sqlanalysis.errors import SchemaError

from ..support.datasets import counts, hugging_face, label_names, names_of
from ..support.trees import png


def test_manifest_with_ids_and_names(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    table = pa.table(
        {"where": [str(photos / n / "0.jpg") for n in ("cat", "dog")], "wnid": ["n02", "n01"], "name": ["cat", "dog"]}
    )
    pq.write_table(table, tmp_path / "list.parquet")
    add_images(con, tmp_path / "list.parquet", path="where")
    assert con.sql("select class, name from classes order by class").fetchall() == [(0, "dog"), (1, "cat")]
    assert con.sql("select label, meta from images order by image_id").fetchall() == [(1, None), (0, None)]


def test_integer_labels(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,label\n{photos}/cat/0.jpg,2\n{photos}/dog/0.jpg,0\n")
    add_images(con, tmp_path / "list.csv", dataset="numbers")
    add_images(con, tmp_path / "list.csv", dataset="named", classes=["a", "b", "c"])
    names = con.sql("select label_space, name from classes order by label_space, class").fetchall()
    assert names == [
        ("named", "a"),
        ("named", "b"),
        ("named", "c"),
        ("numbers", "0"),
        ("numbers", "1"),
        ("numbers", "2"),
    ]
    (tmp_path / "list.csv").write_text(f"path,label\n{photos}/cat/0.jpg,-1\n")
    with pytest.raises(SchemaError, match="negative"):
        add_images(con, tmp_path / "list.csv", dataset="negative")
    assert con.sql("select dataset from datasets order by all").fetchall() == [("named",), ("numbers",)]


def test_numbers_without_zero_are_names(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    pairs = [(photos / name / "0.jpg", number) for number, name in enumerate(("cat", "dog", "owl"), 1)]
    done = add_images(con, pairs, dataset="pets")
    assert "labels are 1 to 3, without 0: taken as the names of 3 classes" in done.notes[0]
    assert names_of(con, "pets") == ["1", "2", "3"]
    assert counts(add_images(con, pairs, dataset="pets")) == (0, 0, 3, 0)
    add_images(con, [(photos / "cat" / "1.jpg", 2), (photos / "cat" / "2.jpg", 4)], dataset="pets")
    assert names_of(con, "pets") == ["1", "2", "3", "4"]
    assert [name for folder, name in label_names(con) if folder == "cat"] == ["1", "2", "4"]
    with pytest.raises(SchemaError, match="label 0 may be an index or a name"):
        add_images(con, [(photos / "cat" / "1.jpg", 0)], dataset="pets")
    with pytest.raises(SchemaError, match=r"labels are 1 to 3, without 0, and there are 3 classes: counted from 1"):
        add_images(con, pairs, dataset="named", classes=["cat", "dog", "owl"])
    assert con.sql("select dataset from datasets").fetchall() == [("pets",)]


def test_minus_one_beside_names_is_no_label(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,label\n{photos}/cat/0.jpg,-1\n{photos}/dog/0.jpg,dog\n")
    add_images(con, tmp_path / "list.csv")
    rows = [{"path": f"{photos}/cat/0.jpg", "label": -1}, {"path": f"{photos}/dog/0.jpg", "label": "dog"}]
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, rows)))
    add_images(con, tmp_path / "lines.jsonl")
    assert names_of(con, "list") == names_of(con, "lines") == ["dog"]
    assert con.sql("select dataset, label from images order by all").fetchall() == [
        ("lines", 0),
        ("lines", None),
        ("list", 0),
        ("list", None),
    ]


def test_names_of_a_list_are_classes_as_those_of_a_folder(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    pairs = [(photos / name / "0.jpg", name) for name in ("owl", "dog", "cat")]
    add_images(con, pairs, dataset="pairs")
    assert names_of(con, "pairs") == ["cat", "dog", "owl"]
    assert all(a == b for a, b in label_names(con))


def test_each_source_has_its_own_order_of_classes(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    for name in ("cat", "dog", "owl"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        shutil.copy(photos / name / "0.jpg", tmp_path / "pets" / name)
    add_images(con, tmp_path / "pets")
    pairs = [(photos / name / "1.jpg", number) for number, name in enumerate(("owl", "cat", "dog"))]
    add_images(con, pairs, dataset="pets", classes=["owl", "cat", "dog"])
    add_images(con, hugging_face(tmp_path, photos, ["dog", "owl", "cat"]), dataset="pets")
    rows = con.sql("select meta ->> 'is', name from images join classes on label = class where meta is not null")
    assert all(a == b for a, b in rows.fetchall())
    assert all(a == b for a, b in label_names(con) if a in ("cat", "dog", "owl"))
    assert con.sql("select count(*), count(label) from images").fetchall() == [(9, 9)]
    assert names_of(con, "pets") == ["cat", "dog", "owl"]


def test_late_class_names_replace_numbers(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    pairs = [(photos / name / "0.jpg", number) for number, name in enumerate(("owl", "cat", "dog"))]
    add_images(con, pairs, dataset="pets")
    assert names_of(con, "pets") == ["0", "1", "2"]
    for classes in (["owl", "cat"], ["owl", "cat", "dog", "fox"]):
        with pytest.raises(
            SchemaError, match=r"the 3 classes of 'pets' are only numbered, and this source names [24]: ow"
        ):
            add_images(con, pairs, dataset="pets", classes=classes)
    with pytest.raises(
        SchemaError, match="only numbered, and this source names 3: cat, dog, owl; give classes= 3 names"
    ):
        add_images(con, photos, dataset="pets")
    assert counts(add_images(con, pairs, dataset="pets", classes=["owl", "cat", "dog"])) == (0, 0, 3, 0)
    assert names_of(con, "pets") == ["owl", "cat", "dog"]
    add_images(con, photos, dataset="pets")
    assert all(a == b for a, b in label_names(con))
    assert con.sql("from label_spaces").fetchall() == [("pets", 3)]
    assert con.sql("select problem from check_database").fetchall() == []


def test_numbers_that_a_run_uses_keep_their_names(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    pairs = [(photos / "cat" / "0.jpg", 0), (photos / "dog" / "0.jpg", 1)]
    add_images(con, pairs, dataset="pets")
    add_predictions(con, pd.DataFrame({"image_id": [1], "pred": [0]}), "mine")
    with pytest.raises(SchemaError, match="only numbered, and run 'mine' already uses them so"):
        add_images(con, pairs, dataset="pets", classes=["cat", "dog"])
    assert names_of(con, "pets") == ["0", "1"]


@pytest.mark.parametrize(
    ("label", "classes", "message"),
    [
        (5, ["a", "b"], "label 5, but 2 classes"),
        (-2, ["a", "b"], "label -2, but 2 classes|label holds -2"),
        (2_000_000_000, None, "label 2000000000 would make more than 100000 classes"),
        (1.5, None, "label 1.5 is neither text nor a whole number"),
        ([0, 1], None, r"label \[0, 1\] is neither"),
    ],
)
def test_labels_that_fit_no_class(
    con: duckdb.DuckDBPyConnection, photos: Path, label: object, classes: list[str] | None, message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        add_images(con, [(photos / "cat" / "0.jpg", label)], dataset="x", classes=classes)
    assert con.sql("from datasets").fetchall() == []
    with pytest.raises(SchemaError, match=message):
        add_images(con, pa.table({"path": [str(photos / "cat" / "0.jpg")], "label": [label]}), classes=classes)


def test_a_number_outside_named_classes_is_refused(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    add_images(con, photos, dataset="pets")
    with pytest.raises(SchemaError, match="label 4, but 'pets' has 3 classes: cat, dog, owl; labels are 0-based"):
        add_images(con, [(photos / "cat" / "0.jpg", 4)], dataset="pets")
    with pytest.raises(SchemaError, match=r"labels are 3, without 0, .*counted from 1 \(then 3 is 'owl'\), or 0-based"):
        add_images(con, [(photos / "cat" / "0.jpg", 3)], dataset="pets")


def test_minus_one_is_unlabeled_where_classes_have_names(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    pairs = [(photos / "cat" / "0.jpg", -1), (photos / "dog" / "0.jpg", 1)]
    add_images(con, pairs, dataset="pets", classes=["cat", "dog"])
    assert label_names(con) == [("cat", None), ("dog", "dog")]
    frame = pd.DataFrame({"path": [path for path, _ in pairs], "label": [-1, 1]}).astype({"path": str})
    add_images(con, frame, dataset="frame", classes=["cat", "dog"])
    assert con.sql("select label from images where dataset = 'frame' order by uri").fetchall() == [(None,), (1,)]


def test_new_classes_are_refused_once_a_run_uses_the_space(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path
) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    add_images(con, root)
    add_predictions(con, pd.DataFrame({"image_id": [1], "pred": [0]}), "mine")
    shutil.copytree(root / "cat", root / "fox")
    with pytest.raises(SchemaError, match="class 'fox' is new to label space 'pets', which run 'mine' already uses"):
        add_images(con, root)
    assert con.sql("select count(*) from images").fetchall() == [(18,)]


@pytest.mark.parametrize("names", [("Cat", "dog", "owl"), ("cat", "dog", "owls"), ("NA", "cat", "dog")])
def test_labels_of_which_only_some_are_among_the_classes_are_refused(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Taken by position, Cat would become owl."""
    for number, name in enumerate(names):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(png(number))
    with pytest.raises(SchemaError, match="is among the classes, and "):
        add_images(con, tmp_path, dataset="pets", classes=["owl", "dog", "cat"])
    assert con.sql("select count(*) from images").fetchall() == [(0,)]


def test_names_for_numbered_folders_have_one_order(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "a.png").write_bytes(png(number))
    with pytest.raises(
        SchemaError, match="in the order of the numbers, or of the text of the labels, which is 0, 1, 10"
    ):
        add_images(con, tmp_path, dataset="digits", classes=[f"class {number}" for number in range(12)])


@pytest.mark.parametrize("rows", ["a.png,cat, big\nb.png,dog\n", "1,5.png,dog\n"])
def test_fields_beyond_the_first_line_are_refused(con: duckdb.DuckDBPyConnection, tmp_path: Path, rows: str) -> None:
    (tmp_path / "list.csv").write_text("path,label\n" + rows)
    with pytest.raises(SchemaError, match="row 1 has more fields than the first line"):
        add_images(con, tmp_path / "list.csv")


def test_words_for_nothing_beside_numbers_are_no_label(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path
) -> None:
    paths = sorted(photos.glob("*/*.jpg"))[:4]
    lines = [f"{path},{label}\n" for path, label in zip(paths, ["0", "2", "nan", "NA"], strict=True)]
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(lines))
    done = add_images(con, tmp_path / "list.csv", classes=["cat", "dog", "owl"])
    assert (done.n_added, done.n_labeled) == (4, 2)
    assert con.sql("select label from images order by image_id").fetchall() == [(0,), (2,), (None,), (None,)]


def test_names_and_numbers_are_not_taken_by_position(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path
) -> None:
    paths = sorted(photos.glob("*/*.jpg"))[:3]
    lines = [f"{path},{label}\n" for path, label in zip(paths, ["0", "2", "unknown"], strict=True)]
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(lines))
    with pytest.raises(SchemaError, match="labels are names and numbers"):
        add_images(con, tmp_path / "list.csv", classes=["cat", "dog", "owl"])


def test_shards_that_call_the_label_differently_are_refused(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path
) -> None:
    paths = sorted(photos.glob("*/*.jpg"))[:2]
    for file, path, column in zip(("a.csv", "b.csv"), paths, ("label", "class"), strict=True):
        (tmp_path / file).write_text(f"path,{column}\n{path},cat\n")
    with pytest.raises(SchemaError, match="class is filled where label is empty"):
        add_images(con, str(tmp_path / "*.csv"), dataset="pets")
    assert add_images(con, str(tmp_path / "*.csv"), dataset="pets", columns={"label": "label"}).n_labeled == 1
