"""Whether this process is the kernel of a notebook, and lines there that update; never imports IPython."""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

LEAST = 1.0  # seconds: what takes less shows nothing
PAUSE = 0.25


def shell() -> Any | None:
    """The shell of IPython, if this process is the kernel of a notebook; None in a terminal and in plain Python."""
    ipython = sys.modules.get("IPython")
    running = None if ipython is None else ipython.get_ipython()
    return running if hasattr(running, "kernel") else None


class Line:
    """One line of an output that counts on, and says at the end how many it were: for any thread.

    It is text, so that a stored notebook has no script, no widget and no control character.
    """

    def __init__(self, description: str, total: int | None, display: Callable[..., Any]) -> None:
        """`display` is IPython's; the line belongs to the cell that is executed now."""
        self._description, self._total, self._display = description, total, display
        self._context, self._lock = contextvars.copy_context(), threading.Lock()
        self._start = time.monotonic()
        self._next, self._n, self._handle = self._start + LEAST, 0, None

    def advance(self, n: int) -> None:
        """Count n more, and show them if the last time was a while ago."""
        with self._lock:
            self._n += n
            if time.monotonic() >= self._next:
                self._draw(self._words())

    def close(self) -> None:
        """The last state, if anything was shown."""
        with self._lock:
            if self._handle is not None:
                self._draw(f"{self._count()} in {time.monotonic() - self._start:.1f} s")

    def _words(self) -> str:
        if not self._total or not self._n:
            return self._count()
        left = (time.monotonic() - self._start) * max(0, self._total - self._n) / self._n
        return f"{self._count()}, {min(1, self._n / self._total):.0%}, {left:.0f} s left"

    def _count(self) -> str:
        return f"{self._description}: {self._n:,}{f' of {self._total:,}' if self._total else ''}"

    def _draw(self, text: str) -> None:
        if self._handle is None:
            self._handle = self._context.run(self._display, {"text/plain": text}, raw=True, display_id=True)
        else:
            self._context.run(self._handle.update, {"text/plain": text}, raw=True)
        self._next = time.monotonic() + PAUSE
