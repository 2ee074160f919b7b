"""Class policies: how outputs of a model or function become classes of a data set, and what that leaves outside."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol

import duckdb

from ..core.classes import OUTSIDE, Classes, ClassMap, imagenet1k, is_sorted_as_text, map_classes, some
from ..data.label_spaces import read_classes
from ..db.statements import fetch
from ..errors import ArgumentError, SchemaError
from .run import Run, Spec

POLICIES = ("auto", "restricted", "open", "identity")


class Classified(Protocol):
    """What class maps need of a model or of a function."""

    @property
    def name(self) -> str:
        """What a label space of its own is called."""

    @property
    def classes(self) -> Classes:
        """Names of its outputs."""


def check_policy(policy: str) -> None:
    """Refuse an unknown policy.

    Raises:
        ArgumentError: the message has the known ones.
    """
    if policy not in POLICIES:
        raise ArgumentError(f"no policy {policy!r}; give one of {', '.join(POLICIES)}")


def choose_map(
    con: duckdb.DuckDBPyConnection, model: Classified, space: str | None, policy: str, path: str | Path | None
) -> tuple[ClassMap | None, str]:
    """The map from the model's outputs to the data set's classes, and the policy that was chosen."""
    if space is None:
        if policy not in ("auto", "identity") or path is not None:
            raise SchemaError(f"policy {policy!r} needs a labeled data set; this one has no classes")
        return None, "identity"
    target = read_classes(con, space)
    # Numbered classes have no names to compare, so an equal number of classes must do.
    by_number = not model.classes.named and len(model.classes) == len(target)
    equal = model.classes.names == target.names or by_number
    if policy == "auto" and path is None and by_number and is_sorted_as_text(target.names):
        raise SchemaError(
            f"the outputs of {model.name} have no names, and the classes of {space!r} are in the order of their text "
            f"({', '.join(target.names[:3])}, …), not of their numbers: give load_model(…, classes=[…]) (--classes) "
            'the names in the order of the outputs, or policy="identity" if the order is the same'
        )
    if policy == "identity" and len(model.classes) != len(target):
        raise SchemaError(f"policy identity needs as many outputs as classes: {len(model.classes)} and {len(target)}")
    if policy == "identity" or (policy == "auto" and equal and path is None):
        return None, "identity"
    chosen = "open" if policy == "auto" else policy
    return map_classes(model.classes, target, chosen, path), chosen


def with_model_classes(
    con: duckdb.DuckDBPyConnection, wanted: Run, model: Classified, mapping: ClassMap | None
) -> Spec:
    """The spec of the run, with the label space of the model's own classes if these differ from the data set's."""
    if mapping is None and wanted.label_space is not None:
        return Spec(dataclasses.replace(wanted, model_label_space=wanted.label_space))
    name, new_classes = _model_label_space(con, model, wanted.run)
    pairs = [pair for pair in enumerate(mapping.to_class) if pair[1] != OUTSIDE] if mapping else []
    wanted = dataclasses.replace(wanted, model_label_space=name, label_space=wanted.label_space or name)
    return Spec(wanted, pairs, new_classes)


def _model_label_space(con: duckdb.DuckDBPyConnection, model: Classified, run: str) -> tuple[str, Classes | None]:
    """Name of the label space of the model's own classes, and the classes if it must still be written.

    Raises:
        SchemaError: all candidate names are taken by other classes.
    """
    base = "imagenet1k" if model.classes == imagenet1k() else model.name
    # Another model or data set may already use a name for other classes.
    for name in (base, f"{base}_classes", f"{run}_classes"):
        stored = read_classes(con, name)
        if stored.names == model.classes.names:
            return name, None
        if not stored.names:
            return name, model.classes
    raise SchemaError(f"label space {run}_classes exists with other classes; give another run=")


def note_order(
    con: duckdb.DuckDBPyConnection, model: Classified, space: str | None, mapping: ClassMap | None
) -> list[str]:
    """A note where outputs without names are taken in the order of the data set's classes, which may be wrong."""
    names = read_classes(con, space).names if space is not None else ()
    if mapping is not None or model.classes.named or not names or names == model.classes.names:
        return []
    pairs = some([f"{index} {name!r}" for index, name in enumerate(names)])
    return [f"the outputs of {model.name} have no names: taken in the order of the data set's classes, {pairs}"]


def count_outside(con: duckdb.DuckDBPyConnection, run: str, mapping: ClassMap | None) -> tuple[int, list[str]]:
    """How many answers are outside the classes of the data set, and a note with both accuracies if any is."""
    if mapping is None:
        return 0, []
    n_outside, n, accuracy_open, accuracy_restricted = fetch(con, "policy_accuracies", run=run)[0]
    if not n_outside:
        return 0, []
    note = f"{n_outside:,} of {n:,} answers are outside the classes of the data set"
    if accuracy_open is not None:
        note += (
            f": accuracy {accuracy_open:.3f} counts them as wrong (policy open), {accuracy_restricted:.3f} leaves "
            f"these outputs out (policy restricted); this run is {mapping.policy}"
        )
    return n_outside, [note]
