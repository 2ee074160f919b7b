"""Answers to two images of noise: what is refused, and that every kind of change of a model changes them."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision import transforms

from sqlanalysis import load_model
from sqlanalysis.errors import InferenceError
from sqlanalysis.models import probe as probes
from sqlanalysis.models.content import fingerprint
from sqlanalysis.models.engine import Engine
from sqlanalysis.models.model import Model
from sqlanalysis.models.transforms import called, describe_function, describe_transform
from sqlanalysis.runs.identity import differences
from sqlanalysis.runs.run import Run

from ..support.runs import to_64

FACTOR = 1.0
SUMS = [25378075, 24433088]  # of the values of the two images, written down once


class Base(nn.Module):
    """A small network; the sub-classes are odd in one way each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.fc = nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.Linear(8, 3)
        self.calls = 0

    def features(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images)).relu().mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.features(images))


class Dropout(Base):
    def forward(self, images: Tensor) -> Tensor:
        return self.fc(functional.dropout(self.features(images), 0.5))


class RareDropout(Base):
    def forward(self, images: Tensor) -> Tensor:
        return self.fc(functional.dropout(self.features(images), 0.03))


class Stubborn(Base):
    """Monte Carlo dropout as it is often written: eval does not reach the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.4)
        self.drop.train = lambda mode=True: self.drop  # type: ignore[method-assign]

    def forward(self, images: Tensor) -> Tensor:
        self.drop.training = True
        return self.fc(self.drop(self.features(images)))


class NumpyNoise(Base):
    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.features(images)) + float(np.random.default_rng().normal())


class PythonNoise(Base):
    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.features(images)) * random.random()


class Counter(Base):
    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.fc(self.features(images)) + 0.2 * self.calls


class BatchStatistics(Base):
    def forward(self, images: Tensor) -> Tensor:
        x = functional.batch_norm(self.conv(images), None, None, training=True)
        return self.fc(x.relu().mean((2, 3)))


class Untracked(Base):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)


class Centered(Base):
    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images)
        return self.fc(x - x.mean(0))


class Ranked(Base):
    """Answers depend on the place in the batch."""

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.features(images)) * torch.arange(1.0, len(images) + 1)[:, None]


def probed(net: nn.Module | Model, **settings: object) -> probes.Probed:
    allow = bool(settings.pop("allow_random", False))
    model = net if isinstance(net, Model) else load_model(net, transform=to_64)
    engine = Engine(model, device="cpu", **settings)
    try:
        return engine.probe(allow_random=allow)
    finally:
        engine.close()


@pytest.mark.parametrize("odd", [Dropout, RareDropout, Stubborn, NumpyNoise, PythonNoise, Counter])
def test_random_answers_are_refused_or_recorded(odd: type[Base]) -> None:
    net = odd()
    with pytest.raises(InferenceError, match=r"the same image two different answers.*allow_random=True"):
        probed(net)
    if odd in (Dropout, RareDropout, Stubborn):
        with pytest.raises(InferenceError, match="draws random numbers, such as F.dropout"):
            probed(net)
    found = probed(net, allow_random=True)
    assert found.is_random
    assert json.loads(found.record)["random"] is True


@pytest.mark.parametrize("odd", [BatchStatistics, Untracked, Centered, Ranked])
def test_answers_that_depend_on_the_batch_are_refused(odd: type[Base]) -> None:
    with pytest.raises(InferenceError, match=r"another answer beside other images of its batch.*batch_size=1"):
        probed(odd())
    assert not probed(odd(), batch_size=1).is_random


def test_a_random_transform_is_refused() -> None:
    def shift(picture: Image.Image) -> Tensor:
        return to_64(picture).roll(random.randrange(1, 9), 2)

    with pytest.raises(InferenceError, match="the transform of base gives two different tensors for the same image"):
        probed(load_model(Base(), transform=shift))


def test_dropout_that_never_drops_is_accepted() -> None:
    class Harmless(Base):
        def forward(self, images: Tensor) -> Tensor:
            return self.fc(self.features(images)) + 0 * torch.rand(3)

    assert not probed(Harmless()).is_random


def test_what_cannot_be_computed_says_why() -> None:
    class Fails(Base):
        def forward(self, images: Tensor) -> Tensor:
            return self.fc(images)

    with pytest.raises(InferenceError, match="fails on a 256 x 256 image of noise: RuntimeError: mat1 and mat2"):
        load_model(Fails(), transform=to_64)


def test_noise_is_the_same_on_every_machine() -> None:
    first, second = (np.asarray(picture) for picture in probes.noise())
    assert (first.shape, first.dtype) == ((256, 256, 3), np.uint8)
    assert [int(first.sum()), int(second.sum())] == SUMS
    assert np.abs(first.astype(int) - second).mean() > 30


def test_the_probe_of_a_model_runs_once() -> None:
    passes = []

    class Counted(Base):
        def forward(self, images: Tensor) -> Tensor:
            passes.append(len(images))
            return super().forward(images)

    model = load_model(Counted(), transform=to_64)
    del passes[:]
    first = probed(model)
    assert passes == [2, 2]  # both images, and one beside a blank one
    assert probed(model) is first
    assert passes == [2, 2]


# Which model it is: twelve kinds of change


class Flexible(Base):
    """What a model can be made of beside its state dict."""

    def __init__(self, **how: object) -> None:
        super().__init__()
        self.act = how.get("act", "relu")
        self.scale = how.get("scale", 1.0)
        self.threshold = how.get("threshold", 9.0)
        self.table = np.array(how.get("table", [1.0, 2.0, 3.0]), np.float32)
        self.plain = torch.tensor(how.get("plain", [0.0, 0.0, 0.0]))
        self.hidden = [nn.Linear(3, 3)]
        if "hidden" in how:
            nn.init.constant_(self.hidden[0].weight, 0.25)
        self.register_buffer("unsaved", torch.tensor(how.get("unsaved", 1.0)), persistent=False)
        offset = how.get("offset", 0.5)
        self.last: Callable[[Tensor], Tensor] = lambda x: x + offset
        self.part = functools.partial(torch.mul, torch.tensor(how.get("part", 1.5)))
        if "hook" in how:
            self.fc.register_forward_hook(lambda _m, _i, output: output * how["hook"])
        if "eps" in how:
            self.norm.eps = how["eps"]
        if "weights" in how:
            with torch.no_grad():
                self.fc.bias[0] += how["weights"]

    def forward(self, images: Tensor) -> Tensor:
        x = getattr(self.norm(self.conv(images)), self.act)().mean((2, 3))
        x = self.last(self.part(self.fc(x) * self.scale) * torch.from_numpy(self.table) + self.plain) * self.unsaved
        x = x + self.hidden[0](x) * FACTOR
        return x if images.mean() < self.threshold else -x


class Other(Flexible):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).flip(1)


CHANGES = [
    {"act": "abs"}, {"scale": 1.01}, {"threshold": 5.0}, {"table": [1.0, 2.0, 3.1]}, {"plain": [0.0, 0.0, 0.1]},
    {"hidden": 1}, {"unsaved": 1.1}, {"offset": 0.6}, {"part": 1.6}, {"hook": 2.0}, {"eps": 1e-3}, {"weights": 0.1},
]  # fmt: skip


def described(net: nn.Module) -> Run:
    model = load_model(net, transform=to_64)
    transform = json.dumps(describe_transform(model.transform))
    return Run("r", "d", "m", weights_sha256=model.weights_sha256, transform=transform, probe=probed(model).record)


@pytest.mark.parametrize("change", CHANGES, ids=[next(iter(change)) for change in CHANGES])
def test_every_kind_of_change_is_noticed(change: dict[str, object]) -> None:
    def seeded(**how: object) -> Flexible:
        torch.manual_seed(7)
        net = Flexible(**how)
        if "hidden" not in how:
            torch.manual_seed(8)
            net.hidden = [nn.Linear(3, 3)]
        return net

    before = described(seeded())
    assert differences(before, described(seeded())) == []
    assert len(differences(before, described(seeded(**change)))) == 1


def test_another_forward_and_another_global_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(kind: type[Flexible]) -> Flexible:
        net = kind()
        net.hidden = [nn.Identity()]
        return net

    before = described(make(Flexible))
    assert differences(before, described(make(Other)))
    monkeypatch.setattr(f"{__name__}.FACTOR", 1.5)
    assert differences(before, described(make(Flexible)))


def test_a_pass_of_the_module_elsewhere_is_no_change() -> None:
    class Kept(Base):
        def forward(self, images: Tensor) -> Tensor:
            self.low = self.conv(images)
            return self.fc(self.norm(self.low).relu().mean((2, 3)))

    net = Kept()
    before = described(net)
    net.eval()(torch.rand(2, 3, 64, 64))
    assert differences(before, described(net)) == []


def test_rounding_is_no_change_and_an_activation_counts() -> None:
    record = {
        "dtype": "float32",
        "batch": 2,
        "random": False,
        "tolerance": 1e-4,
        "settings_sha256": "a",
        "made_with": "b",
    }
    record |= {"logits": [[1.0, -2.0, None], [0.5, 3.0, None]], "activations": [[1.0], [2.0]]}

    def run(**changes: object) -> Run:
        return Run("r", "d", "m", probe=json.dumps({**record, **changes}))

    assert differences(run(), run(logits=[[1.00002, -2.0, None], [0.5, 3.0001, None]])) == []
    assert differences(run(), run(logits=[[1.01, -2.0, None], [0.5, 3.0, None]]))
    assert differences(run(), run(logits=[[1.0, -2.0, 0.0], [0.5, 3.0, None]]))
    assert differences(run(), run(activations=[[1.0], [2.1]]))
    assert differences(run(), run(settings_sha256="other"))
    assert differences(run(), run(settings_sha256="other", made_with="another Python")) == []
    assert differences(run(), run(random=True)) == ["random answers False → True"]


# Content of functions


class Bound:
    """A callable object with a setting, and a method."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, batch: Tensor) -> Tensor:
        return batch * self.factor

    def method(self, batch: Tensor) -> Tensor:
        return batch + self.factor


