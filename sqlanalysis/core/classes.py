"""Classes, and maps from one list of classes to another.

A model with 1000 outputs meets a data set of 10 classes: `map_classes` says which outputs count as which class, by
WordNet id, by name, or by a CSV, and never guesses.
"""

from __future__ import annotations

import csv
import functools
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ArgumentError, NotFoundError, SchemaError, near_matches
from .parsing import parse_json

if TYPE_CHECKING:
    import pyarrow as pa

WNID = re.compile(r"n\d{8}")
OUTSIDE = -1
MAX_NUMBERED = 100_000  # classes that integer labels may bring about by themselves
_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


@dataclass(frozen=True)
class Classes:
    """Class names in the order of their indices, with WordNet ids where known."""

    names: tuple[str, ...]
    wnids: tuple[str | None, ...] = ()
    named: bool = True  # False: the names are only the numbers 0, 1, 2, …

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(unicodedata.normalize("NFC", name) for name in self.names))
        if len(set(self.names)) < len(self.names):
            repeated = sorted(name for name, count in Counter(self.names).items() if count > 1)
            raise SchemaError(f"class names must differ, these repeat: {', '.join(repeated[:5])}")
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


def imagenet1k_tree() -> pa.Table:
    """WordNet's tree over the classes of ImageNet-1k, for the macros `hierarchy` and `hierarchical_distance`.

    Returns:
        One row per class and per node above them: `class` and `parent`, by name; the names of the classes are those of
        `imagenet1k`, other nodes have the first word of their synset. Where WordNet has several parents, the first.
    """
    from pyarrow import csv as arrow_csv

    options = arrow_csv.ConvertOptions(strings_can_be_null=True)
    return arrow_csv.read_csv(Path(__file__).with_name("imagenet1k_tree.csv"), convert_options=options)


def load_classes(source: Classes | str | Path | Sequence[str] | int) -> Classes:
    """Classes from `"imagenet1k"`, a file, a folder, a list of names, or a count.

    A file is a CSV with a column `name` (and perhaps `class` or `index`, the indices 0 … n - 1, and `wnid`), plain
    text with one name a line, or JSON: a list of names, index → name, name → index, or settings with `id2label`. Of a
    folder, the sub-folders in sorted order are the classes, as torchvision's `ImageFolder` reads it.

    Raises:
        ArgumentError: no classes at all.
        NotFoundError: no such file.
        SchemaError: names repeat, the CSV has no column `name`, indices have gaps, the file is not UTF-8, is YAML, or
            has a number before every name, or the order of a folder is not certain.
    """
    classes = Classes(()) if source == "" else _load(source)  # as a path, "" is the current folder
    if not len(classes):
        raise ArgumentError("classes= names no class; give a name for each output, or their number")
    return classes


def _load(source: Classes | str | Path | Sequence[str] | int) -> Classes:
    if isinstance(source, Classes):
        return source
    if isinstance(source, int):
        return numbered(source)
    if isinstance(source, Mapping):
        return from_indices(dict(source), "classes=")
    if isinstance(source, set | frozenset):
        raise ArgumentError("classes= is a set, which has no order; give a list of names in the order of the indices")
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if str(source) == "imagenet1k":
            return imagenet1k()
        if path.is_dir():
            return _from_folder(path)
        if not path.is_file():
            raise NotFoundError(
                f"no class file {source}; give classes= a file, a folder of classes, a list of names, or imagenet1k"
            )
        return _read(path)
    return from_keys([str(name) for name in source])


def _from_folder(folder: Path) -> Classes:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise SchemaError(f"{folder} has no sub-folders; one for each class is needed")
    if all(name.lower() in _SPLITS for name in names):
        raise SchemaError(f"{folder} has the splits {', '.join(names)}; give one of them, such as {folder / names[0]}")
    if is_sorted_as_text(names):
        counted = some(sorted(names, key=_by_number))
        raise SchemaError(
            f"{folder}: sorted as text its classes are {some(names)}, by number {counted}; give classes= a "
            "list in the order of the outputs"
        )
    return from_keys(names)


def from_indices(named: object, origin: str | Path) -> Classes:
    """Classes from what JSON says: a list of names, index → name (or [WordNet id, name]), or name → index.

    Raises:
        SchemaError: something else, or the indices are not 0 … n - 1.
    """
    if isinstance(named, list | tuple) and all(isinstance(name, str) for name in named):
        return from_keys([str(name) for name in named])
    if not isinstance(named, dict):
        raise SchemaError(f"{origin}: classes are a list of names, index → name, or name → index")
    for key in ("id2label", "names", "label_names", "class_to_idx", "label2id", "classes"):
        if isinstance(named.get(key), dict | list):
            return from_indices(named[key], origin)
    if named and all(isinstance(value, int) for value in named.values()):
        if len(set(named.values())) < len(named):
            raise SchemaError(f"{origin} gives two names the same index; it must have each index once")
        named = {index: name for name, index in named.items()}
    by_index = {str(index): name for index, name in named.items()}
    if sorted(by_index) != sorted(map(str, range(len(by_index)))):
        raise SchemaError(f"{origin} must have each index of 0 … {len(by_index) - 1} once")
    ordered = [by_index[str(index)] for index in range(len(by_index))]
    if all(isinstance(name, list) and len(name) == 2 for name in ordered):
        return Classes(tuple(str(name) for _, name in ordered), tuple(str(wnid) for wnid, _ in ordered))
    if not all(isinstance(name, str) for name in ordered):
        raise SchemaError(f"{origin}: the name of a class must be text")
    return from_keys([str(name) for name in ordered])


