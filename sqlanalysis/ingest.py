"""Images and predictions in: from folders, globs, manifests, Parquet, arrays, tables."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
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
            file; a manifest with a path column: a CSV, TSV, Parquet or JSON lines file, a pandas frame, an Arrow table
            or a DuckDB relation; a Parquet file whose `image` column is STRUCT(bytes, path); or a list of paths, PIL
            images, uint8 arrays (H, W[, 3 or 4]), or pairs of one of these and a label, such as a torchvision data set.
        dataset: name of the data set; default is the name of the source. A folder that is itself called `train`,
            `val` or `test` gives its parent's name and its own as the split.
        split: split of the images whose source names none.
        embed: keep the encoded bytes in the file. Pictures without a file of their own are always embedded.
        path, label: columns of a manifest, when they have no usual name; upper and lower case do not matter. A column
            `accepted` of lists, or of JSON text of lists, holds all the labels that are right for an image; where it is
            empty none is, and the image counts neither as right nor as wrong. Other columns are kept in `meta`.
            Relative paths start at the manifest's folder, or at the working directory.
        classes: class names in the order of this source's integer labels: a list, a file, or `"imagenet1k"`. Each
            source may have its own order: classes are told apart by name. Names given later replace mere numbers.
        show_progress: draw a progress bar on a terminal.

    Folders called train, training, val, valid, validation, test or testing are splits when no other folder stands
    beside them, or when one of them holds class folders with images; the others and images beside them are then
    ignored. Otherwise every folder is a class, even without an image. Dot-folders, and links back to a folder they are
    in, are skipped.

    Labels are text, or whole numbers from 0; NULL, NaN, empty text and, where the source names its classes, -1 mean
    unlabelled.

    Returns:
        Counts of added, changed (new bytes, labels, split or meta under a known uri), unchanged and unreadable entries.
        Adding a source again adds nothing. A path that stands in the source again counts as unchanged, or, with another
        label, split or meta, as an error. Unreadable files and such repeats become rows of `errors` (run NULL), and
        leave it once the source is right.

    Raises:
        NotFoundError: no such path, no image there, or it cannot be read.
        SchemaError: a manifest without the named column; a label or class that does not fit the data set.
        ImageError: a picture from Python of the wrong type or shape.
    """
    found = sources.open_source(source, path=path, label=label)
    if classes is not None:
        found = replace(found, classes=labels.load_classes(classes))
    name = dataset or found.name
    split = split or (found.split if dataset is None else None)
    space = _open_space(con, name, found, ordered=classes is not None or not found.keys)
    counts = AddedImages(name)
    with ThreadPoolExecutor() as pool, progress.track(f"adding {name}", found.total, enabled=show_progress) as advance:
        for block, n_repeated in _blocks(found.entries, embed, pool):
            table = _table(block, space, split)
            with transaction(con):
                if not fetch(con, "statements/read_dataset", [name]):
                    execute(con, "statements/insert_dataset", [name, None, found.origin])
                _save_space(con, space)
                if space.names:
                    execute(con, "statements/update_dataset_space", [space.name, name])
                counts += _write(con, name, table)
            counts += (0, 0, n_repeated, 0)
            advance(len(block) + n_repeated)
    return counts


def _open_space(con: duckdb.DuckDBPyConnection, dataset: str, source: Source, ordered: bool) -> labels.Space:
    row = fetch(con, "statements/read_dataset", [dataset])
    name = (row[0][0] if row else None) or dataset
    used_by = fetch(con, "statements/read_space_user", [name])
    space = labels.Space(name, read_classes(con, name), used_by[0][0] if used_by else None)
    if source.classes is not None:
        space.use(source.classes, source.keys, ordered=ordered)
    for number in source.extremes:
        space.resolve(number)
    return space


