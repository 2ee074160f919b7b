"""Keep devices busy from many callers at once: batches are full across calls, and decoding is ahead of the devices.

    calls ─ rows ─▶ slots of a batch ─ decoders ─▶ full batch ─ lanes, one a device ─▶ answers ─▶ calls

A batch is a run of slots of the decoders' memory, so that nothing is copied on the host. The rows of a call lie in
consecutive places of consecutive batches, so that its answers are slices of theirs. A batch that is not full goes to a
device only when there is nothing else to do.
"""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from ..errors import InferenceError
from .decoder_process import Row
from .decoders import Result
from .device import use_one_thread

TICK = 0.2  # seconds after which a thread that waits looks whether it must stop


class Source(Protocol):
    """What a feeder needs of `Decoders` and `DecodingThreads`."""

    slots: Any

    def put(self, tickets: Sequence[int], slots: Sequence[int], rows: Sequence[Row]) -> None:
        """Ask for the pixels of rows."""

    def get(self, timeout: float) -> list[Result]:
        """The results since the last call."""

    def close(self) -> None:
        """End it."""


@dataclass
class Batch:
    """Images that go through a device together.

    Attributes:
        index: of the run of slots that it has.
        pixels: (size, …), those slots.
        sha256: of the bytes of each image.
        errors: a value of `ERROR_TYPE` by place.
        rows: bytes and path of each image.
        said: what decoders wrote beside the pixels, by place.
    """

    index: int
    pixels: Any
    sha256: list[str | None] = field(default_factory=list)
    errors: dict[int, dict[str, str]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    said: dict[int, list[str]] = field(default_factory=dict)
    parts: list[tuple[_Call, int, int, int]] = field(default_factory=list)  # call, its n-th part, place, images
    n_waiting: int = 0

    @property
    def n(self) -> int:
        """How many of its places are taken."""
        return len(self.rows)

    @property
    def good(self) -> list[bool]:
        """For each image whether it has pixels."""
        return [place not in self.errors for place in range(self.n)]


# Answers of a batch: begins to compute them, and gives what waits for the rows, one an image.
Start = Callable[[Batch], Callable[[], pa.Array]]


@dataclass(frozen=True)
class Lane:
    """What computes batches in a thread of its own: `depth` of them may be begun before the first is waited for."""

    start: Start
    depth: int = 1


class _Call:
    """Rows that somebody waits for."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows, self.n_taken, self.n_left = rows, 0, len(rows)
        self.answers: list[pa.Array | None] = []
        self.done = threading.Event()


class Feeder:
    """Answers rows of images through decoders and lanes; `ask` may be called from any number of threads.

    Args:
        source: has `size` slots for each of at least two batches.
        size: images of a batch.
        lanes: what computes; each gets the next batch when it is free.
        must_stop: asked by what waits; then all calls raise.
        decoded: called with everything that was decoded.

    Raises:
        InferenceError: from `ask`, after `must_stop`; or what a lane or the decoders raised.
    """

    def __init__(
        self,
        source: Source,
        size: int,
        lanes: Sequence[Lane],
        must_stop: Callable[[], bool],
        decoded: Callable[[Sequence[Result]], None],
    ) -> None:
        self._source, self._size, self._must_stop, self._decoded = source, size, must_stop, decoded
        self._free = deque(range(len(source.slots) // size))
        self._waiting: deque[_Call] = deque()
        self._open: Batch | None = None  # has places left
        self._decoding: dict[int, Batch] = {}  # by index; all places are taken
        self._ready: deque[Batch] = deque()
        self._n_computing = 0
        self._failure: BaseException | None = None
        self._calls: set[_Call] = set()
        self._closed = False
        self._changed = threading.Condition(threading.RLock())
        self._threads = [threading.Thread(target=self._guard, args=(self._collect,), name="collect", daemon=True)]
        self._threads += [
            threading.Thread(target=self._guard, args=(self._compute, lane), name="lane", daemon=True) for lane in lanes
        ]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)  # a daemon thread in torch when Python ends ends the process badly

    def ask(self, rows: Sequence[Row]) -> list[pa.Array]:
        """Answers of rows (bytes, path) in order, in pieces."""
        call = _Call(rows)
        with self._changed:
            self._calls.add(call)
            if rows:
                self._waiting.append(call)
                self._move()
        while rows and not call.done.wait(TICK) and not self._over:
            if self._must_stop():
                self._fail(InferenceError("interrupted"))
        with self._changed:
            self._calls.discard(call)
            if call.n_left:
                raise self._failure or InferenceError("interrupted")
        return [piece for piece in call.answers if piece is not None]

    def close(self) -> None:
        """End threads and decoders; may be called again."""
        atexit.unregister(self.close)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads = []
        self._source.close()

    def _guard(self, work: Callable[..., None], *given: Any) -> None:
        try:
            work(*given)
        except BaseException as error:  # raised again by all calls
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = self._failure or error
            for call in self._calls:
                call.done.set()
            self._changed.notify_all()

    @property
    def _over(self) -> bool:
        return self._closed or self._failure is not None

    def _move(self) -> None:
        """Give places to rows that wait, and batches to lanes; call it with the lock whenever something has changed."""
        while self._waiting and (self._open is not None or self._free):
            self._take(self._waiting[0])
            if self._waiting[0].n_taken == len(self._waiting[0].rows):
                self._waiting.popleft()
        for batch in [batch for batch in self._decoding.values() if not batch.n_waiting]:
            self._ready.append(self._decoding.pop(batch.index))
        last = self._open
        is_idle = not (self._waiting or self._decoding or self._ready or self._n_computing)
        if last is not None and is_idle and not last.n_waiting:
            self._ready.append(last)
            self._open = None
        self._changed.notify_all()

    def _take(self, call: _Call) -> None:
        """Places in one batch for the next rows of a call."""
        if self._open is None:
            index = self._free.popleft()
            self._open = Batch(index, self._source.slots[index * self._size : (index + 1) * self._size])
        batch, start = self._open, self._open.n
        rows = call.rows[call.n_taken : call.n_taken + self._size - start]
        batch.parts.append((call, len(call.answers), start, len(rows)))
        call.answers.append(None)
        call.n_taken += len(rows)
        batch.rows += rows
        batch.sha256 += [None] * len(rows)
        batch.n_waiting += len(rows)
        if batch.n == self._size:
            self._decoding[batch.index] = batch
            self._open = None
        first = batch.index * self._size + start
        slots = range(first, first + len(rows))
        self._source.put(slots, slots, rows)

    @property
    def _last(self) -> Batch:
        """The batch that has places left; call it while images of it are decoded."""
        if self._open is None:
            raise InferenceError("a result for an image that nobody asked for")
        return self._open

    def _collect(self) -> None:
        while not self._over:
            results = self._source.get(TICK)
            if not results:
                continue
            with self._changed:
                for result in results:
                    index, place = divmod(result.slot, self._size)
                    batch = self._decoding.get(index) or self._last
                    batch.n_waiting -= 1
                    batch.sha256[place] = result.sha256
                    if result.error is not None:
                        batch.errors[place] = result.error
                    elif result.said:
                        batch.said[place] = result.said
                self._move()
            self._decoded(results)

    def _compute(self, lane: Lane) -> None:
        use_one_thread()
        begun: deque[tuple[Batch, Callable[[], pa.Array]]] = deque()
        while True:
            batch = self._next(wait=not begun)
            if self._over:
                return
            if batch is not None:
                begun.append((batch, lane.start(batch)))
            if begun and (batch is None or len(begun) >= lane.depth):
                self._finish(*begun.popleft())

    def _next(self, *, wait: bool) -> Batch | None:
        with self._changed:
            while wait and not self._ready and not self._over:
                self._changed.wait()
            if not self._ready or self._over:
                return None
            self._n_computing += 1
            return self._ready.popleft()

    def _finish(self, batch: Batch, rows: Callable[[], pa.Array]) -> None:
        answers = rows()
        with self._changed:
            self._n_computing -= 1
            self._free.append(batch.index)
            for call, part, start, n in batch.parts:
                call.answers[part] = answers.slice(start, n)
                call.n_left -= n
                if not call.n_left:
                    call.done.set()
            self._move()
