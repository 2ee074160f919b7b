"""Blocks that a checkpoint was writing when the process or the machine stopped.

DuckDB writes a checkpoint into free blocks and then a header that points to them. Only blocks of metadata, which hold
parts of several checkpoints, are written again where they are, with the parts in use unchanged. A stop in the middle of
such a write leaves a block whose parts in use are whole, old or new alike, and whose checksum fits neither: the file
does not open, though nothing is lost. Read in DuckDB's `MetadataManager::Flush` and `Checksum`; seen in `tests/faults`.
"""

from __future__ import annotations

import os
from pathlib import Path

HEADERS = (4096, 8192)  # of 4096 bytes each: checksum, iteration, …; the later iteration counts
BLOCK_SIZE_AT = 40
CHECKPOINT_ENTRY, FLUSH_ENTRY = b"d\0ce\0", b"d\0d\xff\xff"  # how the log says that a checkpoint writes from here on
TAIL = 128
PRIME, SEED = 0xBF58476D1CE4E5B9, 5381


def checksum(data: bytes) -> int:
    """DuckDB's checksum of bytes whose number is a multiple of 8."""
    import numpy as np

    return int(np.bitwise_xor.reduce(np.frombuffer(data, "<u8") * np.uint64(PRIME))) ^ SEED


def was_checkpointing(log: Path) -> bool:
    """Whether there is a write-ahead log, and ends where a checkpoint began to write into the file."""
    if not log.exists():
        return False
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - TAIL))
        tail = stream.read()
    return tail.endswith(FLUSH_ENTRY) and CHECKPOINT_ENTRY in tail


def read_block(file: Path, location: int) -> bytes:
    """The block at that place, with its checksum in the first 8 bytes."""
    with file.open("rb") as stream:
        stream.seek(HEADERS[0] + BLOCK_SIZE_AT)
        size = int.from_bytes(stream.read(8), "little")
        stream.seek(location)
        return stream.read(size)


def write_synced(file: Path, location: int, data: bytes) -> None:
    """Put these bytes at that place of a file, new or old; they are on the disk when it returns."""
    with file.open("r+b" if file.exists() else "xb") as stream:
        stream.seek(location)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
