"""Open or create an evaluation file, and send our SQL to it.

The file is attached to an in-memory instance rather than opened directly, because only ATTACH takes the storage
version (any DuckDB shell from 1.5 on opens the file) and the row group size (several threads share one table).
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib.metadata
import re
import time
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from . import functions, templates, torn
from .errors import NotFoundError, QueryError, SchemaError
from .faults import point

SCHEMA_VERSION = 1
_MEMORY = ":memory:"
_RESERVED_STEMS = {"main", "memory", "system", "temp", "information_schema", "pg_catalog", "outputs"}
_MAGIC = b"DUCK"  # at byte 8 of every DuckDB file
_NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "afs", "ceph", "9p", "lustre", "gpfs")
# One connection per file and process: functions registered on a connection must not outlive it, yet would be seen by
# every other connection of the same instance (DuckDB 2.0 crashes when they are called after it was collected).
_open: weakref.WeakValueDictionary[object, duckdb.DuckDBPyConnection] = weakref.WeakValueDictionary()
_inodes: dict[Path, tuple[int, int] | None] = {}
_safe: set[Path] = set()


@atexit.register
def _close_all() -> None:
    for con in list(_open.values()):
        con.close()


def connect(
    path: str | Path = _MEMORY,
    *,
    read_only: bool = False,
    create: bool = True,
    safe: bool = False,
    wait: float = 0.0,
) -> duckdb.DuckDBPyConnection:
    """Open an evaluation file, or create it, with every table, view, macro and function installed.

    Args:
        path: the DuckDB file; `":memory:"` keeps everything in memory.
        read_only: open without writing, next to other readers.
        create: make the file when it does not exist.
        safe: for a file from someone else, or SQL from someone else: statements can reach no other file, no network
            and no extension, image functions read embedded bytes only, and no setting can be changed any more.
        wait: seconds to wait for another process to let go of the file.

    Returns:
        A plain DuckDB connection whose current database is the file; the same one while it is open in this process.

    Raises:
        NotFoundError: no file at `path`, or no folder to put it in.
        SchemaError: not a DuckDB file, not one of ours, or another schema version.
        QueryError: another process holds the file; the message names path and process.
    """
    if str(path) == _MEMORY:
        con = duckdb.connect(_MEMORY)
        _configure(con)
        _install(con)
        _open[object()] = con
        return con
    file = Path(path).expanduser().resolve()
    known = _known(file)
    if known is not None:
        open_as, wanted = (is_read_only(known), file in _safe), (read_only, safe)
        if open_as != wanted:
            mode = ("reading only" if open_as[0] else "writing") + (", safe" if open_as[1] else ", not safe") * safe
            raise QueryError(f"{file} is open for {mode} in this process; close that connection first")
        return known
    _check_path(file, create=create and not read_only)
    con = duckdb.connect(_MEMORY)
    try:
        _configure(con)
        _attach_in_time(con, file, read_only, wait)
        if is_new(con):
            if read_only:
                raise SchemaError(f"{file} is empty; run `sqlanalysis init {file}` first")
            _install(con)
        else:
            _check_version(con, file)
            if not read_only:
                _refresh(con)
        _register_missing(con, file)
        if safe:
            _lock_down(con)
    except BaseException:
        con.close()
        raise
    _open[file], _inodes[file] = con, _inode(file)
    (_safe.add if safe else _safe.discard)(file)
    return con


def _lock_down(con: duckdb.DuckDBPyConnection) -> None:
    functions.register_image_functions(con, follow_paths=False)
    for statement in con.extract_statements(templates.render("statements/lock_down")):
        con.execute(statement)


def _attach_in_time(con: duckdb.DuckDBPyConnection, file: Path, read_only: bool, wait: float) -> None:
    """Attach the file; while another process holds it, try again for so many seconds."""
    deadline = time.monotonic() + wait
    while True:
        try:
            _attach(con, file, read_only)
            return
        except QueryError as error:
            if "is held by process" not in str(error) or time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


def _known(file: Path) -> duckdb.DuckDBPyConnection | None:
    """The open connection to this very file; one to a file that is gone, or was replaced, is closed."""
    con = _open.get(file)
    if con is None:
        return None
    try:
        fetch(con, "statements/count_objects")
    except QueryError:
        return None
    if _inodes.get(file) == _inode(file):
        return con
    con.close()
    return None


def _inode(file: Path) -> tuple[int, int] | None:
    return (file.stat().st_dev, file.stat().st_ino) if file.exists() else None


def _register_missing(con: duckdb.DuckDBPyConnection, file: Path) -> None:
    try:
        deferred = fetch(con, "statements/list_deferred")
    except QueryError as error:
        raise SchemaError(f"{file} was made by an older sqlanalysis; run `sqlanalysis init {file}` once") from error
    for name, of, kind, source in deferred:
        functions.register_missing(con, name, of, kind, source)


def _check_path(file: Path, *, create: bool) -> None:
    if file.is_dir():
        raise NotFoundError(f"{file} is a folder; name a file, such as {file / 'evaluation.duckdb'}")
    if not file.exists() and not create:
        raise NotFoundError(f"no file {file}; make it with `sqlanalysis init {file}`")
    if not file.parent.is_dir():
        raise NotFoundError(f"no folder {file.parent}; create it first")
    if file.stem.lower() in _RESERVED_STEMS:
        raise SchemaError(
            f"a file cannot be called {file.name}: DuckDB would take {file.stem!r} for a schema; rename it"
        )
    if file.exists() and file.stat().st_size and _magic(file) != _MAGIC:
        raise SchemaError(f"{file} is no DuckDB file; give another path")
    kind = _network_kind(file)
    if kind:
        warnings.warn(
            f"{file} lies on a network file system ({kind}), where locks may not hold: let one process use it at a "
            "time, or work on a local copy",
            stacklevel=3,
        )


def _network_kind(file: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """The kind of network file system that a path lies on, where the system lists its mounts; else None."""
    if not mounts.is_file():
        return None
    rows = [line.split() for line in mounts.read_text(errors="replace").splitlines()]
    above = {str(file), *map(str, file.parents)}
    found = [(len(row[1]), row[2]) for row in rows if row[1].replace("\\040", " ") in above]
    kind = max(found)[1] if found else ""
    return kind if kind.startswith(_NETWORK) else None


def _magic(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(12)[8:]
    except OSError as error:
        raise QueryError(f"{file} cannot be read: {error.strerror}") from error


def _configure(con: duckdb.DuckDBPyConnection) -> None:
    for statement in con.extract_statements(templates.render("statements/settings")):
        con.execute(statement)
    functions.register_image_functions(con)


def _attach(con: duckdb.DuckDBPyConnection, file: Path, read_only: bool) -> None:
    alias = re.sub(r"\W", "_", file.stem)
    try:
        new = not file.exists()
        con.execute(templates.render("statements/spill", folder=f"{file}.tmp"))
        con.execute(templates.render("statements/attach", path=str(file), alias=alias, read_only=read_only, new=new))
        con.execute(templates.render("statements/use", alias=alias))
    except duckdb.Error as error:
        raise _refusal(error, file) from error


def _refusal(error: duckdb.Error, file: Path) -> SchemaError | QueryError:
    text = str(error)
    held = re.search(r"lock is held in (.*?) ?\(PID (\d+)\)", text)
    if held:
        return QueryError(f"{file} is held by process {held[2]} ({held[1]}); close it there, or work on a copy")
    if "Unique file handle conflict" in text:
        return QueryError(f"{file} is already open in this process, by a plain DuckDB connection; close it first")
    if "replaying WAL" in text:
        return SchemaError(
            f"{file}: its write-ahead log {file}.wal is damaged; `sqlanalysis recover {file}` moves the log aside and "
            f"says what is missing: {text.splitlines()[0]}"
        )
    if "Corrupt" in text and torn.was_checkpointing(Path(f"{file}.wal")):
        return SchemaError(
            f"{file} was left within a checkpoint; `sqlanalysis recover {file}` mends it: {text.splitlines()[0]}"
        )
    if "Corrupt" in text:
        return SchemaError(f"{file} is damaged, go back to a copy: {text.splitlines()[0]}")
    if "not a valid DuckDB" in text:
        return SchemaError(f"{file} is no DuckDB file; give another path")
    if "newer" in text or "version" in text.lower():
        return SchemaError(f"{file} was written by another DuckDB: {text.splitlines()[0]}")
    return QueryError(f"{file} cannot be opened: {text.splitlines()[0]}")


def is_new(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the current database holds no table and no view at all."""
    return not fetch(con, "statements/count_objects")[0][0]


