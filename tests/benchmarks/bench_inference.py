"""Time predict against the loops people write and against its own limits, taking turns; prints a Markdown table.

    python tests/benchmarks/bench_inference.py PHOTOS_FOLDER [--model resnet18] [--rounds 3] [--photos 256]

Every route starts from photos on disk and ends with rows (pred, probabilities, activations) in a DuckDB file; the
limits leave parts out. Weights are random but fixed, with batch-norm statistics of the photos. Medians over the rounds,
and the best round; agreement is with the tutorial loop. CPU milliseconds are summed over threads and worker processes:
they tell a busy machine from a slow route.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from shared import find_photos, lists
from torch import nn
from torch.utils.data import DataLoader, Dataset

import sqlanalysis
from sqlanalysis.core import decode
from sqlanalysis.models import fuse, transforms
from sqlanalysis.models.model import Model

LAYERS = {"resnet18": "avgpool", "resnet50": "avgpool", "mobilenet_v3_small": "avgpool", "densenet121": "features"}


def make_model(name: str, paths: list[Path]) -> Model:
    """A model that tells images apart without training: batch norm has seen the photos, the head is loud."""
    torch.manual_seed(0)
    model = sqlanalysis.load_model(name, None, layer=LAYERS.get(name))
    net = copy.deepcopy(model.module)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.stack([model.transform(open_image(path)) for path in paths[:32]]))
        [part for part in net.modules() if isinstance(part, nn.Linear)][-1].weight.mul_(10)
    return sqlanalysis.load_model(
        net.eval(), transform=model.transform, classes=model.classes, layer=model.layer, name=name
    )


def open_image(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


class Photos(Dataset[torch.Tensor]):
    """The data set a tutorial writes."""

    def __init__(self, paths: list[Path], model: Model) -> None:
        self.paths, self.transform = paths, model.transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(open_image(self.paths[index]))


class Bench:
    """The routes; the loops return probabilities in the order of the photos, those of predict are read afterwards."""

    def __init__(self, paths: list[Path], model: Model, folder: Path) -> None:
        self.paths, self.model, self.file = paths, model, folder / "bench.duckdb"
        self.tensors = torch.stack([model.transform(open_image(path)) for path in paths[:64]])
        self.cores = len(os.sched_getaffinity(0))
        self.con = sqlanalysis.connect(self.file)
        for path in paths:
            sqlanalysis.add_images(self.con, path, dataset="photos")

    def loop(self, workers: int) -> np.ndarray:
        """fp32, batches of 32, torch's own threads, a forward hook, rows into DuckDB."""
        kept: list[torch.Tensor] = []
        hook = self.model.module.get_submodule(self.model.layer or "").register_forward_hook(
            lambda _module, _inputs, output: kept.append(output.flatten(2).mean(2))
        )
        parts = []
        batches = DataLoader(Photos(self.paths, self.model), batch_size=32, num_workers=workers)
        with torch.inference_mode():
            for batch in batches:
                parts.append(self.model.module(batch).softmax(1))
        hook.remove()
        probs, activations = torch.cat(parts).numpy(), torch.cat(kept).numpy()
        rows = {
            "path": [str(path) for path in self.paths],
            "pred": probs.argmax(1),
            "probs": lists(probs),
            "activation": lists(activations),
        }
        with duckdb.connect(self.file.with_suffix(".loop")) as con:
            con.register("rows", pa.table(rows))
            con.execute("create or replace table outputs as from rows")
        return probs

    def predict(self, dtype: str) -> None:
        sqlanalysis.predict(self.con, self.model, f"run_{dtype}", dtype=dtype, overwrite=True)

    def read(self, dtype: str) -> np.ndarray:
        rows = self.con.sql(f"select uri, probs from run_{dtype}").fetchnumpy()
        by_name = {Path(uri).name: probs for uri, probs in zip(rows["uri"], rows["probs"], strict=True)}
        return np.stack([by_name[path.name] for path in self.paths])

    def forward_only(self, dtype: torch.dtype) -> None:
        """Ready micro-batches of 8 in workers that share nothing, through the module that predict runs."""
        module = fuse.fast_copy(self.model, dtype)
        batches = [part.contiguous(memory_format=torch.channels_last) for part in self.tensors.split(8)]

        def forward(number: int) -> None:
            with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                module(batches[number % len(batches)]).float()

        self._share_nothing(forward, len(self.paths) // 8)

    def pixels_only(self) -> None:
        """Bytes to tensors, in workers that share nothing."""
        pixels = transforms.split_transform(self.model.transform)

        def load(number: int) -> None:
            files = self.paths[8 * number : 8 * number + 8]
            pixels.finish(torch.stack([pixels.load(decode.decode(decode.read(None, str(path)))) for path in files]))

        self._share_nothing(load, len(self.paths) // 8)

    def _share_nothing(self, work: Callable[[int], None], count: int) -> None:
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(self.cores, initializer=lambda: torch.set_num_threads(1)) as pool:
            list(pool.map(work, range(count)))
        torch.set_num_threads(threads)


def run(bench: Bench, rounds: int) -> None:
    routes: dict[str, Callable[[], np.ndarray | None]] = {
        "tutorial loop, fp32, batch 32": lambda: bench.loop(0),
        "DataLoader, 2 workers, fp32, batch 32": lambda: bench.loop(2),
        "**predict, fp32**": lambda: bench.predict("fp32"),
        "**predict, bf16**": lambda: bench.predict("bf16"),
        "*limit:* forward only, fp32": lambda: bench.forward_only(torch.float32),
        "*limit:* forward only, bf16": lambda: bench.forward_only(torch.bfloat16),
        "*limit:* decode and transform only": bench.pixels_only,
    }
    speeds: dict[str, list[float]] = {name: [] for name in routes}
    work: dict[str, list[float]] = {name: [] for name in routes}
    probs: dict[str, np.ndarray | None] = {}
    for turn in range(rounds + 1):  # the first turn warms up
        for name, route in routes.items():
            start, before = time.perf_counter(), sum(os.times()[:4])
            probs[name] = route()
            if turn:
                work[name].append((sum(os.times()[:4]) - before) / len(bench.paths) * 1000)
                speeds[name].append(len(bench.paths) / (time.perf_counter() - start))
    probs |= {"**predict, fp32**": bench.read("fp32"), "**predict, bf16**": bench.read("bf16")}
    print_table(list(routes), speeds, work, probs)


def print_table(
    names: list[str],
    speeds: dict[str, list[float]],
    work: dict[str, list[float]],
    probs: dict[str, np.ndarray | None],
) -> None:
    median = {name: statistics.median(values) for name, values in speeds.items()}

    def ratio(name: str, base: str) -> float:
        return statistics.median(a / b for a, b in zip(speeds[name], speeds[base], strict=True))

    print("| route | img/s | best | × tutorial | × DataLoader | of forward only | CPU ms | top-1 equal | max abs Δp |")
    print("|---|---|---|---|---|---|---|---|---|")
    reference = probs[names[0]]
    assert reference is not None
    for name in names:
        limit = names[5] if "bf16" in name else names[4]
        share = f"{ratio(name, limit):.2f}" if "predict" in name else ""
        mine, top, gap = probs[name], "", ""
        if mine is not None:
            top = f"{(mine.argmax(1) == reference.argmax(1)).mean():.1%}"
            gap = f"{np.abs(mine - reference).max():.1e}"
        print(
            f"| {name} | {median[name]:.1f} | {max(speeds[name]):.1f} | {ratio(name, names[0]):.2f} | {ratio(name, names[1]):.2f} "
            f"| {share} | {statistics.median(work[name]):.1f} | {top} | {gap} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=256)
    given = parser.parse_args()
    paths = find_photos(given.folder, given.photos)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(paths, make_model(given.model, paths), Path(folder))
        print(
            f"{given.model}, {len(paths)} photos, {given.rounds} rounds, torch {torch.__version__}, "
            f"{bench.cores} cores, load {os.getloadavg()[0]:.1f}\n"
        )
        run(bench, given.rounds)


if __name__ == "__main__":
    main()
