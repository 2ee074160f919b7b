"""A table of images as a source: which column is what, what its labels are, where its files lie."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from ...core.addresses import without_secrets
from ...core.classes import MAX_NUMBERED, OUTSIDE, WNID, Classes, from_keys
from ...core.text import one_line
from ...errors import SchemaError
from .. import columns
from . import Entry, Source, pictured
from .naming import find_names, objects_apart
from .table import Table
from .values import as_indices, is_index, is_missing, to_accepted, to_label, to_meta, to_text

CELLS = 100_000  # of a table that become Python objects at once
ROLES = ("path", "label", "label_name", "split", "accepted")
# A pandas frame brings its index along when that is more than row numbers.
_INDEX_COLUMN = re.compile(r"__index_level_\d+__")


def from_table(table: Table, chosen: Mapping[str, str]) -> Source:
    """The images that a table lists, one row an image.

    Args:
        table: from `read_table`.
        chosen: columns that the caller named, role → column.

    Raises:
        SchemaError: no path column, a column that is not there, or labels that are neither text nor whole numbers.
    """
    names: list[str] = [name for name in table.rows.column_names if not _INDEX_COLUMN.fullmatch(name)]
    if pictured.picture_column(table.rows.schema, chosen, table.origin) is not None:
        return pictured.from_rows(table, chosen)
    found = columns.find(names, ROLES, chosen, table.origin)
    path = found["path"]
    if path is None:
        raise SchemaError(
            f'{table.origin} has no path column; name it, such as columns={{"path": "{names[0] if names else "…"}"}} '
            f"(--columns path=…); there are: {', '.join(names) or 'none'}"
        )
    found["accepted"] = _accepted_column(table.rows, found["accepted"])
    is_names = found["label"] is None and "label_name" in chosen
    if is_names:  # the caller says that the labels are names
        found["label"], found["label_name"] = found["label_name"], None
    table = objects_apart(table, found)
    names = [name for name in table.rows.column_names if name in names or name in found.values()]
    labels = _labels(table, found["label"], is_names)
    if "label" not in chosen:
        _refuse_split_labels(table, found["label"])
    accepted = [to_accepted(value) for value in _values(table, found["accepted"])]
    naming = find_names(table, found, chosen, labels)
    keys, classes, numbers = _keys(table, found["label"], naming.names, labels, accepted)
    found["label_name"] = naming.column if classes is not None else None
    rest = [name for name in names if name not in set(found.values())]
    source = Source(
        name=table.name,
        origin=table.origin,
        entries=(),
        keys=keys,
        classes=classes,
        indexed=found["label"] in table.features or (classes is not None and bool(numbers)),
        mixed=None if is_names or naming.column else _mixed(table, found["label"], labels),
        numbers=numbers,
        total=table.rows.num_rows,
        columns=columns.describe(found),
        notes=[
            *naming.notes,
            *_words_for_nothing(found["label"], keys),
            *_several_in_one(found["label"], keys),
            *_unlabeled(table, found, rest),
            *_unsplit(table, found, rest),
        ],
    )
    source.entries = _entries(table, found, labels, accepted, rest, source)
    return source


def _refuse_split_labels(table: Table, label: str | None) -> None:
    """Where shards or lines call the label differently, each column is empty where the other is filled."""
    if label is None:
        return
    taken = table.rows[label]
    for other in table.rows.column_names:
        if other == label or columns.plain(other) not in columns.ROLES["label"]:
            continue
        filled = pc.and_(pc.is_null(taken), pc.is_valid(table.rows[other]))
        if pc.any(filled).as_py() and not pc.any(pc.and_(pc.is_valid(taken), pc.is_valid(table.rows[other]))).as_py():
            raise SchemaError(
                f"{table.origin}: {other} is filled where {label} is empty; give the label one column, or "
                f'columns={{"label": "{label}"}} (--columns label={label}) takes the former as unlabeled'
            )


def _unlabeled(table: Table, found: Mapping[str, str | None], rest: Sequence[str]) -> list[str]:
    """A word when no column was taken for the label, though there are columns that could be it."""
    if found["label"] is not None or not rest:
        return []
    listed = ", ".join(rest[:8]) + (", …" if len(rest) > 8 else "")
    flags = [name for name in rest if set(map(to_text, table.rows[name].to_pylist())) <= {"0", "1", "0.0", "1.0"}]
    if len(flags) > 1:
        return [
            f"no label column among {listed}: {', '.join(flags[:4])}{', …' * (len(flags) > 4)} hold only 0 and 1, as "
            "one column for each class does; write the class of each image into a column label, in pandas "
            f"frame[[{', '.join(map(repr, flags[:2]))}{', …' * (len(flags) > 2)}]].idxmax(axis=1)"
        ]
    return [
        f"no label column recognized among {listed}; if one is the label, name it: "
        f'columns={{"label": "{rest[0]}"}}, --columns label={rest[0]}'
    ]


def _unsplit(table: Table, found: Mapping[str, str | None], rest: Sequence[str]) -> list[str]:
    """A word when no column was taken for the split, and one holds names of splits, or says what is in one."""
    from .folder import is_split  # which reads tables, too

    if found["split"] is not None:
        return []
    for name in rest:
        column = table.rows[name]
        if re.fullmatch(r"is_(train|test|val|valid)\w*", columns.plain(name)):
            return [f"{name} was not taken as the split: write train, val or test into a column split"]
        if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
            continue
        values = pc.unique(column.combine_chunks()).drop_null().to_pylist()
        if len(values) <= 8 and any(map(is_split, values)):
            cure = f'columns={{"split": "{name}"}} (--columns split={name})'
            return [f"{name} holds {', '.join(values[:4])} and was not taken as the split; if it is, {cure}"]
    return []


def _several_in_one(column: str | None, keys: Sequence[str]) -> list[str]:
    """A word about labels such as `cat|dog` beside `cat` and `dog`, which are classes of their own."""
    known = set(keys)
    for key in keys:
        parts = [part.strip() for part in re.split(r"[|;,]", key)]
        if len(parts) > 1 and known.issuperset(parts):
            return [
                f"{key!r} in {column} is taken as a class of its own, beside {parts[0]!r} and {parts[1]!r}; if these "
                'are several right labels, write lists, and columns={"accepted": "…"} (--columns accepted=…)'
            ]
    return []


def _values(table: Table, column: str | None) -> list[Any]:
    return table.rows[column].to_pylist() if column is not None else [None] * table.rows.num_rows


def _labels(table: Table, column: str | None, is_names: bool) -> list[str | int | None]:
    """The labels, as text or as indices; text of a CSV is an index only where all of it is whole numbers."""
    names = table.features.get(column or "")
    labels = [to_label(value, numbers=not is_names) for value in _values(table, column)]
    _refuse_lines(table, column, labels)
    if is_names:
        return labels
    if names is not None:
        return [_feature(label, names, column or "") for label in labels]
    if table.is_text or column in table.mixed:
        indices = as_indices([label if isinstance(label, str) else None for label in labels])
        if indices is not None:
            return list(indices)
    # Beside names, too, -1 is what tools write for no label.
    return [None if label == "-1" else label for label in labels]


def _refuse_lines(table: Table, column: str | None, labels: Sequence[str | int | None]) -> None:
    """A quote that opens in one line of a CSV and closes in another one makes one label of both."""
    for row, label in enumerate(labels, 1):
        if isinstance(label, str) and ("\n" in label or "\r" in label):
            raise SchemaError(
                f"{table.origin}: {column} of row {row} goes over several lines ({one_line(label, 40)}): a quote "
                "before it is not closed, or a label has a line break; correct it"
            )


def _feature(label: str | int | None, names: Sequence[str], column: str) -> str | None:
    """The name of a ClassLabel; -1 is what Hugging Face writes for no label."""
    if label is None or label == -1 or isinstance(label, str):
        return label if isinstance(label, str) else None
    if not 0 <= label < len(names):
        raise SchemaError(f"{column} has label {label}, but its feature names {len(names)} classes")
    return names[label]


def _accepted_column(rows: pa.Table, column: str | None) -> str | None:
    """The column `accepted`, if it holds lists, or text that looks so; other things have that name, too."""
    if column is None:
        return None
    dtype = rows.schema.field(column).type
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype):
        return column
    first = next((value for value in rows[column].to_pylist() if value), None)
    return column if isinstance(first, str) and first.lstrip().startswith("[") else None


def _mixed(table: Table, column: str | None, labels: Sequence[str | int | None]) -> tuple[str, str] | None:
    """A name and a number of a column that does not say what is text, where it has both."""
    if not table.is_text and column not in table.mixed:
        return None
    texts = {label for label in labels if isinstance(label, str) and not is_missing(label)}
    numbers = {text for text in texts if is_index(text)}
    return (min(texts - numbers), min(numbers)) if numbers and texts - numbers else None


def _words_for_nothing(column: str | None, keys: Sequence[str]) -> list[str]:
    """Beside names, too, these words may mean that there is no label; as a class, they would be one more."""
    found = [key for key in keys if is_missing(key)] if column else []
    return [f"{one!r} in {column} is taken as a class; where it means no label, leave it empty" for one in found]


_Keys = tuple[tuple[str, ...], Classes | None, tuple[int, ...]]


def _keys(
    table: Table,
    label: str | None,
    names: Mapping[str | int, str],
    labels: Sequence[str | int | None],
    accepted: Sequence[tuple[str | int, ...] | None],
) -> _Keys:
    """Text labels, their classes, and the whole numbers that are labels."""
    first = {key for key in labels if key is not None}
    also = {key for several in accepted if several for key in several}
    numbers = {key for key in first | also if isinstance(key, int)}
    texts = {key for key in first | also if isinstance(key, str)}
    if numbers - {OUTSIDE} and texts:
        where = f"{label} and accepted hold" if also and label else f"{label or 'accepted'} holds"
        raise SchemaError(
            f"{table.origin}: {where} names and numbers (such as {min(texts)!r} and {min(numbers - {OUTSIDE})}): "
            "a number could be an index or a name; write all as names, or all as indices"
        )
    if texts:
        numbers = set()
    if numbers:
        return _numbered(table, numbers, names, label or "accepted")
    known = sorted(texts)
    features = table.features.get(label or "")
    if features is not None:
        return tuple(features), from_keys(features), ()
    if names:
        wnids = tuple(key if WNID.fullmatch(key) else None for key in known)
        return tuple(known), Classes(tuple(names.get(key, key) for key in known), wnids), ()
    return tuple(known), (from_keys(known) if known else None), ()


def _numbered(table: Table, numbers: set[int], names: Mapping[str | int, str], column: str) -> _Keys:
    """Whole numbers: indices into the classes; with a name for each, the names say which."""
    used = sorted(number for number in numbers if number >= 0)
    if min(numbers) < -1:
        raise SchemaError(f"{table.origin}: {column} holds {min(numbers)}; labels are indices from 0, empty if unknown")
    if not names or not used or used[-1] >= MAX_NUMBERED:
        return (), None, tuple(sorted(numbers))
    if used[0] == 0:
        full = tuple(names.get(number, str(number)) for number in range(used[-1] + 1))
        return (), from_keys(full), tuple(sorted(numbers))
    # Numbers that start at 1 need no guess where each has a name.
    return tuple(map(str, used)), from_keys([names[number] for number in used]), ()


def _entries(
    table: Table,
    found: Mapping[str, str | None],
    labels: Sequence[str | int | None],
    accepted: Sequence[tuple[str | int, ...] | None],
    rest: Sequence[str],
    source: Source,
) -> Iterator[Entry]:
    as_text = bool(source.keys)
    number = 0
    for batch in table.rows.to_batches(max_chunksize=max(1, CELLS // table.rows.num_columns)):
        for row in batch.to_pylist():
            label = labels[number]
            yield Entry(
                locate(row[found["path"]], table.root, source),
                label=_key(label, as_text),
                split=to_text(row[found["split"]]) if found["split"] else None,
                meta=to_meta({name: row[name] for name in rest}),
                accepted=accepted[number],
                relative=_relative(row[found["path"]]),
            )
            number += 1


def _key(label: str | int | None, as_text: bool) -> str | int | None:
    """A label as a key of the source's classes; -1 is no label where numbers are names."""
    if not as_text or label is None or isinstance(label, str):
        return label
    return str(label) if label >= 0 else None


