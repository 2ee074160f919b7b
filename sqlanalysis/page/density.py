"""Where the points of a map are dense: contours, names of regions, and places with more mistakes than chance gives.

Pure functions of arrays. Coordinates are those of the page: integers from 0 to 65,534 along the longer side of the map.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SIDE = 65534
_CELLS = 96  # of the grid, along the longer side of the map
MASSES = (0.97, 0.8, 0.6, 0.4, 0.2)  # shares of the images inside the five contours
MAX_BYTES = 25_000  # of the contours in the page
_MAX_NAMES = 20
_BOX = (719, 596)  # pixels of the map on a wide page, where names must not overlap
_LETTER, _LINE = 6.8, 17  # pixels
_MIN_SHARE = 0.25  # of a region, for the class that names it
_MIN_IMAGES = 3  # of it there
_CELL_IMAGES, _MAX_CELLS = 25, 64  # images of the places that are tested for mistakes, and their number
_ALPHA = 0.05


@dataclass(frozen=True)
class Field:
    """A smooth density on a grid (rows up, columns across) with an empty border; `sigma`, `step`, of the map."""

    grid: np.ndarray
    step: float
    pad: int
    sigma: float

    def cells(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The index of the cell of each point in the flattened grid."""
        row, column = ((values / self.step).astype(np.int64) + self.pad for values in (y, x))
        cells: np.ndarray = row * self.grid.shape[1] + column
        return cells

    def middle(self, rows: Any, columns: Any) -> tuple[Any, Any]:
        """x and y of the middles of cells; a fraction of a cell is allowed."""
        return (columns - self.pad + 0.5) * self.step, (rows - self.pad + 0.5) * self.step


def density(x: np.ndarray, y: np.ndarray, extent: Sequence[int], narrow: float = 1.0) -> Field:
    """Points per cell, smoothed by a Gaussian that is wider for fewer points; `narrow` below 1 shows more detail."""
    from scipy.ndimage import gaussian_filter

    sigma = narrow * min(0.045, max(0.011, 0.09 * len(x) ** (-1 / 6))) * SIDE
    step = SIDE / _CELLS
    pad = int(np.ceil(3.5 * sigma / step)) + 1
    across, up = (int(side / step) + 1 + 2 * pad for side in extent)
    empty = Field(np.zeros((up, across)), step, pad, sigma)
    counts = np.bincount(empty.cells(x, y), minlength=up * across).reshape(up, across).astype(float)
    grid = gaussian_filter(counts, sigma / step, mode="constant", truncate=3.0)
    return Field(grid, step, pad, sigma)


def contours(field: Field, x: np.ndarray, y: np.ndarray) -> list[dict[str, Any]]:
    """Closed lines of equal density: level 0 encloses 97 % of the points, level 4 the densest 20 %.

    A level may have several lines; those inside others are holes where they run clockwise. Lines are drawn with fewer
    corners where all of them would take more than `MAX_BYTES` of JSON.
    """
    at_points = field.grid.ravel()[field.cells(x, y)]
    levels = np.unique(np.quantile(at_points, [1 - mass for mass in MASSES]))
    lines: list[tuple[int, np.ndarray]] = []
    for level, threshold in enumerate(levels):
        for ring in rings(field.grid, threshold):
            if _area(ring) > 1.5:  # cells; smaller ones are specks
                lines.append((level, ring))
    tolerance = 0.08
    while True:
        paths = []
        for level, ring in lines:
            px, py = field.middle(*simplify(ring, tolerance).T)
            corners = np.stack([px, py], axis=1).round().astype(int).tolist()
            if len(corners) > 2:
                paths.append({"level": level, "path": corners})
        if len(json.dumps(paths, separators=(",", ":"))) <= MAX_BYTES:
            return paths
        tolerance *= 1.5


