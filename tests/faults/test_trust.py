"""What comes from others cannot act: strings, SQL in a safe connection, checkpoints; and nothing private leaves."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

import sqlanalysis
from sqlanalysis.db import templates
from sqlanalysis.errors import InferenceError, QueryError, SQLAnalysisError

from . import harness
from .harness import Quiet

Record = Callable[[str, str, str], None]
Scale = Callable[[int, int], int]
_ENDS = ["'", '"', "'); ", '"); ', "' or 1=1; ", "*/ ", "$$", "]", "}}", "\\"]
_ACTS = [
    "drop table images; --", "delete from images", "update images set label = 0 --", "create table pwned (a int)",
    "attach 'x.db'; --", "copy images to 'pwned.csv'; --", "{{ cycler.__init__.__globals__.os.popen('touch PWNED') }}",
    "{{7*7}}", "{% for i in range(10) %}x{% endfor %}", "union all select 1",
]  # fmt: skip
STRINGS = [end + act for end in _ENDS for act in _ACTS] + [
    "", " ", "\x00", "%s", "?", "$1", "images--", "a.b.c", "information_schema.tables", "we\"ird; drop table x;--",
    "x" * 100_000, "\ud800", "\u202e", "𝟙", "null", "../../etc/passwd", "-rf", "~root",
]  # fmt: skip


def fingerprint(con: duckdb.DuckDBPyConnection) -> list[tuple[object, ...]]:
    """Every object of the file, with the number and the hash of the rows of every table."""
    tables = con.sql("select schema_name, table_name from duckdb_tables() where not temporary order by all").fetchall()
    kept = [
        (schema, table, *con.sql(f'select count(*), bit_xor(hash(t)) from "{schema}"."{table}" t').fetchall()[0])
        for schema, table in tables
    ]
    views = con.sql("select view_name, sql from duckdb_views() where not internal order by all").fetchall()
    return [*kept, *views]


def test_hostile_strings_change_nothing(
    quiet: Quiet, tmp_path: Path, figure: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through every entry point that takes text: it is a value, a name that does not exist, or an error."""
    monkeypatch.chdir(tmp_path)
    file = quiet.fresh(tmp_path / "work.duckdb")
    harness.finish(quiet, file)
    con = sqlanalysis.connect(file)
    before = fingerprint(con)
    entries: dict[str, Callable[[str], object]] = {
        "metric": lambda s: sqlanalysis.metric(con, s, "means").fetchall(),
        "relation": lambda s: sqlanalysis.metric(con, "accuracy", s).fetchall(),
        "relations": lambda s: sqlanalysis.metric(con, "accuracy", ["means", s]).fetchall(),
        "value": lambda s: sqlanalysis.metric(con, "calibration_error", "means", strategy=s).fetchall(),
        "expr": lambda s: sqlanalysis.metric(con, "accuracy_by", "means", expr=s).fetchall(),
        "cols": lambda s: sqlanalysis.metric(con, "slices", "means", cols=[s]).fetchall(),
        "parameter": lambda s: sqlanalysis.metric(con, "accuracy", "means", **{s: 1}).fetchall(),
        "source": lambda s: sqlanalysis.add_images(con, s, show_progress=False),
        "predictions": lambda s: sqlanalysis.add_predictions(con, s, "other"),
        "run": lambda s: sqlanalysis.add_predictions(con, "means", s),
        "data set": lambda s: sqlanalysis.add_predictions(con, "means", "other", dataset=s),
        "report": lambda s: sqlanalysis.report(con, tmp_path / "page.html", runs=[s]),
        "slice": lambda s: sqlanalysis.report(con, tmp_path / "page.html", "means", slices=[s]),
        "template": lambda s: templates.render(s),
    }
    refused = tried = 0
    for name, call in entries.items():
        for text in STRINGS:
            tried += 1
            try:
                call(text)
            except (SQLAnalysisError, TypeError):
                refused += 1
            except UnicodeEncodeError:
                assert text == "\ud800"
                refused += 1
            except Exception as error:
                pytest.fail(f"{name} {text[:60]!r}: {type(error).__name__}: {error}")
        assert fingerprint(con) == before, name
    con.close()
    assert {path.name for path in tmp_path.iterdir()} <= {"work.duckdb", "work.duckdb.wal"}
    assert refused > tried // 2
    figure(
        "P15 templates", "100 strings x every entry: tables unchanged", f"{len(STRINGS)} x {len(entries)}: unchanged"
    )


