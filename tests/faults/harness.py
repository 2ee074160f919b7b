"""A run that can be interrupted anywhere: a child process, the invariants after a fault, and the tables it must end with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import sqlanalysis
from sqlanalysis.errors import SchemaError

N_IMAGES = 300
PATIENCE = 600  # seconds after which a process counts as hanging; on a busy machine it takes a hundred times less
# An engine without torch, so that a child starts in a second: the mean color of an image as probabilities.
ENGINE = """
import json, os, resource, signal, sys
import numpy as np, pyarrow as pa
import sqlanalysis
from sqlanalysis.core import decode
from sqlanalysis.core.arrow import ERROR_TYPE, describe_error
from sqlanalysis.core.interrupts import Interruptible
from sqlanalysis.runs import job
from sqlanalysis.runs.run import Run, Spec

class Means(Interruptible):
    output_type = pa.struct([("pred", pa.int32()), ("confidence", pa.float32()), ("probs", pa.list_(pa.float32(), 4)),
                             ("sha256", pa.string()), ("error", ERROR_TYPE)])
    def __init__(self):
        super().__init__()
        self.seconds = {}
    def answer(self, image):
        data = decode.read(image["bytes"], image["path"])
        sha256 = decode.inspect(data).sha256
        try:
            pixels = np.asarray(decode.decode(data), np.float32).mean((0, 1)) / 255
        except Exception as error:
            return {"sha256": sha256, "error": describe_error("decode", error)}
        probs = np.append(pixels, 1) / (pixels.sum() + 1)
        return {"pred": int(probs.argmax()), "confidence": float(probs.max()), "probs": probs.tolist(), "sha256": sha256}
    def __call__(self, column):
        if self.interrupted:
            raise RuntimeError("interrupted")
        return pa.array([self.answer(image) for image in column.to_pylist()], self.output_type)

def work(dataset, **options):
    return job.Work(Spec(Run("means", dataset, "means", label_space=dataset, model_label_space=dataset)), **options)
"""
# A run through the real blocks. It prints when a block starts and when it is committed.
CHILD = (
    ENGINE
    + """
job.BLOCK_SECONDS, job.BLOCK_IMAGES = 0.02, (8, 64)
def say(word, n):  # two threads print; a line in one call
    os.write(1, f"{word} {n}".encode() + bytes([10]))
answer_block, commit_block = job._answer, job.Writer._commit
def announced(*given):
    say("start", len(given[-1]))
    return answer_block(*given)
def committed(writer, answers):
    commit_block(writer, answers)
    say("done", len(answers))
job._answer, job.Writer._commit = announced, committed
options = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
if "file_size" in options:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (options["file_size"], options["file_size"]))
if "memory" in options:
    now = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + options["memory"], now + options["memory"]))
print("ready", flush=True)
with sqlanalysis.connect(sys.argv[1]) as con:
    if "checkpoint" in options:
        con.execute(f"pragma wal_autocheckpoint='{options['checkpoint']}'")
    if "abort" in options:
        con.execute(f"pragma debug_checkpoint_abort='{options['abort']}'")
    if "report" in options:
        sqlanalysis.report(con, options["report"])
    else:
        job.select(con, "made", None)
        done = job.perform(con, work("made", retry_errors=options.get("retry", False)), Means())
        print("finished", done.n_ok, done.n_errors, flush=True)
