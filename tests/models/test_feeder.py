"""The feeder: every call gets its own answers in order, batches are full, and what fails ends all that waits."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms._presets import ImageClassification

import sqlanalysis
from sqlanalysis.core.arrow import IMAGE_TYPE
from sqlanalysis.errors import ArgumentError, InferenceError
from sqlanalysis.models import device as devices
from sqlanalysis.models.decoders import Decoders, DecodingThreads, Result, Row
from sqlanalysis.models.engine import Engine
from sqlanalysis.models.feeder import Batch, Feeder, Lane

SIZE = 8


class Shuffled:
    """A source that answers in any order; the pixel of an image is the number in its path, and multiples of 7 fail."""

    def __init__(self, n_batches: int) -> None:
        self.slots = np.full((n_batches * SIZE, 1), -1.0)
        self._todo: list[tuple[int, int, Row]] = []
        self._lock, self._random = threading.Lock(), random.Random(0)

    def put(self, tickets: Sequence[int], slots: Sequence[int], rows: Sequence[Row]) -> None:
        with self._lock:
            self._todo += zip(tickets, slots, rows, strict=True)

    def get(self, timeout: float) -> list[Result]:
        time.sleep(0.001)
        with self._lock:
            self._random.shuffle(self._todo)
            n = self._random.randint(0, len(self._todo))
            chosen, self._todo = self._todo[:n], self._todo[n:]
        results = []
        for ticket, slot, (_, path) in chosen:
            number = int(path or "")
            self.slots[slot] = number
            error = {"stage": "decode", "error": "ImageError", "message": "bad"} if number % 7 == 0 else None
            results.append(Result(ticket, slot, str(number), error, [], (0.0, 0.0, 0.0)))
        return results

    def close(self) -> None:
        pass


def lane(sizes: list[int], depth: int) -> Lane:
    """Doubles the pixel; -1 for an error."""

    def start(batch: Batch) -> Callable[[], pa.Array]:
        sizes.append(batch.n)
        values = [-1.0 if place in batch.errors else 2 * float(batch.pixels[place, 0]) for place in range(batch.n)]
        assert [sha256 is not None for sha256 in batch.sha256] == [True] * batch.n
        return lambda: pa.array(values)

    return Lane(start, depth)


def rows(numbers: Sequence[int]) -> list[Row]:
    return [(None, str(number)) for number in numbers]


@pytest.mark.parametrize(("n_lanes", "depth"), [(1, 1), (1, 2), (3, 2)])
def test_every_call_gets_its_own_answers_in_order(n_lanes: int, depth: int) -> None:
    sizes: list[int] = []
    lanes = [lane(sizes, depth) for _ in range(n_lanes)]
    decoded: list[int] = []
    feeder = Feeder(Shuffled(3 * n_lanes), SIZE, lanes, lambda: False, lambda results: decoded.append(len(results)))
    chance = random.Random(1)
    calls = [[chance.randrange(10_000) for _ in range(chance.choice([0, 1, 3, 8, 30, 100]))] for _ in range(60)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda numbers: feeder.ask(rows(numbers)), calls))
    feeder.close()
    feeder.close()
    for numbers, pieces in zip(calls, answers, strict=True):
        expected = [-1.0 if number % 7 == 0 else 2.0 * number for number in numbers]
        assert [value for piece in pieces for value in piece.to_pylist()] == expected
    total = sum(map(len, calls))
    assert sum(decoded) == sum(sizes) == total
    # Batches are filled across calls: without that, most calls would leave one that is not full.
    assert len(sizes) <= 1.3 * total / SIZE


def test_one_image_does_not_wait_for_a_full_batch() -> None:
    sizes: list[int] = []
    feeder = Feeder(Shuffled(2), SIZE, [lane(sizes, 2)], lambda: False, lambda _results: None)
    assert [piece.to_pylist() for piece in feeder.ask(rows([3]))] == [[6.0]]
    assert feeder.ask([]) == []
    feeder.close()
    assert sizes == [1]


def test_what_a_lane_raises_ends_all_calls() -> None:
    def start(_batch: Batch) -> Callable[[], pa.Array]:
        raise InferenceError("the device is gone")

    feeder = Feeder(Shuffled(2), SIZE, [Lane(start)], lambda: False, lambda _results: None)
    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(feeder.ask, rows(range(1, 40))) for _ in range(3)]:
            with pytest.raises(InferenceError, match="the device is gone"):
                future.result()
    with pytest.raises(InferenceError, match="the device is gone"):
        feeder.ask(rows([1]))
    feeder.close()


def test_a_call_can_be_stopped() -> None:
    stop = threading.Event()
    waits = threading.Event()

    def start(_batch: Batch) -> Callable[[], pa.Array]:
        waits.set()
        return lambda: pa.array([1.0] * stop.wait(60))

    feeder = Feeder(Shuffled(2), SIZE, [Lane(start)], stop.is_set, lambda _results: None)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(feeder.ask, rows([1]))
        assert waits.wait(60)
        stop.set()
        assert asked.exception(60) is None or "interrupted" in str(asked.exception())
        for _ in range(2):  # also what is asked later
            with pytest.raises(InferenceError, match="interrupted"):
                feeder.ask(rows([1] * 1000))
    feeder.close()


def test_who_waits_when_it_is_closed_is_told() -> None:
    class Never(Shuffled):
        def get(self, timeout: float) -> list[Result]:
            time.sleep(timeout)
            return []

    feeder = Feeder(Never(2), SIZE, [lane([], 1)], lambda: False, lambda _results: None)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(feeder.ask, rows([1]))
        time.sleep(0.1)
        feeder.close()
        with pytest.raises(InferenceError, match="interrupted"):
            asked.result(60)


# The engine with its plan for GPUs, on the CPU


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(24, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 20 * self.head(self.body(images))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    chance = np.random.default_rng(3)
    paths = [folder / f"{number:03}.jpg" for number in range(90)]
    for number, path in enumerate(paths):
        Image.fromarray(chance.integers(0, 256, (40 + number, 130 - number, 3), dtype=np.uint8)).save(path)
    paths[11].write_bytes(paths[12].read_bytes()[:300])
    paths[50].unlink()
    return paths


@pytest.fixture
def model() -> sqlanalysis.Model:
    transform = ImageClassification(crop_size=32, resize_size=36)
    return sqlanalysis.load_model(Net(), transform=transform, classes=4, layer="body", name="net")


def column(paths: Sequence[Path | None]) -> pa.ChunkedArray:
    cells = [None if path is None else {"bytes": None, "path": str(path)} for path in paths]
    return pa.chunked_array([pa.array(cells, IMAGE_TYPE)])


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def make(model: sqlanalysis.Model, n_devices: int = 1, **options: object) -> Engine:
        with monkeypatch.context() as patch:
            patch.setattr(devices, "find", lambda _name: [torch.device("cpu")] * n_devices)
            engine = Engine(model, **options)  # type: ignore[arg-type]
        engine._is_staged = True
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


@pytest.mark.parametrize("n_devices", [1, 2])
def test_the_plan_for_gpus_gives_the_answers_of_the_plan_for_cpus(
    model: sqlanalysis.Model, photos: list[Path], staged: Callable[..., Engine], n_devices: int
) -> None:
    plain = Engine(model, batch_size=16, device="cpu")
    expected = plain(column(photos)).to_pylist()
    plain.close()
    engine = staged(model, n_devices, batch_size=16)
    engine.probe()
    with ThreadPoolExecutor(4) as pool:
        parts = pool.map(lambda start: engine(column(photos[start : start + 9])).to_pylist(), range(0, 90, 9))
    actual = [answer for part in parts for answer in part]
    assert isinstance(engine._feeder._source, Decoders)  # type: ignore[union-attr]
    assert re.fullmatch(r"\d+ processes", engine.decoding)
    assert engine._feeder._failure is None  # type: ignore[union-attr]
    for path, one, other in zip(photos, expected, actual, strict=True):
        assert (one["sha256"], one["error"]) == (other["sha256"], other["error"]), path
        if one["error"] is None:
            assert one["pred"] == other["pred"]
            assert np.allclose(one["probs"], other["probs"], atol=1e-6)
            assert np.allclose(one["activation"], other["activation"], atol=1e-5)
    assert [answer["error"]["stage"] for answer in actual if answer["error"]] == ["decode", "read"]
    assert engine.seconds["decode"] > 0
    assert engine.seconds["forward"] > 0


def test_it_says_what_another_dtype_would_bring(model: sqlanalysis.Model, staged: Callable[..., Engine]) -> None:
    (said,) = staged(model, batch_size=4).note_speed()
    assert re.fullmatch(r"the device alone: [\d,]+ img/s in fp32, [\d,]+ in bf16 \(dtype=\"bf16\".*", said)
    assert staged(model, batch_size=4, dtype="bf16").note_speed() == []
    plain = Engine(model, device="cpu")
    assert plain.note_speed() == []
    plain.close()


@pytest.mark.parametrize("name", ["cpu:1", "cuda:", "cuda:0,", "gpu", "cuda:a", "cuda:0;1", "", None])
def test_names_of_devices(name: str) -> None:
    assert devices.find("cpu") == devices.find("cpu:0") == [torch.device("cpu")]
    with pytest.raises(ArgumentError, match="no device .*; give auto, cpu, cuda for all GPUs"):
        devices.find(name)


def test_some_of_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [each.index for each in devices.find("auto")] == [each.index for each in devices.find("cuda")] == [0, 1, 2]
    assert [each.index for each in devices.find("cuda:2,0,2")] == [2, 0]
    with pytest.raises(InferenceError, match="there is no cuda:3; torch finds 3 GPUs, cuda:0 to cuda:2"):
        devices.find("cuda:1,3")


def test_a_transform_of_ones_own_is_decoded_in_threads(photos: list[Path], staged: Callable[..., Engine]) -> None:
    preset = ImageClassification(crop_size=32, resize_size=36)
    own = sqlanalysis.load_model(Net(), transform=lambda picture: preset(picture), classes=4, layer="body", name="net")
    plain, engine = Engine(own, batch_size=16, device="cpu"), staged(own, batch_size=16)
    expected, actual = (each(column([*photos[:20], None])).to_pylist() for each in (plain, engine))
    plain.close()
    assert isinstance(engine._feeder._source, DecodingThreads)  # type: ignore[union-attr]
    assert re.fullmatch(r"\d+ threads: the transform gives floats or is code of its own.*", engine.decoding)
    assert actual[-1] is expected[-1] is None
    assert [a["pred"] for a in actual[:-1]] == [a["pred"] for a in expected[:-1]]


def test_an_image_that_fails_alone_fails_alone(tmp_path: Path, staged: Callable[..., Engine]) -> None:
    class NaN(Net):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            bright = images.mean((1, 2, 3)) > 1.5
            return super().forward(images).masked_fill(bright[:, None], torch.nan)

    chance = np.random.default_rng(5)
    paths = [tmp_path / f"{number}.png" for number in range(24)]
    for number, path in enumerate(paths):
        low = 200 if number in (4, 17) else 0
        Image.fromarray(chance.integers(low, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    model = sqlanalysis.load_model(NaN(), transform=ImageClassification(crop_size=32), classes=4, name="nan")
    answers = staged(model, batch_size=8)(column(paths)).to_pylist()
    assert [number for number, answer in enumerate(answers) if answer["error"]] == [4, 17]
    assert answers[4]["error"]["message"] == "the output is NaN or infinite"
    assert answers[4]["probs"] is None


def test_a_lost_device_ends_the_run_and_is_no_row(
    model: sqlanalysis.Model, photos: list[Path], staged: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = staged(model, batch_size=8)
    engine(column(photos[:9]))

    def broken(*_given: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(engine._passes[0], "_forward", broken)
    monkeypatch.setattr(devices, "find_failure", lambda _device: "nor does it compute 1 + 1")
    with pytest.raises(InferenceError, match="cpu failed and cannot go on in this process: CUDA error: an illegal"):
        engine(column(photos))
    assert engine.refusal is not None


def test_the_memory_of_decoders_is_locked_for_cuda_and_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cuda:
        def __init__(self) -> None:
            self.locked: list[tuple[int, int]] = []

        def cudaHostRegister(self, place: int, n: int, _flags: int) -> int:  # noqa: N802 - CUDA's own name
            self.locked.append((place, n))
            return 0 if n < 1000 else 2

        def cudaHostUnregister(self, place: int) -> int:  # noqa: N802
            self.locked = [item for item in self.locked if item[0] != place]
            return 0

    cuda = Cuda()
    monkeypatch.setattr(torch.cuda, "cudart", lambda: cuda)
    small, large = np.zeros((3, 5), np.uint8), np.zeros(2000, np.uint8)
    undo, nothing = devices.pin(small), devices.pin(large)
    assert cuda.locked == [(small.ctypes.data, 15), (large.ctypes.data, 2000)]
    undo()
    nothing()
    assert cuda.locked == [(large.ctypes.data, 2000)]  # what was refused is not given back
