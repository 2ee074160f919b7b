"""A page of one split: in its own session, views of that split stand in place of the runs and of what counts them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from ..db import catalogue, parts, statements, templates
from ..db.alone import in_transaction
from ..db.connection import cursor_of
from ..errors import NotFoundError, QueryError, near_matches


@dataclass(frozen=True)
class Scope:
    """The split of a page, and the statements that make its views, by the name that each hides; later read earlier."""

    split: str
    views: dict[str, str]

    def over(self, sql: str) -> str:
        """A query after the statements that give it the numbers of the page, in any shell on the file."""
        for name, text in reversed(self.views.items()):
            if re.search(rf"""(\b(from|join) |['"]){re.escape(name)}(?!\w)""", sql):
                sql = f"{text}\n{sql}"
        return sql


def having(con: duckdb.DuckDBPyConnection, runs: Sequence[str], split: str, *, each: bool) -> list[str]:
    """The runs with images of a split.

    Raises:
        NotFoundError: none has, or with `each` one has not; the message names the splits of the first of them.
    """
    splits = {run: [name for (name,) in statements.fetch(con, "split_names", run=run)] for run in runs}
    lacking = [run for run in runs if split not in splits[run]]
    if lacking and (each or lacking == list(runs)):
        known = splits[lacking[0]]
        others = near_matches(split, known) if known else "; its images have no split"
        raise NotFoundError(f"run {lacking[0]!r} has no image of split {split!r}{others}")
    return [run for run in runs if run not in lacking]


@contextlib.contextmanager
def of_split(
    con: duckdb.DuckDBPyConnection, runs: Sequence[str], split: str
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Scope]]:
    """A session on the same file in which these runs have the images of one split only.

    Its views bear the names of what they hide, so that every query and macro reads them as it is. Copies and near
    duplicates are still looked for among the images of all splits.

    Raises:
        QueryError: `con` has an open transaction, whose rows no other session sees.
    """
    if in_transaction(con):
        raise QueryError("a transaction is open on this connection; commit or roll back first")
    cursor = cursor_of(con)
    try:
        statements.configure(cursor)
        file = templates.ident(statements.fetch(cursor, "database_name")[0][0])
        whole = {name: f"{file}.main.{templates.ident(name)}" for name in (*runs, "errors", "runs")}
        outputs = {run: f"{file}.outputs.{templates.ident(run)}" for run in runs}
        kept = _kept(cursor, runs)
        moved = {run: f"({parts.inline(cursor, run)})" for run in parts.runs(cursor) if run in kept}
        for text in _views(cursor, {**whole, **kept}, {**outputs, **moved}, split).values():
            try:
                cursor.execute(text)
            except duckdb.Error as error:
                raise QueryError(f"the view of split {split!r}: {statements.explain(error)}") from error
        yield cursor, Scope(split, _views(cursor, whole, outputs, split))
    finally:
        cursor.close()


def _kept(con: duckdb.DuckDBPyConnection, runs: Sequence[str]) -> dict[str, str]:
    """Where a file of someone else has another view of a run, this session has its own: it is kept under a new name."""
    kept = {}
    for number, run in enumerate(runs):
        if statements.fetch(con, "has_temporary", name=run)[0][0]:
            name = f"_whole_{number}"
            statements.execute(con, "keep_temporary", name=run, kept=name)
            kept[run] = f"temp.main.{name}"
    return kept


def _views(
    con: duckdb.DuckDBPyConnection, whole: Mapping[str, str], outputs: Mapping[str, str], split: str
) -> dict[str, str]:
    views = {run: templates.render("split_of_run", run=run, whole=whole[run], split=split) for run in outputs}
    views["errors"] = templates.render("split_of_errors", whole=whole["errors"], split=split)
    views["runs"] = templates.render(
        "split_of_runs", counted=outputs, whole_errors=whole["errors"], whole_runs=whole["runs"], split=split
    )
    columns = {run: {name for (name,) in statements.fetch(con, "list_columns", ["outputs", run])} for run in outputs}
    predicting = [run for run, names in columns.items() if {"pred", "confidence"} <= names]
    with_probs = [run for run in predicting if "probs" in columns[run]]
    views["predictions"] = catalogue.temporary(
        templates.render("recreate_predictions", runs=predicting, runs_with_probs=with_probs)
    )
    views["comparable"] = catalogue.temporary(templates.render("comparable"))
    return views