"""
)


@dataclass(frozen=True)
class Outcome:
    """What a child printed before it ended: whether it finished, and images of blocks started and committed."""

    code: int
    finished: bool
    started: int
    committed: int
    stderr: str


@dataclass(frozen=True)
class Quiet:
    """What an undisturbed run gives."""

    folder: Path
    images: Path
    added: Path
    outputs: list[tuple[Any, ...]]
    seconds: float
    n_bytes: int  # size of the file after the run
    repaired: list[Path] = field(default_factory=list)  # files that opened only after recover

    def fresh(self, file: Path) -> Path:
        """A copy of the file that knows the images and has no run."""
        shutil.copy(self.added, file)
        return file

    def run(self, file: Path, *, fault: str | None = None, kill_after: float | None = None, **options: Any) -> Outcome:
        """The child on a file, with a fault, perhaps killed."""
        return run(self.folder / "child.py", file, fault=fault, kill_after=kill_after, **options)


def make_quiet(folder: Path) -> Quiet:
    """Four classes of small images, the file that knows them, and the outputs of an undisturbed run."""
    random = np.random.default_rng(0)
    for number in range(N_IMAGES):
        label = folder / "images" / str(number % 4)
        label.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(label / f"{number}.png")
    (folder / "child.py").write_text(CHILD)
    added = folder / "added.duckdb"
    with sqlanalysis.connect(added) as con:
        sqlanalysis.add_images(con, folder / "images", dataset="made", show_progress=False)
    reference = Path(shutil.copy(added, folder / "reference.duckdb"))
    start = time.monotonic()
    assert run(folder / "child.py", reference).finished
    seconds = time.monotonic() - start
    return Quiet(folder, folder / "images", added, outputs(reference), seconds, reference.stat().st_size)


def run(
    child: Path, file: Path, *, fault: str | None = None, kill_after: float | None = None, **options: Any
) -> Outcome:
    """Start the child; after it is ready, perhaps wait and kill it; give what it printed."""
    environment = {key: value for key, value in os.environ.items() if key != "SQLANALYSIS_FAULT"}
    if fault:
        environment["SQLANALYSIS_FAULT"] = fault
    clock = ["faketime", "-f", options.pop("clock")] if "clock" in options else []
    process = subprocess.Popen(
        [*clock, sys.executable, str(child), str(file), json.dumps(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    if kill_after is not None:
        process.stdout.readline()
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=PATIENCE)
    lines = out.rpartition("\n")[0].splitlines()  # a kill may cut the last line
    done = sum(int(line.split()[1]) for line in lines if line.startswith("done"))
    started = sum(int(line.split()[1]) for line in lines if line.startswith("start"))
    return Outcome(process.returncode, any(line.startswith("finished") for line in lines), started, done, err)


def outputs(file: Path) -> list[tuple[Any, ...]]:
    """Every output of the run, in order; nothing when it has no table yet."""
    with sqlanalysis.connect(file) as con:
        if not con.sql("select 1 from duckdb_tables() where table_name = 'means'").fetchall():
            return []
        return con.sql("from outputs.means order by image_id").fetchall()


def check(quiet: Quiet, file: Path, outcome: Outcome, before: int = 0) -> int:
    """The invariants after a fault, and how many outputs there are; `before` were there when the child started."""
    try:
        sqlanalysis.connect(file).close()
    except SchemaError as error:
        if "sqlanalysis recover" not in str(error):
            raise
        done = sqlanalysis.recover(file)
        if done.log and "older version of this database" not in str(error):  # only such a log holds nothing new
            raise
        quiet.repaired.append(file)
        for kept in (*done.blocks, *filter(None, [done.log])):
            kept.unlink()
    with sqlanalysis.connect(file) as con:  # (a) it opens
        assert con.sql("from check_database where problem not like 'finished run%'").fetchall() == []
        tables = con.sql("select count(*) from duckdb_tables() where table_name = 'means'").fetchall()[0][0]
        n_rows, n_ids = 0, 0
        if tables:
            n_rows, n_ids = con.sql("select count(*), count(distinct image_id) from outputs.means").fetchall()[0]
            n_ok, n_errors = con.sql("select n_ok, n_errors from runs where run = 'means'").fetchall()[0]
            failed = con.sql("select count(*) from errors where run = 'means'").fetchall()[0][0]
            assert (n_ok, n_errors) == (n_rows, failed)  # (c) counts and rows are of one commit
            assert n_rows + failed <= N_IMAGES
            n_rows += failed
    assert n_rows == n_ids + (failed if tables else 0)  # (b) nothing twice
    assert before + outcome.committed <= n_rows <= before + outcome.started  # (d) what was reported is there
    left = [path.name for path in file.parent.iterdir() if path.name.endswith((".part", ".tmp"))]
    assert left == []  # (e)
    return n_rows


def finish(quiet: Quiet, file: Path, **options: Any) -> None:
    """Resume without a fault; the tables must be those of the undisturbed run."""
    outcome = quiet.run(file, **options)
    assert outcome.finished, outcome.stderr
    assert outputs(file) == quiet.outputs  # (f)
