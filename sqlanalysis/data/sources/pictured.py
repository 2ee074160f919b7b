"""Tables whose pictures stand in a column, as bytes: what is beside them is read like every table, and they join it.

A file of 3 kB can promise 60 GB of pictures, so they come one by one, and never all at once.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from ...core.reading import MAX_BYTES
from ...errors import SchemaError
from .. import columns
from . import Entry, Source
from .table import Table

# Columns of plain bytes that are pictures; of several columns of pictures, the one that is meant.
USUAL = (
    *("image", "img", "picture", "photo", "image_bytes", "img_bytes", "bytes", "content"),
    *("jpg", "jpeg", "png", "webp"),
)


class Picture(NamedTuple):
    """A picture beside the row of a table."""

    uri: str
    data: bytes | None
    split: str | None = None
    relative: str | None = None


def holds_pictures(dtype: pa.DataType) -> bool:
    """Whether a column of this Arrow type holds encoded pictures: STRUCT(bytes, path), or plain bytes."""
    return is_struct(dtype) or _is_bytes(dtype)


def is_struct(dtype: pa.DataType) -> bool:
    """Whether a column is Hugging Face's way to keep pictures, STRUCT(bytes, path)."""
    return bool(pa.types.is_struct(dtype)) and any(one.name == "bytes" and _is_bytes(one.type) for one in dtype)


def _is_bytes(dtype: pa.DataType) -> bool:
    if pa.types.is_dictionary(dtype):
        return _is_bytes(dtype.value_type)
    return bool(pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype) or pa.types.is_binary_view(dtype))


def picture_column(schema: pa.Schema, chosen: Mapping[str, str], origin: str) -> str | None:
    """The column of pictures: the one chosen, the only STRUCT(bytes, path), or bytes under a usual name; None if none.

    Raises:
        SchemaError: several columns hold pictures, and none of them has a usual name.
    """
    if "path" in chosen:
        name: str = columns.find(schema.names, ("path",), {"path": chosen["path"]}, origin)["path"] or ""
        return name if holds_pictures(schema.field(name).type) else None
    structs: list[str] = [one.name for one in schema if is_struct(one.type)]
    usual: list[str] = [one.name for word in USUAL for one in schema if columns.plain(one.name) == word]
    if not structs:
        return next((name for name in usual if _is_bytes(schema.field(name).type)), None)
    if len(structs) == 1:
        return structs[0]
    named = next((name for name in usual if name in structs), None)
    if named is None:
        raise SchemaError(
            f"{origin} has several columns of pictures: {', '.join(structs)}; choose one, such as "
            f'columns={{"path": "{structs[0]}"}} (--columns path={structs[0]})'
        )
    return named


def is_text(dtype: pa.DataType) -> bool:
    """Whether a column is text."""
    if pa.types.is_dictionary(dtype):
        return is_text(dtype.value_type)
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype))


def same_features(named: Sequence[tuple[str, dict[str, list[str]]]]) -> dict[str, list[str]]:
    """The class names that all parts of a data set give.

    Raises:
        SchemaError: two parts order or name them otherwise, so that one number would mean two classes.
    """
    known = [(where, features) for where, features in named if features]
    for where, features in known[1:]:
        for name, classes in features.items():
            if known[0][1].get(name, classes) != classes:
                raise SchemaError(f"{known[0][0]} and {where} name the classes of {name!r} differently; add them apart")
    return dict(itertools.chain.from_iterable(features.items() for _, features in reversed(known)))


def beside_pictures(schema: pa.Schema, column: str) -> tuple[list[str], list[str]]:
    """The columns that go into labels, splits and meta, and those of bytes that are left out."""
    others = [one for one in schema if one.name != column]
    dropped = [one.name for one in others if _bytes_inside(one.type)]
    return [one.name for one in others if one.name not in dropped], dropped


