"""Which image of a data set a path means: one resolver for every verb that matches rows to images.

A path is looked up as written, relative to the folder of its table or to the source of the data set, and by the longest
common end, in whole names: with back slashes, in another Unicode form, without its ending, under the root of another
machine. What fits two images fits none; what is exactly an image of another data set means that one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb

from ..db.statements import execute, fetch

DEPTH = 16  # names at the end of a path that are compared
N_NEAR = 5  # unmatched paths for which a similar name is looked up
SPLITS = (
    *("train", "training", "val", "valid", "validation", "dev", "devel", "development"),
    *("test", "testing", "eval", "evaluation", "holdout", "trainval"),
)
_TABLES = ("_written", "_known", "_folders", "_splits", "_longest")
# Every step, in the order of trust, and the words that report it; the first two are the common case.
STEPS = {
    "image_id": "by image_id",
    "as written": "as written",
    "relative": "relative to the table or the data set",
    "source id": "by the image_id of their source",
    "back slashes": "after back slashes became slashes",
    "Unicode form": "in another Unicode form",
    "end": "by the end of their path",
    "without ending": "by the name without its ending",
    "other root": "by the end of their path, under another root",
}
_USUAL = ("image_id", "as written", "relative")


def match_paths(con: duckdb.DuckDBPyConnection, relation: str, dataset: str, root: Path | None = None) -> None:
    """Find the image of every path; leaves the temporary table `_found`.

    Args:
        con: from `connect`.
        relation: a table or view with the text column `path`.
        dataset: whose images.
        root: the folder that relative paths start at, beside the source of the data set.

    `_found` has one row for every distinct path that is not empty: path, n (images that fit), image_id, uri, step (a
    key of `STEPS`) and problem: NULL, or why it is no image of the data set and what would match.
    """
    execute(con, "create_written", relation=relation)
    execute(con, "create_known", [dataset])
    execute(con, "create_found", folders=_folders(con, dataset, root))
    if fetch(con, "count_unfound")[0][0]:
        execute(con, "insert_found_elsewhere", {"dataset": dataset})
        _match_by_end(con)
    for table in _TABLES:
        execute(con, "drop_path_table", table=table)


def _match_by_end(con: duckdb.DuckDBPyConnection) -> None:
    first, last = (uri or "" for uri in fetch(con, "read_known_ends")[0])
    n_common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    execute(con, "create_folders", start=first[:n_common].rfind("/") + 2)
    execute(con, "create_splits", [list(SPLITS)])
    execute(con, "create_longest", depth=DEPTH)
    execute(con, "insert_found_by_end")
    execute(con, "refuse_shared_images")
    execute(con, "insert_unmatched", n_near=N_NEAR)


def _folders(con: duckdb.DuckDBPyConnection, dataset: str, root: Path | None) -> list[str]:
    """Where relative paths may start: the table's folder, the data set's source, and the folder of that."""
    source = fetch(con, "read_dataset", [dataset])[0][1] or ""
    found = [root.as_posix()] if root is not None else []
    if "/" in source or "\\" in source:
        place = source.replace("\\", "/").rstrip("/")
        found += [place] + ([place.rpartition("/")[0]] if Path(place).suffix else [])
    return list(dict.fromkeys(found))


def describe_steps(matched: Mapping[str, int], rows: str = "rows") -> Iterable[str]:
    """What a verb says about rows that were matched by more than their path as written, one line a step."""
    for step, words in STEPS.items():
        if matched.get(step) and step not in _USUAL:
            yield f"{matched[step]:,} {rows if matched[step] > 1 else rows.removesuffix('s')} matched {words}"
