"""The data of a page: rows and thumbnails as Arrow in base64; and `read_report`, which reads them back into tables.

Each image is a row of small numbers, 10 to 20 bytes in the file. Confidences are the 32-bit numbers of the run, so that
the page counts the same images as the macros. Thumbnails fill the rest of the page's size limit, mistakes first.
"""

from __future__ import annotations

import base64
import functools
import gzip
import html
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..core import progress
from ..db import statements, templates
from ..errors import NotFoundError, QueryError, SchemaError
from .album import Album

MAX_ROWS = 1_000_000
FIXED_MB = 1.0  # page without rows and images: text, style, script, charts
_CHUNK = 512  # images
_SMALLEST = 100  # bytes; nearly all thumbnails are larger, so this limits the number of candidates
_BLOCK = r'<script type="{media_type}" id="{name}">(.*?)</script>'
MEDIA_TYPES = {"facts": "application/json", "rows": "application/vnd.apache.arrow.stream+gzip;base64"}
MEDIA_TYPES["thumbnails"] = "application/vnd.apache.arrow.stream;base64"


@dataclass(frozen=True)
class Pack:
    """The data blocks of a page: facts, to be written as JSON, and two tables in base64."""

    facts: dict[str, Any]
    rows: str
    thumbnails: str
    n_thumbnails: int

    @property
    def media_types(self) -> dict[str, str]:
        """The media type of each data block."""
        return MEDIA_TYPES


def pack(
    con: duckdb.DuckDBPyConnection,
    run: str,
    others: Sequence[str],
    folder: str | None,
    max_mb: float,
    shown: int = 0,
    album: Album | None = None,
) -> Pack:
    """The rows of a run, and as many thumbnails as fit.

    Args:
        con: from `connect`.
        run: the run of the page.
        others: further runs; the page counts how many of them predict another class.
        folder: file names are stored relative to this folder; None stores no file names.
        max_mb: size limit of the page in megabytes.
        shown: bytes of the images that the page shows elsewhere.
        album: what makes the thumbnails; default one that reads what `con` may.

    Raises:
        SchemaError: the rows alone need more than `max_mb`.
    """
    n, columns = _shape(con, run)
    names: dict[str, Any] = {"run": run, "sampled": n > MAX_ROWS}
    values: dict[str, Any] = {"folder": folder or ""} | ({"max_rows": MAX_ROWS} if names["sampled"] else {})
    table = _rows_of(con, values, **names, others=others, placed="x" in columns, redacted=folder is None)
    rows = _rows(table)
    classes = [name for _, name in statements.fetch(con, "page_classes", run=run)]
    need = FIXED_MB + (len(rows) + shown + sum(len(name.encode()) + 4 for name in classes)) / 1e6
    left = max_mb - need
    if left < 0:
        raise SchemaError(
            f"a page of {table.num_rows:,} images and {len(classes):,} classes needs {need:.1f} MB, more than "
            f"{max_mb:g}; raise max_mb (--max-mb), or report a run over fewer images"
        )
    facts = {
        "run": run,
        "n": table.num_rows,
        "total": n,
        "classes": classes,
        "labeled": any(label >= 0 for label in table["label"].unique().to_pylist()),
        "predicted": any(pred != -2 for pred in table["pred"].unique().to_pylist()),
        "clustered": any(cluster >= 0 for cluster in table["cluster"].unique().to_pylist()),
    }
    facts |= _extent(con, run) if "x" in columns else {"extent": None}
    # In base64 three bytes become four.
    album = album or Album(remote=statements.may_reach(con))
    small = _thumbnails(con, album, left * 1e6 * 3 / 4, table.num_rows, names, values, probs="probs" in columns)
    return Pack(facts, rows, _base64(_stream(small)), small.num_rows)


def _rows_of(con: duckdb.DuckDBPyConnection, values: dict[str, Any], **names: Any) -> pa.Table:
    try:
        return con.sql(templates.render("page_rows", **names), params=values).to_arrow_table()
    except duckdb.Error as error:
        raise QueryError(f"page_rows: {statements.explain(error)}") from error


def _shape(con: duckdb.DuckDBPyConnection, run: str) -> tuple[int, set[str]]:
    counts = statements.fetch(con, "run_counts", run=run)
    return counts[0][0], {name for (name,) in statements.fetch(con, "run_columns", run=run)}


def _extent(con: duckdb.DuckDBPyConnection, run: str) -> dict[str, Any]:
    """Lower left corner and scale of the coordinates, and their extent: 65,534 along the longer side."""
    left, low, width, height = statements.fetch(con, "page_bounds", run=run)[0]
    if left is None:
        return {"extent": None}
    span = max(width, height) or 1.0
    extent = [max(1, round(side / span * 65534)) for side in (width, height)]
    return {"left": left, "low": low, "span": max(width, height), "extent": extent}


