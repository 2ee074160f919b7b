"""Other programs that read a file: our own command line, the DuckDB shell, another DuckDB in another Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def cli(*arguments: object, code: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Our command line, with the exit code it must have."""
    command = [sys.executable, "-m", "sqlanalysis", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    return done


def ask(shell: str, file: Path, sql: str, *options: str) -> list[dict[str, Any]]:
    """The rows that the DuckDB shell gives to one query."""
    command = [shell, "-readonly", "-json", *options, str(file), "-c", sql]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout)) if done.stdout.strip() else []
