"""Write a file completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
from pathlib import Path

from .faults import point


def write_whole(file: Path, text: str) -> None:
    """Write to a draft beside the file, then rename it: a reader sees the old file or the new one, never a part.

    Raises:
        OSError: the file cannot be written; an old file of that name stays as it was.
    """
    _delete_old_drafts(file)
    draft = file.with_name(f".{file.name}.{os.getpid()}.part")
    umask = os.umask(0)  # the only way to read it is to set it
    os.umask(umask)
    try:
        # The draft is readable by its owner alone until it is complete.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            stream.write(text[: len(text) // 2])  # in two halves, so that a test can stop in between
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


def _delete_old_drafts(file: Path) -> None:
    """Delete drafts of this file whose process no longer exists."""
    for draft in file.parent.glob(f".{glob.escape(file.name)}.*.part"):
        number = draft.name.split(".")[-2]
        if number.isdecimal() and not _is_running(int(number)):
            draft.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:  # EPERM: the process exists and belongs to another user
        return error.errno != errno.ESRCH
    return True
