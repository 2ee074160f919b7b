"""Turn a shard into a part: `work`, which needs no database, only the shard, the model and the pictures."""

from __future__ import annotations

import dataclasses
import json
import platform
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ..core import arrow
from ..core.classes import ClassMap
from ..core.faults import point
from ..core.noise import Complaints
from ..errors import ArgumentError, InferenceError, SchemaError
from . import exchange, identity
from .job import packages

if TYPE_CHECKING:
    from ..models.engine import Engine
    from ..models.model import Model

_CHANGED = {
    "stage": "read",
    "error": "ChangedImage",
    "message": "the file has other bytes than when it was added; add the images again",
}
# A worker computes many shards of one run: its model is loaded once.
_lock = threading.Lock()
_kept: tuple[str, Model | None, Engine] | None = None


def work(shard: str, part: str, *, model: Model | None = None, trusted: bool = False) -> bool:
    """Compute the images of a shard and write their outputs as a part; both may lie anywhere, see `shards`.

    Needs no database. The model is loaded by its specification in the shard and compared with it, and so are its
    answers for two images of noise; it stays loaded for the next shard of the same run.

    Args:
        shard: path or address of the file.
        part: path or address of the file to write, whole or not at all.
        model: the model of the shard, where the caller has it loaded.
        trusted: run code that the shard names: of a file or package, or in a pickle. Whoever writes a shard decides
            what it names.

    Returns:
        False if the part was there already, whole and of this shard.

    Raises:
        ArgumentError: the shard names code, and is not `trusted`.
        NotFoundError: no such shard, or its model is not there.
        SchemaError: the shard is damaged, or the part is there and is something else.
        InferenceError: the model is not that of the shard, or no image can be computed at all, as in `predict`.
    """
    rows, specification = exchange.parse(exchange.read(shard), shard)
    if rows.schema.names != exchange.SHARD_SCHEMA.names:
        raise SchemaError(f"{shard} is not a shard: it has the columns {', '.join(rows.schema.names)}")
    if exchange.exists(part):
        _check_there(part, rows, specification)
        return False
    if model is None and not trusted:
        _refuse_code(shard, specification["model"]["source"])
    with _lock:
        compute(_engine(specification, model), rows, specification, part)
    return True


def _check_there(part: str, rows: pa.Table, specification: dict[str, Any]) -> None:
    try:
        found, footer = exchange.parse(exchange.read(part), part)
        mine = all(footer[key] == specification[key] for key in ("run", "identity", "attempt"))
        mine = mine and sorted(found["image_id"].to_pylist()) == sorted(rows["image_id"].to_pylist())
    except (SchemaError, KeyError):
        mine = False
    if not mine:
        raise SchemaError(
            f"{part} is there and is no whole part of this shard: delete it, or write another file (--part)"
        )


def names_code(source: dict[str, Any] | None) -> bool:
    """Whether loading the model of a specification runs code that it names: of a file or package, or in a pickle."""
    from ..models.loading.names import parse

    return source is not None and bool(source.get("trust_pickle") or parse(source["model"]).kind == "code")


def _refuse_code(shard: str, source: dict[str, Any] | None) -> None:
    if source is not None and names_code(source):
        what = f"the pickle of {source['model']}" if source.get("trust_pickle") else source["model"]
        raise ArgumentError(
            f"{shard} names code that would run: {what}; if the shard is yours, give --trust-code (trusted=True)"
        )


def compute(engine: Engine, rows: pa.Table, specification: dict[str, Any], part: str) -> None:
    """Write the answers of an engine for the rows of a shard as a part."""
    before, start = dict(engine.seconds), time.perf_counter()
    pictures = pa.StructArray.from_arrays(
        [rows["bytes"].combine_chunks().cast(pa.binary()), rows["path"].combine_chunks()], fields=list(arrow.IMAGE_TYPE)
    )
    # What decoders say of these images is for the driver, which counts the parts that it takes.
    engine.complaints, others = Complaints(), engine.complaints
    try:
        answers = engine(pa.chunked_array([pictures]))
        complaints = engine.complaints.told()
    finally:
        engine.complaints = others
    table = _outputs(rows, answers, exchange.part_schema(specification["columns"]))
    seconds = {stage: round(value - before.get(stage, 0.0), 3) for stage, value in engine.seconds.items()}
    n_errors = len(table) - table["error"].null_count
    point("insert")
    footer = {
        **{name: specification[name] for name in ("format", "run", "identity", "attempt")},
        "n": len(table),
        "n_ok": len(table) - n_errors,
        "n_errors": n_errors,
        "packages": json.loads(packages()),
        "device": str(engine.device),
        "dtype": engine.dtype,
        "batch_size": engine.batch_size,
        "host": platform.node(),
        "seconds": {**seconds, "total": round(time.perf_counter() - start, 3)},
        "notes": engine.notes,
        "complaints": complaints,
    }
    # Another worker may have been given the shard too, and its part may be committed: then this one is not needed.
    exchange.write(part, table, footer, once=True)


