"""Section on the data: inconsistent rows, copies, near duplicates, leaks, small classes, files that failed."""

from __future__ import annotations

import itertools
from typing import Any

from .. import words
from ..draft import Draft, Table
from ..findings import plural
from ..words import count

Row = dict[str, Any]

MAX_PAIRS = 8
PROBLEMS = {
    "duplicate_images": "images that occur more than once in the run",
    "no_label": "images without a label",
    "no_prediction": "images without a prediction",
    "outside_classes": "predictions outside the classes",
    "no_confidence": "predictions without a confidence",
    "no_probs": "images without probabilities",
    "other_length": "probabilities with another length than most",
    "label_out_of_range": "labels without a probability",
    "nan_probs": "probabilities with NaN",
    "outside_0_1": "probabilities below 0 or above 1",
    "sum_not_1": "probabilities that do not sum to 1",
    "pred_not_argmax": "predictions that are not the most probable class",
    "confidence_differs": "confidences that are not the probability of the prediction",
}


def data_checks(draft: Draft, classes: list[Row]) -> Row:
    """Counts of inconsistent rows, copies, near duplicates, leaks, small classes and unreadable files."""
    checked, problems = draft.ask("run_check").row, draft.ask("database_problems").rows
    copies, errors = draft.ask("exact_copies").row, draft.ask("unreadable").rows
    neighbors = draft.ask("has_neighbors").row["n"]
    pairs = draft.ask("near_pairs", {"max_pairs": MAX_PAIRS}).rows if neighbors else []
    # Each row has the counts of all pairs, not only of those that are shown.
    near = pairs[0] if pairs else {"n_found": 0, "n_leaks": 0, "n_labels": 0}
    small = [row for row in classes if row["n"] < words.SMALL_CLASS]
    known = checked if draft.predicted else {"duplicate_images", "no_label"}
    suspects = draft.ask("suspected_labels", {"max_images": draft.max_images}).rows if draft.probs and classes else None
    lines = [[name, checked[column]] for column, name in PROBLEMS.items() if column in known]
    lines += [
        ["images with the same bytes as another", copies["copies"]],
        ["image contents in more than one split", copies["in_two_splits"]],
        ["image contents with more than one label", copies["with_two_labels"]],
        [f"classes with fewer than {words.SMALL_CLASS} labeled images", len(small)],
        ["files that could not be read or computed", sum(row["n"] for row in errors)],
    ]
    if neighbors:
        lines += [
            ["pairs of near duplicates", near["n_found"]],
            ["pairs of near duplicates in different splits", near["n_leaks"]],
            ["pairs of near duplicates with different labels", near["n_labels"]],
        ]
    problems_found = [(name, n) for name, n in lines if n]
    counted = dict(lines)
    summed = _lines(
        draft,
        counted,
        len(classes),
        small,
        errors,
        near if neighbors else None,
        sum(row["n_objects"] for row in problems),
    )
    if suspects is not None:
        summed = _ordered([_suspects(suspects), *summed])
    acts = _acts(draft, suspects or [], copies["copies"], near["n_found"], small if len(small) < len(classes) else [])
    return {
        "facts": acts,
        "n_problems": sum(bool(line["n"]) for line in summed),
        "finding": _check_words(sum(bool(line["n"]) for line in summed), len(summed)),
        "lines": summed,
        "table": Table("Checks", ["check", "n"], [[name, count(n)] for name, n in lines]),
        "neighbors": neighbors,
        "pairs": _pairs(draft, pairs),
        "small": _small(small),
        "problems": _problems(problems),
        "errors": _errors(draft, errors),
        "advice": _advice(copies["copies"] + near["n_found"], len(small), len(problems_found)),
    }


def _lines(
    draft: Draft, counted: Row, n_classes: int, small: list[Row], errors: list[Row], near: Row | None, n_objects: int
) -> list[Row]:
    """The checks by topic: name, number of what was found (0: in order), and a sentence."""
    inconsistent = {name: counted[name] for name in PROBLEMS.values() if counted.get(name)}
    parts = [f"{count(n)} {name}" for name, n in inconsistent.items()]
    copies, split, labels = (
        counted[f"image{rest}"]
        for rest in (
            "s with the same bytes as another",
            " contents in more than one split",
            " contents with more than one label",
        )
    )
    leaks, kinds = split + (near["n_leaks"] if near else 0), labels + (near["n_labels"] if near else 0)
    by = "by bytes or by nearness" if near else "by bytes"
    found = near["n_found"] if near else 0
    everywhere = ", in all splits" if draft.scope else ""
    nearly = f", {plural(found, 'pair')} of near duplicates" if near else ""
    failed = sum(row["n"] for row in errors)
    few = f"have fewer than {words.SMALL_CLASS} images; their figures are rough"
    lines = [
        _line("Answers", sum(inconsistent.values()), "; ".join(parts), "every row of the run is consistent"),
        _line(
            "Small classes",
            len(small),
            f"{count(len(small))} of {plural(n_classes, 'class', 'classes')} {few}",
            f"every class has {words.SMALL_CLASS} and more images",
        ),
        _line(
            "Leaks",
            leaks,
            f"{plural(leaks, 'content is', 'contents are')} in more than one split, {by}",
            f"no image is in more than one split, {by}",
        ),
        _line(
            "Labels that differ",
            kinds,
            f"{plural(kinds, 'content has', 'contents have')} more than one label, {by}",
            f"no copies with different labels, {by}",
        ),
        _line(
            "Duplicates",
            copies + found,
            f"{plural(copies, 'image has', 'images have')} the same bytes as another{nearly}{everywhere}",
            f"no two files of equal bytes{', no near duplicates' if near else ''}",
        ),
        _line("Unreadable files", failed, f"{plural(failed, 'file')} could not be read", "every file was read"),
        _line(
            "This file",
            n_objects,
            plural(n_objects, "object of the database does not match", "objects of the database do not match"),
            "its tables match each other",
        ),
    ]
    if not n_classes:
        lines = [line for line in lines if line["name"] != "Small classes"]
    return _ordered(lines)


