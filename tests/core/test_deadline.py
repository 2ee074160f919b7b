"""The limit on the seconds of a process holds whatever state its connections are in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import sqlanalysis
from sqlanalysis.core import deadline
from sqlanalysis.db import connection, statements


@pytest.fixture(autouse=True)
def no_limit() -> Iterator[None]:
    yield
    deadline.clear()


def test_a_closed_connection_that_is_still_held_does_not_keep_the_others_running(tmp_path: Path) -> None:
    closed = sqlanalysis.connect(tmp_path / "closed.duckdb")
    closed.close()
    with sqlanalysis.connect(tmp_path / "e.duckdb") as con:
        start = time.monotonic()
        deadline.set_limit(0.3, connection.interrupt)
        with pytest.raises(KeyboardInterrupt), statements.interrupts():
            con.sql("select count(*) from range(1000000) as a, range(100000) as b where hash(a, b) = 1").fetchall()
        assert deadline.is_over()
        assert time.monotonic() - start < 60
        assert con.sql("select 1").fetchall() == [(1,)]
    with pytest.raises(duckdb.ConnectionException):
        closed.interrupt()  # why it has to be passed over


def test_the_limit_holds_where_stopping_fails() -> None:
    def stop() -> None:
        raise OSError("cannot stop")

    deadline.set_limit(0.2, stop)
    with pytest.raises(KeyboardInterrupt):
        time.sleep(60)
    assert deadline.is_over()
