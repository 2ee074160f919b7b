"""Neighbors, near duplicates, outliers, purity and leaks against scikit-learn, scipy and cleanlab."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from ..support.oracle import Mutant, is_noticed, quietly, rows, same


def make_points(shared: duckdb.DuckDBPyConnection) -> np.ndarray:
    """300 activations, some the same, in table `points`, with the exact graph in `graph`."""
    rng = np.random.default_rng(0)
    actual = rng.normal(size=(300, 16)).astype(np.float32)
    actual[1], actual[2], actual[7] = actual[0] * 2, actual[0] * 3, actual[6]
    labels = rng.integers(0, 4, 300)
    table = {"image_id": np.arange(300), "label": labels, "x": actual[:, 0], "y": actual[:, 1]}
    activation = pa.FixedSizeListArray.from_arrays(actual.ravel(), 16)
    shared.register("_points", pa.table({**table, "activation": activation}))
    shared.execute("create or replace table points as from _points").fetchall()
    extra = "union all by name select 900 as image_id, null as activation union all by name select 901 as image_id, [0::float for _ in range(16)]::float[16] as activation"
    shared.execute(f"create or replace view more_points as from points {extra}").fetchall()
    shared.execute("create or replace table graph as from knn_graph('more_points', k := 6)").fetchall()
    return actual


@pytest.fixture(scope="module")
def points(shared: duckdb.DuckDBPyConnection) -> np.ndarray:
    return make_points(shared)


def test_knn_graph(shared: duckdb.DuckDBPyConnection, points: np.ndarray) -> None:
    actual = rows(shared, "from knn_graph('more_points', k := 6)")
    exact = cdist(points.astype(float), points.astype(float), "cosine")
    model = NearestNeighbors(n_neighbors=6, algorithm="brute", metric="cosine").fit(points.astype(float))
    assert [(row["image_id"], row["rank"]) for row in actual] == [(i, r) for i in range(300) for r in range(1, 7)]
    assert np.allclose([row["distance"] for row in actual], model.kneighbors()[0].ravel(), atol=5e-7)
    for row in actual:
        assert row["neighbor_id"] != row["image_id"]
        assert exact[row["image_id"], row["neighbor_id"]] == pytest.approx(row["distance"], abs=5e-7)
    similar = rows(shared, "from similar_to('more_points', 5, k := 299)")
    exact = exact[5]
    assert {row["image_id"] for row in similar} == set(range(300)) - {5}
    assert np.allclose([row["distance"] for row in similar], np.sort(np.delete(exact, 5)), atol=5e-7)
    assert all(exact[row["image_id"]] == pytest.approx(row["distance"], abs=5e-7) for row in similar)
    with pytest.raises(duckdb.InvalidInputException, match="more_points has no image_id 12345"):
        rows(shared, "from similar_to('more_points', 12345)")


@pytest.mark.parametrize("limit", [0.05, 0.25, 0.4])
def test_duplicates(shared: duckdb.DuckDBPyConnection, points: np.ndarray, limit: float) -> None:
    edges = [row for row in rows(shared, "from graph") if row["distance"] <= limit]
    pairs = {(min(row["image_id"], row["neighbor_id"]), max(row["image_id"], row["neighbor_id"])) for row in edges}
    actual = rows(shared, f"from near_duplicates('graph', max_distance := {limit})")
    assert {(row["image_a"], row["image_b"]) for row in actual} == pairs
    assert len(actual) == len(pairs)
    first, second = np.array(sorted(pairs)).T
    graph = sparse.coo_array((np.ones(len(pairs)), (first, second)), shape=(300, 300))
    component = sparse.csgraph.connected_components(graph, directed=False)[1]
    groups = rows(shared, f"from duplicate_groups('graph', max_distance := {limit})")
    assert {row["image_id"] for row in groups} == {each for pair in pairs for each in pair}
    for row in groups:
        members = np.flatnonzero(component == component[row["image_id"]])
        assert (row["group_id"], row["group_size"]) == (members.min(), len(members))


def test_a_long_chain_is_one_group(shared: duckdb.DuckDBPyConnection) -> None:
    chain = "select i as image_id, i + 1 as neighbor_id, 0.01 as distance from range(400) t(i)"
    shared.execute(f"create or replace table chain as {chain}").fetchall()
    actual = rows(shared, "from duplicate_groups('chain', max_distance := 0.05)")
    assert {(row["group_id"], row["group_size"]) for row in actual} == {(0, 401)}


def test_outliers_and_purity(shared: duckdb.DuckDBPyConnection, points: np.ndarray) -> None:
    graph = rows(shared, "from graph")
    distance = np.array([row["distance"] for row in graph]).reshape(300, 6)[:, :5]
    nearest = np.array([row["neighbor_id"] for row in graph]).reshape(300, 6)[:, :5]
    outliers = rows(shared, "from knn_outliers('graph', k := 5)")
    means = distance.mean(axis=1)
    for row in outliers:
        same(row["mean_distance"], means[row["image_id"]])
        same(row["kth_distance"], distance[row["image_id"], 4])
        same(row["percentile"], float((means <= means[row["image_id"]] + 1e-15).mean()))
    assert [row["mean_distance"] for row in outliers] == sorted(
        (row["mean_distance"] for row in outliers), reverse=True
    )
    labels = np.array([row["label"] for row in rows(shared, "from points order by image_id")])
    agreement = rows(shared, "from neighbor_agreement('points', 'graph', k := 5)")
    purity = (labels[nearest] == labels[:, None]).mean(axis=1)
    votes = np.array([np.bincount(row, minlength=4).argmax() for row in labels[nearest]])
    assert len(agreement) == 300
    for row in agreement:
        image = row["image_id"]
        assert (row["label"], row["neighbors"], row["neighbor_label"]) == (labels[image], 5, votes[image])
        same(row["purity"], purity[image])
    for row in rows(shared, "from class_purity('points', 'graph', k := 5)"):
        mine = labels == row["class"]
        assert (row["n"], row["isolated"]) == (mine.sum(), (purity[mine] == 0).sum())
        same(row["purity"], purity[mine].mean())
        same(row["knn_accuracy"], float((votes[mine] == row["class"]).mean()))


@pytest.mark.parametrize("k", [5, 10])
def test_outliers_of_cleanlab(shared: duckdb.DuckDBPyConnection, points: np.ndarray, k: int) -> None:
    """cleanlab's score of an image is exp(-mean distance / median of all mean distances)."""
    outlier = pytest.importorskip("cleanlab.outlier")
    expected = quietly(outlier.OutOfDistribution({"k": k}).fit_score, features=points, verbose=False)
    shared.execute(f"create or replace table near as from knn_graph('points', k := {k})").fetchall()
    score = "exp(-mean_distance / median(mean_distance) over ())"
    actual = rows(shared, f"select image_id, {score} as score from knn_outliers('near', k := {k}) order by image_id")
    assert np.abs(np.array([row["score"] for row in actual]) - expected).max() < 2e-6
    order = [row["image_id"] for row in rows(shared, f"from knn_outliers('near', k := {k})")]
    assert np.array_equal(order[:20], np.argsort(expected, kind="stable")[:20])


