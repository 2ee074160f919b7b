"""Growth of add_images: CPU seconds an image and peak memory at growing numbers of small files.

    python tests/benchmarks/bench_images.py [--files 10000 100000] [--same] [--again]

Every step runs in a process of its own, with a new evaluation file. Files are PNGs of 8 x 8 pixels in folders of 1,000,
all different; `--same` gives all the same bytes, `--again` adds the folder a second time. Asserts nothing about time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from sqlanalysis.core import decode

PER_FOLDER = 1000
ADD = """
import resource, sys, time, sqlanalysis as s
con = s.connect(sys.argv[1])
base, start, cpu = resource.getrusage(0).ru_maxrss, time.perf_counter(), time.process_time()
done = s.add_images(con, sys.argv[2], dataset="made")
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
n = done.n_added + done.n_unchanged
megabytes = (resource.getrusage(0).ru_maxrss - base) / 1024
print(f"| {n:,} | {done.n_added:,} | {cpu:.1f} | {cpu / n * 1e6:,.0f} | {seconds:.1f} | {megabytes:,.0f} |")
con.close()
"""


def make(root: Path, n: int, *, same: bool) -> None:
    """Write n small pictures below `root`; with `same` they are links to one file."""
    random = np.random.default_rng(0)
    first: Path | None = None
    for number in range(n):
        file = root / f"{number // PER_FOLDER:04}" / f"{number:06}.png"
        if number % PER_FOLDER == 0:
            file.parent.mkdir(parents=True)
        if same and first is not None and number % 10_000:  # a file has a limited number of links
            os.link(first, file)
        else:
            file.write_bytes(decode.encode(random.integers(0, 256, (8, 8, 3), dtype=np.uint8) if not same else GRAY))
            first = file


GRAY = np.full((8, 8, 3), 128, np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--same", action="store_true", help="all files have the same bytes")
    parser.add_argument("--again", action="store_true", help="add the folder a second time, too")
    options = parser.parse_args()
    print("| images | added | CPU s | µs an image | seconds | MB above the start |\n|---|---|---|---|---|---|")
    for n in options.files:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name) / "photos"
            make(root, n, same=options.same)
            for _ in range(1 + options.again):
                command = [sys.executable, "-c", ADD, str(Path(name) / "made.duckdb"), str(root)]
                done = subprocess.run(command, capture_output=True, text=True)
                print(done.stdout.strip() or done.stderr, flush=True)


if __name__ == "__main__":
    main()
