"""predict and register_model: equal to torchvision's pipeline by hand, resumable, and honest about failures."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.metrics import accuracy_score
from torch import nn

import sqlanalysis
from sqlanalysis import add_images, load_model, predict, register_model
from sqlanalysis.core.classes import Classes, ClassMap
from sqlanalysis.core.cores import count_cores
from sqlanalysis.errors import ArgumentError, InferenceError, NotFoundError, QueryError, SchemaError
from sqlanalysis.models.engine import Engine
from sqlanalysis.models.model import Model
from sqlanalysis.models.outputs import score

from ..support.pictures import png_header
from ..support.runs import to_64


@pytest.fixture
def pets(con: duckdb.DuckDBPyConnection, photos: Path) -> duckdb.DuckDBPyConnection:
    add_images(con, photos, dataset="pets")
    return con


def by_hand(model: Model, paths: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and activations as a tutorial computes them: one image at a time, no batching, no layout."""
    kept = []
    hook = model.module.get_submodule(model.layer or "").register_forward_hook(lambda *a: kept.append(a[2]))
    probs = []
    with torch.inference_mode():
        for path in paths:
            with Image.open(path) as image:
                tensor = model.transform(image.convert("RGB"))
            probs.append(model.module(tensor.unsqueeze(0)).softmax(1)[0])
    hook.remove()
    return torch.stack(probs).numpy(), torch.cat([k.mean((2, 3)) for k in kept]).numpy()


def test_resnet_equals_torchvision_by_hand(pets: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=3)
    transform = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    paths = [row[0] for row in pets.sql("select uri from images order by image_id").fetchall()]
    batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths[::3]])
    net.train()(batch)  # gives batch norm real statistics, so that images differ
    with torch.no_grad():
        net.fc.weight.mul_(10)
        net.fc.bias.sub_(net.eval()(batch).mean(0))
    torch.save(net.state_dict(), tmp_path / "resnet18.pth")
    model = load_model("resnet18", tmp_path / "resnet18.pth", layer="layer4", classes=["cat", "dog", "owl"])
    probs, activations = by_hand(model, paths)
    assert len(set(probs.argmax(1))) > 1
    done = predict(pets, model)
    assert (done.n_images, done.n_ok, done.n_errors, done.n_computed) == (18, 18, 0, 18)
    assert done.class_policy == "identity"
    actual = pets.sql("select pred, confidence, probs, activation from resnet18 order by image_id").fetchnumpy()
    assert np.array_equal(actual["pred"], probs.argmax(1))
    assert np.abs(np.stack(actual["probs"]) - probs).max() <= 1e-5
    assert np.array_equal(actual["confidence"], np.stack(actual["probs"]).max(1))
    assert np.abs(np.stack(actual["activation"]) - activations).max() <= 1e-4


def test_view_is_the_whole_data_frame(pets: duckdb.DuckDBPyConnection, tiny_model: Model) -> None:
    predict(pets, tiny_model, "first_try")
    view = pets.sql("from first_try")
    columns = "image_id dataset uri split label label_name pred pred_name confidence correct correct_accepted probs activation x y"
    assert view.columns[:15] == columns.split()
    assert dict(zip(view.columns, map(str, view.types), strict=True))["probs"] == "FLOAT[3]"
    rows = pets.sql("select label, pred, correct, pred_name, label_name from first_try").fetchall()
    for label, pred, correct, pred_name, label_name in rows:
        assert correct == (label == pred)
        assert (label_name, pred_name) == (["cat", "dog", "owl"][label], ["cat", "dog", "owl"][pred])
    assert len(pets.sql("from first_try limit 3").fetchall()) == 3
    assert pets.sql("select run, count(*) from predictions group by run").fetchall() == [("first_try", 18)]
    assert pets.sql("from check_database").fetchall() == []


def test_lineage(pets: duckdb.DuckDBPyConnection, tiny_model: Model) -> None:
    predict(pets, tiny_model, where="label < 2", device="cpu")
    run = dict(zip(pets.sql("from runs").columns, pets.sql("from runs").fetchall()[0], strict=True))
    assert run["weights_sha256"] == tiny_model.weights_sha256
    assert "to_64" in run["transform"]
    assert (run["selection"], run["layer"], run["dtype"], run["device"]) == ("label < 2", "3", "fp32", "cpu")
    assert (run["status"], run["n_images"], run["n_errors"]) == ("finished", 12, 0)
    assert run["finished_at"] >= run["started_at"]
    for stage in ("read", "decode", "transform", "forward", "write", "total"):
        assert f'"{stage}"' in run["seconds"]
    assert f'"torch": "{torch.__version__.partition("+")[0]}' in run["packages"]


