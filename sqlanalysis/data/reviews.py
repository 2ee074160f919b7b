"""Reviewed labels in: what people said of suspected labels on a page becomes the labels of images, with its history."""

from __future__ import annotations

import datetime
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ..core import talk
from ..core.results import Result
from ..core.text import csv_cell, one_line
from ..db.statements import checkpoint, execute, fetch, is_read_only, registered, transaction
from ..errors import NotFoundError, QueryError, SchemaError, near_matches
from .columns import plain
from .label_spaces import read_classes
from .sources.table import read_table, table_files

COLUMNS = ("image_id", "sha256", "file", "label_name", "review", "new_label_name", "reviewed_at")
NEEDED = ("image_id", "label_name", "review", "new_label_name")
SHOWN = 5  # refused rows in a message
SHORT_HASH = 12  # digits of a hash that are enough beside the image_id


@dataclass(frozen=True, repr=False)
class Applied(Result):
    """What `apply_labels` did: n_rows = n_changed + n_confirmed + n_already + n_refused.

    Attributes:
        path: the file.
        source_sha256: hash of its bytes, as in `label_changes`.
        n_rows: its rows.
        n_changed: images that have another label now.
        n_confirmed: suspected labels that are right, now in the history.
        n_already: rows that changed nothing: the image has this label already, or the row was applied before.
        n_refused: rows that do not fit the file any more; 0 unless `skip_refused`.
        changes: how often a class became another: "cat → dog": 2.
        notes: what else follows, and the refused rows.
    """

    path: Path
    source_sha256: str
    n_rows: int
    n_changed: int
    n_confirmed: int
    n_already: int
    n_refused: int = 0
    changes: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def apply_labels(con: duckdb.DuckDBPyConnection, path: str | Path, *, skip_refused: bool = False) -> Applied:
    """Apply a file of reviewed labels, as a page exports it: labels of `images` change, and every figure follows.

    Each row says of one image that its label is `ok` or `wrong`. It must still fit: the image has the bytes that were
    reviewed, and the label of then. The history is kept in `label_changes`, and `from label_history` reads it. Adding
    the images again with their old labels keeps a reviewed label. Where an image has several right answers
    (`accepted`), the wrong label goes from them, and the right one is among them.

    Args:
        con: from `connect`, writable.
        path: a CSV (also with semicolons or as Excel saves it), or another table, with the columns image_id; sha256,
            or its first 12 digits or more, or else file, the path below the folder of the data set; label_name, as it
            was when it was reviewed (empty: none); review, ok or wrong; new_label_name, a class of the data set, empty
            where the label is ok; and reviewed_at, a time in ISO form (without a zone: UTC), which may be missing.
        skip_refused: apply the rows that fit and say which do not. By default all rows are applied, or none.

    Returns:
        How many labels were changed and confirmed, and notes. Applying a file again changes nothing.

    Raises:
        NotFoundError: no such file.
        SchemaError: it lacks a column, or rows are refused: another image, a label that was changed since, a class
            that the data set does not have (none is added), or two answers for one image.
        QueryError: the connection only reads, has a transaction open, or the label of an image is being changed by
            another one.
    """
    file, rows = _read(path)
    if is_read_only(con):
        raise QueryError("this connection only reads; open the file for writing: connect(path)")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    counts, changes, notes = Counter[str](n_rows=len(rows)), Counter[str](), list[str]()
    with transaction(con):
        answers, refused = _match(con, rows, counts)
        if refused and not skip_refused:
            raise SchemaError(
                f"{file}: {len(refused):,} of {len(rows):,} rows are refused, and no label was changed: "
                f"{_some(refused)}; skip_refused=True (--skip-refused) applies the others"
            )
        for answer in answers:
            counts[answer.outcome] += 1
            if answer.outcome == "n_changed":
                changes[f"{answer.old_name or 'unlabeled'} → {answer.new_name}"] += 1
        notes += _write(con, [answer for answer in answers if not answer.is_recorded], file, digest)
    checkpoint(con)
    if refused:
        notes.insert(0, f"{len(refused):,} of {len(rows):,} rows are refused: {_some(refused)}")
    talk.say(notes)
    known = {name: counts[name] for name in ("n_rows", "n_changed", "n_confirmed", "n_already")}
    return Applied(file, digest, **known, n_refused=len(refused), changes=dict(changes), notes=tuple(notes))


