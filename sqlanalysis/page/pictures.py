"""The pictures of a page: small ones for the map and the galleries, large ones for what has to be looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa

from ..core import progress
from ..db import statements
from .album import Album

SMALL = 64, 60  # longer side in pixels, and quality of WebP
LARGE = 256, 80  # 9 KB in the mean of photographs
FULL = 1024, 80
CHUNK = 512  # images
OVERHEAD = 8  # bytes of a picture beside its own: the number of its row, and its offset
Wanted = Sequence[tuple[int, int]]  # (image_id, row of the page)


def fill(
    con: duckdb.DuckDBPyConnection, album: Album, wanted: Wanted, room: float, size: tuple[int, int], title: str
) -> dict[int, bytes]:
    """WebP pictures by row of the page, in the order given, until `room` bytes are used; large ones may be passed over.

    Args:
        con: from `connect`.
        album: what makes the pictures.
        wanted: image_id and row of the page, the most important first.
        room: bytes.
        size: longer side in pixels, and quality.
        title: what the progress is of.
    """
    pictures: dict[int, bytes] = {}
    start, step = 0, CHUNK
    with progress.track(title, len(wanted)) as advance, ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        while room > CHUNK and start < len(wanted):
            batch = wanted[start : start + step]
            batch_pictures = [pair for chunk in chunks(batch) for pair in make(con, album, pool, chunk, size)]
            advance(len(batch))
            if not batch_pictures:  # the files have been moved
                break
            for row, picture in batch_pictures:
                if len(picture) + OVERHEAD <= room:
                    room -= len(picture) + OVERHEAD
                    pictures[row] = picture
            mean = sum(len(picture) for _, picture in batch_pictures) / len(batch_pictures)
            # The next batch is as large as fits by the mean so far; the factor leaves room for larger ones.
            start, step = start + step, max(16, int(0.95 * room / (mean + OVERHEAD)))
    return pictures


def used(pictures: dict[int, bytes]) -> int:
    """Bytes that the pictures take in the page, before base64."""
    return sum(len(picture) + OVERHEAD for picture in pictures.values())


def table(pictures: dict[int, bytes]) -> pa.Table:
    """The pictures as a table: columns row (of the page) and image."""
    images = pa.array(list(pictures.values()), pa.binary())
    return pa.table({"row": pa.array(list(pictures), pa.uint32()), "image": images})


def chunks(wanted: Wanted) -> Iterator[Wanted]:
    """The images in order of id, so that a query reads the table once, in chunks that fit into memory."""
    ordered = sorted(wanted)
    return (ordered[first : first + CHUNK] for first in range(0, len(ordered), CHUNK))


def make(
    con: duckdb.DuckDBPyConnection, album: Album, pool: ThreadPoolExecutor, chunk: Wanted, size: tuple[int, int]
) -> list[tuple[int, bytes]]:
    """(row of the page, picture) of the readable images of a chunk in order of id."""
    chunk = [one for one in chunk if one[0] not in album.lost]
    if not chunk:
        return []
    ids = [image_id for image_id, _ in chunk]
    values = {"ids": ids, "low": ids[0], "high": ids[-1]}
    stored = dict(statements.fetch(con, "thumbnail_images", values))
    made = list(pool.map(lambda image_id: album.small(stored.get(image_id), *size), ids))
    album.lost |= {
        image_id
        for image_id, picture in zip(ids, made, strict=True)
        if not picture and stored.get(image_id, {"bytes": None})["bytes"] is None
    }
    return [(row, picture) for (_, row), picture in zip(chunk, made, strict=True) if picture]
