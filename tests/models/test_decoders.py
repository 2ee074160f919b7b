"""Processes and threads that decode: the same pixels, one answer a row whatever happens, and nothing left behind."""

from __future__ import annotations

import io
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision.transforms import InterpolationMode, functional
from torchvision.transforms._presets import ImageClassification

from sqlanalysis.core.cores import count_cores, quotas
from sqlanalysis.core.pixels import Resize
from sqlanalysis.errors import ArgumentError, InferenceError
from sqlanalysis.models import decoder_process, stages
from sqlanalysis.models.decoders import Decoders, DecodingThreads, Result
from sqlanalysis.models.transforms import split_transform

from ..support import loads
from ..support.loads import children, is_alive, picture
from ..support.pictures import png_header

Row = tuple[bytes | None, str | None]
ROOT = Path(__file__).parents[2]


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def collect(pool: Decoders | DecodingThreads, n: int, seconds: float = 30) -> dict[int, Result]:
    """The answers to n tickets; each once, and none to another."""
    answers: dict[int, Result] = {}
    until = time.monotonic() + seconds
    while len(answers) < n:
        assert time.monotonic() < until, f"{len(answers)} of {n} answers"
        for result in pool.get(1):
            assert result.ticket not in answers
            answers[result.ticket] = result
    assert pool.get(0.05) == []
    return answers


def ask(pool: Decoders | DecodingThreads, rows: list[Row], seconds: float = 30) -> dict[int, Result]:
    pool.put(range(len(rows)), range(len(rows)), rows)
    return collect(pool, len(rows), seconds)


@pytest.fixture
def make() -> Iterator[Callable[..., Decoders]]:
    """Decoders of the small transform, closed at the end."""
    pools: list[Decoders] = []

    def start(n_slots: int = 64, n_processes: int = 2, max_seconds: int = 20, load: object = loads.act) -> Decoders:
        pools.append(Decoders(load, loads.SHAPE, n_slots, n_processes, max_seconds=max_seconds))  # type: ignore[arg-type]
        return pools[-1]

    before = children(os.getpid())
    yield start
    for pool in pools:
        pool.close()
    assert children(os.getpid()) <= before


# Pixels

SIZES = [
    *[(1, 1), (1, 2), (2, 1), (3, 700), (700, 3), (1, 400), (400, 1), (255, 257), (256, 256), (224, 224), (33, 47)],
    *[(random.Random(seed).randint(1, 500), random.Random(seed + 1).randint(1, 500)) for seed in range(0, 60, 2)],
]


@pytest.mark.parametrize(
    ("resize", "crop"), [([256], [224]), ([32], [31]), ([20], [45]), ([61], [61]), ([40, 57], [48])]
)
def test_resize_is_torchvisions_to_the_bit(resize: list[int], crop: list[int]) -> None:
    for mode in InterpolationMode:
        own = Resize(tuple(resize), (crop[0], crop[0]), functional.pil_modes_mapping[mode])
        for seed, size in enumerate(SIZES if mode == InterpolationMode.BILINEAR else SIZES[::5]):
            image = noise(*size, seed)
            reference = functional.center_crop(functional.resize(image, resize, mode, antialias=True), crop)
            actual = own(image)
            assert actual.shape == (3, *own.crop_size)
            assert actual.dtype == np.uint8
            assert np.array_equal(actual, functional.pil_to_tensor(reference).numpy()), (mode, size)


def test_crops_that_are_no_squares() -> None:
    for width, height in SIZES:
        image = noise(width, height)
        reference = functional.center_crop(functional.resize(image, [50]), [37, 90])
        assert np.array_equal(Resize((50,), (37, 90), 2)(image), functional.pil_to_tensor(reference).numpy())


def test_only_presets_have_a_portable_part() -> None:
    for name in ("ResNet18", "Swin_T", "Inception_V3"):
        pixels = split_transform(getattr(torchvision.models, f"{name}_Weights").DEFAULT.transforms())
        image, portable = noise(301, 280), pickle.loads(pickle.dumps(pixels.portable))
        assert np.array_equal(portable(image), pixels.load(image).numpy())
    by_number = split_transform(ImageClassification(crop_size=20, resize_size=30, interpolation=3))  # type: ignore[arg-type]
    assert by_number.portable == Resize((30,), (20, 20), 3)
    assert split_transform(lambda image: functional.to_tensor(image)).portable is None


