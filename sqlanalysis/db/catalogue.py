"""What this package installs into a file: tables, macros and views, each with a comment that `help` reads."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

import duckdb

from ..core.faults import point
from ..errors import SchemaError
from . import templates
from .statements import execute, fetch, transaction

SCHEMA_VERSION = 2
# Views whose text depends on the runs of a file, made by these templates.
_MADE = ("recreate_run_view", "recreate_predictions")


def fingerprint() -> str:
    """Changes with every character of what is installed."""
    kinds = ("tables", *templates.MACROS, "views")
    texts = [one.text for one in (*templates.installed(*kinds), *map(templates.find, _MADE))]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def check_version(con: duckdb.DuckDBPyConnection, where: Path) -> None:
    """Refuse a file of something else, or of another version of the layout.

    Raises:
        SchemaError: with what to do.
    """
    if not fetch(con, "has_version_table")[0][0]:
        raise SchemaError(f"{where} is a DuckDB file of something else; give a new path, `attach` the old one to it")
    version = fetch(con, "read_version")[0][0]
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"{where} has schema version {version}, this is version {SCHEMA_VERSION}; upgrade sqlanalysis"
        )
    if version < SCHEMA_VERSION:
        raise SchemaError(
            f"{where} was made by a development version (schema {version}); make it again: move the file away, then "
            "add its images and predict once more"
        )


def install(con: duckdb.DuckDBPyConnection) -> None:
    """Create everything in a new database."""
    with transaction(con):
        _create(con)
        recreate_run_views(con, [])
        values = [SCHEMA_VERSION, fingerprint(), importlib.metadata.version("sqlanalysis")]
        execute(con, "insert_version", values)


def refresh(con: duckdb.DuckDBPyConnection) -> None:
    """Bring the package's own views and macros up to date; objects of the user stay."""
    if fetch(con, "read_version")[0][1] == fingerprint():
        return
    ours = {one.name for one in templates.installed(*templates.MACROS)}
    with transaction(con):
        # Replacing a macro that others use breaks IMPORT DATABASE (duckdb issue 20041): drop all, then create.
        for name, kind in fetch(con, "list_macros"):
            if name in ours:
                execute(con, "drop_macro", name=name, table=kind == "table_macro")
        point("migrate")
        _create(con)
        recreate_run_views(con, [row[0] for row in fetch(con, "list_runs")])
        execute(con, "update_catalogue", [fingerprint()])


def recreate_run_views(con: duckdb.DuckDBPyConnection, runs: list[str]) -> None:
    """Create the views of these runs again, and `predictions`, the union over all runs."""
    for run in runs:
        names = [row[0] for row in fetch(con, "list_columns", ["outputs", run])]
        execute(con, "recreate_run_view", run=run, names=names)
        comment(con, "view", run, "runs", templates.find("recreate_run_view").summary)
    predicting = [row[0] for row in fetch(con, "list_predicting_runs")]
    execute(con, "recreate_predictions", runs=predicting)
    comment(con, "view", "predictions", "views", templates.find("recreate_predictions").summary)


def comment(
    con: duckdb.DuckDBPyConnection,
    kind: str,
    name: str,
    topic: str,
    summary: str,
    signature: str = "",
    example: str = "",
) -> None:
    """Write the comment of an object, in the form that the view `help` takes apart."""
    text = f"{topic}: {summary}\n{signature}\n{example or f'from {name}'}"
    execute(con, "comment", kind=kind, name=name, text=text)


def _create(con: duckdb.DuckDBPyConnection) -> None:
    for one in (*templates.installed("tables"), *templates.installed(*templates.MACROS)):
        _create_object(con, one)
    execute(con, "recreate_predictions", runs=[])  # views read it
    for one in templates.installed("views"):
        _create_object(con, one)


def _create_object(con: duckdb.DuckDBPyConnection, one: templates.Template) -> None:
    con.execute(one.text)
    if one.name == "outputs":  # a schema, which takes no comment
        return
    kind = {"tables": "table", "views": "view"}.get(one.kind, "macro table" if one.is_table_macro else "macro")
    comment(con, kind, one.name, one.topic, one.summary, one.signature, one.example)
