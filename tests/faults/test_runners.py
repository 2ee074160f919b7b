"""Runners that are disturbed end with the tables of one process; `spreading` has the long campaign."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

import sqlanalysis
from sqlanalysis.errors import ArgumentError, InferenceError, MissingExtraError
from sqlanalysis.runs import shards
from sqlanalysis.runs.runners import Outcome, processes
from sqlanalysis.runs.runners.chosen import Chosen
from sqlanalysis.runs.runners.processes import Processes
from sqlanalysis.runs.shards import Shard
from sqlanalysis.runs.work import work

from ..support import spread
from . import spreading
from .spreading import Set

Record = Callable[[str, str, str], None]
Scale = Callable[[int, int], int]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Set:
    """Pictures of which two are broken."""
    return spreading.make_set(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def deadly(tmp_path_factory: pytest.TempPathFactory) -> Set:
    """Pictures of which one ends every process that transforms it."""
    return spreading.make_set(tmp_path_factory.mktemp("deadly"), 24, (13,))


def test_a_runner_that_breaks_every_promise(plain: Set, deadly: Set, scale: Scale, figure: Record) -> None:
    troubles: Counter[str] = Counter()
    n = scale(6, 100)
    for seed in range(n):
        troubles += spreading.run_fake((plain, deadly)[seed % 3 == 2], seed, ("table", "parts")[seed % 2])
    asked = {"dropped", "lost", "repeated", "late", "cut off", "confused", "failed", "lost after it had finished"}
    assert asked <= set(troubles)
    figure("P19 workers", "a runner that shuffles, repeats, drops, delays: tables equal", f"{n} of {n} runs")


def test_processes_answer_to_the_bit_as_one(plain: Set, tmp_path: Path) -> None:
    """Also with stored bytes, a class map, an encoder's activations, and two contents that are equal."""
    images = tmp_path / "pictures"
    spread.make_pictures(images, 60, seed=5, broken=(9,))
    for name in ("00001", "00002"):  # one content three times
        next(images.glob(f"*/{name}.png")).write_bytes(next(images.glob("*/00000.png")).read_bytes())
    (tmp_path / "map.csv").write_text("from_class,to_class\na,b\nb,a\nc,d\n")
    model = spread.make_model(tmp_path, layer="0")
    with sqlanalysis.connect(tmp_path / "a.duckdb") as con:
        sqlanalysis.add_images(con, images, dataset="made", store_bytes=True, show_progress=False)
        options = {"class_map": tmp_path / "map.csv", "policy": "open", "show_progress": False}
        one = sqlanalysis.predict(con, model, "one", **options)
        two = sqlanalysis.predict(con, model, "two", runner="processes", workers=2, **options)
        three = sqlanalysis.predict(con, model, "three", runner="processes", workers=1, storage="parts", **options)
        expected = spread.answers(con, "one")
        assert (one.n_images, one.n_ok, one.n_errors) == (60, 59, 1)
        for done in (two, three):
            assert (done.n_images, done.n_ok, done.n_errors, done.n_outside) == (60, 59, 1, one.n_outside)
            assert spread.answers(con, done.run) == expected
        assert con.sql("select workers from runs where run in ('two', 'three') order by run").fetchall() == [(1,), (2,)]


@pytest.mark.parametrize("kind", ["kill workers", "kill the driver"])
def test_processes_that_are_killed(plain: Set, kind: str, scale: Scale, figure: Record) -> None:
    n = scale(1, 12)
    for seed in range(n):
        spreading.run_processes(plain, seed, kind)
    figure("P19 workers", f"processes, {kind}: 0 lost, 0 double", f"{n} of {n} runs")


@pytest.mark.slow
@pytest.mark.parametrize("kind", spreading.KINDS[2:])
def test_processes_whose_driver_fails(plain: Set, kind: str, scale: Scale, figure: Record) -> None:
    n = scale(1, 12)
    for seed in range(n):
        spreading.run_processes(plain, seed, kind)
    figure("P19 workers", f"processes, {kind}: 0 lost, 0 double", f"{n} of {n} runs")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "hang"])
