"""Python functions as SQL functions over images: thin adapters that never raise for one bad row.

An image is STRUCT(bytes BLOB, path VARCHAR), the shape of `image_files.image` and of Hugging Face Parquet files.
Registered functions live with the connection, never in the file: any other client can still open it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import duckdb
from duckdb.func import NATIVE, SPECIAL, PythonUDFType

from . import images
from .errors import ImageError, SchemaError

if TYPE_CHECKING:
    import pyarrow as pa

if TYPE_CHECKING:
    pass

_SQL_TYPES = {
    **{"bool": "BOOLEAN", "int32": "INTEGER", "int64": "BIGINT"},
    **{"float": "FLOAT", "double": "DOUBLE", "string": "VARCHAR"},
}
IMAGE_TYPE = "STRUCT(bytes BLOB, path VARCHAR)"


def register(
    con: duckdb.DuckDBPyConnection,
    name: str,
    function: Callable[..., Any],
    returns: str,
    kind: PythonUDFType,
    takes: Sequence[str] = (IMAGE_TYPE,),
) -> None:
    """Install `name(image)` on a connection, in place of an earlier one of that name.

    Args:
        con: the connection that keeps the function; register on no short-lived cursor.
        name: SQL name.
        function: with kind ARROW, maps an Arrow array of at most 2,048 images to one of as many answers and is
            called from several threads at once; with kind NATIVE, maps one image to one answer.
        returns: SQL type of one answer.
        kind: ARROW or NATIVE.
        takes: SQL types of the arguments.
    """
    unregister(con, name)
    con.create_function(
        name,
        function,
        [duckdb.dtype(one) for one in takes],
        duckdb.dtype(returns),
        type=kind,
        null_handling=SPECIAL,
    )


def arrow_image_type() -> pa.DataType:
    """The Arrow type of an image, as functions get it."""
    import pyarrow as pa

    return pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def sql_type(kind: pa.DataType) -> str:
    """The DuckDB name of an Arrow type of answers."""
    import pyarrow.types as types

    if types.is_struct(kind):
        return f"STRUCT({', '.join(f'{field.name} {sql_type(field.type)}' for field in kind)})"
    if types.is_fixed_size_list(kind):
        return f"{sql_type(kind.value_type)}[{kind.list_size}]"
    names = {
        "int32": "INTEGER",
        "int64": "BIGINT",
        "float": "FLOAT",
        "double": "DOUBLE",
        "string": "VARCHAR",
        "bool": "BOOLEAN",
    }
    return names[str(kind)]


def unregister(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Remove a registered function, if there is one of that name."""
    try:
        con.remove_function(name)
    except duckdb.InvalidInputException:
        return


def register_image_functions(con: duckdb.DuckDBPyConnection, *, follow_paths: bool = True) -> None:
    """Install `image_size(image)` → STRUCT(width, height) and `thumbnail(image)` → WebP bytes, NULL when unreadable.

    Without `follow_paths` an image whose bytes are not in the file is unreadable.
    """
    register(con, "image_size", _or_null(_size, follow_paths), "STRUCT(width INTEGER, height INTEGER)", NATIVE)
    register(con, "thumbnail", _or_null(images.thumbnail, follow_paths), "BLOB", NATIVE)


def register_missing(con: duckdb.DuckDBPyConnection, name: str, of: str, kind: str, source: str) -> None:
    """Install a stand-in for a deferred column that the file knows of: it says what to register."""

    def refuse(_image: Any) -> Any:
        raise SchemaError(
            f"the deferred column {name!r} is not registered in this process; call defer(con, {name!r}, transform"
            f"{f', of={of!r}' if of != 'image' else ''}) with the transform {source}"
        )

    register(con, name, refuse, kind, NATIVE)


def _size(image: dict[str, Any]) -> dict[str, int]:
    facts = images.inspect(images.read(image["bytes"], image["path"]))
    return {"width": facts.width_px, "height": facts.height_px}


def _or_null(function: Callable[[dict[str, Any]], Any], follow_paths: bool) -> Callable[[dict[str, Any] | None], Any]:
    def call(image: dict[str, Any] | None) -> Any:
        if image is None:
            return None
        try:
            return function(image if follow_paths else {**image, "path": None})
        except ImageError:
            return None

    return call
