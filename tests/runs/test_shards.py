"""Shards and specifications: the same work has the same shards, and any process makes the same part of one."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torchvision

import sqlanalysis
from sqlanalysis import ArgumentError, InferenceError, NotFoundError, SchemaError, load_model, predict
from sqlanalysis.models.specification import check_loadable, load_specified, specify
from sqlanalysis.runs import exchange, parts, shards
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
    work(shard.path, shard.part, trusted=True)
    whole = pq.read_table(shard.part)
    halves = shards.halve(shard)
    for half in halves:
        work(half.path, half.part, trusted=True)
    joined = [row for half in halves for row in pq.read_table(half.part).to_pylist()]
    assert joined == whole.to_pylist()
    alone = halves[0]
    while alone.n > 1:
        alone = shards.halve(alone)[0]
    with pytest.raises(ArgumentError, match="one image"):
        shards.halve(alone)


def test_a_part_says_what_made_it(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    shard = cut(pets, saved_model(tmp_path), "net", tmp_path / "scratch", "parts")[0]
    work(shard.path, shard.part, trusted=True)
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
    work(far.path, far.part, trusted=True)
    work(shard.path, shard.part, trusted=True)
    assert exchange.listed("memory://scratch") == [far.part, far.path]
    assert exchange.parse(exchange.read(far.part), "")[0] == exchange.parse(exchange.read(shard.part), "")[0]
    exchange.remove(far.part)
    assert not exchange.exists(far.part)


def test_a_file_that_is_no_shard_is_refused(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    shard = cut(pets, saved_model(tmp_path), "net", tmp_path / "scratch", "parts")[0]
    work(shard.path, shard.part, trusted=True)
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


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("pred", [9999] * 7, "values of pred from 9999 to 9999, not -1 to 2"),
        ("confidence", [float("nan")] * 7, "values of confidence that are NaN or infinite"),
        ("confidence", [1.5] * 7, "values of confidence from 1.5"),
        ("probs", [[0.9, 0.9, 0.9]] * 7, "probs whose sum is more than 1"),
        ("probs", [[-0.5, 0.5, 1.0]] * 7, "values of probs from -0.5"),
    ],
)
def test_values_that_no_model_gives_are_refused(
    pets: duckdb.DuckDBPyConnection, tmp_path: Path, name: str, values: list[object], reason: str
) -> None:
    model = saved_model(tmp_path)
    shard = cut(pets, model, "net", tmp_path / "scratch", "table")[0]
    work(shard.path, shard.part, model=model)
    rows, footer = exchange.parse(exchange.read(shard.part), shard.part)
    given = [None if error else value for error, value in zip(rows["error"].to_pylist(), values, strict=True)]
    at = rows.schema.get_field_index(name)
    exchange.write(shard.part, rows.set_column(at, name, pa.array(given, rows.schema.field(name).type)), footer)
    assert reason in parts.commit(pets, "net", [shard.part])[shard.part]
    assert pets.sql("from outputs.net").fetchall() == []


def test_images_that_a_run_was_not_asked_for_are_refused(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    model = saved_model(tmp_path)
    predict(pets, model, "net", where="image_id > 10")
    n_images = pets.sql("select n_images from runs where run = 'net'").fetchall()
    wide = cut(pets, model, "wide", tmp_path / "scratch", "table")[0]
    rows, footer = exchange.parse(exchange.read(wide.path), wide.path)
    mine = {**footer, "run": "net", "identity": parts.identify(pets, "net")}
    ids, hashes = rows["image_id"].to_pylist(), rows["sha256"].to_pylist()
    end = exchange.end_of_name(mine["identity"], mine["attempt"], ids, hashes)
    shard, part = str(tmp_path / f"shard-{end}"), str(tmp_path / f"part-{end}")
    exchange.write(shard, rows, mine)
    work(shard, part, model=model)
    assert "has images that run 'net' was not asked for" in parts.commit(pets, "net", [part])[part]
    assert pets.sql("select n_images from runs where run = 'net'").fetchall() == n_images


@pytest.mark.parametrize("told", [[], {"format": 99}, {"run": 5}, {"identity": None}, {"attempt": "0"}])
def test_a_footer_that_is_none_is_named_and_others_are_taken(
    pets: duckdb.DuckDBPyConnection, tmp_path: Path, told: object
) -> None:
    model = saved_model(tmp_path)
    one, two, _ = cut(pets, model, "net", tmp_path / "scratch", "table")
    for shard in (one, two):
        work(shard.path, shard.part, model=model)
    rows, footer = exchange.parse(exchange.read(one.part), one.part)
    footer = {**footer, **told} if isinstance(told, dict) else told  # type: ignore[assignment]
    exchange.write(one.part, rows, footer)
    refused = parts.commit(pets, "net", [one.part, two.part])
    assert list(refused) == [one.part]
    assert one.part in refused[one.part]
    assert pets.sql("select count(*) > 0 from outputs.net").fetchall() == [(True,)]


def test_code_that_a_shard_names_runs_only_when_it_is_trusted(
    pets: duckdb.DuckDBPyConnection, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = tmp_path / "own_of_shard.py"
    code.write_text(
        "import torch, torchvision\nprint('it runs')\ndef make():\n    torch.manual_seed(0)\n"
        "    return torchvision.models.squeezenet1_1(num_classes=3)\n"
    )
    model = load_model(f"{code}:make", classes=["cat", "dog", "owl"])
    shard = cut(pets, model, "net", tmp_path / "scratch", "table")[0]
    rows, footer = exchange.parse(exchange.read(shard.path), shard.path)
    pickled = {**footer, "model": {**footer["model"], "source": {**footer["model"]["source"], "trust_pickle": True}}}
    pickled["model"]["source"]["model"] = "squeezenet1_1"
    other = str(tmp_path / Path(shard.path).name)
    exchange.write(other, rows, pickled)
    capfd.readouterr()
    for path, what in ((shard.path, "own_of_shard.py:make"), (other, "the pickle of squeezenet1_1")):
        with pytest.raises(ArgumentError, match=f"names code that would run: .*{what}.*--trust-code"):
            work(path, shard.part)
    assert not exchange.exists(shard.part)
    assert "it runs" not in capfd.readouterr().out
    assert work(shard.path, shard.part, trusted=True)


def test_a_part_that_is_there_is_looked_at(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    model = saved_model(tmp_path)
    one, two, _ = cut(pets, model, "net", tmp_path / "scratch", "table")
    assert work(one.path, one.part, model=model)
    assert not work(one.path, one.part, model=model)
    for bad in (Path(one.part).read_bytes()[:-9], b"old"):
        Path(two.part).write_bytes(bad)
        with pytest.raises(SchemaError, match="is there and is no whole part of this shard: delete it"):
            work(two.path, two.part, model=model)
        assert Path(two.part).read_bytes() == bad
    with pytest.raises(SchemaError, match="no whole part of this shard"):
        work(two.path, one.part, model=model)
