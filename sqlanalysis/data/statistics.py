"""What images look like, measured once: brightness, contrast, sharpness, colorfulness, entropy."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb

from ..core import progress
from ..core.interrupts import Interruptible, interruptible
from ..core.results import Result
from ..db.statements import execute, fetch, registered, transaction
from . import label_spaces

BLOCK_IMAGES = 1024
BLOCK_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, repr=False)
class Measured(Result):
    """What became of the images: n_images = n_ok + n_errors; `n_computed` were decoded in this call."""

    n_images: int
    n_ok: int
    n_errors: int
    n_computed: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Images decoded and measured in this call, by the clock."""
        return self.n_computed / self.seconds if self.n_computed else 0.0


def measure_images(
    con: duckdb.DuckDBPyConnection, dataset: str | None = None, *, show_progress: bool = True
) -> Measured:
    """Measure every image that has no statistics yet; they become columns of `images` and of every run.

    Columns: brightness, contrast, sharpness, colorfulness and entropy, of the same pixels that models see
    (`core.decode.Statistics` defines each). Equal bytes are measured once; changed bytes, noticed by `add_images`, are
    measured again. Work is committed in blocks: after a crash or an interrupt the same call resumes.

    Args:
        con: from `connect`, writable.
        dataset: which data set; default all.
        show_progress: draw a progress bar on a terminal.

    Returns:
        Counts and seconds. An image that cannot be read or decoded has no statistics but a row in `errors` (run NULL),
        and is tried again by the next call.

    Raises:
        NotFoundError: no such data set.
        KeyboardInterrupt: Ctrl-C; what was committed stays.
    """
    start, tried = time.perf_counter(), set[int]()
    if dataset is not None:
        label_spaces.resolve_dataset(con, dataset)
    with transaction(con):
        execute(con, "copy_statistics").fetchall()
    n_images, n_known = fetch(con, "count_measured", {"dataset": dataset})[0]
    stop = Interruptible()
    with progress.track("measuring", n_images - n_known, enabled=show_progress) as advance, interruptible(stop):
        for shared in (True, False):  # then copies of those that failed: another file of the same bytes may be readable
            rows = fetch(con, "list_unmeasured", {"dataset": dataset}, shared=shared)
            for block in _blocks([row for row in rows if row[0] not in tried]):
                _measure(con, block)
                tried.update(block)
                advance(len(block))
                if stop.interrupted:
                    raise KeyboardInterrupt
    n_images, n_ok = fetch(con, "count_measured", {"dataset": dataset})[0]
    return Measured(n_images, n_ok, n_images - n_ok, len(tried), time.perf_counter() - start)


def _blocks(rows: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Ids of at most 1,024 images and about 64 MB at a time."""
    block: list[int] = []
    held = 0
    for image_id, n_bytes in rows:
        if block and (len(block) == BLOCK_IMAGES or held + n_bytes > BLOCK_BYTES):
            yield block
            block, held = [], 0
        block.append(image_id)
        held += n_bytes
    if block:
        yield block


def _measure(con: duckdb.DuckDBPyConnection, block: list[int]) -> None:
    """Measure one block and commit it: statistics and errors together."""
    import pyarrow as pa

    with registered(con, "block_images", pa.table({"image_id": pa.array(block, pa.int64())})):
        execute(con, "create_measured").fetchall()
    with transaction(con):
        for name in ("delete_measure_errors", "update_statistics", "insert_measure_errors"):
            execute(con, name).fetchall()
