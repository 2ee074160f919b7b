"""The command line, as a user meets it: verbs, output, messages, exit codes."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision

import sqlanalysis
from sqlanalysis.db import templates

from .support.shells import cli as run


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "net.pth"
    torch.save(torchvision.models.squeezenet1_1(num_classes=3).state_dict(), file)
    return file


@pytest.fixture(scope="module")
def classes(weights: Path) -> Path:
    file = weights.with_name("names.txt")
    file.write_text("cat\ndog\nowl\n")
    return file


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, photos: Path, weights: Path, classes: Path) -> Path:
    """A file with the photos and one run, made by the command line alone."""
    path = tmp_path_factory.mktemp("cli") / "pets.duckdb"
    assert "is ready" in run("init", path).stderr
    assert "18 added, 0 changed, 0 unchanged, 0 errors" in run("add-images", path, photos, "--dataset", "pets").stderr
    options = ["--weights", weights, "--classes", classes, "--layer", "features", "--run", "squeeze"]
    done = run("predict", path, "squeezenet1_1", *options)
    assert "squeeze: 18 images = 18 ok + 0 errors; 18 computed now" in done.stderr
    assert done.stdout == ""
    assert "squeeze: 18 images by pca" in run("project", path, "squeeze", "--method", "pca").stderr
    return path


def test_predict_again_resumes(file: Path, weights: Path, classes: Path) -> None:
    options = ["--weights", weights, "--classes", classes, "--layer", "features", "--run", "squeeze"]
    assert "; 0 computed now" in run("predict", file, "squeezenet1_1", *options).stderr
    other = run(
        "predict", file, "squeezenet1_1", "--weights", weights, "--classes", classes, "--run", "squeeze", code=1
    )
    assert "run 'squeeze' exists and differs: layer features → None" in other.stderr
    assert "start from scratch: the same command with --overwrite" in other.stderr


def test_predict_refuses_in_its_own_words(file: Path, weights: Path, classes: Path) -> None:
    net = [file, "squeezenet1_1", "--weights", weights, "--run", "odd"]
    assert "--classes names no class" in run("predict", *net, "--classes", "", code=1).stderr
    wrong = run("predict", *net, "--classes", classes, "--where", "widt > 3", code=1).stderr
    assert "--where 'widt > 3' is not a condition over `images`: Binder Error" in wrong
    assert "LINE" not in wrong


def test_one_split(tmp_path: Path, photos: Path, weights: Path, classes: Path) -> None:
    path = tmp_path / "pets.duckdb"
    for split, name in (("train", "cat"), ("train", "dog"), ("val", "owl")):
        shutil.copytree(photos / name, tmp_path / "pets" / split / name)
    assert "splits: train 12, val 6" in run("add-images", path, tmp_path / "pets").stderr
    net = ["squeezenet1_1", "--weights", weights, "--classes", classes]
    pooled = run("predict", path, *net, "--run", "pooled")
    assert "images of 2 splits are counted together: train (12), val (6)" in pooled.stderr
    one = run("predict", path, *net, "--run", "one", "--split", "val")
    assert "one: 6 images = 6 ok" in one.stderr
    assert "counted together" not in one.stderr
    assert "has no split 'test'" in run("predict", path, *net, "--split", "test", code=1).stderr
    of_val = run("metric", path, "accuracy", "pooled", "--split", "val", "--format", "csv").stdout
    assert of_val.replace("pooled", "one") == run("metric", path, "accuracy", "one", "--format", "csv").stdout
    assert (
        "no row of split 'vall'; did you mean val"
        in run("metric", path, "accuracy", "pooled", "--split=vall", code=1).stderr
    )
    assert "no column 'split'" in run("metric", path, "accuracy", "classes", "--split", "val", code=1).stderr
    assert "no relation 'bth'" in run("metric", path, "accuracy", "bth", "--split", "val", code=1).stderr
    both = run("metric", path, "leaderboard", "pooled,one", "--format", "csv").stdout
    assert both == run("metric", path, "leaderboard", '["pooled", "one"]', "--format", "csv").stdout
    assert len(both.splitlines()) == 3


def test_nothing_selected_and_nothing_answered_are_errors(
    tmp_path: Path, photos: Path, weights: Path, classes: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos / "cat", folder / "train" / "cat")
    shutil.copytree(photos / "dog", folder / "val" / "dog")
    path = str(tmp_path / "x.duckdb")
    run("add-images", path, str(folder))
    command = ["predict", path, "squeezenet1_1", "--weights", str(weights), "--classes", str(classes)]
    told = run(*command, "--where", "split = 'vall'", code=1).stderr
    assert "no image is selected where split = 'vall'; the splits of data set 'photos' are: train (6), val (6)" in told
    for file in folder.glob("val/dog/*.jpg"):
        file.unlink()
    told = run(*command, "--split", "val", code=1).stderr
    assert re.search("run 'squeezenet1_1' has no answer, all 6 images failed; .*No such file.*--retry-errors", told)
    shutil.copytree(photos / "dog", folder / "val" / "dog", dirs_exist_ok=True)
    assert "6 ok + 0 errors" in run(*command, "--split", "val", "--retry-errors").stderr


def test_metric_and_formats(file: Path) -> None:
    with sqlanalysis.connect(file) as con:
        expected = sqlanalysis.metric(con, "accuracy_by", "squeeze", expr="label", level=0.9).fetchall()
    arguments = ["metric", file, "accuracy_by", "squeeze", "expr=label", "level=0.9"]
    rows = json.loads(run(*arguments, "--format", "json").stdout)
    assert [tuple(row.values()) for row in rows] == expected
    table = list(csv.reader(io.StringIO(run(*arguments, "--format", "csv").stdout)))
    assert table[0] == ["slice", "n", "correct", "accuracy", "ci_low", "ci_high", "run"]
    assert [float(row[3]) for row in table[1:]] == [row[3] for row in expected]
    assert "accuracy" in run(*arguments).stdout
    assert "topk_accuracy" in run("list-metrics", file).stdout
    ks = json.loads(run("metric", file, "topk_accuracy", "squeeze", "ks=[1,3]", "--format", "json").stdout)
    assert [(row["k"], row["accuracy"]) for row in ks][1] == (3, 1.0)


def test_metric_in_order_and_of_some_rows(file: Path) -> None:
    named = run("metric", file, "accuracy_by", "squeeze", "expr=width_px >= 64", "level=0.9", "--format", "csv").stdout
    assert run("metric", file, "accuracy_by", "squeeze", "width_px >= 64", "0.9", "--format", "csv").stdout == named
    assert run("metric", file, "accuracy_by", "squeeze", "label == 0", "0.9").stdout
    with sqlanalysis.connect(file) as con:
        expected = con.sql("select count(*), count(*) filter (where correct) from squeeze where label <> 1").fetchall()
    arguments = ["metric", file, "accuracy", '["squeeze"]', "--where", "label <> 1", "--format", "json"]
    (row,) = json.loads(run(*arguments).stdout)
    assert [(row["n"], row["correct"])] == expected
    assert row["run"] == "squeeze"


def test_query_knows_the_functions_and_the_models(file: Path, weights: Path, classes: Path) -> None:
    columns = "image_id, squeezenet1_1(image).pred as pred, image_size(image).width as w"
    sql = f"select {columns} from image_files order by 1 limit 2"
    rows = json.loads(run("query", file, sql, "--classes", classes, "--format", "json").stdout)
    with sqlanalysis.connect(file) as con:
        expected = con.sql("select image_id, pred, width_px from squeeze order by 1 limit 2").fetchall()
    assert [tuple(row.values()) for row in rows] == expected
    assert run("query", file, "create table mine as select 1 as x").stdout == ""
    assert json.loads(run("query", file, "from mine", "--format", "json").stdout) == [{"x": 1}]
    assert "one statement at a time" in run("query", file, "select 1; select 2", code=1).stderr
    assert "squeezenet1_9" in run("query", file, "select squeezenet1_9(image) from image_files", code=1).stderr


def test_report(file: Path, tmp_path: Path) -> None:
    assert "page.html is written" in run("report", file, tmp_path / "page.html", "--run", "squeeze").stderr
    assert "squeeze" in (tmp_path / "page.html").read_text()


def test_add_predictions(file: Path, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("path,pred\ncat/0.jpg,cat\nfox.jpg,cat\n")
    assert (
        "theirs: 1 predictions, 1 rows without"
        in run("add-predictions", file, tmp_path / "p.csv", "--run", "theirs").stderr
    )


def test_render_sql_prints_the_file() -> None:
    assert run("render-sql", "accuracy").stdout == templates.render("accuracy") + "\n"


def test_unreadable_files_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_text("no")
    done = run("add-images", tmp_path / "x.duckdb", tmp_path / "a")
    assert "0 added, 0 changed, 0 unchanged, 1 errors" in done.stderr
    assert "from errors where run is null" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["metric", "none.duckdb", "accuracy", "x"], 1, "error: no file"),
        (["metric", "{file}", "acuracy", "squeeze"], 1, "error: no metric 'acuracy'; did you mean accuracy"),
        (["metric", "{file}", "accuracy", "squeze"], 1, "did you mean squeeze"),
        (["metric", "{file}", "accuracy", "squeeze", "high"], 1, "level is a number, such as 0.95, not 'high'"),
        (["metric", "{file}", "confusion_matrix", "squeeze", "1"], 1, "takes no parameter after the relation, not 1"),
        (["metric", "{file}", "accuracy", "squeeze", "0.9", "level=0.8"], 1, "level is given twice"),
        (["metric", "{file}", "worst_slices", "squeeze"], 1, "worst_slices needs cols: give cols="),
        (["metric", "{file}", "accuracy", "squeeze", "--where", "width_px > 0 and"], 1, "is not one SQL expression"),
        (["metric", "{file}", "accuracy", "squeeze", "--where", "width_px < 0"], 1, "no row where width_px < 0"),
        (["metric", "{file}", "accuracy", "squeeze", "--where", "widht_px < 0"], 1, "did you mean width_px"),
        (["metric", "{file}", "accuracy", "squeeze", "lvl=1"], 1, "no parameter 'lvl'; it takes level"),
        (["predict", "{file}", "squeezenet9"], 1, "no model 'squeezenet9' in torchvision; did you mean squeezenet"),
        (["project", "{file}", "nope"], 1, "no run 'nope'"),
        (["report", "{file}", "/nowhere/x.html"], 1, "/nowhere"),
        (["report", "{file}", "x.html", "--run", "nope"], 1, "no run 'nope'"),
        (["render-sql", "nope"], 1, "no SQL file or query 'nope'"),
        (["add-images", "{file}", "/nope"], 1, "no file or folder /nope"),
        (["add-predictions", "{file}", "/nope.csv", "--run", "x"], 1, "no file /nope.csv"),
        (["bogus"], 2, "No such command"),
        (["predict", "{file}"], 2, "Missing argument"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else None,
)
def test_errors_are_one_line(file: Path, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    done = run(*(argument.format(file=file) for argument in arguments), code=code, cwd=tmp_path)
    assert message in done.stderr
    assert done.stdout == ""
    if code == 1:  # what it was about to do, where that takes time, then one line
        assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == done.stderr.splitlines()[
            -1:
        ]
        assert len(done.stderr.splitlines()) <= 2


def test_a_database_is_not_a_page(file: Path, tmp_path: Path) -> None:
    before = file.read_bytes()
    assert "exists and is not a page" in run("report", file, file, code=1).stderr
    assert file.read_bytes() == before


def test_errors_while_rows_are_made(file: Path) -> None:
    assert "Could not convert string" in run("query", file, "select 'a'::int", code=1).stderr


def test_system_errors_are_one_line() -> None:
    assert "/proc/nowhere" in run("demo", "/proc/nowhere", code=1).stderr


def test_interrupted_says_how_to_resume(file: Path, weights: Path, classes: Path) -> None:
    code = (
        "import sys, sqlanalysis.runs.predict as p, sqlanalysis.cli as c\n"
        "def stop(*_, **__): raise KeyboardInterrupt\n"
        "p.predict = stop\n"
        "c.main()"
    )
    options = ["--weights", weights, "--classes", classes]
    command = [sys.executable, "-c", code, "predict", file, "squeezenet1_1", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "interrupted; what was committed stays, run the same command to resume"


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sqlanalysis", "--debug", "metric", tmp_path / "none.duckdb", "accuracy", "x"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_version_and_help() -> None:
    from importlib.metadata import version

    assert run("--version").stdout.strip() == version("sqlanalysis")
    assert "add-images" in run("--help").stdout


def test_messages_are_in_the_words_of_the_command_line(file: Path, tmp_path: Path, weights: Path) -> None:
    torch.save(
        {"student": torch.load(weights), "teacher": {k: v + 1 for k, v in torch.load(weights).items()}},
        tmp_path / "two.pth",
    )
    done = run("predict", file, "squeezenet1_1", "--weights", tmp_path / "two.pth", "--run", "two", code=1)
    assert f"say which, such as --weights {tmp_path / 'two.pth'}#student" in done.stderr
    (tmp_path / "none.txt").write_text("\n")
    done = run("predict", file, "squeezenet1_1", "--weights", weights, "--classes", tmp_path / "none.txt", code=1)
    assert "error: --classes names no class" in done.stderr
    assert len(done.stderr.splitlines()) == 2  # what is begun, and the error


def test_the_classes_of_a_data_set(tmp_path: Path, photos: Path) -> None:
    file = tmp_path / "c.duckdb"
    run("add-images", file, photos, "--dataset", "pets")
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1(num_classes=3).state_dict(), tmp_path / "own.pth")
    command = ("predict", file, "squeezenet1_1", "--weights", tmp_path / "own.pth", "--classes", "pets", "--run", "own")
    done = run(*command, cwd=tmp_path)
    assert "18 images = 18 ok" in done.stderr
    assert "is assumed" in done.stderr
    for name in ("owl", "cat"):
        (tmp_path / "pets" / name).mkdir(parents=True)
    done = run(*command, code=1, cwd=tmp_path)
    assert (
        "--classes pets is a data set and a path, whose classes differ: cat, dog, owl, … and cat, owl, …" in done.stderr
    )


def test_a_typo_is_refused_before_torch_is_imported(file: Path) -> None:
    program = (
        "import sys, sqlanalysis.cli as cli\n"
        f"sys.argv = ['sqlanalysis', 'predict', {str(file)!r}, 'resnet19']\n"
        "try: cli.main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert done.stdout.strip() == "1 False"
    assert "no model 'resnet19' in torchvision; did you mean resnet18" in done.stderr
