"""Models: a network, its weights, its transform, its classes, and the layer whose output is kept."""

from __future__ import annotations

import copy
import hashlib
import re
import types
import urllib.error
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.fx
from torch import Tensor, nn

from .activations import find_layer, keep_output
from .errors import InferenceError, NotFoundError, near_matches
from .labels import Classes, imagenet1k, load_classes, numbered

Transform = Callable[[Any], Tensor]
_WRAPPERS = ("state_dict", "model_state_dict", "model")


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

    @property
    def n_outputs(self) -> int:
        """Width of the output."""
        return len(self.classes)


def load_model(
    model: str | nn.Module,
    weights: str | Path | None = "DEFAULT",
    *,
    layer: str | None = None,
    transform: Transform | None = None,
    classes: Classes | Sequence[str] | str | Path | int | None = None,
    name: str | None = None,
    trust_pickle: bool = False,
) -> Model:
    """Load a classification model, check it with one dummy image, and know what it is.

    Args:
        model: a name of `torchvision.models.list_models()`, or any `nn.Module` mapping (B, C, H, W) to logits (B, n).
        weights: for a name: an enum name such as "DEFAULT" or "IMAGENET1K_V1" (downloaded once), a file
            (`.safetensors`, or a `.pth` state dict, read with `weights_only=True`), or None for random weights.
            A module keeps its own weights, unless a file is given.
        layer: sub-module whose output becomes the activation: (B, C, H, W) and (B, H, W, C) are averaged over H and W,
            (B, T, C) gives the class token where the module has one, else the mean over T.
        transform: maps an RGB PIL image to a (C, H, W) float tensor; default is that of the torchvision weights.
        classes: names of the outputs: a list, a file, "imagenet1k", or how many; default is what the weights say.
        name: SQL name; default is the model's, or the module's class in lower case.
        trust_pickle: read a weights file that holds more than tensors, such as a whole pickled module, which runs
            whatever code is in it. Only for files you made yourself; runs record it.

    Returns:
        The model in eval mode, on the CPU.

    Raises:
        NotFoundError: unknown model, weights or layer; names near matches.
        InferenceError: weights that do not fit or cannot be downloaded, or a forward pass that fails.
    """
    given = load_classes(classes) if classes is not None else None
    if isinstance(model, str):
        module, default_transform, found, origin = _from_torchvision(model, weights, given, trust_pickle)
        transform, sql_name = transform or default_transform, name or model
    else:
        origin, found, sql_name = "module", None, name or type(model).__name__.lower()
        module = model
        if weights not in (None, "DEFAULT"):
            _load_state(module, Path(str(weights)), trust_pickle)
            origin = str(weights)
    if transform is None:
        raise InferenceError("a module needs transform=, a function from an RGB PIL image to a (C, H, W) float tensor")
    module = module.cpu().eval()
    if layer is not None:
        find_layer(module, layer)
    shape, n_outputs, n_activations = _probe(module, transform, layer)
    names = given or found or numbered(n_outputs)
    if len(names) != n_outputs:
        raise InferenceError(f"{sql_name} has {n_outputs} outputs, but classes= names {len(names)}")
    digest = hash_weights(module)
    return Model(sql_name, module, transform, names, layer, origin, digest, shape, n_activations, trust_pickle)


