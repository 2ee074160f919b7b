"""The generated parts of the documents: `python -m tests.support.documents` writes them.

Tables stand between `<!-- name -->` and `<!-- end of name -->`; everything around them is written by hand. What they say
comes from the SQL files, from a fresh database in memory, and for the meaning of columns from columns.toml.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

import sqlanalysis as sq
from sqlanalysis.db import templates
from sqlanalysis.db.catalogue import recreate_run_views

ROOT = Path(__file__).parent.parent.parent
COLUMNS = tomllib.loads((Path(__file__).parent / "columns.toml").read_text(encoding="utf-8"))
# Topics in the order of the view `help`, with a title each.
TOPICS = {
    "accuracy": "Accuracy and averages",
    "classes": "Classes and confusion",
    "probabilities": "Probabilities",
    "calibration": "Calibration",
    "selection": "Selective prediction",
    "comparison": "Comparison with a baseline",
    "slices": "Slices",
    "labels": "Label quality",
    "embeddings": "Embeddings and duplicates",
    "drift": "Drift",
    "statistics": "Scalar functions",
}
# The columns of a run's outputs that not every run has.
_OPTIONAL = {"raw_pred": "integer", "raw_confidence": "float", "inside": "float", "activation": "float[512]"}
# Views of a run, with the name that stands for them in the dictionary.
_RUN_VIEWS = {"my_run": "<run>", "my_run_neighbors": "<run>_neighbors"}


def catalogue() -> str:
    """Every public macro by topic: signature, linked to its file, description, example."""
    return "\n\n".join(_topic(topic, title) for topic, title in TOPICS.items())


def _topic(topic: str, title: str) -> str:
    lines = [f"### {title}", "", "| signature | description | example |", "|---|---|---|"]
    for one in sorted(templates.index().values(), key=lambda one: one.name):
        if one.folder == f"metrics/{topic}":
            link = f"[`{one.signature}`](metrics/{topic}/{one.name}.sql)"
            lines.append(_row(link, one.summary, f"`{one.example}`"))
    return "\n".join(lines)


def dictionary() -> str:
    """Every table and view with its columns: name, type, meaning."""
    with _database() as con:
        return "\n\n".join(_object(con, name, shown, kind) for name, shown, kind in _objects())


def _objects() -> Iterator[tuple[str, str, str]]:
    for name, shown in _RUN_VIEWS.items():
        yield name, shown, "view"
    for kind in ("table", "view"):
        for name, one in sorted(templates.index().items()):
            if one.kind == f"{kind}s" and name != "outputs":
                yield name, name, kind
    yield "predictions", "predictions", "view"


def _object(con: duckdb.DuckDBPyConnection, name: str, shown: str, kind: str) -> str:
    query = {"my_run": "recreate_run_view", "my_run_neighbors": "recreate_neighbors_view"}.get(name, name)
    query = "recreate_predictions" if name == "predictions" else query
    summary = templates.find(query).summary
    if query == name:
        header = templates.header(name)
        summary += f" {header.grain[0].upper()}{header.grain[1:].rstrip('.')}. Edge cases: {header.edges.rstrip('.')}."
        summary = summary.replace(" Edge cases: none.", "")
    columns = con.execute(
        "select column_name, data_type from duckdb_columns() where database_name = current_database() "
        "and schema_name = 'main' and table_name = ? order by column_index",
        [name],
    ).fetchall()
    lines = [f"### `{shown}` ({kind})", "", summary, "", "| column | type | meaning |", "|---|---|---|"]
    for column, dtype in columns:
        lines.append(_row(f"`{column}`", dtype.replace("[512]", "[m]").replace("[2]", "[n]"), meaning(shown, column)))
    return "\n".join(lines)


def meaning(name: str, column: str) -> str:
    """What columns.toml says of a column.

    Raises:
        KeyError: it says nothing.
    """
    return str((COLUMNS["any"] | COLUMNS.get(name, {}))[column])


def unused_meanings() -> set[tuple[str, str]]:
    """Entries of columns.toml that no table and no view has."""
    with _database() as con:
        rows = con.execute(
            "select table_name, column_name from duckdb_columns() "
            "where database_name = current_database() and schema_name = 'main'"
        ).fetchall()
    found = {(_RUN_VIEWS.get(name, name), column) for name, column in rows}
    said = {(name, column) for name, columns in COLUMNS.items() for column in columns}
    return {(name, column) for name, column in said if (name, column) not in found} - {
        ("any", column) for _, column in found
    }


def _database() -> duckdb.DuckDBPyConnection:
    """A database in memory with one run that has every column a run can have."""
    con = sq.connect()
    pictures = [(np.full((1, 1), 50 * number, np.uint8), number) for number in range(2)]
    sq.add_images(con, pictures, dataset="photos", classes=["cat", "dog"], show_progress=False)
    rows = {"image_id": [1, 2], "pred": [0, 1], "probs": [[0.8, 0.2], [0.3, 0.7]]}
    sq.add_predictions(con, pa.table(rows), "my_run")
    for column, dtype in _OPTIONAL.items():
        con.execute(f"alter table outputs.my_run add column {column} {dtype}").fetchall()
    recreate_run_views(con, ["my_run"])
    con.execute(templates.render("recreate_neighbors_view", run="my_run")).fetchall()
    return con


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def modules() -> str:
    """Every module of the package by folder, with the first line of its docstring."""
    package = ROOT / "sqlanalysis"
    lines = ["| module | what it does |", "|---|---|"]
    # Not what npm has put there.
    for file in sorted({*package.rglob("*.py")} - {*(package / "page" / "js").rglob("*.py")}, key=_floor):
        name = file.relative_to(package).as_posix()
        if file.name != "__init__.py" or file.parent == package:
            summary = file.read_text(encoding="utf-8").partition('"""')[2].partition("\n")[0]
            lines.append(_row(f"`{name}`", summary.replace('"""', "").strip()))
    return "\n".join(lines)


def _floor(file: Path) -> tuple[int, str]:
    """Top level first, then the folders from the ground up."""
    name = file.relative_to(ROOT / "sqlanalysis").as_posix()
    rooms = ("core", "db", "data", "models", "runs", "embeddings", "evaluation", "page")
    room = name.partition("/")[0]
    return (rooms.index(room) + 1 if room in rooms else 0, name)


GENERATED: dict[str, dict[str, Callable[[], str]]] = {
    "sql/README.md": {"catalogue": catalogue, "dictionary": dictionary},
    "sqlanalysis/README.md": {"modules": modules},
}


def generate(document: str) -> str:
    """The text of a document with its generated parts as they must be."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for name, make in GENERATED[document].items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = text.partition(start)
        _, ended, after = rest.partition(end)
        if not (found and ended):
            raise ValueError(f"{document} lacks the markers of {name}")
        text = f"{before}{start}\n{make()}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    for document in GENERATED:
        (ROOT / document).write_text(generate(document), encoding="utf-8")
