"""Answers about images as Arrow arrays: their SQL types, values in their rows, errors as values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from .text import describe_error as describe_error

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
ERROR_TYPE = pa.struct([("stage", pa.string()), ("error", pa.string()), ("message", pa.string())])
_SQL_NAMES = {
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
}


def sql_type(dtype: pa.DataType) -> str:
    """The DuckDB name of an Arrow type that answers use."""
    if pa.types.is_struct(dtype):
        return f"STRUCT({', '.join(f'{field.name} {sql_type(field.type)}' for field in dtype)})"
    if pa.types.is_fixed_size_list(dtype):
        return f"{sql_type(dtype.value_type)}[{dtype.list_size}]"
    if pa.types.is_list(dtype):
        return f"{sql_type(dtype.value_type)}[]"
    return _SQL_NAMES[dtype]


def array_type(dtype: pa.DataType, shape: Iterable[int | None]) -> pa.DataType:
    """The type of one array of this shape as nested lists: FLOAT[W][H][C] for shape (C, H, W), FLOAT[] for (None,)."""
    for size in reversed(tuple(shape)):
        dtype = pa.list_(dtype) if size is None else pa.list_(dtype, size)
    return dtype


def spread(values: np.ndarray, good: Sequence[bool]) -> pa.Array:
    """Values (n_good, …) placed in the rows where `good` (n,) is true; the other rows are NULL."""
    rows: pa.Array = pa.array(np.ascontiguousarray(values).reshape(-1))
    for size in reversed(values.shape[1:]):
        rows = pa.FixedSizeListArray.from_arrays(rows, size)
    if all(good):
        return rows
    indices = np.cumsum(good) - 1  # for each good row, its index in `values`
    return rows.take(pa.array(indices, pa.int64(), mask=~np.asarray(good, bool)))
