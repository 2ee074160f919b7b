"""Run a model over images, as INSERTs in committed blocks: what is pending, inference, rows in, resume."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
from duckdb.func import ARROW

from . import functions, inference, labels, progress, runs
from .database import execute, fetch, transaction
from .errors import InferenceError, QueryError, SchemaError
from .ingest import read_classes, registered, save_classes
from .models import Model, describe_transform
from .runs import Run

BLOCK_IMAGES = 2048  # what one call of an Arrow UDF gets at most
BLOCK_BYTES = 256 * 1024 * 1024
POLICIES = ("auto", "restricted", "open", "identity")
PACKAGES = ("sqlanalysis", "duckdb", "torch", "torchvision", "pillow")


@dataclass(frozen=True)
class Predicted:
    """What `predict` did: n_images = n_ok + n_errors, over the images selected.

    `n_computed` went through the model in this call; the others had been answered before, or share bytes with one
    that was. `seconds` are of this call: per stage summed over workers, `total` by the clock.
    """

    run: str
    n_images: int
    n_ok: int
    n_errors: int
    n_computed: int
    class_policy: str
    seconds: dict[str, float]


def register_model(
    con: duckdb.DuckDBPyConnection,
    model: Model,
    *,
    name: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
) -> str:
    """Install a model as a SQL function: `select image_id, resnet18(image).pred from image_files limit 5`.

    Args:
        con: from `connect`; the function lives as long as it does.
        model: from `load_model`.
        name: SQL name, default the model's.
        batch_size: images per forward pass.
        device: "auto", "cpu", "cuda", …

    Returns:
        The SQL name. The function maps STRUCT(bytes, path) to STRUCT(pred INTEGER, confidence FLOAT, probs FLOAT[n],
        activation FLOAT[m] when the model has a layer, sha256 VARCHAR, error STRUCT(stage, error, message)), in the
        model's own classes. An image that fails has an error and NULL elsewhere.
    """
    engine = inference.Engine(model, batch_size=batch_size, device=device)
    functions.register(con, name or model.name, engine, functions.sql_type(engine.output_type), ARROW)
    return name or model.name


def predict(
    con: duckdb.DuckDBPyConnection,
    model: Model,
    run: str | None = None,
    *,
    dataset: str | None = None,
    where: str | None = None,
    policy: str = "auto",
    class_map: str | Path | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    replace: bool = False,
    show_progress: bool = True,
) -> Predicted:
    """Run a model over images; writes `outputs.<run>`, `errors`, `runs`, and the view `<run>`.

    Work is committed in blocks of at most 2,048 images: what was committed survives a crash, and the same call goes on
    where it stopped. Images of equal bytes are computed once.

    Args:
        con: from `connect`, writable.
        model: from `load_model`.
        run: name of the run, an identifier; default the model's name.
        dataset: which data set; default the only one.
        where: SQL condition over the columns of `images`, such as "split = 'val'".
        policy: how outputs become classes of the data set. "identity": output i is class i. "restricted": probabilities
            of the outputs of each class are summed and renormalised. "open": arg-max over all outputs, pred -1 outside.
            "auto": identity when the classes agree (or the model's have no names and are as many), else restricted.
        class_map: CSV with columns from_class,to_class; default maps by WordNet id or by name.
        batch_size: images per forward pass, default 8 a worker on CPU and 64 on CUDA.
        device: "auto", "cpu", "cuda", …
        replace: start the run anew, dropping what it holds.
        show_progress: draw a progress bar on a terminal.

    Returns:
        Counts and seconds.

    Raises:
        NotFoundError: no such data set.
        SchemaError: the name is taken, the run exists with other weights or settings, or classes cannot be mapped.
        QueryError: the condition is no valid SQL.
        InferenceError: rows are not accounted for, or there is no such device.
    """
    if policy not in POLICIES:
        raise SchemaError(f"no policy {policy!r}; give one of {', '.join(POLICIES)}")
    dataset, space = runs.resolve_dataset(con, dataset)
    try:
        n_selected = fetch(con, "statements/count_selected", {"dataset": dataset}, where=where)[0][0]
    except QueryError as error:
        raise QueryError(f"where={where!r} is no condition over `images`: {error.__cause__ or error}") from error
    mapping, used_policy = _class_map(con, model, space, policy, class_map)
    with progress.track(f"predicting {run or model.name}", n_selected, enabled=show_progress) as advance:
        engine = inference.Engine(model, mapping, batch_size=batch_size, device=device, advance=advance)
        try:
            wanted = _describe(model, engine, run or model.name, dataset, used_policy, where)
            n_computed, seconds = _run(con, model, engine, wanted, space, replace)
        finally:
            engine.close()
    n_ok, n_errors = _account(con, wanted.run, dataset, where, n_selected)
    return Predicted(wanted.run, n_selected, n_ok, n_errors, n_computed, used_policy, seconds)


def _class_map(
    con: duckdb.DuckDBPyConnection, model: Model, space: str | None, policy: str, path: str | Path | None
) -> tuple[labels.ClassMap | None, str]:
    """The map from the model's outputs to the data set's classes, and the policy that was chosen."""
    if space is None:
        if policy not in ("auto", "identity") or path is not None:
            raise SchemaError(f"policy {policy!r} needs a labelled data set; this one has no classes")
        return None, "identity"
    target = read_classes(con, space)
    equal = model.classes.names == target.names or (not model.classes.named and len(model.classes) == len(target))
    if policy == "identity" and len(model.classes) != len(target):
        raise SchemaError(f"policy identity needs as many outputs as classes: {len(model.classes)} and {len(target)}")
    if policy == "identity" or (policy == "auto" and equal and path is None):
        return None, "identity"
    chosen = "restricted" if policy == "auto" else policy
    return labels.map_classes(model.classes, target, chosen, path), chosen


def _describe(model: Model, engine: inference.Engine, run: str, dataset: str, policy: str, where: str | None) -> Run:
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return Run(
        run=run,
        dataset=dataset,
        model=model.name,
        weights=model.weights,
        weights_sha256=model.weights_sha256,
        class_policy=policy,
        layer=model.layer,
        transform=json.dumps(describe_transform(model.transform), sort_keys=True),
        precision="fp32",
        device=str(engine.device),
        batch_size=engine.batch_size,
        packages=json.dumps({"python": platform.python_version(), **versions}),
        selection=where,
    )


def _run(
    con: duckdb.DuckDBPyConnection,
    model: Model,
    engine: inference.Engine,
    wanted: Run,
    space: str | None,
    replace: bool,
) -> tuple[int, dict[str, float]]:
    """Open the run, answer what is pending, close the run; gives the number computed and the seconds."""
    start, run, n_computed, status = time.perf_counter(), wanted.run, 0, "failed"
    types = {field.name: functions.sql_type(field.type) for field in engine.output_type}
    columns = [(name, kind) for name, kind in types.items() if name not in ("sha256", "error")]
    mapped = enumerate(engine.class_map.to_class) if engine.class_map else ()
    pairs = [(output, number) for output, number in mapped if number != labels.OUTSIDE]
    with transaction(con):
        model_space = _model_space(con, model, run) if pairs or space is None else space
        wanted = dataclasses.replace(wanted, model_space=model_space, output_space=space or model_space)
        runs.open_run(con, wanted, columns, pairs, replace_run=replace)
    try:
        with _function(con, f"_predict_{run}", engine) as function, _interruptible(engine):
            for block in _blocks(con, wanted, [name for name, _ in columns]):
                _predict_block(con, run, function, [name for name, _ in columns], block, engine)
                n_computed += len(block)
        status = "finished"
    except BaseException as error:
        if not engine.interrupted:
            raise
        status = "interrupted"
        raise KeyboardInterrupt from error
    finally:
        seconds = {**engine.seconds, "total": time.perf_counter() - start}
        with transaction(con):
            runs.close_run(con, run, status, seconds)
    return n_computed, seconds


def _model_space(con: duckdb.DuckDBPyConnection, model: Model, run: str) -> str:
    """A label space that holds the model's own classes, written when there is none yet."""
    base = "imagenet1k" if model.classes == labels.imagenet1k() else model.name
    for name in (base, f"{base}_classes", f"{run}_classes"):
        found = read_classes(con, name)
        if found.names == model.classes.names:
            return name
        if not found.names:
            save_classes(con, name, model.classes)
            return name
    raise SchemaError(f"label space {run}_classes exists with other classes; give another run=")


def _blocks(con: duckdb.DuckDBPyConnection, wanted: Run, names: list[str]) -> Iterator[list[int]]:
    """Ids to compute, one image per content; images of the same bytes get a copy of its output."""
    while True:
        with transaction(con):
            execute(
                con, "statements/create_pending", {"dataset": wanted.dataset}, run=wanted.run, where=wanted.selection
            )
            execute(con, "statements/delete_stale_outputs", run=wanted.run)
            execute(con, "statements/delete_stale_errors", run=wanted.run)
            execute(con, "statements/copy_outputs", run=wanted.run, names=names)
        waiting = fetch(con, "statements/list_representatives", run=wanted.run)
        if not waiting:
            return
        block: list[int] = []
        held = 0
        for image_id, n_bytes in waiting:
            if block and (len(block) == BLOCK_IMAGES or held + n_bytes > BLOCK_BYTES):
                yield block
                block, held = [], 0
            block.append(image_id)
            held += n_bytes
        yield block


def _predict_block(
    con: duckdb.DuckDBPyConnection,
    run: str,
    function: str,
    names: list[str],
    block: list[int],
    engine: inference.Engine,
) -> None:
    """Compute one block and commit it: outputs, errors and counts together, or nothing of it."""
    with registered(con, "block_images", pa.table({"image_id": pa.array(block, pa.int64())})):
        execute(con, "statements/create_answers", function=function).fetchall()
    start = time.perf_counter()
    with transaction(con):
        execute(con, "statements/insert_outputs", run=run, names=names)
        execute(con, "statements/insert_run_errors", [run])
        execute(con, "statements/update_run_counts", run=run)
    engine.seconds["write"] = engine.seconds.get("write", 0.0) + time.perf_counter() - start


@contextmanager
def _function(con: duckdb.DuckDBPyConnection, name: str, engine: inference.Engine) -> Iterator[str]:
    functions.register(con, name, engine, functions.sql_type(engine.output_type), ARROW)
    try:
        yield name
    finally:
        functions.unregister(con, name)


@contextmanager
def _interruptible(engine: inference.Engine) -> Iterator[None]:
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


def _account(
    con: duckdb.DuckDBPyConnection, run: str, dataset: str, where: str | None, n_selected: int
) -> tuple[int, int]:
    """n_ok and n_errors of the selection.

    Raises:
        InferenceError: they do not add up to the images selected.
    """
    n_ok, n_errors = fetch(con, "statements/count_answered", {"dataset": dataset}, run=run, where=where)[0]
    if n_ok + n_errors != n_selected:
        raise InferenceError(
            f"run {run!r}: {n_selected} images selected, but {n_ok} outputs and {n_errors} errors; run it again"
        )
    return n_ok, n_errors
