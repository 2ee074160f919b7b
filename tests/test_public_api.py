"""The surface: names, mirrors, errors of our own, and what an import loads."""

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
# ConnectionError never leaves its module: a transfer that ends early is tried again, then an ImageError.
BUILTIN = {"AttributeError", "ConnectionError", "KeyboardInterrupt"}
# _AnswerError is an InferenceError that the mapper tells from others.
MAKE_ERRORS = {"_refusal", "_explain", "_no_number", "remote.refuse", "_AnswerError"}


VERBS = [
    "add_column", "add_images", "add_predictions", "apply_labels", "check", "cluster", "compare", "connect",
    "copy_database", "defer", "drop_run", "ensemble",
    "export", "find_images", "find_neighbors", "head", "list_metrics", "load_model", "localize", "map_batches", "measure_images", "metric", "predict",
    "project", "read_report", "recover", "register_model", "report", "show", "temperature_scale", "to_tensor",
    "verify",
]  # fmt: skip
RESULTS = [
    "AddedColumn", "AddedImages", "AddedPredictions", "Applied", "Checked", "Clustered", "Comparison", "Copied", "Demo", "Derived", "DryRun",
    "Expectation", "Exported", "FoundNeighbors", "Localized", "Mapped", "Measured", "Page", "Predicted", "Projected", "Recovered",
    "Rows", "Sample", "Verified",
]  # fmt: skip
ERRORS = sorted(name for name in vars(errors) if name.endswith("Error"))


def test_names_are_verbs_results_errors_and_the_model() -> None:
    names = sqlanalysis.__all__
    assert names == sorted(names)
    assert set(names) == {*VERBS, *RESULTS, *ERRORS, "DeferredColumn", "Model"}
    assert dir(sqlanalysis) == names
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sqlanalysis.nothing


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_says_what_it_takes_and_gives(name: str) -> None:
    doc = inspect.getdoc(getattr(sqlanalysis, name)) or ""
    assert all(part in doc for part in ("Args:", "Returns:"))


@pytest.mark.parametrize("name", VERBS)
def test_the_connection_comes_first_and_what_is_made_is_called_run(name: str) -> None:
    takes = list(inspect.signature(getattr(sqlanalysis, name)).parameters)
    if name not in ("connect", "head", "load_model", "read_report", "recover", "show", "to_tensor"):
        assert takes[0] == "con"
    if name in ("add_predictions", "ensemble", "map_batches", "predict", "temperature_scale"):
        assert takes.index("run") == 2
    if name in ("add_column", "drop_run", "export", "localize"):
        assert takes.index("run") == 1
    if name in ("compare", "check"):
        assert takes.index("run") < takes.index("baseline")


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_frozen_explained_and_shown_as_a_table(name: str) -> None:
    form = getattr(sqlanalysis, name)
    assert inspect.getdoc(form)
    assert hasattr(form, "_repr_html_")
    assert name == "Page" or form.__dataclass_params__.frozen


def test_every_verb_has_a_function_of_the_same_name() -> None:
    commands = {(c.name or c.callback.__name__).replace("_", "-") for c in cli.app.registered_commands}  # type: ignore[union-attr]
    functions = {name.replace("_", "-") for name in VERBS}
    assert commands - functions == {
        "init",
        "query",
        "demo",
        "render-sql",
        "copy",
        "work",
        "commit",
    }  # copy is copy_database
    assert functions - commands == {
        "connect",
        "copy-database",
        "defer",
        "head",
        "load-model",
        "map-batches",
        "read-report",
        "register-model",
        "show",
        "to-tensor",
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_error_raised_is_ours(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and path.name != "faults.py":
            name = ast.unparse(node.exc.func)
            assert name in {*ERRORS, *BUILTIN, *MAKE_ERRORS, "typer.BadParameter", "typer.Exit"}, name


def test_error_tree() -> None:
    kinds = [form for form in vars(errors).values() if isinstance(form, type) and issubclass(form, Exception)]
    assert len(kinds) == 8
    assert all(issubclass(form, errors.SQLAnalysisError) for form in kinds)
    assert issubclass(errors.MissingExtraError, ImportError)
    assert issubclass(errors.ArgumentError, ValueError)
    assert all(form.__name__ in (errors.__doc__ or "") for form in kinds)


HEAVY = ("torch", "torchvision", "umap", "sklearn", "numba", "vl_convert")


@pytest.mark.parametrize(
    "code",
    [
        "import sqlanalysis, sqlanalysis.cli",
        "s.connect()",
        "s.list_metrics().fetchall()",
        "s.metric(s.connect(), 'accuracy', 'predictions').fetchall()",
        "s.check(s.connect(), run='predictions', min_accuracy=0.5)",
        "s.add_images(s.connect(), [__import__('numpy').zeros((2, 2), 'uint8')], dataset='x')",
        "c = s.connect(); s.add_images(c, [__import__('numpy').zeros((2, 2), 'uint8')], dataset='x'); s.measure_images(c)",
    ],
    ids=["import", "connect", "list_metrics", "metric", "check", "add_images", "measure_images"],
)
def test_no_torch(code: str) -> None:
    program = f"import sys, sqlanalysis as s\n{code}\nprint([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_no_module_needs_pandas() -> None:
    """It is no dependency; `.df()` fails without it, which an environment for tests does not show."""
    root = Path(sqlanalysis.__file__).parent
    calls = [
        f"{file.name}:{node.lineno}"
        for file in root.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("df", "fetchdf")
    ]
    assert calls == []
