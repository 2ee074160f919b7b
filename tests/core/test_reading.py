"""Bytes from files, members of archives and addresses."""

from __future__ import annotations

import http.server
import os
import struct
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sqlanalysis.core import addresses, decode, members, reading
from sqlanalysis.errors import ImageError, MissingExtraError, SchemaError

from ..support.trees import tarred, zipped


def test_one_function_under_both_names() -> None:
    assert decode.read is reading.read
    assert decode.MAX_BYTES == reading.MAX_BYTES


CONTENT = {"cat/a.jpg": b"one", "ü/b#1.jpg": b"two" * 1000, "../up.jpg": b"up", "/abs.jpg": b"abs", "empty.jpg": b""}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_of_zip_files(tmp_path: Path, method: int) -> None:
    file = zipped(tmp_path / "a#b.zip", CONTENT, method)
    for name, data in CONTENT.items():
        assert reading.read(None, f"{file}#{name}") == data
    assert sorted(os.listdir(tmp_path)) == ["a#b.zip"]
    with pytest.raises(ImageError, match=r"a#b\.zip#none\.jpg: no such member"):
        reading.read(None, f"{file}#none.jpg")


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_tar_files(tmp_path: Path, style: int) -> None:
    content = {**CONTENT, "long/" * 25 + "name.jpg": b"long"}
    file = tarred(tmp_path / "s.tar", content, style)
    for name in members.members(file).rows:
        assert reading.read(None, f"{file}#{name}") == content.get(name, content.get(f"/{name}"))
    assert len(members.members(file).rows) == len(content)


def test_a_file_of_that_name_comes_first(tmp_path: Path) -> None:
    (tmp_path / "x.zip#a.jpg").write_bytes(b"file")
    zipped(tmp_path / "x.zip", {"a.jpg": b"member"})
    assert reading.read(None, str(tmp_path / "x.zip#a.jpg")) == b"file"
    (tmp_path / "odd#name").mkdir()
    (tmp_path / "odd#name" / "a.jpg").write_bytes(b"inside")
    assert reading.read(None, str(tmp_path / "odd#name" / "a.jpg")) == b"inside"


def test_a_changed_archive_is_read_again(tmp_path: Path) -> None:
    file = zipped(tmp_path / "x.zip", {"a.jpg": b"old"})
    assert reading.read(None, f"{file}#a.jpg") == b"old"
    zipped(file, {"b.jpg": b"other", "a.jpg": b"newer"})
    assert reading.read(None, f"{file}#a.jpg") == b"newer"


def test_rows_of_tables_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImageError, match=r"row 17 of .*t\.parquet has no picture, or one of more than"):
        reading.read(None, f"{tmp_path}/t.parquet#17")
    with pytest.raises(ImageError, match="No such file"):
        reading.read(None, f"{tmp_path}/none.zip#a.jpg")


def test_exists(tmp_path: Path) -> None:
    file = zipped(tmp_path / "x.zip", {"a.jpg": b"x"})
    assert reading.exists(str(file))
    assert reading.exists(f"{file}#a.jpg")
    assert reading.exists("s3://b/x.jpg")
    assert not reading.exists(f"{tmp_path}/y.zip#a.jpg")
    assert not reading.exists(f"{tmp_path}/y.jpg")


def _patched(file: Path, find: bytes, offset: int, data: bytes, last: bool = True) -> Path:
    whole = bytearray(file.read_bytes())
    start = (whole.rfind(find) if last else whole.find(find)) + offset
    whole[start : start + len(data)] = data
    file.write_bytes(whole)
    return file


