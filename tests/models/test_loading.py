"""Models: torchvision's own, local weights, any module; layers, pooling, identity."""

from __future__ import annotations

import pickle
import urllib.error
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from sqlanalysis import load_model
from sqlanalysis.errors import InferenceError, NotFoundError
from sqlanalysis.models.hooks import channel_widths, pool
from sqlanalysis.models.loading.checkpoint import hash_weights
from sqlanalysis.models.loading.torchvision import known_models
from sqlanalysis.models.transforms import describe_transform

from ..support.runs import to_64


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one random squeezenet1_1 state dict in every form people keep it in."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("weights")
    weights = torchvision.models.squeezenet1_1().state_dict()
    torch.save(weights, folder / "plain.pth")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in weights.items()}}, folder / "wrapped.pth")
    save_file(weights, folder / "safe.safetensors")
    torch.save(torchvision.models.squeezenet1_1(num_classes=7).state_dict(), folder / "seven.pth")
    torch.save(dict(list(weights.items())[:-1]), folder / "short.pth")
    torch.save(nn.Linear(2, 2), folder / "module.pth")
    (folder / "evil.pth").write_bytes(pickle.dumps({"x": print}))
    (folder / "text.pth").write_text("hello")
    return folder


def test_weights_are_the_same_whatever_file_they_came_in(state: Path) -> None:
    loaded = [load_model("squeezenet1_1", state / name) for name in ("plain.pth", "wrapped.pth", "safe.safetensors")]
    assert len({model.weights_sha256 for model in loaded}) == 1
    expected = torch.load(state / "plain.pth")
    for model in loaded:
        assert all(torch.equal(value, expected[key]) for key, value in model.module.state_dict().items())
    model = loaded[0]
    assert (model.n_outputs, model.input_shape, model.n_activations) == (1000, (3, 224, 224), None)
    assert not model.classes.named
    assert not model.module.training


def test_classes_give_the_width_of_the_head(state: Path) -> None:
    model = load_model("squeezenet1_1", state / "seven.pth", classes=list("abcdefg"))
    assert (model.n_outputs, model.classes.names) == (7, tuple("abcdefg"))
    assert load_model("squeezenet1_1", None, classes="imagenet1k").classes.names[0] == "tench"
    with pytest.raises(InferenceError, match=r"does not fit SqueezeNet: size mismatch.*classes="):
        load_model("squeezenet1_1", state / "seven.pth")


@pytest.mark.parametrize(
    ("name", "weights", "error", "message"),
    [
        ("squeezenet1_2", None, NotFoundError, "no model 'squeezenet1_2' in torchvision; did you mean squeezenet1_"),
        ("squeezenet1_1", "IMAGENET1K_V9", NotFoundError, "give one of IMAGENET1K_V1, DEFAULT, or a file that exists"),
        ("squeezenet1_1", "short.pth", InferenceError, "does not fit SqueezeNet: Missing key"),
        ("squeezenet1_1", "module.pth", InferenceError, "does not hold a plain state dict"),
        ("squeezenet1_1", "evil.pth", InferenceError, "does not hold a plain state dict"),
        ("squeezenet1_1", "text.pth", InferenceError, "does not hold a plain state dict"),
    ],
)
def test_what_cannot_be_loaded(
    state: Path, name: str, weights: str | None, error: type[Exception], message: str
) -> None:
    given = str(state / weights) if weights and weights.endswith("pth") else weights
    with pytest.raises(error, match=message):
        load_model(name, given)


def test_layer_that_is_not_there(tiny_net: nn.Module) -> None:
    with pytest.raises(NotFoundError, match="no layer 'layer5' in ResNet; did you mean layer"):
        load_model("resnet18", None, layer="layer5")
    aside = nn.Sequential(tiny_net, nn.Identity())
    aside.unused = nn.Linear(1, 1)
    aside.forward = tiny_net.forward  # type: ignore[method-assign]
    with pytest.raises(InferenceError, match="is not used in the forward pass"):
        load_model(aside, layer="unused", transform=to_64)


def test_download_uses_torchvisions_enum_transform_and_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    weights = torchvision.models.squeezenet1_1().state_dict()
    asked = []

    def fetch(url: str, **options: object) -> dict[str, torch.Tensor]:
        asked.append((url, options))
        return weights

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fetch)
    model = load_model("squeezenet1_1", "DEFAULT", layer="features")
    enum = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    assert asked == [(enum.url, {"progress": True, "check_hash": True})]
    assert (model.weights, model.n_activations) == ("IMAGENET1K_V1", 512)
    assert list(model.classes.names) == enum.meta["categories"]
    assert model.classes.wnids[0] == "n01440764"
    assert describe_transform(model.transform) == describe_transform(enum.transforms())


def test_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fail)
    with pytest.raises(InferenceError, match=r"cannot download .*no network.*give weights= a local file"):
        load_model("squeezenet1_1")


def test_every_classification_model_of_torchvision_is_known() -> None:
    assert set(known_models()) == set(torchvision.models.list_models(module=torchvision.models))
    assert {"resnet18", "vit_b_16", "swin_t", "convnext_tiny", "efficientnet_b0"} <= set(known_models())


