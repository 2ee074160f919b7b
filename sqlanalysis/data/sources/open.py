"""Recognize what a source is, and hand it to its reader."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import ArgumentError, NotFoundError, SchemaError, near_matches
from . import Entry, Source, archive, coco, folder, huggingface, listing, manifest, pictures, remote
from .table import is_table, read_table, table_files

_SIGNS = "*?["


def open_source(source: Any, chosen: Mapping[str, str]) -> Source:
    """The reader's stream for a source; `chosen` names columns of a table, role → column.

    Raises:
        ArgumentError: not something that holds images.
        NotFoundError: no such path, no image there, or it cannot be read.
        SchemaError: a file that is neither an image nor a table nor an archive, or a table without the columns.
    """
    if isinstance(source, str | Path):
        try:
            return _from_text(str(source), chosen)
        except OSError as error:
            raise NotFoundError(f"{error.filename or source} cannot be read: {error.strerror or error}") from error
    if isinstance(source, list | tuple) and source and all(isinstance(one, str | Path) for one in source):
        files = [file for one in source for file in table_files(one)]
        if len(files) == len(source):
            return _from_tables(files, chosen)
    if huggingface.is_dataset(source):
        return huggingface.from_dataset(source, chosen)
    if is_table(source):
        return manifest.from_table(read_table(source), chosen)
    listed = hasattr(source, "__iter__") or hasattr(source, "__getitem__")
    if isinstance(source, dict | bytes) or not listed:
        raise ArgumentError(
            "images come from a folder, a glob, a manifest, a table, an archive, an address, or a list of pictures or "
            f"paths, not from {type(source).__name__}"
        )
    return pictures.from_pictures(source)


def _from_text(text: str, chosen: Mapping[str, str]) -> Source:
    if not text.strip():
        raise ArgumentError('the source is empty text; the working directory is "."')
    if "://" in text and not text.startswith("file:"):
        return remote.from_address(text, chosen)
    path = Path(text.removeprefix("file://")).expanduser()
    if path.is_dir():
        return _from_folder(path.resolve(), chosen)
    if path.is_file():
        return _from_file(path.resolve(), chosen)
    if any(sign in text for sign in _SIGNS):
        return _from_glob(text, chosen)
    if "{" in text and (shards := archive.shards(text)):
        return archive.from_archive(shards, chosen)
    siblings = os.listdir(path.parent) if path.parent.is_dir() else []
    raise NotFoundError(f"no file or folder {text}{near_matches(path.name, siblings)}")


def _from_folder(root: Path, chosen: Mapping[str, str]) -> Source:
    if huggingface.is_saved(root):
        return huggingface.from_saved(root, chosen)
    shards = folder.parquet_shards(root)
    return huggingface.from_parquet(shards, chosen) if shards else folder.from_folder(root, chosen)


def _from_file(file: Path, chosen: Mapping[str, str]) -> Source:
    if table_files(file):
        return _from_tables([file], chosen)
    if archive.is_archive(file):
        return archive.from_archive([file], chosen)
    if listing.is_image(file):
        return Source(file.parent.name, str(file), [Entry(str(file), relative=file.name)], total=1)
    raise remote.refuse(file)


def _from_glob(text: str, chosen: Mapping[str, str]) -> Source:
    files = sorted(Path(one).resolve() for one in glob.glob(os.path.expanduser(text), recursive=True))
    files = [file for file in files if file.is_file()]
    if files and table_files(text):
        return _from_tables(files, chosen)
    if files and all(map(archive.is_archive, files)):
        return archive.from_archive(files, chosen)
    images = [file for file in files if listing.is_image(file)]
    if not images:
        raise NotFoundError(f"no image matches {text}")
    source = Source(images[0].parent.name, text, [Entry(str(file), relative=file.name) for file in images])
    source.total = len(images)
    if len(images) < len(files):
        source.left_out["other files"] = len(files) - len(images)
    return source


def _from_tables(files: list[Path], chosen: Mapping[str, str]) -> Source:
    suffix = files[0].suffix.lower()
    if any(file.suffix.lower() != suffix for file in files):
        raise SchemaError(f"{files[0]} and the files beside it are of several formats; add them one by one")
    if suffix in (".parquet", ".pq") and huggingface.has_pictures(files[0], chosen):
        return huggingface.from_parquet(files, chosen)
    if suffix == ".json" and len(files) == 1 and coco.is_coco(files[0]):
        return coco.from_coco(files[0], chosen)
    return manifest.from_table(read_table(files), chosen)
