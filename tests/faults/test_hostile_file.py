"""An evaluation file with every trick of a stranger, opened by every verb: nothing leaks, acts, lies or runs away."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import sqlanalysis
from sqlanalysis import cli
from sqlanalysis.core import deadline, talk

Record = Callable[[str, str, str], None]
Scale = Callable[[int, int], int]
SECRET = "TOPSECRET_TOKEN"
ESCAPE = "\x1b[31m\x1b]0;owned\x07\u202e"
HTML = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


@dataclass(frozen=True)
class Place:
    """Where the stranger's file lies, with what is the reader's: a secret, a private picture, a port that listens."""

    folder: Path
    secret: Path
    private: Path
    port: int


VIEW = (
    "image_id, 'made' as dataset, {text} as uri, null::varchar as split, 0 as label, {text} as label_name, 0 as pred, "
    "{text} as pred_name, 0.5::float as confidence, true as correct, null::float[2] as probs"
)


def view(source: str, text: str = "found.x") -> str:
    """The run's view, which reads something else."""
    return f"drop view r; create view r as select {VIEW.format(text=text)} from images, ({source}) as found(x)"


# Each trick: the SQL of a stranger, with the places of the reader put in. {s} is the secret, {p} the private picture.
TRICKS = {
    "view: read_text": view("select content from read_text('{s}')"),
    "view: read_csv": view("select column0 from read_csv('{s}', header = false)"),
    "view: read_blob": view("select content::varchar from read_blob('{s}')"),
    "view: glob": view("select file from glob('{folder}/*')"),
    "view: file as table": view("select * from '{folder}/secret.csv'"),
    "view: home folder": view("select content from read_text('~/.bashrc')"),
    "macro: http": "create macro mine(rel) as table select content as accuracy from "
    "query('select content from read_text(''http://127.0.0.1:{port}/' || rel || ''')')",
    "view: attached file": view("select path from duckdb_databases()"),
    "view: query()": view("select * from query('select content from read_text(''{s}'')')"),
    "view: Python variable": view("select * from secret_frame"),
    "view: settings and secrets": view("select name from duckdb_secrets()"),
    "view: cross join": "drop view r; create view r as select o.* from other as o, range(1000000) a, range(1000000) b",
    "view: itself": "create or replace view other as from r; create or replace view r as from other",
    "outputs: view on a file": (
        "drop table outputs.r cascade; create view outputs.r as select image_id, sha256, 0 as pred, 0.5::float as "
        "confidence, content from images, read_text('{s}')"
    ),
    "table becomes a view": (
        "create table held as from classes; drop table classes; create view classes as select * replace (content as "
        "name) from held, read_text('{s}')"
    ),
    "macro: accuracy": (
        "create or replace macro accuracy(rel, level := 0.95, groups := null, is_right := null, weight := null) as "
        "table select 6 as n, 6 as correct, 0.99 as accuracy, 0.98 as ci_low, 0.999 as ci_high, rel as run"
    ),
    "macro: accuracy twice": (
        "create or replace macro accuracy(rel) as table (select 0.99 as accuracy), (rel, level, groups, is_right, "
        "weight) as table (select 0.99 as accuracy, 0.98 as ci_low, 0.99 as ci_high)"
    ),
    "macro: _correct": "create or replace macro _correct(label, pred) as true",
    "macro: wilson_low": "create or replace macro wilson_low(k, n, level) as 0.98",
    "macro: sqrt": "create macro sqrt(x) as 0",
    "macro: +": 'create macro "+"(x, y) as 1',
    "macro: reads a file": "create macro mine(rel) as table select content as accuracy from read_text('{s}')",
    "view: check_database": "create or replace view check_database as select 'x' as problem, 'y' as object, 0 as n limit 0",
    "view: comparable": "create or replace view comparable as select 'r' as run, 'other' as baseline, true as comparable",
    "pictures: private file": "update images set uri = '{p}'",
    "pictures: devices": "update images set uri = case image_id % 3 when 0 then '/dev/zero' when 1 then '/dev/stdin' "
    "else '{folder}/pipe' end",
    "pictures: addresses": "update images set uri = 'http://127.0.0.1:{port}/' || image_id",
    "names: HTML": "update classes set name = name || '{html}'; update images set split = '{html}', uri = uri || '{html}'",
    "names: escapes": "update classes set name = name || '{escape}'; update images set split = '{escape}', meta = null",
    "names: formulas": "update classes set name = '=cmd|calc!A1' || class; update images set split = '@SUM(1)'",
    "names: 30 MB": "update classes set name = repeat('x', 30000000) where class = 0",
    "names: 100,000 of 1 kB": "insert into classes (label_space, class, name) select label_space, i, repeat('y', 1000) || i "
    "from label_spaces, range(3, 100000) as t(i)",
    "paths: 30 MB": "update images set uri = repeat('x', 30000000) where image_id = 1",
    "outputs: doubled": "insert into outputs.r from outputs.r",
    "outputs: out of range": "update outputs.r set pred = 2147483647, confidence = 2.5",
    "outputs: not a number": "update outputs.r set confidence = 'nan'",
    "outputs: gone": "drop table outputs.r cascade",
    "version: of the future": "update schema_version set package = '99.0.0', catalogue = 'x'; create or replace macro "
    "_correct(label, pred) as true",
    "version: text": "update schema_version set package = repeat('9', 1000000), catalogue = repeat('x', 1000000)",
}  # fmt: skip
# What the short form tries of each kind of trick.
SHORT = {
    "view": ("report", "check", "export csv"),
    "outputs": ("report", "check", "verify"),
    "table": ("report", "check", "verify"),
    "macro": ("check", "metric"),
    "pictures": ("report", "export", "verify"),
    "names": ("report", "check", "export"),
    "paths": ("report", "verify"),
    "version": ("check", "metric"),
}


