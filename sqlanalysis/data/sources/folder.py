"""Images in folders: one folder per class, perhaps below split folders, with or without a table of their labels."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from ...core import decode
from ...core.classes import Classes, from_keys
from ...core.text import decodable
from ...errors import ArgumentError, NotFoundError, SchemaError
from .. import columns
from . import Entry, Source, manifest
from .listing import (
    EMPTY,
    IMAGES,
    MAX_DEPTH,
    OTHER,
    Listing,
    check_depth,
    content_of,
    counted_as,
    folders_above,
    is_image,
    list_folder,
)
from .table import FORMATS, Table, read_table, table_files
from .values import name as normal

SPLIT_WORDS = frozenset(
    (
        *("train", "training", "trainval", "val", "valid", "validation", "dev", "development"),
        *("test", "testing", "eval", "evaluation", "holdout", "heldout"),
    )
)
# Words that may stand beside a split word without another meaning: `test_set`, `val_images`.
_BESIDE_SPLIT_WORDS = frozenset(("set", "split", "data", "images", "imgs"))
TRANSPARENT = frozenset(("images", "imgs", "image", "img"))
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")  # of Hugging Face's imagefolder
_ANNOTATIONS = "_annotations.txt"  # of Tiny-ImageNet: val/val_annotations.txt

__all__ = ["from_folder", "is_image", "is_split", "parquet_shards"]

_Parts = tuple[str, ...]  # names of the folders from the top down to one


def is_split(folder: str) -> bool:
    """Whether a folder has a usual name of a split: `train`, `Validation`, `dev`, `test_set`, `hold-out`, `val2017`."""
    text = re.sub(r"^(hold|held)_out", r"\1out", columns.plain(folder))
    words = re.sub(r"_?[0-9]+$", "", text).split("_")
    words = [re.sub(r"(?<=.)(set|split)$", "", word) for word in words]
    return not SPLIT_WORDS.isdisjoint(words) and all(word in SPLIT_WORDS | _BESIDE_SPLIT_WORDS for word in words)


def parquet_shards(root: Path) -> list[Path]:
    """The Parquet files of a folder that holds a data set in shards, or has them in `data/`; none in one of images."""
    for folder in (root, root / "data"):
        pattern = os.path.join(glob.escape(str(folder)), "*.parquet")
        files = [file for file in table_files(pattern) if file.name.lower() not in METADATA]
        if files:
            return [] if content_of(str(root)) == IMAGES else files
    return []


def from_folder(root: Path, chosen: Mapping[str, str] | None = None) -> Source:
    """The images below a folder; what is a class, a split, or neither is said in the docstring of `add_images`.

    Args:
        root: an absolute path.
        chosen: columns of a metadata file that the caller named, role → column.

    Raises:
        NotFoundError: no image below the folder, or a folder in it cannot be read.
        SchemaError: folders or tables of labels that can be read in two ways.
        ArgumentError: columns are named, and there is no table.
    """
    return _Tree(root, chosen or {}).source()


@dataclass(frozen=True)
class _Labels:
    """A table of labels in a folder, for the images below it."""

    file: str
    parts: _Parts
    source: Source

    @property
    def has_labels(self) -> bool:
        return "label" in self.source.columns


class _Tree:
    """One folder while it is read."""

    def __init__(self, root: Path, chosen: Mapping[str, str]) -> None:
        self.root, self.chosen = str(root), chosen
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []
        self.not_classes: list[str] = []
        self.shared = False  # whether the same folders lie in several of the upper ones, and that is said
        self.inner_splits: set[str] = set()
        self._listings: dict[str, Listing] = {}  # while it is settled what is what
        self._contents: dict[str, str] = {}
        self.top = self.root
        self.prefix = self._wrappers()
        self.top = os.path.join(self.root, *self.prefix)
        self.splits = self._splits()
        self.tables = list(self._tables())
        self.unread = [] if self.tables else self._unread_tables()

    def source(self) -> Source:
        if self.chosen and not self.tables:
            raise ArgumentError(
                f"columns names columns of a table; {self.root} is a folder without {', '.join(METADATA)}"
            )
        keys = self._folder_classes()
        if content_of(self.root) != IMAGES:
            self._refuse_empty()
        given = Path(self.root)
        split_of_all = None if self.splits or not is_split(given.name) else given.name
        source = Source(
            name=(split_of_all and given.parent.name) or given.name,
            origin=self.root,
            entries=(),
            split=split_of_all,
            left_out=self.left_out,
            notes=self.notes,
        )
        inside = [one.source for one in self.tables]
        source.keys, source.classes, source.numbers = _merge(self.root, keys, inside)
        source.indexed = not keys and len(inside) == 1 and inside[0].indexed
        source.mixed = next((one.mixed for one in inside if one.mixed), None)
        for table in self.tables:
            source.columns |= table.source.columns
            self.notes += [note for note in table.source.notes if not keys]
        if not source.keys and not source.numbers:
            self.notes += [
                f"{file} lies beside the images and was not read; if it has their labels, add it in place of the folder"
                for file in self.unread
            ]
        self._listings.clear()
        source.entries = self._entries(source)
        return source

    # What is where

    def _list(self, parts: _Parts) -> Listing:
        folder = os.path.join(self.top, *parts)
        if folder not in self._listings:
            self._listings[folder] = list_folder(folder)
        return self._listings[folder]

    def _content(self, parts: _Parts) -> str:
        folder = os.path.join(self.top, *parts)
        if folder not in self._contents:
            self._contents[folder] = content_of(folder)
        return self._contents[folder]

    def _tables_in(self, parts: _Parts) -> list[str]:
        return _table_names(self._list(parts), os.path.join(self.top, *parts))

    def _wrappers(self) -> _Parts:
        """Folders to go through because each is all there is: `photos/photos/cat/…`."""
        parts: _Parts = ()
        while len(parts) < MAX_DEPTH:
            listing = self._list(parts)
            contents = {name: self._content((*parts, name)) for name in listing.folders}
            full = [name for name in listing.folders if contents[name] == IMAGES]
            is_wrapper = (
                len(full) == 1
                and EMPTY not in contents.values()
                and not listing.images
                and not self._tables_in(parts)
                and not is_split(full[0])
                and (_is_transparent(full[0]) or _holds_more(os.path.join(self.top, *parts, full[0])))
            )
            if not is_wrapper:
                break
            parts = (*parts, full[0])
        if not all(map(_is_transparent, parts)):
            self.notes.append(f"everything lies in {'/'.join(parts)}/: read from there on")
        return parts

    def _splits(self) -> tuple[str, ...]:
        """The folders that are splits; none when those that are named so are classes, or all one set."""
        listing = self._list(())
        full = [name for name in listing.folders if self._content((name,)) != OTHER]
        usual = tuple(name for name in full if is_split(name))
        if usual and (len(usual) == len(full) or len(usual) > 1 or any(map(self._has_classes, usual))):
            return usual
        return () if usual else self._unusual_splits(full)

    def _has_classes(self, split: str) -> bool:
        """Whether a folder holds class folders with images, or a table of labels."""
        return bool(self._class_folders((split,), split)) or bool(self._tables_in((split,)))

    def _unusual_splits(self, full: list[str]) -> tuple[str, ...]:
        """Folders such as `seg_train` and `seg_test`: a split word in the name of each, and the same class folders."""
        inside = {name: set(self._class_folders((name,), name)) for name in full}
        counted = Counter(key for keys in inside.values() for key in keys)
        shared = sorted(key for key, count in counted.items() if count > 1 and not is_split(key))
        if not shared:
            return ()
        found = tuple(name for name in full if SPLIT_WORDS & set(columns.plain(name).split("_")))
        holders = [name for name in full if inside[name] & set(shared)]
        self.shared = True
        if len(found) > 1 and set(holders) <= set(found):
            self.notes.append(f"taken as splits: {_some(f'{name}/' for name in found)}")
            return found
        self.notes.append(
            f"the labels are {_some(holders)}, and these folders share sub-folders ({_some(shared)}); "
            "if those are the classes, add the folders one by one with split="
        )
        return ()

    def _class_folders(self, parts: _Parts, split: str | None) -> dict[str, _Parts]:
        """The folders with images at the level of the classes, also below `images/`: key → where it lies."""
        found: dict[str, _Parts] = {}
        for name in self._list(parts).folders:
            inside = (*parts, name)
            if _is_transparent(name, split):
                found |= self._class_folders(inside, split)
            elif self._content(inside) == IMAGES:
                found[_key(name)] = inside
        return found

    def _tables(self) -> Iterator[_Labels]:
        """Tables of labels: in the top folder, in the splits, and in `images/` in one of these."""
        for level in [(), *((split,) for split in self.splits)]:
            inside = [(*level, name) for name in self._list(level).folders if _is_transparent(name)]
            for parts in [level, *inside]:
                names = self._tables_in(parts)
                if len(names) > 1:
                    here = os.path.join(self.top, *parts)
                    raise SchemaError(f"{here} holds {' and '.join(names)}; keep the one that has the labels")
                for name in names:
                    source = self._read_labels(os.path.join(self.top, *parts, name))
                    if source is not None:
                        yield _Labels("/".join((*parts, name)), parts, source)

    def _read_labels(self, file: str) -> Source | None:
        """A table of labels as a source; None, and a note, when it has no column of file names."""
        table = _read_annotations(file) if file.lower().endswith(_ANNOTATIONS) else read_table(file)
        names = table.rows.column_names
        chosen = {role: column for role, column in self.chosen.items() if role == "path"}
        if columns.find(names, ("path",), chosen, file)["path"] is None:
            self.notes.append(f"{file} was not read: no column of file names (file_name) among {_some(names)}")
            return None
        source = manifest.from_table(table, self.chosen)
        first = [str(value) for value in table.rows[source.columns["path"]].slice(0, 1000).to_pylist()]
        if first and not any(os.path.exists(manifest.locate(value, table.root)) for value in first):
            raise SchemaError(
                f"{file} names no file that is there, such as {first[0]!r}; file names start at the folder of the table"
            )
        return source

    def _unread_tables(self) -> list[str]:
        """Tables that lie beside the images, and could have their labels."""
        levels = [self.root, self.top, *(os.path.join(self.top, split) for split in self.splits)]
        return [
            os.path.relpath(os.path.join(folder, name), self.root)
            for folder in dict.fromkeys(levels)
            for name in list_folder(folder).others
            if os.path.splitext(name)[1].lower() in FORMATS
        ]

    # Classes

    def _folder_classes(self) -> list[str]:
        """Names of the class folders, where folders give the labels; an empty folder is a class, too."""
        labeled = {table.parts for table in self.tables if table.has_labels}
        if () in labeled:
            return []
        keys: set[str] = set()
        for split in self.splits or (None,):
            parts = (split,) if split is not None else ()
            if parts not in labeled:
                keys |= self._classes_at(parts, split, labeled)
        return sorted(keys)

    def _classes_at(self, parts: _Parts, split: str | None, labeled: set[_Parts]) -> set[str]:
        folders = self._list(parts).folders
        contents = {name: self._content((*parts, name)) for name in folders}
        within = [name for name in folders if _is_transparent(name, split) and contents[name] == IMAGES]
        beside = [name for name in folders if contents[name] == IMAGES and name not in within]
        if within and len(within) + len(beside) > 1:
            here = os.path.join(self.top, *parts)
            raise SchemaError(
                f"{here} holds {within[0]}/ and {_some(f'{name}/' for name in [*within[1:], *beside])} with images: "
                f"if the images are those of {within[0]}/, add {os.path.join(here, within[0])}; if {within[0]} is a "
                "class like the others, rename that folder"
            )
        keys = {
            _key(name) for name in folders if not _is_transparent(name, split) and contents[name] in (IMAGES, EMPTY)
        }
        if not self.shared and len(beside) > 1:
            self.notes += upper_level(self._classes_below(parts, beside))
        self.not_classes += [f"{'/'.join((*parts, name))}/" for name in folders if contents[name] == OTHER]
        for name in within:
            if (*parts, name) not in labeled:
                keys |= self._classes_at((*parts, name), split, labeled)
        return keys

    def _classes_below(self, parts: _Parts, names: list[str]) -> dict[str, set[str]]:
        """The folders below each class that could be classes themselves; none where images lie beside them."""
        found: dict[str, set[str]] = {}
        for name in names:
            if list_folder(os.path.join(self.top, *parts, name)).images:  # not kept: there may be a million
                return {}
            found[name] = {key for key in self._class_folders((*parts, name), None) if not is_split(key)}
        return found

    def _label_and_split(self, parts: _Parts) -> tuple[str | None, str | None]:
        """What the folders say about the images in one of them."""
        label = split = None
        for level, name in enumerate(parts):
            if level == 0 and name in self.splits:
                split = name
            elif label is None:
                label = None if _is_transparent(name, split) else _key(name)
            elif split is None and is_split(name):  # MVTec AD: bottle/train/good
                split = name
                self.inner_splits.add(name)
        return label, split

    # Entries

    def _entries(self, source: Source) -> Iterator[Entry]:
        seen: set[str] = set()
        for table in self.tables:
            yield from self._listed(table, seen, source)
            source.found_by.update(table.source.found_by)
        labeled = [table for table in self.tables if table.has_labels]
        unnamed: Counter[str] = Counter()
        beside: Counter[str] = Counter()
        for path, listing in self._walk():
            parts = path[len(self.prefix) :]
            if path[: len(self.prefix)] != self.prefix:
                continue
            if self.splits and (not parts or parts[0] not in self.splits):
                if listing.images:
                    beside[f"{parts[0]}/" if parts else ""] += len(listing.images)
                continue
            label, split = self._label_and_split(parts)
            by_table = next((one for one in reversed(labeled) if parts[: len(one.parts)] == one.parts), None)
            folder, relative = os.path.join(self.root, *path), "/".join((*path, ""))
            for name in listing.images:
                uri = os.path.join(folder, name)
                if uri in seen:
                    continue
                if by_table is not None:
                    unnamed[by_table.file] += 1
                yield Entry(
                    uri,
                    label=label if by_table is None else None,
                    split=decodable(split) if split else None,
                    relative=_key(relative + name),
                )
        self._finish(unnamed, beside)

    def _listed(self, table: _Labels, seen: set[str], source: Source) -> Iterator[Entry]:
        """The entries of a table; the folders say what it does not."""
        n_differ = 0
        for entry in table.source.entries:
            seen.add(entry.uri)
            below = os.path.relpath(entry.uri, self.top).split(os.sep) if entry.uri else [".."]
            outside = below[0] == ".." or "://" in entry.uri
            label: str | int | None
            label, split = (None, None) if outside else self._label_and_split(tuple(below[:-1]))
            if table.has_labels:
                n_differ += None not in (label, entry.label) and label != _as_named(entry.label, table.source.classes)
                is_name = isinstance(entry.label, int) and entry.label >= 0 and source.keys
                label = str(entry.label) if is_name else entry.label
            relative = None if outside else _key("/".join((*self.prefix, *below)))
            yield replace(
                entry,
                label=label,
                split=entry.split or (decodable(split) if split else None),
                relative=relative or entry.relative,
            )
        if n_differ:
            self.notes.append(f"the labels are those of {table.file}; the folders of {_images(n_differ)} say others")

    def _walk(self) -> Iterator[tuple[_Parts, Listing]]:
        """Every folder below the root, in order; what is left out is counted."""
        tables = {"/".join((*self.prefix, one.file)) for one in self.tables}
        stack: list[tuple[_Parts, _Parts]] = [((), ())]
        while stack:
            parts, above = stack.pop()
            folder = os.path.join(self.root, *parts)
            check_depth(folder, len(parts))
            above = (*above, os.path.realpath(folder)) if above else folders_above(folder)
            listing = list_folder(folder, above)
            self.left_out.update(listing.skipped)
            self.left_out.update(counted_as(name) for name in listing.others if "/".join((*parts, name)) not in tables)
            yield parts, listing
            stack += [((*parts, name), above) for name in reversed(listing.folders)]

    def _finish(self, unnamed: Counter[str], beside: Counter[str]) -> None:
        """What is known only after the last entry."""
        for file, n in unnamed.items():
            self.notes.append(f"{_images(n)} not named in {file}: no label")
        if beside:
            self.left_out["images beside the splits"] += beside.total()
            told = [f"{name} ({_images(n)})" if name else _images(n) for name, n in sorted(beside.items())]
            self.notes.append(f"left out beside {_some(f'{name}/' for name in self.splits)}: {', '.join(told)}")
        if self.not_classes:
            self.notes.append(f"no classes, since they hold other files and no image: {_some(self.not_classes)}")
        if self.inner_splits:
            self.notes.append(f"folders inside the classes were taken as splits: {_some(sorted(self.inner_splits))}")

    def _refuse_empty(self) -> None:
        for _ in self._walk():
            pass
        counted = ", ".join(f"{n} {what}" for what, n in self.left_out.most_common(5))
        there = f"; there are: {counted}" if counted else ""
        raise NotFoundError(f"no image below {self.root}{there}; looked for {', '.join(decode.SUFFIXES)}")


def upper_level(below: Mapping[str, set[str]]) -> list[str]:
    """A note where every class folder holds nothing but further folders: either level could be the classes."""
    if not below or not all(below.values()):
        return []
    inside = sorted(set().union(*below.values()))
    return [
        f"the labels are the upper folders ({_some(sorted(below))}), not those inside ({_some(inside)}); if those are "
        "the classes, add the upper folders one by one to one dataset="
    ]


def _is_transparent(name: str, split: str | None = None) -> bool:
    """Whether a folder says nothing about its images: `images/`, or a split in itself (`seg_train/seg_train/`)."""
    return name.lower() in TRANSPARENT or (split is not None and columns.plain(name) == columns.plain(split))


def _holds_more(folder: str) -> bool:
    """Whether a folder has class folders, splits or a table of labels, and so is no class itself."""
    listing = list_folder(folder)
    below = [(name, os.path.join(folder, name)) for name in listing.folders]
    return bool(_table_names(listing, folder)) or any(
        _holds_more(path) if _is_transparent(name) else content_of(path) == IMAGES for name, path in below
    )


def _table_names(listing: Listing, folder: str) -> list[str]:
    """Files that give labels: those of Hugging Face's imagefolder, and Tiny-ImageNet's `val/val_annotations.txt`."""
    annotations = f"{os.path.basename(folder)}{_ANNOTATIONS}".lower()
    return [name for name in listing.others if name.lower() in (*METADATA, annotations)]


def _read_annotations(file: str) -> Table:
    """Tiny-ImageNet's list of `val/images/`: file name, class, and a box, with tabs between.

    Raises:
        SchemaError: it is not such a list.
    """
    folder = Path(file).parent
    try:
        lines = [line.split("\t") for line in Path(file).read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(f"{file} cannot be read: {error}") from error
    if any(len(line) < 2 for line in lines):
        raise SchemaError(f"{file} does not hold a file name, a tab and a class in each line; move it away, or mend it")
    names, labels = ([line[column].strip() for line in lines] for column in (0, 1))
    images = next((folder / name for name in ("images", "imgs") if (folder / name).is_dir()), folder)
    rows = pa.table({"file_name": pa.array(names, pa.string()), "label": pa.array(labels, pa.string())})
    return Table(rows, file, images, folder.name, {})


def _merge(
    root: str, keys: list[str], sources: list[Source]
) -> tuple[tuple[str, ...], Classes | None, tuple[int, ...]]:
    """Text labels, their classes, and labels that are numbers, of class folders and tables together.

    Raises:
        SchemaError: names here and numbers there.
    """
    labeled = [source for source in sources if source.keys or source.numbers]
    if len(labeled) == 1 and not keys:
        return labeled[0].keys, labeled[0].classes, labeled[0].numbers
    numbers = {number for source in labeled for number in source.numbers}
    if numbers:
        lists = {source.classes.names if source.classes else None for source in labeled}
        if keys or any(source.keys for source in labeled) or len(lists) > 1:
            raise SchemaError(
                f"{root}: labels are numbers in {', '.join(one.origin for one in labeled if one.numbers)}, and names "
                "elsewhere: a number could be an index or a name; write all as names, or add the folders one by one"
            )
        return (), labeled[0].classes, tuple(sorted(numbers))
    found = tuple(sorted({*keys, *(key for source in labeled for key in source.keys)}))
    named = {
        key: name
        for source in labeled
        if source.classes is not None
        for key, name in zip(source.keys, source.classes.names, strict=True)
    }
    if not found:
        return (), None, ()
    usual = from_keys(found)
    names = tuple(named.get(key, name) for key, name in zip(found, usual.names, strict=True))
    return found, Classes(names, usual.wnids), ()


def _as_named(label: str | int | None, classes: Classes | None) -> str:
    """A label as a folder would be called."""
    if isinstance(label, int) and classes is not None and 0 <= label < len(classes):
        return classes.names[label]
    return str(label)


def _key(name: str) -> str:
    """A name as text in Unicode's normal form NFC."""
    return normal(decodable(name))


def _images(n: int) -> str:
    return f"{n:,} image{'s' * (n != 1)}"


def _some(names: Iterable[str]) -> str:
    found = [decodable(name) for name in names]
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
