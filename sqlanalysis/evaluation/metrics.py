"""Call the metrics of the catalogue from Python, with clear errors for wrong names.

A metric is a table macro over the name of a relation: `from accuracy('resnet18')` in any DuckDB shell is
`metric(con, "accuracy", "resnet18")` here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from ..core.classes import imagenet1k_tree
from ..core.text import decodable
from ..db import statements, templates
from ..errors import ArgumentError, NotFoundError, QueryError, SchemaError, near_matches

CONTRACT = ("image_id", "label", "pred", "confidence", "probs", "activation")
NEIGHBORS = ("neighbor_id", "rank", "distance")
# Parameters whose argument is SQL over the columns of the relation, not a value.
_SQL_PARAMETERS = ("expr", "cols", "weight", "is_right", "groups")
# Parameters that name other relations.
_RELATIONS = ("baseline", "baselines", "rel_cur", "neighbors", "costs", "tree")
_ABSENT = re.compile(r'(?:Table with name|No files found that match the pattern) "?(.+?)"?(?: does not exist|$)', re.M)

_NUMBER = re.compile(r"[0-9.]+(?:e[+-]?[0-9]+)?")
# One text literal: a column name that was quoted twice.
_CONSTANT = re.compile(r"\s*'(?:[^']|'')*'\s*")

Relation = str | Path | Sequence[str] | duckdb.DuckDBPyRelation


def metric(
    con: duckdb.DuckDBPyConnection, name: str, relation: Relation, /, *arguments: object, **values: object
) -> duckdb.DuckDBPyRelation:
    """Compute one metric over a relation; writes nothing.

        metric(con, "accuracy", "resnet18")
        metric(con, "accuracy", con.sql("from resnet18 where width_px > 256"))
        metric(con, "accuracy_by", "resnet18", expr="width_px > 256", level=0.9)
        metric(con, "accuracy_by", "resnet18", "split")
        metric(con, "mcnemar", "resnet50", baseline="resnet18")
        metric(con, "mcnemar", "resnet50", "resnet18", is_right="label_rank(probs, label) <= 5")
        metric(con, "leaderboard", ["resnet50", "resnet18"])
        metric(con, "compare_seeds", ["new_1", "new_2", "new_3"], ["old_1", "old_2", "old_3"])

    Args:
        con: from `connect`.
        name: a metric of `list_metrics`.
        relation: name of a run, table or view, or a Parquet path, with the columns that the metric reads (some of
            `image_id`, `label`, `pred`, `confidence`, `probs`, `activation`); a list of names, which gives one set of
            rows for each, named in the last column `run`; or a relation object of this connection.
        arguments: the parameters after the relation in their order, as in SQL.
        values: the other parameters of the metric, bound as values. Exceptions are `expr`, `weight`, `groups` and
            `cols`, which are SQL over the columns of the relation; there a list of strings is a row of expressions
            (`expr`) or of names (`cols`). `baseline`, `rel_cur` and `neighbors` also take a name or a relation object,
            and `tree` too, or "imagenet1k": WordNet's over the classes of ImageNet-1k, by their names.

    Returns:
        The rows of the metric, already computed; shares are fractions, not percentages. Use `.df()`, `.fetchall()` or
        print it.

    Raises:
        ArgumentError: a parameter is unknown, missing, given twice, or of the wrong type.
        NotFoundError: no such metric or relation; the message suggests similar names.
        SchemaError: the relation lacks a column that the metric reads, or `con` is not from `connect`.
        QueryError: DuckDB refused a value; its error is `__cause__`.
    """
    parameters = _parameters(con, name)
    values = {**name_arguments(con, name, arguments, values), **values}
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


def selection(
    con: duckdb.DuckDBPyConnection, relation: str | list[str], split: str | None = None, where: str | None = None
) -> duckdb.DuckDBPyRelation:
    """The rows of a relation, or of a list, that are of this split and for which an expression is true, for `metric`.

    Args:
        con: from `connect`.
        relation: name of a run, table or view, or a Parquet path, or a list of names.
        split: such as "val"; None takes all.
        where: SQL over the columns of the relation, such as "width_px > 256"; None takes all.

    Raises:
        NotFoundError: no such relation, no row of that split, or none for which `where` is true.
        SchemaError: the relation has no column `split`, or lacks one that `where` reads.
        QueryError: `where` is not one SQL expression.
    """
    if split is not None:
        _check_split(con, relation, split)
    condition = None if where is None else expression("where", where)
    try:
        sql = templates.render("selected_rows", of_split=split is not None, where=condition)
        rows = con.sql(sql, params=[relation] if split is None else [relation, split])
        if not rows.project("run").limit(1).fetchall():  # other columns of two runs may not fit: activations
            raise NotFoundError(f"{relation!r} has no row where {where}")
    except duckdb.Error as error:
        raise _explain(con, "--where", relation, error) from error
    return rows


def _check_split(con: duckdb.DuckDBPyConnection, relation: str | list[str], split: str) -> None:
    try:
        known = con.sql(templates.render("relation_splits"), params=[relation]).fetchall()
    except duckdb.Error as error:
        raise _explain(con, "--split", relation, error) from error
    names = [name for (name,) in known]
    if split not in names:
        raise NotFoundError(f"{relation!r} has no row of split {split!r}{near_matches(split, names)}")


def name_arguments(
    con: duckdb.DuckDBPyConnection, name: str, arguments: Sequence[object], values: Collection[str] = ()
) -> dict[str, object]:
    """The parameters of a metric that arguments after the relation stand for, by their order.

    Args:
        con: from `connect`.
        name: a metric of `list_metrics`.
        arguments: what is given without a name.
        values: names of the parameters that are given by name.

    Raises:
        ArgumentError: more arguments than parameters, or one that is given by name too.
        NotFoundError: no such metric.
    """
    others = list(_parameters(con, name))[1:]
    if len(arguments) > len(others):
        takes = ", ".join(others) or "no parameter"
        raise ArgumentError(f"{name} takes {takes} after the relation, not {len(arguments)} arguments")
    named = dict(zip(others, arguments, strict=False))
    twice = [parameter for parameter in named if parameter in values]
    if twice:
        raise ArgumentError(f"{name}: {twice[0]} is given twice, as {named[twice[0]]!r} and by name")
    return named


def list_metrics(con: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
    """List the metrics that `metric` can call.

    Args:
        con: from `connect`; lists the metrics of that file, including the user's own macros. None lists the metrics of
            this package, which needs no file.

    Returns:
        One row per metric: name, topic, signature, description, example.

    Raises:
        SchemaError: `con` is not from `connect`.
    """
    if con is None:
        return _own_metrics()
    try:
        return con.sql(templates.render("list_metrics"))
    except duckdb.CatalogException as error:
        raise SchemaError("this connection has no metrics; open the file with `sqlanalysis.connect(path)`") from error


def _own_metrics() -> duckdb.DuckDBPyRelation:
    import pyarrow as pa

    macros = templates.metrics()
    columns = {
        "name": [macro.name for macro in macros],
        "topic": [macro.topic for macro in macros],
        "signature": [macro.signature for macro in macros],
        "description": [macro.summary for macro in macros],
        "example": [macro.example for macro in macros],
    }
    return duckdb.connect().from_arrow(pa.table(columns))


def _parameters(con: duckdb.DuckDBPyConnection, name: str) -> dict[str, str | None]:
    """Parameters of a metric, the relation first, each with its default as SQL; None where it has to be given."""
    rows = statements.fetch(con, "read_parameters", [name])
    if not rows:
        try:
            names = [row[0] for row in list_metrics(con).fetchall()]
        except duckdb.Error as error:
            raise QueryError(f"{name}: {str(error).strip()}") from error
        raise NotFoundError(f"no metric {name!r}{near_matches(name, names)}")
    # For a user's own macro nothing is required: DuckDB does not list which of its parameters have defaults.
    known: list[str] = rows[0][0]
    defaults = templates.parameter_defaults(rows[0][1])
    return {parameter: defaults.get(parameter, "") for parameter in known}


def _check_values(name: str, parameters: dict[str, str | None], values: dict[str, object]) -> None:
    others = list(parameters)[1:]
    unknown = [value for value in values if value not in others]
    if unknown:
        takes = ", ".join(others) or "no parameter besides the relation"
        raise ArgumentError(f"{name} has no parameter {unknown[0]!r}; it takes {takes}")
    missing = [parameter for parameter in others if parameters[parameter] is None and parameter not in values]
    if missing:
        raise ArgumentError(f"{name} needs {', '.join(missing)}: give {missing[0]}=")
    for parameter, value in values.items():
        default = parameters[parameter] or ""
        if _NUMBER.fullmatch(default) and isinstance(value, str):
            raise ArgumentError(f"{name}: {parameter} is a number, such as {default}, not {value!r}")


@contextmanager
def _names(con: duckdb.DuckDBPyConnection, relations: dict[str, object]) -> Iterator[dict[str, str | list[str]]]:
    """The name that DuckDB gets for each relation; relation objects are registered as views inside the block."""
    names: dict[str, str | list[str]] = {}
    views = []
    for parameter, relation in relations.items():
        if parameter == "tree" and relation == "imagenet1k":
            relation = con.from_arrow(imagenet1k_tree())
        if isinstance(relation, duckdb.DuckDBPyRelation):
            views.append(f"given_{parameter}")
            try:
                con.register(views[-1], relation)
            except duckdb.Error as error:
                raise ArgumentError(
                    f"{parameter} is a relation of another connection; create it with this one"
                ) from error
            names[parameter] = views[-1]
        else:
            names[parameter] = _relation(relation)
    try:
        yield names
    finally:
        for view in views:
            con.unregister(view)


def _relation(relation: object) -> str | list[str]:
    if isinstance(relation, str | Path):
        names = [str(relation)]
    elif isinstance(relation, list | tuple) and all(isinstance(name, str) for name in relation):
        names = list(relation)
    else:
        raise ArgumentError(
            f"a relation is a name, a list of names, or a relation of the connection, not {type(relation).__name__}"
        )
    if not names or not all(name.strip() for name in names):
        raise ArgumentError("the relation has no name; give a run, table, view or Parquet path")
    return names[0] if isinstance(relation, str | Path) else names


def _sql(parameter: str, value: object) -> str:
    """The SQL text of one argument, checked to be a single expression, since it is not a bound value."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not parts or not all(isinstance(part, str) for part in parts):
        raise ArgumentError(f"{parameter} is SQL text, or a list of it, not {value!r}")
    if isinstance(value, str):
        return expression(parameter, value)
    if parameter == "cols":
        return "[" + ", ".join(templates.literal(part) for part in parts) + "]"
    return "row(" + ", ".join(expression(parameter, part) for part in parts) + ")"


