"""A real kernel runs a notebook: relations and results are tables for people, progress is one line, the page a frame."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parent.parent.parent
RUN = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[1])
"""


def execute(folder: Path, *cells: str) -> list[list[dict[str, Any]]]:
    """The outputs of each cell, as a stored notebook has them."""
    first = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (first, *cells)])
    made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    file = folder / "n.ipynb"
    nbformat.write(made, file)
    done = subprocess.run([sys.executable, "-c", RUN, str(file)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [cell["outputs"] for cell in json.loads(file.read_text())["cells"][1:]]


def data(output: dict[str, Any], mime: str = "text/html") -> str:
    return "".join(output.get("data", {}).get(mime, ""))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> list[list[dict[str, Any]]]:
    return execute(
        tmp_path_factory.mktemp("kernel"),
        "import duckdb, numpy as np, sqlanalysis as sq\ncon = sq.connect('x.duckdb')\ncalls = []",
        f"sq.add_images(con, {str(photos)!r}, dataset='<b>pets')",
        "def counted(image):\n    calls.append(1)\n    return np.zeros((2, 3), np.float32)\nsq.defer(con, 'input', counted)\ncalls.clear()",
        "con.sql('select image_id, image, input(image) as x, label = image_id % 3 as correct from image_files, range(20)')",
        "len(calls)",
        "con.sql('from images where image_id = -1')",
        "con.sql('select 42 as answer, null as nothing')",
        "duckdb.connect().sql('select 43 as other')",
        "con.sql('select 1 as n, 1234567 as n_wrong, 1234567 as image_id, 0.98123 as accuracy, 91e-2 as ci_low, 1e0 as ci_high')",
        "import time\nfrom sqlanalysis.core.progress import track\n"
        "with track('counting', 2000) as advance:\n    for _ in range(20):\n        time.sleep(0.1)\n        advance(100)",
        "with track('fast', 10) as advance:\n    advance(10)",
        "import threading\nwith track('threads', 40) as advance:\n"
        "    def work():\n        for _ in range(10):\n            time.sleep(0.15)\n            advance(1)\n"
        "    them = [threading.Thread(target=work) for _ in range(4)]\n    [t.start() for t in them]\n    [t.join() for t in them]",
        "for run, pred in (('one', 'image_id % 3'), ('two', 'label')):\n"
        "    rows = con.sql(f'select uri as path, ({pred})::int as pred, 0.5 as confidence from images').to_arrow_table()\n"
        "    sq.add_predictions(con, rows, run)\n"
        "sq.check(con, run='two')",
        "sq.compare(con, 'two', 'one')",
    )


def test_results_are_tables(outputs: list[list[dict[str, Any]]]) -> None:
    *_, added = outputs[1]  # on a busy machine after the line of its progress
    text = data(added)
    assert "<td>18</td>" in text
    assert "&lt;b&gt;pets" in text
    assert "<b>" not in text
    assert data(added, "text/plain").startswith("AddedImages(dataset=")
    (checked,) = outputs[12]
    assert '<td class="right">✓ pass</td><td>sound_database</td>' in data(checked)
    (compared,) = outputs[13]
    assert data(compared).count("<table>") == 2
    # 18 right against 6: by 12 images, all in one direction (exact McNemar p = 2 / 2^12).
    row = re.findall(r"<tr><td>accuracy</td>(.*)</tr>", data(compared))[0]
    assert re.findall(r">([^<]+)</td>", row)[:3] == ["100.0%", "33.3%", "+66.7"]
    assert row.count('class="number right"') == 1
    assert "< 0.001" in html.unescape(row)


def test_a_relation_is_a_table_of_which_nothing_deferred_is_computed(outputs: list[list[dict[str, Any]]]) -> None:
    (shown,) = outputs[3]
    assert data(shown).count("<img ") == 50
    assert data(shown).count("deferred (2, 3)") == 50
    assert "50 rows shown, there are more" in data(shown)
    assert '<td class="right">✓ right</td>' in data(shown)
    assert '<td class="wrong">✗ wrong</td>' in data(shown)
    assert "there are more" in data(shown, "text/plain")
    assert data(outputs[4][0], "text/plain") == "0"
    assert "0 rows" in data(outputs[5][0])
    assert "42" in data(outputs[6][0], "text/plain")


def test_relations_of_others_are_shown_as_before(outputs: list[list[dict[str, Any]]]) -> None:
    (shown,) = outputs[7]
    assert 'class="dataframe"' in data(shown)
    assert "│" in data(shown, "text/plain")


def test_figures_are_written_as_on_the_page(outputs: list[list[dict[str, Any]]]) -> None:
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", data(outputs[8][0]))
    assert cells == ["1", "1,234,567", "1234567", "98.1%", "91.0%", "100.0%"]
    assert data(outputs[8][0]).count('<td class="number">') == 6


def test_progress_is_one_line(outputs: list[list[dict[str, Any]]]) -> None:
    (line,) = outputs[9]
    assert line["output_type"] == "display_data"
    assert re.fullmatch(r"counting: 2,000 of 2,000 in \d+\.\d s", data(line, "text/plain"))
    assert outputs[10] == []
    (line,) = outputs[11]
    assert re.fullmatch(r"threads: 40 of 40 in \d+\.\d s", data(line, "text/plain"))


def test_nothing_of_it_outside_a_kernel() -> None:
    program = (
        "import sys, sqlanalysis as sq\n"
        "con = sq.connect()\n"
        "assert 'IPython' not in sys.modules\n"
        "from IPython.terminal.interactiveshell import TerminalInteractiveShell as Shell\n"
        "shell = Shell.instance()\n"
        "del sys.modules['sqlanalysis'].__dict__['connect']\n"
        "import duckdb\n"
        "sq.connect()\n"
        "print(duckdb.DuckDBPyRelation in shell.display_formatter.mimebundle_formatter.type_printers)\n"
        "shell.run_cell('%load_ext sqlanalysis')\n"
        "print(duckdb.DuckDBPyRelation in shell.display_formatter.mimebundle_formatter.type_printers)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "True"]


def test_the_page_is_a_frame(tmp_path: Path) -> None:
    (shown,) = execute(
        tmp_path,
        "import sqlanalysis as sq\nfrom tests.support import report_files\ncon = sq.connect()\n"
        "report_files.add_named(con, ['a', 'b'])\nsq.report(con, 'p.html')",
    )[0][-1:]
    frame = data(shown)
    assert re.findall(r'sandbox="([^"]*)"', frame) == ["allow-scripts allow-downloads"]
    assert html.unescape(re.findall(r'srcdoc="([^"]*)"', frame)[0]) == (tmp_path / "p.html").read_text(encoding="utf-8")
