"""Open or create an evaluation file.

The file is the primary database of its instance, so that every cursor of every client starts in it. But only ATTACH
takes the storage version (any DuckDB from 1.4 on opens the file) and the row group size (several threads share one
table): an empty placeholder of the same name is opened first, then `attach or replace` puts the file in its place.
`duckdb.connect(path)` alone would also share its instance with the user's plain connections, and DuckDB 2.0 crashes
when one of them calls a Python function that was registered on a connection that is closed by then.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import re
import tempfile
import threading
import time
import warnings
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import _duckdb
import duckdb

from ..core import talk
from ..errors import NotFoundError, QueryError, SchemaError
from . import catalogue, functions, parts, templates, torn
from .statements import configure, fetch, is_new, is_read_only

_MEMORY = ":memory:"
_RESERVED_STEMS = {"outputs", "information_schema", "pg_catalog"}
# Set when the instance starts: SET python_enable_replacements does not reach cursors.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "python_enable_replacements": False,
    # DuckDB 2.0.1 takes two scans of one table for the same and mixes up their columns: wrong labels, without an error.
    "disabled_optimizers": "common_subplan",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_MAGIC = b"DUCK"  # at byte 8 of every DuckDB file
_NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "afs", "ceph", "9p", "lustre", "gpfs")
# One connection per file and process: functions registered on a connection are visible to every other connection of the
# instance, and DuckDB 2.0 crashes when they are called after the first connection was collected.
_open: weakref.WeakValueDictionary[object, duckdb.DuckDBPyConnection] = weakref.WeakValueDictionary()
_inodes: dict[Path, tuple[int, int] | None] = {}  # (device, inode) when it was opened, to notice a replaced file
_threads: dict[Path, int] = {}  # in which it was opened
# A cursor of another thread keeps the connection whose functions it uses.
_owners: weakref.WeakKeyDictionary[duckdb.DuckDBPyConnection, duckdb.DuckDBPyConnection] = weakref.WeakKeyDictionary()
# Objects of a file that a connection does not use, but the package's own: a cursor has to be told, too.
_foreign: weakref.WeakKeyDictionary[duckdb.DuckDBPyConnection, tuple[Path, list[str], list[str]]] = (
    weakref.WeakKeyDictionary()
)
_safe: set[Path] = set()
_opening = threading.RLock()  # two threads that open one file get one instance


@atexit.register
def _close_all() -> None:
    # Python need not delete objects at exit; an open database would leave its write-ahead log behind.
    for con in list(_open.values()):
        con.close()


# A forked child has no thread of DuckDB, yet its copy of the instance would write into the file of its parent when it
# closes, and then crash. So the child never closes it, cannot write through it, and opens the file afresh, if it can.
_inherited: set[Path] = set()


def _disarm() -> None:
    # Python deletes what modules hold when it ends; the capsule closes the default connection of the module duckdb.
    for one in [*_open.values(), getattr(_duckdb, "_clean_default_connection", None)]:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))
    for file in _inodes:
        _write_no_more({str(file), f"{file}.wal"})
    _inherited.update(_inodes)
    for known in (_open, _inodes, _threads, _safe):
        known.clear()
    _opening.release()


def _write_no_more(names: set[str]) -> None:
    """Let the descriptors of these files only read, as far as the system lists them."""
    with suppress(OSError):
        for number in map(int, os.listdir("/proc/self/fd")):
            with suppress(OSError):
                name = os.readlink(f"/proc/self/fd/{number}")
                if name in names:
                    reading = os.open(name, os.O_RDONLY)
                    os.dup2(reading, number)
                    os.close(reading)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_disarm)


def connect(
    path: str | Path = _MEMORY,
    *,
    read_only: bool = False,
    create: bool = True,
    safe: bool = False,
    allowed: Sequence[str | Path] = (),
    wait: float = 0.0,
) -> duckdb.DuckDBPyConnection:
    """Open or create an evaluation file, with all tables, views, macros and functions installed.

    Args:
        path: the DuckDB file; `":memory:"` keeps everything in memory.
        read_only: open for reading; several processes can read at the same time.
        create: create the file if it does not exist.
        safe: for a file or SQL from someone else: statements cannot access other files, the network or extensions,
            image functions read only bytes that are stored in the file, and settings cannot be changed. A page shows
            pictures by reference only if they have the SHA-256 of their row. Parts of runs are read in FILE.parts only.
        allowed: files that statements of a safe connection may read all the same.
        wait: seconds to wait for another process to release the file.

    Returns:
        A plain DuckDB connection whose current database is the file. While it is open, further calls of this thread
        return the same connection; other threads, and this one while another thread runs a query on it, get a cursor.

    Raises:
        NotFoundError: no file at `path`, or no folder to put it in.
        SchemaError: not a DuckDB file, not made by this package, or another schema version.
        QueryError: another process holds the file (the message names it), or this process has it open in another mode.
    """
    if str(path) == _MEMORY:
        con = duckdb.connect(_MEMORY, config=_CONFIG)
        _configure(con)
        catalogue.install(con)
        _open[object()] = con
        return con
    with _opening:
        return _connect(Path(path).expanduser().resolve(), read_only, create, safe, allowed, wait)


def _connect(
    file: Path, read_only: bool, create: bool, safe: bool, allowed: Sequence[str | Path], wait: float
) -> duckdb.DuckDBPyConnection:
    known = _known(file)
    if known is not None:
        beside = _beside(known)
        open_as, wanted = (is_read_only(beside), file in _safe), (read_only, safe)
        if open_as != wanted:
            mode = ("reading only" if open_as[0] else "writing") + (", safe" if open_as[1] else ", not safe") * safe
            raise QueryError(f"{file} is open for {mode} in this process; close that connection first")
        return known if _threads.get(file) == threading.get_ident() and _is_idle(known) else beside
    _check_path(file, create=create and not read_only)
    con = _open_in_time(file, read_only, wait)
    try:
        _configure(con)
        catalogue.check_functions(con, file)
        if is_new(con):
            if read_only:
                raise SchemaError(f"{file} is empty; run `sqlanalysis init {file}` first")
            catalogue.install(con)
        else:
            catalogue.check_version(con, file)
            foreign = catalogue.check_objects(con, file) if read_only else catalogue.refresh(con, file)
            moved = [] if "parts" in foreign else catalogue.follow_parts(con)
            catalogue.shield(con, file, foreign, moved)
            catalogue.say_shielded(con, file, foreign)
            talk.say(parts.note_problems(con))
            _foreign[con] = (file, foreign, moved)
        _register_missing(con, file)
        if safe:
            _lock_down(con, allowed)
    except BaseException:
        con.close()
        raise
    _open[file], _inodes[file], _threads[file] = con, _inode(file), threading.get_ident()
    (_safe.add if safe else _safe.discard)(file)
    return con


def interrupt() -> None:
    """End the queries that run on the connections of this process; without it, closing one waits for its query."""
    for con in list(_open.values()):
        with suppress(duckdb.ConnectionException):  # closed, but a variable still holds it
            con.interrupt()


def _lock_down(con: duckdb.DuckDBPyConnection, allowed: Sequence[str | Path]) -> None:
    # Replaces the functions of `_configure`, which read the files that images refer to.
    functions.register_image_functions(con, follow_paths=False)
    con.execute(templates.render("limit_memory"))
    spill = fetch(con, "memory_limit")[0][0]
    readable, notes = parts.readable(con)
    talk.say(notes)
    names = {"allowed": [*map(str, allowed), *readable], "spill": spill}
    for statement in con.extract_statements(templates.render("lock_down", **names)):
        con.execute(statement)


def _open_in_time(file: Path, read_only: bool, wait: float) -> duckdb.DuckDBPyConnection:
    """Open the file; while another process holds it, retry for `wait` seconds."""
    deadline = time.monotonic() + wait
    while True:
        try:
            return _open_file(file, read_only)
        except QueryError as error:
            if "is held by process" not in str(error) or time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


def _open_file(file: Path, read_only: bool) -> duckdb.DuckDBPyConnection:
    """An instance whose primary database is the file, under the name that DuckDB itself gives it."""
    # The placeholder has the name of the file, because DuckDB names the primary database after it.
    with tempfile.TemporaryDirectory(prefix="sqlanalysis-", ignore_cleanup_errors=True) as folder:
        placeholder = Path(folder) / file.name
        if read_only:
            placeholder.write_bytes(_empty_file())
        con = duckdb.connect(str(placeholder), read_only=read_only, config=_CONFIG)
        try:
            _attach_as_primary(con, file, read_only)
        except BaseException:
            con.close()
            raise
        return con


@functools.cache
def _empty_file() -> bytes:
    """An empty DuckDB file, which an instance that only reads needs to start."""
    with tempfile.TemporaryDirectory(prefix="sqlanalysis-") as folder:
        empty = Path(folder) / "empty.duckdb"
        duckdb.connect(str(empty)).close()
        return empty.read_bytes()


def _attach_as_primary(con: duckdb.DuckDBPyConnection, file: Path, read_only: bool) -> None:
    alias = con.execute(templates.render("database_name")).fetchall()[0][0]
    new = not file.exists()
    try:
        con.execute(templates.render("spill", folder=f"{file}.tmp"))
        con.execute(templates.render("attach", path=str(file), alias=alias, read_only=read_only, new=new))
    except duckdb.Error as error:
        raise _refusal(error, file) from error


def _known(file: Path) -> duckdb.DuckDBPyConnection | None:
    """The open connection to this file; a connection to a file that was deleted or replaced is closed."""
    con = _open.get(file)
    if con is None:
        return None
    try:
        con.cursor().close()  # also while a query of another thread runs on it
    except duckdb.Error:  # it was closed
        return None
    if _inodes.get(file) == _inode(file):
        return con
    con.close()
    return None


def _beside(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A cursor for another thread than the one that opened the file: a connection runs one query at a time."""
    cursor = cursor_of(con)
    configure(cursor)
    _owners[cursor] = con
    return cursor


