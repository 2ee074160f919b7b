"""Models: a network with its weights, transform, classes, and the layer whose output becomes the activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core.classes import Classes, load_classes, numbered
from ..core.text import one_line
from ..errors import InferenceError
from . import outputs as meanings
from .hooks import find_layer, keep_output
from .loading.checkpoint import hash_weights, load_state
from .loading.torchvision import from_torchvision
from .transforms import Transform, to_tensor


@dataclass(frozen=True, eq=False)
class Model:
    """A network ready to predict; made by `load_model`.

    Attributes:
        name: SQL name of the function and default name of the run.
        module: the network in eval mode; maps (B, *input_shape) to logits (B, n_outputs).
        transform: maps an RGB PIL image to a float tensor of `input_shape`.
        classes: names of the outputs, in order.
        layer: name of the sub-module whose pooled output is the activation, or None.
        weights: where the weights came from: an enum name, a path, "random" or "module".
        weights_sha256: hash of names, types, shapes and values of the state dict.
        input_shape: (C, H, W).
        n_activations: width of the activation, None without a layer.
        trusted_pickle: whether loading the weights was allowed to run code of their file.
        outputs: what the module's outputs are: logits, probs, log_probs or sigmoid.
        weights_key: which weights of a checkpoint were taken; None where there is no choice.
        transform_source: "given", or where the transform was found.
        classes_source: "given", or where the classes were found.
        is_binary: whether the module has one output, for class 1 of two.
        notes: what was chosen automatically and differs from the common case; `predict` says it.
    """

    name: str
    module: nn.Module
    transform: Transform
    classes: Classes
    layer: str | None
    weights: str
    weights_sha256: str
    input_shape: tuple[int, ...]
    n_activations: int | None
    trusted_pickle: bool = False
    outputs: str = "logits"
    weights_key: str | None = None
    transform_source: str = "given"
    classes_source: str = "given"
    is_binary: bool = False
    notes: tuple[str, ...] = ()

    @property
    def n_outputs(self) -> int:
        """Number of classes that the outputs stand for."""
        return len(self.classes)

    @property
    def width(self) -> int:
        """Number of outputs; one output stands for two classes."""
        return 1 if self.is_binary else len(self.classes)


def load_model(
    model: str | nn.Module,
    weights: str | Path | None = "DEFAULT",
    *,
    layer: str | None = None,
    transform: Transform | None = None,
    classes: Classes | Sequence[str] | str | Path | int | None = None,
    name: str | None = None,
    outputs: str = "auto",
    trust_pickle: bool = False,
) -> Model:
    """Load a classification model and check it with one gray image.

    Args:
        model: a name of `torchvision.models.list_models()`, or any `nn.Module` that maps (B, C, H, W) to logits (B, n).
        weights: for a name: an enum name such as "DEFAULT" or "IMAGENET1K_V1" (downloaded once), a file
            (`.safetensors`, or a `.pth` state dict, read with `weights_only=True`), or None for random weights.
            A module keeps its own weights unless a file is given.
        layer: sub-module whose output becomes the activation: (B, C, H, W) and (B, H, W, C) are averaged over H and W,
            (B, T, C) gives the class token where the module has one, else the mean over T.
        transform: maps an RGB PIL image to a (C, H, W) float tensor; default is that of the torchvision weights.
        classes: names of the outputs: a list, a file, "imagenet1k", or their number; default: those of the weights.
        name: SQL name; default is the model's, or the module's class in lower case.
        outputs: what the outputs are: logits, probs, log_probs, percent, or sigmoid (one probability per class, on its
            own); auto recognizes them on two images. One output stands for class 1 of two.
        trust_pickle: read a weights file that contains more than tensors, such as a whole pickled module. This runs
            any code in the file, so use it only for files that you made yourself; runs record it.

    Returns:
        The model in eval mode, on the CPU.

    Raises:
        NotFoundError: unknown model, weights or layer; the message suggests similar names.
        InferenceError: weights that do not fit or cannot be downloaded, or a forward pass that fails.
    """
    given = load_classes(classes) if classes is not None else None
    if isinstance(model, str):
        module, default_transform, own_classes, origin = from_torchvision(model, weights, given, trust_pickle)
        transform, sql_name = transform or default_transform, name or model
    else:
        origin, own_classes, sql_name = "module", None, name or type(model).__name__.lower()
        module = model
        if weights not in (None, "DEFAULT"):
            load_state(module, Path(str(weights)), trust_pickle)
            origin = str(weights)
    if transform is None:
        raise InferenceError("a module needs transform=, a function from an RGB PIL image to a (C, H, W) float tensor")
    module = module.cpu().eval()
    if layer is not None:
        find_layer(module, layer)
    facts = _probe(module, transform, layer, meanings.check_kind(outputs))
    names = given or own_classes or numbered(facts.n_outputs)
    if len(names) != facts.n_outputs:
        raise InferenceError(f"{sql_name} has {facts.n_outputs} outputs, but classes= names {len(names)}")
    return Model(
        sql_name,
        module,
        transform,
        names,
        layer,
        origin,
        hash_weights(module),
        facts.input_shape,
        facts.n_activations,
        trust_pickle,
        outputs=facts.kind,
        is_binary=facts.is_binary,
        notes=facts.notes,
    )


@dataclass(frozen=True)
class Facts:
    """What a probe found out: shapes, what the outputs mean, and what was chosen."""

    input_shape: tuple[int, ...]
    n_outputs: int
    n_activations: int | None
    kind: str
    is_binary: bool
    notes: tuple[str, ...]


def _advice(tensors: Sequence[Tensor]) -> str:
    """What may be wrong with the tensors of a transform, if the module fails on them."""
    if not tensors or (tensors[0].is_floating_point() and tensors[0].ndim == 3):
        return ""
    shape = tuple(tensors[0].shape)
    return f"; the transform gives {tensors[0].dtype} {shape}, a transform gives floats of shape (C, H, W)"


def _probe(module: nn.Module, transform: Transform, layer: str | None, kind: str) -> Facts:
    """What two images, gray and noise, show of the module."""
    from PIL import Image

    kept: list[Tensor] = []
    tensors: list[Tensor] = []
    noise = torch.randint(0, 256, (256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    try:
        pictures = (Image.new("RGB", (256, 256), (128, 128, 128)), Image.fromarray(noise.numpy()))
        tensors = [to_tensor(transform(picture)) for picture in pictures]
        with torch.inference_mode(), keep_output(module, layer, kept.append), meanings.Origin() as origin:
            results = [module(tensor.unsqueeze(0)) for tensor in tensors]
    except Exception as error:
        raise InferenceError(
            f"the model fails on a 256 x 256 image: {one_line(error, 300)}{_advice(tensors)}"
        ) from error
    taken = [meanings.take(result) for result in results]
    where, rows = taken[0][1], torch.cat([tensor for tensor, _ in taken])
    if layer is not None and not kept:
        raise InferenceError(f"layer {layer!r} is not used in the forward pass; choose another")
    said = kind == "auto"
    kind = meanings.settle(kind, rows, origin.of(taken[-1][0]))
    is_binary = rows.shape[1] == 1
    return Facts(
        tuple(tensors[0].shape),
        2 if is_binary else rows.shape[1],
        kept[0].shape[1] if kept else None,
        kind,
        is_binary,
        meanings.describe(kind if said else "logits", where, is_binary=is_binary),
    )
