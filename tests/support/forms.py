"""The same labeled pictures in every form in which images come in: folders, tables, data sets, archives, addresses."""

from __future__ import annotations

import codecs
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from .trees import features, tarred, zipped

# Makes a source in an empty folder, from files and their labels.
Make = Callable[[Path, list[tuple[Path, str]]], Any]


def _copied(files: list[tuple[Path, str]], place: Callable[[Path, str, int], Path]) -> None:
    for number, (file, label) in enumerate(files):
        target = place(file, label, number)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)


def class_folders(at: Path, files: list[tuple[Path, str]]) -> Path:
    _copied(files, lambda file, label, _: at / label / file.name)
    return at


def wrapped(at: Path, files: list[tuple[Path, str]]) -> Path:
    _copied(files, lambda file, label, _: at / "photos" / "images" / label / file.name)
    return at


def split_folders(first: str, second: str) -> Make:
    def make(at: Path, files: list[tuple[Path, str]]) -> Path:
        _copied(files, lambda file, label, number: at / (first, second)[number % 2] / label / file.name)
        return at

    return make


def tiny_imagenet(at: Path, files: list[tuple[Path, str]]) -> Path:
    _copied(
        files,
        lambda file, label, n: at / "train" / label / "images" / file.name if n % 2 else at / "val/images" / file.name,
    )
    lines = [f"{file.name}\t{label}\t0\t0\t1\t1\n" for number, (file, label) in enumerate(files) if not number % 2]
    (at / "val" / "val_annotations.txt").write_text("".join(lines))
    return at


def metadata(kind: str) -> Make:
    def make(at: Path, files: list[tuple[Path, str]]) -> Path:
        _copied(files, lambda file, *_: at / file.name)
        frame = pd.DataFrame({"file_name": [file.name for file, _ in files], "label": [label for _, label in files]})
        _write(frame, at / f"metadata.{kind}")
        return at

    return make


def _frame(files: list[tuple[Path, str]]) -> pd.DataFrame:
    return pd.DataFrame({"path": [str(file) for file, _ in files], "label": [label for _, label in files]})


def _write(frame: pd.DataFrame, file: Path) -> Path:
    if file.suffix == ".parquet":
        frame.to_parquet(file)
    elif file.suffix in (".csv", ".tsv"):
        frame.to_csv(file, index=False, sep="," if file.suffix == ".csv" else "\t")
    else:
        frame.to_json(file, orient="records", lines=file.suffix == ".jsonl")
    return file


def table(name: str) -> Make:
    return lambda at, files: _write(_frame(files), at / name)


def encoded(encoding: str, mark: bytes) -> Make:
    def make(at: Path, files: list[tuple[Path, str]]) -> Path:
        text = _frame(files).to_csv(index=False, sep=";")
        (at / "list.csv").write_bytes(mark + text.encode(encoding))
        return at / "list.csv"

    return make


def shards(at: Path, files: list[tuple[Path, str]]) -> str:
    frame = _frame(files)
    for number in range(2):
        frame[number::2].to_parquet(at / f"part-{number}.parquet")
    return str(at / "*.parquet")


def pictures(at: Path, files: list[tuple[Path, str]]) -> pa.Table:
    """Rows with bytes, as Hugging Face writes them."""
    names = sorted({label for _, label in files})
    images = [{"bytes": file.read_bytes(), "path": file.name} for file, _ in files]
    rows = pa.table({"image": images, "label": [names.index(label) for _, label in files]})
    return rows.replace_schema_metadata(features(label=names))


def hf_parquet(at: Path, files: list[tuple[Path, str]]) -> Path:
    pq.write_table(pictures(at, files), at / "train-00000-of-00001.parquet")
    return at / "train-00000-of-00001.parquet"


def bytes_column(at: Path, files: list[tuple[Path, str]]) -> pa.Table:
    return pa.table({"image": [file.read_bytes() for file, _ in files], "label": [label for _, label in files]})


def pil_frame(at: Path, files: list[tuple[Path, str]]) -> pd.DataFrame:
    images = [Image.open(io.BytesIO(file.read_bytes())).convert("RGB") for file, _ in files]
    return pd.DataFrame({"image": images, "label": [label for _, label in files]})


def hf_dataset(at: Path, files: list[tuple[Path, str]]) -> Any:
    import datasets

    names = sorted({label for _, label in files})
    columns = {"image": [str(file) for file, _ in files], "label": [names.index(label) for _, label in files]}
    form = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    return datasets.Dataset.from_dict(columns, form)


def hf_dict(at: Path, files: list[tuple[Path, str]]) -> Any:
    import datasets

    whole = hf_dataset(at, files)
    return datasets.DatasetDict(
        {"train": whole.select(range(0, len(files), 2)), "test": whole.select(range(1, len(files), 2))}
    )


