"""The sections about the data: slices on which the run is worse, and checks of the data itself."""

from __future__ import annotations

import math
from typing import Any

from . import curves, words
from .draft import Draft, Table
from .sections import draw
from .words import count, interval, p_value, percent

Row = dict[str, Any]

DRAWN_SLICES = 15
MAX_PAIRS = 8
PROBLEMS = {
    "duplicate_images": "images more than once in the run",
    "no_label": "images without a label",
    "no_prediction": "images without a prediction",
    "outside_classes": "predictions outside the classes",
    "no_confidence": "predictions without a confidence",
    "no_probs": "images without probabilities",
    "other_length": "probabilities of another length than the others",
    "label_out_of_range": "labels beyond the probabilities",
    "nan_probs": "probabilities with NaN",
    "outside_0_1": "probabilities below 0 or above 1",
    "sum_not_1": "probabilities that do not sum to 1",
    "pred_not_argmax": "predictions that are not the most probable class",
    "confidence_differs": "confidences that are not the probability of the prediction",
}


def slices(draft: Draft, key: Row) -> Row:
    """Error rates by the columns that the images have, worst first, with corrected p."""
    spread = draft.ask("slice_columns").row
    keys = [row["name"] for row in draft.ask("meta_keys").rows]
    own = {"split", "format", "shape", "shorter_side_px", "file_size_kb", "label", "pred"}
    keys = [name for name in keys if name.lower() not in own]
    known = {
        "split": spread["n_splits"] > 1,
        "format": spread["n_formats"] > 1,
        "shape": spread["n_shapes"] > 1,
        "shorter_side_px": spread["size_spread"] > 0,
        "file_size_kb": spread["bytes_spread"] > 0,
    }
    features = [name for name, differs in known.items() if differs] + keys
    names: Row = {"keys": keys, "features": features, "size_step": _step(spread["size_spread"])}
    names["bytes_step"] = _step(spread["bytes_spread"])
    if not features:
        return {"features": [], "table": None}
    rows = [{**row, "worse": _is_worse(row)} for row in draft.ask("worst_slices", **names).rows]
    pairs = draft.ask("worst_slice_pairs", **names).rows if len(features) > 1 and rows else []
    error = 1 - key["accuracy"]
    shown = [{**row, "name": _slice(row)} for row in rows[:DRAWN_SLICES]]
    return {
        "features": features,
        "summary": _slice_words(rows, error),
        "chart": draw(curves.error_rates(shown, error)) if shown else None,
        "n_drawn": len(shown),
        "table": _slice_table("Slices", rows) if rows else None,
        "pairs": _slice_table("Pairs of columns", pairs) if pairs else None,
    }


def _step(spread: float) -> float:
    """A round number that divides the spread of a column into about four."""
    if not spread or spread <= 0:
        return 1
    size = 10 ** math.floor(math.log10(spread / 4))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= spread / 4)
    return int(step) if step >= 1 else step


def _is_worse(row: Row) -> bool:
    return row["p_holm"] is not None and row["p_holm"] < 0.05 and row["diff"] > 0


def _slice_words(rows: list[Row], error: float) -> str:
    worse = [row for row in rows if row["worse"]]
    if not rows:
        return "No value of these columns has 20 labelled images."
    if not worse:
        return f"None of {len(rows)} slices is worse than the rest beyond chance (corrected p ≥ 0.05)."
    top = worse[0]
    return (
        f"Worse beyond chance: {len(worse)} of {len(rows)} slices. First {words.named(_slice(top))}, "
        f"{percent(top['error_rate'])} wrong (95% interval {interval(top)}, n = {count(top['n'])}) "
        f"against {percent(error)} of all; corrected p {p_value(top['p_holm'])}."
    )


def _slice_table(caption: str, rows: list[Row]) -> Table:
    heads = ["slice", "n", "wrong", "error rate", "95% interval", "p, corrected"]
    texts = []
    for row in rows:
        figures = [percent(row["error_rate"]), interval(row), p_value(row["p_holm"])]
        texts.append([_slice(row), count(row["n"]), count(row["errors"]), *figures])
    return Table(f"{caption}, worst lower end first", heads, texts)


def _slice(row: Row) -> str:
    return f"{row['feature']}: {'none' if row['value'] is None else row['value']}"