def known_models() -> list[str]:
    """Names of torchvision's classification models."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def _from_torchvision(
    name: str, weights: str | Path | None, classes: Classes | None, trust_pickle: bool
) -> tuple[nn.Module, Transform, Classes | None, str]:
    from torchvision import models

    if name not in known_models():
        raise NotFoundError(f"no model {name!r} in torchvision{near_matches(name, known_models())}")
    enum = models.get_model_weights(name)
    transform: Transform = enum.DEFAULT.transforms()
    size = {} if classes is None or len(classes) == len(imagenet1k()) else {"num_classes": len(classes)}
    if weights is None:
        return models.get_model(name, weights=None, **size), transform, None, "random"
    if str(weights) in enum.__members__:
        chosen = enum[str(weights)]
        try:
            module = models.get_model(name, weights=chosen)
        except (urllib.error.URLError, OSError) as error:
            raise InferenceError(f"cannot download {chosen}: {error}; give weights= a local file") from None
        return module, chosen.transforms(), _categories(chosen), chosen.name
    file = Path(weights).expanduser()
    if not file.is_file():
        members = ", ".join(enum.__members__)
        raise NotFoundError(f"no weights {weights!r} for {name}; give one of {members}, or a file that exists")
    official = next((one for one in enum if one.url.rpartition("/")[2] == file.name), None)
    if official is None:
        module = models.get_model(name, weights=None, **size)
        _load_state(module, file, trust_pickle)
        return module, transform, None, str(file)
    inputs = {"transform_input": True} if name in ("googlenet", "inception_v3") else {}  # as torchvision loads them
    module = models.get_model(name, weights=None, **inputs)
    _load_state(module, file, trust_pickle)
    return module, official.transforms(), _categories(official), str(file)


def _categories(weights: Any) -> Classes | None:
    names = tuple(weights.meta["categories"] or ())
    return imagenet1k() if names == imagenet1k().names else (Classes(names) if names else None)


def _load_state(module: nn.Module, file: Path, trust_pickle: bool) -> None:
    if not file.is_file():
        raise NotFoundError(f"no weights file {file}")
    state = _read_state(file, trust_pickle)
    for wrapper in _WRAPPERS:
        if isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    state = {key.removeprefix("module."): value for key, value in state.items()}
    try:
        module.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        lines = [line.strip() for line in str(error).splitlines()[1:3]]
        raise InferenceError(
            f"{file} does not fit {type(module).__name__}: {'; '.join(lines)[:300]}; "
            "is it another architecture, or another number of classes (classes=)?"
        ) from error


def _read_state(file: Path, trust_pickle: bool) -> dict[str, Any]:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        state = torch.load(file, map_location="cpu", weights_only=not trust_pickle)
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        advice = "" if trust_pickle else "; a file of your own making can be read with trust_pickle (--trust-pickle)"
        raise InferenceError(
            f"{file} holds no plain state dict (safetensors, or .pth of tensors): {first[:200]}{advice}"
        ) from error
    if isinstance(state, nn.Module):
        return dict(state.state_dict())
    if not isinstance(state, dict):
        raise InferenceError(f"{file} holds a {type(state).__name__}, not a state dict")
    return state


def hash_weights(module: nn.Module) -> str:
    """SHA-256 over name, type, shape and bytes of every tensor of the state dict, whatever file it came from."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def describe_transform(transform: Transform, *, probe: bool = True) -> dict[str, str]:
    """What a transform is, so that two runs can be compared.

    Its name; its settings, or its code with defaults and closed-over values; and the hash of what it makes of one image
    of noise, unless that differs from call to call. No addresses.
    """
    kind = transform if hasattr(transform, "__qualname__") else type(transform)
    found = {"name": f"{kind.__module__}.{kind.__qualname__}"}
    if hasattr(transform, "__code__"):
        found["code_sha256"] = hashlib.sha256(_describe_code(transform).encode()).hexdigest()
    else:
        values = {} if isinstance(transform, nn.Module) else getattr(transform, "__dict__", {})
        found["settings"] = _plain(f"{transform!r} {values or ''}")
    digest = _hash_output(transform) if probe else None
    return {**found, "output_sha256": digest} if digest else found


def _plain(text: str) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", re.sub(r"\s+", " ", text)).strip()


def _describe_code(function: Any) -> str:
    def code(part: types.CodeType) -> tuple[Any, ...]:
        inner = [code(one) if isinstance(one, types.CodeType) else repr(one) for one in part.co_consts]
        return part.co_code.hex(), inner, part.co_names

    closed = [_plain(repr(cell.cell_contents)) for cell in function.__closure__ or ()]
    return repr((code(function.__code__), repr(function.__defaults__), repr(function.__kwdefaults__), closed))


