"""Label spaces and data sets: lists of classes in the file, and which data set is labeled by which."""

from __future__ import annotations

import json

import duckdb
import pyarrow as pa

from ..core.classes import Classes, Space
from ..db.statements import execute, fetch, registered
from ..errors import NotFoundError, near_matches
from .sources import Source


def resolve_dataset(con: duckdb.DuckDBPyConnection, dataset: str | None) -> tuple[str, str | None]:
    """Name and label space of the data set meant: the one named, or the only one.

    Raises:
        NotFoundError: no data set, none of that name, or several and none named.
    """
    spaces: dict[str, str | None] = dict(fetch(con, "list_datasets"))
    if dataset is None:
        if len(spaces) != 1:
            many = f"several data sets, name one (dataset=): {', '.join(spaces)}"
            raise NotFoundError(many if spaces else "no images yet; add some with add_images")
        dataset = next(iter(spaces))
    if dataset not in spaces:
        raise NotFoundError(f"no data set {dataset!r}{near_matches(dataset, spaces)}")
    return dataset, spaces[dataset]


def read_classes(con: duckdb.DuckDBPyConnection, label_space: str) -> Classes:
    """The classes of a label space; none when there is no such label space."""
    rows = fetch(con, "read_classes", [label_space])
    names = tuple(row[1] for row in rows)
    return Classes(names, tuple(row[2] for row in rows), named=names != tuple(map(str, range(len(names)))))


def save_classes(
    con: duckdb.DuckDBPyConnection, label_space: str, classes: Classes, start: int = 0, n_indexed: int = 0
) -> None:
    """Write the classes from index `start` on into `classes`, and their number into `label_spaces`.

    `n_indexed`: of how many, from the first on, somebody said the index (`Space`).
    """
    known = [
        ({"wnid": wnid} if wnid else {}) | ({"indexed": True} if number < n_indexed else {})
        for number, wnid in enumerate(classes.wnids)
    ]
    extra = [json.dumps(one) if one else None for one in known]
    table = pa.table(
        {
            "class": pa.array(range(start, len(classes)), pa.int32()),
            "name": pa.array(classes.names[start:], pa.string()),
            "extra": pa.array(extra[start:], pa.string()),
        }
    )
    with registered(con, "added_classes", table):
        execute(con, "insert_classes", [label_space])
    execute(con, "delete_label_space", [label_space])
    execute(con, "insert_label_space", [label_space, len(classes)])


def space_name(con: duckdb.DuckDBPyConnection, dataset: str) -> str:
    """The name of the label space of a data set, which may not be there yet."""
    row = fetch(con, "read_dataset", [dataset])
    return (row[0][0] if row else None) or dataset


def open_space(con: duckdb.DuckDBPyConnection, dataset: str, source: Source, *, ordered: bool) -> Space:
    """The label space of a data set with the classes of a source taken up; nothing is written yet."""
    name = space_name(con, dataset)
    used_by = fetch(con, "read_label_space_user", [name])
    n_indexed = fetch(con, "count_indexed_classes", [name])[0][0]
    space = Space(name, read_classes(con, name), used_by[0][0] if used_by else None, n_indexed)
    if source.classes is not None:
        space.use(source.classes, source.keys, ordered=ordered)
    for number in source.numbers:
        space.resolve(number)
    return space


def save_space(con: duckdb.DuckDBPyConnection, space: Space) -> None:
    """Write the classes that are new to a label space."""
    if len(space.names) == space.n_saved:
        return
    if space.n_saved == 0:
        execute(con, "delete_classes", [space.name])
    classes = Classes(tuple(space.names), tuple(space.wnids))
    save_classes(con, space.name, classes, start=space.n_saved, n_indexed=space.n_indexed)
    space.n_saved = len(space.names)
