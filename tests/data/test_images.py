"""Images in, from every kind of source, twice, and when something is wrong."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from sqlanalysis import add_images, connect
from sqlanalysis.core.decode import encode
from sqlanalysis.data import images
from sqlanalysis.errors import ArgumentError, ImageError, NotFoundError, QueryError, SchemaError

from ..support.datasets import counts, label_names, names_of
from ..support.trees import png


def test_folder_is_read_as_torchvision_reads_it(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    assert counts(add_images(con, photos, dataset="pets")) == (18, 0, 0, 0)
    reference = ImageFolder(photos)
    rows = con.sql("select uri, label, width_px, height_px, sha256, n_bytes, format, split from images").fetchall()
    assert [row[:2] for row in rows] == reference.samples
    for uri, _, width, height, digest, size, form, split in rows:
        data = Path(uri).read_bytes()
        assert (digest, size) == (hashlib.sha256(data).hexdigest(), len(data))
        with Image.open(uri) as image:
            assert image.size == (width, height)
        assert (form, split) == ("JPEG", None)
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
    actual = con.sql("select split, label, count(*) from images group by all order by all").fetchall()
    assert actual == [("train", 0, 6), ("train", 1, 6), ("train", 2, 6), ("val", 1, 6)]


def test_flat_folder_and_glob_have_no_labels(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    assert counts(add_images(con, photos / "cat", split="val")) == (6, 0, 0, 0)
    assert counts(add_images(con, str(photos / "*" / "0.jpg"), dataset="firsts")) == (3, 0, 0, 0)
    assert con.sql("select count(label), count(split) from images").fetchall() == [(0, 6)]
    assert con.sql("select count(label_space) from datasets").fetchall() == [(0,)]


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
    with pytest.raises(SchemaError, match=r"no column 'where' \(path\); it has file, class, split, camera"):
        add_images(con, tmp_path / "list.csv", path="where")
    with pytest.raises(SchemaError, match=r"no column 'breed' \(label\)"):
        add_images(con, tmp_path / "list.csv", label="breed")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SchemaError, match=r"no path column; name it, such as columns=.*there are: a, b"):
        add_images(con, tmp_path / "bad.csv")


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
    assert rows == [(0, "7", "cat"), (0, "7", "dog")]
    assert names_of(con, "list") == names_of(con, "other") == ["true"]


def test_lists_of_paths(con: duckdb.DuckDBPyConnection, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    assert counts(add_images(con, ["cat/0.jpg", photos / "dog" / "0.jpg", "cat/9.jpg"])) == (2, 0, 0, 1)
    assert counts(add_images(con, [("cat/0.jpg", "cat"), (photos / "dog" / "0.jpg", "dog")])) == (0, 2, 0, 0)
    assert label_names(con) == [("cat", "cat"), ("dog", "dog")]
    assert con.sql("select count(*) from image_bytes").fetchall() == [(0,)]


@pytest.mark.parametrize("source", [None, 3, {"a": 1}, b"x"])
def test_what_is_no_source(con: duckdb.DuckDBPyConnection, source: object) -> None:
    with pytest.raises(ArgumentError, match="images come from a folder, .*, not from"):
        add_images(con, source)


def test_files_that_are_no_tables(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "list.parquet").write_text("no parquet")
    with pytest.raises(SchemaError, match="list.parquet cannot be read as parquet: "):
        add_images(con, tmp_path / "list.parquet")
    with pytest.raises(SchemaError, match="this DataFrame cannot be read as a table: "):
        add_images(con, pd.DataFrame({"path": ["a", object()]}))
    assert con.sql("from datasets").fetchall() == []


def test_repeats_in_a_manifest_are_counted(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    cat, dog, owl = (f"{photos}/{name}/0.jpg" for name in ("cat", "dog", "owl"))
    rows = [f"{cat},cat,a,1", f"{dog},dog,a,1", f"{cat},cat,a,1", f"{cat},dog,a,1", f"{dog},dog,b,1", f"{owl},owl,a,1"]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split,n", *rows, f"{owl},owl,a,2"]))
    assert counts(add_images(con, tmp_path / "list.csv")) == (3, 0, 1, 3)
    assert counts(add_images(con, tmp_path / "list.csv")) == (0, 0, 4, 3)
    messages = con.sql("select stage, message from errors order by uri").fetchall()
    assert messages == [
        ("read", f"stands in the source twice, with {what}; the first counts")
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
    actual = con.sql("select dataset, split, label, count(*) from images group by all order by all").fetchall()
    assert actual == [("pets", "train", 0, 6), ("pets", "train", 1, 6), ("pets", "train", 2, 6), ("pets", "val", 2, 6)]
    add_images(con, tmp_path / "pets" / "val", dataset="other")
    assert add_images(con, tmp_path / "pets" / "val", split="held out").n_changed == 6
    actual = con.sql("select distinct dataset, split from images order by all").fetchall()
    assert actual == [("other", None), ("pets", "held out"), ("pets", "train")]


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
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(NotFoundError, match="list.csv cannot be read: Permission denied"):
        add_images(con, tmp_path / "list.csv")


def test_a_refused_source_leaves_no_data_set(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    for wrong in ([(photos / "cat" / "0.jpg", -1)], [np.zeros((2, 2))]):
        with pytest.raises((SchemaError, ImageError)):
            add_images(con, wrong, dataset="x")
    added = add_images(con, [], dataset="x")
    assert counts(added) == (0, 0, 0, 0)
    assert added.notes == ("the source holds no image",)
    assert con.sql("from datasets").fetchall() == []


class Drawn:
    """A data set of one's own, without paths, whose labels are not known before they are read."""

    def __init__(self, labels: list[object], **attributes: object) -> None:
        self.labels = labels
        vars(self).update(attributes)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, object]:
        if isinstance(self.labels[index], BaseException):
            raise self.labels[index]
        return np.full((4, 4, 3), index, np.uint8), self.labels[index]


