"""The section on slices: its cuts are its conditions, its numbers are those of pandas and scipy, and chance is no slice."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests
from typer.testing import CliRunner

import sqlanalysis
from sqlanalysis.cli import app
from sqlanalysis.core.decode import Statistics
from sqlanalysis.db import statements
from sqlanalysis.db.catalogue import recreate_run_views
from sqlanalysis.errors import ArgumentError, QueryError
from sqlanalysis.page.draft import Draft
from sqlanalysis.page.sections import cuts
from sqlanalysis.page.sections.slices import finding, slice_codes, slice_values, slices

from ..support import report_files

ODD = ["o'brien", "none", "a\0b", "100%", "", "x -- y", '"quoted"', "line\nbreak", "a · b", "NULL", "ü\u202e"]
META = (
    "json_object('camera', ['Canon', 'Apple', 'X'][1 + i % 3], 'taken', (date '2020-11-03' + (i * 7) % 400)::varchar)"
)


def fill(con: duckdb.DuckDBPyConnection, n: int = 600, meta: str = META, **columns: str) -> None:
    """Images without files, each column an expression over their number i, and the runs r and base."""
    con.execute("insert into label_spaces values ('c', 3)")
    con.execute("insert into classes (label_space, class, name) select 'c', range, 'k' || range from range(3)")
    con.execute("insert into datasets (dataset, label_space) values ('d', 'c')")
    known = {
        "image_id": "i",
        "dataset": "'d'",
        "uri": "'/data/x/' || ['night', 'day'][1 + (i % 2)] || '/' || i || '.jpg'",
        "sha256": "sha256(i::varchar)",
        "n_bytes": "1000 + hash(i) % 90000",
        "format": "['JPEG', 'PNG'][1 + (i % 5 > 0)::int]",
        "width_px": "100 + hash(i + 1) % 300",
        "height_px": "100 + hash(i + 2) % 300",
        "split": "case when i % 7 > 0 then ['a', 'b'][1 + (i % 3 > 0)::int] end",
        "label": "hash(i + 3) % 3",
        "meta": meta,
        **{name: f"(hash(i * 10 + {k}) % 10007) / 10007" for k, name in enumerate(cuts.STATISTICS)},
    } | columns
    chosen = ", ".join(f"({text}) as {name}" for name, text in known.items())
    con.execute(
        f"insert into images ({', '.join(known)}) select {chosen} from (select range::integer as i from range({n})) order by i"
    )
    for run, share in (("r", 30), ("base", 45)):
        pred = f"((label + (hash(image_id + {share}) % 100 < {share} or brightness < 0.2)::int) % 3)::int"
        rows = con.sql(
            f"select image_id, {pred} as pred_index, (0.4 + hash(image_id + 9) % 97 / 200)::float as confidence "
            "from images order by image_id"
        )
        sqlanalysis.add_predictions(con, rows.to_arrow_table(), run)


def draft_of(con: duckdb.DuckDBPyConnection, *given: str, run: str = "r", baseline: str | None = None) -> Draft:
    return Draft(con, max_images=24, run=run, baseline=baseline, folder="/data/x/", slices=given)


def section(con: duckdb.DuckDBPyConnection, *given: str, **names: Any) -> dict[str, Any]:
    draft = draft_of(con, *given, **names)
    accuracy = con.sql(f"from accuracy('{draft.run}')").df()
    return slices(draft, {"n": int(accuracy["n"][0]), "accuracy": accuracy["accuracy"][0]})


def values_of(con: duckdb.DuckDBPyConnection, *given: str) -> dict[str, list[str]]:
    return {row["feature"]: row["values"] for row in slice_values(draft_of(con, *given))}


@pytest.fixture
def filled(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    fill(con)
    return con


@pytest.fixture
def odd(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Odd values, missing labels, predictions, statistics and keys, clusters, and keys that are names of columns."""
    con.execute("create table odd as select unnest(range(?)) as k, unnest(?) as text", [len(ODD), ODD])
    text = f"(select any_value(text) from odd where k = i % {len(ODD) + 1})"
    keys = {
        "site": text,
        "age": "i * 1.5",
        "label": "i % 4",
        "Brightness": "i % 2",
        "": "1",
        'a"b': "i % 2",
        "*": "i % 3",
    }
    pairs = ", ".join(f"'{key}', {value}" for key, value in keys.items())
    fill(
        con,
        900,
        f"case when i % 13 > 0 then json_object({pairs}, 'taken', i % 2) end",
        label="case when i % 11 > 0 then hash(i + 3) % 3 end",
        sharpness="case when i % 17 > 0 then hash(i) % 5000 end",
        contrast="case when i % 2 = 0 then 0.1 else 0.5 end",
        entropy="0",
    )
    con.execute("alter table outputs.r add column cluster integer")
    con.execute("update outputs.r set cluster = image_id % 12 where image_id % 5 > 0")
    con.execute("update outputs.r set pred = null where image_id % 19 = 0")
    recreate_run_views(con, ["r"])
    return con


