"""The report page: its numbers are the macros' numbers, its names are inert, its file stands alone."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import numpy as np
import pytest

import sqlanalysis
from sqlanalysis.core.text import width
from sqlanalysis.db.catalogue import recreate_run_views
from sqlanalysis.errors import NotFoundError
from sqlanalysis.page import data, report, words
from sqlanalysis.page.charts import bars, drawing
from sqlanalysis.page.sections import map as map_section

from ..support import report_files


class Page(HTMLParser):
    """Elements, attributes and texts of a page, as a browser would see them."""

    VOID = ("meta", "img", "br", "hr", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags, self.attributes = text, [], []
        self.tables: dict[str, list[list[str]]] = {}  # by caption; the first row holds the heads
        self.rows: list[list[str]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "table":
            self.rows = []
        if tag == "caption":
            self.caption = ""
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"
        if tag == "table":
            assert self.caption not in self.tables, "captions tell tables apart"
            self.tables[self.caption] = self.rows

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data
        if "caption" in self.open:
            self.caption += data
        if {"th", "td"} & set(self.open):
            self.rows[-1][-1] += data

    def records(self, caption: str) -> list[dict[str, str]]:
        """The same rows, by the heads of their columns."""
        (rows,) = [rows for name, rows in self.tables.items() if name.startswith(caption)]
        return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]

    def table(self, caption: str) -> list[list[str]]:
        """Rows of the only table whose caption begins so, without its heads."""
        if caption in self.tables:
            return self.tables[caption][1:]
        (rows,) = [rows for name, rows in self.tables.items() if name.startswith(caption)]
        return rows[1:]

    def queries(self) -> dict[str, str]:
        names = [value.removeprefix("sql-") for tag, name, value in self.attributes if value.startswith("sql-")]
        return dict(zip(names, self.texts["pre"], strict=True))


SECTIONS = ["Verdict", "Images", "Map", "Per class", "Confusion", "Calibration", "Comparison", "Slices"]
SECTIONS += ["Data checks", "Methods"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[duckdb.DuckDBPyConnection, Page]]:
    con = sqlanalysis.connect()
    report_files.add_digits(con)
    path = report.report(con, tmp_path_factory.mktemp("page") / "digits.html")
    yield con, Page(path.read_text(encoding="utf-8"))
    con.close()


def page_of(con: duckdb.DuckDBPyConnection, folder: Path, **options: object) -> Page:
    return Page(report.report(con, folder / "page.html", **options).read_text(encoding="utf-8"))


def test_numbers_are_the_macros_numbers(digits: tuple[duckdb.DuckDBPyConnection, Page]) -> None:
    con, page = digits
    text = " ".join(page.texts["main"][0].split())
    n, correct, accuracy, low, high, _ = con.execute("from accuracy('digits_logreg')").fetchall()[0]
    assert f"Accuracy{accuracy:.1%} 95% CI {low * 100:.1f}–{high:.1%}" in " ".join(page.texts["dl"][0].split())
    assert f"Right on {correct:,} of {n:,} labeled images." in text, "the head of the run alone"
    scores = con.execute("select balanced_accuracy, f1_macro, mcc from scores('digits_logreg')").fetchall()[0]
    assert f"Balanced accuracy{scores[0]:.1%}" in text
    assert f"Macro F1{scores[1]:.3f}" in text
    assert f"{scores[2]:.4f}" in page.texts["td"]
    top = con.execute("select accuracy from topk_accuracy('digits_logreg', ks := [5])").fetchall()[0]
    assert f"Top-5{top[0]:.1%}" in text
    assert f"{n - correct:,} of {n:,} are wrong." in text
    (other,) = con.execute("select accuracy, ci_low, ci_high from accuracy('digits_bayes')").fetchall()
    cells = [f"{other[0]:.1%}", f"{other[1] * 100:.1f}–{other[2]:.1%}"]
    assert page.table("Runs")[1][2:4] == cells


def test_tables_are_the_macros_tables(digits: tuple[duckdb.DuckDBPyConnection, Page]) -> None:
    con, page = digits
    recall = con.sql("select class, support, recall, precision from per_class('digits_logreg')").fetchall()
    shown = {row[1]: [row[2], row[5], row[7]] for row in page.table("10 classes")}
    assert shown == {str(row[0]): [f"{row[1]:,}", f"{row[2]:.1%}", f"{row[3]:.1%}"] for row in recall}
    dense = "select label_name, pred_name, n from confusion_dense('digits_logreg')"
    matrix = {(label, pred): f"{n:,}" for label, pred, n in con.sql(dense).fetchall()}
    lines = page.table("Confusion matrix")
    order = [row[0] for row in lines]  # that of a clustering
    assert {(row[0], name): cell for row in lines for name, cell in zip(order, row[1:], strict=True)} == matrix
    worst = con.sql("select image_id from worst_mistakes('digits_logreg', 24)").fetchall()
    assert [row[0] for row in page.table("Confident mistakes")] == [str(image_id) for (image_id,) in worst]


def test_calibration_is_the_macros(digits: tuple[duckdb.DuckDBPyConnection, Page]) -> None:
    con, page = digits
    bins = con.sql("select n, accuracy, ci_low, ci_high from calibration_curve('digits_logreg')").fetchall()
    cells = [[f"{n:,}", words.percent(acc), words.interval({"ci_low": a, "ci_high": b})] for n, acc, a, b in bins]
    assert [[row[1], *row[3:5]] for row in page.table("Bins of confidence")] == cells
    from scipy.stats import binom

    bins = con.sql("select n, confidence from calibration_curve('digits_logreg')").fetchall()
    chance = [[k / n for k in binom.ppf([0.025, 0.975], n, confidence)] for n, confidence in bins]
    shown = [words.interval({"ci_low": low, "ci_high": high}) for low, high in chance]
    assert [row[5] for row in page.table("Bins of confidence")] == shown
    n, ece, most = con.sql("select n, ece, ece_chance_high from calibration_error('digits_logreg')").fetchall()[0]
    assert f"Calibration error{ece:.3f} chance up to {most:.3f}" in " ".join(page.texts["dl"][0].split())
    mark = "ok" if ece <= most else "look"
    assert f'href="#calibration"><span class="mark {mark}"' in page.text
    curve = con.sql("select threshold, kept, coverage, risk from risk_coverage('digits_logreg')").fetchall()
    cells = [[f"{t:.4f}", f"{kept:,}", words.percent(c), words.percent(r)] for t, kept, c, r in curve]
    assert page.table("Risk and coverage") == cells
    table = page.table("What if it answers only the surest")
    assert len(table) == 11
    for name, threshold, kept, accuracy, _ in table:
        share = float(name.removeprefix("surest ").rstrip("%")) / 100
        sorted_by = "from digits_logreg order by confidence desc, image_id"
        least = con.sql(f"select min(confidence::double) from ({sorted_by} limit {math.ceil(share * n - 1e-9)})")
        value = least.fetchall()[0][0]
        known = con.sql(f"select n_answered, accuracy from at_threshold('digits_logreg', {value!r})").fetchall()[0]
        assert [threshold, kept, accuracy] == [f"≥ {value:.3f}", f"{known[0]:,}", words.percent(known[1])]


PAIR = "'digits_logreg', 'digits_bayes'"


def signed(diff: float, low: float, high: float) -> list[str]:
    """A difference and its interval in points, as the tables of the page write them."""
    return [f"{diff * 100:+.1f}", f"{low * 100:+.1f} to {high * 100:+.1f}"]


def test_comparison_is_the_macros(digits: tuple[duckdb.DuckDBPyConnection, Page]) -> None:
    con, page = digits
    cells = con.sql(f"select both_right, baseline_only, run_only, both_wrong from mcnemar({PAIR})").fetchall()[0]
    right, lost, won, wrong = (f"{n:,}" for n in cells)
    assert [row[1:] for row in page.table("Images by which")] == [[right, won], [lost, wrong]]
    flips = dict(
        con.sql(
            f"select correct_run, count(*) from paired({PAIR}) where correct_baseline <> correct_run group by 1"
        ).fetchall()
    )
    assert (cells[1], cells[2]) == (flips[False], flips[True])
    agreement = con.sql(f"select agreement, churn from agreement({PAIR})").fetchall()[0]
    assert f"give the same answer on {agreement[0]:.1%} of the images" in page.texts["main"][0]
    assert f"{agreement[1]:.1%} of the answers changed" in page.texts["main"][0]
    classes = con.sql(
        f"select label, count(*), avg(correct_run::int), avg(correct_baseline::int) from paired({PAIR}) group by 1"
    ).fetchall()
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    known = {names[label]: (f"{n:,}", f"{run:.1%}", f"{base:.1%}") for label, n, run, base in classes}
    columns = ("n", "recall of digits_logreg", "of digits_bayes")
    rows = page.records("Differences of classes")
    assert {row["class"]: tuple(row[name] for name in columns) for row in rows} == known


def test_one_difference_has_one_interval_and_one_p(digits: tuple[duckdb.DuckDBPyConnection, Page]) -> None:
    """The sentence, the card and the table are all the verdict's; the other scores are the paired bootstrap's."""
    con, page = digits
    sentence, diff, low, high, p = con.sql(
        f"select sentence, diff, ci_low, ci_high, p_exact from verdict({PAIR})"
    ).fetchall()[0]
    assert "digits_logreg is better than digits_bayes by" in sentence
    assert page.texts["main"][0].count(f"{sentence}.") == 1
    assert f"{diff * 100:+.1f} points of accuracy" in " ".join(page.texts["main"][0].split())
    both = con.sql(f"select accuracy_run, accuracy_baseline from mcnemar({PAIR})").fetchall()[0]
    columns = ("digits_logreg", "digits_bayes", "difference (points)", "95% interval", "p")
    rows = [[row[name] for name in columns] for row in page.records("Scores of both runs")]
    assert rows[0] == [*(f"{share:.1%}" for share in both), *signed(diff, low, high), words.p_value(p)]
    paired = con.sql(f"from paired_bootstrap({PAIR}) where metric <> 'accuracy'").fetchall()
    wanted = [[f"{run:.1%}", f"{base:.1%}", *signed(*difference)] for _, run, base, *difference, _ in paired]
    assert [row[:4] for row in rows[1:]] == wanted
    intervals = con.sql("select metric, ci_low, ci_high from bootstrap_ci('digits_logreg')").fetchall()
    shown = {row[0]: row[2] for row in page.table("Scores of 1,797")}
    for name, metric in {"balanced accuracy": "balanced_accuracy", "macro F1": "f1_macro"}.items():
        ((low, high),) = [row[1:] for row in intervals if row[0] == metric]
        assert shown[name] == f"{low:.4f}–{high:.4f}"


def test_newest_run_is_the_subject(digits: tuple[duckdb.DuckDBPyConnection, Page]) -> None:
    _, page = digits
    assert page.texts["h1"] == ["digits_logreg on digits"]
    assert "22 Nov 2026" in page.texts["header"][0]
    assert "2026-11-22 20:15 UTC" in page.texts["main"][0]
    assert page.texts["h2"] == SECTIONS


def test_content_policy_is_first_and_right(digits: tuple[duckdb.DuckDBPyConnection, Page]) -> None:
    _, page = digits
    (policy,) = [value for tag, name, value in page.attributes if name == "content" and "default-src" in value]
    assert page.tags[: page.tags.index("meta") + 1] == ["html", "head", "meta"]
    assert page.attributes[1][2] == "Content-Security-Policy"
    for tag in ("style", "script"):
        code = page.texts[tag][0]
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def assert_stands_alone(page: Page) -> None:
    kinds = [value for tag, name, value in page.attributes if (tag, name) == ("script", "type")]
    assert page.tags.count("script") == 1 + len(kinds), "one script, and blocks of data"
    assert kinds == list(data.MEDIA_TYPES.values())
    assert page.tags.count("style") == 1
    assert not page.open
    for tag, name, value in page.attributes:
        assert name != "style", tag
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert value.startswith(("data:image/webp;base64,", "#")), (tag, name, value)
    assert not set(page.tags) & {"link", "iframe", "object", "embed", "form", "base", "image", "use", "b\\>"}
    assert "@import" not in page.text
    assert "url(" not in page.texts["style"][0]


def test_page_stands_alone(digits: tuple[duckdb.DuckDBPyConnection, Page]) -> None:
    con, page = digits
    assert_stands_alone(page)
    assert "/home/" not in page.text
    text = re.sub("<script.*?</script>", "", page.text, flags=re.DOTALL)
    assert "http" not in text.replace("http-equiv", "").replace('xmlns="http://www.w3.org/2000/svg"', "")
    namespaces = set(re.findall(r"https?:[^\"'`]*", page.texts["script"][0]))
    assert {address.partition("://")[2].partition("/")[0] for address in namespaces} == {"www.w3.org"}
    sql = "select count(*), round(sum(p_wrong))::integer from label_issues('digits_logreg')"
    ((suspects, wrong),) = con.sql(sql).fetchall()
    are = "is" if wrong == 1 else "are"
    assert f"{suspects} labels are suspected; an estimated {wrong} of them {are} wrong." in page.texts["main"][0]
    assert (
        f"{len(page.table('Suspected label errors'))} of {suspects} images that the model confidently"
        in page.texts["main"][0]
    )
    assert all(value for tag, name, value in page.attributes if (tag, name) == ("img", "alt"))


def test_hostile_names_are_inert(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    names = report_files.HOSTILE
    uris = [f"/home/<script>alert(5)</script>/{names[i % len(names)]}/{i}.png" for i in range(60)]
    report_files.add_named(con, names, uris=uris)
    con.execute(
        "update runs set model = ?, device = ?, selection = ?, packages = ?", [*names[:3], '{"</script>": "<b>"}']
    )
    con.execute("update projection_specs set method = ?", ["</title><script>alert(6)</script>"])
    page = page_of(con, tmp_path, title="<script>alert(7)</script>")
    assert_stands_alone(page)
    assert page.texts["h1"] == ["<script>alert(7)</script>"]
    assert "49" not in page.texts["h1"][0]
    assert all(name in page.texts["main"][0] for name in names)
    script, facts, *_ = page.texts["script"]
    assert "alert" not in script
    assert not set("<>&'") & set(facts)
    assert json.loads(facts)["classes"] == list(names)


def hostile_neighborhood(con: duckdb.DuckDBPyConnection) -> None:
    """A second run, extra columns, near copies and errors, all with hostile names."""
    names = report_files.HOSTILE
    n = len(names) * 6
    random = np.random.default_rng(1)
    report_files.add_run(con, "other", "named", random.dirichlet(np.ones(len(names)), n).astype("float32"))
    for key in (names[0], names[2], "o'brien"):
        con.execute("update images set meta = json_object(?, ? || image_id % 2)", [key, names[1]])
    con.execute("update images set split = ? || image_id % 2", [names[0]])
    near = [(image_id, (image_id + 1) % n, 1, 0.01 if image_id < 5 else 1.0) for image_id in range(n)]
    report_files.add_neighbors(
        con, "noisy", [*near, *((image_id, (image_id + 2) % n, 2, 1.0) for image_id in range(n))]
    )
    error = "insert into errors (run, dataset, uri, stage, error, message) values (?, 'named', ?, ?, ?, ?)"
    con.execute(error, ["noisy", f"/home/{names[0]}/{names[1]}", names[1], names[0], "secret"])


def test_hostile_names_are_inert_in_every_section(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_named(con, report_files.HOSTILE)
    hostile_neighborhood(con)
    page = page_of(con, tmp_path, runs=["noisy", "other"])
    assert_stands_alone(page)
    assert page.texts["h2"] == SECTIONS
    assert len(page.table("Near duplicates")) == 5
    assert page.table("Files that failed")[0][:2] == [report_files.HOSTILE[1], report_files.HOSTILE[0]]
    assert len(page.table("Flipped images")) > 5
    assert f"{report_files.HOSTILE[0]}0 · split" in [row[0] for row in page.table("Slices")]
    assert any(row[0].endswith(" · o'brien") for row in page.table("Slices"))
    assert "secret" not in page.text


def test_slices_are_the_macros(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con, 600, runs=1)
    con.execute("update images set split = case when image_id % 3 = 0 then 'a' else 'b' end")
    con.execute("update images set meta = json_object('camera', 'c' || image_id % 4, 'id', image_id)")
    con.execute("update outputs.digits_logreg set pred = 0 where image_id % 8 = 1")
    page = page_of(con, tmp_path)
    con.execute("create view flat as select *, meta->>'camera' as camera from digits_logreg")
    columns = "value || ' · ' || feature, n, n_wrong, 1 - error_rate, p_value"
    rows = con.sql(f"select {columns} from slices('flat', ['split', 'camera'])").fetchall()
    known = {name: [f"{n:,}", f"{wrong:,}", words.percent(share)] for name, n, wrong, share, _ in rows}
    shown = {row[0]: row[1:4] for row in page.table("Slices")}
    ids = con.sql("select count(*), sum((not correct)::int) from flat where (meta->>'id')::int < 120").fetchall()[0]
    assert shown["id below 120"][:2] == [str(figure) for figure in ids]
    fifths = {name for name in shown if "file size" in name or name.startswith("id ")}
    assert {name: row for name, row in shown.items() if name not in fifths} == known
    assert (len(known), fifths >= {"id below 120", "id 480 or more"}) == (6, True)
    # Holm corrects for all slices of the page: the smallest p-value by their number.
    name, smallest = min(((row[0], row[4]) for row in rows), key=lambda pair: pair[1])
    (corrected,) = [row[6] for row in page.table("Slices") if row[0] == name]
    assert corrected == words.p_value(smallest * len(shown)) == "< 0.001"
    assert "Images of camera c1 are worse than the rest: " in page.texts["main"][0]


def test_checks_are_the_macros(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con, 120, runs=1)
    con.execute("update outputs.digits_logreg set confidence = 0.01 where image_id < 7")
    con.execute("update outputs.digits_logreg set pred = (pred + 1) % 10 where image_id between 10 and 14")
    for table in ("images", "outputs.digits_logreg"):
        con.execute(f"update {table} set sha256 = 'same' where image_id < 3")
    con.execute("update images set split = 'train', label = 9 where image_id = 2")
    page = page_of(con, tmp_path)
    shown = dict(page.table("Checks"))
    check = con.sql("select pred_not_argmax, confidence_differs from check_run('digits_logreg')").fetchall()[0]
    assert shown["predictions that are not the most probable class"] == str(check[0])
    assert shown["confidences that are not the probability of the prediction"] == str(check[1])
    assert (check[0], shown["images with the same bytes as another"]) == (5, "2")
    assert (shown["image contents in more than one split"], shown["image contents with more than one label"]) == (
        "1",
        "1",
    )
    small = con.sql("select count(*) from per_class('digits_logreg') where support < 30").fetchall()[0][0]
    assert shown["classes with fewer than 30 labeled images"] == str(small)
    assert "sqlanalysis project DB digits_logreg" in page.texts["main"][0]


def test_a_reviewed_label_is_no_longer_suspected(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """Not in the list that is reviewed, nor in the sentences, which count the same labels."""
    report_files.add_digits(con, 600, runs=1)
    for image, label in {3: 8, 50: 1, 120: 4}.items():
        con.execute("update images set label = ? where image_id = ?", [label, image])
    sql = "select r.image_id, r.sha256, r.label_name from label_issues('digits_logreg') join digits_logreg as r using (image_id)"
    issues = con.sql(f"{sql} order by all").fetchall()
    assert len(issues) >= 3
    reviewed = tmp_path / "labels.csv"
    rows = [f"{image},{sha256},{name},ok,,2026-11-26T12:00:00Z" for image, sha256, name in issues[:2]]
    reviewed.write_text("\n".join(["image_id,sha256,label_name,review,new_label_name,reviewed_at", *rows]))
    sqlanalysis.apply_labels(con, reviewed)
    page = page_of(con, tmp_path)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    facts = json.loads(re.findall(r'id="facts">(.*?)</script>', text, re.DOTALL)[0])
    ids = [row[0] for row in con.sql("select image_id from digits_logreg order by image_id").fetchall()]
    assert sorted(ids[one["row"]] for one in facts["suspects"]) == [image for image, _, _ in issues[2:]]
    n = len(issues) - 2
    assert facts["sections"]["checks"]["Suspected labels"] == {"n": n}
    said = f"{n} label{' is' if n == 1 else 's are'} suspected"
    assert page.texts["main"][0].count(said) == 2, "at the head of the images and in the data checks"


def test_near_pairs_are_those_of_the_macro(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """Near is a tenth of the usual distance to the nearest neighbor, here 0.2; the macro alone has the rule."""
    report_files.add_digits(con, 60, runs=1)
    distances = (0.0, 0.01, 0.0199, 0.0201, 0.1, *[0.2] * 15)
    near = [(image_id, image_id + 30, 1, distance) for image_id, distance in enumerate(distances)]
    report_files.add_neighbors(con, "digits_logreg", near)
    (n,) = con.sql("select count(*) from near_duplicates('digits_logreg_neighbors')").fetchall()[0]
    page = page_of(con, tmp_path)
    assert n == 3
    assert dict(page.table("Checks"))["pairs of near duplicates"] == str(n)
    assert len(page.table("Near duplicates")) == n


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_target_accuracy_is_that_of_threshold_for(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, share: float
) -> None:
    """The page names a threshold where `threshold_for` finds one for its target, and says so where there is none."""
    report_files.add_digits(con, 600, runs=1)
    con.execute("update outputs.digits_logreg set pred = 9 - pred where hash(image_id) / 2e0**64 > ?", [share])
    page = page_of(con, tmp_path)
    text = " ".join(page.texts["main"][0].split())
    target = float(re.findall(r"[Aa]n accuracy of ([\d.]+)%", text)[0]) / 100
    threshold, coverage = con.execute(
        "select threshold, coverage from threshold_for('digits_logreg', target_accuracy := ?)", [target]
    ).fetchall()[0]
    if threshold is None:
        assert share == 0.5
        assert f"For no confidence threshold is an accuracy of {words.percent(target)} established" in text
    else:
        assert share == 1.0
        assert (
            f"An accuracy of {words.percent(target)} is established for {words.percent(coverage)} of the images" in text
        )
        assert f"a confidence of at least {threshold:.3f}" in text


def test_runs_that_do_not_compare(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """The page compares what the view `comparable` says can be compared, and gives its reason otherwise."""
    report_files.add_digits(con, 60, runs=1)
    con.execute("insert into label_spaces values ('y_classes', 2)")
    probs = report_files.digits()[2]["digits_bayes"][:60]
    report_files.add_run(con, "other_space", "digits", probs, label_space="y_classes")
    report_files.add_run(con, "nothing", "digits", probs)
    report_files.add_run(con, "fewer", "digits", probs[:50])
    report_files.add_run(con, "open_classes", "digits", probs, class_policy="open")
    con.execute("delete from outputs.nothing")
    reasons = dict(con.sql("select baseline, reason from comparable where run = 'digits_logreg'").fetchall())
    assert all(reasons.values())
    switched = set()
    for other, reason in reasons.items():
        page = page_of(con, tmp_path, runs=["digits_logreg", other])
        assert f"Not comparable with {other}: {reason}" in page.texts["main"][0]
        assert "points of accuracy" not in page.texts["main"][0]
        assert not [name for name in page.tables if name.startswith("Scores of both runs")]
        facts = json.loads(page.texts["script"][1])
        if len(facts["runs"]) > 1:  # the page switches between the two, and says the same when it does
            found = facts["sections"]["comparison"]["findings"]
            assert found["0,1"] == [f"digits_logreg and {other} are not comparable: {reason}"]
            assert found["1,0"][0].startswith(f"{other} and digits_logreg are not comparable: ")
            switched.add(other)
    assert switched >= {"fewer", "nothing"}


@pytest.mark.parametrize("n_classes", [1, 2, 300])
def test_numbers_of_classes(con: duckdb.DuckDBPyConnection, tmp_path: Path, n_classes: int) -> None:
    report_files.add_named(con, [f"class {i}" for i in range(n_classes)], per_class=3)
    probs = np.random.default_rng(1).dirichlet(np.ones(n_classes), n_classes * 3).astype("float32")
    report_files.add_run(con, "second", "named", probs, finished_at="2026-11-01 00:00:00")
    page = page_of(con, tmp_path)
    assert page.texts["h2"] == SECTIONS
    assert len(page.table(f"{n_classes} class")) == n_classes
    assert len(page.table("Differences of classes")) == min(n_classes, 100)
    assert len(page.text) < 3_000_000


def test_run_without_confidence_or_predictions(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con, 60)
    con.execute("update outputs.digits_logreg set confidence = null")
    page = page_of(con, tmp_path)
    assert "No labeled image of this run has a confidence" in page.texts["main"][0]
    assert page.texts["h2"] == SECTIONS
    con.execute("update outputs.digits_logreg set pred = null")
    page = page_of(con, tmp_path)
    assert page.texts["h2"] == ["Verdict", "Images", "Map", "Data checks", "Methods"]
    con.execute("delete from outputs.digits_logreg")
    assert "0 images" in page_of(con, tmp_path).texts["header"][0]


def test_difference_not_established(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con, 60)
    same = "update outputs.digits_bayes as a set pred = b.pred from outputs.digits_logreg as b"
    con.execute(f"{same} where a.image_id = b.image_id")
    page = page_of(con, tmp_path)
    assert "digits_logreg against digits_bayes: difference not established at this n (" in page.texts["main"][0]
    assert "not established does not mean equal" in page.texts["main"][0]
    pages = {run: page_of(con, tmp_path, runs=[run]).texts["main"][0] for run in ("digits_logreg", "digits_bayes")}
    assert all(f"--run {run} --run BASELINE" in text for run, text in pages.items())


def test_unlabeled_run(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con, 60, labeled=False)
    page = page_of(con, tmp_path)
    assert page.texts["h2"] == ["Verdict", "Images", "Map", "Data checks", "Methods"]
    assert "None of these images has both a label and a prediction" in page.texts["main"][0]
    assert "Accuracy" not in page.texts["dl"][0]


def test_many_classes(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_named(con, [f"class {i}" for i in range(40)])
    page = page_of(con, tmp_path)
    text = page.texts["main"][0]
    assert "the lowest 30 of 40 classes" in text
    assert "colored by right or wrong" in page.text, "40 classes are too many for colors"
    assert len(page.table("Part of the confusion matrix")) <= 25
    assert len(con.sql("from top_confusions('noisy', 20)").fetchall()) == 20
    assert "Classes with fewer than 30 images: 40 (" in page.texts["main"][0]


def test_many_runs(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con, 80)
    probs = report_files.digits()[2]["digits_bayes"]
    for number in range(12):
        report_files.add_run(con, f"extra_{number}", "digits", probs[: 80 - number])
    page = page_of(con, tmp_path, runs=["extra_3", *(f"extra_{number}" for number in range(12))])
    assert page.texts["h1"] == ["extra_3 on digits"]
    assert "Accuracy of all 12 runs" in page.texts["main"][0]
    assert "different numbers of labeled images" in page.texts["main"][0]
    assert "sqlanalysis project" not in page.texts["main"][0]  # it would fail: this run has no activations


def test_warnings(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con, 100, runs=1)
    con.execute("update runs set n_errors = 3, n_images = 110, status = 'interrupted'")
    con.execute(
        "insert into errors (run, dataset, stage, error, message) "
        "values ('digits_logreg', 'digits', 'decode', 'ImageError', '/home/somebody/secret.png')"
    )
    con.execute("update images set label = null where image_id < 5")
    for table in ("images", "outputs.digits_logreg"):
        con.execute(f"update {table} set sha256 = 'same' where image_id < 3")
    con.execute("update outputs.digits_logreg set pred = -1 where image_id between 10 and 12")
    con.execute("update outputs.digits_logreg set pred = null where image_id = 20")
    with pytest.raises(NotFoundError, match=r"no finished run.*digits_logreg"):
        report.report(con, tmp_path / "page.html")
    page = page_of(con, tmp_path, runs="digits_logreg")
    text = page.texts["main"][0]
    assert "interrupted" in text
    assert "Images that failed: 3 (1 × decode ImageError)" in text
    assert "neither output nor error: 7" in text
    assert "without a prediction: 1;" in text
    assert "outside the data set's classes: 3;" in text
    assert "without a label: 5;" in text
    assert "bytes as another: 2;" in text
    assert "Classes with fewer than 30 images: 10 (" in text
    assert "secret" not in page.text
    assert "(outside)" in page.texts["main"][0]


def test_commands_are_code_and_names_are_not(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """Advice of each kind of run; names with backticks, braces and HTML stay what they are."""
    report_files.add_digits(con, 60)
    name = "`rm -rf`{n}<code>"
    con.execute("update images set label = null")
    con.execute("update runs set n_errors = 2")
    error = (
        "insert into errors (run, dataset, stage, error, message) values ('digits_logreg', 'digits', 'decode', ?, '')"
    )
    con.execute(error, [name])
    page = page_of(con, tmp_path)
    assert {"sqlanalysis add-images DB SOURCE", "errors"} <= set(page.texts["code"])
    assert f"Images that failed: 2 (1 × decode {name})" in page.texts["main"][0]
    assert page.texts["main"][0].count("`") == page.texts["main"][0].count(name) * 2
    con.execute("delete from errors")
    con.execute("update images set label = 0")
    con.execute("update outputs.digits_logreg set pred = null")
    page = page_of(con, tmp_path, runs="digits_logreg")
    assert {"sqlanalysis predict", "sqlanalysis add-predictions"} <= set(page.texts["code"])
    assert "`" not in page.texts["main"][0]
    con.execute("update runs set outputs = 'embedding'")
    page = page_of(con, tmp_path, runs="digits_logreg")
    assert "sqlanalysis find-images DB digits_logreg --image FILE" in page.texts["code"]
    assert "`" not in page.texts["main"][0]


@pytest.mark.parametrize(
    ("text", "values", "html"),
    [
        ("see `a {x}` & b", {"x": "1`2`"}, "see <code>a 1`2`</code> &amp; b"),
        ("`a`, {x}", {"x": "</code>{y}"}, "<code>a</code>, &lt;/code&gt;{y}"),
        ("`--slice \"m->>'K'\"`", {}, "<code>--slice &#34;m-&gt;&gt;&#39;K&#39;&#34;</code>"),
        ("none {x}", {"x": "`"}, "none `"),
    ],
)
def test_what_a_sentence_with_commands_holds(text: str, values: dict[str, str], html: str) -> None:
    assert words.with_commands(text, **values) == html


def test_unreadable_images(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con, 100, runs=1)
    con.execute("delete from image_bytes where image_id % 2 = 0")
    con.execute("update image_bytes set bytes = 'no image'::blob")
    page = page_of(con, tmp_path)
    assert "img" not in page.tags
    assert page.text.count("this image can no longer be read") > len(
        con.sql("from worst_mistakes('digits_logreg')").fetchall()
    )


def test_run_without_probabilities(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con, 100, runs=1)
    con.execute("alter table outputs.digits_logreg drop column probs")
    recreate_run_views(con, ["digits_logreg"])
    con.execute("update outputs.digits_logreg set confidence = null where image_id % 2 = 0")
    con.execute("update outputs.digits_logreg set confidence = 'nan' where image_id % 3 = 0")
    page = page_of(con, tmp_path, max_images=3)
    assert page.tags.count("img") == 3
    assert "confident learning needs the probabilities of all classes" in page.texts["main"][0]
    assert "Top-5" not in page.texts["dl"][0]


def test_no_mistake(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    report_files.add_digits(con, 100, runs=1)
    con.execute("update outputs.digits_logreg as o set pred = label from images where images.image_id = o.image_id")
    page = page_of(con, tmp_path)
    assert "No mistake among 100 labeled images." in page.texts["main"][0]
    assert "No class is confused with another." in page.texts["main"][0]


def test_sample_of_a_large_map(con: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_section, "MAX_POINTS", 40)
    report_files.add_digits(con, 100, runs=1)
    con.execute("update projections set x = 'nan' where image_id = 0")
    pages = [page_of(con, tmp_path), page_of(con, tmp_path)]
    assert "A uniform sample of 40 of 99 images." in pages[0].texts["main"][0]
    figures = [re.findall(r"<svg.*?</svg>", page.text, re.DOTALL) for page in pages]
    assert figures[0] == figures[1]


def same(shown: object, wanted: object) -> bool:
    """Whether a value of the shell's JSON is the value that Python got."""
    if isinstance(wanted, datetime.datetime):  # the shell leaves out the zeros at the end
        return datetime.datetime.fromisoformat(str(shown)) == wanted
    if isinstance(wanted, float):
        return bool(shown == pytest.approx(wanted, rel=1e-6))
    return shown == json.loads(str(wanted)) if isinstance(shown, dict) else str(shown) == str(wanted)


