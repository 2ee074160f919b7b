"""Labels at the door that could mean two things: refused with both readings, or said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sqlanalysis import add_images, add_predictions
from sqlanalysis.errors import SchemaError

from ..support.datasets import counts, hugging_face, label_names, names_of
from ..support.trees import png


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with twelve small pictures."""
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    return tmp_path


def write(file: Path, **columns: list[Any]) -> Path:
    """A table of the first pictures, with these columns."""
    frame = pd.DataFrame({"path": [f"{n}.png" for n in range(len(next(iter(columns.values()))))], **columns})
    if file.suffix == ".csv":
        frame.to_csv(file, index=False)
    else:
        rows = [{name: frame[name].tolist()[n] for name in frame} for n in range(len(frame))]
        file.write_text(json.dumps(rows))
    return file


def labels_of(con: duckdb.DuckDBPyConnection, dataset: str) -> list[str | None]:
    """The name of each image's label, in the order of the source."""
    sql = """select name from images left join classes on label = class and label_space = dataset
             where dataset = ? order by image_id"""
    return [name for (name,) in con.execute(sql, [dataset]).fetchall()]


@pytest.mark.parametrize("file", ["a.csv", "a.json"])
def test_indices_without_zero_are_said(con: duckdb.DuckDBPyConnection, root: Path, file: str) -> None:
    done = add_images(con, write(root / file, label=[1, 2, 2]), dataset="a", classes=["cat", "dog", "owl"])
    assert "labels are 1 to 2, without 0 ('cat'): taken as indices from 0, so that 1 is 'dog'" in done.notes[0]
    assert labels_of(con, "a") == ["dog", "owl", "owl"]
    done = add_images(con, write(root / file, label=[0, 2, 2]), dataset="b", classes=["cat", "dog", "owl"])
    assert done.notes == ()


def forms(root: Path, label: list[Any]) -> dict[str, Any]:
    """The same labels in every form that can mix types."""
    paths = [str(root / f"{n}.png") for n in range(len(label))]
    lines = "\n".join(json.dumps({"path": path, "label": one}) for path, one in zip(paths, label, strict=True))
    (root / "lines.jsonl").write_text(lines)
    return {
        "csv": write(root / "list.csv", label=label),
        "json": write(root / "list.json", label=label),
        "lines": root / "lines.jsonl",
        "pandas": pd.DataFrame({"path": paths, "label": pd.Series(label, dtype=object)}),
        "polars": pl.DataFrame({"path": paths, "label": pl.Series(label, dtype=pl.Object)}),
    }


@pytest.mark.parametrize("form", ["csv", "json", "lines", "pandas", "polars"])
def test_names_beside_numbers(con: duckdb.DuckDBPyConnection, root: Path, form: str) -> None:
    mixed = forms(root, [1, "dog", 0])[form]
    with pytest.raises(SchemaError, match=r"names and numbers \(such as 'dog' and '0'\): .* index or a name"):
        add_images(con, mixed, dataset="mixed")
    add_images(con, mixed, dataset="names", columns={"label_name": "label"})
    assert labels_of(con, "names") == ["1", "dog", "0"]
    add_images(con, forms(root, [1, "nan", 0, "NA"])[form], dataset="numbers")
    assert (labels_of(con, "numbers"), names_of(con, "numbers")) == (["1", None, "0", None], ["0", "1"])
    done = add_images(con, forms(root, ["cat", "none"])[form], dataset="words")
    assert done.notes == ("'none' in label is taken as a class; where it means no label, leave it empty",)