def _relative(text: Any) -> str | None:
    """The path as the table writes it, when it is relative."""
    name = str(text or "").replace("\\", "/")
    return None if not name or name.startswith("/") or "://" in name or re.match(r"[A-Za-z]:", name) else name


def locate(text: Any, root: Path, source: Source | None = None) -> str:
    """Where an image of a table lies: as written, or by the first other reading under which there is one file.

    Other readings, in this order: with the separators of this system; in Unicode's other normal form; without its
    ending; below the table's folder by the end of a path of another machine. Each is counted in `source.found_by`.
    An address keeps neither user nor password nor query.
    """
    name = str(text) if text is not None else ""
    if name.startswith("file:"):
        return unquote(urlsplit(name).path)
    if "://" in name:
        return without_secrets(name)
    if not name:
        return name
    written = os.path.abspath(root / os.path.expanduser(name))
    if os.path.exists(written):
        return written
    for step, candidates in _readings(name, root):
        files = [one for one in candidates if os.path.isfile(one)]
        if len(files) == 1:
            if source is not None:
                source.found_by[step] += 1
            return os.path.abspath(files[0])
    return written


def _readings(name: str, root: Path) -> Iterator[tuple[str, list[str]]]:
    slashed = name.replace("\\", "/")
    yield "with back slashes as separators", [str(root / slashed)]
    forms = [unicodedata.normalize(form, slashed) for form in ("NFC", "NFD")]
    yield "in another Unicode form", [str(root / one) for one in dict.fromkeys(forms)]
    folder, stem = os.path.split(str(root / slashed))
    if os.path.isdir(folder) and "." not in stem:
        with os.scandir(folder) as listed:
            same = [file.path for file in listed if os.path.splitext(file.name)[0] == stem]
        yield "by the name without its ending", same
    parts = re.sub(r"^[A-Za-z]:", "", slashed).strip("/").split("/")
    for start in range(1, len(parts)):
        yield "by the end of their path", [str(root.joinpath(*parts[start:]))]