def test_queries_run_in_the_shell_with_the_same_numbers(shell: str, tmp_path: Path) -> None:
    database = tmp_path / "digits.duckdb"
    con = sqlanalysis.connect(database)
    report_files.add_digits(con, 300)
    page = page_of(con, tmp_path)
    queries = page.queries()
    expected = {name: con.execute(sql).fetchall() for name, sql in queries.items()}
    con.close()
    assert len(queries) > 30
    for name, sql in queries.items():
        command = [shell, "-readonly", "-json", str(database), "-c", sql]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not answer.stderr, (name, answer.stderr)
        rows = [tuple(row.values()) for row in json.loads(answer.stdout or "[]")]
        assert len(rows) == len(expected[name]), name
        for row, wanted in zip(rows, expected[name], strict=True):
            assert all(map(same, row, wanted)), (name, row, wanted)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("digits_logrek", "did you mean digits_logreg"),
        (["digits_logreg", "x"], "no run 'x'"),
        ([], "the list of runs is empty"),
    ],
)
def test_unknown_runs(con: duckdb.DuckDBPyConnection, tmp_path: Path, runs: object, message: str) -> None:
    report_files.add_digits(con, 20, runs=1)
    with pytest.raises(NotFoundError, match=message):
        report.report(con, tmp_path / "page.html", runs)
    assert not list(tmp_path.iterdir())


