"""The engine: the same numbers as the plain module, faster; pixels to the bit; neighbors, dtype, memory."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from sqlanalysis import load_model
from sqlanalysis.errors import ArgumentError, InferenceError
from sqlanalysis.models.device import find_batch_size
from sqlanalysis.models.engine import Engine
from sqlanalysis.models.fuse import fast_copy, fuse_batch_norm
from sqlanalysis.models.hooks import keep_output
from sqlanalysis.models.loading.checkpoint import hash_weights
from sqlanalysis.models.model import Model
from sqlanalysis.models.transforms import split_transform

from ..support.runs import to_64

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


def column(paths: list[Path | None]) -> pa.ChunkedArray:
    rows = [None if path is None else {"bytes": None, "path": str(path)} for path in paths]
    return pa.chunked_array([pa.array(rows, IMAGE)])


def answers(model: Model, paths: list[Path | None], **settings: object) -> list[dict]:
    engine = Engine(model, device="cpu", **settings)
    try:
        return engine(column(paths)).to_pylist()
    finally:
        engine.close()


@pytest.fixture
def paths(photos: Path) -> list[Path]:
    return sorted(photos.rglob("*.jpg"))


def n_norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


def used(net: nn.Module) -> nn.Module:
    """In eval mode, with batch norm that does something."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in [(part.running_mean, -0.2, 0.2), (part.running_var, 0.5, 2.0)]:
                tensor.uniform_(low, high)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.2, 0.2)
    return net.eval()


def outputs(module: nn.Module, layer: str | None, batch: torch.Tensor) -> list[torch.Tensor]:
    """Probabilities and activation."""
    kept: list[torch.Tensor] = []
    with torch.inference_mode(), keep_output(module, layer, kept.append):
        return [module(batch).softmax(1), *kept]


# Batch norm folded


@pytest.mark.parametrize(
    ("name", "layer", "n_left"),
    [("resnet18", "layer3", 0), ("mobilenet_v3_small", "features", 0), ("densenet121", "features", 62), ("swin_t", "features", 0)],
)  # fmt: skip
def test_folded_module_equals_the_plain_one(name: str, layer: str, n_left: int) -> None:
    torch.manual_seed(0)
    net = used(torchvision.models.get_model(name, weights=None, num_classes=7))
    digest, layout = hash_weights(net), [part.stride() for part in net.parameters()]
    batch = torch.rand(2, 3, 96, 96)
    model = load_model(net, transform=to_64, layer=layer)
    folded = fast_copy(model)
    for expected, actual in zip(outputs(net, layer, batch), outputs(folded, layer, batch), strict=True):
        assert (expected - actual).abs().max() <= 1e-5 * max(1, expected.abs().max())
    assert n_norms(folded) == n_left
    assert [key for key, _ in folded.named_modules()] == [key for key, _ in net.named_modules()]
    assert (hash_weights(net), [part.stride() for part in net.parameters()]) == (digest, layout)
    assert model.weights_sha256 == digest


