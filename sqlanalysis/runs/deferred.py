"""Deferred columns and user functions over batches of images: `defer`, `to_tensor`, `map_batches`."""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import torch
from duckdb.func import ARROW
from torch import Tensor

from ..core import arrow, progress, talk
from ..data.label_spaces import read_classes, resolve_dataset
from ..db import functions
from ..db.statements import execute, fetch, is_read_only, transaction
from ..db.templates import render
from ..errors import InferenceError, NotFoundError, SchemaError, near_matches
from ..models.mapper import DeferredColumn, Mapper
from ..models.transforms import describe_transform
from . import gate, job
from . import run as runs
from .job import Done, Work
from .run import Run, Spec

IMAGE = "image"
# Functions live with their connection: weak keys, so that this dict does not keep closed connections alive.
_columns: weakref.WeakKeyDictionary[duckdb.DuckDBPyConnection, dict[str, DeferredColumn]] = weakref.WeakKeyDictionary()


def defer(
    con: duckdb.DuckDBPyConnection,
    name: str,
    transform: Callable[[Any], Any],
    *,
    of: str = IMAGE,
    shape: Sequence[int] | None = None,
) -> str:
    """Create a deferred column: the SQL function `name(image)`, computed only for the rows that a query needs.

    Nothing is decoded now, and later only the images that WHERE and LIMIT keep. The definition is stored in the file;
    in another process, a query on the column raises an error that names the transform to register.

    Args:
        con: from `connect`; the function exists as long as this connection.
        name: SQL name, an identifier; a deferred column of that name is replaced.
        transform: maps an RGB PIL image (or the value of `of`) to a tensor or array.
        of: "image", or another deferred column that this one is computed from.
        shape: shape of one value; by default measured with one gray image.

    Returns:
        The name. Values are FLOAT[…] arrays of this shape, NULL where an image cannot be read or transformed.

    Raises:
        ArgumentError: the name is not an identifier.
        SchemaError: the name is taken.
        NotFoundError: no deferred column `of` is registered on this connection.
        InferenceError: the transform fails on a gray image.
    """
    known = _columns.setdefault(con, {})
    if name not in known and name not in [row[0] for row in fetch(con, "list_deferred")]:
        runs.check_name(con, name)
    function = transform
    if of != IMAGE:
        if of not in known:
            raise NotFoundError(f"no deferred column {of!r} is registered here{near_matches(of, known)}")
        earlier = known[of].function

        def function(image: Any) -> Any:
            return transform(earlier(image))

    column = DeferredColumn(
        name, of, function, _shape(name, function, shape), json.dumps(describe_transform(transform, probe=False))
    )
    sql_type = arrow.sql_type(arrow.array_type(pa.float32(), column.shape))
    functions.register(con, name, column, sql_type, ARROW)
    known[name] = column
    if not is_read_only(con):  # in a read-only file the column works for this connection only
        with transaction(con):
            execute(con, "delete_deferred", [name])
            execute(con, "insert_deferred", [name, of, sql_type, column.source])
    return name


def _shape(name: str, function: Callable[[Any], Any], shape: Sequence[int] | None) -> tuple[int, ...]:
    from PIL import Image

    if shape is not None:
        return tuple(shape)
    try:
        return tuple(torch.as_tensor(function(Image.new("RGB", (256, 256), (128, 128, 128)))).shape)
    except Exception as error:
        raise InferenceError(
            f"column {name}: the transform fails on a gray 256 x 256 image: {type(error).__name__}: {error}; "
            "give shape= when it needs real images"
        ) from error


def to_tensor(relation: duckdb.DuckDBPyRelation, column: str | None = None) -> Tensor:
    """Read an array column as one tensor.

        to_tensor(con.sql("select input(image) from image_files limit 3"))

    Args:
        relation: rows with an array column of numbers.
        column: its name; default: the only column of the relation.

    Returns:
        A tensor (n, *shape) of the column's type; n = 0 keeps the shape.

    Raises:
        NotFoundError: no such column, or several columns and no name given.
        SchemaError: the column is not a fixed-size array, or a row is NULL (its image cannot be read).
    """
    if column is None and len(relation.columns) == 1:
        column = relation.columns[0]
    if column not in relation.columns:
        raise NotFoundError(f"no column {column!r}; give one of {', '.join(relation.columns)}")
    array = relation.to_arrow_table()[column].combine_chunks()
    if array.null_count:
        row = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise SchemaError(f"row {row} of {column!r} is NULL: its image cannot be read; filter out such rows")
    shape = [len(array)]
    while pa.types.is_fixed_size_list(array.type):
        shape.append(array.type.list_size)
        array = array.flatten()
    if pa.types.is_list(array.type) or not (pa.types.is_floating(array.type) or pa.types.is_integer(array.type)):
        raise SchemaError(f"column {column!r} is not an array of fixed size; cast it, such as {column}::float[3]")
    # A copy, because Arrow's memory is read-only and torch has no read-only tensors.
    return torch.from_numpy(array.to_numpy(zero_copy_only=False).copy()).reshape(shape)


@dataclass(frozen=True, repr=False)
class Mapped(Done):
    """The result of `map_batches`."""


