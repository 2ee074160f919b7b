"""Section on predictions, for runs without labels: how often each class is predicted."""

from __future__ import annotations

from typing import Any

from ..draft import Draft, Table
from ..words import count, percent

Row = dict[str, Any]


def predictions(draft: Draft) -> Row:
    """How often each class is predicted, as a table."""
    rows = draft.ask("predicted_classes").rows
    texts = [[row["name"], count(row["n"]), percent(row["mean_confidence"])] for row in rows]
    return {"table": Table("Predictions", ["predicted class", "n", "mean probability"], texts)}
