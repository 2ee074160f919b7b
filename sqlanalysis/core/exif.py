"""Camera and date of a photo from its EXIF, and nothing else of it.

Pillow reads every entry of a directory, places and serial numbers too, and holds as many bytes as a hostile file
claims. This reader looks up five entries in at most two directories, within the bytes there are.
"""

from __future__ import annotations

import datetime
import re
import struct
from collections.abc import Container

MAKE, MODEL, DATE_TIME, EXIF_DIRECTORY, DATE_TIME_ORIGINAL = 0x010F, 0x0110, 0x0132, 0x8769, 0x9003
MAX_ENTRIES = 512  # of a directory; cameras write less than 100
MAX_TEXT = 80  # characters of a maker, a model or a date
_ASCII, _LONG = 2, 4
_PREFIX = b"Exif\0\0"
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_DATE = re.compile(r"(\d{4})[:/-](\d\d)[:/-](\d\d)(?!\d)", re.A)
_COMPANY = re.compile(r"[ ,]+(corporation|corp|company|co|inc|ltd|limited|gmbh|ag)\.?$", re.I)


def camera_and_date(data: bytes) -> tuple[str | None, str | None]:
    """Camera ("Canon EOS R6") and day ("2021-05-17") from the bytes of EXIF or of a TIFF file; None where unusable.

    The day is that of DateTimeOriginal, else of DateTime. A maker that the model begins with is not repeated. Text that
    is not UTF-8, has more than 80 characters, or has control or direction characters is not used. Never raises.
    """
    data = data.removeprefix(_PREFIX)
    order = _ORDERS.get(data[:4])
    if order is None:
        return None, None
    (start,) = _unpack(order + "L", data, 4) or (0,)
    main = _entries(data, order, start, (MAKE, MODEL, DATE_TIME, EXIF_DIRECTORY))
    inner = main.get(EXIF_DIRECTORY)
    dates = _entries(data, order, inner, (DATE_TIME_ORIGINAL,)) if isinstance(inner, int) else {}
    taken = (_day(dates.get(DATE_TIME_ORIGINAL)), _day(main.get(DATE_TIME)))
    return _camera(main.get(MAKE), main.get(MODEL)), taken[0] or taken[1]


def _entries(data: bytes, order: str, start: int, wanted: Container[int]) -> dict[int, str | int]:
    """The wanted entries of a directory: text, and the places of other directories."""
    found: dict[int, str | int] = {}
    (n,) = _unpack(order + "H", data, start) or (0,)
    for index in range(min(n, MAX_ENTRIES)):
        entry = _unpack(order + "HHLL", data, start + 2 + 12 * index)
        if entry is None:
            break
        tag, kind, size, value = entry
        if tag not in wanted or tag in found:
            continue
        if tag == EXIF_DIRECTORY:
            if kind == _LONG and size == 1:
                found[tag] = value
        elif kind == _ASCII and size <= 4 * MAX_TEXT:
            at = start + 2 + 12 * index + 8 if size <= 4 else value
            text = _text(data[at : at + size])
            if text:
                found[tag] = text
    return found


def _unpack(form: str, data: bytes, start: int) -> tuple[int, ...] | None:
    inside = start + struct.calcsize(form) <= len(data)
    return struct.unpack_from(form, data, start) if inside else None


def _text(raw: bytes) -> str | None:
    try:
        text = " ".join(raw.partition(b"\0")[0].decode().split())
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() and 0 < len(text) <= MAX_TEXT else None


def _camera(make: str | int | None, model: str | int | None) -> str | None:
    if not isinstance(model, str) or not isinstance(make, str):
        return next((text for text in (model, make) if isinstance(text, str)), None)
    maker = make
    while (shorter := _COMPANY.sub("", maker)) != maker:
        maker = shorter
    known = {word.casefold() for word in maker.split()}
    return model if model.split()[0].casefold() in known else f"{maker} {model}"


def _day(text: str | int | None) -> str | None:
    found = _DATE.match(text) if isinstance(text, str) else None
    if found is None:
        return None
    try:
        return datetime.date(*map(int, found.groups())).isoformat()
    except ValueError:  # 0000:00:00 of a camera whose clock was not set
        return None
