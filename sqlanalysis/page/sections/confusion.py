"""Section on confusion: the confusion matrix, or for many classes the part with the most confused pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import findings
from ..charts import bars
from ..charts.drawing import draw
from ..draft import Draft, Table
from ..findings import plural
from ..words import count, percent

Row = dict[str, Any]

MATRIX_CLASSES = 30
ORDERED_CLASSES = 1000  # a clustering of more takes long, and no matrix shows them
PAIRS = 20


def confusion(draft: Draft, n_classes: int, runs: Sequence[str] = ()) -> Row:
    """The confusion matrix, or for many classes its part with the most confused pairs.

    Args:
        draft: of a run with labels.
        n_classes: number of classes of the data set.
        runs: all runs that the page can switch between, the draft's first; each has its finding in `facts`.
    """
    cells = draft.ask("confused_cells").rows
    mistakes = sum(row["n"] for row in cells)
    whole = n_classes <= MATRIX_CLASSES
    scattered = not whole and len(cells) >= 0.9 * mistakes
    looked = "Rows are labels; classes that are confused stand side by side." if whole and cells else ""
    names = list(runs or [draft.run])
    found = {"0": findings.confusion(cells, n_classes, looked)}
    for k, run in enumerate(names[1:], start=1):
        found[str(k)] = findings.confusion(draft.of(run, probs=False).ask("confused_cells").rows, n_classes, looked)
    order, groups = clustered(cells, n_classes)
    rows = [] if scattered else draft.ask("confusion_table" if whole else "confused_classes").rows
    places = {code: at for at, code in enumerate(order)}
    rows = sorted(rows, key=lambda row: places.get(row["label"], -1))
    note = ""
    if not whole and rows:
        inside = sum(row["n"] for row in rows if row["label"] != row["pred"])
        part = len({row["label"] for row in rows} | {row["pred"] for row in rows})
        of = f"{count(inside)} of {plural(mistakes, 'mistake')}"
        note = f"The {part} of {count(n_classes)} classes in the most confused pairs; they hold {of} · "
    texts = [[row["label_name"], row["pred_name"], count(row["n"]), percent(row["share"])] for row in cells[:PAIRS]]
    return {
        "finding": findings.markup(found["0"]),
        "note": note,
        "scattered": "So many pairs for so few mistakes: a matrix would show nothing."
        if scattered and mistakes
        else "",
        "chart": draw(bars.confusion(rows, order)) if rows else None,
        "wide": len({row["pred"] for row in rows}) > 12,
        "matrix": _matrix(rows, order, whole),
        "pairs": Table("Most confused pairs", ["label", "prediction", "n", "share of label"], texts, (1,))
        if cells
        else None,
        "facts": {"findings": found, "order": order, "groups": groups},
    }


def clustered(cells: Sequence[Row], n_classes: int) -> tuple[list[int], list[int]]:
    """An order of the classes in which those that are confused stand side by side, and sizes of groups along it.

    Average linkage of the symmetrized shares of mistakes, leaves in their best order (Bar-Joseph et al. 2001,
    Bioinformatics 17:S22-S29). A group of several classes takes more than half of its mistakes from within itself;
    other classes are groups of one. More than 1,000 classes stay in their own order.

    Args:
        cells: of `confused_cells`: label, pred, n, share.
        n_classes: number of classes.
    """
    inner = [row for row in cells if row["pred"] >= 0 and row["label"] >= 0]
    size = max([n_classes, *(max(row["label"], row["pred"]) + 1 for row in inner)])
    if size < 3 or size > ORDERED_CLASSES or not inner:
        return list(range(size)), [1] * size
    from scipy.cluster.hierarchy import leaves_list, linkage, to_tree
    from scipy.spatial.distance import squareform

    shares, counts = np.zeros((size, size)), np.zeros((size, size))
    for row in inner:
        shares[row["label"], row["pred"]] = row["share"]
        counts[row["label"], row["pred"]] = row["n"]
    near = (shares + shares.T) / 2
    distances = 1 - near / near.max()
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    order = [int(code) for code in leaves_list(tree)]
    groups: list[int] = []

    def descend(node: Any) -> None:
        """The largest groups below a node that keep their mistakes to themselves and are at most a third of all."""
        members = node.pre_order()
        inside, all_of = counts[np.ix_(members, members)].sum(), counts[members].sum()
        if len(members) == 1 or (len(members) <= size / 3 and inside > all_of / 2 and inside >= 2):
            groups.append(len(members))
        else:
            descend(node.get_left())
            descend(node.get_right())

    descend(to_tree(tree))
    return order, groups


def _matrix(rows: list[Row], order: Sequence[int], whole: bool) -> Table | None:
    cells = {(row["label"], row["pred"]): row["n"] for row in rows}
    lines = {row["label"]: row["label_name"] for row in rows}
    places = {code: at for at, code in enumerate(order)}
    preds = sorted(
        {row["pred"]: row["pred_name"] for row in rows}.items(), key=lambda pred: (pred[0] < 0, places.get(pred[0], 0))
    )
    texts = [[name, *(count(cells.get((label, pred), 0)) for pred, _ in preds)] for label, name in lines.items()]
    caption = "Confusion matrix" if whole else "Part of the confusion matrix"
    return Table(f"{caption}, images", ["label \\ prediction", *(name for _, name in preds)], texts) if rows else None
