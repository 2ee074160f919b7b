"""Charts of calibration, differences and slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .drawing import FIT, distinct, name_axis, padding

Row = dict[str, Any]

_SHARE: Row = {"type": "quantitative", "scale": {"domain": [0, 1]}, "axis": {"format": ".0%", "tickCount": 5}}
BINS = 15  # of equal width, as in calibration_curve
_WIDTH, _WIDE = 480, 976  # half of the page, and all of it


def reliability(rows: Sequence[Row]) -> Row:
    """Accuracy against mean confidence, a point per bin with its interval; the diagonal and what chance allows."""
    x = {**_SHARE, "title": "mean confidence of the bin"}
    y = {**_SHARE, "title": "accuracy"}
    return {
        "width": _WIDTH,
        "height": 240,
        "autosize": FIT,
        "data": {"values": [{**row, "left": row["bin"] / BINS, "right": (row["bin"] + 1) / BINS} for row in rows]},
        "layer": [
            {
                "mark": {"type": "rect", "color": "var(--track)"},
                "encoding": {
                    "x": {"field": "left", **x},
                    "x2": {"field": "right"},
                    "y": {"field": "chance_low", **y},
                    "y2": {"field": "chance_high"},
                },
            },
            {
                "data": {"values": [{"at": 0}, {"at": 1}]},
                "mark": {"type": "line", "color": "var(--third)", "strokeDash": [4, 4], "strokeWidth": 1.2},
                "encoding": {"x": {"field": "at", **x}, "y": {"field": "at", **y}},
            },
            {
                "mark": {"type": "rule", "color": "var(--accent)", "strokeWidth": 2, "strokeCap": "round"},
                "encoding": {
                    "x": {"field": "confidence", **x},
                    "y": {"field": "ci_low", **y},
                    "y2": {"field": "ci_high"},
                },
            },
            {
                "mark": {"type": "point", "color": "var(--accent)", "filled": True, "opacity": 1},
                "encoding": {
                    "x": {"field": "confidence", **x},
                    "y": {"field": "accuracy", **y},
                    "size": {
                        "field": "n",
                        "type": "quantitative",
                        "scale": {"type": "sqrt", "range": [12, 180]},
                        "legend": None,
                    },
                },
            },
        ],
    }


def histogram(rows: Sequence[Row]) -> Row:
    """Numbers of right and wrong answers by confidence: right ones above zero, wrong ones below."""
    values = [  # bars are slightly narrower than the bins of 0.05
        {"low": row["low"] + 0.004, "high": row["low"] + 0.046, "n": sign * row[field], "hue": hue}
        for row in rows
        for field, sign, hue in (("n_right", 1, "var(--right)"), ("n_wrong", -1, "var(--wrong)"))
        if row[field]
    ]
    count = {
        "type": "quantitative",
        "title": "images (square-root scale)",
        "scale": {"type": "sqrt", "nice": False},
        "axis": {"tickCount": 6, "labelExpr": "format(abs(datum.value), ',')", "labelOverlap": True},
    }
    return {
        "width": _WIDTH,
        "height": 240,
        "autosize": FIT,
        "data": {"values": values},
        "mark": {"type": "bar"},
        "encoding": {
            "x": {"field": "low", **_SHARE, "title": "confidence"},
            "x2": {"field": "high"},
            "y": {"field": "n", **count},
            "y2": {"datum": 0},
            "color": {"field": "hue", "type": "nominal", "scale": None},
        },
    }


def risk(rows: Sequence[Row]) -> Row:
    """Error rate of the most confident images against the share of images that are answered."""
    y = {
        "field": "risk",
        "type": "quantitative",
        "title": "error rate of those",
        "scale": {"zero": True, "nice": True},
        "axis": {"format": "~%", "tickCount": 5},
    }
    return {
        "width": _WIDTH,
        "height": 240,
        "autosize": FIT,
        "data": {"values": [{"coverage": row["coverage"], "risk": row["risk"]} for row in rows]},
        "mark": {"type": "line", "color": "var(--accent)", "strokeWidth": 2},
        "encoding": {"x": {"field": "coverage", **_SHARE, "title": "share of images answered"}, "y": y},
    }


def differences(rows: Sequence[Row], title: str) -> Row:
    """Differences with intervals and a line at zero, from rows with `name`, `diff`, `ci_low` and `ci_high`."""
    x = {
        "type": "quantitative",
        "title": title,
        "axis": {"labelExpr": "format(datum.value * 100, '+~f')", "tickCount": 5},
    }
    zero: Row = {
        "data": {"values": [{"at": 0}]},
        "mark": {"type": "rule", "color": "var(--ink)"},
        "encoding": {"x": {"field": "at", **x}},
    }
    hues = [
        "var(--right)" if row["ci_low"] > 0 else "var(--wrong)" if row["ci_high"] < 0 else "var(--base)" for row in rows
    ]
    return _ranges(rows, hues, "diff", x, zero)


def error_rates(rows: Sequence[Row], overall: float) -> Row:
    """Error rates of slices with intervals, and a line at the error rate over all images."""
    x = {
        "type": "quantitative",
        "title": "error rate (line: 95% interval; dashed: all images)",
        "scale": {"zero": True},
        "axis": {"format": "~%", "tickCount": 5},
    }
    base: Row = {
        "data": {"values": [{"at": overall}]},
        "mark": {"type": "rule", "color": "var(--third)", "strokeDash": [4, 4]},
        "encoding": {"x": {"field": "at", **x}},
    }
    return _ranges(
        rows, ["var(--wrong)" if row["worse"] else "var(--accent)" for row in rows], "error_rate", x, base, _WIDE
    )


def _ranges(rows: Sequence[Row], hues: Sequence[str], middle: str, x: Row, line: Row, wide: int = _WIDTH) -> Row:
    short = distinct([row["name"] for row in rows], 30)
    order = list(short.values())
    kept = ("ci_low", "ci_high", middle)
    values = [
        {"name": short[row["name"]], "hue": hue, **{key: row[key] for key in kept}}
        for row, hue in zip(rows, hues, strict=True)
    ]
    hue = {"field": "hue", "type": "nominal", "scale": None}
    y = name_axis("name", order)
    return {
        "width": wide,
        "height": {"step": 22},
        "autosize": FIT,
        "padding": padding(order),
        "data": {"values": values},
        "layer": [
            line,
            {
                "mark": {"type": "rule", "strokeWidth": 2, "strokeCap": "round"},
                "encoding": {"y": y, "x": {"field": "ci_low", **x}, "x2": {"field": "ci_high"}, "color": hue},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
                "encoding": {"y": y, "x": {"field": middle, **x}, "color": hue},
            },
        ],
    }