class Pairs(nn.Module):
    """Two convolutions with their batch norms; `way` says who else looks between them."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.a, self.b = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1)), nn.BatchNorm2d(3)
        self.c, self.d = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.d(self.c(self.b(self.a(images))))
        if self.way == "twice":
            x = x + self.c(images)
        if self.way == "between":
            between = self.c(x)
            x = self.d(between) + between
        if self.way == "weight":
            x = x + self.c.weight.sum()
        if self.way == "branch" and x.mean() > 1e9:
            x = x * 0
        return x.mean((2, 3))


@pytest.mark.parametrize(
    ("way", "layer", "n_left"),
    [
        ("plain", None, 0),
        ("plain", "a", 1),
        ("plain", "a.0", 1),
        ("plain", "b", 1),
        ("plain", "d", 1),
        ("twice", None, 1),
        ("between", None, 1),
        ("weight", None, 1),
        ("hook", None, 1),
        ("branch", None, 2),
    ],
)
def test_what_others_see_is_not_folded(way: str, layer: str | None, n_left: int) -> None:
    torch.manual_seed(1)
    net = used(Pairs(way))
    if way == "hook":
        net.c.register_forward_hook(lambda _module, _inputs, output: output * 2)
    batch = torch.rand(2, 3, 8, 8)
    folded = fuse_batch_norm(net, layer)
    for expected, actual in zip(outputs(net, layer, batch), outputs(folded, layer, batch), strict=True):
        assert torch.allclose(expected, actual, atol=1e-6)
    assert n_norms(folded) == n_left


def test_children_of_an_untraceable_module_are_folded() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.net(images).mean((2, 3)) if images.sum() > 0 else images.mean((2, 3))

    net = used(Root())
    folded = fuse_batch_norm(net)
    assert n_norms(folded) == 0
    assert torch.allclose(net(torch.ones(1, 3, 9, 9)), folded(torch.ones(1, 3, 9, 9)), atol=1e-6)


def test_a_module_that_cannot_be_copied_runs_as_it_is(tiny_model: Model, paths: list[Path]) -> None:
    net = nn.Sequential(tiny_model.module)
    net.forever = iter_forever()
    odd = load_model(net.train(), transform=to_64)
    assert fast_copy(odd) is net
    assert odd.notes == ("Sequential cannot be copied (cannot pickle 'generator' object), so one worker runs it",)
    expected = answers(load_model(tiny_model.module, transform=to_64), paths)
    for got, wanted in zip(answers(odd, paths), expected, strict=True):
        assert np.allclose(got["probs"], wanted["probs"], atol=1e-5)
    assert net.training
    assert not net[0]._forward_hooks


def iter_forever() -> Iterator[int]:
    while True:
        yield 0


# Pixels


SIZES = [(640, 480), (481, 641), (224, 224), (256, 256), (17, 300), (2000, 90), (1, 1), (3, 700), (257, 255), (99, 101)]


@pytest.mark.parametrize("name", ["ResNet18", "Swin_T", "EfficientNet_B1", "Inception_V3"])
def test_pixels_are_torchvisions_to_the_bit(name: str) -> None:
    weights = getattr(torchvision.models, f"{name}_Weights").DEFAULT
    transform = weights.transforms()
    pixels = split_transform(transform)
    assert pixels.dtype == torch.uint8
    random = np.random.default_rng(0)
    pictures = [Image.fromarray(random.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in SIZES]
    actual = pixels.finish(torch.stack([pixels.load(picture) for picture in pictures]))
    assert torch.equal(actual, torch.stack([transform(picture) for picture in pictures]))


def test_other_transforms_stay_whole() -> None:
    pixels = split_transform(to_64)
    assert pixels.dtype == torch.float32
    picture = Image.effect_noise((80, 70), 50).convert("RGB")
    assert torch.equal(pixels.load(picture), to_64(picture))
    gray = torch.rand(2, 3, 4, 4)
    assert pixels.finish(gray) is gray


# Neighbors


def test_neighbors_do_not_matter(tmp_path: Path, paths: list[Path]) -> None:
    torch.manual_seed(0)
    net = used(torchvision.models.resnet18(num_classes=5))
    transform = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    model = load_model(net, transform=transform, layer="layer4")
    (tmp_path / "broken.jpg").write_bytes(paths[0].read_bytes()[:2000])
    quiet = answers(model, paths[:8])
    others = [paths[0], None, tmp_path / "broken.jpg", paths[3], paths[17], tmp_path / "no.jpg", None, paths[7]]
    disturbed = answers(model, others)
    for index in (0, 3, 7):
        assert quiet[index] == disturbed[index]
    assert disturbed[1] is None
    assert [disturbed[index]["error"]["stage"] for index in (2, 5)] == ["decode", "read"]
    alone = answers(model, [paths[3]])[0]
    assert np.allclose(alone["probs"], quiet[3]["probs"], atol=1e-6)


def test_staged_plan_gives_the_same_answers(tiny_model: Model, paths: list[Path]) -> None:
    expected = answers(tiny_model, paths, batch_size=5)
    engine = Engine(tiny_model, batch_size=5, device="cpu")
    engine._is_staged = True  # the plan of a GPU: a feeder between decoders and the device
    actual = engine(column(paths)).to_pylist()
    assert actual == expected
    assert engine(column([])).to_pylist() == []
    engine.interrupt()
    with pytest.raises(InferenceError, match="interrupted"):
        engine(column(paths))
    engine.close()


# Precision and compiling


@pytest.fixture
def colors(tmp_path: Path) -> tuple[Model, list[Path]]:
    """Images that are mostly red, green or blue, and a network that sees it."""
    random = np.random.default_rng(0)
    actual = []
    for number in range(18):
        array = random.integers(0, 120, (70, 80, 3), dtype=np.uint8)
        array[..., number % 3] += 60
        actual.append(tmp_path / f"{number:02}.png")
        Image.fromarray(array).save(actual[-1])
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(3)[:, :, None, None])
        net[4].weight.copy_(torch.eye(3) * 20)
        net[0].bias.zero_()
        net[4].bias.zero_()
    return load_model(net, transform=to_64, layer="1", name="colors"), actual


def test_bf16_agrees(colors: tuple[Model, list[Path]]) -> None:
    model, actual = colors
    digest = hash_weights(model.module)
    exact, rounded = answers(model, actual), answers(model, actual, dtype="bf16")
    assert [answer["pred"] for answer in exact] == [number % 3 for number in range(18)]
    assert [answer["pred"] for answer in rounded] == [number % 3 for number in range(18)]
    gaps = [np.abs(np.subtract(a["probs"], b["probs"])).max() for a, b in zip(exact, rounded, strict=True)]
    assert 0 < max(gaps) < 0.05
    assert hash_weights(model.module) == digest
    assert {part.dtype for part in model.module.parameters()} == {torch.float32}


def test_dtype_and_compile_errors(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match="no dtype 'int8'; give one of fp32, bf16, fp16"):
        Engine(tiny_model, dtype="int8")
    with pytest.raises(ArgumentError, match="fp16 runs on CUDA only"):
        Engine(tiny_model, device="cpu", dtype="fp16")

    def refuse(_module: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setattr(torch, "compile", refuse)
    before = torch.get_num_threads()
    with pytest.raises(InferenceError, match=r"torch\.compile fails on tiny: no compiler; run it without compile"):
        Engine(tiny_model, device="cpu", compile=True)
    assert torch.get_num_threads() == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_compiled_module_gives_the_same_answers(tiny_model: Model, paths: list[Path]) -> None:
    plain, compiled = answers(tiny_model, paths), answers(tiny_model, paths, compile=True)
    for a, b in zip(plain, compiled, strict=True):
        assert b["error"] is None
        assert np.allclose(a["probs"], b["probs"], atol=1e-5)
        assert np.allclose(a["activation"], b["activation"], atol=1e-5)


# Memory


class Clock:
    """Stands for the module `time`; a pass takes as long as `cost` says."""

    def __init__(self, cost: Callable[[int], float], most: int) -> None:
        self.now, self.cost, self.most, self.tried = 0.0, cost, most, []

    def perf_counter(self) -> float:
        return self.now

    def attempt(self, size: int) -> None:
        self.tried.append(size)
        if size > self.most:
            raise torch.OutOfMemoryError("too much")
        self.now += self.cost(size)


@pytest.mark.parametrize(
    ("cost", "most", "found"),
    [
        (lambda size: 1.0, 10_000, 512),  # always faster
        (lambda size: 1.0, 40, 32),  # until memory ends
        (lambda size: max(1.0, size / 16), 10_000, 16),  # until the device is busy
        (lambda size: 1.0, 0, 1),  # not even one: an error row later
    ],
)
def test_batch_size_is_found(
    cost: Callable[[int], float], most: int, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(cost, most)
    monkeypatch.setattr("sqlanalysis.models.device.time", clock)
    assert find_batch_size(clock.attempt) == found
    assert max(clock.tried) <= min(512, 2 * max(1, found))


class Small(nn.Module):
    """Has memory for `most` images."""

    def __init__(self, net: nn.Module, most: int) -> None:
        super().__init__()
        self.net, self.most = net, most

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("too much")
        return self.net(images)


@pytest.mark.parametrize(("most", "size"), [(100, 8), (3, 2), (1, 1), (0, 1)])
@pytest.mark.parametrize("staged", [False, True])
def test_out_of_memory_halves_the_batch(
    tiny_model: Model, paths: list[Path], most: int, size: int, staged: bool
) -> None:
    expected = answers(tiny_model, paths)
    small = dataclasses.replace(tiny_model, module=Small(tiny_model.module, most), layer="net.3")
    engine = Engine(small, device="cpu")
    engine._is_staged = staged
    actual = engine(column(paths)).to_pylist()
    engine.close()
    assert engine.batch_size == size
    if not most:
        assert {(a["error"]["stage"], a["error"]["error"]) for a in actual} == {("forward", "OutOfMemoryError")}
        return
    for a, b in zip(expected, actual, strict=True):
        assert np.allclose(a["probs"], b["probs"], atol=1e-6)
        assert np.allclose(a["activation"], b["activation"], atol=1e-5)


# Profile


@pytest.mark.parametrize("stuck", [{0}, {7}, {1, 2}, {3, 11}])
def test_an_image_that_takes_too_long_is_an_error(
    tiny_net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stuck: set[int]
) -> None:
    paths: list[Path | None] = [tmp_path / f"{number}.png" for number in range(12)]
    for number, path in enumerate(paths):
        Image.new("RGB", (64, 64 + number), (20 * number, 9, 9)).save(path)
    release = threading.Event()

    def slow(picture: Image.Image) -> torch.Tensor:
        if picture.height - 64 in stuck:
            release.wait(60)
        return to_64(picture)

    expected = answers(load_model(tiny_net, transform=to_64), paths)
    monkeypatch.setattr("sqlanalysis.core.decode.MAX_SECONDS", 4)
    actual = answers(load_model(tiny_net, transform=slow), paths)
    release.set()
    late = [answer["error"] and answer["error"]["error"] for answer in actual]
    assert late == ["TimeoutError" if number in stuck else None for number in range(12)]
    assert all(actual[number] == expected[number] for number in range(12) if number not in stuck)
    assert all(actual[number]["probs"] is None for number in stuck)


def test_a_closed_engine_leaves_no_thread(tiny_model: Model, paths: list[Path]) -> None:
    before = threading.active_count()
    for _ in range(3):
        answers(tiny_model, paths)
    end = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_a_transform_that_would_end_the_process_is_an_error_of_its_image(
    tiny_net: nn.Module, paths: list[Path]
) -> None:
    def leave(picture: Image.Image) -> torch.Tensor:
        if picture.size == leave.size:
            raise leave.error
        return to_64(picture)

    sizes = []
    for path in paths:
        with Image.open(path) as picture:
            sizes.append(picture.size)
    leave.size = sizes[1]
    for leave.error in (SystemExit(3), KeyboardInterrupt(), GeneratorExit()):
        found = [row["error"] for row in answers(load_model(tiny_net, transform=leave), paths)]
        failed = [index for index, error in enumerate(found) if error is not None]
        assert failed == [index for index, size in enumerate(sizes) if size == leave.size]
        assert {found[index]["error"] for index in failed} == {type(leave.error).__name__}


def test_seconds_by_stage(tiny_model: Model, paths: list[Path]) -> None:
    engine = Engine(tiny_model, device="cpu")
    engine(column([*paths, None]))
    engine(column(paths))
    engine.close()
    assert set(engine.seconds) == {"read", "decode", "transform", "forward"}
    assert all(value > 0 for value in engine.seconds.values())


# GPU


@no_gpu
@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "gap"), [("fp32", 1e-4), ("bf16", 0.05), ("fp16", 0.02)])
def test_gpu_agrees(colors: tuple[Model, list[Path]], dtype: str, gap: float) -> None:
    model, actual = colors
    exact = answers(model, actual)
    engine = Engine(model, device="cuda", dtype=dtype)
    rounded = engine(column(actual)).to_pylist()
    engine.close()
    assert engine.batch_size in {2**power for power in range(10)}
    for a, b in zip(exact, rounded, strict=True):
        assert a["pred"] == b["pred"]
        assert np.abs(np.subtract(a["probs"], b["probs"])).max() <= gap
