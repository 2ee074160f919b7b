"""Hugging Face's forms: Parquet with pictures, shards, saved folders, objects of `datasets`, frames."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sqlanalysis import add_images
from sqlanalysis.data.sources import huggingface, parquet, pictured
from sqlanalysis.data.sources.table import Table
from sqlanalysis.errors import ArgumentError, NotFoundError, SchemaError

from ..support.datasets import names_of
from ..support.mutations import survive
from ..support.trees import digest, features, labels_of, png, rows, write

NAMES = ["cat", "dog", "owl"]


# Parquet


@pytest.mark.parametrize("column", ["labels", "fine_label", "Breed"])
def test_class_label_of_the_metadata_is_the_label(con: duckdb.DuckDBPyConnection, tmp_path: Path, column: str) -> None:
    table = rows(4, **{column: [2, 0, 1, -1]})
    done = add_images(con, write(tmp_path / "t.parquet", table, features(**{column: NAMES})))
    assert (done.n_added, done.n_labeled, done.columns["label"]) == (4, 3, column)
    expected = {digest(0): "owl", digest(1): "cat", digest(2): "dog", digest(3): None}
    assert labels_of(con, "t") == expected
    assert names_of(con, "t") == NAMES
    assert json.loads(con.sql("select meta from images order by image_id").fetchall()[0][0]) == {"path": "0.png"}


def test_of_two_class_labels_the_usual_one_or_a_choice(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    fish = ["fish", "bird"]
    table = rows(2, fine_label=[1, 0], coarse_label=[0, 1])
    file = write(tmp_path / "c.parquet", table, features(fine_label=NAMES, coarse_label=fish))
    done = add_images(con, file)
    assert done.columns["label"] == "fine_label"
    assert any("coarse_label names classes, too" in note for note in done.notes)
    add_images(con, file, dataset="coarse", columns={"label": "coarse_label"})
    assert labels_of(con, "coarse") == {digest(0): "fish", digest(1): "bird"}
    other = write(tmp_path / "d.parquet", rows(2, breed=[1, 0], color=[0, 1]), features(breed=NAMES, color=fish))
    with pytest.raises(SchemaError, match=r"names classes for breed and color; choose the label"):
        add_images(con, other, dataset="d")


def test_plain_bytes_text_labels_and_no_metadata(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    table = pa.table({"image_bytes": [png(0), png(1)], "species": ["02", "01"]})
    done = add_images(con, write(tmp_path / "p.parquet", table), columns={"label": "species"})
    assert done.n_labeled == 2
    assert labels_of(con, "p") == {digest(0): "02", digest(1): "01"}
    silent = add_images(con, write(tmp_path / "q.parquet", table))
    assert silent.n_labeled == 0
    assert any("no label column recognized among species" in one for one in silent.notes)


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"info": []}', b'{"info": {"features": {"label": 3}}}', b"\xff"])
def test_malformed_metadata_is_ignored(con: duckdb.DuckDBPyConnection, tmp_path: Path, metadata: bytes) -> None:
    table = rows(2, label=[0, 1]).replace_schema_metadata({b"huggingface": metadata})
    pq.write_table(table, tmp_path / "m.parquet")
    assert add_images(con, tmp_path / "m.parquet").n_labeled == 2


def test_label_beyond_the_names_is_refused(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    file = write(tmp_path / "b.parquet", rows(2, label=[1, 3]), features(label=NAMES))
    with pytest.raises(SchemaError, match="label 3, but its feature names 3 classes"):
        add_images(con, file)


def test_lists_of_labels_are_no_label(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    file = write(tmp_path / "l.parquet", rows(2, labels=[[0, 1], [2]]))
    with pytest.raises(SchemaError, match=r"has lists in 'labels'.*accepted"):
        add_images(con, file)


def test_shards_of_a_folder_and_a_glob(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    named, data = features(label=NAMES), tmp_path / "pets" / "data"
    for number in range(2):
        write(data / f"train-0000{number}-of-00002.parquet", rows(3, 3 * number, label=[0, 1, 2]), named)
    write(data / "validation-00000-of-00001.parquet", rows(2, 50, label=[2, 2]), named)
    done = add_images(con, tmp_path / "pets")
    assert (done.dataset, done.n_added, done.splits) == ("pets", 8, {"train": 6, "validation": 2})
    assert labels_of(con, "pets")[digest(4)] == "dog"
    assert labels_of(con, "pets")[digest(51)] == "owl"
    done = add_images(con, str(data / "train-*.parquet"), dataset="glob")
    assert (done.n_added, done.splits) == (6, {"train": 6})
    assert not done.notes
    assert add_images(con, tmp_path / "pets").n_unchanged == 8


def test_missing_shards_are_said(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    write(tmp_path / "x" / "test-00001-of-00003.parquet", rows(1, label=[0]))
    done = add_images(con, tmp_path / "x")
    assert done.splits == {"test": 1}
    assert "1 of 3 shards of test are here: 00000, 00002 missing" in done.notes


def test_shards_that_differ_are_refused(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    write(tmp_path / "a" / "a.parquet", rows(1, label=[0]), features(label=NAMES))
    write(tmp_path / "a" / "b.parquet", rows(1, 1, label=[0]), features(label=NAMES[::-1]))
    with pytest.raises(SchemaError, match="name the classes of 'label' differently"):
        add_images(con, tmp_path / "a")
    write(tmp_path / "b" / "a.parquet", rows(1, label=[0]))
    write(tmp_path / "b" / "b.parquet", pa.table({"text": ["x"]}))
    with pytest.raises(SchemaError, match="has no pictures in 'image'"):
        add_images(con, tmp_path / "b")


def test_several_columns_of_pictures(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    mask = [{"bytes": png(9), "path": None}, {"bytes": png(10), "path": None}]
    done = add_images(con, write(tmp_path / "m.parquet", rows(2, mask=mask, label=[0, 1])))
    assert done.columns["path"] == "image"
    assert "columns of bytes left out: mask" in done.notes
    table = rows(2, mask=mask).rename_columns(["left", "right"])
    file = write(tmp_path / "n.parquet", table)
    with pytest.raises(SchemaError, match=r"several columns of pictures: left, right; choose one"):
        add_images(con, file)
    add_images(con, file, columns={"path": "right"})
    assert set(labels_of(con, "n")) == {digest(9), digest(10)}


def test_rows_without_bytes(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "there.png").write_bytes(png(5))
    images = [{"bytes": None, "path": "there.png"}, {"bytes": None, "path": None}, {"bytes": png(1), "path": None}]
    done = add_images(con, write(tmp_path / "r.parquet", pa.table({"image": images, "label": [0, 1, 2]})))
    assert (done.n_added, done.n_errors) == (2, 1)
    assert con.sql("select message from errors").fetchall()[0][0].startswith("row 1 of ")
    empty = pa.table({"image": pa.array([None, None], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))})
    with pytest.raises(SchemaError, match="no picture in any row of 'image'"):
        add_images(con, write(tmp_path / "e.parquet", empty))


def test_a_pointer_of_git_lfs(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(SchemaError, match="git lfs pull"):
        add_images(con, tmp_path / "p.parquet")


def _bomb(file: Path, n: int, size: int, **options: Any) -> Path:
    values = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array([b"\0" * size], pa.binary()))
    images = pa.StructArray.from_arrays([values, pa.nulls(n, pa.string())], ["bytes", "path"])
    pq.write_table(pa.table({"image": images, "label": [0] * n}), file, compression="zstd", **options)
    return file


def test_pictures_that_would_fill_the_memory_are_refused(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="60,000,000,000 bytes of pictures in it: not read"):
        add_images(con, _bomb(tmp_path / "d.parquet", 1000, 60_000_000))
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 900, pa.int32()), pa.array(["x" * 2_000_000]))
    images = pa.array([{"bytes": png(0), "path": None}] * 900)
    pq.write_table(pa.table({"image": images, "caption": texts}), tmp_path / "t.parquet", compression="zstd")
    with pytest.raises(SchemaError, match="2,000,000 bytes of text beside one picture"):
        add_images(con, tmp_path / "t.parquet")


def test_batches_hold_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "HELD_BYTES", 1000)
    sizes = [10] * 50 + [900, 900] + [10] * 50
    table = pa.table({"image": [{"bytes": b"x" * size, "path": None} for size in sizes]})
    file = write(tmp_path / "s.parquet", table, row_group_size=30)
    assert parquet._measure(file, pq.read_schema(file), "image", []) == 1
    found = [len(entry.data or b"") for entry in huggingface.from_parquet([file], {}).entries]
    assert found == sizes
    monkeypatch.setattr(parquet, "HELD_BYTES", 2000)
    assert parquet._measure(file, pq.read_schema(file), "image", []) == 16
    assert [len(entry.data or b"") for entry in huggingface.from_parquet([file], {}).entries] == sizes


def test_a_picture_beyond_the_cap_is_an_error_row(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictured, "MAX_BYTES", 1000)
    images = [{"bytes": png(0), "path": None}, {"bytes": b"\0" * 2000, "path": None}]
    done = add_images(con, write(tmp_path / "c.parquet", pa.table({"image": images, "label": [0, 1]})))
    assert (done.n_added, done.n_errors) == (1, 1)
    assert "row 1 of" in con.sql("select message from errors").fetchall()[0][0]


@pytest.mark.slow
def test_damaged_parquet(tmp_path: Path) -> None:
    file = write(tmp_path / "w.parquet", rows(20, label=[0, 1] * 10, text=["a", "b"] * 10), features(label=NAMES))
    lines, slowest, megabytes = survive(file)
    assert len(lines) == 100
    assert slowest < 10
    assert megabytes < 1024
    assert sum(line.startswith("error SchemaError") for line in lines) > 20


# Saved folders


datasets_missing = "datasets is not installed"


def _hf(n: int = 4, start: int = 0) -> Any:
    datasets = pytest.importorskip("datasets", reason=datasets_missing)
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    images = [{"bytes": png(start + number), "path": f"{start + number}.png"} for number in range(n)]
    return datasets.Dataset.from_dict({"image": images, "label": [number % 3 for number in range(n)]}, features=kinds)


def test_saved_data_set_and_dictionary(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    data = _hf()
    data.save_to_disk(tmp_path / "one")
    done = add_images(con, tmp_path / "one")
    expected = {digest(number): NAMES[number % 3] for number in range(4)}
    assert done.n_labeled == 4
    assert labels_of(con, "one") == expected
    assert names_of(con, "one") == NAMES
    import datasets

    datasets.DatasetDict({"train": data, "dev": _hf(3, 10)}).save_to_disk(tmp_path / "two")
    done = add_images(con, tmp_path / "two")
    assert done.splits == {"train": 4, "dev": 3}
    assert labels_of(con, "two")[digest(12)] == "owl"


def _saved(root: Path, table: pa.Table, **state: Any) -> Path:
    """A saved folder, as `save_to_disk` lays it out, without the library."""
    root.mkdir()
    with pa.ipc.new_stream(str(root / "data-00000-of-00001.arrow"), table.schema) as stream:
        stream.write_table(table)
    info = {"features": {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}}
    (root / "dataset_info.json").write_text(json.dumps(info))
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train", **state}
    (root / "state.json").write_text(json.dumps(state))
    return root


def test_saved_without_the_library(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    root = _saved(tmp_path / "s", rows(3, label=[2, 1, -1]))
    done = add_images(con, root)
    assert (done.n_labeled, done.splits) == (2, {"train": 3})
    assert labels_of(con, "s") == {digest(0): "owl", digest(1): "dog", digest(2): None}


def test_saved_folders_that_cannot_be_read(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    table = rows(3, label=[2, 1, 0])
    for name, state, message in [
        ("a", {"_indices_files": [{"filename": "i.arrow"}]}, "flatten_indices"),
        ("b", {"_data_files": [{"filename": "../x.arrow"}]}, "outside itself"),
        ("c", {"_data_files": []}, "lists no data files"),
    ]:
        with pytest.raises(SchemaError, match=message):
            add_images(con, _saved(tmp_path / name, table, **state))
    with pytest.raises(NotFoundError, match=r"no file .*gone\.arrow"):
        add_images(con, _saved(tmp_path / "d", table, _data_files=[{"filename": "gone.arrow"}]))
    root = _saved(tmp_path / "e", table)
    file = root / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(SchemaError, match="cannot be read as Arrow"):
        add_images(con, root)
    (root / "dataset_info.json").write_text("[1")
    (root / "state.json").write_text("3")
    with pytest.raises(SchemaError, match="lists no data files"):
        add_images(con, root)


# Objects of `datasets`


def test_dataset_dictionary_and_stream_are_equal(con: duckdb.DuckDBPyConnection) -> None:
    data = _hf(6)
    expected = {digest(number): NAMES[number % 3] for number in range(6)}
    for name, source in [("map", data), ("stream", data.to_iterable_dataset()), ("torch", data.with_format("numpy"))]:
        done = add_images(con, source, dataset=name)
        assert (done.n_added, done.n_labeled) == (6, 6), name
        assert (labels_of(con, name), names_of(con, name)) == (expected, NAMES), name
    import datasets

    done = add_images(con, datasets.DatasetDict({"train": data, "test": _hf(2, 90)}), dataset="both")
    assert done.splits == {"train": 6, "test": 2}
    streams = datasets.IterableDatasetDict({"train": data.to_iterable_dataset()})
    assert add_images(con, streams, dataset="streams").splits == {"train": 6}
    with pytest.raises(ArgumentError, match="empty"):
        add_images(con, datasets.DatasetDict({}))


def test_selected_and_shuffled_rows_keep_their_labels(con: duckdb.DuckDBPyConnection) -> None:
    data = _hf(6).select([5, 0, 3])
    add_images(con, data, dataset="some")
    assert labels_of(con, "some") == {digest(5): "owl", digest(0): "cat", digest(3): "cat"}


def test_dataset_without_pictures(con: duckdb.DuckDBPyConnection) -> None:
    datasets = pytest.importorskip("datasets", reason=datasets_missing)
    with pytest.raises(SchemaError, match="no column of pictures; it has text"):
        add_images(con, datasets.Dataset.from_dict({"text": ["a"]}))


# Tables in memory


def test_arrow_and_relations_with_bytes(con: duckdb.DuckDBPyConnection) -> None:
    table = rows(3, label=["b", "a", "b"])
    expected = {digest(0): "b", digest(1): "a", digest(2): "b"}
    add_images(con, table, dataset="arrow")
    assert labels_of(con, "arrow") == expected
    add_images(con, duckdb.from_arrow(table), dataset="relation")
    assert labels_of(con, "relation") == expected
    plain = pl.DataFrame({"image": [png(0), png(1)], "label": ["b", "a"]})
    add_images(con, plain, dataset="polars")
    assert labels_of(con, "polars") == {digest(0): "b", digest(1): "a"}


def test_the_same_picture_twice_stays_two_rows(con: duckdb.DuckDBPyConnection) -> None:
    images = [{"bytes": png(0), "path": None}] * 2
    assert add_images(con, pa.table({"image": images, "label": ["a", "b"]}), dataset="t").n_added == 2
    assert con.sql("select count(distinct uri) from images").fetchall() == [(2,)]


def test_frames_of_pictures_are_encoded() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    frame = pd.DataFrame({"image": [Image.fromarray(pixels[0]), None], "array": list(pixels), "label": ["a", "b"]})
    table = huggingface.encoded(frame)
    assert isinstance(table, pa.Table)
    assert set(table.column_names) == {"image", "array", "label"}
    with Image.open(io.BytesIO(table["array"][1].as_py())) as image:
        assert np.array_equal(np.asarray(image), pixels[1])
    assert table["image"][1].as_py() is None
    same = pd.DataFrame({"path": ["a"], "label": ["b"]})
    assert huggingface.encoded(same) is same


def test_from_rows_needs_pictures(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="no column of pictures"):
        huggingface.from_rows(Table(pa.table({"a": [1]}), "here", tmp_path, "x", {}), {})


def _pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def test_streams_that_decode_or_say_no_columns(con: duckdb.DuckDBPyConnection) -> None:
    """`filter` hands on decoded pictures, and after `map` the columns are unknown."""
    datasets = pytest.importorskip("datasets")
    data = [png(number) for number in range(4)]

    def rows() -> Any:
        for number, one in enumerate(data):
            yield {"image": {"bytes": one, "path": None}, "label": number % 3}

    kinds = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=NAMES))
    stream = datasets.IterableDataset.from_generator(rows, features=kinds)
    add_images(con, stream.filter(lambda row: row["label"] > 0), dataset="some")
    assert sorted(filter(None, labels_of(con, "some").values())) == ["dog", "owl"]
    stored = con.sql("select image.bytes from image_files where dataset = 'some' order by image_id").fetchall()
    for (one,), number in zip(stored, (1, 2), strict=True):
        assert np.array_equal(_pixels(one), _pixels(png(number)))
    turned = stream.map(lambda row: {"label": 2 - row["label"]})
    with pytest.raises(SchemaError, match=r"does not say what its columns are.*give it features"):
        add_images(con, turned, dataset="turned")
    typed = stream.map(lambda row: {"label": 2 - row["label"]}, features=kinds)
    add_images(con, typed, dataset="typed")
    assert sorted(filter(None, labels_of(con, "typed").values())) == ["cat", "dog", "owl", "owl"]


def test_frames_of_path_objects_and_series(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    files = sorted(photos.glob("*/*.jpg"))
    frame = pd.DataFrame({"path": files, "label": [file.parent.name for file in files]})
    assert add_images(con, frame, dataset="frame").n_labeled == 18
    polars = pl.DataFrame({"path": pl.Series(files, dtype=pl.Object), "label": frame["label"].tolist()})
    assert add_images(con, polars, dataset="polars").n_labeled == 18
    with pytest.raises(SchemaError, match="a Series is one column"):
        add_images(con, frame["path"], dataset="series")
