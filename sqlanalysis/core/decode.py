"""Encoded bytes to pixels, in one place, so that the same image gives the same pixels everywhere.

Hardened Pillow only: an allow-list of formats recognized by content, a cap on pixels read from the header, whole files
or an error. Pixels are those torchvision's own loader gives, `Image.open(f).convert("RGB")`: stored order, EXIF
orientation not applied. Thumbnails, which people look at, are turned upright.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ImageError
from .faults import point

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def _cap(name: str, default: int) -> int:
    """A limit, which an environment variable may change for every verb alike."""
    text = os.environ.get(f"SQLANALYSIS_MAX_{name}", str(default))
    if not text.isdecimal() or int(text) < 1:
        raise ImageError(f"SQLANALYSIS_MAX_{name} is a whole number of at least 1, not {text!r}")
    return int(text)


MAX_PIXELS = _cap("PIXELS", 50_000_000)
MAX_BYTES = _cap("BYTES", 256 * 1024 * 1024)
MAX_SECONDS = _cap("SECONDS", 60)  # from bytes to a tensor, in inference
TOO_SLOW = f"no tensor after {MAX_SECONDS} s; SQLANALYSIS_MAX_SECONDS allows more"
STRIP_PIXELS = 2**20  # measured at once, so that a large image needs little memory beside its pixels


@dataclass(frozen=True)
class Facts:
    """What is known of an image without its pixels."""

    sha256: str
    n_bytes: int
    format: str
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Statistics:
    """What an image looks like, over all its pixels, R, G, B and luma from 0 to 255.

    Luma is that of Rec. 601, rounded: Pillow's mode L. Variances and deviations are those of the population.

    Attributes:
        brightness: mean of luma / 255: 0 black, 1 white.
        contrast: standard deviation of luma / 255: 0 one shade, 0.5 half black and half white.
        sharpness: variance of the Laplacian of luma (4 neighbors; pixels at the border have none): near 0 in a blurred
            or empty image, thousands in a detailed one. NULL below 3 × 3 pixels. It depends on the resolution.
        colorfulness: of Hasler and Süsstrunk (2003), with rg = R - G and yb = (R + G) / 2 - B:
            sqrt(var rg + var yb) + 0.3 sqrt(mean(rg)² + mean(yb)²). 0 gray, about 15 slightly, 100 extremely colorful.
        entropy: Shannon entropy of the histogram of luma, in bits: 0 one shade, at most 8.
    """

    brightness: float
    contrast: float
    sharpness: float | None
    colorfulness: float
    entropy: float


def read(data: bytes | None, path: str | None) -> bytes:
    """The encoded bytes: `data` when given, else the regular file at `path`.

    Raises:
        ImageError: no file, no regular file, more than 256 MB, or not readable.
    """
    if data is not None:
        return data
    if not path:
        raise ImageError("neither bytes nor a path")
    if "://" in path:
        raise ImageError("images are read from files; download this address first")
    point("read")
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{path} is no regular file")
            if status.st_size > MAX_BYTES:
                raise ImageError(f"{path} has {status.st_size} bytes, more than {MAX_BYTES}")
            return file.read()
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _open(data: bytes) -> Image.Image:
    from PIL import Image

    if not data:
        raise ImageError("empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"more than {MAX_PIXELS} pixels") from error
    except Exception as error:
        raise ImageError(f"no image in one of the formats {', '.join(FORMATS)}") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"more than {MAX_PIXELS} pixels: {width} x {height}")
    return image


def inspect(data: bytes) -> Facts:
    """Format and size from the header, and the hash of the bytes; no pixel is decoded."""
    point("hash")
    image = _open(data)
    return Facts(hashlib.sha256(data).hexdigest(), len(data), image.format or "", *image.size)


def decode(data: bytes) -> Image.Image:
    """The first frame as an RGB image of `width_px` × `height_px` pixels.

    Raises:
        ImageError: bytes that are no image, a truncated or damaged one, or one of more than 50 million pixels.
    """
    point("decode")
    image = _open(data)
    try:
        return image.convert("RGB")
    except Exception as error:
        raise ImageError(f"damaged {image.format}: {error}") from error


def measure(picture: Image.Image) -> Statistics:
    """Statistics of an RGB image."""
    import numpy as np

    gray = picture.convert("L")
    shares = np.array(gray.histogram()) / (gray.width * gray.height)
    levels = np.arange(256)
    brightness = (shares * levels).sum()
    moments = np.zeros((3, 3))  # of the Laplacian, of rg and of 2 yb: number, sum, sum of squares
    rows = max(1, STRIP_PIXELS // gray.width)
    luma, colors = np.asarray(gray), np.asarray(picture)
    for top in range(0, gray.height, rows):
        y = luma[max(0, top - 1) : top + rows + 1].astype(np.int16)
        laplacian = y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:] - 4 * y[1:-1, 1:-1]
        red, green, blue = np.moveaxis(colors[top : top + rows].astype(np.int16), 2, 0)
        for row, values in enumerate((laplacian, red - green, red + green - 2 * blue)):
            squares = np.square(values, dtype=np.int32)
            moments[row] += values.size, values.sum(dtype=np.int64), squares.sum(dtype=np.int64)
    means, squares = moments[:, 1:].T / np.maximum(moments[:, 0], 1)
    sharpness, rg, yb = np.maximum(squares - means**2, 0)
    return Statistics(
        brightness=float(brightness / 255),
        contrast=float(np.sqrt((shares * (levels - brightness) ** 2).sum()) / 255),
        sharpness=float(sharpness) if moments[0, 0] else None,
        colorfulness=float(np.sqrt(rg + yb / 4) + 0.3 * np.hypot(means[1], means[2] / 2)),
        entropy=abs(float((shares * np.log2(shares, where=shares > 0, out=np.zeros(256))).sum())),
    )


def thumbnail(image: dict[str, Any], size: int = 64, quality: int = 60) -> bytes:
    """WebP of at most `size` × `size` pixels, upright, without metadata; smaller images keep their pixels."""
    from PIL import ImageOps

    picture = _open(read(image["bytes"], image["path"]))
    try:
        picture.draft("RGB", (2 * size, 2 * size))  # a JPEG is decoded at the least scale that is large enough
        picture = ImageOps.exif_transpose(picture)
        picture = picture.convert("RGB")
        small = max(picture.size) <= size
        picture.thumbnail((size, size))
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=quality, lossless=small and max(picture.size) <= 32)
    except Exception as error:
        raise ImageError(f"damaged image: {error}") from error
    return buffer.getvalue()


def encode(pixels: Any) -> bytes:
    """PNG bytes of a PIL image or of a uint8 array of shape (H, W), (H, W, 3) or (H, W, 4).

    Raises:
        ImageError: another type, dtype or shape.
    """
    from PIL import Image

    if not isinstance(pixels, Image.Image):
        shape, dtype = getattr(pixels, "shape", None), getattr(pixels, "dtype", None)
        if str(dtype) != "uint8" or shape is None or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
            raise ImageError(f"an image array is uint8 (H, W), (H, W, 3) or (H, W, 4), not {dtype} {shape}")
        pixels = Image.fromarray(pixels)
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG")
    return buffer.getvalue()
