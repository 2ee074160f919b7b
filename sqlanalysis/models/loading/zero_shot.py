"""Models with a tower for images and one for texts (CLIP, SigLIP): classes from prompts, texts among images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...core.classes import Classes
from ...core.text import first_line, one_line
from ...errors import ArgumentError, InferenceError
from ..transforms import Transform
from . import checkpoint, transformers
from .found import Found
from .names import sql_name

EMBEDDING = "embedding"  # the sub-module of a zero-shot model whose output is the embedding of an image
EXAMPLE = "hf/openai/clip-vit-base-patch32"
_SIGLIP_TOKENS = 64  # SigLIP has learned from texts padded to this length, whatever its tokenizer says
_TEXTS = 256  # of one pass
_CHECKED = 4  # classes whose logits are compared with those of the whole model
_TOLERANCE = 1e-4  # of the largest logit


class ImageEmbedding(nn.Module):
    """The image tower: maps (B, C, H, W) to embeddings (B, m) of length 1, in one space with those of texts."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """The embeddings."""
        return _normalized(_tensor(self.model.get_image_features(pixel_values=pixels)))


class ZeroShot(nn.Module):
    """Compares the embedding of an image with one embedding of each class: maps (B, C, H, W) to logits (B, n).

    For SigLIP, which scores each class on its own, to independent probabilities. The embeddings of the classes are a
    buffer, so that they count as weights: other classes or prompts are another model.
    """

    texts: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, tower: ImageEmbedding, texts: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.embedding = tower
        self.register_buffer("texts", texts)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)

    def logits(self, pixels: Tensor) -> Tensor:
        """Scaled cosine similarities of images and classes, (B, n)."""
        scores: Tensor = self.embedding(pixels) @ self.texts.T * self.scale
        return scores if self.bias is None else scores + self.bias

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, or for SigLIP probabilities."""
        scores = self.logits(pixels)
        return scores if self.bias is None else scores.sigmoid()


class Towers:
    """A model of both towers with its tokenizer.

    Args:
        name: of the Hugging Face hub, or a folder.
        weights: "DEFAULT", a file, or None for random ones.
        trust_pickle: let the weights file run code.

    Attributes:
        model: of transformers, in eval mode and fp32.
        address: `hf/NAME`, or the folder.
        notes: what was chosen among the weights of a file.

    Raises:
        ArgumentError: the model has no text tower.
        InferenceError: it cannot be downloaded or loaded.
    """

    def __init__(self, name: str, weights: str | Path | None = "DEFAULT", trust_pickle: bool = False) -> None:
        from transformers import AutoModelForZeroShotImageClassification, AutoTokenizer

        self._name = name
        self.address = name if Path(name).is_dir() else f"hf/{name}"
        self.notes: tuple[str, ...] = ()
        self.weights_key: str | None = None
        with transformers.quiet():
            self.config = transformers.read_settings(name, self.address)
            if not has_text_tower(self.config):
                raise ArgumentError(
                    f"{describe(self.address, self.config)} has no text tower, so it reads no text; a model such as "
                    f"{EXAMPLE} has one"
                )
            try:
                self._tokenizer = AutoTokenizer.from_pretrained(name)
                if str(weights) == "DEFAULT":
                    model, loaded = AutoModelForZeroShotImageClassification.from_pretrained(
                        name, config=self.config, output_loading_info=True
                    )
                    transformers.require_all(self.address, self.config, loaded)
                else:
                    model = AutoModelForZeroShotImageClassification.from_config(self.config)
            except InferenceError:
                raise
            except Exception as error:
                raise InferenceError(
                    f"cannot load {self.address} as a model of images and texts: {first_line(error)}; give a folder "
                    "with config.json, model.safetensors and a tokenizer, or a name of the hub"
                ) from error
        if weights is not None and str(weights) != "DEFAULT":
            chosen = checkpoint.load_state(model, weights, trust_pickle)
            self.notes, self.weights_key = chosen.notes, chosen.label or None
        self.model: Any = model.float().eval()

    @property
    def _is_siglip(self) -> bool:
        return "siglip" in self.config.model_type

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Tokens of texts, padded as the model has learned them.

        Raises:
            ArgumentError: a text is longer than the model takes.
        """
        limit = self.config.text_config.max_position_embeddings
        limit = min(limit, _SIGLIP_TOKENS) if self._is_siglip else limit
        for text in texts:
            length = len(self._tokenizer(text)["input_ids"])
            if length > limit:
                raise ArgumentError(
                    f"the text {one_line(text, 60)!r} has {length} tokens, and {self.address} reads {limit}; shorten it"
                )
        padding: dict[str, Any] = {"padding": True}
        if self._is_siglip:
            padding = {"padding": "max_length", "max_length": limit}
        return dict(self._tokenizer(list(texts), return_tensors="pt", **padding))

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (n, m) of texts, of length 1.

        Raises:
            ArgumentError: a text is longer than the model takes.
            InferenceError: the text tower fails.
        """
        parts = [texts[start : start + _TEXTS] for start in range(0, len(texts), _TEXTS)]
        tokens = [self.tokens(part) for part in parts]
        try:
            with torch.inference_mode():
                rows = [_normalized(_tensor(self.model.get_text_features(**part))) for part in tokens]
        except Exception as error:
            raise InferenceError(f"the text tower of {self.address} fails: {first_line(error)}") from error
        return torch.cat(rows).clone()

    def transform(self) -> Transform:
        """How pictures are prepared: the model's processor, or what is assumed without one."""
        found = transformers.with_processor(Found(self.model, "", self.address), self._name, self.address, self.config)
        if found.transform is None:
            raise InferenceError(f"{self.address} does not say how pictures are prepared")
        return found.transform

    def image_tower(self) -> ImageEmbedding:
        """The image tower alone; afterwards this object has no text tower."""
        for part in ("text_model", "text_projection"):
            if hasattr(self.model, part):
                setattr(self.model, part, None)
        return ImageEmbedding(self.model)

    def score(self, texts: Tensor) -> ZeroShot:
        """Both towers as a classifier of images with these embeddings of classes (n, m)."""
        scale = self.model.logit_scale.detach().exp().reshape(())
        bias = self.model.logit_bias.detach().reshape(()) if self._is_siglip else None
        return ZeroShot(ImageEmbedding(self.model), texts, scale, bias)


