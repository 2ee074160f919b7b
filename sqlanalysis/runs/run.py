"""A run: its row in `runs`, its table `outputs.<run>`, its view `<run>`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields

import duckdb

from ..core.classes import Classes
from ..db import parts
from ..db.catalogue import recreate_run_views
from ..db.statements import execute, fetch, transaction
from ..errors import ArgumentError, NotFoundError, SchemaError, near_matches
from . import identity

# Columns of a run's view; an output must not have one of these names.
VIEW_COLUMNS = {
    *("image_id", "dataset", "uri", "split", "label", "label_name", "accepted", "pred_name", "raw_pred_name"),
    *("correct", "correct_accepted", "x", "y", "sha256", "n_bytes", "format", "width_px", "height_px", "aspect"),
    *("meta", "error", "cluster", "brightness", "contrast", "sharpness", "colorfulness", "entropy"),
}
MAX_NAME = 63
_RUN_TABLES = (
    *("errors", "projections", "projection_specs", "clusters", "cluster_specs"),
    *("neighbors", "neighbor_specs", "class_map", "parts", "runs"),
)


@dataclass(frozen=True)
class Run:
    """What the outputs of a run were made with. A run can be resumed only by the same work: see `identity`."""

    run: str
    dataset: str
    model: str
    weights: str | None = None
    weights_sha256: str | None = None
    model_label_space: str | None = None
    label_space: str | None = None
    class_policy: str = "identity"
    layer: str | None = None
    transform: str | None = None
    dtype: str | None = None
    device: str | None = None
    batch_size: int | None = None
    packages: str | None = None
    selection: str | None = None
    dtype_agreement: str | None = None
    trusted_pickle: bool | None = None
    members: str | None = None  # JSON, of a derived run: run, weight, temperature, fit_on
    outputs: str | None = None  # what the module gives: logits, probs, log_probs, sigmoid or embedding
    prompts: str | None = None  # JSON, a list of what a model of images and texts is asked about each class
    probe: str | None = None  # JSON, answers to fixed noise images
    version: str | None = None  # as the caller calls a model that cannot be identified
    weights_key: str | None = None  # which weights of a checkpoint
    transform_source: str | None = None  # given, or where it was found
    classes_source: str | None = None  # given, or where they were found
    workers: int | None = None  # threads that run the module
    sample: str | None = None  # JSON, of a run that draws images until a rule is settled: see `sample.Sample`
    storage: str = "table"  # where its outputs lie: "table", "parts", or "view" of a derived run
    decoding: str | None = None  # where images were decoded, and why there


@dataclass(frozen=True)
class Spec:
    """A requested run, and what is written with it.

    Attributes:
        run: its row.
        class_map: (model output, class) pairs of a mapped run.
        new_classes: classes of `run.model_label_space`, if this label space does not exist yet.
        call: the call that makes the run, without its end, for messages: "predict(con, model, run='net'".
    """

    run: Run
    class_map: Sequence[tuple[int, int]] = ()
    new_classes: Classes | None = None
    call: str | None = None


def check_name(con: duckdb.DuckDBPyConnection, run: str) -> None:
    """Refuse a run name that is not a plain SQL identifier, or that another object of the file has.

    Raises:
        ArgumentError: not an identifier, or too long.
        SchemaError: the name is taken.
    """
    if not isinstance(run, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", run):
        near = re.sub(r"\W+", "_", str(run).lower()).strip("_")
        hint = f", such as {near!r}" if re.fullmatch(r"[a-z][a-z0-9_]*", near) else ""
        raise ArgumentError(f"run name {run!r} is not an identifier; use lower-case letters, digits and _{hint}")
    if len(run) > MAX_NAME:
        raise ArgumentError(f"run name {run[:20]}… has {len(run)} characters; at most {MAX_NAME} are allowed")
    owner = fetch(con, "read_name_user", {"name": run})
    if owner:
        raise SchemaError(f"run name {run!r} is taken by a {owner[0][0]}; give another run=")


def known(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of all runs, oldest first."""
    return [row[0] for row in fetch(con, "list_runs")]


