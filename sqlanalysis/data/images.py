"""Images in: from folders, globs, manifests, Parquet, arrays, tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ..core import decode, progress
from ..core.classes import Space, load_classes
from ..core.results import Result
from ..core.text import decodable
from ..db.statements import execute, fetch, registered, transaction
from ..errors import ImageError
from . import sources
from .label_spaces import open_space, save_space
from .sources import Entry

BLOCK_IMAGES = 2048
BLOCK_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, repr=False)
class AddedImages(Result):
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
    store_bytes: bool = False,
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
        store_bytes: keep the encoded bytes in the file. Bytes of pictures without a file of their own are always kept.
        path, label: columns of a manifest, when they have no usual name; upper and lower case do not matter. A column
            `accepted` of lists, or of JSON text of lists, holds all the labels that are right for an image; where it is
            empty none is, and the image counts neither as right nor as wrong. Other columns are kept in `meta`.
            Relative paths start at the manifest's folder, or at the working directory.
        classes: class names in the order of this source's integer labels: a list, a file, or `"imagenet1k"`. Each
            source may have its own order: classes are identified by name. Names given later replace mere numbers.
        show_progress: draw a progress bar on a terminal.

    Folders called train, training, val, valid, validation, test or testing are splits when no other folder stands
    beside them, or when one of them holds class folders with images; the others and images beside them are then
    ignored. Otherwise every folder is a class, even without an image. Dot-folders, and links back to a folder they are
    in, are skipped.

    Labels are text, or whole numbers from 0; NULL, NaN, empty text and, where the source names its classes, -1 mean
    unlabeled.

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
        found = replace(found, classes=load_classes(classes))
    name = dataset or found.name
    split = split or (found.split if dataset is None else None)
    space = open_space(con, name, found, ordered=classes is not None or not found.keys)
    counts = AddedImages(name)
    with ThreadPoolExecutor() as pool, progress.track(f"adding {name}", found.total, enabled=show_progress) as advance:
        for block, n_repeated in _blocks(found.entries, store_bytes, pool):
            table = _table(block, space, split)
            with transaction(con):
                if not fetch(con, "read_dataset", [name]):
                    execute(con, "insert_dataset", [name, None, found.origin])
                save_space(con, space)
                if space.names:
                    execute(con, "update_dataset_space", [space.name, name])
                counts += _write(con, name, table)
            counts += (0, 0, n_repeated, 0)
            advance(len(block) + n_repeated)
    return counts


_Inspected = tuple[Entry, decode.Facts | ImageError]
_Claim = tuple[str | int | None, str | None, tuple[str | int, ...] | None, int]  # label … and the hash of meta


def _blocks(
    entries: Iterable[Entry], store_bytes: bool, pool: ThreadPoolExecutor
) -> Iterator[tuple[list[_Inspected], int]]:
    """Entries with their facts, in blocks bounded by count and bytes, and how many repeat an earlier entry as it was.

    Of one uri the first entry counts; one with other values is an error.
    """
    seen: dict[str, _Claim] = {}
    block: list[_Inspected] = []
    held = n_repeated = 0
    stream = iter(entries)
    while batch := list(itertools.islice(stream, 128)):
        fresh = []
        for entry in batch:
            claim = (entry.label, entry.split, entry.accepted, hash(entry.meta))
            if entry.uri not in seen:
                seen[entry.uri] = claim
                fresh.append(entry)
            elif seen[entry.uri] == claim:
                n_repeated += 1
            else:
                block.append((replace(entry, data=None, label=None, accepted=None), _conflict(seen[entry.uri], claim)))
        for entry, facts in pool.map(_inspect, fresh, itertools.repeat(store_bytes)):
            block.append((entry, facts))
            held += len(entry.data or b"")
        if len(block) >= BLOCK_IMAGES or held >= BLOCK_BYTES:
            yield block, n_repeated
            block, held, n_repeated = [], 0, 0
    if block or n_repeated:
        yield block, n_repeated


def _conflict(first: _Claim, later: _Claim) -> ImageError:
    both = zip(("label", "split", "accepted"), first, later, strict=False)
    texts = [f"{role} {a!r} and {b!r}" for role, a, b in both if a != b] or ["other columns that differ"]
    return ImageError(f"stands in the source twice, with {', '.join(texts)}; the first counts")


def _inspect(entry: Entry, store_bytes: bool) -> _Inspected:
    if not entry.uri.isprintable() and (plain := decodable(entry.uri)) != entry.uri:
        return replace(entry, uri=plain, data=None), ImageError("the name is not UTF-8; rename the file or its folder")
    try:
        data = decode.read(entry.data, entry.uri)
        return (replace(entry, data=data) if store_bytes else entry), decode.inspect(data)
    except ImageError as error:
        return replace(entry, data=None), error


def _table(block: list[_Inspected], space: Space, split: str | None) -> pa.Table:
    facts = [found if isinstance(found, decode.Facts) else None for _, found in block]
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
    for name, dtype in (("sha256", pa.string()), ("n_bytes", pa.int64()), ("format", pa.string())):
        columns[name] = pa.array([getattr(fact, name, None) for fact in facts], dtype)
    for name in ("width_px", "height_px"):
        columns[name] = pa.array([getattr(fact, name, None) for fact in facts], pa.int32())
    return pa.table(columns)


def _resolve_all(accepted: tuple[str | int, ...] | None, space: Space) -> list[int] | None:
    if accepted is None:
        return None
    found = {space.resolve(label) for label in accepted}
    return sorted(label for label in found if label is not None)


def _write(con: duckdb.DuckDBPyConnection, dataset: str, table: pa.Table) -> tuple[int, int, int, int]:
    with registered(con, "scanned", table):
        added, changed, unchanged, unreadable = fetch(con, "count_scanned", [dataset])[0]
        for name in ("delete_read_errors", "insert_read_errors", "update_images", "insert_images"):
            execute(con, name, [dataset])
        execute(con, "delete_stale_bytes", [dataset])
        execute(con, "insert_image_bytes", [dataset])
    return added, changed, unchanged, unreadable