def _read(path: Path) -> Classes:
    if path.suffix.lower() == ".json":
        return from_indices(parse_json(_read_text(path), path), path)
    if path.suffix.lower() in (".yaml", ".yml", ".jsonl"):
        raise SchemaError(f"{path}: write the class names as a CSV with columns class and name, or one name a line")
    if path.suffix.lower() != ".csv":
        lines = [line.strip() for line in _read_text(path).splitlines() if line.strip()]
        if len(lines) > 1 and all(re.match(r"\d+[\s:,;]+\S", line) for line in lines):
            raise SchemaError(
                f"{path} has a number before every name; write a CSV with columns class and name, or names alone"
            )
        return from_keys(lines)
    reader = csv.DictReader(io.StringIO(_read_text(path)))
    if "name" not in (reader.fieldnames or ()):
        raise SchemaError(f"{path} has no column `name`; it has {', '.join(reader.fieldnames or ['none'])}")
    rows = list(reader)
    if not all(row["name"] for row in rows):
        raise SchemaError(f"{path} has a line without a name; give every class one")
    index = next((name for name in ("class", "index", "idx", "id", "label") if rows and name in rows[0]), None)
    if index is not None:
        places = {str(row[index]).strip(): row for row in rows}
        wanted = [str(number) for number in range(len(rows))]
        if sorted(places) != sorted(wanted):
            raise SchemaError(
                f"{path}: column `{index}` must hold each of 0 … {len(rows) - 1} once; leave it out or repair it"
            )
        rows = [places[number] for number in wanted]
    return Classes(tuple(row["name"] for row in rows), tuple(row.get("wnid") or None for row in rows))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SchemaError(f"{path} is not UTF-8; save it in that encoding") from None
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}") from error


def misleading(names: Sequence[str]) -> str | None:
    """The first name that is a number other than its own index: with it, a number may mean a name or an index."""
    return next((name for index, name in enumerate(names) if name.isdecimal() and int(name) != index), None)