def test_function_in_sql(pets: duckdb.DuckDBPyConnection, tiny_model: Model, photos: Path) -> None:
    assert register_model(pets, tiny_model) == "tiny"
    predict(pets, tiny_model, "reference")
    sql = "select tiny(image).pred, tiny(image).probs from image_files order by image_id limit 5"
    expected = pets.sql("select pred, probs from reference order by image_id limit 5").fetchall()
    assert pets.sql(sql).fetchall() == expected
    broken = (
        "select tiny({'bytes': 'no'::blob, 'path': null}), tiny(null), tiny(image) is null from image_files limit 1"
    )
    answer, nothing, usual = pets.sql(broken).fetchall()[0]
    assert (answer["pred"], answer["error"]["stage"], answer["error"]["error"]) == (None, "decode", "ImageError")
    assert (nothing, usual) == (None, False)


def test_function_in_odd_places(pets: duckdb.DuckDBPyConnection, tiny_net: nn.Module) -> None:
    """F20: named twice, in a condition, explained, grouped, and after a cursor of the connection is gone."""
    seen: list[int] = []

    def counted(picture: Image.Image) -> torch.Tensor:
        seen.append(1)
        return to_64(picture)

    model = load_model(tiny_net, transform=counted, classes=["cat", "dog", "owl"])
    register_model(pets, model, name="odd")
    seen.clear()
    pets.sql("explain select odd(image).pred from image_files").fetchall()
    assert not seen
    rows = pets.sql("select odd(image).pred, odd(image).confidence from image_files").fetchall()
    assert (len(rows), len(seen)) == (18, 18)
    cursor = pets.cursor()
    cursor.execute("select 1").fetchall()
    del cursor
    gc.collect()
    groups = "select odd(image).pred as pred, count(*) from image_files where odd(image).confidence > 0 group by 1"
    assert dict(pets.sql(groups).fetchall()) == Counter(pred for pred, _ in rows)


def test_running_again_computes_nothing(pets: duckdb.DuckDBPyConnection, tiny_model: Model) -> None:
    assert predict(pets, tiny_model, where="label = 0").n_computed == 6
    again = predict(pets, tiny_model)
    assert (again.n_images, again.n_ok, again.n_computed) == (18, 18, 12)
    assert predict(pets, tiny_model).n_computed == 0


def test_equal_bytes_are_computed_once(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path, tiny_model: Model
) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    shutil.copy(root / "cat" / "0.jpg", root / "owl" / "same.jpg")
    add_images(con, root)
    done = predict(con, tiny_model)
    assert (done.n_images, done.n_ok, done.n_computed) == (19, 19, 18)
    same = con.sql(
        "select count(distinct probs) from tiny where sha256 in (select sha256 from tiny where uri like '%same%')"
    )
    assert same.fetchall() == [(1,)]


def test_changed_files_are_errors_until_added_again(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path, tiny_model: Model
) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    add_images(con, root)
    shutil.copy(photos / "dog" / "0.jpg", root / "cat" / "0.jpg")
    done = predict(con, tiny_model)
    assert (done.n_ok, done.n_errors) == (17, 1)
    assert con.sql("select stage, error from errors").fetchall() == [("read", "ChangedImage")]
    add_images(con, root)
    done = predict(con, tiny_model)
    assert (done.n_ok, done.n_errors, done.n_computed) == (18, 0, 0)
    shutil.copy(photos / "dog" / "1.jpg", root / "cat" / "0.jpg")
    add_images(con, root)
    assert predict(con, tiny_model).n_ok == 18
    assert con.sql("select count(*) from outputs.tiny").fetchall() == [(18,)]


def test_broken_files_leave_their_neighbors_alone_to_the_bit(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path, tiny_model: Model
) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    add_images(con, root)
    predict(con, tiny_model, "quiet")
    half = (root / "dog" / "3.jpg").read_bytes()[:3000]
    (root / "dog" / "3.jpg").write_bytes(half)
    (root / "cat" / "1.jpg").unlink()
    digest = hashlib.sha256(half).hexdigest()
    con.execute("update images set sha256 = ? where uri like '%dog/3.jpg'", [digest])
    done = predict(con, tiny_model, "broken")
    assert (done.n_images, done.n_ok, done.n_errors) == (18, 16, 2)
    rows = con.sql("select parse_filename(uri), stage from errors where run = 'broken' order by all").fetchall()
    assert rows == [("1.jpg", "read"), ("3.jpg", "decode")]
    different = con.sql("from quiet join broken using (image_id) where quiet.probs <> broken.probs")
    assert different.fetchall() == []


