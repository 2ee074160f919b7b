"""Shards: the pending images of a run, cut into files that a worker without a database can compute.

A shard is a Parquet file in a scratch folder, `SCRATCH/<run>-<key>/shard-<first>-<hash>.parquet`, with the columns
image_id, sha256, uri, bytes (NULL for an image by reference) and path (absolute; NULL where bytes are stored). Its
footer holds what the worker needs to know: the identity of the run's work, the specification of the model, the class
map, dtype, batch size and device. Its name is made of that identity and of its images, so that the same pending work,
cut in the same way, has the same shards, and what a driver that died has left is taken over by the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from ..core.interrupts import interruptible
from ..db import parts as files
from ..db.alone import Watched
from ..db.statements import checkpoint, execute, fetch, table, transaction
from ..errors import ArgumentError, InferenceError
from . import exchange, job, parts
from . import run as runs
from .job import Done, Work

if TYPE_CHECKING:
    from ..models.engine import Engine

SHARD_IMAGES = 4096
TURNS, LEAST = 16, 4  # shards of each worker, so that none waits long for the last; batches of a shard
SHARD_BYTES = 256 * 1024 * 1024  # of encoded images


@dataclass(frozen=True)
class Shard:
    """A file of images to compute.

    Attributes:
        path: of the shard.
        part: of the outputs that a worker makes of it.
        n: number of its images.
    """

    path: str
    part: str
    n: int


def top_of(con: duckdb.DuckDBPyConnection, scratch: str | None) -> str:
    """`scratch`, or FILE.parts: asked before a run is opened, or an earlier one dropped.

    Raises:
        ArgumentError: the database is in memory, and no folder is given.
    """
    own = files.folder(con)
    if scratch is None and own is None:
        raise ArgumentError('a database in memory has no folder for parts; give one: scratch="/tmp/parts"')
    given = str(own) if scratch is None else scratch
    return given if exchange.is_remote(given) else str(Path(given).expanduser().resolve())


def scratch_of(con: duckdb.DuckDBPyConnection, run: str, top: str) -> str:
    """The folder of a run's shards and parts, below that of `top_of`."""
    return exchange.join(top, f"{run}-{parts.identify(con, run)[:8]}")


def prepare(
    con: duckdb.DuckDBPyConnection,
    run: str,
    names: list[str],
    folder: str,
    window: tuple[int, int],
    n_drawn: int | None = None,
) -> int:
    """Find the pending images of an open run, and answer those that have the bytes of an answered one.

    Args:
        con: writable, after `job.select`.
        run: its name; its images are computed by their bytes alone.
        names: of the outputs.
        folder: of `scratch_of`.
        window: first and last id of the images to look through.
        n_drawn: only images of these first ranks.

    Returns:
        How many images `cut` will cut into shards: one for each content.
    """
    in_table = parts.storage_of(con, run) == "table"
    is_sample, values = n_drawn is not None, dict(zip(("first", "last"), window, strict=True))
    values |= {"n_drawn": n_drawn} if n_drawn is not None else {}
    with transaction(con):
        execute(con, "create_pending", values, run=run, is_sample=is_sample)
        execute(con, "delete_stale_errors", run=run)
        if in_table:
            execute(con, "delete_stale_outputs", run=run)
            execute(con, "copy_outputs", run=run, names=names)
        execute(con, "copy_errors", run=run)
    if not in_table:
        if fetch(con, "count_pending_outputs", run=run)[0][0]:
            parts.drop_stale(con, run)
        parts.add_copies(con, run, names, folder)
    execute(con, "create_pending", values, run=run, is_sample=is_sample)
    execute(con, "create_waiting", run=run)
    n: int = fetch(con, "count_waiting")[0][0]
    return n


def cut(
    con: duckdb.DuckDBPyConnection,
    run: str,
    specification: dict[str, Any],
    folder: str,
    *,
    size: int | None = None,
) -> Iterator[Shard]:
    """Write the images that `prepare` has found as shards, one after the other, in the order of the run.

    Args:
        con: the connection of `prepare`; it may be used, and parts may be committed, between two shards.
        run: its name.
        specification: of `work.describe`.
        folder: of `scratch_of`.
        size: images of a shard at most, default `SHARD_IMAGES`; fewer where their files are large.
    """
    identity, last, size = parts.identify(con, run), 0, size or SHARD_IMAGES
    while waiting := fetch(con, "list_waiting", [last, size]):
        n, held = 0, 0
        for _, n_bytes in waiting:
            held += n_bytes or 0
            if n and held > SHARD_BYTES:
                break
            n += 1
        rows = table(con, "read_waiting", [last + 1, last + n]).cast(exchange.SHARD_SCHEMA)
        last += n
        if len(rows) != n:
            raise InferenceError(f"run {run!r}: {n} images are to be computed, {len(rows)} of them are in the file")
        at = rows.schema.get_field_index("path")
        rows = rows.set_column(at, "path", pa.array(map(_absolute, rows["path"].to_pylist()), pa.string()))
        yield _write(con, rows, {**specification, "run": run, "identity": identity}, folder)


