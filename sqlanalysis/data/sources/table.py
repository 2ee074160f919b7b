"""Tables of images or predictions, read by DuckDB's own readers, with text kept as text.

CSV with any delimiter, quoting, blanks after it, BOM, UTF-8, UTF-16 or Latin-1; TSV; JSON lines and arrays; Parquet;
lists and globs of shards; pandas, polars and Arrow tables, DuckDB relations. `01`, `true` and `0001` stay as written.
"""

from __future__ import annotations

import codecs
import glob
import itertools
import json
import math
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...core.parsing import parse_json
from ...core.text import one_line
from ...db import templates
from ...db.statements import configure
from ...errors import NotFoundError, SchemaError

TABULAR = ("to_arrow_table", "__arrow_c_stream__", "__dataframe__")  # what frames, tables and relations have
FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".psv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}
# Of nested lists and objects in JSON: DuckDB's and Arrow's readers recurse, and deep nesting ends the process.
MAX_DEPTH = 64
MAX_ROWS = 50_000_000
MAX_CELL = 4 * 1024**2  # characters of text in JSON
MAX_BYTES = 4 * 1024**3  # of a JSON or CSV file
# A table that grows more than this, and to more than this, is made to fill memory.
MAX_RATIO, MAX_GROWN = 200, 256 * 1024**2
_MEMORY_LIMIT = "2GB"
_JSON_ROWS = 2048  # parsed at once
_PICTURE = re.compile(r"STRUCT\((?=.*\bbytes\"? BLOB)(?=.*\bpath\"? VARCHAR).*\)")  # as Hugging Face keeps them
# Bytes of a line of CSV. Where DuckDB converts the encoding it takes buffers of 16 times this at once.
_MAX_LINE = {"utf-8": 16 * 1024**2, "latin-1": 4 * 1024**2}


@dataclass(frozen=True)
class Table:
    """Rows of a table.

    Attributes:
        rows: CSV columns are text; JSON values are text with their own spelling, lists stay JSON text; other columns
            have the types of the source.
        origin: what to call it in messages.
        root: the folder that relative paths start at.
        name: default name of the data set.
        features: class names that Hugging Face's metadata gives, by column.
        is_text: whether numbers, too, came in as text (CSV).
        mixed: columns that hold text and numbers (JSON, frames), written as text.
        left_out: columns of the source that the caller did not want.
    """

    rows: pa.Table
    origin: str
    root: Path
    name: str
    features: dict[str, list[str]]
    is_text: bool = False
    mixed: frozenset[str] = frozenset()
    left_out: tuple[str, ...] = ()


def is_table(source: Any) -> bool:
    """Whether a source is a data frame, an Arrow table or a relation."""
    return any(hasattr(source, name) for name in TABULAR) or _is_lazy(source)


def _is_lazy(source: Any) -> bool:
    """Whether a source is a query of polars, which is computed when its rows are read."""
    return type(source).__name__ == "LazyFrame" and type(source).__module__.partition(".")[0] == "polars"


def table_files(source: str | Path) -> list[Path]:
    """The table files that a path, glob or list names, in order; none when it names something else."""
    text = os.path.expanduser(str(source))
    if os.path.isfile(text):
        return [Path(text).resolve()] if Path(text).suffix.lower() in FORMATS else []
    if any(sign in text for sign in "*?["):
        found = sorted(Path(one).resolve() for one in glob.glob(text, recursive=True) if os.path.isfile(one))
        return found if found and all(one.suffix.lower() in FORMATS for one in found) else []
    return []