@dataclass(frozen=True)
class _Review:
    """One row of the file as text; its number counts from 1."""

    row: int
    image_id: str
    sha256: str
    file: str
    label_name: str
    review: str
    new_label_name: str
    reviewed_at: str

    @property
    def answer(self) -> tuple[str, ...]:
        return self.label_name, self.review, self.new_label_name


@dataclass(frozen=True)
class _Answer:
    """A review that fits the file: what it changes, and which count it belongs to."""

    image_id: int
    sha256: str
    old_label: int | None
    new_label: int
    old_name: str
    new_name: str
    review: str
    reviewed_at: datetime.datetime | None
    outcome: str
    is_recorded: bool
    has_accepted: bool


def _read(path: str | Path) -> tuple[Path, list[_Review]]:
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise NotFoundError(f"no file {file}")
    if table_files(file) != [file]:
        raise SchemaError(f"{file} is not a table; labels come as a CSV, such as the labels.csv that a page exports")
    table = read_table(file).rows
    names = {plain(name): name for name in reversed(table.column_names)}
    lacking = [name for name in NEEDED if name not in names]
    if lacking or not names.keys() & {"sha256", "file"}:
        lacking += [] if names.keys() & {"sha256", "file"} else ["sha256"]
        raise SchemaError(
            f"{file} has no column {', '.join(lacking)}; it has {', '.join(table.column_names)}, and reviewed labels "
            f"have {', '.join(COLUMNS)}"
        )
    found = [table[names[name]].to_pylist() if name in names else [None] * table.num_rows for name in COLUMNS]
    rows = [_Review(number, *map(_cell, values)) for number, values in enumerate(zip(*found, strict=True), 1)]
    return file, [row for row in rows if any((row.image_id, row.review, row.new_label_name))]


def _cell(value: object) -> str:
    """The text of a cell, in composed form, without the apostrophe that keeps spreadsheets from evaluating it."""
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    text = "" if value is None else unicodedata.normalize("NFC", str(value)).strip()
    return text[1:] if text.startswith("'") and csv_cell(text[1:]) == text else text


def _match(
    con: duckdb.DuckDBPyConnection, rows: Sequence[_Review], counts: Counter[str]
) -> tuple[list[_Answer], list[str]]:
    """The reviews that fit, and for each of the others why it does not; a row that stands twice counts once."""
    of_image: dict[str, list[_Review]] = {}
    for row in rows:
        of_image.setdefault(row.image_id, []).append(row)
    refused, unique = [], []
    for same in of_image.values():
        if len({row.answer for row in same}) == 1:
            unique.append(same[0])
            counts["n_already"] += len(same) - 1
        else:
            said = ", ".join(f"{_said(row)} in row {row.row}" for row in same)
            refused += [f"row {row.row}: image {row.image_id} has two answers: {said}" for row in same]
    found = _images(con, unique)
    classes: dict[str | None, tuple[str, ...]] = {None: ()}
    answers = []
    for row in unique:
        try:
            image = found.get(row.row)
            if image is None:
                raise SchemaError(f"there is no image with the image_id {one_line(row.image_id, 40)!r}")
            space = image["label_space"]
            if space not in classes:
                classes[space] = read_classes(con, space).names
            answers.append(_answer(row, image, classes[space]))
        except SchemaError as error:
            refused.append(f"row {row.row}: {error}")
    return answers, refused


def _said(row: _Review) -> str:
    return "ok" if row.review == "ok" else f"{row.review} → {one_line(row.new_label_name, 60)}"


