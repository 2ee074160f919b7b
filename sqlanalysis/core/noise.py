"""What decoders say beside their result: kept with its image, instead of lines on stderr that name none.

Pillow warns through the module `warnings`, libtiff through a handler of its whole library. Both speak in the thread
that decodes, so the lines are told apart by thread.
"""

from __future__ import annotations

import ctypes
import importlib
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from .text import one_line

MOST = 4  # lines of one image
_MODULES = (
    *("Image", "ImageFile", "TiffImagePlugin", "PngImagePlugin", "JpegImagePlugin", "MpoImagePlugin"),
    *("GifImagePlugin", "BmpImagePlugin", "WebPImagePlugin", "AvifImagePlugin", "PpmImagePlugin"),
)
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_own = threading.local()
_listening = threading.Lock()


@contextmanager
def collected() -> Iterator[list[str]]:
    """The lines that decoders write in this thread inside the block, the first few; a block inside adds to them."""
    with _listening:  # two handlers would call each other, and only the last one would be kept
        _listen()
    outer: list[str] | None = getattr(_own, "said", None)
    _own.said = [] if outer is None else outer
    try:
        yield _own.said
    finally:
        _own.said = outer


class Complaints:
    """Images that were decoded although the decoder complained: how many, and the first."""

    def __init__(self) -> None:
        self._known: set[str | None] = set()
        self._n_elsewhere = 0
        self._first = ""
        self._lock = threading.Lock()

    def add(self, sha256: str | None, where: object, said: list[str]) -> None:
        """Count one content, which may be decoded twice."""
        with self._lock:
            self._known.add(sha256)
            self._first = self._first or f"{one_line(where)}: {said[0]}"

    def told(self) -> tuple[int, str]:
        """How many contents, and the first, for another process to `hear`."""
        return self._n_elsewhere + len(self._known), self._first

    def hear(self, n: int, first: str) -> None:
        """Count contents that another process has decoded, each once."""
        with self._lock:
            self._n_elsewhere += n
            self._first = self._first or first

    def notes(self) -> list[str]:
        """One line, or none."""
        n, _ = self.told()
        found = f"{n:,} images" if n > 1 else "1 image"
        return [f"the decoder complained about {found} that it decoded, such as {self._first}"] if n else []


def _hear(text: object) -> bool:
    """Keep a line if this thread collects."""
    said: list[str] | None = getattr(_own, "said", None)
    if said is not None and len(said) < MOST:
        said.append(one_line(text, 200))
    return said is not None


class _Warnings(types.ModuleType):
    """The module `warnings`, as Pillow's modules see it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)

    @staticmethod
    def warn(message: Any, category: type[Warning] | None = None, stacklevel: int = 1, **names: Any) -> None:
        """Keep the message, or warn as usual."""
        if not _hear(message):
            warnings.warn(message, category, stacklevel + 1, **names)


@cache
def _listen() -> Callable[..., None] | None:
    """Take the place of both ways, once; the handler of libtiff is returned so that it stays."""
    own = _Warnings("warnings")
    for name in _MODULES:
        with suppress(ImportError):
            module = importlib.import_module(f"PIL.{name}")
            if getattr(module, "warnings", None) is warnings:
                vars(module)["warnings"] = own
    with suppress(ImportError, AttributeError, OSError):  # no libtiff, or one that cannot be found
        library = ctypes.CDLL(importlib.import_module("PIL._imaging").__file__)
        write = ctypes.CDLL(None).vsnprintf
        write.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
        replace = library.TIFFSetErrorHandler
        replace.argtypes, replace.restype = [_Handler], ctypes.c_void_p
        usual: list[Any] = []

        def hear(module: bytes | None, form: bytes, values: int) -> None:
            line = ctypes.create_string_buffer(300)
            if getattr(_own, "said", None) is not None:
                write(line, len(line), form, values)
                _hear(f"{(module or b'').decode('utf-8', 'replace')}: {line.value.decode('utf-8', 'replace')}")
            elif usual:
                usual[0](module, form, values)

        handle = _Handler(hear)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))  # libtiff keeps it also while the interpreter ends
        before = replace(handle)
        if before:
            usual.append(_Handler(before))
        return handle
    return None