def test_zip_members_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lzma = zipped(tmp_path / "l.zip", {"a.jpg": b"x" * 100}, zipfile.ZIP_LZMA)
    locked = _patched(zipped(tmp_path / "e.zip", {"a.jpg": b"x"}), b"PK\x01\x02", 8, b"\x01\x00")
    # the directory says 10 bytes, and 100,000 come out
    liar = _patched(zipped(tmp_path / "b.zip", {"a.jpg": b"x" * 100_000}), b"PK\x01\x02", 24, struct.pack("<I", 10))
    wrong = _patched(zipped(tmp_path / "c.zip", {"a.jpg": b"x" * 9}, zipfile.ZIP_STORED), b"xxxx", 0, b"y", False)
    for file, message in [
        (lzma, "compressed by method 14"),
        (locked, "encrypted"),
        (liar, "damaged archive"),
        (wrong, "damaged archive"),
    ]:
        with pytest.raises(ImageError, match=message):
            reading.read(None, f"{file}#a.jpg")
    monkeypatch.setattr(reading, "MAX_BYTES", 1000)
    bomb = zipped(tmp_path / "z.zip", {"a.jpg": b"\0" * 100_000})
    with pytest.raises(ImageError, match="has 100000 bytes, more than 1000"):
        reading.read(None, f"{bomb}#a.jpg")


def test_archives_that_are_cut_or_damaged_say_so(tmp_path: Path) -> None:
    content = {f"{number}.jpg": b"x" * 700 for number in range(20)}
    whole = tarred(tmp_path / "w.tar", content).read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[: 10 * 1536])  # a header and two blocks a member
    assert len(members.members(cut).rows) == 10
    assert members.members(cut).notes == (f"{cut} has no end mark: it may be cut",)
    damaged = tmp_path / "d.tar"
    damaged.write_bytes(whole[: 10 * 1536] + b"?" * 512 + whole[10 * 1536 + 512 :])
    with pytest.raises(SchemaError, match="damaged tar file: no header at byte 15,360"):
        members.members(damaged)
    twice = tmp_path / "t.tar"
    twice.write_bytes(whole + whole)
    assert "goes on after its end mark" in members.members(twice).notes[0]
    half = tmp_path / "h.tar"
    half.write_bytes(whole[: 10 * 1536 + 700])
    with pytest.raises(SchemaError, match="damaged"):
        members.members(half)
    fewer = _patched(zipped(tmp_path / "f.zip", content), b"PK\x05\x06", 10, b"\x15")
    with pytest.raises(SchemaError, match="21 members promised, 20 there"):
        members.members(fewer)
    zip_file = zipped(tmp_path / "z.zip", content)
    zip_file.write_bytes(zip_file.read_bytes()[:-100])
    assert not members.is_archive(zip_file)


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_MEMBERS", 10)
    content = {f"{number}.jpg": b"" for number in range(30)}
    for file in (zipped(tmp_path / "z.zip", content), tarred(tmp_path / "t.tar", content)):
        with pytest.raises(SchemaError, match="more than 10 members"):
            members.members(file)


def test_is_archive_by_content(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"a.jpg 0\n")
    (tmp_path / "zeros.tar").write_bytes(bytes(10240))
    assert not members.is_archive(tmp_path / "x.tar")
    assert not members.is_archive(tmp_path / "zeros.tar")
    assert members.is_archive(tarred(tmp_path / "shard", {"a": b""}))
    assert members.is_archive(zipped(tmp_path / "photos.cbz", {}))


def test_members_from_many_threads(tmp_path: Path) -> None:
    content = {f"{number}.jpg": os.urandom(50_000) for number in range(100)}
    file = zipped(tmp_path / "z.zip", content)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: reading.read(None, f"{file}#{name}"), content))
    assert found == list(content.values())


# Addresses


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses._cache.clear()
    addresses._full.clear()
    monkeypatch.setattr(addresses, "PAUSE", 0.01)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path; counts what it is asked."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append(self.path)
        n = sum(path == self.path for path in server.asked)
        path = self.path.partition("?")[0]
        if path == "/flaky.jpg" and n < 3:
            self.send_error(503)
        elif path == "/slow.jpg" and n < 2:
            time.sleep(1.5)
        elif path == "/gone.jpg":
            self.send_error(404)
        elif path == "/secret.jpg" and "sig=good" not in self.path:
            self.send_error(403)
        else:
            data = self.path.encode() * (100 if path == "/large.jpg" else 1)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data) + (5 if path == "/cut.jpg" else 0)))
            self.end_headers()
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.send_error(405)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    running: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    running.asked = []
    running.at = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def test_memory() -> None:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    files = fsspec.filesystem("memory")
    files.pipe("/Bucket/a?#1.jpg", b"here")
    assert reading.read(None, "memory://Bucket/a?#1.jpg") == b"here"
    with pytest.raises(ImageError, match=r"memory://Bucket/none\.jpg: not found"):
        reading.read(None, "memory://Bucket/none.jpg")
    files.rm("/Bucket", recursive=True)
    assert reading.read(None, "memory://Bucket/a?#1.jpg") == b"here"  # from the cache


