"""Turn a shard into a part: `work`, which needs no database."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..models.model import Model


def work(shard: str, part: str, *, model: Model | None = None) -> None:
    """Compute the images of a shard and write their outputs as a part; see `shards` for both files."""
    raise NotImplementedError
