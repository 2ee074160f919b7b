"""Images in zip and tar files, read where they lie: `photos.zip#cat/a.jpg`; WebDataset shards with their labels."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...core import members
from ...core.classes import from_keys
from ...core.parsing import parse_json
from ...core.text import decodable
from ...errors import NotFoundError, SchemaError
from . import Entry, Source, layout
from .folder import METADATA, is_split
from .parquet import shard_splits
from .pictured import Picture, joined, with_paths
from .table import FORMATS, Table, is_mixed, json_column
from .values import as_indices

SIDE_FILES = (".cls", ".json", ".txt")  # of a WebDataset sample, beside its picture
MAX_SIDE_BYTES = 1024 * 1024  # of one
MAX_SIDES_BYTES = 1024**3  # of all of an archive
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass
class _Archive:
    """One archive while it is read: its images, and the side files by the key of their sample."""

    file: Path
    split: str | None
    images: list[str] = field(default_factory=list)
    sides: dict[str, dict[str, str]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()


def is_archive(file: Path) -> bool:
    """Whether a file is a zip file or an uncompressed tar file, by its content."""
    return members.is_archive(file)


def shards(text: str) -> list[Path]:
    """The files that a WebDataset list such as `train-{000000..000009}.tar` names, or a glob; none when it is neither.

    Raises:
        NotFoundError: one of the listed files is not there.
    """
    listed = _RANGE.search(text)
    if listed is None:
        return sorted(Path(one).resolve() for one in glob.glob(os.path.expanduser(text)) if os.path.isfile(one))
    first, last = int(listed[1]), int(listed[2])
    if not 0 <= last - first < members.MAX_MEMBERS:
        raise SchemaError(f"{text}: {listed[0]} is not a range")
    numbers = (f"{number:0{len(listed[1])}d}" for number in range(first, last + 1))
    named = [text[: listed.start()] + number + text[listed.end() :] for number in numbers]
    gone = next((one for one in named if not os.path.isfile(os.path.expanduser(one))), None)
    if gone is not None:
        raise NotFoundError(f"no file {gone}, which {listed[0]} lists")
    return [Path(one).expanduser().resolve() for one in named]


def from_archive(files: Sequence[Path], chosen: Mapping[str, str] | None = None) -> Source:
    """The images of an archive or of several shards, by reference; nothing is unpacked.

    Folders inside say classes and splits as on a disk. In a tar file, `000001.cls` or `000001.json` beside
    `000001.jpg` is its label (WebDataset); `.txt`, which mostly holds captions, is kept in `meta`.

    Args:
        files: absolute paths, in order.
        chosen: columns of the side files (keys of the JSON, `cls`, `txt`), role → column; `path` is the ending of the
            picture, when samples have several.

    Raises:
        NotFoundError: no image in any of them.
        SchemaError: a damaged archive; samples with several pictures; labels that can be read in two ways.
    """
    splits, missing = shard_splits(files)
    found = [_read(file, split) for file, split in zip(files, splits, strict=True)]
    origin = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    if not any(one.images for one in found):
        left_out = _left_out(found)
        counted = ", ".join(f"{n} {what}" for what, n in left_out.most_common(5)) or "no file"
        raise NotFoundError(f"no image in {origin}; there are: {counted}")
    arranged = layout.arrange(name for one in found for name in one.images)
    source = _from_samples(found, dict(chosen or {}), origin) if any(one.sides for one in found) else None
    if source is None or ("label" not in source.columns and not source.keys):
        source = _labeled_by_folders(source, found, arranged, origin)
    source.total = sum(len(one.images) for one in found) if source.total is None else source.total
    source.left_out.update(_left_out(found))
    source.notes += [note for one in found for note in one.notes] + missing
    tables = [name for one in found for name in one.others if name.rpartition("/")[2].lower() in METADATA]
    tables += [name for one in found for name in one.others if Path(name).suffix in FORMATS and name not in tables]
    if tables and "label" not in source.columns:
        source.notes.append(f"{tables[0]} inside {origin} was not read; unpack the archive if it holds the labels")
    return source


def _left_out(found: Sequence[_Archive]) -> Counter[str]:
    return sum((one.left_out for one in found), Counter[str]())


def _read(file: Path, split: str | None) -> _Archive:
    """The images of an archive and what stands beside them; nothing of their content."""
    found = members.members(file)
    stem = file.stem
    archive = _Archive(file, split or (stem if is_split(stem) else None), notes=found.notes)
    archive.left_out.update(found.left_out)
    sides: list[str] = []
    for name in found.rows:
        what = layout.what_is(name)
        if what is None:
            archive.images.append(name)
        elif not found.is_zip and name.lower().endswith(SIDE_FILES):
            sides.append(name)
        else:
            archive.others.append(name)
            archive.left_out[what] += 1
    keys = {_key(name) for name in archive.images} if sides else set()
    for name in sides:
        if _key(name) in keys:
            archive.sides.setdefault(_key(name), {})[name.rpartition(".")[2].lower()] = name
        else:
            archive.others.append(name)
            archive.left_out[layout.what_is(name) or ""] += 1
    return archive


def _key(name: str) -> str:
    """What the files of one sample share: everything up to the first dot of the file's own name."""
    folder, sign, own = name.rpartition("/")
    return f"{folder}{sign}{own.partition('.')[0]}"


