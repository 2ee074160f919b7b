"""Runners: have shards computed elsewhere than in this process, and commit what comes back.

A `Runner` is given shards and says what became of them, in any order. It may answer a shard twice or not at all, and
its workers may die: `drive` tries again, narrows down to the image that ends every worker, and counts each image once.
Nothing is trusted that a worker did not write whole: what is committed is the part, checked against run and shard.

    processes    N processes of this machine
    ray          actors of a Ray cluster

Without one, runner "local", this process computes: `job.perform`, or shard by shard `shards.compute_here`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ...errors import InferenceError
from .. import exchange, parts
from ..shards import Shard, give_up, halve

if TYPE_CHECKING:
    import duckdb

RETRIES = 3  # of a shard whose worker was lost, before it is halved
SUSPICIOUS = 8  # workers lost before any finished: then one shard is tried at a time


@dataclass(frozen=True)
class Outcome:
    """What became of a shard.

    Attributes:
        shard: as it was given.
        part: the file that the worker wrote; None where there is none.
        lost: why the worker was lost: killed, crashed, or hanging. The shard is a suspect.
        failed: why `work` raised in a worker that lives: it cannot load the model, or the disk is full. No image is to
            blame.
    """

    shard: Shard
    part: str | None = None
    lost: str | None = None
    failed: str | None = None


class Runner(Protocol):
    """What executes shards, with `n` workers."""

    n: int

    def run(self, shards: Iterator[Shard]) -> Iterator[Outcome]:
        """Compute shards, taking the next one when there is a worker for it; outcomes in any order.

        A shard may come back twice, or never. `shards` belongs to the thread that iterates over the outcomes.
        """

    def close(self) -> None:
        """End the workers."""


@dataclass
class _Task:
    """A shard without a part; it may lose so many more workers before it is halved, and fail in so many more."""

    shard: Shard
    losses: int = RETRIES
    failures: int = RETRIES
    refused: str | None = None  # why the part that was there does not belong to the run


def drive(
    con: duckdb.DuckDBPyConnection,
    run: str,
    shards: Iterable[Shard],
    runner: Runner,
    *,
    record_errors: bool = True,
    advance: Callable[[int], None] = lambda _n: None,
) -> int:
    """Have a runner compute shards, and commit each part as soon as it is there.

    A part that is there already is taken, so that the work of an earlier driver is not lost. A shard whose worker was
    lost is tried again three times, then halved, until an image that ends every worker is alone: an error of stage
    `worker`.

    Args:
        con: from `connect`, writable.
        run: an open run.
        shards: of this run, taken one by one.
        runner: what computes them.
        record_errors: as of `parts.commit`.
        advance: called with the number of images that were committed.

    Returns:
        Number of images of the shards: each has an output or an error now.

    Raises:
        InferenceError: `work` raised for a shard in each try, no worker finishes anything, a part is refused in each
            try, or without `record_errors` an image failed.
        KeyboardInterrupt: Ctrl-C; what was committed stays.
    """
    return _Drive(con, run, iter(shards), runner, record_errors, advance).finish()


class _Drive:
    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        run: str,
        shards: Iterator[Shard],
        runner: Runner,
        record_errors: bool,
        advance: Callable[[int], None],
    ) -> None:
        self._con, self._run, self._shards, self._runner = con, run, shards, runner
        self._record_errors, self._advance = record_errors, advance
        self._again: list[_Task] = []
        self._out: dict[str, _Task] = {}  # by part: given to the runner, and nothing has come back
        self._n_done = self._n_finished = self._n_lost = 0
        self._has_more = True

    def finish(self) -> int:
        """Rounds until every shard has a part: the first takes nearly all, the next what was lost at the end of it."""
        while self._has_more or self._again:
            n_given = self._n_done + len(self._again)
            for outcome in self._runner.run(self._feed()):
                self._take(outcome)
            dropped, self._out = list(self._out.values()), {}
            for task in dropped:
                if not self._adopt(task):
                    self._lose(task, "the runner gave nothing back")
            if self._has_more and not dropped and n_given == self._n_done + len(self._again):
                raise InferenceError(f"run {self._run!r}: the runner takes no shard; run it again")
        return self._n_done

    def _feed(self) -> Iterator[Shard]:
        while (task := self._next()) is not None:
            if not self._adopt(task):
                self._out[task.shard.part] = task
                yield task.shard

    def _next(self) -> _Task | None:
        # The last first: where no worker gets anywhere, one shard is followed down to one image, not all of them.
        if self._again:
            return self._again.pop()
        if self._n_lost >= SUSPICIOUS and not self._n_finished:
            return None
        shard = next(self._shards, None)
        self._has_more = shard is not None
        return None if shard is None else _Task(shard)

    def _take(self, outcome: Outcome) -> None:
        task = self._out.pop(outcome.shard.part, None)
        if task is None:  # repeated, or given up
            return
        if self._adopt(task):  # also where a worker was lost just after it had finished
            self._n_finished += outcome.part is not None
        elif outcome.failed is not None or task.refused is not None:
            self._fail(task, outcome.failed or f"it wrote a part that is refused: {task.refused}")
        else:
            self._lose(task, outcome.lost or "it wrote no part")

    def _adopt(self, task: _Task) -> bool:
        """Commit the part of a shard, if there is one that belongs to it; delete one that does not."""
        part, task.refused = task.shard.part, None
        if not exchange.exists(part):
            return False
        task.refused = parts.commit(self._con, self._run, [part], record_errors=self._record_errors).get(part)
        if task.refused is not None:
            exchange.remove(part)  # truncated, or of other images: it stands in the way of the one that is to come
            return False
        exchange.remove(task.shard.path)
        self._n_done += task.shard.n
        self._advance(task.shard.n)
        return True

    def _fail(self, task: _Task, reason: str) -> None:
        if not task.failures:
            raise InferenceError(
                f"run {self._run!r}: a worker cannot compute {task.shard.path}: {reason}; what was committed stays, "
                "repair the cause and run it again"
            )
        task.failures -= 1
        self._again.append(task)

    def _lose(self, task: _Task, reason: str) -> None:
        self._n_lost += 1
        shard = task.shard
        if task.losses:
            task.losses -= 1
            self._again.append(task)
        elif shard.n > 1:
            # One try for what is halved again, all for an image: a worker may be lost for reasons of its own.
            self._again += [_Task(half, RETRIES if half.n == 1 else 0) for half in reversed(halve(shard))]
        elif not self._n_finished:
            raise InferenceError(
                f"run {self._run!r}: no worker has finished anything, {self._n_lost} were lost: {reason}; "
                "what was committed stays, repair the cause and run it again"
            )
        else:
            give_up(shard, reason)
            if not self._adopt(task):
                raise InferenceError(f"run {self._run!r}: {task.refused}")
