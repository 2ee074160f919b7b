"""Outputs as parts: equal to the bit with a run in the file, for every reader; nothing lost, doubled or believed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, log_loss

import sqlanalysis
from sqlanalysis import Model, add_column, connect, copy_database, drop_run, localize, metric, predict, verify
from sqlanalysis.errors import ArgumentError, InferenceError, QueryError, SchemaError
from sqlanalysis.runs import exchange, parts, shards
from sqlanalysis.runs.work import work

from ..support.partial import COLUMNS, code_of, errors, file_of_pets, outputs, saved_model
from ..support.shells import ask, cli

MACROS = ("accuracy", "scores", "calibration_error", "proper_scores", "auc", "per_class", "check_run", "label_quality")


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return saved_model(tmp_path)


@pytest.fixture
def pets(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[duckdb.DuckDBPyConnection]:
    monkeypatch.setattr(shards, "SHARD_IMAGES", 7)
    con = file_of_pets(tmp_path, photos)
    yield con
    con.close()


def part_files(folder: Path) -> list[Path]:
    return sorted((folder / "pets.duckdb.parts").rglob("*.parquet"))


def test_equal_to_the_bit_with_a_run_in_the_file(
    pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path, shell: str, duckdb14: Path
) -> None:
    native, done = predict(pets, model, "native"), predict(pets, model, "net", storage="parts")
    assert (done.n_images, done.n_ok, done.n_errors) == (native.n_images, native.n_ok, native.n_errors) == (19, 18, 1)
    assert done.n_computed == native.n_computed == 18
    assert outputs(pets, "net") == outputs(pets, "native")
    assert errors(pets, "net") == errors(pets, "native")
    types = "select column_name, data_type from duckdb_columns() where schema_name = 'outputs' and table_name = ?"
    assert pets.execute(types, ["net"]).fetchall() == pets.execute(types, ["native"]).fetchall()
    assert pets.sql("select run, storage from runs order by run").fetchall() == [("native", "table"), ("net", "parts")]
    for name in MACROS:
        assert metric(pets, name, "net").fetchall() == [
            tuple("net" if value == "native" else value for value in row)
            for row in metric(pets, name, "native").fetchall()
        ], name
    pets.close()
    query = "select image_id, pred, confidence, probs::varchar as probs, activation::varchar as activation from {} order by 1"
    file = tmp_path / "pets.duckdb"
    assert ask(shell, file, query.format("net")) == ask(shell, file, query.format("native")) != []
    program = f"import duckdb; c = duckdb.connect({str(file)!r}, read_only=True); print(c.execute({query!r}.format('%s')).fetchall())"
    told = [
        subprocess.run([duckdb14, "-c", program % run], capture_output=True, text=True, cwd="/")
        for run in ("net", "native")
    ]
    assert told[0].stdout == told[1].stdout != "", told[0].stderr
    assert cli("metric", file, "accuracy", "net", cwd=Path("/")).stdout != ""


def test_numbers_are_those_of_scikit_learn(pets: duckdb.DuckDBPyConnection, model: Model) -> None:
    predict(pets, model, "net", storage="parts")
    rows = pets.sql("select label, pred, probs from net order by image_id").fetchnumpy()
    label, pred, probs = rows["label"], rows["pred"], np.stack(rows["probs"]).astype(float)
    assert metric(pets, "accuracy", "net").fetchall()[0][2] == accuracy_score(label, pred)
    found = metric(pets, "proper_scores", "net")
    assert dict(zip(found.columns, found.fetchall()[0], strict=True))["log_loss"] == pytest.approx(
        log_loss(label, probs / probs.sum(1, keepdims=True), labels=[0, 1, 2]), rel=1e-6
    )


def test_stored_bytes_and_encoders(tmp_path: Path, photos: Path) -> None:
    model = saved_model(tmp_path)
    encoder = sqlanalysis.load_model(f"{code_of(tmp_path)}:make", layer="0", embedding=True, name="net")
    with connect(tmp_path / "pets.duckdb") as con:
        sqlanalysis.add_images(con, photos, dataset="pets", store_bytes=True)
        predict(con, model, "native")
        predict(con, model, "net", storage="parts")
        assert outputs(con, "net") == outputs(con, "native")
        predict(con, encoder, "native_e")
        predict(con, encoder, "net_e", storage="parts")
        query = "select image_id, sha256, activation from outputs.{} order by 1"
        assert con.execute(query.format("net_e")).fetchall() == con.execute(query.format("native_e")).fetchall() != []


def test_rules_draw_the_same_sample(pets: duckdb.DuckDBPyConnection, model: Model) -> None:
    native = predict(pets, model, "native", until_width=0.9, seed=5)
    done = predict(pets, model, "net", until_width=0.9, seed=5, storage="parts")
    assert str(done.sample) == str(native.sample)
    assert outputs(pets, "net") == outputs(pets, "native")
    assert predict(pets, model, "net").n_ok == 18  # without the rule, the rest, where the run already is


def test_resume_after_interrupts_between_all_steps(
    pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(pets, model, "native")
    computed: list[int] = []
    whole = sqlanalysis.models.engine.Engine.__call__
    monkeypatch.setattr(
        "sqlanalysis.models.engine.Engine.__call__", lambda self, rows: computed.append(len(rows)) or whole(self, rows)
    )
    first = parts.commit
    for _ in range(4):  # each time, the part is written and not committed
        monkeypatch.setattr(parts, "commit", lambda *_a, **_k: (_ for _ in ()).throw(OSError("gone")))
        with pytest.raises(OSError, match="gone"):
            predict(pets, model, "net", storage="parts")
        monkeypatch.setattr(parts, "commit", first)
    assert sum(computed) == 7  # what was written is found again, though it is committed by nobody
    predict(pets, model, "net")
    assert sum(computed) == 18
    assert outputs(pets, "net") == outputs(pets, "native")
    assert not [path for path in part_files(tmp_path) if path.name.startswith(("shard", "."))]
    assert pets.sql("select sum(n), sum(n_errors) from parts").fetchall() == [(18, 1)]


def test_errors_are_tried_again_on_request(pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path) -> None:
    predict(pets, model, "net", storage="parts")
    bad = Path(errors(pets, "net")[0][1])  # type: ignore[arg-type]
    assert predict(pets, model, "net").n_computed == 0
    again = predict(pets, model, "net", retry_errors=True)
    assert (again.n_computed, again.n_errors) == (1, 1)
    bad.write_bytes(bad.read_bytes()[:-1])  # as it was added
    repaired = predict(pets, model, "net", retry_errors=True)
    assert (repaired.n_computed, repaired.n_ok, repaired.n_errors) == (1, 19, 0)
    predict(pets, model, "native")
    assert outputs(pets, "net") == outputs(pets, "native")
    bad.write_bytes(bad.read_bytes() + b"!")
    with pytest.raises(InferenceError, match="ChangedImage"):
        predict(pets, model, "strict", storage="parts", strict=True)
    assert errors(pets, "strict") == []


def test_an_image_that_changes_and_changes_back(pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path) -> None:
    predict(pets, model, "net", storage="parts")
    before = outputs(pets, "net")
    victim = sorted((tmp_path / "pets" / "dog").iterdir())[2]
    other, first = sorted((tmp_path / "pets" / "dog").iterdir())[3].read_bytes() + b"\0", victim.read_bytes()
    for content in (other, first, other, first):
        victim.write_bytes(content)
        sqlanalysis.add_images(pets, tmp_path / "pets", dataset="pets")
        predict(pets, model, "net")
        predict(pets, model, "native", overwrite=True)
        assert outputs(pets, "net") == outputs(pets, "native")
    assert [row for row in outputs(pets, "net") if row[1] != errors(pets, "net")] != []
    assert [row[0] for row in before] == [row[0] for row in outputs(pets, "net") if row[0] in {r[0] for r in before}]
    assert verify(pets).tables == [row for row in verify(pets).tables if "part" not in row[0]]


def test_localize(pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path) -> None:
    predict(pets, model, "net", storage="parts")
    sqlanalysis.cluster(pets, "net", 3)
    before = outputs(pets, "net")
    clusters = pets.sql("select image_id, cluster from net order by 1").fetchall()
    assert {cluster for _, cluster in clusters} == {0, 1, 2}
    with pytest.raises(SchemaError, match="localize"):
        add_column(pets, "net", "mine", {1: 2})
    with pytest.raises(SchemaError, match="localize"):
        predict(pets, model, "net", storage="table")
    done = localize(pets, "net")
    assert (done.n_ok, done.n_parts > 2) == (18, True)
    assert outputs(pets, "net") == before
    assert pets.sql("select image_id, cluster from net order by 1").fetchall() == clusters
    assert pets.sql("select storage from runs").fetchall() == [("table",)]
    assert not (tmp_path / "pets.duckdb.parts").exists()
    assert add_column(pets, "net", "mine", {1: 2}).n_filled == 1
    assert localize(pets, "net").n_parts == 0
    assert predict(pets, model, "net").n_computed == 0
    with pytest.raises(SchemaError, match="exists with storage='table'"):
        predict(pets, model, "net", storage="parts")


def test_drop_overwrite_and_dependents(pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path) -> None:
    predict(pets, model, "net", storage="parts")
    predict(pets, model, "two", storage="parts", dtype="bf16")
    sqlanalysis.ensemble(pets, ["net", "two"], "pair")
    assert pets.sql("select count(*) from pair").fetchall() == [(18,)]
    first = set(part_files(tmp_path))
    with pytest.raises(SchemaError, match="member"):
        drop_run(pets, "net")
    drop_run(pets, "pair")
    predict(pets, model, "net", storage="parts", overwrite=True)
    assert len(outputs(pets, "net")) == 18
    assert len(first & set(part_files(tmp_path))) == len(first) // 2  # those of the other run
    drop_run(pets, "net")
    drop_run(pets, "two")
    assert not (tmp_path / "pets.duckdb.parts").exists()
    assert pets.sql("from parts").fetchall() == []


def test_a_scratch_folder_elsewhere_is_not_deleted(
    pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path
) -> None:
    predict(pets, model, "net", storage="parts", scratch=tmp_path / "elsewhere")
    predict(pets, model, "native")
    assert outputs(pets, "net") == outputs(pets, "native")
    kept = sorted((tmp_path / "elsewhere").rglob("*.parquet"))
    assert kept
    pets.close()
    with connect(tmp_path / "pets.duckdb", safe=True) as con, pytest.raises(duckdb.PermissionException):
        con.sql("from outputs.net").fetchall()
    with connect(tmp_path / "pets.duckdb") as con:
        drop_run(con, "net")
    assert sorted((tmp_path / "elsewhere").rglob("*.parquet")) == kept


def test_a_file_that_is_moved_with_its_parts(
    pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path, shell: str
) -> None:
    predict(pets, model, "net", storage="parts")
    before = outputs(pets, "net")
    copied = copy_database(pets, tmp_path / "copy.duckdb").path
    pets.close()
    shutil.rmtree(tmp_path / "pets.duckdb.parts")
    assert len(ask(shell, copied, "from net")) == 18  # the copy has its own
    place = tmp_path / "away"
    place.mkdir()
    copied.rename(place / "b.duckdb")
    (tmp_path / "copy.duckdb.parts").rename(place / "b.duckdb.parts")
    with connect(place / "b.duckdb", read_only=True, safe=True) as con:
        assert con.sql(f"select {COLUMNS} from net order by image_id").fetchall() == before
        assert not [row for row in verify(con).tables if "part" in row[0]]
    with pytest.raises(subprocess.CalledProcessError) as refused:  # a plain shell cannot know that it was moved
        ask(shell, place / "b.duckdb", "from net")
    assert "copy.duckdb.parts" in refused.value.stderr
    with connect(place / "b.duckdb") as con:
        assert outputs(con, "net") == before
    assert len(ask(shell, place / "b.duckdb", "from net")) == 18


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_a_part_that_is_not_what_was_committed(
    pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    predict(pets, model, "net", storage="parts")
    predict(pets, model, "native")
    broken = next(path for path in part_files(tmp_path) if path.name.startswith("part-"))
    content = broken.read_bytes()
    if damage == "missing":
        broken.unlink()
    else:
        broken.write_bytes(content[:100] if damage == "truncated" else content[:300] + b"?" + content[301:])
    named = [row for row in verify(pets).tables if row[0].startswith("part of run net")]
    assert [Path(row[1]).name for row in named] == [broken.name]
    with pytest.raises(SchemaError, match=broken.name):
        localize(pets, "net")
    if damage != "changed":  # what changes a value without its size is seen by verify and localize alone
        with pytest.raises(QueryError, match=broken.name):
            metric(pets, "accuracy", "net")
    pets.close()
    with connect(tmp_path / "pets.duckdb") as con:
        assert (broken.name in caplog.text) == (damage != "changed")
        predict(con, model, "third")  # other runs are not held up
        drop_run(con, "third")
        assert len(outputs(con, "native")) == 18
        broken.write_bytes(content)
    with connect(tmp_path / "pets.duckdb") as con:
        assert outputs(con, "net") == outputs(con, "native")
        assert con.sql("select count(*) from predictions where run = 'net'").fetchall() == [(18,)]
        assert not [row for row in verify(con).tables if "part" in row[0]]
        broken.unlink()
        drop_run(con, "net")
    assert not (tmp_path / "pets.duckdb.parts").exists()


def cut(con: duckdb.DuckDBPyConnection, model: Model, run: str, scratch: Path, storage: str) -> list[shards.Shard]:
    """The shards of a run that nobody computes yet."""
    done = predict(con, model, run, storage=storage, runner="files", scratch=scratch, show_progress=False)
    paths = sorted(scratch.glob(f"{run}-*/shard-*"), key=lambda path: int(path.name.split("-")[1]))
    made = [shards.Shard(str(path), exchange.part_of(str(path)), pq.read_metadata(path).num_rows) for path in paths]
    assert done.n_shards == len(made)
    return made


def refusals(con: duckdb.DuckDBPyConnection, run: str, part: Path | str) -> str:
    return next(iter(parts.commit(con, run, [str(part)]).values()), "")


def test_parts_that_do_not_belong_are_refused(pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path) -> None:
    made = cut(pets, model, "net", tmp_path / "scratch", "parts")
    assert [shard.n for shard in made] == [7, 7, 4]
    for shard in made:
        work(shard.path, shard.part, trusted=True)
    rows, footer = exchange.parse(exchange.read(made[0].part), made[0].part)
    good = Path(made[0].part).read_bytes()

    def forged(table: pa.Table, told: dict[str, object], name: str = made[0].part) -> str:
        exchange.write(name, table, {**footer, **told})
        reason = refusals(pets, "net", name)
        Path(made[0].part).write_bytes(good)
        return reason

    assert "other work" in forged(rows, {"identity": "0" * 64})
    assert "its footer says otherwise" in forged(rows.slice(1), {})
    assert "its name is not the hash" in forged(rows.slice(1), {"n": 6, "n_ok": 6 - footer["n_errors"]})
    assert "its name is not the hash" in forged(rows, {"attempt": 1})
    assert "out of order" in forged(rows.take([1, 0, 2, 3, 4, 5, 6]), {})
    assert "columns" in forged(rows.drop_columns(["probs"]), {})
    narrow = pa.array([None if v is None else v[:2] for v in rows["probs"].to_pylist()], pa.list_(pa.float32()))
    at = rows.schema.get_field_index("probs")
    assert "not FLOAT[3]" in forged(rows.set_column(at, "probs", narrow), {})
    absent = rows.set_column(at, "probs", pa.nulls(len(rows), pa.list_(pa.float32())))
    assert "both or neither" in forged(absent, {})
    Path(made[0].part).write_bytes(good[:-9])
    assert "damaged" in refusals(pets, "net", made[0].part)
    Path(made[0].part).unlink()
    assert "no file" in refusals(pets, "net", made[0].part)
    Path(made[0].part).write_bytes(good)
    plain = tmp_path / "scratch" / "part-1-0123456789abcdef.parquet"
    pq.write_table(pa.table({"a": [1]}), plain)
    assert "neither a shard nor a part" in refusals(pets, "net", plain)
    assert outputs(pets, "net") == []
    # Each in any order, twice, and by two drivers that cut in other ways: once.
    assert parts.commit(pets, "net", [shard.part for shard in (*made[::-1], made[0])]) == {}
    one, two = shards.Shard(made[1].path, made[1].part, 7), made[2]
    halves = shards.halve(one)
    assert [half.n for half in halves] == [3, 4]
    for half in halves:
        work(half.path, half.part, trusted=True)
    assert parts.commit(pets, "net", [half.part for half in halves]) == {}
    assert two.part
    predict(pets, model, "native")
    assert predict(pets, model, "net", scratch=tmp_path / "scratch").n_computed == 0
    assert outputs(pets, "net") == outputs(pets, "native")
    assert errors(pets, "net") == errors(pets, "native")


def test_parts_of_an_older_run_of_that_name(pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path) -> None:
    made = cut(pets, model, "net", tmp_path / "scratch", "parts")
    for shard in made:
        work(shard.path, shard.part, trusted=True)
    again = cut_again(pets, model, tmp_path / "other")
    assert {shard.part for shard in again}.isdisjoint(shard.part for shard in made)
    assert "before it was made anew" in refusals(pets, "net", made[0].part)


def cut_again(con: duckdb.DuckDBPyConnection, model: Model, scratch: Path) -> list[shards.Shard]:
    drop_run(con, "net")
    return cut(con, model, "net", scratch, "parts")


def test_given_up_shards_are_errors_of_stage_worker(
    pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path
) -> None:
    made = cut(pets, model, "net", tmp_path / "scratch", "parts")
    shards.give_up(made[0], "signal 9 ended it")
    assert parts.commit(pets, "net", [made[0].part]) == {}
    assert {row[3:] for row in errors(pets, "net")} == {("worker", "WorkerLost", "signal 9 ended it")}
    assert len(errors(pets, "net")) == 7
    done = predict(pets, model, "net", scratch=tmp_path / "scratch", retry_errors=True)
    assert (done.n_ok, done.n_errors) == (18, 1)


def test_work_and_commit_on_the_command_line(pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path) -> None:
    predict(pets, model, "native", batch_size=2)
    pets.close()
    file, scratch, code = tmp_path / "pets.duckdb", tmp_path / "scratch", f"{code_of(tmp_path)}:make"
    how = ("--layer", "0", "--storage", "parts", "--batch-size", "2", "--runner", "files", "--workers", "1")
    told = cli("predict", file, code, "--run", "net", *how, "--scratch", scratch).stderr
    assert "net: 19 images = 0 ok + 0 errors + 19 pending, shards left: 3" in told
    assert f"sqlanalysis commit {file} {scratch}" in told
    made = sorted(scratch.rglob("shard-*"), key=lambda path: int(path.name.split("-")[1]))
    written = [Path(exchange.part_of(str(path))) for path in made]
    cli("work", "--trust-code", made[0], cwd=Path("/"))
    work(str(made[1]), str(written[1]), trusted=True)
    written[2].write_bytes(b"nothing")
    told = cli("commit", file, scratch, code=1).stderr
    assert "parts: 2 committed now, 0 before, 1 refused" in told
    assert f"{written[2].name} is damaged" in told
    assert "pending, shards left: 1" in told
    written[2].unlink()
    work(str(made[2]), str(written[2]), trusted=True)
    told = cli("commit", file, scratch).stderr
    assert "parts: 1 committed now, 1 before, 0 refused" in told  # the one with an error was written again
    assert "net: 19 images = 18 ok + 1 errors; finished" in told  # one is answered by its copy
    with connect(file) as con:
        assert outputs(con, "net") == outputs(con, "native")
        assert con.sql("select distinct status from runs").fetchall() == [("finished",)]
    cli("localize", file, "net")
    with connect(file) as con:
        assert outputs(con, "net") == outputs(con, "native")


def test_a_worker_refuses_another_model(pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path) -> None:
    made = cut(pets, model, "net", tmp_path / "scratch", "parts")
    code = code_of(tmp_path).read_text()
    code_of(tmp_path).write_text(code.replace("seed=3", "seed=4"))
    with pytest.raises(InferenceError, match=f"other weights: weights_sha256 {model.weights_sha256}"):
        work(made[0].path, made[0].part, trusted=True)
    code_of(tmp_path).write_text(code.replace("[32, 32]", "[32, 33]"))
    with pytest.raises(InferenceError, match="another transform"):
        work(made[0].path, made[0].part, trusted=True)
    assert not Path(made[0].part).exists()


def test_a_model_made_in_python_stays_here(
    pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = sqlanalysis.load_model(model.module, transform=model.transform, layer="0", name="own", classes=model.classes)
    assert own.source is None
    predict(pets, own, "native")
    predict(pets, own, "net", storage="parts")
    assert outputs(pets, "net") == outputs(pets, "native")
    for runner in ("processes", "ray", "files"):
        with pytest.raises(ArgumentError, match="no worker can load it"):
            predict(pets, own, "other", runner=runner, scratch=tmp_path / "scratch")
    with monkeypatch.context() as patch:  # a shard that should not be
        patch.setattr("sqlanalysis.runs.runners.chosen.check_loadable", lambda _model: None)
        made = cut(pets, own, "other", tmp_path / "scratch", "parts")
    with pytest.raises(ArgumentError, match="made in Python"):
        work(made[0].path, made[0].part, trusted=True)


KILLED = """
import os, sys
import sqlanalysis as sq
import torch
from sqlanalysis.core import faults
from sqlanalysis.models.engine import Engine
from sqlanalysis.runs import predict, shards
shards.SHARD_IMAGES = 7
torch.set_num_threads(1)  # this process has no other thread, so a child may go on with all that is loaded here
model = sq.load_model(sys.argv[1], layer="0", name="net")
Engine(model).close()
for given in sys.argv[2:]:
    file, name, number = given.split("=")
    child = os.fork()
    if not child:
        faults._name, faults._number = name, number
        predict.predict(sq.connect(file), model, "net", storage="parts", show_progress=False)
        os._exit(0)
    print(file, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_process_that_is_killed_loses_and_doubles_nothing(
    pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path
) -> None:
    points = [("write", 2), ("rename", 2), ("insert", 3), ("commit", 3), ("committed", 4), ("commit", 6)]
    predict(pets, model, "native")
    expected = outputs(pets, "native"), errors(pets, "native")
    pets.close()
    files = [tmp_path / f"{name}{number}.duckdb" for name, number in points]
    for file in files:
        shutil.copy(tmp_path / "pets.duckdb", file)
    given = [f"{file}={name}={number}" for file, (name, number) in zip(files, points, strict=True)]
    command = [sys.executable, "-c", KILLED, f"{code_of(tmp_path)}:make", *given]
    environment = {**os.environ, "SQLANALYSIS_FAULT": "none:0:kill"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"{file} -9" for file in files], done.stderr
    for file in files:
        with connect(file) as con:
            predict(con, model, "net", storage="parts")
            assert (outputs(con, "net"), errors(con, "net")) == expected
            n = con.sql("select count(*) from parts").fetchall()[0][0]
            assert len(sorted(Path(f"{file}.parts").rglob("*.parquet"))) <= n
            assert not [row for row in verify(con).tables if "part" in row[0]]


def test_verify_names_the_parts_that_it_does_not_read(
    pets: duckdb.DuckDBPyConnection, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    predict(pets, model, "net", storage="parts")
    assert not [record for record in caplog.records if "not compared" in record.getMessage()]
    pets.sql("update parts set uri = 's3://bucket/' || part where first_id > 1 and part like 'part-%'")
    far = [row[0] for row in pets.sql("select uri from parts where uri like 's3:%' order by first_id").fetchall()]
    verify(pets)
    said = [record.getMessage() for record in caplog.records if "not compared" in record.getMessage()]
    assert len(far) == 2
    assert said == [f"2 parts of run 'net' are at addresses and were not compared: {', '.join(far)}"]


def test_storage_is_checked(pets: duckdb.DuckDBPyConnection, model: Model) -> None:
    with pytest.raises(ArgumentError, match="storage is 'table' or 'parts'"):
        predict(pets, model, "net", storage="parquet")
    with pytest.raises(ArgumentError, match="reads parts from folders"):
        predict(pets, model, "net", storage="parts", scratch="s3://bucket/parts")
    with connect() as con:
        sqlanalysis.add_images(con, [(np.zeros((4, 4, 3), np.uint8), 0)], dataset="x", classes=["cat", "dog", "owl"])
        with pytest.raises(ArgumentError, match="scratch"):
            predict(con, model, "net", storage="parts")


def test_parts_that_are_written_again_keep_their_own_name(
    model: Model, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_IMAGES", 7)
    place = tmp_path / "my-live-data"
    place.mkdir()
    with file_of_pets(place, photos) as con:
        predict(con, model, "first", storage="parts")
        before = outputs(con, "first")
        predict(con, model, "second", storage="parts", dtype="bf16")  # the same images fail
        assert outputs(con, "first") == before != outputs(con, "second")
        uris = [row[0] for row in con.sql("select uri from parts where uri like '%-live-%'").fetchall()]
        assert len(uris) == len(set(uris)) == 2
        assert not [row for row in verify(con).tables if "part" in row[0]]
        assert sorted(tmp_path.glob("*.parquet")) == []
        rows, footer = exchange.parse(exchange.read(made := str(place / "pets.duckdb.parts" / uris[0])), made)
        kept = parts._write_again(con, made, rows, footer)
        copied = place / "pets.duckdb.parts" / kept[0]
        copied.write_bytes(b"another")
        with pytest.raises(SchemaError, match="other content"):
            parts._write_again(con, made, rows, footer)
        assert copied.read_bytes() == b"another"


@pytest.mark.parametrize("way", ["dots", "link", "absolute", "absolute dots"])
def test_a_file_from_others_names_no_file_to_delete(
    pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    for run in ("net", "two", "three"):
        predict(pets, model, run, storage="parts")
    own, precious = tmp_path / "pets.duckdb.parts", tmp_path / "precious.txt"
    precious.write_text("precious")
    (own / "link").symlink_to(tmp_path)
    uri = {
        "dots": "../precious.txt",
        "link": "link/precious.txt",
        "absolute": str(precious),
        "absolute dots": f"{own}/../precious.txt",
    }[way]
    pets.execute("""
        insert into parts (run, part, uri, first_id, last_id, n, n_errors, n_bytes, sha256)
        select run, 'x', $1, min(first_id), max(last_id), 0, 0, 8, $2 from parts group by run
    """, [uri, hashlib.sha256(b"precious").hexdigest()])  # fmt: skip
    pets.close()
    with connect(tmp_path / "pets.duckdb") as con:
        assert ("leads out" in caplog.text) == (way != "absolute")
        drop_run(con, "net")
        assert precious.read_text() == "precious"
        if way != "absolute":
            for refused in (lambda: predict(con, model, "two"), lambda: localize(con, "two")):
                with pytest.raises(SchemaError, match="leads out"):
                    refused()
        predict(con, model, "three", storage="parts", overwrite=True)
        assert len(outputs(con, "three")) == 18
    with connect(tmp_path / "pets.duckdb", safe=True):
        pass
    assert precious.read_text() == "precious"


def test_the_folder_of_parts_may_be_a_link(pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path) -> None:
    disk, own = tmp_path / "disk" / "large", tmp_path / "pets.duckdb.parts"
    disk.mkdir(parents=True)
    own.symlink_to(disk)
    predict(pets, model, "net", storage="parts")
    predict(pets, model, "native")
    assert outputs(pets, "net") == outputs(pets, "native")
    assert not [uri for (uri,) in pets.sql("select uri from parts").fetchall() if Path(uri).is_absolute()]
    assert len(sorted(disk.rglob("*.parquet"))) == len(sorted(own.rglob("*.parquet"))) > 1
    copied = copy_database(pets, tmp_path / "copy.duckdb").path
    pets.close()
    with connect(copied) as con:
        assert outputs(con, "net") == outputs(con, "native")
    with connect(tmp_path / "pets.duckdb", safe=True, read_only=True) as con:
        assert outputs(con, "net") == outputs(con, "native")
    with connect(tmp_path / "pets.duckdb") as con:
        drop_run(con, "net")
    assert own.is_symlink()
    assert sorted(disk.iterdir()) == []


def test_a_copy_writes_over_nothing(pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path) -> None:
    predict(pets, model, "net", storage="parts")
    home = tmp_path / "home"
    home.mkdir()
    taken = home / "copy.duckdb.parts" / pets.sql("select max(uri) from parts").fetchall()[0][0]
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"mine")
    with pytest.raises(QueryError, match="other content"):
        copy_database(pets, home / "copy.duckdb")
    assert [path for path in home.rglob("*") if path.is_file()] == [taken]
    assert taken.read_bytes() == b"mine"
    taken.unlink()
    (tmp_path / "rc").write_text("theirs")
    (home / "rc").write_text("mine")
    pets.execute("""
        insert into parts (run, part, uri, first_id, last_id, n, n_errors, n_bytes, sha256)
        select run, 'x', '../rc', min(first_id), max(last_id), 0, 0, 6, $1 from parts group by run
    """, [hashlib.sha256(b"theirs").hexdigest()])  # fmt: skip
    with pytest.raises(QueryError, match="leads out"):
        copy_database(pets, home / "copy.duckdb")
    assert (home / "rc").read_text() == "mine"
    pets.sql("delete from parts where part = 'x'")
    for overwrite in (False, True):
        copy_database(pets, home / "copy.duckdb", overwrite=overwrite)
    with connect(home / "copy.duckdb", safe=True) as con:
        assert outputs(con, "net") == outputs(pets, "net")


@pytest.mark.parametrize("named", ["confidence=0.5", "image_id=7"])
def test_the_name_of_a_folder_is_no_value(model: Model, tmp_path: Path, photos: Path, named: str) -> None:
    place = tmp_path / named
    place.mkdir()
    with file_of_pets(place, photos) as con:
        predict(con, model, "native")
        predict(con, model, "net", storage="parts")
        assert outputs(con, "net") == outputs(con, "native") != []
        localize(con, "net")
        assert outputs(con, "net") == outputs(con, "native")


def test_a_copy_has_its_own_of_parts_in_a_scratch_folder(
    pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    predict(pets, model, "net", storage="parts", scratch=scratch)
    before = outputs(pets, "net")
    copied = copy_database(pets, tmp_path / "copy.duckdb").path
    shutil.copyfile(tmp_path / "pets.duckdb", tmp_path / "plain.duckdb")  # by hand: both read the same parts
    picture = sorted((tmp_path / "pets" / "dog").iterdir())[0]
    picture.write_bytes(sorted((tmp_path / "pets" / "owl").iterdir())[2].read_bytes())
    sqlanalysis.add_images(pets, tmp_path / "pets", dataset="pets")
    predict(pets, model, "net", scratch=scratch)
    predict(pets, model, "native")
    assert outputs(pets, "net") == outputs(pets, "native") != before
    with connect(tmp_path / "plain.duckdb") as con:
        assert outputs(con, "net") == before
    shutil.rmtree(scratch)
    with connect(copied, safe=True) as con:
        assert outputs(con, "net") == before
        assert not [row for row in verify(con).tables if "part" in row[0]]


def test_whatever_replaces_a_run_deletes_its_parts(
    pets: duckdb.DuckDBPyConnection, model: Model, tmp_path: Path
) -> None:
    predict(pets, model, "net", storage="parts")
    assert part_files(tmp_path)
    predict(pets, model, "net", storage="table", overwrite=True)
    assert not (tmp_path / "pets.duckdb.parts").exists()
    assert len(outputs(pets, "net")) == 18
    predict(pets, model, "mine", storage="parts")
    sqlanalysis.temperature_scale(pets, "net", "mine", temperature=2.0, overwrite=True)
    assert not (tmp_path / "pets.duckdb.parts").exists()


def test_a_refused_call_leaves_no_run(tmp_path: Path, photos: Path) -> None:
    model = saved_model(tmp_path)
    with connect() as con:
        sqlanalysis.add_images(con, photos, dataset="pets")
        predict(con, model, "net")
        before = outputs(con, "net")
        for how in ({"storage": "parts"}, {"runner": "processes", "workers": 1}):
            for name in ("net", "new"):
                with pytest.raises(ArgumentError, match="scratch"):
                    predict(con, model, name, overwrite=True, **how)  # type: ignore[arg-type]
        assert con.sql("select run, status from runs").fetchall() == [("net", "finished")]
        assert outputs(con, "net") == before != []
