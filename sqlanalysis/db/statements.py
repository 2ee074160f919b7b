"""Send named SQL to DuckDB: one statement each, values bound, errors in our words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import duckdb

from ..core.faults import point
from ..errors import QueryError
from . import templates

if TYPE_CHECKING:
    import pyarrow as pa


def is_new(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the current database holds no table and no view at all."""
    return not fetch(con, "count_objects")[0][0]


def is_read_only(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the current database cannot be written."""
    return bool(fetch(con, "read_only")[0][0])


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
    """Ctrl-C while DuckDB works, which it reports in two other ways, is KeyboardInterrupt as everywhere in Python."""
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


class registered:  # noqa: N801 - reads as a verb in a with statement
    """An Arrow table under a name, for the statements inside the block."""

    def __init__(self, con: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
        self.con, self.name, self.table = con, name, table

    def __enter__(self) -> None:
        self.con.register(self.name, self.table)

    def __exit__(self, *_: object) -> None:
        with suppress(duckdb.TransactionException):  # an aborted transaction: its error is the one to show
            self.con.unregister(self.name)
