"""How large, how soon and how quick the page is: two made runs over n images, real browsers without a GPU, two tables.

python tests/benchmarks/bench_page.py --points 10000 100000 1000000

Writing is measured in a process of its own: seconds of CPU, and by how much memory grows at most. In the browser `ready`
is the time from the start of the page; all others are from the action until what is in sight is painted, and after the
slash until what is out of sight is drawn as well, which waits for that. On a busy machine these are longer than they need
to be, so each is the least of a few visits, and for Chromium the CPU time of the page's main thread until everything is
drawn stands beside it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from shared import lists, timed

import sqlanalysis
from tests.support import chromium, marionette, report_files
from tests.support.chromium import wait

CLASSES = 10
STATISTICS = ("brightness", "contrast", "sharpness", "colorfulness", "entropy")
CAMERAS = ("Canon EOS 80D", "NIKON D750", "Pixel 6")
READY = "return performance.getEntriesByName('sqlanalysis:ready')[0]?.startTime ?? null"
SELECTED = "return performance.getEntriesByName('sqlanalysis:selection').map((entry) => entry.duration)"
ALL = "return performance.getEntriesByName('sqlanalysis:all').map((entry) => entry.duration)"
# Each ends in one change of the selection, which the page measures itself.
ACTIONS = {
    "wrong": """
        document.querySelector('.plus').click();
        const entries = [...document.querySelectorAll('#filter-menu .entry')];
        entries.find((entry) => entry.textContent.startsWith('right / wrong')).click();
        const choices = [...document.querySelectorAll('#filter-menu .choices button')];
        choices.find((choice) => choice.textContent.startsWith('wrong')).click();""",
    "clear": "document.querySelector('#filters .clear').click();",
    "class": "document.querySelector('#per-class-live tbody button').click();",
    "search": """
        const field = document.querySelector('#filters .find input');
        field.value = '00012';
        field.dispatchEvent(new Event('input'));""",
    "all": "document.querySelector('#filters .clear').click();",
    "run": "const run = document.getElementById('run'); run.value = '1'; run.dispatchEvent(new Event('change'));",
}
DIALOG = """
    const start = performance.now();
    document.querySelector('#gallery .tile').click();
    requestAnimationFrame(() => setTimeout(() => { window.opened = performance.now() - start; }));"""
OPENED = "return document.querySelector('#viewer[open]') ? window.opened : null"
FACTS = """return {
    tiles: document.querySelectorAll('#gallery .tile').length, says: document.querySelector('#filters .says').textContent}"""


def fill(con: Any, n: int, pictures: int) -> None:
    """Runs `new` and `old` of n images in 10 blobs; the first `pictures` of them have bytes of a 500 × 375 JPEG."""
    random = np.random.default_rng(0)
    labels = np.sort(random.integers(0, CLASSES, n))
    con.execute("insert into label_spaces values ('bench_classes', ?)", [CLASSES])
    names = [f"class number {number}" for number in range(CLASSES)]
    report_files.fill(
        con, "classes", {"label_space": ["bench_classes"] * CLASSES, "class": range(CLASSES), "name": names}
    )
    con.execute("insert into datasets (dataset, label_space) values ('bench', 'bench_classes')")
    ids = np.arange(n)
    uris = [f"/data/val/n{3857828 + label * 131:08d}/ILSVRC2012_val_{i:08d}.JPEG" for i, label in enumerate(labels)]
    hashes = [f"{(i * 2654435761) % 2**32:08x}{i:056x}" for i in range(n)]
    columns = {"image_id": ids, "dataset": ["bench"] * n, "uri": uris, "sha256": hashes}
    columns |= {"n_bytes": [1] * n, "format": ["JPEG"] * n, "width_px": [500] * n, "height_px": [375] * n}
    columns |= {name: random.random(n).astype("float32") for name in STATISTICS}
    columns["meta"] = [json.dumps({"camera": CAMERAS[i % len(CAMERAS)]}) for i in range(n)]
    report_files.fill(con, "images", columns | {"split": ["val"] * n, "label": pa.array(labels, pa.int32())})
    encoded = [_picture(random) for _ in range(min(64, pictures))]
    stored = {"image_id": ids[:pictures], "bytes": [encoded[i % len(encoded)] for i in range(pictures)]}
    report_files.fill(con, "image_bytes", stored)
    for run, skill, day in (("old", 3.2, "21"), ("new", 3.6, "22")):
        _add_run(con, run, _probs(random, labels, skill), hashes, finished_at=f"2026-11-{day} 20:15:00")
    centers = random.normal(size=(CLASSES, 2)) * 6
    report_files.add_projection(con, "new", (centers[labels] + random.normal(size=(n, 2))).astype("float32"))


def _probs(random: Any, labels: Any, skill: float) -> Any:
    logits = random.normal(size=(len(labels), CLASSES)).astype("float32")
    logits[np.arange(len(labels)), labels] += skill
    np.exp(logits, out=logits)
    return logits / logits.sum(1, keepdims=True)


def _add_run(con: Any, run: str, probs: Any, hashes: list[str], **columns: Any) -> None:
    n = len(probs)
    report_files.add_run(con, run, "bench", probs[:1], n_images=n, **columns)
    con.execute(f"delete from outputs.{run}")
    outputs = {"image_id": np.arange(n), "sha256": hashes, "pred": pa.array(probs.argmax(1).astype("int32"))}
    report_files.fill(con, f"outputs.{run}", outputs | {"confidence": probs.max(1), "probs": lists(probs)})


def _picture(random: Any) -> bytes:
    coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype="uint8"))
    buffer = io.BytesIO()
    coarse.resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write(n: int, pictures: int, page: Path, max_mb: float) -> dict[str, Any]:
    """Writes the page of n images: seconds, CPU seconds, growth of memory, bytes, thumbnails."""
    con = sqlanalysis.connect()
    fill(con, n, pictures)
    before = _memory(peak=False)
    start = time.process_time()
    seconds, _ = timed(lambda: sqlanalysis.report(con, page, ["new", "old"], max_mb=max_mb))
    cpu, peak = time.process_time() - start, _memory(peak=True)
    sqlanalysis.read_report(con, page)
    thumbs = con.execute("select count(thumbnail) from page").fetchone()[0]
    con.close()
    return {
        "n": n,
        "seconds": seconds,
        "cpu": cpu,
        "grown_mb": peak - before,
        "page_mb": page.stat().st_size / 1e6,
        "thumbs": thumbs,
    }


def _memory(*, peak: bool) -> float:
    """Megabytes of this process, now or at most since the last question (of Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith("VmHWM:" if peak else "VmRSS:"))
    Path("/proc/self/clear_refs").write_text("5")
    return float(found.split()[1]) / 1000


