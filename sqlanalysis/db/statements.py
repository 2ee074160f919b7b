"""Send named SQL to DuckDB: one statement per call, values bound, errors as `QueryError`."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from ..core.faults import point
from ..errors import QueryError
from . import templates

if TYPE_CHECKING:
    import pyarrow as pa


_writing = threading.RLock()  # DuckDB refuses the second of two transactions that change one table or view


def is_new(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the current database has no table and no view."""
    return not fetch(con, "count_objects")[0][0]


def is_read_only(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the current database is read-only."""
    return bool(fetch(con, "read_only")[0][0])


def may_reach(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the connection may read other files and addresses: not one that was opened with `safe=True`."""
    return bool(fetch(con, "may_reach")[0][0])


def configure(con: duckdb.DuckDBPyConnection) -> None:
    """Send the settings of every connection: no progress bar."""
    # In Jupyter without ipywidgets DuckDB draws no bar and refuses every change of this setting.
    with suppress(duckdb.InvalidInputException):
        con.execute(templates.render("settings"))


def folder_of(con: duckdb.DuckDBPyConnection) -> Path | None:
    """The folder that the current database lies in; None for one in memory."""
    path = fetch(con, "read_path")[0][0]
    return Path(path).parent if path else None


@contextlib.contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit everything that the block did, or nothing; one block at a time in this process.

    Raises:
        QueryError: a transaction is already open on this connection.
    """
    with _writing:
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
    """Render a template and run it: one statement, values bound, names quoted by the template.

    Raises:
        QueryError: DuckDB refuses the statement, or a name or condition makes it several.
    """
    sql = templates.render(template, **names)
    try:
        # DuckDB runs several statements in one string; a condition of the user's must not add one.
        parsed = con.extract_statements(sql)
        if len(parsed) != 1:
            raise QueryError(f"{template} renders to {len(parsed)} statements; a name or condition contains a `;`")
        with interrupts():
            return con.execute(parsed[0], parameters)
    except duckdb.FatalException as error:
        raise QueryError(
            f"{template}: DuckDB cannot continue ({str(error).splitlines()[0]}); restart this process, "
            "everything that was committed is kept"
        ) from error
    except duckdb.Error as error:
        raise QueryError(f"{template}: {explain(error)}") from error


def explain(error: duckdb.Error) -> str:
    """What DuckDB says, and what to do where a part of a run cannot be read."""
    text = str(error).strip()
    if is_about_part(error):
        text += "\na part of a run is missing or damaged, or its file was moved: `sqlanalysis verify` names the parts; "
        text += "after a move, open the file once for writing"
    return text


def is_about_part(error: duckdb.Error) -> bool:
    """Whether a part of a run is what DuckDB cannot read."""
    return re.search(r"/(part|copies)-\d+-[0-9a-f]{16}[^/]*\.parquet['\"]", str(error)) is not None


def fetch(
    con: duckdb.DuckDBPyConnection, template: str, parameters: Any = None, /, **names: object
) -> list[tuple[Any, ...]]:
    """Like `execute`, and fetch all rows, since an open result would block the connection."""
    result = execute(con, template, parameters, **names)
    with interrupts():
        rows: list[tuple[Any, ...]] = result.fetchall()
    return rows


def table(con: duckdb.DuckDBPyConnection, template: str, parameters: Any = None, /, **names: object) -> pa.Table:
    """Like `fetch`, as an Arrow table.

    Raises:
        QueryError: DuckDB refuses the statement.
    """
    try:
        with interrupts():
            return con.sql(templates.render(template, **names), params=parameters).to_arrow_table()
    except duckdb.Error as error:
        raise QueryError(f"{template}: {explain(error)}") from error


def checkpoint(con: duckdb.DuckDBPyConnection) -> None:
    """Write the log into the file, so that a copy of the file alone is whole; not while another transaction writes."""
    with suppress(duckdb.TransactionException):
        con.execute(templates.render("checkpoint"))


@contextlib.contextmanager
def interrupts() -> Iterator[None]:
    """Turn the two errors by which DuckDB reports Ctrl-C into KeyboardInterrupt, as everywhere in Python."""
    try:
        yield
    except (duckdb.InterruptException, RuntimeError) as error:
        if isinstance(error, duckdb.InterruptException) or str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


def relation(con: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyRelation | None:
    """Run one statement of the user; gives its rows as a relation, or None if it returns no rows.

    Raises:
        QueryError: DuckDB refuses it, or it is not exactly one statement.
    """
    try:
        statements = con.extract_statements(sql)
        if len(statements) != 1:
            raise QueryError(f"run one statement at a time; this is {len(statements)}")
        if statements[0].expected_result_type == [duckdb.ExpectedResultType.QUERY_RESULT]:
            return con.sql(sql).materialize()
        con.execute(statements[0]).fetchall()
        return None
    except duckdb.Error as error:
        raise QueryError(explain(error)) from error


class registered:  # noqa: N801 - reads as a verb in a with statement
    """Make an Arrow table available under a name inside the block."""

    def __init__(self, con: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
        self.con, self.name, self.table = con, name, table

    def __enter__(self) -> None:
        self.con.register(self.name, self.table)

    def __exit__(self, *_: object) -> None:
        with suppress(duckdb.TransactionException):  # after an aborted transaction, whose own error matters
            self.con.unregister(self.name)
