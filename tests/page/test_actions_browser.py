"""Where a finding can be acted on: buttons of the data checks, the long lists of classes, and how many images are needed."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlanalysis
from sqlanalysis.page import data, report

from ..support import report_files
from ..support.chromium import complaints, emulate, show, wait

pytestmark = pytest.mark.browser
READY = "return performance.getEntriesByName('sqlanalysis:ready').length"
AXE = Path(report.__file__).parent / "js" / "node_modules" / "axe-core" / "axe.min.js"
BROKEN = {3: 8, 50: 1, 120: 4, 333: 0, 401: 9}  # image → a wrong label
COPIES = [(7, 8), (20, 300)]
NEAR = [(400, 430), (401, 431)]
SHOWN = "return [...document.querySelectorAll('.checklist button')].filter((b) => b.offsetParent).map((b) => b.dataset.finding)"
TAB = "return document.querySelector('#images').closest('section').querySelector('[role=tab][aria-selected=true]').id"
FINDINGS = ("Duplicates", "Leaks", "Labels that differ", "Small classes")
ROWS = "return [...document.querySelectorAll('.checklist tr')].map((r) => ['th', '.text'].map((s) => r.querySelector(s).textContent))"
COPY = "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); };"
Made = tuple[duckdb.DuckDBPyConnection, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Digits with wrong labels, equal bytes, one of them in another split, near duplicates, and a copy without an answer."""
    con = sqlanalysis.connect()
    report_files.add_digits(con, 600)
    for image, label in BROKEN.items():
        con.execute("update images set label = ? where image_id = ?", [label, image])
    con.execute("update images set label = null where label = 1 and image_id > 250")
    for number, pair in enumerate(COPIES):
        for table in ("images", "outputs.digits_logreg", "outputs.digits_bayes"):
            con.execute(f"update {table} set sha256 = 'same{number}' where image_id in {pair}")
    con.execute("update images set split = 'train' where image_id = 300")
    # An image of the data set that no run has answered: a copy, and not on the page.
    con.execute(
        "insert into images by name (select * replace (9000 as image_id, 'train' as split) from images where image_id = 7)"
    )
    usual = [(image, image + 300, 1, 0.2) for image in range(200, 215)]
    report_files.add_neighbors(con, "digits_logreg", [(a, b, 1, 0.001) for a, b in NEAR] + usual)
    yield con, report.report(con, tmp_path_factory.mktemp("actions") / "page.html")
    con.close()


def opened(driver: Any, path: Path, mode: str = "light", width: int = 1280) -> Any:
    emulate(driver, mode, width)
    show(driver, path)
    wait(lambda: driver.execute_script(READY))
    driver.execute_script(COPY)
    return driver


def press(driver: Any, finding: str) -> None:
    driver.execute_script("document.querySelector(`[data-finding='${arguments[0]}']`).click()", finding)


def text(driver: Any, selector: str) -> str:
    return " ".join(driver.execute_script("return document.querySelector(arguments[0]).textContent", selector).split())


def selected(driver: Any, con: duckdb.DuckDBPyConnection) -> list[int]:
    """The images of the SQL that the bar copies."""
    driver.execute_script("document.querySelector('#action-menu .entry').click()")
    sql = wait(lambda: driver.execute_script("const text = window.copied; window.copied = null; return text"))
    return sorted(row[0] for row in con.sql(sql.rstrip("; \n")).fetchall())


