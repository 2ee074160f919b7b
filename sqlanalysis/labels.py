"""Classes, and maps from one list of classes to another.

A model with 1000 outputs meets a data set of 10 classes: `map_classes` says which outputs count as which class, by
WordNet id, by name, or by a CSV, and never guesses.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import NotFoundError, SchemaError, near_matches

WNID = re.compile(r"n\d{8}")
OUTSIDE = -1


@dataclass(frozen=True)
class Classes:
    """Class names in the order of their indices, with WordNet ids where known."""

    names: tuple[str, ...]
    wnids: tuple[str | None, ...] = ()
    named: bool = True  # False: the names are only the numbers 0, 1, 2, …

    def __post_init__(self) -> None:
        repeated = {name for name in self.names if self.names.count(name) > 1} if len(self.names) < 50_000 else set()
        if repeated:
            raise SchemaError(f"class names must differ, these repeat: {', '.join(sorted(repeated)[:5])}")
        if not self.wnids:
            object.__setattr__(self, "wnids", (None,) * len(self.names))

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class ClassMap:
    """For every model output its class in the data set, or -1 for outside."""

    to_class: tuple[int, ...]
    n_classes: int
    policy: str  # restricted or open
    matched_by: str  # wnid, name or csv


def numbered(n: int) -> Classes:
    """Classes whose names are only their indices."""
    return Classes(tuple(map(str, range(n))), named=False)


def from_keys(keys: Sequence[str]) -> Classes:
    """Classes from folder names or label values; a WordNet id of ImageNet-1k gets its readable name."""
    readable = dict(zip(imagenet1k().wnids, imagenet1k().names, strict=True))
    wnids = tuple(key if WNID.fullmatch(key) else None for key in keys)
    names = tuple(readable.get(wnid, key) if wnid else key for key, wnid in zip(keys, wnids, strict=True))
    return Classes(names, wnids)


@functools.cache
def imagenet1k() -> Classes:
    """The 1000 classes of ImageNet-1k, in the order of torchvision's weights."""
    return _read(Path(__file__).with_name("imagenet1k.csv"))


def load_classes(source: Classes | str | Path | Sequence[str] | int) -> Classes:
    """Classes from `"imagenet1k"`, a file, a list of names, or a count.

    A file is a CSV with a column `name` (and perhaps `class`, `wnid`), or plain text with one name a line.

    Raises:
        NotFoundError: no such file.
        SchemaError: names repeat, or the CSV has no column `name`.
    """
    if isinstance(source, Classes):
        return source
    if isinstance(source, int):
        return numbered(source)
    if isinstance(source, str | Path):
        if str(source) == "imagenet1k":
            return imagenet1k()
        if not Path(source).is_file():
            raise NotFoundError(f"no class file {source}; give a file, a list of names, or imagenet1k")
        return _read(Path(source))
    return from_keys([str(name) for name in source])


def _read(path: Path) -> Classes:
    if path.suffix.lower() != ".csv":
        return from_keys([line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()])
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if "name" not in (reader.fieldnames or ()):
            raise SchemaError(f"{path} has no column `name`; it has {', '.join(reader.fieldnames or ['none'])}")
        rows = list(reader)
    if rows and "class" in rows[0]:
        rows.sort(key=lambda row: int(row["class"]))
    return Classes(tuple(row["name"] for row in rows), tuple(row.get("wnid") or None for row in rows))


def map_classes(
    model: Classes, target: Classes, policy: str = "restricted", path: str | Path | None = None
) -> ClassMap:
    """Which output of `model` counts as which class of `target`.

    By the CSV at `path` when given, else by WordNet id, else by name (case, `_` and `-` do not matter); automatic maps
    must find every class of the target exactly once.

    Raises:
        SchemaError: no unambiguous map; the message names the classes without an output and how to give a CSV.
    """
    if path is not None:
        return ClassMap(_from_csv(Path(path), model, target), len(target), policy, "csv")
    if all(target.wnids):
        found = _match(model.wnids, target.wnids)
        if not _missing(found, target):
            return ClassMap(found, len(target), policy, "wnid")
    found = _match([_plain(name) for name in model.names], [_plain(name) for name in target.names])
    missing = _missing(found, target)
    if missing:
        raise SchemaError(
            f"the model's {len(model)} classes do not cover the data set's {len(target)}: no output for "
            f"{', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}; name the model's classes "
            "(classes= a list, a file or 'imagenet1k'), "
            "or give class_map= a CSV with columns from_class,to_class"
        )
    return ClassMap(found, len(target), policy, "name")


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _match(model: Sequence[str | None], target: Sequence[str | None]) -> tuple[int, ...]:
    index = {key: number for number, key in enumerate(target) if key is not None}
    return tuple(OUTSIDE if key is None else index.get(key, OUTSIDE) for key in model)


def _missing(found: Sequence[int], target: Classes) -> list[str]:
    counts = [0] * len(target)
    for number in found:
        if number != OUTSIDE:
            counts[number] += 1
    return [name for name, count in zip(target.names, counts, strict=True) if count != 1]


def _from_csv(path: Path, model: Classes, target: Classes) -> tuple[int, ...]:
    if not path.is_file():
        raise NotFoundError(f"no class map {path}; it is a CSV with columns from_class,to_class")
    found = [OUTSIDE] * len(model)
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if not {"from_class", "to_class"} <= set(reader.fieldnames or ()):
            raise SchemaError(f"{path} needs the columns from_class,to_class (names or indices)")
        for row in reader:
            found[_lookup(row["from_class"], model, path)] = _lookup(row["to_class"], target, path)
    if set(found) == {OUTSIDE}:
        raise SchemaError(f"{path} maps no class; give one line from_class,to_class for each output that counts")
    return tuple(found)


def _lookup(key: str, classes: Classes, path: Path) -> int:
    for values in (classes.names, classes.wnids):
        if key in values:
            return values.index(key)
    if key.isdigit() and int(key) < len(classes):
        return int(key)
    raise NotFoundError(f"{path}: no class {key!r}{near_matches(key, classes.names)}")
