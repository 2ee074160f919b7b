"""Compare a run with a baseline over the same images: which is better, where, and whether that is established."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace

import duckdb

from ..core import figures, tables
from ..core.results import Result
from ..data.label_spaces import read_classes
from ..db import statements, templates
from ..errors import ArgumentError, QueryError, SchemaError
from ..runs import run as runs
from .metrics import group_expression

# The metrics of a comparison that take groups.
_GROUPED = ("verdict", "mcnemar", "paired_bootstrap", "compare_classes")

SHOWN_CLASSES = 10  # in a notebook

_SAMPLED = (
    "the images that both have answered are compared, and the interval does not allow for a stop after looking at them "
    "(runs.sample has one that does)"
)


@dataclass(frozen=True, repr=False)
class Comparison(Result):
    """The result of `compare`; every difference is run − baseline.

    The relations are already computed: use `.df()` or `.fetchall()`, or print them. `class_names` are by index, as in
    `classes`.
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
    class_names: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return self.sentence

    def _lead(self) -> str:
        return f"{self.sentence}{'' if self.sentence.endswith('.') else '.'}"

    def _tables(self) -> list[tables.Table]:
        with contextlib.suppress(duckdb.Error):  # the connection is closed: the sentence stays
            return [self._score_table(), self._class_table()]
        return []

    def _score_table(self) -> tables.Table:
        rows = []
        for metric, of_run, of_baseline, *change, p in self.scores.project(
            "metric, value_run, value_baseline, diff, ci_low, ci_high, p_two_sided"
        ).fetchall():
            figure = figures.decimal if "f1" in metric.lower() else figures.percent
            values = [figure(of_run), figure(of_baseline), *_change(*change), figures.p_value(p)]
            tone = tables.difference(*change[1:])
            rows.append([tables.Cell(metric.replace("_", " ")), *_toned(values, tone)])
        columns = ("", self.run, self.baseline, "difference, points", "interval", "p")
        note = f"{self.n:,} images of both; {self.run} − {self.baseline}, gray where the interval has zero."
        return tables.Table(columns, rows, _NUMERIC, "Scores", [note])

    def _class_table(self) -> tables.Table:
        found = self.classes.project("class, n, recall_run, recall_baseline, diff, ci_low, ci_high, p_holm").fetchall()
        rows = []
        for number, n, of_run, of_baseline, *change, p in found[:SHOWN_CLASSES]:
            name = self.class_names[number] if 0 <= number < len(self.class_names) else number
            values = [figures.percent(of_run), figures.percent(of_baseline), *_change(*change), figures.p_value(p)]
            tone = tables.difference(*change[1:])
            rows.append([tables.Cell(str(name)), tables.Cell(figures.count(n)), *_toned(values, tone)])
        changed = sum(p is not None and p < 0.05 for *_, p in found)
        note = [f"{changed:,} of {len(found):,} classes differ after correction for all of them (Holm, 0.05)."]
        if len(found) > SHOWN_CLASSES:
            note.append(f"The first {SHOWN_CLASSES} are shown; .classes has all.")
        names = ("class", "n", self.run, self.baseline, "difference, points", "interval", "p, corrected")
        return tables.Table(names, rows, (False, True, *_NUMERIC[1:]), "Recall by class", note)


_NUMERIC = (False, True, True, True, True, True)


def _change(diff: float | None, low: float | None, high: float | None) -> list[str]:
    return [figures.points(diff), figures.points_interval({"ci_low": low, "ci_high": high})]


def _toned(values: list[str], tone: str) -> list[tables.Cell]:
    """Figures of the run and its baseline, and the difference in its tone."""
    return [tables.Cell(text, tone=tone if number == 2 else "") for number, text in enumerate(values)]


