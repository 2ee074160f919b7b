"""Base class of what verbs return: its `repr` has a few lines, and a notebook shows it as a table."""

from __future__ import annotations

import dataclasses
import html
import textwrap
from typing import Any

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

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left">{html.escape(name)}</th>'
            f'<td style="text-align:left">{html.escape(text)}</td></tr>'
            for name, text in self._shown().items()
        )
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"


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
