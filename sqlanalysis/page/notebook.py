"""What notebooks show: a page in a frame, and rows with images as a table with thumbnails (`show`, `head`)."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import jinja2

from ..core import decode, tables
from ..core.text import cut_middle, for_terminal, width
from ..db import templates
from ..errors import ArgumentError, ImageError, SQLAnalysisError

if TYPE_CHECKING:
    _Path = Path
else:
    _Path = type(Path())  # in Python 3.11 Path itself cannot be subclassed

THUMBNAIL_PX = 96
MAX_CELL = 40  # columns of a terminal
MAX_FRAME = 30_000_000  # bytes; a larger page is not embedded in the notebook
_PARTS = Path(__file__).parent


class Page(_Path):
    """The path of a written page; as the last line of a notebook cell it shows the page itself."""

    def _repr_html_(self) -> str | None:
        """The page in a frame that runs its script, without access to the notebook or the network."""
        if not self.is_file():
            return None
        return (
            _environment()
            .get_template("frame.html.j2")
            .render(
                name=self.name,
                path=str(self),
                page=self.read_text(encoding="utf-8") if self.stat().st_size <= MAX_FRAME else None,
            )
        )

    def with_segments(self, *segments: Any) -> Path:
        """Paths derived from this one (`parent`, `/`) are plain paths, not pages."""
        return Path(*segments)


@dataclass(frozen=True)
class Rows:
    """Rows of a relation: a notebook shows `html`, a table with thumbnails; elsewhere they are `text`."""

    html: str
    n_shown: int
    more: bool
    text: str = ""

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def register(shell: Any) -> None:
    """Let a kernel show relations of evaluation files as `show` does: 50 rows, thumbnails, no deferred column computed.

    DuckDB's own form computes up to 10,000 rows of every column; it stays for relations of other connections.

    Args:
        shell: of IPython.
    """

    def bundle(relation: duckdb.DuckDBPyRelation) -> Any:
        try:
            if _ask(relation, "has_version_table")[0][0]:
                shown = show(relation)
                return {"text/html": shown.html, "text/plain": shown.text}
        except (duckdb.Error, SQLAnalysisError):  # DuckDB's own form says what is wrong
            pass
        return relation._repr_mimebundle_()

    shell.display_formatter.mimebundle_formatter.for_type(duckdb.DuckDBPyRelation, bundle)


def head(relation: duckdb.DuckDBPyRelation, n: int = 5, *, size: int = THUMBNAIL_PX) -> Rows:
    """Show the first rows of a relation: pictures as thumbnails, deferred columns without computing them.

        head(con.sql("select image, label, input(image) as input from image_files"))

    Args:
        relation: such as `con.sql(…)`; columns of type STRUCT(bytes BLOB, path VARCHAR) are images.
        n: number of rows.
        size: longer side of a thumbnail in pixels, at most 256.

    Returns:
        An object that a notebook shows as a table, and any other place as text, with the names of the image files.

    Raises:
        ArgumentError: n is below 1, or size outside 1 to 256.
    """
    return show(relation, n, size=size)


def show(relation: duckdb.DuckDBPyRelation, limit: int = 50, *, size: int = THUMBNAIL_PX) -> Rows:
    """Show the rows of a relation in a notebook, with thumbnails in image columns.

        show(con.sql("select image, label from image_files limit 20"))

    The notebook stores thumbnails only, never whole images; text is escaped, and long text is cut. A deferred column
    is named with its shape, and not computed: a column that is called like it, or whose name is its call's alias.

    Args:
        relation: such as `con.sql(…)`; columns of type STRUCT(bytes BLOB, path VARCHAR) are images.
        limit: number of rows to show; the table says if there are more.
        size: longer side of a thumbnail in pixels, at most 256.

    Returns:
        An object that a notebook shows as a table; its HTML is `.html`, its text `.text`.

    Raises:
        ArgumentError: limit is below 1, or size outside 1 to 256.
    """
    if limit < 1 or not 1 <= size <= 256:
        raise ArgumentError(f"the number of rows is at least 1 and size 1 to 256 pixels, not {limit} and {size}")
    deferred = _deferred(relation)
    # DuckDB computes no column that a query of the relation leaves out.
    rows = _ask(relation, "first_rows", shown=relation.columns, deferred=sorted(deferred), n=limit + 1)
    shown = rows[:limit]  # one more tells whether there are more
    pictures = [_is_image(str(dtype)) for dtype in relation.types]
    shown = _safely(relation, shown, pictures)
    columns = list(zip(relation.columns, pictures, map(deferred.get, relation.columns), strict=True))
    with ThreadPoolExecutor(max_workers=8) as pool:
        cells = list(pool.map(lambda row: _cells(row, columns, size), shown))
    more = len(rows) > limit
    note = f"{len(shown):,} rows{' shown, there are more' if more else ''}"
    numeric = [tables.is_numeric(str(dtype)) for dtype in relation.types]
    html = tables.as_html(tables.Table(relation.columns, cells, numeric, note=[note]))
    return Rows(html, len(shown), more, _as_text(relation.columns, cells, more))


def _safely(
    relation: duckdb.DuckDBPyRelation, rows: list[tuple[Any, ...]], pictures: Sequence[bool]
) -> list[tuple[Any, ...]]:
    """The rows of a safe connection, whose images by reference are those of `images` and have their SHA-256."""
    if not any(pictures) or _ask(relation, "may_reach")[0][0]:
        return rows
    named = {
        cell["path"]
        for row in rows
        for cell, is_image in zip(row, pictures, strict=True)
        if is_image and cell is not None and cell["bytes"] is None
    }
    hashes = dict(_ask(relation, "recorded_hashes", paths=sorted(filter(None, named))))

    def read(image: dict[str, Any] | None) -> dict[str, Any] | ImageError | None:
        try:
            return image and {
                **image,
                "bytes": decode.recorded({**image, "sha256": hashes.get(image["path"])}, remote=False),
            }
        except ImageError as error:
            return error

    return [
        tuple(read(cell) if is_image else cell for cell, is_image in zip(row, pictures, strict=True)) for row in rows
    ]


def _ask(relation: duckdb.DuckDBPyRelation, template: str, **names: object) -> list[tuple[Any, ...]]:
    """Rows of a query on the connection of a relation, which is called _shown in it."""
    result = relation.query("_shown", templates.render(template, **names))
    return [] if result is None else result.fetchall()


def _deferred(relation: duckdb.DuckDBPyRelation) -> dict[str, str]:
    """The columns of a relation that are deferred columns of the file, and what stands for their values."""
    defined: dict[str, str] = dict(_ask(relation, "list_deferred_types"))
    if not defined:
        return {}
    try:
        parsed = json.loads(_ask(relation, "parse_query", text=relation.sql_query())[0][0])
    except duckdb.Error:  # what is no SELECT
        parsed = {}
    called = {**{name: name for name in defined}, **dict(_calls(parsed, defined))}
    found = {}
    for column, dtype in zip(relation.columns, map(str, relation.types), strict=True):
        name = called.get(column, column.partition("(")[0].strip('"'))
        if defined.get(name) == dtype:
            sizes = [size or "varies" for size in reversed(re.findall(r"\[(\d*)\]", dtype))]
            found[column] = f"deferred ({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
    return found


def _calls(parsed: Any, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Alias and function of each call of one of these functions in a parsed query."""
    if isinstance(parsed, dict):
        if parsed.get("function_name") in names and parsed.get("alias"):
            yield parsed["alias"], parsed["function_name"]
        parsed = list(parsed.values())
    if isinstance(parsed, list):
        for part in parsed:
            yield from _calls(part, names)


