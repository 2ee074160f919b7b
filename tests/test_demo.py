"""The embedded example, end to end, and its weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, confusion_matrix

import sqlanalysis
from sqlanalysis.demo import WEIGHTS, digits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "sqlanalysis", "demo", str(path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Warning" not in done.stderr
    (path / "stdout").write_text(done.stdout)
    return path


def test_it_ends_with_accuracy_files_and_three_lines(folder: Path, shell: str) -> None:
    text = (folder / "stdout").read_text()
    assert "digits_cnn   accuracy 98." in text
    assert "95 % interval" in text
    assert str(folder / "out" / "report.html") in text
    lines = [line.strip() for line in text.splitlines() if line.strip().endswith(";")]
    assert len(lines) == 3
    for line, n_rows, column in zip(lines, (1, 20, 5), ("ci_low", "slice", "confidence"), strict=True):
        command = [shell, "-json", "-readonly", str(folder / "out" / "demo.duckdb"), "-c", line]
        rows = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert (len(rows), column in rows[0]) == (n_rows, True)


def test_numbers_equal_scikit_learn(folder: Path, shell: str) -> None:
    with sqlanalysis.connect(folder / "out" / "demo.duckdb", read_only=True) as con:
        for run in ("digits_cnn", "digits_mlp"):
            rows = con.sql(f"select label, pred from {run}").fetchnumpy()
            expected = accuracy_score(rows["label"], rows["pred"])
            assert sqlanalysis.metric(con, "accuracy", run).fetchall()[0][2] == pytest.approx(expected, abs=1e-15)
            actual = sqlanalysis.metric(con, "confusion_matrix", run).project("label, pred, n").fetchall()
            reference = confusion_matrix(rows["label"], rows["pred"])
            assert {(a, b): n for a, b, n in actual} == {
                (i, j): n for i, line in enumerate(reference) for j, n in enumerate(line) if n
            }
        assert con.sql("from check_database").fetchall() == []
        python = con.sql("from accuracy('digits_cnn')").fetchall()[0]
        assert con.sql("select count(x) from digits_cnn").fetchall() == [(899,)]
    command = [shell, "-json", "-readonly", str(folder / "out" / "demo.duckdb"), "-c", "from accuracy('digits_cnn')"]
    row = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)[0]
    assert tuple(row.values()) == pytest.approx(python, abs=1e-12)


def test_images_are_the_scans_of_scikit_learn(folder: Path) -> None:
    import io

    from PIL import Image

    with sqlanalysis.connect(folder / "out" / "demo.duckdb", read_only=True) as con:
        rows = con.sql("select image.bytes, label from image_files").fetchall()

    def key(pixels: np.ndarray) -> bytes:
        return pixels.astype(np.uint8).tobytes()

    stored = sorted(
        (key(np.round(np.asarray(Image.open(io.BytesIO(data))) / (255 / 16))), label) for data, label in rows
    )
    actual = load_digits()
    assert stored == sorted((key(image), int(label)) for image, label in zip(actual.images, actual.target, strict=True))


def test_split_is_half_and_stratified() -> None:
    test = [label for _, label, split in digits() if split == "test"]
    assert len(test) == 899
    counts = np.bincount(test)
    assert counts.max() - counts.min() <= 6


def test_again_computes_nothing(folder: Path) -> None:
    before = (folder / "out" / "demo.duckdb").stat().st_size
    command = [sys.executable, "-m", "sqlanalysis", "demo", str(folder / "out")]
    assert "98." in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with sqlanalysis.connect(folder / "out" / "demo.duckdb", read_only=True) as con:
        assert con.sql("select count(*), count(distinct image_id) from predictions").fetchall() == [(1798, 899)]
    assert (folder / "out" / "demo.duckdb").stat().st_size < 2 * before


@pytest.mark.slow
def test_training_script_reproduces_the_weights(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    script = Path(__file__).parent.parent / "examples" / "train_demo.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path / "w.safetensors"], capture_output=True, text=True, check=True
    )
    assert "digits_cnn: accuracy 0.98" in done.stdout
    shipped, trained = load_file(WEIGHTS), load_file(tmp_path / "w.safetensors")
    assert {key: value.shape for key, value in shipped.items()} == {key: value.shape for key, value in trained.items()}
    assert WEIGHTS.stat().st_size < 1_000_000
    cosine = [
        np.dot(a.ravel(), b.ravel()) / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in ((shipped[k], trained[k]) for k in shipped if k.endswith("weight"))
    ]
    assert min(cosine) > 0.9  # the same up to rounding, which differs between processors
