"""The script of the page: its functions give DuckDB's numbers, and the committed bundle is what its sources give."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from sqlanalysis.page import report, words

from ..support import report_files

SOURCES = Path(report.__file__).parent / "js"
STATIC = Path(report.__file__).parent / "static"


@pytest.fixture(scope="module")
def node() -> str:
    path = shutil.which("node")
    if path is None:
        pytest.skip("node is not installed")
    return path


def plain(value: Any) -> Any:
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def rows_of(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    relation = con.sql(sql)
    return [dict(zip(relation.columns, map(plain, row), strict=True)) for row in relation.fetchall()]


def case(con: duckdb.DuckDBPyConnection, name: str, classes: int, where: str) -> dict[str, Any]:
    """One table as the page holds it, a selection of it, and the macros' numbers for that selection."""
    con.execute(f"create or replace temp table chosen as select * from answers where {where}")
    columns = con.sql(
        "select list(coalesce(label, -2) order by image_id), list(coalesce(pred, -2) order by image_id), "
        f"list(coalesce(confidence, -1) order by image_id), list(({where})::int order by image_id) from answers"
    ).fetchall()[0]
    return {
        "name": name,
        "classes": classes,
        "columns": dict(
            zip(("label", "pred", "confidence"), ([plain(v) for v in c] for c in columns[:3]), strict=True)
        ),
        "mask": columns[3],
        "accuracy": rows_of(con, "from accuracy('chosen')")[0],
        "per_class": rows_of(con, "from per_class('chosen') where support > 0"),
        "cells": rows_of(con, "select label, pred, n from confusion_matrix('chosen')"),
        "curve": rows_of(con, "from calibration_curve('chosen') where bin is not null"),
        "ece": rows_of(con, "select ece from calibration_error('chosen')")[0]["ece"],
    }


def numbers(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    report_files.add_digits(con)
    con.execute("create temp table answers as select image_id, label, pred, confidence from digits_bayes")
    cases = [case(con, name, 10, where) for name, where in {"all": "true", "some": "hash(image_id) % 7 < 2"}.items()]
    cases.append(case(con, "none", 10, "false"))
    cases.append(case(con, "three", 10, "image_id in (3, 5, 8)"))
    random = np.random.default_rng(1)
    n = 3000
    edges = np.array([0, 1, 1 / 15, 2 / 15, 0.2, 14 / 15, 0.9999999, 0.5], "float32")
    confidence = [None if i % 41 == 0 else float(v) for i, v in enumerate(random.choice(edges, n))]
    labels = [None if i % 13 == 0 else int(v) for i, v in enumerate(random.integers(0, 40, n))]
    preds = [None if i % 17 == 0 else int(v) for i, v in enumerate(random.integers(-1, 40, n))]
    con.execute("create or replace temp table answers (image_id bigint, label int, pred int, confidence float)")
    report_files.fill(con, "answers", {"image_id": range(n), "label": labels, "pred": preds, "confidence": confidence})
    cases.append(case(con, "edges of bins, NULL and outside", 40, "image_id % 3 <> 1"))
    con.execute("update answers set confidence = 'nan' where image_id % 50 = 2")
    cases.append(case(con, "with NaN", 40, "true"))
    pairs = [(k, m) for m in (1, 2, 3, 10, 29, 30, 999, 100_000) for k in {0, 1, m // 3, m // 2, m - 1, m}]
    wilson = [
        (k, m, *con.execute("select wilson_low(k, n, 0.95), wilson_high(k, n, 0.95) from (select ? as k, ? as n)", [k, m]).fetchall()[0])
        for k, m in pairs
    ]  # fmt: skip
    shares = [k / m for m in (1, 3, 7, 8, 16, 80, 400, 1600, 2000, 100_000) for k in {*range(min(m, 120)), m - 1, m}]
    percent = [(share, words.percent(share)) for share in shares]
    return {"cases": cases, "wilson": wilson, "percent": percent, "points": points(con)}


def points(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Points, those inside a convex polygon (left of every edge), and the least distances to some probes."""
    random = np.random.default_rng(2)
    x, y = (random.integers(0, 65535, 4000).tolist() for _ in "xy")
    corners = [[round(30000 + 20000 * math.cos(t)) + 0.5, round(32000 + 15000 * math.sin(t)) + 0.5] for t in range(6)]
    con.execute("create temp table points (point_id bigint, x bigint, y bigint)")
    report_files.fill(con, "points", {"point_id": range(4000), "x": x, "y": y})
    con.execute('create temp table edges (ax double, ay double, bx double, "by" double)')
    ends = list(zip(corners, corners[1:] + corners[:1], strict=True))
    con.executemany("insert into edges values (?, ?, ?, ?)", [[*a, *b] for a, b in ends])
    left = '(bx - ax) * (y - ay) - ("by" - ay) * (x - ax) > 0'
    inside = con.sql(f"select bool_and({left})::int from points, edges group by point_id order by point_id").fetchall()
    probes = []
    for a, b, radius in [
        (100, 100, 900),
        (32000, 32000, 50),
        (65534, 0, 3000),
        (40000.5, 20000.25, 1500),
        (5, 65534, 1),
    ]:
        near = "select min((x - ?) ** 2 + (y - ?) ** 2) as d from points"
        (distance,) = con.execute(f"select case when d <= ? then d end from ({near})", [radius**2, a, b]).fetchall()[0]
        probes.append((a, b, radius, distance))
    return {"x": x, "y": y, "corners": corners, "inside": [value for (value,) in inside], "probes": probes}


def test_functions_give_the_numbers_of_duckdb(node: str, con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    fixture = tmp_path / "numbers.json"
    fixture.write_text(json.dumps(numbers(con)))
    command = [node, "--test", str(Path(__file__).parent / "page_script.test.mjs")]
    environment = {**os.environ, "PAGE_NUMBERS": str(fixture)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "# fail 0" in done.stdout
    assert "# skipped 0" in done.stdout


def test_bundle_is_built_from_its_sources(node: str, tmp_path: Path) -> None:
    if not (SOURCES / "node_modules").is_dir():
        pytest.skip("node_modules is not there: npm ci --ignore-scripts in sqlanalysis/page/js")
    built = ("app.js", "THIRD_PARTY_LICENSES.txt")
    before = [hashlib.sha256((STATIC / name).read_bytes()).hexdigest() for name in built]
    copy = tmp_path / "page" / "js"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("node_modules"))
    (copy / "node_modules").symlink_to(SOURCES / "node_modules")
    (copy.parent / "static").mkdir()
    subprocess.run([node, "build.mjs"], cwd=copy, check=True, capture_output=True)
    assert [hashlib.sha256((copy.parent / "static" / name).read_bytes()).hexdigest() for name in built] == before


def test_licenses_name_every_library() -> None:
    text = (STATIC / "THIRD_PARTY_LICENSES.txt").read_text()
    wanted = json.loads((SOURCES / "package.json").read_text())["dependencies"]
    assert all(f"{name} {version} (" in text for name, version in wanted.items())
    assert not any(name in text for name in ("esbuild", "axe-core"))


def test_script_is_small() -> None:
    assert (STATIC / "app.js").stat().st_size < 150_000
