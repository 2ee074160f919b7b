"""Neighbors and maps against the libraries: seconds, deviation, trustworthiness; asserts nothing about time.

    python tests/benchmarks/bench_projection.py [ROUNDS]

Activations are made: 50 clusters in 512 dimensions, rectified, as after a ReLU. Neighbors are timed warm, in one
process; maps cold, each in a fresh process from its start to its end, imports and compilation included. Rounds are
interleaved; medians are printed.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from shared import lists, store, timed

import sqlanalysis
from tests.support.runs import add_activations

WIDTH, SEARCHED, MAPPED = 512, (4_000, 10_000, 20_000), (1_797, 4_000, 10_000)
ROUTES = ("by hand, cosine", "by hand, Euclidean", "project")


def make(n: int, seed: int = 0) -> np.ndarray:
    """(n, 512) activations in 50 clusters."""
    random = np.random.default_rng(seed)
    centers = random.normal(size=(50, WIDTH))
    return np.maximum(centers[random.integers(0, 50, n)] + random.normal(size=(n, WIDTH)), 0).astype(np.float32)


def search(rounds: int) -> None:
    """Neighbors: torch in tiles, the macro, and scikit-learn."""
    from sklearn.neighbors import NearestNeighbors

    from sqlanalysis.embeddings.neighbors import nearest

    nearest(make(100), 15)  # imports torch
    print(
        "| 15 neighbors of n × 512 | scikit-learn brute, s | find_neighbors, s | ratio | max deviation | knn_graph, s |"
    )
    print("|---|---|---|---|---|---|")
    for n in SEARCHED:
        vectors = make(n)
        con = sqlanalysis.connect()
        store(con, "made", {"image_id": np.arange(n), "activation": lists(vectors)})
        ours, theirs, macro = [], [], []
        for _ in range(rounds):
            model = NearestNeighbors(n_neighbors=15, algorithm="brute", metric="cosine")
            seconds, (distances, _indices) = timed(lambda model=model, vectors=vectors: model.fit(vectors).kneighbors())
            theirs.append(seconds)
            seconds, graph = timed(lambda vectors=vectors: nearest(vectors, 15))
            ours.append(seconds)
            if n <= 4_000:
                macro.append(timed(lambda con=con: con.execute("from knn_graph('made', k := 15)").fetchall())[0])
        deviation = np.abs(graph.distances - distances).max()
        other, mine = statistics.median(theirs), statistics.median(ours)
        sql = f"{statistics.median(macro):.1f}" if macro else "–"
        print(f"| {n} | {other:.1f} | {mine:.1f} | {mine / other:.2f} | {deviation:.0e} | {sql} |", flush=True)


def mapped(route: str, folder: Path) -> np.ndarray:
    """One map, as (n, 2)."""
    if route == "project":
        with sqlanalysis.connect(folder / "made.duckdb") as con:
            con.execute("update neighbor_specs set digest = ''").fetchall()  # so that neighbors are searched again
            sqlanalysis.project(con, "made")
            columns = con.sql("select x, y from made order by image_id").fetchnumpy()
        return np.stack([columns["x"], columns["y"]], axis=1)
    warnings.simplefilter("ignore")
    import umap

    metric = "cosine" if "cosine" in route else "euclidean"
    points: np.ndarray = umap.UMAP(metric=metric, random_state=0).fit_transform(np.load(folder / "made.npy"))
    return points


def maps(rounds: int) -> None:
    """Maps: umap-learn by hand from an array, and project from a file into it."""
    from sklearn.manifold import trustworthiness

    print("\n| map of n × 512, cold | seconds | × by hand, cosine | trustworthiness by cosine |\n|---|---|---|---|")
    for n in MAPPED:
        with tempfile.TemporaryDirectory() as name:
            folder, vectors = Path(name), make(n)
            np.save(folder / "made.npy", vectors)
            with sqlanalysis.connect(folder / "made.duckdb") as con:
                add_activations(con, vectors, "made", [0] * n)
            seconds: dict[str, list[float]] = {route: [] for route in ROUTES}
            for _ in range(rounds):
                for route, times in seconds.items():
                    command = [sys.executable, __file__, json.dumps([route, name])]
                    times.append(timed(lambda command=command: subprocess.run(command, check=True))[0])
            sample = np.random.default_rng(0).permutation(n)[:2_000]
            reference = statistics.median(seconds["by hand, cosine"])
            for route, times in seconds.items():
                points = np.load(folder / f"{route}.npy")
                trust = trustworthiness(vectors[sample], points[sample], n_neighbors=15, metric="cosine")
                took = statistics.median(times)
                print(f"| {n}, {route} | {took:.1f} | {reference / took:.2f} | {trust:.3f} |", flush=True)


if __name__ == "__main__":
    given = sys.argv[1] if len(sys.argv) > 1 else "3"
    if given.startswith("["):
        route, folder = json.loads(given)
        np.save(Path(folder) / f"{route}.npy", mapped(route, Path(folder)))
    else:
        search(int(given))
        maps(int(given))
