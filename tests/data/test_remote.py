"""Images at addresses, and the word for files that are no source."""

from __future__ import annotations

import gzip
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sqlanalysis import add_images
from sqlanalysis.core import addresses
from sqlanalysis.data.sources import remote
from sqlanalysis.errors import MissingExtraError, NotFoundError, SchemaError

from ..support.datasets import names_of
from ..support.trees import EXPECTED, JUNK, TREE, below, digest, labels_of, png, rows, tarred, unpacked, write


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses._cache.clear()
    addresses._full.clear()
    monkeypatch.setattr(addresses, "PAUSE", 0.01)


@pytest.fixture
def memory() -> Iterator[Any]:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    files = fsspec.filesystem("memory")
    yield files
    files.store.clear()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A local web server of a folder."""
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    root = tmp_path / "site"
    root.mkdir()
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root)))
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}", root
    running.shutdown()
    running.server_close()


def test_folder_of_classes(con: duckdb.DuckDBPyConnection, memory: Any) -> None:
    for name, data in {**below("pets/train/"), "pets/val/owl/x.png": png(50), **below("pets/train/", JUNK)}.items():
        memory.pipe(f"/{name}", data)
    done = add_images(con, "memory://pets")
    assert (done.dataset, done.n_added, done.splits) == ("pets", 10, {"train": 9, "val": 1})
    found = labels_of(con, "pets")
    assert found == EXPECTED | {digest(50): "owl"}
    assert names_of(con, "pets") == ["cat", "dog", "owl"]
    assert "Thumbs.db (1)" in " ".join(done.notes)
    assert con.sql("select uri from images order by uri limit 1").fetchall()[0][0] == "memory://pets/train/cat/cat0.png"
    assert add_images(con, "memory://pets").n_unchanged == 10


def test_one_image_and_a_glob(con: duckdb.DuckDBPyConnection, memory: Any) -> None:
    for number in range(3):
        memory.pipe(f"/b/{number}.png", png(number))
    memory.pipe("/b/noending", png(9))
    assert add_images(con, "memory://b/1.png", dataset="one").n_added == 1
    assert add_images(con, "memory://b/[01].png", dataset="glob").n_added == 2
    assert add_images(con, "memory://b/noending", dataset="plain").n_added == 1
    with pytest.raises(NotFoundError, match="no image at memory://nothing"):
        add_images(con, "memory://nothing/")


def test_table_with_relative_paths(con: duckdb.DuckDBPyConnection, memory: Any) -> None:
    for name, data in TREE.items():
        memory.pipe(f"/Set/images/{name}", data)
    lines = [f"images/{name},{name.split('/')[0]}" for name in TREE]
    lines += ["images/dog/../cat/cat0.png,cat", "gone.png,dog"]
    memory.pipe("/Set/labels.csv", "\n".join(["file,label", *lines]).encode())
    done = add_images(con, "memory://Set/labels.csv", dataset="t")
    assert (done.n_added, done.n_unchanged, done.n_errors) == (9, 1, 1)
    assert labels_of(con, "t") == EXPECTED
    assert con.sql("select message from errors").fetchall() == [("memory://Set/gone.png: not found",)]


def test_a_table_from_elsewhere_names_no_file_of_this_machine(
    con: duckdb.DuckDBPyConnection, memory: Any, tmp_path: Path
) -> None:
    unpacked(tmp_path, {"a.png": png(0)})
    memory.pipe("/t/a.csv", f"path\nfile://{tmp_path}/a.png\n".encode())
    memory.pipe("/t/b.csv", f"path\n{tmp_path}/a.png\n".encode())
    with pytest.raises(SchemaError, match="names files of this machine"):
        add_images(con, "memory://t/a.csv")
    assert add_images(con, "memory://t/b.csv", dataset="b").n_errors == 1


def test_web(con: duckdb.DuckDBPyConnection, site: tuple[str, Path]) -> None:
    at, root = site
    unpacked(root, TREE)
    (root / "t.csv").write_text("path,label\n" + "\n".join(f"{name},{name.split('/')[0]}" for name in TREE))
    assert add_images(con, f"{at}/t.csv", dataset="table").n_labeled == 9
    assert labels_of(con, "table") == EXPECTED
    done = add_images(con, f"{at}/", dataset="folder")
    assert (done.n_added, done.n_labeled) == (9, 9)
    assert labels_of(con, "folder") == EXPECTED
    with pytest.raises(NotFoundError, match=r"/none\.csv: not found"):
        add_images(con, f"{at}/none.csv")


def test_an_address_with_secrets_is_stored_without_them(con: duckdb.DuckDBPyConnection, site: tuple[str, Path]) -> None:
    at, root = site
    unpacked(root, {"a.png": png(0)})
    host = at.removeprefix("http://")
    done = add_images(con, f"http://me:pass@{host}/a.png?sig=abc", dataset="s")
    assert done.n_added == 1
    assert any("neither is kept" in note for note in done.notes)
    assert con.sql("select uri from images").fetchall() == [(f"{at}/a.png",)]
    assert con.sql("select bytes from image_bytes").fetchall() == [(png(0),)]
    text = str(con.sql("select * from images").fetchall()) + str(con.sql("select * from datasets").fetchall())
    assert "pass" not in text
    assert "abc" not in text


def test_what_is_downloaded_first(con: duckdb.DuckDBPyConnection, memory: Any, tmp_path: Path) -> None:
    memory.pipe("/x/p.zip", b"x")
    memory.pipe("/x/h.parquet", write(tmp_path / "h.parquet", rows(1, label=[0])).read_bytes())
    memory.pipe("/x/c.json", b'{"images": [], "annotations": []}')
    memory.pipe("/x/film.mp4", b"film")
    memory.pipe("/x/bad.csv", b"")
    for name in ("p.zip", "h.parquet", "c.json", "film.mp4"):
        with pytest.raises((SchemaError, NotFoundError), match=r"memory://x/.*download|neither an image"):
            add_images(con, f"memory://x/{name}")
    with pytest.raises(SchemaError, match=r"memory://x/bad\.csv"):
        add_images(con, "memory://x/bad.csv")


def test_without_the_extra(con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"pip install sqlanalysis\[remote\]"):
        add_images(con, "s3://bucket/folder")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.mp4", b"x", "a video; write its frames"),
        ("noname", b"\0\0\0\x18ftypmp42" + bytes(20), "a video"),
        ("scan.dcm", b"x", "DICOM"),
        ("scan", bytes(128) + b"DICM", "DICOM"),
        ("d.h5", b"x", "HDF5"),
        ("d", b"\x89HDF\r\n\x1a\n", "HDF5"),
        ("val.txt", b"a.jpg 0\n", "header path,label"),
        ("m.csv.gz", b"x", "decompress it: `gunzip m.csv.gz`"),
        ("x.gz", gzip.compress(b"abc", mtime=0), "a compressed file; decompress it"),
        ("p.tar.gz", b"x", "compressed tar"),
        ("p.zip", b"a", "damaged archive"),
        ("p.tar", b"a", "damaged archive"),
        ("p.7z", b"a", "unpack it"),
        ("p.rar", b"a", "unpack it"),
        ("x.pkl", b"a", "can run code"),
        ("x.npy", b"a", "NumPy"),
        ("x.xlsx", b"a", "save it as CSV"),
        ("x.heic", b"a", "convert it"),
        ("x.tfrecord", b"a", "WebDataset"),
        ("train-images-idx3-ubyte", b"a", "MNIST"),
        ("x.unknown", b"a", "neither an image"),
        ("data", b"PAR1" + bytes(8), "give it the ending .parquet"),
        ("empty", b"", "is empty"),
        ("w.pt", b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    ],
)
def test_files_that_are_no_source(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(data)
    error = remote.refuse(tmp_path / name)
    assert isinstance(error, SchemaError)
    assert words in str(error)
    assert name in str(error)
    with pytest.raises(SchemaError, match=name.replace(".", r"\.")):
        add_images(con, tmp_path / name)


def test_compressed_tar_without_an_ending(tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(gzip.compress(tarred(tmp_path / "s.tar", TREE).read_bytes()))
    assert "compressed tar" in str(remote.refuse(tmp_path / "shard"))
