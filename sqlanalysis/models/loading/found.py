"""What a loader found: a module, and what its source says about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from ...core.classes import Classes
    from ..transforms import Transform


@dataclass(frozen=True)
class Found:
    """A module and what its source says about it.

    Attributes:
        module: maps (B, C, H, W) to outputs.
        name: SQL name.
        weights: origin of the weights: an enum name, a file, an address such as `timm/resnet18`, "random" or "module".
        transform: from an RGB PIL image to the input of the module; None if unknown.
        classes: names of the outputs in order; None if unknown.
        weights_key: which weights of a checkpoint were taken; None where there is no choice.
        transform_source: where the transform was found.
        classes_source: where the classes were found.
        outputs: what the outputs are, if the source says so.
        notes: what was chosen automatically and could be wrong.
    """

    module: nn.Module
    name: str
    weights: str
    transform: Transform | None = None
    classes: Classes | None = None
    weights_key: str | None = None
    transform_source: str = "unknown"
    classes_source: str = "numbered"
    outputs: str | None = None
    notes: tuple[str, ...] = ()
