"""Where images come from: folders, globs, manifests, Parquet files, arrays. Each becomes one stream of entries."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from . import images
from .errors import ImageError, NotFoundError, SchemaError, near_matches
from .labels import WNID, Classes, from_keys

if TYPE_CHECKING:
    import pyarrow as pa

SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}
PATH_COLUMNS = ("path", "file", "file_name", "filename", "filepath", "file_path", "uri", "image_path", "img_path")
LABEL_COLUMNS = ("label", "class", "wnid", "label_idx", "target", "category")
NAME_COLUMNS = ("label_name", "class_name", "category_name", "name")
MANIFESTS = (".csv", ".tsv", ".parquet", ".json", ".jsonl")


@dataclass(frozen=True)
class Entry:
    """One image on its way in; `label` is a key of the source's classes or a 0-based index."""

    uri: str
    data: bytes | None = None
    label: str | int | None = None
    split: str | None = None
    meta: str | None = None


@dataclass(frozen=True)
class Source:
    """A stream of entries and what the source says about them all."""

    name: str
    origin: str
    entries: Iterable[Entry]
    keys: tuple[str, ...] = ()  # label keys in the order of their indices
    classes: Classes | None = None  # their names, when the source has better ones than the keys


def open_source(source: Any, *, path: str | None = None, label: str | None = None) -> Source:
    """Recognise what `source` is; `path` and `label` name columns of a manifest.

    Raises:
        NotFoundError: no such path, or no image there.
        SchemaError: a manifest without the named columns.
    """
    if not isinstance(source, str | Path):
        return _from_pictures(source)
    text = str(source)
    place = Path(text).expanduser()
    if place.is_dir():
        return _from_folder(place.resolve())
    if place.is_file():
        if place.suffix.lower() in MANIFESTS:
            return _from_manifest(place.resolve(), path, label)
        return Source(place.parent.resolve().name, str(place.resolve()), [Entry(str(place.resolve()))])
    if any(sign in text for sign in "*?["):
        found = sorted(os.path.abspath(name) for name in glob.glob(text, recursive=True) if _is_image(name))
        if not found:
            raise NotFoundError(f"no image matches {text}")
        return Source(Path(found[0]).parent.name, text, [Entry(name) for name in found])
    raise NotFoundError(f"no file or folder {text}{near_matches(place.name, _siblings(place))}")


def _siblings(place: Path) -> list[str]:
    return os.listdir(place.parent) if place.parent.is_dir() else []


def _is_image(name: str) -> bool:
    return name.lower().endswith(images.SUFFIXES)


def _from_folder(root: Path) -> Source:
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    splits = folders if folders and {name.lower() for name in folders} <= SPLITS else []
    tops: list[tuple[Path, str | None]] = [(root / split, split) for split in splits]
    tops = tops or [(root, None)]
    keys = sorted({entry.name for top, _ in tops for entry in os.scandir(top) if entry.is_dir()})
    first = next(_walk(tops), None)
    if first is None:
        raise NotFoundError(f"no image below {root}; looked for {', '.join(images.SUFFIXES)}")
    return Source(root.name, str(root), _walk(tops), tuple(keys), from_keys(keys) if keys else None)


def _walk(tops: list[tuple[Path, str | None]]) -> Iterator[Entry]:
    for top, split in tops:
        for folder, inner, files in os.walk(top, followlinks=True):
            inner.sort()
            parts = Path(folder).relative_to(top).parts
            for file in sorted(filter(_is_image, files)):
                yield Entry(os.path.join(folder, file), label=parts[0] if parts else None, split=split)


def _from_manifest(file: Path, path: str | None, label: str | None) -> Source:
    import pyarrow.parquet as pq

    if file.suffix.lower() == ".parquet":
        schema = pq.read_schema(file)
        structs = [field.name for field in schema if _holds_bytes(field.type)]
        if structs and path in (None, *structs):
            return _from_hugging_face(file, path or structs[0], label)
    table = _read_table(file)
    path = _column(table.column_names, path, PATH_COLUMNS, "path", file)
    if path is None:
        raise SchemaError(f"{file} has no path column; name it (path=): {', '.join(table.column_names)}")
    label = _column(table.column_names, label, LABEL_COLUMNS, "label", file)
    keys, classes, naming = _keys(table, label)
    split = "split" if "split" in table.column_names else None
    rest = [name for name in table.column_names if name not in (path, label, split, naming)]
    return Source(file.stem, str(file), _rows(table, file.parent, path, label, split, rest), keys, classes)


