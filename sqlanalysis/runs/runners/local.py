"""This process: one shard after the other, with the model that is loaded already."""

from __future__ import annotations

from collections.abc import Iterator

from ...models.model import Model
from ..shards import Shard
from ..work import work
from . import Outcome


class Local:
    """A runner that is no other process; what `work` raises is raised here.

    Args:
        model: what to run, so that a model that only this process has runs too.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    def run(self, shards: Iterator[Shard]) -> Iterator[Outcome]:
        """Compute each shard before the next is taken."""
        for shard in shards:
            work(shard.path, shard.part, model=self._model)
            yield Outcome(shard, part=shard.part)

    def close(self) -> None:
        """Nothing to end."""
