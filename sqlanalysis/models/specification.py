"""A model as a specification: what another process needs to load it again, and to see that it is the same one.

`describe_source` keeps the arguments of `load_model` as JSON can hold them; `specify` adds hashes of what was loaded;
`load_specified` loads it and compares them. Weights never travel: a worker loads them from where they are.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.classes import Classes
from ..errors import ArgumentError, InferenceError
from .loading.names import parse
from .transforms import describe_transform

if TYPE_CHECKING:
    from .model import Model

# What must be equal for two models to be the same, and how it is called in a message.
_HASHES = {
    "weights_sha256": "other weights",
    "transform": "another transform",
    "settings_sha256": "other code, hooks or attributes",
}


def describe_source(
    model: object,
    weights: str | Path | None,
    *,
    has_transform: bool,
    classes: Classes | None,
    prompts: Sequence[str],
    **how: Any,
) -> dict[str, Any] | None:
    """Arguments of `load_model` that work in another process and folder; None if Python objects are among them."""
    if has_transform or not isinstance(model, str | Path):
        return None
    return {
        "model": _absolute_model(str(model)),
        "weights": _absolute_weights(weights),
        "classes": None if classes is None else dataclasses.asdict(classes),
        "prompts": list(prompts),
        **how,
    }


def _absolute_model(model: str) -> str:
    """The name with the path in it, if there is one, absolute."""
    source = parse(model)
    if source.kind == "torchvision" or not Path(source.name).expanduser().exists():
        return model
    path = str(Path(source.name).expanduser().resolve())
    return f"{path}:{source.attribute}" if source.kind == "code" else path


def _absolute_weights(weights: str | Path | None) -> str | None:
    """As `load_model` reads them: a file, or a file with the key of the weights after a #; else a name."""
    if weights is None:
        return None
    path, mark, key = str(weights).rpartition("#")
    if mark and not Path(weights).expanduser().is_file() and Path(path).expanduser().is_file():
        return f"{Path(path).expanduser().resolve()}#{key}"
    file = Path(weights).expanduser()
    return str(file.resolve()) if file.exists() else str(weights)


def check_loadable(model: Model) -> None:
    """Refuse a model that no other process can load.

    Raises:
        ArgumentError: it was made in Python or has random weights.
    """
    if model.source is None:
        raise ArgumentError(
            f"{model.name} was made in Python, so no worker can load it: give load_model the name of code that makes "
            'it (load_model("file.py:make")) or a saved model, or compute it in this process: runner="local"'
        )
    if model.weights == "random":
        raise ArgumentError(
            f"{model.name} has random weights, which are others each time it is loaded: save them and give the file, "
            'or compute it in this process: runner="local"'
        )


def specify(model: Model) -> dict[str, Any]:
    """The specification of a model, as JSON can hold it; `check_loadable` says whether others can load it."""
    return {
        "source": None if model.source is None else dict(model.source),
        "outputs": model.outputs,
        "input_shape": list(model.input_shape),
        "noise_size": list(model.noise_size),
        **_hashes(model),
    }


def load_specified(specification: Mapping[str, Any]) -> Model:
    """Load the model of a specification.

    Raises:
        InferenceError: it is not the model that was specified; the message has both hashes.
        ArgumentError: the model was made in Python.
        NotFoundError, MissingExtraError: as `load_model`.
    """
    from .model import load_model

    if specification["source"] is None:
        raise ArgumentError(
            "the model of this shard was made in Python, so only the process that has it can compute it"
        )
    source = dict(specification["source"])
    classes, prompts = source.pop("classes"), source.pop("prompts")
    if classes is not None:
        classes = Classes(tuple(classes["names"]), tuple(classes["wnids"]), classes["named"])
    loaded = load_model(source.pop("model"), source.pop("weights"), classes=classes, prompts=prompts or None, **source)
    return check_specified(loaded, specification)


def check_specified(model: Model, specification: Mapping[str, Any]) -> Model:
    """The model with what the driver decided about it: what its outputs are, and the size of its input.

    Raises:
        InferenceError: it is not the model that was specified; the message has both hashes.
    """
    for field, now in _hashes(model).items():
        if now != specification[field]:
            raise InferenceError(
                f"{model.name} is not the model of this shard, it has {_HASHES[field]}: {field} "
                f"{specification[field]} was asked for, {now} was loaded; give this worker the same files and packages"
            )
    return dataclasses.replace(
        model,
        outputs=specification["outputs"],
        input_shape=tuple(specification["input_shape"]),
        noise_size=tuple(specification["noise_size"]),
    )


def _hashes(model: Model) -> dict[str, str]:
    transform = json.dumps(describe_transform(model.transform), sort_keys=True)
    return {
        "weights_sha256": model.weights_sha256,
        "transform": transform,
        "settings_sha256": model.settings_sha256,
    }
