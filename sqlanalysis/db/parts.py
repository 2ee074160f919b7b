"""Where the parts of a file are: addresses, the views that read them, and whether they are what was committed.

The parts of FILE lie in FILE.parts beside it, unless a scratch folder elsewhere was given. `parts.uri` is relative to
FILE.parts for what lies there, so that both can be moved and renamed together. A view cannot know where its file is, so
the addresses in it are absolute, and its comment remembers for which folder: `follow` makes it again after a move.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb

from ..errors import SchemaError
from . import templates
from .statements import execute, fetch, is_read_only, transaction

_PIECE = 1 << 20
_NAMED = 3  # parts in one line


def folder(con: duckdb.DuckDBPyConnection) -> Path | None:
    """FILE.parts of the current database, or the folder that it links to; None for one in memory."""
    path = fetch(con, "read_path")[0][0]
    return folder_of(Path(path)).resolve() if path else None


def folder_of(file: Path) -> Path:
    """FILE.parts of a file."""
    return file.with_name(f"{file.name}.parts")


def is_remote(uri: str) -> bool:
    """Whether a part is at an address, such as s3://…"""
    return "://" in uri


def address(con: duckdb.DuckDBPyConnection, uri: str) -> str:
    """The absolute path or address of a part.

    Raises:
        SchemaError: it leads out of FILE.parts. Others may have written `parts.uri`, so every use of it comes here.
    """
    own = folder(con)
    return uri if is_remote(uri) else str(_checked(own, uri))


def _checked(own: Path | None, uri: str) -> Path:
    path = Path(uri)
    # What is absolute was made in a scratch folder: it is read there, and never deleted or replaced.
    if ".." in path.parts or not (path.is_absolute() or (own is not None and _is_inside(own / path, own))):
        raise SchemaError(
            f"part {uri!r} leads out of {own}, where the parts of this file lie; a file from others may not name what "
            "is read or deleted: ask who made it, or drop the run"
        )
    return path if own is None else own / path


def _is_inside(path: Path, own: Path) -> bool:
    """Whether a path is below a folder, also after all links."""
    return path.resolve() != own and path.resolve().is_relative_to(own)


def shorten(con: duckdb.DuckDBPyConnection, path: str) -> str:
    """A path as `parts.uri` keeps it: relative to FILE.parts for what lies there, else absolute."""
    own = folder(con)
    if is_remote(path):
        return path
    file = Path(path).resolve()
    return file.relative_to(own).as_posix() if own is not None and file.is_relative_to(own) else str(file)


def owned(con: duckdb.DuckDBPyConnection, run: str) -> list[Path]:
    """Files of a run that lie in FILE.parts, also of work that is not finished; they go with the run."""
    own = folder(con)
    if own is None:
        return []
    committed = [own / uri for _, uri, *_ in fetch(con, "list_parts", [run]) if not is_remote(uri)]
    found = dict.fromkeys([*committed, *own.glob(f"{run}-????????/*")])  # no name of a run has a dash
    return [path for path in found if ".." not in path.parts and _is_inside(path, own)]


def addresses(con: duckdb.DuckDBPyConnection, run: str) -> list[str]:
    """Absolute paths or addresses of the committed parts of a run."""
    return [address(con, row[1]) for row in fetch(con, "list_parts", [run])]


