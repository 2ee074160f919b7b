"""Transforms for processes that decode: what each does to a picture stands in its first pixel, red."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 8
SHAPE = (3, SIDE, SIDE)
ORDINARY = 100  # pictures below do what a transform should do
HANG, HANG_LOCKED, EXIT, SEGFAULT, KILLED, WRONG_SHAPE, FLOATS, RAISE, SLOW, MODULES = range(200, 210)


def picture(red: int, green: int = 0, blue: int = 0) -> Image.Image:
    return Image.new("RGB", (SIDE + 5, SIDE + 3), (red, green, blue))


def act(image: Image.Image) -> np.ndarray:
    """The upper left corner, unless red says otherwise."""
    pixels = np.array(image)[:SIDE, :SIDE].transpose(2, 0, 1)
    red = pixels[0, 0, 0]
    if red in (HANG, HANG_LOCKED):
        os.write(2, b"hangs\n")
    if red == HANG:
        time.sleep(3600)
    if red == HANG_LOCKED:  # no other thread of the process can run
        ctypes.pythonapi.sleep(3600)
    if red == EXIT:
        os._exit(7)
    if red == SEGFAULT:
        os.kill(os.getpid(), signal.SIGSEGV)
    if red == KILLED:
        pixels = np.full(SHAPE, 255, np.uint8)  # half-written slots are nobody's
        os.kill(os.getpid(), signal.SIGKILL)
    if red == WRONG_SHAPE:
        return pixels[:1]
    if red == FLOATS:
        return pixels / np.float32(255)
    if red == RAISE:
        raise SystemExit("no")
    if red == SLOW:
        for _ in range(30):  # of its own time: a suspended process is not done when it wakes
            time.sleep(0.05)
    if red == MODULES:
        asked = {
            "torch",
            "torchvision",
            "duckdb",
            "pyarrow",
            "pandas",
            "sklearn",
            "umap",
            "numpy",
            "PIL",
            "sqlanalysis",
        }
        raise RuntimeError(" ".join(sorted(asked & set(sys.modules))))
    return pixels


def slowly(image: Image.Image) -> np.ndarray:
    time.sleep(0.01)
    return act(image)


class Unusable:
    """Can be pickled, and not be unpickled."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise ImportError("no module of that name there")


def children(pid: int) -> set[int]:
    """Processes that a process has started and that are not over."""
    found = {int(text) for file in Path(f"/proc/{pid}/task").glob("*/children") for text in file.read_text().split()}
    return {child for child in found if is_alive(child)}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False
