"""Label review, dialog and SQL drawer: what their functions give, against DuckDB, Python's readers and DuckDB's tokens."""

from __future__ import annotations

import ast
import csv
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from sqlanalysis.core.text import csv_cell

CLASSES = ["cat", "=SUM(A1)", 'say "dog", twice', "two\nlines", "Wildcat", "-1", "größe", "@x"]
FILES = ["cat/a.jpg", 'cat/"b",c.jpg', "=cmd|x.png", "d\ne.png", "größe/f.webp", "cat/g.png"]
ROWS: dict[str, Any] = {
    "id": [31, 7, 90071992547409, 12, 5, 6],
    "label": [0, 1, 2, -2, 3, 5],
    "split": [0, 0, -1, 0, 0, 0],
    "cluster": [4, -2, 0, 0, 0, 0],
    "file": FILES,
    "pLabel": [0.01, 0.5, -1, -1, 0.25, 0.1],
    "runs": [
        {"pred": [4, 1, -1, 2, 3, -2], "confidence": [0.9, 0.5, 0.4, 0.7, 0.6, -1]},
        {"pred": [0, 1, 2, 2, 4, 5], "confidence": [0.8, 0.9, 0.9, 0.3, 0.2, 1]},
    ],
    "slices": [[0, 1, -1, 0, 0, 0]],
}
# Row, new label (the same: the label is ok), and when.
MARKS: list[Any] = [[0, 4, "t0"], [1, 1, "t1"], [3, 0, "t3"], [2, 6, "t2"], [5, 7, "t5"]]
QUERIES = [
    "-- a comment 'with' \"quotes\"\nselect a.pred_name as before, count(*) from \"my run\" where split = 'it''s' and x > 1.5;\n",
    "from accuracy('a--b') /* block\n 'x' */ where \"from\" is not null -- end",
    'select """", \'\\n\', \'""" + 1\', "selection" from "a""""b"',
    'select 1 as "x"',
]


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    """Labels and predictions (NULL: none, -1: outside), a review of some, and DuckDB's accuracy before and after."""
    random = np.random.default_rng(7)
    found = []
    with duckdb.connect() as con:
        for n, reviewed in [(400, 60), (30, 30), (5, 1), (1, 1)]:
            label = np.where(random.random(n) < 0.1, -2, random.integers(0, 8, n))
            pred = np.where(random.random(n) < 0.1, -2, random.integers(-1, 8, n))
            marks = [[int(i), int(random.integers(0, 8))] for i in random.permutation(n)[:reviewed]]
            now = label.copy()
            for i, code in marks:
                now[i] = code
            count = "select count(*), count(*) filter (label = pred) from {} where label <> -2 and pred <> -2"
            whole, after = (_count(con, count, a, pred) for a in (label, now))
            found.append(
                {"label": label.tolist(), "pred": pred.tolist(), "marks": marks, "whole": whole, "after": after}
            )
    return found


def _count(con: duckdb.DuckDBPyConnection, sql: str, label: Any, pred: Any) -> dict[str, int]:
    answers = pd.DataFrame({"label": label, "pred": pred})
    con.register("answers", answers)
    n, correct = con.execute(sql.format("answers")).fetchall()[0]
    return {"n": n, "correct": correct}


