"""The details of a page against numpy, `find_neighbors` and what is stored: top five, neighbors, meta, redaction."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import sqlanalysis
from sqlanalysis.db import statements
from sqlanalysis.page import blocks, data, details, report
from sqlanalysis.page.data import Pack, pack

from ..support import report_files
from ..support.runs import add_activations


def details_of(packed: Pack) -> list[dict[str, Any]]:
    """By row of the page."""
    rows = pa.ipc.open_stream(gzip.decompress(base64.b64decode(packed.details))).read_all().to_pylist()
    return sorted(rows, key=lambda each: each["row"])


def test_the_most_probable_classes_are_those_of_numpy(con: duckdb.DuckDBPyConnection) -> None:
    report_files.add_digits(con, 200)
    con.execute("update outputs.digits_bayes set probs = [0.1, 0.2, 0.1, 0.2, 0, 0, 0.2, 0.2, 0, 0] where image_id = 3")
    con.execute("update outputs.digits_bayes set probs = ['nan'::float, 1, 0, 0, 0, 0, 0, 0, 0, 0] where image_id = 4")
    con.execute("update outputs.digits_bayes set probs = null where image_id = 5")
    con.execute("delete from outputs.digits_bayes where image_id = 6")
    rows = details_of(pack(con, "digits_logreg", ["digits_bayes"], "", 25))
    assert [each["row"] for each in rows] == list(range(200))
    for k, run in enumerate(("digits_logreg", "digits_bayes")):
        stored = dict(con.sql(f"select image_id, probs from {run}").fetchall())
        for each in rows:
            probs = stored.get(each["row"])
            if probs is None or np.isnan(probs).any():
                assert each[f"classes_{k}"] is None
                assert each[f"probs_{k}"] is None
                continue
            best = np.argsort(-np.float32(probs), kind="stable")[:5]
            assert each[f"classes_{k}"] == best.tolist()
            assert each[f"probs_{k}"] == np.float32(probs)[best].tolist()
    assert rows[3]["classes_1"] == [1, 3, 6, 7, 0], "ties go to the lower class"
    assert [rows[image_id]["classes_1"] for image_id in (4, 5, 6)] == [None] * 3


def test_more_room_gives_what_one_call_with_that_room_gives(con: duckdb.DuckDBPyConnection) -> None:
    """What an earlier call has read is not read again, not even where its images had no probabilities."""
    report_files.add_digits(con, 200)
    con.execute("update outputs.digits_bayes set probs = null where image_id < 100")
    wanted = [(image_id, image_id) for image_id in range(200)]
    positions = pa.table({"image_id": pa.array(range(200), pa.int64()), "position": pa.array(range(200), pa.int64())})

    def source() -> details.Source:
        return details.Source(con, "digits_logreg", [(0, "digits_logreg"), (1, "digits_bayes")], "")

    with statements.registered(con, "_page_images", positions), pytest.MonkeyPatch.context() as patch:
        patch.setattr(details, "_SAMPLE", 40)
        grown = source()
        few, n_few = details.details(grown, wanted, 4000)
        assert 0 < n_few < 100
        more, n_more = details.details(grown, wanted, 1e6)
        once, n_once = details.details(source(), wanted, 1e6)
        turned, _ = details.details(grown, wanted[::-1], 1e6)
    assert n_more == n_once == 200
    assert blocks.unpacked(more).to_pylist() == blocks.unpacked(once).to_pylist()
    assert blocks.unpacked(few)["meta"].to_pylist() == blocks.unpacked(once)["meta"].to_pylist()[:n_few]
    assert blocks.unpacked(turned).to_pylist() == blocks.unpacked(once).to_pylist()[::-1], "images in another order"


def test_fewer_than_five_classes_and_no_probabilities(con: duckdb.DuckDBPyConnection) -> None:
    report_files.add_named(con, ["a", "b", "c"], per_class=3)
    rows = details_of(pack(con, "noisy", [], "", 25))
    assert all(sorted(each["classes_0"]) == [0, 1, 2] for each in rows)
    con.execute("update outputs.noisy set probs = null")
    rows = details_of(pack(con, "noisy", [], "", 25))
    assert "classes_0" not in rows[0]


def blobs(n: int, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, n)
    vectors = random.normal(size=(10, 6))[labels] + random.normal(size=(n, 6))
    vectors[3] = 0  # no direction
    vectors[4] = np.nan
    vectors[20] = vectors[10]  # equal ones are 0 apart
    return vectors.astype("float32"), labels.tolist()


def test_searched_neighbors_are_those_of_find_neighbors(con: duckdb.DuckDBPyConnection) -> None:
    vectors, labels = blobs(300)
    add_activations(con, vectors, labels=labels)
    con.execute("update images set label = null where image_id % 3 = 1")
    con.execute("update outputs.pixels set pred = image_id % 10")
    con.execute("update outputs.pixels set pred = null where image_id = 8")
    con.execute("update outputs.pixels set pred = -1 where image_id = 9")
    searched = details_of(pack(con, "pixels", [], "", 25))
    assert con.sql("from neighbors").fetchall() == [], "nothing is written"
    sqlanalysis.find_neighbors(con, "pixels")
    stored = details_of(pack(con, "pixels", [], "", 25))
    assert searched == stored
    near: dict[int, list[int]] = {}
    for image_id, neighbor in con.sql("select image_id, neighbor_id from neighbors order by image_id, rank").fetchall():
        near.setdefault(image_id, []).append(neighbor)
    answers = {row[0]: row[1:] for row in con.sql("select image_id, label, pred from pixels").fetchall()}
    for each in searched:
        image_id = each["row"] + 1
        known = near.get(image_id, [])
        assert each["neighbors"] == ([neighbor - 1 for neighbor in known[:6]] or None)
        labeled = [answers[neighbor][0] for neighbor in known if answers[neighbor][0] is not None][:10]
        assert each["n_near"] == len(labeled)
        pred = answers[image_id][1]
        assert each["agree"] == (-1 if pred is None or not labeled else labeled.count(pred))
    assert {each["row"] for each in searched if each["neighbors"] is None} == {3, 4}


def test_neighbors_outside_the_page_are_not_named(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, labels = blobs(300)
    add_activations(con, vectors, labels=labels)
    con.execute("update images set sha256 = sha256(image_id::varchar)")
    con.execute("update outputs.pixels set sha256 = sha256(image_id::varchar)")
    sqlanalysis.find_neighbors(con, "pixels", k=20)
    monkeypatch.setattr(data, "MAX_ROWS", 100)
    rows = details_of(pack(con, "pixels", [], "", 25))
    ids = [
        row
        for (row,) in con.sql(
            "select image_id from (from images order by sha256 limit 100) order by image_id"
        ).fetchall()
    ]
    place = {image_id: row for row, image_id in enumerate(ids)}
    for each in rows:
        near = con.sql(
            f"select neighbor_id from neighbors where image_id = {ids[each['row']]} order by rank"
        ).fetchall()
        shown = [place[neighbor] for (neighbor,) in near if neighbor in place][:6]
        assert each["neighbors"] == (shown or None)
        assert each["n_near"] in (0, 10)


def test_no_neighbors_where_the_search_is_long(con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, labels = blobs(50)
    add_activations(con, vectors, labels=labels)
    monkeypatch.setattr(details, "MAX_SEARCHED", 49)
    rows = details_of(pack(con, "pixels", [], "", 25))
    assert {(each["neighbors"], each["agree"], each["n_near"]) for each in rows} == {(None, -1, 0)}
    monkeypatch.setattr(details, "MAX_SEARCHED", 50)
    assert details_of(pack(con, "pixels", [], "", 25))[0]["neighbors"] is not None
    monkeypatch.setattr(details, "MAX_WORK", 48 * 48 * 6 - 1)
    assert details_of(pack(con, "pixels", [], "", 25))[0]["neighbors"] is None


def meta_of(con: duckdb.DuckDBPyConnection, meta: Any, folder: str | None = "/home/me/set/") -> Any:
    report_files.add_named(con, ["a", "b"], per_class=1, uris=["/home/me/set/1.png", "/home/me/set/2.png"])
    con.execute(
        "update images set meta = ?, brightness = 0.1, sharpness = 1234.5678, entropy = 'nan'", [json.dumps(meta)]
    )
    (first, _) = details_of(pack(con, "noisy", [], folder, 25))
    assert (first["width_px"], first["height_px"]) == (8, 8)
    return json.loads(first["meta"])


def test_meta_has_statistics_and_what_the_user_knows(con: duckdb.DuckDBPyConnection) -> None:
    given = {"camera": "Canon EOS 5D", "taken": "2024/03/02", "iso": 200, "flash": False, "none": None, "format": "raw"}
    shown = meta_of(con, given | {"note": "x" * 500, "tags": ["a", {"b": 1}]})
    size = shown.pop("n_bytes")
    assert size == con.sql("select n_bytes from images order by image_id").fetchall()[0][0]
    assert shown == {
        "format": "PNG", "brightness": 0.1, "sharpness": 1234.57, "camera": "Canon EOS 5D", "taken": "2024/03/02",
        "iso": 200, "flash": False, "meta.format": "raw", "note": "x" * 199 + "…", "tags": '["a", {"b": 1}]',
    }  # fmt: skip


def test_meta_has_at_most_twenty_names(con: duckdb.DuckDBPyConnection) -> None:
    shown = meta_of(con, {f"key {number}": number for number in range(30)})
    assert [name for name in shown if name.startswith("key")] == [f"key {number}" for number in range(20)]


@pytest.mark.parametrize("meta", [[1, 2], "text", 7])
def test_meta_that_is_no_object(con: duckdb.DuckDBPyConnection, meta: Any) -> None:
    assert meta_of(con, meta)["meta"] == (json.dumps(meta) if isinstance(meta, list) else meta)


PATHS = {
    "original": "/home/me/private/holiday.jpg", "windows": r"C:\Users\me\x.png", "relative": "cats/tom.png",
    "name": "IMG_1234.JPG", "url": "https://host/a?key=1", "home": "~me", "nested": ["/home/me/private/y", {"/z/k": 1}],
    "/home/me/private/key": 1, "dotted": "x.tiff",
}  # fmt: skip
KEPT = {"camera": "Canon EOS 5D", "aperture": "f/2.8", "taken": "2024/03/02 12:00", "exposure": "1/250", "zoom": "3.5"}


def test_redacted_meta_names_no_path(con: duckdb.DuckDBPyConnection) -> None:
    shown = meta_of(con, PATHS | KEPT, folder=None)
    assert {name: shown.get(name) for name in KEPT} == KEPT
    assert not set(shown) & (set(PATHS) - {"nested"})
    assert shown["nested"] == "[null, {}]"
    text = json.dumps(shown)
    assert not [word for word in ("home", "private", "tom", "IMG", "host", "/z", "x.") if word in text]


def test_a_redacted_page_names_no_path_at_all(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    meta_of(con, PATHS | KEPT)
    page = report.report(con, tmp_path / "page.html", redact_paths=True)
    block = re.search('id="details">(.*?)</script>', page.read_text())
    assert block
    text = gzip.decompress(base64.b64decode(block[1])).decode("utf-8", "replace")
    assert "Canon" in text
    assert "private" not in text
    facts = re.search('id="facts">(.*?)</script>', page.read_text())
    assert facts
    assert json.loads(facts[1])["redacted"] is True


def test_meta_shows_nothing_above_the_folder(con: duckdb.DuckDBPyConnection) -> None:
    shown = meta_of(
        con, {"file": "/home/me/set/sub/1.png", "other": "/srv/secret/deep/a/b.png", "in": ["/srv/secret/deep/a/b.png"]}
    )
    assert shown["file"] == "sub/1.png"
    assert shown["other"] == "a/b.png"
    assert shown["in"] == '["a/b.png"]'


def test_details_go_as_far_as_the_limit(con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    report_files.add_digits(con, 400)
    monkeypatch.setattr(details, "_SAMPLE", 50)
    wanted = [(image_id, image_id) for image_id in reversed(range(400))]
    source = details.Source(con, "digits_logreg", [(0, "digits_logreg")], "")
    table = pa.table({"image_id": range(400), "position": range(400)})
    con.register("_page_images", table)
    whole, n = details.details(source, wanted, 1e6)
    assert n == 400
    for room in (len(whole) * 0.6, 3000, 10):
        block, n = details.details(source, wanted, room)
        assert len(block) <= room
        assert n > 0.8 * 400 * (room - 1500) / len(whole)
        rows = pa.ipc.open_stream(gzip.decompress(base64.b64decode(block))).read_all()["row"].to_pylist() if n else []
        assert rows == list(reversed(range(400)))[:n]
