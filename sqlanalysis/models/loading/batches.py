"""Models of fixed batch: run any number of pictures through a function that takes exactly so many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def in_batches(run: Callable[[Tensor], Any], batch: Tensor, size: int | None) -> Any:
    """What `run` gives for a batch, computed `size` pictures at a time, with blanks at the end.

    Args:
        run: maps (size, …) to a tensor, or a tuple, list or dict of tensors, each with `size` rows.
        batch: (B, …).
        size: how many it takes; None for any number.
    """
    if size is None:
        return run(batch)
    parts: list[Any] = []
    for start in range(0, len(batch), size):
        rows = batch[start : start + size]
        blanks = rows.new_zeros((size - len(rows), *rows.shape[1:]))
        parts.append(_take(run(torch.cat((rows, blanks))), len(rows)))
    return _join(parts)


def _take(value: Any, n: int) -> Any:
    if isinstance(value, Tensor):  # without axes it belongs to no picture, such as a loss
        return value[:n] if value.ndim else value
    if isinstance(value, dict):
        return {key: _take(part, n) for key, part in value.items()}
    return type(value)(_take(part, n) for part in value) if type(value) in (tuple, list) else value


def _join(parts: list[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts) if first.ndim else first
    if isinstance(first, dict):
        return {key: _join([part[key] for part in parts]) for key in first}
    return (
        type(first)(_join(list(column)) for column in zip(*parts, strict=True))
        if type(first) in (tuple, list)
        else first
    )
