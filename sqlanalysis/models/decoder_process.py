"""The inside of a process that decodes: it reads images, and writes their pixels into memory that is shared.

It imports neither torch nor duckdb nor pyarrow, so that it starts fast and stays small; `decoders` starts and feeds it.
"""

from __future__ import annotations

import fcntl
import importlib
import mmap
import os
import pickle
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ..core.noise import collected
from ..core.text import one_line, type_name
from ..errors import ImageError
from . import stages
from .stages import check_shape

BOXES = 2  # chunks that a decoder holds: the one it works on and the next
SOON = 0.1  # seconds after which finished images are reported before their chunk is done
STARTED, FINISHED = 0, 1  # indices of the counters of images of a decoder
# What a caller may have set in the parent and changes pixels or refuses images; it holds in a decoder, too.
SETTINGS = (
    ("PIL.Image", "MAX_IMAGE_PIXELS"),
    ("PIL.ImageFile", "LOAD_TRUNCATED_IMAGES"),
    ("sqlanalysis.core.decode", "MAX_PIXELS"),
    ("sqlanalysis.core.reading", "MAX_BYTES"),
)


@dataclass(frozen=True)
class Orders:
    """What a decoder is told when it starts.

    Attributes:
        load: pickle of a callable that maps an RGB PIL image to a uint8 array of `shape`.
        shape: of the pixels of an image.
        n_slots: images that the shared memory has place for.
        n_decoders: decoders that may share it, which count in it what they do.
        index: of this decoder.
        memory: descriptor of the shared memory.
        boxes: descriptors of the files in which chunks arrive.
        lifeline: descriptor of a pipe whose other end closes when the parent dies.
        settings: values of `SETTINGS`.
    """

    load: bytes
    shape: tuple[int, ...]
    n_slots: int
    n_decoders: int
    index: int
    memory: int
    boxes: tuple[int, ...]
    lifeline: int
    settings: tuple[Any, ...]


def current_settings() -> tuple[Any, ...]:
    """Values of `SETTINGS` in this process."""
    return tuple(getattr(importlib.import_module(module), name) for module, name in SETTINGS)


def map_memory(memory: int, shape: tuple[int, ...], n_slots: int, n_decoders: int) -> tuple[np.ndarray, np.ndarray]:
    """The shared memory as arrays: counters int64 (n_decoders, 2), and slots uint8 (n_slots, *shape) at a page."""
    n_bytes = memory_size(shape, n_slots, n_decoders)
    mapped = mmap.mmap(memory, n_bytes)
    first = _head(n_decoders)
    counters = np.frombuffer(mapped, np.int64, 2 * n_decoders).reshape(n_decoders, 2)
    slots = np.frombuffer(mapped, np.uint8, n_bytes - first, first).reshape(n_slots, *shape)
    return counters, slots


def memory_size(shape: tuple[int, ...], n_slots: int, n_decoders: int) -> int:
    """Bytes of the shared memory."""
    return _head(n_decoders) + n_slots * int(np.prod(shape))


def _head(n_decoders: int) -> int:
    return -(-16 * n_decoders // mmap.PAGESIZE) * mmap.PAGESIZE


def serve(connection: Connection) -> None:
    """Decode until the parent hangs up: read `Orders`, say None or why this process is of no use, then take chunks.

    A chunk is announced by the number of bytes of its list of (slot, path, n_bytes or None), which stands at the start
    of the next box, before the bytes of the images. Its answers are lists of (sha256, error, said, seconds), in order.
    """
    orders = connection.recv()
    _die_with_parent(orders.lifeline)
    try:
        decoder = _Decoder(orders)
    except BaseException as error:
        connection.send(f"{type_name(error)}: {one_line(error)}")
        return
    connection.send(None)
    n_chunks = 0
    with suppress(EOFError, OSError):  # the parent is gone
        while True:
            n_head = int.from_bytes(connection.recv_bytes(), "little")
            decoder.work(orders.boxes[n_chunks % BOXES], n_head, connection.send)
            n_chunks += 1


def _die_with_parent(lifeline: int) -> None:
    """Let the kernel kill this process when the parent is gone, even if a decoder hangs and holds Python's lock."""
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([lifeline], [], [], 0)[0]:  # it died before
            os._exit(1)
    else:
        import threading

        def wait() -> None:
            os.read(lifeline, 1)
            os._exit(1)

        threading.Thread(target=wait, daemon=True).start()
    with suppress(OSError):  # when memory runs out, a decoder goes first, and not the run
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")


class _Decoder:
    def __init__(self, orders: Orders) -> None:
        for (module, name), value in zip(SETTINGS, orders.settings, strict=True):
            setattr(importlib.import_module(module), name, value)
        with collected():  # loads what the first image would wait for
            pass
        self._load: Callable[[Any], np.ndarray] = pickle.loads(orders.load)  # noqa: S301 - from the parent
        counters, self._slots = map_memory(orders.memory, orders.shape, orders.n_slots, orders.n_decoders)
        self._counters = counters[orders.index]

    def work(self, box: int, n_head: int, send: Callable[[Any], None]) -> None:
        """Answer a chunk; long ones in parts."""
        answers: list[Any] = []
        sent, offset = time.monotonic(), n_head
        for slot, path, n_bytes in pickle.loads(_pread(box, n_head, 0)):  # noqa: S301 - from the parent
            self._counters[STARTED] += 1
            data = None if n_bytes is None else _pread(box, n_bytes, offset)
            offset += n_bytes or 0
            answers.append(self._answer(slot, data, path))
            self._counters[FINISHED] += 1
            if time.monotonic() - sent > SOON:
                send(answers)
                answers, sent = [], time.monotonic()
        if answers:
            send(answers)

    def _answer(self, slot: int, data: bytes | None, path: str | None) -> tuple[Any, ...]:
        seconds = {"read": 0.0, "decode": 0.0, "transform": 0.0}

        def place(picture: Any) -> None:
            pixels = self._load(picture)
            # numpy would spread another shape and cut another dtype without a word.
            check_shape(pixels.shape, self._slots.shape[1:])
            if pixels.dtype != np.uint8:
                raise ImageError(f"the transform gives {pixels.dtype}, expected uint8")
            self._slots[slot] = pixels

        item = stages.load({"bytes": data, "path": path}, place, seconds)
        return item.sha256, item.error, item.said, tuple(seconds.values())


def _pread(file: int, n_bytes: int, offset: int) -> bytes:
    """Exactly so many bytes; one call of the system gives at most 2 GB."""
    data = os.pread(file, n_bytes, offset)
    while len(data) < n_bytes:
        more = os.pread(file, n_bytes - len(data), offset + len(data))
        if not more:
            raise OSError(f"{len(data)} of {n_bytes} bytes in a box")
        data += more
    return data
