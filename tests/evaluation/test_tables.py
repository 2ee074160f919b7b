"""What results look like in a notebook: the figures of the macros, as people read them; nothing unescaped."""

from __future__ import annotations

import html
import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from scipy.stats import binomtest

import sqlanalysis as sq
from sqlanalysis.core import tables

from ..support import report_files


def cells(text: str) -> list[list[str]]:
    """The text of every row of the body."""
    rows = re.findall(r"<tr>(<td.*?)</tr>", text)
    return [[html.unescape(one) for one in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]


@pytest.fixture
def runs(con: duckdb.DuckDBPyConnection, photos: Path) -> duckdb.DuckDBPyConnection:
    """18 photos; `good` is right on 17 of them and `bad` on 9; classes 0 and 2 have the same numbers in both."""
    sq.add_images(con, photos, dataset="p")
    con.execute("update classes set name = '<i>' || name")
    for run, pred in (
        ("good", "case when image_id = 18 then 0 else label end"),
        ("bad", "case when image_id > 17 or label = 1 or image_id < 3 then (label + 1) % 3 else label end"),
    ):
        sq.add_predictions(
            con, con.sql(f"select uri as path, {pred} as pred, 0.5 as confidence from images").to_arrow_table(), run
        )
    return con


def test_a_comparison_has_the_figures_of_its_relations(runs: duckdb.DuckDBPyConnection) -> None:
    found = sq.compare(runs, "good", "bad")
    text = found._repr_html_()
    rows = cells(text)
    row = next(row for row in rows if row[0] == "accuracy")
    assert row[1:4] == ["94.4%", "50.0%", "+44.4"]
    only = runs.sql("select run_only, baseline_only from mcnemar('good', 'bad')").fetchall()[0]
    p = binomtest(only[0], sum(only)).pvalue
    assert row[5] == f"{p:.3f}"
    low, high = runs.sql("select ci_low, ci_high from verdict('good', 'bad')").fetchall()[0]
    assert row[4] == f"{100 * low:+.1f} to {100 * high:+.1f}"
    assert 'class="number right">+44.4' in text
    by_class = {row[0]: row for row in rows if row[0].startswith("<i>")}
    assert by_class.keys() == {"<i>cat", "<i>dog", "<i>owl"}
    assert by_class["<i>dog"][1:5] == ["6", "100.0%", "0.0%", "+100.0"]
    assert by_class["<i>owl"][4] == "+0.0"
    assert 'class="number quiet">+0.0' in text
    assert "<i>" not in text
    other = sq.compare(runs, "bad", "good")._repr_html_()
    assert 'class="number wrong">−44.4' in other
    assert html.escape(found.sentence) in text


def test_a_comparison_whose_connection_is_closed_keeps_its_sentence(tmp_path: Path) -> None:
    with sq.connect(tmp_path / "x.duckdb") as con:
        report_files.add_named(con, ["a", "b"])
        (name,) = con.sql("select run from runs limit 1").fetchall()[0]
        rows = con.sql("select image_id, label as pred from images").to_arrow_table()
        sq.add_predictions(con, rows, "again")
        found = sq.compare(con, "again", name, force=True)
    assert html.escape(found.sentence) in found._repr_html_()


def test_a_check_shows_each_expectation_in_the_color_of_its_status(
    runs: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    warned = tmp_path / "<b>.sql"
    warned.write_text("-- Nothing.\n-- severity: warn\nselect '<script>' as message")
    broken = tmp_path / "broken.sql"
    broken.write_text("select nothing from nowhere")
    found = sq.check(runs, [warned, broken], run="bad", min_accuracy=0.9)
    text = found._repr_html_()
    by_name = {row[1]: row for row in cells(text)}
    assert by_name["min_accuracy"][0] == "✗ fail"
    assert by_name["sound_run"][:3] == ["✓ pass", "sound_run", "0"]
    assert by_name["<b>.sql"] == ["! warn", "<b>.sql", "1", "<script>"]
    assert by_name["broken.sql"][0] == "✗ error"
    assert by_name["broken.sql"][2] == "–"
    assert "bad: not passed" in text
    assert "<script>" not in text


def test_problems_that_verify_finds_are_listed(runs: duckdb.DuckDBPyConnection) -> None:
    assert "18 images compared with their hash: no problem" in sq.verify(runs)._repr_html_()
    runs.execute("update images set sha256 = 'x' where image_id = 3")
    rows = cells(sq.verify(runs)._repr_html_())
    assert [rows[0][0], rows[0][2]] == ["3", "changed"]
    assert rows[0][1].endswith("cat/2.jpg")


def test_other_results_name_their_numbers(runs: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path) -> None:
    bad = tmp_path / "cat"
    bad.mkdir()
    (bad / "x.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (bad / "y.jpg").write_bytes((photos / "cat" / "1.jpg").read_bytes())
    found = sq.add_images(runs, tmp_path, dataset="q")
    text = found._repr_html_()
    rows = dict(cells(text))
    assert (rows["dataset"], rows["added"], rows["errors"], rows["columns"]) == ("q", "1", "1", "none")
    assert '<td class="wrong">1</td>' in text
    assert all(html.escape(note) in text for note in found.notes)
    assert "<title>" not in text


@pytest.mark.parametrize(
    ("name", "value", "columns", "text"),
    [
        ("accuracy", 0.98123, (), "98.1%"),
        ("accuracy", 0.99999, (), "100.00%"),
        ("accuracy", 1.0, (), "100.0%"),
        ("accuracy", Decimal("0.5"), (), "50.0%"),
        ("accuracy", math.nan, (), "nan"),
        ("accuracy", 1.5, (), "1.5"),
        ("confidence", -1.0, (), "-1"),
        ("ci_low", 0.25, ("accuracy", "ci_low"), "25.0%"),
        ("ci_low", 0.25, ("diff", "ci_low"), "0.25"),
        ("n", 1234567, (), "1,234,567"),
        ("n_wrong", 1234, (), "1,234"),
        ("image_id", 1234567, (), "1234567"),
        ("correct", True, (), "✓ right"),
        ("correct_accepted", False, (), "✗ wrong"),
        ("is_current", True, (), "true"),
        ("correct", 89, (), "89"),
        ("label_name", None, (), ""),
        ("x", b"12345", (), "5 bytes"),
        ("x", [0.123456789] * 9, (), "[0.123457, 0.123457, 0.123457, 0.123457, … 9 values]"),
    ],
)  # fmt: skip
def test_a_value_is_written_by_what_its_column_holds(
    name: str, value: Any, columns: tuple[str, ...], text: str
) -> None:
    assert tables.cell(name, value, columns).text == text
