"""Where the parts of a file are: addresses, the views that read them, and whether they are what was committed.

The parts of FILE lie in FILE.parts beside it, unless a scratch folder elsewhere was given. `parts.uri` is relative to
the folder of the file where that is possible, so that both can be moved together. A view cannot know where its file is,
so the addresses in it are absolute, and its comment remembers for which folder: `follow` makes it again after a move.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb

from ..errors import SchemaError
from .statements import execute, fetch, is_read_only, transaction

_PIECE = 1 << 20


def folder(con: duckdb.DuckDBPyConnection) -> Path | None:
    """FILE.parts of the current database; None for one in memory."""
    path = fetch(con, "read_path")[0][0]
    return folder_of(Path(path)) if path else None


def folder_of(file: Path) -> Path:
    """FILE.parts of a file."""
    return file.with_name(f"{file.name}.parts")


def is_remote(uri: str) -> bool:
    """Whether a part is at an address, such as s3://…"""
    return "://" in uri


def address(con: duckdb.DuckDBPyConnection, uri: str) -> str:
    """The absolute path or address of a part."""
    own = folder(con)
    return uri if own is None or is_remote(uri) else str(own.parent / uri)


def shorten(con: duckdb.DuckDBPyConnection, path: str) -> str:
    """A path as `parts.uri` keeps it: relative to the folder of the file for what lies in FILE.parts."""
    own = folder(con)
    if is_remote(path):
        return path
    file = Path(path).resolve()
    return file.relative_to(own.parent).as_posix() if own is not None and file.is_relative_to(own) else str(file)


def owned(con: duckdb.DuckDBPyConnection, run: str) -> list[Path]:
    """Files of a run that lie in FILE.parts, which belong to the file and go with the run."""
    own = folder(con)
    return [] if own is None else [path for path in map(Path, addresses(con, run)) if path.is_relative_to(own)]


def addresses(con: duckdb.DuckDBPyConnection, run: str) -> list[str]:
    """Absolute paths or addresses of the committed parts of a run."""
    return [address(con, row[1]) for row in fetch(con, "list_parts", [run])]


def delete(con: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    """Delete files of FILE.parts, and folders that are empty then; called after the commit that forgets them."""
    own = folder(con)
    for file in files:
        file.unlink(missing_ok=True)
    for parent in {file.parent for file in files}:
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
    if own is not None and own.is_dir() and not any(own.iterdir()):
        own.rmdir()


def recreate_view(
    con: duckdb.DuckDBPyConnection, run: str, columns: Sequence[tuple[str, str]] | None = None
) -> None:
    """Make the view `outputs.<run>` over the committed parts; inside a transaction.

    Args:
        con: writable.
        run: its name.
        columns: name and SQL type of each output; None keeps those of the present view.
    """
    if columns is None:
        columns = fetch(con, "list_output_columns", [run])
    execute(con, "recreate_part_view", run=run, columns=columns, addresses=addresses(con, run))
    own = folder(con)
    execute(con, "comment_part_view", run=run, folder="" if own is None else str(own.parent))


def follow(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Let the views of a file that was moved or copied read the parts beside it.

    Returns:
        Runs whose views still read from elsewhere, because the file is read-only or their parts are not there.
    """
    own = folder(con)
    moved = [run for run, at in fetch(con, "list_part_runs") if own is not None and at != str(own.parent)]
    left = []
    for run in moved:
        if is_read_only(con) or lost(con, run):
            left.append(run)
            continue
        with transaction(con):
            recreate_view(con, run)
    return left


def lost(con: duckdb.DuckDBPyConnection, run: str) -> list[tuple[str, str]]:
    """Parts of a run that are missing or have another size, with the problem; those at addresses are not asked."""
    found = []
    for _, uri, _, _, n_bytes, _ in fetch(con, "list_parts", [run]):
        path = Path(address(con, uri))
        if is_remote(uri):
            continue
        if not path.is_file():
            found.append((uri, "is missing"))
        elif path.stat().st_size != n_bytes:
            found.append((uri, f"has {path.stat().st_size:,} bytes, {n_bytes:,} were committed"))
    return found


def check(con: duckdb.DuckDBPyConnection, run: str) -> list[tuple[str, str]]:
    """As `lost`, and every part is read and compared with the hash that was committed."""
    found = lost(con, run)
    known = {uri for uri, _ in found}
    for _, uri, _, _, _, sha256 in fetch(con, "list_parts", [run]):
        if uri not in known and not is_remote(uri) and _hash(Path(address(con, uri))) != sha256:
            found.append((uri, "has other bytes than were committed"))
    return found


def require(con: duckdb.DuckDBPyConnection, run: str) -> None:
    """Refuse a run of which a part is missing or changed.

    Raises:
        SchemaError: the message names the first.
    """
    problems = check(con, run)
    if problems:
        uri, problem = problems[0]
        more = f", and {len(problems) - 1} more parts" if len(problems) > 1 else ""
        raise SchemaError(
            f"part {uri} of run {run!r} {problem}{more}; restore the file, or drop the run and predict again"
        )


def copy(con: duckdb.DuckDBPyConnection, source: Path, target: Path) -> int:
    """Copy the parts in the folder of one file to that of its copy, on which `con` is open; how many."""
    n = 0
    for run, _ in fetch(con, "list_part_runs"):
        for _, uri, _, _, _, sha256 in fetch(con, "list_parts", [run]):
            if is_remote(uri) or Path(uri).is_absolute():
                continue
            there = target.parent / _renamed(uri, source, target)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source.parent / uri, there)
            if _hash(there) != sha256:
                raise SchemaError(f"part {uri} of run {run!r} has other bytes than were committed; nothing was copied")
            n += 1
    return n


def _renamed(uri: str, source: Path, target: Path) -> str:
    return folder_of(target).name + uri.removeprefix(folder_of(source).name)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
