"""What a notebook shows: the page in a sandboxed frame, rows with thumbnails; nothing unescaped, nothing whole."""

from __future__ import annotations

import base64
import html
import io
import pickle
import re
from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image

import sqlanalysis
from sqlanalysis import cli
from sqlanalysis.core import decode
from sqlanalysis.errors import ArgumentError
from sqlanalysis.page import notebook, report

from ..support import report_files


def sources(text: str) -> list[bytes]:
    return [base64.b64decode(data) for data in re.findall(r'src="data:image/webp;base64,([^"]+)"', text)]


def test_page_is_a_path_and_a_frame(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_named(con, report_files.HOSTILE)
    page = sqlanalysis.report(con, tmp_path / "page.html")
    assert isinstance(page, Path)
    assert page == tmp_path / "page.html"
    assert pickle.loads(pickle.dumps(page)) == page
    frame = page._repr_html_()
    assert frame is not None
    assert re.findall(r'sandbox="([^"]*)"', frame) == ["allow-scripts allow-downloads"]
    (inside,) = re.findall(r'srcdoc="([^"]*)"', frame)
    assert html.unescape(inside) == page.read_text(encoding="utf-8")
    assert frame.count("<iframe") == 1
    assert "<script" not in frame
    page.unlink()
    assert page._repr_html_() is None


def test_large_page_is_not_put_in_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = notebook.Page(tmp_path / "<b>.html")
    page.write_text("<!doctype html>" + "x" * 100)
    monkeypatch.setattr(notebook, "MAX_FRAME", 50)
    shown = page._repr_html_() or ""
    assert "too large" in shown
    assert "&lt;b&gt;.html" in shown
    assert "xxx" not in shown


def test_report_opens_the_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    opened: list[str] = []
    monkeypatch.setattr(report.webbrowser, "open", opened.append)
    database = tmp_path / "digits.duckdb"
    with sqlanalysis.connect(database) as con:
        report_files.add_named(con, ["a", "b"])
    for flags in ([], ["--open"]):
        done = CliRunner().invoke(cli.app, ["report", str(database), str(tmp_path / "p.html"), *flags])
        assert done.exit_code == 0, done.output
    assert opened == [(tmp_path / "p.html").resolve().as_uri()]


def test_show_has_thumbnails_and_escaped_text(con: duckdb.DuckDBPyConnection) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype="uint8")
    whole = decode.encode(pixels)
    report_files.add_images(con, "x", report_files.HOSTILE, [whole] * 4, [0, 1, 2, None])
    rows = sqlanalysis.show(
        con.sql(
            "select image, label_name, [1, 2, 3]::float[] as short, range(1000) as long, repeat('y', 900) as wide, "
            "'<i>' as \"<u>\", image.bytes as raw from image_files left join (select class as label, name as "
            "label_name from classes) using (label) order by image_id"
        ),
        limit=3,
    )
    text = rows._repr_html_()
    assert (rows.n_shown, rows.more) == (3, True)
    assert "3 rows shown, there are more" in text
    small = [Image.open(io.BytesIO(data)) for data in sources(text)]
    assert [picture.size for picture in small] == [(96, 72)] * 3
    assert len(text) < 40_000 < len(whole)
    assert not re.search(r"<(?!/?(div|style|table|thead|tbody|tr|th|td|p|img)\b)", text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<th>&lt;u&gt;</th>" in text
    assert "[1, 2, 3]" in text
    assert "… 1,000 values]" in text
    assert "y" * 200 + "…" in text
    assert f"{len(whole):,} bytes" in text
    assert "/home" not in text


def test_show_of_unreadable_images_and_no_rows(con: duckdb.DuckDBPyConnection) -> None:
    struct = "{'bytes': %s, 'path': %s}::struct(bytes blob, path varchar)"
    values = [("'no image'::blob", "null"), ("null", "'/none/<x>.png'"), ("null", "null")]
    sql = " union all ".join(f"select {struct % value} as image" for value in values)
    text = sqlanalysis.show(con.sql(f"{sql} union all select null")).html
    assert text.count("no image: ") == 3
    assert "&lt;x&gt;" in text
    assert "<img" not in text
    empty = sqlanalysis.show(con.sql("from image_files"))
    assert (empty.n_shown, empty.more) == (0, False)
    assert "<th>image</th>" in empty.html


def test_show_refuses_wrong_numbers(con: duckdb.DuckDBPyConnection) -> None:
    for options in ({"limit": 0}, {"size": 0}, {"size": 257}):
        with pytest.raises(ArgumentError, match="at least 1"):
            sqlanalysis.show(con.sql("from images"), **options)  # type: ignore[arg-type]


def test_head_shows_pictures_and_computes_no_deferred_column(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    calls = []

    def counted(image: Image.Image) -> np.ndarray:
        calls.append(image.size)
        return np.asarray(image.resize((4, 2)), np.float32)

    sqlanalysis.add_images(con, photos)
    sqlanalysis.defer(con, "input", counted)
    sqlanalysis.defer(con, "gray", lambda image: np.asarray(image.convert("L"), np.float32))
    con.execute("create temp view prepared as select image_id, image, input(image) as input from image_files")
    calls.clear()
    for sql in (
        "select image_id, image, input(image) from image_files order by image_id",
        "select image_id, image, input(image) as x from image_files order by image_id",
        "with a as (select image_id, image, input(image) as x from image_files) select * from a order by image_id",
        "from prepared order by image_id",
    ):
        rows = sqlanalysis.head(con.sql(sql), 3)
        assert (rows.n_shown, rows.more, rows.html.count("<img ")) == (3, True, 3)
        assert rows.html.count("<td>deferred (2, 4, 3)</td>") == 3
        lines = repr(rows).splitlines()
        assert [line.split()[0] for line in lines] == ["image_id", "1", "2", "3", "3"]
        assert all("0.jpg" in line or "1.jpg" in line or "2.jpg" in line for line in lines[1:4])
        assert lines[1].endswith("deferred (2, 4, 3)")
    assert "deferred (varies, varies)" in repr(sqlanalysis.head(con.sql("select gray(image) as g from image_files")))
    assert calls == []
    # A condition on the value must compute it, and what only looks like the column is shown.
    assert sqlanalysis.head(con.sql("select input(image) as x from prepared where input[1][1][1] >= 0")).n_shown == 5
    assert 0 < len(calls) <= 18
    assert "[1, 2]" in repr(sqlanalysis.head(con.sql("select [1, 2] as input")))


def test_text_fits_a_line_and_is_harmless(con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    rows = con.sql(
        "select 'a\x1b[31m' as t, repeat('x', 500) as long, '日本' as wide, 'none of this fits' as rest, 5 as last"
    )
    first, second, last = repr(sqlanalysis.show(rows)).splitlines()
    assert first.split() == ["t", "long", "wide"]
    assert len(second) <= 60
    assert "\x1b" not in second
    assert last == "1 rows; 2 more columns"
