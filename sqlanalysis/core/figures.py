"""How figures are written for people, on the page and in notebooks: shares, intervals, counts, differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal; two if it would be rounded to 0% or 100%."""
    if share is None or math.isnan(share):
        return "–"
    text = f"{share * 100:.1f}%"
    return f"{share * 100:.2f}%" if text in ("0.0%", "100.0%") and share not in (0, 1) else text


def interval(row: Mapping[str, Any], low: str = "ci_low", high: str = "ci_high") -> str:
    """The two ends of an interval of a share, such as 91.2–94.5%."""
    return "–" if row[low] is None else f"{percent(row[low])[:-1]}–{percent(row[high])}"


def decimal(value: float | None, digits: int = 3) -> str:
    """A number with that many decimals."""
    return "–" if value is None else f"{value:.{digits}f}"


def count(n: int | None) -> str:
    """An integer with thousands separators."""
    return "–" if n is None else f"{n:,}"


def points(share: float | None, digits: int = 1) -> str:
    """A difference of two shares in percentage points, with its sign."""
    return "–" if share is None else f"{share * 100:+.{digits}f}".replace("-", "−")


def points_interval(row: Mapping[str, Any]) -> str:
    """The interval of a difference of two shares, in percentage points."""
    return "–" if row["ci_low"] is None else f"{points(row['ci_low'])} to {points(row['ci_high'])}"


def p_value(p: float | None) -> str:
    """A p-value with three decimals."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
