"""A file from a stranger: what verbs that read do with views over the reader's files, and with the paths of pictures."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import duckdb
import pytest

import sqlanalysis

from .support.shells import cli as run

SECRET = "TOPSECRET_TOKEN"


@pytest.fixture
def file(tmp_path: Path, photos: Path) -> Path:
    """Photos by reference and a run `r` of which every prediction is right."""
    path = tmp_path / "e.duckdb"
    with sqlanalysis.connect(path) as con:
        sqlanalysis.add_images(con, photos)
        rows = con.sql("select uri as path, label as pred, 0.5 as confidence from images").to_arrow_table()
        sqlanalysis.add_predictions(con, rows, "r")
    return path


def thumbnails(page: Path) -> int:
    with duckdb.connect() as con:
        return len(sqlanalysis.read_report(con, page, table="t").filter("thumbnail is not null").fetchall())


def test_the_report_of_one_s_own_file_has_its_pictures(file: Path, tmp_path: Path) -> None:
    run("report", file, tmp_path / "own.html")
    assert thumbnails(tmp_path / "own.html") == 18


def test_pictures_that_are_not_those_of_the_row_are_not_shown(file: Path, tmp_path: Path, photos: Path) -> None:
    private = tmp_path / "private.jpg"
    private.write_bytes(next(photos.rglob("*.jpg")).read_bytes() + b" ")
    with duckdb.connect(file) as con:
        con.execute(f"update images set uri = '{private}' where image_id <= 5")
    run("report", file, tmp_path / "o.html")
    assert thumbnails(tmp_path / "o.html") == 13
    with sqlanalysis.connect(file, read_only=True, safe=True) as con:
        sqlanalysis.report(con, tmp_path / "safe.html", "r")
    assert thumbnails(tmp_path / "safe.html") == 13


@pytest.mark.parametrize("verb", ["report", "metric", "check", "compare", "export", "find-images"])
def test_a_view_over_another_file_is_not_read(verb: str, file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text(SECRET)
    with duckdb.connect(file) as con:
        con.execute("drop view r")
        con.execute(
            "create view r as select image_id, 'x' as dataset, content as uri, null as split, 0 as label, "
            f"content as label_name, 0 as pred, content as pred_name, 0.5 as confidence, true as correct from images, "
            f"read_text('{tmp_path / 'secret.txt'}')"
        )
    arguments = {
        "report": (tmp_path / "o.html", "--run", "r"),
        "metric": ("accuracy", "r"),
        "check": ("--run", "r"),
        "compare": ("r", "other"),
        "export": ("r", tmp_path / "o.csv"),
        "find-images": ("r", "--image", "1"),
    }[verb]
    done = run(verb, file, *arguments, code=1)
    written = "".join(path.read_text() for path in tmp_path.glob("o.*"))
    assert SECRET not in written + done.stdout + done.stderr
    if verb == "metric":
        assert "--trust" in done.stderr
        assert "18" in run("--trust", verb, file, *arguments).stdout


class Listening:
    """A web server that hands out one picture, and counts who asks."""

    def __init__(self, picture: bytes) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.server.asked.append(self.path)  # type: ignore[attr-defined]
                self.send_response(200)
                self.end_headers()
                self.wfile.write(picture)

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.server.asked = self.asked  # type: ignore[attr-defined]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def listening(photos: Path) -> Iterator[Listening]:
    server = Listening(sorted(photos.rglob("*.jpg"))[0].read_bytes())
    yield server
    server.server.shutdown()
    server.server.server_close()


def test_addresses_of_a_stranger_are_asked_on_request_only(file: Path, tmp_path: Path, listening: Listening) -> None:
    """Nobody learns that a page was made; every verb that reads says how many it left out."""
    with duckdb.connect(file) as con:
        con.execute(f"update images set uri = '{listening.address}/' || image_id || '.jpg' where image_id <= 4")
    page = tmp_path / "o.html"
    assert "4 pictures are at addresses" in run("report", file, page).stderr
    assert thumbnails(page) == 14
    assert "4 images at addresses are not read" in run("verify", file).stderr
    exported = run("export", file, "r", tmp_path / "r.parquet", "--images", "bytes")
    assert "images without bytes in the export: 4" in exported.stderr
    with sqlanalysis.connect(file, read_only=True, safe=True) as con:
        assert sqlanalysis.show(con.sql("select image from image_files")).html.count("<img") == 14
    assert listening.asked == []
    pytest.importorskip("aiohttp")
    run("--trust", "report", file, page)
    assert len(listening.asked) >= 4


def test_a_notebook_shows_no_picture_that_a_stranger_only_names(file: Path, tmp_path: Path, photos: Path) -> None:
    private = tmp_path / "private.jpg"
    private.write_bytes(next(photos.rglob("*.jpg")).read_bytes() + b" ")
    with duckdb.connect(file) as con:
        con.execute(f"update images set uri = '{private}' where image_id = 1")
    with sqlanalysis.connect(file, read_only=True, safe=True) as con:
        shown = sqlanalysis.show(con.sql("select image from image_files order by image_id limit 2"))
        made = sqlanalysis.show(con.sql(f"select {{'bytes': null::blob, 'path': '{private}'}} as image"))
    assert shown.html.count("<img") == 1
    assert made.html.count("<img") == 0
    with sqlanalysis.connect(file, read_only=True) as con:
        assert (
            sqlanalysis.show(con.sql("select image from image_files order by image_id limit 2")).html.count("<img") == 2
        )


def test_a_table_that_the_command_line_names_is_read(file: Path, tmp_path: Path) -> None:
    duckdb.sql("select 1 as label, 1 as pred, 0.5 as confidence from range(7)").write_parquet(
        str(tmp_path / "p.parquet")
    )
    assert "7" in run("metric", file, "accuracy", tmp_path / "p.parquet").stdout
    both = json.dumps(["r", str(tmp_path / "p.parquet")])
    assert "7" in run("metric", file, "accuracy", both).stdout
