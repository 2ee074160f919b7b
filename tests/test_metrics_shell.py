"""The stored metrics in the real DuckDB 1.5 shell: same numbers as in Python."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

import sqlanalysis

from .edge_cases import CALLS, EDGES, load, random_case

SCALARS = {
    "norm_sf": "norm_sf(1.25)",
    "norm_sf_tail": "norm_sf(9.5)",
    "norm_ppf": "norm_ppf(0.975)",
    "norm_ppf_tail": "norm_ppf(1e-30)",
    "wilson_low": "wilson_low(7, 9, 0.95)",
    "wilson_high": "wilson_high(7, 9, 0.95)",
    "argmax": "argmax([0.25, 0.5, 0.5])",
    "binom_logpmf": "binom_logpmf(3, 10, 0.2)",
    "anytime_low": "anytime_low(7, 9, 0.95)",
    "anytime_high": "anytime_high(7, 9, 0.95)",
    "chi2_sf": "chi2_sf(7.5, 5)",
    "smirnov_sf": "smirnov_sf(300, 250, 7000)",
}
RELATIONS = ("big", "outside", "ties", "empty")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    """A closed evaluation file, and what Python answers to every query on it."""
    path = tmp_path_factory.mktemp("shell") / "evaluation.duckdb"
    con = sqlanalysis.connect(path)
    load(con, random_case(3000, 7, 5), "big", "FLOAT[7]")
    for name in RELATIONS[1:]:
        load(con, EDGES[name], name)
    found = {}
    for sql in queries():
        result = con.execute(sql)
        names = [column[0] for column in result.description]
        found[sql] = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    con.close()
    return path, found


def queries() -> list[str]:
    calls = [f"from {call.format(name)}" for call in CALLS.values() for name in RELATIONS]
    return calls + [f"select {call} as value" for call in SCALARS.values()]


def agree(shell: Any, python: Any) -> bool:
    if isinstance(python, list | tuple):
        return len(shell) == len(python) and all(map(agree, shell, python))
    if isinstance(python, float):
        return bool(shell is not None and (math.isclose(float(shell), python, abs_tol=1e-6) or math.isnan(python)))
    return bool(shell == python)


def test_shell_gives_the_same_numbers(shell: str, answers: tuple[Path, dict[str, list[dict[str, Any]]]]) -> None:
    path, found = answers
    separated = ";\n".join(f"{sql};\nselect '---' as mark" for sql in found) + ";"
    done = subprocess.run(
        [shell, "-readonly", "-json", "-no-stdin", str(path), "-c", separated],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    parts = done.stdout.split('[{"mark":"---"}]')
    assert len(parts) == len(found) + 1
    for part, (sql, expected) in zip(parts, found.items(), strict=False):
        shown = json.loads(part) if part.strip(" \n[]") else []
        assert len(shown) == len(expected), sql
        for one, other in zip(shown, expected, strict=True):
            assert one.keys() == other.keys(), sql
            assert all(agree(one[name], other[name]) for name in other), (sql, one, other)


def test_shell_filters_with_a_cte(shell: str, answers: tuple[Path, Any]) -> None:
    sql = "with hard as (from big where confidence < 0.5) from accuracy('hard')"
    done = subprocess.run(
        [shell, "-readonly", "-json", str(answers[0]), "-c", sql],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    (row,) = json.loads(done.stdout)
    assert 0 < row["n"] < 3000
    assert row["ci_low"] < row["accuracy"] < row["ci_high"]


def test_shell_lists_the_catalogue(shell: str, answers: tuple[Path, Any]) -> None:
    sql = "select name from help where kind = 'metric'"
    done = subprocess.run(
        [shell, "-readonly", "-json", str(answers[0]), "-c", sql],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert {"accuracy", "scores", "summary"} <= {row["name"] for row in json.loads(done.stdout)}
