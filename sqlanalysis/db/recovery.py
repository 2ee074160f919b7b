"""Verify that a file is intact, and repair a file that a crash has damaged: `verify` and `recover`."""

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

from ..core import decode, progress, talk
from ..core.reading import is_address
from ..core.results import Result
from ..core.tables import Table, cell
from ..core.text import one_line
from ..errors import ImageError, NotFoundError, QueryError, SchemaError
from . import connection, parts, statements, torn

BLOCK_IMAGES = 256
MOST_BLOCKS = 64
SHOWN = 20  # problems of each kind in a notebook
WRONG_BLOCK = re.compile(r"in block at location (\d+)")


@dataclass(frozen=True, repr=False)
class Verified(Result):
    """The result of `verify`, which reads every image again.

    Attributes:
        n_images: images compared with their stored hash.
        images: (image_id, uri, problem) of those that differ; problem is "changed", or why the image cannot be read.
        tables: (problem, object, n) rows of `check_database`, and of the outputs of each run.
    """

    n_images: int
    images: list[tuple[int, str, str]]
    tables: list[tuple[str, str, int]]

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.images and not self.tables

    def _lead(self) -> str:
        return f"{self.n_images:,} images compared with their hash: {'no problem' if self.ok else 'there are problems'}"

    def _tables(self) -> list[Table]:
        found = (("image_id", "uri", "problem"), self.images), (("problem", "object", "n"), self.tables)
        return [
            Table(
                columns,
                [[cell(name, value) for name, value in zip(columns, row, strict=True)] for row in rows[:SHOWN]],
                note=[f"{len(rows):,} rows, of which {SHOWN} are shown"] if len(rows) > SHOWN else (),
            )
            for columns, rows in found
            if rows
        ]


@dataclass(frozen=True, repr=False)
class Recovered(Result):
    """The result of `recover`.

    Attributes:
        path: the file, which can be opened now.
        log: new path of the damaged write-ahead log; None if it was not damaged.
        blocks: paths of copies of the repaired blocks, as an unfinished checkpoint had left them.
        incomplete: runs that lack images; the same call as before resumes them.
    """

    path: Path
    log: Path | None
    blocks: list[Path]
    incomplete: list[str]


def verify(con: duckdb.DuckDBPyConnection, *, show_progress: bool = True) -> Verified:
    """Compare the bytes of every image with the stored hash, and the tables with each other.

    Args:
        con: from `connect`; read-only is sufficient.
        show_progress: draw a progress bar on a terminal.

    Returns:
        The differences. Images whose bytes are stored in the file are hashed from these; a file with
        other content counts as changed. Images at addresses are not read on a connection with `safe=True`: a line
        says how many, and `n_images` leaves them out. Parts at addresses are not read; a line names them. Every block
        of every table is read, so damage on the disk raises.

    Raises:
        QueryError: a table cannot be read, so the file is damaged.
    """
    total = statements.fetch(con, "count_images")[0][0]
    images: list[tuple[int, str, str]] = []
    remote, n_left = statements.may_reach(con), 0
    with ThreadPoolExecutor() as pool, progress.track("verifying", total, enabled=show_progress) as advance:
        for block in _blocks(con):
            wanted = [row for row in block if remote or row[3] is not None or not is_address(row[1])]
            n_left += len(block) - len(wanted)
            problems = pool.map(_problem, wanted)
            images += [(row[0], row[1], text) for row, text in zip(wanted, problems, strict=True) if text]
            advance(len(block))
    if n_left:
        talk.say(
            [
                f"{n_left:,} images at addresses are not read, as for a file from others: `sqlanalysis --trust verify` "
                "reads them (in Python: connect without safe=True)"
            ]
        )
    talk.say(parts.note_unread(con))
    read_every_table(con)
    return Verified(total - n_left, images, list(dict.fromkeys([*_table_problems(con), *_output_problems(con)])))


