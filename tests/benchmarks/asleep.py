"""Stand-ins for hardware: decoding that takes a given time and no core. In a module, so that other processes find it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from PIL import Image

from sqlanalysis.core import decode

WIDTH = 224
PIXELS = np.random.default_rng(0).integers(0, 256, (3, WIDTH, WIDTH), dtype=np.uint8)
PICTURE = Image.new("RGB", (WIDTH, WIDTH))


class AsleepTransform:
    """Pixels of one image; where it is unpickled, decoding becomes sleeping."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, _picture: Any) -> np.ndarray:
        return PIXELS

    def __setstate__(self, state: dict[str, float]) -> None:
        self.__dict__ = state

        def slow(_data: bytes) -> Image.Image:
            time.sleep(self.seconds)
            return PICTURE

        decode.decode = slow