def test_show_selects_the_images_of_a_finding(browser: Any, made: Made) -> None:
    con, path = made
    page = opened(browser, path)
    assert set(page.execute_script(SHOWN)) == {"Suspected labels", *FINDINGS}
    labels = dict(con.sql("select image_id, label from digits_logreg").fetchall())
    pairs = [*COPIES, *NEAR, (7, 8)]
    wanted = {
        "Small classes": {image for image, label in labels.items() if label == 1},
        "Duplicates": {image for pair in pairs for image in pair},
        "Leaks": {7, 8, 20, 300},  # 7 and 8 by their copy of the other split
        "Labels that differ": {image for a, b in pairs if labels[a] != labels[b] for image in (a, b)},
    }
    for finding, images in wanted.items():
        # What was selected before gives way: the finding is of all images.
        page.execute_script(
            "const s = document.querySelector('.find input'); s.value = 'nothing of it'; s.dispatchEvent(new Event('input'))"
        )
        wait(lambda: text(page, ".says").startswith("0 of 600"))
        press(page, finding)
        assert text(page, ".says").startswith(f"{len(images)} of 600 · accuracy")
        assert selected(page, con) == sorted(images), finding
        assert page.execute_script(TAB) == "tab-all"
        assert page.execute_script("return document.activeElement.id") == "tab-all"
        assert page.execute_script("return document.querySelector('.find input').value") == ""
        assert text(page, "#tab-all") == f"All{len(images)}"
    # The chip takes the selection back.
    assert text(page, ".chosen").endswith("copies with different labels×")
    page.execute_script("document.querySelector('.chip .remove').click()")
    assert text(page, ".says").startswith("All 600")
    # The copy that the run has not answered is not on the page, which says so.
    (n,) = con.sql("select count(*) from images where sha256 in ('same0', 'same1')").fetchall()[0]
    rows = dict(page.execute_script(ROWS))
    assert n == 5
    assert rows["Leaks"].endswith(" · 4 of 5 images are on this page")
    assert "on this page" not in rows["Suspected labels"]
    assert complaints(page) == []


def test_review_starts_the_review(browser: Any, made: Made) -> None:
    con, path = made
    page = opened(browser, path)
    (n,) = con.sql("select count(*) from label_issues('digits_logreg')").fetchall()[0]
    cards = "return document.querySelectorAll('.review-card').length"
    for search in ("", "nothing of it"):
        page.execute_script(
            "const s = document.querySelector('.find input'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))",
            search,
        )
        wait(lambda: text(page, ".says").startswith("0 of" if search else "All"))  # noqa: B023
        press(page, "Suspected labels")
        assert page.execute_script(TAB) == "tab-suspects"
        wait(lambda: page.execute_script(cards) == n > 0)
    assert text(page, ".says").startswith("All 600"), "a filter that leaves no suspected label gives way"
    assert f"{n} labels are suspected" in text(page, ".checklist")


