"""The report page in a real browser: nothing is loaded, nothing is refused, nothing breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sqlanalysis
from sqlanalysis.page import report

from ..support import chromium, report_files
from ..support.chromium import complaints, emulate, show, wait

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of real digits."""
    con = sqlanalysis.connect()
    report_files.add_digits(con, 400)
    path = report.report(con, tmp_path_factory.mktemp("page") / "digits.html")
    con.close()
    return path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report whose names are attacks, with the content policy taken out."""
    con = sqlanalysis.connect()
    report_files.add_named(con, report_files.HOSTILE)
    path = report.report(con, tmp_path_factory.mktemp("page") / "hostile.html", title=report_files.HOSTILE[0])
    con.close()
    text = path.read_text(encoding="utf-8")
    assert "Content-Security-Policy" in text
    path.with_name("bare.html").write_text(text.replace("Content-Security-Policy", "x-none"), encoding="utf-8")
    return path


def test_nothing_is_loaded_or_refused(browser: Any, page: Path) -> None:
    show(browser, page)
    assert complaints(browser) == []
    assert len(chromium.requests(browser)) == 1, "the page itself, and nothing else"
    names = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in names if not name.startswith(("data:", "blob:"))] == []
    loaded = "return [...document.images].every(i => i.complete && i.naturalWidth > 0)"
    wait(lambda: browser.execute_script(loaded))
    assert browser.execute_script("return document.images.length") > 5


def test_content_policy_is_enforced(browser: Any, page: Path) -> None:
    show(browser, page)
    browser.execute_script("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\" onclick=\"x()\">')")
    assert "style-src" in " ".join(complaints(browser))


def test_hostile_names_do_nothing(browser: Any, hostile: Path) -> None:
    for path in (hostile, hostile.with_name("bare.html")):
        show(browser, path)
        assert complaints(browser) == []
        assert browser.title == report_files.HOSTILE[0]
        assert (
            browser.execute_script("return document.querySelectorAll('[onerror], [onmouseover], [style]').length") == 0
        )
        assert "{{7*7}}" in browser.execute_script("return document.body.textContent")


def test_theme_button(browser: Any, page: Path) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    fill = "return getComputedStyle(document.querySelector('.chart [fill^=var]')).fill"
    show(browser, page)
    light = browser.execute_script(ground), browser.execute_script(fill)
    button = browser.find_element("id", "theme")
    assert button.text == "Dark mode"
    button.click()
    dark = browser.execute_script(ground), browser.execute_script(fill)
    assert all(before != after for before, after in zip(light, dark, strict=True))
    assert button.text == "Light mode"
    show(browser, page)
    assert browser.execute_script(ground) == dark[0], "the choice is kept"
    browser.find_element("id", "theme").click()
    browser.execute_script("localStorage.clear()")
    assert complaints(browser) == []


def test_light_and_dark_differ(browser: Any, page: Path) -> None:
    shots = []
    for mode in ("light", "dark"):
        emulate(browser, mode)
        show(browser, page)
        shots.append(browser.get_screenshot_as_png())
    assert shots[0] != shots[1]


def test_copy_buttons(browser: Any, page: Path) -> None:
    show(browser, page)
    buttons = browser.find_elements("css selector", "button.copy")
    assert len(buttons) == len(browser.find_elements("css selector", ".sql")) > 30
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    buttons[0].click()
    selected = browser.execute_script("return getSelection().toString()")
    assert selected.strip().startswith("select")
    assert complaints(browser) == []


def test_page_is_complete_without_javascript(browser: Any, page: Path) -> None:
    show(browser, page)
    outside = "e => !e.closest('#map-section, #threshold, script, style')"  # what scripts add
    counted = f"[...document.querySelectorAll('svg, img, table, h2, code')].filter({outside}).length"
    words = (
        f"[...document.querySelectorAll('p, td, th, dd, li, summary')].filter({outside}).map(e => e.innerText).join('')"
    )
    count = f"return [{counted}, {words}]"
    with_script = browser.execute_script(count)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    show(browser, page)
    assert browser.find_element("id", "theme").is_displayed() is False
    assert not [b for b in browser.find_elements("css selector", "button") if b.is_displayed()]
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert browser.execute_script(count) == with_script
    still = browser.find_elements("css selector", "#map-section figure svg.still")
    assert len(still) == 2
    assert all(picture.is_displayed() for picture in still)


@pytest.mark.parametrize("scripts", [True, False])
def test_tabs_show_one_panel_each(browser: Any, page: Path, scripts: bool) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    show(browser, page)
    tabs = browser.find_elements("css selector", ".tabs label")
    panels = browser.find_elements("css selector", ".tabbed > .panel")
    for number, tab in enumerate(tabs):
        tab.click()
        assert [panel.is_displayed() for panel in panels] == [number == other for other in range(3)]
    browser.find_element("id", "tab-unsure").send_keys("\ue012")  # arrow left, as a keyboard chooses
    assert panels[1].is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert all(panel.is_displayed() for panel in panels), "on paper there is nothing to click"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_errors_only(browser: Any, page: Path) -> None:
    show(browser, page)
    drawn = "return [...document.querySelectorAll('[aria-labelledby=confusion] .chart path')].filter(path => "
    drawn += "path.getAttribute('fill') && getComputedStyle(path).visibility === 'visible').map(path => path.getAttribute('fill'))"
    before = set(browser.execute_script(drawn))
    browser.find_element("css selector", ".switch input").click()
    after = set(browser.execute_script(drawn))
    assert before - after == {"var(--accent)"}
    assert "var(--wrong)" in after


def test_labels_of_charts_are_inside_their_charts(browser: Any, hostile: Path) -> None:
    show(browser, hostile)
    outside = browser.execute_script(
        """return [...document.querySelectorAll('.chart svg text')].filter(text => {
            const box = text.getBoundingClientRect(), chart = text.closest('.chart').getBoundingClientRect();
            return box.width && (box.left < chart.left - 1 || box.right > chart.right + 1);
        }).map(text => text.textContent)"""
    )
    assert outside == []


@pytest.mark.parametrize("name", ["page", "hostile"])
def test_no_sideways_scroll_on_a_phone(browser: Any, name: str, request: pytest.FixtureRequest) -> None:
    emulate(browser, width=390)
    show(browser, request.getfixturevalue(name))
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    assert browser.execute_script("return innerWidth") == 390


def test_no_element_id_twice(browser: Any, page: Path) -> None:
    show(browser, page)
    ids = browser.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
