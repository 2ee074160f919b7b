"""Pictures from Python: lists, arrays, torchvision's data sets and what wraps them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, random_split
from torchvision import transforms
from torchvision.datasets import CIFAR10, FakeData, ImageFolder

from sqlanalysis.core.decode import decode, encode
from sqlanalysis.data.sources import Entry, Source
from sqlanalysis.data.sources.pictures import from_pictures
from sqlanalysis.errors import ImageError, SchemaError

ARRAY = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def names(source: Source) -> tuple[str, ...]:
    return source.classes.names if source.classes is not None else ()


def named(source: Source) -> list[tuple[str, str]]:
    """(file below the class, name of the class) of every entry."""
    known = names(source)
    found = []
    for entry in source.entries:
        label = known[entry.label] if isinstance(entry.label, int) else str(entry.label)
        found.append((os.path.join(*Path(entry.uri).parts[-2:]), label))
    return found


class Memory(Dataset[tuple[Any, int]]):
    """Pictures in memory, with classes, as torchvision's CIFAR."""

    def __init__(self, transform: Any = None, classes: Any = ("cat", "dog")) -> None:
        self.transform, self.classes = transform, classes

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if index >= 4:
            raise IndexError
        picture = Image.fromarray(ARRAY + np.uint8(index))
        return (self.transform(picture) if self.transform else picture), index % 2


class Listed(Dataset[Any]):
    """A data set of one's own with `samples`, whose items have other labels."""

    def __init__(self, samples: list[tuple[str, int]], shift: int) -> None:
        self.samples, self.shift = samples, shift

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, label = self.samples[index]
        with Image.open(path) as picture:
            return picture.copy(), label + self.shift


@pytest.fixture
def folder(photos: Path) -> ImageFolder:
    return ImageFolder(photos)


def test_image_folder_is_read_by_path(folder: ImageFolder, photos: Path) -> None:
    source = from_pictures(folder)
    entries = list(source.entries)
    assert [(entry.uri, entry.label) for entry in entries] == folder.samples
    assert [entry.relative for entry in entries] == [os.path.relpath(path, photos) for path, _ in folder.samples]
    assert all(entry.data is None for entry in entries)
    assert (names(source), source.total, source.notes) == (("cat", "dog", "owl"), 18, [])


def test_nothing_is_decoded(photos: Path) -> None:
    def loader(path: str) -> Any:
        raise AssertionError(path)

    assert len(list(from_pictures(ImageFolder(photos, loader=loader)).entries)) == 18


def test_subset_random_split_and_concat(folder: ImageFolder) -> None:
    right = [(os.path.join(*Path(path).parts[-2:]), folder.classes[label]) for path, label in folder.samples]
    assert named(from_pictures(Subset(folder, range(4, 9)))) == right[4:9]
    assert named(from_pictures(Subset(Subset(folder, [17, 2, 9]), [2, 0]))) == [right[9], right[17]]
    first, second = random_split(folder, [7, 11], generator=torch.Generator().manual_seed(0))
    assert sorted(named(from_pictures(first)) + named(from_pictures(second))) == sorted(right)
    assert named(from_pictures(ConcatDataset([Subset(folder, [3]), folder]))) == [right[3], *right]
    source = from_pictures(Subset(ConcatDataset([Subset(folder, [3, 8]), folder]), [5, 1, 0, 2, -1]))
    assert (names(source), source.total) == (("cat", "dog", "owl"), 5)
    assert named(source) == [right[3], right[8], right[3], right[0], right[17]]


