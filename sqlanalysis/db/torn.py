"""Blocks that a checkpoint was writing when the process or the machine crashed.

DuckDB writes a checkpoint to free blocks, and then a header that points to them. Only metadata blocks, which contain
parts of several checkpoints, are overwritten in place, and the parts in use do not change. A crash during such a write
leaves a block whose parts in use are intact, since old and new are equal, but whose checksum is wrong: the file cannot
be opened, although nothing is lost. Source: DuckDB's `MetadataManager::Flush` and `Checksum`; reproduced in
`tests/faults`.
"""

from __future__ import annotations

import os
from pathlib import Path

HEADERS = (4096, 8192)  # two headers of 4096 bytes: checksum, iteration, …; the one with the later iteration is valid
BLOCK_SIZE_AT = 40
CHECKPOINT_ENTRY, FLUSH_ENTRY = b"d\0ce\0", b"d\0d\xff\xff"  # log entries at the start of a checkpoint
TAIL = 128
PRIME, SEED = 0xBF58476D1CE4E5B9, 5381


def checksum(data: bytes) -> int:
    """DuckDB's checksum of bytes; their number must be a multiple of 8."""
    import numpy as np

    return int(np.bitwise_xor.reduce(np.frombuffer(data, "<u8") * np.uint64(PRIME))) ^ SEED


def was_checkpointing(log: Path) -> bool:
    """Whether the write-ahead log exists and ends where a checkpoint began to write to the file."""
    if not log.exists():
        return False
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - TAIL))
        tail = stream.read()
    return tail.endswith(FLUSH_ENTRY) and CHECKPOINT_ENTRY in tail


def read_block(file: Path, location: int) -> bytes:
    """The block at that byte offset; its first 8 bytes are the checksum."""
    with file.open("rb") as stream:
        stream.seek(HEADERS[0] + BLOCK_SIZE_AT)
        size = int.from_bytes(stream.read(8), "little")
        stream.seek(location)
        return stream.read(size)


def write_synced(file: Path, location: int, data: bytes) -> None:
    """Write bytes at that offset of a file, which is created if missing; they are on the disk when it returns."""
    with file.open("r+b" if file.exists() else "xb") as stream:
        stream.seek(location)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
