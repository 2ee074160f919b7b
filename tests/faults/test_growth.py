"""Nothing grows with the number of runs but what has to: the list of comparable runs, and the page."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

import sqlanalysis

Record = Callable[[str, str, str], None]
Scale = Callable[[int, int], int]


def add_runs(con: duckdb.DuckDBPyConnection, n_images: int, numbers: range) -> None:
    """Runs of random probabilities over all images, each a little better than the one before."""
    random = np.random.default_rng(numbers.start)
    labels = np.array([row[0] for row in con.sql("select label from images order by image_id").fetchall()])
    for number in numbers:
        logits = random.normal(size=(n_images, 10))
        logits[np.arange(n_images), labels] += 2 + number / 50
        probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        given = pd.DataFrame({"image_id": np.arange(1, n_images + 1), "probs": list(probs.astype(np.float32))})
        sqlanalysis.add_predictions(con, given, f"run{number}")


def test_thirty_runs(tmp_path: Path, scale: Scale, figure: Record) -> None:
    """The page of thirty runs costs little more than that of three, and says of each what its macros say."""
    n_images = scale(300, 2000)
    random = np.random.default_rng(1)
    pictures = [(random.integers(0, 256, (4, 4, 3), dtype=np.uint8), number % 10) for number in range(n_images)]
    with sqlanalysis.connect(tmp_path / "work.duckdb") as con:
        sqlanalysis.add_images(con, pictures, dataset="made", classes=list("abcdefghij"), show_progress=False)
        seconds = {}
        for runs in (range(3), range(3, 30)):
            add_runs(con, n_images, runs)
            sqlanalysis.report(con, tmp_path / "page.html")
            start = time.process_time()
            sqlanalysis.report(con, tmp_path / "page.html")
            seconds[runs.stop] = time.process_time() - start
    with sqlanalysis.connect(tmp_path / "work.duckdb", read_only=True) as con:
        start = time.process_time()
        assert con.sql("select count(*), sum(comparable::int) from comparable").fetchall() == [(870, 870)]
        listed = time.process_time() - start
        page = (tmp_path / "page.html").read_text()
        for run in ("run0", "run13", "run29"):
            accuracy = con.sql(f"select accuracy from accuracy('{run}')").fetchall()[0][0]
            f1 = con.sql(f"select f1_macro from scores('{run}')").fetchall()[0][0]
            assert f"{accuracy:.1%}" in page
            assert f"{f1:.1%}" in page or f"{f1:.3f}" in page
    # The page of three costs nearly all of it; one query a run made it ten times as much.
    assert seconds[30] < 4 * seconds[3]
    figure(
        "P31 growth",
        "30 runs over 2,000 images: comparable 0.5 s, report 5 s of CPU",
        f"{n_images:,} images: {listed:.2f} s, {seconds[30]:.1f} s (3 runs {seconds[3]:.1f} s)",
    )


def test_registrations(tmp_path: Path, scale: Scale, figure: Record) -> None:
    """A model that is registered again and again holds one engine: threads and memory stay where they are."""
    import torch

    class Heavy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = torch.nn.AdaptiveAvgPool2d(16), torch.nn.Linear(768, 10_000)  # 31 MB

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(images).flatten(1))[:, :3]

    random = np.random.default_rng(1)
    pictures = [(random.integers(0, 256, (16, 16, 3), dtype=np.uint8), number % 3) for number in range(16)]
    n, held = scale(20, 100), []
    with sqlanalysis.connect(tmp_path / "work.duckdb") as con:
        sqlanalysis.add_images(con, pictures, dataset="made", classes=list("abc"), show_progress=False)

        def to_tensor(picture: object) -> torch.Tensor:
            return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255

        model = sqlanalysis.load_model(Heavy(), transform=to_tensor, classes=list("abc"), name="heavy")
        for _ in range(n):
            sqlanalysis.register_model(con, model)
            asked = con.execute("select count(heavy(image).pred) from image_files").fetchall()
            gc.collect()
            held.append((threading.active_count(), int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6))
        assert asked == [(16,)]
    (early, before), (late, after) = held[4], held[-1]
    assert late <= early
    # A leak would be 31 MB and more each; the allocator keeps some of what is freed.
    assert after - before < 31 / 4 * (n - 5)
    figure("P31 growth", "100 registrations: flat", f"{n}: {late - early:+d} threads, {after - before:+.0f} MB")
