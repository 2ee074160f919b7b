"""What stands beside the values of a table of predictions and says of which class each of them is.

timm writes the best classes first, as `index` and `prob` (lists, or `index_0`, `prob_0`, …); pipelines of Hugging Face
write `labels` and `scores`. Such values are not in the order of the classes, though there may be one for each.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ..core.text import one_line
from ..data.columns import ROLES, plain
from ..errors import SchemaError

# In a list called like a label, numbers may be the true labels: zeros and ones.
_NAMES = (*ROLES["label"], *ROLES["label_name"], *ROLES["pred_name"], "class_names")
_NAMES_OR_NUMBERS = (*ROLES["pred"], *ROLES["pred_index"], "index", "indices", "idx", "class_indices")
_STEMS = ("label", "label_name", "class", "class_name", "category", "pred", "index", "idx")
_NUMBERED = re.compile(rf"({'|'.join(_STEMS)})_?(\d+)")


def says_class(name: str) -> bool:
    """Whether a column may say of which class a value is, by its name."""
    return plain(name) in (*_NAMES, *_NAMES_OR_NUMBERS) or _NUMBERED.fullmatch(plain(name)) is not None


def refuse_other_classes(
    rows: pa.Table, values: str | None, by_class: Mapping[int, str], classes: Sequence[str], origin: str
) -> None:
    """Classes beside the values must be those of the data set, in their order.

    Args:
        rows: the table.
        values: the column with a list of values in each row; None without.
        by_class: or the column of each class, which counts where these are called by numbers.
        classes: of the data set, in order.
        origin: what to call the table in messages.

    Raises:
        SchemaError: they are in another order; the message names the first such row.
    """
    if by_class:
        told = _numbered(rows, by_class)
        values = f"{by_class[min(by_class)]}, …"
    else:
        told = _lists(rows, values) if values is not None else {}
    in_order = ([str(name) for name in classes], [str(number) for number in range(len(classes))])
    for name, lists in told.items():
        for row, said in enumerate(lists, 1):
            if said is None or said in in_order or len(set(said)) < len(classes):
                continue
            raise SchemaError(
                f"{origin}: {name} says of which class each value of {values} is, and in row {row} these are "
                f"{one_line(', '.join(said), 60)}, where the order of the classes is "
                f"{one_line(', '.join(classes), 60)}; write one column per class, with its name, or the best class "
                "and its probability, as pred_name and confidence"
            )


def _numbered(rows: pa.Table, by_class: Mapping[int, str]) -> dict[str, list[list[str] | None]]:
    """Columns label_0, label_1, … beside prob_0, prob_1, …, as lists."""
    ends = [re.search(r"\d+$", name) for name in by_class.values()]
    numbers = {int(end[0]) for end in ends if end is not None}
    groups: dict[str, dict[int, str]] = {}
    for name in rows.column_names:
        found = _NUMBERED.fullmatch(plain(name))
        if found is not None and name not in by_class.values():
            groups.setdefault(found[1], {})[int(found[2])] = name
    told = {}
    for group in groups.values():
        if set(group) == numbers and len(numbers) == len(by_class):
            columns = [rows[group[number]].to_pylist() for number in sorted(group)]
            told[f"{group[min(group)]}, …"] = [_as_texts(list(row)) for row in zip(*columns, strict=True)]
    return told


def _lists(rows: pa.Table, values: str) -> dict[str, list[list[str] | None]]:
    """Columns of lists of class names or indices."""
    told = {}
    for name in rows.column_names:
        if name == values or plain(name) not in (*_NAMES, *_NAMES_OR_NUMBERS):
            continue
        lists = [_list_of(value) for value in rows[name].to_pylist()]
        first = next((one for one in lists if one), None)
        is_number = first is not None and all(isinstance(value, int) for value in first)
        if first is not None and (not is_number or plain(name) in _NAMES_OR_NUMBERS):
            told[name] = [None if one is None else _as_texts(one) for one in lists]
    return told


def _as_texts(values: Sequence[Any]) -> list[str] | None:
    """Names or whole numbers as text; None where a value is missing or another number."""
    whole = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    return [str(value) for value in whole] if all(isinstance(value, str | int) for value in whole) else None


def _list_of(value: Any) -> list[Any] | None:
    """A list, or text of one as JSON and Python write it; None for anything else."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    return value if isinstance(value, list) else None
