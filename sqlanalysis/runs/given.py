"""A table of predictions as it was given: which column is what, and its values as numbers and text."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..core.classes import Classes
from ..core.text import one_line
from ..data import columns as naming
from ..data.columns import plain
from ..data.sources.table import FORMATS, Table, is_table, read_table, table_files
from ..db.statements import fetch
from ..db.templates import render
from ..errors import ArgumentError, NotFoundError, SchemaError, near_matches
from . import beside

ROLES = ("path", "image_id", "pred_index", "pred", "pred_name", "probs", "logits", "confidence", "dataset")
PREDS = ("pred_from_1", "pred_index", "pred", "pred_name")  # only the caller says pred_from_1
CHOICES = (*ROLES, "pred_from_1", "positive")  # … and positive, the probability of class 1 of two
_AROUND = ("", "prob_", "probs_", "p_", "proba_", "probability_", "score_")  # before the name of a class in a column
_WRAPPED = re.compile(
    r"(?:tensor|array|np\.array)?[\[(\s]*(.*?)[\])\s,]*(?:(?:dtype|device|grad_fn)=[^)]*\)?[\])\s]*)?", re.S
)
_COMMA = r"^([-+]?\d*),(\d+(?:[eE][-+]?\d+)?\s*%?)$"


@dataclass(frozen=True)
class Given:
    """Predictions as values.

    Attributes:
        rows: position (from 1), path, given_id, given_dataset, given_pred, other_pred (where two columns hold it),
            given_label: text; confidence: double; probs: a list of numbers.
        origin: what to call the source in messages.
        root: where relative paths start.
        columns: what was taken as what, role → column.
        chosen: the roles that the caller named.
        pred_role, other_role: one of `PREDS`; None without.
        pred_is_number: whether the column of predictions has a type of numbers.
        is_text: whether numbers, too, came as text (CSV).
        probs_role: `probs` or `logits`, as the column is called; None without.
        by_class: whether there is one column for each class; `by_name`: called like the class.
        label: the column called like a true label, or like the name of the prediction; None without.
        notes: what a reader of the report should know.
    """

    rows: pa.Table
    origin: str
    root: Path
    columns: dict[str, str]
    chosen: frozenset[str]
    pred_role: str | None
    other_role: str | None
    pred_is_number: bool
    is_text: bool
    probs_role: str | None
    by_class: bool = False
    by_name: bool = False
    label: str | None = None
    notes: tuple[str, ...] = ()


def read_given(
    con: duckdb.DuckDBPyConnection, source: Any, chosen: Mapping[str, str] | None, known: Classes, outputs: str
) -> Given:
    """Read predictions from anything that is a table.

    Raises:
        NotFoundError: no such file, table or view.
        ArgumentError: not a table, or an unknown role in `chosen`.
        SchemaError: it cannot be read, a column is missing, or a value is not what its column should hold.
    """
    named = naming.check_choice(chosen, CHOICES)
    table = _read(con, source, _wanted(known, named))
    names = [name for name in table.rows.column_names if not re.fullmatch(r"__index_level_\d+__", name)]
    if len(set(names)) < len(names):
        raise SchemaError(f"{table.origin} has columns of the same name: {', '.join(names)}")
    picture = next((column for column in named.values() if column in table.left_out), None)
    if picture is not None:
        raise SchemaError(f"{table.origin}: {picture} holds the bytes of pictures; name a column of text or numbers")
    is_whole = {"probs", "logits", "positive"} & named.keys()
    by_class = {} if is_whole else _class_columns(names, known, named, table.origin)
    found = _find(names, named, by_class, table, known)
    _refuse_rivals(table, found, named)
    columns = [_numbers(table.rows[column], column, outputs == "percent") for column in by_class.values()]
    if "positive" in named:
        columns = _both(table, found["positive"] or "", known, outputs)
    _refuse_one_hot(table, found, by_class, columns)
    if not is_whole:
        values = next((found[role] for role in ("probs", "logits") if found.get(role)), None)
        beside.refuse_other_classes(table.rows, values, by_class, known.names, table.origin)
    given = _as_values(table, found, by_class, columns, frozenset(named), outputs)
    is_named = "positive" in named or not all(re.search(r"\d+$", one) for one in by_class.values())
    return replace(given, by_name=bool(columns) and is_named)


def _both(table: Table, column: str, known: Classes, outputs: str) -> list[pa.ChunkedArray]:
    """The probabilities of both of two classes, from that of the second."""
    if len(known) != 2:
        raise SchemaError(
            f"{table.origin}: positive is the probability of class 1 of two, and there are {len(known)} classes; write "
            "one column per class, with its name"
        )
    if outputs not in ("auto", "probs", "percent"):
        raise ArgumentError(f'positive is a probability, or with outputs="percent" a percent, not {outputs}')
    second = _numbers(table.rows[column], column, outputs == "percent")
    return [pc.subtract(100.0 if outputs == "percent" else 1.0, second), second]


def _refuse_rivals(table: Table, found: Mapping[str, str | None], chosen: Mapping[str, str]) -> None:
    """Two columns with usual names of a prediction must say the same."""
    for role in PREDS:
        column = found.get(role)
        if column is None or role in chosen or role not in naming.ROLES:
            continue
        for other in table.rows.column_names:
            if other == column or plain(other) not in naming.ROLES[role] or other in found.values():
                continue
            if _texts(table.rows[column], column).to_pylist() != _texts(table.rows[other], other).to_pylist():
                raise SchemaError(
                    f"{table.origin}: {column} and {other} are both called like a prediction and differ; "
                    f'columns={{"{role}": "{column}"}} (--columns {role}={column}) takes the former'
                )


def _refuse_one_hot(
    table: Table, found: Mapping[str, str | None], by_class: Mapping[int, str], columns: Sequence[pa.ChunkedArray]
) -> None:
    """One column per class with nothing but 0 and 1 may be labels, where something else could be the prediction."""
    if not by_class or not all(np.isin(column.to_numpy(), (0, 1)).all() for column in columns):
        return
    names = table.rows.column_names
    others = [found.get(role) for role in (*PREDS, "confidence")]
    others += [name for name in names if plain(name) in (*naming.ROLES["probs"], *naming.ROLES["logits"])]
    others += [
        name
        for name in names
        if any(plain(name) == plain(around + one) for around in _AROUND if around for one in by_class.values())
    ]
    other = next((name for name in others if name and name not in by_class.values()), None)
    if other is not None and (np.sum([column.to_numpy() for column in columns], axis=0) == 1).all():
        raise SchemaError(
            f"{table.origin}: {_some(list(by_class.values()))} hold only 0 and 1, which may be the true labels, and "
            f"{other} may be the prediction; leave the columns out that are not the prediction"
        )


def _wanted(known: Classes, chosen: Mapping[str, str]) -> Callable[[str], bool]:
    """Which columns predictions can need: those with a usual name, the caller's, and one of a class."""
    roles = (*ROLES, "label", "label_name", "dataset")
    usual = {name for role in roles for name in naming.ROLES[role]} | {plain(name) for name in chosen.values()}
    usual |= {plain(around + key) for key in (*known.names, *filter(None, known.wnids)) for around in _AROUND}
    exact = {*chosen.values(), *(around + name for name in known.names for around in _AROUND)}
    numbered = re.compile(rf"(?:{'|'.join(_AROUND)})\d+")

    def is_wanted(name: str) -> bool:
        return name in exact or plain(name) in usual or bool(numbered.fullmatch(name)) or beside.says_class(name)

    return is_wanted


