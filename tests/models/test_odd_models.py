"""Modules and transforms as people have them: pictures of one size, buffers, first batches, masks, wrong dtypes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import scipy.special
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms
from torchvision.models import resnet18

from sqlanalysis import add_images, connect, defer, load_model, map_batches, predict, register_model
from sqlanalysis.errors import InferenceError, SchemaError
from sqlanalysis.models.content import fingerprint

SIZE, N = 36, 20  # no size that is tried with noise
to_tensor = transforms.ToTensor()


@pytest.fixture
def small(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    """Twenty pictures of 36 x 36 in two classes."""
    random = np.random.default_rng(0)
    for index in range(N):
        folder = tmp_path / "small" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    con = connect(tmp_path / "small.duckdb")
    add_images(con, tmp_path / "small")
    return con


def pixels(con: duckdb.DuckDBPyConnection) -> Tensor:
    paths = [row[0] for row in con.sql("select uri from images order by image_id").fetchall()]
    return torch.stack([to_tensor(Image.open(path)) for path in paths])


class Linear(nn.Module):
    """Two logits of the mean of each color."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.mean((2, 3)))


def of(con: duckdb.DuckDBPyConnection, net: nn.Module, transform: Any = to_tensor, **how: Any) -> np.ndarray:
    """Probabilities (n, 2) that a run stores."""
    predict(con, load_model(net, transform=transform, classes=["a", "b"], name="net"), "r", show_progress=False, **how)
    return np.array([row[0] for row in con.sql("select probs from r order by image_id").fetchall()])


def test_a_transform_without_resize_takes_pictures_of_one_size(small: duckdb.DuckDBPyConnection) -> None:
    torch.manual_seed(0)
    net = resnet18(num_classes=2).eval()
    with torch.inference_mode():
        expected = net(pixels(small)).softmax(1).numpy()
    np.testing.assert_allclose(of(small, net), expected, atol=1e-5)
    model = load_model(net, transform=to_tensor, classes=["a", "b"], name="own")
    register_model(small, model)
    rows = small.sql("select own(image).probs from image_files order by image_id").fetchall()
    np.testing.assert_allclose(np.array([row[0] for row in rows]), expected, atol=1e-5)


@pytest.mark.parametrize("side", [32, 28, 224])
def test_a_module_of_a_usual_size_is_met(side: int, tmp_path: Path) -> None:
    folder = tmp_path / "pictures" / "a"
    folder.mkdir(parents=True)
    Image.fromarray(np.full((side, side, 3), 100, np.uint8)).save(folder / "1.png")
    con = connect(tmp_path / "e.duckdb")
    add_images(con, tmp_path / "pictures", classes=["a", "b"])
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 2))
    expected = net(torch.full((1, 3, side, side), 100 / 255)).softmax(1).detach().numpy()
    np.testing.assert_allclose(of(con, net), expected, atol=1e-5)

    def exact(picture: Image.Image) -> Tensor:
        assert picture.size == (side, side)
        return to_tensor(picture)

    np.testing.assert_allclose(of(con, net, exact, overwrite=True), expected, atol=1e-5)


