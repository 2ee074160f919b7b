"""What a folder on the disk holds: folders, images, other files, and what no data set means."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...core import decode
from ...core.text import decodable
from ...errors import NotFoundError, SchemaError

MAX_DEPTH = 64  # of folders below each other
IMAGES, OTHER, EMPTY = "images", "other files", "nothing"  # what a folder holds
# What systems leave in folders, by its name in lower case.
_JUNK = {
    "__macosx": "__MACOSX",
    ".ds_store": ".DS_Store",
    "thumbs.db": "Thumbs.db",
    "ehthumbs.db": "Thumbs.db",
    "desktop.ini": "desktop.ini",
    "@eadir": "@eaDir",
}
_USUAL_ENDING = re.compile(r"\.[a-z][a-z0-9]{0,9}", re.IGNORECASE)


@dataclass(frozen=True)
class Listing:
    """What one folder holds, each sorted by name."""

    folders: list[str]
    images: list[str]
    others: list[str]
    skipped: Counter[str]


def is_image(file: str | Path) -> bool:
    """Whether a file is taken for an image: by its ending, or by its first bytes where it has no usual ending."""
    base = os.path.basename(file).lower()
    if base.endswith(decode.SUFFIXES):
        return True
    if _USUAL_ENDING.fullmatch(os.path.splitext(base)[1]) or not os.path.isfile(file):
        return False
    try:
        with open(file, "rb") as stream:
            return decode.looks_like_image(stream.read(decode.MAGIC_BYTES))
    except OSError:
        return False


def list_folder(folder: str, above: tuple[str, ...] = ()) -> Listing:
    """What a folder holds, without junk, dot files, and links back to a folder `above` (default: those it lies in)."""
    listing = Listing([], [], [], Counter())
    for entry, is_folder in _scan(folder):
        junk = junk_of(entry.name)
        if junk is not None:
            listing.skipped[junk] += 1
        elif is_folder and _leads_back(entry, above or folders_above(folder)):
            listing.skipped["links to a folder above"] += 1
        elif is_folder:
            listing.folders.append(entry.name)
        else:
            (listing.images if is_image(entry.path) else listing.others).append(entry.name)
    for names in (listing.folders, listing.images, listing.others):
        names.sort()
    return listing


def content_of(folder: str, above: tuple[str, ...] = (), depth: int = 0) -> str:
    """Whether a folder holds images somewhere, only other files, or nothing; stops at the first image."""
    check_depth(folder, depth)
    above = (*above, os.path.realpath(folder)) if above else folders_above(folder)
    found, folders = EMPTY, []
    for entry, is_folder in _scan(folder):
        if junk_of(entry.name) is not None:
            continue
        if is_folder:
            if not _leads_back(entry, above):
                folders.append(entry.path)
        elif is_image(entry.path):
            return IMAGES
        else:
            found = OTHER
    for path in folders:
        inside = content_of(path, above, depth + 1)
        if inside == IMAGES:
            return IMAGES
        found = OTHER if inside == OTHER else found
    return found


def check_depth(folder: str, depth: int) -> None:
    """Refuse folders below folders without end.

    Raises:
        SchemaError: deeper than `MAX_DEPTH`.
    """
    if depth > MAX_DEPTH:
        raise SchemaError(f"{folder} lies more than {MAX_DEPTH} folders deep; add folders further down")


def _scan(folder: str) -> Iterator[tuple[os.DirEntry[str], bool]]:
    """The entries of a folder, each with whether it is a folder itself."""
    try:
        with os.scandir(folder) as found:
            for entry in found:
                yield entry, os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
    except OSError as error:
        raise NotFoundError(f"{folder} cannot be read: {error.strerror or error}") from error


def folders_above(folder: str) -> tuple[str, ...]:
    """The real paths of a folder and all folders above it: a link to one of them leads back."""
    real = Path(os.path.realpath(folder))
    return (str(real), *map(str, real.parents))


def _leads_back(entry: os.DirEntry[str], above: tuple[str, ...]) -> bool:
    return entry.is_symlink() and os.path.realpath(entry.path) in above


def junk_of(name: str) -> str | None:
    """What to count a name as that no data set means, such as `Thumbs.db`; None for others."""
    known = _JUNK.get(name.lower())
    if known is None and name.startswith("."):
        return "._*" if name.startswith("._") else "hidden files"
    return known


def counted_as(name: str) -> str:
    """What to count another file as: `*.txt`."""
    ending = os.path.splitext(name)[1].lower()
    return f"*{decodable(ending)}" if _USUAL_ENDING.fullmatch(ending) else "files without a usual ending"
