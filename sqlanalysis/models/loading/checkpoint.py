"""Weights in files: which tensors of a checkpoint are meant, and do they fit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...core.text import one_line
from ...errors import InferenceError, NotFoundError

# Keys under which training scripts often nest the state dict.
_WRAPPERS = ("state_dict", "model_state_dict", "model")


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
