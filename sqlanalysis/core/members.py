"""Members of zip and tar files, read where they lie: found once, then one read each; nothing is unpacked to disk.

Names are only names: `../x` and `/x` are members like others, and no file system ever sees them.
"""

from __future__ import annotations

import os
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SchemaError
from .text import one_line

MAX_MEMBERS = 5_000_000
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_ENCRYPTED = 0x1
_LOCAL_HEADER, _LOCAL_SIGN = 30, b"PK\x03\x04"
_END_SIGN, _END_SIGN_64 = b"PK\x05\x06", b"PK\x06\x06"
_SMALLEST_RECORD = 46  # of a zip file's directory
_BLOCK = 512  # of a tar file
_BAD_ZIP = (zipfile.BadZipFile, NotImplementedError, UnicodeError, struct.error, ValueError, OverflowError, EOFError)
# tarfile reads a header of the size that a file says it has, however large: MemoryError.
_BAD_TAR = (tarfile.TarError, UnicodeError, ValueError, OverflowError, EOFError, MemoryError)


@dataclass(frozen=True)
class Members:
    """What an archive holds.

    Attributes:
        rows: row of each file's name in `table`, in the archive's order; of a name that repeats, the last counts.
        table: offset, bytes as stored, bytes, method and flags, checksum of each.
        left_out: what is no file, counted: folders, links, repeated names.
        notes: what a reader should know, such as a tar file that may be cut.
        is_zip: else it is a tar file.
    """

    rows: dict[str, int]
    table: np.ndarray
    is_zip: bool
    left_out: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()

    def size(self, name: str) -> int:
        """Bytes of a member, as the archive says, before anything is read."""
        return int(self.table[self.rows[name], 2])


_Key = tuple[str, int, int]
_known: OrderedDict[_Key, Members] = OrderedDict()
_lock = threading.RLock()


def is_archive(file: str | Path) -> bool:
    """Whether a file is a zip file or an uncompressed tar file, by its content."""
    try:
        return zipfile.is_zipfile(file) or _is_tar(file)
    except OSError:
        return False


def _is_tar(file: str | Path) -> bool:
    """Whether the first block is the header of a member: its checksum fits."""
    with open(file, "rb") as stream:
        block = stream.read(_BLOCK)
    if len(block) < _BLOCK or not block.strip(b"\0"):
        return False
    try:
        return int(block[148:156].strip(b"\0 ") or b"x", 8) in (
            sum(block) - sum(block[148:156]) + 8 * 0x20,
            sum(struct.unpack_from("512b", block)) - sum(struct.unpack_from("8b", block, 148)) + 8 * 0x20,
        )
    except ValueError:
        return False


def members(file: str | Path) -> Members:
    """What an archive holds; found once for each path, size and time of change.

    Raises:
        SchemaError: not an archive, a damaged one, or one of more than 5 million members.
    """
    status = os.stat(file)
    key = (str(file), status.st_size, status.st_mtime_ns)
    with _lock:
        if key not in _known:
            _known[key] = _list_zip(str(file)) if zipfile.is_zipfile(file) else _list_tar(str(file))
            while len(_known) > 1 and sum(len(one.rows) for one in _known.values()) > MAX_MEMBERS:
                _known.popitem(last=False)
        _known.move_to_end(key)
        return _known[key]


def _list_zip(file: str) -> Members:
    n_bytes, n_members = _directory(file)
    if n_bytes // _SMALLEST_RECORD > MAX_MEMBERS:
        raise SchemaError(f"{file} has more than {MAX_MEMBERS:,} members; split it")
    rows: dict[str, int] = {}
    left_out: Counter[str] = Counter()
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except _BAD_ZIP as error:
        raise SchemaError(f"{file} is a damaged zip file: {one_line(error, 120)}") from error
    if n_members is not None and len(infos) != n_members:
        raise SchemaError(f"{file} is a damaged zip file: {n_members:,} members promised, {len(infos):,} there")
    table = np.zeros((len(infos), 5), np.int64)
    for number, info in enumerate(infos):
        if info.is_dir():
            continue
        left_out["repeated names"] += info.filename in rows
        rows[info.filename] = number
        method = -1 if info.flag_bits & _ENCRYPTED else info.compress_type
        table[number] = (info.header_offset, info.compress_size, info.file_size, method, info.CRC)
    return Members(rows, table, True, +left_out)


