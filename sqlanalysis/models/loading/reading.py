"""Read a file of weights without running any code of it.

A pickle names functions and classes to call. torch's own reader allows those that make tensors; everything else that a
checkpoint holds beside its weights (`argparse.Namespace`, settings, whole modules) becomes inert data.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.text import first_line
from ...errors import InferenceError, NotFoundError


class _Empty:
    """Stands for a class or function that is not loaded: makes an ordered dict with the object's attributes.

    torch's reader sets items and attributes of ordered dicts, as subclasses of dict and most objects need it.
    """

    def __new__(cls, *_args: Any, **_named: Any) -> Any:
        return OrderedDict()


class _Opaque:
    """Stands for a class whose objects have a state of another form, such as numpy's; keeps nothing."""

    def __init__(self, *_args: Any, **_named: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass


class _List(list[Any]):
    """Stands for a class to whose objects values are appended."""

    def __init__(self, *_args: Any) -> None:
        super().__init__()


def attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object whose class was not loaded."""
    return dict(vars(value)) if type(value) is OrderedDict else {}


def module_tensors(value: Any, prefix: str = "") -> dict[str, Tensor]:
    """The state dict of a pickled module whose class was not loaded; empty for anything else."""
    inside = attributes(value)
    volatile = inside.get("_non_persistent_buffers_set") or ()
    named = {**(inside.get("_parameters") or {}), **(inside.get("_buffers") or {})}
    found = {f"{prefix}{name}": v for name, v in named.items() if isinstance(v, Tensor) and name not in volatile}
    for name, child in (inside.get("_modules") or {}).items():
        found |= module_tensors(child, f"{prefix}{name}.")
    return found


def read(file: Path, trust_pickle: bool = False) -> Any:
    """The content of a file of weights, on the CPU.

    Args:
        file: safetensors, or what `torch.save` wrote.
        trust_pickle: run the code that the file names, to get its objects themselves.

    Raises:
        NotFoundError: no such file.
        InferenceError: it cannot be read.
    """
    if not file.is_file():
        raise NotFoundError(f"no weights file {file}")
    try:
        if file.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        if trust_pickle:
            return torch.load(file, map_location="cpu", weights_only=False)
        return _read_without_code(file)
    except Exception as error:
        advice = "" if trust_pickle else "; a file that you made yourself can be read with trust_pickle=True"
        raise InferenceError(
            f"{file} does not hold a plain state dict (safetensors, or .pth of tensors): {_reason(error)}{advice}"
        ) from error


def _read_without_code(file: Path) -> Any:
    try:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(str(file))
    except ValueError:  # not a zip archive: the format before torch 1.6, or no checkpoint at all
        unknown = []
    try:
        return _read_with(file, unknown, _Empty)
    except pickle.UnpicklingError:
        raise
    except (TypeError, ValueError, AttributeError):  # an object's state is not a dict of attributes
        return _read_with(file, unknown, _Opaque)


def _read_with(file: Path, unknown: list[str], usual: type) -> Any:
    inert = []
    for name in unknown:
        base = _Opaque if name.startswith("numpy.") else _List if name == "collections.deque" else usual
        inert.append((type(name, (base,), {}), name))
    with torch.serialization.safe_globals(inert):  # type: ignore[arg-type]
        return torch.load(file, map_location="cpu", weights_only=True)


def _reason(error: Exception) -> str:
    # torch explains at length how to run the code of the file.
    text = first_line(error)
    if "Weights only load failed" in text:
        return "it holds objects of Python beside tensors"
    return text
