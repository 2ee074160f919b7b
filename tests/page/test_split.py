"""A page of one split is the page of a file that holds no other images; its queries give its numbers in any shell."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import sqlanalysis
from sqlanalysis.errors import NotFoundError, QueryError
from sqlanalysis.page import report

from ..support import report_files
from .test_report import Page, same

N_VAL, N_TRAIN = 60, 90
FACTS = re.compile(r'<script type="application/json" id="facts">(.*?)</script>', re.DOTALL)


def write_images(folder: Path) -> None:
    """val/ and train/, each with the classes a, b and c; one picture of train is in val, too, under another label."""
    chance = np.random.default_rng(3)
    for split, n in (("val", N_VAL), ("train", N_TRAIN)):
        for number in range(n):
            place = folder / split / "abc"[number % 3]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(chance.integers(0, 256, (24, 20 + number % 9, 3), dtype=np.uint8)).save(
                place / f"{number:03}.png"
            )
    shutil.copy(folder / "val" / "a" / "000.png", folder / "train" / "b" / "copy.png")


def add_runs(con: duckdb.DuckDBPyConnection, splits: tuple[str, ...]) -> None:
    """Run `new` answers all images (those of train nearly always right), `old` only those of val."""
    rows = con.execute("select image_id, label, split, uri from images order by image_id").fetchall()
    for run, skill, answers in (("new", 2.0, splits), ("old", 1.4, ("val",))):
        ids, probs = [], []
        for image_id, label, split, uri in rows:
            if split not in answers:
                continue
            chance = np.random.default_rng([len(run), *map(ord, uri[-20:])])
            logits = chance.normal(size=3) + np.eye(3)[label] * (skill if split == "val" else 9)
            ids.append(image_id)
            probs.append((np.exp(logits) / np.exp(logits).sum()).astype(np.float32))
        columns = {"image_id": ids, "probs": pa.array(probs, pa.list_(pa.float32()))}
        sqlanalysis.add_predictions(con, pa.table(columns), run)


def made(folder: Path, splits: tuple[str, ...] = ("val", "train")) -> Path:
    """An evaluation file over these splits; val comes first, so that its images have the same ids in both files."""
    write_images(folder / "images")
    file = folder / "e.duckdb"
    with sqlanalysis.connect(file) as con:
        for split in splits:
            sqlanalysis.add_images(
                con, folder / "images" / split, dataset="made", split=split, classes=list("abc"), show_progress=False
            )
        add_runs(con, splits)
        sqlanalysis.measure_images(con, show_progress=False)
    return file


def facts_of(path: Path) -> dict[str, Any]:
    (text,) = FACTS.findall(path.read_text(encoding="utf-8"))
    return json.loads(text)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("both"))


def test_it_is_the_page_of_a_file_without_the_other_images(file: Path, tmp_path: Path) -> None:
    alone = made(tmp_path, ("val",))
    pages = {}
    for name, database, split in (("of_split", file, "val"), ("alone", alone, None)):
        with sqlanalysis.connect(database, read_only=True, safe=True) as con:
            pages[name] = Path(report.report(con, tmp_path / f"{name}.html", ["new", "old"], split=split))
            assert con.sql("select count(*) from new").fetchall() == [(N_VAL + (name == "of_split") * (N_TRAIN + 1),)]
    ours, theirs = (Page(path.read_text(encoding="utf-8")) for path in pages.values())
    assert "new on made, split val" in ours.text
    tables = {
        caption: rows for caption, rows in theirs.tables.items() if not caption.startswith(("Checks", "What was"))
    }
    assert len(tables) > 8
    when = re.compile(r"\d\d\d\d-\d\d-\d\d.*UTC|/.*")
    for caption, rows in tables.items():
        assert [[when.sub("", cell) for cell in row] for row in ours.tables[caption]] == [
            [when.sub("", cell) for cell in row] for row in rows
        ], caption
    ours_facts, theirs_facts = (facts_of(path) for path in pages.values())
    assert ours_facts["n"] == theirs_facts["n"] == N_VAL
    assert ours_facts["sections"].pop("checks")["Leaks"]["steps"] == [1], "the image of val that is in train, too"
    assert theirs_facts["sections"].pop("checks") == {}
    assert ours_facts["sections"] == theirs_facts["sections"]
    assert set(ours_facts["views"]) == {"new", "old"}
    assert theirs_facts["views"] == {}


def test_copies_in_another_split_are_still_found(file: Path, tmp_path: Path) -> None:
    with sqlanalysis.connect(file, read_only=True) as con:
        page = Page(Path(report.report(con, tmp_path / "page.html", "new", split="val")).read_text(encoding="utf-8"))
    checks = dict(page.table("Checks"))
    assert checks["image contents in more than one split"] == "1"
    assert checks["image contents with more than one label"] == "1"


def test_near_duplicates_in_another_split_are_still_found(tmp_path: Path) -> None:
    file = made(tmp_path)
    with sqlanalysis.connect(file) as con:
        first = con.execute("select min(image_id) from images where split = 'train'").fetchall()[0][0]
        # Image 7 of val is nearly one of train; 8 and 9 of val are nearly the same; two of train concern nobody here.
        pairs = [(7, first + 5, 1e-6), (8, 9, 2e-6), (first + 1, first + 2, 1e-6)]
        near = {one: (other, distance) for a, b, distance in pairs for one, other in ((a, b), (b, a))}
        ids = [row[0] for row in con.execute("select image_id from new").fetchall()]
        others = {image_id: near.get(image_id, (image_id % len(ids) + 1, 0.5)) for image_id in ids}
        report_files.add_neighbors(con, "new", [(one, other, 1, distance) for one, (other, distance) in others.items()])
        page = Page(Path(report.report(con, tmp_path / "page.html", "new", split="val")).read_text(encoding="utf-8"))
    checks = dict(page.table("Checks"))
    assert checks["pairs of near duplicates"] == "2"
    assert checks["pairs of near duplicates in different splits"] == "1"


def test_errors_and_missing_images_are_those_of_the_split(file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path / "e.duckdb")
    with sqlanalysis.connect(tmp_path / "e.duckdb") as con:
        # Three of train failed and two of val; one of val has neither output nor error.
        for split, n in (("train", 3), ("val", 2)):
            con.execute(
                "insert into errors (run, dataset, image_id, stage, error, message) select 'new', 'made', image_id, 'decode', "
                "'OSError', 'x' from images where split = ? order by image_id limit ?",
                [split, n],
            )
        con.execute("delete from outputs.new where image_id in (select image_id from errors where run = 'new')")
        con.execute("delete from outputs.new where image_id = (select max(image_id) from images where split = 'val')")
        con.execute("update runs set n_ok = n_ok - 6, n_errors = 5 where run = 'new'")
        page = Page(Path(report.report(con, tmp_path / "page.html", "new", split="val")).read_text(encoding="utf-8"))
        whole = Page(Path(report.report(con, tmp_path / "whole.html", "new")).read_text(encoding="utf-8"))
    assert "Images that failed: 2 (2 × decode OSError)" in page.text
    assert "Images with neither output nor error: 1;" in page.text
    assert "57 of 60 have an output" in page.text
    assert "Images that failed: 5 (5 × decode OSError)" in whole.text


def test_runs_of_other_images_are_compared_on_the_split(file: Path, tmp_path: Path) -> None:
    with sqlanalysis.connect(file, read_only=True) as con:
        whole = Path(report.report(con, tmp_path / "whole.html", ["new", "old"])).read_text(encoding="utf-8")
        page = Path(report.report(con, tmp_path / "page.html", ["new", "old"], split="val")).read_text(encoding="utf-8")
    assert "images only new answered: 91" in whole
    assert "images only new answered" not in page


def answers_of(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The queries of the next page with the rows that it shows."""
    answers: dict[str, Any] = {}
    render = report._render
    monkeypatch.setattr(report, "_render", lambda context: (answers.update(context["answers"]), render(context))[1])
    return answers


