"""The map as a still picture, for print and pages without a script: contours, points and names in one SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

SIZE = (719, 596)
_FIT = 0.94
Row = dict[str, Any]


def still(
    extent: Sequence[int],
    layers: Sequence[tuple[str, np.ndarray, np.ndarray]],
    contours: Sequence[Row],
    regions: Sequence[Row],
) -> str:
    """The SVG of a map.

    Args:
        extent: width and height of the coordinates.
        layers: CSS class and coordinates x, y of the points of each color, those on top last.
        contours: level and path of each line.
        regions: name and place of each region.
    """
    scale = _FIT * min(size / side for size, side in zip(SIZE, extent, strict=True))
    left, bottom = ((size + sign * side * scale) / 2 for size, side, sign in zip(SIZE, extent, (-1, 1), strict=True))
    n = max(1, sum(len(x) for _, x, _ in layers))
    # The radius is that of the live map.
    radius = max(0.75, min(3.6, 0.36 * float(math.prod(SIZE) / n) ** 0.33))
    parts = [
        _lines([path["path"] for path in contours if path["level"] == level], scale, left, bottom) for level in range(5)
    ]
    for css_class, x, y in layers:
        # A line of length zero is drawn as a dot by its round cap.
        dots = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(left + x * scale, bottom - y * scale, strict=True))
        parts.append(f'<path class="dots {css_class}" d="{dots}"/>' if dots else "")
    for region in regions:
        name = region["name"] if len(region["name"]) <= 24 else region["name"][:23] + "…"
        half = 3.4 * len(name)
        middle = min(max(left + region["x"] * scale, half), SIZE[0] - half)
        parts.append(f'<text x="{middle:.0f}" y="{bottom - region["y"] * scale + 4:.0f}">{escape(name)}</text>')
    width, height = SIZE
    return (
        f'<svg class="still-map" viewBox="0 0 {width} {height}" stroke-width="{2 * radius:.1f}" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def _lines(paths: Sequence[Sequence[Sequence[int]]], scale: float, left: float, bottom: float) -> str:
    drawn = "".join(
        "M" + "L".join(f"{left + x * scale:.1f} {bottom - y * scale:.1f}" for x, y in path) + "Z" for path in paths
    )
    return f'<path class="contour" d="{drawn}"/>' if drawn else ""
