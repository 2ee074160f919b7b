"""The blocks of a page against queries of DuckDB: answers of other runs, splits, slices, places, suspects, and the size limit."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import sqlanalysis
from sqlanalysis.db.statements import fetch, registered
from sqlanalysis.errors import SchemaError
from sqlanalysis.page import data, report
from sqlanalysis.page.data import Pack, Places, pack

from ..support import report_files

FOLDER = "/home/somebody/pictures/digits/val/"


def rows_of(packed: Pack) -> Any:
    return pa.ipc.open_stream(gzip.decompress(base64.b64decode(packed.rows))).read_all().to_pandas()


def pictures_of(block: str) -> dict[int, bytes]:
    table = pa.ipc.open_stream(base64.b64decode(block)).read_all().to_pydict()
    return dict(zip(table["row"], table["image"], strict=True))


def ids(rows: Any) -> list[int]:
    return np.cumsum(rows["id_step"].to_numpy(np.int64)).tolist()


@pytest.fixture
def digits(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Digits of two runs, with what is missing somewhere: labels, answers, confidences, splits, images of the second."""
    report_files.add_digits(con, 500)
    con.execute("update images set split = case image_id % 3 when 0 then 'val' when 1 then 'a test' end")
    con.execute("update images set label = null where image_id % 50 = 3")
    con.execute("update outputs.digits_bayes set pred = -1 where image_id % 60 = 4")
    con.execute("update outputs.digits_bayes set pred = null where image_id % 70 = 5")
    con.execute("update outputs.digits_bayes set confidence = null where image_id % 80 = 6")
    con.execute("update outputs.digits_bayes set confidence = 'nan' where image_id % 90 = 7")
    con.execute("delete from outputs.digits_bayes where image_id % 40 = 9")
    return con


def test_rows_are_what_the_views_say(digits: duckdb.DuckDBPyConnection) -> None:
    packed = pack(digits, "digits_logreg", ["digits_bayes"], FOLDER, 25)
    rows = rows_of(packed)
    wanted = digits.sql("""
        select run.image_id, coalesce(other.pred, -2) as pred_1,
            case when other.image_id is null then -2 else coalesce(other.confidence, -1) end as confidence_1,
            run.split, coalesce(run.probs[run.label + 1], -1) as p_label
        from digits_logreg as run left join digits_bayes as other using (image_id) order by run.image_id
    """).df()
    assert ids(rows) == wanted["image_id"].tolist()
    assert rows["pred_1"].tolist() == wanted["pred_1"].tolist()
    for name in ("confidence_1", "p_label"):
        np.testing.assert_array_equal(rows[name].to_numpy(np.float32), wanted[name].to_numpy(np.float32))
    assert np.isnan(rows["confidence_1"]).any()
    assert {-2, -1} < set(rows["pred_1"])
    assert packed.facts["splits"] == ["a test", "val"]
    names = [*packed.facts["splits"], None]
    assert [names[code] for code in rows["split"]] == [
        split for (split,) in digits.sql("select split from digits_logreg order by image_id").fetchall()
    ]
    assert packed.facts["runs"] == [
        {"name": "digits_logreg", "n": 500, "has_confidence": True, "has_probs": True, "n_outside": 0},
        {
            **{"name": "digits_bayes", "n": int((wanted["pred_1"] != -2).sum()), "has_confidence": True},
            **{"has_probs": True, "n_outside": 0},
        },
    ]
    assert packed.facts["left_out"] == []
    assert packed.facts["dataset"] == "digits"


def test_only_runs_that_can_be_compared_are_in_the_page(con: duckdb.DuckDBPyConnection) -> None:
    report_files.add_digits(con, 60, runs=1)
    report_files.add_images(con, "others", list("abcdefghij"), [b"1", b"2"], [0, 1])
    report_files.add_run(con, "elsewhere", "others", report_files.digits()[2]["digits_bayes"][:2])
    probs = report_files.digits()[2]["digits_bayes"][:60]
    report_files.add_run(con, "other_classes", "digits", probs, label_space="others_classes")
    for number in range(7):
        report_files.add_run(con, f"run_{number}", "digits", probs)
    others = ["elsewhere", "run_3", "other_classes", *(f"run_{number}" for number in (0, 1, 2, 4, 5, 6))]
    packed = pack(con, "digits_logreg", others, FOLDER, 25)
    assert [each["name"] for each in packed.facts["runs"]] == [
        "digits_logreg",
        "run_3",
        "run_0",
        "run_1",
        "run_2",
        "run_4",
    ]
    assert {"pred_5", "confidence_5"} < set(rows_of(packed).columns)
    assert "pred_6" not in rows_of(packed).columns


