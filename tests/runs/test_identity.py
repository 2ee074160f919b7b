"""A run is resumed by the same work only: models and functions by content, what is unknown by the caller's word."""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import sqlanalysis
from sqlanalysis import InferenceError, SchemaError, defer, load_model, map_batches, predict, register_model
from sqlanalysis.models.device import count_cores
from sqlanalysis.models.engine import Engine

from ..support.runs import to_64

SCALE = 2.0
CLASSES = ["cat", "dog", "owl"]


@pytest.fixture
def pets(con: duckdb.DuckDBPyConnection, photos: Path) -> duckdb.DuckDBPyConnection:
    sqlanalysis.add_images(con, photos, dataset="pets")
    sqlanalysis.defer(con, "input", to_64)
    return con


class Head(nn.Module):
    """A network whose weights are beside the state dict: in an array, a tensor or a closure."""

    def __init__(self, where: str, weights: np.ndarray) -> None:
        super().__init__()
        self.where = where
        if where == "array":
            self.weights = weights
        if where == "tensor":
            self.weights = torch.from_numpy(weights.copy())
        if where == "closure":
            self.run = lambda x: x @ torch.from_numpy(weights)
        if where == "session":
            self.session = Session(weights)

    def forward(self, images: Tensor) -> Tensor:
        x = images.mean((2, 3))
        if self.where == "closure":
            return self.run(x)
        if self.where == "session":
            return self.session.run(x)
        return x @ torch.as_tensor(self.weights)


class Session:
    """What a compiled library gives: neither copied nor pickled."""

    def __init__(self, weights: np.ndarray) -> None:
        self._run = compile_it(weights)
        self._lock = threading.Lock()

    def __reduce_ex__(self, protocol: int) -> str:
        raise TypeError("cannot pickle 'Session' object")

    def run(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._run(x.numpy()))


def compile_it(weights: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: (x @ weights).astype(np.float32)


def make(where: str, seed: int) -> sqlanalysis.Model:
    weights = np.random.default_rng(seed).normal(size=(3, 3)).astype(np.float32) * 9
    return load_model(Head(where, weights), transform=to_64, classes=CLASSES, name="head")


@pytest.mark.parametrize("where", ["array", "tensor", "closure", "session"])
def test_weights_outside_the_state_dict_are_told_apart(pets: duckdb.DuckDBPyConnection, where: str) -> None:
    assert predict(pets, make(where, 0)).n_computed == 18
    assert predict(pets, make(where, 0)).n_computed == 0  # the same numbers in another object
    message = r"run 'head' exists and differs: another model with the same weights.*predict\(con, model, 'head', overwrite=True\)"
    with pytest.raises(SchemaError, match=message):
        predict(pets, make(where, 1))
    before = pets.sql("select pred from head order by image_id").fetchall()
    assert predict(pets, make(where, 1), overwrite=True).n_computed == 18
    assert pets.sql("select pred from head order by image_id").fetchall() != before


def test_what_was_seen_is_recorded(pets: duckdb.DuckDBPyConnection) -> None:
    predict(pets, make("array", 0), version="spring")
    probe, workers, version = pets.sql("select probe, workers, version from runs").fetchall()[0]
    assert (workers, version) == (count_cores(), "spring")
    seen = json.loads(probe)
    assert (seen["dtype"], seen["batch"], seen["random"]) == ("float32", 2, False)
    assert np.shape(seen["logits"]) == (2, 3)
    with pytest.raises(SchemaError, match="version spring → None"):
        predict(pets, make("array", 0))


def test_one_worker_is_recorded_and_said(pets: duckdb.DuckDBPyConnection, caplog: pytest.LogCaptureFixture) -> None:
    predict(pets, make("session", 0))
    assert pets.sql("select workers from runs").fetchall() == [(1,)]
    assert "Head cannot be copied (cannot pickle 'Session' object), so one worker runs it" in caplog.text


def test_long_vectors_are_recorded_short() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 70, 9), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(70, 40))
    model = load_model(net, transform=to_64, layer="0", name="long")
    engine = Engine(model, device="cpu")
    seen = json.loads(engine.probe().record)
    engine.close()
    assert (np.shape(seen["logits"]), np.shape(seen["activations"])) == ((2, 16), (2, 16))


