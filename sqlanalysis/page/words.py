"""The text of the report: facts, warnings and sentences, from rows of its queries. No SQL, and no HTML but <code>."""

from __future__ import annotations

import datetime
import functools
import json
import re
import shlex
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from ..core.figures import count as count
from ..core.figures import decimal as decimal
from ..core.figures import interval as interval
from ..core.figures import p_value as p_value
from ..core.figures import percent as percent
from ..core.figures import points as points
from ..core.figures import points_interval as points_interval
from ..core.text import name_in_sentence
from ..runs.sample import Sample

Row = dict[str, Any]

SMALL_CLASS = 30
SCORES = {
    "accuracy": "accuracy",
    "balanced accuracy": "balanced_accuracy",
    "macro precision": "precision_macro",
    "macro recall": "recall_macro",
    "macro F1": "f1_macro",
    "weighted F1": "f1_weighted",
    "Cohen's kappa": "cohen_kappa",
    "Matthews correlation": "mcc",
}


def with_commands(text: str, **values: object) -> Markup:
    """A sentence whose `commands` in backticks are code; values in braces are data and stay what they are.

    Args:
        text: a sentence of ours, never one with data in it.
        values: of its names in braces; their backticks and HTML are characters like others.
    """
    code = re.sub("`(.+?)`", r"<code>\1</code>", str(escape(text)))
    return Markup(code).format(**values)  # noqa: S704 - escaped above, and `format` escapes the values


def shared_folder(lineage: Row) -> str:
    """The folder that all images of the data set share; a page that is passed on shows nothing above it."""
    # The uris are the first and last in order, so what both begin with is common to all between them.
    first, last = lineage["first_uri"] or "", lineage["last_uri"] or ""
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    folder = first[: max(first.rfind("/", 0, same), first.rfind("\\", 0, same)) + 1]
    return "" if re.fullmatch(r"([A-Za-z]:)?[/\\]+", folder) else folder


@functools.cache
def _home() -> str:
    return str(Path.home())


def private(text: str, folder: str) -> str:
    """The text without the folder of the data set, and with ~ for the home folder."""
    return (text.replace(folder, "") if folder else text).replace(_home(), "~")


def short_path(uri: str, folder: str) -> str:
    """The path of an image below the folder that all share; its last two parts if there is none."""
    if uri.startswith("sha256:"):  # a picture from Python, which has no file
        return uri[:15] + "…"
    rest = uri.removeprefix(folder)
    return rest if not _is_private(rest) else "/".join(re.split(r"[/\\]", rest.split("?")[0])[-2:])


def file_name(text: str | None) -> str:
    """The last part of an absolute path or of a URL; other text is returned as it is."""
    name = text or ""
    return re.split(r"[/\\]", name.split("?")[0].rstrip("/\\"))[-1] if _is_private(name) else name


def _is_private(text: str) -> bool:
    # Absolute paths on Unix and Windows, the home folder, and URLs.
    return bool(re.match(r"[/\\~]|[A-Za-z]:[/\\]|[a-z0-9+.-]+://", text))


def meta(lineage: Row, counts: Row) -> list[str]:
    """What was evaluated, for the line at the top: split, images, classes, date, class policy."""
    drawn = f"a sample, {counts['n_outputs']:,} of {lineage['n_images']:,} images"
    parts = [counts["splits"] or "", drawn if lineage["status"] == "sampled" else f"{counts['n_outputs']:,} images"]
    if lineage["n_classes"]:
        parts.append(f"{lineage['n_classes']:,} class{'' if lineage['n_classes'] == 1 else 'es'}")
    when = lineage["finished_at"] or lineage["started_at"]
    parts.append(f"{when.day} {when:%b %Y}" if when else "")
    policies = {
        "identity": "class names as they are",
        "open": "open: an answer outside the classes is wrong",
        "restricted": "restricted to the classes",
    }
    if lineage["outputs"] != "embedding":
        parts.append(policies.get(lineage["class_policy"], lineage["class_policy"] or ""))
    return [part for part in parts if part]


