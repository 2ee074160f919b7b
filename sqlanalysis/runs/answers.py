"""What the answers of a user's function mean: scores of classes, predictions, and the classes of the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import torch

from ..core.classes import OUTSIDE, Classes, ClassMap, load_classes, numbered
from ..data.label_spaces import read_classes
from ..db.statements import execute, registered
from ..errors import ArgumentError, SchemaError
from ..models import outputs as meanings
from ..models.mapper import SINGLE
from . import gate
from .policies import choose_map, note_order, with_model_classes
from .run import Run, Spec

ClassNames = Classes | Sequence[str] | str | Path | int
SCORES = ("probs", "logits")
_MEANT = ("pred", "confidence", "probs")
_DERIVED = ("raw_pred", "raw_confidence", "inside")


@dataclass(frozen=True)
class Choice:
    """What the caller says about the classes of a function: `classes`, `outputs`, `policy` and `class_map`."""

    classes: ClassNames | None = None
    outputs: str = "auto"
    policy: str = "auto"
    class_map: str | Path | None = None


@dataclass(frozen=True)
class Meaning:
    """What the outputs of a function are; called with one batch of them, it gives what is stored of each image.

    Attributes:
        origin: what to call the function in messages.
        types: of the outputs.
        column: the output with one score per class; None for predictions without scores.
        kind: what the scores are, a value of `gate.OUTPUTS`.
        size: number of classes of the function; None where nobody says.
        class_map: from these to the classes of the data set; None where they are the same.
    """

    origin: str
    types: Mapping[str, pa.DataType]
    column: str | None
    kind: str
    size: int | None
    class_map: ClassMap | None
    notes: list[str] = field(default_factory=list)

    @property
    def stored(self) -> dict[str, pa.DataType]:
        """Names and types of what is stored."""
        types: dict[str, pa.DataType] = {"pred": pa.int32(), "confidence": pa.float32()}
        if self.column is not None:
            width = self.class_map.n_classes if self.class_map else self.size
            types["probs"] = pa.list_(pa.float32(), width)
        if self.class_map is not None:
            types |= {"raw_pred": pa.int32(), "raw_confidence": pa.float32()}
            if self.column is not None:
                types["inside"] = pa.float32()
        own = {name: dtype for name, dtype in self.types.items() if name not in (*_MEANT, self._replaced)}
        return types | own

    @property
    def _replaced(self) -> str | None:
        """The output that is stored as `probs` only."""
        return self.column if self.column == SINGLE else None

    def __call__(self, given: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str | None]]:
        """What is stored of one batch, and for each image None or why its answer cannot be taken."""
        found: dict[str, np.ndarray] = {}
        n = len(next(iter(given.values())))
        problems: list[str | None] = [None] * n
        if self.column is not None:
            values = given[self.column].astype(np.float64)
            scores = torch.from_numpy(values)
            fitting = meanings.fits(scores, self.kind).numpy()
            _report(problems, ~fitting, f"{self.column} of this image are not {gate.WORDS[self.kind]}")
            found = {name: part.numpy() for name, part in meanings.score(scores, self.class_map, self.kind).items()}
            own_classes = found if self.class_map is None else meanings.score(scores, None, self.kind)
            probs = np.asarray(own_classes["probs"])
        pred = given["pred"].astype(np.int64) if "pred" in given else found["raw_pred" if self.class_map else "pred"]
        pred = np.asarray(pred, np.int64)
        beyond = (pred < OUTSIDE) | (pred >= self.size if self.size is not None else False)
        _report(problems, beyond, "the prediction is not one of the classes")
        pred = np.where(beyond, OUTSIDE, pred)
        confidence = self._confidence(given, n)
        if self.column is not None:
            of_pred = np.where(pred == OUTSIDE, np.nan, np.take_along_axis(probs, pred.clip(0)[:, None], 1)[:, 0])
            _report(
                problems, self._differs(given, values, pred, confidence), "confidence is not that of the prediction"
            )
            confidence = np.where(np.isnan(of_pred), confidence, of_pred)
        out_of_range = (confidence < -gate.RANGE_TOLERANCE) | (confidence > 1 + gate.RANGE_TOLERANCE)
        _report(problems, out_of_range, "confidence is out of [0, 1]")
        found |= self._mapped(found, pred, confidence)
        if self.column is not None and not np.isfinite(found["probs"]).all():
            undefined = ~np.isfinite(found["probs"]).all(axis=1)
            _report(problems, undefined, "no probability is left for the classes of the data set")
        own = {name: values for name, values in given.items() if name not in (*_MEANT, self._replaced)}
        return {name: ({**found, **own})[name] for name in self.stored}, problems

    def _mapped(self, found: Mapping[str, np.ndarray], pred: np.ndarray, confidence: np.ndarray) -> dict[str, Any]:
        """pred and confidence in the classes of the data set, and with a map those before it."""
        if self.class_map is None:
            return {"pred": pred, "confidence": confidence}
        raw = {"raw_pred": pred, "raw_confidence": confidence}
        if self.class_map.policy != "open":  # by definition the best of the classes of the data set
            return raw
        to_class = np.asarray(self.class_map.to_class)
        return {"pred": np.where(pred == OUTSIDE, OUTSIDE, to_class[pred.clip(0)]), "confidence": confidence, **raw}

    def _confidence(self, given: Mapping[str, np.ndarray], n: int) -> np.ndarray:
        """The function's own confidence as a probability, NaN without."""
        if "confidence" not in given:
            return np.full(n, np.nan)
        confidence = given["confidence"].astype(np.float64)
        if self.kind == "percent":
            return confidence / 100
        return np.where(confidence <= 0, np.exp(confidence), confidence) if self.kind == "log_probs" else confidence

    def _differs(
        self, given: Mapping[str, np.ndarray], values: np.ndarray, pred: np.ndarray, confidence: np.ndarray
    ) -> np.ndarray:
        """Whether a given confidence is not the score of the prediction, as a probability."""
        own = np.take_along_axis(values, pred.clip(0)[:, None], 1)[:, 0]
        with np.errstate(over="ignore", invalid="ignore"):
            if self.kind == "logits":
                own = np.exp(own - values.max(1)) / np.exp(values - values.max(1, keepdims=True)).sum(1)
            own = np.exp(own) if self.kind == "log_probs" else own / 100 if self.kind == "percent" else own
        differs: np.ndarray = (np.abs(confidence - own) > gate.TOLERANCE) & (pred != OUTSIDE) & ("confidence" in given)
        return differs


