"""Hugging Face's data sets: shards of Parquet, folders from `save_to_disk`, objects of `datasets`.

`datasets` itself is not needed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...core.classes import from_keys
from ...core.decode import encode
from ...core.parsing import parse_json
from ...core.reading import MAX_BYTES
from ...core.text import one_line
from ...errors import ArgumentError, NotFoundError, SchemaError
from .. import columns
from . import Entry, Source, parquet
from .pictured import (
    Picture,
    beside_pictures,
    by_content,
    joined,
    label_column,
    picture_bytes,
    picture_column,
    placed,
    refuse_lists,
    same_features,
    scalars,
    struct_paths,
    with_paths,
)
from .pictured import encoded as encoded
from .pictured import from_rows as from_rows
from .pictured import holds_pictures as holds_pictures
from .table import Table
from .values import name as normal
from .values import to_label, to_meta, to_text


def has_pictures(file: Path, chosen: Mapping[str, str]) -> bool:
    """Whether a Parquet file holds the pictures themselves, not their paths."""
    return parquet.has_pictures(file, chosen)


def from_parquet(files: Sequence[Path], chosen: Mapping[str, str]) -> Source:
    """The images of one Parquet file or of several shards."""
    return parquet.from_parquet(files, chosen)


def is_saved(root: Path) -> bool:
    """Whether a folder was written by `save_to_disk` of a Dataset or a DatasetDict."""
    return (root / "dataset_dict.json").is_file() or (
        (root / "state.json").is_file() and (root / "dataset_info.json").is_file()
    )


def from_saved(root: Path, chosen: Mapping[str, str]) -> Source:
    """The images of a folder written by `save_to_disk`.

    Raises:
        NotFoundError: a file that the folder's own list names is not there.
        SchemaError: a damaged file, or a data set that is a selection of its rows.
    """
    parts = _saved_parts(root)
    tables: list[tuple[pa.Table, str | None, Path]] = []
    named: list[tuple[str, dict[str, list[str]]]] = []
    for path, split in parts:
        info, state = _json(path / "dataset_info.json"), _json(path / "state.json")
        if state.get("_indices_files") or state.get("_indices_data_files"):
            raise SchemaError(f"{path} is a selection of its rows; save it again after ds.flatten_indices()")
        named.append((str(path), _named_features(info.get("features"))))
        listed = state.get("_data_files")
        files = [one.get("filename") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        if not files:
            raise SchemaError(f"{path / 'state.json'} lists no data files; save the data set again")
        where = split or (state.get("_split") if isinstance(state.get("_split"), str) else None)
        tables += [(_arrow(path, name), where, path / str(name)) for name in files]
    column = picture_column(tables[0][0].schema, chosen, str(root))
    if column is None:
        raise SchemaError(f"{root} has no column of pictures; it has {', '.join(tables[0][0].column_names)}")
    return _from_parts(tables, column, chosen, str(root), root, same_features(named))


def _saved_parts(root: Path) -> list[tuple[Path, str | None]]:
    if not (root / "dataset_dict.json").is_file():
        return [(root, None)]
    listed = _json(root / "dataset_dict.json").get("splits")
    splits = [one for one in listed if isinstance(one, str)] if isinstance(listed, list) else []
    if not splits or any(Path(split).name != split for split in splits):
        raise SchemaError(f"{root / 'dataset_dict.json'} lists no splits; save the data set again")
    return [(root / split, split) for split in splits]


def _from_parts(
    tables: Sequence[tuple[pa.Table, str | None, Path]],
    column: str,
    chosen: Mapping[str, str],
    origin: str,
    root: Path,
    features: dict[str, list[str]],
) -> Source:
    rest, dropped = beside_pictures(tables[0][0].schema, column)
    try:
        rows = pa.concat_tables([one.select(rest) for one, _, _ in tables]) if rest else None
        paths = [struct_paths(one[column]) for one, _, _ in tables]
    except (pa.ArrowException, KeyError) as error:
        raise SchemaError(f"{origin}: its parts differ in their columns: {one_line(error, 200)}") from error

    def pictures() -> Iterator[Picture]:
        for (one, split, file), names in zip(tables, paths, strict=True):
            values = scalars(one[column])
            for number, (value, path) in enumerate(zip(values, names, strict=True)):
                yield placed(picture_bytes(value), path, file, number, split)

    beside = with_paths(rows, column, [path for one in paths for path in one])
    return joined(Table(beside, origin, root, root.name, features), column, chosen, pictures(), dropped)


def _json(file: Path) -> dict[str, Any]:
    """A JSON object; an empty one when the file holds something else."""
    if not file.is_file():
        raise NotFoundError(f"no file {file}")
    try:
        found = parse_json(file.read_text("utf-8"), file)
    except (SchemaError, UnicodeDecodeError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _named_features(features: Any) -> dict[str, list[str]]:
    """Class names by column from the description of a data set; malformed ones are ignored."""
    return {
        str(name): [str(one) for one in feature["names"]]
        for name, feature in (features.items() if isinstance(features, dict) else ())
        if isinstance(feature, dict) and isinstance(feature.get("names"), list)
    }


def _arrow(folder_: Path, name: Any) -> pa.Table:
    """An Arrow file, mapped into memory and checked: its offsets are not trusted."""
    if not isinstance(name, str) or Path(name).name != name:
        raise SchemaError(f"{folder_} lists a file outside itself: {one_line(name, 80)}")
    file = folder_ / name
    if not file.is_file():
        raise NotFoundError(f"no file {file}, which state.json lists")
    try:
        with pa.memory_map(str(file)) as mapped:
            try:
                table = pa.ipc.open_stream(mapped).read_all()
            except pa.ArrowInvalid:
                mapped.seek(0)
                table = pa.ipc.open_file(mapped).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
        raise SchemaError(f"{file} cannot be read as Arrow: {one_line(error, 200)}") from error
    return table


# Objects of `datasets`


def is_dataset(source: Any) -> bool:
    """Whether an object is a Dataset, DatasetDict, IterableDataset or IterableDatasetDict of Hugging Face."""
    return type(source).__module__.partition(".")[0] == "datasets" and (
        isinstance(source, dict) or hasattr(source, "features")
    )


def from_dataset(dataset: Any, chosen: Mapping[str, str]) -> Source:
    """The images of a Hugging Face data set, with the bytes it holds: nothing is decoded or encoded again.

    Raises:
        ArgumentError: an empty DatasetDict.
        SchemaError: no or several columns of pictures, or labels that can be read in two ways.
    """
    parts: dict[str | None, Any] = dict(dataset) if isinstance(dataset, dict) else {_split_of(dataset): dataset}
    if not parts:
        raise ArgumentError("this DatasetDict is empty")
    first = next(iter(parts.values()))
    if not hasattr(first, "num_rows"):
        return _from_stream(parts, chosen)
    tables: list[tuple[pa.Table, str | None]] = [
        (part.with_format("arrow"), None if split is None else str(split)) for split, part in parts.items()
    ]
    schema = _arrow_schema(first)
    origin = type(dataset).__name__
    column = picture_column(schema, chosen, origin)
    if column is None:
        raise SchemaError(f"this {origin} has no column of pictures; it has {', '.join(schema.names)}")
    features = same_features([(str(split), _object_features(part)) for split, part in parts.items()])
    rest, dropped = beside_pictures(schema, column)
    try:
        beside = [part.select_columns(rest)[:] for part, _ in tables] if rest else []
        rows = (
            pa.concat_tables([one if isinstance(one, pa.Table) else pa.table(one) for one in beside]) if rest else None
        )
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise SchemaError(f"the splits of this {origin} differ: {one_line(error, 200)}") from error
    n_rows = sum(int(part.num_rows) for part in parts.values())
    seen: Counter[str] = Counter()

    def pictures() -> Iterator[Picture]:
        for part, split in tables:
            number = 0
            for batch in part.select_columns([column]).iter(batch_size=16):
                values = batch[column]
                paths = struct_paths(values)
                found = scalars(values)
                for value, path in zip(found, paths, strict=True):
                    row = f"{split or origin}#{number}"
                    yield by_content(picture_bytes(value), path, row, Path.cwd(), split, seen)
                    number += 1

    table = Table(with_paths(rows, column, [None] * n_rows), origin, Path.cwd(), _dataset_name(first), features)
    return joined(table, column, chosen, pictures(), dropped)


def _arrow_schema(dataset: Any) -> pa.Schema:
    found: pa.Schema = dataset.features.arrow_schema
    return found


def _split_of(dataset: Any) -> str | None:
    split = getattr(dataset, "split", None)
    text = str(split) if split is not None else ""
    return text if re.fullmatch(r"\w+", text) else None


def _dataset_name(dataset: Any) -> str:
    info = getattr(dataset, "info", None)
    name = getattr(info, "dataset_name", None)
    return name if isinstance(name, str) and name else "images"


def _object_features(dataset: Any) -> dict[str, list[str]]:
    features = getattr(dataset, "features", None) or {}
    found = {str(name): getattr(feature, "names", None) for name, feature in features.items()}
    return {name: [str(one) for one in names] for name, names in found.items() if isinstance(names, list)}


def _from_stream(parts: Mapping[str | None, Any], chosen: Mapping[str, str]) -> Source:
    """An IterableDataset, row by row: its classes are those of its features, else as they come."""
    parts = {split: _undecoded(part) for split, part in parts.items()}
    first = next(iter(parts.values()))
    origin = type(first).__name__
    if getattr(first, "features", None) is None:
        raise SchemaError(f"this {origin} does not say what its columns are; give it features (ds.cast(Features(…)))")
    schema = _arrow_schema(first)
    column = picture_column(schema, chosen, origin)
    if column is None:
        raise SchemaError(f"this {origin} has no column of pictures; it has {', '.join(schema.names)}")
    features = same_features([(str(split), _object_features(part)) for split, part in parts.items()])
    rest, dropped = beside_pictures(schema, column)
    label, notes = label_column(rest, features, chosen, origin)
    refuse_lists(schema, label, origin)
    where = columns.find(rest, ("split",), {role: name for role, name in chosen.items() if role == "split"}, origin)
    names = [normal(one) for one in features.get(label or "", ())]
    used = {label, where["split"]}
    seen: Counter[str] = Counter()

    def entries() -> Iterator[Entry]:
        for split, part in parts.items():
            for number, row in enumerate(part):
                value = row[column]
                data, path = _bytes_and_path(value)
                data = data if data is not None and len(data) <= MAX_BYTES else None
                picture = by_content(data, path, f"{split or origin}#{number}", Path.cwd(), split, seen)
                meta = {name: row.get(name) for name in rest if name not in used}
                meta |= {"path": path} if path and data is not None and "path" not in meta else {}
                yield Entry(
                    picture.uri,
                    picture.data,
                    _named(row.get(label), names, origin) if label else None,
                    (to_text(row.get(where["split"])) if where["split"] else None) or split,
                    to_meta(meta),
                )

    taken = {"path": column, "label": label, "split": where["split"]}
    source = Source(_dataset_name(first), origin, entries(), columns=columns.describe(taken), notes=notes)
    if names:
        source.keys, source.classes, source.indexed = tuple(names), from_keys(names), True
    if dropped:
        source.notes.append(f"columns of bytes left out: {', '.join(dropped)}")
    return source


def _bytes_and_path(value: Any) -> tuple[bytes | None, str | None]:
    """The bytes of a picture in a row; those of a decoded one, as `filter` hands them on, without loss."""
    if isinstance(value, dict):
        return value.get("bytes"), value.get("path")
    return (value if value is None or isinstance(value, bytes) else encode(value)), None


def _undecoded(dataset: Any) -> Any:
    """The stream without its transforms' formats, and with pictures as the bytes they came in."""
    if getattr(dataset, "features", None) is None and hasattr(dataset, "_resolve_features"):
        try:
            dataset = dataset._resolve_features()
        except (pa.ArrowException, TypeError, ValueError) as error:  # of decoded pictures it tells no type
            raise SchemaError(
                f"this {type(dataset).__name__} does not say what its columns are, and its rows do not, either: give "
                "it features (ds.cast(Features(…)), or map(…, features=…))"
            ) from error
    for name, feature in dict(getattr(dataset, "features", None) or {}).items():
        if type(feature).__name__ == "Image":
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    return dataset


def _named(value: Any, names: Sequence[str], origin: str) -> str | int | None:
    label = to_label(value)
    if not names or label is None or isinstance(label, str):
        return label
    if label == -1:
        return None
    if not 0 <= label < len(names):
        raise SchemaError(f"{origin} has label {label}, but its feature names {len(names)} classes")
    return names[label]
