"""The runner that a call of `predict` asks for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core.cores import count_cores
from ...db.statements import execute
from ...errors import ArgumentError, near_matches
from ...models.specification import check_loadable
from .. import shards
from ..shards import Shard
from . import Runner, drive

if TYPE_CHECKING:
    import duckdb

    from ...models.engine import Engine
    from ...models.model import Model
    from ..job import Done, Work
    from ..sample import Sample

RUNNERS = ("local", "processes", "ray")


@dataclass(frozen=True)
class Chosen:
    """A runner by name, and how many workers it has; None is as many as there are cores."""

    runner: str
    workers: int | None

    def perform(
        self,
        con: duckdb.DuckDBPyConnection,
        work: Work,
        engine: Engine,
        specification: dict[str, Any],
        scratch: str | None,
    ) -> Done:
        """As `shards.perform`, with the workers of this runner.

        Raises:
            MissingExtraError: Ray is not installed.
            As `shards.perform` and `drive`.
        """
        if self.runner == "local":
            return shards.perform(con, work, engine, specification, scratch)
        with closing(self._start(str(engine.device))) as runner:

            def compute(cut: Iterator[Shard]) -> None:
                with _stoppable(engine):
                    drive(con, work.spec.run.run, cut, runner, record_errors=not work.strict, advance=engine.advance)

            done = shards.perform(con, work, engine, specification, scratch, compute, n_workers=runner.n)
            execute(con, "update_run_workers", [runner.n, work.spec.run.run])
        return done

    def _start(self, device: str) -> Runner:
        if self.runner == "ray":
            from .ray import Ray

            return Ray(self.workers, gpus=1 if device.startswith("cuda") else 0)
        from .processes import Processes

        return Processes(self.workers or count_cores())


def choose(model: Model, runner: str, workers: int | None, rule: Sample | None) -> Chosen:
    """Check the arguments of `predict` that choose a runner.

    Raises:
        ArgumentError: an unknown runner, a number of workers without sense, a rule, which one process follows, or a
            model that no other process can load.
    """
    if runner not in RUNNERS:
        raise ArgumentError(f"no runner {runner!r}{near_matches(str(runner), RUNNERS)}")
    if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
        raise ArgumentError(f"workers is a number of processes, 1 or more, not {workers!r}")
    if workers is not None and runner == "local":
        raise ArgumentError('workers= are those of a runner: give runner="processes" or "ray" too')
    if rule is not None and runner != "local":
        raise ArgumentError(
            f"{rule.rule}= looks at each batch before it draws the next, so one process computes it: leave "
            f"runner={runner!r} out"
        )
    if runner != "local":
        check_loadable(model)
    return Chosen(runner, workers)


@contextmanager
def _stoppable(engine: Engine) -> Iterator[None]:
    """Inside the block, Ctrl-C raises KeyboardInterrupt at once, and the run is recorded as interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        engine.interrupt()
        raise
    finally:
        signal.signal(signal.SIGINT, earlier)
