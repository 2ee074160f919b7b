"""Project activations to two dimensions, with UMAP over exact neighbors or with PCA."""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from ..core.results import Result
from ..db.statements import execute, registered, transaction
from ..errors import ArgumentError, SchemaError, near_matches
from ..runs import run as runs
from .activations import Points, read_points
from .neighbors import Graph, keep_graph, stored_graph

METHODS = ("umap", "pca")
EXACT_LIMIT = 50_000  # above it, umap-learn's own approximate neighbors are faster
TRUST_SAMPLE = 2_000
SPECTRAL_MINIMUM = 10  # UMAP's spectral initialization needs more points than dimensions


@dataclass(frozen=True, repr=False)
class Projected(Result):
    """The result of `project`: `n_images` have coordinates; `n_left_out` have no activation, or a zero one with UMAP.

    Trustworthiness is that of scikit-learn, on at most 2,000 images, for the distance that the method uses.
    """

    run: str
    projection: str
    n_images: int
    n_left_out: int
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
    """Project the images of a run to two dimensions; x and y are columns of the view `<run>`.

    UMAP uses the cosine distance, like `similar_to`, `knn_graph` and `neighbors`; PCA uses the Euclidean distance. The
    neighbors that UMAP needs are those of `find_neighbors`: read from the file, or computed and stored there.

    Args:
        con: from `connect`, writable.
        run: a run with activations (`load_model(…, layer=…)`).
        method: "umap", or "pca".
        seed: makes UMAP reproducible.
        n_neighbors: size of UMAP's neighborhoods, at least 2; limited to the number of other images.
        min_dist: UMAP's smallest distance between points, from 0 to 1.
        name: name of the projection; default: the method. An earlier one of that name is replaced.

    Returns:
        Counts, seconds and trustworthiness. Writes `projections`, `projection_specs`, and for UMAP `neighbors`; above
        50,000 images UMAP uses stored neighbors, or else approximate ones that are not stored. Images without an
        activation have no x and y; with UMAP, neither have images whose activation is zero.

    Raises:
        ArgumentError: unknown method, or a parameter out of range.
        NotFoundError: no such run.
        SchemaError: the run has fewer than three activations, or another object has the name `<run>_neighbors`.
    """
    start = time.perf_counter()
    if method not in METHODS:
        raise ArgumentError(f"no method {method!r}{near_matches(method, METHODS)}")
    if n_neighbors < 2 or not 0 <= min_dist <= 1:
        raise ArgumentError(f"n_neighbors must be 2 or more, min_dist from 0 to 1, not {n_neighbors} and {min_dist}")
    points = read_points(con, run)
    points = points if method == "pca" else points.directed()
    n = len(points.ids)
    if n < 3:
        without = f" (and {points.n_left_out} images without, or with a zero one)" if points.n_left_out else ""
        raise SchemaError(f"run {run!r} has {n} activations{without}, a projection needs at least 3")
    metric = "euclidean" if method == "pca" else "cosine"
    params: dict[str, Any] = {"layer": runs.require(con, run).layer, "metric": metric}
    if method == "umap":
        k = min(n_neighbors, n - 1)
        graph = keep_graph(con, run, points, k)[0] if n <= EXACT_LIMIT else stored_graph(con, run, points, k)
        params |= {"n_neighbors": k, "min_dist": min_dist, "neighbors": "exact" if graph else "approximate"}
        xy = _umap(points.vectors, graph, seed, k, min_dist)
    else:
        xy = _pca(points.vectors, seed)
    trust = _trustworthiness(points.vectors, xy, seed, metric)
    params["trustworthiness"] = trust
    name = name or method
    _write(con, run, points, xy, (name, method, json.dumps(params), seed))
    return Projected(run, name, n, points.n_left_out, trust, time.perf_counter() - start)


def _write(
    con: duckdb.DuckDBPyConnection, run: str, points: Points, xy: np.ndarray, spec: tuple[str, str, str, int]
) -> None:
    with transaction(con):
        for table in ("projections", "projection_specs"):
            execute(con, "delete_projection", [run, spec[0]], table=table)
        columns = {"image_id": points.ids, "x": xy[:, 0], "y": xy[:, 1]}
        with registered(con, "projected", pa.table(columns)):
            execute(con, "insert_projections", [run, spec[0]])
        execute(con, "insert_projection_spec", [run, *spec])


def _umap(vectors: np.ndarray, graph: Graph | None, seed: int, n_neighbors: int, min_dist: float) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import umap

        options: dict[str, Any] = {}
        if graph is not None:  # umap-learn counts the point itself as its first neighbor
            itself = np.arange(len(vectors))[:, None]
            indices = np.hstack([itself, graph.indices])[:, :n_neighbors]
            distances = np.hstack([0.0 * itself, graph.distances])[:, :n_neighbors].astype(np.float32)
            options["precomputed_knn"] = (indices, distances, None)
        mapper = umap.UMAP(
            n_neighbors=n_neighbors,
            min_dist=min_dist,
            metric="cosine",
            # By default a point without a neighbor within 90 degrees gets no coordinates.
            disconnection_distance=np.inf,
            init="spectral" if len(vectors) > SPECTRAL_MINIMUM else "random",
            random_state=seed,
            n_jobs=1,  # UMAP is reproducible with one thread only
            **options,
        )
        xy: np.ndarray = mapper.fit_transform(vectors)
    return xy.astype(np.float32)


def _pca(vectors: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.decomposition import PCA

    xy: np.ndarray = PCA(2, random_state=seed).fit_transform(vectors)
    return xy.astype(np.float32)


def _trustworthiness(vectors: np.ndarray, xy: np.ndarray, seed: int, metric: str) -> float | None:
    """To what extent neighbors on the map are neighbors by their activations, from 0 to 1; None for too few points."""
    from sklearn.manifold import trustworthiness

    sample = np.random.default_rng(seed).permutation(len(vectors))[:TRUST_SAMPLE]
    k = min(15, (len(sample) - 1) // 2)
    if k < 1:
        return None
    return round(float(trustworthiness(vectors[sample], xy[sample], n_neighbors=k, metric=metric)), 4)
