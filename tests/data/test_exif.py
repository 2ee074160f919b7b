"""Camera and day of photos, read from EXIF as they come in: against Pillow's own reader, and when EXIF is hostile."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from sqlanalysis import add_images
from sqlanalysis.core.decode import inspect
from sqlanalysis.core.exif import camera_and_date

MAKE, MODEL, DATE_TIME, EXIF, ORIGINAL, GPS, ARTIST, SERIAL = 271, 272, 306, 34665, 36867, 34853, 315, 0xA431


def photo(
    make: object = "Canon",
    model: object = "Canon EOS R6",
    original: object = "2021:05:17 23:59:01",
    changed: object = "2022:01:02 03:04:05",
    form: str = "JPEG",
    color: object = 90,
) -> bytes:
    """An encoded picture with EXIF, a place, an artist and a serial number among it; None leaves an entry out."""
    tags = Image.Exif()
    tags[ARTIST] = "SECRET"
    for tag, value in ((MAKE, make), (MODEL, model), (DATE_TIME, changed)):
        if value is not None:
            tags[tag] = value
    tags.get_ifd(EXIF).update({SERIAL: "SECRET"} | ({} if original is None else {ORIGINAL: original}))
    tags.get_ifd(GPS).update({1: "N", 2: (47.0, 22.0, 33.0), 29: "1999:01:01"})
    buffer = io.BytesIO()
    Image.new("RGB", (12, 9), (color, 60, 30)).save(buffer, form, exif=tags)
    return buffer.getvalue()


def meta_of(con: duckdb.DuckDBPyConnection) -> list[dict[str, object] | None]:
    return [text and json.loads(text) for (text,) in con.sql("select meta from images order by uri").fetchall()]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_format_that_has_exif(form: str) -> None:
    data = photo(form=form)
    exif = Image.open(io.BytesIO(data)).getexif()
    date = exif.get_ifd(EXIF).get(ORIGINAL, exif[DATE_TIME])  # Pillow writes no second directory into TIFF
    facts = inspect(data)
    assert (facts.format, facts.camera, facts.taken) == (form, exif[MODEL], date[:10].replace(":", "-"))
    assert facts.taken == ("2022-01-02" if form == "TIFF" else "2021-05-17")


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders(order: str) -> None:
    """Written by hand: text of up to four bytes stands in the entry itself."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "L", 8)
    entries = struct.pack(order + "HHHL", 2, MAKE, 2, 3) + b"LG\0\0"
    entries += struct.pack(order + "HHLL", MODEL, 2, 5, 8 + 2 + 24 + 4) + struct.pack(order + "L", 0)
    assert camera_and_date(head + entries + b"G810\0") == ("LG G810", None)


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS R6", "Canon EOS R6"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("NIKON CORPORATION", "COOLPIX P900", "NIKON COOLPIX P900"),
        ("EASTMAN KODAK COMPANY", "KODAK DC240 ZOOM", "KODAK DC240 ZOOM"),
        ("SONY", "ILCE-7M3", "SONY ILCE-7M3"),
        ("LEICA CAMERA AG", "leica M10", "leica M10"),
        ("Panasonic Co., Ltd.", " DMC-FZ50  ", "Panasonic DMC-FZ50"),
        (None, "X100", "X100"),
        ("Apple", None, "Apple"),
        (None, None, None),
        ("Фотон", "Зенит 3", "Фотон Зенит 3"),
    ],
)
def test_the_maker_is_not_repeated(make: str | None, model: str | None, camera: str | None) -> None:
    encoded = [text if text is None else text.encode() for text in (make, model)]
    assert inspect(photo(*encoded)).camera == camera


@pytest.mark.parametrize(
    ("original", "changed", "taken"),
    [
        ("2021:05:17 23:59:01", "2022:01:02 03:04:05", "2021-05-17"),
        (None, "2022:01:02 03:04:05", "2022-01-02"),
        ("0000:00:00 00:00:00", "2022:01:02 03:04:05", "2022-01-02"),
        ("2021:02:30 10:00:00", None, None),
        ("2021-05-17T10:00", None, "2021-05-17"),
        ("yesterday", "    :  :     :  :  ", None),
        ("20210:5:17", "12:34", None),
        ("٢٠٢١:٠٥:١٧".encode(), None, None),
    ],
)
def test_only_days_that_exist(original: object, changed: object, taken: str | None) -> None:
    assert inspect(photo(original=original, changed=changed)).taken == taken


@pytest.mark.parametrize(
    "text",
    [b"\xff\xfe\x80", b"a\x1b[31mred", "evil\u202egpj".encode(), b"x" * 500, b"x" * 81, b"", b"   "],
)
def test_odd_text_gives_no_value(text: object) -> None:
    facts = inspect(photo(text, text, text, text))
    assert (facts.camera, facts.taken) == (None, None)


