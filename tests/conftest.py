"""Fixtures that every test file shares."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import functional

import sqlanalysis
from sqlanalysis.database import recreate_run_views
from sqlanalysis.models import Model


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """An evaluation database in memory, everything installed."""
    connection = sqlanalysis.connect()
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def shell() -> str:
    """Path of the real DuckDB shell (package duckdb-cli), version 1.5."""
    found = shutil.which("duckdb", path=str(Path(sysconfig.get_path("scripts")))) or shutil.which("duckdb")
    if found is None:
        pytest.skip("the DuckDB shell is not installed: pip install duckdb-cli")
    return found


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 3 classes × 6 generated JPEGs, of different sizes and all with different pixels."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number, name in enumerate(("cat", "dog", "owl")):
        (root / name).mkdir()
        for index in range(6):
            coarse = random.integers(0, 256, (5 + number, 7, 3), dtype=np.uint8)
            size = (240 + 40 * number, 200 + 30 * index)
            Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(
                root / name / f"{index}.jpg", quality=90
            )
    return root


@pytest.fixture(scope="session")
def tiny_net() -> nn.Module:
    """A convolutional network with batch norm and 3 outputs that tells images apart, without training."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip
    with torch.no_grad():
        net[7].weight.mul_(20)
    return net.eval()


def to_64(image: Image.Image) -> torch.Tensor:
    """A transform as a user writes one."""
    return functional.to_tensor(functional.center_crop(functional.resize(image, 72), 64))


@pytest.fixture
def tiny_model(tiny_net: nn.Module) -> Model:
    """`tiny_net` as a model with classes cat, dog, owl and the activations of its second convolution."""
    return sqlanalysis.load_model(tiny_net, layer="3", transform=to_64, classes=["cat", "dog", "owl"], name="tiny")


def add_activations(
    con: duckdb.DuckDBPyConnection, vectors: np.ndarray, run: str = "pixels", labels: list[int] | None = None
) -> None:
    """A run over as many tiny images, added when there are none, whose activations are these; image_id is from 1."""
    n, width = vectors.shape
    if not con.sql("from images").fetchall():
        pictures = [(np.full((1, 1), one % 256, np.uint8), label) for one, label in enumerate(labels or [0] * n)]
        sqlanalysis.add_images(con, pictures, dataset="made", classes=list("abcdefghij"))
    ids = np.arange(1, n + 1)
    sqlanalysis.add_predictions(con, pd.DataFrame({"image_id": ids, "pred": 0}), run)
    activation = pa.FixedSizeListArray.from_arrays(np.ascontiguousarray(vectors, np.float32).ravel(), width)
    con.register("given", pa.table({"image_id": ids, "activation": activation}))
    con.execute(f"alter table outputs.{run} add column activation float[{width}]").fetchall()
    con.execute(
        f"update outputs.{run} set activation = given.activation from given where given.image_id = {run}.image_id"
    ).fetchall()
    con.unregister("given")
    recreate_run_views(con, [run])
