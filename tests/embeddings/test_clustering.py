"""cluster: k-means against scikit-learn, where it is stored, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.datasets import load_digits
from sklearn.metrics import silhouette_score

import sqlanalysis
from sqlanalysis import add_images, add_predictions, cluster, predict
from sqlanalysis.cli import app
from sqlanalysis.db.catalogue import recreate_run_views
from sqlanalysis.db.statements import transaction
from sqlanalysis.embeddings import clustering
from sqlanalysis.errors import ArgumentError, NotFoundError, SchemaError
from sqlanalysis.models.model import Model
from sqlanalysis.runs.run import drop

DIGITS = load_digits().data[:300].astype(np.float32)


def fill(con: duckdb.DuckDBPyConnection, vectors: np.ndarray | list[np.ndarray | None], run: str = "pixels") -> None:
    """A run over as many images, of these activations."""
    n, width = len(vectors), len(next(each for each in vectors if each is not None))
    if not con.sql("from images").fetchall():
        add_images(
            con, [(np.full((1, 1), each % 256, np.uint8), 0) for each in range(n)], dataset="d", classes=["digit"]
        )
    add_predictions(con, pd.DataFrame({"image_id": range(1, n + 1), "pred": 0}), run)
    con.register("given", pa.table({"image_id": range(1, n + 1), "activation": list(vectors)}))
    con.execute(f"alter table outputs.{run} add column activation float[{width}]").fetchall()
    con.execute(
        f"update outputs.{run} set activation = given.activation from given where given.image_id = {run}.image_id"
    ).fetchall()
    recreate_run_views(con, [run])


@pytest.fixture
def digits(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    fill(con, DIGITS)
    return con


@pytest.mark.parametrize("method", [KMeans, MiniBatchKMeans])
def test_clusters_of_scikit_learn(
    digits: duckdb.DuckDBPyConnection, method: type[KMeans], monkeypatch: pytest.MonkeyPatch
) -> None:
    if method is MiniBatchKMeans:
        monkeypatch.setattr(clustering, "EXACT_LIMIT", 100)
    done = cluster(digits, "pixels", 7, seed=3)
    reference = method(n_clusters=7, random_state=3).fit(DIGITS)
    rows = digits.sql("select cluster, distance from clusters order by image_id").fetchnumpy()
    assert np.array_equal(rows["cluster"], reference.labels_)
    assert np.allclose(rows["distance"], reference.transform(DIGITS).min(axis=1), rtol=1e-4)
    assert np.array_equal(
        digits.sql("select cluster from pixels order by image_id").fetchnumpy()["cluster"], rows["cluster"]
    )
    ((name, params, seed),) = digits.sql("select method, params, seed from cluster_specs").fetchall()
    params = json.loads(params)
    assert (name, seed, params["k"]) == (method.__name__, 3, 7)
    assert params["inertia"] == pytest.approx(float((rows["distance"].astype(float) ** 2).sum()), rel=1e-5)
    assert done.silhouette == params["silhouette"] == pytest.approx(silhouette_score(DIGITS, rows["cluster"]), abs=1e-4)
    assert (done.k, done.n_images, done.n_left_out) == (7, 300, 0)


def test_default_k_seed_and_the_newest(digits: duckdb.DuckDBPyConnection) -> None:
    assert cluster(digits, "pixels").k == 6
    first = digits.sql("select cluster from pixels order by image_id").fetchall()
    cluster(digits, "pixels", 3, name="few")
    assert digits.sql("select max(cluster) from pixels").fetchall() == [(2,)]
    assert digits.sql("select clustering, count(*) from clusters group by all order by all").fetchall() == [
        ("few", 300),
        ("kmeans", 300),
    ]
    cluster(digits, "pixels")
    assert digits.sql("select cluster from pixels order by image_id").fetchall() == first
    assert digits.sql("select count(*) from cluster_specs").fetchall() == [(2,)]


def test_a_slice_for_every_metric(digits: duckdb.DuckDBPyConnection) -> None:
    assert digits.sql("select distinct cluster from pixels").fetchall() == [(None,)]
    cluster(digits, "pixels", 4)
    actual = digits.sql(
        "select value, n from slices('pixels', ['cluster', 'split'], min_n := 1) order by all"
    ).fetchall()
    counts = digits.sql("select cluster::varchar, count(*) from clusters group by all order by all").fetchall()
    assert actual == [*counts, (None, 300)]


def test_images_left_out_and_few(con: duckdb.DuckDBPyConnection) -> None:
    vectors: list[np.ndarray | None] = list(DIGITS[:8])
    vectors[2], vectors[5] = np.full(64, np.nan, np.float32), None
    fill(con, vectors)
    done = cluster(con, "pixels")
    assert (done.k, done.n_images) == (2, 6)
    assert con.sql("select image_id from pixels where cluster is null order by 1").fetchall() == [(3,), (6,)]
    with pytest.raises(ArgumentError, match="from 1 to 6, the number of finite activations of 'pixels', not 7"):
        cluster(con, "pixels", 7)
    assert cluster(con, "pixels", 6).silhouette is None
    assert cluster(con, "pixels", 1).silhouette is None
    con.execute("delete from outputs.pixels where image_id > 1").fetchall()
    assert cluster(con, "pixels").k == 1
    con.execute("delete from outputs.pixels").fetchall()
    with pytest.raises(SchemaError, match="run 'pixels' has no image with an activation yet"):
        cluster(con, "pixels")


def test_fewer_distinct_activations_than_clusters(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, np.repeat(DIGITS[:2], 10, axis=0))
    cluster(con, "pixels", 5)
    ((n_clusters, furthest),) = con.sql("select count(distinct cluster), max(distance) from clusters").fetchall()
    assert n_clusters == 2
    assert furthest < 1e-3


def test_wrong_use(digits: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(NotFoundError, match="no run 'pixel'; did you mean pixels"):
        cluster(digits, "pixel")
    for k in (0, -1, 301):
        with pytest.raises(ArgumentError, match=f"k must be from 1 to 300, the number of finite .*, not {k}"):
            cluster(digits, "pixels", k)
    add_predictions(digits, pd.DataFrame({"image_id": [1], "pred": 0}), "bare")
    with pytest.raises(SchemaError, match=r"run 'bare' of model imported has no activations; predict again"):
        cluster(digits, "bare")
    assert digits.sql("from clusters").fetchall() == []


def test_a_dropped_run_takes_its_clusters(digits: duckdb.DuckDBPyConnection) -> None:
    cluster(digits, "pixels")
    fill(digits, DIGITS[:50], "other")
    cluster(digits, "other")
    with transaction(digits):
        drop(digits, "pixels")
    for table in ("clusters", "cluster_specs"):
        assert digits.sql(f"select distinct run from {table}").fetchall() == [("other",)]
    assert digits.sql("from check_database").fetchall() == []
    digits.execute("delete from runs where run = 'other'").fetchall()
    problems = digits.sql("select problem, n from check_database where object = 'kmeans'").fetchall()
    assert problems == [("clustering without its run", 50)]


def test_a_run_goes_on_after_clustering(con: duckdb.DuckDBPyConnection, photos: Path, tiny_model: Model) -> None:
    add_images(con, photos, dataset="pets")
    predict(con, tiny_model, where="image_id <= 12")
    cluster(con, "tiny", 2)
    predict(con, tiny_model)
    rows = con.sql("select count(*), count(cluster), count(activation) from tiny").fetchall()
    assert rows == [(18, 12, 18)]
    cluster(con, "tiny", 2)
    assert con.sql("select count(cluster) from tiny").fetchall() == [(18,)]
    predict(con, tiny_model, overwrite=True)
    assert con.sql("select count(*), count(cluster) from tiny").fetchall() == [(18, 0)]


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.duckdb"
    con = sqlanalysis.connect(path)
    fill(con, DIGITS)
    con.close()
    app(["cluster", str(path), "pixels", "--k", "4", "--seed", "1"], standalone_mode=False)
    shown = capsys.readouterr().err
    assert shown.startswith("pixels: 4 clusters of 300 images, silhouette 0.")
