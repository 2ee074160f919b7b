"""Exact nearest neighbours of images by the cosine distance of their activations: found once, kept in the file."""

from __future__ import annotations

import hashlib
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import duckdb
import numpy as np
import pyarrow as pa

from . import runs
from .database import execute, fetch, transaction
from .errors import SchemaError
from .ingest import registered
from .templates import header, render

SPACE = "activation"
# A neighbour is one double while it is sought: its distance in whole billionths, times SPAN, plus its place. So the
# smallest are the nearest, ties go to the lower place, and rounding makes equal directions tie whatever the arithmetic.
BILLION = 10**9
SPAN = 2**22  # 2 * BILLION * SPAN < 2**53
TILE = 1024  # points compared with as many at once: 8 MB


@dataclass(frozen=True)
class FoundNeighbours:
    """What `find_neighbours` did: `n_images` have `k` neighbours each.

    `n_left_out` images have none: they have no activation, or one that is zero and so has no direction. `computed` is
    False when the neighbours in the file were already those of these activations.
    """

    run: str
    k: int
    n_images: int
    n_left_out: int
    computed: bool
    seconds: float


@dataclass(frozen=True)
class Points:
    """Activations of a run: `ids` (n,), ascending, and `vectors` (n, m); `n_left_out` images are not among them."""

    ids: np.ndarray
    vectors: np.ndarray
    n_left_out: int = 0

    def directed(self) -> Points:
        """Those that have a direction: finite and not zero."""
        kept = np.isfinite(self.vectors).all(axis=1) & self.vectors.any(axis=1)
        return Points(self.ids[kept], self.vectors[kept], self.n_left_out + int((~kept).sum()))

    @cached_property
    def digest(self) -> str:
        """Changes with every image and every bit of an activation."""
        found = hashlib.sha256(np.ascontiguousarray(self.ids).data)
        found.update(np.ascontiguousarray(self.vectors).data)
        return found.hexdigest()


@dataclass(frozen=True)
class Graph:
    """The k nearest neighbours of n points: places of neighbours and cosine distances, both (n, k), nearest first."""

    places: np.ndarray
    distances: np.ndarray


def find_neighbours(con: duckdb.DuckDBPyConnection, run: str, k: int = 15) -> FoundNeighbours:
    """Find the nearest images of every image of a run, exactly, by the cosine distance of their activations.

    They are the rows of `knn_graph(run, k)`, to the last digit, some hundred times faster. Nothing is computed when the
    file already holds as many of the same activations; those of other activations, or of fewer images, are replaced.

        find_neighbours(con, "resnet18")
        metric(con, "near_duplicates", "resnet18_neighbours", max_distance=0.02)

    Args:
        con: from `connect`, writable.
        run: a run with activations (`load_model(…, layer=…)`).
        k: how many neighbours of each image; as many as there are when fewer.

    Returns:
        Counts and seconds. Writes `neighbours` and the view `<run>_neighbours`: image_id, neighbor_id, rank from 1,
        distance from 0 to 2 in 9 decimals, ties in order of image_id.

    Raises:
        NotFoundError: no such run.
        SchemaError: the run has no activations, k is less than 1, or the name of the view is taken.
    """
    start = time.perf_counter()
    if k < 1:
        raise SchemaError(f"k is 1 or more, not {k}")
    points = read_points(con, run).directed()
    graph, computed = keep_graph(con, run, points, k)
    n, found = graph.places.shape
    return FoundNeighbours(run, found, n, points.n_left_out, computed, time.perf_counter() - start)


def read_points(con: duckdb.DuckDBPyConnection, run: str) -> Points:
    """The activations of a run.

    Raises:
        NotFoundError: no such run.
        SchemaError: it has none.
    """
    found = runs.require(con, run)
    columns = {row[0] for row in fetch(con, "statements/list_columns", ["main", run])}
    if "activation" not in columns:
        hint = "predict again with a layer (load_model(…, layer='layer4'), --layer layer4) under another run name"
        raise SchemaError(f"run {run!r} of model {found.model} has no activations; {hint}")
    table = con.sql(render("statements/read_activations", run=run)).to_arrow_table()
    given = table.filter(table["activation"].is_valid())
    if not given.num_rows:
        raise SchemaError(f"run {run!r} has no image with an activation yet; see `from errors where run = '{run}'`")
    vectors = given["activation"].combine_chunks().flatten().to_numpy().reshape(given.num_rows, -1)
    return Points(given["image_id"].to_numpy(), vectors, table.num_rows - given.num_rows)


