"""What a page takes of a pair of runs in one direction from the other is what the query of that direction gives."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pytest

from sqlanalysis.page.draft import Draft
from sqlanalysis.page.sections.classes import mirrored

from ..support import report_files


@pytest.fixture
def two(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Two runs of digits that lack predictions and outputs, each others; images without labels or with several."""
    report_files.add_digits(con, 600)
    rng = np.random.default_rng(0)
    for run in ("digits_logreg", "digits_bayes"):
        gone, silent, outside = rng.choice(600, (3, 40), replace=False).tolist()
        con.execute(f"update outputs.{run} set pred = null, confidence = null where image_id in {tuple(silent)}")
        con.execute(f"update outputs.{run} set pred = -1 where image_id in {tuple(outside)}")
        con.execute(f"delete from outputs.{run} where image_id in {tuple(gone)}")
    bare, several = rng.choice(600, (2, 50), replace=False).tolist()
    con.execute(f"update images set label = null where image_id in {tuple(bare)}")
    con.execute(f"update images set accepted = [label, (label + 1) % 10] where image_id in {tuple(several)}")
    # A class that only the labels have, and one of a few images.
    con.execute("update outputs.digits_logreg set pred = 1 where pred = 7")
    con.execute("update images set label = null where label = 3 and image_id > 60")
    return con


@pytest.mark.parametrize(("run", "baseline"), [("digits_logreg", "digits_bayes"), ("digits_bayes", "digits_logreg")])
def test_the_other_direction_of_a_pair(two: duckdb.DuckDBPyConnection, run: str, baseline: str) -> None:
    draft = Draft(two, max_images=1)

    def ask(query: str, *pair: str) -> list[dict[str, Any]]:
        return draft.ask(query, run=pair[0], baseline=pair[1]).rows

    changes = ask("class_differences", run, baseline)
    assert len(changes) == 10
    assert any(row["diff"] for row in changes)
    assert any(row["run_only"] != row["baseline_only"] for row in changes)
    assert mirrored(changes) == ask("class_differences", baseline, run)
    assert mirrored(mirrored(changes)) == changes
    (one,), (other,) = ask("run_agreement", run, baseline), ask("run_agreement", baseline, run)
    assert one["agreement"] == other["agreement"]
    assert 0 < one["n"] < 600
    assert one["positive_flips"] != one["negative_flips"]
    assert one == {**other, "positive_flips": other["negative_flips"], "negative_flips": other["positive_flips"]}
    (cells,) = ask("pair_size", run, baseline)
    assert [cells] == ask("pair_size", baseline, run)
    pairs = two.sql(f"select a.label, a.pred, b.pred as other from {run} a join {baseline} b using (image_id)").df()
    assert cells["n_cells"] == len(pairs.dropna().drop_duplicates())
