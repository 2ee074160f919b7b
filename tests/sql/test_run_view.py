"""A run view and a table of its rows give equal answers, also where a query reads the view twice."""

from __future__ import annotations

import duckdb
import pytest

from ..support import report_files
from ..support.oracle import flat


@pytest.mark.parametrize("call", ["accuracy", "per_class", "scores", "summary", "calibration_error", "confusion_dense"])
def test_a_view_that_is_read_twice(con: duckdb.DuckDBPyConnection, call: str) -> None:
    """DuckDB 2.0.1 took the two scans of classes for one and gave the prediction for the label."""
    report_files.add_digits(con, 200)
    con.execute("update outputs.digits_logreg set pred = (pred + 1) % 10 where image_id % 3 = 0").fetchall()
    con.execute("create table copied as from digits_logreg").fetchall()
    con.execute("reset disabled_optimizers").fetchall()  # as a shell opens the file
    answers = [
        con.execute(f"select * exclude (run) from {call}('{relation}')").fetchall()
        for relation in ("digits_logreg", "copied")
    ]
    assert flat(answers[0]) == pytest.approx(flat(answers[1]), abs=1e-12)
    right = "select count(*) filter (where label_name = pred_name) from {0} where exists (from {0})"
    assert con.sql(right.format("digits_logreg")).fetchall() == con.sql(right.format("copied")).fetchall()
