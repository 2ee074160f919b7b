"""Devices: which one there is, its cores, what it computes in, and how many images it takes at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch

from ..errors import ArgumentError, InferenceError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def find_batch_size(attempt: Callable[[int], None], limit: int = 512) -> int:
    """The power of two after which throughput grows by less than 5 % or `attempt` fails; 1 when that fails too."""
    best, best_rate, size = 1, 0.0, 1
    while size <= limit:
        try:
            attempt(size)  # allocates, and lets libraries choose their kernels
            start = time.perf_counter()
            attempt(size)
        except Exception:  # out of memory, or whatever the module raises: a row's error later, never a failed run
            break
        rate = size / (time.perf_counter() - start)
        if rate < best_rate * 1.05:
            break
        best, best_rate, size = size, rate, size * 2
    return best


def use_one_thread() -> None:
    """Let torch compute with the calling thread alone."""
    torch.set_num_threads(1)


def count_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The type of convolutions and matrix products.

    Raises:
        ArgumentError: there is no such dtype, or not on this device.
    """
    if dtype not in DTYPES:
        raise ArgumentError(f"no dtype {dtype!r}; give one of {', '.join(DTYPES)}")
    if dtype == "fp16" and device.type == "cpu":
        raise ArgumentError("dtype fp16 runs on CUDA only; on a CPU give bf16 or fp32")
    return DTYPES[dtype]


def find(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA when there is one.

    Raises:
        ArgumentError: the name of no device.
        InferenceError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ArgumentError(f"no device {name!r}; give auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InferenceError("device cuda was asked for, but torch sees no GPU; give auto or cpu")
    return device
