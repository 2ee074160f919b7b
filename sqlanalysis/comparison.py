"""Is one run better than another, where, and is that established: two runs over the same images."""

from __future__ import annotations

from dataclasses import dataclass, field

import duckdb

from . import database, runs, templates
from .errors import QueryError, SchemaError


@dataclass(frozen=True)
class Comparison:
    """What `compare` found: a is the baseline, b the run, every difference is b - a.

    Relations are computed and kept: `.df()`, `.fetchall()`, or print them.
    """

    run: str
    baseline: str
    n: int
    sentence: str
    established: bool
    scores: duckdb.DuckDBPyRelation = field(repr=False)
    mcnemar: duckdb.DuckDBPyRelation = field(repr=False)
    agreement: duckdb.DuckDBPyRelation = field(repr=False)
    classes: duckdb.DuckDBPyRelation = field(repr=False)
    flips: duckdb.DuckDBPyRelation = field(repr=False)

    def __str__(self) -> str:
        return self.sentence


def compare(
    con: duckdb.DuckDBPyConnection,
    run: str,
    baseline: str,
    *,
    level: float = 0.95,
    seed: int = 0,
    force: bool = False,
) -> Comparison:
    """Say whether a run is better than its baseline on the same images, and where; writes nothing.

        found = compare(con, "resnet50", "resnet18")
        print(found, found.scores, found.classes)

    Args:
        con: a connection made by `connect`.
        run: the run in question, b in every table.
        baseline: the run to beat, a in every table.
        level: of the intervals. Of runs that are equally good, at most 1 - level are called better or worse.
        seed: of the bootstrap.
        force: compare the images that both have answered, although view `comparable` says why not to.

    Returns:
        The sentence of `verdict`, whether it is established, the number of images, and the rows of `paired_bootstrap`
        (`scores`: accuracy, balanced accuracy, macro F1), `mcnemar`, `agreement` (churn), `compare_classes` and
        `flips` (the worst 50), as these macros give them in SQL. Shares are fractions; a point in the sentence is 0.01.

    Raises:
        NotFoundError: no such run; names near matches.
        SchemaError: the runs do not compare; the message says why, and whether `force` helps.
        QueryError: a level outside 0 to 1.
    """
    if not 0 < level < 1:
        raise QueryError(f"level {level} is not between 0 and 1; give a share, such as 0.95")
    _check(con, runs.require(con, run).run, runs.require(con, baseline).run, force)
    tables = {baseline: "_compared_a", run: "_compared_b"}

    def rows(metric: str, **values: object) -> duckdb.DuckDBPyRelation:
        sql = templates.render("statements/compare", name=metric, tables=tables, values=list(values))
        return con.sql(sql, params=list(values.values())).materialize()

    try:
        for name, table in tables.items():
            database.execute(con, "statements/create_compared", run=name, name=table)
        sentence, n, *_, established = rows("verdict", level=level).fetchall()[0]
        return Comparison(
            run,
            baseline,
            n,
            sentence,
            established,
            scores=rows("paired_bootstrap", level=level, seed=seed),
            mcnemar=rows("mcnemar", level=level),
            agreement=rows("agreement"),
            classes=rows("compare_classes", level=level),
            flips=rows("flips"),
        )
    finally:
        for table in tables.values():
            database.execute(con, "statements/drop_compared", name=table)


def _check(con: duckdb.DuckDBPyConnection, run: str, baseline: str, force: bool) -> None:
    """Refuse what does not compare."""
    if run == baseline:
        raise SchemaError(f"{run!r} is its own baseline; name another run")
    reason, n_both = database.fetch(con, "statements/read_comparable", [run, baseline])[0]
    if reason is None or (force and n_both):
        return
    way = (
        f"force=True, --force compares the {n_both:,} images that both have answered"
        if n_both
        else "not even by force: it takes labelled images that both have answered, in one label space"
    )
    raise SchemaError(f"{run!r} and {baseline!r} do not compare: {reason} ({way})")
