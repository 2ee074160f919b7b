"""How large, how soon and how quick the page is: synthetic points, real browsers without a GPU, one table.

python tests/benchmarks/bench_page.py --points 10000 100000 1000000
"""

from __future__ import annotations

import argparse
import io
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from shared import timed

import sqlanalysis
from sqlanalysis.db.catalogue import recreate_run_views
from tests.support import chromium, marionette, report_files
from tests.support.chromium import wait

CLASSES = 20
RING = [(round(170 * math.cos(t / 24 * math.tau)), round(170 * math.sin(t / 24 * math.tau))) for t in range(25)]
READY = "return performance.getEntriesByName('sqlanalysis:ready')[0]?.startTime ?? null"
LAST = "return performance.getEntriesByName('sqlanalysis:selection').map(e => e.duration)"
SEARCH = "const s = document.getElementById('search'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))"
CHOSEN = "return document.getElementById('sentence').textContent"


def fill(con: Any, n: int, pictures: int) -> None:
    """A run of n images in 20 blobs; the first `pictures` of them have bytes of a 500 × 375 JPEG."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, n)
    labels.sort()
    wrong = random.random(n) < 0.12
    preds = np.where(wrong, random.integers(0, CLASSES, n), labels)
    confidence = np.clip(random.beta(8, 1.5, n) - 0.25 * wrong, 0.05, 1).astype("float32")
    centers = random.normal(size=(CLASSES, 2)) * 6
    points = (centers[labels] + random.normal(size=(n, 2))).astype("float32")
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
    report_files.fill(con, "images", columns | {"split": ["val"] * n, "label": pa.array(labels, pa.int32())})
    encoded = [_picture(random) for _ in range(min(64, pictures))]
    stored = {"image_id": ids[:pictures], "bytes": [encoded[i % len(encoded)] for i in range(pictures)]}
    report_files.fill(con, "image_bytes", stored)
    report_files.add_run(con, "bench", "bench", np.ones((1, CLASSES), "float32"), n_images=n)
    con.execute("drop view bench; drop table outputs.bench")
    con.execute("create table outputs.bench (image_id bigint, sha256 varchar, pred integer, confidence float)")
    outputs = {"image_id": ids, "sha256": hashes, "pred": pa.array(preds, pa.int32()), "confidence": confidence}
    report_files.fill(con, "outputs.bench", outputs)
    recreate_run_views(con, ["bench"])
    report_files.add_projection(con, "bench", points)


def _picture(random: Any) -> bytes:
    coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype="uint8"))
    buffer = io.BytesIO()
    coarse.resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def in_chromium(page: Path) -> dict[str, float]:
    driver = chromium.start()
    try:
        chromium.emulate(driver)
        driver.get(page.as_uri())
        figures = {"ready": wait(lambda: driver.execute_script(READY))}
        chromium.drag(driver, RING)
        figures["lasso"] = wait(lambda: driver.execute_script(LAST))[-1]
        figures["chosen"] = driver.execute_script(CHOSEN)
        for text in ("00012", "000123"):
            known = len(driver.execute_script(LAST))
            driver.execute_script(SEARCH, text)
            figures["search"] = wait(lambda known=known: driver.execute_script(LAST)[known:])[-1]
        return figures
    finally:
        driver.quit()


def in_firefox(page: Path) -> dict[str, float]:
    folder = Path(tempfile.mkdtemp(prefix="firefox"))
    browser = marionette.Firefox(str(marionette.find()), folder)
    try:
        browser.get(page)
        figures = {"ready": wait(lambda: browser.run(READY))}
        browser.run("document.getElementById('box').scrollIntoView({block: 'center'})")
        browser.drag("#box", RING, shift=True)
        figures["lasso"] = wait(lambda: browser.run(LAST))[-1]
        figures["chosen"] = browser.run(CHOSEN)
        for text in ("00012", "000123"):
            known = len(browser.run(LAST))
            browser.run(SEARCH, text)
            figures["search"] = wait(lambda known=known: browser.run(LAST)[known:])[-1]
        return figures
    finally:
        browser.quit()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--pictures", type=int, default=10_000, help="images with bytes")
    parser.add_argument("--keep", type=Path, help="folder to keep the pages in")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="bench_page"))
    folder.mkdir(exist_ok=True)
    browsers = {"chromium": in_chromium} | ({"firefox": in_firefox} if marionette.find() else {})
    print("points  thumbs  write s  MB  goal MB  browser  ready ms  lasso ms  search ms  selection")
    for n in options.points:
        con = sqlanalysis.connect()
        fill(con, n, min(n, options.pictures))
        seconds, page = timed(lambda con=con, n=n: sqlanalysis.report(con, folder / f"page_{n}.html", max_mb=60))
        sqlanalysis.read_report(con, page)
        thumbs = con.execute("select count(thumbnail) from page").fetchone()[0]
        con.close()
        goal = 0.65 + 19e-6 * n + 1.3e-3 * thumbs
        for name, measure in browsers.items():
            times = measure(page)
            figures = f"{times['ready']:.0f}  {times['lasso']:.0f}  {times['search']:.0f}  {times['chosen']}"
            print(
                f"{n}  {thumbs}  {seconds:.1f}  {page.stat().st_size / 1e6:.2f}  {goal:.2f}  {name}  {figures}",
                flush=True,
            )


if __name__ == "__main__":
    main()
