"""Tiny models of images and texts, and encoders of images, saved as transformers saves them, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WORDS = ("a", "photo", "drawing", "of", "the", "cat", "dog", "owl", "black", "white", "small", "bird", "red", "blue")
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SIDE = 32


def _tokenizer(n_positions: int, *, end: bool) -> Any:
    """A tokenizer of whole words; `end` puts an end after each text, where CLIP reads it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<start>", "<end>", "<unk>", *WORDS]
    inner = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    if end:
        special = [("<start>", 1), ("<end>", 2)]
        inner.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<start>",
        eos_token="<end>",
        unk_token="<unk>",
        model_max_length=n_positions,
    )


def _spread(model: Any, seed: int) -> Any:
    """Larger random weights, so that embeddings of pictures and texts differ."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
            elif "class_embedding" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator))
    return model.eval()


def clip(folder: Path, seed: int = 0) -> Path:
    """A CLIP with its tokenizer and processor."""
    import transformers as hf

    text = {**SMALL, "vocab_size": len(WORDS) + 4, "max_position_embeddings": 16}
    text |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    vision = {**SMALL, "image_size": SIDE, "patch_size": 8}
    config = hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24, logit_scale_init_value=3.0)
    _spread(hf.CLIPModel(config), seed).save_pretrained(folder)
    _tokenizer(16, end=True).save_pretrained(folder)
    square = {"height": SIDE, "width": SIDE}
    hf.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=square).save_pretrained(folder)
    return folder


def siglip(folder: Path, seed: int = 0) -> Path:
    """A SigLIP with its tokenizer and processor."""
    import transformers as hf

    text = {**SMALL, "vocab_size": len(WORDS) + 4, "max_position_embeddings": 64, "projection_size": 32}
    vision = {**SMALL, "image_size": SIDE, "patch_size": 8}
    model = _spread(hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=vision)), seed)
    with torch.no_grad():
        model.logit_scale.fill_(1.5)
        model.logit_bias.fill_(-1.0)
    model.save_pretrained(folder)
    _tokenizer(64, end=False).save_pretrained(folder)
    hf.SiglipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def vit(folder: Path, *, pooler: bool = True, head: bool = False) -> Path:
    """A ViT: with a pooling layer, without it, or as a classifier of three classes."""
    import transformers as hf

    config = hf.ViTConfig(**SMALL, image_size=SIDE, patch_size=8, num_labels=3)
    net = hf.ViTForImageClassification(config) if head else hf.ViTModel(config, add_pooling_layer=pooler)
    _spread(net, 1).save_pretrained(folder)
    hf.ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def dinov2(folder: Path) -> Path:
    """A DINOv2."""
    import transformers as hf

    config = hf.Dinov2Config(**{**SMALL, "mlp_ratio": 2}, image_size=SIDE, patch_size=8)
    _spread(hf.Dinov2Model(config), 2).save_pretrained(folder)
    square = {"height": SIDE, "width": SIDE}
    hf.BitImageProcessor(size={"shortest_edge": SIDE}, crop_size=square).save_pretrained(folder)
    return folder