def _save_space(con: duckdb.DuckDBPyConnection, space: labels.Space) -> None:
    if len(space.names) == space.n_saved:
        return
    if space.n_saved == 0:
        execute(con, "statements/delete_classes", [space.name])
    save_classes(con, space.name, labels.Classes(tuple(space.names), tuple(space.wnids)), start=space.n_saved)
    space.n_saved = len(space.names)


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
        with suppress(duckdb.TransactionException):  # an aborted transaction: its error is the one to show
            self.con.unregister(self.name)


_Inspected = tuple[Entry, images.Facts | ImageError]
_Said = tuple[str | int | None, str | None, tuple[str | int, ...] | None, int]  # label … and the hash of meta


def _blocks(entries: Iterable[Entry], embed: bool, pool: ThreadPoolExecutor) -> Iterator[tuple[list[_Inspected], int]]:
    """Entries with their facts, in blocks bounded by count and bytes, and how many repeat an earlier entry as it was.

    Of one uri the first entry counts; one that says something else is an error.
    """
    seen: dict[str, _Said] = {}
    block: list[_Inspected] = []
    held = n_repeated = 0
    stream = iter(entries)
    while batch := list(itertools.islice(stream, 128)):
        fresh = []
        for entry in batch:
            said = (entry.label, entry.split, entry.accepted, hash(entry.meta))
            if entry.uri not in seen:
                seen[entry.uri] = said
                fresh.append(entry)
            elif seen[entry.uri] == said:
                n_repeated += 1
            else:
                block.append((replace(entry, data=None, label=None, accepted=None), _conflict(seen[entry.uri], said)))
        for entry, facts in pool.map(_inspect, fresh, itertools.repeat(embed)):
            block.append((entry, facts))
            held += len(entry.data or b"")
        if len(block) >= BLOCK_IMAGES or held >= BLOCK_BYTES:
            yield block, n_repeated
            block, held, n_repeated = [], 0, 0
    if block or n_repeated:
        yield block, n_repeated


def _conflict(first: _Said, later: _Said) -> ImageError:
    both = zip(("label", "split", "accepted"), first, later, strict=False)
    texts = [f"{role} {a!r} and {b!r}" for role, a, b in both if a != b] or ["other columns that differ"]
    return ImageError(f"stands in the source twice, with {', '.join(texts)}; the first counts")


def _inspect(entry: Entry, embed: bool) -> _Inspected:
    if not entry.uri.isprintable() and (plain := sources.readable(entry.uri)) != entry.uri:
        return replace(entry, uri=plain, data=None), ImageError("the name is no UTF-8; rename the file or its folder")
    try:
        data = images.read(entry.data, entry.uri)
        return (replace(entry, data=data) if embed else entry), images.inspect(data)
    except ImageError as error:
        return replace(entry, data=None), error


def _table(block: list[_Inspected], space: labels.Space, split: str | None) -> pa.Table:
    import pyarrow as pa

    facts = [found if isinstance(found, images.Facts) else None for _, found in block]
    failures = [found if isinstance(found, ImageError) else None for _, found in block]
    columns = {
        "position": pa.array(range(len(block)), pa.int64()),
        "uri": pa.array([entry.uri for entry, _ in block], pa.string()),
        "split": pa.array([entry.split or split for entry, _ in block], pa.string()),
        "label": pa.array([space.resolve(entry.label) for entry, _ in block], pa.int32()),
        "accepted": pa.array([_resolve_all(entry.accepted, space) for entry, _ in block], pa.list_(pa.int32())),
        "meta": pa.array([entry.meta for entry, _ in block], pa.string()),
        "bytes": pa.array([entry.data for entry, _ in block], pa.binary()),
        "message": pa.array([str(error) if error else None for error in failures], pa.string()),
    }
    for name, kind in (("sha256", pa.string()), ("n_bytes", pa.int64()), ("format", pa.string())):
        columns[name] = pa.array([getattr(fact, name, None) for fact in facts], kind)
    for name in ("width_px", "height_px"):
        columns[name] = pa.array([getattr(fact, name, None) for fact in facts], pa.int32())
    return pa.table(columns)


