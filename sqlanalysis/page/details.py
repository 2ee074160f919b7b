"""What the dialog of a page shows of an image: most probable classes, nearest images, sizes, statistics and meta."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..core import progress
from ..db import statements, templates
from . import blocks, words

TOP = 5
MAX_SEARCHED = 20_000  # images among which neighbors are searched while the page is written
MAX_WORK = 2.1e11  # products of that search, some ten seconds of one core
K = 15  # neighbors that are searched, as many as `find_neighbors` stores
MAX_KEYS = 20
MAX_VALUE = 200  # characters
_BILLION = 10**9
_SPAN = 2**22  # as in `embeddings.neighbors`: a distance in whole billionths and an index are one exact double
_BLOCK = 256
_SAMPLE = 2000
_STATISTICS = ("brightness", "contrast", "sharpness", "colorfulness", "entropy")
# Made once: dumps with arguments makes one for each call.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=str)
_IS_NUMBERS = re.compile(r"(f/)?[\d/.:,\s-]*")  # dates, fractions and f-numbers have slashes, too
_IS_PATH = re.compile(r"[/\\]|^~|\.[A-Za-z][A-Za-z0-9]{1,4}$")


@dataclass(frozen=True)
class Source:
    """Where the details of a page come from: its run, the runs with probabilities by number, and the folder of names.

    `folder` is None on a page without paths. `made` holds what was read of the first images that were asked for, so
    that a call with more room goes on from there.
    """

    con: duckdb.DuckDBPyConnection
    run: str
    runs_with_probs: Sequence[tuple[int, str]]
    folder: str | None
    made: list[pa.Table] = field(default_factory=list)


def details(source: Source, wanted: Sequence[tuple[int, int]], room: float) -> tuple[str, int]:
    """The block of details of as many images as fit into `room` bytes, in the order given; and their number.

    Args:
        source: what the details are of; `_page_images` is registered on its connection.
        wanted: image_id and row of the page, the most important first.
        room: bytes of the block.
    """
    first = wanted[:_SAMPLE]
    table = _table(source, first)
    size = len(blocks.packed(table))
    if len(wanted) > len(first) and size < room:
        # The number that fits by the mean of the sample; the rest of the loop corrects it.
        first = wanted[: max(len(first), int(len(first) * room / size))]
        table = _table(source, first)
        size = len(blocks.packed(table))
    while size > room and table.num_rows:
        table = table.slice(0, int(table.num_rows * min(0.98, room / size)))
        size = len(blocks.packed(table))
    return (blocks.packed(table), table.num_rows) if table.num_rows else ("", 0)


def _table(source: Source, wanted: Sequence[tuple[int, int]]) -> pa.Table:
    ids = np.array([image_id for image_id, _ in wanted], np.int64)
    rows = np.array([row for _, row in wanted], np.uint32)
    known = pa.concat_tables(source.made, promote_options="default") if source.made else None
    if known is not None and not np.array_equal(known["row"].to_numpy()[: len(rows)], rows[: known.num_rows]):
        source.made.clear()  # of other images, or of these in another order
    start = sum(part.num_rows for part in source.made)
    if start < len(ids) or not source.made:
        source.made.append(_part(source, ids[start:], rows[start:]))
    table = pa.concat_tables(source.made, promote_options="default").slice(0, len(ids))
    with _wanted(source, ids):
        near = _neighbors(source, ids)
    most = [name for name in table.column_names if name.startswith(("classes_", "probs_"))]
    columns = {name: table[name] for name in ("row", *sorted(most, key=lambda name: int(name.split("_")[1])))}
    return pa.table({**columns, **near, **{name: table[name] for name in ("width_px", "height_px", "meta")}})


def _part(source: Source, ids: np.ndarray, rows: np.ndarray) -> pa.Table:
    """What is known of each image alone, whatever others are on the page."""
    columns: dict[str, Any] = {"row": pa.array(rows)}
    with _wanted(source, ids):
        for k, run in source.runs_with_probs:
            most = _most_probable(source.con, run, ids)
            if most is not None:
                columns[f"classes_{k}"], columns[f"probs_{k}"] = most
        facts = statements.table(source.con, "detail_facts", run=source.run)
    columns |= {name: facts[name] for name in ("width_px", "height_px")}
    columns["meta"] = pa.array([_meta(row, source.folder) for row in _rows(facts)], pa.string())
    return pa.table(columns)


def _wanted(source: Source, ids: np.ndarray) -> AbstractContextManager[None]:
    """The images as `_page_wanted`, each with its rank."""
    return statements.registered(source.con, "_page_wanted", pa.table({"image_id": ids, "rank": np.arange(len(ids))}))


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches():
        yield from batch.to_pylist()


def _most_probable(con: duckdb.DuckDBPyConnection, run: str, ids: np.ndarray) -> tuple[pa.Array, pa.Array] | None:
    """The most probable classes of the images and their probabilities; ties go to the lower class, as in `argmax`.

    NULL where the run has no probabilities of an image, or a NaN among them; None if it has none at all.
    """
    classes, probs = np.zeros((len(ids), TOP), np.int32), np.zeros((len(ids), TOP), np.float32)
    counts = np.zeros(len(ids), np.int32)
    order = np.argsort(ids)
    # A stream: the probabilities of many images and classes are never in memory together.
    for batch in con.sql(templates.render("detail_probs", run=run)).to_arrow_reader(2048):
        batch = batch.filter(batch["probs"].is_valid())
        for width in pc.unique(pc.list_value_length(batch["probs"])).to_pylist():
            part = batch.filter(pc.equal(pc.list_value_length(batch["probs"]), width))
            values = part["probs"].flatten().to_numpy(zero_copy_only=False).reshape(-1, width).copy()
            at = order[np.searchsorted(ids, part["image_id"].to_numpy(), sorter=order)]
            whole = ~np.isnan(values).any(axis=1)
            values, at, every = values[whole], at[whole], np.arange(int(whole.sum()))
            for rank in range(min(TOP, width)):
                best = values.argmax(axis=1)
                classes[at, rank], probs[at, rank] = best, values[every, best]
                values[every, best] = -np.inf
            counts[at] = min(TOP, width)
    if not counts.any():
        return None
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    kept, missing = np.arange(TOP) < counts[:, None], pa.array(counts == 0)
    return (
        pa.ListArray.from_arrays(offsets, pa.array(classes[kept]), mask=missing),
        pa.ListArray.from_arrays(offsets, pa.array(probs[kept]), mask=missing),
    )


def _neighbors(source: Source, ids: np.ndarray) -> dict[str, Any]:
    """Columns neighbors, agree and n_near: from the file, else searched among few images, else unknown."""
    con, run = source.con, source.run
    if statements.fetch(con, "has_neighbors", run=run)[0][0]:
        near = statements.table(con, "detail_neighbors", run=run, stored=True)
    else:
        found = _search(con, run, ids)
        if found is None:
            n = len(ids)
            unknown = {"agree": pa.array(np.full(n, -1, np.int8)), "n_near": pa.array(np.zeros(n, np.int8))}
            return {"neighbors": pa.nulls(n, pa.list_(pa.uint32())), **unknown}
        with statements.registered(con, "_page_neighbors", found):
            near = statements.table(con, "detail_neighbors", run=run, stored=False)
    return {name: near[name] for name in ("neighbors", "agree", "n_near")}


def _search(con: duckdb.DuckDBPyConnection, run: str, ids: np.ndarray) -> pa.Table | None:
    """The nearest images of some images of a run, as `find_neighbors` would store them; None where that takes long."""
    columns = {name for (name,) in statements.fetch(con, "run_columns", run=run)}
    if "activation" not in columns or statements.fetch(con, "run_counts", run=run)[0][0] > MAX_SEARCHED:
        return None
    table = statements.table(con, "read_activations", run=run)
    table = table.filter(table["activation"].is_valid())
    if not table.num_rows:
        return None
    vectors = table["activation"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
    directed = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    known, units = table["image_id"].to_numpy()[directed], vectors[directed].astype(np.float64)
    if len(known) < 2:
        return None
    at = np.searchsorted(known, ids)
    asked = np.sort(at[(at < len(known)) & (known[np.minimum(at, len(known) - 1)] == ids)])
    if len(asked) * units.size > MAX_WORK:
        return None
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    k, nearest = min(K, len(known) - 1), []
    with progress.track("nearest images", len(asked)) as advance:
        for start in range(0, len(asked), _BLOCK):
            block = asked[start : start + _BLOCK]
            keys = np.rint(_BILLION * (1 - units[block] @ units.T)) * _SPAN + np.arange(len(known))
            keys[np.arange(len(block)), block] = np.inf
            nearest.append(np.sort(np.partition(keys, k - 1, axis=1)[:, :k], axis=1) % _SPAN)
            advance(len(block))
    indices = np.concatenate(nearest).astype(np.int64) if nearest else np.zeros((0, k), np.int64)
    columns_of = {"image_id": np.repeat(known[asked], k), "neighbor_id": known[indices].ravel()}
    return pa.table({**columns_of, "rank": np.tile(np.arange(1, k + 1), len(asked))})


def _meta(row: dict[str, Any], folder: str | None) -> str:
    """What else is known of an image, as a JSON object: format, bytes, statistics, then the user's meta."""
    shown: dict[str, Any] = {"format": row["format"], "n_bytes": row["n_bytes"]}
    for name in _STATISTICS:
        if row[name] is not None and math.isfinite(row[name]):
            shown[name] = float(f"{row[name]:.6g}")  # the digits that a 32-bit number has
    # A name that is taken, such as a format of the user's own, is told apart.
    shown |= {f"meta.{name}" if name in shown else name: value for name, value in _given(row["meta"], folder)}
    return _ENCODER.encode(shown)


