"""Section on classes: recall and precision of each, and which of them changed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from .. import findings
from ..charts import bars
from ..charts.drawing import draw
from ..draft import Draft, Table
from ..findings import plural
from ..words import count, decimal, interval, percent

Row = dict[str, Any]

DRAWN_CLASSES = 30
TABLE_CLASSES = 1000
FEW = 5  # images of a class, below which a chart of the classes shows chance alone


def per_class(draft: Draft, runs: Sequence[str] = ()) -> Row:
    """Recall and precision: a chart of the classes with the lowest recall, and a table of all.

    Args:
        draft: of a run with labels.
        runs: all runs that the page can switch between, the draft's first; each has its finding in `facts`.
    """
    rows = draft.ask("class_table").rows
    known = [row for row in rows if row["n"]]
    middle = statistics.median(row["n"] for row in known)
    shown = known[:DRAWN_CLASSES] if middle >= FEW else []
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
    found = _findings(draft, runs)
    return {
        "finding": findings.markup(found["0,1" if draft.baseline else "0,-1"]),
        "few": "" if shown else _few(known, middle),
        "chart": draw(bars.class_recall(shown, sum(row["correct"] for row in known) / sum(row["n"] for row in known)))
        if shown
        else None,
        "n_drawn": len(shown),
        "table": Table(f"{plural(len(rows), 'class', 'classes')}, lowest recall first{first}", heads, texts),
        "n": len(rows),
        "facts": {"findings": found},
    }


def _few(known: Sequence[Row], middle: float) -> str:
    """What to say of classes with few images in place of a chart."""
    whole = sum(row["correct"] == row["n"] for row in known)
    one = all(row["n"] == 1 for row in known)
    why = (
        "One image a class: recall is 0 or 1, so there is nothing to draw."
        if one
        else f"Half of the classes have at most {plural(int(middle), 'image')}, so there is little to draw."
    )
    rest = len(known) - whole
    return (
        f"{why} {plural(whole, 'class is', 'classes are')} all right, {count(rest)} {'has' if rest == 1 else 'have'} "
        "mistakes. A chart needs about five images a class; a map of classes to groups (class_map) gives figures that "
        "can be told apart."
    )


def mirrored(changes: Sequence[Row]) -> list[Row]:
    """The rows of `class_differences` with run and baseline exchanged, of two runs over the same labels."""
    return [
        {
            **row,
            "recall_run": row["recall_baseline"],
            "recall_baseline": row["recall_run"],
            "diff": 0 - row["diff"],
            "ci_low": None if row["ci_high"] is None else 0 - row["ci_high"],
            "ci_high": None if row["ci_low"] is None else 0 - row["ci_low"],
            "run_only": row["baseline_only"],
            "baseline_only": row["run_only"],
        }
        for row in changes
    ]


def _findings(draft: Draft, runs: Sequence[str]) -> dict[str, findings.Finding]:
    """The finding of each run alone and against each baseline, by their numbers: "0,1"; no baseline is -1."""
    names = list(runs or [draft.run, *([draft.baseline] if draft.baseline else [])])
    found = {}
    for k, run in enumerate(names):
        other = draft.of(run, probs=False)  # the page shows the queries of its first run and baseline
        rows = (other if k else draft).ask("class_table").rows
        found[f"{k},-1"] = findings.classes(rows, None)
        for j, baseline in enumerate(names):
            if j != k and other.ask("run_pair", baseline=baseline).row["comparable"]:
                if k < j:
                    asked = draft if (run, baseline) == (draft.run, draft.baseline) else other
                    changes = asked.ask("class_differences", baseline=baseline).rows
                else:
                    changes = mirrored(draft.of(baseline, probs=False).ask("class_differences", baseline=run).rows)
                found[f"{k},{j}"] = findings.classes(rows, changes)
    if draft.baseline:
        found.setdefault("0,1", found["0,-1"])
    return found
