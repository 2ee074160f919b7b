"""Section on calibration: does confidence match accuracy, and what if only confident answers are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import findings
from ..charts import curves
from ..charts.drawing import draw
from ..draft import Draft, Table
from ..findings import plural
from ..words import count, decimal, interval, percent

Row = dict[str, Any]

TARGETS = (0.9, 0.95, 0.99, 0.999, 1.0)


def calibration(draft: Draft, key: Row, runs: Sequence[str] = ()) -> Row:
    """Reliability, histogram of confidence, risk and coverage; without `bins` if no labeled image has a confidence.

    Args:
        draft: of a run with labels.
        key: `accuracy` of the run.
        runs: all runs that the page can switch between, the draft's first; each has its finding in `facts`.
    """
    found = {"0": _finding(draft)}
    for k, run in enumerate(list(runs)[1:], start=1):
        found[str(k)] = _finding(draft.of(run, probs=False))
    parts: Row = {"finding": findings.markup(found["0"]), "bins": None, "facts": {"findings": found}}
    bins = _with_chance(_reliability(draft))
    if not bins:
        return parts
    # The first target that the run misses without a threshold; 100 % if it is right on all images.
    target = next(target for target in TARGETS if target > min(key["accuracy"], 0.9999))
    less = draft.ask("answering_less", {"target": target}).row
    shares, curve = draft.ask("surest_shares").rows, draft.ask("risk_curve").rows
    return {
        **parts,
        "summary": _lost(draft, bins),
        "coverage": _coverage(less, target),
        "reliability": draw(curves.reliability(bins)),
        "histogram": draw(curves.histogram(draft.ask("confidence_histogram").rows)),
        "risk": draw(curves.risk(curve)),
        "bins": _bins(bins),
        "shares": _shares(shares),
        "curve": _curve(curve),
    }


def _reliability(draft: Draft) -> list[Row]:
    return [row for row in draft.ask("reliability_bins").rows if row["bin"] is not None]


def _finding(draft: Draft) -> findings.Finding:
    n = sum(row["n"] for row in _reliability(draft))
    if not n:
        return ["No labeled image of this run has a confidence, so calibration cannot be measured."]
    return findings.calibration(draft.ask("confidence_error").row, n)


def _with_chance(bins: Sequence[Row]) -> list[Row]:
    """Bins with the range of accuracy, chance_low to chance_high, of 95 of 100 perfectly calibrated runs."""
    from scipy.stats import binom

    rows = []
    for row in bins:
        ends = binom.ppf([0.025, 0.975], row["n"], min(1, row["confidence"])) / row["n"]
        rows.append({**row, "chance_low": float(ends[0]), "chance_high": float(ends[1])})
    return rows


def _bins(bins: Sequence[Row]) -> Table:
    heads = ["confidence", "n", "mean", "accuracy", "95% interval", "calibrated, by chance"]
    rows = []
    for row in bins:
        ends = f"{row['conf_min']:.3f}–{row['conf_max']:.3f}"
        chance = interval(row, "chance_low", "chance_high")
        figures = [decimal(row["confidence"]), percent(row["accuracy"]), interval(row), chance]
        rows.append([ends, count(row["n"]), *figures])
    return Table("Bins of confidence", heads, rows)


def _shares(shares: Sequence[Row]) -> Table:
    heads = ["answer", "confidence", "images answered", "accuracy", "95% interval"]
    rows = []
    for row in shares:
        figures = [f"≥ {row['threshold']:.3f}", count(row["kept"]), percent(row["accuracy"]), interval(row)]
        rows.append([f"surest {row['share'] * 100:.0f}%", *figures])
    return Table("What if it answers only the surest images", heads, rows)


def _curve(curve: Sequence[Row]) -> Table:
    heads = ["threshold", "images answered", "coverage", "error rate"]
    rows = []
    for row in curve:
        rows.append([f"{row['threshold']:.4f}", count(row["kept"]), percent(row["coverage"]), percent(row["risk"])])
    return Table("Risk and coverage", heads, rows)


def _lost(draft: Draft, bins: Sequence[Row]) -> str:
    lost = draft.ask("confidence_error").row["n"] - sum(row["n"] for row in bins)
    kept = "the figures here use the others."
    return f"The confidence of {plural(lost, 'image')} is NaN; {kept}" if lost else ""


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
