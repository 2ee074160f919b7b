"""Work for several workers: a small network in a file of code, pictures, and one that ends whoever transforms it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from PIL import Image

import sqlanalysis

POISON = (255, 0, 255)  # the first pixel of a picture that kills the process
# Own code, so that every worker loads the same network by its name. A picture with the color POISON in its corner ends
# the process that transforms it, as a bug in a decoder or too little memory would, or blocks it for ever.
CODE = f"""
import os, signal, time
import numpy as np, torch
from torch import nn

def transform(image):
    pixels = np.asarray(image.convert("RGB"))
    if tuple(pixels[0, 0]) == {POISON}:
        if os.environ.get("POISON") == "hang":
            os.kill(os.getpid(), signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGKILL)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255

def make():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)
        ), transform, ["a", "b", "c", "d"]
"""


def make_pictures(
    folder: Path, n: int, *, seed: int = 0, poison: tuple[int, ...] = (), broken: tuple[int, ...] = ()
) -> Path:
    """A folder of n small pictures in four classes, some of which are poison or no pictures; two have the same bytes."""
    random = np.random.default_rng(seed)
    for number in range(n):
        file = folder / "abcd"[number % 4] / f"{number:05}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 250, (24, 24, 3), dtype=np.uint8)
        if number in poison:
            pixels[0, 0] = POISON
        Image.fromarray(pixels).save(file)
    for number in broken:  # recognized as a picture, and cut off
        file = next(folder.glob(f"*/{number:05}.png"))
        file.write_bytes(file.read_bytes()[:200])
    return folder


def code_of(folder: Path) -> Path:
    """The file of the network in a folder, which is written there; named so that no two folders have one of a name."""
    code = folder / f"net_{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}.py"
    if not code.exists():
        code.write_text(CODE)
    return code


def make_model(folder: Path, **options: Any) -> sqlanalysis.Model:
    """The network of the file in a folder."""
    return sqlanalysis.load_model(f"{code_of(folder)}:make", name="net", **options)


def answers(con: duckdb.DuckDBPyConnection, run: str = "net") -> tuple[list[Any], list[Any]]:
    """All outputs and errors of a run, in order."""
    outputs = con.sql(f"from outputs.{run} order by image_id").fetchall()
    errors = "select image_id, uri, sha256, stage, error, message from errors where run = ? order by image_id"
    return outputs, con.execute(errors, [run]).fetchall()
