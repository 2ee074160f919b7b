"""The thumbnails of a page: small pictures encoded from pixels, and how many images had none, and why."""

from __future__ import annotations

from typing import Any

from ..core import decode, talk
from ..core.reading import is_address
from ..core.text import one_line
from ..errors import ImageError

MAX_KEPT = 200_000_000  # bytes of pictures from addresses


class Album:
    """Makes thumbnails from several threads, and remembers which images had none."""

    def __init__(self, *, remote: bool) -> None:
        self._remote = remote
        self._unfetched: set[str] = set()
        self._unread: dict[str, str] = {}
        self._fetched: dict[str, bytes] = {}
        self.lost: set[int] = set()  # image_ids whose file was asked for in vain, which no other size will change

    def small(self, image: dict[str, Any] | None, *size: int) -> bytes | None:
        """A thumbnail as WebP, of a size as `decode.thumbnail` takes it; None if the image cannot be shown.

        Args:
            image: bytes, path and sha256; None if there is no such image.
            size: longer side in pixels, and quality.
        """
        if image is not None and image["bytes"] is None and image["path"] in self._unread:
            return None  # in no other size either
        try:
            return decode.thumbnail({"bytes": self._bytes(image), "path": None}, *size)
        except ImageError as error:
            if image is not None and image["bytes"] is None and is_address(image["path"]) and not self._remote:
                self._unfetched.add(image["path"])
            elif image is not None and image["bytes"] is None:
                self._unread[image["path"]] = one_line(error, 300)
            return None

    def _bytes(self, image: dict[str, Any] | None) -> bytes:
        """The bytes of an image; those from an address are kept for the next size, as far as there is room."""
        path = image["path"] if image is not None and image["bytes"] is None and is_address(image["path"]) else None
        if path in self._fetched:
            return self._fetched[path]
        data = decode.recorded(image, remote=self._remote)
        if path is not None and sum(map(len, self._fetched.values())) + len(data) <= MAX_KEPT:
            self._fetched[path] = data
        return data

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
