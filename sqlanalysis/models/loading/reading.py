"""Read a file of weights without running any code of it.

A pickle names functions and classes to call. torch's own reader allows those that make tensors; everything else that a
checkpoint holds beside its weights (`argparse.Namespace`, settings, whole modules) becomes an inert `Skipped`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.text import first_line
from ...errors import InferenceError, NotFoundError


class Skipped(dict[Any, Any]):
    """An object whose class was not loaded, with the state that was stored for it.

    A dict, since torch's reader sets items only in dicts; its class is made for each file, with the name it stands for.
    """

    state: Any = None

    def __new__(cls, *_args: Any, **_named: Any) -> Skipped:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_named: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def attributes(self) -> dict[str, Any]:
        """What was stored as its `__dict__`."""
        state = self.state[0] if isinstance(self.state, tuple) and self.state else self.state
        return state if isinstance(state, dict) else {}

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """The state dict of a pickled module; empty for anything else."""
        inside = self.attributes()
        volatile = inside.get("_non_persistent_buffers_set") or ()
        named = {**(inside.get("_parameters") or {}), **(inside.get("_buffers") or {})}
        found = {f"{prefix}{name}": v for name, v in named.items() if isinstance(v, Tensor) and name not in volatile}
        for name, child in (inside.get("_modules") or {}).items():
            if isinstance(child, Skipped):
                found |= child.tensors(f"{prefix}{name}.")
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
    inert = [(type(name.rpartition(".")[2], (Skipped,), {"name": name}), name) for name in unknown]
    with torch.serialization.safe_globals(inert):  # type: ignore[arg-type]
        return torch.load(file, map_location="cpu", weights_only=True)


def _reason(error: Exception) -> str:
    # torch explains at length how to run the code of the file.
    text = first_line(error)
    if "Weights only load failed" in text:
        return "it holds objects of Python beside tensors"
    return text
