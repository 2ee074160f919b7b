"""Devices: find the device, its number of cores, its dtype, and the batch size that suits it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from ..core.cores import count_cores as count_cores
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


def find(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA if available, else the CPU.

    Raises:
        ArgumentError: not the name of a device.
        InferenceError: the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ArgumentError(f"no device {name!r}; give auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InferenceError("device cuda was requested, but torch finds no GPU; give auto or cpu")
    return device
