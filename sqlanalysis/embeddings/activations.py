"""Read the activations of a run, for neighbors, projection and clusters."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import duckdb
import numpy as np

from ..db.statements import fetch
from ..db.templates import render
from ..errors import SchemaError
from ..runs import run as runs
from ..runs.run import Run


@dataclass(frozen=True)
class Points:
    """Activations of a run: `ids` (n,), ascending, and `vectors` (n, m). `n_left_out` images have been left out."""

    ids: np.ndarray
    vectors: np.ndarray
    n_left_out: int = 0

    def finite(self) -> Points:
        """The points without NaN and infinity."""
        return self._only(np.isfinite(self.vectors).all(axis=1))

    def directed(self) -> Points:
        """The points that have a direction: finite and not zero."""
        return self._only(np.isfinite(self.vectors).all(axis=1) & self.vectors.any(axis=1))

    def _only(self, kept: np.ndarray) -> Points:
        return Points(self.ids[kept], self.vectors[kept], self.n_left_out + int((~kept).sum()))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all image ids and activations, as hexadecimal digits."""
        digest = hashlib.sha256(np.ascontiguousarray(self.ids).data)
        digest.update(np.ascontiguousarray(self.vectors).data)
        return digest.hexdigest()


def check_activations(con: duckdb.DuckDBPyConnection, run: Run) -> None:
    """Refuse a run without activations.

    Raises:
        SchemaError: it has none.
    """
    columns = {row[0] for row in fetch(con, "list_columns", ["main", run.run])}
    if "activation" not in columns:
        hint = (
            "predict again with a layer (load_model(…, layer='layer4'), --layer layer4), or with embedding=True "
            "(--embedding), under another run name"
        )
        raise SchemaError(f"run {run.run!r} of model {run.model} has no activations; {hint}")


def read_points(con: duckdb.DuckDBPyConnection, run: str) -> Points:
    """The activations of a run.

    Raises:
        NotFoundError: no such run.
        SchemaError: the run has no activations.
    """
    check_activations(con, runs.require(con, run))
    table = con.sql(render("read_activations", run=run)).to_arrow_table()
    given = table.filter(table["activation"].is_valid())
    if not given.num_rows:
        raise SchemaError(f"run {run!r} has no image with an activation yet; see `from errors where run = '{run}'`")
    vectors = given["activation"].combine_chunks().flatten().to_numpy().reshape(given.num_rows, -1)
    return Points(given["image_id"].to_numpy(), vectors, table.num_rows - given.num_rows)
