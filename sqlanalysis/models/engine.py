"""Run a model over Arrow arrays of images: decode, transform and forward in worker threads, with errors as values.

On a CPU, each worker takes small batches from bytes to probabilities with one intra-op thread, so all cores are busy
without waiting for each other. On a GPU, the workers decode, and one batch at a time goes through the device.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from ..core import decode
from ..core.arrow import ERROR_TYPE, spread
from ..core.classes import ClassMap
from ..core.faults import point
from ..core.interrupts import Interruptible
from ..errors import ImageError, InferenceError
from . import device as devices
from . import hooks, outputs, stages
from .fuse import fast_copy
from .model import Model
from .stages import STAGES, Item
from .transforms import split_transform

CPU_BATCH, DECODE_BATCH = 8, 8  # images
Submit = Callable[..., Future[Any]]


class Engine(Interruptible):
    """Run a model over Arrow arrays of images; callable as an Arrow UDF, from several threads at once.

    The given module is not changed: a copy runs, with batch norm folded into convolutions and in channels_last order.
    The answer for an image does not depend on the other images of its batch: every pass has `batch_size` images, with
    blanks for those that failed, and each image keeps its index.

    Args:
        model: what to run.
        class_map: maps the model's outputs to classes of a data set; None keeps the outputs.
        batch_size: images per forward pass; default 8 on CPU (measured fastest for one thread), on CUDA the power of
            two beyond which throughput stops growing. Halved permanently when memory runs out.
        device: "auto" (CUDA if available), "cpu", "cuda", "cuda:1", …
        advance: called with the number of images that were finished, for a progress bar.
        dtype: "fp32", "bf16", or on CUDA "fp16": the type of convolutions and matrix products.
        compile: run the module through `torch.compile`, which first takes many seconds.

    Raises:
        ArgumentError: unknown device or dtype.
        InferenceError: CUDA is not available, or the module cannot be compiled.
    """

    def __init__(
        self,
        model: Model,
        class_map: ClassMap | None = None,
        *,
        batch_size: int | None = None,
        device: str = "auto",
        advance: Callable[[int], None] | None = None,
        dtype: str = "fp32",
        compile: bool = False,  # noqa: A002 - torch's own word
    ) -> None:
        super().__init__()
        self.model, self.class_map, self.advance = model, class_map, advance or (lambda _n: None)
        self.device, self.dtype = devices.find(device), dtype
        self._dtype = devices.find_dtype(dtype, self.device)
        self._cuda = self.device.type == "cuda"
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.output_type = output_type(model, class_map)
        self._lock = threading.Lock()
        self._kept, self._stack = threading.local(), ExitStack()  # workers must not read each other's activations
        self._forward_lock: AbstractContextManager[Any] = threading.Lock() if self._cuda else nullcontext()
        self._stream: Any = torch.cuda.Stream(self.device) if self._cuda else None  # type: ignore[no-untyped-call]
        self._threads = torch.get_num_threads()  # `use_one_thread` changes it for the process; `close` restores it
        self._pixels = split_transform(model.transform)
        self._module: Callable[[Tensor], Tensor] = fast_copy(model, self._dtype).to(self.device)
        self._stack.enter_context(hooks.keep_output(self._module, model.layer, self._keep))
        self._plan = self._staged if self._cuda else self._share_nothing
        # On a CPU every worker computes with one thread: more would compete for the same cores.
        self._pool = ThreadPoolExecutor(
            devices.count_cores(), "infer", initializer=None if self._cuda else devices.use_one_thread
        )
        self.batch_size = batch_size or CPU_BATCH
        if compile:
            self._compile()
        if self._cuda and batch_size is None:  # after compiling, which changes the speed
            self.batch_size = devices.find_batch_size(self._try_size)

    def close(self) -> None:
        """Stop the workers and remove the hook; the model stays usable."""
        self._pool.shutdown(cancel_futures=True)
        self._stack.close()
        torch.set_num_threads(self._threads)

    def __call__(self, column: pa.ChunkedArray) -> pa.Array:
        """One answer of `output_type` per image of an Arrow array of STRUCT(bytes, path); NULL for a NULL image."""
        futures: list[Future[Any]] = []

        def submit(function: Callable[..., Any], *given: Any) -> Future[Any]:
            futures.append(self._pool.submit(function, *given))
            return futures[-1]

        try:
            parts = [future.result() for future in self._plan(column, submit)]
        except BaseException:  # no worker must continue with images that nobody waits for
            for future in futures:
                future.cancel()
            raise
        return pa.concat_arrays(parts) if parts else pa.array([], self.output_type)

    def _share_nothing(self, column: pa.ChunkedArray, submit: Submit) -> list[Future[pa.Array]]:
        """CPU: each worker takes its batches from bytes to answers."""

        def run(rows: pa.ChunkedArray) -> pa.Array:
            items = self._decode(rows)
            self._forward(items)
            return self._conclude(items)

        size = self.batch_size
        return [submit(run, column.slice(start, size)) for start in range(0, len(column), size)]

    def _staged(self, column: pa.ChunkedArray, submit: Submit) -> list[Future[pa.Array]]:
        """CUDA: workers decode, the calling thread runs the device, workers convert tensors to rows."""
        starts = range(0, len(column), DECODE_BATCH)
        decoded = [submit(self._decode, column.slice(start, DECODE_BATCH)) for start in starts]
        parts: list[Future[pa.Array]] = []
        waiting: list[Item] = []
        for future in decoded:
            waiting += future.result()
            # Batches are filled over the borders of the decoded parts; only the last may be smaller.
            while len(waiting) >= self.batch_size or (future is decoded[-1] and waiting):
                batch, waiting = waiting[: self.batch_size], waiting[self.batch_size :]
                self._forward(batch)
                parts.append(submit(self._conclude, batch))
        return parts

    def _keep(self, activation: Tensor) -> None:
        self._kept.value = activation

    def _spent(self, seconds: dict[str, float]) -> None:
        with self._lock:
            for stage, value in seconds.items():
                self.seconds[stage] += value

    def _decode(self, rows: pa.ChunkedArray) -> list[Item]:
        point("batch")
        if self.interrupted:
            raise InferenceError("interrupted")
        seconds = dict.fromkeys(STAGES[:3], 0.0)
        items = self.each_in_time(
            lambda row: stages.load(row, self._to_tensor, seconds),
            rows.to_pylist(),
            lambda _row: stages.too_slow(),
            decode.MAX_SECONDS,
            devices.use_one_thread,
        )
        self._spent(seconds)
        return items

    def _to_tensor(self, picture: Any) -> Tensor:
        tensor = self._pixels.load(picture)
        if tuple(tensor.shape) != self.model.input_shape:
            raise ImageError(f"shape {tuple(tensor.shape)}, expected {self.model.input_shape}")
        return tensor

    def _forward(self, items: list[Item]) -> None:
        """Compute logits and activations; out of memory halves the batch size permanently, down to one image."""
        start, first = time.perf_counter(), 0
        while first < len(items):
            size = self.batch_size
            batch = items[first : first + size]
            try:
                self._answer(batch, size)
            except torch.OutOfMemoryError:
                self._halve(size)
                continue
            first += size
        self._spent({"forward": time.perf_counter() - start})

    def _halve(self, size: int) -> None:
        with self._lock:
            # Several workers may fail at the same size; it is halved once.
            self.batch_size = min(self.batch_size, size // 2)
        if self._cuda:
            torch.cuda.empty_cache()

    def _answer(self, batch: list[Item], size: int) -> None:
        """Answer a batch in passes of exactly `size` images, each at its own index, so that answers are reproducible.

        Raises:
            torch.OutOfMemoryError: a batch of more than one image does not fit into memory.
        """

        def answer(indices: Sequence[int]) -> None:
            logits, activations = self._pass({index: batch[index].inputs for index in indices}, size)
            if tuple(logits.shape) != (size, self.model.width):
                raise InferenceError(f"outputs of shape {tuple(logits.shape)}, expected {(size, self.model.width)}")
            outputs.check(logits[indices], self.model.outputs)
            for index in indices:
                kept = {} if activations is None else {"activation": activations[index]}
                if not all(value.isfinite().all() for value in kept.values()):
                    batch[index].fail("forward", InferenceError("the activation is NaN or infinite"))
                    continue
                batch[index].outputs = {"logits": logits[index], **kept}

        ready = [index for index, item in enumerate(batch) if item.inputs is not None]
        stages.bisect(batch, ready, answer, lambda error: isinstance(error, torch.OutOfMemoryError) and size > 1)

    def _pass(self, tensors: dict[int, Tensor], size: int) -> tuple[Tensor, Tensor | None]:
        """Logits and activations of a pass of `size` images: `tensors` at their indices, zeros elsewhere."""
        point("forward")
        shape = (size, *self.model.input_shape)
        layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
        # torch.zeros has no memory_format.
        batch = torch.empty(shape, dtype=self._pixels.dtype, memory_format=layout, pin_memory=self._cuda).zero_()
        for index, tensor in tensors.items():
            batch[index] = tensor
        # `.cpu()` waits for the stream, so when the lock is released the device is free.
        with torch.inference_mode(), self._forward_lock, self._on_device():
            result = self._module(self._pixels.finish(batch.to(self.device, non_blocking=True)))
            logits = outputs.take(result)[0].float().cpu()
            return logits, self._kept.value.float().cpu() if self.model.layer else None

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """Set the dtype; on CUDA also the stream of this engine, and fp32 convolutions without rounding to TF32."""
        with ExitStack() as stack:
            if self._dtype != torch.float32:
                stack.enter_context(torch.autocast(self.device.type, self._dtype))
            if self._cuda:
                stack.enter_context(torch.cuda.stream(self._stream))
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False))
            yield

    def _try_size(self, size: int) -> None:
        """One pass over blank images; waits until the answers are on the host."""
        self._pass({}, size)

    def _compile(self) -> None:
        """Compile in a worker, which has the number of threads that inference will have.

        Raises:
            InferenceError: torch.compile fails; the message has its first line.
        """
        try:
            self._module = torch.compile(self._module)
            self._pool.submit(self._try_size, self.batch_size).result()
        except Exception as error:
            first = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
            self.close()
            raise InferenceError(
                f"torch.compile fails on {self.model.name}: {first}; run it without compile"
            ) from error

    def _conclude(self, items: list[Item]) -> pa.Array:
        self.advance(len(items))
        good = [item.is_answered for item in items]
        answers = [item.outputs for item in items if item.is_answered and item.outputs is not None]
        columns: dict[str, pa.Array] = {}
        if answers:
            logits = torch.stack([values["logits"] for values in answers])
            scored = outputs.score(logits, self.class_map, self.model.outputs)
            if self.model.layer:
                scored["activation"] = torch.stack([values["activation"] for values in answers])
            columns = {name: spread(values.numpy(), good) for name, values in scored.items()}
        columns["sha256"] = pa.array([item.sha256 for item in items], pa.string())
        columns["error"] = pa.array([item.error for item in items], ERROR_TYPE)
        arrays = [
            columns[field.name].cast(field.type) if field.name in columns else pa.nulls(len(good), field.type)
            for field in self.output_type
        ]
        missing = pa.array([item.missing for item in items])
        return pa.StructArray.from_arrays(arrays, fields=list(self.output_type), mask=missing)


def output_type(model: Model, class_map: ClassMap | None) -> pa.StructType:
    """The Arrow type of one answer."""
    width = class_map.n_classes if class_map else model.n_outputs
    fields = [("pred", pa.int32()), ("confidence", pa.float32()), ("probs", pa.list_(pa.float32(), width))]
    if class_map is not None:
        fields += [("raw_pred", pa.int32()), ("raw_confidence", pa.float32()), ("inside", pa.float32())]
    if model.n_activations is not None:
        fields.append(("activation", pa.list_(pa.float32(), model.n_activations)))
    return pa.struct([*fields, ("sha256", pa.string()), ("error", ERROR_TYPE)])
