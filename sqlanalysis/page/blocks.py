"""Tables as text inside a page: Arrow streams in base64, numbers as narrow as their values allow."""

from __future__ import annotations

import base64
import gzip

import pyarrow as pa
import pyarrow.compute as pc


def packed(table: pa.Table) -> str:
    """A table as a compressed Arrow stream in base64, with the narrowest integers that hold the values."""
    narrow = pa.table({name: _narrow(table[name].combine_chunks()) for name in table.column_names})
    return _base64(gzip.compress(_stream(narrow), 6, mtime=0))  # no time: equal rows give equal pages


def plain(table: pa.Table) -> str:
    """A table as an Arrow stream in base64: of pictures, which no compression makes smaller."""
    return _base64(_stream(table))


def unpacked(text: str) -> pa.Table:
    """The table of `packed`."""
    return pa.ipc.open_stream(gzip.decompress(base64.b64decode(text))).read_all()


def unplain(text: str) -> pa.Table:
    """The table of `plain`."""
    return pa.ipc.open_stream(base64.b64decode(text)).read_all()


def _narrow(column: pa.Array) -> pa.Array:
    # An unsigned column uses the whole range of its type; casting it to a signed one would double its size.
    if not pa.types.is_signed_integer(column.type):
        return column
    low, high = (pc.min_max(column)[end].as_py() or 0 for end in ("min", "max"))
    fits = (dtype for dtype in (pa.int8(), pa.int16(), pa.int32()) if _holds(dtype, low, high))
    return column.cast(next(fits, pa.int64()))


def _holds(dtype: pa.DataType, low: int, high: int) -> bool:
    top = 1 << (dtype.bit_width - 1)
    return bool(-top <= low and high < top)


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
