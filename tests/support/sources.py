"""Models in every form people keep them in, with random weights, each with the answer of its own library.

`SOURCES` makes a model in a folder and gives what a user writes and the library's own pipeline for one picture, which
uses nothing of this package.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import _presets

CLASSES = ("cat", "dog", "owl")
Answer = Callable[[Image.Image], Tensor]


class Made(NamedTuple):
    """A model on disk.

    Attributes:
        model: the name of the model, as on the command line.
        weights: of `weights=`, or None.
        answer: the library's own probabilities for a picture, (n,).
        classes: the names that the source says, or None.
    """

    model: str
    weights: str | None
    answer: Answer
    classes: tuple[str, ...] | None = None


def sharpen(module: nn.Module, side: int = 224, seed: int = 0) -> nn.Module:
    """Random weights whose answers differ from picture to picture: nearly equal probabilities would hide a difference."""
    torch.manual_seed(seed)
    last = [part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1]
    coarse = nn.functional.interpolate(4 * torch.rand(8, 3, 5, 5) - 2, (side, side))
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.reset_running_stats()
                part.momentum = None  # the mean over all batches: the one below
        module.train()(coarse)
        last.weight.mul_(2 / _logits(module, coarse).std(0).mean())
        if last.bias is not None:
            last.bias.sub_(_logits(module, coarse).mean(0))
    return module


def _logits(module: nn.Module, batch: Tensor) -> Tensor:
    output = module.eval()(batch)
    logits: Tensor = getattr(output, "logits", output)
    return logits


def probs(module: Any, transform: Any) -> Answer:
    """The plain pipeline of a module: transform, forward, softmax."""

    def answer(picture: Image.Image) -> Tensor:
        with torch.inference_mode():
            output = module(transform(picture).unsqueeze(0))
            return getattr(output, "logits", output)[0].softmax(0)

    return answer


IMAGENET = _presets.ImageClassification(crop_size=224)


def from_torchvision(folder: Path, name: str) -> Made:
    net = sharpen(torchvision.models.get_model(name, weights=None, num_classes=3))
    torch.save(
        {"model": {f"module.{key}": value for key, value in net.state_dict().items()}, "epoch": 1}, folder / "own.pth"
    )
    return Made(
        name, str(folder / "own.pth"), probs(net, torchvision.models.get_model_weights(name).DEFAULT.transforms())
    )


def official(folder: Path, name: str) -> Made:
    entry = torchvision.models.get_model_weights(name).DEFAULT
    net = sharpen(torchvision.models.get_model(name, weights=None))
    file = folder / entry.url.rpartition("/")[2]
    torch.save(net.state_dict(), file)
    return Made(name, str(file), probs(net, entry.transforms()), tuple(entry.meta["categories"]))


def timm_pipeline(net: Any) -> Answer:
    import timm

    return probs(net, timm.data.create_transform(**timm.data.resolve_model_data_config(net), is_training=False))


def from_timm(folder: Path, name: str) -> Made:
    import timm

    net = sharpen(timm.create_model(name, num_classes=3), 160)
    other = sharpen(timm.create_model(name, num_classes=3), 160, seed=1)
    torch.save({"state_dict": other.state_dict(), "state_dict_ema": net.state_dict()}, folder / "last.pth.tar")
    return Made(f"timm/{name}", f"{folder / 'last.pth.tar'}#state_dict_ema", timm_pipeline(net))


def timm_folder(folder: Path, name: str) -> Made:
    import timm

    net = sharpen(timm.create_model(name, num_classes=3), 160)
    timm.models.save_for_hf(net, folder / "pets", model_config={"label_names": list(CLASSES)})
    return Made(f"timm/{folder / 'pets'}", None, timm_pipeline(net), CLASSES)


def hf_folder(folder: Path, kind: str) -> Made:
    import transformers as hf

    named = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: i for i, name in enumerate(CLASSES)}}
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if kind == "ViT":
        config: Any = hf.ViTConfig(**small, image_size=32, patch_size=8, **named)
        net: Any = hf.ViTForImageClassification(config)
        processor: Any = hf.ViTImageProcessor(size={"height": 32, "width": 32})
    elif kind == "ConvNeXT":
        config = hf.ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32], image_size=64, **named)
        net, processor = (
            hf.ConvNextForImageClassification(config),
            hf.ConvNextImageProcessor(size={"shortest_edge": 64}),
        )
    else:
        config = hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **named)
        net = hf.ResNetForImageClassification(config)
        processor = hf.BitImageProcessor(size={"shortest_edge": 70}, crop_size={"height": 64, "width": 64})
    sharpen(net, 32 if kind == "ViT" else 64)
    net.save_pretrained(folder / "pets")
    processor.save_pretrained(folder / "pets")
    loaded = hf.AutoImageProcessor.from_pretrained(folder / "pets")

    def answer(picture: Image.Image) -> Tensor:
        with torch.inference_mode():
            return net(**loaded(images=picture, return_tensors="pt")).logits[0].softmax(0)

    return Made(f"hf/{folder / 'pets'}", None, answer, CLASSES)


def pt2(folder: Path, batch: int | None) -> Made:
    net = sharpen(torchvision.models.shufflenet_v2_x0_5(num_classes=3))
    shapes = {"x": {0: torch.export.Dim.DYNAMIC}} if batch is None else None
    torch.export.save(
        torch.export.export(net, (torch.rand(batch or 2, 3, 224, 224),), dynamic_shapes=shapes), folder / "net.pt2"
    )
    return Made(str(folder / "net.pt2"), None, probs(net, IMAGENET))


def torchscript(folder: Path, _name: str) -> Made:
    net = sharpen(torchvision.models.shufflenet_v2_x0_5(num_classes=3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(net, torch.rand(1, 3, 224, 224)).save(folder / "net.pt")
    return Made(str(folder / "net.pt"), None, probs(net, IMAGENET))


def session_pipeline(file: Path, transform: Any, last: bool = False) -> Answer:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    size = given.shape[0] if isinstance(given.shape[0], int) else 1

    def answer(picture: Image.Image) -> Tensor:
        values = transform(picture).numpy()[None].repeat(size, 0)
        values = values.transpose(0, 2, 3, 1) if last else values
        return torch.from_numpy(session.run(None, {given.name: values})[0])[0].softmax(0)

    return answer


def onnx_file(folder: Path, batch: int | None) -> Made:
    net, file = sharpen(torchvision.models.shufflenet_v2_x0_5(num_classes=3)), folder / "net.onnx"
    shapes = {"x": {0: torch.export.Dim.DYNAMIC}} if batch is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (torch.rand(batch or 2, 3, 224, 224),), file, dynamo=True, dynamic_shapes=shapes, verbose=False
        )
    return Made(str(file), None, session_pipeline(file, IMAGENET))


def onnx_channels_last(folder: Path, side: int) -> Made:
    """As TensorFlow exports: pictures are (B, H, W, C)."""
    from onnx import TensorProto, helper, numpy_helper, save

    random = np.random.default_rng(0)
    weights = {
        "kernel": random.normal(size=(8, 3, 5, 5)).astype(np.float32),
        "dense": random.normal(size=(8, 3)).astype(np.float32) * 0.3,
        "axes": np.array([2, 3]),
    }
    nodes = [
        helper.make_node("Transpose", ["pictures"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "kernel"], ["maps"]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("ReduceMean", ["positive", "axes"], ["features"], keepdims=0),
        helper.make_node("MatMul", ["features", "dense"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["n", side, side, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    file = folder / "keras.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(file))
    preset = _presets.ImageClassification(crop_size=side, resize_size=round(side * 256 / 224))
    return Made(str(file), None, session_pipeline(file, preset, last=True))


CODE = """
import torch
from torch import nn
from torchvision import transforms