def test_an_image_that_ends_every_worker_is_an_error(deadly: Set, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISON", how)
    monkeypatch.setattr(processes, "FIRST", 0.5)
    monkeypatch.setattr(Chosen, "_start", lambda *_: Processes(2, grace=15 if how == "hang" else 300))
    monkeypatch.setattr("sqlanalysis.runs.runners.RETRIES", 1)
    file = deadly.fresh(how)
    with sqlanalysis.connect(file) as con:
        model = spread.make_model(deadly.folder)
        sqlanalysis.predict(con, model, "net", runner="processes", show_progress=False)
        message = con.sql("select message from errors where stage = 'worker'").fetchall()[0][0]
    deadly.check(file)
    assert ("signal 9" if how == "kill" else "said nothing") in message


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_ray_answers_as_one_process(plain: Set, scale: Scale, figure: Record) -> None:
    n = scale(1, 5)
    for seed in range(n):
        spreading.run_processes(plain, seed, spreading.RAY_KINDS[seed % 3], "ray")
    figure("P19 workers", "Ray, two actors: 0 lost, 0 double", f"{n} of {n} runs")


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_ray_refuses_more_actors_than_there_are_cores(plain: Set, tmp_path: Path) -> None:
    child = spreading.start(plain, plain.fresh("many"), runner="ray", turns=1, **{"workers": 99})
    _, err = child.communicate(timeout=spreading.PATIENCE)
    assert "workers=99 need 99 CPUs" in err


class Each:
    """Computes in this process; `treat` says what becomes of each shard instead, or None."""

    n = 2

    def __init__(
        self, model: sqlanalysis.Model, treat: Callable[[Shard], Outcome | None] = lambda _shard: None
    ) -> None:
        self.model, self.treat, self.given = model, treat, list[Shard]()

    def run(self, given: Iterator[Shard]) -> Iterator[Outcome]:
        for shard in given:
            self.given.append(shard)
            treated = self.treat(shard)
            if treated is None:
                work(shard.path, shard.part, model=self.model)
            yield treated or Outcome(shard, part=shard.part)

    def close(self) -> None:
        """Nothing to end."""


def predict_by(runner: Each, file: Path, **options: object) -> tuple[sqlanalysis.Predicted, bool]:
    """The run by this runner, in 13 shards of 16 images, and whether `verify` finds it whole."""
    with (
        sqlanalysis.connect(file) as con,
        mock.patch.object(Chosen, "_start", return_value=runner),
        mock.patch.multiple(shards, TURNS=7, LEAST=1),
    ):
        done = sqlanalysis.predict(con, runner.model, "net", runner="processes", show_progress=False, **options)
        return done, sqlanalysis.verify(con, show_progress=False).ok


def test_a_shard_is_tried_again_three_times_then_halved(plain: Set) -> None:
    tries: Counter[str] = Counter()

    def treat(shard: Shard) -> Outcome | None:
        tries[shard.path] += 1
        is_bad = shard.path == runner.given[0].path and tries[shard.path] <= limit
        return Outcome(shard, lost="killed") if is_bad else None

    for limit, halved in ((3, 0), (4, 2)):
        runner = Each(spread.make_model(plain.folder), treat)
        tries.clear()
        file = plain.fresh(f"halved{limit}")
        done, _ = predict_by(runner, file)
        assert done.n_ok == len(plain.outputs)
        assert tries[runner.given[0].path] == 4
        sizes = Counter(shard.n for shard in runner.given)
        assert (sizes[16], sizes[8]) == (12 + 3, halved)
        plain.check(file)


def test_a_run_in_which_no_worker_gets_anywhere_ends_soon(plain: Set) -> None:
    runner = Each(spread.make_model(plain.folder), lambda shard: Outcome(shard, lost="no memory"))
    file = plain.fresh("nowhere")
    with pytest.raises(InferenceError, match=r"no worker has finished anything, \d+ were lost: no memory"):
        predict_by(runner, file)
    assert len(runner.given) < 30
    with sqlanalysis.connect(file) as con:
        assert con.sql("select status, n_ok, n_errors from runs").fetchall() == [("failed", 0, 0)]
    predict_by(Each(runner.model), file)
    plain.check(file)


def test_what_work_raises_ends_the_run_and_blames_no_image(plain: Set) -> None:
    def treat(shard: Shard) -> Outcome | None:
        return Outcome(shard, failed="OSError: no space left") if len(runner.given) > 5 else None

    runner = Each(spread.make_model(plain.folder), treat)
    file = plain.fresh("failed")
    with pytest.raises(InferenceError, match="OSError: no space left; what was committed stays"):
        predict_by(runner, file)
    with sqlanalysis.connect(file) as con:
        assert con.sql("select n_ok + n_errors from runs").fetchall() == [(5 * 16,)]
    again = Each(runner.model)
    predict_by(again, file)
    assert sum(shard.n for shard in again.given) == spreading.N_IMAGES - 5 * 16
    plain.check(file)


@pytest.mark.parametrize("storage", ["table", "parts"])
def test_a_late_worker_changes_no_part(plain: Set, storage: str) -> None:
    """It writes the part of a shard again that was committed meanwhile, as a partition of the network would have it."""
    kept: dict[str, bytes] = {}

    def treat(shard: Shard) -> None:
        for part in kept:
            Path(part.replace("part-", "shard-")).write_bytes(kept[part])
            work(part.replace("part-", "shard-"), part, model=runner.model)
        kept[shard.part] = Path(shard.path).read_bytes()

    runner = Each(spread.make_model(plain.folder), treat)
    file = plain.fresh(f"late{storage}")
    _, is_whole = predict_by(runner, file, storage=storage)
    assert is_whole
    plain.check(file, storage=storage)


def test_strict_stops_at_the_first_error(plain: Set) -> None:
    file = plain.fresh("strict")
    with pytest.raises(InferenceError, match="decode: ImageError"):
        predict_by(Each(spread.make_model(plain.folder)), file, strict=True)
    with sqlanalysis.connect(file) as con:
        assert con.sql("select count(*) from errors").fetchall() == [(0,)]


def test_a_stale_part_of_an_earlier_run_is_not_taken(plain: Set) -> None:
    """The run is dropped and started again with other outputs: parts that its workers still write are of other work."""
    file = plain.fresh("stale")
    first = Each(spread.make_model(plain.folder))
    first.treat = lambda shard: Outcome(shard, failed="stop") if len(first.given) > 3 else None  # type: ignore[method-assign]
    with pytest.raises(InferenceError):
        predict_by(first, file, storage="parts")
    old = [path for path in Path(f"{file}.parts").rglob("part-*") if path.is_file()]
    assert old
    with sqlanalysis.connect(file) as con:
        kept = {path.name: path.read_bytes() for path in old}
        sqlanalysis.drop_run(con, "net")

    def treat(shard: Shard) -> None:
        for name, data in kept.items():
            Path(shard.part).with_name(name).write_bytes(data)

    again = Each(first.model, treat)
    predict_by(again, file, storage="parts")
    assert sum(shard.n for shard in again.given) == spreading.N_IMAGES
    plain.check(file, storage="parts")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"runner": "procesess"}, "no runner 'procesess'; did you mean processes"),
        ({"runner": None}, "no runner None"),
        ({"workers": 2}, "give runner="),
        ({"runner": "processes", "workers": 0}, "1 or more, not 0"),
        ({"runner": "processes", "workers": True}, "1 or more, not True"),
        ({"runner": "processes", "until_width": 0.1}, "one process computes it"),
    ],
)
def test_arguments_that_are_refused(plain: Set, options: dict[str, object], words: str) -> None:
    with sqlanalysis.connect(":memory:") as con, pytest.raises(ArgumentError, match=words):
        sqlanalysis.predict(con, spread.make_model(plain.folder), **options)


