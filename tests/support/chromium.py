"""Headless Chromium: how it starts, what the page made it report, and gestures on the map."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 120  # seconds that anything may take before it counts as not happening
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-3d-apis --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)
# What Chromium itself has to say about speed and habits: it depends on the machine, not on the page.
ADVICE = ("violation", "intervention", "recommendation", "deprecation", "rendering")


def start() -> Any:
    """Chromium, its WebGL off: a page for people without a GPU is tested without one."""
    webdriver = pytest.importorskip("selenium.webdriver")
    programs = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not all(programs):
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    driver.set_page_load_timeout(PATIENCE)
    driver.set_script_timeout(PATIENCE)
    return driver


def reset(driver: Any) -> None:
    """An empty page, light, wide, with scripts, and empty logs."""
    emulate(driver)
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    driver.get("about:blank")
    for log in ("browser", "performance"):
        driver.get_log(log)


def emulate(driver: Any, mode: str = "light", width: int = 1240) -> None:
    """Color scheme and width of the window."""
    features = [{"name": "prefers-color-scheme", "value": mode}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def show(driver: Any, path: Path) -> None:
    """Open a page."""
    driver.get(path.as_uri())


def complaints(driver: Any) -> list[str]:
    """Errors, warnings and refusals that the page caused since the last question, without Chromium's advice."""
    entries = [entry for entry in driver.get_log("browser") if entry.get("source") not in ADVICE]
    return [f"{entry['level']} {entry.get('source')}: {entry['message']}" for entry in entries]


def requests(driver: Any) -> list[str]:
    """What went to the network since the last question."""
    sent = [entry["message"] for entry in driver.get_log("performance") if "requestWillBeSent" in entry["message"]]
    return [message for message in sent if not re.search('"url":"(data|blob):', message)]


def wait(ask: Callable[[], Any]) -> Any:
    """The first answer that is true; a busy machine may need long for it."""
    end = time.monotonic() + PATIENCE
    while not (answer := ask()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return answer


def next_frame(driver: Any) -> None:
    """Return when the page has handled its events; of several moves in one frame it would see the last alone."""
    driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")


def drag(driver: Any, points: list[tuple[int, int]], shift: bool = True) -> None:
    """A lasso through points measured from the middle of the map."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    box = driver.find_element("id", "box")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    if shift:
        ActionChains(driver).key_down(Keys.SHIFT).perform()
    for number, point in enumerate(points):
        chain = ActionChains(driver, duration=10).move_to_element_with_offset(box, *point)
        (chain if number else chain.click_and_hold()).perform()
        next_frame(driver)
    ActionChains(driver).release().perform()
    if shift:
        ActionChains(driver).key_up(Keys.SHIFT).perform()
    next_frame(driver)


def drag_finger(driver: Any, points: list[tuple[int, int]]) -> None:
    """The same with one finger on a screen."""
    script = "const b = document.getElementById('box'); b.scrollIntoView({block: 'center'});"
    script += "const r = b.getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]"
    left, top = driver.execute_script(script)
    for number, (x, y) in enumerate(points):
        touch = [{"x": left + x, "y": top + y}]
        event = "touchMove" if number else "touchStart"
        driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": event, "touchPoints": touch})
        next_frame(driver)
    driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    next_frame(driver)
