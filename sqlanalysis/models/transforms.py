"""Describe transforms, so that runs can be compared, and split them in two parts, for speed."""

from __future__ import annotations

import hashlib
import re
import uuid
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.pixels import Resize
from ..errors import ImageError, InferenceError
from .content import fingerprint, plain, reads_outside, tensor_bytes

Transform = Callable[[Any], Tensor]


def to_tensor(value: Any) -> Tensor:
    """The tensor (C, H, W) that a transform gives: a tensor, a numpy array, or a dict with `image` or `pixel_values`.

    An array of (H, W, C), as albumentations gives it, is turned to (C, H, W); an axis of length 1 before is left out.

    Raises:
        ImageError: it gives something else.
    """
    if isinstance(value, Mapping):
        key = next((key for key in ("image", "pixel_values") if key in value), None)
        if key is None:
            raise ImageError(f"the transform gives a dict with {', '.join(map(str, value))}, not image or pixel_values")
        return to_tensor(value[key])
    if isinstance(value, list) and len(value) == 1:  # what processors of transformers give for one image
        return to_tensor(value[0])
    is_array = isinstance(value, np.ndarray)
    if not isinstance(value, Tensor) and not is_array:
        raise ImageError(f"the transform gives a {type(value).__name__}; give a float tensor (C, H, W)")
    tensor = torch.as_tensor(np.ascontiguousarray(value)) if is_array else value
    if tensor.ndim == 4 and len(tensor) == 1:
        tensor = tensor[0]
    if is_array and tensor.ndim == 3 and tensor.shape[-1] in (1, 3) and tensor.shape[0] not in (1, 3):
        tensor = tensor.permute(2, 0, 1).contiguous()
    return tensor


def describe_transform(transform: Transform, *, probe: bool = True) -> dict[str, str]:
    """Describe a transform or another function so that two runs can be compared.

    Args:
        transform: any callable.
        probe: also apply it to one image of noise.

    Returns:
        Its name, its settings where it shows them, `sha256` of its content (see `content.fingerprint`), and with
        `probe` the hash of its output, unless that differs from call to call. A content that cannot be hashed is named
        under `unidentified` instead. Contains no memory addresses.
    """
    named = transform if hasattr(transform, "__qualname__") else type(transform)
    described = {"name": plain(f"{named.__module__}.{named.__qualname__}")}
    if not hasattr(transform, "__code__"):
        described["settings"] = _plain(repr(transform))
    content = _content(transform)
    digest = _hash_output(transform) if probe else None
    # A function that counts its calls has another content after each: its output must do.
    if probe and content != _content(transform):
        content = {"unidentified": "it changes what it refers to"}
    return {**described, **content, **({"output_sha256": digest} if digest else {})}


def describe_function(function: Callable[..., Any], *, vouched: bool = False) -> dict[str, str]:
    """Describe a user's function over batches, as `describe_transform` does without a probe.

    A function that changes what it refers to, such as one that counts its calls, keeps the description of its first
    call as long as nothing else changed it (`called`). One that cannot be identified gets the name of this very object
    in this process, unless the caller has `vouched` for it with a version.
    """
    described = describe_transform(function, probe=False)
    outside = reads_outside(function)
    if outside is not None:
        described = {"name": described["name"], "unidentified": f"it reads {outside} when it is called"}
    known = _known(function)
    if "sha256" in described:
        first, last = (known or {}).get("content", ("", ""))
        return {**described, "sha256": first if described["sha256"] == last else described["sha256"]}
    return described if vouched else {**described, "object": uuid.uuid4().hex if known is None else known["object"]}


def called(function: Callable[..., Any], described: dict[str, str]) -> None:
    """Note that `function`, described so before, was called: what changed since then was changed by its calls."""
    known, now = _known(function), describe_transform(function, probe=False)
    if known is not None and "sha256" in described and "sha256" in now:
        known["content"] = (described["sha256"], now["sha256"])


