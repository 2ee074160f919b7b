"""`add_column`: a user's own column in a run, beside the outputs; needs no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..core.arrow import spread
from ..core.results import Result
from ..core.talk import say
from ..core.text import one_line
from ..data.sources.table import is_table, read_table, table_files
from ..db.catalogue import recreate_run_views
from ..db.statements import execute, fetch, registered, transaction
from ..errors import ArgumentError, NotFoundError, SchemaError, near_matches
from . import run as runs

# What a run has predicted cannot be exchanged afterwards.
_OUTPUTS = ("pred", "confidence", "probs", "raw_pred", "raw_confidence", "inside")
_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?$"


@dataclass(frozen=True, repr=False)
class AddedColumn(Result):
    """What `add_column` did: `n_filled` of the `n_images` of the run have a value of the SQL type `type`."""

    run: str
    name: str
    type: str
    n_images: int
    n_filled: int


def add_column(
    con: duckdb.DuckDBPyConnection, run: str, name: str, values: Any, *, overwrite: bool = False
) -> AddedColumn:
    """Add a column of one's own to a run: its view `<run>` shows it, and every metric and slice can use it.

        add_column(con, "resnet18", "umap_0", embedding[:, 0])      # in the order of image_id
        add_column(con, "resnet18", "hard", {17: True, 23: False})  # by image_id

    Args:
        con: from `connect`, writable.
        run: a run that is not derived from others.
        name: of the column, an identifier that no column of the run has.
        values: numbers, text, booleans or arrays of one size: as a mapping from image_id; as a table, frame, relation
            or file with the columns image_id and `name` (or one other column); or as a sequence, array or tensor with
            one value for each image of the run in the order of image_id.
        overwrite: replace a column of that name that was added or that a function returned.

    Returns:
        The SQL type, and how many images have a value; the others are NULL, and a note says so. Writes `outputs.<run>`.

    Raises:
        ArgumentError: the name is not an identifier, or values of no usable type.
        NotFoundError: no such run or file.
        SchemaError: the name is taken, an image is not in the run or comes twice, the number of values differs, their
            order could be meant otherwise, or the run is derived.
    """
    present = _check(con, run, name, overwrite)
    table = _read(con, run, name, values)
    with transaction(con), registered(con, "given_values", table):
        wrong = fetch(con, "read_wrong_value", run=run)
        if wrong:
            raise SchemaError(f"{name}: image_id {wrong[0][0]} {wrong[0][1]}; give one value for an image of {run!r}")
        dtype = str(con.table("given_values").types[1])
        if name in present:
            execute(con, "drop_column", run=run, name=name)
        execute(con, "create_column", run=run, name=name, type=dtype)
        n_filled = execute(con, "fill_column", run=run, name=name).fetchall()[0][0]
        recreate_run_views(con, [run])
    n_images: int = fetch(con, "read_run_size", [run])[0][1]
    if n_filled < n_images:
        say([f"{name}: {n_images - n_filled:,} of {n_images:,} images of {run!r} have no value, and are NULL there"])
    return AddedColumn(run, name, dtype, n_images, n_filled)


def _check(con: duckdb.DuckDBPyConnection, run: str, name: str, overwrite: bool) -> list[str]:
    """Refuse a name or run that cannot have the column; gives the columns that the run has."""
    spec = runs.require(con, run)
    members = spec.members
    if spec.storage == "parts":
        raise SchemaError(
            f"the outputs of run {run!r} are parts, which never change; bring them into the file first: "
            f"localize(con, {run!r}) (sqlanalysis localize DB {run})"
        )
    if members is not None:
        source = json.loads(members)[0]["run"]
        raise SchemaError(f"run {run!r} is derived, so it stores no columns; add {name!r} to {source!r}")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name) or len(name) > runs.MAX_NAME:
        raise ArgumentError(f"column name {name!r} is not an identifier; use lower-case letters, digits and _")
    if name in runs.VIEW_COLUMNS or name in _OUTPUTS:
        raise SchemaError(f"{name!r} is a column that every run has, or what it predicts; give another name")
    present = [row[0] for row in fetch(con, "list_output_types", [run])]
    if name in present and not overwrite:
        raise SchemaError(f"run {run!r} has a column {name!r}; give another name, or overwrite=True (--overwrite)")
    return present


def _read(con: duckdb.DuckDBPyConnection, run: str, name: str, values: Any) -> pa.Table:
    """image_id and value as a table."""
    if isinstance(values, str | Path):
        files = table_files(values)
        if not files:
            raise NotFoundError(
                f"no table {values}; give a CSV, Parquet or JSON file with the columns image_id and {name}"
            )
        return _of_table(read_table(files).rows, name, str(values))
    if hasattr(values, "to_frame") and hasattr(values, "index") and hasattr(values.index, "name"):  # pandas
        index = values.index
        if index.name == "image_id":
            values = dict(zip(index.tolist(), values.tolist(), strict=True))
        elif index.tolist() != list(range(len(index))):
            raise SchemaError(
                f"{name}: the rows of this Series are in an order of their own; give it the index image_id: "
                'frame.set_index("image_id")["…"]'
            )
    if isinstance(values, Mapping):
        ids = _ids(pa.array(list(values)), name)
        return pa.table({"image_id": ids, "value": _values(list(values.values()), name)})
    if is_table(values) and not hasattr(values, "to_frame") and not isinstance(values, pa.ChunkedArray):
        return _of_table(read_table(values).rows, name, type(values).__name__)
    found = _values(values, name)
    ids, are_in_order = _order(con, run)
    if len(found) != len(ids):
        raise SchemaError(
            f"{name}: {len(found):,} values for the {len(ids):,} images of {run!r}; give one for each, in the order of "
            "image_id, or a mapping from image_id"
        )
    if not are_in_order:
        raise SchemaError(
            f"{name}: the rows of {run!r} are stored in another order than that of image_id, so {len(ids):,} values "
            'could be in either; say which image each belongs to: dict(zip(rows["image_id"], values))'
        )
    return pa.table({"image_id": pa.array(ids, pa.int64()), "value": found})


def _order(con: duckdb.DuckDBPyConnection, run: str) -> tuple[list[int], bool]:
    """Ids of the images of a run in order, and whether this is also the order of its rows."""
    ids = [row[0] for row in fetch(con, "list_run_ids", run=run)]
    return sorted(ids), ids == sorted(ids)


def _of_table(rows: pa.Table, name: str, origin: str) -> pa.Table:
    names = rows.column_names
    if "image_id" not in names:
        raise SchemaError(f"{origin} has no column image_id{near_matches('image_id', names)}")
    others = [one for one in names if one != "image_id"]
    column = name if name in others else others[0] if len(others) == 1 else None
    if column is None:
        raise SchemaError(f"{origin} has no column {name}{near_matches(name, others)}")
    return pa.table({"image_id": _ids(rows["image_id"], origin), "value": _typed(rows[column])})


def _ids(column: pa.Array | pa.ChunkedArray, origin: str) -> pa.Array | pa.ChunkedArray:
    try:
        return column.cast(pa.int64())
    except pa.ArrowException as error:
        raise SchemaError(f"{origin}: image_id holds what is no whole number: {one_line(error, 100)}") from None


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text of a file in which every value is a number as numbers; 007 stays text."""
    if not pa.types.is_string(column.type):
        return column
    texts = pc.if_else(pc.equal(column, ""), None, column)
    for dtype, form in ((pa.int64(), _INTEGER), (pa.float64(), _NUMBER)):
        if pc.all(pc.match_substring_regex(texts, form)).as_py():
            return texts.cast(dtype)
    return column


def _values(values: Any, name: str) -> pa.Array:
    """Values as one Arrow array; rows of an array are arrays of a fixed size."""
    if hasattr(values, "detach"):  # a tensor of torch
        values = values.detach().cpu().numpy()
    if isinstance(values, pa.ChunkedArray | pa.Array):
        return values
    try:
        if not isinstance(values, np.ndarray):
            found = pa.array(list(values))  # refuses a mixture, where numpy would make text of numbers
            if not pa.types.is_list(found.type):
                return found
        array = np.asarray(values)
        if array.ndim > 1:
            return spread(array.astype(np.float32) if array.dtype == np.float16 else array, [True] * len(array))
        return pa.array(array)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ArgumentError(
            f"{name}: values are numbers, text, booleans or arrays of one size: {one_line(error, 150)}"
        ) from None
