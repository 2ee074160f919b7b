"""Charts of accuracy of runs, recall of classes, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .drawing import distinct, name_axis, padding

Row = dict[str, Any]

_DIAMOND: Row = {
    "type": "point",
    "shape": "diamond",
    "size": 48,
    "filled": True,
    "color": "var(--card)",
    "stroke": "var(--ink)",
    "strokeWidth": 1.2,
    "opacity": 1,
}
_SHADE: Row = {
    "field": "share",
    "type": "quantitative",
    "scale": {"type": "sqrt", "domain": [0, 1], "range": [0.03, 1]},
    "legend": None,
}
_PERCENT: Row = {"format": ".0%", "tickCount": 5}


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


def class_recall(rows: Sequence[Row]) -> Row:
    """Recall as bars with intervals and precision as diamonds, in the order of the rows."""
    short = distinct([row["name"] for row in rows])
    order = list(short.values())
    rows = [{**row, "name": short[row["name"]]} for row in rows]
    step = max(20, min(36, 400 // len(rows)))
    y = name_axis("name", order)
    x = {
        "type": "quantitative",
        "title": "recall (bar, line: 95% interval), precision (diamond)",
        "scale": {"domain": [0, 1]},
        "axis": _PERCENT,
    }
    return {
        "width": 360,
        "height": {"step": step},
        "padding": padding(order),
        "data": {"values": list(rows)},
        "encoding": {"y": y},
        "layer": [
            {
                "mark": {"type": "bar", "color": "var(--bar)", "height": {"band": 0.62}},
                "encoding": {"x": {"field": "recall", **x}},
            },
            {
                "mark": {"type": "rule", "color": "var(--ink)", "strokeWidth": 1.5},
                "encoding": {"x": {"field": "recall_low", **x}, "x2": {"field": "recall_high"}},
            },
            {
                "mark": {**_DIAMOND, "yOffset": step * 0.3},
                "encoding": {"x": {"field": "precision", **x}},
            },
            {
                "mark": {"type": "text", "align": "right", "color": "var(--muted)"},
                "encoding": {"x": {"value": 404}, "text": {"field": "n", "format": ","}},
            },
            {
                "data": {"values": [{}]},
                "mark": {"type": "text", "align": "right", "color": "var(--muted)", "text": "n"},
                "encoding": {"x": {"value": 404}, "y": {"value": -8}},
            },
        ],
    }


def confusion(rows: Sequence[Row]) -> Row:
    """Shares of the true class as squares: diagonal and errors in two colors, opacity by square root of the share.

    The square root makes rare confusions visible beside a diagonal near 1.
    """
    labels = dict.fromkeys(row["label_name"] for row in rows)
    short = distinct([*labels, *sorted({row["pred_name"] for row in rows} - labels.keys())], 18)
    names, columns = [short[name] for name in labels], list(short.values())
    rows = [{**row, "label_name": short[row["label_name"]], "pred_name": short[row["pred_name"]]} for row in rows]
    step = max(12, min(36, 400 // max(len(columns), 1)))
    shades = [{**row, "hit": row["label"] == row["pred"]} for row in rows if row["n"]]
    marks: list[Row] = [
        {
            "mark": {"type": "rect", "cornerRadius": 2},
            "encoding": {
                "color": {"condition": {"test": "datum.hit", "value": "var(--accent)"}, "value": "var(--wrong)"},
                "opacity": _SHADE,
            },
        }
    ]
    if step >= 26:  # smaller squares have no room for a number
        inks = [
            {"test": "datum.hit && datum.share > 0.4", "value": "var(--on-hit)"},
            {"test": "datum.hit", "value": "var(--hit)"},
            {"test": "datum.share > 0.4", "value": "var(--on-accent)"},
        ]
        ink = {"condition": inks, "value": "var(--ink)"}
        marks.append({"mark": "text", "encoding": {"text": {"field": "n"}, "color": ink}})
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
                "title": "predicted",
                "scale": {"domain": columns, "padding": 0.06},
                "axis": {**axis, "labelAngle": -45},
            },
            "y": {
                "field": "label_name",
                "type": "nominal",
                "title": "true",
                "scale": {"domain": names, "padding": 0.06},
                "axis": axis,
            },
        },
        "layer": marks,
    }
