"""The sections of the page: each asks its queries and returns charts, tables and sentences for its template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from . import charts, words
from .draft import Draft, Table
from .words import count, decimal, interval, percent

Row = dict[str, Any]

MATRIX_CLASSES = 30
TABLE_CLASSES = 1000
RESAMPLED = 4_000_000  # cells × replicates of a bootstrap: a microsecond or two each


def draw(chart: Row) -> Markup:
    return Markup(charts.svg(chart))  # noqa: S704 - drawn by vl-convert, which escapes data


def replicates(n_cells: int) -> int:
    """How many bootstrap replicates a page can afford: 1,000, fewer for many cells, 0 when below 100."""
    wanted = min(1000, RESAMPLED // max(n_cells, 1))
    return wanted if wanted >= 100 else 0


def key_figures(draft: Draft, counts: Row) -> Row:
    """Scores with the intervals that they have, top-5 and calibration error."""
    key = dict(draft.ask("key_figures").row)
    if not key["n"]:
        return {"key": key, "scores": None, "top": {}, "error": {}}
    drawn = replicates(counts["n_cells"])
    ranges = {row["metric"]: row for row in draft.ask("intervals", {"replicates": drawn}).rows} if drawn else {}
    top = draft.ask("top_five").row if draft.probs and counts["n_classes"] > 5 else {}
    rows = [
        [name, decimal(key[column], 4), _range(ranges.get(column)) if column != "accuracy" else _range(key)]
        for name, column in words.SCORES.items()
    ]
    if counts["n_accepted"]:
        accepted = draft.ask("accepted_accuracy").row
        rows.insert(1, ["accuracy, any accepted answer", decimal(accepted["accuracy"], 4), _range(accepted)])
    scores = Table(f"Scores of {count(key['n'])} labelled images", ["score", "value", "95% interval"], rows)
    return {
        "key": {**key, "replicates": drawn, "ranges": ranges},
        "scores": scores,
        "top": top,
        "error": draft.ask("calibration_error").row,
    }


def _range(row: Row | None) -> str:
    known = row is not None and row["ci_low"] is not None and row["ci_low"] < row["ci_high"]
    return f"{row['ci_low']:.4f}–{row['ci_high']:.4f}" if row and known else "–"


def runs(draft: Draft, rows: list[Row], n_runs: int) -> Row:
    """Accuracy of every run, as a chart and a table."""
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
        "chart": draw(charts.runs([row for row in rows if row["n"]])),
        "table": Table(f"Runs{first}, each on its own labelled images", heads, texts),
    }


def mistakes(draft: Draft, key: Row) -> Row:
    """Three grids: confident mistakes, suspected label errors, least confident answers."""
    limit = {"max_images": draft.max_images}
    worst = draft.ask("worst_mistakes", limit).rows
    suspects = draft.ask("suspected_labels", limit).rows if draft.probs else []
    unsure = draft.ask("least_confident", limit).rows
    heads = ["image", "label", "prediction", "probability", "of the label"]
    listed = {"Confident mistakes": worst, "Suspected label errors": suspects, "Least confident answers": unsure}
    return {
        "n_suspects": suspects[0]["n_found"] if suspects else 0,
        "probs": draft.probs,
        "worst": draft.pictures(worst),
        "suspects": draft.pictures(suspects),
        "unsure": draft.pictures(unsure),
        "tables": [Table(caption, heads, _image_rows(rows), (1, 2)) for caption, rows in listed.items() if rows],
    }


def _image_rows(rows: Sequence[Row]) -> list[list[str]]:
    return [
        [
            str(row["image_id"]),
            row["label_name"] or "–",
            row["pred_name"] or "–",
            percent(row["confidence"]),
            percent(row["p_label"]),
        ]
        for row in rows
    ]


def predictions(draft: Draft) -> Row:
    """How often each class is predicted: all that can be said without labels."""
    rows = draft.ask("predicted_classes").rows
    texts = [[row["name"], count(row["n"]), percent(row["mean_confidence"])] for row in rows]
    return {"table": Table("Predictions", ["predicted class", "n", "mean probability"], texts)}


def per_class(draft: Draft) -> Row:
    """Recall and precision of the lowest classes as a chart, of all as a table."""
    rows = draft.ask("class_table").rows
    shown = [row for row in rows if row["n"]][:MATRIX_CLASSES]
    low = shown[0]
    summary = f"Lowest recall: {words.named(low['name'])} with {percent(low['recall'])} of {count(low['n'])} images."
    if len(shown) < len(rows):
        summary += f" Drawn are the lowest {len(shown)} of {count(len(rows))} classes."
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
    chart = draw(charts.class_recall(shown))
    return {
        "summary": summary,
        "chart": chart,
        "choices": [{"label": row["class"]} for row in shown],
        "table": table,
        "n": len(rows),
    }


def confusion(draft: Draft, n_classes: int) -> Row:
    """The matrix, or for many classes the part of it that holds the most confused pairs."""
    pairs = draft.ask("confused_pairs").rows
    summary, note = "No class is taken for another.", ""
    if pairs:
        top = pairs[0]
        summary = (
            f"Most often {words.named(top['label_name'])} is taken for {words.named(top['pred_name'])}: "
            f"{count(top['n'])} times, {percent(top['share'])} of the class."
        )
    whole = n_classes <= MATRIX_CLASSES
    rows = draft.ask("confusion_table" if whole else "confused_classes").rows
    if not whole and rows:
        inside = sum(row["n"] for row in rows if row["label"] != row["pred"])
        names = len({row["label"] for row in rows} | {row["pred"] for row in rows})
        note = (
            f"The {names} of {count(n_classes)} classes in the most confused pairs; they hold "
            f"{count(inside)} of {count(rows[0]['mistakes'])} mistakes. "
        )
    texts = [[row["label_name"], row["pred_name"], count(row["n"]), percent(row["share"])] for row in pairs]
    heads = ["true", "taken for", "n", "share of class"]
    return {
        "summary": summary,
        "note": note,
        "chart": draw(charts.confusion(rows)) if rows else None,
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
