"""Work that others do: shards in a scratch folder, `work` and `commit`, with nothing that waits; equal to one process."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from PIL import Image

import sqlanalysis
from sqlanalysis import InferenceError, Model, connect, predict, verify
from sqlanalysis.errors import ArgumentError, NotFoundError
from sqlanalysis.runs import exchange, shards
from sqlanalysis.runs.scratch import commit_folder
from sqlanalysis.runs.work import work

from ..support.partial import errors, file_of_pets, outputs, saved_model
from ..support.shells import cli
from .test_parts import cut


@pytest.fixture
def pets(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[duckdb.DuckDBPyConnection]:
    monkeypatch.setattr(shards, "SHARD_IMAGES", 7)
    con = file_of_pets(tmp_path, photos)
    yield con
    con.close()


def stages(con: duckdb.DuckDBPyConnection, run: str) -> dict[str, float | None]:
    seconds = con.execute("select seconds from runs where run = ?", [run]).fetchall()[0][0]
    return dict(json.loads(seconds))


@pytest.mark.parametrize("storage", ["table", "parts"])
def test_shards_computed_by_others_end_as_one_process(
    pets: duckdb.DuckDBPyConnection, tmp_path: Path, storage: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, scratch = saved_model(tmp_path), tmp_path / "scratch it"
    predict(pets, model, "native")
    made = cut(pets, model, "net", scratch, storage)
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith(("net:", "each", "then"))]
    assert "net: 18 images are to be computed, in 3 shards" in said[0]
    assert f"sqlanalysis work SHARD, such as '{made[0].path}'" in said[1]
    assert f"sqlanalysis commit {tmp_path / 'pets.duckdb'} '{scratch}'" in said[2]
    assert pets.sql("select status, n_ok, workers from runs where run = 'net'").fetchall() == [("running", 0, None)]
    expected: dict[str, float] = dict.fromkeys(("read", "decode", "transform", "forward"), 0.0)
    for n, shard in enumerate(made, 1):
        done = commit_folder(pets, scratch)
        assert [(one.run, one.n_shards, one.status) for one in done.runs] == [("net", 4 - n, "running")]
        work(shard.path, shard.part, model=model)
        spent = exchange.parse(exchange.read(shard.part), "")[1]["seconds"]
        expected = {stage: expected[stage] + spent[stage] for stage in expected}
        if n == 1:
            Path(made[1].part).with_name(".draft.tmp").write_bytes(b"of a worker that writes still")
    done = commit_folder(pets, scratch)
    assert [(one.n_images, one.n_ok, one.n_errors, one.n_shards, one.status) for one in done.runs] == [
        (19, 18, 1, 0, "finished")
    ]
    assert commit_folder(pets, scratch).n_committed == 0
    assert outputs(pets, "net") == outputs(pets, "native")
    assert errors(pets, "net") == errors(pets, "native")
    found = stages(pets, "net")
    assert {stage: found[stage] for stage in expected} == pytest.approx(expected, abs=1e-6)
    assert found["total"] is None
    assert pets.sql("select sum(binds::int) from run_profile where run = 'net'").fetchall() == [(1,)]
    assert pets.sql("select images_per_second from runs where run = 'net'").fetchall() == [(None,)]
    assert not [path for path in scratch.rglob("*") if path.is_file() and storage == "table"]
    assert not [row for row in verify(pets).tables if "part" in row[0]]
    again = predict(pets, model, "net", runner="files", scratch=scratch, storage=storage)
    assert (again.n_shards, again.n_ok, again.n_errors) == (0, 18, 1)


@pytest.mark.parametrize("storage", ["table", "parts"])
def test_what_others_leave_is_answered_by_predict(
    pets: duckdb.DuckDBPyConnection, tmp_path: Path, storage: str
) -> None:
    model, scratch = saved_model(tmp_path), tmp_path / "scratch"
    predict(pets, model, "native")
    made = cut(pets, model, "net", scratch, storage)
    work(made[0].path, made[0].part, model=model)
    commit_folder(pets, scratch)
    work(made[1].path, made[1].part, model=model)  # finished, committed by nobody
    assert cut(pets, model, "net", scratch, storage) == made[2:]
    assert pets.sql("select count(*) from parts where run = 'net'").fetchall() == [(2,)]
    done = predict(pets, model, "net", scratch=scratch, storage=storage)
    assert (done.n_computed, done.n_ok, done.n_errors) == (4, 18, 1)
    assert outputs(pets, "net") == outputs(pets, "native")
    assert errors(pets, "net") == errors(pets, "native")
    work_late = commit_folder(pets, scratch)
    assert (work_late.n_committed, work_late.refused) == (0, {})
    assert {"read", "decode", "forward", "write"} <= set(stages(pets, "net"))


def test_images_that_were_added_meanwhile_stay_pending(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    model, scratch = saved_model(tmp_path), tmp_path / "scratch"
    made = cut(pets, model, "net", scratch, "table")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "pets" / "dog" / "new.png")
    sqlanalysis.add_images(pets, tmp_path / "pets", dataset="pets", show_progress=False)
    for shard in made:
        work(shard.path, shard.part, model=model)
    done = commit_folder(pets, scratch)
    assert [(one.n_shards, one.status) for one in done.runs] == [(0, "running")]
    assert predict(pets, model, "net", scratch=scratch).n_computed == 2  # also the image that had changed
    assert pets.sql("select status, n_ok from runs").fetchall() == [("finished", 20)]


def test_a_run_in_which_every_image_failed(tmp_path: Path, photos: Path) -> None:
    with file_of_pets(tmp_path, photos) as con:
        made = cut(con, saved_model(tmp_path), "net", tmp_path / "scratch", "table")
        for shard in made:
            shards.give_up(shard, "no memory")
        for _ in range(2):
            with pytest.raises(InferenceError, match="has no answer, all 19 images failed"):
                commit_folder(con, tmp_path / "scratch")
        assert con.sql("select status, n_errors from runs").fetchall() == [("failed", 19)]


def test_what_cannot_be_cut_or_committed_is_refused(
    pets: duckdb.DuckDBPyConnection, tmp_path: Path, model_of: Model
) -> None:
    for options, words in (
        ({}, "scratch="),
        ({"scratch": tmp_path, "strict": True}, "strict="),
        ({"scratch": tmp_path, "until_width": 0.1}, "one process computes it"),
    ):
        with pytest.raises(ArgumentError, match=words):
            predict(pets, model_of, "net", runner="files", **options)
    assert pets.sql("from runs").fetchall() == []
    with pytest.raises(NotFoundError, match="no folder"):
        commit_folder(pets, tmp_path / "nowhere")
    cut(pets, model_of, "net", tmp_path / "scratch", "table")
    with connect(tmp_path / "other.duckdb") as con:
        done = commit_folder(con, tmp_path / "scratch")
    assert ["does not have" in reason for reason in done.refused.values()] == [True]


@pytest.fixture
def model_of(tmp_path: Path) -> Model:
    return saved_model(tmp_path)


def test_notes_and_complaints_of_workers_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Decoders complain about two of three pictures, in two shards; the model writes to what its copies share."""
    (tmp_path / "noisy").mkdir()
    for n in range(3):
        file = tmp_path / "noisy" / f"{n}.png"
        picture = Image.new("P", (40, 40), n)
        picture.info["transparency"] = bytes(range(40)) if n else None
        picture.save(file, **({"transparency": bytes(range(40))} if n else {}))
    model = saved_model(tmp_path)
    with connect(tmp_path / "noisy.duckdb") as con:
        sqlanalysis.add_images(con, tmp_path / "noisy", dataset="noisy", show_progress=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shards, "SHARD_IMAGES", 2)
            made = cut(con, model, "net", tmp_path / "scratch", "table")
        for shard in made:
            work(shard.path, shard.part, model=model)
        footers = [exchange.parse(exchange.read(shard.part), "")[1] for shard in made]
        told = sum(footer["complaints"][0] for footer in footers)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            commit_folder(con, tmp_path / "scratch")
        lines = [record.getMessage() for record in caplog.records if "complained" in record.getMessage()]
        assert len(lines) == (told > 0)
        if told:
            assert f"complained about {told} image" in lines[0]


def test_the_command_line_cuts_and_commits(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    saved_model(tmp_path)
    pets.close()
    file, scratch = tmp_path / "pets.duckdb", tmp_path / "scratch"
    code = next(tmp_path.glob("net_*.py"))
    told = cli("predict", file, f"{code}:make", "--run", "net", "--runner", "files", "--scratch", scratch).stderr
    assert "net: 19 images = 0 ok + 0 errors + 19 pending, shards left: 1" in told
    assert f"sqlanalysis commit {file} {scratch}" in told
    cli("work", next(scratch.rglob("shard-*")), cwd=Path("/"))
    assert "net: 19 images = 18 ok + 1 errors; finished" in cli("commit", file, scratch).stderr
    assert "0 committed now" in cli("commit", file, scratch).stderr