def verbs(file: Path) -> dict[str, list[str]]:
    """Every verb that only reads, as on a command line."""
    page, table, inside = (str(file.with_name(name)) for name in ("out.html", "out.csv", "out.parquet"))
    texts: dict[str, list[str]] = {
        "report": ["report", str(file), page],
        "check": ["check", str(file), "--run", "r", "--min-accuracy", "0.9"],
        "export": ["export", str(file), "r", inside, "--images", "bytes", "--overwrite"],
        "verify": ["verify", str(file)],
        "metric": ["metric", str(file), "accuracy", "r"],
        "metric mine": ["metric", str(file), "mine", "r"],
        "compare": ["compare", str(file), "r", "other"],
        "export csv": ["export", str(file), "r", table, "--overwrite"],
        "find-images": ["find-images", str(file), "other", "--image", "1"],
        "list-metrics": ["list-metrics", str(file)],
        "query --safe": ["query", str(file), "from r", "--safe", "--format", "csv"],
    }
    return texts


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with twelve small pictures by reference, a run `r` that is right four times, and `other`."""
    folder = tmp_path_factory.mktemp("made")
    random = np.random.default_rng(0)
    for number in range(12):
        (folder / "images" / "abc"[number % 3]).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / "abc"[number % 3] / f"{number}.png")
    file = folder / "made.duckdb"
    with sqlanalysis.connect(file) as con:
        sqlanalysis.add_images(con, folder / "images", dataset="made", show_progress=False)
        rows = con.sql("select image_id, 0 as pred, 0.5 as confidence from images").to_arrow_table()
        for run in ("r", "other"):
            sqlanalysis.add_predictions(con, rows, run)
    return file


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Place, list[object]]]:
    """The reader's folder, and what knocked at its port."""
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "secret.csv").write_text(f"x\n{SECRET}\n")
    Image.new("RGB", (20, 20), (1, 2, 3)).save(tmp_path / "private.png")
    (tmp_path / "theirs").mkdir()
    knocked: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    connected, address = server.accept()
                    knocked.append(address)
                    connected.close()

        thread = threading.Thread(target=listen)
        thread.start()
        yield Place(tmp_path, tmp_path / "secret.txt", tmp_path / "private.png", server.getsockname()[1]), knocked
        over.set()
        thread.join()