def test_damaged_exif_never_fails_an_image(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    random.seed(3)
    whole = Image.open(io.BytesIO(photo())).info["exif"]
    for number in range(3000):
        broken = bytearray(whole[: random.randrange(len(whole))] if number % 3 == 0 else whole)
        for _ in range(random.randrange(12) if broken else 0):
            broken[random.randrange(len(broken))] = random.randrange(256)
        for text in camera_and_date(bytes(broken)):
            assert text is None or (text.isprintable() and len(text) <= 161)
    loop = b"II*\0\x08\0\0\0" + struct.pack("<HHHLL", 1, EXIF, 4, 1, 8) + bytes(4)  # a directory inside itself
    far = b"II*\0" + struct.pack("<L", 2**32 - 1)
    for number, exif in enumerate((loop, far, b"", b"Exif\0\0", b"II*\0\x08\0\0\0\xff\xff", b"Exif\0\0MM\0*")):
        Image.new("RGB", (5, 5)).save(tmp_path / f"{number}.png", exif=exif)
    done = add_images(con, tmp_path)
    assert (done.n_added, done.n_errors) == (6, 0)
    assert meta_of(con) == [None] * 6


def test_a_directory_as_large_as_a_file_can_claim_is_quick() -> None:
    """65,535 entries, each with as many bytes as there are."""
    n = 65_535
    entries = b"".join(struct.pack("<HHLL", tag, 2, 700_000, 8) for tag in range(n))
    exif = b"II*\0" + struct.pack("<LH", 8, n) + entries + bytes(4)
    assert camera_and_date(exif) == (None, None)


def test_nothing_else_is_kept(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo())
    Image.new("RGB", (5, 5)).save(tmp_path / "b.jpg")
    add_images(con, tmp_path, dataset="d")
    assert meta_of(con) == [{"camera": "Canon EOS R6", "taken": "2021-05-17"}, None]
    assert add_images(con, tmp_path, dataset="d").n_unchanged == 2


@pytest.mark.parametrize("source", ["zip", "parquet", "manifest", "list", "stored"])
def test_every_source(con: duckdb.DuckDBPyConnection, tmp_path: Path, source: str) -> None:
    data, given = photo("SONY", "ILCE-7"), tmp_path / f"photos.{source}"
    if source == "zip":
        with zipfile.ZipFile(given, "w") as archive:
            archive.writestr("cat/a.jpg", data)
    elif source == "parquet":
        pq.write_table(pa.table({"image": [{"bytes": data, "path": "a.jpg"}]}), given)
    else:
        (tmp_path / "a.jpg").write_bytes(data)
    sources = {
        "manifest": pa.table({"path": [str(tmp_path / "a.jpg")]}),
        "list": [Image.open(tmp_path / "a.jpg")] if source == "list" else [],
        "stored": tmp_path,
    }
    add_images(con, sources.get(source, given), dataset="d", store_bytes=source == "stored")
    (meta,) = meta_of(con)
    assert meta is not None
    assert {key: meta[key] for key in ("camera", "taken")} == {"camera": "SONY ILCE-7", "taken": "2021-05-17"}


def test_columns_of_the_source_win(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(photo(color=ord(name)))
    paths = [str(tmp_path / f"{name}.jpg") for name in "abc"]
    table = pa.table({"path": paths, "Camera": ["trap 1", "", None], "site": ["x", "y", "z"]})
    assert add_images(con, table, dataset="d").n_added == 3
    day = {"taken": "2021-05-17"}
    assert [(meta["site"], meta.get("camera"), meta["taken"]) for meta in meta_of(con) if meta] == [
        ("x", None, day["taken"]),
        ("y", None, day["taken"]),
        ("z", None, day["taken"]),
    ]
    assert meta_of(con)[0] == {"Camera": "trap 1", "site": "x", **day}
    assert add_images(con, table, dataset="d").n_unchanged == 3
    # A source without columns erases none, and of other bytes EXIF is that of now.
    assert add_images(con, tmp_path, dataset="d").n_unchanged == 3
    (tmp_path / "a.jpg").write_bytes(photo(original="2020:02:29 00:00:00"))
    assert add_images(con, tmp_path, dataset="d").n_changed == 1
    assert meta_of(con)[0] == {"Camera": "trap 1", "site": "x", "camera": "Canon EOS R6", "taken": "2020-02-29"}
    Image.new("RGB", (5, 5)).save(tmp_path / "a.jpg")
    before = meta_of(con)
    assert add_images(con, tmp_path, dataset="d").n_changed == 1
    assert meta_of(con) == before


def test_a_file_from_before_gets_it_once_its_images_are_added_again(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(photo())
    add_images(con, tmp_path, dataset="d")
    con.execute("update images set meta = null")
    assert add_images(con, tmp_path, dataset="d").n_changed == 1
    assert meta_of(con) == [{"camera": "Canon EOS R6", "taken": "2021-05-17"}]


def test_16_bit_pictures_keep_it_when_they_are_scaled(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[MODEL] = "X-ray 1"
    picture = Image.new("L", (8, 8))
    ImageDraw.Draw(picture).rectangle((2, 2, 5, 5), 200)
    picture.convert("I;16").save(tmp_path / "a.tif", exif=tags)
    add_images(con, tmp_path, dataset="d", scale_16bit=True)
    assert meta_of(con) == [{"camera": "X-ray 1"}]
