"""Models of timm: by name, of a folder or of the Hugging Face hub, each with its own transform and classes."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from torch import nn

from ...core.classes import Classes, imagenet1k
from ...core.text import first_line
from ...errors import InferenceError, NotFoundError
from . import checkpoint, preprocessing
from .found import Found
from .names import parse, sql_name


def from_timm(
    name: str,
    weights: str | Path | None,
    classes: Classes | None,
    transform_given: bool,
    trust_pickle: bool,
    embedding: bool = False,
) -> Found:
    """A model of timm, with `resolve_model_data_config` and `create_transform` as its transform.

    Args:
        name: of `timm.list_models()`, perhaps with a tag; OWNER/NAME on the hub; or a folder that timm saved.
        weights: "DEFAULT", a file, or None for random ones.
        classes: their number makes the head of random weights.
        transform_given: the caller gives a transform.
        trust_pickle: let the weights file run code.
        embedding: without its head, as `num_classes=0` makes it.

    Raises:
        NotFoundError: no such model or weights.
        InferenceError: the weights cannot be downloaded or do not fit, or there is no head.
    """
    import timm

    folder = Path(name)
    local = folder.is_dir()
    spec = f"local-dir:{name}" if local else f"hf-hub:{name}" if "/" in name else name
    address = name if local else f"timm/{name}"

    def make(n: int | None, pretrained: bool = False) -> nn.Module:
        settings: dict[str, Any] = {} if n is None else {"num_classes": n}
        try:
            module: nn.Module = timm.create_model(spec, pretrained=pretrained, **settings)
        except Exception as error:
            raise _explain(address, pretrained, error) from error
        return module

    default = str(weights) == "DEFAULT"
    found = Found(nn.Identity(), sql_name(folder.resolve().name if local else name.rpartition("/")[2]), address)
    if default or weights is None:
        module: Any = make(len(classes) if classes and weights is None else None, pretrained=default)
        found = preprocessing.replace(found, module=module, weights=address if default else "random")
    else:
        opened = _open(weights, address, trust_pickle)
        module, chosen = checkpoint.build(make, opened)
        found = preprocessing.replace(
            found, module=module, weights=opened.origin, weights_key=chosen.label or None, notes=chosen.notes
        )
    if embedding:
        module.reset_classifier(0)
    elif getattr(module, "num_classes", None) == 0:
        raise InferenceError(
            f"{address} is an encoder without a classifier (num_classes = 0); give embedding=True to keep embeddings"
        )
    data = timm.data.resolve_model_data_config(module)
    transform = timm.data.create_transform(**data, is_training=False)
    found = preprocessing.replace(found, transform=transform, transform_source=f"{address} of timm")
    if default:
        named = None if embedding else _classes(module)
        return preprocessing.replace(found, classes=named, classes_source=address if named else "numbered")
    return found if weights is None else preprocessing.complete(found, opened.file, address, transform_given)


def _open(weights: str | Path, address: str, trust_pickle: bool) -> checkpoint.Checkpoint:
    file, _ = checkpoint.split_key(weights)
    if not file.is_file():
        raise NotFoundError(
            f"no weights {str(weights)!r} for {address}; give DEFAULT, or a file that exists; "
            "another tag of timm is part of the name, such as timm/resnet18.a1_in1k"
        )
    return checkpoint.open_checkpoint(weights, trust_pickle)


def _explain(address: str, pretrained: bool, error: Exception) -> Exception:
    text = first_line(error)
    if text.startswith("Invalid pretrained tag"):
        import timm

        base = address.removeprefix("timm/").partition(".")[0]
        tags = timm.list_pretrained(f"{base}.*")
        return NotFoundError(f"timm has no weights {address}; there are: {', '.join(tags) or 'none'}")
    if text.startswith("Unknown model"):
        parse(address)  # names what is similar
        return NotFoundError(f"timm has no model {address}")
    if not pretrained:
        return InferenceError(f"timm cannot make {address}: {text}")
    if text.startswith("No pretrained weights"):
        return InferenceError(f"timm has no weights for {address}; give weights= a local file, or random")
    return InferenceError(f"cannot load {address}: {text}; give weights= a local file, or a folder")


def _classes(module: Any) -> Classes | None:
    """The classes that timm's settings of a model name, else those of ImageNet that its tag says."""
    settings = module.pretrained_cfg
    named = preprocessing.classes_in(settings, module.num_classes)
    if named is not None or not re.search(r"in(1|12|21|22)k", settings.get("tag") or ""):
        return named
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(module)
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    wnids = tuple(info.label_names())
    if len(wnids) != module.num_classes:
        return None
    if wnids == imagenet1k().wnids:
        return imagenet1k()
    texts = info.label_descriptions()
    count = Counter(texts)
    names = (text if count[text] == 1 else f"{text} ({wnid})" for text, wnid in zip(texts, wnids, strict=True))
    return Classes(tuple(names), wnids)