class SmallNet(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.conv, self.fc = nn.Conv2d(3, 8, 5, 2), nn.Linear(8, 3)
        nn.init.normal_(self.fc.weight, std=2)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))


preprocess = transforms.Compose([transforms.Resize((48, 40)), transforms.ToTensor()])


def make():
    return SmallNet(), preprocess, ["cat", "dog", "owl"]
"""


def own_code(folder: Path, attribute: str) -> Made:
    scope: dict[str, Any] = {}
    exec(CODE, scope)
    if attribute == "package":
        (folder / "pets_code").mkdir()
        (folder / "pets_code" / "__init__.py").write_text("")
        (folder / "pets_code" / "nets.py").write_text(CODE)
        return Made("pets_code.nets:make", None, probs(scope["SmallNet"]().eval(), scope["preprocess"]), CLASSES)
    (folder / "train.py").write_text(CODE)
    net = scope["SmallNet"]().eval()
    if attribute == "make":
        return Made(f"{folder / 'train.py'}:make", None, probs(net, scope["preprocess"]), CLASSES)
    nn.init.normal_(net.fc.weight, std=3)
    torch.save({"net": net.state_dict(), "acc": 0.9}, folder / "small.pth")
    return Made(f"{folder / 'train.py'}:SmallNet", str(folder / "small.pth"), probs(net, IMAGENET))


# source, architecture → how it is made.
SOURCES: dict[tuple[str, str], Callable[[Path], Made]] = {
    ("torchvision, own checkpoint", "shufflenet_v2_x0_5"): lambda f: from_torchvision(f, "shufflenet_v2_x0_5"),
    ("torchvision, own checkpoint", "resnet18"): lambda f: from_torchvision(f, "resnet18"),
    ("torchvision, its own file", "mobilenet_v3_small"): lambda f: official(f, "mobilenet_v3_small"),
    ("timm, EMA of a checkpoint", "test_vit"): lambda f: from_timm(f, "test_vit"),
    ("timm, EMA of a checkpoint", "test_convnext"): lambda f: from_timm(f, "test_convnext"),
    ("timm, folder", "test_efficientnet"): lambda f: timm_folder(f, "test_efficientnet"),
    ("Hugging Face, folder", "ViT"): lambda f: hf_folder(f, "ViT"),
    ("Hugging Face, folder", "ConvNeXT"): lambda f: hf_folder(f, "ConvNeXT"),
    ("Hugging Face, folder", "ResNet"): lambda f: hf_folder(f, "ResNet"),
    (".pt2, any batch", "shufflenet_v2_x0_5"): lambda f: pt2(f, None),
    (".pt2, batches of 3", "shufflenet_v2_x0_5"): lambda f: pt2(f, 3),
    ("TorchScript", "shufflenet_v2_x0_5"): lambda f: torchscript(f, ""),
    ("ONNX, any batch", "shufflenet_v2_x0_5"): lambda f: onnx_file(f, None),
    ("ONNX, batches of 3", "shufflenet_v2_x0_5"): lambda f: onnx_file(f, 3),
    ("ONNX, (B, H, W, C)", "convolution"): lambda f: onnx_channels_last(f, 96),
    ("file.py:make", "SmallNet"): lambda f: own_code(f, "make"),
    ("file.py:Class, own checkpoint", "SmallNet"): lambda f: own_code(f, "SmallNet"),
    ("package.module:make", "SmallNet"): lambda f: own_code(f, "package"),
}
