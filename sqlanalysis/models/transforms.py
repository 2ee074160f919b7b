"""Transforms: in two parts for speed, and described so that two runs can be compared."""

from __future__ import annotations

import hashlib
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Transform = Callable[[Any], Tensor]


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
    """torchvision's preset for classification as resize and crop of uint8, then one normalization for the batch.

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

    def normalize(batch: Tensor) -> Tensor:
        rows = batch.permute(0, 2, 3, 1).contiguous().flatten(2).to(torch.float32)
        rows = rows.div_(255).sub_(mean.to(batch.device)).div_(std.to(batch.device))
        return rows.reshape(len(batch), side, side, -1).permute(0, 3, 1, 2)

    sample = Image.effect_noise((300, 200), 80).convert("RGB")
    if not torch.equal(normalize(crop(sample).unsqueeze(0))[0], transform(sample)):
        return Pixels(transform)
    return Pixels(crop, torch.uint8, normalize)
