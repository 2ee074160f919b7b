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
import pyarrow.compute as pc
import torch
from torch import Tensor

from ..core import decode
from ..core.arrow import ERROR_TYPE, array_type, spread
from ..core.interrupts import Interruptible
from ..errors import ImageError, InferenceError
from . import stages
from .stages import STAGES, Item
from .transforms import to_tensor

SINGLE = "output"  # the column of a function that returns one array
LOAD_BATCH = 8
Shape = tuple[int | None, ...]
# What is stored of one batch, and for each image None or why it has no answer.
Finish = Callable[[dict[str, np.ndarray]], tuple[dict[str, np.ndarray], Sequence[str | None]]]
_DTYPES = {"b": pa.bool_(), "i": pa.int64(), "u": pa.int64(), "U": pa.string()}


@dataclass(frozen=True)
class ColumnFunction:
    """What computes a deferred column.

    Attributes:
        name: SQL name.
        of: "image", or the deferred column that this one is computed from.
        function: maps an RGB PIL image to a tensor of `shape`; contains all steps of the chain.
        shape: shape of one value; None where it varies by image.
        source: description of the last step, as JSON.
    """

    name: str
    of: str
    function: Callable[[Any], Any]
    shape: Shape
    source: str

    @property
    def type(self) -> pa.DataType:
        """The Arrow type of one value."""
        return array_type(pa.float32(), self.shape)

    def of_picture(self, picture: Any) -> Tensor:
        """The value for one RGB PIL image, a float tensor of `shape`.

        Raises:
            ImageError: the value has another shape, or is not an array of numbers.
        """
        value = as_tensor(self.function(picture))
        sizes = tuple(value.shape)
        if len(sizes) != len(self.shape) or any(
            size not in (None, n) for n, size in zip(sizes, self.shape, strict=True)
        ):
            raise ImageError(
                f"column {self.name} has shape {sizes} here, expected {self.shape}; where it varies by image, "
                "give shape= with None for that axis"
            )
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
        if None in self.shape or not good:
            return pa.array([None if tensor is None else tensor.tolist() for tensor in tensors], self.type)
        return spread(torch.stack(good).numpy(), [tensor is not None for tensor in tensors])


