"""Section on the map of activations as a still picture; the page's script draws the interactive one."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from ..charts import scatter
from ..charts.drawing import hues

Row = dict[str, Any]


def map_of(points: list[Row], counts: Row, *, labeled: bool, predicted: bool = True) -> Row | None:
    """Still pictures of the map, colored by class and by correctness, with legends; None without coordinates.

    A run without predictions has the colors of labels, or of clusters where no image has a label.
    """
    if not points:
        return None
    by, index = ("label", "label") if labeled or not predicted else ("prediction", "pred")
    if not predicted and not counts["n_labeled"]:
        by, index = "cluster", "cluster"
        named = [None if point["cluster"] is None else f"cluster {point['cluster']}" for point in points]
        points = [{**point, "cluster_name": name} for point, name in zip(points, named, strict=True)]
    field = f"{index}_name"
    points = [{**point, field: point[field] or "no " + by} for point in points]
    names = [point[field] for point in sorted(points, key=lambda p: (p[index] is None, p[index]))]
    numbers = hues(names)
    chips: list[Row] = [
        {"name": name, "mark": f"h{number}", "n": names.count(name)} for name, number in numbers.items()
    ]
    others = len(names) - sum(chip["n"] for chip in chips)
    if others:
        chips.append({"name": "other", "mark": "", "n": others})
    drawn: Row = {"by": by, "hues": len(numbers), "others": others, "chips": chips, "correct_chart": None}
    drawn |= {"shown": len(points), "total": counts["n_placed"]}
    drawn["names_chart"] = Markup(scatter.by_name(points, field, numbers))  # noqa: S704 - numbers only
    if labeled:
        drawn["correct_chart"] = Markup(scatter.by_correct(points))  # noqa: S704 - numbers only
        drawn["correct_chips"] = [
            {"name": name, "mark": name, "n": [point["correct"] for point in points].count(value)}
            for name, value in {"right": True, "wrong": False}.items()
        ]
    return drawn
