"""Folders of images: classes, splits, tables of labels beside them, and what is left out."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sqlanalysis.core.decode import encode
from sqlanalysis.data.sources import Source
from sqlanalysis.data.sources.folder import from_folder, is_image, is_split, parquet_shards
from sqlanalysis.errors import ArgumentError, NotFoundError, SchemaError

PICTURE = encode(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
WNIDS = ("n01443537", "n01629819")


def fill(root: Path, *files: str) -> Path:
    """Write files: pictures, and text where the name says so."""
    for name in files:
        path = root / name.rstrip("/")
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"text" if path.suffix in (".txt", ".xml", ".csv", ".db", ".ini") else PICTURE)
    return root


def read(root: Path) -> tuple[Source, dict[str, tuple[str | None, str | int | None]]]:
    """The source, and (split, label) by relative path."""
    source = from_folder(root)
    found = {}
    for entry in source.entries:
        assert entry.relative is not None
        assert os.path.samefile(entry.uri, root / entry.relative)
        assert entry.relative not in found
        found[entry.relative] = (entry.split, entry.label)
    return source, found


@pytest.mark.parametrize(
    "name",
    [
        *("train", "Training", "TRAIN", "val", "valid", "validation", "dev", "test", "testing", "eval", "evaluation"),
        *("holdout", "hold-out", "held_out", "trainval", "train_val", "test_set", "Training Set", "trainset"),
        *("val_images", "train2017", "test-1"),
    ],
)
def test_usual_names_of_splits(name: str) -> None:
    assert is_split(name)


@pytest.mark.parametrize(
    "name",
    ["cat", "train station", "test_tube", "bullet-train", "set", "data", "images", "2017", "", "validity", "latest"],
)
def test_other_names(name: str) -> None:
    assert not is_split(name)


@pytest.mark.parametrize("names", [("train", "dev"), ("Training", "holdout"), ("train", "val", "test_set")])
def test_splits_by_any_usual_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    root = fill(tmp_path / "set", *(f"{split}/{label}/a.jpg" for split in names for label in ("cat", "dog")))
    source, found = read(root)
    assert found == {f"{split}/{label}/a.jpg": (split, label) for split in names for label in ("cat", "dog")}
    assert (source.name, source.keys, source.notes, dict(source.left_out)) == ("set", ("cat", "dog"), [], {})


def test_what_lies_beside_the_splits_is_said(tmp_path: Path) -> None:
    root = fill(
        tmp_path / "set",
        *("train/cat/a.jpg", "val/dog/b.jpg", "unlabeled/1.jpg", "unlabeled/more/2.jpg", "sample.png", "notes.txt"),
    )
    source, found = read(root)
    assert found == {"train/cat/a.jpg": ("train", "cat"), "val/dog/b.jpg": ("val", "dog")}
    assert source.keys == ("cat", "dog")
    assert source.left_out == {"images beside the splits": 3, "*.txt": 1}
    assert source.notes == ["left out beside train/, val/: 1 image, unlabeled/ (2 images)"]


def test_annotations_beside_one_split_are_no_class(tmp_path: Path) -> None:
    source, found = read(fill(tmp_path / "set", "train/cat/a.jpg", "annotations/a.xml", "annotations/b.xml"))
    assert (found, source.keys) == ({"train/cat/a.jpg": ("train", "cat")}, ("cat",))
    assert source.left_out == {"*.xml": 2}


def test_flat_splits_have_no_labels_and_name_the_table_beside_them(tmp_path: Path) -> None:
    source, found = read(fill(tmp_path / "set", "train/a.jpg", "test/b.jpg", "train.csv", "masks/a.png"))
    assert found == {"test/b.jpg": ("test", None), "train/a.jpg": ("train", None)}
    assert source.notes == [
        "train.csv lies beside the images and was not read; if it has their labels, add it in place of the folder",
        "left out beside test/, train/: masks/ (1 image)",
    ]


def test_a_class_called_like_a_split(tmp_path: Path) -> None:
    source, found = read(fill(tmp_path / "vehicles", "car/a.jpg", "train/b.jpg"))
    assert found == {"car/a.jpg": (None, "car"), "train/b.jpg": (None, "train")}
    assert source.notes == []


def test_splits_inside_the_classes(tmp_path: Path) -> None:
    source, found = read(
        fill(tmp_path / "mvtec", "bottle/train/good/a.png", "bottle/test/broken/b.png", "nut/test/c.png")
    )
    assert found == {
        "bottle/train/good/a.png": ("train", "bottle"),
        "bottle/test/broken/b.png": ("test", "bottle"),
        "nut/test/c.png": ("test", "nut"),
    }
    assert source.notes == ["folders inside the classes were taken as splits: test, train"]


def test_splits_by_a_word_in_their_name(tmp_path: Path) -> None:
    root = fill(
        tmp_path / "intel",
        *(f"seg_{split}/seg_{split}/{label}/1.jpg" for split in ("train", "test") for label in ("forest", "sea")),
        "seg_pred/seg_pred/9.jpg",
    )
    source, found = read(root)
    assert found == {
        f"seg_{split}/seg_{split}/{label}/1.jpg": (f"seg_{split}", label)
        for split in ("train", "test")
        for label in ("forest", "sea")
    }
    assert source.keys == ("forest", "sea")
    assert source.notes == [
        "taken as splits: seg_test/, seg_train/",
        "left out beside seg_test/, seg_train/: seg_pred/ (1 image)",
    ]


def test_the_same_folders_in_several_classes_are_said(tmp_path: Path) -> None:
    source, found = read(fill(tmp_path / "set", "camera1/cat/a.jpg", "camera1/dog/a.jpg", "camera2/cat/a.jpg"))
    assert set(found.values()) == {(None, "camera1"), (None, "camera2")}
    assert source.notes == [
        "the labels are camera1, camera2, and these folders share sub-folders (cat); "
        "if those are the classes, add the folders one by one with split="
    ]


@pytest.mark.parametrize("inside", ["", "train/"])
def test_wrapper_folder(tmp_path: Path, inside: str) -> None:
    root = fill(
        tmp_path / "down",
        *(f"photos/photos/{inside}{label}/a.jpg" for label in ("cat", "dog")),
        *("__MACOSX/photos/cat/._a.jpg", "README.txt"),
    )
    source, found = read(root)
    split = inside.strip("/") or None
    assert found == {f"photos/photos/{inside}{label}/a.jpg": (split, label) for label in ("cat", "dog")}
    assert (source.name, source.keys) == ("down", ("cat", "dog"))
    assert source.notes == ["everything lies in photos/photos/: read from there on"]
    assert source.left_out == {"__MACOSX": 1, "*.txt": 1}


def test_one_class_alone_is_no_wrapper(tmp_path: Path) -> None:
    assert read(fill(tmp_path / "a", "cat/1.jpg"))[1] == {"cat/1.jpg": (None, "cat")}
    assert read(fill(tmp_path / "b", "cat/images/1.jpg"))[1] == {"cat/images/1.jpg": (None, "cat")}
    assert read(fill(tmp_path / "c", "cat/wild/1.jpg", "owl/"))[1] == {"cat/wild/1.jpg": (None, "cat")}


@pytest.mark.parametrize(
    ("files", "labels", "keys"),
    [
        (("images/1.jpg", "images/2.jpg"), (None, None), ()),
        (("images/cat/1.jpg", "images/dog/2.jpg"), ("cat", "dog"), ("cat", "dog")),
        (("cat/images/1.jpg", "dog/imgs/2.jpg"), ("cat", "dog"), ("cat", "dog")),
        (("images/train/cat/1.jpg", "images/val/dog/2.jpg"), ("cat", "dog"), ("cat", "dog")),
        (("train/images/1.jpg", "train/labels/1.txt", "val/images/2.jpg"), (None, None), ()),
    ],
)
def test_images_is_no_class(
    tmp_path: Path, files: tuple[str, ...], labels: tuple[str | None, ...], keys: tuple[str, ...]
) -> None:
    source, found = read(fill(tmp_path / "set", *files))
    assert (tuple(label for _, label in found.values()), source.keys) == (labels, keys)


def test_images_beside_another_folder_of_images_is_refused(tmp_path: Path) -> None:
    root = fill(tmp_path / "pets", "images/1.jpg", "annotations/trimaps/1.png")
    with pytest.raises(
        SchemaError, match=r"holds images/ and annotations/ with images: .*add .*/pets/images; if images"
    ):
        from_folder(root)
    assert read(root / "images")[1] == {"1.jpg": (None, None)}


def test_tiny_imagenet(tmp_path: Path) -> None:
    root = fill(
        tmp_path / "tiny",
        *(f"train/{wnid}/images/{wnid}_0.JPEG" for wnid in WNIDS),
        *(f"val/images/val_{number}.JPEG" for number in range(3)),
        *("test/images/test_0.JPEG", "wnids.txt", f"train/{WNIDS[0]}/{WNIDS[0]}_boxes.txt"),
    )
    (root / "val" / "val_annotations.txt").write_text(
        f"val_0.JPEG\t{WNIDS[1]}\t0\t0\t9\t9\nval_1.JPEG\t{WNIDS[0]}\t0\t0\t9\t9\n"
    )
    source, found = read(root)
    assert found == {
        **{f"train/{wnid}/images/{wnid}_0.JPEG": ("train", wnid) for wnid in WNIDS},
        "val/images/val_0.JPEG": ("val", WNIDS[1]),
        "val/images/val_1.JPEG": ("val", WNIDS[0]),
        "val/images/val_2.JPEG": ("val", None),
        "test/images/test_0.JPEG": ("test", None),
    }
    assert source.keys == WNIDS
    assert source.classes is not None
    assert source.classes.names == ("goldfish", "European fire salamander")
    assert source.notes == ["1 image not named in val/val_annotations.txt: no label"]
    assert source.left_out == {"*.txt": 2}


def write_rows(file: Path, rows: list[dict[str, object]]) -> None:
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif file.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        file.write_text("\n".join(lines))
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_metadata_gives_labels(tmp_path: Path, kind: str) -> None:
    root = fill(tmp_path / "set", *(f"{number}.jpg" for number in range(3)), "sub/3.jpg")
    rows = [{"file_name": f"{number}.jpg", "label": label, "note": f"n{number}"} for number, label in enumerate("aba")]
    rows.append({"file_name": "sub/3.jpg", "label": "c", "note": "n3"})
    write_rows(root / f"metadata.{kind}", rows)
    source = from_folder(root)
    entries = list(source.entries)
    assert [(entry.relative, entry.label, json.loads(entry.meta or "")["note"]) for entry in entries] == [
        ("0.jpg", "a", "n0"),
        ("1.jpg", "b", "n1"),
        ("2.jpg", "a", "n2"),
        ("sub/3.jpg", "c", "n3"),
    ]
    assert source.keys == ("a", "b", "c")
    assert source.columns == {"path": "file_name", "label": "label"}
    assert dict(source.left_out) == {}
    assert source.notes == [f"the labels are those of metadata.{kind}; the folders of 1 image say others"]


def test_metadata_in_each_split(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", "train/a.jpg", "train/b.jpg", "test/a.jpg", "test/left.jpg")
    write_rows(
        root / "train" / "metadata.csv", [{"file_name": "a.jpg", "label": 0}, {"file_name": "b.jpg", "label": 2}]
    )
    write_rows(root / "test" / "metadata.csv", [{"file_name": "a.jpg", "label": 1}])
    source, found = read(root)
    assert found == {
        "train/a.jpg": ("train", 0),
        "train/b.jpg": ("train", 2),
        "test/a.jpg": ("test", 1),
        "test/left.jpg": ("test", None),
    }
    assert (source.keys, source.numbers) == ((), (0, 1, 2))
    assert source.notes == ["1 image not named in test/metadata.csv: no label"]


@pytest.mark.parametrize("named", [False, True])
def test_numbers_in_metadata_and_class_folders(tmp_path: Path, named: bool) -> None:
    root = fill(tmp_path / "set", "cat/a.jpg", "dog/b.jpg")
    rows: list[dict[str, object]] = [{"file_name": "cat/a.jpg", "label": 1}, {"file_name": "dog/b.jpg", "label": 0}]
    for row, label_name in zip(rows, ("cat", "dog"), strict=True):
        row |= {"label_name": label_name} if named else {}
    write_rows(root / "metadata.csv", rows)
    source, found = read(root)
    assert [label for _, label in found.values()] == [1, 0]
    assert (source.classes.names if source.classes else None) == (("dog", "cat") if named else None)
    said = ["the labels are those of metadata.csv; the folders of 2 images say others"]
    assert source.notes == ([] if named else said)


def test_metadata_of_all_splits_and_without_labels(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", "train/cat/a.jpg", "val/dog/b.jpg")
    rows = [{"file_name": "train/cat/a.jpg", "text": "a cat"}, {"file_name": "val/dog/b.jpg", "text": "a dog"}]
    write_rows(root / "metadata.jsonl", rows)
    source = from_folder(root)
    assert [(entry.split, entry.label, json.loads(entry.meta or "")) for entry in source.entries] == [
        ("train", "cat", {"text": "a cat"}),
        ("val", "dog", {"text": "a dog"}),
    ]
    assert (source.keys, source.notes) == (("cat", "dog"), [])


def test_metadata_that_does_not_fit(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", "a.jpg", "b.jpg")
    write_rows(root / "metadata.csv", [{"file_name": "old/x.jpg", "label": "cat"}])
    with pytest.raises(SchemaError, match=r"metadata\.csv names no file that is there, such as 'old/x\.jpg'"):
        from_folder(root)
    write_rows(root / "metadata.csv", [{"station": "x", "value": 3}])
    source, found = read(root)
    assert set(found.values()) == {(None, None)}
    assert any("metadata.csv was not read: no column of file names (file_name)" in note for note in source.notes)
    write_rows(root / "metadata.csv", [{"who": "a.jpg", "what": "cat"}])
    entries = list(from_folder(root, {"path": "who", "label": "what"}).entries)
    assert [(entry.relative, entry.label) for entry in entries] == [("a.jpg", "cat"), ("b.jpg", None)]
    write_rows(root / "metadata.jsonl", [{"file_name": "a.jpg"}])
    with pytest.raises(SchemaError, match=r"holds metadata\.csv and metadata\.jsonl; keep the one"):
        from_folder(root)
    with pytest.raises(ArgumentError, match="is a folder without metadata"):
        from_folder(fill(tmp_path / "plain", "cat/a.jpg"), {"label": "species"})


def test_numbers_in_one_split_and_names_in_another_are_refused(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", "train/cat/a.jpg", "test/a.jpg")
    write_rows(root / "test" / "metadata.csv", [{"file_name": "a.jpg", "label": 0}])
    with pytest.raises(SchemaError, match="labels are numbers in .*metadata.csv, and names elsewhere"):
        from_folder(root)


def test_junk_is_skipped_and_counted(tmp_path: Path) -> None:
    root = fill(
        tmp_path / "p",
        *("cat/0.jpg", "dog/1.jpg", "cat/._0.jpg", "cat/Thumbs.db", "dog/desktop.ini", ".DS_Store", "dog/.DS_Store"),
        *("__MACOSX/cat/._0.jpg", ".ipynb_checkpoints/0.jpg", "dog/@eaDir/1.jpg", "dog/notes.txt", "dog/LICENSE.txt"),
        *("empty/", "only/readme.txt"),
    )
    (root / "cat" / "Makefile").write_text("all:")
    (root / "cat" / "back").symlink_to(root)
    source, found = read(root)
    assert found == {"cat/0.jpg": (None, "cat"), "dog/1.jpg": (None, "dog")}
    assert source.keys == ("cat", "dog", "empty")
    assert source.left_out == {
        **{"._*": 1, "Thumbs.db": 1, "desktop.ini": 1, ".DS_Store": 2, "__MACOSX": 1, "hidden files": 1, "@eaDir": 1},
        **{"*.txt": 3, "files without a usual ending": 1, "links to a folder above": 1},
    }
    assert source.notes == ["no classes, since they hold other files and no image: only/"]


def test_endings_and_files_without_one(tmp_path: Path) -> None:
    root = tmp_path / "set" / "cat"
    root.mkdir(parents=True)
    picture = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    kinds = {"jfif": "JPEG", "JPE": "JPEG", "ppm": "PPM", "pgm": "PPM", "apng": "PNG", "avif": "AVIF", "dib": "BMP"}
    for ending, kind in kinds.items():
        (picture.convert("L") if ending == "pgm" else picture).save(root / f"a.{ending}", kind)
    for number, kind in enumerate(("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")):
        picture.save(root / f"ILSVRC_{number}", kind)
    (root / "photo.jpg_large").write_bytes(PICTURE)
    (root / "notes").write_text("P5 is a page. II BM")
    (root / "shot.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n")
    os.mkfifo(root / "pipe")
    source, found = read(root.parent)
    assert len(found) == len(kinds) + 8 + 1
    assert source.left_out == {"*.jp2": 1, "files without a usual ending": 2}
    assert not is_image(root / "notes")


def test_names_in_either_unicode_form_are_one_class(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", "train/caf\u00e9/a.jpg", "test/cafe\u0301/b.jpg")
    source = from_folder(root)
    assert {(entry.split, entry.label, entry.relative) for entry in source.entries} == {
        ("train", "caf\u00e9", "train/caf\u00e9/a.jpg"),
        ("test", "caf\u00e9", "test/caf\u00e9/b.jpg"),
    }
    assert source.keys == ("caf\u00e9",)


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    folder = os.fsencode(fill(tmp_path / "set", "cat/a.jpg"))
    os.mkdir(os.path.join(folder, b"d\xff"))
    with open(os.path.join(folder, b"d\xff", b"b.jpg"), "wb") as file:
        file.write(PICTURE)
    source = from_folder(tmp_path / "set")
    assert [(entry.label, entry.relative) for entry in source.entries] == [
        ("cat", "cat/a.jpg"),
        ("d\\udcff", "d\\udcff/b.jpg"),
    ]


def test_no_image_says_what_there_is(tmp_path: Path) -> None:
    root = fill(tmp_path / "scans", "a/1.txt", "a/2.txt", "b/Thumbs.db")
    (root / "a" / "3.dcm").write_bytes(b"x")
    with pytest.raises(NotFoundError, match=r"no image below .*scans; there are: 2 \*\.txt, 1 .*; looked for \.jpg"):
        from_folder(root)


def test_folders_without_end_are_refused(tmp_path: Path) -> None:
    deep = tmp_path / "cat" / "/".join(["a"] * 70)
    deep.mkdir(parents=True)
    (deep / "x.jpg").write_bytes(PICTURE)
    with pytest.raises(SchemaError, match="lies more than 64 folders deep"):
        list(from_folder(tmp_path).entries)


def test_parquet_shards(tmp_path: Path) -> None:
    assert parquet_shards(fill(tmp_path / "photos", "cat/a.jpg")) == []
    table = pa.table({"label": [0]})
    for folder in (tmp_path / "flat", tmp_path / "repo" / "data", tmp_path / "odd [1]"):
        folder.mkdir(parents=True)
        for number in range(2):
            pq.write_table(table, folder / f"train-0000{number}-of-00002.parquet")
    for root, below in (("flat", ""), ("repo", "data/"), ("odd [1]", "")):
        names = [f"{below}train-0000{number}-of-00002.parquet" for number in range(2)]
        assert parquet_shards(tmp_path / root) == [tmp_path / root / name for name in names]
    fill(tmp_path / "flat", "cat/a.jpg")
    assert parquet_shards(tmp_path / "flat") == []
    pq.write_table(table, tmp_path / "photos" / "metadata.parquet")
    assert parquet_shards(tmp_path / "photos") == []


def test_many_files_are_listed_folder_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    scandir = os.scandir

    def count(folder: str) -> object:
        listed.append(folder)
        return scandir(folder)

    peaks = []
    for n_folders in (2, 20):
        root = tmp_path / str(n_folders)
        for label in range(n_folders):
            folder = root / "train" / f"c{label}"
            folder.mkdir(parents=True)
            for number in range(300):
                (folder / f"{number:06}.jpg").touch()
        monkeypatch.setattr(os, "scandir", count)
        listed.clear()
        tracemalloc.start()
        assert sum(1 for _ in from_folder(root).entries) == 300 * n_folders
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        monkeypatch.undo()
        assert max(Counter(listed).values()) <= 6
    assert peaks[1] < 2 * peaks[0]
