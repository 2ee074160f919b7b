"""The job of a run: select images, find the pending ones, and commit answers in blocks.

The state of a job is in temporary objects of the connection, which the queries of `sql/statements/job.sql` read:

    _chosen    image_id, rank                             ids that a condition selects; where there is one, or a rank
    _selected  image_id, sha256, n_bytes, rank            a view: the images that the run is asked for
    _pending   image_id, sha256, n_bytes, rank            of a window of ids: those without an output or error for their
                                                          present bytes

`select` creates the first two, and `sample.draw` ranks them; `perform` recreates `_pending` until nothing is, window by
window, so that memory does not grow with the number of images. A block is read, answered, and given to a writer, which
commits its outputs, errors and counts together while the next one is computed. A crash costs at most the blocks that
are not committed, and the same call resumes the run.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import duckdb
import numpy as np
import pyarrow as pa
from duckdb.func import ARROW

from ..core import arrow
from ..core.faults import point
from ..core.interrupts import Stoppable, interruptible
from ..core.results import Result
from ..core.text import one_line
from ..data.label_spaces import save_classes
from ..db import functions
from ..db.alone import Watched
from ..db.statements import checkpoint, configure, execute, fetch, registered, table, transaction
from ..db.templates import literal
from ..errors import ArgumentError, InferenceError, NotFoundError, QueryError, near_matches
from . import run as runs
from .run import Run, Spec
from .sample import Drawing

BLOCK_SECONDS = 2.5  # of work in a block; a crash may cost two, and one that is being committed
BLOCK_IMAGES = (64, 8192)  # smallest and largest block
AHEAD = 2  # blocks in work at once, so that the end of one leaves nothing idle
BLOCK_BYTES = 256 * 1024 * 1024  # of stored images per block, and of answers
WINDOW = 1 << 18  # ids that are looked through at a time
CALL_IMAGES = 2048  # rows that DuckDB gives to one call of a function
PACKAGES = ("sqlanalysis", "duckdb", "torch", "torchvision", "pillow")


class Engine(Stoppable, Protocol):
    """What a job needs of the object that computes answers for an Arrow array of images."""

    output_type: pa.StructType
    seconds: dict[str, float]
    refusal: InferenceError | None
    is_parallel: bool

    def __call__(self, *columns: pa.ChunkedArray) -> pa.Array:
        """One answer, STRUCT(…, sha256, error), for every image."""


@dataclass(frozen=True)
class Work:
    """What a job has to do.

    Attributes:
        spec: the run, its class map, and new classes.
        inputs: columns of `images` that the engine gets besides the image. With such inputs, images with the same bytes
            are computed separately, because their answers may differ.
        overwrite: drop an earlier run of that name first.
        retry_errors: compute images with an error in this run again.
        strict: raise after the first block with an error; answers that succeeded are committed.
        drawing: answer the images in the order of `sample.draw`, until its rule is settled.
    """

    spec: Spec
    inputs: Sequence[str] = ()
    overwrite: bool = False
    retry_errors: bool = False
    strict: bool = False
    drawing: Drawing | None = None


@dataclass(frozen=True, repr=False)
class Done(Result):
    """Counts of the selected images, or of those that a rule has drawn: n_images = n_ok + n_errors.

    `n_computed` images were computed in this call; the others were answered before, or have the same bytes as one that
    was. `seconds` are of this call: per stage summed over workers, and `total` as elapsed time.
    """

    run: str
    n_images: int
    n_ok: int
    n_errors: int
    n_computed: int
    seconds: dict[str, float]

    @property
    def images_per_second(self) -> float:
        """Images computed in this call per second of elapsed time."""
        return self.n_computed / self.seconds["total"] if self.n_computed else 0.0


class Pace:
    """The size of the next block: about `BLOCK_SECONDS` of work, estimated from the previous blocks.

    Args:
        width: bytes of one answer.
    """

    def __init__(self, width: int = 1) -> None:
        self.size = BLOCK_IMAGES[0]
        self._most = max(1, min(BLOCK_IMAGES[1], BLOCK_BYTES // width))

    def cut(self, n_bytes: np.ndarray) -> int:
        """How many of the next images are the next block, given the stored bytes of each: at least one."""
        held = np.cumsum(n_bytes[: min(self.size, self._most)])
        return max(1, int(np.searchsorted(held, BLOCK_BYTES, "right")))

    def learn(self, n_images: int, seconds: float) -> None:
        """Set the size of the next block from the time that a block took."""
        self.size = max(BLOCK_IMAGES[0], min(BLOCK_IMAGES[1], int(n_images / seconds * BLOCK_SECONDS)))


def condition(where: str | None, split: str | None) -> str | None:
    """The condition for the images of a split that meet `where`, as `runs.selection` keeps it; None for all images."""
    if split is None:
        return where
    of_split = f"split = {literal(split)}"
    return of_split if where is None else f"({where}\n) and {of_split}"  # where may end with a comment


def select(con: duckdb.DuckDBPyConnection, dataset: str, where: str | None, split: str | None = None) -> int:
    """Select the images of the next `perform`; returns their number.

    Raises:
        ArgumentError: `split` is not the name of one split.
        NotFoundError: the data set has no such split, or no image is selected; the message names the splits there are.
        QueryError: `where` is not a valid condition over `images`.
    """
    if split is not None:
        _check_split(con, dataset, split)
    chosen = condition(where, split)
    execute(con, "forget_selected").fetchall()
    execute(con, "forget_chosen").fetchall()
    last = fetch(con, "read_last_image")[0][0]  # images that others add from now on are not selected
    try:
        if chosen is not None:
            execute(con, "create_chosen", {"dataset": dataset}, where=chosen).fetchall()
    except QueryError as error:
        reason = str(error.__cause__ or error).partition("\nLINE")[0]  # of a statement that is not the caller's
        raise QueryError(f"where={where!r} is not a condition over `images`: {reason.strip()}") from error
    execute(con, "create_selected", dataset=dataset, last=last, is_chosen=chosen is not None).fetchall()
    n: int = fetch(con, "count_selected")[0][0]
    if not n:
        raise NotFoundError(_nothing_selected(con, dataset, chosen))
    return n


def _nothing_selected(con: duckdb.DuckDBPyConnection, dataset: str, chosen: str | None) -> str:
    splits = fetch(con, "count_splits", [dataset])
    if not splits:
        return f"no image is selected: data set {dataset!r} is empty; add images with add_images"
    there = ", ".join(f"{name or 'no split'} ({n:,})" for name, n in splits)
    return f"no image is selected where {one_line(chosen)}; the splits of data set {dataset!r} are: {there}"


def _check_split(con: duckdb.DuckDBPyConnection, dataset: str, split: object) -> None:
    if not isinstance(split, str):
        raise ArgumentError(f"split is the name of one split, not {split!r}; where= can select several")
    known = [name for name, _ in fetch(con, "count_splits", [dataset]) if name is not None]
    if split not in known:
        raise NotFoundError(f"data set {dataset!r} has no split {split!r}{near_matches(split, known)}")


def pooled_splits(con: duckdb.DuckDBPyConnection) -> list[str]:
    """A note when the selected images are of several splits: those that a model has learned from flatter it."""
    splits = fetch(con, "count_selected_splits")
    if len(splits) < 2:
        return []
    listed = ", ".join(f"{name or 'no split'} ({n:,})" for name, n in splits[:6])
    return [
        f"images of {len(splits)} splits are counted together: {listed}{', …' if len(splits) > 6 else ''}; "
        "where=… (--where) or split= (--split) chooses"
    ]


def first_images(
    con: duckdb.DuckDBPyConnection, n: int, inputs: Sequence[str] = (), start: int = 0
) -> tuple[pa.ChunkedArray, pa.ChunkedArray | None]:
    """n selected images from `start` on as STRUCT(bytes, path); their columns `inputs` as STRUCT (None if empty)."""
    rows = fetch(con, "read_first_images", [n, start], inputs=inputs)
    pictures = pa.chunked_array([pa.array([row[0] for row in rows], arrow.IMAGE_TYPE)])
    return pictures, pa.chunked_array([pa.array([row[1] for row in rows])]) if inputs else None


def any_images(con: duckdb.DuckDBPyConnection, n: int) -> pa.ChunkedArray:
    """The first n images of the file as STRUCT(bytes, path)."""
    rows = fetch(con, "read_any_images", [n])
    return pa.chunked_array([pa.array([row[0] for row in rows], arrow.IMAGE_TYPE)])


def packages() -> str:
    """Versions of Python and of the packages that compute, as JSON."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return json.dumps({"python": platform.python_version(), **versions})


