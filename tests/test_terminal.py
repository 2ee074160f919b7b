"""What a terminal gets of hostile names is escaped; a pipe gets data as they are."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

import sqlanalysis

HOSTILE = "\x1b[31mred\x1b]0;owned\x07\u202e\x9b2J\U000e0001"
FORMULA = "=cmd|' /C calc'!A1"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A run whose classes have control characters, and look like formulas."""
    path = tmp_path_factory.mktemp("terminal") / "e.duckdb"
    with sqlanalysis.connect(path) as con:
        sqlanalysis.add_images(con, photos)
        rows = con.sql("select uri as path, 0 as pred, 0.5 as confidence from images").to_arrow_table()
        for run in ("r", "other"):
            sqlanalysis.add_predictions(con, rows, run)
    with duckdb.connect(path) as con:
        con.execute("update classes set name = ? where class = 0", [HOSTILE])
        con.execute("update classes set name = ? where class = 1", [FORMULA])
    return path


def on_a_terminal(*arguments: object) -> str:
    """What the command line writes to a terminal, on stdout and stderr."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sqlanalysis", *map(str, arguments)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    read = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end was closed
            break
        if not part:
            break
        read += part
    os.close(ours)
    assert process.wait() == 0, read.decode(errors="replace")
    return read.decode()


def in_a_pipe(*arguments: object) -> str:
    command = [sys.executable, "-m", "sqlanalysis", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True).stdout.decode()


@pytest.mark.parametrize("output", ["csv", "json", "table"])
@pytest.mark.parametrize("verb", ["metric", "query", "compare", "rows"])
def test_a_terminal_gets_no_control_characters(output: str, verb: str, file: Path) -> None:
    arguments: tuple[object, ...] = {
        "metric": ("metric", file, "per_class", "r"),
        "query": ("query", file, 'select name, name as "\x1b[1m" from classes order by class'),
        "compare": ("compare", file, "r", "other"),
        "rows": ("query", file, "select uri, label_name, meta from r"),
    }[verb]
    shown = on_a_terminal(*arguments, "--format", output)
    assert [char for char in shown if not char.isprintable() and char not in "\r\n\t"] == []
    if verb != "compare" and output != "table":  # DuckDB draws tables, with an escape of its own
        assert "\\x1b[31m" in shown or "\\u001b[31m" in shown


def test_a_pipe_gets_the_data(file: Path) -> None:
    query = ("query", file, "select name from classes order by class", "--format")
    with duckdb.connect(file, read_only=True) as con:
        expected = [name for (name,) in con.sql("select name from classes order by class").fetchall()]
    assert [row["name"] for row in json.loads(in_a_pipe(*query, "json"))] == expected
    rows = [row["name"] for row in csv.DictReader(io.StringIO(in_a_pipe(*query, "csv"), newline=""))]
    assert rows == [HOSTILE, f"'{FORMULA}", *expected[2:]]  # the apostrophe is in the help of --format


def test_an_export_keeps_formulas_as_they_are(file: Path, tmp_path: Path) -> None:
    in_a_pipe("export", file, "r", tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(newline="") as stream:
        assert {HOSTILE, FORMULA} <= {row["label_name"] for row in csv.DictReader(stream)}
    assert "a formula stays as it is" in " ".join((sqlanalysis.export.__doc__ or "").split())
