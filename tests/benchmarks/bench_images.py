"""Growth of add_images: CPU seconds an image and peak memory at growing numbers of small files.

    python tests/benchmarks/bench_images.py [--files 10000 100000] [--same] [--again]
    python -m tests.benchmarks.bench_images --forms [--photos FOLDER]

Every step runs in a process of its own, with a new evaluation file. Files are PNGs of 8 x 8 pixels in folders of 1,000,
all different; `--same` gives all the same bytes, `--again` adds the folder a second time. Asserts nothing about time.
`--forms` shows every form of a source with 1,000 pictures (JPEGs of FOLDER, made different by a byte, or small ones), and
whether hashes, labels and classes are those of the folder.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import sqlanalysis
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


def show_forms(photos: Path | None) -> None:
    """Print what comes in from each form of the same 1,000 pictures in three classes."""
    from ..support.forms import ENCODED_ANEW, FORMS, class_folders
    from ..support.trees import labels_of, png

    known = sorted(photos.glob("*.[Jj][Pp]*")) if photos else []
    print("| source | added | labeled | classes | equal to the folder | CPU s |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "made").mkdir()
        files = [(root / "made" / f"picture{number}.jpg", ("cat", "dog", "owl")[number % 3]) for number in range(1000)]
        for number, (file, _) in enumerate(files):
            # Bytes after the end of a JPEG are no part of the picture.
            data = known[number % len(known)].read_bytes() + str(number).encode() if known else png(number)
            file.write_bytes(data)
        with sqlanalysis.connect() as con:
            sqlanalysis.add_images(con, class_folders(root / "folder", files), dataset="made", show_progress=False)
            expected = labels_of(con, "made")
        for number, (form, make) in enumerate(FORMS.items()):
            place = root / str(number)
            place.mkdir()
            source = make(place, files)
            with sqlanalysis.connect() as con:
                start = time.process_time()
                done = sqlanalysis.add_images(con, source, dataset="made", show_progress=False)
                seconds = time.process_time() - start
                found = labels_of(con, "made")
            equal = "labels" if form in ENCODED_ANEW else "all"
            # Photos that repeat are one picture when written anew: their hashes are fewer.
            same = done.n_labeled == len(files) if form in ENCODED_ANEW else found == expected
            figures = f"{done.n_added:,} | {done.n_labeled:,} | {done.n_classes}"
            print(f"| {form} | {figures} | {equal if same else 'NO'} | {seconds:.2f} |", flush=True)


GRAY = np.full((8, 8, 3), 128, np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--same", action="store_true", help="all files have the same bytes")
    parser.add_argument("--again", action="store_true", help="add the folder a second time, too")
    parser.add_argument("--forms", action="store_true", help="every form of a source instead")
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs for --forms")
    options = parser.parse_args()
    if options.forms:
        show_forms(options.photos)
        return
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
