"""Call the metrics of the catalogue from Python, with names checked first.

A metric is a table macro over the name of a relation: `from accuracy('resnet18')` in any DuckDB shell is
`metric(con, "accuracy", "resnet18")` here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import duckdb

from . import database, templates
from .errors import NotFoundError, QueryError, SchemaError, near_matches

CONTRACT = ("image_id", "label", "pred", "confidence", "probs", "activation")
NEIGHBOURS = ("neighbor_id", "rank", "distance")
# Parameters whose argument is SQL over the relation's columns, not a value.
_SQL_PARAMETERS = ("expr", "cols", "weight")
_ABSENT = re.compile(r'(?:Table with name|No files found that match the pattern) "?(.+?)"?(?: does not exist|$)', re.M)


def metric(
    con: duckdb.DuckDBPyConnection, name: str, relation: str | Path | Sequence[str], /, **values: object
) -> duckdb.DuckDBPyRelation:
    """Compute one metric over a relation; reads the relation, writes nothing.

        metric(con, "accuracy", "resnet18")
        metric(con, "accuracy_by", "resnet18", expr="width_px > 256", level=0.9)
        metric(con, "mcnemar", "resnet18", rel_b="resnet50")

    Args:
        con: a connection made by `connect`.
        name: a metric of `list_metrics`.
        relation: a run, table, view or Parquet path with the columns that the metric reads (of `image_id`, `label`,
            `pred`, `confidence`, `probs`, `activation`), or a list of them, stacked.
        values: the metric's other parameters. They are bound as values, except `expr`, `weight` and `cols`: those are
            SQL over the relation's columns; a list of strings is a row of expressions (`expr`) or of names (`cols`).

    Returns:
        The metric's rows, computed and kept; shares are fractions, not percentages. `.fetchall()`, `.df()` or print it.

    Raises:
        NotFoundError: no such metric, parameter or relation; names near matches.
        SchemaError: the relation lacks a column that the metric reads, or `con` is not one of ours.
        QueryError: a parameter is missing, or DuckDB refused a value; the original is `__cause__`.
        TypeError: `relation` or an SQL parameter is neither text nor a list of text.
    """
    parameters = _parameters(con, name)
    unknown = [value for value in values if value not in parameters[1:]]
    if unknown:
        takes = ", ".join(parameters[1:]) or "no parameter beside the relation"
        raise NotFoundError(f"{name} has no parameter {unknown[0]!r}; it takes {takes}")
    texts = {key: _sql(key, value) if key in _SQL_PARAMETERS else None for key, value in values.items()}
    source = _relation(relation)
    bound = [source, *(value for key, value in values.items() if texts[key] is None)]
    sql = templates.render("statements/metric", name=name, values=texts)
    try:
        return con.sql(sql, params=bound).materialize()
    except duckdb.Error as error:
        raise _explain(con, name, source, error) from error


def list_metrics(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
    """List the metrics that `metric` can call; the catalogue of this file.

    Args:
        con: a connection made by `connect`.

    Returns:
        One row per metric: name, parameters (the relation first), description.

    Raises:
        SchemaError: `con` is not one of ours.
    """
    try:
        return con.sql(templates.render("statements/list_metrics"))
    except duckdb.CatalogException as error:
        raise SchemaError("this connection has no metrics; open the file with `sqlanalysis.connect(path)`") from error


def _parameters(con: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    try:
        rows = list_metrics(con).fetchall()
    except duckdb.Error as error:
        raise QueryError(f"{name}: {str(error).strip()}") from error
    known = {metric_name: parameters for metric_name, parameters, _ in rows}
    if name not in known:
        raise NotFoundError(f"no metric {name!r}{near_matches(name, known)}")
    return [parameter.strip() for parameter in known[name].split(",")]


def _relation(relation: str | Path | Sequence[str]) -> str | list[str]:
    if isinstance(relation, str | Path):
        names = [str(relation)]
    elif isinstance(relation, list | tuple) and all(isinstance(one, str) for one in relation):
        names = list(relation)
    else:
        raise TypeError(f"a relation is given by name, or as a list of names, not as {type(relation).__name__}")
    if not names or not all(name.strip() for name in names):
        raise NotFoundError("the relation has no name; give a run, table, view or Parquet path")
    return names[0] if isinstance(relation, str | Path) else names


def _sql(parameter: str, value: object) -> str:
    """The SQL text of one argument, proven to be a single expression."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not parts or not all(isinstance(part, str) for part in parts):
        raise TypeError(f"{parameter} is SQL text, or a list of it, not {value!r}")
    if isinstance(value, str):
        return _expression(parameter, value)
    if parameter == "cols":
        return "[" + ", ".join(templates.literal(part) for part in parts) + "]"
    return "row(" + ", ".join(_expression(parameter, part) for part in parts) + ")"


def _expression(parameter: str, text: str) -> str:
    try:
        duckdb.SQLExpression(text)
    except duckdb.Error as error:
        raise QueryError(f"{parameter} is not one SQL expression: {text!r}: {str(error).splitlines()[0]}") from error
    return f"{text}\n"


def _explain(
    con: duckdb.DuckDBPyConnection, name: str, relation: str | list[str], error: duckdb.Error
) -> NotFoundError | SchemaError | QueryError:
    """Say in our words what DuckDB refused."""
    text = str(error).strip()
    absent = _ABSENT.search(text)
    if absent:
        wanted = absent[1]
        if wanted.endswith("_neighbours"):
            return NotFoundError(f"no relation {wanted!r}; find_neighbours makes it, once the run has activations")
        known = [row[0] for row in database.fetch(con, "statements/list_relations")]
        return NotFoundError(f"no relation {wanted!r}{near_matches(wanted, known)}")
    column = re.search(r'(?:Referenced column|Column) "([^"]+)" (?:not found|was selected but was not found)', text)
    if column:
        if column[1] in NEIGHBOURS and "nbr" in _parameters(con, name):
            return SchemaError(
                f"{name} reads a column {column[1]!r}, which is not there: give it neighbours, such as the view "
                "resnet18_neighbours that find_neighbours makes"
            )
        found = _columns(con, relation)
        if column[1] not in CONTRACT:
            return SchemaError(f"{relation!r} has no column {column[1]!r}{near_matches(column[1], found)}")
        return SchemaError(
            f"{relation!r} has no column {column[1]!r}, which {name} reads; the columns of metrics are "
            f"{', '.join(CONTRACT)}, here there are: {', '.join(found)}"
        )
    if re.search(r"(No function matches|Cannot compare values of type) .*VARCHAR", text):
        return SchemaError(f"{relation!r}: label and pred are 0-based integers, here one is text; map names to classes")
    return QueryError(f"{name}: {text}")


def _columns(con: duckdb.DuckDBPyConnection, relation: str | list[str]) -> list[str]:
    return con.sql(templates.render("statements/relation_columns"), params=[relation]).columns
