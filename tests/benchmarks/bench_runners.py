"""Time a run by several workers against the same run by one process, taking turns; prints a Markdown table.

    python tests/benchmarks/bench_runners.py PHOTOS_FOLDER [--images 2000] [--rounds 2] [--runners processes ray]

Every run is made twice, of a few images and of all: the difference is the cost of an image after start-up. Photos are
repeated with other trailing bytes, so that each is computed. CPU is that of this process and of its children; that of
Ray's actors, which are none, is not seen. Outputs must be equal to the bit.
"""

from __future__ import annotations

import argparse
import logging
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from shared import find_photos

import sqlanalysis

FEW = 64


def make_images(photos: list[Path], folder: Path, n: int) -> None:
    """n files of different bytes with the pictures of the photos."""
    folder.mkdir()
    for number in range(n):
        photo = photos[number % len(photos)]
        (folder / f"{number:05}{photo.suffix}").write_bytes(photo.read_bytes() + number.to_bytes(4, "big"))


def spent() -> tuple[float, float]:
    """Seconds of the clock, and of CPU of this process and its children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runners", nargs="*", default=["processes"])
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    kinds = ["local", *given.runners]
    costs: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(find_photos(given.photos, given.images), folder / "images", given.images)
        torch.manual_seed(0)
        torch.save(sqlanalysis.load_model(given.model, None).module.state_dict(), folder / "weights.pth")
        model = sqlanalysis.load_model(given.model, folder / "weights.pth", layer="avgpool")
        with sqlanalysis.connect(folder / "a.duckdb") as con:
            sqlanalysis.add_images(con, folder / "images", dataset="photos", show_progress=False)
            for number in range(given.rounds):
                for kind in kinds if number % 2 == 0 else kinds[::-1]:
                    how = {} if kind == "local" else {"runner": kind, "workers": given.workers}
                    took: list[tuple[float, float]] = []
                    for where in (f"image_id <= {FEW}", None):
                        before = spent()
                        sqlanalysis.predict(con, model, kind, where=where, overwrite=True, show_progress=False, **how)
                        took.append((spent()[0] - before[0], spent()[1] - before[1]))
                    (few_clock, few_cpu), (all_clock, all_cpu) = took
                    costs[kind, "ms"].append(1000 * (all_clock - few_clock) / (given.images - FEW))
                    costs[kind, "CPU ms"].append(1000 * (all_cpu - few_cpu) / (given.images - FEW))
                    costs[kind, "start"].append(few_clock)
            for kind in given.runners:
                same = f"select count(*) from (from outputs.local except from outputs.{kind})"
                assert con.sql(same).fetchall() == [(0,)], f"{kind} answers otherwise"
    print(f"| runner | ms an image | ratio | CPU ms an image | ratio | s for {FEW} images |\n|---|---|---|---|---|---|")
    for kind in kinds:
        ms, cpu, start = (statistics.median(costs[kind, what]) for what in ("ms", "CPU ms", "start"))
        ratios = [
            statistics.median(a / b for a, b in zip(costs[kind, what], costs["local", what], strict=True))
            for what in ("ms", "CPU ms")
        ]
        print(f"| {kind} | {ms:.1f} | {ratios[0]:.3f} | {cpu:.1f} | {ratios[1]:.3f} | {start:.1f} |")


if __name__ == "__main__":
    main()
