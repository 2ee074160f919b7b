"""Answering images in a random order until a rule is settled: which images, when it stops, resuming, and who says so."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

import sqlanalysis
from sqlanalysis import Model, add_images, check, compare, ensemble, export, load_model, metric, predict, report
from sqlanalysis.core.anytime import accuracy_interval, difference_interval
from sqlanalysis.db import statements
from sqlanalysis.errors import ArgumentError, NotFoundError, SchemaError

from ..support import anytime as exact
from ..support.shells import cli

# Networks that read their answer from a color of the image: what they get right is known in advance.
STUB = """
import time
import numpy as np
import torch
from torch import nn

class Reads(nn.Module):
    def __init__(self, color, pause=0.0):
        super().__init__()
        self.levels = nn.Parameter(torch.arange(4.0) * 60 + 10)
        self.color, self.pause = color, pause

    def forward(self, images):
        time.sleep(self.pause * len(images))
        return -((images[:, self.color].mean((1, 2))[:, None] * 255 - self.levels) ** 2) / 50

def to_8(image):
    pixels = np.asarray(image.convert("RGB").resize((8, 8), 0)).copy()
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255

def red():
    return Reads(0), to_8, list("abcd")

def green():
    return Reads(1), to_8, list("abcd")

def slow():
    return Reads(0, 0.005), to_8, list("abcd")
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("stub") / "stub.py"
    file.write_text(STUB)
    return file


@pytest.fixture(scope="module")
def red(stub: Path) -> Model:
    return load_model(f"{stub}:red")


@pytest.fixture(scope="module")
def green(stub: Path) -> Model:
    return load_model(f"{stub}:green")


def pictures(label: np.ndarray, red: np.ndarray, green: np.ndarray, content: np.ndarray | None = None) -> list[Any]:
    """8 × 8 images, of which red and green say these classes; blue tells those of different content apart."""
    content = np.arange(len(label)) if content is None else content
    made = []
    for index in range(len(label)):
        pixels = np.zeros((8, 8, 3), np.uint8)
        pixels[:, :, 0], pixels[:, :, 1] = red[index] * 60 + 10, green[index] * 60 + 10
        pixels[0, :2, 2] = content[index] % 256, content[index] // 256
        made.append((pixels, int(label[index])))
    return made


