"""A run: its row in `runs`, its table `outputs.<run>`, its view `<run>`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from .database import execute, fetch, recreate_run_views, transaction
from .errors import NotFoundError, SchemaError, near_matches

# Columns of a run's view that no output may bear the name of.
VIEW_COLUMNS = {
    *(
        "image_id",
        "dataset",
        "uri",
        "split",
        "label",
        "label_name",
        "accepted",
        "pred_name",
        "raw_pred_name",
        "correct",
        "x",
        "y",
    ),
    *("sha256", "n_bytes", "format", "width_px", "height_px", "aspect", "meta", "error", "cluster"),
    *("brightness", "contrast", "sharpness", "colourfulness", "entropy"),
}
MAX_NAME = 63
_OF_A_RUN = (
    *("errors", "projections", "projection_specs", "clusters", "cluster_specs"),
    *("neighbours", "neighbour_specs", "class_map", "runs"),
)
IDENTITY = ("dataset", "weights_sha256", "transform", "layer", "class_policy", "output_space", "precision", "members")


@dataclass(frozen=True)
class Run:
    """What made the outputs of a run; the fields of `IDENTITY` decide whether two runs are the same work."""

    run: str
    dataset: str
    model: str
    weights: str | None = None
    weights_sha256: str | None = None
    model_space: str | None = None
    output_space: str | None = None
    class_policy: str = "identity"
    layer: str | None = None
    transform: str | None = None
    precision: str | None = None
    device: str | None = None
    batch_size: int | None = None
    packages: str | None = None
    selection: str | None = None
    agreement: str | None = None
    trusted_pickle: bool | None = None
    members: str | None = None  # JSON, of a run made of others: run, weight, temperature, fit_on


def check_name(con: duckdb.DuckDBPyConnection, run: str) -> None:
    """Refuse a run name that is no plain SQL identifier or that another object of the file bears.

    Raises:
        SchemaError: with what to do.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", run):
        near = re.sub(r"\W+", "_", run.lower()).strip("_")
        hint = f", such as {near!r}" if re.fullmatch(r"[a-z][a-z0-9_]*", near) else ""
        raise SchemaError(f"run name {run!r} is no identifier; use lower-case letters, digits and _{hint}")
    if len(run) > MAX_NAME:
        raise SchemaError(f"run name {run[:20]}… has {len(run)} characters; {MAX_NAME} are enough")
    kind = fetch(con, "statements/read_name_user", {"name": run})
    if kind:
        raise SchemaError(f"run name {run!r} is taken by a {kind[0][0]}; give another run=")


