"""Encoded bytes to pixels, in one place, so that the same image gives the same pixels everywhere.

Hardened Pillow only: an allow-list of formats recognized by content, a cap on pixels read from the header, whole files
or an error. Pixels are those torchvision's own loader gives, `Image.open(f).convert("RGB")`: stored order, EXIF
orientation not applied. Thumbnails, which people look at, are turned upright.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ImageError
from .exif import camera_and_date
from .faults import point
from .noise import collected
from .reading import MAX_BYTES as MAX_BYTES
from .reading import cap
from .reading import read as read
from .reading import recorded as recorded
from .text import one_line

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".avif"),
)
# How files of these formats begin, for files whose name says nothing.
_MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|GIF8[79]a|BM....\0\0\0\0|II\*\0|MM\0\*|II\+\0|MM\0\+|P[1-6]\s+[0-9#]|....ftypavi[fs]",
    re.DOTALL,
)
MAGIC_BYTES = 12


MAX_PIXELS = cap("PIXELS", 50_000_000)
MAX_SECONDS = cap("SECONDS", 60)  # from bytes to a tensor, in inference
TOO_SLOW = f"no tensor after {MAX_SECONDS} s; SQLANALYSIS_MAX_SECONDS allows more"
PNG_LEVEL = 1  # of photos: a third of the time of the usual 6, and 5 % more bytes
STRIP_PIXELS = 2**20  # measured at once, so that a large image needs little memory beside its pixels


@dataclass(frozen=True)
class Facts:
    """What is known of an image without its pixels.

    Attributes:
        bits: of a channel: 8, or 16 or 32 in gray pictures that the reference loader clips to white.
        camera: maker and model, from EXIF.
        taken: the day, as YYYY-MM-DD, from EXIF.
    """

    sha256: str
    n_bytes: int
    format: str
    width_px: int
    height_px: int
    bits: int = 8
    camera: str | None = None
    taken: str | None = None


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
    """Format and size from the header, camera and date from EXIF, and the hash of the bytes; no pixel is decoded."""
    point("hash")
    with collected():
        image = _open(data)
    # What Pillow found on its way to the pixels; a TIFF file is itself a directory of EXIF.
    exif = data if image.format == "TIFF" else image.info.get("exif")
    camera, taken = camera_and_date(exif) if isinstance(exif, bytes) else (None, None)
    digest = hashlib.sha256(data).hexdigest()
    return Facts(digest, len(data), image.format or "", *image.size, _bits(image), camera, taken)


def _bits(image: Image.Image) -> int:
    """Bits of a gray value: Pillow's modes I;16… hold 16, I (of PPM, too, which it scales to 16) and F hold 32.

    Colors of 16 bits are no matter: Pillow reads their upper byte.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG")):
        return 16
    return 32 if image.mode in ("I", "F") else 8


def looks_like_image(head: bytes) -> bool:
    """Whether the first `MAGIC_BYTES` bytes of a file are those of a format that is decoded."""
    return _MAGIC.match(head) is not None


def to_8_bits(data: bytes) -> bytes:
    """PNG bytes of a 16-bit gray image scaled to 8 bits, value >> 8 as OpenCV and stb_image do; others as they are.

    Raises:
        ImageError: no image, a damaged one, or gray of 32 bits, whose range the file does not say.
    """
    from PIL import Image

    with collected():
        image = _open(data)
    bits = _bits(image)
    if bits == 8:
        return data
    if bits == 32:
        raise ImageError(f"gray of 32 bits ({image.format}, mode {image.mode}), of unknown range; scale it to 8 bits")
    import numpy as np

    values = np.asarray(_converted(image, "I"))
    return encode(Image.fromarray((values >> 8).astype(np.uint8)))


def decode(data: bytes) -> Image.Image:
    """The first frame as an RGB image of `width_px` × `height_px` pixels.

    Raises:
        ImageError: bytes that are no image, a truncated or damaged one, or one of more than 50 million pixels.
    """
    point("decode")
    with collected():
        return _converted(_open(data), "RGB")


def _converted(image: Image.Image, mode: str) -> Image.Image:
    with collected() as said:
        try:
            return image.convert(mode)
        except Exception as error:
            beside = f" ({'; '.join(said)})" if said else ""
            raise ImageError(f"damaged {image.format}: {one_line(error)}{beside}") from error


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
    data = read(image["bytes"], image["path"])
    with collected():
        return _small(_open(data), size, quality)


def _small(picture: Image.Image, size: int, quality: int) -> bytes:
    from PIL import ImageOps

    try:
        picture.draft("RGB", (2 * size, 2 * size))  # a JPEG is decoded at the least scale that is large enough
        picture = ImageOps.exif_transpose(picture)
        picture = picture.convert("RGB")
        small = max(picture.size) <= size
        picture.thumbnail((size, size))
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=quality, lossless=small and max(picture.size) <= 32)
    except Exception as error:
        raise ImageError(f"damaged image: {one_line(error)}") from error
    return buffer.getvalue()


def encode(pixels: Any) -> bytes:
    """PNG bytes of a PIL image or of a uint8 array of shape (H, W), (H, W, 3) or (H, W, 4).

    Of a PIL image that was opened from a file and still has the pixels of that file, the bytes of the file.

    Raises:
        ImageError: another type, dtype or shape.
    """
    from PIL import Image

    if not isinstance(pixels, Image.Image):
        shape, dtype = getattr(pixels, "shape", None), getattr(pixels, "dtype", None)
        if str(dtype) != "uint8" or shape is None or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
            raise ImageError(f"an image array is uint8 (H, W), (H, W, 3) or (H, W, 4), not {dtype} {shape}")
        pixels = Image.fromarray(pixels)
    if pixels.mode in ("I", "F"):
        raise ImageError(f"a picture of mode {pixels.mode} has 32 bits and no known range; scale it to 8 bits (mode L)")
    original = _original(pixels)
    if original is not None:
        return original
    buffer = io.BytesIO()
    try:
        in_png = pixels.mode in ("1", "L", "LA", "P", "RGB", "RGBA") or pixels.mode.startswith("I;16")
        (pixels if in_png else pixels.convert("RGB")).save(buffer, "PNG", compress_level=PNG_LEVEL)
    except Exception as error:
        raise ImageError(f"damaged picture: {one_line(error)}") from error
    return buffer.getvalue()


def _original(picture: Image.Image) -> bytes | None:
    """The bytes that a picture was opened from; None unless every pixel is still as they say."""
    file = getattr(picture, "filename", None)
    if not isinstance(file, str) or not os.path.isfile(file) or picture.mode in ("P", "PA"):
        return None  # the palette may have changed, too
    try:
        data = read(None, os.path.abspath(file))
        opened = _open(data)
        same = (opened.mode, opened.size) == (picture.mode, picture.size) and opened.tobytes() == picture.tobytes()
    except Exception:  # the file is gone or another; a damaged picture is reported when it is written
        return None
    return data if same else None
