"""A file from a stranger: what verbs that read do with views over the reader's files, and with the paths of pictures."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

import sqlanalysis

from .support.shells import cli as run

SECRET = "TOPSECRET_TOKEN"


@pytest.fixture
def file(tmp_path: Path, photos: Path) -> Path:
    """Photos by reference and a run `r` of which every prediction is right."""
    path = tmp_path / "e.duckdb"
    with sqlanalysis.connect(path) as con:
        sqlanalysis.add_images(con, photos)
        rows = con.sql("select uri as path, label as pred, 0.5 as confidence from images").to_arrow_table()
        sqlanalysis.add_predictions(con, rows, "r")
    return path


def thumbnails(page: Path) -> int:
    with duckdb.connect() as con:
        return len(sqlanalysis.read_report(con, page, table="t").filter("thumbnail is not null").fetchall())


def test_the_report_of_one_s_own_file_has_its_pictures(file: Path, tmp_path: Path) -> None:
    run("report", file, tmp_path / "own.html")
    assert thumbnails(tmp_path / "own.html") == 18


def test_pictures_that_are_not_those_of_the_row_are_not_shown(file: Path, tmp_path: Path, photos: Path) -> None:
    private = tmp_path / "private.jpg"
    private.write_bytes(next(photos.rglob("*.jpg")).read_bytes() + b" ")
    with duckdb.connect(file) as con:
        con.execute(f"update images set uri = '{private}' where image_id <= 5")
    run("report", file, tmp_path / "o.html")
    assert thumbnails(tmp_path / "o.html") == 13
    with sqlanalysis.connect(file, read_only=True, safe=True) as con:
        sqlanalysis.report(con, tmp_path / "safe.html", "r")
    assert thumbnails(tmp_path / "safe.html") == 13


@pytest.mark.parametrize("verb", ["report", "metric", "check", "compare"])
def test_a_view_over_another_file_is_not_read(verb: str, file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text(SECRET)
    with duckdb.connect(file) as con:
        con.execute("drop view r")
        con.execute(
            "create view r as select image_id, 'x' as dataset, content as uri, null as split, 0 as label, "
            f"content as label_name, 0 as pred, content as pred_name, 0.5 as confidence, true as correct from images, "
            f"read_text('{tmp_path / 'secret.txt'}')"
        )
    arguments = {
        "report": (tmp_path / "o.html", "--run", "r"),
        "metric": ("accuracy", "r"),
        "check": ("--run", "r"),
        "compare": ("r", "other"),
    }[verb]
    done = run(verb, file, *arguments, code=1)
    page = (tmp_path / "o.html").read_text() if (tmp_path / "o.html").exists() else ""
    assert SECRET not in page + done.stdout + done.stderr
    if verb == "metric":
        assert "--trust" in done.stderr
        assert "18" in run("--trust", verb, file, *arguments).stdout


def test_a_table_that_the_command_line_names_is_read(file: Path, tmp_path: Path) -> None:
    duckdb.sql("select 1 as label, 1 as pred, 0.5 as confidence from range(7)").write_parquet(
        str(tmp_path / "p.parquet")
    )
    assert "7" in run("metric", file, "accuracy", tmp_path / "p.parquet").stdout
    both = json.dumps(["r", str(tmp_path / "p.parquet")])
    assert "7" in run("metric", file, "accuracy", both).stdout
