"""Image classifiers and encoders of Hugging Face's transformers: a name of the hub or a folder, with its processor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ...core.classes import Classes, from_keys, imagenet1k
from ...core.text import first_line
from ...errors import InferenceError, NotFoundError
from ..transforms import Transform
from . import checkpoint, preprocessing
from .found import Found
from .names import sql_name


class Processor:
    """An image processor of transformers as a transform: exactly its pixels, one picture at a time."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __call__(self, picture: Image.Image) -> Tensor:
        """The (C, H, W) tensor `pixel_values` of a picture."""
        pixels: Tensor = self._processor(images=picture, return_tensors="pt")["pixel_values"][0]
        return pixels

    def __repr__(self) -> str:
        return repr(self._processor)


def from_transformers(
    name: str, weights: str | Path | None, classes: Classes | None, transform_given: bool, trust_pickle: bool
) -> Found:
    """An image classifier: `AutoModelForImageClassification`, `AutoImageProcessor`, and the names of `id2label`.

    Code of the hub is never run (`trust_remote_code`).

    Raises:
        NotFoundError: no such weights file.
        InferenceError: it cannot be downloaded or loaded, or it has no classifier.
    """
    from transformers import AutoConfig, AutoModelForImageClassification

    local = Path(name).is_dir()
    address = name if local else f"hf/{name}"
    found_name = sql_name(Path(name).resolve().name if local else name.rpartition("/")[2])
    notes: tuple[str, ...] = ()
    key = None
    with quiet():
        try:
            config = AutoConfig.from_pretrained(name)
            if str(weights) == "DEFAULT":
                module, loaded = AutoModelForImageClassification.from_pretrained(
                    name, config=config, output_loading_info=True
                )
                require_all(address, config, loaded)
            else:
                width = len(classes) if classes and weights is None else None

                def make(n: int | None) -> Any:
                    if n is not None:
                        config.num_labels = n
                    return AutoModelForImageClassification.from_config(config)

                if weights is None:
                    module = make(width)
                else:
                    module, chosen = checkpoint.build(make, _open(weights, address, trust_pickle))
                    notes, key = chosen.notes, chosen.label or None
        except (InferenceError, NotFoundError):
            raise
        except Exception as error:
            raise InferenceError(
                f"cannot load {address} as an image classifier of transformers: {first_line(error)}; "
                "give a folder with config.json and model.safetensors, or a name of the hub"
            ) from error
    origin = (
        address if str(weights) == "DEFAULT" else "random" if weights is None else str(checkpoint.split_key(weights)[0])
    )
    named = _classes(config) if weights is not None else None
    found = Found(
        # Its dtype may be half, as it was saved; inference is in the dtype that the run asks for.
        module.float(),
        found_name,
        origin,
        classes=named,
        weights_key=key,
        classes_source=address if named else "numbered",
        notes=notes,
    )
    return found if transform_given else with_processor(found, name, address, config)


def from_encoder(name: str, weights: str | Path | None, transform_given: bool, trust_pickle: bool) -> Found:
    """A vision encoder (`AutoModel`), whose answer is an embedding; a classifier is loaded without its head.

    Of a model of images and texts it is the embedding in their common space, of others the pooled output; the class
    token, or the mean over places, where the pooling has no weights.

    Raises:
        NotFoundError: no such weights file.
        InferenceError: it cannot be downloaded or loaded.
    """
    from transformers import AutoModel

    from . import zero_shot

    address = name if Path(name).is_dir() else f"hf/{name}"
    default = str(weights) == "DEFAULT"
    notes: tuple[str, ...] = ()
    key = None
    with quiet():
        config = read_settings(name, address)
        if zero_shot.has_text_tower(config):
            towers = zero_shot.Towers(name, weights, trust_pickle)
            module: Any = towers.image_tower()
            notes, key = towers.notes, towers.weights_key
        else:
            try:
                if default:
                    module, notes = _pretrained_encoder(name, address, config)
                else:
                    module = AutoModel.from_config(config)
            except InferenceError:
                raise
            except Exception as error:
                raise InferenceError(
                    f"cannot load {address} as an encoder of transformers: {first_line(error)}; "
                    "give a folder with config.json and model.safetensors, or a name of the hub"
                ) from error
            if not default and weights is not None:
                chosen = checkpoint.load_state(module, weights, trust_pickle)
                notes, key = chosen.notes, chosen.label or None
    origin = address if default else "random" if weights is None else str(checkpoint.split_key(weights)[0])
    found_name = sql_name(Path(name).resolve().name if Path(name).is_dir() else name.rpartition("/")[2])
    found = Found(module.float(), found_name, origin, weights_key=key, notes=notes)
    return found if transform_given else with_processor(found, name, address, config)


