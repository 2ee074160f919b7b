"""Sections out of sight: drawn a little later, at once when the page is printed, and never with figures of another filter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlanalysis
from sqlanalysis.page import report
from sqlanalysis.page.draft import Draft

from ..support import report_files
from ..support.chromium import complaints, emulate, show, wait

OUTCOMES = "return [...document.querySelectorAll('#comparison-live .field b')].map((one) => Number(one.textContent))"
CLASS = "document.querySelector('#per-class-live tbody button').click();"
PRINT = "window.dispatchEvent(new Event('beforeprint'));"


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    con = sqlanalysis.connect()
    report_files.add_digits(con, 500)
    yield con
    con.close()


@pytest.fixture(scope="module")
def page(con: duckdb.DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = ["digits_logreg", "digits_bayes"]
    return Path(report.report(con, tmp_path_factory.mktemp("lazy") / "page.html", names))


def outcomes(con: duckdb.DuckDBPyConnection, condition: str) -> list[int]:
    """Both right, newly wrong, newly right, both wrong, as the page has its fields."""
    counts = ", ".join(
        f"count(*) filter (where {of})"
        for of in (
            "correct_run and correct_baseline",
            "not correct_run and correct_baseline",
            "correct_run and not correct_baseline",
            "not correct_run and not correct_baseline",
        )
    )
    pairs = f"paired('digits_logreg', 'digits_bayes') where {condition}"
    return list(con.execute(f"select {counts} from {pairs}").fetchall()[0])


def test_what_is_out_of_sight_follows_the_filter(browser: Any, page: Path, con: duckdb.DuckDBPyConnection) -> None:
    emulate(browser)
    show(browser, page)
    all_of_them = outcomes(con, "true")
    wait(lambda: browser.execute_script(OUTCOMES) == all_of_them)  # nobody has scrolled there
    name = browser.execute_script("return document.querySelector('#per-class-live tbody button').textContent")
    digit = con.execute("select class from classes where name = ?", [name]).fetchall()[0][0]
    of_class = outcomes(con, f"label = {digit}")
    assert of_class != all_of_them
    # In one task: the filter has not reached what is out of sight, until the page is printed.
    before, printed = browser.execute_script(
        f"{CLASS} const of = () => {{ {OUTCOMES} }}; const before = of(); {PRINT} return [before, of()];"
    )
    assert before == all_of_them
    assert printed == of_class
    browser.execute_script("document.querySelector('#filters .clear').click()")
    wait(lambda: browser.execute_script(OUTCOMES) == all_of_them)
    assert not complaints(browser)


def test_the_query_of_a_section_out_of_sight_is_that_of_the_filter(browser: Any, page: Path) -> None:
    emulate(browser)
    show(browser, page)
    wait(lambda: browser.execute_script("return document.querySelector('#calibration-live .say')?.textContent"))
    said = "return document.querySelector('#calibration-live .say').textContent"
    # The drawer stays open while a filter changes; its query of the surest answers has the threshold of the selection.
    program = """
        document.querySelector('button.open-sql[data-section=calibration]').click();
        const choice = document.querySelector('#drawer select');
        choice.value = choice.options.length - 1;
        choice.selectedIndex = [...choice.options].findIndex((one) => one.textContent.startsWith('The surest'));
        choice.dispatchEvent(new Event('change'));
        document.querySelector('#per-class-live tbody button').click();
        return document.querySelector('#drawer code').textContent"""
    code = browser.execute_script(program)
    threshold = browser.execute_script(said).split("confidence ≥ ")[1].split(",")[0]
    assert "at_threshold" in code
    assert f"{float(code.split('at_threshold(')[1].split(', ')[1].split(')')[0]):.3f}" == threshold
    assert not complaints(browser)


def test_an_equal_statement_is_asked_once(con: duckdb.DuckDBPyConnection) -> None:
    draft = Draft(con, max_images=1)
    draft.run, draft.baseline, draft.probs = "digits_logreg", "digits_bayes", True
    other = draft.of("digits_logreg", probs=False)
    assert other.ask("paired_test", baseline="digits_bayes") is draft.ask("paired_test")
    assert draft.of("digits_bayes", probs=False).ask("key_figures") is not draft.ask("key_figures")


def test_pictures_that_nobody_has_seen_are_printed(browser: Any, page: Path) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 1280, "height": 200, "deviceScaleFactor": 1, "mobile": False},  # the pictures are far below
    )
    show(browser, page)
    tiles = "return document.querySelectorAll('#gallery .tile').length"
    assert browser.execute_script(tiles) == 0
    said = "return [...document.querySelectorAll('#gallery .muted')].filter((one) => one.offsetParent).length"
    assert browser.execute_script(said) == 0, "nothing is said of a list that was not asked for"
    assert browser.execute_script(f"{PRINT} {tiles}") >= 6
    assert complaints(browser) == []
