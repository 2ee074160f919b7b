"""How often each class is predicted: all that can be said without labels."""

from __future__ import annotations

from typing import Any

from ..draft import Draft, Table
from ..words import count, percent

Row = dict[str, Any]


def predictions(draft: Draft) -> Row:
    """How often each class is predicted: all that can be said without labels."""
    rows = draft.ask("predicted_classes").rows
    texts = [[row["name"], count(row["n"]), percent(row["mean_confidence"])] for row in rows]
    return {"table": Table("Predictions", ["predicted class", "n", "mean probability"], texts)}