# The same answers as in threads


def mixed_rows(folder: Path) -> list[Row]:
    """Stored bytes, files, archives' members that are not there, pictures that are none, large and tiny ones."""
    image = noise(90, 70)
    (folder / "a b.png").write_bytes(png(image))
    image.save(folder / "é.jpg", quality=90)
    tall, cut = png(noise(3, 2000)), png(image)[:3000]
    bombs = b"BM" + bytes(50)
    exif = Image.Exif()
    exif[0x010E] = "a description"
    damaged = io.BytesIO()
    image.save(damaged, "TIFF", exif=exif)
    rows: list[Row] = [
        *[(None, str(folder / "a b.png")), (None, str(folder / "é.jpg")), (tall, None), (cut, None), (b"", None)],
        *[(None, str(folder / "gone.png")), (None, str(folder)), (None, None), (bombs, None)],
        *[(None, str(folder / "gone.zip#a.png")), (damaged.getvalue(), None), (png(image), "wrong.png")],
    ]
    return [*rows, *[(png(noise(40 + i, 60 - i, i)), None) for i in range(30)]]


def test_processes_and_threads_give_torchvisions_pixels(tmp_path: Path) -> None:
    preset = ImageClassification(crop_size=48, resize_size=64)
    pixels = split_transform(preset)
    rows = mixed_rows(tmp_path)
    processes = Decoders(pixels.portable, (3, 48, 48), len(rows), 2)  # type: ignore[arg-type]
    threads = DecodingThreads(pixels.load, torch.zeros(len(rows), 3, 48, 48, dtype=torch.uint8), 2)
    floats = DecodingThreads(preset, torch.zeros(len(rows), 3, 48, 48), 2)
    found = [ask(pool, rows) for pool in (processes, threads, floats)]
    assert any(found[0][ticket].error for ticket in found[0])
    for ticket, (data, path) in enumerate(rows):
        first, second, third = (answers[ticket] for answers in found)
        assert first[:5] == second[:5] == third[:5]
        if first.error is not None:
            continue
        image = Image.open(io.BytesIO(data) if data is not None else str(path)).convert("RGB")
        assert np.array_equal(processes.slots[ticket], threads.slots[ticket].numpy())
        assert torch.equal(floats.slots[ticket], preset(image))
        assert torch.equal(pixels.finish(torch.from_numpy(processes.slots[[ticket]]))[0], preset(image))
        assert min(first.seconds) >= 0 < first.seconds[1]
    for pool in (processes, threads, floats):
        pool.close()
    assert processes.slots[0].any()  # stays readable for who still holds it


def test_what_a_decoder_says_comes_with_its_image(make: Callable[..., Decoders]) -> None:
    """A palette with transparency in bytes makes Pillow warn while it converts."""
    image = noise(30, 30).convert("P")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=bytes(range(200)))
    rows: list[Row] = [(png(picture(1)), None), (buffer.getvalue(), None), (png(picture(2)), None)]
    answers = ask(make(), rows)
    expected = [
        stages.load({"bytes": data, "path": path}, loads.act, dict.fromkeys(stages.STAGES, 0.0)) for data, path in rows
    ]
    assert [answers[i].said for i in range(3)] == [item.said for item in expected]
    assert answers[1].said
    assert not answers[0].said


def test_settings_of_the_caller_hold(make: Callable[..., Decoders], monkeypatch: pytest.MonkeyPatch) -> None:
    row: Row = (png(noise(50, 50))[:4000], None)
    assert ask(make(), [row])[0].error is not None
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr("sqlanalysis.core.decode.MAX_PIXELS", 3000)
    answers = ask(make(), [row, (png(noise(60, 60)), None)])
    assert answers[0].error is None
    assert "more than" in (answers[1].error or {})["message"]


def test_large_bytes_and_long_paths(make: Callable[..., Decoders]) -> None:
    """More than a pipe holds, and more than a chunk of stored bytes."""
    pool = make()
    large = png(picture(5)) + bytes(decoder_process.KEPT_BYTES + 1)
    rows: list[Row] = [(large, None), *[(None, f"/{'x' * 100_000}{i}") for i in range(40)], (large, None)]
    for _ in range(2):
        answers = ask(pool, rows)
        assert [answers[i].error is None for i in range(len(rows))] == [True, *[False] * 40, True]
        assert pool.slots[41, 0, 0, 0] == 5


