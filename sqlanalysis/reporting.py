"""One HTML file that shows what runs got right and wrong: queries of `sql/report` in, page out.

The page loads nothing, runs under a content policy that names the hashes of its own style and script, and is complete
without JavaScript. Every number on it comes from a query that the page shows.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import errno
import glob
import hashlib
import importlib.metadata
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import jinja2
from markupsafe import Markup

from . import database, images, templates
from .errors import ImageError, NotFoundError, SchemaError, near_matches
from .faults import point
from .page import charts, words

MAX_POINTS = 5000
THUMBNAIL_PX = 160
MATRIX_CLASSES = 30
_PARTS = Path(charts.__file__).parent
_LIBRARIES = ("sqlanalysis", "duckdb", "vl-convert-python", "pillow", "jinja2")
Row = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One query of the page: the text to paste in a shell, and its rows."""

    sql: str
    rows: list[Row]

    @property
    def row(self) -> Row:
        """The only row, or an empty one."""
        return self.rows[0] if self.rows else {}


def report(
    con: duckdb.DuckDBPyConnection,
    path: str | Path,
    runs: str | Iterable[str] | None = None,
    *,
    title: str | None = None,
    max_images: int = 24,
) -> Path:
    """Write one self-contained HTML page about a run: key figures, worst mistakes, map, classes, confusion.

    Reads views and macros of the file, and the images it shows; writes only `path`, whole or not at all.

    Args:
        con: a connection from `connect`.
        path: the HTML file to write; an older one is replaced.
        runs: names of runs; the first is the subject of the page, the others stand beside it. None takes every
            finished run, the newest first.
        title: heading of the page; "RUN on DATASET" when None.
        max_images: how many mistakes to show.

    Returns:
        The path of the page.

    Raises:
        NotFoundError: no such run (names near matches), no finished run at all, or no folder to write to.
        QueryError: DuckDB refused a query of the page.
    """
    file = _check_path(Path(path).expanduser())
    names = _choose(con, runs)
    page = _page(con, names, title, max_images, rank="newest" if runs is None else "first")
    _write(file, page)
    return file


def _check_path(file: Path) -> Path:
    if file.is_dir():
        raise NotFoundError(f"{file} is a folder; name a file, such as {file / 'report.html'}")
    if not file.parent.is_dir():
        raise NotFoundError(f"no folder {file.parent}; create it first")
    if file.exists() and not file.read_bytes()[:64].lstrip().lower().startswith(b"<!doctype html"):
        raise SchemaError(f"{file} exists and is no page; give another path")
    return file


def _choose(con: duckdb.DuckDBPyConnection, runs: str | Iterable[str] | None) -> list[str]:
    rows = _ask(con, "run_list").rows
    known = {row["run"]: row["status"] for row in rows}
    bare = {row["run"] for row in rows if not row["has_predictions"]}
    if runs is None:
        finished = [run for run, status in known.items() if status == "finished" and run not in bare]
        if not finished:
            other = f"; name one that has begun: {', '.join(known)}" if known else ""
            raise NotFoundError(f"no finished run to report; make one with `sqlanalysis predict DB MODEL`{other}")
        return finished
    names = list(dict.fromkeys([runs] if isinstance(runs, str) else runs))
    if not names:
        raise NotFoundError("an empty list of runs; name one, or leave `runs` out for all")
    for name in names:
        if name not in known:
            raise NotFoundError(f"no run {name!r}{near_matches(name, known)}")
        if name in bare:
            raise SchemaError(f"run {name!r} has no pred and confidence; report a run of predict, or one that has them")
    return names


def _ask(con: duckdb.DuckDBPyConnection, query: str, /, values: Row | None = None, **names: object) -> Answer:
    text = templates.render(f"report/{query}", **names)
    result = database.execute(con, f"report/{query}", values, **names)
    columns = [column[0] for column in result.description]
    rows = [dict(zip(columns, row, strict=True)) for row in result.fetchall()]
    shown = "\n".join(text.splitlines()[5:])
    for name, value in (values or {}).items():
        shown = shown.replace(f"${name}", str(value))
    return Answer(shown, rows)