@pytest.mark.parametrize("data", ["filled", "odd"])
def test_every_condition_selects_what_its_row_counts(data: str, request: pytest.FixtureRequest) -> None:
    """Values, codes, table and conditions, all by DuckDB and the text of the condition."""
    con = request.getfixturevalue(data)
    given = ("confidence > 0.6 -- sure", "substr(sha256, 1, 1)", "label_name", "brightness < 0.5 and width_px > 100")
    draft = draft_of(con, *given)
    known = slice_values(draft)
    found = slices(draft, {"n": 1, "accuracy": 0.5})
    rows = {(row["feature"], row["value"]): row for row in found["rows"]}
    codes = slice_codes(draft).to_pandas()
    assert list(codes.columns[1:]) == [f"slice_{k}" for k in range(len(known))]
    assert codes["image_id"].is_monotonic_increasing
    assert len(codes) == con.sql("select count(*) from r").fetchall()[0][0]
    listed = set()
    for k, feature in enumerate(known):
        assert len(set(feature["values"])) == len(feature["values"]) == len(feature["sql"]) == len(feature["words"])
        for code, (value, sql) in enumerate(zip(feature["values"], feature["sql"], strict=True)):
            ids = [row[0] for row in con.sql(f"select image_id from r where {sql} order by image_id").fetchall()]
            assert codes["image_id"][codes[f"slice_{k}"] == code].tolist() == ids, (feature["feature"], value)
            tested = f"from r where ({sql}) and label is not null and pred is not null"
            n, right = con.sql(f"select count(*), count(*) filter (where correct) {tested}").fetchall()[0]
            row = rows.get((feature["feature"], value))
            assert (row is not None) == (n >= 20)
            if row:
                listed.add((feature["feature"], value))
                assert (row["n"], row["n"] - row["n_wrong"], row["sql"]) == (n, right, sql)
                assert row["accuracy"] == pytest.approx(right / n)
    assert listed == rows.keys()
    assert len(listed) > 30


