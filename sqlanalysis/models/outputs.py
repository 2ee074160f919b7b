"""What a forward pass returns: the tensor in it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..errors import InferenceError


def take(result: Any) -> Tensor:
    """The tensor (B, n).

    Raises:
        InferenceError: it is not a tensor.
    """
    if not isinstance(result, Tensor):
        raise InferenceError(f"a model gives logits of shape (B, n), this one gives {type(result).__name__}")
    return result