def _bytes_inside(dtype: pa.DataType) -> bool:
    if pa.types.is_struct(dtype):
        return any(_bytes_inside(one.type) for one in dtype)
    nested = getattr(dtype, "value_type", None)
    return _is_bytes(dtype) or (nested is not None and _bytes_inside(nested))


def picture_bytes(value: pa.Scalar) -> bytes | None:
    """The bytes of a value; None for none, and for more than an image may have."""
    buffer = value.as_buffer() if hasattr(value, "as_buffer") else value.as_py()
    return None if buffer is None or len(buffer) > MAX_BYTES else bytes(buffer)


def placed(data: bytes | None, path: str | None, file: Path, number: int, split: str | None) -> Picture:
    """A picture by its row in a file; by the path that the row gives, when it has no bytes."""
    if data is None and path:
        return Picture(_locate(path, file.parent), None, split)
    return Picture(f"{file}#{number}", data, split, f"{file.name}#{number}")


def _locate(path: str, root: Path) -> str:
    from .manifest import locate

    return locate(path, root)


def joined(
    table: Table, column: str, chosen: Mapping[str, str], pictures: Iterable[Picture], dropped: Sequence[str]
) -> Source:
    """A table without its pictures, read like every table, and the pictures row by row."""
    names: list[str] = [name for name in table.rows.column_names if name != column]
    label, notes = label_column(names, table.features, chosen, table.origin)
    roles = {**chosen, "path": column} | ({"label": label} if label else {})
    refuse_lists(table.rows.schema, label, table.origin)
    from .manifest import from_table  # which hands tables with pictures to this module

    source = from_table(table, roles)
    entries = source.entries

    def stream() -> Iterator[Entry]:
        for entry, picture in zip(entries, pictures, strict=True):
            yield replace(
                entry,
                uri=picture.uri,
                data=picture.data,
                split=entry.split or picture.split,
                relative=picture.relative,
            )

    source.entries = stream()
    source.notes += notes
    if dropped:
        source.notes.append(f"columns of bytes left out: {', '.join(dropped)}")
    return source


def label_column(
    names: Sequence[str], features: Mapping[str, list[str]], chosen: Mapping[str, str], origin: str
) -> tuple[str | None, list[str]]:
    """The column that is the label: the one chosen, else the one whose classes the metadata names, else by its name."""
    if "label" in chosen:
        return chosen["label"], []
    usual = columns.find(names, ("label",), {}, origin)["label"]
    classed = [name for name in names if name in features and name != columns.find(names, ("split",), {}, "")["split"]]
    if not classed or (usual in classed and len(classed) == 1):
        return usual, []
    if usual in classed:
        others = ", ".join(name for name in classed if name != usual)
        return usual, [f"the label is {usual}; {others} names classes, too, and is kept in meta"]
    if len(classed) > 1:
        raise SchemaError(
            f"{origin} names classes for {' and '.join(classed)}; choose the label, such as "
            f'columns={{"label": "{classed[0]}"}} (--columns label={classed[0]})'
        )
    note = f"the label is {classed[0]}, whose classes the metadata names"
    return classed[0], [note + (f"; {usual} is kept in meta" if usual else "")]


def refuse_lists(schema: pa.Schema, label: str | None, origin: str) -> None:
    """Several labels of one picture are no label.

    Raises:
        SchemaError: the label column holds lists.
    """
    dtype = schema.field(label).type if label in schema.names else None
    if dtype is not None and (pa.types.is_list(dtype) or pa.types.is_large_list(dtype)):
        raise SchemaError(
            f"{origin} has lists in {label!r}: if each is all the labels that are right for a picture, "
            f'columns={{"accepted": "{label}"}} (--columns accepted={label}); else give one label a picture'
        )


