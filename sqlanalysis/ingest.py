"""Images and predictions in: from folders, globs, manifests, Parquet, arrays, tables."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from . import images, labels, progress, runs, sources
from .database import execute, fetch, transaction
from .errors import ImageError, NotFoundError, SchemaError, near_matches
from .sources import Entry, Source

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_IMAGES = 2048
BLOCK_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class AddedImages:
    """What `add_images` did: every entry of the source is counted once."""

    dataset: str
    n_added: int = 0
    n_changed: int = 0
    n_unchanged: int = 0
    n_errors: int = 0

    def __add__(self, other: tuple[int, int, int, int]) -> AddedImages:
        old = (self.n_added, self.n_changed, self.n_unchanged, self.n_errors)
        return AddedImages(self.dataset, *(a + b for a, b in zip(old, other, strict=True)))


def add_images(
    con: duckdb.DuckDBPyConnection,
    source: Any,
    *,
    dataset: str | None = None,
    split: str | None = None,
    embed: bool = False,
    path: str | None = None,
    label: str | None = None,
    classes: str | Path | Sequence[str] | None = None,
    show_progress: bool = True,
) -> AddedImages:
    """Put images into `images`, by reference or with their bytes; reads each file once and decodes no pixel.

    Args:
        con: from `connect`.
        source: a folder with one sub-folder per class (perhaps below `train/`, `val/`), a flat folder, a glob, one
            file; a manifest (CSV, TSV, Parquet, JSON lines) with a path column; a Parquet file whose `image` column is
            STRUCT(bytes, path); or PIL images, uint8 arrays (H, W[, 3 or 4]), (picture, label) pairs such as a
            torchvision data set.
        dataset: name of the data set; default is the name of the source.
        split: split of the images whose source names none.
        embed: keep the encoded bytes in the file. Pictures without a file of their own are always embedded.
        path, label: columns of a manifest, when they have no usual name. Other columns are kept in `meta`.
        classes: class names in the order of integer labels: a list, a file, or `"imagenet1k"`.
        show_progress: draw a progress bar on a terminal.

    Returns:
        Counts of added, changed (new bytes under a known uri), unchanged and unreadable entries. Adding a source
        again adds nothing; unreadable files become rows of `errors` (run NULL), and leave it once they can be read.

    Raises:
        NotFoundError: no such path, or no image there.
        SchemaError: a manifest without the named column; a label or class that does not fit the data set.
        ImageError: a picture from Python of the wrong type or shape.
    """
    found = sources.open_source(source, path=path, label=label)
    if classes is not None:
        found = replace(found, classes=labels.load_classes(classes))
    name = dataset or found.name
    total = len(source) if hasattr(source, "__len__") and not isinstance(source, str) else None
    with transaction(con):
        space = _Space.open(con, name, found)
    counts = AddedImages(name)
    with ThreadPoolExecutor() as pool, progress.track(f"adding {name}", total, enabled=show_progress) as advance:
        for block in _blocks(found.entries, embed, pool):
            table = _table(block, space, split)
            with transaction(con):
                space.save(con)
                if space.names:
                    execute(con, "statements/update_dataset_space", [space.name, name])
                counts += _write(con, name, table)
            advance(len(block))
    return counts


class _Space:
    """The label space of one data set while images come in: key or index of a label → class, growing as needed."""

    def __init__(self, name: str, known: labels.Classes, frozen_by: str | None) -> None:
        self.name, self.frozen_by, self.saved = name, frozen_by, len(known)
        self.names, self.wnids = list(known.names), list(known.wnids)
        pairs = enumerate(zip(known.names, known.wnids, strict=True))
        self.index = {key: number for number, keys in pairs for key in keys if key}

    @classmethod
    def open(cls, con: duckdb.DuckDBPyConnection, dataset: str, source: Source) -> _Space:
        row = fetch(con, "statements/read_dataset", [dataset])
        if not row:
            execute(con, "statements/insert_dataset", [dataset, None, source.origin])
        name = (row[0][0] if row else None) or dataset
        frozen_by = fetch(con, "statements/read_space_user", [name])
        space = cls(name, read_classes(con, name), frozen_by[0][0] if frozen_by else None)
        if source.classes is not None:
            space._extend(source.classes, source.keys)
        return space

    def _extend(self, classes: labels.Classes, keys: Sequence[str]) -> None:
        for name, wnid in zip(classes.names, classes.wnids, strict=True):
            if name not in self.index and (wnid is None or wnid not in self.index):
                self._append(name, wnid)
        if all(key in self.index for key in keys):
            return
        if len(keys) != len(classes):
            raise SchemaError(f"{len(classes)} classes for {len(keys)} labels: {', '.join(keys[:5])}, …; give one each")
        for key, name in zip(keys, classes.names, strict=True):
            self.index.setdefault(key, self.index[name])

    def _append(self, name: str, wnid: str | None = None) -> None:
        if self.frozen_by:
            raise SchemaError(
                f"class {name!r} is new to label space {self.name!r}, which run {self.frozen_by!r} already uses; "
                "add these images under another dataset="
            )
        self.index[name] = len(self.names)
        if wnid:
            self.index[wnid] = len(self.names)
        self.names.append(name)
        self.wnids.append(wnid)

    def resolve(self, label: str | int | None) -> int | None:
        if label is None:
            return None
        if isinstance(label, int):
            if label < 0:
                raise SchemaError(f"label {label} is negative; labels are 0-based, NULL when unknown")
            while label >= len(self.names):
                self._append(str(len(self.names)))
            return label
        if label not in self.index:
            self._append(label)
        return self.index[label]

    def save(self, con: duckdb.DuckDBPyConnection) -> None:
        if len(self.names) == self.saved:
            return
        save_classes(con, self.name, labels.Classes(tuple(self.names), tuple(self.wnids)), start=self.saved)
        self.saved = len(self.names)


def read_classes(con: duckdb.DuckDBPyConnection, space: str) -> labels.Classes:
    """The classes of a label space; none when there is no such space."""
    rows = fetch(con, "statements/read_classes", [space])
    names = tuple(row[1] for row in rows)
    return labels.Classes(names, tuple(row[2] for row in rows), named=names != tuple(map(str, range(len(names)))))


def save_classes(con: duckdb.DuckDBPyConnection, space: str, classes: labels.Classes, start: int = 0) -> None:
    """Write the classes from index `start` on into `classes` and the size of their space into `label_spaces`."""
    import pyarrow as pa

    extra = [json.dumps({"wnid": wnid}) if wnid else None for wnid in classes.wnids]
    table = pa.table(
        {
            "class": pa.array(range(start, len(classes)), pa.int32()),
            "name": pa.array(classes.names[start:], pa.string()),
            "extra": pa.array(extra[start:], pa.string()),
        }
    )
    with registered(con, "added_classes", table):
        execute(con, "statements/insert_classes", [space])
    execute(con, "statements/delete_label_space", [space])
    execute(con, "statements/insert_label_space", [space, len(classes)])


class registered:  # noqa: N801 - reads as a verb in a with statement
    """An Arrow table under a name, for the statements inside the block."""

    def __init__(self, con: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
        self.con, self.name, self.table = con, name, table

    def __enter__(self) -> None:
        self.con.register(self.name, self.table)

    def __exit__(self, *_: object) -> None:
        self.con.unregister(self.name)


_Inspected = tuple[Entry, images.Facts | ImageError]


def _blocks(entries: Iterable[Entry], embed: bool, pool: ThreadPoolExecutor) -> Iterator[list[_Inspected]]:
    """Entries with their facts, in blocks bounded by count and bytes; of one uri, only the first entry."""
    seen: set[str] = set()
    block: list[_Inspected] = []
    held = 0
    stream = iter(entries)
    while batch := list(itertools.islice(stream, 128)):
        fresh = {entry.uri: entry for entry in reversed(batch) if entry.uri not in seen}
        seen |= fresh.keys()
        for entry, facts in pool.map(_inspect, reversed(fresh.values()), itertools.repeat(embed)):
            block.append((entry, facts))
            held += len(entry.data or b"")
        if len(block) >= BLOCK_IMAGES or held >= BLOCK_BYTES:
            yield block
            block, held = [], 0
    if block:
        yield block


def _inspect(entry: Entry, embed: bool) -> _Inspected:
    try:
        data = images.read(entry.data, entry.uri)
        return (replace(entry, data=data) if embed else entry), images.inspect(data)
    except ImageError as error:
        return replace(entry, data=None), error


def _table(block: list[_Inspected], space: _Space, split: str | None) -> pa.Table:
    import pyarrow as pa

    facts = [found if isinstance(found, images.Facts) else None for _, found in block]
    failures = [found if isinstance(found, ImageError) else None for _, found in block]
    columns = {
        "position": pa.array(range(len(block)), pa.int64()),
        "uri": pa.array([entry.uri for entry, _ in block], pa.string()),
        "split": pa.array([entry.split or split for entry, _ in block], pa.string()),
        "label": pa.array([space.resolve(entry.label) for entry, _ in block], pa.int32()),
        "meta": pa.array([entry.meta for entry, _ in block], pa.string()),
        "bytes": pa.array([entry.data for entry, _ in block], pa.binary()),
        "message": pa.array([str(error) if error else None for error in failures], pa.string()),
    }
    for name, kind in (("sha256", pa.string()), ("n_bytes", pa.int64()), ("format", pa.string())):
        columns[name] = pa.array([getattr(fact, name, None) for fact in facts], kind)
    for name in ("width_px", "height_px"):
        columns[name] = pa.array([getattr(fact, name, None) for fact in facts], pa.int32())
    return pa.table(columns)


def _write(con: duckdb.DuckDBPyConnection, dataset: str, table: pa.Table) -> tuple[int, int, int, int]:
    with registered(con, "scanned", table):
        added, changed, unchanged, unreadable = fetch(con, "statements/count_scanned", [dataset])[0]
        for name in ("delete_read_errors", "insert_read_errors", "update_images", "insert_images"):
            execute(con, f"statements/{name}", [dataset])
        execute(con, "statements/delete_stale_bytes", [dataset])
        execute(con, "statements/insert_image_bytes", [dataset])
    return added, changed, unchanged, unreadable


@dataclass(frozen=True)
class AddedPredictions:
    """What `add_predictions` did: every row of the source is an output or an error."""

    run: str
    n_ok: int
    n_errors: int


def add_predictions(
    con: duckdb.DuckDBPyConnection, source: Any, run: str, *, dataset: str | None = None
) -> AddedPredictions:
    """Make a run of predictions that something else computed; no torch needed.

    Args:
        con: from `connect`, writable.
        source: a CSV, Parquet or JSON file, the name of a table or view, a DuckDB relation, an Arrow table or a pandas
            frame. One row per image: `image_id`, or a path (`uri`, `path`, `file`, …) that ends the uri of one image;
            `pred` as numbers (0-based index, -1 outside) or as text (name of a class), or `pred_name`, or only `probs`;
            and where known `confidence` and `probs` (a list of one probability per class).
        run: name of the new run, an identifier.
        dataset: which data set; default the only one.

    Returns:
        Counts. Rows without an image, with an unknown class or with another number of probabilities become rows of
        `errors`. Writes `outputs.<run>`, `runs` and the view `<run>`.

    Raises:
        NotFoundError: no such file, table or data set.
        SchemaError: the run name is taken, the data set has no classes, the columns needed are missing, or no row fits.
    """
    dataset, space = runs.resolve_dataset(con, dataset)
    if space is None:
        raise SchemaError(f"data set {dataset!r} has no classes; add its images with labels, or with classes=")
    size = len(read_classes(con, space))
    with transaction(con), _source_rows(con, source):
        types = dict(fetch(con, "statements/describe_source_rows"))
        columns = {name.lower(): name for name in types}
        chosen = _prediction_columns(columns)
        by_index = str(chosen["pred"]).lower() != "pred_name" and types.get(chosen["pred"]) not in ("VARCHAR", None)
        kept = [("pred", "INTEGER"), ("confidence", "FLOAT")] + [("probs", f"FLOAT[{size}]")] * ("probs" in columns)
        wanted = runs.Run(run, dataset, "imported", weights=_origin(source), model_space=space, output_space=space)
        if run in runs.known(con):
            raise SchemaError(f"run {run!r} exists; give another run=")
        runs.open_run(con, wanted, kept)
        values = {"dataset": dataset, "space": space, "size": size}
        execute(con, "statements/create_imported", values, **chosen, by_index=by_index)
        n_ok, n_errors = fetch(con, "statements/count_imported")[0]
        if n_errors and not n_ok:
            example = fetch(con, "statements/read_import_problem")[0][0]
            raise SchemaError(f"no row of {_origin(source)} fits data set {dataset!r}; the first: {example}")
        execute(con, "statements/insert_imported", run=run, names=[name for name, _ in kept])
        execute(con, "statements/insert_import_errors", {"run": run, "dataset": dataset})
        runs.close_run(con, run, "finished", {})
    return AddedPredictions(run, n_ok, n_errors)


def _origin(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else type(source).__name__


def _prediction_columns(columns: dict[str, str]) -> dict[str, str | None]:
    """Which column of the source plays which part."""

    def first(*names: str) -> str | None:
        return next((columns[name] for name in names if name in columns), None)

    path = first("uri", *sources.PATH_COLUMNS)
    chosen = {"image_id": first("image_id"), "path": path, "pred": first("pred", "pred_name", "prediction")}
    chosen |= {"confidence": first("confidence"), "probs": first("probs")}
    if chosen["image_id"] is None and path is None:
        raise SchemaError(f"no column image_id and no path column; there are: {', '.join(columns.values())}")
    if chosen["pred"] is None and chosen["probs"] is None:
        raise SchemaError(f"no column pred, pred_name or probs; there are: {', '.join(columns.values())}")
    return chosen


@contextmanager
def _source_rows(con: duckdb.DuckDBPyConnection, source: Any) -> Iterator[None]:
    """The rows of the source as the temporary view `source_rows`."""
    if isinstance(source, duckdb.DuckDBPyRelation):
        source = source.to_arrow_table()
    if isinstance(source, str | Path):
        file = Path(source).expanduser()
        if file.suffix.lower() in sources.MANIFESTS:
            if not file.is_file():
                raise NotFoundError(f"no file {file}")
            kind = {".parquet": "parquet", ".json": "json", ".jsonl": "json"}.get(file.suffix.lower(), "csv")
            execute(con, "statements/create_source_rows", kind=kind, source=str(file))
        else:
            tables = [row[0] for row in fetch(con, "statements/list_relations")]
            if str(source) not in tables:
                raise NotFoundError(f"no file, table or view {str(source)!r}{near_matches(str(source), tables)}")
            execute(con, "statements/create_source_rows", kind="table", source=str(source))
        yield
        return
    with registered(con, "source_rows", source):
        yield