def test_classes_against_the_names_of_a_table(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    table = write(root / "a.csv", label=[0, 1, 1], label_name=["cat", "dog", "dog"])
    with pytest.raises(SchemaError, match=r"label 0 is 'cat' in label_name, and 'dog' in classes="):
        add_images(con, table, classes=["dog", "cat"])
    with pytest.raises(SchemaError, match=r"label 1 is 'dog' in label_name, and no class in classes="):
        add_images(con, table, classes=["cat"])
    add_images(con, table, dataset="same", classes=["cat", "dog", "owl"])
    assert (labels_of(con, "same"), names_of(con, "same")) == (["cat", "dog", "dog"], ["cat", "dog", "owl"])
    from_one = write(root / "b.csv", class_id=[1, 2], class_name=["cat", "dog"])
    with pytest.raises(SchemaError, match="label 1 is 'cat' in class_name, and 'dog' in classes=.* counts from 0"):
        add_images(con, from_one, classes=["cat", "dog", "owl"])
    coded = write(root / "c.csv", label=["x", "y"], label_name=["cat", "dog"])
    add_images(con, coded, dataset="coded", classes=["owl", "dog", "cat"])
    assert (labels_of(con, "coded"), names_of(con, "coded")) == (["cat", "dog"], ["owl", "dog", "cat"])


def test_classes_against_those_of_a_data_set(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    shards = hugging_face(tmp_path, photos, ["dog", "owl", "cat"])
    with pytest.raises(SchemaError, match="label 0 is 'dog' in the source, and 'cat' in classes="):
        add_images(con, shards, dataset="swapped", classes=["cat", "dog", "owl"])
    add_images(con, shards, dataset="renamed", classes=["Hund", "Eule", "Katze"])
    rows = con.sql("select meta ->> 'is', name from images join classes on label = class and label_space = dataset")
    assert set(rows.fetchall()) == {("dog", "Hund"), ("owl", "Eule"), ("cat", "Katze")}


def test_numbers_are_no_indices_into_the_names_of_another_source(
    con: duckdb.DuckDBPyConnection, root: Path, photos: Path
) -> None:
    add_images(con, photos, dataset="pets")
    numbers = write(root / "a.csv", label=[0, 1])
    for source in (numbers, [(root / "0.png", 0)], pa.table({"path": [str(root / "0.png")], "label": [0]})):
        with pytest.raises(SchemaError, match=r"label 0 is a number without a name, .*'cat' only because names came"):
            add_images(con, source, dataset="pets")
    assert con.sql("select count(*) from images").fetchall() == [(18,)]
    add_images(con, numbers, dataset="pets", classes=["dog", "owl"])
    assert labels_of(con, "pets")[-2:] == ["dog", "owl"]
    with pytest.raises(SchemaError, match="label 0 is a number without a name"):  # the order of that source was its own
        add_images(con, write(root / "b.csv", label=[0, 0, 0]), dataset="pets")
    add_images(con, [(root / "5.png", 2)], dataset="pets", classes=["cat", "dog", "owl"])
    add_images(con, [(root / "6.png", 1)], dataset="pets")
    assert labels_of(con, "pets")[-2:] == ["owl", "dog"]


def test_numbers_are_indices_where_somebody_said_the_order(
    con: duckdb.DuckDBPyConnection, root: Path, tmp_path: Path, photos: Path
) -> None:
    add_images(con, hugging_face(tmp_path, photos, ["owl", "cat", "dog"]), dataset="hf")
    add_images(con, write(root / "a.csv", label=[0, 1], class_name=["owl", "cat"]), dataset="table")
    for dataset in ("hf", "table"):
        add_images(con, [(root / "7.png", 0), (root / "8.png", 1)], dataset=dataset)
        assert labels_of(con, dataset)[-2:] == ["owl", "cat"]
    add_predictions(con, pd.DataFrame({"image_id": [1], "pred": [0]}), "mine", dataset="hf")
    add_images(con, [(root / "9.png", 0)], dataset="hf")
    add_images(con, [(root / "9.png", "fox")], dataset="table")
    with pytest.raises(SchemaError, match="class 2 of 'table' is 'fox' only because"):
        add_images(con, [(root / "10.png", 0), (root / "11.png", 2)], dataset="table")


def test_labels_go_to_given_classes_by_name_or_by_their_number(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    with pytest.raises(SchemaError, match=r"labels are cane, gatto, .* none is the name of one.*is 'cane' 'cat'\?"):
        add_images(con, write(root / "a.csv", label=["gatto", "cane"]), classes=["cat", "dog"])
    done = add_images(con, write(root / "b.csv", label=["c2", "c1"]), dataset="b", classes=["cat", "dog"])
    assert labels_of(con, "b") == ["dog", "cat"]
    assert done.notes == ("labels taken in their order as the classes given: c1 is 'cat', c2 is 'dog'",)


def test_a_key_that_is_a_class_already_is_not_named_anew(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    add_images(con, write(root / "a.csv", label=["x", "y"]), dataset="pets")
    with pytest.raises(SchemaError, match="label 'x' is a class of 'pets' already, and this source names it 'cat'"):
        add_images(con, write(root / "b.csv", label=["x", "y"], label_name=["cat", "dog"]), dataset="pets")


@pytest.mark.parametrize(
    ("name", "values", "note"),
    [
        ("label_name", ["cat", "dog", None], "label_name is empty in 1 row: the names are those of the other rows"),
        ("name", ["cat", "dog", "Dog"], "it calls label 1 'dog' and 'Dog'; it is kept in meta"),
        ("class_name", ["cat", None, None], "it has no name for label 1; it is kept in meta"),
        ("category_name", ["pet", "pet", "pet"], "it calls labels 0 and 1 both 'pet'; it is kept in meta"),
        ("category", ["cat", "dog", "fox"], "category was not taken as the names of label: it calls label 1"),
    ],
)
@pytest.mark.parametrize("file", ["a.csv", "a.json"])
def test_names_that_are_not_taken_are_said(
    con: duckdb.DuckDBPyConnection, root: Path, file: str, name: str, values: list[str | None], note: str
) -> None:
    done = add_images(con, write(root / file, label=[0, 1, 1], **{name: values}), dataset="a")
    (said,) = done.notes
    assert note in said
    assert names_of(con, "a") == (["cat", "dog"] if name == "label_name" else ["0", "1"])


def test_a_label_with_two_class_names_is_refused(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    table = write(root / "a.csv", label=[0, 1, 1], class_name=["cat", "dog", "Dog"])
    with pytest.raises(SchemaError, match="class_name calls label 1 'dog' and 'Dog': two spellings of one class, or"):
        add_images(con, table)


def test_a_chosen_label_takes_only_its_own_names(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    table = write(root / "a.csv", sick=[0, 1], class_name=["cat", "dog"])
    done = add_images(con, table, dataset="a", columns={"label": "sick"})
    assert names_of(con, "a") == ["0", "1"]
    assert "class_name was not taken as the names of sick; if it is, columns=" in done.notes[0]
    add_images(con, table, dataset="b", columns={"label": "sick", "label_name": "class_name"})
    assert names_of(con, "b") == ["cat", "dog"]
    table = write(root / "c.csv", sick=[0, 1], sick_name=["no", "yes"], class_name=["cat", "dog"])
    add_images(con, table, dataset="c", columns={"label": "sick"})
    assert names_of(con, "c") == ["no", "yes"]


def test_text_beside_ids_names_them(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    done = add_images(con, write(root / "a.csv", class_id=[1, 0, 1], category=["dog", "cat", "dog"]), dataset="a")
    assert done.columns == {"path": "path", "label": "class_id", "label_name": "category"}
    assert (names_of(con, "a"), labels_of(con, "a")) == (["cat", "dog"], ["dog", "cat", "dog"])


@pytest.mark.parametrize("form", ["json", "arrow", "pandas"])
def test_objects_of_id_and_name(con: duckdb.DuckDBPyConnection, root: Path, form: str) -> None:
    def source(labels: list[Any]) -> Any:
        paths = [str(root / f"{n}.png") for n in range(len(labels))]
        if form == "json":
            return write(root / "a.json", label=labels)
        return (pa.table if form == "arrow" else pd.DataFrame)({"path": paths, "label": labels})

    done = add_images(con, source([{"id": 1, "name": "dog"}, None, {"id": 0, "name": "cat"}]), dataset="a")
    assert (labels_of(con, "a"), names_of(con, "a")) == (["dog", None, "cat"], ["cat", "dog"])
    assert done.columns["label_name"] == "label.name"
    add_images(con, source([{"name": "dog"}, {"name": "cat"}]), dataset="b")
    assert labels_of(con, "b") == ["dog", "cat"]
    with pytest.raises(SchemaError, match="label holds objects, such as"):
        add_images(con, source([{"left": 1, "right": 2}]), dataset="c")


@pytest.mark.parametrize("file", ["a.csv", "a.json"])
def test_lists_as_text_are_no_class(con: duckdb.DuckDBPyConnection, root: Path, file: str) -> None:
    with pytest.raises(SchemaError, match="label holds lists, such as .*accepted"):
        add_images(con, write(root / file, label=['["cat", "dog"]', "cat"]))


def test_splits_that_differ_by_case_are_one(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    done = add_images(con, write(root / "a.csv", split=["train", "Train", "TEST", "a", "A"]), dataset="a")
    assert done.splits == {"A": 1, "TEST": 1, "a": 1, "train": 2}
    assert "splits that differ only by case are one: 'Train' as 'train'" in done.notes
    assert "splits that differ only by case, blanks or punctuation: 'A' and 'a'" in done.notes
    done = add_images(con, root / "6.png", dataset="a", split="Test")
    assert done.splits["TEST"] == 2
    assert "'Test' as 'TEST'" in done.notes[0]


def test_folders_above_what_could_be_the_classes_are_said(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    set_ = tmp_path / "set"
    for number, name in enumerate(("fold1/cat", "fold2/dog")):
        (set_ / name).mkdir(parents=True)
        (set_ / name / "a.png").write_bytes(png(number))
    shutil.make_archive(str(tmp_path / "set"), "zip", set_)
    for source in (set_, tmp_path / "set.zip", f"file://{set_}"):
        done = add_images(con, source, dataset=f"d{source}")
        assert "the labels are the upper folders (fold1, fold2), not those inside (cat, dog)" in done.notes[0]
    (set_ / "fold1" / "b.png").write_bytes(png(3))
    assert add_images(con, set_, dataset="plain").notes == ()


@pytest.mark.parametrize("row", ['b.png,"dog', '"b.png","dog'])
def test_open_quotes_are_refused(con: duckdb.DuckDBPyConnection, root: Path, row: str) -> None:
    (root / "a.csv").write_text(f"path,label\na.png,cat\n{row}\nc.png,cat\n")
    with pytest.raises(SchemaError, match=r"the quote before dog \(row 2, label\) is not closed"):
        add_images(con, root / "a.csv")
    (root / "a.csv").write_text('path,label\na.png,"cat\nb.png,dog\nc.png,"\n')
    with pytest.raises(SchemaError, match="goes over several lines|is not closed"):
        add_images(con, root / "a.csv")
    (root / "a.csv").write_text('path,label\n0.png,"big ""dog"""\n1.png,5" dog\n')
    add_images(con, root / "a.csv", dataset="quoted")
    assert labels_of(con, "quoted") == ['big "dog"', '5" dog']
    # As csv of the standard library writes a name that starts with a quote, and as a page exports it.
    (root / "a.csv").write_text('path,label\n0.png,"""big"" dog, Düne"\n1.png,cat\n')
    add_images(con, root / "a.csv", dataset="leading")
    assert labels_of(con, "leading") == ['"big" dog, Düne', "cat"]


def test_two_columns_of_one_name_are_refused(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    path = str(root / "0.png")
    (root / "a.csv").write_text("path,label,label\n0.png,cat,dog\n")
    (root / "a.json").write_text('[{"path": "0.png", "label": 0, "label": 1}]')
    sources = [
        pd.DataFrame([[path, 1, 2]], columns=["path", "label", "label"]),
        pa.table([pa.array([path]), pa.array([1]), pa.array([2])], names=["path", "label", "label"]),
        *(root / "a.csv", root / "a.json"),
    ]
    for source in sources:
        with pytest.raises(SchemaError, match="has two columns named label: which one is meant"):
            add_images(con, source, dataset="x")


@pytest.mark.parametrize("orient", ["columns", "index", "records", "split", "table"])
def test_every_json_of_pandas(con: duckdb.DuckDBPyConnection, root: Path, orient: Any) -> None:
    frame = pd.DataFrame({"path": ["0.png", "1.png", "2.png"], "label": ["cat", "dog", "cat"]})
    frame.to_json(root / "a.json", orient=orient)
    assert counts(add_images(con, root / "a.json", dataset="a")) == (3, 0, 0, 0)
    assert labels_of(con, "a") == ["cat", "dog", "cat"]
    frame.set_index("path").to_json(root / "b.json")
    with pytest.raises(SchemaError, match="is one object of label, each with 0.png, 1.png, 2.png: columns, or rows"):
        add_images(con, root / "b.json")


@pytest.mark.parametrize("ends", [("\r\n", "\n", "\r\n"), ("\n", "\r\n", "\n"), ("\n", "\n", "\r"), ("\r\n",) * 3])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_lines_that_end_differently(
    con: duckdb.DuckDBPyConnection, root: Path, ends: tuple[str, str, str], encoding: str
) -> None:
    lines = ("path,label", "0.png,kätzchen", "1.png,dog")
    text = "".join(line + end for line, end in zip(lines, ends, strict=True))
    (root / "a.csv").write_bytes(text.encode(encoding))
    add_images(con, root / "a.csv", dataset="a")
    assert labels_of(con, "a") == ["kätzchen", "dog"]


@pytest.mark.parametrize("store_bytes", [True, False])
def test_a_copy_in_another_class_folder_is_said(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path, store_bytes: bool
) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    add_images(con, root, store_bytes=store_bytes)
    shutil.copy(root / "dog" / "1.jpg", root / "cat" / "again.jpg")
    done = add_images(con, root, store_bytes=store_bytes)
    assert f"such as {root}/cat/again.jpg and {root}/dog/1.jpg; both are kept" in done.notes[0]


@pytest.mark.parametrize("store_bytes", [True, False])
def test_a_file_moved_to_another_class_is_the_same_image(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path, store_bytes: bool
) -> None:
    root = shutil.copytree(photos, tmp_path / "pets")
    (root / "cat" / "0.jpg").rename(root / "cat" / "cat0.jpg")
    add_images(con, root, store_bytes=store_bytes)
    before = con.sql("select image_id from images where uri like '%cat0.jpg'").fetchall()
    shutil.move(root / "cat" / "cat0.jpg", root / "owl" / "cat0.jpg")
    done = add_images(con, root, store_bytes=store_bytes)
    assert (counts(done), done.n_moved) == ((0, 1, 17, 0), 1)
    assert "1 of them in another folder: the labels are those of now" in done.notes[0]
    assert con.sql("select image_id from images where uri like '%/owl/cat0.jpg'").fetchall() == before
    assert all(folder == name for folder, name in label_names(con))
    assert con.sql("select count(*) from image_bytes").fetchall() == [(18 if store_bytes else 0,)]


@pytest.mark.parametrize("form", ["csv", "json", "frame", "pairs"])
def test_a_label_that_became_empty_is_said(con: duckdb.DuckDBPyConnection, root: Path, form: str) -> None:
    def source(labels: list[str | None]) -> Any:
        paths = [str(root / f"{n}.png") for n in range(len(labels))]
        if form in ("csv", "json"):
            return write(root / f"a.{form}", label=labels)
        return (
            pd.DataFrame({"path": paths, "label": labels}) if form == "frame" else list(zip(paths, labels, strict=True))
        )

    assert add_images(con, source(["cat", "dog", "cat"]), dataset="a").notes == ()
    done = add_images(con, source(["cat", None, None]), dataset="a")
    assert done.notes == (
        "2 images without a label in this source keep the label from before; if it is to go, set images.label to NULL",
    )
    assert labels_of(con, "a") == ["cat", "dog", "cat"]
    assert add_images(con, [str(root / f"{n}.png") for n in range(3)], dataset="a").notes == ()


def test_a_copy_of_the_data_set_is_said(con: duckdb.DuckDBPyConnection, tmp_path: Path, photos: Path) -> None:
    add_images(con, photos, dataset="pets")
    other = shutil.copytree(photos, tmp_path / "copy")
    done = add_images(con, other, dataset="pets")
    assert done.n_added == 18
    assert any(note.startswith("18 images added with the bytes of one that was there before") for note in done.notes)
    assert add_images(con, photos, dataset="pets").notes == ()
    assert add_images(con, other, dataset="other").notes == ()


@pytest.mark.parametrize("file", ["l.csv", "l.json"])
def test_numbers_without_an_image_are_said(con: duckdb.DuckDBPyConnection, root: Path, file: str) -> None:
    done = add_images(con, write(root / file, label=[0, 1, 2, 1, 255]), dataset="ignored")
    assert any("labels are 0 to 255, and 252 numbers between have no image" in note for note in done.notes)
    assert add_images(con, write(root / file, label=[0, 1, 2, 4, 5]), dataset="few").notes == ()
    named = add_images(con, write(root / file, label=[0, 9]), dataset="named", classes=[f"c{n}" for n in range(10)])
    assert named.notes == ()


def test_one_column_for_each_class_is_no_label(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    flags = {"healthy": [1, 0, 0], "rust": [0, 1, 0], "scab": [0, 0, 1]}
    done = add_images(con, write(root / "m.csv", **flags), dataset="flags")
    assert any("healthy, rust, scab hold only 0 and 1" in note and "idxmax" in note for note in done.notes)
    assert not any("columns=" in note for note in done.notes)
    one = add_images(con, write(root / "n.csv", species=["a", "b", "a"], seen=[0, 1, 0]), dataset="one")
    assert any('columns={"label": "species"}' in note for note in one.notes)


@pytest.mark.parametrize("sign", ["|", ";", ", "])
def test_several_labels_in_one_text_are_said(con: duckdb.DuckDBPyConnection, root: Path, sign: str) -> None:
    labels = ["edema", "mass", f"mass{sign}edema"]
    done = add_images(con, write(root / "m.csv", label=labels), dataset="several")
    assert any(f"'mass{sign}edema' in label is taken as a class of its own" in note for note in done.notes)
    assert names_of(con, "several") == sorted(labels)
    labels[2] = f"fire{sign}truck"
    assert add_images(con, write(root / "m.csv", label=labels), dataset="one").notes == ()


def test_a_column_of_splits_that_is_not_taken_is_said(con: duckdb.DuckDBPyConnection, root: Path) -> None:
    usage = {"label": ["a", "b", "a"], "Usage": ["Training", "PublicTest", "Training"]}
    file = write(root / "m.csv", **usage)
    assert any('columns={"split": "Usage"}' in note for note in add_images(con, file, dataset="usage").notes)
    done = add_images(con, file, dataset="taken", columns={"split": "Usage"})
    assert (done.splits, done.notes) == ({"PublicTest": 1, "Training": 2}, ())
    flag = write(root / "n.csv", label=["a", "b"], is_training_image=[1, 0])
    assert any("is_training_image was not taken as the split" in note for note in add_images(con, flag).notes)