def cursor_of(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A cursor in which the package's objects stand before those of the file, as in the connection itself."""
    cursor = con.cursor()
    if con in _foreign:
        catalogue.shield(cursor, *_foreign[con])
        _foreign[cursor] = _foreign[con]
    return cursor


def _is_idle(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether no other thread runs a query on it."""
    try:
        fetch(con, "count_objects")
    except QueryError:
        return False
    return True


def _inode(file: Path) -> tuple[int, int] | None:
    return (file.stat().st_dev, file.stat().st_ino) if file.exists() else None


def _register_missing(con: duckdb.DuckDBPyConnection, file: Path) -> None:
    try:
        deferred = fetch(con, "list_deferred")
    except QueryError as error:
        raise SchemaError(f"{file} was made by an older sqlanalysis; run `sqlanalysis init {file}` once") from error
    # A query on a deferred column then says which transform to register, not that the function is unknown.
    for name, of, sql_type, source in deferred:
        functions.register_missing(con, name, of, sql_type, source)


def _check_path(file: Path, *, create: bool) -> None:
    if file.is_dir():
        raise NotFoundError(f"{file} is a folder; name a file, such as {file / 'evaluation.duckdb'}")
    if not file.exists() and not create:
        raise NotFoundError(f"no file {file}; make it with `sqlanalysis init {file}`")
    if not file.parent.is_dir():
        raise NotFoundError(f"no folder {file.parent}; create it first")
    if file.stem.lower() in _RESERVED_STEMS:
        raise SchemaError(
            f"a file cannot be called {file.name}: DuckDB would read {file.stem!r} as a schema; rename it"
        )
    # DuckDB treats an empty file as a new database.
    if file.exists() and file.stat().st_size and not is_duckdb(file):
        raise SchemaError(f"{file} is not a DuckDB file; give another path")
    filesystem = _network_filesystem(file)
    if filesystem:
        warnings.warn(
            f"{file} is on a network file system ({filesystem}), where locks may not work: use it from one process at "
            "a time, or work on a local copy",
            stacklevel=3,
        )


def _network_filesystem(file: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """The type of the network file system that holds the file; None if it is local or there is no list of mounts."""
    if not mounts.is_file():
        return None
    rows = [line.split() for line in mounts.read_text(errors="replace").splitlines()]
    above = {str(file), *map(str, file.parents)}
    # The longest mount point above the file is the one that holds it; \040 stands for a space in this list.
    mounted = [(len(row[1]), row[2]) for row in rows if row[1].replace("\\040", " ") in above]
    filesystem = max(mounted)[1] if mounted else ""
    return filesystem if filesystem.startswith(_NETWORK) else None


def is_duckdb(file: Path) -> bool:
    """Whether a file begins as those of DuckDB do."""
    return file.is_file() and _magic(file) == _MAGIC


def _magic(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(12)[8:]
    except OSError as error:
        raise QueryError(f"{file} cannot be read: {error.strerror}") from error


def _configure(con: duckdb.DuckDBPyConnection) -> None:
    configure(con)
    functions.register_image_functions(con)


def _refusal(error: duckdb.Error, file: Path) -> SchemaError | QueryError:
    # DuckDB raises the same class for several reasons, so its messages are matched.
    text = str(error)
    held = re.search(r"lock is held in (.*?) ?\(PID (\d+)\)", text)
    if held:
        return QueryError(
            f"{file} is held by process {held[2]} ({held[1]}); close it there, or work on a copy: "
            f"`sqlanalysis copy {file} TO` makes a whole one, also of what is in {file}.wal only"
        )
    if "Unique file handle conflict" in text and file in _inherited:
        return QueryError(
            f"{file} is open in the process that this one was forked from; use it there, or start processes with spawn"
        )
    if "Unique file handle conflict" in text:
        return QueryError(f"{file} is already open in this process, by a plain DuckDB connection; close it first")
    if "replaying WAL" in text:
        return SchemaError(
            f"{file}: its write-ahead log {file}.wal is damaged; `sqlanalysis recover {file}` moves the log aside and "
            f"reports what is missing: {text.splitlines()[0]}"
        )
    if "Corrupt" in text and torn.was_checkpointing(Path(f"{file}.wal")):
        return SchemaError(
            f"{file} was left in the middle of a checkpoint; `sqlanalysis recover {file}` repairs it: "
            f"{text.splitlines()[0]}"
        )
    if "Corrupt" in text:
        return SchemaError(f"{file} is damaged; restore a copy: {text.splitlines()[0]}")
    if "not a valid DuckDB" in text:
        return SchemaError(f"{file} is not a DuckDB file; give another path")
    if "newer" in text or "version" in text.lower():
        return SchemaError(f"{file} was written by another DuckDB: {text.splitlines()[0]}")
    return QueryError(f"{file} cannot be opened: {text.splitlines()[0]}")