class Slotted:
    __slots__ = ("factor",)

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, batch: Tensor) -> Tensor:
        return batch * self.factor


def over(values: object) -> Callable[[Tensor], object]:
    return lambda batch: (batch, values)


def nested(value: float) -> Callable[[Tensor], Tensor]:
    def inner(batch: Tensor) -> Tensor:
        def innermost() -> float:
            return value

        return batch * innermost()

    return inner


def linear(value: float) -> nn.Linear:
    net = nn.Linear(1, 1)
    nn.init.constant_(net.weight, value)
    nn.init.zeros_(net.bias)
    return net


def forest(seed: float) -> object:
    from sklearn.ensemble import RandomForestClassifier

    x = np.random.default_rng(0).random((60, 4))
    return over(RandomForestClassifier(3, random_state=int(seed * 10)).fit(x, x[:, 0] > x[:, 1]))


MAKERS: list[Callable[[float], object]] = [
    Bound, Slotted, nested, forest,
    lambda v: Bound(v).method,
    lambda v: functools.partial(torch.mul, v),
    lambda v: functools.partial(Bound.method, Bound(v)),
    lambda v: over([1, {"deep": (v, {v})}]),
    lambda v: over(torch.full((2,), v)),
    lambda v: over(torch.full((2,), v, dtype=torch.bfloat16)),
    lambda v: over(np.full(3, v)),
    lambda v: over(np.array([v, None], dtype=object)),
    lambda v: over(linear(v)),
    lambda v: over(Bound(v)),
    lambda v: over(nested(v)),
    lambda v: (lambda batch, factor=v: batch * factor),
    lambda v: (lambda batch, *, factor=v: batch * factor),
]  # fmt: skip


