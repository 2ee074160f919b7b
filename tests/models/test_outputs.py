"""What outputs mean: each form of them gives the module's own answer, or an error with the way out."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import special
from torch import Tensor, nn
from torchvision import transforms

import sqlanalysis as sq
from sqlanalysis.errors import ArgumentError, InferenceError
from sqlanalysis.models import outputs

TRANSFORM = transforms.Compose([transforms.Resize((16, 16)), transforms.ToTensor()])
Pair = namedtuple("Pair", ["logits", "aux"])


@dataclasses.dataclass
class Scores:
    """An answer without logits."""

    scores: Tensor
    loss: float = 0.0


class Net(nn.Module):
    """One linear layer, whose outputs `end` turns into something else."""

    def __init__(self, end: Callable[[Tensor], Any] = lambda logits: logits, n: int = 4) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer, self.end = nn.Linear(3 * 256, n), end
        self.layer.weight.data *= 20  # so that predictions and confidences differ

    def forward(self, images: Tensor) -> Any:
        """The outputs of images (B, 3, 16, 16)."""
        return self.end(self.layer(images.flatten(1)))


@pytest.fixture
def pictures(tmp_path):
    """Twelve small pictures of noise, in the order of their names."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    files = [tmp_path / "pictures" / f"{number:02}.png" for number in range(12)]
    files[0].parent.mkdir()
    for file, pixels in zip(files, noise, strict=True):
        Image.fromarray(pixels).save(file)
    return files


def predicted(con, model, pictures):
    sq.add_images(con, pictures[0].parent)
    sq.predict(con, model, "answers", show_progress=False)
    rows = con.sql("select pred, confidence, probs from answers order by uri").fetchnumpy()
    return rows["pred"], rows["confidence"], np.stack(rows["probs"])


def logits_of(pictures, n=4):
    batch = torch.stack([TRANSFORM(Image.open(file)) for file in pictures])
    with torch.inference_mode():
        return Net(n=n)(batch).double().numpy()


SOFTMAX = {
    "logits": (lambda z: z, "logits"),
    "probabilities": (lambda z: z.softmax(1), "probs"),
    "log-probabilities": (lambda z: z.log_softmax(1), "log_probs"),
    "percents": (lambda z: 100 * z.softmax(1), "percent"),
    "half probabilities": (lambda z: z.softmax(1).half(), "probs"),
    "dict": (lambda z: {"features": z, "logits": z}, "logits"),
    "dict of one": (lambda z: {"out": z.softmax(1)}, "probs"),
    "named tuple": (lambda z: Pair(z, None), "logits"),
    "tuple": (lambda z: (z.log_softmax(1), z), "log_probs"),
    "nested": (lambda z: ({"logits": z},), "logits"),
    "numpy": (lambda z: z.numpy(), "logits"),
    "map of one pixel": (lambda z: z[:, :, None, None], "logits"),
}


@pytest.mark.parametrize("form", SOFTMAX)
def test_probabilities_are_softmax_of_the_logits_in_every_form(form, con, pictures):
    end, kind = SOFTMAX[form]
    model = sq.load_model(Net(end), transform=TRANSFORM, name="net")
    pred, confidence, probs = predicted(con, model, pictures)
    expected = special.softmax(logits_of(pictures), axis=1)
    tolerance = 1e-3 if form.startswith("half") else 1e-5
    assert model.outputs == kind
    assert con.sql("select outputs from runs").fetchall() == [(kind,)]
    assert np.abs(probs - expected).max() < tolerance
    assert np.abs(confidence - expected.max(1)).max() < tolerance
    assert (pred == expected.argmax(1)).all()
    assert len(set(pred.tolist())) > 1


@pytest.mark.parametrize("end", [torch.sigmoid, lambda z: {"logits": special_expit(z)}])
def test_a_module_that_ends_in_sigmoid_gives_independent_probabilities(end, con, pictures):
    model = sq.load_model(Net(end), transform=TRANSFORM, name="net")
    pred, _, probs = predicted(con, model, pictures)
    expected = special.expit(logits_of(pictures))
    assert model.outputs == "sigmoid"
    assert "sigmoid" in " ".join(model.notes)
    assert (pred == expected.argmax(1)).all()
    assert np.abs(probs - expected / expected.sum(1, keepdims=True)).max() < 1e-5


def special_expit(values):
    return torch.special.expit(values)


@pytest.mark.parametrize(
    "scripted", [torch.jit.script, lambda module: torch.jit.trace(module, torch.rand(1, 3, 16, 16))]
)
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_the_last_operator_of_a_scripted_module_is_seen(scripted):
    module = scripted(nn.Sequential(nn.Flatten(), nn.Linear(768, 3), nn.Sigmoid()))
    assert sq.load_model(module, transform=TRANSFORM, name="net").outputs == "sigmoid"


@pytest.mark.parametrize(
    ("end", "probability"),
    [(lambda z: z, special.expit), (torch.sigmoid, special.expit), (lambda z: z[:, 0], special.expit)],
)
def test_one_output_is_class_1_of_two(end, probability, con, pictures):
    model = sq.load_model(Net(end, n=1), transform=TRANSFORM, name="net", classes=["cat", "dog"])
    pred, confidence, probs = predicted(con, model, pictures)
    expected = probability(logits_of(pictures, n=1)[:, 0])
    assert "class 1 of two" in " ".join(model.notes)
    assert np.abs(probs[:, 1] - expected).max() < 1e-6
    assert (pred == (expected > 0.5)).all()
    assert np.abs(confidence - np.maximum(expected, 1 - expected)).max() < 1e-6


