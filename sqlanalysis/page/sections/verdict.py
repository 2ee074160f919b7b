"""The head of the page: is the run better than its baseline, or how good is it; and the figures of both."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from typing import Any

from ..draft import Answer, Draft, Table
from ..words import count, decimal, interval, percent, points, points_interval
from .key_figures import affordable_resamples

Row = dict[str, Any]

WIDTH, LEFT, RIGHT = 520, 28, 492  # of the axis, in units of its drawing
SPARK = 160


def verdicts(draft: Draft, names: Sequence[str], figures: Sequence[Row], counts: Sequence[Row]) -> list[Row]:
    """The head for each run alone, and for each run against each baseline that it can be compared with.

    The first is what the page opens with; the page's switches of run and baseline show the others.
    """
    alone = {k: _alone(k, figures[k], counts[k]) for k in range(len(names))}
    shown = []
    for k, run in enumerate(names):
        for j, baseline in enumerate(names):
            if j == k:
                continue
            pair = draft.ask("run_pair", run=run, baseline=baseline).row
            if pair["comparable"] and pair["n_both"]:
                shown.append(_against(draft, k, j, names, figures, counts[k]))
            else:
                shown.append({**alone[k], "baseline": j, "caution": _apart(pair, baseline), "comparable": False})
    if draft.baseline is not None and draft.baseline not in names:
        alone[0]["caution"] = _apart(draft.ask("run_pair").row, draft.baseline)
    opening = names.index(draft.baseline) if draft.baseline in names else -1
    every = [*shown, *alone.values()]
    return sorted(every, key=lambda of: (of["run"] != 0, of["baseline"] != opening))


def _apart(pair: Row, baseline: str) -> str:
    return f"Not comparable with {baseline}: {pair['reason'] or 'no labeled image that both have answered'}"


def _alone(k: int, figures: Row, counts: Row) -> Row:
    key = figures["key"]
    head: Row = {"run": k, "baseline": -1, "comparable": True, "axis": None, "power": "", "caution": ""}
    head |= {"kind": "", "needed": None}
    if not key["n"]:
        return {
            **head,
            "tag": "No predictions" if counts["n_labeled"] else "No labels",
            "figure": count(counts["n_outputs"]),
            "unit": "images",
            "say": ["None of these images has both a label and a prediction, so there is no accuracy."],
            "cards": _cards(figures, None, None, counts),
        }
    low, high = key["ci_low"], key["ci_high"]
    say: list[str | tuple[str]] = [
        f"Right on {count(key['correct'])} of {count(key['n'])} labeled images. With 95% confidence, accuracy on "
        "images like these is between ",
        (f"{percent(low)} and {percent(high)}",),
        ".",
    ]
    if key["n"] < 30:
        say.append(" These are too few images for a reliable figure.")
    return {
        **head,
        "tag": "One run alone",
        "figure": percent(key["accuracy"]),
        "unit": "accuracy",
        "say": say,
        "axis": axis(low, key["accuracy"], high, difference=False),
        "power": f"{count(key['n'])} image{'s' if key['n'] > 1 else ''}: ± {(high - low) * 50:.1f} points. A "
        "baseline on the same images narrows what can be said about a change.",
        "cards": _cards(figures, None, None, counts),
    }


def _against(draft: Draft, k: int, j: int, names: Sequence[str], figures: Sequence[Row], counts: Row) -> Row:
    run, baseline = names[k], names[j]
    test = draft.ask("paired_test", run=run, baseline=baseline).row
    one, two = sorted((run, baseline), key=names.index)  # their number has no direction
    cells = draft.ask("pair_size", run=one, baseline=two).row["n_cells"]
    drawn = affordable_resamples(cells)
    rows = draft.ask("paired_differences", {"n_resamples": drawn}, run=run, baseline=baseline).rows if drawn else []
    kind, tag = _kind(test, baseline)
    gain = "gain" if test["diff"] > 0 else "loss"
    if test["ci_low"] is None:
        say: list[str | tuple[str]] = [f"{test['sentence']}."]
    elif test["established"]:
        end = test["ci_low"] if test["diff"] > 0 else -test["ci_high"]
        say = [
            *_both(test, run, baseline),
            f" A {gain} of ",
            (f"at least {end * 100:.1f} points",),
            " is established.",
        ]
    else:
        say = [
            *_both(test, run, baseline),
            " The interval holds zero: these images ",
            ("cannot tell the two runs apart",),
            ".",
        ]
    return {
        "run": k,
        "baseline": j,
        "comparable": True,
        "kind": kind,
        "tag": tag,
        "figure": points(test["diff"]),
        "unit": "points of accuracy",
        "say": say,
        "caution": _caution(test["sentence"]),
        "axis": None if test["ci_low"] is None else axis(test["ci_low"], test["diff"], test["ci_high"]),
        "power": _power(draft, test),
        "needed": _needed(draft, test, run, baseline),
        "cards": _cards(figures[k], figures[j], {row["metric"]: row for row in rows}, counts, test),
    }


def _both(test: Row, run: str, baseline: str) -> list[str | tuple[str]]:
    return [
        f"{run} is right on ",
        (percent(test["accuracy_run"]),),
        f", {baseline} on ",
        (percent(test["accuracy_baseline"]),),
        f" of the same {count(test['n'])} images.",
    ]


def _kind(test: Row, baseline: str) -> tuple[str, str]:
    if not test["established"]:
        return "", "– Not established"
    if re.search(r", but (better|worse) by", test["sentence"]):
        return "caution", f"! Mixed: {'more' if test['diff'] > 0 else 'less'} accurate, classes say otherwise"
    return ("better", f"✓ Better than {baseline}") if test["diff"] > 0 else ("worse", f"✗ Worse than {baseline}")


def _caution(sentence: str) -> str:
    """What the verdict says about balanced accuracy, where that does not go with accuracy."""
    match = re.search(r"(?:, (but )|; )((?:(?:better|worse) by|balanced accuracy).*)$", sentence)
    if match is None:
        return ""
    text = (match[1] or "") + match[2]
    return text[0].upper() + text[1:] + "."


def _power(draft: Draft, test: Row) -> str:
    """What this number of images can establish, and how many a smaller difference would take (macro needed_n)."""
    if test["ci_low"] is None:
        return ""
    reach = (test["ci_high"] - test["ci_low"]) / 2
    first = f"{count(test['n'])} images can establish a difference of about {reach * 100:.1f} points or more"
    if test["established"] or not test["needed_n"]:
        need = _for_a_point(draft, test).row["needed_n"]
        return f"{first}; one point would take about {rounded(need)}." if need else f"{first}."
    return f"{first}; one of {abs(test['diff']) * 100:.1f} points would take about {rounded(test['needed_n'])}."


def _for_a_point(draft: Draft, test: Row) -> Answer:
    share = (test["run_only"] + test["baseline_only"]) / test["n"]
    return draft.ask("images_for_a_point", {"baseline_accuracy": test["accuracy_baseline"], "differing": share})


def _needed(draft: Draft, test: Row, run: str, baseline: str) -> Row | None:
    """How many images the difference, and one of a point, would take, and what that assumes; None where established."""
    if test["established"] or test["ci_low"] is None:
        return None
    asked = [_for_a_point(draft, test)]
    says: list[str | tuple[str]] = ["One point would take about ", (rounded(asked[0].row["needed_n"]),), " images."]
    if test["needed_n"]:
        asked.insert(0, draft.ask("images_for_the_difference", run=run, baseline=baseline))
        seen = f"A difference of {abs(test['diff']) * 100:.1f} points, as seen here, would take about "
        says = [seen, (rounded(asked[0].row["needed_n"]),), " images, half of it about four times as many. ", *says]
    return {
        "says": says,
        "assumes": "So many labeled images, answered by both runs, establish it in at least 80 of 100 cases, if the "
        "difference really is that large and the runs differ about as often as here, where one alone is right on "
        f"{count(test['run_only'] + test['baseline_only'])} of {count(test['n'])} images. The images are to be like "
        "these and independent of each other; the test is McNemar's exact one at 95%.",
        "sql": [one.sql.strip() for one in asked],
        # Where no difference was seen, it speaks of a point, too, but counts one more image of each kind.
        "call": test["needed_n"] and f"sqlanalysis compare DB {shlex.quote(run)} {shlex.quote(baseline)}",
    }


def rounded(n: int) -> str:
    """A number of images with two digits that count."""
    digits = len(str(int(n))) - 2
    return count(round(int(n), -digits) if digits > 0 else int(n))


def axis(low: float, value: float, high: float, *, difference: bool = True) -> Row:
    """Positions of an interval on an axis: of differences around zero in points, of a share from 0 to 100 %."""
    if difference:
        step = next(
            size * factor
            for size in (0.001, 0.01, 0.1, 1)
            for factor in (1, 2, 5)
            if size * factor * 6 >= max(high, 0) - min(low, 0)
        )
        first, last = math.floor(min(low, 0) / step - 0.2), math.ceil(max(high, 0) / step + 0.2)
    else:
        step, first, last = 0.25, 0, 4
    lowest, span = first * step, (last - first) * step

    def across(share: float) -> float:
        return round(LEFT + (share - lowest) / span * (RIGHT - LEFT), 1)

    digits = 0 if step >= 0.01 else 1
    ticks = [
        {
            "x": across(k * step),
            "zero": difference and k == 0,
            "text": ("0" if k == 0 else points(k * step, digits)) if difference else f"{k * step:.0%}",
        }
        for k in range(first, last + 1)
    ]
    texts = [points(share) if difference else percent(share) for share in (low, value, high)]
    at = [across(share) for share in (low, value, high)]
    # Where the three figures would overlap, the ends move outward.
    ends = [{"x": at[1], "anchor": "middle", "text": texts[1], "mark": "value"}]
    if at[2] - at[0] > 30:
        wide = at[2] - at[0] > 130
        ends.insert(0, {"x": at[0] if wide else at[1] - 32, "anchor": "middle" if wide else "end", "text": texts[0]})
        ends.append({"x": at[2] if wide else at[1] + 32, "anchor": "middle" if wide else "start", "text": texts[2]})
        ends[0]["mark"] = ends[2]["mark"] = "tip"
    what = "Difference in accuracy, points of 100 · paired 95% interval" if difference else "Accuracy · 95% interval"
    return {
        "caption": what,
        "label": f"{what}: {texts[1]}, {texts[0]} to {texts[2]}",
        "ticks": ticks,
        "zero": across(0) if difference else None,
        "low": at[0],
        "at": at[1],
        "high": at[2],
        "ends": ends,
    }


def _cards(
    figures: Row, base: Row | None, differences: dict[str, Row] | None, counts: Row, test: Row | None = None
) -> list[Row]:
    """Accuracy, balanced accuracy, macro F1, top-5 and calibration error, each beside that of the baseline."""
    key, ranges = figures["key"], figures["key"].get("ranges", {})
    if not key["n"]:
        labeled = counts["n_labeled"]
        lines = [f"{count(labeled)} with a label, none of these with a prediction"] if labeled else ["without a label"]
        shown = [{"name": "Images", "figure": count(counts["n_outputs"]), "spark": None, "lines": lines}]
        if counts.get("mean_confidence") is not None:
            mean = percent(counts["mean_confidence"])
            shown.append({"name": "Mean confidence", "figure": mean, "spark": None, "lines": ["of the prediction"]})
        return shown
    base_key = base["key"] if base else {}
    wilson = {"ci_low": key["ci_low"], "ci_high": key["ci_high"]}
    cards = []
    for name, column, form, ends in (
        ("Accuracy", "accuracy", percent, wilson),
        ("Balanced accuracy", "balanced_accuracy", percent, ranges.get("balanced_accuracy")),
        ("Macro F1", "f1_macro", decimal, ranges.get("f1_macro")),
    ):
        value, known = key[column], _spread(ends)
        lines = []
        if known and ends:
            text = interval(ends) if form is percent else f"{decimal(ends['ci_low'])}–{decimal(ends['ci_high'])}"
            lines.append(f"95% CI {text}")
        else:
            lines.append("each class counts alike" if column != "accuracy" else "")
        if test is not None and column == "accuracy":
            lines.append(f"baseline {percent(test['accuracy_baseline'])}")
        elif differences and column in differences:
            row = differences[column]
            scale = points if form is percent else _signed
            lines.append(f"{scale(row['diff'])} ({_ends_of(row, form is percent)})")
        elif base_key.get(column) is not None:
            lines.append(f"baseline {form(base_key[column])}")
        cards.append(
            {
                "name": name,
                "figure": form(value),
                "spark": spark(value, ends if known else None, base_key.get(column)),
                "lines": [line for line in lines if line],
            }
        )
    top = figures["top"]
    if top.get("n"):
        base_top = (base or {}).get("top", {})
        lines = [f"95% CI {interval(top)}"]
        if base_top.get("n"):
            lines.append(f"baseline {percent(base_top['accuracy'])}")
        cards.append(
            {
                "name": "Top-5",
                "figure": percent(top["accuracy"]),
                "spark": spark(top["accuracy"], top, base_top.get("accuracy")),
                "lines": lines,
            }
        )
    error = figures["error"]
    if error.get("n") and error["ece"] is not None and not math.isnan(error["ece"]):
        cards.append(_calibration_card(error, (base or {}).get("error", {})))
    if len(cards) < 5:
        of = [f"of {count(key['n'])} labeled images"]
        cards.append({"name": "Mistakes", "figure": count(key["mistakes"]), "spark": None, "lines": of})
    return cards


def _calibration_card(error: Row, base: Row) -> Row:
    high = error["ece_chance_high"]
    within = high is not None and error["ece"] <= high
    top = max(0.1, 1.15 * max(error["ece"], high or 0, base.get("ece") or 0))
    drawn: Row = {"at": round(error["ece"] / top * SPARK, 1), "ring": None, "ends": None}
    drawn["chance"] = (0, round((high or 0) / top * SPARK, 1))
    if base.get("n") and base["ece"] is not None and not math.isnan(base["ece"]):
        drawn["ring"] = round(base["ece"] / top * SPARK, 1)
    said = "no more than chance gives" if within else "overconfident" if error["mean_gap"] > 0 else "underconfident"
    if not within and abs(error["mean_gap"]) <= error["mean_gap_chance"]:
        said = "more than chance gives"
    lines = [f"chance up to {decimal(high)}", said]
    return {"name": "Calibration error", "figure": decimal(error["ece"]), "spark": drawn, "lines": lines}


def spark(value: float | None, ends: Row | None, base: float | None) -> Row | None:
    """Positions on a small axis from 0 to 100 %."""
    if value is None or math.isnan(value):
        return None
    low, high = (max(0.0, min(1.0, ends[end])) for end in ("ci_low", "ci_high")) if ends else (None, None)
    return {
        "at": round(5 + value * (SPARK - 10), 1),
        "ends": None if low is None or high is None else tuple(round(5 + end * (SPARK - 10), 1) for end in (low, high)),
        "ring": None if base is None else round(5 + base * (SPARK - 10), 1),
        "chance": None,
    }


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")


def _ends_of(row: Row, of_share: bool) -> str:
    return points_interval(row) if of_share else f"{_signed(row['ci_low'])} to {_signed(row['ci_high'])}"


def _spread(row: Row | None) -> bool:
    """Whether resampling changes a score. If it cannot (all wrong), an interval of width 0 would suggest certainty."""
    return bool(row) and row is not None and row["ci_low"] is not None and row["ci_low"] < row["ci_high"]


def by_split(draft: Draft, counts: Row) -> Table | None:
    """Accuracy of each split, where several are counted together."""
    if counts["n_splits"] < 2:
        return None
    rows = [
        [row["split"] or "no split", count(row["n"]), percent(row["accuracy"]), interval(row)]
        for row in draft.ask("accuracy_by_split").rows
    ]
    return Table(
        "Accuracy of each split, which this page counts together", ["split", "n", "accuracy", "95% interval"], rows
    )
