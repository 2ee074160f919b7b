"""Images in, Arrow out: decode, transform and forward in workers that share nothing, with errors as data.

On a CPU every worker takes a micro-batch from bytes to probabilities with one intra-op thread, so all cores stay busy
without waiting for each other. On a GPU the workers decode, and one batch at a time goes through the device.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from . import activations, devices, images, models
from .answers import ERROR_TYPE, Interruptible, describe_error, spread
from .errors import ImageError, InferenceError
from .faults import point
from .labels import OUTSIDE, ClassMap

STAGES = ("fetch", "decode", "transform", "forward")
CPU_BATCH, DECODE_BATCH = 8, 8
Submit = Callable[..., Future[Any]]


@dataclass
class Answer:
    """What became of one image: probabilities and activation, or an error with its stage."""

    missing: bool = False
    sha256: str | None = None
    tensor: Tensor | None = None
    logits: Tensor | None = None
    activation: Tensor | None = None
    error: dict[str, str] | None = None


class Engine(Interruptible):
    """Run a model over Arrow arrays of images; callable as an Arrow UDF, from several threads at once.

    The module given stays as it is: a copy runs, with batch norm folded into convolutions and channels_last. An image
    has the same answer whatever its neighbours: every pass is of `batch_size` images, and each has its own place.

    Args:
        model: what to run.
        class_map: turns the model's outputs into classes of a data set; None keeps the outputs.
        batch_size: images per forward pass; default 8 on CPU (measured fastest for one thread), and on CUDA the power
            of two beyond which throughput stops growing. Halved for good when memory runs out.
        device: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1", …
        advance: called with the number of images finished, for progress.
        precision: "fp32"; "bf16"; or "fp16", on CUDA only; the type of convolutions and matrix products.
        compile: run the module through `torch.compile`, which takes many seconds first.

    Raises:
        InferenceError: no such device or precision, or the module cannot be compiled.
    """

    def __init__(
        self,
        model: models.Model,
        class_map: ClassMap | None = None,
        *,
        batch_size: int | None = None,
        device: str = "auto",
        advance: Callable[[int], None] | None = None,
        precision: str = "fp32",
        compile: bool = False,  # noqa: A002 - torch's own word
    ) -> None:
        super().__init__()
        self.model, self.class_map, self.advance = model, class_map, advance or (lambda _n: None)
        self.device, self.precision = devices.find(device), precision
        self._dtype = devices.find_dtype(precision, self.device)
        self._cuda = self.device.type == "cuda"
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.output_type = output_type(model, class_map)
        self._clock = Clock()
        self._lock = threading.Lock()
        self._kept, self._stack = threading.local(), ExitStack()
        self._forward_lock: AbstractContextManager[Any] = threading.Lock() if self._cuda else nullcontext()
        self._stream: Any = torch.cuda.Stream(self.device) if self._cuda else None  # type: ignore[no-untyped-call]
        self._threads = torch.get_num_threads()
        self._pixels = models.split_transform(model.transform)
        self._module: Callable[[Tensor], Tensor] = models.fast_copy(model, self._dtype).to(self.device)
        self._stack.enter_context(activations.keep_output(self._module, model.layer, self._keep))
        self._plan = self._staged if self._cuda else self._share_nothing
        self._pool = ThreadPoolExecutor(
            devices.count_cores(), "infer", initializer=None if self._cuda else devices.use_one_thread
        )
        self.batch_size = batch_size or CPU_BATCH
        if compile:
            self._compile()
        if self._cuda and batch_size is None:
            self.batch_size = devices.find_batch_size(self._try_size)

    @property
    def images_per_second(self) -> float:
        """Images finished for each second that at least one call was running."""
        return self._clock.rate

    def close(self) -> None:
        """Release the workers and the hook; the model stays usable."""
        self._pool.shutdown(cancel_futures=True)
        self._stack.close()
        torch.set_num_threads(self._threads)

    def __call__(self, column: pa.ChunkedArray) -> pa.Array:
        """Answers for an Arrow array of STRUCT(bytes, path), in order; NULL for a NULL image."""
        futures: list[Future[Any]] = []

        def submit(function: Callable[..., Any], *given: Any) -> Future[Any]:
            futures.append(self._pool.submit(function, *given))
            return futures[-1]

        with self._clock.running(len(column)):
            try:
                parts = [future.result() for future in self._plan(column, submit)]
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
        return pa.concat_arrays(parts) if parts else pa.array([], self.output_type)

    def _share_nothing(self, column: pa.ChunkedArray, submit: Submit) -> list[Future[pa.Array]]:
        """CPU: every worker takes its batches from bytes to answers."""

        def run(rows: pa.ChunkedArray) -> pa.Array:
            answers = self._decode(rows)
            self._forward(answers)
            return self._conclude(answers)

        size = self.batch_size
        return [submit(run, column.slice(start, size)) for start in range(0, len(column), size)]

    def _staged(self, column: pa.ChunkedArray, submit: Submit) -> list[Future[pa.Array]]:
        """CUDA: workers decode, the calling thread feeds the device, workers turn tensors into rows."""
        starts = range(0, len(column), DECODE_BATCH)
        decoded = [submit(self._decode, column.slice(start, DECODE_BATCH)) for start in starts]
        parts: list[Future[pa.Array]] = []
        waiting: list[Answer] = []
        for future in decoded:
            waiting += future.result()
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

    def _decode(self, rows: pa.ChunkedArray) -> list[Answer]:
        point("batch")
        if self.interrupted:
            raise InferenceError("interrupted")
        seconds = dict.fromkeys(STAGES[:3], 0.0)
        answers = self.each_in_time(
            lambda row: self._decode_one(row, seconds),
            rows.to_pylist(),
            lambda _row: Answer(error=describe_error("decode", TimeoutError(images.TOO_SLOW))),
            images.MAX_SECONDS,
            devices.use_one_thread,
        )
        self._spent(seconds)
        return answers

    def _decode_one(self, row: dict[str, Any] | None, seconds: dict[str, float]) -> Answer:
        """Bytes, pixels, tensor: whatever goes wrong is this image's error and nobody else's."""
        if row is None:
            return Answer(missing=True)
        answer, stage, start = Answer(), "fetch", time.perf_counter()
        try:
            data = images.read(row["bytes"], row["path"])
            answer.sha256 = hashlib.sha256(data).hexdigest()
            stage, start = _next("decode", stage, start, seconds)
            picture = images.decode(data)
            stage, start = _next("transform", stage, start, seconds)
            tensor = self._pixels.load(picture)
            if tuple(tensor.shape) != self.model.input_shape:
                raise ImageError(f"shape {tuple(tensor.shape)}, expected {self.model.input_shape}")
            answer.tensor = tensor
        except Exception as error:
            answer.error = describe_error(stage, error)
        _next("", stage, start, seconds)
        return answer

    def _forward(self, answers: list[Answer]) -> None:
        """Fill in logits and activations; out of memory halves the batch size for good, down to one image."""
        start, first = time.perf_counter(), 0
        while first < len(answers):
            size = self.batch_size
            part = answers[first : first + size]
            try:
                self._bisect(part, [place for place, answer in enumerate(part) if answer.tensor is not None], size)
            except torch.OutOfMemoryError:
                self._halve(size)
                continue
            first += size
        self._spent({"forward": time.perf_counter() - start})

    def _halve(self, size: int) -> None:
        with self._lock:
            self.batch_size = min(self.batch_size, size // 2)
        if self._cuda:
            torch.cuda.empty_cache()

    def _bisect(self, answers: list[Answer], places: list[int], size: int) -> None:
        """A batch that fails is halved, each image at its place, until the one at fault stands alone.

        Raises:
            torch.OutOfMemoryError: a batch of more than one image does not fit.
        """
        if not places:
            return
        try:
            self._answer(answers, places, size)
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError) and size > 1:
                raise
            if len(places) == 1:
                answers[places[0]].error = describe_error("forward", error)
                return
            half = len(places) // 2
            self._bisect(answers, places[:half], size)
            self._bisect(answers, places[half:], size)

    def _answer(self, answers: list[Answer], places: list[int], size: int) -> None:
        """One pass of always `size` images, each at its own place: an answer does not depend on its neighbours."""
        tensors = {place: answers[place].tensor for place in places}
        logits, activations = self._pass({place: t for place, t in tensors.items() if t is not None}, size)
        if tuple(logits.shape) != (size, self.model.n_outputs):
            raise InferenceError(f"logits of shape {tuple(logits.shape)}, expected {(size, self.model.n_outputs)}")
        for place in places:
            answer = answers[place]
            answer.logits = logits[place]
            answer.activation = None if activations is None else activations[place]
            if not (logits[place].isfinite().all() and (activations is None or activations[place].isfinite().all())):
                answer.error = describe_error("forward", InferenceError("the output is NaN or infinite"))

    def _pass(self, tensors: dict[int, Tensor], size: int) -> tuple[Tensor, Tensor | None]:
        """Logits and activations of `size` images, those of `tensors` at their places and blanks elsewhere."""
        point("forward")
        shape = (size, *self.model.input_shape)
        layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
        batch = torch.empty(shape, dtype=self._pixels.dtype, memory_format=layout, pin_memory=self._cuda).zero_()
        for place, tensor in tensors.items():
            batch[place] = tensor
        with torch.inference_mode(), self._forward_lock, self._on_device():
            logits = self._module(self._pixels.finish(batch.to(self.device, non_blocking=True))).float().cpu()
            return logits, self._kept.value.float().cpu() if self.model.layer else None

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """Precision; on CUDA also the stream of this engine, and products of fp32 that are not rounded to TF32."""
        with ExitStack() as stack:
            if self._dtype != torch.float32:
                stack.enter_context(torch.autocast(self.device.type, self._dtype))
            if self._cuda:
                stack.enter_context(torch.cuda.stream(self._stream))
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False))
            yield

    def _try_size(self, size: int) -> None:
        """One pass over blank images; answers are on the host when it returns."""
        self._pass({}, size)

    def _compile(self) -> None:
        """Compile in a worker, where the number of threads is the one that inference will have.

        Raises:
            InferenceError: what torch.compile says.
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

    def _conclude(self, answers: list[Answer]) -> pa.Array:
        self.advance(len(answers))
        good = [answer.error is None and answer.logits is not None for answer in answers]
        rows = [answer.logits for answer, ok in zip(answers, good, strict=True) if ok and answer.logits is not None]
        scored = score(torch.stack(rows), self.class_map) if rows else {}
        columns = {name: spread(values.numpy(), good) for name, values in scored.items()}
        if self.model.layer:
            kept = [a.activation for a, ok in zip(answers, good, strict=True) if ok and a.activation is not None]
            columns["activation"] = spread(torch.stack(kept).numpy(), good) if kept else []
        columns["sha256"] = pa.array([answer.sha256 for answer in answers], pa.string())
        columns["error"] = pa.array([answer.error for answer in answers], ERROR_TYPE)
        arrays = [
            columns[field.name].cast(field.type)
            if len(columns.get(field.name, []))
            else pa.nulls(len(good), field.type)
            for field in self.output_type
        ]
        missing = pa.array([answer.missing for answer in answers])
        return pa.StructArray.from_arrays(arrays, fields=list(self.output_type), mask=missing)


class Clock:
    """Images, and the seconds in which at least one call was running."""

    def __init__(self) -> None:
        self.images, self.seconds = 0, 0.0
        self._lock, self._calls, self._since = threading.Lock(), 0, 0.0

    @property
    def rate(self) -> float:
        """Images per second, 0 before the first call ended."""
        return self.images / self.seconds if self.seconds else 0.0

    @contextmanager
    def running(self, n_images: int) -> Iterator[None]:
        """Count a call; its images count when it ends well."""
        with self._lock:
            self._since = self._since if self._calls else time.perf_counter()
            self._calls += 1
        try:
            yield
            with self._lock:
                self.images += n_images
        finally:
            with self._lock:
                self._calls -= 1
                if not self._calls:
                    self.seconds += time.perf_counter() - self._since


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


def _next(following: str, stage: str, start: float, seconds: dict[str, float]) -> tuple[str, float]:
    """Book the time since `start` on `stage`; gives the stage that follows and now."""
    now = time.perf_counter()
    seconds[stage] += now - start
    return following, now
