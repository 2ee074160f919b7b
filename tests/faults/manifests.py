"""Damaged manifests, archives and tables of predictions: a child process adds one after another and says what came of it.

`python -m tests.faults.manifests FORM N FOLDER` prints a line of JSON before and one after each of N mutations.
"""

from __future__ import annotations

import csv
import io
import json
import random
import resource
import shutil
import struct
import subprocess
import sys
import tarfile
import time
import traceback
import unicodedata
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import sqlanalysis
from sqlanalysis.errors import SQLAnalysisError

LABELS = ("cat", "dog", "owl")
N_ROWS = 12
DEEP = 20_000
ADDRESS_SPACE = 6 << 30  # a mutation that fills the memory harms nobody beside this process
ROOT = Path(__file__).parents[2]
Columns = dict[str, list[Any]]
Chance = random.Random

# What is put into texts, and between any two bytes.
TOKENS = [
    b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b'"', b"'", b"\xff", b"\xed\xa0\x80", b'"\\ud800"', b"\\u0000", b"\r", b"\n",
    b"\r\n", b",", b"\t", b";", b"[", b"{", b"]", b"}", b"1e999", b"-1", b"9" * 400, b"NaN", b"-Infinity", b"null",
    b"[" * DEEP, b'{"a":' * DEEP, b"\x1b[2J", "\u202e".encode(), b"\\", b"x" * 100_000, b"\n" * 5000, b"\xf0\x9f",
]  # fmt: skip
MARK = "<deep>"  # stands for nesting that Python's own writer cannot write
VALUES: list[Any] = [
    None, True, 0, -1, 1.5, 10**400, 2**63, 2**64, float("nan"), float("inf"), "", " ", "\0", "\ud800", "\ufeff",
    "x" * 1_000_000, [], {}, [[1]], {"a": {"b": [None]}}, [None], "=1+1", "\u202e", list(range(10_000)), ["a", 1],
    "null", "-0", "cat\ndog", 'c"at', MARK, {"id": 0, "name": "cat"}, {"bytes": "x", "path": "0.png"}, "../0.png",
]  # fmt: skip