def _ending(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].lower()


def _labeled_by_folders(
    samples: Source | None, found: Sequence[_Archive], arranged: layout.Layout, origin: str
) -> Source:
    """Labels and splits as the folders inside say them."""
    first = found[0]
    name = first.file.stem if len(found) == 1 and not is_split(first.file.stem) else first.file.parent.name
    source = samples or Source(name, origin, ())
    source.keys = arranged.keys
    source.classes = from_keys(arranged.keys) if arranged.keys else None
    entries = source.entries if samples is not None else _entries(found)

    def stream() -> Iterator[Entry]:
        n_beside = 0
        for entry in entries:
            placed = arranged.place(entry.uri.rpartition("#")[2] if samples is None else _inside(entry))
            if placed is None:
                n_beside += 1
                continue
            label, split = placed
            yield replace(entry, label=label, split=(split and decodable(split)) or entry.split)
        if n_beside:
            source.left_out["images beside the splits"] += n_beside

    source.entries = stream()
    source.notes += arranged.notes
    if arranged.prefix:
        source.notes.append(f"everything lies in {'/'.join(arranged.prefix)}/: read from there on")
    return source


def _inside(entry: Entry) -> str:
    return (entry.relative or "").partition("#")[2]


def _entries(found: Sequence[_Archive]) -> Iterator[Entry]:
    for one in found:
        for name in one.images:
            yield Entry(f"{one.file}#{name}", split=one.split, relative=decodable(f"{one.file.name}#{name}"))


# WebDataset


def _from_samples(found: Sequence[_Archive], chosen: dict[str, str], origin: str) -> Source:
    """Samples as a table: one row a picture, a column for each side file and for each key of the JSON."""
    _one_picture_each(found, chosen, origin)
    ending = chosen.pop("path", None)
    rows: list[dict[str, Any]] = []
    pictures: list[Picture] = []
    unread: Counter[str] = Counter()
    for one in found:
        n_bytes = 0
        for name in one.images:
            if ending is not None and _ending(name) != ending.lower().lstrip("."):
                one.left_out[f"*.{_ending(name)}"] += 1
                continue
            sides = one.sides.get(_key(name), {})
            row, n = _sample(one.file, sides, unread)
            n_bytes += n
            if n_bytes > MAX_SIDES_BYTES:
                raise SchemaError(f"{one.file} has more than {MAX_SIDES_BYTES // 1024**3} GB of side files; split it")
            rows.append(row)
            pictures.append(Picture(f"{one.file}#{name}", None, one.split, decodable(f"{one.file.name}#{name}")))
    names = list(dict.fromkeys(key for row in rows for key in row))
    values = {name: [row.get(name) for row in rows] for name in names}
    if "cls" in values:
        values["cls"] = as_indices(values["cls"]) or values["cls"]  # which writes everything as text
    table = pa.table({name: json_column(values[name]) for name in names}) if names else None
    if "cls" in names and "label" not in chosen:
        chosen["label"] = "cls"
    stand_in = next(name for name in ("image", "picture", "picture of the sample") if name not in names)
    beside = with_paths(table, stand_in, [None] * len(rows))
    file = found[0].file
    # Side files are text, as in a CSV.
    mixed = frozenset(name for name in names if name == "cls" or is_mixed(values[name]))
    given = Table(beside, origin, file.parent, file.parent.name, {}, mixed=mixed)
    source = joined(given, stand_in, chosen, pictures, ())
    if "txt" in names and source.columns.get("label") != "txt":
        source.notes = [note for note in source.notes if not note.startswith("no label column")]
    source.notes += [f"{n:,} side files {why}: not read" for why, n in unread.items()]
    return source


def _one_picture_each(found: Sequence[_Archive], chosen: Mapping[str, str], origin: str) -> None:
    """Samples of several pictures, such as an image and its mask, have no one picture that the label is of.

    Raises:
        SchemaError: there are such, and nobody said which picture is meant.
    """
    if "path" in chosen:
        return
    for one in found:
        counted = Counter(_key(name) for name in one.images)
        several = next((key for key, n in counted.items() if n > 1 and key in one.sides), None)
        if several is not None:
            endings = [_ending(name) for name in one.images if _key(name) == several]
            raise SchemaError(
                f"{origin}: sample {several} has several pictures ({', '.join(endings)}); choose one by its ending, "
                f'such as columns={{"path": "{endings[0]}"}} (--columns path={endings[0]})'
            )


def _sample(file: Path, sides: Mapping[str, str], unread: Counter[str]) -> tuple[dict[str, Any], int]:
    """The values of a sample's side files, and how many bytes they had."""
    row: dict[str, Any] = {}
    n_bytes = 0
    for ending, name in sides.items():
        try:
            data = members.read_member(str(file), name, MAX_SIDE_BYTES)
        except SchemaError:
            unread["that are damaged or too large"] += 1
            continue
        n_bytes += len(data)
        text = data.decode("utf-8-sig", "replace").strip()
        if ending != "json":
            row[ending] = text or None
            continue
        try:
            values = parse_json(text, name)
        except SchemaError:
            unread["that are not JSON"] += 1
            continue
        row |= values if isinstance(values, dict) else {"json": values}
    return row, n_bytes
