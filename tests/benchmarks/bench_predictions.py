"""Cost of predictions in and out: `add_predictions` from CSV and Parquet, `export` to every format.

    python tests/benchmarks/bench_predictions.py [--rows 100000] [--classes 10] [--wide 40000 1000] [--only WORD]

Every step runs in a process of its own, on tables that are made here; prints CPU seconds of all threads, seconds, and
peak resident memory above the start of the step. Images are rows of the table `images` without a file. Asserts nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from shared import lists

import sqlanalysis

MEASURE = """
import sys, time, sqlanalysis as s, pyarrow.parquet
from pathlib import Path
def peak():  # of this program; ru_maxrss has that of the process that started it
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
con = s.connect(sys.argv[2])
before, start, cpu = peak(), time.perf_counter(), time.process_time()
{call}
cpu, seconds = time.process_time() - cpu, time.perf_counter() - start
print(f"| {{sys.argv[1]}} | {{cpu:.2f}} | {{seconds:.2f}} | {{peak() - before:,.0f}} |")
con.close()
"""
ADD = 's.add_predictions(con, sys.argv[3], "run_" + str(time.time_ns()))'
EXPORT = 's.export(con, "mine", sys.argv[3], sys.argv[4], overwrite=True)'


def run(call: str, *arguments: object) -> None:
    code = MEASURE.format(call=call)
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    print(done.stdout.strip() or done.stderr, flush=True)


def make(file: Path, n: int, classes: int) -> tuple[pd.DataFrame, np.ndarray]:
    """An evaluation file with n images of `classes` classes; a table of predictions with paths, and probabilities."""
    rng = np.random.default_rng(0)
    con = sqlanalysis.connect(file)
    names = [f"class {number:04}" for number in range(classes)]
    sqlanalysis.add_images(con, [(np.zeros((1, 1), np.uint8), 0)], dataset="made", classes=names)
    con.execute("delete from images").fetchall()
    con.execute(
        "insert into images (image_id, dataset, uri, sha256, n_bytes, format, width_px, height_px, label) select i + 1, "
        "'made', printf('/data/made/%d/%07d.jpg', i % ?, i), sha256(i::varchar), 1, 'JPEG', 1, 1, i % ? "
        "from range(?) as made(i)",
        [classes, classes, n],
    ).fetchall()
    con.close()
    logits = rng.normal(size=(n, classes)).astype(np.float32) * 2
    probs = np.exp(logits - logits.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    paths = [f"/data/made/{i % classes}/{i:07}.jpg" for i in range(n)]
    best = probs.argmax(1)
    frame = pd.DataFrame({"path": paths, "pred": [names[i] for i in best], "confidence": probs.max(1)})
    return frame, probs


def bench_in(folder: Path, n: int, classes: int, only: str) -> None:
    file = folder / "in.duckdb"
    frame, probs = make(file, n, classes)
    columns = pd.DataFrame(probs, columns=[f"class {number:04}" for number in range(classes)])
    pd.concat([frame, columns], axis=1).to_csv(folder / "columns.csv", index=False)
    frame.assign(probs=[str(row.tolist()) for row in probs]).to_csv(folder / "lists.csv", index=False)
    table = pa.Table.from_pandas(frame)
    pq.write_table(table.append_column("probs", lists(probs)), folder / "lists.parquet")
    whole = pa.Table.from_pandas(pd.concat([frame, columns], axis=1))
    pq.write_table(whole, folder / "columns.parquet")
    rng = np.random.default_rng(1)
    pictures = pa.array([rng.bytes(4096) for _ in range(n)], pa.binary())
    pq.write_table(whole.append_column("picture", pictures), folder / "pictures.parquet")
    for name in ("columns.csv", "lists.csv", "columns.parquet", "lists.parquet", "pictures.parquet"):
        if only in f"add {name}":
            run(ADD, f"add {name}, {n:,} × {classes}", file, folder / name)


def bench_out(folder: Path, n: int, classes: int, only: str) -> None:
    file = folder / "out.duckdb"
    frame, probs = make(file, n, classes)
    con = sqlanalysis.connect(file)
    table = pa.Table.from_pandas(frame).append_column("probs", lists(probs))
    sqlanalysis.add_predictions(con, table, "mine")
    con.close()
    with duckdb.connect(str(file)) as written:
        written.execute("checkpoint").fetchall()
    for to, name in (("csv", "out.csv"), ("fiftyone", "out"), ("parquet", "out.parquet"), ("hf", "out_hf")):
        if only in f"export {to}":
            run(EXPORT, f"export {to}, {n:,} × {classes}", file, folder / name, to)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--wide", type=int, nargs=2, default=(40_000, 1000), help="rows and classes that are exported")
    parser.add_argument("--only", default="", help="steps with this word in their name")
    options = parser.parse_args()
    print("| step | CPU s | seconds | MB above the start |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        if not options.only.startswith("export"):
            bench_in(Path(name), options.rows, options.classes, options.only)
        if not options.only.startswith("add"):
            bench_out(Path(name), *options.wide, options.only)


if __name__ == "__main__":
    main()