def _images(con: duckdb.DuckDBPyConnection, rows: Sequence[_Review]) -> dict[int, dict[str, Any]]:
    """What the file knows of the image of each row, by number of the row; rows without an image are missing."""
    ids = {row.row: int(row.image_id) for row in rows if re.fullmatch(r"\d{1,18}", row.image_id)}
    table = pa.table({"line": pa.array(ids, pa.int64()), "image_id": pa.array(ids.values(), pa.int64())})
    names = ("image_id", "dataset", "uri", "sha256", "label", "accepted", "label_name", "label_space", "recorded")
    with registered(con, "reviews", table):
        matched = fetch(con, "match_reviews")
    return {line: dict(zip(names, image, strict=True)) for line, *image in matched}


def _answer(row: _Review, image: Mapping[str, Any], classes: Sequence[str]) -> _Answer:
    """What a row changes.

    Raises:
        SchemaError: it does not fit the image.
    """
    _check_identity(row, image)
    now = image["label_name"] or ("" if image["label"] is None else str(image["label"]))
    which = f"image {row.image_id} ({image['uri']})"
    new_name = _new_label(row, image["dataset"], classes)
    if row.review == "wrong" and now == new_name:
        outcome = "n_already"
    elif now != row.label_name:
        raise SchemaError(
            f"{which} is {_quoted(now)} now, and was {_quoted(row.label_name)} when its label was reviewed"
        )
    else:
        outcome = "n_confirmed" if row.review == "ok" else "n_changed"
    new_label, when = classes.index(new_name), _time(row)
    same = [
        one["applied_at"]
        for one in image["recorded"] or ()
        if (one["review"], one["new_label"], one["reviewed_at"]) == (row.review, new_label, when)
    ]
    newest = max((one["applied_at"] for one in image["recorded"] or ()), default=None)
    if same and outcome == "n_changed" and max(same) < newest:
        raise SchemaError(
            f"{which} got the label {new_name!r} of this row before, and {_quoted(now)} by a later review, which stays"
        )
    return _Answer(
        image_id=image["image_id"],
        sha256=image["sha256"],
        old_label=classes.index(row.label_name) if row.label_name in classes else None,
        new_label=new_label,
        old_name=row.label_name,
        new_name=new_name,
        review=row.review,
        reviewed_at=when,
        outcome="n_already" if same and outcome == "n_confirmed" else outcome,
        is_recorded=bool(same) and outcome != "n_changed",
        has_accepted=image["accepted"] is not None,
    )


def _check_identity(row: _Review, image: Mapping[str, Any]) -> None:
    """Refuse a row about another image: the hash decides; without one, the path does."""
    given, known = row.sha256.lower(), image["sha256"]
    if given and not re.fullmatch(rf"[0-9a-f]{{{SHORT_HASH},64}}", given):
        raise SchemaError(
            f"{one_line(row.sha256, 70)!r} is not the hash of an image, nor its first {SHORT_HASH} digits or more (a "
            f"spreadsheet may have read it as a number); image {row.image_id} has {known[:SHORT_HASH]}…"
        )
    if given and not known.startswith(given):
        raise SchemaError(
            f"image {row.image_id} has the sha256 {known[:SHORT_HASH]}… ({image['uri']}), and the row is about "
            f"{given[:SHORT_HASH]}… ({one_line(row.file, 100) or 'no file'}): other bytes, or another evaluation file"
        )
    if given:
        return
    written = unicodedata.normalize("NFC", image["uri"].replace("\\", "/"))
    path = row.file.replace("\\", "/").removeprefix("./")
    if not path or not f"/{written}".endswith(f"/{path.lstrip('/')}"):
        raise SchemaError(
            f"image {row.image_id} is {image['uri']}, and the row is about {one_line(row.file, 100) or 'no file'}, "
            "without a sha256 that tells"
        )