def data_checks(draft: Draft, classes: list[Row]) -> Row:
    """Rows that do not fit, copies, near copies, leaks, small classes, unreadable files."""
    checked, problems = draft.ask("run_check").row, draft.ask("database_problems").rows
    copies, errors = draft.ask("exact_copies").row, draft.ask("unreadable").rows
    neighbours = draft.ask("has_neighbours").row["n"]
    pairs = draft.ask("near_pairs", {"max_pairs": MAX_PAIRS}).rows if neighbours else []
    near = pairs[0] if pairs else {"n_found": 0, "n_leaks": 0, "n_labels": 0}
    small = [row for row in classes if row["n"] < words.SMALL_CLASS]
    lines = [[name, checked[column]] for column, name in PROBLEMS.items() if column in checked]
    lines += [
        ["images with the same bytes as another", copies["copies"]],
        ["contents in more than one split", copies["in_two_splits"]],
        ["contents with more than one label", copies["with_two_labels"]],
        [f"classes with fewer than {words.SMALL_CLASS} labelled images", len(small)],
        ["files that could not be read or computed", sum(row["n"] for row in errors)],
    ]
    if neighbours:
        lines += [
            ["pairs that are nearly the same", near["n_found"]],
            ["of them in different splits", near["n_leaks"]],
            ["of them with different labels", near["n_labels"]],
        ]
    found = [(name, n) for name, n in lines if n]
    return {
        "summary": _check_words(found, len(lines)),
        "table": Table("Checks", ["check", "found"], [[name, count(n)] for name, n in lines]),
        "neighbours": neighbours,
        "pairs": _pairs(draft, pairs),
        "small": _small(small),
        "problems": _problems(problems),
        "errors": _errors(draft, errors),
        "advice": _advice(copies["copies"] + near["n_found"], len(small), len(found)),
    }


def _check_words(found: list[tuple[str, int]], n: int) -> str:
    if not found:
        return f"All {n} checks pass."
    return f"{len(found)} of {n} checks found something: {', '.join(f'{name} ({count(m)})' for name, m in found)}."


def _advice(n_copies: int, n_small: int, n_found: int) -> str:
    if n_copies:
        return (
            "remove copies from the test split, above all copies of training images, and settle the label of those "
            "that have two; then predict again, which computes only what is new."
        )
    if n_small:
        return "add images to the small classes, or read their figures with their intervals."
    if n_found:
        return "look at what was found before you trust the figures; the SQL below counts it."
    return "nothing to clean; look here again when images are added."


def _pairs(draft: Draft, pairs: list[Row]) -> Row | None:
    if not pairs:
        return None
    shown = []
    for pair in pairs:
        both = [
            {
                "image_id": pair[f"image_{side}"],
                "label_name": pair[f"label_{side}"],
                "uri": pair[f"uri_{side}"],
                "split": pair[f"split_{side}"],
                "width_px": pair["size_px"],
                "height_px": pair["size_px"],
            }
            for side in "ab"
        ]
        shown.append({"distance": pair["distance"], "images": draft.pictures(both)})
    rows = [
        [
            f"{pair['image_a']} and {pair['image_b']}",
            pair["label_a"] or "–",
            pair["label_b"] or "–",
            pair["split_a"] or "–",
            pair["split_b"] or "–",
            f"{pair['distance']:.3f}",
        ]
        for pair in pairs
    ]
    heads = ["images", "label", "label", "split", "split", "distance"]
    return {
        "shown": shown,
        "n": pairs[0]["n_found"],
        "table": Table("Nearly equal images; 1 is the median distance to a nearest one", heads, rows, (1, 2, 3, 4)),
    }


def _small(small: list[Row]) -> Table | None:
    rows = [[row["name"], count(row["n"])] for row in sorted(small, key=lambda row: row["n"])[:100]]
    first = ", the first 100" if len(small) > 100 else ""
    return Table(f"Classes with few labelled images{first}", ["class", "n"], rows) if rows else None


def _problems(problems: list[Row]) -> Table | None:
    rows = [[row["problem"], count(row["n_objects"]), count(row["n"]), row["example"]] for row in problems]
    heads = ["problem of the whole file", "objects", "n", "example"]
    return Table("Problems of the whole file", heads, rows, (3,)) if rows else None


def _errors(draft: Draft, errors: list[Row]) -> Table | None:
    rows = [[row["stage"], row["error"], count(row["n"]), draft.place(row["example"] or "") or "–"] for row in errors]
    return Table("Files that failed", ["stage", "error", "n", "example"], rows, (1, 3)) if rows else None