def _hash_output(transform: Transform) -> str | None:
    """SHA-256 of the transform of one image of noise; None when it fails there or gives another answer next time."""
    from PIL import Image

    noise = torch.randint(0, 256, (230, 310, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    picture = Image.fromarray(noise.numpy())
    try:
        first, second = (torch.as_tensor(transform(picture)).contiguous() for _ in range(2))
    except Exception:
        return None
    same = first.shape == second.shape and torch.equal(first, second)
    return hashlib.sha256(first.numpy().tobytes()).hexdigest() if same else None


def _probe(module: nn.Module, transform: Transform, layer: str | None) -> tuple[tuple[int, ...], int, int | None]:
    """Shapes of input, output and activation, from one grey image."""
    from PIL import Image

    kept: list[Tensor] = []
    try:
        tensor = transform(Image.new("RGB", (256, 256), (128, 128, 128)))
        with torch.inference_mode(), keep_output(module, layer, kept.append):
            output = module(tensor.unsqueeze(0))
    except Exception as error:
        raise InferenceError(f"the model fails on a grey 256 x 256 image: {type(error).__name__}: {error}") from error
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[0] != 1:
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InferenceError(f"a model gives logits of shape (B, n), this one gives {found} for B = 1")
    if layer is not None and not kept:
        raise InferenceError(f"layer {layer!r} takes no part in the forward pass; choose another")
    return tuple(tensor.shape), output.shape[1], kept[0].shape[1] if kept else None


@dataclass(frozen=True)
class Pixels:
    """A transform in two parts, which together give its very pixels.

    Attributes:
        load: from one image to a (C, H, W) tensor.
        dtype: type of that tensor.
        finish: from a (B, C, H, W) batch of them to what the module takes.
    """

    load: Transform
    dtype: torch.dtype = torch.float32
    finish: Callable[[Tensor], Tensor] = lambda batch: batch


def split_transform(transform: Transform) -> Pixels:
    """torchvision's preset for classification as resize and crop of uint8, then one normalisation for the batch.

    Every other transform stays whole, and so does a preset whose parts would differ from it by a bit on a test image.
    """
    from PIL import Image
    from torchvision.transforms import _presets, functional

    if type(transform) is not _presets.ImageClassification:
        return Pixels(transform)
    preset: Any = transform
    side = preset.crop_size[-1]
    mean, std = (torch.tensor(values, dtype=torch.float32).repeat(side) for values in (preset.mean, preset.std))

    def crop(image: Image.Image) -> Tensor:
        resized = functional.resize(image, preset.resize_size, preset.interpolation, antialias=preset.antialias)
        cropped: Tensor = functional.pil_to_tensor(functional.center_crop(resized, preset.crop_size))
        return cropped

    def normalise(batch: Tensor) -> Tensor:
        rows = batch.permute(0, 2, 3, 1).contiguous().flatten(2).to(torch.float32)
        rows = rows.div_(255).sub_(mean.to(batch.device)).div_(std.to(batch.device))
        return rows.reshape(len(batch), side, side, -1).permute(0, 3, 1, 2)

    sample = Image.effect_noise((300, 200), 80).convert("RGB")
    if not torch.equal(normalise(crop(sample).unsqueeze(0))[0], transform(sample)):
        return Pixels(transform)
    return Pixels(crop, torch.uint8, normalise)


def fast_copy(model: Model, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A copy of the model's module with batch norm folded into convolutions and weights in channels_last order.

    Where folding would change the output by more than rounding, batch norm stays; names of sub-modules stay anyway.
    Weights of convolutions and linear layers get `dtype`, the rest stays fp32: such a copy needs autocast.
    """
    try:
        module = fuse_batch_norm(model.module, model.layer)
        if not _agree(model.module, module, model.input_shape):
            module = copy.deepcopy(model.module)
    except Exception:  # a module may hold anything; one that cannot be copied runs as it is
        return model.module
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            part.to(dtype)
    return module.to(memory_format=torch.channels_last)


def _agree(module: nn.Module, fused: nn.Module, input_shape: tuple[int, ...]) -> bool:
    """Whether a folded module gives the logits of the other, up to rounding, for noise; True when nothing is folded."""
    if [type(part) for part in module.modules()] == [type(part) for part in fused.modules()]:
        return True
    noise = torch.rand(1, *input_shape, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            expected, found = module(noise), fused(noise)
        return bool((expected - found).abs().max() <= 1e-5 * expected.abs().max())
    except Exception:  # a module may refuse noise; then nothing is known of its folded copy
        return False


def fuse_batch_norm(module: nn.Module, layer: str | None = None) -> nn.Module:
    """A copy of a module in eval mode where batch norm is folded into the convolution before it.

    Names stay: the convolution carries the product, an identity stands for the batch norm. A pair is left alone where
    something else sees what is between them: `layer`, a hook, another reader. Where torch.fx cannot trace a module, its
    children are traced one by one.
    """
    fused = copy.deepcopy(module)
    for first, second in _foldable(copy.deepcopy(module), layer):
        conv, norm = cast(nn.Conv2d, fused.get_submodule(first)), cast(nn.BatchNorm2d, fused.get_submodule(second))
        fused.set_submodule(first, nn.utils.fuse_conv_bn_eval(conv, norm))
        fused.set_submodule(second, nn.Identity())
    return fused


def _foldable(module: nn.Module, layer: str | None, prefix: str = "") -> list[tuple[str, str]]:
    """Names of convolutions and of the batch norms that alone read their output; tracing may alter the module."""
    if not any(type(part) is nn.BatchNorm2d for part in module.modules()):
        return []
    try:
        graph = torch.fx.symbolic_trace(module).graph
    except Exception:  # torch.fx passes on whatever the module raises when traced
        children = module.named_children()
        return [pair for name, child in children for pair in _foldable(child, layer, f"{prefix}{name}.")]
    parts = dict(module.named_modules(remove_duplicate=False))
    aliases = Counter(id(part) for part in parts.values())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    reads = [str(node.target) for node in graph.nodes if node.op == "get_attr"]

    def alone(name: str) -> bool:
        part = parts[name]
        hooked = part._forward_hooks or part._forward_pre_hooks
        read = any(target.startswith(f"{name}.") for target in reads)
        return calls[name] == aliases[id(part)] == 1 and not hooked and not read

    pairs = []
    for node in graph.nodes:
        source = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(source, torch.fx.Node) or source.op != "call_module" or len(source.users) != 1:
            continue
        first, second = str(source.target), str(node.target)
        if type(parts[first]) is not nn.Conv2d or type(parts[second]) is not nn.BatchNorm2d:
            continue
        names = (prefix + first, prefix + second)
        kept = [layer is not None and f"{name}.".startswith(f"{layer}.") for name in names]
        if parts[second].running_mean is not None and alone(first) and alone(second) and kept[0] == kept[1]:
            pairs.append(names)
    return pairs
