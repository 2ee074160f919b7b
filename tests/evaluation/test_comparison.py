"""What is comparable, and `compare` in Python, on the command line and in the shell."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

import sqlanalysis
from sqlanalysis import compare
from sqlanalysis.db import catalogue
from sqlanalysis.errors import ArgumentError, NotFoundError, QueryError, SchemaError

from ..support import report_files
from ..support.oracle import rows


def add_runs(con: duckdb.DuckDBPyConnection, **signals: float) -> None:
    """600 images of ten classes with one finished run per signal: the stronger, the better."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 600)
    noise = rng.normal(size=(600, 10))
    report_files.add_images(con, "digits", list("0123456789"), [b"%d" % i for i in range(600)], labels.tolist())
    for run, signal in signals.items():
        logits = noise + 0.5 * rng.normal(size=(600, 10)) + signal * (labels[:, None] == np.arange(10))
        probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        report_files.add_run(con, run, "digits", probs.astype("float32"), n_ok=600)


@pytest.fixture
def two(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A file with two finished runs."""
    add_runs(con, weak=3.0, strong=3.5)
    return con


def pair(con: duckdb.DuckDBPyConnection) -> tuple[Any, ...]:
    sql = "from comparable where run = 'strong' and baseline = 'weak'"
    (row,) = con.execute(sql).fetchall()
    return row[2:5]


def test_comparable_is_one_row_per_ordered_pair(con: duckdb.DuckDBPyConnection) -> None:
    assert con.execute("from comparable").fetchall() == []
    names = ("first", "second", "third")
    add_runs(con, **dict.fromkeys(names, 2.0))
    actual = con.execute("from comparable").fetchall()
    assert sorted(row[:2] for row in actual) == [(b, a) for b in names for a in names if a != b]
    assert {row[2:] for row in actual} == {(True, None, 600, None)}
    con.execute("delete from runs where run <> 'first'")
    assert con.execute("from comparable").fetchall() == []


OTHER_SPACE = "update runs set label_space = 'letters' where run = 'strong'"


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
            "outputs of weak for image bytes that have changed since: 1; images only strong answered: 1",
            599,
        ),
        (
            "update runs set status = 'interrupted' where run = 'weak'",
            "weak is interrupted, not finished",
            600,
        ),
        (
            "update runs set class_policy = 'open' where run = 'strong'",
            "different class policies: open and identity",
            600,
        ),
        (
            OTHER_SPACE,
            "no labeled image that both have answered; different label spaces: letters and digits_classes",
            0,
        ),
        ("update images set label = null", "no labeled image that both have answered", 0),
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
    way = f"force=True compares the {n_both} images" if n_both else "not even with force"
    assert way in str(refused.value)
    if n_both:
        assert compare(two, "strong", "weak", force=True).n == n_both
    else:
        with pytest.raises(SchemaError, match="not even with force"):
            compare(two, "strong", "weak", force=True)


def test_a_random_sample_is_comparable_as_far_as_it_goes(two: duckdb.DuckDBPyConnection) -> None:
    two.execute("delete from outputs.weak where image_id % 3 > 0")
    two.execute("update runs set status = 'sampled', n_ok = 200 where run = 'weak'")
    said = "weak is a sample, 200 of 600 images"
    assert two.sql("select comparable, n_both, sample from comparable").fetchall() == [(True, 200, said)] * 2
    assert f"; {said}: the images that both have answered are compared, and the interval does" in str(
        compare(two, "strong", "weak")
    )
    # It is what has no counterpart in the other run that cannot be compared.
    two.execute("delete from outputs.strong where image_id = 3")
    two.execute("update runs set n_ok = 599 where run = 'strong'")
    assert pair(two) == (False, "images only weak answered: 1", 199)


def test_other_data_sets_and_runs_without_predictions(two: duckdb.DuckDBPyConnection) -> None:
    report_files.add_named(two, ["cat", "dog"])
    sql = "select reason from comparable where run = ? and baseline = 'weak'"
    (reason,) = two.execute(sql, ["noisy"]).fetchall()[0]
    assert reason.startswith("different data sets: named and digits; ")
    assert "different label spaces: named_classes and digits_classes" in reason
    two.execute(
        "insert into runs (run, dataset, model, class_policy, status) values ('light', 'digits', 'f', 'identity', 'finished')"
    )
    two.execute("create table outputs.light (image_id bigint, sha256 varchar, mean float)")
    catalogue.recreate_run_views(two, ["light"])
    (reason,) = two.execute(sql, ["light"]).fetchall()[0]
    assert reason.startswith("light has no predictions; ")
    with pytest.raises(SchemaError, match=r"light has no predictions; .* \(not even with force"):
        compare(two, "light", "weak", force=True)


def test_compare_is_the_macros(two: duckdb.DuckDBPyConnection) -> None:
    actual = compare(two, "strong", "weak", level=0.9, seed=3)
    calls = {
        "scores": "paired_bootstrap({}, level := 0.9, seed := 3)",
        "mcnemar": "mcnemar({}, level := 0.9)",
        "agreement": "agreement({})",
        "classes": "compare_classes({}, level := 0.9)",
        "flips": "flips({})",
    }
    for name, call in calls.items():
        expected = two.sql("from " + call.format("'strong', 'weak'"))
        relation = getattr(actual, name)
        assert relation.columns == expected.columns
        assert len(relation.df()) == len(relation)
        for each, other in zip(relation.fetchall(), expected.fetchall(), strict=True):
            n_same = 4 if each[0] == "accuracy" else None  # accuracy has the interval and the p of verdict
            assert each[:n_same] == pytest.approx(other[:n_same], abs=1e-12)
    (row,) = rows(two, "from verdict('strong', 'weak', level := 0.9)")
    (accuracy,) = (each for each in actual.scores.fetchall() if each[0] == "accuracy")
    assert accuracy[3:] == pytest.approx((row["diff"], row["ci_low"], row["ci_high"], row["p_exact"]), abs=1e-12)
    assert (actual.sentence, actual.n, actual.established) == (row["sentence"], row["n"], row["established"])
    assert (actual.run, actual.baseline, str(actual)) == ("strong", "weak", actual.sentence)
    assert actual.sentence.startswith("strong is better than weak by ")
    assert " ".join(repr(actual).split()) == (
        f"Comparison(run='strong', baseline='weak', n=600, sentence={actual.sentence!r}, established=True)"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        actual.n = 1  # type: ignore[misc]
    assert (
        two.execute("select table_name from duckdb_tables() where table_name like '\\_comp%' escape '\\'").fetchall()
        == []
    )


def test_compare_the_other_way_round(two: duckdb.DuckDBPyConnection) -> None:
    each = compare(two, "strong", "weak")
    other = compare(two, "weak", "strong")
    expected = each.sentence.replace("strong is better than weak", "weak is worse than strong")
    assert other.sentence == expected != each.sentence
    gaps = {row[0]: row[3] for row in each.scores.fetchall()}
    assert {row[0]: -row[3] for row in other.scores.fetchall()} == pytest.approx(gaps)


def test_refusals(two: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(NotFoundError, match="no run 'wek'; did you mean weak"):
        compare(two, "strong", "wek")
    with pytest.raises(NotFoundError, match="no run 'x'"):
        compare(two, "x", "weak")
    with pytest.raises(ArgumentError, match="'weak' is its own baseline"):
        compare(two, "weak", "weak", force=True)
    for level in (0, 1, 95, math.nan):
        with pytest.raises(ArgumentError, match="level must be between 0 and 1, such as 0.95"):
            compare(two, "strong", "weak", level=level)


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
        actual = compare(con, "strong", "weak", level=0.9)
        expected = {name: value.fetchall() for name, value in vars(actual).items() if hasattr(value, "fetchall")}
    arguments = [file, "strong", "weak", "--level", 0.9]
    shown = command(*arguments).stdout
    assert shown.splitlines()[:2] == [actual.sentence, "diff = strong - weak"]
    positions = [
        shown.index(f"\n{name}")
        for name in ("scores\n", "mcnemar\n", "agreement\n", "classes\n", "flips, the first 20 of 50 rows\n")
    ]
    assert positions == sorted(positions)
    decoded = json.loads(command(*arguments, "--format", "json").stdout)
    assert (decoded["sentence"], decoded["n"], decoded["established"]) == (actual.sentence, 600, True)
    for name, table in expected.items():
        for each, other in zip(decoded[name], table, strict=True):
            assert tuple(each.values()) == pytest.approx(other, abs=1e-12)
    lines = command(*arguments, "--format", "csv").stdout.splitlines()
    assert lines[0] == f"# {actual.sentence}"
    classes = list(csv.DictReader(lines[lines.index("# classes") + 1 : lines.index("# flips") - 1]))
    assert [int(row["class"]) for row in classes] == [row[0] for row in expected["classes"]]
    assert "no run 'nope'" in command(file, "nope", "weak", code=1).stderr


def test_force_on_the_command_line(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "open.duckdb"
    copy.write_bytes(file.read_bytes())
    with sqlanalysis.connect(copy) as con:
        con.execute("update runs set class_policy = 'open' where run = 'weak'")
    refused = command(copy, "strong", "weak", code=1)
    assert "different class policies: identity and open (--force compares the 600 images" in refused.stderr
    assert refused.stdout == ""
    assert "n = 600" in command(copy, "strong", "weak", "--force").stdout


def test_the_shell_says_the_same(file: Path, shell: str) -> None:
    with sqlanalysis.connect(file, read_only=True) as con:
        actual = compare(con, "strong", "weak")
        counts = rows(con, "from mcnemar('strong', 'weak')")[0]
    sql = (
        "select v.*, c.n_both, c.comparable, c.reason from verdict('strong', 'weak') as v "
        "cross join comparable as c where c.run = 'strong'"
    )
    done = subprocess.run(
        [shell, "-readonly", "-json", str(file), "-c", sql], capture_output=True, text=True, check=True
    )
    (row,) = json.loads(done.stdout)
    assert row["sentence"] == actual.sentence
    assert row["established"] is row["comparable"] is True
    assert (row["n"], row["n_both"], row["reason"]) == (600, 600, None)
    for name in ("diff", "ci_low", "ci_high", "p_exact"):
        assert row[name] == pytest.approx(counts[name], abs=1e-12)


def test_images_in_groups(file: Path) -> None:
    """The sentence, mcnemar and scores are those of the macros with groups, in Python and on the command line."""
    by = "image_id // 20"
    with sqlanalysis.connect(file, read_only=True) as con:
        actual = compare(con, "strong", "weak", groups=by)
        for name, got in (("mcnemar", actual.mcnemar), ("verdict", None)):
            ((*found,),) = con.execute(f"from {name}('strong', 'weak', groups := {by})").fetchall()
            assert found == list(got.fetchall()[0]) if got is not None else found[0] == actual.sentence
        with pytest.raises(SchemaError, match="no column 'patient'"):
            compare(con, "strong", "weak", groups="patient")
    assert "600 images in 30 groups" in actual.sentence or "n = 600 in 30 groups" in actual.sentence
    assert command(file, "strong", "weak", "--groups", by).stdout.splitlines()[0] == actual.sentence


def test_near_duplicates_widen_the_interval(two: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """In the sentence and on the page, as mcnemar and accuracy with the groups; not where groups are given."""
    plain = compare(two, "strong", "weak")
    assert "near duplicates" not in plain.sentence
    two.execute(
        "create table near as select image_id, (row_number() over (order by correct_run::int - correct_baseline::int, "
        "correct_run, image_id) - 1) // 5 as g from paired('strong', 'weak')"
    ).fetchall()
    pairs = two.execute(
        "select image_id, coalesce(lead(image_id) over (partition by g order by image_id), first(image_id) over "
        "(partition by g order by image_id)), 1, 0.001 from near where g < 40 "
        "union all select image_id, 599 - image_id, 1, 0.5 from near where g >= 40"
    ).fetchall()
    report_files.add_neighbors(two, "strong", pairs)
    two.execute("create view grouped as select s.*, if(g < 40, g, null) as g from strong s join near using (image_id)")
    (test,) = rows(two, "from mcnemar('grouped', 'weak', groups := g)")
    found = compare(two, "strong", "weak")
    assert found.sentence == plain.sentence + (
        "; with near duplicates counted as images that depend on each other, the 95 % interval is "
        f"{100 * test['ci_low']:+.1f} to {100 * test['ci_high']:+.1f} points"
    ) + (" and the difference is not established" if plain.established and test["ci_low"] <= 0 else "")  # fmt: skip
    assert test["ci_low"] < plain.mcnemar.fetchall()[0][8]
    assert "near duplicates" not in compare(two, "strong", "weak", groups="image_id").sentence
    (one,) = rows(two, "from accuracy('grouped', groups := g)")
    sqlanalysis.report(two, tmp_path / "page.html", runs=["strong", "weak"])
    text = " ".join((tmp_path / "page.html").read_text().split())
    n = sum(row[3] < 0.1 for row in pairs)
    assert f"{n} of these images are near duplicates of others (40 groups): with each group counted as" in text
    assert f"the interval is {100 * one['ci_low']:.1f}–{100 * one['ci_high']:.1f}%." in text
    assert "With near duplicates counted as images that depend on each other, the interval is" in text


def test_doubled_outputs_are_an_error_in_words(two: duckdb.DuckDBPyConnection) -> None:
    two.execute("insert into outputs.strong from outputs.strong where image_id % 2 = 0").fetchall()
    with pytest.raises(
        QueryError, match=r"^verdict: strong: \d+ of \d+ rows repeat an image_id, and an image counts once"
    ):
        compare(two, "strong", "weak")
