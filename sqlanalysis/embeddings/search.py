"""Search the images of a run by a text or by another image: cosine similarity of embeddings, in SQL."""

from __future__ import annotations

import hashlib
import json
import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from ..core import decode
from ..core.arrow import IMAGE_TYPE
from ..core.reading import read
from ..db.statements import fetch
from ..db.templates import render
from ..errors import ArgumentError, ImageError, NotFoundError, QueryError, SchemaError
from ..runs import identity
from ..runs import run as runs
from ..runs.run import Run
from .activations import check_activations

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from ..models.model import Model

    Picture = int | str | Path | bytes | Image.Image | np.ndarray

EMBEDDING = "embedding"  # the layer of a zero-shot model, and what an encoder gives
SEARCHABLE = (
    'predict with a model of images and texts, load_model("hf/openai/clip-vit-base-patch32", embedding=True), '
    "under another run name"
)


def find_images(
    con: duckdb.DuckDBPyConnection,
    run: str,
    *,
    text: str | None = None,
    image: Picture | None = None,
    max_rows: int = 10,
    model: str | Path | Model | None = None,
) -> duckdb.DuckDBPyRelation:
    """Find the images of a run that are most similar to a text or to another image.

        find_images(con, "clip", text="a red car in the snow")
        find_images(con, "dinov2_small", image="query.jpg")

    A text needs a run of a model of images and texts (CLIP, SigLIP): of its embeddings, or with prompts. An image that
    the run has, by its id or its bytes, has its stored activation, and no model is loaded.

    Args:
        con: from `connect`.
        run: a run with activations.
        text: what to look for, as the model reads it; exactly one of `text` and `image`.
        image: an image_id, a path or address, encoded bytes, a PIL image, or a uint8 array (H, W), (H, W, 3 or 4).
        max_rows: how many images at most.
        model: the model of the run, where it cannot be loaded again by what `runs.weights` says: a name or folder, or
            from `load_model`. It is refused if its embeddings of two images of noise are not those of the run.

    Returns:
        One row per image, the most similar first: rank from 1, image_id, uri, split, label_name, similarity (cosine,
        from -1 to 1, 9 decimals), and of a run with predictions pred_name and confidence. Ties go in order of image_id;
        the image that is asked for is left out, and so are activations that are NULL, NaN or zero.

    Raises:
        ArgumentError: neither or both of text and image, or a value that is none of these.
        NotFoundError: no such run or image, or the model of the run cannot be found again.
        SchemaError: the run has no activations, they are not in one space with texts, or the model is another one.
        ImageError: the image cannot be read.
        InferenceError: the model cannot be loaded.
    """
    if (text is None) == (image is None):
        raise ArgumentError("give exactly one of text= and image=")
    if isinstance(max_rows, bool) or not isinstance(max_rows, int) or max_rows < 1:
        raise ArgumentError(f"max_rows must be 1 or more, not {max_rows!r}")
    spec = runs.require(con, run)
    check_activations(con, spec)
    itself: int | None = None
    if image is None:
        if not isinstance(text, str) or not text.strip():
            raise ArgumentError(f"text is what to look for, such as 'a red car', not {text!r}")
        vector = _embed_text(spec, text, model)
    else:
        vector, itself = _embed_image(con, spec, image, model)
    columns = {row[0] for row in fetch(con, "list_columns", ["outputs", run])}
    sql = render("search_images", run=run, predicted={"pred", "confidence"} <= columns)
    values = {"vector": vector, "itself": itself, "max_rows": max_rows}
    try:
        return con.sql(sql, params=values).materialize()
    except duckdb.Error as error:
        raise QueryError(f"find_images: {str(error).strip()}") from error


def _embed_text(spec: Run, text: str, model: str | Path | Model | None) -> list[float]:
    """The embedding of a text, after checking that it is in the space of the run's activations."""
    joint = spec.layer == EMBEDDING if spec.prompts else spec.outputs == EMBEDDING and spec.layer is None
    if not joint:
        what = f"the output of layer {spec.layer!r}" if spec.layer else "not those of a model that was loaded"
        raise SchemaError(
            f"the activations of run {spec.run!r} are {what}, which no text can be compared with: search with image=, "
            f"or {SEARCHABLE}"
        )
    from ..models.loading.names import parse
    from ..models.loading.zero_shot import Towers
    from ..models.model import Model, load_model

    address = model.weights if isinstance(model, Model) else str(model) if model is not None else _address(spec)
    source = parse(address)
    if source.kind != "hf":
        raise SchemaError(f"{address} has no text tower, so it reads no text: search with image=, or {SEARCHABLE}")
    towers = Towers(source.name)
    vector: list[float] = towers.embed([text])[0].tolist()
    # The images went through the image tower, whose answers tell whether it is this model's.
    transform = model.transform if isinstance(model, Model) else towers.transform()
    tower = load_model(towers.image_tower(), transform=transform, embedding=True, name=spec.model)
    _embed(spec, address, tower, None)
    return vector


