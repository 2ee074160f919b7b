"""Cluster images by their activations, with k-means."""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from ..core.results import Result
from ..db import parts
from ..db.catalogue import recreate_run_views
from ..db.statements import execute, registered, transaction
from ..errors import ArgumentError, SchemaError
from ..runs import run as runs
from .activations import read_points

IMAGES_PER_CLUSTER = 50  # enough to test a cluster as a slice
MAX_CLUSTERS = 20
EXACT_LIMIT = 100_000  # above it, k-means uses mini-batches
SILHOUETTE_SAMPLE = 2_000


@dataclass(frozen=True, repr=False)
class Clustered(Result):
    """The result of `cluster`: `k` clusters of `n_images`; `n_left_out` images have no finite activation.

    The silhouette of scikit-learn, on at most 2,000 images, is between -1 and 1: 1 for clusters far apart, 0 for none.
    """

    run: str
    clustering: str
    k: int
    n_images: int
    n_left_out: int
    silhouette: float | None
    seconds: float


def cluster(
    con: duckdb.DuckDBPyConnection, run: str, k: int | None = None, *, seed: int = 0, name: str = "kmeans"
) -> Clustered:
    """Cluster the images of a run by their activations; `cluster` in the view `<run>` can be used as a slice.

    Uses scikit-learn's k-means (k-means++ initialization, Euclidean), with mini-batches above 100,000 images.

    Args:
        con: from `connect`, writable.
        run: a run with activations (`load_model(…, layer=…)`).
        k: number of clusters; default: one per 50 images, at least 2 and at most 20.
        seed: makes the clusters reproducible.
        name: name of the clustering; an earlier one of that name is replaced. The view shows the newest.

    Returns:
        Counts, seconds and the silhouette. Writes `clusters` and `cluster_specs`. Images that are predicted later have
        no cluster until the next call.

    Raises:
        ArgumentError: k is less than 1, or larger than the number of activations.
        NotFoundError: no such run.
        SchemaError: the run has no activations, or is derived from other runs.
    """
    start = time.perf_counter()
    points = read_points(con, run).finite()
    ids, vectors, n_left_out = points.ids, points.vectors, points.n_left_out
    spec = runs.require(con, run)
    if spec.members is not None:
        raise SchemaError(f"run {run!r} is derived from other runs; cluster one of these")
    if k is None:
        k = min(max(2, len(ids) // IMAGES_PER_CLUSTER), MAX_CLUSTERS, len(ids))
    if not 1 <= k <= len(ids):
        raise ArgumentError(f"k must be from 1 to {len(ids)}, the number of finite activations of {run!r}, not {k}")
    method, groups, distances = _kmeans(vectors, k, seed)
    silhouette = _silhouette(vectors, groups, seed)
    inertia = float(np.square(distances, dtype=np.float64).sum())
    params = {"layer": spec.layer, "k": k, "metric": "euclidean", "inertia": inertia, "silhouette": silhouette}
    table = pa.table({"image_id": ids, "cluster": groups, "distance": distances})
    with transaction(con), registered(con, "clustered", table):
        for written in ("clusters", "cluster_specs"):
            execute(con, "delete_clustering", [run, name], table=written).fetchall()
        execute(con, "insert_clusters", [run, name]).fetchall()
        execute(con, "insert_cluster_spec", [run, name, method, json.dumps(params), seed]).fetchall()
        if spec.storage == "parts":
            parts.recreate_view(con, run)
        else:
            execute(con, "add_cluster_column", run=run).fetchall()
            execute(con, "update_cluster_column", run=run).fetchall()
        recreate_run_views(con, [run])
    return Clustered(run, name, k, len(ids), n_left_out, silhouette, time.perf_counter() - start)


def _kmeans(vectors: np.ndarray, k: int, seed: int) -> tuple[str, np.ndarray, np.ndarray]:
    """Name of the method; cluster (n,) and distance to its center (n,) of every vector."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    method = KMeans if len(vectors) <= EXACT_LIMIT else MiniBatchKMeans
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # with fewer distinct vectors than k, some clusters stay empty
        fitted = method(n_clusters=k, random_state=seed).fit(vectors)
    distances = np.linalg.norm(vectors - fitted.cluster_centers_[fitted.labels_], axis=1)
    return method.__name__, fitted.labels_.astype(np.int32), distances.astype(np.float32)


def _silhouette(vectors: np.ndarray, groups: np.ndarray, seed: int) -> float | None:
    """Mean silhouette of a sample; None if the sample has only one cluster, or one cluster per image."""
    from sklearn.metrics import silhouette_score

    sample = np.random.default_rng(seed).permutation(len(vectors))[:SILHOUETTE_SAMPLE]
    if not 1 < len(np.unique(groups[sample])) < len(sample):
        return None
    return round(float(silhouette_score(vectors[sample], groups[sample])), 4)