def test_concat_of_other_class_lists_goes_by_name(photos: Path, tmp_path: Path) -> None:
    for name in ("owl", "ant"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(encode(ARRAY))
    source = from_pictures(ConcatDataset([ImageFolder(photos), ImageFolder(tmp_path)]))
    assert named(source)[-2:] == [("ant/0.png", "ant"), ("owl/0.png", "owl")]
    assert source.keys == ("cat", "dog", "owl", "ant")
    assert source.notes == ["the data sets list 2 different orders of classes: labels go by their names"]
    with pytest.raises(SchemaError, match="some of these data sets name their classes and others do not"):
        from_pictures(ConcatDataset([ImageFolder(photos), FakeData(2, (3, 8, 8))]))


def test_transforms(photos: Path) -> None:
    to_tensor = transforms.ToTensor()
    source = from_pictures(Subset(ImageFolder(photos, transform=to_tensor), [0, 1]))
    assert len(list(source.entries)) == 2
    assert source.notes == ["the transform of ImageFolder is not applied: images are read from their files"]
    source = from_pictures(Memory(transforms.Resize(2)))
    assert [decode(entry.data or b"").size for entry in source.entries] == [(2, 2)] * 4
    assert source.notes == ["the pictures are those after the transform of Memory"]
    with pytest.raises(SchemaError, match=r"picture 0 is a Tensor: .*give the data set without transform="):
        list(from_pictures(Memory(to_tensor)).entries)
    with pytest.raises(SchemaError, match=r"ImageFolder changes its labels by target_transform"):
        from_pictures(Subset(ImageFolder(photos, target_transform=lambda label: 2 - label), [0]))


def test_data_sets_without_paths_keep_their_class_names() -> None:
    for data, expected in ((Memory(), ("cat", "dog")), (Memory(classes=[("cat", "puss"), ("dog",)]), ("cat", "dog"))):
        source = from_pictures(Subset(data, [1, 3, 0]))
        entries = list(source.entries)
        assert names(source) == expected
        assert [entry.label for entry in entries] == [1, 1, 0]
        assert np.array_equal(np.asarray(decode(entries[0].data or b"")), ARRAY + 1)


def test_cifar(tmp_path: Path) -> None:
    """Of torchvision's own class, with the files that it reads made here."""
    data = CIFAR10.__new__(CIFAR10)
    data.data, data.targets = np.stack([ARRAY] * 3), [9, 0, 2]
    data.classes, data.transform, data.target_transform = [f"c{number}" for number in range(10)], None, None
    source = from_pictures(Subset(data, [0, 2]))
    assert [entry.label for entry in source.entries] == [9, 2]
    assert names(source) == tuple(data.classes)


def test_class_names_in_other_forms(folder: ImageFolder) -> None:
    del folder.classes
    assert names(from_pictures(folder)) == ("cat", "dog", "owl")  # class_to_idx
    folder.classes = [("crane", "bird"), ("crane", "machine"), ("owl",)]
    assert names(from_pictures(folder)) == ("crane, bird", "crane, machine", "owl")
    folder.wnids = ["n01440764", "n01443537", "n01484850"]
    assert names(from_pictures(folder)) == ("tench", "goldfish", "great white shark")


def test_a_class_of_ones_own_that_changes_the_labels(folder: ImageFolder) -> None:
    assert len(list(from_pictures(Listed(folder.samples, 0)).entries)) == 18
    with pytest.raises(SchemaError, match=r"item 0 of Listed has label 1, its list of files says 0"):
        from_pictures(Listed(folder.samples, 1))
    assert from_pictures(Listed(folder.samples, 0)).numbers == (0, 1, 2)


def test_lists_of_everything(photos: Path) -> None:
    path = photos / "cat" / "0.jpg"
    pictures = [
        ARRAY,
        Image.fromarray(ARRAY),
        ARRAY[..., 0],
        path.read_bytes(),
        path,
        str(path),
        bytearray(encode(ARRAY)),
    ]
    entries = list(from_pictures(pictures).entries)
    assert [entry.uri for entry in entries[4:6]] == [str(path)] * 2
    assert entries[1].uri == f"{entries[0].uri}#2"
    assert entries[6].uri == f"{entries[0].uri}#3"
    assert entries[3].data == path.read_bytes()
    source = from_pictures([(ARRAY, np.int64(3)), [path, 1], (ARRAY, None), (ARRAY, torch.tensor(1))])
    assert source.numbers == (1, 3)
    assert [entry.label for entry in source.entries] == [3, 1, None, 1]
    source = from_pictures([(path, "cafe\u0301"), (ARRAY, "01")])
    assert [entry.label for entry in source.entries] == ["caf\u00e9", "01"]
    for stack in (np.zeros((2, 8, 9, 3), np.uint8), np.zeros((2, 8, 9), np.uint8)):
        assert [decode(entry.data or b"").size for entry in from_pictures(stack).entries] == [(9, 8)] * 2
    assert list(from_pictures(iter([path])).entries) == [Entry(str(path))]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([ARRAY, (ARRAY, 1)], r"item 1 is a pair \(picture, label\), item 0 is a picture alone"),
        ([(ARRAY, "cat"), (ARRAY, 1)], r"item 0 has a name as its label, item 1 a number"),
        ([ARRAY, None], r"picture 1 is a NoneType; items are pictures"),
        ([ARRAY, {"image": ARRAY}], r"picture 1 is a dict of length 1; .* are a table"),
        ([(ARRAY, 1, 2)], r"picture 0 is a tuple of length 3"),
        ([ARRAY, 7], r"picture 1 is a int; items are"),
        ([ARRAY, torch.zeros(3, 4, 4)], r"picture 1 is a Tensor: .*give the data set without transform="),
        ([("a.jpg", "b.jpg")], r"item 0: label 'b.jpg' looks like a file"),
        ([(ARRAY, [0, 1])], r"item 0: label \[0, 1\] is neither text nor a whole number"),
        ([(ARRAY, 0.5)], r"item 0: label 0.5 is neither"),
        (ARRAY, r"an array of shape \(4, 4, 3\) looks like one picture; give a list of pictures: \[array\]"),
        (ARRAY[..., 0], r"an array of shape \(4, 4\) looks like one picture"),
        (torch.zeros(2, 3, 4, 4), r"a Tensor of shape \(2, 3, 4, 4\) is no list of pictures"),
    ],
)
def test_refused_before_anything_is_read(given: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        from_pictures(given)


def test_a_loader_is_refused(folder: ImageFolder) -> None:
    with pytest.raises(SchemaError, match=r"a DataLoader gives batches of tensors; give its data set"):
        from_pictures(DataLoader(folder))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([ARRAY, ARRAY.astype(float)], "picture 1: an image array is uint8"),
        ([ARRAY, object()], "picture 1: an image array is uint8"),
        ([ARRAY, Image.new("F", (4, 4))], "picture 1: a picture of mode F has 32 bits and no known range"),
    ],
)
def test_what_is_no_picture_is_named(given: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        list(from_pictures(given).entries)


def test_what_a_data_set_raises_is_ours() -> None:
    def fail(_picture: Any) -> Any:
        raise ZeroDivisionError("by zero")

    with pytest.raises(ImageError, match="picture 0: Memory raises ZeroDivisionError: by zero"):
        list(from_pictures(Memory(fail)).entries)