# The crossed edges of a square by which of its corners (1 lower left, 2 lower right, 4 upper right, 8 upper left) are
# inside: from one edge to another with the inside at the left. Edges are bottom, right, top, left.
_B, _R, _T, _L = range(4)
_TURNS = dict(enumerate([(_B, _L), (_R, _B), (_R, _L), (_T, _R), None, (_T, _B), (_T, _L)], 1))
_TURNS |= dict(enumerate([(_L, _T), (_B, _T), None, (_R, _T), (_L, _R), (_B, _R), (_L, _B)], 8))
_SADDLES = {
    (5, False): ((_B, _L), (_T, _R)),
    (5, True): ((_B, _R), (_T, _L)),
    (10, False): ((_R, _B), (_L, _T)),
    (10, True): ((_L, _B), (_R, _T)),
}
Edge = tuple[int, int, bool]


def rings(grid: np.ndarray, level: float) -> list[np.ndarray]:
    """Marching squares: closed polygons of (row, column) between the values of a grid whose border is below `level`."""
    inside = grid >= level
    code = inside[:-1, :-1] + 2 * inside[:-1, 1:] + 4 * inside[1:, 1:] + 8 * inside[1:, :-1]
    following: dict[Edge, Edge] = {}
    for row, column in np.argwhere((code > 0) & (code < 15)).tolist():
        number = int(code[row, column])
        joined = bool(grid[row : row + 2, column : column + 2].mean() >= level)
        edges = ((row, column, True), (row, column + 1, False), (row + 1, column, True), (row, column, False))
        turn = _TURNS[number]
        for begin, end in _SADDLES[number, joined] if turn is None else (turn,):
            following[edges[begin]] = edges[end]
    found = []
    while following:
        start, edge = following.popitem()
        ring = [_crossing(grid, level, start)]
        while edge != start:
            ring.append(_crossing(grid, level, edge))
            edge = following.pop(edge)
        found.append(np.array(ring))
    return found


def _crossing(grid: np.ndarray, level: float, edge: Edge) -> tuple[float, float]:
    row, column, across = edge
    low, high = grid[row, column], grid[row + (not across), column + across]
    share = float((level - low) / (high - low))
    return (row, column + share) if across else (row + share, column)


def _area(ring: np.ndarray) -> float:
    row, column = ring.T
    return abs(float(np.dot(column, np.roll(row, -1)) - np.dot(row, np.roll(column, -1)))) / 2


