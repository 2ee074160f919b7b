"""COCO annotations: images, annotations with a category each, categories; one category an image is its label."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...core.classes import Classes
from ...core.parsing import parse_json
from ...core.text import one_line
from ...errors import ArgumentError, SchemaError
from . import Entry, Source
from .folder import is_split
from .values import name as normal
from .values import to_meta

MAX_BYTES = 1024**3  # of a file, which is read as a whole
_FIRST_KEYS = re.compile(r'\ufeff?\s*\{\s*"(info|licenses?|images|annotations|categories|type)"\s*:')
_TRIED = 100  # file names that are looked for in each folder
CATEGORY = ("category_id", "category", "categories")


def is_coco(file: Path) -> bool:
    """Whether a JSON file is one object with COCO's keys, by its beginning."""
    with file.open("rb") as stream:
        return _FIRST_KEYS.match(stream.read(4096).decode("utf-8", "replace")) is not None


def from_coco(file: Path, chosen: Mapping[str, str] | None = None) -> Source:
    """The images that COCO annotations list.

    Args:
        file: an absolute path.
        chosen: `{"accepted": "category_id"}` where each of several categories of an image is a right answer.

    Raises:
        ArgumentError: another choice.
        SchemaError: not COCO; images with several categories, and nobody said what they mean; files that stand in
            several folders.
    """
    several = _choice(chosen or {})
    content = _load(file)
    images, annotations = (_listed(content, key, file) for key in ("images", "annotations"))
    names = _categories(content, file)
    by_id = {image.get("id"): image for image in images}
    if len(by_id) < len(images):
        raise SchemaError(f"{file} has {len(images) - len(by_id)} images whose id another has, too; give each its own")
    found: dict[Any, dict[str, None]] = {}
    n_strange = 0
    for one in annotations:
        n_strange += one.get("image_id") not in by_id
        category = one.get("category_id")
        if category is not None and category not in names:
            raise SchemaError(f"{file} has an annotation of category {one_line(category, 40)}, which it does not list")
        if category is not None:
            found.setdefault(one.get("image_id"), {})[names[category]] = None
    if not several:
        _refuse_several(file, by_id, found)
    root = _root(file, [str(image["file_name"]) for image in images])
    split = _split(file, root)
    keys = tuple(names.values())

    def entries() -> Iterator[Entry]:
        for image in images:
            labels = tuple(found.get(image.get("id"), ()))
            yield Entry(
                os.path.abspath(root / str(image["file_name"])),
                label=labels[0] if len(labels) == 1 else None,
                split=split,
                meta=to_meta({key: value for key, value in image.items() if key != "file_name"}),
                accepted=labels if several and labels else None,
                relative=str(image["file_name"]),
            )

    source = Source(_name(file), str(file), entries(), keys, Classes(keys) if keys else None, total=len(images))
    source.indexed = list(names) == list(range(len(names)))
    source.columns = {"path": "images.file_name"}
    if found:
        source.columns["accepted" if several else "label"] = "annotations.category_id"
    n_unlabeled = sum(image.get("id") not in found for image in images)
    if n_unlabeled:
        source.notes.append(f"{n_unlabeled:,} of {len(images):,} images have no annotation: they have no label")
    if n_strange:
        source.notes.append(f"{n_strange:,} annotations are of images that {file.name} does not list: left out")
    if root != file.parent:
        source.notes.append(f"the images were looked for in {root}")
    return source


def _choice(chosen: Mapping[str, str]) -> bool:
    """Whether all the categories of an image are right answers."""
    for role, column in chosen.items():
        if role not in ("label", "accepted") or column not in CATEGORY:
            raise ArgumentError(
                f'COCO annotations take columns={{"accepted": "category_id"}} only, not {{{role!r}: {column!r}}}'
            )
    return "accepted" in chosen


