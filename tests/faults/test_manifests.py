"""P28: manifests, archives and predictions are input; what is damaged is the right rows or an error of this package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from . import harness, manifests

Record = Callable[[str, str, str], None]
Scale = Callable[[int, int], int]
MEGABYTES, SECONDS = 1024, 10  # of CPU, which a busy machine does not change


@pytest.mark.parametrize("form", manifests.FORMS)
def test_damaged_input_is_rows_or_an_error(form: str, tmp_path: Path, scale: Scale, figure: Record) -> None:
    n = len(manifests.FORMS[form].bombs) + scale(8, 100)
    told = manifests.survive(form, n, tmp_path / "work", harness.PATIENCE * scale(1, 6))
    wrong = [one for one in told if one.get("raw") or one.get("wrong")]
    assert wrong == []
    assert len(told) == n
    n_rows, n_errors = (sum(what in one for one in told) for what in ("rows", "error"))
    assert n_rows + n_errors == n
    megabytes, seconds = (max(one[what] for one in told) for what in ("megabytes", "seconds"))
    assert megabytes <= MEGABYTES
    assert seconds <= SECONDS
    reached = f"{form}: {n_rows} rows + {n_errors} errors of {n}, 0 deaths, {megabytes:.0f} MB, {seconds:.1f} s of CPU"
    figure("P28 manifests", "100 mutations of each form: rows or an error, <= 1 GB, <= 10 s", reached)