def _given(text: str | None, folder: str | None) -> list[tuple[str, Any]]:
    """Names and values of the user's meta as a page may show them, at most `MAX_KEYS`."""
    if text is None:
        return []
    try:
        given = json.loads(text)
        given = given if isinstance(given, dict) else {"meta": given}
        cleaned = [(clean(name, folder), clean(value, folder)) for name, value in given.items()]
    except (ValueError, RecursionError):  # JSON of others that Python does not read, such as of a thousand levels
        return []
    return [(name, value) for name, value in cleaned if name is not None and value is not None][:MAX_KEYS]


def clean(value: Any, folder: str | None) -> Any:
    """A value of meta as a page may show it: short, and without private paths; None if nothing may be shown.

    Args:
        value: from JSON.
        folder: of the data set, above which nothing is shown; None drops everything that looks like a path.
    """
    if value is None or isinstance(value, bool | int | float):
        return None if isinstance(value, float) and not math.isfinite(value) else value
    if isinstance(value, list | dict):
        text = json.dumps(_leaves(value, folder), ensure_ascii=False)
        return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"
    if folder is None:
        if _IS_PATH.search(value) and not _IS_NUMBERS.fullmatch(value):
            return None
    else:
        value = words.private(words.short_path(value, folder), folder)
    return value if len(value) <= MAX_VALUE else value[: MAX_VALUE - 1] + "…"


def _leaves(value: Any, folder: str | None) -> Any:
    if isinstance(value, list):
        return [_leaves(each, folder) for each in value[:MAX_VALUE]]
    if isinstance(value, dict):
        named = ((clean(name, folder), each) for name, each in list(value.items())[:MAX_KEYS])
        return {name: _leaves(each, folder) for name, each in named if name is not None}
    return clean(value, folder)
