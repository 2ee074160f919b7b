"""metric and list_metrics: calls, bound values, and every way to be wrong."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from sqlanalysis.errors import ArgumentError, NotFoundError, QueryError, SchemaError
from sqlanalysis.evaluation.metrics import list_metrics, metric

from ..support.edge_cases import EDGES, load, random_case


@pytest.fixture
def run(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    load(con, random_case(60, 3, 1), "resnet18")
    load(con, EDGES["ties"], "my run")
    con.execute("update resnet18 set split = 'val'").fetchall()
    return con


def test_list_metrics(con: duckdb.DuckDBPyConnection) -> None:
    actual = list_metrics(con)
    assert actual.columns == ["name", "topic", "signature", "description", "example"]
    rows = {row[0]: row[2] for row in actual.fetchall()}
    assert rows["accuracy_by"] == "accuracy_by(rel, expr, level := 0.95, is_right := null, groups := null)"
    assert "wilson_low" not in rows


def test_metric_is_the_macro(run: duckdb.DuckDBPyConnection) -> None:
    for name, call in (("accuracy", "accuracy('resnet18')"), ("summary", "summary('resnet18')")):
        assert metric(run, name, "resnet18").fetchall() == run.execute(f"from {call}").fetchall()


def test_metric_gives_rows_to_keep(run: duckdb.DuckDBPyConnection) -> None:
    actual = metric(run, "accuracy", "resnet18")
    assert actual.columns == ["n", "correct", "accuracy", "ci_low", "ci_high", "run"]
    run.execute("drop table resnet18").fetchall()
    first = actual.fetchall()
    assert first == actual.fetchall()
    assert first[0][0] == 60
    assert actual.df()["n"].tolist() == [60]
    assert "accuracy" in str(actual)
    assert actual.filter("n > 100").fetchall() == []


def test_values_are_bound(run: duckdb.DuckDBPyConnection) -> None:
    wide = metric(run, "accuracy", "resnet18", level=0.99).fetchall()[0]
    narrow = metric(run, "accuracy", "resnet18", level=0.5).fetchall()[0]
    assert wide[3] < narrow[3] < narrow[4] < wide[4]
    assert [row[0] for row in metric(run, "topk_accuracy", "resnet18", ks=[1, 2]).fetchall()] == [1, 2]
    assert len(metric(run, "worst_mistakes", "resnet18", max_rows=2).fetchall()) == 2
    assert metric(run, "calibration_error", "resnet18", n_bins=5, strategy="quantile").fetchall()[0][0] == 60
    run.execute("create table no_preds as from resnet18 where pred <> 0").fetchall()
    assert metric(run, "per_class", "no_preds", zero_division=None).fetchall()[0][4] is None


@pytest.mark.parametrize(
    ("expr", "slices"),
    [
        ("split", ["val"]),
        ("label > 1", [False, True]),
        ("label > 1 -- a comment", [False, True]),
        ("(split, label > 1)", [("val", False), ("val", True)]),
        (["split", "label > 1"], [("val", False), ("val", True)]),
        (["label"], [(0,), (1,), (2,)]),
        ("case when label = 0 then 'a;b' else '--' end", ["--", "a;b"]),
    ],
)
def test_expressions(run: duckdb.DuckDBPyConnection, expr: str | list[str], slices: list[object]) -> None:
    for name in ("accuracy_by", "scores_by"):
        actual = metric(run, name, "resnet18", expr=expr).fetchall()
        assert [row[0] for row in actual] == slices


def test_values_beside_an_expression(run: duckdb.DuckDBPyConnection) -> None:
    first = metric(run, "accuracy_by", "resnet18", level=0.5, expr="split").fetchall()
    assert first == metric(run, "accuracy_by", "resnet18", expr="split", level=0.5).fetchall()
    assert first != metric(run, "accuracy_by", "resnet18", expr="split").fetchall()


def test_names_and_columns_as_lists(run: duckdb.DuckDBPyConnection) -> None:
    run.execute(
        "create macro two_runs(rel, baseline, cols) as table select "
        "(select count(*) from query_table(rel)) as a, (select count(*) from query_table(baseline)) as b, cols as c"
    ).fetchall()
    run.execute("comment on macro table two_runs is 'for this test'").fetchall()
    actual = metric(run, "two_runs", "resnet18", baseline="my run", cols=["split", "o'clock"]).fetchall()
    assert actual == [(60, 5, ["split", "o'clock"])]
    assert metric(run, "two_runs", "my run", cols="1 + 1", baseline="resnet18").fetchall() == [(5, 60, 2)]
    with pytest.raises(NotFoundError, match=r"no relation 'resnet19'; did you mean resnet18"):
        metric(run, "two_runs", "resnet18", baseline="resnet19", cols="1")


def test_relations(run: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    file = tmp_path / "preds.parquet"
    run.execute(f"copy resnet18 to '{file}' (format parquet)").fetchall()
    run.execute("create temp view half as from resnet18 where image_id < 30").fetchall()
    for relation, n in [
        ("resnet18", 60),
        ("main.resnet18", 60),
        ('"my run"', 5),
        (file, 60),
        (str(file), 60),
        ("half", 30),
        (["half", "resnet18"], 30),
        (("half",), 30),
    ]:
        assert metric(run, "accuracy", relation).fetchall()[0][0] == n


def refused(
    con: duckdb.DuckDBPyConnection, error: type[Exception], match: str, *args: object, **values: object
) -> None:
    with pytest.raises(error, match=match):
        metric(con, *args, **values)  # type: ignore[arg-type]
    assert con.execute("select count(*) from resnet18").fetchall()[0] == (60,)


def test_unknown_metric(run: duckdb.DuckDBPyConnection) -> None:
    refused(run, NotFoundError, r"no metric 'acuracy'; did you mean accuracy", "acuracy", "resnet18")
    refused(run, NotFoundError, r"no metric 'wilson_low'", "wilson_low", "resnet18")
    refused(run, NotFoundError, r"no metric", "accuracy('resnet18'); drop table resnet18; --", "resnet18")


def test_unknown_parameter(run: duckdb.DuckDBPyConnection) -> None:
    refused(run, ArgumentError, r"accuracy has no parameter 'levle'; it takes level", "accuracy", "resnet18", levle=1)
    refused(run, ArgumentError, r"it takes no parameter", "confusion_matrix", "resnet18", n=1)
    refused(run, ArgumentError, r"no parameter 'rel'", "accuracy", "resnet18", rel="resnet18")


@pytest.mark.parametrize(
    ("relation", "match"),
    [
        ("resnet", r"no relation 'resnet'; did you mean resnet18"),
        ("main.resnet", r"no relation 'main.resnet'|no relation 'resnet'"),
        ("other.resnet18", r"no relation 'other.resnet18'; did you mean resnet18"),
        ("nothing at all", r"no relation"),
        ("missing.parquet", r"no relation 'missing.parquet'"),
        (["resnet18", "resnet19"], r"no relation 'resnet19'; did you mean resnet18"),
    ],
)
def test_unknown_relation(run: duckdb.DuckDBPyConnection, relation: str, match: str) -> None:
    refused(run, NotFoundError, match, "accuracy", relation)


def test_missing_column(run: duckdb.DuckDBPyConnection) -> None:
    refused(run, SchemaError, r"'images' has no column 'pred', which accuracy reads", "accuracy", "images")
    refused(run, SchemaError, r"columns of metrics are image_id, label, pred", "accuracy", "images")
    refused(run, SchemaError, r"no column 'splt'; did you mean split", "accuracy_by", "resnet18", expr="splt")


@pytest.mark.parametrize("expr", ["1, 2", "1); drop table resnet18; select (1", "1) , level := (2", "", "a /*", "-- x"])
def test_expression_is_one_expression(run: duckdb.DuckDBPyConnection, expr: str) -> None:
    refused(run, QueryError, r"expr is not one SQL expression", "accuracy_by", "resnet18", expr=expr)
    refused(run, QueryError, r"expr is not one SQL expression", "accuracy_by", "resnet18", expr=["split", expr])


def test_refused_values(run: duckdb.DuckDBPyConnection) -> None:
    refused(
        run,
        QueryError,
        r"calibration_error: .*strategy is uniform or quantile",
        "calibration_error",
        "resnet18",
        strategy="equal",
    )
    refused(
        run, ArgumentError, r"accuracy: level is a number, such as 0.95, not 'high'", "accuracy", "resnet18", "high"
    )
    refused(run, ArgumentError, r"accuracy: level must be between 0 and 1", "accuracy", "resnet18", level=95)


@pytest.mark.parametrize("text", ["'split'", " 'it''s' ", "''"])
def test_a_quoted_constant_is_no_expression(run: duckdb.DuckDBPyConnection, text: str) -> None:
    words = r"is a quoted constant, the same for every image; for the column give expr="
    refused(run, ArgumentError, words, "accuracy_by", "resnet18", expr=text)
    refused(run, ArgumentError, words, "accuracy_by", "resnet18", expr=["split", text])
    # An expression that only begins and ends with a constant is none.
    assert len(metric(run, "accuracy_by", "resnet18", expr="'a' || split || 'b'").fetchall()) > 0


def test_missing_values(run: duckdb.DuckDBPyConnection) -> None:
    refused(run, ArgumentError, r"accuracy_by needs expr: give expr=", "accuracy_by", "resnet18")


def test_wrong_types(run: duckdb.DuckDBPyConnection) -> None:
    for relation in (3, [1], None):
        refused(
            run, ArgumentError, r"a relation is a name, a list of names, or a relation of the", "accuracy", relation
        )
    for relation in ("", [], ["resnet18", " "]):
        refused(run, ArgumentError, r"has no name", "accuracy", relation)
    for expr in (3, []):
        refused(run, ArgumentError, r"expr is SQL text", "accuracy_by", "resnet18", expr=expr)
    with pytest.raises(ValueError, match="expr is SQL text"):
        metric(run, "accuracy_by", "resnet18", expr=3)


def test_a_relation_object(run: duckdb.DuckDBPyConnection) -> None:
    half = run.sql("from resnet18 where image_id < 30")
    assert metric(run, "accuracy", half).fetchall()[0][0] == 30
    assert metric(run, "mcnemar", "resnet18", baseline=half).fetchall()[0][0] == 30
    assert run.sql("select count(*) from duckdb_views() where view_name like 'given%'").fetchall() == [(0,)]
    other = duckdb.connect()
    with pytest.raises(ArgumentError, match="relation of another connection"):
        metric(run, "accuracy", other.sql("select 1 as image_id, 0 as label, 0 as pred"))
    other.close()


def test_list_metrics_without_a_file(con: duckdb.DuckDBPyConnection) -> None:
    assert sorted(list_metrics().fetchall()) == sorted(list_metrics(con).fetchall())


def test_a_connection_of_something_else() -> None:
    plain = duckdb.connect()
    with pytest.raises(SchemaError, match=r"sqlanalysis.connect"):
        list_metrics(plain)
    with pytest.raises(SchemaError, match=r"sqlanalysis.connect"):
        metric(plain, "accuracy", "t")
    plain.close()


def test_labels_that_are_text_say_so(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create table named as select 1 as image_id, 'cat' as label, 'dog' as pred")
    with pytest.raises(SchemaError, match="label and pred must be 0-based integers, one is text"):
        metric(con, "per_class", "named")
