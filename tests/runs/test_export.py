"""Runs for other tools: each format is opened again by its own library and says what the view says."""

from __future__ import annotations

import csv
import importlib.util
import json
import logging
import os
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

import sqlanalysis
from sqlanalysis.errors import ArgumentError, ImageError, NotFoundError, SchemaError
from sqlanalysis.runs.export import Exported, export

from ..support.runs import add_activations

CLASSES = ["cat", "dog", "owl"]


def probabilities() -> np.ndarray:
    random = np.random.default_rng(3)
    logits = random.normal(size=(18, 3)) * 2
    logits[np.arange(18), np.arange(18) // 6] += 1
    powers = np.exp(logits)
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


@pytest.fixture(params=[False, True], ids=["by reference", "stored"])
def stored(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def make(con: duckdb.DuckDBPyConnection, photos: Path, *, stored: bool = False) -> duckdb.DuckDBPyConnection:
    """18 photos, 12 of split val and 6 of none; a run `mine` with probabilities for 17 of them, one without."""
    sqlanalysis.add_images(con, photos, dataset="pets", store_bytes=stored)
    con.execute("update images set split = 'val' where image_id <= 12").fetchall()
    con.execute("update images set label = null where image_id = 18").fetchall()
    con.execute("""update images set meta = '{"site": "=1+1"}' where image_id = 1""").fetchall()
    table = pa.table({"image_id": np.arange(1, 18), "probs": list(probabilities()[:17])})
    sqlanalysis.add_predictions(con, table, "mine")
    return con


@pytest.fixture
def pets(con: duckdb.DuckDBPyConnection, photos: Path, stored: bool) -> duckdb.DuckDBPyConnection:
    return make(con, photos, stored=stored)


@pytest.fixture
def few(con: duckdb.DuckDBPyConnection, photos: Path) -> duckdb.DuckDBPyConnection:
    return make(con, photos)


def view(con: duckdb.DuckDBPyConnection, run: str = "mine") -> pa.Table:
    return con.sql(f"from {run} order by image_id").to_arrow_table()


def pixels(image: Any) -> bytes:
    return bytes(image.convert("RGB").tobytes())


# Parquet


@pytest.mark.parametrize("images", ["path", "bytes", "none"])
def test_parquet_is_the_view(pets: duckdb.DuckDBPyConnection, tmp_path: Path, images: str) -> None:
    done = export(pets, "mine", tmp_path / "mine.parquet", images=images)
    assert isinstance(done, Exported)
    assert (done.to, done.n_images, done.n_left_out, done.notes) == ("parquet", 17, 0, ())
    found, expected = pq.read_table(tmp_path / "mine.parquet"), view(pets)
    own = [name for name in expected.column_names if images != "none" or name != "uri"]
    assert found.column_names == own + ["image"] * (images == "bytes") == list(done.columns)
    for name in own:
        assert found[name].to_pylist() == expected[name].to_pylist(), name
    assert found.schema.field("probs").type == pa.list_(pa.float32(), 3)
    assert pets.sql(f"select typeof(probs), label_name from '{tmp_path}/mine.parquet' limit 1").fetchall() == [
        ("FLOAT[]", "cat")
    ]
    if images == "bytes":
        for image, path in zip(found["image"].to_pylist(), expected["uri"].to_pylist(), strict=True):
            assert image == {"bytes": Path(path).read_bytes(), "path": path}
    (of_file,) = sqlanalysis.metric(pets, "accuracy", str(tmp_path / "mine.parquet")).fetchall()
    assert of_file[:-1] == sqlanalysis.metric(pets, "accuracy", "mine").fetchall()[0][:-1]


def test_parquet_without_probabilities_for_some(few: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    few.execute("update outputs.mine set probs = null where image_id in (1, 5)").fetchall()
    export(few, "mine", tmp_path / "mine.parquet")
    assert pq.read_table(tmp_path / "mine.parquet")["probs"].to_pylist() == view(few)["probs"].to_pylist()


def test_types_that_formats_lack(few: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    few.execute("""create table extra as select image_id, interval 3 day as span, map {'a': 1} as counts,
        '\\xAA'::blob as mask, 5::hugeint as huge, 'x'::enum ('x', 'y') as grade, [1.5::double, null] as pair,
        {'a': 'q"'} as parts, timestamp '2024-01-02 03:04:05' as taken, 'nan'::float as odd, 1e-7 as tiny
        from range(1, 18) t(image_id)""").fetchall()
    types = dict(row[:2] for row in few.sql("describe extra").fetchall())
    for name, dtype in types.items():
        if name != "image_id":
            few.execute(f"alter table outputs.mine add column {name} {dtype}").fetchall()
            few.execute(f"update outputs.mine set {name} = e.{name} from extra as e where e.image_id = mine.image_id")
    from sqlanalysis.db.catalogue import recreate_run_views

    recreate_run_views(few, ["mine"])
    done = export(few, "mine", tmp_path / "mine.parquet")
    assert done.notes == (
        "parquet has no such type, so these are text: span (INTERVAL), counts (MAP(VARCHAR, INTEGER)), huge (HUGEINT)",
    )
    row = pq.read_table(tmp_path / "mine.parquet").to_pylist()[0]
    assert (row["span"], json.loads(row["counts"]), row["mask"], row["huge"]) == ("3 days", {"a": 1}, b"\xaa", "5")
    assert (row["grade"], row["pair"], row["parts"], row["tiny"]) == ("x", [1.5, None], {"a": 'q"'}, 1e-7)

    done = export(few, "mine", tmp_path / "mine.csv")
    assert done.notes[1:] == ("csv cannot hold these columns, so they are left out: mask (BLOB)",)
    frame = pd.read_csv(tmp_path / "mine.csv")
    assert "mask" not in frame
    assert (json.loads(frame.pair[0]), json.loads(frame.parts[0])) == ([1.5, None], {"a": 'q"'})
    assert (frame.taken[0], frame.tiny[0]) == ("2024-01-02 03:04:05", 1e-7)

    done = export(few, "mine", tmp_path / "f", "fiftyone")
    assert "mask (BLOB)" in done.notes[1]
    sample = json.loads((tmp_path / "f" / "samples.json").read_text())["samples"][0]
    assert (sample["pair"], sample["taken"], json.loads(sample["parts"])) == (
        [1.5, None],
        "2024-01-02 03:04:05",
        {"a": 'q"'},
    )
    export(few, "mine", tmp_path / "h", "hf")
    assert len(opened(tmp_path / "h")["val"]) == 12


# CSV


def test_csv_is_the_view(few: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    odd = "a \"b\", 'c'\n=1+1 é\t"
    few.execute("update images set uri = ? where image_id = 2", [odd]).fetchall()
    few.execute("update images set split = '' where image_id = 3").fetchall()
    done = export(few, "mine", tmp_path / "mine.csv")
    frame, expected = pd.read_csv(tmp_path / "mine.csv"), view(few)
    assert list(frame) == expected.column_names == list(done.columns)
    for name in ("image_id", "pred", "pred_name", "correct", "width_px", "aspect"):
        assert frame[name].tolist() == expected[name].to_pylist(), name
    assert frame.uri[1] == odd
    assert np.array_equal(frame.confidence.astype(np.float32), expected["confidence"].to_numpy())
    assert [np.float32(json.loads(text)).tolist() for text in frame.probs] == expected["probs"].to_pylist()
    assert frame.meta[0] == '{"site": "=1+1"}'
    with open(tmp_path / "mine.csv", newline="") as stream:
        lines = list(csv.reader(stream))
    assert len(lines) == 18
    again = few.sql(f"select split from read_csv('{tmp_path}/mine.csv', allow_quoted_nulls = false) order by image_id")
    assert again.fetchall() == [(value,) for value in expected["split"].to_pylist()]


# Hugging Face


def opened(folder: Path) -> Any:
    """The data set of a folder, as `datasets` opens it without a network."""
    datasets = pytest.importorskip("datasets")
    os.environ["HF_HUB_OFFLINE"] = "1"
    return datasets.load_dataset(str(folder), cache_dir=str(folder.parent / "cache"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("images", ["path", "bytes", "none"])
def test_hf_opens_with_classes_and_images(pets: duckdb.DuckDBPyConnection, tmp_path: Path, images: str) -> None:
    datasets = pytest.importorskip("datasets")
    done = export(pets, "mine", tmp_path / "mine", "hf", images=images)
    assert (done.n_images, done.notes) == (17, ("splits are called otherwise: None is unsplit",))
    found, expected = opened(tmp_path / "mine"), view(pets).to_pylist()
    assert {name: len(split) for name, split in found.items()} == {"val": 12, "unsplit": 5}
    assert found["val"].features["label"].names == found["val"].features["pred"].names == CLASSES
    assert ("image" in found["val"].features) == (images != "none")
    for row, wanted in zip([*found["val"], *found["unsplit"]], expected, strict=True):
        assert (row["image_id"], row["label"], row["pred"]) == (wanted["image_id"], wanted["label"], wanted["pred"])
        assert row["probs"] == wanted["probs"]
        if images != "none":
            with datasets.Image().decode_example({"bytes": None, "path": wanted["uri"]}) as image:
                assert pixels(row["image"]) == pixels(image)
    alone = datasets.load_dataset("parquet", data_dir=str(tmp_path / "mine"), cache_dir=str(tmp_path / "cache2"))
    assert alone["validation"].features["label"].names == CLASSES if "validation" in alone else alone


@pytest.mark.filterwarnings("ignore")
def test_parquet_has_features_for_datasets(few: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    few.execute("update outputs.mine set pred = -1 where image_id = 1").fetchall()
    export(few, "mine", tmp_path / "mine.parquet", images="bytes")
    found = datasets.Dataset.from_parquet(str(tmp_path / "mine.parquet"), cache_dir=str(tmp_path / "cache"))
    assert found.features["label"] == datasets.ClassLabel(names=CLASSES)
    assert found.features["image"] == datasets.Image()
    assert found["pred"][:] == view(few)["pred"].to_pylist()
    assert found[3]["image"].size == tuple(
        few.sql("select width_px, height_px from images where image_id = 4").fetchall()[0]
    )


@pytest.mark.filterwarnings("ignore")
def test_names_of_splits(few: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    few.execute("update images set split = ['a b', 'a_b', 'all', 'é', '', null][image_id % 6 + 1]").fetchall()
    done = export(few, "mine", tmp_path / "mine", "hf")
    found = opened(tmp_path / "mine")
    assert sum(len(split) for split in found.values()) == 17
    for name, split in found.items():
        assert len(set(split["split"])) == 1, name
    assert len(found) == 6
    assert done.notes[0].startswith("splits are called otherwise: ")


# FiftyOne


@pytest.mark.parametrize("images", ["path", "bytes"])
def test_fiftyone_layout(pets: duckdb.DuckDBPyConnection, tmp_path: Path, images: str) -> None:
    pets.execute("update outputs.mine set pred = -1 where image_id = 2").fetchall()
    done = export(pets, "mine", tmp_path / "mine", to="fiftyone", images=images)
    assert (done.n_images, done.notes) == (17, ())
    metadata = json.loads((tmp_path / "mine" / "metadata.json").read_text())
    assert "version" not in metadata  # the importer then reads plain samples, without documents of a database
    assert (metadata["name"], metadata["media_type"], metadata["info"]["default_classes"]) == ("mine", "image", CLASSES)
    samples = json.loads((tmp_path / "mine" / "samples.json").read_text())["samples"]
    rows = view(pets).to_pylist()
    for sample, row in zip(samples, rows, strict=True):
        file = tmp_path / "mine" / sample["filepath"]  # an absolute path stays as it is
        assert file.read_bytes() == Path(row["uri"]).read_bytes()
        assert file.is_relative_to(tmp_path / "mine") == (images == "bytes")
        assert sample["metadata"] == {
            **{"_cls": "ImageMetadata", "size_bytes": row["n_bytes"]},
            **{"width": row["width_px"], "height": row["height_px"]},
        }
        assert sample["tags"] == ([row["split"]] if row["split"] else [])
        assert sample.get("ground_truth", {"label": None})["label"] == row["label_name"]
        name = "-1" if row["pred"] == -1 else row["pred_name"]
        assert sample["predictions"] == {"_cls": "Classification", "label": name, "confidence": row["confidence"]}
        assert (sample["probs"], sample["image_id"], sample.get("correct")) == (
            *(row["probs"], row["image_id"]),
            row["correct"],
        )
        assert not {"id", "_id", "logits"} & sample.keys()


@pytest.mark.skipif(importlib.util.find_spec("fiftyone") is None, reason="fiftyone is not installed")
def test_fiftyone_opens_it(few: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    import fiftyone

    export(few, "mine", tmp_path / "mine", to="fiftyone", images="bytes")
    found = fiftyone.Dataset.from_dir(str(tmp_path / "mine"), fiftyone.types.FiftyOneDataset)
    assert found.count() == 17
    assert found.values("predictions.label") == view(few)["pred_name"].to_pylist()
    assert found.values("probs") == view(few)["probs"].to_pylist()


# Embedding Atlas


def test_atlas_has_coordinates_and_neighbors(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    add_activations(con, vectors, run="mine")
    with pytest.raises(SchemaError, match=r"run 'mine' has no projection; make one with project\(con, 'mine'\)"):
        export(con, "mine", tmp_path / "atlas.parquet", "atlas")
    sqlanalysis.project(con, "mine", "pca")
    assert "neighbors" not in export(con, "mine", tmp_path / "atlas.parquet", "atlas").columns
    sqlanalysis.find_neighbors(con, "mine", k=4)
    con.execute("delete from projections where image_id = 7").fetchall()
    done = export(con, "mine", tmp_path / "atlas.parquet", "atlas", images="bytes")
    assert (done.n_images, done.n_left_out) == (29, 1)
    assert done.notes == ("left out, as they have no coordinates: 1 images",)
    rows = pq.read_table(tmp_path / "atlas.parquet").to_pylist()
    assert all(row["x"] is not None and row["y"] is not None and row["image"]["bytes"] for row in rows)
    for row in rows:
        wanted = con.sql(
            f"select neighbor_id, distance from neighbors where image_id = {row['image_id']} and neighbor_id <> 7 order by rank"
        ).fetchall()
        ids = [rows[index]["image_id"] for index in row["neighbors"]["ids"]]  # zero-based indices of rows
        assert list(zip(ids, row["neighbors"]["distances"], strict=True)) == wanted


# The results of a model card


def test_model_index_says_what_the_macros_say(few: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    few.execute("update images set label = null where image_id = 14").fetchall()
    done = export(few, "mine", tmp_path / "mine.yaml")
    assert (done.to, done.n_images) == ("model-index", 16)
    assert done.notes == ("not counted, as they have no label or no prediction: 1 images",)
    (entry,) = yaml.safe_load((tmp_path / "mine.yaml").read_text())["model-index"]
    assert entry["name"] == "imported"
    assert [result["dataset"] for result in entry["results"]] == [
        {"type": "pets", "name": "pets", "split": "val"},
        {"type": "pets", "name": "pets"},
    ]
    for result, condition, n in zip(entry["results"], ("split = 'val'", "split is null"), (12, 4), strict=True):
        rows = few.sql(f"from mine where {condition}")
        accuracy = sqlanalysis.metric(few, "accuracy", rows).df().iloc[0]
        scores = sqlanalysis.metric(few, "scores", rows).df().iloc[0]
        values = {(one["type"], one.get("args", {}).get("average")): one["value"] for one in result["metrics"]}
        assert values == {
            ("accuracy", None): accuracy.accuracy,
            ("balanced_accuracy", None): scores.balanced_accuracy,
            ("f1", "macro"): scores.f1_macro,
            ("f1", "weighted"): scores.f1_weighted,
            ("precision", "macro"): scores.precision_macro,
            ("recall", "macro"): scores.recall_macro,
            ("matthews_correlation", None): scores.mcc,
        }
        interval = f"95 % interval {accuracy.ci_low:.4f} to {accuracy.ci_high:.4f}"
        assert result["metrics"][0]["name"] == f"Accuracy ({n} images, {interval})"
        assert result["task"]["type"] == "image-classification"
        assert not any("verified" in one for one in result["metrics"])


@pytest.mark.filterwarnings("ignore")
def test_model_card_opens_on_the_hub_library(few: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    few.execute("update runs set model = 'a: \"b\" \u0085 \U0001f600 # c', class_policy = 'restricted'").fetchall()
    export(few, "mine", tmp_path / "card.md")
    card = hub.ModelCard.load(tmp_path / "card.md")
    assert card.data.model_name == 'a: "b" \u0085 \U0001f600 # c'
    first = card.data.eval_results[0]
    assert (first.task_type, first.dataset_name, first.dataset_split) == ("image-classification", "pets", "val")
    assert "12 images, outputs restricted to its classes, 95 % interval" in first.metric_name
    expected = sqlanalysis.metric(few, "accuracy", few.sql("from mine where split = 'val'")).fetchall()[0][2]
    assert first.metric_value == expected
    with pytest.raises(
        SchemaError, match=r"card.md exists and is not an earlier export; give another path, or overwrite"
    ):
        export(few, "mine", tmp_path / "card.md")


def test_numbers_and_texts_of_yaml() -> None:
    yaml = pytest.importorskip("yaml")
    from sqlanalysis.runs.formats import _yaml

    value = {
        "a": [{"b": 1e-05, "c": 1e22, "d": 0.1, "e": -3}, {"0": "yes", "1": "no"}],
        "t": ["", "- x", "\x7f\x00\u2028\ufeff\ufffe", "null", True, None],
        "nested": [{"x": {"y": [1, 2]}}],
    }
    assert yaml.safe_load(_yaml(value)) == value


# What is left out, and what is refused


def test_what_is_left_out_is_said(
    few: duckdb.DuckDBPyConnection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    few.execute("update images set sha256 = 'other' where image_id = 1").fetchall()
    few.execute(
        "insert into errors (run, dataset, image_id, stage, error, message) values ('mine', 'pets', 18, 'read', 'E', 'm')"
    )
    few.execute("update runs set n_images = 20, n_errors = 1").fetchall()
    with caplog.at_level(logging.WARNING):
        done = export(few, "mine", tmp_path / "mine.csv")
    assert (done.n_images, done.n_left_out) == (16, 4)
    assert done.notes == (
        "run 'mine' is not complete: 2 of 20 images are to be done",
        "left out, as they have an error and no output: 1 images (from errors where run = 'mine')",
        "left out, as the bytes of their images have changed since: 1 outputs",
    )
    assert caplog.messages == list(done.notes)


@pytest.mark.parametrize(("to", "name"), [("parquet", "out.parquet"), ("fiftyone", "out")])
def test_images_that_cannot_be_read_or_have_changed(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path, to: str, name: str
) -> None:
    import shutil

    shutil.copytree(photos, tmp_path / "photos")
    make(con, tmp_path / "photos")
    (tmp_path / "photos" / "cat" / "0.jpg").unlink()
    (tmp_path / "photos" / "cat" / "1.jpg").write_bytes(b"other")
    done = export(con, "mine", tmp_path / name, to, images="bytes")
    assert done.n_images == 17
    (note,) = done.notes
    assert note.startswith("images without bytes in the export: 2; the first: ")
    assert note.endswith("0.jpg: No such file or directory")
    if to == "parquet":
        images = pq.read_table(tmp_path / name)["image"].to_pylist()
        assert [image["bytes"] is None for image in images] == [True, True] + [False] * 15
    shutil.rmtree(tmp_path / "photos")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ImageError, match="none of the 17 images can be read; the first: "):
        export(con, "mine", tmp_path / name, to, images="bytes")
    assert sorted(tmp_path.rglob("*")) == before
    if to == "fiftyone":
        assert export(con, "mine", tmp_path / name, to).notes == (
            "images that are no file of this machine: 17; images='bytes' exports stored ones",
        )


def test_a_safe_connection_exports_no_other_bytes_than_those_of_the_row(photos: Path, tmp_path: Path) -> None:
    private = tmp_path / "private.jpg"
    private.write_bytes(next(photos.rglob("*.jpg")).read_bytes() + b" ")
    with sqlanalysis.connect(tmp_path / "pets.duckdb") as con:
        make(con, photos)
        con.execute(f"update images set uri = '{private}' where image_id <= 2")
        con.execute("update images set uri = 'http://127.0.0.1:9/' || image_id where image_id in (3, 4, 5)")
    with sqlanalysis.connect(tmp_path / "pets.duckdb", read_only=True, safe=True) as con:
        done = export(con, "mine", tmp_path / "other.parquet", images="bytes")
    assert "images without bytes in the export: 5" in done.notes[0]
    rows = pq.read_table(tmp_path / "other.parquet")["image"].to_pylist()
    assert [row["bytes"] is None for row in rows] == [row["path"].startswith(("http", str(private))) for row in rows]


@pytest.mark.parametrize(
    ("name", "options", "error", "text"),
    [
        ("x.parquet", {"to": "parquett"}, ArgumentError, "no format 'parquett'; did you mean parquet"),
        (
            "x",
            {},
            ArgumentError,
            "x does not end in .parquet, .csv, .yaml or .md; give to=, such as 'hf' or 'fiftyone'",
        ),
        ("x.csv", {"to": "parquet"}, ArgumentError, "parquet is a file that ends in .parquet, which x.csv does not"),
        ("x.duckdb", {"to": "csv"}, ArgumentError, "csv is a file that ends in .csv, which x.duckdb does not"),
        ("x.csv", {"to": "hf"}, ArgumentError, "hf is a folder, and x.csv looks like a .csv file; give another path"),
        ("x.csv", {"images": "all"}, ArgumentError, "images='all' is not one of path, bytes, none"),
        ("x.csv", {"images": "bytes"}, ArgumentError, "csv holds no bytes; give images='path' or 'none'"),
        ("x", {"to": "fiftyone", "images": "none"}, ArgumentError, "FiftyOne needs a file for every image"),
        ("no/x.csv", {}, NotFoundError, "no folder .*no; create it first"),
        (
            "taken.csv",
            {},
            SchemaError,
            "taken.csv exists and is not an earlier export; give another path, or overwrite",
        ),
        ("taken.parquet", {}, SchemaError, "taken.parquet exists and is not an earlier export"),
        ("folder.csv", {}, SchemaError, "folder.csv is a folder; name a file, such as .*run.csv"),
        ("full", {"to": "hf", "overwrite": True}, SchemaError, "full is a folder with other files, which are never"),
        (
            "plain",
            {"to": "hf", "overwrite": True},
            SchemaError,
            "plain is a file, and hf is a folder; give another path",
        ),
    ],
)
def test_refusals(
    few: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    name: str,
    options: dict[str, Any],
    error: type[Exception],
    text: str,
) -> None:
    for file in ("taken.csv", "taken.parquet", "plain"):
        (tmp_path / file).write_text("mine")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "README.md").write_text("mine")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    with pytest.raises(error, match=text):
        export(few, "mine", tmp_path / name, **options)
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_runs_that_cannot_be_exported(few: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no run 'mime'; did you mean mine"):
        export(few, "mime", tmp_path / "x.csv")
    few.execute("update images set label = null").fetchall()
    with pytest.raises(SchemaError, match="run 'mine' has no labeled images with a prediction, so it has no results"):
        export(few, "mine", tmp_path / "x.yaml")
    few.execute("delete from outputs.mine").fetchall()
    with pytest.raises(SchemaError, match="run 'mine' has no outputs to export"):
        export(few, "mine", tmp_path / "x.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "to"), [("x.parquet", None), ("x.csv", None), ("x.yaml", None), ("x", "hf"), ("x", "fiftyone")]
)
def test_an_earlier_export_is_replaced(
    few: duckdb.DuckDBPyConnection, tmp_path: Path, name: str, to: str | None
) -> None:
    export(few, "mine", tmp_path / name, to)
    few.execute("update outputs.mine set pred = 0, confidence = 0.5").fetchall()
    export(few, "mine", tmp_path / name, to)
    text = b"".join(file.read_bytes() for file in sorted(tmp_path.rglob("*")) if file.is_file())
    export(few, "mine", tmp_path / f"other_{name}", to)
    other = sorted(file for file in (tmp_path / f"other_{name}").rglob("*") if file.is_file())
    assert text == b"".join(file.read_bytes() for file in other or [tmp_path / f"other_{name}"])
    if to:
        (tmp_path / name / "notes.txt").write_text("mine")
        with pytest.raises(SchemaError, match="a folder with other files, which are never replaced"):
            export(few, "mine", tmp_path / name, to, overwrite=True)
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_overwrite_replaces_a_file_of_another_kind(few: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("mine")
    export(few, "mine", tmp_path / "x.csv", overwrite=True)
    assert len(pd.read_csv(tmp_path / "x.csv")) == 17


@pytest.mark.parametrize(("name", "to"), [("x.parquet", "parquet"), ("x", "fiftyone")])
@pytest.mark.parametrize("kind", ["raise", "kill"])
def test_whole_or_not_at_all(photos: Path, tmp_path: Path, name: str, to: str, kind: str) -> None:
    with sqlanalysis.connect(tmp_path / "pets.duckdb") as con:
        make(con, photos)
        export(con, "mine", tmp_path / name, to)
        con.execute("update outputs.mine set pred = 0").fetchall()
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    program = (
        "import sqlanalysis; from sqlanalysis.runs.export import export; "
        f"export(sqlanalysis.connect({str(tmp_path / 'pets.duckdb')!r}), 'mine', {str(tmp_path / name)!r}, {to!r})"
    )
    environment = {**os.environ, "SQLANALYSIS_FAULT": f"rename:1:{kind}"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
    assert done.returncode != 0
    assert {file: file.read_bytes() for file in before} == before
    hidden = [file.name for file in tmp_path.iterdir() if file.name.startswith(".")]
    assert hidden == ([f".{name}.sqlanalysis.part"] if kind == "kill" else [])
    with sqlanalysis.connect(tmp_path / "pets.duckdb") as con:
        export(con, "mine", tmp_path / name, to)
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_a_derived_run_and_one_without_predictions(few: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    sqlanalysis.temperature_scale(few, "mine", "warm", temperature=2)
    export(few, "warm", tmp_path / "warm.parquet")
    assert pq.read_table(tmp_path / "warm.parquet")["probs"].to_pylist() == view(few, "warm")["probs"].to_pylist()
    sqlanalysis.map_batches(few, lambda sizes: sizes / 2, "halves", "width_px", show_progress=False)
    export(few, "halves", tmp_path / "halves.parquet")
    table = pq.read_table(tmp_path / "halves.parquet")
    assert table["output"].to_pylist() == [width / 2 for width in table["width_px"].to_pylist()]
    with pytest.raises(SchemaError, match="run 'halves' has no predictions, so it has no results for a model card"):
        export(few, "halves", tmp_path / "halves.yaml")
    export(few, "halves", tmp_path / "halves", "fiftyone")
