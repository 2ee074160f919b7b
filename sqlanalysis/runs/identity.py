"""Is this the work that an earlier run of the same name did? Compared by content, never by name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .run import Run

Vector = list[float | None]
# Device, batch size and packages are recorded but may differ: a run can be resumed on another machine.
IDENTITY = (
    *("dataset", "weights_sha256", "transform", "layer", "class_policy", "label_space", "dtype", "members"),
    *("outputs", "prompts", "version"),
)


def differences(earlier: Run, wanted: Run) -> list[str]:
    """What differs between two runs, in words; empty if the wanted run may resume the earlier one."""
    pairs = {field: (getattr(earlier, field), getattr(wanted, field)) for field in IDENTITY}
    found = [_change(field, old, new) for field, (old, new) in pairs.items() if old != new]
    # Without a probe, the answers are compared when they are known: after the engine has started.
    if wanted.probe is not None and not found:
        found += other_answers(json.loads(earlier.probe or "{}"), json.loads(wanted.probe))
    return found


def unidentified(wanted: Run) -> str | None:
    """What of a function cannot be identified by its content, or None; with a `version` the caller vouches for it."""
    described = json.loads(wanted.transform or "{}")
    parts = [described.get("function", {}), *described.get("deferred", {}).values()]
    reasons = [part["unidentified"] for part in parts if "unidentified" in part]
    return reasons[0] if reasons and wanted.version is None else None


def _change(field: str, old: Any, new: Any) -> str:
    """`field old → new`; of a transform, which is long, the parts that differ."""
    if field != "transform" or old is None or new is None:
        return f"{field} {_short(old)} → {_short(new)}"
    first, second = dict(_leaves(json.loads(old), "")), dict(_leaves(json.loads(new), ""))
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    return f"{field} ({', '.join(f'{n}: {_short(first.get(n))} → {_short(second.get(n))}' for n in names[:3])})"


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield path, value
        return
    for key, part in value.items():
        yield from _leaves(part, f"{path}.{key}".lstrip("."))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:12] + "…"


def other_answers(earlier: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What differs between two records of `runs.probe`, in words; empty if the same model can have given both."""
    if earlier.get("random") != wanted["random"]:
        return [f"random answers {earlier.get('random')} → {wanted['random']}"]
    if earlier.get("noise") != wanted.get("noise"):
        return [f"images of another size {earlier.get('noise')} → {wanted['noise']}"]
    # Answers that are random cannot be compared.
    for kind in () if wanted["random"] else ("logits", "activations"):
        old, new = earlier.get(kind), wanted.get(kind)
        if not alike(old, new, max(earlier.get("tolerance", 0.0), wanted["tolerance"])):
            return [
                f"another model with the same weights: its {kind} for two images of noise {_short(old)} → {_short(new)}"
            ]
    same_writer = earlier.get("made_with") == wanted["made_with"]
    if same_writer and earlier.get("settings_sha256") != wanted["settings_sha256"]:
        return ["another model with the same weights: its code, hooks or attributes"]
    return []


def alike(first: list[Vector] | None, second: list[Vector] | None, tolerance: float) -> bool:
    """Whether all numbers are equal up to a share of the largest; null, for NaN and infinity, equals null."""
    if first is None or second is None or [len(v) for v in first] != [len(v) for v in second]:
        return first is second
    pairs = [pair for a, b in zip(first, second, strict=True) for pair in zip(a, b, strict=True)]
    if any((a is None) != (b is None) for a, b in pairs):
        return False
    numbers = [(a, b) for a, b in pairs if a is not None and b is not None]
    scale = max((abs(x) for pair in numbers for x in pair), default=0.0)
    return all(math.isclose(a, b, rel_tol=0.0, abs_tol=tolerance * scale) for a, b in numbers)
