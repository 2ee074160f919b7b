"""A user's function over batches of images: deferred columns decoded in workers, outputs checked on every batch."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from . import images
from .answers import ERROR_TYPE, Interruptible, array_type, describe_error, spread
from .errors import ImageError, InferenceError

SINGLE = "output"  # the column of a function that returns one array
LOAD_BATCH = 8
_KINDS = {"b": pa.bool_(), "i": pa.int64(), "u": pa.int64(), "U": pa.string()}


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
            try:
                return None if row is None else self.of_picture(images.decode(images.read(row["bytes"], row["path"])))
            except Exception:
                return None

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = list(pool.map(value, column.to_pylist()))
        good = [one for one in found if one is not None]
        if not good:
            return pa.nulls(len(found), array_type(pa.float32(), self.shape))
        return spread(torch.stack(good).numpy(), [one is not None for one in found])


@dataclass
class Item:
    """One image on its way through the function."""

    sha256: str | None = None
    values: list[Any] = field(default_factory=list)
    outputs: dict[str, Any] | None = None
    error: dict[str, str] | None = None


class Mapper(Interruptible):
    """Calls `function` on batches; an engine in the sense of `blocks`.

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
        self.seconds = {"fetch": 0.0, "decode": 0.0, "transform": 0.0, "forward": 0.0}
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
        self.expect({name: array_type(_kind(name, values), values.shape[1:]) for name, values in answered.items()})

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
                self._answer([item for item in part if item.error is None])
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
        late = Item(error=describe_error("decode", TimeoutError(images.TOO_SLOW)))
        return self.each_in_time(self._load, pairs, lambda _pair: late, images.MAX_SECONDS)

    def _load(self, pair: tuple[dict[str, Any], dict[str, Any]]) -> Item:
        (row, given), item, stage = pair, Item(), "fetch"
        try:
            start = time.perf_counter()
            data = images.read(row["bytes"], row["path"])
            item.sha256 = hashlib.sha256(data).hexdigest()
            fetched, stage = time.perf_counter(), "decode"
            picture = images.decode(data) if self.deferred else None
            decoded, stage = time.perf_counter(), "transform"
            for name in self.inputs:
                item.values.append(self.deferred[name].of_picture(picture) if name in self.deferred else given[name])
            with self._clock:
                self.seconds["fetch"] += fetched - start
                self.seconds["decode"] += decoded - fetched
                self.seconds["transform"] += time.perf_counter() - decoded
        except Exception as error:
            item.error = describe_error(stage, error)
        return item

    def _answer(self, items: list[Item]) -> None:
        if not items:
            return
        try:
            outputs = self._check(self._call(items), len(items))
        except Exception as error:
            if len(items) == 1:
                items[0].error = describe_error("forward", error)
                return
            half = len(items) // 2
            self._answer(items[:half])
            self._answer(items[half:])
            return
        for number, item in enumerate(items):
            item.outputs = {name: values[number] for name, values in outputs.items()}
            floats = [value for value in item.outputs.values() if np.asarray(value).dtype.kind == "f"]
            if not all(np.isfinite(value).all() for value in floats):
                item.error = describe_error("forward", InferenceError("the output is NaN or infinite"))

    def _call(self, items: list[Item]) -> dict[str, np.ndarray]:
        arguments = [_stack([item.values[place] for item in items]) for place in range(len(self.inputs))]
        answer = self.function(*arguments)
        outputs = answer if isinstance(answer, Mapping) else {SINGLE: answer}
        return {name: _to_numpy(name, values, len(items)) for name, values in outputs.items()}

    def _check(self, outputs: dict[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
        expected = {f.name: f.type for f in self.output_type if f.name not in ("sha256", "error")}
        if outputs.keys() != expected.keys():
            raise InferenceError(f"outputs {', '.join(outputs)}; expected {', '.join(expected)}")
        for name, values in outputs.items():
            found = array_type(_kind(name, values), values.shape[1:])
            if found != expected[name] and not _widens(found, expected[name]):
                raise InferenceError(f"output {name!r} is {found}, expected {expected[name]}")
        return outputs

    def _to_arrow(self, items: list[Item]) -> pa.Array:
        good = [item.error is None for item in items]
        arrays = []
        for one in self.output_type:
            if one.name == "sha256":
                arrays.append(pa.array([item.sha256 for item in items], pa.string()))
            elif one.name == "error":
                arrays.append(pa.array([item.error for item in items], ERROR_TYPE))
            elif any(good):
                rows = [item.outputs[one.name] for item in items if item.error is None and item.outputs is not None]
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


def _kind(name: str, values: np.ndarray) -> pa.DataType:
    if values.dtype.kind == "f":
        return pa.float64() if values.dtype == np.float64 else pa.float32()
    if values.dtype.kind not in _KINDS:
        raise InferenceError(f"output {name!r} is of type {values.dtype}; give numbers, booleans or text")
    return _KINDS[values.dtype.kind]


def _widens(found: pa.DataType, expected: pa.DataType) -> bool:
    """Whether a value converts without loss of kind: integers to floats or other widths, float32 to float64."""
    if pa.types.is_fixed_size_list(found) and pa.types.is_fixed_size_list(expected):
        return found.list_size == expected.list_size and _widens(found.value_type, expected.value_type)
    ranks = {pa.bool_(): 0, pa.int32(): 1, pa.int64(): 1, pa.float32(): 2, pa.float64(): 2}
    return found in ranks and expected in ranks and ranks[found] <= ranks[expected] and ranks[found] > 0
