"""What a decoder costs the process that feeds it, and how fast decoders are: processes, and threads beside them.

    python tests/benchmarks/bench_decoders.py [FOLDER] [--images 4000] [--workers 2] [--rounds 3]

`raw`: pictures of 224 x 224 pixels without compression, 150 kB, so that decoders have little to do; by path and by
stored bytes. `photos`: decode and resize the photos of FOLDER as ResNet-18's preset does. Prints a Markdown table: CPU seconds of the caller's threads an
image, and images a second. Rows of one round run one after the other; figures are medians of the rounds.
"""

from __future__ import annotations

import argparse
import io
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from sqlanalysis.core.pixels import Resize
from sqlanalysis.models.decoders import Decoders, DecodingThreads

SHAPE = (3, 224, 224)
N_SLOTS, BATCH = 512, 64
RESIZE, CROP = Resize((256,), (224, 224), 2), Resize((224,), (224, 224), 2)
Row = tuple[bytes | None, str | None]
Pool = Decoders | DecodingThreads


def feed(pool: Pool, rows: list[Row]) -> None:
    """As a feeder does: batches of slots are given again as soon as all of them are read."""
    free, n_given, n_done = list(range(N_SLOTS)), 0, 0
    while n_done < len(rows):
        while len(free) >= BATCH and n_given < len(rows):
            tickets = range(n_given, min(n_given + BATCH, len(rows)))
            slots, free = free[: len(tickets)], free[len(tickets) :]
            pool.put(tickets, slots, [rows[ticket] for ticket in tickets])
            n_given += len(tickets)
        for result in pool.get(10):
            assert result.error is None, result.error
            free.append(result.slot)
            n_done += 1


def measure(make: Callable[[], Pool], rows: list[Row]) -> tuple[float, float]:
    """Microseconds of CPU an image in this process, and images a second, after a start."""
    pool = make()
    feed(pool, rows[: 2 * N_SLOTS])
    cpu, start = _cpu(), time.perf_counter()
    feed(pool, rows)
    cpu, seconds = _cpu() - cpu, time.perf_counter() - start
    pool.close()
    return cpu / len(rows) * 1e6, len(rows) / seconds


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    buffer = io.BytesIO()
    Image.effect_noise((224, 224), 80).convert("RGB").save(buffer, "PPM")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{i}.ppm") for i in range(256)]
        for path in paths:
            path.write_bytes(buffer.getvalue())
        by_path: list[Row] = [(None, str(paths[i % len(paths)])) for i in range(args.images)]
        by_bytes: list[Row] = [(buffer.getvalue(), None)] * args.images

        def processes(load: Any) -> Callable[[], Pool]:
            return lambda: Decoders(load, SHAPE, N_SLOTS, args.workers)

        def threads(load: Any) -> Callable[[], Pool]:
            slots = torch.empty(N_SLOTS, *SHAPE, dtype=torch.uint8)
            return lambda: DecodingThreads(load, slots, args.workers)

        cases: dict[str, tuple[Callable[[], Pool], list[Row]]] = {
            "raw, paths, processes": (processes(CROP), by_path),
            "raw, bytes, processes": (processes(CROP), by_bytes),
            "raw, paths, threads": (threads(CROP), by_path),
        }
        if args.folder is not None:
            files = [path for path in sorted(args.folder.iterdir()) if path.suffix.lower() in (".jpeg", ".jpg", ".png")]
            photos: list[Row] = [(None, str(files[i % len(files)])) for i in range(args.images)]
            stored: list[Row] = [(files[i % len(files)].read_bytes(), None) for i in range(min(args.images, 1024))]
            cases["photos, paths, processes"] = processes(RESIZE), photos
            cases["photos, bytes, processes"] = processes(RESIZE), stored
            cases["photos, paths, threads"] = threads(RESIZE), photos
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for _ in range(args.rounds):
            for name, case in cases.items():
                found[name].append(measure(*case))
    print(f"{args.workers} workers, {args.images} images, medians of {args.rounds} rounds\n")
    print("| case | CPU of this process, µs an image | images/s |\n|---|---|---|")
    for name, figures in found.items():
        cost, rate = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"| {name} | {cost:,.1f} | {rate:,.0f} |")


if __name__ == "__main__":
    main()
