"""One Chromium for all tests of the page, empty before each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ..support import chromium


@pytest.fixture(scope="session")
def driver() -> Iterator[Any]:
    """Headless Chromium with its log of console and network."""
    started = chromium.start()
    yield started
    started.quit()


@pytest.fixture
def browser(driver: Any) -> Any:
    """The same, as if it had just been started."""
    chromium.reset(driver)
    return driver
