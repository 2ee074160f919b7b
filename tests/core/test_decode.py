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
        ("nowhere://example.org/x.jpg", "nowhere://example.org/x.jpg"),
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


RAMP = np.linspace(0, 65535, 1024).reshape(32, 32).astype(np.uint16)


def deep_pictures() -> dict[str, bytes]:
    """Gray ramps of 16 bits, in every way that a format keeps them."""
    return {
        "png": encoded(Image.fromarray(RAMP), "PNG"),
        "tiff": encoded(Image.fromarray(RAMP), "TIFF"),
        "tiff, big end first": encoded(Image.fromarray(RAMP.astype(">u2")), "TIFF"),
        "pgm": encoded(Image.fromarray(RAMP), "PPM"),
    }


@pytest.mark.parametrize("name", deep_pictures())
def test_sixteen_bits_are_known_from_the_header_and_scaled_on_request(name: str) -> None:
    data = deep_pictures()[name]
    assert decode.inspect(data).bits == 16
    clipped = np.asarray(decode.decode(data).convert("L"))
    assert clipped.mean() > 254  # as the reference loader
    scaled = decode.to_8_bits(data)
    assert (decode.inspect(scaled).bits, decode.inspect(scaled).format) == (8, "PNG")
    assert np.array_equal(np.asarray(decode.decode(scaled))[..., 1], RAMP >> 8)
    assert decode.measure(decode.decode(scaled)).brightness == pytest.approx(0.5, abs=0.02)
    assert decode.to_8_bits(scaled) == scaled


def test_pgm_of_twelve_bits_uses_its_own_range() -> None:
    values = np.array([[0, 1000], [2000, 4095]], ">u2")
    scaled = decode.to_8_bits(b"P5\n2 2\n4095\n" + values.tobytes())
    assert np.asarray(decode.decode(scaled))[..., 0].tolist() == [[0, 62], [125, 255]]


@pytest.mark.parametrize("name", [name for name in odd_pictures() if name != "16 bit"])
def test_other_pictures_have_eight_bits(name: str) -> None:
    data = odd_pictures()[name]
    assert decode.inspect(data).bits == 8
    assert decode.to_8_bits(data) is data


def test_colors_of_sixteen_bits_are_scaled_by_the_loader() -> None:
    values = np.stack([RAMP, RAMP[::-1], RAMP.T], 2).astype(">u2")
    data = b"P6\n32 32\n65535\n" + values.tobytes()
    assert decode.inspect(data).bits == 8
    assert np.abs(np.asarray(decode.decode(data)).astype(int) - (values >> 8)).max() <= 1


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bits_have_no_known_range(dtype: type) -> None:
    data = encoded(Image.fromarray(RAMP.astype(dtype)), "TIFF")
    assert decode.inspect(data).bits == 32
    with pytest.raises(ImageError, match="gray of 32 bits .*, of unknown range; scale it to 8 bits"):
        decode.to_8_bits(data)
    with pytest.raises(ImageError, match="32 bits and no known range"):
        decode.encode(Image.fromarray(RAMP.astype(dtype)))


@pytest.mark.parametrize("kind", decode.FORMATS)
def test_every_format_is_decoded_and_known_by_its_first_bytes(kind: str) -> None:
    data = encoded(Image.fromarray(GRADIENT), kind)
    assert decode.looks_like_image(data[: decode.MAGIC_BYTES])
    assert decode.inspect(data).format == kind
    assert decode.decode(data).size == (40, 30)


@pytest.mark.parametrize("head", [b"", b"P5 is a page", b"BM is short..", b"RIFF....WAVE", b"....ftypmp42", b"\x89PNG"])
def test_other_first_bytes(head: bytes) -> None:
    assert not decode.looks_like_image(head)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "PA", "RGBX"])
def test_pictures_in_modes_that_png_does_not_have_are_kept_as_rgb(mode: str) -> None:
    picture = Image.new(mode, (4, 4), 100 if mode == "PA" else (100,) * len(Image.new(mode, (1, 1)).getbands()))
    kept = np.asarray(decode.decode(decode.encode(picture)))
    assert np.array_equal(kept, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("RGB", "WEBP")]
)
@pytest.mark.parametrize("loaded", [False, True])
def test_pictures_as_their_file_says_keep_its_bytes(tmp_path: Path, mode: str, kind: str, loaded: bool) -> None:
    file = tmp_path / f"a.{kind.lower()}"
    noise(mode).save(file, kind)
    with Image.open(file) as picture:
        if loaded:
            picture.load()
        assert decode.encode(picture) == file.read_bytes()


@pytest.mark.parametrize("change", ["a pixel", "size", "file", "no file", "palette"])
def test_pictures_that_are_not_as_their_file_says_are_written_anew(tmp_path: Path, change: str) -> None:
    file = tmp_path / "a.png"
    (noise("RGB").quantize(16) if change == "palette" else noise("RGB")).save(file)
    picture = Image.open(file)
    picture.load()
    if change == "a pixel":
        picture.putpixel((3, 2), (1, 2, 3))
    elif change == "size":
        picture.thumbnail((20, 20))
    elif change == "file":
        noise("RGB", seed=1).save(file)
    elif change == "no file":
        file.unlink()
    else:
        picture.putpalette(bytes(range(48)))
    data = decode.encode(picture)
    assert file.exists() is (change != "no file")
    assert change == "no file" or data != file.read_bytes()
    np.testing.assert_array_equal(np.asarray(decode.decode(data)), np.asarray(picture.convert("RGB")))


def noise(mode: str, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (30, 40, len(Image.new(mode, (1, 1)).getbands())), np.uint8)
    return Image.frombytes(mode, (40, 30), values.tobytes())
