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
PIXELS = "return document.querySelector('#box canvas').toDataURL()"
OVERLAY = "return document.querySelectorAll('#box canvas')[1].toDataURL()"
PICTURES = "return Number(document.getElementById('box').dataset.pictures)"
AXE = Path(report.__file__).parent / "js" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """Two runs over real digits, and their page."""
    con = sqlanalysis.connect()
    report_files.add_digits(con, 900)
    con.execute("update images set label = null where image_id % 100 = 7")
    con.execute("update outputs.digits_logreg set pred = -1 where image_id % 150 = 8")
    yield con, report.report(con, tmp_path_factory.mktemp("map") / "digits.html", ["digits_logreg", "digits_bayes"])
    con.close()


def explore(driver: Any, page: Path) -> None:
    """Open the page, keep what it copies, and wait until the map is drawn."""
    show(driver, page)
    wait(lambda: driver.execute_script(READY))
    driver.execute_script(
        "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); };"
        "document.documentElement.style.scrollBehavior = 'auto';"
        "document.getElementById('box').scrollIntoView({block: 'center'})"
    )
    wait(lambda: driver.execute_script(PICTURES + " >= 0"))


def copied(driver: Any) -> str:
    driver.execute_script("window.copied = null; document.getElementById('copy-sql').click()")
    return str(wait(lambda: driver.execute_script("return window.copied")))


def assert_panel(driver: Any, con: duckdb.DuckDBPyConnection, at_least: int = 30) -> int:
    """The panel of the lasso shows what the macros give for the images of its copied statement."""
    con.execute(f"create or replace temp table chosen as {copied(driver)}")
    for run in ("digits_logreg", "digits_bayes"):
        con.execute(
            f"create or replace temp view {run}_picked as from {run} where image_id in (from chosen select image_id)"
        )
    n, correct, accuracy, low, high, _ = con.sql("from accuracy('digits_logreg_picked')").fetchall()[0]
    before = con.sql("select accuracy from accuracy('digits_bayes_picked')").fetchall()[0][0]
    text = driver.execute_script(TEXT, "map-panel")
    assert n >= at_least
    ends = words.interval({"ci_low": low, "ci_high": high})
    assert words.percent(accuracy) in text
    assert f"{correct:,} of {n:,} right · {ends} · baseline {words.percent(before)}" in text
    assert "descriptive" in text
    most = con.sql(
        "select coalesce(label_name, '') as name, count(*) as n from digits_logreg_picked where label is not null "
        "group by all order by n desc, name limit 4"
    ).fetchall()
    shown = driver.execute_script("return [...document.querySelectorAll('.map-most li')].map((li) => li.textContent)")
    assert sorted(int(re.search(r"\d+$", line)[0]) for line in shown) == sorted(count for _, count in most)
    wrong = n - correct
    tiles = driver.find_elements("css selector", ".map-tiles button")
    assert len(tiles) == min(8, wrong)
    return int(con.sql("select count(*) from chosen").fetchall()[0][0])


def hover_over_a_point(driver: Any, start: int = -200) -> str:
    """Move the mouse over the middle of the map until a card comes up; its text."""
    from selenium.webdriver.common.action_chains import ActionChains

    box, card = driver.find_element("id", "box"), driver.find_element("id", "map-card")

    def passed() -> str:
        for x in range(start, 200, 20):
            ActionChains(driver, duration=5).move_to_element_with_offset(box, x, 0).perform()
            end = time.monotonic() + 1  # the card comes when the mouse has rested a while
            while time.monotonic() < end:
                if card.is_displayed():
                    return str(card.text)
                time.sleep(0.02)
        return ""

    return str(wait(passed))


@pytest.mark.parametrize("way", ["shift", "button", "touch", "keys"])
def test_lasso_counts_what_sql_counts(browser: Any, made: Any, way: str) -> None:
    con, page = made
    explore(browser, page)
    box = browser.find_element("id", "box")
    if way in ("button", "touch"):
        browser.find_element("id", "lasso").click()
        assert browser.find_element("id", "lasso").get_attribute("aria-pressed") == "true"
    if way == "touch":
        drag_finger(browser, RING)
    elif way == "keys":
        for key in "++l\ue007":
            box.send_keys(key)
    else:
        drag(browser, RING, way == "shift")
    wait(lambda: browser.find_element("id", "map-panel").is_displayed())
    n = assert_panel(browser, con)
    assert n < 900
    assert browser.find_element("id", "lasso").get_attribute("aria-pressed") == "false", "one lasso at a time"
    rows = con.sql("select x, y from digits_logreg_picked").fetchall()
    others = con.sql("select x, y from digits_logreg where image_id not in (select image_id from chosen)").fetchall()
    sides = [(min(v), max(v)) for v in zip(*rows, strict=True)]
    inside = [p for p in others if all(low <= v <= high for v, (low, high) in zip(p, sides, strict=True))]
    assert inside == [], "a rectangle on the screen is one on the map"
    assert browser.find_elements("css selector", "#viewer[open]") == [], "a lasso is no click"
    box.send_keys("\ue00c")
    wait(lambda: browser.find_element("id", "map-classes").is_displayed())
    assert not browser.find_element("id", "map-panel").is_displayed()
    assert complaints(browser) == []


