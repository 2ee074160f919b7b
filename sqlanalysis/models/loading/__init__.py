"""Where models come from: one module per kind of source; `find` chooses it by the name of the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ArgumentError
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
    prompts: Sequence[str] = (),
    embedding: bool = False,
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
        prompts: what to say about each class, with {} for its name; for a model of images and texts.
        embedding: as an encoder, without the head of a classifier where the source can leave it out.
        trust_pickle: let files run code.

    Raises:
        ArgumentError: prompts for a model that reads no text, or a torchvision classifier as an encoder without layer.
        NotFoundError: no such model, file, weights or layer.
        MissingExtraError: the package that reads it is not installed.
        InferenceError: it cannot be downloaded or loaded, or its weights do not fit.
    """
    source = parse(model)
    given = transform is not None
    if prompts and source.kind != "hf":
        raise ArgumentError(
            f"{model} has no text tower, so prompts= mean nothing to it: leave them out, or give a model of images and "
            "texts, such as hf/openai/clip-vit-base-patch32"
        )
    if source.kind == "torchvision":
        if embedding and layer is None:
            raise ArgumentError(
                f"{model} of torchvision is a classifier; with embedding=True give the layer= before its head, such as "
                "layer=avgpool of a ResNet"
            )
        from .torchvision import from_torchvision

        return from_torchvision(source.name, weights, classes, given, trust_pickle)
    if source.kind == "timm":
        from .timm import from_timm

        return from_timm(source.name, weights, classes, given, trust_pickle, embedding)
    if source.kind == "hf":
        from .transformers import from_encoder, from_transformers
        from .zero_shot import from_prompts

        if prompts and classes is not None:
            return from_prompts(source.name, weights, classes, prompts, given, trust_pickle)
        if embedding:
            return from_encoder(source.name, weights, given, trust_pickle)
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
