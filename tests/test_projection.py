"""project: exact neighbours, UMAP and PCA, against scikit-learn and umap-learn."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from sqlanalysis import add_images, add_predictions, project
from sqlanalysis.database import recreate_run_views
from sqlanalysis.errors import NotFoundError, SchemaError
from sqlanalysis.projection import nearest

DIGITS = load_digits().data[:300].astype(np.float32)


@pytest.fixture
def digits(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A run `pixels` over 300 digits whose activations are the 64 pixels themselves."""
    pictures = [(np.uint8(row.reshape(8, 8)), 0) for row in DIGITS]
    add_images(con, pictures, dataset="digits", classes=["digit"])
    add_predictions(con, pd.DataFrame({"image_id": range(1, 301), "pred": 0}), "pixels")
    con.register("given", pa.table({"image_id": range(1, 301), "activation": list(DIGITS)}))
    con.execute("alter table outputs.pixels add column activation float[64]")
    con.execute(
        "update outputs.pixels set activation = given.activation from given where given.image_id = pixels.image_id"
    )
    recreate_run_views(con, ["pixels"])
    return con


@pytest.mark.parametrize("shape", [(400, 32), (1500, 8)], ids=["one block", "two blocks"])
def test_neighbours_equal_scikit_learn(shape: tuple[int, int]) -> None:
    points = np.random.default_rng(0).normal(100, 1, shape).astype(np.float32)
    indices, distances = nearest(points, 10)
    expected_distances, expected = NearestNeighbors(n_neighbors=11, algorithm="brute").fit(points).kneighbors(points)
    assert np.array_equal(indices, expected)
    assert np.abs(distances - expected_distances).max() < 1e-4


def test_duplicates_are_neighbours_and_a_point_is_never_its_own() -> None:
    points = np.repeat(np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32), 3, axis=0)
    indices, distances = nearest(points, 2)
    assert np.array_equal(indices[:, 0], np.arange(60))
    assert (indices[:, 1:] != np.arange(60)[:, None]).all()
    assert np.abs(distances).max() == 0


def test_large_scales_and_duplicates() -> None:
    points = np.repeat(np.random.default_rng(0).normal(size=(300, 8)) * 1e4, 2, axis=0).astype(np.float32)
    indices, distances = nearest(points, 5)
    assert np.array_equal(indices[:, 0], np.arange(600))
    assert (indices[:, 1:] != np.arange(600)[:, None]).all()
    assert (distances[:, 1] == 0).all()


def test_umap(digits: duckdb.DuckDBPyConnection) -> None:
    done = project(digits, "pixels", n_neighbors=10)
    rows = digits.sql("select x, y from pixels order by image_id").fetchnumpy()
    points = np.stack([rows["x"], rows["y"]], 1)
    assert (done.n_images, points.shape) == (300, (300, 2))
    assert np.isfinite(points).all()
    import umap

    reference = umap.UMAP(n_neighbors=10, random_state=0, n_jobs=1).fit_transform(DIGITS)
    ours, theirs = (trustworthiness(DIGITS, p, n_neighbors=15) for p in (points, reference))
    assert ours > theirs - 0.02
    assert done.trustworthiness == pytest.approx(ours, abs=1e-4)
    neighbours = digits.sql(
        "select image_id, neighbor_id, distance from neighbours order by image_id, rank"
    ).fetchnumpy()
    expected = NearestNeighbors(n_neighbors=11, algorithm="brute").fit(DIGITS).kneighbors(DIGITS)[0][:, 1:]
    assert np.allclose(neighbours["distance"].reshape(300, 10), expected, atol=1e-3)
    assert (neighbours["image_id"] != neighbours["neighbor_id"]).all()


def test_the_seed_makes_the_map_repeatable(digits: duckdb.DuckDBPyConnection) -> None:
    maps = []
    for seed in (1, 1, 2):
        project(digits, "pixels", seed=seed)
        maps.append(digits.sql("select x, y from pixels order by image_id").fetchall())
    assert maps[0] == maps[1] != maps[2]
    assert digits.sql("select count(*) from projections").fetchall() == [(300,)]
    spec = digits.sql("select method, seed, params ->> 'n_neighbors' from projection_specs").fetchall()
    assert spec == [("umap", 2, "15")]


def test_pca_equals_scikit_learn(digits: duckdb.DuckDBPyConnection) -> None:
    project(digits, "pixels", "pca")
    rows = digits.sql("select x, y from pixels order by image_id").fetchnumpy()
    expected = PCA(2).fit_transform(DIGITS)
    assert np.allclose(np.abs([rows["x"], rows["y"]]).T, np.abs(expected), atol=1e-3)


def test_the_newest_projection_is_shown(digits: duckdb.DuckDBPyConnection) -> None:
    project(digits, "pixels", "pca")
    first = digits.sql("select x from pixels").fetchall()
    project(digits, "pixels", "umap")
    assert digits.sql("select x from pixels").fetchall() != first
    assert digits.sql("select count(*) from pixels").fetchall() == [(300,)]
    project(digits, "pixels", "pca")
    assert sorted(digits.sql("select x from pixels").fetchall()) == sorted(first)


def test_wrong_use(digits: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(NotFoundError, match="no method 'tsne'; there are: pca, umap"):
        project(digits, "pixels", "tsne")
    with pytest.raises(NotFoundError, match="no run 'pixel'; did you mean pixels"):
        project(digits, "pixel")
    for options in ({"n_neighbors": 1}, {"min_dist": 5.0}):
        with pytest.raises(SchemaError, match="n_neighbors is 2 or more, min_dist from 0 to 1"):
            project(digits, "pixels", **options)  # type: ignore[arg-type]
    add_predictions(digits, pd.DataFrame({"image_id": [1], "pred": 0}), "bare")
    with pytest.raises(
        SchemaError, match=r"run 'bare' of model imported has no activations; predict again with a layer"
    ):
        project(digits, "bare")
    digits.execute("delete from outputs.pixels where image_id > 2")
    with pytest.raises(SchemaError, match="has 2 activations, a projection needs at least 3"):
        project(digits, "pixels")
    digits.execute("delete from projections")


@pytest.mark.parametrize("n", [3, 5])
def test_few_images(digits: duckdb.DuckDBPyConnection, n: int) -> None:
    digits.execute("delete from outputs.pixels where image_id > ?", [n])
    for method in ("pca", "umap"):
        assert project(digits, "pixels", method).n_images == n
