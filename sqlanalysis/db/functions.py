"""Python functions as SQL functions over images; a row that fails does not make the query fail.

An image is STRUCT(bytes BLOB, path VARCHAR), the shape of `image_files.image` and of Hugging Face Parquet files.
Registered functions belong to the connection, not to the file, so any other client can still open the file.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import duckdb
from duckdb.func import ARROW, NATIVE, SPECIAL, PythonUDFType

from ..core import decode
from ..errors import ImageError, SchemaError

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_TYPE = "STRUCT(bytes BLOB, path VARCHAR)"
_held: weakref.WeakKeyDictionary[duckdb.DuckDBPyConnection, dict[str, list[Any]]] = weakref.WeakKeyDictionary()
STATISTICS = tuple(field.name for field in fields(decode.Statistics))


def register(
    con: duckdb.DuckDBPyConnection,
    name: str,
    function: Callable[..., Any],
    returns: str,
    udf_type: PythonUDFType,
    takes: Sequence[str] = (IMAGE_TYPE,),
) -> None:
    """Register `name(image)` on a connection, and replace an earlier function of that name.

    Args:
        con: the connection that keeps the function; not a short-lived cursor, since DuckDB 2.0 crashes when
            a function is called after its connection was collected.
        name: SQL name.
        function: with udf_type ARROW, maps an Arrow array of at most 2,048 images to an array of as many answers,
            and is called from several threads at once; with udf_type NATIVE, maps one image to one answer.
        returns: SQL type of one answer.
        udf_type: ARROW or NATIVE.
        takes: SQL types of the arguments.
    """
    unregister(con, name)
    # DuckDB keeps what it was given, also after the function was removed; so it gets a holder, which can be emptied.
    held = [function]
    _held.setdefault(con, {})[name] = held
    one, two = (lambda image: held[0](image)), (lambda image, given: held[0](image, given))
    con.create_function(
        name,
        one if len(takes) == 1 else two,
        [duckdb.dtype(sql_type) for sql_type in takes],
        duckdb.dtype(returns),
        type=udf_type,
        null_handling=SPECIAL,
    )


def unregister(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Remove the registered function of that name, if there is one, and close it if it can be closed."""
    held = _held.get(con, {}).pop(name, [])
    while held:
        getattr(held.pop(), "close", lambda: None)()
    try:
        con.remove_function(name)
    except duckdb.InvalidInputException:
        return


def register_image_functions(con: duckdb.DuckDBPyConnection, *, follow_paths: bool = True) -> None:
    """Register `image_size`, `thumbnail` and `image_statistics`, each of one image.

    For an image that cannot be read, `image_size` (STRUCT(width, height)) and `thumbnail` (WebP bytes) are NULL;
    `image_statistics` (STRUCT(brightness, …, sha256, error)) gives the reason. Without `follow_paths`, images whose
    bytes are not stored in the file cannot be read.
    """
    register(con, "image_size", _or_null(_size, follow_paths), "STRUCT(width INTEGER, height INTEGER)", NATIVE)
    register(con, "thumbnail", _or_null(decode.thumbnail, follow_paths), "BLOB", NATIVE)
    error = "STRUCT(stage VARCHAR, error VARCHAR, message VARCHAR)"
    numbers = ", ".join(f"{name} FLOAT" for name in STATISTICS)
    returns = f"STRUCT({numbers}, sha256 VARCHAR, error {error})"
    register(con, "image_statistics", lambda column: _statistics(column, follow_paths), returns, ARROW)


def register_missing(con: duckdb.DuckDBPyConnection, name: str, of: str, sql_type: str, source: str) -> None:
    """Register a placeholder for a deferred column of the file; calling it raises an error that names the transform."""

    def refuse(_image: Any) -> Any:
        raise SchemaError(
            f"the deferred column {name!r} is not registered in this process; call defer(con, {name!r}, transform"
            f"{f', of={of!r}' if of != 'image' else ''}) with the transform {source}"
        )

    register(con, name, refuse, sql_type, NATIVE)


def _size(image: dict[str, Any]) -> dict[str, int]:
    facts = decode.inspect(decode.read(image["bytes"], image["path"]))
    return {"width": facts.width_px, "height": facts.height_px}


def _statistics(column: pa.ChunkedArray, follow_paths: bool) -> pa.Array:
    import pyarrow as pa

    from ..core.arrow import ERROR_TYPE

    numbers = [(name, pa.float32()) for name in STATISTICS]
    dtype = pa.struct([*numbers, ("sha256", pa.string()), ("error", ERROR_TYPE)])
    # A call has one DuckDB thread for up to 2,048 images; decoding releases the GIL, so the pool uses the other cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        measured = pool.map(_measure, column.to_pylist(), itertools.repeat(follow_paths))
        return pa.array(list(measured), dtype)


def _measure(image: dict[str, Any] | None, follow_paths: bool) -> dict[str, Any] | None:
    """Statistics and SHA-256 of one image, or the error with its stage; None for NULL."""
    from ..core.arrow import describe_error

    if image is None:
        return None
    answer: dict[str, Any] = {}
    stage = "read"
    try:
        data = decode.read(image["bytes"], image["path"] if follow_paths else None)
        answer["sha256"] = hashlib.sha256(data).hexdigest()
        stage = "decode"
        answer |= vars(decode.measure(decode.decode(data)))
    except Exception as error:
        answer["error"] = describe_error(stage, error)
    return answer


def _or_null(function: Callable[[dict[str, Any]], Any], follow_paths: bool) -> Callable[[dict[str, Any] | None], Any]:
    def call(image: dict[str, Any] | None) -> Any:
        if image is None:
            return None
        try:
            return function(image if follow_paths else {**image, "path": None})
        except ImageError:
            return None

    return call
