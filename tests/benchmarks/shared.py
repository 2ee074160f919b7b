"""What the benchmarks share: a clock, photos on disk, tables made from arrays. Importing it finds the package `tests`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[2]))
Result = TypeVar("Result")
SUFFIXES = {".jpg", ".jpeg", ".png"}


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds by the clock, and the result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def find_photos(folder: Path, n: int) -> list[Path]:
    """The first n photos in and below a folder, by name."""
    photos = (path for path in folder.resolve().rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(photos)[:n]


def lists(values: np.ndarray) -> pa.Array:
    """Rows of a matrix as FLOAT[n]."""
    rows = np.ascontiguousarray(values, np.float32)
    return pa.FixedSizeListArray.from_arrays(rows.ravel(), rows.shape[1])


def store(con: duckdb.DuckDBPyConnection, name: str, columns: dict[str, Any]) -> None:
    """A table of these columns, in place of an older one."""
    con.register("made", pa.table(columns))
    con.execute(f"create or replace table {name} as from made").fetchall()
    con.unregister("made")
