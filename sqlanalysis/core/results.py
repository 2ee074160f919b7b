"""Base class of what verbs return: its `repr` has a few lines, and a notebook shows it as a table."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any

from . import tables
from .text import for_terminal

WIDTH = 100
LISTED = 6  # entries shown of a list or dict


class Result:
    """A dataclass whose `repr` fits on a few lines and which a notebook shows as a table of its fields."""

    def _shown(self) -> dict[str, str]:
        """Name and text of the fields to show."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {field.name: figure(getattr(self, field.name)) for field in fields if field.repr}

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={text}" for name, text in self._shown().items())
        return textwrap.fill(f"{type(self).__name__}({inside})", WIDTH, subsequent_indent="    ")

    def _tables(self) -> Sequence[tables.Table]:
        """What a notebook shows: the fields, and the notes below them."""
        names = [field.name for field in dataclasses.fields(self) if field.repr]  # type: ignore[arg-type]
        values = {name: getattr(self, name) for name in names}
        notes = values.pop("notes", None) or ()
        rows = [[tables.Cell(words(name), tone="quiet"), _cell(name, value)] for name, value in values.items()]
        return [tables.Table(("", ""), rows, note=[for_terminal(str(note)) for note in notes])]

    def _lead(self) -> str:
        """A sentence above the tables."""
        return ""

    def _repr_html_(self) -> str:
        name = type(self).__name__
        return tables.as_html(*self._tables(), title=name, lead=self._lead())


def words(name: str) -> str:
    """The name of a field as people say it: `n_errors` is errors, `images_per_second` images per second."""
    return name.removeprefix("n_").replace("_", " ")


def _cell(name: str, value: Any) -> tables.Cell:
    if value is None:
        return tables.Cell("–", tone="quiet")
    if isinstance(value, int) and not isinstance(value, bool):
        return tables.Cell(
            f"{value:,}", tone="wrong" if name in ("n_errors", "n_refused", "n_failed") and value else ""
        )
    if isinstance(value, str) or hasattr(value, "__fspath__"):
        return tables.Cell(for_terminal(str(value)))
    if isinstance(value, dict):
        more = f", … {len(value)} in all" if len(value) > LISTED else ""
        parts = [f"{key}: {_cell(key, inner).text}" for key, inner in list(value.items())[:LISTED]]
        return tables.Cell(for_terminal(", ".join(parts) + more) or "none")
    if isinstance(value, list | tuple) and not value:
        return tables.Cell("none")
    if isinstance(value, Result):
        return tables.Cell(for_terminal(str(value)))
    return tables.Cell(figure(value))


def figure(value: Any) -> str:
    """A value as text: floats with four significant digits, lists and dicts with their first entries."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    if isinstance(value, dict):
        parts = [f"{name}: {figure(inner)}" for name, inner in value.items()]
    elif isinstance(value, list | tuple):
        parts = [figure(item) for item in value]
    else:
        return for_terminal(repr(value) if isinstance(value, str) else str(value))
    more = f", … {len(parts)} in all" if len(parts) > LISTED else ""
    inside = ", ".join(parts[:LISTED]) + more
    return f"{{{inside}}}" if isinstance(value, dict) else f"[{inside}]"