# What this process knows of functions: name of the object, and content before its first and after its last call.
_functions: weakref.WeakKeyDictionary[Any, dict[str, dict[str, Any]]] = weakref.WeakKeyDictionary()


def _known(function: Callable[..., Any]) -> dict[str, Any] | None:
    """What is known of this object; None if no weak reference to it is possible, so that it could not be told apart."""
    owner = getattr(function, "__self__", function)  # a bound method is made at each access
    try:
        held = _functions.setdefault(owner, {})
    except TypeError:
        return None
    return held.setdefault(getattr(function, "__name__", ""), {"object": uuid.uuid4().hex})


def _content(function: Transform) -> dict[str, str]:
    try:
        return {"sha256": fingerprint(function, modes=True)}
    except InferenceError as error:
        return {"unidentified": str(error)}


def _plain(text: str) -> str:
    # Addresses differ between processes.
    return plain(re.sub(r" at 0x[0-9a-f]+", "", re.sub(r"\s+", " ", text)).strip())


def _hash_output(transform: Transform) -> str | None:
    """SHA-256 of the output for one image of noise; None if the transform fails or is random."""
    from PIL import Image

    noise = torch.randint(0, 256, (230, 310, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    picture = Image.fromarray(noise.numpy())
    try:
        with torch.random.fork_rng(devices=[]):
            first, second = (to_tensor(transform(picture)) for _ in range(2))
    except Exception:
        return None
    same = first.shape == second.shape and torch.equal(first, second)
    return hashlib.sha256(tensor_bytes(first)).hexdigest() if same else None


@dataclass(frozen=True)
class Pixels:
    """A transform in two parts, which together give exactly the same pixels.

    Attributes:
        load: maps one image to a (C, H, W) tensor.
        dtype: dtype of that tensor.
        finish: maps a (B, C, H, W) batch of these tensors to the input of the module.
        portable: gives the pixels of `load` as a uint8 array, can be pickled, and needs no torch: for processes that
            decode. None where the transform computes floats or is code of its own.
    """

    load: Transform
    dtype: torch.dtype = torch.float32
    finish: Callable[[Tensor], Tensor] = lambda batch: batch
    portable: Resize | None = None


def split_transform(transform: Transform, dtype: torch.dtype = torch.float32) -> Pixels:
    """Split torchvision's preset for classification into resize and crop in uint8, and normalization of the batch.

    Other transforms stay in one part, and so does a preset whose two parts do not reproduce it exactly on a test image.

    Args:
        transform: maps an RGB PIL image to a tensor.
        dtype: of that tensor.
    """
    from PIL import Image
    from torchvision.transforms import _presets, functional

    whole = Pixels(lambda picture: to_tensor(transform(picture)), dtype)
    if type(transform) is not _presets.ImageClassification:
        return whole
    preset: Any = transform
    side = preset.crop_size[-1]
    mean, std = (torch.tensor(values, dtype=torch.float32).repeat(side) for values in (preset.mean, preset.std))

    # torchvision also takes Pillow's own numbers.
    interpolation = functional.pil_modes_mapping.get(preset.interpolation, preset.interpolation)
    crop_size = (preset.crop_size[0], side)
    resize = Resize(tuple(preset.resize_size), crop_size, interpolation)

    def crop(image: Image.Image) -> Tensor:
        return torch.from_numpy(resize(image))

    def normalize(batch: Tensor) -> Tensor:
        # Whole rows of W * C values against repeated means are fast, and leave the result in channels_last order.
        rows = batch.permute(0, 2, 3, 1).contiguous().flatten(2).to(torch.float32)
        rows = rows.div_(255).sub_(mean.to(batch.device)).div_(std.to(batch.device))
        return rows.reshape(len(batch), side, side, -1).permute(0, 3, 1, 2)

    sample = Image.effect_noise((300, 200), 80).convert("RGB")
    if not torch.equal(normalize(crop(sample).unsqueeze(0))[0], transform(sample)):
        return whole
    return Pixels(crop, torch.uint8, normalize, resize)
