"""Kill a run at random moments, resume it, and compare its tables with those of an undisturbed run.

    python tests/benchmarks/kill_and_resume.py [--kills 50] [--images 2000]

Prints, and fails unless: every resumed table equals the undisturbed one, and a kill costs at most one block.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import sqlanalysis

CHILD = """
import os, sys, torch, sqlanalysis
from torch import nn
from torchvision.transforms.functional import to_tensor
from sqlanalysis.runs import job
job.BLOCK_SECONDS, job.BLOCK_IMAGES = 0.2, (16, 4096)
answer, commit = job._answer, job.Writer._commit
def announced(*given):
    os.write(1, f"start {len(given[-1])}".encode() + bytes([10]))  # two threads print: a line in one call
    return answer(*given)
def committed(writer, answers):
    commit(writer, answers)
    os.write(1, f"done {len(answers)}".encode() + bytes([10]))
job._answer, job.Writer._commit = announced, committed
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4))
con = sqlanalysis.connect(sys.argv[1])
model = sqlanalysis.load_model(net, layer="2", transform=lambda image: to_tensor(image.resize((64, 64))), classes=4, name="net")
print("ready", flush=True)
done = sqlanalysis.predict(con, model, policy="identity")
print("finished", done.n_ok, done.n_errors, flush=True)
con.close()
"""


def make(folder: Path, n: int) -> None:
    """A folder of n small images in four classes."""
    pixels = np.random.default_rng(0)
    for number in range(n):
        label = folder / "images" / str(number % 4)
        label.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(pixels.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        small.resize((128, 128)).save(label / f"{number}.png")


def start(child: Path, file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, child, file], stdout=subprocess.PIPE, text=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--images", type=int, default=2000)
    options = parser.parse_args()
    chance = random.Random(0)
    kills, worst, rounds, lost, partial = 0, 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, options.images)
        child = folder / "child.py"
        child.write_text(CHILD)

        def fresh(file: Path) -> Path:
            with sqlanalysis.connect(file) as con:
                sqlanalysis.add_images(con, folder / "images", dataset="made")
            return file

        quiet = fresh(folder / "quiet.duckdb")
        process = start(child, quiet)
        began = 0.0
        for line in process.stdout or ():
            began = time.monotonic() if line == "ready\n" else began
        seconds = time.monotonic() - began
        print(f"undisturbed: {options.images} images in {seconds:.1f} s")
        while kills < options.kills:
            rounds += 1
            file = fresh(folder / f"round{rounds}.duckdb")
            finished = False
            while not finished:
                process = start(child, file)
                assert process.stdout is not None
                process.stdout.readline()
                if kills < options.kills:
                    time.sleep(chance.uniform(0, seconds / 3))
                    process.kill()
                lines = process.stdout.read().split("\n")
                process.wait()
                finished = any(line.startswith("finished") for line in lines)
                kills += not finished
                opened = sum(line.startswith("start") for line in lines)
                closed = sum(line.startswith("done") for line in lines)
                worst = max(worst, opened - closed)
                with sqlanalysis.connect(file) as con:
                    stored = con.sql("select count(*) from duckdb_tables() where schema_name = 'outputs'").fetchall()
                    if stored == [(1,)]:
                        rows = con.sql("select count(*), count(distinct image_id) from outputs.net").fetchall()[0]
                        lost += rows[0] != rows[1]
                        partial += 0 < rows[0] < options.images
            with sqlanalysis.connect(file) as con:
                con.execute("attach ? as quiet (read_only)", [str(quiet)])
                for left, right in (("outputs.net", "quiet.outputs.net"), ("quiet.outputs.net", "outputs.net")):
                    differing = con.sql(f"from {left} except from {right}").fetchall()
                    assert not differing, f"round {rounds}: {len(differing)} rows differ"
                assert con.sql("select status, n_images, n_errors from runs").fetchall() == [
                    ("finished", options.images, 0)
                ]
            file.unlink()
    print(f"{kills} kills in {rounds} runs of {options.images} images, {partial} of them in the middle of a table")
    print(f"tables that differ: 0; tables with duplicates: {lost}; blocks repeated by a kill: at most {worst}")
    assert worst <= 3  # two in work, one that is being committed
    assert lost == 0


if __name__ == "__main__":
    main()
