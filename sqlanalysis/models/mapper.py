"""Call a user's function on batches of images: workers decode deferred columns, all outputs are checked."""

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
        of: "image", or the deferred column that this one is computed from.
        function: maps an RGB PIL image to a float tensor of `shape`; contains all steps of the chain.
        shape: shape of one value.
        source: description of the last step, as JSON.
    """

    name: str
    of: str
    function: Callable[[Any], Tensor]
    shape: tuple[int, ...]
    source: str

    def of_picture(self, picture: Any) -> Tensor:
        """The value for one RGB PIL image, a float tensor of `shape`.

        Raises:
            ImageError: the value has another shape.
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

        # A call has one DuckDB thread for up to 2,048 images; the pool uses the other cores.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            tensors = list(pool.map(value, column.to_pylist()))
        good = [tensor for tensor in tensors if tensor is not None]
        if not good:
            return pa.nulls(len(tensors), array_type(pa.float32(), self.shape))
        return spread(torch.stack(good).numpy(), [tensor is not None for tensor in tensors])


class Mapper(Interruptible):
    """Call `function` on batches of images; implements the protocol `Engine` of `runs.job`.

    The function is called by one thread at a time, with the default number of torch threads, so hooks and closures work
    as in a plain loop; workers decode and transform. A batch that raises is halved until the image that causes the
    error is alone. The outputs of each batch are checked: names, length, type and shape; NaN and infinity are errors.

    Args:
        function: takes one argument per input: deferred columns as float tensors (B, *shape), plain columns as arrays
            (B,); returns an array (B, …) or a dict of arrays.
        inputs: name of each argument.
        deferred: the deferred columns among the inputs, by name.
        batch_size: images per call.
        advance: called with the number of images that were finished.
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
        # The first lock is held while the function runs, the second while workers add up seconds.
        self._lock, self._clock = threading.Lock(), threading.Lock()
        self._pool = ThreadPoolExecutor(os.cpu_count(), "map")

    def close(self) -> None:
        """Stop the workers."""
        self._pool.shutdown(cancel_futures=True)

    def learn(self, column: pa.ChunkedArray, plain: pa.ChunkedArray | None = None) -> None:
        """Learn names and types of the outputs from one batch, whose answers are discarded.

        Args:
            column: Arrow array of STRUCT(bytes, path).
            plain: the plain inputs of the same images as STRUCT.

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
        """One answer of `output_type` per image.

        Args:
            column: Arrow array of STRUCT(bytes, path).
            plain: the plain inputs of the same images as STRUCT.

        Raises:
            InferenceError: `interrupt` was called.
        """
        items = self._load_all(column, plain)
        # DuckDB calls this from several threads; the user's function need not be thread-safe.
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
        chunks = [pairs[start : start + LOAD_BATCH] for start in range(0, len(pairs), LOAD_BATCH)]
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
                answers = batch[index].outputs = {name: values[row] for name, values in outputs.items()}
                floats = [value for value in answers.values() if np.asarray(value).dtype.kind == "f"]
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
            dtype = array_type(_dtype(name, values), values.shape[1:])
            if dtype != expected[name] and not _widens(dtype, expected[name]):
                raise InferenceError(f"output {name!r} is {dtype}, expected {expected[name]}")
        return outputs

    def _to_arrow(self, items: list[Item]) -> pa.Array:
        good = [item.is_answered for item in items]
        arrays = []
        for field in self.output_type:
            if field.name == "sha256":
                arrays.append(pa.array([item.sha256 for item in items], pa.string()))
            elif field.name == "error":
                arrays.append(pa.array([item.error for item in items], ERROR_TYPE))
            elif any(good):
                rows = [item.outputs[field.name] for item in items if item.is_answered and item.outputs is not None]
                arrays.append(spread(np.stack(rows), good).cast(field.type))
            else:
                arrays.append(pa.nulls(len(items), field.type))
        return pa.StructArray.from_arrays(arrays, fields=list(self.output_type))


def _stack(values: list[Any]) -> Any:
    return torch.stack(values) if isinstance(values[0], Tensor) else np.array(values)


def _to_numpy(name: str, values: Any, n: int) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        # numpy has no bfloat16, and the file stores no half precision.
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


def _widens(actual: pa.DataType, expected: pa.DataType) -> bool:
    """Whether values may be cast: integers to other widths or floats, float32 to float64; arrays of the same size."""
    if pa.types.is_fixed_size_list(actual) and pa.types.is_fixed_size_list(expected):
        return actual.list_size == expected.list_size and _widens(actual.value_type, expected.value_type)
    ranks = {pa.bool_(): 0, pa.int32(): 1, pa.int64(): 1, pa.float32(): 2, pa.float64(): 2}
    return actual in ranks and expected in ranks and ranks[actual] <= ranks[expected] and ranks[actual] > 0
