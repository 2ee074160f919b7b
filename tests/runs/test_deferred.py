"""Deferred columns and batched functions: the tutorial's steps, lazily, with the same numbers as a plain loop."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest
import scipy.special
import torch
from PIL import Image
from sklearn.metrics import accuracy_score
from torch import nn
from torchvision.transforms import functional

import sqlanalysis
from sqlanalysis import add_images, defer, map_batches, metric, predict, to_tensor
from sqlanalysis.errors import ArgumentError, ImageError, InferenceError, NotFoundError, SchemaError
from sqlanalysis.models.model import Model

from ..support.runs import to_64


@pytest.fixture
def pets(con: duckdb.DuckDBPyConnection, photos: Path) -> duckdb.DuckDBPyConnection:
    add_images(con, photos, dataset="pets")
    return con


def loop(paths: list[str]) -> torch.Tensor:
    """Transformed images as a plain loop gives them."""
    tensors = []
    for path in paths:
        with Image.open(path) as image:
            tensors.append(to_64(image.convert("RGB")))
    return torch.stack(tensors)


def test_deferred_column_is_a_tensor(pets: duckdb.DuckDBPyConnection) -> None:
    column = defer(pets, "input", to_64)
    assert (str(column), column.name, column.shape) == ("input", "input", (3, 64, 64))
    actual = to_tensor(pets.sql("select input(image) from image_files order by image_id limit 3"))
    assert (actual.shape, actual.dtype) == ((3, 3, 64, 64), torch.float32)
    paths = [row[0] for row in pets.sql("select uri from images order by image_id limit 3").fetchall()]
    assert torch.equal(actual, loop(paths))
    assert [str(t) for t in pets.sql("select input(image) from image_files").types] == ["FLOAT[64][64][3]"]


def test_nothing_runs_that_is_not_asked_for(pets: duckdb.DuckDBPyConnection) -> None:
    calls = []

    def counted(image: Image.Image) -> torch.Tensor:
        calls.append(image.size)
        return to_64(image)

    defer(pets, "input", counted, shape=(3, 64, 64))
    assert calls == []
    pets.sql("select input(image) from image_files where label = 1 limit 2").fetchall()
    assert 2 <= len(calls) <= 6
    defer(pets, "other", counted)
    assert calls[-1] == (256, 256)


def test_chain(pets: duckdb.DuckDBPyConnection) -> None:
    defer(pets, "input", to_64)
    defer(pets, "gray", lambda tensor: tensor.mean(0), of="input")
    defer(pets, "brightness", lambda tensor: tensor.mean().reshape(1), of="gray")
    sql = (
        "select input(image) as a, gray(image) as b, brightness(image) as c from image_files order by image_id limit 2"
    )
    a, b, c = (to_tensor(pets.sql(sql), column) for column in "abc")
    assert (b.shape, c.shape) == ((2, 64, 64), (2, 1))
    assert torch.equal(b, a.mean(1))
    assert torch.allclose(c[:, 0], a.mean((1, 2, 3)))
    with pytest.raises(NotFoundError, match="no deferred column 'grey' is registered here; did you mean gray"):
        defer(pets, "more", lambda tensor: tensor, of="grey")


def test_unreadable_images_are_null_and_to_tensor_says_so(pets: duckdb.DuckDBPyConnection) -> None:
    defer(pets, "input", to_64)
    sql = "select input(image) from (values ({'bytes': null::blob, 'path': '/none.jpg'})) t(image)"
    assert pets.sql(sql).fetchall() == [(None,)]
    with pytest.raises(SchemaError, match="row 0 of .* is NULL: its image cannot be read"):
        to_tensor(pets.sql(sql))


def test_to_tensor(con: duckdb.DuckDBPyConnection) -> None:
    rows = con.sql("select [i, i + 1]::integer[2] as a, i as b, [i]::integer[] as c from range(3) t(i)")
    assert torch.equal(to_tensor(rows, "a"), torch.tensor([[0, 1], [1, 2], [2, 3]], dtype=torch.int32))
    assert torch.equal(to_tensor(rows, "b"), torch.arange(3))
    assert to_tensor(con.sql("select [1, 2]::float[2] as a where false")).shape == (0, 2)
    with pytest.raises(NotFoundError, match="give one of a, b, c"):
        to_tensor(rows)
    with pytest.raises(SchemaError, match=r"not an array of fixed size; cast it, such as c::float\[3\]"):
        to_tensor(rows, "c")
    with pytest.raises(SchemaError, match="not an array of fixed size"):
        to_tensor(con.sql("select 'x' as a"))


def test_another_process_says_what_to_register(tmp_path: Path, photos: Path) -> None:
    file = tmp_path / "x.duckdb"
    with sqlanalysis.connect(file) as con:
        add_images(con, photos)
        defer(con, "input", to_64)
    code = "import sys, sqlanalysis; sqlanalysis.connect(sys.argv[1]).sql('select input(image) from image_files').fetchall()"
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True)
    assert (
        "the deferred column 'input' is not registered in this process; call defer(con, 'input', transform)"
        in done.stderr
    )
    assert "to_64" in done.stderr
    with sqlanalysis.connect(file) as con:
        defer(con, "input", to_64)
        assert to_tensor(con.sql("select input(image) from image_files limit 1")).shape == (1, 3, 64, 64)
        assert con.sql("select count(*) from deferred_columns").fetchall() == [(1,)]


def test_wrong_columns(pets: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ArgumentError, match="not an identifier"):
        defer(pets, "My Input", to_64)
    with pytest.raises(SchemaError, match="taken by a table or view"):
        defer(pets, "images", to_64)
    with pytest.raises(InferenceError, match=r"column input: the transform fails on a gray .*give shape="):
        defer(pets, "input", lambda image: 1 / 0)


def test_the_tutorial(pets: duckdb.DuckDBPyConnection, tiny_net: nn.Module, tiny_model: Model) -> None:
    """A hook for activations, softmax, arg-max: as in the tutorial, unchanged; the numbers are those of `predict`."""
    kept = {}
    hook = tiny_net.get_submodule("3").register_forward_hook(lambda _m, _i, output: kept.update(value=output))
    defer(pets, "input", to_64)

    def predict_batch(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.inference_mode():
            probs = torch.softmax(tiny_net(batch), dim=-1)
        activation = kept["value"].mean(dim=[-1, -2])
        return {"pred": probs.argmax(-1), "confidence": probs.max(-1).values, "probs": probs, "activation": activation}

    done = map_batches(pets, predict_batch, "tutorial", batch_size=4)
    hook.remove()
    assert (done.n_images, done.n_ok, done.n_errors, done.n_computed) == (18, 18, 0, 18)
    predict(pets, tiny_model)
    rows = pets.sql("select t.pred, p.pred, t.probs, p.probs, t.activation, p.activation, t.correct, p.correct "
                    "from tutorial t join tiny p using (image_id)").fetchall()  # fmt: skip
    for a, b, probs, expected, activation, reference, x, y in rows:
        assert (a, x) == (b, y)
        assert np.allclose(probs, expected, atol=1e-6)
        assert np.allclose(activation, reference, atol=1e-5)
    tutorial, tiny = metric(pets, "accuracy", ["tutorial", "tiny"]).order("run desc").fetchall()
    assert tutorial[:-1] == tiny[:-1]
    assert {row[0] for row in pets.sql("select run from predictions").fetchall()} == {"tutorial", "tiny"}
    types = pets.sql("select pred, probs, activation from tutorial").types
    assert [str(t) for t in types] == ["INTEGER", "FLOAT[3]", "FLOAT[16]"]


def test_a_column_reads_like_a_list(pets: duckdb.DuckDBPyConnection) -> None:
    calls = []

    def counted(image: Image.Image) -> torch.Tensor:
        calls.append(image.size)
        return to_64(image)

    column = defer(pets, "input", counted)
    calls.clear()
    expected = loop([row[0] for row in pets.sql("select uri from images order by image_id").fetchall()])
    assert (repr(column), len(column)) == ("<deferred column input of image: (3, 64, 64) for each image>", 18)
    assert calls == []
    assert torch.equal(column[0], expected[0])
    assert torch.equal(column[-2], expected[-2])
    assert len(calls) == 2
    assert torch.equal(column[:3], expected[:3])
    assert torch.equal(column[[4, 1]], expected[[4, 1]])
    assert torch.equal(column[np.arange(18) % 7 == 2], expected[2::7])
    assert column[18:].shape == (0, 3, 64, 64)
    assert torch.equal(torch.stack(list(column)), expected)
    assert to_tensor(pets.sql(f"select {column}(image) from image_files limit 2")).shape == (2, 3, 64, 64)
    with pytest.raises(ArgumentError, match=r"input\[18\]: there are 18 images"):
        column[18]


def test_a_column_is_taken_where_its_name_is(pets: duckdb.DuckDBPyConnection) -> None:
    column = defer(pets, "input", to_64)
    gray = defer(pets, "gray", lambda tensor: tensor.mean(0), of=column)
    map_batches(pets, lambda a, b, width: (a.mean((1, 2, 3)) - b.mean((1, 2))).abs().numpy() * width, "differences", [column, gray, "width_px"])  # fmt: skip
    assert pets.sql("select max(output) < 1e-3 from differences").fetchall() == [(True,)]
    defer(pets, "input", lambda image: to_64(image) * 2)
    for use in (lambda: map_batches(pets, lambda a: a, "x", column), lambda: defer(pets, "y", abs, of=column)):
        with pytest.raises(ArgumentError, match="'input' was defined again since"):
            use()
    with pytest.raises(ArgumentError, match="not float"):
        map_batches(pets, lambda a: a, "x", 1.5)  # type: ignore[arg-type]


def test_an_image_that_cannot_be_read_is_named(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    add_images(con, shutil.copytree(photos, tmp_path / "pets"))
    column = defer(con, "input", to_64)
    (tmp_path / "pets" / "cat" / "2.jpg").unlink()
    assert column[:2].shape == (2, 3, 64, 64)
    with pytest.raises(ImageError, match=r"image 3, .*cat/2.jpg: read: ImageError"):
        column[:4]


def test_shapes_that_vary_by_image(pets: duckdb.DuckDBPyConnection) -> None:
    column = defer(pets, "pixels", functional.to_tensor)
    assert column.shape == (3, None, None)
    sizes = pets.sql("select height_px, width_px from images order by image_id").fetchall()
    assert [tuple(column[index].shape) for index in (0, 7, -1)] == [(3, *sizes[index]) for index in (0, 7, -1)]
    means = pets.sql(
        "select image_id, list_avg(flatten(pixels(image)[1])) from image_files order by image_id"
    ).fetchall()
    assert np.allclose([mean for _, mean in means], [float(column[index][0].mean()) for index in range(18)], atol=1e-5)
    with pytest.raises(SchemaError, match=r"shapes \(3, \d+, \d+\) and \(3, \d+, \d+\) and cannot be stacked"):
        column[:3]
    with pytest.raises(SchemaError, match="the shape of column 'pixels' varies by image.* give batch_size=1"):
        map_batches(pets, lambda batch: batch.mean((1, 2, 3)), "means", column)
    map_batches(pets, lambda batch: batch[:, 0].mean((1, 2)), "means", column, batch_size=1)
    found = pets.sql("select output from means order by image_id").fetchall()
    assert np.allclose([mean for (mean,) in found], [mean for _, mean in means], atol=1e-5)


def test_a_shape_that_gray_images_do_not_show(pets: duckdb.DuckDBPyConnection) -> None:
    def colors(image: Image.Image) -> torch.Tensor:
        return torch.zeros(1 + image.getpixel((0, 0))[0] % 3)

    defer(pets, "colors", colors)
    with pytest.raises(
        InferenceError, match=r"column colors has shape \(\d,\) here, expected \(3,\); .* None for that axis"
    ):
        map_batches(
            pets,
            lambda batch: batch.sum(1),
            "n",
            "colors",
            where="image_id in (select image_id from image_files where colors(image) is null)",
        )
    column = defer(pets, "colors", colors, shape=(None,))
    assert {len(value) for value in column} <= {1, 2, 3}
    with pytest.raises(ImageError, match="the transform gives str, where a tensor or an array of numbers is needed"):
        defer(pets, "whole", lambda image: "image", shape=(3,))[0]
    with pytest.raises(ImageError, match="the transform gives a Image"):
        defer(pets, "wrapped", lambda image: {"image": image}, shape=(3,))[0]
    with pytest.raises(InferenceError, match="different rank"):
        defer(pets, "odd", lambda image: torch.zeros((2,) * (1 + (image.size[0] > 256))))


def test_probs_alone_make_a_full_run(pets: duckdb.DuckDBPyConnection, tiny_net: nn.Module, tmp_path: Path) -> None:
    column = defer(pets, "input", to_64)
    reference = tiny_net(column[:]).detach().numpy()
    probs = scipy.special.softmax(reference.astype(float), axis=1)

    def answers(kind: str) -> Callable[[torch.Tensor], object]:
        return lambda batch: {
            "probs": lambda: {"probs": tiny_net(batch).softmax(1)},
            "logits": lambda: {"logits": tiny_net(batch)},
            "percent": lambda: {"probs": tiny_net(batch).softmax(1) * 100},
            "log_probs": lambda: tiny_net(batch).log_softmax(1),
        }[kind]()  # fmt: skip

    for kind in ("probs", "logits", "percent", "log_probs"):
        outputs = "auto" if kind in ("probs", "logits") else kind
        done = map_batches(pets, answers(kind), kind, column, outputs=outputs)
        assert (done.n_ok, done.class_policy) == (18, "identity")
        rows = pets.sql(f"select pred, confidence, probs, correct, label from {kind} order by image_id").fetchall()
        assert [row[0] for row in rows] == list(probs.argmax(1))
        assert np.allclose([row[1] for row in rows], probs.max(1), atol=1e-6)
        assert np.allclose([row[2] for row in rows], probs, atol=1e-6)
        assert [row[3] for row in rows] == [row[0] == row[4] for row in rows]
        assert pets.sql("select outputs, class_policy from runs where run = $r", params={"r": kind}).fetchall() == [
            (kind, "identity")
        ]
    assert np.allclose(
        [row[0] for row in pets.sql("select logits from logits order by image_id").fetchall()], reference
    )
    assert sqlanalysis.temperature_scale(pets, "probs", "warm", temperature=2.0).n_ok == 18
    assert sqlanalysis.check(pets, run="probs").passed
    assert sqlanalysis.compare(pets, "probs", "logits").flips.fetchall() == []
    assert "log_probs" in sqlanalysis.report(pets, tmp_path / "page.html", runs=["log_probs"]).read_text()
    assert pets.sql(
        "select count(*) from check_run('percent') where sum_not_1 + confidence_differs + pred_not_argmax = 0"
    ).fetchall() == [(1,)]


def test_a_run_over_images_without_labels(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for number in range(4):
        Image.new("RGB", (20, 20), (number * 60, 0, 0)).save(tmp_path / f"{number}.png")
    add_images(con, tmp_path, dataset="loose")
    column = defer(con, "input", to_64)
    named = map_batches(con, lambda batch: {"logits": batch.mean((2, 3))}, "named", column, classes=["r", "g", "b"])
    numbered = map_batches(con, lambda batch: {"logits": batch.mean((2, 3))}, "numbered", column)
    plain = map_batches(con, lambda width: {"pred": width * 0 + 7}, "plain", "width_px")
    assert [done.class_policy for done in (named, numbered, plain)] == ["identity"] * 3
    assert con.sql("select pred_name from named order by image_id").fetchall()[-1] == ("r",)
    assert con.sql("select pred_name from numbered order by image_id").fetchall()[-1] == ("0",)
    assert con.sql("select distinct pred, pred_name from plain").fetchall() == [(7, None)]


def test_pred_alone_is_enough(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    map_batches(pets, lambda label: {"pred": (label + (label == 2)) % 3}, "third", "label")
    assert pets.sql("select any_value(confidence), avg(correct::int) from third").fetchall() == [(None, 2 / 3)]
    assert sqlanalysis.report(pets, tmp_path / "page.html", runs=["third"]).is_file()


@pytest.mark.parametrize("policy", ["open", "restricted"])
def test_classes_of_a_function_are_mapped(pets: duckdb.DuckDBPyConnection, policy: str) -> None:
    """Five classes, of which the data set has three, in another order; scikit-learn counts."""
    names = ["owl", "yak", "cat", "emu", "dog"]
    column = defer(pets, "input", to_64)
    torch.manual_seed(3)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 5)).eval()
    with torch.no_grad():
        net[2].weight.mul_(30)
        net[2].bias.sub_(net(column[:]).mean(0))
        probs = net(column[:]).softmax(1).double().numpy()

    def five(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return {"pred": net(batch).argmax(1), "probs": net(batch).softmax(1)}

    done = map_batches(pets, five, "five", column, classes=names, policy=policy)
    assert done.class_policy == policy
    kept = probs[:, [2, 4, 0]]
    best = probs.argmax(1)
    inside = np.array([{"cat": 0, "dog": 1, "owl": 2}.get(name, -1) for name in names])[best]
    rows = pets.sql(
        "select label, pred, probs, raw_pred, raw_pred_name, confidence, inside from five order by image_id"
    ).fetchall()
    labels, preds, stored, raw, raw_names, confidence, within = map(np.array, zip(*rows, strict=True))
    assert (raw == best).all()
    assert list(raw_names) == [names[index] for index in best]
    assert np.allclose(within, kept.sum(1), atol=1e-6)
    if policy == "open":
        assert (preds == inside).all()
        assert np.allclose(stored, kept, atol=1e-6)
        assert np.allclose(confidence, probs.max(1), atol=1e-6)
    else:
        assert (preds == kept.argmax(1)).all()
        assert np.allclose(stored, kept / kept.sum(1, keepdims=True), atol=1e-6)
    [(_, right, *_)] = metric(pets, "accuracy", "five").fetchall()
    assert right == accuracy_score(labels, preds, normalize=False)
    assert {-1} <= set(inside)


def _constant(**outputs: object) -> Callable[[np.ndarray], dict[str, object]]:
    return lambda label: {name: np.array([value] * len(label)) for name, value in outputs.items()}


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (_constant(probs=[2.0, -1.0, 0.5]), {}, 'these look like logits: outputs="logits"'),
        (_constant(probs=[70.0, 20.0, 10.0]), {}, 'these look like percents: outputs="percent"'),
        (_constant(logits=[0.7, 0.2, 0.1]), {}, "these are probabilities"),
        (_constant(probs=[0.7, 0.2, 0.1], confidence=0.2), {}, "has confidence 0.2, and 0.7 as the probability"),
        (_constant(pred=0, confidence=70.0), {}, "a confidence lies in \\[0, 1\\]"),
        (_constant(pred=3), {}, "pred is 3, but the 3 classes are 0 to 2"),
        (_constant(pred=0.0), {}, "pred holds double; give class indices"),
        (_constant(pred="cat"), {}, "pred holds string; give class indices"),
        (_constant(probs=0.5), {}, "probs holds double; give floats of shape \\(B, n\\)"),
        (_constant(probs=[0.1] * 10), {}, "model's 10 classes do not cover the data set's 3.*classes="),
        (_constant(probs=[0.5, 0.3, 0.2]), {"classes": ["a", "b"]}, "gives 3 values for each image, but classes= names 2"),
        (_constant(pred=0), {"classes": ["cat", "dog", "owl", "yak"], "policy": "restricted"}, "needs probabilities"),
        (_constant(pred=0), {"policy": "open"}, "need classes="),
        (_constant(pred=0, inside=0.5), {}, "inside is derived from pred and the class map"),
        (_constant(mean=0.1), {"classes": ["a"]}, "gives no pred, probs or logits"),
        (_constant(mean=0.1), {"outputs": "logits"}, 'outputs="logits", but .* gives mean'),
        (_constant(mean=0.1), {"outputs": {"mean": "FLOAT"}}, "outputs is one of auto"),
        (_constant(mean=0.1), {"policy": "strict"}, "no policy 'strict'"),
        (_constant(mean=0.1), {"batch_size": 0}, "batch_size must be 1 or more"),
    ],
)  # fmt: skip
def test_answers_that_are_not_what_they_are_called(
    pets: duckdb.DuckDBPyConnection, function: object, options: dict[str, object], message: str
) -> None:
    with pytest.raises((SchemaError, ArgumentError), match=message):
        map_batches(pets, function, "wrong", "label", **options)  # type: ignore[arg-type]
    assert pets.sql("from runs").fetchall() == []


@pytest.mark.parametrize("types", [None, {"probs": "FLOAT[3]", "confidence": "DOUBLE"}])
def test_a_later_answer_that_is_not_what_it_is_called_is_an_error(
    pets: duckdb.DuckDBPyConnection, types: dict[str, str] | None
) -> None:
    def sometimes(ids: np.ndarray) -> dict[str, np.ndarray]:
        probs = np.tile(np.float32([0.7, 0.2, 0.1]), (len(ids), 1))
        probs[ids == 15] = [3, -1, 2]
        return {"probs": probs, "confidence": np.where(ids == 17, 0.2, 0.7)}

    done = map_batches(pets, sometimes, "sometimes", "image_id", batch_size=6, types=types)
    assert (done.n_ok, done.n_errors) == (16, 2)
    rows = pets.sql("select image_id, stage, error, message from errors order by image_id").fetchall()
    assert rows == [
        (15, "forward", "InferenceError", "probs of this image are not probabilities"),
        (17, "forward", "InferenceError", "confidence is not that of the prediction"),
    ]


class Hostile(BaseException):
    """An error whose text cannot be made."""

    def __str__(self) -> str:
        raise SystemExit(3)


ODD = [ValueError("bad \udcff name"), Hostile(), SystemExit(1), KeyboardInterrupt(), GeneratorExit()]  # fmt: skip


@pytest.mark.parametrize("error", ODD, ids=lambda error: ascii(type(error).__name__))
@pytest.mark.parametrize("where", ["transform", "function"])
def test_one_image_never_ends_a_run(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, error: BaseException, where: str
) -> None:
    """P29; the image is among the first batch, which only teaches the outputs."""
    for number in range(9):
        Image.new("RGB", (20 + number, 20), (number, 0, 0)).save(tmp_path / f"{number}.png")
    add_images(con, tmp_path, dataset="x")

    def transform(image: Image.Image) -> torch.Tensor:
        if where == "transform" and image.size == (23, 20):
            raise error
        return functional.to_tensor(image.resize((8, 8)))

    def function(batch: torch.Tensor, width: np.ndarray) -> torch.Tensor:
        if where == "function" and 23 in width:
            raise error
        return batch.mean((1, 2, 3))

    column = defer(con, "input", transform)
    done = map_batches(con, function, "means", [column, "width_px"], batch_size=4)
    assert (done.n_ok, done.n_errors) == (8, 1)
    [(stage, name)] = con.sql("select stage, error from errors").fetchall()
    assert stage == {"transform": "transform", "function": "forward"}[where]
    assert name.startswith(type(error).__name__[:1])
    assert con.sql("select count(input(image)) from image_files").fetchall() == [(9 - (where == "transform"),)]


def test_a_function_that_interrupts_is_not_ctrl_c(pets: duckdb.DuckDBPyConnection) -> None:
    """The error stays where it was raised, so the caller's thread sees an InferenceError and no KeyboardInterrupt."""

    def always(label: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(InferenceError, match="none of the first 18 images has an answer.* KeyboardInterrupt"):
        map_batches(pets, always, "x", "label")


def test_causes_are_not_hidden_by_the_first_batch(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    add_images(con, root)
    for number in range(6):
        (root / "cat" / f"{number}.jpg").unlink()
    column = defer(con, "input", to_64)
    done = map_batches(con, lambda batch: batch.mean((1, 2, 3)), "means", column, batch_size=4)
    assert (done.n_ok, done.n_errors) == (12, 6)
    with pytest.raises(
        InferenceError, match="none of the first 6 images has an answer.* read: ImageError: .*No such file"
    ):
        map_batches(con, lambda batch: batch.mean((1, 2, 3)), "cats", column, where="label = 0")
    types = {"output": "FLOAT"}
    with pytest.raises(InferenceError, match=r"run 'cats' has no answer, all 6 .* read: ImageError.*retry_errors=True"):
        map_batches(con, lambda batch: batch.mean((1, 2, 3)), "cats", column, where="label = 0", types=types)
    assert con.sql("select status, n_errors from runs where run = 'cats'").fetchall() == [("failed", 6)]


def test_plain_columns_and_kinds_of_outputs(pets: duckdb.DuckDBPyConnection) -> None:
    defer(pets, "input", to_64)

    def facts(batch: torch.Tensor, label: np.ndarray, width: np.ndarray, uri: np.ndarray) -> dict[str, object]:
        assert batch.shape == (len(label), 3, 64, 64)
        return {
            "mean": batch.mean((1, 2, 3)), "twice": label * 2, "wide": width > 250, "name": [Path(u).name for u in uri],
            "corners": batch[:, 0, ::63, ::63], "share": width / 7,
        }  # fmt: skip

    done = map_batches(pets, facts, "facts", ["input", "label", "width_px", "uri"], batch_size=5)
    assert done.n_ok == 18
    view = pets.sql("select mean, twice, wide, name, corners, share from facts")
    assert [str(t) for t in view.types] == ["FLOAT", "BIGINT", "BOOLEAN", "VARCHAR", "FLOAT[2][2]", "DOUBLE"]
    for twice, wide, name, label, width, uri in pets.sql(
        "select twice, wide, name, label, width_px, uri from facts"
    ).fetchall():
        assert (twice, wide, name) == (2 * label, width > 250, Path(uri).name)


def test_one_array_is_the_column_output(pets: duckdb.DuckDBPyConnection) -> None:
    defer(pets, "input", to_64)
    map_batches(pets, lambda batch: batch.mean((2, 3)), "means", "input")
    actual = to_tensor(pets.sql("select output from means order by image_id"))
    paths = [row[0] for row in pets.sql("select uri from images order by image_id").fetchall()]
    assert torch.allclose(actual, loop(paths).mean((2, 3)))


def test_given_types_need_no_extra_call(pets: duckdb.DuckDBPyConnection) -> None:
    calls = []

    def count(label: np.ndarray) -> np.ndarray:
        calls.append(len(label))
        return label

    map_batches(pets, count, "given", "label", batch_size=10, types={"output": "FLOAT"})
    assert sum(calls) == 18
    assert [str(t) for t in pets.sql("select output from given").types] == ["FLOAT"]


def test_split_selects(con: duckdb.DuckDBPyConnection, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, split in (("cat", "train"), ("dog", "val")):
        add_images(con, photos / name, dataset="pets", split=split)
    done = map_batches(con, lambda width: width * 2, "twice", "width_px", split="val")
    assert (done.n_images, caplog.records) == (6, [])
    assert con.sql("select distinct split, selection from twice, runs").fetchall() == [("val", "split = 'val'")]
    map_batches(con, lambda width: width * 2, "all_of_them", "width_px")
    assert "images of 2 splits are counted together: train (6), val (6)" in caplog.text


def test_resume_and_identity(pets: duckdb.DuckDBPyConnection) -> None:
    defer(pets, "input", to_64)

    def mean(batch: torch.Tensor) -> torch.Tensor:
        return batch.mean((1, 2, 3))

    assert map_batches(pets, mean, "means", "input", where="label = 0").n_computed == 6
    assert map_batches(pets, mean, "means", "input").n_computed == 12
    assert map_batches(pets, mean, "means", "input").n_computed == 0
    with pytest.raises(SchemaError, match="run 'means' exists and differs: transform"):
        map_batches(pets, lambda batch: batch.sum((1, 2, 3)), "means", "input")
    defer(pets, "input", lambda image: functional.to_tensor(image.resize((8, 8))))
    with pytest.raises(SchemaError, match="run 'means' exists and differs: transform"):
        map_batches(pets, mean, "means", "input")
    assert map_batches(pets, mean, "means", "input", overwrite=True).n_computed == 18


def test_errors_are_rows_and_neighbors_live(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    add_images(con, root)
    (root / "cat" / "1.jpg").unlink()
    defer(con, "input", to_64)
    bad = [
        row[0]
        for row in con.sql(
            "select image_id from images where uri like '%dog/2.jpg' or uri like '%owl/3.jpg'"
        ).fetchall()
    ]

    angry = tmp_path / "angry"
    angry.touch()

    def touchy(batch: torch.Tensor, ids: np.ndarray) -> np.ndarray:
        if angry.exists() and bad[0] in ids:
            raise ValueError("not this one")
        return np.where(angry.exists() & (ids == bad[1]), np.nan, ids.astype(float))

    done = map_batches(con, touchy, "touchy", ["input", "image_id"], batch_size=6, types={"output": "DOUBLE"})
    assert (done.n_ok, done.n_errors) == (15, 3)
    rows = con.sql("select parse_filename(uri), stage, error from errors order by uri").fetchall()
    assert rows == [
        ("1.jpg", "read", "ImageError"),
        ("2.jpg", "forward", "ValueError"),
        ("3.jpg", "forward", "InferenceError"),
    ]
    assert con.sql("select bool_and(output = image_id) from touchy").fetchall() == [(True,)]
    assert map_batches(con, touchy, "touchy", ["input", "image_id"], types={"output": "DOUBLE"}).n_computed == 0
    shutil.copy(photos / "cat" / "1.jpg", root / "cat" / "1.jpg")
    angry.unlink()
    retried = map_batches(con, touchy, "touchy", ["input", "image_id"], types={"output": "DOUBLE"}, retry_errors=True)
    assert (retried.n_ok, retried.n_errors, retried.n_computed) == (18, 0, 3)


def test_strict_raises_and_keeps_what_succeeded(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path, tiny_model: Model
) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    add_images(con, root)
    (root / "cat" / "1.jpg").unlink()
    with pytest.raises(InferenceError, match=r"image 2, .*cat/1.jpg: read: ImageError: .*No such file"):
        predict(con, tiny_model, strict=True)
    assert con.sql("select n_images, n_ok, n_errors, status from runs").fetchall() == [(18, 17, 0, "failed")]
    done = predict(con, tiny_model)
    assert (done.n_ok, done.n_errors, done.n_computed) == (17, 1, 1)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda batch: batch.mean(), r"output 'output' has shape \(\); the first axis must be the batch, here 2"),
        (lambda batch: {"pred": [None] * len(batch)}, "output 'pred' is of type object"),
        (
            lambda batch: {"label": batch.mean((1, 2, 3))},
            "output 'label' is not an identifier, or a column of every run has that name",
        ),
        (
            lambda batch: {"My Out": batch.mean((1, 2, 3))},
            "output 'My Out' is not an identifier, or a column of every run has that name",
        ),
        (
            lambda batch: 1 / 0,
            "none of the first 18 images has an answer.*: forward: ZeroDivisionError: division by zero",
        ),
    ],
    ids=["no batch axis", "objects", "taken", "no identifier", "raises"],
)
def test_wrong_functions(pets: duckdb.DuckDBPyConnection, function: object, message: str) -> None:
    defer(pets, "input", to_64)
    with pytest.raises((InferenceError, SchemaError), match=message):
        map_batches(pets, function, "wrong", "input", batch_size=2)  # type: ignore[arg-type]
    assert pets.sql("from runs").fetchall() == []


def test_outputs_that_change_are_errors(pets: duckdb.DuckDBPyConnection) -> None:
    def moody(label: np.ndarray) -> np.ndarray:
        return np.zeros((len(label), 4 if 2 in label else 3), np.float32)

    done = map_batches(pets, moody, "moody", "label", batch_size=9)
    assert (done.n_ok, done.n_errors) == (12, 6)
    assert "expected fixed_size_list" in pets.sql("select any_value(message) from errors").fetchall()[0][0]


def test_wrong_inputs(pets: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(NotFoundError, match="no input 'lable'; did you mean label"):
        map_batches(pets, lambda x: x, "x", "lable")
    with pytest.raises(
        NotFoundError, match="no image is selected where label = 9; the splits of .* are: no split \\(18\\)"
    ):
        map_batches(pets, lambda x: x, "x", "label", where="label = 9")


def test_runs_without_predictions_are_left_out_of_the_report(
    pets: duckdb.DuckDBPyConnection, tiny_model: Model, tmp_path: Path
) -> None:
    map_batches(pets, lambda label: label * 2, "twice", "label")
    with pytest.raises(NotFoundError, match="no finished run to report"):
        sqlanalysis.report(pets, tmp_path / "page.html")
    with pytest.raises(SchemaError, match="run 'twice' has no pred and confidence"):
        sqlanalysis.report(pets, tmp_path / "page.html", runs=["twice"])
    predict(pets, tiny_model)
    assert "tiny" in sqlanalysis.report(pets, tmp_path / "page.html").read_text()


def test_outputs_whose_first_axis_is_no_batch_are_not_halved_until_they_fit(pets: duckdb.DuckDBPyConnection) -> None:
    """Halves of three images would give (3, 3), the classes in place of the images."""
    with pytest.raises(
        InferenceError, match=r"'logits' has shape \(3, 18\); the first axis must be the batch, here 18"
    ):
        map_batches(pets, lambda ids: {"logits": np.zeros((3, len(ids)))}, "swapped", "image_id")
    with pytest.raises(InferenceError, match="the first axis must be the batch"):
        map_batches(pets, lambda ids: (ids * 1.0, ids * 2.0), "pair", "image_id")