@pytest.mark.parametrize("data", ["filled", "odd"])
def test_the_numbers_are_those_of_scipy_and_statsmodels(data: str, request: pytest.FixtureRequest) -> None:
    con = request.getfixturevalue(data)
    found = section(con, baseline="base")
    frame = con.sql("select * from r where label is not null and pred is not null order by image_id").df()
    base = con.sql("select image_id, correct as base from base").df()
    frame = frame.merge(base, on="image_id", how="left")
    p = []
    for row in found["rows"]:
        ids = con.sql(f"select image_id from r where {row['sql']}").df()["image_id"]
        inside = frame["image_id"].isin(ids)
        part, rest = frame[inside], frame[~inside]
        assert row["accuracy_rest"] == pytest.approx(rest["correct"].mean())
        assert row["diff"] == pytest.approx(part["correct"].mean() - rest["correct"].mean())
        low, high = scipy.stats.binomtest(int(part["correct"].sum()), len(part)).proportion_ci(method="wilson")
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high))
        if data == "filled":
            assert row["baseline_accuracy"] == pytest.approx(part["base"].astype(float).mean())
            assert row["n_baseline"] == len(part)
        else:  # the baseline has answered images that the run has not: they are not compared
            assert (row["baseline_accuracy"], row["n_baseline"]) == (None, 0)
        wrong = part[~part["correct"].astype(bool)].sort_values(["confidence", "image_id"], ascending=[False, True])
        assert row["image_ids"] == wrong["image_id"][:5].tolist()
        counts = [
            [(~frame[rows]["correct"].astype(bool)).sum(), frame[rows]["correct"].sum()] for rows in (inside, ~inside)
        ]
        p.append(scipy.stats.fisher_exact(counts, alternative="greater").pvalue)
        assert row["p_value"] == pytest.approx(p[-1], rel=1e-6)
    rejected, corrected, *_ = multipletests(p, 0.05, "holm")
    assert [row["p_holm"] for row in found["rows"]] == pytest.approx(corrected.tolist(), rel=1e-6)
    assert [row["worse"] for row in found["rows"]] == rejected.tolist()
    assert found["n_looks"] == len(p)
    assert [row["p_holm"] for row in found["rows"]] == sorted(row["p_holm"] for row in found["rows"])
    assert found["rows"][0]["words"].startswith("dark · brightness below 0.")
    assert found["finding"].startswith("Dark images (brightness below 0.")


def test_what_cuts_by_default(filled: duckdb.DuckDBPyConnection) -> None:
    values = values_of(filled)
    assert {field.name for field in dataclasses.fields(Statistics)} == cuts.STATISTICS.keys()
    expected = [*cuts.STATISTICS, "shape", "shorter side", "file size", "split", "format", "folder", "camera", "taken"]
    assert list(values) == expected
    assert values["split"] == ["a", "b", "none"]
    assert values["shape"] == ["landscape", "portrait", "square"]
    assert values["folder"] == ["day", "night"]
    assert values["taken"][:3] == ["2020-11", "2020-12", "2021-01"]
    for name in cuts.STATISTICS:
        low, high = filled.sql(f"select unnest(quantile_cont({name}, [0.2, 0.8])) as q from r").df()["q"]
        assert float(values[name][0].removeprefix("below ")) == pytest.approx(low, abs=0.04)
        assert float(values[name][1].removesuffix(" or more")) == pytest.approx(high, abs=0.04)
        shares = filled.sql(
            f"select avg(({name} < {values[name][0][6:]})::int), avg(({name} >= {values[name][1][:-8]})::int) from r"
        ).fetchall()[0]
        assert all(0.16 < share < 0.24 for share in shares)


def test_odd_columns(odd: duckdb.DuckDBPyConnection) -> None:
    values = values_of(odd)
    assert "entropy" not in values  # one value
    assert "contrast" not in values  # half of the images have the lower of two values
    assert set(values["meta.label"]) == {"0", "1", "2", "3", "none"}
    assert set(values["meta.Brightness"]) == {"0", "1", "none"}
    assert values["taken"] == ["0", "1", "none"]
    assert set(values["*"]) == {"0", "1", "2", "none"}
    assert values["cluster"] == [*(str(k) for k in range(12)), "none"]
    assert values["age"][0].startswith("below ")
    assert values["age"][1].endswith(" or more")
    assert set(values["site"]) == {*(text.replace("\0", "\u2400") for text in ODD), "no value"}


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ("(date '2021-03-01' + i % 70)::varchar", ["2021-03", "2021-04", "2021-05"]),
        ("(date '1990-03-01' + i * 20)::varchar || 'T10:00'", 33),
        ("(date '2000-03-01' + i * 10)::varchar", 17),
        ("(date '2021-03-01' + i % 9)::varchar", 9),
        ("'day ' || i", 0),
    ],
)
def test_days_become_months_or_years(con: duckdb.DuckDBPyConnection, days: str, expected: Any) -> None:
    fill(con, meta=f"json_object('taken', {days})")
    found = values_of(con).get("taken", [])
    years = con.sql("select count(distinct year((meta->>'taken')[:10]::date)) from r") if "date" in days else None
    if isinstance(expected, list):
        assert found == expected
    elif years is not None and expected > 9:
        n = years.fetchall()[0][0]
        assert n == expected + (n - expected)
        assert len(found) == (n if n <= 30 else 0)
    else:
        assert len(found) == expected


