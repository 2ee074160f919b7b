"""Images to pixels beside the caller: in processes that write into shared memory, or in threads.

Both take rows of (bytes, path) with the slot where the pixels belong, and answer in any order. A row is answered once:
with pixels in its slot, or with an error that is about this row alone.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from selectors import EVENT_READ, DefaultSelector
from typing import Any

import torch

from ..core import decode
from ..core.interrupts import Interruptible
from ..core.text import describe_error
from ..errors import ArgumentError, ImageError, InferenceError
from . import stages
from .decoder_process import BOXES, Job, Memory, Process, Row, Seconds, anonymous_file
from .decoder_process import Result as Result
from .device import use_one_thread

CHUNK = 8  # images that travel together
CHUNK_BYTES = 8 * 2**20  # of stored images, after which a chunk is full
BLAMELESS = 3  # deaths a process, without an answer between, that no image explains: then the run ends
TICK = 1.0  # seconds


class Decoders:
    """Processes that read, hash, decode and transform images, and write uint8 pixels into shared memory.

    A process that takes longer than `max_seconds` for an image is killed, and one that dies is replaced; the image it
    worked on becomes an error, and the others that it had are given to other processes. All processes end with this
    one, however it ends. `put` and `get`, which hand on the work, may be called from two threads, each from one.

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
        InferenceError: a process cannot be started.
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
        self._max_ticks = max_seconds / TICK
        self._lock = threading.RLock()
        self._todo: deque[Job] = deque()
        self._results: list[Result] = []
        self._n_blameless, self._broken = 0, ""
        self._next_tick = time.monotonic() + TICK
        self._selector = DefaultSelector()
        self._processes: dict[int, Process] = {}
        self._memory = Memory(anonymous_file(), tuple(shape), n_slots, n_processes)
        self._end = weakref.finalize(self, _end, self._processes, self._selector, self._memory.file)
        try:
            self._memory.allocate()
            self._counters, self.slots = self._memory.map()
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
            InferenceError: closed; no process can be started; or they die without an image that could be the cause.
        """
        until = time.monotonic() + timeout
        while True:
            if not self._end.alive:
                raise InferenceError("these decoders are closed")
            # Looks also where the time is over: a caller that never waits must get its results.
            events = self._selector.select(max(0.0, min(until, self._next_tick) - time.monotonic()))
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
        """End the processes; may be called again. Not while another thread is in `get`."""
        self._end()

    def _start(self, index: int) -> None:
        self._counters[index] = 0
        try:
            process = Process(self._load, self._memory, index, self._counters[index])
        except OSError as error:
            raise InferenceError(f"a process that decodes cannot start: {error}") from error
        self._processes[index] = process
        self._selector.register(process.connection, EVENT_READ, process)

    def _dispatch(self) -> None:
        """Give chunks: spread what there is over processes that wait, and whole chunks to those that work."""
        for depth in range(BOXES):
            for process in self._processes.values():
                n = min(CHUNK, max(1, len(self._todo) // len(self._processes))) if depth == 0 else CHUNK
                if len(self._todo) < n:
                    break
                if process.is_ready and len(process.chunks) == depth:
                    process.give(self._take(n))

    def _take(self, most: int) -> list[Job]:
        chunk: list[Job] = []
        n_bytes = 0
        while self._todo and len(chunk) < most and n_bytes < CHUNK_BYTES:
            chunk.append(self._todo.popleft())
            n_bytes += len(chunk[-1][2][0] or b"")
        return chunk

    def _receive(self, process: Process) -> None:
        try:
            message = process.connection.recv()
        except (EOFError, OSError):
            self._replace(process, late=False)
            return
        if isinstance(message, list):
            self._n_blameless = 0
            self._results += process.answer(message)
        elif message is None:
            process.is_ready = True
        else:
            self._broken = f"a process that decodes cannot start: {message}"

    def _tick(self) -> None:
        """Replace what has not begun another image for too long; a start has the time of the slowest image."""
        for process in list(self._processes.values()):
            process.tick()
            limit = self._max_ticks if process.is_ready else max(self._max_ticks, decode.MAX_SECONDS / TICK)
            if process.is_gone():  # its connection may be held open by a process that the caller forked
                self._replace(process, late=False)
            elif process.n_idle >= limit:
                self._replace(process, late=True)

    def _replace(self, process: Process, *, late: bool) -> None:
        """After a hang or a death: an error for the image in work, the others to others, and a new process."""
        self._selector.unregister(process.connection)
        del self._processes[process.index]
        end = process.stop(late=late)
        self._results += process.rest()
        jobs, blamed = process.unanswered()
        process.close()
        if blamed is None:
            self._n_blameless += 1
        else:
            ticket, slot, _ = jobs.pop(blamed)
            died = describe_error("decode", ImageError(f"the process that decoded it {end}"))
            error = stages.too_slow().error if late else died
            self._results.append(Result(ticket, slot, None, error, [], (0.0, 0.0, 0.0)))
            self._n_blameless = 0
        self._todo.extendleft(reversed(jobs))
        if self._n_blameless >= BLAMELESS * self._memory.n_processes and not self._broken:
            self._broken = f"{self._n_blameless} processes in a row ended that worked on no image; the last {end}"
        if not self._broken:
            try:
                self._start(process.index)
            except InferenceError as error:
                self._broken = str(error)


def _end(processes: dict[int, Process], selector: DefaultSelector, memory: int) -> None:
    selector.close()
    for process in processes.values():
        process.kill()
    for process in processes.values():
        process.close()
    processes.clear()
    os.close(memory)


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
        self._todo: SimpleQueue[list[Job] | None] = SimpleQueue()
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
        with suppress(Empty):
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
                    self._answer,
                    jobs,
                    lambda _job: (stages.too_slow(), (0.0, 0.0, 0.0)),
                    self._max_seconds,
                    use_one_thread,
                )
                self._results.put([self._place(*job[:2], *answer) for job, answer in zip(jobs, answers, strict=True)])
            except BaseException as error:  # raised again by `get`
                if not self.interrupted:
                    self._results.put(error)

    def _answer(self, job: Job) -> tuple[stages.Item, Seconds]:
        data, path = job[2]
        seconds = dict.fromkeys(stages.STAGES[:3], 0.0)
        item = stages.load({"bytes": data, "path": path}, self._checked, seconds)
        return item, (seconds["read"], seconds["decode"], seconds["transform"])

    def _checked(self, picture: Any) -> torch.Tensor:
        pixels = torch.as_tensor(self._load(picture))
        stages.check_shape(pixels.shape, self._places.shape[1:])
        if not torch.can_cast(pixels.dtype, self._places.dtype):
            raise ImageError(f"the transform gives {pixels.dtype}, expected {self._places.dtype}")
        return pixels

    def _place(self, ticket: int, slot: int, item: stages.Item, seconds: Seconds) -> Result:
        # Here and not in `_answer`: a thread that was left behind must not write into a slot that others have.
        if item.error is None:
            self._places[slot] = item.inputs
        return Result(ticket, slot, item.sha256, item.error, item.said, seconds)
