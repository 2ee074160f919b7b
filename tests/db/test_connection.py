"""connect: what it installs, who can open the file, and what it refuses."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest
from statsmodels.stats.proportion import proportion_confint

import sqlanalysis
from sqlanalysis.db import catalogue, statements, templates
from sqlanalysis.errors import NotFoundError, QueryError, SchemaError


def test_everything_is_installed_and_explained(con: duckdb.DuckDBPyConnection) -> None:
    names = {row[0] for row in con.sql("select name from help").fetchall()}
    public = {each.name for each in templates.installed("tables", "views", "metrics")}
    assert public - {"outputs"} <= names
    assert con.sql("select version from schema_version").fetchall() == [(catalogue.SCHEMA_VERSION,)]
    assert con.sql("from check_database").fetchall() == []
    assert con.sql("from predictions").fetchall() == []
    assert "predictions" in names


def test_file_opens_in_the_shell(tmp_path: Path, shell: str) -> None:
    file = tmp_path / "my file.duckdb"
    with sqlanalysis.connect(file) as con:
        expected = con.sql("select name, kind from help").fetchall()
    command = [shell, "-json", str(file), "-c", "select name, kind from help"]
    actual = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert [(row["name"], row["kind"]) for row in actual] == expected


def test_row_groups_are_small(tmp_path: Path) -> None:
    with sqlanalysis.connect(tmp_path / "x.duckdb") as con:
        con.execute("create table many as select range as i from range(40000)")
        groups = con.sql("select max(row_group_id) from pragma_storage_info('many')").fetchall()
    assert groups == [(2,)]


def test_same_connection_while_open(tmp_path: Path) -> None:
    con = sqlanalysis.connect(tmp_path / "x.duckdb")
    assert sqlanalysis.connect(tmp_path / "x.duckdb") is con
    con.close()
    with sqlanalysis.connect(tmp_path / "x.duckdb") as again:
        assert again is not con
        assert again.sql("select count(*) from images").fetchall() == [(0,)]


@pytest.mark.parametrize("name", ["a-b", "select", "images", "ünïcode 'quoted'", "main", "temp", "memory", "system"])
def test_awkward_file_names(tmp_path: Path, name: str) -> None:
    for _ in range(2):
        with sqlanalysis.connect(tmp_path / f"{name}.duckdb") as con:
            assert con.sql("select count(*) from images").fetchall() == [(0,)]


@pytest.mark.parametrize("name", ["outputs", "information_schema", "pg_catalog"])
def test_names_of_schemas_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SchemaError, match=f"a file cannot be called {name}.duckdb"):
        sqlanalysis.connect(tmp_path / f"{name}.duckdb")


def test_a_file_that_was_deleted_or_replaced_is_opened_afresh(tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    con = sqlanalysis.connect(file)
    con.execute("create table mine as select 1 as x")
    file.unlink()
    with sqlanalysis.connect(file) as again:
        assert again is not con
        assert again.sql("select count(*) from duckdb_tables() where table_name = 'mine'").fetchall() == [(0,)]
    assert file.exists()
    with pytest.raises(duckdb.ConnectionException):
        con.execute("select 1")


def test_another_mode_is_refused_while_open(tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    with sqlanalysis.connect(file), pytest.raises(QueryError, match="is open for writing in this process"):
        sqlanalysis.connect(file, read_only=True)
    with sqlanalysis.connect(file, read_only=True), pytest.raises(QueryError, match="is open for reading only"):
        sqlanalysis.connect(file)


def test_an_older_file_says_to_run_init(tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    with sqlanalysis.connect(file) as con:
        con.execute("drop table deferred_columns")
        con.execute("update schema_version set catalogue = 'older'")
    with pytest.raises(SchemaError, match="was made by an older sqlanalysis; run `sqlanalysis init"):
        sqlanalysis.connect(file, read_only=True)
    sqlanalysis.connect(file).close()
    sqlanalysis.connect(file, read_only=True).close()


def test_users_own_transaction(con: duckdb.DuckDBPyConnection) -> None:
    con.begin()
    with (
        pytest.raises(QueryError, match="a transaction is open on this connection; commit or roll back first"),
        statements.transaction(con),
    ):
        pass
    con.rollback()


def test_file_that_plain_duckdb_holds_in_this_process(tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    sqlanalysis.connect(file).close()
    with duckdb.connect(str(file)), pytest.raises(QueryError, match="already open in this process"):
        sqlanalysis.connect(file)


def test_read_only(tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    with pytest.raises(NotFoundError, match=r"no file .*sqlanalysis init"):
        sqlanalysis.connect(file, read_only=True)
    sqlanalysis.connect(file).close()
    with sqlanalysis.connect(file, read_only=True) as con, pytest.raises(duckdb.Error, match="read-only"):
        con.execute("drop table images")


def test_held_by_another_process(tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    code = "import sys, sqlanalysis; con = sqlanalysis.connect(sys.argv[1]); print('open', flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        with pytest.raises(QueryError, match=rf"{re.escape(str(file))} is held by process {holder.pid} "):
            sqlanalysis.connect(file)
    finally:
        holder.communicate("\n")
    sqlanalysis.connect(file).close()


def test_files_that_are_not_ours(tmp_path: Path) -> None:
    text, other, folder = tmp_path / "text.duckdb", tmp_path / "other.duckdb", tmp_path / "folder"
    text.write_text("hello" * 1000)
    with duckdb.connect(str(other)) as con:
        con.execute("create table mine as select 1 as x")
    folder.mkdir()
    table = tmp_path / "table.csv"
    table.write_text("a,b,c,d\n1,2,3,4\n")
    for path, error, message in [
        (text, SchemaError, "is not a DuckDB file"),
        (table, SchemaError, "is not a DuckDB file"),
        (other, SchemaError, "was not made by sqlanalysis"),
        (folder, NotFoundError, "is a folder; name a file"),
        (tmp_path / "no" / "x.duckdb", NotFoundError, "no folder"),
    ]:
        with pytest.raises(error, match=message):
            sqlanalysis.connect(path)
    with duckdb.connect(str(other)) as con:
        assert con.sql("from mine").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        (99, f"has schema version 99, this is version {catalogue.SCHEMA_VERSION}; upgrade sqlanalysis"),
        (1, "was made by a development version .*; make it again"),
    ],
)
def test_other_schema_version(tmp_path: Path, version: int, advice: str) -> None:
    file = tmp_path / "x.duckdb"
    with sqlanalysis.connect(file) as con:
        con.execute("update schema_version set version = ?", [version])
    with pytest.raises(SchemaError, match=advice):
        sqlanalysis.connect(file)


def test_old_macros_are_replaced(tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    with sqlanalysis.connect(file) as con:
        con.execute("create or replace macro accuracy(rel) as table select 'old' as accuracy")
        con.execute("comment on macro table accuracy is 'accuracy: Old.\naccuracy(rel)\nfrom accuracy(1)'")
        con.execute("create macro mine() as 1")
        con.execute("create schema if not exists outputs; create table outputs.mine (image_id bigint, sha256 varchar)")
        con.execute(
            "alter table outputs.mine add column pred integer; alter table outputs.mine add column confidence float"
        )
        con.execute("insert into runs (run, dataset, model, class_policy, status) values ('mine', 'x', 'x', 'x', 'x')")
        con.execute("create view mine as select 'old' as x")
        con.execute("update schema_version set catalogue = 'old'")
    with sqlanalysis.connect(file) as con:
        assert con.sql("select n from accuracy('predictions')").fetchall() == [(0,)]
        assert con.sql("from mine").columns[:2] == ["image_id", "dataset"]
        assert con.sql("select description is null from help where name = 'accuracy'").fetchall() == [(False,)]
        assert con.sql("select mine()").fetchall() == [(1,)]


def test_transaction_is_all_or_nothing(con: duckdb.DuckDBPyConnection) -> None:
    def fail() -> None:
        with statements.transaction(con):
            statements.execute(con, "insert_label_space", ["x", 1])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert con.sql("from label_spaces").fetchall() == []


def test_execute_takes_one_statement_and_says_which_failed(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(QueryError, match="create_chosen"):
        statements.execute(con, "create_chosen", {"dataset": "x"}, where="nope = 1")
    with pytest.raises(QueryError, match="renders to 2 statements"):
        statements.execute(con, "create_chosen", {"dataset": "x"}, where="true); select (1")


def test_python_variables_are_not_tables(con: duckdb.DuckDBPyConnection) -> None:
    import pandas as pd

    frame = pd.DataFrame({"x": [1]})
    with pytest.raises(duckdb.CatalogException, match="frame"):
        con.execute("from frame").fetchall()
    assert len(frame) == 1


@pytest.mark.parametrize("error", [duckdb.InterruptException("stop"), RuntimeError("Query interrupted")])
def test_an_interrupted_query_is_a_keyboard_interrupt(error: Exception) -> None:
    class Busy:
        def extract_statements(self, sql: str) -> list[object]:
            return [object()]

        def execute(self, *_: object) -> None:
            raise error

    with pytest.raises(KeyboardInterrupt):
        statements.fetch(Busy(), "count_objects")
    with pytest.raises(RuntimeError, match="another"), statements.interrupts():
        raise RuntimeError("another")


def test_image_functions(con: duckdb.DuckDBPyConnection, photos: Path) -> None:
    path = str(photos / "cat" / "0.jpg")
    row = con.execute(
        "select image_size(image), thumbnail(image)[:4] from (select {'bytes': null::blob, 'path': ?} as image)", [path]
    ).fetchall()
    assert row == [({"width": 240, "height": 200}, b"RIFF")]
    nothing = con.execute("select image_size({'bytes': null::blob, 'path': '/none'}), thumbnail(null)").fetchall()
    assert nothing == [(None, None)]


def test_duckdb_draws_no_progress_bar_of_its_own(con: duckdb.DuckDBPyConnection) -> None:
    actual = con.sql("select name, value from duckdb_settings() where name = 'enable_progress_bar'").fetchall()
    assert actual == [("enable_progress_bar", "false")]


def test_what_was_changed_in_the_file_is_restored_or_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "x.duckdb"
    sqlanalysis.connect(file).close()
    forged = "create or replace macro wilson_low(k, n, level) as 0.99"
    for spoil in (forged, "drop view check_database", "drop macro table accuracy_by"):
        with duckdb.connect(file) as con:
            con.execute(spoil)
        caplog.clear()
        with sqlanalysis.connect(file, read_only=True) as con:
            low = con.sql("select wilson_low(3, 10, 0.95)").fetchall()[0][0]
            assert low == pytest.approx(proportion_confint(3, 10, method="wilson")[0])
            con.sql("from check_database").fetchall()
        assert "those of the package are used" in caplog.text
        caplog.clear()
        sqlanalysis.connect(file).close()
        assert "had been changed or dropped; restored" in caplog.text
        caplog.clear()
        sqlanalysis.connect(file).close()
        sqlanalysis.connect(file, read_only=True).close()
        assert caplog.text == ""


@pytest.mark.parametrize(
    ("own", "kind"),
    [
        ("create macro accuracy(rel) as table select 1 as mine", "table macro"),
        ("create macro wilson_low(a) as a", "macro"),
        ("create view comparable as select 1 as mine", "view"),
        ("create table comparable as select 1 as mine", "table"),
    ],
)
def test_an_upgrade_does_not_replace_what_is_the_user_s(own: str, kind: str, tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    sqlanalysis.connect(file).close()
    name = own.split("(")[0].split()[2]
    with duckdb.connect(file) as con:  # as a version that had no object of this name left it
        con.execute(f"drop {'view' if name == 'comparable' else kind.replace('table macro', 'macro table')} {name}")
        con.execute(own)
        con.execute("update schema_version set catalogue = 'old', package = '0.0.1'")
        before = con.sql("select sql from duckdb_views() where view_name = 'comparable'").fetchall()
    with pytest.raises(SchemaError, match=rf"has a {kind} '{name}' of yours, and this version of sqlanalysis has a"):
        sqlanalysis.connect(file)
    sqlanalysis.connect(file, read_only=True).close()  # it is only put aside
    with duckdb.connect(file) as con:
        assert con.sql("select sql from duckdb_views() where view_name = 'comparable'").fetchall() == before
        con.execute(f"drop {kind.replace('table macro', 'macro table')} {name}")
    with sqlanalysis.connect(file) as con:
        assert con.sql("from comparable").fetchall() == []
        assert con.sql("select catalogue, package from schema_version").fetchall() == [
            (catalogue.fingerprint(), importlib.metadata.version("sqlanalysis"))
        ]


def test_what_a_newer_version_installed_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "x.duckdb"
    sqlanalysis.connect(file).close()
    with duckdb.connect(file) as con:
        con.execute("create or replace macro wilson_low(k, n, level) as 'newer'")
        con.execute("update schema_version set catalogue = 'newer', package = '12.0.1'")
    for read_only in (False, True):
        caplog.clear()
        with sqlanalysis.connect(file, read_only=read_only) as con:
            with ThreadPoolExecutor(1) as pool:
                other = pool.submit(sqlanalysis.connect, file, read_only=read_only).result()
            for each in (con, other):  # numbers come from this version's
                low = each.sql("select wilson_low(3, 10, 0.95)").fetchall()[0][0]
                assert low == pytest.approx(proportion_confint(3, 10, method="wilson")[0])
            with pytest.raises(NotFoundError, match="no finished run"):
                sqlanalysis.report(con, tmp_path / "o.html")
        assert "written by sqlanalysis 12.0.1, newer than this" in caplog.text
    with duckdb.connect(file) as con:
        assert con.sql("select wilson_low(3, 10, 0.95)").fetchall() == [("newer",)]
        assert con.sql("select catalogue from schema_version").fetchall() == [("newer",)]


def test_another_list_of_parameters_hides_nothing(tmp_path: Path) -> None:
    """A second overload, found before the package's own, is a change; a function and a table macro are two things."""
    file = tmp_path / "x.duckdb"
    sqlanalysis.connect(file).close()
    text = templates.find("class_purity").text
    forged = text.replace("class_purity(", "class_purity() as table (select 1 as forged), (", 1)
    with duckdb.connect(file) as con:
        con.execute(forged)
        con.execute("create macro accuracy(x) as x + 1")
    with sqlanalysis.connect(file) as con:
        with pytest.raises(duckdb.Error):
            con.sql("from class_purity()").fetchall()
        assert con.sql("select accuracy(1)").fetchall() == [(2,)]


