"""Named points where a test stops the process: `SQLANALYSIS_FAULT=<point>:<n>[:kill|raise|hang]`.

At the n-th passage of the point the process kills itself, an OSError is raised, or nothing goes on any more. Without
the variable a point is an empty call.
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
        """A place of the given name; nothing happens."""

else:
    _name, _number, _kind = (*_given.split(":"), "kill")[:3]
    _passages = itertools.count(1)

    def point(name: str) -> None:
        """A place of the given name; at its n-th passage the fault asked for happens."""
        if name != _name or next(_passages) != int(_number):
            return
        if _kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if _kind == "hang":
            time.sleep(3600)
        raise OSError(f"fault at {name}")
