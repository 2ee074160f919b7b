"""Expectations for CI: queries whose rows are violations, from `sql/expectations` and from the user's files."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ..core import figures, tables, talk
from ..core.files import write_whole
from ..core.results import Result
from ..core.text import one_line
from ..db import statements, templates
from ..errors import ArgumentError, NotFoundError, QueryError, SchemaError, near_matches
from ..runs import run as runs
from .github import summary
from .junit import Expectation, to_junit
from .metrics import group_expression

SHOWN = 5  # violations that a result keeps
_ALWAYS = ("sound_run", "whole_run", "sound_database")
_BATCH = 8192  # rows in memory while violations are counted
_SIGNS = {"pass": ("✓", "right"), "warn": ("!", "caution"), "fail": ("✗", "wrong"), "error": ("✗", "wrong")}
_SEVERITIES = {"error": "fail", "warn": "warn"}
_KEY = re.compile(rf"(severity|{'|'.join(templates.HEADER[1:])}):\s*(.*)", re.IGNORECASE)


@dataclass(frozen=True, repr=False)
class Checked(Result):
    """The result of `check`: the run and one `Expectation` per query."""

    run: str | None
    results: tuple[Expectation, ...]

    @property
    def passed(self) -> bool:
        """Whether every expectation could be run and holds; warnings do not count."""
        return all(result.status in ("pass", "warn") for result in self.results)

    def _lead(self) -> str:
        return f"{self.run or 'the file'}: {'passed' if self.passed else 'not passed'}"

    def _tables(self) -> list[tables.Table]:
        rows = [
            [
                tables.Cell(f"{_SIGNS[one.status][0]} {one.status}", tone=_SIGNS[one.status][1]),
                tables.Cell(Path(one.name).name),
                tables.Cell(figures.count(one.n_violations)),
                tables.Cell(tables.plain(one.message)),
            ]
            for one in self.results
        ]
        return [tables.Table(("", "expectation", "violations", "message"), rows, (False, False, True, False))]


def check(
    con: duckdb.DuckDBPyConnection,
    expectations: str | Path | Iterable[str | Path] = (),
    *,
    run: str | None = None,
    min_accuracy: float | None = None,
    baseline: str | None = None,
    allow_drop: float = 0.0,
    max_drop: float | None = None,
    max_errors: float | None = None,
    max_ece: float | None = None,
    junit: str | Path | None = None,
    github: str | Path | None = None,
    groups: str | None = None,
) -> Checked:
    """Check a run against expectations, as the gate of a CI job. Reads the file and writes only `junit` and `github`.

    Three expectations are always checked: `sound_run`, that the rows of the run are valid; and as warnings `whole_run`,
    that all its images count, and `sound_database`, that the tables of the file are consistent. `sqlanalysis render-sql
    min_accuracy` prints a built-in expectation.

    Args:
        con: from `connect`; read-only is sufficient.
        expectations: SQL files, or folders of them (`*.sql`). Each file contains one query whose rows are violations.
            If there is a boolean column `violated`, rows where it is false do not count. A column `message` is shown.
            The comment at the top says what is expected; with a line `-- severity: warn` violations only warn. `$run`
            and `$baseline` stand for names, as in `from accuracy($run)`, and `$min_accuracy`, `$allow_drop`,
            `$max_drop`, `$max_errors` and `$max_ece` for the numbers given here.
        run: a run, or another relation with the columns of one; None means the newest finished run.
        min_accuracy: value from 0 to 1 that the lower end of the 95 % Wilson interval of accuracy must reach.
        baseline: a run that this one must not be worse than. The check fails if the two are not comparable (view
            `comparable`), or if `verdict` establishes a drop of accuracy (paired 95 % interval, exact McNemar test).
        allow_drop: drop of accuracy against the baseline that is allowed, from 0 to 1; only a larger drop fails.
            A check that passes so may have too few images to notice a drop: the message says the smallest one noticed.
        max_drop: drop of accuracy against the baseline that must be excluded, from 0 to 1 (non-inferiority): the lower
            end of the same interval must stay above it, so that too few images fail.
        max_errors: number of images that may have failed; below 1, their share.
        max_ece: largest allowed expected calibration error, in 15 bins. Its upward bias at small n is reported, not
            subtracted.
        junit: path of a JUnit XML file to write.
        github: path of a Markdown file to which a summary is appended, such as that in `$GITHUB_STEP_SUMMARY`.
        groups: SQL over the columns of the run, such as "patient": images that have the same value depend on each
            other, and `min_accuracy`, `baseline` and `max_drop` are checked with cluster-robust intervals.

    Returns:
        Run, `passed`, and one `Expectation` per query: status, number of violations, message, first rows.

    Raises:
        ArgumentError: a bound is not a number or out of range, or the run is its own baseline.
        NotFoundError: no such file, folder, run or baseline (the message suggests similar names), or nothing to check.
        SchemaError: `junit` exists and is not XML, or accuracy of a run without predictions is asked for.
        QueryError: a transaction is open on this connection.
    """
    bounds = {
        "min_accuracy": min_accuracy, "allow_drop": allow_drop, "max_drop": max_drop, "max_errors": max_errors,
        "max_ece": max_ece,
    }  # fmt: skip
    _check_bounds(bounds, baseline)
    report = None if junit is None else _check_report(Path(junit).expanduser())
    page = None if github is None else _check_folder(Path(github).expanduser())
    files = _files(expectations)
    asked = [name for name in ("min_accuracy", "max_errors", "max_ece") if bounds[name] is not None]
    asked += ["no_regression"] * (baseline is not None) + ["max_drop"] * (max_drop is not None)
    with statements.transaction(con):  # raises if one is open, in which every expectation would fail
        run = _choose(con, run, baseline)
    if run is None and (asked or not files):
        raise NotFoundError("no finished run with predictions to check; name one (run=), or predict first")
    if run in runs.known(con) and runs.require(con, str(run)).outputs == "embedding":
        asked_in_vain = [name for name in asked if name != "max_errors"]
        if asked_in_vain:
            raise SchemaError(
                f"run {run!r} has embeddings and no predictions, so {', '.join(asked_in_vain)} cannot be checked; "
                "max_errors= and queries of your own can"
            )
        talk.say([f"run {run!r} has embeddings and no predictions: its images are checked, and no accuracy"])
    ready = [*(_ALWAYS if run is not None else _ALWAYS[-1:]), *asked]
    given = {key: value for key, value in {"run": run, "baseline": baseline, **bounds}.items() if value is not None}
    by = "null" if groups is None or run is None else group_expression(con, run, groups)
    results = [_evaluate(con, name, templates.render(name, groups=by), given) for name in ready]
    results += [_evaluate(con, name, file, given) for name, file in files.items()]
    checked = Checked(run, tuple(results))
    if report is not None:
        write_whole(report, to_junit(checked.run, checked.results))
    if page is not None:
        with page.open("a", encoding="utf-8") as opened:  # the steps of a job share one summary
            opened.write(summary(checked.run, checked.results))
    return checked


def _check_bounds(bounds: dict[str, float | None], baseline: str | None) -> None:
    for name, value in bounds.items():
        if value is None:
            continue
        # bool is a subclass of int.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ArgumentError(f"{name} must be a number, not {value!r}")
        if name == "max_errors":
            if not value >= 0 or (value > 1 and value % 1 != 0):
                raise ArgumentError(f"max_errors must be a count, or a share below 1, not {value}")
        elif not 0 <= value <= 1:
            raise ArgumentError(f"{name} must be from 0 to 1, such as 0.9 for 90 %, not {value}")
    for name in ("allow_drop", "max_drop"):
        if baseline is None and (bounds[name] if name == "allow_drop" else bounds[name] is not None):
            raise ArgumentError(f"{name} needs a baseline; name one (baseline=)")


def _check_folder(file: Path) -> Path:
    if not file.parent.is_dir():
        raise NotFoundError(f"no folder {file.parent}; create it first")
    if file.is_dir():
        raise SchemaError(f"{file} is a folder; give the path of a file in it")
    return file


def _check_report(file: Path) -> Path:
    if not file.parent.is_dir():
        raise NotFoundError(f"no folder {file.parent}; create it first")
    if file.is_dir() or (file.exists() and not file.read_bytes()[:64].lstrip().startswith(b"<")):
        raise SchemaError(f"{file} exists and is not XML; give another path")
    return file


def _files(expectations: str | Path | Iterable[str | Path]) -> dict[str, Path]:
    """The user's files, by the name that results show."""
    files: dict[str, Path] = {}
    for given in [expectations] if isinstance(expectations, str | Path) else expectations:
        path = Path(given).expanduser()
        inside = sorted(file for file in path.rglob("*.sql") if file.is_file()) if path.is_dir() else [path]
        if not inside:
            raise NotFoundError(f"no .sql file in {path}")
        if not path.exists():
            raise NotFoundError(f"no file or folder {path}")
        files |= {str(file): file for file in inside}
    return files