def test_slices_come_from_any_query(digits: duckdb.DuckDBPyConnection) -> None:
    digits.execute(
        "create temp table made as select image_id, image_id % 5 as code from images where image_id % 7 <> 2"
    )
    slices = [
        {"feature": "remainder", "values": list("01234"), "sql": [f"image_id % 5 = {k}" for k in range(5)]},
        {"feature": "parity", "values": ["even"], "sql": ["image_id % 2 = 0"]},
    ]
    query = "select image_id, code as slice_0, case when image_id % 2 = 0 then 0 end as slice_1 from made"
    packed = pack(digits, "digits_logreg", [], FOLDER, 25, slices=slices, slice_rows=query)
    rows = rows_of(packed)
    assert packed.facts["slices"] == slices
    assert rows["slice_0"].tolist() == [i % 5 if i % 7 != 2 else -1 for i in range(500)]
    assert rows["slice_1"].tolist() == [0 if i % 2 == 0 and i % 7 != 2 else -1 for i in range(500)]
    assert str(rows["slice_0"].dtype) == "int8"


def test_a_slice_that_does_not_fit_is_left_out_and_said(
    digits: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits.execute(
        "create temp table noise as select image_id, (hash(image_id) % 2000000000)::int as slice_0, "
        "(image_id % 2)::int as slice_1 from images"
    )
    slices = [{"feature": name, "values": ["a", "b"], "sql": ["true", "false"]} for name in ("noise", "parity")]
    without = pack(digits, "digits_logreg", [], FOLDER, 25)
    # 500 random numbers of 4 bytes do not fit into these 2,000 characters, 500 of one bit do.
    monkeypatch.setitem(data.SHARES, "rows", (len(without.rows) + 2000) / 25e6)
    packed = pack(digits, "digits_logreg", [], FOLDER, 25, slices=slices, slice_rows="from noise")
    assert packed.facts["left_out"] == ["the probability of the label", "slice noise"]
    assert packed.facts["slices"] == slices[1:]
    assert rows_of(packed)["slice_0"].tolist() == [i % 2 for i in range(500)]
    assert packed.contents[-1] == (
        "Not in the page, to keep it small: the probability of the label, slice noise; a higher max_mb (--max-mb) keeps "
        "them."
    )


def test_the_limit_leaves_out_runs_from_the_last(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_files.add_digits(con, 300)
    probs = report_files.digits()[2]["digits_bayes"][:300]
    for name in ("third", "fourth"):
        report_files.add_run(con, name, "digits", probs)
    whole = pack(con, "digits_logreg", ["digits_bayes", "third", "fourth"], FOLDER, 25)
    for share, most in ((0.6, 4), (0.92 * len(whole.rows) / 25e6, 3), (1e-9, 1)):
        monkeypatch.setitem(data.SHARES, "rows", share)
        packed = pack(con, "digits_logreg", ["digits_bayes", "third", "fourth"], FOLDER, 25)
        names = [each["name"] for each in packed.facts["runs"]]
        assert names == ["digits_logreg", "digits_bayes", "third", "fourth"][: len(names)]
        assert len(names) <= most
        assert [f"run {name}" for name in ("digits_bayes", "third", "fourth")[len(names) - 1 :]] == [
            words for words in packed.facts["left_out"] if words.startswith("run ")
        ]
        assert len(packed.rows) <= max(share * 25e6, len(packed.rows) if most == 1 else 0)


def test_equal_bytes_share_a_place(con: duckdb.DuckDBPyConnection) -> None:
    report_files.add_digits(con, 100, runs=1)
    con.execute("update images set sha256 = (select sha256 from images where image_id = 10) where image_id in (20, 30)")
    con.execute(
        "update outputs.digits_logreg set sha256 = (select sha256 from images where image_id = 10) where image_id in (20, 30)"
    )
    con.execute("update projections set x = 'nan' where image_id = 40")
    rows = rows_of(pack(con, "digits_logreg", [], FOLDER, 25))
    places = list(zip(rows["x"], rows["y"], strict=True))
    assert places[10] == places[20] == places[30]
    assert len(set(places)) == 98
    assert places[40] == (65535, 65535)


def test_places_of_another_map_are_kept_within_its_limits(con: duckdb.DuckDBPyConnection) -> None:
    report_files.add_digits(con, 100, runs=1)
    relation = "select image_id, image_id::float as x, 10.0::float as y from images where image_id <> 7"
    packed = pack(con, "digits_logreg", [], FOLDER, 25, places=Places(relation, 10, 0, 40, 20))
    rows = rows_of(packed)
    # DuckDB rounds halves up.
    wanted = [65535 if i == 7 else int(min(max(i - 10, 0), 40) / 40 * 65534 + 0.5) for i in range(100)]
    assert rows["x"].tolist() == wanted
    assert set(rows["y"]) == {round(10 / 40 * 65534), 65535}
    assert packed.facts["extent"] == [65534, 32767]


def test_suspects_are_those_of_label_issues(con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    report_files.add_digits(con, 800, runs=1)
    con.execute("update images set label = (label + 3) % 10 where image_id % 37 = 5")
    wanted = con.sql(
        "select image_id, suggested, p_wrong from label_issues('digits_logreg') order by p_wrong desc, confidence desc, image_id"
    ).fetchall()
    assert len(wanted) > 15
    suspects = pack(con, "digits_logreg", [], FOLDER, 25).facts["suspects"]
    assert [tuple(each.values()) for each in suspects] == wanted, "image_id is the row here"
    monkeypatch.setattr(data, "MAX_SUSPECTS", 7)
    assert pack(con, "digits_logreg", [], FOLDER, 25).facts["suspects"] == suspects[:7]


def test_reviewed_labels_are_suspected_nowhere(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence, the tab and the note about those that have no room count the same labels."""
    report_files.add_digits(con, 800, runs=1)
    con.execute("update images set label = (label + 3) % 10 where image_id % 37 = 5")
    n = len(con.sql("from label_issues('digits_logreg')").fetchall())
    rows = con.sql(
        "select image_id, sha256, label_name, 'ok' as review, '' as new_label_name from digits_logreg "
        "where image_id in (select image_id from label_issues('digits_logreg') limit 4)"
    )
    rows.write_csv(str(tmp_path / "reviewed.csv"))
    sqlanalysis.apply_labels(con, tmp_path / "reviewed.csv")
    text = sqlanalysis.report(con, tmp_path / "page.html").read_text()
    assert f"{n - 4} labels are suspected" in text
    assert "can be reviewed on this page" not in text
    facts = json.loads(text.partition('id="facts">')[2].partition("</script>")[0])
    assert len(facts["suspects"]) == n - 4
    monkeypatch.setattr(data, "MAX_SUSPECTS", 7)
    text = sqlanalysis.report(con, tmp_path / "page.html").read_text()
    assert f"7 of {n - 4} suspected labels can be reviewed on this page" in text


def test_large_pictures_take_turns(digits: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    digits.execute("update images set label = (label + 3) % 10 where image_id % 37 = 5")
    monkeypatch.setattr(data, "N_LARGE", 0)

    def ask(sql: str) -> list[int]:
        return [image_id for (image_id,) in digits.sql(sql).fetchall()]

    wrong = ask("select image_id from digits_logreg where not correct order by confidence desc, image_id")
    differ = ask(
        "select run.image_id from digits_logreg as run inner join digits_bayes as other using (image_id) "
        "where run.pred <> other.pred order by run.confidence desc, image_id"
    )
    suspects = ask("select image_id from label_issues('digits_logreg') order by p_wrong desc, confidence desc")
    whole = pack(digits, "digits_logreg", ["digits_bayes"], FOLDER, 25)
    assert set(pictures_of(whole.large)) == {*wrong, *differ, *suspects}, "ids are rows here"
    ids_of_all = pa.table({"image_id": range(500), "position": range(500)})
    table = digits.sql("select * from label_issues('digits_logreg')").to_arrow_table()
    table = table.append_column("position", table["image_id"])
    with registered(digits, "_page_images", ids_of_all), registered(digits, "_page_suspects", table):
        rows = fetch(digits, "large_order", {"max_images": 9}, run="digits_logreg", baseline="digits_bayes")
    turns = list(dict.fromkeys(one for trio in zip(wrong, differ, suspects, strict=False) for one in trio))
    assert [image_id for image_id, _ in rows] == turns[:9]


def test_pictures_have_their_sizes(con: duckdb.DuckDBPyConnection) -> None:
    random = np.random.default_rng(2)
    encoded = []
    for width, height in ((500, 375), (100, 300), (20, 10)):
        buffer = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype="uint8")).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    report_files.add_images(con, "sizes", ["a", "b"], encoded, [0, 1, 0])
    report_files.add_run(con, "run", "sizes", np.float32([[0.9, 0.1]] * 3))
    packed = pack(con, "run", [], "/", 25)
    sizes = [
        {row: Image.open(io.BytesIO(image)).size for row, image in pictures_of(block).items()}
        for block in (packed.thumbnails, packed.large)
    ]
    assert sizes == [{0: (64, 48), 1: (21, 64), 2: (20, 10)}, {0: (256, 192), 1: (85, 256), 2: (20, 10)}]
    assert (packed.facts["n_thumbnails"], packed.facts["n_large"], packed.facts["n_full"]) == (3, 3, 0)
    assert packed.facts["files"] is None


def test_large_pictures_leave_room_for_all_thumbnails(con: duckdb.DuckDBPyConnection) -> None:
    random = np.random.default_rng(3)
    encoded = []
    for _ in range(300):
        coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype="uint8"))
        buffer = io.BytesIO()
        coarse.resize((160, 120), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        encoded.append(buffer.getvalue())
    report_files.add_images(con, "noise", ["a", "b"], encoded, [1] * 300)
    report_files.add_run(con, "wrong", "noise", np.float32([[0.9, 0.1]] * 300))
    whole = pack(con, "wrong", [], "/", 25)
    assert (whole.facts["n_thumbnails"], whole.facts["n_large"]) == (300, 300)
    others = data.FIXED_MB * 1e6 + len(whole.rows) + len(whole.details) + len(json.dumps(whole.facts))
    # Half of this would leave thumbnails out; a third does not.
    packed = pack(con, "wrong", [], "/", (others + len(whole.thumbnails) / 0.65) / 1e6)
    assert packed.facts["n_thumbnails"] == 300
    assert 0 < packed.facts["n_large"] < 300
    # Where many thumbnails do not fit in any case, large pictures have their half.
    packed = pack(con, "wrong", [], "/", (others + len(whole.thumbnails)) / 1e6)
    assert 100 < packed.facts["n_thumbnails"] < 200
    assert 0.3 < len(packed.large) / (len(packed.large) + len(packed.thumbnails)) < 0.6


def test_equal_input_gives_equal_bytes(digits: duckdb.DuckDBPyConnection) -> None:
    first, second = (pack(digits, "digits_logreg", ["digits_bayes"], FOLDER, 1.3) for _ in range(2))
    assert first == second


def test_the_limit_holds_with_all_blocks(digits: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for megabytes in (1.06, 1.1, 1.2, 1.4):
        packed = pack(digits, "digits_logreg", ["digits_bayes"], FOLDER, megabytes)
        blocks = sum(map(len, (packed.rows, packed.details, packed.thumbnails, packed.large, json.dumps(packed.facts))))
        assert blocks < (megabytes - data.FIXED_MB) * 1e6 + 2000
    assert packed.facts["n_details"] == 500
    assert packed.contents == ["500 of 500 images have a thumbnail here.", "500 have a picture of 256 px."]


def test_a_sampled_run_has_its_suspects_and_places_in_the_page(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_files.add_digits(con, 400)
    con.execute("update images set label = (label + 1) % 10 where image_id % 20 = 1")
    monkeypatch.setattr(data, "MAX_ROWS", 150)
    page = report.report(con, tmp_path / "page.html", runs=["digits_logreg", "digits_bayes"])
    sqlanalysis.read_report(con, page)
    block = re.search('id="facts">(.*?)</script>', page.read_text())
    assert block
    suspects = json.loads(block[1])["suspects"]
    chosen = [row for (row,) in con.sql("select image_id from page order by image_id").fetchall()]
    wanted = con.sql("select image_id from label_issues('digits_logreg') where image_id in (select image_id from page)")
    assert sorted(chosen[each["row"]] for each in suspects) == sorted(row for (row,) in wanted.fetchall())
    assert len(suspects) > 3
    far, span = con.sql("""
        select max(greatest(abs(page.x - run.x), abs(page.y - run.y))), max(run.x) - min(run.x)
        from page inner join digits_logreg as run using (image_id)
    """).fetchall()[0]
    assert far < span / 20_000, "the scale of the page is that of the whole run"
    both = con.sql("select page.pred_1, run.pred from page inner join digits_bayes as run using (image_id)").fetchall()
    assert len(both) == 150
    assert all(packed == stored for packed, stored in both)


def test_a_page_of_two_runs_turns_back_into_both(digits: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    page = report.report(digits, tmp_path / "page.html", runs=["digits_logreg", "digits_bayes"])
    sqlanalysis.read_report(digits, page, "old")
    for column, wanted in {
        "split": "split", "p_label": "probs[label + 1]", "pred": "pred", "confidence": "confidence",
    }.items():  # fmt: skip
        again = digits.sql(f"select {column} from old order by image_id").fetchall()
        assert str(again) == str(digits.sql(f"select {wanted} from digits_logreg order by image_id").fetchall()), column
    for column in ("pred", "pred_name", "confidence"):
        again = digits.sql(f"select {column}_1 from old order by image_id").fetchall()
        first = f"select other.{column} from digits_logreg as run left join digits_bayes as other using (image_id)"
        assert str(again) == str(digits.sql(f"{first} order by run.image_id").fetchall()), column
    comments = dict(digits.sql("select column_name, comment from duckdb_columns() where table_name = 'old'").fetchall())
    assert comments["pred_1"] == "pred of run digits_bayes"
    assert digits.sql("select count(large) from old").fetchall() == [(500,)]


def test_an_older_page_is_still_read(digits: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """A page from before there were details, large pictures, further runs and splits."""
    packed = pack(digits, "digits_logreg", [], FOLDER, 25)
    rows = pa.ipc.open_stream(gzip.decompress(base64.b64decode(packed.rows))).read_all()
    sink = pa.BufferOutputStream()
    old = rows.drop_columns(["split", "p_label"])
    with pa.ipc.new_stream(sink, old.schema) as writer:
        writer.write_table(old)
    names = ("run", "n", "total", "classes", "labeled", "predicted", "clustered", "extent", "left", "low", "span")
    facts = {name: packed.facts[name] for name in names}
    blocks = {"facts": json.dumps(facts), "rows": base64.b64encode(gzip.compress(sink.getvalue())).decode()}
    blocks["thumbnails"] = packed.thumbnails
    text = "".join(
        f'<script type="{data.MEDIA_TYPES[name]}" id="{name}">{block}</script>' for name, block in blocks.items()
    )
    (tmp_path / "old.html").write_text("<!doctype html>" + text)
    sqlanalysis.read_report(digits, tmp_path / "old.html", "old")
    exact = "image_id, label, label_name, pred, pred_name, confidence, correct"
    first = digits.sql(f"select {exact} from digits_logreg order by image_id").fetchall()
    assert digits.sql(f"select {exact} from old order by image_id").fetchall() == first
    assert digits.sql("select count(split), count(p_label), count(large), count(thumbnail) from old").fetchall() == [
        (0, 0, 0, 500)
    ]


@pytest.mark.parametrize(
    "facts", ["[]", '{"classes": 3}', '{"classes": [], "runs": 3}', '{"classes": [], "splits": {"a": 1}}', "{}"]
)
def test_facts_of_something_else_are_refused(digits: duckdb.DuckDBPyConnection, tmp_path: Path, facts: str) -> None:
    page = report.report(digits, tmp_path / "page.html", runs="digits_logreg")
    text = re.sub('(id="facts">).*?</script>', lambda found: f"{found[1]}{facts}</script>", page.read_text())
    (tmp_path / "other.html").write_text(text)
    with pytest.raises(SchemaError, match="the data of the page is damaged"):
        sqlanalysis.read_report(digits, tmp_path / "other.html")