def test_pictures_of_another_size_are_errors(small: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    Image.new("RGB", (20, 24)).save(tmp_path / "small" / "a" / "z.png")
    add_images(small, tmp_path / "small")
    assert len(of(small, Linear())) == N
    message = small.sql("select message from errors").fetchall()[0][0]
    assert "shape (3, 24, 20), expected (3, 36, 36)" in message


class FirstBatch(Linear):
    """Centers its outputs by what the first batch gives, as ActNorm does."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where, self.done = where, False
        if where == "parameter":
            self.shift = nn.Parameter(torch.zeros(2))
        elif where == "buffer":
            self.register_buffer("shift", torch.zeros(2))
        else:
            self.shift = torch.zeros(2)

    def forward(self, images: Tensor) -> Tensor:
        outputs = super().forward(images)
        if not self.done:
            self.shift.data.copy_(-outputs.mean(0).detach())
            self.done = True
        return outputs + self.shift


@pytest.mark.parametrize("where", ["parameter", "buffer", "attribute"])
def test_noise_must_not_set_weights(where: str, small: duckdb.DuckDBPyConnection) -> None:
    net = FirstBatch(where)
    with pytest.raises(InferenceError, match="from the first batch"):
        load_model(net, transform=to_tensor)
    net = FirstBatch(where)
    with torch.inference_mode():
        net(pixels(small)[:8])
        expected = net(pixels(small)).softmax(1).numpy()
    np.testing.assert_allclose(of(small, net), expected, atol=1e-6)


class Remembers(Linear):
    """What a pass writes changes no answer: a counter, the last batch, and outputs in a buffer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("given", torch.zeros(0), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        self.last = images
        outputs = super().forward(self.last)
        if self.given.shape != outputs.shape:
            self.given = torch.zeros_like(outputs)
        return self.given.copy_(outputs)


def test_a_module_that_remembers_without_use(small: duckdb.DuckDBPyConnection) -> None:
    np.testing.assert_array_equal(of(small, Remembers()), of(small, Linear(), overwrite=True))


class Crowded(Linear):
    """Experts of limited capacity: images beyond the fourth share what is left."""

    def forward(self, images: Tensor) -> Tensor:
        outputs = super().forward(images)
        return outputs if len(images) <= 4 else outputs - outputs.mean(0)


def test_neighbors_in_a_large_batch_are_seen(small: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(InferenceError, match=r"beside other images of its batch.*batch_size=1"):
        of(small, Crowded())
    assert small.sql('select count(*) from outputs."r"').fetchall() == [(0,)]
    np.testing.assert_array_equal(
        of(small, Crowded(), batch_size=4, overwrite=True), of(small, Linear(), overwrite=True)
    )


class Masked(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        outputs = 4 * images.mean((2, 3))
        outputs[:, 2] = -torch.inf
        return outputs


def test_a_class_that_is_ruled_out_has_probability_0(small: duckdb.DuckDBPyConnection) -> None:
    model = load_model(Masked(), transform=to_tensor, classes=["a", "b", "c"], name="masked")
    predict(small, model, "r", show_progress=False)
    actual = np.array([row[0] for row in small.sql("select probs from r order by image_id").fetchall()])
    expected = scipy.special.softmax(4 * pixels(small).mean((2, 3)).numpy()[:, :2], 1)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("batch_size", [None, 1])
def test_one_output_without_axes(batch_size: int | None, small: duckdb.DuckDBPyConnection) -> None:
    class Squeezed(Linear):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images)[:, :1].squeeze()

    expected = Linear()(pixels(small))[:, 0].sigmoid().detach().numpy()
    np.testing.assert_allclose(of(small, Squeezed(), batch_size=batch_size)[:, 1], expected, atol=1e-6)


def test_integers_that_become_floats_are_said() -> None:
    model = load_model(Linear(), transform=transforms.PILToTensor())
    assert any("not divided by 255" in note for note in model.notes)
    assert not any("255" in note for note in load_model(Linear(), transform=to_tensor).notes)


def leave(_picture: Image.Image) -> Tensor:
    sys.exit(3)


@pytest.mark.parametrize(
    ("make", "transform", "words"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 2, device="meta")), to_tensor, "1.weight of.*device meta"),
        (Linear, leave, "the transform fails on a 256 x 256 image of noise: SystemExit: 3"),
        (lambda: nn.Linear(7, 2), to_tensor, "the model fails on a 256 x 256 .*keeps the size of a picture"),
    ],
)
def test_what_cannot_run_is_refused(make: Callable[[], nn.Module], transform: Any, words: str) -> None:
    with pytest.raises(InferenceError, match=words):
        load_model(make(), transform=transform)


def test_sparse_weights_are_refused() -> None:
    net = Linear()
    net.fc.weight = nn.Parameter(net.fc.weight.detach().to_sparse(), requires_grad=False)
    with pytest.raises(InferenceError, match=r"fc.weight of Linear is sparse_coo.*to_dense"):
        load_model(net, transform=to_tensor)


def test_code_without_a_module_counts() -> None:
    def made(body: str) -> type:
        names: dict[str, Any] = {}
        exec(f"class Scale:\n    def __call__(self, x):\n        return {body}\n", names)
        return names["Scale"]

    assert fingerprint(made("x * 2")()) == fingerprint(made("x * 2")())
    assert fingerprint(made("x * 2")()) != fingerprint(made("x * 3")())


