"""The finding at the head of each section: a sentence from rows of the macros, corrected for the number of looks.

A finding is a list of texts; a text in a tuple of its own is shown bold. A class or a pair is called established only
after Holm's correction for all that was looked at, so that of data in which nothing is going on at most one in twenty
has a class called low, one in twenty a change, and one in twenty a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from ..core.text import name_in_sentence
from .words import count, decimal, p_value, percent, points

Row = dict[str, Any]
Finding = list[str | tuple[str]]

ALPHA = 0.05
LEAST = 10  # images of a class that a sentence calls lowest
NAMED = 3  # names in a sentence


def markup(finding: Finding) -> Markup:
    """A finding as HTML; names are escaped."""
    parts = (Markup("<b><bdi>{}</bdi></b>").format(part[0]) if isinstance(part, tuple) else part for part in finding)
    return Markup("").join(parts)


def plain(finding: Finding) -> str:
    """A finding as text."""
    return "".join(part[0] if isinstance(part, tuple) else part for part in finding)


def plural(n: int, one: str, many: str | None = None) -> str:
    """A count with its noun: "1 image", "2 images"."""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def holm(values: Sequence[float], looks: int | None = None) -> list[float]:
    """Holm's correction of p-values (1979, Scand. J. Stat. 6:65-70), each made as large as all tests together demand.

    Args:
        values: p-values.
        looks: how many tests there were, if more than `values`: the others had larger p-values.
    """
    order = sorted(range(len(values)), key=lambda at: values[at])
    corrected, most = [1.0] * len(values), 0.0
    for rank, at in enumerate(order):
        most = max(most, min(1.0, values[at] * ((looks or len(values)) - rank)))
        corrected[at] = most
    return corrected


def lowest_classes(rows: Sequence[Row]) -> list[Row]:
    """The classes whose recall is established as lower than that of the other images, lowest p-value first.

    One-sided Fisher's exact test of each class against the rest, corrected for the number of classes.

    Args:
        rows: of `class_table`: n, correct.
    """
    from scipy.stats import hypergeom

    some = [row for row in rows if row["n"]]
    n, wrong = sum(row["n"] for row in some), sum(row["n"] - row["correct"] for row in some)
    p = hypergeom.sf([row["n"] - row["correct"] - 1 for row in some], n, wrong, [row["n"] for row in some])
    tested = [{**row, "p_low": value} for row, value in zip(some, holm([float(value) for value in p]), strict=True)]
    return sorted((row for row in tested if row["p_low"] < ALPHA), key=lambda row: row["p_low"])


def classes(rows: Sequence[Row], changes: Sequence[Row] | None) -> Finding:
    """Which classes are lowest, and which changed.

    Args:
        rows: of `class_table`.
        changes: of `class_differences`; None without a baseline.
    """
    some = [row for row in rows if row["n"]]
    if len(some) < 2:
        return ["All labeled images are of one class."]
    low, changed = _low(some), _changed(changes)
    if low and changed:
        return [*low, " ", *changed]
    if low or changed:
        return low or changed
    none = f"After correction for {plural(len(some), 'look')} no class is established as lower than the rest"
    return [f"{none}, and no change of a single class." if changes else f"{none}."]


def _low(some: Sequence[Row]) -> Finding:
    low = lowest_classes(some)
    looks = f"after correction for {plural(len(some), 'look')}"
    if low:
        shares = f" ({percent(low[0]['recall'])} of {count(low[0]['n'])})" if len(low) == 1 else ""
        return [f"Lower than the rest, also {looks}: ", *_names([row["name"] for row in low]), f"{shares}."]
    large = sorted((row for row in some if row["n"] >= LEAST), key=lambda row: (row["recall"], -row["n"]))
    if len(large) < 3 or large[0]["recall"] == large[-1]["recall"]:
        return []
    names = _names([large[0]["name"], large[1]["name"]])
    start = f"Of the classes with {LEAST} and more images, "
    return [start, *names, f" are lowest; {looks} no class is established as lower than the rest."]


def _changed(changes: Sequence[Row] | None) -> Finding:
    if not changes:
        return []
    looks = f"after correction for {plural(len(changes), 'look')}"
    held = [row for row in changes if row["p_holm"] is not None and row["p_holm"] < ALPHA]
    if held:
        named: Finding = [f"Recall changed, also {looks}: "]
        for at, row in enumerate(held[:NAMED]):
            named += [", " if at else "", (name_in_sentence(row["name"]),), f" {points(row['diff'])}"]
        return [*named, f" and {count(len(held) - NAMED)} more." if len(held) > NAMED else "."]
    top = max((row for row in changes if row["n"] >= LEAST), key=lambda row: abs(row["diff"]), default=None)
    if top is None or not top["diff"]:
        return []
    word = "gain" if top["diff"] > 0 else "loss"
    change = f", {points(top['diff'])}; {looks} no change of a single class is established."
    return [f"The largest {word} is ", (name_in_sentence(top["name"]),), change]


def _names(names: Sequence[str]) -> Finding:
    shown: Finding = []
    for at, name in enumerate(names[:NAMED]):
        last = at == min(len(names), NAMED) - 1 and len(names) <= NAMED
        shown += [("" if not at else " and " if last else ", "), (name_in_sentence(name),)]
    return [*shown[1:], f" and {count(len(names) - NAMED)} more"] if len(names) > NAMED else shown[1:]


def established_pairs(cells: Sequence[Row], n_classes: int) -> list[Row]:
    """The pairs of label and wrong prediction more frequent than if the mistakes of a label fell on all classes alike.

    One-sided binomial test of each pair, corrected for all pairs that the labels with mistakes could have made.

    Args:
        cells: of `confused_cells`: label, pred, n, n_wrong (mistakes of the label).
        n_classes: number of classes of the data set.
    """
    from scipy.stats import binom

    # Predictions outside the classes are one more answer that can be wrong.
    answers = n_classes - 1 + any(row["pred"] < 0 for row in cells)
    if answers < 2 or not cells:
        return []
    p = binom.sf([row["n"] - 1 for row in cells], [row["n_wrong"] for row in cells], 1 / answers)
    looks = len({row["label"] for row in cells}) * answers
    corrected = holm([float(value) for value in p], looks)
    tested = [{**row, "p_holm": value} for row, value in zip(cells, corrected, strict=True)]
    kept = [row for row in tested if row["p_holm"] < ALPHA]
    return sorted(kept, key=lambda row: (-row["n"], -row["share"], row["label"], row["pred"]))


def confusion(cells: Sequence[Row], n_classes: int, looked: str = "") -> Finding:
    """Which class is taken for which more often than chance makes one of all pairs.

    Args:
        cells: of `confused_cells`: the pairs with mistakes.
        n_classes: number of classes of the data set.
        looked: what a reader of the matrix needs to know.
    """
    mistakes = sum(row["n"] for row in cells)
    if not mistakes:
        return ["No class is confused with another."]
    held = established_pairs(cells, n_classes)
    after = f" {looked}" if looked else ""
    if held:
        top, more = held[0], len(held) - 1
        also = f"; {plural(more, 'more pair stands', 'more pairs stand')} out" if more else ""
        taken = f": {count(top['n'])} of {count(top['of'])}{also}.{after}"
        return [
            "Most often ",
            (name_in_sentence(top["label_name"]),),
            " is taken for ",
            (name_in_sentence(top["pred_name"]),),
            taken,
        ]
    if n_classes <= 2:
        parts = [
            f"{name_in_sentence(row['label_name'])} for {name_in_sentence(row['pred_name'])} {plural(row['n'], 'time')}"
            for row in cells
        ]
        return [f"Taken for the other class: {', '.join(parts)}.{after}"]
    if mistakes == len(cells) and mistakes > 1:
        return [
            f"{count(mistakes)} mistakes make {count(mistakes)} different pairs: no pair of classes stands out.{after}"
        ]
    top = cells[0]
    times = f"{plural(top['n'], 'time')} of {plural(mistakes, 'mistake')}"
    pair = f"{name_in_sentence(top['label_name'])} → {name_in_sentence(top['pred_name'])}"
    return [f"No pair of classes stands out: the most frequent one, {pair}, occurs {times}.{after}"]


def calibration(error: Row, n: int) -> Finding:
    """Whether confidence is further from accuracy than that of a perfectly calibrated run would be by chance.

    Args:
        error: of `confidence_error`.
        n: labeled images with a confidence.
    """
    ece, high = error["ece"], error["ece_chance_high"]
    if ece is None or ece != ece:
        return ["A confidence that is NaN leaves no calibration error; the figures here are of the other images."]
    # The range is symmetric about what chance gives on average; one in twenty calibrated runs is above it.
    low = max(0.0, 2 * error["ece_chance"] - high)
    size = f"Confidence is off by {decimal(ece)} on average; a perfectly calibrated run of {plural(n, 'image')} shows"
    head = f"{size} {decimal(low)} to {decimal(high)} by chance."
    if ece <= high:
        return [f"{head} ", ("No reason to recalibrate.",)]
    gap = error["mean_gap"]
    if abs(gap) <= error["mean_gap_chance"]:
        return [f"{head} ", ("Too high in places and too low in others",), ": its mean is as accuracy is."]
    side, kind = ("above", "overconfident") if gap > 0 else ("below", "underconfident")
    return [f"{head} ", (f"The run is {kind}",), f": mean confidence is {abs(gap) * 100:.1f} points {side} accuracy."]


def comparison(test: Row, agreement: Row) -> Finding:
    """How many answers changed, and for the better or not.

    Args:
        test: of `paired_test`.
        agreement: of `run_agreement`.
    """
    if not test["n"]:
        return ["No labeled image has an answer of both runs."]
    won, lost = test["run_only"], test["baseline_only"]
    p = p_value(test["p_exact"])
    shown = f"McNemar, p {p}" if p.startswith("<") else f"McNemar, p = {p}"
    if won == lost:
        net = "no net change"
    else:
        net = f"a net {'gain' if won > lost else 'loss'} of {count(abs(won - lost))}"
        net += "" if test["established"] else ", which is not established"
    return [
        f"The runs give the same answer on {percent(agreement['agreement'])} of the images. {count(won)} became right, "
        f"{count(lost)} became wrong: {net} ({shown})."
    ]
