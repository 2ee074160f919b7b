"""P32: what somebody changed by hand in the tables of a run: verify names it, and drop-run works all the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

import sqlanalysis

Record = Callable[[str, str, str], None]
# A change by hand, and what verify says of which object.
BROKEN = {
    "insert into outputs.mine from outputs.mine limit 3": ("image with several outputs", "mine"),
    "update outputs.mine set pred = 77 where image_id = 3": ("prediction that is no class", "mine"),
    "update outputs.mine set pred = -7 where image_id = 3": ("prediction that is no class", "mine"),
    "update outputs.mine set confidence = 2.5 where image_id = 3": ("confidence that is no probability", "mine"),
    "update outputs.mine set confidence = 'nan' where image_id = 3": ("confidence that is no probability", "mine"),
    "update outputs.mine set probs = [5, 0, 0] where image_id = 3": ("probs that are no probabilities", "mine"),
    "update outputs.mine set probs = ['nan'::float, 0, 0] where image_id = 3": (
        "probs that are no probabilities", "mine",
    ),
    "update outputs.mine set probs = [1.5, -0.5, 0] where image_id = 3": ("probs that are no probabilities", "mine"),
    "update outputs.mine set image_id = 999 where image_id = 3": (
        "outputs for image bytes that have changed since", "mine",
    ),
    "update runs set n_ok = 3 where run = 'mine'": ("finished run that lacks images", "mine"),
    "update images set label = 99 where image_id = 1": ("label outside the label space", "pets"),
    "drop table outputs.mine": ("run without its table", "mine"),
    "drop view mine": (None, "mine"),  # made again when the file is opened, which is said
    "drop view predictions": (None, "predictions"),
    "drop view other; create table other as select 1 as x": ("run without its view", "other"),
    "drop table outputs.mine; create view outputs.mine as select 1 as image_id": ("cannot be read", "check_database"),
    "alter table outputs.mine drop column confidence": ("cannot be read", "check_database"),
    "delete from runs where run = 'other'": ("derived run without one of its members", "pooled"),
    "delete from runs where run in ('other', 'pooled')": ("table of outputs without a run", "other"),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """Two runs, and one that is derived from both."""
    file = tmp_path_factory.mktemp("broken") / "whole.duckdb"
    with sqlanalysis.connect(file) as con:
        sqlanalysis.add_images(con, photos, dataset="pets", show_progress=False)
        rows = con.sql(
            "select uri as path, label as pred, [label = 0, label = 1, label = 2]::float[] as probs from images"
        ).to_arrow_table()
        for run in ("mine", "other"):
            sqlanalysis.add_predictions(con, rows, run)
        sqlanalysis.ensemble(con, ["mine", "other"], "pooled")
        assert sqlanalysis.verify(con, show_progress=False).ok
    return file


@pytest.mark.parametrize("change", BROKEN)
def test_broken_runs_are_named_and_dropped(
    change: str, whole: Path, tmp_path: Path, figure: Record, caplog: pytest.LogCaptureFixture
) -> None:
    file = Path(shutil.copy(whole, tmp_path / "e.duckdb"))
    with duckdb.connect(str(file)) as plain:
        for statement in change.split("; "):
            plain.execute(statement).fetchall()
    with sqlanalysis.connect(file) as con:
        problem, thing = BROKEN[change]
        found = sqlanalysis.verify(con, show_progress=False)
        assert found.ok == (problem is None)
        if problem is None:
            assert f"{thing} had been changed or dropped; restored" in caplog.text
        assert problem is None or any(text.startswith(problem) and name == thing for text, name, _ in found.tables), (
            found.tables
        )
        left = {run for (run,) in con.sql("select run from runs").fetchall()}
        for run in ("pooled", "mine"):
            if run in left:
                sqlanalysis.drop_run(con, run)
        assert con.sql("select run from runs").fetchall() == [("other",)] * ("other" in left)
        assert con.sql("select 1 from duckdb_tables() where table_name = 'mine'").fetchall() == []
        taken = "create table other" in change
        n = con.sql("select count(*) from predictions").fetchall()
        assert n == [(18 if "other" in left and not taken else 0,)]
        if taken:  # what is not ours stays
            assert con.sql("from main.other").fetchall() == [(1,)]
        elif "other" in left and "label" not in change:
            assert sqlanalysis.verify(con, show_progress=False).ok
    figure("P32 verify", "each kind of broken run is named; drop-run works", problem or "restored")
