"""Zip and tar files by reference, WebDataset shards, and what is not read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sqlanalysis import add_images
from sqlanalysis.core import decode
from sqlanalysis.data.sources import archive
from sqlanalysis.errors import NotFoundError, SchemaError

from ..support.datasets import names_of
from ..support.mutations import survive
from ..support.trees import EXPECTED, JUNK, TREE, below, digest, labels_of, png, tarred, unpacked, zipped


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("prefix", ["", "photos/", "images/", "a/b/"])
def test_archive_is_read_like_the_folder(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, make: Any, prefix: str
) -> None:
    file = make(tmp_path / "photos.bin", below(prefix))
    done = add_images(con, file, dataset="archive")
    add_images(con, unpacked(tmp_path / "folder", below(prefix)), dataset="folder")
    assert (done.n_added, done.n_labeled) == (9, 9)
    assert labels_of(con, "archive") == labels_of(con, "folder") == EXPECTED
    assert names_of(con, "archive") == names_of(con, "folder") == ["cat", "dog", "owl"]
    uris = [uri for (uri,) in con.sql("select uri from images where dataset = 'archive'").fetchall()]
    assert all(uri.startswith(f"{file}#{prefix}") for uri in uris)
    assert con.sql("select count(*) from image_bytes").fetchall() == [(0,)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "photos.bin"]
    assert add_images(con, file, dataset="archive").n_unchanged == 9


@pytest.mark.parametrize("make", [zipped, tarred])
def test_splits_and_junk(con: duckdb.DuckDBPyConnection, tmp_path: Path, make: Any) -> None:
    content = {**below("d/train/"), "d/valid/owl/new.png": png(77), **JUNK, "d/extra.png": png(78)}
    done = add_images(con, make(tmp_path / "d.bin", content))
    assert done.splits == {"train": 9, "valid": 1}
    assert names_of(con, done.dataset) == ["cat", "dog", "owl"]
    told = " ".join(done.notes)
    for word in ("__MACOSX (1)", ".DS_Store (1)", "Thumbs.db (1)", "*.txt (1)", "images beside the splits (1)"):
        assert word in told or word.replace(".DS_Store", "hidden files") in told, (word, told)


def test_flat_archive_and_name_of_the_split(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    done = add_images(con, zipped(tmp_path / "pets" / "test.zip", {"a.png": png(0), "b.PNG": png(1)}))
    assert (done.dataset, done.n_added, done.n_labeled, done.splits) == ("pets", 2, 0, {"test": 2})


def test_archive_without_images(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no image in .*t\.zip; there are: 2 \*\.csv"):
        add_images(con, zipped(tmp_path / "t.zip", {"a.csv": b"", "b.csv": b""}))
    with pytest.raises(NotFoundError, match="no image"):
        add_images(con, zipped(tmp_path / "e.zip", {}))


def test_hostile_names_are_only_names(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    content = {"../../cat/up.png": png(0), "/etc/dog/abs.png": png(1), "cat/./x.png": png(2)}
    done = add_images(con, zipped(tmp_path / "h.zip", content))
    assert done.n_added == 3
    assert done.n_errors == 0
    assert [path.name for path in tmp_path.iterdir()] == ["h.zip"]


def test_bad_members_are_error_rows(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    file = zipped(tmp_path / "b.zip", {**TREE, "cat/bad.png": b"no image"})
    done = add_images(con, file)
    assert (done.n_added, done.n_errors) == (9, 1)


def test_list_in_an_archive_is_said(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    done = add_images(con, zipped(tmp_path / "m.zip", {"a.png": png(0), "metadata.csv": b"file_name,label\na.png,cat"}))
    assert any("metadata.csv inside" in note and "not read" in note for note in done.notes)


# WebDataset


def samples(n: int, start: int = 0, **sides: Any) -> dict[str, bytes]:
    content: dict[str, bytes] = {}
    for number in range(start, start + n):
        content[f"{number:06d}.png"] = png(number)
        for ending, value in sides.items():
            content[f"{number:06d}.{ending}"] = str(value(number)).encode()
    return content


def test_cls_is_the_label(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    tarred(tmp_path / "w.tar", samples(6, cls=lambda number: number % 3, txt=lambda number: f"a photo of {number}"))
    done = add_images(con, tmp_path / "w.tar", classes=["cat", "dog", "owl"])
    assert done.n_labeled == 6
    assert done.columns["label"] == "cls"
    assert labels_of(con, done.dataset) == {digest(n): ("cat", "dog", "owl")[n % 3] for n in range(6)}
    assert json.loads(con.sql("select meta from images order by image_id").fetchall()[2][0]) == {"txt": "a photo of 2"}
    uri = con.sql("select uri from images order by image_id limit 1").fetchall()[0][0]
    assert uri == f"{tmp_path}/w.tar#000000.png"
    assert decode.read(None, uri) == png(0)


def test_cls_of_names_and_zero_padded_numbers(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    add_images(con, tarred(tmp_path / "n.tar", samples(2, cls=lambda number: ["dog", "cat"][number])), dataset="n")
    assert labels_of(con, "n") == {digest(0): "dog", digest(1): "cat"}
    add_images(con, tarred(tmp_path / "z.tar", samples(2, cls=lambda number: f"0{number}")), dataset="z")
    assert names_of(con, "z") == ["00", "01"]


def test_json_beside_the_picture(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    sides = samples(4, json=lambda number: json.dumps({"label": ["owl", "cat"][number % 2], "image": "x", "n": number}))
    done = add_images(con, tarred(tmp_path / "j.tar", sides))
    assert labels_of(con, done.dataset) == {digest(n): ["owl", "cat"][n % 2] for n in range(4)}
    assert json.loads(con.sql("select meta from images order by image_id").fetchall()[3][0]) == {"image": "x", "n": 3}
    other = samples(2, json=lambda number: json.dumps({"species": number, "c": "x"}))
    done = add_images(con, tarred(tmp_path / "s.tar", other), dataset="s", columns={"label": "species"})
    assert done.n_labeled == 2
    quiet = add_images(con, tmp_path / "s.tar", dataset="q")
    assert quiet.n_labeled == 0
    assert any("no label column recognized" in note for note in quiet.notes)


def test_damaged_side_files_are_counted(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    content = samples(3, json=lambda number: '{"label": "a"}' if number else "[" * 50_000)
    done = add_images(con, tarred(tmp_path / "d.tar", content))
    assert done.n_labeled == 2
    assert "1 side files that are not JSON: not read" in done.notes


def test_shards(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for number in range(3):
        tarred(tmp_path / f"train-00000{number}.tar", samples(2, 2 * number, cls=lambda number: number % 3))
    done = add_images(con, str(tmp_path / "train-*.tar"), dataset="s", classes=["cat", "dog", "owl"])
    assert (done.n_added, done.n_labeled, done.splits) == (6, 6, {"train": 6})
    assert labels_of(con, "s")[digest(5)] == "owl"
    files = archive.shards(f"{tmp_path}/train-{{000000..000001}}.tar")
    assert [file.name for file in files] == ["train-000000.tar", "train-000001.tar"]
    with pytest.raises(NotFoundError, match=r"no file .*train-000003\.tar"):
        archive.shards(f"{tmp_path}/train-{{000000..000003}}.tar")


def test_samples_with_several_pictures(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    content = samples(2, cls=lambda number: number)
    content |= {f"{number:06d}.seg.png": png(50 + number) for number in range(2)}
    file = tarred(tmp_path / "m.tar", content)
    with pytest.raises(SchemaError, match=r"sample 000000 has several pictures \(png, seg\.png\); choose one"):
        add_images(con, file)
    source = archive.from_archive([file], {"path": "png"})
    assert [entry.uri.rpartition("#")[2] for entry in source.entries] == ["000000.png", "000001.png"]
    assert source.left_out["*.seg.png"] == 2


def test_dots_in_names_of_a_plain_tar(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    done = add_images(con, tarred(tmp_path / "p.tar", {"cat/a.1.png": png(0), "cat/a.2.png": png(1)}))
    assert done.n_added == 2
    assert set(labels_of(con, done.dataset).values()) == {"cat"}


def test_folders_label_samples_whose_json_does_not(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    content = {"cat/1.png": png(0), "cat/1.json": b'{"width": 3}', "dog/2.png": png(1)}
    done = add_images(con, tarred(tmp_path / "f.tar", content))
    assert labels_of(con, done.dataset) == {digest(0): "cat", digest(1): "dog"}


def test_links_and_repeated_names_are_counted(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    import io
    import tarfile

    with tarfile.open(tmp_path / "l.tar", "w") as made:
        for name, data in [("a.png", png(0)), ("a.png", png(1))]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("b.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(link)
    done = add_images(con, tmp_path / "l.tar", dataset="l")
    assert done.n_added == 1
    assert set(labels_of(con, "l")) == {digest(1)}
    assert "links and devices (1)" in " ".join(done.notes)
    assert "repeated names (1)" in " ".join(done.notes)


def test_a_moved_archive_is_not_needed_to_list_it(tmp_path: Path) -> None:
    file = zipped(tmp_path / "a.zip", TREE)
    before = [entry.relative for entry in archive.from_archive([file]).entries]
    shutil.move(file, tmp_path / "b")
    (tmp_path / "c").mkdir()
    shutil.move(tmp_path / "b", tmp_path / "c" / "a.zip")
    assert [entry.relative for entry in archive.from_archive([tmp_path / "c" / "a.zip"]).entries] == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.zip", "m.tar"])
def test_damaged_archives(tmp_path: Path, name: str) -> None:
    content = TREE if name.endswith("zip") else samples(9, cls=lambda number: number % 3)
    lines, slowest, megabytes = survive((zipped if name.endswith("zip") else tarred)(tmp_path / name, content))
    assert len(lines) == 100
    assert slowest < 10
    assert megabytes < 1024
    assert sum(line.startswith("error") for line in lines) > 5
