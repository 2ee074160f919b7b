"""COCO annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sqlanalysis import add_images
from sqlanalysis.data.sources import coco
from sqlanalysis.errors import ArgumentError, SchemaError

from ..support.datasets import names_of
from ..support.trees import digest, labels_of, png

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 17, "name": "cat"}]


def annotations(file: Path, labels: list[list[int]], **changes: Any) -> Path:
    """One image a list of category ids, with ids from 100 on."""
    content = {
        "info": {},
        "images": [{"id": 100 + n, "file_name": f"{n}.png", "width": 8} for n in range(len(labels))],
        "annotations": [
            {"id": 10 * n + i, "image_id": 100 + n, "category_id": label, "bbox": [0, 0, 4, 4]}
            for n, several in enumerate(labels)
            for i, label in enumerate(several)
        ],
        "categories": CATEGORIES,
    } | changes
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def pictures(folder: Path, n: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        (folder / f"{number}.png").write_bytes(png(number))
    return folder


@pytest.mark.parametrize(
    ("file", "folder", "split"),
    [
        ("a/annotations/instances_val2017.json", "a/val2017", "val"),
        ("a/annotations/instances_train2017.json", "a/images/train2017", "train"),
        ("a/annotations.json", "a/images", None),
        ("a/train/_annotations.coco.json", "a/train", "train"),
        ("a/labels.json", "a", None),
    ],
)
def test_one_category_is_the_label(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, file: str, folder: str, split: str | None
) -> None:
    pictures(tmp_path / folder, 4)
    made = annotations(tmp_path / file, [[18], [1, 1], [17], []])
    done = add_images(con, made)
    assert (done.dataset, done.n_added, done.n_labeled, done.n_errors) == ("a", 4, 3, 0)
    assert names_of(con, "a") == ["person", "cat", "dog"]
    assert labels_of(con, "a") == {digest(0): "dog", digest(1): "person", digest(2): "cat", digest(3): None}
    assert done.splits == {split or "none": 4}
    assert "1 of 4 images have no annotation: they have no label" in done.notes
    assert json.loads(con.sql("select meta from images order by image_id").fetchall()[0][0]) == {"id": 100, "width": 8}


def test_several_categories_are_refused_or_all_right(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    pictures(tmp_path, 2)
    file = annotations(tmp_path / "c.json", [[18, 17], [1]])
    with pytest.raises(SchemaError, match=r"1 of 2 images have several categories \(0\.png: dog, cat\)") as caught:
        add_images(con, file)
    assert "accepted" in str(caught.value)
    assert "cut the boxes out" in str(caught.value)
    source = coco.from_coco(file, {"accepted": "category_id"})
    assert [(entry.label, entry.accepted) for entry in source.entries] == [
        (None, ("dog", "cat")),
        ("person", ("person",)),
    ]
    with pytest.raises(ArgumentError, match="category_id"):
        coco.from_coco(file, {"label": "bbox"})


def test_images_in_two_folders(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for split in ("train2017", "val2017"):
        pictures(tmp_path / "a" / split, 2)
    file = annotations(tmp_path / "a" / "annotations" / "instances_val2017.json", [[18], [1]])
    assert coco._root(file, ["0.png", "1.png"]).name == "val2017"
    pictures(tmp_path / "a" / "annotations" / "images", 2)
    pictures(tmp_path / "a" / "images", 2)
    other = annotations(tmp_path / "a" / "annotations" / "boxes.json", [[18], [1]])
    with pytest.raises(SchemaError, match="its images could be those in"):
        add_images(con, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": []}, "`images` is empty"),
        ({"images": [{"id": 1}]}, "no `file_name`"),
        ({"images": 3}, "not a list of objects"),
        ({"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]}, "whose id another has"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "lists a category twice"),
        ({"categories": [{"id": 1}]}, "no id or no name"),
        ({"categories": []}, "which it does not list"),
        ({"annotations": [{"image_id": [1], "category_id": 1}]}, "is a list or an object"),
    ],
)
def test_what_is_not_coco(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        add_images(con, annotations(tmp_path / "c.json", [[1]], **changes))


def test_damaged_and_nested(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    for text in (
        '{"images": [',
        '{"images": ' + "[" * 20_000 + "]" * 20_000 + "}",
        '{"info": 3}',
        '{"info": {}, "x": 1',
    ):
        file.write_text(text)
        with pytest.raises(SchemaError, match=r"c\.json"):
            add_images(con, file)


def test_strange_annotations_are_counted(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    strange = [{"image_id": 100, "category_id": 1}, {"image_id": 999, "category_id": 17}]
    done = add_images(con, annotations(tmp_path / "c.json", [[1]], annotations=strange))
    assert done.n_labeled == 1
    assert any(note.startswith("1 annotations are of images that c.json does not list") for note in done.notes)


def test_tables_are_not_coco(tmp_path: Path) -> None:
    for text in ('[{"path": "a"}]', '{"path": "a", "label": 1}', ""):
        (tmp_path / "t.json").write_text(text)
        assert not coco.is_coco(tmp_path / "t.json")