def write_pictures(folder: Path) -> list[Path]:
    """Small pictures that all differ."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number}.png" for number in range(N_ROWS)]
    for number, file in enumerate(files):
        Image.new("RGB", (4, 4), (20 * number, 5, 7)).save(file)
    return files


def labels() -> list[str]:
    return [LABELS[number % 3] for number in range(N_ROWS)]


# Tables, written by Python's own writers


def as_csv(columns: Columns, delimiter: str = ",") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)
    rows = zip(*columns.values(), strict=True)
    writer.writerows([json.dumps(cell) if isinstance(cell, list | dict) else cell for cell in row] for row in rows)
    return deepened(text.getvalue())


def as_tsv(columns: Columns) -> bytes:
    return as_csv(columns, "\t")


def as_json(columns: Columns) -> bytes:
    return deepened(json.dumps(rows_of(columns)))


def as_jsonl(columns: Columns) -> bytes:
    return deepened("".join(json.dumps(row) + "\n" for row in rows_of(columns)))


def rows_of(columns: Columns) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def deepened(text: str) -> bytes:
    return text.replace(f'"{MARK}"', "[" * DEEP + "]" * DEEP).replace(MARK, "[" * DEEP).encode("utf-8", "surrogatepass")


def as_parquet(columns: Columns) -> bytes:
    return parquet(pa.table({name: pa.array(values) for name, values in columns.items()}))


def parquet(table: pa.Table, **options: Any) -> bytes:
    target = io.BytesIO()
    pq.write_table(table, target, **options)
    return target.getvalue()


def manifest(folder: Path) -> Columns:
    return {"path": [f"pictures/{number}.png" for number in range(N_ROWS)], "label": labels(), "note": ["a"] * N_ROWS}


def predictions(folder: Path) -> Columns:
    return {
        "path": [f"{number}.png" for number in range(N_ROWS)],
        "pred": labels()[::-1],
        "confidence": [0.5] * N_ROWS,
        "probs": [[0.5 if name == label else 0.25 for name in LABELS] for label in labels()[::-1]],
    }


def change_columns(columns: Columns, chance: Chance) -> Columns:
    """A cell, a column, a name or the number of columns is another."""
    names = list(columns)
    name, value = chance.choice(names), chance.choice(VALUES)
    kind = chance.randrange(7)
    if kind < 3:
        columns[name][chance.randrange(N_ROWS)] = value
    elif kind == 3:
        columns[name] = [value] * N_ROWS
    elif kind == 4:
        del columns[name]
    elif kind == 5:
        columns = {str(value)[:1000] if one == name else one: cells for one, cells in columns.items()}
    else:
        columns = {name: cells[:0] for name, cells in columns.items()}
    return columns


# Parquet: columns of every type, metadata, bombs


def odd_array(chance: Chance) -> pa.Array:
    n = N_ROWS
    nested: pa.DataType = pa.string()
    for _ in range(50):
        nested = pa.list_(nested)
    makers: list[Callable[[], pa.Array]] = [
        lambda: pa.array([chance.randrange(-2, 300) for _ in range(n)], pa.int64()),
        lambda: pa.array([2**64 - 1] * n, pa.uint64()),
        lambda: pa.array([Decimal("1.50")] * n, pa.decimal128(38, 2)),
        lambda: pa.array([0] * n, pa.date32()),
        lambda: pa.array([0] * n, pa.timestamp("ns", "UTC")),
        lambda: pa.array([True] * n),
        lambda: pa.array([b"\xff\xfe\0"] * n, pa.binary()),
        lambda: pa.array([b"\xed\xa0\x80"] * n, pa.binary()).view(pa.string()),
        lambda: pa.array([["cat"]] * n),
        lambda: pa.array([{"a": 1, "b": None}] * n),
        lambda: pa.array([{"bytes": b"x", "path": "pictures/0.png"}] * n),
        lambda: pa.array([[("cat", 1)]] * n, pa.map_(pa.string(), pa.int64())),
        lambda: pa.array(["cat"] * n).dictionary_encode(),
        lambda: pa.nulls(n),
        lambda: pa.array([b"ab"] * n, pa.binary(2)),
        lambda: pa.array([float("nan"), float("inf"), 1e300] * (n // 3)),
        lambda: pa.array([None] * n, nested),
        lambda: pa.array(["x" * 3_000_000] * n),
        lambda: pa.array([[0.1] * 100_000] * n),
    ]
    return chance.choice(makers)()


def change_parquet(columns: Columns, chance: Chance) -> bytes:
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    number = chance.randrange(table.num_columns)
    kind = chance.randrange(6)
    if kind < 3:
        table = table.set_column(number, table.column_names[number], odd_array(chance))
    elif kind == 3:
        table = table.append_column(table.column_names[number], odd_array(chance))
    elif kind == 4:
        key = chance.choice([b"huggingface", b"pandas", b"ARROW:schema"])
        wrong = chance.choice([b"[" * DEEP, b"\xff", b'{"info": {"features": {"label": {"names": [1, null]}}}}', b""])
        table = table.replace_schema_metadata({key: wrong})
    else:
        table = table.rename_columns(
            [chance.choice(["", "\0", "path", "x" * 10_000, "a.b"]) if at == number else name
             for at, name in enumerate(table.column_names)]
        )  # fmt: skip
    return parquet(table, compression=chance.choice(["none", "snappy", "gzip", "zstd"]))


# JSON of several files


def change_json(value: Any, chance: Chance) -> bytes:
    """One value somewhere inside is another, or gone."""
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        for key in list(node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()):
            places.append((node, key))
            collect(node[key])

    collect(value)
    node, key = chance.choice(places)
    if chance.random() < 0.2:
        del node[key]
    else:
        node[key] = chance.choice(VALUES)
    return deepened(json.dumps(value))


def coco(folder: Path) -> dict[str, Any]:
    return {
        "images": [{"id": n, "file_name": f"pictures/{n}.png", "width": 4, "height": 4} for n in range(N_ROWS)],
        "annotations": [{"id": n, "image_id": n, "category_id": n % 3, "bbox": [0, 0, 4, 4]} for n in range(N_ROWS)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(LABELS)],
    }


def features() -> dict[str, Any]:
    return {"image": {"_type": "Image"}, "label": {"names": list(LABELS), "_type": "ClassLabel"}}


def pictures_table(folder: Path) -> pa.Table:
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in sorted((folder / "pictures").iterdir())]
    table = pa.table({"image": images, "label": pa.array([n % 3 for n in range(N_ROWS)]), "note": ["a"] * N_ROWS})
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features()}})})


def zipped(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.pax_headers = {"comment": "x"} if name.endswith("0.png") else {}
            archive.addfile(member, io.BytesIO(data))
    return target.getvalue()


def samples(folder: Path, change: Chance | None = None) -> dict[str, bytes]:
    """The files of a WebDataset shard, of which a side file may be another."""
    files: dict[str, bytes] = {}
    chosen = change.randrange(N_ROWS) if change else -1
    for number, file in enumerate(sorted((folder / "pictures").iterdir())):
        side = {"label": LABELS[number % 3], "note": {"a": [1]}}
        files[f"{file.stem}.png"] = file.read_bytes()
        files[f"{file.stem}.json"] = (
            change_json(side, change) if change and number == chosen else json.dumps(side).encode()
        )
    return files


def class_folders(folder: Path) -> dict[str, bytes]:
    files = sorted((folder / "pictures").iterdir())
    return {f"{LABELS[number % 3]}/{file.name}": file.read_bytes() for number, file in enumerate(files)}


# Mutations of bytes


def change_bytes(whole: bytes, chance: Chance) -> bytes:
    data = bytearray(whole)
    at, kind = chance.randrange(len(data)), chance.randrange(10)
    if kind == 0:
        del data[at:]
    elif kind == 1:
        del data[at : at + chance.randrange(1, 200)]
    elif kind in (2, 3, 4):  # half of the changes near the end, where Parquet and zip keep their lists
        for _ in range(1 if kind == 2 else 30):
            low = len(data) * 9 // 10 if chance.random() < 0.5 else 0
            data[chance.randrange(low, len(data))] = chance.randrange(256)
    elif kind == 5:
        data[at:at] = data[at : at + chance.randrange(1, 500)]
    elif kind == 6:
        data[at:at] = chance.choice(TOKENS)
    elif kind == 7:
        data[at : at + chance.randrange(1, 20)] = chance.choice(TOKENS)
    elif kind == 8:
        data = chance.choice([bytearray(b"\xef\xbb\xbf"), bytearray(b"\0"), bytearray(b"\xff\xfe")]) + data
    else:
        data = data + data
    return bytes(data)


# Forms: what is changed (a file below the folder), how it is written whole and changed, and which verb takes what

Text = Callable[[Columns], bytes]


class Form:
    """One form: `whole` gives the bytes of `file`; `change` those of a structured mutation."""

    def __init__(
        self,
        file: str,
        whole: Callable[[Path], bytes],
        change: Callable[[Path, Chance], bytes],
        read: Callable[[Path], list[dict[str, Any]]] | None = None,
        source: str | None = None,
        verb: str = "add-images",
        bombs: tuple[Callable[[], bytes], ...] = (),
    ) -> None:
        self.file, self.whole, self.change, self.read = file, whole, change, read
        self.source, self.verb, self.bombs = source or file, verb, bombs

    def mutation(self, folder: Path, number: int) -> bytes:
        """The bytes of one mutation; the same for the same number."""
        chance = random.Random(number)
        if number < len(self.bombs):
            return self.bombs[number]()
        return change_bytes(self.whole(folder), chance) if number % 2 else self.change(folder, chance)


def read_csv(delimiter: str) -> Callable[[Path], list[dict[str, Any]]]:
    def read(file: Path) -> list[dict[str, Any]]:
        lines = list(csv.reader(io.StringIO(file.read_text("utf-8-sig"), newline=""), delimiter=delimiter, strict=True))
        if any(len(line) != len(lines[0]) for line in lines):
            raise ValueError("lines of several lengths, which readers take in several ways")
        return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]

    return read


def read_json(file: Path) -> list[dict[str, Any]]:
    return list(json.loads(file.read_text("utf-8-sig")))


def read_jsonl(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8-sig").split("\n") if line.strip()]


def read_parquet(file: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(file).to_pylist())


def table_form(name: str, columns: Callable[[Path], Columns], verb: str) -> Form:
    write, read, bombs = {
        "csv": (as_csv, read_csv(","), (long_line, long_cell, wide_csv)),
        "tsv": (as_tsv, read_csv("\t"), ()),
        "json": (as_json, read_json, (deep_json, many_empty, *map(long_text, ("path", "label", "pred", "note")))),
        "jsonl": (as_jsonl, read_jsonl, (many_keys,)),
        "parquet": (as_parquet, read_parquet, (repeated_text, many_rows, long_lists)),
    }[name]

    def change(folder: Path, chance: Chance) -> bytes:
        if name == "parquet":
            return change_parquet(columns(folder), chance)
        return write(change_columns(columns(folder), chance))

    return Form(f"table.{name}", lambda folder: write(columns(folder)), change, read, verb=verb, bombs=bombs)


# Few bytes that become many


def long_line() -> bytes:
    return b"path,label\n" + b"x" * 80_000_000


def long_cell() -> bytes:
    return b"path,label,pred\n0.png,cat,cat\n1.png," + b"x" * 50_000_000 + b",cat\n"


def wide_csv() -> bytes:
    head = ",".join(f"c{number}" for number in range(20_000))
    return f"path,label,{head}\n0.png,cat{',1' * 20_000}\n".encode()


def deep_json() -> bytes:
    return b'[{"path": ' + b"[" * 3_000_000 + b"]" * 3_000_000 + b"}]"


def many_empty() -> bytes:
    return b"[" + b"{}," * 2_000_000 + b"{}]"


def long_text(name: str) -> Callable[[], bytes]:
    def build() -> bytes:
        cells = {
            "path": "0.png",
            "label": "cat",
            "pred": "cat",
            name: "x" * (60_000_000 if name == "path" else 20_000_000),
        }
        return json.dumps([cells, cells | {"path": "1.png"}]).encode()

    return build


def many_keys() -> bytes:
    return b"".join(f'{{"path": "{number}.png", "k{number}": 1}}\n'.encode() for number in range(3000))


def repeated(table: pa.Table, times: int) -> bytes:
    """Parquet that holds the same rows many times, written one after another."""
    target = io.BytesIO()
    with pq.ParquetWriter(target, table.schema, compression="zstd") as writer:
        for _ in range(times):
            writer.write_table(table)
    return target.getvalue()


def repeated_text() -> bytes:
    return repeated(pa.table({"path": ["x" * 10_000_000] * 10, "label": ["cat"] * 10, "pred": ["cat"] * 10}), 100)


def many_rows() -> bytes:
    """30 million rows in some kB."""
    name = pa.DictionaryArray.from_arrays(pa.nulls(1_000_000, pa.int8()).fill_null(0), ["pictures/0.png"])
    return repeated(pa.table({"path": name, "label": name, "pred": name}), 30)


def long_lists() -> bytes:
    lists = pa.array([[0.0] * 1_000_000], pa.list_(pa.float32()))
    return repeated(pa.table({"path": ["0.png"], "probs": lists, "label": ["cat"], "pred": ["cat"]}), 60)


def large_members() -> bytes:
    return zipped({f"cat/{number}.png": b"\0" * 250_000_000 for number in range(8)})


def large_pictures() -> bytes:
    return repeated(pa.table({"image": [{"bytes": b"\0" * 200_000_000, "path": None}]}), 8)


def false_size() -> bytes:
    data = bytearray(tarred({"cat/0.png": b"x" * 100, "cat/1.png": b"y"}))
    data[124:136] = b"77777777777\0"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


def long_name() -> bytes:
    """A tar file whose name of a member, by GNU's extension, has 8 GB."""
    header = bytearray(tarfile.TarInfo("././@LongLink").tobuf(tarfile.GNU_FORMAT))
    header[156:157], header[124:136], header[148:156] = b"L", b"77777777777\0", b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + b"x" * 5000


