"""Parts: Parquet files of outputs that workers wrote, and their commit to a run.

A part is taken whole and once, or refused with its reason: its footer must name the work of the run, its name must be
the hash of that work and of its images, and its columns must be those of the run. Rows whose image has changed or was
answered meanwhile do not count. With storage="table" the rows that count are inserted into `outputs.<run>`; with
storage="parts" the file stays where it is and the view `outputs.<run>` reads it. A view reads only whole files, so a
part with rows that do not count, such as errors, is written again without them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..core.faults import point
from ..core.noise import Complaints
from ..core.results import Result
from ..db import parts as files
from ..db.alone import works_alone
from ..db.catalogue import recreate_run_views
from ..db.statements import execute, fetch, registered, table, transaction
from ..errors import InferenceError, NotFoundError, SchemaError
from . import exchange, identity
from . import run as runs

STORAGES = ("table", "parts")
_BOUNDED = ("pred", "raw_pred", "confidence", "raw_confidence", "inside", "probs")  # of a model of ours
SUM_TOLERANCE = 1e-3  # of probabilities in float32


@dataclass(frozen=True, repr=False)
class Localized(Result):
    """The result of `localize`: the run, how many outputs are in the file now, and how many parts were read."""

    run: str
    n_ok: int
    n_parts: int


def identify(con: duckdb.DuckDBPyConnection, run: str) -> str:
    """A hash of the work of a run, which shards and parts of this work carry: what it is made with, and its start."""
    spec = runs.require(con, run)
    told = {field: getattr(spec, field) for field in ("run", *identity.IDENTITY)}
    told["class_map"] = fetch(con, "read_class_map", [run])
    told["started_at"] = str(fetch(con, "read_run_start", [run])[0][0])
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def storage_of(con: duckdb.DuckDBPyConnection, run: str) -> str:
    """Where the outputs of a run lie: table, parts, or view.

    Raises:
        NotFoundError: no such run.
    """
    return runs.require(con, run).storage


def commit(
    con: duckdb.DuckDBPyConnection,
    run: str,
    parts: Iterable[str],
    *,
    record_errors: bool = True,
    heard: Callable[[dict[str, Any]], None] = lambda _footer: None,
) -> dict[str, str]:
    """Commit parts to a run, each in a transaction; one that was committed before is passed over.

    Args:
        con: writable.
        run: a run that is open or finished.
        parts: paths or addresses of files that `work` wrote.
        record_errors: also write the errors of parts; otherwise their images stay pending.
        heard: called with the footer of each part that is taken: see `hear`. Its seconds are added to those of the run.

    Returns:
        Parts that are missing, damaged or of other work, each with the reason; they stay where they are.

    Raises:
        NotFoundError: no such run.
        SchemaError: the run is derived.
    """
    if storage_of(con, run) not in STORAGES:
        raise SchemaError(f"run {run!r} is derived from others, so it takes no parts")
    known, refused, spent = identify(con, run), dict[str, str](), 0.0
    for path in parts:
        start = time.perf_counter()
        try:
            footer = _commit_part(con, run, path, known, record_errors=record_errors)
        except (SchemaError, NotFoundError) as error:
            refused[path] = str(error)
            continue
        if footer is not None:
            heard(footer)
            spent += time.perf_counter() - start
    if spent:
        with transaction(con):
            runs.add_seconds(con, run, {"write": spent})
    return refused


def hear(footer: dict[str, Any], notes: list[str], complaints: Complaints) -> None:
    """Add what a worker noted about the model, and what its decoders said, to what is known; each cause once."""
    notes += [note for note in footer.get("notes", ()) if note not in notes]
    complaints.hear(*footer.get("complaints", (0, "")))


def _commit_part(
    con: duckdb.DuckDBPyConnection, run: str, path: str, known: str, *, record_errors: bool
) -> dict[str, Any] | None:
    """Gives the footer of the part; None if it was committed before."""
    part = exchange.name_of(path)
    if fetch(con, "has_part", [run, part])[0][0]:
        return None
    data = exchange.read(path)
    rows, footer = exchange.parse(data, path)
    columns = fetch(con, "list_output_columns", [run])
    _check(path, rows, footer, known, dict(columns))
    spec = runs.require(con, run)
    first, last = rows["image_id"][0].as_py(), rows["image_id"][-1].as_py()
    with transaction(con), registered(con, "part_rows", rows):
        in_table = spec.storage == "table"
        has_outputs = in_table or fetch(con, "overlaps_part", [run, first, last])[0][0]
        names = {"run": run, "dataset": spec.dataset, "first_id": first, "last_id": last}
        execute(con, "create_live", has_outputs=has_outputs, **names)
        n_ok, n_errors = fetch(con, "count_live")[0]
        uri, kept = None, data
        if in_table:
            execute(con, "insert_part_rows", run=run, names=[name for name, _ in columns])
        elif n_ok == len(rows):
            uri = files.shorten(con, path)
        elif n_ok:
            uri, kept = _keep_live(con, path, footer)
        point("insert")
        if record_errors:
            execute(con, "insert_part_errors", run=run)
        digest = hashlib.sha256(kept).hexdigest()
        execute(con, "insert_part", [run, part, uri, first, last, n_ok, n_errors, len(kept), digest])
        if uri is not None:
            files.recreate_view(con, run)
        execute(con, "update_run_counts" if in_table else "update_part_counts", run=run)
        n_asked, n_outputs, n_failed = fetch(con, "read_run_size", [run])[0]
        if n_outputs + n_failed > n_asked:
            raise SchemaError(f"{path} has images that run {run!r} was not asked for")
        stages = {stage: spent for stage, spent in footer.get("seconds", {}).items() if stage != "total"}
        runs.add_seconds(con, run, stages)
        failure = [] if record_errors else fetch(con, "read_first_live_failure")
    if in_table or (uri is not None and files.address(con, uri) != path):
        exchange.remove(path)
    if failure:
        raise InferenceError("image {}, {}: {}: {}: {}".format(*failure[0]))
    return footer


def _keep_live(con: duckdb.DuckDBPyConnection, path: str, footer: dict[str, Any]) -> tuple[str, bytes]:
    """Write a part again with the rows that count; gives its uri and bytes."""
    rows = table(con, "read_live")
    return _write_again(con, path, rows, footer)


def _write_again(
    con: duckdb.DuckDBPyConnection, path: str, rows: pa.Table, footer: dict[str, Any]
) -> tuple[str, bytes]:
    """Raises SchemaError where the new name has a file with other bytes: a committed part is never replaced."""
    name = exchange.name_of(path)
    own = {**footer, "n": len(rows), "n_ok": len(rows), "n_errors": 0, "rewritten_from": name}
    rows = rows.drop_columns(["error"]) if "error" in rows.column_names else rows
    told = json.dumps([own, rows["image_id"].to_pylist(), rows["sha256"].to_pylist()], sort_keys=True)
    end = f"live-{hashlib.sha256(told.encode()).hexdigest()[:16]}.parquet"
    # Only the name is cut: a folder may be called anything.
    target = f"{path[: -len(name)]}{name.removesuffix('.parquet').partition('-live-')[0]}-{end}"
    data = exchange.write(target, rows, own, once=True)
    if exchange.read(target) != data:
        raise SchemaError(f"{target} exists with other content, and a part is not replaced; move it away")
    return files.shorten(con, target), data


def _check(path: str, rows: pa.Table, footer: dict[str, Any], known: str, columns: dict[str, str]) -> None:
    """Refuse a part that is not of this work, or that is not whole.

    Raises:
        SchemaError: the message gives the reason.
    """
    if footer.get("identity") != known:
        raise SchemaError(
            f"{path} is of other work (run {footer.get('run')!r}), or of this run before it was made anew"
        )
    wanted = exchange.part_schema(columns)
    if rows.schema.remove_metadata() != wanted:
        raise SchemaError(f"{path} has the columns {rows.schema.names}, the run has {wanted.names}, or other types")
    n_errors = len(rows) - rows["error"].null_count
    if not len(rows) or (footer.get("n"), footer.get("n_errors")) != (len(rows), n_errors):
        raise SchemaError(f"{path} has {len(rows)} rows with {n_errors} errors, its footer says otherwise")
    ids = rows["image_id"].to_pylist()
    if any(a >= b for a, b in itertools.pairwise(ids)):
        raise SchemaError(f"{path} has images twice or out of order")
    hashes = rows["sha256"].to_pylist()
    if not path.endswith(f"part-{exchange.end_of_name(known, footer['attempt'], ids, hashes)}"):
        raise SchemaError(f"{path} has other images than its shard: its name is not the hash of them")
    for name, sql_type in columns.items():
        column = rows[name].combine_chunks()
        _check_column(path, name, column, rows["error"].combine_chunks(), sql_type)
        _check_values(path, name, column, columns)


def _check_column(path: str, name: str, column: pa.Array, errors: pa.Array, sql_type: str) -> None:
    if not pc.all(pc.equal(column.is_null(), errors.is_valid()), min_count=0).as_py():
        raise SchemaError(f"{path} has images with both or neither of {name} and an error")
    width = sql_type.partition("[")[2].rstrip("]")
    if width and not pc.all(pc.equal(pc.list_value_length(column.drop_null()), int(width)), min_count=0).as_py():
        raise SchemaError(f"{path} has arrays {name} that are not {sql_type}")
    values = column.flatten() if width else column
    if values.null_count != (0 if width else column.null_count):
        raise SchemaError(f"{path} has NULL within {name}")


def _check_values(path: str, name: str, column: pa.Array, columns: dict[str, str]) -> None:
    """Refuse values that no model of ours gives, such as a prediction beyond the classes."""
    kept = column.drop_null()
    values = np.asarray(kept.flatten() if pa.types.is_list(column.type) else kept)
    if not np.isfinite(values).all():
        raise SchemaError(f"{path} has values of {name} that are NaN or infinite")
    n_classes = int(columns["probs"].partition("[")[2].rstrip("]") or 0) if "probs" in columns else 0
    low, high = {"pred": (-1, n_classes - 1), "raw_pred": (0, np.inf)}.get(name, (0, 1 + SUM_TOLERANCE))
    if name in _BOUNDED and len(values) and (values.min() < low or values.max() > high):
        raise SchemaError(
            f"{path} has values of {name} from {values.min():g} to {values.max():g}, not {low} to {high:g}"
        )
    if name == "probs" and len(kept) and values.reshape(len(kept), -1).sum(1).max() > 1 + SUM_TOLERANCE:
        raise SchemaError(f"{path} has probs whose sum is more than 1")


def free_name(con: duckdb.DuckDBPyConnection, run: str, kind: str, known: str, rows: pa.Table) -> tuple[int, str]:
    """The end of the name of a part that is not committed yet, and the number of the attempt, which is hashed in it.

    The same images are pending again after `retry_errors`, or where a file has got its first bytes back.
    """
    ids, hashes = rows["image_id"].to_pylist(), rows["sha256"].to_pylist()
    for attempt in itertools.count():
        end = exchange.end_of_name(known, attempt, ids, hashes)
        if not fetch(con, "has_part", [run, f"{kind}-{end}"])[0][0]:
            return attempt, end
    raise AssertionError


def drop_stale(con: duckdb.DuckDBPyConnection, run: str) -> None:
    """Write the parts that have outputs of pending images again without them: they were for other bytes."""
    pending = table(con, "list_pending_ids")["image_id"].combine_chunks()
    replaced: list[Path] = []
    with transaction(con):
        for part, uri, n, *_ in fetch(con, "list_parts", [run]):
            path = files.address(con, uri)
            rows, footer = exchange.parse(exchange.read(path), path)
            stays = pc.invert(pc.is_in(rows["image_id"], pending))
            left = rows.filter(stays)
            if len(left) == n:
                continue
            kept, data = (None, b"") if not len(left) else _write_again(con, path, left, footer)
            values = [kept, len(left), len(data), hashlib.sha256(data).hexdigest(), run, part]
            execute(con, "replace_part", values)
            replaced.append(Path(path))
        files.recreate_view(con, run)
        execute(con, "update_part_counts", run=run)
    files.delete(con, replaced)


def add_copies(con: duckdb.DuckDBPyConnection, run: str, names: list[str], folder: str) -> None:
    """Write a part of outputs for pending images that have the same bytes as an answered one."""
    rows = table(con, "read_copies", run=run, names=names)
    if not len(rows):
        return
    schema = exchange.part_schema(dict(fetch(con, "list_output_columns", [run])))
    rows = rows.cast(pa.schema([field for field in schema if field.name != "error"]))
    known = identify(con, run)
    attempt, end = free_name(con, run, "copies", known, rows)
    path = exchange.join(folder, f"copies-{end}")
    footer = {"format": exchange.FORMAT, "run": run, "identity": known, "attempt": attempt}
    data = exchange.write(path, rows, {**footer, "n": len(rows), "n_ok": len(rows), "n_errors": 0})
    first, last = rows["image_id"][0].as_py(), rows["image_id"][-1].as_py()
    values = [run, f"copies-{end}", files.shorten(con, path), first, last, len(rows), 0, len(data)]
    with transaction(con):
        execute(con, "insert_part", [*values, hashlib.sha256(data).hexdigest()])
        files.recreate_view(con, run)
        execute(con, "update_part_counts", run=run)


@works_alone("localize")
def localize(con: duckdb.DuckDBPyConnection, run: str) -> Localized:
    """Bring the outputs of a run with storage="parts" into the file; parts in FILE.parts are deleted then.

    Args:
        con: from `connect`, writable.
        run: its name.

    Returns:
        How many outputs were copied, and from how many parts. A run that is in the file already stays as it is.

    Raises:
        NotFoundError: no such run.
        SchemaError: the run is derived, or a part is missing or changed; nothing was changed.
    """
    storage = storage_of(con, run)
    if storage not in STORAGES:
        raise SchemaError(f"run {run!r} is derived from others; localize those")
    n_ok = fetch(con, "read_run_size", [run])[0][1]
    if storage == "table":
        return Localized(run, n_ok, 0)
    files.require(con, run)
    owned, n_parts = files.owned(con, run), len(files.addresses(con, run))
    columns, draft = fetch(con, "list_output_columns", [run]), f"{run} localized"
    with transaction(con):
        execute(con, "create_local_outputs", name=draft, columns=columns)
        execute(con, "insert_local_outputs", name=draft, run=run, names=[name for name, _ in columns])
        execute(con, "drop_derived", run=run)
        execute(con, "rename_local_outputs", name=draft, run=run)
        if fetch(con, "is_clustered", [run])[0][0]:
            execute(con, "add_cluster_column", run=run)
            execute(con, "fill_local_clusters", run=run)
        execute(con, "update_run_storage", ["table", run])
        execute(con, "keep_parts", [run])
        execute(con, "update_run_counts", run=run)
        if fetch(con, "read_run_size", [run])[0][1] != n_ok:
            raise SchemaError(f"the parts of run {run!r} have other rows than were committed; nothing was changed")
        recreate_run_views(con, [run])
    files.delete(con, owned)
    return Localized(run, n_ok, n_parts)