def _read(con: duckdb.DuckDBPyConnection, source: Any, is_wanted: Callable[[str], bool]) -> Table:
    try:
        if is_table(source):
            return read_table(source, is_wanted=is_wanted)
        if isinstance(source, str | Path):
            files = table_files(source)
            if files:
                return read_table(files, is_wanted=is_wanted)
            text = str(source)
            if Path(text).suffix.lower() in FORMATS or any(sign in text for sign in "*?["):
                raise NotFoundError(f"no file {text}")
            path = os.path.expanduser(text)
            if os.path.exists(path):  # also for text that is no possible name of a file
                what = "a folder" if os.path.isdir(path) else "no table"
                raise SchemaError(f"{text} is {what}; predictions come from files that end in {', '.join(FORMATS)}")
            return _read_relation(con, text, is_wanted)
        if isinstance(source, list | tuple) and source and all(isinstance(one, str | Path) for one in source):
            files = [file for one in source for file in table_files(one) or [Path(one)]]
            return read_table(files, is_wanted=is_wanted)
    except duckdb.Error as error:
        raise SchemaError(f"{type(source).__name__} cannot be read as a table: {one_line(error, 200)}") from error
    except (OverflowError, KeyError) as error:
        raise SchemaError(f"{_call(source)} cannot be read as a table: {one_line(error, 200)}") from error
    raise ArgumentError(
        "predictions come from CSV, Parquet or JSON files, the name of a table or view, a DuckDB relation, an Arrow "
        f"table or a data frame, not from {type(source).__name__}"
    )


