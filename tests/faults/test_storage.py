"""Damage, full disks, other processes, low limits: nothing is read wrongly, nothing said to be done is lost."""

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
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from PIL import Image

import sqlanalysis
from sqlanalysis import database, torn
from sqlanalysis.errors import NotFoundError, QueryError, SchemaError

from . import flips, harness, power
from .harness import Quiet

Record = Callable[[str, str, str], None]
Scale = Callable[[int, int], int]
HOLD = "import duckdb, sys, time; con = duckdb.connect(sys.argv[1]); print('held', flush=True); time.sleep(float(sys.argv[2]))"


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
    found, reference = damage(logged, kind, scale(25, 500)), set(map(str, quiet.outputs))
    file = Path(shutil.copy(logged, tmp_path / "work.duckdb"))
    shutil.copy(f"{logged}.wal", f"{file}.wal")
    whole = flips.state(file)["digest"]
    refused = [one for one in found if "error" in one]
    opened = [one for one in found if "error" not in one and one["digest"] != whole]
    # A flip in the head of a log, or in the length of an entry, makes DuckDB take it for another log, or for one that
    # ends there: then the file is whole as of an earlier commit.
    assert all(kind == "wal" and one["agree"] and set(one["outputs"]) <= reference for one in opened), opened
    assert refused
    assert all(one["names_path"] for one in refused), refused
    said = f"{kind}: {len(found)} flips, {len(refused)} refused, {len(opened)} as of an earlier commit, 0 wrong"
    figure("P9 damage", "1,000 flips: 0 wrong numbers", said)


@pytest.mark.parametrize("kind", ["cut-db", "cut-wal"])
def test_a_cut_file_is_refused_or_whole_up_to_a_commit(
    quiet: Quiet, logged: Path, kind: str, scale: Scale, figure: Record
) -> None:
    found = damage(logged, kind, scale(12, 100))
    reference = set(map(str, quiet.outputs))
    opened = [one for one in found if "error" not in one]
    for one in opened:
        assert set(one["outputs"]) <= reference
        assert one["agree"]
    said = f"{kind}: {len(found)} cuts, {len(found) - len(opened)} refused, 0 wrong"
    figure("P9 damage", "200 truncations: 0 wrong numbers", said)


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


def test_recover_leaves_what_it_cannot_mend(quiet: Quiet, tmp_path: Path) -> None:
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
    with pytest.raises(SchemaError, match="no DuckDB file"):
        sqlanalysis.recover(file)


def test_a_full_disk_loses_nothing(quiet: Quiet, tmp_path: Path, scale: Scale, figure: Record) -> None:
    """A limit on the size of files stands for a disk with so much room; at each, the run stops and goes on later."""
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
    figure("P7 full disk", "100 fill points: exit not 0, opens, resumes equal", f"{stopped} of {stopped} stops")


def test_a_small_file_system_loses_nothing(quiet: Quiet, tmp_path: Path, figure: Record) -> None:
    """The same on a real file system of a few megabytes, where this machine lets one be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    megabytes = quiet.added.stat().st_size // 2**20 + 1
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        file = quiet.fresh(disk / "work.duckdb")
        ballast = disk / "ballast"
        with ballast.open("wb") as stream:
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            stream.write(b"0" * max(0, free - 8192))
        outcome = quiet.run(file)
        assert outcome.code == 1
        assert str(file) in outcome.stderr or "No space" in outcome.stderr
        ballast.unlink()
        harness.check(quiet, file, outcome)
        outcome = quiet.run(file)
        if not outcome.finished:  # the disk is small for the whole run, too: more room, then it ends
            subprocess.run(["mount", "-o", f"remount,size={megabytes + 16}m", disk], check=True)
        harness.finish(quiet, file)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
    figure("P7 full disk", "freeing space and resuming finishes", "yes, on a tmpfs")


def test_another_process_holds_the_file(quiet: Quiet, file: Path, scale: Scale, figure: Record) -> None:
    """The message names path, process and advice, at once; with wait it is served when the file is free."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, file, "60"], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before, times = file.read_bytes(), scale(5, 200)
        slowest = 0.0
        for _ in range(times):
            start = time.monotonic()
            with pytest.raises(QueryError, match=rf"held by process {holder.pid}.*close it there"):
                sqlanalysis.connect(file)
            slowest = max(slowest, time.monotonic() - start)
        assert slowest < 5
        assert file.read_bytes() == before
        start = time.monotonic()
        with pytest.raises(QueryError, match="held by process"):
            sqlanalysis.connect(file, wait=0.5)
        assert time.monotonic() - start > 0.4
    finally:
        holder.kill()
        holder.communicate()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, file, "1"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    command = [sys.executable, "-m", "sqlanalysis", "--wait", "30", "metric", str(file), "accuracy", "predictions"]
    waited = subprocess.run(command, capture_output=True, text=True)
    assert waited.returncode == 0, waited.stderr
    holder.communicate()
    figure(
        "P8 one writer", "told in <= 5 s with path, process, advice: 200 of 200", f"{times} of {times}, {slowest:.2f} s"
    )


