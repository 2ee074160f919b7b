"""Images grouped by their activations: k-means."""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from ..core.results import Result
from ..db.catalogue import recreate_run_views
from ..db.statements import execute, registered, transaction
from ..errors import ArgumentError, SchemaError
from ..runs import run as runs
from .activations import read_points

IMAGES_PER_CLUSTER = 50  # enough of them to test as a slice
MAX_CLUSTERS = 20
EXACT_LIMIT = 100_000  # above it, k-means works on batches
SILHOUETTE_SAMPLE = 2_000


@dataclass(frozen=True, repr=False)
class Clustered(Result):
    """What `cluster` did: `k` clusters of `n_images`; `n_left_out` have no activation, or not a finite one.

    The silhouette, from -1 to 1, is that of scikit-learn on at most 2,000 images: 1 clusters far apart, 0 none at all.
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
    """Group the images of a run by their activations; `cluster` in the view `<run>` is a slice for every metric.

    scikit-learn's k-means (k-means++ start, euclidean), on batches for more than 100,000 images.

    Args:
        con: from `connect`, writable.
        run: a run with activations (`load_model(…, layer=…)`).
        k: how many clusters; default one per 50 images, at least 2 and at most 20.
        seed: makes the clusters repeatable.
        name: name of the clustering; an earlier one of that name is replaced. The view shows the newest.

    Returns:
        Counts, seconds and how well clusters are apart. Writes `clusters` and `cluster_specs`. Images that are answered
        later have no cluster until the next call.

    Raises:
        ArgumentError: k is less than 1, or more than there are activations.
        NotFoundError: no such run.
        SchemaError: the run has no activations, or is derived from other runs.
    """
    start = time.perf_counter()
    points = read_points(con, run).finite()
    ids, vectors, n_left_out = points.ids, points.vectors, points.n_left_out
    found = runs.require(con, run)
    if found.members is not None:
        raise SchemaError(f"run {run!r} is a view of other runs; cluster the one it is derived from")
    if k is None:
        k = min(max(2, len(ids) // IMAGES_PER_CLUSTER), MAX_CLUSTERS, len(ids))
    if not 1 <= k <= len(ids):
        raise ArgumentError(f"run {run!r} has {len(ids)} finite activations, so k is from 1 to that, not {k}")
    method, groups, distances = _kmeans(vectors, k, seed)
    silhouette = _silhouette(vectors, groups, seed)
    inertia = float(np.square(distances, dtype=np.float64).sum())
    params = {"layer": found.layer, "k": k, "metric": "euclidean", "inertia": inertia, "silhouette": silhouette}
    table = pa.table({"image_id": ids, "cluster": groups, "distance": distances})
    with transaction(con), registered(con, "clustered", table):
        for one in ("clusters", "cluster_specs"):
            execute(con, "delete_clustering", [run, name], table=one).fetchall()
        execute(con, "insert_clusters", [run, name]).fetchall()
        execute(con, "insert_cluster_spec", [run, name, method, json.dumps(params), seed]).fetchall()
        execute(con, "add_cluster_column", run=run).fetchall()
        execute(con, "update_cluster_column", run=run).fetchall()
        recreate_run_views(con, [run])
    return Clustered(run, name, k, len(ids), n_left_out, silhouette, time.perf_counter() - start)


def _kmeans(vectors: np.ndarray, k: int, seed: int) -> tuple[str, np.ndarray, np.ndarray]:
    """Name of the method, cluster (n,) and distance to its center (n,) of every vector."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    method = KMeans if len(vectors) <= EXACT_LIMIT else MiniBatchKMeans
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct vectors than k: some clusters stay empty
        found = method(n_clusters=k, random_state=seed).fit(vectors)
    distances = np.linalg.norm(vectors - found.cluster_centers_[found.labels_], axis=1)
    return method.__name__, found.labels_.astype(np.int32), distances.astype(np.float32)


def _silhouette(vectors: np.ndarray, groups: np.ndarray, seed: int) -> float | None:
    """How much nearer images are to their cluster than to the next one; NULL when there is but one, or nothing else."""
    from sklearn.metrics import silhouette_score

    sample = np.random.default_rng(seed).permutation(len(vectors))[:SILHOUETTE_SAMPLE]
    if not 1 < len(np.unique(groups[sample])) < len(sample):
        return None
    return round(float(silhouette_score(vectors[sample], groups[sample])), 4)
