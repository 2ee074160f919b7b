"""Damaged copies of a file, each added in a process with little memory: the right rows, or an error of ours."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import random, re, sys, time
from pathlib import Path
import sqlanalysis
from sqlanalysis.errors import SQLAnalysisError
file, n = Path(sys.argv[1]), int(sys.argv[2])
whole, chance = file.read_bytes(), random.Random(7)
slowest = 0.0
con = sqlanalysis.connect()
for number in range(n):
    data = bytearray(whole)
    kind = number % 4
    if kind == 0:
        data = data[: chance.randrange(len(data))]
    elif kind == 1:
        start = chance.randrange(len(data))
        del data[start : start + chance.randrange(1, 200)]
    else:
        for _ in range(1 if kind == 2 else 30):
            # half of the changes near the end, where Parquet and zip keep their lists
            low = len(data) * 9 // 10 if chance.random() < 0.5 else 0
            data[chance.randrange(low, len(data))] = chance.randrange(256)
    changed = file.with_name(f"changed{number}{file.suffix}")
    changed.write_bytes(data)
    start = time.monotonic()
    try:
        found = sqlanalysis.add_images(con, changed, dataset=f"m{number}", show_progress=False)
        print("rows", found.n_added, found.n_errors)
    except SQLAnalysisError as error:
        print("error", type(error).__name__, str(error)[:120].replace(chr(10), " "))
    slowest = max(slowest, time.monotonic() - start)
    changed.unlink()
# ru_maxrss of a child starts with that of the process that forked it.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]
print("done", round(slowest, 1), int(peak) // 1024)
"""


def survive(file: Path, n: int = 100) -> tuple[list[str], float, int]:
    """What came of `n` damaged copies: one line each, the slowest in seconds, and the most memory in MB."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(file), str(n)],
        capture_output=True,
        text=True,
        timeout=600,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30)),
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert lines[-1].startswith("done"), lines[-1:]
    _, slowest, megabytes = lines[-1].split()
    return lines[:-1], float(slowest), int(megabytes)