def _holds_bytes(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return types.is_struct(kind) and {field.name for field in kind} >= {"bytes", "path"}


def _read_table(file: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet

    kind = file.suffix.lower()
    try:
        if kind == ".parquet":
            return pyarrow.parquet.read_table(file)
        if kind in (".json", ".jsonl"):
            return pyarrow.json.read_json(file)
        return pyarrow.csv.read_csv(
            file, parse_options=pyarrow.csv.ParseOptions(delimiter="\t" if kind == ".tsv" else ",")
        )
    except pa.ArrowException as error:
        raise SchemaError(f"{file} cannot be read as {kind[1:]}: {error}") from error


def _column(columns: list[str], asked: str | None, usual: tuple[str, ...], role: str, file: Path) -> str | None:
    if asked is None:
        return next((name for name in usual if name in columns), None)
    if asked not in columns:
        raise SchemaError(f"{file} has no column {asked!r} ({role}=); it has {', '.join(columns)}")
    return asked


def _keys(table: pa.Table, label: str | None) -> tuple[tuple[str, ...], Classes | None, str | None]:
    """Label keys, their classes, and the column that names them, when each key has one name."""
    import pyarrow.types as types

    if label is None:
        return (), None, None
    labels = table[label].to_pylist()
    whole = types.is_integer(table[label].type)
    known: list[Any] = sorted({key for key in labels if key not in (None, "")})
    naming = next((name for name in NAME_COLUMNS if name in table.column_names and name != label), None)
    names: dict[Any, str] = dict(zip(labels, table[naming].to_pylist(), strict=True)) if naming else {}
    pairs = set(zip(labels, table[naming].to_pylist(), strict=True)) if naming else set()
    if naming and (len(pairs) != len(set(labels)) or len(set(names.values())) != len(names)):
        naming, names = None, {}
    if whole:
        if any(key < 0 for key in known):
            raise SchemaError(f"column {label!r} holds negative labels; labels are 0-based, NULL when unknown")
        full = [str(names.get(key, key)) for key in range(max(known, default=-1) + 1)]
        return (), (Classes(tuple(full)) if naming else None), naming
    texts = [str(key) for key in known]
    if naming:
        wnids = tuple(key if WNID.fullmatch(key) else None for key in texts)
        return tuple(texts), Classes(tuple(str(names[key]) for key in known), wnids), naming
    return tuple(texts), from_keys(texts), None


def _rows(
    table: pa.Table, root: Path, path: str, label: str | None, split: str | None, rest: list[str]
) -> Iterator[Entry]:
    for batch in table.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            yield Entry(
                _locate(row[path], root),
                label=_key(row[label]) if label else None,
                split=row[split] if split else None,
                meta=_meta({name: row[name] for name in rest}),
            )


def _key(value: Any) -> str | int | None:
    if value in (None, ""):
        return None
    return value if isinstance(value, int) else str(value)


def _meta(values: dict[str, Any]) -> str | None:
    return json.dumps(values, default=str, ensure_ascii=False) if values else None


def _locate(text: Any, root: Path) -> str:
    """An absolute path; `file:` is understood, other schemes are left to fail as a fetch error, without secrets."""
    name = str(text) if text is not None else ""
    if name.startswith("file:"):
        return unquote(urlsplit(name).path)
    if "://" in name:
        return urlsplit(name)._replace(netloc=urlsplit(name).hostname or "", query="", fragment="").geturl()
    if not name:
        return name
    return os.path.abspath(root / os.path.expanduser(name))


def _from_hugging_face(file: Path, column: str, label: str | None) -> Source:
    """Rows of STRUCT(bytes, path): bytes are embedded, since they have no file of their own."""
    import pyarrow.parquet as pq

    opened = pq.ParquetFile(file)
    columns = opened.schema_arrow.names
    label = _column(columns, label, LABEL_COLUMNS, "label", file)
    names = _feature_names(opened.schema_arrow.metadata or {}, label)

    def entries() -> Iterator[Entry]:
        number = 0
        for batch in opened.iter_batches(batch_size=128):
            for row in batch.to_pylist():
                image = row.pop(column) or {}
                data, path = image.get("bytes"), image.get("path")
                key = _key(row.pop(label)) if label else None
                split = row.pop("split", None)
                uri = f"{file}#{number}" if data is not None else _locate(path, file.parent)
                meta = {**row, "path": path} if data is not None and path else row
                yield Entry(uri, data, key, split, _meta(meta))
                number += 1

    if label and not names:
        keys, classes, _ = _keys(pq.read_table(file, columns=[label]), label)
        return Source(file.stem, str(file), entries(), keys, classes)
    return Source(file.stem, str(file), entries(), (), from_keys(names) if names else None)


def _feature_names(metadata: dict[bytes, bytes], label: str | None) -> list[str]:
    """Class names from the metadata that Hugging Face writes into Parquet files."""
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return [str(name) for name in features.get(label, {}).get("names", [])]


def _from_pictures(pictures: Iterable[Any]) -> Source:
    """PIL images or uint8 arrays, or (picture, label) pairs; a torchvision data set is one of these."""
    names = getattr(pictures, "classes", None)

    def entries() -> Iterator[Entry]:
        seen: Counter[str] = Counter()
        for number, given in enumerate(pictures):
            picture, label = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
            try:
                data = picture if isinstance(picture, bytes) else images.encode(picture)
            except ImageError as error:
                raise ImageError(f"picture {number}: {error}") from error
            uri = f"sha256:{hashlib.sha256(data).hexdigest()}"
            seen[uri] += 1
            key = label if label is None or isinstance(label, str) else int(label)
            yield Entry(uri if seen[uri] == 1 else f"{uri}#{seen[uri]}", data, key)

    simple = [name if isinstance(name, str) else name[0] for name in names] if names else []
    return Source("images", "pictures from Python", entries(), (), from_keys(simple) if simple else None)
