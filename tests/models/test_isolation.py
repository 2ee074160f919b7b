"""A worker owns its module, and the caller's stays as it was."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sqlanalysis import load_model
from sqlanalysis.errors import ArgumentError, InferenceError, NotFoundError
from sqlanalysis.models import isolation
from sqlanalysis.models.engine import Engine
from sqlanalysis.models.model import Model

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
STORE: dict[str, Tensor] = {}
LATEST: Tensor | None = None


class Recorder:
    """An object that hooks write to."""

    last: Tensor


RECORDER = Recorder()


def to_16(picture: Image.Image) -> Tensor:
    array = np.asarray(picture.resize((16, 16)), np.float32) / 255
    return torch.from_numpy(array.copy()).permute(2, 0, 1)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """64 pictures of noise around different grays."""
    folder, random, made = tmp_path_factory.mktemp("noise"), np.random.default_rng(5), []
    for index in range(64):
        array = random.integers(0, 120, (20, 24, 3)) + 2 * index
        made.append(folder / f"{index:02}.png")
        Image.fromarray(array.astype(np.uint8)).save(made[-1])
    return made


def column(paths: list[Path]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([{"bytes": None, "path": str(path)} for path in paths], IMAGE)])


def infer(model: Model, paths: list[Path], **settings: object) -> tuple[list[dict], Engine]:
    engine = Engine(model, device="cpu", **settings)
    try:
        return engine(column(paths)).to_pylist(), engine
    finally:
        engine.close()


def plain_loop(net: nn.Module, paths: list[Path]) -> np.ndarray:
    """Probabilities by torch, one image at a time."""
    rows = []
    with torch.inference_mode():
        for path in paths:
            rows.append(net.eval()(to_16(Image.open(path).convert("RGB"))[None]).float().softmax(1)[0].numpy())
    return np.array(rows)


class Stateful(nn.Module):
    """Leaves the map of its convolution somewhere, waits, and reads it there; `way` says where."""

    shared: list[Tensor] = []  # noqa: RUF012 - the fault under test

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc, self.way = nn.Conv2d(3, 6, 3), nn.Linear(6, 3), way
        self.kept, self.names = [], {}
        self.register_buffer("memory", torch.zeros(8, 6, 14, 14), persistent=False)
        box: list[Tensor] = []
        scratch, latest = np.zeros((64, 6), np.float32), None

        def through_nonlocal(x: Tensor) -> Tensor:
            nonlocal latest
            latest = x
            time.sleep(0.003)
            return latest

        def through_list(x: Tensor) -> Tensor:
            box[:] = [x]
            time.sleep(0.003)
            return box[0]

        def through_array(x: Tensor) -> Tensor:
            means = x.mean((2, 3)).numpy()
            scratch[: len(means)] = means
            time.sleep(0.003)
            return torch.from_numpy(scratch[: len(means)].copy())[:, :, None, None]

        self.run = {"nonlocal": through_nonlocal, "closure": through_list, "array": through_array}.get(way)
        hooks: dict[str, Callable[..., None]] = {
            "hook into self": lambda _m, _i, output: setattr(self, "low", output),
            "hook into an object": lambda _m, _i, output: setattr(RECORDER, "last", output),
            "hook into a list of self": functools.partial(lambda kept, _m, _i, output: kept.append(output), self.kept),
            "method as hook": self.note,
        }
        if way == "hook into a list of self":
            kept = self.kept
            self.conv.register_forward_hook(lambda _m, _i, output: kept.append(output))
        elif way in hooks:
            self.conv.register_forward_hook(hooks[way])
        if way == "lock":
            self.lock = threading.Lock()

    def note(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self.low = output

    def forward(self, images: Tensor) -> Tensor:
        global LATEST
        x, way = self.conv(images), self.way
        if self.run is not None:
            x = self.run(x)
        elif way in ("self", "lock"):
            self.low = x
        elif way == "list":
            self.kept.append(x)
        elif way == "dict":
            self.names["low"] = x
        elif way == "buffer":
            self.memory[: len(x)].copy_(x)
        elif way == "global":
            STORE["low"] = x
        elif way == "global name":
            LATEST = x
        elif way == "class":
            Stateful.low_of_class = x
        elif way == "list of the class":
            self.shared.append(x)
        time.sleep(0.003)
        if way in ("self", "lock", "hook into self", "method as hook"):
            x = self.low
        elif way in ("list", "hook into a list of self"):
            x = self.kept.pop()
        elif way == "dict":
            x = self.names["low"]
        elif way == "buffer":
            x = self.memory[: len(x)]
        elif way == "global":
            x = STORE["low"]
        elif way == "global name":
            x = LATEST
        elif way == "class":
            x = Stateful.low_of_class
        elif way == "list of the class":
            x = self.shared.pop()
        elif way == "hook into an object":
            x = RECORDER.last
        return 20 * self.fc(x.relu().mean((2, 3)))


COPIED = ("self", "list", "dict", "buffer", "method as hook")
SHARED = ("closure", "nonlocal", "array", "global", "global name", "class", "list of the class", "hook into an object")
ITSELF = ("hook into self", "hook into a list of self", "lock")


@pytest.mark.parametrize("way", [*COPIED, *SHARED, *ITSELF])
def test_state_outside_the_stack_does_not_mix_images(way: str, paths: list[Path]) -> None:
    net = Stateful(way)
    model = load_model(net, transform=to_16)
    assert model.can_copy == (way not in ITSELF)
    found, engine = infer(model, paths)
    probs = np.array([answer["probs"] for answer in found])
    assert np.abs(probs - plain_loop(net, paths)).max() < 1e-5
    if way not in COPIED:
        assert engine.workers == 1
        assert "one worker runs it" in " ".join([*model.notes, *engine.notes])
    else:
        assert (model.notes, engine.notes) == ((), [])


@pytest.mark.parametrize("way", ["self", "closure", "hook into self", "class", "lock"])
def test_twenty_repeats_equal_one_worker_to_the_bit(way: str, paths: list[Path]) -> None:
    model = load_model(Stateful(way), transform=to_16)
    engine = Engine(model, device="cpu")
    one = Engine(model, device="cpu")
    one._workers.serial = True
    alone = one(column(paths))
    one.close()
    for _ in range(20):
        assert engine(column(paths)).equals(alone)
    engine.close()


class Slow(nn.Module):
    """Two workers disturb each other through something that no walk over Python objects finds."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("busy")]
        mine = threading.Thread(target=time.sleep, args=(0.05,), name="busy")
        mine.start()
        answer = self.fc(images.mean((2, 3))) + len(threads)
        mine.join()
        return answer * torch.tensor([1.0, 2.0, 3.0])