def require(con: duckdb.DuckDBPyConnection, run: str) -> Run:
    """The run of that name.

    Raises:
        NotFoundError: there is none; the message suggests similar names.
    """
    rows = fetch(con, "read_run", [run])
    if not rows:
        raise NotFoundError(f"no run {run!r}{near_matches(run, known(con))}")
    return Run(*rows[0])


def check_spec(con: duckdb.DuckDBPyConnection, spec: Spec, *, overwrite: bool = False) -> bool:
    """Refuse a run that cannot be opened; writes nothing.

    Returns:
        True if an earlier run of this name would be resumed.

    Raises:
        ArgumentError: the name is not an identifier.
        SchemaError: the name is taken by another object, or by a run with other settings; the message lists them.
    """
    name = spec.run.run
    if name not in known(con):
        check_name(con, name)
        return False
    if overwrite:
        _refuse_dependents(con, name)
        return False
    _refuse_other_work(con, spec)
    return True


def open_run(
    con: duckdb.DuckDBPyConnection, spec: Spec, columns: Sequence[tuple[str, str]], *, overwrite: bool = False
) -> bool:
    """Create the row, table and view of a run, or resume an earlier run with the same settings.

    Args:
        con: inside a transaction.
        spec: the requested run.
        columns: name and SQL type of each output column.
        overwrite: drop an earlier run of that name first.

    Returns:
        True if an earlier run is resumed.

    Raises:
        ArgumentError, SchemaError: as `check_spec`.
    """
    run = spec.run
    if check_spec(con, spec, overwrite=overwrite):
        # The run is asked for the images of all its calls.
        selection = _either(require(con, run.run).selection, run.selection)
        execute(con, "reopen_run", [selection, run.sample, run.run])
        return True
    if run.run in known(con):
        drop(con, run.run)
    execute(con, "insert_run", [getattr(run, field.name) for field in fields(run)])
    if spec.class_map:
        execute(con, "insert_class_map", [run.run, *map(list, zip(*spec.class_map, strict=True))])
    if run.storage == "parts":
        parts.recreate_view(con, run.run, columns)
    elif run.members is None:
        execute(con, "create_outputs", run=run.run, columns=columns)
    else:
        execute(con, "create_derived", run=run.run, members=json.loads(run.members), columns=columns)
    recreate_run_views(con, [run.run])
    return False


def _either(first: str | None, second: str | None) -> str | None:
    """A condition that selects what either condition selects; None selects everything."""
    if first is None or second is None or first == second:
        return None if first is None or second is None else first
    return f"({first}\n) or ({second}\n)"  # a condition may end with a comment, hence the newlines


def _refuse_other_work(con: duckdb.DuckDBPyConnection, spec: Spec) -> None:
    wanted, earlier = spec.run, require(con, spec.run.run)
    if earlier.storage != wanted.storage:
        way = (
            f"or localize it first (localize(con, {wanted.run!r}))" if earlier.storage == "parts" else "or leave it out"
        )
        raise SchemaError(
            f"run {wanted.run!r} exists with storage={earlier.storage!r}; give storage={earlier.storage!r}, {way}"
        )
    differences = identity.differences(earlier, wanted)
    if list(spec.class_map) != fetch(con, "read_class_map", [wanted.run]):
        differences.append("class map")
    again = "overwrite=True" if spec.call is None else f"{spec.call}, overwrite=True)"
    if differences:
        raise SchemaError(
            f"run {wanted.run!r} exists and differs: {'; '.join(differences)}; give another run=, or start "
            f"from scratch: {again}"
        )
    reason = identity.unidentified(wanted)
    if reason is not None and fetch(con, "read_run_status", [wanted.run])[0][0] == "finished":
        raise SchemaError(
            f"run {wanted.run!r} exists, and what made it cannot be identified: {reason}; start from scratch: {again}, "
            'or name what you give, from the first call on: version="…"'
        )


