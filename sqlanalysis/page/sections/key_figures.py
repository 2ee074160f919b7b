"""Section on key figures with their intervals, and on the accuracy of all runs."""

from __future__ import annotations

from typing import Any

from .. import words
from ..charts import bars
from ..charts.drawing import draw
from ..draft import Draft, Table
from ..words import count, decimal, interval, percent

Row = dict[str, Any]

RESAMPLED = 4_000_000  # cells × resamples of a bootstrap, at one to two microseconds each


def affordable_resamples(n_cells: int) -> int:
    """Number of bootstrap resamples: 1,000, or fewer for many cells; 0 if it would be below 100."""
    wanted = min(1000, RESAMPLED // max(n_cells, 1))
    return wanted if wanted >= 100 else 0


def key_figures(draft: Draft, counts: Row) -> Row:
    """Scores with their intervals, top-5 accuracy and calibration error."""
    key = dict(draft.ask("key_figures").row)
    if not key["n"]:
        return {"key": key, "scores": None, "top": {}, "error": {}}
    drawn = affordable_resamples(counts["n_cells"])
    ranges = {row["metric"]: row for row in draft.ask("intervals", {"n_resamples": drawn}).rows} if drawn else {}
    # With five classes or fewer, top-5 accuracy is always 100 %.
    top = draft.ask("top_five").row if draft.probs and counts["n_classes"] > 5 else {}
    rows = [
        [name, decimal(key[column], 4), _range(ranges.get(column)) if column != "accuracy" else _range(key)]
        for name, column in words.SCORES.items()
    ]
    if counts["n_accepted"]:
        accepted = draft.ask("accepted_accuracy").row
        rows.insert(1, ["accuracy, any accepted answer", decimal(accepted["accuracy"], 4), _range(accepted)])
    scores = Table(f"Scores of {count(key['n'])} labeled images", ["score", "value", "95% interval"], rows)
    return {
        "key": {**key, "n_resamples": drawn, "ranges": ranges},
        "scores": scores,
        "near": near_duplicates(draft, key),
        "top": top,
        "error": draft.ask("confidence_error").row,
    }


def near_duplicates(draft: Draft, key: Row) -> str:
    """How much near duplicates, which depend on each other, widen the interval of accuracy; empty if by nothing."""
    near = draft.ask("accuracy_by_duplicates").row if draft.ask("has_neighbors").row["n"] else {"n_near": 0}
    if not near["n_near"] or interval(near) == interval(key):
        return ""
    of = f"{count(near['n_near'])} of these images are near duplicates of others ({count(near['n_groups'])} groups)"
    if near["ci_low"] is None:
        return f"{of}: all are one group, so that there is no interval."
    return f"{of}: with each group counted as images that depend on each other, the interval is {interval(near)}."


def _range(row: Row | None) -> str:
    known = row is not None and row["ci_low"] is not None and row["ci_low"] < row["ci_high"]
    return f"{row['ci_low']:.4f}–{row['ci_high']:.4f}" if row and known else "–"


def runs(draft: Draft, rows: list[Row], n_runs: int) -> Row:
    """Accuracy of all runs, as a chart and a table."""
    heads = ["run", "n", "accuracy", "95% interval", "macro F1"]
    texts = [
        [
            row["run"] + " (this page)" * (row["run"] == draft.run),
            count(row["n"]),
            percent(row["accuracy"]),
            interval(row),
            decimal(row["f1_macro"]),
        ]
        for row in rows
    ]
    first = f", the first {len(rows)} of {n_runs}" if len(rows) < n_runs else ""
    return {
        "chart": draw(bars.runs([row for row in rows if row["n"]])),
        "table": Table(f"Runs{first}, each on its own labeled images", heads, texts),
    }
