"""The output of one layer, as one vector an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..errors import NotFoundError, near_matches


def find_layer(module: nn.Module, layer: str) -> nn.Module:
    """The sub-module called `layer`.

    Raises:
        NotFoundError: there is none of that name; names some that are.
    """
    names = [name for name, _ in module.named_modules() if name]
    if layer not in names:
        raise NotFoundError(f"no layer {layer!r} in {type(module).__name__}{near_matches(layer, names)}")
    return module.get_submodule(layer)


@contextmanager
def keep_output(module: nn.Module, layer: str | None, keep: Callable[[Tensor], None]) -> Iterator[None]:
    """While open, every forward pass hands the pooled output of `layer`, (B, n_activations), to `keep`."""
    if layer is None:
        yield
        return
    part = find_layer(module, layer)
    has_token = any(hasattr(one, "class_token") or hasattr(one, "cls_token") for one in module.modules())
    widths = channel_widths(part)
    hook = part.register_forward_hook(lambda _m, _i, output: keep(pool(output, has_token, widths)))
    try:
        yield
    finally:
        hook.remove()


def channel_widths(part: nn.Module) -> frozenset[int]:
    """Channels of the layers in `part` that work on the last axis: layer norms and linear layers."""
    norms = {one.normalized_shape[-1] for one in part.modules() if isinstance(one, nn.LayerNorm)}
    return frozenset(norms | {one.out_features for one in part.modules() if isinstance(one, nn.Linear)})


def pool(output: Any, has_token: bool = False, widths: frozenset[int] = frozenset()) -> Tensor:
    """One vector an image: mean over H, W of a map; class token, or mean over T, of a sequence; else flattened.

    A map is (B, C, H, W), unless its last axis, and not its second, has one of the `widths` of layers that work on the
    last axis: then it is (B, H, W, C), as in Swin.
    """
    tensor: Tensor = output[0] if isinstance(output, tuple | list) else output
    if tensor.ndim == 4:
        last = tensor.shape[3] in widths and tensor.shape[1] not in widths
        return tensor.mean((1, 2)) if last else tensor.mean((2, 3))
    if tensor.ndim == 3:
        return tensor[:, 0] if has_token else tensor.mean(1)
    return tensor.flatten(1)