def _refuse_dependents(con: duckdb.DuckDBPyConnection, run: str) -> None:
    dependents = [row[0] for row in fetch(con, "list_dependents", [run])]
    if dependents:
        raise SchemaError(f"run {run!r} is a member of {', '.join(map(repr, dependents))}; drop the derived run first")


def drop_run(con: duckdb.DuckDBPyConnection, run: str) -> None:
    """Delete a run: its outputs, view, errors, projections, clusters, neighbors, class map and row in `runs`.

    Args:
        con: from `connect`, writable.
        run: its name.

    Returns:
        Nothing; the file does not shrink, but its free space is used again. Parts in FILE.parts are deleted, parts
        elsewhere stay.

    Raises:
        NotFoundError: no such run.
        SchemaError: other runs are derived from it (`ensemble`, `temperature_scale`); drop them first.
    """
    with replacing(con, run), transaction(con):
        require(con, run)
        drop(con, run)


@contextmanager
def replacing(con: duckdb.DuckDBPyConnection, run: str, *, is_replaced: bool = True) -> Iterator[None]:
    """Around the transaction that drops a run: after its commit, the parts in FILE.parts are deleted."""
    owned = parts.owned(con, run) if is_replaced and run in known(con) else []
    yield
    parts.delete(con, owned)


def drop(con: duckdb.DuckDBPyConnection, run: str) -> None:
    """Delete a run; must be called inside a transaction.

    Raises:
        SchemaError: other runs are derived from it.
    """
    _refuse_dependents(con, run)
    if fetch(con, "read_neighbor_spec", [run]):
        execute(con, "drop_run_view", run=f"{run}_neighbors")
    require(con, run)
    objects: dict[str, dict[str, str]] = {}
    for name, schema, kind in fetch(con, "list_run_objects"):
        objects.setdefault(name, {})[schema] = kind
    # What somebody put in the place of an object of ours is dropped only where nothing else belongs.
    mine = objects.pop(run)
    if mine.get("main") == "view":
        execute(con, "drop_run_view", run=run)
    if "outputs" in mine:
        execute(con, "drop_outputs" if mine["outputs"] == "table" else "drop_derived", run=run)
    for table in _RUN_TABLES:
        execute(con, "delete_run_rows", [run], table=table)
    # The view `predictions` must not read the dropped run; it cannot read others whose view is gone.
    recreate_run_views(con, [name for name, kinds in objects.items() if "outputs" in kinds and "main" not in kinds])


def close_run(con: duckdb.DuckDBPyConnection, run: str, status: str, seconds: dict[str, float]) -> None:
    """Write status, counts, end and seconds of a run; seconds are added to those of earlier calls."""
    add_seconds(con, run, seconds)
    count(con, run)
    execute(con, "update_run", [status, json.dumps(read_seconds(con, run)), run])


def read_seconds(con: duckdb.DuckDBPyConnection, run: str) -> dict[str, float | None]:
    """Seconds of a run so far: by stage, summed over workers, and `total`; None where nobody knows them."""
    seconds: dict[str, float | None] = json.loads(fetch(con, "read_run_seconds", [run])[0][0] or "{}")
    return seconds


def add_seconds(con: duckdb.DuckDBPyConnection, run: str, seconds: Mapping[str, float | None]) -> None:
    """Add seconds to those of a run. None stays: a part of it was computed where nobody measured how long it waited."""
    total = read_seconds(con, run)
    for stage, more in seconds.items():
        known = total.get(stage, 0.0)
        total[stage] = None if known is None or more is None else round(known + more, 3)
    execute(con, "update_run_seconds", [json.dumps(total), run])


def count(con: duckdb.DuckDBPyConnection, run: str) -> None:
    """Update the counts of outputs and errors of a run, and of the runs that are derived from it."""
    members = require(con, run).members
    if members is not None:
        execute(con, "delete_run_rows", [run], table="errors")
        execute(con, "insert_member_errors", run=run, members=json.loads(members))
    execute(con, "update_run_counts", run=run)
    if members is not None:
        execute(con, "update_run_total", [run])
    # Derived runs are views, so their counts change with those of their members.
    for dependent in fetch(con, "list_dependents", [run]):
        count(con, dependent[0])