def _rows(table: pa.Table) -> str:
    """The rows as a compressed Arrow stream in base64, with the narrowest integers that hold the values."""
    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        # x and y use the whole range of an unsigned type; casting to a signed one would double their size.
        if pa.types.is_integer(column.type) and name not in ("x", "y", "differ"):
            low, high = (pc.min_max(column)[end].as_py() or 0 for end in ("min", "max"))
            fits = (dtype for dtype in (pa.int8(), pa.int16(), pa.int32()) if _holds(dtype, low, high))
            column = column.cast(next(fits, pa.int64()))
        columns[name] = column
    return _base64(gzip.compress(_stream(pa.table(columns)), 6, mtime=0))  # no time: equal rows give equal pages


def _holds(dtype: pa.DataType, low: int, high: int) -> bool:
    top = 1 << (dtype.bit_width - 1)
    return bool(-top <= low and high < top)


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _thumbnails(
    con: duckdb.DuckDBPyConnection,
    album: Album,
    room: float,
    n: int,
    names: dict[str, Any],
    values: dict[str, Any],
    *,
    probs: bool,
) -> pa.Table:
    """Thumbnails in order of priority until `room` bytes are used: columns row (index in the page's rows) and image."""
    limits = {"max_images": min(n, int(room / _SMALLEST))} | {
        name: value for name, value in values.items() if name == "max_rows"
    }
    wanted = statements.fetch(con, "thumbnail_order", limits, **names, probs=probs)
    small: dict[int, bytes] = {}
    start, size = 0, _CHUNK
    with progress.track("thumbnails", len(wanted)) as advance, ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        while room > _CHUNK and start < len(wanted):
            batch = sorted(wanted[start : start + size])  # in order of id, so that a query reads the table once
            chunks = [batch[first : first + _CHUNK] for first in range(0, len(batch), _CHUNK)]
            made = [pair for chunk in chunks for pair in _made(con, album, pool, chunk)]
            advance(len(batch))
            if not made:  # the files have been moved
                break
            for row, picture in made:
                if len(picture) + 8 <= room:  # 8 bytes for the row number and the offset of the picture
                    room -= len(picture) + 8
                    small[row] = picture
            start, mean = start + size, sum(len(picture) for _, picture in made) / len(made)
            # The next batch is as large as fits by the mean so far; the factor leaves room for larger ones.
            size = max(16, int(0.95 * room / (mean + 8)))
    return pa.table({"row": pa.array(list(small), pa.uint32()), "image": pa.array(list(small.values()), pa.binary())})


def _made(
    con: duckdb.DuckDBPyConnection, album: Album, pool: ThreadPoolExecutor, chunk: list[tuple[int, int]]
) -> list[tuple[int, bytes]]:
    """(row of the page, thumbnail) of the readable images of a chunk of (image_id, row), in order of id."""
    ids = [image_id for image_id, _ in chunk]
    values = {"ids": ids, "low": ids[0], "high": ids[-1]}
    stored = dict(statements.fetch(con, "thumbnail_images", values))
    pictures = pool.map(album.small, (stored.get(image_id) for image_id in ids))
    return [(row, picture) for (_, row), picture in zip(chunk, pictures, strict=True) if picture]


def read_report(con: duckdb.DuckDBPyConnection, path: str | Path, table: str = "page") -> duckdb.DuckDBPyRelation:
    """Read the data of a page that `report` wrote into a temporary table.

        read_report(con, "report.html", table="old")
        con.sql("from accuracy('old')")

    Args:
        con: any DuckDB connection; on one from `connect` the metrics can be called on the table.
        path: the HTML file.
        table: name of the temporary table, with one row per image of the page: image_id, uri (below the data set's
            folder), label, label_name, pred, pred_name, confidence, correct, x, y (to 1/65,534 of the map's width),
            and thumbnail (WebP, NULL if the page has none). A temporary table of that name is replaced.

    Returns:
        The rows of that table, in order of image_id.

    Raises:
        NotFoundError: no such file.
        SchemaError: the file is not a page of this package, or it is damaged.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise NotFoundError(f"no file {file}")
    text = file.read_text(encoding="utf-8", errors="replace")
    find = functools.partial(_find, text, file)
    try:
        facts = json.loads(find("facts"))
        rows = pa.ipc.open_stream(gzip.decompress(base64.b64decode(find("rows")))).read_all()
        small = pa.ipc.open_stream(base64.b64decode(find("thumbnails"))).read_all()
    except (ValueError, OSError, EOFError, pa.ArrowException) as error:
        raise SchemaError(f"{file}: the data of the page is damaged: {error}") from error
    rows = rows.append_column("position", pa.array(np.arange(rows.num_rows)))
    views = {"_page_rows": rows, "_page_thumbnails": small}
    views["_page_classes"] = pa.table({"class": range(len(facts["classes"])), "name": facts["classes"]})
    views["_page_facts"] = pa.table({name: [facts.get(name)] for name in ("left", "low", "span")})
    for name, rows_of in views.items():
        con.register(name, rows_of)
    try:
        statements.execute(con, "read_page", name=table)
    finally:
        for name in views:
            con.unregister(name)
    return con.table(f"temp.{table}")


def _find(text: str, file: Path, name: str) -> str:
    block = re.search(_BLOCK.format(media_type=re.escape(MEDIA_TYPES[name]), name=name), text, re.DOTALL)
    if block is None:
        raise SchemaError(f"{file} is not a page of `sqlanalysis report`: it has no block {name!r}")
    return html.unescape(block[1])
