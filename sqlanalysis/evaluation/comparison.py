"""Is one run better than another, where, and is that established: two runs over the same images."""

from __future__ import annotations

from dataclasses import dataclass, field

import duckdb

from ..core.results import Result
from ..db import statements, templates
from ..errors import ArgumentError, SchemaError
from ..runs import run as runs


@dataclass(frozen=True, repr=False)
class Comparison(Result):
    """What `compare` found; every difference is run − baseline.

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
        run: the run in question.
        baseline: the run to beat.
        level: of the intervals. Of runs that are equally good, at most 1 - level are called better or worse.
        seed: of the bootstrap.
        force: compare the images that both have answered, although view `comparable` says why not to.

    Returns:
        The sentence of `verdict`, whether it is established, the number of images, and the rows of `paired_bootstrap`
        (`scores`: accuracy, balanced accuracy, macro F1), `mcnemar`, `agreement` (churn), `compare_classes` and
        `flips` (the worst 50), as these macros give them in SQL. Shares are fractions; a point in the sentence is 0.01.

    Raises:
        ArgumentError: a level outside 0 to 1, or a run as its own baseline.
        NotFoundError: no such run; names near matches.
        SchemaError: the runs do not compare; the message says why, and whether `force` helps.
    """
    if not 0 < level < 1:
        raise ArgumentError(f"level {level} is not between 0 and 1; give a share, such as 0.95")
    _check(con, runs.require(con, run).run, runs.require(con, baseline).run, force)
    tables = {run: "_compared_run", baseline: "_compared_baseline"}

    def rows(metric: str, **values: object) -> duckdb.DuckDBPyRelation:
        sql = templates.render("compare", name=metric, tables=tables, values=list(values))
        return con.sql(sql, params=list(values.values())).materialize()

    try:
        for name, table in tables.items():
            statements.execute(con, "create_compared", run=name, name=table)
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
            statements.execute(con, "drop_compared", name=table)


def _check(con: duckdb.DuckDBPyConnection, run: str, baseline: str, force: bool) -> None:
    """Refuse what does not compare."""
    if run == baseline:
        raise ArgumentError(f"{run!r} is its own baseline; name another run")
    reason, n_both = statements.fetch(con, "read_comparable", [run, baseline])[0]
    if reason is None or (force and n_both):
        return
    way = (
        f"force=True, --force compares the {n_both:,} images that both have answered"
        if n_both
        else "not even by force: it takes labeled images that both have answered, in one label space"
    )
    raise SchemaError(f"{run!r} and {baseline!r} do not compare: {reason} ({way})")
