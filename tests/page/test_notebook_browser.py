"""Outputs of a notebook in a real browser: the page works inside its frame, tables follow the notebook's theme."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sqlanalysis
from sqlanalysis.core import tables
from sqlanalysis.page import notebook, report

from ..support import chromium, report_files
from ..support.chromium import complaints, show, wait

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page that holds another one as a notebook does."""
    con = sqlanalysis.connect()
    report_files.add_digits(con, 200)
    page = report.report(con, tmp_path_factory.mktemp("frame") / "digits.html")
    con.close()
    assert isinstance(page, notebook.Page)
    file = page.parent / "host.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><body>{page._repr_html_()}</body>", encoding="utf-8")
    return file


def test_the_page_works_in_its_frame_and_reaches_nothing_else(browser: Any, host: Path, tmp_path: Path) -> None:
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    show(browser, host)
    frame = browser.find_element("tag name", "iframe")
    assert frame.size["height"] >= 600
    assert frame.size["width"] > 1000
    browser.switch_to.frame(frame)
    wait(lambda: browser.execute_script("return document.readyState === 'complete'"))
    assert browser.execute_script("return origin") == "null"
    assert (
        browser.execute_script("try { localStorage; return 'open' } catch (error) { return error.name }")
        == "SecurityError"
    )
    assert (
        browser.execute_script("try { parent.document; return 'open' } catch (error) { return error.name }")
        == "SecurityError"
    )
    # The button of the theme, whose choice cannot be stored here.
    theme = "return document.documentElement.dataset.theme"
    before = browser.execute_script(theme)
    browser.execute_script("document.getElementById('theme').click()")
    assert browser.execute_script(theme) not in (before, None)
    # A link of the contents moves inside the page.
    heading = "return document.querySelectorAll('section h2').length"
    n = browser.execute_script(heading)
    browser.execute_script("document.querySelector('a[href^=\"#\"]').click()")
    chromium.next_frame(browser)
    assert browser.execute_script(heading) == n > 3
    # What the page exports can be saved.
    save = "const a = document.createElement('a'); a.download = 'labels.csv'; a.href = URL.createObjectURL(new Blob(['x'])); a.click()"
    browser.execute_script(save)
    wait(lambda: (tmp_path / "labels.csv").exists())
    browser.switch_to.default_content()
    assert complaints(browser) == []
    assert len(chromium.requests(browser)) == 1, "the notebook itself"


TOKENS = {"light": ("rgb(255, 255, 255)", "rgb(11, 118, 128)"), "dark": ("rgb(15, 17, 21)", "rgb(69, 191, 201)")}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_tables_follow_the_theme_of_the_notebook(browser: Any, tmp_path: Path, theme: str) -> None:
    table = tables.Table(
        ("n", "very long"), [[tables.Cell("1,234", tone="right"), tables.Cell("x" * 199)]], (True, False)
    )
    html = tables.as_html(table, title="<b>T", lead="L")
    bodies = {
        "jupyter": f'<html><body data-jp-theme-light="{str(theme == "light").lower()}">{html}</body></html>',
        "code": f'<html><body class="vscode-{theme}">{html}</body></html>',
        "other": f'<html style="color-scheme: {theme}"><body>{html}</body></html>',
    }
    # The system prefers the other theme: what counts is the notebook's.
    for name, body in bodies.items():
        file = tmp_path / f"{name}.html"
        file.write_text(f"<!doctype html><meta charset=utf-8>{body}", encoding="utf-8")
        chromium.emulate(browser, "dark" if theme == "light" else "light", 600)
        show(browser, file)
        style = "const s = getComputedStyle(document.querySelector(arguments[0])); return s[arguments[1]]"
        ground = browser.execute_script(style, ".sqlanalysis-tables", "backgroundColor")
        right = browser.execute_script(style, "td.right", "color")
        assert (ground, right) == TOKENS[theme], name
        assert browser.execute_script(style, "td.number", "textAlign") == "end"
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 600
    assert complaints(browser) == []


def test_tables_of_a_notebook_in_a_light_page_are_light(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "plain.html"
    file.write_text(f"<!doctype html><meta charset=utf-8>{tables.as_html(tables.Table(('a',), [[tables.Cell('1')]]))}")
    chromium.emulate(browser, "dark", 600)
    show(browser, file)
    style = "return getComputedStyle(document.querySelector('.sqlanalysis-tables')).backgroundColor"
    assert browser.execute_script(style) == TOKENS["light"][0]
