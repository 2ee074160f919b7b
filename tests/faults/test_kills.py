"""Crashes: at random moments, at every named point, in checkpoints, in a migration; and what is left of the file."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

import sqlanalysis

from . import harness
from .harness import Quiet

Record = Callable[[str, str, str], None]
Scale = Callable[[int, int], int]


def test_random_kills(quiet: Quiet, tmp_path: Path, scale: Scale, figure: Record) -> None:
    chance, wanted, kills, rounds, repeated = random.Random(0), scale(10, 500), 0, 0, 0
    repaired = len(quiet.repaired)
    while kills < wanted:
        rounds += 1
        file = quiet.fresh(tmp_path / f"round{rounds}.duckdb")
        before, finished = 0, False
        options = {"checkpoint": "10KB"} if rounds % 2 else {}
        while not finished:
            after = chance.uniform(0, quiet.seconds * 0.6) if kills < wanted else None
            outcome = quiet.run(file, kill_after=after, **options)
            finished = outcome.finished
            kills += not finished
            stored = harness.check(quiet, file, outcome, before)
            repeated = max(repeated, (before + outcome.started - stored + 63) // 64)
            before = stored
        assert harness.outputs(file) == quiet.outputs
        file.unlink()
    repaired = len(quiet.repaired) - repaired
    figure(
        "P1 crash",
        "500 kills: 0 rows lost, 0 duplicates, 0 files that fail to open",
        f"{kills} kills: 0, 0, 0; {repaired} after recover",
    )
    figure("P2 resume", "equal tables in all; at most 3 blocks repeated", f"{rounds} of {rounds} runs; {repeated}")
    assert repeated <= 3, "two in work and the one that is being committed"


@pytest.mark.parametrize("point", ["read", "hash", "decode", "insert", "commit", "committed"])
def test_kill_at_every_point(quiet: Quiet, tmp_path: Path, point: str, scale: Scale, figure: Record) -> None:
    number, tried = 1, 0
    while True:
        file = quiet.fresh(tmp_path / f"{point}{number}.duckdb")
        outcome = quiet.run(file, fault=f"{point}:{number}:kill")
        if outcome.finished:
            break
        assert outcome.code == -9
        harness.check(quiet, file, outcome)
        harness.finish(quiet, file)
        tried += 1
        if tried == scale(2, 12):
            break
        number += scale(7, 3)
    assert tried
    figure("P1 crash", f"kill at {point!r}: invariants hold, resume equals", f"{tried} of {tried}")


@pytest.mark.parametrize("point", ["insert", "commit", "committed"])
def test_an_error_at_every_point_of_writing(quiet: Quiet, tmp_path: Path, point: str) -> None:
    for number in (1, 4, 6):
        file = quiet.fresh(tmp_path / f"{point}{number}.duckdb")
        outcome = quiet.run(file, fault=f"{point}:{number}:raise")
        assert outcome.code == 1
        assert f"fault at {point}" in outcome.stderr
        with sqlanalysis.connect(file) as con:
            assert con.sql("from check_database where problem not like 'finished run%'").fetchall() == []
        harness.finish(quiet, file)


def test_an_error_while_decoding_is_one_row(quiet: Quiet, file: Path, figure: Record) -> None:
    outcome = quiet.run(file, fault="decode:17:raise")
    assert outcome.finished
    rows = harness.outputs(file)
    assert len(rows) == harness.N_IMAGES - 1
    assert set(rows) < set(quiet.outputs)
    with sqlanalysis.connect(file) as con:
        assert con.sql("select stage, error, message from errors").fetchall() == [
            ("decode", "OSError", "fault at decode")
        ]
    harness.finish(quiet, file, retry=True)
    figure("P3 accounting", "n_in = n_ok + n_error on every run", "300 = 299 + 1; 300 = 300 + 0 after a second try")


@pytest.mark.parametrize("step", ["before_header", "before_truncate", "after_free_list_write"])
def test_a_checkpoint_that_ends_half_way(quiet: Quiet, file: Path, step: str) -> None:
    """DuckDB's own switch: the checkpoint at the end throws, or the process ends; the file is whole."""
    outcome = quiet.run(file, abort=step, checkpoint="10KB")
    assert not outcome.finished
    assert "checkpoint aborted" in outcome.stderr.lower() or outcome.code < 0
    with sqlanalysis.connect(file) as con:
        assert con.sql("from check_database where problem not like 'finished run%'").fetchall() == []
    harness.finish(quiet, file)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("kind", ["kill", "raise"])
def test_an_upgrade_that_ends_half_way(quiet: Quiet, file: Path, kind: str, number: int, figure: Record) -> None:
    with sqlanalysis.connect(file) as con:
        con.execute("update schema_version set catalogue = 'older'")
        con.execute("drop macro table worst_mistakes")
    point = "migrate:1" if number == 1 else "commit:1"
    outcome = quiet.run(file, fault=f"{point}:{kind}")
    assert outcome.code == (-9 if kind == "kill" else 1)
    with sqlanalysis.connect(file) as con:
        assert con.sql("select count(*) from help where name = 'worst_mistakes'").fetchall() == [(1,)]
    harness.finish(quiet, file)
    figure("P18 upgrade", "ended half way: old or new, never between", f"{kind} at {point}: whole")


@pytest.mark.parametrize("point", ["write", "rename"])
@pytest.mark.parametrize("kind", ["kill", "raise"])
def test_a_report_that_ends_half_way(quiet: Quiet, tmp_path: Path, file: Path, point: str, kind: str) -> None:
    harness.finish(quiet, file)
    page = tmp_path / "page.html"
    assert quiet.run(file, report=str(page)).code == 0
    old = page.read_bytes()
    outcome = quiet.run(file, fault=f"{point}:1:{kind}", report=str(page))
    assert outcome.code == (-9 if kind == "kill" else 1)
    assert page.read_bytes() == old
    assert quiet.run(file, report=str(page)).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "work.duckdb"]


def test_little_memory_loses_nothing(quiet: Quiet, tmp_path: Path, scale: Scale, figure: Record) -> None:
    """F7: a process that may take only so much more memory ends with an error or an abort, or makes error rows."""
    steps, stopped, finished = scale(4, 40), 0, 0
    for number in range(steps):
        file = quiet.fresh(tmp_path / f"memory{number}.duckdb")
        outcome = quiet.run(file, memory=2**20 * (64 + 1400 * number // steps))
        assert outcome.finished or outcome.code != 0
        stopped, finished = stopped + (not outcome.finished), finished + outcome.finished
        harness.check(quiet, file, outcome)
        harness.finish(quiet, file, retry=True)
    assert stopped
    figure("P6 memory", "too little memory: invariants hold, resume equals", f"{stopped} failed, {finished} whole runs")