class Moody(nn.Module):
    """Fails, or answers nonsense, for images whose first pixel says so; counts its calls."""

    def __init__(self, net: nn.Module, mood: str) -> None:
        super().__init__()
        self.net, self.mood, self.calls = net, mood, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.net(images)
        bad = images[:, 0, 0, 0] == 1
        self.calls += 1
        if self.mood == "raise" and bad.any():
            raise ValueError("I do not like this one")
        if self.mood == "memory" and len(images) > 2:
            raise torch.OutOfMemoryError("too much")
        if self.mood == "nan":
            logits = torch.where(bad[:, None], torch.nan, logits)
        return logits


@pytest.mark.parametrize(("mood", "n_errors"), [("raise", 1), ("nan", 1), ("memory", 0)])
def test_forward_failures(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path, tiny_net: nn.Module, mood: str, n_errors: int
) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    Image.new("RGB", (72, 72), (255, 255, 255)).save(root / "dog" / "white.png")
    add_images(con, root)
    calm = load_model(tiny_net, transform=to_64, classes=["cat", "dog", "owl"], name="calm")
    moody = load_model(Moody(tiny_net, mood), transform=to_64, classes=["cat", "dog", "owl"], name="moody")
    predict(con, calm)
    done = predict(con, moody)
    assert (done.n_ok, done.n_errors) == (19 - n_errors, n_errors)
    rows = con.sql("select parse_filename(uri), stage, error from errors").fetchall()
    form = {"raise": "ValueError", "nan": "InferenceError"}
    assert rows == ([("white.png", "forward", form[mood])] if n_errors else [])
    pairs = con.sql("select calm.probs, moody.probs from calm join moody using (image_id)").fetchall()
    assert max(abs(a - b) for left, right in pairs for a, b in zip(left, right, strict=True)) <= 1e-6
    if mood == "raise":
        assert all(left == right for left, right in pairs)


def test_wrong_width_is_an_error_and_not_a_row(pets: duckdb.DuckDBPyConnection, tiny_model: Model) -> None:
    wide = dataclasses.replace(tiny_model, classes=sqlanalysis.core.classes.numbered(4), name="wide")
    pets.execute("insert into classes values ('pets', 3, 'yak', null)")
    with pytest.raises(InferenceError, match=r"run 'wide' has no answer, all 18 .* expected \(8, 4\)"):
        predict(pets, wide, device="cpu")  # on a GPU, batches are as large as it finds best
    assert pets.sql("select status, n_ok, n_errors from runs").fetchall() == [("failed", 0, 18)]
    assert "expected (8, 4)" in pets.sql("select any_value(message) from errors").fetchall()[0][0]


# Classes


def test_score_against_numpy() -> None:
    logits = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * 4
    probs = np.exp(logits.double().numpy())
    probs /= probs.sum(1, keepdims=True)
    to_class = (0, 1, 0, -1, 2, -1)
    sums = np.stack([probs[:, [0, 2]].sum(1), probs[:, 1], probs[:, 4], np.zeros(50)], 1)
    identity = score(logits, None)
    assert np.allclose(identity["probs"], probs, atol=1e-15)
    assert np.array_equal(identity["pred"], probs.argmax(1))
    restricted = score(logits, ClassMap(to_class, 4, "restricted", "csv"))
    assert np.allclose(restricted["probs"], sums / sums.sum(1, keepdims=True), atol=1e-15)
    assert np.array_equal(restricted["pred"], sums.argmax(1))
    assert np.allclose(restricted["inside"], sums.sum(1), atol=1e-15)
    opened = score(logits, ClassMap(to_class, 4, "open", "csv"))
    assert np.array_equal(opened["pred"], np.array(to_class)[probs.argmax(1)])
    assert np.allclose(opened["probs"], sums, atol=1e-15)
    for actual in (restricted, opened):
        assert np.array_equal(actual["raw_pred"], probs.argmax(1))
        assert np.allclose(actual["raw_confidence"], probs.max(1), atol=1e-15)


def test_restricted_survives_a_model_sure_of_something_else() -> None:
    logits = torch.tensor([[1000.0, 2.0, 1.0]])
    actual = score(logits, ClassMap((-1, 0, 1), 2, "restricted", "name"))
    assert np.allclose(actual["probs"], torch.tensor([[2.0, 1.0]]).double().softmax(1))


