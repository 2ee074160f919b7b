"""The columns by which a page cuts the images into slices, and the condition of each value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from markupsafe import Markup

from ...core.text import name_in_sentence, one_line
from ...db import statements
from ...db.templates import literal
from ...errors import ArgumentError, QueryError
from ...evaluation.metrics import expression
from ..details import clean
from ..draft import Draft
from ..words import count, with_commands

Row = dict[str, Any]

MAX_VALUES = 30  # of a column that is cut by its values
MAX_KEYS = 30  # of meta
MAX_READ = 20_000  # images whose keys `slice_keys` reads
NAMED = 3  # of the keys that were not looked at
MAX_TEXT = 200  # characters of a value; `slice_candidates` reads one more
AT_ONCE = 8  # columns that one query holds in memory
# Low and high end of each column of `measure_images`, as an adjective of images.
STATISTICS = {
    "brightness": ("dark", "bright"),
    "contrast": ("flat", "rich in contrast"),
    "sharpness": ("blurred", "sharp"),
    "colorfulness": ("pale", "colorful"),
    "entropy": ("plain", "detailed"),
}
SHAPE = "case when width_px > height_px then 'landscape' when width_px < height_px then 'portrait' else 'square' end"
SHAPES = {
    "landscape": "width_px > height_px",
    "portrait": "width_px < height_px",
    "square": "width_px = height_px",
}
# Names that a key of meta does not take from a column, and those that the macros read.
RESERVED = ("split", "format", "shape", "shorter side", "file size", "cluster", "folder", *STATISTICS)
RESERVED += ("image_id", "label", "pred", "confidence", "run")


@dataclass(frozen=True)
class Cut:
    """One slice: images of one value of a column.

    Attributes:
        value: text of the value, unique in its column.
        words: for people: a short name, or one and its meaning, "dark · brightness below 0.37".
        subject: the same for a sentence, "dark images (brightness below 0.37)".
        sql: the condition, over the columns of the run.
    """

    value: str
    words: str
    subject: str
    sql: str


@dataclass(frozen=True)
class Feature:
    """A column with its slices, which do not overlap; images in none of them are in no slice of it."""

    name: str
    cuts: tuple[Cut, ...]


@dataclass(frozen=True)
class _Candidate:
    """An expression over the columns of the run that may give a feature.

    Attributes:
        by: whether it is cut into fifths ("number") or by its values ("value").
        ends: what its lowest and highest fifths are called.
        conditions: those of its values, where they have a simpler form.
        given: whether a caller named it, who is told why it cannot be cut.
    """

    name: str
    sql: str
    by: str = "value"
    ends: tuple[str, str] = ("", "")
    unit: str = ""
    conditions: Mapping[str, str] = field(default_factory=dict)
    given: bool = False


def features(draft: Draft) -> list[Feature]:
    """The columns that cut the images of the run: what was measured, what is known, meta, then given expressions.

    Raises:
        ArgumentError: a given expression has one value, or more than 30, or others each time it is computed.
        QueryError: a given expression is none over the columns of the run.
    """
    if draft.cuts is None:
        candidates = _candidates(draft)
        limits = _limits(draft, [each for each in candidates if each.by == "number"])
        others = [each for each in candidates if each.by == "value"]
        values = dict(
            zip((each.name for each in others), _values_of(draft, [each.sql for each in others]), strict=True)
        )
        found = [Feature(each.name, tuple(_cuts(each, limits, values))) for each in candidates]
        draft.cuts = [feature for feature in found if feature.cuts]
    return draft.cuts


def _cuts(candidate: _Candidate, limits: Mapping[str, Row], values: Mapping[str, Row]) -> Iterator[Cut]:
    if candidate.by == "value":
        yield from _values(candidate, values[candidate.name])
    elif candidate.name in limits:
        yield from _fifths(candidate, limits[candidate.name])


def _candidates(draft: Draft) -> list[_Candidate]:
    columns = {row["name"] for row in draft.ask("run_columns").rows}
    listed = [_Candidate(name, name, "number", ends) for name, ends in STATISTICS.items() if name in columns]
    listed.append(_Candidate("shape", SHAPE, conditions=SHAPES))
    side = "least(width_px, height_px)"
    listed.append(_Candidate("shorter side", side, "number", ("small", "large"), " px"))
    listed.append(_Candidate("file size", "n_bytes / 1000", "number", ("small-file", "large-file"), " kB"))
    listed += [_Candidate(name, name) for name in ("split", "format", "cluster") if name in columns]
    listed += _folder(draft)
    keys, _ = _keys(draft, "meta" in columns)
    listed += list(_of_meta(draft, [row["name"] for row in keys], {each.name.casefold() for each in listed}))
    return listed + list(_given(draft, {each.name for each in listed}))


def _keys(draft: Draft, has_meta: bool) -> tuple[list[Row], list[Row]]:
    """The keys of meta that are looked at, and the others."""
    rows = draft.ask("slice_keys").rows if has_meta else []
    keys = [row for row in rows if row["is_plain"]][:MAX_KEYS]
    return keys, [row for row in rows if row not in keys]


def left_out(draft: Draft) -> Markup | None:
    """Which keys of meta the page has not looked at, and how to cut by them; None if it has looked at all."""
    keys, others = _keys(draft, any(row["name"] == "meta" for row in draft.ask("run_columns").rows))
    parts = []
    if others:
        names = [clean(row["name"], None if draft.redacted else draft.folder) for row in others]
        shown = [name_in_sentence(one_line(name) or "(empty)") for name in names if name is not None][:NAMED]
        more = ["…"] if len(shown) < len(others) else []
        parts.append(
            with_commands(
                "Not looked at: {n} of {total} keys of meta ({names}). By itself the page looks at the first {most} by "
                "name, of 1 to 100 characters without quotes, backslashes and control characters; "
                "`--slice EXPR` cuts by others, such as `--slice \"meta->>'KEY'\"`.",
                n=count(len(others)),
                total=count(len(keys) + len(others)),
                names=", ".join(shown + more),
                most=MAX_KEYS,
            )
        )
    if keys + others and (keys + others)[0]["n_read"] == MAX_READ:
        parts.append(
            with_commands(
                "Keys of meta are those of its first {n} images; `--slice EXPR` cuts by others.",
                n=count(MAX_READ),
            )
        )
    return Markup(" ").join(parts) if parts else None


def _folder(draft: Draft) -> list[_Candidate]:
    """The first folder below the one that all images share, unless it says what label or split say."""
    if draft.redacted or not draft.folder:  # then the page names no folder
        return []
    sql = rf"nullif(regexp_extract(substr(uri, {len(draft.folder) + 1}), '^([^/\\]+)[/\\]', 1), '')"
    same = _rows(draft, "slice_same", expression=sql)[0]
    for other in ("label", "split"):
        if same["n_values"] == same[f"n_with_{other}"] == same[f"n_{other}s"]:
            return []
    return [_Candidate("folder", sql)]


def _of_meta(draft: Draft, keys: Sequence[str], taken: set[str]) -> Iterator[_Candidate]:
    """Each key of meta; days of photos by month or by year, whichever has few values."""
    paths = [f"json_extract_string(meta, {literal(f'$.{_quoted(key)}')})" for key in keys]
    for key, sql, kind in zip(keys, paths, _kinds(draft, paths), strict=True):
        # A key must not replace another column, and DuckDB's names have no case.
        name = key if key.casefold() not in {*RESERVED, *taken} else f"meta.{key}"
        name = name if name.casefold() not in taken else f"{name} ({len(taken)})"
        taken.add(name.casefold())
        if not kind["is_many"]:
            yield _Candidate(name, sql)
        elif kind["is_day"]:
            parts = [f"left({sql}, 7)", f"left({sql}, 4)"]
            few = [part for part, about in zip(parts, _kinds(draft, parts), strict=True) if not about["is_many"]]
            yield from (_Candidate(name, part) for part in few[:1])
        elif kind["is_number"]:
            yield _Candidate(name, f"try_cast({sql} as double)", "number")


def _quoted(key: str) -> str:
    return f'"{key}"'


def _given(draft: Draft, taken: set[str]) -> Iterator[_Candidate]:
    for text in dict.fromkeys(draft.slices):
        if not isinstance(text, str):
            raise ArgumentError(f"slices is a list of SQL expressions over the columns of a run, not {text!r}")
        name = " ".join(text.split())
        if not name:
            raise ArgumentError("a slice is an SQL expression over the columns of a run, not an empty text")
        sql = expression("slice", text).rstrip("\n") + ("\n" if "--" in text else "")
        try:
            _rows(draft, "slice_check", where=sql)
            _rows(draft, "slice_candidates", expressions=[sql])
        except QueryError as error:
            reason = str(error.__cause__ or error).partition("\nLINE")[0].strip()
            raise QueryError(
                f"slice {text!r} is not an expression over the columns of {draft.run!r}: {reason}"
            ) from error
        if _rows(draft, "slice_unsteady", expression=sql)[0]["n"]:
            raise ArgumentError(
                f"slice {text!r} has other values each time it is computed, so that no figure of it would hold; give "
                "an expression over the columns of the run alone"
            )
        # A class on which every answer is wrong is a slice; a comparison of label and prediction is not.
        if (
            re.search(r"\b(correct|pred)", sql, re.IGNORECASE)
            and _rows(draft, "slice_decides", expression=sql)[0]["decides"]
        ):
            raise ArgumentError(
                f"slice {text!r} says itself which answers are right, so that its accuracy would be 0% or 100% by "
                "definition; give an expression over what is known of the images"
            )
        yield _Candidate(name if name not in taken else f"{name} (given)", sql, given=True)


def _kinds(draft: Draft, expressions: Sequence[str]) -> list[Row]:
    """Of each expression: is_many (more than 30 values), is_number and is_day (all values that are not NULL)."""
    kinds: list[Row] = []
    for part in _parts(expressions):
        (row,) = _rows(draft, "slice_kinds", expressions=part)
        kinds += [{name: row[f"{name}_{k}"] for name in ("n_values", "is_number", "is_day")} for k in range(len(part))]
    # The number is an estimate; counting millions of values would take longer than all the rest.
    near = [k for k, kind in enumerate(kinds) if kind["n_values"] <= 3 * MAX_VALUES]
    for k, row in zip(near, _values_of(draft, [expressions[k] for k in near]), strict=True):
        kinds[k]["n_values"] = row["n_values"]
    return [{**kind, "is_many": kind["n_values"] > MAX_VALUES} for kind in kinds]


def _values_of(draft: Draft, expressions: Sequence[str]) -> list[Row]:
    """What `slice_candidates` says of each expression."""
    return [row for part in _parts(expressions) for row in _rows(draft, "slice_candidates", expressions=part)]


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))


def _limits(draft: Draft, numbers: Sequence[_Candidate]) -> dict[str, Row]:
    """Where the fifths of numbers end, by name."""
    limits = {}
    for part in _parts(numbers):
        for row in _rows(draft, "slice_limits", expressions=[each.sql for each in part]):
            limits[part[row["feature"]].name] = row
    return limits


def _rows(draft: Draft, query: str, **names: object) -> list[Row]:
    """Rows of a query that finds the cuts; the page shows the queries that use them."""
    result = statements.execute(draft.con, query, run=draft.run, **names)
    columns = [column[0] for column in result.description]
    return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]


def _values(candidate: _Candidate, row: Row) -> Iterator[Cut]:
    """One slice per value, and one of the images without a value."""
    if candidate.given:
        _check(candidate, row)
    if not 2 <= row["n_values"] <= MAX_VALUES or row["longest"] > MAX_TEXT:
        return
    texts = sorted(row["first_values"] or [], key=_order)
    if row["has_null"]:
        texts.append(None)
    for text in texts:
        value = ("none" if "none" not in texts else "no value") if text is None else text.replace("\0", "\u2400")
        yield Cut(value, *_words(candidate, row, text), _condition(candidate, row, text))


def _check(candidate: _Candidate, row: Row) -> None:
    n = row["n_values"]
    if n < 2:
        raise ArgumentError(
            f"slice {candidate.name!r} has {'one value' if n else 'no value'} on all images; give an expression of 2 "
            f"to {MAX_VALUES} values"
        )
    if n > MAX_VALUES:
        raise ArgumentError(
            f"slice {candidate.name!r} has {n:,} values; a slice needs an expression of 2 to {MAX_VALUES}, such as a "
            f"comparison: {candidate.name} < …"
        )
    if row["longest"] > MAX_TEXT:
        raise ArgumentError(
            f"slice {candidate.name!r} has a value of {row['longest']:,} characters, more than {MAX_TEXT}"
        )


def _order(text: str) -> tuple[int, float, str]:
    """Numbers by size, then text."""
    return (0, float(text), text) if re.fullmatch(r"-?\d{1,15}(\.\d+)?", text, re.A) else (1, 0.0, text)


def _condition(candidate: _Candidate, row: Row, text: str | None) -> str:
    sql = f"({candidate.sql})" if candidate.given else candidate.sql
    if text is None:
        return f"{sql} is null"
    if row["type"] == "BOOLEAN":
        return sql if text == "true" else f"not {sql}"
    if text in candidate.conditions:
        return candidate.conditions[text]
    # SQL text ends at a NUL.
    value = literal(text).replace("\0", "' || chr(0) || '")
    return f"{sql} = {value}" if row["type"] == "VARCHAR" else f"{sql}::varchar = {value}"


def _words(candidate: _Candidate, row: Row, text: str | None) -> tuple[str, str]:
    """A value in a table, and as the subject of a sentence."""
    name = candidate.name
    if candidate.given and (text is None or row["type"] == "BOOLEAN"):
        words = f"{name} is null" if text is None else name if text == "true" else f"not ({name})"
        return words, f"images with {name_in_sentence(words)}"
    if text is None:
        return f"none · {name}", f"images without {name_in_sentence(name)}"
    words = f"{name} {text}" if name == "cluster" else f"{text or '(empty)'} · {name}"
    return words, f"images of {name_in_sentence(name)} {name_in_sentence(text or '(empty)')}"


def _fifths(candidate: _Candidate, row: Row) -> Iterator[Cut]:
    """The lowest and the highest fifth of a number, with round limits; equal numbers stay together."""
    low, high = _low_limit(row), _high_limit(row)
    if low is not None:
        below = f"below {_shown(low)}{candidate.unit}"
        yield Cut(below, *_end(candidate, candidate.ends[0], below), f"{candidate.sql} < {low}")
    if high is not None and (low is None or Decimal(low) <= Decimal(high)):
        above = f"{_shown(high)}{candidate.unit} or more"
        yield Cut(above, *_end(candidate, candidate.ends[1], above), f"{candidate.sql} >= {high}")


def _end(candidate: _Candidate, adjective: str, value: str) -> tuple[str, str]:
    """An end of a number in a table, and as the subject of a sentence."""
    meaning = f"{candidate.name} {value}"
    if not adjective:
        return meaning, f"images with {name_in_sentence(meaning)}"
    return f"{adjective} · {meaning}", f"{adjective} images ({meaning})"


def _low_limit(row: Row) -> str | None:
    if not row["n"]:
        return None
    start, near, end = row["shares"][:3]
    if start < end:
        return round_limit(start, end, near)
    share = {row["before_low"]: row["n_below_low"] / row["n"], row["low"]: row["n_up_to_low"] / row["n"]}
    return _tied(share, row["low"], row["before_low"], row["after_low"])


def _high_limit(row: Row) -> str | None:
    if not row["n"]:
        return None
    start, near, end = row["shares"][3:]
    if start < end:
        return round_limit(start, end, near)
    share = {row["before_high"]: 1 - row["n_below_high"] / row["n"], row["high"]: 1 - row["n_up_to_high"] / row["n"]}
    return _tied(share, row["high"], row["before_high"], row["after_high"])


def _tied(share: Mapping[float | None, float], value: float, before: float | None, after: float | None) -> str | None:
    """A limit beside a value that many images have: the side that is nearer to a fifth of the images.

    Args:
        share: of the images in the slice if it ends behind `before`, and if it ends behind `value`.
    """
    gaps = [(start, end) for start, end in ((before, value), (value, after)) if start is not None and end is not None]
    fitting = [gap for gap in gaps if 0.05 <= share[gap[0]] <= 0.4]
    if not fitting:
        return None
    start, end = min(fitting, key=lambda gap: abs(share[gap[0]] - 0.2))
    return round_limit(start, end, (start + end) / 2)


def round_limit(start: float, end: float, near: float) -> str:
    """The number of the fewest digits above `start` and up to `end`, near to a number between them; plain decimals."""
    for digits in range(1, 18):
        text = format(near, f".{digits}g")
        if start < float(text) <= end:
            return _plain(text)
    return _plain(repr(end))


def _plain(text: str) -> str:
    number = Decimal(text)
    return f"{number:f}" if -12 < number.adjusted() < 15 else text


def _shown(limit: str) -> str:
    number = Decimal(limit)
    return count(int(number)) if number == number.to_integral_value() and abs(number) >= 1000 else limit
