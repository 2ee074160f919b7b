"""Labels of a source against the classes that the caller gives and those of the data set, before anything is written.

What can be read in two ways is refused with both readings; what is taken in one of them is a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ..core.classes import MAX_NUMBERED, Classes, near_twins, some
from ..errors import SchemaError
from .sources import Entry, Source
from .sources.folder import is_split


def settle(source: Source, known: Classes, given: Classes | None) -> None:
    """Which class each label of the source means, written into the source.

    Args:
        source: as its reader made it.
        known: the classes of the data set so far.
        given: `classes=` of the caller, in the order of the integer labels of this source.

    Raises:
        SchemaError: labels that can be read in two ways; the message gives both.
    """
    _refuse_mixed(source, {*known.names, *(given.names if given is not None else ())})
    if given is not None:
        _give(source, given)
    _settle_numbers(source, known)


def _refuse_mixed(source: Source, known: set[str]) -> None:
    """Names and numbers in one column, unless all of them are known as names."""
    if source.mixed is None or set(source.keys) <= known:
        return
    name, number = source.mixed
    column = source.columns.get("label", "label")
    raise SchemaError(
        f"{source.origin}: labels are names and numbers (such as {name!r} and {number!r}): a number could be an index "
        "or a name; write all as names, or all as indices, and leave what is unknown empty. If each is a name, "
        f'columns={{"label_name": "{column}"}} (--columns label_name={column}) says so'
    )


def _give(source: Source, given: Classes) -> None:
    """Classes of the caller for the labels of a source: by name, by what the source says, else by their order."""
    own, keys = source.classes, source.keys
    if own is not None and (source.indexed or not keys):
        _refuse_contradiction(source, own, given)
    if own is not None and keys and not source.indexed and "label_name" in source.columns:
        keys = _by_own_names(source, own, given)
    elif keys and not (source.indexed and len(keys) == len(given) and set(keys).isdisjoint(given.names)):
        keys = _by_name_or_order(source, given)
    source.classes, source.keys, source.indexed = given, keys, True


def _refuse_contradiction(source: Source, own: Classes, given: Classes) -> None:
    """The source says the name of an index, and `classes=` another one."""
    named = source.columns.get("label_name")
    index = {name: number for number, name in enumerate(given.names)}
    for number in source.numbers or range(len(own)):
        if not 0 <= number < len(own):
            continue
        name = own.names[number]
        differs = number >= len(given) or given.names[number] != name
        # A column of names speaks of every row; other lists of names may be renamed, but not put into another order.
        if differs and (named is not None or index.get(name, number) != number):
            other = repr(given.names[number]) if number < len(given) else "no class"
            raise SchemaError(
                f"{source.origin}: label {number} is {name!r} {f'in {named}' if named else 'in the source'}, and "
                f"{other} in classes= (--classes): which one? leave out classes=, or "
                f"{f'the column {named}' if named else 'write the names as labels'}"
            )


def _by_own_names(source: Source, own: Classes, given: Classes) -> tuple[str, ...]:
    """The key of each given class, where a column names every key; a class without one has its name."""
    named = source.columns["label_name"]
    for key, name in zip(source.keys, own.names, strict=True):
        at_index = given.names[int(key)] if re.fullmatch("[0-9]{1,6}", key) and int(key) < len(given) else name
        if name not in given.names or at_index != name:
            other = repr(at_index) if at_index != name else "no class"
            raise SchemaError(
                f"{source.origin}: label {key} is {name!r} in {named}, and {other} in classes= (--classes), which "
                f"counts from 0: which one? leave out classes=, or the column {named}"
            )
    key_of = dict(zip(own.names, source.keys, strict=True))
    return tuple(key_of.get(name, name) for name in given.names)


def _by_name_or_order(source: Source, given: Classes) -> tuple[str, ...]:
    """No keys where the labels are the names themselves, or their WordNet ids; else one key for each class, in order.

    Raises:
        SchemaError: only some are names, or they have no order that says which is which.
    """
    keys = source.keys
    known = {key for key in (*given.names, *given.wnids) if key}
    unknown = [key for key in keys if key not in known]
    if not unknown:
        return ()
    whole = [key for key in unknown if key.isdecimal()]
    if whole and len(whole) < len(unknown):
        other = next(key for key in unknown if not key.isdecimal())
        raise SchemaError(
            f"labels are names and numbers (such as {other!r} and {whole[0]!r}): a number could be an index or a "
            "name; write all as names, or all as indices, and leave what is unknown empty"
        )
    if len(unknown) < len(keys):
        name = next(key for key in keys if key in known)
        raise SchemaError(
            f"label {name!r} is among the classes, and {some(unknown)} {'is' if len(unknown) == 1 else 'are'} "
            f"not: {some(given.names)}; give classes= a name for each label, or correct the labels"
        )
    if len(keys) != len(given):
        raise SchemaError(f"{len(given)} classes for {len(keys)} labels: {some(keys)}; give one each")
    order = _numbers_in(keys)
    if order is None:
        raise SchemaError(
            f"labels are {some(keys)}, and the classes {some(given.names)}: none is the name of one, and their order "
            f"says nothing (is {keys[0]!r} {given.names[0]!r}?); write the names of the classes as labels, or give a "
            "table with columns label and label_name"
        )
    if order != sorted(order):
        raise SchemaError(
            f"the names could be in the order of the numbers, or of the text of the labels, which is "
            f"{', '.join(keys[:3])}, …; call the labels so that both are the same, such as 01, 02, 10"
        )
    if order != list(range(len(keys))):
        pairs = some([f"{key} is {name!r}" for key, name in zip(keys, given.names, strict=True)])
        source.notes.append(f"labels taken in their order as the classes given: {pairs}")
    return keys


def _numbers_in(keys: Sequence[str]) -> list[int] | None:
    """The number at the end of each label, where they differ in nothing else: 3, c3, n01440764; else None."""
    parts = [re.fullmatch(r"(.*?)(\d+)", key) for key in keys]
    found = [part for part in parts if part is not None]
    if len(found) < len(keys) or len({part[1] for part in found}) > 1:
        return None
    return [int(part[2]) for part in found]


def _settle_numbers(source: Source, known: Classes) -> None:
    """Whether the whole numbers of a source are indices or names, before anything is written.

    Raises:
        SchemaError: they could be indices counted from 1; the message gives both readings.
    """
    numbers = [number for number in source.numbers if number >= 0]
    names = source.classes or (known if known.names else None)
    if not numbers or numbers[0] == 0:
        if names is None and numbers and numbers[-1] >= 2 * len(numbers):
            n = numbers[-1] + 1 - len(numbers)
            source.notes.append(
                f"labels are 0 to {numbers[-1]}, and {n:,} numbers between have no image: classes without one; if "
                f"{numbers[-1]} means no label, leave it empty"
            )
        return
    # Numbers beyond the limit stay indices, which `Space` refuses: they are ids of images rather than names of classes.
    if names is None or (source.classes is None and _are_numbers(known)):
        if numbers[-1] < MAX_NUMBERED:
            _take_as_names(source, numbers)
    elif names.named and numbers[-1] < len(names):
        source.notes.append(
            f"labels are {_span(numbers)}, without 0 ({names.names[0]!r}): taken as indices from 0, so that "
            f"{numbers[0]} is {names.names[numbers[0]]!r}; if they are counted from 1, subtract 1, or "
            "write the names of the classes"
        )
    elif names.named and numbers[-1] == len(names):
        raise SchemaError(
            f"the labels are {_span(numbers)}, without 0, and there are {len(names)} classes: counted from 1 (then "
            f"{numbers[-1]} is {names.names[-1]!r}), or 0-based indices (then {numbers[-1]} is no class)? subtract 1 "
            "from them, or write the names of the classes"
        )


def check_seen(source: Source, seen: set[str | int]) -> None:
    """Like `settle`, of a source that shows its labels only while it is read, and names no classes.

    Raises:
        SchemaError: names and numbers, or whole numbers without 0; both were taken as indices.
    """
    numbers = sorted(label for label in seen if isinstance(label, int))
    names = sorted(label for label in seen if isinstance(label, str))
    if numbers and names:
        raise SchemaError(
            f"{source.origin}: labels are names and numbers (such as {names[0]!r} and {numbers[0]}): a number could be "
            "an index or a name; write all as names, or all as indices"
        )
    if numbers and numbers[0] > 0:
        raise SchemaError(
            f"{source.origin}: labels are {_span(numbers)}, without 0: the names of {len(numbers)} classes (then give "
            "them as text), or indices (then give classes=, --classes, the names from index 0 on)?"
        )


def _are_numbers(known: Classes) -> bool:
    """Whether the names are whole numbers in order, as `_take_as_names` leaves them; text puts 10 before 2."""
    if not known.named or not all(re.fullmatch("0|[1-9][0-9]*", name) for name in known.names):
        return False
    numbers = [int(name) for name in known.names]
    return bool(numbers) and numbers == sorted(numbers)


def _take_as_names(source: Source, numbers: Sequence[int]) -> None:
    source.keys = tuple(map(str, numbers))
    source.classes, source.numbers = Classes(source.keys), ()
    n = f"{len(numbers)} class{'es' * (len(numbers) > 1)}"
    source.notes.append(
        f"labels are {_span(numbers)}, without 0: taken as the name{'s' * (len(numbers) > 1)} of {n}; if they are "
        "indices, give classes= (--classes) the names from index 0 on"
    )


def _span(numbers: Sequence[int]) -> str:
    return f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])


def _folded(split: str) -> str:
    return split.strip().casefold()


class Spellings:
    """One spelling of each usual split of a data set: `train`, `Train` and `TRAIN` are one, the first that came."""

    def __init__(self, known: Iterable[str]) -> None:
        self._first = {_folded(split): split for split in known}
        self._seen: dict[str, str] = {}

    def of(self, split: str | None) -> str | None:
        """The spelling of a split that counts."""
        if split is None:
            return None
        if split not in self._seen:
            self._seen[split] = self._first.setdefault(_folded(split), split) if is_split(split) else split
        return self._seen[split]

    def fold(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The entries, with one spelling of their splits."""
        for entry in entries:
            split = self.of(entry.split)
            yield entry if split == entry.split else replace(entry, split=split)

    def notes(self, splits: Iterable[str]) -> list[str]:
        """What was taken as one, and splits that could be one, too."""
        folded = [f"{given!r} as {first!r}" for given, first in self._seen.items() if given != first]
        twins = [" and ".join(map(repr, group)) for group in near_twins(splits)]
        notes = [f"splits that differ only by case are one: {', '.join(folded)}"] if folded else []
        return notes + [f"splits that differ only by case, blanks or punctuation: {'; '.join(twins)}"] * bool(twins)