def _call(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else type(source).__name__


def _read_relation(con: duckdb.DuckDBPyConnection, name: str, is_wanted: Callable[[str], bool]) -> Table:
    """A table or view of this connection."""
    known = [row[0] for row in fetch(con, "list_sources")]
    if name not in known:
        raise NotFoundError(f"no file, table or view {name!r}{near_matches(name, known)}")
    try:
        table = read_table(con.sql(render("read_source", source=name)), is_wanted=is_wanted)
    except duckdb.Error as error:
        said = str(error).partition("Error: ")[2] or error  # without DuckDB's own name for it
        raise SchemaError(f"{name} cannot be read: {one_line(said, 200)}") from error
    return replace(table, origin=name, name=name)


def _class_columns(names: Sequence[str], known: Classes, chosen: Mapping[str, str], origin: str) -> dict[int, str]:
    """The column of each class, where there is one for each: called like the class, its WordNet id or `prob_` and that.

    Numbers from 0 count where no class is called by a number.
    """
    free = [name for name in names if name not in chosen.values()]
    index = {plain(name): name for name in reversed(free)}
    best: dict[int, str] = {}
    for around in _AROUND:
        found: dict[int, str] = {}
        for number, (name, wnid) in enumerate(zip(known.names, known.wnids, strict=True)):
            keys = [around + key for key in (name, wnid) if key]
            column = next((key for key in keys if key in free), None)
            column = column or next((index[plain(key)] for key in keys if plain(key) and plain(key) in index), None)
            if column is not None and column not in found.values():
                found[number] = column
        best = max(best, found, key=len)
    if not best and not any(name.isdecimal() for name in known.names):
        best = _numbered_columns(free, known, origin)
    if len(best) == len(known):
        return dict(sorted(best.items()))
    if 2 * len(best) >= max(len(known), 4) and not set(PREDS) & chosen.keys():
        missing = [name for number, name in enumerate(known.names) if number not in best]
        raise SchemaError(
            f"{origin} has a column for {len(best)} of the {len(known)} classes, none for {_some(missing)}; "
            'give one column per class, or name the prediction: columns={"pred": "…"}'
        )
    return {}


def _numbered_columns(free: Sequence[str], known: Classes, origin: str) -> dict[int, str]:
    """Columns 0, 1, 2, … or prob_0, prob_1, … as the classes of these indices."""
    for around in _AROUND:
        numbers = {int(name[len(around) :]): name for name in free if re.fullmatch(re.escape(around) + r"\d+", name)}
        if set(numbers) == set(range(len(known))):
            return numbers
        if set(numbers) == set(range(1, len(known) + 1)):
            raise SchemaError(
                f"{origin} has the columns {numbers[1]} to {numbers[len(known)]}: class 0 is {known.names[0]!r}, and "
                "columns may be counted from 1; call them like the classes"
            )
    return {}


def _find(
    names: list[str], named: dict[str, str], by_class: dict[int, str], table: Table, known: Classes
) -> dict[str, str | None]:
    """The column of each role. Where the caller named a role, no other of its kind is looked for."""
    roles = [role for role in ROLES if not (by_class and role in ("probs", "logits"))]
    for kin in (PREDS, ("path", "image_id"), ("probs", "logits", "positive")):
        if set(kin) & named.keys():
            roles = [role for role in roles if role not in kin or role in named]
    free = [name for name in names if name not in by_class.values()]
    listed = ", ".join([*names, *table.left_out]) or "none"
    found = naming.find(free, roles, named, table.origin)
    _swap_lists(table, found, named)
    if found.get("path") is None and found.get("image_id") is None:
        raise SchemaError(
            f'{table.origin} has no column path and no image_id; name it: columns={{"path": "…"}} '
            f"(--columns path=…); there are: {listed}"
        )
    if by_class or any(found.get(role) for role in (*PREDS, "probs", "logits", "positive")):
        return found
    return found | _labels_as_predictions(free, found, table, known, listed)


def _swap_lists(table: Table, found: dict[str, str | None], named: Mapping[str, str]) -> None:
    """A column called prob that holds lists is probs."""
    column = found.get("confidence")
    if column is None or "confidence" in named or found.get("probs") or not _holds_lists(table.rows[column]):
        return
    found["probs"], found["confidence"] = column, None


def _holds_lists(column: pa.ChunkedArray) -> bool:
    if _is_text(column.type):
        first = next((value for value in column.slice(0, 1000).to_pylist() if value), "")
        return str(first).lstrip().startswith(("[", "tensor(", "array("))
    return _is_list(column.type) or pa.types.is_struct(column.type)


def _labels_as_predictions(
    names: list[str], found: dict[str, str | None], table: Table, known: Classes, listed: str
) -> dict[str, str | None]:
    """`label` beside a score is a prediction (timm, Hugging Face, COCO results); alone it may be the true label."""
    origin = table.origin
    labels = naming.find(names, ("label_name", "label"), {}, origin)
    label = labels["label_name"] or labels["label"]
    if label is not None and plain(label) == "category_id":
        raise SchemaError(_categories(table, label, known))
    if label is not None and found.get("confidence") and plain(label) not in TRUE:
        return {"pred": label}
    if label is not None:
        raise SchemaError(
            f"{origin} has no column pred, pred_name, pred_index or probs; {label} may be the true label or the "
            f'prediction: columns={{"pred": "{label}"}} (--columns pred={label}) takes it; there are: {listed}'
        )
    score = found.get("confidence")
    alone = f'{score} as the probability of class 1 of two is columns={{"positive": "{score}"}}; ' if score else ""
    raise SchemaError(
        f"{origin} has no column pred, pred_name, pred_index or probs, and not one column per class; name it: "
        f'columns={{"pred": "…"}} (--columns pred=…); {alone}there are: {listed}'
    )


def _categories(table: Table, column: str, known: Classes) -> str:
    """What is wrong with COCO's category_id: the ids of its annotations, which need not be 0, 1, 2, … or 1, 2, 3, …"""
    texts = pc.unique(_texts(table.rows[column], column).combine_chunks()).drop_null().to_pylist()
    odd = next((text for text in texts if text not in set(map(str, range(len(known) + 1)))), None)
    names = (
        "write the names of the classes into a column pred_name, such as "
        'frame["category_id"].map({one["id"]: one["name"] for one in annotations["categories"]})'
    )
    if odd is None and "0" in texts and str(len(known)) in texts:
        odd = f"0 to {len(known)}"
    if odd is not None:
        return (
            f"{table.origin}: {column} holds {odd}, and there are {len(known)} classes: these are ids of their own, "
            f"which only their annotations name; {names}"
        )
    from_0 = f'columns={{"pred_index": "{column}"}} counts them from 0' if str(len(known)) not in texts else ""
    from_1 = f'columns={{"pred_from_1": "{column}"}} counts them from 1' if "0" not in texts else ""
    fitting = ", ".join(filter(None, (from_0, from_1)))
    return (
        f"{table.origin}: {column} may be counted from 0, from 1, or be ids of their own, as the categories of COCO "
        f"are: {fitting}; or {names}"
    )


# Names of labels that no prediction has.
TRUE = ("y_true", "true_label", "ground_truth", "groundtruth", "gt", "target", "targets")


def _as_values(
    table: Table,
    found: dict[str, str | None],
    by_class: dict[int, str],
    columns: list[pa.ChunkedArray],
    chosen: frozenset[str],
    outputs: str,
) -> Given:
    rows, n = table.rows, table.rows.num_rows
    is_percent = outputs == "percent"
    role, other_role = [*(role for role in PREDS if found.get(role)), None, None][:2]
    pred, other = found.get(role or ""), found.get(other_role or "")
    taken = {name: column for name, column in found.items() if column and name not in PREDS}
    taken |= {name: column for name, column in ((role, pred), (other_role, other)) if name and column}
    probs_role = next((name for name in ("probs", "logits") if found.get(name)), "probs" if columns else None)
    if by_class:
        taken["probs"] = (
            ", ".join(by_class.values()) if len(by_class) <= 6 else f"{len(by_class)} columns, one per class"
        )
    if columns:
        probs: pa.Array | pa.ChunkedArray = _stack(columns)
    elif probs_role:
        probs = _lists(rows[found[probs_role]], str(found[probs_role]), is_percent)
    else:
        probs = pa.nulls(n, pa.list_(pa.float32()))
    path, confidence, of = found.get("path"), found.get("confidence"), found.get("dataset")
    label = _label_beside(table, {*taken.values(), *by_class.values()})
    values = {
        "position": pa.array(np.arange(1, n + 1)),
        "path": _paths(rows[path], path) if path else pa.nulls(n, pa.string()),
        "given_id": _texts(rows[found["image_id"]], "image_id") if found.get("image_id") else pa.nulls(n, pa.string()),
        "given_dataset": _texts(rows[of], of) if of else pa.nulls(n, pa.string()),
        "given_pred": _names(table, pred) if pred else pa.nulls(n, pa.string()),
        "other_pred": _names(table, other) if other else pa.nulls(n, pa.string()),
        "given_label": _names(table, label) if label else pa.nulls(n, pa.string()),
        "confidence": _numbers(rows[confidence], confidence, is_percent) if confidence else pa.nulls(n, pa.float64()),
        "probs": probs,
    }
    is_number = pred is not None and pred not in table.features and _is_number(_decoded(rows[pred]).type)
    is_label = pred is not None and role not in chosen and plain(pred) not in naming.ROLES[role or "pred"]
    notes = (f"{pred}, beside {confidence}, taken as the prediction",) if is_label else ()
    return Given(
        rows=pa.table(values),
        origin=table.origin,
        root=table.root,
        columns=taken,
        chosen=chosen,
        pred_role=role,
        other_role=other_role,
        pred_is_number=is_number,
        is_text=table.is_text,
        probs_role=probs_role,
        by_class=bool(columns),
        label=label,
        notes=notes,
    )


def _label_beside(table: Table, taken: Collection[str]) -> str | None:
    """A column of single values that is called like a label, beside the prediction."""
    free = [name for name in table.rows.column_names if name not in taken]
    known = {plain(name): name for name in reversed(free)}
    usual = (known[name] for role in ("label", "label_name") for name in naming.ROLES[role] if name in known)
    fits = _is_any(_is_text, _is_number)
    return next((name for name in usual if fits(table.rows[name].type) and not _holds_lists(table.rows[name])), None)


def _names(table: Table, column: str) -> pa.ChunkedArray:
    """Predictions as text; indices of a Hugging Face ClassLabel as its names."""
    texts, names = _texts(table.rows[column], column), table.features.get(column)
    if names is None or not _is_number(table.rows[column].type):
        return texts
    index = {str(number): name for number, name in enumerate(names)}
    return pa.chunked_array([pa.array([index.get(text, text) for text in texts.to_pylist()], pa.string())])


def _paths(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Paths as they are written; of Hugging Face's images the field path."""
    if pa.types.is_struct(column.type) and column.type.get_field_index("path") >= 0:
        column = pc.struct_field(column, "path")
    return _texts(column, name, as_written=True)


def _texts(column: pa.ChunkedArray, name: str, as_written: bool = False) -> pa.ChunkedArray:
    """Values as text, nothing for NULL, NaN and empty text.

    Unless `as_written`, without blanks around, in NFC, whole numbers without decimals.
    """
    column = _decoded(column)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column.cast(pa.float64())), None, column.cast(pa.float64()))
    elif not (_is_text(column.type) or _is_number(column.type) or pa.types.is_boolean(column.type)):
        raise SchemaError(f"{name} holds {column.type}; one value per row is needed")
    try:
        if pa.types.is_floating(column.type) and pc.all(pc.equal(column, pc.round(column))).as_py():
            column = column.cast(pa.int64())
        texts = column.cast(pa.string())
        if not as_written:
            texts = pc.utf8_normalize(pc.utf8_trim_whitespace(texts), form="NFC")
    except pa.ArrowException as error:
        raise SchemaError(f"{name} holds values that are neither text nor numbers: {one_line(error, 100)}") from error
    if not as_written:
        texts = pc.replace_substring_regex(texts, r"^(-?\d+)\.0+$", r"\1")
    return pc.if_else(pc.equal(texts, ""), None, texts)


