"""How pictures are prepared for a model whose file does not say so: settings beside the file, or ImageNet's way."""

from __future__ import annotations

from dataclasses import replace as replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...core.classes import Classes, from_indices
from ...core.text import first_line
from ...errors import InferenceError, MissingExtraError, SchemaError
from ..transforms import Transform
from .found import Found
from .names import is_timm_config, read_config

OTHERWISE = "if it was trained otherwise, give transform= (Python), or FILE.py:make that returns (module, transform)"
SIDE = 224  # pixels, of ImageNet's pictures
PROCESSOR = "preprocessor_config.json"


def imagenet(height: int = SIDE, width: int = SIDE) -> Transform:
    """As torchvision evaluates ImageNet: resize to 256/224 of the size, center crop, ImageNet's mean and deviation."""
    from torchvision import transforms
    from torchvision.transforms._presets import ImageClassification

    larger = round(max(height, width) * 256 / SIDE)
    if height == width:
        preset: Transform = ImageClassification(crop_size=height, resize_size=larger)
        return preset
    steps = [transforms.Resize(larger), transforms.CenterCrop((height, width)), transforms.ToTensor()]
    composed: Transform = transforms.Compose(
        [*steps, transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    )
    return composed


def assume(what: str, size: tuple[int, int] | None = None) -> tuple[Transform, str, str]:
    """ImageNet's transform for something that does not say its own: transform, source, and the note that says so."""
    height, width = size or (SIDE, SIDE)
    note = (
        f"{what} does not say how pictures are prepared: ImageNet's transform is assumed (resize "
        f"{round(max(height, width) * 256 / SIDE)}, center crop {height} x {width}, ImageNet mean and std); {OTHERWISE}"
    )
    return imagenet(height, width), "assumed", note


def beside(file: Path) -> tuple[Transform, str] | None:
    """The transform that timm's or Hugging Face's settings beside a file say, and where; None without such settings.

    Raises:
        MissingExtraError: the package that reads the settings is not installed.
        InferenceError: the settings cannot be read.
    """
    folder = file.parent
    if read_config(folder, PROCESSOR) is not None:
        _need("transformers", "hf", folder / PROCESSOR)
        from .transformers import read_processor

        return read_processor(str(folder)), str(folder / PROCESSOR)
    settings = read_config(folder)
    if settings is None or not (is_timm_config(settings) or "pretrained_cfg" in settings):
        return None
    _need("timm", "timm", folder / "config.json")
    import timm

    try:
        merged = {**settings, **(settings.get("pretrained_cfg") or {})}
        data = timm.data.resolve_data_config(pretrained_cfg=merged)
        transform: Transform = timm.data.create_transform(**data, is_training=False)
    except Exception as error:
        raise InferenceError(
            f"{folder / 'config.json'} says no transform that timm can make: {first_line(error)}"
        ) from error
    return transform, str(folder / "config.json")


def _need(package: str, extra: str, file: Path) -> None:
    if find_spec(package) is None:
        raise MissingExtraError(
            f"{file} says how pictures are prepared, and reading it needs {package}: pip install sqlanalysis[{extra}]; "
            "or give transform="
        )


def classes_beside(file: Path, n: int | None) -> Classes | None:
    """The classes that settings beside a file name; None if there are none, or not `n`."""
    settings = read_config(file.parent)
    return None if settings is None else classes_in(settings, n)


def classes_in(settings: dict[str, Any], n: int | None) -> Classes | None:
    """The classes that settings of Hugging Face (`id2label`) or timm (`label_names`) name; None if not `n`.

    `LABEL_0`, `LABEL_1`, … are what transformers writes where nobody named the classes, so they are no names.
    """
    inner = settings.get("pretrained_cfg") or {}
    named = settings.get("id2label") or settings.get("label_names") or inner.get("label_names")
    if not named:
        return None
    try:
        classes = from_indices(named, "the model's settings")
    except SchemaError:
        return None
    unnamed = classes.names == tuple(f"LABEL_{index}" for index in range(len(classes)))
    return None if unnamed or (n is not None and len(classes) != n) else classes


def complete(found: Found, file: Path, source: str, transform_given: bool) -> Found:
    """What is known of a local file of weights: settings beside it, else what its architecture usually gets, said.

    Args:
        found: with the architecture's own transform.
        file: of the weights.
        source: whose transform that is.
        transform_given: the caller gives one, so nothing is assumed.
    """
    classes = classes_beside(file, None)
    if classes is not None:
        found = replace(found, classes=classes, classes_source=str(file.parent / "config.json"))
    if transform_given:
        return found
    own = beside(file)
    if own is not None:
        return replace(found, transform=own[0], transform_source=own[1])
    note = f"{file.name} does not say how pictures are prepared: the transform of {source} is assumed; {OTHERWISE}"
    return replace(found, transform_source=f"assumed: {source}", notes=(*found.notes, note))