def _resolve_all(accepted: tuple[str | int, ...] | None, space: labels.Space) -> list[int] | None:
    if accepted is None:
        return None
    found = {space.resolve(label) for label in accepted}
    return sorted(label for label in found if label is not None)


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
            `pred` as numbers (0-based index, -1 outside) or as text (name of a class), or `pred_name`, always the name,
            or `pred_index`, always the index, or only `probs`; and where known `confidence` and `probs` (a list of one
            probability per class). Where classes are called by numbers other than their index, numbers in `pred` could
            mean either and are refused: call the column `pred_name` or `pred_index`.
        run: name of the new run, an identifier.
        dataset: which data set; default the only one.

    Returns:
        Counts. Rows without an image, with an unknown class, with NaN in `probs` or with another number of
        probabilities become rows of `errors`; rows whose `pred` is NULL are kept, and left out by the metrics.
        Writes `outputs.<run>`, `runs` and the view `<run>`.

    Raises:
        NotFoundError: no such file, table or data set.
        SchemaError: the run name is taken, the data set has no classes, the columns needed are missing, numbers may be
            names, no row fits, or none has a prediction.
    """
    dataset, space = runs.resolve_dataset(con, dataset)
    if space is None:
        raise SchemaError(f"data set {dataset!r} has no classes; add its images with labels, or with classes=")
    known = read_classes(con, space)
    size = len(known)
    with transaction(con), _source_rows(con, source):
        types = dict(fetch(con, "statements/describe_source_rows"))
        columns = {name.lower(): name for name in types}
        chosen = _prediction_columns(columns)
        by_index = _is_index(chosen["pred"], types, known, dataset)
        kept = [("pred", "INTEGER"), ("confidence", "FLOAT")] + [("probs", f"FLOAT[{size}]")] * ("probs" in columns)
        wanted = runs.Run(run, dataset, "imported", weights=_origin(source), model_space=space, output_space=space)
        if run in runs.known(con):
            raise SchemaError(f"run {run!r} exists; give another run=")
        runs.open_run(con, wanted, kept)
        values = {"dataset": dataset, "space": space, "size": size}
        execute(con, "statements/create_imported", values, **chosen, by_index=by_index)
        n_ok, n_errors, n_predicted = fetch(con, "statements/count_imported")[0]
        if n_errors and not n_ok:
            example = fetch(con, "statements/read_import_problem")[0][0]
            raise SchemaError(f"no row of {_origin(source)} fits data set {dataset!r}; the first: {example}")
        if not n_predicted:
            raise SchemaError(
                f"no row of {_origin(source)} has a prediction; fill its column {chosen['pred'] or 'probs'}"
            )
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
    pred = first("pred_index", "pred", "pred_name", "prediction")
    chosen = {"image_id": first("image_id"), "path": path, "pred": pred}
    chosen |= {"confidence": first("confidence"), "probs": first("probs")}
    if chosen["image_id"] is None and path is None:
        raise SchemaError(f"no column image_id and no path column; there are: {', '.join(columns.values())}")
    if chosen["pred"] is None and chosen["probs"] is None:
        raise SchemaError(f"no column pred, pred_name, pred_index or probs; there are: {', '.join(columns.values())}")
    return chosen


def _is_index(column: str | None, types: dict[str, str], known: labels.Classes, dataset: str) -> bool:
    """Whether predictions are indices; else they are names."""
    if column is None or column.lower() == "pred_name":
        return False
    if column.lower() == "pred_index":
        return True
    if types[column].startswith(("VARCHAR", "ENUM")):
        return False
    odd = labels.misleading(known.names)
    if odd is not None:
        raise SchemaError(
            f"{column} holds numbers, and class {known.names.index(odd)} of data set {dataset!r} is called {odd!r}: "
            "rename the column to pred_name if they are names, to pred_index if they are indices"
        )
    return True


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
    if not any(hasattr(source, name) for name in sources.TABULAR):
        raise SchemaError(
            "predictions come from a CSV, Parquet or JSON file, a table or view, a DuckDB relation, an Arrow table "
            f"or a pandas frame, not from {type(source).__name__}"
        )
    with registered(con, "source_rows", source):
        yield