def _pretrained_encoder(name: str, address: str, config: Any) -> tuple[Any, tuple[str, ...]]:
    """The encoder without a pooling that has no weights: transformers would fill it with random numbers."""
    from transformers import AutoModel

    module, loaded = AutoModel.from_pretrained(name, config=config, output_loading_info=True)
    absent = {str(key) for key in loaded["missing_keys"]}
    if not absent or any(not key.startswith("pooler.") for key in absent):
        require_all(address, config, loaded)
        return module, ()
    module = AutoModel.from_pretrained(name, config=config, add_pooling_layer=False)
    return module, (f"{address} has no weights for its pooling layer, which is left out",)


def read_settings(name: str, address: str) -> Any:
    """The settings of a model of transformers.

    Raises:
        InferenceError: they cannot be read.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name)
    except Exception as error:
        raise InferenceError(
            f"cannot load {address} of transformers: {first_line(error)}; give a folder with config.json and "
            "model.safetensors, or a name of the hub"
        ) from error


def _open(weights: str | Path, address: str, trust_pickle: bool) -> checkpoint.Checkpoint:
    file, _ = checkpoint.split_key(weights)
    if not file.is_file():
        raise NotFoundError(f"no weights {str(weights)!r} for {address}; give DEFAULT, or a file that exists")
    return checkpoint.open_checkpoint(weights, trust_pickle)


def require_all(address: str, config: Any, loaded: Any) -> None:
    """Refuse a model part of which transformers has filled with random numbers."""
    absent = sorted(str(key) for key in (*loaded["missing_keys"], *loaded["mismatched_keys"]))
    if not absent:
        return
    kind = ", ".join(config.architectures or ()) or config.model_type
    zero_shot = 'prompts=["a photo of a {}"] and classes=[…], ' if hasattr(config, "text_config") else ""
    raise InferenceError(
        f"{address} is a {kind} without weights for {', '.join(absent[:2])}, so its answers would be random; give a "
        f"model fine-tuned for image classification, {zero_shot}or embedding=True for a run of embeddings"
    )


def with_processor(found: Found, name: str, address: str, config: Any) -> Found:
    """With the processor of the model as its transform; ImageNet's, and a note, where a folder has none."""
    if Path(name).is_dir() and not (Path(name) / preprocessing.PROCESSOR).is_file():
        size = getattr(config, "image_size", None)
        pair = (size, size) if isinstance(size, int) else tuple(size)[:2] if size else None
        transform, source, note = preprocessing.assume(f"{address} has no {preprocessing.PROCESSOR}; it", pair)
        return preprocessing.replace(found, transform=transform, transform_source=source, notes=(*found.notes, note))
    return preprocessing.replace(found, transform=read_processor(name), transform_source=f"processor of {address}")


def read_processor(name: str) -> Transform:
    """The image processor of a folder or a name of the hub, as a transform.

    Raises:
        InferenceError: it cannot be read.
    """
    from transformers import AutoImageProcessor

    with quiet():
        try:
            return Processor(AutoImageProcessor.from_pretrained(name))
        except Exception as error:
            raise InferenceError(f"cannot load the image processor of {name}: {first_line(error)}") from error


def _classes(config: Any) -> Classes | None:
    """The names of `id2label`; ImageNet's are those of this package, with WordNet ids."""
    labels = [str(config.id2label[index]) for index in sorted(config.id2label)]
    if labels == [f"LABEL_{index}" for index in range(len(labels))]:
        return None
    if len(labels) == len(imagenet1k()):
        own = [name.casefold() for name in imagenet1k().names]
        same = sum(label.split(",")[0].strip().casefold() == name for label, name in zip(labels, own, strict=True))
        if same > 0.9 * len(own):  # the lists differ in a few words, such as "crane" and "crane bird"
            return imagenet1k()
    count = Counter(labels)
    return from_keys([label if count[label] == 1 else f"{label} ({index})" for index, label in enumerate(labels)])


@contextmanager
def quiet() -> Iterator[None]:
    """Without progress bars and reports of transformers: what matters of them is raised or noted."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
