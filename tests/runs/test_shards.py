"""Shards and specifications: the same work has the same shards, and any process makes the same part of one."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import torch
import torchvision

import sqlanalysis
from sqlanalysis import ArgumentError, InferenceError, NotFoundError, SchemaError, load_model
from sqlanalysis.models.specification import check_loadable, load_specified, specify
from sqlanalysis.runs import exchange, shards
from sqlanalysis.runs.shards import Shard
from sqlanalysis.runs.work import work

from ..support.partial import file_of_pets, saved_model
from .test_parts import cut


@pytest.fixture
def pets(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[duckdb.DuckDBPyConnection]:
    monkeypatch.setattr(shards, "SHARD_IMAGES", 7)
    con = file_of_pets(tmp_path, photos)
    yield con
    con.close()


def test_a_specification_loads_the_same_model_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    net = torchvision.models.squeezenet1_1(num_classes=3)
    monkeypatch.chdir(tmp_path)
    torch.save({"model": net.state_dict(), "model_ema": net.state_dict()}, "weights.pth")
    model = load_model("squeezenet1_1", "weights.pth#model_ema", layer="features", classes=["cat", "dog", "owl"])
    told = json.loads(json.dumps(specify(model)))
    assert told["source"]["weights"] == f"{tmp_path / 'weights.pth'}#model_ema"
    monkeypatch.chdir("/")
    again = load_specified(told)
    assert (again.weights_sha256, again.classes, again.layer) == (model.weights_sha256, model.classes, "features")
    pixels = torch.rand(2, *model.input_shape)
    with torch.inference_mode():
        assert torch.equal(again.module(pixels), model.module(pixels))
    torch.save({"model_ema": torchvision.models.squeezenet1_1(num_classes=3).state_dict()}, tmp_path / "weights.pth")
    with pytest.raises(InferenceError, match=f"other weights: weights_sha256 {model.weights_sha256} was asked for"):
        load_specified(told)


def test_what_no_other_process_can_load_is_refused() -> None:
    with pytest.raises(ArgumentError, match="file.py:make"):
        check_loadable(load_model(torch.nn.Flatten(), transform=lambda _image: torch.zeros(1, 1, 3), classes=3))
    with pytest.raises(ArgumentError, match="random weights"):
        check_loadable(load_model("squeezenet1_1", None, classes=3))
    with pytest.raises(NotFoundError):
        work("/nowhere/shard-1-0.parquet", "/nowhere/part")


def test_names_follow_from_the_work_and_its_images(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    model, scratch = saved_model(tmp_path), tmp_path / "scratch"
    first = cut(pets, model, "net", scratch, "parts")
    stamps = [os.stat(shard.path).st_mtime_ns for shard in first]
    assert cut(pets, model, "net", scratch, "parts") == first
    assert [os.stat(shard.path).st_mtime_ns for shard in first] == stamps
    rows = [pq.read_table(shard.path) for shard in first]
    ids = [one for table in rows for one in table["image_id"].to_pylist()]
    assert ids == sorted(set(ids))
    assert len(ids) == 18  # one of the two copies
    assert all(path.startswith("/") for table in rows for path in table["path"].to_pylist())
    assert rows[0].schema.names == ["image_id", "sha256", "uri", "bytes", "path"]
    other = cut(pets, model, "other", scratch, "parts")
    assert {shard.path for shard in other}.isdisjoint(shard.path for shard in first)


def test_halves_are_shards_of_their_own(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    shard = cut(pets, saved_model(tmp_path), "net", tmp_path / "scratch", "parts")[0]
    work(shard.path, shard.part)
    whole = pq.read_table(shard.part)
    halves = shards.halve(shard)
    for half in halves:
        work(half.path, half.part)
    joined = [row for half in halves for row in pq.read_table(half.part).to_pylist()]
    assert joined == whole.to_pylist()
    alone = halves[0]
    while alone.n > 1:
        alone = shards.halve(alone)[0]
    with pytest.raises(ArgumentError, match="one image"):
        shards.halve(alone)


def test_a_part_says_what_made_it(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    shard = cut(pets, saved_model(tmp_path), "net", tmp_path / "scratch", "parts")[0]
    work(shard.path, shard.part)
    rows, footer = exchange.parse(exchange.read(shard.part), shard.part)
    failed = sum(error is not None for error in rows["error"].to_pylist())
    assert (footer["n"], footer["n_ok"], footer["n_errors"]) == (7, 7 - failed, failed)
    assert (footer["run"], footer["device"], footer["dtype"]) == ("net", "cpu", "fp32")
    assert footer["packages"]["torch"] == importlib.metadata.version("torch")
    assert footer["seconds"]["total"] > 0
    assert not [path for path in Path(shard.part).parent.iterdir() if path.name.startswith(".")]


def test_addresses(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    shard = cut(pets, saved_model(tmp_path), "net", tmp_path / "scratch", "parts")[0]
    rows, footer = exchange.parse(exchange.read(shard.path), shard.path)
    far = Shard(*(f"memory://scratch/{Path(path).name}" for path in (shard.path, shard.part)), shard.n)
    exchange.write(far.path, rows, footer)
    work(far.path, far.part)
    work(shard.path, shard.part)
    assert exchange.listed("memory://scratch") == [far.part, far.path]
    assert exchange.parse(exchange.read(far.part), "")[0] == exchange.parse(exchange.read(shard.part), "")[0]
    exchange.remove(far.part)
    assert not exchange.exists(far.part)


def test_a_file_that_is_no_shard_is_refused(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    shard = cut(pets, saved_model(tmp_path), "net", tmp_path / "scratch", "parts")[0]
    work(shard.path, shard.part)
    with pytest.raises(SchemaError, match="not a shard"):
        work(shard.part, str(tmp_path / "out"))
    Path(shard.path).write_bytes(Path(shard.path).read_bytes()[:-30])
    with pytest.raises(SchemaError, match="damaged"):
        work(shard.path, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_demo_has_a_specification() -> None:
    from sqlanalysis.demo import networks

    model = networks()[0]
    again = load_specified(json.loads(json.dumps(specify(model))))
    assert (again.name, again.weights_sha256) == (model.name, model.weights_sha256)
    assert sqlanalysis.Model is type(again)