def test_wrong_pixels_are_errors_of_their_image(make: Callable[..., Decoders]) -> None:
    reds = [loads.WRONG_SHAPE, 3, loads.FLOATS, loads.RAISE, 4]
    answers = ask(make(), [(png(picture(red)), None) for red in reds])
    errors = [answers[i].error for i in range(5)]
    assert [error and (error["stage"], error["error"]) for error in errors] == [
        *[("transform", "ImageError"), None, ("transform", "ImageError"), ("transform", "SystemExit"), None]
    ]
    assert all(answers[i].sha256 for i in range(5))
    threads = DecodingThreads(loads.act, torch.zeros(5, *loads.SHAPE, dtype=torch.uint8), 1)
    same = ask(threads, [(png(picture(red)), None) for red in reds])
    threads.close()
    assert [(error or {}).get("stage") for error in errors] == [(same[i].error or {}).get("stage") for i in range(5)]


def test_a_process_imports_neither_torch_nor_duckdb(make: Callable[..., Decoders]) -> None:
    error = ask(make(), [(png(picture(loads.MODULES)), None)])[0].error
    assert error == {"stage": "transform", "error": "RuntimeError", "message": "PIL numpy sqlanalysis"}


# Faults


def check_ordinary(pool: Decoders, answers: dict[int, Result], reds: list[int]) -> None:
    for i, red in enumerate(reds):
        if red < loads.ORDINARY:
            assert answers[i].error is None
            assert (pool.slots[i, 0] == red).all()
            assert (pool.slots[i, 1] == i % 256).all()


def test_processes_that_hang_or_die(make: Callable[..., Decoders]) -> None:
    faults = {5: loads.EXIT, 17: loads.SEGFAULT, 30: loads.HANG, 31: loads.HANG_LOCKED, 40: loads.KILLED}
    reds = [faults.get(i, i % loads.ORDINARY) for i in range(60)]
    pool = make(max_seconds=2)
    pool.slots[:] = 77
    answers = ask(pool, [(png(picture(red, i % 256)), None) for i, red in enumerate(reds)])
    check_ordinary(pool, answers, reds)
    errors = {i: answers[i].error for i in faults}
    assert errors[30] == errors[31] == stages.too_slow().error
    for i, words in {5: "ended with exit code 7", 17: "ended by SIGSEGV", 40: "ended by SIGKILL; the system"}.items():
        assert errors[i] is not None
        assert (errors[i]["stage"], errors[i]["error"]) == ("decode", "ImageError")
        assert words in errors[i]["message"]
        assert answers[i][2] is None
        assert (pool.slots[i] == 77).all()


def test_nothing_is_lost_when_processes_are_killed_at_random(make: Callable[..., Decoders]) -> None:
    """Whoever kills a process that works gets an error for at most one image each time."""
    chance, before = random.Random(0), children(os.getpid())
    pool = make(n_slots=600, n_processes=3, load=loads.slowly)
    n, kills, answers = 600, 0, dict[int, Result]()
    reds = [i % loads.ORDINARY for i in range(n)]
    pool.put(range(n), range(n), [(png(picture(red, i % 256)), None) for i, red in enumerate(reds)])
    while len(answers) < n:
        for result in pool.get(chance.uniform(0, 0.2)):
            assert result.ticket not in answers
            answers[result.ticket] = result
        found = children(os.getpid()) - before
        if kills < 8 and len(answers) > 50 * (kills + 1) and found:
            os.kill(chance.choice(sorted(found)), signal.SIGKILL)
            kills += 1
    failed = [result for result in answers.values() if result.error]
    assert kills == 8
    assert 0 < len(failed) <= kills
    assert all("SIGKILL" in (result.error or {})["message"] for result in failed)
    check_ordinary(pool, answers, [red if answers[i].error is None else 255 for i, red in enumerate(reds)])


def test_a_process_that_waits_is_replaced(make: Callable[..., Decoders]) -> None:
    before = children(os.getpid())
    pool = make(n_processes=2)
    assert ask(pool, [(png(picture(1)), None)] * 20)[0].error is None
    for child in children(os.getpid()) - before:
        os.kill(child, signal.SIGKILL)
    answers = ask(pool, [(png(picture(2)), None)] * 20)
    assert not any(result.error for result in answers.values())


