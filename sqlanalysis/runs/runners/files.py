"""Files of the scratch folder, on this machine or at an address."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ...core import addresses


def delete(place: str) -> None:
    """Delete a file; nothing happens where there is none."""
    if "://" in place:
        files, path = addresses.filesystem(place)
        with suppress(FileNotFoundError):
            files.rm_file(path)
    else:
        Path(place).unlink(missing_ok=True)
