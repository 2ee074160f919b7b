"""Tables for people: the one renderer of what verbs return and of the rows of a relation, as HTML for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .figures import count, percent

if TYPE_CHECKING:
    import jinja2

MAX_TEXT = 200
# Columns of shares; the interval beside them is one of a share only where the share itself stands in the row.
SHARES = ("accuracy", "accuracy_run", "accuracy_baseline", "error_rate", "confidence")
ENDS = ("ci_low", "ci_high")


@dataclass(frozen=True)
class Cell:
    """One cell: its text, a picture in its place (a data URI), and its color: right, wrong or quiet."""

    text: str
    source: str | None = None
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells. Numeric columns are aligned at their end; `note` stands below, one sentence a line."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numeric: Sequence[bool] = ()
    title: str = ""
    note: Sequence[str] = ()


def as_html(*tables: Table, title: str = "", lead: str = "") -> str:
    """Tables one below the other, with a title and a sentence above them; all text is escaped, nothing is loaded.

    The colors follow the theme of the notebook, and the ground is the tables' own, so that both always fit.
    """
    html: str = _environment().get_template("tables.html.j2").render(tables=tables, title=title, lead=lead)
    return html


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def difference(low: float | None, high: float | None) -> str:
    """The tone of a difference: right or wrong where its interval leaves out zero, else quiet."""
    if low is None or high is None:
        return "quiet"
    return "right" if low > 0 else "wrong" if high < 0 else "quiet"


def is_numeric(dtype: str) -> bool:
    """Whether values of a DuckDB type are numbers."""
    return dtype.split("(")[0].removeprefix("U") in (
        "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL"
    )  # fmt: skip


def cell(name: str, value: object, columns: Sequence[str] = ()) -> Cell:
    """The value of a column as people read it: shares as percentages, counts with separators, right and wrong as signs.

    Args:
        name: of the column; what it holds is known by the name that macros and views of this package give it.
        value: of any type.
        columns: of the whole row, which say what an interval is one of.
    """
    if isinstance(value, bool) and name.startswith("correct"):
        return Cell("✓ right", tone="right") if value else Cell("✗ wrong", tone="wrong")
    if isinstance(value, bool):
        return Cell("true" if value else "false")
    if isinstance(value, int) and (name == "n" or name.startswith("n_") or name == "bytes"):
        return Cell(count(value))
    is_share = name in SHARES or (name in ENDS and "accuracy" in columns)
    if is_share and isinstance(value, float | Decimal) and 0 <= value <= 1:
        return Cell(percent(float(value)))
    return Cell(plain(value), tone="quiet" if value is None else "")


def plain(value: object) -> str:
    """Any value as short text: floats with six digits, lists with their first values, bytes as their number."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bytes | bytearray):
        return f"{len(value):,} bytes"
    if isinstance(value, list | tuple) and len(value) > 6:
        return f"[{', '.join(map(plain, value[:4]))}, … {len(value):,} values]"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(plain, value))}]"
    text = "" if value is None else str(value)
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"
