"""Runs whose outputs are parts: a model that any process can load, and a file with images of all kinds."""

from __future__ import annotations

import hashlib
import shutil
import textwrap
from pathlib import Path

import duckdb

import sqlanalysis
from sqlanalysis import Model

CODE = """
import torch
from torch import nn
from torchvision.transforms import functional

def to_32(image):
    return functional.to_tensor(functional.resize(image, [32, 32]))

def make(seed=3):
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(3, 12, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(layers, nn.Linear(12, 3).requires_grad_(False)), to_32, ["cat", "dog", "owl"]
"""
COLUMNS = "image_id, sha256, pred, confidence, probs, activation"


def saved_model(folder: Path) -> Model:
    """A model made by code in a file, with activations of 12 numbers."""
    if not code_of(folder).exists():
        code_of(folder).write_text(textwrap.dedent(CODE))
    return sqlanalysis.load_model(f"{code_of(folder)}:make", layer="0", name="net")


def code_of(folder: Path) -> Path:
    """The file of the code, of a name of its own: one process imports one module of a name."""
    return folder / f"net_{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}.py"


def file_of_pets(folder: Path, photos: Path) -> duckdb.DuckDBPyConnection:
    """A file with 18 photos, one of them twice, and one that cannot be decoded; opened for writing."""
    pictures = folder / "pets"
    shutil.copytree(photos, pictures)
    first = sorted((pictures / "owl").iterdir())[0]
    shutil.copyfile(first, pictures / "owl" / "again.jpg")
    con = sqlanalysis.connect(folder / "pets.duckdb")
    sqlanalysis.add_images(con, pictures, dataset="pets")
    victim = sorted((pictures / "cat").iterdir())[1]
    victim.write_bytes(victim.read_bytes() + b"?")  # changed since it was added: an error of every run
    return con


def outputs(con: duckdb.DuckDBPyConnection, run: str) -> list[tuple[object, ...]]:
    """Every output of a run, in order."""
    return con.execute(f"select {COLUMNS} from outputs.{run} order by image_id").fetchall()


def errors(con: duckdb.DuckDBPyConnection, run: str) -> list[tuple[object, ...]]:
    """Every error of a run, in order."""
    query = "select image_id, uri, sha256, stage, error, message from errors where run = ? order by image_id"
    return con.execute(query, [run]).fetchall()