def read_table(
    source: Any, columns: Sequence[str] | None = None, *, is_wanted: Callable[[str], bool] | None = None
) -> Table:
    """Read a table file, several of one format, a frame or a relation.

    Args:
        source: a path, a list of paths (`table_files`), a data frame, Arrow table or DuckDB relation.
        columns: of Parquet files, only these; default all.
        is_wanted: which columns the caller can use, for who needs no pictures: the others, and the bytes of pictures,
            are not read where the source can leave them out (Parquet, DuckDB, pandas).

    Raises:
        NotFoundError: no such file.
        SchemaError: it cannot be read as what its name says, is nested too deeply, or is too large.
    """
    if is_table(source):
        from .pictured import encoded

        origin = type(source).__name__
        source = source.collect() if _is_lazy(source) else source
        _refuse_series(source)
        source, unread = _selected(_with_text_names(source), is_wanted)
        source, mixed = _one_type_each(source)
        rows = _as_arrow(encoded(source))
        refuse_repeated(rows.column_names, origin)
        features = _feature_names(rows.schema.metadata)
        return Table(rows, origin, Path.cwd(), "images", features, mixed=mixed, left_out=unread)
    files = [Path(one) for one in ([source] if isinstance(source, str | Path) else source)]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise NotFoundError(f"no file {missing}")
    reader = FORMATS[files[0].suffix.lower()]
    origin = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    mixed = frozenset()
    left_out: tuple[str, ...] = ()
    with _reading(origin, reader) as con:
        if reader == "csv":
            rows = _read_csv(con, files)
        elif reader == "json":
            rows, mixed = _read_json(con, files)
        else:
            rows, left_out = _read_parquet(con, files, columns, is_wanted)
    features = feature_names(files[0]) if reader == "parquet" else {}
    return Table(rows, origin, files[0].parent, _name(files), features, reader == "csv", mixed, left_out)


def refuse_repeated(names: Sequence[Any], origin: str) -> None:
    """Two columns of one name: which is meant?

    Raises:
        SchemaError: there are such.
    """
    twice = next((name for name, n in Counter(names).items() if n > 1), None)
    if twice is not None:
        raise SchemaError(f"{origin} has two columns named {one_line(twice, 40)}: which one is meant? rename one")


def _refuse_series(source: Any) -> None:
    if type(source).__module__.partition(".")[0] in ("pandas", "polars") and not hasattr(source, "columns"):
        raise SchemaError(
            f"a {type(source).__name__} is one column: give a frame, with a column path (series.reset_index() makes a "
            "column of its index)"
        )


def _one_type_each(frame: Any) -> tuple[Any, frozenset[str]]:
    """A pandas or polars frame whose columns of text and numbers became text, as in JSON, and the names of these."""
    if type(frame).__module__.partition(".")[0] not in ("pandas", "polars"):
        return frame, frozenset()
    refuse_repeated(list(frame.columns), type(frame).__name__)
    mixed = frozenset[str]()
    for name in frame.columns:
        if str(frame[name].dtype).lower() != "object":
            continue
        cells = list(frame[name])
        values = [_plain(value) for value in cells]
        is_foreign = any(isinstance(cell, PurePath) or _is_tensor(cell) for cell in cells)  # Arrow knows neither
        is_polars = hasattr(frame, "with_columns")
        if is_mixed(values):
            mixed |= {str(name)}
        # Of objects, polars hands out their addresses.
        elif not is_foreign and not (
            is_polars and all(value is None or isinstance(value, str | int | float) for value in values)
        ):
            continue
        simple = json_column(values).to_pylist()
        if is_polars:
            frame = frame.with_columns(type(frame[name])(name, simple))
        else:
            frame = frame.copy(deep=False)
            frame[name] = simple
    return frame, mixed


def _is_tensor(value: Any) -> bool:
    """A number or a list of numbers of torch; a picture of it has more dimensions."""
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "tolist") and value.ndim <= 1


def _plain(value: Any) -> Any:
    """A cell of a frame as JSON has it: numpy's and torch's numbers as Python's, paths as text, no value as None."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, PurePath):
        return str(value)
    if _is_tensor(value):
        return value.tolist()
    is_none = type(value).__name__ == "NAType" or (isinstance(value, float) and value != value)
    return None if is_none else value


def _name(files: Sequence[Path]) -> str:
    return files[0].stem if len(files) == 1 else files[0].parent.name


@contextmanager
def _reading(origin: str, reader: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection for reading one table: apart from the evaluation file, with a memory limit."""
    config: dict[str, Any] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "memory_limit": _MEMORY_LIMIT,
        "preserve_insertion_order": True,
        "python_enable_replacements": False,
    }
    with duckdb.connect(config=config) as con:
        configure(con)  # the progress bar is no setting of `config`
        try:
            yield con
        except duckdb.Error as error:
            raise SchemaError(f"{origin} cannot be read as {reader}: {_reason(error)}") from error
        except (pa.ArrowException, MemoryError, UnicodeDecodeError) as error:
            raise SchemaError(f"{origin} cannot be read as {reader}: {one_line(error, 200)}") from error
        except OSError as error:
            if error.errno is None:  # Arrow's, of a stream: what DuckDB said
                raise SchemaError(f"{origin} cannot be read as {reader}: {_reason(error)}") from error
            raise NotFoundError(f"{error.filename or origin} cannot be read: {error.strerror or error}") from error