def perform(con: duckdb.DuckDBPyConnection, work: Work, engine: Engine) -> Done:
    """Open the run, answer the pending images of `select` in committed blocks, and check that every image is counted.

    With a rule, the images are answered in a random order until it is settled; the run is then "sampled" if images are
    left, else "finished".

    Raises:
        SchemaError: the run exists and has other settings.
        InferenceError: outputs and errors do not add up to the images, every image failed, or `strict` and one failed.
        QueryError: the file was deleted or replaced meanwhile.
        KeyboardInterrupt: Ctrl-C; committed blocks are kept.
    """
    start, n_computed, status, run = time.perf_counter(), 0, "failed", work.spec.run
    types = {field.name: arrow.sql_type(field.type) for field in engine.output_type}
    columns = [(name, dtype) for name, dtype in types.items() if name not in ("sha256", "error")]
    names = [name for name, _ in columns]
    watched = Watched(con)
    open_job(con, work, columns)
    pace = Pace(_width(engine.output_type))
    try:
        with (
            _function(con, run.run, work, engine) as function,
            interruptible(engine),
            Writer(con, work, engine, names, watched) as writer,
            Blocks(con, work, engine, function) as blocks,
        ):
            n_drawn: int | None = None
            for n_drawn in work.drawing.looks(con, run.run) if work.drawing else (None,):
                for first, last in windows(con, n_drawn):
                    # A pass computes one image per content. The next pass copies the answer to the others, or computes
                    # one of them if the first could not be read.
                    while len(waiting := _pending(con, work, names, first, last, n_drawn)):
                        for answers in blocks.answers(waiting, pace):
                            writer.write(answers)
                            n_computed += len(answers)
                        writer.wait()
        n_images, n_ok, n_errors = account(con, run, n_drawn)
        if not n_ok:
            raise InferenceError(describe_failures(con, run.run, n_errors))
        status = "finished" if n_images == fetch(con, "count_selected")[0][0] else "sampled"
    except BaseException as error:
        # What the engine raises inside DuckDB, also after Ctrl-C, comes back as an error of the query.
        if engine.refusal is not None:
            raise engine.refusal from error
        if not engine.interrupted:
            raise
        status = "interrupted"
        raise KeyboardInterrupt from error
    finally:
        # Also after an error, so that `runs` has the status and the counts of what was committed.
        seconds = {**engine.seconds, "total": time.perf_counter() - start}
        with transaction(con):
            runs.close_run(con, run.run, status, seconds)
            if status == "finished":
                execute(con, "update_run_sample", [None, run.run])
    checkpoint(con)
    watched.check()
    return Done(run.run, n_images, n_ok, n_errors, n_computed, seconds)