def test_a_button_that_would_select_nothing_is_not_there(
    browser: Any, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a script no button can be seen; a finding whose images are not on the page has none."""
    con, path = made
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    show(browser, path)
    buttons = browser.find_elements("css selector", ".checklist button")
    assert len(buttons) == 5
    assert not any(one.is_displayed() for one in buttons)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    # A page of a sample: what of a finding is not on it is counted and said, and what has none of it has no button.
    monkeypatch.setattr(data, "MAX_ROWS", 150)
    sample = report.report(con, tmp_path / "sample.html")
    data.read_report(con, sample, "sampled")
    kept = {row[0] for row in con.sql("select image_id from sampled").fetchall()}
    assert len(kept) == 150
    found = json.loads(re.findall(r'id="facts">(.*?)</script>', sample.read_text("utf-8"), re.DOTALL)[0])["sections"][
        "checks"
    ]
    page = opened(browser, sample)
    rows = dict(page.execute_script(ROWS))
    for finding in FINDINGS[:3]:
        n = found[finding]["n"]
        images = kept & set(itertools.accumulate(found[finding]["steps"]))
        assert len(images) < n
        assert rows[finding].endswith(f" · {len(images)} of {n} images are on this page")
        assert (finding in page.execute_script(SHOWN)) == bool(images)
        if images:
            press(page, finding)
            assert selected(page, con) == sorted(images)
    assert len({*FINDINGS[:3]} - set(page.execute_script(SHOWN))) in (1, 2), "both happen"
    assert complaints(page) == []


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_and_phones(browser: Any, made: Made, mode: str) -> None:
    page = opened(browser, made[1], mode, 390)
    page.execute_script(AXE.read_text(encoding="utf-8"))
    found = page.execute_async_script(
        "axe.run('section[aria-labelledby=checks]').then((all) => arguments[0](all.violations))"
    )
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    inside = "return [...document.querySelectorAll('.checklist button')].every((b) => b.getBoundingClientRect().right <= innerWidth)"
    assert page.execute_script(inside)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_number_of_images_needed_unfolds(browser: Any, tmp_path: Path, mode: str) -> None:
    """The link of a verdict that is not established opens what it points to; each pair of runs has its own."""
    con = sqlanalysis.connect()
    report_files.add_digits(con, 300)
    con.execute(
        "update outputs.digits_bayes as old set pred = new.pred from outputs.digits_logreg as new "
        "where old.image_id = new.image_id and new.image_id % 9 > 1"
    )
    page = opened(browser, report.report(con, tmp_path / "page.html"), mode)
    con.close()
    for pair in ("0-1", "1-0"):
        link = ".of:not([hidden]) .needs"
        assert page.execute_script(f"return document.querySelector('{link}').hash") == f"#needed-{pair}"
        target = page.find_element("id", f"needed-{pair}")
        assert not target.is_displayed()
        page.execute_script(f"document.querySelector('{link}').click()")  # the page may still glide to the last one
        wait(target.is_displayed)
        assert "One point would take about" in target.text
        # What the browser has gone to; where the gliding page is by now depends on the machine.
        assert page.execute_script("return document.querySelector(':target') === arguments[0]", target)
        page.execute_script(
            "const s = document.getElementById('run'); s.value = 1; s.dispatchEvent(new Event('change'))"
        )
    page.execute_script(AXE.read_text(encoding="utf-8"))
    found = page.execute_async_script("axe.run('#verdict-section').then((all) => arguments[0](all.violations))")
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    assert complaints(page) == []


def test_long_lists_of_classes(browser: Any, tmp_path: Path) -> None:
    """Filter menu, map and review hold a hundred classes, say how many more there are, and find them by name."""
    con = sqlanalysis.connect()
    names = [f"class {number:03}" for number in range(130)]
    report_files.add_named(con, names, per_class=2)
    page = opened(browser, report.report(con, tmp_path / "page.html"))
    con.close()

    def shown(box: str, item: str) -> tuple[int, str]:
        script = "const b = document.querySelector(arguments[0]); return [b.querySelectorAll(arguments[1]).length, b.textContent]"
        n, words = page.execute_script(script, box, item)
        return n, words

    def write(field: str, words: str) -> None:
        script = "const s = document.querySelector(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('input'))"
        page.execute_script(script, field, words)

    # The menu of filters: what is pressed keeps the focus and is said to be pressed.
    page.execute_script("document.querySelector('.plus').click()")
    page.execute_script(
        "[...document.querySelectorAll('#filter-menu .entry')].find((e) => e.textContent.startsWith('class')).click()"
    )
    n, words = shown("#filter-menu", ".choices button")
    assert (n, words.count("30 more: type to find them")) == (100, 1)
    write("#filter-menu input", " CLASS 12")
    n, words = shown("#filter-menu", ".choices button")
    assert (n, "more" in words) == (10, False)
    from selenium.webdriver.common.keys import Keys

    page.execute_script("document.querySelectorAll('#filter-menu .choices button')[4].focus()")
    for pressed in ("true", "false", "true"):
        page.switch_to.active_element.send_keys(Keys.ENTER)
        assert page.switch_to.active_element.text.startswith("class 124")
        assert page.switch_to.active_element.get_attribute("aria-pressed") == pressed
    assert text(page, ".says").startswith("2 of 260")
    write("#filter-menu input", "nothing like it")
    assert shown("#filter-menu .editor:not([hidden])", ".choices button") == (0, "none")
    page.execute_script("document.querySelector('.chip .remove').click()")
    # The list of the map.
    page.execute_script("document.getElementById('box').scrollIntoView()")
    wait(lambda: shown("#map-classes", ".map-row[data-code]")[0] == 100)
    assert "30 more: type to find them" in shown("#map-classes", "button")[1]
    write("#map-classes input", "129")
    wait(lambda: shown("#map-classes", ".map-row[data-code]")[0] == 1)
    assert "1 of 130" in shown("#map-classes", "button")[1]
    # The menu of an opened image: its own label is no other one.
    page.execute_script("document.querySelector('.tile').click()")
    wait(lambda: page.find_elements("css selector", "#viewer[open]"))
    page.execute_script("[...document.querySelectorAll('#viewer button')].find((b) => b.popoverTargetElement).click()")
    wait(lambda: shown("#viewer-menu", "[role=option]")[0] == 100)
    assert "29 more: type to find them" in shown("#viewer-menu", "[role=option]")[1]
    write("#viewer-menu input", "nothing like it")
    assert shown("#viewer-menu", "[role=option]") == (0, "No class has this name.")
    assert complaints(page) == []
