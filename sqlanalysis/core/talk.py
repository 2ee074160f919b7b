"""What a verb says beside its result: a few lines, once per cause, on one logger that the caller can silence."""

from __future__ import annotations

import logging
from collections.abc import Iterable

MAX_LINES = 4
logger = logging.getLogger("sqlanalysis")


def say(lines: Iterable[str]) -> None:
    """Only what differs from the common case or could be wrong; the usual is silent.

    Lines beyond four are counted in the last one. They go to the logger `sqlanalysis` as warnings: Python prints them
    on stderr, and `logging.getLogger("sqlanalysis").setLevel(logging.ERROR)` silences them.
    """
    found = list(dict.fromkeys(lines))
    if len(found) > MAX_LINES:
        found = [*found[: MAX_LINES - 1], f"… and {len(found) - MAX_LINES + 1} more notes, in the result's `notes`"]
    for line in found:
        logger.warning(line)
