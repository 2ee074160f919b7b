"""Install the package's tables, macros and views in a file, each with a comment that the view `help` reads."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import re
import tempfile
from pathlib import Path

import duckdb

from ..core import cache, talk
from ..core.faults import point
from ..errors import SchemaError
from . import parts, templates
from .statements import execute, fetch, is_read_only, transaction

SCHEMA_VERSION = 5
# Digest of the definition by kind (table, view, macro, table_macro) and name: a view and a macro may have one name.
Objects = dict[tuple[str, str], str]
# Templates of objects whose text depends on the runs of a file.
_GENERATED = ("recreate_run_view", "recreate_predictions", "recreate_disk_usage")
# Tables that files of this schema may lack, as they were added later: those of a file that is only read are empty.
_LATER = ("label_changes",)
_OVER_RUNS = (("view", "predictions"), ("table_macro", "disk_usage"))


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
        values = [SCHEMA_VERSION, fingerprint(), _version()]
        execute(con, "insert_version", values)


@functools.cache
def _fresh() -> Objects:
    """Digests of the definitions of a new installation; kept in the user's cache, as they take a quarter of a second.

    They depend on the text of what is installed and on the version of DuckDB, never on an evaluation file.
    """
    kept = cache.path(f"catalogue-{fingerprint()[:32]}-{duckdb.__version__}.json")
    known = cache.read(kept)
    if isinstance(known, list) and all(isinstance(row, list) and len(row) == 3 for row in known):
        return {(kind, name): digest for kind, name, digest in known}
    found = _install_anew()
    cache.write(kept, [[*key, digest] for key, digest in found.items()])
    return found


def _install_anew() -> Objects:
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
    return {(kind, name): _digest(definition) for name, kind, definition, _ in fetch(con, "list_objects")}


def _digest(definition: str) -> str:
    # DuckDB keeps the names of EXCLUDE as a set, so that their order changes from file to file.
    text = re.sub(r"EXCLUDE \(([^()]*)\)", lambda names: " ".join(sorted(names[1].split(", "))), definition)
    return hashlib.sha256(text.encode()).hexdigest()


def _key(template: templates.Template) -> tuple[str, str]:
    macro = "table_macro" if template.is_table_macro else "macro"
    return {"tables": "table", "views": "view"}.get(template.kind, macro), template.name


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
    """Names of the package's objects that are missing in the file, or are views and macros of another definition.

    Views of runs count as missing where the run has outputs; what they and the view of all predictions say depends on
    the runs and is not compared.

    Raises:
        SchemaError: a table of the package is none, or has other columns.
    """
    there, fresh = _objects(con), _fresh()
    for (kind, name), definition in fresh.items():
        if kind == "table" and ("view", name) in there:
            raise SchemaError(f"{where}: {name} is a view, not the table that sqlanalysis made; restore a copy")
        if kind == "table" and there.get((kind, name), definition) != definition:
            raise SchemaError(
                f"{where}: {name} has other columns than the table that sqlanalysis made; restore a copy of the file"
            )
    changed = [key[1] for key, known in fresh.items() if there.get(key) != known and key not in _OVER_RUNS]
    return changed + [key[1] for key in _OVER_RUNS if key not in there] + _without_view(con, there)


def _without_view(con: duckdb.DuckDBPyConnection, there: Objects) -> list[str]:
    """Runs that have outputs, and no view."""
    if ("table", "runs") not in there:
        return []
    named = {name for kind, name in there if kind in ("table", "view")}
    return [run for run in _stored_runs(con) if run.lower() not in named]


def _stored_runs(con: duckdb.DuckDBPyConnection) -> list[str]:
    stored = {row[0] for row in fetch(con, "list_outputs")}
    return [run for (run,) in fetch(con, "list_runs") if run in stored]


def shield(con: duckdb.DuckDBPyConnection, where: Path, changed: list[str], moved: list[str]) -> None:
    """Put the package's own objects before those of a file, for this connection; a cursor needs a shield of its own.

    Args:
        con: of the file.
        where: the file, for messages.
        changed: of `check_objects`.
        moved: runs whose views are to read the parts beside the file, of `parts.follow`.

    Raises:
        SchemaError: a table is missing.
    """
    lacking = [template for template in templates.installed("tables") if template.name in changed]
    if any(template.name not in _LATER or not is_read_only(con) for template in lacking):
        raise SchemaError(f"{where} was made by an older sqlanalysis; run `sqlanalysis init {where}` once")
    texts = [template.text for template in lacking]
    texts += [template.text for template in templates.installed(*templates.MACROS) if template.name in changed]
    for run in [run for run in _stored_runs(con) if run in (*changed, *moved)] if changed or moved else []:
        names = [row[0] for row in fetch(con, "list_columns", ["outputs", run])]
        source = parts.inline(con, run) if run in moved else None
        texts.append(templates.render("recreate_run_view", run=run, names=names, source=source))
    if "predictions" in changed:
        texts.append(templates.render("recreate_predictions", **_predicting(con)))
    if "disk_usage" in changed:
        texts.append(templates.render("recreate_disk_usage", **_stored(con)))
    texts += [template.text for template in templates.installed("views") if template.name in changed]
    for text in texts:
        try:
            con.execute(temporary(text))
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise SchemaError(
                f"{where} lacks what views of this package read; restore a copy of it: {reason}"
            ) from error


def temporary(text: str) -> str:
    """The statement that makes an object for this session alone, before that of the file."""
    return re.sub(r"\b(create|replace) (?=macro|view|table)", r"\1 temp ", text, count=1)


def say_shielded(con: duckdb.DuckDBPyConnection, where: Path, changed: list[str]) -> None:
    """Say which objects of the file are not used, and which views of runs it lacks."""
    if newer := _newer(con):
        talk.say(
            [f"{where} was written by sqlanalysis {newer}, newer than this; its views and macros are left as they are"]
        )
    ours = {key[1] for key in (*_fresh(), *_OVER_RUNS)}
    other, gone = [name for name in changed if name in ours], [name for name in changed if name not in ours]
    if other:
        talk.say(
            [f"{where} has other views or macros than this package ({_some(other)}); those of the package are used"]
        )
    if gone:
        talk.say([f"{where} has no view of the runs {_some(gone)}; `sqlanalysis init {where}` makes it again"])


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _newer(con: duckdb.DuckDBPyConnection) -> str | None:
    """The version of the package that wrote the file, if it is newer than this one."""
    known = fetch(con, "read_version")[0][2]
    return known if _numbers(known) > _numbers(_version()) else None


def _version() -> str:
    return importlib.metadata.version("sqlanalysis")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def refresh(con: duckdb.DuckDBPyConnection, where: Path) -> list[str]:
    """Replace the package's views and macros that differ; the user's own objects, and newer ones of the package, stay.

    Returns:
        Names of objects that were left although they differ: of a file that a newer version wrote.

    Raises:
        SchemaError: a table of the package is none, or an object of the user's has a name that the package needs.
    """
    changed, known = check_objects(con, where), fetch(con, "read_version")[0][1] == fingerprint()
    if known and not changed:
        return []
    if not known and _newer(con):
        return changed
    _check_collisions(con, where, changed, known=known)
    if known:
        talk.say([f"{where}: {', '.join(changed)} had been changed or dropped; restored"])
    ours = {_key(macro) for macro in templates.installed(*templates.MACROS)}
    with transaction(con):
        # Replacing a macro that others use breaks IMPORT DATABASE (duckdb issue 20041): drop all, then create.
        for name, macro_type in fetch(con, "list_macros"):
            if (macro_type, name.lower()) in ours:
                execute(con, "drop_macro", name=name, table=macro_type == "table_macro")
        point("migrate")
        _create(con)
        recreate_run_views(con, _stored_runs(con))
        execute(con, "update_catalogue", [fingerprint(), _version()])
    return []


def _check_collisions(con: duckdb.DuckDBPyConnection, where: Path, changed: list[str], *, known: bool) -> None:
    """Refuse to replace what the package did not make: it has not the comment that the package writes.

    In a file of this version (`known`) the package's object was there first, so what has its name and kind was
    changed; but a table in the place of a view is the user's all the same.

    Raises:
        SchemaError: the message names both.
    """
    ours = {_key(template): template for template in templates.installed(*templates.MACROS, "views")}
    for name, kind, _, is_ours in fetch(con, "list_objects"):
        wanted = ours.get((kind, name)) or ours.get(("view" if kind == "table" else "", name))
        if wanted is not None and name in changed and not is_ours and not (known and _key(wanted)[0] == kind):
            own, new = kind.replace("_", " "), _key(wanted)[0].replace("_", " ")
            raise SchemaError(
                f"{where} has a {own} {name!r} of yours, and this version of sqlanalysis has a {new} {name!r} "
                f"({wanted.summary}); keep yours under another name: make it again in a DuckDB shell and drop this "
                "one, then open the file again"
            )


def recreate_run_views(con: duckdb.DuckDBPyConnection, runs: list[str]) -> None:
    """Create or replace the views of these runs, and what is over all runs: `predictions` and `disk_usage`."""
    for run in runs:
        names = [row[0] for row in fetch(con, "list_columns", ["outputs", run])]
        execute(con, "recreate_run_view", run=run, names=names, source=None)
        comment(con, "view", run, "runs", templates.find("recreate_run_view").summary)
    execute(con, "recreate_predictions", **_predicting(con))
    comment(con, "view", "predictions", "views", templates.find("recreate_predictions").summary)
    execute(con, "recreate_disk_usage", **_stored(con))
    summary = templates.find("recreate_disk_usage").summary
    comment(con, "macro table", "disk_usage", "views", summary, "disk_usage()", "from disk_usage()")


def _predicting(con: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """What the view of all predictions is made of."""
    # A view over a run whose parts are not there cannot be made; `follow` adds the run when they are back.
    broken = set(parts.broken(con))
    predicting = {run: has_probs for run, has_probs in fetch(con, "list_predicting_runs") if run not in broken}
    return {"runs": list(predicting), "runs_with_probs": [run for run, has_probs in predicting.items() if has_probs]}


def follow_parts(con: duckdb.DuckDBPyConnection) -> list[str]:
    """As `parts.follow`; and the view of all predictions has the runs whose parts were missing and are back."""
    moved = parts.follow(con)
    if not is_read_only(con) and parts.runs(con):
        wanted, there = _predicting(con), fetch(con, "read_predictions_sql")
        if there and any(f"'{run}'" not in there[0][0] for run in wanted["runs"]):
            with transaction(con):
                recreate_run_views(con, [])
    return moved


def _stored(con: duckdb.DuckDBPyConnection) -> dict[str, object]:
    """Runs with a table of outputs; the tables that the package made, and whether they have a column run."""
    tables = {one.name: "\n    run " in one.text for one in templates.installed("tables") if one.name != "outputs"}
    return {"runs": [row[0] for row in fetch(con, "list_output_tables")], "tables": tables}


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
