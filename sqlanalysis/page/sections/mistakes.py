"""Section on mistakes: images of confident mistakes, suspected label errors, and least confident answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..draft import Draft, Table
from ..words import percent

Row = dict[str, Any]


def mistakes(draft: Draft, key: Row) -> Row:
    """Confident mistakes and suspected labels as grids; these and the least confident answers as tables."""
    limit = {"max_images": draft.max_images}
    worst = draft.ask("confident_mistakes", limit).rows
    suspects = draft.ask("suspected_labels", limit).rows if draft.probs else []
    unsure = draft.ask("least_confident", limit).rows
    heads = ["image", "label", "prediction", "probability", "of the label"]
    listed = {"Confident mistakes": worst, "Suspected label errors": suspects, "Least confident answers": unsure}
    return {
        "n_suspects": suspects[0]["n_found"] if suspects else 0,
        "n_wrong": suspects[0]["n_wrong"] if suspects else None,
        "probs": draft.probs,
        "worst": draft.pictures(worst),
        "suspects": draft.pictures(suspects),
        "tables": [
            Table(caption, heads + ["wrong label"] * (rows is suspects), _image_rows(rows), (1, 2))
            for caption, rows in listed.items()
            if rows
        ],
    }


def _image_rows(rows: Sequence[Row]) -> list[list[str]]:
    return [
        [
            str(row["image_id"]),
            row["label_name"] or "–",
            row["pred_name"] or "–",
            percent(row["confidence"]),
            percent(row["p_label"]),
            *([percent(row["p_wrong"])] if "p_wrong" in row else []),
        ]
        for row in rows
    ]
