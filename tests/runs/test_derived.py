"""Runs made of others: ensembles and temperatures as views, which every reader takes for runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy import special

import sqlanalysis
from sqlanalysis.errors import ArgumentError, NotFoundError, QueryError, SchemaError
from sqlanalysis.models.model import Model

from ..support.shells import cli as cli


def answers(seed: int) -> np.ndarray:
    """Probabilities for the 18 photos, 6 of each class, that know something about the class."""
    logits = np.random.default_rng(seed).normal(size=(18, 3)) * 2
    logits[np.arange(18), np.arange(18) // 6] += 1.5
    return special.softmax(logits, axis=1).astype(np.float32)


def add(con: duckdb.DuckDBPyConnection, run: str, probs: np.ndarray, first: int = 1, **kwargs: Any) -> None:
    ids = pa.array(range(first, first + len(probs)), pa.int64())
    sqlanalysis.add_predictions(con, pa.table({"image_id": ids, "probs": probs.tolist()}), run, **kwargs)


@pytest.fixture
def pets(tmp_path: Path, photos: Path) -> duckdb.DuckDBPyConnection:
    """18 labeled photos, answered by runs a and b; b lacks the first."""
    con = sqlanalysis.connect(tmp_path / "pets.duckdb")
    sqlanalysis.add_images(con, photos, dataset="pets")
    add(con, "a", answers(1))
    add(con, "b", answers(2)[1:], first=2)
    return con


def table(con: duckdb.DuckDBPyConnection, run: str) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray]:
    rows = con.execute(f"select image_id, pred, confidence, probs from {run} order by image_id").fetchall()
    ids, pred, confidence, probs = map(list, zip(*rows, strict=True))
    return ids, np.array(pred), np.array(confidence), np.array(probs)


@pytest.mark.parametrize("weights", [None, [3, 1]])
def test_ensemble_is_the_mean(pets: duckdb.DuckDBPyConnection, weights: list[float] | None) -> None:
    done = sqlanalysis.ensemble(pets, ["a", "b"], "mean", weights=weights)
    shares = np.array(weights or [1, 1]) / sum(weights or [1, 1])
    assert (done.n_images, done.n_ok, done.n_errors) == (18, 17, 1)
    assert [member.weight for member in done.members] == shares.tolist()
    expected = (shares[0] * answers(1) + shares[1] * answers(2))[1:]
    ids, pred, confidence, probs = table(pets, "mean")
    assert ids == list(range(2, 19))
    assert np.abs(probs - expected).max() < 1e-7
    assert pred.tolist() == expected.argmax(axis=1).tolist()
    assert confidence.tolist() == probs.max(axis=1).tolist()
    errors = pets.execute("select run, image_id, stage, error, message from errors where run is not null").fetchall()
    assert errors == [("mean", 1, "forward", "MissingMember", "no answer of b")]
    assert pets.execute("from check_database").fetchall() == []
    (form,) = pets.execute(
        "select data_type from duckdb_columns() where table_name = 'mean' and column_name = 'probs'"
    ).fetchall()[0]
    assert form == "FLOAT[3]"


def test_ties_go_to_the_lower_class(pets: duckdb.DuckDBPyConnection) -> None:
    add(pets, "left", np.array([[1.0, 0.0, 0.0]], np.float32))
    add(pets, "right", np.array([[0.0, 0.0, 1.0]], np.float32))
    sqlanalysis.ensemble(pets, ["right", "left"], "even")
    assert pets.execute("select pred, confidence from even").fetchall() == [(0, 0.5)]


def test_every_reader_takes_it_for_a_run(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    sqlanalysis.ensemble(pets, ["a", "b"], "mean")
    sqlanalysis.temperature_scale(pets, "mean", "soft", temperature=2)
    for name in (
        "accuracy",
        "proper_scores",
        "calibration_error",
        "auc",
        "topk_accuracy",
        "check_run",
        "label_issues",
    ):
        assert sqlanalysis.metric(pets, name, "soft").fetchall() is not None
    assert sqlanalysis.metric(pets, "mcnemar", "a", baseline="mean").fetchall()[0][0] == 17
    by_run = dict(pets.execute("select slice, n from accuracy_by('predictions', run)").fetchall())
    assert by_run == {"a": 18, "b": 17, "mean": 17, "soft": 17}
    page = sqlanalysis.report(pets, tmp_path / "page.html", runs=["soft", "a"]).read_text()
    assert "1 × mean at temperature 2" in page
    with pytest.raises(SchemaError, match="run 'mean' of model ensemble has no activations"):
        sqlanalysis.project(pets, "mean")
    with pytest.raises(SchemaError, match="run 'mean' exists"):
        add(pets, "mean", answers(3))


def test_temperature_scale_is_a_softmax_and_keeps_the_rest(
    con: duckdb.DuckDBPyConnection, photos: Path, tiny_model: Model
) -> None:
    sqlanalysis.add_images(con, photos, dataset="pets")
    sqlanalysis.predict(con, tiny_model, "tiny", show_progress=False)
    done = sqlanalysis.temperature_scale(con, "tiny", "soft", temperature=1.6)
    assert (done.n_images, done.n_ok, done.n_errors) == (18, 18, 0)
    _, pred, confidence, probs = table(con, "soft")
    _, before, _, given = table(con, "tiny")
    expected = special.softmax(np.log(np.maximum(given, 1.1754944e-38)) / 1.6, axis=1)
    assert np.abs(probs - expected).max() < 1e-7
    assert pred.tolist() == before.tolist()
    assert confidence.tolist() == probs.max(axis=1).tolist()
    same = "select count(*) from tiny inner join soft using (image_id) where tiny.activation = soft.activation"
    assert con.execute(same).fetchall() == [(18,)]
    assert sqlanalysis.project(con, "soft", "pca").n_images == 18
    with pytest.raises(SchemaError, match="run 'soft' is derived from other runs; cluster one of these"):
        sqlanalysis.cluster(con, "soft")
    fields = "model, weights_sha256, layer, transform::varchar, dtype, class_policy, label_space"
    assert len(con.execute(f"select distinct {fields} from runs").fetchall()) == 1
    actual = con.execute("select members from runs where run = 'soft'").fetchall()[0][0]
    assert json.loads(actual) == [{"run": "tiny", "weight": 1.0, "temperature": 1.6, "fit_on": None}]


def test_temperature_scale_fits_where_it_is_told(pets: duckdb.DuckDBPyConnection) -> None:
    done = sqlanalysis.temperature_scale(pets, "a", "calm", fit_on="image_id % 2 = 0 -- even")
    (expected,) = pets.execute(
        "with t as (from a where image_id % 2 = 0) select temperature from fit_temperature('t')"
    ).fetchall()[0]
    assert done.members[0].temperature == pytest.approx(expected, rel=1e-5)
    assert done.members[0].fit_on == "image_id % 2 = 0 -- even"
    again = sqlanalysis.temperature_scale(pets, "a", "calm", fit_on="image_id % 2 = 0 -- even")
    assert again == done
    assert sqlanalysis.temperature_scale(pets, "a", "calmer").members[0].fit_on == "true"
    softened = pets.execute("from with_temperature('a', ?) order by image_id", [done.members[0].temperature])
    probs = [row[[column[0] for column in softened.description].index("probs")] for row in softened.fetchall()]
    assert np.abs(np.array(probs) - table(pets, "calm")[3]).max() < 1e-7


def test_a_calibrated_ensemble_of_ensembles(pets: duckdb.DuckDBPyConnection) -> None:
    add(pets, "c", answers(3))
    sqlanalysis.temperature_scale(pets, "a", "cool", temperature=0.5)
    sqlanalysis.ensemble(pets, ["cool", "b"], "two")
    sqlanalysis.ensemble(pets, ["two", "c"], "three", weights=[2, 1])
    cool = special.softmax(2 * np.log(answers(1)[1:].astype(float)), axis=1)
    expected = (cool + answers(2)[1:] + answers(3)[1:]) / 3
    assert np.abs(table(pets, "three")[3] - expected).max() < 1e-6
    with pytest.raises(SchemaError, match="run 'two' is a member of 'three'; drop the derived run first"):
        sqlanalysis.ensemble(pets, ["three", "b"], "two", overwrite=True)
    assert pets.execute("from check_database").fetchall() == []


def test_members_grow_and_counts_follow(con: duckdb.DuckDBPyConnection, photos: Path, tiny_model: Model) -> None:
    sqlanalysis.add_images(con, photos, dataset="pets")
    sqlanalysis.predict(con, tiny_model, "one", where="label = 0", show_progress=False)
    sqlanalysis.predict(con, tiny_model, "two", show_progress=False)
    sqlanalysis.ensemble(con, ["one", "two"], "mean")
    sqlanalysis.temperature_scale(con, "mean", "soft", temperature=2)
    counts = "select n_images, n_ok, n_errors from runs where run in ('mean', 'soft') order by run"
    assert con.execute(counts).fetchall() == [(18, 6, 12), (18, 6, 12)]
    sqlanalysis.predict(con, tiny_model, "one", show_progress=False)
    assert con.execute(counts).fetchall() == [(18, 18, 0), (18, 18, 0)]
    assert con.execute("select count(*) from errors").fetchall() == [(0,)]
    assert con.execute("select count(*) from soft").fetchall() == [(18,)]


def test_another_making_is_refused(pets: duckdb.DuckDBPyConnection) -> None:
    first = sqlanalysis.ensemble(pets, ["a", "b"], "mean")
    assert sqlanalysis.ensemble(pets, ["a", "b"], "mean") == first
    with pytest.raises(SchemaError, match="run 'mean' exists and differs: members"):
        sqlanalysis.ensemble(pets, ["a", "b"], "mean", weights=[2, 1])
    assert sqlanalysis.ensemble(pets, ["a", "b"], "mean", weights=[2, 1], overwrite=True).members[0].weight == 2 / 3


def test_a_member_is_not_dropped(pets: duckdb.DuckDBPyConnection, tiny_model: Model) -> None:
    sqlanalysis.ensemble(pets, ["a", "b"], "mean")
    with pytest.raises(SchemaError, match="run 'a' is a member of 'mean'; drop the derived run first"):
        sqlanalysis.drop_run(pets, "a")
    with pytest.raises(SchemaError, match="run 'a' is a member of 'mean'"):
        sqlanalysis.predict(pets, tiny_model, "a", overwrite=True, show_progress=False)
    assert pets.execute("select count(*) from mean").fetchall() == [(17,)]
    sqlanalysis.drop_run(pets, "mean")
    sqlanalysis.drop_run(pets, "a")
    assert pets.execute("select run from runs").fetchall() == [("b",)]
    assert pets.execute("select distinct run from predictions").fetchall() == [("b",)]
    names = pets.execute(
        "select table_name from information_schema.tables where table_name in ('a', 'mean')"
    ).fetchall()
    assert names == []
    with pytest.raises(NotFoundError, match="no run 'a'"):
        sqlanalysis.drop_run(pets, "a")


def test_a_member_that_is_gone_is_named(pets: duckdb.DuckDBPyConnection) -> None:
    sqlanalysis.ensemble(pets, ["a", "b"], "mean")
    pets.execute("delete from runs where run = 'b'").fetchall()
    assert ("derived run without one of its members", "mean", 1) in pets.execute("from check_database").fetchall()


def other_classes(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("update runs set label_space = 'others' where run = 'b'").fetchall()


def other_width(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("alter table outputs.b alter probs type float[2] using probs[1:2]::float[2]").fetchall()


def other_dataset(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("update runs set dataset = 'elsewhere' where run = 'b'").fetchall()


def open_policy(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("update runs set class_policy = 'open' where run = 'b'").fetchall()


def no_probs(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("drop view b cascade; alter table outputs.b drop probs").fetchall()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_classes, "'a' and 'b' differ in label_space: pets and others"),
        (other_width, "different probabilities: FLOAT\\[3\\] and FLOAT\\[2\\]"),
        (other_dataset, "'a' and 'b' differ in dataset: pets and elsewhere"),
        (open_policy, "run 'b' has policy open"),
        (no_probs, "run 'b' has no probabilities"),
    ],
)
def test_members_must_go_together(pets: duckdb.DuckDBPyConnection, change: Any, message: str) -> None:
    change(pets)
    with pytest.raises(SchemaError, match=message):
        sqlanalysis.ensemble(pets, ["a", "b"], "mean")
    assert pets.execute("select count(*) from runs").fetchall() == [(2,)]


@pytest.mark.parametrize(
    ("members", "weights", "error", "message"),
    [
        (["a"], None, ArgumentError, "two or more different runs"),
        (["a", "a"], None, ArgumentError, "two or more different runs"),
        ("ab", None, ArgumentError, "two or more different runs"),
        (["a", "c"], None, NotFoundError, "no run 'c'"),
        (["a", "b"], [1], ArgumentError, "2 positive numbers"),
        (["a", "b"], [1, 0], ArgumentError, "2 positive numbers"),
        (["a", "b"], [1, float("nan")], ArgumentError, "2 positive numbers"),
    ],
)
def test_wrong_ensembles(
    pets: duckdb.DuckDBPyConnection, members: Any, weights: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sqlanalysis.ensemble(pets, members, "mean", weights=weights)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"temperature": 0}, ArgumentError, "positive number"),
        ({"temperature": float("nan")}, ArgumentError, "positive number"),
        ({"temperature": 2, "fit_on": "true"}, ArgumentError, "without fit_on"),
        ({"fit_on": "false"}, SchemaError, "0 images of 'a' where false: it needs labeled images"),
        ({"fit_on": "correct"}, SchemaError, "all answers are right, or no better than chance"),
        ({"fit_on": "nonsense = 1"}, QueryError, "is not a condition over the columns of 'a'"),
        ({"fit_on": "true); drop table images; --"}, QueryError, "fit_on="),
    ],
)
def test_wrong_temperatures(
    pets: duckdb.DuckDBPyConnection, values: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sqlanalysis.temperature_scale(pets, "a", "soft", **values)
    assert pets.execute("select count(*) from images").fetchall() == [(18,)]


def test_shell_and_copies_read_it(pets: duckdb.DuckDBPyConnection, shell: str, tmp_path: Path) -> None:
    sqlanalysis.ensemble(pets, ["a", "b"], "mean")
    sqlanalysis.temperature_scale(pets, "mean", "soft", temperature=2)
    expected = pets.execute("select sum(confidence) from soft").fetchall()[0][0]
    pets.close()

    def ask(file: Path, sql: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            [shell, "-json", str(file), "-c", sql], capture_output=True, text=True, check=True, timeout=60
        )
        return list(json.loads(done.stdout or "[]"))

    copy = f"attach '{tmp_path / 'pets.duckdb'}' as old (read_only); attach '{tmp_path / 'new.duckdb'}' as new; "
    ask(tmp_path / "scratch.duckdb", copy + "copy from database old to new")
    for file in ("pets", "new"):
        path = tmp_path / f"{file}.duckdb"
        assert ask(path, "select sum(confidence) as c from soft")[0]["c"] == pytest.approx(expected, abs=1e-6)
        assert ask(path, "from accuracy('soft')")[0]["n"] == 17
    attached = f"attach '{tmp_path / 'new.duckdb'}' as e (read_only); select count(*) as n from e.soft"
    assert ask(tmp_path / "scratch.duckdb", attached)[0]["n"] == 17
    with sqlanalysis.connect(tmp_path / "new.duckdb") as con:
        assert con.execute("select count(*) from mean").fetchall() == [(17,)]


def test_command_line(pets: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    pets.close()
    file = tmp_path / "pets.duckdb"
    done = cli("ensemble", file, "a", "b", "mean", "--weight", "3", "--weight", "1")
    assert "mean = 0.75 a, 0.25 b: 18 images = 17 ok + 1 that a member lacks" in done.stderr
    assert (
        "soft = a at temperature 2: 18 images"
        in cli("temperature-scale", file, "a", "soft", "--temperature", "2").stderr
    )
    fitted = cli("temperature-scale", file, "a", "calm", "--fit-on", "image_id > 2").stderr
    assert "calm = a at temperature " in fitted
    assert "fitted where image_id > 2" in fitted
    weighted = cli("metric", file, "weighted_accuracy", "mean", "weight=2", "--format", "csv").stdout
    assert weighted.splitlines()[1].startswith("17,34.0,17")
    assert "is a member of 'calm', 'soft', 'mean'" in cli("drop-run", file, "a", code=1).stderr.replace(
        "'mean', 'soft', 'calm'", "'calm', 'soft', 'mean'"
    )
    assert "mean is dropped" in cli("drop-run", file, "mean").stderr


def test_a_temperature_that_makes_zeros_matter_is_refused(pets: duckdb.DuckDBPyConnection) -> None:
    pets.execute("update outputs.a set probs = list_transform(probs, lambda p: (p = list_max(probs))::int::float)")
    with pytest.raises(SchemaError, match=r"'a' at temperature 30: .* of its probabilities are 0 as float32"):
        sqlanalysis.temperature_scale(pets, "a", "soft", temperature=30)
    assert sqlanalysis.temperature_scale(pets, "a", "soft", temperature=3).members[0].temperature == 3