def provenance(facts: list[tuple[str, str]]) -> str:
    """The first facts in a line, and how many more there are."""
    known = dict(facts)
    first = [name for name in ("Weights", "Device", "Dtype", "Layer") if name in known][:3]
    texts = [f"{name.lower()} {known[name]}" for name in first]
    return " · ".join([*texts, f"{len(facts) - len(first)} more fields"])


def contents(context: Row) -> list[Row]:
    """The sections of the page with a mark (in order, look here, not established) and one count each."""
    key, compared = context["key"], context["comparison"]
    opening = context["verdicts"][0]
    state = {"better": "ok", "worse": "look", "caution": "look"}.get(opening["kind"], "open" if opening["axis"] else "")
    entries: list[Row] = [{"id": "verdict-section", "name": "Verdict", "state": state, "count": opening["figure"]}]
    entries.append({"id": "images", "name": "Images", "count": count(key["mistakes"]) if key["n"] else ""})
    entries.append({"id": "map", "name": "Map"})
    if key["n"]:
        test = (compared or {}).get("test")
        changed = count(test["run_only"] + test["baseline_only"]) if test else ""
        worse = (context["slices"] or {}).get("n_worse")
        error = context["error"]
        high = error.get("ece_chance_high")
        calibrated = "" if not error.get("n") or high is None else "ok" if error["ece"] <= high else "look"
        entries += [
            {"id": "per-class", "name": "Per class", "count": count(context["classes"]["n"])},
            {"id": "confusion", "name": "Confusion", "count": count(key["mistakes"])},
            {"id": "calibration", "name": "Calibration", "state": calibrated},
            {"id": "comparison", "name": "Comparison", "count": changed},
            {"id": "slices", "name": "Slices", "state": "" if worse is None else "look" if worse else "ok"},
        ]
    problems = context["checks"]["n_problems"]
    entries.append(
        {
            "id": "checks",
            "name": "Data checks",
            "state": "look" if problems else "ok",
            "count": count(problems) if problems else "",
        }
    )
    entries.append({"id": "methods", "name": "Methods", "rule": True, "state": " "})
    return [{"state": "", "count": "", "rule": False, **entry} for entry in entries]


def facts(lineage: Row, counts: Row, folder: str) -> list[tuple[str, str]]:
    """Names and values for the header: model, weights, data set, settings, versions."""
    weights = file_name(lineage["weights"]) or "not recorded"
    if lineage["weights_sha256"]:
        weights += f" (sha256 {lineage['weights_sha256'][:12]})"
    spaces = f"{lineage['model_label_space']} → {lineage['label_space']}" if lineage["model_label_space"] else ""
    projection = [lineage["method"], pairs(lineage["params"])]
    if lineage["projection"] and lineage["seed"] is not None:
        projection.append(f"seed {lineage['seed']}")
    known = {
        "Run": lineage["run"],
        "Model": file_name(lineage["model"]),
        "Weights": weights,
        "Derived from": derived_from(lineage["members"]),
        "Data set": lineage["dataset"],
        "Source": file_name(lineage["source"]),
        "Selection": lineage["selection"] or "all images",
        "Split": counts["splits"],
        "Images": f"{counts['n_outputs']:,} of {lineage['n_images']:,} have an output",
        "Labeled": f"{counts['n_labeled']:,}",
        "Errors": f"{lineage['n_errors']:,}",
        "Outputs": "embedding" if lineage["outputs"] == "embedding" else "",
        "Prompts": ", ".join(json.loads(lineage["prompts"])) if lineage["prompts"] else "",
        "Class policy": ""
        if lineage["outputs"] == "embedding"
        else " ".join(filter(None, [lineage["class_policy"], f"({spaces})" if spaces else ""])),
        "Layer": lineage["layer"],
        "Projection": ", ".join(filter(None, projection)) or "none",
        "Dtype": lineage["dtype"],
        "Device": lineage["device"],
        "Predicted": moment(lineage["finished_at"] or lineage["started_at"]),
        "Versions": pairs(lineage["packages"]),
    }
    return [(name, private(str(value), folder)) for name, value in known.items() if value]


