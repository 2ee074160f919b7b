"""Pictures from Python: PIL images, arrays, encoded bytes, paths, pairs with labels, and torchvision's data sets."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core import decode
from ...core.classes import from_keys
from ...core.text import decodable, one_line
from ...errors import ImageError, SchemaError
from . import Entry, Source, manifest
from .values import name, to_label

# Where torchvision's data sets keep the paths of their images and their labels: pairs, or two lists side by side.
_PAIRS = ("samples", "imgs", "_samples")
_LISTS = (("_image_files", "_labels"), ("_images", "_labels"))
_ORIGIN = "pictures from Python"
_Label = str | int | None


def from_pictures(given: Any) -> Source:
    """A list, an array (N, H, W[, 3 or 4]), or a data set like torchvision's, perhaps in `Subset` or `ConcatDataset`.

    Data sets that know the paths of their images are read by path; their transform is not applied, and nothing is
    decoded. Of others the pictures are stored without loss: as the bytes of their file, or as PNG.

    Raises:
        SchemaError: one array or tensor in place of a list, a data loader, labels that can be read in two ways, or an
            item that is neither a picture nor a pair (picture, label); its number is named.
        ImageError: a picture of the wrong type or shape; its number is named.
    """
    _refuse(given)
    source = Source("images", _ORIGIN, (), total=len(given) if isinstance(given, Sized) else None)
    leaves = list(_leaves(given))
    _settle_classes(source, leaves)
    if source.classes is None and isinstance(given, list | tuple):
        _check_list(given, source)
    source.notes += dict.fromkeys(note for leaf in leaves for note in _transform_notes(leaf))
    source.entries = _entries(leaves, source)
    return source


@dataclass
class _Leaf:
    """A data set that is not made of others, or a list, and which of its items are meant.

    Attributes:
        data: what is read.
        indices: which items; None for all, in order.
        paths: path and label of every item of `data`, where it knows them.
        names: of the classes that its labels are indices of.
    """

    data: Any
    indices: Sequence[int] | None
    paths: Sequence[tuple[Any, Any]] | None
    names: tuple[str, ...]

    def items(self) -> Iterator[Any]:
        """The items meant: pictures, or pairs with a label; by path where there are paths."""
        if self.paths is not None:
            chosen = range(len(self.paths)) if self.indices is None else self.indices
            return (self.paths[index] for index in chosen)
        if self.indices is not None:
            return (self.data[index] for index in self.indices)
        if _is_data_set(self.data):
            return (self.data[index] for index in range(len(self.data)))
        return iter(self.data)


def _refuse(given: Any) -> None:
    """What is one thing, or gives batches, is not a list of pictures."""
    kind, shape = type(given).__name__, tuple(getattr(given, "shape", ()))
    if _is_tensor(given):
        raise SchemaError(f"a {kind} of shape {shape} is no list of pictures; give uint8 arrays (H, W, 3), or files")
    if hasattr(given, "batch_sampler") and hasattr(given, "dataset"):
        raise SchemaError(f"a {kind} gives batches of tensors; give its data set (.dataset), without transform=")
    if shape and (len(shape) not in (3, 4) or (len(shape) == 3 and shape[2] in (3, 4))):
        raise SchemaError(f"an array of shape {shape} looks like one picture; give a list of pictures: [array]")


def _is_tensor(value: Any) -> bool:
    """Whether it is a tensor of torch, JAX or TensorFlow, without importing any of them."""
    return type(value).__module__.partition(".")[0] in ("torch", "jax", "jaxlib", "tensorflow") and hasattr(
        value, "shape"
    )


def _is_data_set(value: Any) -> bool:
    """Whether it has numbered items of its own making."""
    return not isinstance(value, list | tuple) and hasattr(value, "__getitem__") and hasattr(value, "__len__")


def _leaves(given: Any, indices: Sequence[int] | None = None) -> Iterator[_Leaf]:
    """What `Subset`, `random_split` and `ConcatDataset` are made of, in order."""
    if hasattr(given, "dataset") and hasattr(given, "indices"):
        inner = [int(index) for index in given.indices]
        yield from _leaves(given.dataset, inner if indices is None else [inner[index] for index in indices])
    elif hasattr(given, "datasets") and hasattr(given, "cumulative_sizes"):
        yield from _parts(given, indices)
    else:
        if getattr(given, "target_transform", None) is not None:
            raise SchemaError(
                f"{type(given).__name__} changes its labels by target_transform, so that its class names may not fit; "
                "give it without target_transform, or as a list of pairs (picture, name of its class)"
            )
        yield _Leaf(given, indices, _paths(given), _class_names(given))


def _parts(given: Any, indices: Sequence[int] | None) -> Iterator[_Leaf]:
    """Of a `ConcatDataset`: the data sets one after the other, or in runs as the indices of a `Subset` go."""
    sets, ends = list(given.datasets), [int(end) for end in given.cumulative_sizes]
    if indices is None:
        for data in sets:
            yield from _leaves(data)
        return
    run: list[int] = []
    current: int | None = None
    for index in indices:
        index = index + ends[-1] if index < 0 else index
        which = next(number for number, end in enumerate(ends) if index < end)
        if which != current and current is not None:
            yield from _leaves(sets[current], run)
            run = []
        current = which
        run.append(index - (ends[which - 1] if which else 0))
    if current is not None:
        yield from _leaves(sets[current], run)


def _paths(given: Any) -> Sequence[tuple[Any, Any]] | None:
    """Path and label of every item, from a data set that knows them; None when it does not."""
    if not _is_data_set(given):
        return None
    found: list[Any] = [getattr(given, attribute, None) for attribute in _PAIRS]
    for attributes in _LISTS:
        files, labels = (getattr(given, attribute, None) for attribute in attributes)
        if isinstance(files, list | tuple) and isinstance(labels, list | tuple) and len(files) == len(labels):
            found.append(list(zip(files, labels, strict=True)))
    for pairs in found:
        if isinstance(pairs, list | tuple) and len(pairs) == len(given) and all(map(_is_path_and_index, pairs)):
            _check_labels(given, pairs)
            return pairs
    return None


def _check_labels(given: Any, pairs: Sequence[tuple[Any, Any]]) -> None:
    """The first and the last item must have the labels that the list of paths has: other classes may change them.

    Raises:
        SchemaError: they have others.
    """
    if type(given).__module__.startswith("torchvision.") and hasattr(given, "samples"):
        return
    for index in sorted({0, len(pairs) - 1}) if pairs else []:
        try:
            item = given[index]
            label, listed = to_label(item[1]), to_label(pairs[index][1])
        except Exception:  # noqa: S112 - what cannot be compared is read by path
            continue
        if label != listed:
            raise SchemaError(
                f"item {index} of {type(given).__name__} has label {label!r}, its list of files says {listed!r}; "
                "give a list of pairs (path, label)"
            )


def _is_path_and_index(pair: Any) -> bool:
    is_pair = isinstance(pair, tuple | list) and len(pair) == 2
    return is_pair and isinstance(pair[0], str | Path) and not isinstance(pair[1], list | tuple | dict)


def _class_names(given: Any) -> tuple[str, ...]:
    """Names of the classes of a data set, in the order of their indices; none when it does not say."""
    listed = getattr(given, "classes", None)
    wnids = getattr(given, "wnids", None)  # of torchvision's ImageNet, whose classes are tuples that repeat words
    if isinstance(wnids, list | tuple) and isinstance(listed, list | tuple) and len(wnids) == len(listed):
        return tuple(map(str, wnids))
    if isinstance(listed, list | tuple) and listed:
        full = [one if isinstance(one, str) else ", ".join(map(str, one)) for one in listed]
        short = [one if isinstance(one, str) else str(next(iter(one), "")) for one in listed]
        return tuple(map(name, short if len(set(short)) == len(short) else full))
    index = getattr(given, "class_to_idx", None)
    if isinstance(index, dict) and sorted(index.values()) == list(range(len(index))):
        return tuple(name(str(key)) for key in sorted(index, key=index.__getitem__))
    return ()


def _settle_classes(source: Source, leaves: Sequence[_Leaf]) -> None:
    """One list of names: labels are its indices. Several: labels go by name. None beside some: refused."""
    lists = list(dict.fromkeys(leaf.names for leaf in leaves))
    if len(lists) == 1 and lists[0]:
        source.classes, source.indexed = from_keys(lists[0]), True
    if len(lists) == 1 and not lists[0]:
        labels = {to_label(pair[1]) for leaf in leaves if leaf.paths is not None for pair in leaf.items()}
        source.numbers = tuple(sorted(label for label in labels if isinstance(label, int)))
    if len(lists) < 2:
        return
    if () in lists:
        raise SchemaError(
            "some of these data sets name their classes and others do not: an index could mean either; "
            "add them one by one, with classes= for those without names"
        )
    source.keys = tuple(dict.fromkeys(key for names in lists for key in names))
    source.classes = from_keys(source.keys)
    source.notes.append(f"the data sets list {len(lists)} different orders of classes: labels go by their names")


def _transform_notes(leaf: _Leaf) -> Iterator[str]:
    kind = type(leaf.data).__name__
    has_transform = getattr(leaf.data, "transform", None) is not None
    if leaf.paths is not None and has_transform:
        yield f"the transform of {kind} is not applied: images are read from their files"
    if leaf.paths is None and has_transform:
        yield f"the pictures are those after the transform of {kind}"


def _check_list(given: Sequence[Any], source: Source) -> None:
    """Look at the types of all items before anything is written; the labels are known then.

    Raises:
        SchemaError: pairs and bare pictures, or names and numbers, in one list; an item that is no picture.
    """
    first: dict[str, int] = {}
    labels: set[str | int] = set()
    for number, item in enumerate(given):
        _, label = _split(item, number)
        first.setdefault("pair" if _is_pair(item) else "bare", number)
        if label is not None:
            first.setdefault("name" if isinstance(label, str) else "number", number)
            labels.add(label)
    if "pair" in first and "bare" in first:
        raise SchemaError(
            f"item {first['pair']} is a pair (picture, label), item {first['bare']} is a picture alone; "
            "write all alike, with None where the label is unknown"
        )
    if "name" in first and "number" in first:
        raise SchemaError(
            f"item {first['name']} has a name as its label, item {first['number']} a number: it could be an index or a "
            "name; write all as names, or all as indices"
        )
    source.numbers = tuple(sorted(label for label in labels if isinstance(label, int)))
    source.keys = tuple(sorted(label for label in labels if isinstance(label, str)))
    source.classes = from_keys(source.keys) if source.keys else None


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple | list) and len(item) == 2


def _split(item: Any, number: int) -> tuple[Any, _Label]:
    """Picture and label of an item.

    Raises:
        SchemaError: neither a picture nor a pair.
    """
    picture, label = item if _is_pair(item) else (item, None)
    kind = type(picture).__name__
    if _is_tensor(picture):
        raise SchemaError(
            f"picture {number} is a {kind}: a tensor is not a picture any more; give the data set without transform= "
            "(the model has its own), or uint8 arrays (H, W, 3)"
        )
    if isinstance(picture, dict | list | tuple | set | int | float) or picture is None:
        length = f" of length {len(picture)}" if isinstance(picture, Sized) else ""
        raise SchemaError(
            f"picture {number} is a {kind}{length}; items are pictures (PIL images, uint8 arrays, encoded bytes, "
            "paths) or pairs (picture, label); rows with more than that are a table: give a pandas frame, an Arrow "
            "table or a Hugging Face data set"
        )
    try:
        found = to_label(label)
    except SchemaError as error:
        raise SchemaError(f"item {number}: {error}") from None
    if isinstance(picture, str | Path) and isinstance(found, str) and found.lower().endswith(decode.SUFFIXES):
        raise SchemaError(f"item {number}: label {found!r} looks like a file; a pair is (picture, label)")
    return picture, found


def _entries(leaves: Sequence[_Leaf], source: Source) -> Iterator[Entry]:
    seen: Counter[str] = Counter()
    number = 0
    for leaf in leaves:
        root = getattr(leaf.data, "root", None)
        folder = os.path.abspath(root) if isinstance(root, str | Path) and leaf.paths is not None else None
        for item in _safely(leaf, number):
            picture, label = _split(item, number)
            if source.keys and isinstance(label, int):
                label = _by_name(label, leaf.names, number)
            if isinstance(picture, str | Path):
                uri = manifest.locate(picture, Path.cwd(), source)
                yield Entry(uri, label=label, relative=_below(uri, folder))
            else:
                data = _encoded(picture, number)
                uri = f"sha256:{hashlib.sha256(data).hexdigest()}"
                seen[uri] += 1
                yield Entry(uri if seen[uri] == 1 else f"{uri}#{seen[uri]}", data, label)
            number += 1


def _safely(leaf: _Leaf, start: int) -> Iterator[Any]:
    """The items of a leaf; what the code of a data set raises is an error of ours that names the item."""
    items = leaf.items()
    number = start
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except Exception as error:
            kind = type(leaf.data).__name__
            raise ImageError(
                f"picture {number}: {kind} raises {type(error).__name__}: {one_line(error, 200)}"
            ) from error
        yield item
        number += 1


def _by_name(label: int, names: Sequence[str], number: int) -> str | None:
    """The name of an index; without names the number itself is one. -1 is no label."""
    if label == -1:
        return None
    if not names:
        return str(label)
    if not 0 <= label < len(names):
        raise SchemaError(f"item {number}: label {label}, but its data set has {len(names)} classes")
    return names[label]


def _below(uri: str, folder: str | None) -> str | None:
    """The path below the root of a data set."""
    if folder is None or not uri.startswith(os.path.join(folder, "")):
        return None
    return name(decodable(os.path.relpath(uri, folder).replace(os.sep, "/")))


def _encoded(picture: Any, number: int) -> bytes:
    """The encoded bytes of a picture.

    Raises:
        ImageError: it is none.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    try:
        return decode.encode(picture)
    except ImageError as error:
        raise ImageError(f"picture {number}: {error}") from error