def _page(con: duckdb.DuckDBPyConnection, runs: Sequence[str], title: str | None, max_images: int, rank: str) -> str:
    run = runs[0]
    answers = {name: _ask(con, name, run=run) for name in ("lineage", "run_counts", "run_errors", "key_figures")}
    answers["run_list"] = _ask(con, "run_list")
    lineage, counts, key = (answers[name].row for name in ("lineage", "run_counts", "key_figures"))
    answers["run_accuracy"] = _ask(con, "run_accuracy", runs=runs)
    answers["map_points"] = _ask(con, "map_points", {"max_points": MAX_POINTS}, run=run)
    labelled = bool(key["n"])
    if labelled:
        answers |= _labelled_answers(con, run, lineage, max_images)
    else:
        answers["predicted_classes"] = _ask(con, "predicted_classes", run=run)
    classes = answers["class_table"].rows if labelled else []
    folder = words.shared_folder(lineage)
    context: Row = {
        "answers": answers,
        "run": run,
        "title": title or f"{run} on {lineage['dataset']}",
        "subtitle": words.subtitle(lineage, counts, len(runs), rank),
        "facts": words.facts(lineage, counts, folder),
        "warnings": words.warnings(lineage, counts, answers["run_errors"].rows, classes, folder)
        + words.differing(answers["run_accuracy"].rows, answers["run_list"].rows),
        "cards": words.cards(counts, key, classes, answers["top_five"].row if "top_five" in answers else {}),
        "key": key,
        "runs": answers["run_accuracy"].rows,
        "advice": words.advice(key),
        "map": _map(answers["map_points"].rows, counts, labelled),
        "scores": [(name, key[column]) for name, column in words.SCORES.items()],
        "classes": [],
    }
    if len(runs) > 1 and labelled:
        context["runs_chart"] = _draw(charts.runs([row for row in context["runs"] if row["n"]]))
        context["paired"] = _has_macro(con, "mcnemar")
    if labelled:
        context["mistakes"] = _pictures(con, answers["worst_mistakes"].rows, folder)
        context |= _class_sections(answers)
    return _render(context)


def _labelled_answers(con: duckdb.DuckDBPyConnection, run: str, lineage: Row, max_images: int) -> dict[str, Answer]:
    probs = any(row["name"] == "probs" for row in _ask(con, "run_columns", run=run).rows)
    answers = {
        "worst_mistakes": _ask(con, "worst_mistakes", {"max_images": max_images}, run=run, probs=probs),
        "class_table": _ask(con, "class_table", run=run),
        "confused_pairs": _ask(con, "confused_pairs", run=run),
    }
    n_classes = lineage["n_classes"] or len(answers["class_table"].rows)
    if n_classes <= MATRIX_CLASSES:
        answers["confusion_table"] = _ask(con, "confusion_table", run=run)
    if n_classes > 5 and probs:
        answers["top_five"] = _ask(con, "top_five", run=run)
    return answers


def _has_macro(con: duckdb.DuckDBPyConnection, name: str) -> bool:
    return name in {macro for macro, _ in database.fetch(con, "statements/list_macros")}


def _draw(chart: Row) -> Markup:
    return Markup(charts.svg(chart))  # noqa: S704 - drawn by vl-convert, which escapes data


def _map(points: list[Row], counts: Row, labelled: bool) -> Row | None:
    if not points:
        return None
    by, index = ("label", "label") if labelled else ("prediction", "pred")
    field = f"{index}_name"
    points = [{**point, field: point[field] or "no " + by} for point in points]
    names = [point[field] for point in sorted(points, key=lambda p: (p[index] is None, p[index]))]
    numbers = charts.hues(names)
    chips: list[Row] = [
        {"name": name, "kind": f"h{number}", "n": names.count(name)} for name, number in numbers.items()
    ]
    others = len(names) - sum(chip["n"] for chip in chips)
    if others:
        chips.append({"name": "other", "kind": "", "n": others})
    drawn: Row = {"by": by, "hues": len(numbers), "others": others, "chips": chips, "correct_chart": None}
    drawn |= {"shown": len(points), "total": counts["n_placed"]}
    drawn["names_chart"] = _draw(charts.map_by_name(points, field, numbers))
    if labelled:
        drawn["correct_chart"] = _draw(charts.map_by_correct(points))
        kinds = {"right": True, "wrong": False}
        drawn["correct_chips"] = [
            {"name": kind, "kind": kind, "n": [point["correct"] for point in points].count(value)}
            for kind, value in kinds.items()
        ]
    return drawn


