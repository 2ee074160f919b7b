"""Checkpoints: which of the weights in a file are meant, how large their head is, and do they fit.

Training scripts nest the weights under keys, beside averaged ones, and wrappers put prefixes before every name. What is
meant is found by the names that the module itself has: a set of tensors fits if it has all of them behind one prefix.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...core.text import first_line, one_line
from ...errors import InferenceError, NotFoundError, near_matches
from .reading import attributes, module_tensors, read

# What wraps a module without being part of it: DataParallel and DistributedDataParallel, torch.compile, FSDP,
# activation checkpointing.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Keys and attributes under which training scripts keep the plain weights.
_USUAL = _WRAPPERS | {
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params", "state"),
    *("model_weights", "net_state_dict", "network_state_dict", "backbone_and_head", "classifier_state_dict"),
}
_AVERAGED = {"ema", "swa", "averaged", "average", "avg", "shadow"}
MAX_DEPTH = 5


@dataclass(frozen=True)
class Checkpoint:
    """An opened file of weights; `key` is the caller's choice among several in it."""

    file: Path
    content: Any
    key: str | None = None

    @property
    def origin(self) -> str:
        """The file as it is recorded."""
        return str(self.file)

    def architecture(self) -> str | None:
        """The name of the architecture that training scripts of timm and torchvision keep beside the weights."""
        if not isinstance(self.content, dict):
            return None
        args = self.content.get("args")
        inside = {**args, **attributes(args)} if isinstance(args, dict) else getattr(args, "__dict__", {})
        name = self.content.get("arch") or inside.get("arch") or inside.get("model")
        return name if isinstance(name, str) else None


@dataclass(frozen=True)
class Weights:
    """Tensors by the names of a module.

    Attributes:
        state: what `load_state_dict` takes.
        path: keys of the file that lead to them, then the parts of their prefix.
        averaged: an average of the weights over training (EMA, SWA).
        label: what the caller writes to choose them; empty for a file that holds nothing else.
        versions: of the modules that wrote them, by which torch converts old tensors; None if the file has none.
        notes: what was chosen, where there was a choice.
    """

    state: Mapping[str, Any]
    path: tuple[str, ...]
    averaged: bool
    label: str = ""
    versions: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_usual(self) -> bool:
        """Whether every key is one that plain weights usually have."""
        return not self.averaged and _USUAL.issuperset(self.path)


def split_key(weights: str | Path) -> tuple[Path, str | None]:
    """`f.pth#model_ema` → the file and the key; a file whose own name has a `#` is a file."""
    whole = Path(weights).expanduser()
    path, mark, key = str(weights).rpartition("#")
    return (whole, None) if whole.is_file() or not mark else (Path(path).expanduser(), key)


def open_checkpoint(weights: str | Path, trust_pickle: bool = False) -> Checkpoint:
    """Read a file of weights.

    Raises:
        NotFoundError: no such file.
        InferenceError: it cannot be read.
    """
    file, key = split_key(weights)
    return Checkpoint(file, read(file, trust_pickle), key)


def build(make: Callable[[int | None], nn.Module], opened: Checkpoint) -> tuple[nn.Module, Weights]:
    """Make a module with a head of the size that the weights have, and load them.

    Args:
        make: gives the module with so many outputs; None is the architecture's own number.
        opened: the weights.

    Raises:
        InferenceError: they do not fit; NotFoundError: no weights under that key.
    """
    module = make(None)
    chosen = choose(opened, module)
    width = head_width(module, chosen.state)
    if width is not None:
        module = make(width)
    fill(module, chosen, opened.file)
    return module, chosen


def load_state(module: nn.Module, weights: str | Path, trust_pickle: bool = False) -> Weights:
    """Load the weights in a file into a module; returns what was chosen.

    Raises:
        NotFoundError: no such file, or no weights under that key.
        InferenceError: the file does not hold weights, or they do not fit.
    """
    opened = open_checkpoint(weights, trust_pickle)
    chosen = choose(opened, module)
    fill(module, chosen, opened.file)
    return chosen


