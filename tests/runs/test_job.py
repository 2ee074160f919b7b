"""The job of a run: windows of ids, blocks, and the writer that commits them beside the computation."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import sqlanalysis
from sqlanalysis.core import decode
from sqlanalysis.core.arrow import ERROR_TYPE, describe_error
from sqlanalysis.core.interrupts import Interruptible
from sqlanalysis.errors import ImageError, InferenceError, QueryError
from sqlanalysis.runs import job
from sqlanalysis.runs.run import Run, Spec

N = 40


class Brightness(Interruptible):
    """The mean of the pixels as confidence; notes how many rows each call had."""

    output_type = pa.struct(
        [("pred", pa.int32()), ("confidence", pa.float32()), ("sha256", pa.string()), ("error", ERROR_TYPE)]
    )

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}
        self.calls: list[int] = []
        self.before = before

    def __call__(self, column: pa.ChunkedArray) -> pa.Array:
        self.before()
        self.calls.append(len(column))
        return pa.array([self.answer(image) for image in column.to_pylist()], self.output_type)

    def answer(self, image: dict[str, bytes]) -> dict[str, object]:
        data = decode.read(image["bytes"], image["path"])
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            mean = float(np.asarray(decode.decode(data)).mean()) / 255
        except ImageError as error:
            return {"sha256": sha256, "error": describe_error("decode", error)}
        return {"pred": int(mean > 0.5), "confidence": mean, "sha256": sha256}


@pytest.fixture
def con(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """40 images; numbers 3, 13, 23 and 33 have the same bytes, 7, 17, 27 and 37 are damaged in the same way."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(N):
        kind = number % 10 if number % 10 in (3, 7) else number
        data = decode.encode(np.full((4, 4, 3), 5 * kind, np.uint8))
        if kind == 7:  # what says the size is there, the pixels are not
            data = data[:50]
        (folder / f"{number:02}.png").write_bytes(data)
    with sqlanalysis.connect(tmp_path / "e.duckdb") as con:
        sqlanalysis.add_images(con, folder, dataset="made")
        yield con


def perform(con: duckdb.DuckDBPyConnection, run: str, engine: Brightness, **options: object) -> job.Done:
    return job.perform(con, job.Work(Spec(Run(run, "made", "brightness")), **options), engine)  # type: ignore[arg-type]


def rows(con: duckdb.DuckDBPyConnection, run: str) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    answers = con.sql(f"from outputs.{run} order by image_id").fetchall()
    errors = con.sql(f"select image_id, sha256, stage, message from errors where run = '{run}' order by all").fetchall()
    return answers, errors