def hf_saved(at: Path, files: list[tuple[Path, str]]) -> Path:
    hf_dict(at, files).save_to_disk(at / "saved")
    return at / "saved"


def image_folder(at: Path, files: list[tuple[Path, str]]) -> Any:
    from torchvision.datasets import ImageFolder

    return ImageFolder(class_folders(at, files))


def subset(at: Path, files: list[tuple[Path, str]]) -> Any:
    from torch.utils.data import Subset

    return Subset(image_folder(at, files), range(len(files)))


def concatenated(at: Path, files: list[tuple[Path, str]]) -> Any:
    from torch.utils.data import ConcatDataset, random_split

    whole = image_folder(at, files)
    return ConcatDataset(random_split(whole, [len(files) // 2, len(files) - len(files) // 2]))


def _tree(files: list[tuple[Path, str]]) -> dict[str, bytes]:
    return {f"photos/{label}/{file.name}": file.read_bytes() for file, label in files}


def webdataset(at: Path, files: list[tuple[Path, str]]) -> str:
    for number in range(2):
        members = {}
        for file, label in files[number::2]:
            members |= {f"{file.stem}{file.suffix}": file.read_bytes(), f"{file.stem}.cls": label.encode()}
        tarred(at / f"shard-{number:06}.tar", members)
    return str(at / "shard-*.tar")


def coco(at: Path, files: list[tuple[Path, str]]) -> Path:
    names = sorted({label for _, label in files})
    content = {
        "images": [{"id": number, "file_name": file.name} for number, (file, _) in enumerate(files)],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 7 + names.index(label), "bbox": [0, 0, 1, 1]}
            for number, (_, label) in enumerate(files)
        ],
        "categories": [{"id": 7 + number, "name": name} for number, name in enumerate(names)],
    }
    _copied(files, lambda file, *_: at / "images" / file.name)
    (at / "annotations.json").write_text(json.dumps(content))
    return at / "annotations.json"


def in_memory(at: Path, files: list[tuple[Path, str]]) -> str:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for file, label in files:
        memory.pipe(f"/photos/{label}/{file.name}", file.read_bytes())
    return "memory://photos"


FORMS: dict[str, Make] = {
    "folder, a sub-folder a class": class_folders,
    "folder in folders": wrapped,
    "train/ val/": split_folders("train", "val"),
    "training/ validation/": split_folders("training", "validation"),
    "dev/ eval/": split_folders("dev", "eval"),
    "Tiny-ImageNet": tiny_imagenet,
    "metadata.csv": metadata("csv"),
    "metadata.jsonl": metadata("jsonl"),
    "metadata.parquet": metadata("parquet"),
    "CSV": table("list.csv"),
    "CSV, UTF-16, semicolons": encoded("utf-16-le", codecs.BOM_UTF16_LE),
    "CSV, UTF-16 big-endian": encoded("utf-16-be", codecs.BOM_UTF16_BE),
    "CSV, byte order mark": encoded("utf-8", codecs.BOM_UTF8),
    "TSV": table("list.tsv"),
    "JSON lines": table("list.jsonl"),
    "JSON array": table("list.json"),
    "Parquet": table("list.parquet"),
    "Parquet shards": shards,
    "list of Parquet shards": lambda at, files: sorted(Path(shards(at, files)).parent.glob("*.parquet")),
    "pandas": lambda at, files: _frame(files),
    "polars": lambda at, files: pl.from_pandas(_frame(files)),
    "Arrow": lambda at, files: pa.Table.from_pandas(_frame(files)),
    "relation": lambda at, files: duckdb.connect().from_df(_frame(files)),
    "Parquet of Hugging Face": hf_parquet,
    "Arrow, STRUCT(bytes, path)": pictures,
    "Arrow, bytes": bytes_column,
    "pandas, PIL images": pil_frame,
    "Dataset": hf_dataset,
    "DatasetDict": hf_dict,
    "IterableDataset": lambda at, files: hf_dataset(at, files).to_iterable_dataset(),
    "save_to_disk": hf_saved,
    "ImageFolder": image_folder,
    "Subset": subset,
    "ConcatDataset of random_split": concatenated,
    "list of paths and labels": lambda at, files: [(str(file), label) for file, label in files],
    "zip": lambda at, files: zipped(at / "photos.zip", _tree(files)),
    "tar": lambda at, files: tarred(at / "photos.tar", _tree(files)),
    "WebDataset shards": webdataset,
    "COCO": coco,
    "memory://": in_memory,
}
# Pictures that Python holds as pixels: their bytes are written anew, and only the pixels are equal.
ENCODED_ANEW = {"pandas, PIL images"}
