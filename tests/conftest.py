"""Fixtures that every test file shares."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import sqlanalysis


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """An evaluation database in memory, everything installed."""
    connection = sqlanalysis.connect()
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def shell() -> str:
    """Path of the real DuckDB shell (package duckdb-cli), version 1.5."""
    found = shutil.which("duckdb", path=str(Path(sysconfig.get_path("scripts")))) or shutil.which("duckdb")
    if found is None:
        pytest.skip("the DuckDB shell is not installed: pip install duckdb-cli")
    return found