@pytest.mark.parametrize(
    ("uri", "columns", "is_cut"),
    [
        ("'/data/x/' || ['n', 'd'][1 + (i % 2)] || '/' || i", {}, True),
        ("'C:\\data\\x\\' || ['n', 'd'][1 + (i % 2)] || '\\' || i", {}, True),
        ("'/data/x/' || ['n', 'd', 'e'][1 + (i % 3)] || '/' || i", {"label": "i % 3"}, False),
        ("'/data/x/' || ['n', 'd'][1 + (i % 2)] || '/' || i", {"split": "['train', 'val'][1 + (i % 2)]"}, False),
        ("'/data/x/' || i || '.jpg'", {}, False),
        ("'/data/x/' || (i % 40) || '/' || i", {}, False),
        ("'sha256:' || sha256(i::varchar)", {}, False),
    ],
)
def test_folder_cuts_where_it_says_something(
    con: duckdb.DuckDBPyConnection, uri: str, columns: dict[str, str], is_cut: bool
) -> None:
    fill(con, uri=uri, **columns)
    draft = draft_of(con)
    draft.folder = draft.folder if "\\" not in uri else "C:\\data\\x\\"
    found = {row["feature"]: row for row in slice_values(draft)}
    assert ("folder" in found) == is_cut
    if is_cut:
        assert found["folder"]["values"] == ["d", "n"]
        assert not any("data" in sql for sql in found["folder"]["sql"])
        hidden = Draft(con, max_images=24, run="r", folder=draft.folder, redacted=True)
        assert "folder" not in {row["feature"] for row in slice_values(hidden)}


@pytest.mark.parametrize(
    ("start", "end", "near", "limit"),
    [
        (0.3, 0.4, 0.37, "0.4"),
        (0.351, 0.392, 0.3712, "0.37"),
        (4_900.0, 5_400.0, 5_130.0, "5000"),
        (0.0, 1e-9, 4e-10, "0.0000000004"),
        (1e20, 3e20, 2e20, "2e+20"),
        (-3.0, -1.0, -2.2, "-2"),
        (0.1, 0.30000000000000004, 0.30000000000000004, "0.3"),
        (1.0, 1.0000000000000002, 1.0000000000000002, "1.0000000000000002"),
        (12344.0, 12345.0, 12344.5, "12344.5"),
    ],
)
def test_limits_are_as_round_as_they_can_be(start: float, end: float, near: float, limit: str) -> None:
    assert cuts.round_limit(start, end, near) == limit
    assert start < float(limit) <= end