class Random(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(nn.functional.dropout(images.mean((2, 3)) * 9))


def test_random_answers_need_the_caller_s_word(pets: duckdb.DuckDBPyConnection) -> None:
    model = load_model(Random(), transform=to_64, classes=CLASSES)
    for call in (predict, register_model):
        with pytest.raises(InferenceError, match=r"two different answers.*allow_random=True"):
            call(pets, model)
    with pytest.raises(InferenceError, match="two different answers"):
        predict(pets, model, dry_run=True)
    assert pets.sql("from runs").fetchall() == []
    assert predict(pets, model, allow_random=True).n_ok == 18
    assert json.loads(pets.sql("select probe from runs").fetchall()[0][0])["random"] is True
    assert predict(pets, model, allow_random=True).n_computed == 0


def test_a_model_that_was_trained_on_is_loaded_again(pets: duckdb.DuckDBPyConnection) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 3))
    model = load_model(net, transform=to_64, classes=CLASSES, name="net")
    predict(pets, model, "first")
    net(torch.rand(2, 3, 64, 64)).sum().backward()
    torch.optim.SGD(net.parameters(), lr=1).step()
    with pytest.raises(
        InferenceError, match=r"the weights of net changed since load_model.*model = load_model\(module, …\)"
    ):
        predict(pets, model, "second")
    predict(pets, load_model(net, transform=to_64, classes=CLASSES, name="net"), "second")
    assert pets.sql("select count(distinct weights_sha256) from runs").fetchall() == [(2,)]


# Functions


def fitted(shift: int) -> object:
    from sklearn.tree import DecisionTreeClassifier

    x = np.random.default_rng(0).random((90, 3))
    return DecisionTreeClassifier(max_depth=3, random_state=0).fit(x, ((x[:, 0] * 3).astype(int) + shift) % 3)


def over(classifier: object) -> Callable[[Tensor], dict[str, np.ndarray]]:
    def answer(batch: Tensor) -> dict[str, np.ndarray]:
        return {"pred": classifier.predict(batch.mean((2, 3)).numpy())}  # type: ignore[attr-defined]

    return answer


class Callables:
    """A classifier in an attribute; called itself, or by a method."""

    def __init__(self, classifier: object) -> None:
        self.classifier = classifier

    def __call__(self, batch: Tensor) -> dict[str, np.ndarray]:
        return over(self.classifier)(batch)

    def answer(self, batch: Tensor) -> dict[str, np.ndarray]:
        return over(self.classifier)(batch)


@pytest.mark.parametrize("wrap", [over, Callables, lambda c: Callables(c).answer])
def test_another_fit_is_another_function(pets: duckdb.DuckDBPyConnection, wrap: Callable[[object], Callable]) -> None:
    assert map_batches(pets, wrap(fitted(0)), "tree").n_computed == 18
    assert map_batches(pets, wrap(fitted(0)), "tree").n_computed == 0
    message = (
        r"run 'tree' exists and differs: transform \(function\.sha256.*map_batches\(con, .*'tree', .*overwrite=True\)"
    )
    with pytest.raises(SchemaError, match=message):
        map_batches(pets, wrap(fitted(1)), "tree")
    map_batches(pets, wrap(fitted(1)), "tree", overwrite=True)
    uris, preds = zip(*pets.sql("select uri, pred from tree order by image_id").fetchall(), strict=True)
    features = np.stack([to_64(Image.open(uri)).mean((1, 2)).numpy() for uri in uris])
    assert list(preds) == fitted(1).predict(features).tolist() != fitted(0).predict(features).tolist()


def ones() -> Iterator[int]:
    while True:
        yield 1


def streaming() -> Callable[[Tensor], np.ndarray]:
    stream = ones()
    return lambda batch: np.full(len(batch), next(stream))


def test_an_unknown_function_needs_a_version(pets: duckdb.DuckDBPyConnection) -> None:
    one = streaming()
    assert map_batches(pets, one, "s", where="image_id <= 6").n_computed == 6
    for function in (one, streaming()):
        with pytest.raises(SchemaError, match=r"run .s. exists.*overwrite=True"):
            map_batches(pets, function, "s")
    assert map_batches(pets, streaming(), "s", overwrite=True, version="v1").n_computed == 18
    assert map_batches(pets, streaming(), "s", version="v1").n_computed == 0
    with pytest.raises(SchemaError, match="version v1 → v2"):
        map_batches(pets, streaming(), "s", version="v2")


