"""Deferred columns and user functions over batches of images: `defer`, `to_tensor`, `map_batches`."""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, SupportsIndex

import duckdb
import numpy as np
import pyarrow as pa
import torch
from duckdb.func import ARROW
from torch import Tensor

from ..core import arrow, progress, talk
from ..core.text import one_line
from ..data.label_spaces import resolve_dataset
from ..db import functions
from ..db.alone import alone
from ..db.statements import execute, fetch, is_read_only, transaction
from ..db.templates import render
from ..errors import ArgumentError, ImageError, InferenceError, NotFoundError, SchemaError, near_matches
from ..models import stages
from ..models.mapper import ColumnFunction, Mapper, Shape, as_tensor, type_of
from ..models.transforms import called, describe_function
from . import answers, gate, job, policies
from . import run as runs
from .answers import Choice, ClassNames
from .job import Done, Work
from .run import Run, Spec

IMAGE = "image"
# Functions live with their connection: weak keys, so that this dict does not keep closed connections alive.
_columns: weakref.WeakKeyDictionary[duckdb.DuckDBPyConnection, dict[str, ColumnFunction]] = weakref.WeakKeyDictionary()
# A shape is the same for these sizes, or varies by image.
_GRAY_SIZES = ((320, 256), (256, 320), (256, 256))
MAX_TRIED = 64  # images that a function fails on before it counts as wrong


