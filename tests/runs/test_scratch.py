"""Work that others do: shards in a scratch folder, `work` and `commit`, with nothing that waits; equal to one process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from PIL import Image

import sqlanalysis
from sqlanalysis import InferenceError, Model, connect, predict, verify
from sqlanalysis.errors import ArgumentError, NotFoundError
from sqlanalysis.runs import exchange, shards
from sqlanalysis.runs.scratch import commit_folder
from sqlanalysis.runs.work import work

from ..faults.test_noise import damaged, told
from ..support.partial import errors, file_of_pets, outputs, saved_model
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
    said = [
        record.getMessage() for record in caplog.records if record.getMessage().startswith(("net:", "each", "then"))
    ]
    assert "net: 18 images are to be computed, in shards (3) in " in said[0]
    assert f"sqlanalysis work --trust-code SHARD, such as '{made[0].path}'" in said[1]
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
    assert pets.sql("select count(*) from parts where run = 'net' and part like 'part-%'").fetchall() == [(2,)]
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


SHARING = """
import torch
from torch import nn
KEPT = {}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.low = nn.Conv2d(3, 3, 5, stride=4)

    def forward(self, x):
        KEPT["low"] = self.low(x)
        return KEPT["low"].mean((2, 3))

def make():
    from torchvision.transforms import functional
    to_32 = lambda picture: functional.to_tensor(picture.resize((32, 32)))
    return Net(), to_32, ["0", "1", "2"]
"""


def test_what_workers_and_decoders_note_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Decoders complain about three of six pictures; workers disturb each other by what the model keeps elsewhere."""
    (tmp_path / "sharing.py").write_text(SHARING)
    found = [(name, data, told(data)) for name, data in damaged(900).items()]
    noisy = [(name, data) for name, data, (error, said) in found if said and error is None][:3]
    quiet = [(name, data) for name, data, (error, said) in found if not said and error is None][:3]
    for n, (name, data) in enumerate(noisy + quiet):
        (tmp_path / "pictures" / str(n % 3)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / str(n % 3) / name).write_bytes(data)
    model = sqlanalysis.load_model(f"{tmp_path / 'sharing.py'}:make", name="net")
    with connect(tmp_path / "noisy.duckdb") as con, pytest.MonkeyPatch.context() as patch:
        sqlanalysis.add_images(con, tmp_path / "pictures", dataset="noisy", show_progress=False)
        patch.setattr(shards, "SHARD_IMAGES", 2)

        def said(call: Callable[[], object]) -> list[str]:
            caplog.clear()
            call()
            return sorted(record.getMessage() for record in caplog.records)

        alone = said(lambda: predict(con, model, "native", show_progress=False))
        assert any("the decoder complained about 3 images that it decoded, such as" in line for line in alone)
        assert any("so one worker runs it" in line for line in alone)
        assert said(lambda: predict(con, model, "here", storage="parts", show_progress=False)) == alone
        for shard in cut(con, model, "net", tmp_path / "scratch", "table"):
            work(shard.path, shard.part, model=model)
        lines = said(lambda: commit_folder(con, tmp_path / "scratch"))
        assert lines == [line for line in alone if "complained" in line or "one worker" in line]
        assert said(lambda: commit_folder(con, tmp_path / "scratch")) == []
        values = con.sql("select run, stage, seconds from run_profile where stage = 'decode' order by run").fetchall()
        assert [run for run, _, seconds in values if seconds > 0] == ["here", "native", "net"]


def test_local_parts_count_each_second_once(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    model = saved_model(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        spent: list[float] = []  # of each part that is computed, not of those that are written again
        write = exchange.write

        def keep(path: str, table: object, footer: dict[str, Any], **how: bool) -> bytes:
            spent.extend([footer["seconds"]["forward"]] if exchange.is_part(path) else [])
            return write(path, table, footer, **how)  # type: ignore[arg-type]

        patch.setattr(exchange, "write", keep)
        first = predict(pets, model, "net", storage="parts")
        patch.setattr(exchange, "write", write)
    assert len(spent) == 3
    assert first.seconds["forward"] == pytest.approx(sum(spent), abs=1e-6)
    assert stages(pets, "net")["forward"] == pytest.approx(sum(spent), abs=1e-6)
    second = predict(pets, model, "net")
    assert second.seconds["forward"] == 0
    assert stages(pets, "net")["total"] == pytest.approx(first.seconds["total"] + second.seconds["total"], abs=0.01)