def test_leaks(shared: duckdb.DuckDBPyConnection, points: np.ndarray) -> None:
    splits = "case when image_id % 3 = 0 then 'train' when image_id % 3 = 1 then 'test' end"
    shared.execute(f"create or replace view split_points as select *, {splits} as split from points").fetchall()
    actual = rows(shared, "from leaks('split_points', 'graph', max_distance := 0.4)")
    pairs = rows(shared, "from near_duplicates('graph', max_distance := 0.4)")
    expected = [row for row in pairs if {row["image_a"] % 3, row["image_b"] % 3} == {0, 1}]
    compared = ("image_a", "image_b", "distance")
    assert [[row[key] for key in compared] for row in actual] == [[row[key] for key in compared] for row in expected]
    labels = dict(shared.execute("select image_id, label from points").fetchall())
    for row in actual:
        assert (row["split_a"], row["split_b"]) == tuple(
            ["train", "test"][row[each] % 3] for each in ("image_a", "image_b")
        )
        assert (row["label_a"], row["label_b"]) == (labels[row["image_a"]], labels[row["image_b"]])
    assert actual[0]["distance"] == 0
    assert rows(shared, "from leaks('split_points', 'graph', max_distance := -1)") == []


def test_one_threshold_for_near_duplicates(shared: duckdb.DuckDBPyConnection, points: np.ndarray) -> None:
    """Without a distance: a tenth of the median distance of an image to its nearest, for leaks and groups too."""
    splits = "case when image_id % 2 = 0 then 'train' else 'test' end"
    shared.execute(f"create or replace view two_splits as select *, {splits} as split from points").fetchall()
    nearest: dict[int, float] = {}
    for row in rows(shared, "from graph"):
        nearest[row["image_id"]] = min(row["distance"], nearest.get(row["image_id"], 9.0))
    limit = float(np.median(list(nearest.values()))) / 10
    pairs = {(row["image_a"], row["image_b"]) for row in rows(shared, "from near_duplicates('graph')")}
    assert pairs == {
        (row["image_a"], row["image_b"])
        for row in rows(shared, f"from near_duplicates('graph', max_distance := {limit!r})")
    }
    assert pairs == {(0, 1), (0, 2), (1, 2), (6, 7)}
    members = {row["image_id"] for row in rows(shared, "from duplicate_groups('graph')")}
    assert members == {image for pair in pairs for image in pair}
    leaks = {(row["image_a"], row["image_b"]) for row in rows(shared, "from leaks('two_splits', 'graph')")}
    assert leaks == {(a, b) for a, b in pairs if (a + b) % 2}


def test_nothing_is_near_in_nothing(shared: duckdb.DuckDBPyConnection) -> None:
    none = "(from (select 1::bigint as image_id, 2::bigint as neighbor_id, 1 as rank, {} as distance) limit {})"
    for distance, limit in (("0.1", 0), ("'nan'::double", 1)):
        shared.execute(f"create or replace table lonely as from {none.format(distance, limit)}").fetchall()
        assert rows(shared, "from near_duplicates('lonely')") == []
        assert rows(shared, "from duplicate_groups('lonely')") == []


# What must be noticed: a macro, a text in its file, what stands there instead, and a check that must fail then.
MUTANTS = [
    Mutant("knn_graph", "_from.image_id <> _to.image_id", "true", lambda con: test_knn_graph(con, make_points(con))),
    Mutant(
        "near_duplicates",
        "median(nearest) / 10",
        "median(nearest)",
        lambda con: test_one_threshold_for_near_duplicates(con, make_points(con)),
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{mutant.name}-{number}" for number, mutant in enumerate(MUTANTS)])
def test_a_mutant_is_noticed(con: duckdb.DuckDBPyConnection, mutant: Mutant) -> None:
    assert is_noticed(con, mutant)
