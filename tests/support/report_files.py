"""Small evaluation databases for the tests of the report: real digits, or classes with any names."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from sqlanalysis.core import decode
from sqlanalysis.db.catalogue import recreate_run_views
from sqlanalysis.db.statements import execute

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}",
    "</script><b>",
    "}</style><script>alert(2)</script>",
    '" style="color:red" onmouseover="alert(3)',
    "javascript:alert(4)",
    "o'brien; drop table images; --",
    "line\nbreak \u202e turned \x01 & &lt;",
    "long " * 60,
)


@functools.cache
def digits() -> tuple[Any, Any, dict[str, Any], Any]:
    """Pixels, labels, out-of-fold probabilities of two classifiers, and two principal components."""
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.naive_bayes import GaussianNB

    pixels, labels = load_digits(return_X_y=True)
    scaled = pixels / 16
    models = {"digits_logreg": LogisticRegression(max_iter=500), "digits_bayes": GaussianNB(var_smoothing=1e-2)}
    probs = {
        run: cross_val_predict(model, scaled, labels, cv=3, method="predict_proba").astype("float32")
        for run, model in models.items()
    }
    gray = (pixels * 255 / 16).astype("uint8").reshape(-1, 8, 8)
    return gray, labels, probs, PCA(2, random_state=0).fit_transform(scaled).astype("float32")


def fill(con: duckdb.DuckDBPyConnection, table: str, columns: dict[str, Any]) -> None:
    con.register("_rows", pa.table(columns))
    con.execute(f"insert into {table} ({', '.join(columns)}) select * from _rows")
    con.unregister("_rows")


def add_images(
    con: duckdb.DuckDBPyConnection,
    dataset: str,
    names: Sequence[str],
    encoded: Sequence[bytes],
    labels: Sequence[int | None],
    uris: Sequence[str] | None = None,
) -> None:
    n, space = len(encoded), f"{dataset}_classes"
    con.execute("insert into label_spaces values (?, ?)", [space, len(names)])
    fill(con, "classes", {"label_space": [space] * len(names), "class": range(len(names)), "name": list(names)})
    con.execute("insert into datasets (dataset, label_space) values (?, ?)", [dataset, space])
    columns = {
        "image_id": range(n),
        "dataset": [dataset] * n,
        "uri": list(uris or [f"/home/somebody/pictures/{dataset}/val/{i:04d}.png" for i in range(n)]),
        "sha256": [hashlib.sha256(data).hexdigest() for data in encoded],
        "n_bytes": [len(data) for data in encoded],
        "format": ["PNG"] * n,
        "width_px": [8] * n,
        "height_px": [8] * n,
        "split": ["val"] * n,
        "label": pa.array(labels, pa.int32()),
    }
    fill(con, "images", columns)
    fill(con, "image_bytes", {"image_id": range(n), "bytes": list(encoded)})


def add_run(con: duckdb.DuckDBPyConnection, run: str, dataset: str, probs: Any, **columns: Any) -> None:
    n, width = probs.shape
    facts = {
        "run": run,
        "dataset": dataset,
        "model": "LogisticRegression",
        "weights": "/home/somebody/weights/logreg.safetensors",
        "weights_sha256": hashlib.sha256(run.encode()).hexdigest(),
        "label_space": f"{dataset}_classes",
        "class_policy": "identity",
        "layer": "pixels",
        "dtype": "fp32",
        "device": "cpu",
        "packages": '{"scikit-learn": "1.9.1", "numpy": "2.4.6"}',
        "selection": "split = 'val'",
        "status": "finished",
        "n_images": n,
        "n_errors": 0,
        "finished_at": "2026-11-22 20:15:00",
        **columns,
    }
    marks = ", ".join("?" * len(facts))
    con.execute(f"insert into runs ({', '.join(facts)}) values ({marks})", list(facts.values()))
    con.execute(
        f"create table outputs.{run} "
        f"(image_id bigint, sha256 varchar, pred integer, confidence float, probs float[{width}])"
    )
    known = "select sha256 from images where dataset = ? and image_id < ? order by image_id"
    outputs = {
        "image_id": range(n),
        "sha256": [row[0] for row in con.execute(known, [dataset, n]).fetchall()],
        "pred": pa.array(probs.argmax(1).astype("int32")),
        "confidence": pa.array(probs.max(1)),
        "probs": pa.FixedSizeListArray.from_arrays(pa.array(probs.ravel()), width),
    }
    fill(con, f"outputs.{run}", outputs)
    recreate_run_views(con, [run])


def add_projection(con: duckdb.DuckDBPyConnection, run: str, points: Any) -> None:
    n = len(points)
    con.execute(
        "insert into projection_specs (run, projection, method, params, seed) values (?, 'pca', 'pca', ?, 0)",
        [run, '{"components": 2}'],
    )
    fill(
        con,
        "projections",
        {
            "run": [run] * n,
            "projection": ["pca"] * n,
            "image_id": range(n),
            "x": pa.array(points[:, 0]),
            "y": pa.array(points[:, 1]),
        },
    )


def add_neighbors(con: duckdb.DuckDBPyConnection, run: str, rows: Sequence[tuple[int, int, int, float]]) -> None:
    """Neighbors (image_id, neighbor_id, rank, distance) of the images of a run, as `find_neighbors` leaves them."""
    sql = "insert into neighbors values (?, 'activation', ?, ?, ?, ?)"
    con.executemany(sql, [[run, *row] for row in rows])
    execute(con, "insert_neighbor_spec", [run, "activation", 1, len(rows), 0, "digest"])
    execute(con, "recreate_neighbors_view", run=run)


def add_digits(con: duckdb.DuckDBPyConnection, n: int = 1797, runs: int = 2, labeled: bool = True) -> None:
    """Data set `digits` with runs `digits_bayes`, then `digits_logreg`, the newer one."""
    pixels, labels, probs, points = digits()
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    known = [int(label) if labeled else None for label in labels[:n]]
    add_images(con, "digits", names, [decode.encode(image) for image in pixels[:n]], known)
    if runs > 1:
        add_run(
            con,
            "digits_bayes",
            "digits",
            probs["digits_bayes"][:n],
            model="GaussianNB",
            finished_at="2026-11-21 09:30:00",
        )
    add_run(con, "digits_logreg", "digits", probs["digits_logreg"][:n])
    add_projection(con, "digits_logreg", points[:n])


def add_named(con: duckdb.DuckDBPyConnection, names: Sequence[str], per_class: int = 6, **options: Any) -> None:
    """Data set `named` with these classes and a run `noisy` that is right about two times in three."""
    random = np.random.default_rng(0)
    n = len(names) * per_class
    labels = np.arange(n) % len(names)
    probs = random.dirichlet(np.ones(len(names)), n)
    probs[np.arange(n), np.where(random.random(n) < 0.66, labels, (labels + 1) % len(names))] += 1
    probs = (probs / probs.sum(1, keepdims=True)).astype("float32")
    pixels = random.integers(0, 255, (n, 8, 8, 3), dtype="uint8")
    add_images(con, "named", names, [decode.encode(image) for image in pixels], labels.tolist(), options.get("uris"))
    add_run(con, "noisy", "named", probs)
    add_projection(con, "noisy", random.normal(size=(n, 2)).astype("float32"))
