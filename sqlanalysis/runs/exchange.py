"""The files that pass between a driver and its workers: shards and parts, in Parquet, with a footer that says of what.

A file is written under a name of its own and then renamed, so that whoever sees a shard or a part sees all of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..core import addresses
from ..core.arrow import ERROR_TYPE
from ..core.faults import point
from ..core.text import one_line
from ..errors import ArgumentError, NotFoundError, SchemaError

FORMAT = 1  # of the footer
_KEY = b"sqlanalysis"
_FOOTER = {"run": str, "identity": str, "attempt": int}  # of every shard and part
ROW_GROUP = 16_384  # rows; smaller groups were measured to be slower to read: see Decisions in README.md
SHARD_SCHEMA = pa.schema(
    [
        ("image_id", pa.int64()),
        ("sha256", pa.string()),
        ("uri", pa.string()),
        ("bytes", pa.large_binary()),
        ("path", pa.string()),
    ]
)
_ARROW = {"INTEGER": pa.int32(), "FLOAT": pa.float32()}


def is_remote(path: str) -> bool:
    """Whether a path is an address such as s3://…"""
    return "://" in path


def join(folder: str, *names: str) -> str:
    """A path below a local folder or an address."""
    return "/".join((folder.rstrip("/"), *names)) if is_remote(folder) else str(Path(folder, *names))


def exists(path: str) -> bool:
    """Whether the file is there."""
    if not is_remote(path):
        return Path(path).is_file()
    files, name = addresses.filesystem(path)
    return bool(files.exists(name))


def remove(path: str) -> None:
    """Delete a file, if it is there."""
    if is_remote(path):
        files, name = addresses.filesystem(path)
        with suppress(FileNotFoundError):
            files.rm_file(name)
    else:
        Path(path).unlink(missing_ok=True)


def listed(folder: str) -> list[str]:
    """Files directly in a folder; none if it is not there."""
    if is_remote(folder):
        files, top = addresses.filesystem(folder)
        names = files.ls(top, detail=False) if files.isdir(top) else []
        return sorted(join(folder, name.rstrip("/").rpartition("/")[2]) for name in names)
    return sorted(map(str, Path(folder).iterdir())) if Path(folder).is_dir() else []


def read(path: str) -> bytes:
    """The bytes of a file.

    Raises:
        NotFoundError: there is none.
    """
    try:
        if is_remote(path):
            files, name = addresses.filesystem(path)
            data: bytes = files.cat_file(name)
            return data
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"no file {path}") from None


def write(path: str, table: pa.Table, footer: dict[str, Any], *, once: bool = False) -> bytes:
    """Write a shard or part whole or not at all; gives its bytes. With `once`, a file that is there already stays."""
    sink = pa.BufferOutputStream()
    schema = table.schema.with_metadata({_KEY: json.dumps(footer, ensure_ascii=False).encode()})
    # Pictures are compressed already. LZ4 reads as fast as no compression, and every DuckDB from 1.4 on knows it.
    compression = {name: "none" if name == "bytes" else "lz4" for name in table.column_names}
    kept = [name for name in ("pred", "raw_pred", "uri") if name in table.column_names]
    with pq.ParquetWriter(
        sink, schema, compression=_leaves(schema, compression), use_dictionary=kept or False
    ) as writer:
        writer.write_table(table.replace_schema_metadata(schema.metadata), row_group_size=ROW_GROUP)
    data: bytes = sink.getvalue().to_pybytes()
    if is_remote(path):
        files, name = addresses.filesystem(path)
        with suppress(FileExistsError):  # an object store shows an object when it is whole
            files.pipe_file(name, data, mode="create" if once else "overwrite")
        return data
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with draft.open("wb") as stream:
            stream.write(data[: len(data) // 2])  # in two halves, so that a test can stop in between
            point("write")
            stream.write(data[len(data) // 2 :])
            stream.flush()
            os.fsync(stream.fileno())
        point("rename")
        if once:
            _rename_once(draft, file)
        else:
            draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return data


def _rename_once(draft: Path, file: Path) -> None:
    """Give a file its name unless another has it: a rename would replace it."""
    try:
        os.link(draft, file)
    except FileExistsError:
        return
    except OSError:  # this file system has no links
        if not file.exists():
            draft.replace(file)


def _leaves(schema: pa.Schema, compression: dict[str, str]) -> dict[str, str] | str:
    # pyarrow names nested columns by their leaves, and takes one word for all columns.
    if "bytes" not in compression:
        return "lz4"
    return {field.name: compression[field.name] for field in schema}


def parse(data: bytes, path: str) -> tuple[pa.Table, dict[str, Any]]:
    """The rows of a shard or part, and what its footer says.

    Raises:
        SchemaError: it is damaged, or not such a file.
    """
    try:
        table = pq.read_table(pa.BufferReader(data))
        footer = json.loads((table.schema.metadata or {})[_KEY])
    except (pa.ArrowException, OSError) as error:
        raise SchemaError(f"{path} is damaged: {one_line(error, 200)}") from error
    except (KeyError, ValueError):
        raise SchemaError(f"{path} is neither a shard nor a part of sqlanalysis") from None
    if not isinstance(footer, dict):
        raise SchemaError(f"{path} is neither a shard nor a part of sqlanalysis")
    if footer.get("format") != FORMAT:
        raise SchemaError(f"{path} has format {footer.get('format')}, this version of sqlanalysis reads {FORMAT}")
    wrong = [key for key, kind in _FOOTER.items() if not isinstance(footer.get(key), kind)]
    if wrong:
        raise SchemaError(f"{path} is neither a shard nor a part of sqlanalysis: its footer has no proper {wrong[0]}")
    return table, footer


def end_of_name(identity: str, attempt: int, ids: Sequence[int], hashes: Sequence[str]) -> str:
    """The end of the names of a shard and its part: the first image, and a hash of the work and its images."""
    told = f"{identity} {attempt} " + " ".join(f"{i}:{sha256}" for i, sha256 in zip(ids, hashes, strict=True))
    return f"{ids[0]}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.parquet"


def is_part(path: str, kind: str = "part") -> bool:
    """Whether a file is named like a part that a worker writes, or like a shard."""
    return re.fullmatch(rf"{kind}-\d+-[0-9a-f]{{16}}\.parquet", name_of(path)) is not None


def name_of(path: str) -> str:
    """The last name of a path or address."""
    return path.replace("\\", "/").rpartition("/")[2]


def part_of(shard: str) -> str:
    """The part that belongs beside a shard.

    Raises:
        ArgumentError: the file has not the name of a shard.
    """
    if not is_part(shard, "shard"):
        raise ArgumentError(f"{shard} is not named like a shard, so its part has no name either: give --part")
    name = name_of(shard)
    return f"{shard[: -len(name)]}part-{name.removeprefix('shard-')}"


def part_schema(columns: dict[str, str]) -> pa.Schema:
    """The schema of a part whose outputs have these SQL types; arrays are lists, which Parquet has."""
    types = [(column, _arrow_type(sql_type)) for column, sql_type in columns.items()]
    return pa.schema([("image_id", pa.int64()), ("sha256", pa.string()), *types, ("error", ERROR_TYPE)])


def _arrow_type(sql_type: str) -> pa.DataType:
    plain, bracket, _ = sql_type.partition("[")
    return pa.list_(_ARROW[plain]) if bracket else _ARROW[plain]