def derived_from(members: str | None) -> str:
    """The members of a derived run, such as "0.5 × a, 0.5 × b at temperature 1.5"."""
    parts = []
    for member in json.loads(members) if members else []:
        softened = f" at temperature {member['temperature']:g}" if member["temperature"] != 1 else ""
        fitted = f" (fitted where {member['fit_on']})" if member["fit_on"] else ""
        parts.append(f"{member['weight']:.3g} × {member['run']}{softened}{fitted}")
    return ", ".join(parts)


def pairs(text: str | None) -> str:
    """The names and values of a JSON object as text; empty for anything else."""
    values = json.loads(text) if text else None
    known = values.items() if isinstance(values, dict) else ()
    return ", ".join(f"{name} {value}" for name, value in known if value is not None)


def moment(when: datetime.datetime | None) -> str:
    """A time in UTC, to the minute."""
    return f"{when:%Y-%m-%d %H:%M} UTC" if when else ""


def warnings(lineage: Row, counts: Row, errors: list[Row], classes: list[Row], folder: str) -> list[str]:
    """What a reader must know to interpret the figures; one sentence each."""
    sentences = []
    if lineage["status"] == "sampled":
        whole = " of all its splits" if counts["split"] else ""
        sentences.append(
            f"This run is a sample{whole}: {Sample(**json.loads(lineage['sample']))}. The other intervals of this page "
            "are for a number of images that was fixed beforehand; after such a stop they can be too narrow."
        )
    elif lineage["status"] != "finished":
        sentences.append(f"This run is {lineage['status']}, not finished: the figures cover the images so far.")
    if lineage["n_errors"]:
        causes = ", ".join(f"{row['n']:,} × {row['stage']} {row['error']}" for row in errors)
        some = private(f" ({causes})" if causes else "", folder)
        sentences.append(
            with_commands(
                "Images that failed: {n}{some}; not counted in any figure, see the table `errors`.",
                n=count(lineage["n_errors"]),
                some=some,
            )
        )
    if counts["n_splits"] > 1:
        named = ", ".join(filter(None, [counts["splits"], "no split" if counts["n_no_split"] else ""]))
        sentences.append(
            with_commands(
                "Images of {n} splits are counted together ({named}): where the model has learned from some of them, "
                "such as those of train, its figures are too high; `--split NAME` counts one of them alone.",
                n=count(counts["n_splits"]),
                named=named,
            )
        )
    n_labeled, n_outputs = counts["n_labeled"], counts["n_outputs"]
    if counts["n_left_out"]:
        sentences.append(
            f"In {counts['n_left_out']:,} images the most probable output is not a class of the data set; "
            "these outputs are left out (class policy restricted)."
            + (f" Counted as wrong, accuracy is {counts['accuracy_open']:.1%}." if n_labeled else "")
        )
    of_split = " of this split" if counts["split"] else ""
    numbers = {
        "Images that were not drawn: {}; predict without the rule adds them."
        if lineage["status"] == "sampled"
        else "Images with neither output nor error: {}; run predict again to add them.": lineage["n_images"]
        - lineage["n_errors"]
        - n_outputs,
        "Images without a prediction: {}; not counted in any figure.": counts["n_no_prediction"],
        "Predictions outside the data set's classes: {}; they count as wrong (class policy open).": counts["n_outside"],
        "Images with accepted answers: {}; figures use the label only, All scores has both.": counts["n_accepted"],
        "Images without a label: {}; not counted in any figure.": n_outputs - n_labeled if n_labeled else 0,
        f"Images with the same bytes as another{of_split}: {{}}; each counts.": counts["n_duplicates"],
    }
    sentences += [sentence.format(f"{n:,}") for sentence, n in numbers.items() if n > 0]
    small = [name_in_sentence(row["name"]) for row in classes if row["n"] < SMALL_CLASS]
    if small:
        some = ", ".join(small[:5]) + (" and others" if len(small) > 5 else "")
        sentences.append(
            f"Classes with fewer than {SMALL_CLASS} images: {len(small):,} ({some}); their figures are imprecise."
        )
    return sentences


def differing(figures: list[Row], listed: list[Row]) -> list[str]:
    """Why the figures of several runs are not comparable: different data sets, or different numbers of images."""
    datasets = {row["run"]: row["dataset"] for row in listed}
    names = sorted({datasets[row["run"]] for row in figures})
    if len(names) > 1:
        return [f"The runs are over different data sets ({', '.join(names)}): their figures are not comparable."]
    if len({row["n"] for row in figures}) > 1:
        return ["The runs have different numbers of labeled images: compare them on the images they share."]
    return []


