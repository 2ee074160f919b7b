"""Time predict against other libraries that run models over images, taking turns; prints a Markdown table.

    python tests/benchmarks/bench_peers.py PHOTOS_FOLDER WEIGHTS [--model resnet18] [--rounds 2] [--photos 256]

WEIGHTS is a state dict. Run it in an environment of its own: pip install daft "ray[data]" datasets pixeltable, beside
this package. Each peer is written as its documentation recommends: fp32, batches of 32, torch's own threads; each
makes probabilities and pooled activations and keeps them in what it offers: Arrow for most, its own table for Pixeltable.
Peers that are not installed, or fail, are named below the table.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from shared import find_photos, timed

Route = Callable[[], np.ndarray]


class Net:
    """What every peer calls: images in, probabilities and activations out."""

    def __init__(self, name: str, weights: str) -> None:
        import torchvision

        self.module = torchvision.models.get_model(name, weights=None)
        self.module.load_state_dict(torch.load(weights, weights_only=True))
        self.module.eval()
        self.transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        self.module.avgpool.register_forward_hook(lambda _m, _i, output: setattr(self, "kept", output.flatten(1)))

    def run(self, tensors: Sequence[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            probs = self.module(torch.stack(list(tensors))).softmax(1)
        return probs.numpy(), self.kept.numpy()

    def run_images(self, images: Sequence[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        return self.run([self.transform(image.convert("RGB")) for image in images])


def sqlanalysis_route(paths: list[str], name: str, weights: str, folder: Path) -> Route:
    import sqlanalysis

    model = sqlanalysis.load_model(name, weights, layer="avgpool")
    with sqlanalysis.connect(folder / "bench.duckdb") as con:
        for path in paths:
            sqlanalysis.add_images(con, path, dataset="photos")

    def run() -> np.ndarray:
        with sqlanalysis.connect(folder / "bench.duckdb") as con:
            sqlanalysis.predict(con, model, "peer", overwrite=True)
            rows = con.sql("select uri, probs from peer").fetchnumpy()
        by_name = {Path(uri).name: probs for uri, probs in zip(rows["uri"], rows["probs"], strict=True)}
        return np.stack([by_name[Path(path).name] for path in paths])

    return run


def daft_route(paths: list[str], name: str, weights: str, _folder: Path) -> Route:
    import daft
    from daft import DataType, col
    from daft.functions import decode_image, download

    answer = DataType.struct(
        {"probs": DataType.fixed_size_list(DataType.float32(), 1000), "act": DataType.list(DataType.float32())}
    )

    @daft.cls
    class Classify:
        def __init__(self) -> None:
            self.net = Net(name, weights)

        @daft.method.batch(return_dtype=answer, batch_size=32)
        def __call__(self, images: daft.Series) -> list[dict[str, Any]]:
            probs, kept = self.net.run_images([Image.fromarray(np.asarray(image)) for image in images.to_pylist()])
            return [{"probs": p, "act": a.tolist()} for p, a in zip(probs, kept, strict=True)]

    classify = Classify()

    def run() -> np.ndarray:
        frame = daft.from_pydict({"path": paths}).with_column("image", decode_image(download(col("path")), mode="RGB"))
        table = frame.with_column("out", classify(col("image"))).exclude("image").to_arrow()
        by_path = dict(zip(table["path"].to_pylist(), table["out"].to_pylist(), strict=True))
        return np.array([by_path[path]["probs"] for path in paths], np.float32)

    return run


def ray_route(paths: list[str], name: str, weights: str, _folder: Path) -> Route:
    import ray

    context = ray.init(num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    assert context
    ray.data.DataContext.get_current().enable_progress_bars = False

    class Classify:
        def __init__(self) -> None:
            self.net = Net(name, weights)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            probs, kept = self.net.run_images([Image.fromarray(image) for image in batch["image"]])
            return {"path": batch["path"], "probs": probs, "act": kept}

    def run() -> np.ndarray:
        data = ray.data.read_images(paths, mode="RGB", include_paths=True)
        data = data.map_batches(Classify, batch_size=32, compute=ray.data.ActorPoolStrategy(size=1))
        by_name = {Path(row["path"]).name: row["probs"] for row in data.take_all()}
        return np.stack([by_name[Path(path).name] for path in paths])

    return run


def datasets_route(paths: list[str], name: str, weights: str, _folder: Path) -> Route:
    import datasets

    datasets.disable_progress_bars()
    net = Net(name, weights)

    def classify(batch: dict[str, Any]) -> dict[str, Any]:
        probs, kept = net.run_images(batch["image"])
        return {"probs": probs, "act": kept}

    def run() -> np.ndarray:
        data = datasets.Dataset.from_dict({"image": paths}).cast_column("image", datasets.Image())
        data = data.map(classify, batched=True, batch_size=32, remove_columns="image", load_from_cache_file=False)
        return np.asarray(data.with_format("numpy")["probs"][:], np.float32)

    return run


nets: list[Net] = []
if "Pixeltable" in sys.argv and __name__ != "__main__":  # it takes functions at the top of a module, not of a script
    import pixeltable as pxt

    @pxt.udf(batch_size=32)
    def classify(images: pxt.func.Batch[Image.Image]) -> pxt.func.Batch[pxt.Array[(1512,), pxt.Float]]:
        return list(np.concatenate(nets[0].run_images(images), 1))


def pixeltable_route(paths: list[str], name: str, weights: str, folder: Path) -> Route:
    os.environ["PIXELTABLE_HOME"] = str(folder / "pixeltable")
    nets.append(Net(name, weights))

    def run() -> np.ndarray:
        pxt.drop_table("peer", if_not_exists="ignore")
        table = pxt.create_table("peer", {"number": pxt.Int, "image": pxt.Image})
        table.add_computed_column(out=classify(table.image))
        table.insert([{"number": number, "image": path} for number, path in enumerate(paths)])
        rows = table.order_by(table.number).select(table.out).collect()
        return np.stack([row["out"][:1000] for row in rows])

    return run


PEERS = {
    "**sqlanalysis**": ("sqlanalysis", sqlanalysis_route),
    "Daft": ("daft", daft_route),
    "Hugging Face datasets": ("datasets", datasets_route),
    "Ray Data, one actor": ("ray", ray_route),
    "Pixeltable": ("pixeltable", pixeltable_route),
}


def measure(paths: list[str], given: argparse.Namespace) -> None:
    """In a process of its own: seconds of a first and a second turn, and the probabilities of the last."""
    with tempfile.TemporaryDirectory() as folder:
        route = PEERS[given.peer][1](paths, given.model, str(given.weights), Path(folder))
        seconds = []
        for _ in range(2):
            took, probs = timed(route)
            seconds.append(took)
        np.savez(given.result, seconds=seconds, probs=probs)


def run(paths: list[str], given: argparse.Namespace) -> None:
    """All libraries in turn, round after round, each time in a fresh process, so that none burdens another."""
    times: dict[str, list[tuple[float, float]]] = {}
    probs: dict[str, np.ndarray] = {}
    notes: dict[str, str] = {}
    for _ in range(given.rounds):
        for name, (package, _make) in PEERS.items():
            if importlib.util.find_spec(package) is None:
                notes[name] = f"not installed (pip install {package})"
            if name in notes:
                continue
            with tempfile.TemporaryDirectory() as folder:
                result = Path(folder) / "result.npz"
                command = [sys.executable, __file__, *sys.argv[1:], "--peer", name, "--result", str(result)]
                done = subprocess.run(command, capture_output=True, text=True)
                if result.exists():
                    kept = np.load(result)
                    times.setdefault(name, []).append(tuple(kept["seconds"]))
                    probs[name] = kept["probs"]
                else:
                    notes[name] = f"failed: {done.stderr.strip()[-300:]}"
    print_table(paths, times, probs)
    print("\n" + "\n".join(f"{name}: {note}" for name, note in notes.items()))


def print_table(paths: list[str], times: dict[str, list[tuple[float, float]]], probs: dict[str, np.ndarray]) -> None:
    ours = next(iter(times))
    print("| library | img/s | first turn | predict is × as fast | top-1 equal | max abs Δp |")
    print("|---|---|---|---|---|---|")
    for name, turns in times.items():
        first, second = (statistics.median(values) for values in zip(*turns, strict=True))
        ratio = statistics.median(theirs[1] / mine[1] for theirs, mine in zip(turns, times[ours], strict=False))
        equal = (probs[name].argmax(1) == probs[ours].argmax(1)).mean()
        print(
            f"| {name} | {len(paths) / second:.1f} | {len(paths) / first:.1f} | {ratio:.2f} "
            f"| {equal:.1%} | {np.abs(probs[name] - probs[ours]).max():.1e} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--result", help=argparse.SUPPRESS)
    given = parser.parse_args()
    paths = [str(path) for path in find_photos(given.folder, given.photos)]
    if given.peer:
        measure(paths, given)
    else:
        run(paths, given)


if __name__ == "__main__":
    import bench_peers  # Pixeltable wants its functions in a module that is not a script

    bench_peers.main()