def test_few_images_are_rough_and_only_wrong_ones_have_no_accuracy(browser: Any, made: Any) -> None:
    con, page = made
    explore(browser, page)
    box = browser.find_element("id", "box")
    for key in "+++++++l\ue007":
        box.send_keys(key)
    wait(lambda: browser.find_element("id", "map-panel").is_displayed())
    n = assert_panel(browser, con, 1)
    assert n < 30
    assert "descriptive, rough" in browser.execute_script(TEXT, "map-panel")


def test_classes_are_picked_up_to_six_and_found_by_name(browser: Any, made: Any) -> None:
    con, page = made
    explore(browser, page)
    rows = "return [...document.querySelectorAll('.map-rows button')].map((row) => row.getAttribute('aria-label'))"
    counts = con.sql(
        "select label_name || ': ' || count(*) || ' images, ' || count(*) filter (where correct) || ' right, ' "
        "|| count(*) filter (where not correct) || ' wrong' from digits_logreg where label is not null "
        "group by label, label_name order by count(*) desc, label"
    ).fetchall()
    assert browser.execute_script(rows) == [text for (text,) in counts]
    before = browser.execute_script(PIXELS)
    pressed = "return document.querySelectorAll('.map-rows [aria-pressed=true]').length"
    for at in (0, 2, 3, 5, 6, 9):
        browser.find_elements("css selector", ".map-rows button")[at].click()
    assert browser.execute_script(pressed) == 6
    assert browser.switch_to.active_element.get_attribute("aria-pressed") == "true", "the focus stays on the class"
    free = browser.find_elements("css selector", ".map-rows button:not([aria-pressed=true])")
    assert [row.is_enabled() for row in free] == [False] * 4
    wait(lambda: browser.execute_script(PIXELS) != before)
    browser.find_elements("css selector", ".map-rows button")[2].click()
    assert browser.execute_script(pressed) == 5
    find = browser.find_element("css selector", ".map-find input")
    find.send_keys("SEV\ue007")
    wait(lambda: browser.execute_script(TEXT, "map-found") == "1 of 10")
    assert browser.execute_script(pressed) == 6
    assert "seven" in " ".join(browser.execute_script(rows))
    assert complaints(browser) == []


def test_every_color_draws_another_picture_and_has_a_legend(browser: Any, made: Any) -> None:
    _, page = made
    explore(browser, page)
    modes = browser.find_elements("css selector", "#map-modes button")
    assert [mode.text for mode in modes] == ["right / wrong", "class", "confidence", "newly right / wrong"]
    drawn = set()
    for at in range(4):
        before = browser.execute_script(PIXELS)
        browser.find_elements("css selector", "#map-modes button")[at].click()
        assert browser.switch_to.active_element.get_attribute("aria-pressed") == "true"
        if at != 1:  # up to twelve classes the map starts with them
            wait(lambda before=before: browser.execute_script(PIXELS) != before)
            entries = browser.execute_script(
                "return [...document.querySelectorAll('#map-legend .n')].map((n) => n.textContent)"
            )
            assert 0 < sum(int(n.replace(",", "")) for n in entries) <= 900
        drawn.add(browser.execute_script(PIXELS))
    assert len(drawn) >= 3


