"""Run a model over images: `predict`; or use it as a SQL function: `register_model`."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import duckdb
import pyarrow as pa
import torch
from duckdb.func import ARROW

from ..core import arrow, progress, talk
from ..core.classes import ClassMap
from ..core.results import Result
from ..data.label_spaces import resolve_dataset
from ..db import functions
from ..db.alone import works_alone
from ..db.statements import execute, fetch
from ..errors import ArgumentError, InferenceError
from ..models import device as devices
from ..models import outputs as meanings
from ..models.engine import Engine, fit
from ..models.model import Model
from ..models.transforms import describe_transform
from . import job, parts, policies, sample
from . import run as runs
from .job import Done, Work
from .run import Run, Spec
from .runners.chosen import choose
from .sample import Drawing, Sample
from .work import describe

SAMPLE = 64  # images that a dry run computes
# Images of which the first that can be read gives the size of the input where that follows the picture; how many at a
# time, and at most.
FITTED, MOST_FITTED = 16, 1024
AGREEMENT_SAMPLE = 32  # images on which another dtype is compared with fp32


@dataclass(frozen=True, repr=False)
class Predicted(Done):
    """The result of `predict`, with the class policy that was used.

    In `n_outside` images the most probable output is not a class of the data set. `sample` says what a rule
    (`until_width`, `until_better_than`) has drawn and found, and is None without one. With `runner="files"` nothing is
    computed: images without an output or error are pending, in `n_shards` shards.
    """

    class_policy: str
    n_outside: int
    sample: Sample | None = None
    n_shards: int = 0


@dataclass(frozen=True, repr=False)
class DryRun(Result):
    """What `predict` would do, according to counts and a sample; nothing was written.

    The `n_images` selected images have `n_distinct` different contents; `n_unreadable` files could not be added to the
    data set. Of `n_sampled` images that were computed, `n_failed` had an error. `seconds` and `megabytes` are estimates
    for the pending images.
    """

    n_images: int
    n_pending: int
    n_distinct: int
    n_labeled: int
    n_classes: int
    n_unreadable: int
    class_policy: str
    n_sampled: int
    n_failed: int
    images_per_second: float
    seconds: float
    megabytes: float


def register_model(
    con: duckdb.DuckDBPyConnection,
    model: Model,
    *,
    name: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "fp32",
    compile: bool = False,  # noqa: A002 - torch's own word
    allow_random: bool = False,
) -> str:
    """Register a model as a SQL function: `select image_id, resnet18(image).pred from image_files limit 5`.

    Args:
        con: from `connect`; the function exists as long as this connection.
        model: from `load_model`.
        name: SQL name; default: the model's name.
        batch_size: images per forward pass.
        device: "auto", all GPUs or else the CPU; "cpu"; "cuda", all GPUs; or some of them: "cuda:0", "cuda:0,1".
        dtype: "fp32", "bf16", or on CUDA "fp16".
        compile: run the module through `torch.compile`.
        allow_random: accept a module that gives the same image different answers.

    Returns:
        The SQL name. The function maps STRUCT(bytes, path) to STRUCT(pred INTEGER, confidence FLOAT, probs FLOAT[n],
        activation FLOAT[m] when the model has a layer, sha256 VARCHAR, error STRUCT(stage, error, message)), in the
        model's own classes. An image that fails has an error and NULL elsewhere.

    Raises:
        ArgumentError: not a model, or an unknown device or dtype.
        InferenceError: the device is not available, compiling fails, or the model is not fit, as in `predict`.
    """
    _check(model, batch_size)
    if model.shape_varies:
        loaded, model = model, fit(model, [job.any_images(con, FITTED)])
        if model is loaded:
            raise InferenceError(
                f"{model.name} takes pictures of any one size, and the file has none that can be read: add images first"
            )
    engine = Engine(model, batch_size=batch_size, device=device, dtype=dtype, compile=compile)
    try:
        engine.probe(allow_random=allow_random)
    except BaseException:
        engine.close()
        raise
    functions.register(con, name or model.name, engine, arrow.sql_type(engine.output_type), ARROW)
    return name or model.name


@overload
def predict(
    con: duckdb.DuckDBPyConnection,
    model: Model,
    run: str | None = None,
    *,
    dataset: str | None = None,
    where: str | None = None,
    split: str | None = None,
    policy: str = "auto",
    class_map: str | Path | None = None,
    outputs: str = "auto",
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "fp32",
    compile: bool = False,
    version: str | None = None,
    allow_random: bool = False,
    overwrite: bool = False,
    retry_errors: bool = False,
    strict: bool = False,
    until_width: float | None = None,
    until_better_than: str | None = None,
    seed: int = 0,
    storage: str | None = None,
    scratch: str | Path | None = None,
    runner: str = "local",
    workers: int | None = None,
    dry_run: Literal[False] = False,
    show_progress: bool = True,
) -> Predicted: ...


@overload
def predict(
    con: duckdb.DuckDBPyConnection,
    model: Model,
    run: str | None = None,
    *,
    dataset: str | None = None,
    where: str | None = None,
    split: str | None = None,
    policy: str = "auto",
    class_map: str | Path | None = None,
    outputs: str = "auto",
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "fp32",
    compile: bool = False,
    version: str | None = None,
    allow_random: bool = False,
    overwrite: bool = False,
    retry_errors: bool = False,
    strict: bool = False,
    until_width: float | None = None,
    until_better_than: str | None = None,
    seed: int = 0,
    storage: str | None = None,
    scratch: str | Path | None = None,
    runner: str = "local",
    workers: int | None = None,
    dry_run: Literal[True],
    show_progress: bool = True,
) -> DryRun: ...


@works_alone("predict")
def predict(
    con: duckdb.DuckDBPyConnection,
    model: Model,
    run: str | None = None,
    *,
    dataset: str | None = None,
    where: str | None = None,
    split: str | None = None,
    policy: str = "auto",
    class_map: str | Path | None = None,
    outputs: str = "auto",
    batch_size: int | None = None,
    device: str = "auto",
    dtype: str = "fp32",
    compile: bool = False,  # noqa: A002 - torch's own word
    version: str | None = None,
    allow_random: bool = False,
    overwrite: bool = False,
    retry_errors: bool = False,
    strict: bool = False,
    until_width: float | None = None,
    until_better_than: str | None = None,
    seed: int = 0,
    storage: str | None = None,
    scratch: str | Path | None = None,
    runner: str = "local",
    workers: int | None = None,
    dry_run: bool = False,
    show_progress: bool = True,
) -> Predicted | DryRun:
    """Run a model over images; writes `outputs.<run>`, `errors`, `runs`, and the view `<run>`.

    The run of an encoder (`load_model(…, embedding=True)`) has activations and no predictions.

    Two images of noise go through the model first: answers that are random, or that depend on the other images of a
    batch, are refused, and a run is resumed only by a model that answers them as the run's did (`runs.probe`).
    Answers are committed in blocks of a few seconds, parts in such of up to 4,096 images. Committed blocks survive a
    crash, and the same call resumes the run. Images with the same bytes are computed once. A call that raises before
    the first block writes nothing.

    `until_width` and `until_better_than` are for less work: labeled images are drawn in a random order until an
    interval that holds at every number of images is narrow enough, or excludes a difference of 0. The run is then a
    sample (`runs.status` is "sampled", `runs.sample` says why it stopped); the same call without the rule answers the
    other images, and the run is as if all had been answered at once.

        predict(con, model, until_width=0.02)  # known to 2 points
        predict(con, model, until_better_than="resnet18")  # or worse

    Args:
        con: from `connect`, writable.
        model: from `load_model`.
        run: name of the run, an identifier; default: the model's name.
        dataset: name of the data set; default: the only one.
        where: SQL condition over the columns of `images`, such as "width_px >= 64".
        split: only images of this split; `where` selects among them. A note says so when several splits are selected.
        policy: how outputs become classes of the data set. "identity": output i is class i. "restricted": probabilities
            of the outputs of each class are summed and renormalized. "open": argmax over all outputs, pred -1 outside.
            "auto": identity if the classes are the same (or the model's have no names and the same number), else open:
            nothing is left out, and no figure is too high.
        class_map: CSV with columns from_class,to_class; by default, classes are matched by WordNet id, then by name.
        outputs: what the outputs of the model are: logits, probs, log_probs, percent or sigmoid; auto: as `load_model`
            recognized them.
        batch_size: images per forward pass; default: 8 per worker on CPU, determined by trial on CUDA.
        device: "auto", all GPUs or else the CPU; "cpu"; "cuda", all GPUs; or some of them: "cuda:0", "cuda:0,1".
        dtype: "fp32", the reference; "bf16", faster on CPUs that support it; or on CUDA "fp16". For another dtype
            than fp32, `runs.dtype_agreement` compares the answers with fp32 on the first 32 images.
        compile: run the module through `torch.compile`, which takes many seconds and pays off in large runs.
        version: your name for this model, as a further part of what a resumed run must have in common.
        allow_random: accept a module that gives the same image different answers, such as Monte Carlo dropout; recorded
            in `runs.probe`. Otherwise it is refused.
        overwrite: drop an earlier run of that name and start from scratch.
        retry_errors: compute images that have an error in this run again.
        strict: raise if an image fails, after committing the other images of its block.
        until_width: stop when the 95 % interval of the accuracy, from end to end, has this width, a share.
        until_better_than: stop when it is settled that the run is better or worse than this run, at 95 %.
        seed: of the random order. The rule is settled after other images with another seed.
        storage: where outputs go: "table", into the file; or "parts", into Parquet files beside it (FILE.parts), which
            the view `outputs.<run>` reads, for runs that are larger than the file should be. Default: as the run has
            it, else "table". `localize` brings parts into the file.
        scratch: folder for parts in place of FILE.parts; they stay there and must not be moved. With a runner other
            than "local" also for what the workers get and give, so all of them must reach it. What an earlier call has
            left there is taken up.
        runner: what computes: "local", this process; "processes", several of this machine; "ray", actors of a Ray
            cluster; or "files", whoever calls `sqlanalysis work` on the shards that are written to `scratch`, and
            `sqlanalysis commit` then. Workers load the model themselves, so it must be one that they can load. A worker
            that dies is replaced; an image that ends every worker is an error of stage worker.
        workers: how many; default: as many as there are cores, or with Ray CPUs or GPUs. With "files" shards are so
            small that each has several; default: shards of 4,096 images.
        dry_run: only report what would be done and how long it would take, based on 64 images; writes nothing.
        show_progress: draw a progress bar on a terminal.

    Returns:
        Counts and seconds; with `dry_run` a `DryRun`. With runner "files" the run is left open, its images pending.

    Raises:
        ArgumentError: not a model, an unknown policy, device, dtype, storage or runner, or a rule without sense.
        NotFoundError: no such data set, split or baseline, or no image with a label for a rule.
        SchemaError: the name is taken, the run exists with other weights or settings, classes cannot be mapped, the
            baseline is not comparable, or a rule is given to a run whose answers were not drawn for one.
        QueryError: the condition is not valid SQL.
        InferenceError: the model was changed since `load_model`, it is random or mixes the images of a batch, the
            device is not available, compiling fails, `strict` and an image failed, or outputs and errors do not add up
            to the images.
    """
    _check(model, batch_size)
    model.check_unchanged()
    policies.check_policy(policy)
    meanings.check_kind(outputs)
    if storage not in (None, *parts.STORAGES):
        raise ArgumentError(f"storage is 'table' or 'parts', not {storage!r}")
    if storage == "parts" and "://" in str(scratch):
        raise ArgumentError(f"scratch={str(scratch)!r}: DuckDB reads parts from folders; give one, or storage='table'")
    rule = sample.wanted(until_width, until_better_than, seed)
    chosen = choose(model, runner, workers, rule, scratch, strict=strict)
    if model.is_encoder and rule is not None:
        raise ArgumentError(f"{model.name} gives embeddings and predicts nothing: leave {rule.rule}= out")
    if model.is_encoder and (policy != "auto" or class_map is not None or outputs != "auto"):
        raise ArgumentError(
            f"{model.name} gives embeddings and predicts nothing: leave policy=, class_map= and outputs= out"
        )
    if not model.is_encoder:
        model = dataclasses.replace(model, outputs=meanings.override(model.outputs, outputs))
    dataset, space = resolve_dataset(con, dataset)
    n_selected = job.select(con, dataset, where, split)
    if model.shape_varies:
        model = fit(
            model, (job.first_images(con, FITTED, start=at)[0] for at in range(0, min(n_selected, MOST_FITTED), FITTED))
        )
    notes = [*model.notes, *job.pooled_splits(con)]
    mapping, used_policy = None, "identity"
    if not model.is_encoder:
        mapping, used_policy = policies.choose_map(con, model, space, policy, class_map)
        notes += policies.note_order(con, model, space, mapping)
    wanted = Run(
        run=run or model.name,
        dataset=dataset,
        model=model.name,
        weights=model.weights,
        weights_sha256=model.weights_sha256,
        label_space=space,
        class_policy=used_policy,
        layer=model.layer,
        transform=json.dumps(describe_transform(model.transform), sort_keys=True),
        dtype=devices.name_dtype(model.input_dtype, dtype),
        version=version,
        packages=job.packages(),
        selection=job.condition(where, split),
        trusted_pickle=model.trusted_pickle,
        outputs=model.outputs,
        prompts=json.dumps(model.prompts, ensure_ascii=False) if model.prompts else None,
        weights_key=model.weights_key,
        transform_source=model.transform_source,
        classes_source=model.classes_source,
        sample=sample.write(rule) if rule else None,
    )
    earlier = runs.require(con, wanted.run).storage if wanted.run in runs.known(con) and not overwrite else "table"
    wanted = dataclasses.replace(wanted, storage=storage or earlier)
    # Everything that can be refused is checked before the engine starts and before anything is written.
    spec = Spec(wanted) if model.is_encoder else policies.with_model_classes(con, wanted, model, mapping)
    spec = dataclasses.replace(spec, call=f"predict(con, model, {wanted.run!r}")
    runs.check_spec(con, spec, overwrite=overwrite)
    if rule is not None:
        sample.draw(con, rule, wanted, overwrite=overwrite)
    if dry_run:
        engine = Engine(model, mapping, batch_size=batch_size, device=device, dtype=dtype, compile=compile)
        _probe(con, engine, spec, allow_random=allow_random, overwrite=overwrite)
        estimate = _try(con, engine, spec, space)
        talk.say(notes)
        return estimate
    with progress.track(f"predicting {wanted.run}", n_selected, enabled=show_progress) as advance:
        engine = Engine(
            model, mapping, batch_size=batch_size, device=device, advance=advance, dtype=dtype, compile=compile
        )
        try:
            spec = _probe(con, engine, spec, allow_random=allow_random, overwrite=overwrite)
            speed = engine.note_speed()
            agreement = _agreement(con, model, mapping, engine, device)
            # Only the engine knows the device and the batch size that it has chosen.
            wanted = dataclasses.replace(
                spec.run,
                device=engine.device,
                batch_size=engine.batch_size,
                dtype_agreement=agreement,
                workers=engine.workers,
                decoding=engine.decoding if runner == "local" else f"in the workers of runner {runner}",
            )
            spec = dataclasses.replace(spec, run=wanted)
            drawing = Drawing(rule, engine.batch_size) if rule else None
            work = Work(spec, overwrite=overwrite, retry_errors=retry_errors, strict=strict, drawing=drawing)
            if wanted.storage == "table" and runner == "local" and scratch is None:
                done = job.perform(con, work, engine)
            else:
                specification = describe(
                    engine,
                    allow_random=allow_random,
                    device=device,
                    dtype=dtype,
                    compiles=compile,
                    probe=wanted.probe or "{}",
                )
                done = chosen.perform(con, work, engine, specification, None if scratch is None else str(scratch))
        finally:
            engine.close()
    n_outside, said = policies.count_outside(con, wanted.run, mapping)
    notes += [*engine.notes, *engine.complaints.notes(), *speed, *said]
    if engine.workers != wanted.workers:  # seen at the first block
        execute(con, "update_run_workers", [engine.workers, wanted.run])
    if not model.can_copy:
        model.check_unchanged()  # what ran is the caller's own
    drawn = drawing.sample if drawing else None
    if drawn is not None:
        left = "" if sample.read(con, wanted.run) is None else "a sample, "
        notes.insert(0, f"{wanted.run}: {left}{drawn}")
    talk.say(notes)
    return Predicted(**vars(done), class_policy=used_policy, n_outside=n_outside, sample=drawn)


def _probe(con: duckdb.DuckDBPyConnection, engine: Engine, spec: Spec, *, allow_random: bool, overwrite: bool) -> Spec:
    """The spec with the answers to noise, which an earlier run of that name must have in common; closes on an error."""
    try:
        record = engine.probe(allow_random=allow_random).record
        probed = dataclasses.replace(spec, run=dataclasses.replace(spec.run, probe=record))
        runs.check_spec(con, probed, overwrite=overwrite)
    except BaseException:
        engine.close()
        raise
    return probed


def _try(con: duckdb.DuckDBPyConnection, engine: Engine, spec: Spec, space: str | None) -> DryRun:
    """What the job would do, with the speed measured on a sample; closes the engine."""
    name = spec.run.run
    values = {"dataset": spec.run.dataset, "label_space": space}
    counts = fetch(con, "preflight", values, run=name, exists=name in runs.known(con))[0]
    pictures, _ = job.first_images(con, SAMPLE)
    try:
        engine(pictures.slice(0, engine.batch_size))  # not timed: allocates memory, and libraries choose kernels
        start = time.perf_counter()
        answers = engine(pictures).to_pylist()
        rate = len(pictures) / (time.perf_counter() - start) if len(pictures) else 0.0
    finally:
        engine.close()
    n_images, n_pending, n_distinct, n_labeled, n_classes, n_unreadable = counts
    width = sum(field.type.list_size for field in engine.output_type if pa.types.is_fixed_size_list(field.type))
    return DryRun(
        n_images=n_images,
        n_pending=n_pending,
        n_distinct=n_distinct,
        n_labeled=n_labeled,
        n_classes=n_classes,
        n_unreadable=n_unreadable,
        class_policy=spec.run.class_policy,
        n_sampled=len(pictures),
        n_failed=sum(answer["error"] is not None for answer in answers),
        images_per_second=rate,
        seconds=n_pending / rate if rate else 0.0,
        megabytes=n_pending * (4 * width + 100) / 1e6,  # float32 arrays, and about 100 bytes for all other columns
    )


def _agreement(
    con: duckdb.DuckDBPyConnection, model: Model, mapping: ClassMap | None, engine: Engine, device: str
) -> str | None:
    """Compare another dtype with fp32 on the first images.

    Returns:
        JSON with n, top1_equal (share of equal predictions) and max_abs_dp (largest difference of a probability), for
        an encoder n and min_cosine (smallest cosine similarity of two embeddings); None for fp32, or if no image can
        be read.
    """
    if engine.dtype in ("fp32", devices.OWN_DTYPES.get(model.input_dtype)):
        return None
    pictures, _ = job.first_images(con, AGREEMENT_SAMPLE)
    reference = Engine(model, mapping, device=device)
    try:
        pairs = zip(engine(pictures).to_pylist(), reference(pictures).to_pylist(), strict=True)
        both = [(a, b) for a, b in pairs if a["error"] is None and b["error"] is None]
    finally:
        reference.close()
    if not both:
        return None
    if model.is_encoder:
        first, second = (torch.tensor([pair[side]["activation"] for pair in both]).double() for side in (0, 1))
        return json.dumps({"n": len(both), "min_cosine": float(torch.cosine_similarity(first, second).min())})
    equal = sum(a["pred"] == b["pred"] for a, b in both) / len(both)
    max_difference = max(abs(p - q) for a, b in both for p, q in zip(a["probs"], b["probs"], strict=True))
    return json.dumps({"n": len(both), "top1_equal": equal, "max_abs_dp": max_difference})


def _check(model: Model, batch_size: int | None) -> None:
    if not isinstance(model, Model):
        raise ArgumentError(f"model must come from load_model(…), not {type(model).__name__} {model!r}")
    if batch_size is not None and batch_size < 1:
        raise ArgumentError(f"batch_size must be 1 or more, or None, not {batch_size}")
