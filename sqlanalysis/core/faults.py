"""Named points where a test makes the process fail: `SQLANALYSIS_FAULT=<point>:<n>[:kill|raise|hang]`.

The n-th time the point is passed, the process kills itself, raises OSError, or hangs for an hour. Without the variable
a point is an empty call.
"""

from __future__ import annotations

import itertools
import os
import signal
import time

POINTS = ("hash", "read", "decode", "batch", "forward", "insert", "commit", "committed", "migrate", "write", "rename")
_given = os.environ.get("SQLANALYSIS_FAULT")

if _given is None:

    def point(name: str) -> None:
        """Pass the point of that name; does nothing."""

else:
    _name, _number, _action = (*_given.split(":"), "kill")[:3]
    _passages = itertools.count(1)

    def point(name: str) -> None:
        """Pass the point of that name; the n-th time, fail as requested."""
        if name != _name or next(_passages) != int(_number):
            return
        if _action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if _action == "hang":
            time.sleep(3600)
        raise OSError(f"fault at {name}")
