"""Feed a stand-in for a fast device on the cores at hand: decoders and the device sleep, everything else is real.

    python tests/benchmarks/bench_device.py [--images 16384] [--decoders 16] [--decode-ms 3.4] [--device-us 80]

Each decoder sleeps for the time that decoding and transforming take a core, the device for the time of a forward pass;
reading, hashing, batches, scores, Arrow, DuckDB and commits are those of `predict`. The limit is the smaller of both
rates. Images are chosen as consecutive ids and at random. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import nn

import sqlanalysis
from sqlanalysis.core import decode
from sqlanalysis.models import device, engine
from sqlanalysis.models.transforms import Pixels

PIXELS = torch.randint(0, 256, (3, 224, 224), dtype=torch.uint8)
WIDTH, CLASSES, ACTIVATIONS = 224, 1000, 512


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
    """The engine with its plan for a device; the device is a module that sleeps."""

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__(*given, **{**named, "batch_size": 256})  # type: ignore[arg-type]
        self._plan = self._staged
        self._workers.serial = True
        # As torchvision's presets: bytes in the workers, floats on the device.
        self._pixels = Pixels(lambda _picture: PIXELS.clone(), torch.uint8)


def fill(con: object, n: int, folder: Path) -> None:
    """n images by reference to small files of different bytes."""
    rng = np.random.default_rng(0)
    for i in range(n):
        (folder / f"{i:06d}.png").write_bytes(decode.encode(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)))
    sqlanalysis.add_images(con, folder, dataset="made")  # type: ignore[arg-type]


def run(n: int, decoders: int, decode_s: float, device_s: float) -> list[tuple[str, float, float]]:
    picture = Image.new("RGB", (WIDTH, WIDTH))

    def slow(_data: bytes) -> Image.Image:
        time.sleep(decode_s)
        return picture

    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        folder.mkdir()
        con = sqlanalysis.connect(Path(name) / "e.duckdb")
        fill(con, n, folder)
        model = sqlanalysis.load_model(
            Asleep(device_s), transform=lambda _picture: PIXELS.float(), classes=CLASSES, layer="body", name="asleep"
        )
        for how, where in (("consecutive", None), ("random half", "hash(image_id) % 2 = 0")):
            with (
                mock.patch.object(device, "count_cores", return_value=decoders),
                mock.patch.object(decode, "decode", slow),
                mock.patch("sqlanalysis.runs.predict.Engine", OnDevice),
            ):
                cpu = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
                done = sqlanalysis.predict(
                    con, model, f"run_{len(results)}", where=where, show_progress=False, outputs="logits"
                )
                cpu = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - cpu
            assert done.n_ok == done.n_images
            results.append((how, done.n_images / done.seconds["total"], 1e6 * cpu / done.n_images))
    return results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=16_384)
    parser.add_argument("--decoders", type=int, default=16)
    parser.add_argument("--decode-ms", type=float, default=3.4)
    parser.add_argument("--device-us", type=float, default=80)
    given = parser.parse_args()
    limit = min(given.decoders / given.decode_ms * 1e3, 1e6 / given.device_us)
    print(f"limit: {limit:,.0f} img/s\n\n| images | img/s | of the limit | CPU µs an image |\n|---|---|---|---|")
    for how, rate, cpu in run(given.images, given.decoders, given.decode_ms / 1e3, given.device_us / 1e6):
        print(f"| {how} | {rate:,.0f} | {rate / limit:.2f} | {cpu:.0f} |")


if __name__ == "__main__":
    main()
