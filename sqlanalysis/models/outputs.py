"""What the outputs of a module mean: find them in what a forward pass gives, recognize them, and score them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..core.classes import OUTSIDE, ClassMap
from ..core.text import one_line
from ..errors import ArgumentError, InferenceError, near_matches

EMBEDDING = "embedding"  # what an encoder gives: one vector per image, and no predictions
KINDS = ("logits", "probs", "log_probs", "percent", "sigmoid")
SUM_TOLERANCE, RANGE_TOLERANCE = 1e-2, 1e-6  # of probabilities: 2-byte floats drift
_KEYS = ("logits", "probabilities", "probs")  # of a dict, best first
LARGEST = 1_000_000  # values of a result that is remembered
_BOUNDED = {
    "sigmoid": ("aten::sigmoid", "aten::sigmoid_", "aten::special_expit", "aten::hardsigmoid"),
    "tanh": ("aten::tanh", "aten::tanh_"),
}
UNKNOWN = "unknown"
_IN_WORDS = {"probs": "probabilities", "log_probs": "log-probabilities", "percent": "percents"}
_WRAP = "wrap the module in one whose forward gives a tensor (B, n) of logits"


def take(result: Any) -> tuple[Tensor, str]:
    """The outputs (B, n) in what a forward pass gives, and where they were, such as `["logits"]`; "" if it is a tensor.

    `.logits` and `["logits"]` of a dict, a dataclass or a named tuple, `["probabilities"]` of a dict, the first element
    of a tuple or list, and the only value of a dict are taken; trailing axes of length 1 are left out, and (B,) is one
    output, as is one number.

    Raises:
        InferenceError: there are none; the message names what is there.
    """
    if isinstance(result, Tensor):
        shape = tuple(result.shape)
        flat = result.reshape(-1, 1) if result.ndim < 2 else result
        flat = flat.flatten(1) if flat.shape[2:].numel() == 1 else flat
        if flat.ndim != 2 or not flat.is_floating_point() or flat.shape[1] == 0:
            raise InferenceError(f"outputs have shape (B, n) and are floats, these are {result.dtype} {shape}; {_WRAP}")
        return flat, ""
    inner, where = _inside(result)
    tensor, deeper = take(inner)
    return tensor, where + deeper


def _inside(result: Any) -> tuple[Any, str]:
    if isinstance(result, Mapping):
        known = next((key for key in _KEYS if key in result), None)
        if known is not None:
            return result[known], f'["{known}"]'
        if len(result) == 1:
            key, value = next(iter(result.items()))
            return value, f'["{key}"]'
        raise InferenceError(f"the forward pass gives a dict without logits, with {_listed(map(str, result))}; {_WRAP}")
    logits = getattr(result, "logits", None)
    if isinstance(logits, Tensor):
        return logits, ".logits"
    if isinstance(result, tuple | list) and result:
        return result[0], "[0]"
    if hasattr(result, "__array__"):
        return torch.as_tensor(result), ""
    fields = [field.name for field in dataclasses.fields(result)] if dataclasses.is_dataclass(result) else []
    what = f"{type(result).__name__} with {_listed(fields)}" if fields else one_line(type(result).__name__, 60)
    raise InferenceError(f"the forward pass gives a {what}, not logits; {_WRAP}")


def take_embedding(result: Any) -> tuple[Any, str]:
    """The embedding in what the forward pass of an encoder gives, and where it was; "" if it is a tensor.

    The first of `image_embeds`, `pooler_output` and `last_hidden_state` that is there, the first element of a tuple or
    list, or the only value of a dict; it may still need pooling.

    Raises:
        InferenceError: there is none; the message names what is there.
    """
    for key in ("image_embeds", "pooler_output", "last_hidden_state"):
        value = result.get(key) if isinstance(result, Mapping) else getattr(result, key, None)
        if isinstance(value, Tensor):
            return value, f".{key}"
    if isinstance(result, Tensor):
        return result, ""
    if isinstance(result, tuple | list) and result:
        return result[0], "[0]"
    if isinstance(result, Mapping) and len(result) == 1:
        key, value = next(iter(result.items()))
        return value, f'["{key}"]'
    what = f" with {_listed(map(str, result))}" if isinstance(result, Mapping) else ""
    raise InferenceError(
        f"the forward pass gives a {one_line(type(result).__name__, 60)}{what}, no embedding; give layer=, the name of "
        "the sub-module whose output it is"
    )


def _listed(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")


class Origin(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers, inside the block, the results of torch's operators, to find the one that gave the outputs.

    What values mean cannot always be seen from them: logits may all lie between 0 and 1. Their last operator says it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._results: list[tuple[str, Tensor]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.numel() <= LARGEST and not result.is_quantized:
            self._results.append((function._schema.name, result))
        return result

    def of(self, outputs: Tensor) -> str | None:
        """The bounding operator whose result the outputs are (sigmoid, tanh); None for any other, or "unknown"."""
        values = outputs.detach().float().flatten()
        same = [
            operator
            for operator, result in self._results
            if result.numel() == values.numel() and torch.equal(result.detach().float().flatten(), values)
        ]
        bounding = (name for name, operators in _BOUNDED.items() if any(operator in operators for operator in same))
        return next(bounding, None if same else UNKNOWN)


def recognize(outputs: Tensor, origin: str | None = None) -> str:
    """What outputs (B, n) mean, as a value of `KINDS`; all rows must agree, and what fits nothing else are logits.

    Args:
        outputs: of at least two different images.
        origin: the operator that gave them, from `Origin.of`.

    Raises:
        InferenceError: they could be several things.
    """
    values = outputs.detach().double()
    if origin == "tanh":
        raise InferenceError(
            "the outputs end in tanh, so they are neither logits nor probabilities; wrap the module, such as in one "
            "that gives the values before tanh"
        )
    if origin == "sigmoid":
        return "sigmoid"
    sums, least, most = values.sum(1), float(values.min()), float(values.max())
    drift = 1e-3 if outputs.dtype in (torch.float32, torch.float64) else SUM_TOLERANCE

    def near_1(totals: Tensor) -> bool:
        return bool((totals - 1).abs().max() <= drift)

    if values.shape[1] > 1:
        if least >= 0 and most <= 1 + drift and near_1(sums):
            return "probs"
        if most <= drift and near_1(values.exp().sum(1)):
            return "log_probs"
        if least >= 0 and near_1(sums / 100):
            return "percent"
    if origin == UNKNOWN and least >= 0 and most <= 1:
        raise InferenceError(
            f"the outputs lie in [0, 1] ({_row(values[0])}) and could be logits or independent probabilities: give "
            'outputs="logits" or outputs="sigmoid" (--outputs)'
        )
    return "logits"


def settle(wanted: str, outputs: Tensor, origin: str | None) -> str:
    """What outputs (B, n) mean: as the caller says, if that can be, else as recognized.

    Raises:
        InferenceError: they are not what the caller says, or could be several things.
    """
    if wanted == "auto":
        return recognize(outputs, origin)
    check(outputs, wanted)
    looks = recognize(outputs) if outputs.shape[1] > 1 else wanted
    return override(looks, wanted)


def override(kind: str, wanted: str) -> str:
    """What the caller says that outputs mean, in place of `kind`; "auto" keeps it.

    Raises:
        InferenceError: a softmax would be applied twice.
    """
    if wanted == "logits" and kind in ("probs", "percent"):
        raise InferenceError(f'outputs="logits", but the outputs are {_IN_WORDS[kind]} already; leave outputs= out')
    return kind if wanted == "auto" else wanted


def _row(values: Tensor) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:4].tolist())
    return f"[{shown}{', …' if len(values) > 4 else ''}], sum {float(values.sum()):.4g}"


def check_kind(outputs: str) -> str:
    """The value of an option `outputs`.

    Raises:
        ArgumentError: there is no such value.
    """
    if outputs not in ("auto", *KINDS):
        choices = ("auto", *KINDS)
        raise ArgumentError(
            f"outputs is one of {', '.join(choices)}, not {outputs!r}{near_matches(str(outputs), choices)}"
        )
    return outputs


def describe(kind: str, where: str, *, is_binary: bool) -> tuple[str, ...]:
    """Notes on outputs that are not a tensor of logits, one per class."""
    said = []
    if where:
        said.append(f"outputs are taken from {where} of what the forward pass gives")
    if is_binary:
        said.append(f"one output: taken as the {'logit' if kind == 'logits' else 'probability'} of class 1 of two")
    elif kind == "sigmoid":
        said.append("outputs are one probability per class, each on its own (sigmoid); they are scaled to sum to 1")
    elif kind != "logits":
        said.append(f"outputs are {_IN_WORDS[kind]} already: no softmax is applied")
    return tuple(said)


def fits(outputs: Tensor, kind: str) -> Tensor:
    """Whether each row of outputs (B, n) is finite and of that kind, a boolean tensor (B,)."""
    values = outputs.double()
    scaled = values.exp() if kind == "log_probs" else values / 100 if kind == "percent" else values
    if kind == "logits":  # -inf is the logit of a class that is ruled out
        return ~values.isnan().any(1) & (values < torch.inf).all(1) & values.isfinite().any(1)
    good = scaled.isfinite().all(1)
    if kind == EMBEDDING:
        return good
    good &= ((scaled >= -RANGE_TOLERANCE) & (scaled <= 1 + SUM_TOLERANCE)).all(1)
    if scaled.shape[1] > 1:
        sums = scaled.sum(1)
        good &= sums > 0 if kind == "sigmoid" else (sums - 1).abs() <= SUM_TOLERANCE + RANGE_TOLERANCE
    return good


def check(outputs: Tensor, kind: str) -> None:
    """Refuse outputs (B, n) of which a row is NaN, infinite, or not of that kind.

    Raises:
        InferenceError: the message has the first such row.
    """
    good = fits(outputs, kind)
    if good.all():
        return
    row = outputs[int((~good).nonzero()[0, 0])].double()
    if row.isnan().any() or row.eq(torch.inf).any() or not row.isfinite().any():
        raise InferenceError("the output is NaN or infinite")
    raise InferenceError(f"the outputs are not {kind}: {_row(row)}")


def to_logits(outputs: Tensor, kind: str) -> Tensor:
    """Values (B, n) in double whose softmax are the probabilities; one output becomes two classes, 0 and 1."""
    values = outputs.double()
    if kind == "percent":
        values = values / 100
    if values.shape[1] == 1:
        if kind == "logits":
            return torch.cat([torch.zeros_like(values), values], 1)
        first = values.exp() if kind == "log_probs" else values
        values, kind = torch.cat([1 - first, first], 1), "probs"
    return values.clamp_min(0).log() if kind in ("probs", "percent", "sigmoid") else values


def score(outputs: Tensor, class_map: ClassMap | None, kind: str = "logits") -> dict[str, Tensor]:
    """Predictions from outputs (B, n): pred, confidence, probs, and with a class map raw_pred, raw_confidence, inside.

    Policy restricted: the probabilities of the outputs of each class are summed, and renormalized over the classes.
    Policy open: argmax over all outputs, -1 if that output belongs to no class; probs are sums, not renormalized.
    Independent probabilities (sigmoid) are scaled to sum to 1. Ties go to the lower index.

    Args:
        outputs: (B, n) floats.
        class_map: from outputs to classes; None keeps the outputs as classes.
        kind: what the outputs are, a value of `KINDS`.

    Returns:
        Tensors of length B by name; probs is (B, n_classes), the others are (B,); probabilities are float64.
    """
    # Double precision, so that sums over many outputs do not add to the rounding of the stored float32.
    logits = to_logits(outputs, kind)
    probs = logits.softmax(1)
    raw_confidence, raw_pred = probs.max(1).values, probs.argmax(1)
    if class_map is None:
        return {"pred": raw_pred, "confidence": raw_confidence, "probs": probs}
    to_class = torch.tensor(class_map.to_class, device=probs.device)
    spread = torch.zeros(len(to_class), class_map.n_classes, dtype=probs.dtype, device=probs.device)
    mapped = (to_class != OUTSIDE).nonzero().squeeze(1)
    spread[mapped, to_class[mapped]] = 1
    inside = probs[:, mapped].sum(1)
    raw = {"raw_pred": raw_pred, "raw_confidence": raw_confidence, "inside": inside}
    if class_map.policy == "open":
        return {"pred": to_class[raw_pred], "confidence": raw_confidence, "probs": probs @ spread, **raw}
    within = (
        logits[:, mapped].softmax(1) @ spread[mapped] if len(mapped) else probs.new_zeros(len(probs), spread.shape[1])
    )
    return {"pred": within.argmax(1), "confidence": within.max(1).values, "probs": within, **raw}
