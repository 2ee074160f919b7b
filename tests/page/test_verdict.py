"""The head of the page: its numbers are those of the macros, and its words say what is established and no more."""

from __future__ import annotations

import html
import re
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

import sqlanalysis
from sqlanalysis.page.report import report
from sqlanalysis.page.sections.verdict import LEFT, RIGHT, axis, rounded

N = 400


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    """400 labeled images of four classes, the first of which has 280."""
    labels = np.repeat([0, 1, 2, 3], [280, 40, 40, 40])
    con = sqlanalysis.connect()
    pictures = [(np.full((1, 1, 3), (k % 256, k // 256, 0), np.uint8), int(label)) for k, label in enumerate(labels)]
    sqlanalysis.add_images(con, pictures, dataset="made", classes=["cat", "dog", "owl", "bee"])
    return con


def answer(con: duckdb.DuckDBPyConnection, run: str, wrong: np.ndarray) -> None:
    labels = np.array([row[0] for row in con.sql("select label from images order by image_id").fetchall()])
    preds = np.where(wrong, (labels + 1) % 4, labels)
    rows = {"image_id": np.arange(1, N + 1), "pred_index": preds, "confidence": np.where(wrong, 0.6, 0.9)}
    sqlanalysis.add_predictions(con, pd.DataFrame(rows), run)


def first(*numbers: tuple[int, int]) -> np.ndarray:
    wrong = np.zeros(N, bool)
    for low, high in numbers:
        wrong[low:high] = True
    return wrong


def heads(con: duckdb.DuckDBPyConnection, folder: Path, *runs: str) -> dict[tuple[int, int], str]:
    """The heads of a page as text without tags, by run and baseline."""
    text = Path(report(con, folder / "page.html", runs)).read_text(encoding="utf-8")
    (section,) = re.findall(r'<section class="verdict".*?</section>', text, re.DOTALL)
    pattern = r'<div class="of" data-run="(\d+)" data-baseline="(-?\d+)"(.*?)(?=<div class="of"|<div class="prov)'
    found = re.findall(pattern, section, re.DOTALL)
    plain = {(int(k), int(j)): re.sub(r"<[^>]+>", " ", body.partition(">")[2]) for k, j, body in found}
    assert next(iter(plain)) == (0, 1 if len(plain) > 1 else -1), "the page opens with its pair"
    return {pair: re.sub(r"\s+([.,])", r"\1", " ".join(text.split())) for pair, text in plain.items()}


def test_better_worse_and_alone(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    answer(con, "old", first((0, 100)))
    answer(con, "new", first((0, 40)))
    every = heads(con, tmp_path, "new", "old")
    assert set(every) == {(0, 1), (1, 0), (0, -1), (1, -1)}
    diff, low, high = con.execute(
        "select 100 * diff, 100 * ci_low, 100 * ci_high from verdict('new', 'old')"
    ).fetchone()
    assert diff == 15
    ahead = every[0, 1]
    assert ahead.startswith("✓ Better than old +15.0 points of accuracy")
    assert "new is right on 90.0%, old on 75.0% of the same 400 images." in ahead
    assert f"A gain of at least {low:.1f} points is established." in ahead
    assert f"+{low:.1f}" in ahead
    assert f"+{high:.1f}" in ahead
    behind = every[1, 0]
    assert behind.startswith("✗ Worse than new −15.0 points of accuracy")
    assert f"A loss of at least {low:.1f} points is established." in behind
    ends = binomtest(360, 400).proportion_ci(method="wilson")
    assert f"between {ends.low:.1%} and {ends.high:.1%}." in every[0, -1]
    assert every[0, -1].startswith("One run alone 90.0% accuracy")


def test_a_tie_promises_nothing(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    answer(con, "old", first((0, 60)))
    answer(con, "new", first((30, 88)))
    text = heads(con, tmp_path, "new", "old")[0, 1]
    assert text.startswith("– Not established +0.5 points of accuracy")
    assert "The interval holds zero: these images cannot tell the two runs apart." in text
    (needed,) = con.execute("select needed_n from verdict('new', 'old')").fetchone()
    assert f"one of 0.5 points would take about {rounded(needed)}." in text


@pytest.mark.parametrize("wrong", [(30, 88), (30, 90)], ids=["half a point", "no difference"])
def test_how_many_images_a_difference_takes(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, wrong: tuple[int, int]
) -> None:
    """The number stands with what it assumes and the SQL that gives it; drawn again and again, it has its power."""
    answer(con, "old", first((0, 60)))
    answer(con, "new", first(wrong))
    text = heads(con, tmp_path, "new", "old")[0, 1]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'tell the two runs apart</b>. <a class="needs" href="#needed-0-1">How many do I need?</a>' in page
    (folded,) = re.findall(r'<details class="needed">(?:(?!</details>).)*id="needed-0-1".*?</details>', page, re.DOTALL)
    codes = re.findall(r'<pre tabindex="0"><code>(.*?)</code>', folded, re.DOTALL)
    needed = [con.execute(html.unescape(code)).fetchall()[0][0] for code in codes]
    n_alone = con.sql("select run_only + baseline_only from mcnemar('new', 'old')").fetchall()[0][0]
    assert f"where one alone is right on {n_alone} of 400 images." in text
    assert f"One point would take about {rounded(needed[-1])} images." in text
    seen = 60 - (wrong[1] - wrong[0])
    assert ("as seen here" in text) == (seen > 0) == ("sqlanalysis compare DB new old" in text)
    if seen:
        assert f"A difference of {seen / 4:.1f} points, as seen here, would take about {rounded(needed[0])}" in text
    # What the sentence promises, by simulation: a difference of one point, the share that differs as here.
    chance, draws, share = np.random.default_rng(5), 400, n_alone / N
    counts = chance.multinomial(needed[-1], [(share + 0.01) / 2, (share - 0.01) / 2, 1 - share], size=draws)
    found = np.mean([binomtest(int(a), int(a + b)).pvalue <= 0.05 for a, b, _ in counts])
    assert 0.8 - 3 * np.sqrt(0.16 / draws) < found < 0.9


def test_an_established_difference_asks_for_no_more(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    answer(con, "old", first((0, 100)))
    answer(con, "new", first((0, 40)))
    heads(con, tmp_path, "new", "old")
    assert "How many do I need?" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_gain_that_the_classes_deny_is_said(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    answer(con, "old", first((0, 120)))
    answer(con, "new", first((280, 340)))
    text = heads(con, tmp_path, "new", "old")[0, 1]
    assert text.startswith("! Mixed: more accurate, classes say otherwise +15.0")
    (sentence,) = con.execute("select sentence from verdict('new', 'old')").fetchone()
    said = sentence.split(", but ")[1]
    assert f"But {said}." in text
    assert "balanced accuracy" in said


def test_runs_over_other_data_are_no_baseline(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    answer(con, "old", first((0, 60)))
    sqlanalysis.add_images(
        con, [(np.zeros((2, 2, 3), np.uint8), 0)], dataset="else", classes=["cat", "dog", "owl", "bee"]
    )
    others = pd.DataFrame({"image_id": [N + 1], "pred_index": [0]})
    sqlanalysis.add_predictions(con, others, "stranger", dataset="else")
    (text,) = heads(con, tmp_path, "old", "stranger").values()
    assert text.startswith("One run alone 85.0% accuracy")
    (reason,) = con.execute("select reason from comparable where run = 'old' and baseline = 'stranger'").fetchone()
    assert f"Not comparable with stranger: {reason}" in text


def test_labels_without_a_prediction_are_not_called_missing(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    def vectors(image_id: np.ndarray) -> dict[str, np.ndarray]:
        return {"activation": np.random.default_rng(len(image_id)).normal(size=(len(image_id), 4)).astype("float32")}

    sqlanalysis.map_batches(con, vectors, "vectors", "image_id", show_progress=False)
    (text,) = heads(con, tmp_path, "vectors").values()
    assert text.startswith("No predictions 400 images")
    assert "400 with a label, none of these with a prediction" in text
    assert "without a label" not in text
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "add labels from folder names" not in page
    con.execute("update images set label = null")
    (text,) = heads(con, tmp_path, "vectors").values()
    assert text.startswith("No labels 400 images")
    assert "400 without a label" in text


def test_axis_holds_its_interval() -> None:
    chance = np.random.default_rng(0)
    for _ in range(500):
        middle = chance.normal(scale=chance.choice([0.003, 0.05, 0.4]))
        low, high = middle - chance.exponential(0.02), middle + chance.exponential(0.02)
        drawn = axis(low, middle, high)
        assert LEFT <= drawn["low"] <= drawn["at"] <= drawn["high"] <= RIGHT
        assert LEFT <= drawn["zero"] <= RIGHT
        assert 2 <= len(drawn["ticks"]) <= 10
        assert (drawn["low"] > drawn["zero"]) == (low > 0) or abs(low) < 1e-3
        assert [tick["text"] for tick in drawn["ticks"] if tick["zero"]] == ["0"]
    share = axis(0.1, 0.2, 0.4, difference=False)
    assert [tick["text"] for tick in share["ticks"]] == ["0%", "25%", "50%", "75%", "100%"]
    assert share["at"] == pytest.approx(LEFT + 0.2 * (RIGHT - LEFT), abs=0.1)
