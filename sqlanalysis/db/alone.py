"""The work of a long call: on a cursor of its own, one call a file at a time, and only while the file is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import duckdb

from ..errors import QueryError
from .statements import configure, fetch

Function = TypeVar("Function", bound=Callable[..., Any])
_calls: dict[str, str] = {}  # what works on which file in this process
_lock = threading.Lock()


@contextmanager
def alone(con: duckdb.DuckDBPyConnection, call: str, where: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A cursor for the work of one call, so that queries on `con` in other threads neither wait for it nor end it.

    A condition that names temporary tables of `con` can be evaluated there only; then `con` itself is yielded.

    Args:
        con: the caller's connection.
        call: what works, for messages to others.
        where: the caller's condition over `images`.

    Raises:
        QueryError: `con` has an open transaction, or another call works on the file in this process.
    """
    if in_transaction(con):
        raise QueryError("a transaction is open on this connection; commit or roll back first")
    with con.cursor() as cursor:
        configure(cursor)
        path = fetch(cursor, "read_path")[0][0]
        with _lock:
            if path in _calls:
                raise QueryError(
                    f"{_calls[path]} works on {path} in another thread of this process; wait until it has ended"
                )
            if path is not None:  # each database in memory is another one
                _calls[path] = call
        try:
            yield cursor if where is None or _can_evaluate(cursor, where) else con
        finally:
            _calls.pop(path, None)


def works_alone(name: str) -> Callable[[Function], Function]:
    """Call a function of a connection `alone`; its condition is the argument `where`."""

    def decorate(function: Function) -> Function:
        @wraps(function)
        def call(con: duckdb.DuckDBPyConnection, *args: Any, **names: Any) -> Any:
            with alone(con, name, names.get("where")) as cursor:
                return function(cursor, *args, **names)

        return cast("Function", call)

    return decorate


class Watched:
    """The file of a connection, which somebody may delete or replace while it is open."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.path: str | None = fetch(con, "read_path")[0][0]
        self._known = self._identity()

    def check(self) -> None:
        """Refuse to go on once the path names no file, or another one.

        Raises:
            QueryError: what was written since is in no file that anybody can open again.
        """
        now = self._identity()
        if now != self._known:
            what = "deleted" if now is None else "replaced by another file"
            raise QueryError(
                f"{self.path} was {what} while this call worked on it: the results of this call are lost; close the "
                "connection, restore the file and call again"
            )

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = Path(self.path).stat() if self.path is not None else None
        except OSError:
            return None
        return (status.st_dev, status.st_ino) if status else (0, 0)


def in_transaction(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether two statements are of one transaction; beginning one to find out would catch those of other threads."""
    try:
        first, second = (fetch(con, "read_transaction") for _ in range(2))
    except QueryError as error:
        if isinstance(error.__cause__, duckdb.Error) and "Use" in type(error.__cause__).__name__:
            return False  # another thread runs a query on it
        raise
    return first == second


def _can_evaluate(cursor: duckdb.DuckDBPyConnection, where: str) -> bool:
    try:
        fetch(cursor, "try_condition", where=where)
    except QueryError:
        return False
    return True
