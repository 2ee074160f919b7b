"""Exact nearest neighbors of images by the cosine distance of their activations, stored in the file."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from ..core.results import Result
from ..db import catalogue
from ..db.statements import execute, fetch, registered, transaction
from ..db.templates import find, render
from ..errors import ArgumentError, SchemaError
from .activations import Points, read_points

EMBEDDING = "activation"
# During the search a neighbor is one double: its distance in whole billionths, times SPAN, plus its index. The smallest
# doubles are the nearest neighbors, ties go to the lower index, and rounding makes equal directions tie on any machine.
BILLION = 10**9
SPAN = 2**22  # largest number of images; 2 * BILLION * SPAN < 2**53, so the double is exact
TILE = 1024  # points per side of a block of distances, which takes 8 MB


@dataclass(frozen=True, repr=False)
class FoundNeighbors(Result):
    """The result of `find_neighbors`: `n_images` have `k` neighbors each.

    `n_left_out` images have no neighbors, because they have no activation, or a zero one without direction. `computed`
    is False if the neighbors in the file were already up to date.
    """

    run: str
    k: int
    n_images: int
    n_left_out: int
    computed: bool
    seconds: float


@dataclass(frozen=True)
class Graph:
    """The k nearest neighbors of n points: indices of neighbors and cosine distances, both (n, k), nearest first."""

    indices: np.ndarray
    distances: np.ndarray


def find_neighbors(con: duckdb.DuckDBPyConnection, run: str, k: int = 15) -> FoundNeighbors:
    """Find the exact nearest neighbors of every image of a run, by the cosine distance of their activations.

    The result equals the rows of `knn_graph(run, k)` to the last digit, and is about a hundred times faster. Nothing is
    computed if the file already has `k` neighbors of the same activations; neighbors of other activations, or of fewer
    images, are replaced.

        find_neighbors(con, "resnet18")
        metric(con, "near_duplicates", "resnet18_neighbors", max_distance=0.02)

    Args:
        con: from `connect`, writable.
        run: a run with activations (`load_model(…, layer=…)`).
        k: number of neighbors per image; all other images if there are fewer.

    Returns:
        Counts and seconds. Writes `neighbors` and the view `<run>_neighbors`: image_id, neighbor_id, rank from 1,
        distance from 0 to 2 with 9 decimals, ties in order of image_id.

    Raises:
        ArgumentError: k is less than 1.
        NotFoundError: no such run.
        SchemaError: the run has no activations, or the name of the view is taken.
    """
    start = time.perf_counter()
    if k < 1:
        raise ArgumentError(f"k must be 1 or more, not {k}")
    points = read_points(con, run).directed()
    graph, computed = keep_graph(con, run, points, k)
    n, n_neighbors = graph.indices.shape
    return FoundNeighbors(run, n_neighbors, n, points.n_left_out, computed, time.perf_counter() - start)


def keep_graph(con: duckdb.DuckDBPyConnection, run: str, points: Points, k: int) -> tuple[Graph, bool]:
    """The k nearest neighbors of the points of a run: from the file if they are up to date, else computed and stored.

    Returns:
        The graph, and whether it was computed.
    """
    k = max(0, min(k, len(points.ids) - 1))
    graph = stored_graph(con, run, points, k)
    if graph is not None:
        return graph, False
    graph = nearest(points.vectors, k)
    _write(con, run, points, graph)
    return graph, True


def stored_graph(con: duckdb.DuckDBPyConnection, run: str, points: Points, k: int) -> Graph | None:
    """The k nearest neighbors in the file; None if there are fewer, or if they belong to other activations."""
    spec = fetch(con, "read_neighbor_spec", [run])
    if not spec or spec[0][0] < k or spec[0][1] != points.digest:
        return None
    table = con.sql(render("read_neighbors"), params=[run, k]).to_arrow_table()
    if table.num_rows != len(points.ids) * k:
        return None
    shape = len(points.ids), k
    indices = np.searchsorted(points.ids, table["neighbor_id"].to_numpy())
    return Graph(indices.reshape(shape), table["distance"].to_numpy().reshape(shape))


def nearest(vectors: np.ndarray, k: int, tile: int = TILE) -> Graph:
    """The exact k nearest neighbors of each vector by cosine distance, ties to the lower index.

    Compares every pair once, in double precision and in tiles, so memory is that of the vectors and a few tiles.

    Args:
        vectors: (n, m) floats, none of them zero, n at most 4,194,304.
        k: number of neighbors, without the vector itself; at most n - 1.
        tile: number of vectors per side of a tile.

    Returns:
        Indices (int64) and distances (float64), both (n, k).

    Raises:
        SchemaError: more than 4,194,304 vectors.
    """
    import torch

    from ..models import device as devices

    if len(vectors) > SPAN:
        raise SchemaError(f"{len(vectors)} images are too many for an exact comparison; the limit is {SPAN}")
    units = torch.tensor(vectors, dtype=torch.float64)
    units /= units.norm(dim=1, keepdim=True)
    indices = torch.arange(len(units), dtype=torch.float64)
    whole = torch.full((1,), float(BILLION), dtype=torch.float64)
    best = torch.full((len(units), k), torch.inf, dtype=torch.float64)

    def smallest(gaps: torch.Tensor, others: slice) -> torch.Tensor:
        keys = torch.add(indices[others], gaps, alpha=SPAN)
        return keys.topk(min(k, keys.shape[1]), largest=False, sorted=False).values

    def compare(left: slice, right: slice) -> list[tuple[slice, torch.Tensor]]:
        # One product gives the neighbors of both sides: BILLION * (1 - cosine), and its transpose.
        gaps = torch.addmm(whole, units[left], units[right].T, alpha=-BILLION).round_()
        if left is right:
            return [(left, smallest(gaps.fill_diagonal_(torch.inf), left))]
        return [(left, smallest(gaps, right)), (right, smallest(gaps.T, left))]

    parts = [slice(start, start + tile) for start in range(0, len(units), tile)]
    pairs = itertools.combinations_with_replacement(parts, 2)
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(devices.count_cores(), "compare", initializer=devices.use_one_thread) as pool:
            for results in pool.map(compare, *zip(*pairs, strict=True)):
                for part, nearer in results:
                    best[part] = torch.cat([best[part], nearer], dim=1).topk(k, largest=False).values
    finally:
        torch.set_num_threads(threads)
    keys = best.numpy()
    return Graph((keys % SPAN).astype(np.int64), keys // SPAN / BILLION)


def _write(con: duckdb.DuckDBPyConnection, run: str, points: Points, graph: Graph) -> None:
    n, k = graph.indices.shape
    columns = {
        "image_id": np.repeat(points.ids, k),
        "neighbor_id": points.ids[graph.indices].reshape(-1),
        "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), n),
        "distance": graph.distances.reshape(-1),
    }
    with transaction(con):
        _take_view_name(con, run)
        for table in ("neighbors", "neighbor_specs"):
            execute(con, "delete_run_rows", [run], table=table)
        with registered(con, "found_neighbors", pa.table(columns)):
            execute(con, "insert_neighbors", [run, EMBEDDING])
        execute(con, "insert_neighbor_spec", [run, EMBEDDING, k, n, points.n_left_out, points.digest])
        execute(con, "recreate_neighbors_view", run=run)
        summary = find("recreate_neighbors_view").summary
        catalogue.comment(con, "view", f"{run}_neighbors", "runs", summary)


def _take_view_name(con: duckdb.DuckDBPyConnection, run: str) -> None:
    name = f"{run}_neighbors"
    ours = fetch(con, "read_neighbor_spec", [run])
    taken = fetch(con, "read_name_user", {"name": name})
    if taken and not ours:
        raise SchemaError(f"the neighbors of run {run!r} go into a view {name}, but a {taken[0][0]} has that name")