def test_equal_numbers_stay_together(con: duckdb.DuckDBPyConnection) -> None:
    fill(
        con,
        brightness="case when i % 4 = 0 then 0.1 else 0.9 end",
        contrast="case when i % 2 = 0 then 0.1 else 0.9 end",
    )
    con.execute("update images set sharpness = least(image_id, 300)")
    values = values_of(con)
    assert values["brightness"] == ["below 0.5"]  # a quarter; the other three are no fifth
    assert "contrast" not in values
    assert values["sharpness"] == ["below 120"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("brightness < 0.2", ["false", "true"]),
        ("width_px > 200 -- wide", ["false", "true"]),
        ("case when brightness < 0.2 then 'o''dark' end", ["o'dark", "none"]),
        ("image_id % 5", ["0", "1", "2", "3", "4"]),
        ("round(confidence, 1)", None),
        ("(select max(label) from r) = label", ["false", "true"]),
        ("[label]", ["[0]", "[1]", "[2]"]),
    ],
)
def test_expressions_of_the_caller(
    filled: duckdb.DuckDBPyConnection, expression: str, expected: list[str] | None
) -> None:
    draft = draft_of(filled, expression, expression)
    (found,) = [row for row in slice_values(draft) if row["feature"] == expression]
    if expected is not None:
        assert found["values"] == expected
    n = [filled.sql(f"select count(*) from r where {sql}").fetchall()[0][0] for sql in found["sql"]]
    assert sum(n) == 600
    rows = slices(draft, {"n": 600, "accuracy": 0.6})["rows"]
    assert {row["value"] for row in rows if row["feature"] == expression} <= set(found["values"])


