"""Section on slices: groups of images on which the run is worse."""

from __future__ import annotations

import math
from typing import Any

from ...core.text import name_in_sentence
from ..charts import curves
from ..charts.drawing import draw
from ..draft import Draft, Table
from ..words import count, interval, p_value, percent

Row = dict[str, Any]

DRAWN_SLICES = 15


def slices(draft: Draft, key: Row) -> Row:
    """Error rates by the columns of the images, worst first, with corrected p-values."""
    spread = draft.ask("slice_columns").row
    keys = [row["name"] for row in draft.ask("meta_keys").rows]
    # A key of the user's must not replace a built-in column of the same name.
    own = {"split", "format", "shape", "shorter_side_px", "file_size_kb", "label", "pred"}
    keys = [name for name in keys if name.lower() not in own]
    known = {
        "split": spread["n_splits"] > 1,
        "format": spread["n_formats"] > 1,
        "shape": spread["n_shapes"] > 1,
        "shorter_side_px": spread["size_spread"] > 0,
        "file_size_kb": spread["bytes_spread"] > 0,
    }
    features = [name for name, differs in known.items() if differs] + keys
    names: Row = {"keys": keys, "features": features, "size_step": _step(spread["size_spread"])}
    names["bytes_step"] = _step(spread["bytes_spread"])
    if not features:
        return {"features": [], "table": None}
    rows = [{**row, "worse": _is_worse(row)} for row in draft.ask("slice_table", **names).rows]
    pairs = draft.ask("slice_pair_table", **names).rows if len(features) > 1 and rows else []
    error = 1 - key["accuracy"]
    shown = [{**row, "name": _slice(row)} for row in rows[:DRAWN_SLICES]]
    return {
        "features": features,
        "summary": _slice_words(rows, error),
        "chart": draw(curves.error_rates(shown, error)) if shown else None,
        "n_drawn": len(shown),
        "table": _slice_table("Slices", rows) if rows else None,
        "pairs": _slice_table("Pairs of columns", pairs) if pairs else None,
    }


def _step(spread: float) -> float:
    """A round step that divides the spread of a column into about four parts."""
    if not spread or spread <= 0:
        return 1
    size = 10 ** math.floor(math.log10(spread / 4))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= spread / 4)
    return int(step) if step >= 1 else step


def _is_worse(row: Row) -> bool:
    return row["p_holm"] is not None and row["p_holm"] < 0.05 and row["diff"] > 0


def _slice_words(rows: list[Row], error: float) -> str:
    worse = [row for row in rows if row["worse"]]
    if not rows:
        return "No value of these columns has 20 labeled images."
    if not worse:
        return f"None of {len(rows)} slices is significantly worse than the rest (Fisher's test, corrected p ≥ 0.05)."
    top = worse[0]
    return (
        f"Significantly worse (Fisher's test): {len(worse)} of {len(rows)} slices. "
        f"First {name_in_sentence(_slice(top))}, "
        f"{percent(top['error_rate'])} wrong (95% interval {interval(top)}, n = {count(top['n'])}) "
        f"compared with {percent(error)} of all images; corrected p {p_value(top['p_holm'])}."
    )


def _slice_table(caption: str, rows: list[Row]) -> Table:
    heads = ["slice", "n", "wrong", "error rate", "95% interval", "p, corrected"]
    texts = []
    for row in rows:
        figures = [percent(row["error_rate"]), interval(row), p_value(row["p_holm"])]
        texts.append([_slice(row), count(row["n"]), count(row["n_wrong"]), *figures])
    return Table(f"{caption}, worst lower end first", heads, texts)


def _slice(row: Row) -> str:
    return f"{row['feature']}: {'none' if row['value'] is None else row['value']}"
