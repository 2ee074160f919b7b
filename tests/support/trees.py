"""Small pictures, and folders, archives and Parquet files of them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def png(seed: int, size: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def digest(seed: int) -> str:
    return hashlib.sha256(png(seed)).hexdigest()


def labels_of(con: duckdb.DuckDBPyConnection, dataset: str) -> dict[str, str | None]:
    """The class of each image by the hash of its bytes."""
    return dict(
        con.execute(
            "select sha256, name from images left join datasets using (dataset) left join classes "
            "on classes.label_space = datasets.label_space and label = class where dataset = ?",
            [dataset],
        ).fetchall()
    )


def features(**columns: list[str] | None) -> dict[str, str]:
    named = {name: {"_type": "ClassLabel", "names": names} for name, names in columns.items() if names is not None}
    return {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, **named}}})}


def rows(n: int, start: int = 0, **others: list[Any]) -> pa.Table:
    images = [{"bytes": png(start + number), "path": f"{start + number}.png"} for number in range(n)]
    return pa.table({"image": images, **others})


def write(file: Path, table: pa.Table, named: dict[str, str] | None = None, **options: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(named), file, **options)
    return file


def zipped(file: Path, content: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file


def tarred(file: Path, content: dict[str, bytes], style: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(file, "w", format=style) as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file


TREE = {
    f"{name}/{name}{number}.png": png(3 * where + number)
    for where, name in enumerate(("cat", "dog", "owl"))
    for number in range(3)
}
EXPECTED = {hashlib.sha256(data).hexdigest(): name.split("/")[0] for name, data in TREE.items()}
JUNK = {"__MACOSX/cat/._cat0.png": b"x", "cat/.DS_Store": b"x", "Thumbs.db": b"x", "dog/readme.txt": b"x"}


def below(prefix: str, tree: dict[str, bytes] = TREE) -> dict[str, bytes]:
    return {f"{prefix}{name}": data for name, data in tree.items()}


def unpacked(root: Path, tree: dict[str, bytes]) -> Path:
    for name, data in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root
