"""Exported models: programs of `torch.export` (`.pt2`) and TorchScript (`.pt`, `.ts`)."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...core.text import first_line
from ...errors import InferenceError
from . import preprocessing
from .batches import in_batches
from .found import Found
from .names import sql_name

_ONLY_WEIGHTS = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_environment = threading.Lock()


class Program(nn.Module):
    """An exported program of fixed batch or of another dtype than float32, as a module that takes any batch."""

    def __init__(self, program: nn.Module, batch: int | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.program, self.batch, self.dtype = program, batch, dtype

    def forward(self, batch: Tensor) -> Any:
        """What the program gives for (B, C, H, W)."""
        return in_batches(self.program, batch.to(self.dtype), self.batch)

    def train(self, mode: bool = True) -> Program:
        """An exported program has one mode, that in which it was exported."""
        self.training = mode
        return self


def from_pt2(
    file: Path, weights: str | Path | None, transform_given: bool, layer: str | None, trust_pickle: bool
) -> Found:
    """A program that `torch.export.save` wrote.

    Raises:
        InferenceError: it cannot be read, or does not take one batch of pictures.
    """
    _refuse_weights(file, weights)
    try:
        with _without_code(file, trust_pickle):
            program = torch.export.load(str(file))
    except InferenceError:
        raise
    except Exception as error:
        raise InferenceError(
            f"{file} cannot be read as a program of torch.export: {first_line(error)}; "
            "export the model again with this version of torch"
        ) from error
    inputs = [node.meta["val"] for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    if len(inputs) != 1 or not isinstance(inputs[0], Tensor) or inputs[0].ndim != 4:
        raise InferenceError(f"{file} takes {len(inputs)} inputs; a model of pictures takes one, (B, C, H, W)")
    batch, channels, height, width = inputs[0].shape
    fixed = int(batch) if isinstance(batch, int) else None
    # Unflattened, its parts have the names of the original's, so that a layer can be read.
    module: nn.Module = torch.export.unflatten(program)
    if fixed is not None or inputs[0].dtype != torch.float32:
        if layer is not None:
            dtype = str(inputs[0].dtype).removeprefix("torch.")
            raise InferenceError(
                f"{file} is exported for {dtype} in batches of {batch}, so its layers cannot be read; export it in "
                "float32 with a dynamic batch, or leave out layer="
            )
        module = Program(module, fixed, inputs[0].dtype)
    found = Found(module, sql_name(file.stem), str(file))
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    return prepared(found, file, transform_given, size, channels)


def from_torchscript(file: Path, weights: str | Path | None, transform_given: bool, layer: str | None) -> Found:
    """A module of TorchScript; the file does not say the size of its input.

    Raises:
        InferenceError: it cannot be read, or a layer is asked for.
    """
    _refuse_weights(file, weights)
    refuse_layer(str(file), layer)
    try:
        module: nn.Module = torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:
        raise InferenceError(f"{file} cannot be read as TorchScript: {first_line(error)}") from error
    for parameter in module.parameters():  # copies of those that have gradients are not leaves, and moving them warns
        parameter.requires_grad_(False)
    return prepared(Found(module, sql_name(file.stem), str(file)), file, transform_given, None, 3)


def refuse_layer(what: str, layer: str | None) -> None:
    """Refuse to read a layer of a model that runs outside Python.

    Raises:
        InferenceError: a layer is asked for.
    """
    if layer is not None:
        raise InferenceError(
            f"{what} runs outside Python, so layer {layer!r} cannot be read; load the original module, a .pt2 with a "
            "dynamic batch, or leave out layer="
        )


def prepared(
    found: Found, file: Path, transform_given: bool, size: tuple[int, int] | None, channels: Any, dtype: str = ""
) -> Found:
    """With the transform and the classes beside the file, else with ImageNet's transform, said.

    Raises:
        InferenceError: nothing can be assumed, for pictures that are not of three channels.
    """
    classes = preprocessing.classes_beside(file, None)
    if classes is not None:
        found = preprocessing.replace(found, classes=classes, classes_source=str(file.parent / "config.json"))
    if transform_given:
        return found
    own = preprocessing.beside(file)
    if own is not None:
        return preprocessing.replace(found, transform=own[0], transform_source=own[1])
    if isinstance(channels, int) and channels != 3:
        raise InferenceError(f"{file} takes {channels} channels; give transform=, from an RGB picture to these")
    if dtype:
        raise InferenceError(f"{file} takes {dtype} values; give transform=, from an RGB picture to these")
    transform, source, note = preprocessing.assume(file.name, size)
    return preprocessing.replace(found, transform=transform, transform_source=source, notes=(*found.notes, note))


def _refuse_weights(file: Path, weights: str | Path | None) -> None:
    if str(weights) != "DEFAULT":
        raise InferenceError(f"{file} has weights of its own; leave out weights=")


@contextmanager
def _without_code(file: Path, trust_pickle: bool) -> Iterator[None]:
    """Inside the block, torch reads only tensors from pickles: its reader of programs falls back to all of Python.

    Raises:
        InferenceError: the file holds objects of Python that would be unpickled.
    """
    if trust_pickle:
        yield
        return
    with zipfile.ZipFile(file) as archive:
        objects = [name for name in archive.namelist() if Path(name).name.startswith(("custom_obj_", "opaque_obj_"))]
    if objects:
        raise InferenceError(
            f"{file} holds pickled objects of Python; a file that you made yourself can be read with trust_pickle=True"
        )
    with _environment:
        before = os.environ.get(_ONLY_WEIGHTS)
        os.environ[_ONLY_WEIGHTS] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ[_ONLY_WEIGHTS]
            else:
                os.environ[_ONLY_WEIGHTS] = before
