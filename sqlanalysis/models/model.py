"""Models: a network with its weights, transform, classes, and the layer whose output becomes the activation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.classes import Classes, load_classes, numbered
from ..core.text import first_line
from ..errors import InferenceError
from .hooks import find_layer, keep_output
from .loading import find
from .loading.checkpoint import hash_weights
from .loading.exported import refuse_layer
from .loading.own_code import from_python
from .outputs import take
from .transforms import Transform


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
    notes: tuple[str, ...] = ()

    @property
    def n_outputs(self) -> int:
        """Width of the output."""
        return len(self.classes)


def load_model(
    model: str | Path | nn.Module | Callable[[Tensor], Any],
    weights: str | Path | None = "DEFAULT",
    *,
    layer: str | None = None,
    transform: Transform | None = None,
    classes: Classes | Sequence[str] | str | Path | int | None = None,
    name: str | None = None,
    trust_pickle: bool = False,
) -> Model:
    """Load a classification model and check it with one gray image.

    Args:
        model: where it is:
            a name of `torchvision.models.list_models()`;
            `timm/NAME`, a name or tag of timm, `timm/OWNER/NAME` on the hub, or a folder that timm saved;
            `hf/NAME` on the Hugging Face hub, or a folder of transformers: an image classifier;
            a `.pt2` file of `torch.export`, a `.pt` or `.ts` file of TorchScript, an `.onnx` file;
            `file.py:make` or `package.module:make`, your own code, which is run: a class or function without arguments
            that makes a module, or (module, transform, classes);
            or any `nn.Module` or callable that maps (B, C, H, W) to logits (B, n).
        weights: for a name: "DEFAULT" or another name of its source (downloaded once), a file (`.safetensors`, or a
            checkpoint of `torch.save`, of which no code is run), or None for random weights. Of several weights in a
            file the plain ones are taken and the choice is said; `f.pth#model_ema` takes those under that key.
            A module or own code keeps its weights unless a file is given.
        layer: sub-module whose output becomes the activation: (B, C, H, W) and (B, H, W, C) are averaged over H and W,
            (B, T, C) gives the class token where the module has one, else the mean over T.
        transform: maps an RGB PIL image to a (C, H, W) float tensor; default is that of the source. For a file that
            does not say one, it is read from timm's or Hugging Face's settings beside it, else assumed, and said.
        classes: names of the outputs: a list, a file (CSV, JSON, one name a line), a folder with one sub-folder each,
            "imagenet1k", or their number; default: those of the source.
        name: SQL name; default is the model's, or the module's class in lower case.
        trust_pickle: read a weights file that contains more than tensors, such as a whole pickled module. This runs
            any code in the file, so use it only for files that you made yourself; runs record it.

    Returns:
        The model in eval mode, on the CPU.

    Raises:
        ArgumentError: not a model, or no classes.
        NotFoundError: unknown model, file, weights or layer; the message suggests similar names.
        MissingExtraError: timm, transformers or ONNX Runtime is needed and not installed.
        InferenceError: weights that do not fit or cannot be downloaded, or a forward pass that fails.
    """
    given = load_classes(classes) if classes is not None else None
    if isinstance(model, str | Path):
        found = find(str(model), weights, transform=transform, classes=given, layer=layer, trust_pickle=trust_pickle)
    else:
        found = from_python(model, weights, trust_pickle)
    used = transform or found.transform
    if used is None:
        raise InferenceError("a module needs transform=, a function from an RGB PIL image to a (C, H, W) float tensor")
    sql_name = name or found.name
    module = found.module.cpu().eval()
    if isinstance(module, torch.jit.ScriptModule):
        refuse_layer(sql_name, layer)
    if layer is not None:
        find_layer(module, layer)
    shape, n_outputs, n_activations = _probe(module, used, layer)
    own = found.classes if found.classes is not None and len(found.classes) == n_outputs else None
    names = given or own or numbered(n_outputs)
    if len(names) != n_outputs:
        raise InferenceError(f"{sql_name} has {n_outputs} outputs, but classes= names {len(names)}")
    return Model(
        sql_name,
        module,
        used,
        names,
        layer,
        found.weights,
        hash_weights(module),
        shape,
        n_activations,
        trust_pickle,
        outputs=found.outputs or "logits",
        weights_key=found.weights_key,
        transform_source="given" if transform is not None else found.transform_source,
        classes_source="given" if given else found.classes_source if own else "numbered",
        notes=found.notes,
    )


def _probe(module: nn.Module, transform: Transform, layer: str | None) -> tuple[tuple[int, ...], int, int | None]:
    """Shape of the input, number of outputs, and width of the activation, measured with one gray image."""
    from PIL import Image

    kept: list[Tensor] = []
    try:
        tensor = transform(Image.new("RGB", (256, 256), (128, 128, 128)))
        with torch.inference_mode(), keep_output(module, layer, kept.append):
            output = take(module(tensor.unsqueeze(0)))
    except InferenceError:
        raise
    except Exception as error:
        raise InferenceError(
            f"the model fails on a gray 256 x 256 image: {type(error).__name__}: {first_line(error)}"
        ) from error
    if output.ndim != 2 or output.shape[0] != 1:
        raise InferenceError(f"a model gives logits of shape (B, n), this one gives {tuple(output.shape)} for B = 1")
    if layer is not None and not kept:
        raise InferenceError(f"layer {layer!r} is not used in the forward pass; choose another")
    return tuple(tensor.shape), output.shape[1], kept[0].shape[1] if kept else None
