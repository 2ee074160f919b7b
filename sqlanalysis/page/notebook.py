"""What notebooks show: a page in a frame, and rows with images as a table with thumbnails."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from ..core import decode
from ..errors import ImageError, SchemaError

if TYPE_CHECKING:
    import duckdb

    _Path = Path
else:
    _Path = type(Path())  # in Python 3.11 Path itself cannot be subclassed

THUMBNAIL_PX = 96
MAX_TEXT = 200
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
    """Rows of a relation, as a notebook shows them; `html` is that table."""

    html: str
    n_shown: int
    more: bool

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"Rows(n_shown={self.n_shown}, more={self.more}); a notebook shows them as a table with thumbnails"


def show(relation: duckdb.DuckDBPyRelation, limit: int = 50, *, size: int = THUMBNAIL_PX) -> Rows:
    """Show the rows of a relation in a notebook, with thumbnails in image columns.

        show(con.sql("select image, label from image_files limit 20"))

    The notebook stores thumbnails only, never whole images; text is escaped, and long text is cut.

    Args:
        relation: such as `con.sql(…)`; columns of type STRUCT(bytes BLOB, path VARCHAR) are images.
        limit: number of rows to show; the table says if there are more.
        size: longer side of a thumbnail in pixels, at most 256.

    Returns:
        An object that a notebook shows as a table; its HTML is `.html`.

    Raises:
        SchemaError: limit is below 1, or size outside 1 to 256.
    """
    if limit < 1 or not 1 <= size <= 256:
        raise SchemaError(f"limit is at least 1 and size 1 to 256 pixels, not {limit} and {size}")
    rows = relation.limit(limit + 1).fetchall()  # one more tells whether there are more
    shown = rows[:limit]
    pictures = [_is_image(str(dtype)) for dtype in relation.types]
    with ThreadPoolExecutor(max_workers=8) as pool:
        cells = list(pool.map(lambda row: _cells(row, pictures, size), shown))
    html = (
        _environment()
        .get_template("rows.html.j2")
        .render(columns=relation.columns, rows=cells, n=len(shown), more=len(rows) > limit)
    )
    return Rows(html, len(shown), len(rows) > limit)


def _is_image(dtype: str) -> bool:
    return dtype.replace('"', "").replace(" ", "").upper() == "STRUCT(BYTESBLOB,PATHVARCHAR)"


def _cells(row: Sequence[Any], pictures: Sequence[bool], size: int) -> list[dict[str, str | None]]:
    return [
        _picture(value, size) if is_image else {"text": _text(value)}
        for value, is_image in zip(row, pictures, strict=True)
    ]


def _picture(image: dict[str, Any] | None, size: int) -> dict[str, str | None]:
    if image is None:
        return {"text": ""}
    try:
        source = "data:image/webp;base64," + base64.b64encode(decode.thumbnail(image, size, 70)).decode()
    except ImageError as error:
        return {"text": _text(f"no image: {error}")}
    return {"source": source, "text": (image["path"] or "").replace("\\", "/").rpartition("/")[2]}


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bytes | bytearray):
        return f"{len(value):,} bytes"
    if isinstance(value, list | tuple) and len(value) > 6:
        return f"[{', '.join(map(_text, value[:4]))}, … {len(value):,} values]"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    text = "" if value is None else str(value)
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