def test_sparse_tensors_count_by_their_values() -> None:
    def sparse(one: float) -> Tensor:
        values = torch.ones(5000)
        values[2500] = one  # in the middle, which the text of a tensor leaves out
        return values.to_sparse()

    assert fingerprint(sparse(1.0)) == fingerprint(sparse(1.0))
    assert fingerprint(sparse(1.0)) != fingerprint(sparse(2.0))


def mapped(con: duckdb.DuckDBPyConnection, function: Callable[[Tensor], Any], **how: Any) -> Any:
    defer(con, "input", to_tensor)
    return map_batches(con, function, "r", "input", show_progress=False, **how)


def test_pictures_of_one_size_need_no_shape(small: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    assert defer(small, "input", to_tensor).shape == (3, SIZE, SIZE)
    Image.new("RGB", (20, 24)).save(tmp_path / "small" / "a" / "z.png")
    add_images(small, tmp_path / "small")
    assert defer(small, "input", to_tensor).shape == (3, None, None)


def test_a_function_may_give_a_frame(small: duckdb.DuckDBPyConnection) -> None:
    mapped(small, lambda x: pd.DataFrame({"pred": np.zeros(len(x), int), "mean": x.mean((1, 2, 3)).numpy()}))
    actual = [row[0] for row in small.sql("select mean from r order by image_id").fetchall()]
    np.testing.assert_allclose(actual, pixels(small).mean((1, 2, 3)).numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: None, "the function returned None; return an array"),
        (lambda x: {"wide": torch.zeros(len(x), 0)}, r"output 'wide' has shape \(20, 0\)"),
        (lambda x: {"big": np.full(len(x), 2**63 + 5, np.uint64)}, "output 'big' holds 9223372036854775813"),
    ],
)
def test_answers_that_cannot_be_stored(
    answer: Callable[[Tensor], Any], words: str, small: duckdb.DuckDBPyConnection
) -> None:
    with pytest.raises(InferenceError, match=words):
        mapped(small, answer)


def test_nan_among_probabilities_is_an_error_of_its_image(small: duckdb.DuckDBPyConnection) -> None:
    def answer(images: Tensor, rows: Sequence[int] = (0, 3)) -> dict[str, Tensor]:
        probs = torch.full((len(images), 2), 0.5)
        probs[list(rows)] = torch.nan
        return {"probs": probs}

    assert mapped(small, answer, classes=["a", "b"]).n_errors == 2
    assert small.sql("select distinct message from errors").fetchall() == [("the output is NaN or infinite",)]
    with pytest.raises(SchemaError, match="probs of all 20 first images hold NaN"):
        mapped(small, lambda x: {"probs": torch.full((len(x), 2), torch.nan)}, classes=["a", "b"], overwrite=True)


def test_a_loss_beside_the_logits_of_a_fixed_batch(small: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    class WithLoss(Linear):
        def forward(self, images: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
            logits = super().forward(images)
            return {"logits": logits, "loss": logits.mean()}

    exported = torch.export.export(WithLoss().eval(), (torch.zeros(4, 3, SIZE, SIZE),))
    torch.export.save(exported, tmp_path / "four.pt2")
    resize = transforms.Compose([transforms.Resize((SIZE, SIZE)), to_tensor])
    model = load_model(tmp_path / "four.pt2", transform=resize, classes=["a", "b"])
    predict(small, model, "four", show_progress=False)
    actual = np.array([row[0] for row in small.sql("select probs from four order by image_id").fetchall()])
    np.testing.assert_allclose(actual, Linear()(pixels(small)).softmax(1).detach().numpy(), atol=1e-6)


def test_probabilities_are_found_in_a_dict_of_label_and_probabilities(small: duckdb.DuckDBPyConnection) -> None:
    class Pipeline(Linear):
        def forward(self, images: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
            probabilities = super().forward(images).softmax(1)
            return {"label": probabilities.argmax(1), "probabilities": probabilities}

    np.testing.assert_allclose(of(small, Pipeline()), of(small, Linear(), overwrite=True), atol=1e-6)