def _new_label(row: _Review, dataset: str, classes: Sequence[str]) -> str:
    """The class that an image is to have: its own for `ok`."""
    if row.review not in ("ok", "wrong"):
        raise SchemaError(f"image {row.image_id}: review is ok or wrong, not {one_line(row.review, 40)!r}")
    if row.review == "ok" and not row.label_name:
        raise SchemaError(f"image {row.image_id} has no label that could be ok; wrong, with a new label, gives it one")
    if row.review == "ok" and row.new_label_name not in ("", row.label_name):
        raise SchemaError(
            f"image {row.image_id}: the label {_quoted(row.label_name)} is ok, and {_quoted(row.new_label_name)} is to "
            "replace it: which is meant?"
        )
    if row.review == "wrong" and row.new_label_name in ("", row.label_name):
        raise SchemaError(
            f"image {row.image_id}: the label {_quoted(row.label_name)} is wrong, and "
            f"{'no other one is given' if not row.new_label_name else 'the same is to replace it'}"
        )
    name = row.new_label_name or row.label_name
    if name not in classes:
        raise SchemaError(
            f"image {row.image_id}: {one_line(name, 60)!r} is not a class of {dataset!r}"
            f"{near_matches(one_line(name, 60), classes)}"
        )
    return name


def _time(row: _Review) -> datetime.datetime | None:
    """When a label was reviewed, in UTC."""
    if not row.reviewed_at:
        return None
    try:
        when = datetime.datetime.fromisoformat(row.reviewed_at)
    except ValueError:
        raise SchemaError(
            f"image {row.image_id}: reviewed_at is a time such as 2026-05-01T12:30:00Z, not "
            f"{one_line(row.reviewed_at, 40)!r}"
        ) from None
    return when.astimezone(datetime.UTC).replace(tzinfo=None) if when.tzinfo else when


def _quoted(name: str) -> str:
    return repr(one_line(name, 60)) if name else "unlabeled"


def _some(refused: Sequence[str]) -> str:
    more = f"; and {len(refused) - SHOWN:,} more" if len(refused) > SHOWN else ""
    return "; ".join(refused[:SHOWN]) + more


def _write(con: duckdb.DuckDBPyConnection, answers: Sequence[_Answer], file: Path, digest: str) -> list[str]:
    """Write history and labels; gives what else follows from them."""
    columns = {
        "image_id": pa.int64(),
        "sha256": pa.string(),
        "old_label": pa.int32(),
        "new_label": pa.int32(),
        "review": pa.string(),
        "reviewed_at": pa.timestamp("us"),
    }

    def table(rows: Sequence[_Answer]) -> pa.Table:
        return pa.table(
            {name: pa.array([getattr(row, name) for row in rows], dtype) for name, dtype in columns.items()}
        )

    if not answers:
        return []
    with registered(con, "reviewed", table(answers)):
        execute(con, "insert_label_changes", {"source": file.name, "source_sha256": digest})
        execute(con, "update_labels")
        execute(con, "update_accepted")
    with registered(con, "reviewed", table([one for one in answers if one.outcome == "n_changed"])):
        return list(_notes(con, sum(one.has_accepted for one in answers)))


def _notes(con: duckdb.DuckDBPyConnection, n_accepted: int) -> Iterator[str]:
    if n_accepted:
        yield f"{n_accepted:,} images have several right answers: these follow the reviews (images.accepted)"
    n, uri, other = fetch(con, "count_copies_unlike")[0]
    if n:
        yield (
            f"{n:,} image{'s' * (n > 1)} with the bytes of a relabeled one keep{'s' * (n == 1)} another label, such as "
            f"{uri} and {other}"
        )
    runs = [run for (run,) in fetch(con, "list_runs_of_old_labels")]
    if runs:
        yield (
            f"made with the labels of before, and not made again: {', '.join(runs[:5])}"
            f"{', …' if len(runs) > 5 else ''} (stopping rule or fitted temperature)"
        )
