"""Filter bar and gallery in a browser: by keys alone, with DuckDB's numbers, and without more tiles than can be seen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import sqlanalysis
from sqlanalysis.page import report

from ..support.chromium import complaints, emulate, show, wait

N, K = 900, 5
NAMES = ["ant", "bee", "crow", "deer", "eel"]


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """900 images of five classes, two runs with probabilities; some images without a label."""
    chance = np.random.default_rng(3)
    con = sqlanalysis.connect()
    labels = chance.integers(0, K, N)
    pictures = [(chance.integers(0, 255, (40, 40, 3)).astype(np.uint8), int(label)) for label in labels]
    sqlanalysis.add_images(con, pictures, dataset="made", classes=NAMES)
    con.execute("update images set label = null where image_id % 23 = 0").fetchall()
    for run, skill in (("new", 2.5), ("old", 1.0)):
        logits = chance.normal(size=(N, K))
        logits[np.arange(N), labels] += skill
        probs = np.exp(logits)
        probs = (probs / probs.sum(1, keepdims=True)).astype(np.float32)
        rows = pa.table({"image_id": np.arange(1, N + 1), "probs": pa.array(list(probs), pa.list_(pa.float32()))})
        sqlanalysis.add_predictions(con, rows, run)
    yield con
    con.close()


@pytest.fixture(scope="module")
def page(con: duckdb.DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(report.report(con, tmp_path_factory.mktemp("gallery") / "page.html", ["new", "old"]))


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    emulate(browser)
    show(browser, page)
    wait(lambda: browser.find_elements("css selector", "#filters .says b"))
    return browser


def press(driver: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


def text(driver: Any, selector: str) -> str:
    return " ".join(driver.execute_script("return document.querySelector(arguments[0]).textContent", selector).split())


def focused(driver: Any) -> str:
    return str(driver.execute_script("return document.activeElement.textContent"))


def test_the_bar_by_keys_alone(opened: Any, con: duckdb.DuckDBPyConnection) -> None:
    from selenium.webdriver.common.keys import Keys

    # The search says when nothing is found; it takes the place of no other key.
    press(opened, "/")
    press(opened, *"zebrra")
    wait(lambda: text(opened, ".says") == f"0 of {N} · no file or class holds “zebrra”")
    assert text(opened, "#images-finding") == "No image meets the filters."
    opened.execute_script("document.querySelector('.chip .remove').focus()")
    press(opened, Keys.ENTER)
    wait(lambda: text(opened, ".says").startswith("All 900"))
    assert focused(opened) == "+ filter"
    # The menu: down to "class", unfold it, search in it is not needed for five classes and none; take the second.
    press(opened, Keys.ENTER)
    wait(lambda: focused(opened).startswith("class"))
    press(opened, Keys.ENTER, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    n, selected, accuracy, low, high = con.execute(
        "select m.n, (select count(*) from new where label = 1), m.accuracy, m.ci_low, m.ci_high "
        "from (with bees as (from new where label = 1) from accuracy('bees')) as m"
    ).fetchall()[0]
    assert focused(opened) == f"bee{selected}"
    press(opened, Keys.ENTER)
    said = f"{selected} of {N} · accuracy {accuracy:.1%} ({100 * low:.1f}–{high:.1%}) descriptive"
    wait(lambda: text(opened, ".says") == said)
    assert n == selected
    # Escape closes the menu and clears nothing.
    press(opened, Keys.ESCAPE)
    wait(lambda: focused(opened) == "+ filter")
    assert not opened.find_element("id", "filter-menu").is_displayed()
    assert text(opened, ".chosen").endswith("class: bee×")
    # Wrong ones only: no accuracy anywhere in the bar.
    press(
        opened, Keys.ENTER, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER
    )
    wait(lambda: "only wrong images, so no accuracy" in text(opened, ".says"))
    assert "%" not in text(opened, ".says")
    press(opened, Keys.ESCAPE)
    opened.execute_script("document.activeElement.blur()")
    press(opened, "?")
    wait(lambda: opened.find_element("css selector", "dialog.help").is_displayed())
    press(opened, Keys.ESCAPE)
    assert not complaints(opened)


def test_gallery_holds_the_tiles_in_sight(opened: Any, con: duckdb.DuckDBPyConnection) -> None:
    from selenium.webdriver.common.keys import Keys

    worst = con.execute("select pred_name from new where not correct order by confidence desc, image_id").fetchall()
    wait(lambda: opened.find_elements("css selector", ".tile"))
    opened.execute_script("document.activeElement.blur()")
    press(opened, "j")
    wait(lambda: opened.execute_script("return document.activeElement.className === 'tile'"))
    assert worst[0][0] in focused(opened)
    opened.execute_script("document.getElementById('tab-all').click()")
    wait(lambda: text(opened, ".foot").startswith("1–") and f"of {N}" in text(opened, ".foot"))
    press(opened, "j", "j")
    press(opened, Keys.END)
    wait(lambda: f"–{N} of {N}" in text(opened, ".foot"))
    assert len(opened.find_elements("css selector", ".tile")) <= 60
    assert opened.execute_script("return document.activeElement === [...document.querySelectorAll('.tile')].at(-1)")
    # Each tab says how many images it holds.
    count = "select count(*) from new join old using (image_id) where new.pred <> old.pred"
    assert text(opened, "#tab-disagreements") == f"Disagreements{con.execute(count).fetchall()[0][0]}"
    assert text(opened, "#tab-mistakes") == f"Confident mistakes{len(worst)}"
    opened.execute_script("document.getElementById('tab-disagreements').click()")
    wait(lambda: len(opened.find_elements("css selector", ".tile .key-ring")) > 6)
    assert not complaints(opened)


def test_a_range_of_confidence(opened: Any, con: duckdb.DuckDBPyConnection) -> None:
    script = """
    document.querySelector('.plus').click();
    [...document.querySelectorAll('#filter-menu .entry')].find((one) => one.textContent.startsWith('confidence')).click();
    const [low, high] = document.querySelectorAll('.range input');
    for (const [thumb, value] of [[low, 0.5], [high, 0.8]]) { thumb.value = value; thumb.dispatchEvent(new Event('input')); }
    """
    opened.execute_script(script)
    query = "select count(*) from new where confidence::double >= 0.5 and confidence::double < 0.8"
    n = con.execute(query).fetchall()[0][0]
    wait(lambda: text(opened, ".says").startswith(f"{n} of {N} · accuracy on "))
    assert "confidence 0.50–0.80" in text(opened, ".chosen")
    time.sleep(0.1)
    assert opened.execute_script("return document.documentElement.classList.contains('filtered')")


def test_phone_without_sideways_scroll(browser: Any, page: Path) -> None:
    emulate(browser, width=390)
    show(browser, page)
    wait(lambda: browser.find_elements("css selector", "#filters .says b"))
    browser.execute_script("document.querySelector('.plus').click()")
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    box = "const r = document.getElementById('filter-menu').getBoundingClientRect(); return [r.left, r.right]"
    menu = browser.execute_script(box)
    assert menu[0] >= 0
    assert menu[1] <= 390


def test_nothing_of_the_first_pair_stands_under_another_run(opened: Any) -> None:
    """What is of the run and baseline of the opening is left out, or says so, while others are chosen; and is back after."""
    from selenium.webdriver.support.ui import Select

    def shown(selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility({visibilityProperty: true})).map(e => e.innerText)"
        return [text.strip() for text in opened.execute_script(script, selector) if text]

    def seen() -> list[list[str]]:
        parts = (".verdict .next", ".contents .count", ".bar .meta", ".opened-note")
        return [shown(part) for part in parts]

    first = seen()
    assert [bool(part) for part in first] == [True, True, True, False]
    Select(opened.find_element("id", "run")).select_by_visible_text("old")
    assert opened.find_element("css selector", "#baseline option:checked").text == "new"
    assert seen() == [
        [],
        [],
        [],
        [
            "From here to the filters: new against old, with which the page opened.",
            "The tables are of all images of new.",
            "Of new.",
            "Of new.",
        ],
    ]
    Select(opened.find_element("id", "run")).select_by_visible_text("new")
    assert seen() == first


def test_paper_says_which_filter_and_run_its_figures_are_of(opened: Any) -> None:
    """Without the bar, the figures of a selection would be printed as those of all images, under the name of another run."""
    from selenium.webdriver.support.ui import Select

    def printed(selector: str) -> str:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        text = opened.find_element("css selector", selector).text
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        return text

    assert (printed("#filters"), "old" in printed(".bar")) == ("", False)
    opened.find_element("css selector", "#gallery").click()
    press(opened, "/", "crow")
    wait(lambda: opened.find_elements("css selector", ".filtered"))
    assert "“crow”" in printed("#filters")
    assert opened.find_element("css selector", "#filters .says").text.splitlines()[0] in printed("#filters")
    Select(opened.find_element("id", "run")).select_by_visible_text("old")
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert opened.find_element("id", "run").is_displayed()
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
