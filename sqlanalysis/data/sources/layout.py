"""What the folders in a list of names say, where there is no disk to look at: archives and addresses.

The rule is that of `folder`: one folder per class, perhaps below one folder per split, perhaps all below one wrapper.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...core import decode
from ...core.text import decodable
from .folder import TRANSPARENT, is_split, upper_level
from .listing import counted_as
from .listing import junk_of as junk_of
from .values import name as normal

_Parts = tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Where the names of a list lie.

    Attributes:
        prefix: folders that everything lies in.
        splits: the folders that are splits.
        keys: the class folders, sorted.
        notes: levels that could be the classes as well.
    """

    prefix: _Parts
    splits: frozenset[str]
    keys: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def place(self, name: str) -> tuple[str | None, str | None] | None:
        """Label and split of a name; None for one that lies beside the splits."""
        parts = _folders(name)[len(self.prefix) :]
        split = parts[0] if parts and parts[0] in self.splits else None
        if self.splits and split is None:
            return None
        return _label(parts[1:] if split else parts, split), split


def what_is(name: str) -> str | None:
    """None for an image by its ending; else what to count the name as: junk, or its ending."""
    parts = [part for part in name.split("/") if part not in (".", "..")] or [name]
    junk = next((known for known in map(junk_of, parts) if known is not None), None)
    if junk is not None:
        return junk
    return None if name.lower().endswith(decode.SUFFIXES) else counted_as(parts[-1])


def arrange(names: Iterable[str]) -> Layout:
    """Wrapper, splits and classes of the folders of these images."""
    folders = {_folders(name) for name in names}
    prefix: _Parts = ()
    while _is_wrapped(folders):
        first = next(iter(folders))[0]
        prefix, folders = (*prefix, first), {parts[1:] for parts in folders}
    tops = {parts[0] for parts in folders if parts}
    usual = {top for top in tops if is_split(top)}
    with_classes = {parts[0] for parts in folders if parts and parts[0] in usual and _label(parts[1:], parts[0])}
    splits = frozenset(usual if len(usual) == len(tops) or len(usual) > 1 or with_classes else ())
    placed = [(parts[1:], parts[0]) if parts and parts[0] in splits else (parts, None) for parts in folders]
    inside = [(parts, split) for parts, split in placed if split or not splits]
    keys = sorted({key for key in (_label(parts, split) for parts, split in inside) if key is not None})
    below: dict[str, set[str]] = {key: set() for key in keys}
    direct = set()
    for parts, split in inside:
        key, rest = _label(parts, split), _said(parts, split)[1:]
        if key is not None and not rest:
            direct.add(key)
        elif key is not None:
            below[key] |= {name for name in rest[:1] if not is_split(name)}
    notes = upper_level(below) if len(keys) > 1 and not direct else []
    return Layout(prefix, splits, tuple(keys), tuple(notes))


def _folders(name: str) -> _Parts:
    return tuple(part for part in name.split("/")[:-1] if part not in ("", ".", ".."))


def _label(parts: _Parts, split: str | None) -> str | None:
    return next(iter(_said(parts, split)), None)


def _said(parts: _Parts, split: str | None) -> list[str]:
    """The folders that say something about an image, from the top down."""
    return [normal(decodable(part)) for part in parts if part.lower() not in TRANSPARENT and part != split]


def _is_wrapped(folders: set[_Parts]) -> bool:
    """Whether all lies in one folder that is neither a split nor a class: folders that mean something lie in it."""
    if not folders or () in folders:
        return False
    tops = {parts[0] for parts in folders}
    first = next(iter(tops))
    inside = any(part.lower() not in TRANSPARENT for parts in folders for part in parts[1:])
    return len(tops) == 1 and inside and not is_split(first) and first.lower() not in TRANSPARENT
