"""The SQL files as templates: rendered, ordered, linted; and no SQL anywhere else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import sqlfluff

import sqlanalysis
from sqlanalysis.db import templates
from sqlanalysis.errors import ArgumentError, NotFoundError

ROOT = Path(__file__).parent.parent.parent
NAMES = {
    "run": "my_run", "runs": ["a", "b"], "runs_with_probs": ["a"], "of_split": True, "names": ["pred", "probs", "raw_pred", "activation"], "where": "label = 1",
    "columns": [("pred", "INTEGER"), ("probs", "FLOAT[3]")], "path": "file", "alias": "file", "read_only": False, "new": True,
    "kind": "table", "name": "x", "text": "it's", "table": "errors", "function": "resnet18", "source": "rows",
    "image_id": None, "pred": "pred", "confidence": "confidence", "probs": "probs", "relation": "my_run",
    "members": [{"run": "a", "weight": 0.5, "temperature": 1.0}, {"run": "b", "weight": 0.5, "temperature": 2.0}],
    "values": {}, "allowed": ["a.parquet"], "grouped": True, "groups": "patient", "folder": "file.tmp", "schema": "main", "by_index": True, "exists": True, "shared": True, "inputs": ["label"], "macro": "accuracy",
    "others": ["b"], "is_chosen": True, "has_outputs": True, "inline": False, "is_clustered": True, "addresses": ["/a.parquet"], "first_id": 1, "last_id": 9, "dataset": "digits", "placed": True, "sampled": True, "is_sample": True, "redacted": False,
    "baseline": "other_run", "cuts": [{"name": "split", "values": [("val", "split = 'val'"), ("none", "split is null")]}],
    "whole": '"e".main."my_run"', "counted": {"a": '"e".outputs."a"', "b": '"e".outputs."b"'}, "whole_errors": '"e".main.errors', "whole_runs": '"e".main.runs', "split": "it's", "kept": "_whole_0",
    "expression": "split", "expressions": ["split", "n_bytes / 1000"],
    "tables": {"old": "_a", "new": "_b"}, "neighbors": True, "by_split": False, "on_map": True,
    "files": ["a.csv", "b.csv"], "encoding": "utf-8", "file": "a.parquet", "column": "image", "is_struct": True,
    "texts": ["note"], "structs": ["image"], "folders": ["/data"], "start": 1, "depth": 4, "n_near": 5, "by": "path",
    "outputs": "logits", "expected": "auto", "tolerance": 0.01, "sum_tolerance": 0.01, "range_tolerance": 0.001,
    "is_rescaled": True, "with_probs": True, "size": 3, "blobs": ["data"], "nested": ["meta"], "lists": ["scores"], "max_line": 1024,
    "pictures": ["image"], "first": 1, "last": 9, "rows": 8192, "least": 0.5,
    "spill": "1GB", "paths": ["a.png"], "deferred": {}, "shown": ["image"], "n": 5, "predicted": True, "type": "INTEGER", "places": "from my_places", "stored": True,
}  # fmt: skip
# DuckDB's own statements, which sqlfluff has no grammar for.
UNPARSED = re.compile(
    r"^(attach|begin|comment on|drop macro|use|set|describe|from) |\$\w+|\?|struct_pack|describe ", re.M
)
# What names, loops and $1 leave behind in a rendered query.
LEFT_BY_NAMES = {"AL01", "AL05", "AL04", "LT12", "LT13", "LT05", "LT15", "RF06", "CV06", "CP05", "LXR"}


def test_render_sql_is_the_file() -> None:
    assert templates.render("accuracy") == (ROOT / "sql/metrics/accuracy/accuracy.sql").read_text()
    assert '"my run"' in templates.render("drop_outputs", run="my run")


def test_names_are_quoted_and_values_never_enter() -> None:
    assert templates.ident('we"ird; drop table x;--') == '"we""ird; drop table x;--"'
    assert templates.literal("o'brien") == "'o''brien'"


def test_errors() -> None:
    with pytest.raises(NotFoundError, match="'acuracy'; did you mean accuracy"):
        templates.render("acuracy")
    with pytest.raises(ArgumentError, match=r"drop_outputs .*'run' is undefined"):
        templates.render("drop_outputs")


def test_sandbox_blocks_escapes() -> None:
    from jinja2.exceptions import SecurityError

    environment = templates._environment()
    for text in ("{{ ident.__globals__ }}", "{{ cycler.__init__.__globals__.os.popen('id').read() }}"):
        with pytest.raises(SecurityError):
            environment.from_string(text).render()


@pytest.mark.parametrize("name", templates.index())
def test_lint(name: str) -> None:
    each = templates.find(name)
    text = templates.render(name, **NAMES)
    if each.kind == "expectations":  # sqlfluff has no lexer for $parameters
        text = text.replace("$", "_")
    actual = sqlfluff.lint(text, dialect="duckdb", config_path=str(ROOT / ".sqlfluff"))
    ignored = {"PRS"} if not each.is_plain and UNPARSED.search(text) else set()
    if not each.is_plain:
        ignored |= LEFT_BY_NAMES
    assert [
        f"{row['start_line_no']}: {row['code']} {row['description']}" for row in actual if row["code"] not in ignored
    ] == []


def strings(path: Path) -> list[str]:
    """String constants of a module that are not docstrings."""
    tree = ast.parse(path.read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    ]


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "sqlanalysis").glob("**/*.py")),
    ids=lambda path: path.relative_to(ROOT / "sqlanalysis").as_posix(),
)
def test_no_sql_in_python(path: Path) -> None:
    statement = re.compile(
        r"^\s*(select\b.*\bfrom|insert into|update \w+ set|delete from|create (table|view|or)|drop )", re.I | re.S
    )
    is_pattern = re.compile(r"\\[wbs(]")  # a regular expression that reads SQL
    assert [text for text in strings(path) if statement.search(text) and not is_pattern.search(text)] == []


def test_every_query_is_used() -> None:
    """A named query that no module asks for is dead."""
    code = "\n".join(path.read_text() for path in (ROOT / "sqlanalysis").glob("**/*.py"))
    named = [name for name, each in templates.index().items() if each.kind in ("statements", "page")]
    assert [name for name in named if not re.search(rf"[\"']{name}[\"']", code)] == []


def test_the_command_line_prints_what_is_sent() -> None:
    from ..support.shells import cli

    assert cli("render-sql", "accuracy").stdout == templates.render("accuracy") + "\n"
    assert "render_sql" not in sqlanalysis.__all__