def _as_text(columns: Sequence[str], rows: Sequence[Sequence[tables.Cell]], more: bool) -> str:
    """The table as text; columns that do not fit on a line of the terminal are counted."""
    lines = [[cut_middle(text, MAX_CELL) for text in columns]]
    lines += [[cut_middle(cell.text, MAX_CELL) for cell in row] for row in rows]
    widths = [max(map(width, cells)) for cells in zip(*lines, strict=True)]
    room, n = shutil.get_terminal_size((120, 24)).columns, 1
    while n < len(widths) and sum(widths[: n + 1]) + 2 * n <= room:
        n += 1
    texts = [
        "  ".join(text + " " * (wide - width(text)) for text, wide in zip(line[:n], widths, strict=False)).rstrip()
        for line in lines
    ]
    left = f"; {len(columns) - n} more columns" if n < len(columns) else ""
    return for_terminal("\n".join([*texts, f"{len(rows):,} rows{', there are more' if more else ''}{left}"]))


def _is_image(dtype: str) -> bool:
    return dtype.replace('"', "").replace(" ", "").upper() == "STRUCT(BYTESBLOB,PATHVARCHAR)"


def _cells(row: Sequence[Any], columns: Sequence[tuple[str, bool, str | None]], size: int) -> list[tables.Cell]:
    names = [name for name, _, _ in columns]
    return [
        _picture(value, size) if is_image else tables.Cell(mark) if mark else tables.cell(name, value, names)
        for value, (name, is_image, mark) in zip(row, columns, strict=True)
    ]


def _picture(image: dict[str, Any] | ImageError | None, size: int) -> tables.Cell:
    if image is None:
        return tables.Cell("")
    try:
        if isinstance(image, ImageError):
            raise image
        source = "data:image/webp;base64," + base64.b64encode(decode.thumbnail(image, size, 70)).decode()
    except ImageError as error:
        return tables.Cell(tables.plain(f"no image: {error}"))
    return tables.Cell((image["path"] or "").replace("\\", "/").rpartition("/")[2], source)


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
