"""One image from bytes to what a function takes, stage by stage, and a failing batch halved: for engine and mapper."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..core import decode
from ..core.arrow import describe_error

STAGES = ("read", "decode", "transform", "forward")


@dataclass
class Item:
    """One image on its way: what the function takes, then what it gave, or an error with its stage.

    Attributes:
        missing: the image itself is NULL.
        sha256: of the bytes that were read.
        inputs: what `load` made of the pixels.
        outputs: the function's values for this image, by name.
        error: a value of `ERROR_TYPE`.
    """

    missing: bool = False
    sha256: str | None = None
    inputs: Any = None
    outputs: dict[str, Any] | None = None
    error: dict[str, str] | None = None

    @property
    def is_answered(self) -> bool:
        """Whether there are outputs and nothing went wrong."""
        return self.error is None and self.outputs is not None

    def fail(self, stage: str, error: Exception) -> None:
        """Note what went wrong."""
        self.error = describe_error(stage, error)


def too_slow() -> Item:
    """What becomes of an image that takes too long."""
    item = Item()
    item.fail("decode", TimeoutError(decode.TOO_SLOW))
    return item


def load(
    row: dict[str, Any] | None, transform: Callable[[Any], Any], seconds: dict[str, float], *, pixels: bool = True
) -> Item:
    """Bytes, pixels, inputs: whatever goes wrong is this image's error and nobody else's.

    Args:
        row: STRUCT(bytes, path), or None.
        transform: from an RGB PIL image (None without `pixels`) to the inputs.
        seconds: the time of each stage is added here.
        pixels: whether to decode.
    """
    if row is None:
        return Item(missing=True)
    item, stage, start = Item(), "read", time.perf_counter()
    try:
        data = decode.read(row["bytes"], row["path"])
        item.sha256 = hashlib.sha256(data).hexdigest()
        stage, start = _next("decode", stage, start, seconds)
        picture = decode.decode(data) if pixels else None
        stage, start = _next("transform", stage, start, seconds)
        item.inputs = transform(picture)
    except Exception as error:
        item.fail(stage, error)
    _next("", stage, start, seconds)
    return item


def _next(following: str, stage: str, start: float, seconds: dict[str, float]) -> tuple[str, float]:
    """Book the time since `start` on `stage`; gives the stage that follows and now."""
    now = time.perf_counter()
    seconds[stage] += now - start
    return following, now


def bisect(
    batch: Sequence[Item],
    indices: Sequence[int],
    answer: Callable[[Sequence[int]], None],
    must_raise: Callable[[Exception], bool] = lambda _error: False,
) -> None:
    """Answer these items of a batch; one that fails is halved until the image at fault stands alone.

    Args:
        batch: the items.
        indices: those to answer.
        answer: fills in the outputs of the items at the indices given, or raises.
        must_raise: errors that are not the fault of an image.
    """
    if not indices:
        return
    try:
        answer(indices)
    except Exception as error:
        if must_raise(error):
            raise
        if len(indices) == 1:
            batch[indices[0]].fail("forward", error)
            return
        half = len(indices) // 2
        bisect(batch, indices[:half], answer, must_raise)
        bisect(batch, indices[half:], answer, must_raise)
