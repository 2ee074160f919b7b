"""Feed a stand-in for a fast device on the cores at hand: decoders and the device sleep, everything else is real.

    python tests/benchmarks/bench_device.py [--images 16384] [--decoders 16] [--decode-ms 3.4] [--device-us 80] [--threads]

Each decoder sleeps for the time that decoding and transforming take a core, the device for the time of a forward pass;
reading, hashing, batches, scores, Arrow, DuckDB and commits are those of `predict`. The limit is the smaller of both
rates. Images are chosen as consecutive ids and at random. CPU is of all processes, once they have started. Prints a
Markdown table.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import torch
from asleep import PICTURE, WIDTH, AsleepTransform
from torch import nn
from torchvision.transforms._presets import ImageClassification

import sqlanalysis
from sqlanalysis.core import decode
from sqlanalysis.core.arrow import IMAGE_TYPE
from sqlanalysis.models import decoders, device, engine

CLASSES, ACTIVATIONS = 1000, 512
ANY = decode.encode(np.zeros((8, 8, 3), np.uint8))


class Asleep(nn.Module):
    """A network whose forward pass takes a given time an image and no core."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.body, self.head = nn.Identity(), nn.Linear(ACTIVATIONS, CLASSES)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds * len(batch))
        features = self.body(batch[:, 0, :3].reshape(len(batch), -1)[:, :ACTIVATIONS].float().contiguous())
        return torch.nn.functional.pad(features, (0, CLASSES - ACTIVATIONS))


class OnDevice(engine.Engine):
    """The engine with its plan for a device; the device is a module that sleeps, and so are the decoders."""

    decode_s, in_threads, cpu = 0.0, False, 0.0

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__(*given, **{**named, "batch_size": 256})  # type: ignore[arg-type]
        self._is_staged = True
        self._workers.serial = True
        for passes in self._passes:  # without floats, normalization and layout, which are the device's work
            passes.pixels, passes.layout = replace(passes.pixels, finish=lambda batch: batch), torch.contiguous_format
        # Decoders start once a run; what is measured begins when all of them work.
        self(pa.chunked_array([pa.array([{"bytes": ANY, "path": None}] * 64 * device.count_cores(), IMAGE_TYPE)]))
        OnDevice.cpu = cpu_seconds(self)

    def close(self) -> None:
        OnDevice.cpu = cpu_seconds(self) - OnDevice.cpu
        super().close()

    def _make_decoders(self, n: int, n_slots: int) -> Any:
        shape, transform = (3, WIDTH, WIDTH), AsleepTransform(self.decode_s)
        if not self.in_threads:
            return decoders.Decoders(transform, shape, n_slots, n)
        return decoders.DecodingThreads(transform, np.empty((n_slots, *shape), np.uint8), n)


def fill(con: object, n: int, folder: Path) -> None:
    """n images by reference to small files of different bytes."""
    rng = np.random.default_rng(0)
    for i in range(n):
        (folder / f"{i:06d}.png").write_bytes(decode.encode(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)))
    sqlanalysis.add_images(con, folder, dataset="made")  # type: ignore[arg-type]


def cpu_seconds(used: OnDevice) -> float:
    """CPU seconds so far of this process and of the processes that decode."""
    source, ticks = used._feeder._source, 0  # type: ignore[union-attr]
    for process in getattr(source, "_processes", {}).values():
        fields = Path(f"/proc/{process._popen.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) + ticks / os.sysconf("SC_CLK_TCK")


def run(n: int, decoders: int, decode_s: float, device_s: float, *, threads: bool) -> list[tuple[str, float, float]]:
    def slow(_data: bytes) -> Any:
        time.sleep(decode_s)
        return PICTURE

    OnDevice.decode_s, OnDevice.in_threads = decode_s, threads
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        folder.mkdir()
        con = sqlanalysis.connect(Path(name) / "e.duckdb")
        fill(con, n, folder)
        model = sqlanalysis.load_model(
            Asleep(device_s),
            transform=ImageClassification(crop_size=WIDTH),
            classes=CLASSES,
            layer="body",
            name="asleep",
        )
        for how, where in (("consecutive", None), ("random half", "hash(image_id) % 2 = 0")):
            with (
                mock.patch.object(device, "count_cores", return_value=decoders),
                mock.patch.object(decode, "decode", slow),
                mock.patch("sqlanalysis.runs.predict.Engine", OnDevice),
            ):
                done = sqlanalysis.predict(
                    con, model, f"run_{len(results)}", where=where, show_progress=False, outputs="logits"
                )
            assert done.n_ok == done.n_images
            results.append((how, done.n_images / done.seconds["total"], 1e6 * OnDevice.cpu / done.n_images))
    return results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=16_384)
    parser.add_argument("--decoders", type=int, default=16)
    parser.add_argument("--decode-ms", type=float, default=3.4)
    parser.add_argument("--device-us", type=float, default=80)
    parser.add_argument("--threads", action="store_true", help="decode in threads of this process")
    given = parser.parse_args()
    limit = min(given.decoders / given.decode_ms * 1e3, 1e6 / given.device_us)
    print(f"limit: {limit:,.0f} img/s\n\n| images | img/s | of the limit | CPU µs an image |\n|---|---|---|---|")
    decode_s, device_s = given.decode_ms / 1e3, given.device_us / 1e6
    for how, rate, cpu in run(given.images, given.decoders, decode_s, device_s, threads=given.threads):
        print(f"| {how} | {rate:,.0f} | {rate / limit:.2f} | {cpu:.0f} |")


if __name__ == "__main__":
    main()