def delete(con: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    """Delete files of FILE.parts, and folders that are empty then; called after the commit that forgets them."""
    own = folder(con)
    inside = [file for file in files if own is not None and _is_inside(file, own)]
    for file in inside:
        file.unlink(missing_ok=True)
    for parent in {file.parent for file in inside}:
        remove_empty(con, parent)


def remove_empty(con: duckdb.DuckDBPyConnection, place: Path) -> None:
    """Delete a folder if it is empty, and FILE.parts if it is empty then; a link, and what it leads to, stays."""
    own, path = folder(con), fetch(con, "read_path")[0][0]
    keeps = own if path and folder_of(Path(path)).is_symlink() else None
    for one in (place, own):
        if one is not None and one != keeps and not one.is_symlink() and one.is_dir() and not any(one.iterdir()):
            one.rmdir()


def recreate_view(con: duckdb.DuckDBPyConnection, run: str, columns: Sequence[tuple[str, str]] | None = None) -> None:
    """Make the view `outputs.<run>` over the committed parts; inside a transaction.

    Args:
        con: writable.
        run: its name.
        columns: name and SQL type of each output; None keeps those of the present view.
    """
    execute(con, "recreate_part_view", **_view(con, run, columns), inline=False)
    own = folder(con)
    execute(con, "comment_part_view", run=run, folder="" if own is None else str(own))


def inline(con: duckdb.DuckDBPyConnection, run: str) -> str:
    """The query of the view of a run over the parts that are beside the file now."""
    return templates.render("recreate_part_view", **_view(con, run, None), inline=True).rstrip().rstrip(";")


def source(con: duckdb.DuckDBPyConnection, run: str) -> str | None:
    """The query of `inline` where the view of a run reads from another place than FILE.parts; else None."""
    own = folder(con)
    here = dict(fetch(con, "list_part_runs"))
    return inline(con, run) if own is not None and here.get(run, str(own)) != str(own) else None


def _view(con: duckdb.DuckDBPyConnection, run: str, columns: Sequence[tuple[str, str]] | None) -> dict[str, object]:
    return {
        "run": run,
        "columns": fetch(con, "list_output_columns", [run]) if columns is None else columns,
        "addresses": addresses(con, run),
        "is_clustered": fetch(con, "is_clustered", [run])[0][0],
    }


def follow(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Let the views of a file that was moved or copied read the parts beside it.

    Returns:
        Runs whose views still read the parts of the old place, because the file is read-only; see `inline`.
    """
    own = folder(con)
    moved = [run for run, at in fetch(con, "list_part_runs") if own is not None and at != str(own)]
    if is_read_only(con):
        return [run for run in moved if not lost(con, run)]
    for run in moved:
        if not lost(con, run):
            with transaction(con):
                recreate_view(con, run)
    return []


def runs(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Runs whose outputs are parts."""
    return [run for run, _ in fetch(con, "list_part_runs")]


def broken(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Runs whose view cannot be asked: parts are missing, cut off, or have no footer. Reads no rows, asks no SQL.

    A statement that fails would end the transaction that this is asked in.
    """
    return [run for run in runs(con) if lost(con, run) or not all(map(_has_footer, addresses(con, run)))]


def _has_footer(path: str) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return is_remote(path) or pq.read_metadata(path).num_rows >= 0
    except (pa.ArrowException, OSError):
        return False


def note_problems(con: duckdb.DuckDBPyConnection) -> list[str]:
    """A line for each run that lacks parts; asked whenever a file is opened, so it reads no part."""
    notes = []
    for run in runs(con):
        if found := lost(con, run):
            notes.append(
                f"part {found[0][0]} of run {run!r} {found[0][1]}"
                + (f", and {len(found) - 1} more parts" if len(found) > 1 else "")
                + "; queries on the run fail until the files are back in their place"
            )
    return notes


def readable(con: duckdb.DuckDBPyConnection) -> tuple[list[str], list[str]]:
    """For a safe connection: the parts that lie in FILE.parts, and notes on runs whose parts it does not read."""
    own, allowed, notes = folder(con), [], []
    for run in runs(con):
        paths = [uri for _, uri, *_ in fetch(con, "list_parts", [run])]
        near = [own / uri for uri in paths if own and not is_remote(uri)]
        # A link in FILE.parts may lead anywhere.
        inside = [str(path) for path in near if own and ".." not in path.parts and _is_inside(path, own)]
        allowed += inside
        if len(inside) < len(paths):
            notes.append(
                f"{len(paths) - len(inside)} parts of run {run!r} are not in {own}, and a file from others may not "
                "name what is read: open it with trust (--trust; in Python without safe=True), or localize the run"
            )
    return allowed, notes


def lost(con: duckdb.DuckDBPyConnection, run: str) -> list[tuple[str, str]]:
    """Parts of a run that are missing or have another size, with the problem; those at addresses are not asked."""
    found = []
    for _, uri, _, _, n_bytes, _ in fetch(con, "list_parts", [run]):
        if is_remote(uri):
            continue
        try:
            path = Path(address(con, uri))
        except SchemaError:
            found.append((uri, "leads out of the folder of parts"))
            continue
        if not path.is_file():
            found.append((uri, "is missing"))
        elif path.stat().st_size != n_bytes:
            found.append((uri, f"has {path.stat().st_size:,} bytes, {n_bytes:,} were committed"))
    return found


def check(con: duckdb.DuckDBPyConnection, run: str) -> list[tuple[str, str]]:
    """As `lost`, and every part is read and compared with the hash that was committed; see `note_unread`."""
    found = lost(con, run)
    known = {uri for uri, _ in found}
    for _, uri, _, _, _, sha256 in fetch(con, "list_parts", [run]):
        if uri not in known and not is_remote(uri) and _hash(Path(address(con, uri))) != sha256:
            found.append((uri, "has other bytes than were committed"))
    return found


def note_unread(con: duckdb.DuckDBPyConnection) -> list[str]:
    """A line for each run with parts at addresses, which `check` does not read: it names them."""
    notes = []
    for run in runs(con):
        if far := [uri for _, uri, *_ in fetch(con, "list_parts", [run]) if is_remote(uri)]:
            named = ", ".join(far[:_NAMED]) + (f" and {len(far) - _NAMED:,} more" if len(far) > _NAMED else "")
            notes.append(f"{len(far):,} parts of run {run!r} are at addresses and were not compared: {named}")
    return notes


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


def copy(con: duckdb.DuckDBPyConnection, source: Path, target: Path) -> None:
    """Copy the parts of one file to FILE.parts of another, and name them so in the database of `con`, its copy.

    Parts in a scratch folder go along, so that the copy has its own; those at addresses stay there. Files that are
    there already stay, and nothing is left where a part is refused.

    Raises:
        SchemaError: a part is missing, has other bytes than were committed, leads out of its folder, or another file
            has its place.
    """
    here, there, made = folder_of(source).resolve(), folder_of(target).resolve(), list[Path]()
    try:
        for run, part, uri, sha256 in fetch(con, "list_all_parts"):
            if is_remote(uri):
                continue
            file, name = _checked(here, uri), uri
            if Path(uri).is_absolute():
                name = f"{file.parent.name}/{file.name}"
                execute(con, "move_part", [name, run, part])
            made += _copy_part(f"part {uri} of run {run!r}", file, there / name, there, sha256)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def _copy_part(named: str, file: Path, target: Path, own: Path, sha256: str) -> list[Path]:
    """Copy a part under a name of its own, and rename it when it is whole; gives the file, unless it was there."""
    if not _is_inside(target, own):
        raise SchemaError(f"{named} would be copied out of {own}; nothing was copied")
    if target.exists():
        if not target.is_file() or _hash(target) != sha256:
            raise SchemaError(f"{target} exists with other content than {named}; nothing was copied, move it away")
        return []
    if not file.is_file():
        raise SchemaError(f"{named} is missing; nothing was copied")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        shutil.copyfile(file, draft)
        if _hash(draft) != sha256:
            raise SchemaError(f"{named} has other bytes than were committed; nothing was copied")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return [target]


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