def test_every_query_gives_the_numbers_of_the_page_in_the_shell(
    tmp_path: Path, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = made(tmp_path)
    with sqlanalysis.connect(file) as con:
        # What is wrong with the whole file is not what is wrong with the runs of the page.
        sqlanalysis.add_predictions(
            con, con.sql("select image_id, pred, confidence from new").to_arrow_table(), "third"
        )
        con.execute("update images set sha256 = repeat('0', 64) where image_id = 3")
        ids = con.sql("select image_id, image_id % 150 + 1, 1, 0.5 from new").fetchall()
        report_files.add_neighbors(con, "new", ids)
        problems = con.sql("select count(*), sum(n) from check_database").fetchall()
    answers = answers_of(monkeypatch)
    with sqlanalysis.connect(file, read_only=True) as con:
        path = Path(report.report(con, tmp_path / "page.html", ["new", "old"], split="val"))
        n, right = con.sql("select count(*), count(*) filter (where correct) from new where split = 'val'").fetchall()[
            0
        ]
    queries = Page(path.read_text(encoding="utf-8")).queries()
    assert len(queries) > 25
    for name, sql in queries.items():
        command = [shell, "-readonly", "-json", str(file), "-c", sql]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not done.stderr, (name, done.stderr)
        rows = json.loads(done.stdout or "[]")
        if name == "map_vectors":  # the page keeps no rows of it
            assert len(rows) == n
            continue
        assert len(rows) == len(answers[name].rows), name
        for row, wanted in zip(rows, answers[name].rows, strict=True):
            listed = [list(value) if isinstance(value, tuple) else value for value in wanted.values()]
            differing = [pair for pair in zip(row.items(), listed, strict=True) if not same(pair[0][1], pair[1])]
            assert not differing, (name, differing)
    (key,) = answers["key_figures"].rows
    assert (key["n"], key["correct"]) == (n, right) == (N_VAL - 1, right)
    found = answers["database_problems"].rows
    assert [(sum(row["n_objects"] for row in found), sum(row["n"] for row in found))] == problems != [(0, None)]


@pytest.mark.parametrize("split", ["a\rb", "a\nb", "a'b", "日本 %d {x} $ids", "-- no */ ;"])
def test_odd_names_of_splits(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str) -> None:
    shutil.copy(file, tmp_path / "e.duckdb")
    answers = answers_of(monkeypatch)
    with sqlanalysis.connect(tmp_path / "e.duckdb") as con:
        con.execute("update images set split = ? where split = 'val'", [split])
        page = Path(report.report(con, tmp_path / "page.html", "new", split=split)).read_bytes().decode()
    assert (b"\r" in page.encode()) is False
    assert answers["key_figures"].row["n"] == N_VAL
    (code,) = re.findall(r'id="sql-key_figures".*?<code>(.*?)</code>', page, re.DOTALL)
    with duckdb.connect(tmp_path / "e.duckdb", read_only=True) as con:
        (row,) = con.sql(html.unescape(code.replace("&#13;", "\r")).strip().rstrip(";")).fetchall()
    assert list(row) == [pytest.approx(value) for value in answers["key_figures"].row.values()]


def test_what_other_splits_lack_is_not_missing_here(file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path / "e.duckdb")
    with sqlanalysis.connect(tmp_path / "e.duckdb") as con:
        train = "(select image_id from images where split = 'train' order by image_id limit {})"
        con.execute(f"update images set sha256 = repeat('0', 64) where image_id in {train.format(3)}")
        con.execute(
            f"delete from outputs.new where image_id in {train.format(5)} and image_id not in {train.format(3)}"
        )
        con.execute("update runs set n_ok = n_ok - 2 where run = 'new'")
        page = Page(Path(report.report(con, tmp_path / "page.html", ["new", "old"], split="val")).read_text("utf-8"))
        con.execute("update images set sha256 = repeat('1', 64) where split = 'val' and image_id <= 4")
        changed = Page(Path(report.report(con, tmp_path / "page.html", ["new", "old"], split="val")).read_text("utf-8"))
    assert "60 of 60 have an output" in page.text
    assert "neither output nor error" not in page.text
    assert "outputs of new for image bytes that have changed" not in page.text
    assert "56 of 60 have an output" in changed.text
    assert "outputs of new for image bytes that have changed since: 4" in changed.text


def test_an_open_transaction_is_refused(file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path / "e.duckdb")
    with sqlanalysis.connect(tmp_path / "e.duckdb") as con:
        con.begin()
        con.execute("update images set split = 'val'")
        with pytest.raises(QueryError, match="commit or roll back first"):
            report.report(con, tmp_path / "page.html", "new", split="val")
        con.rollback()
        assert con.sql("select count(*) from duckdb_views() where temporary and not internal").fetchall() == [(0,)]


def test_what_a_file_lacks_is_made_for_the_session_of_the_page_too(file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path / "e.duckdb")
    with duckdb.connect(tmp_path / "e.duckdb") as con:
        con.execute("drop view new")
        con.execute("create or replace macro _correct(label, pred) as true")
    pages = []
    for database in (file, tmp_path / "e.duckdb"):
        with sqlanalysis.connect(database, read_only=True, safe=True) as con:
            pages.append(facts_of(Path(report.report(con, tmp_path / "a.html", ["new", "old"], split="val"))))
    assert pages[0]["sections"] == pages[1]["sections"]


@pytest.mark.parametrize(
    ("runs", "split", "message"),
    [
        ("new", "vall", "run 'new' has no image of split 'vall'; did you mean val"),
        (["new", "old"], "train", "run 'old' has no image of split 'train'; there are: val"),
        (None, "dev", "has no image of split 'dev'; there are: "),
    ],
)
def test_a_split_that_is_not_there(file: Path, tmp_path: Path, runs: object, split: str, message: str) -> None:
    with sqlanalysis.connect(file, read_only=True) as con, pytest.raises(NotFoundError, match=message):
        report.report(con, tmp_path / "page.html", runs, split=split)
    assert not list(tmp_path.iterdir())


def test_all_runs_that_have_the_split(file: Path, tmp_path: Path) -> None:
    with sqlanalysis.connect(file, read_only=True) as con:
        facts = facts_of(Path(report.report(con, tmp_path / "page.html", split="train")))
    assert [run["name"] for run in facts["runs"]] == ["new"]
