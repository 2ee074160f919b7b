"""Runs made by hand: a transform as a user writes one, and a run whose activations are given."""

from __future__ import annotations

import shutil

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

import sqlanalysis
from sqlanalysis.db.catalogue import recreate_run_views


def to_64(image: Image.Image) -> torch.Tensor:
    """A transform as a user writes one."""
    return functional.to_tensor(functional.center_crop(functional.resize(image, 72), 64))


def add_activations(
    con: duckdb.DuckDBPyConnection, vectors: np.ndarray, run: str = "pixels", labels: list[int] | None = None
) -> None:
    """A run over as many tiny images, added when there are none, whose activations are these; image_id is from 1."""
    n, width = vectors.shape
    if not con.sql("from images").fetchall():
        pictures = [(np.full((1, 1), index % 256, np.uint8), label) for index, label in enumerate(labels or [0] * n)]
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


def node_or_skip() -> str:
    """The path of Node.js."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("node is not installed")
    return path
