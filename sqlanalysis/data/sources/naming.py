"""Which column of a table names the labels of another one, and labels that are objects of an id and a name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from ...core.text import one_line
from ...errors import SchemaError
from .. import columns
from .table import Table
from .values import is_index, to_text

# Columns that are class names by their own name; `name` may be that of a photographer.
_CLASS_NAMES = frozenset(("label_name", "label_names", "label_text", "class_name", "category_name"))
_NUMBER_WORDS = ("id", "idx", "index", "num", "number", "code", "int")
_NAME_WORDS = ("name", "names", "text", "str", "title")
_IDS = ("id", "index", "idx", "class_id", "class_index", "label_id", "category_id", "value")
_NAMES = ("name", "label_name", "class_name", "category_name", "text", "title")


@dataclass
class Naming:
    """What a table calls its labels.

    Attributes:
        column: that gives every label one name of its own; None if there is none.
        names: of the labels.
        notes: why a column that looks so was not taken.
    """

    column: str | None = None
    names: dict[str | int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_names(
    table: Table, found: Mapping[str, str | None], chosen: Mapping[str, str], labels: Sequence[str | int | None]
) -> Naming:
    """The names of the labels, where a column gives every label one name of its own.

    Raises:
        SchemaError: a column of class names gives one label two names.
    """
    label, column = found["label"], found["label_name"]
    keys = {key for key in labels if key is not None and key != -1}
    is_number = any(isinstance(key, int) for key in keys)
    if label is None or label in table.features or not keys:
        return Naming()
    if "label_name" not in chosen:
        column = _own_name_column(table.rows.column_names, found) or column
    if column is None and is_number:
        column = _text_beside(table.rows, found)
    if column is None:
        return Naming()
    names, clash, n_blank = _pairs(labels, table.rows[column].to_pylist())
    why = _why_not(names, clash, keys)
    if "label" in chosen and "label_name" not in chosen and not _belongs(column, label):
        said = f'{column} was not taken as the names of {label}; if it is, columns={{"label_name": "{column}"}}'
        return Naming(notes=[f"{said} (--columns label_name={column})"] if not why and is_number else [])
    if not why:
        blank = f"{column} is empty in {n_blank:,} row{'s' * (n_blank > 1)}: the names are those of the other rows"
        return Naming(column, names, [blank] if n_blank else [])
    is_strong = "label_name" in chosen or columns.plain(column) in _CLASS_NAMES
    if clash is not None and is_number and is_strong:
        raise SchemaError(
            f"{table.origin}: {column} {why.removeprefix('it ')}: two spellings of one class, or names of something "
            "else than the label? correct the column, or leave it out"
        )
    if is_number or (clash is not None and is_strong):
        return Naming(notes=[f"{column} was not taken as the names of {label}: {why}; it is kept in meta"])
    return Naming()


def _own_name_column(names: Sequence[str], found: Mapping[str, str | None]) -> str | None:
    """The column that is called the name of the label's own column, before those that are called so in general."""
    label, taken = found["label"] or "", {name for role, name in found.items() if role != "label_name"}
    words = rf"_({'|'.join(_NAME_WORDS)})$"
    free = [name for name in names if name not in taken and re.search(words, columns.plain(name))]
    return next((name for name in free if _stem(name) == _stem(label)), None)


def _stem(name: str) -> str:
    return re.sub(rf"_({'|'.join((*_NUMBER_WORDS, *_NAME_WORDS))})$", "", columns.plain(name))


def _text_beside(rows: pa.Table, found: Mapping[str, str | None]) -> str | None:
    """A column of text that could itself be the label (`class_id` and `category`)."""
    taken = set(found.values())
    known = {columns.plain(name): name for name in reversed(rows.column_names) if name not in taken}
    for usual in columns.ROLES["label"]:
        name = known.get(usual)
        values = rows[name].to_pylist() if name is not None else []
        given = [value for value in values if value not in (None, "")]
        if given and all(isinstance(value, str) and not is_index(value) for value in given):
            return name
    return None


def _pairs(
    labels: Sequence[str | int | None], values: Sequence[Any]
) -> tuple[dict[str | int, str], tuple[str | int, str, str] | None, int]:
    """The first name of each label, a label with two names, and how many labeled rows have none."""
    names: dict[str | int, str] = {}
    clash, n_blank = None, 0
    for key, value in zip(labels, values, strict=True):
        if key is None or key == -1:
            continue
        name = to_text(value)
        if name is None:
            n_blank += 1
        elif names.setdefault(key, name) != name and clash is None:
            clash = (key, names[key], name)
    return names, clash, n_blank


def _why_not(
    names: Mapping[str | int, str], clash: tuple[str | int, str, str] | None, keys: set[str | int]
) -> str | None:
    if clash is not None:
        return f"it calls label {clash[0]} {clash[1]!r} and {clash[2]!r}"
    unnamed = next((key for key in sorted(keys, key=str) if key not in names), None)
    if unnamed is not None:
        return f"it has no name for label {unnamed}"
    first: dict[str, str | int] = {}
    twice = next((key for key, name in names.items() if first.setdefault(name, key) != key), None)
    return None if twice is None else f"it calls labels {first[names[twice]]} and {twice} both {names[twice]!r}"


def _belongs(column: str, label: str) -> bool:
    """Whether a column is called the name of a label column: `sick_name` of `sick`, `class_name` of `class_id`."""
    if columns.plain(label) in ("wnid", "synset"):
        return True
    return _stem(column) == _stem(label)


def objects_apart(table: Table, found: dict[str, str | None]) -> Table:
    """A table whose label is an object, with its id and its name as columns of their own; `found` says which.

    Raises:
        SchemaError: lists, or objects without one id or name.
    """
    label = found["label"]
    if label is None:
        return table
    objects = [_object(value) for value in table.rows[label].to_pylist()]
    first = next((one for one in objects if one is not None), None)
    if first is None or (isinstance(first, list) and not pa.types.is_string(table.rows[label].type)):
        return table
    if isinstance(first, list):
        raise SchemaError(
            f"{table.origin}: {label} holds lists, such as {one_line(first, 40)}: if each is all the labels that are "
            f'right for an image, columns={{"accepted": "{label}"}} (--columns accepted={label}); else give one label '
            "an image"
        )
    keys = list(first)
    number, name = _only(keys, _IDS), _only(keys, _NAMES)
    is_clear = (number or name) and all(
        one is None or (isinstance(one, dict) and set(one) == set(keys)) for one in objects
    )
    if not is_clear or any(
        value is not None and one is None for value, one in zip(table.rows[label].to_pylist(), objects, strict=True)
    ):
        raise SchemaError(
            f"{table.origin}: {label} holds objects, such as {one_line(first, 60)}; give the label a column of its "
            "own, as a name or an index"
        )
    rows = table.rows.drop_columns([label])
    for role, key in (("label", number or name), ("label_name", name if number else None)):
        if key is None:
            continue
        found[role] = f"{label}.{key}"
        rows = rows.append_column(f"{label}.{key}", pa.array([one[key] if one else None for one in objects]))
    return replace(table, rows=rows)


def _object(value: Any) -> Any:
    """A cell that is an object or a list, or JSON text of one; None for any other."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict | list) else None


def _only(keys: Sequence[str], usual: Sequence[str]) -> str | None:
    found = [key for key in keys if columns.plain(key) in usual]
    return found[0] if len(found) == 1 else None
