"""Stored macros in other clients: the DuckDB 1.5 shell and DuckDB 1.4 give the numbers of Python for every public macro."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

import sqlanalysis

from ..support.edge_cases import CALLS, EDGES, INTERNAL_CALLS, SCALAR_CALLS, load, random_case
from ..support.oracle import CASES, other_run
from ..support.shells import ask

SCALARS = {
    **SCALAR_CALLS,
    "_norm_sf": "_norm_sf(1.25)",
    "_norm_sf_tail": "_norm_sf(9.5)",
    "_norm_ppf": "_norm_ppf(0.975)",
    "_norm_ppf_tail": "_norm_ppf(1e-30)",
    "_binom_logpmf": "_binom_logpmf(3, 10, 0.2)",
    "_anytime_low": "_anytime_low(7, 9, 0.95)",
    "_anytime_high": "_anytime_high(7, 9, 0.95)",
    "_chi2_sf": "_chi2_sf(7.5, 5)",
    "_t_sf": "_t_sf(2.5, 3.7)",
    "_t_sf_large": "_t_sf(2.5, 5000)",
    "_t_ppf": "_t_ppf(0.95, 1.3)",
    "_smirnov_sf": "_smirnov_sf(300, 250, 7000)",
}
RELATIONS = ("big", "outside", "ties", "empty")
# Two relations of real size, which differ.
TWO = [
    "from mcnemar('b', 'a')",
    "from verdict('b', 'a')",
    "from agreement('b', 'a')",
    "from paired_bootstrap('b', 'a', n_resamples := 200)",
    "from ks_test('a', 'b', list_max(probs) * (1 + pred))",
    "from psi_numeric('a', 'b', confidence * pred)",
    "from psi_category('a', 'b', pred)",
    "from mmd('a', 'b', sample_n := 100)",
    "from slices('b', ['label', 'neighbor_id'])",
    "from worst_slices('b', ['label', 'confidence'], alpha := 1)",
    "from leaderboard(['a', 'b'])",
    "from compare_seeds(['b', 'c'], ['a', 'd'])",
    "from compare_seeds(['b'], ['a', 'd'], level := 0.9, is_right := label_rank(probs, label) <= 2)",
    "from compare_many(['b', 'c', 'd'], 'a')",
    "from compare_many(['b', 'c'], 'a', is_right := abs(label - pred) < 2)",
    "from mcnemar('b', 'a', is_right := label_rank(probs, label) <= 3)",
    "from paired_bootstrap('b', 'a', n_resamples := 100, is_right := abs(label - pred) < 2)",
    "from largest_gap(['a', 'b'], concat(split, label))",
    "from metric_by(['a', 'b'], 'calibration_curve', concat(label % 2, split), 'n_bins := 5, strategy := ''quantile''')",
    "from auc_ci(['a', 'b'])",
    "from per_class(['b', 'a', 'empty'])",
    "from accuracy(['a', 'b'], groups := image_id // 9)",
    "from accuracy_by('b', label, level := 0.9, groups := case when image_id % 5 > 0 then image_id // 9 end)",
    "from mcnemar('b', 'a', groups := (split, image_id // 9))",
    "from verdict('b', 'a', groups := image_id // 9)",
    "from bootstrap_ci(['a', 'b'], n_resamples := 100, groups := image_id // 9)",
    "from paired_bootstrap('b', 'a', n_resamples := 100, groups := image_id // 9)",
    "with \"my-run\" as (from a where image_id < 900) from accuracy_by(['b', '\"my-run\"', 'main.big'], concat(run, pred))",
]
Answers = dict[str, list[dict[str, Any]]]


def queries() -> list[str]:
    calls = [
        f"from {call.format(name)}"
        for metric, call in {**CALLS, **INTERNAL_CALLS}.items()
        for name in RELATIONS
        if (metric, name) != ("similar_to", "empty")  # an unknown image is an error
    ]
    return [*calls, *TWO, *(f"select {call} as value" for call in SCALARS.values())]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answers]:
    """A closed evaluation file, and what Python answers to every query on it."""
    path = tmp_path_factory.mktemp("shell") / "evaluation.duckdb"
    con = sqlanalysis.connect(path)
    load(con, random_case(3000, 7, 5), "big", "FLOAT[7]")
    for name in RELATIONS[1:]:
        load(con, EDGES[name], name)
    load(con, CASES["ten"], "a")
    for name, seed in (("b", 5), ("c", 6), ("d", 7)):
        load(con, other_run(CASES["ten"], seed), name)
    actual = {}
    for sql in queries():
        result = con.execute(sql)
        names = [column[0] for column in result.description]
        actual[sql] = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    con.close()
    return path, actual


def agree(other: Any, python: Any) -> bool:
    if isinstance(python, list | tuple):
        return len(other) == len(python) and all(map(agree, other, python))
    if isinstance(python, dict):
        return other.keys() == python.keys() and all(agree(other[name], value) for name, value in python.items())
    if isinstance(python, float):
        if math.isnan(python):
            return other is None or math.isnan(float(other))
        return other is not None and math.isclose(float(other), python, rel_tol=1e-9, abs_tol=1e-6)
    return bool(other == python)


def same_answers(found: Answers, expected: Answers) -> None:
    assert list(found) == list(expected)
    for sql, rows in expected.items():
        assert len(found[sql]) == len(rows), sql
        for other, python in zip(found[sql], rows, strict=True):
            assert agree(other, python), (sql, other, python)


def test_shell_gives_the_same_numbers(shell: str, answers: tuple[Path, Answers]) -> None:
    path, expected = answers
    separated = ";\n".join(f"{sql};\nselect '---' as mark" for sql in expected) + ";"
    done = subprocess.run(
        [shell, "-readonly", "-json", "-no-stdin", str(path), "-c", separated], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    *parts, _ = done.stdout.split('[{"mark":"---"}]')
    shown = [json.loads(part) if part.strip(" \n[]") else [] for part in parts]
    same_answers(dict(zip(expected, shown, strict=True)), expected)


PROGRAM = """
import json, sys, duckdb
con = duckdb.connect(sys.argv[1], read_only=True)
assert duckdb.__version__.startswith("1.4."), duckdb.__version__
for sql in json.load(sys.stdin):
    result = con.execute(sql)
    names = [column[0] for column in result.description]
    print(json.dumps([dict(zip(names, row)) for row in result.fetchall()], default=str))