def test_hostile_labels_are_data(tmp_path: Path, figure: Record) -> None:
    """The same strings as class names, splits and other columns come back as they went in."""
    import pyarrow as pa
    from PIL import Image

    texts = [text for text in STRINGS if text.strip() and "\ud800" not in text and len(text) < 1000]
    for number in range(len(texts)):
        Image.new("RGB", (8, 8 + number)).save(tmp_path / f"{number}.png")
    paths = [str(tmp_path / f"{number}.png") for number in range(len(texts))]
    with sqlanalysis.connect(tmp_path / "work.duckdb") as con:
        table = pa.table({"path": paths, "label": texts, "split": texts, "note": texts})
        sqlanalysis.add_images(con, table, dataset="made", show_progress=False)
        rows = con.sql(
            "select images.uri, classes.name, images.split, images.meta ->> 'note' from images "
            "inner join classes on images.label = classes.class"
        ).fetchall()
        assert {row[0]: row[1:] for row in rows} == {p: (t, t, t) for p, t in zip(paths, texts, strict=True)}
        assert con.sql("from check_database").fetchall() == []
    figure("P13 labels", "hostile class names, splits, columns are data", f"{len(texts)} of {len(texts)} round-trip")


PROBES = [
    "from read_text('/etc/hostname')", "from read_csv('/etc/passwd')", "from '../outside.csv'", "from glob('/etc/*')",
    "copy images to 'pwned.csv'", "attach 'pwned.duckdb'", "export database 'pwned'", "install httpfs",
    "load 'pwned.duckdb_extension'", "from 'https://example.org/a.parquet'", "set enable_external_access = true",
    "set allowed_directories = ['/']", "set lock_configuration = false", "set temp_directory = '/tmp/pwned'",
    "create persistent secret s (type s3)", "import database '/tmp'", "pragma enable_profiling = 'json'",
    "set home_directory = '/root'", "from '~/x.csv'", "from read_blob('~/*')",
]  # fmt: skip


