"""Where images come from: folders, globs, manifests, Parquet files, arrays. Each becomes one stream of entries."""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ..core import decode
from ..core.classes import MAX_NUMBERED, WNID, Classes, from_keys
from ..core.text import decodable
from ..errors import ImageError, NotFoundError, SchemaError, near_matches

if TYPE_CHECKING:
    import pyarrow as pa

SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}
PATH_COLUMNS = ("path", "file", "file_name", "filename", "filepath", "file_path", "uri", "image_path", "img_path")
LABEL_COLUMNS = ("label", "class", "wnid", "label_idx", "target", "category")
NAME_COLUMNS = ("label_name", "class_name", "category_name", "name")
TABULAR = ("to_arrow_table", "__arrow_c_stream__", "__dataframe__")  # what frames, tables and relations have
MANIFESTS = (".csv", ".tsv", ".parquet", ".json", ".jsonl")


@dataclass(frozen=True)
class Entry:
    """One image on its way in; `label` is a key of the source's classes or a 0-based index."""

    uri: str
    data: bytes | None = None
    label: str | int | None = None
    split: str | None = None
    meta: str | None = None
    accepted: tuple[str | int, ...] | None = None  # every right label, when there are several


@dataclass(frozen=True)
class Source:
    """A stream of entries and what the source says about them all."""

    name: str
    origin: str
    entries: Iterable[Entry]
    keys: tuple[str, ...] = ()  # label keys in the order of their indices
    classes: Classes | None = None  # their names, when the source has better ones than the keys
    extremes: tuple[int, ...] = ()  # smallest and largest integer label, when known before the entries are read
    split: str | None = None  # split of all entries, when the name of the folder says so
    total: int | None = None  # number of entries, when known


def open_source(source: Any, *, path: str | None = None, label: str | None = None) -> Source:
    """Recognize what `source` is; `path` and `label` name columns of a manifest.

    Raises:
        NotFoundError: no such path, no image there, or it cannot be read.
        SchemaError: nothing that holds images, or a manifest without the named columns.
    """
    if isinstance(source, str | Path):
        try:
            return _from_place(str(source), path, label)
        except OSError as error:
            raise NotFoundError(f"{error.filename or source} cannot be read: {error.strerror or error}") from error
    if any(hasattr(source, name) for name in TABULAR):
        table = _as_table(source)
        return _from_table(table, "images", type(source).__name__, Path.cwd(), path, label)
    listed = hasattr(source, "__iter__") or hasattr(source, "__getitem__")
    if isinstance(source, dict | bytes) or not listed:
        raise SchemaError(
            "images come from a folder, a glob, a manifest, a table or a list of pictures or paths, "
            f"not from {type(source).__name__}"
        )
    return _from_list(source)


def _from_place(text: str, path: str | None, label: str | None) -> Source:
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
    return name.lower().endswith(decode.SUFFIXES)


def _from_folder(root: Path) -> Source:
    """One folder per class, perhaps below one folder per split, as the docstring of `add_images` says."""
    folders, _ = _list(str(root), (str(root),))
    splits = [name for name in folders if name.lower() in SPLITS]
    if len(splits) < len(folders) and not any(entry.label for split in splits for entry in _walk(root / split, split)):
        splits = []
    tops: list[tuple[Path, str | None]] = [(root / split, split) for split in splits]
    tops = tops or [(root, None)]
    keys = sorted(
        {decodable(name) for top, _ in tops for name in _list(str(top), (str(root), os.path.realpath(top)))[0]}
    )
    first = next((entry for top, split in tops for entry in _walk(top, split)), None)
    if first is None:
        raise NotFoundError(f"no image below {root}; looked for {', '.join(decode.SUFFIXES)}")
    entries = (entry for top, split in tops for entry in _walk(top, split))
    is_split = not splits and root.name.lower() in SPLITS
    name = (is_split and root.parent.name) or root.name
    classes = from_keys(keys) if keys else None
    return Source(name, str(root), entries, tuple(keys), classes, split=root.name if is_split else None)


def _walk(
    folder: str | Path, split: str | None, label: str | None = None, above: tuple[str, ...] = ()
) -> Iterator[Entry]:
    above = (*above, os.path.realpath(folder))
    folders, files = _list(str(folder), above)
    for name in files:
        yield Entry(os.path.join(folder, name), label=label, split=split)
    for name in folders:
        yield from _walk(os.path.join(folder, name), split, label or decodable(name), above)


