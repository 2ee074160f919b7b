"""Data sets as the tests of data and runs look at them."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sqlanalysis import AddedImages


def counts(done: AddedImages) -> tuple[int, int, int, int]:
    """Entries of a source: added, changed, unchanged, errors."""
    return done.n_added, done.n_changed, done.n_unchanged, done.n_errors


def names_of(con: duckdb.DuckDBPyConnection, dataset: str) -> list[str]:
    """Names of the classes of a data set, by number."""
    rows = con.execute("select name from classes where label_space = ? order by class", [dataset]).fetchall()
    return [row[0] for row in rows]


def label_names(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str | None]]:
    """(folder of the file, name of its label) of all images."""
    return con.sql(
        "select parse_path(uri)[-2], classes.name from images join datasets using (dataset) "
        "left join classes on classes.label_space = datasets.label_space and label = class order by uri"
    ).fetchall()


def hugging_face(folder: Path, photos: Path, names: list[str]) -> Path:
    """A Parquet file as Hugging Face writes it: one photo a name, labels with names."""
    images = [{"bytes": (photos / name / "2.jpg").read_bytes(), "path": None} for name in names]
    features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    table = pa.table({"image": images, "label": range(len(names)), "is": names})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), folder / "hf.parquet")
    return folder / "hf.parquet"