def hostile(made: Path, place: Place, trick: str) -> Path:
    """A fresh copy of the file, with one trick."""
    file = place.folder / "theirs" / "e.duckdb"
    shutil.copy(made, file)
    text = TRICKS[trick]
    for name, value in {
        "{s}": str(place.secret), "{p}": str(place.private), "{folder}": str(place.folder), "{port}": str(place.port),
        "{html}": HTML, "{escape}": ESCAPE,
    }.items():  # fmt: skip
        text = text.replace(name, value)
    secret_frame = pa.table({"x": [SECRET]})  # the view finds it by its name, as it would in the reader's process
    with duckdb.connect(file) as con:
        for statement in text.split("; "):
            con.execute(statement)
    assert secret_frame.num_rows == 1
    return file


def run(arguments: list[str], seconds: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command line, in this process."""
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "argv", ["sqlanalysis", "--limit-seconds", str(seconds), *arguments])
    kept = talk.logger.handlers, talk.logger.propagate
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli._run()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        deadline.clear()
        talk.logger.handlers, talk.logger.propagate = kept
    return code, out.getvalue(), err.getvalue()


def said(code: int, out: str, err: str) -> str:
    """What a verb answered, on one line."""
    lines = [line for line in err.splitlines() if line.strip()] or out.splitlines() or [""]
    errors = [line for line in lines if line.startswith("error: ")]
    return f"exit {code}: {(errors or lines)[0][:110]}"


@pytest.mark.parametrize("trick", TRICKS)
def test_a_stranger_s_file(
    trick: str,
    made: Path,
    place: tuple[Place, list[object]],
    monkeypatch: pytest.MonkeyPatch,
    figure: Record,
    scale: Scale,
    request: pytest.FixtureRequest,
) -> None:
    where, knocked = place
    file = hostile(made, where, trick)
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    private = where.private.read_bytes()
    wanted = {*SHORT[trick.partition(":")[0].split()[0]], *["metric mine"] * ("mine" in TRICKS[trick])}
    chosen = {name: verb for name, verb in verbs(file).items() if scale(0, 1) or name in wanted}
    lines = []
    for name, arguments in chosen.items():
        code, out, err = run(arguments, 2 if "cross" in trick else 120, monkeypatch)
        lines.append(f"| {trick} | {name} | {said(code, out, err).replace('|', '¦')} |")
        # Named before they are asserted: pytest would compare texts of many megabytes.
        is_traced, is_escaped = "Traceback" in err, "\x1b" in err
        assert code in (0, 1), (name, err[:1000])
        assert not is_traced, (name, err[:1000])
        assert not is_escaped, name
        written = [path for path in file.parent.iterdir() if path.name.startswith("out.")]
        text = out + err + "".join(path.read_bytes().decode("utf-8", "replace") for path in written)
        is_leaked = SECRET in text
        assert not is_leaked, name
        for page in written:
            if page.suffix == ".html":
                is_markup = HTML in page.read_text()
                assert not is_markup, name
                assert page.stat().st_size < 30e6
            if page.suffix == ".parquet":
                images = pq.read_table(page)["image"].to_pylist()
                assert all(image["bytes"] != private for image in images)
            page.unlink()
        if name == "check":  # four of twelve are right, whatever the file says
            assert code == 1, out[:1000]
        if name == "verify" and trick.startswith(("outputs: d", "outputs: o", "outputs: g", "pictures")):
            assert code == 1 or "are not read" in err, out[:1000]
    assert knocked == []
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before
    assert [path.name for path in file.parent.iterdir()] == ["e.duckdb"]
    assert sorted(path.name for path in where.folder.iterdir()) == ["private.png", "secret.csv", "secret.txt", "theirs"]
    request.node.user_properties.extend(("hostile", line) for line in lines)
    promise = "P26 gate" if trick.startswith(("macro", "version")) else "P25 stranger"
    figure(promise, f"{trick}: nothing read, sent, changed or passed", f"{len(chosen)} of {len(chosen)} verbs")
