"""Charts of the report: rows in, SVG out.

Every chart is a Vega-Lite dict with its data inside, drawn when the report is written. Colours are CSS variables, so
light and dark need no second drawing. Data never enters an expression, and vl-convert escapes it in the SVG.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]

N_HUES = 12
_CONFIG: Row = {
    "view": {"stroke": None},
    "font": "sans-serif",
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 10,
        "labelLimit": 0,
        "gridColor": "var(--grid)",
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
    },
    "text": {"fontSize": 11},
}
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
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_PERCENT: Row = {"format": ".0%", "tickCount": 5}


def svg(chart: Row) -> str:
    """Draw one chart as an SVG element without style attributes, so that a strict content policy accepts it."""
    import vl_convert

    drawn: str = vl_convert.vegalite_to_svg({"background": None, "padding": 4, "config": _CONFIG, **chart})
    # Tags only: in attributes vl-convert escapes <, > and quotes, while text between tags is data and stays as it is.
    return re.sub(r"<[a-z][^<>]*>", _clean, drawn)


def _clean(tag: re.Match[str]) -> str:
    if " aria-label=" not in tag[0]:  # a role without a name says nothing, and an empty one is an error to a reader
        return re.sub(r'\s(?:role|aria-[a-z]+)="[^"]*"', "", _plain(tag))
    return _plain(tag)


def _plain(tag: re.Match[str]) -> str:
    text = re.sub(r'\s(?:style|xmlns:xlink|pointer-events|stroke-miterlimit)="[^"]*"', "", tag[0])
    return re.sub(r'\s(?:d|transform)="[^"]*"', lambda found: re.sub(r"(\.\d)\d+", r"\1", found[0]), text)


def hues(names: Sequence[str]) -> dict[str, int]:
    """A hue number for each of the most frequent names, in order of first sight; the others share grey."""
    kept = {name for name, _ in Counter(names).most_common(N_HUES)}
    return {name: number for number, name in enumerate((n for n in dict.fromkeys(names) if n in kept), start=1)}


def runs(rows: Sequence[Row]) -> Row:
    """Accuracy of every run with its interval, on one axis."""
    short = _short([row["run"] for row in rows])
    order = list(short.values())
    rows = [{**row, "run": short[row["run"]]} for row in rows]
    y = _names("run", order)
    x: Row = {"type": "quantitative", "title": "accuracy", "scale": {"zero": False, "nice": True}}
    x["axis"] = {"format": "~%", "tickCount": 5}
    return {
        "width": 400,
        "height": {"step": 32},
        "padding": _room(order),
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


def _short(names: Sequence[str], limit: int = 22) -> dict[str, str]:
    """Names fit for a chart: cut in the middle, still different, without what XML forbids.

    vl-convert ends the whole process on a character that XML forbids, and fails when Vega cuts an emoji in two.
    """
    short: dict[str, str] = {}
    for name in dict.fromkeys(names):
        text = " ".join(_NO_XML.sub("\ufffd", name).split())
        if _width(text) > limit:
            head = _fit(text, limit // 2)
            text = f"{head}…{_fit(text[::-1], limit // 2 - 1)[::-1]}"
        number = 2
        while (free := text if number == 2 else f"{text} ({number - 1})") in short.values():
            number += 1
        short[name] = free
    return short


def _width(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in text)


def _fit(text: str, limit: int) -> str:
    text = text[:limit]
    while _width(text) > limit:
        text = text[:-1]
    return text


def _names(field: str, order: Sequence[str]) -> Row:
    """An axis of names in a given order: as a scale's domain, for Vega-Lite turns `sort` into an expression."""
    return {"field": field, "type": "nominal", "sort": None, "scale": {"domain": list(order)}, "title": None}


def _room(names: Sequence[str]) -> Row:
    """Padding for readers whose font runs wider than the one that vl-convert measured with."""
    wider = round(7 * max(map(_width, names), default=0) * 0.16)
    return {"left": 4 + wider, "right": 14, "top": 4, "bottom": 4}


def class_recall(rows: Sequence[Row]) -> Row:
    """Recall as bars with intervals, precision as a mark, in the order of the rows."""
    short = _short([row["name"] for row in rows])
    order = list(short.values())
    rows = [{**row, "name": short[row["name"]]} for row in rows]
    step = max(20, min(36, 400 // len(rows)))
    y = _names("name", order)
    x = {
        "type": "quantitative",
        "title": "recall (bar, line: 95% interval), precision (diamond)",
        "scale": {"domain": [0, 1]},
        "axis": _PERCENT,
    }
    return {
        "width": 360,
        "height": {"step": step},
        "padding": _room(order),
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
    """Row shares as squares: the diagonal in one hue, errors in another, darkness by square root."""
    labels = dict.fromkeys(row["label_name"] for row in rows)
    short = _short([*labels, *sorted({row["pred_name"] for row in rows} - labels.keys())], 18)
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
    if step >= 26:
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
        "padding": _room(columns),
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
