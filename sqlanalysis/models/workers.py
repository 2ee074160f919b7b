"""The modules of the workers: a copy for each thread, or one for all, one pass at a time."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InferenceError
from . import hooks, isolation, outputs
from .content import is_own
from .fuse import fast_copy
from .isolation import Watch
from .model import Model


class _Worker:
    """A module and the activations of its current pass."""

    def __init__(self, module: nn.Module, model: Model, *, compiled: bool) -> None:
        self._plain, self._model = module, model
        self._kept: list[Tensor] = []
        self._has_token, self._widths = hooks.has_class_token(module), hooks.channel_widths(module)
        self._stack = ExitStack()
        if model.can_copy:  # the caller's own module has a hook only during a pass
            self._stack.enter_context(self._keep())
        self._module: Any = torch.compile(module) if compiled else module

    def _keep(self) -> AbstractContextManager[None]:
        return hooks.keep_output(self._plain, self._model.layer, self._kept.append)

    def run(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        self._kept.clear()  # an older pass must not answer for this one
        with ExitStack() as stack:
            if not self._model.can_copy:
                stack.enter_context(isolation.borrowed(self._plain))
                stack.enter_context(self._keep())
            result = self._module(inputs)
        if self._model.layer is None:
            if self._model.is_encoder:
                embedding = hooks.pool(outputs.take_embedding(result)[0], self._has_token, self._widths)
                return embedding, embedding
            return outputs.take(result)[0], None
        if not self._kept:
            raise InferenceError(f"layer {self._model.layer!r} was not run for this image")
        activation = self._kept.pop()  # of the last call
        return activation if self._model.is_encoder else outputs.take(result)[0], activation


class Workers:
    """Run a module from several threads.

    Args:
        model: what to run; it is not changed.
        device: where.
        dtype: of convolutions and matrix products.
        serial: one pass at a time, so that one copy is enough.

    Attributes:
        serial: whether all threads run one module; then only one pass at a time is allowed. May be set to True.
        share: whether copies share objects that could be written to, beside weights and code.
        own: whether a part of the module was written by the user, not by an installed package.

    Raises:
        InferenceError: a module that cannot be copied is on another device.
    """

    def __init__(self, model: Model, device: torch.device, dtype: torch.dtype, *, serial: bool) -> None:
        self._model, self._local, self._lock = model, threading.local(), threading.Lock()
        self._compiled = False
        self._only: _Worker | None = None
        self._base = fast_copy(model, dtype).to(device) if model.can_copy else _stay(model, device)
        self.serial = self._starts_serial = serial or not model.can_copy
        self._watch = None if self.serial else Watch(self._base, isolation.worker_copy(self._base))
        self.share = self._watch is not None and self._watch.share
        self.own = any(is_own(part) for part in model.module.modules())

    def run(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Outputs (B, n) and, with a layer, activations (B, m) of a batch; of an encoder both are the embeddings."""
        return self._own().run(inputs)

    def written(self) -> str | None:
        """What a pass wrote to although copies share it, or None."""
        return None if self.serial or self._watch is None else self._watch.changed()

    def compile(self) -> None:
        """Run the modules through torch.compile, from the next pass on."""
        self._compiled = True

    def _own(self) -> _Worker:
        known: _Worker | None = self._only if self.serial else getattr(self._local, "worker", None)
        if known is not None:
            return known
        with self._lock:
            if self.serial:
                # A copy has no hook of another worker, which the base would get here.
                module = self._base if self._starts_serial else isolation.worker_copy(self._base)
                self._only = self._only or _Worker(module, self._model, compiled=self._compiled)
                return self._only
            worker = _Worker(isolation.worker_copy(self._base), self._model, compiled=self._compiled)
            self._local.worker = worker
            return worker


def _stay(model: Model, device: torch.device) -> nn.Module:
    """The caller's own module, which must not be moved."""
    here = next((tensor.device for tensor in model.module.parameters()), device)
    if here.type != device.type:
        raise InferenceError(
            f"{model.name} cannot be copied, so it runs where it is, on {here}, and not on {device}; "
            f"give device={str(here)!r}, or move it and load it again"
        )
    return model.module
