"""What a machine with GPUs does with this package, in one run of at most eight minutes; needs nothing but the package.

    python tests/benchmarks/bench_gpu.py [--photos FOLDER] [--images 8192] [--model resnet18] [--device cuda]

First it checks: the answers of the GPU are those of the CPU, of every batch size and of a second run; a damaged image
is an error of its own. Then it measures, in the same run: the limits (decoding alone, the device alone), and `predict`
with commits, for fp32, bf16 and fp16 and for several batch sizes, and what binds. Prints Markdown tables. Without a
folder of photos it makes some. `--device cpu` tries the script itself.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import torch
from PIL import Image, ImageFilter

import sqlanalysis
from sqlanalysis.errors import SQLAnalysisError
from sqlanalysis.models.decoders import Decoders
from sqlanalysis.models.device import count_cores, find
from sqlanalysis.models.engine import Engine

LIMIT_S = 450.0  # after which nothing new is begun
N_MADE = 256
BEGAN = time.perf_counter()


def left() -> bool:
    """Whether there is time for another step."""
    return time.perf_counter() - BEGAN < LIMIT_S


def make_photos(folder: Path) -> None:
    """Pictures with the size of photos on the web, about 110 KB each."""
    folder.mkdir()
    chance = np.random.default_rng(0)
    for number in range(N_MADE):
        noise = Image.fromarray(chance.integers(0, 256, (400, 468, 3), dtype=np.uint8))
        noise.filter(ImageFilter.GaussianBlur(1.2)).save(folder / f"{number:04}.jpg", quality=90)


def fill(con: duckdb.DuckDBPyConnection, photos: list[Path], n: int, folder: Path) -> None:
    """n images of different bytes by reference: the photos with a comment behind their end."""
    folder.mkdir()
    for number in range(n):
        data = photos[number % len(photos)].read_bytes()
        (folder / f"{number:06}.jpg").write_bytes(data + f"{number}".encode())
    (folder / "damaged.jpg").write_bytes(photos[0].read_bytes()[:2000])
    sqlanalysis.add_images(con, folder, dataset="photos")


def check(con: duckdb.DuckDBPyConnection, model: sqlanalysis.Model, device: str) -> None:
    where = "image_id <= 200 or uri like '%damaged%'"
    sqlanalysis.predict(con, model, "on_cpu", where=where, device="cpu", show_progress=False)
    for name, size in (("first", None), ("again", None), ("one", 1), ("seven", 7)):
        done = sqlanalysis.predict(
            con, model, name, where=where, device=device, batch_size=size, show_progress=False, outputs="logits"
        )
        ((n, equal, drift),) = con.execute(
            f"""select count(*), avg((a.pred = b.pred)::int), max(list_max(list_transform(
                list_zip(a.probs::float[], b.probs::float[]), lambda p: abs(p[1] - p[2]))))
            from on_cpu as a join {name} as b using (image_id)"""
        ).fetchall()
        print(f"| {name} | {done.n_ok} | {done.n_errors} | {equal:.4f} | {drift:.1e} |", flush=True)
        assert n == done.n_ok == done.n_images - done.n_errors, done


def decode_limit(engine: Engine, photos: list[Path]) -> float:
    """Images a second that the decoders of this machine give, without anything else."""
    n = count_cores()
    decoders = Decoders(engine._pixels.portable, engine.model.input_shape, 32 * n, n)  # type: ignore[arg-type]
    n_put = n_got = 0

    def put(slots: list[int]) -> None:
        decoders.put(slots, slots, [(None, str(photos[slot % len(photos)])) for slot in slots])

    put(list(range(32 * n)))
    while n_got < 16 * n:  # until all have started
        n_got += len(free := decoders.get(1))
        put([result.slot for result in free])
    start = time.perf_counter()
    while time.perf_counter() - start < 5:
        free = decoders.get(1)
        n_put += len(free)
        put([result.slot for result in free])
    rate = n_put / (time.perf_counter() - start)
    decoders.close()
    return rate


def forward_limit(engine: Engine) -> float:
    """Images a second of the device alone, with copies to and from it, two batches in flight."""
    size = engine.batch_size
    batch = torch.randint(0, 256, (size, *engine.model.input_shape), dtype=torch.uint8)
    passes = engine._passes[0]
    batch = batch.pin_memory() if passes.device.type == "cuda" else batch
    for _ in range(3):
        passes.launch(batch, engine._columns)()
    start, n, begun = time.perf_counter(), 0, []
    while time.perf_counter() - start < 2:
        begun.append(passes.launch(batch, engine._columns))
        if len(begun) == 2:
            begun.pop(0)()
        n += size
    for wait in begun:
        wait()
    return n / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    devices = find(given.device)
    names = [torch.cuda.get_device_name(each) if each.type == "cuda" else "CPU" for each in devices]
    print(f"{', '.join(names)}; {count_cores()} cores; torch {torch.__version__}; {os.uname().machine}\n")
    model = sqlanalysis.load_model(given.model, weights=None, layer="avgpool")
    with tempfile.TemporaryDirectory() as name, sqlanalysis.connect(Path(name) / "e.duckdb") as con:
        if given.photos is None:
            make_photos(Path(name) / "made")
        photos = sorted((given.photos or Path(name) / "made").glob("*.jp*g"))
        fill(con, photos, given.images, Path(name) / "photos")
        print("| run | answers | errors | top-1 equal to CPU | max abs Δp |\n|---|---|---|---|---|")
        check(con, model, given.device)
        probe = Engine(model, device=given.device)
        decoding = decode_limit(probe, photos)
        probe.close()
        print(f"\ndecoding alone: {decoding:,.0f} img/s\n")
        print(
            "| dtype | batch | device alone | predict | share of the limit | binds | memory |\n|---|---|---|---|---|---|---|"
        )
        for dtype in ("fp32", "bf16", "fp16"):
            for size in (None, 32, 128, 512):
                if left():
                    try:
                        print(measure(con, model, given.device, dtype, size, decoding, len(devices)), flush=True)
                    except SQLAnalysisError as error:
                        print(f"| {dtype} | {size or 'auto'} | {error} | | | | |")
    print(f"\n{time.perf_counter() - BEGAN:.0f} s", file=sys.stderr)


def measure(
    con: duckdb.DuckDBPyConnection,
    model: sqlanalysis.Model,
    device: str,
    dtype: str,
    size: int | None,
    decoding: float,
    n_devices: int,
) -> str:
    engine = Engine(model, batch_size=size, device=device, dtype=dtype)
    forward, chosen = n_devices * forward_limit(engine), engine.batch_size
    engine.close()
    run = f"{dtype}_{size or 'auto'}"
    done = sqlanalysis.predict(
        con,
        model,
        run,
        device=device,
        dtype=dtype,
        batch_size=size,
        show_progress=False,
        overwrite=True,
        outputs="logits",
    )
    ((binds,),) = con.execute("select stage from run_profile where run = ? and binds", [run]).fetchall()
    limit = min(decoding, forward)
    memory = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
    return (
        f"| {dtype} | {chosen}{' (auto)' if size is None else ''} | {forward:,.0f} | {done.images_per_second:,.0f} | "
        f"{done.images_per_second / limit:.2f} | {binds} | {memory:.1f} GB |"
    )


if __name__ == "__main__":
    main()