def test_ties_go_to_the_lower_index() -> None:
    assert score(torch.zeros(1, 5), None)["pred"].tolist() == [0]


def mapped(model: Model) -> Model:
    return dataclasses.replace(model, classes=sqlanalysis.core.classes.Classes(("Dog", "cat", "car")), name="mapped")


def con_outside(con: duckdb.DuckDBPyConnection) -> tuple[int, dict[str, float]]:
    """How many answers are outside the classes, and accuracy by run, both with scikit-learn and numpy."""
    rows = con.sql("select label, probs, raw_pred from opened where label is not null").fetchall()
    labels, probs, raw = [np.array(column) for column in zip(*rows, strict=True)]
    to_class = np.array([1, 0, -1])
    return int((to_class[raw] < 0).sum()), {
        "opened": accuracy_score(labels, to_class[raw]),
        "kept_inside": accuracy_score(labels, probs.argmax(1)),
    }


def test_policies(
    pets: duckdb.DuckDBPyConnection, tmp_path: Path, tiny_model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    model = mapped(tiny_model)
    with pytest.raises(SchemaError, match="no output for owl"):
        predict(pets, model)
    (tmp_path / "map.csv").write_text("from_class,to_class\nDog,dog\ncat,cat\n")
    restricted = predict(pets, model, "kept_inside", policy="restricted", class_map=tmp_path / "map.csv")
    assert "this run is restricted" in caplog.text
    opened = predict(pets, model, "opened", class_map=tmp_path / "map.csv")
    assert (restricted.class_policy, opened.class_policy) == ("restricted", "open")
    n_outside, accuracies = con_outside(pets)
    assert restricted.n_outside == opened.n_outside == n_outside > 0
    for run, accuracy in accuracies.items():
        assert f"{accuracy:.3f} {'counts' if run == 'opened' else 'leaves'}" in caplog.text
        assert pets.sql(f"select accuracy from accuracy('{run}')").fetchall() == [(accuracy,)]
    predict(pets, tiny_model, "raw")
    rows = pets.sql(
        "select raw.probs, k.probs, k.pred, k.inside, o.pred, o.raw_pred, o.raw_pred_name, o.pred_name "
        "from raw join kept_inside k using (image_id) join opened o using (image_id)"
    ).fetchall()
    for raw, inside, pred, mass, open_pred, raw_pred, raw_name, open_name in rows:
        assert np.allclose(inside, np.array([raw[1], raw[0], 0]) / (raw[0] + raw[1]), atol=1e-6)
        assert pred == np.argmax(inside)
        assert abs(mass - raw[0] - raw[1]) < 1e-6
        assert raw_pred == np.argmax(raw)
        assert (open_pred, open_name) == {0: (1, "dog"), 1: (0, "cat"), 2: (-1, None)}[raw_pred]
        assert raw_name == ("Dog", "cat", "car")[raw_pred]
    assert pets.sql("select from_class, to_class from class_map where run = 'opened' order by all").fetchall() == [
        (0, 1),
        (1, 0),
    ]
    assert pets.sql("select model_label_space, label_space from runs where run = 'opened'").fetchall() == [
        ("mapped", "pets")
    ]


@pytest.mark.parametrize("names", [["1", "10", "2"], ["class1", "class10", "class2"], ["10", "9"]])
def test_outputs_without_names_need_classes_where_sorting_decides(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path, tiny_model: Model, names: list[str]
) -> None:
    for name in names:
        shutil.copytree(photos / "cat", tmp_path / "numbers" / name)
    add_images(con, tmp_path / "numbers", dataset="numbers")
    unnamed = dataclasses.replace(tiny_model, classes=Classes(tuple(map(str, range(len(names)))), named=False))
    with pytest.raises(SchemaError, match="the order of their text"):
        predict(con, unnamed)
    assert con.sql("from runs").fetchall() == []
    if len(names) == tiny_model.n_outputs:
        assert predict(con, unnamed, policy="identity").n_errors == 0
        named = dataclasses.replace(tiny_model, classes=Classes(tuple(sorted(names, key=len))))
        assert predict(con, named, "named").class_policy == "open"


def test_unlabeled_images_get_the_models_own_classes(
    con: duckdb.DuckDBPyConnection, photos: Path, tiny_model: Model
) -> None:
    add_images(con, photos / "cat", dataset="unknown")
    assert predict(con, tiny_model).class_policy == "identity"
    rows = con.sql("select label_name, pred_name in ('cat', 'dog', 'owl'), correct from tiny").fetchall()
    assert set(rows) == {(None, True, None)}
    with pytest.raises(SchemaError, match="needs a labeled data set"):
        predict(con, tiny_model, "other", policy="restricted")


def test_labels_of_another_space_than_the_run_do_not_count(
    con: duckdb.DuckDBPyConnection, photos: Path, tiny_model: Model, tmp_path: Path
) -> None:
    add_images(con, photos / "cat", dataset="pets")
    predict(con, tiny_model)
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(f"{p},x\n" for p in (photos / "cat").iterdir()))
    add_images(con, tmp_path / "labels.csv", dataset="pets")
    assert con.sql("select count(*), count(label), count(correct) from tiny").fetchall() == [(6, 0, 0)]
    assert con.sql("select problem, object from check_database").fetchall() == [
        ("run in another label space than its data set", "tiny")
    ]


