"""Checkpoints as trainers write them: which weights are taken, what is said, and that no code of a file is run."""

from __future__ import annotations

import argparse
import collections
import copy
import datetime
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sqlanalysis import load_model
from sqlanalysis.errors import InferenceError, NotFoundError

from ..support.runs import to_64


class Net(nn.Module):
    """A small network; `width` is the number of outputs."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.bn(self.conv(x)).relu().mean((2, 3)))


class Lit(nn.Module):
    """A module of a trainer: the network, a copy that is averaged, a loss with weights."""

    def __init__(self, net: nn.Module, ema: nn.Module | None = None) -> None:
        super().__init__()
        self.model = net
        if ema is not None:
            self.ema_model = ema
        self.loss = nn.CrossEntropyLoss(weight=torch.rand(3))


def net(seed: int) -> Net:
    torch.manual_seed(seed)
    made = Net()
    made.bn.running_mean.uniform_(-1, 1)
    return made


PLAIN, AVERAGE = net(1), net(2)
OPTIMIZER = torch.optim.Adam(PLAIN.parameters())
PLAIN(torch.rand(2, 3, 8, 8)).sum().backward()
OPTIMIZER.step()


def averaged() -> nn.Module:
    wrapped = AveragedModel(PLAIN, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    wrapped.module.load_state_dict(AVERAGE.state_dict())
    return wrapped


def loaded(content: Any, tmp_path: Path, key: str = "", module: nn.Module | None = None, **how: Any) -> Any:
    file = tmp_path / "x.pth"
    torch.save(content, file)
    return load_model(module or Net(), f"{file}{key}", transform=to_64, name="n", **how)


def same(model: Any, expected: nn.Module) -> bool:
    state = expected.state_dict()
    return all(torch.equal(value, state[key]) for key, value in model.module.state_dict().items())


def prefixed(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{key}": value for key, value in state.items()}


@pytest.mark.parametrize("key", [None, "state_dict", "model", "net", "model_state_dict", "network", "model.state_dict"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "model._orig_mod.module."]
)
def test_keys_and_prefixes_in_any_nesting(tmp_path: Path, key: str | None, prefix: str) -> None:
    content: Any = prefixed(prefix, PLAIN.state_dict())
    for part in reversed(key.split(".") if key else []):
        content = {part: content, "optimizer": OPTIMIZER.state_dict(), "epoch": 3, "best": torch.tensor(0.5)}
    model = loaded(content, tmp_path)
    assert same(model, PLAIN)
    assert model.notes == ()


def test_real_wrappers(tmp_path: Path) -> None:
    compiled = torch.compile(copy.deepcopy(PLAIN))
    for wrapped in (compiled, nn.DataParallel(PLAIN), nn.DataParallel(compiled), Lit(PLAIN)):
        assert same(loaded({"state_dict": wrapped.state_dict()}, tmp_path), PLAIN)


def test_wrappers_inside_names(tmp_path: Path) -> None:
    # As the ImageNet example of PyTorch trains AlexNet: only the convolutions are parallel.
    inner = nn.Sequential(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    parallel = copy.deepcopy(inner)
    parallel[0] = nn.DataParallel(parallel[0])
    assert "0.module.0.weight" in parallel.state_dict()
    assert same(loaded(parallel.state_dict(), tmp_path, module=copy.deepcopy(inner)), inner)


def test_what_the_module_itself_is_called_stays(tmp_path: Path) -> None:
    outer = nn.ModuleDict({"model": PLAIN, "module": AVERAGE})

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.module = Net(), Net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.model(x) + self.module(x)

    for prefix in ("", "model.", "module."):
        model = loaded({"state_dict": prefixed(prefix, outer.state_dict())}, tmp_path, module=Outer())
        assert same(model, outer)
        assert not same(model, nn.ModuleDict({"model": AVERAGE, "module": PLAIN}))


def test_a_wrapped_module_takes_plain_weights(tmp_path: Path) -> None:
    model = loaded(PLAIN.state_dict(), tmp_path, module=nn.DataParallel(Net()))
    assert all(
        torch.equal(v, PLAIN.state_dict()[k.removeprefix("module.")]) for k, v in model.module.state_dict().items()
    )


EMA = {
    "timm": lambda: (
        {"state_dict": PLAIN.state_dict(), "state_dict_ema": AVERAGE.state_dict(), "arch": "x"},
        "state_dict_ema",
    ),
    "torchvision": lambda: (
        {"model": PLAIN.state_dict(), "model_ema": averaged().state_dict(), "epoch": 1},
        "model_ema",
    ),
    "keras-like": lambda: ({"net": PLAIN.state_dict(), "ema_state_dict": AVERAGE.state_dict()}, "ema_state_dict"),
    "lightning": lambda: ({"state_dict": Lit(PLAIN, AVERAGE).state_dict(), "callbacks": {}}, "ema_model"),
    "lightning swa": lambda: ({"state_dict": Lit(PLAIN, averaged()).state_dict()}, "ema_model"),
    "nested": lambda: ({"model": PLAIN.state_dict(), "ema": {"decay": 0.9, "module": AVERAGE.state_dict()}}, "ema"),
}


@pytest.mark.parametrize("trainer", EMA)
def test_plain_weights_come_before_averages_and_the_choice_is_said(tmp_path: Path, trainer: str) -> None:
    content, key = EMA[trainer]()
    model = loaded(content, tmp_path)
    assert same(model, PLAIN)
    assert len(model.notes) == 1
    assert key in model.notes[0]
    chosen = loaded(content, tmp_path, f"#{key}")
    assert same(chosen, AVERAGE)
    assert key in str(chosen.weights_key)
    # What the note says to write works.
    advice = next(word for word in model.notes[0].split() if word.startswith("weights="))
    assert same(load_model(Net(), advice.removeprefix("weights="), transform=to_64), AVERAGE)


@pytest.mark.parametrize(
    "content",
    [
        lambda: averaged().state_dict(),
        lambda: {"model_ema": AVERAGE.state_dict()},
        lambda: {"ema_state_dict": prefixed("module.", AVERAGE.state_dict())},
    ],
)
def test_averages_alone_are_taken_and_said(tmp_path: Path, content: Any) -> None:
    model = loaded(content(), tmp_path)
    assert same(model, AVERAGE)
    assert "averaged" in model.notes[0]


def test_several_of_equal_rank_are_refused_unless_they_are_equal(tmp_path: Path) -> None:
    teacher = {"student": PLAIN.state_dict(), "teacher": AVERAGE.state_dict()}
    with pytest.raises(
        InferenceError, match=r"several sets of weights that fit: student, teacher; say which.*#student"
    ):
        loaded(teacher, tmp_path)
    assert same(loaded(teacher, tmp_path, "#teacher"), AVERAGE)
    with pytest.raises(InferenceError, match="several sets of weights"):
        loaded({"model": PLAIN.state_dict(), "state_dict": AVERAGE.state_dict()}, tmp_path)
    twice = loaded({"model": PLAIN.state_dict(), "state_dict": copy.deepcopy(PLAIN.state_dict())}, tmp_path)
    assert same(twice, PLAIN)
    with pytest.raises(NotFoundError, match=r"no weights 'teach' .*did you mean teacher"):
        loaded(teacher, tmp_path, "#teach")


def test_one_unusual_key_is_taken_and_said(tmp_path: Path) -> None:
    model = loaded({"backbone": PLAIN.state_dict(), "meta": {}}, tmp_path)
    assert same(model, PLAIN)
    assert model.weights_key == "backbone"
    assert model.notes == ("the weights of x.pth are those under backbone",)


def test_half_weights(tmp_path: Path) -> None:
    model = loaded(
        {key: value.half() if value.is_floating_point() else value for key, value in PLAIN.state_dict().items()},
        tmp_path,
    )
    assert model.module.fc.weight.dtype == torch.float32
    assert torch.equal(model.module.fc.weight, PLAIN.fc.weight.half().float())


def test_codes_of_quantized_weights_are_not_numbers(tmp_path: Path) -> None:
    state = PLAIN.state_dict()
    state["fc.weight"] = (state["fc.weight"] * 50).to(torch.int8)
    with pytest.raises(InferenceError, match="fc.weight as int8: quantized weights"):
        loaded(state, tmp_path)


class Exploit:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return exec, (f"open({str(self.file)!r}, 'w').close()",)


class Indirect(Exploit):
    """The same by a function that is looked up while unpickling."""

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


class Settings(dict):  # type: ignore[type-arg]
    """As many libraries have one: a dict with attributes."""


class Point:
    """An object whose state is not a dict."""

    def __getstate__(self) -> Any:
        return (1, 2)

    def __setstate__(self, state: Any) -> None:
        self.state = state


BESIDE = {
    "namespace": lambda _: argparse.Namespace(model="x", lr=0.1, out=Path("runs"), inner=argparse.Namespace(a=[1])),
    "dict with attributes": lambda _: Settings(a=1),
    "default dict": lambda _: collections.defaultdict(list, {1: [2]}),
    "deque": lambda _: collections.deque([1, 2]),
    "numpy": lambda _: (np.float64(0.5), np.arange(3)),
    "date": lambda _: datetime.datetime(2026, 1, 1),
    "slots": lambda _: Point(),
    "frame": lambda _: pd.DataFrame({"loss": [0.5, 0.25]}),
    "code": lambda file: Exploit(file),
}


@pytest.mark.parametrize("beside", BESIDE)
def test_objects_beside_the_weights_are_skipped_and_never_run(tmp_path: Path, beside: str) -> None:
    ran = tmp_path / "ran"
    content = {"beside": BESIDE[beside](ran), "state_dict": PLAIN.state_dict()}
    assert same(loaded(content, tmp_path), PLAIN)
    assert not ran.exists()
    torch.load(tmp_path / "x.pth", weights_only=False)
    assert ran.exists() == (beside == "code")  # the exploit works where code is run


def test_code_that_cannot_be_skipped_is_refused_not_run(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="objects of Python beside tensors.*trust_pickle"):
        loaded({"state_dict": PLAIN.state_dict(), "beside": Indirect(tmp_path / "ran")}, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_module_gives_its_tensors_without_its_code(tmp_path: Path) -> None:
    PLAIN.register_buffer("volatile", torch.zeros(2), persistent=False)
    try:
        for content in (PLAIN, {"model": PLAIN, "epoch": 2}, {"model": nn.DataParallel(PLAIN)}):
            assert same(loaded(content, tmp_path), PLAIN)
    finally:
        del PLAIN.volatile
    # As ultralytics keeps them.
    both = {"model": copy.deepcopy(PLAIN).half(), "ema": AVERAGE, "train_args": {}}
    assert torch.equal(loaded(both, tmp_path).module.fc.weight, PLAIN.fc.weight.half().float())
    assert same(loaded(both, tmp_path, "#ema"), AVERAGE)


def test_weights_under_a_name_with_a_hash(tmp_path: Path) -> None:
    torch.save({"model": PLAIN.state_dict()}, tmp_path / "run#3.pth")
    assert same(load_model(Net(), tmp_path / "run#3.pth", transform=to_64), PLAIN)
    assert same(load_model(Net(), f"{tmp_path / 'run#3.pth'}#model", transform=to_64), PLAIN)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 1, "lr": 0.1}, "holds no state dict under epoch, lr"),
        ({1: torch.zeros(2)}, "one of its keys is 1"),
        (torch.zeros(3), "contains a Tensor"),
        (
            {"model": {"other.weight": torch.zeros(2)}},
            r"Missing key\(s\): conv.weight.*it has under model other.weight",
        ),
        ({**PLAIN.state_dict(), "extra.weight": torch.zeros(1)}, "does not fit Net: Unexpected key.*extra.weight"),
        ({"optimizer": OPTIMIZER.state_dict()}, "holds no state dict under optimizer"),
    ],
)
def test_what_is_no_checkpoint_of_the_module(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InferenceError, match=message):
        loaded(content, tmp_path)


SLOW = ("googlenet", "vit_b_32", "convnext_tiny", "swin_t", "alexnet", "mixer_s32_224")
TORCHVISION = [
    "alexnet",
    "densenet121",
    "efficientnet_b0",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "shufflenet_v2_x0_5",
    "squeezenet1_0",
    "swin_t",
    "vit_b_32",
    "googlenet",
    "convnext_tiny",
]
TIMM = [
    "resnet10t",
    "vit_tiny_patch16_224",
    "efficientvit_b0",
    "mobilenetv3_small_050",
    "convnext_atto",
    "deit_tiny_distilled_patch16_224",
    "mixer_s32_224",
]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name.endswith(SLOW) else ())
        for name in (*TORCHVISION, *(f"timm/{name}" for name in TIMM))
    ],
)
@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")
def test_the_width_of_the_head_is_that_of_the_checkpoint(tmp_path: Path, name: str) -> None:
    torch.manual_seed(3)
    if name.startswith("timm/"):
        original = timm.create_model(name.removeprefix("timm/"), num_classes=5)
    else:
        original = torchvision.models.get_model(name, weights=None, num_classes=5)
    torch.save({"state_dict": prefixed("module.", original.state_dict()), "epoch": 1}, tmp_path / "own.pth")
    model = load_model(name, tmp_path / "own.pth")
    assert (model.n_outputs, model.classes.named) == (5, False)
    assert same(model, original)
    assert "is assumed" in model.notes[0]


def test_safetensors(tmp_path: Path) -> None:
    save_file(prefixed("model.", PLAIN.state_dict()), tmp_path / "x.safetensors")
    assert same(load_model(Net(), tmp_path / "x.safetensors", transform=to_64), PLAIN)


def test_every_choice_is_made_by_names_not_by_order(tmp_path: Path) -> None:
    parts = {"model_ema": AVERAGE.state_dict(), "model": PLAIN.state_dict(), "optimizer": OPTIMIZER.state_dict()}
    for order in itertools.permutations(parts):
        assert same(loaded({key: parts[key] for key in order}, tmp_path), PLAIN)
