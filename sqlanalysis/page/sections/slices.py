"""Section on slices: groups of images on which the run is worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ...core.text import name_in_sentence
from ...db import statements
from ..charts import curves
from ..charts.drawing import draw
from ..draft import Draft, Table
from ..words import count, interval, p_value, percent, points
from .cuts import Feature, features, left_out

Row = dict[str, Any]

DRAWN_SLICES = 15
PAIRED_FEATURES = 8  # the last, which are those of the caller; their pairs are 28, each counted over all images
ALPHA = 0.05
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def slices(draft: Draft, key: Row, n_runs: int = 1) -> Row:
    """Accuracy by what is known of the images, tested against the rest and corrected for the number of looks.

    Args:
        draft: of a run with labels.
        key: `n` and `accuracy` of the run.
        n_runs: number of runs that the page can switch between.

    Returns:
        `finding`, a sentence; `rows`, one per slice of at least 20 images, worst first: feature, value, words, subject,
        n, n_wrong, accuracy with ci_low and ci_high, accuracy_rest, diff (to the rest; negative is worse), p_value,
        p_holm, worse, sql (a condition over the columns of the run), image_ids (up to five mistakes, the most confident
        first), baseline_accuracy over the n_baseline images of the slice that the baseline has answered; `n_looks`
        slices were tested; names of the `features`; `left_out`, the keys of meta that were not looked at; `table`,
        `pairs` and `chart` for the page without a script.
    """
    found = features(draft)
    names = [feature.name for feature in found]
    if not found:
        said = finding([], 0, [])
        return {"features": [], "rows": [], "n_looks": 0, "table": None, "finding": said, "left_out": left_out(draft)}
    rows = _rows(draft, found)
    n_looks = rows[0]["n_looks"] if rows else 0
    pairs = draft.ask("slice_pair_table", cuts=_names(found[-PAIRED_FEATURES:])).rows if rows and len(found) > 1 else []
    said = finding(rows, n_looks, names)
    shown = [
        {"name": row["words"], "worse": row["worse"], "error_rate": 1 - row["accuracy"]}
        | {"ci_low": 1 - row["ci_high"], "ci_high": 1 - row["ci_low"]}
        for row in rows[:DRAWN_SLICES]
    ]
    return {
        "features": names,
        "left_out": left_out(draft),
        "rows": rows,
        "n_looks": n_looks,
        "finding": said,
        "chart": draw(curves.error_rates(shown, 1 - key["accuracy"])) if shown else None,
        "n_drawn": len(shown),
        "table": _table(rows, draft.baseline) if rows else None,
        "pairs": _pair_table(pairs) if pairs else None,
        "n_worse": sum(row["worse"] for row in rows),
        # The test is of all images of this run: for another run the page has figures without one.
        "facts": {
            "rows": [{name: row[name] for name in ("feature", "value", "p_holm")} for row in rows],
            "findings": {"0": [said], **{str(k): [] for k in range(1, n_runs)}},
        },
    }


def slice_values(draft: Draft) -> list[Row]:
    """The columns that cut the images, in the order of `slice_codes`, for the data of the page.

    Returns:
        Of each: feature, its name; values, text; words, the same for people; sql, the condition of each value over the
        columns of the run. The slices of one feature do not overlap.

    Raises:
        ArgumentError: an expression of the caller's has one value, or more than 30.
        QueryError: it is none over the columns of the run.
    """
    return [
        {
            "feature": feature.name,
            "values": [cut.value for cut in feature.cuts],
            "words": [cut.words for cut in feature.cuts],
            "sql": [cut.sql for cut in feature.cuts],
        }
        for feature in features(draft)
    ]


def slice_codes(draft: Draft) -> pa.Table:
    """The slice of each image of the run, for the data of the page.

    Returns:
        In order of image_id: image_id, and for each feature of `slice_values` slice_0, slice_1, …, int8: the index of
        the value, -1 for none.
    """
    return statements.table(draft.con, "slice_codes", run=draft.run, cuts=_names(features(draft)))


def _names(found: Sequence[Feature]) -> list[Row]:
    return [{"name": each.name, "values": [(cut.value, cut.sql) for cut in each.cuts]} for each in found]


def _rows(draft: Draft, found: Sequence[Feature]) -> list[Row]:
    cuts = {(feature.name, cut.value): cut for feature in found for cut in feature.cuts}
    names = _names(found)
    comparable = draft.baseline is not None and draft.ask("run_pair").row["comparable"]
    baseline = draft.baseline if comparable else None
    answers = draft.ask("slice_mistakes", cuts=names).rows
    mistakes = {(row["feature"], row["value"]): row["image_ids"] for row in answers}
    rows = []
    for row in draft.ask("slice_table", cuts=names, baseline=baseline).rows:
        cut = cuts[row["feature"], row["value"]]
        diff = None if row["accuracy_rest"] is None else row["accuracy"] - row["accuracy_rest"]
        worse = row["p_holm"] is not None and row["p_holm"] < ALPHA
        image_ids = mistakes.get((row["feature"], row["value"]), [])
        rows.append({**row, "diff": diff, "worse": worse, **vars(cut), "image_ids": image_ids})
    return rows


def finding(rows: Sequence[Row], n_looks: int, names: Sequence[str]) -> str:
    """What the slices say, in a sentence; a slice is named only if it is worse after correction for all looks.

    Args:
        rows: of `slices`, worst first.
        n_looks: number of slices that were tested.
        names: of the columns that cut the images.
    """
    if not names:
        return "These images have no column with different values, so there is nothing to compare."
    if not rows:
        return f"No slice by {_listed(names)} has 20 labeled images."
    if not n_looks:
        return f"No slice by {_listed(names)} can be worse than the rest: every answer is right, or every one is wrong."
    worse = [row for row in rows if row["worse"]]
    if not worse:
        after = f"after correction for {_number(n_looks)} looks" if n_looks > 1 else "by Fisher's exact test"
        cuts = f"{_number(n_looks).capitalize()} slice{'s' * (n_looks > 1)} by {_listed(names)}"
        return f"{cuts}; {after}, no slice is established as worse than the rest."
    top, more = worse[0], len(worse) - 1
    others = f"; so {'are' if more > 1 else 'is'} {_number(more)} more of {_number(n_looks)} slices" if more else ""
    return (
        f"{top['subject'][:1].upper()}{top['subject'][1:]} are worse than the rest: {percent(top['accuracy'])} of "
        f"{count(top['n'])} against {percent(top['accuracy_rest'])}, corrected p {p_value(top['p_holm'])}{others}."
    )


def _listed(names: Sequence[str]) -> str:
    shown = [name_in_sentence(name) for name in names[:4]]
    more = len(names) - len(shown)
    parts = [*shown, f"{_number(more)} more column{'s' * (more > 1)}"] if more else shown
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _number(n: int) -> str:
    return _NUMBERS[n] if n < len(_NUMBERS) else count(n)


def _table(rows: Sequence[Row], baseline: str | None) -> Table:
    heads = ["slice", "n", "wrong", "accuracy", "95% interval", "to the rest (points)", "p, corrected"]
    known = baseline is not None and any(row["n_baseline"] for row in rows)
    texts = [
        [
            row["words"],
            count(row["n"]),
            count(row["n_wrong"]),
            percent(row["accuracy"]),
            interval(row),
            points(row["diff"]),
            p_value(row["p_holm"]),
        ]
        + [percent(row["baseline_accuracy"])] * known
        for row in rows
    ]
    return Table("Slices, worst first", heads + [f"accuracy of {baseline}"] * known, texts)


def _pair_table(rows: Sequence[Row]) -> Table:
    heads = ["slice", "n", "wrong", "accuracy", "95% interval", "p, corrected"]
    texts = [
        [
            f"{row['feature']}: {row['value']}",
            count(row["n"]),
            count(row["n_wrong"]),
            percent(row["accuracy"]),
            interval(row),
            p_value(row["p_holm"]),
        ]
        for row in rows
    ]
    return Table("Pairs of columns, worst first", heads, texts)