def _list(folder: str, above: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Names of the folders and of the images in a folder; without dot-folders and links back to a folder above."""
    folders, files = [], []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                linked = entry.is_symlink()
                if os.path.isdir(entry.path) if linked else entry.is_dir():
                    if not entry.name.startswith(".") and not (linked and os.path.realpath(entry.path) in above):
                        folders.append(entry.name)
                elif _is_image(entry.name):
                    files.append(entry.name)
    except OSError as error:
        raise NotFoundError(f"{folder} cannot be read: {error.strerror or error}") from error
    return sorted(folders), sorted(files)


def _from_manifest(file: Path, path: str | None, label: str | None) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix.lower() == ".parquet":
            schema = pq.read_schema(file)
            structs = [field.name for field in schema if _holds_bytes(field.type)]
            if structs and path in (None, *structs):
                return _from_hugging_face(file, path or structs[0], label)
        table = _read_table(file)
    except pa.ArrowException as error:
        kind = file.suffix[1:].lower()
        raise SchemaError(f"{file} cannot be read as {kind}: {str(error).splitlines()[0]}") from error
    return _from_table(table, file.stem, str(file), file.parent, path, label)


def _from_table(table: pa.Table, name: str, origin: str, root: Path, path: str | None, label: str | None) -> Source:
    columns: list[str] = table.column_names
    path = _column(columns, path, PATH_COLUMNS, "path", origin)
    if path is None:
        raise SchemaError(f"{origin} has no path column; name it (path=): {', '.join(columns)}")
    label = _column(columns, label, LABEL_COLUMNS, "label", origin)
    accepted = _accepted_column(table.schema, table)
    keys, classes, extremes, naming = _keys(table, label, accepted)
    split = _column(columns, None, ("split",), "split", origin)
    # A pandas frame brings its index along when that is more than row numbers.
    used = (path, label, accepted, split, naming)
    rest = [name for name in columns if name not in used and not name.startswith("__index_level_")]
    rows = _rows(table, root, used[:4], rest)
    return Source(name, origin, rows, keys, classes, extremes, total=table.num_rows)


def _as_table(source: Any) -> pa.Table:
    import pyarrow as pa

    if hasattr(source, "to_arrow_table"):
        return source.to_arrow_table()
    try:
        return pa.table(source)
    except (pa.ArrowException, TypeError, ValueError) as error:
        kind = type(source).__name__
        raise SchemaError(f"this {kind} cannot be read as a table: {str(error).splitlines()[0]}") from error


def _holds_bytes(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return types.is_struct(kind) and {field.name for field in kind} >= {"bytes", "path"}


def _read_table(file: Path) -> pa.Table:
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet

    kind = file.suffix.lower()
    if kind == ".parquet":
        return pyarrow.parquet.read_table(file)
    if kind in (".json", ".jsonl"):
        return pyarrow.json.read_json(file)
    return pyarrow.csv.read_csv(file, parse_options=pyarrow.csv.ParseOptions(delimiter="\t" if kind == ".tsv" else ","))


def _column(columns: list[str], asked: str | None, usual: tuple[str, ...], role: str, origin: str) -> str | None:
    """The column asked for, or the first of the usual names there is; upper and lower case do not matter."""
    if asked in columns:
        return asked
    plain = {name.lower(): name for name in reversed(columns)}
    if asked is None:
        return next((plain[name] for name in usual if name in plain), None)
    if asked.lower() not in plain:
        raise SchemaError(f"{origin} has no column {asked!r} ({role}=); it has {', '.join(columns)}")
    return plain[asked.lower()]


_Keys = tuple[tuple[str, ...], Classes | None, tuple[int, ...], str | None]


def _accepted_column(schema: pa.Schema, table: pa.Table | None = None) -> str | None:
    """The column `accepted`, if it holds lists, or in a table text that looks so; other things bear the name, too."""
    import pyarrow.types as types

    name = _column(schema.names, None, ("accepted",), "accepted", "")
    if name is None or types.is_list(schema.field(name).type) or types.is_large_list(schema.field(name).type):
        return name
    first = next((value for value in table[name].to_pylist() if value), None) if table else None
    return name if isinstance(first, str) and first.lstrip().startswith("[") else None


def _accepted(value: Any) -> tuple[str | int, ...] | None:
    """Labels of one image: a list, or JSON text of one; NULL and empty text say nothing."""
    if value is None or value == "":
        return None
    try:
        listed = json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        listed = None
    if not isinstance(listed, list):
        raise SchemaError(f'accepted {value!r} is no list of labels; write it as [1, 2] or ["cat", "dog"]')
    return tuple(key for key in map(_key, listed) if key is not None)


def _keys(table: pa.Table, label: str | None, accepted: str | None) -> _Keys:
    """Text labels, their classes, the extremes of integer labels, and the column that names each label, if any."""
    labels = [_key(value) for value in table[label].to_pylist()] if label else []
    first = {key for key in labels if key is not None}
    also = {key for value in table[accepted].to_pylist() for key in _accepted(value) or ()} if accepted else set()
    kind = int if any(isinstance(key, int) for key in first or also) else str
    if kind is str and any(isinstance(key, int) for key in also):
        raise SchemaError(f"labels in {label} are text, and numbers in {accepted}; write both alike")
    known: list[Any] = sorted(key for key in first | also if isinstance(key, kind))
    others = [name for name in table.column_names if name != label]
    naming = _column(others, None, NAME_COLUMNS, "name", label) if label else None
    told = table[naming].to_pylist() if naming else []
    pairs = {(key, name) for key, name in zip(labels, told, strict=False) if key is not None}
    names: dict[Any, Any] = dict(pairs)
    if None in names.values() or not len(pairs) == len(names) == len(set(names.values())):
        naming, names = None, {}
    if known and isinstance(known[0], int):
        naming = naming if known[-1] < MAX_NUMBERED else None
        full = tuple(str(names.get(number, number)) for number in range(known[-1] + 1)) if naming else ()
        return (), (Classes(full) if naming else None), (known[0], known[-1]), naming
    if naming:
        wnids = tuple(key if WNID.fullmatch(key) else None for key in known)
        return tuple(known), Classes(tuple(str(names.get(key, key)) for key in known), wnids), (), naming
    return tuple(known), (from_keys(known) if known else None), (), None


def _rows(
    table: pa.Table, root: Path, roles: tuple[str, str | None, str | None, str | None], rest: list[str]
) -> Iterator[Entry]:
    path, label, accepted, split = roles
    for batch in table.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            yield Entry(
                _locate(row[path], root),
                label=_key(row[label]) if label else None,
                split=_text(row[split]) if split else None,
                meta=_meta({name: row[name] for name in rest}),
                accepted=_accepted(row[accepted]) if accepted else None,
            )


def _key(value: Any) -> str | int | None:
    """A label: text is a key, a whole number an index; empty text and NaN are no label."""
    if value is None or isinstance(value, str):
        return value or None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SchemaError(f"label {value!r} is neither text nor a whole number") from None
    if math.isnan(number):
        return None
    if not number.is_integer():
        raise SchemaError(f"label {value!r} is neither text nor a whole number")
    return int(value)


def _text(value: Any) -> str | None:
    return None if value is None or value == "" or value != value else str(value)


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
    label = _column(columns, label, LABEL_COLUMNS, "label", str(file))
    split = _column(columns, None, ("split",), "split", str(file))
    accepted = _accepted_column(opened.schema_arrow, [])
    names = _feature_names(opened.schema_arrow.metadata or {}, label)

    def entries() -> Iterator[Entry]:
        number = 0
        for batch in opened.iter_batches(batch_size=128):
            for row in batch.to_pylist():
                image = row.pop(column) or {}
                data, path = image.get("bytes"), image.get("path")
                key = _key(row.pop(label)) if label else None
                where = _text(row.pop(split)) if split else None
                right = _accepted(row.pop(accepted)) if accepted else None
                uri = f"{file}#{number}" if data is not None else _locate(path, file.parent)
                meta = {**row, "path": path} if data is not None and path else row
                yield Entry(uri, data, key, where, _meta(meta), right)
                number += 1

    told = pq.read_table(file, columns=[name for name in (label, accepted) if name])
    keys, classes, extremes, _ = _keys(told, label, accepted)
    if names:
        keys, classes = (), from_keys(names)
    return Source(file.stem, str(file), entries(), keys, classes, extremes, total=opened.metadata.num_rows)


def _feature_names(metadata: dict[bytes, bytes], label: str | None) -> list[str]:
    """Class names from the metadata that Hugging Face writes into Parquet files."""
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return [str(name) for name in features.get(label, {}).get("names", [])]


def _from_list(given: Iterable[Any]) -> Source:
    """PIL images, uint8 arrays, encoded bytes or paths, each perhaps in a pair with its label; or a torchvision set."""
    names = getattr(given, "classes", None)

    def entries() -> Iterator[Entry]:
        seen: Counter[str] = Counter()
        for number, item in enumerate(given):
            picture, label = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
            if isinstance(picture, str | Path):
                yield Entry(_locate(picture, Path.cwd()), label=_key(label))
                continue
            try:
                data = picture if isinstance(picture, bytes) else decode.encode(picture)
            except ImageError as error:
                raise ImageError(f"picture {number}: {error}") from error
            uri = f"sha256:{hashlib.sha256(data).hexdigest()}"
            seen[uri] += 1
            yield Entry(uri if seen[uri] == 1 else f"{uri}#{seen[uri]}", data, _key(label))

    simple = [name if isinstance(name, str) else name[0] for name in names] if names else []
    classes = from_keys(simple) if simple else None
    total = len(given) if isinstance(given, Sized) else None
    return Source("images", "pictures from Python", entries(), (), classes, total=total)
