"""Threads and processes beside a run: queries, other runs, interrupts, event loops, forks, and a file that goes away."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from torch import nn
from torchvision.transforms import v2

import sqlanalysis
from sqlanalysis.errors import NotFoundError, QueryError
from sqlanalysis.runs import job

from . import harness

Record = Callable[[str, str, str], None]
Scale = Callable[[int, int], int]
N = 120
tensor = v2.Compose([v2.Resize((8, 8)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


class Gate:
    """Holds the decoder at one of the pictures until it may go on, so that the rest of a test lies within a run."""

    def __init__(self, load: Callable[[Any], Any]) -> None:
        self.load, self.left = load, 10**9
        self.reached, self.open = threading.Event(), threading.Event()

    def hold(self, after: int) -> None:
        self.left = after
        self.reached.clear()
        self.open.clear()

    def __call__(self, picture: PngImagePlugin.PngImageFile) -> Any:
        self.left -= 1
        if self.left < 0:
            self.reached.set()
            assert self.open.wait(harness.PATIENCE)
        return self.load(picture)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Lets everything through until it is told to hold."""
    made = Gate(PngImagePlugin.PngImageFile.load)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda picture: made(picture))
    yield made
    made.open.set()


def predict(con: duckdb.DuckDBPyConnection, run: str, **options: Any) -> Any:
    torch.manual_seed(0)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    model = sqlanalysis.load_model(net, transform=tensor, classes=["0", "1"])
    return sqlanalysis.predict(con, model, run=run, show_progress=False, **options)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(N):
        (folder / str(number % 2)).mkdir(exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / str(number % 2) / f"{number}.png")
    return folder


