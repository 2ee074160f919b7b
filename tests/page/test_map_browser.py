"""The map in real browsers: what it selects, counts and copies is what SQL says; Chromium, and Firefox where it is."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlanalysis
from sqlanalysis.page import report, words

from ..support import chromium, marionette, report_files
from ..support.chromium import complaints, drag, drag_finger, emulate, show, wait

pytestmark = pytest.mark.browser
RING = [(-150, -150), (150, -150), (150, 150), (-150, 150), (-150, -140)]
READY = "return performance.getEntriesByName('sqlanalysis:ready').length"
TEXT = "return document.getElementById(arguments[0]).textContent"
AXE = Path(report.__file__).parent / "js" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """Two runs over real digits, and their page."""
    con = sqlanalysis.connect()
    report_files.add_digits(con, 900)
    con.execute("update images set label = null where image_id % 100 = 7")
    con.execute("update outputs.digits_logreg set pred = -1 where image_id % 150 = 8")
    yield con, report.report(con, tmp_path_factory.mktemp("map") / "digits.html")
    con.close()


def explore(driver: Any, page: Path) -> None:
    """Open the page, keep what it copies, and wait until the map is drawn."""
    show(driver, page)
    wait(lambda: driver.execute_script(READY))
    driver.execute_script(
        "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); };"
        "document.getElementById('map-section').scrollIntoView()"
    )


def copied(driver: Any) -> str:
    driver.find_element("id", "copy-sql").click()
    return str(wait(lambda: driver.execute_script("return window.copied")))


def figures(driver: Any) -> str:
    return str(driver.execute_script(TEXT, "figures"))


def expected(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, str]:
    """How many rows a copied statement gives, and the figures that the macros give for them."""
    con.execute(f"create or replace temp table chosen as {sql}")
    con.execute(
        "create or replace temp view picked as from digits_logreg where image_id in (select image_id from chosen)"
    )
    (n,) = con.sql("select count(*) from chosen").fetchall()[0]
    counted, correct, accuracy, low, high, _ = con.sql("from accuracy('picked')").fetchall()[0]
    sure = con.sql("select value from summary('picked') where metric = 'mean_confidence'").fetchall()[0][0]
    error = con.sql("select ece from calibration_error('picked')").fetchall()[0][0]
    ends = words.interval({"ci_low": low, "ci_high": high})
    text = (
        f"Accuracy{words.percent(accuracy)}{ends}, 95% interval, descriptive"
        f"Mistakes{counted - correct:,}of {counted:,} with a label"
        f"Mean confidence{words.percent(sure)}calibration error {words.decimal(error)}"
    )
    return n, text


def assert_counts(driver: Any, con: duckdb.DuckDBPyConnection, at_least: int = 1) -> int:
    n, text = expected(con, copied(driver))
    assert n >= at_least
    assert driver.execute_script(TEXT, "sentence").startswith(f"{n:,} of 900 images selected")
    assert figures(driver) == text
    return n


def hover_over_a_point(driver: Any, box: Any, card: Any) -> str:
    """Move the mouse over the middle of the map until a card comes up; its text."""
    from selenium.webdriver.common.action_chains import ActionChains

    def passed() -> str:
        for x in range(-200, 200, 20):
            ActionChains(driver, duration=5).move_to_element_with_offset(box, x, 0).perform()
            end = time.monotonic() + 1  # the card comes when the mouse has rested a while
            while time.monotonic() < end:
                if card.is_displayed():
                    return str(card.text)
                time.sleep(0.02)
        return ""

    return str(wait(passed))


@pytest.mark.parametrize("way", ["shift", "button", "touch"])
def test_lasso_counts_what_sql_counts(browser: Any, made: Any, way: str) -> None:
    con, page = made
    explore(browser, page)
    if way != "shift":
        browser.find_element("id", "lasso").click()
        assert browser.find_element("id", "lasso").get_attribute("aria-pressed") == "true"
    if way == "touch":
        drag_finger(browser, RING)
    else:
        drag(browser, RING, way == "shift")
    n = assert_counts(browser, con, at_least=30)
    rows = con.sql("select x, y from picked").fetchall()
    others = con.sql("select x, y from digits_logreg where image_id not in (select image_id from chosen)").fetchall()
    box = [(min(v), max(v)) for v in zip(*rows, strict=True)]
    assert len(rows) == n
    inside = [p for p in others if all(low <= v <= high for v, (low, high) in zip(p, box, strict=True))]
    assert inside == [], "a rectangle on the screen is one on the map"
    recalls = con.sql("select class, recall, support from per_class('picked') where support > 0").fetchall()
    labels = browser.execute_script(
        "return [...document.querySelectorAll('#chart-classes g')].map(g => g.getAttribute('aria-label'))"
    )
    assert len(labels) == len(recalls)
    names = dict(con.sql("select class, name from classes").fetchall())
    for number, recall, support in recalls:
        assert any(
            label.startswith(f"{names[number]}: recall {words.percent(recall)}") and label.endswith(f"of {support}")
            for label in labels
        )
    cells = con.sql("select label, pred, n from confusion_matrix('picked')").fetchall()
    shown = browser.execute_script(
        "return [...document.querySelectorAll('#chart-confusion g')].map(g => g.getAttribute('aria-label'))"
    )
    names[-1] = "(outside)"
    assert {label.rpartition(",")[0] for label in shown} == {
        f"{names[label]} → {names[pred]}: {n}" for label, pred, n in cells
    }
    bins = con.sql("select n, accuracy from calibration_curve('picked')").fetchall()
    points = browser.execute_script(
        "return [...document.querySelectorAll('#chart-calibration g title')].map(t => t.textContent)"
    )
    assert [(text.rpartition(" ")[2], re.search("accuracy (.*?) ", text)[1]) for text in points] == [
        (str(n), words.percent(accuracy)) for n, accuracy in bins
    ]
    worst = con.sql("from worst_mistakes('picked', 24)").fetchall()
    wrong = browser.execute_script("return document.querySelectorAll('#shown figure.wrong').length")
    assert wrong == len(worst)
    assert complaints(browser) == []


def test_search_legend_cell_and_clear(browser: Any, made: Any) -> None:
    con, page = made
    explore(browser, page)
    search = browser.find_element("id", "search")
    search.send_keys("012")
    wait(lambda: "“012”" in browser.execute_script(TEXT, "sentence"))
    assert (
        assert_counts(browser, con)
        == con.sql("select count(*) from digits_logreg where uri like '%012%.png'").fetchall()[0][0]
    )
    search.clear()
    search.send_keys("SEVEN")
    wait(
        lambda: (
            "“SEVEN”" in browser.execute_script(TEXT, "sentence") and not browser.execute_script("window.copied = null")
        )
    )
    wanted = con.sql("select count(*) from digits_logreg where label_name = 'seven' or pred_name = 'seven'").fetchall()[
        0
    ][0]
    assert assert_counts(browser, con) == wanted
    browser.find_element("id", "clear").click()
    assert browser.execute_script(TEXT, "sentence") == "All 900 images"
    assert search.get_attribute("value") == ""
    legend = browser.find_elements("css selector", "#legend button")
    assert len(legend) == 11, "ten classes, and those without a label"
    legend[3].click()
    assert browser.switch_to.active_element.get_attribute("aria-pressed") == "true"
    browser.execute_script("window.copied = null")
    assert "where label = 3" in copied(browser)
    assert_counts(browser, con)
    browser.find_element("css selector", "#chart-confusion g[aria-label^='three → nine']").click()
    browser.execute_script("window.copied = null")
    assert "where label = 3\n    and label = 3\n    and pred = 9" in copied(browser)
    assert_counts(browser, con)
    browser.find_element("css selector", "#legend button").send_keys("\ue00c")
    assert browser.execute_script(TEXT, "sentence") == "All 900 images"
    assert not browser.find_element("id", "charts").is_displayed()
    assert complaints(browser) == []


def test_every_color_has_a_legend_that_selects(browser: Any, made: Any) -> None:
    con, page = made
    explore(browser, page)
    modes = browser.execute_script("return [...document.getElementById('color').options].map(o => o.value)")
    assert modes == ["label", "pred", "correct", "confidence", "differ"]
    for mode in modes:
        browser.execute_script(
            "const s = document.getElementById('color'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))",
            mode,
        )
        chips = browser.execute_script("return [...document.querySelectorAll('#legend .n')].map(n => n.textContent)")
        assert sum(int(n.replace(",", "")) for n in chips) == 900
        for index in range(min(3, len(chips))):
            browser.find_elements("css selector", "#legend button")[index].click()
            browser.execute_script("window.copied = null")
            assert expected(con, copied(browser))[0] == int(chips[index].replace(",", "")), (mode, index)
            browser.find_elements("css selector", "#legend button")[index].click()
    other = con.sql(
        "select count(*) from digits_logreg as a inner join digits_bayes as b using (image_id) where a.pred <> b.pred"
    ).fetchall()
    assert chips[1:] == [str(other[0][0])]


def test_charts_of_the_run_select(browser: Any, made: Any) -> None:
    con, page = made
    explore(browser, page)
    for chart, wanted in (("per-class", "label = "), ("confusion", "pred = ")):
        browser.execute_script("window.copied = null; document.getElementById('clear').click()")
        mark = browser.find_element("css selector", f"[aria-labelledby={chart}] .choice")
        browser.execute_script("arguments[0].dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter'}))", mark)
        assert wanted in copied(browser)
        n = assert_counts(browser, con)
        label = mark.get_attribute("aria-label")
        cell = con.sql("select label_name, pred_name from picked").fetchall()
        assert n > 0
        named = [label_name if chart == "per-class" else pred or "(outside)" for label_name, pred in cell]
        assert all(name in label for name in named)


@pytest.mark.parametrize("threshold", [0.0, 0.55, 0.9, 1.0])
def test_the_slider_says_what_at_threshold_says(browser: Any, made: Any, threshold: float) -> None:
    con, page = made
    explore(browser, page)
    sentence = browser.execute_script(
        "const slider = document.getElementById('at-least'); slider.value = arguments[0];"
        "slider.dispatchEvent(new Event('input')); return document.querySelector('#threshold p').textContent",
        threshold,
    )
    sql = browser.execute_script("return document.querySelector('#threshold code').textContent")
    assert sql == f"from at_threshold('digits_logreg', {threshold:g})"
    columns = "n, n_answered, coverage, accuracy, ci_low, ci_high"
    n, kept, coverage, accuracy, low, high = con.sql(f"select {columns} {sql}").fetchall()[0]
    wanted = (
        f"Confidence at least {words.percent(threshold)}: {kept:,} of {n:,} images answered, {words.percent(coverage)}."
    )
    if kept:
        ends = words.interval({"ci_low": low, "ci_high": high})
        wanted += f" {words.percent(accuracy)} of them right, 95% interval {ends}."
    assert sentence == wanted


def test_hover_keyboard_and_thumbnails(browser: Any, made: Any) -> None:
    con, page = made
    explore(browser, page)
    box = browser.find_element("id", "box")
    card = browser.find_element("id", "card")
    pixels = "return document.querySelector('#box canvas').toDataURL()"
    before = browser.execute_script(pixels)
    text = hover_over_a_point(browser, box, card)
    image_id = int(re.search(r"id (\d+)", text)[1])
    pred, confidence, label = con.execute(
        "select pred_name, confidence, label_name from digits_logreg where image_id = ?", [image_id]
    ).fetchall()[0]
    assert pred in text
    assert f"confidence {words.percent(confidence)}" in text
    assert (label or pred) in text
    assert wait(lambda: browser.execute_script("return document.querySelector('#card img').naturalWidth")) == 8
    box.send_keys("+")
    assert not card.is_displayed()
    for key in "++++++++":
        box.send_keys(key)
    zoomed = wait(lambda: (shot := browser.execute_script(pixels)) != before and shot)
    box.send_keys("\ue012")
    wait(lambda: browser.execute_script(pixels) != zoomed)
    box.send_keys("0")
    wait(lambda: browser.execute_script(pixels) == before)
    assert complaints(browser) == []


def test_csv_and_selection_without_a_clipboard(browser: Any, made: Any) -> None:
    con, page = made
    explore(browser, page)
    browser.find_elements("css selector", "#legend button")[0].click()
    browser.execute_script(
        "URL.createObjectURL = (blob) => { blob.text().then((text) => { window.csv = text; }); return 'blob:null/x'; };"
        "HTMLAnchorElement.prototype.click = function () { window.named = this.download; };"
        "navigator.clipboard.writeText = () => Promise.reject(new Error('closed'))"
    )
    browser.find_element("id", "save-csv").click()
    text = wait(lambda: browser.execute_script("return window.csv"))
    assert browser.execute_script("return window.named") == "digits_logreg_selection.csv"
    lines = text.strip().split("\n")
    assert lines[0] == "image_id,file,label,label_name,pred,pred_name,confidence"
    assert len(lines) - 1 == con.sql("select count(*) from digits_logreg where label = 0").fetchall()[0][0]
    browser.find_element("id", "copy-sql").click()
    assert wait(lambda: browser.find_element("id", "statement").is_displayed())
    assert "where label = 0" in browser.find_element("id", "statement").get_attribute("value")


def test_hostile_names_stay_inert_in_use(browser: Any, tmp_path: Path) -> None:
    con = sqlanalysis.connect()
    names = report_files.HOSTILE
    uris = [f"/data/{i}/{names[i % len(names)]}.png" for i in range(60)]
    report_files.add_named(con, names, uris=uris)
    page = report.report(con, tmp_path / "hostile.html")
    con.close()
    bare = page.with_name("bare.html")
    bare.write_text(page.read_text().replace("Content-Security-Policy", "x-none"))
    for path in (page, bare):
        explore(browser, path)
        drag(browser, RING)
        for text in ("<script>", "onerror", "{{7"):
            browser.find_element("id", "search").send_keys(text)
            wait(lambda text=text: f"“{text}”" in browser.execute_script(TEXT, "sentence"))
            browser.find_element("id", "search").clear()
        for chip in range(3):
            browser.find_elements("css selector", "#legend button")[chip].click()
        browser.execute_script(
            "document.querySelectorAll('#charts .choice')[0]?.dispatchEvent(new MouseEvent('click'))"
        )
        browser.find_element("id", "copy-sql").click()
        assert complaints(browser) == []
        assert (
            browser.execute_script("return document.querySelectorAll('[onerror], [onmouseover], script').length") == 4
        )
        assert (
            browser.execute_script("return getComputedStyle(document.querySelector('#legend bdi')).color")
            != "rgb(255, 0, 0)"
        )
        assert len(chromium.requests(browser)) == 1


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, made: Any, mode: str) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not there: npm ci --ignore-scripts in sqlanalysis/page/js")
    _, page = made
    emulate(browser, mode)
    explore(browser, page)
    drag(browser, RING)
    browser.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text()})
    result = browser.execute_async_script("axe.run().then(arguments[0])")
    violations = [(rule["id"], [node["html"][:200] for node in rule["nodes"]][:3]) for rule in result["violations"]]
    assert violations == []
    assert len(result["passes"]) > 20


def test_print_shows_the_still_map(browser: Any, made: Any) -> None:
    _, page = made
    explore(browser, page)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not browser.find_element("id", "explore").is_displayed()
    assert all(still.is_displayed() for still in browser.find_elements("css selector", "#map-section svg.still"))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert browser.find_element("id", "explore").is_displayed()


def test_without_decompression_the_page_says_so(browser: Any, made: Any) -> None:
    _, page = made
    script = {"source": "delete globalThis.DecompressionStream"}
    identifier = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)["identifier"]
    show(browser, page)
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": identifier})
    assert browser.find_element("id", "old-browser").is_displayed()
    assert not browser.find_element("id", "explore").is_displayed()
    assert browser.find_element("css selector", "#map-section svg.still").is_displayed()
    assert complaints(browser) == []


def test_no_sideways_scroll_with_a_selection_on_a_phone(browser: Any, made: Any) -> None:
    _, page = made
    emulate(browser, width=390)
    explore(browser, page)
    browser.find_elements("css selector", "#legend button")[0].click()
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_firefox(made: Any, tmp_path: Path) -> None:
    program = marionette.find()
    if program is None:
        pytest.skip("firefox is not installed")
    con, page = made
    firefox = marionette.Firefox(program, tmp_path)
    try:
        firefox.get(page)
        wait(lambda: firefox.run(READY))
        firefox.run("document.getElementById('box').scrollIntoView({block: 'center'})")
        firefox.run("navigator.clipboard.writeText = (text) => { document.title = text; return Promise.resolve(); }")
        firefox.drag("#box", RING, shift=True)
        sentence = wait(lambda: (text := firefox.run(TEXT, "sentence")) and "selected" in text and text)
        firefox.run("document.getElementById('copy-sql').click()")
        n, text = expected(con, firefox.run("return document.title"))
        assert n >= 30
        assert sentence.startswith(f"{n:,} of 900 images selected")
        assert firefox.run(TEXT, "figures") == text
        assert firefox.complaints() == []
        firefox.run("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">')")
        assert wait(firefox.complaints), "what the policy refuses is seen"
        assert firefox.run("return document.createElement('canvas').getContext('webgl2')") is None
    finally:
        firefox.quit()


def test_pages_without_labels_or_places(browser: Any, tmp_path: Path) -> None:
    con = sqlanalysis.connect()
    report_files.add_digits(con, 60, labeled=False)
    explore(browser, report.report(con, tmp_path / "unlabeled.html"))
    modes = browser.execute_script("return [...document.getElementById('color').options].map(o => o.value)")
    assert modes == ["pred", "confidence", "differ"]
    drag(browser, RING)
    assert "Accuracy–" in figures(browser)
    assert not browser.find_element("id", "charts").is_displayed()
    show(browser, report.report(con, tmp_path / "placeless.html", runs="digits_bayes"))
    assert browser.find_elements("id", "explore") == []
    con.execute("delete from images where image_id > 0")
    explore(browser, report.report(con, tmp_path / "one.html", runs="digits_logreg"))
    assert browser.execute_script(TEXT, "sentence") == "All 1 images"
    assert complaints(browser) == []
    con.close()