def _table_problems(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, int]]:
    try:
        return [(problem, name, n) for problem, name, n in statements.fetch(con, "list_problems")]
    except QueryError as error:  # a view over a table that is gone
        return [(f"cannot be read: {one_line(error, 200)}", "check_database", 1)]


def _output_problems(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, int]]:
    found = [("table of outputs without a run", name, 1) for (name,) in statements.fetch(con, "list_ownerless_outputs")]
    views = {
        run for run, schema, kind in statements.fetch(con, "list_run_objects") if (schema, kind) == ("main", "view")
    }
    for run, members in statements.fetch(con, "list_runs_with_members"):
        if run not in views:
            found.append(("run without its view", run, 1))
        names = [row[0] for row in statements.fetch(con, "list_columns", ["outputs", run])]
        if members is None and not names:
            found.append(("run without its table", run, 1))
        elif broken := parts.check(con, run):
            found += [(f"part of run {run} {problem}", uri, 1) for uri, problem in broken]
        elif members is None:
            rows = statements.fetch(con, "list_output_problems", run=run, names=names, source=parts.source(con, run))
            found += [(problem, run, n) for problem, n in rows if n]
    return found


def read_every_table(con: duckdb.DuckDBPyConnection) -> None:
    """Read every value of every table, so that every block is compared with its checksum.

    Raises:
        QueryError: a block is damaged.
    """
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
        digest = hashlib.sha256(decode.read(data, uri)).hexdigest()
    except ImageError as error:
        return one_line(error)
    return None if digest == sha256 else "changed"


def recover(path: str | Path) -> Recovered:
    """Repair a file that a crash has damaged, so that it can be opened; everything that is replaced is kept beside it.

    A write-ahead log that cannot be replayed is moved aside. If the log shows that a checkpoint was in progress, blocks
    with a wrong checksum get the checksum of their content, provided that every table can then be read; this loses no
    data.

    Args:
        path: the DuckDB file; no other process may have it open.

    Returns:
        What was moved or repaired, and which runs are incomplete. A file that can be opened is left as it is.

    Raises:
        NotFoundError: no such file.
        SchemaError: the file is damaged in another way, or was not made by this package; nothing was changed.
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
        return Recovered(file, None, _repair(file, stamp), _incomplete(file))
    # Without the log the file is as of its last checkpoint; what was committed later is only in the log.
    aside = log.with_name(f"{log.name}.{stamp}")
    log.rename(aside)
    try:
        return Recovered(file, aside, [], _incomplete(file))
    except (SchemaError, QueryError):
        aside.rename(log)
        raise


def _repair(file: Path, stamp: str) -> list[Path]:
    """Repair blocks until the file can be opened and every table read; otherwise restore everything."""
    kept: dict[int, Path] = {}
    try:
        while len(kept) < MOST_BLOCKS:
            try:
                con = connection.connect(file, read_only=True)
            except SchemaError as error:
                match = WRONG_BLOCK.search(str(error))
                if not match or int(match[1]) in kept:
                    raise
                location = int(match[1])
                block = torn.read_block(file, location)
                kept[location] = file.with_name(f"{file.name}.block{location}.{stamp}")
                # The copy is on the disk before the block changes: a crash in between loses nothing.
                torn.write_synced(kept[location], 0, block)
                torn.write_synced(file, location, torn.checksum(block[8:]).to_bytes(8, "little"))
                continue
            with con:
                read_every_table(con)
            return list(kept.values())
        raise SchemaError(f"more than {MOST_BLOCKS} blocks are wrong")
    except (SchemaError, QueryError) as error:
        for location, copy in kept.items():
            torn.write_synced(file, location, copy.read_bytes()[:8])
            copy.unlink()
        raise SchemaError(
            f"{file} has damage that no checkpoint causes; nothing was changed, restore a copy: {error}"
        ) from error


def _incomplete(file: Path) -> list[str]:
    with connection.connect(file, create=False) as con:
        return [row[0] for row in statements.fetch(con, "list_incomplete_runs")]
