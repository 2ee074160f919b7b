"""Resize and crop of torchvision's preset for classification, to the bit, without torch: for processes that decode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Resize:
    """What `torchvision.transforms._presets.ImageClassification` does to an RGB PIL image before it normalizes.

    Its option `antialias` is missing here because Pillow always smooths, whatever that option says.

    Attributes:
        resize_size: length of the shorter side, or height and width.
        crop_size: height and width; a smaller picture gets a black border.
        interpolation: Pillow's number of the filter.
    """

    resize_size: tuple[int, ...]
    crop_size: tuple[int, int]
    interpolation: int

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """The pixels, uint8 (3, H, W)."""
        size = self._resized(picture.width, picture.height)
        if picture.size != size:
            picture = picture.resize(size, self.interpolation)
        height, width = self.crop_size
        left, top = _start(picture.width, width), _start(picture.height, height)
        # Pillow fills what lies outside the picture with black, as torchvision's padding does.
        return np.array(picture.crop((left, top, left + width, top + height))).transpose(2, 0, 1)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        if len(self.resize_size) == 2:
            return self.resize_size[1], self.resize_size[0]
        short = self.resize_size[0]
        if width <= height:
            return short, int(short * height / width)
        return int(short * width / height), short


def _start(have: int, want: int) -> int:
    """Where a crop of `want` pixels begins; torchvision rounds differently where it pads."""
    return -((want - have) // 2) if want > have else int(round((have - want) / 2.0))
