"""What engine and mapper share: load one image stage by stage, and bisect a batch that fails."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core import decode
from ..core.noise import collected
from ..core.text import describe_error
from ..errors import ImageError

STAGES = ("read", "decode", "transform", "forward")


def is_interrupt(error: BaseException) -> bool:
    """Whether an error is Ctrl-C, which Python raises in the main thread only.

    All else that a user's code raises, SystemExit and KeyboardInterrupt in another thread too, is about an image.
    """
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


@dataclass
class Item:
    """One image in progress: the inputs of the function, then its outputs, or an error with its stage.

    Attributes:
        missing: whether the image itself is NULL.
        sha256: hash of the bytes that were read.
        inputs: what `load` computed from the pixels.
        outputs: the function's outputs for this image, by name.
        error: a value of `ERROR_TYPE`.
        said: what the decoder wrote beside the pixels.
    """

    missing: bool = False
    sha256: str | None = None
    inputs: Any = None
    outputs: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    said: list[str] = field(default_factory=list)

    @property
    def is_answered(self) -> bool:
        """Whether there are outputs and no error."""
        return self.error is None and self.outputs is not None

    def fail(self, stage: str, error: BaseException) -> None:
        """Record an error."""
        self.error = describe_error(stage, error)


def too_slow() -> Item:
    """The item of an image that exceeds the time limit."""
    item = Item()
    item.fail("decode", TimeoutError(decode.TOO_SLOW))
    return item


def check_shape(actual: Sequence[int], expected: Sequence[int]) -> None:
    """Refuse inputs of another shape than the others.

    Raises:
        ImageError: the shapes differ.
    """
    if tuple(actual) != tuple(expected):
        raise ImageError(
            f"shape {tuple(actual)}, expected {tuple(expected)}: a transform gives one shape for all images, so let it "
            "resize"
        )


def load(
    row: dict[str, Any] | None, transform: Callable[[Any], Any], seconds: dict[str, float], *, pixels: bool = True
) -> Item:
    """Read, decode and transform one image; an error is recorded in the item and does not affect other images.

    Args:
        row: STRUCT(bytes, path), or None.
        transform: maps an RGB PIL image (None without `pixels`) to the inputs.
        seconds: the time of each stage is added to this dict.
        pixels: whether to decode.
    """
    if row is None:
        return Item(missing=True)
    item, stage, start = Item(), "read", time.perf_counter()
    try:
        data = decode.read(row["bytes"], row["path"])
        item.sha256 = hashlib.sha256(data).hexdigest()
        stage, start = _next("decode", stage, start, seconds)
        with collected() as item.said:
            picture = decode.decode(data) if pixels else None
        stage, start = _next("transform", stage, start, seconds)
        item.inputs = transform(picture)
    except BaseException as error:
        if is_interrupt(error):
            raise
        item.fail(stage, error)
    _next("", stage, start, seconds)
    return item


def _next(following: str, stage: str, start: float, seconds: dict[str, float]) -> tuple[str, float]:
    """Add the time since `start` to `stage`; gives the following stage and the current time."""
    now = time.perf_counter()
    seconds[stage] += now - start
    return following, now


def bisect(
    batch: Sequence[Item],
    indices: Sequence[int],
    answer: Callable[[Sequence[int]], None],
    must_raise: Callable[[BaseException], bool] = lambda _error: False,
) -> None:
    """Answer items of a batch; if it fails, halve it until the item that causes the error is alone.

    Args:
        batch: the items.
        indices: the items to answer.
        answer: sets the outputs of the items at the given indices, or raises.
        must_raise: whether an error is not caused by an image, and so is raised.
    """
    if not indices:
        return
    try:
        answer(indices)
    except BaseException as error:
        if must_raise(error) or is_interrupt(error):
            raise
        if len(indices) == 1:
            batch[indices[0]].fail("forward", error)
            return
        half = len(indices) // 2
        bisect(batch, indices[:half], answer, must_raise)
        bisect(batch, indices[half:], answer, must_raise)