@pytest.fixture
def file(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that knows the pictures; runs commit in small blocks."""
    monkeypatch.setattr(job, "BLOCK_IMAGES", (8, 8))
    path = tmp_path / "work.duckdb"
    with sqlanalysis.connect(path) as con:
        sqlanalysis.add_images(con, pictures, dataset="made", show_progress=False)
    return path


class Working:
    """A run in another thread, held at an image until the block ends; what it raised is in `error`."""

    def __init__(self, gate: Gate, con: duckdb.DuckDBPyConnection, *, after: int = 60) -> None:
        self.gate, self.error = gate, None
        self.done: Any = None
        gate.hold(after)

        def work() -> None:
            try:
                self.done = predict(con, "held")
            except BaseException as error:
                self.error = error
                self.gate.reached.set()

        self.thread = threading.Thread(target=work)

    def __enter__(self) -> Working:
        self.thread.start()
        assert self.gate.reached.wait(harness.PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> None:
        self.gate.open.set()
        self.thread.join(harness.PATIENCE)
        assert not self.thread.is_alive()


def answers(con: duckdb.DuckDBPyConnection, run: str) -> list[tuple[Any, ...]]:
    return con.sql(f"select image_id, pred, probs from outputs.{run} order by image_id").fetchall()


@pytest.mark.parametrize("way", ["connect", "cursor"])
def test_queries_of_other_threads(gate: Gate, file: Path, way: str, scale: Scale, figure: Record) -> None:
    n, failed, counts = scale(60, 504), [], []  # of each way
    with sqlanalysis.connect(file) as con:

        def ask(number: int) -> None:
            try:
                own = sqlanalysis.connect(file) if way == "connect" else con.cursor()
                for _ in range(number):
                    counts.append(own.sql("select count(*) from predictions").fetchall()[0][0])
                    if len(counts) % 5 == 0:
                        sqlanalysis.metric(own, "accuracy", "predictions").fetchall()
            except BaseException as error:
                failed.append(repr(error))

        with Working(gate, con) as working:
            asking = [threading.Thread(target=ask, args=(n // 6,)) for _ in range(3)]
            for thread in asking:
                thread.start()
            for thread in asking:
                thread.join()
            held = len(counts)
            later = [threading.Thread(target=ask, args=(n // 6,)) for _ in range(3)]
            working.gate.open.set()  # the run goes on, and commits, while these ask
            for thread in later:
                thread.start()
            for thread in later:
                thread.join()
        assert failed == []
        assert working.error is None
        assert (working.done.n_ok, working.done.n_errors) == (N, 0)
        assert 0 < counts[0] < N, "the queries saw a run at work"
        assert held == n // 2
        assert len(counts) == n
        predict(con, "alone")
        assert answers(con, "held") == answers(con, "alone")
    figure("P30 threads", f"1,000 queries beside predict ({way}): 0 failures", f"{len(failed)} of {len(counts)}")


def test_the_same_connection_in_another_thread(gate: Gate, file: Path) -> None:
    """A progress cell that uses the very connection: it works, and the run is not disturbed."""
    with sqlanalysis.connect(file) as con:
        with Working(gate, con) as working:
            seen = con.sql("select count(*) from predictions").fetchall()[0][0]
            assert 0 < seen < N
            assert con.sql("select status from runs").fetchall() == [("running",)]
            con.execute("create table note as select 1 as i")
        assert working.error is None
        assert con.sql("select count(*) from predictions").fetchall() == [(N,)]
        assert con.sql("from note").fetchall() == [(1,)]


def test_a_second_run_beside_is_refused(gate: Gate, file: Path, figure: Record) -> None:
    with sqlanalysis.connect(file) as con:
        with Working(gate, con) as working:
            for run in ("held", "other"):
                for own in (con, con.cursor(), sqlanalysis.connect(file)):
                    with pytest.raises(QueryError, match="predict works on .*work.duckdb in another thread"):
                        predict(own, run)
            with pytest.raises(QueryError, match="predict works on"):
                sqlanalysis.map_batches(con, lambda ids: {"x": ids}, "mapped", "image_id", show_progress=False)
        assert working.error is None
        for run in ("held", "other"):
            assert predict(con, run).n_ok == N
        assert answers(con, "held") == answers(con, "other")
        assert con.sql("select run, n_ok from runs order by run").fetchall() == [("held", N), ("other", N)]
    figure("P30 threads", "a second predict beside: refused with the reason, result as one", "7 of 7 refused, equal")


def test_writers_beside_a_run(
    gate: Gate, file: Path, monkeypatch: pytest.MonkeyPatch, scale: Scale, figure: Record
) -> None:
    """Verbs that write, too, in other threads: neither they nor the run fail, and the run is whole."""
    monkeypatch.setattr(job, "BLOCK_IMAGES", (scale(10, 2), scale(10, 2)))
    failed, n_written = [], []
    with sqlanalysis.connect(file) as con:
        rows = con.sql("select uri as path, label as pred, 0.5 as confidence from images").to_arrow_table()

        def write(working: Working, name: str) -> None:
            try:
                own = sqlanalysis.connect(file)
                while working.thread.is_alive():
                    n_written.append(name)
                    sqlanalysis.add_predictions(own, rows, name)
                    sqlanalysis.drop_run(own, name)
            except BaseException as error:
                failed.append(repr(error))

        with Working(gate, con, after=20) as working:
            writers = [threading.Thread(target=write, args=(working, f"given{number}")) for number in range(2)]
            for writer in writers:
                writer.start()
        for writer in writers:
            writer.join()
        assert failed == []
        assert working.error is None
        assert len(n_written) >= 2
        assert con.sql("select run, n_ok from runs").fetchall() == [("held", N)]
        assert con.sql("from check_database").fetchall() == []
    figure("P30 threads", "verbs that write beside predict: 0 failures", f"{2 * len(n_written)} calls, 0 failures")


def test_threads_that_open_a_file_at_once(file: Path, scale: Scale) -> None:
    for _ in range(scale(3, 50)):
        ready, failed, opened = threading.Barrier(8), [], []

        def opening(ready: threading.Barrier = ready, failed: Any = failed, opened: Any = opened) -> None:
            ready.wait()
            try:
                opened.append(sqlanalysis.connect(file))
                assert opened[-1].sql("select count(*) from images").fetchall() == [(N,)]
            except BaseException as error:
                failed.append(repr(error))

        threads = [threading.Thread(target=opening) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        for con in opened:
            con.close()


def test_a_condition_on_a_temporary_table(file: Path) -> None:
    with sqlanalysis.connect(file) as con:
        con.execute("create temp table wanted as select image_id from images where image_id <= 9")
        done = predict(con, "few", where="image_id in (select wanted.image_id from wanted)")
        assert done.n_ok == 9
        con.begin()
        with pytest.raises(QueryError, match="a transaction is open"):
            predict(con, "more")
        con.rollback()


# Interrupts


def interrupt_at(gate: Gate) -> threading.Thread:
    """Send SIGINT to this process once the run is at an image, as the kernel of a notebook does."""

    def send() -> None:
        assert gate.reached.wait(harness.PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        gate.open.set()

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_an_interrupt_in_the_main_thread(gate: Gate, file: Path, figure: Record) -> None:
    with sqlanalysis.connect(file) as con:
        gate.hold(40)
        before = signal.getsignal(signal.SIGINT)
        sender = interrupt_at(gate)
        with pytest.raises(KeyboardInterrupt):
            predict(con, "r")
        sender.join()
        assert signal.getsignal(signal.SIGINT) is before
        n_ok, status = con.sql("select n_ok, status from runs").fetchall()[0]
        assert 0 < n_ok < N
        assert status == "interrupted"
        done = predict(con, "r")
        assert (done.n_ok, done.n_computed) == (N, N - n_ok)
    figure("P30 threads", "interrupt of a notebook: KeyboardInterrupt, the same cell resumes", f"{n_ok} + {N - n_ok}")


def test_an_interrupt_while_another_thread_works(gate: Gate, file: Path) -> None:
    """The cell that waits is interrupted; the run goes on to its end."""
    # As a notebook has it; a shell starts jobs in the background without.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    with sqlanalysis.connect(file) as con:
        with Working(gate, con) as working:
            sender = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
            sender.start()
            with pytest.raises(KeyboardInterrupt):  # not in join: an interrupted join takes the thread for ended
                threading.Event().wait(harness.PATIENCE)
            assert working.thread.is_alive()
        assert working.error is None
        assert con.sql("select n_ok, status from runs").fetchall() == [(N, "finished")]
    signal.signal(signal.SIGINT, usual)


def test_an_event_loop(gate: Gate, file: Path) -> None:
    async def work(con: duckdb.DuckDBPyConnection) -> list[int]:
        counts = []
        gate.hold(40)
        running = asyncio.create_task(asyncio.to_thread(predict, con, "r"))
        await asyncio.to_thread(gate.reached.wait)
        while len(counts) < 20:
            n = con.cursor().sql("select count(*) from predictions").fetchall()[0][0]
            counts += [n] if n else []  # the first block is committed while others are computed
            await asyncio.sleep(0.01)
        gate.open.set()
        assert (await running).n_ok == N
        return counts

    with sqlanalysis.connect(file) as con:
        counts = asyncio.run(work(con))
        assert counts == sorted(counts)  # what was computed before is committed meanwhile
        assert 0 < counts[0] <= counts[-1] < N


# Files that go away


@pytest.mark.parametrize("what", ["deleted", "replaced"])
def test_a_file_that_goes_away_ends_the_run(gate: Gate, file: Path, what: str, figure: Record) -> None:
    con = sqlanalysis.connect(file)
    with Working(gate, con) as working:
        if what == "deleted":
            file.unlink()
        else:
            other = file.with_name("other.duckdb")
            duckdb.connect(str(other)).close()
            other.replace(file)
        before = file.read_bytes() if file.exists() else None
    assert isinstance(working.error, QueryError)
    assert f"work.duckdb was {what}" in str(working.error)
    con.close()
    assert (file.read_bytes() if file.exists() else None) == before
    figure("P30 threads", "a file that goes away while a run works ends it with the reason", what)


# Processes

FORK = """
import multiprocessing, os, sys
import sqlanalysis, duckdb
con = sqlanalysis.connect(sys.argv[1])
con.execute("create table notes as select range as i from range(50000)")
own = con.cursor()
def child():
    if sys.argv[2] == "reads":
        assert con.sql("select count(*) from notes").fetchall() == [(50000,)]
    if sys.argv[2] == "writes":
        for one in (con, own):
            try:
                one.execute("insert into notes select range from range(7)")
            except duckdb.Error as error:
                print("refused", str(error)[-20:])
    if sys.argv[2] == "connects":
        try:
            sqlanalysis.connect(sys.argv[1])
        except sqlanalysis.QueryError as error:
            print("refused", str(error)[-150:])
if sys.argv[3] == "process":
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    print("code", process.exitcode)
else:
    number = os.fork()
    if not number:
        child()
        sys.exit(0)
    print("code", os.waitpid(number, 0)[1])
con.execute("insert into notes select range from range(11)")
assert con.sql("select count(*) from notes").fetchall() == [(50011,)]
assert own.sql("select count(*) from notes").fetchall() == [(50011,)]
con.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("way", ["process", "fork"])
@pytest.mark.parametrize("kind", ["idle", "reads", "writes", "connects"])
def test_a_forked_child_harms_nothing(file: Path, kind: str, way: str, figure: Record) -> None:
    command = [sys.executable, "-c", FORK, str(file), kind, way]
    done = subprocess.run(command, capture_output=True, text=True, timeout=harness.PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "code 0" in done.stdout, (done.stdout, done.stderr)
    assert done.stdout.count("refused") == {"writes": 2, "connects": 1}.get(kind, 0), done.stdout
    if kind == "connects":
        assert "this one was forked from" in done.stdout
    with sqlanalysis.connect(file) as con:
        assert con.sql("select count(*) from notes").fetchall() == [(50011,)]
        assert con.sql("from check_database").fetchall() == []
        with pytest.raises(NotFoundError):
            sqlanalysis.drop_run(con, "none")
    figure("P30 threads", "fork: the child may exit, its parent's file is whole", f"{kind}, by {way}")


def test_a_fork_while_a_run_works(gate: Gate, file: Path) -> None:
    """As a data loader with workers does it: the child exits, the run ends as without."""
    with sqlanalysis.connect(file) as con:
        with Working(gate, con) as working:
            number = os.fork()
            if not number:
                os._exit(0)
            assert os.waitpid(number, 0)[1] == 0
        assert working.error is None
        assert con.sql("select n_ok, status from runs").fetchall() == [(N, "finished")]