def keep_graph(con: duckdb.DuckDBPyConnection, run: str, points: Points, k: int) -> tuple[Graph, bool]:
    """The k nearest neighbours of the points of a run: those in the file when they are of these very points, else new.

    Returns:
        The graph, and whether it had to be computed.
    """
    k = max(0, min(k, len(points.ids) - 1))
    graph = stored_graph(con, run, points, k)
    if graph is not None:
        return graph, False
    graph = nearest(points.vectors, k)
    _write(con, run, points, graph)
    return graph, True


def stored_graph(con: duckdb.DuckDBPyConnection, run: str, points: Points, k: int) -> Graph | None:
    """The k nearest neighbours in the file, or None unless they are of these very points."""
    spec = fetch(con, "statements/read_neighbour_spec", [run])
    if not spec or spec[0][0] < k or spec[0][1] != points.digest:
        return None
    table = con.sql(render("statements/read_neighbours"), params=[run, k]).to_arrow_table()
    if table.num_rows != len(points.ids) * k:
        return None
    shape = len(points.ids), k
    places = np.searchsorted(points.ids, table["neighbor_id"].to_numpy())
    return Graph(places.reshape(shape), table["distance"].to_numpy().reshape(shape))


def nearest(vectors: np.ndarray, k: int, tile: int = TILE) -> Graph:
    """The exact k nearest neighbours of each vector by cosine distance, ties to the lower place.

    Every pair is compared once, in double precision, tile by tile: memory is that of the vectors and of a few tiles.

    Args:
        vectors: (n, m) floats, none of them zero, n at most 4,194,304.
        k: how many, itself not counted; at most n - 1.
        tile: how many vectors are compared with as many others at once.
    """
    import torch

    from . import devices

    if len(vectors) > SPAN:
        raise SchemaError(f"{len(vectors)} images are too many to compare them all; {SPAN} is the most")
    units = torch.tensor(vectors, dtype=torch.float64)
    units /= units.norm(dim=1, keepdim=True)
    places = torch.arange(len(units), dtype=torch.float64)
    whole = torch.full((1,), float(BILLION), dtype=torch.float64)
    best = torch.full((len(units), k), torch.inf, dtype=torch.float64)

    def smallest(gaps: torch.Tensor, others: slice) -> torch.Tensor:
        keys = torch.add(places[others], gaps, alpha=SPAN)
        return keys.topk(min(k, keys.shape[1]), largest=False, sorted=False).values

    def compare(one: slice, other: slice) -> list[tuple[slice, torch.Tensor]]:
        gaps = torch.addmm(whole, units[one], units[other].T, alpha=-BILLION).round_()
        if one is other:
            return [(one, smallest(gaps.fill_diagonal_(torch.inf), one))]
        return [(one, smallest(gaps, other)), (other, smallest(gaps.T, one))]

    parts = [slice(start, start + tile) for start in range(0, len(units), tile)]
    pairs = itertools.combinations_with_replacement(parts, 2)
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(devices.count_cores(), "compare", initializer=devices.use_one_thread) as pool:
            for found in pool.map(compare, *zip(*pairs, strict=True)):
                for part, nearer in found:
                    best[part] = torch.cat([best[part], nearer], dim=1).topk(k, largest=False).values
    finally:
        torch.set_num_threads(threads)
    keys = best.numpy()
    return Graph((keys % SPAN).astype(np.int64), keys // SPAN / BILLION)


def _write(con: duckdb.DuckDBPyConnection, run: str, points: Points, graph: Graph) -> None:
    n, k = graph.places.shape
    columns = {
        "image_id": np.repeat(points.ids, k),
        "neighbor_id": points.ids[graph.places].reshape(-1),
        "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), n),
        "distance": graph.distances.reshape(-1),
    }
    with transaction(con):
        _take_view_name(con, run)
        for table in ("neighbours", "neighbour_specs"):
            execute(con, "statements/delete_run_rows", [run], table=table)
        with registered(con, "found_neighbours", pa.table(columns)):
            execute(con, "statements/insert_neighbours", [run, SPACE])
        execute(con, "statements/insert_neighbour_spec", [run, SPACE, k, n, points.n_left_out, points.digest])
        execute(con, "statements/recreate_neighbours_view", run=run)
        summary = header("statements/recreate_neighbours_view").summary
        execute(con, "statements/comment", kind="view", name=f"{run}_neighbours", text=summary)


def _take_view_name(con: duckdb.DuckDBPyConnection, run: str) -> None:
    name = f"{run}_neighbours"
    ours = fetch(con, "statements/read_neighbour_spec", [run])
    taken = fetch(con, "statements/read_name_user", {"name": name})
    if taken and not ours:
        raise SchemaError(f"the neighbours of run {run!r} go into a view {name}, but a {taken[0][0]} has that name")
