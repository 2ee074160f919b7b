"""The data of a page: rows, details and pictures as Arrow in base64; and `read_report`, which reads them back.

Each image is a row of small numbers, 10 to 20 bytes in the file. Confidences are the 32-bit numbers of the runs, so
that the page counts the same images as the macros. What the size limit leaves beside the rows goes to large pictures of
what has to be looked at, to details for the dialog, and to thumbnails, mistakes first.
"""

from __future__ import annotations

import html
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..db import statements
from ..errors import NotFoundError, SchemaError
from . import blocks, pictures
from .album import Album
from .details import Source, details
from .folder import Folder

MAX_ROWS = 1_000_000
MAX_RUNS = 6  # whose answers the page has
MAX_SUSPECTS = 500
N_LARGE = 1000  # images with a large picture where nothing else needs the room
FIXED_MB = 1.0  # page without rows and images: text, style, script, charts
SHARES = {"rows": 0.6, "large": 0.5, "details": 0.2}  # of the whole limit; of what the rows leave
_PROBE = 256  # thumbnails from which the size of all is estimated
_SMALLEST = 100  # bytes; nearly all thumbnails are larger, so this limits the number of candidates
_BLOCK = r'<script type="{media_type}" id="{name}">(.*?)</script>'
_ZIPPED, _PLAIN = (f"application/vnd.apache.arrow.stream{suffix};base64" for suffix in ("+gzip", ""))
MEDIA_TYPES = {"facts": "application/json", "rows": _ZIPPED, "details": _ZIPPED, "thumbnails": _PLAIN, "large": _PLAIN}


@dataclass(frozen=True)
class Places:
    """A map that is not the projection of the run: images with coordinates, and corner and size of what is shown.

    Attributes:
        relation: SQL of a query with the columns image_id, x, y; an image without a row has no place.
        left, low, width, height: what lies beyond them is moved to the edge.
    """

    relation: str
    left: float
    low: float
    width: float
    height: float


@dataclass(frozen=True)
class Pack:
    """The data blocks of a page: facts, to be written as JSON, and tables in base64."""

    facts: dict[str, Any]
    rows: str
    details: str
    thumbnails: str
    large: str

    @property
    def n_thumbnails(self) -> int:
        """Number of images with a thumbnail."""
        return int(self.facts["n_thumbnails"])

    @property
    def media_types(self) -> dict[str, str]:
        """The media type of each data block."""
        return MEDIA_TYPES

    @property
    def contents(self) -> list[str]:
        """Sentences about what the page has of its images, and what did not fit."""
        facts, n = self.facts, self.facts["n"]
        sentences = []
        if n < facts["total"]:
            sentences.append(f"The page contains a uniform sample of {n:,} of {facts['total']:,} images.")
        first = "" if facts["n_thumbnails"] == n else ", mistakes first" if facts["labeled"] else ""
        sentences.append(f"{facts['n_thumbnails']:,} of {n:,} images have a thumbnail here{first}.")
        if facts["n_large"]:
            sentences.append(f"{facts['n_large']:,} have a picture of {pictures.LARGE[0]} px.")
        if facts["n_full"]:
            sentences.append(
                f"{facts['n_full']:,} have one of up to {pictures.FULL[0]:,} px in a folder beside the page, which "
                "goes where the page goes."
            )
        if facts["n_details"] < n:
            sentences.append(f"{facts['n_details']:,} have all details in the dialog.")
        if facts["left_out"]:
            what, keeps = ", ".join(facts["left_out"]), "keeps it" if len(facts["left_out"]) == 1 else "keeps them"
            sentences.append(f"Not in the page, to keep it small: {what}; a higher max_mb (--max-mb) {keeps}.")
        return sentences


