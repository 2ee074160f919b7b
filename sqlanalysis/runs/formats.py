"""How each format of `export` holds a run: Parquet, CSV, Hugging Face, FiftyOne, Embedding Atlas, a model card."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ..core import decode
from ..core.arrow import IMAGE_TYPE
from ..data.label_spaces import read_classes
from ..db.connection import cursor_of
from ..db.statements import execute, fetch, interrupts, may_reach
from ..db.templates import render
from ..errors import ImageError, QueryError, SchemaError
from . import run as runs
from . import sample
from .run import Run

ROWS = 8192  # read and written at once
SORTED = 1 << 22  # numbers that are put in order at once
AS_TEXT = 1 << 18  # likewise that are text at once, several times as large
PICTURES = 128  # likewise, where each row carries an image
READERS = 8
MARK = "sqlanalysis"
YAML_START = "# Written by sqlanalysis\n"
_PLAIN = re.compile(r"(TINYINT|SMALLINT|INTEGER|BIGINT|U\w*INT\w*|FLOAT|DOUBLE|BOOLEAN|VARCHAR)")
# Types that Arrow or the formats lack, or would change without notice.
_ODD = re.compile(r"\b(INTERVAL|BIT|UNION|TIME WITH TIME ZONE|U?HUGEINT|BIGNUM|VARIANT|GEOMETRY)\b")
_FIFTYONE_FIELDS = ("id", "filepath", "tags", "metadata", "ground_truth", "predictions")
Row = dict[str, Any]


@dataclass
class Subject:
    """A run on its way out: what of it is exported in which form, and what is to be said about that."""

    con: duckdb.DuckDBPyConnection  # two cursors of our own: this one streams rows while `side` reads bytes
    side: duckdb.DuckDBPyConnection
    run: Run
    target: Path
    images: str
    forms: list[tuple[str, str]]  # each column and its form in the query export_rows
    class_names: dict[str, tuple[str, ...]]  # of the columns that hold the index of a class
    splits: list[tuple[str | None, int, int]]  # name, rows, rows on the map
    n_asked: int
    notes: list[str]
    has_image: bool  # a column `image`: STRUCT(bytes, path)
    has_neighbors: bool = False
    width: int = 1  # numbers in a row
    n_read: int = 0
    unread: list[str] = field(default_factory=list)
    n_missing: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the export."""
        added = {"neighbors": self.has_neighbors, "image": self.has_image}
        return (*(name for name, _ in self.forms), *(name for name, there in added.items() if there))

    def tables(self, *, on_map: bool = False, **split: str | None) -> tuple[pa.Schema, Iterator[pa.Table]]:
        """The rows, a block at a time; `split=` selects one split, `on_map` the images with x and y."""
        # Neighbors are named by their row among all.
        rows = 1 << 62 if self.has_neighbors else max(ROWS, SORTED // self.width)
        readers = (
            self._reader(first, last, on_map, split)
            for first, last in fetch(self.con, "export_ranges", run=self.run.run, rows=rows)
        )
        first = next(readers)
        schema = first.schema.append(pa.field("image", IMAGE_TYPE)) if self.has_image else first.schema
        return schema, map(self._with_images, self._blocks(itertools.chain([first], readers)))

    def _reader(self, first: int, last: int, on_map: bool, split: Mapping[str, str | None]) -> pa.RecordBatchReader:
        sql = render(
            "export_rows",
            run=self.run.run,
            columns=self.forms,
            neighbors=self.has_neighbors,
            by_split=bool(split),
            on_map=on_map,
            first=first,
            last=last,
        )
        rows = PICTURES if self.images == "bytes" else ROWS
        if any(form in ("json", "raw") for _, form in self.forms):
            rows = max(PICTURES, min(rows, AS_TEXT // self.width))
        try:
            with interrupts():
                return self.con.sql(sql, params=list(split.values()) or None).to_arrow_reader(rows)
        except duckdb.Error as error:
            raise QueryError(f"export_rows: {str(error).strip()}") from error

    def _blocks(self, readers: Iterable[pa.RecordBatchReader]) -> Iterator[pa.Table]:
        for reader in readers:
            with reader:
                while True:
                    try:
                        with interrupts():
                            batch = reader.read_next_batch()
                    except StopIteration:
                        break
                    yield pa.Table.from_batches([batch])

    def _with_images(self, table: pa.Table) -> pa.Table:
        if not self.has_image:
            return table
        images = [self.pictures(table), table["uri"].combine_chunks()]
        return table.append_column(pa.field("image", IMAGE_TYPE), pa.StructArray.from_arrays(images, ["bytes", "path"]))

    def pictures(self, table: pa.Table) -> pa.Array:
        """The encoded bytes of the images of these rows: NULL for one that cannot be read or has changed.

        NULL for all where paths are asked for; then those that lead nowhere are counted.
        """
        ids, paths, hashes = (table[name].to_pylist() for name in ("image_id", "uri", "sha256"))
        if self.images == "path":
            self.n_missing += sum(not os.path.exists(path) for path in paths)
            return pa.nulls(len(ids), pa.binary())
        stored = dict(fetch(self.side, "export_bytes", {"ids": ids}))
        read = functools.partial(_picture, may_reach(self.side))
        with ThreadPoolExecutor(READERS) as pool:
            found = list(pool.map(read, map(stored.get, ids), paths, hashes))
        problems = [one for one in found if isinstance(one, str)]
        self.unread += problems
        self.n_read += len(found) - len(problems)
        return pa.array([one if isinstance(one, bytes) else None for one in found], pa.binary())

    def note_pictures(self) -> None:
        """Say how many images have no bytes in the export, or no file.

        Raises:
            ImageError: bytes were asked for, and no image can be read.
        """
        n = len(self.unread)
        if n and not self.n_read:
            raise ImageError(f"none of the {n} images can be read; the first: {self.unread[0]}")
        if n:
            self.notes.append(f"images without bytes in the export: {n}; the first: {self.unread[0]}")
        if self.n_missing:
            self.notes.append(
                f"images that are no file of this machine: {self.n_missing}; images='bytes' exports stored ones"
            )


def _picture(remote: bool, stored: bytes | None, path: str, sha256: str) -> bytes | str:
    """The bytes of an image as the run saw it, or why there are none."""
    try:
        data = decode.recorded({"bytes": stored, "path": path, "sha256": sha256}, remote=remote)
    except ImageError as error:
        return str(error)
    return data if hashlib.sha256(data).hexdigest() == sha256 else f"{path} has changed since it was added"


def read_subject(con: duckdb.DuckDBPyConnection, name: str, target: Path, to: str, images: str) -> Subject:
    """What is exported of a run; refused when it lacks what the format needs.

    Raises:
        NotFoundError, SchemaError: as `export`.
    """
    run = runs.require(con, name)
    types = dict(fetch(con, "export_columns", [name]))
    splits = fetch(con, "export_splits", run=name)
    n_rows = sum(row[1] for row in splits)
    if not n_rows:
        raise SchemaError(f"run {name!r} has no outputs to export")
    n_images, n_ok, n_errors = fetch(con, "read_run_size", [name])[0]
    notes = []
    drawn = sample.read(con, name)
    if drawn is not None:
        notes.append(f"run {name!r} is a sample: {drawn}")
    elif n_images > n_ok + n_errors:
        notes.append(f"run {name!r} is not complete: {n_images - n_ok - n_errors} of {n_images} images are to be done")
    if n_errors:
        notes.append(
            f"left out, as they have an error and no output: {n_errors} images (from errors where run = '{name}')"
        )
    if n_ok > n_rows:
        notes.append(f"left out, as the bytes of their images have changed since: {n_ok - n_rows} outputs")
    spaces = {"label": run.label_space, "pred": run.label_space, "raw_pred": run.model_label_space}
    class_names = {key: read_classes(con, space).names for key, space in spaces.items() if space and key in types}
    subject = Subject(
        con=cursor_of(con),
        side=cursor_of(con),
        run=run,
        target=target,
        images=images,
        forms=_forms(types, to, class_names, notes) if to != "model-index" else [],
        class_names={key: names for key, names in class_names.items() if names},
        splits=splits,
        n_asked=max(n_images, n_rows),
        notes=notes,
        width=sum(math.prod(map(int, re.findall(r"\[(\d+)\]", dtype))) for dtype in types.values()),
        has_image=to in ("parquet", "hf", "atlas") and (images == "bytes" or (to == "hf" and images == "path")),
    )
    subject.con.begin()  # all blocks are of one state of the file
    _NEEDS.get(to, _needs_nothing)(subject, types)
    if images == "none":
        subject.forms = [(column, form) for column, form in subject.forms if column != "uri"]
    if subject.has_image and "image" in types:
        raise SchemaError(f"run {name!r} has a column `image` of its own; export it with images='none' or as CSV")
    return subject


def _forms(
    types: dict[str, str], to: str, class_names: dict[str, tuple[str, ...]], notes: list[str]
) -> list[tuple[str, str]]:
    """Each column with the form in which the format holds it; what changes or is left out is noted."""
    found, texts, left_out = [], [], []
    for name, dtype in types.items():
        form = _form(name, dtype, to)
        if form == "":
            left_out.append(f"{name} ({dtype})")
            continue
        if form.startswith("noted "):
            texts.append(f"{name} ({dtype})")
        if name in class_names and to in ("parquet", "hf", "atlas"):
            form = "class"
        found.append((name, form.removeprefix("noted ")))
    if texts:
        notes.append(f"{to} has no such type, so these are text: {', '.join(texts)}")
    if left_out:
        notes.append(f"{to} cannot hold these columns, so they are left out: {', '.join(left_out)}")
    return found


def _form(name: str, dtype: str, to: str) -> str:
    """How a format holds a type: "same", "text", "json" (as text) or "raw" (JSON itself); "" not at all.

    "noted" stands in front where that may surprise.
    """
    nested = dtype.endswith("]") or dtype.startswith(("STRUCT", "MAP"))
    if _ODD.search(dtype):
        return "noted text"
    if dtype in ("JSON", "UUID") or (dtype.startswith("ENUM") and not nested):
        return "text"
    if to in ("parquet", "hf", "atlas"):
        return "noted json" if "MAP(" in dtype else "same"
    if "BLOB" in dtype or (to == "fiftyone" and (name in _FIFTYONE_FIELDS or name.startswith("_"))):
        return ""
    if _PLAIN.fullmatch(dtype):
        return "same"
    if to == "csv":
        return "json" if nested else "text"
    if re.fullmatch(_PLAIN.pattern + r"\[\d*\]", dtype):
        return "raw"  # JSON by DuckDB, which takes a tenth of the time of Python's
    return "noted json" if nested else "noted text"


def _needs_nothing(subject: Subject, types: dict[str, str]) -> None:
    pass


def _needs_map(subject: Subject, types: dict[str, str]) -> None:
    """An atlas needs coordinates, and shows neighbors where there are some."""
    run, notes = subject.run.run, subject.notes
    n_rows, n_on_map = sum(row[1] for row in subject.splits), sum(row[2] for row in subject.splits)
    if not n_on_map:
        raise SchemaError(f"run {run!r} has no projection; make one with project(con, {run!r})")
    if n_rows > n_on_map:
        notes.append(f"left out, as they have no coordinates: {n_rows - n_on_map} images")
    found = fetch(subject.side, "export_neighbors", [run])
    if found and "neighbors" in types:
        notes.append("the nearest neighbors are left out: the run has a column `neighbors` of its own")
    elif found and found[0][0] != n_rows:
        notes.append(f"the nearest neighbors are left out: they are not of these images; find_neighbors(con, {run!r})")
    else:
        subject.has_neighbors = bool(found)


def _needs_figures(subject: Subject, types: dict[str, str]) -> None:
    if "pred" not in types:
        raise SchemaError(f"run {subject.run.run!r} has no predictions, so it has no results for a model card")


MOST_METADATA = 16_000_000  # bytes; they are written twice, and pyarrow itself reads no text of more than 100 MB
_NEEDS = {"atlas": _needs_map, "model-index": _needs_figures}


def _metadata(subject: Subject) -> dict[bytes, bytes]:
    """What a Parquet file says of itself: which columns are classes or images, for `datasets`, and where it is from."""
    features: Row = {key: {"names": list(names), "_type": "ClassLabel"} for key, names in subject.class_names.items()}
    if subject.has_image:
        features["image"] = {"_type": "Image"}
    found = {
        b"huggingface": json.dumps({"info": {"features": features}}).encode(),
        MARK.encode(): json.dumps(_origin(subject)).encode(),
    }
    n_bytes = sum(map(len, found.values()))
    if n_bytes > MOST_METADATA:
        raise SchemaError(
            f"the names of the classes of run {subject.run.run!r} need {n_bytes / 1e6:.0f} MB, and readers of Parquet "
            f"take at most {MOST_METADATA / 1e6:.0f} MB of them; export it as CSV"
        )
    return found


def _origin(subject: Subject) -> Row:
    run = subject.run
    return {
        "version": importlib.metadata.version("sqlanalysis"),
        **{"run": run.run, "dataset": run.dataset, "model": run.model, "weights": run.weights},
        "classes": list(subject.class_names.get("pred", subject.class_names.get("label", ()))),
    }


def _write_parquet(subject: Subject, file: Path, **which: Any) -> int:
    schema, tables = subject.tables(**which)
    schema = schema.with_metadata(_metadata(subject))
    n_rows = 0
    with pq.ParquetWriter(file, schema) as writer:
        for table in tables:
            writer.write_table(table)
            n_rows += len(table)
    return n_rows


def _write_atlas(subject: Subject, file: Path) -> int:
    return _write_parquet(subject, file, on_map=True)


def _write_csv(subject: Subject, file: Path) -> int:
    schema, tables = subject.tables()
    n_rows = 0
    with pyarrow.csv.CSVWriter(file, schema) as writer:
        for table in tables:
            writer.write_table(table)
            n_rows += len(table)
    return n_rows


def _write_hf(subject: Subject, folder: Path) -> int:
    """One Parquet file a split, and the card that names them."""
    (folder / "data").mkdir(parents=True)
    names = _split_names([split for split, *_ in subject.splits])
    odd = {split: name for split, name in names.items() if split != name}
    if odd:
        subject.notes.append(f"splits are called otherwise: {', '.join(f'{old} is {new}' for old, new in odd.items())}")
    sizes = {}
    for split, name in names.items():
        file = folder / "data" / f"{name}-00000-of-00001.parquet"
        sizes[name] = _write_parquet(subject, file, split=split)
    features = [_feature(item, subject) for item in pq.read_schema(file)]
    info = {"features": features, "splits": [{"name": name, "num_examples": n} for name, n in sizes.items()]}
    card = {
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": name, "path": f"data/{name}-*.parquet"} for name in sizes],
            }
        ],
        # Without a feature of unknown type, `datasets` takes all of them from the Parquet files.
        **({"dataset_info": info} if all(features) else {}),
    }
    run = subject.run
    text = f"# {run.run}\n\nPredictions of run {run.run} (model {run.model}) on data set {run.dataset}.\n"
    (folder / "README.md").write_text(f"---\n{YAML_START}{_yaml(card)}---\n\n{text}", encoding="utf-8")
    return sum(sizes.values())


def _split_names(splits: list[str | None]) -> dict[str | None, str]:
    """Names of splits as `datasets` allows them, all different."""
    found: dict[str | None, str] = {}
    for split in splits:
        name = re.sub(r"\W", "_", split or "unsplit", flags=re.ASCII)
        name = f"{name}_" if name == "all" else name  # which means all of them to `datasets`
        while name in found.values():
            name += "_"
        found[split] = name
    return found


_HF_TYPES = {"float": "float32", "double": "float64", "halffloat": "float16", "date32[day]": "date32"}


def _feature(item: pa.Field, subject: Subject) -> Row:
    """A column in the words of a data set card; empty for a type that it has no word for."""
    if item.name in subject.class_names:
        names = {str(index): name for index, name in enumerate(subject.class_names[item.name])}
        return {"name": item.name, "dtype": {"class_label": {"names": names}}}
    if item.name == "image" and subject.has_image:
        return {"name": "image", "dtype": "image"}
    inner = _feature_type(item.type)
    return {"name": item.name, **inner} if inner else {}


def _feature_type(dtype: pa.DataType) -> Row:
    if pa.types.is_fixed_size_list(dtype) or pa.types.is_list(dtype):
        inner = _feature_type(dtype.value_type)
        length = {"length": dtype.list_size} if pa.types.is_fixed_size_list(dtype) else {}
        return {"list": inner["dtype"] if set(inner) == {"dtype"} else inner, **length} if inner else {}
    if pa.types.is_struct(dtype):
        parts = [{"name": part.name, **_feature_type(part.type)} for part in dtype]
        return {"struct": parts} if all(len(part) > 1 for part in parts) else {}
    if pa.types.is_dictionary(dtype) or pa.types.is_map(dtype) or pa.types.is_null(dtype):
        return {}
    return {"dtype": _HF_TYPES.get(str(dtype), str(dtype))}


def _write_fiftyone(subject: Subject, folder: Path) -> int:
    """FiftyOne's layout without database ids, which its importer of `FiftyOneDataset` recognizes by the absent version.

    The other one holds documents of one version of its database. See `LegacyFiftyOneDatasetImporter` in
    fiftyone/utils/data/importers.py.
    """
    folder.mkdir()
    if subject.images == "bytes":
        (folder / "data").mkdir()
    n_rows, raw = 0, [name for name, form in subject.forms if form == "raw"]
    _, tables = subject.tables()
    with open(folder / "samples.json", "w", encoding="utf-8", newline="\n") as stream:
        stream.write('{"samples": [')
        for table in tables:
            texts = [table[name].to_pylist() for name in raw]
            plain = table.drop_columns(raw).to_pylist()
            for number, (row, picture) in enumerate(zip(plain, subject.pictures(table).to_pylist(), strict=True)):
                path = row["uri"]
                if picture is not None:
                    path = f"data/{row['image_id']}.{row['format'].lower()}"
                    (folder / path).write_bytes(picture)
                sample = json.dumps(_sample(row, path), ensure_ascii=False)[:-1]
                lists = (
                    f", {json.dumps(name, ensure_ascii=False)}: {column[number]}"
                    for name, column in zip(raw, texts, strict=True)
                    if column[number] is not None
                )
                stream.write(f"{',' if n_rows else ''}\n{sample}{''.join(lists)}}}")
                n_rows += 1
        stream.write("\n]}\n")
    info = {"default_classes": _origin(subject)["classes"], MARK: _origin(subject)}
    metadata = {"name": subject.run.run, "media_type": "image", "info": info}
    (folder / "metadata.json").write_text(json.dumps(metadata, ensure_ascii=False), encoding="utf-8")
    return n_rows


def _sample(row: Row, path: str) -> Row:
    """One image as FiftyOne keeps it; a column that is NULL is absent."""
    row = {name: value for name, value in row.items() if value is not None}
    sizes = {"size_bytes": row.pop("n_bytes"), "width": row.pop("width_px"), "height": row.pop("height_px")}
    labels: Row = {}
    if "label_name" in row:
        labels["ground_truth"] = {"_cls": "Classification", "label": row.pop("label_name")}
    if "pred" in row:
        name = row.pop("pred_name", str(row["pred"]))  # -1 is none of the classes
        confidence = {"confidence": row.pop("confidence")} if "confidence" in row else {}
        labels["predictions"] = {"_cls": "Classification", "label": name, **confidence}
    tags = [row.pop("split")] if "split" in row else []
    return {"filepath": path, "tags": tags, "metadata": {"_cls": "ImageMetadata", **sizes}, **labels, **row}


# Type on the Hub, with the arguments that it is computed with; name; column of export_figures.
_FIGURES: tuple[tuple[str, Row, str, str], ...] = (
    ("accuracy", {}, "Accuracy", "accuracy"),
    ("balanced_accuracy", {}, "Balanced accuracy", "balanced_accuracy"),
    ("f1", {"average": "macro"}, "Macro F1", "f1_macro"),
    ("f1", {"average": "weighted"}, "Weighted F1", "f1_weighted"),
    ("precision", {"average": "macro"}, "Macro precision", "precision_macro"),
    ("recall", {"average": "macro"}, "Macro recall", "recall_macro"),
    ("matthews_correlation", {}, "Matthews correlation", "mcc"),
)


def _write_model_index(subject: Subject, file: Path) -> int:
    """The results of each split; a model card has no field for an interval, so that stands in the name."""
    run = subject.run
    results, n_labeled, without = [], 0, 0
    for split, n_rows, _ in subject.splits:
        result = execute(subject.con, "export_figures", [split], run=run.run)
        columns = [column[0] for column in result.description]
        figures: Row = dict(zip(columns, result.fetchall()[0], strict=True))
        without += n_rows - figures["n"]
        n_labeled += figures["n"]
        if figures["n"]:
            results.append(_result(subject, split, figures))
    if not results:
        raise SchemaError(f"run {run.run!r} has no labeled images with a prediction, so it has no results")
    if without:
        subject.notes.append(f"not counted, as they have no label or no prediction: {without} images")
    text = YAML_START + _yaml({"model-index": [{"name": run.model, "results": results}]})
    file.write_text(f"---\n{text}---\n" if subject.target.suffix.lower() == ".md" else text, encoding="utf-8")
    return n_labeled


def _result(subject: Subject, split: str | None, figures: Row) -> Row:
    run = subject.run
    n = f"{figures['n']:,} images" + ", a random sample" * (run.sample is not None)
    n += ", outputs restricted to its classes" * (run.class_policy == "restricted")
    metrics, undefined = [], []
    for kind, arguments, name, column in _FIGURES:
        if figures[column] is None:
            undefined.append(name)
            continue
        interval = ""
        if column == "accuracy":
            interval = f", 95 % interval {figures['ci_low']:.4f} to {figures['ci_high']:.4f}"
        args = {"args": arguments} if arguments else {}
        metrics.append({"type": kind, "value": figures[column], "name": f"{name} ({n}{interval})", **args})
    if undefined:
        subject.notes.append(f"undefined on split {split}, so left out: {', '.join(undefined)}")
    dataset = {"type": run.dataset, "name": run.dataset, **({} if split is None else {"split": split})}
    return {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": dataset,
        "metrics": metrics,
    }


def _yaml(value: Row) -> str:
    """A block of YAML 1.1, which PyYAML reads."""
    return "\n".join(_yaml_lines(value)) + "\n"


def _yaml_lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        lines = []
        for key, inner in value.items():
            below = _yaml_lines(inner)
            start = key if re.fullmatch("[a-z_-]+", key) else _scalar(key)
            nested = isinstance(inner, dict | list)
            lines += [f"{start}:", *("  " + line for line in below)] if nested else [f"{start}: {below[0]}"]
        return lines
    if isinstance(value, list):
        return [("  " if index else "- ") + line for one in value for index, line in enumerate(_yaml_lines(one))]
    return [_scalar(value)]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        quoted = json.dumps(value, ensure_ascii=False)
        return re.sub(
            "[^\t -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", lambda one: f"\\u{ord(one[0]):04x}", quoted
        )
    text = json.dumps(value)
    return (
        text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text
    )  # 1e-05 is text in YAML 1.1


WRITERS = {
    "parquet": _write_parquet,
    "csv": _write_csv,
    "hf": _write_hf,
    "fiftyone": _write_fiftyone,
    "atlas": _write_atlas,
    "model-index": _write_model_index,
}
