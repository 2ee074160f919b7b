"""Load architectures and weights: names of torchvision, local files, state dicts."""

from __future__ import annotations

import hashlib
import urllib.error
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.classes import Classes, imagenet1k
from ..core.text import one_line
from ..errors import InferenceError, NotFoundError, near_matches
from .transforms import Transform

# Keys under which training scripts often nest the state dict.
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def known_models() -> list[str]:
    """Names of the classification models of torchvision."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def from_torchvision(
    name: str, weights: str | Path | None, classes: Classes | None, trust_pickle: bool
) -> tuple[nn.Module, Transform, Classes | None, str]:
    """Module, transform, classes (None if unknown) and origin of the weights of a model of torchvision.

    Raises:
        NotFoundError: unknown model or weights.
        InferenceError: the weights cannot be downloaded or do not fit.
    """
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
    # A local copy of an official file has the classes and the transform of its entry.
    official = next((entry for entry in enum if entry.url.rpartition("/")[2] == file.name), None)
    if official is None:
        module = models.get_model(name, weights=None, **size)
        load_state(module, file, trust_pickle)
        return module, transform, None, str(file)
    inputs = {"transform_input": True} if name in ("googlenet", "inception_v3") else {}  # as torchvision loads them
    module = models.get_model(name, weights=None, **inputs)
    load_state(module, file, trust_pickle)
    return module, official.transforms(), _categories(official), str(file)


def _categories(weights: Any) -> Classes | None:
    names = tuple(weights.meta["categories"] or ())
    return imagenet1k() if names == imagenet1k().names else (Classes(names) if names else None)


def load_state(module: nn.Module, file: Path, trust_pickle: bool) -> None:
    """Load the state dict in a file into a module.

    Raises:
        NotFoundError: there is no such file.
        InferenceError: the file does not hold a state dict, or it does not fit the module.
    """
    if not file.is_file():
        raise NotFoundError(f"no weights file {file}")
    state = _read_state(file, trust_pickle)
    for wrapper in _WRAPPERS:
        if isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    unnamed = next((key for key in state if not isinstance(key, str)), None)
    if unnamed is not None:
        raise InferenceError(
            f"{file} does not hold a state dict: one of its keys is {one_line(unnamed, 40)}, not the name of a tensor; "
            "save module.state_dict()"
        )
    # `DataParallel` and `DistributedDataParallel` save every name with this prefix.
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
        advice = (
            "" if trust_pickle else "; a file that you made yourself can be read with trust_pickle (--trust-pickle)"
        )
        raise InferenceError(
            f"{file} does not hold a plain state dict (safetensors, or .pth of tensors): {first[:200]}{advice}"
        ) from error
    if isinstance(state, nn.Module):
        return dict(state.state_dict())
    if not isinstance(state, dict):
        raise InferenceError(f"{file} contains a {type(state).__name__}, not a state dict")
    return state


def hash_weights(module: nn.Module) -> str:
    """SHA-256 of names, dtypes, shapes and bytes of all tensors in the state dict; the same for every file format."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