def pack(
    con: duckdb.DuckDBPyConnection,
    run: str,
    others: Sequence[str],
    folder: str | None,
    max_mb: float,
    shown: int = 0,
    album: Album | None = None,
    *,
    slices: Sequence[Mapping[str, Any]] = (),
    slice_rows: str = "",
    places: Places | None = None,
    full: Folder | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Pack:
    """The rows of a run, and as many pictures and details as fit.

    Args:
        con: from `connect`.
        run: the run of the page.
        others: further runs, the baseline first; the page has the answers of those over the same data set and classes.
        folder: file names are stored relative to this folder; None stores no file names.
        max_mb: size limit of the page in megabytes.
        shown: bytes of the images that the page shows elsewhere.
        album: what makes the pictures; default one that reads what `con` may.
        slices: feature, values (text) and sql (one condition per value) of each slice of the images.
        slice_rows: SQL of a query with the columns image_id and slice_0, slice_1, …: the index of the value, or NULL.
        places: coordinates other than those of the run's newest projection.
        full: the folder for pictures in the size of a screen.
        extra: further facts of the page, ready for JSON.

    Raises:
        SchemaError: the rows alone need more than `max_mb`.
    """
    n, columns = _shape(con, run)
    facts, table = _base(con, run, n, "x" in columns, folder, places)
    facts |= extra or {}
    names = [
        run,
        *(name for (name,) in statements.fetch(con, "page_runs", run=run, runs=[run, *others]) if name != run),
    ]
    has_labels = facts["labeled"] and "probs" in columns
    with statements.registered(con, "_page_images", _positions(table["image_id"])):
        suspects = _suspects(con, run) if has_labels else _NO_SUSPECTS
        facts["suspects"] = [
            {"row": row["position"], "suggested": row["suggested"], "p_wrong": row["p_wrong"]}
            for row in suspects.slice(0, MAX_SUSPECTS).to_pylist()
        ]
        fixed = FIXED_MB * 1e6 + shown + len(json.dumps([facts, [dict(each) for each in slices]]).encode())
        groups = _groups(con, names[:MAX_RUNS], slices, slice_rows, has_labels=has_labels)
        table, rows, kept, left_out = _fitting(
            _stored(table), groups, min(SHARES["rows"] * max_mb * 1e6, max_mb * 1e6 - fixed)
        )
        facts |= {
            "runs": _runs(con, names, table),
            "slices": [dict(each) for number, each in enumerate(slices) if f"slice_{number}" in kept],
            "left_out": left_out,
        }
        need = (fixed + len(rows)) / 1e6
        if max_mb < need:
            raise SchemaError(
                f"a page of {table.num_rows:,} images and {len(facts['classes']):,} classes needs {need:.1f} MB, more "
                f"than {max_mb:g}; raise max_mb (--max-mb), or report a run over fewer images"
            )
        album = album or Album(remote=statements.may_reach(con))
        with statements.registered(con, "_page_suspects", suspects):
            return _filled(con, album, facts, rows, (max_mb - need) * 1e6, folder, full)


def _shape(con: duckdb.DuckDBPyConnection, run: str) -> tuple[int, set[str]]:
    counts = statements.fetch(con, "run_counts", run=run)
    return counts[0][0], {name for (name,) in statements.fetch(con, "run_columns", run=run)}


def _base(
    con: duckdb.DuckDBPyConnection, run: str, n: int, has_places: bool, folder: str | None, places: Places | None
) -> tuple[dict[str, Any], pa.Table]:
    """What the page says of its first run, and its rows as DuckDB gives them."""
    extent = _extent(con, run, places) if has_places or places else {"extent": None}
    placed = extent["extent"] is not None
    values = {"folder": folder or "", **{name: extent.get(name, 0.0) for name in ("left", "low", "span")}}
    names = {"placed": placed, "places": places and places.relation, "redacted": folder is None}
    if n > MAX_ROWS:
        values["max_rows"] = MAX_ROWS
    table = statements.table(con, "page_rows", values, run=run, sampled=n > MAX_ROWS, **names)
    path = statements.fetch(con, "read_path")[0][0]
    facts = {
        "run": run,
        "n": table.num_rows,
        "total": n,
        "dataset": next(row[2] for row in statements.fetch(con, "run_list") if row[0] == run),
        "database": Path(path).name if path and folder is not None else None,
        "redacted": folder is None,
        "classes": [name for _, name in statements.fetch(con, "page_classes", run=run)],
        "splits": sorted(name for name in pc.unique(table["split"]).to_pylist() if name is not None),
        "labeled": _any(pc.greater_equal(table["label"], 0)),
        "predicted": _any(pc.not_equal(table["pred"], -2)),
        "clustered": _any(pc.greater_equal(table["cluster"], 0)),
        **extent,
    }
    return facts, table


def _any(column: pa.ChunkedArray) -> bool:
    return bool(pc.any(column).as_py())


def _extent(con: duckdb.DuckDBPyConnection, run: str, places: Places | None) -> dict[str, Any]:
    """Lower left corner and scale of the coordinates, and their extent: 65,534 along the longer side."""
    if places is not None:
        left, low, width, height = places.left, places.low, places.width, places.height
    else:
        left, low, width, height = statements.fetch(con, "page_bounds", run=run)[0]
    if left is None:
        return {"extent": None}
    span = max(width, height)
    extent = [max(1, round(side / (span or 1.0) * 65534)) for side in (width, height)]
    return {"left": left, "low": low, "span": span, "extent": extent}


def _positions(ids: pa.ChunkedArray) -> pa.Table:
    return pa.table({"image_id": ids, "position": pa.array(np.arange(len(ids)), pa.int64())})


def _stored(table: pa.Table) -> pa.Table:
    """The rows as the page stores them: ids as steps, which compress better, and splits as codes in their order."""
    ids = table["image_id"].to_numpy()
    splits = table["split"].combine_chunks().dictionary_encode()
    order = np.argsort(np.argsort(splits.dictionary.to_pylist())) if len(splits.dictionary) else np.zeros(0, int)
    codes = splits.indices.fill_null(-1).to_numpy()
    split = np.where(codes >= 0, np.append(order, -1)[codes], -1)
    step = pa.array(np.diff(ids, prepend=0))
    table = table.set_column(table.column_names.index("split"), "split", pa.array(split.astype(np.int32)))
    return table.set_column(table.column_names.index("image_id"), "id_step", step)


@dataclass(frozen=True)
class _Group:
    """Columns that the page has if they fit: their key, what they are in words, and what reads them."""

    key: str
    words: str
    read: Callable[[], dict[str, pa.ChunkedArray]]


def _groups(
    con: duckdb.DuckDBPyConnection,
    runs: Sequence[str],
    slices: Sequence[Mapping[str, Any]],
    slice_rows: str,
    *,
    has_labels: bool,
) -> list[_Group]:
    """The columns beside those of the first run, in order of importance: the baseline first, other runs last."""

    def answers(k: int) -> dict[str, pa.ChunkedArray]:
        table = statements.table(con, "page_answers", run=runs[k])
        return {f"pred_{k}": table["pred"], f"confidence_{k}": table["confidence"]}

    def labels() -> dict[str, pa.ChunkedArray]:
        return {"p_label": statements.table(con, "page_label_probabilities", run=runs[0])["p_label"]}

    def codes(k: int) -> dict[str, pa.ChunkedArray]:
        table = statements.table(con, "page_slices", relation=slice_rows, column=f"slice_{k}")
        return {f"slice_{k}": table["code"]}

    others = [_Group("run", f"run {name}", partial(answers, k)) for k, name in enumerate(runs) if k]
    of_label = [_Group("p_label", "the probability of the label", labels)] if has_labels else []
    sliced = [_Group(f"slice_{k}", f"slice {each['feature']}", partial(codes, k)) for k, each in enumerate(slices)]
    return [*others[:1], *of_label, *sliced, *others[1:]]


def _fitting(table: pa.Table, groups: Sequence[_Group], limit: float) -> tuple[pa.Table, str, list[str], list[str]]:
    """The rows with the groups of columns that fit into `limit` bytes: table, block, keys kept, what is left out."""
    rows = blocks.packed(table)
    size, runs_fit = len(rows), True
    kept: list[str] = []
    left_out: list[str] = []
    for group in groups:
        # Runs are numbered, so after one that does not fit none can follow.
        if size < limit and (runs_fit or group.key != "run"):
            columns = group.read()
            more = len(blocks.packed(pa.table(columns)))
            if size + more <= limit:
                for name, column in columns.items():
                    number = sum(key.startswith("slice_") for key in kept)
                    table = table.append_column(f"slice_{number}" if name.startswith("slice_") else name, column)
                size += more
                kept.append(group.key)
                continue
        runs_fit &= group.key != "run"
        left_out.append(group.words)
    return table, blocks.packed(table) if kept else rows, kept, left_out


def _runs(con: duckdb.DuckDBPyConnection, names: Sequence[str], table: pa.Table) -> list[dict[str, Any]]:
    """The runs whose answers are in the rows: name, number of images with a prediction, and what the run has."""
    runs = []
    for k, name in enumerate(names):
        pred, confidence = (f"{column}_{k}" if k else column for column in ("pred", "confidence"))
        if pred in table.column_names:
            runs.append({
                "name": name,
                "n": int(pc.sum(pc.not_equal(table[pred], -2)).as_py() or 0),
                # Not below 0, but also NaN, which is equal to nothing.
                "has_confidence": _any(pc.invert(pc.less(table[confidence], 0))),
                "n_outside": statements.fetch(con, "page_outside", run=name)[0][0] if k else 0,
                "has_probs": "probs" in {column for (column,) in statements.fetch(con, "run_columns", run=name)},
            })  # fmt: skip
    return runs


_NO_SUSPECTS = pa.table({
    "image_id": pa.array([], pa.int64()),
    "position": pa.array([], pa.int64()),
    "suggested": pa.array([], pa.int32()),
    "p_wrong": pa.array([], pa.float64()),
    "self_confidence": pa.array([], pa.float64()),
})  # fmt: skip


def _suspects(con: duckdb.DuckDBPyConnection, run: str) -> pa.Table:
    return statements.table(con, "page_suspects", run=run)


def _filled(
    con: duckdb.DuckDBPyConnection,
    album: Album,
    facts: dict[str, Any],
    rows: str,
    left: float,
    folder: str | None,
    full: Folder | None,
) -> Pack:
    """The page's data with as many pictures and details as `left` bytes hold."""
    room = left * 3 / 4  # of pictures: in base64 three bytes become four
    runs = facts["runs"]
    limit = {"max_images": min(facts["n"], max(N_LARGE, int(room / _SMALLEST)))}
    order = statements.fetch(con, "thumbnail_order", limit, run=facts["run"])
    baseline = runs[1]["name"] if len(runs) > 1 else None
    urgent = statements.fetch(con, "large_order", limit, run=facts["run"], baseline=baseline)
    wanted = list(dict.fromkeys(urgent + order))
    source = Source(con, facts["run"], [(k, each["name"]) for k, each in enumerate(runs) if each["has_probs"]], folder)
    told, n_details = details(source, wanted, SHARES["details"] * left)
    room -= len(told) * 3 / 4
    # Where large pictures of half the room keep out few of the thumbnails, there are fewer of them instead.
    some = pictures.fill(con, album, order[:_PROBE], room, pictures.SMALL, "thumbnails")
    spare = room - 1.03 * facts["n"] * pictures.used(some) / max(1, len(some))
    half = SHARES["large"] * room
    share = spare if half / 2 <= spare <= half else half
    large = pictures.fill(con, album, urgent, share, pictures.LARGE, "large pictures")
    small = pictures.fill(con, album, order, room - pictures.used(large), pictures.SMALL, "thumbnails")
    room -= pictures.used(large) + pictures.used(small)
    if n_details < len(wanted) and room * 4 / 3 > len(told) / 2:
        room += len(told) * 3 / 4
        told, n_details = details(source, wanted, room * 4 / 3)
        room -= len(told) * 3 / 4
    more = [one for one in urgent if one[1] not in large]
    more += [one for one in order if one[1] not in large][: max(0, N_LARGE - len(large) - len(more))]
    large |= pictures.fill(con, album, list(dict.fromkeys(more)), room, pictures.LARGE, "large pictures")
    in_folder = full.write(con, album, wanted) if full else []
    facts |= {
        "n_thumbnails": len(small),
        "n_large": len(large),
        "n_details": n_details,
        "n_full": len(in_folder),
        "files": full.url if full else None,
        "full": in_folder,
    }
    tables = (blocks.plain(pictures.table(each)) for each in (small, large))
    return Pack(facts, rows, told, *tables)


def read_report(con: duckdb.DuckDBPyConnection, path: str | Path, table: str = "page") -> duckdb.DuckDBPyRelation:
    """Read the data of a page that `report` wrote into a temporary table.

        read_report(con, "report.html", table="old")
        con.sql("from accuracy('old')")

    Args:
        con: any DuckDB connection; on one from `connect` the metrics can be called on the table.
        path: the HTML file.
        table: name of the temporary table, with one row per image of the page: image_id, uri (below the data set's
            folder), label, label_name, pred, pred_name, confidence, correct, x, y (to 1/65,534 of the map's width),
            cluster, split, p_label (probability of the label), then pred_1, pred_name_1 and confidence_1 of the
            baseline and so on for each further run in the page (the comments of these columns name it), thumbnail and
            large (WebP of 64 and 256 pixels, NULL if the page has none). What the page lacks, such as p_label on an
            older one, is NULL. A temporary table of that name is replaced.

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
    try:
        facts = json.loads(_find(text, file, "facts"))
        rows = blocks.unpacked(_find(text, file, "rows"))
        small = blocks.unplain(_find(text, file, "thumbnails"))
        # Pages written before there were large pictures have no such block.
        large = blocks.unplain(_find(text, file, "large")) if _has(text, "large") else small.slice(0, 0)
        names = [each["name"] for each in facts.get("runs", [])]
        classes = pa.table({"class": pa.array(range(len(facts["classes"])), pa.int64()), "name": facts["classes"]})
        bounds = {name: [facts.get(name)] for name in ("left", "low", "span")}
        spread = pa.table({**bounds, "splits": pa.array([facts.get("splits", [])], pa.list_(pa.string()))})
    except (ValueError, OSError, EOFError, LookupError, TypeError, AttributeError, pa.ArrowException) as error:
        raise SchemaError(f"{file}: the data of the page is damaged: {error}") from error
    rows = rows.append_column("position", pa.array(np.arange(rows.num_rows)))
    views = {"_page_rows": rows, "_page_thumbnails": small, "_page_large": large}
    views |= {"_page_classes": classes, "_page_facts": spread}
    others = [k for k in range(1, len(names)) if f"pred_{k}" in rows.column_names]
    for name, rows_of in views.items():
        con.register(name, rows_of)
    try:
        statements.execute(con, "read_page", name=table, columns=rows.column_names, others=others)
        for k, column in itertools.product(others, ("pred", "pred_name", "confidence")):
            words = f"{column} of run {names[k]}"
            statements.execute(con, "name_page_column", name=table, column=f"{column}_{k}", text=words)
    finally:
        for name in views:
            con.unregister(name)
    return con.table(f"temp.{table}")


def _block(text: str, name: str) -> re.Match[str] | None:
    return re.search(_BLOCK.format(media_type=re.escape(MEDIA_TYPES[name]), name=name), text, re.DOTALL)


def _has(text: str, name: str) -> bool:
    return _block(text, name) is not None


def _find(text: str, file: Path, name: str) -> str:
    block = _block(text, name)
    if block is None:
        raise SchemaError(f"{file} is not a page of `sqlanalysis report`: it has no block {name!r}")
    return html.unescape(block[1])