def test_local_files_by_address(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    (tmp_path / "a.jpg").write_bytes(b"abc")
    assert reading.read(None, f"file://{tmp_path}/a.jpg") == b"abc"


def test_tries_again_and_gives_up(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reading.read(None, f"{server.at}/flaky.jpg") == b"/flaky.jpg"
    assert server.asked.count("/flaky.jpg") == 3
    assert reading.read(None, f"{server.at}/flaky.jpg") == b"/flaky.jpg"
    assert len(server.asked) == 3
    with pytest.raises(ImageError, match=r"/gone\.jpg: not found$"):
        reading.read(None, f"{server.at}/gone.jpg")
    assert server.asked.count("/gone.jpg") == 1
    with pytest.raises(ImageError, match=r"/cut\.jpg: .*3 tries$"):
        reading.read(None, f"{server.at}/cut.jpg")
    monkeypatch.setattr(addresses, "SECONDS", 0.5)
    assert reading.read(None, f"{server.at}/slow.jpg") == b"/slow.jpg"
    with pytest.raises(ImageError, match=r"127\.0\.0\.1:1/x\.jpg: .*3 tries"):
        reading.read(None, "http://127.0.0.1:1/x.jpg")


def test_caps(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 500)
    with pytest.raises(ImageError, match="bytes, more than 500|more than 500 bytes"):
        reading.read(None, f"{server.at}/large.jpg")
    monkeypatch.setattr(addresses, "CACHE_BYTES", 30)
    for number in range(10):
        reading.read(None, f"{server.at}/{number}.jpg")
    assert sum(map(len, addresses._cache.values())) <= 30


def test_secrets_are_neither_stored_nor_printed(server: Any) -> None:
    host = server.at.removeprefix("http://")
    given = f"http://me:pass@{host}/secret.jpg?sig=good"
    plain = addresses.without_secrets(given)
    assert plain == f"http://{host}/secret.jpg"
    assert addresses.has_secrets(given)
    assert reading.read(None, plain).startswith(b"/secret.jpg")
    addresses._full.clear()
    addresses._cache.clear()
    for address in (plain, f"http://me:pass@{host}/secret.jpg?sig=bad"):
        with pytest.raises(ImageError, match=r"secret\.jpg: no permission") as caught:
            reading.read(None, address)
        text = "".join(__import__("traceback").format_exception(caught.value))
        assert "pass@" not in text
        assert "sig=bad" not in text


def test_queries_that_say_which_image_stay_apart() -> None:
    one, two = (addresses.without_secrets(f"https://h/i.php?id={number}&token=abc") for number in (1, 2))
    assert one != two
    assert "id=1" not in one
    assert "abc" not in one
    assert one == addresses.without_secrets("https://h/i.php?id=1&token=other")
    assert addresses.without_secrets(one) == one
    for same in ("s3://Bucket/a.jpg", "memory://a", "https://h:8080/x%20y.jpg", "gs://b/what?.jpg"):
        assert addresses.without_secrets(same) == same
        assert not addresses.has_secrets(same)


def test_schemes_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    with pytest.raises(ImageError, match="not an address"):
        reading.read(None, "zip::memory://a.zip")
    with pytest.raises(ImageError, match="unknown scheme"):
        reading.read(None, "nosuch://x/y.jpg")
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(ImageError, match=r"pip install sqlanalysis\[remote\]"):
        reading.read(None, "s3://b/x.jpg")
    with pytest.raises(MissingExtraError, match=r"pip install sqlanalysis\[remote\]"):
        addresses.filesystem("s3://b/x.jpg")


def test_addresses_from_many_threads(server: Any) -> None:
    wanted = [f"{server.at}/{number % 40}.jpg" for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda address: reading.read(None, address), wanted))
    assert found == [f"/{number % 40}.jpg".encode() for number in range(200)]
