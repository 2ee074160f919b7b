"""A process that decodes, from both ends: `Process` is its parent's, `serve` runs inside.

Inside, neither torch nor duckdb nor pyarrow is imported, so that it starts fast and stays small. It is no process of
`multiprocessing`, which would run the caller's script again and refuse to start from a daemon; and what both share are
files without a name, so that nothing is left behind and no small /dev/shm of a container is full.
"""

from __future__ import annotations

import fcntl
import importlib
import mmap
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from ..core.noise import collected
from ..core.text import one_line, type_name
from ..errors import ImageError, InferenceError
from . import stages

BOXES = 2  # chunks that a process holds: the one it works on and the next
KEPT_BYTES = 32 * 2**20  # that a box may hold between chunks
SOON = 0.1  # seconds after which finished images are reported before their chunk is done
GRACE = 5.0  # seconds for a killed process to be gone
STARTED, FINISHED = 0, 1  # indices of the counters of images of a process
# What a caller may have set in the parent and changes pixels or refuses images; it holds inside, too.
SETTINGS = (
    ("PIL.Image", "MAX_IMAGE_PIXELS"),
    ("PIL.ImageFile", "LOAD_TRUNCATED_IMAGES"),
    ("sqlanalysis.core.decode", "MAX_PIXELS"),
    ("sqlanalysis.core.reading", "MAX_BYTES"),
)
# The parent's path comes first, so that a process finds the same packages; -P keeps the current folder out until then.
_PROGRAM = """
import sys
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[1]))
sys.path[:] = connection.recv()
from sqlanalysis.models.decoder_process import serve
serve(connection)
"""
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
Row = tuple[bytes | None, str | None]
Job = tuple[int, int, Row]  # ticket, slot, row
Seconds = tuple[float, float, float]


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
    seconds: Seconds


