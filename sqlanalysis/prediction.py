"""Run a model over images: `predict`, and a model as a SQL function."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
from duckdb.func import ARROW

from . import blocks, functions, inference, labels, progress, runs
from .blocks import Done, Work
from .database import fetch
from .errors import SchemaError
from .ingest import read_classes, save_classes
from .models import Model, describe_transform
from .runs import Run

POLICIES = ("auto", "restricted", "open", "identity")


@dataclass(frozen=True)
class Predicted(Done):
    """What `predict` did, and the class policy it used."""

    class_policy: str


def register_model(
    con: duckdb.DuckDBPyConnection,
    model: Model,
    *,
    name: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    precision: str = "fp32",
    compile: bool = False,  # noqa: A002 - torch's own word
) -> str:
    """Install a model as a SQL function: `select image_id, resnet18(image).pred from image_files limit 5`.

    Args:
        con: from `connect`; the function lives as long as it does.
        model: from `load_model`.
        name: SQL name, default the model's.
        batch_size: images per forward pass.
        device: "auto", "cpu", "cuda", …
        precision: "fp32", "bf16", or on CUDA "fp16".
        compile: run the module through `torch.compile`.

    Returns:
        The SQL name. The function maps STRUCT(bytes, path) to STRUCT(pred INTEGER, confidence FLOAT, probs FLOAT[n],
        activation FLOAT[m] when the model has a layer, sha256 VARCHAR, error STRUCT(stage, error, message)), in the
        model's own classes. An image that fails has an error and NULL elsewhere.
    """
    _check(model, batch_size)
    engine = inference.Engine(model, batch_size=batch_size, device=device, precision=precision, compile=compile)
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
    precision: str = "fp32",
    compile: bool = False,  # noqa: A002 - torch's own word
    replace: bool = False,
    retry_errors: bool = False,
    strict: bool = False,
    show_progress: bool = True,
) -> Predicted:
    """Run a model over images; writes `outputs.<run>`, `errors`, `runs`, and the view `<run>`.

    Work is committed in blocks of about five seconds: what was committed survives a crash, and the same call goes on
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
        batch_size: images per forward pass; default 8 a worker on CPU, found by trying on CUDA.
        device: "auto", "cpu", "cuda", …
        precision: "fp32", the reference; "bf16", faster where the CPU has it; or on CUDA "fp16". `runs.agreement` says
            how far the answers are from fp32 on the first 32 images.
        compile: run the module through `torch.compile`: faster on large runs, after many seconds of compiling.
        replace: start the run anew, dropping what it holds.
        retry_errors: try images again that have an error in this run.
        strict: raise when an image fails, after committing those of its block that did not.
        show_progress: draw a progress bar on a terminal.

    Returns:
        Counts and seconds.

    Raises:
        NotFoundError: no such data set.
        SchemaError: the name is taken, the run exists with other weights or settings, or classes cannot be mapped.
        QueryError: the condition is no valid SQL.
        InferenceError: rows are not accounted for, there is no such device or precision, or compiling fails.
    """
    _check(model, batch_size)
    if policy not in POLICIES:
        raise SchemaError(f"no policy {policy!r}; give one of {', '.join(POLICIES)}")
    dataset, space = runs.resolve_dataset(con, dataset)
    n_selected = blocks.select(con, dataset, where)
    mapping, used_policy = _class_map(con, model, space, policy, class_map)
    with progress.track(f"predicting {run or model.name}", n_selected, enabled=show_progress) as advance:
        engine = inference.Engine(
            model,
            mapping,
            batch_size=batch_size,
            device=device,
            advance=advance,
            precision=precision,
            compile=compile,
        )
        try:
            wanted = Run(
                run=run or model.name,
                dataset=dataset,
                model=model.name,
                weights=model.weights,
                weights_sha256=model.weights_sha256,
                model_space=_model_space(con, model, run or model.name) if mapping or space is None else space,
                class_policy=used_policy,
                layer=model.layer,
                transform=json.dumps(describe_transform(model.transform), sort_keys=True),
                precision=engine.precision,
                device=str(engine.device),
                batch_size=engine.batch_size,
                packages=blocks.packages(),
                selection=where,
                agreement=_agreement(con, model, mapping, engine, device),
                trusted_pickle=model.trusted_pickle,
            )
            wanted = dataclasses.replace(wanted, output_space=space or wanted.model_space)
            pairs = [pair for pair in enumerate(mapping.to_class) if pair[1] != labels.OUTSIDE] if mapping else []
            work = Work(wanted, pairs, replace=replace, retry_errors=retry_errors, strict=strict)
            done = blocks.perform(con, work, engine)
        finally:
            engine.close()
    return Predicted(**vars(done), class_policy=used_policy)


@dataclass(frozen=True)
class Preflight:
    """What `predict` would do, from counts and a sample; nothing was written.

    `n_distinct` images have different bytes, `n_unreadable` files could not be added to the data set. Of `n_sampled`
    images that went through the model `n_failed` had an error. `seconds` and `megabytes` are estimates for the pending
    images at the sample's rate.
    """

    n_images: int
    n_pending: int
    n_distinct: int
    n_labelled: int
    n_classes: int
    n_unreadable: int
    class_policy: str
    n_sampled: int
    n_failed: int
    images_per_second: float
    seconds: float
    megabytes: float


def preflight(
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
    precision: str = "fp32",
    sample: int = 64,
) -> Preflight:
    """Say what `predict` with the same arguments would do, and how long it would take; reads only.

    Args:
        con: from `connect`.
        model: from `load_model`.
        run, dataset, where, policy, class_map, batch_size, device, precision: as in `predict`.
        sample: how many pending images to try.

    Returns:
        Counts, the sample's rate in images/s, and estimates of seconds and megabytes for what is pending.

    Raises:
        NotFoundError, SchemaError, QueryError, InferenceError: as `predict`.
    """
    _check(model, batch_size)
    dataset, space = runs.resolve_dataset(con, dataset)
    blocks.select(con, dataset, where)
    name = run or model.name
    values = {"dataset": dataset, "space": space}
    counts = fetch(con, "statements/preflight", values, run=name, exists=name in runs.known(con))[0]
    mapping, used_policy = _class_map(con, model, space, policy, class_map)
    rows = fetch(con, "statements/read_first_images", [sample], inputs=[])
    pictures = pa.chunked_array([pa.array([row[0] for row in rows], functions.arrow_image_type())])
    engine = inference.Engine(model, mapping, batch_size=batch_size, device=device, precision=precision)
    try:
        engine(pictures.slice(0, engine.batch_size))
        start = time.perf_counter()
        answers = engine(pictures).to_pylist()
        rate = len(rows) / (time.perf_counter() - start) if rows else 0.0
    finally:
        engine.close()
    n_images, n_pending, n_distinct, n_labelled, n_classes, n_unreadable = counts
    width = sum(one.type.list_size for one in engine.output_type if pa.types.is_fixed_size_list(one.type))
    return Preflight(
        n_images=n_images,
        n_pending=n_pending,
        n_distinct=n_distinct,
        n_labelled=n_labelled,
        n_classes=n_classes,
        n_unreadable=n_unreadable,
        class_policy=used_policy,
        n_sampled=len(rows),
        n_failed=sum(answer["error"] is not None for answer in answers),
        images_per_second=rate,
        seconds=n_pending / rate if rate else 0.0,
        megabytes=n_pending * (4 * width + 100) / 1e6,
    )


def _agreement(
    con: duckdb.DuckDBPyConnection,
    model: Model,
    mapping: labels.ClassMap | None,
    engine: inference.Engine,
    device: str,
    sample: int = 32,
) -> str | None:
    """How far another precision is from fp32 on the first images: share of equal predictions, largest difference."""
    if engine.precision == "fp32":
        return None
    rows = fetch(con, "statements/read_first_images", [sample], inputs=[])
    pictures = pa.chunked_array([pa.array([row[0] for row in rows], functions.arrow_image_type())])
    reference = inference.Engine(model, mapping, device=device)
    try:
        pairs = zip(engine(pictures).to_pylist(), reference(pictures).to_pylist(), strict=True)
        both = [(a, b) for a, b in pairs if a["error"] is None and b["error"] is None]
    finally:
        reference.close()
    if not both:
        return None
    equal = sum(a["pred"] == b["pred"] for a, b in both) / len(both)
    furthest = max(abs(p - q) for a, b in both for p, q in zip(a["probs"], b["probs"], strict=True))
    return json.dumps({"n": len(both), "top1_equal": equal, "max_abs_dp": furthest})


def _check(model: Model, batch_size: int | None) -> None:
    if not isinstance(model, Model):
        raise SchemaError(f"a model comes from load_model(…), not {type(model).__name__} {model!r}")
    if batch_size is not None and batch_size < 1:
        raise SchemaError(f"batch_size is 1 or more, or None, not {batch_size}")


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