class DeferredColumn:
    """A column that is computed when it is read; made by `defer`.

        input = defer(con, "input", transform)
        input[0], input[:3], len(input)

    Items are in the order of image_id, over all images of the file; a negative index counts from the end.
    `input[0]` is a tensor of `shape`. A slice, a list of indices or a mask gives the stack (n, *shape). Each access
    reads the images again and keeps nothing. Where a verb or SQL takes the column's name, it takes the column.

    Attributes:
        name: SQL name of the function.
        shape: shape of one value; None where it varies by image.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, function: ColumnFunction) -> None:
        self._con, self._function = con, function

    @property
    def name(self) -> str:
        """SQL name of the function."""
        return self._function.name

    @property
    def shape(self) -> Shape:
        """Shape of one value; None where it varies by image."""
        return self._function.shape

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<deferred column {self.name} of {self._function.of}: {_shape_text(self.shape)} for each image>"

    def __len__(self) -> int:
        n: int = fetch(self._con, "count_all_images")[0][0]
        return n

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, key: SupportsIndex | slice | Sequence[int] | np.ndarray) -> Tensor:
        ids = np.array([row[0] for row in fetch(self._con, "list_image_ids")], np.int64)
        try:
            chosen = ids[key]
        except IndexError as error:
            raise ArgumentError(f"{self.name}[{key}]: there are {len(ids)} images; {one_line(error)}") from None
        if isinstance(chosen, np.ndarray):
            return self._stack([self._value(int(image_id)) for image_id in chosen])
        return self._value(int(chosen))

    def _value(self, image_id: int) -> Tensor:
        uri, image = fetch(self._con, "read_image", [image_id])[0]
        item = stages.load(image, self._function.of_picture, dict.fromkeys(stages.STAGES, 0.0))
        if item.error is not None:
            raise ImageError("image {}, {}: {stage}: {error}: {message}".format(image_id, uri, **item.error))
        value: Tensor = item.inputs
        return value

    def _stack(self, values: list[Tensor]) -> Tensor:
        if not values:
            return torch.empty((0, *(size or 0 for size in self.shape)))
        shapes = list(dict.fromkeys(tuple(value.shape) for value in values))
        if len(shapes) > 1:
            raise SchemaError(
                f"values of {self.name} have the shapes {shapes[0]} and {shapes[1]} and cannot be stacked; take them "
                f"one by one, [{self.name}[index] for index in …], or let the transform resize"
            )
        return torch.stack(values)


def _shape_text(shape: Shape) -> str:
    sizes = ", ".join("varies" if size is None else str(size) for size in shape)
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"


def _find(con: duckdb.DuckDBPyConnection, column: str | DeferredColumn) -> str:
    """The name of a column that is given by name or as what `defer` returned.

    Raises:
        ArgumentError: a column of another connection, or one that was defined again since.
    """
    if isinstance(column, str):
        return column
    if not isinstance(column, DeferredColumn):
        raise ArgumentError(f"a column is a name, or what defer returned, not {type(column).__name__}")
    if _columns.get(con, {}).get(column.name) is not column._function:
        raise ArgumentError(
            f"the column {column.name!r} was defined again since, or on another connection; give what the last defer "
            "returned"
        )
    return column.name


def defer(
    con: duckdb.DuckDBPyConnection,
    name: str,
    transform: Callable[[Any], Any],
    *,
    of: str | DeferredColumn = IMAGE,
    shape: Sequence[int | None] | None = None,
) -> DeferredColumn:
    """Create a deferred column: computed only for the images that are asked for.

        input = defer(con, "input", transform)
        input[0]                                                            # a tensor (3, 224, 224)
        con.sql("select label, input(image) as input from image_files limit 3")

    Nothing is decoded now. The SQL function `name(image)` computes only the images that WHERE and LIMIT keep. The
    definition is stored in the file; in another process, a query on the column raises an error that names the transform
    to register.

    Args:
        con: from `connect`; the function exists as long as this connection.
        name: SQL name, an identifier; a deferred column of that name is replaced.
        transform: maps an RGB PIL image (or the value of `of`) to a tensor or array of numbers.
        of: "image", or another deferred column that this one is computed from.
        shape: shape of one value, None for an axis that varies by image; by default measured with gray images,
            of the size of the images where all have one.

    Returns:
        The column. In SQL, values are FLOAT[…] arrays of this shape, FLOAT[] lists along axes that vary, and NULL where
        an image cannot be read or transformed.

    Raises:
        ArgumentError: the name is not an identifier.
        SchemaError: the name is taken.
        NotFoundError: no deferred column `of` is registered on this connection.
        InferenceError: the transform fails on a gray image.
    """
    known = _columns.setdefault(con, {})
    if name not in known and name not in [row[0] for row in fetch(con, "list_deferred")]:
        runs.check_name(con, name)
    function, source_name = transform, _find(con, of)
    if source_name != IMAGE:
        if source_name not in known:
            raise NotFoundError(
                f"no deferred column {source_name!r} is registered here{near_matches(source_name, known)}"
            )
        earlier = known[source_name].function

        def function(image: Any) -> Any:
            return transform(earlier(image))

    source = json.dumps(describe_function(transform))
    column = ColumnFunction(name, source_name, function, tuple(shape or _measure(con, name, function)), source)
    sql_type = arrow.sql_type(column.type)
    functions.register(con, name, column, sql_type, ARROW)
    known[name] = column
    if not is_read_only(con):  # in a read-only file the column works for this connection only
        with transaction(con):
            execute(con, "delete_deferred", [name])
            execute(con, "insert_deferred", [name, source_name, sql_type, column.source])
    return DeferredColumn(con, column)


def _measure(con: duckdb.DuckDBPyConnection, name: str, function: Callable[[Any], Any]) -> Shape:
    """The shape of a column for gray images; None for an axis that differs between them."""
    from PIL import Image

    found: list[tuple[int, ...]] = []
    sizes = fetch(con, "list_picture_sizes")
    for size in sizes if len(sizes) == 1 else _GRAY_SIZES:
        try:
            found.append(tuple(as_tensor(function(Image.new("RGB", size, (128, 128, 128)))).shape))
        except BaseException as error:
            if stages.is_interrupt(error):
                raise
            raise InferenceError(
                f"column {name}: the transform fails on a gray {size[0]} x {size[1]} image: "
                f"{type(error).__name__}: {one_line(error)}; give shape= when it needs real images"
            ) from error
    if len({len(one) for one in found}) > 1:
        raise InferenceError(
            f"column {name}: the transform gives arrays of different rank, such as {found[0]} and {found[-1]}; give "
            "the same number of axes for every image"
        )
    return tuple(sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*found, strict=True))


def to_tensor(relation: duckdb.DuckDBPyRelation, column: str | DeferredColumn | None = None) -> Tensor:
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
    column = None if column is None else str(column)
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
    """The result of `map_batches`; `class_policy` is None for a function that predicts nothing."""

    class_policy: str | None


def map_batches(
    con: duckdb.DuckDBPyConnection,
    function: Callable[..., Any],
    run: str,
    inputs: str | DeferredColumn | Sequence[str | DeferredColumn] = "input",
    *,
    batch_size: int = 32,
    types: Mapping[str, str] | None = None,
    outputs: str = "auto",
    classes: ClassNames | None = None,
    policy: str = "auto",
    class_map: str | Path | None = None,
    dataset: str | None = None,
    where: str | None = None,
    split: str | None = None,
    version: str | None = None,
    overwrite: bool = False,
    retry_errors: bool = False,
    strict: bool = False,
    show_progress: bool = True,
) -> Mapped:
    """Call a function on batches of images and store what it returns; after an interrupt, the same call resumes.

        map_batches(con, lambda batch: {"logits": net(batch)}, "by_hand", input)

    A function that returns `probs`, `logits` or `pred` makes a run like one of `predict`, for every metric and verb.

    Args:
        con: from `connect`, writable.
        function: takes one argument per input and returns an array (B, …) or a dict of them; called by one thread.
            `probs` or `logits` (B, n) has one value per class; `pred` (B,) are class indices from 0, -1 outside, by
            default the class of the largest probability; `confidence` (B,) is by default the probability of `pred`;
            `activation` (B, m) is what `project`, `cluster` and `find_neighbors` use. Others are columns of the run.
        run: name of the run: table `outputs.<run>`, view `<run>`, row in `runs`.
        inputs: the arguments, in their order: deferred columns (float tensors (B, *shape), decoded and transformed in
            worker threads) and names of columns of `images` (arrays (B,)).
        batch_size: images per call.
        types: name and SQL type of each output, such as {"pred": "INTEGER", "probs": "FLOAT[10]"}; by default learned
            from one extra call on the first batch. A single array becomes the column `output`.
        outputs: what the values in `probs` (or a single array) are: `probs`, `logits`, `log_probs`, `percent` or
            `sigmoid`; auto: probabilities, and logits in an output of that name. They are stored as probabilities.
        classes: names of the function's classes, as in `load_model`; default: those of the data set, if as many.
        policy, class_map: how these become classes of the data set, as in `predict`.
        dataset, where, split: which images, as in `predict`.
        version: your name for the function and all that it uses. Needed to resume a run only where its content cannot
            be identified, such as a session of a compiled library; another version is another run.
        overwrite, retry_errors, strict: as in `predict`.
        show_progress: draw a progress bar on a terminal.

    Returns:
        Counts, seconds and the class policy. An image whose values are not what they are called is an error.

    Raises:
        ArgumentError: an unknown value of an option.
        NotFoundError: no image is selected, or an input is not a deferred column and not a column of `images`.
        SchemaError: an output has the name of a column of the view, the first batch is not what it is called, classes
            cannot be mapped, a column of varying shape is to be stacked, or the run exists with other settings.
        InferenceError: the function has no answer for any image, or outputs and errors do not add up to the images.
    """
    gate.check_choice(outputs)
    policies.check_policy(policy)
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ArgumentError(f"batch_size must be 1 or more, not {batch_size!r}")
    choice = Choice(classes, outputs, policy, class_map)
    names, deferred = _inputs(con, inputs, batch_size)
    with alone(con, "map_batches", where) as con:
        plain = [name for name in names if name not in deferred]
        dataset, space = resolve_dataset(con, dataset)
        n_selected = job.select(con, dataset, where, split)
        notes = job.pooled_splits(con)
        described = _describe(function, list(deferred.values()), plain, vouched=version is not None)
        wanted = Run(
            run=run,
            dataset=dataset,
            model=getattr(function, "__qualname__", type(function).__name__),
            label_space=space,
            transform=json.dumps(described, sort_keys=True),
            version=version,
            batch_size=batch_size,
            packages=job.packages(),
            selection=job.condition(where, split),
        )
        if run not in runs.known(con):
            runs.check_name(con, run)  # before the function is tried
        with progress.track(f"mapping {run}", n_selected, enabled=show_progress) as advance:
            mapper = Mapper(function, names, deferred, batch_size, advance)
            try:
                meaning, spec = _learn(con, mapper, types, plain, choice, wanted, n_selected)
                spec = replace(spec, call=f"map_batches(con, {wanted.model}, {run!r}, inputs={names!r}")
                runs.check_spec(con, spec, overwrite=overwrite)
                work = Work(spec, plain, overwrite=overwrite, retry_errors=retry_errors, strict=strict)
                done = job.perform(con, work, mapper)
            finally:
                mapper.close()
                called(function, described["function"])
    talk.say([*(meaning.notes if meaning else ()), *notes])
    return Mapped(**vars(done), class_policy=spec.run.class_policy if meaning else None)


def _inputs(
    con: duckdb.DuckDBPyConnection, inputs: str | DeferredColumn | Sequence[str | DeferredColumn], batch_size: int
) -> tuple[list[str], dict[str, ColumnFunction]]:
    """Names of the inputs, and the deferred columns among them.

    Raises:
        NotFoundError: an input is neither a registered deferred column nor a column of `images`.
        SchemaError: values of different shapes would have to be stacked.
    """
    listed: Sequence[Any] = inputs if isinstance(inputs, list | tuple) else [inputs]
    names = [_find(con, one) for one in listed]
    known = _columns.get(con, {})
    plain = [row[0] for row in fetch(con, "describe_images")]
    for name in names:
        if name not in known and name not in plain:
            raise NotFoundError(f"no input {name!r}{near_matches(name, [*known, *plain])}; defer() creates one")
    deferred = {name: known[name] for name in names if name in known}
    for name, column in deferred.items():
        if None in column.shape and batch_size > 1:
            raise SchemaError(
                f"the shape of column {name!r} varies by image, {_shape_text(column.shape)}, so {batch_size} values "
                "cannot be stacked to a batch; give batch_size=1, or let the transform resize"
            )
    return names, deferred


def _describe(
    function: Callable[..., Any], columns: list[ColumnFunction], plain: list[str], *, vouched: bool
) -> dict[str, Any]:
    steps = {column.name: json.loads(column.source) for column in columns}
    if vouched:
        steps = {name: {key: value for key, value in step.items() if key != "object"} for name, step in steps.items()}
    return {"function": describe_function(function, vouched=vouched), "deferred": steps, "plain": plain}


def _learn(
    con: duckdb.DuckDBPyConnection,
    mapper: Mapper,
    types: Mapping[str, str] | None,
    plain: list[str],
    choice: Choice,
    wanted: Run,
    n_selected: int,
) -> tuple[answers.Meaning | None, Spec]:
    """Set names, types and meaning of the outputs: as given, or learned from the first batch that has an answer."""
    first = None
    if types is not None:
        # DuckDB parses the types, so that every spelling that it knows is accepted.
        row = con.sql(render("null_row", columns=list(types.items()))).to_arrow_table()
        found = {name: row.schema.field(name).type for name in types}
    else:
        first = _first_answers(con, mapper, plain, n_selected)
        found = {name: type_of(name, values) for name, values in first.items()}
    wrong = [name for name in found if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in runs.VIEW_COLUMNS]
    if wrong:
        raise SchemaError(
            f"output {wrong[0]!r} is not an identifier, or a column of every run has that name; choose another name"
        )
    origin = f"function {wanted.model.rpartition('.')[2]}"
    meaning, spec = answers.read_meaning(con, found, choice, wanted, origin)
    if meaning is None:
        mapper.expect(found)
        return None, spec
    if first is not None:
        answers.check_first(con, meaning, first)
    mapper.expect(found, meaning, meaning.stored)
    return meaning, spec


def _first_answers(
    con: duckdb.DuckDBPyConnection, mapper: Mapper, plain: list[str], n_selected: int
) -> dict[str, np.ndarray]:
    """The outputs for the first batch, or a later one where no image of the first can be answered.

    Raises:
        InferenceError: no image has an answer; the message has the first cause.
    """
    errors: list[dict[str, str]] = []
    n_called = 0
    for start in range(0, n_selected, mapper.batch_size):
        trial = mapper.try_out(*job.first_images(con, mapper.batch_size, plain, start))
        if trial.outputs is not None:
            return trial.outputs
        errors += trial.errors
        n_called += trial.n_called
        if n_called >= MAX_TRIED:
            break
    # An error of the function says more than a file that cannot be read.
    worst = next((error for error in errors if error["stage"] == "forward"), errors[0])
    raise InferenceError(
        f"none of the first {len(errors):,} images has an answer, so the outputs are unknown; the first cause: "
        "{stage}: {error}: {message}".format(**worst)
    )
