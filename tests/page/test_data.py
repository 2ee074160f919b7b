"""The data inside a page: every number survives the way there and back, and the size stays within its limit."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import sqlanalysis
from sqlanalysis.core import decode
from sqlanalysis.db.statements import fetch, registered
from sqlanalysis.errors import NotFoundError, SchemaError
from sqlanalysis.page import data, report, words
from sqlanalysis.page.draft import Draft

from ..support import report_files


def facts_of(page: Path) -> dict[str, object]:
    block = re.search('<script type="application/json" id="facts">(.*?)</script>', page.read_text())
    assert block
    facts: dict[str, object] = json.loads(block[1])
    return facts


def alike(value: object, wanted: object) -> bool:
    return bool(value == pytest.approx(wanted, rel=1e-9, nan_ok=True)) if isinstance(wanted, float) else value == wanted


def test_a_page_turns_back_into_its_rows(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con, 500)
    con.execute("update images set label = null where image_id % 50 = 3")
    con.execute("update outputs.digits_logreg set pred = -1 where image_id % 60 = 4")
    con.execute("update outputs.digits_logreg set pred = null where image_id % 70 = 5")
    con.execute("update outputs.digits_logreg set confidence = null where image_id % 80 = 6")
    con.execute("update outputs.digits_logreg set confidence = 'nan' where image_id % 90 = 7")
    con.execute("update projections set x = 'nan' where image_id = 8")
    con.execute("delete from projections where image_id = 9")
    page = report.report(con, tmp_path / "page.html", runs=["digits_logreg", "digits_bayes"])
    rows = sqlanalysis.read_report(con, page, table="old")
    assert rows.columns[:4] == ["image_id", "uri", "label", "label_name"]
    exact = "image_id, label, label_name, pred, pred_name, confidence, correct"
    both = con.sql(f"select {exact} from old order by image_id").fetchall()
    wanted = con.sql(f"select {exact} from digits_logreg order by image_id").fetchall()
    assert str(both) == str(wanted), "NaN is no NaN's equal, but reads alike"
    for macro in ("accuracy", "scores", "per_class", "confusion_dense", "calibration_curve", "calibration_error"):
        again, first = (
            con.sql(f"select * exclude (run) from {macro}('{rel}')").fetchall() for rel in ("old", "digits_logreg")
        )
        assert len(again) == len(first)
        for row, wanted in zip(again, first, strict=True):
            assert all(map(alike, row, wanted)), (macro, row, wanted)
    joined = "from old inner join digits_logreg as run using (image_id)"
    assert con.sql(f"select count(*) {joined} where isfinite(run.x) <> (old.x is not null)").fetchall() == [(0,)]
    ((worst, span),) = con.sql(
        f"select max(greatest(abs(old.x - run.x), abs(old.y - run.y))), max(run.x) - min(run.x) {joined} where isfinite(run.x)"
    ).fetchall()
    assert worst < span / 30_000
    uris = con.sql(f"select old.uri, run.uri {joined}").fetchall()
    lineage = Draft(con, 1, "digits_logreg").ask("lineage").row
    assert all(short == words.short_path(uri, words.shared_folder(lineage)) for short, uri in uris)


@pytest.mark.parametrize(
    ("uris", "shown"),
    [
        (["/home/me/a/1.png", "/home/me/b/2.png"], ["a/1.png", "b/2.png"]),
        (["/one/1.png", "/two/x/2.png"], ["one/1.png", "x/2.png"]),
        (["s3://bucket/a.png?key=secret", "https://u:p@host/b/c.png"], ["bucket/a.png", "b/c.png"]),
        (["sha256:0123456789abcdef", r"C:\me\pictures\z.png"], ["sha256:01234567…", "pictures/z.png"]),
    ],
)  # fmt: skip
def test_names_hold_nothing_private(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, uris: list[str], shown: list[str]
) -> None:
    report_files.add_named(con, ["a", "b"], per_class=1, uris=uris)
    page = report.report(con, tmp_path / "page.html")
    sqlanalysis.read_report(con, page)
    lineage = Draft(con, 1, "noisy").ask("lineage").row
    assert [words.short_path(uri, words.shared_folder(lineage)) for uri in uris] == shown
    assert [uri for (uri,) in con.sql("select uri from page order by image_id").fetchall()] == shown
    assert "secret" not in page.read_text()


def test_thumbnails_are_those_of_the_images_mistakes_first(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con, 400, runs=1)
    con.execute("delete from image_bytes where image_id = 11")
    page = report.report(con, tmp_path / "page.html")
    assert "399 of 400 images have a thumbnail" in page.read_text()
    sqlanalysis.read_report(con, page)
    pairs = con.sql(
        "select page.image_id, thumbnail, bytes from page left join image_bytes using (image_id)"
    ).fetchall()
    assert all((small is None) == (image_id == 11) for image_id, small, _ in pairs)
    assert all(small == decode.thumbnail({"bytes": data, "path": None}) for _, small, data in pairs if small)
    wrong = con.sql("select image_id from digits_logreg where not correct order by confidence desc").fetchall()
    ids = pa.table({"image_id": range(400), "position": range(400)})
    with registered(con, "_page_images", ids), registered(con, "_page_suspects", data._NO_SUSPECTS):
        order = [row[0] for row in fetch(con, "thumbnail_order", {"max_images": 400}, run="digits_logreg")]
    assert order[: len(wrong)] == [image_id for (image_id,) in wrong]
    assert sorted(order) == list(range(400))
    rest = con.execute("select label from images where image_id in (select unnest(?))", [order[-300:][:30]]).fetchall()
    assert len({label for (label,) in rest}) >= 8, "classes take turns"


def test_a_page_stays_below_its_limit(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con, 1797, runs=1)
    sizes = {}
    for megabytes in (1.15, 1.3, 25):
        page = report.report(con, tmp_path / f"{megabytes}.html", max_mb=megabytes)
        assert page.stat().st_size < megabytes * 1e6
        sqlanalysis.read_report(con, page)
        sizes[megabytes] = con.sql("select count(thumbnail) from page").fetchall()[0][0]
    assert 0 < sizes[1.15] < sizes[1.3] < sizes[25] == 1797
    text = (tmp_path / "1.15.html").read_text()
    assert f"{sizes[1.15]:,} of 1,797 images have a thumbnail here, mistakes first." in text
    with pytest.raises(SchemaError, match=r"1,797 images and 10 classes needs 1\.1 MB, more than 0\.5; raise max_mb"):
        report.report(con, tmp_path / "none.html", max_mb=0.5)
    assert not (tmp_path / "none.html").exists()


def test_above_the_limit_of_rows_a_sample_is_packed(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_files.add_digits(con, 400, runs=2)
    monkeypatch.setattr(data, "MAX_ROWS", 150)
    page = report.report(con, tmp_path / "page.html")
    assert "The page contains a uniform sample of 150 of 400 images." in page.read_text()
    sqlanalysis.read_report(con, page)
    chosen = con.sql("select image_id from page order by image_id").fetchall()
    assert (
        chosen == con.sql("select image_id from (from images order by sha256 limit 150) order by image_id").fetchall()
    )
    assert con.sql("from page where thumbnail is null").fetchall() == []
    pairs = con.sql(
        "select page.label, run.label from page inner join digits_logreg as run using (image_id)"
    ).fetchall()
    assert all(packed == stored for packed, stored in pairs)


def test_disagreement_counts_the_other_runs(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con, 300)
    probs = report_files.digits()[2]["digits_bayes"]
    report_files.add_run(con, "third", "digits", probs[:200, ::-1])


def test_run_without_a_projection_or_labels(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con, 60, labeled=False)
    page = report.report(con, tmp_path / "page.html", runs="digits_bayes")
    facts = facts_of(page)
    assert facts["labeled"] is False
    sqlanalysis.read_report(con, page)
    # Probabilities place the images.
    assert con.sql("select count(*), count(label), count(x) from page").fetchall() == [(60, 0, 60)]
    packed = data.pack(con, "digits_bayes", [], "", 25)
    assert packed.facts["extent"] is None


def test_what_is_no_page(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file"):
        sqlanalysis.read_report(con, tmp_path / "none.html")
    other = tmp_path / "other.html"
    other.write_text("<!doctype html><p>hello")
    with pytest.raises(SchemaError, match="is not a page of `sqlanalysis report`: it has no block 'facts'"):
        sqlanalysis.read_report(con, other)
    report_files.add_digits(con, 30, runs=1)
    page = report.report(con, tmp_path / "page.html")
    for text in (page.read_text().replace("H4sI", "H4sX", 1), page.read_text().replace('"classes": [', "[", 1)):
        other.write_text(text)
        with pytest.raises(SchemaError, match="the data of the page is damaged"):
            sqlanalysis.read_report(con, other)
