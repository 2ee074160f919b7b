"""From activations to a map: exact neighbours (torch, in blocks), UMAP over them, PCA."""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from . import runs
from .database import execute, fetch, transaction
from .errors import NotFoundError, SchemaError, near_matches
from .ingest import registered
from .templates import render

METHODS = ("umap", "pca")
EXACT_LIMIT = 50_000  # above it, umap-learn's own approximate neighbours are faster
TRUST_SAMPLE = 2_000
SPECTRAL_MINIMUM = 10  # UMAP's spectral start needs more points than dimensions


@dataclass(frozen=True)
class Projected:
    """What `project` did; trustworthiness is that of scikit-learn, on at most 2,000 images."""

    run: str
    projection: str
    n_images: int
    trustworthiness: float | None
    seconds: float


def project(
    con: duckdb.DuckDBPyConnection,
    run: str,
    method: str = "umap",
    *,
    seed: int = 0,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    name: str | None = None,
) -> Projected:
    """Put the images of a run on a plane; x and y appear in the view `<run>`.

    Args:
        con: from `connect`, writable.
        run: a run with activations (`load_model(…, layer=…)`).
        method: "umap", or "pca".
        seed: makes UMAP repeatable.
        n_neighbors: UMAP's size of a neighbourhood; at least 2 images are needed, more neighbours than images are cut.
        min_dist: UMAP's least distance between points.
        name: name of the projection, default the method; an earlier one of that name is replaced.

    Returns:
        Counts, seconds and how well neighbourhoods are kept. Writes `projections`, `projection_specs`, and for UMAP
        `neighbours` (exact, euclidean, up to 50,000 images).

    Raises:
        NotFoundError: no such run or method.
        SchemaError: the run has no activations, or fewer than three, or a parameter is out of range.
    """
    start = time.perf_counter()
    if method not in METHODS:
        raise NotFoundError(f"no method {method!r}{near_matches(method, METHODS)}")
    if n_neighbors < 2 or not 0 <= min_dist <= 1:
        raise SchemaError(f"n_neighbors is 2 or more, min_dist from 0 to 1; here {n_neighbors} and {min_dist}")
    ids, vectors = _activations(con, run)
    params: dict[str, Any] = {"layer": runs.require(con, run).layer}
    knn = None
    if method == "umap":
        n_neighbors = min(n_neighbors, len(ids) - 1)
        params |= {"n_neighbors": n_neighbors, "min_dist": min_dist, "metric": "euclidean"}
        if len(ids) <= EXACT_LIMIT:
            knn = nearest(vectors, n_neighbors)
        points = _umap(vectors, knn, seed, n_neighbors, min_dist)
    else:
        points = _pca(vectors, seed)
    trust = _trustworthiness(vectors, points, seed)
    params["trustworthiness"] = trust
    name = name or method
    with transaction(con):
        for table in ("projections", "projection_specs"):
            execute(con, "statements/delete_projection", [run, name], table=table)
        columns = {"image_id": ids, "x": points[:, 0], "y": points[:, 1]}
        with registered(con, "projected", pa.table(columns)):
            execute(con, "statements/insert_projections", [run, name])
        execute(con, "statements/insert_projection_spec", [run, name, method, json.dumps(params), seed])
        if knn is not None:
            _write_neighbours(con, run, ids, *knn)
    return Projected(run, name, len(ids), trust, time.perf_counter() - start)


def _activations(con: duckdb.DuckDBPyConnection, run: str) -> tuple[np.ndarray, np.ndarray]:
    """image_id (n,) and activations (n, m) of a run, in the order of image_id."""
    found = runs.require(con, run)
    columns = {row[0] for row in fetch(con, "statements/list_columns", ["main", run])}
    if "activation" not in columns:
        hint = "predict again with a layer (load_model(…, layer='layer4'), --layer layer4) under another run name"
        raise SchemaError(f"run {run!r} of model {found.model} has no activations; {hint}")
    table = con.sql(render("statements/read_activations", run=run)).to_arrow_table()
    if table.num_rows < 3:
        raise SchemaError(f"run {run!r} has {table.num_rows} activations, a projection needs at least 3")
    column = table["activation"].combine_chunks()
    return table["image_id"].to_numpy(), column.flatten().to_numpy().reshape(table.num_rows, -1)


def nearest(vectors: np.ndarray, k: int, block: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Exact k nearest neighbours by euclidean distance, each point first its own.

    Args:
        vectors: (n, m) float array.
        k: how many, itself not counted.
        block: rows compared at once; memory is block × n floats.

    Returns:
        Indices and distances, both (n, k + 1); column 0 is the point itself at distance 0.
    """
    import torch

    points = torch.tensor(vectors, dtype=torch.float32)
    points = points - points.mean(0)
    squares = points.square().sum(1)
    found = []
    for start in range(0, len(points), block):
        part = points[start : start + block]
        squared = torch.addmm(squares + squares[start : start + block, None], part, points.T, alpha=-2)
        rows = torch.arange(len(part))
        squared[rows, rows + start] = -torch.inf
        index = squared.topk(k + 1, largest=False).indices
        exact = (points[index] - part[:, None]).square().sum(2).sqrt()
        exact[:, 0] = 0.0
        order = torch.cat(
            [torch.zeros(len(part), 1, dtype=torch.long), torch.argsort(exact[:, 1:], dim=1, stable=True) + 1], 1
        )
        found.append((index.gather(1, order), exact.gather(1, order)))
    indices, distances = zip(*found, strict=True)
    return torch.cat(indices).numpy(), torch.cat(distances).numpy()


def _umap(
    vectors: np.ndarray, knn: tuple[np.ndarray, np.ndarray] | None, seed: int, n_neighbors: int, min_dist: float
) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import umap

        given: dict[str, Any] = (
            {} if knn is None else {"precomputed_knn": (knn[0][:, :n_neighbors], knn[1][:, :n_neighbors], None)}
        )
        given["init"] = "spectral" if len(vectors) > SPECTRAL_MINIMUM else "random"
        mapper = umap.UMAP(n_neighbors=n_neighbors, min_dist=min_dist, random_state=seed, n_jobs=1, **given)
        points: np.ndarray = mapper.fit_transform(vectors)
    return points.astype(np.float32)


def _pca(vectors: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.decomposition import PCA

    points: np.ndarray = PCA(2, random_state=seed).fit_transform(vectors)
    return points.astype(np.float32)


def _trustworthiness(vectors: np.ndarray, points: np.ndarray, seed: int) -> float | None:
    """How far neighbours on the map are neighbours in the activations: 1 is best."""
    from sklearn.manifold import trustworthiness

    sample = np.random.default_rng(seed).permutation(len(vectors))[:TRUST_SAMPLE]
    k = min(15, (len(sample) - 1) // 2)
    if k < 1:
        return None
    return round(float(trustworthiness(vectors[sample], points[sample], n_neighbors=k)), 4)


def _write_neighbours(
    con: duckdb.DuckDBPyConnection, run: str, ids: np.ndarray, indices: np.ndarray, distances: np.ndarray
) -> None:
    k = indices.shape[1] - 1
    columns = {
        "image_id": np.repeat(ids, k),
        "neighbor_id": ids[indices[:, 1:]].reshape(-1),
        "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), len(ids)),
        "distance": distances[:, 1:].reshape(-1),
    }
    execute(con, "statements/delete_run_rows", [run], table="neighbours")
    with registered(con, "found_neighbours", pa.table(columns)):
        execute(con, "statements/insert_neighbours", [run, "activation"])
