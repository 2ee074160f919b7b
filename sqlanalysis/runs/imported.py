"""Runs that something else predicted: from a file, a table or a data frame."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from ..core.classes import OUTSIDE, Classes, misleading
from ..core.results import Result
from ..core.talk import say
from ..core.text import one_line
from ..data.columns import plain
from ..data.label_spaces import read_classes, resolve_dataset
from ..data.paths import describe_steps, match_paths
from ..db.statements import execute, fetch, registered, transaction
from ..errors import QueryError, SchemaError, near_matches
from . import gate
from . import run as runs
from .given import TRUE, Given, read_given
from .run import Run, Spec

_INDEX = re.compile(r"-?(0|[1-9][0-9]*)")
_OF_VALUES = (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.BinderException)
_TABLES = ("_found", "_ids", "_rows", "_imported")


@dataclass(frozen=True, repr=False)
class AddedPredictions(Result):
    """What `add_predictions` did: every row of the source is an output, an error, or repeats another row.

    Attributes:
        run: name of the run.
        n_ok: images with an output.
        n_errors: rows without an image or a class, or with unusable probabilities; they are in `errors`.
        n_repeated: rows that say the same about an image as an earlier row.
        columns: what was taken as what, role → column.
        matched: how rows found their image, step → number of rows (`sqlanalysis.data.paths.STEPS`).
        outputs: what the values of each class were taken as: `probs`, `logits`, `log_probs`, `percent` or `sigmoid`;
            None where only predictions came.
        notes: what differs from the common case, one line each.
    """

    run: str
    n_ok: int
    n_errors: int
    n_repeated: int = 0
    columns: dict[str, str] = field(default_factory=dict)
    matched: dict[str, int] = field(default_factory=dict)
    outputs: str | None = None
    notes: tuple[str, ...] = ()


def add_predictions(
    con: duckdb.DuckDBPyConnection,
    source: Any,
    run: str,
    *,
    dataset: str | None = None,
    columns: Mapping[str, str] | None = None,
    outputs: str = "auto",
) -> AddedPredictions:
    """Make a run of predictions that something else computed; needs no torch.

    Args:
        con: from `connect`, writable.
        source: a CSV, TSV, JSON or Parquet file, a glob or list of them, the name of a table or view, a DuckDB
            relation, an Arrow table or a data frame. One row per image, with
            a path (`path`, `file`, `filename`, `image`, …): as in the file, relative to the table or the data set, or
            with another root, as long as one image fits; or `image_id`, the number of `images` or the name of a file
            without its ending; and
            `pred` as numbers (0-based index, -1 outside) or as text (name of a class), or `pred_name`, always the name,
            or `pred_index`, always the index, or only probabilities; and where known `confidence` and `probs` (a list
            of one probability per class) or one column per class with its name.
        run: name of the new run, an identifier.
        dataset: which data set; default the only one.
        columns: which column is what, where the names do not say it, such as `{"pred": "guess", "path": "picture"}`;
            roles are path, image_id, pred, pred_name, pred_index, pred_from_1 (indices counted from 1), confidence,
            probs, logits, positive (the probability of class 1 of two) and dataset.
        outputs: what the values are: `auto` takes probabilities, and logits from a column of that name; `probs`;
            `logits` (softmax makes probabilities of them), `log_probs`, `percent`, or `sigmoid`: independent
            probabilities, which are divided by their sum.

    Returns:
        Counts, and what was taken as what. Rows without an image, with an unknown name of a class, with NaN in `probs`
        or with another number of probabilities become rows of `errors`; rows whose `pred` is NULL are kept, and left
        out by the metrics. Writes `outputs.<run>`, `runs` and the view `<run>`; a refused call writes nothing.

    Raises:
        ArgumentError: not a table, or an unknown value of an option.
        NotFoundError: no such file, table or data set.
        SchemaError: the run name is taken, the data set has no classes, columns are missing, values are not what they
            are called or could mean two things, rows contradict each other, no row fits, or none has a prediction.
    """
    gate.check_choice(outputs)
    dataset, space = resolve_dataset(con, dataset)
    if space is None:
        raise SchemaError(f"data set {dataset!r} has no classes; add its images with labels, or with classes=")
    known = read_classes(con, space)
    if run in runs.known(con):
        raise SchemaError(f"run {run!r} exists; give another run=")
    given = read_given(con, source, columns, known, outputs)
    wanted = Run(run, dataset, "imported", weights=given.origin, model_label_space=space, label_space=space)
    try:
        with transaction(con), registered(con, "source_rows", given.rows):
            done = _import(con, given, wanted, known, outputs)
            _drop_tables(con)
    except QueryError as error:
        if isinstance(error.__cause__, _OF_VALUES):
            reason = one_line(re.sub(r"^[\w ]+ Error: ", "", str(error.__cause__).partition("\n")[0]), 200)
            raise SchemaError(f"{given.origin} holds values that cannot be read: {reason}") from error
        raise
    say(done.notes)
    return done


def _import(
    con: duckdb.DuckDBPyConnection, given: Given, wanted: Run, known: Classes, outputs: str
) -> AddedPredictions:
    """Match, check and write, inside a transaction."""
    run, dataset, size = wanted.run, wanted.dataset, len(known)
    notes = list(given.notes)
    _match_images(con, given, dataset)
    keys, is_index = _class_keys(con, given, known, dataset, notes)
    table = pa.table({"key": pa.array(keys, pa.string()), "class": pa.array(keys.values(), pa.int32())})
    with registered(con, "_given_classes", table):
        execute(con, "create_imported", {"dataset": dataset, "size": size})
    if is_index:
        _check_start(con, given, known, notes)
    _refuse_other_order(con, given, known)
    _check_labels(con, given, known, notes)
    matched = dict(fetch(con, "count_steps"))
    _refuse_conflicts(con, given)
    n_repeated = execute(con, "delete_repeated").fetchall()[0][0]
    n_ok, n_errors, n_predicted = fetch(con, "count_imported")[0]
    if not n_ok:
        problem = fetch(con, "read_import_problem")
        reason = f"the first: {_explained(problem[0][0], known)}" if problem else "it has no rows"
        raise SchemaError(f"no row of {given.origin} fits data set {dataset!r}; {reason}")
    if not n_predicted:
        column = next(
            (given.columns[role] for role in (given.pred_role, "probs", "logits") if role in given.columns), ""
        )
        raise SchemaError(f"no row of {given.origin} has a prediction; fill its column {column}")
    taken = _convert(con, given, outputs, known, notes)
    kept = [("pred", "INTEGER"), ("confidence", "FLOAT")] + [("probs", f"FLOAT[{size}]")] * (
        given.probs_role is not None
    )
    runs.open_run(con, Spec(wanted), kept)
    is_rescaled = taken in ("logits", "log_probs", "sigmoid") and given.probs_role is not None
    execute(
        con, "insert_imported", run=run, size=size, with_probs=given.probs_role is not None, is_rescaled=is_rescaled
    )
    execute(con, "insert_import_errors", {"run": run, "dataset": dataset})
    notes[:0] = _row_notes(con, n_ok, n_errors, n_repeated, matched)
    notes += _unanswered(con, dataset) + _other_datasets(con, given)
    runs.close_run(con, run, "finished", {})
    came_as = taken if given.probs_role is not None else None
    return AddedPredictions(run, n_ok, n_errors, n_repeated, given.columns, matched, came_as, tuple(notes))


def _refuse_other_order(con: duckdb.DuckDBPyConnection, given: Given, known: Classes) -> None:
    """Lists of probabilities or logits must be in the order of the classes.

    Raises:
        SchemaError: every list falls, as those of the k best classes do; or classes are numbers in the order of text.
    """
    role = given.probs_role
    if role is None or role in given.chosen or given.by_name:
        return
    column = given.columns[role]
    if all(name.isdecimal() for name in known.names) and not given.by_class:
        numbers = [int(name) for name in known.names]
        if numbers != sorted(numbers):
            raise SchemaError(
                f"{given.origin}: the values of {column} may be in the order of the numbers, or of the classes, which "
                f"is {', '.join(known.names[:3])}, …; write one column per class, with its name, or "
                f'columns={{"{role}": "{column}"}} takes them in the order of the classes'
            )
    n, n_falling, n_different = fetch(con, "read_falling_rows")[0]
    # By chance n lists of k values all fall once in k! ** n times; two values fall wherever the first class is right.
    if n_falling == n >= (30 if len(known) == 2 else 10) and n_different > 1 and len(known) > 1:
        cure = "write one column per class, with its name"
        if not given.by_class:
            cure += f', or columns={{"{role}": "{column}"}} takes them in the order of the classes'
        raise SchemaError(
            f"{given.origin}: the values of {column} fall in every row: they seem to be those of the best classes, "
            "best first, and not one for each class in the order of the classes; write pred_name and confidence of "
            f"the best, or {cure}"
        )


def _drop_tables(con: duckdb.DuckDBPyConnection) -> None:
    for view in ("_converted", "_checked", "_id_paths"):
        execute(con, "drop_import_table", kind="view", name=view)
    for table in _TABLES:
        execute(con, "drop_import_table", kind="table", name=table)


def _row_notes(
    con: duckdb.DuckDBPyConnection, n_ok: int, n_errors: int, n_repeated: int, matched: Mapping[str, int]
) -> list[str]:
    notes = []
    if n_errors:
        example = fetch(con, "read_import_problem")[0][0]
        notes.append(f"{n_errors:,} of {n_ok + n_errors:,} rows are errors (from errors), the first: {example}")
    notes += describe_steps(matched)
    if n_repeated:
        notes.append(f"{n_repeated:,} rows repeat another row and were left out")
    return notes


def _unanswered(con: duckdb.DuckDBPyConnection, dataset: str) -> list[str]:
    n_without_row, n_without_pred = fetch(con, "count_unanswered", {"dataset": dataset})[0]
    notes = []
    if n_without_row:
        notes.append(f"{n_without_row:,} images of data set {dataset!r} have no row: metrics are of the others")
    if n_without_pred:
        notes.append(f"{n_without_pred:,} rows have no prediction: metrics leave them out")
    return notes


def _other_datasets(con: duckdb.DuckDBPyConnection, given: Given) -> list[str]:
    """What a column `dataset` says that is no data set of this file."""
    n_known, n_other, other = fetch(con, "count_given_datasets")[0]
    if not n_other:
        return []
    rows = f"{n_other:,} rows say {other!r}, which is no data set of this file" if n_known else f"it says {other!r}"
    return [f"{given.columns['dataset']} was not used to tell the data set: {rows}"]


# Rows to images


def _match_images(con: duckdb.DuckDBPyConnection, given: Given, dataset: str) -> None:
    """Make `_rows`: the image of every row.

    Raises:
        SchemaError: image_id contradicts the path, or its numbers could mean two things.
    """
    n_ids, n_whole = fetch(con, "read_given_ids")[0]
    has_path, has_ids = "path" in given.columns, "image_id" in given.columns and n_ids > 0 and n_ids == n_whole
    # A column id beside a path numbers the rows of its table; image_id claims to be ours.
    if has_path and has_ids and plain(given.columns["image_id"]) == "id" and "image_id" not in given.chosen:
        has_ids = False
    if has_path and not has_ids:
        given.columns.pop("image_id", None)
    if has_ids:
        execute(con, "create_image_ids", [dataset])
    relation = "source_rows" if has_path else "_id_paths"
    if not has_path:
        execute(con, "create_id_paths")
    match_paths(con, relation, dataset, given.root)
    if has_path or not has_ids:
        execute(con, "create_rows_of_images", by="path", path="path" if has_path else "given_id")
    else:
        by = _id_reading(con, given, dataset)
        execute(con, "create_rows_of_images", by=by, path="given_id")
    if has_path and has_ids:
        _refuse_disagreement(con, given)


def _id_reading(con: duckdb.DuckDBPyConnection, given: Given, dataset: str) -> str:
    """What whole numbers in image_id mean: the numbers of `images`, those of the source, or names of files.

    Raises:
        SchemaError: two of these fit, and name different images.
    """
    n_ours, n_source, n_named, source_position, named_position, has_zero = fetch(con, "read_id_readings")[0]
    if "image_id" in given.chosen:
        return "image_id"
    column = given.columns["image_id"]
    # A reading that fits fewer rows than ours is chance: files are often called 0.jpg, 1.jpg, …
    for n_other, position in ((n_source, source_position), (n_named, named_position)):
        if not n_ours or n_other < n_ours or position is None:
            continue
        given_id, ours, source, named = fetch(con, "read_id_conflict", [position])[0]
        is_source = position == source_position
        other = f"the image whose source calls it {given_id}: {source}" if is_source else f"the file so called: {named}"
        raise SchemaError(
            f"{given.origin}: {column} {given_id} of row {position} may be the image_id of `images`, {ours}, or "
            f'{other}; columns={{"image_id": "{column}"}} takes the former, a column path says which file is meant'
        )
    n_padded, conflict = fetch(con, "read_padded_names", [dataset])[0]
    if n_ours and n_padded >= n_ours and conflict is not None:
        raise SchemaError(
            f"{given.origin}: {column} {conflict['given_id']} of row {conflict['position']} may be the image_id of "
            f"`images`, {conflict['ours']}, or {conflict['named']}, whose zeros a reader of numbers drops; "
            f'columns={{"image_id": "{column}"}} takes the former; write the names as text, with their zeros, for the '
            "latter"
        )
    if has_zero and n_ours >= max(n_source, n_named):
        raise SchemaError(
            f"{given.origin}: {column} holds 0, and the image_id of `images` count from 1: it may number the rows or "
            "images of another list, and every row would be about another image; a column path says which file is "
            f'meant, columns={{"image_id": "{column}"}} (--columns image_id={column}) takes it as it is, with 0 as an '
            "error"
        )
    if n_ours >= max(n_source, n_named):
        return "image_id"
    return "source id" if n_source >= n_named else "path"


def _refuse_disagreement(con: duckdb.DuckDBPyConnection, given: Given) -> None:
    rows = fetch(con, "read_id_disagreement")
    if not rows:
        return
    position, path, image_id, given_id, uri, n = rows[0]
    id_column, path_column = given.columns["image_id"], given.columns["path"]
    theirs = f"image {given_id} is {uri}" if uri else f"there is no image {given_id}"
    raise SchemaError(
        f"{given.origin}: {path_column} and {id_column} disagree in {n:,} rows: {path} of row {position} is image "
        f'{image_id}, but {theirs}; columns={{"path": "{path_column}"}} takes the paths, '
        f'columns={{"image_id": "{id_column}"}} the numbers'
    )


def _refuse_conflicts(con: duckdb.DuckDBPyConnection, given: Given) -> None:
    rows = fetch(con, "read_conflict")
    if not rows:
        return
    uri, first, last, *values, n = rows[0]
    pairs = zip(("pred", "confidence", "probs"), values[::2], values[1::2], strict=True)
    both = next(f"{role} {one_line(a, 60)} and {one_line(b, 60)}" for role, a, b in pairs if a != b)
    raise SchemaError(
        f"{given.origin}: rows {first} and {last} are about {uri} and say {both} (so for {n:,} images); one prediction "
        "per image, keep one of the rows"
    )


# Predictions to classes


def _class_keys(
    con: duckdb.DuckDBPyConnection, given: Given, known: Classes, dataset: str, notes: list[str]
) -> tuple[dict[str, int], bool]:
    """The class of every prediction as it was given, and whether these are indices.

    Raises:
        SchemaError: numbers may be names, be counted from 1, or belong to another list of classes; names and numbers
            are mixed; a name and the index beside it disagree.
    """
    rows = fetch(con, "read_given_preds")
    counts: dict[str, int] = {}
    for text, _, _, n in rows:
        if text is not None:
            counts[text] = counts.get(text, 0) + n
    if given.pred_role is None or not rows:
        return {}, False
    column = given.columns[given.pred_role]
    is_index = bool(counts) and _by_index(given, counts, known, dataset, column)
    keys = _index_keys(given, counts, known, column) if is_index else _name_keys(counts, known, notes)
    if given.other_role is not None:
        _refuse_contradictions(given, rows, keys, known)
    return keys, is_index


def _refuse_contradictions(
    given: Given, rows: Sequence[tuple[Any, ...]], keys: Mapping[str, int], known: Classes
) -> None:
    """Two columns of predictions say the same, as a name and as an index."""
    column, other_column = given.columns[given.pred_role or ""], given.columns[given.other_role or ""]
    for text, other, position, _ in rows:
        index = keys.get(text)
        same = {str(index)} | ({known.names[index], known.wnids[index]} if index is not None and index >= 0 else set())
        if other is not None and (text is None or (index is not None and other not in same)):
            raise SchemaError(
                f"{given.origin}: {column} and {other_column} disagree: row {position} says "
                f"{'nothing' if text is None else repr(text)} and {other!r}; "
                f'columns={{"{given.pred_role}": "{column}"}} takes the former, '
                f'columns={{"{given.other_role}": "{other_column}"}} the latter'
            )


def _by_index(given: Given, counts: Mapping[str, int], known: Classes, dataset: str, column: str) -> bool:
    """Whether predictions are indices; else they are names."""
    if given.pred_role != "pred":
        return given.pred_role != "pred_name"
    odd = misleading(known.names)
    numbers = [text for text in counts if _INDEX.fullmatch(text)]
    if given.pred_is_number or (given.is_text and len(numbers) == len(counts)):
        if odd is None or given.other_role is not None:  # a second column tells which
            return True
        raise SchemaError(
            f"{given.origin}: {column} holds numbers, and class {known.names.index(odd)} of data set {dataset!r} is "
            f'called {odd!r}: columns={{"pred_name": "{column}"}} takes them as names, '
            f'columns={{"pred_index": "{column}"}} as indices; or rename the column to pred_name or pred_index'
        )
    if any(name.isdecimal() for name in known.names):
        return False
    indices = [text for text in numbers if text != str(OUTSIDE)]
    names = [text for text in counts if text in known.names]
    if indices and names:
        raise SchemaError(
            f"{given.origin}: {column} holds names and numbers (such as {names[0]!r} and {indices[0]!r}); write all as "
            "names, or all as indices"
        )
    return bool(indices) and len(numbers) == len(counts)


def _index_keys(given: Given, counts: Mapping[str, int], known: Classes, column: str) -> dict[str, int]:
    size, start = len(known), 1 if given.pred_role == "pred_from_1" else 0
    odd = next((text for text in counts if not _INDEX.fullmatch(text)), None)
    if odd is not None:
        raise SchemaError(
            f"{given.origin}: {column} holds {one_line(odd, 40)!r}, neither an index from 0 nor {OUTSIDE} (outside)"
        )
    keys = {str(index + start): index for index in range(size)} | {str(OUTSIDE): OUTSIDE}
    numbers = {int(text) for text in counts} - {OUTSIDE}
    if str(size) in counts and min(numbers) == 1 and max(numbers) == size and given.pred_role not in given.chosen:
        raise SchemaError(
            f"{given.origin}: {column} holds 1 to {size} and no 0, and there are {size} classes: counted from 1, 1 is "
            f"{known.names[0]!r}; from 0 (0-based), 1 is {known.names[min(1, size - 1)]!r} and {size} is no class. "
            f'columns={{"pred_from_1": "{column}"}} (--columns pred_from_1={column}) takes the former, '
            f'columns={{"pred_index": "{column}"}} the latter, with {size} as errors'
        )
    beyond = next((text for text in counts if text not in keys), None)
    if beyond is not None and not {"pred_index", "pred_from_1"} & given.chosen:
        raise SchemaError(
            f"{given.origin}: {column} holds {beyond}, but the {size} classes are {start} to {size - 1 + start}: the "
            f"numbers may belong to another list of classes; give names (a column pred_name), {OUTSIDE} for an answer "
            f'outside the classes, or columns={{"pred_index": "{column}"}} to take these rows as errors'
        )
    return keys


def _check_start(con: duckdb.DuckDBPyConnection, given: Given, known: Classes, notes: list[str]) -> None:
    """Whether indices without a 0 are counted from 0: the probabilities beside them say it, else the labels.

    Raises:
        SchemaError: they agree once 1 is subtracted.
    """
    n, n_zero, n_labeled, n_same, n_shifted, n_probs, n_top, n_top_shifted = fetch(con, "count_shifted")[0]
    if not n or n_zero or given.pred_role not in ("pred", "pred_index") or given.pred_role in given.chosen:
        return
    column = given.columns[given.pred_role]
    from_0 = f'columns={{"pred_index": "{column}"}} (--columns pred_index={column})'
    from_1 = f'columns={{"pred_from_1": "{column}"}} (--columns pred_from_1={column})'
    if 2 * n_top_shifted > n_probs:
        raise SchemaError(
            f"{given.origin}: {column} holds no 0 and is one more than the class of the largest probability (arg max) "
            f"in {n_top_shifted:,} of {n_probs:,} rows: counted from 1, {from_1} takes it; counted from 0 (0-based), "
            f"{from_0} takes it, and the probabilities are in another order"
        )
    if 2 * n_top > n_probs or _is_better(n_same, n_shifted, n_labeled):
        return
    labels = f"{n_same:,} of {n_labeled:,} agree with their labels, counted from 1 {n_shifted:,}"
    if n_shifted - n_same > 1 and _is_better(n_shifted, n_same, n_labeled):
        raise SchemaError(
            f"{given.origin}: {column} holds no 0; counted from 0 (0-based), {labels}; {from_0} takes the former, "
            f"{from_1} the latter"
        )
    reason = f", where {labels}" if n_labeled else f", where 1 is {known.names[1]!r}, counted from 1 {known.names[0]!r}"
    notes.append(f"{column} holds no 0: taken as counted from 0 (0-based){reason}; {from_1} takes the latter")


def _check_labels(con: duckdb.DuckDBPyConnection, given: Given, known: Classes, notes: list[str]) -> None:
    """Whether a column called like a label says what the data set says: else classes may be in another order.

    Raises:
        SchemaError: most rows say another class than the label of their image, and no choice says what predictions are.
    """
    texts = [text for (text,) in fetch(con, "read_given_labels")]
    is_index = all(_INDEX.fullmatch(text) for text in texts)
    if not texts or (is_index and misleading(known.names) is not None and not set(texts) <= set(known.names)):
        return
    by_number = is_index and not set(texts) <= set(known.names)
    numbers = {str(index): index for index in range(len(known))}
    keys = numbers if by_number else _name_keys(dict.fromkeys(texts, 1), known, [])
    if not set(texts) - {str(OUTSIDE)} <= set(keys):  # of something else: other classes, or numbers from 1
        return
    table = pa.table({"key": pa.array(keys, pa.string()), "class": pa.array(keys.values(), pa.int32())})
    with registered(con, "_given_labels", table):
        n, n_same, n_predicted, n_as_predicted, row, uri, said, label = fetch(con, "count_given_labels")[0]
    is_name_of_pred = n_predicted > 0 and n_as_predicted == n_predicted and plain(given.label or "") not in TRUE
    if n == n_same or is_name_of_pred:
        return
    start = (
        f"{given.label} says another class than the label of its image in {n - n_same:,} of {n:,} rows: row {row} has "
        f"{said!r}, and {uri} is {known.names[label]!r} (class {label})"
    )
    role = given.pred_role or given.probs_role
    column = given.columns.get(role or "")
    if 2 * n_same >= n or role in given.chosen or column is None:
        notes.append(f"{start}; metrics are of the labels of the data set")
        return
    raise SchemaError(
        f"{given.origin}: {start}; are the classes of this table in another order than {_first_names(known)}? write "
        f"the name of each prediction as pred_name; if only the labels changed, leave the column {given.label} out"
    )


def _first_names(known: Classes) -> str:
    return ", ".join(known.names[:5]) + ", …" * (len(known) > 5)


def _is_better(n: int, n_other: int, n_all: int) -> bool:
    """Whether one way to count agrees with the labels, and the other does not: as good models do, or beyond chance."""
    return n >= max(1, 2 * n_other) and (2 * n >= n_all or n - n_other > 3 * math.sqrt(n + n_other))


def _name_keys(counts: Mapping[str, int], known: Classes, notes: list[str]) -> dict[str, int]:
    """Names and WordNet ids as they are; else without regard to case and blanks, where that is one class."""
    exact = {wnid: index for index, wnid in enumerate(known.wnids) if wnid}
    exact |= {name: index for index, name in enumerate(known.names)} | {str(OUTSIDE): OUTSIDE}
    alike: dict[str, list[int]] = {}
    for index, name in enumerate(known.names):
        alike.setdefault(plain(name), []).append(index)
    keys = {text: exact[text] for text in counts if text in exact}
    near = {
        text: alike[plain(text)][0] for text in counts if text not in exact and len(alike.get(plain(text), ())) == 1
    }
    if near:
        text, index = next(iter(near.items()))
        n = sum(counts[text] for text in near)
        notes.append(
            f"{n:,} rows name a class in another spelling, such as {text!r} for {known.names[index]!r}: taken as it"
        )
    return keys | near


def _explained(problem: str, known: Classes) -> str:
    """A problem with near names of classes."""
    name = problem.removeprefix("no class ")
    return problem if name == problem else problem + near_matches(name, known.names)


# Values


def _convert(con: duckdb.DuckDBPyConnection, given: Given, outputs: str, known: Classes, notes: list[str]) -> str:
    """Check the values and make `_converted`: probabilities; what the values were."""
    execute(con, "create_checked")
    if outputs in ("logits", "sigmoid") and given.probs_role is None:
        raise SchemaError(
            f'{given.origin}: outputs="{outputs}" (--outputs {outputs}) says what the values of each class are, and '
            "there are none; give them, or leave outputs= out"
        )
    asked = outputs
    if outputs == "auto" and given.probs_role == "logits":
        asked = "logits"
    taken, confidence = gate.check_outputs(con, "_checked", asked, origin=given.origin)
    execute(con, "create_converted", outputs=taken, confidence=confidence)
    n_other = gate.check_confidence(con, "_converted", origin=given.origin)
    column = given.columns.get("confidence")
    if column and "confidence" not in given.chosen and taken != "sigmoid":
        notes += gate.check_lone_confidence(con, "_converted", known.names, column, origin=given.origin)
    if n_other and given.pred_role:
        notes.append(
            f"{n_other:,} predictions are not the class of the largest probability: are the probabilities in the order "
            f"of the classes ({_first_names(known)})?"
        )
    if taken == "logits" and outputs == "auto":
        notes.append(f"{given.columns.get('logits')} taken as logits: probabilities are their softmax")
    if taken == "sigmoid":
        notes.append("independent probabilities were divided by their sum")
    return taken