@pytest.fixture(scope="module")
def shown(cases: list[dict[str, Any]]) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    given = {
        "rows": ROWS,
        "classes": CLASSES,
        "marks": MARKS,
        "cases": cases,
        "searches": [[[4, 0], ""], [[], "CAT"], [[2], " wild"], [[3, 3], "zebra"]],
        "tops": [
            [0, 0, {"classes": [4, 5, 6, 7, 1], "probs": [0.9, 0.05, 0.02, 0.01, 0.005]}],
            [0, 0, None],
            [1, 0, {"classes": [0, 4], "probs": [0.8, 0.1]}],
            [0, 3, {"classes": [2], "probs": [0.7]}],
            [0, 2, {"classes": [2, 4], "probs": [0.5, 0.1]}],
            [0, 5, None],
        ],
        "neighbors": [
            ["wild canine"] * 3 + ["dog"] * 3,
            ["a"],
            ["a", "b", "c", "a", "d", "e"],
            ["a", "b", "c"],
            [],
        ],
        "changes": [
            [True, False, True],
            [False, True, True],
            [True, True, False],
            [False, False, True],
            [False, False, False],
            [None, True, True],
        ],
        "state": {
            "facts": {"splits": ["val"], "clustered": True, "slices": [{"feature": "site", "values": ["n", "s"]}]},
            "run": 0,
            "baseline": 1,
        },
        "details": [
            [0, {"width": 5, "height": 4, "meta": {"taken": "2024", "camera": "P", "format": "JPEG", "n_bytes": 98765, "sharpness": 0.00123, "b": 0.5, "k": 3, "z": None}}],
            [2, None],
        ],
        "queries": QUERIES,
        "database": 'my "photos".duckdb',
        "promises": [[True, ["class: cat", "wrong"], "p.duckdb"], [True, [], "p.duckdb"], [False, ["wrong"], "p.duckdb"]],
    }  # fmt: skip
    script = Path(__file__).parent / "review_script.mjs"
    done = subprocess.run([node, str(script)], input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_accuracy_after_a_review_is_that_of_the_new_labels(
    shown: dict[str, Any], cases: list[dict[str, Any]], con: duckdb.DuckDBPyConnection
) -> None:
    for case, answer in zip(cases, shown["corrected"], strict=True):
        n, correct = case["after"]["n"], case["after"]["correct"]
        assert (answer["n"], answer["correct"]) == (n, correct)
        ends = con.execute(
            "select wilson_low(k, n, 0.95), wilson_high(k, n, 0.95) from (select ? as k, ? as n)", [correct, n]
        )
        assert answer["ends"] == pytest.approx(list(ends.fetchall()[0]), abs=1e-12)
    assert any(case["whole"] != case["after"] for case in cases)
    assert shown["changes"] == 4


def test_csv_is_read_back_as_it_was_said(shown: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(shown["csv"], newline="")))
    assert list(rows[0]) == ["image_id", "file", "label_name", "review", "new_label_name", "reviewed_at"]

    def back(text: str) -> str:
        """As apply-labels reads a cell: without the apostrophe that csv_cell set."""
        return text[1:] if text.startswith("'") and csv_cell(text[1:]) == text else text

    read = [tuple(map(back, row.values())) for row in rows]
    label = [CLASSES[code] if code >= 0 else "" for code in ROWS["label"]]
    wanted = [
        (
            str(ROWS["id"][i]),
            FILES[i],
            label[i],
            *(("ok", "") if code == ROWS["label"][i] else ("wrong", CLASSES[code])),
            at,
        )
        for i, code, at in MARKS
    ]
    assert read == sorted(wanted, key=lambda row: int(row[0]))
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())


def test_pandas_reads_the_csv_too(shown: dict[str, Any]) -> None:
    table = pd.read_csv(io.StringIO(shown["csv"]), dtype=str, keep_default_na=False)
    assert table.shape == (len(MARKS), 6)
    assert set(table["review"]) == {"ok", "wrong"}


def test_classes_are_found_in_the_menu(shown: dict[str, Any]) -> None:
    everything, cats, wild, none = shown["choices"]
    assert everything == [4, 0, 1, 2, 3, 5, 6, 7]
    assert cats == [0, 4]  # the start of a name before its middle
    assert wild == [4]
    assert none == []


def test_marks_outlive_the_page_where_they_can_be_kept(shown: dict[str, Any]) -> None:
    kept = shown["keeping"]
    marks = dict(kept["first"])
    assert marks[0] == {"review": "ok", "label": 0, "at": "2026-11-26T12:00:00.000Z"}  # said anew, it replaces
    assert marks[3] == {"review": "wrong", "label": 0, "at": "2026-11-26T12:00:00.000Z"}
    assert len(marks) == len(MARKS)
    assert dict(kept["again"]) == {i: mark for i, mark in marks.items() if i != 1}
    assert kept["other"] == 0  # a page written at another time has marks of its own
    assert kept["keys"] == ["sqlanalysis-labels a 6 now"]
    assert kept["works"] == [True, False, False, False]  # kept, full, blocked, of a page that does not say its time
    assert kept["unsaved"] == [True, True, False]


