"""Runs by several workers that are disturbed: a fake runner that breaks every promise it may break, a driver in a child
process that is killed, workers that are killed, and files that do not belong. Every run must end with the same tables.

    python -m tests.faults.spreading --fake 100 --processes 40 --ray 5
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import sqlanalysis
from sqlanalysis.errors import SchemaError
from sqlanalysis.runs import shards
from sqlanalysis.runs.runners import RETRIES, Outcome
from sqlanalysis.runs.runners.chosen import Chosen
from sqlanalysis.runs.shards import Shard
from sqlanalysis.runs.work import work
from tests.support import spread

N_IMAGES, POISON, BROKEN = 203, (50,), (7, 111)
PATIENCE = 600  # seconds after which a process counts as hanging
CHILD = """
import sys
import sqlanalysis
from sqlanalysis.runs import shards
from tests.support import spread
options = __import__("json").loads(sys.argv[2])
shards.TURNS, shards.LEAST = options.pop("turns", 6), 1
model = spread.make_model(spread.Path(sys.argv[1]).parent)
print("ready", flush=True)
with sqlanalysis.connect(sys.argv[1]) as con:
    done = sqlanalysis.predict(con, model, "net", show_progress=False, **{"workers": 2, **options})
    print("finished", done.n_ok, done.n_errors, flush=True)
