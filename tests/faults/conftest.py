"""Figures that the tests reached, printed as a table at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from . import harness

LONG = bool(os.environ.get("SQLANALYSIS_LONG"))
PROMISE = "promise"


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, str, str], None]:
    """Write down promise, figure asked and figure reached."""

    def record(promise: str, asked: str, reached: str) -> None:
        row = " | ".join((promise, asked, reached, request.node.nodeid.rpartition("/")[2]))
        request.node.user_properties.append((PROMISE, f"| {row} |"))

    return record


@pytest.fixture(scope="session")
def scale() -> Callable[[int, int], int]:
    """How often something is tried: in the short form, in the long form."""
    return lambda short, long: long if LONG else short


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> harness.Quiet:
    """Images, a file that knows them, and the tables of an undisturbed run."""
    return harness.make_quiet(tmp_path_factory.mktemp("quiet"))


@pytest.fixture
def file(quiet: harness.Quiet, tmp_path: Path) -> Path:
    """A fresh copy of the file that knows the images."""
    return quiet.fresh(tmp_path / "work.duckdb")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for group in terminalreporter.stats.values() for report in group]
    kept = [pair for report in reports if getattr(report, "when", "") == "call" for pair in report.user_properties]
    rows = sorted(row for name, row in kept if name == PROMISE)
    if rows:
        terminalreporter.write_sep("-", "promises")
        for row in rows:
            terminalreporter.write_line(row)
