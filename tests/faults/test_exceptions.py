"""Exceptions that no library expects, raised by a user's code for one image: an error row each, neighbors unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import duckdb
import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor, nn
from torchvision.transforms import v2

import sqlanalysis

Record = Callable[[str, str, str], None]


class UnprintableError(Exception):
    """Its text raises."""

    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")

    def __repr__(self) -> NoReturn:
        raise RuntimeError("no text")


class LeavingError(Exception):
    """Its text ends the process."""

    def __str__(self) -> NoReturn:
        raise SystemExit(3)


class NoTextError(Exception):
    """Its text is no text."""

    def __str__(self) -> str:
        return 7  # type: ignore[return-value]


class PickyError(Exception):
    """It can neither be copied nor pickled nor made from its own arguments."""

    def __init__(self, first: int, *, second: int) -> None:
        self.first, self.second = first, second

    def __reduce__(self) -> NoReturn:
        raise TypeError("not to be pickled")


class Named(type):
    """The type of a class whose name raises."""

    @property
    def __name__(cls) -> NoReturn:  # type: ignore[override]
        raise ValueError("no name")


class NamelessError(Exception, metaclass=Named):
    """An exception of such a class."""


class Text(str):
    """Text whose methods raise."""

    def __getattribute__(self, name: str) -> Any:
        raise AttributeError(name)


class OddTextError(Exception):
    """Its text is of such a class."""

    def __str__(self) -> str:
        return Text("odd")


class ClosedError(Exception):
    """Nothing can be set on it."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(name)


Bare = type("\x1b[31m\n<b>" + "x" * 1000, (Exception,), {})


def recurse() -> NoReturn:
    recurse()
    raise AssertionError


def nest() -> NoReturn:
    error: BaseException = ValueError("the first")
    for _ in range(2000):
        following = ValueError("another")
        following.__cause__, error = error, following
    raise error


def fail(error: Any) -> Callable[[], NoReturn]:
    def raise_it() -> NoReturn:
        raise error

    return raise_it


# How an image fails, and the name of the error that its row has.
RAISED: list[tuple[Callable[[], NoReturn], str | None]] = [
    (fail(ValueError("lone \ud800 surrogate")), "ValueError"),
    (fail(UnicodeEncodeError("utf-8", "\udcff", 0, 1, "no")), "UnicodeEncodeError"),
    (fail(ValueError("a\0b\x1b[31m\u202e\r\n")), "ValueError"),
    (fail(ValueError("x" * 30_000_000)), "ValueError"),
    (fail(ValueError("\n" * 1_000_000)), "ValueError"),
    (fail(ValueError()), "ValueError"),
    (fail(ValueError(b"\xff", None, {})), "ValueError"),
    (fail(UnprintableError()), "UnprintableError"),
    (fail(LeavingError()), "LeavingError"),
    (fail(NoTextError()), "NoTextError"),
    (fail(OddTextError()), "OddTextError"),
    (fail(PickyError(1, second=2)), "PickyError"),
    (fail(PickyError), "TypeError"),  # raising a class makes an object of it
    (fail(NamelessError()), "NamelessError"),
    (fail(ClosedError()), None),  # a context manager that it passes sets its traceback, and fails, too
    (fail(Bare("bare")), None),
    (fail(SystemExit(0)), "SystemExit"),
    (fail(SystemExit("text")), "SystemExit"),
    (fail(KeyboardInterrupt()), "KeyboardInterrupt"),
    (fail(GeneratorExit()), "GeneratorExit"),
    (fail(asyncio.CancelledError()), "CancelledError"),
    (fail(MemoryError()), "MemoryError"),
    (fail(StopIteration()), "StopIteration"),
    (fail(StopAsyncIteration(7)), "StopAsyncIteration"),
    (fail(BaseExceptionGroup("several", [SystemExit(1), ValueError(2)])), "BaseExceptionGroup"),
    (fail(duckdb.FatalException("not of this file")), "FatalException"),
    (fail(sqlanalysis.InferenceError("interrupted")), "InferenceError"),
    (fail(RuntimeError("Query interrupted")), "RuntimeError"),
    (fail(AssertionError), "AssertionError"),
    (recurse, "RecursionError"),
    (nest, "ValueError"),
    (fail("no exception at all"), "TypeError"),
]
N_FINE = 9
SIDE = 100  # a picture that fails has this width, and its number as height