def test_no_runs_and_no_folder(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="sqlanalysis predict"):
        report.report(con, tmp_path / "page.html")
    with pytest.raises(NotFoundError, match="create it first"):
        report.report(con, tmp_path / "none" / "page.html")
    with pytest.raises(NotFoundError, match="name a file"):
        report.report(con, tmp_path)


def test_write_is_all_or_nothing(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_files.add_digits(con, 30, runs=1)
    path = tmp_path / "page.html"
    path.write_text("<!doctype html>old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        report.report(con, path)
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == "<!doctype html>old"
    monkeypatch.undo()
    assert report.report(con, path) == path
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_report_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import sqlanalysis, report_files as f, sqlanalysis.page.report\n"
        "con = sqlanalysis.connect(); f.add_named(con, ['a', 'b', 'c'])\n"
        "sqlanalysis.page.report.report(con, sys.argv[2]); sqlanalysis.report(con, sys.argv[2])\n"
        "print(sorted({'torch', 'torchvision', 'umap'} & set(sys.modules)))"
    )
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        code,
        str(Path(report_files.__file__).parent),
        str(tmp_path / "page.html"),
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.stdout.strip(), answer.stderr) == ("[]", "")


def test_svg_keeps_variables_and_data_but_no_styles() -> None:
    rows = [{"name": 'x d="1.23" style="" <b', "recall": 0.5, "recall_low": 0.4, "recall_high": 0.6, "n": 3}]
    drawn = drawing.svg(bars.class_recall([{**row, "precision": 0.5} for row in rows], 0.5))
    page = Page(drawn)
    assert 'fill="var(--accent)"' in drawn
    assert not [name for _, name, _ in page.attributes if name == "style"]
    assert 'x d="1.23" style="" <b  3' in page.texts["text"]


