"""Fixtures that every test file shares."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import sqlanalysis
from sqlanalysis import Model

from .support.runs import to_64


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """An evaluation database in memory, everything installed."""
    connection = sqlanalysis.connect()
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def shell() -> str:
    """Path of the real DuckDB shell (package duckdb-cli), version 1.5."""
    path = shutil.which("duckdb", path=str(Path(sysconfig.get_path("scripts")))) or shutil.which("duckdb")
    if path is None:
        pytest.skip("the DuckDB shell is not installed: pip install duckdb-cli")
    return path


def _has_duckdb14(python: Path) -> bool:
    program = "import duckdb, numpy; assert duckdb.__version__.startswith('1.4.')"
    return python.is_file() and subprocess.run([python, "-c", program], capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def duckdb14(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with DuckDB 1.4, the oldest that reads our files: DUCKDB14_PYTHON, or an environment made once."""
    given = os.environ.get("DUCKDB14_PYTHON")
    if given:
        if not _has_duckdb14(Path(given)):
            pytest.skip(f"DUCKDB14_PYTHON={given} has no DuckDB 1.4")
        return Path(given)
    cache = getattr(pytestconfig, "cache", None)  # absent with -p no:cacheprovider
    # Without a cache, an environment for this session alone.
    folder = tmp_path_factory.mktemp("duckdb14") if cache is None else cache.mkdir("duckdb14")
    python = folder / "bin" / "python"
    if not _has_duckdb14(python):
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "duckdb==1.4.*", "numpy"],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr or done.stdout).strip().splitlines()[-1:]
                pytest.skip(f"no environment with DuckDB 1.4 (set DUCKDB14_PYTHON): {' '.join(reason)}")
    return python


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


@pytest.fixture
def tiny_model(tiny_net: nn.Module) -> Model:
    """`tiny_net` as a model with classes cat, dog, owl and the activations of its second convolution."""
    return sqlanalysis.load_model(tiny_net, layer="3", transform=to_64, classes=["cat", "dog", "owl"], name="tiny")
