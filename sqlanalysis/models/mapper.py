"""A user's function over batches of images: deferred columns decoded in workers, outputs checked on every batch."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from ..core import decode
from ..core.arrow import ERROR_TYPE, array_type, spread
from ..core.interrupts import Interruptible
from ..errors import ImageError, InferenceError
from . import stages
from .stages import STAGES, Item

SINGLE = "output"  # the column of a function that returns one array
LOAD_BATCH = 8
_DTYPES = {"b": pa.bool_(), "i": pa.int64(), "u": pa.int64(), "U": pa.string()}


@dataclass(frozen=True)
class DeferredColumn:
    """A column that is computed when it is read.

    Attributes:
        name: SQL name.
        of: "image", or the deferred column it builds on.
        function: from an RGB PIL image to a float tensor of `shape`, all steps of the chain together.
        shape: of one value.
        source: what the last step is, for people.
    """

    name: str
    of: str
    function: Callable[[Any], Tensor]
    shape: tuple[int, ...]
    source: str

    def of_picture(self, picture: Any) -> Tensor:
        """The value for one RGB PIL image, a float tensor of `shape`.

        Raises:
            ImageError: a value of another shape.
        """
        value = torch.as_tensor(self.function(picture), dtype=torch.float32)
        if tuple(value.shape) != self.shape:
            raise ImageError(f"column {self.name} has shape {tuple(value.shape)} here, expected {self.shape}")
        return value

    def __call__(self, column: pa.ChunkedArray) -> pa.Array:
        """Values for an Arrow array of STRUCT(bytes, path); NULL where the image cannot be read or transformed."""

        def value(row: dict[str, Any] | None) -> Tensor | None:
            inputs: Tensor | None = stages.load(row, self.of_picture, dict.fromkeys(STAGES, 0.0)).inputs
            return inputs

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = list(pool.map(value, column.to_pylist()))
        good = [one for one in found if one is not None]
        if not good:
            return pa.nulls(len(found), array_type(pa.float32(), self.shape))
        return spread(torch.stack(good).numpy(), [one is not None for one in found])


class Mapper(Interruptible):
    """Calls `function` on batches; an engine in the sense of `runs.job`.

    The function is called by one thread at a time, with torch's usual number of threads, so hooks and closures work
    as in a plain loop; decoding and transforms run in workers beside it. A batch that raises is halved until the image
    at fault stands alone. Outputs are checked on every batch: names, length, type and shape; NaN and infinite are
    errors.

    Args:
        function: takes one argument per input: deferred columns as float tensors (B, *shape), plain columns as arrays
            (B,); returns an array (B, …) or a dict of them.
        inputs: name of each argument.
        deferred: the deferred columns among them.
        batch_size: images per call.
        advance: called with the number of images finished.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: Sequence[str],
        deferred: Mapping[str, DeferredColumn],
        batch_size: int,
        advance: Callable[[int], None],
    ) -> None:
        super().__init__()
        self.function, self.inputs, self.deferred = function, inputs, deferred
        self.batch_size, self.advance = batch_size, advance
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.output_type = pa.struct([])
        self._lock, self._clock = threading.Lock(), threading.Lock()
        self._pool = ThreadPoolExecutor(os.cpu_count(), "map")

    def close(self) -> None:
        """Release the workers."""
        self._pool.shutdown(cancel_futures=True)

    def learn(self, column: pa.ChunkedArray, plain: pa.ChunkedArray | None = None) -> None:
        """Learn names and types of the outputs from one batch, whose answers are thrown away.

        Raises:
            InferenceError: no image of the batch can be read, or the function fails on those that can.
        """
        items = [item for item in self._load_all(column, plain) if item.error is None]
        if not items:
            raise InferenceError("no image of the first batch can be read; give outputs=, or another where=")
        try:
            answered = self._call(items)
        except Exception as error:
            raise InferenceError(f"the function fails on the first batch: {type(error).__name__}: {error}") from error
        self.expect({name: array_type(_dtype(name, values), values.shape[1:]) for name, values in answered.items()})

    def expect(self, types: Mapping[str, pa.DataType]) -> None:
        """Set names and types of the outputs."""
        fields = [*types.items(), ("sha256", pa.string()), ("error", ERROR_TYPE)]
        self.output_type = pa.struct(fields)

    def __call__(self, column: pa.ChunkedArray, plain: pa.ChunkedArray | None = None) -> pa.Array:
        """One answer per image; `plain` holds the plain inputs as STRUCT."""
        items = self._load_all(column, plain)
        with self._lock:
            for start in range(0, len(items), self.batch_size):
                part = items[start : start + self.batch_size]
                if self.interrupted:
                    raise InferenceError("interrupted")
                began = time.perf_counter()
                self._answer(part)
                self.seconds["forward"] += time.perf_counter() - began
                self.advance(len(part))
        return self._to_arrow(items)

    def _load_all(self, column: pa.ChunkedArray, plain: pa.ChunkedArray | None) -> list[Item]:
        rows = column.to_pylist()
        given = plain.to_pylist() if plain is not None else [{}] * len(rows)
        pairs = list(zip(rows, given, strict=True))
        chunks = [pairs[at : at + LOAD_BATCH] for at in range(0, len(pairs), LOAD_BATCH)]
        parts = self._pool.map(self._load_some, chunks)
        return [item for part in parts for item in part]

    def _load_some(self, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[Item]:
        seconds = dict.fromkeys(STAGES, 0.0)
        items = self.each_in_time(
            lambda pair: self._load(*pair, seconds), pairs, lambda _pair: stages.too_slow(), decode.MAX_SECONDS
        )
        with self._clock:
            for stage, value in seconds.items():
                self.seconds[stage] += value
        return items

    def _load(self, row: dict[str, Any], given: dict[str, Any], seconds: dict[str, float]) -> Item:
        def inputs(picture: Any) -> list[Any]:
            return [
                self.deferred[name].of_picture(picture) if name in self.deferred else given[name]
                for name in self.inputs
            ]

        return stages.load(row, inputs, seconds, pixels=bool(self.deferred))

    def _answer(self, batch: list[Item]) -> None:
        def answer(indices: Sequence[int]) -> None:
            outputs = self._check(self._call([batch[index] for index in indices]))
            for row, index in enumerate(indices):
                found = batch[index].outputs = {name: values[row] for name, values in outputs.items()}
                floats = [value for value in found.values() if np.asarray(value).dtype.kind == "f"]
                if not all(np.isfinite(value).all() for value in floats):
                    batch[index].fail("forward", InferenceError("the output is NaN or infinite"))

        stages.bisect(batch, [index for index, item in enumerate(batch) if item.error is None], answer)

    def _call(self, items: list[Item]) -> dict[str, np.ndarray]:
        arguments = [_stack([item.inputs[column] for item in items]) for column in range(len(self.inputs))]
        answer = self.function(*arguments)
        outputs = answer if isinstance(answer, Mapping) else {SINGLE: answer}
        return {name: _to_numpy(name, values, len(items)) for name, values in outputs.items()}

    def _check(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        expected = {f.name: f.type for f in self.output_type if f.name not in ("sha256", "error")}
        if outputs.keys() != expected.keys():
            raise InferenceError(f"outputs {', '.join(outputs)}; expected {', '.join(expected)}")
        for name, values in outputs.items():
            found = array_type(_dtype(name, values), values.shape[1:])
            if found != expected[name] and not _widens(found, expected[name]):
                raise InferenceError(f"output {name!r} is {found}, expected {expected[name]}")
        return outputs

    def _to_arrow(self, items: list[Item]) -> pa.Array:
        good = [item.is_answered for item in items]
        arrays = []
        for one in self.output_type:
            if one.name == "sha256":
                arrays.append(pa.array([item.sha256 for item in items], pa.string()))
            elif one.name == "error":
                arrays.append(pa.array([item.error for item in items], ERROR_TYPE))
            elif any(good):
                rows = [item.outputs[one.name] for item in items if item.is_answered and item.outputs is not None]
                arrays.append(spread(np.stack(rows), good).cast(one.type))
            else:
                arrays.append(pa.nulls(len(items), one.type))
        return pa.StructArray.from_arrays(arrays, fields=list(self.output_type))


def _stack(values: list[Any]) -> Any:
    return torch.stack(values) if isinstance(values[0], Tensor) else np.array(values)


def _to_numpy(name: str, values: Any, n: int) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    array: np.ndarray = np.asarray(values)
    if array.ndim == 0 or len(array) != n:
        raise InferenceError(f"output {name!r} has shape {array.shape}; the first axis must be the batch, here {n}")
    return array


def _dtype(name: str, values: np.ndarray) -> pa.DataType:
    if values.dtype.kind == "f":
        return pa.float64() if values.dtype == np.float64 else pa.float32()
    if values.dtype.kind not in _DTYPES:
        raise InferenceError(f"output {name!r} is of type {values.dtype}; give numbers, booleans or text")
    return _DTYPES[values.dtype.kind]


def _widens(found: pa.DataType, expected: pa.DataType) -> bool:
    """Whether a value converts without loss: integers to floats or other widths, float32 to float64."""
    if pa.types.is_fixed_size_list(found) and pa.types.is_fixed_size_list(expected):
        return found.list_size == expected.list_size and _widens(found.value_type, expected.value_type)
    ranks = {pa.bool_(): 0, pa.int32(): 1, pa.int64(): 1, pa.float32(): 2, pa.float64(): 2}
    return found in ranks and expected in ranks and ranks[found] <= ranks[expected] and ranks[found] > 0