def other_column(table: pa.Table, chance: Chance) -> pa.Table:
    return table.set_column(chance.randrange(3), chance.choice(["image", "label", "x"]), odd_array(chance))


def arrow_file(folder: Path, chance: Chance | None = None) -> bytes:
    table = pictures_table(folder)
    if chance is not None:
        table = other_column(table, chance)
    target = io.BytesIO()
    with pa.ipc.new_stream(target, table.schema) as stream:
        stream.write_table(table)
    return target.getvalue()


def offset_bomb() -> bytes:
    """An Arrow file whose offsets lead out of its buffers."""
    text, number = "z" * 4321, 1_234_567
    data = pa.table({"image": [{"bytes": text.encode(), "path": None}], "label": [number]})
    target = io.BytesIO()
    with pa.ipc.new_stream(target, data.schema) as stream:
        stream.write_table(data)
    return target.getvalue().replace(struct.pack("<i", len(text)), struct.pack("<i", 2**31 - 1))


def info() -> dict[str, Any]:
    return {"description": "", "features": features(), "splits": {"train": {"name": "train", "num_examples": N_ROWS}}}


def state() -> dict[str, Any]:
    return {"_data_files": [{"filename": "data.arrow"}], "_split": "train", "_fingerprint": "x", "_format_type": None}