def test_a_safe_connection_reaches_nothing_else(
    quiet: Quiet, tmp_path: Path, figure: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outside.csv").write_text("a\n1\n")
    file = quiet.fresh(tmp_path / "work.duckdb")
    harness.finish(quiet, file)
    con = sqlanalysis.connect(file, safe=True)
    frame = [1]  # a Python variable that a statement could name
    for probe in [*PROBES, "from frame"]:
        with pytest.raises(duckdb.Error):
            con.execute(probe).fetchall()
    assert frame == [1]
    secret = str(next(quiet.images.rglob("*.png")))
    assert con.sql(f"select image_size({{'bytes': null, 'path': '{secret}'}})").fetchall() == [(None,)]
    assert sqlanalysis.metric(con, "accuracy", "means").fetchall()[0][0] == harness.N_IMAGES
    con.sql("select count(*) from means").fetchall()
    with pytest.raises(QueryError, match="close that connection"):
        sqlanalysis.connect(file)
    con.close()
    with sqlanalysis.connect(file) as con:
        assert con.sql("select count(*) from read_csv('outside.csv')").fetchall() == [(1,)]
        with pytest.raises(QueryError, match="close that connection"):
            sqlanalysis.connect(file, safe=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside.csv", "work.duckdb"]
    for text, code in (("from read_text('/etc/hostname')", 1), ("select count(*) as n from means", 0)):
        command = [sys.executable, "-m", "sqlanalysis", "query", file, text, "--safe", "--format", "csv"]
        assert subprocess.run(command, capture_output=True).returncode == code
    command[4:5] = [str(file), "delete from images"]
    assert subprocess.run([*command[:5], "delete from images", "--safe"], capture_output=True).returncode == 1
    figure("P16 safe", "every probe has the stated result", f"{len(PROBES) + 1} of {len(PROBES) + 1} refused")


class Evil:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, act: Callable[..., object], *given: object) -> None:
        self.act, self.given = act, given

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.act, self.given


def test_no_checkpoint_runs_code(tmp_path: Path, figure: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    acts: list[Evil] = [
        Evil(os.system, "touch PWNED"), Evil(exec, "open('PWNED', 'w')"), Evil(eval, "open('PWNED', 'w')"),
        Evil(subprocess.call, ["touch", "PWNED"]), Evil(open, "PWNED", "w"), Evil(Path.touch, Path("PWNED")),
        Evil(shutil.copy, __file__, "PWNED"), Evil(os.mkdir, "PWNED"), Evil(__import__, "antigravity"),
        Evil(os.symlink, "/etc/passwd", "PWNED"),
    ]  # fmt: skip
    for number, act in enumerate(acts):
        for form in ("zip", "bare"):
            file = tmp_path / f"{number}.pth"
            if form == "zip":
                torch.save({"weight": act}, file)
            else:
                file.write_bytes(pickle.dumps({"weight": act}))
            with pytest.raises(InferenceError, match="trust_pickle|holds no state dict"):
                sqlanalysis.load_model("squeezenet1_1", file, classes=3)
            assert not os.path.lexists("PWNED")
            assert "antigravity" not in sys.modules
    disguised = tmp_path / "evil.safetensors"
    disguised.write_bytes(pickle.dumps(acts[0]))
    with pytest.raises(InferenceError):
        sqlanalysis.load_model("squeezenet1_1", disguised, classes=3, trust_pickle=True)
    assert not os.path.lexists("PWNED")
    figure("P14 models", "0 of 10 malicious checkpoints run", f"0 of {2 * len(acts) + 1}")


def test_a_trusted_pickle_is_recorded(tmp_path: Path, photos: Path) -> None:
    import torch
    from torchvision import models

    module = models.squeezenet1_1(weights=None, num_classes=3)
    torch.save(module, tmp_path / "whole.pth")
    with sqlanalysis.connect(tmp_path / "work.duckdb") as con:
        sqlanalysis.add_images(con, photos, show_progress=False)
    command = [sys.executable, "-m", "sqlanalysis", "predict", tmp_path / "work.duckdb", "squeezenet1_1"]
    (tmp_path / "names.txt").write_text("cat\ndog\nowl\n")
    command += ["--weights", tmp_path / "whole.pth", "--classes", tmp_path / "names.txt"]
    for more, trusted in ([], False), (["--trust-pickle", "--overwrite"], True):
        # Of a pickled module the weights are read without running its code; only trust builds the module itself.
        done = subprocess.run([*command, *more], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with sqlanalysis.connect(tmp_path / "work.duckdb") as con:
            assert con.sql("select trusted_pickle, n_ok from runs").fetchall() == [(trusted, 18)]


def test_verify_finds_every_change(quiet: Quiet, tmp_path: Path, scale: Scale, figure: Record) -> None:
    folder = tmp_path / "images"
    shutil.copytree(quiet.images, folder)
    if scale(0, 1):
        for number in range(3):
            shutil.copytree(quiet.images, folder / f"more{number}")
    with sqlanalysis.connect(tmp_path / "work.duckdb") as con:
        done = sqlanalysis.add_images(con, folder, dataset="made", show_progress=False)
        assert sqlanalysis.verify(con, show_progress=False).images == []
        paths = sorted(folder.rglob("*.png"))
        chosen = paths[:: 1 if scale(0, 1) else 5][:1000]
        changed = set()
        for number, (path, other) in enumerate(zip(chosen[::2], chosen[1::2], strict=False)):
            status, changed = path.stat(), changed | {path, other}
            if number % 6 == 0:  # same size, same time, one bit
                data = bytearray(path.read_bytes())
                data[len(data) // 2] ^= 1
                path.write_bytes(data)
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
                other.unlink()
            elif number % 6 == 1:
                data = path.read_bytes()
                path.write_bytes(other.read_bytes())
                other.write_bytes(data)
            elif number % 6 == 2:
                path.unlink()
                path.symlink_to(paths[-1])
                other.write_bytes(b"")
            elif number % 6 == 3:
                path.unlink()
                path.mkdir()
                other.unlink()
                os.mkfifo(other)
            elif number % 6 == 4:
                path.write_bytes(path.read_bytes() + b"\0")
                other.unlink()
                other.symlink_to(other)
            else:
                path.write_bytes(path.read_bytes()[:-1])
                other.rename(other.with_suffix(".gone"))
        verified = sqlanalysis.verify(con, show_progress=False)
    assert verified.n_images == done.n_added
    assert {Path(uri) for _, uri, _ in verified.images} == changed
    command = [sys.executable, "-m", "sqlanalysis", "verify", str(tmp_path / "work.duckdb")]
    printed = subprocess.run(command, capture_output=True, text=True)
    assert printed.returncode == 1
    assert sum(line.startswith("image ") for line in printed.stdout.splitlines()) == len(changed)
    figure(
        "P10 verify",
        "1,000 changed, swapped, deleted: all found, 0 false",
        f"{len(changed)} of {len(changed)}, 0 false",
    )


def test_a_flipped_bit_in_stored_bytes_is_found(quiet: Quiet, tmp_path: Path) -> None:
    with sqlanalysis.connect(tmp_path / "work.duckdb") as con:
        sqlanalysis.add_images(con, quiet.images, dataset="made", store_bytes=True, show_progress=False)
        con.execute("update image_bytes set bytes = bytes || '\\x00'::blob where image_id = 7")
        verified = sqlanalysis.verify(con, show_progress=False)
        assert [(image_id, problem) for image_id, _, problem in verified.images] == [(7, "changed")]


def test_secrets_of_addresses_are_kept_nowhere(tmp_path: Path, quiet: Quiet, figure: Record) -> None:
    token = "hunter2SECRETtoken"
    good = next(quiet.images.rglob("*.png"))
    rows = ["path,label", f"{good},cat"]
    rows += [f"https://user:{token}@example.org/a.png,cat", f"s3://bucket/b.png?X-Amz-Signature={token},cat"]
    rows += [f"https://example.org/c.png?sig={token}#{token},cat"]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(rows))
    environment = os.environ | {"AWS_SECRET_ACCESS_KEY": token, "HF_TOKEN": token}
    base = [sys.executable, "-m", "sqlanalysis"]
    file, page, printed = tmp_path / "work.duckdb", tmp_path / "page.html", ""
    (tmp_path / "preds.csv").write_text(f"path,pred_name\n{good.name},cat\n")
    for arguments in (
        ["add-images", file, manifest], ["add-predictions", file, tmp_path / "preds.csv", "--run", "other"],
        ["report", file, page], ["query", file, "from errors"], ["verify", file],
    ):  # fmt: skip
        done = subprocess.run([*base, *map(str, arguments)], capture_output=True, text=True, env=environment)
        printed += done.stdout + done.stderr
    assert page.exists(), printed
    written = {"file": file.read_bytes(), "page": page.read_bytes(), "output": printed.encode()}
    assert [name for name, data in written.items() if token.encode() in data] == []
    home = str(tmp_path).encode()
    assert home not in written["page"]
    redacted = [*base, "report", str(file), str(page), "--redact-paths"]
    assert subprocess.run(redacted, capture_output=True).returncode == 0
    with sqlanalysis.connect(file) as con:
        assert {name for (name,) in sqlanalysis.read_report(con, page).project("uri").fetchall()} == {""}
    assert good.name.encode() not in page.read_bytes()
    figure("P17 secrets", "planted tokens found 0 times", "0 in file, page, stdout and stderr")


def test_files_have_the_users_umask(quiet: Quiet, tmp_path: Path) -> None:
    file = quiet.fresh(tmp_path / "work.duckdb")
    harness.finish(quiet, file)
    for umask, expected in (("022", 0o644), ("077", 0o600)):
        page, fresh = tmp_path / f"page{umask}.html", tmp_path / f"new{umask}.duckdb"
        shell = (
            f"umask {umask}; {sys.executable} -m sqlanalysis report {file} {page} && "
            f"{sys.executable} -m sqlanalysis init {fresh}"
        )
        subprocess.run(shell, shell=True, check=True, capture_output=True)
        assert page.stat().st_mode & 0o777 == expected
        assert fresh.stat().st_mode & 0o777 == expected


def test_templates_run_in_a_sandbox() -> None:
    for text in (
        "{{ cycler.__init__.__globals__ }}",
        "{{ lipsum.__globals__['os'] }}",
        "{% for i in range(10**9) %}{% endfor %}",
    ):
        environment = templates._environment() if callable(templates._environment) else templates._environment
        with contextlib.suppress(AttributeError), pytest.raises(Exception, match="(?i)unsafe|undefined|range|security"):
            environment.from_string(text).render()
