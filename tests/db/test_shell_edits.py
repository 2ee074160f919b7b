"""A file that was edited in the shells of DuckDB 1.4 and 1.5: it opens, ours is repaired, the user's stays."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import duckdb
import pytest

import sqlanalysis

from ..support.shells import cli

# Rows inserted and deleted, views and macros of ours dropped or replaced, objects of the user's added.
EDITS = [
    "insert into classes (label_space, class, name) select label_space, 3, 'elk' from label_spaces",
    "delete from outputs.r where image_id in (1, 2)",
    "update images set split = 'val' where image_id > 9",
    "drop view r",
    "drop view predictions",
    "drop view check_database",
    "drop macro table accuracy_by",
    "create or replace macro wilson_low(k, n, level) as 0.99",
    "create macro my_share(x, y) as x / y",
    "create macro my_metric(rel) as table select count(*) as n from query_table(rel)",
    "create view my_view as select image_id, split from images where split = 'val'",
    "create table my_table as select 7 as x",
]


def edit14(python: Path, file: Path) -> None:
    """The edits in DuckDB 1.4."""
    program = (
        "import duckdb, sys; con = duckdb.connect(sys.argv[1]); [con.execute(s) for s in sys.argv[2:]]; con.close()"
    )
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([python, "-c", program, file, *EDITS], check=True, env=clean)


@pytest.mark.parametrize("version", ["1.4", "1.5"])
def test_a_file_edited_in_a_shell(
    version: str, tmp_path: Path, photos: Path, shell: str, request: pytest.FixtureRequest
) -> None:
    file = tmp_path / "e.duckdb"
    with sqlanalysis.connect(file) as con:
        sqlanalysis.add_images(con, photos)
        rows = con.sql("select uri as path, 0 as pred, 0.5 as confidence from images").to_arrow_table()
        sqlanalysis.add_predictions(con, rows, "r")
        kept = con.sql("select sum(label = 0), count(*) from images where image_id not in (1, 2)").fetchall()[0]
    if version == "1.4":
        edit14(request.getfixturevalue("duckdb14"), file)
    else:
        subprocess.run(
            [shell, file, *[part for edit in EDITS for part in ("-c", edit)]], check=True, capture_output=True
        )
    before = cli(
        "metric", file, "accuracy", "r"
    )  # only read: the package's own objects are used, nothing is made again
    assert "those of the package are used" in before.stderr
    assert f"`sqlanalysis init {file}` makes it again" in before.stderr
    repaired = cli("init", file)
    assert "had been changed or dropped; restored" in repaired.stderr
    assert {name for name in ("wilson_low", "accuracy_by", "check_database") if name in repaired.stderr}
    with sqlanalysis.connect(file) as con:
        n, correct, accuracy = con.sql("select n, correct, accuracy from accuracy('r')").fetchall()[0]
        assert (correct, n, accuracy) == (*kept, pytest.approx(kept[0] / kept[1]))
        assert con.sql("select wilson_low(3, 10, 0.95) < 0.11").fetchall() == [(True,)]
        assert con.sql("select sum(n)::integer from accuracy_by('predictions', split)").fetchall() == [(16,)]
        assert con.sql(
            "select my_share(1, 4), (select n from my_metric('r')), (select x from my_table)"
        ).fetchall() == [(0.25, 16, 7)]
        assert con.sql("select count(*) from my_view").fetchall() == [(9,)]
        assert {name for _, name, _ in sqlanalysis.verify(con, show_progress=False).tables} <= {"r"}
    assert cli("init", file).stderr == f"{file} is ready; `from help` lists what is in it\n"
    cli("report", file, tmp_path / "o.html")
    assert "elk" in (tmp_path / "o.html").read_text()


def test_a_reader_makes_what_is_over_all_runs_for_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`predictions` and `disk_usage` depend on the runs; dropped ones are the package's, not runs without a view."""
    file = tmp_path / "work.duckdb"
    sqlanalysis.connect(file).close()
    with duckdb.connect(str(file)) as plain:
        plain.execute("drop macro table disk_usage")
        plain.execute("drop view predictions")
    with sqlanalysis.connect(file, read_only=True) as con:
        assert con.sql("from predictions").fetchall() == []
        assert {row[1] for row in con.sql("from disk_usage()").fetchall()} >= {"images", "classes"}
    assert "has other views or macros than this package" in caplog.text
    assert "no view of the runs" not in caplog.text
    with sqlanalysis.connect(file) as con:
        assert con.sql("select kind from help where name = 'disk_usage'").fetchall() == [("view",)]
