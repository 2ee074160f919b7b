"""Memory of a job with many pending images: rows of images are made, no file is read, the answers are constant.

    python tests/benchmarks/bench_pending.py [--images 1000000,10000000] [--limit 500MB]

DuckDB keeps what it has read as long as memory is there; so its memory is limited, and what grows is ours. Each number
of images runs in a process of its own. Prints a Markdown table: resident memory before the job, its peak
while pending images are looked through and answered, and the CPU time an image.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

import sqlanalysis
from sqlanalysis.core.arrow import ERROR_TYPE
from sqlanalysis.core.interrupts import Interruptible
from sqlanalysis.runs import job
from sqlanalysis.runs.run import Run, Spec


class Constant(Interruptible):
    """Answers at once, without looking at the image; its hash is in its path."""

    output_type = pa.struct(
        [("pred", pa.int32()), ("confidence", pa.float32()), ("sha256", pa.string()), ("error", ERROR_TYPE)]
    )

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}

    def __call__(self, column: pa.ChunkedArray) -> pa.Array:
        images = column.combine_chunks()
        n = len(images)
        arrays = [
            pa.array(np.zeros(n, np.int32)),
            pa.array(np.ones(n, np.float32)),
            images.field("path"),
            pa.nulls(n, ERROR_TYPE),
        ]
        return pa.StructArray.from_arrays(arrays, fields=list(self.output_type))


def resident() -> float:
    """MB of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def make(path: Path, n: int) -> None:
    with sqlanalysis.connect(path) as con:
        con.execute("insert into label_spaces values ('made', 2)")
        con.execute("insert into datasets (dataset, label_space, source) values ('made', 'made', 'made')")
        con.execute(
            """insert into images (image_id, dataset, uri, sha256, n_bytes, format, width_px, height_px)
            select i, 'made', sha256(i::varchar), sha256(i::varchar), 100_000, 'JPEG', 500, 400
            from range(1, $n + 1) as t(i)""",
            {"n": n},
        )


def measure(path: Path, n: int, limit: str) -> tuple[float, float, float, float]:
    with sqlanalysis.connect(path) as con:
        con.execute(f"set memory_limit = '{limit}'")
        before = resident()
        start, cpu = time.perf_counter(), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        job.select(con, "made", None)
        done = job.perform(con, job.Work(Spec(Run("run", "made", "constant"))), Constant())
        assert done.n_ok == n, done
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        cpu = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - cpu
        return before, peak, 1e6 * cpu / n, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", default="1000000,10000000")
    parser.add_argument("--limit", default="500MB", help="DuckDB's memory")
    given = parser.parse_args()
    sizes = [int(size) for size in given.images.split(",")]
    print("| images | MB before | MB at the peak | CPU µs an image | seconds |\n|---|---|---|---|---|")
    for size in sizes:
        with tempfile.TemporaryDirectory() as name, multiprocessing.get_context("spawn").Pool(1, None, (), 1) as pool:
            path = Path(name) / "e.duckdb"
            pool.apply(make, (path, size))
            row = pool.apply(measure, (path, size, given.limit))  # in a fresh process
            print("| {:,} | {:.0f} | {:.0f} | {:.1f} | {:.0f} |".format(size, *row), flush=True)


if __name__ == "__main__":
    main()
