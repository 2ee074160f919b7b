"""Blocks of rows on the disk between reading a source and writing it, so that a late refusal leaves nothing behind."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from ..errors import QueryError


@contextlib.contextmanager
def staged(blocks: Iterable[pa.Table], folder: Path | None) -> Iterator[Iterator[pa.Table]]:
    """Read all blocks, of one schema, to their end; yields them again, one in memory at a time.

    One transaction would do the same, but DuckDB keeps the pictures of an open transaction in memory.

    Args:
        blocks: what they raise is raised before anything is yielded.
        folder: where the file without a name lies meanwhile; None for that of the system.

    Raises:
        QueryError: the disk is full, or the folder cannot be written.
    """
    place = folder or Path(tempfile.gettempdir())
    with contextlib.ExitStack() as stack:
        writer = file = None
        for block in blocks:
            try:
                if writer is None:
                    file = stack.enter_context(tempfile.TemporaryFile(dir=place))
                    writer = pa.ipc.new_stream(file, block.schema)
                writer.write_table(block)
            except OSError as error:
                raise QueryError(f"{place} has no room for what was read: {error.strerror or error}") from error
        if writer is None or file is None:
            yield iter(())
            return
        writer.close()
        file.seek(0)
        yield (pa.Table.from_batches([batch]) for batch in pa.ipc.open_stream(file))
