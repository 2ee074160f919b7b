"""Models of torchvision by name: architecture, weights, transform and classes."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any

from torch import nn

from ...core.classes import Classes, imagenet1k
from ...core.text import first_line
from ...errors import InferenceError, NotFoundError, near_matches
from . import checkpoint, preprocessing
from .found import Found


def known_models() -> list[str]:
    """Names of the classification models of torchvision."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def from_torchvision(
    name: str, weights: str | Path | None, classes: Classes | None, transform_given: bool, trust_pickle: bool
) -> Found:
    """A model of torchvision.

    Raises:
        NotFoundError: unknown model or weights.
        InferenceError: the weights cannot be downloaded or do not fit.
    """
    from torchvision import models

    if name not in known_models():
        raise NotFoundError(f"no model {name!r} in torchvision{near_matches(name, known_models())}")
    enum = models.get_model_weights(name)
    transform, source = enum.DEFAULT.transforms(), f"{enum.DEFAULT.name} of torchvision"
    if weights is None:
        size = {} if classes is None or len(classes) == len(imagenet1k()) else {"num_classes": len(classes)}
        module = models.get_model(name, weights=None, **size)
        return Found(module, name, "random", transform, transform_source=source)
    if str(weights) in enum.__members__:
        return _official(name, enum[str(weights)])
    file, _ = checkpoint.split_key(weights)
    if not file.is_file():
        members = ", ".join(enum.__members__)
        raise NotFoundError(f"no weights {str(weights)!r} for {name}; give one of {members}, or a file that exists")
    opened = checkpoint.open_checkpoint(weights, trust_pickle)
    # A local copy of an official file has the classes and the transform of its entry.
    entry = next((entry for entry in enum if entry.url.rpartition("/")[2] == file.name), None)
    inputs: dict[str, Any] = {}
    if entry is not None and name in ("googlenet", "inception_v3"):
        inputs = {"transform_input": True}  # as torchvision loads them

    def make(n: int | None) -> nn.Module:
        module: nn.Module = models.get_model(name, weights=None, **inputs, **({} if n is None else {"num_classes": n}))
        return module

    module, chosen = checkpoint.build(make, opened)
    found = Found(module, name, str(file), transform, weights_key=chosen.label or None, notes=chosen.notes)
    if entry is not None:
        return _with(found, entry.transforms(), f"{entry.name} of torchvision", _categories(entry), entry.name)
    return preprocessing.complete(found, file, source, transform_given)


def _official(name: str, chosen: Any) -> Found:
    from torchvision import models

    try:
        module = models.get_model(name, weights=chosen)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise InferenceError(
            f"cannot download {chosen}: {first_line(error)}; give weights= a local file, or random"
        ) from None
    found = Found(module, name, chosen.name)
    return _with(found, chosen.transforms(), f"{chosen.name} of torchvision", _categories(chosen), chosen.name)


def _with(found: Found, transform: Any, source: str, classes: Classes | None, classes_source: str) -> Found:
    return preprocessing.replace(
        found,
        transform=transform,
        transform_source=source,
        classes=classes,
        classes_source=classes_source if classes else "numbered",
    )


def _categories(weights: Any) -> Classes | None:
    names = tuple(weights.meta["categories"] or ())
    return imagenet1k() if names == imagenet1k().names else (Classes(names) if names else None)