@pytest.mark.parametrize(
    ("name", "layer", "width"),
    [("swin_t", "features", 768), ("vit_b_16", "encoder", 768), ("mobilenet_v3_small", "features", 576)],
)
def test_activation_of_other_architectures(name: str, layer: str, width: int) -> None:
    assert load_model(name, None, layer=layer).n_activations == width


def test_pool() -> None:
    random = torch.Generator().manual_seed(0)
    maps, sequence = torch.rand(2, 5, 7, 4, generator=random), torch.rand(2, 50, 8, generator=random)
    assert torch.equal(pool(maps), maps.mean((2, 3)))
    assert torch.equal(pool(maps, widths=frozenset({4})), maps.mean((1, 2)))
    assert torch.equal(pool(maps, widths=frozenset({4, 5})), maps.mean((2, 3)))
    assert torch.equal(pool(sequence, has_token=True), sequence[:, 0])
    assert torch.equal(pool(sequence), sequence.mean(1))
    assert torch.equal(pool((sequence[:, 0], None)), sequence[:, 0])


@pytest.mark.parametrize(
    ("name", "layer", "last", "width"),
    [
        ("swin_t", "features", True, 768),
        ("swin_t", "features.2", True, 192),
        ("swin_t", "features.7.1", True, 768),
        ("swin_t", "norm", True, 768),
        ("convnext_tiny", "features", False, 768),
        ("convnext_tiny", "features.7.2", False, 768),
        ("resnet18", "layer1", False, 64),
    ],
)
def test_the_axis_of_channels_is_found_on_images_that_are_not_square(
    name: str, layer: str, last: bool, width: int
) -> None:
    net = torchvision.models.get_model(name, weights=None).eval()
    kept: list[torch.Tensor] = []
    part = net.get_submodule(layer)
    part.register_forward_hook(lambda _m, _i, output: kept.append(output))
    with torch.inference_mode():
        net(torch.rand(1, 3, 96, 160))
    assert kept[0].shape[3 if last else 1] == width
    assert torch.equal(pool(kept[0], widths=channel_widths(part)), kept[0].mean((1, 2) if last else (2, 3)))


class Brighter:
    """A transform with a setting and no repr of its own."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return to_64(image) * self.factor


def closure(factor: float) -> object:
    return lambda image: to_64(image) * factor


def hidden(factors: dict[str, float]) -> object:
    return lambda image: to_64(image) * factors["x"]


@pytest.mark.parametrize(
    "make", [Brighter, closure, lambda f: hidden({"x": f}), lambda f: torchvision.transforms.Lambda(closure(f))]
)
def test_transforms_that_differ_in_a_value_differ(make: object) -> None:
    assert describe_transform(make(1.0)) == describe_transform(make(1.0))  # type: ignore[operator]
    assert describe_transform(make(1.0)) != describe_transform(make(2.0))  # type: ignore[operator]


def test_a_transform_by_chance_has_no_output_hash() -> None:
    assert "output_sha256" not in describe_transform(lambda image: torch.rand(3))
    assert "output_sha256" in describe_transform(to_64)


def test_an_official_file_is_evaluated_as_torchvision_does(tmp_path: Path) -> None:
    enum = torchvision.models.ResNet50_Weights
    torch.manual_seed(0)
    weights = torchvision.models.resnet50().state_dict()
    for member in (enum.IMAGENET1K_V1, enum.IMAGENET1K_V2):
        file = tmp_path / member.url.rpartition("/")[2]
        torch.save(weights, file)
        model = load_model("resnet50", file)
        assert describe_transform(model.transform) == describe_transform(member.transforms())
        assert model.classes.names[0] == "tench"


def test_module_from_python(tiny_net: nn.Module, state: Path) -> None:
    model = load_model(tiny_net, layer="3", transform=to_64, name="tiny")
    assert (model.weights, model.n_outputs, model.n_activations, model.input_shape) == ("module", 3, 16, (3, 64, 64))
    assert model.weights_sha256 == hash_weights(tiny_net)
    with pytest.raises(InferenceError, match="needs transform="):
        load_model(tiny_net)
    with pytest.raises(InferenceError, match="has 3 outputs, but classes= names 2"):
        load_model(tiny_net, transform=to_64, classes=["a", "b"])
    with pytest.raises(InferenceError, match="the transform gives a Image"):
        load_model(tiny_net, transform=lambda image: image)
    with pytest.raises(InferenceError, match=r"outputs have shape \(B, n\).* \(1, 3, 64, 64\)"):
        load_model(nn.Identity(), transform=to_64)
    with pytest.raises(NotFoundError, match="no weights file"):
        load_model(tiny_net, state / "none.pth", transform=to_64)


def test_hash_sees_every_value(tiny_net: nn.Module) -> None:
    before = hash_weights(tiny_net)
    with torch.no_grad():
        tiny_net[0].bias[0] += 1
        changed = hash_weights(tiny_net)
        tiny_net[0].bias[0] -= 1
    assert before != changed


def test_description_of_a_transform_has_no_addresses_and_tells_code_apart() -> None:
    def other(image: object) -> object:
        return image

    assert describe_transform(to_64) != describe_transform(other)
    compose = torchvision.transforms.Compose([torchvision.transforms.Lambda(other), torchvision.transforms.ToTensor()])
    assert "0x" not in str(describe_transform(compose))
    assert "ToTensor()" in describe_transform(compose)["settings"]
