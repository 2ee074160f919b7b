"""Damage a file many times over and print what connect and verify make of it: one line of JSON each.

python flips.py FILE KIND COUNT SEED       with KIND db, wal, cut-db or cut-wal
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
from pathlib import Path

import sqlanalysis
from sqlanalysis.db import templates
from sqlanalysis.errors import SQLAnalysisError


def state(file: Path) -> dict[str, object]:
    """A digest of everything the tables hold, the outputs as text, and whether their counts agree."""
    with sqlanalysis.connect(file, read_only=True) as con:
        assert not sqlanalysis.verify(con, show_progress=False).images
        tables = con.sql(
            "select schema_name || '.' || table_name from duckdb_tables() where not temporary order by all"
        ).fetchall()
        text = str([con.sql(f"from {name} order by all").fetchall() for (name,) in tables])
        outputs, agree = [], True
        if "('outputs.means',)" in str(tables):
            outputs = [str(row) for row in con.sql("from outputs.means order by image_id").fetchall()]
            counted = con.sql("select n_ok from runs where run = 'means'").fetchall()
            agree = counted == [(len(outputs),)]
    return {"digest": hashlib.sha256(text.encode()).hexdigest(), "outputs": outputs, "agree": agree}


def main() -> None:
    source, kind, count, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    chance = random.Random(seed)
    folder = source.parent / f"damaged_{kind}"
    folder.mkdir(exist_ok=True)
    file = folder / "work.duckdb"
    queries = templates.index()
    victim = file if kind.endswith("db") else Path(f"{file}.wal")
    for _ in range(count):
        shutil.copy(source, file)
        shutil.copy(f"{source}.wal", f"{file}.wal")
        size = victim.stat().st_size
        with victim.open("r+b") as stream:
            offset = chance.randrange(size)
            if kind.startswith("cut"):
                stream.truncate(offset)
            else:
                stream.seek(offset)
                byte = stream.read(1)[0]
                stream.seek(offset)
                stream.write(bytes([byte ^ (1 << chance.randrange(8))]))
        answer: dict[str, object] = {"offset": offset}
        try:
            answer |= state(file)
        except SQLAnalysisError as error:
            answer["error"] = f"{type(error).__name__}: {error}"
            answer["names_path"] = str(file) in str(error) or str(error).partition(":")[0] in queries
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
