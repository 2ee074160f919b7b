"""The browser build of DuckDB opens a file and gives Python's numbers."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest

import sqlanalysis

from ..support.edge_cases import load, random_case

PROGRAM = Path(__file__).parent / "wasm" / "ask.mjs"
QUERIES = ("from accuracy('run_a')", "from scores('run_a')", "from verdict('run_a', 'run_b')", "from help limit 12")


def test_the_browser_build_gives_the_same_numbers(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None or not (PROGRAM.parent / "node_modules").is_dir():
        pytest.skip("needs node, and `npm ci` in tests/sql/wasm")
    file = tmp_path / "evaluation.duckdb"
    with sqlanalysis.connect(file) as con:
        load(con, random_case(400, 5, 1), "run_a")
        load(con, random_case(400, 5, 2), "run_b")
        expected = []
        for sql in QUERIES:
            relation = con.sql(sql)
            expected.append([dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()])
    done = subprocess.run([node, PROGRAM, file], input=json.dumps(QUERIES), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["version"].startswith("v1.")
    for sql, rows, others in zip(QUERIES, expected, found["answers"], strict=True):
        assert len(rows) == len(others), sql
        for row, other in zip(rows, others, strict=True):
            assert row.keys() == other.keys()
            for name, value in row.items():
                same = (
                    math.isclose(value, other[name], rel_tol=1e-9) if isinstance(value, float) else value == other[name]
                )
                assert same, (sql, name, value, other[name])
