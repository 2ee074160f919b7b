"""Alarms about size, printed by `.ci/check`: not a failure, but a question to answer in the review.

`python -m tests.support.budgets` prints a line for every module above 500 lines, function above 60, metric or named
query above 80, and verb with more than 10 options of its own.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

from sqlanalysis import cli
from sqlanalysis.db import templates

from .documents import ROOT

MODULE, FUNCTION, QUERY, OPTIONS = 500, 60, 80, 10


def alarms() -> Iterator[str]:
    """One line for everything above its budget."""
    for file in sorted((ROOT / "sqlanalysis").rglob("*.py")):
        text, name = file.read_text(encoding="utf-8"), file.relative_to(ROOT)
        n = len(text.splitlines())
        if n > MODULE:
            yield f"{name}: {n} lines, more than {MODULE}"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                # The docstring is not counted: long explanations are welcome.
                body = node.body[1:] if ast.get_docstring(node) else node.body
                n = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                if n > FUNCTION:
                    yield f"{name}: {node.name} has {n} lines, more than {FUNCTION}"
    for one in templates.index().values():
        n = len(one.text.splitlines())
        if n > QUERY:
            yield f"sql/{one.folder}/{one.file.name}: {one.name} has {n} lines, more than {QUERY}"
    for command in cli.app.registered_commands:
        assert command.callback is not None
        parameters = inspect.signature(command.callback).parameters.values()
        n = sum(one.default is not inspect.Parameter.empty for one in parameters)
        if n > OPTIONS:
            yield f"sqlanalysis {command.name or command.callback.__name__}: {n} options, more than {OPTIONS}"


if __name__ == "__main__":
    for line in alarms():
        print(f"alarm: {line}")