@pytest.mark.parametrize("window", [1, 7, 40, 1000])
def test_windows_change_nothing(con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    job.select(con, "made", None)
    n_readable = con.sql("select count(*) from images").fetchall()[0][0]
    plain = perform(con, "plain", Brightness())
    monkeypatch.setattr(job, "WINDOW", window)
    monkeypatch.setattr(job, "BLOCK_IMAGES", (5, 5))
    engine = Brightness()
    done = perform(con, "windows", engine)
    assert rows(con, "windows") == rows(con, "plain")
    assert (done.n_images, done.n_ok, done.n_errors) == (plain.n_images, plain.n_ok, plain.n_errors)
    assert done.n_ok + done.n_errors == n_readable
    # Images with the same bytes are computed once, in whatever windows they are.
    assert done.n_computed == plain.n_computed == sum(engine.calls) < n_readable
    assert perform(con, "windows", Brightness()).n_computed == 0
    con.execute("delete from outputs.windows where image_id % 3 = 0")
    assert perform(con, "windows", Brightness()).n_ok == plain.n_ok
    assert rows(con, "windows") == rows(con, "plain")


def test_a_block_is_committed_while_the_next_one_is_computed(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "BLOCK_IMAGES", (8, 8))
    computing, n_begun = threading.Event(), 0
    commit = job.Writer._commit

    def began() -> None:
        nonlocal n_begun
        n_begun += 1
        if n_begun > 1:
            computing.set()

    def held(writer: job.Writer, answers: pa.Table) -> None:
        assert computing.wait(60), "the second block is not computed before the first one is committed"
        commit(writer, answers)

    monkeypatch.setattr(job.Writer, "_commit", held)
    job.select(con, "made", None)
    done = perform(con, "run", Brightness(began))
    assert done.n_ok == len(rows(con, "run")[0])


def test_what_the_writer_raises_ends_the_run_and_committed_blocks_stay(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "BLOCK_IMAGES", (8, 8))
    commit, n = job.Writer._commit, 0

    def fails(writer: job.Writer, answers: pa.Table) -> None:
        nonlocal n
        n += 1
        if n == 3:
            raise QueryError("no space left")
        commit(writer, answers)

    with monkeypatch.context() as patch:
        patch.setattr(job.Writer, "_commit", fails)
        job.select(con, "made", None)
        with pytest.raises(QueryError, match="no space left"):
            perform(con, "run", Brightness())
    status, n_ok, n_errors = con.sql("select status, n_ok, n_errors from runs where run = 'run'").fetchall()[0]
    assert (status, n_ok + n_errors) == ("failed", 16)
    assert perform(con, "run", Brightness()).n_ok == len(rows(con, "run")[0])


def test_strict_computes_nothing_after_an_error(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "BLOCK_IMAGES", (8, 8))
    con.execute("set threads = 1")
    engine = Brightness()
    job.select(con, "made", None)
    with pytest.raises(InferenceError, match="07.png"):
        perform(con, "run", engine, strict=True)
    assert sum(engine.calls) == 8
    con.execute("reset threads")


def test_images_that_come_later_are_not_selected(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    n = job.select(con, "made", "random() >= 0")  # evaluated once
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x.png").write_bytes(decode.encode(np.full((4, 4, 3), 251, np.uint8)))
    sqlanalysis.add_images(con, tmp_path / "more", dataset="made")
    assert job.fetch(con, "count_selected")[0][0] == n
    assert job.select(con, "made", None) == n + 1
    (tmp_path / "more" / "y.png").write_bytes(decode.encode(np.full((4, 4, 3), 252, np.uint8)))
    sqlanalysis.add_images(con, tmp_path / "more", dataset="made")
    assert perform(con, "run", Brightness()).n_images == n + 1


def test_a_call_has_as_many_rows_as_threads_leave(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A selection at random must not come in calls of a few rows, in which no device is busy."""
    monkeypatch.setattr(job, "BLOCK_IMAGES", (64, 64))
    con.execute("set threads = 2")
    engine = Brightness()
    n = job.select(con, "made", "hash(image_id) % 2 = 0")
    n_computed = perform(con, "run", engine).n_computed
    assert n >= n_computed == sum(engine.calls)
    assert len(engine.calls) == 1  # of a block of 64; half of a large one
    monkeypatch.setattr(job, "BLOCK_IMAGES", (8, 64))
    monkeypatch.setattr(job.Pace, "cut", lambda _pace, n_bytes: len(n_bytes))
    engine = Brightness()
    n_computed = perform(con, "again", engine).n_computed
    assert sorted(engine.calls) == [n_computed // 2, n_computed - n_computed // 2]
    con.execute("reset threads")


def test_a_block_has_a_limit_of_stored_bytes() -> None:
    pace = job.Pace(width=100)
    assert pace.cut(np.full(1000, 0)) == job.BLOCK_IMAGES[0]
    pace.learn(64, 0.01)
    assert pace.cut(np.full(100_000, 0)) == job.BLOCK_IMAGES[1]
    assert pace.cut(np.full(100_000, job.BLOCK_BYTES // 4)) == 4
    assert pace.cut(np.array([2 * job.BLOCK_BYTES, 1])) == 1
    wide = job.Pace(width=job.BLOCK_BYTES // 3)
    assert wide.cut(np.full(100, 0)) == 3


def test_copies_of_an_image_that_cannot_be_read_are_tried_at_once(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """One file a pass would be a pass for each of a thousand copies in a folder that is gone."""
    folder = tmp_path / "copies"
    folder.mkdir()
    data = decode.encode(np.full((4, 4, 3), 253, np.uint8))
    for number in range(30):
        (folder / f"{number}.png").write_bytes(data)
    sqlanalysis.add_images(con, folder, dataset="copies")
    for number in range(29):
        (folder / f"{number}.png").unlink()
    engine = Brightness()
    engine.answer = tolerant(engine.answer)  # type: ignore[method-assign]
    job.select(con, "copies", None)
    work = job.Work(Spec(Run("copies", "copies", "brightness")))
    done = job.perform(con, work, engine)
    assert (done.n_images, done.n_ok, done.n_errors) == (30, 1, 29)
    assert len(engine.calls) == 2


def tolerant(
    answer: Callable[[dict[str, bytes]], dict[str, object]],
) -> Callable[[dict[str, bytes]], dict[str, object]]:
    def call(image: dict[str, bytes]) -> dict[str, object]:
        try:
            return answer(image)
        except ImageError as error:
            return {"error": describe_error("read", error)}

    return call
