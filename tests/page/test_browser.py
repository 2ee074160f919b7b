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
    seen = "[...document.images].filter(i => i.offsetParent)"
    wait(
        lambda: browser.execute_script(
            f"return {seen}.length > 5 && {seen}.every(i => i.complete && i.naturalWidth > 0)"
        )
    )


def test_content_policy_is_enforced(browser: Any, page: Path) -> None:
    show(browser, page)
    browser.execute_script("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\" onclick=\"x()\">')")
    assert "style-src" in " ".join(complaints(browser))


def test_hostile_names_do_nothing(browser: Any, hostile: Path) -> None:
    for path in (hostile, hostile.with_name("bare.html")):
        show(browser, path)
        assert complaints(browser) == []
        assert browser.title == report_files.HOSTILE[0]
        assert browser.execute_script("return document.querySelectorAll('[onerror], [onmouseover]').length") == 0
        assert browser.execute_script("return document.querySelectorAll('[style*=red]').length") == 0
        assert "{{7*7}}" in browser.execute_script("return document.body.textContent")


TWINS = tuple("leaf of a plant with " * 14 + end for end in ("blight", "rust", "rust and more"))
# The forms of a name, whether their end is in sight in every box that cuts them, and whether the whole name is beside them.
SHOWN = """
const seen = {};
for (const node of document.querySelectorAll('bdi[title] > [aria-hidden]')) {
    const box = node.getBoundingClientRect();
    if (!box.width || !node.offsetParent) continue;
    let [left, right] = [box.left, Infinity];
    for (let around = node.parentElement; around.parentElement; around = around.parentElement) {
        if (getComputedStyle(around).overflowX !== 'hidden') continue;
        const edges = around.getBoundingClientRect();
        [left, right] = [Math.max(left, edges.left), Math.min(right, edges.right + 1)];
    }
    const ends = box.right < right && box.right - left > 25;
    const name = node.parentElement.title;
    (seen[name] ??= []).push([node.textContent, ends, node.nextSibling.textContent === name]);
}
return seen;
"""


@pytest.mark.parametrize("width", [1240, 390])
def test_names_that_differ_at_their_end_look_different(browser: Any, tmp_path: Path, width: int) -> None:
    con = sqlanalysis.connect()
    report_files.add_named(con, [*TWINS, "cat", "dog"], per_class=12)
    page = report.report(con, tmp_path / "twins.html")
    con.close()
    emulate(browser, width=width)
    show(browser, page)
    wait(lambda: browser.execute_script("return performance.getEntriesByName('sqlanalysis:ready').length"))
    browser.execute_script("document.querySelectorAll('section').forEach(e => e.scrollIntoView({behavior: 'instant'}))")
    for words in ("+ filter", "class"):
        browser.execute_script(
            "[...document.querySelectorAll('#filters button')].find(b => b.innerText.startsWith(arguments[0])).click()",
            words,
        )
    wait(lambda: browser.execute_script("return document.querySelectorAll('table.lines').length"))
    wait(lambda: browser.execute_script("return document.querySelectorAll('svg.matrix').length"))
    seen = browser.execute_script(SHOWN)
    assert set(seen) == set(TWINS)
    forms = {name: {text for text, *_ in found} for name, found in seen.items()}
    assert all(len(texts) == 1 for texts in forms.values())
    assert len({text for texts in forms.values() for text in texts}) == len(TWINS)
    for name, found in seen.items():
        assert len(found) >= 5
        assert [one for one in found if not (one[1] and one[2])] == [], name
    ticks = browser.execute_script(
        "return [...document.querySelectorAll('svg.matrix text:has(title)')]"
        ".map(e => [e.firstChild.data, e.querySelector('title').textContent])"
    )
    assert {name for _, name in ticks} == set(TWINS)
    assert len({text for text, _ in ticks}) == len(TWINS)
    assert complaints(browser) == []


