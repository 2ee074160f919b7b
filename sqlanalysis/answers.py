"""Answers about images as Arrow arrays: values at their places, errors as data, and a way to stop."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

ERROR_TYPE = pa.struct([("stage", pa.string()), ("error", pa.string()), ("message", pa.string())])


class Interruptible:
    """Something that works in batches and can be told to stop before the next one."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    @property
    def interrupted(self) -> bool:
        """Whether `interrupt` was called."""
        return self._stop.is_set()

    def interrupt(self) -> None:
        """Stop before the next batch; the call that waits for it raises."""
        self._stop.set()


def describe_error(stage: str, error: Exception) -> dict[str, str]:
    """What went wrong with one image, as a value of `ERROR_TYPE`."""
    return {"stage": stage, "error": type(error).__name__, "message": str(error).strip()[:500] or type(error).__name__}


def array_type(kind: pa.DataType, shape: Iterable[int]) -> pa.DataType:
    """Nested fixed-size lists: FLOAT[W][H][C] for shape (C, H, W)."""
    for size in reversed(tuple(shape)):
        kind = pa.list_(kind, size)
    return kind


def spread(values: np.ndarray, good: Sequence[bool]) -> pa.Array:
    """Rows of an array at the places marked good, NULL elsewhere."""
    rows: pa.Array = pa.array(np.ascontiguousarray(values).reshape(-1))
    for size in reversed(values.shape[1:]):
        rows = pa.FixedSizeListArray.from_arrays(rows, size)
    positions = np.cumsum(good) - 1
    return rows.take(pa.array(positions, pa.int64(), mask=~np.asarray(good, bool)))
