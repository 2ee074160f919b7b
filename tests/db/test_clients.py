"""Clients that take a cursor: they start in the file, see its macros and runs, and what they write is in the file."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

import sqlanalysis
from sqlanalysis.db import catalogue

from ..support import report_files, shells
from ..support.edge_cases import load, random_case


@pytest.fixture(params=[False, True], ids=["writable", "read_only"])
def con(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    file = tmp_path / "pets.duckdb"
    with sqlanalysis.connect(file) as writable:
        load(writable, random_case(50, 3, 0), "answers")
    connection = sqlanalysis.connect(file, read_only=request.param)
    yield connection
    connection.close()


@pytest.mark.filterwarnings("ignore:pandas only supports SQLAlchemy")
def test_a_cursor_starts_in_the_file(con: duckdb.DuckDBPyConnection) -> None:
    expected = con.sql("from accuracy('answers')").fetchall()
    assert con.cursor().execute("from accuracy('answers')").fetchall() == expected
    assert con.cursor().sql("select count(*) from images").fetchall() == [(0,)]
    assert con.cursor().cursor().sql("select current_database()").fetchall() == [("pets",)]
    assert pd.read_sql("from accuracy('answers')", con).iloc[0].to_list() == list(expected[0])


def test_a_cursor_in_another_thread(con: duckdb.DuckDBPyConnection) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(con.cursor().sql("from accuracy('answers')").fetchall()))
    thread.start()
    thread.join()
    assert found == con.sql("from accuracy('answers')").fetchall()


def test_polars(con: duckdb.DuckDBPyConnection) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.read_database("from accuracy('answers')", con)
    assert frame.row(0) == con.sql("from accuracy('answers')").fetchall()[0]


def test_sqlalchemy(con: duckdb.DuckDBPyConnection) -> None:
    engine, sqlalchemy = pytest.importorskip("duckdb_engine"), pytest.importorskip("sqlalchemy")
    made = sqlalchemy.create_engine(
        "duckdb://",
        creator=lambda: engine.ConnectionWrapper(con.cursor()),
        poolclass=sqlalchemy.pool.NullPool,
    )
    with made.connect() as connection:
        rows = connection.execute(sqlalchemy.text("select n, correct from accuracy('answers')")).fetchall()
    assert [tuple(row) for row in rows] == con.sql("select n, correct from accuracy('answers')").fetchall()


def test_a_cursor_sees_runs_made_after_it(tmp_path: Path) -> None:
    with sqlanalysis.connect(tmp_path / "pets.duckdb") as con:
        cursor = con.cursor()
        sqlanalysis.add_images(con, _pictures(), dataset="pets", classes=["cat", "dog"])
        sqlanalysis.add_predictions(con, pd.DataFrame({"image_id": [1, 2], "pred": [0, 0]}), "late")
        assert cursor.sql("select n, correct from accuracy('late')").fetchall() == [(2, 1)]
        assert cursor.sql("select image_id, correct from late order by image_id").fetchall() == [(1, True), (2, False)]


def test_what_a_cursor_writes_is_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "pets.duckdb"
    with sqlanalysis.connect(file) as con:
        cursor = con.cursor()
        cursor.execute("create table notes as select range as i from range(40000)")
        cursor.execute("create macro twice(x) as 2 * x")
        groups = cursor.sql("select max(row_group_id) from pragma_storage_info('notes')").fetchall()
    assert groups == [(2,)]  # 16,384 rows a group, also for what a client writes
    with duckdb.connect(str(file), read_only=True) as plain:
        assert plain.sql("select count(*), twice(4) from notes").fetchall() == [(40000, 8)]


def test_a_cursor_of_a_file_opened_for_reading_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "pets.duckdb"
    sqlanalysis.connect(file).close()
    with sqlanalysis.connect(file, read_only=True) as con:
        for statement in ("create table notes (i integer)", "insert into classes values ('a', 0, 'b', null)"):
            with pytest.raises(duckdb.Error, match="read-only"):
                con.cursor().execute(statement)


@pytest.mark.parametrize("name", ["my-run.v2", "main", "memory", "temp", "system", "select", "ünïcode 'quoted'"])
def test_any_file_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / f"{name}.duckdb"
    sqlanalysis.connect(file).close()
    for read_only in (False, True):
        with sqlanalysis.connect(file, read_only=read_only) as con:
            assert con.cursor().sql("select count(*) from images").fetchall() == [(0,)]


def test_two_files_side_by_side(tmp_path: Path) -> None:
    for name, seed in (("old", 1), ("new", 2)):
        with sqlanalysis.connect(tmp_path / f"{name}.duckdb") as con:
            load(con, random_case(50, 3, seed), "answers")
    plain = duckdb.connect()
    for name in ("old", "new"):
        plain.execute(f"attach '{tmp_path / name}.duckdb' as {name} (read_only)")
    plain.execute("set search_path = 'memory,old'")
    rows = [plain.sql(f"select accuracy from {name}.accuracy('{name}.answers')").fetchall() for name in ("old", "new")]
    for name, row in zip(("old", "new"), rows, strict=True):
        with sqlanalysis.connect(tmp_path / f"{name}.duckdb", read_only=True) as con:
            assert con.sql("select accuracy from accuracy('answers')").fetchall() == row


def _pictures() -> list[tuple[Any, int]]:
    import numpy as np

    return [(np.full((2, 2), shade, np.uint8), label) for label, shade in enumerate((10, 200))]


def test_disk_usage(tmp_path: Path, shell: str) -> None:
    """By run and table, at most the file's blocks; a big run takes what it adds to the file."""
    file = tmp_path / "e.duckdb"
    con = sqlanalysis.connect(file)
    report_files.add_digits(con, 300)
    before = file.stat().st_size
    con.execute(
        "create table outputs.big as select i as image_id, i % 3 as pred, random()::float as confidence, "
        "[random(), random(), random(), random()]::float[4] as probs from range(200000) t(i)"
    ).fetchall()
    catalogue.recreate_run_views(con, [])
    con.execute("checkpoint").fetchall()
    used = {(run, name): (n, size) for run, name, n, size in con.sql("from disk_usage()").fetchall()}
    grown = file.stat().st_size - before
    n, size = used["big", "outputs.big"]
    assert n == 200000
    # Five random floats in a row hardly compress; the file grows by blocks that are free again, too.
    assert 0.8 * 200000 * 5 * 4 <= size <= grown
    assert used[None, "images"][0] == 300
    assert used["digits_logreg", "outputs.digits_logreg"][0] == 300
    assert used["digits_logreg", "runs"][0] == 1
    assert [row["name"] for row in con.sql("from help where name = 'disk_usage'").df().to_dict("records")]
    con.close()
    assert shells.ask(shell, file, "select n_rows from disk_usage() where table_name = 'images'") == [{"n_rows": 300}]