def is_read_only(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the current database cannot be written."""
    return bool(fetch(con, "statements/read_only")[0][0])


def _catalogue() -> str:
    installed = [f"{folder}/{name}" for folder in templates.INSTALLED for name in templates.installed(folder)]
    made = ["statements/recreate_run_view", "statements/recreate_predictions"]
    return hashlib.sha256("\n".join(map(templates.source, installed + made)).encode()).hexdigest()


def _check_version(con: duckdb.DuckDBPyConnection, where: Path) -> None:
    if not fetch(con, "statements/has_version_table")[0][0]:
        raise SchemaError(f"{where} is a DuckDB file of something else; give a new path, `attach` the old one to it")
    found = fetch(con, "statements/read_version")[0][0]
    if found != SCHEMA_VERSION:
        advice = "upgrade sqlanalysis" if found > SCHEMA_VERSION else "open it with the sqlanalysis that wrote it"
        raise SchemaError(f"{where} has schema version {found}, this is version {SCHEMA_VERSION}; {advice}")


def _install(con: duckdb.DuckDBPyConnection) -> None:
    with transaction(con):
        _create(con)
        recreate_run_views(con, [])
        values = [SCHEMA_VERSION, _catalogue(), importlib.metadata.version("sqlanalysis")]
        execute(con, "statements/insert_version", values)


def _refresh(con: duckdb.DuckDBPyConnection) -> None:
    """Bring the views and macros of an older package up to date: drop all, then create."""
    if fetch(con, "statements/read_version")[0][1] == _catalogue():
        return
    with transaction(con):
        for name, kind in fetch(con, "statements/list_macros"):
            execute(con, "statements/drop_macro", name=name, table=kind == "table_macro")
        point("migrate")
        _create(con)
        recreate_run_views(con, [row[0] for row in fetch(con, "statements/list_runs")])
        execute(con, "statements/update_catalogue", [_catalogue()])


def recreate_run_views(con: duckdb.DuckDBPyConnection, runs: list[str]) -> None:
    """Make the views of these runs anew, and `predictions`, the union over all runs."""
    for run in runs:
        names = [row[0] for row in fetch(con, "statements/list_columns", ["outputs", run])]
        execute(con, "statements/recreate_run_view", run=run, names=names)
        execute(con, "statements/comment", kind="view", name=run, text=_summary("recreate_run_view"))
    predicting = [row[0] for row in fetch(con, "statements/list_predicting_runs")]
    execute(con, "statements/recreate_predictions", runs=predicting)
    execute(con, "statements/comment", kind="view", name="predictions", text=_summary("recreate_predictions"))


def _summary(statement: str) -> str:
    return templates.header(f"statements/{statement}").summary


def _create(con: duckdb.DuckDBPyConnection) -> None:
    for folder in templates.INSTALLED:
        for name, sql, summary in templates.statements(folder):
            con.execute(sql)
            kind = {"tables": "table", "views": "view"}.get(folder)
            if kind is None:
                kind = "macro table" if re.search(r"\)\s+as\s+table\b", sql) else "macro"
            if name != "outputs":
                execute(con, "statements/comment", kind=kind, name=name, text=summary)
        if folder == "tables":  # views read the predictions of all runs
            execute(con, "statements/recreate_predictions", runs=[])


@contextlib.contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit what the block did, or nothing of it."""
    try:
        con.begin()
    except duckdb.TransactionException as error:
        raise QueryError("a transaction is open on this connection; commit or roll back first") from error
    try:
        yield
        point("commit")
    except BaseException:
        con.rollback()
        raise
    con.commit()
    point("committed")


def execute(
    con: duckdb.DuckDBPyConnection, template: str, parameters: Any = None, /, **names: object
) -> duckdb.DuckDBPyConnection:
    """Render one template and run it: one statement, values bound, names quoted by the template."""
    sql = templates.render(template, **names)
    try:
        parsed = con.extract_statements(sql)
        if len(parsed) != 1:
            raise QueryError(f"{template} renders to {len(parsed)} statements; a name or condition holds a `;`")
        with interrupts():
            return con.execute(parsed[0], parameters)
    except duckdb.FatalException as error:
        raise QueryError(
            f"{template}: DuckDB has stopped ({str(error).splitlines()[0]}); end this process and start again, "
            "what was committed is kept"
        ) from error
    except duckdb.Error as error:
        raise QueryError(f"{template}: {str(error).strip()}") from error


def fetch(
    con: duckdb.DuckDBPyConnection, template: str, parameters: Any = None, /, **names: object
) -> list[tuple[Any, ...]]:
    """Like `execute`, with every row fetched: an open result would block the connection."""
    result = execute(con, template, parameters, **names)
    with interrupts():
        rows: list[tuple[Any, ...]] = result.fetchall()
    return rows


@contextlib.contextmanager
def interrupts() -> Iterator[None]:
    """Ctrl-C while DuckDB works, which it tells in two other ways, is KeyboardInterrupt as everywhere in Python."""
    try:
        yield
    except (duckdb.InterruptException, RuntimeError) as error:
        if isinstance(error, duckdb.InterruptException) or str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


def relation(con: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyRelation | None:
    """One statement of the user's own, run; its rows as a relation, None when it gives none.

    Raises:
        QueryError: DuckDB refuses it, or it is several statements.
    """
    try:
        statements = con.extract_statements(sql)
        if len(statements) != 1:
            raise QueryError(f"one statement at a time, this is {len(statements)}")
        if statements[0].expected_result_type == [duckdb.ExpectedResultType.QUERY_RESULT]:
            return con.sql(sql).materialize()
        con.execute(statements[0]).fetchall()
        return None
    except duckdb.Error as error:
        raise QueryError(str(error).strip()) from error
