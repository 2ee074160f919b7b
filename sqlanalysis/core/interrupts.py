"""TODO docstring."""

from __future__ import annotations

import signal
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from ..errors import InferenceError

Item = TypeVar("Item")


Found = TypeVar("Found")


class Interruptible:
    """Something that works in batches and can be told to stop before the next one."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._own = threading.local()

    @property
    def interrupted(self) -> bool:
        """Whether `interrupt` was called."""
        return self._stop.is_set()

    def interrupt(self) -> None:
        """Stop before the next batch; the call that waits for it raises."""
        self._stop.set()

    def each_in_time(
        self,
        function: Callable[[Item], Found],
        items: Sequence[Item],
        late: Callable[[Item], Found],
        seconds: int,
        start: Callable[[], None] = lambda: None,
    ) -> list[Found]:
        """`function` of each item, or `late` of one that takes more than so many seconds.

        A thread beside the calling one works on the items; it calls `start` when it is made. Python cannot stop a
        thread, so one that is stuck is left behind, with the item it is stuck on, and another goes on with the next.

        Raises:
            InferenceError: interrupted meanwhile.
        """
        found: list[Found] = []
        while len(found) < len(items):
            part: list[Found] = []
            left, over, failed = items[len(found) :], threading.Event(), list[BaseException]()
            if not hasattr(self._own, "helper"):
                self._own.helper = Helper(start)
            self._own.helper.do(partial(_work, function, left, part, over, failed))
            n_in_time = self._wait(part, over, seconds)
            if failed:
                raise failed[0]
            found += part[:n_in_time]
            if n_in_time < len(left):
                del self._own.helper  # stuck
                found.append(late(items[len(found)]))
        return found

    def _wait(self, part: Sequence[Any], over: threading.Event, seconds: int) -> int:
        """Wait until the work is over, or nothing came for `seconds` in which the process ran; how much came."""
        seen, idle = 0, 0
        while not over.wait(1):  # a process that was stopped for hours misses one second, not its time limit
            if self.interrupted:
                over.set()
                raise InferenceError("interrupted")
            seen, idle = len(part), 0 if len(part) > seen else idle + 1
            if idle >= seconds:
                over.set()
                return seen
        return len(part)


class Helper:
    """A thread beside the one that makes it, which ends with it, unless it is stuck."""

    def __init__(self, start: Callable[[], None]) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=_serve, args=(start, self._jobs), daemon=True).start()
        weakref.finalize(self, self._jobs.put, None)

    def do(self, job: Callable[[], None]) -> None:
        """Do this next."""
        self._jobs.put(job)


def _serve(start: Callable[[], None], jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    start()
    while job := jobs.get():
        job()


def _work(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    part: list[Any],
    over: threading.Event,
    failed: list[BaseException],
) -> None:
    """Append what becomes of each item until all are done or nobody waits any more."""
    try:
        for item in items:
            answer = function(item)
            if over.is_set():
                return
            part.append(answer)
    except BaseException as error:  # told to the thread that waits
        failed.append(error)
    over.set()


class Stoppable(Protocol):
    """Something that works in batches and can be told to stop."""

    @property
    def interrupted(self) -> bool:
        """Whether `interrupt` was called."""

    def interrupt(self) -> None:
        """Stop before the next batch."""


@contextmanager
def interruptible(engine: Stoppable) -> Iterator[None]:
    """Ctrl-C stops the engine at its next batch; a second one falls through to Python."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, earlier)
        engine.interrupt()

    earlier = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)
