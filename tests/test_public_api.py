"""The surface: names, mirrors, budgets, errors of our own, and what an import costs."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sqlanalysis
from sqlanalysis import cli, errors

PACKAGE = Path(sqlanalysis.__file__).parent
MODULES = sorted(PACKAGE.glob("**/*.py"))
BUILTIN = {"AttributeError", "KeyboardInterrupt", "TypeError"}


def test_names_are_sorted_few_documented_and_resolve() -> None:
    names = sqlanalysis.__all__
    assert names == sorted(names)
    assert len(names) <= 28
    assert dir(sqlanalysis) == names
    for name in names:
        doc = inspect.getdoc(getattr(sqlanalysis, name)) or ""
        assert all(part in doc for part in ("Args:", "Returns:")), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sqlanalysis.nothing


def test_every_verb_has_a_function_of_the_same_name() -> None:
    commands = {(c.name or c.callback.__name__).replace("_", "-") for c in cli.app.registered_commands}  # type: ignore[union-attr]
    functions = {name.replace("_", "-") for name in sqlanalysis.__all__}
    assert commands - functions == {"init", "query", "demo"}
    assert functions - commands == {
        "connect",
        "defer",
        "load-model",
        "map-batches",
        "preflight",
        "register-model",
        "to-tensor",
    }


def test_options_per_verb() -> None:
    for command in cli.app.registered_commands:
        parameters = inspect.signature(command.callback).parameters.values()  # type: ignore[arg-type]
        options = [p for p in parameters if p.default is not inspect.Parameter.empty]
        assert len(options) <= (16 if command.callback.__name__ == "predict" else 8), command.callback  # type: ignore[union-attr]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_budgets_and_raises(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    ours = {name for name in vars(errors) if name.endswith("Error")} | BUILTIN
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= 50, f"{node.name}: {lines} lines"
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = ast.unparse(node.exc.func)
            assert name in ours or name in {"_refusal", "_explain", "typer.BadParameter", "typer.Exit"}, name


def test_error_tree() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) == 8
    assert all(issubclass(kind, errors.SQLAnalysisError) for kind in kinds)
    assert issubclass(errors.MissingExtraError, ImportError)
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in kinds)


HEAVY = ("torch", "torchvision", "umap", "sklearn", "numba", "vl_convert")


@pytest.mark.parametrize(
    "code",
    [
        "import sqlanalysis, sqlanalysis.cli",
        "s.connect()",
        "s.list_metrics(s.connect()).fetchall()",
        "s.metric(s.connect(), 'accuracy', 'predictions').fetchall()",
        "s.add_images(s.connect(), [__import__('numpy').zeros((2, 2), 'uint8')], dataset='x')",
    ],
    ids=["import", "connect", "list_metrics", "metric", "add_images"],
)
def test_no_torch(code: str) -> None:
    program = f"import sys, sqlanalysis as s\n{code}\nprint([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_import_is_quick() -> None:
    program = "import duckdb, time; start = time.perf_counter(); import sqlanalysis; sqlanalysis.connect; print(time.perf_counter() - start)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.0  # budget 0.3 s on a quiet machine; this one is shared