def _ordered(lines: list[Row]) -> list[Row]:
    return sorted(lines, key=lambda line: not line["n"])  # what to look at first


def _suspects(suspects: list[Row]) -> Row:
    n, n_wrong = (suspects[0]["n_found"], suspects[0]["n_wrong"]) if suspects else (0, None)
    about = "" if n_wrong is None else f"; an estimated {count(round(n_wrong))} of them {_is(round(n_wrong))} wrong"
    found = f"{plural(n, 'label is', 'labels are')} suspected{about}"
    return _line("Suspected labels", n, found, "no label is suspected")


def _is(n: int) -> str:
    return "is" if n == 1 else "are"


def _acts(draft: Draft, suspects: list[Row], n_copies: int, n_near: int, small: list[Row]) -> Row:
    """What the page shows of a finding: how many images, their ids (as differences) or classes, words of the chip."""
    acts: Row = {}
    if suspects:
        acts["Suspected labels"] = {"n": suspects[0]["n_found"]}
    if small:
        acts["Small classes"] = {"n": sum(row["n"] for row in small), "codes": [row["class"] for row in small]}
    if n_copies or n_near:
        found = draft.ask("images_of_copies", neighbors=bool(n_near)).row
        for name, suffix, chip in (
            ("Duplicates", "", "duplicates"),
            ("Leaks", "_splits", "in more than one split"),
            ("Labels that differ", "_labels", "copies with different labels"),
        ):
            ids = found[f"ids{suffix}"] or []
            steps = [id_ - before for before, id_ in itertools.pairwise([0, *ids])]
            acts[name] = {"n": found[f"n{suffix}"], "steps": steps, "words": chip}
    return {name: act for name, act in acts.items() if act["n"]}


def _line(name: str, n: int, found: str, fine: str) -> Row:
    return {"name": name, "n": n, "say": found if n else fine}


def _check_words(n_problems: int, n: int) -> str:
    if not n_problems:
        return f"All {_number(n)} in order."
    rest = n - n_problems
    things = "thing" if n_problems == 1 else "things"
    return f"{_number(n_problems).capitalize()} {things} to know, {_number(rest)} in order."


def _number(n: int) -> str:
    small = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return small[n] if n < len(small) else count(n)


def _advice(n_copies: int, n_small: int, n_problems: int) -> str:
    if n_copies:
        return (
            "remove copies from the test split, copies of training images first, and correct the labels of copies that "
            "have different ones; then predict again, which computes only new images."
        )
    if n_small:
        return "add images to the small classes, or read their figures with their intervals."
    if n_problems:
        return "look at these problems before you trust the figures; the SQL below counts them."
    return "nothing to correct; check again when images are added."


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
            f"{pair['distance']:.4f}",
        ]
        for pair in pairs
    ]
    heads = ["images", "label", "label", "split", "split", "cosine distance"]
    return {
        "shown": shown,
        "n": pairs[0]["n_found"],
        "table": Table("Near duplicates", heads, rows, (1, 2, 3, 4)),
    }


def _small(small: list[Row]) -> Table | None:
    rows = [[row["name"], count(row["n"])] for row in sorted(small, key=lambda row: row["n"])[:100]]
    first = ", the first 100" if len(small) > 100 else ""
    return Table(f"Classes with few labeled images{first}", ["class", "n"], rows) if rows else None


def _problems(problems: list[Row]) -> Table | None:
    rows = [[row["problem"], count(row["n_objects"]), count(row["n"]), row["example"]] for row in problems]
    heads = ["problem of the whole file", "objects", "n", "example"]
    return Table("Problems of the whole file", heads, rows, (3,)) if rows else None


def _errors(draft: Draft, errors: list[Row]) -> Table | None:
    examples = [draft.shown_path(row["example"] or "") or "–" for row in errors]
    rows = [
        [row["stage"], row["error"], count(row["n"]), example] for row, example in zip(errors, examples, strict=True)
    ]
    return Table("Files that failed", ["stage", "error", "n", "example"], rows, (1, 3)) if rows else None
