"""Every example runs as a newcomer runs it, and prints the accuracy that scikit-learn finds."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow.csv import write_csv
from pyarrow.parquet import write_table
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score
from torchvision import models

import sqlanalysis
from sqlanalysis.demo import digits, networks

EXAMPLES = Path(__file__).parent.parent / "examples"
LINE = re.compile(r"accuracy (\S+) \((\d+) of (\d+)\), 95 % interval (\S+) to (\S+)")
# Imagenette's classes, and their indices among the 1000 of ImageNet.
WNIDS = {
    "n01440764": 0, "n02102040": 217, "n02979186": 482, "n03000684": 491, "n03028079": 497,
    "n03394916": 566, "n03417042": 569, "n03425413": 571, "n03445777": 574, "n03888257": 701,
}  # fmt: skip
OUTPUTS = list(WNIDS.values())


def run(folder: Path, script: str, *arguments: str | Path, without: str | None = None) -> str:
    """What an example prints; `without` names a package that cannot be imported."""
    environment = dict(os.environ)
    if without:
        (folder / "blocked").mkdir()
        (folder / "blocked" / f"{without}.py").write_text("raise ImportError('not installed')")
        environment["PYTHONPATH"] = os.pathsep.join([str(folder / "blocked"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not re.search("Traceback|Warning", done.stderr)
    return done.stdout


def check(line: str, labels: Sequence[Any] | np.ndarray, preds: Sequence[Any] | np.ndarray) -> None:
    """A printed line of accuracy and interval against scikit-learn and SciPy."""
    actual = LINE.search(line)
    assert actual, line
    n, right = len(labels), int(accuracy_score(labels, preds, normalize=False))
    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    numbers = [f"{number:.4f}" for number in (accuracy_score(labels, preds), interval.low, interval.high)]
    assert actual.groups() == (numbers[0], str(right), str(n), *numbers[1:])


def is_page(file: Path) -> bool:
    text = file.read_text()
    return text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")


def test_quickstart_with_the_digits(tmp_path: Path) -> None:
    printed = run(tmp_path, "quickstart.py")
    pictures = [(image, label) for image, label, split in digits() if split == "test"]
    pixels = torch.from_numpy(np.stack([image for image, _ in pictures]))[:, None] / 255
    with torch.inference_mode():
        preds = networks()[0].module(pixels).argmax(1).numpy()
    check(printed, [label for _, label in pictures], preds)
    assert is_page(tmp_path / "digits.html")


@pytest.fixture(scope="module")
def imagenette(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder in Imagenette's layout, and a random ResNet-18 that answers variously on it, and sometimes right."""
    root = tmp_path_factory.mktemp("imagenette")
    torch.manual_seed(0)
    net = models.resnet18().eval()
    random = np.random.default_rng(0)
    files = [root / f"{number}.JPEG" for number in range(30)]
    for number, file in enumerate(files):
        coarse = random.integers(0, 256, (1 + number % 5, 1 + number % 3, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((200, 160), Image.Resampling.NEAREST).save(file)
    head, net.fc = net.fc, torch.nn.Identity()
    features = outputs(net, files)
    net.fc = head
    with torch.no_grad():
        head.weight[OUTPUTS] *= 4
        head.bias -= head(features).mean(0)
        best = head(features)[:, OUTPUTS].argmax(1).tolist()
    torch.save(net.state_dict(), root / "weights.pth")
    for number, file in enumerate(files):
        label = best[number] if number % 2 else number // 2 % 10
        index = root / "small" / ("train" if number < 6 else "val") / list(WNIDS)[label]
        index.mkdir(parents=True, exist_ok=True)
        file.rename(index / file.name)
    for split in ("train", "val"):
        for wnid in WNIDS:
            (root / "small" / split / wnid).mkdir(exist_ok=True)
    return root / "small", root / "weights.pth"


def outputs(net: torch.nn.Module, files: Sequence[Path]) -> torch.Tensor:
    """The network's outputs, one row per file, as torchvision's documentation computes them."""
    transform = models.ResNet18_Weights.DEFAULT.transforms()
    with torch.inference_mode():
        return net(torch.stack([transform(Image.open(file).convert("RGB")) for file in files]))


def expected(folder: Path, weights: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ImageNet index of the label, best of 1000, best of ten: for every image of a folder of class folders."""
    net = models.resnet18().eval()
    net.load_state_dict(torch.load(weights, weights_only=True))
    files = sorted(folder.glob("*/*.JPEG"))
    logits = outputs(net, files)
    labels = np.array([WNIDS[file.parent.name] for file in files])
    return labels, logits.argmax(1).numpy(), np.array(OUTPUTS)[logits[:, OUTPUTS].argmax(1).numpy()]


def test_tutorial_on_imagenettes_layout(tmp_path: Path, imagenette: tuple[Path, Path]) -> None:
    folder, weights = imagenette
    printed = run(tmp_path, "tutorial.py", folder, "--weights", weights)
    labels, best, best_of_ten = expected(folder / "val", weights)
    lines = [line for line in printed.splitlines() if LINE.search(line)]
    assert [line.split(":")[0] for line in lines] == ["by_hand", "resnet18_open", "resnet18_restricted"]
    check(lines[0], labels, best)
    check(lines[1], labels, best)
    check(lines[2], labels, best_of_ten)
    assert "(3, 3, 224, 224)" in printed
    assert 0 < accuracy_score(labels, best) < accuracy_score(labels, best_of_ten) < 1
    assert re.findall(r"(?m)^(\d+)\. ", printed) == [str(number) for number in range(1, 11)]
    assert re.search(r"n_images.*\D24\D", printed, re.S)

    chart = (tmp_path / "accuracy.svg").read_text()
    assert chart.startswith("<svg")
    assert "English springer" in chart
    for name, form in (("umap.png", "PNG"), ("thumbnail.webp", "WEBP")):
        with Image.open(tmp_path / name) as picture:
            assert (picture.format, min(picture.size) > 50) == (form, True)
    assert is_page(tmp_path / "imagenette.html")


EXECUTE = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
nbformat.write(notebook, "executed.ipynb")
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory, imagenette: tuple[Path, Path]) -> tuple[Path, Any]:
    """A folder with the tutorial's notebook executed in it, on small images and random weights instead of downloads."""
    folder, weights = imagenette
    here = tmp_path_factory.mktemp("notebook")
    (here / "imagenette2-160").symlink_to(folder, target_is_directory=True)
    (here / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    shutil.copy(weights, here / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth")
    environment = os.environ | {"TORCH_HOME": str(here / "torch")}
    command = [sys.executable, "-c", EXECUTE, str(EXAMPLES / "tutorial.ipynb")]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return here, json.loads((here / "executed.ipynb").read_text())


def test_notebook_gives_the_tutorials_numbers_and_pictures(
    executed: tuple[Path, Any], imagenette: tuple[Path, Path]
) -> None:
    here, notebook = executed
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    shown = ["".join("".join(part) for part in output.get("data", {}).values()) for output in outputs]
    texts = "\n".join(shown)
    assert "torch.Size([3, 224, 224])" in texts
    assert "(torch.Size([3, 3, 224, 224]), 24)" in texts
    (rows,) = [text for text in shown if "<td>deferred (3, 224, 224)</td>" in text]
    assert (rows.count("data:image/webp"), rows.count("<td>deferred (3, 224, 224)</td>")) == (5, 5)
    assert [output["data"].keys() & {"image/svg+xml"} for output in outputs].count({"image/svg+xml"}) == 2
    assert is_page(here / "imagenette.html")

    folder, weights = imagenette
    labels, best, _ = expected(folder / "val", weights)
    with sqlanalysis.connect(here / "imagenette.duckdb", read_only=True) as con:
        [(n, right, *_)] = sqlanalysis.metric(con, "accuracy", "resnet18").fetchall()
        assert (n, right) == (len(labels), accuracy_score(labels, best, normalize=False))
        blue = dict(con.sql("select uri, avg_blue from resnet18").fetchall())
    for path, value in blue.items():
        with Image.open(path) as picture:
            assert value == pytest.approx(np.array(picture.convert("RGB"))[:, :, 2].mean(), rel=1e-5)


def test_notebook_is_at_least_as_short_as_the_original() -> None:
    cells = json.loads((EXAMPLES / "tutorial.ipynb").read_text())["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown"] + ["markdown", "code"] * (len(cells) // 2)
    for text, code in zip(cells[1::2], cells[2::2], strict=True):
        (original,) = re.findall(r"```python\n(.*?)```", "".join(text["source"]), re.S)
        ours = [line for line in "".join(code["source"]).splitlines() if line.strip()]
        assert len(ours) <= len([line for line in original.splitlines() if line.strip()]), text["source"][0]
        assert code["outputs"] == []


def test_quickstart_with_a_folder_of_class_folders(tmp_path: Path, imagenette: tuple[Path, Path]) -> None:
    folder, weights = imagenette
    printed = run(tmp_path, "quickstart.py", folder / "val", weights)
    labels, best, _ = expected(folder / "val", weights)
    check(printed, labels, best)
    assert "class policy open" in printed
    assert is_page(tmp_path / "val.html")


def test_own_predictions_without_arguments_and_without_torch(tmp_path: Path) -> None:
    printed = run(tmp_path, "bring_your_own_predictions.py", without="torch")
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 899
    check(printed, [row["path"].split("/")[0] for row in rows], [row["pred"] for row in rows])
    assert is_page(tmp_path / "own_predictions.html")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_own_predictions_of_a_folder(tmp_path: Path, photos: Path, kind: str) -> None:
    names = ["cat", "dog", "owl"]
    paths = [f"{name}/{number}.jpg" for name in names for number in range(6)]
    preds = ["owl" if number % 5 == 0 else path.split("/")[0] for number, path in enumerate(paths)]
    file = tmp_path / f"predictions.{kind}"
    table = pa.table({"path": [*paths, "cat/99.jpg"], "pred": [*preds, "cat"]})
    (write_csv if kind == "csv" else write_table)(table, file)
    printed = run(tmp_path, "bring_your_own_predictions.py", photos, file, without="torch")
    check(printed, [path.split("/")[0] for path in paths], preds)
    assert "18 predictions, 1 rows left out" in printed
    assert "no image cat/99.jpg" in printed
    assert is_page(tmp_path / "own_predictions.html")


@pytest.fixture(scope="module")
def demo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    subprocess.run([sys.executable, "-m", "sqlanalysis", "demo", str(folder)], check=True, capture_output=True)
    return folder / "demo.duckdb"


def rows_of(result: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def test_shell_sql_answers_alike_in_the_shell_and_in_python(demo_file: Path, shell: str) -> None:
    script = (EXAMPLES / "shell.sql").read_text()
    command = [shell, "-bail", "-json", "-readonly", str(demo_file)]
    done = subprocess.run(command, input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    decoder, text, answers = json.JSONDecoder(), done.stdout.strip(), []
    while text:
        answer, end = decoder.raw_decode(text)
        answers.append(answer)
        text = text[end:].lstrip()

    with duckdb.connect(demo_file, read_only=True) as con:
        rows = [rows_of(con.execute(statement)) for statement in duckdb.extract_statements(script)]
        data = con.execute("select label, pred from digits_cnn").fetchnumpy()
    assert [len(answer) for answer in answers] == [len(answer) for answer in rows]
    for answer, python in zip(answers, rows, strict=True):
        assert [list(row) for row in answer] == [list(row) for row in python]
    accuracies = [row["accuracy"] for row in answers[1]]
    assert accuracies == pytest.approx([accuracy_score(data["label"], data["pred"])], abs=1e-12)
