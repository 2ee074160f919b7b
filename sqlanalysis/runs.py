"""A run: its row in `runs`, its table `outputs.<run>`, its view `<run>`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from .database import execute, fetch, recreate_run_views
from .errors import NotFoundError, SchemaError, near_matches

# Columns of a run's view that no output may bear the name of.
VIEW_COLUMNS = {
    *("image_id", "dataset", "uri", "split", "label", "label_name", "pred_name", "raw_pred_name", "correct", "x", "y"),
    *("sha256", "n_bytes", "format", "width_px", "height_px", "meta", "error"),
}
IDENTITY = ("dataset", "weights_sha256", "transform", "layer", "class_policy", "output_space", "precision")


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


def check_name(con: duckdb.DuckDBPyConnection, run: str) -> None:
    """Refuse a run name that is no plain SQL identifier or that another object of the file bears.

    Raises:
        SchemaError: with what to do.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", run):
        near = re.sub(r"\W+", "_", run.lower()).strip("_")
        hint = f", such as {near!r}" if re.fullmatch(r"[a-z][a-z0-9_]*", near) else ""
        raise SchemaError(f"run name {run!r} is no identifier; use lower-case letters, digits and _{hint}")
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
    execute(con, "statements/create_outputs", run=wanted.run, columns=columns)
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


def drop(con: duckdb.DuckDBPyConnection, run: str) -> None:
    """Forget a run: its table, view, errors, projections, neighbours, class map and row."""
    if fetch(con, "statements/read_neighbour_spec", [run]):
        execute(con, "statements/drop_run_view", run=f"{run}_neighbours")
    for template in ("drop_run_view", "drop_outputs"):
        execute(con, f"statements/{template}", run=run)
    for table in ("errors", "projections", "projection_specs", "neighbours", "neighbour_specs", "class_map", "runs"):
        execute(con, "statements/delete_run_rows", [run], table=table)
    recreate_run_views(con, [])


def close_run(con: duckdb.DuckDBPyConnection, run: str, status: str, seconds: dict[str, float]) -> None:
    """Write status, counts, end and seconds of a run; seconds add to those of earlier parts of it."""
    earlier = json.loads(fetch(con, "statements/read_run_seconds", [run])[0][0] or "{}")
    total = {stage: round(earlier.get(stage, 0.0) + seconds.get(stage, 0.0), 3) for stage in {**earlier, **seconds}}
    execute(con, "statements/update_run_counts", run=run)
    execute(con, "statements/update_run", [status, json.dumps(total), run])
