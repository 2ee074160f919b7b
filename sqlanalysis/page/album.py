"""The thumbnails of a page: small pictures encoded from pixels, and how many images had none, and why."""

from __future__ import annotations

from typing import Any

from ..core import decode, talk
from ..core.reading import is_address
from ..core.text import one_line
from ..errors import ImageError


class Album:
    """Makes thumbnails from several threads, and remembers which images had none."""

    def __init__(self, *, remote: bool) -> None:
        self._remote = remote
        self._unfetched: set[str] = set()
        self._unread: dict[str, str] = {}

    def small(self, image: dict[str, Any] | None, *size: int) -> bytes | None:
        """A thumbnail as WebP, of a size as `decode.thumbnail` takes it; None if the image cannot be shown.

        Args:
            image: bytes, path and sha256; None if there is no such image.
            size: longer side in pixels, and quality.
        """
        try:
            return decode.thumbnail({"bytes": decode.recorded(image, remote=self._remote), "path": None}, *size)
        except ImageError as error:
            if image is not None and image["bytes"] is None and is_address(image["path"]) and not self._remote:
                self._unfetched.add(image["path"])
            elif image is not None and image["bytes"] is None:
                self._unread[image["path"]] = one_line(error, 300)
            return None

    def say(self) -> None:
        """One line for each reason why images are not shown, with their number."""
        lines = []
        if self._unfetched:
            lines.append(
                f"{len(self._unfetched):,} pictures are at addresses, which are not asked for a file from others: "
                "`sqlanalysis --trust report` shows them (in Python: connect without safe=True)"
            )
        if self._unread:
            first = next(iter(self._unread.values()))
            lines.append(
                f"{len(self._unread):,} pictures are not shown, as their files are gone or not those of their rows; "
                f"the first: {first}"
            )
        talk.say(lines)
