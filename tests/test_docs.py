"""The README is true: its tables are generated, its code runs, nothing public is missing from it.

`python tests/test_docs.py` writes the generated tables anew.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision

import sqlanalysis
from sqlanalysis import cli, errors
from sqlanalysis.db import templates

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def metrics_table() -> str:
    lines = ["| metric | what it measures |", "|---|---|"]
    for name in sorted(templates.installed("metrics")):
        found = re.search(r"macro \w+\((.*?)\) as(\s+table)?", templates.source(f"metrics/{name}"), re.S)
        assert found is not None
        if found[2]:
            parameters = " ".join(found[1].split())
            lines.append(f"| `{name}({parameters})` | {templates.header(f'metrics/{name}').summary} |")
    scalars = [f"`{n}`" for n in sorted(templates.installed("metrics")) if f"| `{n}(" not in "\n".join(lines)]
    return "\n".join([*lines, "", f"Scalar functions beside them: {', '.join(scalars)}."])


def tables_table() -> str:
    lines = ["| object | kind | what it holds | one row per |", "|---|---|---|---|"]
    for folder in ("tables", "views"):
        for name in sorted(templates.installed(folder)):
            header = templates.header(f"{folder}/{name}")
            grain = header.grain.rstrip(".").removeprefix("one row per ")
            shown = "outputs.<run>" if name == "outputs" else name
            lines.append(f"| `{shown}` | {folder[:-1]} | {header.summary} | {grain} |")
    return "\n".join(lines)


def generated(text: str) -> str:
    for marker, table in (("metrics", metrics_table()), ("tables", tables_table())):
        start, end = f"<!-- {marker} -->", f"<!-- end of {marker} -->"
        before, _, rest = text.partition(start)
        text = f"{before}{start}\n{table}\n{end}{rest.partition(end)[2]}"
    return text


def test_tables_are_fresh() -> None:
    assert generated(README) == README, "run `python tests/test_docs.py`"


def test_everything_public_is_mentioned() -> None:
    verbs = [(c.name or c.callback.__name__).replace("_", "-") for c in cli.app.registered_commands]  # type: ignore[union-attr]
    for verb in verbs:
        assert f"`{verb} " in README or f"`{verb}`" in README, verb
    for name in sqlanalysis.__all__:
        assert f"`{name}(" in README, name
    for name in vars(errors):
        if name.endswith("Error"):
            assert f"`{name}`" in README, name


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A folder with what the README's task needs: photos, weights, names."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(photos, folder / "photos")
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), folder / "weights.pth")
    (folder / "names.txt").write_text("cat\ndog\nowl\n")
    return folder


def test_python_block_runs(workplace: Path) -> None:
    code, more = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    code = code.replace("con.close()\n", more)
    done = subprocess.run([sys.executable, "-c", code], cwd=workplace, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert "avg(mean)" in done.stdout
    assert (workplace / "report.html").is_file()


def test_sql_blocks_run_in_the_shell(workplace: Path, shell: str, tmp_path: Path) -> None:
    task = next(block for block in blocks("sql") if "from accuracy('resnet18')" in block)
    if not (workplace / "pets.duckdb").exists():
        test_python_block_runs(workplace)
    done = subprocess.run([shell, "-bail", "pets.duckdb"], cwd=workplace, input=task, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_command_line_block_runs(workplace: Path) -> None:
    code = next(block for block in blocks("bash") if "sqlanalysis project" in block)
    code = code.replace("pets.duckdb", "cli.duckdb").replace("sqlanalysis ", f"{sys.executable} -m sqlanalysis ")
    done = subprocess.run(["bash", "-euc", code], cwd=workplace, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ci_low" in done.stdout


def test_changelog_names_the_version() -> None:
    from importlib.metadata import version

    assert f"## {version('sqlanalysis')}" in (ROOT / "CHANGELOG.md").read_text()


def test_nothing_names_what_is_not_ours() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    marks = ("/".join(["..", "shared"]), "/" + "work/", "find" + "-links")
    for name in files:
        path = ROOT / name
        if path.suffix in {".py", ".sql", ".md", ".toml", ".html", ".j2", ".css", ".js", ""} and path.is_file():
            text = path.read_text(errors="ignore")
            assert not any(mark in text for mark in marks), name


if __name__ == "__main__":
    (ROOT / "README.md").write_text(generated(README))