def test_deaths_that_no_image_explains_end_the_run(make: Callable[..., Decoders]) -> None:
    before = children(os.getpid())
    pool = make(n_processes=1)
    assert ask(pool, [(png(picture(1)), None)])[0].error is None

    def kill_all() -> None:
        while True:
            for child in children(os.getpid()) - before:
                os.kill(child, signal.SIGKILL)
            assert pool.get(0.1) == []

    with pytest.raises(InferenceError, match="3 processes in a row ended that worked on no image; the last .* SIGKILL"):
        kill_all()
    pool.close()
    with pytest.raises(InferenceError, match="closed"):
        pool.get(0)


def test_one_thread_puts_and_another_gets(make: Callable[..., Decoders]) -> None:
    pool = make(max_seconds=2)
    assert ask(pool, [(png(picture(1)), None)])[0].error is None
    assert pool.get(0) == []
    threading.Timer(2.5, pool.put, ([5], [6], [(png(picture(2)), None)])).start()  # waiting is no hang
    assert collect(pool, 1)[5].error is None
    assert (pool.slots[6, 0] == 2).all()


def test_hostile_pictures(make: Callable[..., Decoders]) -> None:
    bomb = png_header(60_000, 60_000)
    rows: list[Row] = [(bomb, None), (png(picture(6)), None), (bomb + bytes(1000), None), (b"P6 9999999 9 255\n", None)]
    answers = ask(make(), rows)
    assert [(answers[i].error or {}).get("stage") for i in range(4)] == ["decode", None, "decode", "decode"]
    assert "more than 50000000 pixels" in (answers[0].error or {})["message"]


def test_who_cannot_start_ends_the_run(make: Callable[..., Decoders]) -> None:
    pool = make(load=loads.Unusable())
    pool.put([0], [0], [(png(picture(1)), None)])
    for _ in range(2):
        with pytest.raises(InferenceError, match="ImportError: no module of that name there"):
            collect(pool, 1)
    with pytest.raises(ArgumentError, match="can be pickled"):
        make(load=lambda image: image)
    with pytest.raises(ArgumentError, match="at least 1"):
        make(n_slots=0)


PROGRAM = """
import os, sys
sys.path.insert(0, {root!r})
from sqlanalysis.models.decoders import Decoders
from tests.support import loads
import io
pool = Decoders(loads.act, loads.SHAPE, 64, 2, max_seconds={limit})
def png(red):
    buffer = io.BytesIO()
    loads.picture(red).save(buffer, "PNG")
    return buffer.getvalue()
pool.put(range(len({reds})), range(len({reds})), [(png(red), None) for red in {reds}])
got = []
while len(got) < {n}:
    got += pool.get(1)
print(*loads.children(os.getpid()), flush=True)
{then}
"""


def start(reds: list[int], n: int, then: str, limit: int = 3) -> tuple[subprocess.Popen[str], set[int]]:
    """A process of its own with two decoders, and their ids."""
    program = PROGRAM.format(root=str(ROOT), reds=reds, n=n, then=then, limit=limit)
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    found = {int(word) for word in process.stdout.readline().split()}
    assert len(found) == 2
    return process, found


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What else it writes, and on stderr; `communicate` would lose what is already in Python's buffer."""
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout, process.stderr:
        return process.stdout.read(), process.stderr.read()


def wait_until_gone(pids: set[int]) -> None:
    until = time.monotonic() + 10
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.02)


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm"))


def test_processes_end_with_their_parent() -> None:
    """Also those that hang, and hold Python's lock."""
    before = shared_memory()
    process, found = start([loads.HANG, loads.HANG_LOCKED], 0, "pool.get(60)", limit=60)
    assert process.stderr is not None
    assert [process.stderr.readline() for _ in range(2)] == ["hangs\n"] * 2
    process.kill()
    wait_until_gone(found)
    finish(process)
    assert shared_memory() <= before


@pytest.mark.parametrize(
    "end", ["pool.close(); pool.close()", "", "raise RuntimeError('ours')", "del pool", "sys.exit(3)"]
)
def test_nothing_is_left_however_a_program_ends(end: str) -> None:
    before = shared_memory()
    process, found = start([1, 2, loads.HANG], 2, end)
    _, stderr = finish(process)
    wait_until_gone(found)
    assert stderr.replace("hangs\n", "").strip().splitlines()[-1:] == (["RuntimeError: ours"] if "raise" in end else [])
    assert shared_memory() <= before