def _report(problems: list[str | None], rows: np.ndarray, text: str) -> None:
    """Write a problem at the rows that have none yet."""
    for row in np.flatnonzero(rows):
        problems[row] = problems[row] or text


def read_meaning(
    con: duckdb.DuckDBPyConnection, types: Mapping[str, pa.DataType], choice: Choice, wanted: Run, origin: str
) -> tuple[Meaning | None, Spec]:
    """What outputs of these types are, and the run with its class policy; None for outputs that predict nothing.

    Raises:
        ArgumentError: something is said about classes, and the function predicts none.
        SchemaError: outputs have no usable type, or their classes cannot be mapped to those of the data set.
    """
    column = next((name for name in SCORES if name in types), None)
    if column is None and choice.outputs != "auto" and list(types) == [SINGLE]:
        column = SINGLE
    if column is None and choice.outputs != "auto":
        raise SchemaError(
            f'outputs="{choice.outputs}", but {origin} gives {", ".join(types)}; give an output probs or logits'
        )
    if column is None and "pred" not in types:
        if choice != Choice():
            raise ArgumentError(f"{origin} gives no pred, probs or logits, so classes=, policy=, class_map= are idle")
        return None, Spec(wanted)
    taken = next((name for name in _DERIVED if name in types), None)
    if taken is not None:
        raise SchemaError(f"{origin}: {taken} is derived from pred and the class map; give the output another name")
    size = _check_types(types, column, origin)
    classes = _classes(choice, size, origin)
    kind = choice.outputs if choice.outputs != "auto" else "logits" if column == "logits" else "probs"
    wanted = replace(wanted, outputs=kind if column else None, classes_source="given" if choice.classes else None)
    space = wanted.label_space
    if classes is None:  # predictions alone are in the classes of the data set, unless the caller says otherwise
        if choice.policy not in ("auto", "identity") or choice.class_map is not None:
            raise ArgumentError(f"policy= and class_map= need classes=, the names of what {origin} predicts")
        size = len(read_classes(con, space)) if space else None
        meaning = Meaning(origin, types, column, kind, size, None)
        return meaning, Spec(replace(wanted, model_label_space=space, class_policy="identity"))
    named = _Named(wanted.run, classes)
    class_map, policy = choose_map(con, named, space, choice.policy, choice.class_map)
    if class_map is not None and column is None and policy != "open":
        raise SchemaError(f'policy "{policy}" needs probabilities, and {origin} gives only pred; give policy="open"')
    spec = with_model_classes(con, replace(wanted, class_policy=policy), named, class_map)
    notes = note_order(con, named, space, class_map) if column else []
    return Meaning(origin, types, column, kind, len(classes), class_map, notes), spec


