"""Figures that the tests reached, printed as a table at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from . import harness

LONG = bool(os.environ.get("SQLANALYSIS_LONG"))
PROMISE, HOSTILE = "promise", "hostile"
# Promises that tests in other folders prove, without a figure of their own: what is asked, and by which tests.
ELSEWHERE = {
    "P20 tested": ("each promise names its test", "tests/README.md"),
    "P21 isolation": ("answers equal a serial pass to the bit, 20 of 20", "models/test_isolation.py"),
    "P22 identity": ("12 kinds of change all noticed", "models/test_probe.py, runs/test_identity.py"),
    "P23 unfit model": ("refused with the reason, or recorded", "models/test_odd_models.py, models/test_probe.py"),
    "P24 caller's model": ("mode, device, hooks, gradients as before", "models/test_isolation.py"),
    "P27 own objects": ("0 lost by an upgrade; collisions name both", "db/test_connection.py, db/test_shell_edits.py"),
    "P33 terminals": ("escaped on a terminal, unchanged in a pipe", "test_terminal.py"),
}


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
    rows = [row for name, row in kept if name == PROMISE]
    if LONG:  # the closing table has every promise
        for promise, (asked, tests) in ELSEWHERE.items():
            if not any(row.startswith(f"| {promise.partition(' ')[0]} ") for row in rows):
                rows.append(f"| {promise} | {asked} | no figure in this folder | {tests} |")
        hostile = [row for name, row in kept if name == HOSTILE]
        _print(terminalreporter, "a stranger's file: trick, verb, what happened", hostile)
    _print(terminalreporter, "promises", sorted(rows, key=_number))


def _number(row: str) -> tuple[int, str]:
    """The order of the promises: P2 before P10."""
    return int("".join(filter(str.isdigit, row.split()[1]))), row


def _print(reporter: pytest.TerminalReporter, title: str, rows: list[str]) -> None:
    if rows:
        reporter.write_sep("-", title)
    for row in rows:
        reporter.write_line(row)
