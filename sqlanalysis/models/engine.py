"""Run a model over Arrow arrays of images: decode, transform and forward, with errors as values.

On a CPU, each worker takes small batches from bytes to probabilities with one intra-op thread, so all cores are busy
without waiting for each other. For GPUs, processes decode, and a feeder keeps full batches before each device.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from ..core import decode
from ..core.arrow import ERROR_TYPE, spread
from ..core.classes import ClassMap
from ..core.faults import point
from ..core.interrupts import Interruptible
from ..core.noise import Complaints
from ..core.text import one_line
from ..errors import ArgumentError, InferenceError
from . import device as devices
from . import outputs, stages
from .decoders import Decoders, DecodingThreads, Result
from .feeder import Batch, Feeder, Lane, Source
from .model import Model
from .passes import Passes
from .probe import Probed, noise, probe, refuse_mixing
from .stages import STAGES, Item
from .transforms import split_transform, to_tensor
from .workers import Workers

OWN_TYPES = {**devices.DTYPES, **{name: dtype for dtype, name in devices.OWN_DTYPES.items()}}
CHECKED = 64  # images of the first block
NEEDS_LAYOUT = "view size is not compatible"  # torch's words
PROBED = 2  # images of noise in a batch
# What was found in this process of the module of a model: answers to noise, in which dtype and batch size they do not
# depend on neighbors, a layout other than channels_last if it needs that, and where workers agree with one worker.
_probed: weakref.WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], Probed]] = weakref.WeakKeyDictionary()
_unmixed: weakref.WeakKeyDictionary[nn.Module, set[tuple[str, int]]] = weakref.WeakKeyDictionary()
_layouts: weakref.WeakKeyDictionary[nn.Module, torch.memory_format] = weakref.WeakKeyDictionary()
_agreed: weakref.WeakKeyDictionary[nn.Module, set[str]] = weakref.WeakKeyDictionary()
CPU_BATCH = 8  # images
LEAST_BATCHES = 4  # with slots, for each device: two in work, one ready, one being filled
AHEAD = 16  # images with slots for each decoder
Submit = Callable[..., Future[Any]]


class Engine(Interruptible):
    """Run a model over Arrow arrays of images; callable as an Arrow UDF, from several threads at once.

    The given module is not changed: a copy runs, with batch norm folded into convolutions and in channels_last order.
    On a CPU every worker has a copy of its own, which shares the weights; a module that cannot be copied, or whose
    copies are seen to disturb each other, is run by one worker.

    The answer for an image does not depend on the other images of its batch: every pass has `batch_size` images, with
    blanks for those that failed, and each image keeps its index.

    Args:
        model: what to run.
        class_map: maps the model's outputs to classes of a data set; None keeps the outputs.
        batch_size: images per forward pass; default 8 on CPU (measured fastest for one thread), on CUDA the power of
            two beyond which throughput stops growing. Halved permanently when memory runs out.
        device: "auto", all GPUs or else the CPU; "cpu"; "cuda", all GPUs; or some of them: "cuda:0", "cuda:0,1".
        advance: called with the number of images that were finished, for a progress bar.
        dtype: "fp32", "bf16", or on CUDA "fp16": the type of convolutions and matrix products.
        compile: run the module through `torch.compile`, which first takes many seconds.
        workers: threads that compute on a CPU, processes that decode for GPUs; default: as many as cores may be used.

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
        workers: int | None = None,
    ) -> None:
        super().__init__()
        self._n = workers or devices.count_cores()
        self.model, self.class_map, self.advance = model, class_map, advance or (lambda _n: None)
        found = devices.find(device)[: None if model.can_copy else 1]
        self.device, self.dtype = ",".join(map(str, found)), devices.name_dtype(model.input_dtype, dtype)
        # A module that is not fp32 runs as it is, without autocast.
        self._dtype = devices.find_dtype(dtype, found[0]) if self.dtype == dtype else torch.float32
        self._is_staged = found[0].type == "cuda"
        self._fix_batch_size(batch_size)
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.output_type = output_type(model, class_map)
        self.notes: list[str] = []
        self.complaints = Complaints()
        self._lock = threading.Lock()
        self._feeder: Feeder | None = None
        self._threads = torch.get_num_threads()  # `use_one_thread` changes it for the process; `close` restores it
        self._pixels = split_transform(model.transform, model.input_dtype)
        self._passes = [self._make_passes(each) for each in found]
        self._is_random = False
        self._checked = False  # the first answers of workers are compared with those of one worker
        self._first = threading.Lock()  # held until then: what others compute meanwhile would not be compared
        # Without a GPU every worker computes with one thread: more would compete for the same cores.
        alone = self._is_staged or not model.can_copy
        self._pool = ThreadPoolExecutor(self._n, "infer", initializer=None if alone else devices.use_one_thread)
        self._compiled = compile
        if compile:
            self._compile()
        if self._is_staged and batch_size is None and model.batch is None:  # after compiling, which changes the speed
            self.batch_size = devices.find_batch_size(self._try_size)

    def _make_passes(self, device: torch.device) -> Passes:
        layout = _layouts.get(self.model.module, torch.channels_last)
        return Passes(self.model, device, self._dtype, self._pixels, layout)

    @property
    def _workers(self) -> Workers:
        """The modules of the first device, which answers all questions about the model."""
        return self._passes[0].workers

    def _fix_batch_size(self, batch_size: int | None) -> None:
        only = self.model.batch
        if only is not None and batch_size not in (None, only):
            raise ArgumentError(f"{self.model.name} takes batches of {only} only; leave batch_size out")
        self.batch_size = only or batch_size or CPU_BATCH

    @property
    def workers(self) -> int:
        """How many threads run the module at once."""
        return len(self._passes) if self._workers.serial else self._n

    @property
    def decoding(self) -> str:
        """Where images are decoded, and why there."""
        if not self._is_staged:
            return f"{self._n} threads, which also compute"
        if self._pixels.portable is not None:
            return f"{self._n} processes"
        return f"{self._n} threads: the transform gives floats or is code of its own, which only this process can run"

    def close(self) -> None:
        """Stop the workers; the model stays usable."""
        if self._feeder is not None:
            self._feeder.close()
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads)

    def probe(self, *, allow_random: bool = False) -> Probed:
        """Run two images of noise through the model, as `probe.probe` says; once per model, dtype and device.

        Raises:
            InferenceError: the answers are random, depend on the other images of a batch, or cannot be computed.
        """
        size = self.model.batch or min(PROBED, self.batch_size)
        model = self.model
        key = (self.device, self.dtype, size, allow_random, model.noise_size, model.layer, id(model.transform))
        known = _probed.setdefault(model.module, {})
        if key not in known:
            # In a worker, which has the number of threads that inference will have.
            ask = partial(
                probe,
                model.name,
                self._to_tensor,
                lambda tensors, n: self._passes[0].run(tensors, n),  # after `_use_contiguous`, too
                size,
                OWN_TYPES[self.dtype],
                pictures=noise(*model.noise_size),
                settings_sha256=model.settings_sha256,
                allow_random=allow_random,
            )
            try:
                known[key] = self._pool.submit(ask).result()
            except InferenceError as error:
                if NEEDS_LAYOUT not in str(error) or self.model.module in _layouts:
                    raise
                self._use_contiguous()
                known[key] = self._pool.submit(ask).result()
        self._is_random = known[key].is_random
        self._checked = self._checked or self._is_random
        self._notice_writes()
        return known[key]

    def _use_contiguous(self) -> None:
        """Run a module whose `view` needs tensors in (B, C, H, W) order."""
        _layouts[self.model.module] = torch.contiguous_format
        self._passes = [self._make_passes(passes.device) for passes in self._passes]
        if self._compiled:
            for passes in self._passes:
                passes.workers.compile()

    def __call__(self, column: pa.ChunkedArray) -> pa.Array:
        """One answer of `output_type` per image of an Arrow array of STRUCT(bytes, path); NULL for a NULL image."""
        if self._is_staged:
            return self._feed(column)
        with self._first:
            if self._must_check(len(column)):
                return self._compare(column, first=True)
        return self._compare(column, first=False)

    def _compare(self, column: pa.ChunkedArray, *, first: bool) -> pa.Array:
        """The answers, of one worker if several disturb each other, which the first call finds out."""
        serial = self._workers.serial
        mixing = not self._is_random and (self.dtype, self.batch_size) not in _unmixed.setdefault(
            self.model.module, set()
        )
        kept: list[list[Item]] = []
        answers = self._compute(column, kept if first or mixing else None)
        disturbed = not serial and (
            self._workers.serial or self._notice_writes() or self._differ(kept if first else [])
        )
        if disturbed:
            answers = self._compute(column, None)
        if mixing and kept:
            batch = max(kept, key=lambda items: sum(item.is_answered for item in items))[: self.batch_size]
            try:
                self._refuse_mixing(self._pool.submit(self._repeat, [batch]).result() if disturbed else batch)
            except InferenceError as error:
                self.refusal = error
                raise
        self.advance(len(column))
        return answers

    def _compute(self, column: pa.ChunkedArray, kept: list[list[Item]] | None) -> pa.Array:
        """The answers; with `kept`, the first batches are left there."""
        futures: list[Future[Any]] = []

        def submit(function: Callable[..., Any], *given: Any) -> Future[Any]:
            futures.append(self._pool.submit(function, *given))
            return futures[-1]

        try:
            parts = [future.result() for future in self._share_nothing(column, submit, kept)]
        except BaseException:  # no worker must continue with images that nobody waits for
            for future in futures:
                future.cancel()
            raise
        return pa.concat_arrays(parts) if parts else pa.array([], self.output_type)

    def _notice_writes(self) -> bool:
        """Whether a pass wrote to something that the copies of the workers share; from then on one worker runs."""
        written = self._workers.written()
        if written is not None:
            self._serialize(f"a pass of {self.model.name} writes to a {written} that its copies share")
        return written is not None

    def _must_check(self, n_images: int) -> bool:
        """Whether the answers of this call are to be compared with others: once for a model and dtype."""
        known = _agreed.setdefault(self.model.module, set())
        with self._lock:
            asked = n_images > 0 and not (self._checked or self._workers.serial or self.dtype in known)
            self._checked = self._checked or asked
        return asked

    def _differ(self, batches: list[list[Item]]) -> bool:
        """Whether one worker gives other answers, to the bit; from then on one worker runs."""
        if not batches:
            return False
        alone = self._pool.submit(self._repeat, batches).result()
        differs = not _equal(alone, [item for batch in batches for item in batch])
        # A module whose sums differ from pass to pass by rounding disturbs nobody.
        differs = differs and _equal(alone, self._pool.submit(self._repeat, batches).result())
        if differs:
            self._serialize(f"workers of {self.model.name} disturb each other: their answers are not those of one")
        _agreed.setdefault(self.model.module, set()).add(self.dtype)
        return differs

    def _refuse_mixing(self, batch: list[Item]) -> None:
        """Refuse answers that depend on the place or on neighbors in a batch of full size; the probe has two images.

        Raises:
            InferenceError: backwards, the images get other answers.
        """
        size = self.batch_size
        ready = [item for item in batch if item.is_answered]
        if size > PROBED and len(ready) > 1:
            # Other neighbors: each half of them, from the last place backwards.
            for half in (ready[: len(ready) // 2], ready[len(ready) // 2 :]):
                places = [half[(size - 1 - place) % len(half)] for place in range(size)]
                inputs = {place: item.inputs for place, item in enumerate(places)}
                logits, _ = self._pool.submit(self._passes[0].run, inputs, size).result()
                before = [(item.outputs["logits"], None) for item in places]  # type: ignore[index]
                refuse_mixing(self.model.name, OWN_TYPES[self.dtype], before, [(row, None) for row in logits])
        if size <= PROBED or len(ready) > 1:  # else a later call has more
            _unmixed.setdefault(self.model.module, set()).add((self.dtype, size))

    def _repeat(self, batches: list[list[Item]]) -> list[Item]:
        """The same batches by this worker alone."""
        fresh = [[Item(inputs=item.inputs) for item in batch] for batch in batches]
        for batch in fresh:
            self._forward(batch)
        return [item for batch in fresh for item in batch]

    def _serialize(self, reason: str) -> None:
        with self._lock:
            if not self._workers.serial:
                self._workers.serial = True
                self.notes.append(f"{reason}; so one worker runs it")

    def _share_nothing(
        self, column: pa.ChunkedArray, submit: Submit, kept: list[list[Item]] | None
    ) -> list[Future[pa.Array]]:
        """CPU: each worker takes its batches from bytes to answers."""
        size = self.batch_size
        # All of the first block where copies share anything; what each worker does first for code of one's own; one
        # batch for that of packages.
        least = self.workers * size if self._workers.own else size
        n_kept = 0 if kept is None else CHECKED if self._workers.share else least

        def run(start: int) -> pa.Array:
            items = self._decode(column.slice(start, size))
            self._forward(items)
            if kept is not None and start < n_kept:
                kept.append(items)
            return self._conclude(items)

        return [submit(run, start) for start in range(0, len(column), size)]

    def _feed(self, column: pa.ChunkedArray) -> pa.Array:
        """GPUs: decoders fill batches across all calls, and the feeder gives them to the devices."""
        with self._lock:
            if self._feeder is None:
                self._feeder = self._make_feeder()
        images = column.combine_chunks()
        there = images.is_valid()
        present = images.filter(there) if images.null_count else images
        rows = list(zip(present.field("bytes").to_pylist(), present.field("path").to_pylist(), strict=True))
        try:
            pieces = self._feeder.ask(rows)
        except InferenceError as error:
            self.refusal = None if self.interrupted else error
            raise
        answers = pa.concat_arrays(pieces) if pieces else pa.array([], self.output_type)
        if images.null_count:
            index = pa.array(
                there.to_numpy(zero_copy_only=False).cumsum() - 1,
                pa.int64(),
                mask=~there.to_numpy(zero_copy_only=False),
            )
            answers = answers.take(index)
        self.advance(len(column))
        return answers

    def note_speed(self) -> list[str]:
        """What bf16 would bring on the first GPU, measured with a few passes; nothing for another dtype or the CPU."""
        if not self._is_staged or self.dtype != "fp32" or self._dtype != torch.float32 or not self.model.can_copy:
            return []
        faster = Passes(self.model, self._passes[0].device, torch.bfloat16, self._pixels, self._passes[0].layout)
        try:
            own, other = (devices.time_passes(each.run, self.batch_size) for each in (self._passes[0], faster))
        except Exception:  # no memory for both, or a module without bf16
            return []
        rates = f"{self.batch_size / own:,.0f} img/s in fp32, {self.batch_size / other:,.0f} in bf16"
        return [f'the device alone: {rates} (dtype="bf16", --dtype bf16; fp32 is the reference)']

    def _make_feeder(self) -> Feeder:
        n = self._n
        batches = max(LEAST_BATCHES * len(self._passes), 2 + -(-AHEAD * n // self.batch_size))
        lanes = [Lane(partial(self._start, passes), 2) for passes in self._passes]
        return Feeder(
            self._make_decoders(n, batches * self.batch_size), self.batch_size, lanes, self._must_stop, self._decoded
        )

    def _make_decoders(self, n: int, n_slots: int) -> Source:
        """Processes, whose work costs this one nearly nothing; threads for a transform that they cannot have."""
        if self._pixels.portable is not None:
            return Decoders(self._pixels.portable, self.model.input_shape, n_slots, n)
        slots = torch.empty((n_slots, *self.model.input_shape), dtype=self._pixels.dtype)
        return DecodingThreads(self._to_tensor, slots, n)

    def _must_stop(self) -> bool:
        return self.interrupted

    def _decoded(self, results: Sequence[Result]) -> None:
        self._spent({stage: sum(result.seconds[i] for result in results) for i, stage in enumerate(STAGES[:3])})

    def _start(self, passes: Passes, batch: Batch) -> Callable[[], pa.Array]:
        """Begin a batch on a device; gives what waits for its answers."""
        if self.interrupted:
            raise InferenceError("interrupted")
        start, good, waits = time.perf_counter(), batch.good, None
        pixels = torch.as_tensor(batch.pixels)
        for place in {*batch.errors, *range(batch.n, len(pixels))}:
            pixels[place] = 0
        mixing = not self._is_random and (self.dtype, self.batch_size) not in _unmixed.setdefault(
            self.model.module, set()
        )
        if any(good) and not mixing and self.batch_size == len(pixels):
            try:
                point("forward")
                waits = passes.launch(pixels, self._columns)
            except Exception as error:
                self._refuse_lost(passes, error)
        self._spent({"forward": time.perf_counter() - start})

        def answers() -> pa.Array:
            began, columns = time.perf_counter(), None
            try:
                columns = waits() if waits is not None else None
            except Exception as error:
                self._refuse_lost(passes, error)
            self._complain(batch)
            self._spent({"forward": time.perf_counter() - began})
            chosen = torch.tensor(good)
            if columns is not None and columns.pop("fine")[: batch.n][chosen].all():
                scored = {name: values[: batch.n][chosen] for name, values in columns.items()}
                errors = [batch.errors.get(place) for place in range(batch.n)]
                return self._to_arrow(scored, good, batch.sha256, errors)
            return self._with_care(passes, batch, mixing)

        return answers

    def _with_care(self, passes: Passes, batch: Batch, mixing: bool) -> pa.Array:
        """The answers of a batch of which an image has none, or none that may be kept: which, and why."""
        pixels = torch.as_tensor(batch.pixels)
        items = [
            Item(sha256=sha256, error=batch.errors.get(place), inputs=None if place in batch.errors else pixels[place])
            for place, sha256 in enumerate(batch.sha256)
        ]
        self._forward(items, passes)
        if mixing:
            self._refuse_mixing(items[: self.batch_size])
        return self._conclude(items)

    def _refuse_lost(self, passes: Passes, error: Exception) -> None:
        """Refuse to go on with a device that fails whatever it is asked: such an error is not about an image.

        Raises:
            InferenceError: the device is lost.
        """
        if isinstance(error, torch.OutOfMemoryError):
            return
        problem = devices.find_failure(passes.device)
        if problem is not None:
            raise InferenceError(
                f"{passes.device} failed and cannot go on in this process: {one_line(error)}; {problem}"
            ) from error

    def _columns(self, logits: Tensor, activations: Tensor | None) -> dict[str, Tensor]:
        """Columns of the answers of a batch as they are stored, and which of them may be, where the logits are."""
        columns: dict[str, Tensor] = {}
        if tuple(logits.shape[1:]) != (self.model.width,):
            raise InferenceError(f"outputs of shape {tuple(logits.shape)}, expected {self.model.width} for each image")
        fine = outputs.fits(logits, self.model.outputs)
        if not self.model.is_encoder:
            columns = dict(outputs.score(logits, self.class_map, self.model.outputs))
            fine &= columns["probs"].isfinite().all(1)
        if activations is not None:
            if tuple(activations.shape) != (len(logits), self.model.n_activations):
                raise InferenceError(f"layer {self.model.layer!r} gives {tuple(activations.shape)}")
            fine &= activations.isfinite().all(1)
            columns["activation"] = activations
        return {
            **{name: values.float() if values.is_floating_point() else values for name, values in columns.items()},
            "fine": fine,
        }

    def _complain(self, batch: Batch) -> None:
        for place, said in batch.said.items():
            self.complaints.add(batch.sha256[place], batch.rows[place][1], said)

    def _spent(self, seconds: dict[str, float]) -> None:
        with self._lock:
            for stage, value in seconds.items():
                self.seconds[stage] += value

    def _decode(self, rows: pa.ChunkedArray) -> list[Item]:
        point("batch")
        if self.interrupted:
            raise InferenceError("interrupted")
        seconds = dict.fromkeys(STAGES[:3], 0.0)
        given = rows.to_pylist()
        items = self.each_in_time(
            lambda row: stages.load(row, self._to_tensor, seconds),
            given,
            lambda _row: stages.too_slow(),
            decode.MAX_SECONDS,
            devices.use_one_thread,
        )
        self._spent(seconds)
        for row, item in zip(given, items, strict=True):
            if item.error is None and item.said:
                self.complaints.add(item.sha256, row["path"], item.said)
        return items

    def _to_tensor(self, picture: Any) -> Tensor:
        tensor = torch.as_tensor(self._pixels.load(picture))
        stages.check_shape(tensor.shape, self.model.input_shape)
        return tensor

    def _forward(self, items: list[Item], passes: Passes | None = None) -> None:
        """Compute logits and activations; out of memory halves the batch size permanently, down to one image."""
        start, first = time.perf_counter(), 0
        while first < len(items):
            size = self.batch_size
            batch = items[first : first + size]
            try:
                self._answer(batch, size, passes or self._passes[0])
            except torch.OutOfMemoryError:
                self._halve(size)
                continue
            first += size
        self._spent({"forward": time.perf_counter() - start})

    def _halve(self, size: int) -> None:
        with self._lock:
            # Several workers may fail at the same size; it is halved once.
            self.batch_size = min(self.batch_size, size // 2)
        if self._is_staged:
            torch.cuda.empty_cache()  # does nothing without CUDA

    def _answer(self, batch: list[Item], size: int, passes: Passes) -> None:
        """Answer a batch in passes of exactly `size` images, each at its own index, so that answers are reproducible.

        Raises:
            torch.OutOfMemoryError: a batch of more than one image does not fit into memory.
        """

        def answer(indices: Sequence[int]) -> None:
            point("forward")
            logits, activations = passes.run({index: batch[index].inputs for index in indices}, size)
            if tuple(logits.shape) != (size, self.model.width):
                raise InferenceError(f"outputs of shape {tuple(logits.shape)}, expected {(size, self.model.width)}")
            outputs.check(logits[indices], self.model.outputs)
            if activations is not None and tuple(activations.shape) != (size, self.model.n_activations):
                expected = (size, self.model.n_activations)
                raise InferenceError(
                    f"layer {self.model.layer!r} gives {tuple(activations.shape)}, expected {expected}"
                )
            finite = [True] * size if activations is None else activations.isfinite().all(1).tolist()
            for index in indices:
                if not finite[index]:
                    batch[index].fail("forward", InferenceError("the activation is NaN or infinite"))
                    continue
                kept = {} if activations is None else {"activation": activations[index]}
                batch[index].outputs = {"logits": logits[index], **kept}

        ready = [index for index, item in enumerate(batch) if item.inputs is not None]

        def must_raise(error: BaseException) -> bool:
            if isinstance(error, torch.OutOfMemoryError):
                return size > 1 and self.model.batch is None
            if self._is_staged and isinstance(error, Exception):
                self._refuse_lost(passes, error)
            return False

        stages.bisect(batch, ready, answer, must_raise)

    def _try_size(self, size: int) -> None:
        """One pass over blank images; waits until the answers are on the host."""
        self._passes[0].run({}, size)

    def _compile(self) -> None:
        """Compile in a worker, which has the number of threads that inference will have.

        Raises:
            InferenceError: torch.compile fails; the message has its first line.
        """
        try:
            for passes in self._passes:
                passes.workers.compile()
            self._pool.submit(self._try_size, self.batch_size).result()
        except Exception as error:
            first = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
            self.close()
            raise InferenceError(
                f"torch.compile fails on {self.model.name}: {first}; run it without compile"
            ) from error

    def _score(self, items: list[Item]) -> dict[str, Tensor]:
        """Columns of the answers of these items; one whose answer cannot be scored fails, and has no row in them."""
        if not items:
            return {}
        held = [item.outputs or {} for item in items]
        scored: dict[str, Tensor] = {}
        if not self.model.is_encoder:
            logits = torch.stack([values["logits"] for values in held])
            scored = outputs.score(logits, self.class_map, self.model.outputs)
            for item, fine in zip(items, scored["probs"].isfinite().all(1).tolist(), strict=True):
                if not fine:
                    item.fail("forward", InferenceError("no probability is left for the classes of the data set"))
        if self.model.n_activations is not None:
            scored["activation"] = torch.stack([values["activation"] for values in held])
        kept = torch.tensor([item.is_answered for item in items])
        return {name: values[kept] for name, values in scored.items()}

    def _conclude(self, items: list[Item]) -> pa.Array:
        scored = self._score([item for item in items if item.is_answered])
        good = [item.is_answered for item in items]
        missing = pa.array([item.missing for item in items])
        return self._to_arrow(scored, good, [item.sha256 for item in items], [item.error for item in items], missing)

    def _to_arrow(
        self,
        scored: Mapping[str, Tensor],
        good: Sequence[bool],
        sha256: Sequence[str | None],
        errors: Sequence[dict[str, str] | None],
        missing: pa.Array | None = None,
    ) -> pa.Array:
        """Answers from columns that have a row for each good image."""
        columns = {name: spread(values.numpy(), good) for name, values in scored.items()} if any(good) else {}
        columns["sha256"] = pa.array(sha256, pa.string())
        columns["error"] = pa.array(errors, ERROR_TYPE)
        arrays = [
            columns[field.name].cast(field.type) if field.name in columns else pa.nulls(len(good), field.type)
            for field in self.output_type
        ]
        return pa.StructArray.from_arrays(arrays, fields=list(self.output_type), mask=missing)


def _equal(first: list[Item], second: list[Item]) -> bool:
    """Whether the outputs of the images without an error are equal to the bit."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a.is_answered and b.is_answered]
    return all(torch.equal(a.outputs[key], b.outputs[key]) for a, b in pairs for key in a.outputs)  # type: ignore[index,union-attr]


def fit(model: Model, columns: Iterable[pa.ChunkedArray]) -> Model:
    """The model for pictures of the size of the first that can be read, where the shape of its input follows it.

    Args:
        model: any.
        columns: Arrow arrays of STRUCT(bytes, path).
    """
    for row in (row for column in columns for row in column.to_pylist()):
        try:
            picture = decode.decode(decode.read(row["bytes"], row["path"]))
            shape = tuple(to_tensor(model.transform(picture)).shape)
        except (Exception, SystemExit):  # noqa: S112 - the run records why
            continue
        return replace(model, input_shape=shape, noise_size=picture.size)
    return model


def output_type(model: Model, class_map: ClassMap | None) -> pa.StructType:
    """The Arrow type of one answer."""
    fields: list[tuple[str, pa.DataType]] = []
    if not model.is_encoder:
        width = class_map.n_classes if class_map else model.n_outputs
        fields = [("pred", pa.int32()), ("confidence", pa.float32()), ("probs", pa.list_(pa.float32(), width))]
    if class_map is not None:
        fields += [("raw_pred", pa.int32()), ("raw_confidence", pa.float32()), ("inside", pa.float32())]
    if model.n_activations is not None:
        fields.append(("activation", pa.list_(pa.float32(), model.n_activations)))
    return pa.struct([*fields, ("sha256", pa.string()), ("error", ERROR_TYPE)])
