"""What a forward pass gives: the tensor of logits in it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..errors import InferenceError


def take(result: Any) -> Tensor:
    """The (B, n) tensor in what a module returns: itself, `.logits`, `["logits"]`, or the first of a tuple.

    Raises:
        InferenceError: there is none.
    """
    if isinstance(result, dict):
        result = result.get("logits", result)
    elif isinstance(result, tuple | list) and result:
        result = result[0]
    if not isinstance(result, Tensor):
        raise InferenceError(f"a model gives logits of shape (B, n), this one gives {type(result).__name__} for B = 1")
    return result