REFUSED = {
    "tanh": (torch.tanh, "tanh"),
    "dict without logits": (lambda z: {"scores": z, "boxes": z}, "scores, boxes"),
    "dataclass without logits": (lambda z: Scores(z), "scores, loss"),
    "a map": (lambda z: z[:, :, None, None].expand(-1, -1, 7, 7), r"\(1, 4, 7, 7\)"),
    "text": (lambda z: "cat", "str"),
    "classes": (lambda z: z.argmax(1), "int64"),
    "numbers between 0 and 1 of unknown origin": (lambda z: np.full((len(z), 4), 0.7, np.float32), "sigmoid"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_outputs_that_could_be_anything_are_refused_with_the_way_out(form):
    end, words = REFUSED[form]
    with pytest.raises(InferenceError, match=words):
        sq.load_model(Net(end), transform=TRANSFORM, name="net")


def test_the_caller_decides(con, pictures):
    constant = Net(lambda z: np.tile(np.float32([0.7, 0.1, 0.1, 0.3]), (len(z), 1)))
    model = sq.load_model(constant, transform=TRANSFORM, name="net", outputs="sigmoid")
    _, _, probs = predicted(con, model, pictures)
    assert np.allclose(probs, np.float32([0.7, 0.1, 0.1, 0.3]) / 1.2, atol=1e-6)
    with pytest.raises(ArgumentError, match="probs"):
        sq.load_model(constant, transform=TRANSFORM, outputs="probabilities")


def test_outputs_that_are_not_what_they_are_called_are_error_rows(con, pictures):
    # Probabilities of some pictures, and logits of others.
    def end(z):
        return torch.where(z[:, :1] > 0, z, z.softmax(1))

    model = sq.load_model(Net(end), transform=TRANSFORM, name="net")
    sq.add_images(con, pictures[0].parent)
    done = sq.predict(con, model, "answers", outputs="probs", show_progress=False)
    n_logits = int((logits_of(pictures)[:, 0] > 0).sum())
    assert 0 < n_logits < len(pictures)
    assert done.n_errors == n_logits
    assert "the outputs are not probs" in con.sql("select any_value(message) from errors").fetchall()[0][0]


def test_no_probability_at_all_is_no_answer():
    with pytest.raises(InferenceError, match="not sigmoid"):
        outputs.check(torch.zeros(2, 3), "sigmoid")
    outputs.check(torch.tensor([[0.0, -torch.inf]]), "log_probs")
    with pytest.raises(InferenceError, match="NaN or infinite"):
        outputs.check(torch.tensor([[0.0, torch.inf]]), "logits")


ARRAYS = {
    "tensor": lambda picture: TRANSFORM(picture),
    "numpy (C, H, W)": lambda picture: TRANSFORM(picture).numpy(),
    "numpy (H, W, C), as albumentations": lambda picture: {"image": TRANSFORM(picture).permute(1, 2, 0).numpy()},
    "a batch of one": lambda picture: TRANSFORM(picture)[None],
    "a processor of transformers": lambda picture: {"pixel_values": [TRANSFORM(picture).numpy()]},
}


@pytest.mark.parametrize("form", ARRAYS)
def test_a_transform_may_give_an_array_or_a_dict(form, con, pictures):
    model = sq.load_model(Net(), transform=ARRAYS[form], name="net")
    _, _, probs = predicted(con, model, pictures)
    assert np.abs(probs - special.softmax(logits_of(pictures), axis=1)).max() < 1e-6


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (transforms.PILToTensor(), "uint8"),
        (lambda picture: {"pixels": TRANSFORM(picture)}, "a dict with pixels"),
        (lambda picture: picture, "gives a Image"),
        (lambda picture: None, "NoneType"),
    ],
)
def test_a_transform_that_gives_something_else_is_named(transform, words):
    with pytest.raises(InferenceError, match=words):
        sq.load_model(Net(), transform=transform, name="net")


def test_predict_takes_what_the_caller_says_but_no_softmax_twice(con, pictures):
    sq.add_images(con, pictures[0].parent)
    soft = sq.load_model(Net(lambda z: z.softmax(1)), transform=TRANSFORM, name="net")
    with pytest.raises(InferenceError, match="probabilities already"):
        sq.predict(con, soft, "answers", outputs="logits")
    with pytest.raises(InferenceError, match="probabilities already"):
        sq.load_model(Net(lambda z: z.softmax(1)), transform=TRANSFORM, outputs="logits")
    with pytest.raises(InferenceError, match="are not log_probs"):
        sq.load_model(Net(), transform=TRANSFORM, outputs="log_probs")
    with pytest.raises(ArgumentError, match="logits"):
        sq.predict(con, soft, "answers", outputs="logit")
    assert con.sql("from runs").fetchall() == []
    sq.predict(con, soft, "answers", outputs="probs", show_progress=False)
    with pytest.raises(sq.SchemaError, match="outputs probs → sigmoid"):
        sq.predict(con, soft, "answers", outputs="sigmoid", show_progress=False)
