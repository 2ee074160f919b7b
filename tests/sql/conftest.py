"""Fixtures of the oracle tests: one installed database a module, and every example table."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

import sqlanalysis

from ..support.edge_cases import Case
from ..support.oracle import CASES, mislabeled_digits


@pytest.fixture(scope="module")
def shared() -> Iterator[duckdb.DuckDBPyConnection]:
    """One installed database for a module; every test replaces its own table."""
    connection = sqlanalysis.connect()
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def digits() -> Case:
    """Digits with one label in twenty wrong."""
    return mislabeled_digits()


@pytest.fixture(params=[*CASES, "digits"])
def example(request: pytest.FixtureRequest) -> Case:
    return request.getfixturevalue("digits") if request.param == "digits" else CASES[request.param]