def as_tensor(value: Any) -> Tensor:
    """A transform's value as a float tensor.

    Raises:
        ImageError: it is not an array of numbers.
    """
    try:
        return torch.as_tensor(to_tensor(value) if isinstance(value, Mapping) else value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise ImageError(
            f"the transform gives {type(value).__name__}, where a tensor or an array of numbers is needed"
        ) from None


@dataclass(frozen=True)
class Trial:
    """What came of a first batch: one answer of the function, the errors, and how many images the function got."""

    outputs: dict[str, np.ndarray] | None
    errors: list[dict[str, str]]
    n_called: int


class _AnswerError(InferenceError):
    """An answer whose form is wrong for every batch, so that smaller batches are not tried."""


def _is_wrong(error: BaseException) -> bool:
    return isinstance(error, _AnswerError)


class Mapper(Interruptible):
    """Call `function` on batches of images; implements the protocol `Engine` of `runs.job`.

    One thread calls the function, with the default number of torch threads, so hooks and closures work as in a plain
    loop; workers decode and transform. A batch that raises is halved until the image that causes the error is alone.
    The outputs of each batch are checked: names, length, type and shape; NaN and infinity are errors.

    Args:
        function: takes one argument per input: deferred columns as float tensors (B, *shape), plain columns as arrays
            (B,); returns an array (B, …) or a dict of arrays.
        inputs: name of each argument.
        deferred: what computes the deferred columns among the inputs, by name.
        batch_size: images per call.
        advance: called with the number of images that were finished.
    """

    is_parallel = False  # the user's function sees the images in order

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: Sequence[str],
        deferred: Mapping[str, ColumnFunction],
        batch_size: int,
        advance: Callable[[int], None],
    ) -> None:
        super().__init__()
        self.function, self.inputs, self.deferred = function, inputs, deferred
        self.batch_size, self.advance = batch_size, advance
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.output_type = pa.struct([])
        self._types: Mapping[str, pa.DataType] = {}
        self._finish: Finish = lambda outputs: (outputs, [None] * len(next(iter(outputs.values()))))
        self._clock = threading.Lock()  # held while workers add up seconds
        self._pool = ThreadPoolExecutor(os.cpu_count(), "map")
        # Not DuckDB's threads, of which one is the main thread: there, Ctrl-C could not be told from an error of the
        # function.
        self._caller = ThreadPoolExecutor(1, "function")

    def close(self) -> None:
        """Stop the workers."""
        self._pool.shutdown(cancel_futures=True)
        self._caller.shutdown(cancel_futures=True)

    def try_out(self, column: pa.ChunkedArray, plain: pa.ChunkedArray | None = None) -> Trial:
        """Call the function on one batch; halved where it fails, until a part has an answer.

        Args:
            column: Arrow array of STRUCT(bytes, path).
            plain: the plain inputs of the same images as STRUCT.
        """
        items = self._load_all(column, plain)
        answers: list[dict[str, np.ndarray]] = []

        def answer(indices: Sequence[int]) -> None:
            given = self._call([items[index] for index in indices])
            if not _fail_misshapen(items, indices, given):
                answers.append(given)

        ready = [index for index, item in enumerate(items) if item.error is None]
        self._caller.submit(stages.bisect, items, ready, answer, _is_wrong).result()
        errors = [item.error for item in items if item.error is not None]
        return Trial(answers[0] if answers else None, errors, len(ready))

    def expect(
        self, types: Mapping[str, pa.DataType], finish: Finish | None = None, finished: Mapping[str, pa.DataType] = {}
    ) -> None:
        """Set names and types of the outputs.

        Args:
            types: of what the function returns.
            finish: makes of one batch of these what is stored, and for each image None or why it has no answer.
            finished: types of what is stored, when `finish` is given.
        """
        self._types = types
        if finish is not None:
            self._finish = finish
        fields = [*(finished if finish else types).items(), ("sha256", pa.string()), ("error", ERROR_TYPE)]
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
        for start in range(0, len(items), self.batch_size):
            if self.interrupted:
                raise InferenceError("interrupted")
            part = items[start : start + self.batch_size]
            try:
                self._caller.submit(self._answer, part).result()
            except _AnswerError as error:
                self.refusal = error
                raise
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
            called = self._call([batch[index] for index in indices])
            if _fail_misshapen(batch, indices, called):
                return
            given = self._check(called)
            infinite = _find_infinite(given)
            outputs, problems = self._finish(given)
            for row, index in enumerate(indices):
                batch[index].outputs = {name: values[row] for name, values in outputs.items()}
                problem = "the output is NaN or infinite" if infinite[row] else problems[row]
                if problem is not None:
                    batch[index].fail("forward", InferenceError(problem))

        began = time.perf_counter()
        stages.bisect(batch, [index for index, item in enumerate(batch) if item.error is None], answer, _is_wrong)
        self.seconds["forward"] += time.perf_counter() - began

    def _call(self, items: list[Item]) -> dict[str, np.ndarray]:
        arguments = [_stack([item.inputs[column] for item in items]) for column in range(len(self.inputs))]
        answer = self.function(*arguments)
        if answer is None:
            raise _AnswerError("the function returned None; return an array (B, …) or a dict of arrays")
        outputs = answer if isinstance(answer, Mapping) or _is_frame(answer, len(items)) else {SINGLE: answer}
        given = {str(name): _to_numpy(values) for name, values in outputs.items()}
        if not given:
            raise _AnswerError("the function returned no output; return an array (B, …) or a dict of arrays")
        return given

    def _check(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if outputs.keys() != self._types.keys():
            raise InferenceError(f"outputs {', '.join(outputs)}; expected {', '.join(self._types)}")
        for name, values in outputs.items():
            dtype = type_of(name, values)
            if dtype != self._types[name] and not _widens(dtype, self._types[name]):
                raise InferenceError(f"output {name!r} is {dtype}, expected {self._types[name]}")
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
                values = spread(np.stack(rows), good).cast(field.type)
                # NaN of the function is an error, so this one says that there is none.
                if pa.types.is_floating(field.type):
                    values = pc.if_else(pc.is_nan(values), None, values)
                arrays.append(values)
            else:
                arrays.append(pa.nulls(len(items), field.type))
        return pa.StructArray.from_arrays(arrays, fields=list(self.output_type))


def _is_frame(answer: Any, n: int) -> bool:
    """Whether the answer is a pandas DataFrame with one row for each image, in their order.

    Raises:
        InferenceError: its rows are in another order, or it is a table of another library.
    """
    if hasattr(answer, "to_pydict") or hasattr(answer, "to_arrow"):
        raise _AnswerError(f"the function returned a {type(answer).__name__}; return a dict of arrays")
    if not (hasattr(answer, "columns") and hasattr(answer, "items")):
        return False
    if list(answer.index) != list(range(n)) or len(set(answer.columns)) < len(answer.columns):
        raise _AnswerError(
            f"the rows of the DataFrame are not 0 to {n - 1} in order, the order of the images, or two of its columns "
            "have one name; give arrays, or sort and reset its index"
        )
    return True


def _stack(values: list[Any]) -> Any:
    return torch.stack(values) if isinstance(values[0], Tensor) else np.array(values)


def _fail_misshapen(items: Sequence[Item], indices: Sequence[int], outputs: Mapping[str, np.ndarray]) -> bool:
    """Fail all images of a batch where the first axis of an output is not the batch.

    Such a batch must not be halved until the shape happens to fit: outputs of (n, B) for (B, n) would be stored.
    """
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != len(indices):
            problem = f"output {name!r} has shape {array.shape}; the first axis must be the batch, here {len(indices)}"
            for index in indices:
                items[index].fail("forward", InferenceError(problem))
            return True
    return False


def _to_numpy(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        # numpy has no bfloat16, and the file stores no half precision.
        values = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    array: np.ndarray = np.asarray(values)
    if array.dtype != object or not array.ndim:
        return array
    try:  # text of pandas, and lists of equal length in a column
        return np.array(array.tolist())
    except ValueError:  # of different lengths, which `_dtype` refuses
        return array


def type_of(name: str, values: np.ndarray) -> pa.DataType:
    """The Arrow type of one row of an output.

    Raises:
        InferenceError: there is none for these values.
    """
    if 0 in values.shape[1:]:
        raise InferenceError(f"output {name!r} has shape {values.shape}, without a value for an image")
    return array_type(_dtype(name, values), values.shape[1:])


def _find_infinite(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """For each row of a batch whether an output is NaN or infinite."""
    n = len(next(iter(outputs.values())))
    bad = np.zeros(n, bool)
    for name, values in outputs.items():
        if values.dtype.kind == "f":  # -inf is the logit of a class that is ruled out
            fine = np.isfinite(values) | ((values == -np.inf) & (name == "logits"))
            bad |= ~fine.reshape(n, -1).all(axis=1)
    return bad


def _dtype(name: str, values: np.ndarray) -> pa.DataType:
    if values.dtype.kind == "f":
        return pa.float64() if values.dtype == np.float64 else pa.float32()
    if values.dtype == np.uint64 and values.size and values.max() > np.iinfo(np.int64).max:
        raise InferenceError(f"output {name!r} holds {values.max()}, more than the {np.iinfo(np.int64).max} of BIGINT")
    if values.dtype.kind not in _DTYPES:
        raise InferenceError(f"output {name!r} is of type {values.dtype}; give numbers, booleans or text")
    return _DTYPES[values.dtype.kind]


def _widens(actual: pa.DataType, expected: pa.DataType) -> bool:
    """Whether values may be cast: integers to other widths or floats, float32 to float64; arrays of the same size."""
    if pa.types.is_fixed_size_list(actual) and pa.types.is_fixed_size_list(expected):
        return actual.list_size == expected.list_size and _widens(actual.value_type, expected.value_type)
    ranks = {pa.bool_(): 0, pa.int32(): 1, pa.int64(): 1, pa.float32(): 2, pa.float64(): 2}
    return actual in ranks and expected in ranks and ranks[actual] <= ranks[expected] and ranks[actual] > 0
