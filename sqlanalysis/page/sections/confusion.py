"""Section on confusion: the confusion matrix, or for many classes the part with the most confused pairs."""

from __future__ import annotations

from typing import Any

from ...core.text import name_in_sentence
from ..charts import bars
from ..charts.drawing import draw
from ..draft import Draft, Table
from ..words import count, percent

Row = dict[str, Any]

MATRIX_CLASSES = 30


def confusion(draft: Draft, n_classes: int) -> Row:
    """The confusion matrix, or for many classes its part with the most confused pairs."""
    pairs = draft.ask("confused_pairs").rows
    summary, note = "No class is confused with another.", ""
    if pairs:
        top = pairs[0]
        summary = (
            f"Most frequent: {name_in_sentence(top['label_name'])} predicted as {name_in_sentence(top['pred_name'])}, "
            f"{count(top['n'])} times, {percent(top['share'])} of the class."
        )
    whole = n_classes <= MATRIX_CLASSES
    rows = draft.ask("confusion_table" if whole else "confused_classes").rows
    if not whole and rows:
        inside = sum(row["n"] for row in rows if row["label"] != row["pred"])
        names = len({row["label"] for row in rows} | {row["pred"] for row in rows})
        note = (
            f"The {names} of {count(n_classes)} classes in the most confused pairs; they contain "
            f"{count(inside)} of {count(rows[0]['mistakes'])} mistakes. "
        )
    texts = [[row["label_name"], row["pred_name"], count(row["n"]), percent(row["share"])] for row in pairs]
    heads = ["true", "predicted", "n", "share of class"]
    return {
        "summary": summary,
        "note": note,
        "chart": draw(bars.confusion(rows)) if rows else None,
        "choices": [{"label": row["label"], "pred": row["pred"]} for row in rows if row["n"]],
        "wide": len({row["pred"] for row in rows}) > 12,
        "matrix": _matrix(rows, whole),
        "pairs": Table("Most confused pairs", heads, texts, (1,)) if pairs else None,
    }


def _matrix(rows: list[Row], whole: bool) -> Table | None:
    cells = {(row["label"], row["pred"]): row["n"] for row in rows}
    lines = {row["label"]: row["label_name"] for row in rows}
    preds = sorted({row["pred"]: row["pred_name"] for row in rows}.items(), key=lambda pred: (pred[0] < 0, pred[0]))
    texts = [[name, *(count(cells.get((label, pred), 0)) for pred, _ in preds)] for label, name in lines.items()]
    caption = "Confusion matrix" if whole else "Part of the confusion matrix"
    return Table(f"{caption}, images", ["true \\ predicted", *(name for _, name in preds)], texts) if rows else None
