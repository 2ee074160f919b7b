"""Models: a network with its weights, transform, classes, and the layer whose output becomes the activation."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.classes import Classes, load_classes, numbered
from ..errors import ArgumentError, InferenceError
from . import isolation, probe
from . import outputs as meanings
from .content import fingerprint
from .hooks import find_layer
from .loading import Found, find
from .loading.checkpoint import hash_weights
from .loading.exported import refuse_layer
from .loading.own_code import from_python
from .loading.zero_shot import EMBEDDING, EXAMPLE, check_prompts
from .specification import describe_source
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
        input_shape: (C, H, W); where it follows the size of a picture, that of an image of noise.
        n_activations: width of the activation, None without a layer; of an encoder, width of the embedding.
        trusted_pickle: whether loading the weights was allowed to run code of their file.
        outputs: what the module's outputs are: logits, probs, log_probs or sigmoid; "embedding" of an encoder, which
            has no classes.
        prompts: what a model of images and texts is asked about each class; empty for others.
        weights_key: which weights of a checkpoint were taken; None where there is no choice.
        transform_source: "given", or where the transform was found.
        classes_source: "given", or where the classes were found.
        is_binary: whether the module has one output, for class 1 of two.
        notes: what was chosen automatically and differs from the common case; `predict` says it.
        input_dtype: dtype that the module takes.
        batch: the only batch size that the module takes; None where any does.
        can_copy: whether workers may have copies of the module; otherwise `module` is the caller's own.
        noise_size: (width, height) of the images of noise that the transform takes.
        shape_varies: whether the shape follows the size of a picture, so that the images decide `input_shape`.
        settings: hashes of what the module is beside its weights: code of own classes, attributes, hooks.
        caller: the module that the caller holds, and its checksum; None if nobody else holds the module.
        checksum: of the module when it was loaded.
        source: the arguments of `load_model` that load it again in another process, as JSON can hold them, with
            absolute paths; None of a module, callable or transform that was made in Python.
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
    prompts: tuple[str, ...] = ()
    weights_key: str | None = None
    transform_source: str = "given"
    classes_source: str | None = "given"
    is_binary: bool = False
    notes: tuple[str, ...] = ()
    input_dtype: torch.dtype = torch.float32
    batch: int | None = None
    can_copy: bool = True
    noise_size: tuple[int, int] = (probe.SIDES[0], probe.SIDES[0])
    shape_varies: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    caller: weakref.ref[nn.Module] | None = None
    checksum: int | None = None
    source: Mapping[str, Any] | None = None

    @property
    def settings_sha256(self) -> str:
        """One hash of all settings."""
        return fingerprint(dict(self.settings))

    def check_unchanged(self) -> None:
        """Refuse a model whose weights or settings were changed after it was loaded.

        Raises:
            InferenceError: the caller's module was trained or changed since then, or `module` itself was.
        """
        for module in (self.caller() if self.caller else None, self.module):
            if module is None:
                continue
            what = None if self.checksum in (None, isolation.checksum(module)) else "weights"
            if what is None and module is not self.module:
                now = probe.settings(module)
                changed = next((name for name, value in self.settings.items() if now.get(name) != value), None)
                what = None if changed is None else f"attribute {changed}"
            if what is not None:
                raise InferenceError(
                    f"the {what} of {self.name} changed since load_model, which evaluates what it was given; "
                    "load the module again: model = load_model(module, …)"
                )

    @property
    def n_outputs(self) -> int:
        """Number of classes that the outputs stand for."""
        return len(self.classes)

    @property
    def is_encoder(self) -> bool:
        """Whether the model gives an embedding and predicts nothing."""
        return self.outputs == meanings.EMBEDDING

    @property
    def width(self) -> int:
        """Number of values for an image; one output stands for two classes."""
        if self.is_encoder and self.n_activations is not None:
            return self.n_activations
        return 1 if self.is_binary else len(self.classes)


def load_model(
    model: str | Path | nn.Module | Callable[[Tensor], Any],
    weights: str | Path | None = "DEFAULT",
    *,
    layer: str | None = None,
    transform: Transform | None = None,
    classes: Classes | Sequence[str] | str | Path | int | None = None,
    name: str | None = None,
    outputs: str = "auto",
    prompts: Sequence[str] | str | None = None,
    embedding: bool = False,
    trust_pickle: bool = False,
) -> Model:
    """Load a classifier or an encoder of images, and check it with two images of noise.

        load_model("resnet18", layer="layer4")
        load_model("hf/openai/clip-vit-base-patch32", classes=["cat", "dog"], prompts=["a photo of a {}"])
        load_model("hf/facebook/dinov2-small", embedding=True)

    A module that is given is copied: it stays as it is, and training it on changes nothing here; `predict` then asks to
    load it again. A module that cannot be copied is used itself, by one worker.

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
        outputs: what the outputs are: logits, probs, log_probs, percent, or sigmoid (one probability per class, on its
            own); auto recognizes them on two images. One output stands for class 1 of two.
        trust_pickle: read a weights file that contains more than tensors, such as a whole pickled module. This runs
            any code in the file, so use it only for files that you made yourself; runs record it.

    Returns:
        The model in eval mode, on the CPU.

    Raises:
        ArgumentError: not a model, no classes, prompts without {} or for a model that reads no text, or classes for an
            encoder.
        NotFoundError: unknown model, file, weights or layer; the message suggests similar names.
        MissingExtraError: timm, transformers or ONNX Runtime is needed and not installed.
        InferenceError: weights that do not fit or cannot be downloaded, or a forward pass that fails.
    """
    given = load_classes(classes) if classes is not None else None
    asked = check_prompts(prompts, given, embedding=embedding)
    wanted = meanings.check_kind(outputs)
    if embedding and (given is not None or wanted != "auto"):
        raise ArgumentError("an encoder predicts nothing: with embedding=True leave classes= and outputs= out")
    source = describe_source(
        model,
        weights,
        has_transform=transform is not None,
        classes=given,
        prompts=asked,
        layer=layer,
        name=name,
        outputs=outputs,
        embedding=embedding,
        trust_pickle=trust_pickle,
    )
    if isinstance(model, str | Path):
        found = find(
            str(model),
            weights,
            transform=transform,
            classes=given,
            layer=layer,
            prompts=asked,
            embedding=embedding,
            trust_pickle=trust_pickle,
        )
        layer = EMBEDDING if asked and layer is None else layer
    elif asked:
        raise ArgumentError(f"prompts= need the name or folder of a model of images and texts, such as {EXAMPLE}")
    else:
        found = from_python(model, weights, trust_pickle)
    used = transform or found.transform
    if used is None:
        raise InferenceError("a module needs transform=, a function from an RGB PIL image to a (C, H, W) float tensor")
    sql_name = name or found.name
    if isinstance(found.module, torch.jit.ScriptModule):
        refuse_layer(sql_name, layer)
    if layer is not None:
        find_layer(found.module, layer)
    owned = found.module is not model
    frozen = isolation.freeze(found.module, owned=owned)
    facts = probe.examine(frozen.module, used, layer, can_copy=frozen.can_copy, embedding=embedding)
    meaning = _Meaning(meanings.EMBEDDING, Classes(()), None)
    if not embedding:
        meaning = _read_meaning(sql_name, found, facts, found.outputs or "auto" if wanted == "auto" else wanted, given)
    is_binary = not embedding and facts.outputs.shape[1] == 1
    stated = embedding or wanted != "auto"
    said = meanings.describe("logits" if stated else meaning.outputs, facts.where, is_binary=is_binary)
    return Model(
        name=sql_name,
        module=frozen.module,
        transform=used,
        classes=meaning.classes,
        layer=layer,
        weights=found.weights,
        weights_sha256=hash_weights(frozen.module),
        input_shape=facts.input_shape,
        n_activations=facts.n_activations,
        trusted_pickle=trust_pickle,
        outputs=meaning.outputs,
        prompts=asked,
        is_binary=is_binary,
        weights_key=found.weights_key,
        transform_source="given" if transform is not None else found.transform_source,
        classes_source=meaning.classes_source,
        notes=(*found.notes, *frozen.notes, *facts.notes, *said),
        input_dtype=facts.input_dtype,
        batch=facts.batch,
        can_copy=frozen.can_copy,
        noise_size=(facts.side, facts.side),
        shape_varies=facts.shape_varies,
        settings=facts.settings,
        caller=None if owned else weakref.ref(found.module),
        checksum=isolation.checksum(frozen.module),
        source=source,
    )


class _Meaning(NamedTuple):
    """What the outputs of a model are, and the names of its classes."""

    outputs: str
    classes: Classes
    classes_source: str | None


def _read_meaning(name: str, found: Found, facts: probe.Facts, wanted: str, given: Classes | None) -> _Meaning:
    kind = meanings.settle(wanted, facts.outputs, facts.origin)
    n_outputs = 2 if facts.outputs.shape[1] == 1 else facts.outputs.shape[1]
    own = found.classes if found.classes is not None and len(found.classes) == n_outputs else None
    names = given or own or numbered(n_outputs)
    if len(names) != n_outputs:
        raise InferenceError(f"{name} has {n_outputs} outputs, but classes= names {len(names)}")
    return _Meaning(kind, names, "given" if given else found.classes_source if own else "numbered")