@pytest.mark.parametrize(
    ("expression", "error", "words"),
    [
        ("image_id", ArgumentError, "slice 'image_id' has 600 values; a slice needs an expression of 2 to 30"),
        ("dataset", ArgumentError, "slice 'dataset' has one value on all images"),
        ("null", ArgumentError, "slice 'null' has one value"),
        ("'split'", ArgumentError, "slice=\"'split'\" is a quoted constant"),
        ("", ArgumentError, "not an empty text"),
        (7, ArgumentError, "slices is a list of SQL expressions .*, not 7"),
        ("random() < 0.5", ArgumentError, "has other values each time it is computed"),
        ("image_id < 300 * random() -- as it comes", ArgumentError, "has other values each time it is computed"),
        ("correct", ArgumentError, "says itself which answers are right"),
        ("pred = label", ArgumentError, "says itself which answers are right"),
        ("repeat(split, 300)", ArgumentError, "has a value of 300 characters"),
        ("brightnes < 0.2", QueryError, "slice 'brightnes < 0.2' is not an expression over the columns of 'r'"),
        ("count(*) > 3", QueryError, r"slice 'count\(\*\) > 3' is not"),
        ("row_number() over () > 3", QueryError, r"slice 'row_number\(\) over \(\) > 3' is not"),
        ("error('no')", QueryError, "slice .* is not"),
        ("true; drop table images", QueryError, "slice is not one SQL expression: 'true; drop table images'"),
        ("true) or (true", QueryError, "slice is not one SQL expression"),
        ("split, label", QueryError, "slice is not one SQL expression"),
        ("from r", QueryError, "slice is not one SQL expression"),
        ("split = '\udcff'", QueryError, "slice is not one SQL expression: .* is not UTF-8"),
    ],
)
def test_wrong_expressions_are_named(
    filled: duckdb.DuckDBPyConnection, expression: Any, error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        sqlanalysis.report(filled, tmp_path / "page.html", "r", slices=[expression])
    assert not (tmp_path / "page.html").exists()
    assert filled.sql("select count(*) from images").fetchall() == [(600,)]


def test_an_expression_reaches_no_other_file(tmp_path: Path) -> None:
    file, other = tmp_path / "work.duckdb", tmp_path / "other.csv"
    other.write_text("secret\n1\n")
    with sqlanalysis.connect(file) as con:
        fill(con)
    reading = f"(select secret from read_csv('{other}')) = label"
    with (
        sqlanalysis.connect(file, read_only=True, safe=True) as con,
        pytest.raises(QueryError, match=r"slice .*read_csv.* is not an expression over the columns"),
    ):
        sqlanalysis.report(con, tmp_path / "page.html", "r", slices=[reading])
    result = CliRunner().invoke(
        app, ["report", str(file), str(tmp_path / "page.html"), "--run", "r", "--slice", reading]
    )
    assert result.exit_code == 1
    assert not (tmp_path / "page.html").exists()


def test_on_the_command_line_and_on_the_page(tmp_path: Path) -> None:
    file, page = tmp_path / "work.duckdb", tmp_path / "page.html"
    with sqlanalysis.connect(file) as con:
        fill(con)
    given = ["--slice", "width_px > 390", "--slice", "image_id % 3"]
    result = CliRunner().invoke(app, ["report", str(file), str(page), "--run", "r", *given])
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert "not (width_px &gt; 390)" in text
    assert "image_id % 3" in text
    assert "Dark images (brightness below 0." in text


def test_without_labels_an_expression_is_checked_all_the_same(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    fill(con)
    con.execute("update images set label = null")
    with pytest.raises(ArgumentError, match="600 values"):
        sqlanalysis.report(con, tmp_path / "page.html", "r", slices="image_id")


def keyed(n: int, *more: str) -> str:
    """An expression of meta with keys k00, k01, … of two values, and more."""
    keys = [*(f"k{k:02}" for k in range(n)), *more]
    pairs = ", ".join(f"'{key}', 'v' || (i + {k}) % 2" for k, key in enumerate(keys))
    return f"json_object({pairs})"


def test_keys_that_were_not_looked_at_are_named(tmp_path: Path) -> None:
    """The condition that the page offers cuts by one of them; keys with a quote or of 101 characters are among them."""
    file, page = tmp_path / "work.duckdb", tmp_path / "page.html"
    odd = ['a"`b', "", "x" * 101]
    with sqlanalysis.connect(file) as con:
        fill(con, 100, meta=keyed(33, *odd))
        assert [name for name in values_of(con) if name.startswith("k")] == [f"k{k:02}" for k in range(30)]
    assert CliRunner().invoke(app, ["report", str(file), str(page), "--run", "r"]).exit_code == 0
    text = page.read_text()
    assert "Not looked at: 6 of 36 keys of meta ((empty), a&#34;`b, k30, …)" in text
    assert "<code>--slice EXPR</code> cuts by others" in text
    assert "<code>--slice &#34;meta-&gt;&gt;&#39;KEY&#39;&#34;</code>" in text
    for key in ("k30", odd[0], odd[2]):
        given = ["--run", "r", "--slice", f"meta->>'{key}'"]
        result = CliRunner().invoke(app, ["report", str(file), str(page), *given])
        assert result.exit_code == 0, result.output
        (feature,) = [each for each in _features(page) if each["feature"] == given[-1]]
        assert feature["values"] == ["v0", "v1"]


def _features(page: Path) -> list[dict[str, Any]]:
    facts = page.read_text().partition('id="facts">')[2].partition("</script>")[0]
    return json.loads(facts)["slices"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(("n", "said"), [(19_999, False), (20_001, True)])
def test_keys_of_later_images(con: duckdb.DuckDBPyConnection, n: int, said: bool) -> None:
    """A key that only the last image has is not found when it is behind the first 20,000."""
    meta = f"case when i < {n - 1} then json_object('a', i % 2) else json_object('b', 1, 'a', 1) end"
    fill(con, n, meta=meta)
    text = cuts.left_out(draft_of(con))
    assert (text is not None) == said
    assert not said or text == (
        "Keys of meta are those of its first 20,000 images; <code>--slice EXPR</code> cuts by others."
    )


def test_all_keys_were_looked_at(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, 100, meta=keyed(30))
    assert section(con)["left_out"] is None


def test_a_page_without_paths_names_no_key_that_is_one(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, 100, meta=keyed(31, "~/secret"))
    hidden = cuts.left_out(Draft(con, max_images=24, run="r", redacted=True))
    assert "2 of 32 keys of meta (k30, …)" in str(hidden)
    assert "2 of 32 keys of meta (k30, ~/secret)" in str(cuts.left_out(draft_of(con)))


def row_of(**values: Any) -> dict[str, Any]:
    row = {"subject": "dark images (brightness below 0.37)", "n": 51, "accuracy": 0.6, "accuracy_rest": 0.844}
    return row | {"p_holm": 0.0104, "worse": True} | values


@pytest.mark.parametrize(
    ("rows", "n_looks", "names", "sentence"),
    [
        ([], 0, [], "These images have no column with different values, so there is nothing to compare."),
        ([], 0, ["split"], "No slice by split has 20 labeled images."),
        (
            [row_of(worse=False, p_holm=None)],
            0,
            ["split", "format"],
            "No slice by split and format can be worse than the rest: every answer is right, or every one is wrong.",
        ),
        (
            [row_of(worse=False, p_holm=0.14)],
            11,
            ["brightness", "contrast", "cluster"],
            "Eleven slices by brightness, contrast and cluster; after correction for eleven looks, no slice is "
            "established as worse than the rest.",
        ),
        (
            [row_of(worse=False, p_holm=0.14)],
            1,
            ["shape"],
            "One slice by shape; by Fisher's exact test, no slice is established as worse than the rest.",
        ),
        (
            [row_of(worse=False, p_holm=0.14)],
            1234,
            list("abcdef"),
            "1,234 slices by a, b, c, d and two more columns; after correction for 1,234 looks, no slice is established "
            "as worse than the rest.",
        ),
        (
            [row_of(), row_of(worse=False)],
            11,
            ["brightness"],
            "Dark images (brightness below 0.37) are worse than the rest: 60.0% of 51 against 84.4%, corrected p 0.010.",
        ),
        (
            [row_of(subject="images of camera א", p_holm=1e-9), row_of(), row_of()],
            40,
            ["camera"],
            "Images of camera א are worse than the rest: 60.0% of 51 against 84.4%, corrected p < 0.001; so are two more "
            "of 40 slices.",
        ),
        (
            [row_of(), row_of()],
            9,
            ["camera"],
            "Dark images (brightness below 0.37) are worse than the rest: 60.0% of 51 against 84.4%, corrected p 0.010; "
            "so is one more of nine slices.",
        ),
    ],
)
def test_the_finding(rows: list[dict[str, Any]], n_looks: int, names: list[str], sentence: str) -> None:
    assert finding(rows, n_looks, names) == sentence


@pytest.mark.slow
def test_chance_names_a_slice_in_at_most_one_of_twenty(con: duckdb.DuckDBPyConnection) -> None:
    """300 data sets without an effect: right and wrong have nothing to do with the images."""
    fill(con, 500)
    draft = draft_of(con, "image_id % 4")
    names = [
        {"name": row["feature"], "values": list(zip(row["values"], row["sql"], strict=True))}
        for row in slice_values(draft)
    ]
    con.execute("create table simulated as from r")
    rng = np.random.default_rng(11)
    named = 0
    for _ in range(300):
        wrong = rng.random(500) < rng.choice([0.1, 0.25, 0.5])
        con.register("answers", pd.DataFrame({"image_id": np.arange(500), "wrong": wrong}))
        con.execute(
            "update simulated set pred = (label + wrong::int) % 3 from answers where simulated.image_id = answers.image_id"
        )
        result = statements.execute(con, "slice_table", run="simulated", baseline=None, cuts=names).df()
        assert result["n_looks"][0] == len(result) > 30
        rows = [{**row, "worse": row["p_holm"] < 0.05, "subject": "images"} for row in result.to_dict("records")]
        named += "are worse" in finding(rows, len(rows), [name["name"] for name in names])
    assert named <= scipy.stats.binom.ppf(0.999, 300, 0.05)


def test_a_file_of_digits_without_anything_to_cut_by(con: duckdb.DuckDBPyConnection) -> None:
    report_files.add_digits(con, 60, runs=1)
    con.execute("update images set n_bytes = 7")
    found = section(con, run="digits_logreg")
    assert (found["features"], found["rows"], found["table"]) == ([], [], None)
    assert json.dumps(found["finding"])
