"""The results of `check` for GitHub Actions: annotations, and a summary in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.text import one_line
from .junit import Expectation

# Workflow commands by status; what passes is not annotated.
_COMMANDS = {"warn": "warning", "fail": "error", "error": "error"}


def annotate(results: Sequence[Expectation]) -> list[str]:
    """One workflow command per expectation that does not pass, which GitHub shows beside the job."""
    return [
        f"::{_COMMANDS[result.status]} title={_property(result.name)}::{_data(result.message or result.meaning)}"
        for result in results
        if result.status in _COMMANDS
    ]


def summary(run: str | None, results: Sequence[Expectation]) -> str:
    """The results as a Markdown table, for the summary of the job."""
    bad = sum(result.status in ("fail", "error") for result in results)
    verdict = f"{bad} of {len(results)} expectations failed" if bad else f"{len(results)} expectations hold"
    lines = [f"### check {_cell(run or 'database')}: {verdict}", "", "| expectation | status | violations | message |"]
    lines.append("|---|---|---:|---|")
    for result in results:
        n = "" if result.n_violations is None else f"{result.n_violations:,}"
        lines.append(f"| {_cell(result.name)} | {result.status} | {n} | {_cell(result.message)} |")
    return "\n".join(lines) + "\n"


def _data(text: str) -> str:
    """Text in a workflow command; a line break would start another command."""
    return one_line(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _cell(text: str) -> str:
    """Text in a cell of a table, where a name or a message must not become Markdown or HTML."""
    line = one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{char}" if char in "\\`*_{}[]#|~" else char for char in line)