def map_batches(
    con: duckdb.DuckDBPyConnection,
    function: Callable[..., Any],
    run: str,
    inputs: str | Sequence[str] = "input",
    *,
    batch_size: int = 32,
    outputs: Mapping[str, str] | None = None,
    dataset: str | None = None,
    where: str | None = None,
    split: str | None = None,
    overwrite: bool = False,
    retry_errors: bool = False,
    strict: bool = False,
    show_progress: bool = True,
) -> Mapped:
    """Call a function on batches of images and store what it returns; after an interrupt, the same call resumes.

    Args:
        con: from `connect`, writable.
        function: takes one argument per input and returns an array (B, …) or a dict of them; called by one thread.
        run: name of the run: table `outputs.<run>`, view `<run>`, row in `runs`. With outputs `pred` (class indices
            of the data set), `confidence`, `probs` and `activation` it works with all metrics, like a run of `predict`.
        inputs: names of the arguments, in their order: deferred columns (float tensors (B, *shape), decoded and
            transformed in worker threads) and plain columns of `images` (arrays (B,)).
        batch_size: images per call.
        outputs: name and SQL type of each output, such as {"pred": "INTEGER", "probs": "FLOAT[10]"}; by default learned
            from one extra call on the first batch. A single array becomes the column `output`.
        dataset, where, split: which images, as in `predict`.
        overwrite, retry_errors, strict: as in `predict`.
        show_progress: draw a progress bar on a terminal.

    Returns:
        Counts and seconds.

    Raises:
        NotFoundError: an input is neither a registered deferred column nor a column of `images`.
        SchemaError: an output has the name of a column of the view, the run exists with other settings, or `pred` is no
            class, `probs` no probabilities, `confidence` not the probability of `pred`: that block is not stored.
        InferenceError: the function fails on the first batch, or outputs and errors do not add up to the images.
    """
    names = [inputs] if isinstance(inputs, str) else list(inputs)
    known = _columns.get(con, {})
    plain = [row[0] for row in fetch(con, "describe_images")]
    for name in names:
        if name not in known and name not in plain:
            raise NotFoundError(f"no input {name!r}{near_matches(name, [*known, *plain])}; defer() creates one")
    dataset, space = resolve_dataset(con, dataset)
    plain_inputs = [name for name in names if name not in known]
    deferred = {name: known[name] for name in names if name in known}
    n_selected = job.select(con, dataset, where, split)
    notes = job.pooled_splits(con)
    wanted = Run(
        run=run,
        dataset=dataset,
        model=getattr(function, "__qualname__", type(function).__name__),
        label_space=space,
        class_policy="identity",
        transform=_describe(function, list(deferred.values()), plain_inputs),
        batch_size=batch_size,
        packages=job.packages(),
        selection=job.condition(where, split),
    )
    spec = Spec(wanted)
    runs.check_spec(con, spec, overwrite=overwrite)
    with progress.track(f"mapping {run}", n_selected, enabled=show_progress) as advance:
        mapper = Mapper(function, names, deferred, batch_size, advance)
        try:
            _learn(con, mapper, outputs, plain_inputs)
            check = _gate(con, mapper, space, wanted.model)
            work = Work(spec, plain_inputs, overwrite=overwrite, retry_errors=retry_errors, strict=strict, check=check)
            done = job.perform(con, work, mapper)
        except SchemaError:
            _drop_if_empty(con, run)
            raise
        finally:
            mapper.close()
    talk.say(notes)
    return Mapped(**vars(done))


def _gate(con: duckdb.DuckDBPyConnection, mapper: Mapper, space: str | None, name: str) -> Callable[[], None]:
    """The check of each block: what is called pred, confidence and probs must be that."""
    types = {field.name: arrow.sql_type(field.type) for field in mapper.output_type}
    n_classes = len(read_classes(con, space)) if space is not None else None
    return lambda: gate.check_answers(con, types, n_classes, origin=name)


def _drop_if_empty(con: duckdb.DuckDBPyConnection, run: str) -> None:
    """A run that was refused at its first block leaves nothing, so that its name is free for the corrected function."""
    if run in runs.known(con) and fetch(con, "read_run_size", [run])[0][1:] == (0, 0):
        runs.drop_run(con, run)


def _describe(function: Callable[..., Any], columns: list[DeferredColumn], plain: list[str]) -> str:
    steps = {column.name: json.loads(column.source) for column in columns}
    described = {"function": describe_transform(function, probe=False), "deferred": steps, "plain": plain}
    return json.dumps(described, sort_keys=True)


def _learn(
    con: duckdb.DuckDBPyConnection,
    mapper: Mapper,
    outputs: Mapping[str, str] | None,
    plain: list[str],
) -> None:
    """Set names and types of the outputs: as given, or learned from the first batch of images."""
    if outputs is not None:
        # DuckDB parses the types, so that every spelling that it knows is accepted.
        row = con.sql(render("null_row", columns=list(outputs.items()))).to_arrow_table()
        mapper.expect({name: row.schema.field(name).type for name in outputs})
    else:
        pictures, given = job.first_images(con, mapper.batch_size, plain)
        if not len(pictures):
            raise NotFoundError("no image is selected, so the outputs are unknown; give outputs=, or another where=")
        mapper.learn(pictures, given)
    types = {field.name: field.type for field in mapper.output_type if field.name not in ("sha256", "error")}
    names = list(types)
    if "pred" in types and not (pa.types.is_integer(types["pred"]) or pa.types.is_floating(types["pred"])):
        raise SchemaError(
            f"output 'pred' is {arrow.sql_type(types['pred'])}, and pred is the index of a class; return integers, or "
            "choose another name"
        )
    wrong = [name for name in names if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in runs.VIEW_COLUMNS]
    if wrong:
        raise SchemaError(
            f"output {wrong[0]!r} is not an identifier, or a column of every run has that name; choose another name"
        )
