"""A whole copy of an evaluation file, also while another process writes to it: `copy_database`.

DuckDB appends what is committed to the log FILE.wal, and large tables to free blocks of the file, before the log names
them; only a checkpoint changes what the file's header points to. So the log is copied first and the file second: every
block that the copied part of the log names is in the copied file, if no checkpoint came between. That is seen from the
headers and the start of the log, and then everything is copied again. A log that ends in the middle of an entry is
read up to the last whole commit. The copy is opened, read completely and given its name only then.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ..core.results import Result
from ..core.text import one_line
from ..errors import ArgumentError, NotFoundError, QueryError, SchemaError, SQLAnalysisError
from . import connection, parts, recovery, statements, torn

SECONDS = 60.0  # as long as checkpoints may follow each other
_PAUSE = 0.05
_HEADERS = 3 * 4096
_START = 4096  # bytes of the log


@dataclass(frozen=True, repr=False)
class Copied(Result):
    """The result of `copy_database`: the file, its size in bytes, and how many runs and images it holds."""

    path: Path
    n_bytes: int
    n_runs: int
    n_images: int


def copy_database(con: duckdb.DuckDBPyConnection, path: str | Path, *, overwrite: bool = False) -> Copied:
    """Copy an evaluation file to another place, while it is open and also while another thread predicts.

    The copy holds everything that was committed when the call began, in one file without a log. Parts of runs in
    FILE.parts or a scratch folder are copied to FILE.parts of the copy; those at addresses stay, and both read them.

    Args:
        con: from `connect`, of a file.
        path: the file to write, whole or not at all.
        overwrite: replace an evaluation file that is there.

    Returns:
        The path of the copy, its size, and how many runs and images it holds.

    Raises:
        ArgumentError: the database is in memory, or `path` is the file itself.
        NotFoundError: no folder to write to.
        SchemaError: something else is at `path`, or a part of a run is missing or changed.
        QueryError: checkpoints followed each other for a minute.
    """
    source = statements.fetch(con, "read_path")[0][0]
    if not source:
        raise ArgumentError(
            "a database in memory has no file to copy; export a run, or use DuckDB's COPY FROM DATABASE"
        )
    target = _check(Path(source), Path(path), overwrite)
    # Another process: where this one opened and closed the file again, its lock would be gone.
    command = [sys.executable, "-m", "sqlanalysis", "copy", source, str(target), *["--overwrite"] * overwrite]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this program itself
    if done.returncode:
        raise QueryError(f"{source} was not copied: {one_line(done.stderr.removeprefix('error: '), 1000)}")
    n_runs, n_images = map(int, done.stdout.split())
    return Copied(target, target.stat().st_size, n_runs, n_images)


def copy_file(source: str | Path, path: str | Path, *, overwrite: bool = False) -> Copied:
    """As `copy_database`, of a file that this process has not open.

    Raises:
        NotFoundError, ArgumentError, SchemaError, QueryError: as `copy_database`.
    """
    file = Path(source).expanduser().resolve()
    if not file.is_file():
        raise NotFoundError(f"no file {file}")
    target = _check(file, Path(path), overwrite)
    deadline, problem = time.monotonic() + SECONDS, "checkpoints followed each other"
    # Beside the target, so that the last step is a renaming.
    with tempfile.TemporaryDirectory(prefix=".sqlanalysis-copy-", dir=target.parent) as folder:
        draft = Path(folder) / target.name
        while time.monotonic() < deadline:
            if _copy_once(file, draft):
                try:
                    copied = _described(draft)
                    break
                except SQLAnalysisError as error:  # a block was read while it was written
                    problem = one_line(error, 300)
            time.sleep(_PAUSE)
        else:
            raise QueryError(f"{file} could not be copied as a whole within {SECONDS:g} seconds: {problem}")
        _copy_parts(draft, file, target)
        os.replace(draft, target)
    with connection.connect(target, create=False):
        pass  # the views of runs read the parts of the copy from now on
    return Copied(target, target.stat().st_size, copied.n_runs, copied.n_images)


def _check(file: Path, path: Path, overwrite: bool) -> Path:
    target = path.expanduser().resolve()
    if target.is_dir():
        target = target / file.name
    if not target.parent.is_dir():
        raise NotFoundError(f"no folder {target.parent}; create it first")
    if target == file.resolve():
        raise ArgumentError(f"{target} is the file itself; give another path")
    if target.exists() and not (overwrite and connection.is_duckdb(target)):
        raise SchemaError(f"{target} exists; give another path, or overwrite=True if it is an evaluation file")
    if Path(f"{target}.wal").exists():
        raise SchemaError(f"{target}.wal exists, the log of another file of that name; give another path")
    return target


def _copy_once(file: Path, draft: Path) -> bool:
    """Copy the log and then the file; whether both are of one checkpoint."""
    log, copied_log = Path(f"{file}.wal"), Path(f"{draft}.wal")
    for old in (draft, copied_log):
        old.unlink(missing_ok=True)
    before = _state(file, log)
    if before is None:
        return False
    with contextlib.suppress(FileNotFoundError):  # without a log, the file is whole
        shutil.copyfile(log, copied_log)
    shutil.copyfile(file, draft)
    after = _state(file, log)
    return after is not None and after[0] == before[0] and after[1].startswith(before[1])


def _state(file: Path, log: Path) -> tuple[bytes, bytes] | None:
    """What a checkpoint changes: the headers of the file and the start of the log. None while one runs."""
    try:
        if torn.was_checkpointing(log):
            return None
        with log.open("rb") as stream:
            start = stream.read(_START)
    except FileNotFoundError:  # also one that was there a moment before
        start = b""
    with file.open("rb") as stream:
        return stream.read(_HEADERS), start


def _copy_parts(draft: Path, file: Path, target: Path) -> None:
    """Copy the parts that the copy names; a commit of the meantime is in neither."""
    with duckdb.connect(str(draft)) as con:
        parts.copy(con, file, target)
        statements.checkpoint(con)  # the draft is renamed without its log


def _described(file: Path) -> Copied:
    """Open a file, merge its log into it and read every value; its views are not asked and not changed."""
    try:
        con = duckdb.connect(str(file), config={"enable_external_access": False})
    except duckdb.Error as error:
        raise SchemaError(one_line(error, 300)) from error
    with con:
        recovery.read_every_table(con)
        n_runs = len(statements.fetch(con, "list_runs"))
        n_images = statements.fetch(con, "count_images")[0][0]
    return Copied(file, file.stat().st_size, n_runs, n_images)
