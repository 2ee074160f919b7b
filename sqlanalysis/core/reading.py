"""Encoded bytes from wherever they lie: given, in a file, in an archive, or at an address."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from typing import Any

from ..errors import ImageError, SchemaError
from .faults import point


def cap(name: str, default: int) -> int:
    """A limit, which an environment variable may change for every verb alike."""
    text = os.environ.get(f"SQLANALYSIS_MAX_{name}", str(default))
    if not text.isdecimal() or int(text) < 1:
        raise ImageError(f"SQLANALYSIS_MAX_{name} is a whole number of at least 1, not {text!r}")
    return int(text)


MAX_BYTES = cap("BYTES", 256 * 1024 * 1024)
_ROW = re.compile(r"(.*)#(\d+)", re.S)


def read(data: bytes | None, path: str | None) -> bytes:
    """The encoded bytes: `data` when given, else the regular file at `path`, a member of an archive, or an address.

    A member is `photos.zip#cat/a.jpg` or `shard.tar#000001.jpg`; a file of exactly that name comes first.

    Raises:
        ImageError: nothing there, not a regular file, more than 256 MB, or not readable.
    """
    if data is not None:
        return data
    if not path:
        raise ImageError("neither bytes nor a path")
    point("read")
    if "://" in path:
        from .addresses import fetch

        return fetch(path, MAX_BYTES)
    try:
        return _read_file(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        if "#" in path:
            return _read_inside(path)
        raise ImageError(f"{path}: {error.strerror}") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def size(path: str) -> int:
    """Bytes that `read` would hold of this path, as the file system or the archive says; 0 where nobody says it."""
    try:
        inside = _container(path) if "#" in path and not os.path.exists(path) else None
        if inside is None:
            n_bytes = os.stat(path).st_size
        else:
            from .members import members

            n_bytes = members(inside[0]).size(inside[1])
    except (OSError, ValueError, KeyError, SchemaError):
        return 0
    return n_bytes if n_bytes <= MAX_BYTES else 0  # more is refused unread


def is_address(path: str | None) -> bool:
    """Whether a path is an address on some network: asking it tells its owner who reads."""
    return path is not None and "://" in path


def recorded(image: Mapping[str, Any] | None, *, remote: bool) -> bytes:
    """The bytes of an image for others: stored ones, or those of a file whose SHA-256 is still that of its row.

    An evaluation file of somebody else may name any file of the reader, who then shares the page or the export: a file
    is taken only if whoever made the row had its bytes.

    Args:
        image: bytes, path and sha256; None if there is no such image.
        remote: whether addresses are asked, too.

    Raises:
        ImageError: as `read`, the file has another content, or it is at an address that may not be asked.
    """
    if image is None:
        raise ImageError("no such image")
    if image["bytes"] is None and is_address(image["path"]) and not remote:
        raise ImageError(f"{image['path']} is not fetched for a file from others; --trust, or safe=False, does")
    data = read(image["bytes"], image["path"])
    if image["bytes"] is None and hashlib.sha256(data).hexdigest() != image["sha256"]:
        raise ImageError(f"{image['path']} has another content than its row in `images`")
    return data


def exists(path: str) -> bool:
    """Whether the file, or the archive that a member is in, is there; addresses are not asked."""
    return "://" in path or os.path.exists(path) or _container(path) is not None


def _read_file(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path} is no regular file")
        if status.st_size > MAX_BYTES:
            raise ImageError(f"{path} has {status.st_size} bytes, more than {MAX_BYTES}")
        return file.read()


def _read_inside(path: str) -> bytes:
    """A member of an archive; rows of tables have the same form, but only their stored bytes can be read."""
    from .members import is_archive, read_member

    inside = _container(path)
    if inside is not None and is_archive(inside[0]):
        try:
            return read_member(*inside, MAX_BYTES)
        except (SchemaError, OSError) as error:
            raise ImageError(str(error)) from error
    row = _ROW.fullmatch(path)
    if row is not None:
        raise ImageError(f"row {row[2]} of {row[1]} has no picture, or one of more than {MAX_BYTES} bytes")
    raise ImageError(f"{path}: No such file or directory")


def _container(path: str) -> tuple[str, str] | None:
    """The file before the first `#` that has one, and the name behind it."""
    for sign in re.finditer("#", path):
        if os.path.isfile(path[: sign.start()]):
            return path[: sign.start()], path[sign.end() :]
    return None
