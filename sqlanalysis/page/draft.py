"""The state of a page that is being written: its queries with their rows, and the images that it shows."""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

import duckdb

from ..core.progress import track
from ..db import statements, templates
from . import words
from .album import Album
from .scope import Scope

THUMBNAIL_PX = 160
MAX_TEXT = 1000  # characters of one value
OF_FILE = {"database_problems"}  # queries about the whole file, on a page of one split too
Row = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One query of the page: SQL text that can be pasted into a shell, and its rows."""

    sql: str
    rows: list[Row]

    @property
    def row(self) -> Row:
        """The first row, or an empty dict."""
        return self.rows[0] if self.rows else {}


@dataclass(frozen=True)
class Table:
    """A table of the page; all cells are text, and the first column names the row.

    `texts` are the indices of columns with words instead of numbers, which are aligned to the left.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: Sequence[int] = ()


def _cut(value: Any) -> Any:
    """A value as a page may show it: a file of others may hold names of many megabytes."""
    return value[:MAX_TEXT] + "…" if isinstance(value, str) and len(value) > MAX_TEXT else value


@dataclass
class Draft:
    """What the sections of a page share: the run, an optional baseline, and the answers to queries about them."""

    con: duckdb.DuckDBPyConnection
    max_images: int
    run: str = ""
    baseline: str | None = None
    answers: dict[str, Answer] = field(default_factory=dict)  # the last answer of each query, whose SQL the page shows
    folder: str = ""
    redacted: bool = False
    probs: bool = False
    predicted: bool = True
    scope: Scope | None = None  # of a page of one split, whose session `con` is then
    file: duckdb.DuckDBPyConnection | None = None  # without the scope, for queries about the whole file
    slices: Sequence[str] = ()  # expressions of the caller, which cut the images as columns do
    cuts: list[Any] | None = None  # the columns that cut the images, once they were looked for
    shown: list[Row] = field(default_factory=list)
    album: Album = field(init=False)
    _asked: dict[str, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.album = Album(remote=statements.may_reach(self.con))

    def of(self, run: str, *, probs: bool) -> Draft:
        """A draft about another run that shares what was asked and the images shown; its queries are not the page's."""
        other = copy.copy(self)
        other.run, other.baseline, other.probs, other.answers = run, None, probs, {}
        return other

    def ask(self, query: str, values: Row | None = None, /, **names: object) -> Answer:
        """Run a query of `sql/page` about the run; an equal call returns the stored answer.

        Args:
            query: name of the query.
            values: its bound parameters.
            names: identifiers and structure for the template, besides `run`, `baseline` and `probs`.
        """
        own = {"run": self.run, "baseline": self.baseline, "probs": self.probs}
        names = {**own, **names}
        # By the statement: another draft may ask the same with other names that this query does not use.
        statement = templates.render(query, **names)
        key = repr((query, values, statement))
        if key not in self._asked:
            is_scoped = self.scope is not None and query not in OF_FILE
            con = self.con if is_scoped or self.file is None else self.file
            result = statements.execute(con, query, values, **names)
            columns = [column[0] for column in result.description]
            rows = [dict(zip(columns, map(_cut, row), strict=True)) for row in result.fetchall()]
            # The shown SQL has the values in place of the parameters, so that it runs as it is in any shell.
            sql = re.sub(r" -- noqa.*", "", templates.body(statement))
            for name, value in (values or {}).items():
                sql = sql.replace(f"${name}", str(value))
            self._asked[key] = Answer(self.scope.over(sql) if self.scope and is_scoped else sql, rows)
        if all(names[name] == value for name, value in own.items()):  # the page shows the queries about its run
            self.answers[query] = self._asked[key]
        return self._asked[key]

    def shown_path(self, uri: str) -> str:
        """The path of an image below the folder of its data set; empty on a page without paths."""
        return "" if self.redacted else words.short_path(uri, self.folder)

    def pictures(self, rows: list[Row]) -> list[Row]:
        """Prepare rows of images (image_id, label_name, pred_name, uri, sizes) for a grid; `develop` adds pixels."""
        pictures = []
        for row in rows:
            label, pred = row.get("label_name"), row.get("pred_name")
            parts = [f"labeled {label}"] * (label is not None) + [f"predicted {pred}"] * (pred is not None)
            size = max(row["width_px"], row["height_px"])
            path = self.shown_path(row["uri"])
            pictures.append({"correct": False, **row, "alt": ", ".join(parts), "path": path, "pixelated": size <= 64})
        self.shown += pictures
        return pictures

    def develop(self, *, progress: bool) -> None:
        """Set `source` of each picture: a thumbnail as a data URL, None if the image cannot be read."""
        ids = sorted({row["image_id"] for row in self.shown})
        stored = {row["image_id"]: row["image"] for row in self.ask("shown_images", {"ids": ids}).rows}
        self.answers.pop("shown_images")  # bytes of images: not a query to show
        with track("thumbnails", len(ids), enabled=progress) as advance, ThreadPoolExecutor(max_workers=8) as pool:
            waiting = {pool.submit(self._source, stored.get(image_id)): image_id for image_id in ids}
            sources = {}
            for done in as_completed(waiting):
                sources[waiting[done]] = done.result()
                advance(1)
        for row in self.shown:
            row["source"] = sources[row["image_id"]]

    def _source(self, image: Row | None) -> str | None:
        small = self.album.small(image, THUMBNAIL_PX, 70)
        return None if small is None else "data:image/webp;base64," + base64.b64encode(small).decode()