def known(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of all runs, oldest first."""
    return [row[0] for row in fetch(con, "statements/list_runs")]


def require(con: duckdb.DuckDBPyConnection, run: str) -> Run:
    """The run of that name.

    Raises:
        NotFoundError: there is none; names near matches.
    """
    rows = fetch(con, "statements/read_run", [run])
    if not rows:
        raise NotFoundError(f"no run {run!r}{near_matches(run, known(con))}")
    return Run(*rows[0])


def resolve_dataset(con: duckdb.DuckDBPyConnection, dataset: str | None) -> tuple[str, str | None]:
    """Name and label space of the data set meant: the one named, or the only one.

    Raises:
        NotFoundError: no data set, none of that name, or several and none named.
    """
    spaces: dict[str, str | None] = dict(fetch(con, "statements/list_datasets"))
    if dataset is None:
        if len(spaces) != 1:
            many = f"several data sets, name one (dataset=): {', '.join(spaces)}"
            raise NotFoundError(many if spaces else "no images yet; add some with add_images")
        dataset = next(iter(spaces))
    if dataset not in spaces:
        raise NotFoundError(f"no data set {dataset!r}{near_matches(dataset, spaces)}")
    return dataset, spaces[dataset]


def open_run(
    con: duckdb.DuckDBPyConnection,
    wanted: Run,
    columns: Sequence[tuple[str, str]],
    class_map: Sequence[tuple[int, int]] = (),
    *,
    replace_run: bool = False,
) -> bool:
    """Make the row, table and view of a run, or go on with the one there is, when it is the same work.

    Args:
        con: inside a transaction.
        wanted: what is about to run.
        columns: name and SQL type of each output column.
        class_map: (model output, class) pairs of a mapped run.
        replace_run: drop an earlier run of that name first.

    Returns:
        True when an earlier run goes on.

    Raises:
        SchemaError: the name is taken by something else, or by a run of other work; the message names differences.
    """
    if wanted.run in known(con):
        if not replace_run:
            _refuse_other_work(con, wanted, class_map)
            selection = _either(require(con, wanted.run).selection, wanted.selection)
            execute(con, "statements/reopen_run", [selection, wanted.run])
            return True
        drop(con, wanted.run)
    check_name(con, wanted.run)
    execute(con, "statements/insert_run", list(vars(wanted).values()))
    if class_map:
        pairs = [list(column) for column in zip(*class_map, strict=True)]
        execute(con, "statements/insert_class_map", [wanted.run, wanted.model_space, wanted.output_space, *pairs])
    if wanted.members is None:
        execute(con, "statements/create_outputs", run=wanted.run, columns=columns)
    else:
        members = json.loads(wanted.members)
        execute(con, "statements/create_derived", run=wanted.run, members=members, columns=columns)
    recreate_run_views(con, [wanted.run])
    return False


def _either(first: str | None, second: str | None) -> str | None:
    """A condition that selects what either does; None selects everything."""
    if first is None or second is None or first == second:
        return None if first is None or second is None else first
    return f"({first}\n) or ({second}\n)"


def _refuse_other_work(con: duckdb.DuckDBPyConnection, wanted: Run, class_map: Sequence[tuple[int, int]]) -> None:
    earlier = require(con, wanted.run)
    pairs = {field: (getattr(earlier, field), getattr(wanted, field)) for field in IDENTITY}
    differences = [f"{field} {_short(old)} → {_short(new)}" for field, (old, new) in pairs.items() if old != new]
    if list(class_map) != fetch(con, "statements/read_class_map", [wanted.run]):
        differences.append("class map")
    if differences:
        raise SchemaError(
            f"run {wanted.run!r} exists and differs: {'; '.join(differences)}; give another run=, or replace=True"
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:12] + "…"


def drop_run(con: duckdb.DuckDBPyConnection, run: str) -> None:
    """Forget a run: its outputs, view, errors, projections, neighbours, class map and row in `runs`.

    Args:
        con: from `connect`, writable.
        run: its name.

    Returns:
        Nothing; the space in the file is used again.

    Raises:
        NotFoundError: no such run.
        SchemaError: other runs are made of it (`ensemble`, `rescale`); drop those first.
    """
    with transaction(con):
        require(con, run)
        drop(con, run)


def drop(con: duckdb.DuckDBPyConnection, run: str) -> None:
    """Forget a run: its outputs, view, errors, projections, clusters, neighbours, class map and row.

    Raises:
        SchemaError: other runs are made of it.
    """
    dependants = [row[0] for row in fetch(con, "statements/list_dependants", [run])]
    if dependants:
        raise SchemaError(f"run {run!r} is a member of {', '.join(map(repr, dependants))}; drop_run that first")
    if fetch(con, "statements/read_neighbour_spec", [run]):
        execute(con, "statements/drop_run_view", run=f"{run}_neighbours")
    execute(con, "statements/drop_run_view", run=run)
    execute(con, f"statements/drop_{'outputs' if require(con, run).members is None else 'derived'}", run=run)
    for table in _OF_A_RUN:
        execute(con, "statements/delete_run_rows", [run], table=table)
    recreate_run_views(con, [])


def close_run(con: duckdb.DuckDBPyConnection, run: str, status: str, seconds: dict[str, float]) -> None:
    """Write status, counts, end and seconds of a run; seconds add to those of earlier parts of it."""
    earlier = json.loads(fetch(con, "statements/read_run_seconds", [run])[0][0] or "{}")
    total = {stage: round(earlier.get(stage, 0.0) + seconds.get(stage, 0.0), 3) for stage in {**earlier, **seconds}}
    count(con, run)
    execute(con, "statements/update_run", [status, json.dumps(total), run])


def count(con: duckdb.DuckDBPyConnection, run: str) -> None:
    """Count the outputs and errors of a run, and of the runs that are made of it."""
    members = require(con, run).members
    if members is not None:
        execute(con, "statements/delete_run_rows", [run], table="errors")
        execute(con, "statements/insert_member_errors", run=run, members=json.loads(members))
    execute(con, "statements/update_run_counts", run=run)
    if members is not None:
        execute(con, "statements/update_run_total", [run])
    for dependant in fetch(con, "statements/list_dependants", [run]):
        count(con, dependant[0])