def _choose(con: duckdb.DuckDBPyConnection, run: str | None, baseline: str | None) -> str | None:
    """The run to check: as given, or the newest finished run."""
    known = [row[0] for row in statements.fetch(con, "list_relations")]
    for name in (run, baseline):
        if name is not None and name not in known:
            raise NotFoundError(f"no run {name!r}{near_matches(name, runs.known(con))}")
    if run is None:
        rows = statements.fetch(con, "read_newest_run", {"baseline": baseline})
        return str(rows[0][0]) if rows else None
    if run == baseline:
        raise ArgumentError(f"run {run!r} cannot be its own baseline; name another")
    return run


def _evaluate(con: duckdb.DuckDBPyConnection, name: str, query: str | Path, given: dict[str, Any]) -> Expectation:
    started = time.perf_counter()
    name, meaning = one_line(name), ""
    try:
        # Editors on Windows may write a byte order mark.
        text = query.read_text(encoding="utf-8-sig") if isinstance(query, Path) else query
        meaning, severity = _comment(text)
        n, columns, rows = _violations(con, text, given)
    except (duckdb.Error, QueryError, OSError, UnicodeDecodeError) as error:
        return Expectation(name, meaning, "error", one_line(error), None, seconds=time.perf_counter() - started)
    facts = dict(zip(columns, rows[0], strict=True)).get("message") if rows else None
    message = facts or meaning or ("rows that should not exist" if n else "")
    return Expectation(
        name,
        meaning,
        _SEVERITIES[severity] if n else "pass",
        one_line(message),
        n,
        columns,
        rows if n else (),
        time.perf_counter() - started,
    )


