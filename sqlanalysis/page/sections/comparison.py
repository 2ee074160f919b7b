"""Section on the comparison with a baseline: paired differences, classes, flipped images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import findings
from ..charts import curves
from ..charts.drawing import draw
from ..draft import Draft, Table
from ..words import count, p_value, percent, points, points_interval
from .key_figures import affordable_resamples

Row = dict[str, Any]

DRAWN_CLASSES = 20
LEAST = 5  # images of a class in the chart
LISTED_CLASSES = 100
NAMES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "f1_macro": "macro F1"}


def compare(draft: Draft, runs: Sequence[str] = ()) -> Row | None:
    """The comparison of run and baseline; only `reason` if they are not comparable, None without a baseline.

    Args:
        draft: of a run with labels.
        runs: all runs that the page can switch between, the draft's first; each pair has its finding in `facts`.
    """
    if draft.baseline is None:
        return None
    pair = draft.ask("run_pair").row
    found = _findings(draft, runs)
    if not pair["comparable"]:
        finding = f"{draft.run} and {draft.baseline} are not comparable: {pair['reason']}"
        parts = {"reason": pair["reason"], "baseline": draft.baseline, "finding": finding}
        return {**parts, "facts": {"findings": found}}
    test = draft.ask("paired_test").row
    drawn = affordable_resamples(draft.ask("pair_size").row["n_cells"])
    paired = draft.ask("paired_differences", {"n_resamples": drawn}).rows if drawn else []
    # Accuracy has the interval and p of the verdict, not those of the bootstrap, so that the page shows one of each.
    values = {"value_run": test["accuracy_run"], "value_baseline": test["accuracy_baseline"]}
    metrics = [
        {**test, "metric": "accuracy", "p_two_sided": test["p_exact"], **values},
        *(row for row in paired if row["metric"] != "accuracy"),
    ]
    agreement, classes = draft.ask("run_agreement").row, draft.ask("class_differences").rows
    return {
        "reason": "",
        "baseline": draft.baseline,
        "finding": findings.markup(findings.comparison(test, agreement)),
        "facts": {"findings": found},
        "verdict": f"{test['sentence']}."
        + _near_duplicates(test, draft)
        + (f" {pair['sample']}: the images that both have answered are compared." if pair["sample"] else ""),
        "n_resamples": drawn,
        "metrics": {row["metric"]: row for row in metrics},
        "chart": draw(
            curves.differences([{**row, "name": NAMES[row["metric"]]} for row in metrics], "difference, points")
        ),
        "differences": _differences(metrics, draft),
        "wins": _wins(test, draft),
        "test": test,
        "agreement": agreement,
        **_classes(classes, draft),
        **_flips(draft),
    }


def _findings(draft: Draft, runs: Sequence[str]) -> dict[str, findings.Finding]:
    """The finding of each run against each baseline, by their numbers: "0,1"; why, if they cannot be compared."""
    found = {}
    for k, run in enumerate(runs):
        for j, baseline in enumerate(runs):
            other = draft.of(run, probs=False)  # the page shows the queries of its first run and baseline
            if j == k:
                continue
            pair = other.ask("run_pair", baseline=baseline).row
            if pair["comparable"]:
                test = other.ask("paired_test", baseline=baseline).row
                # Agreement has no direction, so that each two runs are asked for it once.
                one, two = sorted((run, baseline), key=runs.index)
                agreement = draft.of(one, probs=False).ask("run_agreement", baseline=two).row
                found[f"{k},{j}"] = findings.comparison(test, agreement)
            else:
                found[f"{k},{j}"] = [f"{run} and {baseline} are not comparable: {pair['reason']}"]
    return found


def _near_duplicates(test: Row, draft: Draft) -> str:
    """The interval with near duplicates as groups, where neighbors are known and it differs."""
    near = draft.ask("paired_test_by_duplicates").row if draft.ask("has_neighbors").row["n"] else test
    if near["ci_low"] is None or points_interval(near) == points_interval(test):
        return ""
    lost = test["established"] and not near["established"]
    return (
        f" With near duplicates counted as images that depend on each other, the interval is {points_interval(near)} "
        f"points{' and the difference is not established' if lost else ''}."
    )


def _differences(metrics: list[Row], draft: Draft) -> Table:
    heads = ["score", draft.run, draft.baseline or "", "difference (points)", "95% interval", "p"]
    rows = [
        [
            NAMES[row["metric"]],
            percent(row["value_run"]),
            percent(row["value_baseline"]),
            points(row["diff"]),
            points_interval(row),
            p_value(row["p_two_sided"]),
        ]
        for row in metrics
    ]
    return Table("Scores of both runs on the images that both answered", heads, rows)


def _wins(test: Row, draft: Draft) -> Table:
    heads = ["", f"{draft.baseline} right", f"{draft.baseline} wrong"]
    rows = [
        [f"{draft.run} right", count(test["both_right"]), count(test["run_only"])],
        [f"{draft.run} wrong", count(test["baseline_only"]), count(test["both_wrong"])],
    ]
    return Table("Images by which run is right", heads, rows)


def _classes(classes: list[Row], draft: Draft) -> Row:
    # In a class of a few images every change is large, and says nothing.
    large = [row for row in classes if row["n"] >= LEAST]
    shown = sorted(large[:DRAWN_CLASSES], key=lambda row: -row["diff"])
    rows = [
        [
            row["name"],
            count(row["n"]),
            percent(row["recall_run"]),
            percent(row["recall_baseline"]),
            points(row["diff"]),
            points_interval(row),
            count(row["run_only"]),
            count(row["baseline_only"]),
            p_value(row["p_holm"]),
        ]
        for row in classes[:LISTED_CLASSES]
    ]
    heads = ["class", "n", f"recall of {draft.run}", f"of {draft.baseline}", "difference (points)", "95% interval"]
    heads += ["won", "lost", "p, corrected"]
    first = f", the {LISTED_CLASSES} largest of {len(classes):,}" if len(classes) > LISTED_CLASSES else ""
    return {
        "n_drawn": len(shown),
        "n_classes": len(classes),
        "class_chart": draw(curves.differences(shown, "change of recall, points")) if shown else None,
        "class_table": Table(f"Differences of classes{first}", heads, rows),
    }


def _flips(draft: Draft) -> Row:
    rows = draft.ask("flipped_images", {"max_images": max(draft.max_images // 2, 1)}).rows
    texts = [
        [str(row["image_id"]), row["label_name"], row["pred_name"], percent(row["confidence"]), row["before_name"]]
        for row in rows
    ]
    heads = ["image", "label", f"{draft.run} says", "probability", f"{draft.baseline} says"]
    return {
        "lost": draft.pictures([{**row, "correct": False} for row in rows if not row["won"]]),
        "won": draft.pictures([{**row, "correct": True} for row in rows if row["won"]]),
        "flip_table": Table("Flipped images", heads, texts, (1, 2, 4)) if rows else None,
    }
