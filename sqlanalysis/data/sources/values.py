"""Values of a table's cells as labels, splits, accepted answers and metadata."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from ...core.parsing import parse_json
from ...core.text import one_line
from ...errors import SchemaError

# A whole number as people write indices: no leading zero, no plus sign. `01` is a name.
_INDEX = re.compile(r"-?(0|[1-9][0-9]*)(\.0+)?")


_MISSING = ("nan", "na", "n/a", "<na>", "none", "null")


def to_label(value: Any, *, numbers: bool = True) -> str | int | None:
    """A label: text is a name, a whole number an index; NULL, NaN and empty text are no label.

    Args:
        value: a cell.
        numbers: whether whole numbers are indices; False where they are names.

    Raises:
        SchemaError: neither text nor a whole number.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return name(value) or None
    if isinstance(value, bool):
        return str(value).lower()
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SchemaError(f"label {one_line(value, 40)} is neither text nor a whole number") from None
    if math.isnan(number):
        return None
    if not number.is_integer():
        raise SchemaError(f"label {one_line(value, 40)} is neither text nor a whole number")
    return int(value) if numbers else str(int(value))


def name(text: str) -> str:
    """A class name in Unicode's normal form NFC: two files that look alike name the same class."""
    return unicodedata.normalize("NFC", text)


def is_index(text: str) -> bool:
    """Whether text is a whole number as people write indices; `01` is a name."""
    return _INDEX.fullmatch(text) is not None


def is_missing(text: str) -> bool:
    """Whether text is a word that tools write for no value."""
    return text.casefold() in _MISSING


def as_indices(values: list[str | None]) -> list[int | None] | None:
    """A column of text as indices when every value is a whole number as people write them; else None.

    Beside whole numbers, and only there, nan, NA, None and null are no label: no program calls a class so.
    """
    given = [value if value and not is_missing(value) else None for value in values]
    if not any(given) or not all(is_index(value) for value in given if value):
        return None
    return [int(float(value)) if value else None for value in given]


def to_text(value: Any) -> str | None:
    """Text of a cell; None for NULL, NaN and empty text."""
    return None if value is None or value == "" or value != value else str(value)


def to_accepted(value: Any) -> tuple[str | int, ...] | None:
    """Labels of one image: a list, or JSON text of one; NULL and empty text say nothing.

    Raises:
        SchemaError: something else.
    """
    if value is None or value == "":
        return None
    try:
        listed = parse_json(value, "accepted") if isinstance(value, str) else value
    except SchemaError:
        listed = None
    if not isinstance(listed, list | tuple):
        raise SchemaError(
            f'accepted {one_line(value, 60)} is not a list of labels; write it as [1, 2] or ["cat", "dog"]'
        )
    return tuple(key for key in map(to_label, listed) if key is not None)


def to_meta(values: Mapping[str, Any]) -> str | None:
    """JSON of the columns that play no role."""
    return json.dumps(dict(values), default=str, ensure_ascii=False) if values else None
