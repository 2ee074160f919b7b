"""Every source of models against its own library: `python -m tests.benchmarks.bench_sources` prints the table.

For 18 generated photos, the largest difference of a probability between the run (batches, threads, folded batch norm) and
the library's own pipeline (one picture at a time), and what a user writes.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import sqlanalysis as sq

from ..support.sources import SOURCES


def photos(folder: Path) -> Path:
    """18 photos of different sizes in three class folders."""
    random = np.random.default_rng(0)
    for number in range(18):
        name = ("cat", "dog", "owl")[number % 3]
        (folder / name).mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (5 + number % 4, 7, 3), dtype=np.uint8))
        coarse.resize((240 + 10 * number, 330 - 5 * number), Image.Resampling.BICUBIC).save(
            folder / name / f"{number}.jpg"
        )
    return folder


def main() -> None:
    """Print one row of Markdown per source and architecture."""
    start = Path(tempfile.mkdtemp())
    pictures = photos(start / "photos")
    print("| source | architecture | max abs dp | range of p | Python | command line |\n|---|---|---|---|---|---|")
    for index, ((source, architecture), make) in enumerate(SOURCES.items()):
        folder = start / str(index)
        folder.mkdir()
        os.chdir(folder)
        torch.manual_seed(0)
        made = make(folder)
        con = sq.connect()
        sq.add_images(con, pictures)
        model = sq.load_model(made.model, made.weights or "DEFAULT", name="n")
        sq.register_model(con, model)
        rows = con.execute(
            "select uri, n(image).probs from image_files join images using (image_id) order by image_id"
        ).fetchall()
        own = np.array([made.answer(Image.open(uri).convert("RGB")).numpy() for uri, _ in rows])
        away = np.abs(own - np.array([probs for _, probs in rows])).max()
        short = [part.replace(f"{folder}/", "") for part in (made.model, made.weights) if part]
        python = f"load_model({', '.join(map(repr, short))})"
        line = f"predict DB {short[0]}" + (f" --weights {short[1]}" if len(short) > 1 else "")
        print(
            f"| {source} | {architecture} | {away:.1e} | {np.ptp(own, axis=0).max():.2f} | `{python}` | `{line}` |",
            flush=True,
        )
        con.close()


if __name__ == "__main__":
    main()