def _numbers(column: pa.ChunkedArray, name: str, is_percent: bool = False) -> pa.ChunkedArray:
    """Values as numbers; text may have a decimal comma, and `%` where percents are taken."""
    column = _decoded(column)
    if _is_number(column.type):
        column = column.cast(pa.float32() if pa.types.is_float16(column.type) else pa.float64())
    elif _is_text(column.type):
        texts = pc.utf8_trim_whitespace(column.cast(pa.string()))
        if pc.any(pc.match_substring(texts, ",")).as_py():
            texts = pc.replace_substring_regex(texts, _COMMA, r"\1.\2")
        if is_percent:
            texts = pc.utf8_rtrim(texts, "% ")
        texts = pc.if_else(pc.equal(texts, ""), None, texts)
        try:
            column = texts.cast(pa.float64())
        except pa.ArrowException:
            raise _no_number(column, texts, name) from None
    else:
        raise SchemaError(f"{name} holds {column.type}; one number per row is needed")
    return pc.if_else(pc.is_nan(column), None, column)


def _no_number(column: pa.ChunkedArray, texts: pa.ChunkedArray, name: str) -> SchemaError:
    for row, (written, text) in enumerate(zip(column.to_pylist(), texts.to_pylist(), strict=True), 1):
        if text is not None and _float(text) is None:
            percent = '; outputs="percent" takes percents (--outputs percent)' if "%" in text else ""
            return SchemaError(f"{name} of row {row} is not a number: {one_line(written, 60)}{percent}")
    return SchemaError(f"{name} holds text that is not a number")


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _lists(column: pa.ChunkedArray, name: str, is_percent: bool) -> pa.Array | pa.ChunkedArray:
    """Lists of numbers: of any width and type, or as text."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    if _is_text(column.type):
        return _parsed(column, name)
    if not _is_list(column.type):
        raise SchemaError(
            f"{name} holds {column.type}; one list of numbers per row is needed, or one column per class; the "
            f'probability of class 1 of two is columns={{"positive": "{name}"}} (--columns positive={name})'
        )
    inner = column.type.value_type
    if _is_text(inner):
        return _parsed(pa.chunked_array([pa.array([_joined(row) for row in column.to_pylist()], pa.string())]), name)
    if not _is_number(inner):
        raise SchemaError(f"{name} holds lists of {inner}; one list of numbers per row is needed")
    narrow = pa.types.is_float16(inner) or pa.types.is_float32(inner)
    try:
        return column.cast(pa.list_(pa.float32() if narrow else pa.float64()))
    except pa.ArrowException as error:
        raise SchemaError(f"{name} cannot be read as lists of float32: {one_line(error, 100)}") from error


def _joined(row: list[str | None] | None) -> str | None:
    return None if row is None else "[" + " ".join(str(value).replace(",", ".") for value in row) + "]"


def _parsed(column: pa.ChunkedArray, name: str) -> pa.Array:
    """Text as lists: JSON, numpy, torch, or numbers between blanks, commas or semicolons."""
    plain_lists = _plain_lists(column)
    if plain_lists is not None:
        return plain_lists
    parsed: list[Any] = []
    for row, text in enumerate(column.to_pylist(), 1):
        values = _parse(text) if text and text.strip() else None
        if values is None and text and text.strip():
            short = "; numpy has shortened it: write probs.tolist()" if "..." in text else ""
            raise SchemaError(
                f"{name} of row {row} is not a list of numbers: {one_line(text, 60)}{short}; write a list such as "
                "[0.1, 0.9], or one column per class"
            )
        parsed.append(values)
    return pa.array(parsed, pa.list_(pa.float64()))


def _plain_lists(column: pa.ChunkedArray) -> pa.Array | None:
    """Lists that all are numbers with commas between brackets, ten times as fast as one by one; None for others."""
    texts = pc.utf8_trim_whitespace(_decoded(column).cast(pa.string())).combine_chunks()
    if not pc.all(pc.match_substring_regex(texts, r"^\[[-+.0-9eE, ]+\]$")).as_py():
        return None
    parts = pc.split_pattern(pc.utf8_slice_codeunits(texts, 1, -1), ",")
    try:
        numbers = pc.utf8_trim_whitespace(parts.flatten()).cast(pa.float64())
    except pa.ArrowException:
        return None
    return pa.ListArray.from_arrays(parts.offsets, numbers, mask=parts.is_null())


def _parse(text: str) -> list[float] | None:
    try:
        values = json.loads(text)
        if isinstance(values, list):
            return [float("nan") if value is None else float(value) for value in values]
    except (ValueError, TypeError, RecursionError):
        pass
    inside = _WRAPPED.fullmatch(re.sub(r"(?:np|numpy)\.float\d+\(([^)]*)\)", r"\1", text.strip()))
    if inside is None:
        return None
    body = inside[1].replace(",", ".") if ";" in inside[1] else inside[1]
    numbers = [_float(part) for part in re.split(r"\s*[,;\s]\s*", body.strip())]
    return None if None in numbers else [number for number in numbers if number is not None]


def _stack(columns: list[pa.ChunkedArray]) -> pa.Array:
    """One list a row from one column per class; NULL where all are."""
    arrays = [column.to_numpy() for column in columns]  # NULL becomes NaN
    values = np.column_stack(arrays) if arrays else np.empty((0, 0))
    lists = pa.FixedSizeListArray.from_arrays(
        pa.array(values.ravel()), len(columns), mask=pa.array(np.isnan(values).all(axis=1))
    )
    return lists.cast(pa.list_(lists.type.value_type))


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _is_any(*tests: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    return lambda dtype: any(test(dtype) for test in tests)


_is_number = _is_any(pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
_is_list = _is_any(pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)


def _is_text(dtype: pa.DataType) -> bool:
    if pa.types.is_dictionary(dtype):
        return _is_text(dtype.value_type)
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
