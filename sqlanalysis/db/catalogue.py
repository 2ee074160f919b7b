"""Install the package's tables, macros and views in a file, each with a comment that the view `help` reads."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import re
import tempfile
from pathlib import Path

import duckdb

from ..core import talk
from ..core.faults import point
from ..errors import SchemaError
from . import templates
from .statements import execute, fetch, transaction

SCHEMA_VERSION = 4
Objects = dict[str, tuple[str, str]]  # kind and definition by name
# Templates of objects whose text depends on the runs of a file.
_GENERATED = ("recreate_run_view", "recreate_predictions", "recreate_disk_usage")


def fingerprint() -> str:
    """SHA-256 of the text of everything that is installed, as hexadecimal digits."""
    folders = ("tables", *templates.MACROS, "views")
    texts = [part.text for part in (*templates.installed(*folders), *map(templates.find, _GENERATED))]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def check_version(con: duckdb.DuckDBPyConnection, where: Path) -> None:
    """Refuse a file that this package did not make, or that has another schema version.

    Raises:
        SchemaError: the message says what to do.
    """
    if not fetch(con, "has_version_table")[0][0]:
        raise SchemaError(f"{where} was not made by sqlanalysis; give a new path, and `attach` this file there")
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
    """Create all tables, macros and views in a new database."""
    with transaction(con):
        _create(con)
        recreate_run_views(con, [])
        values = [SCHEMA_VERSION, fingerprint(), importlib.metadata.version("sqlanalysis")]
        execute(con, "insert_version", values)


@functools.cache
def _fresh() -> Objects:
    """A new installation, read from a file: DuckDB prints what it has just parsed in another way."""
    with tempfile.TemporaryDirectory(prefix="sqlanalysis-") as folder:
        file = str(Path(folder) / "fresh.duckdb")

        def opened(*, new: bool) -> duckdb.DuckDBPyConnection:
            con = duckdb.connect()
            # Of the storage version of the user's file, which decides how a definition is kept.
            con.execute(templates.render("attach", path=file, alias="fresh", read_only=False, new=new))
            return con.execute(templates.render("use", alias="fresh"))

        with opened(new=True) as con, transaction(con):
            _create(con, comments=False)
        with opened(new=False) as con:
            return _objects(con)


def _objects(con: duckdb.DuckDBPyConnection) -> Objects:
    def normal(text: str) -> str:
        # DuckDB keeps the names of EXCLUDE as a set, so that their order changes from file to file.
        return re.sub(r"EXCLUDE \(([^()]*)\)", lambda names: " ".join(sorted(names[1].split(", "))), text)

    return {name: (kind, normal(definition)) for name, kind, definition in fetch(con, "list_objects")}


def check_functions(con: duckdb.DuckDBPyConnection, where: Path) -> None:
    """Refuse macros that take the place of functions and operators of DuckDB; asked first, as all SQL uses those.

    Raises:
        SchemaError: the message names them.
    """
    ours = {macro.name for macro in templates.installed(*templates.MACROS)}
    shadowing = [row[0] for row in fetch(con, "list_shadowing") if row[0] not in ours]
    if shadowing:
        raise SchemaError(
            f"{where} has macros that take the place of DuckDB's own functions: {', '.join(shadowing)}; every number "
            f"would depend on them: rename or drop them in a DuckDB shell, such as `drop macro {shadowing[0]}`"
        )


def check_objects(con: duckdb.DuckDBPyConnection, where: Path) -> list[str]:
    """The package's objects that are missing in the file, or are views and macros of another definition.

    Raises:
        SchemaError: a table of the package is none, or has other columns.
    """
    there, fresh = _objects(con), _fresh()
    for name, (kind, definition) in fresh.items():
        if kind == "table" and there.get(name, (kind, definition)) != (kind, definition):
            held = there[name][0]
            what = "has other columns than" if held == "table" else f"is a {held}, not"
            raise SchemaError(f"{where}: {name} {what} the table that sqlanalysis made; restore a copy of the file")
    generated = {"predictions"}  # its text depends on the runs
    return [name for name, known in fresh.items() if name not in generated and there.get(name) != known]


def shield(con: duckdb.DuckDBPyConnection, where: Path, changed: list[str]) -> None:
    """Put the package's own objects before those of a file that is only read, for this connection, and say so.

    Raises:
        SchemaError: a table is missing.
    """
    for template in templates.installed("tables", *templates.MACROS, "views"):
        if template.name in changed and template.kind == "tables":
            raise SchemaError(f"{where} was made by an older sqlanalysis; run `sqlanalysis init {where}` once")
        if template.name in changed:
            con.execute(re.sub(r"\breplace (?=macro|view)", "replace temp ", template.text, count=1))
    if changed:
        named = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        talk.say([f"{where} has other views or macros than this package ({named}); those of the package are used"])


def refresh(con: duckdb.DuckDBPyConnection, where: Path) -> None:
    """Replace the package's views and macros if their text has changed; the user's own objects stay."""
    changed, known = check_objects(con, where), fetch(con, "read_version")[0][1] == fingerprint()
    if known and not changed:
        return
    if known:
        talk.say([f"{where}: {', '.join(changed)} had been changed or dropped; restored"])
    ours = {macro.name for macro in templates.installed(*templates.MACROS)}
    with transaction(con):
        # Replacing a macro that others use breaks IMPORT DATABASE (duckdb issue 20041): drop all, then create.
        for name, macro_type in fetch(con, "list_macros"):
            if name in ours:
                execute(con, "drop_macro", name=name, table=macro_type == "table_macro")
        point("migrate")
        _create(con)
        recreate_run_views(con, [row[0] for row in fetch(con, "list_runs")])
        execute(con, "update_catalogue", [fingerprint()])


def recreate_run_views(con: duckdb.DuckDBPyConnection, runs: list[str]) -> None:
    """Create or replace the views of these runs, and what is over all runs: `predictions` and `disk_usage`."""
    for run in runs:
        names = [row[0] for row in fetch(con, "list_columns", ["outputs", run])]
        execute(con, "recreate_run_view", run=run, names=names)
        comment(con, "view", run, "runs", templates.find("recreate_run_view").summary)
    predicting = dict(fetch(con, "list_predicting_runs"))
    with_probs = [run for run, has_probs in predicting.items() if has_probs]
    execute(con, "recreate_predictions", runs=list(predicting), runs_with_probs=with_probs)
    comment(con, "view", "predictions", "views", templates.find("recreate_predictions").summary)
    # The tables that the package made, and whether they have a column run.
    tables = {one.name: "\n    run " in one.text for one in templates.installed("tables") if one.name != "outputs"}
    execute(con, "recreate_disk_usage", runs=[row[0] for row in fetch(con, "list_output_tables")], tables=tables)
    summary = templates.find("recreate_disk_usage").summary
    comment(con, "macro table", "disk_usage", "views", summary, "disk_usage()", "from disk_usage()")


def comment(
    con: duckdb.DuckDBPyConnection,
    object_type: str,
    name: str,
    topic: str,
    summary: str,
    signature: str = "",
    example: str = "",
) -> None:
    """Write the comment of an object in the form that the view `help` parses: summary, signature and example lines."""
    text = f"{topic}: {summary}\n{signature}\n{example or f'from {name}'}"
    execute(con, "comment", kind=object_type, name=name, text=text)


def _create(con: duckdb.DuckDBPyConnection, *, comments: bool = True) -> None:
    for template in (*templates.installed("tables"), *templates.installed(*templates.MACROS)):
        _create_object(con, template, comments=comments)
    execute(con, "recreate_predictions", runs=[], runs_with_probs=[])  # before the views, which read it
    for template in templates.installed("views"):
        _create_object(con, template, comments=comments)


def _create_object(con: duckdb.DuckDBPyConnection, template: templates.Template, *, comments: bool) -> None:
    con.execute(template.text)
    if not comments or template.name == "outputs":  # a schema, which takes no comment
        return
    macro_type = "macro table" if template.is_table_macro else "macro"
    object_type = {"tables": "table", "views": "view"}.get(template.kind, macro_type)
    comment(con, object_type, template.name, template.topic, template.summary, template.signature, template.example)
