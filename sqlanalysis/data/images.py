"""Images in: from folders, archives, tables, data sets and addresses; what came in is reported."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ..core import addresses, decode, progress, talk
from ..core import reading as files
from ..core.classes import Space, load_classes, near_twins
from ..core.parsing import parse_json
from ..core.results import Result
from ..core.text import decodable
from ..db.statements import checkpoint, execute, fetch, folder_of, is_read_only, registered, transaction
from ..errors import ImageError, QueryError
from . import columns as column_names
from . import labels
from .label_spaces import open_space, read_classes, save_space, space_name
from .sources import Entry, Source
from .sources.manifest import ROLES
from .sources.open import open_source
from .staging import staged

BLOCK_IMAGES = 2048
BLOCK_BYTES = 64 * 1024 * 1024
# What writes a block, in this order: bytes of an older version go before its hash does.
WRITTEN = (
    "delete_read_errors",
    "insert_read_errors",
    "delete_stale_bytes",
    "claim_labels",
    "restore_labels",
    "update_images",
    "update_accepted_labels",
    "insert_images",
    "insert_image_bytes",
)


@dataclass(frozen=True, repr=False)
class AddedImages(Result):
    """What `add_images` did: every entry of the source is counted once.

    Attributes:
        dataset: where the images went.
        n_added: new images.
        n_changed: known images with new bytes, label, split or meta.
        n_unchanged: known images, and repeats within the source.
        n_errors: entries that could not be read, now rows of `errors`.
        n_moved: known images (same bytes, same relative path) that lie elsewhere now.
        n_labeled: entries of the source with a label.
        n_classes: classes of the data set.
        columns: which column of a table was taken as what.
        splits: images of the data set by split.
        notes: what differs from the common case or could be wrong.
    """

    dataset: str
    n_added: int = 0
    n_changed: int = 0
    n_unchanged: int = 0
    n_errors: int = 0
    n_moved: int = 0
    n_labeled: int = 0
    n_classes: int = 0
    columns: dict[str, str] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def add_images(
    con: duckdb.DuckDBPyConnection,
    source: Any,
    *,
    dataset: str | None = None,
    split: str | None = None,
    store_bytes: bool = False,
    path: str | None = None,
    label: str | None = None,
    columns: Mapping[str, str] | None = None,
    classes: str | Path | Sequence[str] | None = None,
    scale_16bit: bool = False,
    overwrite_reviewed: bool = False,
    show_progress: bool = True,
) -> AddedImages:
    """Put images into `images`, by reference or with their bytes; reads each file once and decodes no pixel.

    Args:
        con: from `connect`.
        source: a folder with one sub-folder per class (perhaps below `train/`, `val/`), a flat folder, or one with
            `metadata.csv`, `.jsonl` or `.parquet`; a glob; one image; a table with a path column (CSV, TSV, JSON, JSON
            lines, Parquet, shards of them, a pandas or polars frame, an Arrow table, a DuckDB relation), or with the
            encoded bytes (Hugging Face's Parquet); a zip file, a tar file or WebDataset shards; COCO annotations; an
            address (`s3://`, `https://`, …); a Hugging Face data set; a torchvision data set; or a list of paths, PIL
            images, uint8 arrays (H, W[, 3 or 4]), or pairs of one of these and a label.
        dataset: name of the data set; default is the name of the source. A folder that is itself called `train`,
            `val` or `test` gives its parent's name and its own as the split.
        split: split of the images whose source names none.
        store_bytes: keep the encoded bytes in the file. Bytes of pictures without a file of their own are always kept.
        path, label: short for `columns={"path": …, "label": …}`.
        columns: columns of a table by role (path, label, label_name, split, accepted), where they have no usual name;
            case and blanks do not matter. `accepted` holds lists, or JSON text of lists, of all the labels that are
            right for an image; where it is empty none is. Other columns are kept in `meta`. Relative paths start at the
            table's folder, or at the working directory.
        classes: class names in the order of this source's integer labels: a list, a file, or `"imagenet1k"`. Each
            source may have its own order: classes are identified by name. Names given later replace mere numbers. Text
            labels are matched by name, or, where they are numbers or end in one, by their order.
        scale_16bit: store 16-bit gray pictures as 8-bit ones (value >> 8). By default they stay as they are, and models
            see what torchvision's loader gives: everything above 255 is white. Pictures of 12 bits in 16 become dark.
        overwrite_reviewed: take the labels of the source also where `apply_labels` has given or confirmed another one;
            by default the reviewed label of the same bytes stays, and a note says how many.
        show_progress: draw a progress bar on a terminal.

    Labels are text, or whole numbers from 0; NULL, NaN, empty text and, where the source names its classes, -1 mean
    unlabeled, and erase no label from before. Whole numbers are indices into classes whose order was said, by
    `classes=` or by the source that brought them; names that were only sorted, as those of folders, say none. Where 0
    does not occur they are names, unless the classes are known: then numbers from 1 are refused where the last one
    would be no index, else taken from 0 with a note. An object of an id and a name is both. A source that shows its
    labels only while it is read (a stream, a data set of one's own) and names no classes must have a 0.

    Of EXIF two things are kept in `meta`, and no place: `camera`, maker and model, and `taken`, the day of
    DateTimeOriginal, else of DateTime, as YYYY-MM-DD. A column of the source of either name wins, in any case and where
    it is empty, too. A source without other columns leaves `meta` as it is, except that EXIF of changed bytes replaces
    these two. EXIF that cannot be read gives neither and is no error.

    What is refused leaves the file as it was: the source is read to its end before anything is written. Meanwhile rows
    and stored bytes lie in a temporary file beside the evaluation file. An interrupt while they are written leaves the
    blocks before it; adding the source again adds the rest. Labels that another connection changes while the source is
    read are replaced by those of the source, as if they had been changed before.

    Returns:
        Counts, the columns taken, images by split, and notes; the notes are also logged. Adding a source again adds
        nothing. A path that stands in the source again counts as unchanged, or, with another label, split or meta, as
        an error. Unreadable files and such repeats become rows of `errors` (run NULL), and leave it once the source is
        right. Images that lie elsewhere now (same bytes, same relative path, and the old file is gone) are found again.

    Raises:
        ArgumentError: not a source, or an unknown role in `columns`.
        NotFoundError: no such path, no image there, or it cannot be read.
        SchemaError: a table without the named column, a label or class that does not fit the data set, or labels that
            can be read in two ways; the message gives both.
        ImageError: a picture from Python of the wrong type or shape.
        QueryError: the connection only reads, has a transaction open, another connection changes the same images while
            they are written, or the disk is full.
    """
    chosen = column_names.check_choice(columns, ROLES)
    chosen |= {role: name for role, name in (("path", path), ("label", label)) if name is not None}
    found = open_source(source, chosen)
    name = dataset or found.name
    split = split or (found.split if dataset is None else None)
    if is_read_only(con):
        raise QueryError("this connection only reads; open the file for writing: connect(path)")
    with transaction(con):  # refused now, rather than after everything was read
        known = read_classes(con, space_name(con, name))
        labels.settle(found, known, None if classes is None else load_classes(classes))
        spellings = labels.Spellings(where for where, _ in fetch(con, "count_splits", [name]) if where)
        found.entries, split = spellings.fold(found.entries), spellings.of(split)
        space = open_space(con, name, found, ordered=found.indexed or not found.keys)
        last_id = fetch(con, "read_last_image")[0][0]
    reading = _Reading(space, split, late_labels=found.classes is None and not found.numbers and not known.names)
    inspect = partial(_inspect, store_bytes=store_bytes, scale_16bit=scale_16bit)
    with (
        ThreadPoolExecutor() as pool,
        progress.track(f"adding {name}", found.total, enabled=show_progress) as advance,
        staged(reading.tables(_blocks(found.entries, inspect, pool), found, advance), folder_of(con)) as tables,
    ):
        counts = reading.counts + _write_all(
            con, name, space, found.origin, tables, last_id, overwrite_reviewed=overwrite_reviewed
        )
    checkpoint(con)
    if not any(counts[done] for done in ("n_added", "n_changed", "n_unchanged", "n_moved")):
        nothing = f"no image could be read; the first is {reading.first_error}"
        found.notes.insert(0, nothing if counts["n_errors"] else "the source holds no image")
    splits = {where or "none": n for where, n in fetch(con, "count_splits", [name])}
    notes = _notes(found, space, counts, scaled=scale_16bit)
    notes += _contradictions(*fetch(con, "count_contradictions", [name, name, last_id])[0])
    notes += _copies(*fetch(con, "count_copies", [name, last_id, name, last_id])[0])
    notes += spellings.notes(splits)
    talk.say(notes)
    done = {key: n for key, n in counts.items() if key in AddedImages.__dataclass_fields__}
    return AddedImages(
        name, **done, n_classes=len(space.names), columns=found.columns, splits=splits, notes=tuple(notes)
    )


def _notes(source: Source, space: Space, counts: Mapping[str, int], *, scaled: bool) -> list[str]:
    """What differs from the common case or could be wrong, most important first."""
    notes = list(source.notes)
    twins = near_twins(space.names)
    if twins:
        shown = "; ".join(" and ".join(map(repr, group)) for group in twins[:3])
        more = f", and {len(twins) - 3} more" if len(twins) > 3 else ""
        notes.append(f"classes that differ only by case, blanks or punctuation: {shown}{more}")
    notes += [f"{n:,} image{'s' * (n > 1)} found {step}" for step, n in source.found_by.items()]
    if source.left_out:
        listed = ", ".join(f"{what} ({n:,})" for what, n in source.left_out.most_common(6))
        notes.append(f"left out: {listed}{', …' if len(source.left_out) > 6 else ''}")
    if counts["n_deep"]:
        done = (
            "scaled to 8 bits"
            if scaled
            else "clipped to white as torchvision's loader does; scale_16bit=True (--scale-16bit) scales them"
        )
        notes.append(f"{counts['n_deep']:,} images are 16-bit gray: {done}")
    if counts["n_deeper"]:
        notes.append(
            f"{counts['n_deeper']:,} images are gray of 32 bits, whose range the file does not say: clipped to 0 to "
            "255 as torchvision's loader does, where 0.0 to 1.0 is black; scale them to 8 bits"
        )
    if counts["n_redacted"]:
        notes.append(f"{counts['n_redacted']:,} rows have addresses with a password or a signature: kept without them")
    if counts.get("n_moved"):
        within = f", {counts['n_within']:,} of them in another folder: the labels are those of now"
        elsewhere = f"moved: {counts['n_moved']:,} images lie elsewhere now; their rows point there"
        notes.append(elsewhere + within * (counts["n_within"] > 0))
    if n_reviewed := counts["n_reviewed"]:
        notes.append(
            f"{n_reviewed:,} image{'s' * (n_reviewed > 1)} keep{'s' * (n_reviewed == 1)} a reviewed label, where this "
            "source has another one; overwrite_reviewed=True (--overwrite-reviewed) takes the source's"
        )
    # A source without labels erases none, which is usual; in one with labels, empty could be meant as erased.
    for what, given in (("label", counts["n_labeled"]), ("split", counts["n_split"])):
        kept = counts[f"n_keep_{what}"]
        if kept and (given or what in source.columns):
            notes.append(
                f"{kept:,} image{'s' * (kept > 1)} without a {what} in this source keep{'s' * (kept == 1)} the "
                f"{what} from before; if it is to go, set images.{what} to NULL"
            )
    return notes


def _contradictions(n: int, uri: str | None, other: str | None) -> list[str]:
    """Images whose bytes are there with another label, too: a file moved or copied from one class to another."""
    if not n:
        return []
    return [
        f"{n:,} image{'s' * (n > 1)} added with the bytes of one that has another label, such as {uri} and {other}; "
        "both are kept"
    ]


def _copies(n: int, uri: str | None, other: str | None) -> list[str]:
    """Images whose bytes the data set had before: a copy of a folder, which doubles every count."""
    if not n:
        return []
    return [
        f"{n:,} image{'s' * (n > 1)} added with the bytes of one that was there before, such as {uri} and {other}: "
        "both count, and intervals are too narrow; a copy belongs into another dataset="
    ]


_Inspected = tuple[Entry, decode.Facts | ImageError]
_Claim = tuple[str | int | None, str | None, tuple[str | int, ...] | None, int]  # label … and the hash of meta


@dataclass
class _Reading:
    """What is learned of a source while it is read.

    Attributes:
        late_labels: whether it shows its labels only now, and neither it nor the data set names classes.
    """

    space: Space
    split: str | None
    late_labels: bool
    counts: Counter[str] = field(default_factory=Counter)
    first_error: str | None = None

    def tables(
        self, blocks: Iterable[tuple[list[_Inspected], int]], source: Source, advance: Callable[[int], None]
    ) -> Iterator[pa.Table]:
        """Each block as a table of rows.

        Raises:
            SchemaError: a label that fits no class, or labels that can be read in two ways.
        """
        seen: set[str | int] = set()
        for block, n_repeated in blocks:
            for number, (entry, facts) in enumerate(block):
                if entry.meta is not None and (meta := addresses.redacted(entry.meta)) != entry.meta:
                    block[number] = replace(entry, meta=meta), facts
                    self.counts["n_redacted"] += 1
            yield _table(block, self.space, self.split)
            errors = (f"{one.uri}: {error}" for one, error in block if isinstance(error, ImageError))
            self.first_error = self.first_error or next(errors, None)
            for count, bits in (("n_deep", 16), ("n_deeper", 32)):
                self.counts[count] += sum(isinstance(one, decode.Facts) and one.bits == bits for _, one in block)
            self.counts["n_unchanged"] += n_repeated
            self.counts["n_split"] += sum(one.split is not None for one, _ in block)
            if self.late_labels:
                seen.update(entry.label for entry, _ in block if entry.label is not None)
            advance(len(block) + n_repeated)
        labels.check_seen(source, seen)


def _blocks(
    entries: Iterable[Entry], inspect: Callable[[Entry], _Inspected], pool: ThreadPoolExecutor
) -> Iterator[tuple[list[_Inspected], int]]:
    """Entries with their facts, in blocks bounded by count and bytes, and how many repeat an earlier entry as it was.

    Of one uri the first entry counts; one with other values is an error.
    """
    seen: dict[str, _Claim] = {}
    shared: dict[_Claim, _Claim] = {}
    block: list[_Inspected] = []
    held = n_repeated = 0
    stream = iter(entries)
    while batch := _take(stream):
        fresh = []
        for entry in batch:
            claim = (entry.label, entry.split, entry.accepted, hash(entry.meta))
            if entry.meta is None:  # then many entries share one
                claim = shared.setdefault(claim, claim)
            if entry.uri not in seen:
                seen[entry.uri] = claim
                fresh.append(entry)
            elif seen[entry.uri] == claim:
                n_repeated += 1
            else:
                bare = replace(entry, data=None, label=None, accepted=None, meta=None)
                block.append((bare, _conflict(seen[entry.uri], claim)))
        for entry, facts in pool.map(inspect, fresh):
            block.append((entry, facts))
            held += len(entry.data or b"") + 4 * len(entry.meta or "")  # text, which is copied into a table, too
        if len(block) >= BLOCK_IMAGES or held >= BLOCK_BYTES:
            yield block, n_repeated
            block, held, n_repeated = [], 0, 0
    if block or n_repeated:
        yield block, n_repeated


def _take(stream: Iterator[Entry]) -> list[Entry]:
    """The next entries: at most 128, and about 64 MB of bytes that came with them or will be read at once."""
    batch: list[Entry] = []
    held = 0
    for entry in itertools.islice(stream, 128):
        batch.append(entry)
        held += files.size(entry.uri) if entry.data is None else len(entry.data)
        if held >= BLOCK_BYTES:
            break
    return batch


def _conflict(first: _Claim, later: _Claim) -> ImageError:
    both = zip(("label", "split", "accepted"), first, later, strict=False)
    texts = [f"{role} {a!r} and {b!r}" for role, a, b in both if a != b] or ["other columns that differ"]
    return ImageError(f"stands in the source twice, with {', '.join(texts)}; the first counts")


def _inspect(entry: Entry, *, store_bytes: bool, scale_16bit: bool) -> _Inspected:
    if not entry.uri.isprintable() and (plain := decodable(entry.uri)) != entry.uri:
        return replace(entry, uri=plain, data=None), ImageError("the name is not UTF-8; rename the file or its folder")
    try:
        data = decode.read(entry.data, entry.uri)
        facts = decode.inspect(data)
        if scale_16bit and facts.bits > 8:
            data = decode.to_8_bits(data)
            scaled = replace(decode.inspect(data), bits=facts.bits, camera=facts.camera, taken=facts.taken)
            return replace(entry, data=data), scaled
        return (replace(entry, data=data) if store_bytes else entry), facts
    except ImageError as error:
        return replace(entry, data=None), ImageError(str(error))  # the caught one holds the frames that hold the bytes


def _table(block: list[_Inspected], space: Space, split: str | None) -> pa.Table:
    facts = [found if isinstance(found, decode.Facts) else None for _, found in block]
    failures = [found if isinstance(found, ImageError) else None for _, found in block]
    exifs = [_exif(fact) for fact in facts]
    columns = {
        "position": pa.array(range(len(block)), pa.int64()),
        "uri": pa.array([entry.uri for entry, _ in block], pa.string()),
        "relative": pa.array([entry.relative for entry, _ in block], pa.string()),
        "split": pa.array([entry.split or split for entry, _ in block], pa.string()),
        "label": pa.array([space.resolve(entry.label) for entry, _ in block], pa.int32()),
        "accepted": pa.array([_resolve_all(entry.accepted, space) for entry, _ in block], pa.list_(pa.int32())),
        "meta": pa.array(
            [_with_exif(entry.meta, exif) for (entry, _), exif in zip(block, exifs, strict=True)], pa.string()
        ),
        "exif": pa.array([json.dumps(exif, ensure_ascii=False) if exif else None for exif in exifs], pa.string()),
        "bytes": pa.array([entry.data for entry, _ in block], pa.binary()),
        "message": pa.array([str(error) if error else None for error in failures], pa.string()),
    }
    for name, dtype in (("sha256", pa.string()), ("n_bytes", pa.int64()), ("format", pa.string())):
        columns[name] = pa.array([getattr(fact, name, None) for fact in facts], dtype)
    for name in ("width_px", "height_px"):
        columns[name] = pa.array([getattr(fact, name, None) for fact in facts], pa.int32())
    return pa.table(columns)


def _exif(facts: decode.Facts | None) -> dict[str, str]:
    known = {"camera": facts.camera, "taken": facts.taken} if facts else {}
    return {name: text for name, text in known.items() if text is not None}


def _with_exif(meta: str | None, exif: Mapping[str, str]) -> str | None:
    """The columns of a source as its JSON has them, followed by what EXIF adds; None without columns."""
    if meta is None or not exif:
        return meta
    own = parse_json(meta, "meta")
    names = {name.casefold() for name in own}
    added = {name: text for name, text in exif.items() if name not in names}
    if not added:
        return meta
    return f"{meta.rstrip()[:-1]}{', ' if own else ''}{json.dumps(added, ensure_ascii=False)[1:]}"


def _resolve_all(accepted: tuple[str | int, ...] | None, space: Space) -> list[int] | None:
    if accepted is None:
        return None
    found = {space.resolve(label) for label in accepted}
    return sorted(label for label in found if label is not None)


def _write_all(
    con: duckdb.DuckDBPyConnection,
    name: str,
    space: Space,
    origin: str,
    tables: Iterable[pa.Table],
    last_id: int,
    *,
    overwrite_reviewed: bool,
) -> Counter[str]:
    counts: Counter[str] = Counter()
    for table in tables:
        with _alone(name), transaction(con):
            if not fetch(con, "read_dataset", [name]):
                execute(con, "insert_dataset", [name, None, origin])
            save_space(con, space)
            if space.names:
                execute(con, "update_dataset_space", [space.name, name])
            counts += _write(con, name, table, last_id, overwrite_reviewed=overwrite_reviewed)
    return counts


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Say what another connection's change of the same images means for the block."""
    try:
        yield
    except QueryError as error:
        if not isinstance(error.__cause__, duckdb.TransactionException) or "onflict" not in str(error):
            raise
        raise QueryError(
            f"another connection changed images of data set {name!r} while they were written: its changes stay, and "
            "this block of the source is not written; add the source again: labels that it has replace the other ones"
        ) from error


def _write(
    con: duckdb.DuckDBPyConnection, dataset: str, table: pa.Table, last_id: int, *, overwrite_reviewed: bool
) -> Counter[str]:
    with registered(con, "scanned", table):
        n_moved = _follow_moved(con, dataset, last_id, "list_moved")
        n_within = _follow_moved(con, dataset, last_id, "list_moved_within")
        reviewed = set() if overwrite_reviewed else {uri for (uri,) in fetch(con, "list_keeping_reviews", [dataset])}
    keeps = pa.array([bool(reviewed) and uri in reviewed for uri in table["uri"].to_pylist()], pa.bool_())
    with registered(con, "scanned", table.append_column("keeps_review", keeps)):
        added, changed, unchanged, unreadable, labeled, *kept = fetch(con, "count_scanned", [dataset])[0]
        for name in WRITTEN:
            execute(con, name, [dataset])
    return Counter(
        n_added=added,
        n_changed=changed,
        n_unchanged=unchanged,
        n_errors=unreadable,
        n_labeled=labeled,
        n_moved=n_moved + n_within,
        n_within=n_within,
        n_keep_label=kept[0],
        n_keep_split=kept[1],
        n_reviewed=len(reviewed),
    )


def _follow_moved(con: duckdb.DuckDBPyConnection, dataset: str, last_id: int, statement: str) -> int:
    """Point images known before to where they lie now: same bytes and path or name, and no file at the old place."""
    candidates = fetch(con, statement, [dataset, dataset, last_id])
    gone = [(image_id, uri) for image_id, old, uri in candidates if not files.exists(old)]
    if gone:
        ids, uris = zip(*gone, strict=True)
        with registered(con, "moved", pa.table({"image_id": pa.array(ids, pa.int64()), "uri": pa.array(uris)})):
            execute(con, "update_moved")
    return len(gone)
