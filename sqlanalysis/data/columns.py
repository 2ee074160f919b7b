"""Which column is what: the names that columns have in the field, and what the caller says about them.

One list for every verb that reads a table. Case, blanks, `_`, `-` and `.` do not matter. Where two columns could play
one role, the earlier name of the list wins, and the verb reports what it took.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ..errors import ArgumentError, SchemaError, near_matches

ROLES: dict[str, tuple[str, ...]] = {
    "path": (
        *("path", "paths", "file_path", "filepath", "file_paths", "filepaths", "image_path", "img_path", "image_paths"),
        *("file", "files", "file_name", "filename", "file_names", "filenames", "image_file", "image_filename", "fname"),
        *("image_file_name", "image_name", "img_name", "img_file", "uri", "url", "image_url", "image", "img", "images"),
        *("picture", "photo"),
    ),
    "label": (
        *("label", "labels", "class", "classes", "wnid", "label_idx", "label_index", "label_id", "class_idx"),
        *("class_index", "class_id", "target", "targets", "category", "category_id", "ground_truth", "groundtruth"),
        *("gt", "true_label", "y_true", "y", "fine_label", "fine_labels", "synset"),
    ),
    "label_name": ("label_name", "class_name", "category_name", "label_text", "label_names", "name"),
    "split": ("split", "subset", "partition", "phase", "set", "data_set_split"),
    "dataset": ("dataset", "data_set", "dataset_name"),
    "image_id": ("image_id", "imageid", "img_id", "id"),
    "pred": (
        *("pred", "preds", "prediction", "predictions", "predicted", "predicted_label", "pred_label", "y_pred"),
        *("predicted_class", "pred_class", "model_prediction"),
    ),
    "pred_name": ("pred_name", "pred_names", "predicted_name", "prediction_name", "predicted_class_name"),
    "pred_index": ("pred_index", "pred_idx", "pred_id", "predicted_index", "prediction_index", "predicted_idx"),
    "confidence": ("confidence", "confidences", "conf", "score", "pred_score", "max_prob", "prob", "probability"),
    "probs": (
        *("probs", "probabilities", "class_probs", "class_probabilities", "softmax", "y_prob", "y_proba", "y_score"),
        *("scores", "pred_proba", "pred_probs"),
    ),
    "logits": ("logits", "logit", "raw_logits", "raw_outputs", "outputs"),
    "accepted": ("accepted", "real_labels", "accepted_labels"),
}


def plain(name: str) -> str:
    """A column name as it is compared: lower case, runs of blanks and punctuation as one underscore."""
    return re.sub(r"[\W_]+", "_", name.strip().casefold()).strip("_")


def check_choice(columns: Mapping[str, str] | None, roles: Iterable[str]) -> dict[str, str]:
    """`columns={"label": "species"}` of the caller, with known roles only.

    Raises:
        ArgumentError: not a mapping of role to column, or an unknown role.
    """
    if columns is None:
        return {}
    if not isinstance(columns, Mapping) or not all(isinstance(one, str) for pair in columns.items() for one in pair):
        raise ArgumentError(f'columns maps a role to a column, such as {{"label": "species"}}, not {columns!r}')
    known = list(roles)
    for role in columns:
        if role not in known:
            raise ArgumentError(f"columns: no role {role!r}{near_matches(role, known)}")
    return dict(columns)


def find(names: Sequence[str], roles: Iterable[str], chosen: Mapping[str, str], origin: str) -> dict[str, str | None]:
    """The column of each role: the one chosen, else the first of its usual names that is there; a column has one role.

    Raises:
        SchemaError: a chosen column is not there.
    """
    known = {plain(name): name for name in reversed(names)}
    found: dict[str, str | None] = {}
    for role, name in chosen.items():
        column = name if name in names else known.get(plain(name))
        if column is None:
            raise SchemaError(f"{origin} has no column {name!r} ({role}); it has {', '.join(names)}")
        found[role] = column
    for role in roles:
        if role not in found:
            taken = set(found.values())
            candidates = (known[usual] for usual in ROLES[role] if usual in known)
            found[role] = next((column for column in candidates if column not in taken), None)
    return found


def describe(found: Mapping[str, str | None]) -> dict[str, str]:
    """The roles that were filled, as a verb reports them: role → column."""
    return {role: column for role, column in found.items() if column is not None}
