"""Bytes to pixels: the same as torchvision's own loader, and hardened."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets.folder import pil_loader

from sqlanalysis.core import decode
from sqlanalysis.errors import ImageError

from ..support.pictures import png_header

GRADIENT = np.linspace(0, 255, 40 * 30 * 3).astype(np.uint8).reshape(30, 40, 3)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def odd_pictures() -> dict[str, bytes]:
    rgb = Image.fromarray(GRADIENT)
    sixteen = Image.fromarray(GRADIENT[..., 0].astype(np.uint16) * 257)
    palette = rgb.quantize(16)
    palette.info["transparency"] = 3
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "jpeg": encoded(rgb, "JPEG"),
        "cmyk": encoded(rgb.convert("CMYK"), "JPEG"),
        "gray": encoded(rgb.convert("L"), "JPEG"),
        "rotated by exif": encoded(rgb, "JPEG", exif=exif),
        "palette with transparency": encoded(palette, "PNG", transparency=3),
        "alpha": encoded(rgb.convert("RGBA"), "PNG"),
        "16 bit": encoded(sixteen, "PNG"),
        "bilevel": encoded(rgb.convert("1"), "PNG"),
        "webp": encoded(rgb, "WEBP"),
        "animated gif": encoded(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90)]),
        "bmp": encoded(rgb, "BMP"),
        "tiff": encoded(rgb, "TIFF"),
    }


@pytest.mark.parametrize("name", odd_pictures())
def test_pixels_and_facts_are_those_of_torchvision(name: str, tmp_path: Path) -> None:
    data = odd_pictures()[name]
    (tmp_path / "wrong.txt").write_bytes(data)
    ours, reference = decode.decode(data), pil_loader(tmp_path / "wrong.txt")
    assert np.array_equal(np.asarray(ours), np.asarray(reference))
    facts = decode.inspect(data)
    assert (facts.width_px, facts.height_px) == reference.size
    assert (facts.sha256, facts.n_bytes) == (hashlib.sha256(data).hexdigest(), len(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"hello", "no image in one of the formats"),
        (png_header(65500, 65500), "more than 50000000 pixels"),
        (png_header(7100, 7100), "more than 50000000 pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "no image in one of"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "no image in one of"),
    ],
    ids=["empty", "text", "bomb", "large", "eps", "svg"],
)
def test_refused_from_the_header(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        decode.inspect(data)
    with pytest.raises(ImageError, match=message):
        decode.decode(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_truncated_is_an_error_when_decoded(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(ImageError, match=r"damaged|no image"):
        decode.decode(data[: len(data) // 2])


def test_a_flipped_bit_of_a_png_is_an_error() -> None:
    data = bytearray(encoded(Image.fromarray(GRADIENT), "PNG"))
    data[60] ^= 1
    with pytest.raises(ImageError, match="damaged PNG"):
        decode.decode(bytes(data))


def test_a_bomb_warning_is_an_error_too() -> None:
    with pytest.raises(ImageError, match="more than 50000000 pixels"):
        decode.inspect(png_header(10_000, 10_000))


def test_read(tmp_path: Path) -> None:
    file = tmp_path / "x.jpg"
    file.write_bytes(b"abc")
    assert decode.read(None, str(file)) == b"abc"
    assert decode.read(b"given", str(file)) == b"given"
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, message in [
        (tmp_path / "none.jpg", "No such file"),
        (tmp_path, r"Is a directory|no regular file"),
        (tmp_path / "fifo.jpg", "no regular file"),
        (tmp_path / "loop", "symbolic links"),
        ("https://example.org/x.jpg", "download this address first"),
        ("a\0b", "null"),
    ]:
        with pytest.raises(ImageError, match=message):
            decode.read(None, str(path))
    with pytest.raises(ImageError, match="neither"):
        decode.read(None, None)


def test_read_refuses_a_huge_file(tmp_path: Path) -> None:
    file = tmp_path / "sparse.jpg"
    with file.open("wb") as handle:
        handle.truncate(decode.MAX_BYTES + 1)
    with pytest.raises(ImageError, match="more than"):
        decode.read(None, str(file))


def test_thumbnail_is_small_upright_and_without_metadata() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "secret"
    data = encoded(Image.fromarray(np.zeros((300, 400, 3), np.uint8)), "JPEG", exif=exif)
    small = Image.open(io.BytesIO(decode.thumbnail({"bytes": data, "path": None})))
    assert (small.format, small.size) == ("WEBP", (48, 64))
    assert not small.getexif()


def test_thumbnail_of_a_tiny_image_keeps_its_pixels() -> None:
    tiny = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    small = Image.open(io.BytesIO(decode.thumbnail({"bytes": decode.encode(tiny), "path": None})))
    assert np.array_equal(np.asarray(small.convert("RGB")), tiny)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3), (5, 4, 4)])
def test_encode_is_lossless(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(decode.encode(pixels)))), pixels)


@pytest.mark.parametrize(
    "pixels", [np.zeros((5, 4)), np.zeros((3, 5, 6), np.uint8), "x.jpg"], ids=["float", "chw", "str"]
)
def test_encode_refuses(pixels: object) -> None:
    with pytest.raises(ImageError, match="uint8"):
        decode.encode(pixels)