"""


@dataclass(frozen=True)
class Set:
    """Pictures, a file that knows them, and the answers of one process.

    Attributes:
        folder: where everything is.
        added: the file without a run.
        outputs, errors: of an undisturbed run, of all images but the poison.
        poison: ids of the images that end every worker.
    """

    folder: Path
    added: Path
    outputs: list[Any]
    errors: list[Any]
    poison: list[int]

    def fresh(self, name: str) -> Path:
        """A copy of the file in a folder of its own."""
        file = self.folder / name / "work.duckdb"
        file.parent.mkdir()
        shutil.copy(self.added, file)
        return file

    def check(self, file: Path, *, storage: str = "table") -> None:
        """The tables are those of an undisturbed run, and nothing else is left."""
        with sqlanalysis.connect(file) as con:
            outputs, errors = spread.answers(con)
            assert outputs == self.outputs
            assert [row for row in errors if row[3] != "worker"] == self.errors
            assert [row[0] for row in errors if row[3] == "worker"] == self.poison
            counts = con.sql("select status, n_images, n_ok, n_errors from runs where run = 'net'").fetchall()
            n_errors = len(self.errors) + len(self.poison)
            assert counts == [("finished", len(outputs) + n_errors, len(outputs), n_errors)]
            assert con.sql("from check_database").fetchall() == []
        left = [
            path for path in file.parent.rglob("*") if path.name.startswith(("shard-", ".")) or path.suffix == ".tmp"
        ]
        assert left == []
        if storage == "table":
            assert not Path(f"{file}.parts").exists()


def make_set(folder: Path, n: int = N_IMAGES, poison: tuple[int, ...] = ()) -> Set:
    """Pictures, two of them broken, some of them poison; the answers are those of a run without the poison."""
    spread.make_pictures(folder / "pictures", n, poison=poison, broken=tuple(one for one in BROKEN if one < n))
    added = folder / "added.duckdb"
    with sqlanalysis.connect(added) as con:
        sqlanalysis.add_images(con, folder / "pictures", dataset="made", show_progress=False)
        names = [f"%/{number:05}.png" for number in poison]
        poisoned = [
            con.execute("select image_id from images where uri like ?", [name]).fetchall()[0][0] for name in names
        ]
    reference = Path(shutil.copy(added, folder / "reference.duckdb"))
    with sqlanalysis.connect(reference) as con:
        where = f"image_id not in ({', '.join(map(str, poisoned))})" if poisoned else None
        sqlanalysis.predict(con, spread.make_model(folder), "net", where=where, show_progress=False)
        outputs, errors = spread.answers(con)
    return Set(folder, added, outputs, errors, sorted(poisoned))


# A runner that breaks every promise it may break.


@dataclass
class Fake:
    """Computes in this process, and shuffles, repeats, drops, delays, loses, cuts off and confuses what it is given.

    Attributes:
        chance: what decides.
        model: as the workers would load it.
        poison: ids of images for which no worker survives.
        done: how often each trouble was made.
    """

    chance: random.Random
    model: sqlanalysis.Model
    poison: list[int] = field(default_factory=list)
    n: int = 3
    done: Counter[str] = field(default_factory=Counter)
    tries: Counter[str] = field(default_factory=Counter)
    late: list[Shard] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    def run(self, given: Iterator[Shard]) -> Iterator[Outcome]:
        """Outcomes in another order, some of them twice, some never."""
        held: list[Outcome] = []
        for shard in given:
            held += self._treat(shard)
            self._meddle()
            self.chance.shuffle(held)
            while len(held) > self.chance.randrange(5):
                yield held.pop()
                if self.chance.random() < 0.05:  # does not want more for now
                    self.done["stopped early"] += 1
                    yield from held
                    return
        yield from held

    def _treat(self, shard: Shard) -> list[Outcome]:
        if self._is_deadly(shard):
            return [Outcome(shard, lost="killed")]
        self.tries[shard.path] += 1
        most = RETRIES if shard.n == 1 else RETRIES + 1  # one more, and an image is given up, or the shard is halved
        troubles = ["dropped", "lost", "lost after it had finished", "finished, and dropped"]
        if self.tries[shard.path] <= RETRIES:
            troubles += ["cut off", "confused", "failed"]
        trouble = (
            self.chance.choice(troubles) if self.chance.random() < 0.4 and self.tries[shard.path] <= most else "none"
        )
        self.done[trouble] += 1
        if trouble == "failed":
            return [Outcome(shard, failed="OSError: no space left")]
        if trouble == "lost":
            return [Outcome(shard, lost="killed")]
        if trouble == "dropped":
            self.late.append(shard)
            return []
        try:
            work(shard.path, shard.part, model=self.model)
        except SchemaError as error:  # what an earlier worker left there is no whole part
            return [Outcome(shard, failed=str(error))]
        if trouble == "finished, and dropped":
            return []
        if trouble == "lost after it had finished":
            return [Outcome(shard, lost="killed")]
        if trouble == "cut off":
            data = Path(shard.part).read_bytes()
            Path(shard.part).write_bytes(data[: self.chance.randrange(len(data))])
        elif trouble == "confused" and self.parts:
            shutil.copy(self.chance.choice(self.parts), shard.part)
        else:
            keep = f"{shard.part}.kept"
            shutil.copy(shard.part, keep)
            self.parts.append(keep)
        outcome = Outcome(shard, part=shard.part)
        if self.chance.random() < 0.3:
            self.done["repeated"] += 1
            return [outcome, outcome, Outcome(shard, lost="killed", part=None)]
        return [outcome]

    def _is_deadly(self, shard: Shard) -> bool:
        if not self.poison:
            return False
        rows, _ = shards.exchange.parse(shards.exchange.read(shard.path), shard.path)
        return bool(set(rows["image_id"].to_pylist()) & set(self.poison))

    def _meddle(self) -> None:
        """A worker of an earlier driver finishes a shard that was given to others since, or that was halved."""
        if self.late and self.chance.random() < 0.5:
            shard = self.late.pop(self.chance.randrange(len(self.late)))
            if Path(shard.path).exists():
                self.done["late"] += 1
                with contextlib.suppress(SchemaError):
                    work(shard.path, shard.part, model=self.model)

    def close(self) -> None:
        """Nothing to end."""


def run_fake(made: Set, seed: int, storage: str) -> Counter[str]:
    """One run by the fake; gives the troubles that it made."""
    chance = random.Random(seed)
    file = made.fresh(f"fake{seed}")
    fake = Fake(chance, spread.make_model(made.folder), made.poison)
    with (
        sqlanalysis.connect(file) as con,
        mock.patch.object(Chosen, "_start", return_value=fake),
        mock.patch.multiple(shards, TURNS=chance.choice([2, 5, 9]), LEAST=1),
    ):
        sqlanalysis.predict(con, fake.model, "net", runner="processes", storage=storage, show_progress=False)
    made.check(file, storage=storage)
    shutil.rmtree(file.parent)
    return fake.done


# A driver that is killed, and workers that are.


def start(made: Set, file: Path, *, fault: str | None = None, **options: Any) -> subprocess.Popen[str]:
    """A child that predicts with two workers; its standard output says ready, then finished."""
    environment = {key: value for key, value in os.environ.items() if key != "SQLANALYSIS_FAULT"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    if fault:
        environment["SQLANALYSIS_FAULT"] = fault
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(file), json.dumps(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def workers_of(process: int, words: str = "import serve") -> list[int]:
    """Processes below this one whose command has these words."""
    parents: dict[int, int] = {}
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if words in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
            except (OSError, ValueError):
                continue

    def is_below(pid: int) -> bool:
        return pid == process or (pid in parents and is_below(parents[pid]))

    return [pid for pid in found if is_below(pid)]


def finish(made: Set, file: Path, **options: Any) -> None:
    """Resume without a disturbance; it must succeed. With processes, this one is the driver, of one worker."""
    if options["runner"] == "ray":
        child = start(made, file, **options)
        out, err = child.communicate(timeout=PATIENCE)
        assert "finished" in out, err
        return
    how = {**options, "workers": 1}
    with (
        mock.patch.multiple(shards, TURNS=2 * how.pop("turns"), LEAST=1),  # shards as small as those of two workers
        sqlanalysis.connect(file) as con,
    ):
        sqlanalysis.predict(con, spread.make_model(file.parent), "net", show_progress=False, **how)


def plant(made: Set, file: Path, chance: random.Random) -> list[str]:
    """Files that do not belong, in the folder of a run whose driver was killed: cut off, orphaned, stale."""
    planted: list[str] = []
    for folder in Path(f"{file}.parts").glob("net-*"):
        finished = sorted(folder.glob("part-*.parquet"))
        waiting = sorted(folder.glob("shard-*.parquet"))
        if waiting:
            path = chance.choice(waiting)
            source = chance.choice(finished or waiting).read_bytes()
            part = path.with_name(path.name.replace("shard-", "part-"))
            if part not in finished:
                part.write_bytes(source[: chance.randrange(1, len(source))])
                planted.append("cut off")
        if finished:
            shutil.copy(chance.choice(finished), folder / "part-1-0123456789abcdef.parquet")
            planted.append("another name")
        (folder / f".{chance.randrange(99)}.tmp").write_bytes(b"half a dr")
        planted.append("draft")
    return planted


def run_processes(made: Set, seed: int, kind: str, runner: str = "processes") -> str:
    """One run by two workers with a disturbance; gives what happened."""
    chance = random.Random(seed)
    file = made.fresh(f"{runner}{seed}")
    storage = chance.choice(["table", "parts"])
    options: dict[str, Any] = {"runner": runner, "storage": storage, "turns": chance.choice([3, 6])}
    said = kind
    if kind == "kill workers":
        said += f" {_kill_workers(made, file, chance, options)} times"
    elif kind == "kill the driver":
        said += f" {_stop_driver(made, file, chance, options, signal.SIGKILL)}"
    elif kind == "interrupt the driver":
        said += f" {_stop_driver(made, file, chance, options, signal.SIGINT)}"
    elif kind == "two drivers":
        drivers = [start(made, file, workers=1, **options) for _ in range(2)]
        ends = [process.communicate(timeout=PATIENCE) for process in drivers]
        said += f": {sum('finished' in out for out, _ in ends)} finished"
        assert any("finished" in out for out, _ in ends), ends
        assert all("finished" in out or "is held by process" in err for out, err in ends), ends
    elif kind == "nothing":
        finish(made, file, **options)
    else:
        child = start(made, file, fault=kind, **options)
        out, _ = child.communicate(timeout=PATIENCE)
        said += ": finished" if "finished" in out else f": ended with {child.returncode}"
        if "finished" not in out:
            finish(made, file, **options)
    made.check(file, storage=storage)
    shutil.rmtree(file.parent)
    return f"{said}, storage {storage}"


WORDS = {"processes": "import serve", "ray": "ray::MapWorker"}


def _kill_workers(made: Set, file: Path, chance: random.Random, options: dict[str, Any]) -> int:
    child, n = start(made, file, **options), 0
    deadline = time.monotonic() + PATIENCE
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(chance.uniform(0.2, 3))
        found = workers_of(child.pid, WORDS[options["runner"]])
        if found and n < RETRIES:  # not so often that an image could be blamed
            os.kill(chance.choice(found), signal.SIGKILL)
            n += 1
    out, err = child.communicate(timeout=PATIENCE)
    assert "finished" in out, err
    return n


def _stop_driver(made: Set, file: Path, chance: random.Random, options: dict[str, Any], how: signal.Signals) -> str:
    child, words = start(made, file, **options), WORDS[options["runner"]]
    assert child.stdout is not None
    child.stdout.readline()
    while not (workers := workers_of(child.pid, words)) and child.poll() is None:
        time.sleep(0.05)
    time.sleep(chance.uniform(0, 12))
    workers = workers_of(child.pid, words) or workers
    child.send_signal(how)
    out, err = child.communicate(timeout=PATIENCE)
    if "finished" in out:
        return "too late"
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < end, "a worker outlived its driver"
        time.sleep(0.05)
    if how == signal.SIGINT:
        assert "KeyboardInterrupt" in err, err
        with sqlanalysis.connect(file) as con:
            assert con.sql("select status from runs").fetchall() == [("interrupted",)]
            stored = con.sql("select n_ok + n_errors from runs").fetchall()[0][0]
    else:
        stored = "?"
    planted = plant(made, file, chance)
    finish(made, file, **options)
    return f"with {len(workers)} workers and {stored} images committed; planted {', '.join(planted) or 'nothing'}"


KINDS = (
    *("kill workers", "kill the driver", "commit:3:kill", "committed:4:kill", "write:5:kill", "interrupt the driver"),
    *("two drivers", "rename:4:raise"),
)
RAY_KINDS = ("nothing", "kill workers", "kill the driver")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("fake", "processes", "ray"):
        parser.add_argument(f"--{name}", type=int, default=0, help=f"how many runs with {name}")
    parser.add_argument("--minutes", type=float, default=10, help="no run with a runner starts after so many minutes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if given.fake:
            sets = make_set(_folder(name, "fake")), make_set(_folder(name, "deadly"), 64, POISON)
            total: Counter[str] = Counter()
            for seed in range(given.fake):
                total += run_fake(sets[seed % 4 == 3], seed, ("table", "parts")[seed % 2])
            print(f"fake: {given.fake} runs, 0 lost, 0 double; {dict(total)}", flush=True)
        for runner, n, kinds in (("processes", given.processes, KINDS), ("ray", given.ray, RAY_KINDS)):
            if not n:
                continue
            made, deadly = make_set(_folder(name, runner)), make_set(_folder(name, f"deadly_{runner}"), 64, POISON)
            started = time.monotonic()
            seed = 0
            while seed < n and time.monotonic() - started < given.minutes * 60:
                if seed == n - 1:  # takes the longest
                    said = f"poison: {run_processes(deadly, seed, 'nothing', runner)}"
                else:
                    said = run_processes(made, seed, kinds[seed % len(kinds)], runner)
                print(f"{runner} {seed}: {said}", flush=True)
                seed += 1
            print(f"{runner}: {seed} runs, 0 lost, 0 double; {time.monotonic() - started:.0f} s", flush=True)


def _folder(name: str, part: str) -> Path:
    folder = Path(name) / part
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
