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


@pytest.mark.parametrize("kind", ["index", "float", "name", "text index"])
def test_numbers_are_indices_and_text_is_a_name(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path, kind: str
) -> None:
    for number, name in enumerate(("cat", "dog", "owl"), start=1):
        shutil.copytree(photos / name, tmp_path / "set" / str(number))
    add_images(con, tmp_path / "set")
    labels = [row[0] for row in con.sql("select label from images order by image_id").fetchall()]
    frame = pd.DataFrame({"image_id": range(1, 19)})
    if kind == "text index":
        with pytest.raises(SchemaError, match="no row of DataFrame fits data set 'set'; the first: no class 0"):
            add_predictions(con, frame.head(6).assign(pred=["0"] * 6), "mine")
        return
    frame["pred"] = {"index": labels, "float": [float(x) for x in labels], "name": [str(x + 1) for x in labels]}[kind]
    if kind == "float":
        frame.loc[17, "pred"] = np.nan
    done = add_predictions(con, frame, "mine")
    assert (done.n_ok, done.n_errors) == (18, 0)
    n = 17 if kind == "float" else 18
    assert con.sql("select n, accuracy from accuracy('mine')").fetchall() == [(n, 1.0)]


def test_bad_predictions(pets: duckdb.DuckDBPyConnection) -> None:
    good = pd.DataFrame({"image_id": [1], "pred": [0]})
    with pytest.raises(SchemaError, match="no column pred, pred_name or probs; there are: image_id"):
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