def _directory(file: str) -> tuple[int, int | None]:
    """Size of a zip file's directory and the number of its members, from its end alone."""
    with open(file, "rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - 66_000))
        tail = stream.read()
    end, end64 = tail.rfind(_END_SIGN), tail.rfind(_END_SIGN_64)
    if end64 >= 0 and len(tail) >= end64 + 48:
        n_members, n_bytes = struct.unpack_from("<QQ", tail, end64 + 32)
        return n_bytes, n_members
    if not 0 <= end <= len(tail) - 16:
        return 0, None
    n_members, n_bytes = struct.unpack_from("<HI", tail, end + 10)
    return n_bytes, n_members if n_members < 0xFFFF else None


def _list_tar(file: str) -> Members:
    rows: dict[str, int] = {}
    places: list[tuple[int, int]] = []
    left_out: Counter[str] = Counter()
    try:
        with tarfile.open(file, "r:") as archive:
            kept: list[Any] = vars(archive)["members"]  # tarfile keeps every header, of which millions fill the memory
            while (member := archive.next()) is not None:
                kept.clear()
                if not member.isreg() or member.issparse():
                    left_out["links and devices"] += not member.isdir()
                    continue
                if len(places) >= MAX_MEMBERS:
                    raise SchemaError(f"{file} has more than {MAX_MEMBERS:,} members; split it")
                left_out["repeated names"] += member.name in rows
                rows[member.name] = len(places)
                places.append((member.offset_data, member.size))
            notes = _end_of_tar(file, archive.offset)
    except _BAD_TAR as error:
        raise SchemaError(f"{file} is not a tar file, or a damaged one: {one_line(error, 120)}") from error
    table = np.zeros((len(places), 5), np.int64)
    if places:
        table[:, 0], table[:, 2] = np.array(places, np.int64).T
        table[:, 1] = table[:, 2]
    return Members(rows, table, False, +left_out, notes)


def _end_of_tar(file: str, offset: int) -> tuple[str, ...]:
    """Notes on the end, where tarfile stops without a word, whatever stands there.

    Raises:
        SchemaError: the next header is damaged.
    """
    with open(file, "rb") as stream:
        stream.seek(offset)
        block, rest = stream.read(_BLOCK), stream.read(1 << 20)
    if not block:
        return (f"{file} has no end mark: it may be cut",)
    if block.strip(b"\0"):
        raise SchemaError(f"{file} is a damaged tar file: no header at byte {offset:,}")
    if rest.strip(b"\0"):
        return (f"{file} goes on after its end mark (several tar files in one?): what follows is left out",)
    return ()


def read_member(file: str, name: str, most: int) -> bytes:
    """The bytes of one member; its size is checked before anything is read.

    Raises:
        SchemaError: no such member, too large, encrypted, compressed otherwise than by deflate, or damaged.
    """
    found = members(file)
    where = f"{file}#{name}"
    if name not in found.rows:
        raise SchemaError(f"{where}: no such member")
    offset, n_stored, n_bytes, method, checksum = (int(value) for value in found.table[found.rows[name]])
    if n_bytes > most or n_stored > most:
        raise SchemaError(f"{where} has {max(n_bytes, n_stored)} bytes, more than {most}")
    if method == -1:
        raise SchemaError(f"{where} is encrypted; write the archive without a password")
    if method not in (_STORED, _DEFLATED):
        raise SchemaError(f"{where} is compressed by method {method}; write the archive with deflate, or unpack it")
    with open(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise SchemaError(f"{file} is no regular file")
        stream.seek(offset)
        if found.is_zip:
            header = stream.read(_LOCAL_HEADER)
            if len(header) < _LOCAL_HEADER or header[:4] != _LOCAL_SIGN:
                raise SchemaError(f"{where}: damaged archive")
            stream.seek(sum(struct.unpack_from("<HH", header, 26)), os.SEEK_CUR)
        data = stream.read(n_stored)
    if method == _DEFLATED:
        data = _inflate(data, n_bytes)
    if len(data) != n_bytes or (found.is_zip and zlib.crc32(data) != checksum):
        raise SchemaError(f"{where}: damaged archive")
    return data


def _inflate(data: bytes, n_bytes: int) -> bytes:
    """At most one byte more than the archive promises: a member that says less than it holds is found out."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, n_bytes + 1)
    except zlib.error:
        return b""