def group_expression(con: duckdb.DuckDBPyConnection, relation: str, groups: str | None) -> str:
    """SQL for the group of each image of a relation, checked; `null` where none is given: each image by itself.

    Args:
        con: from `connect`.
        relation: name of a run, table or view.
        groups: SQL over its columns, such as "patient".

    Raises:
        ArgumentError: it is a quoted constant.
        SchemaError: the relation lacks a column that it reads.
        QueryError: it is not one SQL expression.
    """
    if groups is None:
        return "null"
    text = expression("groups", groups)
    try:
        con.sql(templates.render("metric", name="accuracy", values={"groups": text}), params=[relation])
    except duckdb.Error as error:
        raise _explain(con, "groups", relation, error) from error
    return text


def expression(parameter: str, text: str) -> str:
    """SQL of a caller for a template, checked to be one expression; it ends with a newline.

    Args:
        parameter: what the caller calls it.
        text: the SQL.

    Raises:
        ArgumentError: it is a quoted constant.
        QueryError: it is not one SQL expression.
    """
    if decodable(text) != text:
        raise QueryError(f"{parameter} is not one SQL expression: {decodable(text)!r} is not UTF-8")
    try:
        duckdb.SQLExpression(text)
    except duckdb.Error as error:
        raise QueryError(f"{parameter} is not one SQL expression: {text!r}: {str(error).splitlines()[0]}") from error
    if _CONSTANT.fullmatch(text):
        raise ArgumentError(
            f"{parameter}={text.strip()!r} is a quoted constant, the same for every image; for the column give "
            f"{parameter}={text.strip()[1:-1]!r}"
        )
    return f"{text}\n"  # an expression may end with a comment, hence the newline


