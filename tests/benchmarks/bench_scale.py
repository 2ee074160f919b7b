"""Rates from which larger sizes are extrapolated: CPU and memory of every class of macro, bytes of file and parts.

    python tests/benchmarks/bench_scale.py [--sizes 250000 1000000] [--wide 10000 40000] [--points 5000 10000]

Every call is measured at two sizes, each in a process of its own: CPU of all threads (of queries the least of three) and
the growth of peak resident memory (with the pages of the file that were read, which DuckDB gives back when it must).
Rates are the difference of the two sizes by an image; the exponent is 1 where cost is linear, less where a fixed cost
shows, and more where it grows faster. Runs are asked through their views. Asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_parts import fill

import sqlanalysis

MEASURE = """
import json, sys, time, sqlanalysis as s
from pathlib import Path
def peak():  # of this program; ru_maxrss has that of the process that started it
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
con = s.connect(sys.argv[1])
con.execute("select 1").fetchall()
before, taken = peak(), []
for _ in range({turns}):
    start = time.process_time()
    {call}
    taken.append(time.process_time() - start)
print(json.dumps([min(taken), peak() - before]))
con.close()
"""
SQL = 'con.execute("from {}").fetchall()'
MACROS = {
    "counts of pred": ["accuracy('native')", "scores('native')", "per_class('native')"],
    "one score an image": ["calibration_error('native')", "selective_risk('native')", "pr_curve('native', 1)"],
    "all probabilities": ["proper_scores('native')", "calibration_error_per_class('native')", "label_issues('native')"],
    "ranks by class": ["auc('native', exact := true)", "auc('native', exact := false)", "auc_ci('native')"],
    "two runs": ["mcnemar('native', 'net')", "verdict('native', 'net')"],
    "bootstraps": ["bootstrap_ci('native')", "paired_bootstrap('native', 'net')"],
}
CALLS = {name: {call: SQL.format(call) for call in calls} for name, calls in MACROS.items()}
CALLS["page"] = {"report": 's.report(con, sys.argv[1] + ".html", ["native"])'}
EMBEDDINGS = {
    "embeddings": {
        "find_neighbors": 's.find_neighbors(con, "native")',
        "project (umap)": 's.project(con, "native")',
        "similar_to": SQL.format("similar_to('native', 1)"),
    }
}


def measure(file: Path, call: str) -> tuple[float, float]:
    """CPU seconds and bytes of memory of one call in a process of its own."""
    # A verb that stores what it found does not compute it twice.
    code = MEASURE.format(call=call, turns=3 if call.startswith("con.") else 1)
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{call}: {done.stderr}")
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory


def make(folder: Path, n: int, classes: int, width: int) -> Path:
    """A file of n images with a run in the file and the same as parts; prints bytes an image."""
    file = folder / f"{n}x{classes}x{width}.duckdb"
    with sqlanalysis.connect(file) as con:
        fill(con, n, classes, width)
        sizes = dict(con.execute("select table_name, bytes / ? from disk_usage() where bytes > 0", [n]).fetchall())
    used = ", ".join(f"{name} {size:,.1f}" for name, size in sizes.items() if size >= 1)
    print(f"bytes an image at {n:,} x {classes} classes, {width} activations: {used}", flush=True)
    return file


def compare(sizes: list[int], classes: int, width: int, calls: dict[str, dict[str, str]]) -> None:
    """Print the rates of these calls, from two sizes."""
    few, many = sizes
    with tempfile.TemporaryDirectory() as name:
        files = [make(Path(name), n, classes, width) for n in sizes]
        print(f"\n| K = {classes} | call | CPU s at {few:,} | at {many:,} | µs an image | exponent | bytes an image |")
        print("|---|---|---|---|---|---|---|")
        for kind, entries in calls.items():
            for call, code in entries.items():
                (first, low), (second, high) = (measure(file, code) for file in files)
                rate, memory = (second - first) / (many - few) * 1e6, (high - low) / (many - few)
                exponent = math.log(second / first) / math.log(many / few)
                row = f"{first:.3f} | {second:.3f} | {rate:,.3f} | {exponent:.2f} | {memory:,.0f}"
                print(f"| {kind} | {call} | {row} |", flush=True)
        print()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs=2, default=[250_000, 1_000_000], help="images of 10 classes")
    parser.add_argument("--wide", type=int, nargs=2, default=[10_000, 40_000], help="images of 1000 classes")
    parser.add_argument("--points", type=int, nargs=2, default=[5_000, 10_000], help="images with 512 activations")
    given = parser.parse_args()
    compare(given.sizes, 10, 0, CALLS)
    compare(given.wide, 1000, 0, CALLS)
    compare(given.points, 10, 512, EMBEDDINGS)


if __name__ == "__main__":
    main()
