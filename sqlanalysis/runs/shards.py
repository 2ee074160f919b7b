"""Shards: the pending images of a run, cut into files that a worker without a database can compute.

A shard is a Parquet file in a scratch folder with the columns image_id, sha256, uri, bytes (NULL for an image by
reference) and path (absolute; NULL where bytes are stored). Its footer holds what the worker needs to know: the identity
of the run's work, the specification of the model, the class map, dtype, batch size and device. Its name is made of the
identity and of the ids, so that the same pending work has the same shards, whoever cuts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

    from .job import Work


@dataclass(frozen=True)
class Shard:
    """A file of images to compute.

    Attributes:
        path: of the shard.
        part: of the outputs that a worker makes of it.
        n: number of its images.
    """

    path: str
    part: str
    n: int


def cut(
    con: duckdb.DuckDBPyConnection, work: Work, specification: dict[str, object], scratch: str, *, size: int = 4096
) -> Iterator[Shard]:
    """Write the pending images of an open run as shards, one after the other, in the order of the run."""
    raise NotImplementedError


def halve(shard: Shard) -> tuple[Shard, Shard]:
    """Two shards with the first and the second half of the images of a shard of at least two."""
    raise NotImplementedError


def give_up(shard: Shard, reason: str) -> None:
    """Write a part in which every image of the shard has an error of stage `worker`."""
    raise NotImplementedError