def test_theme_button(browser: Any, page: Path) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    fill = "return getComputedStyle(document.querySelector('.verdict .of:not([hidden]) .dot')).fill"
    show(browser, page)
    light = browser.execute_script(ground), browser.execute_script(fill)
    button = browser.find_element("id", "theme")
    assert button.accessible_name == "Dark mode"
    button.click()
    dark = browser.execute_script(ground), browser.execute_script(fill)
    assert all(before != after for before, after in zip(light, dark, strict=True))
    assert button.accessible_name == "Light mode"
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


def test_every_section_gives_its_sql(browser: Any, page: Path) -> None:
    show(browser, page)
    buttons = browser.find_elements("css selector", "button.open-sql")
    assert len(buttons) >= 8
    for button in buttons:
        browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", button)
        button.click()
        wait(lambda: any("from" in one.text for one in browser.find_elements("css selector", "dialog[open] pre")))
        browser.switch_to.active_element.send_keys("\ue00c")  # Escape
        wait(lambda one=button: browser.switch_to.active_element == one)
    assert complaints(browser) == []


def test_page_is_readable_without_javascript(browser: Any, page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    show(browser, page)
    assert browser.find_element("id", "theme").is_displayed() is False
    assert not [b for b in browser.find_elements("css selector", "button") if b.is_displayed()]
    stills = [one for one in browser.find_elements("css selector", "main svg") if one.is_displayed()]
    assert len(stills) > 10
    pictures = [one for one in browser.find_elements("css selector", "main img") if one.is_displayed()]
    assert len(pictures) >= 24
    text = browser.find_element("css selector", "main").text
    for words in ("points of accuracy", "Confident mistakes", "recall", "label → prediction", "Data checks"):
        assert words in text, words
    assert "100%" in text
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_run_switch_shows_the_figures_of_the_pair(browser: Any, page: Path) -> None:
    show(browser, page)
    large = "return document.querySelector('.verdict .of:not([hidden])').innerText"
    first = browser.execute_script(large)
    runs = browser.find_element("id", "run"), browser.find_element("id", "baseline")
    names = [option.text for option in runs[0].find_elements("css selector", "option")]
    assert names == ["digits_logreg", "digits_bayes"]
    browser.execute_script("arguments[0].value = '1'; arguments[0].dispatchEvent(new Event('change'))", runs[0])
    other = browser.execute_script(large)
    assert "digits_bayes is right on" in other
    assert first != other
    tab, table = (
        "return document.getElementById('tab-suspects').innerText",
        "return document.querySelector('#review ~ .opened-note').innerText",
    )
    assert browser.execute_script(tab).startswith("Suspected by digits_logreg")
    assert browser.execute_script(table) == "The tables are of all images of digits_logreg."
    assert [one.get_property("value") for one in runs] == ["1", "0"], "a run is not its own baseline"
    browser.execute_script("arguments[0].value = '-1'; arguments[0].dispatchEvent(new Event('change'))", runs[1])
    assert "one run alone" in browser.execute_script(large).lower()
    browser.execute_script("arguments[0].value = '0'; arguments[0].dispatchEvent(new Event('change'))", runs[0])
    browser.execute_script("arguments[0].value = '1'; arguments[0].dispatchEvent(new Event('change'))", runs[1])
    assert browser.execute_script(large) == first
    assert browser.execute_script(tab).startswith("Suspected labels")
    assert not browser.find_element("css selector", "#review ~ .opened-note").is_displayed()
    assert complaints(browser) == []


def test_errors_only(browser: Any, page: Path) -> None:
    show(browser, page)
    cells = "return [...document.querySelectorAll('#confusion-live rect.right')].filter(e => e.getBoundingClientRect().width && getComputedStyle(e).visibility === 'visible' && getComputedStyle(e).display !== 'none').length"
    browser.execute_script("document.getElementById('confusion').scrollIntoView()")
    wait(lambda: browser.execute_script(cells))
    (button,) = browser.find_elements("xpath", "//section[@aria-labelledby='confusion']//*[text()='errors only']")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", button)
    button.click()
    wait(lambda: browser.execute_script(cells) == 0)


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