def answers(n: int, right: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and predictions of which this share is right."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, n)
    return label, np.where(rng.random(n) < right, label, (label + rng.integers(1, 4, n)) % 4)


def fill(con: duckdb.DuckDBPyConnection, n: int, right: float, right_green: float | None = None) -> None:
    label, pred = answers(n, right)
    other = np.where(np.random.default_rng(9).random(n) < (right_green or 1), label, (label + 1) % 4)
    add_images(con, pictures(label, pred, other), dataset="made", classes=list("abcd"))


def order(con: duckdb.DuckDBPyConnection, seed: int = 0) -> list[int]:
    """Labeled images in the random order, by Python's own md5."""
    ids = [row[0] for row in con.sql("select image_id from images where label is not null").fetchall()]
    return sorted(ids, key=lambda image_id: (hashlib.md5(f"{seed} {image_id}".encode()).hexdigest(), image_id))


def answered(con: duckdb.DuckDBPyConnection, run: str) -> list[int]:
    return [row[0] for row in con.sql(f"select image_id from outputs.{run}").fetchall()]


def state(con: duckdb.DuckDBPyConnection, run: str) -> tuple[Any, ...]:
    status, n_images, n_ok, sample = con.execute(
        "select status, n_images, n_ok, sample from runs where run = ?", [run]
    ).fetchall()[0]
    return status, n_images, n_ok, sample and json.loads(sample)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_accuracy_is_known_to_a_width(con: duckdb.DuckDBPyConnection, red: Model, seed: int) -> None:
    fill(con, 3000, 0.9)
    done = predict(con, red, "red", until_width=0.06, seed=seed)
    by_id = dict(con.sql("select image_id, label = pred from red").fetchall())
    full = [bool(label == pred) for label, pred in zip(*answers(3000, 0.9), strict=True)]
    first = min(order(con))
    drawn = order(con, seed)
    n, low, high, settled = exact.stop_by_width(np.array([full[i - first] for i in drawn]), 0.06, 8)
    assert settled
    assert n < 1500
    assert set(by_id) == set(drawn[:n])
    assert (done.n_images, done.n_ok, done.n_computed) == (n, n, n)
    status, n_images, n_ok, kept = state(con, "red")
    assert (status, n_images, n_ok) == ("sampled", 3000, n)
    sample = done.sample
    assert sample is not None
    assert (sample.n_drawn, sample.n_images, sample.n, sample.settled, sample.seed) == (n, 3000, n, True, seed)
    assert (sample.ci_low, sample.ci_high) == (low, high)
    assert (
        sample.estimate == sum(by_id.values()) / n == con.sql("select accuracy from accuracy('red')").fetchall()[0][0]
    )
    assert kept == vars(sample)
    assert con.sql("from check_database").fetchall() == []


def test_resumed_to_the_full_set_it_is_a_run_as_any_other(con: duckdb.DuckDBPyConnection, red: Model) -> None:
    fill(con, 1500, 0.9)
    first = predict(con, red, "bit", until_width=0.1)
    assert predict(con, red, "bit", until_width=0.1).n_computed == 0
    again = predict(con, red, "bit", until_width=0.07)
    assert 0 < again.n_computed < again.n_images < 1500
    assert answered(con, "bit")[: first.n_images] != sorted(answered(con, "bit"))[: first.n_images]
    done = predict(con, red, "bit")
    assert (done.n_images, done.n_computed, done.sample) == (1500, 1500 - again.n_images, None)
    assert state(con, "bit") == ("finished", 1500, 1500, None)
    predict(con, red, "whole")
    for left, right in (("bit", "whole"), ("whole", "bit")):
        assert con.sql(f"from outputs.{left} except from outputs.{right}").fetchall() == []
    assert con.sql("select comparable, sample from comparable").fetchall() == [(True, None)] * 2
    # A rule finds nothing to draw any more.
    settled = predict(con, red, "bit", until_width=0.1)
    assert (settled.n_computed, state(con, "bit")) == (0, ("finished", 1500, 1500, None))


@pytest.mark.parametrize(("right", "right_green", "word"), [(0.95, 0.8, "better"), (0.7, 0.9, "worse")])
def test_better_or_worse_than_a_baseline(
    con: duckdb.DuckDBPyConnection, red: Model, green: Model, right: float, right_green: float, word: str
) -> None:
    fill(con, 3000, right, right_green)
    predict(con, green, "base")
    done = predict(con, red, "new", until_better_than="base", batch_size=4)
    assert done.sample is not None
    n = done.sample.n_drawn
    assert 0 < n < 800
    assert set(answered(con, "new")) == set(order(con)[:n])
    assert f"settled that the run is {word} than base" in str(done.sample)
    (row,) = con.sql("select n, run_only, baseline_only, diff, p_value from mcnemar_anytime('new', 'base')").fetchall()
    assert row[4] <= 0.05
    assert difference_interval(row[1], row[2], row[0]) == (done.sample.ci_low, done.sample.ci_high)
    assert done.sample.estimate == pytest.approx(row[3])
    assert state(con, "new")[0] == "sampled"


def test_equal_models_take_all_images(
    con: duckdb.DuckDBPyConnection, red: Model, green: Model, caplog: pytest.LogCaptureFixture
) -> None:
    fill(con, 400, 0.9, 0.9)
    predict(con, green, "base")
    done = predict(con, red, "new", until_better_than="base")
    assert done.sample is not None
    assert (done.n_images, done.sample.settled) == (400, False)
    assert state(con, "new") == ("finished", 400, 400, None)
    said = "new: 400 of 400 labeled images that base has answered, drawn at random (seed 0), before it was settled"
    assert said in caplog.text


def test_the_baseline_may_be_a_sample_in_the_same_order(
    con: duckdb.DuckDBPyConnection, red: Model, green: Model
) -> None:
    fill(con, 2000, 0.95, 0.7)
    base = predict(con, green, "base", until_width=0.1, seed=3)
    with pytest.raises(SchemaError, match="a sample drawn with seed 3: give seed=3"):
        predict(con, red, "new", until_better_than="base")
    done = predict(con, red, "new", until_better_than="base", seed=3)
    assert done.sample is not None
    assert done.sample.n_images == base.n_images
    assert set(answered(con, "new")) < set(answered(con, "base"))


PROGRAM = """
import sys, sqlanalysis, sqlanalysis.runs.job as job
commit = job.Writer._commit
def announced(*arguments):
    commit(*arguments)
    print("block", flush=True)
job.Writer._commit = announced
con = sqlanalysis.connect(sys.argv[1])
model = sqlanalysis.load_model(sys.argv[2] + ":slow")
print(sqlanalysis.predict(con, model, until_width=0.08, batch_size=160), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_an_interrupted_sample_resumes_in_its_order(tmp_path: Path, stub: Path, number: signal.Signals) -> None:
    script, file, quiet = tmp_path / "program.py", tmp_path / "a.duckdb", tmp_path / "b.duckdb"
    script.write_text(PROGRAM)
    for path in (file, quiet):
        with sqlanalysis.connect(path) as con:
            fill(con, 900, 0.92)
    command = [sys.executable, str(script), str(file), str(stub)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    # A block has 64 images, so that this is amid the 160 before the first look (passes that run are completed).
    assert process.stdout.readline() == "block\n"
    process.send_signal(number)
    process.communicate()
    assert process.returncode != 0
    with sqlanalysis.connect(file) as con:
        status, *_, sample = state(con, "stub")
        ids = answered(con, "stub")
        assert status == ("interrupted" if number == signal.SIGINT else "running")
        assert 0 < len(ids) < 400
        assert set(ids) == set(order(con)[: len(ids)])  # at every moment the first of the order
        assert (sample["seed"], sample["settled"]) == (0, False)
    for path in (file, quiet):
        subprocess.run([sys.executable, script, path, stub], check=True, capture_output=True)
    with sqlanalysis.connect(file) as con, sqlanalysis.connect(quiet) as other:
        assert state(con, "stub") == state(other, "stub")
        assert set(answered(con, "stub")) == set(answered(other, "stub"))
        assert state(con, "stub")[0] == "sampled"


def test_images_with_the_same_bytes_are_drawn_one_by_one(con: duckdb.DuckDBPyConnection, red: Model) -> None:
    """A third of the images is one picture, which is wrong: its copies are no more probable to be drawn than others."""
    label, pred = answers(1200, 1.0)
    same = np.arange(1200) % 3 == 0
    label[same], pred[same] = 1, 2
    made = pictures(label, pred, pred, np.where(same, 0, np.arange(1200)))
    add_images(con, made, dataset="made", classes=list("abcd"))
    assert con.sql("select count(distinct sha256) from images").fetchall() == [(801,)]
    done = predict(con, red, "red", until_width=0.15)
    assert done.n_images < 600
    assert done.n_computed < done.n_images
    assert set(answered(con, "red")) == set(order(con)[: done.n_images])
    assert done.sample is not None
    assert done.sample.estimate == pytest.approx(2 / 3, abs=0.08)


def test_only_labeled_images_count_and_failed_ones_are_said(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, red: Model
) -> None:
    label, pred = answers(900, 0.9)
    add_images(con, pictures(label, pred, pred), dataset="made", classes=list("abcd"))
    con.execute("update images set label = null where image_id % 3 = 0")
    con.execute("update images set sha256 = 'other' where image_id % 3 = 1 and image_id < 90")
    done = predict(con, red, "red", until_width=0.12)
    assert done.sample is not None
    assert (done.sample.n_images, done.sample.n_drawn) == (600, done.n_images)
    assert done.n_errors > 0
    assert done.sample.n == done.n_ok
    assert con.sql("select count(*) from red where label is null").fetchall() == [(0,)]
    whole = predict(con, red, "red", until_width=0.0001)
    assert whole.sample is not None
    assert (whole.n_images, whole.sample.settled, state(con, "red")[0]) == (600, False, "sampled")
    assert predict(con, red, "red").n_images == 900
    assert state(con, "red")[0] == "finished"


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"until_width": 0.1, "until_better_than": "whole"}, ArgumentError, "two rules; give one of them"),
        ({"until_width": 2}, ArgumentError, "until_width=2 is not a share between 0 and 1; it is the width"),
        ({"until_width": float("nan")}, ArgumentError, "until_width=nan is not a share"),
        ({"until_better_than": "hole"}, NotFoundError, "did you mean whole?"),
        ({"until_better_than": "new"}, ArgumentError, "its own baseline"),
        ({"until_better_than": "part"}, SchemaError, "'part' is interrupted, not finished"),
        ({"until_better_than": "mapped"}, SchemaError, "class_policy restricted and identity"),
        ({"until_width": 0.1, "where": "label is null"}, NotFoundError, "no image is selected"),
        (
            {"until_width": 0.1, "where": "image_id % 2 = 0"},
            NotFoundError,
            "until_width= needs images with a label; of the selected",
        ),
        ({"until_width": 0.1, "run": "part"}, SchemaError, "50 of 100 images that were not drawn at random"),
        ({"until_width": 0.1, "run": "drawn", "seed": 1}, SchemaError, "drawn with seed 0; resume it with seed=0"),
        (
            {"until_width": 0.1, "run": "drawn", "where": "label > 0"},
            SchemaError,
            "drawn from all images, not from label",
        ),
    ],
)
def test_what_is_refused(
    con: duckdb.DuckDBPyConnection, red: Model, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    fill(con, 100, 0.9)
    for name in ("whole", "part", "mapped"):
        predict(con, red, name)
    predict(con, red, "drawn", until_width=0.4)
    con.execute("update runs set class_policy = 'restricted' where run = 'mapped'")
    con.execute("delete from outputs.part where image_id % 2 = 0")
    con.execute("update runs set status = 'interrupted', n_ok = 50 where run = 'part'")
    if given.get("where") == "image_id % 2 = 0":
        con.execute("update images set label = null where image_id % 2 = 0")
    before = con.sql("from runs").fetchall()
    with pytest.raises(error, match=re.escape(message)):
        predict(con, red, **{"run": "new", **given})
    assert con.sql("from runs").fetchall() == before


def test_an_encoder_has_no_accuracy(con: duckdb.DuckDBPyConnection, red: Model) -> None:
    fill(con, 10, 0.9)
    with pytest.raises(ArgumentError, match="gives embeddings and predicts nothing: leave until_width= out"):
        predict(con, load_model(red.module, transform=red.transform, embedding=True, name="e"), until_width=0.1)


def test_others_say_that_it_is_a_sample(
    con: duckdb.DuckDBPyConnection, red: Model, green: Model, tmp_path: Path
) -> None:
    fill(con, 1500, 0.9, 0.8)
    predict(con, green, "base")
    done = predict(con, red, "bit", until_width=0.1)
    n = done.n_images
    sample = f"bit is a sample, {n} of 1,500 images"
    for first, second in (("bit", "base"), ("base", "bit")):
        result = compare(con, first, second)
        assert result.n == n
        assert f"; {sample}: the images that both have answered are compared, and the interval does" in str(result)
        assert metric(con, "mcnemar", first, baseline=second).fetchall()[0][0] == n
    # A gate takes no sample: neither as the run, nor as its baseline.
    assert [one.name for one in check(con, run="bit").results if one.status == "fail"] == ["sound_run"]
    for rule in ({}, {"max_drop": 0.5}):
        failed = [one for one in check(con, run="base", baseline="bit", **rule).results if one.status == "fail"]
        assert sample in str(failed)
    with pytest.raises(SchemaError, match="'bit' is a sample, and a derived run would not show it"):
        ensemble(con, ["bit", "base"], "both")
    report(con, tmp_path / "page.html", "bit")
    page = (tmp_path / "page.html").read_text()
    low, high = accuracy_interval(round((done.sample.estimate or 0) * n), n, 0.1)  # type: ignore[union-attr]
    assert f"This run is a sample: {n} of 1,500 labeled images, drawn at random (seed 0), stopped when the" in page
    assert f"{low:.2%} to {high:.2%} (95% any-time interval). The other intervals of this page are for a" in page
    assert f"Images that were not drawn: {1500 - n:,}; predict without the rule adds them." in page
    assert f"<span>a sample, {n} of 1,500 images</span><span>4 classes</span>" in page
    assert "not finished" not in page
    report(con, tmp_path / "page.html", ["base", "bit"])
    both = (tmp_path / "page.html").read_text()
    export(con, "bit", tmp_path / "card.yaml", to="model-index")
    assert f"({n} images, a random sample, 95 % interval" in (tmp_path / "card.yaml").read_text()
    assert statements.fetch(con, "list_incomplete_runs") == []
    assert f"{sample}: the images that both have answered are compared." in both


def test_command_line(tmp_path: Path, stub: Path) -> None:
    file = tmp_path / "a.duckdb"
    with sqlanalysis.connect(file) as con:
        fill(con, 1200, 0.95, 0.7)
    cli("predict", file, f"{stub}:green", "--run", "base")
    done = cli("predict", file, f"{stub}:red", "--run", "new", "--until-better-than", "base", "--seed", "2")
    assert "new: a sample, " in done.stderr
    assert "drawn at random (seed 2), stopped when it was settled that the run is better than base: +" in done.stderr
    done = cli("predict", file, f"{stub}:red", "--run", "new", "--until-width", "0.05", code=1)
    assert "run 'new' was drawn with seed 2; resume it with --seed 2" in done.stderr
    done = cli("predict", file, f"{stub}:red", "--run", "new", "--until-width", "0.05", "--seed", "2")
    assert "stopped when the accuracy was known to 5 points: 9" in done.stderr
    done = cli("predict", file, f"{stub}:red", "--run", "other", "--until-width", "5", code=1)
    assert "error: --until-width 5.0 is not a share between 0 and 1" in done.stderr
    assert "new: 1200 images = 1200 ok" in cli("predict", file, f"{stub}:red", "--run", "new").stderr
