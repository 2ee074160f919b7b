"""The live sections of the page: their functions give the numbers of the macros, of scipy and of words.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from sqlanalysis.page import words

from ..support import report_files
from .test_page_script import plain, rows_of

SHARES = (0.01, 0.25, 0.5, 0.8, 0.95, 1.0)


def fill(con: duckdb.DuckDBPyConnection, n: int, n_classes: int, *, odd: bool, seed: int) -> None:
    """Tables `now` and `before` over the same images; odd ones miss labels, predictions and confidences."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, n_classes, n)
    steps = np.linspace(0, 1, 41).astype("float32")  # many equal confidences, and edges of bins
    for table, accuracy in (("now", 0.7), ("before", 0.6)):
        preds = np.where(random.random(n) < accuracy, labels, random.integers(-1 if odd else 0, n_classes, n))
        confidence = random.choice(steps, n)
        missing = random.random((3, n)) < (0.05 if odd else 0)
        columns = {
            "image_id": range(n),
            "label": [None if i % 17 == 0 and odd else int(v) for i, v in enumerate(labels)],
            "pred": [None if gone else int(v) for v, gone in zip(preds, missing[0], strict=True)],
            "confidence": [
                None if gone else float("nan") if strange else float(v)
                for v, gone, strange in zip(confidence, missing[1], missing[2], strict=True)
            ],
        }
        con.execute(f"create or replace temp table {table} (image_id bigint, label int, pred int, confidence float)")
        report_files.fill(con, table, columns)


def case(con: duckdb.DuckDBPyConnection, name: str, n_classes: int, where: str) -> dict[str, Any]:
    con.execute(f"create or replace temp table chosen as from now where {where}")
    con.execute(f"create or replace temp table rest as from before where {where}")
    columns = rows_of(
        con,
        "select now.image_id, coalesce(now.label, -2) as label, coalesce(now.pred, -2) as pred_0, "
        "coalesce(now.confidence, -1) as confidence_0, coalesce(before.pred, -2) as pred_1, "
        f"coalesce(before.confidence, -1) as confidence_1, now.image_id % 3 as slice, ({where})::int as chosen "
        "from now join before using (image_id) order by image_id",
    )
    lists = {key: [row[key] for row in columns] for key in columns[0]}
    shares = []
    for share in SHARES:
        (threshold,) = con.execute(
            "select list(confidence order by confidence desc)[greatest(1, ceil(? * count(*) - 1e-9))::int] from chosen "
            "where label is not null and pred is not null and not isnan(confidence)",
            [share],
        ).fetchall()[0]
        if threshold is not None:
            (row,) = rows_of(
                con, f"select n_answered as kept, accuracy, ci_low, ci_high from at_threshold('chosen', {threshold!r})"
            )
            shares.append({"share": share, "threshold": threshold, **row})
    right = "pred is not null and label is not null"
    sliced = rows_of(
        con,
        f"select image_id % 3 as slice, count(*) as n, count(*) filter (where label = pred) as n_right, "
        f"n_right / n - ((select count(*) from chosen where {right} and label = pred) - n_right) "
        f"/ nullif((select count(*) from chosen where {right}) - n, 0) as diff, "
        f"(select avg((label = pred)::int) from rest where {right} and image_id % 3 = slice) as before "
        f"from chosen where {right} group by slice",
    )
    return {
        "name": name,
        "n_classes": n_classes,
        "columns": lists,
        "mask": lists["chosen"],
        "values": ["zero", "one", "two"],
        "per_class": rows_of(con, "from per_class('chosen', zero_division := null) where support > 0"),
        "mcnemar": rows_of(con, "from mcnemar('chosen', 'rest')")[0],
        "agreement": rows_of(con, "from agreement('chosen', 'rest')")[0],
        "changes": rows_of(con, "from compare_classes('chosen', 'rest')"),
        "pairs": rows_of(con, "from top_confusions('chosen')"),
        "risk": rows_of(con, "from risk_coverage('chosen', max_points := 400)"),
        "shares": shares,
        "slices": sliced,
    }


def numbers(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    from scipy.stats import binom

    cases = []
    for name, n, n_classes, odd, where in [
        ("plain", 256, 22, False, "true"),
        ("plain, some", 256, 22, False, "hash(image_id) % 5 < 2"),
        ("odd", 3000, 12, True, "image_id % 7 <> 3"),
        ("many classes", 2000, 300, True, "true"),
        ("nothing", 50, 3, True, "false"),
        ("one image", 50, 3, False, "image_id = 7"),
        ("steps of a curve", 1500, 4, False, "true"),
    ]:
        fill(con, n, n_classes, odd=odd, seed=n)
        cases.append(case(con, name, n_classes, where))
    pairs = [(n, p) for n in (1, 2, 7, 30, 256, 5000, 200_000) for p in (0.0, 1e-6, 0.03, 0.37, 0.5, 0.92, 0.9999, 1.0)]
    ranges = [(n, p, *(int(end) for end in binom.ppf([0.025, 0.975], n, p))) for n, p in pairs]
    tails = [(k, n, p, float(binom.sf(k - 1, n, p))) for n, p in pairs for k in sorted({0, 1, n // 2, n})]
    shares = [0.0, -0.0, 0.00049, 0.0005, -0.0005, 0.125, -0.3125, 1.0, -1.0, 0.33333]
    p_values = [None, 0.0, 0.0009, 0.001, 0.0625, 0.5, 1.0]
    return {
        "cases": cases,
        "ranges": ranges,
        "tails": tails,
        "points": [(share, words.points(share)) for share in shares],
        "p_values": [(p, words.p_value(p)) for p in p_values],
    }


def test_sections_give_the_numbers_of_duckdb(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    fixture = tmp_path / "numbers.json"
    fixture.write_text(json.dumps(plain_all(numbers(con))))
    command = [node, "--test", str(Path(__file__).parent / "sections_script.test.mjs")]
    environment = {**os.environ, "PAGE_NUMBERS": str(fixture)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "# fail 0" in done.stdout


def plain_all(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: plain_all(each) for key, each in value.items()}
    return [plain_all(each) for each in value] if isinstance(value, list | tuple) else plain(value)