def _comment(text: str) -> tuple[str, str]:
    """Meaning and severity, from the comment at the top of a query."""
    meaning: list[str] = []
    keys: dict[str, str] = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("--"):
            break
        words = line.strip().lstrip("-").strip()
        key = _KEY.fullmatch(words)
        if key:
            keys[key[1].lower()] = key[2].strip().lower()
        elif not keys.keys() - {"severity"}:  # the meaning ends where the header lines begin
            meaning.append(words)
    severity = keys.get("severity", "error")
    if severity not in _SEVERITIES:
        raise QueryError(f"severity must be {' or '.join(_SEVERITIES)}, not {severity!r}")
    return one_line(" ".join(meaning)), severity


def _violations(
    con: duckdb.DuckDBPyConnection, text: str, given: dict[str, Any]
) -> tuple[int, tuple[str, ...], tuple[tuple[Any, ...], ...]]:
    """Number of violations, columns, and the first violations of a query, or its first row if there are none."""
    parsed = con.extract_statements(text)
    types = [statement.type.name for statement in parsed]
    if types != ["SELECT"]:
        raise QueryError(f"an expectation must be one SELECT, this is {', '.join(types) or 'empty'}")
    wanted = parsed[0].named_parameters
    unknown = sorted(wanted - given.keys())
    if unknown:
        raise QueryError(f"${unknown[0]} is not given; available: {', '.join('$' + name for name in given)}")
    rows: list[tuple[Any, ...]] = []
    first: list[tuple[Any, ...]] = []
    n = 0
    statements.execute(con, "begin_read_only")  # a SELECT may contain an INSERT in its WITH
    try:
        relation = con.sql(parsed[0], params={name: given[name] for name in wanted} or None)
        with relation.to_arrow_reader(_BATCH) as reader:
            for batch in reader:
                bad = _bad(batch)
                n += bad.num_rows
                rows += _plain(bad.slice(0, SHOWN - len(rows)))
                first = first or _plain(batch.slice(0, 1))
    finally:
        con.rollback()
    return n, tuple(relation.columns), tuple(rows or first)


def _bad(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The violations: all rows, or those where the column `violated` is not false; NULL counts as a violation."""
    column = batch.schema.get_field_index("violated")
    if column < 0 or not pa.types.is_boolean(batch.schema.field(column).type):
        return batch
    return batch.filter(pc.fill_null(batch.column(column), True))


def _plain(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    """Rows as Python values."""
    columns = []
    for column in batch.columns:
        try:
            columns.append(column.to_pylist())
        except (OverflowError, ValueError):  # such as the date 'infinity'
            columns.append(["beyond Python's calendar"] * batch.num_rows)
    return list(zip(*columns, strict=True))
