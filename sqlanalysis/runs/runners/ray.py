"""Actors of a Ray cluster: Ray Data's `map_batches` over a pool of them, one row a shard. Nothing else knows Ray.

Ray restarts an actor that died and gives its shard up: what happened to it does not come back, and `drive` decides.
The scratch folder must be one that the driver and every actor reach under the same name.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from ...core.cores import SHARE
from ...core.text import one_line
from ...errors import ArgumentError, MissingExtraError, SQLAnalysisError
from ..shards import Shard
from . import Outcome

WINDOW = 64  # shards an actor in one data set: Ray takes a list, and every shard of it must have been written


class Ray:
    """A runner with actors.

    A cluster that the process is connected to is used, else that of RAY_ADDRESS or one that runs on this machine, else
    one is started here, which `close` ends.

    Args:
        workers: how many actors, of one CPU each; None is as many as the cluster has CPUs, or GPUs if they need one.
        gpus: of each actor.

    Raises:
        MissingExtraError: Ray is not installed.
        ArgumentError: the cluster has fewer CPUs or GPUs than the actors need.
    """

    def __init__(self, workers: int | None, *, gpus: int = 0) -> None:
        if find_spec("ray") is None:
            raise MissingExtraError('runner "ray" needs ray: pip install sqlanalysis[ray]')
        import ray

        self._gpus = gpus
        self._is_own = not ray.is_initialized()
        if self._is_own:
            ray.init(logging_level=logging.ERROR, log_to_driver=False)
        there = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self.n = workers or max(1, int(there.get("GPU" if gpus else "CPU", 0)))
        for name, wanted in (("CPU", self.n), ("GPU", self.n * gpus)):
            if there.get(name, 0) < wanted:  # Ray would wait for them, for ever
                self.close()
                raise ArgumentError(f"workers={self.n} need {wanted} {name}s, and Ray has {there.get(name, 0):.0f}")

    def run(self, shards: Iterator[Shard]) -> Iterator[Outcome]:
        """Give the actors shards, a window at a time."""
        while window := list(itertools.islice(shards, WINDOW * self.n)):
            yield from self._compute(window)

    def _compute(self, window: list[Shard]) -> Iterator[Outcome]:
        import ray.data

        rows = [{"number": number, "shard": shard.path, "part": shard.part} for number, shard in enumerate(window)]
        answers = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Actor,
            batch_size=1,
            # One shard at a time: those that wait in an actor are lost with it, and none of them is to blame.
            compute=ray.data.ActorPoolStrategy(size=min(self.n, len(window)), max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            num_gpus=self._gpus,
            max_restarts=-1,
            max_task_retries=0,
        )
        answers.context.max_errored_blocks = -1
        answers.context.enable_progress_bars = False
        with _quiet():
            for row in answers.iter_rows():
                shard, failed = window[int(row["number"])], row["failed"] or None
                yield Outcome(shard, part=None if failed else shard.part, failed=failed)

    def close(self) -> None:
        """End the connection that was made here, and with it a cluster that was started for it."""
        import ray

        if self._is_own:
            ray.shutdown()


class _Actor:
    """One process: computes a shard a call, and keeps its engine."""

    def __init__(self) -> None:
        os.environ[SHARE] = "1"  # Ray has given it one CPU

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        from ..work import work

        try:
            work(str(batch["shard"][0]), str(batch["part"][0]), trusted=True)
            failed = ""
        except Exception as error:  # whatever a model raises
            failed = one_line(error if isinstance(error, SQLAnalysisError) else f"{type(error).__name__}: {error}")
        return {"number": [int(batch["number"][0])], "failed": [failed]}


class _quiet:  # noqa: N801 - reads as a verb in a with statement
    """Inside the block, Ray Data logs no traceback of an actor that died: `drive` says what became of its shard."""

    def __enter__(self) -> None:
        self._logger = logging.getLogger("ray.data")
        self._level = self._logger.level
        self._logger.setLevel(logging.CRITICAL)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)