def choose(opened: Checkpoint, module: nn.Module) -> Weights:
    """The weights of a file that are meant for a module.

    Plain weights come before averaged ones (EMA, SWA); the choice is in `notes`. Equal sets count once.

    Raises:
        NotFoundError: nothing under the caller's key.
        InferenceError: no tensors, none that fit, or several sets of which none is the usual one.
    """
    own = list(module.state_dict())
    sets = list(_tensors(opened.content))
    if not sets:
        raise InferenceError(f"{opened.file} {_no_state_dict(opened.content)}; save module.state_dict()")
    found = _labeled([weights for path, state in sets for weights in _fitting(path, state, own)])
    if not found:
        path, state = max(sets, key=lambda pair: len(_same_tail(pair[1], own)))
        _refuse(module, opened.file, own, path, state)
    if opened.key is not None:
        return _of_key(found, opened)
    different = _without_equal(found)
    usual = [weights for weights in different if weights.is_usual]
    plain = usual or [weights for weights in different if not weights.averaged] or different
    if len(plain) > 1:
        raise InferenceError(
            f"{opened.file} has several sets of weights that fit: {_list(plain)}; say which, "
            f"such as weights={opened.file}#{plain[0].label}"
        )
    chosen, others = plain[0], [weights for weights in different if weights is not plain[0]]
    note = ""
    if others:
        note = (
            f"{opened.file.name} also has other weights: {chosen.label} is used, not {_list(others)}; "
            f"weights={opened.file}#{others[0].label} takes those"
        )
    elif not chosen.is_usual and chosen.label:
        kind = "averaged weights" if chosen.averaged else "weights"
        note = f"the {kind} of {opened.file.name} are those under {chosen.label}"
    return replace(chosen, notes=(note,) if note else ())


def _of_key(found: list[Weights], opened: Checkpoint) -> Weights:
    key = str(opened.key).strip(".")
    exact = [weights for weights in found if key in (weights.label, ".".join(weights.path))]
    matches = exact or [weights for weights in found if weights.label.endswith(f".{key}")]
    if len(matches) == 1:
        return matches[0]
    names = [weights.label for weights in found if weights.label]
    raise NotFoundError(
        f"no weights {key!r} for this model in {opened.file}{near_matches(key, names)}"
        if not matches
        else f"{opened.file} has several weights {key!r}: {_list(matches)}; give one of these"
    )


def _list(several: list[Weights]) -> str:
    return ", ".join(weights.label for weights in several)