def fails(width: int, height: int) -> None:
    if width == SIDE:
        RAISED[height - 1][0]()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One picture for each way to fail, each beside others."""
    folder = tmp_path_factory.mktemp("raised")
    chance = np.random.default_rng(0)
    n = len(RAISED) + N_FINE
    for number in range(n):
        size = (SIDE, number + 1) if number < len(RAISED) else (SIDE + 1, number)
        target = folder / "images" / str(number % 2) / f"{number * 7 % n:03}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(target)
    with sqlanalysis.connect(folder / "e.duckdb") as con:
        sqlanalysis.add_images(con, folder / "images", dataset="made", show_progress=False)
    return folder / "e.duckdb"


tensor = v2.Compose([v2.Resize((8, 8)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def marked(picture: Image.Image) -> Tensor:
    """The height of a picture that is to fail stands in the first pixel, for the module."""
    answer: Tensor = tensor(picture)
    answer[:, 0, 0] = picture.height if picture.width == SIDE else 0
    return answer


def failing(picture: Image.Image) -> Tensor:
    fails(*picture.size)
    return marked(picture)


class Net(nn.Module):
    def __init__(self, raises: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.raises, self.head = raises, nn.Linear(3, 2)

    def forward(self, batch: Tensor) -> Tensor:
        for height in batch[:, 0, 0, 0].tolist() if self.raises else ():
            if height >= 1:
                fails(SIDE, int(height))
        logits: Tensor = self.head(batch.clamp(0, 1).mean((2, 3)))
        return logits


def check(con: duckdb.DuckDBPyConnection, run: str, stage: str) -> int:
    """An error row for each way to fail, and the others to the bit as in the run without; gives how many failed."""
    rows = con.sql(
        "select height_px, errors.stage, errors.error, errors.message from errors inner join images on "
        f"images.uri = errors.uri where run = '{run}' order by height_px"
    ).fetchall()
    assert [row[0] for row in rows] == list(range(1, len(RAISED) + 1))
    for (_, expected), (_, where, name, message) in zip(RAISED, rows, strict=True):
        assert where == stage
        assert name
        assert message
        assert len(name) <= 500
        assert len(message) <= 500
        assert name.isprintable()
        # of what Pillow raises, the decoder says that the picture is damaged
        assert expected is None or name == expected or (stage, name) == ("decode", "ImageError")
    both = con.sql(
        f"select count(*), count(*) filter (ours.probs = theirs.probs) from outputs.{run} as ours "
        "inner join outputs.clean as theirs using (image_id)"
    ).fetchall()
    assert both == [(N_FINE, N_FINE)]
    assert con.sql(f"select n_ok, n_errors, status from runs where run = '{run}'").fetchall() == [
        (N_FINE, len(RAISED), "finished")
    ]
    return len(rows)


def test_odd_exceptions_are_error_rows(file: Path, monkeypatch: pytest.MonkeyPatch, figure: Record) -> None:
    load = PngImagePlugin.PngImageFile.load

    def odd_load(picture: PngImagePlugin.PngImageFile) -> Any:
        fails(*picture.size)
        return load(picture)

    with sqlanalysis.connect(file) as con:

        def predict(run: str, transform: Callable[[Image.Image], Tensor] = marked, *, raises: bool = False) -> None:
            model = sqlanalysis.load_model(Net(raises), transform=transform, classes=["0", "1"])
            sqlanalysis.predict(con, model, run=run, show_progress=False)

        predict("clean")
        assert con.sql("select n_ok, n_errors from runs").fetchall() == [(N_FINE + len(RAISED), 0)]
        predict("in_forward", raises=True)
        predict("in_transform", failing)
        with monkeypatch.context() as patched:
            patched.setattr(PngImagePlugin.PngImageFile, "load", odd_load)
            predict("in_decode")
        n = sum(check(con, f"in_{stage}", stage) for stage in ("forward", "transform", "decode"))
    figure("P29 exceptions", "one image never ends a run: an error row each", f"{n} of {3 * len(RAISED)}")


def test_odd_exceptions_of_a_function_of_one_s_own(file: Path) -> None:
    """The same, where `map_batches` calls a function on deferred columns."""
    net = Net(True)
    with sqlanalysis.connect(file) as con:
        for name, function, transform in (
            ("clean", Net(False), marked), ("in_forward", net, marked), ("in_transform", Net(False), failing),
        ):  # fmt: skip
            column = sqlanalysis.defer(con, "pixels", transform, shape=(3, 8, 8))
            sqlanalysis.map_batches(
                con,
                lambda batch, function=function: {"logits": function(batch).detach()},
                name,
                column,
                version=name,
                overwrite=True,
                show_progress=False,
            )
        for stage in ("forward", "transform"):
            check(con, f"in_{stage}", stage)
