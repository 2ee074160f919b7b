"""The result of one expectation, as text for people and as JUnit XML for CI."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.results import Result
from ..core.text import one_line

COLUMNS, WIDTH = 8, 40  # of the table of violations


@dataclass(frozen=True, repr=False)
class Expectation(Result):
    """The result of one expectation.

    Attributes:
        name: path of the file, or name of the built-in expectation.
        meaning: what the comment at the top of the query says.
        status: pass, warn (violated, with severity warn), fail, or error (the query could not be run).
        message: the column `message` of the query if it has one, else the meaning; or the error.
        n_violations: number of violations; None if the query could not be run.
        columns: names of the columns of `rows`.
        rows: the first violations.
        seconds: elapsed time.
    """

    name: str
    meaning: str
    status: str
    message: str
    n_violations: int | None
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    seconds: float = 0.0


def describe_rows(result: Expectation) -> list[str]:
    """The first violations as lines of text below the column names; empty if the message tells it all."""
    if not result.rows or (result.n_violations == 1 and "message" in result.columns):
        return []
    shown = [_cells(row) for row in (result.columns, *result.rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]
    more = (result.n_violations or 0) - len(result.rows)
    return [*lines, f"… and {more:,} more"] if more else lines


def _cells(row: tuple[Any, ...]) -> list[str]:
    texts = [f"{value:.6g}" if isinstance(value, float) else one_line(value, WIDTH) for value in row[:COLUMNS]]
    return texts + ["…"] * (len(row) > COLUMNS)


def to_junit(run: str | None, results: Sequence[Expectation]) -> str:
    """The results as JUnit XML: violations are failures, queries that could not be run are errors."""
    failed, broken = (str(sum(result.status == status for result in results)) for status in ("fail", "error"))
    seconds = f"{sum(result.seconds for result in results):.3f}"
    counts = {"tests": str(len(results)), "failures": failed, "errors": broken, "time": seconds}
    name = f"check {one_line(run or 'database')}"
    root = ElementTree.Element("testsuites", {"name": "sqlanalysis", **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": name, **counts})
    for result in results:
        attributes = {"classname": name, "name": result.name, "time": f"{result.seconds:.3f}"}
        case = ElementTree.SubElement(suite, "testcase", attributes)
        if result.status == "pass":
            continue
        text = "\n".join([result.meaning, *describe_rows(result)])
        if result.status == "warn":  # JUnit has no warnings; a failure would make CI red
            ElementTree.SubElement(case, "system-out").text = f"warning: {result.message}\n{text}"
        else:
            tag = "failure" if result.status == "fail" else "error"
            ElementTree.SubElement(case, tag, message=result.message, type=tag).text = text
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written.decode() + "\n"