def factor() -> float:
    return float(os.environ.get("FACTOR_OF_A_TEST", "1"))


def test_a_function_that_reads_the_environment_needs_a_version(pets: duckdb.DuckDBPyConnection) -> None:
    def make() -> Callable[[Tensor], Tensor]:
        return lambda batch: batch.mean((1, 2, 3)) * factor()

    map_batches(pets, make(), "e", where="image_id <= 6")
    with pytest.raises(SchemaError, match=r"run .e. exists.*overwrite=True"):
        map_batches(pets, make(), "e")
    map_batches(pets, make(), "e", overwrite=True, version="factor 1")
    assert map_batches(pets, make(), "e", version="factor 1").n_computed == 0


def test_the_same_object_resumes_an_unfinished_run(pets: duckdb.DuckDBPyConnection) -> None:
    stop = [True]

    def streaming_until(stream: Iterator[int]) -> Callable[[Tensor, np.ndarray], np.ndarray]:
        def answer(batch: Tensor, ids: np.ndarray) -> np.ndarray:
            if stop[0] and ids.max() > 9:
                raise ValueError("not yet")
            return np.full(len(batch), next(stream))

        return answer

    one = streaming_until(ones())
    types = {"output": "BIGINT"}
    with pytest.raises(InferenceError, match="not yet"):
        map_batches(pets, one, "s", ["input", "image_id"], types=types, strict=True)
    stop[0] = False
    with pytest.raises(SchemaError, match="run 's' exists and differs"):
        map_batches(pets, streaming_until(ones()), "s", ["input", "image_id"], types=types)
    done = map_batches(pets, one, "s", ["input", "image_id"], types=types)
    assert (done.n_ok, 0 < done.n_computed < 18) == (18, True)


def test_a_function_that_counts_its_calls_resumes(pets: duckdb.DuckDBPyConnection) -> None:
    calls: list[int] = []

    def count(batch: Tensor) -> np.ndarray:
        calls.append(len(batch))
        return np.ones(len(batch))

    assert map_batches(pets, count, "c", where="image_id <= 6").n_computed == 6
    assert map_batches(pets, count, "c").n_computed == 12


@pytest.mark.parametrize("change", ["global", "transform"])
def test_other_globals_and_transforms_are_other_work(
    pets: duckdb.DuckDBPyConnection, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scaled(batch: Tensor) -> Tensor:
        return batch.mean((1, 2, 3)) * SCALE

    map_batches(pets, scaled, "m")
    if change == "global":
        monkeypatch.setattr(f"{__name__}.SCALE", 3.0)
    else:
        sqlanalysis.defer(pets, "input", lambda image: to_64(image) * 0.5)
    with pytest.raises(SchemaError, match=r"run 'm' exists and differs: transform \((function|deferred\.input)"):
        map_batches(pets, scaled, "m")


def test_a_module_in_another_mode_is_another_function(pets: duckdb.DuckDBPyConnection) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 64 * 64, 3))
    inputs = defer(pets, "pixels", to_64)
    torch.manual_seed(0)
    map_batches(pets, lambda batch: {"logits": net(batch).detach()}, "r", inputs)
    net.eval()
    with pytest.raises(SchemaError, match="overwrite"):
        map_batches(pets, lambda batch: {"logits": net(batch).detach()}, "r", inputs)


def test_what_a_cached_function_computes_counts(pets: duckdb.DuckDBPyConnection) -> None:
    for factor in (1, 2):
        cached = functools.lru_cache(lambda value, factor=factor: value * factor)

        def function(ids: np.ndarray, cached: Any = cached) -> np.ndarray:
            return np.array([cached(int(one)) for one in ids])

        if factor == 1:
            map_batches(pets, function, "r", "image_id")
        else:
            with pytest.raises(SchemaError, match="overwrite"):
                map_batches(pets, function, "r", "image_id")
