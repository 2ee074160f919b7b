"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
from pathlib import Path

from .faults import point


def write_whole(file: Path, text: str) -> None:
    """Write beside the target, then rename: a reader sees the old file or the new one, never half of one."""
    _sweep(file)
    draft = file.with_name(f".{file.name}.{os.getpid()}.part")
    umask = os.umask(0)
    os.umask(umask)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            stream.write(text[: len(text) // 2])
            point("write")
            stream.write(text[len(text) // 2 :])
            stream.flush()
            os.fsync(stream.fileno())
        draft.chmod(0o666 & ~umask)
        point("rename")
        draft.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def _sweep(file: Path) -> None:
    """Remove drafts of this file whose process was killed."""
    for draft in file.parent.glob(f".{glob.escape(file.name)}.*.part"):
        number = draft.name.split(".")[-2]
        if number.isdecimal() and not _lives(int(number)):
            draft.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True