def _reason(error: Exception) -> str:
    """The first line of what DuckDB says, without its own name for the error."""
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    if "sniffing" in first or "state machine" in first:
        return "no delimiter and quotes fit all of its lines; write it again with commas, and quotes around text"
    return one_line(first.partition("Error: ")[2] or first, 200)


def _with_text_names(source: Any) -> Any:
    """A pandas frame whose columns are called by numbers, in whole or in part: Arrow warns of those, and takes text."""
    if type(source).__module__.partition(".")[0] != "pandas" or all(isinstance(name, str) for name in source.columns):
        return source
    return source.set_axis([str(name) for name in source.columns], axis=1)


def _is_picture(name: str, dtype: str) -> bool:
    """Whether a column of this DuckDB type holds the bytes of pictures; text may come as bytes, too."""
    from .pictured import USUAL

    return dtype == "BLOB" and name.lower() in USUAL


def _selected(source: Any, is_wanted: Callable[[str], bool] | None) -> tuple[Any, tuple[str, ...]]:
    """A relation or a pandas frame without the columns that are not wanted, and the names of these."""
    is_relation, is_frame = hasattr(source, "to_arrow_table"), type(source).__module__.partition(".")[0] == "pandas"
    if is_wanted is None or not (is_relation or is_frame):
        return source, ()
    names = list(source.columns)
    types = dict(zip(names, map(str, source.types), strict=True)) if is_relation else dict.fromkeys(names, "")
    wanted = [name for name, dtype in types.items() if is_wanted(name) and not _is_picture(name, dtype)]
    if len(wanted) in (0, len(names)):
        return source, ()
    left_out = tuple(name for name in names if name not in wanted)
    if is_frame:
        return source[wanted], left_out
    try:
        return source.select(*(duckdb.ColumnExpression(name) for name in wanted)), left_out
    except duckdb.Error as error:
        raise SchemaError(f"this relation cannot be read as a table: {_reason(error)}") from error


def _as_arrow(source: Any) -> pa.Table:
    try:
        if hasattr(source, "to_arrow_table"):
            return source.to_arrow_table()
        if hasattr(source, "__arrow_c_stream__"):
            return pa.table(source)
        return pa.interchange.from_dataframe(source)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise SchemaError(f"this {type(source).__name__} cannot be read as a table: {one_line(error, 200)}") from error