@dataclass(frozen=True)
class Memory:
    """Memory that processes share: two counters for each of them, and the slots.

    Attributes:
        file: descriptor.
        shape: of the pixels of an image.
        n_slots: number of images.
        n_processes: number of processes.
    """

    file: int
    shape: tuple[int, ...]
    n_slots: int
    n_processes: int

    def allocate(self) -> None:
        """Give the file its size; the system finds memory when it is first written to."""
        os.ftruncate(self.file, self._head() + self.n_slots * int(np.prod(self.shape)))

    def map(self) -> tuple[np.ndarray, np.ndarray]:
        """Counters int64 (n_processes, 2), and slots uint8 (n_slots, *shape) at a page; valid as long as in use."""
        mapped = mmap.mmap(self.file, 0)
        counters = np.frombuffer(mapped, np.int64, 2 * self.n_processes).reshape(self.n_processes, 2)
        slots = np.frombuffer(mapped, np.uint8, offset=self._head()).reshape(self.n_slots, *self.shape)
        return counters, slots

    def _head(self) -> int:
        return -(-16 * self.n_processes // mmap.PAGESIZE) * mmap.PAGESIZE


@dataclass(frozen=True)
class Orders:
    """What a process gets when it starts.

    Attributes:
        load: pickle of a callable that maps an RGB PIL image to a uint8 array of the shape of a slot.
        memory: the shared memory.
        index: of this process in it.
        boxes: descriptors of the files in which chunks arrive.
        lifeline: descriptor of a pipe whose other end closes when the parent dies.
        settings: values of `SETTINGS`.
    """

    load: bytes
    memory: Memory
    index: int
    boxes: tuple[int, ...]
    lifeline: int
    settings: tuple[Any, ...]


def anonymous_file() -> int:
    """A file without a name, so that nothing is left behind: in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("sqlanalysis", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


# The parent's end


class Process:
    """A process that decodes, as its parent sees it.

    Args:
        load: as in `Orders`.
        memory: as in `Orders`.
        index: as in `Orders`.
        counters: of this process; started at 0.

    Attributes:
        connection: where its messages arrive: None when it is ready or why it cannot be, then lists of answers.
        is_ready: whether it has started.
        chunks: number of unanswered images of each chunk that it holds, oldest first.
        n_idle: ticks since it last began or finished an image.

    Raises:
        OSError: the system starts no further process.
    """

    def __init__(self, load: bytes, memory: Memory, index: int, counters: np.ndarray) -> None:
        self.index, self._counters = index, counters
        self.is_ready, self.n_idle = False, 0
        self.chunks: deque[int] = deque()
        self._jobs: deque[Job] = deque()
        self._n_given = self._n_answered = 0
        self._seen = (0, 0)
        with ExitStack() as ours, ExitStack() as theirs:
            here, there = socket.socketpair()
            self.connection = ours.enter_context(Connection(here.detach()))
            theirs.callback(there.close)
            lifeline, end = os.pipe()
            theirs.callback(os.close, lifeline)
            ours.callback(os.close, end)
            self._boxes = tuple(anonymous_file() for _ in range(BOXES))
            self._sizes = [0] * BOXES
            for box in self._boxes:
                ours.callback(os.close, box)
            self._popen = subprocess.Popen(  # noqa: S603 - Python itself, with a program of ours
                [sys.executable, "-P", "-c", _PROGRAM, str(there.fileno())],
                pass_fds=(there.fileno(), lifeline, memory.file, *self._boxes),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **_ONE_THREAD},
                process_group=0,  # Ctrl-C is for the parent
            )
            self._files = ours.pop_all()
        settings = tuple(getattr(importlib.import_module(module), name) for module, name in SETTINGS)
        with suppress(OSError):  # it died, which the next `get` sees
            self.connection.send(sys.path)
            self.connection.send(Orders(load, memory, index, self._boxes, lifeline, settings))

    def give(self, chunk: list[Job]) -> None:
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
        with suppress(OSError):  # it died, which the next `get` sees
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

    def is_gone(self) -> bool:
        """Whether it has ended."""
        return self._popen.poll() is not None

    def stop(self, *, late: bool) -> str:
        """Kill it, unless it ends by itself, and wait, so that it writes no more; gives in words how it ended."""
        if not late:
            self._wait()
        self._popen.kill()
        # One that waits inside the system, such as for a network disk, may be there later, but never runs again.
        self._wait()
        code = self._popen.poll()
        if late or code is None:
            return "hung and was killed"
        if code >= 0:
            return f"ended with exit code {code}"
        memory = "; the system does that when memory runs out" if -code == signal.SIGKILL else ""
        return f"was ended by {signal.Signals(-code).name}{memory}"

    def rest(self) -> list[Result]:
        """Of a process that is gone: what it had still answered."""
        results: list[Result] = []
        with suppress(EOFError, OSError):
            while self.connection.poll():
                message = self.connection.recv()
                results += self.answer(message) if isinstance(message, list) else []
        return results

    def unanswered(self) -> tuple[list[Job], int | None]:
        """Of a process that is gone: the images it had not answered, and the index of the one it worked on."""
        started, finished = (int(n) for n in self._counters)
        return list(self._jobs), started - 1 - self._n_answered if started > finished else None

    def kill(self) -> None:
        """Kill it and close all that belongs to it."""
        self._popen.kill()
        self._files.close()

    def close(self) -> None:
        """As `kill`, and wait."""
        self.kill()
        self._wait()

    def _wait(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(GRACE)


def _write(file: int, data: bytes, offset: int) -> int:
    """Write all of it; one call of the system takes at most 2 GB. Gives the number of bytes."""
    left = memoryview(data)
    while left:
        n = os.pwrite(file, left, offset)
        left, offset = left[n:], offset + n
    return len(data)


# Inside


def serve(connection: Connection) -> None:
    """Decode until the parent hangs up: read `Orders`, say None or why this process is of no use, then take chunks.

    A chunk is announced by the number of bytes of its list of (slot, path, n_bytes or None), which stands at the start
    of the next box, before the bytes of the images. Its answers are lists of (sha256, error, said, seconds), in order.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = connection.recv()
    _die_with_parent(orders.lifeline)
    try:
        decoder = _Decoder(orders)
    except BaseException as error:
        connection.send(f"{type_name(error)}: {one_line(error)}")
        return
    n_chunks = 0
    with suppress(EOFError, OSError):  # the parent is gone
        connection.send(None)
        while True:
            n_head = int.from_bytes(connection.recv_bytes(), "little")
            decoder.work(orders.boxes[n_chunks % BOXES], n_head, connection.send)
            n_chunks += 1


def _die_with_parent(lifeline: int) -> None:
    """Let the kernel kill this process when the parent is gone, even if a decoder hangs and holds Python's lock."""
    try:
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    except (AttributeError, OSError):  # not Linux
        threading.Thread(target=_end_after, args=(lifeline,), daemon=True).start()
    if select.select([lifeline], [], [], 0)[0]:  # it died before
        os._exit(1)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")  # when memory runs out, a decoder goes first, and not the run


def _end_after(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)


class _Decoder:
    def __init__(self, orders: Orders) -> None:
        for (module, name), value in zip(SETTINGS, orders.settings, strict=True):
            setattr(importlib.import_module(module), name, value)
        with collected():  # loads what the first image would wait for
            pass
        self._load: Callable[[Any], np.ndarray] = pickle.loads(orders.load)  # noqa: S301 - from the parent
        counters, self._slots = orders.memory.map()
        self._counters = counters[orders.index]

    def work(self, box: int, n_head: int, send: Callable[[Any], None]) -> None:
        """Answer a chunk; long ones in parts."""
        answers: list[Any] = []
        sent, offset = time.monotonic(), n_head
        for slot, path, n_bytes in pickle.loads(_read(box, n_head, 0)):  # noqa: S301 - from the parent
            self._counters[STARTED] += 1
            data = None if n_bytes is None else _read(box, n_bytes, offset)
            offset += n_bytes or 0
            answers.append(self._answer(slot, data, path))
            self._counters[FINISHED] += 1
            if time.monotonic() - sent > SOON:
                send(answers)
                answers, sent = [], time.monotonic()
        if answers:
            send(answers)

    def _answer(self, slot: int, data: bytes | None, path: str | None) -> tuple[Any, ...]:
        def place(picture: Any) -> None:
            pixels = self._load(picture)
            # numpy would spread another shape and cut another dtype without a word.
            stages.check_shape(pixels.shape, self._slots.shape[1:])
            if pixels.dtype != np.uint8:
                raise ImageError(f"the transform gives {pixels.dtype}, expected uint8")
            self._slots[slot] = pixels

        seconds = dict.fromkeys(stages.STAGES[:3], 0.0)
        item = stages.load({"bytes": data, "path": path}, place, seconds)
        return item.sha256, item.error, item.said, tuple(seconds.values())


def _read(file: int, n_bytes: int, offset: int) -> bytes:
    """Exactly so many bytes; one call of the system gives at most 2 GB."""
    data = os.pread(file, n_bytes, offset)
    while len(data) < n_bytes:
        more = os.pread(file, n_bytes - len(data), offset + len(data))
        if not more:
            raise InferenceError(f"{len(data)} of {n_bytes} bytes in a box")
        data += more
    return data
