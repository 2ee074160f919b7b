"""A folder beside a page with its pictures in the size of a screen: pixels encoded again, named by image_id."""

from __future__ import annotations

import contextlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import duckdb

from ..core import progress
from ..core.files import write_whole
from ..errors import NotFoundError, SchemaError
from . import pictures
from .album import Album

MARKER = ".sqlanalysis-pictures"
MAX_PICTURES = 5000
MAX_BYTES = 500_000_000
_NAME = re.compile(r"-?\d+\.webp(\.part)?")


class Folder:
    """The folder of a page: it lies below the folder of the page, and contains nothing but pictures of this page."""

    def __init__(self, folder: Path, page: Path) -> None:
        """Check the folder; nothing is written yet.

        Raises:
            NotFoundError: the folder it is to lie in does not exist.
            SchemaError: it is not below the page's folder, is a file or a link, or contains other files.
        """
        self.path, self._page = folder, page.name
        beside = page.parent.resolve()
        if not folder.parent.is_dir():
            raise NotFoundError(f"no folder {folder.parent}; create it first")
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise SchemaError(f"{folder} is a file or a link; full_images (--full-images) takes a folder of its own")
        real = folder.parent.resolve() / folder.name
        if not real.resolve().is_relative_to(beside) or real.resolve() == beside:
            raise SchemaError(
                f"{folder} is not below {page.parent}, where the page finds its pictures; give a folder such as "
                f"{page.parent / (page.stem + '_images')}"
            )
        self.url = quote(real.resolve().relative_to(beside).as_posix())
        if folder.is_dir():
            self._check_ours()

    def _check_ours(self) -> None:
        names = sorted(entry.name for entry in os.scandir(self.path))
        if not names:
            return
        marker = self.path / MARKER
        owner = marker.read_text(encoding="utf-8").strip() if marker.is_file() and not marker.is_symlink() else None
        if owner is not None and owner != self._page:
            raise SchemaError(f"{self.path} contains the pictures of another page, {owner}; give another folder")
        other = [name for name in names if name != MARKER and not _NAME.fullmatch(name)]
        if owner is None or other:
            raise SchemaError(
                f"{self.path} contains other files, such as {(other or names)[0]}; give an empty folder or a new one"
            )

    def write(self, con: duckdb.DuckDBPyConnection, album: Album, wanted: pictures.Wanted) -> list[int]:
        """Write the pictures of the first images, up to `MAX_PICTURES` and `MAX_BYTES`, and delete those of before.

        Args:
            con: from `connect`.
            album: what makes the pictures.
            wanted: image_id and row of the page, the most important first.

        Returns:
            The rows of the page whose pictures are in the folder, ascending.
        """
        self.path.mkdir(exist_ok=True)
        write_whole(self.path / MARKER, self._page + "\n")
        ids = {row: image_id for image_id, row in wanted}
        rows: list[int] = []
        written = 0
        wanted = wanted[:MAX_PICTURES]
        with progress.track("full pictures", len(wanted)) as advance, ThreadPoolExecutor(os.cpu_count() or 2) as pool:
            for start in range(0, len(wanted), pictures.CHUNK // 8):
                chunk = sorted(wanted[start : start + pictures.CHUNK // 8])
                for row, picture in pictures.make(con, album, pool, chunk, pictures.FULL):
                    if written + len(picture) <= MAX_BYTES:
                        self._write(ids[row], picture)
                        rows.append(row)
                        written += len(picture)
                advance(len(chunk))
        kept = {f"{ids[row]}.webp" for row in rows} | {MARKER}
        for entry in list(os.scandir(self.path)):
            if entry.name not in kept and _NAME.fullmatch(entry.name):
                os.unlink(entry.path)
        return sorted(rows)

    def _write(self, image_id: int, picture: bytes) -> None:
        file = self.path / f"{image_id}.webp"
        draft = self.path / f"{image_id}.webp.part"
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        # A new file, then a rename: neither follows a link that somebody put there.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with open(descriptor, "wb") as stream:
            stream.write(picture)
        draft.replace(file)
