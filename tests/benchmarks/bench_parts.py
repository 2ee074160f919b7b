"""Time macros on a run whose outputs are parts against the same run in the file, in one process, taking turns.

    python tests/benchmarks/bench_parts.py [--rows N] [--classes K] [--activations M] [--turns T] [--only NAME ...]

Prints a Markdown table: CPU milliseconds of both (medians over the turns), their ratio, and whether all
numbers are equal (or how far sums of floats differ). Both runs are asked through their view `<run>`, as people do. The parts have 4,096 rows, as `predict` makes them.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from shared import lists

import sqlanalysis
from sqlanalysis.core.arrow import ERROR_TYPE
from sqlanalysis.db import parts as files
from sqlanalysis.runs import exchange, shards
from sqlanalysis.runs import run as runs

CALLS = {
    "accuracy": "from accuracy('{}')",
    "scores": "from scores('{}')",
    "per_class": "from per_class('{}')",
    "calibration_error": "from calibration_error('{}')",
    "proper_scores": "from proper_scores('{}')",
    "auc": "from auc('{}')",
    "topk_accuracy": "from topk_accuracy('{}')",
    "label_quality": "select avg(normalized_margin) from label_quality('{}')",
    "top_confusions": "from top_confusions('{}')",
    "risk_coverage": "from risk_coverage('{}')",
    "check_run": "from check_run('{}')",
    "sum of probs": "select sum(list_sum(probs)) from {}",
    "similar_to": "from similar_to('{}', 1)",
    "one image": "select pred, probs from {} where image_id = 4242",
}


def fill(con: duckdb.DuckDBPyConnection, n: int, classes: int, width: int) -> None:
    """A data set of n images, and two runs with the same random outputs: `native`, and `net` as parts."""
    rng = np.random.default_rng(0)
    con.execute("insert into label_spaces (label_space, n_classes) values ('s', ?)", [classes])
    con.execute(
        "insert into classes (label_space, class, name) select 's', i, i::varchar from range(?) as r(i)", [classes]
    )
    con.execute("insert into datasets (dataset, label_space) values ('d', 's')")
    con.execute(
        "insert into images (image_id, dataset, uri, sha256, n_bytes, format, width_px, height_px, label) "
        "select i + 1, 'd', '/pictures/' || i, "
        f"sha256(i::varchar), 1, 'PNG', 8, 8, (hash(i) % {classes})::integer from range({n}) as r(i)"
    )
    labels = np.array(con.execute("select label from images order by image_id").fetchnumpy()["label"])
    columns = [("pred", "INTEGER"), ("confidence", "FLOAT"), ("probs", f"FLOAT[{classes}]")]
    columns += [("activation", f"FLOAT[{width}]")] if width else []
    for name, storage in (("native", "table"), ("net", "parts")):
        spec = runs.Spec(runs.Run(name, "d", "made", label_space="s", model_label_space="s", storage=storage))
        con.begin()
        runs.open_run(con, spec, columns)
        con.commit()
    folder = shards.scratch_of(con, "net", None)
    hashes = con.execute("select sha256 from images order by image_id").fetchnumpy()["sha256"]
    for start in range(0, n, shards.SHARD_IMAGES):
        at = slice(start, min(n, start + shards.SHARD_IMAGES))
        logits = rng.normal(size=(at.stop - start, classes)).astype(np.float32)
        logits[np.arange(len(logits)), labels[at]] += 2
        probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        rows = {
            "image_id": pa.array(np.arange(start + 1, at.stop + 1), pa.int64()),
            "sha256": pa.array(hashes[at], pa.string()),
            "pred": pa.array(probs.argmax(1), pa.int32()),
            "confidence": pa.array(probs.max(1), pa.float32()),
            "probs": lists(probs).cast(pa.list_(pa.float32())),
        }
        if width:
            rows["activation"] = lists(rng.normal(size=(len(probs), width))).cast(pa.list_(pa.float32()))
        table = pa.table({**rows, "error": pa.nulls(len(probs), ERROR_TYPE)})
        path = f"{folder}/part-{start + 1}-{hashlib.sha256(str(start).encode()).hexdigest()[:16]}.parquet"
        data = exchange.write(path, table, {"format": exchange.FORMAT, "run": "net"})
        values = ["net", Path(path).name, files.shorten(con, path), start + 1, at.stop, len(probs), 0, len(data), "x"]
        con.execute("insert into parts values (?, ?, ?, ?, ?, ?, ?, ?, ?, now()::timestamp)", values)
    con.begin()
    files.recreate_view(con, "net")
    con.execute("insert into outputs.native from outputs.net order by image_id")
    for name in ("native", "net"):
        runs.close_run(con, name, "finished", {"total": 1.0})
    con.commit()
    con.execute("checkpoint")


def difference(first: list[tuple[object, ...]], second: list[tuple[object, ...]]) -> str:
    """Yes, or the largest relative difference of two numbers: sums of floats depend on the order of threads."""
    if repr(first) == repr(second):
        return "yes"
    pairs = [pair for a, b in zip(first, second, strict=True) for pair in zip(a, b, strict=True)]
    if any(type(a) is not type(b) or (a != b and not isinstance(a, float)) for a, b in pairs):
        return "NO"
    return f"{max(abs(a - b) / abs(a) for a, b in pairs if isinstance(a, float) and isinstance(b, float) and a):.0e}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--activations", type=int, default=0, help="width; 0 leaves them out")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(CALLS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sqlanalysis.connect(Path(folder) / "bench.duckdb") as con:
        fill(con, given.rows, given.classes, given.activations)
        size = (Path(folder) / "bench.duckdb").stat().st_size
        beside = sum(file.stat().st_size for file in Path(folder).rglob("*.parquet"))
        print(f"{given.rows:,} images x {given.classes} classes, {given.activations} activations; ", end="")
        print(f"file {size / 1e6:.0f} MB with the native run, parts {beside / 1e6:.0f} MB\n")
        print("| call | native ms | parts ms | ratio | equal |\n|---|---|---|---|---|")
        for name in given.only:
            if name == "similar_to" and not given.activations:
                continue
            took: dict[str, list[float]] = {"native": [], "net": []}
            told: dict[str, list[tuple[object, ...]]] = {}
            for _ in range(given.turns + 1):
                for run in took:
                    start = time.process_time()
                    rows = con.execute(CALLS[name].format(run)).fetchall()
                    took[run].append((time.process_time() - start) * 1e3)
                    told[run] = [tuple("net" if value == "native" else value for value in row) for row in rows]
            native, net = (statistics.median(values[1:]) for values in took.values())
            equal = difference(told["native"], told["net"])
            print(f"| {name} | {native:.1f} | {net:.1f} | {net / native:.2f} | {equal} |", flush=True)


if __name__ == "__main__":
    main()
