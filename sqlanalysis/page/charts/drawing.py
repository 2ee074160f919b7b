"""What all charts of the report share: a Vega-Lite chart in, SVG out.

Each chart is a Vega-Lite dict that contains its data, drawn when the report is written. Colors are CSS variables, so
one drawing serves light and dark mode. Data is never part of an expression, and vl-convert escapes it in the SVG.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from ...core.text import cut_middle, width

Row = dict[str, Any]

N_HUES = 12
FIT: Row = {
    "type": "fit-x",
    "contains": "padding",
}  # names and axes share the width with the plot: the chart fills its column
_CONFIG: Row = {
    "view": {"stroke": None},
    "font": "sans-serif",
    "axis": {
        "labelColor": "var(--third)",
        "titleColor": "var(--third)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 10,
        "labelLimit": 0,
        "gridColor": "var(--line)",
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
    },
    "text": {"fontSize": 11},
}


def draw(chart: Row) -> Markup:
    """A chart as SVG markup for a template."""
    return Markup(svg(chart))  # noqa: S704 - drawn by vl-convert, which escapes data


def svg(chart: Row) -> str:
    """Draw a chart as an SVG element without style attributes, which the page's content policy forbids."""
    import vl_convert

    drawn: str = vl_convert.vegalite_to_svg({"background": None, "padding": 4, "config": _CONFIG, **chart})
    # Change tags only: in attributes vl-convert escapes <, > and quotes; text between tags is data and stays as it is.
    return re.sub(r"<[a-z][^<>]*>", _clean, drawn)


def _clean(tag: re.Match[str]) -> str:
    if " aria-label=" not in tag[0]:  # a role without a name is useless to a screen reader, an empty name is an error
        return re.sub(r'\s(?:role|aria-[a-z]+)="[^"]*"', "", _plain(tag))
    return _plain(tag)


def _plain(tag: re.Match[str]) -> str:
    text = re.sub(r'\s(?:style|xmlns:xlink|pointer-events|stroke-miterlimit)="[^"]*"', "", tag[0])
    # One decimal of a pixel is enough in paths, and makes the page smaller.
    return re.sub(r'\s(?:d|transform)="[^"]*"', lambda match: re.sub(r"(\.\d)\d+", r"\1", match[0]), text)


def hues(names: Sequence[str]) -> dict[str, int]:
    """A number from 1 for each of the most frequent names, in order of appearance; the other names are gray."""
    kept = {name for name, _ in Counter(names).most_common(N_HUES)}
    return {name: number for number, name in enumerate((n for n in dict.fromkeys(names) if n in kept), start=1)}


def distinct(names: Sequence[str], limit: int = 22) -> dict[str, str]:
    """Short names for a chart: cut in the middle, and numbered where they would be equal."""
    short: dict[str, str] = {}
    for name in dict.fromkeys(names):
        text, number = cut_middle(name, limit), 2
        while (free := text if number == 2 else f"{text} ({number - 1})") in short.values():
            number += 1
        short[name] = free
    return short


def name_axis(field: str, order: Sequence[str]) -> Row:
    """An axis of names in a given order, as the domain of a scale: Vega-Lite converts `sort` to an expression."""
    return {"field": field, "type": "nominal", "sort": None, "scale": {"domain": list(order)}, "title": None}


def padding(names: Sequence[str]) -> Row:
    """Space for fonts that are wider than the one vl-convert measures with."""
    wider = round(7 * max(map(width, names), default=0) * 0.16)
    return {"left": 4 + wider, "right": 14, "top": 4, "bottom": 4}
