"""The built-in example: 1,797 scans of handwritten digits, two small networks, one evaluation file, one page.

The scans are part of scikit-learn. The weights are part of this package; `examples/train_demo.py` trains them again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .core.results import Result
from .data.images import add_images
from .db.connection import connect
from .embeddings.projection import project
from .errors import InferenceError
from .evaluation import metrics
from .models.model import Model, load_model
from .page import report
from .runs.predict import predict

WEIGHTS = Path(__file__).with_name("demo.safetensors")
CLASSES = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True, repr=False)
class Demo(Result):
    """What the demo wrote, and per run: number of images, accuracy, and the ends of its 95 % interval."""

    database: Path
    page: Path
    accuracies: dict[str, tuple[int, float, float, float]]


def demo(folder: str | Path = "demo", *, say: Callable[[str], None] = lambda _text: None) -> Demo:
    """Evaluate two networks on held-out digits: images, predictions, UMAP and report, end to end.

    Args:
        folder: where `demo.duckdb` and `report.html` are written; created if missing. After an interrupt, the same call
            resumes.
        say: called with one line of text before each step.

    Returns:
        The two files, and per run: number of images, accuracy, and the ends of its 95 % interval.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    con = connect(path / "demo.duckdb")
    try:
        say("adding 1,797 scanned digits")
        pictures = digits()
        for split in ("train", "test"):
            part = [(picture, label) for picture, label, where in pictures if where == split]
            add_images(con, part, dataset="digits", split=split, classes=CLASSES)
        for model in networks():
            say(f"predicting the held-out half with {model.name}, and projecting its activations")
            predict(con, model, where="split = 'test'")
            project(con, model.name)
        names = [model.name for model in networks()]
        say("writing the report")
        page = report.report(con, path / "report.html", runs=names)
        rows = {name: metrics.metric(con, "accuracy", name).fetchall()[0] for name in names}
    finally:
        con.close()
    return Demo(path / "demo.duckdb", page, {name: (row[0], *row[2:5]) for name, row in rows.items()})


def digits() -> list[tuple[np.ndarray, int, str]]:
    """All scans as (uint8 image (8, 8), digit, split); a stratified half has split "test"."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    scans = load_digits()
    # The scans have gray values from 0 to 16.
    pixels = np.round(scans.images * (255 / 16)).astype(np.uint8)
    train, _ = train_test_split(np.arange(len(pixels)), test_size=0.5, random_state=0, stratify=scans.target)
    splits = np.full(len(pixels), "test", dtype=object)
    splits[train] = "train"
    return [(image, int(label), str(split)) for image, label, split in zip(pixels, scans.target, splits, strict=True)]


def to_tensor(image: Any) -> Tensor:
    """An RGB PIL image as a float tensor (1, 8, 8) in [0, 1]."""
    gray = np.asarray(image.convert("L").resize((8, 8)), np.float32) / 255
    return torch.from_numpy(gray)[None]


class DigitsMLP(nn.Module):
    """One hidden layer: a first attempt."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU())
        self.head = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 10) of images (B, 1, 8, 8)."""
        logits: Tensor = self.head(self.features(images))
        return logits


class DigitsCNN(nn.Module):
    """Three convolutions: the better model."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 10) of images (B, 1, 8, 8)."""
        logits: Tensor = self.head(self.features(images).mean((2, 3)))
        return logits


ARCHITECTURES: dict[str, type[nn.Module]] = {"digits_cnn": DigitsCNN, "digits_mlp": DigitsMLP}


def networks() -> list[Model]:
    """The two networks with their trained weights; layer `features` gives the activations.

    Raises:
        InferenceError: the file of weights is missing.
    """
    from safetensors.torch import load_file

    if not WEIGHTS.is_file():
        raise InferenceError(f"no weights {WEIGHTS}; make them with examples/train_demo.py")
    state = load_file(WEIGHTS)
    models = []
    for name, architecture in ARCHITECTURES.items():
        module = architecture()
        module.load_state_dict({k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")})
        loaded = load_model(module, layer="features", transform=to_tensor, classes=CLASSES, name=name)
        source: dict[str, Any] = {"model": f"{__name__}:make_{name}", "weights": "DEFAULT"}
        source |= {"classes": None, "prompts": []}
        models.append(dataclasses.replace(loaded, source={**source, "layer": "features", "name": name}))
    return models


def _make(name: str) -> tuple[nn.Module, Callable[[Any], Tensor], tuple[str, ...]]:
    model = next(network for network in networks() if network.name == name)
    return model.module, to_tensor, CLASSES


# What a worker calls, which loads its model by the name of code: `sqlanalysis.demo:make_digits_cnn`.
make_digits_cnn, make_digits_mlp = partial(_make, "digits_cnn"), partial(_make, "digits_mlp")