def _tensors(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every set of named tensors in nested containers, with the keys that lead to it."""
    if isinstance(content, nn.Module):
        yield path, content.state_dict()
        return
    pickled = module_tensors(content)
    if pickled:
        yield path, pickled
        return
    if isinstance(content, list | tuple):
        content = {str(index): value for index, value in enumerate(content[:20])}
    if not isinstance(content, dict) or len(path) > MAX_DEPTH:
        return
    if any(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
        yield path, content
    for key, value in content.items():
        if isinstance(key, str) and not isinstance(value, Tensor):
            yield from _tensors(value, (*path, key))


def _fitting(path: tuple[str, ...], state: Mapping[str, Any], own: list[str]) -> Iterator[Weights]:
    """The sets of tensors in a flat dict that have a name for each of a module's, behind one prefix."""
    plain = {key: key for key in state if isinstance(key, str)}
    bare = {_bare(key): key for key in plain}
    for names, name_of in ((plain, {key: key for key in own}), (bare, {_bare(key): key for key in own})):
        # Wrappers inside names are looked through only if that confuses no two of them.
        if len(names) < len(plain) or len(name_of) < len(own):
            continue
        # Counts of batches are not there in old files, and inference does not read them.
        needed = [key for key in name_of if not key.endswith("num_batches_tracked")]
        prefixes = _prefixes(names, needed)
        fitting = [prefix for prefix in prefixes if all(f"{prefix}{key}" in names for key in needed)]
        for prefix in fitting:
            taken = {key: names[key] for key in names if key.startswith(prefix)}
            # Without a prefix, other sets in the same dict would be names that the module does not have.
            others = tuple(other for other in fitting if other != prefix and other.startswith(prefix))
            counter = "n_averaged" in state
            left = {
                name_of.get(key.removeprefix(prefix), key.removeprefix(prefix)): state[original]
                for key, original in taken.items()
                if not (others and key.startswith(others)) and not (counter and key == "n_averaged")
            }
            where = (*path, *prefix.strip(".").split(".")) if prefix else path
            averaged = counter or any(_AVERAGED.intersection(_words(part)) for part in where)
            yield Weights(left, where, averaged, versions=_versions(state, prefix))
        if fitting:
            return


def _versions(state: Mapping[str, Any], prefix: str) -> dict[str, Any] | None:
    versions = getattr(state, "_metadata", None)
    if not isinstance(versions, dict):
        return None
    inside = {name: value for name, value in versions.items() if f"{name}.".startswith(prefix)}
    return {_bare(name[len(prefix) :]): value for name, value in inside.items()}


def _bare(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def _words(part: str) -> list[str]:
    return part.lower().replace("-", "_").split("_")


def _prefixes(names: Mapping[str, str], needed: list[str]) -> list[str]:
    if not needed:
        return [""]
    longest = max(needed, key=len)
    return [key[: -len(longest)] for key in names if key == longest or key.endswith(f".{longest}")]


def _labeled(found: list[Weights]) -> list[Weights]:
    """With labels as short as they can differ: without wrappers, unless these tell two sets apart."""
    short = [".".join(part for part in weights.path if part not in _WRAPPERS | {"model"}) for weights in found]
    short = [
        label or next((part for part in weights.path if part not in _WRAPPERS), "averaged" if weights.averaged else "")
        for label, weights in zip(short, found, strict=True)
    ]
    labels = short if len(set(short)) == len(short) else [".".join(weights.path) or "top" for weights in found]
    return [replace(weights, label=label) for weights, label in zip(found, labels, strict=True)]


def _without_equal(found: list[Weights]) -> list[Weights]:
    kept: list[Weights] = []
    for weights in sorted(found, key=lambda one: (not one.is_usual, one.averaged)):
        if not any(_equal(weights.state, other.state) for other in kept):
            kept.append(weights)
    return kept


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    pairs = [(value, other.get(key)) for key, value in one.items() if isinstance(value, Tensor)]
    return all(isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


def head_width(module: nn.Module, state: Mapping[str, Any]) -> int | None:
    """The number of outputs that the weights have, if it is all in which they differ from the module.

    That is: some tensors differ in their first axis alone, which is the same in all of them, there and here.
    """
    pairs = [(own.shape, state[key].shape) for key, own in module.state_dict().items() if key in state]
    differing = [(own, given) for own, given in pairs if own != given]
    if not differing or any(not own or not given or own[1:] != given[1:] for own, given in differing):
        return None
    same = all(a[0][0] == b[0][0] and a[1][0] == b[1][0] for a, b in pairwise(differing))
    return int(differing[0][1][0]) if same else None


def fill(module: nn.Module, chosen: Weights, file: Path) -> None:
    """Load weights into a module.

    Raises:
        InferenceError: names or shapes do not fit, or values are stored as codes that are not numbers by themselves.
    """
    own = module.state_dict()
    for key, value in chosen.state.items():
        if not isinstance(value, Tensor) or key not in own:
            continue
        if own[key].is_floating_point() and (not value.is_floating_point() or value.dtype.itemsize < 2):
            raise InferenceError(
                f"{file} holds {key} as {str(value.dtype).removeprefix('torch.')}: quantized weights, which are not "
                "numbers without their scales; export the model, or give weights of 16 bits or more"
            )
    state: Any = OrderedDict(chosen.state)
    # All names are those of the module, so a file that says no versions has those of the module.
    current: dict[str, Any] = own._metadata  # type: ignore[attr-defined]
    versions = current if chosen.versions is None else chosen.versions
    state._metadata = {name: versions.get(_bare(name), value) for name, value in current.items()}
    for key, value in own.items():
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, value)
    try:
        module.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        lines = [one_line(line) for line in str(error).splitlines()[1:3]] or [first_line(error)]
        raise InferenceError(
            f"{file} does not fit {type(module).__name__}: {'; '.join(lines)[:300]}; "
            "is it another architecture, or another number of classes (classes=)?"
        ) from error


def _same_tail(state: Mapping[str, Any], own: list[str]) -> set[str]:
    """Names of the module that the state has behind the prefix that most of them share."""
    names = [key for key in state if isinstance(key, str)]
    prefixes = {key[: -len(tail)] for tail in own for key in names if key == tail or key.endswith(f".{tail}")}
    sets = [{key for key in own if f"{prefix}{key}" in state} for prefix in prefixes]
    return max(sets, key=len, default=set())


def _refuse(module: nn.Module, file: Path, own: list[str], path: tuple[str, ...], state: Mapping[str, Any]) -> None:
    missing = [key for key in own if key not in _same_tail(state, own)]
    there = [str(key) for key in state][:3]
    under = f" under {'.'.join(path)}" if path else ""
    raise InferenceError(
        f"{file} does not fit {type(module).__name__}: Missing key(s): {', '.join(missing[:3])}"
        f"{', …' if len(missing) > 3 else ''}; it has{under} {one_line(', '.join(there), 120)}, …; "
        "is it another architecture, or another number of classes (classes=)?"
    )


def _no_state_dict(content: Any) -> str:
    if isinstance(content, dict) and content:
        keys = [one_line(key, 40) for key in list(content)[:5]]
        if not all(isinstance(key, str) for key in content):
            return f"does not hold a state dict: one of its keys is {keys[0]}, not the name of a tensor"
        return f"holds no state dict under {', '.join(keys)}"
    return f"contains a {type(content).__name__}, not a state dict"


def hash_weights(module: nn.Module) -> str:
    """SHA-256 of names, dtypes, shapes and bytes of all tensors in the state dict; the same for every file format."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
