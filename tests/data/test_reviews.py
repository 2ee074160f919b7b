"""Reviewed labels: a round trip on the demo, files that do not fit, and what adding images again does to them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score

import sqlanalysis as sq
from sqlanalysis import demo
from sqlanalysis.core.text import csv_cell
from sqlanalysis.db.connection import cursor_of
from sqlanalysis.db.statements import fetch
from sqlanalysis.errors import NotFoundError, QueryError, SchemaError

from ..support.shells import ask, cli

NAMES = ["image_id", "sha256", "file", "label_name", "review", "new_label_name", "reviewed_at"]
WHEN = "2026-05-01T12:30:00.000Z"


def write(path: Path, rows: Iterable[dict[str, Any]], *, names: list[str] = NAMES, delimiter: str = ",") -> Path:
    """As the page writes it: a line per answer, and an apostrophe before what a spreadsheet would evaluate."""
    text = io.StringIO()
    writer = csv.DictWriter(text, names, delimiter=delimiter, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    path.write_bytes(text.getvalue().encode())
    return path


def row_of(con: duckdb.DuckDBPyConnection, image_id: int, new: str = "", **others: str) -> dict[str, Any]:
    """What a page says of one image: its label is ok, or wrong and `new` is right."""
    uri, sha256, name = con.execute(
        "select uri, images.sha256, coalesce(classes.name, '') from images left join classes on class = label"
        " where image_id = ?", [image_id],
    ).fetchall()[0]  # fmt: skip
    review = {"label_name": name, "review": "wrong" if new else "ok", "new_label_name": new, "reviewed_at": WHEN}
    return {"image_id": image_id, "sha256": sha256, "file": "/".join(uri.split("/")[-2:]), **review, **others}


def labels(con: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    return con.sql("select image_id, label, accepted from images order by image_id").fetchall()


@pytest.fixture
def pets(con: duckdb.DuckDBPyConnection, photos: Path) -> duckdb.DuckDBPyConnection:
    """18 photos of cat, dog, owl, in this order; 1 to 6 are cats."""
    sq.add_images(con, photos, dataset="pets")
    return con


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("digits") / "digits.duckdb"
    pictures = [(picture, label) for picture, label, where in demo.digits() if where == "test"]
    with sq.connect(file) as con:
        sq.add_images(con, pictures, dataset="digits", classes=demo.CLASSES)
        for model in demo.networks():
            sq.predict(con, model, show_progress=False)
    return file


def figures(con: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    return [
        con.sql(f"from {query}").fetchall()
        for query in ("accuracy('digits_cnn')", "verdict('digits_cnn', 'digits_mlp')", "per_class('digits_mlp')")
    ]


def suspects(con: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    return fetch(con, "suspected_labels", {"max_images": 100}, run="digits_mlp")


def test_broken_labels_are_found_reviewed_and_right_again(digits: Path, tmp_path: Path, shell: str) -> None:
    file = tmp_path / "digits.duckdb"
    with sq.connect(digits, read_only=True) as con:
        sq.copy_database(con, file)
    with sq.connect(file) as con:
        before, given = figures(con), labels(con)
        # Five images of which both networks are sure get a label that is wrong.
        broken = dict(
            con.sql(
                "select image_id, (label + 3) % 10 from digits_cnn as cnn semi join digits_mlp as mlp"
                " on cnn.image_id = mlp.image_id and mlp.correct and mlp.confidence > 0.99"
                " where correct and confidence > 0.999 order by hash(image_id) limit 5"
            ).fetchall()
        )
        con.executemany("update images set label = ? where image_id = ?", [(b, a) for a, b in broken.items()])
        assert figures(con) != before
        found = {
            row[0]: row
            for row in con.sql("select image_id, suggested, p_wrong from label_issues('digits_mlp')").fetchall()
        }
        assert broken.keys() <= found.keys()
        assert {row[0] for row in suspects(con)} == found.keys()
        others = sorted(found.keys() - broken.keys())
        assert others  # of the network's own mistakes at least one is a suspect, and its label is right
        rows = [row_of(con, one, str(found[one][1]), sha256="") for one in broken]
        for row in rows:  # scans from Python have no file; the hash stands in its place
            row["sha256"] = con.execute(
                "select left(sha256, 12) from images where image_id = ?", [row["image_id"]]
            ).fetchall()[0][0]
        rows += [row_of(con, others[0])]
    table = write(tmp_path / "labels.csv", rows)
    done = cli("apply-labels", file, table)
    assert "6 rows = 5 labels changed + 1 confirmed + 0 already applied" in done.stderr
    assert done.stdout == ""
    again = cli("apply-labels", file, table)
    assert "6 rows = 0 labels changed + 0 confirmed + 6 already applied" in again.stderr
    with sq.connect(file, read_only=True) as con:
        assert labels(con) == given
        assert figures(con) == before
        known = con.sql("select label, pred from digits_cnn").fetchnumpy()
        assert before[0][0][2] == pytest.approx(accuracy_score(known["label"], known["pred"]), abs=1e-15)
        # What somebody has looked at is no suspect any more; the macro itself does not know of reviews.
        assert {row[0] for row in suspects(con)} == set(others[1:])
        assert {row[0] for row in con.sql("from label_issues('digits_mlp')").fetchall()} == set(others)
        history = con.sql("from label_history order by image_id").fetchall()
        assert sq.verify(con).tables == []
    assert len(history) == 6
    assert {row[0] for row in history if row[3] == "wrong"} == broken.keys()
    assert all(row[-1] for row in history)
    asked = ask(shell, file, "select image_id, old_label, new_label, review, source, source_sha256 from label_changes")
    assert {row["image_id"]: row["old_label"] for row in asked if row["review"] == "wrong"} == broken
    assert {row["source_sha256"] for row in asked} == {hashlib.sha256(table.read_bytes()).hexdigest()}
    assert {row["source"] for row in asked} == {"labels.csv"}


def test_duckdb_14_reads_the_history(
    pets: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path, duckdb14: Path
) -> None:
    file = tmp_path / "pets.duckdb"
    with sq.connect(file) as con:
        sq.add_images(con, photos, dataset="pets")
        sq.apply_labels(con, write(tmp_path / "l.csv", [row_of(con, 1, "owl"), row_of(con, 7)]))
    program = (
        "import duckdb, sys, json; con = duckdb.connect(sys.argv[1], read_only=True);"
        "print(json.dumps([con.sql(f'select {q}').fetchall() for q in sys.argv[2:]], default=str))"
    )
    asked = [
        "image_id, old_label, new_label, review, reviewed_at from label_changes order by all",
        "image_id, old_label_name, new_label_name, is_current from label_history order by all",
    ]
    done = subprocess.run([duckdb14, "-c", program, file, *asked], capture_output=True, text=True, check=True, env={})
    assert json.loads(done.stdout) == [
        [[1, 0, 2, "wrong", "2026-05-01 12:30:00"], [7, 1, 1, "ok", "2026-05-01 12:30:00"]],
        [[1, "cat", "owl", True], [7, "dog", "dog", True]],
    ]


def test_what_an_older_file_lacks_is_empty_to_read_and_made_to_write(tmp_path: Path, photos: Path) -> None:
    file = tmp_path / "x.duckdb"
    with sq.connect(file) as con:
        sq.add_images(con, photos, dataset="pets")
    with duckdb.connect(str(file)) as plain:
        plain.execute(
            "drop view label_history; drop table label_changes; update schema_version set catalogue = 'older'"
        )
    with sq.connect(file, read_only=True, safe=True) as con:
        assert cursor_of(con).sql("from label_history").fetchall() == con.sql("from label_changes").fetchall() == []
        assert con.sql("from check_database").fetchall() == []
        assert con.sql("select count(*) from disk_usage() where table_name = 'label_changes'").fetchall() == [(1,)]
        with pytest.raises(QueryError, match="only reads"):
            sq.apply_labels(con, write(tmp_path / "l.csv", [row_of(con, 1, "owl")]))
    with sq.connect(file) as con:
        assert sq.apply_labels(con, tmp_path / "l.csv").n_changed == 1
    with duckdb.connect(str(file), read_only=True) as plain:
        assert plain.sql("select new_label_name from label_history").fetchall() == [("owl",)]


def refused(con: duckdb.DuckDBPyConnection, tmp_path: Path, *rows: dict[str, Any], match: str) -> None:
    before = labels(con), con.sql("from label_changes").fetchall()
    with pytest.raises(SchemaError, match=match):
        sq.apply_labels(con, write(tmp_path / "refused.csv", rows))
    assert (labels(con), con.sql("from label_changes").fetchall()) == before


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"image_id": "77"}, "no image with the image_id '77'"),
        ({"image_id": "1.0"}, "no image with the image_id '1.0'"),
        ({"image_id": "-1"}, "no image with the image_id"),
        ({"image_id": "9" * 30}, "no image with the image_id"),
        ({"sha256": "0" * 64}, "image 2 has the sha256 .* and the row is about 000000000000.* other bytes"),
        ({"sha256": "1.23457E+11"}, "is not the hash of an image.*spreadsheet may have read it as a number"),
        ({"sha256": "abc"}, "is not the hash of an image"),
        ({"sha256": "", "file": "cat/2.jpg"}, r"image 2 is .*cat/1.jpg, and the row is about cat/2.jpg, without a sha256"),
        ({"sha256": "", "file": ""}, "about no file, without a sha256 that tells"),
        ({"sha256": "", "file": "1.jp"}, "without a sha256 that tells"),
        ({"sha256": "", "file": "t/1.jpg"}, "without a sha256 that tells"),
        ({"label_name": "owl"}, "is 'cat' now, and was 'owl' when its label was reviewed"),
        ({"label_name": ""}, "is 'cat' now, and was unlabeled when"),
        ({"new_label_name": "Owl"}, r"'Owl' is not a class of 'pets'; did you mean owl\?"),
        ({"new_label_name": "2"}, "'2' is not a class of 'pets'; there are: cat, dog, owl"),
        ({"new_label_name": ""}, "the label 'cat' is wrong, and no other one is given"),
        ({"new_label_name": "cat"}, "the label 'cat' is wrong, and the same is to replace it"),
        ({"review": "ok"}, "the label 'cat' is ok, and 'dog' is to replace it: which is meant"),
        ({"review": "OK"}, "review is ok or wrong, not 'OK'"),
        ({"review": ""}, "review is ok or wrong"),
        ({"reviewed_at": "01.05.2026"}, "reviewed_at is a time such as .* not '01.05.2026'"),
        ({"file": "<script>", "sha256": "f" * 64, "label_name": "\x1b[31m"}, "the row is about ffffffffffff… .<script>"),
    ],
)  # fmt: skip
def test_a_row_that_does_not_fit_is_refused_with_all_others(
    change: dict[str, str], match: str, pets: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    refused(
        pets,
        tmp_path,
        row_of(pets, 1, "owl"),
        row_of(pets, 2, "dog") | change,
        match=rf"1 of 2 rows .*row 2: .*{match}",
    )
    rows = [row_of(pets, 1, "owl"), row_of(pets, 2, "dog") | change]
    done = sq.apply_labels(pets, write(tmp_path / "partly.csv", rows), skip_refused=True)
    assert (done.n_rows, done.n_changed, done.n_refused) == (2, 1, 1)
    assert "1 of 2 rows are refused: row 2" in done.notes[0]


def test_an_unlabeled_image_is_not_ok_and_two_answers_are_none(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    pets.execute("update images set label = null where image_id = 3")
    refused(pets, tmp_path, row_of(pets, 3), match="image 3 has no label that could be ok")
    two = [row_of(pets, 1, "owl"), row_of(pets, 1, "dog")]
    refused(
        pets, tmp_path, *two, match="2 of 2 rows .*image 1 has two answers: wrong → owl in row 1, wrong → dog in row 2"
    )
    done = sq.apply_labels(pets, write(tmp_path / "x.csv", [*two, row_of(pets, 2, "dog")]), skip_refused=True)
    assert (done.n_rows, done.n_changed, done.n_refused) == (3, 1, 2)
    twice = sq.apply_labels(pets, write(tmp_path / "y.csv", [row_of(pets, 3, "owl"), row_of(pets, 3, "owl")]))
    assert (twice.n_rows, twice.n_changed, twice.n_already, twice.changes) == (2, 1, 1, {"unlabeled → owl": 1})
    assert pets.sql("select label from images where image_id = 3").fetchall() == [(2,)]
    assert pets.sql("select old_label, new_label from label_changes where image_id = 3").fetchall() == [(None, 2)]


def test_a_list_of_many_refusals_is_short(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="; and 13 more; skip_refused=True") as caught:
        sq.apply_labels(pets, write(tmp_path / "x.csv", [row_of(pets, one, "gull") for one in range(1, 19)]))
    assert len(str(caught.value)) < 1200


@pytest.mark.parametrize("form", ["semicolons", "excel", "utf-16", "tabs", "upper case", "no sha256", "back slashes"])
def test_files_as_programs_save_them(form: str, pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    rows, names = [row_of(pets, 1, "owl"), row_of(pets, 8)], list(NAMES)
    if form == "no sha256":
        names.remove("sha256")
    if form == "back slashes":
        rows = [row | {"sha256": "", "file": row["file"].replace("/", "\\")} for row in rows]
    if form == "upper case":
        rows = [row | {"sha256": row["sha256"][:12].upper()} for row in rows]
    file = write(tmp_path / "l.csv", rows, names=names, delimiter={"tabs": "\t", "utf-16": ","}.get(form, ";"))
    text = file.read_bytes().decode()
    if form == "excel":  # quotes around everything, a mark at the start, an empty line and columns at the end
        quoted = [";".join(f'"{cell}"' for cell in line.split(";")) for line in text.splitlines()]
        file.write_bytes(("\r\n".join([*quoted, ";" * (len(names) - 1)]) + "\r\n").encode("utf-8-sig"))
    if form == "utf-16":
        file.write_bytes(text.encode("utf-16"))
    if form == "tabs":
        file = file.rename(file.with_suffix(".tsv"))
    done = sq.apply_labels(pets, file)
    assert (done.n_rows, done.n_changed, done.n_confirmed) == (2, 1, 1), done
    assert pets.sql("select label from images where image_id = 1").fetchall() == [(2,)]


def test_names_that_a_spreadsheet_would_evaluate(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for number, name in enumerate(("=1+1", "-x", "'quoted", "a;b", 'c"d', "Ünï")):
        folder = tmp_path / "odd" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / "-1.png")
    sq.add_images(con, tmp_path / "odd", dataset="odd")
    names = [name for (name,) in con.sql("select name from classes order by class").fetchall()]
    rows = [row_of(con, one, names[one % len(names)], sha256="") for one in range(1, len(names) + 1)]
    done = sq.apply_labels(con, write(tmp_path / "odd.csv", rows))
    assert done.n_changed == len(names)
    assert [label for _, label, _ in labels(con)] == [*range(1, len(names)), 0]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is empty"),
        ("image_id,review\n1,ok\n", "has no column label_name, new_label_name, sha256; it has image_id, review"),
        ("image_id,label_name,review,new_label_name\n1,cat,ok,\n", "has no column sha256"),
        (
            "image_id,sha256,label_name,review,new_label_name,review\n1,a,cat,ok,,wrong\n",
            "of the same name|two columns",
        ),
        ('image_id,sha256,label_name,review,new_label_name\n1,"a,cat,ok,\n', "quote|cannot be read"),
    ],
)
def test_what_is_no_list_of_labels(text: str, match: str, pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    file = tmp_path / "l.csv"
    file.write_text(text)
    with pytest.raises(SchemaError, match=match):
        sq.apply_labels(pets, file)
    with pytest.raises(NotFoundError, match="no file"):
        sq.apply_labels(pets, tmp_path / "none.csv")
    with pytest.raises(SchemaError, match="is not a table"):
        sq.apply_labels(pets, Path(__file__))


def test_a_label_that_changes_meanwhile(tmp_path: Path, photos: Path) -> None:
    with sq.connect(tmp_path / "x.duckdb") as con:
        sq.add_images(con, photos, dataset="pets")
        table = write(tmp_path / "l.csv", [row_of(con, 1, "owl"), row_of(con, 2, "owl")])
        with con.cursor() as other:
            other.begin()
            other.execute("update images set label = 1 where image_id = 2")
            with pytest.raises(QueryError, match="update_labels: .*[Cc]onflict"):
                sq.apply_labels(con, table)
            other.commit()
        assert con.sql("from label_changes").fetchall() == []
        assert labels(con)[:2] == [(1, 0, None), (2, 1, None)]
        refused(
            con,
            tmp_path,
            row_of(con, 1, "owl"),
            row_of(con, 2, "owl", label_name="cat"),
            match="is 'dog' now, and was 'cat'",
        )
        con.begin()
        with pytest.raises(QueryError, match="a transaction is open"):
            sq.apply_labels(con, table)
        con.rollback()


def test_an_old_file_does_not_undo_a_later_review(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    first = write(tmp_path / "first.csv", [row_of(pets, 1, "owl")])
    sq.apply_labels(pets, first)
    # Somebody else came to the same answer: it is in the history, and changes nothing.
    same = sq.apply_labels(
        pets,
        write(
            tmp_path / "same.csv", [row_of(pets, 1, "owl", label_name="cat", reviewed_at="2026-06-01T00:00:00+02:00")]
        ),
    )
    assert (same.n_changed, same.n_already) == (0, 1)
    assert pets.sql("select reviewed_at::varchar from label_changes order by all").fetchall() == [
        ("2026-05-01 12:30:00",), ("2026-05-31 22:00:00",)
    ]  # fmt: skip
    sq.apply_labels(pets, write(tmp_path / "back.csv", [row_of(pets, 1, "cat", reviewed_at="2026-07-01")]))
    with pytest.raises(
        SchemaError, match="got the label 'owl' of this row before, and 'cat' by a later review, which stays"
    ):
        sq.apply_labels(pets, first)
    assert [row[-1] for row in pets.sql("from label_history").fetchall()] == [True, False, False]
    assert labels(pets)[0][1] == 0


def test_adding_images_again_keeps_reviewed_labels(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "pets"
    for file in photos.glob("*/*.jpg"):
        target = folder / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    sq.add_images(con, folder)
    sq.apply_labels(con, write(tmp_path / "l.csv", [row_of(con, 1, "owl"), row_of(con, 2, "dog"), row_of(con, 3)]))
    caplog.clear()
    again = sq.add_images(con, folder)
    assert (again.n_changed, again.n_unchanged, again.n_labeled) == (0, 18, 18)
    assert [label for _, label, _ in labels(con)[:3]] == [2, 1, 0]
    assert again.notes == tuple(caplog.messages)
    assert len(again.notes) == 1
    assert again.notes[0].startswith("2 images keep a reviewed label, where this source has another one")
    # Other bytes under the name: nobody has seen those.
    Image.fromarray(np.full((9, 9, 3), 7, np.uint8)).save(folder / "cat" / "0.jpg")
    changed = sq.add_images(con, folder)
    assert changed.n_changed == 1
    assert "1 image keeps a reviewed label" in changed.notes[0]
    assert [label for _, label, _ in labels(con)[:3]] == [0, 1, 0]
    assert con.sql("select image_id from label_history where is_current order by all").fetchall() == [(2,), (3,)]
    forced = sq.add_images(con, folder, overwrite_reviewed=True)
    assert (forced.n_changed, forced.notes) == (1, ())
    assert [label for _, label, _ in labels(con)[:3]] == [0, 0, 0]
    assert con.sql("select image_id from label_history where is_current").fetchall() == [(3,)]
    assert con.sql("select count(*) from label_changes").fetchall() == [(3,)]


def test_an_image_moved_into_another_folder_keeps_its_reviewed_label(
    con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pets"
    for name, to in (("cat", "cat"), ("dog", "dog"), ("owl", "owl")):
        (folder / to).mkdir(parents=True)
        (folder / to / f"{name}.jpg").write_bytes((photos / name / "0.jpg").read_bytes())
    sq.add_images(con, folder)
    sq.apply_labels(con, write(tmp_path / "l.csv", [row_of(con, 1, "owl")]))
    (folder / "cat" / "cat.jpg").rename(folder / "dog" / "cat.jpg")
    done = sq.add_images(con, folder)
    assert done.n_moved == 1
    assert any("1 image keeps a reviewed label" in note for note in done.notes)
    assert labels(con)[0] == (1, 2, None)


def test_several_right_answers_follow(con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.glob("*/*.jpg"))[:4]
    table = [
        {"path": str(file), "label": label, "accepted": accepted}
        for file, label, accepted in zip(files, ["a", "b", "a", "c"], ['["a", "c"]', '["c"]', "", "[]"], strict=True)
    ]
    with (tmp_path / "t.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, ["path", "label", "accepted"])
        writer.writeheader()
        writer.writerows(table)
    sq.add_images(con, tmp_path / "t.csv", dataset="d")
    assert [accepted for *_, accepted in labels(con)] == [[0, 2], [2], None, []]
    answers = [row_of(con, 1, "b"), row_of(con, 2), row_of(con, 3, "b"), row_of(con, 4, "a")]
    done = sq.apply_labels(con, write(tmp_path / "l.csv", answers))
    # a is wrong for 1: {a, c} - a + b. b is right for 2: {c} + b. 3 has one answer only. None was right for 4; a is.
    assert labels(con) == [(1, 1, [1, 2]), (2, 1, [1, 2]), (3, 1, None), (4, 0, [0])]
    assert con.sql("select old_accepted from label_changes order by image_id").fetchall() == [
        ([0, 2],),
        ([2],),
        (None,),
        ([],),
    ]
    assert any("3 images have several right answers" in note for note in done.notes)


def test_what_does_not_follow_is_named(con: duckdb.DuckDBPyConnection, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    for name, to in (("0", "cat/a.jpg"), ("0", "cat/b.jpg"), ("1", "dog/c.jpg")):
        (folder / to).parent.mkdir(parents=True, exist_ok=True)
        (folder / to).write_bytes((photos / "cat" / f"{name}.jpg").read_bytes())
    sq.add_images(con, folder)
    rows = con.sql("select uri as path, [0.8, 0.2]::float[] as probs from images").to_arrow_table()
    sq.add_predictions(con, rows, "plain", outputs="probs")
    sq.temperature_scale(con, "plain", "fitted")
    sq.temperature_scale(con, "plain", "given", temperature=2.0)
    done = sq.apply_labels(con, write(tmp_path / "l.csv", [row_of(con, 1, "dog")]))
    assert any("1 image with the bytes of a relabeled one keeps another label" in note for note in done.notes)
    assert any("made with the labels of before, and not made again: fitted (" in note for note in done.notes)
    assert con.sql("select label_name, correct from plain where image_id = 1").fetchall() == [("dog", False)]


def test_every_relation_of_a_run_follows(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    rows = pets.sql("select uri as path, [0.7, 0.2, 0.1]::float[] as probs from images").to_arrow_table()
    sq.add_predictions(pets, rows, "r", outputs="probs")
    for row in ("r", "predictions"):
        assert pets.sql(f"select count(*) from {row} where correct").fetchall() == [(6,)]
    sq.apply_labels(
        pets, write(tmp_path / "l.csv", [row_of(pets, 1, "owl"), row_of(pets, 7, "cat"), row_of(pets, 8, "cat")])
    )
    for row in ("r", "predictions"):
        assert pets.sql(f"select count(*), count(*) filter (where correct) from {row}").fetchall() == [(18, 7)]
    stored = pets.sql(
        "select table_name from duckdb_columns() semi join duckdb_tables() using (table_oid) where column_name = 'label'"
    )
    assert {name for (name,) in stored.fetchall()} == {"images"}  # a label is kept in one place