def visit(run: Callable[..., Any], cpu: Callable[[], float]) -> tuple[dict[str, float], dict[str, float], Any]:
    """Milliseconds of each action on the page that is open, CPU milliseconds of the same, and what the page says."""
    times = {"ready": wait(lambda: run(READY))}
    times["ready/all"] = wait(lambda: run(ALL))[-1]
    spent = {"ready": cpu()}
    run("document.getElementById('images').scrollIntoView()")
    wait(lambda: run(FACTS)["tiles"])
    time.sleep(1)  # what the page does while nobody waits for it
    for name, script in ACTIONS.items():
        known, drawn, start = len(run(SELECTED)), len(run(ALL)), cpu()
        run(script)
        times[name] = wait(lambda known=known: run(SELECTED)[known:])[-1]
        times[f"{name}/all"] = wait(lambda drawn=drawn: run(ALL)[drawn:])[-1]
        spent[name] = cpu() - start
    said = run(FACTS)
    start = cpu()
    run(DIALOG)
    times["dialog"] = wait(lambda: run(OPENED))
    spent["dialog"] = cpu() - start
    return times, spent, said


def in_chromium(page: Path) -> tuple[dict[str, float], dict[str, float], Any]:
    driver = chromium.start()

    def cpu() -> float:
        metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return next(1000 * each["value"] for each in metrics if each["name"] == "TaskDuration")

    try:
        chromium.emulate(driver)
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        driver.get(page.as_uri())
        return visit(driver.execute_script, cpu)
    finally:
        driver.quit()


def in_firefox(page: Path) -> tuple[dict[str, float], dict[str, float], Any]:
    folder = Path(tempfile.mkdtemp(prefix="firefox"))
    browser = marionette.Firefox(str(marionette.find()), folder)
    try:
        browser.get(page)
        return visit(browser.run, lambda: 0.0)
    finally:
        browser.quit()
        shutil.rmtree(folder, ignore_errors=True)


def least(measure: Callable[[Path], Any], page: Path, visits: int) -> tuple[dict[str, float], dict[str, float], Any]:
    """The least of each figure of a few visits."""
    found = [measure(page) for _ in range(visits)]
    times, spent = ({key: min(each[part][key] for each in found) for key in found[0][part]} for part in (0, 1))
    return times, spent, found[0][2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--pictures", type=int, default=10_000, help="images with bytes")
    parser.add_argument("--max-mb", type=float, default=60)
    parser.add_argument("--visits", type=int, default=3, help="of each page in each browser")
    parser.add_argument("--keep", type=Path, help="folder of the pages; those that it has are not written again")
    parser.add_argument("--browsers", nargs="*", default=["chromium", "firefox"])
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)  # what the process that writes gets
    options = parser.parse_args()
    if options.write:
        print(json.dumps(write(options.points[0], options.pictures, options.write, options.max_mb)))
        return
    folder = options.keep or Path(tempfile.mkdtemp(prefix="bench_page"))
    folder.mkdir(exist_ok=True)
    measures = {"chromium": in_chromium, "firefox": in_firefox}
    missing = set() if marionette.find() else {"firefox"}
    for n in options.points:
        page = folder / f"page_{n}.html"
        if not page.exists():
            own = [sys.executable, __file__, "--points", str(n), "--pictures", str(min(n, options.pictures))]
            own += ["--max-mb", str(options.max_mb), "--write", str(page)]
            done = subprocess.run(own, stdout=subprocess.PIPE, text=True, check=True)
            written = json.loads(done.stdout.splitlines()[-1])
            print("written:", "  ".join(f"{key} {value:.1f}" for key, value in written.items()), flush=True)
        for name in options.browsers:
            if name in missing:
                continue
            times, spent, said = least(measures[name], page, options.visits)
            figures = "  ".join(
                f"{key} {value:.0f}/{times.get(f'{key}/all', value):.0f}{f' ({spent[key]:.0f})' if spent['ready'] else ''}"
                for key, value in times.items()
                if "/" not in key
            )
            load = os.getloadavg()[0]
            print(
                f"{n} {name}: {figures}  [ms (CPU); load {load:.1f}; tiles {said['tiles']}; {said['says']}]", flush=True
            )


if __name__ == "__main__":
    main()
