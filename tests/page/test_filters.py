"""Every figure of a selection equals its macro over the query that the page gives for it: random filters, both runs."""

from __future__ import annotations

import json
import math
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import sqlanalysis
from sqlanalysis.page import report

from ..support.runs import node_or_skip

SOURCES = Path(report.__file__).parent / "js" / "src"
BLOCK = re.compile(r'<script type="application/[^"]*" id="(\w+)">(.*?)</script>', re.DOTALL)
N, K = 600, 7
NAMES = ["cat", "dog", "owl", "o'brien; --", "Ünal", "ox", 'a "b"']


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """600 images of seven classes and three splits (some without), two runs; labels, answers, confidences missing."""
    chance = np.random.default_rng(7)
    con = sqlanalysis.connect()
    labels = chance.integers(0, K, N)
    pictures = [
        (np.full((2, 3 if i % 3 else 1, 3), (i % 256, i // 256, 9), np.uint8), int(label))
        for i, label in enumerate(labels)
    ]
    sqlanalysis.add_images(con, pictures, dataset="made", classes=NAMES)
    con.execute("update images set label = null where image_id % 17 = 0").fetchall()
    splits = ["train", "val", None, "te'st\n    of\n  1"]  # a statement that is indented is another one
    con.execute("update images set split = list_extract(?::varchar[], 1 + image_id % 4)", [splits]).fetchall()
    con.execute("update images set meta = {'site': ['north', 'south', 'x y'][1 + image_id % 3]}::json").fetchall()
    for run, skill in (("new", 2.5), ("old", 1.5)):
        logits = chance.normal(size=(N, K))
        logits[np.arange(N), labels] += skill
        probs = np.exp(logits)
        probs = (probs / probs.sum(1, keepdims=True)).astype(np.float32)
        # Each run lacks some images without a label, so that the two can be compared.
        kept = np.arange(1, N + 1) % (34 if run == "new" else 51) > 0
        rows = pa.table(
            {"image_id": np.arange(1, N + 1)[kept], "probs": pa.array(list(probs[kept]), pa.list_(pa.float32()))}
        )
        sqlanalysis.add_predictions(con, rows, run)
    sqlanalysis.measure_images(con)
    yield con
    con.close()


def a_filter(chance: random.Random, facts: dict[str, Any], *, paired: bool) -> tuple[str, Any]:
    def some(codes: list[int]) -> list[int]:
        return chance.sample(codes, chance.randint(1, min(3, len(codes))))

    kinds = ["split", "class", "pred", "pair", "answer", "confidence", "search", *["slice"] * bool(facts["slices"])]
    kind = chance.choice(kinds + ["change"] * 3 * paired)
    low = chance.choice([0, 0.2, 0.5, 0.9])
    at = chance.randrange(len(facts["slices"])) if facts["slices"] else 0
    values = {
        "split": lambda: some([-1, *range(len(facts["splits"]))]),
        "class": lambda: some([-2, *range(K)]),
        "pred": lambda: some([-2, *range(K)]),
        "pair": lambda: [chance.randrange(K), chance.randrange(K)],
        "answer": lambda: chance.choice(["right", "wrong", "unknown"]),
        "confidence": lambda: [low, chance.choice([each for each in (0.3, 0.55, 0.95, 1) if each > low])],
        "search": lambda: chance.choice(["o", "OW", "ü", "'", '"b', "nothing like it", "cat"]),
        "slice": lambda: [at, chance.randrange(len(facts["slices"][at]["values"]))],
        "change": lambda: chance.choice(["newly right", "newly wrong", "both right", "both wrong", "differ"]),
    }
    return kind, values[kind]()


def macro(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    relation = con.sql(sql.rstrip(";\n "))
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def near(a: float | None, b: float | str | None) -> bool:
    return (a is None and b is None) or (b == "NaN" and math.isnan(a)) or a == pytest.approx(b, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("split", [None, "te'st\n    of\n  1"])
def test_fifty_random_filters_give_the_macros_numbers(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, split: str | None
) -> None:
    node = node_or_skip()
    text = Path(report.report(con, tmp_path / "page.html", ["new", "old"], split=split)).read_text(encoding="utf-8")
    con = con.cursor()  # the page of a split gives statements that make views of this session
    blocks = dict(BLOCK.findall(text))
    facts = json.loads(blocks["facts"])
    assert [run["name"] for run in facts["runs"]] == ["new", "old"]
    chance = random.Random(16)
    steps = [{"run": 0, "baseline": 1, "filters": []}]
    for number in range(50):
        run, baseline = [(0, 1), (1, 0), (0, -1)][number % 3]
        filters = dict(a_filter(chance, facts, paired=baseline >= 0) for _ in range(chance.randint(1, 3)))
        steps.append({"run": run, "baseline": baseline, "filters": [list(each) for each in filters.items()]})
    file = tmp_path / "steps.json"
    file.write_text(json.dumps({"blocks": blocks, "steps": steps}), encoding="utf-8")
    script = Path(__file__).with_name("filters.mjs")
    done = subprocess.run([node, str(script), str(SOURCES), str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert len(answers) == 51
    whole = "select count(*) from images where split = ?" if split else "select count(*) from new"
    assert len(answers[0]["ids"]) == con.execute(whole, [split] if split else []).fetchall()[0][0]
    n_selected = []
    for step, answer in zip(steps, answers, strict=True):
        ids = [row["image_id"] for row in macro(con, answer["sql"])]
        assert sorted(ids) == answer["ids"], (step, answer["sql"])
        figures = answer["figures"]
        n_selected.append(len(ids))
        if not any(kind == "search" for kind, _ in step["filters"]):  # pictures from Python are in no folder
            assert "image_id in (1" not in answer["sql"], "a condition, not a list of ids"
        (whole,) = macro(con, answer["queries"]["accuracy"]) or [
            {"n": 0, "correct": 0, "accuracy": None, "ci_low": None}
        ]
        assert (whole["n"] or 0, whole["correct"] or 0) == (figures["n"], figures["correct"]), step
        assert near(whole["accuracy"], figures["accuracy"])
        if figures["n"]:
            assert near(whole["ci_low"], figures["ends"][0])
            assert near(whole["ci_high"], figures["ends"][1])
        cells = {
            (row["label"], row["pred"]): row["n"]
            for row in macro(con, answer["queries"]["confusion_matrix"])
            if row["n"]
        }
        assert cells == {(pair["label"], pair["pred"]): pair["n"] for pair in figures["pairs"]}, step
        classes = {row["class"]: row for row in macro(con, answer["queries"]["per_class"]) if row["support"]}
        assert set(classes) == {row["label"] for row in figures["classes"]}
        for row in figures["classes"]:
            theirs = classes[row["label"]]
            assert (theirs["support"], theirs["tp"]) == (row["n"], row["correct"])
            assert near(theirs["recall"], row["recall"])
            assert near(theirs["recall_low"], row["ends"][0])
        if figures["n"]:
            (error,) = macro(con, answer["queries"]["calibration_error"])
            assert near(error["ece"], figures["ece"]), step
        bins = {row["bin"]: row for row in macro(con, answer["queries"]["calibration_curve"]) if row["n"]}
        assert set(bins) == {row["bin"] for row in figures["bins"]}
        assert all(near(bins[row["bin"]]["accuracy"], row["accuracy"]) for row in figures["bins"])
    assert len(set(n_selected)) > 15, "the filters select different images"
    assert 0 < sum(n > 0 for n in n_selected[1:]) <= 50
