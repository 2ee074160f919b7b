"""Devices: find the device, its number of cores, its dtype, and the batch size that suits it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import torch

from ..core.cores import count_cores as count_cores
from ..core.text import one_line
from ..errors import ArgumentError, InferenceError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# What a module can be in itself; without a request it runs so.
OWN_DTYPES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float64: "fp64"}


def find_batch_size(attempt: Callable[[int], None], limit: int = 512) -> int:
    """The largest power of two that still raises throughput by 5 % or more; 1 if `attempt` fails at once.

    Args:
        attempt: processes a batch of the given size; an error ends the search.
        limit: largest size to try.
    """
    best, best_rate, size = 1, 0.0, 1
    while size <= limit:
        try:
            attempt(size)  # not timed: allocates memory, and libraries choose their kernels
            start = time.perf_counter()
            attempt(size)
        except Exception:  # out of memory, or the module's own error, which later is recorded for each image
            break
        rate = size / (time.perf_counter() - start)
        if rate < best_rate * 1.05:
            break
        best, best_rate, size = size, rate, size * 2
    return best


def time_passes(run: Callable[[dict[int, torch.Tensor], int], object], size: int, n: int = 3) -> float:
    """Seconds of a pass over blank images, with copies to and from the device: the least of n, after one untimed."""
    run({}, size)
    seconds = []
    for _ in range(n):
        start = time.perf_counter()
        run({}, size)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def use_one_thread() -> None:
    """Make torch compute in the calling thread only."""
    torch.set_num_threads(1)


def find_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The torch dtype of convolutions and matrix products.

    Raises:
        ArgumentError: unknown dtype, or not available on this device.
    """
    if dtype not in DTYPES:
        raise ArgumentError(f"no dtype {dtype!r}; give one of {', '.join(DTYPES)}")
    if dtype == "fp16" and device.type == "cpu":
        raise ArgumentError("dtype fp16 runs on CUDA only; on a CPU give bf16 or fp32")
    return DTYPES[dtype]


def name_dtype(module_dtype: torch.dtype, requested: str) -> str:
    """In what a module computes: as requested if it is fp32, else in its own dtype.

    Raises:
        ArgumentError: another dtype is requested of a module that is not fp32.
    """
    own = OWN_DTYPES.get(module_dtype)
    if own is None:
        return requested
    if requested not in ("fp32", own):
        raise ArgumentError(f"the module itself is {own}, so it cannot run as {requested}; leave dtype out")
    return own


def find(name: str) -> list[torch.device]:
    """The devices of that name: "auto" is all GPUs, or the CPU where there are none; "cuda" all GPUs; "cuda:0,1" two.

    Raises:
        ArgumentError: not the name of a device.
        InferenceError: a device is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu(:0)?|cuda(:\d+(,\d+)*)?", name if isinstance(name, str) else ""):
        raise ArgumentError(f"no device {name!r}; give auto, cpu, cuda for all GPUs, or some of them, such as cuda:0,1")
    kind, _, places = name.partition(":")
    if kind == "cpu":
        return [torch.device("cpu")]
    if not torch.cuda.is_available():
        raise InferenceError(f"device {name} was requested, but torch finds no GPU; give auto or cpu")
    there = range(torch.cuda.device_count())
    wanted = list(dict.fromkeys(map(int, places.split(",")))) if places else list(there)
    missing = [place for place in wanted if place not in there]
    if missing:
        raise InferenceError(
            f"there is no cuda:{missing[0]}; torch finds {len(there)} GPUs, cuda:0 to cuda:{there[-1]}"
        )
    return [torch.device("cuda", place) for place in wanted]


def find_failure(device: torch.device) -> str | None:
    """Why a device does nothing any more; None if it works. After some errors CUDA refuses everything in a process."""
    try:
        torch.ones(1, device=device).add_(1).item()
    except Exception as error:
        return f"nor does it compute 1 + 1 ({one_line(error)})"
    return None