@pytest.mark.parametrize(
    ("last", "error"),
    [(3, SchemaError), ("owl", SchemaError), (OSError("lost"), ImageError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
@pytest.mark.parametrize("named", [True, False])
def test_what_is_refused_late_leaves_the_file_as_it_was(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, last: object, error: type[Exception], named: bool
) -> None:
    if last == 3 and not named:
        last = -3
    monkeypatch.setattr(images, "BLOCK_IMAGES", 4)
    monkeypatch.setattr(images, "_take", lambda stream: list(itertools.islice(stream, 4)))
    classes = {"classes": ["cat", "dog", "owl"]} if named else {}
    add_images(con, Drawn([0, 1, 2, 0], **classes), dataset="old")
    tables = ("images", "image_bytes", "datasets", "classes", "label_spaces", "errors")
    before = {table: con.sql(f"from {table} order by all").fetchall() for table in tables}
    for dataset in ("old", "new"):
        if last == "owl" and (named or dataset == "old"):
            continue
        with pytest.raises(error):
            add_images(con, Drawn([2, *range(3), *[0, 1, 2] * 5, last], **classes), dataset=dataset)
        assert {table: con.sql(f"from {table} order by all").fetchall() for table in tables} == before
    assert counts(add_images(con, Drawn([2, 1, 0], **classes), dataset="old")) == (0, 2, 1, 0)


def test_a_disk_without_room_leaves_the_file_as_it_was(con: duckdb.DuckDBPyConnection) -> None:
    noise = list(np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(QueryError, match="has no room for what was read"):
            add_images(con, noise, dataset="noise")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert con.sql("select (select count(*) from images), (select count(*) from datasets)").fetchall() == [(0, 0)]
    assert add_images(con, noise, dataset="noise").n_added == 20


def test_what_cannot_be_written_is_refused_before_it_is_read(tmp_path: Path, photos: Path) -> None:
    file = tmp_path / "a.duckdb"
    with connect(file) as con:
        con.begin()
        with pytest.raises(QueryError, match="a transaction is open"):
            add_images(con, Drawn([KeyboardInterrupt()]), dataset="drawn")
        con.rollback()
    with connect(file, read_only=True) as con, pytest.raises(QueryError, match="only reads"):
        add_images(con, Drawn([KeyboardInterrupt()]), dataset="drawn")


@pytest.mark.parametrize("stored", [True, False])
def test_all_of_many_blocks_come_in(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    monkeypatch.setattr(images, "BLOCK_IMAGES", 1)
    files = [tmp_path / f"{number}.png" for number in range(300)]
    for number, file in enumerate(files):
        file.write_bytes(encode(np.full((2, 2), number % 256, np.uint8)) + str(number).encode())
    assert counts(add_images(con, files, dataset="many", store_bytes=stored)) == (300, 0, 0, 0)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert con.sql("select image_id, uri, sha256 from images order by image_id").fetchall() == [
        (number, str(file), digest) for number, (file, digest) in enumerate(zip(files, digests, strict=True), 1)
    ]
    assert con.sql("select count(*), count(distinct image_id) from image_bytes").fetchall() == [(300 * stored,) * 2]
    assert counts(add_images(con, files, dataset="many", store_bytes=stored)) == (0, 0, 300, 0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 3, 2], "1 to 3, without 0: the names of 3 classes"),
        ([None, np.int64(7), 5], "5 to 7, without 0"),
        ([0, 1, "cat"], "names and numbers (such as 'cat' and 0)"),
        (["cat", 1], "number"),
    ],
)
def test_numbers_that_show_only_while_they_are_read(
    con: duckdb.DuckDBPyConnection, labels: list[object], message: str
) -> None:
    with pytest.raises(SchemaError, match=re.escape(message)):
        add_images(con, Drawn(labels), dataset="drawn")
    assert con.sql("select (select count(*) from images), (select count(*) from classes)").fetchall() == [(0, 0)]


def test_such_numbers_come_in_with_names_or_with_a_zero(con: duckdb.DuckDBPyConnection) -> None:
    add_images(con, Drawn([1, 2, 1]), dataset="named", classes=["cat", "dog", "owl"])
    assert names_of(con, "named") == ["cat", "dog", "owl"]
    add_images(con, Drawn([1, 0, None]), dataset="whole")
    add_images(con, Drawn([1, 1, 1, 1]), dataset="whole")  # of classes that are known to be indices
    add_images(con, Drawn(["1", "2"]), dataset="text")
    assert names_of(con, "whole") == ["0", "1"]
    assert names_of(con, "text") == ["1", "2"]
    rows = con.sql("select dataset, label from images order by image_id").fetchall()
    assert [label for dataset, label in rows if dataset == "named"] == [1, 2, 1]


def test_numbers_of_a_stream_of_hugging_face(con: duckdb.DuckDBPyConnection) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")

    def stream(labels: list[int]) -> object:
        rows = {"image": [{"bytes": png(number), "path": None} for number in range(len(labels))], "label": labels}
        features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
        return datasets.Dataset.from_dict(rows, features=features).to_iterable_dataset()

    with pytest.raises(SchemaError, match="1 to 2, without 0"):
        add_images(con, stream([1, 2, 1]), dataset="flowers")
    assert add_images(con, stream([1, 2, 0]), dataset="flowers").n_classes == 3


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
    pictures = [(array, 1), (Image.fromarray(array), 1), (array[..., 0], 0)]
    assert counts(add_images(con, pictures, dataset="made", classes=["a", "b"])) == (3, 0, 0, 0)
    assert counts(add_images(con, pictures, dataset="made")) == (0, 0, 3, 0)
    rows = con.sql("select label, thumbnail(image) is not null from image_files order by image_id").fetchall()
    assert rows == [(1, True), (1, True), (0, True)]
    with pytest.raises(SchemaError, match="item 1 has a name as its label, item 0 a number"):
        add_images(con, [(array, 1), (array, "late")], dataset="made", classes=["a", "b"])
    with pytest.raises(ImageError, match="picture 1: an image array is uint8"):
        add_images(con, [array, array.astype(float)], dataset="made")


def test_torchvision_data_set(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    add_images(con, ImageFolder(photos), dataset="pets")
    assert con.sql("select count(*), count(distinct label) from images").fetchall() == [(18, 3)]
    assert con.sql("select name from classes order by class").fetchall() == [("cat",), ("dog",), ("owl",)]


def test_embed_keeps_the_very_bytes(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    add_images(con, photos)
    assert counts(add_images(con, photos, store_bytes=True)) == (0, 0, 18, 0)
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
    assert [row[:2] for row in rows] == [("text.jpg", "read"), ("empty.png", "read"), ("broken.jpg", "read")]
    assert [word in row[2] for word, row in zip(("formats", "empty", "No such file"), rows, strict=True)] == [True] * 3
    shutil.copy(root / "cat" / "0.jpg", root / "dog" / "empty.png")
    assert counts(add_images(con, root)) == (1, 0, 18, 2)
    assert con.sql("select count(*) from errors").fetchall() == [(2,)]


def test_what_is_left_out_is_counted_and_said(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "Thumbs.db").write_text("junk")
    done = add_images(con, root)
    assert (counts(done), done.n_labeled, done.n_classes, done.splits) == ((18, 0, 0, 0), 18, 3, {"none": 18})
    assert "*.txt (1)" in " ".join(done.notes)
    assert [record.message for record in caplog.records if record.name == "sqlanalysis"] == list(done.notes)
    (tmp_path / "clip.mp4").write_bytes(b"\0" * 64)
    with pytest.raises(SchemaError, match=r"clip\.mp4"):
        add_images(con, tmp_path / "clip.mp4")


def test_moved_images_are_found_again_and_twins_are_not(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path
) -> None:
    root = shutil.copytree(photos, tmp_path / "a" / "pets")
    shutil.copy(root / "cat" / "0.jpg", root / "cat" / "twin.jpg")
    add_images(con, root)
    before = con.sql("select image_id, parse_path(uri)[-2:] from images order by image_id").fetchall()
    (tmp_path / "b").mkdir()
    shutil.move(root, tmp_path / "b" / "pets")
    done = add_images(con, tmp_path / "b" / "pets")
    assert (counts(done), done.n_moved) == ((0, 0, 19, 0), 19)
    assert con.sql("select image_id, parse_path(uri)[-2:] from images order by image_id").fetchall() == before
    shutil.copytree(tmp_path / "b" / "pets", tmp_path / "c" / "pets")  # a copy has not moved
    done = add_images(con, tmp_path / "c" / "pets", dataset="pets")
    assert (counts(done), done.n_moved) == ((19, 0, 0, 0), 0)


def test_moved_images_with_the_same_bytes_and_names(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    data = encode(np.zeros((3, 3), np.uint8))
    for number in range(2500):  # more than a block
        file = (
            tmp_path / "old" / ("cat", "dog")[number % 2] / f"{number:04}" / ("deep" * (number % 5 == 0)) / "image.png"
        )
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
    add_images(con, tmp_path / "old", dataset="same")
    con.execute("update images set uri = replace(uri, '/', '\\') where image_id % 7 = 0")  # as another system wrote it
    moved = "replace(replace(uri, '\\', '/'), '/old/', '/new/')"
    expected = con.sql(f"select image_id, {moved}, label from images order by image_id").fetchall()
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "new" / "cat" / "image.png").write_bytes(data)  # the end of many paths, but no place of one before
    done = add_images(con, tmp_path / "new", dataset="same")
    assert (counts(done), done.n_moved) == ((1, 0, 2500, 0), 2500)
    assert con.sql("select image_id, uri, label from images where image_id <= 2500 order by all").fetchall() == expected


def test_secrets_in_addresses_are_not_stored(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\nhttps://user:hunter2@host/x.jpg?X-Amz-Signature=hunter2\n")
    assert counts(add_images(con, tmp_path / "list.csv")) == (0, 0, 0, 1)
    assert "hunter2" not in str(con.sql("from errors").fetchall())


def test_secrets_in_other_columns_are_not_stored(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    signed = "https://bucket.s3.amazonaws.com/a.jpg?id=7&X-Amz-Signature=hunter2&X-Amz-Expires=60&keyword=cat"
    texts = [
        signed,
        "see s3://user:hunter2@host/b.jpg, and http://x/?a=1;token=hunter2",
        "https://me@host/c?sig=",
        'a "http://x?sig=hunter2"\nb@c',
    ]
    kept = [
        "https://bucket.s3.amazonaws.com/a.jpg?id=7&X-Amz-Signature=…&X-Amz-Expires=60&keyword=cat",
        "see s3://host/b.jpg, and http://x/?a=1;token=…",
        "https://me@host/c?sig=…",
        'a "http://x?sig=…"\nb@c',
    ]
    frame = pd.DataFrame({"path": [str(photos / "cat" / f"{n}.jpg") for n in range(4)], "url": texts})
    done = add_images(con, frame, dataset="cats")
    assert "4 rows have addresses with a password or a signature: kept without them" in done.notes
    rows = con.sql("select meta ->> 'url', meta from images order by image_id").fetchall()
    assert [row[0] for row in rows] == kept
    assert "hunter2" not in str(rows)
    assert counts(add_images(con, frame, dataset="cats")) == (0, 0, 4, 0)


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


def test_memory_is_flat_in_the_number_of_files(tmp_path: Path) -> None:
    root = tmp_path / "many" / "a"
    root.mkdir(parents=True)
    data = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    (root / "0.png").write_bytes(data)
    for number in range(1, 20_000):
        os.link(root / "0.png", root / f"{number}.png")
    # ru_maxrss of a child starts with that of the process that forked it; VmHWM does not.
    code = (
        "import re, sys, pathlib, sqlanalysis as s\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1]) // 1024\n"
        "con = s.connect(sys.argv[1]); base = peak()\n"
        "print(s.add_images(con, sys.argv[2]).n_added, peak() - base)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.duckdb"), str(root.parent)]
    n_added, megabytes = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert n_added == 20_000
    assert megabytes < 300


@pytest.mark.parametrize("source", ["", " "])
def test_empty_text_is_not_the_working_directory(con: duckdb.DuckDBPyConnection, source: str) -> None:
    with pytest.raises(ArgumentError, match=r'empty text; the working directory is "\."'):
        add_images(con, source)
    assert con.sql("from datasets").fetchall() == []


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_gray_of_32_bits_is_said_as_such(con: duckdb.DuckDBPyConnection, tmp_path: Path, kind: str) -> None:
    Image.fromarray(np.linspace(0, 1 if kind == "float32" else 1e6, 64).reshape(8, 8).astype(kind)).save(
        tmp_path / "a.tif"
    )
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "b.png")
    notes = add_images(con, tmp_path, dataset="gray").notes
    assert any(note.startswith("1 images are 16-bit gray") for note in notes)
    assert any(note.startswith("1 images are gray of 32 bits") and "0.0 to 1.0 is black" in note for note in notes)


LATER = {
    "without labels": {"label": None, "split": "val"},
    "with other labels": {"label": ["dog", "dog", "owl"]},
    "with right answers": {"label": None, "accepted": ['["cat", "dog"]', '["dog"]', '["owl"]']},
}


@pytest.mark.parametrize("when", ["count_scanned", *images.WRITTEN])
@pytest.mark.parametrize("source", LATER)
def test_a_label_changed_from_elsewhere_is_not_lost(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, when: str
) -> None:
    """Another connection edits a label at any moment of the writing: the edit stays, or one of both is refused."""
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(number * 50))
    table = pd.DataFrame({"path": [str(tmp_path / f"{k}.png") for k in range(3)], "label": ["cat", "dog", "owl"]})
    add_images(con, table, dataset="d")
    edits: list[str] = []

    def edit(name: str) -> None:
        if name == when and not edits:
            edits.append("")
            try:
                con.cursor().execute("update images set label = 2 where image_id = 1")
            except duckdb.TransactionException as error:
                edits[0] = str(error)

    def after(run: Any) -> Any:
        def ran(con: duckdb.DuckDBPyConnection, name: str, *values: Any, **names: Any) -> Any:
            result = run(con, name, *values, **names)
            edit(name)
            return result

        return ran

    later = table.assign(**LATER[source]).dropna(axis="columns", how="all")
    with monkeypatch.context() as patch:
        patch.setattr(images, "fetch", after(images.fetch))
        patch.setattr(images, "execute", after(images.execute))
        try:
            add_images(con, later, dataset="d")
            refused = ""
        except QueryError as error:
            refused = str(error)
    label = con.sql("select label from images where image_id = 1").fetchall()[0][0]
    assert len(edits) == 1, "the moment came"
    assert not (edits[0] and refused)
    if edits[0]:
        assert "onflict" in edits[0]
        assert label == (1 if source == "with other labels" else 0)
    else:
        assert label == 2
    if refused:
        assert "another connection changed images of data set 'd'" in refused
        assert con.sql("select distinct split, accepted from images").fetchall() == [(None, None)]
        add_images(con, later, dataset="d")
        label = con.sql("select label from images where image_id = 1").fetchall()[0][0]
        assert label == (1 if source == "with other labels" else 2)
    assert con.sql("select label from images where image_id > 1 order by image_id").fetchall() == [(1,), (2,)]
    assert con.sql("from check_database").fetchall() == []


def test_labels_that_are_claimed_come_back(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """Right answers change; a label of NULL, 0 and others stay what they were."""
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        path.write_bytes(png(number * 50))
    table = pd.DataFrame({"path": list(map(str, paths)), "label": ["cat", "dog", None, "owl"]})
    add_images(con, table, dataset="d")
    answers = ['["cat", "dog"]', '["dog"]', '["owl"]', None]
    add_images(con, table.drop(columns="label").assign(accepted=answers), dataset="d")
    rows = con.sql("select label, accepted from images order by image_id").fetchall()
    assert rows == [(0, [0, 1]), (1, [1]), (None, [2]), (2, None)]
