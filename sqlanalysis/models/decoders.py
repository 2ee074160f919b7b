"""Images to pixels beside the caller: in processes that write into shared memory, or in threads.

Both take rows of (bytes, path) with the slot where the pixels belong, and answer in any order. A row is answered once:
with pixels in its slot, or with an error that is about this row alone.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from selectors import EVENT_READ, DefaultSelector
from typing import Any, NamedTuple

import torch

from ..core import decode
from ..core.interrupts import Interruptible
from ..core.text import describe_error
from ..errors import ArgumentError, ImageError, InferenceError
from . import stages
from .decoder_process import BOXES, FINISHED, STARTED, Orders, current_settings, map_memory, memory_size
from .device import use_one_thread

CHUNK = 8  # images that travel together
CHUNK_BYTES = 8 * 2**20  # of stored images, after which a chunk is full
KEPT_BYTES = 4 * CHUNK_BYTES  # that a box may hold between chunks
BLAMELESS = 3  # deaths in a row that no image explains, after which the run ends
TICK = 1.0  # seconds
GRACE = 5.0  # seconds for a killed process to be gone
# The parent's path comes first, so that a process finds the same packages; -P keeps the current folder out until then.
_START = """
import sys
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[1]))
sys.path[:] = connection.recv()
from sqlanalysis.models.decoder_process import serve
serve(connection)
"""
_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
Row = tuple[bytes | None, str | None]
_Job = tuple[int, int, Row]  # ticket, slot, row


class Result(NamedTuple):
    """What became of a row.

    Attributes:
        ticket: as it was given.
        slot: as it was given; without an error its pixels are there.
        sha256: hash of the bytes that were read; None if they were not.
        error: a value of `ERROR_TYPE`, or None.
        said: what the decoder wrote beside the pixels.
        seconds: for read, decode and transform.
    """

    ticket: int
    slot: int
    sha256: str | None
    error: dict[str, str] | None
    said: list[str]
    seconds: tuple[float, float, float]


class Decoders:
    """Processes that read, hash, decode and transform images, and write uint8 pixels into shared memory.

    A process that takes longer than `max_seconds` for an image is killed, and one that dies is replaced; the image it
    worked on becomes an error, and the others that it had are given to other processes. All processes end with this
    one, however it ends. `put` and `get` may be called from two threads, each from one at a time.

    A process has the settings of Pillow and the limits of this package that hold here when it starts; what else a
    caller sets up in Python, such as a file system of fsspec, does not exist there.

    Args:
        load: maps an RGB PIL image to a uint8 array of `shape`; can be pickled, and imported without `__main__`.
        shape: (C, H, W).
        n_slots: images that the memory has place for.
        n_processes: 1 or more.
        max_seconds: for an image, from bytes to pixels; counted while this process waits in `get`.

    Attributes:
        slots: uint8 (n_slots, *shape), shared with the processes; stays valid after `close`.

    Raises:
        ArgumentError: a number below 1, or `load` cannot be pickled.
    """

    def __init__(
        self,
        load: Callable[[Any], Any],
        shape: Sequence[int],
        n_slots: int,
        n_processes: int,
        *,
        max_seconds: int = decode.MAX_SECONDS,
    ) -> None:
        if min(n_slots, n_processes, *shape) < 1:
            raise ArgumentError(f"shape {tuple(shape)}, {n_slots} slots and {n_processes} processes: each at least 1")
        try:
            self._load = pickle.dumps(load)
        except Exception as error:
            raise ArgumentError(f"a transform for processes can be pickled, and this cannot: {error}") from error
        self._layout = tuple(shape), n_slots, n_processes
        self._max_ticks = max_seconds / TICK
        self._memory = _anonymous_file()
        os.ftruncate(self._memory, memory_size(*self._layout))
        self._counters, self.slots = map_memory(self._memory, *self._layout)
        self._lock = threading.RLock()
        self._todo: deque[_Job] = deque()
        self._results: list[Result] = []
        self._n_blameless, self._broken = 0, ""
        self._next_tick = time.monotonic() + TICK
        self._selector = DefaultSelector()
        self._processes: dict[int, _Process] = {}
        self._end = weakref.finalize(self, _end, self._processes, self._selector, self._memory)
        try:
            for index in range(n_processes):
                self._start(index)
        except BaseException:
            self.close()
            raise

    def put(self, tickets: Sequence[int], slots: Sequence[int], rows: Sequence[Row]) -> None:
        """Ask for the pixels of rows; does not wait.

        Args:
            tickets: what to call the rows in the answers.
            slots: where their pixels go; each belongs to the processes until its result is there.
            rows: bytes, or None and a path or address.
        """
        with self._lock:
            self._todo.extend(zip(tickets, slots, rows, strict=True))
            self._dispatch()

    def get(self, timeout: float) -> list[Result]:
        """The results since the last call, in any order; waits until there is one, or `timeout` seconds.

        Raises:
            InferenceError: no process can be started, or they die without an image that could be the cause.
        """
        until = time.monotonic() + timeout
        while True:
            now = time.monotonic()
            # Before the time is over, too: a caller that never waits must get its results.
            events = self._selector.select(max(0.0, min(until, self._next_tick) - now) if not self._results else 0)
            with self._lock:
                for key, _ in events:
                    self._receive(key.data)
                # Counts wake-ups, not elapsed time: a process that was suspended loses one second of the limit.
                if time.monotonic() >= self._next_tick:
                    self._tick()
                    self._next_tick = time.monotonic() + TICK
                self._dispatch()
                results, self._results = self._results, []
            if not results and self._broken:
                raise InferenceError(self._broken)
            if results or time.monotonic() >= until:
                return results

    def close(self) -> None:
        """End the processes and give their memory back, once `slots` is no longer used; may be called again."""
        self._end()

    def _start(self, index: int) -> None:
        self._counters[index] = 0
        process = _Process(self._load, self._layout, self._memory, index, self._counters[index])
        self._processes[index] = process
        self._selector.register(process.connection, EVENT_READ, process)

    def _dispatch(self) -> None:
        """Give chunks: spread what there is over processes that wait, and whole chunks to those that work."""
        for depth in range(BOXES):
            for process in self._processes.values():
                n = min(CHUNK, max(1, len(self._todo) // len(self._processes))) if depth == 0 else CHUNK
                if len(self._todo) < n or not self._todo:
                    break
                if process.is_ready and len(process.chunks) == depth:
                    process.give(self._take(n))

    def _take(self, most: int) -> list[_Job]:
        chunk: list[_Job] = []
        n_bytes = 0
        while self._todo and len(chunk) < most and n_bytes < CHUNK_BYTES:
            chunk.append(self._todo.popleft())
            n_bytes += len(chunk[-1][2][0] or b"")
        return chunk

    def _receive(self, process: _Process) -> None:
        try:
            message = process.connection.recv()
        except (EOFError, OSError):
            self._bury(process, late=False)
            return
        if isinstance(message, list):
            self._n_blameless = 0
            self._results += process.answer(message)
        elif message is None:
            process.is_ready = True
        else:
            self._broken = f"a process that decodes cannot start: {message}"

    def _tick(self) -> None:
        """Kill what has not begun another image for too long; starting counts as an image."""
        for process in list(self._processes.values()):
            process.tick()
            if process.n_idle >= self._max_ticks and process.is_ready:
                self._bury(process, late=True)
            elif process.n_idle >= max(self._max_ticks, decode.MAX_SECONDS):
                self._broken = f"a process that decodes does not start within {process.n_idle * TICK:.0f} s"

    def _bury(self, process: _Process, *, late: bool) -> None:
        """Replace a process that hangs or died: an error for the image it worked on, and the others go to others."""
        self._selector.unregister(process.connection)
        del self._processes[process.index]
        reason = process.kill(late=late)
        for answers in process.rest():
            self._results += process.answer(answers)
        jobs, blamed = process.unanswered()
        if blamed is not None:
            ticket, slot, _ = jobs.pop(blamed)
            error = stages.too_slow().error if late else describe_error("decode", ImageError(reason))
            self._results.append(Result(ticket, slot, None, error, [], (0.0, 0.0, 0.0)))
        self._todo.extendleft(reversed(jobs))
        self._n_blameless = 0 if blamed is not None else self._n_blameless + 1
        process.close()
        if self._broken:
            return
        if not process.is_ready or self._n_blameless >= BLAMELESS:
            self._broken = f"processes that decode end while no image is in work: {reason}"
            return
        try:
            self._start(process.index)
        except OSError as error:
            self._broken = f"a process that decodes cannot start: {error}"


class _Process:
    """A process that decodes, as its parent sees it.

    Attributes:
        is_ready: whether it has started.
        chunks: number of unanswered images of each chunk that it holds, oldest first.
        n_idle: ticks since it last began or finished an image.
    """

    def __init__(
        self, load: bytes, layout: tuple[tuple[int, ...], int, int], memory: int, index: int, counters: Any
    ) -> None:
        self.index, self._counters = index, counters
        self.is_ready, self.n_idle = False, 0
        self.chunks: deque[int] = deque()
        self._jobs: deque[_Job] = deque()
        self._n_given = self._n_answered = 0
        self._seen = (0, 0)
        with contextlib.ExitStack() as stack:
            here, there = socket.socketpair()
            self.connection = Connection(here.detach())
            stack.callback(there.close)
            lifeline, self._lifeline = os.pipe()
            stack.callback(os.close, lifeline)
            self._boxes = tuple(_anonymous_file() for _ in range(BOXES))
            self._sizes = [0] * BOXES
            self._popen = subprocess.Popen(
                # Ctrl-C is for the parent, so the process is in a group of its own.
                [sys.executable, "-P", "-c", _START, str(there.fileno())],
                pass_fds=(there.fileno(), lifeline, memory, *self._boxes),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **_ONE_THREAD},
                process_group=0,
            )
            orders = Orders(load, *layout, index, memory, self._boxes, lifeline, current_settings())
        with contextlib.suppress(OSError):  # it died, which the next `get` sees
            self.connection.send(sys.path)
            self.connection.send(orders)

    def give(self, chunk: list[_Job]) -> None:
        """Hand over a chunk. The images go through a file in memory, because a pipe to a process that hangs is full."""
        head = pickle.dumps([(slot, path, None if data is None else len(data)) for _, slot, (data, path) in chunk])
        index = self._n_given % BOXES
        if self._sizes[index] > KEPT_BYTES:
            os.ftruncate(self._boxes[index], 0)
        size = _write(self._boxes[index], head, 0)
        for _, _, (data, _) in chunk:
            size += _write(self._boxes[index], data, size) if data else 0
        self._sizes[index] = size
        if not self.chunks:
            self.n_idle = 0
        self._n_given += 1
        self.chunks.append(len(chunk))
        self._jobs.extend(chunk)
        with contextlib.suppress(OSError):  # it died, which the next `get` sees
            self.connection.send_bytes(len(head).to_bytes(8, "little"))

    def answer(self, answers: list[Any]) -> list[Result]:
        """Results of the next images in order."""
        self._n_answered += len(answers)
        self.chunks[0] -= len(answers)
        if not self.chunks[0]:
            self.chunks.popleft()
        take = self._jobs.popleft
        return [Result(*take()[:2], *answer) for answer in answers]

    def tick(self) -> None:
        """Count a second in which it neither began nor finished an image that it was given."""
        seen = (int(self._counters[STARTED]), int(self._counters[FINISHED]))
        works = bool(self.chunks) or not self.is_ready
        self.n_idle = self.n_idle + 1 if works and seen == self._seen else 0
        self._seen = seen

    def unanswered(self) -> tuple[list[_Job], int | None]:
        """Of a process that is gone: the images it had not answered, and the index of the one it worked on."""
        started, finished = (int(n) for n in self._counters)
        return list(self._jobs), started - 1 - self._n_answered if started > finished else None

    def kill(self, *, late: bool) -> str:
        """Kill it and wait, so that it writes no more; gives how it ended in words."""
        if not late:  # it closed its connection, so it is about to end by itself
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(GRACE)
        self._popen.kill()
        # One that waits inside the system, such as for a network disk, may be there later, but never runs again.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(GRACE)
        code = self._popen.poll()
        if code is not None and code < 0:
            memory = "; the system does that when memory runs out" if -code == signal.SIGKILL else ""
            return f"the process that decoded it was ended by {signal.Signals(-code).name}{memory}"
        return f"the process that decoded it ended with exit code {code}"

    def rest(self) -> list[list[Any]]:
        """What a process that is gone had still reported."""
        messages = []
        with contextlib.suppress(EOFError, OSError):
            while self.connection.poll():
                messages.append(self.connection.recv())
        return [message for message in messages if isinstance(message, list)]

    def close(self) -> None:
        """Kill it, if it is not yet gone, and close all that belongs to it."""
        self._popen.kill()
        self.connection.close()
        for file in (self._lifeline, *self._boxes):
            os.close(file)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(GRACE)


def _end(processes: dict[int, _Process], selector: DefaultSelector, memory: int) -> None:
    selector.close()
    for process in processes.values():
        process.close()
    processes.clear()
    os.close(memory)


def _anonymous_file() -> int:
    """A file without a name, so that nothing is left behind: in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("sqlanalysis", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(file: int, data: bytes, offset: int) -> int:
    """Write all of it; one call of the system takes at most 2 GB. Gives the number of bytes."""
    left = memoryview(data)
    while left:
        n = os.pwrite(file, left, offset)
        left, offset = left[n:], offset + n
    return len(data)


class DecodingThreads(Interruptible):
    """Threads of this process in place of `Decoders`, for transforms that cannot be pickled or that compute floats.

    A thread that hangs cannot be ended: it is left behind with its image, and what it gives later goes nowhere.

    Args:
        load: maps an RGB PIL image to a tensor or array (C, H, W).
        slots: tensor or array (n_slots, C, H, W) of any dtype that the values can be cast to without a change of kind.
        n_threads: 1 or more.
        max_seconds: for an image, counted while this process runs.

    Attributes:
        slots: as given.
    """

    def __init__(
        self, load: Callable[[Any], Any], slots: Any, n_threads: int, *, max_seconds: int = decode.MAX_SECONDS
    ) -> None:
        super().__init__()
        if n_threads < 1:
            raise ArgumentError(f"{n_threads} threads: at least 1")
        self.slots, self._load, self._max_seconds = slots, load, max_seconds
        self._places = torch.as_tensor(slots)  # shares the memory
        self._todo: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._results: SimpleQueue[list[Result] | BaseException] = SimpleQueue()
        self._threads = [threading.Thread(target=self._serve, name="decode", daemon=True) for _ in range(n_threads)]
        for thread in self._threads:
            thread.start()

    def put(self, tickets: Sequence[int], slots: Sequence[int], rows: Sequence[Row]) -> None:
        """As `Decoders.put`."""
        jobs = list(zip(tickets, slots, rows, strict=True))
        n = min(CHUNK, max(1, len(jobs) // len(self._threads)))
        for start in range(0, len(jobs), n):
            self._todo.put(jobs[start : start + n])

    def get(self, timeout: float) -> list[Result]:
        """As `Decoders.get`.

        Raises:
            Exception: what a thread raised that was not about an image.
        """
        results: list[Result] = []
        with contextlib.suppress(Empty):
            found = self._results.get(timeout=timeout)
            while True:
                if isinstance(found, BaseException):
                    raise found
                results += found
                found = self._results.get_nowait()
        return results

    def close(self) -> None:
        """End the threads; may be called again."""
        self.interrupt()
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _serve(self) -> None:
        use_one_thread()
        while (jobs := self._todo.get()) and not self.interrupted:
            try:
                answers = self.each_in_time(
                    self._answer, jobs, lambda _job: (stages.too_slow(), [0.0] * 3), self._max_seconds, use_one_thread
                )
                self._results.put([self._place(*job[:2], *answer) for job, answer in zip(jobs, answers, strict=True)])
            except BaseException as error:  # raised again by `get`
                if not self.interrupted:
                    self._results.put(error)

    def _answer(self, job: _Job) -> tuple[stages.Item, list[float]]:
        data, path = job[2]
        seconds = dict.fromkeys(stages.STAGES[:3], 0.0)
        return stages.load({"bytes": data, "path": path}, self._checked, seconds), list(seconds.values())

    def _checked(self, picture: Any) -> torch.Tensor:
        pixels = torch.as_tensor(self._load(picture))
        stages.check_shape(pixels.shape, self._places.shape[1:])
        if not torch.can_cast(pixels.dtype, self._places.dtype):
            raise ImageError(f"the transform gives {pixels.dtype}, expected {self._places.dtype}")
        return pixels

    def _place(self, ticket: int, slot: int, item: stages.Item, seconds: list[float]) -> Result:
        # Here and not in `_answer`: a thread that was left behind must not write into a slot that others have.
        if item.error is None:
            self._places[slot] = item.inputs
        return Result(ticket, slot, item.sha256, item.error, item.said, tuple(seconds))
