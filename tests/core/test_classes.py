"""Classes and the maps between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlanalysis.core.classes import Classes, Space, from_keys, imagenet1k, load_classes, map_classes, numbered
from sqlanalysis.errors import ArgumentError, NotFoundError, SchemaError


def test_imagenet_list_is_that_of_torchvision() -> None:
    from torchvision.models import ResNet18_Weights

    classes = imagenet1k()
    assert list(classes.names) == ResNet18_Weights.DEFAULT.meta["categories"]
    assert list(classes.wnids) == sorted(classes.wnids)


def test_imagenet_ids_agree_with_those_torchvision_ships_for_imagenette() -> None:
    from torchvision.datasets import Imagenette

    names = dict(zip(imagenet1k().wnids, imagenet1k().names, strict=True))
    for wnid, known in Imagenette._WNID_TO_CLASS.items():
        assert names[wnid].casefold() in {name.casefold() for name in known}


def test_folder_names_that_are_wordnet_ids_get_readable_names() -> None:
    assert from_keys(["n01440764", "n99999999", "mine"]) == Classes(
        ("tench", "n99999999", "mine"), ("n01440764", "n99999999", None)
    )


@pytest.mark.parametrize(
    ("target", "matched_by"),
    [
        (from_keys(["n01440764", "n02102040"]), "wnid"),
        (Classes(("Tench", "English_springer")), "name"),
    ],
    ids=["by wordnet id", "by name whatever case and underscores"],
)
def test_automatic_map(target: Classes, matched_by: str) -> None:
    actual = map_classes(imagenet1k(), target)
    assert (actual.to_class[0], actual.to_class[217], actual.matched_by) == (0, 1, matched_by)
    assert sum(number >= 0 for number in actual.to_class) == 2


def test_automatic_map_refuses_to_guess() -> None:
    with pytest.raises(SchemaError, match=r"no output for fish.*class_map"):
        map_classes(imagenet1k(), Classes(("tench", "fish")))
    with pytest.raises(SchemaError, match="no output for a"):
        map_classes(Classes(("A", "a", "b")), Classes(("a", "b")))


def test_map_from_csv_takes_names_ids_and_indices(tmp_path: Path) -> None:
    file = tmp_path / "map.csv"
    file.write_text("from_class,to_class\ntench,fish\nn01443537,fish\n217,1\n")
    actual = map_classes(imagenet1k(), Classes(("fish", "dog")), "open", file)
    assert [actual.to_class[i] for i in (0, 1, 2, 217)] == [0, 0, -1, 1]
    assert (actual.policy, actual.matched_by) == ("open", "csv")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("a,b\n1,2\n", SchemaError, "needs the columns from_class,to_class"),
        ("from_class,to_class\ntenhc,fish\n", NotFoundError, "did you mean tench"),
        ("from_class,to_class\n", SchemaError, "maps no class"),
        ("from_class,to_class\ntench\n", SchemaError, "a line with one value"),
        ("from_class,to_class\ntench,fish\n0,dog\n", SchemaError, "maps 'tench' to 'fish' and 'dog'; keep one"),
    ],
    ids=["no columns", "misspelled", "empty", "half a line", "twice"],
)
def test_bad_map(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    file = tmp_path / "map.csv"
    file.write_text(text)
    with pytest.raises(error, match=message):
        map_classes(imagenet1k(), Classes(("fish", "dog")), "restricted", file)


def test_load_classes(tmp_path: Path) -> None:
    text, table = tmp_path / "names.txt", tmp_path / "names.csv"
    text.write_text("cat\ndog\n\n")
    table.write_text("class,name,wnid\n1,dog,n02084071\n0,cat,\n")
    assert load_classes(text) == Classes(("cat", "dog"))
    assert load_classes(table) == Classes(("cat", "dog"), (None, "n02084071"))
    assert load_classes(["x", "y"]) == Classes(("x", "y"))
    assert load_classes(3) == numbered(3)
    assert load_classes("imagenet1k") is imagenet1k()
    with pytest.raises(NotFoundError, match="no class file"):
        load_classes(tmp_path / "missing.csv")
    with pytest.raises(SchemaError, match="these repeat: a"):
        load_classes(["a", "a"])
    table.write_text("id\n1\n")
    with pytest.raises(SchemaError, match="no column `name`"):
        load_classes(table)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"class,name\n1,a\n2,b\n", "`class` must hold each of 0 … 1 once"),
        (b"class,name\n0,a\n0,b\n", "`class` must hold each of 0 … 1 once"),
        (b"class,name\nx,a\n", "`class` must hold each of 0 … 0 once"),
        (b"class,name\n0\n", "a line without a name"),
        ("name\nMöwe\n".encode("latin-1"), "is not UTF-8; save it"),
    ],
)
def test_bad_class_file(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "names.csv").write_bytes(data)
    with pytest.raises(SchemaError, match=message):
        load_classes(tmp_path / "names.csv")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("name\nMöwe\n", encoding="utf-8-sig")
    assert load_classes(tmp_path / "names.csv").names == ("Möwe",)


def test_many_names_are_checked_quickly() -> None:
    names = [str(number) for number in range(60_000)]
    assert len(Classes(tuple(names))) == 60_000
    with pytest.raises(SchemaError, match="these repeat: 7"):
        Classes((*names, "7"))


def test_space_takes_numbers_and_text_keys_as_they_come() -> None:
    space = Space("digits", numbered(3))
    space.use(from_keys(["0", "1", "2", "none"]), ["0", "1", "2", "none"], ordered=False)
    assert [space.resolve(label) for label in ("2", "none", 3, None)] == [2, 3, 3, None]
    space = Space("birds", Classes(("tench", "gull"), ("n01440764", None)))
    space.use(Classes(("gull", "Schleie"), (None, "n01440764")))
    assert ([space.resolve(label) for label in (0, 1, "gull")], space.names) == ([1, 0, 1], ["tench", "gull"])


def test_the_index_of_a_class_file_decides(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("index,name\n2,dog\n0,owl\n1,cat\n")
    assert load_classes(tmp_path / "names.csv").names == ("owl", "cat", "dog")


@pytest.mark.parametrize(
    ("file", "text"), [("a.yaml", "names:\n  0: owl\n"), ("a.jsonl", "[]"), ("a.txt", "0 owl\n1 cat\n")]
)
def test_class_files_of_other_forms_are_refused(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(SchemaError, match="CSV with columns class and name"):
        load_classes(tmp_path / file)


@pytest.mark.parametrize(
    "text",
    [
        '["owl", "cat", "dog"]',
        '{"1": "cat", "0": "owl", "2": "dog"}',
        '{"dog": 2, "owl": 0, "cat": 1}',
        '{"model_type": "vit", "id2label": {"0": "owl", "1": "cat", "2": "dog"}, "label2id": {"cat": 1}}',
        '{"label_names": ["owl", "cat", "dog"], "num_classes": 3}',
        '{"class_to_idx": {"dog": 2, "owl": 0, "cat": 1}}',
    ],
)
def test_classes_from_json_of_every_form(tmp_path: Path, text: str) -> None:
    (tmp_path / "names.json").write_text(text)
    assert load_classes(tmp_path / "names.json").names == ("owl", "cat", "dog")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"1": "cat", "2": "dog"}', "each index of 0 … 1 once"),
        ('{"cat": 0, "dog": 0}', "two names the same index"),
        ("3", "a list of names, index → name"),
        ("{", "is not JSON"),
        ('{"0": 3.5}', "the name of a class must be text"),
    ],
)
def test_json_that_names_no_classes(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "names.json").write_text(text)
    with pytest.raises(SchemaError, match=message):
        load_classes(tmp_path / "names.json")


def test_keras_index_has_wordnet_ids(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"1": ["n01443537", "goldfish"], "0": ["n01440764", "tench"]}')
    assert load_classes(tmp_path / "index.json") == Classes(("tench", "goldfish"), ("n01440764", "n01443537"))


def test_classes_of_a_folder_are_those_of_image_folder(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    for name in ("owl", "Cat", "dog"):
        (tmp_path / "a" / name).mkdir(parents=True)
        (tmp_path / "a" / name / "x.png").write_bytes(b"")
    assert list(load_classes(tmp_path / "a").names) == ImageFolder(tmp_path / "a").classes
    for name in ("1", "2", "10"):
        (tmp_path / "b" / name).mkdir(parents=True)
    with pytest.raises(SchemaError, match="sorted as text its classes are 1, 10, 2, by number 1, 2, 10; give classes="):
        load_classes(tmp_path / "b")
    for name in ("train", "val"):
        (tmp_path / "c" / name).mkdir(parents=True)
    with pytest.raises(SchemaError, match="has the splits train, val; give one of them"):
        load_classes(tmp_path / "c")


@pytest.mark.parametrize("empty", [[], (), 0, "file"])
def test_no_classes_at_all_are_refused(tmp_path: Path, empty: object) -> None:
    (tmp_path / "names.txt").write_text("\n")
    with pytest.raises(ArgumentError, match="classes= names no class"):
        load_classes(tmp_path / "names.txt" if empty == "file" else empty)  # type: ignore[arg-type]


def test_classes_as_a_mapping_are_taken_by_their_indices() -> None:
    assert load_classes({"owl": 2, "cat": 0, "dog": 1}).names == ("cat", "dog", "owl")
    assert load_classes({0: "owl", 1: "cat", 2: "dog"}).names == ("owl", "cat", "dog")
    with pytest.raises(ArgumentError, match="has no order"):
        load_classes({"cat", "dog"})
    with pytest.raises(SchemaError):
        load_classes({"cat": 0, "dog": 2})