def as_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


def class_list(folder: Path) -> bytes:
    return "".join(f"{name}\n" for name in LABELS).encode()


FORMS: dict[str, Form] = {
    **{
        f"manifest {name}": table_form(name, manifest, "add-images")
        for name in ("csv", "tsv", "json", "jsonl", "parquet")
    },
    **{
        f"predictions {name}": table_form(name, predictions, "add-predictions")
        for name in ("csv", "tsv", "json", "jsonl", "parquet")
    },
    "coco": Form(
        "instances.json",
        lambda folder: as_bytes(coco(folder)),
        lambda folder, chance: change_json(coco(folder), chance),
        bombs=(lambda: b'{"images": ' + b"[" * 3_000_000, lambda: b'{"images": [' + b"{}," * 2_000_000 + b"{}]}"),
    ),
    "hf parquet": Form(
        "data.parquet",
        lambda folder: parquet(pictures_table(folder)),
        lambda folder, chance: parquet(other_column(pictures_table(folder), chance)),
        bombs=(large_pictures,),
    ),
    "hf arrow": Form("saved/data.arrow", arrow_file, arrow_file, source="saved", bombs=(offset_bomb,)),
    "hf info": Form(
        "saved/dataset_info.json",
        lambda _: as_bytes(info()),
        lambda _, chance: change_json(info(), chance),
        source="saved",
    ),
    "hf state": Form(
        "saved/state.json",
        lambda _: as_bytes(state()),
        lambda _, chance: change_json(state(), chance),
        source="saved",
    ),
    "zip": Form(
        "photos.zip",
        lambda folder: zipped(class_folders(folder)),
        lambda folder, chance: zipped(class_folders(folder) | {chance.choice(
            ["/", "../x.png", "\u202e.png", "cat/" * 5000 + "a.png", "cat", "train/cat/a.png", "a" * 60_000]
        ): chance.choice(TOKENS)}),
        bombs=(large_members,),
    ),
    "webdataset": Form(
        "shard.tar",
        lambda folder: tarred(samples(folder)),
        lambda folder, chance: tarred(samples(folder, chance)),
        bombs=(false_size, long_name),
    ),
    "metadata csv": Form(
        "images/metadata.csv",
        lambda _: as_csv({"file_name": [f"{n}.png" for n in range(N_ROWS)], "label": labels()}),
        lambda _, chance: as_csv(
            change_columns({"file_name": [f"{n}.png" for n in range(N_ROWS)], "label": labels()}, chance)
        ),
        source="images",
    ),
    "metadata jsonl": Form(
        "images/metadata.jsonl",
        lambda _: as_jsonl({"file_name": [f"{n}.png" for n in range(N_ROWS)], "label": labels()}),
        lambda _, chance: as_jsonl(
            change_columns({"file_name": [f"{n}.png" for n in range(N_ROWS)], "label": labels()}, chance)
        ),
        source="images",
    ),
    "classes": Form(
        "classes.txt", class_list, lambda folder, chance: chance.choice(TOKENS).join(class_list(folder).split(b"\n"))
    ),
    "classes json": Form(
        "classes.json",
        lambda _: as_bytes(list(LABELS)),
        lambda _, chance: change_json({"id2label": dict(enumerate(LABELS))}, chance),
    ),
}  # fmt: skip