def _absolute(path: str | None) -> str | None:
    """A path as a worker in another folder reads it; addresses stay."""
    return path if path is None or exchange.is_remote(path) else str(Path(path).absolute())


def _write(con: duckdb.DuckDBPyConnection, rows: pa.Table, footer: dict[str, Any], folder: str) -> Shard:
    attempt, end = parts.free_name(con, footer["run"], "part", footer["identity"], rows)
    shard = Shard(exchange.join(folder, f"shard-{end}"), exchange.join(folder, f"part-{end}"), len(rows))
    if not exchange.exists(shard.path):
        exchange.write(shard.path, rows, {**footer, "attempt": attempt})
    return shard


def halve(shard: Shard) -> tuple[Shard, Shard]:
    """Two shards with the first and the second half of the images of a shard.

    Raises:
        ArgumentError: it has one image.
    """
    if shard.n < 2:
        raise ArgumentError(f"{shard.path} has one image")
    rows, footer = exchange.parse(exchange.read(shard.path), shard.path)
    folder = shard.path.replace("\\", "/").rpartition("/")[0]
    halves = []
    for half in (rows.slice(0, len(rows) // 2), rows.slice(len(rows) // 2)):
        ids, hashes = half["image_id"].to_pylist(), half["sha256"].to_pylist()
        end = exchange.end_of_name(footer["identity"], footer["attempt"], ids, hashes)
        one = Shard(exchange.join(folder, f"shard-{end}"), exchange.join(folder, f"part-{end}"), len(half))
        exchange.write(one.path, half, footer)
        halves.append(one)
    return halves[0], halves[1]


def give_up(shard: Shard, reason: str) -> None:
    """Write a part in which every image of a shard has an error of stage `worker`.

    Args:
        shard: whose workers were lost each time.
        reason: the message of the errors.
    """
    rows, footer = exchange.parse(exchange.read(shard.path), shard.path)
    error = {"stage": "worker", "error": "WorkerLost", "message": reason}
    schema = exchange.part_schema(footer["columns"])
    errors = pa.array([error] * len(rows), schema.field("error").type)
    known = {"image_id": rows["image_id"], "sha256": rows["sha256"], "error": errors}
    lost = pa.table([known.get(field.name, pa.nulls(len(rows), field.type)) for field in schema], schema=schema)
    own = {name: footer[name] for name in ("format", "run", "identity", "attempt")}
    exchange.write(shard.part, lost, {**own, "n": len(rows), "n_ok": 0, "n_errors": len(rows)}, once=True)


def compute_here(con: duckdb.DuckDBPyConnection, run: str, shards: Iterator[Shard], engine: Engine, **how: Any) -> None:
    """Compute shards in this process, and commit each part before the next shard is cut; finished parts are adopted.

    Args:
        con: from `connect`, writable.
        run: an open run.
        shards: of this run.
        engine: of its model.
        **how: as of `parts.commit`.

    Raises:
        InferenceError: the engine refuses the model, or without `record_errors` an image failed.
    """
    from .work import compute

    for shard in shards:
        problem = _commit(con, run, shard, **how) if exchange.exists(shard.part) else "none yet"
        if problem is not None:
            exchange.remove(shard.part)  # damaged, or of other images
            rows, specification = exchange.parse(exchange.read(shard.path), shard.path)
            compute(engine, rows, specification, shard.part)
            problem = _commit(con, run, shard, **how)
        if problem is not None:
            raise InferenceError(f"a part that was just written is refused: {problem}")
        exchange.remove(shard.path)


def _commit(con: duckdb.DuckDBPyConnection, run: str, shard: Shard, **how: Any) -> str | None:
    return parts.commit(con, run, [shard.part], **how).get(shard.part)


def size_for(n: int, n_workers: int, batch_size: int) -> int:
    """How many images a shard has at most, so that each of n_workers gets several of n images, in full batches."""
    return min(max(LEAST, -(-n // (n_workers * TURNS * batch_size))) * batch_size, SHARD_IMAGES)


def adopt(con: duckdb.DuckDBPyConnection, work: Work, folder: str, **how: Any) -> None:
    """Commit the parts that earlier calls have left in a folder; what does not belong stays, for `sweep`."""
    run = work.spec.run.run
    if not work.retry_errors:  # errors that an earlier call has left behind would be taken for new ones
        known = set(files.addresses(con, run))
        left = [path for path in exchange.listed(folder) if exchange.is_part(path) and path not in known]
        if left:
            parts.commit(con, run, left, **how)


def perform(
    con: duckdb.DuckDBPyConnection,
    work: Work,
    engine: Engine,
    specification: dict[str, Any],
    scratch: str | None,
    drive: Callable[[Iterator[Shard]], None] | None = None,
    *,
    n_workers: int = 1,
) -> Done:
    """As `job.perform`, by way of shards and parts.

    Args:
        con: from `connect`, writable, after `job.select`.
        work: what to do.
        engine: of the model; computes the shards where `drive` is None.
        specification: of `work.describe`.
        scratch: folder or address for shards and parts; None is FILE.parts.
        drive: computes and commits all shards that it is given, or raises.
        n_workers: among which it divides them: shards are so small that each gets several.

    Raises:
        As `job.perform`.
    """
    start, n_computed, status, run = time.perf_counter(), 0, "failed", work.spec.run.run
    columns = list(specification["columns"].items())
    names = [name for name, _ in columns]
    watched, top = Watched(con), top_of(con, scratch)
    job.open_job(con, work, columns)
    folder, before = scratch_of(con, run, top), runs.read_seconds(con, run)
    how: dict[str, Any] = {"record_errors": not work.strict, "heard": partial(hear, engine)}

    def answer(n: int) -> None:
        size = SHARD_IMAGES if drive is None else size_for(n, n_workers, specification["batch_size"])
        shards = cut(con, run, specification, folder, size=size)
        if drive is None:
            compute_here(con, run, shards, engine, **how)
        else:
            drive(shards)

    try:
        with interruptible(engine):
            adopt(con, work, folder, **how)
            n_drawn: int | None = None
            for n_drawn in work.drawing.looks(con, run) if work.drawing else (None,):
                for window in job.windows(con, n_drawn):
                    n_computed += _answer_window(con, work, names, folder, window, n_drawn, answer)
                    watched.check()
        n_images, n_ok, n_errors = job.account(con, work.spec.run, n_drawn)
        if not n_ok:
            raise InferenceError(job.describe_failures(con, run, n_errors))
        status = "finished" if n_images == fetch(con, "count_selected")[0][0] else "sampled"
    except BaseException as error:
        if engine.refusal is not None:
            raise engine.refusal from error
        if not engine.interrupted:
            raise
        status = "interrupted"
        raise KeyboardInterrupt from error
    finally:
        elapsed = time.perf_counter() - start
        with transaction(con):
            runs.close_run(con, run, status, {"total": elapsed})  # those of stages came with the parts
            if status == "finished":
                execute(con, "update_run_sample", [None, run])
    sweep(con, run, folder)
    checkpoint(con)
    watched.check()
    seconds = {stage: (now or 0.0) - (before.get(stage) or 0.0) for stage, now in runs.read_seconds(con, run).items()}
    return Done(run, n_images, n_ok, n_errors, n_computed, {**seconds, "total": elapsed})


def hear(engine: Engine, footer: dict[str, Any]) -> None:
    """Let an engine say what the worker of a part would have said."""
    parts.hear(footer, engine.notes, engine.complaints)


def _answer_window(
    con: duckdb.DuckDBPyConnection,
    work: Work,
    names: list[str],
    folder: str,
    window: tuple[int, int],
    n_drawn: int | None,
    answer: Callable[[int], None],
) -> int:
    """Answer the pending images of a window; how many were computed.

    A pass computes one image per content; the next copies the answer to the others, or computes one of them if the
    first could not be read.
    """
    n_computed, before = 0, None
    while n := prepare(con, work.spec.run.run, names, folder, window, n_drawn):
        pending = fetch(con, "count_pending")[0][0]
        if before is not None and pending >= before:
            raise InferenceError(f"run {work.spec.run.run!r}: {pending} images got no answer; run it again")
        answer(n)
        n_computed, before = n_computed + n, pending
    return n_computed


def sweep(con: duckdb.DuckDBPyConnection, run: str, folder: str) -> None:
    """Delete what a finished run has left in its folder: shards, and in FILE.parts also parts that it does not read.

    A part in a scratch folder may be read by a copy of this file, so it stays.
    """
    read, own = set(files.addresses(con, run)), files.folder(con)
    is_own = own is not None and not exchange.is_remote(folder) and Path(folder).is_relative_to(own)
    for path in exchange.listed(folder):
        nameless = exchange.is_part(path, "shard") or exchange.name_of(path).startswith(".")  # in no row of any file
        if nameless or (is_own and path not in read):
            exchange.remove(path)
    if not exchange.is_remote(folder) and Path(folder).is_dir() and not any(Path(folder).iterdir()):
        files.remove_empty(con, Path(folder))
