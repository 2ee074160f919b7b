"""Write a report: one HTML file about what runs got right and wrong, from the queries of `sql/page`.

The page loads nothing from elsewhere, has a content policy with the hashes of its own style and script, and is complete
without JavaScript. Every number on it comes from a query that the page shows.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import importlib.metadata
import webbrowser
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import jinja2
from markupsafe import Markup, escape

from ..core.files import write_whole
from ..db import statements
from ..errors import NotFoundError, SchemaError, near_matches
from . import data, words
from .draft import Draft
from .folder import Folder
from .notebook import Page
from .scope import having, of_split
from .sections import (
    calibration,
    checks,
    classes,
    comparison,
    confusion,
    gallery,
    key_figures,
    mistakes,
    predictions,
    slices,
    verdict,
)
from .sections import map as map_section

MAX_RUNS = 50
MAX_SWITCH = 4  # runs that the page can switch between
MANY = 200_000  # images
_FILTERS = ("count", "decimal", "interval", "p_value", "percent")
_PARTS = Path(__file__).parent
_STATIC = _PARTS / "static"
_STYLES = (
    "page.css",
    "filterbar.css",
    "gallery.css",
    "dialog.css",
    "review.css",
    "drawer.css",
    "map.css",
    "charts.css",
)
_LIBRARIES = ("sqlanalysis", "duckdb", "vl-convert-python", "pillow", "jinja2")
Row = dict[str, Any]


def report(
    con: duckdb.DuckDBPyConnection,
    path: str | Path,
    runs: str | Iterable[str] | None = None,
    *,
    split: str | None = None,
    title: str | None = None,
    max_images: int = 24,
    max_mb: float = 25,
    redact_paths: bool = False,
    full_images: str | Path | None = None,
    slices: str | Sequence[str] = (),
    open: bool = False,  # noqa: A002 - the word that users know
) -> Page:
    """Write a self-contained HTML page about a run: key figures, mistakes, map, classes, calibration, slices.

    The page of a run of embeddings has no accuracy: it shows the map, clusters, near duplicates and images.
    Reads the file and the images that the page shows; writes only `path`, completely or not at all.

    Args:
        con: from `connect`.
        path: the HTML file to write; an existing page is replaced.
        runs: names of runs: the page is about the first, with the second as its baseline, and lists the others. None
            means all finished runs with predictions, the newest first; where there is none, those of embeddings.
        split: count only images of this split, such as "val"; its queries say so. Copies and near duplicates are
            looked for in all splits, and check for leaks. None counts all splits together, and says so.
        title: heading of the page; default: "RUN on DATASET".
        max_images: number of images to show of each kind of mistake.
        max_mb: approximate size limit of the page in megabytes; pictures fill the space that its rows leave.
        redact_paths: show no file names, not even those below the folder of the data set, and no paths in meta.
        full_images: a folder below that of the page, for pictures of up to 1,024 pixels that the page opens: those of
            at most 5,000 images and 500 MB, mistakes first, encoded again without metadata and named by image_id. The
            folder is empty, new, or from an earlier call for this page, whose pictures are replaced.
        slices: SQL expressions over the columns of the run, true or false or of 2 to 30 values, such as
            "brightness < 0.2"; the images are cut by these, too, besides what was measured of them, clusters, camera,
            month or year, folder and the other keys of `meta`, of which the page looks at 30 and names the rest.
        open: open the page in the browser.

    Returns:
        The path of the page; a notebook shows the page itself in a frame.

    Raises:
        ArgumentError: an expression of `slices` has one value on all images, or more than 30, or others each time it
            is computed.
        NotFoundError: no such run (the message suggests similar names), no finished run, no image of the split, or no
            folder to write to.
        SchemaError: the run has neither predictions nor activations, `path` is not a page, `full_images` is not a
            folder for its pictures, or the rows need more than `max_mb`.
        QueryError: DuckDB refused a query of the page, one of `slices` is not an expression over the columns, or a
            transaction is open and a split is given.
    """
    file = _check_path(Path(path).expanduser())
    full = Folder(Path(full_images).expanduser(), file) if full_images is not None else None
    draft = Draft(con, max_images=max_images, redacted=redact_paths)
    draft.slices = [slices] if isinstance(slices, str) else list(slices)
    names = _choose(draft, runs)
    with ExitStack() as session:
        if split is not None:
            names = having(con, names, split, each=runs is not None)
            draft.file = con
            draft.con, draft.scope = session.enter_context(of_split(con, names, split))
        page = _page(draft, names, title, max_mb, full)
    if len(page) > 2e6 * max_mb:  # tables of very many or very long names, which `pack` does not count
        raise SchemaError(
            f"the page needs {len(page) / 1e6:.1f} MB, more than twice max_mb = {max_mb:g} (--max-mb): its tables hold "
            "very many or very long names"
        )
    write_whole(file, page)
    if open:
        webbrowser.open(file.resolve().as_uri())
    return Page(file)


def _check_path(file: Path) -> Path:
    if file.is_dir():
        raise NotFoundError(f"{file} is a folder; name a file, such as {file / 'report.html'}")
    if not file.parent.is_dir():
        raise NotFoundError(f"no folder {file.parent}; create it first")
    # A mistyped path must not overwrite another file.
    if file.exists() and not file.read_bytes()[:64].lstrip().lower().startswith(b"<!doctype html"):
        raise SchemaError(f"{file} exists and is not a page; give another path")
    return file


def _choose(draft: Draft, runs: str | Iterable[str] | None) -> list[str]:
    rows = draft.ask("run_list").rows
    known = {row["run"]: row["status"] for row in rows}
    predicting = {row["run"] for row in rows if row["has_predictions"]}
    shown = predicting | {row["run"] for row in rows if row["has_activations"]}
    if runs is None:
        done = [run for run, status in known.items() if status in ("finished", "sampled") and run in shown]
        finished = [run for run in done if run in predicting] or done  # embeddings where nothing else is
        if not finished:
            other = f"; or name an unfinished run: {', '.join(known)}" if known else ""
            raise NotFoundError(f"no finished run to report; create one with `sqlanalysis predict DB MODEL`{other}")
        return finished
    names = list(dict.fromkeys([runs] if isinstance(runs, str) else runs))
    if not names:
        raise NotFoundError("the list of runs is empty; name one, or omit `runs` for all")
    for name in names:
        if name not in known:
            raise NotFoundError(f"no run {name!r}{near_matches(name, known)}")
        if name not in shown:
            raise SchemaError(f"run {name!r} has no pred and confidence, nor activations; report a run that has these")
    return names


def _page(draft: Draft, runs: Sequence[str], title: str | None, max_mb: float, full: Folder | None) -> str:
    draft.run, draft.baseline = runs[0], runs[1] if len(runs) > 1 else None
    lineage, counts = draft.ask("lineage").row, _counts(draft)
    draft.folder = folder = words.shared_folder(lineage)
    listed = draft.ask("run_list").rows
    predicting = {row["run"] for row in listed if row["has_predictions"]}
    draft.probs = "probs" in {row["name"] for row in draft.ask("run_columns").rows}
    draft.predicted = draft.run in predicting
    if draft.slices:  # refused before the rest is computed, and of runs without labels, too
        slices.slice_values(draft)
    if not draft.predicted:
        draft.baseline = None
        counts["n_no_prediction"] = 0  # of none is one expected
    figures = key_figures.key_figures(draft, counts)
    key = figures["key"]
    labeled = bool(key["n"])
    class_rows = draft.ask("class_table").rows if labeled else []
    compared_runs = [run for run in runs if run in predicting]
    accuracies = draft.ask("run_accuracy", runs=compared_runs[:MAX_RUNS]).rows if compared_runs else []
    errors = draft.ask("run_errors").rows
    switch = _switchable(draft, compared_runs) if labeled else [draft.run]
    heads = _heads(draft, switch, figures, counts)
    compared = comparison.compare(draft, switch) if labeled else None
    several = key_figures.runs(draft, accuracies, len(runs)) if labeled and len(runs) > 1 else None
    checked = checks.data_checks(draft, class_rows)
    parts = _sections(draft, counts, key, class_rows, switch)
    draft.develop(progress=True)
    drawn = map_section.map_of(draft, [row["name"] for row in draft.ask("page_classes").rows], data.MAX_ROWS)
    cuts = slices.slice_values(draft) if labeled else []
    packed = _pack(
        draft, switch, heads, drawn, cuts, {"comparison": compared, "checks": checked, **parts}, max_mb, full
    )
    draft.album.say()
    facts, split = words.facts(lineage, counts, folder), counts["split"]
    context: Row = {
        **{"mistakes": None, "gallery": None, "slices": None, "near": "", "error": {}},
        **figures,
        **parts,
        "findings": {"images": words.images_finding(key, compared, *_suspected(parts.get("mistakes")))},
        "answers": draft.answers,
        "run": draft.run,
        "baseline": draft.baseline,
        "switch": [row["name"] for row in packed.facts["runs"]],
        "verdicts": heads,
        "splits": verdict.by_split(draft, counts) if labeled else None,
        "title": title or f"{draft.run} on {lineage['dataset']}" + (f", split {split}" if split else ""),
        "meta": words.meta(lineage, counts),
        "facts": facts,
        "provenance": words.provenance(facts),
        "warnings": words.warnings(lineage, counts, errors, class_rows, folder) + words.differing(accuracies, listed),
        "predicted": draft.predicted,
        "advice": words.advice(key, compared, lineage, counts["n_labeled"]),
        "runs": several,
        "activations": "activation" in {row["name"] for row in draft.ask("run_columns").rows},
        "comparison": compared,
        "map": drawn,
        "checks": checked,
        "reproduce": words.reproduction(lineage, draft.run, draft.baseline, folder, split),
        "pack": packed,
    }
    context["contents"] = words.contents(context)
    return _render(context)


def _heads(draft: Draft, switch: Sequence[str], figures: Row, counts: Row) -> list[Row]:
    """The head of the page for each run, and for each pair of run and baseline."""
    every, all_counts = [figures], [counts]
    for run in switch[1:]:
        other = draft.of(run, probs=False)
        other.probs = "probs" in {row["name"] for row in other.ask("run_columns").rows}
        all_counts.append(_counts(other))
        every.append(key_figures.key_figures(other, all_counts[-1]))
    return verdict.verdicts(draft, switch, every, all_counts)


def _pack(
    draft: Draft,
    switch: Sequence[str],
    heads: Sequence[Row],
    drawn: Row | None,
    cuts: Sequence[Row],
    parts: Row,
    max_mb: float,
    full: Folder | None,
) -> data.Pack:
    """The data of the page: rows with places and slices, pictures, and what the sections say."""
    extra: Row = {
        "baseline": switch.index(draft.baseline) if draft.baseline in switch else -1,
        "incomparable": [f"{head['run']},{head['baseline']}" for head in heads if not head["comparable"]],
        # How much of a uri the page leaves out; unknown where names are shortened in another way.
        "folder_chars": None if draft.redacted or not draft.folder else len(draft.folder),
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "sections": {name: part["facts"] for name, part in parts.items() if part and "facts" in part},
        "map": drawn and drawn["facts"],
        "views": {run: draft.scope.views[run] for run in switch} if draft.scope else {},
        **(drawn["places"].facts if drawn else {}),
    }
    places = None
    with ExitStack() as registered:
        if drawn:
            registered.enter_context(statements.registered(draft.con, "_page_places", drawn["places"].table))
            # The coordinates are those of the page already.
            places = data.Places("from _page_places", 0, 0, *drawn["places"].extent)
        if cuts:
            registered.enter_context(statements.registered(draft.con, "_page_codes", slices.slice_codes(draft)))
        return data.pack(
            draft.con,
            draft.run,
            switch[1:],
            None if draft.redacted else draft.folder,
            max_mb,
            # The pictures of the sections are required; those of the data fill the rest of the page.
            sum(len(row.get("source") or "") for row in draft.shown),
            draft.album,
            slices=cuts,
            slice_rows="from _page_codes",
            full=full,
            places=places,
            extra=extra,
        )


def _suspected(mistakes: Row | None) -> tuple[int, float | None]:
    """How many labels are suspected, and how many of these are estimated to be wrong."""
    return (mistakes["n_suspects"], mistakes["n_wrong"]) if mistakes else (0, None)


def _counts(draft: Draft) -> Row:
    """How many images of the run have what, with those that its class policy leaves out."""
    counts, lineage = dict(draft.ask("run_counts").row), draft.ask("lineage").row
    counts |= {"n_left_out": 0, "n_classes": lineage["n_classes"] or 0, "split": draft.scope and draft.scope.split}
    columns = {row["name"] for row in draft.ask("run_columns").rows}
    if lineage["class_policy"] == "restricted" and lineage["members"] is None and "raw_pred" in columns:
        both = draft.ask("policy_accuracies").row
        counts |= {"n_left_out": both["n_outside"], "accuracy_open": both["accuracy_open"]}
    return counts


def _switchable(draft: Draft, runs: Sequence[str]) -> list[str]:
    """The runs that the page can switch between: over the same data set and classes, run and baseline first."""
    same = [row["run"] for row in draft.ask("page_runs", runs=list(runs)).rows]
    # Every pair has its test: of very many images, that of the page only.
    return same[: MAX_SWITCH if draft.ask("run_counts").row["n_outputs"] <= MANY else 2]


def _sections(draft: Draft, counts: Row, key: Row, class_rows: Sequence[Row], runs: Sequence[str]) -> Row:
    """The sections of a run with labels, of one without, or of one without predictions."""
    if not draft.predicted:
        return {"gallery": gallery.gallery(draft)}
    if not key["n"]:
        return {"predictions": predictions.predictions(draft)}
    return {
        "mistakes": mistakes.mistakes(draft, key),
        "classes": classes.per_class(draft, runs),
        "confusion": confusion.confusion(draft, counts["n_classes"] or len(class_rows), runs),
        "calibration": calibration.calibration(draft, key, runs),
        "slices": slices.slices(draft, key, len(runs)),
    }


def _render(context: Row) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # A browser reads a bare carriage return as a line feed, which is another name in a query.
        finalize=lambda value: escape(value).replace("\r", Markup("&#13;")) if isinstance(value, str) else value,
    )
    environment.filters.update({name: getattr(words, name) for name in _FILTERS})
    css = "".join((_STATIC / name).read_text(encoding="utf-8") for name in _STYLES)
    script = (_STATIC / "app.js").read_text(encoding="utf-8")
    # Hashes instead of 'unsafe-inline': no other style or script can run, even if data contained one.
    files = " 'self' file:" if context["pack"].facts["files"] is not None else ""  # pictures in a folder beside it
    policy = (
        f"default-src 'none'; img-src data: blob:{files}; style-src '{_hash(css)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return environment.get_template("page.html.j2").render(
        context,
        css=Markup(css),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        policy=Markup(policy),  # noqa: S704 - holds hashes only
        versions={name: importlib.metadata.version(name) for name in _LIBRARIES},
        written=words.moment(datetime.datetime.now(datetime.UTC)),
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
