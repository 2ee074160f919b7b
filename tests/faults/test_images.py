"""Hostile images and names: none stops the process, hangs, fills the memory or harms its neighbors."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import sqlanalysis
from sqlanalysis.core import decode
from sqlanalysis.runs import job

from . import harness

Record = Callable[[str, str, str], None]
Scale = Callable[[int, int], int]
# Mutated copies of good images, each decoded in one process that reports its memory and the longest time of an image.
MUTATE = """
import json, random, sys, time
from pathlib import Path
from sqlanalysis.core import decode
from sqlanalysis.errors import ImageError
seeds = [path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())]
chance, ok, refused, longest = random.Random(0), 0, 0, 0.0
def high():
    return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])
base = high()
for number in range(int(sys.argv[2])):
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.3:
        del data[chance.randrange(len(data)):]
    start = time.process_time()
    try:
        decode.inspect(bytes(data))
        decode.decode(bytes(data))
        decode.thumbnail({"bytes": bytes(data), "path": None})
        ok += 1
    except ImageError:
        refused += 1
    longest = max(longest, time.process_time() - start)
peak = high() - base
print(json.dumps({"ok": ok, "refused": refused, "longest": longest, "megabytes": peak / 1024}))
"""

PREDICT = """
import sys
import sqlanalysis, torch
from torch import nn
from torchvision.transforms import v2
torch.manual_seed(0)
net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
tensor = v2.Compose([v2.Resize((8, 8)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
model = sqlanalysis.load_model(net, transform=tensor, classes=["0", "1"])
with sqlanalysis.connect(sys.argv[1]) as con:
    sqlanalysis.predict(con, model, run="r", retry_errors=len(sys.argv) > 2)
"""


def picture(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    pixels = np.random.default_rng(7).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(width: int, height: int) -> bytes:
    """A PNG that declares many pixels in few bytes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def good() -> dict[str, bytes]:
    exif = {}
    for orientation in range(1, 9):
        tags = Image.Exif()
        tags[0x0112] = orientation
        exif[f"exif{orientation}.jpg"] = encoded(picture(), "JPEG", exif=tags)
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "</script><script>alert(1)</script>'; drop table images; --{{7*7}}" * 50)
    frames = [picture().rotate(90 * turn) for turn in range(4)]
    sixteen = Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 20)
    return exif | {
        "plain.jpg": encoded(picture(), "JPEG"),
        "progressive.jpg": encoded(picture(), "JPEG", progressive=True),
        "gray.jpg": encoded(picture("L"), "JPEG"),
        "cmyk.jpg": encoded(picture("CMYK"), "JPEG"),
        "palette.png": encoded(picture("P"), "PNG"),
        "alpha.png": encoded(picture("RGBA"), "PNG"),
        "palette_alpha.png": encoded(picture("P"), "PNG", transparency=3),
        "bit.png": encoded(picture("1"), "PNG"),
        "sixteen.png": encoded(sixteen, "PNG"),
        "text.png": encoded(picture(), "PNG", pnginfo=text),
        "frames.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "frames.webp": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "lossless.webp": encoded(picture(), "WEBP", lossless=True),
        "plain.bmp": encoded(picture(), "BMP"),
        "plain.tiff": encoded(picture(), "TIFF", compression="tiff_lzw"),
        "wrong_extension.png": encoded(picture(), "JPEG"),
        "polyglot.jpg": encoded(picture(), "JPEG") + b"PK\x03\x04<script>alert(1)</script>",
        "one.png": encoded(picture(size=(1, 1)), "PNG"),
        "thin.png": encoded(picture(size=(3000, 1)), "PNG"),
    }


def bad() -> dict[str, bytes]:
    jpeg, png = encoded(picture(), "JPEG"), encoded(picture(), "PNG")
    markers = [at for at in range(len(jpeg) - 1) if jpeg[at] == 0xFF and jpeg[at + 1] not in (0, 0xFF)]
    cut = {f"cut{at}.jpg": jpeg[: at + 2] for at in markers if at + 2 < len(jpeg)}
    return cut | {
        "empty.jpg": b"",
        "half.png": png[: len(png) // 2],
        "bad_crc.png": png[:60] + bytes([png[60] ^ 1]) + png[61:],
        "bomb.png": bomb(65_500, 65_500),
        "wide_bomb.png": bomb(2**30, 2**30),
        "bomb.gif": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\0\0\0;",
        "bomb.webp": b"RIFF\x1a\0\0\0WEBPVP8L\r\0\0\0\x2f\xff\xff\xff\x0f\0\0\0\0\0\0\0\0\0",
        "vector.jpg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(id) (w) file\n",
        "pickle.jpg": b"\x80\x04\x95cposix\nsystem\n(S'touch PWNED'\ntR.",
        "text.jpg": b"not an image",
    }


def test_every_image_of_the_corpus_is_accounted_for(tmp_path: Path, figure: Record) -> None:
    folder = tmp_path / "images" / "cat"
    folder.mkdir(parents=True)
    fine, broken = good(), bad()
    for name, data in (fine | broken).items():
        (folder / name).write_bytes(data)
    (folder / "folder.jpg").mkdir()
    (folder / "nowhere.jpg").symlink_to(tmp_path / "missing.jpg")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "endless.jpg").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.jpg")
    with (folder / "huge.jpg").open("wb") as stream:
        stream.truncate(5 * 2**30)
    n_odd = 5  # a folder is no entry
    con = sqlanalysis.connect(tmp_path / "work.duckdb")
    done = sqlanalysis.add_images(con, tmp_path / "images", show_progress=False)
    assert done.n_added + done.n_errors == len(fine) + len(broken) + n_odd
    refused = {Path(uri).name for (uri,) in con.sql("select uri from errors").fetchall()}
    assert refused >= {"nowhere.jpg", "loop.jpg", "endless.jpg", "pipe.jpg", "huge.jpg", "bomb.png", "pickle.jpg"}
    assert not refused & set(fine)
    space: dict[str, object] = {}
    exec(harness.ENGINE, space)
    job.select(con, "images", None)
    answered = job.perform(con, space["work"]("images"), space["Means"]())  # type: ignore[operator]
    assert answered.n_ok + answered.n_errors == done.n_added
    right = {Path(uri).name for (uri,) in con.sql("select uri from means").fetchall()}
    assert right >= set(fine)
    assert not right & {"half.png", "bad_crc.png", "bomb.png", "wide_bomb.png", "empty.jpg", "text.jpg"}
    for name, data in fine.items():
        with Image.open(io.BytesIO(data)) as opened:
            expected = np.asarray(opened.convert("RGB"))
        assert np.array_equal(np.asarray(decode.decode(data)), expected), name
    con.close()
    total = len(fine) + len(broken) + n_odd
    figure("P3 accounting", "every input is a row or an error", f"{total} of {total} hostile files")
    figure("P5 pixels", "one decoder: pixels equal Pillow's on 100 %", f"{len(fine)} of {len(fine)} formats and modes")


def test_an_image_that_hangs_is_one_error(tmp_path: Path, figure: Record) -> None:
    """F9, through the whole verb: its neighbors are answered, the process ends."""
    for number in range(40):
        label = tmp_path / "images" / str(number % 2)
        label.mkdir(parents=True, exist_ok=True)
        picture(size=(20 + number, 20)).save(label / f"{number}.png")
    db = str(tmp_path / "work.duckdb")
    with sqlanalysis.connect(db) as con:
        sqlanalysis.add_images(con, tmp_path / "images", show_progress=False)
    command = [sys.executable, "-c", PREDICT, db]
    limits = {"SQLANALYSIS_FAULT": "decode:17:hang", "SQLANALYSIS_MAX_SECONDS": "10"}
    done = subprocess.run(
        command, env=os.environ | limits, capture_output=True, text=True, cwd=tmp_path, timeout=harness.PATIENCE
    )
    assert done.returncode == 0, done.stderr
    with sqlanalysis.connect(db) as con:
        assert con.sql("select n_ok, n_errors from runs").fetchall() == [(39, 1)]
        assert con.sql("select stage, error from errors").fetchall() == [("decode", "TimeoutError")]
    again = subprocess.run([*command, "again"], capture_output=True, text=True, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    with sqlanalysis.connect(db) as con:
        assert con.sql("select n_ok, n_errors from runs").fetchall() == [(40, 0)]
    figure("P4 neighbors", "an image that hangs: 1 error row, the run ends", "39 + 1 of 40; 40 after a second try")


def test_outputs_that_are_not_probabilities_are_errors(tmp_path: Path, figure: Record) -> None:
    """F17, F18: the output for a marked image is NaN, infinite, of another width, one too few or not a tensor."""
    import torch
    from torch import nn
    from torchvision.transforms import v2

    class Odd(nn.Module):
        def __init__(self, fault: str) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fault, self.head = fault, nn.Linear(3, 2)

        def forward(self, batch: torch.Tensor) -> Any:
            logits = self.head(batch.mean((2, 3)))
            marked = batch[:, 0, 0, 0] == 1
            if not marked.any():
                return logits
            if self.fault in ("nan", "inf", "-inf"):
                return torch.where(marked[:, None], float(self.fault), logits)
            return {"wide": logits.repeat(1, 2), "short": logits[1:], "flat": logits[:, 0], "none": None}[self.fault]

    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 200, (8, 8, 3), dtype=np.uint8)
        pixels[0, 0, 0] = 255 if number % 9 == 4 else 0
        (tmp_path / "images" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "images" / str(number % 2) / f"{number}.png")
    transform = v2.Compose([v2.Resize((8, 8)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    outputs, caught = ["clean", "nan", "inf", "-inf", "wide", "short", "flat", "none"], 0
    with sqlanalysis.connect(tmp_path / "work.duckdb") as con:
        sqlanalysis.add_images(con, tmp_path / "images", show_progress=False)
        for fault in outputs:
            model = sqlanalysis.load_model(Odd(fault), transform=transform, classes=["0", "1"])
            run = f"run_{fault.strip('-')}_{len(fault)}"
            done = sqlanalysis.predict(con, model, run=run, show_progress=False)
            answers = con.sql(
                f"select parse_filename(uri)[:-5]::int, probs from {run} where pred is not null"
            ).fetchall()
            if fault == "clean":
                clean = dict(answers)
                continue
            assert (done.n_ok, done.n_errors) == (36, 4)
            assert dict(answers) == {number: probs for number, probs in clean.items() if number % 9 != 4}
            caught += con.sql(f"select count(*) from errors where run = '{run}' and stage = 'forward'").fetchall()[0][0]
    figure("P11 outputs", "100 % of NaN, infinite, wrong width are error rows", f"{caught} of {4 * (len(outputs) - 1)}")


def test_mutated_images_harm_nobody(tmp_path: Path, scale: Scale, figure: Record) -> None:
    for name, data in good().items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", MUTATE, tmp_path, str(scale(600, 10_000))]
    limit = harness.PATIENCE * scale(1, 6)  # none of them hangs
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["megabytes"] < 1024
    asked = "10,000 mutations: 0 deaths, 0 hangs, <= 1 GB"
    n, longest = report["ok"] + report["refused"], f"longest {report['longest']:.2f} s of CPU"
    figure("P4 neighbors", asked, f"{n}: 0 deaths, {longest}, {report['megabytes']:.0f} MB")


@pytest.mark.parametrize("data", [bomb(65_500, 65_500), bomb(2**30, 4), bad()["bomb.gif"], bad()["bomb.webp"]])
def test_bombs_are_refused_from_the_header(data: bytes) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom sqlanalysis.core import decode\n"
        "from sqlanalysis.errors import ImageError\nimport PIL.Image\nPIL.Image.init()\n"
        "high = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\nbase = high()\n"
        "try:\n    decode.decode(sys.stdin.buffer.read())\nexcept ImageError as error:\n    print('refused', error)\n"
        "print((high() - base) / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, timeout=harness.PATIENCE)
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("refused"), done.stderr
    assert float(lines[1]) < 200


def test_caps_are_options(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(picture(), "PNG"))
    code = "import sys\nfrom sqlanalysis.core import decode\ndecode.decode(decode.read(None, sys.argv[1]))"
    for name, value, message in (("PIXELS", "3000", "3000 pixels"), ("BYTES", "100", "more than 100")):
        environment = os.environ | {f"SQLANALYSIS_MAX_{name}": value}
        command = [sys.executable, "-c", code, tmp_path / "a.png"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert message in done.stderr
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"SQLANALYSIS_MAX_PIXELS": "many"})
    assert "SQLANALYSIS_MAX_PIXELS is a whole number of at least 1" in done.stderr


def test_a_thumbnail_carries_no_metadata() -> None:
    tags = Image.Exif()
    tags[0x010E] = "SECRET-DESCRIPTION"
    tags.get_ifd(0x8825)[1] = "N"
    small = decode.thumbnail({"bytes": encoded(picture(), "JPEG", exif=tags, comment=b"SECRET"), "path": None})
    assert b"SECRET" not in small
    assert not Image.open(io.BytesIO(small)).getexif()


NAMES = [
    "o'brien.jpg", '"><img src=x onerror=alert(1)>.jpg'.replace("/", ""), "new\nline.jpg", "-rf.jpg", "--help.jpg",
    "*.jpg", "$(touch PWNED).jpg", "=cmd|calc!A1.jpg", "\x1b[31mred.jpg", "\u202egpj.jpg", "e\u0301.jpg", "\u00e9.jpg",
    "[a].jpg", "a;drop table images;--.jpg", " .jpg", "%s?$1.jpg", "{{7*7}}.jpg", "a\\b.jpg", "\u2028.jpg", "null.jpg",
    "?.jpg", "tab\there.jpg", "return\rline.jpg", "bell\a.jpg", "..jpg", "~.jpg", "`id`.jpg", "&&true.jpg", "+1.jpg",
    "@sum(1).jpg", "<script>alert(1)<script>.jpg", "file:x.jpg", "\U0001f431.jpg", "\ufeffbom.jpg", "\u0085.jpg",
    "a" * 251 + ".jpg", "two  spaces .JPG", "\u212b.jpg",
]  # fmt: skip


def test_hostile_names_are_kept_or_named(tmp_path: Path, figure: Record) -> None:
    folder = tmp_path / "images" / "o'neil; drop table images; --"
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(encoded(picture(size=(8 + number, 8)), "PNG"))
    undecodable = os.fsencode(folder) + b"/\xff\xfe.jpg"
    with open(undecodable, "wb") as stream:
        stream.write(encoded(picture(size=(99, 8)), "PNG"))
    with sqlanalysis.connect(tmp_path / "work.duckdb") as con:
        done = sqlanalysis.add_images(con, tmp_path / "images", show_progress=False)
        assert done.notes == ("left out: hidden files (1)",)  # ..jpg
        assert done.n_added + done.n_errors + 1 == len(NAMES) + 1
        stored = {Path(uri).name for (uri,) in con.sql("select uri from images").fetchall()}
        assert stored >= set(NAMES) - {"..jpg"}
        assert con.sql("select count(*) from image_files where image_size(image) is null").fetchall() == [(0,)]
        assert sqlanalysis.verify(con, show_progress=False).images == []
    assert not list(Path.cwd().glob("PWNED"))
    command = [sys.executable, "-m", "sqlanalysis", "query", tmp_path / "work.duckdb"]
    text = "select parse_filename(uri) as name, 1 as n from images order by name"
    table = subprocess.run([*command, text], capture_output=True, text=True).stdout
    assert not {"\x1b", "\a", "\r", "\u202e", "\u0085"} & set(table)
    csv = subprocess.run([*command, text, "--format", "csv"], capture_output=True, text=True).stdout
    assert "'=cmd|calc!A1.jpg" in csv
    assert "'-rf.jpg" in csv
    assert "'@sum(1).jpg" in csv
    assert "'+1.jpg" in csv
    figure("P13 names", "34 hostile names: kept or named in an error", f"{len(NAMES) + 1} of {len(NAMES) + 1}")