def _embed_image(
    con: duckdb.DuckDBPyConnection, spec: Run, image: Picture, model: str | Path | Model | None
) -> tuple[list[float], int | None]:
    """The activation of an image and, if the run has it, its image_id."""
    if isinstance(image, bool):
        raise ArgumentError(f"image is an image_id, a path, bytes or a picture, not {image!r}")
    image_id = _whole(image)
    if image_id is not None:
        stored = fetch(con, "read_stored_activation", {"image_id": image_id}, run=spec.run)
        if not stored:
            raise NotFoundError(f"run {spec.run!r} has no activation of an image with image_id {image_id}")
        return list(stored[0][1]), image_id
    path = str(image) if isinstance(image, str | Path) else None
    data = image if isinstance(image, bytes) else read(None, path) if path is not None else decode.encode(image)
    key = {"sha256": hashlib.sha256(data).hexdigest(), "uri": str(Path(path).resolve()) if path else ""}
    stored = fetch(con, "find_stored_activation", key, run=spec.run)
    if stored:
        return list(stored[0][1]), int(stored[0][0])
    from ..models.model import Model

    loaded = model if isinstance(model, Model) else _load(spec, None if model is None else str(model))
    return _embed(spec, loaded.weights, loaded, data), None


def _whole(image: Any) -> int | None:
    try:
        return operator.index(image)
    except TypeError:  # an array of one value raises it, too
        return None


def _embed(spec: Run, address: str, model: Model, data: bytes | None) -> list[float]:
    """The activation of an encoded image; without one, only whether the model is the run's is checked."""
    from ..models.engine import Engine

    engine = Engine(model)
    try:
        _check_same(spec, address, json.loads(engine.probe(allow_random=True).record))
        if data is None:
            return []
        column = pa.chunked_array([pa.array([{"bytes": data, "path": None}], IMAGE_TYPE)])
        answer = engine(column).to_pylist()[0]
    finally:
        engine.close()
    if answer["error"] is not None:
        raise ImageError("the image to look for: {stage}: {error}: {message}".format(**answer["error"]))
    vector: list[float] = answer["activation"]
    return vector


def _check_same(spec: Run, address: str, now: dict[str, Any]) -> None:
    """Refuse a model whose activations for two images of noise are not those that the run records."""
    if spec.probe is None:
        raise SchemaError(
            f"run {spec.run!r} does not record how its model answers, so nothing new can be compared with it: give "
            "image= an image_id of the run"
        )
    then = json.loads(spec.probe)
    if then.get("random") or now["random"]:
        raise SchemaError(f"the model of run {spec.run!r} gives random answers; give image= an image_id of the run")
    tolerance = max(then.get("tolerance", 0.0), now["tolerance"])
    if not identity.alike(then.get("activations"), now.get("activations"), tolerance):
        raise SchemaError(
            f"{address} is not the model of run {spec.run!r}: it gives other activations for two images of noise; give "
            "model= the model, weights and transform of the run"
        )


def _load(spec: Run, address: str | None) -> Model:
    """The model of a run again, with the layer whose activations the run has."""
    from ..models.model import load_model

    layer = spec.layer
    encoder = spec.outputs == EMBEDDING or spec.prompts is not None
    if spec.prompts is not None and layer is not None:
        # The image tower alone is what a zero-shot model calls `embedding`.
        layer = None if layer == EMBEDDING else layer.removeprefix(f"{EMBEDDING}.")
    if address is not None:
        return load_model(address, layer=layer, embedding=encoder)
    if _is_torchvision(spec):
        return load_model(spec.model, spec.weights, layer=layer, embedding=encoder)
    return load_model(_address(spec), layer=layer, embedding=encoder)


def _is_torchvision(spec: Run) -> bool:
    from ..models.loading.names import registered

    return spec.model in registered("torchvision") and spec.weights not in (None, "module", "random")


def _address(spec: Run) -> str:
    """Where the model of a run is, by what the run records; runs no code of the file's owner.

    Raises:
        NotFoundError: the run does not say it, or nothing is there.
    """
    weights = spec.weights or ""
    if weights.startswith(("timm/", "hf/")) or (Path(weights) / "config.json").is_file():
        return weights
    raise NotFoundError(
        f"the model of run {spec.run!r} cannot be loaded again by what the run records (weights {spec.weights}); give "
        "model="
    )
