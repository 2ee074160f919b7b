"""Runs that something else predicted: from a file, a table or a data frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from ..core.classes import Classes, misleading
from ..core.results import Result
from ..data import sources
from ..data.label_spaces import read_classes, resolve_dataset
from ..db.statements import execute, fetch, registered, transaction
from ..errors import ArgumentError, NotFoundError, SchemaError, near_matches
from . import run as runs
from .run import Run, Spec


@dataclass(frozen=True, repr=False)
class AddedPredictions(Result):
    """What `add_predictions` did: every row of the source is an output or an error."""

    run: str
    n_ok: int
    n_errors: int


def add_predictions(
    con: duckdb.DuckDBPyConnection, source: Any, run: str, *, dataset: str | None = None
) -> AddedPredictions:
    """Make a run of predictions that something else computed; needs no torch.

    Args:
        con: from `connect`, writable.
        source: a CSV, Parquet or JSON file, the name of a table or view, a DuckDB relation, an Arrow table or a pandas
            frame. One row per image: `image_id`, or a path (`uri`, `path`, `file`, …) that ends the uri of one image;
            `pred` as numbers (0-based index, -1 outside) or as text (name of a class), or `pred_name`, always the name,
            or `pred_index`, always the index, or only `probs`; and where known `confidence` and `probs` (a list of one
            probability per class). Where classes are called by numbers other than their index, numbers in `pred` could
            mean either and are refused: call the column `pred_name` or `pred_index`.
        run: name of the new run, an identifier.
        dataset: which data set; default the only one.

    Returns:
        Counts. Rows without an image, with an unknown class, with NaN in `probs` or with another number of
        probabilities become rows of `errors`; rows whose `pred` is NULL are kept, and left out by the metrics.
        Writes `outputs.<run>`, `runs` and the view `<run>`.

    Raises:
        NotFoundError: no such file, table or data set.
        SchemaError: the run name is taken, the data set has no classes, the columns needed are missing, numbers may be
            names, no row fits, or none has a prediction.
    """
    dataset, space = resolve_dataset(con, dataset)
    if space is None:
        raise SchemaError(f"data set {dataset!r} has no classes; add its images with labels, or with classes=")
    known = read_classes(con, space)
    size = len(known)
    with transaction(con), _source_rows(con, source):
        types = dict(fetch(con, "describe_source_rows"))
        columns = {name.lower(): name for name in types}
        chosen = _prediction_columns(columns)
        by_index = _is_index(chosen["pred"], types, known, dataset)
        kept = [("pred", "INTEGER"), ("confidence", "FLOAT")] + [("probs", f"FLOAT[{size}]")] * ("probs" in columns)
        wanted = Run(run, dataset, "imported", weights=_origin(source), model_label_space=space, label_space=space)
        if run in runs.known(con):
            raise SchemaError(f"run {run!r} exists; give another run=")
        runs.open_run(con, Spec(wanted), kept)
        values = {"dataset": dataset, "label_space": space, "size": size}
        execute(con, "create_imported", values, **chosen, by_index=by_index)
        n_ok, n_errors, n_predicted = fetch(con, "count_imported")[0]
        if n_errors and not n_ok:
            example = fetch(con, "read_import_problem")[0][0]
            raise SchemaError(f"no row of {_origin(source)} fits data set {dataset!r}; the first: {example}")
        if not n_predicted:
            raise SchemaError(
                f"no row of {_origin(source)} has a prediction; fill its column {chosen['pred'] or 'probs'}"
            )
        execute(con, "insert_imported", run=run, names=[name for name, _ in kept])
        execute(con, "insert_import_errors", {"run": run, "dataset": dataset})
        runs.close_run(con, run, "finished", {})
    return AddedPredictions(run, n_ok, n_errors)


def _origin(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else type(source).__name__


def _prediction_columns(columns: dict[str, str]) -> dict[str, str | None]:
    """Which column of the source is what."""

    def first(*names: str) -> str | None:
        return next((columns[name] for name in names if name in columns), None)

    path = first("uri", *sources.PATH_COLUMNS)
    pred = first("pred_index", "pred", "pred_name", "prediction")
    chosen = {"image_id": first("image_id"), "path": path, "pred": pred}
    chosen |= {"confidence": first("confidence"), "probs": first("probs")}
    if chosen["image_id"] is None and path is None:
        raise SchemaError(f"no column image_id and no path column; there are: {', '.join(columns.values())}")
    if chosen["pred"] is None and chosen["probs"] is None:
        raise SchemaError(f"no column pred, pred_name, pred_index or probs; there are: {', '.join(columns.values())}")
    return chosen


def _is_index(column: str | None, types: dict[str, str], known: Classes, dataset: str) -> bool:
    """Whether predictions are indices; else they are names."""
    if column is None or column.lower() == "pred_name":
        return False
    if column.lower() == "pred_index":
        return True
    if types[column].startswith(("VARCHAR", "ENUM")):
        return False
    odd = misleading(known.names)
    if odd is not None:
        raise SchemaError(
            f"{column} holds numbers, and class {known.names.index(odd)} of data set {dataset!r} is called {odd!r}: "
            "rename the column to pred_name if they are names, to pred_index if they are indices"
        )
    return True


@contextmanager
def _source_rows(con: duckdb.DuckDBPyConnection, source: Any) -> Iterator[None]:
    """The rows of the source as the temporary view `source_rows`."""
    if isinstance(source, duckdb.DuckDBPyRelation):
        source = source.to_arrow_table()
    if isinstance(source, str | Path):
        file = Path(source).expanduser()
        if file.suffix.lower() in sources.MANIFESTS:
            if not file.is_file():
                raise NotFoundError(f"no file {file}")
            reader = {".parquet": "parquet", ".json": "json", ".jsonl": "json"}.get(file.suffix.lower(), "csv")
            execute(con, "create_source_rows", kind=reader, source=str(file))
        else:
            tables = [row[0] for row in fetch(con, "list_relations")]
            if str(source) not in tables:
                raise NotFoundError(f"no file, table or view {str(source)!r}{near_matches(str(source), tables)}")
            execute(con, "create_source_rows", kind="table", source=str(source))
        yield
        return
    if not any(hasattr(source, name) for name in sources.TABULAR):
        raise ArgumentError(
            "predictions come from a CSV, Parquet or JSON file, a table or view, a DuckDB relation, an Arrow table "
            f"or a pandas frame, not from {type(source).__name__}"
        )
    with registered(con, "source_rows", source):
        yield
