"""A module of one's own: frozen copies of a user's module, copies for workers, and a watch over what copies share.

The copies of the workers share weights and nothing else. What `copy.deepcopy` does not copy (closures, globals,
attributes of classes) is watched: where a pass writes to it, one worker must run the module.
"""

from __future__ import annotations

import copy
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InferenceError
from .content import CODE, KNOWN_BY_NAME, parts, reach, tensor_bytes

# Passes of one module by several engines: only for a module that cannot be copied.
_original = threading.RLock()
MAX_WATCHED = 16 * 1024 * 1024  # bytes of an array that is compared by value


@dataclass(frozen=True)
class Frozen:
    """A module that nobody else changes, or the caller's own where it cannot be copied.

    Attributes:
        module: in eval mode and on the CPU if it is a copy.
        can_copy: whether workers may have copies of their own.
        notes: why it cannot be copied, for the user.
    """

    module: nn.Module
    can_copy: bool = True
    notes: tuple[str, ...] = ()


def freeze(module: nn.Module, *, owned: bool = False) -> Frozen:
    """A copy of the module in eval mode, on the CPU; the module itself is left as it is.

    A module that cannot be copied, or whose copy would still use a part of the original (a hook that is a closure over
    the module), is used itself.

    Args:
        module: of the caller.
        owned: nobody else holds the module, so that it need not be copied; it is only tried.

    Raises:
        InferenceError: a parameter or buffer has no values yet (lazy, meta), or is sparse.
    """
    _refuse_empty(module)
    name = type(module).__name__
    memo: dict[int, Any] = {id(tensor): tensor for tensor in _tensors(module)} if owned else {}
    given = set(memo)
    try:
        with warnings.catch_warnings():  # that an exported program holds shapes without values, once in a process
            warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
            copied = _copy(module, memo)
    except Exception as error:  # a module can hold anything
        reason = str(error).strip().partition("\n")[0][:120] or type(error).__name__
        return Frozen(module, False, (f"{name} cannot be copied ({reason}), so one worker runs it",))
    outside = _left_behind(copied, memo, given)
    if outside is not None:
        return Frozen(
            module,
            False,
            (f"a function in {name} (a hook or closure) uses {outside} of the module itself, so one worker runs it",),
        )
    return Frozen((module if owned else copied).cpu().eval())


def _refuse_empty(module: nn.Module) -> None:
    """Refuse tensors without values, and those that workers cannot share."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            raise InferenceError(
                f"{name} of {type(module).__name__} is on the device meta and has no values; load its weights first, "
                "such as with module.to_empty(device='cpu') and load_state_dict"
            )
        if tensor.layout != torch.strided:
            layout = str(tensor.layout).removeprefix("torch.")
            raise InferenceError(f"{name} of {type(module).__name__} is {layout}; give it dense, tensor.to_dense()")
        if nn.parameter.is_lazy(tensor):
            raise InferenceError(
                f"{name} of {type(module).__name__} is an uninitialized parameter of a lazy module: it would get "
                "random weights at the first image; pass one batch through the module and train it, or load its weights"
            )


def _copy(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A deep copy without gradients; a tensor that is the result of a computation is copied as its value."""
    for tensor in _computed(module):
        memo[id(tensor)] = tensor.detach().clone()
    with torch.no_grad():  # else the weights of a copy of TorchScript are results of a computation
        return copy.deepcopy(module, memo)


def _computed(module: nn.Module) -> Iterator[Tensor]:
    """Tensors with a graph behind them, which deepcopy refuses: left on the module by a pass of training."""
    for value in reach(module).values():
        if isinstance(value, Tensor) and not value.is_leaf:
            yield value


def _left_behind(copied: nn.Module, memo: dict[int, Any], given: set[int]) -> str | None:
    """A part of the original that was copied, and that the copy still uses: through a closure, say; None if none."""
    for key, value in reach(copied).items():
        twin = memo.get(key, value)
        if twin is not value and key not in given and not isinstance(value, str | bytes | tuple):
            return "a part" if isinstance(value, dict | list | set | Tensor) else f"the {type(value).__name__}"
    return None


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def worker_copy(module: nn.Module) -> nn.Module:
    """A copy for one worker: it shares the parameters, and has buffers and attributes of its own."""
    memo: dict[int, Any] = {id(tensor): tensor for tensor in module.parameters()}
    return _copy(module, memo)


@contextmanager
def borrowed(module: nn.Module) -> Iterator[None]:
    """Inside the block, the caller's module is in eval mode; afterwards every part is in the mode that it had."""
    with _original:
        modes = [(part, part.training) for part in module.modules()]
        module.eval()
        try:
            yield
        finally:
            for part, training in modes:
                part.training = training


def checksum(module: nn.Module) -> int:
    """CRC-32 of names and bytes of parameters and buffers: tells in milliseconds whether weights were changed."""
    value = 0
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        value = zlib.crc32(name.encode(), value)
        if not nn.parameter.is_lazy(tensor) and tensor.layout == torch.strided and not tensor.is_meta:
            value = zlib.crc32(tensor_bytes(tensor), value)
    return value


class Watch:
    """What two copies of a module share beside weights, and whether it was written to since then.

    Args:
        first: a module.
        second: a copy of it for another worker.

    Attributes:
        shared: the objects.
        share: whether any of them is more than code.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        weights = {id(tensor) for tensor in first.parameters()}
        mine, other = reach(first), reach(second)
        self.shared = [
            value for key, value in mine.items() if key in other and key not in weights and _can_change(value)
        ]
        self.share = any(not isinstance(value, CODE) for value in self.shared)
        # The parts themselves are kept: the id of one that was deleted may be given to another object.
        self._states = [_state(value) for value in self.shared]

    def changed(self) -> str | None:
        """The type of a shared object that was written to, or None."""
        for value, before in zip(self.shared, self._states, strict=True):
            after = _state(value)
            same = len(before) == len(after) and all(a is b or _equal(a, b) for a, b in zip(before, after, strict=True))
            if not same:
                return getattr(value, "__qualname__", type(value).__name__)
        return None


def _can_change(value: Any) -> bool:
    return not isinstance(value, (tuple, frozenset, *KNOWN_BY_NAME))


def _state(value: Any) -> list[Any]:
    if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta:
        return [zlib.crc32(tensor_bytes(value))] if value.nbytes <= MAX_WATCHED else [value.data_ptr()]
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return [zlib.crc32(value.tobytes())] if value.nbytes <= MAX_WATCHED else [value.ctypes.data]
    return [part for _, part in parts(value)]


def _equal(first: Any, second: Any) -> bool:
    plain = (int, float, str, bytes, tuple)
    return type(first) is type(second) and isinstance(first, plain) and bool(first == second)
