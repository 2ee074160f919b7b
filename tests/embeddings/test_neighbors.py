"""find_neighbors: exact, against scikit-learn; the same rows as knn_graph; never older than the activations."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

import sqlanalysis
from sqlanalysis import add_predictions, find_neighbors, metric
from sqlanalysis.embeddings.neighbors import nearest
from sqlanalysis.errors import ArgumentError, NotFoundError, SchemaError

from ..support.runs import add_activations

RANDOM = np.random.default_rng(0)


def stored(con: duckdb.DuckDBPyConnection, run: str = "pixels") -> list[tuple[int, int, int, float]]:
    actual = f"select image_id, neighbor_id, rank, distance from {run}_neighbors order by image_id, rank"
    rows: list[tuple[int, int, int, float]] = con.sql(actual).fetchall()
    return rows


def graph(con: duckdb.DuckDBPyConnection, k: int) -> list[tuple[int, int, int, float]]:
    rows = metric(con, "knn_graph", "pixels", k=k).fetchall()
    assert {row[-1] for row in rows} <= {"pixels"}
    return [row[:4] for row in rows]


@pytest.mark.parametrize(
    "vectors",
    [
        RANDOM.normal(size=(400, 32)),
        RANDOM.normal(100, 1, size=(300, 8)),
        np.abs(RANDOM.normal(size=(700, 16))) * 1e-10,
        load_digits().data,
        np.array([[1.0, 2], [2, 1]]),
        np.array([[1.0, 0], [-1, 0], [0, 1]]),
    ],
    ids=["random", "all nearly parallel", "tiny", "digits", "two", "three, opposite"],
)
@pytest.mark.parametrize("tile", [64, 2048])
def test_equals_scikit_learn(vectors: np.ndarray, tile: int) -> None:
    points = vectors.astype(np.float32)
    k = min(10, len(points) - 1)
    actual = nearest(points, k, tile)
    model = NearestNeighbors(n_neighbors=k, algorithm="brute", metric="cosine").fit(points.astype(np.float64))
    distances, indices = model.kneighbors()
    assert np.abs(actual.distances - distances).max() <= 6e-10  # half of the ninth decimal
    apart = np.diff(distances, axis=1, prepend=-1, append=9).clip(0) > 2e-9
    sure = apart[:, :-1] & apart[:, 1:]
    assert np.array_equal(actual.indices[sure], indices[sure])


@pytest.mark.parametrize("tile", [50, 2048])
def test_equal_directions_tie_and_go_by_image(tile: int) -> None:
    directions = RANDOM.normal(size=(60, 12))
    scales = RANDOM.uniform(0.1, 9, size=(240, 1))
    points = (np.tile(directions, (4, 1)) * scales).astype(np.float32)
    actual = nearest(points, 3, tile)
    expected = [[other for other in range(each % 60, 240, 60) if other != each] for each in range(240)]
    assert actual.indices.tolist() == expected
    assert actual.distances.max() == 0
    same = nearest(np.ones((130, 3), np.float32), 4, tile)
    assert same.indices[7].tolist() == [0, 1, 2, 3]
    assert same.indices[2].tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize("k", [1, 7, 59, 500])
def test_the_same_rows_as_the_macro(con: duckdb.DuckDBPyConnection, k: int) -> None:
    vectors = np.round(RANDOM.normal(size=(60, 3)))  # many ties, some zeros
    vectors[[5, 11]] = 0
    add_activations(con, vectors)
    done = find_neighbors(con, "pixels", k)
    n = int(vectors.any(axis=1).sum())
    assert (done.k, done.n_images, done.n_left_out, done.computed) == (min(k, n - 1), n, 60 - n, True)
    assert stored(con) == graph(con, k)
    first = metric(con, "similar_to", "pixels", query_id=1, k=k).project("image_id, distance").fetchall()
    assert first == [(row[1], row[3]) for row in stored(con) if row[0] == 1]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_images(con: duckdb.DuckDBPyConnection, n: int) -> None:
    add_activations(con, RANDOM.normal(size=(n, 4)))
    done = find_neighbors(con, "pixels")
    assert (done.k, done.n_images) == (n - 1, n)
    assert stored(con) == graph(con, 15)
    assert len(stored(con)) == n * (n - 1)
    assert not find_neighbors(con, "pixels").computed


def test_only_zero_activations(con: duckdb.DuckDBPyConnection) -> None:
    add_activations(con, np.zeros((3, 4)))
    done = find_neighbors(con, "pixels")
    assert (done.k, done.n_images, done.n_left_out) == (0, 0, 3)
    assert stored(con) == []


def test_nothing_is_computed_twice_and_nothing_stale_is_used(con: duckdb.DuckDBPyConnection) -> None:
    add_activations(con, RANDOM.normal(size=(40, 8)))

    def again(k: int) -> tuple[int, bool]:
        done = find_neighbors(con, "pixels", k)
        expected = graph(con, done.k)
        assert [row for row in stored(con) if row[2] <= done.k] == expected
        return done.k, done.computed

    assert again(5) == (5, True)
    assert again(5) == (5, False)
    assert again(3) == (3, False)  # five are kept
    assert len(stored(con)) == 200
    assert again(6) == (6, True)
    turned = "activation = list_reverse(activation::float[])::float[8]"
    con.execute(f"update outputs.pixels set {turned} where image_id = 3").fetchall()
    assert again(6) == (6, True)  # as many images, another activation
    con.execute("delete from outputs.pixels where image_id > 30").fetchall()
    assert again(6) == (6, True)  # fewer images
    con.execute("update outputs.pixels set image_id = 100 where image_id = 1").fetchall()
    actual = find_neighbors(con, "pixels", 6)
    assert actual.computed  # other images
    con.execute("delete from neighbors where rank = 2").fetchall()
    assert find_neighbors(con, "pixels", 6).computed
    assert len(stored(con)) == 180


def test_a_resumed_run_gets_new_neighbors(
    tmp_path: Path, photos: Path, tiny_model: sqlanalysis.models.model.Model
) -> None:
    with sqlanalysis.connect(tmp_path / "pets.duckdb") as con:
        sqlanalysis.add_images(con, photos, dataset="pets")
        sqlanalysis.predict(con, tiny_model, where="image_id <= 10", show_progress=False)
        assert find_neighbors(con, "tiny", 4).n_images == 10
        assert con.sql("from check_database").fetchall() == []
        sqlanalysis.predict(con, tiny_model, show_progress=False)
        problem = con.sql("select problem, object, n from check_database").fetchall()
        assert problem == [("neighbors of other images than the run has", "tiny", 8)]
        assert find_neighbors(con, "tiny", 4).n_images == 18
        assert con.sql("from check_database").fetchall() == []
        sqlanalysis.predict(con, tiny_model, overwrite=True, show_progress=False)
        assert con.sql("from neighbors").fetchall() == con.sql("from neighbor_specs").fetchall() == []
        with pytest.raises(NotFoundError, match="no relation 'tiny_neighbors'; find_neighbors creates it"):
            metric(con, "near_duplicates", "tiny_neighbors")


def test_each_run_has_its_own(con: duckdb.DuckDBPyConnection) -> None:
    first, second = RANDOM.normal(size=(2, 30, 8))
    second[1] = second[0]
    add_activations(con, first, "cnn")
    add_activations(con, second, "mlp")
    for run in ("cnn", "mlp"):
        find_neighbors(con, run, 5)
    assert metric(con, "near_duplicates", "cnn_neighbors").fetchall() == []
    assert metric(con, "near_duplicates", "mlp_neighbors").fetchall() == [(1, 2, 0.0, "mlp_neighbors")]
    groups = metric(con, "duplicate_groups", "mlp_neighbors").fetchall()
    assert groups == [(1, 1, 2, "mlp_neighbors"), (1, 2, 2, "mlp_neighbors")]
    assert len(metric(con, "knn_outliers", "cnn_neighbors").fetchall()) == 30
    assert len(metric(con, "neighbor_agreement", "cnn", neighbors="cnn_neighbors").fetchall()) == 30
    cte = "with n as (from neighbors where run = 'mlp') from near_duplicates('n')"
    assert con.sql(cte).fetchall() == [(1, 2, 0.0, "mlp")]
    both = con.sql("from near_duplicates('neighbors')").fetchall()  # which has a column run
    assert both == [(1, 2, 0.0, "mlp")]
    described = con.sql("select description from help where name = 'mlp_neighbors'").fetchall()
    assert described == [
        ("The nearest neighbors of the images of one run, for example from near_duplicates('<run>_neighbors').",)
    ]


def test_names(con: duckdb.DuckDBPyConnection) -> None:
    add_activations(con, RANDOM.normal(size=(5, 3)), "cnn")
    con.execute("create view cnn_neighbors as select 1 as mine").fetchall()
    with pytest.raises(SchemaError, match=r"run 'cnn' go into a view cnn_neighbors, but a table or view has that name"):
        find_neighbors(con, "cnn")
    assert con.sql("from cnn_neighbors").fetchall() == [(1,)]
    assert con.sql("from neighbors").fetchall() == []
    con.execute("drop view cnn_neighbors").fetchall()
    find_neighbors(con, "cnn")
    with pytest.raises(SchemaError, match="run name 'cnn_neighbors' is taken"):
        add_predictions(con, pd.DataFrame({"image_id": [1], "pred": 0}), "cnn_neighbors")


def test_wrong_use(con: duckdb.DuckDBPyConnection) -> None:
    add_activations(con, RANDOM.normal(size=(5, 3)))
    with pytest.raises(NotFoundError, match="no run 'pixel'; did you mean pixels"):
        find_neighbors(con, "pixel")
    with pytest.raises(ArgumentError, match="k must be 1 or more, not 0"):
        find_neighbors(con, "pixels", 0)
    add_predictions(con, pd.DataFrame({"image_id": [1], "pred": 0}), "bare")
    with pytest.raises(
        SchemaError, match="run 'bare' of model imported has no activations; predict again with a layer"
    ):
        find_neighbors(con, "bare")
    con.execute("update outputs.pixels set activation = null where image_id < 3").fetchall()
    assert find_neighbors(con, "pixels").n_left_out == 2
    con.execute("update outputs.pixels set activation = null").fetchall()
    with pytest.raises(SchemaError, match="run 'pixels' has no image with an activation yet"):
        find_neighbors(con, "pixels")
    with pytest.raises(
        SchemaError, match="neighbor_agreement reads a column 'rank', which is missing: give it neighbors"
    ):
        metric(con, "neighbor_agreement", "pixels", neighbors="pixels")


def test_command_line(tmp_path: Path) -> None:
    file = tmp_path / "made.duckdb"
    with sqlanalysis.connect(file) as con:
        vectors = RANDOM.normal(size=(30, 8))
        vectors[4], vectors[9] = vectors[2] * 2, 0
        add_activations(con, vectors)

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sqlanalysis", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=True)

    printed = call("find-neighbors", file, "pixels", "--k", 4).stderr
    assert "pixels: 4 neighbors of 29 images found in" in printed
    assert "1 images are left out: no activation, or a zero one" in printed
    assert "already there" in call("find-neighbors", file, "pixels", "--k", 3).stderr
    shown = call("metric", file, "near_duplicates", "pixels_neighbors", "--format", "json").stdout
    assert json.loads(shown) == [{"image_a": 3, "image_b": 5, "distance": 0.0, "run": "pixels_neighbors"}]


def test_duplicates_and_leaks(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    for part in ("train/cat", "train/dog", "test/cat"):
        (tmp_path / part).mkdir(parents=True)
    first, second, third = (photos / "cat" / f"{each}.jpg" for each in range(3))
    for target in ("train/cat/a.jpg", "train/dog/b.jpg", "test/cat/c.jpg"):
        (tmp_path / target).write_bytes(first.read_bytes())
    for target in ("train/cat/d.jpg", "train/cat/e.jpg"):
        (tmp_path / target).write_bytes(second.read_bytes())
    (tmp_path / "test/cat/f.jpg").write_bytes(third.read_bytes())
    sqlanalysis.add_images(con, tmp_path, dataset="pets")
    names = dict(con.sql("select image_id, parse_filename(uri) from images").fetchall())
    actual = con.sql("select dataset, n, image_ids, labels, splits, labels_differ, splits_differ from duplicates")
    rows = [(row[0], row[1], [names[each] for each in row[2]], *row[3:]) for row in actual.fetchall()]
    assert [(*row[:2], sorted(row[2]), *row[3:]) for row in rows] == [
        ("pets", 3, ["a.jpg", "b.jpg", "c.jpg"], [0, 1], ["test", "train"], True, True),
        ("pets", 2, ["d.jpg", "e.jpg"], [0], ["train"], False, False),
    ]
    vectors = RANDOM.normal(size=(6, 8))
    copies = {name: number for number, name in enumerate("abcdef")}
    order = [copies[names[each][0]] for each in sorted(names)]
    vectors[1] = vectors[2] = vectors[0]
    vectors[5] = vectors[3] + 0.01
    add_activations(con, vectors[order], "cnn")
    find_neighbors(con, "cnn")
    leaks = metric(con, "leaks", "cnn", neighbors="cnn_neighbors", max_distance=0.01).fetchall()
    pairs = {tuple(sorted((names[row[0]][0], names[row[1]][0]))): row[2:6] for row in leaks}
    assert set(pairs) == {("a", "c"), ("b", "c"), ("d", "f")}
    assert all(set(row[:2]) == {"train", "test"} for row in pairs.values())
    assert set(pairs["b", "c"][2:]) == {0, 1}  # and one of the two labels is wrong