def open_job(con: duckdb.DuckDBPyConnection, work: Work, columns: Sequence[tuple[str, str]]) -> None:
    """Create or resume the run of a job, in one transaction."""
    run = work.spec.run
    with runs.replacing(con, run.run, is_replaced=work.overwrite), transaction(con):
        runs.open_run(con, work.spec, columns, overwrite=work.overwrite)
        if work.spec.new_classes is not None and run.model_label_space is not None:
            save_classes(con, run.model_label_space, work.spec.new_classes)
        selection = runs.require(con, run.run).selection
        execute(con, "update_run_size", [run.dataset], run=run.run, where=selection)
        if work.retry_errors:
            execute(con, "delete_selected_errors", run=run.run)


def windows(con: duckdb.DuckDBPyConnection, n_drawn: int | None) -> Iterator[tuple[int, int]]:
    """First and last id of each part of the selected images; images of a random order are one part."""
    first, last = fetch(con, "read_selected_ends")[0]
    step = WINDOW if n_drawn is None else last - first + 1
    for start in range(first, last + 1, step):
        yield start, start + step - 1


def _pending(
    con: duckdb.DuckDBPyConnection, work: Work, names: list[str], first: int, last: int, n_drawn: int | None
) -> pa.Table:
    """image_id and stored n_bytes of the images to compute in a window; with shared bytes, one per content."""
    run, shared = work.spec.run.run, not work.inputs
    ends, is_sample = {"first": first, "last": last}, n_drawn is not None
    values = {**ends, "n_drawn": n_drawn} if is_sample else ends
    with transaction(con):
        execute(con, "create_pending", values, run=run, is_sample=is_sample)
        if fetch(con, "count_pending")[0][0]:
            execute(con, "delete_stale_outputs", run=run)
            execute(con, "delete_stale_errors", run=run)
            if shared:
                execute(con, "copy_outputs", run=run, names=names)
                execute(con, "copy_errors", run=run)
                # without those that the copies have just answered
                execute(con, "create_pending", values, run=run, is_sample=is_sample)
    return table(con, "list_representatives", shared=shared, run=run)


