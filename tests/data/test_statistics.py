"""measure_images: statistics against Pillow, numpy and scipy; equal bytes, changed bytes, errors, a stop."""

from __future__ import annotations

import io
import os
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageStat
from scipy import ndimage

from sqlanalysis import add_images, add_predictions, measure_images
from sqlanalysis.cli import app
from sqlanalysis.core import decode
from sqlanalysis.data import statistics
from sqlanalysis.errors import NotFoundError

NAMES = ("brightness", "contrast", "sharpness", "colorfulness", "entropy")


def noise(*shape: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


PICTURES = {
    "noise": noise(40, 30, 3),
    "smooth": noise(4, 4, 3).resize((90, 70), Image.Resampling.BICUBIC),
    "gray": noise(20, 20),
    "transparent": noise(20, 25, 4),
    "black": Image.new("RGB", (9, 9)),
    "one color": Image.new("RGB", (9, 9), (200, 3, 77)),
    "three by three": noise(3, 3, 3),
    "thin": noise(1, 50, 3),
    "pixel": noise(1, 1, 3),
}


def expected(picture: Image.Image) -> list[float | None]:
    """The same numbers from the libraries."""
    picture = picture.convert("RGB")
    gray = picture.convert("L")
    luma, (red, green, blue) = np.asarray(gray, float), np.moveaxis(np.asarray(picture, float), 2, 0)
    rg, yb = red - green, (red + green) / 2 - blue
    inside = ndimage.laplace(luma)[1:-1, 1:-1]
    colorfulness = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
    stat = ImageStat.Stat(gray)
    sharpness = inside.var() if inside.size else None
    return [stat.mean[0] / 255, stat.stddev[0] / 255, sharpness, colorfulness, gray.entropy()]


def same(found: Iterable[float | None], libraries: list[float | None], accuracy: float = 1e-12) -> None:
    for each, other in zip(found, libraries, strict=True):
        assert each == (None if other is None else pytest.approx(other, rel=accuracy, abs=accuracy))


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize("strip", [decode.STRIP_PIXELS, 64])
def test_statistics_of_the_libraries(picture: Image.Image, strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "STRIP_PIXELS", strip)
    actual = decode.measure(picture.convert("RGB"))
    same(vars(actual).values(), expected(picture))
    assert tuple(vars(actual)) == NAMES


def test_meaning() -> None:
    sharp, black = PICTURES["noise"], decode.measure(PICTURES["black"])
    blurred = decode.measure(sharp.resize((15, 20)).resize((30, 40), Image.Resampling.BICUBIC))
    assert blurred.sharpness is not None
    assert decode.measure(sharp).sharpness > 5 * blurred.sharpness  # type: ignore[operator]
    assert list(vars(black).values()) == [0, 0, 0, 0, 0]
    assert decode.measure(PICTURES["gray"].convert("RGB")).colorfulness == 0
    assert decode.measure(Image.new("RGB", (5, 5), "white")).brightness == 1


def test_columns_of_images_and_runs(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    add_images(con, photos, dataset="pets")
    add_predictions(con, pd.DataFrame({"image_id": range(1, 19), "pred": 0}), "guess")
    done = measure_images(con)
    assert (done.n_images, done.n_ok, done.n_errors, done.n_computed) == (18, 18, 0, 18)
    assert done.images_per_second > 0
    rows = con.sql(f"select uri, width_px / height_px, aspect, {', '.join(NAMES)} from guess").fetchall()
    for uri, shape, aspect, *actual in rows:
        assert aspect == shape
        same(actual, expected(Image.open(uri)), 1e-6)
    assert con.sql("select count(*), count(distinct brightness) from image_statistics").fetchall() == [(18, 18)]
    assert measure_images(con).n_computed == 0
    asked = con.sql("select image_statistics(image) as found from image_files order by image_id limit 1").fetchall()
    assert asked[0][0]["error"] is None
    assert asked[0][0]["brightness"] == con.sql("select brightness from images order by image_id").fetchall()[0][0]
    nothing = con.sql("select image_statistics(null::struct(bytes blob, path varchar)) as found").fetchall()
    assert nothing == [(None,)]


def test_equal_bytes_once_and_changed_bytes_again(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for name in ("a", "b", "twin"):
        PICTURES["smooth" if name == "b" else "noise"].save(tmp_path / f"{name}.png")
    add_images(con, tmp_path, dataset="one")
    assert measure_images(con).n_computed == 2
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    added = add_images(con, tmp_path, dataset="one")
    assert (added.n_changed, con.sql("select count(*) from image_statistics").fetchall()) == (1, [(2,)])
    done = measure_images(con)
    assert (done.n_ok, done.n_computed) == (3, 0)
    assert con.sql("select count(distinct brightness) from images").fetchall() == [(1,)]
    PICTURES["gray"].save(tmp_path / "b.png")
    add_images(con, tmp_path, dataset="one")
    assert measure_images(con).n_computed == 1
    (actual,) = con.sql(f"select {', '.join(NAMES)} from images where uri like '%b.png'").fetchall()
    same(actual, expected(PICTURES["gray"]), 1e-6)
    add_images(con, tmp_path / "a.png", dataset="two")
    assert measure_images(con, "two").n_computed == 0
    assert con.sql("from check_database").fetchall() == []


def test_errors_are_rows_and_tried_again(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    PICTURES["smooth"].save(buffer, "JPEG")
    for name in ("cut", "cut_twin"):
        (tmp_path / f"{name}.jpg").write_bytes(buffer.getvalue()[:-300])
    for name in ("gone", "gone_twin", "good", "swapped"):
        PICTURES["gray" if name.startswith("gone") else "noise"].save(tmp_path / f"{name}.png", dpi=(len(name), 1))
    shutil.copy(tmp_path / "gone.png", tmp_path / "gone_twin.png")
    add_images(con, tmp_path, dataset="odd")
    (tmp_path / "gone.png").unlink()
    PICTURES["smooth"].save(tmp_path / "swapped.png")
    done = measure_images(con)
    assert (done.n_images, done.n_ok, done.n_errors) == (6, 3, 3)  # the twin answers for the one that is gone
    problems = con.sql(
        "select parse_filename(uri), stage, error, run from errors where parse_filename(uri) <> 'gone.png' order by uri"
    ).fetchall()
    cut = [(name, "decode", "ImageError", None) for name in ("cut.jpg", "cut_twin.jpg")]
    assert problems == [*cut, ("swapped.png", "read", "ChangedImage", None)]
    assert (measure_images(con).n_computed, con.sql("select count(*) from errors").fetchall()) == (3, [(4,)])
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue())
    shutil.copy(tmp_path / "cut.jpg", tmp_path / "cut_twin.jpg")
    add_images(con, tmp_path, dataset="odd")
    done = measure_images(con)
    assert (done.n_ok, done.n_errors) == (6, 0)
    assert con.sql("select parse_filename(uri) from errors").fetchall() == [("gone.png",)]


def test_a_stop_keeps_what_was_committed(
    con: duckdb.DuckDBPyConnection, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_images(con, photos, dataset="pets")
    monkeypatch.setattr(statistics, "BLOCK_IMAGES", 4)
    work = statistics._measure

    def interrupted(given: duckdb.DuckDBPyConnection, block: list[int]) -> None:
        work(given, block)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(statistics, "_measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_images(con)
    assert con.sql("select count(*) from image_statistics").fetchall() == [(4,)]
    monkeypatch.setattr(statistics, "_measure", work)
    done = measure_images(con)
    assert (done.n_ok, done.n_computed) == (18, 14)


def test_blocks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "BLOCK_BYTES", 100)
    rows = [(1, 60), (2, 60), (3, 500), (4, 10), (5, 10)]
    assert list(statistics._blocks(rows)) == [[1], [2], [3], [4, 5]]
    monkeypatch.setattr(statistics, "BLOCK_IMAGES", 1)
    assert list(statistics._blocks(rows[3:])) == [[4], [5]]
    assert list(statistics._blocks([])) == []


def test_wrong_use_and_nothing_to_do(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    assert measure_images(con).n_images == 0
    add_images(con, photos, dataset="pets")
    with pytest.raises(NotFoundError, match="no data set 'pet'; did you mean pets"):
        measure_images(con, "pet")


def test_command_line(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = str(tmp_path / "a.duckdb")
    for arguments in (["add-images", db, str(photos)], ["measure-images", db]):
        app(arguments, standalone_mode=False)
    shown = capsys.readouterr().err
    assert "18 images = 18 measured + 0 errors; 18 decoded now" in shown