def test_hover_click_and_keys_reach_an_image(browser: Any, made: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    con, page = made
    explore(browser, page)
    text = hover_over_a_point(browser)
    image_id = int(re.search(r"(\d{4})\.png", text)[1])
    pred, confidence, label = con.execute(
        "select pred_name, confidence, label_name from digits_logreg where image_id = ?", [image_id]
    ).fetchall()[0]
    assert (pred or "outside") in text
    assert f"{round(confidence * 100)}%" in text
    assert (label or pred) in text
    assert wait(lambda: browser.execute_script("return document.querySelector('#map-card img').naturalWidth")) == 8
    ActionChains(browser).click().perform()
    viewer = browser.find_element("id", "viewer")
    assert viewer.is_displayed()
    assert f"{image_id:04d}.png" in viewer.text or f"id\n{image_id}" in viewer.text
    browser.find_element("css selector", "#viewer .close").click()
    box = browser.find_element("id", "box")
    box.send_keys("\ue007")
    wait(lambda: viewer.is_displayed())
    place = "return document.querySelector('#viewer canvas').toDataURL()"
    first = browser.execute_script(place)
    browser.find_element("css selector", "#viewer .to-next").click()
    wait(lambda: browser.execute_script(place) != first)
    link = browser.execute_script("return document.querySelector('#viewer .link')")
    link.click()
    wait(lambda: not viewer.is_displayed())
    wait(lambda: browser.find_element("id", "overview").is_displayed())
    assert complaints(browser) == []


def test_pictures_take_the_place_of_points_and_keys_move_the_map(browser: Any, made: Any) -> None:
    _, page = made
    explore(browser, page)
    box = browser.find_element("id", "box")
    before = browser.execute_script(PIXELS)
    assert browser.execute_script(PICTURES) == 0
    assert not browser.find_element("id", "overview").is_displayed()
    box.send_keys("+")
    box.send_keys("+")  # 1.96
    wait(lambda: browser.execute_script(PICTURES) > 10)
    assert browser.execute_script(PICTURES) < 160, "they do not overlap"
    assert browser.find_element("id", "overview").is_displayed()
    zoomed = browser.execute_script(PIXELS)
    box.send_keys("\ue012")
    wait(lambda: browser.execute_script(PIXELS) != zoomed)
    box.send_keys("0")
    wait(lambda: browser.execute_script(PIXELS) == before)
    assert complaints(browser) == []


def test_the_wheel_zooms_only_with_the_focus(browser: Any, made: Any) -> None:
    _, page = made
    explore(browser, page)
    wheel = (
        "const box = document.getElementById('box'); const event = new WheelEvent('wheel', {deltaY: -300, bubbles: true,"
        " cancelable: true, clientX: 400, clientY: 400}); box.dispatchEvent(event); return event.defaultPrevented"
    )
    assert browser.execute_script(wheel) is False
    browser.execute_script("document.getElementById('box').focus()")
    assert browser.execute_script(wheel) is True
    wait(lambda: browser.find_element("id", "overview").is_displayed())


def test_filters_of_the_page_dim_points_and_a_search_rings_them(browser: Any, made: Any) -> None:
    _, page = made
    explore(browser, page)
    before, over = browser.execute_script(PIXELS), browser.execute_script(OVERLAY)
    browser.find_element("css selector", "#filters input[type=search]").send_keys("012")
    wait(lambda: browser.execute_script(PIXELS) != before)
    wait(lambda: browser.execute_script(OVERLAY) != over)
    assert complaints(browser) == []


def test_the_theme_recolors_the_map(browser: Any, made: Any) -> None:
    _, page = made
    explore(browser, page)
    before = browser.execute_script(PIXELS)
    browser.find_element("id", "theme").click()
    wait(lambda: browser.execute_script(PIXELS) != before)
    browser.find_element("id", "theme").click()
    wait(lambda: browser.execute_script(PIXELS) == before)


def test_csv_and_selection_without_a_clipboard(browser: Any, made: Any) -> None:
    con, page = made
    explore(browser, page)
    drag(browser, RING)
    n = assert_panel(browser, con)
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
    assert len(lines) - 1 == n
    browser.find_element("id", "copy-sql").click()
    statement = browser.find_element("css selector", "#map-panel textarea")
    assert wait(statement.is_displayed)
    assert "where image_id in (" in statement.get_attribute("value")


def test_hostile_names_stay_inert_on_the_map(browser: Any, tmp_path: Path) -> None:
    con = sqlanalysis.connect()
    names = report_files.HOSTILE
    report_files.add_named(con, names, uris=[f"/data/{i}/{names[i % len(names)]}.png" for i in range(60)])
    page = report.report(con, tmp_path / "hostile.html")
    con.close()
    bare = page.with_name("bare.html")
    bare.write_text(page.read_text().replace("Content-Security-Policy", "x-none"))
    for path in (page, bare):
        explore(browser, path)
        for at in range(3):
            browser.find_elements("css selector", ".map-rows button")[at].click()
        hover_over_a_point(browser)
        drag(browser, RING)
        browser.find_element("id", "copy-sql").click()
        assert complaints(browser) == []
        assert browser.execute_script("return document.querySelectorAll('[onerror], [onmouseover]').length") == 0
        assert len(chromium.requests(browser)) == 1


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing_in_the_section(browser: Any, made: Any, mode: str) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not there: npm ci --ignore-scripts in sqlanalysis/page/js")
    _, page = made
    emulate(browser, mode)
    explore(browser, page)
    browser.find_elements("css selector", ".map-rows button")[0].click()
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text()})
    for lasso in (False, True):
        if lasso:
            drag(browser, RING)
            wait(lambda: browser.find_element("id", "map-panel").is_displayed())
        result = browser.execute_async_script("axe.run('#map-section').then(arguments[0])")
        violations = [(rule["id"], [node["html"][:200] for node in rule["nodes"]][:3]) for rule in result["violations"]]
        assert violations == []
        assert len(result["passes"]) > 10


