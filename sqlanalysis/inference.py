"""Images in, Arrow out: decode, transform and forward in workers that share nothing, with errors as data.

On a CPU every worker takes a micro-batch from bytes to probabilities with one intra-op thread, so all cores stay busy
without waiting for each other. On a GPU the workers decode and one lock lets one batch at a time forward.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from . import images, models
from .errors import ImageError, InferenceError
from .labels import OUTSIDE, ClassMap

STAGES = ("fetch", "decode", "transform", "forward")
CPU_BATCH, CUDA_BATCH = 8, 64
ERROR_TYPE = pa.struct([("stage", pa.string()), ("error", pa.string()), ("message", pa.string())])


@dataclass
class Answer:
    """What became of one image: probabilities and activation, or an error with its stage."""

    sha256: str | None = None
    tensor: Tensor | None = None
    logits: Tensor | None = None
    activation: Tensor | None = None
    error: dict[str, str] | None = None


class Engine:
    """Run a model over Arrow arrays of images; callable as an Arrow UDF, from several threads at once.

    Args:
        model: what to run; its module is moved to `device`.
        class_map: turns the model's outputs into classes of a data set; None keeps the outputs.
        batch_size: images per forward pass; default 8 on CPU (measured fastest for one thread), 64 on CUDA.
        device: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1", …
        advance: called with the number of images finished, for progress.
    """

    def __init__(
        self,
        model: models.Model,
        class_map: ClassMap | None = None,
        *,
        batch_size: int | None = None,
        device: str = "auto",
        advance: Callable[[int], None] | None = None,
    ) -> None:
        self.model, self.class_map, self.advance = model, class_map, advance or (lambda _n: None)
        self.device = _device(device)
        cuda = self.device.type == "cuda"
        self.batch_size = batch_size or (CUDA_BATCH if cuda else CPU_BATCH)
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.output_type = output_type(model, class_map)
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._kept, self._stack = threading.local(), ExitStack()
        self._forward_lock: AbstractContextManager[Any] = threading.Lock() if cuda else nullcontext()
        self._threads = torch.get_num_threads()
        self._module = model.module.to(self.device).to(memory_format=torch.channels_last)
        self._stack.enter_context(models.keep_output(self._module, model.layer, self._keep))
        workers = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(workers, "infer", initializer=None if cuda else _one_thread)

    @property
    def interrupted(self) -> bool:
        """Whether `interrupt` was called."""
        return self._stop.is_set()

    def interrupt(self) -> None:
        """Let every worker stop before its next batch; the call that waits for them raises."""
        self._stop.set()

    def close(self) -> None:
        """Release the workers and the hook; the model stays usable."""
        self._pool.shutdown(cancel_futures=True)
        self._stack.close()
        torch.set_num_threads(self._threads)

    def __call__(self, column: pa.ChunkedArray) -> pa.Array:
        """Answers for an Arrow array of STRUCT(bytes, path), in order; NULL for a NULL image."""
        rows = column.to_pylist()
        batches = [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]
        futures = [self._pool.submit(self._run, batch) for batch in batches]
        try:
            parts = [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return pa.concat_arrays(parts) if parts else pa.array([], self.output_type)

    def _keep(self, activation: Tensor) -> None:
        self._kept.value = activation

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] += time.perf_counter() - start

    def _run(self, rows: Sequence[dict[str, Any] | None]) -> pa.Array:
        if self.interrupted:
            raise InferenceError("interrupted")
        answers = [self._load(row) for row in rows]
        self._forward(answers, [place for place, answer in enumerate(answers) if answer.tensor is not None])
        self.advance(len(rows))
        return self._to_arrow(answers, [row is None for row in rows])

    def _load(self, row: dict[str, Any] | None) -> Answer:
        """Bytes, pixels, tensor: whatever goes wrong is this image's error and nobody else's."""
        answer, stage = Answer(), "fetch"
        if row is None:
            return answer
        try:
            with self._timed("fetch"):
                data = images.read(row["bytes"], row["path"])
                answer.sha256 = hashlib.sha256(data).hexdigest()
            stage = "decode"
            with self._timed("decode"):
                picture = images.decode(data)
            stage = "transform"
            with self._timed("transform"):
                tensor = self.model.transform(picture)
            if tuple(tensor.shape) != self.model.input_shape:
                raise ImageError(f"shape {tuple(tensor.shape)}, expected {self.model.input_shape}")
            answer.tensor = tensor
        except Exception as error:
            answer.error = _describe(stage, error)
        return answer

    def _forward(self, answers: list[Answer], places: list[int], size: int | None = None) -> None:
        """Fill in logits at `places`; a batch that fails is halved until the image at fault stands alone."""
        if not places:
            return
        try:
            with self._timed("forward"):
                self._forward_batch(answers, places, size or self.batch_size)
        except Exception as error:
            if len(places) == 1:
                answers[places[0]].error = _describe("forward", error)
                return
            half = len(places) // 2
            for part in (places[:half], places[half:]):
                if isinstance(error, torch.OutOfMemoryError):
                    self._forward([answers[place] for place in part], list(range(len(part))), len(part))
                else:
                    self._forward(answers, part, size)

    def _forward_batch(self, answers: list[Answer], places: list[int], size: int) -> None:
        """One pass of always `size` images, each at its own place: an answer does not depend on its neighbours."""
        batch = torch.zeros(size, *self.model.input_shape)
        for place in places:
            batch[place] = answers[place].tensor  # type: ignore[assignment]
        with torch.inference_mode(), self._forward_lock:
            if batch.ndim == 4:
                batch = batch.contiguous(memory_format=torch.channels_last)
            logits = self._module(batch.to(self.device)).float().cpu()
            activation = self._kept.value.float().cpu() if self.model.layer else None
        if tuple(logits.shape) != (size, self.model.n_outputs):
            raise InferenceError(f"logits of shape {tuple(logits.shape)}, expected {(size, self.model.n_outputs)}")
        for place in places:
            answer = answers[place]
            answer.logits = logits[place]
            answer.activation = None if activation is None else activation[place]
            if not (logits[place].isfinite().all() and (activation is None or activation[place].isfinite().all())):
                answer.error = _describe("forward", InferenceError("the output is NaN or infinite"))

    def _to_arrow(self, answers: list[Answer], missing: list[bool]) -> pa.Array:
        good = [answer.error is None and answer.logits is not None for answer in answers]
        rows = [answer.logits for answer, ok in zip(answers, good, strict=True) if ok and answer.logits is not None]
        scored = score(torch.stack(rows), self.class_map) if rows else {}
        columns = {name: _spread(values, good) for name, values in scored.items()}
        if self.model.layer:
            kept = [a.activation for a, ok in zip(answers, good, strict=True) if ok and a.activation is not None]
            columns["activation"] = _spread(torch.stack(kept), good) if kept else []
        columns["sha256"] = pa.array([answer.sha256 for answer in answers], pa.string())
        columns["error"] = pa.array([answer.error for answer in answers], ERROR_TYPE)
        empty = len(answers)
        arrays = [
            columns[field.name].cast(field.type) if len(columns.get(field.name, [])) else pa.nulls(empty, field.type)
            for field in self.output_type
        ]
        return pa.StructArray.from_arrays(arrays, fields=list(self.output_type), mask=pa.array(missing))


def score(logits: Tensor, class_map: ClassMap | None) -> dict[str, Tensor]:
    """Predictions from logits (B, n): pred, confidence, probs, and with a class map raw_pred, raw_confidence, inside.

    restricted: probabilities of the outputs of each class are summed and renormalised over the classes.
    open: arg-max over all outputs, -1 when it belongs to no class; probs are the sums, not renormalised.
    Ties go to the lower index.
    """
    probs = logits.double().softmax(1)
    raw_confidence, raw_pred = probs.max(1).values, probs.argmax(1)
    if class_map is None:
        return {"pred": raw_pred, "confidence": raw_confidence, "probs": probs}
    to_class = torch.tensor(class_map.to_class)
    spread = torch.zeros(len(to_class), class_map.n_classes, dtype=probs.dtype)
    mapped = (to_class != OUTSIDE).nonzero().squeeze(1)
    spread[mapped, to_class[mapped]] = 1
    inside_logits = logits.double()[:, mapped]
    within = (
        (inside_logits.softmax(1) @ spread[mapped]) if len(mapped) else torch.zeros(len(logits), class_map.n_classes)
    )
    inside = probs[:, mapped].sum(1)
    raw = {"raw_pred": raw_pred, "raw_confidence": raw_confidence, "inside": inside}
    if class_map.policy == "open":
        return {"pred": to_class[raw_pred], "confidence": raw_confidence, "probs": probs @ spread, **raw}
    return {"pred": within.argmax(1), "confidence": within.max(1).values, "probs": within, **raw}


def output_type(model: models.Model, class_map: ClassMap | None) -> pa.StructType:
    """Arrow type of one answer."""
    width = class_map.n_classes if class_map else model.n_outputs
    fields = [("pred", pa.int32()), ("confidence", pa.float32()), ("probs", pa.list_(pa.float32(), width))]
    if class_map is not None:
        fields += [("raw_pred", pa.int32()), ("raw_confidence", pa.float32()), ("inside", pa.float32())]
    if model.n_activations is not None:
        fields.append(("activation", pa.list_(pa.float32(), model.n_activations)))
    return pa.struct([*fields, ("sha256", pa.string()), ("error", ERROR_TYPE)])


def _spread(values: Tensor, good: list[bool]) -> pa.Array:
    """Rows of a tensor at the places marked good, NULL elsewhere."""
    array = values.float().contiguous().numpy() if values.is_floating_point() else values.int().contiguous().numpy()
    rows = (
        pa.array(array)
        if array.ndim == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])
    )
    positions = iter(range(len(rows)))
    return rows.take(pa.array([next(positions) if ok else None for ok in good], pa.int64()))


def _describe(stage: str, error: Exception) -> dict[str, str]:
    return {"stage": stage, "error": type(error).__name__, "message": str(error).strip()[:500] or type(error).__name__}


def _one_thread() -> None:
    torch.set_num_threads(1)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InferenceError(f"no device {name!r}; give auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InferenceError("device cuda was asked for, but torch sees no GPU; give auto or cpu")
    return device