def test_dropped_views_of_runs_come_back(tmp_path: Path, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "x.duckdb"
    with sqlanalysis.connect(file) as con:
        sqlanalysis.add_images(con, photos)
        rows = con.sql("select uri as path, label as pred, 0.5 as confidence from images").to_arrow_table()
        sqlanalysis.add_predictions(con, rows, "first")
    with duckdb.connect(file) as con:
        con.execute("drop view predictions")
        con.execute("drop view first")
        con.execute("create view mine as select 7 as x")
    sqlanalysis.connect(file, read_only=True).close()
    assert "has no view of the runs first" in caplog.text
    with sqlanalysis.connect(file) as con:
        assert con.sql("select count(*), sum(correct::int) from first").fetchall() == [(18, 18)]
        assert con.sql("select accuracy from accuracy('predictions')").fetchall() == [(1.0,)]
        assert con.sql("from mine").fetchall() == [(7,)]
    assert "predictions, first had been changed or dropped; restored" in caplog.text


def test_a_table_that_became_a_view_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    sqlanalysis.connect(file).close()
    with duckdb.connect(file) as con:
        con.execute("drop table classes")
        con.execute("create view classes as select 'x' as label_space, 0 as class, 'y' as name, null as wnid")
    for read_only in (True, False):
        with pytest.raises(SchemaError, match="classes is a view, not the table"):
            sqlanalysis.connect(file, read_only=read_only)


@pytest.mark.parametrize("name", ["sqrt", '"+"', "list_value"])
def test_a_macro_in_the_place_of_a_function_of_duckdb_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    sqlanalysis.connect(file).close()
    with duckdb.connect(file) as con:
        con.execute(f"create macro {name}(a, b := 1) as 0")
        con.execute("create macro my_own(a) as a")
    with pytest.raises(SchemaError, match=f"own functions: {re.escape(name.strip(chr(34)))};"):
        sqlanalysis.connect(file)


def test_other_threads_get_a_cursor(tmp_path: Path) -> None:
    file = tmp_path / "x.duckdb"
    con = sqlanalysis.connect(file)
    assert sqlanalysis.connect(file) is con
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(sqlanalysis.connect, file).result()
        assert other is not con
        other.execute("create table seen(i integer)")
        assert con.sql("select count(*) from seen").fetchall() == [(0,)]
        slow = pool.submit(
            lambda: con.execute("select count(*) from range(300000000) t(i) where hash(i) % 7 = 0").fetchall()
        )
        time.sleep(0.2)
        beside = sqlanalysis.connect(file)  # while the other thread uses the connection
        assert beside.sql("select count(*) from seen").fetchall() == [(0,)]
        assert slow.result()[0][0] > 0


def test_a_copy_of_the_file_alone_is_whole(tmp_path: Path, photos: Path) -> None:
    con = sqlanalysis.connect(tmp_path / "x.duckdb")
    sqlanalysis.add_images(con, photos)
    shutil.copy(tmp_path / "x.duckdb", tmp_path / "copy.duckdb")
    with sqlanalysis.connect(tmp_path / "copy.duckdb", read_only=True) as copied:
        n = con.sql("select count(*) from images").fetchall()
        assert copied.sql("select count(*) from images").fetchall() == n
        assert n[0][0] > 0


def test_verify_names_what_no_verb_writes(tmp_path: Path, photos: Path) -> None:
    con = sqlanalysis.connect(tmp_path / "x.duckdb")
    sqlanalysis.add_images(con, photos)
    rows = con.sql("select uri as path, label as pred, 0.5 as confidence from images").to_arrow_table()
    for run in ("doubled", "beyond", "gone"):
        sqlanalysis.add_predictions(con, rows, run)
    con.execute("insert into outputs.doubled from outputs.doubled limit 2")
    con.execute("update outputs.beyond set pred = 77, confidence = 2.5 where image_id = 1")
    con.execute("drop view predictions")
    con.execute("drop table outputs.gone cascade")
    found = {(problem, run): n for problem, run, n in sqlanalysis.verify(con, show_progress=False).tables}
    assert found["image with several outputs", "doubled"] == 2
    assert found["prediction that is no class", "beyond"] == 1
    assert found["confidence that is no probability", "beyond"] == 1
    assert found["run without its table", "gone"] == 1
    for run in ("gone", "doubled", "beyond"):
        sqlanalysis.drop_run(con, run)
    assert sqlanalysis.verify(con, show_progress=False).ok


def test_a_new_installation_reads_the_same_in_every_file() -> None:
    found = [catalogue._install_anew() for _ in range(5)]
    assert all(one == found[0] for one in found)


def test_the_kept_digests_are_those_of_a_new_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are computed once, and taken from nobody else; a forged macro is found with them as without."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "x.duckdb"
    computed = []
    install = catalogue._install_anew
    monkeypatch.setattr(catalogue, "_install_anew", lambda: computed.append(1) or install())

    def fresh() -> catalogue.Objects:
        catalogue._fresh.cache_clear()
        return catalogue._fresh()

    expected = fresh()
    assert fresh() == expected == install()
    assert len(computed) == 1
    (kept,) = (tmp_path / "cache" / "sqlanalysis").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    forged = kept.read_text().replace(expected["macro", "wilson_low"], "0" * 64)
    for spoil in (
        lambda: kept.write_text("[1, 2"),
        lambda: kept.write_text('{"a": 1}'),
        lambda: (kept.write_text(forged), kept.chmod(0o666)),
        lambda: ((tmp_path / "else.json").write_text(forged), kept.symlink_to(tmp_path / "else.json")),
        lambda: (kept.write_text(forged), kept.parent.chmod(0o777)),
    ):
        spoil()
        assert fresh() == expected
        kept.parent.chmod(0o700)
        kept.unlink(missing_ok=True)
    sqlanalysis.connect(file).close()
    with duckdb.connect(file) as con:
        con.execute("create or replace macro wilson_low(k, n, level) as 0.99")
    fresh()
    with sqlanalysis.connect(file, read_only=True) as con:
        assert con.sql("select wilson_low(3, 10, 0.95) < 0.11").fetchall() == [(True,)]
    catalogue._fresh.cache_clear()