def _explain(
    con: duckdb.DuckDBPyConnection, name: str, relation: str | list[str], error: duckdb.Error
) -> NotFoundError | SchemaError | QueryError | ArgumentError:
    """The error of this package for what DuckDB refused."""
    # DuckDB has no error codes, so its messages are matched.
    text = str(error).strip()
    level = re.search(r"level must be between 0 and 1.*", text)
    if level:
        return ArgumentError(f"{name}: {level[0]}")
    if statements.is_about_part(error):
        return QueryError(f"{name}: {statements.explain(error)}")
    absent = _ABSENT.search(text)
    if absent:
        wanted = absent[1]
        if wanted.endswith("_neighbors"):
            return NotFoundError(f"no relation {wanted!r}; find_neighbors creates it for a run with activations")
        known = [row[0] for row in statements.fetch(con, "list_relations")]
        return NotFoundError(f"no relation {wanted!r}{near_matches(wanted, known)}")
    column = re.search(r'(?:Referenced column|Column) "([^"]+)" (?:not found|was selected but was not found)', text)
    if column:
        if column[1] in NEIGHBORS and "neighbors" in _parameters(con, name):
            return SchemaError(
                f"{name} reads a column {column[1]!r}, which is missing: give it neighbors, such as the view "
                "resnet18_neighbors that find_neighbors creates"
            )
        present = _columns(con, relation)
        if column[1] not in CONTRACT:
            return SchemaError(f"{relation!r} has no column {column[1]!r}{near_matches(column[1], present)}")
        return SchemaError(
            f"{relation!r} has no column {column[1]!r}, which {name} reads; the columns of metrics are "
            f"{', '.join(CONTRACT)}, this relation has: {', '.join(present)}"
        )
    if re.search(r"(No function matches|Cannot compare values of type|Cannot combine types of) .*VARCHAR", text):
        return SchemaError(f"{relation!r}: label and pred must be 0-based integers, one is text; map names to classes")
    if "Cannot cast array of size" in text:
        return SchemaError(
            f"{name}: the arrays (probs or activation) of {relation!r} differ in length; call it for each relation"
        )
    # What the macros themselves refuse is a sentence already.
    return QueryError(f"{name}: {text.removeprefix('Invalid Input Error: ')}")


def _columns(con: duckdb.DuckDBPyConnection, relation: str | list[str]) -> list[str]:
    return con.sql(templates.render("relation_columns"), params=[relation]).columns
