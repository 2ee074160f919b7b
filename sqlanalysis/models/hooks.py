"""The output of one layer as one vector per image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..errors import InferenceError, NotFoundError, near_matches


def find_layer(module: nn.Module, layer: str) -> nn.Module:
    """The sub-module called `layer`.

    Raises:
        NotFoundError: there is no such sub-module; the message suggests similar names.
    """
    names = [name for name, _ in module.named_modules() if name]
    if layer not in names:
        raise NotFoundError(f"no layer {layer!r} in {type(module).__name__}{near_matches(layer, names)}")
    return module.get_submodule(layer)


@contextmanager
def keep_output(module: nn.Module, layer: str | None, keep: Callable[[Tensor], None]) -> Iterator[None]:
    """Inside the block, each forward pass calls `keep` with the pooled output of `layer`, (B, n_activations)."""
    if layer is None:
        yield
        return
    part = find_layer(module, layer)
    has_token, widths = has_class_token(module), channel_widths(part)
    hook = part.register_forward_hook(lambda _m, _i, output: keep(pool(output, has_token, widths)))
    try:
        yield
    finally:
        hook.remove()


def has_class_token(module: nn.Module) -> bool:
    """Whether a module puts a class token before its sequences."""
    return any(hasattr(child, "class_token") or hasattr(child, "cls_token") for child in module.modules())


def layers_that_work(module: nn.Module, forward: Callable[[], Any], n_images: int) -> list[str]:
    """Names of the layers whose output becomes one vector per image, in the order in which they run."""
    names: dict[str, None] = {}

    def note(name: str, output: Any) -> None:
        try:
            tensor = pool(output)
        except InferenceError:
            return
        if tensor.ndim == 2 and len(tensor) == n_images:
            names[name] = None

    hooks = [
        part.register_forward_hook(lambda _m, _i, output, name=name: note(name, output))
        for name, part in module.named_modules()
        if name
    ]
    try:
        forward()
    finally:
        for hook in hooks:
            hook.remove()
    return list(names)


def channel_widths(part: nn.Module) -> frozenset[int]:
    """Numbers of channels of the layers in `part` that work on the last axis: layer norms and linear layers."""
    norms = {child.normalized_shape[-1] for child in part.modules() if isinstance(child, nn.LayerNorm)}
    return frozenset(norms | {child.out_features for child in part.modules() if isinstance(child, nn.Linear)})


def pool(output: Any, has_token: bool = False, widths: frozenset[int] = frozenset()) -> Tensor:
    """One vector per image: mean over H and W of a map; class token, or mean over T, of a sequence; else flattened.

    Args:
        output: of a layer: (B, C, H, W), (B, H, W, C), (B, T, C) or (B, …), or a tuple that starts with it.
        has_token: whether the first element of a sequence is a class token.
        widths: numbers of channels of layers that work on the last axis. A map is (B, H, W, C), as in Swin, if its last
            axis has one of these widths and its second has not; otherwise it is (B, C, H, W).

    Returns:
        (B, n_activations).

    Raises:
        InferenceError: the output is not a tensor, nor a tuple or list that starts with one.
    """
    tensor = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(tensor, Tensor) or tensor.ndim == 0:
        keys = f" with the keys {', '.join(map(str, tensor))}" if isinstance(tensor, Mapping) else ""
        raise InferenceError(f"it gives a {type(tensor).__name__}{keys}, not a tensor (B, …)")
    if tensor.ndim == 4:
        last = tensor.shape[3] in widths and tensor.shape[1] not in widths
        return tensor.mean((1, 2)) if last else tensor.mean((2, 3))
    if tensor.ndim == 3:
        return tensor[:, 0] if has_token else tensor.mean(1)
    return tensor.reshape(len(tensor), -1)