def _answer(con: duckdb.DuckDBPyConnection, work: Work, engine: Engine, function: str, block: pa.Table) -> pa.Table:
    """Answers of one block: image_id, dataset, uri, sha256, answer."""
    with registered(con, "block_ids", block):
        images = table(con, "read_block", inputs=work.inputs)
    if engine.is_parallel:
        # DuckDB's threads call the function at the same time, each for one batch of Arrow; not for a few images.
        rows = max(BLOCK_IMAGES[0], -(-len(images) // fetch(con, "read_threads")[0][0]))
        batches = images.to_batches(max_chunksize=min(CALL_IMAGES, rows))
    else:
        batches = images.combine_chunks().to_batches()
    with registered(con, "block_images", pa.Table.from_batches(batches, images.schema)):
        return table(con, "read_answers", function=function, inputs=work.inputs)


class Blocks:
    """Computes blocks in order, the next one while one is computed; each has a cursor of its own."""

    def __init__(self, con: duckdb.DuckDBPyConnection, work: Work, engine: Engine, function: str) -> None:
        self._work, self._engine, self._function = work, engine, function
        self._n_ahead = AHEAD if engine.is_parallel and not work.strict else 1  # nothing is computed after an error
        self._cursors = [con.cursor() for _ in range(self._n_ahead)]
        for cursor in self._cursors:
            configure(cursor)
        self._threads = ThreadPoolExecutor(self._n_ahead, "block")

    def __enter__(self) -> Blocks:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        for cursor in self._cursors:
            cursor.close()

    def answers(self, waiting: pa.Table, pace: Pace) -> Iterator[pa.Table]:
        """The answers of all images of a window, block after block.

        Args:
            waiting: as of `_pending`.
            pace: says how large a block is, and learns.
        """
        begun: deque[tuple[int, Future[pa.Table]]] = deque()
        done = deque([(time.perf_counter(), 0)], AHEAD + 1)  # when a block ended, and its images
        while len(waiting) or begun:
            while len(waiting) and len(begun) < self._n_ahead:
                n = pace.cut(waiting["n_bytes"].to_numpy())
                begun.append((n, self._threads.submit(self._compute, waiting.slice(0, n))))
                waiting = waiting.slice(n)
            n, future = begun.popleft()
            answers = future.result()
            done.append((time.perf_counter(), n))
            # Over two blocks, which may end at one time.
            pace.learn(sum(n for _, n in list(done)[1:]), done[-1][0] - done[0][0])
            yield answers

    def _compute(self, block: pa.Table) -> pa.Table:
        cursor = self._cursors.pop()
        try:
            return _answer(cursor, self._work, self._engine, self._function, block)
        finally:
            self._cursors.append(cursor)


class Writer:
    """Commits blocks of answers in a thread of its own, each in one transaction, while the next block is computed.

    Raises:
        InferenceError: `strict`, and an image of the block failed.
        QueryError: the block cannot be written, or the file was deleted or replaced.
    """

    def __init__(
        self, con: duckdb.DuckDBPyConnection, work: Work, engine: Engine, names: list[str], watched: Watched
    ) -> None:
        self._work, self._engine, self._names, self._watched = work, engine, names, watched
        self._con = con.cursor()
        configure(self._con)
        self._thread = ThreadPoolExecutor(1, "write")
        self._last: Future[None] | None = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        # Also after an error or Ctrl-C: what was computed is kept, and no thread writes when the run is closed.
        try:
            self._thread.shutdown(wait=True)
        finally:
            self._con.close()

    def write(self, answers: pa.Table) -> None:
        """Commit a block, in order; returns as soon as the one before is committed."""
        self.wait()
        self._last = self._thread.submit(self._commit, answers)
        if self._work.strict:  # nothing is computed after an error
            self.wait()

    def wait(self) -> None:
        """Wait until everything is committed."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def _commit(self, answers: pa.Table) -> None:
        con, work, start = self._con, self._work, time.perf_counter()
        run = work.spec.run.run
        with registered(con, "block_answers", answers):
            with transaction(con):
                execute(con, "insert_outputs", run=run, names=self._names)
                point("insert")
                if not work.strict:  # errors that are not recorded stay pending, so the next call computes them again
                    execute(con, "insert_run_errors", [run])
                execute(con, "update_run_counts", run=run)
            seconds = self._engine.seconds
            seconds["write"] = seconds.get("write", 0.0) + time.perf_counter() - start
            self._watched.check()
            failed = fetch(con, "read_first_failure") if work.strict else []
        if failed:
            raise InferenceError("image {}, {}: {}: {}: {}".format(*failed[0]))


def _width(dtype: pa.DataType) -> int:
    """About how many bytes a value of this type takes."""
    if pa.types.is_struct(dtype):
        return sum(_width(field.type) for field in dtype)
    if pa.types.is_fixed_size_list(dtype):
        n: int = dtype.list_size
        return n * (4 if pa.types.is_floating(dtype.value_type) else _width(dtype.value_type))
    return 8 if pa.types.is_primitive(dtype) else 50


@contextmanager
def _function(con: duckdb.DuckDBPyConnection, run: str, work: Work, engine: Engine) -> Iterator[str]:
    """Register the engine as a SQL function inside the block."""
    takes = [functions.IMAGE_TYPE]
    if work.inputs:
        types = dict(fetch(con, "describe_images"))
        takes.append(f"STRUCT({', '.join(f'{name} {types[name]}' for name in work.inputs)})")
    name = f"_answer_{run}"
    function = engine if work.inputs else lambda column: engine(column)  # DuckDB checks their number: two for a mapper
    functions.register(con, name, function, arrow.sql_type(engine.output_type), ARROW, takes)
    try:
        yield name
    finally:
        functions.unregister(con, name)


def describe_failures(con: duckdb.DuckDBPyConnection, run: str, n_errors: int) -> str:
    """The message for a run in which every image failed."""
    stage, error, message, n, uri = fetch(con, "read_commonest_failure", run=run)[0]
    return (
        f"run {run!r} has no answer, all {n_errors:,} images failed; {n:,} of them, such as {uri}: "
        f"{stage}: {error}: {message}; all are in `errors`; repair the cause and give retry_errors=True "
        "(--retry-errors), or after a change of the model or its transform overwrite=True (--overwrite)"
    )


def account(con: duckdb.DuckDBPyConnection, run: Run, n_drawn: int | None) -> tuple[int, int, int]:
    """n_images, n_ok and n_errors of the selected images, or of the first n_drawn ranks.

    Raises:
        InferenceError: n_images is not n_ok + n_errors.
    """
    drawn = {"n_drawn": n_drawn} if n_drawn else None
    n_images, n_ok, n_errors = fetch(con, "count_answered", drawn, run=run.run, is_sample=n_drawn is not None)[0]
    if n_ok + n_errors != n_images:
        raise InferenceError(
            f"run {run.run!r}: {n_images} images selected, but {n_ok} outputs and {n_errors} errors; run it again"
        )
    return n_images, n_ok, n_errors