def check_first(con: duckdb.DuckDBPyConnection, meaning: Meaning, given: Mapping[str, np.ndarray]) -> None:
    """Refuse a first batch whose outputs are not what they are called; the gate of `add_predictions` checks it.

    Raises:
        SchemaError: the message names the option that takes them.
    """
    given = _usable(given, meaning)
    n = len(next(iter(given.values())))
    pred = given.get("pred")
    if pred is not None and meaning.size is not None and not ((pred >= OUTSIDE) & (pred < meaning.size)).all():
        wrong = pred[(pred < OUTSIDE) | (pred >= meaning.size)][0]
        raise SchemaError(
            f"{meaning.origin}: pred is {wrong}, but the {meaning.size} classes are 0 to {meaning.size - 1}: it may "
            f"belong to another list of classes, which classes= names, or be counted from 1; {OUTSIDE} is outside"
        )
    scores = given[meaning.column].astype(np.float64) if meaning.column else None
    confidence = given.get("confidence")
    table = pa.table(
        {
            "position": pa.array(range(1, n + 1), pa.int64()),
            "row_name": pa.array([f"answer {row}" for row in range(1, n + 1)]),
            "pred": pa.array(pred, pa.int64()) if pred is not None else pa.nulls(n, pa.int64()),
            "confidence": pa.nulls(n, pa.float64()) if confidence is None else pa.array(confidence, pa.float64()),
            "probs": pa.nulls(n, pa.list_(pa.float64()))
            if scores is None
            else pa.array(list(scores), pa.list_(pa.float64())),
        }
    )
    with registered(con, "_checked", table):
        asked = "auto" if meaning.kind == "probs" else meaning.kind
        taken, own = gate.check_outputs(con, "_checked", asked, origin=meaning.origin)
        try:
            execute(con, "create_converted", outputs=taken, confidence=own)
            n_other = gate.check_confidence(con, "_converted", origin=meaning.origin)
        finally:
            execute(con, "drop_import_table", kind="view", name="_converted")
    if n_other:
        meaning.notes.append(
            f"{n_other:,} of the first {n:,} predictions are not the class of the largest probability: are the "
            "probabilities in the order of the classes?"
        )


def _usable(given: Mapping[str, np.ndarray], meaning: Meaning) -> Mapping[str, np.ndarray]:
    """The answers without NaN and infinity, which become errors of their images.

    Raises:
        SchemaError: there is none.
    """
    values = given[meaning.column].astype(np.float64) if meaning.column else None
    if values is None:
        return given
    fine = ~(np.isnan(values) | (values == np.inf)).any(axis=1)
    if not fine.any():
        raise SchemaError(f"{meaning.origin}: {meaning.column} of all {len(fine)} first images hold NaN or infinity")
    return {name: part[fine] for name, part in given.items()}


@dataclass(frozen=True)
class _Named:
    """What class maps need of a model."""

    name: str
    classes: Classes


def _classes(choice: Choice, size: int | None, origin: str) -> Classes | None:
    if choice.classes is None:
        return None if size is None else numbered(size)
    classes = load_classes(choice.classes)
    if size is not None and len(classes) != size:
        raise SchemaError(f"{origin} gives {size} values for each image, but classes= names {len(classes)}")
    return classes


def _check_types(types: Mapping[str, pa.DataType], column: str | None, origin: str) -> int | None:
    """Width of the scores, after checking the types of what has a meaning."""
    if "pred" in types and not pa.types.is_integer(types["pred"]):
        raise SchemaError(f"{origin}: pred holds {types['pred']}; give class indices, whole numbers from 0")
    if "confidence" in types and not pa.types.is_floating(types["confidence"]):
        raise SchemaError(f"{origin}: confidence holds {types['confidence']}; give one probability for each image")
    if column is None:
        return None
    dtype = types[column]
    if not pa.types.is_fixed_size_list(dtype) or not pa.types.is_floating(dtype.value_type):
        raise SchemaError(f"{origin}: {column} holds {dtype}; give floats of shape (B, n), one for each class")
    if dtype.list_size == 1:
        raise SchemaError(
            f"{origin}: {column} has one value for each image; give one for each class, such as 1 - p and p"
        )
    return int(dtype.list_size)