def test_retry_keeps_errors_outside_the_selection(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path, tiny_model: Model
) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    add_images(con, root)
    for name in ("cat/0.jpg", "dog/0.jpg"):
        (root / name).unlink()
    assert predict(con, tiny_model).n_errors == 2
    done = predict(con, tiny_model, where="label = 1", retry_errors=True)
    assert (done.n_images, done.n_errors) == (6, 1)
    assert con.sql("select n_images, n_ok, n_errors from runs").fetchall() == [(18, 16, 2)]


def test_a_run_knows_all_it_was_asked_for(pets: duckdb.DuckDBPyConnection, tiny_model: Model) -> None:
    predict(pets, tiny_model, where="label = 0 -- cats")
    assert pets.sql("select n_images, n_ok, selection from runs").fetchall() == [(6, 6, "label = 0 -- cats")]
    predict(pets, tiny_model, where="label = 1")
    n_images, n_ok, selection = pets.sql("select n_images, n_ok, selection from runs").fetchall()[0]
    assert (n_images, n_ok) == (12, 12)
    assert pets.sql(f"select count(*) from images where {selection}").fetchall() == [(12,)]
    predict(pets, tiny_model)
    assert pets.sql("select n_images, n_ok, selection from runs").fetchall() == [(18, 18, None)]