def test_answers_that_differ_from_one_worker_s_are_computed_again(paths: list[Path]) -> None:
    model = load_model(Slow(), transform=to_16)
    engine = Engine(model, device="cpu")
    if engine.workers == 1:
        pytest.skip("one core, so one worker")
    found = engine(column(paths[:32])).to_pylist()
    engine.close()
    assert np.abs(np.array([a["probs"] for a in found]) - plain_loop(model.module, paths[:32])).max() < 1e-5
    assert engine.workers == 1
    assert "workers of slow disturb each other" in engine.notes[0]


def test_copies_share_weights_and_nothing_else() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    net.kept = {"x": [1]}
    copied = isolation.worker_copy(net)
    assert all(a is b for a, b in zip(net.parameters(), copied.parameters(), strict=True))
    assert all(a is not b for a, b in zip(net.buffers(), copied.buffers(), strict=True))
    assert copied.kept == net.kept
    assert copied.kept["x"] is not net.kept["x"]


# The caller's module


@pytest.mark.parametrize("way", ["self", "lock", "hook into self"])
def test_the_callers_module_is_as_it_was(way: str, paths: list[Path]) -> None:
    net = Stateful(way).train()
    net.fc.eval()
    net.conv.weight.requires_grad_(False)
    hooks = dict(net.conv._forward_hooks)
    generator = torch.get_rng_state()
    model = load_model(net, transform=to_16, layer="conv")
    infer(model, paths[:8])
    assert torch.equal(generator, torch.get_rng_state())
    assert (net.training, net.conv.training, net.fc.training) == (True, True, False)
    assert (net.conv.weight.requires_grad, net.fc.weight.requires_grad) == (False, True)
    assert dict(net.conv._forward_hooks) == hooks
    assert {tensor.device.type for tensor in net.parameters()} == {"cpu"}