def compare(
    con: duckdb.DuckDBPyConnection,
    run: str,
    baseline: str,
    *,
    level: float = 0.95,
    seed: int = 0,
    force: bool = False,
    groups: str | None = None,
) -> Comparison:
    """Determine whether a run is better than its baseline on the same images, and where; writes nothing.

        result = compare(con, "resnet50", "resnet18")
        print(result, result.scores, result.classes)

    Args:
        con: from `connect`.
        run: the run.
        baseline: the run to compare with.
        level: confidence level of the intervals. If two runs are equally good, the probability that one is called
            better or worse is at most 1 - level.
        seed: seed of the bootstrap.
        force: compare the images that both runs have answered even if the view `comparable` gives a reason not to.
        groups: SQL over the columns of the run, such as "patient" or "video": images that have the same value depend
            on each other. All intervals and tests then are cluster-robust; an image where it is NULL depends on no
            other. Without it, the sentence adds the interval with near duplicates as groups, where neighbors of the
            run are known (`find_neighbors`).

    Returns:
        The sentence of `verdict`, whether the difference is established, the number of images, and the rows of
        `paired_bootstrap` (`scores`: accuracy, balanced accuracy, macro F1), `mcnemar`, `agreement` (churn),
        `compare_classes` and `flips` (the worst 50), with the columns of these macros. Shares are fractions; a point
        in the sentence is 0.01. In `scores`, accuracy has the interval and p of the sentence (exact McNemar test), so
        that one difference has one interval.

    Raises:
        ArgumentError: the level is not between 0 and 1, or the run is its own baseline.
        NotFoundError: no such run; the message suggests similar names.
        SchemaError: the runs are not comparable; the message gives the reason, and whether `force` helps.
        QueryError: a run answers an image more than once.
    """
    if not 0 < level < 1:
        raise ArgumentError(f"level must be between 0 and 1, such as 0.95, not {level}")
    sample = _check(con, runs.require(con, run).run, runs.require(con, baseline).run, force)
    # Temporary tables, so that the views of the runs are computed once and not once per metric.
    tables = {run: "_compared_run", baseline: "_compared_baseline"}
    grouped = groups is not None

    def rows(metric: str, query: str = "compare", **values: object) -> duckdb.DuckDBPyRelation:
        by_group = grouped and metric in _GROUPED
        sql = templates.render(query, name=metric, tables=tables, values=list(values), grouped=by_group)
        try:
            return con.sql(sql, params=values).materialize()
        except duckdb.Error as error:  # what the macros refuse is a sentence already
            raise QueryError(f"{metric}: {statements.explain(error).removeprefix('Invalid Input Error: ')}") from error

    try:
        for name, table in tables.items():
            given = group_expression(con, run, groups) if name == run else "null"
            statements.execute(con, "create_compared", run=name, name=table, groups=given)
        sentence, n, _, low, high, _, established, *_ = rows("verdict", level=level).fetchall()[0]
        compared = Comparison(
            run,
            baseline,
            n,
            sentence if sample is None else f"{sentence}; {sample}: {_SAMPLED}",
            established,
            scores=rows("paired_bootstrap", "compare_scores", level=level, seed=seed),
            mcnemar=rows("mcnemar", level=level),
            agreement=rows("agreement"),
            classes=rows("compare_classes", level=level),
            flips=rows("flips"),
            class_names=read_classes(con, runs.require(con, run).label_space or "").names,
        )
        if grouped or not statements.fetch(con, "read_neighbor_spec", [run]):
            return compared
        statements.execute(con, "create_compared_by_duplicates", run=run, name=tables[run])
        grouped = True
        (near_ends,) = rows("mcnemar", level=level).project("ci_low, ci_high").fetchall()
        near = _by_duplicates(near_ends, (low, high), level, established)
        return replace(compared, sentence=compared.sentence + near)
    finally:
        for table in tables.values():
            statements.execute(con, "drop_compared", name=table)


def _by_duplicates(
    near: tuple[float | None, float | None],
    plain: tuple[float | None, float | None],
    level: float,
    established: bool,
) -> str:
    """What near duplicates, counted as groups, change in the interval of the difference; empty if nothing."""
    if near[0] is None or near[1] is None or near == plain:
        return ""
    low, high = 100 * near[0], 100 * near[1]
    lost = established and not (low > 0 or high < 0)
    return (
        f"; with near duplicates counted as images that depend on each other, the {100 * level:g} % interval is "
        f"{low:+.1f} to {high:+.1f} points{' and the difference is not established' if lost else ''}"
    )


def _check(con: duckdb.DuckDBPyConnection, run: str, baseline: str, force: bool) -> str | None:
    """Raise an error if the runs are not comparable; gives which of them is a random sample, or None."""
    if run == baseline:
        raise ArgumentError(f"{run!r} is its own baseline; name another run")
    reason, n_both, sample = statements.fetch(con, "read_comparable", [run, baseline])[0]
    if reason is None or (force and n_both):
        return None if sample is None else str(sample)
    way = (
        f"force=True compares the {n_both:,} images that both have answered"
        if n_both
        else "not even with force: that needs labeled images that both have answered, in one label space"
    )
    raise SchemaError(f"{run!r} and {baseline!r} are not comparable: {reason} ({way})")
