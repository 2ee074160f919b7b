"""Parquet files that hold pictures, one or several shards; each is measured before anything of it is read."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...core.text import one_line
from ...db import templates
from ...db.statements import configure
from ...errors import SchemaError
from . import Source, folder
from .pictured import (
    Picture,
    beside_pictures,
    holds_pictures,
    is_struct,
    is_text,
    joined,
    picture_bytes,
    picture_column,
    placed,
    same_features,
    scalars,
    with_paths,
)
from .table import MAX_ROWS, Table, feature_names, read_table, refuse_repeated

HELD_BYTES = 64 * 1024 * 1024  # of pictures that are decompressed at once
MAX_TEXT = 1024 * 1024  # of one row, beside the picture
MAX_TEXTS = 1024**3  # of all rows of a file
MAX_VALUES = 100_000_000  # in the lists of a file
# Pictures are compressed already. A file that grows more than this, and to more than this, is made to fill memory.
MAX_RATIO, MAX_GROWN = 200, 1024**3
_SHARD = re.compile(r"(.+?)-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?")
_NO_NAMES = ("data", "default", "images", "plain_text", "parquet")  # of folders that name no data set
_POINTER = b"version https://git-lfs"


def has_pictures(file: Path, chosen: Mapping[str, str]) -> bool:
    """Whether a Parquet file holds the pictures themselves, not their paths."""
    return picture_column(_schema(file), chosen, str(file)) is not None


def _schema(file: Path) -> pa.Schema:
    schema = _opened(file).schema_arrow
    refuse_repeated(schema.names, str(file))
    return schema


def _opened(file: Path) -> pq.ParquetFile:
    """A Parquet file whose columns are read piece by piece.

    Raises:
        SchemaError: it is not Parquet.
    """
    try:
        return pq.ParquetFile(file, buffer_size=1 << 20, page_checksum_verification=True)
    except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
        with file.open("rb") as stream:
            if stream.read(len(_POINTER)) == _POINTER:
                raise SchemaError(f"{file} is only a pointer of Git LFS; run `git lfs pull` in its folder") from None
        raise SchemaError(f"{file} cannot be read as parquet: {one_line(error, 200)}") from error


def from_parquet(files: Sequence[Path], chosen: Mapping[str, str]) -> Source:
    """The images of one Parquet file or of several shards.

    Args:
        files: of one data set, in order.
        chosen: columns that the caller named, role → column.

    Raises:
        SchemaError: not Parquet; no or several columns of pictures; shards that differ; labels that can be read in two
            ways; text or pictures that would fill the memory.
    """
    origin = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    schemas = [_schema(file) for file in files]
    column = picture_column(schemas[0], chosen, origin)
    if column is None:
        raise SchemaError(f"{origin} has no column of pictures; it has {', '.join(schemas[0].names)}")
    for file, schema in zip(files, schemas, strict=True):
        if column not in schema.names or not holds_pictures(schema.field(column).type):
            raise SchemaError(f"{file} has no pictures in {column!r}, unlike {files[0]}; add such files one by one")
    features = same_features([(str(file), feature_names(file)) for file in files])
    rest, dropped = beside_pictures(schemas[0], column)
    batches = [_measure(file, schema, column, rest) for file, schema in zip(files, schemas, strict=True)]
    paths = [_paths(file, schema, column) for file, schema in zip(files, schemas, strict=True)]
    if not any(batches) and not any(path for one in paths for path in one):
        raise SchemaError(f"{origin} has no picture in any row of {column!r}")
    rows = read_table(list(files), rest).rows if rest else None
    n_rows = sum(map(len, paths))
    if rows is not None and rows.num_rows != n_rows:
        raise SchemaError(f"{origin}: {rows.num_rows} rows of labels and {n_rows} of pictures; the file is damaged")
    splits, notes = shard_splits(files)

    def pictures() -> Iterator[Picture]:
        for file, schema, size, names, split in zip(files, schemas, batches, paths, splits, strict=True):
            found = _pictures(file, column, is_struct(schema.field(column).type), size, len(names))
            for number, (data, path) in enumerate(zip(found, names, strict=True)):
                yield placed(data, path, file, number, split)

    beside = with_paths(rows, column, [path for one in paths for path in one])
    table = Table(beside, origin, files[0].parent, _name(files), features)
    source = joined(table, column, chosen, pictures(), dropped)
    source.notes += notes
    return source


def _measure(file: Path, schema: pa.Schema, column: str, rest: Sequence[str]) -> int:
    """How many rows to read at once, so that their pictures fill little memory; 0 when there is no picture.

    Raises:
        SchemaError: more rows, text or pictures than any data set has in such a file.
    """
    metadata = _opened(file).metadata
    if metadata.num_rows > MAX_ROWS:
        raise SchemaError(f"{file} has {metadata.num_rows:,} rows, more than {MAX_ROWS:,}; add it in parts")
    chunks = [
        metadata.row_group(group).column(number)
        for group in range(metadata.num_row_groups)
        for number in range(metadata.num_columns)
    ]
    inside = Counter[str]()
    for chunk in chunks:
        inside[chunk.path_in_schema.partition(".")[0]] += chunk.num_values
    large = next((name for name in rest if inside[name] > MAX_VALUES), None)
    if large is not None:
        raise SchemaError(f"{file} has {inside[large]:,} values in {large!r}; write it without that column")
    _check_texts(file, schema, column, rest)
    in_struct = is_struct(schema.field(column).type)
    try:
        sql = templates.render("measure_pictures", file=str(file), column=column, is_struct=in_struct)
        found = _ask(file, sql)["n_bytes"]
    except SchemaError as error:
        if not isinstance(error.__cause__, duckdb.OutOfMemoryException):
            raise
        leaf = f"{column}.bytes" if in_struct else column
        _check_growth(file, sum(one.total_uncompressed_size for one in chunks if one.path_in_schema == leaf))
        return 1
    if found.null_count == len(found):
        return 0
    sizes = found.fill_null(0).to_numpy().astype(np.int64)
    _check_growth(file, int(sizes.sum()))
    ends = np.concatenate([[0], np.cumsum(sizes)])
    fitting = (n for n in (1024, 256, 64, 16, 4) if (ends[n:] - ends[:-n]).max(initial=ends[:n].max()) <= HELD_BYTES)
    return next(fitting, 1)


def _check_texts(file: Path, schema: pa.Schema, column: str, rest: Sequence[str]) -> None:
    texts = [name for name in rest if is_text(schema.field(name).type)]
    field = schema.field(column).type
    structs = [column] if is_struct(field) and "path" in {one.name for one in field} else []
    sql = templates.render("measure_texts", file=str(file), texts=texts, structs=structs)
    largest, total = (values[0].as_py() for values in _ask(file, sql).columns)
    if largest > MAX_TEXT or total > MAX_TEXTS:
        raise SchemaError(
            f"{file} has {largest:,} bytes of text beside one picture, {total:,} in all; write it without "
            f"{', '.join(texts) or 'the paths'}"
        )


def _check_growth(file: Path, n_bytes: int) -> None:
    size = file.stat().st_size
    if n_bytes > MAX_GROWN and n_bytes > MAX_RATIO * size:
        raise SchemaError(f"{file} has {size:,} bytes, and {n_bytes:,} bytes of pictures in it: not read")


def _paths(file: Path, schema: pa.Schema, column: str) -> list[str | None]:
    field = schema.field(column).type
    if not is_struct(field) or not any(one.name == "path" and is_text(one.type) for one in field):
        return [None] * int(_opened(file).metadata.num_rows)
    sql = templates.render("read_picture_paths", file=str(file), column=column)
    paths: list[str | None] = _ask(file, sql)["path"].to_pylist()
    return paths


def _ask(file: Path, sql: str) -> pa.Table:
    """The answer of DuckDB, which measures a file within a memory limit; in one thread, which needs less.

    Raises:
        SchemaError: the file is damaged, or needs more.
    """
    config: dict[str, Any] = {"memory_limit": "1GB", "threads": 1, "autoload_known_extensions": False}
    try:
        with duckdb.connect(config=config) as con:
            configure(con)
            return con.sql(sql).to_arrow_table()
    except (duckdb.Error, pa.ArrowException, MemoryError) as error:
        raise SchemaError(f"{file} cannot be read as parquet: {one_line(error, 200)}") from error


def _pictures(file: Path, column: str, in_struct: bool, n_at_once: int, n_rows: int) -> Iterator[bytes | None]:
    """The bytes of each row, None where there are none or too many.

    Raises:
        SchemaError: the file is damaged.
    """
    if not n_at_once:
        yield from itertools.repeat(None, n_rows)
        return
    try:
        for batch in _opened(file).iter_batches(n_at_once, columns=[f"{column}.bytes" if in_struct else column]):
            for value in scalars(pa.chunked_array([batch.column(0)])):
                yield picture_bytes(value)
    except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
        raise SchemaError(f"{file} cannot be read as parquet: {one_line(error, 200)}") from error


def shard_splits(files: Sequence[Path]) -> tuple[list[str | None], list[str]]:
    """The split of each shard, as its name or its folder says it, and notes on shards that are missing."""
    found: list[str | None] = []
    shards: dict[tuple[str, int], set[int]] = {}
    for file in files:
        name = _SHARD.fullmatch(file.stem)
        prefix = name[1] if name else re.sub(r"[-_.]?\d+$", "", file.stem)
        if name:
            shards.setdefault((prefix, int(name[3])), set()).add(int(name[2]))
        words = [word for word in re.split(r"[-.]", prefix) if folder.is_split(word)]
        above = file.parent.name if folder.is_split(file.parent.name) else None
        found.append(words[0] if len(words) == 1 else above)
    notes = [
        f"{len(there)} of {n} shards of {prefix} are here: {', '.join(_missing(n, there))} missing"
        for (prefix, n), there in shards.items()
        if len(there) < n <= 100_000
    ]
    return found, notes


def _missing(n: int, there: set[int]) -> list[str]:
    gone = [f"{number:05d}" for number in range(n) if number not in there]
    return gone[:3] + ["…"] * (len(gone) > 3)


def _name(files: Sequence[Path]) -> str:
    """The file's own name; of shards, that of the folder they are in."""
    first = files[0]
    if len(files) == 1 and not _SHARD.fullmatch(first.stem) and not folder.is_split(first.stem):
        return first.stem
    named = (one.name for one in first.parents if one.name.lower() not in _NO_NAMES and not folder.is_split(one.name))
    return next(named, "") or first.stem
