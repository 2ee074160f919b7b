"""Work in batches that Ctrl-C can interrupt and in which no item takes longer than a limit.

`Interruptible` is the base class of the engine and the mapper. `interruptible` connects Ctrl-C to one of them.
"""

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
Output = TypeVar("Output")


class Interruptible:
    """Base class of workers that process batches, can be stopped between batches, and limit the time per item.

    Attributes:
        refusal: why it refuses to go on; DuckDB reports what is raised inside it as an error of the query.
        is_parallel: whether several calls at once are of use; else calls come one after another, in order.
    """

    is_parallel = True

    def __init__(self) -> None:
        self.refusal: InferenceError | None = None
        self._stop = threading.Event()
        self._own = threading.local()  # each calling thread has its own helper thread

    @property
    def interrupted(self) -> bool:
        """Whether `interrupt` was called."""
        return self._stop.is_set()

    def interrupt(self) -> None:
        """Stop before the next batch; the call that waits for it raises."""
        self._stop.set()

    def each_in_time(
        self,
        function: Callable[[Item], Output],
        items: Sequence[Item],
        late: Callable[[Item], Output],
        seconds: int,
        start: Callable[[], None] = lambda: None,
    ) -> list[Output]:
        """Apply `function` to each item, and `late` to an item that takes longer than `seconds`.

        A helper thread of the calling thread processes the items. Python cannot stop a thread, so a helper that is
        stuck is abandoned together with its item, and a new helper continues with the next item.

        Args:
            function: called in the helper thread.
            items: what to process, in order.
            late: gives the output of an item that exceeds the limit.
            seconds: limit per item, counted while the process runs.
            start: called once in each new helper thread.

        Returns:
            One output per item, in order.

        Raises:
            InferenceError: `interrupt` was called.
            Exception: whatever `function` raises.
        """
        outputs: list[Output] = []
        while len(outputs) < len(items):
            part: list[Output] = []
            left, over, failed = items[len(outputs) :], threading.Event(), list[BaseException]()
            if not hasattr(self._own, "helper"):
                self._own.helper = Helper(start)
            self._own.helper.do(partial(_work, function, left, part, over, failed))
            n_in_time = self._wait(part, over, seconds)
            if failed:
                raise failed[0]
            outputs += part[:n_in_time]
            if n_in_time < len(left):
                del self._own.helper  # it is stuck; the next round makes a new one
                outputs.append(late(items[len(outputs)]))
        return outputs

    def _wait(self, part: Sequence[Any], over: threading.Event, seconds: int) -> int:
        """Wait until the work is over or no output arrived for `seconds`; gives the number of outputs."""
        seen, idle = 0, 0
        # Counts wake-ups, not elapsed time: a process that was suspended for hours loses one second of the limit.
        while not over.wait(1):
            if self.interrupted:
                over.set()
                raise InferenceError("interrupted")
            seen, idle = len(part), 0 if len(part) > seen else idle + 1
            if idle >= seconds:
                over.set()
                return seen
        return len(part)


class Helper:
    """A daemon thread that runs jobs one after another and ends when this object is deleted, unless it is stuck."""

    def __init__(self, start: Callable[[], None]) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=_serve, args=(start, self._jobs), daemon=True).start()
        # The thread holds the queue but not this object, so the object can be collected, and None ends the thread.
        weakref.finalize(self, self._jobs.put, None)

    def do(self, job: Callable[[], None]) -> None:
        """Run this job after those already in the queue."""
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
    """Append the output of each item until all are done or the caller no longer waits."""
    try:
        for item in items:
            output = function(item)
            if over.is_set():  # the caller has already counted this item as late
                return
            part.append(output)
    except BaseException as error:  # raised again in the thread that waits
        failed.append(error)
    over.set()


class Stoppable(Protocol):
    """What `interruptible` needs of a worker."""

    @property
    def interrupted(self) -> bool:
        """Whether `interrupt` was called."""

    def interrupt(self) -> None:
        """Stop before the next batch."""


@contextmanager
def interruptible(engine: Stoppable) -> Iterator[None]:
    """Inside the block, Ctrl-C stops the engine before its next batch; a second Ctrl-C raises KeyboardInterrupt."""
    # Python allows signal handlers in the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: object) -> None:
        # A second Ctrl-C ends also an engine that does not react.
        signal.signal(signal.SIGINT, earlier)
        engine.interrupt()

    earlier = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)
