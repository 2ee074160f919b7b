"""`copy`: whole copies of a file while another process writes to it, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

import sqlanalysis
from sqlanalysis.db import copying
from sqlanalysis.errors import ArgumentError, NotFoundError, QueryError, SchemaError

from . import harness
from .harness import Quiet

Record = Callable[[str, str, str], None]
Scale = Callable[[int, int], int]
# A run in small blocks, slow enough to be copied many times, with a checkpoint every few blocks.
WRITER = (
    harness.ENGINE
    + """
import time
job.BLOCK_SECONDS, job.BLOCK_IMAGES = 0.02, (4, 8)
class Slow(Means):
    def answer(self, image):
        time.sleep(float(sys.argv[2]))
        return super().answer(image)
commit_block = job.Writer._commit
def committed(writer, answers):
    commit_block(writer, answers)
    print("done", len(answers), flush=True)
job.Writer._commit = committed
with sqlanalysis.connect(sys.argv[1]) as con:
    con.execute("pragma wal_autocheckpoint='40KB'")
    print("ready", flush=True)
    job.select(con, "made", None)
    done = job.perform(con, work("made"), Slow())
    print("finished", done.n_ok, flush=True)
"""
)


def test_copies_beside_a_run(quiet: Quiet, tmp_path: Path, scale: Scale, figure: Record) -> None:
    """Each opens, is whole, holds what was acknowledged before it began, and a later one never less."""
    file, script = quiet.fresh(tmp_path / "work.duckdb"), tmp_path / "writer.py"
    script.write_text(WRITER)
    n_copies, pause = scale(8, 50), scale(2, 20) / 100
    command = [sys.executable, str(script), str(file), str(pause)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    committed = 0

    def count() -> None:
        nonlocal committed
        assert writer.stdout is not None
        for line in writer.stdout:
            committed += int(line.split()[1]) if line.startswith("done") else 0

    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    thread = threading.Thread(target=count)
    thread.start()
    seen, beside = [0], 0
    try:
        with pytest.raises(
            QueryError, match=rf"`sqlanalysis copy {file} TO` makes a whole one, also of what is in {file}"
        ):
            sqlanalysis.connect(file, read_only=True)
        for number in range(n_copies):
            acknowledged, beside = committed, beside + (writer.poll() is None)
            done = copying.copy_file(file, tmp_path / f"copy{number}.duckdb")
            assert not Path(f"{done.path}.wal").exists()
            with sqlanalysis.connect(done.path, read_only=True) as con:
                problems = sqlanalysis.verify(con, show_progress=False)
                assert problems.images == []
                assert problems.tables == []
                has_run = con.sql("select count(*) from duckdb_tables() where table_name = 'means'").fetchall()[0][0]
                n = con.sql("select count(*) from outputs.means").fetchall()[0][0] if has_run else 0
            assert n >= max(acknowledged, seen[-1])
            seen.append(n)
            done.path.unlink()
        assert len(set(seen)) > 2
    finally:
        writer.wait(harness.PATIENCE)
        thread.join()
        writer.stdout.close()
    assert writer.returncode == 0
    assert harness.outputs(file) == quiet.outputs  # the run was not disturbed
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    figure(
        "P9 copies",
        "50 copies beside a run: each opens, verify passes, rows only grow",
        f"{n_copies} of {n_copies}, {beside} while it wrote",
    )


def test_the_python_mirror_copies_what_it_has_open(quiet: Quiet, tmp_path: Path, duckdb14: Path) -> None:
    file = quiet.fresh(tmp_path / "work.duckdb")
    with sqlanalysis.connect(file) as con:
        con.execute("create table mine as select range as x from range(50000)")
        con.execute("insert into mine values (-1)")
        done = sqlanalysis.copy_database(con, tmp_path / "copy.duckdb")
        con.execute("insert into mine values (-2)")
        assert (done.n_images, done.n_runs) == (harness.N_IMAGES, 0)
        # The lock is still held: nobody else may write.
        holder = subprocess.run([sys.executable, "-m", "sqlanalysis", "init", file], capture_output=True, text=True)
        assert "is held by process" in holder.stderr
        for path, error, text in (
            (file, ArgumentError, "is the file itself"),
            (tmp_path / "none" / "x.duckdb", NotFoundError, "no folder"),
            (tmp_path / "copy.duckdb", SchemaError, "exists; give another path"),
        ):
            with pytest.raises(error, match=text):
                sqlanalysis.copy_database(con, path)
        (tmp_path / "text.txt").write_text("mine")
        with pytest.raises(SchemaError, match="exists"):
            sqlanalysis.copy_database(con, tmp_path / "text.txt", overwrite=True)
    with duckdb.connect(tmp_path / "copy.duckdb") as con:
        assert con.sql("select count(*), min(x) from mine").fetchall() == [(50001, -1)]
    program = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print(c.sql('select count(*) from mine'))"
    )
    old = subprocess.run(
        [duckdb14, "-c", program, tmp_path / "copy.duckdb"], capture_output=True, text=True, check=True
    )
    assert "50001" in old.stdout
    with pytest.raises(ArgumentError, match="in memory"):
        sqlanalysis.copy_database(sqlanalysis.connect(), tmp_path / "x.duckdb")
