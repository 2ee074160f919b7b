"""The documents are true: generated parts are fresh, code blocks run, links resolve, nothing public is missing.

`python -m tests.support.documents` writes the generated parts.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas
import polars
import pytest
import torch
import torchvision

import sqlanalysis as sq
from sqlanalysis import cli, errors
from sqlanalysis.db import templates

from .support import documents
from .support.documents import ROOT

DOCUMENTS = (
    "README.md",
    "examples/README.md",
    "sql/README.md",
    "sqlanalysis/README.md",
    "tests/README.md",
    ".github/CONTRIBUTING.md",
    "CHANGELOG.md",
)
README, GUIDE, SQL = ((ROOT / name).read_text() for name in ("README.md", "examples/README.md", "sql/README.md"))


def test_readme_is_short() -> None:
    assert len(README.encode()) <= 12_000


@pytest.mark.parametrize("document", documents.GENERATED)
def test_generated_parts_are_fresh(document: str) -> None:
    fresh = documents.generate(document)
    assert fresh == (ROOT / document).read_text(), "run `python -m tests.support.documents`"


def test_every_meaning_belongs_to_a_column() -> None:
    assert documents.unused_meanings() == set()


def test_every_topic_has_a_title() -> None:
    topics = {one.topic for one in templates.index().values() if one.kind == "metrics"}
    assert topics == set(documents.TOPICS)


def test_everything_public_is_mentioned() -> None:
    for command in cli.app.registered_commands:
        assert command.callback is not None
        verb = (command.name or command.callback.__name__).replace("_", "-")
        assert f"`{verb} " in README or f"`{verb}`" in README, verb
    for name in sq.__all__:
        assert f"`{name}(" in README if name.islower() else f"`{name}`" in README + GUIDE, name
    for name in vars(errors):
        if name.endswith("Error"):
            assert f"`{name}`" in GUIDE, name
    for one in templates.index().values():
        if one.kind in ("metrics", "tables", "views"):
            assert f"`{one.name}(" in SQL or f"`{one.name}`" in SQL, one.name


def _anchors(document: Path) -> set[str]:
    """The anchors that a page of GitHub gives to the headings of a document."""
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_resolve(document: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / document).read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target


def _blocks(text: str, language: str, containing: str = "") -> list[str]:
    return [code for code in re.findall(rf"```{language}\n(.*?)```", text, re.S) if containing in code]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A folder with what the README's task needs: photos, weights, names; and the results of the task in Python."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(photos, folder / "photos")
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), folder / "weights.pth")
    (folder / "names.txt").write_text("cat\ndog\nowl\n")
    (code,) = _blocks(README, "python", "sq.report")
    (folder / "stdout").write_text(_python(folder, code))
    return folder


def _python(folder: Path, code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _shell(shell: str, folder: Path, sql: str, *file: str) -> str:
    """What the DuckDB shell prints; it stops at the first error."""
    done = subprocess.run([shell, "-bail", *file], cwd=folder, input=sql, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_task_in_python(workplace: Path) -> None:
    (code,) = _blocks(README, "python", "sq.report")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    assert "accuracy" in (workplace / "stdout").read_text()
    assert (workplace / "report.html").is_file()


def test_the_task_on_the_command_line(workplace: Path) -> None:
    (code,) = _blocks(README, "bash", "sqlanalysis project")
    code = code.replace("pets.duckdb", "cli.duckdb").replace("report.html", "cli.html")
    code = code.replace("sqlanalysis ", f"{sys.executable} -m sqlanalysis ")
    done = subprocess.run(["bash", "-euc", code], cwd=workplace, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ci_low" in done.stdout


def test_the_task_in_sql(workplace: Path, shell: str) -> None:
    (code,) = _blocks(README, "sql", "from top_confusions")
    assert "ci_low" in _shell(shell, workplace, code, "-readonly", "pets.duckdb")


def test_clients_of_the_readme(workplace: Path) -> None:
    (code,) = _blocks(README, "python", "pandas.read_sql")
    first, second = code.splitlines()
    con = sq.connect(workplace / "pets.duckdb", read_only=True)
    try:
        # pandas recommends SQLAlchemy for everything but SQLite; a DuckDB connection works.
        with pytest.warns(UserWarning, match="SQLAlchemy"):
            accuracy = eval(first, {"pandas": pandas, "con": con})
        recall = eval(second, {"polars": polars, "con": con})
    finally:
        con.close()
    assert (accuracy["n"].tolist(), recall["support"].sum()) == ([18], 18)


def test_two_files_side_by_side(workplace: Path, shell: str) -> None:
    shutil.copy(workplace / "pets.duckdb", workplace / "b.duckdb")
    expected = _shell(shell, workplace, "from accuracy('resnet18');", "-csv", "-readonly", "pets.duckdb")
    (code,) = _blocks(README, "sql", "set search_path")
    assert _shell(shell, workplace, code, "-csv") == expected
    (code,) = _blocks(SQL, "sql", "set search_path")
    code = code.replace("digits_cnn", "resnet18")
    assert _shell(shell, workplace, code, "-csv") == expected
    inside = [line for line in code.splitlines() if not line.startswith("set")]
    assert _shell(shell, workplace, "\n".join(inside), "-csv", "-readonly", "pets.duckdb") == expected
    inside = code.replace("'memory,b'", "'pets,b'")
    assert _shell(shell, workplace, inside, "-csv", "-readonly", "pets.duckdb") == expected


def test_the_guide(workplace: Path, shell: str, tmp_path: Path) -> None:
    code, spread = _blocks(GUIDE, "python")
    calls = [node.value for node in ast.parse(spread).body if isinstance(node, ast.Expr)]
    assert all(isinstance(call, ast.Call) for call in calls), (
        "several processes; tests/faults/test_runners.py runs them"
    )
    shutil.copy(workplace / "pets.duckdb", tmp_path / "pets.duckdb")
    (tmp_path / "photos").symlink_to(workplace / "photos")
    assert "avg(mean)" in _python(tmp_path, code)
    (code,) = _blocks(GUIDE, "sql")
    _python(tmp_path, "import sqlanalysis as sq; sq.measure_images(sq.connect('pets.duckdb'))")
    code = code.replace("'cluster']", "'cluster'], min_n := 3")  # 20, in 18 photos, are an error
    assert "excess_errors" in _shell(shell, tmp_path, code, "-readonly", "pets.duckdb")


def test_calls_on_the_demo(tmp_path: Path, shell: str) -> None:
    done = subprocess.run([sys.executable, "-m", "sqlanalysis", "demo", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for code in (*_blocks(README, "sql", "digits_mlp"), *_blocks(SQL, "sql", "digits_mlp")):
        _shell(shell, tmp_path, code, "-readonly", "demo.duckdb")


def test_changelog_names_the_version() -> None:
    from importlib.metadata import version

    assert f"## {version('sqlanalysis')}" in (ROOT / "CHANGELOG.md").read_text()


def test_nothing_names_what_is_not_ours() -> None:
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    marks = ("/".join(["..", "shared"]), "/" + "work/", "find" + "-links")
    suffixes = {".py", ".sql", ".md", ".toml", ".yml", ".yaml", ".html", ".j2", ".css", ".js", ".mjs", ""}
    for name in files.stdout.splitlines():
        path = ROOT / name
        if path.suffix in suffixes and path.is_file():
            text = path.read_text(errors="ignore")
            assert not any(mark in text for mark in marks), name


def test_commands_are_marked_for_ci() -> None:
    for marker, word in (("demo command", "sqlanalysis demo"), ("test command", "pytest")):
        (code,) = re.findall(rf"<!-- {marker} -->\n```bash\n(.*?)\n```", README)
        assert word in code, textwrap.dedent(code)
