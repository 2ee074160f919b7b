"""Section on calibration: does confidence match accuracy, and what if only confident answers are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..charts import curves
from ..charts.drawing import draw
from ..draft import Draft, Table
from ..words import count, decimal, interval, percent

Row = dict[str, Any]

TARGETS = (0.9, 0.95, 0.99, 0.999, 1.0)


def calibration(draft: Draft, key: Row) -> Row | None:
    """Reliability, histogram of confidence, risk and coverage; None if no labeled image has a confidence."""
    error = draft.ask("confidence_error").row
    bins = [row for row in draft.ask("reliability_bins").rows if row["bin"] is not None]
    if not bins:
        return None
    # The first target that the run misses without a threshold; 100 % if it is right on all images.
    target = next(target for target in TARGETS if target > min(key["accuracy"], 0.9999))
    less = draft.ask("answering_less", {"target": target}).row
    kept, curve = draft.ask("thresholds").rows, draft.ask("risk_curve").rows
    return {
        "summary": _summary(error, bins),
        "coverage": _coverage(less, target),
        "reliability": draw(curves.reliability(bins)),
        "histogram": draw(curves.histogram(draft.ask("confidence_histogram").rows)),
        "risk": draw(curves.risk(curve)),
        "bins": _bins(bins),
        "thresholds": _thresholds(kept),
        "curve": _curve(curve),
    }


def _bins(bins: Sequence[Row]) -> Table:
    heads = ["confidence", "n", "mean", "accuracy", "95% interval"]
    rows = []
    for row in bins:
        ends = f"{row['conf_min']:.3f}–{row['conf_max']:.3f}"
        rows.append([ends, count(row["n"]), decimal(row["confidence"]), percent(row["accuracy"]), interval(row)])
    return Table("Bins of confidence", heads, rows)


def _thresholds(kept: Sequence[Row]) -> Table:
    heads = ["threshold", "images answered", "coverage", "accuracy", "95% interval"]
    rows = []
    for row in kept:
        shares = [percent(row["coverage"]), percent(row["accuracy"]), interval(row)]
        rows.append([f"{row['threshold']:.2f}", count(row["kept"]), *shares])
    return Table("Images above a confidence threshold", heads, rows)


def _curve(curve: Sequence[Row]) -> Table:
    heads = ["threshold", "images answered", "coverage", "error rate"]
    rows = []
    for row in curve:
        rows.append([f"{row['threshold']:.4f}", count(row["kept"]), percent(row["coverage"]), percent(row["risk"])])
    return Table("Risk and coverage", heads, rows)


def _summary(error: Row, bins: Sequence[Row]) -> str:
    n = sum(row["n"] for row in bins)
    over = sum(row["n"] * row["gap"] for row in bins) / n
    side = "above" if over > 0 else "below"
    whole = f"Overall, mean confidence is {abs(over) * 100:.1f} points {side} accuracy"
    if n < error["n"]:
        lost = count(error["n"] - n)
        return f"The confidence of {lost} images is NaN; the figures here use the other {count(n)}. {whole}."
    # Chance alone moves a calibrated model's mean this far in one sample of twenty: below that nothing is named.
    beyond = abs(over) > error["mean_gap_chance"]
    kind = ("overconfident" if over > 0 else "underconfident") if beyond else "within chance"
    size = f"{count(n)} images, {len(bins)} of 15 bins not empty"
    return (
        f"Confidence differs from accuracy by {decimal(error['ece'])} on average (ECE; {size}); a perfectly calibrated "
        f"model would show {decimal(error['ece_chance'])} by chance. {whole} ({kind}: a perfectly calibrated model "
        f"stays within {error['mean_gap_chance'] * 100:.1f} points in 95 of 100 samples)."
    )


def _coverage(less: Row, target: float) -> str:
    if less["threshold"] is None:
        return (
            f"For no confidence threshold is an accuracy of {percent(target)} established (tested in a fixed order "
            "from the highest confidence, 2.5% error in all)."
        )
    return (
        f"An accuracy of {percent(target)} is established for {percent(less['coverage'])} of the images: those with a "
        f"confidence of at least {less['threshold']:.3f} (tested in a fixed order from the highest, 2.5% error in "
        "all). It holds for images like these."
    )