def test_answers_of_a_run_are_marked(shown: dict[str, Any]) -> None:
    def brief(answers: list[dict[str, Any]]) -> list[tuple[int, float | None, str]]:
        return [(one["code"], one["share"], one["is"]) for one in answers]

    beyond, bare, right, unlabeled, outside, unanswered = map(brief, shown["answers"])
    assert beyond[0] == (4, 0.9, "wrong")
    assert beyond[-1] == (0, 0.01, "label")  # the label is not among the first five
    assert [one[2] for one in beyond[1:-1]] == [""] * 4
    assert bare == [(4, 0.9, "wrong"), (0, 0.01, "label")]
    assert right == [(0, 0.8, "right"), (4, 0.1, "")]
    assert unlabeled == [(2, 0.7, "only")]
    assert outside == [(-1, 0.4, "wrong"), (2, 0.5, "label"), (4, 0.1, "")]
    assert unanswered == [(-2, -1, "only"), (5, 0.1, "label")]


def test_words_of_the_dialog(shown: dict[str, Any]) -> None:
    assert shown["neighbors"] == [
        "3 labeled wild canine, 3 dog",
        "1 labeled a",
        "2 labeled a, 1 b, 3 others",
        "1 labeled a, 1 b, 1 c",
        "",
    ]
    assert shown["change"] == ["newly right", "newly wrong", "both right", "both wrong, and differ", "both wrong", None]
    first, second = ({term: text for term, text, *_ in one} for one in shown["properties"])
    assert first == {
        "file": "cat/a.jpg", "id": "31", "stored": "JPEG, 99 kB", "split": "val", "camera": "P, 2024", "sharpness": "0.0012", "b": "0.50", "k": "3",
        "slices": "site: n", "cluster": "4", "change": "newly wrong",
    }  # fmt: skip
    assert second == {"file": "=cmd|x.png", "id": "90071992547409", "cluster": "0", "change": "newly wrong"}


def test_queries_are_colored_as_duckdb_reads_them(shown: dict[str, Any]) -> None:
    for query, pieces in zip(QUERIES, shown["highlight"], strict=True):
        assert "".join(text for _, text in pieces) == query
        starts, at = {}, 0
        for kind, text in pieces:
            starts[at] = kind
            at += len(text)
        for place, kind in duckdb.tokenize(query):
            if kind == duckdb.token_type.comment or kind == duckdb.token_type.string_const:
                wanted = "comment" if kind == duckdb.token_type.comment else "string"
                assert starts[place] == wanted, query[place:]
            elif kind == duckdb.token_type.keyword and place in starts:
                assert starts[place] in ("keyword", ""), query[place:]
        colored = {text.lower() for kind, text in pieces if kind == "keyword"}
        assert colored <= {"select", "as", "from", "where", "and", "is", "not", "null", "count"}
        assert colored & {"select", "from"}


def test_program_in_python_holds_the_query(shown: dict[str, Any]) -> None:
    for query, program in zip(QUERIES, shown["python"], strict=True):
        calls = [node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Call)]
        (database,), (text,) = (
            [ast.literal_eval(argument) for argument in call.args]
            for call in sorted(calls, key=lambda call: call.lineno)
        )
        assert database == 'my "photos".duckdb'
        assert text.strip() == query.strip()


def test_a_query_says_whether_it_holds_the_filter(shown: dict[str, Any]) -> None:
    filtered, whole, still = shown["promise"]
    assert filtered == (
        "The query holds the page's filter (class: cat · wrong). Run it in the DuckDB shell or with "
        'duckdb.connect("p.duckdb"); it gives the numbers of this page.'
    )
    assert whole.startswith("The page has no filter, so the query is of all images.")
    assert still.startswith("The query is of all images, not of the page's filter.")