NASTY = [
    "",
    " ",
    "\n",
    "a\x00b",
    "\x01",
    "\x1b[31m",
    "\uffff",
    "\u2028",
    "\u202e",
    "]]>",
    "&amp;",
    "😀" * 50,
    "日本語" * 20,
]
NASTY += ["x" * 500 + "a", "x" * 500 + "b" + "x" * 20, "x" * 500 + "c" + "x" * 20]


def test_names_of_any_kind_are_drawn() -> None:
    """One control character in a name ended the process inside vl-convert; a cut emoji failed."""
    figures = {"recall": 0.5, "recall_low": 0.4, "recall_high": 0.6, "precision": 0.5, "n": 3}
    assert drawing.svg(bars.class_recall([{"name": name, **figures} for name in NASTY], 0.5))
    pairs = [(label, pred) for label in range(len(NASTY)) for pred in range(len(NASTY))]
    cells = [
        {"label": i, "pred": j, "label_name": NASTY[i], "pred_name": NASTY[j], "n": 1, "share": 0.1} for i, j in pairs
    ]
    assert drawing.svg(bars.confusion(cells))
    runs = [{"run": name, "accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6} for name in NASTY]
    assert drawing.svg(bars.runs(runs))
    short = drawing.distinct(NASTY)
    assert len(set(short.values())) == len(NASTY)
    assert max(map(width, short.values())) <= 22 + len(" (99)")


def test_names_enter_no_expression() -> None:
    import vl_convert

    def texts(value: object, path: str = "") -> Iterator[str]:
        if isinstance(value, dict):
            for key, entry in value.items():
                yield from texts(entry, f"{path}.{key}")
        elif isinstance(value, list):
            for entry in value:
                yield from texts(entry, path)
        elif "marker" in str(value):
            yield path

    figures = {"recall": 0.5, "recall_low": 0.4, "recall_high": 0.6, "precision": 0.5, "n": 3}
    cell = {"label": 0, "pred": 1, "label_name": "marker1", "pred_name": "marker2", "n": 1, "share": 0.1}
    drawn = [
        bars.class_recall([{"name": "marker", **figures}], 0.5),
        bars.confusion([cell]),
        bars.runs([{"run": "marker", "accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6}]),
    ]
    for chart in drawn:
        paths = set(texts(vl_convert.vegalite_to_vega(chart)))
        assert all(".values" in path or path == ".scales.domain" for path in paths), paths


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0, "0.0%"),
        (1, "100.0%"),
        (0.9996, "99.96%"),
        (0.0001, "0.01%"),
        (0.5, "50.0%"),
    ],
)
def test_percent(share: float | None, text: str) -> None:
    assert words.percent(share) == text


@pytest.mark.parametrize(
    ("first", "last", "uri", "shown"),
    [
        ("/home/a/val/cat/1.png", "/home/a/val/dog/2.png", "/home/a/val/dog/2.png", "dog/2.png"),
        ("/data/val/1.png", "/home/a/2.png", "/home/a/2.png", "a/2.png"),
        ("/home/a/1.png", "/home/a/1.png", "/home/a/1.png", "1.png"),
        ("C:\\pics\\1.png", "C:\\pics\\2.png", "C:\\pics\\2.png", "2.png"),
        ("val/1.png", "x/2.png", "val/1.png", "val/1.png"),
    ],
)
def test_paths_name_no_home(first: str, last: str, uri: str, shown: str) -> None:
    assert words.short_path(uri, words.shared_folder({"first_uri": first, "last_uri": last})) == shown


def test_colors_are_readable() -> None:
    css = (Path(report.__file__).parent / "static" / "page.css").read_text(encoding="utf-8")
    pairs = dict(re.findall(r"--([a-z0-9-]+): light-dark\((#\w+, #\w+)\);", css))
    colors = {name: pair.split(", ") for name, pair in pairs.items()}

    def light(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(color: str, ground: str, mode: int) -> float:
        high, low = sorted((light(colors[color][mode]), light(colors[ground][mode])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for mode in (0, 1):
        for ground in ("ground", "quiet"):
            for text in ("ink", "second", "third"):
                assert contrast(text, ground, mode) >= 4.5, (text, ground, mode)
        for mark in ("accent", "right", "wrong", *(f"c{number}" for number in range(1, 7))):
            assert contrast(mark, "ground", mode) >= 4.5, (mark, mode)
        for text in ("accent", "right", "wrong", "caution"):
            assert contrast(text, f"{text}-ground", mode) >= 4.5, (text, mode)
        assert contrast("on-accent", "accent", mode) >= 4.5
        assert contrast("base", "ground", mode) >= 3
        assert abs(light(colors["right"][mode]) - light(colors["wrong"][mode])) < 0.1, "neither stands out in gray"
