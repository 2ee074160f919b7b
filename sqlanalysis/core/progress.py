"""Progress of verbs that take a while: a bar on stderr in a terminal, a line that updates in a notebook."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from . import kernel


@contextlib.contextmanager
def track(description: str, total: int | None, *, enabled: bool = True) -> Iterator[Callable[[int], None]]:
    """Yield `advance(n)`, which any thread may call; draws nothing where there is neither a terminal nor a notebook."""
    if enabled and kernel.shell() is not None:
        line = kernel.Line(description, total, sys.modules["IPython.display"].display)
        try:
            yield line.advance
        finally:
            line.close()
        return
    if not enabled or not sys.stderr.isatty():
        yield lambda _n: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda n: bar.advance(task, n)
