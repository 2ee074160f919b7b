"""Section on classes: recall and precision of each."""

from __future__ import annotations

from typing import Any

from ...core.text import name_in_sentence
from ..charts import bars
from ..charts.drawing import draw
from ..draft import Draft, Table
from ..words import count, decimal, interval, percent

Row = dict[str, Any]

DRAWN_CLASSES = 30
TABLE_CLASSES = 1000


def per_class(draft: Draft) -> Row:
    """Recall and precision: a chart of the classes with the lowest recall, and a table of all."""
    rows = draft.ask("class_table").rows
    shown = [row for row in rows if row["n"]][:DRAWN_CLASSES]
    low = shown[0]
    summary = (
        f"Lowest recall: {name_in_sentence(low['name'])} with {percent(low['recall'])} of {count(low['n'])} images"
        f" (95% interval {interval(low, 'recall_low', 'recall_high')}). "
        "Of many classes one is lowest by chance alone: compare its interval with those of the others."
    )
    if len(shown) < len(rows):
        summary += f" The chart shows the lowest {len(shown)} of {count(len(rows))} classes."
    heads = ["class", "index", "n", "predicted", "correct", "recall", "95% interval", "precision", "F1"]
    texts = [
        [
            row["name"],
            str(row["class"]),
            count(row["n"]),
            count(row["predicted"]),
            count(row["correct"]),
            percent(row["recall"]),
            interval(row, "recall_low", "recall_high"),
            percent(row["precision"]),
            decimal(row["f1"]),
        ]
        for row in rows[:TABLE_CLASSES]
    ]
    first = f" (the lowest {count(TABLE_CLASSES)})" if len(rows) > TABLE_CLASSES else ""
    table = Table(f"{count(len(rows))} classes, lowest recall first{first}", heads, texts)
    chart = draw(bars.class_recall(shown))
    return {
        "summary": summary,
        "chart": chart,
        "choices": [{"label": row["class"]} for row in shown],
        "table": table,
        "n": len(rows),
    }