def check_prompts(prompts: Sequence[str] | str | None, classes: Classes | None, *, embedding: bool) -> tuple[str, ...]:
    """The prompts as a tuple; empty without.

    Raises:
        ArgumentError: no prompts, one without {}, or no classes to fill it.
    """
    if prompts is None:
        return ()
    listed = (prompts,) if isinstance(prompts, str) else tuple(prompts)
    if embedding:
        raise ArgumentError("prompts= make predictions, and embedding=True leaves them out; give one of the two")
    wrong = next((prompt for prompt in listed if not isinstance(prompt, str) or prompt.count("{}") != 1), None)
    if not listed or wrong is not None:
        said = "no prompt is given" if wrong is None else f"{wrong!r} does not have one"
        raise ArgumentError(f'a prompt has one {{}} for the name of the class, {said}: prompts=["a photo of a {{}}"]')
    if classes is None or len(classes) < 2 or not classes.named:
        raise ArgumentError('prompts= need the names of two classes or more: classes=["cat", "dog"]')
    return listed


def has_text_tower(config: Any) -> bool:
    """Whether transformers knows the model of these settings as one of images and texts."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES as KNOWN

    return config.model_type in KNOWN


def describe(address: str, config: Any) -> str:
    """What a model is, for a message."""
    return f"{address}, a {', '.join(config.architectures or ()) or config.model_type},"


def from_prompts(
    name: str,
    weights: str | Path | None,
    classes: Classes,
    prompts: Sequence[str],
    transform_given: bool,
    trust_pickle: bool,
) -> Found:
    """A classifier of images by what prompts say about each class.

    The embedding of a class is the mean of the embeddings of its prompts, of length 1 before and after (Radford et al.
    2021, section 3.1.4).

    Raises:
        ArgumentError: the model has no text tower, or a prompt is too long.
        InferenceError: it cannot be loaded, or its logits are not scaled similarities.
    """
    towers = Towers(name, weights, trust_pickle)
    means = [towers.embed([prompt.replace("{}", name) for prompt in prompts]).mean(0) for name in classes.names]
    module = towers.score(_normalized(torch.stack(means)))
    _check(towers, [prompts[0].replace("{}", name) for name in classes.names[:_CHECKED]])
    towers.image_tower()
    default = str(weights) == "DEFAULT"
    origin = towers.address if default else "random" if weights is None else str(checkpoint.split_key(weights)[0])
    found = Found(
        module,
        sql_name(Path(name).resolve().name if Path(name).is_dir() else name.rpartition("/")[2]),
        origin,
        classes=classes,
        weights_key=towers.weights_key,
        classes_source="given",
        outputs="logits" if module.bias is None else "sigmoid",
        notes=towers.notes,
    )
    return found if transform_given else transformers.with_processor(found, name, towers.address, towers.config)


def _check(towers: Towers, texts: list[str]) -> None:
    """Refuse a model whose own logits, of a picture of noise, are computed otherwise than `ZeroShot` does."""
    vision = towers.config.vision_config
    side = vision.image_size if isinstance(vision.image_size, int) else max(vision.image_size)
    pixels = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mine = towers.score(towers.embed(texts))
    try:
        with torch.inference_mode():
            own = towers.model(pixel_values=pixels, **towers.tokens(texts)).logits_per_image
            gap = float((mine.logits(pixels) - own).abs().max() / own.abs().max())
    except Exception as error:
        raise InferenceError(f"{towers.address} fails on an image of noise: {first_line(error)}") from error
    if not gap <= _TOLERANCE:
        raise InferenceError(
            f"{describe(towers.address, towers.config)} does not score texts by scaled cosine similarity (its logits "
            f"differ by {gap:.2g} of the largest), so its prompts cannot be read; models such as {EXAMPLE} do"
        )


def _tensor(result: Any) -> Tensor:
    features: Tensor = result if isinstance(result, Tensor) else result.pooler_output
    return features


def _normalized(rows: Tensor) -> Tensor:
    lengths: Tensor = rows.norm(dim=-1, keepdim=True)
    return rows / lengths