def test_ray_that_is_not_installed(plain: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlanalysis.runs.runners.ray.find_spec", lambda _name: None)
    with sqlanalysis.connect(plain.fresh("missing")) as con:
        with pytest.raises(MissingExtraError, match=r"pip install sqlanalysis\[ray\]"):
            sqlanalysis.predict(con, spread.make_model(plain.folder), runner="ray", show_progress=False)
        assert con.sql("from runs").fetchall() == []


def test_a_model_that_no_worker_can_load_is_refused(plain: Set) -> None:
    model = sqlanalysis.load_model(
        spread.make_model(plain.folder).module, transform=spread.make_model(plain.folder).transform, name="mine"
    )
    with sqlanalysis.connect(plain.fresh("mine")) as con:
        with pytest.raises(ArgumentError, match="no worker can load it"):
            sqlanalysis.predict(con, model, runner="processes", show_progress=False)
        assert con.sql("from runs").fetchall() == []


def test_the_command_line_takes_a_runner(plain: Set) -> None:
    file = plain.fresh("command")
    code = f"{spread.code_of(plain.folder)}:make"
    command = ["predict", str(file), code, "--run", "net", "--runner", "processes", "--workers", "1"]
    done = subprocess.run([sys.executable, "-m", "sqlanalysis", *command], capture_output=True, text=True, check=False)
    assert f"{spreading.N_IMAGES} images" in done.stderr, done.stderr
    plain.check(file)