def _read_csv(con: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> pa.Table:
    _check_size(files)
    empty = next((file for file in files if not file.stat().st_size), None)
    if empty is not None:
        raise SchemaError(f"{empty} is empty; a table has a first line that names its columns")
    _check_lines(files)
    with tempfile.TemporaryDirectory() as folder:
        # DuckDB reads a big-endian UTF-16 file as an empty one, without an error.
        names = [_as_utf8(file, Path(folder) / f"{n}.csv") if _is_utf16(file) else file for n, file in enumerate(files)]
        try:
            rows = _csv_rows(con, names, "utf-8")
        except duckdb.Error:
            # It takes lines that end in one way only, and says no more than that it cannot sniff.
            names = [
                _with_one_line_end(name, Path(folder) / f"{n}-lines.csv") if _ends_lines_differently(name) else name
                for n, name in enumerate(names)
            ]
            try:
                rows = _csv_rows(con, names, "utf-8")
            except duckdb.Error:
                rows = _csv_rows(con, names, "latin-1")
        _refuse_long_rows(rows, files[0], names[0])
        _refuse_repeated_header(rows, files[0], names[0])
        _refuse_open_quotes(rows, files[0], names)
    columns = {name.strip().removeprefix("\ufeff"): _stripped(rows[name]) for name in rows.column_names}
    if len(columns) < rows.num_columns:
        raise SchemaError(f"{files[0]} has columns of the same name: {', '.join(rows.column_names)}")
    return pa.table(columns)


def _refuse_repeated_header(rows: pa.Table, file: Path, copy: Path) -> None:
    """DuckDB calls the second of two columns named label label_1."""
    head = _first_line(copy)
    for name in rows.column_names:
        base = re.sub(r"_\d+$", "", name)
        if base != name and base in rows.column_names and name not in head:
            refuse_repeated([base, base], str(file))


def _refuse_open_quotes(rows: pa.Table, file: Path, copies: Sequence[Path]) -> None:
    """With a quote that never closes, DuckDB reads the file as one without quotes: they would stand in the values."""
    contents: list[bytes] = []
    for name in rows.column_names:
        column, text = rows[name].cast(pa.string()), _stripped(rows[name])
        is_open = pc.and_(pc.starts_with(text, '"'), pc.invert(pc.match_substring_regex(text, '^"(?s:.*)"$')))
        for value in pc.unique(column.filter(is_open)):
            contents = contents or [copy.read_bytes() for copy in copies]
            # A value that stands in the file in quotes, its own written twice, was read as it should be.
            written = '"' + value.as_py().replace('"', '""') + '"'
            codes = {written.encode(), written.encode("latin-1", "replace")}
            if any(code in content for code in codes for content in contents):
                continue
            raise SchemaError(
                f"{file}: the quote before {one_line(value.as_py().strip()[1:], 40)} "
                f"(row {pc.index(column, value).as_py() + 1}, {name}) is not closed; close it, or write a quote that "
                "belongs to the text twice, in quotes"
            )


def _ends_lines_differently(file: Path) -> bool:
    """Whether some lines end in CRLF and others in LF or CR."""
    n_crlf = n_lf = n_cr = 0
    last = b""
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            n_crlf += chunk.count(b"\r\n") + (last == b"\r" and chunk.startswith(b"\n"))
            n_lf, n_cr, last = n_lf + chunk.count(b"\n"), n_cr + chunk.count(b"\r"), chunk[-1:]
    return sum(n > 0 for n in (n_crlf, n_lf - n_crlf, n_cr - n_crlf)) > 1


def _with_one_line_end(file: Path, copy: Path) -> Path:
    with (
        file.open(encoding="latin-1", newline=None) as source,
        copy.open("w", encoding="latin-1", newline="") as target,
    ):
        shutil.copyfileobj(source, target)
    return copy


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8", errors="replace") as stream:
        return stream.readline(1024**2)


def _refuse_long_rows(rows: pa.Table, file: Path, copy: Path) -> None:
    """DuckDB calls fields beyond the first line column2, column3, …: what follows a delimiter without quotes.

    Raises:
        SchemaError: such a column holds something.
    """
    head = _first_line(copy)
    for number, name in enumerate(rows.column_names):
        column = rows[name]
        if number and name == f"column{number}" and name not in head and column.null_count < len(column):
            row = next(row for row, value in enumerate(column.to_pylist(), 1) if value is not None)
            raise SchemaError(
                f"{file}: row {row} has more fields than the first line names ({one_line(head, 60)}); put values that "
                "hold the delimiter in quotes, or name every column"
            )


def _csv_rows(con: duckdb.DuckDBPyConnection, files: Sequence[Path], encoding: str) -> pa.Table:
    names = {"files": [str(file) for file in files], "encoding": encoding, "max_line": _MAX_LINE[encoding]}
    return con.sql(templates.render("read_csv_source", **names)).to_arrow_table()


def _is_utf16(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _as_utf8(file: Path, copy: Path) -> Path:
    with file.open(encoding="utf-16", newline="") as source, copy.open("w", encoding="utf-8", newline="") as target:
        shutil.copyfileobj(source, target)
    return copy


def _stripped(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_trim_whitespace(column.cast(pa.string()))


def _read_json(con: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> tuple[pa.Table, frozenset[str]]:
    """The rows, and which columns hold text and numbers."""
    _check_size(files)
    for file in files:
        _check_depth(file)
    sql = templates.render("read_json_source", files=[str(file) for file in files])
    parsed = _objects(_parsed(con.sql(sql).to_arrow_reader(_JSON_ROWS)), files[0])
    first = list(itertools.islice(parsed, 2))
    rows = _rows_of_frame(first[0], files[0]) if len(first) == 1 else itertools.chain(first, parsed)
    values: dict[str, list[Any]] = {}
    for number, row in enumerate(_objects(rows, files[0])):  # an object for each row would take many times the memory
        long = next((name for name, cell in row.items() if isinstance(cell, str) and len(cell) > MAX_CELL), None)
        if long is not None:
            raise SchemaError(
                f"{files[0]}: {one_line(long, 40)} of row {number + 1} has more than {MAX_CELL:,} characters"
            )
        values |= {name: [None] * number for name in row if name not in values}
        for name, column in values.items():
            column.append(row.get(name))
    mixed = frozenset(name for name, column in values.items() if is_mixed(column))
    return pa.table({name: json_column(column) for name, column in values.items()}), mixed


def _parsed(reader: pa.RecordBatchReader) -> Iterator[Any]:
    for batch in reader:
        yield from (json.loads(text, object_pairs_hook=_object) for text in batch.column(0).to_pylist())


def _objects(rows: Iterable[Any], file: Path) -> Iterator[dict[str, Any]]:
    for row in rows:
        if not isinstance(row, dict):
            raise SchemaError(f"{file} holds {one_line(row, 40)}; write one object for each image")
        yield row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        refuse_repeated([name for name, _ in pairs], "an object of the JSON")
    return found


def _rows_of_frame(row: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    """The rows of a frame that pandas wrote as one object: columns by row number (its default), rows by number, split.

    Raises:
        SchemaError: such an object whose rows have names, which may be the paths.
    """
    values = list(row.values())
    if set(row) >= {"columns", "data"} and all(isinstance(row[name], list) for name in ("columns", "data")):
        return [_object(list(zip(row["columns"], one, strict=False))) for one in row["data"]]
    if set(row) == {"schema", "data"} and isinstance(row["data"], list):
        return row["data"]
    if len(row) > 1 and all(isinstance(value, list) for value in values) and len(set(map(len, values))) == 1:
        return [dict(zip(row, one, strict=True)) for one in zip(*values, strict=True)]
    if not values or not all(isinstance(value, dict) and value for value in values):
        return [row]
    if len({tuple(value) for value in values}) > 1:
        return [row]
    inside = list(values[0])
    if all(map(str.isdecimal, inside)):
        return [{name: row[name][number] for name in row} for number in inside]
    if all(map(str.isdecimal, row)):
        return values
    raise SchemaError(
        f"{file} is one object of {one_line(', '.join(row), 40)}, each with {one_line(', '.join(inside), 40)}: "
        'columns, or rows? write a list of rows, in pandas df.reset_index().to_json(path, orient="records")'
    )


def is_mixed(values: Sequence[Any]) -> bool:
    """Whether text stands beside numbers, so that a number could be one, or a name."""
    is_number = {
        isinstance(value, int | float) and not isinstance(value, bool) for value in values if value is not None
    }
    return len(is_number) > 1 and any(isinstance(value, str | bool) for value in values)


def json_column(values: list[Any]) -> pa.Array:
    """Text as text, numbers as numbers, lists of numbers as lists; what is mixed or nested as JSON text."""
    try:
        column = pa.array([str(value).lower() if isinstance(value, bool) else value for value in values])
        if not pa.types.is_struct(column.type):
            return column
    except (pa.ArrowException, OverflowError):
        pass
    # NaN, which no JSON has but Python writes, is no value beside text.
    given = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
    texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in given]
    return pa.array(texts, pa.string())


def _check_size(files: Sequence[Path]) -> None:
    large = next((file for file in files if file.stat().st_size > MAX_BYTES), None)
    if large is not None:
        raise SchemaError(f"{large} has more than {MAX_BYTES // 1024**3} GB; write it as Parquet, or split it")


def _check_lines(files: Sequence[Path]) -> None:
    """Refuse a line that DuckDB refuses, too, but only after it has read it many times."""
    most = _MAX_LINE["utf-8"]
    for file in files:
        since = 0  # bytes since the last line end
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 22):
                ends = [at for at in (chunk.find(b"\n"), chunk.find(b"\r")) if at >= 0]
                if since + min(ends, default=len(chunk)) > most:
                    raise SchemaError(f"{file} has a line of more than {most:,} bytes; is it CSV?")
                last = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
                since = len(chunk) - last - 1 if ends else since + len(chunk)


def _check_depth(file: Path) -> None:
    """Refuse JSON that is nested too deeply, before any reader recurses into it.

    Raises:
        SchemaError: more than `MAX_DEPTH` open brackets.
    """
    depth, inside, rest = 0, 0, b""
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            chunk = rest + chunk
            rest = b"\\" if chunk.endswith(b"\\") else b""  # what it escapes comes with the next chunk
            chunk = chunk[: len(chunk) - len(rest)].replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
            array = np.frombuffer(chunk, np.uint8)
            in_text = (np.cumsum(array == 0x22) + inside) % 2 == 1
            steps = np.isin(array, (0x5B, 0x7B)).astype(np.int64) - np.isin(array, (0x5D, 0x7D))
            depths = depth + np.cumsum(np.where(in_text, 0, steps))
            if len(depths) and depths.max() > MAX_DEPTH:
                raise SchemaError(f"{file} is nested more than {MAX_DEPTH} deep; flatten it")
            depth, inside = int(depths[-1]) if len(depths) else depth, (inside + chunk.count(b'"')) % 2


def _read_parquet(
    con: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    columns: Sequence[str] | None,
    is_wanted: Callable[[str], bool] | None,
) -> tuple[pa.Table, tuple[str, ...]]:
    """The columns, and the names of those that are not wanted."""
    names = {"files": [str(file) for file in files]}
    pictures, left_out, chosen = [], [], list(columns or ())
    if is_wanted is not None:
        whole = con.sql(templates.render("read_parquet_source", **names, names=chosen, pictures=[]))
        types = {name: str(dtype) for name, dtype in zip(whole.columns, whole.types, strict=True)}
        left_out = [name for name, dtype in types.items() if not is_wanted(name) or _is_picture(name, dtype)]
        left_out = left_out if len(left_out) < len(types) else []  # so that the caller can say what there is
        chosen = [name for name in types if name not in left_out]
        pictures = [name for name in chosen if _PICTURE.fullmatch(types[name])]
    sql = templates.render("read_parquet_source", **names, names=chosen, pictures=pictures)
    n_rows = con.sql(templates.render("count_parquet_rows", files=[str(file) for file in files])).fetchall()[0][0]
    if n_rows > MAX_ROWS:
        raise SchemaError(f"{files[0]} has {n_rows:,} rows, more than {MAX_ROWS:,}; add it in parts")
    rows = con.sql(sql)
    types = {name: str(dtype) for name, dtype in zip(rows.columns, rows.types, strict=True)}
    _check_growth(con, files, types, pictures)
    return rows.to_arrow_table(), tuple(left_out)


def _check_growth(
    con: duckdb.DuckDBPyConnection, files: Sequence[Path], types: Mapping[str, str], pictures: Sequence[str]
) -> None:
    """Refuse files of a few kB that repeat one value until it fills the memory.

    Raises:
        SchemaError: text or lists are far larger than the files.
    """
    texts = [name for name, dtype in types.items() if dtype == "VARCHAR" and name not in pictures]
    blobs = [name for name, dtype in types.items() if dtype == "BLOB"]
    nested = [
        name
        for name, dtype in types.items()
        if ("VARCHAR" in dtype or "BLOB" in dtype) and name not in (*texts, *blobs, *pictures)
    ]
    lists = [name for name, dtype in types.items() if dtype.endswith("[]") and name not in nested]
    names = {"texts": texts, "blobs": blobs, "nested": nested, "lists": lists, "pictures": list(pictures)}
    sql = templates.render("measure_parquet_source", files=[str(file) for file in files], **names)
    n_bytes = con.sql(sql).fetchall()[0][0]
    size = sum(file.stat().st_size for file in files)
    if n_bytes > MAX_GROWN and n_bytes > MAX_RATIO * size:
        raise SchemaError(f"{files[0]} has {size:,} bytes, and {n_bytes:,} bytes of text and lists in it: not read")


def feature_names(file: Path) -> dict[str, list[str]]:
    """Class names of each column from the metadata that Hugging Face writes into Parquet files; none if malformed."""
    import pyarrow.parquet as pq

    try:
        return _feature_names(pq.read_schema(file).metadata)
    except (pa.ArrowException, OSError):
        return {}


def _feature_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    try:
        features = parse_json((metadata or {}).get(b"huggingface", b"{}").decode(), "huggingface")["info"]["features"]
        return {
            str(column): [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }
    except (SchemaError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return {}