def _pictures(con: duckdb.DuckDBPyConnection, rows: list[Row], folder: str) -> list[Row]:
    ids = [row["image_id"] for row in rows]
    stored = {row["image_id"]: row["image"] for row in _ask(con, "shown_images", {"ids": ids}).rows}
    with ThreadPoolExecutor(max_workers=8) as pool:
        sources = list(pool.map(_source, (stored.get(image_id) for image_id in ids)))
    return [
        {
            **row,
            "source": source,
            "alt": f"labelled {row['label_name']}, predicted {row['pred_name']}",
            "place": words.place(row["uri"], folder),
            "pixelated": max(row["width_px"], row["height_px"]) <= 64,
        }
        for row, source in zip(rows, sources, strict=True)
    ]


def _source(image: Row | None) -> str | None:
    """A small copy made from pixels, as a data URL; None when the image cannot be read."""
    try:
        small = images.thumbnail(image or {"bytes": None, "path": None}, THUMBNAIL_PX, 70)
    except ImageError:
        return None
    return "data:image/webp;base64," + base64.b64encode(small).decode()


def _class_sections(answers: dict[str, Answer]) -> Row:
    classes, pairs = answers["class_table"].rows, answers["confused_pairs"].rows
    shown = [row for row in classes if row["n"]][:MATRIX_CLASSES]
    low = shown[0]
    summary = f"Lowest recall: {low['name']} with {words.percent(low['recall'])} of {words.count(low['n'])} images."
    if len(shown) < len(classes):
        summary += f" Drawn are the lowest {len(shown)} of {len(classes)} classes."
    confusion = "No class is taken for another."
    if pairs:
        top = pairs[0]
        confusion = (
            f"Most often {top['label_name']} is taken for {top['pred_name']}: "
            f"{words.count(top['n'])} times, {words.percent(top['share'])} of the class."
        )
    sections: Row = {"classes": classes, "class_summary": summary, "pairs": pairs, "confusion_summary": confusion}
    sections["classes_chart"] = _draw(charts.class_recall(shown))
    sections["confusion_chart"] = None
    if "confusion_table" in answers:
        rows = answers["confusion_table"].rows
        table: dict[str, dict[str, int]] = {}
        for row in rows:
            table.setdefault(row["label_name"], {})[row["pred_name"]] = row["n"]
        columns = list(dict.fromkeys(row["pred_name"] for row in rows))
        lines = [(name, [line.get(column, 0) for column in columns]) for name, line in table.items()]
        sections["matrix"] = {"columns": columns, "rows": lines}
        sections["confusion_chart"] = _draw(charts.confusion(rows))
    return sections


def _render(context: Row) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=words.percent, interval=words.interval, decimal=words.decimal, count=words.count)
    css, script = ((_PARTS / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(css)}'; script-src '{_hash(script)}'; "
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


def _write(file: Path, page: str) -> None:
    """Write beside the target, then rename: a reader sees the old page or the new one, never half of one."""
    _sweep(file)
    draft = file.with_name(f".{file.name}.{os.getpid()}.part")
    umask = os.umask(0)
    os.umask(umask)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            stream.write(page[: len(page) // 2])
            point("write")
            stream.write(page[len(page) // 2 :])
            stream.flush()
            os.fsync(stream.fileno())
        draft.chmod(0o666 & ~umask)
        point("rename")
        draft.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def _sweep(file: Path) -> None:
    """Remove drafts of this page whose process was killed."""
    for draft in file.parent.glob(f".{glob.escape(file.name)}.*.part"):
        number = draft.name.split(".")[-2]
        if number.isdecimal() and not _lives(int(number)):
            draft.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True
