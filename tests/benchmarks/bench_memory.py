"""Memory and linear cost: images in, and predictions, at growing numbers of images.

    python tests/benchmarks/bench_memory.py [--files 50000] [--predict 1000 10000]

Every step runs in a process of its own; prints seconds, images/s, and peak resident memory above the start of the step
(for predictions: above the loaded model). Asserts nothing about time.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ADD = """
import resource, sys, time, sqlanalysis as s
con = s.connect(sys.argv[1])
base, start = resource.getrusage(0).ru_maxrss, time.perf_counter()
done = s.add_images(con, sys.argv[2], dataset="made")
seconds = time.perf_counter() - start
print(f"| add_images | {done.n_added:,} | {seconds:.1f} | {done.n_added / seconds:,.0f} | {(resource.getrusage(0).ru_maxrss - base) / 1024:,.0f} |")
con.close()
"""
PREDICT = """
import resource, sys, time, torch, sqlanalysis as s
con = s.connect(sys.argv[1])
torch.manual_seed(0)
model = s.load_model("resnet18", None, layer="layer4", classes="imagenet1k")
base, start = resource.getrusage(0).ru_maxrss, time.perf_counter()
done = s.predict(con, model, "net", dataset="made", policy="open", class_map=sys.argv[2])
seconds = time.perf_counter() - start
print(f"| predict | {done.n_computed:,} | {seconds:.1f} | {done.n_computed / seconds:,.1f} | {(resource.getrusage(0).ru_maxrss - base) / 1024:,.0f} |")
con.close()
"""


def run(code: str, *arguments: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    print(done.stdout.strip() or done.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--predict", type=int, nargs="*", default=[1000, 10_000], help="each once")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    print("| step | images | seconds | images/s | MB above the start |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "links" / "tench").mkdir(parents=True)
        first = folder / "links" / "tench" / "0.jpg"
        Image.fromarray(random.integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(first, quality=85)
        for number in range(1, options.files):
            os.link(first, first.with_name(f"{number}.jpg"))
        run(ADD, folder / "links.duckdb", folder / "links")
        (folder / "map.csv").write_text("from_class,to_class\ntench,tench\n")
        for n in dict.fromkeys(options.predict):
            label = folder / f"set{n}" / "tench"
            label.mkdir(parents=True)
            for number in range(n):
                small = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((400, 300))
                buffer = io.BytesIO()
                small.save(buffer, "JPEG", quality=90)
                (label / f"{number}.jpg").write_bytes(buffer.getvalue())
            run(ADD, folder / f"{n}.duckdb", label.parent)
            run(PREDICT, folder / f"{n}.duckdb", folder / "map.csv")


if __name__ == "__main__":
    main()
