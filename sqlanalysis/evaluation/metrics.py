"""Call the metrics of the catalogue from Python, with names checked first.

A metric is a table macro over the name of a relation: `from accuracy('resnet18')` in any DuckDB shell is
`metric(con, "accuracy", "resnet18")` here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from ..db import statements, templates
from ..errors import ArgumentError, NotFoundError, QueryError, SchemaError, near_matches

CONTRACT = ("image_id", "label", "pred", "confidence", "probs", "activation")
NEIGHBORS = ("neighbor_id", "rank", "distance")
# Parameters whose argument is SQL over the relation's columns, not a value.
_SQL_PARAMETERS = ("expr", "cols", "weight")
# Parameters that name a second relation.
_RELATIONS = ("baseline", "rel_cur", "neighbors")
_ABSENT = re.compile(r'(?:Table with name|No files found that match the pattern) "?(.+?)"?(?: does not exist|$)', re.M)

Relation = str | Path | Sequence[str] | duckdb.DuckDBPyRelation


def metric(
    con: duckdb.DuckDBPyConnection, name: str, relation: Relation, /, **values: object
) -> duckdb.DuckDBPyRelation:
    """Compute one metric over a relation; reads the relation, writes nothing.

        metric(con, "accuracy", "resnet18")
        metric(con, "accuracy", con.sql("from resnet18 where width_px > 256"))
        metric(con, "accuracy_by", "resnet18", expr="width_px > 256", level=0.9)
        metric(con, "mcnemar", "resnet50", baseline="resnet18")

    Args:
        con: a connection made by `connect`.
        name: a metric of `list_metrics`.
        relation: a run, table, view or Parquet path with the columns that the metric reads (of `image_id`, `label`,
            `pred`, `confidence`, `probs`, `activation`), a list of them, stacked, or a relation of this connection.
        values: the metric's other parameters. They are bound as values, except `expr`, `weight` and `cols`: those are
            SQL over the relation's columns; a list of strings is a row of expressions (`expr`) or of names (`cols`).
            `baseline`, `rel_cur` and `neighbors` take a name or a relation, too.

    Returns:
        The metric's rows, computed and kept; shares are fractions, not percentages. `.fetchall()`, `.df()` or print it.

    Raises:
        ArgumentError: a parameter is unknown, missing, or of the wrong type.
        NotFoundError: no such metric or relation; names near matches.
        SchemaError: the relation lacks a column that the metric reads, or `con` is not one of ours.
        QueryError: DuckDB refused a value; the original is `__cause__`.
    """
    parameters = _parameters(con, name)
    _check_values(name, parameters, values)
    texts = {key: _sql(key, value) if key in _SQL_PARAMETERS else None for key, value in values.items()}
    with _names(con, {"rel": relation, **{key: value for key, value in values.items() if key in _RELATIONS}}) as names:
        source = names["rel"]
        bound = [source, *(names.get(key, value) for key, value in values.items() if texts[key] is None)]
        sql = templates.render("metric", name=name, values=texts)
        try:
            return con.sql(sql, params=bound).materialize()
        except duckdb.Error as error:
            raise _explain(con, name, source, error) from error


def list_metrics(con: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
    """List the metrics that `metric` can call.

    Args:
        con: a connection made by `connect`: the metrics of that file, also those you made yourself. None: those of this
            package; no file is needed.

    Returns:
        One row per metric: name, topic, signature, description, example.

    Raises:
        SchemaError: `con` is not one of ours.
    """
    if con is None:
        return _own_metrics()
    try:
        return con.sql(templates.render("list_metrics"))
    except duckdb.CatalogException as error:
        raise SchemaError("this connection has no metrics; open the file with `sqlanalysis.connect(path)`") from error


def _own_metrics() -> duckdb.DuckDBPyRelation:
    import pyarrow as pa

    found = templates.metrics()
    columns = {
        "name": [one.name for one in found],
        "topic": [one.topic for one in found],
        "signature": [one.signature for one in found],
        "description": [one.summary for one in found],
        "example": [one.example for one in found],
    }
    return duckdb.connect().from_arrow(pa.table(columns))


def _parameters(con: duckdb.DuckDBPyConnection, name: str) -> dict[str, bool]:
    """Parameters of a metric, the relation first, and whether each must be given."""
    try:
        rows = list_metrics(con).fetchall()
    except duckdb.Error as error:
        raise QueryError(f"{name}: {str(error).strip()}") from error
    signatures = {row[0]: row[2] if row[1] != "yours" else "" for row in rows}
    if name not in signatures:
        raise NotFoundError(f"no metric {name!r}{near_matches(name, signatures)}")
    required = templates.required_parameters(signatures[name])  # of a user's own macro DuckDB does not tell defaults
    known: list[str] = statements.fetch(con, "read_parameters", [name])[0][0]
    return {parameter: parameter in required for parameter in known}


def _check_values(name: str, parameters: dict[str, bool], values: dict[str, object]) -> None:
    others = list(parameters)[1:]
    unknown = [value for value in values if value not in others]
    if unknown:
        takes = ", ".join(others) or "no parameter beside the relation"
        raise ArgumentError(f"{name} has no parameter {unknown[0]!r}; it takes {takes}")
    missing = [parameter for parameter in others if parameters[parameter] and parameter not in values]
    if missing:
        raise ArgumentError(f"{name} needs {', '.join(missing)}: give {missing[0]}=")


@contextmanager
def _names(con: duckdb.DuckDBPyConnection, relations: dict[str, object]) -> Iterator[dict[str, str | list[str]]]:
    """What DuckDB is told for each relation: names as they are, relation objects under a name of their own."""
    found: dict[str, str | list[str]] = {}
    views = []
    for parameter, relation in relations.items():
        if isinstance(relation, duckdb.DuckDBPyRelation):
            views.append(f"given_{parameter}")
            try:
                con.register(views[-1], relation)
            except duckdb.Error as error:
                raise ArgumentError(
                    f"{parameter} is a relation of another connection; make it with this one"
                ) from error
            found[parameter] = views[-1]
        else:
            found[parameter] = _relation(relation)
    try:
        yield found
    finally:
        for view in views:
            con.unregister(view)


def _relation(relation: object) -> str | list[str]:
    if isinstance(relation, str | Path):
        names = [str(relation)]
    elif isinstance(relation, list | tuple) and all(isinstance(one, str) for one in relation):
        names = list(relation)
    else:
        raise ArgumentError(
            f"a relation is a name, a list of names, or a relation of the connection, not {type(relation).__name__}"
        )
    if not names or not all(name.strip() for name in names):
        raise ArgumentError("the relation has no name; give a run, table, view or Parquet path")
    return names[0] if isinstance(relation, str | Path) else names


def _sql(parameter: str, value: object) -> str:
    """The SQL text of one argument, proven to be a single expression."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not parts or not all(isinstance(part, str) for part in parts):
        raise ArgumentError(f"{parameter} is SQL text, or a list of it, not {value!r}")
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
        if wanted.endswith("_neighbors"):
            return NotFoundError(f"no relation {wanted!r}; find_neighbors makes it, once the run has activations")
        known = [row[0] for row in statements.fetch(con, "list_relations")]
        return NotFoundError(f"no relation {wanted!r}{near_matches(wanted, known)}")
    column = re.search(r'(?:Referenced column|Column) "([^"]+)" (?:not found|was selected but was not found)', text)
    if column:
        if column[1] in NEIGHBORS and "neighbors" in _parameters(con, name):
            return SchemaError(
                f"{name} reads a column {column[1]!r}, which is not there: give it neighbors, such as the view "
                "resnet18_neighbors that find_neighbors makes"
            )
        found = _columns(con, relation)
        if column[1] not in CONTRACT:
            return SchemaError(f"{relation!r} has no column {column[1]!r}{near_matches(column[1], found)}")
        return SchemaError(
            f"{relation!r} has no column {column[1]!r}, which {name} reads; the columns of metrics are "
            f"{', '.join(CONTRACT)}, here there are: {', '.join(found)}"
        )
    if re.search(r"(No function matches|Cannot compare values of type|Cannot combine types of) .*VARCHAR", text):
        return SchemaError(f"{relation!r}: label and pred are 0-based integers, here one is text; map names to classes")
    return QueryError(f"{name}: {text}")


def _columns(con: duckdb.DuckDBPyConnection, relation: str | list[str]) -> list[str]:
    return con.sql(templates.render("relation_columns"), params=[relation]).columns
