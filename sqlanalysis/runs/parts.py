"""Parts: Parquet files of outputs, and their commit to a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def commit(con: duckdb.DuckDBPyConnection, run: str, parts: Iterable[str]) -> dict[str, str]:
    """Commit parts to a run, one transaction each; a part that was committed before is passed over.

    Returns:
        The parts that do not belong to the run, or are damaged, with the reason; they are left where they are.
    """
    raise NotImplementedError