def prepare(form: Form, folder: Path) -> None:
    """Everything beside the file that is changed."""
    write_pictures(folder / "pictures")
    if form.source == "images":
        write_pictures(folder / "images")
    if form.source == "saved":
        saved = folder / "saved"
        saved.mkdir(exist_ok=True)
        (saved / "data.arrow").write_bytes(arrow_file(folder))
        (saved / "dataset_info.json").write_bytes(as_bytes(info()))
        (saved / "state.json").write_bytes(as_bytes(state()))
    (folder / form.file).write_bytes(form.whole(folder))


def add(con: duckdb.DuckDBPyConnection, form: Form, folder: Path, number: int) -> str:
    """Hand the file to its verb; says what came of it."""
    if form.verb == "add-predictions":
        made = sqlanalysis.add_predictions(con, folder / form.source, f"run{number}")
        return f"{made.n_ok} rows, {made.n_errors} errors"
    name = f"set{number}"
    if form.file.startswith("classes"):
        table = pa.table({"path": [str(folder / "pictures/0.png")], "label": [0]})
        added = sqlanalysis.add_images(con, table, dataset=name, classes=folder / form.file, show_progress=False)
    else:
        added = sqlanalysis.add_images(con, folder / form.source, dataset=name, show_progress=False)
    return f"{added.n_added} rows, {added.n_errors} errors"