"""


def test_duckdb_14_gives_the_same_numbers(duckdb14: Path, answers: tuple[Path, Answers]) -> None:
    path, expected = answers
    done = subprocess.run(
        [duckdb14, "-c", PROGRAM, str(path)], input=json.dumps(list(expected)), capture_output=True, text=True
    )
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{list(expected)[len(shown)]}: {done.stderr}"
    same_answers(dict(zip(expected, shown, strict=True)), expected)


def test_one_thread_gives_the_same_numbers(answers: tuple[Path, Answers]) -> None:
    """Bootstraps and permutations are seeded by what they draw, not by who draws it."""
    path, expected = answers
    with sqlanalysis.connect(path, read_only=True) as con:
        con.execute("set threads = 1").fetchall()
        for sql in TWO:
            result = con.execute(sql)
            names = [column[0] for column in result.description]
            rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
            assert agree(rows, expected[sql]), sql


def test_shell_filters_with_a_cte(shell: str, answers: tuple[Path, Any]) -> None:
    (row,) = ask(shell, answers[0], "with hard as (from big where confidence < 0.5) from accuracy('hard')")
    assert 0 < row["n"] < 3000
    assert row["ci_low"] < row["accuracy"] < row["ci_high"]


def test_shell_lists_the_catalogue(shell: str, answers: tuple[Path, Any]) -> None:
    actual = ask(shell, answers[0], "from help where topic = 'accuracy'")
    assert {"accuracy", "scores", "summary"} <= {row["name"] for row in actual}
    (row,) = [row for row in actual if row["name"] == "accuracy"]
    assert row["signature"] == "accuracy(rel, level := 0.95, is_right := null, groups := null)"


def test_two_files_side_by_side(shell: str, answers: tuple[Path, Any], tmp_path: Path) -> None:
    with sqlanalysis.connect(tmp_path / "second.duckdb") as con:
        load(con, CASES["binary"], "small")
    sql = f"attach '{answers[0]}' as b (read_only); set search_path = 'memory,b'; select n from b.accuracy('b.big')"
    assert ask(shell, tmp_path / "second.duckdb", sql.replace("'memory,b'", "'second,b'"))[-1] == {"n": 3000}