def _outputs(rows: pa.Table, answers: pa.Array, schema: pa.Schema) -> pa.Table:
    """Answers as rows of a part, sorted by image_id: an answer for other bytes than those of the shard is an error."""
    ids, expected = rows["image_id"].combine_chunks(), rows["sha256"].combine_chunks()
    errors = pc.struct_field(answers, "error")
    read = pc.struct_field(answers, "sha256")
    changed = pc.and_(errors.is_null(), pc.fill_null(pc.not_equal(read, expected), True))
    good = pc.and_(errors.is_null(), pc.invert(changed))
    order = pc.sort_indices(ids)
    # An index of NULL gives NULL: the outputs of an image with an error.
    found = pc.if_else(good.take(order), order.cast(pa.int64()), pa.scalar(None, pa.int64()))
    if pc.any(changed).as_py():
        listed = [
            _CHANGED if is_changed.as_py() else error
            for is_changed, error in zip(changed, errors.to_pylist(), strict=True)
        ]
        errors = pa.array(listed, arrow.ERROR_TYPE)
    columns = {"image_id": ids.take(order), "sha256": expected.take(order), "error": errors.take(order)}
    for field in schema:
        if field.name not in columns:
            columns[field.name] = pc.struct_field(answers, field.name).take(found).cast(field.type)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _engine(specification: dict[str, Any], model: Model | None) -> Engine:
    """The engine of this process for a specification.

    Raises:
        InferenceError: the model is another, or answers noise in another way than the run's did.
    """
    global _kept  # one engine for each process
    wanted = ("model", "class_map", "dtype", "batch_size", "device", "compile", "allow_random", "probe")
    key = json.dumps({name: specification[name] for name in wanted}, sort_keys=True)
    if _kept is not None and _kept[0] == key and _kept[1] is model:
        return _kept[2]
    if _kept is not None:
        _kept[2].close()
        _kept = None
    from ..models.engine import Engine
    from ..models.specification import check_specified, load_specified

    given = specification["model"]
    loaded = load_specified(given) if model is None else check_specified(model, given)
    mapped = specification["class_map"]
    engine = Engine(
        loaded,
        None if mapped is None else ClassMap(**{**mapped, "to_class": tuple(mapped["to_class"])}),
        batch_size=specification["batch_size"],
        device=specification["device"],
        dtype=specification["dtype"],
        compile=specification["compile"],
    )
    try:
        probed = engine.probe(allow_random=specification["allow_random"])
        differences = identity.other_answers(json.loads(specification["probe"]), json.loads(probed.record))
        if differences:
            raise InferenceError(f"{loaded.name} is not the model of this shard: {'; '.join(differences)}")
    except BaseException:
        engine.close()
        raise
    _kept = (key, model, engine)
    return engine


def describe(
    engine: Engine, *, allow_random: bool, device: str, dtype: str, compiles: bool, probe: str
) -> dict[str, Any]:
    """The specification of what an engine computes, as a shard carries it.

    Args:
        engine: of the driver, which has settled the batch size.
        allow_random: as given to `predict`.
        device: as given to `predict`: "auto" is another device on another machine.
        dtype: as given to `predict`.
        compiles: whether the module runs through `torch.compile`.
        probe: answers to noise, `runs.probe`.
    """
    from ..models.specification import specify

    types = {field.name: arrow.sql_type(field.type) for field in engine.output_type}
    return {
        "format": exchange.FORMAT,
        "model": specify(engine.model),
        "class_map": None if engine.class_map is None else dataclasses.asdict(engine.class_map),
        "dtype": dtype,
        "batch_size": engine.batch_size,
        "device": device,
        "compile": compiles,
        "allow_random": allow_random,
        "probe": probe,
        "columns": {name: sql for name, sql in types.items() if name not in ("sha256", "error")},
    }