def simplify(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """Douglas and Peucker's corners of a closed ring: no corner of it is farther than `tolerance` from what is kept."""
    far = int(np.argmax(((ring - ring[0]) ** 2).sum(1)))
    closed = np.concatenate([ring, ring[:1]])
    kept = {0, far}
    waiting = [(0, far), (far, len(ring))]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        (a, b), inner = closed[[first, last]], closed[first + 1 : last]
        length = np.hypot(*(b - a))
        sideways = np.array([a[1] - b[1], b[0] - a[0]])
        across = np.abs((inner - a) @ sideways) / length if length else np.hypot(*(inner - a).T)
        middle = first + 1 + int(np.argmax(across))
        if across.max() > tolerance:
            kept.add(middle)
            waiting += [(first, middle), (middle, last)]
    return ring[sorted(kept)]


def regions(
    x: np.ndarray,
    y: np.ndarray,
    extent: Sequence[int],
    words: Sequence[Sequence[int]] | np.ndarray,
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """Up to 20 dense regions with the name that is most typical of each: {name, x, y, n}, the largest first.

    Args:
        x: coordinates of the points, with y.
        y: coordinates of the points.
        extent: width and height of the map.
        words: the code of each point (negative: none), or for each point its codes.
        names: what codes mean.

    The typical name has the highest share · log(share / its share of all), and is at least a quarter and three
    images of the region. No
    name comes twice, and no two overlap on a wide page.
    """
    from scipy.ndimage import maximum_filter

    if len(x) < 3 or not names:
        return []
    point, code = _flat(words)
    field = density(x, y, extent, narrow=0.8)
    least = np.quantile(field.grid.ravel()[field.cells(x, y)], 0.1)
    peaks = np.argwhere((field.grid == maximum_filter(field.grid, 5)) & (field.grid >= least))
    rows, columns = np.indices(field.grid.shape)
    distance = np.stack([(rows - row) ** 2 + (columns - column) ** 2 for row, column in peaks])
    reach = (2.5 * field.sigma / field.step) ** 2
    owner = np.where(distance.min(0) <= reach, distance.argmin(0), len(peaks)).ravel()
    region = owner[field.cells(x, y)]
    sizes = np.bincount(region, minlength=len(peaks) + 1)
    table = np.bincount(region[point] * len(names) + code, minlength=(len(peaks) + 1) * len(names))
    table = table.reshape(len(peaks) + 1, len(names))
    usual = table.sum(0) / len(x)
    found: list[dict[str, Any]] = []
    for at in np.argsort(-sizes[:-1], kind="stable"):
        if sizes[at] < 3:
            break
        share = table[at] / sizes[at]
        with np.errstate(divide="ignore", invalid="ignore"):
            typical = (share >= _MIN_SHARE) & (table[at] >= _MIN_IMAGES)
            score = np.where(typical, share * np.log(share / usual), -1.0)
        best = int(score.argmax())
        px, py = (float(values[region == at].mean()) for values in (x, y))
        region_ = {"name": names[best], "x": round(px), "y": round(py), "n": int(sizes[at])}
        if score[best] >= 0 and not any(_collide(region_, other, extent) for other in found):
            found.append(region_)
    return found[:_MAX_NAMES]


def _flat(words: Sequence[Sequence[int]] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the point and code, one row for each code of a point."""
    if isinstance(words, np.ndarray):
        point = np.flatnonzero(words >= 0)
        return point, words[point].astype(np.int64)
    point = np.repeat(np.arange(len(words)), [len(codes) for codes in words])
    return point, np.fromiter((code for codes in words for code in codes), np.int64, len(point))


def _collide(a: dict[str, Any], b: dict[str, Any], extent: Sequence[int]) -> bool:
    if a["name"] == b["name"]:
        return True
    scale = 0.94 * min(size / max(1, side) for size, side in zip(_BOX, extent, strict=True))
    width = _LETTER * (len(a["name"]) + len(b["name"])) / 2 + 6
    return bool(abs(a["x"] - b["x"]) * scale < width and abs(a["y"] - b["y"]) * scale < _LINE)


def gathering(x: np.ndarray, y: np.ndarray, wrong: np.ndarray, alpha: float = _ALPHA) -> tuple[list[np.ndarray], int]:
    """Places with more mistakes than chance puts there, and how many places were tested.

    The map is cut at medians, without a look at the mistakes, into at most 64 places of at least 25 points. Under
    chance the number of mistakes in a place is hypergeometric; Holm's correction holds the probability of any false
    alarm at or below `alpha`.

    Args:
        x: coordinates of the images that are right or wrong, one of each group with equal bytes; with y.
        y: coordinates.
        wrong: whether each is wrong.
        alpha: probability of a false alarm.

    Returns:
        For each place its indices into x, the smallest p-value first; and the number of places.
    """
    from scipy.stats import hypergeom

    n, total = len(x), int(wrong.sum())
    cells = _cut(x, y, np.arange(n), max(_CELL_IMAGES, n / _MAX_CELLS))
    if len(cells) < 2 or total in (0, n):
        return [], len(cells)
    p = np.array([hypergeom.sf(wrong[cell].sum() - 1, n, total, len(cell)) for cell in cells])
    order = np.argsort(p, kind="stable")
    limits = alpha / np.arange(len(cells), 0, -1)
    refused = np.flatnonzero(p[order] > limits)
    return [cells[at] for at in order[: refused[0] if len(refused) else len(order)]], len(cells)


def _cut(x: np.ndarray, y: np.ndarray, rows: np.ndarray, least: float) -> list[np.ndarray]:
    """Halves at the median of the longer side, for as long as both halves keep `least` points."""
    if len(rows) < 2 * least:
        return [rows]
    longer = max((x[rows], y[rows]), key=lambda values: int(values.max()) - int(values.min()))
    order = rows[np.argsort(longer, kind="stable")]
    middle = len(order) // 2
    return _cut(x, y, order[:middle], least) + _cut(x, y, order[middle:], least)
