"""Where models come from: one module per kind of source; `find` chooses it by the name of the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .found import Found as Found
from .names import parse

if TYPE_CHECKING:
    from ...core.classes import Classes
    from ..transforms import Transform


def find(
    model: str,
    weights: str | Path | None = "DEFAULT",
    *,
    transform: Transform | None = None,
    classes: Classes | None = None,
    layer: str | None = None,
    trust_pickle: bool = False,
) -> Found:
    """Load the model of that name.

    Args:
        model: as in `load_model`.
        weights: "DEFAULT" for those of the source, another name of it, a file (`f.pth`, or `f.pth#key` for one of
            several in it), or None for random weights.
        transform: as the caller gives it; without one, that of the source is looked for, or one is assumed and said.
        classes: as the caller gives them; their number makes the head of a model with random weights.
        layer: whose output is wanted; formats without layers refuse it.
        trust_pickle: let files run code.

    Raises:
        NotFoundError: no such model, file, weights or layer.
        MissingExtraError: the package that reads it is not installed.
        InferenceError: it cannot be downloaded or loaded, or its weights do not fit.
    """
    source = parse(model)
    given = transform is not None
    if source.kind == "torchvision":
        from .torchvision import from_torchvision

        return from_torchvision(source.name, weights, classes, given, trust_pickle)
    if source.kind == "timm":
        from .timm import from_timm

        return from_timm(source.name, weights, classes, given, trust_pickle)
    if source.kind == "hf":
        from .transformers import from_transformers

        return from_transformers(source.name, weights, classes, given, trust_pickle)
    if source.kind == "code":
        from .own_code import from_code

        return from_code(source.name, source.attribute, weights, given, trust_pickle)
    if source.kind == "checkpoint":
        from .own_code import from_pickle

        return from_pickle(Path(source.name), given, trust_pickle)
    if source.kind == "onnx":
        from .onnx import from_onnx

        return from_onnx(Path(source.name), weights, given, layer)
    from .exported import from_pt2, from_torchscript

    if source.kind == "pt2":
        return from_pt2(Path(source.name), weights, given, layer, trust_pickle)
    return from_torchscript(Path(source.name), weights, given, layer)
