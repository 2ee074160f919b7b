"""Images and predictions in, from every kind of source, twice, and when something is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from sqlanalysis import add_images, add_predictions
from sqlanalysis.errors import ImageError, NotFoundError, SchemaError
from sqlanalysis.images import encode


def counts(done: object) -> tuple[int, ...]:
    return tuple(value for name, value in vars(done).items() if name.startswith("n_"))


def test_folder_is_read_as_torchvision_reads_it(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    assert counts(add_images(con, photos, dataset="pets")) == (18, 0, 0, 0)
    reference = ImageFolder(photos)
    rows = con.sql("select uri, label, width_px, height_px, sha256, n_bytes, format, split from images").fetchall()
    assert [row[:2] for row in rows] == reference.samples
    for uri, _, width, height, digest, size, kind, split in rows:
        data = Path(uri).read_bytes()
        assert (digest, size) == (hashlib.sha256(data).hexdigest(), len(data))
        with Image.open(uri) as image:
            assert image.size == (width, height)
        assert (kind, split) == ("JPEG", None)
    assert con.sql("select name from classes order by class").fetchall() == [(name,) for name in reference.classes]
    assert con.sql("from label_spaces").fetchall() == [("pets", 3)]
    assert con.sql("select count(*) from image_bytes").fetchall() == [(0,)]
    assert con.sql("from check_database").fetchall() == []


def test_adding_again_adds_nothing_and_notices_what_changed(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path
) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    add_images(con, root)
    before = con.sql("select image_id, uri from images order by all").fetchall()
    shutil.copy(root / "dog" / "0.jpg", root / "cat" / "0.jpg")
    Image.new("RGB", (9, 9)).save(root / "owl" / "new.png")
    assert counts(add_images(con, root)) == (1, 1, 17, 0)
    after = con.sql("select image_id, uri from images order by all").fetchall()
    assert after[:18] == before
    assert after[18] == (19, str(root / "owl" / "new.png"))
    assert con.sql("select problem, n from check_database").fetchall() == [("same bytes with two labels", 2)]


def test_splits_above_the_classes(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    for split, names in (("train", ("cat", "dog", "owl")), ("val", ("dog",))):
        for name in names:
            shutil.copytree(photos / name, tmp_path / "set" / split / name)
    add_images(con, tmp_path / "set")
    found = con.sql("select split, label, count(*) from images group by all order by all").fetchall()
    assert found == [("train", 0, 6), ("train", 1, 6), ("train", 2, 6), ("val", 1, 6)]


def test_flat_folder_and_glob_have_no_labels(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    assert counts(add_images(con, photos / "cat", split="val")) == (6, 0, 0, 0)
    assert counts(add_images(con, str(photos / "*" / "0.jpg"), dataset="firsts")) == (3, 0, 0, 0)
    assert con.sql("select count(label), count(split) from images").fetchall() == [(0, 6)]
    assert con.sql("select count(space) from datasets").fetchall() == [(0,)]


def test_manifest(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    shutil.copytree(photos, tmp_path / "pets")
    lines = [
        "file,class,split,camera",
        "pets/cat/0.jpg,cat,val,a",
        "pets/dog/0.jpg,dog,train,b",
        "pets/owl/0.jpg,,val,c",
    ]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    assert counts(add_images(con, tmp_path / "list.csv")) == (3, 0, 0, 0)
    rows = con.sql("select parse_filename(parse_path(uri)[-2]), label, split, meta ->> 'camera' from images").fetchall()
    assert rows == [("cat", 0, "val", "a"), ("dog", 1, "train", "b"), ("owl", None, "val", "c")]
    with pytest.raises(SchemaError, match=r"no column 'where' \(path=\); it has file, class, split, camera"):
        add_images(con, tmp_path / "list.csv", path="where")
    with pytest.raises(SchemaError, match=r"no column 'breed' \(label=\)"):
        add_images(con, tmp_path / "list.csv", label="breed")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SchemaError, match=r"no path column; name it \(path=\): a, b"):
        add_images(con, tmp_path / "bad.csv")


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
    names = con.sql("select space, name from classes order by space, class").fetchall()
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


def names_of(con: duckdb.DuckDBPyConnection, dataset: str) -> list[str]:
    rows = con.execute("select name from classes where space = ? order by class", [dataset]).fetchall()
    return [row[0] for row in rows]


def label_names(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str | None]]:
    """(folder of the file, name of its label) of all images."""
    return con.sql(
        "select parse_path(uri)[-2], classes.name from images join datasets using (dataset) "
        "left join classes on classes.space = datasets.space and label = class order by uri"
    ).fetchall()


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


def hugging_face(folder: Path, photos: Path, names: list[str]) -> Path:
    images = [{"bytes": (photos / name / "2.jpg").read_bytes(), "path": None} for name in names]
    features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    table = pa.table({"image": images, "label": range(len(names)), "is": names})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), folder / "hf.parquet")
    return folder / "hf.parquet"


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
        (-2, ["a", "b"], "label -2, but 2 classes"),
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
    with pytest.raises(SchemaError, match="label 3, but 'pets' has 3 classes: cat, dog, owl; labels are 0-based"):
        add_images(con, [(photos / "cat" / "0.jpg", 3)], dataset="pets")


def test_minus_one_is_unlabelled_where_classes_have_names(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    pairs = [(photos / "cat" / "0.jpg", -1), (photos / "dog" / "0.jpg", 1)]
    add_images(con, pairs, dataset="pets", classes=["cat", "dog"])
    assert label_names(con) == [("cat", None), ("dog", "dog")]
    frame = pd.DataFrame({"path": [path for path, _ in pairs], "label": [-1, 1]}).astype({"path": str})
    add_images(con, frame, dataset="frame", classes=["cat", "dog"])
    assert con.sql("select label from images where dataset = 'frame' order by uri").fetchall() == [(None,), (1,)]


@pytest.mark.parametrize("kind", ["frame", "old frame", "arrow", "relation"])
def test_tables_are_manifests(
    con: duckdb.DuckDBPyConnection, photos: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    frame = pd.DataFrame(
        {
            "Path": ["cat/0.jpg", "dog/0.jpg", "owl/0.jpg"],
            "Label": [0.0, np.nan, 2.0],
            "Split": [1, 2, 2],
            "n": [4, 5, 6],
        }
    )
    table = pa.Table.from_pandas(frame)
    con.register("given", table)
    source = {"frame": frame, "old frame": frame[frame.n > 0].set_index("n", drop=False).rename_axis(None)}
    source |= {"arrow": table, "relation": con.table("given")}
    assert counts(add_images(con, source[kind], dataset="pets")) == (3, 0, 0, 0)
    rows = con.sql("select label, split, meta::varchar from images order by uri").fetchall()
    assert rows == [(0, "1", '{"n": 4}'), (None, "2", '{"n": 5}'), (2, "2", '{"n": 6}')]
    assert names_of(con, "pets") == ["0", "1", "2"]
    assert con.sql("select count(*) from image_files where image_size(image).width > 0").fetchall() == [(3,)]


def test_columns_of_a_manifest_in_any_case(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    (tmp_path / "list.csv").write_text(f"File_Name,LABEL,Split,Where\n{photos}/cat/0.jpg,true,7,{photos}/dog/0.jpg\n")
    add_images(con, tmp_path / "list.csv")
    add_images(con, tmp_path / "list.csv", path="where", dataset="other")
    rows = con.sql("select label, split, parse_path(uri)[-2] from images order by dataset").fetchall()
    assert rows == [(1, "7", "cat"), (1, "7", "dog")]


def test_lists_of_paths(con: duckdb.DuckDBPyConnection, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    assert counts(add_images(con, ["cat/0.jpg", photos / "dog" / "0.jpg", "cat/9.jpg"])) == (2, 0, 0, 1)
    assert counts(add_images(con, [("cat/0.jpg", "cat"), (photos / "dog" / "0.jpg", "dog")])) == (0, 2, 0, 0)
    assert label_names(con) == [("cat", "cat"), ("dog", "dog")]
    assert con.sql("select count(*) from image_bytes").fetchall() == [(0,)]


@pytest.mark.parametrize("source", [None, 3, {"a": 1}, b"x"])
def test_what_is_no_source(con: duckdb.DuckDBPyConnection, source: object) -> None:
    with pytest.raises(SchemaError, match="images come from a folder, .*, not from"):
        add_images(con, source)


def test_files_that_are_no_tables(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "list.parquet").write_text("no parquet")
    with pytest.raises(SchemaError, match="list.parquet cannot be read as parquet: "):
        add_images(con, tmp_path / "list.parquet")
    with pytest.raises(SchemaError, match="this DataFrame cannot be read as a table: "):
        add_images(con, pd.DataFrame({"path": ["a", 1]}))
    assert con.sql("from datasets").fetchall() == []


def test_repeats_in_a_manifest_are_counted(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    cat, dog, owl = (f"{photos}/{name}/0.jpg" for name in ("cat", "dog", "owl"))
    rows = [f"{cat},cat,a,1", f"{dog},dog,a,1", f"{cat},cat,a,1", f"{cat},dog,a,1", f"{dog},dog,b,1", f"{owl},owl,a,1"]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split,n", *rows, f"{owl},owl,a,2"]))
    assert counts(add_images(con, tmp_path / "list.csv")) == (3, 0, 1, 3)
    assert counts(add_images(con, tmp_path / "list.csv")) == (0, 0, 4, 3)
    messages = con.sql("select stage, message from errors order by uri").fetchall()
    assert messages == [
        ("fetch", f"stands in the source twice, with {what}; the first counts")
        for what in ("label 'cat' and 'dog'", "split 'a' and 'b'", "other columns that differ")
    ]
    assert con.sql(
        "select name, split, meta ->> 'n' from images join classes on label = class order by uri"
    ).fetchall() == [(name, "a", "1") for name in ("cat", "dog", "owl")]
    assert counts(add_images(con, [photos / "cat" / "1.jpg"] * 300, dataset="one")) == (1, 0, 299, 0)


@pytest.mark.parametrize("column", ["label", "split", "n"])
def test_other_facts_are_changes(con: duckdb.DuckDBPyConnection, photos: Path, column: str) -> None:
    frame = pd.DataFrame({"path": [str(photos / "cat" / "0.jpg")], "label": ["cat"], "split": ["a"], "n": ["x"]})
    add_images(con, frame)
    assert counts(add_images(con, frame)) == (0, 0, 1, 0)
    assert counts(add_images(con, frame.assign(**{column: "new"}))) == (0, 1, 0, 0)
    assert counts(add_images(con, frame[["path"]])) == (0, 0, 1, 0)


def test_dot_folders_and_loops_are_skipped(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    shutil.copytree(root / "cat", root / ".ipynb_checkpoints")
    shutil.copytree(root / "cat", root / "dog" / ".cache")
    (root / "cat" / "back").symlink_to(root)
    (root / "zoo").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "none").mkdir()
    (root / "puss").symlink_to(root / "cat")
    assert counts(add_images(con, root)) == (24, 0, 0, 0)
    assert names_of(con, "pets") == ["cat", "dog", "none", "owl", "puss"]


def test_folders_beside_the_splits_are_ignored(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    shutil.copytree(photos, tmp_path / "set" / "train")
    shutil.copytree(photos / "dog", tmp_path / "set" / "Val" / "dog")
    shutil.copytree(photos / "dog", tmp_path / "set" / "annotations")
    assert counts(add_images(con, tmp_path / "set")) == (24, 0, 0, 0)
    assert names_of(con, "set") == ["cat", "dog", "owl"]
    vehicles = tmp_path / "vehicles"
    shutil.copytree(photos / "cat", vehicles / "car")
    shutil.copytree(photos / "dog", vehicles / "train")
    add_images(con, vehicles)
    assert names_of(con, "vehicles") == ["car", "train"]


def test_a_folder_called_like_a_split_is_one(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    shutil.copytree(photos, tmp_path / "pets" / "train")
    shutil.copytree(photos / "owl", tmp_path / "pets" / "val" / "owl")
    for name in ("train", "val"):
        assert add_images(con, tmp_path / "pets" / name).dataset == "pets"
    found = con.sql("select dataset, split, label, count(*) from images group by all order by all").fetchall()
    assert found == [("pets", "train", 0, 6), ("pets", "train", 1, 6), ("pets", "train", 2, 6), ("pets", "val", 2, 6)]
    add_images(con, tmp_path / "pets" / "val", dataset="other")
    assert add_images(con, tmp_path / "pets" / "val", split="held out").n_changed == 6
    found = con.sql("select distinct dataset, split from images order by all").fetchall()
    assert found == [("other", None), ("pets", "held out"), ("pets", "train")]


def test_places_that_cannot_be_read(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list.csv").write_text("path\nx.jpg\n")
    scandir = os.scandir

    def refuse(path: str | os.PathLike[str], *_: object, **__: object) -> object:
        if str(path).endswith(("owl", "list.csv")):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for folder in (photos, photos / "owl"):
        with pytest.raises(NotFoundError, match="owl cannot be read: Permission denied"):
            add_images(con, folder, dataset="x")
    monkeypatch.setattr("pyarrow.csv.read_csv", refuse)
    with pytest.raises(NotFoundError, match="list.csv cannot be read: Permission denied"):
        add_images(con, tmp_path / "list.csv")


def test_a_refused_source_leaves_no_data_set(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    for wrong in ([(photos / "cat" / "0.jpg", -1)], [np.zeros((2, 2))]):
        with pytest.raises((SchemaError, ImageError)):
            add_images(con, wrong, dataset="x")
    assert counts(add_images(con, [], dataset="x")) == (0, 0, 0, 0)
    assert con.sql("from datasets").fetchall() == []


def test_hugging_face_parquet(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    files = sorted(photos.glob("*/0.jpg"))
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files[:2]] + [
        {"bytes": None, "path": str(files[2])}
    ]
    features = {
        "info": {"features": {"image": {"_type": "Image"}, "label": {"names": ["x", "y", "z"], "_type": "ClassLabel"}}}
    }
    table = pa.table({"image": images, "label": [2, 0, 1], "note": ["p", "q", "r"]})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), tmp_path / "hf.parquet")
    assert counts(add_images(con, tmp_path / "hf.parquet")) == (3, 0, 0, 0)
    rows = con.sql("select label, meta ->> 'note', width_px from images order by image_id").fetchall()
    assert rows == [(2, "p", 240), (0, "q", 280), (1, "r", 320)]
    assert con.sql("select count(*) from image_bytes").fetchall() == [(2,)]
    assert con.sql("select name from classes order by class").fetchall() == [("x",), ("y",), ("z",)]
    sizes = con.sql("select image_size(image).width from image_files order by image_id").fetchall()
    assert sizes == [(240,), (280,), (320,)]


def test_pictures_from_python(con: duckdb.DuckDBPyConnection) -> None:
    array = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    pictures = [(array, 1), (Image.fromarray(array), 1), (array[..., 0], "late")]
    assert counts(add_images(con, pictures, dataset="made", classes=["a", "b"])) == (3, 0, 0, 0)
    assert counts(add_images(con, pictures, dataset="made")) == (0, 0, 3, 0)
    rows = con.sql("select label, thumbnail(image) is not null from image_files order by image_id").fetchall()
    assert rows == [(1, True), (1, True), (2, True)]
    with pytest.raises(ImageError, match="picture 1: an image array is uint8"):
        add_images(con, [array, array.astype(float)], dataset="made")


def test_torchvision_data_set(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    add_images(con, ImageFolder(photos), dataset="pets")
    assert con.sql("select count(*), count(distinct label) from images").fetchall() == [(18, 3)]
    assert con.sql("select name from classes order by class").fetchall() == [("cat",), ("dog",), ("owl",)]


def test_embed_keeps_the_very_bytes(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    add_images(con, photos)
    assert counts(add_images(con, photos, embed=True)) == (0, 0, 18, 0)
    for path, data in con.sql("select image.path, image.bytes from image_files").fetchall():
        assert Path(path).read_bytes() == data


def test_unreadable_files_are_rows_until_they_can_be_read(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path
) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    (root / "cat" / "text.jpg").write_text("no image")
    (root / "dog" / "empty.png").touch()
    (root / "owl" / "broken.jpg").symlink_to("nowhere")
    (root / "owl" / "notes.txt").write_text("ignored")
    assert counts(add_images(con, root)) == (18, 0, 0, 3)
    assert counts(add_images(con, root)) == (0, 0, 18, 3)
    rows = con.sql("select parse_filename(uri), stage, message from errors where run is null order by uri").fetchall()
    assert [row[:2] for row in rows] == [("text.jpg", "fetch"), ("empty.png", "fetch"), ("broken.jpg", "fetch")]
    assert [word in row[2] for word, row in zip(("formats", "empty", "No such file"), rows, strict=True)] == [True] * 3
    shutil.copy(root / "cat" / "0.jpg", root / "dog" / "empty.png")
    assert counts(add_images(con, root)) == (1, 0, 18, 2)
    assert con.sql("select count(*) from errors").fetchall() == [(2,)]


def test_secrets_in_addresses_are_not_stored(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\nhttps://user:hunter2@host/x.jpg?X-Amz-Signature=hunter2\n")
    assert counts(add_images(con, tmp_path / "list.csv")) == (0, 0, 0, 1)
    assert "hunter2" not in str(con.sql("from errors").fetchall())


@pytest.mark.parametrize("name", ["o'brien.jpg", '"><img src=x>.jpg', "new\nline.jpg", "--help.jpg", "*.jpg", "é‮.jpg"])
def test_hostile_names_come_through(con: duckdb.DuckDBPyConnection, tmp_path: Path, name: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name.replace("/", "_")).write_bytes(encode(np.zeros((2, 2), np.uint8)))
    add_images(con, tmp_path)
    assert con.sql("select image_size(image).width, image.path from image_files").fetchall() == [
        (2, str(tmp_path / "a" / name))
    ]


def test_wrong_places(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(NotFoundError, match=r"no file or folder .*photo; did you mean photos"):
        add_images(con, tmp_path / "photo")
    with pytest.raises(NotFoundError, match=r"no image below .*looked for \.jpg"):
        add_images(con, tmp_path / "photos")
    with pytest.raises(NotFoundError, match="no image matches"):
        add_images(con, str(tmp_path / "*.jpg"))
    assert con.sql("from datasets").fetchall() == []


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


def test_memory_is_flat_in_the_number_of_files(tmp_path: Path) -> None:
    root = tmp_path / "many" / "a"
    root.mkdir(parents=True)
    data = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    (root / "0.png").write_bytes(data)
    for number in range(1, 20_000):
        os.link(root / "0.png", root / f"{number}.png")
    code = (
        "import sys, resource, sqlanalysis as s; con = s.connect(sys.argv[1]); base = resource.getrusage(0).ru_maxrss;"
        "print(s.add_images(con, sys.argv[2]).n_added, (resource.getrusage(0).ru_maxrss - base) // 1024)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.duckdb"), str(root.parent)]
    n_added, megabytes = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert n_added == 20_000
    assert megabytes < 300


# Predictions from elsewhere


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
    found = pets.sql("select pred, confidence, probs from mine order by image_id").fetchnumpy()
    assert np.array_equal(found["pred"], probs.argmax(1))
    assert np.array_equal(found["confidence"], probs.max(1))
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
        with pytest.raises(SchemaError, match="predictions come from .*, not from (dict|list|NoneType)"):
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
