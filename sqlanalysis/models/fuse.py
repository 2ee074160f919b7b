"""A faster copy of a module that gives the same answers: batch norm folded into convolutions, channels_last order."""

from __future__ import annotations

import copy
from collections import Counter
from typing import TYPE_CHECKING, cast

import torch
import torch.fx
from torch import nn

if TYPE_CHECKING:
    from .model import Model


def fast_copy(
    model: Model, dtype: torch.dtype = torch.float32, layout: torch.memory_format = torch.channels_last
) -> nn.Module:
    """A copy of the model's module with batch norm folded into convolutions and weights in a layout, channels_last.

    If folding would change the output by more than rounding, batch norm is kept. Names of sub-modules do not change.
    Weights of convolutions and linear layers get `dtype`, the others stay fp32, so such a copy needs autocast; a module
    that is not fp32 keeps its own dtype. A module that cannot be copied runs as it is.
    """
    if not model.can_copy:
        return model.module
    try:
        module = fuse_batch_norm(model.module, model.layer)
        if not _agree(model.module, module, model.input_shape):
            module = copy.deepcopy(model.module)
    except Exception:  # set_submodule and fusing run the code of a module, which can be anything
        module = copy.deepcopy(model.module)
    if dtype != torch.float32:
        for part in module.modules():
            if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
                part.to(dtype)
    return module.to(memory_format=layout)


def _agree(module: nn.Module, fused: nn.Module, input_shape: tuple[int, ...]) -> bool:
    """Whether both modules give the same logits for noise, up to rounding; True if nothing was folded."""
    if [type(part) for part in module.modules()] == [type(part) for part in fused.modules()]:
        return True
    noise = torch.rand(1, *input_shape, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            expected, actual = module(noise), fused(noise)
        return bool((expected - actual).abs().max() <= 1e-5 * expected.abs().max())
    except Exception:  # a module may reject noise; then its folded copy cannot be checked
        return False


def fuse_batch_norm(module: nn.Module, layer: str | None = None) -> nn.Module:
    """A copy of a module in eval mode in which batch norm is folded into the convolution before it.

    Names do not change: the folded convolution replaces the convolution, an identity replaces the batch norm. A pair is
    not folded if anything else reads the value between them: `layer`, a hook, or another module. If torch.fx cannot
    trace a module, its children are traced separately.
    """
    fused = copy.deepcopy(module)
    for first, second in _foldable(copy.deepcopy(module), layer):
        conv, norm = cast(nn.Conv2d, fused.get_submodule(first)), cast(nn.BatchNorm2d, fused.get_submodule(second))
        fused.set_submodule(first, nn.utils.fuse_conv_bn_eval(conv, norm))
        fused.set_submodule(second, nn.Identity())
    return fused


def _foldable(module: nn.Module, layer: str | None, prefix: str = "") -> list[tuple[str, str]]:
    """Names of (convolution, batch norm) where nothing else reads the convolution; tracing may change the module."""
    if not any(type(part) is nn.BatchNorm2d for part in module.modules()):
        return []
    try:
        graph = torch.fx.symbolic_trace(module).graph
    except Exception:  # torch.fx passes on whatever the module raises when traced
        children = module.named_children()
        return [pair for name, child in children for pair in _foldable(child, layer, f"{prefix}{name}.")]
    parts = dict(module.named_modules(remove_duplicate=False))
    aliases = Counter(id(part) for part in parts.values())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    reads = [str(node.target) for node in graph.nodes if node.op == "get_attr"]

    def alone(name: str) -> bool:
        # Called once, known by one name, without hooks, and no code reads its weights.
        part = parts[name]
        hooked = part._forward_hooks or part._forward_pre_hooks
        read = any(target.startswith(f"{name}.") for target in reads)
        return calls[name] == aliases[id(part)] == 1 and not hooked and not read

    pairs = []
    for node in graph.nodes:
        source = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(source, torch.fx.Node) or source.op != "call_module" or len(source.users) != 1:
            continue
        first, second = str(source.target), str(node.target)
        if type(parts[first]) is not nn.Conv2d or type(parts[second]) is not nn.BatchNorm2d:
            continue
        names = (prefix + first, prefix + second)
        kept = [layer is not None and f"{name}.".startswith(f"{layer}.") for name in names]
        if parts[second].running_mean is not None and alone(first) and alone(second) and kept[0] == kept[1]:
            pairs.append(names)
    return pairs
