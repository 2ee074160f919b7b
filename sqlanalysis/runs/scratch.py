"""Work that nobody here waits for: shards are cut into a scratch folder, and what others made of them is committed.

`cut_folder` (runner "files") opens a run and writes its shards; any scheduler has them computed by `sqlanalysis work`;
`commit_folder` (`sqlanalysis commit`) takes the parts that are there, as often as it is called, and closes the run when
no image is pending.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from ..core import talk
from ..core.noise import Complaints
from ..core.results import Result
from ..db.alone import Watched, works_alone
from ..db.statements import checkpoint, execute, fetch, transaction
from ..errors import ArgumentError, InferenceError, NotFoundError, SchemaError
from . import exchange, job, parts, shards
from . import run as runs
from .job import Done, Work
from .work import names_code

if TYPE_CHECKING:
    from ..models.engine import Engine


@dataclass(frozen=True, repr=False)
class Cut(Done):
    """The result of `cut_folder`: n_images are n_ok + n_errors and those that are pending, in `n_shards` shards."""

    n_shards: int


@dataclass(frozen=True)
class Standing:
    """How far a run is: of n_images, those neither ok nor an error are pending; `n_shards` shards have no part yet."""

    run: str
    n_images: int
    n_ok: int
    n_errors: int
    n_shards: int
    status: str


@dataclass(frozen=True, repr=False)
class Committed(Result):
    """The result of `commit_folder`.

    Attributes:
        n_committed: parts that were committed now.
        n_known: parts that were committed before.
        refused: parts, or folders of shards, that were not taken, each with the reason.
        runs: how far each run is whose shards or parts were there.
    """

    n_committed: int
    n_known: int
    refused: dict[str, str]
    runs: list[Standing]


def cut_folder(
    con: duckdb.DuckDBPyConnection,
    work: Work,
    engine: Engine,
    specification: dict[str, Any],
    scratch: str,
    workers: int | None,
) -> Cut:
    """Open a run and cut its pending images into shards; says where they are, and the commands that go on.

    What an earlier call has left is taken up: parts are committed, and shards of the same images stay; others are
    deleted. A run without pending images is closed.

    Args:
        con: from `connect`, writable, after `job.select`.
        work: what to do, without a rule (`drawing`).
        engine: of the model; says what workers have said.
        specification: of `work.describe`.
        scratch: folder or address for shards and parts.
        workers: among which the shards are to be divided, so that each gets several; None is as large as they get.

    Raises:
        ArgumentError: the database is in memory, so no other process can commit to it.
        InferenceError: nothing is pending, and all images have failed.
    """
    start, run = time.perf_counter(), work.spec.run.run
    watched = Watched(con)
    if watched.path is None:
        raise ArgumentError('no other process can commit to a database in memory: leave runner="files" out')
    names, top = list(specification["columns"]), shards.top_of(con, scratch)
    job.open_job(con, work, list(specification["columns"].items()))
    folder = shards.scratch_of(con, run, top)
    try:
        shards.adopt(con, work, folder, heard=partial(shards.hear, engine))
        made: set[str] = set()
        n_waiting = 0
        for window in job.windows(con, None):
            if n := shards.prepare(con, run, names, folder, window):
                size = None if workers is None else shards.size_for(n, workers, specification["batch_size"])
                made |= {shard.path for shard in shards.cut(con, run, specification, folder, size=size)}
                n_waiting += n
        _forget_others(folder, made)
        with transaction(con):
            if made:
                runs.add_seconds(con, run, {"total": None})  # nobody knows how long the workers wait for a machine
            execute(con, "update_run_workers", [None, run])
    except BaseException as error:
        with transaction(con):
            runs.close_run(con, run, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed", {})
        raise
    if not made:
        _close(con, run, folder)
    checkpoint(con)
    watched.check()
    n_images, n_ok, n_errors = fetch(con, "count_answered", None, run=run, is_sample=False)[0]
    if made:
        code = " --trust-code" if names_code(specification["model"]["source"]) else ""
        path, target, example = shlex.quote(watched.path), shlex.quote(_absolute(scratch)), shlex.quote(min(made))
        talk.say(
            [
                f"{run}: {n_waiting:,} images are to be computed, in shards ({len(made):,}) in {folder}",
                f"each of them by any process that reaches it: sqlanalysis work{code} SHARD, such as {example}",
                f"then, now and again or once at the end: sqlanalysis commit {path} {target}",
            ]
        )
    return Cut(run, n_images, n_ok, n_errors, 0, {"total": time.perf_counter() - start}, len(made))


def _absolute(scratch: str) -> str:
    return scratch if exchange.is_remote(scratch) else str(Path(scratch).expanduser().resolve())


def _forget_others(folder: str, made: set[str]) -> None:
    """Delete shards of an earlier call with other images than the present ones: nobody needs their parts."""
    for path in exchange.listed(folder):
        if exchange.is_part(path, "shard") and path not in made:
            exchange.remove(path)


@works_alone("commit")
def commit_folder(con: duckdb.DuckDBPyConnection, scratch: str | Path) -> Committed:
    """Commit the parts in a scratch folder and the folders directly in it, each to the run that its footer names.

    A run without pending images is closed then, and its shards are deleted. The call can be repeated, also while
    workers write.

    Args:
        con: from `connect`, writable.
        scratch: folder or address.

    Returns:
        What was taken, what was known, what was refused and why, and how far each run is. Images that are pending and
        in no shard are answered by the same `predict`.

    Raises:
        NotFoundError: no such folder.
        InferenceError: a run has no pending image, and all have failed.
    """
    top = _absolute(str(scratch))
    files = {folder: exchange.listed(folder) for folder in (top, *exchange.listed(top))}
    if not files[top] and (exchange.is_remote(top) or not Path(top).is_dir()):
        raise NotFoundError(f'no folder {top}, or nothing in it; runner "files" writes shards there, and workers parts')
    known = {part: run for run, part in fetch(con, "list_committed_parts")}
    found = [path for listed in files.values() for path in listed if exchange.is_part(path)]
    named: dict[str, list[str]] = {known[name]: [] for name in map(exchange.name_of, found) if name in known}
    refused: dict[str, str] = {}
    for path in found:
        if exchange.name_of(path) not in known:
            try:
                named.setdefault(exchange.parse(exchange.read(path), path)[1]["run"], []).append(path)
            except NotFoundError:  # committed meanwhile by another call
                continue
            except SchemaError as error:
                refused[path] = str(error)
    notes: list[str] = []
    complaints = Complaints()
    for run, paths in list(named.items()):
        try:
            heard = partial(parts.hear, notes=notes, complaints=complaints)
            refused |= parts.commit(con, run, paths, heard=heard)
        except (NotFoundError, SchemaError) as error:
            refused |= dict.fromkeys(paths, str(error))
            del named[run]
    now = {part for _, part in fetch(con, "list_committed_parts")}
    folders = _own_folders(con, files, refused)
    standings = [_settle(con, run, folders.get(run), top, now) for run in dict.fromkeys([*named, *folders])]
    talk.say([*notes, *complaints.notes()])
    failed = [standing.run for standing in standings if standing.status == "failed" and not standing.n_ok]
    for run in failed:
        raise InferenceError(job.describe_failures(con, run, fetch(con, "read_run_size", [run])[0][2]))
    return Committed(len(now) - len(known), sum(exchange.name_of(path) in known for path in found), refused, standings)


def _own_folders(
    con: duckdb.DuckDBPyConnection, files: dict[str, list[str]], refused: dict[str, str]
) -> dict[str, str]:
    """The folders of runs of this file, by run; one with shards of other work is refused."""
    known, folders = set(runs.known(con)), {}
    for folder, listed in files.items():
        run, dash, key = exchange.name_of(folder).rpartition("-")
        if run in known and dash and key == parts.identify(con, run)[:8]:
            folders[run] = folder
        elif any(exchange.is_part(path, "shard") for path in listed):
            refused[folder] = (
                "its shards are of a run that this file does not have, or has made anew since: delete it, or commit "
                "another folder"
            )
    return folders


def _settle(con: duckdb.DuckDBPyConnection, run: str, own: str | None, other: str, committed: set[str]) -> Standing:
    """Answer images that have the bytes of an answered one, and close a run of which no image is pending.

    Args:
        con: writable.
        run: its name.
        own: its folder of shards, where that is here.
        other: a folder for what must be written where it is not.
        committed: names of all parts that are.
    """
    spec = runs.require(con, run)
    status = fetch(con, "read_run_status", [run])[0][0]
    if status != "finished" and spec.sample is None:  # a rule draws its images in one process
        job.select(con, spec.dataset, spec.selection)
        names = [name for name, _ in fetch(con, "list_output_columns", [run])]
        folder = own or other
        if not sum(shards.prepare(con, run, names, folder, window) for window in job.windows(con, None)):
            status = _close(con, run, own)
    elif status == "finished" and own is not None:
        shards.sweep(con, run, own)  # what workers have written that came too late
    left = [] if own is None else [path for path in exchange.listed(own) if exchange.is_part(path, "shard")]
    n_shards = sum(exchange.name_of(exchange.part_of(path)) not in committed for path in left)
    n_images, n_ok, n_errors = fetch(con, "read_run_size", [run])[0]
    return Standing(run, n_images, n_ok, n_errors, n_shards, status)


def _close(con: duckdb.DuckDBPyConnection, run: str, own: str | None) -> str:
    """Close a run without pending images, as `shards.perform` does; gives its status."""
    _, n_ok, _ = job.account(con, runs.require(con, run), None)
    status = "finished" if n_ok else "failed"
    with transaction(con):
        runs.close_run(con, run, status, {})
    if n_ok and own is not None:
        shards.sweep(con, run, own)
    checkpoint(con)
    return status
