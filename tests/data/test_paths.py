"""Which image a path means: as written, relative, by its end; what is ambiguous or absent says what would match."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from sqlanalysis.data.paths import STEPS, describe_steps, match_paths
from sqlanalysis.db.statements import registered

Match = tuple[int | None, str | None, str | None]


def fill(con: duckdb.DuckDBPyConnection, uris: list[str], source: str = "/data/set") -> None:
    """Rows of images, whose files need not be there."""
    con.execute("insert into datasets (dataset, source) values ('set', ?)", [source])
    with registered(con, "given", pa.table({"uri": uris, "image_id": np.arange(1, len(uris) + 1)})):
        con.execute(
            "insert into images (image_id, dataset, uri, sha256, n_bytes, format, width_px, height_px) "
            "select image_id, 'set', uri, '', 1, 'JPEG', 1, 1 from given"
        )


def match(con: duckdb.DuckDBPyConnection, paths: list[str], root: str = "/tables") -> dict[str, Match]:
    with registered(con, "asked", pa.table({"path": pa.array(paths, pa.string())})):
        match_paths(con, "asked", "set", Path(root))
    rows = con.sql("select path, image_id, step, problem from _found").fetchall()
    assert sorted(row[0] for row in rows) == sorted({path for path in paths if path})
    return {path: (None if problem else image_id, step, problem) for path, image_id, step, problem in rows}


URIS = [
    "/data/set/cat/0.jpg",
    "/data/set/dog/0.jpg",
    "/data/set/dog/x.tar.png",
    "/tables/own.jpg",
    "s3://bucket/a/b.jpg",
]
URIS += ["/data/set/pack.zip#owl/7.jpg", "/data/set/dog/1 a.jpg", "/data/set/dog/noend"]


@pytest.mark.parametrize(
    ("path", "image_id", "step"),
    [
        ("/data/set/cat/0.jpg", 1, "as written"),
        ("s3://bucket/a/b.jpg", 5, "as written"),
        ("/data/set/pack.zip#owl/7.jpg", 6, "as written"),
        ("file:///data/set/dog/1%20a.jpg", 7, "as written"),
        ("/data//set/./cat/0.jpg", 1, "as written"),
        ("cat/0.jpg", 1, "relative"),
        ("./cat/0.jpg", 1, "relative"),
        ("own.jpg", 4, "relative"),
        ("../data/set/dog/0.jpg", 2, "relative"),
        ("dog\\0.jpg", 2, "back slashes"),
        ("C:\\me\\set\\dog\\0.jpg", 2, "back slashes"),
        ("set/cat/0.jpg", 1, "end"),
        ("x.tar.png", 3, "end"),
        ("owl/7.jpg", 6, "end"),
        ("cat/0", 1, "without ending"),
        ("x.tar", 3, "without ending"),
        ("noend", 8, "end"),
        ("/cluster/user/set/cat/0.jpg", 1, "other root"),
        ("/cluster/user/cat/0.jpg", 1, "other root"),
        ("gs://other/dog/noend", 8, "other root"),
    ],
)
def test_a_path_is_one_image(con: duckdb.DuckDBPyConnection, path: str, image_id: int, step: str) -> None:
    fill(con, URIS)
    assert match(con, [path])[path] == (image_id, step, None)
    assert con.sql("select table_name from duckdb_tables() where temporary").fetchall() == [("_found",)]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("0.jpg", "2 images end with 0.jpg, such as /data/set/cat/0.jpg and /data/set/dog/0.jpg"),
        ("/cluster/0.jpg", "2 images end with 0.jpg, such as"),
        ("0", "2 images are called 0, such as"),
        ("dgo/0.jpq", "no image dgo/0.jpq"),
        ("nowhere/else.txt", "no image nowhere/else.txt"),
        ("Own.jpg", "no image Own.jpg; did you mean /tables/own.jpg?"),
        # A folder of the data set is no other root: the image is another one.
        ("/cluster/cat/noend", "no image /cluster/cat/noend; /data/set/dog/noend has this name in another folder"),
        ("/", "no image /"),
    ],
)
def test_a_path_that_is_no_image_says_what_would_match(con: duckdb.DuckDBPyConnection, path: str, problem: str) -> None:
    fill(con, URIS)
    image_id, _, found = match(con, [path])[path]
    assert image_id is None
    assert str(found).startswith(problem)


def test_another_split_is_another_image(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, [f"/data/set/train/{i}.jpg" for i in range(10)])
    found = match(con, ["val/3.jpg", "/cluster/test/4.jpg", "/cluster/train/5.jpg"])
    assert found["val/3.jpg"][2] == "no image val/3.jpg; /data/set/train/3.jpg has this name in another folder"
    assert found["/cluster/test/4.jpg"][0] is None
    assert found["/cluster/train/5.jpg"][0] == 6


def test_two_paths_do_not_share_an_image(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, ["/data/set/a/x.jpg", "/data/set/a/y.jpg"])
    found = match(con, ["/one/x.jpg", "/two/x.jpg", "/one/y.jpg"])
    assert found["/one/x.jpg"][0] is found["/two/x.jpg"][0] is None
    assert "ends like it, and like another path" in str(found["/one/x.jpg"][2])
    assert found["/one/y.jpg"][0] == 2


def test_a_relative_path_that_fits_both_folders_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    fill(con, ["/data/set/a.jpg", "/tables/a.jpg"])
    assert match(con, ["a.jpg"])["a.jpg"][2] == "2 images fit a.jpg: /data/set/a.jpg, /tables/a.jpg"


@pytest.mark.parametrize(("stored", "given"), [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("prefix", ["", "/data/set/", "/cluster/"])
def test_unicode_forms(con: duckdb.DuckDBPyConnection, stored: str, given: str, prefix: str) -> None:
    name = "Bär/größe é.jpg"
    fill(con, ["/data/set/" + unicodedata.normalize(stored, name), "/data/set/other/b.jpg"])  # type: ignore[arg-type]
    path = prefix + unicodedata.normalize(given, name)  # type: ignore[arg-type]
    step = "other root" if prefix == "/cluster/" else "Unicode form"
    assert match(con, [path])[path] == (1, step, None)


def test_names_that_sql_could_stumble_over(con: duckdb.DuckDBPyConnection) -> None:
    names = [
        "it's.jpg",
        "100%_[a]*?.jpg",
        'a"b.jpg',
        "a;b$1\\1.jpg",
        "a\\b.jpg",
        "#1.jpg",
        "x.zip#y.jpg",
        " .jpg",
        "..jpg",
    ]
    fill(con, [f"/data/s'et/{name}" for name in names], source="/data/s'et")
    found = match(con, names)
    assert [found[name][0] for name in names] == list(range(1, len(names) + 1))
    assert match(con, ["", "?"])["?"][0] is None


def test_random_paths_agree_with_pathlib(con: duckdb.DuckDBPyConnection) -> None:
    """The longest common end, in whole names, against a plain loop."""
    random = np.random.default_rng(0)
    words = ["a", "b", "c1", "d", "e.x"]
    uris = sorted(
        {
            "/data/set/" + "/".join(random.choice(words, random.integers(1, 4))) + f"/{random.choice(words)}.jpg"
            for _ in range(60)
        }
    )
    fill(con, uris)
    paths = sorted({"/".join(["zz", *random.choice(words, random.integers(1, 4))]) + ".jpg" for _ in range(200)})
    paths += [str(PureWindowsPath(path)) for path in paths[::3]]
    found = match(con, paths)
    for path in paths:
        names = PurePosixPath(path.replace("\\", "/")).parts
        ends = [sum(1 for _ in _common(names, PurePosixPath(uri).parts)) for uri in uris]
        best = [uri for uri, length in zip(uris, ends, strict=True) if length == max(ends)]
        image_id, _, problem = found[path]
        if max(ends) == 0 or len(best) > 1:
            assert image_id is None
        elif image_id is None:  # refused, because another folder of the data set stands there, or another path ends so
            assert "another" in str(problem)
        else:
            assert uris[image_id - 1] == best[0]


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> list[str]:
    length = 0
    while length < min(len(one), len(other)) and one[-1 - length] == other[-1 - length]:
        length += 1
    return list(one[:length])


def test_steps_are_reported_in_words() -> None:
    assert list(describe_steps({"as written": 3, "relative": 2})) == []
    lines = list(describe_steps({"end": 6, "other root": 1, "image_id": 4, "without ending": 1000}))
    assert lines[0] == "6 rows matched by the end of their path"
    assert lines[1] == "1,000 rows matched by the name without its ending"
    assert len(lines) == 3
    assert "as written" in STEPS


@pytest.mark.slow
def test_many_images_with_few_names(con: duckdb.DuckDBPyConnection) -> None:
    """The same 100 names in 1,000 folders: no join of every name with every other."""
    fill(con, [f"/data/set/{folder}/{name}.jpg" for folder in range(1000) for name in range(100)])
    start = time.process_time()
    found = match(con, [f"C:\\me\\{folder}\\{name}" for folder in range(1000) for name in range(100)])
    assert all(image_id for image_id, _, _ in found.values())
    assert time.process_time() - start < 60