def images_finding(key: Row, comparison: Row | None, n_suspects: int, n_wrong: float | None) -> str:
    """How many images are wrong, how many of those the baseline had right, and how many labels are probably wrong."""
    if not key["n"]:
        return ""
    if not key["mistakes"]:
        return f"No mistake among {count(key['n'])} labeled images."
    texts = [f"{count(key['mistakes'])} of {count(key['n'])} {'is' if key['mistakes'] == 1 else 'are'} wrong."]
    if comparison and not comparison["reason"]:
        texts.append(f"The baseline had {count(comparison['test']['baseline_only'])} of them right.")
    if n_suspects:
        suspected = f"{count(n_suspects)} label{' is' if n_suspects == 1 else 's are'} suspected"
        about = (
            ""
            if n_wrong is None
            else f"; an estimated {count(round(n_wrong))} of them {'is' if round(n_wrong) == 1 else 'are'} wrong"
        )
        texts.append(f"{suspected}{about}.")
    return " ".join(texts)


def advice(key: Row, comparison: Row | None, lineage: Row, n_labeled: int) -> str:
    """What to do next, according to the key figures and the comparison."""
    if not key["n"] and lineage["outputs"] == "embedding":
        return with_commands(
            "`sqlanalysis find-images DB {run} --image FILE` lists the images most like another one.",
            run=lineage["run"],
        )
    if not key["n"] and n_labeled:
        return with_commands(
            "the labels are there, but no labeled image has a prediction: `sqlanalysis predict`, or "
            "`sqlanalysis add-predictions`, adds a run that has them."
        )
    if not key["n"]:
        return with_commands(
            "add labels from folder names or a manifest (`sqlanalysis add-images DB SOURCE`), then write this report "
            "again; predictions need not be computed again."
        )
    if lineage["status"] == "sampled":
        return (
            "predict the other images too (predict without the rule adds them) before you take figures beyond accuracy "
            "from this page."
        )
    test = (comparison or {}).get("test")
    if test and test["established"] and test["diff"] < 0:
        return "do not replace the baseline with this run; see the newly wrong images under Comparison."
    if test and test["established"]:
        return (
            f"if the lower end of the gain, {points(test['ci_low'])} points, is worth the change, look at the newly "
            "wrong images under Comparison before you ship."
        )
    if test:
        return (
            "not established does not mean equal: if a difference as large as the interval allows matters, label more "
            "images before you choose."
        )
    width = (key["ci_high"] - key["ci_low"]) / 2
    return (
        f"decide whether the lower end, {percent(key['ci_low'])}, is good enough. If not, look at the mistakes below; "
        f"if the interval (± {width * 100:.1f} points) is too wide to decide, label more images."
    )


def reproduction(lineage: Row, run: str, baseline: str | None, folder: str, split: str | None) -> Row:
    """Commands that reproduce the page, and what determines the figures: hashes, seeds, versions."""
    runs = " ".join(f"--run {name}" for name in (run, baseline) if name)
    commands = [f"sqlanalysis report DB OUT.html {runs}" + (f" --split {shlex.quote(split)}" if split else "")]
    if lineage["projection"] and lineage["method"]:
        seed = f" --seed {lineage['seed']}" if lineage["seed"] is not None else ""
        commands.insert(0, f"sqlanalysis project DB {run} --method {lineage['method']}{seed}")
    known = {
        "Run": run,
        "Model": file_name(lineage["model"]),
        "Weights sha256": lineage["weights_sha256"],
        "Layer": lineage["layer"],
        "Dtype": lineage["dtype"],
        "Batch size": lineage["batch_size"],
        "Class policy": lineage["class_policy"],
        "Selection": lineage["selection"] or "all images",
        "Seed of the projection": lineage["seed"],
        "Seed of every bootstrap": 0,
        "Versions": pairs(lineage["packages"]),
    }
    facts = [(name, private(str(value), folder)) for name, value in known.items() if value is not None and value != ""]
    return {"commands": [private(command, folder) for command in commands], "facts": facts}