def step(net: nn.Module) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    net.train()(torch.rand(4, 3, 16, 16)).square().mean().backward()
    optimizer.step()


def average(net: nn.Module) -> None:
    for tensor in net.parameters():
        tensor.data.mul_(0.5)  # as averages of weights are written; torch does not count it as a change


@pytest.mark.parametrize("change", [step, average, lambda net: setattr(net, "way", "list")])
def test_training_on_changes_no_answer_and_is_noticed(change: Callable[[nn.Module], None], paths: list[Path]) -> None:
    net = Stateful("self")
    model = load_model(net, transform=to_16)
    expected = plain_loop(net, paths[:8])
    model.check_unchanged()
    change(net)
    found, _ = infer(model, paths[:8])
    assert np.abs(np.array([answer["probs"] for answer in found]) - expected).max() < 1e-5
    with pytest.raises(InferenceError, match="changed since load_model.*load the module again"):
        model.check_unchanged()
    load_model(net, transform=to_16).check_unchanged()


def test_a_change_of_what_is_evaluated_is_noticed() -> None:
    model = load_model(Stateful("self"), transform=to_16)
    with torch.no_grad():
        model.module.fc.bias[0] += 1
    with pytest.raises(InferenceError, match="the weights of stateful changed since load_model"):
        model.check_unchanged()


def test_a_module_with_a_graph_on_itself_is_copied(paths: list[Path]) -> None:
    net = Stateful("self")
    net(torch.rand(2, 3, 16, 16))  # leaves a tensor with a graph, which deepcopy refuses
    assert net.low.requires_grad
    model = load_model(net, transform=to_16)
    assert model.can_copy
    found, _ = infer(model, paths[:8])
    assert np.abs(np.array([answer["probs"] for answer in found]) - plain_loop(net, paths[:8])).max() < 1e-5


@pytest.mark.parametrize("lazy", [nn.LazyLinear(3), nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(3))])
def test_weights_that_were_never_given(lazy: nn.Module) -> None:
    with pytest.raises(InferenceError, match="lazy module"):
        load_model(
            nn.Sequential(nn.Flatten() if isinstance(lazy, nn.LazyLinear) else nn.Identity(), lazy), transform=to_16
        )


# Layers


