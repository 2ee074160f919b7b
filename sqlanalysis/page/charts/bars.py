"""Charts of accuracy of runs, recall of classes, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .drawing import FIT, distinct, name_axis, padding

Row = dict[str, Any]

_SHADE: Row = {
    "field": "share",
    "type": "quantitative",
    "scale": {"type": "sqrt", "domain": [0, 1], "range": [0.1, 0.62]},
    "legend": None,
}
_PERCENT: Row = {"format": ".0%", "tickCount": 5}
_WIDE = 976  # the whole page


def runs(rows: Sequence[Row]) -> Row:
    """Accuracy of each run with its interval."""
    short = distinct([row["run"] for row in rows])
    order = list(short.values())
    rows = [{**row, "run": short[row["run"]]} for row in rows]
    y = name_axis("run", order)
    x: Row = {"type": "quantitative", "title": "accuracy", "scale": {"zero": False, "nice": True}}
    x["axis"] = {"format": "~%", "tickCount": 5}
    return {
        "width": 400,
        "height": {"step": 32},
        "padding": padding(order),
        "data": {"values": list(rows)},
        "encoding": {"y": y},
        "layer": [
            {
                "mark": {"type": "rule", "color": "var(--accent)", "strokeWidth": 2},
                "encoding": {"x": {"field": "ci_low", **x}, "x2": {"field": "ci_high"}},
            },
            {
                "mark": {"type": "point", "color": "var(--accent)", "filled": True, "size": 70, "opacity": 1},
                "encoding": {"x": {"field": "accuracy", **x}},
            },
        ],
    }


def class_recall(rows: Sequence[Row], overall: float) -> Row:
    """Recall as a point with its interval, precision as a tick, in the order of the rows; dashed: all images."""
    short = distinct([row["name"] for row in rows])
    names = {
        name: f"{short[name]}  {row['n']:,}" for name, row in zip((row["name"] for row in rows), rows, strict=True)
    }
    order = list(names.values())
    rows = [{**row, "name": names[row["name"]]} for row in rows]
    y = name_axis("name", order)
    x = {"type": "quantitative", "title": None, "scale": {"domain": [0, 1]}, "axis": _PERCENT}
    line: Row = {"type": "rule", "color": "var(--third)", "strokeDash": [2, 3]}
    return {
        "width": _WIDE,
        "height": {"step": 22},
        "autosize": FIT,
        "padding": padding(order),
        "data": {"values": list(rows)},
        "encoding": {"y": y},
        "layer": [
            {"data": {"values": [{"at": overall}]}, "mark": line, "encoding": {"x": {"field": "at", **x}, "y": None}},
            {
                "mark": {"type": "rule", "color": "var(--accent)", "strokeWidth": 2.2, "strokeCap": "round"},
                "encoding": {"x": {"field": "recall_low", **x}, "x2": {"field": "recall_high"}},
            },
            {
                "mark": {"type": "tick", "color": "var(--ink)", "thickness": 2, "height": 13},
                "encoding": {"x": {"field": "precision", **x}},
            },
            {
                "mark": {"type": "point", "color": "var(--accent)", "filled": True, "size": 60, "opacity": 1},
                "encoding": {"x": {"field": "recall", **x}},
            },
        ],
    }


def confusion(rows: Sequence[Row], order: Sequence[int] = ()) -> Row:
    """Shares of the true class as squares: diagonal and errors in two colors, opacity by square root of the share.

    The square root makes rare confusions visible beside a diagonal near 1. Classes stand in the given order.
    """
    places = {code: at for at, code in enumerate(order)}
    rows = sorted(rows, key=lambda row: places.get(row["label"], len(places)))
    labels = dict.fromkeys(row["label_name"] for row in rows)
    short = distinct([*labels, *sorted({row["pred_name"] for row in rows} - labels.keys())], 18)
    names, columns = [short[name] for name in labels], list(short.values())
    rows = [{**row, "label_name": short[row["label_name"]], "pred_name": short[row["pred_name"]]} for row in rows]
    step = max(16, min(36, 560 // max(len(columns), 1)))
    shades = [{**row, "hit": row["label"] == row["pred"]} for row in rows if row["n"]]
    marks: list[Row] = [
        {
            "mark": {"type": "rect", "cornerRadius": 2},
            "encoding": {
                "color": {"condition": {"test": "datum.hit", "value": "var(--right)"}, "value": "var(--wrong)"},
                "opacity": _SHADE,
            },
        }
    ]
    if step >= 20:  # smaller squares have no room for a number
        marks.append({"mark": "text", "encoding": {"text": {"field": "n"}, "color": {"value": "var(--ink)"}}})
    axis = {"labelOverlap": False, "labelFontSize": 12 if step >= 20 else 10}
    return {
        "width": {"step": step},
        "height": {"step": step},
        "padding": padding(columns),
        "data": {"values": shades},
        "encoding": {
            "x": {
                "field": "pred_name",
                "type": "nominal",
                "title": "prediction",
                "scale": {"domain": columns, "padding": 0.06},
                "axis": {**axis, "labelAngle": -45},
            },
            "y": {
                "field": "label_name",
                "type": "nominal",
                "title": "label",
                "scale": {"domain": names, "padding": 0.06},
                "axis": axis,
            },
        },
        "layer": marks,
    }
