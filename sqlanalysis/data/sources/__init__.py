"""Where images come from, one reader a form; each becomes one stream of entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ...core.classes import Classes


@dataclass(frozen=True)
class Entry:
    """One image on its way in.

    Attributes:
        uri: an absolute path, `archive.tar#name`, an address, or `sha256:…` of a picture from Python.
        data: encoded bytes, where the image has no file of its own; they are stored.
        label: a key of the source's classes (text) or a 0-based index into them.
        split: as the source says it.
        meta: JSON of the other columns.
        accepted: every right label, when there are several.
        relative: the path below the source's root, by which a moved file is found again.
    """

    uri: str
    data: bytes | None = None
    label: str | int | None = None
    split: str | None = None
    meta: str | None = None
    accepted: tuple[str | int, ...] | None = None
    relative: str | None = None


@dataclass
class Source:
    """A stream of entries and what the source says about them all.

    Attributes:
        name: default name of the data set.
        origin: what the source is, for messages and `datasets.source`.
        entries: read once.
        keys: text labels in the order of their indices.
        classes: their names, one per key, when the source has better ones than the keys; without keys, those that the
            whole numbers are indices of.
        indexed: whether the source itself says the index of each class, beside keys, too; False where keys were sorted.
        mixed: a name and a whole number among the keys, where the source does not say what is text (CSV).
        numbers: the whole numbers that the labels are, ascending, when known before the entries are read.
        split: of all entries, when the name of the folder says so.
        total: number of entries, when known.
        columns: which column was taken as what (role → column).
        found_by: how many images were found by another reading of their path (`by the end of their path`, …); filled
            while entries are read.
        left_out: what is not an entry, counted by reason (`Thumbs.db`, `__MACOSX`, …); filled while entries are read.
        notes: what a reader of the verb's report should know, one line each; filled while entries are read, too.
    """

    name: str
    origin: str
    entries: Iterable[Entry]
    keys: tuple[str, ...] = ()
    classes: Classes | None = None
    indexed: bool = False
    mixed: tuple[str, str] | None = None
    numbers: tuple[int, ...] = ()
    split: str | None = None
    total: int | None = None
    columns: dict[str, str] = field(default_factory=dict)
    found_by: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
