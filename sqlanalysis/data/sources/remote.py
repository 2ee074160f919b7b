"""Images at addresses: one, a table of them, a folder or a glob; read through fsspec (extra `[remote]`).

Also the word for files that are neither an image nor a table nor an archive.
"""

from __future__ import annotations

import gzip
import itertools
import posixpath
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core import addresses, decode
from ...core.classes import from_keys
from ...core.reading import MAX_BYTES
from ...errors import ImageError, NotFoundError, SchemaError
from .. import columns
from . import Entry, Source, coco, huggingface, layout
from .folder import is_split
from .pictured import Picture, joined, with_paths
from .table import FORMATS, read_table

MAX_NAMES = 5_000_000  # in a listing
MAX_TABLE_BYTES = 1024**3  # that are copied here to be read
_SIGNS = "*?["
_STORED = "addresses with a password or a query: neither is kept, so the bytes of these images are stored"
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")


def from_address(text: str, chosen: Mapping[str, str]) -> Source:
    """The image, the table of images, or the folder or glob of images at an address.

    Raises:
        NotFoundError: nothing there, no answer, or no image.
        SchemaError: an archive, or something that is neither an image nor a table.
        MissingExtraError: the package that reads such addresses is not installed.
    """
    plain = addresses.without_secrets(text)
    ending = posixpath.splitext(addresses.path_of(text))[1].lower()
    try:
        if ending in FORMATS and not any(sign in text for sign in _SIGNS):
            return _from_table(text, plain, ending, chosen)
        if ending in _ARCHIVES:
            raise SchemaError(f"{plain}: archives are read by reference; download it, and add the file")
        if ending in decode.SUFFIXES and not any(sign in text for sign in _SIGNS):
            return _one(text, plain)
        return _from_listing(text, plain)
    except ImageError as error:
        raise NotFoundError(str(error)) from None


def _one(text: str, plain: str) -> Source:
    entry = entry_of(text)
    source = Source(_name(plain), plain, [entry], total=1)
    if entry.data is not None:
        source.notes.append(_STORED)
    return source


def entry_of(address: str) -> Entry:
    """One image at an address; with its bytes when the address holds secrets, without which nobody finds it again."""
    plain = addresses.without_secrets(address)
    data = addresses.fetch(address, MAX_BYTES) if addresses.has_secrets(address) else None
    return Entry(plain, data, relative=posixpath.basename(addresses.path_of(address)) or None)


def _name(plain: str) -> str:
    parts = [part for part in re.sub(r"^[^:]+://", "", plain).split("/") if part and not set(part) & set(_SIGNS)]
    folders = parts[:-1] if parts and "." in parts[-1] else parts
    return next((part for part in reversed(folders) if not is_split(part)), "images")


# Tables


def _from_table(text: str, plain: str, ending: str, chosen: Mapping[str, str]) -> Source:
    pieces = addresses.download(text, MAX_TABLE_BYTES)
    with tempfile.TemporaryDirectory(prefix="sqlanalysis-") as folder:
        file = Path(folder) / f"{Path(addresses.path_of(text)).stem or 'table'}{ending}"
        with file.open("wb") as stream:
            stream.writelines(pieces)
        if ending in (".parquet", ".pq") and huggingface.has_pictures(file, chosen):
            raise SchemaError(f"{plain} holds the pictures themselves; download it, and add the file")
        if ending == ".json" and coco.is_coco(file):
            raise SchemaError(f"{plain} holds COCO annotations; download them, and add the file")
        try:
            table = read_table(file)
        except SchemaError as error:
            raise SchemaError(str(error).replace(str(file), plain)) from None
    wanted = {role: name for role, name in chosen.items() if role == "path"}
    column = columns.find(table.rows.column_names, ("path",), wanted, plain)["path"]
    if column is None:
        raise SchemaError(
            f'{plain} has no path column; name it, such as columns={{"path": "{table.rows.column_names[0]}"}}; there '
            f"are: {', '.join(table.rows.column_names)}"
        )
    written = table.rows[column].to_pylist()
    base = posixpath.dirname(text.partition("?")[0])
    rows = with_paths(table.rows.drop_columns(column), column, [None] * len(written))
    pictures = (_picture(_join(base, value), value) for value in written)
    named = replace(table, rows=rows, origin=plain, name=_name(plain) if is_split(table.name) else table.name)
    found = joined(named, column, chosen, pictures, ())
    if any("://" in str(value) and addresses.has_secrets(str(value)) for value in written):
        found.notes.append(_STORED)
    return found


def _picture(address: str, written: Any) -> Picture:
    """The image that a row of a table means, with its bytes when its address holds secrets."""
    try:
        data = addresses.fetch(address, MAX_BYTES) if addresses.has_secrets(address) else None
    except ImageError:  # becomes an error row when it is tried again
        data = None
    relative = str(written).replace("\\", "/") if written and "://" not in str(written) else None
    return Picture(addresses.without_secrets(address), data, None, relative)