@pytest.fixture
def splits(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> duckdb.DuckDBPyConnection:
    """6 cats and 6 dogs of split train, 6 owls of val."""
    for split, name in (("train", "cat"), ("train", "dog"), ("val", "owl")):
        shutil.copytree(photos / name, tmp_path / "pets" / split / name)
    add_images(con, tmp_path / "pets")
    return con


def test_pooled_splits_are_said(
    splits: duckdb.DuckDBPyConnection, tmp_path: Path, tiny_model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    assert predict(splits, tiny_model, "everything", device="cpu").n_images == 18
    (said,) = [record.message for record in caplog.records if record.name == "sqlanalysis"]
    assert said.startswith("images of 2 splits are counted together: train (12), val (6); where=… (--where) or split=")
    page = sqlanalysis.report(splits, tmp_path / "page.html", runs=["everything"]).read_text()
    assert "Images of 2 splits are counted together (train, val)" in page
    caplog.clear()
    predict(splits, tiny_model, "val", split="val", device="cpu")
    assert caplog.records == []
    page = sqlanalysis.report(splits, tmp_path / "page.html", runs=["val"]).read_text()
    assert "counted together" not in page


def test_split_selects_and_is_recorded(splits: duckdb.DuckDBPyConnection, tiny_model: Model) -> None:
    assert predict(splits, tiny_model, "val", split="val").n_images == 6
    cats = predict(splits, tiny_model, "cats", split="train", where="label = 0 or label = 2 -- all cats")
    assert cats.n_images == 6
    for run in ("val", "cats"):
        (selection,) = splits.execute("select selection from runs where run = ?", [run]).fetchall()[0]
        selected = splits.sql(f"select image_id from images where {selection}\norder by image_id").fetchall()
        assert splits.sql(f"select image_id from {run} order by image_id").fetchall() == selected
    assert predict(splits, tiny_model, "val", split="val").n_computed == 0
    with pytest.raises(NotFoundError, match="data set 'pets' has no split 'vall'; did you mean val"):
        predict(splits, tiny_model, "other", split="vall")
    with pytest.raises(ArgumentError, match="split is the name of one split"):
        predict(splits, tiny_model, "other", split=["train", "val"])  # type: ignore[call-overload]
    assert splits.sql("select run from runs order by run").fetchall() == [("cats",), ("val",)]


def test_a_condition_by_chance_is_asked_once(pets: duckdb.DuckDBPyConnection, tiny_model: Model) -> None:
    done = predict(pets, tiny_model, where="random() < 0.5")
    assert done.n_images == done.n_ok == done.n_computed
    assert pets.sql("select count(*) from outputs.tiny").fetchall() == [(done.n_ok,)]


def test_outputs_of_other_bytes_are_not_shown(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path, tiny_model: Model
) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    add_images(con, root)
    predict(con, tiny_model)
    shutil.copy(photos / "dog" / "0.jpg", root / "dog" / "1.jpg")
    add_images(con, root)
    assert con.sql("select count(*) from tiny").fetchall() == [(17,)]
    problems = con.sql("select problem, n from check_database where object = 'tiny'").fetchall()
    assert problems == [("outputs for image bytes that have changed since", 1)]
    assert predict(con, tiny_model).n_computed == 0
    assert con.sql("select count(*) from tiny").fetchall() == [(18,)]


def test_broken_twins_are_tried_once(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, tiny_model: Model, photos: Path
) -> None:
    index = tmp_path / "set" / "cat"
    index.mkdir(parents=True)
    half = (photos / "cat" / "0.jpg").read_bytes()[:2000]
    for number in range(20):
        (index / f"{number}.jpg").write_bytes(half)
    add_images(con, tmp_path / "set")
    shutil.copy(photos / "dog" / "1.jpg", index / "whole.jpg")
    add_images(con, tmp_path / "set")
    done = predict(con, tiny_model)
    assert (done.n_images, done.n_ok, done.n_errors, done.n_computed) == (21, 1, 20, 2)


@pytest.mark.parametrize("name", ["pending", "answers", "imported"])
def test_run_names_that_are_words_of_ours(pets: duckdb.DuckDBPyConnection, tiny_model: Model, name: str) -> None:
    predict(pets, tiny_model, name)
    assert pets.sql(f"select n from accuracy('{name}')").fetchall() == [(18,)]


def test_a_users_view_is_not_replaced(pets: duckdb.DuckDBPyConnection, tiny_model: Model) -> None:
    pets.execute('create view "Mine" as select 1 as x')
    with pytest.raises(SchemaError, match="taken by a table or view"):
        predict(pets, tiny_model, "mine")
    assert pets.sql('from "Mine"').fetchall() == [(1,)]


# What is refused


def test_wrong_use(pets: duckdb.DuckDBPyConnection, tiny_model: Model) -> None:
    for name, message in [
        ("select", "taken by a keyword of SQL"),
        ("images", "taken by a table or view"),
        ("accuracy", "taken by a macro"),
    ]:
        with pytest.raises(SchemaError, match=message):
            predict(pets, tiny_model, name)
    with pytest.raises(ArgumentError, match="not an identifier.*such as 'my_run'"):
        predict(pets, tiny_model, "My Run")
    with pytest.raises(NotFoundError, match="no data set 'dogs'"):
        predict(pets, tiny_model, dataset="dogs")
    with pytest.raises(QueryError, match=r"where='breed = 1'.*breed"):
        predict(pets, tiny_model, where="breed = 1")
    with pytest.raises(QueryError, match="where="):
        predict(pets, tiny_model, where="true); drop table images; --")
    with pytest.raises(ArgumentError, match=r"model must come from load_model\(…\), not str 'resnet18'"):
        predict(pets, "resnet18")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="batch_size must be 1 or more"):
        predict(pets, tiny_model, batch_size=-1)
    with pytest.raises(ArgumentError, match="no policy 'closed'"):
        predict(pets, tiny_model, policy="closed")
    with pytest.raises(ArgumentError, match=r"no device 'tpu9'; give auto"):
        predict(pets, tiny_model, device="tpu9")
    assert pets.sql("select count(*) from runs").fetchall() == [(0,)]
    assert pets.sql("select count(*) from images").fetchall() == [(18,)]


def test_no_images_yet(con: duckdb.DuckDBPyConnection, tiny_model: Model) -> None:
    with pytest.raises(NotFoundError, match="no images yet"):
        predict(con, tiny_model)


def test_other_work_under_the_same_name_is_refused(pets: duckdb.DuckDBPyConnection, tiny_model: Model) -> None:
    predict(pets, tiny_model, "mine")
    other = dataclasses.replace(tiny_model, weights_sha256="0" * 64, transform=lambda image: to_64(image))
    with pytest.raises(
        SchemaError, match=r"run 'mine' exists and differs: weights_sha256 .* transform .*overwrite=True"
    ):
        predict(pets, other, "mine")
    assert predict(pets, other, "mine", overwrite=True).n_computed == 18
    assert pets.sql("select count(*), any_value(weights_sha256) from runs").fetchall() == [(1, "0" * 64)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
@pytest.mark.gpu
def test_gpu_gives_the_same_answers(pets: duckdb.DuckDBPyConnection, tiny_model: Model) -> None:
    predict(pets, tiny_model, "on_cpu", device="cpu")
    predict(pets, tiny_model, "on_gpu", device="cuda")
    rows = pets.sql("select a.probs, b.probs from on_cpu a join on_gpu b using (image_id)").fetchall()
    assert max(abs(p - q) for a, b in rows for p, q in zip(a, b, strict=True)) <= 1e-4


# Interruption

SLOW = textwrap.dedent(
    """
    import sys, time, torch, sqlanalysis
    from torch import nn
    from torchvision.transforms.functional import to_tensor
    from sqlanalysis.runs import job
    job.BLOCK_IMAGES = (6, 6)
    class Slow(nn.Module):
        def forward(self, images):
            time.sleep(0.15)
            return images.mean((2, 3)) * 10
    def transform(image):
        return to_tensor(image.resize((8, 8)))
    con = sqlanalysis.connect(sys.argv[1])
    model = sqlanalysis.load_model(Slow(), transform=transform, classes=["cat", "dog", "owl"], name="slow")
    commit = job.Writer._commit
    def announced(*arguments):
        commit(*arguments)
        print("block", flush=True)
    job.Writer._commit = announced
    print(sqlanalysis.predict(con, model, batch_size=1), flush=True)
    """
)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_an_interrupted_run_resumes_where_it_was(tmp_path: Path, photos: Path, number: signal.Signals) -> None:
    script, file, quiet = tmp_path / "slow.py", tmp_path / "a.duckdb", tmp_path / "b.duckdb"
    script.write_text(SLOW)
    for path in (file, quiet):
        with sqlanalysis.connect(path) as con:
            add_images(con, photos, dataset="pets")
    process = subprocess.Popen(
        [sys.executable, script, file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "block\n"
    time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode != 0
    if number == signal.SIGINT:
        assert "KeyboardInterrupt" in errors
    with sqlanalysis.connect(file) as con:
        committed, status = con.sql("select (select count(*) from outputs.slow), status from runs").fetchall()[0]
    assert 0 < committed < 18
    assert committed % 6 == 0
    assert status == ("interrupted" if number == signal.SIGINT else "running")
    for path in (file, quiet):
        subprocess.run([sys.executable, script, path], check=True, capture_output=True)
    with sqlanalysis.connect(file) as con:
        con.execute("attach ? as quiet (read_only)", [str(quiet)])
        for left, right in (("outputs.slow", "quiet.outputs.slow"), ("quiet.outputs.slow", "outputs.slow")):
            assert con.sql(f"from {left} except from {right}").fetchall() == []
        assert con.sql("select status, n_images, n_errors from runs").fetchall() == [("finished", 18, 0)]


def test_engine_restores_torch_threads(tiny_model: Model) -> None:
    before = torch.get_num_threads()
    engine = Engine(tiny_model, device="cpu")  # on a GPU, the number of threads stays
    engine.close()
    assert torch.get_num_threads() == before


def test_a_dry_run_says_what_predict_then_does(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path, tiny_model: Model
) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    shutil.copy(root / "cat" / "0.jpg", root / "cat" / "same.jpg")
    (root / "dog" / "text.jpg").write_text("no image")
    add_images(con, root)
    (root / "owl" / "0.jpg").unlink()
    actual = predict(con, tiny_model, dry_run=True)
    assert (actual.n_images, actual.n_pending, actual.n_distinct) == (19, 19, 18)
    assert (actual.n_labeled, actual.n_classes, actual.n_unreadable) == (19, 3, 1)
    assert (actual.n_sampled, actual.n_failed, actual.class_policy) == (19, 1, "identity")
    assert actual.images_per_second > 0
    assert actual.seconds == pytest.approx(19 / actual.images_per_second)
    assert con.sql("from runs").fetchall() == []
    done = predict(con, tiny_model, where="label < 2")
    assert done.n_errors == 0
    assert predict(con, tiny_model, dry_run=True).n_pending == 6
    assert predict(con, tiny_model, where="label = 0", dry_run=True).n_pending == 0


def test_run_profile_names_the_stage_that_binds(pets: duckdb.DuckDBPyConnection, tiny_model: Model) -> None:
    predict(pets, tiny_model, device="cpu")
    rows = pets.sql(
        "select stage, seconds, share, binds, images_per_second from run_profile where run = 'tiny'"
    ).fetchall()
    assert {row[0] for row in rows} == {"read", "decode", "transform", "forward", "write"}
    assert sum(row[2] for row in rows) == pytest.approx(1)
    slowest = max(row[1] for row in rows)
    assert [row[0] for row in rows if row[3]] == [row[0] for row in rows if row[1] == slowest]  # two, if they tie
    total, n, column = pets.sql("select (seconds ->> 'total')::double, n_images, total_seconds from runs").fetchall()[0]
    assert rows[0][4] == pytest.approx(n / total)
    assert column == total > 0
    assert pets.sql("select distinct total_seconds from run_profile").fetchall() == [(total,)]
    assert pets.sql("select distinct decoding from run_profile").fetchall() == [
        (f"{count_cores()} threads, which also compute",)
    ]


def test_a_folder_with_broken_files_is_accounted_for(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, tiny_model: Model
) -> None:
    """One image in twenty is broken or odd; each is an output or an error, and no neighbor changes by a bit."""
    random = np.random.default_rng(0)
    index = tmp_path / "set" / "cat"
    index.mkdir(parents=True)
    for number in range(160):
        pixels = Image.fromarray(random.integers(0, 256, (9, 11, 3), dtype=np.uint8)).resize((120, 90))
        pixels.save(index / f"{number:03}.jpg")
    add_images(con, tmp_path / "set")
    predict(con, tiny_model, "quiet")
    whole, odd = (index / "000.jpg").read_bytes(), Image.open(index / "000.jpg")
    exif = Image.Exif()
    exif[0x0112] = 8
    (index / "017.jpg").write_bytes(whole[: len(whole) // 2])
    (index / "037.jpg").write_bytes(b"")
    odd.save(index / "057.jpg", format="PNG")
    (index / "077.jpg").write_bytes(png_header(9000, 9000))
    Image.fromarray(np.full((40, 40), 40_000, np.uint16)).save(index / "097.jpg", format="PNG")
    odd.convert("CMYK").save(index / "117.jpg", format="JPEG")
    odd.quantize(8).save(index / "137.jpg", format="PNG", transparency=1)
    odd.save(index / "157.jpg", format="JPEG", exif=exif)
    odd.close()
    added = add_images(con, tmp_path / "set")
    assert (added.n_changed, added.n_unchanged, added.n_errors) == (
        6,
        152,
        2,
    )  # empty, and the bomb: known, unreadable now
    done = predict(con, tiny_model, "noisy")
    assert (done.n_images, done.n_ok, done.n_errors) == (160, 157, 3)
    rows = con.sql("select parse_filename(uri), stage from errors where run = 'noisy' order by uri").fetchall()
    assert rows == [("017.jpg", "decode"), ("037.jpg", "decode"), ("077.jpg", "decode")]
    same = con.sql(
        "select count(*) filter (where a.probs = b.probs and a.activation = b.activation), count(*) "
        "from quiet a join noisy b using (image_id) where parse_filename(a.uri)[2:3] not in ('17', '37', '57', '77', '97') "
        "and b.sha256 in (select sha256 from outputs.quiet)"
    ).fetchall()
    assert same[0][0] == same[0][1] >= 150


def test_another_dtype_says_how_far_it_is_from_fp32(pets: duckdb.DuckDBPyConnection, tiny_model: Model) -> None:
    predict(pets, tiny_model, "whole")
    predict(pets, tiny_model, "half", dtype="bf16")
    assert pets.sql("select dtype_agreement from runs where run = 'whole'").fetchall() == [(None,)]
    n, equal, furthest = pets.sql(
        "select (dtype_agreement ->> 'n')::int, (dtype_agreement ->> 'top1_equal')::double, (dtype_agreement ->> 'max_abs_dp')::double "
        "from runs where run = 'half'"
    ).fetchall()[0]
    rows = pets.sql("select a.pred = b.pred, a.probs, b.probs from whole a join half b using (image_id)").fetchall()
    assert n == 18
    assert equal == pytest.approx(np.mean([row[0] for row in rows]))
    assert furthest == pytest.approx(max(abs(p - q) for _, a, b in rows for p, q in zip(a, b, strict=True)), abs=1e-6)
    assert 0 < furthest < 0.1
    with pytest.raises(SchemaError, match="run 'half' exists and differs: dtype bf16 → fp32"):
        predict(pets, tiny_model, "half")
