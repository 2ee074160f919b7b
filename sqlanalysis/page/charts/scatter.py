"""The map as a still picture, for print and pages without a script: one SVG path per color, nine bytes per point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]

SIZE = 500
_EDGE = 8
_ARM = 2.5


def by_name(rows: Sequence[Row], field: str, numbers: dict[str, int]) -> str:
    """Dots with one color for each frequent name in a column; the others are gray and drawn first."""
    layers: dict[int, list[Row]] = {0: []}
    for row in rows:
        layers.setdefault(numbers.get(row[field], 0), []).append(row)
    pixels = _pixels(rows)
    return _svg([_dots([pixels[row["image_id"]] for row in layers[n]], f"dots h{n}") for n in sorted(layers)], rows)


def by_correct(rows: Sequence[Row]) -> str:
    """Right answers as faint dots, wrong ones as crosses, drawn last."""
    pixels = _pixels(rows)
    right, wrong = ([pixels[row["image_id"]] for row in rows if row["correct"] is value] for value in (True, False))
    return _svg([_dots(right, "dots right"), _crosses(wrong)], rows)


def _pixels(rows: Sequence[Row]) -> dict[int, tuple[float, float]]:
    """Pixel coordinates by image_id, on a square with the same scale for x and y."""
    spans = [(min(row[axis] for row in rows), max(row[axis] for row in rows)) for axis in "xy"]
    scale = (SIZE - 2 * _EDGE) / (max(high - low for low, high in spans) or 1.0)
    (x, y) = ((low + high) / 2 for low, high in spans)
    middle = SIZE / 2
    return {row["image_id"]: (middle + (row["x"] - x) * scale, middle - (row["y"] - y) * scale) for row in rows}


def _dots(pixels: Sequence[tuple[float, float]], css_class: str) -> str:
    # A line of length zero is drawn as a dot by its round cap.
    return f'<path class="{css_class}" d="{"".join(f"M{x:.1f} {y:.1f}h0" for x, y in pixels)}"/>' if pixels else ""


def _crosses(pixels: Sequence[tuple[float, float]]) -> str:
    arm, stroke = _ARM, 2 * _ARM
    path = (f"M{x - arm:.1f} {y - arm:.1f}l{stroke} {stroke}m0-{stroke}l-{stroke} {stroke}" for x, y in pixels)
    return f'<path class="crosses" d="{"".join(path)}"/>' if pixels else ""


def _svg(paths: Sequence[str], rows: Sequence[Row]) -> str:
    crowd = " many" if len(rows) > 1000 else ""
    return f'<svg class="still{crowd}" viewBox="0 0 {SIZE} {SIZE}" aria-hidden="true">{"".join(paths)}</svg>'