class Space:
    """The label space of one data set while images come in: label of a source → class, growing as needed."""

    def __init__(self, name: str, known: Classes, used_by: str | None = None, n_indexed: int = 0) -> None:
        """`used_by` names a run whose outputs are in this space: it can no longer change.

        `n_indexed`: of how many classes, from the first on, somebody said the index; the others stand in the order of
        their text, or of arrival, which says nothing about numbers.
        """
        self.name, self.used_by, self.n_saved, self.n_indexed = name, used_by, len(known), n_indexed
        self._order: list[int] | None = None  # for each class of the source, its class here
        self._take(known)

    def _take(self, classes: Classes) -> None:
        self.names, self.wnids = list(classes.names), list(classes.wnids)
        self.numbered = classes.names == numbered(len(classes)).names
        self._misleading = misleading(classes.names)
        pairs = enumerate(zip(classes.names, classes.wnids, strict=True))
        self._index = {key: number for number, keys in pairs for key in keys if key}

    def use(self, classes: Classes, keys: Sequence[str] = (), *, ordered: bool = True) -> None:
        """Take up the classes of a source; from now on an integer label is an index into these.

        Args:
            classes: in the order of the source. Those not known yet are added, by name or WordNet id; when the space
                has only numbers so far, they become its names.
            keys: text labels of the source, one per class, when they are not the names themselves.
            ordered: False when the order only comes from sorting keys, and so says nothing about numbers.

        Raises:
            SchemaError: the classes do not fit those there are.
        """
        if self.numbered and self.names:
            self._name_numbers(classes, ordered)
        self._order = [self._add(name, wnid) for name, wnid in zip(classes.names, classes.wnids, strict=True)]
        if ordered and self._order == list(range(len(classes))) and len(classes) > self.n_indexed:
            self.n_indexed, self.n_saved = len(classes), 0  # all are written again
        for key, number in zip(keys, self._order if keys else (), strict=True):
            if self._index.setdefault(key, number) != number:
                raise SchemaError(
                    f"label {key!r} is a class of {self.name!r} already, and this source names it "
                    f"{self.names[number]!r}: the same class, or another? write the same names as before, or add these "
                    "images under another dataset="
                )

    def _name_numbers(self, classes: Classes, ordered: bool) -> None:
        """Give the numbers names; nothing to do when the source knows them as numbers, too."""
        n, names = len(self.names), classes.names
        if names[:n] == tuple(self.names[: len(names)]) if ordered else set(names) & set(self.names):
            return
        if not ordered or len(classes) != n:
            raise SchemaError(
                f"the {n} classes of {self.name!r} are only numbered, and this source names {len(classes)}: "
                f"{some(names)}; give classes= {n} names in the order of the numbers, or another dataset="
            )
        if self.used_by:
            raise SchemaError(
                f"the classes of {self.name!r} are only numbered, and run {self.used_by!r} already uses them so; "
                "add these images without classes=, or under another dataset="
            )
        self._take(classes)
        self.n_saved = 0

    def _add(self, name: str, wnid: str | None = None) -> int:
        """The class of that name or WordNet id, a new one when there is none."""
        name = unicodedata.normalize("NFC", name)
        found = self._index.get(name, self._index.get(wnid or name))
        if found is not None:
            return found
        if self.used_by:
            raise SchemaError(
                f"class {name!r} is new to label space {self.name!r}, which run {self.used_by!r} already uses; "
                "add these images under another dataset="
            )
        number = len(self.names)
        self.numbered = self.numbered and name == str(number)
        self.names.append(name)
        self.wnids.append(wnid)
        self._index |= {key: number for key in (name, wnid) if key}
        return number

    def resolve(self, label: str | int | None) -> int | None:
        """The class of a label of the source; None for no label, and for -1 where the source names its classes.

        Raises:
            SchemaError: a number outside the classes, or a class that can no longer be added.
        """
        if label is None or isinstance(label, str):
            return None if label is None else self._add(label)
        if self._order is not None:
            if label == OUTSIDE:
                return None
            if not 0 <= label < len(self._order):
                raise SchemaError(
                    f"label {label}, but {len(self._order)} classes; labels are 0-based, name a class for each"
                )
            return self._order[label]
        if label < 0:
            raise SchemaError(f"label {label} is negative; labels are 0-based, NULL when unknown")
        return self._numbered_class(label)

    def _numbered_class(self, label: int) -> int:
        """A number whose source names no classes: an index into those there are, which grow while they are numbers."""
        n = len(self.names)
        if not self.numbered:
            if self._misleading is not None:
                raise SchemaError(
                    f"label {label} may be an index or a name: class {self._index[self._misleading]} of {self.name!r} "
                    f"is called {self._misleading!r}; give classes= the names in the order of the numbers"
                )
            if label >= n:
                raise SchemaError(
                    f"label {label}, but {self.name!r} has {n} classes: {some(self.names)}; labels are 0-based, "
                    "give classes= the names in the order of the numbers"
                )
            if label >= self.n_indexed:
                raise SchemaError(
                    f"label {label} is a number without a name, and class {label} of {self.name!r} is "
                    f"{self.names[label]!r} only because names came in that order ({some(self.names)}): the same "
                    "order, or another? give classes= (--classes) the names in the order of the numbers"
                )
        if label >= MAX_NUMBERED and label >= n:
            raise SchemaError(
                f"label {label} would make more than {MAX_NUMBERED} classes; is it an id? give ids as text, or classes="
            )
        for number in range(n, label + 1):
            self._add(str(number))
        return label


def is_sorted_as_text(names: Sequence[str]) -> bool:
    """Whether names with numbers are in the order of their text, such as 1, 10, 2, which is not that of the numbers."""
    return list(names) == sorted(names) != sorted(names, key=_by_number)


def _by_number(name: str) -> list[int | str]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def near_twins(names: Iterable[str]) -> list[list[str]]:
    """Groups of different names that are equal but for case, blanks, `_`, `-` and Unicode form."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_plain(unicodedata.normalize("NFKC", name)), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def some(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def map_classes(model: Classes, target: Classes, policy: str = "open", path: str | Path | None = None) -> ClassMap:
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
            f"{some(missing)}; name the model's classes "
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
    reader = csv.DictReader(io.StringIO(_read_text(path)))
    if not {"from_class", "to_class"} <= set(reader.fieldnames or ()):
        raise SchemaError(f"{path} needs the columns from_class,to_class (names or indices)")
    for row in reader:
        output, number = _lookup(row["from_class"], model, path), _lookup(row["to_class"], target, path)
        if found[output] not in (OUTSIDE, number):
            both = f"{target.names[found[output]]!r} and {target.names[number]!r}"
            raise SchemaError(f"{path} maps {model.names[output]!r} to {both}; keep one of the two lines")
        found[output] = number
    if set(found) == {OUTSIDE}:
        raise SchemaError(f"{path} maps no class; give one line from_class,to_class for each output that counts")
    return tuple(found)


def _lookup(key: str | None, classes: Classes, path: Path) -> int:
    if key is None:
        raise SchemaError(f"{path} has a line with one value; it needs from_class,to_class")
    for values in (classes.names, classes.wnids):
        if key in values:
            return values.index(key)
    if key.isdigit() and int(key) < len(classes):
        return int(key)
    raise NotFoundError(f"{path}: no class {key!r}{near_matches(key, classes.names)}")