def contradiction(con: duckdb.DuckDBPyConnection, form: Form, folder: Path, number: int) -> str | None:
    """A row that says something else than the format's usual reader; None where that cannot read the file, either."""
    if form.read is None:
        return None
    try:
        theirs = form.read(folder / form.file)
        told: dict[str, list[Any]] = {}
        for row in theirs:
            value = row.get("pred" if form.verb == "add-predictions" else "label")
            told.setdefault(Path(row["path"].strip()).name, []).append(value)
    except Exception:
        return None
    if form.verb == "add-predictions":
        ours = con.sql(f"select parse_filename(uri), pred_name from run{number}").fetchall()
    else:
        ours = con.sql(
            "select parse_filename(uri), classes.name from images inner join datasets using (dataset) left join classes "
            "on classes.class = images.label and classes.label_space = datasets.label_space "
            f"where dataset = 'set{number}'"
        ).fetchall()
    for name, label in ours:
        values = told.get(name)
        if values is None:
            return f"{name} is no row of the file"
        if any(isinstance(value, str) and (value.startswith("{") or value.strip() == "-1") for value in values):
            continue  # an object of an id and a name is both; -1 is no label
        texts = [unicodedata.normalize("NFC", value.strip()) or None for value in values if isinstance(value, str)]
        if len(texts) == len(values) and label not in texts:
            return f"{name} is {label!r}, and the file says {texts}"
    return None


def state_of(con: duckdb.DuckDBPyConnection) -> list[Any]:
    """The content of every table, and every view."""
    tables = con.sql(
        "select schema_name, table_name from duckdb_tables() where not internal and not temporary order by all"
    ).fetchall()
    found: list[Any] = con.sql("select view_name from duckdb_views() where not internal order by all").fetchall()
    for schema, name in tables:
        found += con.sql(f'select \'{name}\', count(*), bit_xor(hash(t)) from "{schema}"."{name}" as t').fetchall()
    return found


def high() -> float:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def main(name: str, n: int, folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    form = FORMS[name]
    con = sqlanalysis.connect(folder / "work.duckdb")
    if form.verb == "add-predictions":
        table = pa.table(manifest(folder) | {"path": [str(folder / path) for path in manifest(folder)["path"]]})
        sqlanalysis.add_images(con, table, dataset="photos", show_progress=False)
    print(json.dumps({"whole": add(con, form, folder, n)}), flush=True)
    for number in range(n):
        (folder / "mutations" / str(number)).replace(folder / form.file)
        before = state_of(con)
        print(json.dumps({"start": number}), flush=True)
        Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on
        begin = time.process_time()
        told: dict[str, Any] = {"number": number}
        try:
            told["rows"] = add(con, form, folder, number)
            told["wrong"] = contradiction(con, form, folder, number)
        except SQLAnalysisError as error:
            told["error"] = f"{type(error).__name__}: {error}"[:300]
            if state_of(con) != before:
                told["wrong"] = "the file changed"
        except BaseException:
            told["raw"] = traceback.format_exc()[-1500:]
        told["seconds"], told["megabytes"] = time.process_time() - begin, high()
        print(json.dumps(told), flush=True)
    con.close()


def survive(name: str, n: int, folder: Path, patience: float) -> list[dict[str, Any]]:
    """What came of `n` mutations of a form; of one that ends the process, that it does."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "mutations").mkdir(parents=True)
    form = FORMS[name]
    prepare(form, folder)
    for number in range(n):  # not in the child, whose memory is measured
        (folder / "mutations" / str(number)).write_bytes(form.mutation(folder, number))
    command = [sys.executable, "-m", "tests.faults.manifests", name, str(n), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told, done.stderr[-2000:]
    assert told[0].get("whole", "").startswith(f"{N_ROWS if 'classes' not in name else 1} rows, 0 errors"), (
        told[:1],
        done.stderr[-2000:],
    )
    if done.returncode:
        told.append({"number": told[-1].get("start"), "raw": f"exit {done.returncode}: {done.stderr[-1500:]}"})
    return [one for one in told if "number" in one]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
