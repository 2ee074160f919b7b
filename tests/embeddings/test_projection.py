"""project: UMAP over exact neighbors, and PCA, against umap-learn and scikit-learn."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from sqlanalysis import add_predictions, find_neighbors, project
from sqlanalysis.embeddings import neighbors, projection
from sqlanalysis.errors import ArgumentError, NotFoundError, SchemaError

from ..support.runs import add_activations

DIGITS = load_digits().data[:300].astype(np.float32)


@pytest.fixture
def digits(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A run `pixels` over 300 digits whose activations are the 64 pixels themselves."""
    add_activations(con, DIGITS)
    return con


def test_umap(digits: duckdb.DuckDBPyConnection) -> None:
    done = project(digits, "pixels", n_neighbors=10)
    rows = digits.sql("select x, y from pixels order by image_id").fetchnumpy()
    points = np.stack([rows["x"], rows["y"]], 1)
    assert (done.n_images, points.shape) == (300, (300, 2))
    assert np.isfinite(points).all()
    import umap

    reference = umap.UMAP(n_neighbors=10, metric="cosine", random_state=0, n_jobs=1).fit_transform(DIGITS)
    ours, theirs = (trustworthiness(DIGITS, p, n_neighbors=15, metric="cosine") for p in (points, reference))
    assert ours > theirs - 0.02
    assert done.trustworthiness == pytest.approx(ours, abs=1e-4)
    kept = digits.sql("select image_id, neighbor_id, rank::int, distance from pixels_neighbors order by all").fetchall()
    assert kept == digits.sql("select * exclude (run) from knn_graph('pixels', k := 10) order by all").fetchall()
    spec = digits.sql("select params ->> 'metric', params ->> 'neighbors' from projection_specs").fetchall()
    assert spec == [("cosine", "exact")]


def test_neighbors_are_paid_once(digits: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    searches = []
    search = neighbors.nearest
    monkeypatch.setattr(neighbors, "nearest", lambda *given: searches.append(given[1]) or search(*given))
    find_neighbors(digits, "pixels", 12)
    project(digits, "pixels", n_neighbors=10)
    project(digits, "pixels", seed=1, n_neighbors=12)
    project(digits, "pixels", "pca")
    assert searches == [12]
    project(digits, "pixels", n_neighbors=13)
    assert searches == [12, 13]


def test_the_way_to_the_neighbors_does_not_change_the_map(digits: duckdb.DuckDBPyConnection) -> None:
    maps = []
    for k in (30, 10):
        find_neighbors(digits, "pixels", k)
        project(digits, "pixels", n_neighbors=10)
        maps.append(digits.sql("select x, y from pixels order by image_id").fetchall())
        digits.execute("update neighbor_specs set digest = ''").fetchall()
    assert maps[0] == maps[1]


def test_many_images_take_approximate_neighbors(
    digits: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "EXACT_LIMIT", 100)
    project(digits, "pixels")
    assert digits.sql("select params ->> 'neighbors' from projection_specs").fetchall() == [("approximate",)]
    assert digits.sql("from neighbors").fetchall() == []
    find_neighbors(digits, "pixels")
    project(digits, "pixels")
    assert digits.sql("select params ->> 'neighbors' from projection_specs").fetchall() == [("exact",)]


def test_zero_activations_have_no_place_by_umap(con: duckdb.DuckDBPyConnection) -> None:
    vectors = DIGITS[:40].copy()
    vectors[[3, 7]] = 0
    add_activations(con, vectors)
    done = project(con, "pixels")
    assert (done.n_images, done.n_left_out) == (38, 2)
    assert con.sql("select image_id from pixels where x is null order by 1").fetchall() == [(4,), (8,)]
    done = project(con, "pixels", "pca")
    assert (done.n_images, done.n_left_out) == (40, 0)


def test_opposite_directions_have_places(con: duckdb.DuckDBPyConnection) -> None:
    add_activations(con, np.array([[1, 0], [-1, 0.1], [0, -1], [-1, -1]], np.float32))
    assert project(con, "pixels", n_neighbors=2).n_images == 4
    assert con.sql("select count(*) from pixels where isfinite(x) and isfinite(y)").fetchall() == [(4,)]


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
    with pytest.raises(ArgumentError, match="no method 'tsne'; there are: pca, umap"):
        project(digits, "pixels", "tsne")
    with pytest.raises(NotFoundError, match="no run 'pixel'; did you mean pixels"):
        project(digits, "pixel")
    for options in ({"n_neighbors": 1}, {"min_dist": 5.0}):
        with pytest.raises(ArgumentError, match="n_neighbors must be 2 or more, min_dist from 0 to 1"):
            project(digits, "pixels", **options)  # type: ignore[arg-type]
    add_predictions(digits, pd.DataFrame({"image_id": [1], "pred": 0}), "bare")
    with pytest.raises(
        SchemaError, match=r"run 'bare' of model imported has no activations; predict again with a layer"
    ):
        project(digits, "bare")
    digits.execute("update outputs.pixels set activation = [0 for _ in range(64)] where image_id > 2").fetchall()
    with pytest.raises(
        SchemaError, match=r"has 2 activations \(and 298 images without, or with a zero one\), a projection needs"
    ):
        project(digits, "pixels")
    digits.execute("delete from outputs.pixels where image_id > 2")
    with pytest.raises(SchemaError, match="has 2 activations, a projection needs at least 3"):
        project(digits, "pixels")
    digits.execute("delete from projections")


@pytest.mark.parametrize("n", [3, 5])
def test_few_images(digits: duckdb.DuckDBPyConnection, n: int) -> None:
    digits.execute("delete from outputs.pixels where image_id > ?", [n])
    for method in ("pca", "umap"):
        assert project(digits, "pixels", method).n_images == n