def test_ctrl_c_is_for_the_parent() -> None:
    """The terminal sends it to the whole group of the parent, which may finish its batch first."""
    more = "pool.put([3], [3], [(png(3), None)])\nwhile len(got) < 4: got += pool.get(1)\nprint(got[3].error)"
    then = "import signal\nsignal.signal(signal.SIGINT, lambda *_: print('heard'))\nos.killpg(0, signal.SIGINT)\n"
    process, found = start([1, 2, 3], 3, then + more)
    assert finish(process) == ("heard\nNone\n", "")
    wait_until_gone(found)


def test_a_suspended_machine_does_not_count() -> None:
    """Everything stops for longer than the limit in the middle of an image."""
    ask_for_all = "while len(got) < 3: got += pool.get(1)\nprint(*[result.error for result in got])"
    process, found = start([1, 2, loads.SLOW], 2, ask_for_all, limit=5)
    everybody = [process.pid, *found]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(6)
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    stdout, stderr = finish(process)
    assert (stdout.strip(), stderr) == ("None None None", "")


# Threads


def test_a_thread_that_hangs_is_left_behind_and_writes_nowhere() -> None:
    slots = np.zeros((4, *loads.SHAPE), np.uint8)

    def late(image: Image.Image) -> np.ndarray:
        pixels = loads.act(image)
        if pixels[0, 0, 0] == 9:
            time.sleep(2.5)
        return pixels

    pool = DecodingThreads(late, slots, 1, max_seconds=1)
    answers = ask(pool, [(png(picture(red)), None) for red in (9, 10, 11)])
    assert [answers[i].error for i in range(3)] == [stages.too_slow().error, None, None]
    pool.put([7], [0], [(png(picture(50)), None)])  # the slot is given to another
    assert collect(pool, 1)[7].error is None
    time.sleep(2)
    pool.close()
    pool.close()
    assert slots[:, 0, 0, 0].tolist() == [50, 10, 11, 0]


def test_threads_cast_only_what_keeps_its_kind() -> None:
    for dtype, error in ((torch.float64, None), (torch.float16, None), (torch.uint8, "ImageError")):
        pool = DecodingThreads(functional.to_tensor, torch.zeros(1, 3, 11, 13, dtype=dtype), 1)
        result = ask(pool, [(png(picture(51)), None)])[0]
        pool.close()
        assert (result.error or {}).get("error") == error
        assert error or pool.slots[0, 0, 0, 0] == torch.tensor(0.2, dtype=torch.float32).to(dtype)


# Cores


def test_cores_of_containers(tmp_path: Path) -> None:
    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    own = tmp_path / "own"
    assert list(quotas(tmp_path, own)) == []
    own.write_text("0::/job/step\n")
    write("two/cpu.max", "max 100000\n")
    write("two/job/cpu.max", "350000 100000\n")
    write("two/job/step/cpu.max", "max 100000\n")
    assert list(quotas(tmp_path / "two", own)) == [3.5]
    own.write_text("3:memory:/job\n2:cpu,cpuacct:/docker/1\n1:cpuset:/\n0::/\n")
    write("one/cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    write("one/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert list(quotas(tmp_path / "one", own)) == []
    write("one/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "50000\n")
    write("one/cpu,cpuacct/docker/1/cpu.cfs_period_us", "100000\n")
    write("one/memory/job/cpu.max", "1 100000\n")
    assert list(quotas(tmp_path / "one", own)) == [0.5]
    write("bad/cpu.max", "nothing\n")
    assert list(quotas(tmp_path / "bad", own)) == []


@pytest.mark.parametrize("name", ["SLURM_CPUS_PER_TASK", "NSLOTS", "PBS_NUM_PPN", "LSB_DJOB_NUMPROC"])
def test_cores_of_jobs(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(64)))
    monkeypatch.setattr("sqlanalysis.core.cores.OWN_GROUPS", tmp_path / "none")
    assert count_cores() == 64
    for text, expected in (("6", 6), ("0", 64), ("", 64), ("many", 64), ("100", 64)):
        monkeypatch.setenv(name, text)
        assert count_cores() == expected
    monkeypatch.setenv(name, "6")
    (tmp_path / "own").write_text("0::/\n")
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    monkeypatch.setattr("sqlanalysis.core.cores.OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr("sqlanalysis.core.cores.GROUPS", tmp_path)
    assert count_cores() == 3
