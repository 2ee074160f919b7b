"""The map as a picture for paper and for pages without a script: one SVG path a color, nine bytes a point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]

SIZE = 500
_EDGE = 8
_ARM = 2.5


def by_name(rows: Sequence[Row], field: str, numbers: dict[str, int]) -> str:
    """Dots, one hue for each frequent name of a column; gray for the others, drawn below."""
    layers: dict[int, list[Row]] = {0: []}
    for row in rows:
        layers.setdefault(numbers.get(row[field], 0), []).append(row)
    places = _places(rows)
    return _svg([_dots([places[row["image_id"]] for row in layers[n]], f"dots h{n}") for n in sorted(layers)], rows)


def by_correct(rows: Sequence[Row]) -> str:
    """Right ones as faint dots, wrong ones as crosses above them."""
    places = _places(rows)
    right, wrong = ([places[row["image_id"]] for row in rows if row["correct"] is value] for value in (True, False))
    return _svg([_dots(right, "dots right"), _crosses(wrong)], rows)


def _places(rows: Sequence[Row]) -> dict[int, tuple[float, float]]:
    """Tenths of a pixel on a square on which one unit is as long across as upward."""
    spans = [(min(row[axis] for row in rows), max(row[axis] for row in rows)) for axis in "xy"]
    scale = (SIZE - 2 * _EDGE) / (max(high - low for low, high in spans) or 1.0)
    (x, y) = ((low + high) / 2 for low, high in spans)
    middle = SIZE / 2
    return {row["image_id"]: (middle + (row["x"] - x) * scale, middle - (row["y"] - y) * scale) for row in rows}


def _dots(places: Sequence[tuple[float, float]], kind: str) -> str:
    return f'<path class="{kind}" d="{"".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)}"/>' if places else ""


def _crosses(places: Sequence[tuple[float, float]]) -> str:
    arm, stroke = _ARM, 2 * _ARM
    path = (f"M{x - arm:.1f} {y - arm:.1f}l{stroke} {stroke}m0-{stroke}l-{stroke} {stroke}" for x, y in places)
    return f'<path class="crosses" d="{"".join(path)}"/>' if places else ""


def _svg(paths: Sequence[str], rows: Sequence[Row]) -> str:
    crowd = " many" if len(rows) > 1000 else ""
    return f'<svg class="still{crowd}" viewBox="0 0 {SIZE} {SIZE}" aria-hidden="true">{"".join(paths)}</svg>'
