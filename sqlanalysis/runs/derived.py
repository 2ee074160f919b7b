"""Runs derived from the stored probabilities of other runs, as views: ensembles and temperature scaling."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from ..core.results import Result
from ..db.statements import fetch, transaction
from ..errors import ArgumentError, QueryError, SchemaError
from . import run as runs
from .run import Run, Spec

BOUNDS = (0.01, 100.0)  # of a fitted temperature; a value at a bound means that none fits


@dataclass(frozen=True)
class Member:
    """A run that another run is derived from.

    `fit_on` is the SQL condition on whose images the temperature was fitted, "true" for all, None if it was given.
    """

    run: str
    weight: float = 1.0
    temperature: float = 1.0
    fit_on: str | None = None


@dataclass(frozen=True, repr=False)
class Derived(Result):
    """A derived run. A member was asked for `n_images` images; for `n_errors` of them a member has no answer."""

    run: str
    members: tuple[Member, ...]
    n_images: int
    n_ok: int
    n_errors: int


def ensemble(
    con: duckdb.DuckDBPyConnection,
    members: Sequence[str],
    run: str,
    *,
    weights: Sequence[float] | None = None,
    overwrite: bool = False,
) -> Derived:
    """Create a run with the mean of other runs' probabilities. It is a view, so nothing is stored or computed twice.

        ensemble(con, ["resnet18", "resnet50"], "pair")
        metric(con, "mcnemar", "pair", baseline="resnet50")

    Args:
        con: from `connect`, writable.
        members: two or more runs with probabilities over the same classes of the same data set; derived runs are
            allowed. Images that all members predict later appear in the ensemble, too.
        run: name of the new run, an identifier.
        weights: one positive number per member, by default equal; only their ratios matter.
        overwrite: drop an earlier run of that name first.

    Returns:
        Members with weights that sum to 1, and counts. An image that a member has not answered is an error of the run.
        Writes `runs`, `errors`, and the views `outputs.<run>` and `<run>`; the view has no activations.

    Raises:
        ArgumentError: fewer than two members, weights that are not positive, or a name that is not an identifier.
        NotFoundError: no such run.
        SchemaError: the name is taken, or the members cannot be combined; the message gives the reason.
    """
    if isinstance(members, str) or len(set(members)) < max(2, len(members)):
        raise ArgumentError(f"an ensemble needs two or more different runs, not {members!r}")
    shares = [1.0] * len(members) if weights is None else [float(weight) for weight in weights]
    if len(shares) != len(members) or not all(0 < share < math.inf for share in shares):
        raise ArgumentError(f"weights are {len(members)} positive numbers, one per member, not {weights!r}")
    parts = tuple(Member(name, share / sum(shares)) for name, share in zip(members, shares, strict=True))
    with runs.replacing(con, run, is_replaced=overwrite), transaction(con):
        sources = [runs.require(con, name) for name in members]
        columns = _common_columns(con, sources)
        policies = {source.class_policy for source in sources}
        first = sources[0]
        wanted = Run(
            run=run,
            dataset=first.dataset,
            model="ensemble",
            weights=", ".join(members),
            model_label_space=first.label_space,
            label_space=first.label_space,
            class_policy=policies.pop() if len(policies) == 1 else "restricted",
        )
        return _open(con, wanted, parts, columns, overwrite)


def temperature_scale(
    con: duckdb.DuckDBPyConnection,
    source: str,
    run: str,
    *,
    temperature: float | None = None,
    fit_on: str | None = None,
    overwrite: bool = False,
) -> Derived:
    """Create a run with another run's probabilities at a temperature: softmax(ln p / temperature). It is a view.

        temperature_scale(con, "resnet18", "calibrated", fit_on="split = 'val'")
        metric(con, "calibration_error", "calibrated")

    Predictions stay the same; confidence is lower at temperatures above 1 and higher below.

    Args:
        con: from `connect`, writable.
        source: a run with probabilities.
        run: name of the new run, an identifier.
        temperature: a positive number; None fits the one with the smallest log loss (metric `fit_temperature`).
        fit_on: SQL condition over the columns of `source`: the labeled images to fit on; None takes all, which makes
            calibration measured on the same images slightly too good.
        overwrite: drop an earlier run of that name first.

    Returns:
        The source with its temperature, and counts. Writes `runs` and the views `outputs.<run>` and `<run>`, which
        have the activations of the source.

    Raises:
        ArgumentError: the temperature is not positive, or both `temperature` and `fit_on` are given.
        NotFoundError: no such run.
        SchemaError: the name is taken, the source has no usable probabilities, no temperature fits, or it makes
            probabilities matter that are stored as 0.
        QueryError: `fit_on` is not a valid condition over the columns of the source.
    """
    if temperature is not None and (fit_on is not None or not 0 < temperature < math.inf):
        raise ArgumentError(f"temperature is a positive number, without fit_on, not {temperature!r}")
    with runs.replacing(con, run, is_replaced=overwrite), transaction(con):
        source_run = runs.require(con, source)
        columns = _common_columns(con, [source_run])
        if temperature is None:
            part = Member(source, 1.0, _fit(con, source, fit_on), fit_on or "true")
        else:
            part = Member(source, 1.0, float(temperature))
        try:
            fetch(con, "check_temperature", [source, part.temperature])
        except QueryError as error:
            said = str(error.__cause__ or error).removeprefix("Invalid Input Error: ")
            raise SchemaError(
                f"{source!r} at temperature {part.temperature:g}: {said}; a run takes a smaller temperature only, the "
                "macro with_temperature takes eps"
            ) from error
        return _open(con, dataclasses.replace(source_run, run=run), (part,), columns, overwrite)


def _common_columns(con: duckdb.DuckDBPyConnection, sources: Sequence[Run]) -> list[tuple[str, str]]:
    """Output columns of the first source, after checking that the probabilities of all sources can be combined."""
    types = [dict(fetch(con, "list_output_types", [source.run])) for source in sources]
    first = sources[0]
    for source, own in zip(sources, types, strict=True):
        if source.sample is not None:
            raise SchemaError(
                f"run {source.run!r} is a sample, and a derived run would not show it; answer all its images first: "
                "predict without until_width= and until_better_than="
            )
        if "probs" not in own or "pred" not in own:
            raise SchemaError(f"run {source.run!r} has no probabilities; add or predict it with probs")
        if source.class_policy == "open":
            raise SchemaError(
                f"run {source.run!r} has policy open: answers outside the data set are not part of its probabilities; "
                "predict with policy restricted under another name"
            )
        for field in ("dataset", "label_space"):
            here, there = getattr(first, field), getattr(source, field)
            if here != there:
                raise SchemaError(f"{first.run!r} and {source.run!r} differ in {field}: {here} and {there}")
        if own["probs"] != types[0]["probs"]:
            widths = f"{types[0]['probs']} and {own['probs']}"
            raise SchemaError(f"{first.run!r} and {source.run!r} have different probabilities: {widths}")
    return [(name, dtype) for name, dtype in types[0].items() if name not in ("image_id", "sha256")]


def _fit(con: duckdb.DuckDBPyConnection, source: str, fit_on: str | None) -> float:
    try:
        n, temperature = fetch(con, "read_temperature", run=source, where=fit_on)[0]
    except QueryError as error:
        raise QueryError(
            f"fit_on={fit_on!r} is not a condition over the columns of {source!r}: {error.__cause__ or error}"
        ) from error
    if not n or math.isnan(temperature) or not BOUNDS[0] * 1.001 < temperature < BOUNDS[1] * 0.999:
        why = "all answers are right, or no better than chance" if n else "it needs labeled images"
        where = f" where {fit_on}" if fit_on else ""
        raise SchemaError(f"no temperature fits the {n} images of {source!r}{where}: {why}; give temperature=")
    return float(f"{temperature:.6g}")  # rounded, so that every execution gives the same value


def _open(
    con: duckdb.DuckDBPyConnection,
    wanted: Run,
    members: tuple[Member, ...],
    columns: list[tuple[str, str]],
    overwrite: bool,
) -> Derived:
    listed = json.dumps([dataclasses.asdict(member) for member in members])
    runs.open_run(con, Spec(dataclasses.replace(wanted, members=listed, storage="view")), columns, overwrite=overwrite)
    runs.close_run(con, wanted.run, "finished", {})
    n_images, n_ok, n_errors = fetch(con, "read_run_size", [wanted.run])[0]
    return Derived(wanted.run, members, n_images, n_ok, n_errors)
