"""Section on the map: a still picture, and the facts from which the page's script draws the interactive one."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

import numpy as np
from markupsafe import Markup

from ...db import templates
from ..charts import scatter
from ..draft import Answer, Draft
from ..places import NONE, Places, places, summarize

MAX_POINTS = 5000  # of the still picture
_MOST_COLORS = 6
_FEW_CLASSES = 12
Row = dict[str, Any]


def map_of(draft: Draft, classes: list[str], max_rows: int) -> Row | None:
    """The map of `draft.run`; None where there is nothing to place images by.

    Args:
        draft: the page.
        classes: names of the classes by their index.
        max_rows: images of the page, a sample of a larger run.

    Returns:
        `places` (coordinates of the images of the page), `facts` (`facts.map` of the page), the still `chart` colored
        `by` something with its `chips`, the points `shown` of `total`, and as `advice` the command for better places.
    """
    placed = places(draft, max_rows)
    if placed is None:
        return None
    facts = summarize(draft, placed, classes)
    if placed.is_projection:
        draft.ask("map_points", {"max_points": MAX_POINTS})
    else:  # the vectors themselves are too many to ask for
        sql = templates.body(templates.render("map_vectors", run=draft.run, by=placed.by)).replace("$every", "1")
        draft.answers["map_vectors"] = Answer(draft.scope.over(sql) if draft.scope else sql, [])
    shown = np.random.default_rng(0).permutation(len(placed.ids))[:MAX_POINTS]
    by, layers = _layers(placed, classes)
    drawn = [(mark, placed.x[shown[of[shown]]], placed.y[shown[of[shown]]]) for _, mark, of in layers]
    still = scatter.still(placed.extent, drawn, facts["contours"], facts["regions"])
    chips = [{"name": name, "mark": mark, "n": int(of.sum())} for name, mark, of in layers if of.any()]
    advice = f"sqlanalysis project DB {shlex.quote(draft.run)}"
    return {
        "places": placed,
        "facts": facts,
        "by": by,
        "chart": Markup(still),  # noqa: S704 - numbers, and names that are escaped
        "chips": sorted(chips, key=lambda chip: not chip["mark"]),  # gray last
        "shown": len(shown),
        "total": len(placed.ids),
        "advice": advice if placed.by == "activations" and not placed.is_projection else None,
    }


def _layers(placed: Places, classes: list[str]) -> tuple[str, list[tuple[str, str, np.ndarray]]]:
    """What colors mean, and (name, mark, mask) of each color, those on top last."""
    judged, labeled, predicted = ((codes >= 0).any() for codes in (placed.wrong, placed.label, placed.pred))
    if judged and len(classes) > _FEW_CLASSES:
        marks = {"no label or prediction": -1, "right": 0, "wrong": 1}
        layers = [(name, name if value >= 0 else "", placed.wrong == value) for name, value in marks.items()]
        return "right or wrong", layers
    if not labeled and not predicted:
        return "nothing", [("images", "accent", np.ones(len(placed.ids), bool))]
    by, codes = ("label", placed.label) if labeled else ("prediction", placed.pred)
    often = [int(code) for code, _ in Counter(codes[codes != NONE].tolist()).most_common(_MOST_COLORS)]
    colored = [
        (classes[code] if 0 <= code < len(classes) else "(outside)", f"c{at}", codes == code)
        for at, code in enumerate(often, 1)
    ]
    return by, [("all others", "", ~np.isin(codes, often)), *colored]
