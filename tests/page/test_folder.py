"""The folder of full pictures beside a page: what it contains, what it never touches, and the content policy."""

from __future__ import annotations

import io
import os
import re
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from PIL import Image

from sqlanalysis.errors import NotFoundError, SchemaError
from sqlanalysis.page import folder, report

from ..support import chromium, marionette, report_files
from ..support.shells import cli
from .test_data import facts_of

SIZES = {0: (2000, 1500), 1: (300, 400), 2: (30, 20)}


@pytest.fixture
def photos(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Three pictures with metadata; the first is 2,000 × 1,500 pixels and stored on its side."""
    random = np.random.default_rng(0)
    encoded = []
    for width, height in SIZES.values():
        picture = Image.fromarray(random.integers(0, 256, (height // 10, width // 10, 3), dtype="uint8"))
        exif = Image.Exif()
        exif[0x0110], exif[0x8298] = "Secret camera", "by Somebody"
        if width == 2000:
            exif[0x0112] = 6
        buffer = io.BytesIO()
        picture.resize((width, height)).save(
            buffer, "JPEG", exif=exif, xmp=b"<x>Secret place</x>", icc_profile=b"Secret profile"
        )
        encoded.append(buffer.getvalue())
    report_files.add_images(con, "photos", ["a", "b"], encoded, [0, 1, 0])
    report_files.add_run(con, "run", "photos", np.float32([[0.9, 0.1]] * 3))
    return con


def write(con: duckdb.DuckDBPyConnection, page: Path, pictures: Path) -> dict[str, object]:
    return facts_of(Path(report.report(con, page, full_images=pictures)))


def test_pictures_are_encoded_again_without_metadata(photos: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    photos.execute("update images set image_id = image_id + 70; update image_bytes set image_id = image_id + 70")
    photos.execute("update outputs.run set image_id = image_id + 70")
    page, pictures = tmp_path / "page.html", tmp_path / "page images #1"
    facts = write(photos, page, pictures)
    assert sorted(os.listdir(pictures)) == [folder.MARKER, "70.webp", "71.webp", "72.webp"]
    written = [(pictures / f"{image_id}.webp").read_bytes() for image_id in (70, 71, 72)]
    opened = [Image.open(io.BytesIO(encoded)) for encoded in written]
    assert [picture.size for picture in opened] == [(768, 1024), (300, 400), (30, 20)]
    assert not [encoded for encoded in written if re.search(b"Secret|Somebody|EXIF|XMP |ICCP", encoded)]
    assert not [picture.info for picture in opened if set(picture.info) & {"exif", "xmp", "icc_profile"}]
    assert (facts["n_full"], facts["full"], facts["files"]) == (3, [0, 1, 2], "page%20images%20%231")
    assert "img-src data: blob: 'self' file:; " in page.read_text()
    assert (
        "3 have one of up to 1,024 px in a folder beside the page, which goes where the page goes." in page.read_text()
    )


def test_without_a_folder_the_page_may_load_nothing(photos: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    page = Path(report.report(photos, tmp_path / "page.html"))
    assert "img-src data: blob:; " in page.read_text()
    assert facts_of(page)["files"] is None
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_second_call_replaces_the_pictures(photos: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    page, pictures = tmp_path / "page.html", tmp_path / "pictures"
    write(photos, page, pictures)
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    (pictures / "0.webp").unlink()
    (pictures / "0.webp").symlink_to(secret)
    (pictures / "1.webp.part").symlink_to(secret)
    photos.execute("delete from outputs.run where image_id = 2")
    facts = write(photos, page, pictures)
    assert secret.read_text() == "mine"
    assert not (pictures / "0.webp").is_symlink()
    assert sorted(os.listdir(pictures)) == [folder.MARKER, "0.webp", "1.webp"]
    assert facts["full"] == [0, 1]


def test_folders_that_are_refused(photos: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "page.html"
    page.parent.mkdir()
    (tmp_path / "elsewhere").mkdir()
    foreign = page.parent / "foreign"
    foreign.mkdir()
    (foreign / "0.webp").write_text("mine")
    (page.parent / "link").symlink_to(tmp_path / "elsewhere")
    (page.parent / "file").write_text("mine")
    ours = page.parent / "ours"
    write(photos, page.parent / "first.html", ours)
    mixed = page.parent / "mixed"
    write(photos, page, mixed)
    (mixed / "notes.txt").write_text("mine")
    page.unlink()
    for pictures, words in {
        tmp_path / "elsewhere": "is not below",
        page.parent: "is not below",
        page.parent / ".." / "new": "is not below",
        page.parent / "link" / "new": "is not below",
        page.parent / "link": "a file or a link",
        page.parent / "file": "a file or a link",
        foreign: "contains other files, such as 0.webp",
        mixed: "contains other files, such as notes.txt",
        ours: "the pictures of another page, first.html",
    }.items():
        with pytest.raises(SchemaError, match=words):
            write(photos, page, pictures)
        assert not page.exists()
    with pytest.raises(NotFoundError, match="no folder"):
        write(photos, page, page.parent / "no" / "folder")
    assert (foreign / "0.webp").read_text() == "mine"
    assert os.listdir(tmp_path / "elsewhere") == []


def test_no_more_pictures_than_the_limits(
    photos: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "MAX_PICTURES", 2)
    # The second image, which is wrong, comes first.
    facts = write(photos, tmp_path / "page.html", tmp_path / "pictures")
    assert 1 in facts["full"]  # type: ignore[operator]
    assert facts["n_full"] == 2
    monkeypatch.setattr(folder, "MAX_BYTES", (tmp_path / "pictures" / "1.webp").stat().st_size)
    assert write(photos, tmp_path / "page.html", tmp_path / "pictures")["full"] == [1]
    assert sorted(os.listdir(tmp_path / "pictures")) == [folder.MARKER, "1.webp"]


def test_the_command_line_writes_the_folder(tmp_path: Path) -> None:
    import sqlanalysis

    with sqlanalysis.connect(tmp_path / "e.duckdb") as con:
        report_files.add_digits(con, 20, runs=1)
    args = ("report", str(tmp_path / "e.duckdb"), str(tmp_path / "page.html"), "--full-images", str(tmp_path / "full"))
    assert cli(*args).returncode == 0
    assert len(list((tmp_path / "full").glob("*.webp"))) == 20
    assert facts_of(tmp_path / "page.html")["database"] == "e.duckdb"


# A picture is loaded as the dialog loads it, and one that is not of the folder is not.
LOAD = """
    const facts = JSON.parse(document.getElementById("facts").textContent);
    window.sizes = {};
    for (const [name, url] of [["file", `${facts.files}/1.webp`], ["web", "https://127.0.0.1:9/x.webp"]]) {
      const image = new Image();
      image.onload = () => { window.sizes[name] = [image.naturalWidth, image.naturalHeight]; };
      image.onerror = () => { window.sizes[name] = "refused"; };
      image.src = url;
    }
"""
SIZES_OF = "return Object.keys(window.sizes).length === 2 ? window.sizes : null"
LOADED = {"file": [300, 400], "web": "refused"}


@pytest.mark.browser
def test_chromium_opens_a_picture_of_the_folder(
    browser: Any, photos: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    write(photos, tmp_path / "page.html", tmp_path / "page images #1")
    chromium.show(browser, tmp_path / "page.html")
    browser.execute_script(LOAD)
    assert chromium.wait(lambda: browser.execute_script(SIZES_OF)) == LOADED


@pytest.mark.browser
@pytest.mark.skipif(not marionette.find(), reason="needs Firefox")
def test_firefox_opens_a_picture_of_the_folder(photos: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    write(photos, tmp_path / "page.html", tmp_path / "page images #1")
    firefox = marionette.Firefox(str(marionette.find()), tmp_path)
    try:
        firefox.get(tmp_path / "page.html")
        firefox.run(LOAD)
        for _ in range(100):
            sizes = firefox.run(SIZES_OF)
            if sizes:
                break
            time.sleep(0.1)
        assert sizes == LOADED
    finally:
        firefox.quit()
