"""Damage, full disks, other processes, low limits: nothing is read wrongly, nothing reported as done is lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from PIL import Image

import sqlanalysis
from sqlanalysis.db import connection, statements, torn
from sqlanalysis.errors import NotFoundError, QueryError, SchemaError

from . import flips, harness, power
from .harness import Quiet

Record = Callable[[str, str, str], None]
Scale = Callable[[int, int], int]
# Holds a file until its standard input ends.
HOLD = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


@pytest.fixture(scope="module")
def logged(quiet: Quiet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a write-ahead log: a run that was killed."""
    file = quiet.fresh(tmp_path_factory.mktemp("logged") / "work.duckdb")
    assert quiet.run(file, fault="committed:8:kill").code == -9
    assert Path(f"{file}.wal").stat().st_size > 1000
    return file


def damage(logged: Path, kind: str, count: int) -> list[dict[str, object]]:
    script = Path(__file__).with_name("flips.py")
    done = subprocess.run([sys.executable, script, logged, kind, str(count), "0"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kind", ["db", "wal"])
def test_a_flipped_bit_is_never_read_as_data(
    quiet: Quiet, logged: Path, tmp_path: Path, kind: str, scale: Scale, figure: Record
) -> None:
    rows, reference = damage(logged, kind, scale(25, 500)), set(map(str, quiet.outputs))
    file = Path(shutil.copy(logged, tmp_path / "work.duckdb"))
    shutil.copy(f"{logged}.wal", f"{file}.wal")
    whole = flips.state(file)["digest"]
    refused = [row for row in rows if "error" in row]
    opened = [row for row in rows if "error" not in row and row["digest"] != whole]
    # A flip in the head of a log, or in the length of an entry, makes DuckDB take it for another log, or for one that
    # ends there: then the file is whole as of an earlier commit.
    assert all(kind == "wal" and row["agree"] and set(row["outputs"]) <= reference for row in opened), opened
    assert refused
    assert all(row["names_path"] for row in refused), refused
    reached = f"{kind}: {len(rows)} flips, {len(refused)} refused, {len(opened)} as of an earlier commit, 0 wrong"
    figure("P9 damage", "1,000 flips: 0 wrong numbers", reached)


@pytest.mark.parametrize("kind", ["cut-db", "cut-wal"])
def test_a_cut_file_is_refused_or_whole_up_to_a_commit(
    quiet: Quiet, logged: Path, kind: str, scale: Scale, figure: Record
) -> None:
    rows = damage(logged, kind, scale(12, 100))
    reference = set(map(str, quiet.outputs))
    opened = [row for row in rows if "error" not in row]
    for row in opened:
        assert set(row["outputs"]) <= reference
        assert row["agree"]
    reached = f"{kind}: {len(rows)} cuts, {len(rows) - len(opened)} refused, 0 wrong"
    figure("P9 damage", "200 truncations: 0 wrong numbers", reached)


def test_recover_moves_a_damaged_log_aside(quiet: Quiet, logged: Path, tmp_path: Path, figure: Record) -> None:
    file = Path(shutil.copy(logged, tmp_path / "work.duckdb"))
    log = Path(shutil.copy(f"{logged}.wal", f"{file}.wal"))
    damaged = bytearray(log.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    log.write_bytes(damaged)
    with pytest.raises(SchemaError, match="sqlanalysis recover"):
        sqlanalysis.connect(file)
    done = sqlanalysis.recover(file)
    assert done.log is not None
    assert done.log.read_bytes() == damaged
    assert not log.exists()
    with sqlanalysis.connect(file) as con:
        assert done.incomplete == [
            row[0] for row in con.sql("select run from runs where status <> 'finished'").fetchall()
        ]
    harness.finish(quiet, file)
    assert sqlanalysis.recover(file) == sqlanalysis.recover(file)
    assert sqlanalysis.recover(file).log is None
    figure("P9 damage", "recover moves the log aside, deletes nothing", "log kept byte for byte, run resumed equal")


def test_recover_leaves_what_it_cannot_repair(quiet: Quiet, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file"):
        sqlanalysis.recover(tmp_path / "none.duckdb")
    file = quiet.fresh(tmp_path / "work.duckdb")
    data = bytearray(file.read_bytes())
    data[4096 + 100] ^= 1
    data[8192 + 100] ^= 1
    file.write_bytes(data)
    log = Path(f"{file}.wal")
    log.write_bytes(b"not a log")
    with pytest.raises((SchemaError, QueryError), match=str(file)):
        sqlanalysis.recover(file)
    assert file.read_bytes() == data
    assert log.read_bytes() == b"not a log"
    file.write_text("select 1")
    with pytest.raises(SchemaError, match="not a DuckDB file"):
        sqlanalysis.recover(file)


def test_a_full_disk_loses_nothing(quiet: Quiet, tmp_path: Path, scale: Scale, figure: Record) -> None:
    """A limit on the size of files stands for a disk with so much room; at each, the run ends and is resumed later."""
    steps, stopped = scale(3, 100), 0
    for number in range(steps):
        file = quiet.fresh(tmp_path / f"full{number}.duckdb")
        limit = 1000 + number * 15_000 // steps  # the log of a whole run has about 20 kB
        outcome = quiet.run(file, file_size=limit)
        if not outcome.finished:
            stopped += 1
            assert outcome.code == 1, (outcome, limit)
            assert str(file) in outcome.stderr or "could not" in outcome.stderr.lower()
        harness.check(quiet, file, outcome)
        harness.finish(quiet, file)
    assert stopped
    figure("P7 full disk", "100 fill points: exit not 0, opens, resumes equal", f"{stopped} of {stopped} failures")


@pytest.fixture
def disk(quiet: Quiet, tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, where this machine lets one be mounted.

    Its size comes from measurement: a run needs the file it ends with, its log (40 kB), and a few blocks of 256 kB for
    every checkpoint after it; twice the file and 8 MB leave room for all of that several times over.
    """
    folder = tmp_path / "disk"
    folder.mkdir()
    size = 2 * quiet.n_bytes + 8 * 2**20
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path, left: int) -> Path:
    """A file that leaves so many bytes of a file system."""
    ballast = disk / "ballast"
    status = os.statvfs(disk)
    with ballast.open("wb") as stream:
        for _ in range(0, status.f_bavail * status.f_frsize - left, status.f_frsize):
            stream.write(b"0" * status.f_frsize)
    return ballast


def test_a_small_file_system_loses_nothing(quiet: Quiet, disk: Path, scale: Scale, figure: Record) -> None:
    """The same on a real file system that is full but for a few pages, of which the log needs ten."""
    failed, steps = 0, scale(4, 20)
    for number in range(steps):
        file = quiet.fresh(disk / "work.duckdb")
        ballast = fill(disk, left=4096 * (1 + number * 15 // steps))
        outcome = quiet.run(file)
        assert outcome.finished or outcome.code == 1, outcome
        if outcome.code:
            failed += 1
            assert str(file) in outcome.stderr or "No space" in outcome.stderr
        ballast.unlink()
        harness.check(quiet, file, outcome)
        harness.finish(quiet, file)
        for path in (file, Path(f"{file}.wal")):
            path.unlink(missing_ok=True)
    assert failed
    figure(
        "P7 full disk", "freeing space and resuming finishes", f"{steps} of {steps} on a tmpfs, {failed} failed first"
    )


def hold(file: Path) -> subprocess.Popen[str]:
    """Another process that has the file open, until its standard input is closed."""
    command = [sys.executable, "-c", HOLD, str(file)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_another_process_holds_the_file(quiet: Quiet, file: Path, scale: Scale, figure: Record) -> None:
    """The message names path, process and advice, without waiting; with wait the file is tried again first."""
    holder = hold(file)
    try:
        before, times = file.read_bytes(), scale(5, 200)
        slowest = 0.0
        for _ in range(times):
            start = time.monotonic()
            with pytest.raises(QueryError, match=rf"held by process {holder.pid}.*close it there"):
                sqlanalysis.connect(file)
            slowest = max(slowest, time.monotonic() - start)
        assert file.read_bytes() == before
        with pytest.raises(QueryError, match="held by process"):
            sqlanalysis.connect(file, wait=0.5)
    finally:
        holder.communicate()
    asked = "reported without waiting, with path, process, advice: 200 of 200"
    figure("P8 one writer", asked, f"{times} of {times}, slowest {slowest:.2f} s")


def test_wait_is_served_when_the_file_is_free(quiet: Quiet, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = hold(file)
    waits: list[float] = []

    def rest(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            holder.communicate()

    monkeypatch.setattr(connection.time, "sleep", rest)
    with sqlanalysis.connect(file, wait=harness.PATIENCE) as con:
        assert con.sql("select count(*) from images").fetchall() == [(harness.N_IMAGES,)]
    assert len(waits) == 3
    monkeypatch.undo()
    holder = hold(file)
    command = [sys.executable, "-m", "sqlanalysis", "--wait", str(harness.PATIENCE)]
    command += ["metric", str(file), "accuracy", "predictions"]
    waiting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(1)  # by then it may be waiting already; if it is not, it is served at once
    holder.communicate()
    _, stderr = waiting.communicate(timeout=harness.PATIENCE)
    assert waiting.returncode == 0, stderr


def test_two_runs_at_once(quiet: Quiet, file: Path) -> None:
    command = [sys.executable, str(quiet.folder / "child.py"), str(file), "{}"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=harness.PATIENCE) for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes
    assert all(code == 0 or "held by process" in err for code, (_, err) in zip(codes, printed, strict=True))
    assert harness.outputs(file) == quiet.outputs


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
@pytest.mark.parametrize("clock", ["-3d", "+3d", "-1h x60"])
def test_a_clock_that_jumps(quiet: Quiet, file: Path, clock: str) -> None:
    """F24: a killed run is resumed under a clock that went back, ahead or too fast, and then under the right one."""
    assert quiet.run(file, fault="committed:4:kill").code == -9
    outcome = quiet.run(file, fault="committed:4:kill", clock=clock)
    assert outcome.code != 0
    assert outcome.started > 0, outcome.stderr
    assert not outcome.finished
    with sqlanalysis.connect(file) as con:
        assert con.sql("from check_database").fetchall() == []
        before = con.sql("select count(*) from outputs.means").fetchall()[0][0]
    assert 0 < before < harness.N_IMAGES
    harness.finish(quiet, file)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_end_it_without_harm(quiet: Quiet, file: Path, sent: int) -> None:
    command = [sys.executable, str(quiet.folder / "child.py"), str(file), "{}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("done"):
        pass
    os.killpg(process.pid, sent)
    process.communicate(timeout=harness.PATIENCE)
    assert process.returncode != 0 or harness.outputs(file) == quiet.outputs
    harness.finish(quiet, file)


def group_is_empty(group: int) -> bool:
    """Whether no process of the group is left, perhaps after a moment."""
    end = time.monotonic() + harness.PATIENCE
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_an_interrupt_is_clean(tmp_path: Path, scale: Scale, figure: Record) -> None:
    """P12, through the command line: Ctrl-C at any moment of the work, then the same command to the end."""
    images = tmp_path / "images" / "tench"
    images.mkdir(parents=True)
    for number in range(1200):
        Image.new("RGB", (8 + number % 40, 8 + number // 40), (9, 9, 99)).save(images / f"{number}.png")
    added = tmp_path / "added.duckdb"
    with sqlanalysis.connect(added) as con:
        sqlanalysis.add_images(con, tmp_path / "images", show_progress=False)
    chance, slowest, stopped, tries = random.Random(0), 0.0, 0, scale(2, 100)
    command = [sys.executable, "-m", "sqlanalysis", "predict"]
    options = ["squeezenet1_1", "--weights", "random", "--classes", "imagenet1k", "--policy", "open"]
    for number in range(tries):
        file = Path(shutil.copy(added, tmp_path / f"{number}.duckdb"))
        process = subprocess.Popen(
            [*command, file, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        while process.poll() is None and not Path(f"{file}.wal").exists():
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.7))
        start = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=harness.PATIENCE)
        slowest = max(slowest, time.monotonic() - start)
        assert process.returncode in (0, 130), stderr
        assert "Traceback" not in stderr
        stopped += process.returncode == 130
        left = {path.name for path in tmp_path.iterdir()} - {"images", "added.duckdb", "added.duckdb.wal"}
        assert left <= {file.name, f"{file.name}.wal"}, "no temporary file"
        assert group_is_empty(process.pid)
        with sqlanalysis.connect(file) as con:
            assert con.sql("from check_database where problem not like 'finished run%'").fetchall() == []
        for path in (file, Path(f"{file}.wal")):
            path.unlink(missing_ok=True)
    assert stopped
    asked = "Ctrl-C: exit 130 in 1 batch + 2 s, no process or file left"
    figure("P12 interrupt", asked, f"{tries} of {tries} clean, {stopped} interrupted, slowest {slowest:.1f} s")


def test_a_closed_pipe_is_quiet(file: Path) -> None:
    command = f"{sys.executable} -m sqlanalysis query {file} 'from help' --format csv | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("topic,name,")
    assert "Traceback" not in done.stderr


def test_low_limits(quiet: Quiet, tmp_path: Path, file: Path) -> None:
    """Few open files, a home that cannot be written, no locale, a strict umask, no network access."""
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C", "LC_ALL": "C"}
    environment |= {key: value for key, value in os.environ.items() if key == "PYTHONPATH"}
    shell = f"ulimit -n 64; umask 077; cd {home}; exec {sys.executable} {quiet.folder / 'child.py'} {file}"
    done = subprocess.run(shell, shell=True, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert harness.outputs(file) == quiet.outputs
    # As root it can be written; then only the digest of the installation is kept there.
    assert all(kept.name.startswith("catalogue-") for kept in home.rglob("*") if kept.is_file())


def test_fatal_errors_ask_for_a_restart(con: object, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def extract_statements(self, sql: str) -> list[object]:
            return [object()]

        def execute(self, *_: object) -> None:
            raise duckdb.FatalException("FATAL Error: database has been invalidated")

    with pytest.raises(QueryError, match="restart this process"):
        statements.fetch(Broken(), "count_objects")  # type: ignore[arg-type]


def test_a_network_file_system_gives_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"disk / ext4 rw 0 0\nserver:/x {tmp_path}/share nfs4 rw 0 0\n")
    assert connection._network_filesystem(tmp_path / "share" / "a.duckdb", mounts) == "nfs4"
    assert connection._network_filesystem(tmp_path / "b.duckdb", mounts) is None
    assert connection._network_filesystem(tmp_path / "b.duckdb", tmp_path / "none") is None
    monkeypatch.setattr(connection, "_network_filesystem", lambda file: "nfs4")
    with pytest.warns(UserWarning, match="network file system"):
        sqlanalysis.connect(tmp_path / "c.duckdb").close()


def test_recover_repairs_a_torn_block_or_leaves_all_as_it_was(quiet: Quiet, tmp_path: Path) -> None:
    """A block of metadata that a checkpoint has half written, and beside it damage that no checkpoint leaves."""
    file = quiet.fresh(tmp_path / "work.duckdb")
    assert quiet.run(file, fault="committed:8:kill").code == -9
    log = Path(f"{file}.wal")
    with duckdb.connect() as con:  # a checkpoint that stops before its header: its entry ends the log
        con.execute(f"attach '{file}' as work")
        con.execute("use work")
        blocks = "select block_id from pragma_storage_info('images') where block_id >= 0 and column_name = 'sha256'"
        rows = 12288 + 2**18 * con.execute(blocks).fetchall()[0][0]
        con.execute("pragma debug_checkpoint_abort='before_header'")
        with pytest.raises(duckdb.Error, match="aborted"):
            con.execute("checkpoint work")
    assert torn.was_checkpointing(log)
    data = bytearray(file.read_bytes())
    headers = [struct.unpack_from("<4Q", data, at) for at in torn.HEADERS]
    block = max(headers, key=lambda header: header[1])[2] & (2**56 - 1)  # where the catalogue starts
    start = 12288 + block * 2**18
    data[start : start + 8] = b"\0" * 8
    file.write_bytes(data)
    with pytest.raises(SchemaError, match="sqlanalysis recover"):
        sqlanalysis.connect(file)
    data[rows + 100] ^= 1
    file.write_bytes(data)
    names = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(SchemaError, match=r"nothing was changed, restore a copy.*checksum"):
        sqlanalysis.recover(file)
    assert file.read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    data[rows + 100] ^= 1
    file.write_bytes(data)
    done = sqlanalysis.recover(file)
    assert [path.read_bytes() for path in done.blocks] == [bytes(data[start : start + 2**18])]
    assert (done.log, done.incomplete) == (None, ["means"])
    harness.finish(quiet, file)


@pytest.mark.skipif(not power.CAN_TRACE, reason="strace is not installed, or may not trace here")
@pytest.mark.parametrize("how", ["cut", "cut, some written", "kill"])
def test_an_end_at_any_system_call_loses_nothing(
    quiet: Quiet, file: Path, how: str, scale: Scale, figure: Record
) -> None:
    """F4: every system call that writes is recorded, and the files are put together as an end there would leave them."""
    start = {str(file): file.read_bytes()}
    events = power.record(quiet.folder / "child.py", file, json.dumps({"checkpoint": "10KB"}))
    chance, repaired = random.Random(0), len(quiet.repaired)
    assert power.leave(events, len(events), start, "cut", chance)[str(file)] == file.read_bytes(), (
        "nothing was overlooked"
    )
    moments = [at for at, event in enumerate(events) if event.kind != "printed"]
    tried = chance.sample(moments, min(len(moments), scale(8, 500)))
    if how == "kill":  # in place: a block of metadata, which a checkpoint writes again where it is
        written = [at for at in moments if events[at].kind == "write" and len(events[at].data) > 4096]
        offsets = [events[at].offset for at in written]
        in_place = [at for number, at in enumerate(written) if offsets[number] in offsets[:number]]
        # Of the whole record: what the last checkpoint of all writes again may be what is there.
        tried += in_place[:: max(1, len(in_place) // scale(6, 500))]
    for at in tried:
        left = power.leave(events, at, start, how, chance)
        for name, content in left.items():
            if content is None:
                Path(name).unlink(missing_ok=True)
            else:
                Path(name).write_bytes(content)
        printed = b"".join(event.data for event in events[:at] if event.kind == "printed").decode().rpartition("\n")[0]
        done = sum(int(line.split()[1]) for line in printed.splitlines() if line.startswith("done"))
        harness.check(quiet, file, harness.Outcome(-9, False, harness.N_IMAGES, done, ""))
    harness.finish(quiet, file)
    repaired = len(quiet.repaired) - repaired
    assert repaired or how != "kill", "no block was torn"
    asked = f"{how} at a system call: opens, perhaps after recover; all that was reported is there"
    figure("P1 crash", asked, f"{len(tried)} of {len(tried)}, {repaired} after recover")
