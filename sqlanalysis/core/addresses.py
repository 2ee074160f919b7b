"""Bytes at an address (`s3://`, `gs://`, `https://`, `memory://`, …) through fsspec, the extra `[remote]`.

Time-outs, three tries, a bounded cache; safe to call from several threads. Neither a password nor a query is ever
stored or printed: what is kept is the address without them, and this process remembers the rest.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode

from ..errors import ImageError, MissingExtraError, SQLAnalysisError

TRIES = 3
SECONDS = 10.0  # without a byte
PATIENCE = 600.0  # for one file, however steadily it comes
PAUSE = 0.5  # before the second try; twice as long before the third
CACHE_BYTES = 64 * 1024 * 1024
_CHUNK = 1 << 20
# Signatures change with every listing of the same files: they are no part of an image's identity.
_SIGNATURE = ("x-amz-", "x-goog-", "x-ms-", "signature", "sig", "expires", "token", "key", "policy", "awsaccesskeyid")
# In other text, only what is a secret by its whole name is taken out.
_SIGNS = (
    r"x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|signature|sig|awsaccesskeyid"
    r"|googleaccessid|key-pair-id|token|access_token|api_key|apikey|password"
)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\\\"'<>]+", re.IGNORECASE)
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError, SQLAnalysisError)

Found = TypeVar("Found")
_cache: OrderedDict[str, bytes] = OrderedDict()
_full: dict[str, str] = {}
_lock = threading.Lock()


class _Parts(NamedTuple):
    """An address in parts: only in those of the web is `?` always the sign of a query, and `#` that of a fragment."""

    scheme: str
    user: str
    rest: str
    query: str


def _split(address: str) -> _Parts:
    scheme, _, rest = address.partition("://")
    is_web = scheme.lower() in ("http", "https")
    before, _, query = rest.partition("?")
    if not is_web and "=" not in query:
        before, query = rest, ""
    elif is_web:
        before, query = before.partition("#")[0], query.partition("#")[0]
    host, slash, path = before.partition("/")
    user, _, host = host.rpartition("@")
    return _Parts(scheme, user, f"{host}{slash}{path}", query)


def without_secrets(address: str) -> str:
    """The address without user, password and query, under which this process finds the image again.

    A query that says which image it is (`?id=7`) stays different from others as the hash of its text.
    """
    with _lock:
        if address in _full:
            return address
    parts = _split(address)
    plain = f"{parts.scheme}://{parts.rest}"
    if parts.query:
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        saying = urlencode([(key, value) for key, value in pairs if not key.lower().startswith(_SIGNATURE)])
        if saying or not pairs:
            plain += f"#query-{hashlib.sha256((saying or parts.query).encode()).hexdigest()[:12]}"
    if plain != address:
        with _lock:
            _full[plain] = address
    return plain


def redacted(text: str) -> str:
    """Text whose addresses lost user and password, and the values of parameters that sign or permit."""
    return _ADDRESS.sub(lambda found: _redact(found[0]), text) if "://" in text else text


def _redact(address: str) -> str:
    scheme, _, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    user, at, name = host.rpartition("@")
    host = name if at and ":" in user else host
    return re.sub(rf"(?i)([?&;](?:{_SIGNS})=)[^&;#]*", r"\1…", f"{scheme}://{host}{slash}{path}")


def has_secrets(address: str) -> bool:
    """Whether an address holds a user, a password or a query: later processes cannot read it."""
    with _lock:
        parts = _split(_full.get(address, address))
    return bool(parts.query or parts.user)


def path_of(address: str) -> str:
    """What stands behind the scheme, without user, password and query."""
    return _split(address).rest


def fetch(address: str, most: int) -> bytes:
    """The bytes at an address, from the cache when they were read before.

    Raises:
        ImageError: nothing there, no answer, more than `most` bytes, or the package that reads it is missing.
    """
    plain = without_secrets(address)
    with _lock:
        if plain in _cache:
            _cache.move_to_end(plain)
            return _cache[plain]
    try:
        data = b"".join(download(address, most))
    except MissingExtraError as error:
        raise ImageError(f"{plain}: {error}") from None
    with _lock:
        _cache[plain] = data
        while sum(map(len, _cache.values())) > CACHE_BYTES:
            _cache.popitem(last=False)
    return data


def download(address: str, most: int) -> list[bytes]:
    """Like `fetch`, in pieces and without the cache.

    Raises:
        ImageError: nothing there, no answer, or more than `most` bytes.
        MissingExtraError: the package that reads such addresses is not installed.
    """
    plain = without_secrets(address)
    with _lock:
        address = _full.get(plain, address)
    files, path = filesystem(address)
    return attempt(lambda: _read(files, path, plain, most), plain)


def filesystem(address: str) -> tuple[Any, str]:
    """fsspec's file system and the path in it.

    Raises:
        MissingExtraError: fsspec, or the package for this scheme, is not installed.
        ImageError: an unknown scheme, or a chain of them (`zip::s3://…`).
    """
    plain = without_secrets(address)
    scheme = address.partition("://")[0]
    if not scheme.replace("+", "").replace("-", "").isalnum():
        raise ImageError(f"{plain}: not an address; write scheme://path")
    try:
        import fsspec  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError(f"{scheme}:// needs fsspec: pip install sqlanalysis[remote]") from None
    try:
        files, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        package = getattr(error, "name", None) or "another package"
        raise MissingExtraError(f"{scheme}:// needs {package}: pip install sqlanalysis[remote] {package}") from None
    except Exception as error:
        raise ImageError(f"{plain}: {_words(error)}") from None
    return files, path


def attempt(work: Callable[[], Found], plain: str) -> Found:
    """The result of up to three tries; `plain` is what to call it.

    Raises:
        ImageError: what the last try said, in words that hold no secret.
    """
    number = 0
    while True:
        number += 1
        try:
            return work()
        except SQLAnalysisError:
            raise
        except Exception as raised:
            # fsspec reports whatever keeps it from asking for a size as a file that is not there
            error = raised.__cause__ if isinstance(raised, FileNotFoundError) and raised.__cause__ else raised
            final = isinstance(error, _FINAL) or 400 <= (getattr(error, "status", None) or 0) < 429
            if final or number == TRIES:
                tried = "" if final else f", {TRIES} tries"
                raise ImageError(f"{plain}: {_words(error)}{tried}") from None
            time.sleep(PAUSE * 2 ** (number - 1))


def in_time(work: Callable[[list[Any]], Any], seconds: float) -> list[Any]:
    """What `work` puts into its list; given up after `seconds` without anything new.

    Raises:
        TimeoutError: given up; the thread that is stuck is left behind.
    """
    found: list[Any] = []
    failed: list[BaseException] = []
    over = threading.Event()

    def run() -> None:
        try:
            work(found)
        except BaseException as error:  # told to the thread that waits
            failed.append(error)
        over.set()

    threading.Thread(target=run, daemon=True).start()
    start, seen, last = time.monotonic(), 0, time.monotonic()
    while not over.wait(0.01 if time.monotonic() - start < 1 else 0.25):
        now = time.monotonic()
        seen, last = (len(found), now) if len(found) > seen else (seen, last)
        if now - last > seconds or now - start > PATIENCE:
            raise TimeoutError
    if failed:
        raise failed[0]
    return found


def _read(files: Any, path: str, plain: str, most: int) -> list[bytes]:
    def work(pieces: list[Any]) -> None:
        n_bytes = 0
        with _open(files, path) as stream:
            size = getattr(stream, "size", None)
            size = size if isinstance(size, int) and size >= 0 else None
            if size is not None and size > most:
                raise ImageError(f"{plain} has {size} bytes, more than {most}")
            while piece := stream.read(_CHUNK):
                n_bytes += len(piece)
                if n_bytes > most:
                    raise ImageError(f"{plain} has more than {most} bytes")
                pieces.append(bytes(piece))
        if size is not None and n_bytes != size:
            raise ConnectionError("cut")

    return in_time(work, SECONDS)


def _open(files: Any, path: str) -> IO[bytes]:
    protocols = files.protocol if isinstance(files.protocol, tuple | list) else (files.protocol,)
    # One request, read as it comes: many servers do not answer to ranges, and a size given is not asked for.
    options = {"block_size": 0, "size": -1} if "http" in protocols else {}
    stream: IO[bytes] = files.open(path, "rb", **options)
    return stream


def _words(error: BaseException) -> str:
    """What went wrong, in our words: those of the library hold the address with all its secrets."""
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status == 404:
        return "not found"
    if isinstance(error, PermissionError) or status in (401, 403):
        return "no permission"
    if isinstance(error, TimeoutError):
        return f"no answer in {SECONDS:g} s"
    if isinstance(error, ValueError) and "rotocol" in str(error):
        return "unknown scheme; see fsspec for those there are"
    return f"{type(error).__name__}{f' (status {status})' if status else ''}"
