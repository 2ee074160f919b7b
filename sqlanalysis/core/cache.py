"""Small results that take long to compute, kept as JSON in the user's cache folder, where only the user can write."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any


def path(name: str) -> Path:
    """Where a result of that name is kept: below XDG_CACHE_HOME, or ~/.cache."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    return folder / "sqlanalysis" / name


def read(file: Path) -> Any:
    """The result; None if there is none, it is no JSON, or somebody else could have written it."""
    try:
        if _is_private(file.parent) and _is_private(file):
            return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return None


def write(file: Path, value: Any) -> None:
    """Keep a result, whole or not at all; where that is not possible, it is computed again next time."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=file.parent)
        with open(descriptor, "w", encoding="utf-8") as stream:
            json.dump(value, stream)
        os.replace(draft, file)


def _is_private(file: Path) -> bool:
    """Whether it is the user's own, and no link, and nobody else may write it."""
    status = file.lstat()
    if not hasattr(os, "getuid"):  # Windows: the folder of the user's profile
        return True
    shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid == os.getuid() and not stat.S_ISLNK(status.st_mode) and not shared
