"""Models of torchvision by name: architecture, weights, transform and classes."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any

from torch import nn

from ...core.classes import Classes, imagenet1k
from ...errors import InferenceError, NotFoundError, near_matches
from ..transforms import Transform
from .checkpoint import load_state


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
