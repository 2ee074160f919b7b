"""`export`: a run for other tools, each format as `formats` writes it; whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.faults import point
from ..core.results import Result
from ..core.talk import say
from ..core.text import one_line
from ..errors import ArgumentError, NotFoundError, SchemaError, near_matches
from .formats import MARK, WRITERS, YAML_START, read_subject

# What the path of each format ends with; a format without an ending is a folder.
ENDINGS = {
    "parquet": (".parquet",),
    "csv": (".csv",),
    "hf": (),
    "fiftyone": (),
    "atlas": (".parquet",),
    "model-index": (".yaml", ".yml", ".md"),
}
IMAGES = ("path", "bytes", "none")
_CSV_START = b'"image_id","dataset",'


@dataclass(frozen=True, repr=False)
class Exported(Result):
    """What `export` wrote: `n_images` rows with these columns; `n_left_out` images of the run are not among them."""

    run: str
    to: str
    path: Path
    n_images: int
    n_left_out: int
    columns: tuple[str, ...]
    notes: tuple[str, ...]


def export(
    con: duckdb.DuckDBPyConnection,
    run: str,
    path: str | Path,
    to: str | None = None,
    *,
    images: str = "path",
    overwrite: bool = False,
) -> Exported:
    """Write a run for another tool; values are those of its view `<run>`, in the order of image_id.

        export(con, "resnet18", "resnet18.parquet")
        export(con, "resnet18", "card.yaml")
        export(con, "resnet18", "for_fiftyone", "fiftyone", images="bytes")

    Args:
        con: from `connect`.
        run: its name.
        path: the file, or for hf and fiftyone the folder, to write: whole, or not at all.
        to: the format; None goes by the ending (.parquet, .csv, .yaml, .yml, .md).
            "parquet": every column of the view; arrays keep their size; `datasets` sees classes and images.
            "csv": likewise as text. Lists and structures are JSON, NULL is empty, and "" is an empty text. Text that
            a spreadsheet would take for a formula stays as it is.
            "hf": a folder for `datasets.load_dataset(path)`: a card with features, one Parquet file a split.
            "fiftyone": a folder for `fo.Dataset.from_dir(path, fo.types.FiftyOneDataset)`: ground_truth and
            predictions are Classifications, the split is a tag, other columns are fields (`probs` too: FiftyOne's
            `logits` are not probabilities).
            "atlas": Parquet for `embedding-atlas FILE --x x --y y --neighbors neighbors`; it shows only images whose
            bytes are there. Needs a projection.
            "model-index": the results of a Hugging Face model card as YAML (in a .md file, as its front matter).
        images: "path" gives where each image lies; "bytes" its encoded bytes (for fiftyone, copies in data/); "none"
            neither.
        overwrite: replace a file that something else wrote. A folder that something else wrote is never replaced; an
            earlier export is, except a .md card.

    Returns:
        How many images and which columns were written, and notes, which are logged too: images without an output, and
        what the format cannot hold. An image that cannot be read, or has changed, keeps its row without bytes.

    Raises:
        ArgumentError: no such format, another ending, or images that the format cannot hold.
        NotFoundError: no such run, or no folder to write to.
        SchemaError: something else is at `path`, the run has no outputs, or lacks what the format needs.
        ImageError: bytes were asked for, and no image can be read.
    """
    target = Path(path).expanduser()
    to = _format(target, to)
    _check_images(to, images)
    _check_target(target, to, overwrite)
    subject = read_subject(con, run, target, to, images)
    with contextlib.closing(subject.con), contextlib.closing(subject.side):
        try:
            with _draft(target) as draft:
                n_images = WRITERS[to](subject, draft)
                subject.note_pictures()
        except pa.ArrowException as error:
            raise SchemaError(f"run {run!r} does not fit {to}: {one_line(error, 300)}") from error
    n_left_out = max(0, subject.n_asked - n_images)
    say(subject.notes)
    return Exported(run, to, target, n_images, n_left_out, subject.names, tuple(subject.notes))


def _format(target: Path, to: str | None) -> str:
    """The format that is asked for, which the ending of the path must not contradict."""
    if to is not None and to not in ENDINGS:
        raise ArgumentError(f"no format {to!r}{near_matches(str(to), ENDINGS)}")
    ending = target.suffix.lower()
    fitting = [name for name, endings in ENDINGS.items() if ending in endings]
    if to is None:
        if not fitting:
            raise ArgumentError(
                f"{target.name} does not end in .parquet, .csv, .yaml or .md; give to=, such as 'hf' or 'fiftyone'"
            )
        return fitting[0]
    if ENDINGS[to] and to not in fitting:
        raise ArgumentError(f"{to} is a file that ends in {' or '.join(ENDINGS[to])}, which {target.name} does not")
    if not ENDINGS[to] and fitting:
        raise ArgumentError(f"{to} is a folder, and {target.name} looks like a {ending} file; give another path")
    return to


def _check_images(to: str, images: str) -> None:
    if images not in IMAGES:
        raise ArgumentError(f"images={images!r} is not one of {', '.join(IMAGES)}")
    if images == "bytes" and to in ("csv", "model-index"):
        raise ArgumentError(f"{to} holds no bytes; give images='path' or 'none', or write Parquet")
    if images == "none" and to == "fiftyone":
        raise ArgumentError("FiftyOne needs a file for every image; give images='path' or 'bytes'")


def _check_target(target: Path, to: str, overwrite: bool) -> None:
    """Refuse a path that cannot be written, or where something else would be lost."""
    if not target.parent.is_dir():
        raise NotFoundError(f"no folder {target.parent}; create it first")
    if not ENDINGS[to]:
        if target.exists() and not target.is_dir():
            raise SchemaError(f"{target} is a file, and {to} is a folder; give another path")
        if target.is_dir() and any(target.iterdir()) and not _is_our_folder(target):
            raise SchemaError(f"{target} is a folder with other files, which are never replaced; give another path")
    elif target.is_dir():
        raise SchemaError(f"{target} is a folder; name a file, such as {target / ('run' + ENDINGS[to][0])}")
    elif target.exists() and not overwrite and not _is_our_file(target):
        raise SchemaError(f"{target} exists and is not an earlier export; give another path, or overwrite=True")


def _is_our_file(file: Path) -> bool:
    """Whether an earlier export wrote this file; a .md card, which people edit, never counts."""
    if file.suffix.lower() == ".parquet":
        try:
            return MARK.encode() in (pq.read_schema(file).metadata or {})
        except (pa.ArrowException, OSError):
            return False
    with open(file, "rb") as stream:
        start = stream.read(64)
    return file.suffix.lower() != ".md" and start.startswith((_CSV_START, YAML_START.encode()))


def _is_our_folder(folder: Path) -> bool:
    """Whether an earlier export wrote this folder, and nothing was put beside it."""
    names = {file.name for file in folder.iterdir()}
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if names <= {"README.md", "data"}:
            return YAML_START in (folder / "README.md").read_text(encoding="utf-8")
        if names <= {"metadata.json", "samples.json", "data"}:
            return MARK in json.loads((folder / "metadata.json").read_text(encoding="utf-8"))["info"]
    return False


@contextlib.contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A path beside the target; what the block writes there takes its place, or is removed when the block fails."""
    draft, earlier = (target.with_name(f".{target.name}.{MARK}.{word}") for word in ("part", "old"))
    _remove(draft)  # of a process that was killed
    try:
        yield draft
        for file in [draft] if draft.is_file() else draft.glob("*.*"):
            with open(file, "rb+") as stream:
                os.fsync(stream.fileno())
        point("rename")
        _remove(earlier)
        if target.is_dir():  # a folder cannot be renamed over one that has files
            target.rename(earlier)
        draft.replace(target)
    except BaseException:
        _remove(draft)
        if earlier.exists() and not target.exists():
            earlier.rename(target)
        raise
    _remove(earlier)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