def with_paths(rows: pa.Table | None, column: str, paths: Sequence[str | None]) -> pa.Table:
    """The rows beside the pictures, with the file names that the pictures had, and a stand-in for the pictures."""
    numbers = pa.array([f"row:///{number}" for number in range(len(paths))], pa.string())
    rows = pa.table({column: numbers}) if rows is None else rows.append_column(column, numbers)
    if "path" in rows.column_names or not any(paths):
        return rows
    return rows.append_column("path", pa.array(paths, pa.string()))


def from_rows(table: Table, chosen: Mapping[str, str]) -> Source:
    """The images of a table in memory whose column of pictures holds their bytes.

    Raises:
        SchemaError: no or several such columns, or labels that can be read in two ways.
    """
    column = picture_column(table.rows.schema, chosen, table.origin)
    if column is None:
        raise SchemaError(f"{table.origin} has no column of pictures; it has {', '.join(table.rows.column_names)}")
    rest, dropped = beside_pictures(table.rows.schema, column)
    values = table.rows[column]
    paths = struct_paths(values)
    rows = with_paths(table.rows.select(rest) if rest else None, column, paths)
    pictures = _in_memory(values, paths, table.origin, table.root)
    return joined(replace(table, rows=rows), column, chosen, pictures, dropped)


def struct_paths(values: pa.ChunkedArray) -> list[str | None]:
    """The path in each STRUCT(bytes, path), if any."""
    if not is_struct(values.type) or all(one.name != "path" for one in values.type):
        return [None] * len(values)
    number = values.type.get_field_index("path")
    return [path for chunk in values.chunks for path in chunk.flatten()[number].to_pylist()]


def _in_memory(values: pa.ChunkedArray, paths: Sequence[str | None], origin: str, root: Path) -> Iterator[Picture]:
    seen: Counter[str] = Counter()
    for number, (value, path) in enumerate(zip(scalars(values), paths, strict=True)):
        yield by_content(picture_bytes(value), path, f"{origin}#{number}", root, None, seen)


def scalars(column: pa.ChunkedArray) -> Iterator[pa.Scalar]:
    """The values of a column of pictures one by one, NULL where there is no bytes."""
    for chunk in column.chunks:
        yield from chunk.flatten()[chunk.type.get_field_index("bytes")] if is_struct(chunk.type) else chunk


def by_content(
    data: bytes | None, path: str | None, row: str, root: Path, split: str | None, seen: Counter[str]
) -> Picture:
    """A picture without a file, named by its content, and by its number when it repeats; by its path without bytes."""
    if data is None:
        return Picture(_locate(path, root) if path else row, None, split)
    uri = f"sha256:{hashlib.sha256(data).hexdigest()}"
    seen[uri] += 1
    return Picture(uri if seen[uri] == 1 else f"{uri}#{seen[uri]}", data, split)


def encoded(frame: Any) -> Any:
    """A pandas or polars frame whose columns of PIL images or uint8 arrays became encoded bytes; the rest as it is.

    Raises:
        ImageError: an array of the wrong type or shape.
    """
    from ...core.decode import encode

    if type(frame).__module__.partition(".")[0] not in ("pandas", "polars"):
        return frame
    found: dict[str, Any] = {}
    for name in frame.columns:
        if str(frame[name].dtype).lower() != "object":
            continue
        values = [None if value is None or value is pa.NA else value for value in list(frame[name])]
        first = next((value for value in values if value is not None), None)
        if _is_pixels(first):
            found[name] = pa.array([None if value is None else encode(value) for value in values], pa.large_binary())
    if not found:
        return frame
    rest = frame[[name for name in frame.columns if name not in found]]
    table = pa.table(rest) if len(rest.columns) else None
    for name, values in found.items():
        table = pa.table({name: values}) if table is None else table.append_column(name, values)
    return table


def _is_pixels(value: Any) -> bool:
    if type(value).__module__.partition(".")[0] == "PIL":
        return True
    return str(getattr(value, "dtype", "")) == "uint8" and len(getattr(value, "shape", ())) in (2, 3)
