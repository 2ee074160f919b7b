"""Is the file what it says: images against their hashes, tables against each other; and what a stop has damaged."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from ..core import decode, progress
from ..core.results import Result
from ..errors import ImageError, NotFoundError, QueryError, SchemaError
from . import connection, statements, torn

BLOCK_IMAGES = 256
MOST_BLOCKS = 64
WRONG_BLOCK = re.compile(r"in block at location (\d+)")


@dataclass(frozen=True, repr=False)
class Verified(Result):
    """What `verify` found: every image was read again.

    Attributes:
        n_images: images compared with their stored hash.
        images: (image_id, uri, problem) of those that differ; problem is "changed" or why it cannot be read.
        tables: (problem, object, n) rows of `check_database`.
    """

    n_images: int
    images: list[tuple[int, str, str]]
    tables: list[tuple[str, str, int]]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.images and not self.tables


@dataclass(frozen=True, repr=False)
class Recovered(Result):
    """What `recover` did.

    Attributes:
        path: the file, which opens now.
        log: where the damaged write-ahead log lies now; None when it was not damaged.
        blocks: where the blocks lie, as they were, that an unfinished checkpoint had left with a wrong checksum.
        incomplete: runs that lack images: run them again to go on.
    """

    path: Path
    log: Path | None
    blocks: list[Path]
    incomplete: list[str]


def verify(con: duckdb.DuckDBPyConnection, *, show_progress: bool = True) -> Verified:
    """Read every image again and compare its bytes with the stored hash, and the tables with each other.

    Args:
        con: from `connect`; reading is enough.
        show_progress: draw a progress bar on a terminal.

    Returns:
        What differs. Images kept in the file are hashed from their stored bytes; a swapped file counts as changed.
        Every block of every table is read, so damage on the disk raises.

    Raises:
        QueryError: a table cannot be read: the file is damaged.
    """
    total = statements.fetch(con, "count_images")[0][0]
    found: list[tuple[int, str, str]] = []
    with ThreadPoolExecutor() as pool, progress.track("verifying", total, enabled=show_progress) as advance:
        for block in _blocks(con):
            answers = pool.map(_problem, block)
            found += [(row[0], row[1], said) for row, said in zip(block, answers, strict=True) if said]
            advance(len(block))
    _read_every_table(con)
    tables = statements.fetch(con, "list_problems")
    return Verified(total, found, [(problem, thing, n) for problem, thing, n in tables])


def _read_every_table(con: duckdb.DuckDBPyConnection) -> None:
    for schema, table in statements.fetch(con, "list_stored_tables"):
        statements.fetch(con, "read_every_value", schema=schema, table=table)


def _blocks(con: duckdb.DuckDBPyConnection) -> Iterator[list[tuple[Any, ...]]]:
    last = -1
    while block := statements.fetch(con, "list_stored_images", [last, BLOCK_IMAGES]):
        yield block
        last = block[-1][0]


def _problem(row: tuple[Any, ...]) -> str | None:
    _, uri, sha256, data = row
    try:
        found = hashlib.sha256(decode.read(data, uri)).hexdigest()
    except ImageError as error:
        return str(error)
    return None if found == sha256 else "changed"


def recover(path: str | Path) -> Recovered:
    """Make a file open again that a stop has damaged; whatever is replaced is kept beside the file.

    A write-ahead log that cannot be replayed is moved aside. A block that a checkpoint was writing gets the checksum of
    what it holds, if the log says that a checkpoint was under way and every table can then be read: nothing is lost by
    that.

    Args:
        path: the DuckDB file; no other process may have it open.

    Returns:
        What was moved or mended, and which runs are incomplete. A file that opens is left as it is.

    Raises:
        NotFoundError: no such file.
        SchemaError: the file itself is damaged, or is none of ours; nothing was changed.
        QueryError: another process holds the file.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise NotFoundError(f"no file {file}")
    log = Path(f"{file}.wal")
    try:
        return Recovered(file, None, [], _incomplete(file))
    except SchemaError as error:
        if not log.exists():
            raise
        is_torn = WRONG_BLOCK.search(str(error)) and torn.was_checkpointing(log)
    stamp = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S%f}"
    if is_torn:
        return Recovered(file, None, _mend(file, stamp), _incomplete(file))
    aside = log.with_name(f"{log.name}.{stamp}")
    log.rename(aside)
    try:
        return Recovered(file, aside, [], _incomplete(file))
    except (SchemaError, QueryError):
        aside.rename(log)
        raise


def _mend(file: Path, stamp: str) -> list[Path]:
    """Mend blocks until the file opens and every table is read, or leave everything as it was."""
    kept: dict[int, Path] = {}
    try:
        while len(kept) < MOST_BLOCKS:
            try:
                con = connection.connect(file, read_only=True)
            except SchemaError as error:
                found = WRONG_BLOCK.search(str(error))
                if not found or int(found[1]) in kept:
                    raise
                location = int(found[1])
                block = torn.read_block(file, location)
                kept[location] = file.with_name(f"{file.name}.block{location}.{stamp}")
                torn.write_synced(kept[location], 0, block)
                torn.write_synced(file, location, torn.checksum(block[8:]).to_bytes(8, "little"))
                continue
            with con:
                _read_every_table(con)
            return list(kept.values())
        raise SchemaError(f"more than {MOST_BLOCKS} blocks are wrong")
    except (SchemaError, QueryError) as error:
        for location, copy in kept.items():
            torn.write_synced(file, location, copy.read_bytes()[:8])
            copy.unlink()
        raise SchemaError(
            f"{file} is damaged as no checkpoint leaves it; nothing was changed, go back to a copy: {error}"
        ) from error


def _incomplete(file: Path) -> list[str]:
    with connection.connect(file, create=False) as con:
        return [row[0] for row in statements.fetch(con, "list_incomplete_runs")]
