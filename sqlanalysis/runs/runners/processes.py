"""Processes of this machine: each computes one shard after the other, and is replaced when it dies or hangs.

The workers are interpreters of their own, no forks: they need no guard in the caller's script, hold none of its memory
and cannot open its file. They get paths over their standard input, a line a shard, and answer with a line. When the
driver ends, however it does, its end of the pipe closes and they end too.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, cast

from ...core.cores import SHARE, count_cores
from ...core.text import one_line
from ...errors import SQLAnalysisError
from ..shards import Shard
from . import Outcome

# A worker hangs when a shard takes so many seconds, and besides so many times the slowest image before. While none was
# finished, so many an image: the model may have to be downloaded, and a core may be slow.
GRACE, SLOWER, FIRST = 300.0, 20.0, 10.0


class Processes:
    """A runner with processes, which live until `close`.

    Args:
        workers: how many.
        grace: seconds that a worker may be silent beyond what its images can take.
    """

    def __init__(self, workers: int, *, grace: float = GRACE) -> None:
        self.n, self._grace = workers, grace
        self._slowest = 0.0  # seconds an image
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []

    def run(self, shards: Iterator[Shard]) -> Iterator[Outcome]:
        """Give each worker a shard, and the next when it has answered."""
        ended: list[Outcome] = []
        ahead = next(shards, None)
        while True:
            while len(self._busy) < self.n and ahead is not None:
                worker = self._idle.pop() if self._idle else _Worker(max(1, count_cores() // self.n))
                worker.give(ahead)
                self._busy.append(worker)
                ahead = next(shards, None) if len(self._busy) < self.n else None
            # Committing, and writing the next shard, take time in which no worker waits.
            yield from ended
            if not self._busy:
                return
            ahead = ahead or next(shards, None)
            ended = self._wait()

    def _wait(self) -> list[Outcome]:
        """Outcomes of the workers that have answered, died or hung; waits until there is one."""
        with selectors.DefaultSelector() as selector:
            for worker in self._busy:
                selector.register(worker.answers, selectors.EVENT_READ, worker)
            ended: list[Outcome] = []
            while not ended:
                ready = {key.data for key, _ in selector.select(1)}
                for worker in [*self._busy]:
                    is_late = worker.is_silent(self._grace, self._slowest)
                    if worker in ready:
                        ended.append(self._read(worker))
                    elif is_late:
                        ended.append(self._lose(worker, f"it said nothing for {worker.silent:.0f} seconds"))
            return ended

    def _read(self, worker: _Worker) -> Outcome:
        line = worker.answers.readline()
        if not line.endswith("\n"):
            return self._lose(worker)
        shard, failed = worker.shard, json.loads(line)
        if failed is not None:  # what is left in a process after an error may be broken
            self._lose(worker)
            return Outcome(shard, failed=failed)
        if worker.is_warm:  # the first shard waits for the model
            self._slowest = max(self._slowest, worker.silent / shard.n)
        worker.is_warm = True
        self._busy.remove(worker)
        self._idle.append(worker)
        return Outcome(shard, part=shard.part)

    def _lose(self, worker: _Worker, reason: str | None = None) -> Outcome:
        self._busy.remove(worker)
        ending = worker.end(kill=reason is not None)
        return Outcome(worker.shard, lost=f"the process that computed it was lost: {reason or ending}")

    def close(self) -> None:
        """End the processes, in the middle of their work."""
        while self._busy or self._idle:
            (self._busy or self._idle).pop().end(kill=True)


class _Worker:
    """A process, and the shard that it computes."""

    def __init__(self, cores: int) -> None:
        start = f"import sys; sys.path[:] = {[os.path.abspath(path) for path in sys.path]!r}; "
        self._process = subprocess.Popen(  # noqa: S603 - this package, nothing of the caller's
            [sys.executable, "-c", f"{start}from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", SHARE: str(cores)},
        )
        self._orders, self.answers = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        self.silent = 0.0  # seconds since it was given the shard
        self.is_warm = False

    def give(self, shard: Shard) -> None:
        """Send it a shard; whether it lives shows when it answers."""
        self.shard, self.silent, self._seen = shard, 0.0, time.monotonic()
        with suppress(BrokenPipeError):
            self._orders.write(json.dumps([shard.path, shard.part]) + "\n")
            self._orders.flush()

    def is_silent(self, grace: float, slowest: float) -> bool:
        """Whether it has been silent for too long; to be asked again and again."""
        now = time.monotonic()
        # A driver that was suspended, or has committed for long, did not listen: that is not the worker's silence.
        self.silent += min(now - self._seen, 2.0)
        self._seen = now
        return self.silent > grace + self.shard.n * (SLOWER * slowest or FIRST)

    def end(self, *, kill: bool) -> str:
        """Wait until the process has ended; gives how."""
        if kill:
            self._process.kill()
        code = self._process.wait()
        for stream in (self._orders, self.answers):
            with suppress(BrokenPipeError):  # a line that it did not read
                stream.close()
        if code >= 0:
            return f"it exited with code {code}"
        memory = ", as when memory runs out" if -code == signal.SIGKILL else ""
        return f"signal {-code} ended it ({signal.strsignal(-code)}{memory})"


def serve() -> None:
    """Be a worker: compute the shards named on standard input, and say of each how it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver ends this process
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: also where a hanging thread holds Python's lock
    # Nobody else reads orders or writes answers: for code of the user, input is empty and output goes to stderr.
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    waiting: SimpleQueue[tuple[str, str]] = SimpleQueue()
    threading.Thread(target=_listen, args=(orders, waiting), daemon=True).start()
    from ..work import work

    while True:
        try:
            work(*waiting.get(), trusted=True)
            failed = None
        except Exception as error:  # whatever a model raises
            failed = one_line(error if isinstance(error, SQLAnalysisError) else f"{type(error).__name__}: {error}")
        answers.write(json.dumps(failed) + "\n")
        answers.flush()
        if failed is not None:
            os._exit(1)


def _listen(orders: IO[str], waiting: SimpleQueue[tuple[str, str]]) -> None:
    for line in orders:
        waiting.put(tuple(json.loads(line)))
    os._exit(0)  # nobody waits for the answer