def test_print_and_pages_without_a_script_show_the_still_map(browser: Any, made: Any) -> None:
    _, page = made
    explore(browser, page)
    still = browser.find_element("css selector", "#map-section .still-map")
    assert not still.is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not browser.find_element("id", "map-live").is_displayed()
    assert still.is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    script = {"source": "delete globalThis.DecompressionStream"}
    identifier = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)["identifier"]
    show(browser, page)
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": identifier})
    assert browser.find_element("id", "old-browser").is_displayed()
    assert browser.find_element("css selector", "#map-section .still-map").is_displayed()
    assert not browser.find_element("id", "map-live").is_displayed()
    assert complaints(browser) == []


def test_no_sideways_scroll_on_a_phone(browser: Any, made: Any) -> None:
    _, page = made
    emulate(browser, width=390)
    explore(browser, page)
    browser.find_elements("css selector", ".map-rows button")[0].click()
    drag(browser, [(-100, -100), (100, -100), (100, 100), (-100, 100)])
    wait(lambda: browser.find_element("id", "map-panel").is_displayed())
    wide = (
        "return [...document.querySelectorAll('#map-section *')].filter((e) => e.getBoundingClientRect().right > 390 "
        "&& !e.closest('.scroll, pre, [hidden]')).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert browser.execute_script(wide) == []


def test_firefox(made: Any, tmp_path: Path) -> None:
    program = marionette.find()
    if program is None:
        pytest.skip("firefox is not installed")
    con, page = made
    firefox = marionette.Firefox(program, tmp_path)
    try:
        firefox.get(page)
        wait(lambda: firefox.run(READY))
        firefox.run("document.documentElement.style.scrollBehavior = 'auto'")
        firefox.run("document.getElementById('box').scrollIntoView({block: 'center'})")
        firefox.run("navigator.clipboard.writeText = (text) => { document.title = text; return Promise.resolve(); }")
        firefox.drag("#box", RING, shift=True)
        text = wait(lambda: firefox.run(TEXT, "map-panel"))
        firefox.run("document.getElementById('copy-sql').click()")
        sql = wait(lambda: (title := firefox.run("return document.title")).startswith("select") and title)
        con.execute(f"create or replace temp table chosen as {sql}")
        con.execute(
            "create or replace temp view picked as from digits_logreg where image_id in (from chosen select image_id)"
        )
        n, correct, accuracy, *_ = con.sql("from accuracy('picked')").fetchall()[0]
        assert n >= 30
        assert words.percent(accuracy) in text
        assert f"{correct} of {n} right" in text
        assert firefox.complaints() == []
        assert firefox.run("return document.createElement('canvas').getContext('webgl2')") is None
    finally:
        firefox.quit()


def test_pages_without_labels_projections_or_anything(browser: Any, tmp_path: Path) -> None:
    con = sqlanalysis.connect()
    report_files.add_digits(con, 60, labeled=False)
    explore(browser, report.report(con, tmp_path / "unlabeled.html", runs="digits_logreg"))
    modes = browser.find_elements("css selector", "#map-modes button")
    assert [mode.text for mode in modes] == ["class", "confidence"]
    assert "Classes are predictions" in browser.execute_script(TEXT, "map-note")
    drag(browser, RING)
    wait(lambda: browser.find_element("id", "map-panel").is_displayed())
    assert "%" not in browser.execute_script(TEXT, "map-panel"), "no label, no accuracy"
    explore(browser, report.report(con, tmp_path / "imported.html", runs="digits_bayes"))
    assert "probabilities (no activations stored)" in browser.execute_script(TEXT, "map-live")
    con.execute("alter table outputs.digits_bayes drop column probs")
    sqlanalysis.db.catalogue.recreate_run_views(con, ["digits_bayes"])
    show(browser, report.report(con, tmp_path / "placeless.html", runs="digits_bayes"))
    wait(lambda: browser.execute_script(READY))
    assert browser.find_elements("id", "box") == []
    assert "sqlanalysis measure-images DB" in browser.execute_script(TEXT, "map-section")
    con.execute("delete from images where image_id > 0")
    explore(browser, report.report(con, tmp_path / "one.html", runs="digits_logreg"))
    assert complaints(browser) == []
    con.close()
