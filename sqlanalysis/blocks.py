"""Work in committed blocks: what is pending, answers in, errors in, and going on after a stop."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import duckdb
import pyarrow as pa
from duckdb.func import ARROW

from . import functions, runs
from .database import execute, fetch, transaction
from .errors import InferenceError, QueryError
from .faults import point
from .ingest import registered
from .runs import Run

BLOCK_SECONDS = 5.0  # what a crash may cost
BLOCK_IMAGES = (64, 16_384)
BLOCK_BYTES = 256 * 1024 * 1024
PACKAGES = ("sqlanalysis", "duckdb", "torch", "torchvision", "pillow")


class Engine(Protocol):
    """Answers for an Arrow array of images: what a run needs of whatever computes."""

    output_type: pa.StructType
    seconds: dict[str, float]

    @property
    def interrupted(self) -> bool:
        """Whether `interrupt` was called."""

    def interrupt(self) -> None:
        """Stop before the next batch."""

    def __call__(self, *columns: pa.ChunkedArray) -> pa.Array:
        """One answer, STRUCT(…, sha256, error), for every image."""


@dataclass(frozen=True)
class Work:
    """A run over images: what to write down, and how to go about it.

    Attributes:
        run: the row of `runs`.
        class_map: (model output, class) pairs of a mapped run.
        inputs: columns of `images` that the engine gets beside the image; with any, equal bytes are not shared.
        replace: drop an earlier run of that name first.
        retry_errors: try images again that have an error in this run.
        strict: raise at the first block with an error, after committing what succeeded.
    """

    run: Run
    class_map: Sequence[tuple[int, int]] = ()
    inputs: Sequence[str] = ()
    replace: bool = False
    retry_errors: bool = False
    strict: bool = False


@dataclass(frozen=True)
class Done:
    """What became of the images selected: n_images = n_ok + n_errors.

    `n_computed` went through the model in this call; the others had been answered before, or share bytes with one
    that was. `seconds` are of this call: per stage summed over workers, `total` by the clock.
    """

    run: str
    n_images: int
    n_ok: int
    n_errors: int
    n_computed: int
    seconds: dict[str, float]

    @property
    def images_per_second(self) -> float:
        """Images computed in this call, by the clock."""
        return self.n_computed / self.seconds["total"] if self.n_computed else 0.0


def select(con: duckdb.DuckDBPyConnection, dataset: str, where: str | None) -> int:
    """Settle which images the next `perform` is about; gives their number.

    Raises:
        QueryError: `where` is no condition over `images`.
    """
    try:
        execute(con, "statements/create_selected", {"dataset": dataset}, where=where).fetchall()
    except QueryError as error:
        raise QueryError(f"where={where!r} is no condition over `images`: {error.__cause__ or error}") from error
    n: int = fetch(con, "statements/count_selected")[0][0]
    return n


def packages() -> str:
    """Versions of what computes, as JSON."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return json.dumps({"python": platform.python_version(), **versions})


def perform(con: duckdb.DuckDBPyConnection, work: Work, engine: Engine) -> Done:
    """Open the run, answer what is pending of the images of `select` in committed blocks, account for every image.

    Raises:
        SchemaError: the run exists and differs.
        InferenceError: images are not accounted for, or `strict` and one failed.
        KeyboardInterrupt: Ctrl-C; what was committed stays.
    """
    start, n_computed, status, run = time.perf_counter(), 0, "failed", work.run
    types = {field.name: functions.sql_type(field.type) for field in engine.output_type}
    columns = [(name, kind) for name, kind in types.items() if name not in ("sha256", "error")]
    names = [name for name, _ in columns]
    with transaction(con):
        runs.open_run(con, run, columns, work.class_map, replace_run=work.replace)
        selection = runs.require(con, run.run).selection
        execute(con, "statements/update_run_size", [run.dataset], run=run.run, where=selection)
        if work.retry_errors:
            execute(con, "statements/delete_selected_errors", run=run.run)
    try:
        with _function(con, run.run, work, engine) as function, _interruptible(engine):
            for block in _blocks(con, work, names):
                _answer(con, work, engine, function, names, block)
                n_computed += len(block)
        n_images, n_ok, n_errors = _account(con, run)
        status = "finished"
    except BaseException as error:
        if not engine.interrupted:
            raise
        status = "interrupted"
        raise KeyboardInterrupt from error
    finally:
        seconds = {**engine.seconds, "total": time.perf_counter() - start}
        with transaction(con):
            runs.close_run(con, run.run, status, seconds)
    return Done(run.run, n_images, n_ok, n_errors, n_computed, seconds)


