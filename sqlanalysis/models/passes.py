"""Passes of a model through one device: its copy there, the dtype and layout, and on CUDA the streams."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from .model import Model
from .transforms import Pixels
from .workers import Workers

# Columns of answers from logits (B, n) and activations (B, m), where these are.
Score = Callable[[Tensor, Tensor | None], Mapping[str, Tensor]]


class Passes:
    """Runs batches on one device, one at a time where one module runs them.

    Args:
        model: what to run.
        device: where.
        dtype: of convolutions and matrix products.
        pixels: the transform in two parts; the second runs on the device.
        layout: of weights and batches.

    Attributes:
        device: as given.
        layout: as given.
        workers: the modules.
    """

    def __init__(
        self, model: Model, device: torch.device, dtype: torch.dtype, pixels: Pixels, layout: torch.memory_format
    ) -> None:
        self.device, self._model, self._dtype, self.pixels, self.layout = device, model, dtype, pixels, layout
        self._is_cuda = device.type == "cuda"
        self.workers = Workers(model, device, dtype, serial=self._is_cuda, layout=layout)
        self._lock = threading.Lock()
        self._stream: Any = torch.cuda.Stream(device) if self._is_cuda else None  # type: ignore[no-untyped-call]
        self._copying: Any = torch.cuda.Stream(device) if self._is_cuda else None  # type: ignore[no-untyped-call]

    def run(self, tensors: Mapping[int, Tensor], size: int) -> tuple[Tensor, Tensor | None]:
        """Logits and activations, on the host, of a pass of `size` images: `tensors` by index, zeros elsewhere."""
        shape = (size, *self._model.input_shape)
        layout = self.layout if len(shape) == 4 else torch.contiguous_format
        batch = torch.empty(shape, dtype=self.pixels.dtype, memory_format=layout, pin_memory=self._is_cuda)
        if len(tensors) < size:
            batch.zero_()
        for index, tensor in tensors.items():
            batch[index] = tensor
        # `.cpu()` waits for the stream, so when the lock is released the device is free.
        with torch.inference_mode(), self._one_at_a_time(), self._settings():
            logits, activations = self._forward(batch.to(self.device, non_blocking=True))
            return _host(logits), None if activations is None else _host(activations)

    def launch(self, batch: Tensor, score: Score) -> Callable[[], dict[str, Tensor]]:
        """Begin a pass over a whole batch; gives what waits for its columns, on the host.

        On CUDA, copies to the device, the pass and copies back are on streams of their own: while one batch computes,
        the next one can be begun.
        """
        with torch.inference_mode(), self._one_at_a_time(), self._settings():
            if self._stream is None:
                inputs = batch.to(self.device)
            else:
                with torch.cuda.stream(self._copying):
                    inputs = batch.to(self.device, non_blocking=True)
                self._stream.wait_stream(self._copying)
                inputs.record_stream(self._stream)
            columns = score(*self._forward(inputs))
            host = {name: self._read_back(values) for name, values in columns.items()}
            if self._stream is None:
                return lambda: host
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(self._stream)

        def wait() -> dict[str, Tensor]:
            done.synchronize()
            return host

        return wait

    def _read_back(self, values: Tensor) -> Tensor:
        if self._stream is None:
            return values.clone()  # a module may give a buffer of its own, which its next pass overwrites
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        return host.copy_(values, non_blocking=True)

    def _forward(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        inputs = self.pixels.finish(batch)
        if inputs.is_floating_point():
            inputs = inputs.to(self._model.input_dtype)
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=self.layout)
        return self.workers.run(inputs)

    def _one_at_a_time(self) -> AbstractContextManager[Any]:
        return self._lock if self.workers.serial else nullcontext()

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """Set the dtype; on CUDA also the stream of this object, and fp32 convolutions without rounding to TF32."""
        with ExitStack() as stack:
            if self._dtype != torch.float32:
                stack.enter_context(torch.autocast(self.device.type, self._dtype))
            if self._stream is not None:
                stack.enter_context(torch.cuda.stream(self._stream))
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False))
            yield


def _host(tensor: Tensor) -> Tensor:
    """A copy on the host: a module may give a buffer of its own, which its next pass overwrites."""
    return tensor.to("cpu", torch.float32, copy=True)