class Exits(nn.Module):
    """Bright images leave before the layer `deep`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.early, self.deep, self.late = (
            nn.Conv2d(3, 5, 3),
            nn.Linear(5, 3),
            nn.Linear(5, 4),
            nn.Linear(4, 3),
        )
        self.again = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        x = self.again(self.conv(images)).mean((2, 3))
        return self.early(x) if images.mean() > 0.6 else self.again(self.late(self.deep(x)))


@pytest.mark.parametrize("batch_size", [1, 2])
def test_an_activation_is_of_this_pass_or_an_error(batch_size: int, paths: list[Path]) -> None:
    net = Exits()
    found, _ = infer(load_model(net, transform=to_16, layer="deep"), paths, batch_size=batch_size)
    n_wrong = 0
    for answer, path in zip(found, paths, strict=True):
        image = to_16(Image.open(path))[None]
        with torch.inference_mode():
            expected = net.deep(net.again(net.conv(image)).mean((2, 3)))[0].numpy()
        if answer["error"] is None:
            assert np.allclose(answer["activation"], expected, atol=1e-5)
        else:
            n_wrong += 1
            assert "layer 'deep' was not run for this image" in answer["error"]["message"]
        assert batch_size > 1 or (answer["error"] is None) == (image.mean() <= 0.6)
    assert (0 < n_wrong < len(paths)) == (batch_size == 1)  # two images decide together


def test_the_last_call_of_a_layer_is_kept_and_said(paths: list[Path]) -> None:
    net = Exits()
    model = load_model(net, transform=to_16, layer="again")
    assert model.notes == ("layer 'again' runs 2 times in a pass; the activation is that of its last call",)
    assert model.n_activations == 3
    found, _ = infer(model, paths[:8], batch_size=1)
    assert all(np.allclose(a["activation"], np.maximum(a["activation"], 0)) for a in found if a["error"] is None)


class Odd(nn.Module):
    """Layers whose output is no vector for each image."""

    class Keyed(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"map": x, "sum": x.sum()}

    class First(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).sum(0)

    def __init__(self) -> None:
        super().__init__()
        self.keyed, self.first, self.fc, self.unused = self.Keyed(), self.First(), nn.Linear(3, 3), nn.Linear(1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.keyed(images)["map"].mean((2, 3))) + self.first(images).mean() * 0


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("keyed", "gives a dict with the keys map, sum, not a tensor.*fc"),
        ("first", r"no vector for each image, but \(768, 1\) for 2 images|no vector for each image"),
        ("unused", "not used in the forward pass.*fc"),
    ],
)
def test_layers_that_cannot_be_kept(layer: str, message: str) -> None:
    with pytest.raises(InferenceError, match=message):
        load_model(Odd(), transform=to_16, layer=layer)
    with pytest.raises(NotFoundError, match="no layer 'fcc'.*did you mean fc"):
        load_model(Odd(), transform=to_16, layer="fcc")


# Dtypes and fixed batches


@pytest.mark.parametrize(
    ("dtype", "name", "gap"),
    [(torch.float16, "fp16", 5e-3), (torch.bfloat16, "bf16", 3e-2), (torch.float64, "fp64", 1e-6)],
)
@pytest.mark.parametrize("matching", [True, False])
def test_modules_of_other_dtypes(dtype: torch.dtype, name: str, gap: float, matching: bool, paths: list[Path]) -> None:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    net = net.eval().to(dtype)

    def transform(picture: Image.Image) -> Tensor:
        return to_16(picture).to(dtype) if matching else to_16(picture)

    model = load_model(net, transform=transform, layer="0")
    found, engine = infer(model, paths[:10])
    engine = Engine(model, device="cpu")
    engine.probe()
    engine.close()
    assert engine.dtype == name
    with torch.inference_mode():
        batch = torch.stack([to_16(Image.open(path)) for path in paths[:10]]).to(dtype)
        expected = net(batch).float().softmax(1).numpy()
    assert np.abs(np.array([answer["probs"] for answer in found]) - expected).max() < gap
    if name != "bf16":
        with pytest.raises(ArgumentError, match=f"the module itself is {name}"):
            Engine(model, device="cpu", dtype="bf16")


@pytest.mark.parametrize("only", [1, 4])
def test_a_module_of_one_batch_size(only: int, paths: list[Path]) -> None:
    class Fixed(Exits):
        def forward(self, images: Tensor) -> Tensor:
            return self.early(self.conv(images.reshape(only, 3, 16, 16)).mean((2, 3)))

    model = load_model(Fixed(), transform=to_16)
    assert model.batch == only
    found, engine = infer(model, paths[:10])
    assert engine.batch_size == only
    assert all(answer["error"] is None for answer in found)
    engine = Engine(model, device="cpu")
    engine.probe()
    engine.close()
    with pytest.raises(ArgumentError, match=f"takes batches of {only} only"):
        Engine(model, device="cpu", batch_size=3)