def _join(base: str, value: Any) -> str:
    """A path of a table as an address, from the folder that the table is in.

    Raises:
        SchemaError: a file of this machine, which a table from elsewhere has no business with.
    """
    path = str(value or "").replace("\\", "/")
    if path.startswith(("file:", "local:")):
        raise SchemaError(f"{addresses.without_secrets(base)}: the table names files of this machine ({path[:80]})")
    if not path or "://" in path:
        return path
    scheme, sign, rest = base.partition("://")
    host, slash, folder = rest.partition("/")
    whole = posixpath.normpath(posixpath.join("/", folder, path))
    return f"{scheme}{sign}{host}{whole if host or slash else whole.lstrip('/')}"


# Folders and globs


def _from_listing(text: str, plain: str) -> Source:
    files, path = addresses.filesystem(text)
    is_glob = any(sign in path for sign in _SIGNS)

    def work(found: list[Any]) -> None:
        found.extend(itertools.islice(files.glob(path) if is_glob else files.find(path), MAX_NAMES + 1))

    names = addresses.attempt(lambda: sorted(map(str, addresses.in_time(work, 6 * addresses.SECONDS))), plain)
    if len(names) > MAX_NAMES:
        raise SchemaError(f"{plain} has more than {MAX_NAMES:,} files; add it in parts")
    root, base = _stem(path), _stem(text)
    if names == [path.rstrip("/")]:  # one file, whatever its name: its bytes say what it is
        data = addresses.fetch(text, MAX_BYTES)
        if not decode.looks_like_image(data[: decode.MAGIC_BYTES]):
            raise SchemaError(f"{plain} is neither an image nor a table; download it, and look what it is")
        return _one(text, plain)
    relative = {name: name[len(root) :].lstrip("/") for name in names}
    if any(not name.startswith(root) for name in names):
        raise SchemaError(f"{plain}: its listing names files elsewhere; add a table of the addresses")
    source = Source(_name(plain), plain, ())
    whats = {name: layout.what_is(relative[name]) for name in names}
    images = [name for name in names if whats[name] is None]
    source.left_out.update(what for what in whats.values() if what is not None)
    if not images:
        raise NotFoundError(f"no image at {plain}; there are: {_counted(source.left_out)}")
    arranged = layout.arrange(relative[name] for name in images)
    if not is_glob:
        source.notes += arranged.notes
        source.keys = arranged.keys
        source.classes = from_keys(arranged.keys) if arranged.keys else None

    def entries() -> Iterator[Entry]:
        for name in images:
            placed = arranged.place(relative[name]) if not is_glob else (None, None)
            if placed is None:
                source.left_out["images beside the splits"] += 1
                continue
            label, split = placed
            address = addresses.without_secrets(name if "://" in name else f"{base}/{relative[name]}")
            yield Entry(address, label=label, split=split, relative=relative[name])

    source.entries = entries()
    source.total = len(images)
    return source


def _stem(path: str) -> str:
    """The folder above the first sign of a glob, or the folder itself."""
    parts = path.split("/")
    first = next((number for number, part in enumerate(parts) if set(part) & set(_SIGNS)), len(parts))
    return "/".join(parts[:first]).rstrip("/")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {what}" for what, n in sorted(counts.items(), key=lambda one: -one[1])[:5]) or "nothing"


# What is no source

_KINDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv"),
        "a video",
        "write its frames as images, such as `ffmpeg -i {name} frame-%06d.png`, and add their folder",
    ),
    ((".dcm", ".dicom"), "a DICOM file", "write its pixels as 16-bit or 8-bit PNG (pydicom), and add the folder"),
    ((".nii", ".nii.gz", ".mha", ".nrrd"), "a volume", "write its slices as PNG, and add their folder"),
    ((".h5", ".hdf5", ".hdf"), "an HDF5 file", "read it with h5py, and add the arrays: a list of uint8 (H, W, 3)"),
    ((".npy", ".npz"), "a NumPy file", "add the loaded arrays: a list of uint8 (H, W, 3), or pairs with labels"),
    ((".pkl", ".pickle", ".pt", ".pth"), "a pickle, which can run code", "load it yourself, and add the arrays"),
    ((".mat",), "a MATLAB file", "read it with scipy.io.loadmat, and add the arrays or a table of its paths"),
    ((".tfrecord", ".tfrecords", ".record"), "a TFRecord file", "write it as WebDataset shards or Parquet"),
    ((".beton",), "an FFCV file", "add what it was written from"),
    ((".lmdb", ".mdb"), "an LMDB file", "write it as WebDataset shards or Parquet"),
    ((".idx", ".idx3-ubyte", ".idx1-ubyte", "-ubyte"), "an IDX file (MNIST)", "add torchvision.datasets.MNIST(…)"),
    ((".heic", ".heif"), "a HEIF image", "convert it, such as `heif-convert {name} out.jpg`"),
    (
        (".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2"),
        "a camera's raw image",
        "develop it to JPEG or PNG first",
    ),
    ((".svg", ".pdf", ".eps", ".ai"), "a drawing or document", "render it to PNG first"),
    ((".jxl", ".jp2", ".j2k", ".psd", ".exr", ".hdr"), "an image in a format that is not read", "convert it to PNG"),
    (
        (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tbz2", ".txz"),
        "a compressed tar file, in which nothing can be read by reference",
        "decompress it to a tar file, such as `gunzip {name}`, or unpack it and add the folder",
    ),
    ((".gz", ".bz2", ".xz", ".zst", ".lz4"), "a compressed file", "decompress it, and add what comes out"),
    ((".7z", ".rar"), "an archive that is not read", "unpack it, and add the folder"),
    ((".zip", ".tar"), "a damaged archive", "fetch it again, or unpack it and add the folder"),
    ((".xls", ".xlsx", ".ods"), "a spreadsheet", "save it as CSV, and add that"),
    (
        (".txt", ".lst", ".list"),
        "a text file: lists are read as tables only",
        "write it as CSV with the header path,label, and add that",
    ),
    ((".xml",), "an annotation of one image (Pascal VOC?)", "write a CSV with the header path,label"),
    ((".yaml", ".yml"), "a configuration", "add the folder of images that it names"),
    ((".duckdb", ".db", ".sqlite", ".sqlite3"), "a database", "add a relation of it, or export it as Parquet"),
    ((".arrow", ".feather"), "an Arrow file", "add pyarrow's table of it, or the folder that save_to_disk wrote"),
    ((".csv.gz", ".tsv.gz", ".json.gz", ".jsonl.gz"), "a compressed table", "decompress it: `gunzip {name}`"),
    ((".orc", ".avro"), "a table in a format that is not read", "write it as Parquet"),
)
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", ".h5"),
    (128, b"DICM", ".dcm"),
    (4, b"ftypheic", ".heic"),
    (4, b"ftypmif1", ".heic"),
    (4, b"ftyp", ".mp4"),
    (0, b"\x1aE\xdf\xa3", ".mkv"),
    (0, b"\x1f\x8b", ".gz"),
    (0, b"BZh", ".bz2"),
    (0, b"\xfd7zXZ\x00", ".xz"),
    (0, b"\x28\xb5\x2f\xfd", ".zst"),
    (0, b"7z\xbc\xaf\x27\x1c", ".7z"),
    (0, b"Rar!", ".rar"),
    (0, b"\x93NUMPY", ".npy"),
    (0, b"%PDF", ".pdf"),
    (0, b"PAR1", ".parquet"),
    (0, b"ARROW1", ".arrow"),
    (0, b"SQLite format 3", ".sqlite"),
    (8, b"DUCK", ".duckdb"),
    (0, b"PK\x05\x06", ".zip"),
)


def refuse(file: Path) -> SchemaError:
    """What a file is that is no source of images, and what to do about it."""
    name = file.name.lower()
    head = _head(file)
    if not head:
        return SchemaError(f"{file} is empty")
    if head.startswith(b"version https://git-lfs"):
        return SchemaError(f"{file} is only a pointer of Git LFS; run `git lfs pull` in its folder")
    matches = [(max(filter(name.endswith, one[0]), key=len, default=""), *one[1:]) for one in _KINDS]
    ending, what, cure = max(matches, key=lambda one: len(one[0]))
    if not ending:
        ending = next((known for at, sign, known in _MAGIC if head[at:].startswith(sign)), "")
        ending = ".tar.gz" if ending == ".gz" and _tar_inside(file) else ending
        if ending == ".parquet":
            return SchemaError(f"{file} is a Parquet file; give it the ending .parquet")
        what, cure = next(((what, cure) for known, what, cure in _KINDS if ending in known), ("", ""))
    if not what:
        return SchemaError(
            f"{file} is neither an image ({', '.join(decode.SUFFIXES)}), nor a table ({', '.join(FORMATS)}), nor an "
            "archive (.zip, .tar)"
        )
    return SchemaError(f"{file} is {what}; {cure.replace('{name}', file.name)}")


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(512)
    except OSError as error:
        raise NotFoundError(f"{file} cannot be read: {error.strerror or error}") from error


def _tar_inside(file: Path) -> bool:
    try:
        with gzip.open(file) as stream:
            return stream.read(512)[257:262] == b"ustar"
    except (OSError, EOFError, ValueError):
        return False
