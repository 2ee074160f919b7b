"""How one expectation came out, as text for people and as JUnit XML for CI."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.text import one_line

COLUMNS, WIDTH = 8, 40  # of the table of violations


@dataclass(frozen=True)
class Expectation:
    """How one expectation came out.

    Attributes:
        name: path of the file, or name of the ready one.
        meaning: what the comment at the top of the query says.
        status: pass, warn (violated, with severity warn), fail, or error (it could not be run).
        message: the facts, where the query gives them in a column `message`; else the meaning; or the error.
        n_violations: how many rows; None where it could not be run.
        columns: of the rows.
        rows: the first violations.
        seconds: that it took.
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
    """The first violations as lines of text, the names of the columns first; nothing where the message says it all."""
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
    """The results in the format of JUnit: violations are failures, what could not be run is an error."""
    failed, broken = (str(sum(one.status == status for one in results)) for status in ("fail", "error"))
    seconds = f"{sum(one.seconds for one in results):.3f}"
    counts = {"tests": str(len(results)), "failures": failed, "errors": broken, "time": seconds}
    name = f"check {one_line(run or 'database')}"
    root = ElementTree.Element("testsuites", {"name": "sqlanalysis", **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": name, **counts})
    for one in results:
        attributes = {"classname": name, "name": one.name, "time": f"{one.seconds:.3f}"}
        case = ElementTree.SubElement(suite, "testcase", attributes)
        if one.status == "pass":
            continue
        text = "\n".join([one.meaning, *describe_rows(one)])
        if one.status == "warn":
            ElementTree.SubElement(case, "system-out").text = f"warning: {one.message}\n{text}"
        else:
            tag = "failure" if one.status == "fail" else "error"
            ElementTree.SubElement(case, tag, message=one.message, type=tag).text = text
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written.decode() + "\n"