@pytest.mark.parametrize("make", MAKERS)
def test_functions_are_told_apart_by_content(make: Callable[[float], object]) -> None:
    assert fingerprint(make(1.5)) == fingerprint(make(1.5))
    assert fingerprint(make(1.5)) != fingerprint(make(2.5))


def test_globals_count_even_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads() -> list[float]:
        return [FACTOR for _ in range(2)]

    before = fingerprint(reads)
    monkeypatch.setattr(f"{__name__}.FACTOR", 2.0)
    assert fingerprint(reads) != before


def test_content_is_the_same_in_another_process(tmp_path: Path) -> None:
    import subprocess
    import sys

    program = tmp_path / "program.py"
    program.write_text(
        "import numpy as np, torch\nfrom sqlanalysis.models.content import fingerprint\n"
        "NAMES = {'a', 'b', 'c', 'dd', 'ee'}\nclass C:\n    def __init__(s): s.x = {'k': NAMES}\n"
        "c = C()\ndef f(x): return x in {'q', 'w', 'e', 'r'} or c.x or np.float32(1)\nprint(fingerprint(f))"
    )
    found = {
        subprocess.run([sys.executable, program], capture_output=True, text=True, check=True, env=env).stdout
        for env in ({"PYTHONHASHSEED": "1", "PYTHONPATH": "."}, {"PYTHONHASHSEED": "2", "PYTHONPATH": "."})
    }
    assert len(found) == 1


def test_what_has_no_content_is_named() -> None:
    stream = (number for number in range(3))
    with pytest.raises(InferenceError, match=r"stream is a builtins.generator, which is no data"):
        fingerprint(lambda: stream)
    looped: list[object] = []
    looped.append(looped)
    assert fingerprint(looped) == fingerprint(looped)


def test_a_function_that_counts_its_calls_stays_itself() -> None:
    calls: list[int] = []

    def count(batch: list[int]) -> int:
        calls.append(len(batch))
        return len(calls)

    first = describe_function(count)
    count([1])
    called(count, first)
    assert describe_function(count) == first
    calls.append(9)  # not by its own call
    assert describe_function(count) != first


def test_an_unknown_function_is_itself_only() -> None:
    def over_stream() -> Callable[[], object]:
        stream = (number for number in range(3))
        return lambda: stream

    one, other = over_stream(), over_stream()
    assert describe_function(one) == describe_function(one)
    assert describe_function(one) != describe_function(other)
    assert describe_function(one, vouched=True) == describe_function(other, vouched=True)


@pytest.mark.parametrize("as_array", [False, True])
def test_a_transform_that_returns_its_own_buffer_is_refused(as_array: bool) -> None:
    held = torch.zeros(3, 64, 64)

    def transform(picture: Image.Image) -> Tensor | np.ndarray:
        held.copy_(to_64(picture))
        return held.numpy() if as_array else held

    with pytest.raises(InferenceError, match="gives the same tensor again"):
        probed(load_model(Base(), transform=transform))


def test_a_module_of_batches_of_two_is_seen() -> None:
    class Pairs(Base):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.view(2, 3, 64, 64))

    model = load_model(Pairs(), transform=to_64)
    assert model.batch == 2
    assert "batches of 2 only" in " ".join(model.notes)


def test_a_transform_that_does_not_resize_is_named() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 30 * 30, 3))
    with pytest.raises(InferenceError, match="keeps the size of a picture"):
        load_model(net, transform=transforms.ToTensor())