def _blocks(con: duckdb.DuckDBPyConnection, work: Work, names: list[str]) -> Iterator[list[int]]:
    """Ids to compute, about `BLOCK_SECONDS` at a time; of images with equal bytes one, the others get its answer."""
    run, shared = work.run, not work.inputs
    while True:
        with transaction(con):
            execute(con, "statements/create_pending", run=run.run)
            execute(con, "statements/delete_stale_outputs", run=run.run)
            execute(con, "statements/delete_stale_errors", run=run.run)
            if shared:
                execute(con, "statements/copy_outputs", run=run.run, names=names)
                execute(con, "statements/copy_errors", run=run.run)
                execute(con, "statements/create_pending", run=run.run)
        waiting = fetch(con, "statements/list_representatives", run=run.run, shared=shared)
        if not waiting:
            return
        position, size = 0, BLOCK_IMAGES[0]
        while position < len(waiting):
            held = 0
            block: list[int] = []
            for image_id, n_bytes in waiting[position : position + size]:
                held += n_bytes
                if block and held > BLOCK_BYTES:
                    break
                block.append(image_id)
            start = time.perf_counter()
            yield block
            position += len(block)
            rate = len(block) / (time.perf_counter() - start)
            size = max(BLOCK_IMAGES[0], min(BLOCK_IMAGES[1], int(rate * BLOCK_SECONDS)))


def _answer(
    con: duckdb.DuckDBPyConnection, work: Work, engine: Engine, function: str, names: list[str], block: list[int]
) -> None:
    """Compute one block and commit it: outputs, errors and counts together, or nothing of it."""
    run = work.run.run
    with registered(con, "block_images", pa.table({"image_id": pa.array(block, pa.int64())})):
        execute(con, "statements/create_answers", function=function, inputs=work.inputs).fetchall()
    start = time.perf_counter()
    with transaction(con):
        execute(con, "statements/insert_outputs", run=run, names=names)
        point("insert")
        if not work.strict:
            execute(con, "statements/insert_run_errors", [run])
        execute(con, "statements/update_run_counts", run=run)
    engine.seconds["write"] = engine.seconds.get("write", 0.0) + time.perf_counter() - start
    failed = fetch(con, "statements/read_first_failure") if work.strict else []
    if failed:
        raise InferenceError("image {}, {}: {}: {}: {}".format(*failed[0]))


@contextmanager
def _function(con: duckdb.DuckDBPyConnection, run: str, work: Work, engine: Engine) -> Iterator[str]:
    """The engine as a SQL function, while the block lasts."""
    takes = [functions.IMAGE_TYPE]
    if work.inputs:
        types = dict(fetch(con, "statements/describe_images"))
        takes.append(f"STRUCT({', '.join(f'{name} {types[name]}' for name in work.inputs)})")
    name = f"_answer_{run}"
    function = engine if work.inputs else lambda column: engine(column)  # DuckDB counts the parameters
    functions.register(con, name, function, functions.sql_type(engine.output_type), ARROW, takes)
    try:
        yield name
    finally:
        functions.unregister(con, name)


@contextmanager
def _interruptible(engine: Engine) -> Iterator[None]:
    """Ctrl-C stops the engine at its next batch; a second one falls through to Python."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, earlier)
        engine.interrupt()

    earlier = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)


def _account(con: duckdb.DuckDBPyConnection, run: Run) -> tuple[int, int, int]:
    """n_images, n_ok and n_errors of the selection.

    Raises:
        InferenceError: they do not add up.
    """
    n_images = fetch(con, "statements/count_selected")[0][0]
    n_ok, n_errors = fetch(con, "statements/count_answered", run=run.run)[0]
    if n_ok + n_errors != n_images:
        raise InferenceError(
            f"run {run.run!r}: {n_images} images selected, but {n_ok} outputs and {n_errors} errors; run it again"
        )
    return n_images, n_ok, n_errors
