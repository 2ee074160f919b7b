"""Where the images of a page stand on its map, and what the map says about them. Nothing is written to the file.

Images are placed by the newest projection of the run; without one by the first two principal components of its
activations; else by its probabilities, between places of the classes; else by the principal components of the image
statistics.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from ..db import statements, templates
from ..errors import QueryError
from . import density, words
from .draft import Draft

NONE = -2  # no label, no prediction
_SOURCES = {"n_projected": "projection", "n_activations": "activations", "n_probabilities": "probabilities"}
_SOURCES["n_statistics"] = "image statistics"
_FIT_NUMBERS = 64_000_000  # numbers that PCA is fitted to: 256 MB
_FIT_IMAGES = 100_000
_MOST_ON_CIRCLE, _MOST_ANCHORS, _TOP = 24, 1500, 5  # classes
_TAIL = 0.005  # share of the images on each side that the limits may leave out
_MARGIN = 0.3  # of what lies between the tails, added on each side up to the last image
_FEW = 8  # images; below, the limits hold all of them
_WORD_FILES = 20_000
_MAX_PHRASES = 2
_NOWHERE = "Mistakes gather nowhere in particular"
Row = dict[str, Any]


@dataclass(frozen=True)
class Places:
    """Coordinates of the images of a page: integers from 0 to 65,534 along the longer side, one scale for both axes.

    `left + x / 65534 * span` is the coordinate that x stands for (`low` for y), except for `n_outside` images beyond
    the limits of the map, which stand on its border. Images of equal bytes share a place.
    """

    by: str  # "activations", "probabilities", or "image statistics"
    is_projection: bool  # one that the file stores
    words: str
    ids: np.ndarray
    x: np.ndarray
    y: np.ndarray
    label: np.ndarray
    pred: np.ndarray
    wrong: np.ndarray  # 1 wrong, 0 right, -1 neither
    first: np.ndarray  # whether an image is the first of those with its bytes
    left: float
    low: float
    span: float
    extent: tuple[int, int]
    n_outside: int

    @property
    def table(self) -> pa.Table:
        """image_id, x and y (both uint16), in order of image_id; images without a place have no row."""
        return pa.table({"image_id": self.ids, "x": self.x, "y": self.y})

    @property
    def facts(self) -> Row:
        """What turns the page's coordinates back into those of the projection."""
        return {"left": self.left, "low": self.low, "span": self.span, "extent": list(self.extent)}


def places(draft: Draft, max_rows: int) -> Places | None:
    """The place of each image of the page of `draft.run`; None if there is nothing to place any of them by.

    Args:
        draft: the page.
        max_rows: images of the page; those of a larger run are sampled as `page_rows` does.

    Raises:
        QueryError: DuckDB refused a query.
    """
    columns = [row["name"] for row in draft.ask("run_columns").rows]
    counts = draft.ask("map_counts", names=columns).row
    for count, by in _SOURCES.items():
        if not counts[count]:
            continue
        given = None if by == "projection" else _components(draft, by, counts[count])
        if given is not None and not given.num_rows:
            continue  # numbers that are not finite
        sampled = counts["n_images"] > max_rows
        rows = _rows(draft, by, given, {"max_rows": max_rows} if sampled else {}, sampled)
        if rows.num_rows:
            return _place(rows, by, _placed_by(draft, by, rows.num_rows))
    return None


def _rows(draft: Draft, by: str, given: pa.Table | None, values: Row, sampled: bool) -> pa.Table:
    with nullcontext() if given is None else statements.registered(draft.con, "_places", given):
        return _arrow(draft, "map_rows", values, by=by, sampled=sampled).read_all()


def _arrow(draft: Draft, query: str, values: Row, **names: object) -> pa.RecordBatchReader:
    try:
        result = draft.con.sql(templates.render(query, run=draft.run, **names), params=values)
        return result.to_arrow_reader(20_000)
    except duckdb.Error as error:
        raise QueryError(f"{query}: {statements.explain(error)}") from error


