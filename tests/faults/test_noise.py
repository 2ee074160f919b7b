"""What decoders write beside their pixels: with its image, in every thread, and never as lines on stderr."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

import sqlanalysis
from sqlanalysis.core import decode, noise
from sqlanalysis.errors import ImageError

from . import harness

Record = Callable[[str, str, str], None]
Scale = Callable[[int, int], int]
PREDICT = """
import sys
import sqlanalysis, torch
from torch import nn
from torchvision.transforms import v2
torch.manual_seed(0)
net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
tensor = v2.Compose([v2.Resize((8, 8)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
model = sqlanalysis.load_model(net, transform=tensor, classes=["0", "1"])
with sqlanalysis.connect(sys.argv[1]) as con:
    print(sqlanalysis.add_images(con, sys.argv[2], dataset="made", show_progress=False).n_errors)
    print(sqlanalysis.predict(con, model, run="r").n_errors)
    sqlanalysis.measure_images(con)
    sqlanalysis.report(con, sys.argv[3])
"""


def damaged(n: int) -> dict[str, bytes]:
    """TIFF files of several compressions with some bytes changed, of which many are still decoded."""
    chance, found = random.Random(5), {}
    pixels = np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    whole = []
    for compression in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits", "raw"):
        target = io.BytesIO()
        Image.fromarray(pixels).save(target, "TIFF", compression=compression)
        whole.append(target.getvalue())
    for number in range(n):
        data = bytearray(whole[number % len(whole)])
        for _ in range(chance.choice((1, 2, 8))):
            data[chance.randrange(8, len(data))] = chance.randrange(256)
        found[f"{number:05}.tif"] = bytes(data)
    return found


def told(data: bytes) -> tuple[str | None, list[str]]:
    """The error of an image, and what the decoder said."""
    with noise.collected() as said:
        try:
            decode.decode(data)
        except ImageError as error:
            return str(error), list(said)
    return None, list(said)


def test_every_line_belongs_to_its_image(tmp_path: Path, scale: Scale, figure: Record) -> None:
    files = damaged(scale(200, 3000))
    alone = {name: told(data) for name, data in files.items()}
    with ThreadPoolExecutor(8) as pool:
        assert dict(zip(files, pool.map(told, files.values()), strict=True)) == alone
    noisy = sum(bool(said) for _, said in alone.values())
    assert noisy > 10
    for name, data in files.items():
        label = tmp_path / "images" / str(int(name[:5]) % 2)
        label.mkdir(parents=True, exist_ok=True)
        (label / name).write_bytes(data)
    command = [sys.executable, "-c", PREDICT, tmp_path / "e.duckdb", tmp_path / "images", tmp_path / "page.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=harness.PATIENCE)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "image" not in line and "labels" not in line]
    assert lines == [], done.stderr
    with sqlanalysis.connect(tmp_path / "e.duckdb") as con:
        rows = con.sql("select parse_filename(uri), message from errors where run = 'r'").fetchall()
    assert len(rows) > 10
    assert {name: alone[name][0] for name, _ in rows} == dict(rows)
    decoded = sum(bool(said) and error is None for error, said in alone.values())
    note = "complained about" in done.stderr
    assert note == (decoded > 0)
    figure("P4 noise", "lines of decoders on stderr: 0, each with its image", f"{noisy} noisy of {len(files)}: 0 lines")


def test_others_hear_pillow_as_before() -> None:
    """Code of one's own that uses Pillow gets its warnings, at the place that caused them."""
    files = damaged(600).values()
    words = ("Tag data larger", "Corrupt EXIF", "Truncated File")
    warned = next(data for data in files if any(line.startswith(words) for line in told(data)[1]))
    with warnings.catch_warnings(record=True) as caught, suppress(OSError, SyntaxError, ValueError, TypeError):
        warnings.simplefilter("always")
        Image.open(io.BytesIO(warned)).load()
    assert caught
    assert all("PIL" in one.filename for one in caught)
