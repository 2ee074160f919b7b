"""Every form of a source gives what the folder gives: the same bytes, labels and classes."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from sqlanalysis import add_images

from ..support.datasets import names_of
from ..support.forms import ENCODED_ANEW, FORMS, class_folders
from ..support.trees import labels_of, png

LIBRARY = {
    **dict.fromkeys(["Dataset", "DatasetDict", "IterableDataset", "save_to_disk"], "datasets"),
    "memory://": "fsspec",
}
FILES = 24


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    root = tmp_path_factory.mktemp("forms")
    made = [(root / f"picture{number}.png", ("cat", "dog", "owl")[number % 3]) for number in range(FILES)]
    for number, (file, _) in enumerate(made):
        file.write_bytes(png(number))
    return made


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_folder(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, files: list[tuple[Path, str]], form: str
) -> None:
    if form in LIBRARY:
        pytest.importorskip(LIBRARY[form], reason=f"{LIBRARY[form]} is not installed")
    add_images(con, class_folders(tmp_path / "folder", files), dataset="folder")
    (tmp_path / "form").mkdir()
    done = add_images(con, FORMS[form](tmp_path / "form", files), dataset="form")
    assert (done.n_added, done.n_labeled, done.n_errors) == (FILES, FILES, 0)
    expected, actual = labels_of(con, "folder"), labels_of(con, "form")
    assert names_of(con, "form") == names_of(con, "folder") == ["cat", "dog", "owl"]
    if form in ENCODED_ANEW:
        assert sorted(map(str, actual.values())) == sorted(map(str, expected.values()))
    else:
        assert actual == expected
