"""The answers of a model as rows: from logits and activations, where these are, to Arrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import torch
from torch import Tensor

from ..core.arrow import ERROR_TYPE, spread
from ..core.classes import ClassMap
from ..errors import InferenceError
from . import outputs
from .model import Model
from .stages import Item


class Answers:
    """Makes rows of what a model gives.

    Args:
        model: whose.
        class_map: from its outputs to classes of a data set; None keeps the outputs.

    Attributes:
        type: of one answer, STRUCT(pred, confidence, probs, …, activation, sha256, error).
    """

    def __init__(self, model: Model, class_map: ClassMap | None) -> None:
        self._model, self._class_map = model, class_map
        self.type = _type(model, class_map)

    def columns(self, logits: Tensor, activations: Tensor | None) -> dict[str, Tensor]:
        """Columns of the answers of a batch as they are stored, and which of them may be, where the logits are."""
        columns: dict[str, Tensor] = {}
        if tuple(logits.shape[1:]) != (self._model.width,):
            raise InferenceError(f"outputs of shape {tuple(logits.shape)}, expected {self._model.width} for each image")
        fine = outputs.fits(logits, self._model.outputs)
        if not self._model.is_encoder:
            columns = dict(outputs.score(logits, self._class_map, self._model.outputs))
            fine &= columns["probs"].isfinite().all(1)
        if activations is not None:
            if tuple(activations.shape) != (len(logits), self._model.n_activations):
                raise InferenceError(f"layer {self._model.layer!r} gives {tuple(activations.shape)}")
            fine &= activations.isfinite().all(1)
            columns["activation"] = activations
        return {
            **{name: values.float() if values.is_floating_point() else values for name, values in columns.items()},
            "fine": fine,
        }

    def _score(self, items: list[Item]) -> dict[str, Tensor]:
        """Columns of the answers of these items; one whose answer cannot be scored fails, and has no row in them."""
        if not items:
            return {}
        held = [item.outputs or {} for item in items]
        scored: dict[str, Tensor] = {}
        if not self._model.is_encoder:
            logits = torch.stack([values["logits"] for values in held])
            scored = outputs.score(logits, self._class_map, self._model.outputs)
            for item, fine in zip(items, scored["probs"].isfinite().all(1).tolist(), strict=True):
                if not fine:
                    item.fail("forward", InferenceError("no probability is left for the classes of the data set"))
        if self._model.n_activations is not None:
            scored["activation"] = torch.stack([values["activation"] for values in held])
        kept = torch.tensor([item.is_answered for item in items])
        return {name: values[kept] for name, values in scored.items()}

    def conclude(self, items: list[Item]) -> pa.Array:
        """The answers of images in progress; one whose answer cannot be scored fails."""
        scored = self._score([item for item in items if item.is_answered])
        good = [item.is_answered for item in items]
        missing = pa.array([item.missing for item in items])
        return self.to_arrow(scored, good, [item.sha256 for item in items], [item.error for item in items], missing)

    def to_arrow(
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
            for field in self.type
        ]
        return pa.StructArray.from_arrays(arrays, fields=list(self.type), mask=missing)


def _type(model: Model, class_map: ClassMap | None) -> pa.StructType:
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