def _vectors(draft: Draft, by: str, every: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of (image_id, vectors), those with a number that is not finite left out."""
    for batch in _arrow(draft, "map_vectors", {"every": every}, by=by):
        column = batch.column("vector")
        vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1).astype(np.float32)
        if by == "probabilities":
            vectors = np.sqrt(np.maximum(vectors, 0))
        kept = np.isfinite(vectors).all(axis=1)
        if kept.any():
            yield batch.column("image_id").to_numpy()[kept], vectors[kept]


def _components(draft: Draft, by: str, n: int) -> pa.Table:
    """image_id, x, y from vectors, fitted to a sample of a large run."""
    first = next(_vectors(draft, by, 1), None)
    if first is None:
        return pa.table({"image_id": pa.array([], pa.int64())})
    width = first[1].shape[1]
    every = -(-n // max(3, min(_FIT_IMAGES, _FIT_NUMBERS // width)))
    fitted = list(_vectors(draft, by, every)) or [first]
    sample = np.concatenate([vectors for _, vectors in fitted])
    batches: Iterable[tuple[np.ndarray, np.ndarray]] = fitted if every == 1 else _vectors(draft, by, 1)
    if by == "probabilities" and 3 <= width <= _MOST_ANCHORS:
        corners = anchors(sample)
        parts = [(ids, most_probable(roots) @ corners, roots.argmax(1), roots.max(1)) for ids, roots in batches]
        ids, xy, answers, sure = (np.concatenate(part) for part in zip(*parts, strict=True))
        xy = xy + spread(corners, answers, sure)
    else:
        place = principal(sample, scaled=by == "image statistics")
        ids, xy = (np.concatenate(part) for part in zip(*((ids, place(v)) for ids, v in batches), strict=True))
    y = xy[:, 1] if xy.shape[1] > 1 else np.zeros(len(xy))
    return pa.table({"image_id": ids, "x": xy[:, 0].astype(np.float32), "y": y.astype(np.float32)})


def principal(sample: np.ndarray, *, scaled: bool) -> Callable[[np.ndarray], np.ndarray]:
    """What turns vectors into their first two principal components; `scaled` divides columns by their deviation."""
    from sklearn.decomposition import PCA

    mean, deviation = sample.mean(0), sample.std(0)
    scale = np.where(deviation > 0, deviation, 1.0) if scaled else 1.0
    with np.errstate(invalid="ignore"):  # of equal vectors the share of variance is 0 / 0
        model = PCA(min(2, *sample.shape), random_state=0).fit((sample - mean) / scale)
    return lambda vectors: np.asarray(model.transform((vectors - mean) / scale))


def anchors(roots: np.ndarray) -> np.ndarray:
    """A place for each class, classes with similar probabilities side by side: on a circle, more than 24 by t-SNE.

    Args:
        roots: square roots of probabilities, one row per image.

    A class is described by the mean of the images that it is predicted for, and by itself where there is none.
    """
    n, answers = roots.shape[1], roots.argmax(axis=1)
    described = np.eye(n, dtype=np.float32)
    for code in np.unique(answers):
        described[code] = roots[answers == code].mean(axis=0)
    if n > _MOST_ON_CIRCLE:
        from sklearn.manifold import TSNE

        points: np.ndarray = TSNE(perplexity=min(30, n / 4), init="pca", random_state=0).fit_transform(described)
        return points
    from scipy.cluster.hierarchy import leaves_list, linkage

    order = leaves_list(linkage(described, "average", optimal_ordering=True))
    angle = np.empty(n)
    angle[order] = np.arange(n) * 2 * np.pi / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def spread(corners: np.ndarray, answers: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Offsets that make a disc of the pile of sure answers at each class: the surest in the middle, its area by n."""
    distance = np.hypot(*(corners[:, None] - corners[None]).transpose(2, 0, 1))
    np.fill_diagonal(distance, np.inf)
    largest = 0.4 * float(np.median(distance.min(axis=1)))
    order = np.lexsort((-sure, answers))
    sizes = np.bincount(answers, minlength=len(corners))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    radius = largest * np.sqrt((rank + 0.5) / sizes.max())
    angle = rank * np.pi * (3 - np.sqrt(5))  # the golden angle fills a disc evenly
    offsets = np.empty((len(order), 2))
    offsets[order] = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return offsets


def most_probable(roots: np.ndarray) -> np.ndarray:
    """Shares of the five highest probabilities; together, many classes that are hardly probable would weigh more."""
    n = roots.shape[1]
    least = np.partition(roots, n - _TOP, axis=1)[:, n - _TOP, None] if n > _TOP else 0.0
    kept = np.where(roots >= least, roots, 0.0) ** 2
    total = kept.sum(axis=1, keepdims=True)
    return kept / np.where(total > 0, total, 1.0)


def _placed_by(draft: Draft, by: str, n: int) -> str:
    """What the images were placed by, in words."""
    lineage, counts = draft.ask("lineage").row, draft.ask("run_counts").row
    layer = f" of {lineage['layer']}" if lineage["layer"] else ""
    method = {"umap": "UMAP", "pca": "PCA"}.get(lineage["method"] or "", lineage["method"])
    said = {
        "projection": f"activations{layer}, {method}",
        "activations": f"activations{layer}, PCA",
        "probabilities": "probabilities (no activations stored)",
        "image statistics": "image statistics (neither activations nor probabilities stored)",
    }[by]
    of = f" of {' and '.join(counts['splits'].rsplit(', ', 1))}" if counts["splits"] and counts["n_splits"] > 1 else ""
    return f"{said} · {words.count(n)} {'image' if n == 1 else 'images'}{of}"


def _place(rows: pa.Table, by: str, said: str) -> Places:
    taken = {name: rows[name].to_numpy() for name in rows.column_names}
    ids, first_id = taken["image_id"], taken["first_id"]
    shared = np.searchsorted(ids, first_id)
    x, y = (taken[axis].astype(np.float64)[shared] for axis in "xy")
    (left, right), (low, high) = limits(x), limits(y)
    outside = (x < left) | (x > right) | (y < low) | (y > high)
    span = max(right - left, high - low)
    scale = density.SIDE / span if span else 0.0
    return Places(
        by="activations" if by == "projection" else by,
        is_projection=by == "projection",
        words=said,
        ids=ids,
        x=_steps(x, left, right, scale),
        y=_steps(y, low, high, scale),
        label=taken["label"],
        pred=taken["pred"],
        wrong=taken["wrong"],
        first=ids == first_id,
        left=left,
        low=low,
        span=span,
        extent=(max(1, round((right - left) * scale)), max(1, round((high - low) * scale))),
        n_outside=int(outside.sum()),
    )


def _steps(values: np.ndarray, low: float, high: float, scale: float) -> np.ndarray:
    steps: np.ndarray = np.round((np.clip(values, low, high) - low) * scale).astype(np.uint16)
    return steps


def limits(values: np.ndarray) -> tuple[float, float]:
    """From the quantile 0.5 % to 99.5 %, at least one image beyond each, plus 30 % on each side up to the last image.

    One image far away, or a few, then cannot squeeze the others into a corner. Fewer than eight images are all inside.
    """
    least, most = float(values.min()), float(values.max())
    if len(values) < _FEW:
        return least, most
    low = float(np.quantile(values, _TAIL, method="higher"))
    high = float(np.quantile(values, 1 - _TAIL, method="lower"))
    margin = _MARGIN * (high - low)
    if not margin:
        return least, most
    return max(least, low - margin), min(most, high + margin)


def summarize(draft: Draft, placed: Places, classes: list[str]) -> Row:
    """`facts.map` of the page: by, words, lead, finding, contours, regions, n_outside, n_places.

    Args:
        draft: the page.
        placed: from `places`.
        classes: names of the classes by their index.
    """
    field = density.density(placed.x, placed.y, placed.extent)
    said, n_places = finding(placed, classes)
    return {
        "by": placed.by,
        "words": placed.words,
        "lead": _LEADS[placed.by],
        "finding": said,
        "n_places": n_places,
        "gathers": bool(said) and not said.startswith(_NOWHERE),
        "contours": density.contours(field, placed.x, placed.y) if len(placed.x) > 2 else [],
        "regions": density.regions(placed.x, placed.y, placed.extent, *_names(draft, placed, classes)),
        "n_outside": placed.n_outside,
    }


_LEADS = {
    "activations": "Images close together look alike to the run; axes and long distances mean nothing.",
    "probabilities": (
        "An image stands between the classes that the run finds probable, the surest in the middle of its class; "
        "similar classes are side by side."
    ),
    "image statistics": (
        "Images close together have similar brightness, contrast, sharpness and color; what they show plays no part."
    ),
}


def finding(placed: Places, classes: list[str]) -> tuple[str, int]:
    """Where mistakes gather, in a sentence, and how many places were tested; '' where nothing can be wrong.

    See `density.gathering`: the probability of naming any place when mistakes lie anywhere is at most 5 %.
    """
    known = np.flatnonzero((placed.wrong >= 0) & placed.first)
    wrong = placed.wrong[known] == 1
    cells, n_places = density.gathering(placed.x[known], placed.y[known], wrong)
    if not wrong.any() or n_places < 2:
        return "", n_places
    phrases: dict[str, None] = {}
    for cell in cells:
        phrases[_phrase(placed, known[cell], classes)] = None
    if not phrases:
        return f"{_NOWHERE}: no more than chance at any of {n_places} places.", n_places
    return f"Mistakes gather {' and '.join(list(phrases)[:_MAX_PHRASES])}.", n_places


def _phrase(placed: Places, rows: np.ndarray, classes: list[str]) -> str:
    """'where dog meets fox' if a third of the mistakes there are of one pair of classes, else 'around dog'."""

    def name(code: int) -> str:
        return classes[code] if 0 <= code < len(classes) else "a class outside"

    mistakes = rows[placed.wrong[rows] == 1]
    pairs = Counter(tuple(sorted((int(placed.label[i]), int(placed.pred[i])), reverse=True)) for i in mistakes)
    (pair, n), *_ = pairs.most_common(1)
    if n >= 3 and 3 * n >= len(mistakes):
        often = Counter(int(placed.label[i]) for i in mistakes if int(placed.label[i]) in pair).most_common(1)[0][0]
        other = next(code for code in pair if code != often)
        return f"where {name(often)} meets {name(other)}"
    (label, _), *_ = Counter(placed.label[rows].tolist()).most_common(1)
    return f"around {name(label)}"


def _names(draft: Draft, placed: Places, classes: list[str]) -> tuple[Any, list[str]]:
    """What may name a region: classes of labels, else of predictions, else words of file names."""
    for codes in (placed.label, placed.pred):
        if (codes >= 0).any():
            return np.where(codes < len(classes), codes, NONE), classes
    if draft.redacted:
        return np.full(len(placed.ids), NONE), [""]
    files = draft.con.execute(templates.render("map_files", run=draft.run), {"max_files": _WORD_FILES}).fetchall()
    return file_words(dict(files), placed.ids, draft.folder)


def file_words(files: dict[int, str], ids: np.ndarray, folder: str) -> tuple[list[list[int]], list[str]]:
    """The words of each image's file below `folder` as codes, and what codes mean: letters only, three and more."""
    split = functools.partial(re.findall, r"[^\W\d_]{3,}")
    texts = [files.get(image_id, "").removeprefix(folder).rsplit(".", 1)[0].lower() for image_id in ids.tolist()]
    said = [sorted(set(split(text))) for text in texts]
    often = Counter(word for words_ in said for word in words_)
    names = sorted(word for word, n in often.items() if n >= 3) or [""]
    codes = {name: code for code, name in enumerate(names)}
    return [[codes[word] for word in words_ if word in codes] for words_ in said], names
