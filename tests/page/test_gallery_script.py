"""Filter bar and gallery of the page: their functions against plain code, run by node."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def test_filters_words_and_orders() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    script = Path(__file__).with_name("gallery.mjs")
    done = subprocess.run([node, "--test", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "# fail 0" in done.stdout
    assert "# skipped 0" in done.stdout
