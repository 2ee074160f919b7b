"""Label review, image dialog and SQL drawer by keyboard in real browsers: what they say and export is what SQL says."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlanalysis
from sqlanalysis.page import report

from ..support import marionette, report_files
from ..support.chromium import complaints, emulate, requests, show, wait

pytestmark = pytest.mark.browser
READY = "return performance.getEntriesByName('sqlanalysis:ready').length"
AXE = Path(report.__file__).parent / "js" / "node_modules" / "axe-core" / "axe.min.js"
BROKEN = {3: 8, 50: 1, 120: 4, 333: 0, 401: 9}  # image → a wrong label
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = "return document.querySelector('.review-words').textContent"
CARDS = "return [...document.querySelectorAll('.review-card .picture')].map((one) => one.ariaLabel)"
VIEWER = "return document.querySelector('#viewer[open] .title p')?.textContent ?? ''"
CARD = "const a = document.activeElement; return [...document.querySelectorAll('.review-card')].indexOf(a)"
MENU = "return document.querySelectorAll(':popover-open [role=option]').length"
SUSPECTS = (
    "document.getElementById('tab-suspects').click();"
    "document.getElementById('review').scrollIntoView({behavior: 'instant'})"
)
# Keep what is copied and saved; nothing is downloaded.
KEEP = """
navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); };
const make = URL.createObjectURL;
URL.createObjectURL = (blob) => { if (blob.type === 'text/csv') blob.text().then((text) => { window.saved = text; }); return make(blob); };
HTMLAnchorElement.prototype.click = () => {};
"""
ENTER, ESCAPE, LEFT, RIGHT, END = "\ue007", "\ue00c", "\ue012", "\ue014", "\ue010"


def broken(con: duckdb.DuckDBPyConnection) -> dict[int, int]:
    """Add digits with wrong labels; the labels before."""
    report_files.add_digits(con, 600)
    labels = dict(con.execute("select image_id, label from images").fetchall())
    for image, label in BROKEN.items():
        assert labels[image] != label
        con.execute("update images set label = ? where image_id = ?", [label, image])
    return labels


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path, dict[int, int]]]:
    """Real digits with five labels broken on purpose, their page, and the labels before."""
    con = sqlanalysis.connect()
    labels = broken(con)
    yield con, report.report(con, tmp_path_factory.mktemp("review") / "digits.html"), labels
    con.close()


class Chromium:
    """Keys and answers of Chromium."""

    def __init__(self, driver: Any, page: Path) -> None:
        self.driver = driver
        emulate(driver, "light", 1280)
        show(driver, page)
        wait(lambda: self.run(READY))
        self.run(KEEP)

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.driver, duration=1).send_keys(key).perform()


class Firefox:
    """The same of Firefox."""

    def __init__(self, firefox: marionette.Firefox, page: Path) -> None:
        self.firefox = firefox
        firefox.get(page)
        wait(lambda: self.run(READY))

    def run(self, script: str) -> Any:
        return self.firefox.run(script)

    def press(self, *keys: str) -> None:
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.firefox("WebDriver:PerformActions", actions=[{"type": "key", "id": "keys", "actions": strokes}])


def review(page: Chromium | Firefox, labels: dict[int, int]) -> dict[int, str]:
    """Look at every suspected label by keyboard: give the broken ones their class, confirm the others."""
    page.run(SUSPECTS)
    cards = wait(lambda: page.run(CARDS))
    said = {}
    page.run("document.querySelector('.review-card').focus()")
    for at, card in enumerate(cards):
        assert page.run(CARD) == at
        image = int(re.findall(r"(\d+)\.png", card)[0])
        if image in BROKEN:
            said[image] = NAMES[labels[image]]
            page.press("w")
            wait(lambda: page.run(MENU))
            page.press(*said[image])
            wait(lambda: page.run(MENU) < len(NAMES))
            page.press(ENTER)
        else:
            said[image] = ""
            page.press("o")
        wait(lambda: page.run(WORDS).startswith(str(at + 1)))  # noqa: B023 - asked at once
        if at + 1 < len(cards):
            page.press(RIGHT)
    return said


def test_review_is_exported_and_its_accuracy_is_that_of_sql(
    browser: Any, made: tuple[duckdb.DuckDBPyConnection, Path, dict[int, int]], tmp_path: Path
) -> None:
    con, path, labels = made
    page = Chromium(browser, path)
    said = review(page, labels)
    assert len(BROKEN.keys() & said.keys()) >= 3  # those of which the probabilities are sure
    sentence = page.run(WORDS)
    page.run("document.querySelector('.review-save').click()")
    rows = list(csv.DictReader(io.StringIO(wait(lambda: page.run("return window.saved")), newline="")))
    assert {int(row["image_id"]): row["new_label_name"] for row in rows} == said
    assert [row["review"] for row in rows] == ["wrong" if row["new_label_name"] else "ok" for row in rows]
    assert [row["label_name"] for row in rows] == [
        NAMES[BROKEN.get(int(row["image_id"]), labels[int(row["image_id"])])] for row in rows
    ]
    uris = [
        con.execute("select uri from images where image_id = ?", [row["image_id"]]).fetchall()[0][0] for row in rows
    ]
    assert all(uri.endswith("/" + row["file"]) for uri, row in zip(uris, rows, strict=True))

    with sqlanalysis.connect() as again:
        broken(again)
        (tmp_path / "labels.csv").write_text(page.run("return window.saved"), encoding="utf-8", newline="")
        applied = sqlanalysis.apply_labels(again, tmp_path / "labels.csv")
        figures = again.execute("select accuracy, ci_low, ci_high from accuracy('digits_logreg')").fetchall()[0]
    n = sum(bool(name) for name in said.values())
    assert (applied.n_rows, applied.n_changed, applied.n_confirmed) == (len(said), n, len(said) - n)
    shown = re.findall(r"would be ([\d.]+) ?% \(([\d.]+)–([\d.]+)", sentence)[0]
    assert shown == tuple(f"{100 * figure:.1f}" for figure in figures)
    assert f"{len(said)} of {len(said)} reviewed · {n} labels change · " in sentence

    browser.refresh()
    wait(lambda: page.run(READY))
    page.run(SUSPECTS)
    assert wait(lambda: page.run(WORDS)) == sentence  # the marks outlive the page
    page.run("localStorage.clear()")
    assert complaints(browser) == []
    assert len(requests(browser)) == 2  # the page, twice


def test_dialog_by_keyboard(browser: Any, made: tuple[duckdb.DuckDBPyConnection, Path, dict[int, int]]) -> None:
    con, path, _ = made
    page = Chromium(browser, path)
    page.run(SUSPECTS)
    n = len(wait(lambda: page.run(CARDS)))
    page.run("document.querySelectorAll('.review-card')[1].focus()")
    scrolled = page.run("return scrollY")
    page.press(ENTER)
    assert wait(lambda: page.run(VIEWER)).endswith(f"Suspected labels · 2 of {n}")
    page.press(LEFT, LEFT)
    assert page.run(VIEWER).endswith(f"1 of {n}")
    page.press(END)
    assert page.run(VIEWER).endswith(f"{n} of {n}")
    page.run("document.querySelector('#viewer .to-end + button').click()")
    shown = con.sql(wait(lambda: page.run("return window.copied"))).fetchall()
    facts = page.run("return [...document.querySelectorAll('#viewer dd')].map((one) => one.textContent)")
    answer = page.run("return document.querySelector('#viewer h2').textContent")
    assert str(shown[0][0]) in facts
    assert answer == f"{shown[0][2]} → {shown[0][3]}"
    tops = page.run("return [...document.querySelectorAll('#viewer .tops li')].map((one) => one.textContent)")
    for k, run in enumerate(("digits_logreg", "digits_bayes")):
        wanted = con.sql(
            "select classes.name, p "
            f"from (select unnest(probs) as p, unnest(range(10)) as class from {run} where image_id = {shown[0][0]}) "
            "join classes using (class) order by p desc limit 5"
        ).fetchall()
        for (name, p), text in zip(wanted, tops[5 * k :], strict=False):
            assert name in text
            assert abs(float(re.findall(r"([\d.]+) ?%", text)[0]) - 100 * p) <= 0.051
    page.press("w")
    wait(lambda: page.run(MENU))
    page.press(ESCAPE)
    assert wait(lambda: page.run(MENU) == 0)
    assert page.run(VIEWER)  # Escape closed the menu only
    page.press("l")
    pressed = "return document.querySelector('#viewer .acts button').ariaPressed"
    assert page.run(pressed) == "true"
    page.press("l")
    assert page.run(pressed) == "false"
    page.press(ESCAPE)
    assert wait(lambda: not page.run(VIEWER))
    assert page.run(CARD) == 1
    assert page.run("return scrollY") == scrolled
    assert page.run("return location.hash") == ""
    page.press(ENTER)
    wait(lambda: page.run(VIEWER))
    page.run("document.querySelector('#viewer .link').click()")
    assert wait(lambda: page.run("return document.activeElement.id")) == "box"  # the map, and the focus stays there
    took = page.run("return performance.getEntriesByName('sqlanalysis:dialog').map((one) => one.duration)")
    assert len(took) == 2
    assert complaints(browser) == []


def test_drawer_holds_the_filter(browser: Any, made: tuple[duckdb.DuckDBPyConnection, Path, dict[int, int]]) -> None:
    con, path, _ = made
    page = Chromium(browser, path)
    page.run("document.querySelector('.open-sql[data-section=\"per-class\"]').focus()")
    page.press(ENTER)
    text = "return document.querySelector('#drawer[open] pre')?.textContent ?? ''"
    whole = wait(lambda: page.run(text))
    assert con.sql(whole).fetchall() == con.sql("from per_class('digits_logreg')").fetchall()
    browser.find_element("css selector", "#filters input[type=search]").send_keys("seven")
    filtered = wait(lambda: "'seven'" in (now := page.run(text)) and now)
    condition = "contains(lower(label_name), 'seven') or contains(lower(pred_name), 'seven')"
    con.execute(f"create or replace temp table seven as from digits_logreg where {condition}")
    figures = [con.sql(query).fetchall() for query in (filtered, "from per_class('seven')")]
    assert [row[:-1] for row in figures[0]] == [row[:-1] for row in figures[1]]  # all but the name of the relation
    assert "seven" in page.run("return document.querySelector('#drawer .promise').textContent")
    page.run("document.querySelector('#drawer [role=tab]').focus()")
    page.press(RIGHT)
    program = page.run(text)
    assert program.startswith("import duckdb")
    assert filtered.strip() in program
    page.run("document.querySelector('.copy-query').click()")
    assert wait(lambda: page.run("return window.copied")) == program
    page.press(ESCAPE)
    assert not page.run(text)
    assert page.run("return document.activeElement.dataset.section") == "per-class"
    assert complaints(browser) == []


def test_first_rows_are_those_of_the_query(
    browser: Any, made: tuple[duckdb.DuckDBPyConnection, Path, dict[int, int]]
) -> None:
    con, path, _ = made
    page = Chromium(browser, path)
    rows = "return [...document.querySelectorAll('#drawer .first-rows:not([hidden]) tbody tr')].map((row) => [...row.cells].map((one) => one.textContent))"
    names = "return [...document.querySelectorAll('#drawer option')].map((one) => one.textContent)"
    query = "return document.querySelector('#drawer pre').textContent"
    checked = []
    for search in ("", "e"):  # classes with an e in their name
        browser.find_element("css selector", "#filters input[type=search]").send_keys(search)
        for section in ("images", "comparison"):
            page.run(f"document.querySelector('.open-sql[data-section={section}]').click()")
            for at, name in enumerate(page.run(names)):
                page.run(
                    f"const s = document.querySelector('#drawer select'); s.value = {at}; s.dispatchEvent(new Event('change'))"
                )
                if not page.run(rows):
                    continue
                text = wait(lambda: f"'{search}'" in (now := page.run(query)) + "''" and now)  # noqa: B023 - asked at once
                answers = con.sql(text).limit(10).fetchall()
                wanted = [[str(i), label, pred, f"{confidence:.3f}"] for i, _, label, pred, confidence in answers]
                assert page.run(rows) == wanted, name
                checked.append(name)
    assert checked == ["Selected images", "Newly right images", "Newly wrong images"] * 2
    assert complaints(browser) == []


def test_nothing_to_say_for_axe(browser: Any, made: tuple[duckdb.DuckDBPyConnection, Path, dict[int, int]]) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not there: npm ci --ignore-scripts in sqlanalysis/page/js")
    _, path, _ = made
    page = Chromium(browser, path)
    page.run(SUSPECTS)
    wait(lambda: page.run(CARDS))
    parts = {
        "#review": "",
        "#drawer": "document.querySelector('.open-sql:not([hidden])').click()",
        "#viewer": "document.querySelector('#drawer').close(); document.querySelector('.review-card .picture').click()",
        "#viewer ": "document.querySelector('#viewer .acts button:nth-child(2)').click()",
    }
    for part, act in parts.items():
        page.run(act)
        for mode in ("light", "dark"):
            emulate(browser, mode, 1280)
            time.sleep(0.3)  # the drawer comes in
            browser.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text()})
            found = browser.execute_async_script(
                "axe.run(arguments[0]).then((all) => arguments[1](all.violations.map((one) => one.id + one.nodes[0].html)))",
                part.strip(),
            )
            assert found == [], (part, mode)
    emulate(browser, "light", 390)
    assert page.run("return document.querySelector('#viewer').scrollWidth <= innerWidth")


def test_firefox_reviews_too(made: tuple[duckdb.DuckDBPyConnection, Path, dict[int, int]], tmp_path: Path) -> None:
    program = marionette.find()
    if program is None:
        pytest.skip("firefox is not installed")
    _, path, labels = made
    firefox = marionette.Firefox(program, tmp_path)
    try:
        page = Firefox(firefox, path)
        said = review(page, labels)
        assert f"{sum(bool(name) for name in said.values())} labels change" in page.run(WORDS)
        page.press(ENTER)
        assert wait(lambda: page.run(VIEWER)).endswith(f"{len(said)} of {len(said)}")
        page.press(LEFT)
        assert page.run(VIEWER).endswith(f"{len(said) - 1} of {len(said)}")
        page.press(ESCAPE)
        assert wait(lambda: not page.run(VIEWER))
        assert page.run(CARD) == len(said) - 1
        assert firefox.complaints() == []
    finally:
        firefox.quit()