def _load(file: Path) -> dict[str, Any]:
    if file.stat().st_size > MAX_BYTES:
        raise SchemaError(f"{file} has more than {MAX_BYTES // 1024**3} GB; split it, or write a table of its images")
    try:
        content = parse_json(file.read_text("utf-8-sig"), file)
    except (UnicodeDecodeError, MemoryError) as error:
        raise SchemaError(f"{file} cannot be read as JSON: {one_line(error, 200)}") from error
    if not isinstance(content, dict) or "images" not in content:
        raise SchemaError(f"{file} is neither COCO annotations, which have `images`, nor a list of rows")
    return content


def _listed(content: Mapping[str, Any], key: str, file: Path) -> list[dict[str, Any]]:
    found = content.get(key) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise SchemaError(f"{file}: `{key}` is not a list of objects")
    ids = ("image_id", "category_id", "id")
    if any(isinstance(one.get(name), list | dict) for one in found for name in ids):
        raise SchemaError(f"{file}: an id in `{key}` is a list or an object")
    if key == "images" and not (found and all(isinstance(one.get("file_name"), str) for one in found)):
        raise SchemaError(f"{file}: `images` is empty, or one of them has no `file_name`")
    return found


def _categories(content: Mapping[str, Any], file: Path) -> dict[Any, str]:
    """The name of each category by its id, in the order of ids."""
    listed = _listed(content, "categories", file)
    if any(one.get("id") is None or not isinstance(one.get("name"), str) for one in listed):
        raise SchemaError(f"{file}: a category has no id or no name")
    listed.sort(key=lambda one: (isinstance(one["id"], str), one["id"]))
    names = {one["id"]: normal(one["name"]) for one in listed}
    twice = next((name for name, n in Counter(names.values()).items() if n > 1), None)
    if twice is not None or len(names) < len(listed):
        raise SchemaError(f"{file} lists a category twice ({twice or 'the same id'}); give each its own id and name")
    return names


def _refuse_several(
    file: Path, by_id: Mapping[Any, Mapping[str, Any]], found: Mapping[Any, Mapping[str, None]]
) -> None:
    many = [image_id for image_id, labels in found.items() if len(labels) > 1 and image_id in by_id]
    if many:
        shown = f"{by_id[many[0]]['file_name']}: {', '.join(itertools.islice(found[many[0]], 4))}"
        raise SchemaError(
            f"{file}: {len(many):,} of {len(by_id):,} images have several categories ({shown}). If each is a right "
            'answer, columns={"accepted": "category_id"} (--columns accepted=category_id); if each box is an image of '
            "its own, cut the boxes out and add those"
        )


def _root(file: Path, names: list[str]) -> Path:
    """The folder that the file names start at: of the usual ones, that which has most of them.

    Raises:
        SchemaError: the files stand in several folders, and the annotations' name does not say which is meant.
    """
    words = [word for word in re.split(r"[^A-Za-z0-9]+", file.stem) if word]
    words += [word for word in (re.sub(r"[0-9]+$", "", word) for word in words) if word not in words]
    above = file.parent.parent
    inside = (*words, "images", *(f"images/{word}" for word in words))
    candidates = dict.fromkeys(
        [file.parent, *(place / name for place in (file.parent, above) for name in inside), above]
    )
    tried = names[:: max(1, len(names) // _TRIED)][:_TRIED]
    counts = {place: sum(os.path.isfile(place / name) for name in tried) for place in candidates if place.is_dir()}
    most = max(counts.values(), default=0)
    best = [place for place, count in counts.items() if count == most]
    if not most or file.parent in best:
        return file.parent
    named = [place for place in best if place.name in words]
    if len(named or best) > 1:
        raise SchemaError(
            f"{file}: its images could be those in {best[0]} or in {best[1]}; write file_name relative to {file.parent}"
        )
    return (named or best)[0]


def _split(file: Path, root: Path) -> str | None:
    """The split in the name of the file (`instances_val2017`), of its folder (`valid/`), or of the images' folder."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", file.stem) if is_split(word)]
    folders = [place.name for place in (root, file.parent) if is_split(place.name)]
    found = re.sub(r"[0-9]+$", "", (words + folders + [""])[0])
    return found or None


def _name(file: Path) -> str:
    usual = ("annotations", "labels", "images")
    return next(
        (one.name for one in file.parents if one.name.lower() not in usual and not is_split(one.name)), file.stem
    )