def test_two_runs_at_once(quiet: Quiet, file: Path) -> None:
    command = [sys.executable, str(quiet.folder / "child.py"), str(file), "{}"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate() for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes
    assert all(code == 0 or "held by process" in err for code, (_, err) in zip(codes, said, strict=True))
    assert harness.outputs(file) == quiet.outputs


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
@pytest.mark.parametrize("clock", ["-3d", "+3d", "-1h x60"])
def test_a_clock_that_jumps(quiet: Quiet, file: Path, clock: str) -> None:
    """F24: a run that is killed goes on under a clock that went back, ahead or too fast, and then under the right one."""
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
def test_signals_stop_without_harm(quiet: Quiet, file: Path, sent: int) -> None:
    command = [sys.executable, str(quiet.folder / "child.py"), str(file), "{}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("done"):
        pass
    start = time.monotonic()
    os.killpg(process.pid, sent)
    process.communicate(timeout=30)
    assert time.monotonic() - start < 5
    assert process.returncode != 0 or harness.outputs(file) == quiet.outputs
    harness.finish(quiet, file)


def test_an_interrupt_is_prompt_and_clean(tmp_path: Path, scale: Scale, figure: Record) -> None:
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
        _, said = process.communicate(timeout=60)
        slowest = max(slowest, time.monotonic() - start)
        assert process.returncode in (0, 130), said
        assert "Traceback" not in said
        stopped += process.returncode == 130
        left = {path.name for path in tmp_path.iterdir()} - {"images", "added.duckdb", "added.duckdb.wal"}
        assert left <= {file.name, f"{file.name}.wal"}, "no temporary file"
        with pytest.raises(ProcessLookupError):  # nobody of its group is left
            os.killpg(process.pid, 0)
        with sqlanalysis.connect(file) as con:
            assert con.sql("from check_database where problem not like 'finished run%'").fetchall() == []
        for path in (file, Path(f"{file}.wal")):
            path.unlink(missing_ok=True)
    assert stopped
    assert slowest < 10
    asked = "Ctrl-C: exit 130 in 1 batch + 2 s, no process or file left"
    figure("P12 interrupt", asked, f"{tries} of {tries} clean, {stopped} stopped, slowest {slowest:.1f} s")


def test_a_closed_pipe_is_quiet(file: Path) -> None:
    command = f"{sys.executable} -m sqlanalysis query {file} 'from help' --format csv | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("name,")
    assert "Traceback" not in done.stderr


def test_low_limits(quiet: Quiet, tmp_path: Path, file: Path) -> None:
    """Few open files, a home that cannot be written, no locale, a strict umask, no network asked for."""
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C", "LC_ALL": "C"}
    environment |= {key: value for key, value in os.environ.items() if key == "PYTHONPATH"}
    shell = f"ulimit -n 64; umask 077; cd {home}; exec {sys.executable} {quiet.folder / 'child.py'} {file}"
    done = subprocess.run(shell, shell=True, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert harness.outputs(file) == quiet.outputs
    assert list(home.iterdir()) == []


def test_fatal_errors_say_restart(con: object, monkeypatch: pytest.MonkeyPatch) -> None:
    import duckdb

    class Broken:
        def extract_statements(self, sql: str) -> list[object]:
            return [object()]

        def execute(self, *_: object) -> None:
            raise duckdb.FatalException("FATAL Error: database has been invalidated")

    with pytest.raises(QueryError, match="start again"):
        database.fetch(Broken(), "statements/count_objects")  # type: ignore[arg-type]


def test_a_network_file_system_gives_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"disk / ext4 rw 0 0\nserver:/x {tmp_path}/share nfs4 rw 0 0\n")
    assert database._network_kind(tmp_path / "share" / "a.duckdb", mounts) == "nfs4"
    assert database._network_kind(tmp_path / "b.duckdb", mounts) is None
    assert database._network_kind(tmp_path / "b.duckdb", tmp_path / "none") is None
    monkeypatch.setattr(database, "_network_kind", lambda file: "nfs4")
    with pytest.warns(UserWarning, match="network file system"):
        sqlanalysis.connect(tmp_path / "c.duckdb").close()


def test_recover_mends_a_torn_block_or_leaves_all_as_it_was(quiet: Quiet, tmp_path: Path) -> None:
    """A block of metadata that a checkpoint had half written, and beside it damage that no checkpoint leaves."""
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
    place = 12288 + block * 2**18
    data[place : place + 8] = b"\0" * 8
    file.write_bytes(data)
    with pytest.raises(SchemaError, match="sqlanalysis recover"):
        sqlanalysis.connect(file)
    data[rows + 100] ^= 1
    file.write_bytes(data)
    names = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(SchemaError, match=r"nothing was changed, go back to a copy.*checksum"):
        sqlanalysis.recover(file)
    assert file.read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    data[rows + 100] ^= 1
    file.write_bytes(data)
    done = sqlanalysis.recover(file)
    assert [path.read_bytes() for path in done.blocks] == [bytes(data[place : place + 2**18])]
    assert (done.log, done.incomplete) == (None, ["means"])
    harness.finish(quiet, file)


@pytest.mark.skipif(not power.CAN_TRACE, reason="strace is not installed, or may not trace here")
@pytest.mark.parametrize("how", ["cut", "cut, some written", "kill"])
def test_a_stop_at_any_system_call_loses_nothing(
    quiet: Quiet, file: Path, how: str, scale: Scale, figure: Record
) -> None:
    """F4: every system call that writes is written down, and the files are put together as a stop would leave them."""
    start = {str(file): file.read_bytes()}
    events = power.record(quiet.folder / "child.py", file, json.dumps({"checkpoint": "10KB"}))
    chance, mended = random.Random(0), len(quiet.mended)
    assert power.stop(events, len(events), start, "cut", chance)[str(file)] == file.read_bytes(), (
        "nothing was overlooked"
    )
    moments = [at for at, event in enumerate(events) if event.kind != "said"]
    tried = chance.sample(moments, min(len(moments), scale(8, 500)))
    if how == "kill":  # in place: a block of metadata, which a checkpoint writes again where it is
        written = [at for at in moments if events[at].kind == "write" and len(events[at].data) > 4096]
        places = [events[at].offset for at in written]
        in_place = [at for number, at in enumerate(written) if places[number] in places[:number]]
        tried += in_place[-scale(6, 500) :]
    for at in tried:
        left = power.stop(events, at, start, how, chance)
        for name, content in left.items():
            if content is None:
                Path(name).unlink(missing_ok=True)
            else:
                Path(name).write_bytes(content)
        said = b"".join(event.data for event in events[:at] if event.kind == "said").decode().rpartition("\n")[0]
        done = sum(int(line.split()[1]) for line in said.splitlines() if line.startswith("done"))
        harness.check(quiet, file, harness.Outcome(-9, False, harness.N_IMAGES, done, ""))
    harness.finish(quiet, file)
    mended = len(quiet.mended) - mended
    assert mended or how != "kill", "no block was torn"
    asked = f"{how} at a system call: opens, perhaps after recover; all that was said is there"
    figure("P1 crash", asked, f"{len(tried)} of {len(tried)}, {mended} after recover")
