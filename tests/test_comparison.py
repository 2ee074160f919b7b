"""Two runs over the same images: per class, flips, the one sentence, what is comparable, `compare` on every path."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

import sqlanalysis
from sqlanalysis import compare, database
from sqlanalysis.errors import NotFoundError, QueryError, SchemaError

from . import report_fixture
from .edge_cases import EDGES, Case, load, random_case
from .test_metrics_oracle import rows, same
from .test_metrics_oracle_more import both, other_run

CASES = {
    "binary": random_case(300, 2, 1),
    "ten": random_case(2000, 10, 2),
    "hundred": random_case(600, 100, 3),
    **EDGES,
}


@pytest.fixture(scope="module")
def shared() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = sqlanalysis.connect()
    yield connection
    connection.close()


def interval(a_only: int, b_only: int, n: int, level: float) -> tuple[float, float]:
    """Agresti and Min: half an image more in each of the four cells."""
    up, down, size = b_only + 0.5, a_only + 0.5, n + 2
    half = stats.norm.ppf((1 + level) / 2) * math.sqrt(up + down - (up - down) ** 2 / size) / size
    return max(-1, (up - down) / size - half), min(1, (up - down) / size + half)


def exact(a_only: int, b_only: int) -> float:
    return float(stats.binomtest(b_only, a_only + b_only).pvalue) if a_only + b_only else 1.0


# Macros


def test_paired_interval(con: duckdb.DuckDBPyConnection) -> None:
    for cell in [(0, 0, 1, 0.95), (0, 1, 1, 0.95), (41, 7, 899, 0.9), (3, 9, 12, 0.999), (5000, 4000, 1000000, 0.5)]:
        low, high = con.execute("select paired_low(?, ?, ?, ?), paired_high(?, ?, ?, ?)", [*cell, *cell]).fetchall()[0]
        expected = interval(*cell)
        same(low, expected[0])
        same(high, expected[1])
    for cell in [(0, 0, 0, 0.95), (None, 1, 2, 0.95), (1, 2, 9, 95)]:
        found = con.execute("select paired_low(?, ?, ?, ?), paired_high(?, ?, ?, ?)", [*cell, *cell]).fetchall()[0]
        assert found == (None, None)


@pytest.mark.parametrize("name", CASES)
def test_compare_classes(shared: duckdb.DuckDBPyConnection, name: str) -> None:
    second = other_run(CASES[name])
    y, a, b = both(CASES[name], second)
    first, other = load(shared, CASES[name]), load(shared, second, "run_b")
    found = rows(shared, f"from compare_classes('{first}', '{other}', level := 0.9)")
    assert sorted(row["class"] for row in found) == sorted(set(y.tolist()))
    assert [row["p_value"] for row in found] == sorted(row["p_value"] for row in found)
    for row in found:
        of = y == row["class"]
        ok_a, ok_b = (a == y)[of], (b == y)[of]
        counts = int((ok_a & ~ok_b).sum()), int((ok_b & ~ok_a).sum())
        assert (row["n"], row["a_only"], row["b_only"]) == (of.sum(), *counts)
        same(row["recall_a"], float(ok_a.mean()))
        same(row["recall_b"], float(ok_b.mean()))
        same(row["diff"], float(ok_b.mean() - ok_a.mean()))
        low, high = interval(*counts, int(of.sum()), 0.9)
        same(row["ci_low"], low)
        same(row["ci_high"], high)
        same(row["p_value"], exact(*counts), 1e-12)


def test_compare_classes_of_statsmodels(shared: duckdb.DuckDBPyConnection) -> None:
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.multitest import multipletests

    first, other = load(shared, CASES["ten"]), load(shared, other_run(CASES["ten"]), "run_b")
    found = rows(shared, f"from compare_classes('{first}', '{other}')")
    p = [mcnemar([[0, row["a_only"]], [row["b_only"], 0]], exact=True).pvalue for row in found]
    assert [row["p_value"] for row in found] == pytest.approx(p, abs=1e-12)
    for column, method in (("p_holm", "holm"), ("p_bh", "fdr_bh")):
        expected = multipletests(p, method=method)[1]
        assert [row[column] for row in found] == pytest.approx(expected, abs=1e-12)
        assert 0 < min(expected) < max(expected)


def flip_case() -> tuple[Case, Case]:
    """Ten images: unchanged, lost (confidences with ties, NaN and NULL), won, wrong in another way."""
    probs = [[0.5, 0.5]] * 10
    first = Case([1] * 10, [1, 1, 1, 1, 1, 1, 1, 0, 0, 0], list(probs), [0.5] * 10)
    confidence = [0.9, 0.2, 0.8, 0.8, math.nan, None, 0.1, 0.3, 0.6, 0.7]
    return first, Case([1] * 10, [1, 0, 0, -1, 0, 0, None, 1, 1, 2], list(probs), confidence)


def test_flips(shared: duckdb.DuckDBPyConnection) -> None:
    first, second = flip_case()
    load(shared, first), load(shared, second, "run_b", order=3)
    found = rows(shared, "from flips('run_a', 'run_b')")
    assert [row["image_id"] for row in found] == [2, 3, 1, 4, 5, 8, 7]
    assert [(row["ok_a"], row["ok_b"]) for row in found] == [(True, False)] * 5 + [(False, True)] * 2
    assert [row["pred_b"] for row in found] == [0, -1, 0, 0, 0, 1, 1]
    assert [row["confidence_b"] for row in found][:3] == pytest.approx([0.8, 0.8, 0.2])
    assert rows(shared, "from flips('run_a', 'run_b', limit_n := 3)") == found[:3]
    shared.execute("create or replace temp view bare as select image_id, label, pred from run_b")
    bare = rows(shared, "from flips('run_a', 'bare')")
    assert [row["image_id"] for row in bare] == [1, 2, 3, 4, 5, 7, 8]
    assert {row["confidence_b"] for row in bare} == {None}


@pytest.mark.parametrize("name", ["ten", "digits_like", "empty", "null_label"])
def test_flips_are_those_of_mcnemar(shared: duckdb.DuckDBPyConnection, name: str) -> None:
    example = CASES.get(name, CASES["hundred"])
    first, other = load(shared, example), load(shared, other_run(example), "run_b")
    found = rows(shared, f"from flips('{first}', '{other}', limit_n := 10000)")
    (counts,) = rows(shared, f"from mcnemar('{first}', '{other}')")
    assert sum(row["ok_a"] for row in found) == counts["a_only"]
    assert sum(row["ok_b"] for row in found) == counts["b_only"]


def counted(con: duckdb.DuckDBPyConnection, a_only: int, b_only: int, n: int) -> None:
    """Relations old and new with so many images that only one of them has right."""
    con.execute(
        f"create or replace temp table old as select i as image_id, 0 as label, (i < {b_only})::int as pred from range({n}) t(i)"
    )
    con.execute(
        "create or replace temp table new as select i as image_id, 0 as label, "
        f"(i >= {b_only} and i < {a_only + b_only})::int as pred from range({n}) t(i)"
    )


@pytest.mark.parametrize(
    ("a_only", "b_only", "n", "level", "sentence"),
    [
        (41, 7, 899, 0.95, "new is worse than old by 3.8 points of accuracy (95 % interval 2.3 to 5.3, n = 899)"),
        (7, 41, 899, 0.9, "new is better than old by 3.8 points of accuracy (90 % interval 2.5 to 5.0, n = 899)"),
        (0, 12, 30, 0.999, "new is better than old by 40.0 points of accuracy (99.9 % interval 7.5 to 67.5, n = 30)"),
        # The interval alone would exclude 0, the exact test (p = 1/16) does not establish it.
        (0, 5, 60, 0.95, "new against old: difference not established at this n (60 images; +8.3 points of accuracy, 95 % interval 0.0 to 15.5)"),
        (5, 0, 60, 0.95, "new against old: difference not established at this n (60 images; −8.3 points of accuracy, 95 % interval −15.5 to 0.0)"),
        # The exact test alone would establish it (p = 1/1024), the interval does not exclude 0.
        (0, 11, 9999, 0.999, "new against old: difference not established at this n (9,999 images; +0.1 points of accuracy, 99.9 % interval 0.0 to 0.2)"),
        (30, 32, 899, 0.95, "new against old: difference not established at this n (899 images; +0.2 points of accuracy, 95 % interval −1.5 to 1.9)"),
        (0, 0, 7, 0.95, "new against old: difference not established at this n (7 images; 0.0 points of accuracy, 95 % interval −21.8 to 21.8)"),
        # More decimals where one would say 0.0.
        (400, 500, 300000, 0.95, "new is better than old by 0.03 points of accuracy (95 % interval 0.01 to 0.05, n = 300,000)"),
        (1000, 1200, 20000, 0.95, "new is better than old by 1.0 points of accuracy (95 % interval 0.5 to 1.5, n = 20,000)"),
        (0, 0, 0, 0.95, "new against old: nothing to compare, no labelled image that both have answered"),
    ],
)  # fmt: skip
def test_verdict(
    shared: duckdb.DuckDBPyConnection, a_only: int, b_only: int, n: int, level: float, sentence: str
) -> None:
    counted(shared, a_only, b_only, n)
    (found,) = rows(shared, f"from verdict('old', 'new', level := {level})")
    assert found["sentence"] == sentence
    assert found["n"] == n
    assert found["p_exact"] == pytest.approx(exact(a_only, b_only), rel=1e-9)
    assert found["established"] == ("not established" not in sentence and n > 0)
    if not n:
        assert found["diff"] is found["ci_low"] is found["ci_high"] is None
        return
    low, high = interval(a_only, b_only, n, level)
    assert found["established"] == (exact(a_only, b_only) <= 1 - level and not low <= 0 <= high)
    same(found["diff"], (b_only - a_only) / n)
    same(found["ci_low"], low if found["established"] else min(low, 0))
    same(found["ci_high"], high if found["established"] else max(high, 0))


def test_sentence_and_interval_never_contradict_each_other(shared: duckdb.DuckDBPyConnection) -> None:
    """As a reader sees them: the printed interval holds 0 exactly when the difference is not established."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        n = int(10 ** rng.uniform(0, 5))
        a_only, b_only = sorted(rng.integers(0, 1 + min(n // 2, 40), 2).tolist(), key=lambda _: rng.random())
        counted(shared, a_only, b_only, n)
        level = float(rng.choice([0.5, 0.9, 0.95, 0.99, 0.999]))
        (found,) = rows(shared, f"from verdict('old', 'new', level := {level})")
        text = found["sentence"].replace("−", "-")
        low, high = map(float, re.findall(r"interval (\S+) to ([\d.-]+)", text)[0])
        assert low <= high
        if found["established"]:
            assert low > 0
            assert ("better" in text) == (b_only > a_only)
        else:
            assert low <= 0 <= high
        seen.add((found["established"], b_only > a_only))
    assert len(seen) == 4


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_verdict_keeps_to_its_error_rate_exactly(con: duckdb.DuckDBPyConnection, level: float) -> None:
    """The chance of calling one of two equal runs better, summed over every outcome, by the rule of the sentence."""
    grid = con.execute(
        "select n, a, b from (select unnest([5, 12, 40, 150]) as n), range(60) t(a), range(60) u(b) "
        "where a + b <= n and sign_test(a, b) <= 1 - ?::double "
        "and (paired_low(a, b, n, ?::double) > 0 or paired_high(a, b, n, ?::double) < 0)",
        [level] * 3,
    ).fetchnumpy()
    n, a, b = (np.asarray(column) for column in grid.values())
    rates = [
        stats.multinomial.pmf(np.stack([a, b, n - a - b], 1)[n == size], size, [share / 2, share / 2, 1 - share]).sum()
        for size in (5, 12, 40, 150)
        for share in (0.02, 0.1, 0.3)
    ]
    assert 0.2 * (1 - level) < max(rates) <= 1 - level


def test_verdict_on_simulated_runs(shared: duckdb.DuckDBPyConnection) -> None:
    """Of 100 pairs of equally good runs at most 1 in 20 is told apart; a planted difference is found every time."""
    rng = np.random.default_rng(7)
    n, pairs = 300, 100
    hard = rng.random((pairs, n)) < 0.3
    wrong = {name: hard & (rng.random((pairs, n)) < 0.5) for name in ("a", "b")}
    wrong["c"] = wrong["a"] & (rng.random((pairs, n)) < 0.5)
    drawn = {name: share.ravel().astype("int32") for name, share in wrong.items()}
    ids = np.arange(pairs * n)
    shared.register("_drawn", pa.table({"image_id": ids % n, "pair": ids // n, **drawn}))
    shared.execute("create or replace temp table drawn as select *, 0 as label from _drawn")

    def verdicts(other: str, count: int) -> list[dict[str, Any]]:
        ctes = ", ".join(
            f"run_{x} as (select image_id, label, {x} as pred from drawn where pair = {{0}})" for x in "abc"
        )
        sql = f"with {ctes} from verdict('run_a', 'run_{other}')"
        return [rows(shared, sql.format(pair))[0] for pair in range(count)]

    assert sum(found["established"] for found in verdicts("b", pairs)) <= 0.05 * pairs
    assert all(found["established"] and "is better" in found["sentence"] for found in verdicts("c", 10))


# The view


def add_runs(con: duckdb.DuckDBPyConnection, **signals: float) -> None:
    """600 images of ten classes with one finished run per signal: the stronger, the better."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 600)
    noise = rng.normal(size=(600, 10))
    report_fixture.add_images(con, "digits", list("0123456789"), [b"%d" % i for i in range(600)], labels.tolist())
    for run, signal in signals.items():
        logits = noise + 0.5 * rng.normal(size=(600, 10)) + signal * (labels[:, None] == np.arange(10))
        probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        report_fixture.add_run(con, run, "digits", probs.astype("float32"), n_ok=600)


@pytest.fixture
def two(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A file with two finished runs."""
    add_runs(con, weak=3.0, strong=3.5)
    return con


def pair(con: duckdb.DuckDBPyConnection) -> tuple[Any, ...]:
    sql = "from comparable where run = 'strong' and baseline = 'weak'"
    (row,) = con.execute(sql).fetchall()
    return row[2:]


def test_comparable_is_one_row_per_ordered_pair(con: duckdb.DuckDBPyConnection) -> None:
    assert con.execute("from comparable").fetchall() == []
    names = ("first", "second", "third")
    add_runs(con, **dict.fromkeys(names, 2.0))
    found = con.execute("from comparable").fetchall()
    assert sorted(row[:2] for row in found) == [(b, a) for b in names for a in names if a != b]
    assert {row[2:] for row in found} == {(True, None, 600)}
    con.execute("delete from runs where run <> 'first'")
    assert con.execute("from comparable").fetchall() == []


OTHER_SPACE = "update runs set output_space = 'letters' where run = 'strong'"


@pytest.mark.parametrize(
    ("change", "reason", "n_both"),
    [
        ("delete from outputs.weak where image_id < 3", "images only strong answered: 3", 597),
        (
            "update outputs.strong set pred = null where image_id in (5, 6)",
            "images only weak answered: 2",
            598,
        ),
        (
            "update outputs.weak set sha256 = 'old' where image_id = 7",
            "answers of weak for other bytes than the images have now: 1; images only strong answered: 1",
            599,
        ),
        (
            "update runs set status = 'interrupted' where run = 'weak'",
            "weak is interrupted, not finished",
            600,
        ),
        (
            "update runs set class_policy = 'open' where run = 'strong'",
            "other class policy: open and identity",
            600,
        ),
        (
            OTHER_SPACE,
            "no labelled image that both have answered; other label space: letters and digits_classes",
            0,
        ),
        ("update images set label = null", "no labelled image that both have answered", 0),
    ],
    ids=["missing", "no prediction", "other bytes", "unfinished", "policy", "space", "no labels"],
)
def test_what_is_not_comparable(two: duckdb.DuckDBPyConnection, change: str, reason: str, n_both: int) -> None:
    assert pair(two) == (True, None, 600)
    two.execute(change)
    if "delete" in change:
        two.execute("update runs set n_ok = 597 where run = 'weak'")
    assert pair(two) == (False, reason, n_both)
    with pytest.raises(SchemaError, match=re.escape(reason)) as refused:
        compare(two, "strong", "weak")
    way = f"force=True, --force compares the {n_both} images" if n_both else "not even by force"
    assert way in str(refused.value)
    if n_both:
        assert compare(two, "strong", "weak", force=True).n == n_both
    else:
        with pytest.raises(SchemaError, match="not even by force"):
            compare(two, "strong", "weak", force=True)


def test_other_data_sets_and_runs_without_predictions(two: duckdb.DuckDBPyConnection) -> None:
    report_fixture.add_named(two, ["cat", "dog"])
    sql = "select reason from comparable where run = ? and baseline = 'weak'"
    (reason,) = two.execute(sql, ["noisy"]).fetchall()[0]
    assert reason.startswith("other images: named and digits; ")
    assert "other label space: named_classes and digits_classes" in reason
    two.execute(
        "insert into runs (run, dataset, model, class_policy, status) values ('light', 'digits', 'f', 'identity', 'finished')"
    )
    two.execute("create table outputs.light (image_id bigint, sha256 varchar, mean float)")
    database.recreate_run_views(two, ["light"])
    (reason,) = two.execute(sql, ["light"]).fetchall()[0]
    assert reason.startswith("light has no predictions; ")
    with pytest.raises(SchemaError, match=r"light has no predictions; .* \(not even by force"):
        compare(two, "light", "weak", force=True)


# compare


def test_compare_is_the_macros(two: duckdb.DuckDBPyConnection) -> None:
    found = compare(two, "strong", "weak", level=0.9, seed=3)
    calls = {
        "scores": "paired_bootstrap({}, level := 0.9, seed := 3)",
        "mcnemar": "mcnemar({}, level := 0.9)",
        "agreement": "agreement({})",
        "classes": "compare_classes({}, level := 0.9)",
        "flips": "flips({})",
    }
    for name, call in calls.items():
        expected = two.sql("from " + call.format("'weak', 'strong'"))
        relation = getattr(found, name)
        assert relation.columns == expected.columns
        assert len(relation.df()) == len(relation)
        for one, other in zip(relation.fetchall(), expected.fetchall(), strict=True):
            assert one == pytest.approx(other, abs=1e-12)
    (row,) = rows(two, "from verdict('weak', 'strong', level := 0.9)")
    assert (found.sentence, found.n, found.established) == (row["sentence"], row["n"], row["established"])
    assert (found.run, found.baseline, str(found)) == ("strong", "weak", found.sentence)
    assert found.sentence.startswith("strong is better than weak by ")
    assert repr(found) == (
        f"Comparison(run='strong', baseline='weak', n=600, sentence={found.sentence!r}, established=True)"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.n = 1  # type: ignore[misc]
    assert (
        two.execute("select table_name from duckdb_tables() where table_name like '\\_comp%' escape '\\'").fetchall()
        == []
    )


def test_compare_the_other_way_round(two: duckdb.DuckDBPyConnection) -> None:
    one = compare(two, "strong", "weak")
    other = compare(two, "weak", "strong")
    expected = one.sentence.replace("strong is better than weak", "weak is worse than strong")
    assert other.sentence == expected != one.sentence
    gaps = {row[0]: row[3] for row in one.scores.fetchall()}
    assert {row[0]: -row[3] for row in other.scores.fetchall()} == pytest.approx(gaps)


def test_refusals(two: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(NotFoundError, match="no run 'wek'; did you mean weak"):
        compare(two, "strong", "wek")
    with pytest.raises(NotFoundError, match="no run 'x'"):
        compare(two, "x", "weak")
    with pytest.raises(SchemaError, match="'weak' is its own baseline"):
        compare(two, "weak", "weak", force=True)
    for level in (0, 1, 95, math.nan):
        with pytest.raises(QueryError, match="is not between 0 and 1; give a share, such as 0.95"):
            compare(two, "strong", "weak", level=level)


# Command line and shell


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compare") / "digits.duckdb"
    with sqlanalysis.connect(path) as con:
        add_runs(con, weak=3.0, strong=3.5)
    return path


def command(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "sqlanalysis", "compare", *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


def test_command_line(file: Path) -> None:
    with sqlanalysis.connect(file, read_only=True) as con:
        found = compare(con, "strong", "weak", level=0.9)
        expected = {name: value.fetchall() for name, value in vars(found).items() if hasattr(value, "fetchall")}
    arguments = [file, "strong", "weak", "--level", 0.9]
    shown = command(*arguments).stdout
    assert shown.splitlines()[:2] == [found.sentence, "a = weak, b = strong, diff = b - a"]
    positions = [
        shown.index(f"\n{name}")
        for name in ("scores\n", "mcnemar\n", "agreement\n", "classes\n", "flips, the first 20 of 50 rows\n")
    ]
    assert positions == sorted(positions)
    decoded = json.loads(command(*arguments, "--format", "json").stdout)
    assert (decoded["sentence"], decoded["n"], decoded["established"]) == (found.sentence, 600, True)
    for name, table in expected.items():
        for one, other in zip(decoded[name], table, strict=True):
            assert tuple(one.values()) == pytest.approx(other, abs=1e-12)
    lines = command(*arguments, "--format", "csv").stdout.splitlines()
    assert lines[0] == f"# {found.sentence}"
    classes = list(csv.DictReader(lines[lines.index("# classes") + 1 : lines.index("# flips") - 1]))
    assert [int(row["class"]) for row in classes] == [row[0] for row in expected["classes"]]
    assert "no run 'nope'" in command(file, "nope", "weak", code=1).stderr


def test_force_on_the_command_line(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "open.duckdb"
    copy.write_bytes(file.read_bytes())
    with sqlanalysis.connect(copy) as con:
        con.execute("update runs set class_policy = 'open' where run = 'weak'")
    refused = command(copy, "strong", "weak", code=1)
    assert "other class policy: identity and open (force=True, --force compares the 600 images" in refused.stderr
    assert refused.stdout == ""
    assert "n = 600" in command(copy, "strong", "weak", "--force").stdout


def test_the_shell_says_the_same(file: Path, shell: str) -> None:
    with sqlanalysis.connect(file, read_only=True) as con:
        found = compare(con, "strong", "weak")
        counts = rows(con, "from mcnemar('weak', 'strong')")[0]
    sql = (
        "select v.*, c.n_both, c.comparable, c.reason from verdict('weak', 'strong') as v "
        "cross join comparable as c where c.run = 'strong'"
    )
    done = subprocess.run(
        [shell, "-readonly", "-json", str(file), "-c", sql], capture_output=True, text=True, check=True
    )
    (row,) = json.loads(done.stdout)
    assert row["sentence"] == found.sentence
    assert row["established"] is row["comparable"] is True
    assert (row["n"], row["n_both"], row["reason"]) == (600, 600, None)
    for name in ("diff", "ci_low", "ci_high", "p_exact"):
        assert row[name] == pytest.approx(counts[name], abs=1e-12)
