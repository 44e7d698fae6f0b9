"""The devices of the machine at hand, and what they are good at."""

import re
import time
from collections.abc import Sequence

import torch

from dataset_diffusion.errors import InputError

_SMALL, _LARGE = 256, 1024
_TRIALS = 5
_HOPELESS = 32
"""Emulated, a small product takes some two hundred times as long as float32's."""


def find_device(name: str, setting: str = "device", kinds: Sequence[str] = ("cuda", "cpu")) -> torch.device:
    """The device called `name`: one of `kinds`, or a GPU by its number ("cuda:1"); "auto" is the first kind there is.

    Raises InputError that names the setting for any other name, and for a device that this machine does not have.
    """
    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if name == "auto":
        name = next(kind for kind in kinds if counts[kind])
    parts = re.fullmatch(r"([a-z]+)(?::(\d+))?", name)
    if not parts or parts[1] not in kinds:
        raise InputError(f"{setting}={name}: must be auto, {', '.join(kinds)}, or a GPU by its number, as cuda:1")
    if int(parts[2] or 0) >= counts[parts[1]]:
        raise InputError(f"{setting}={name}: this machine, or this build of torch, has no such device; try auto")
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """What rounding depends on: a GPU's name; of a CPU, the instructions that torch uses, and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"cpu {torch.backends.cpu.get_cpu_capability()}, threads: {torch.get_num_threads()}"
    return device.type


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether bfloat16 is worth its lost digits on `device`: at least 1.25 times as fast as float32.

    CPUs that have its instructions differ too much for a list of them: with some it is twice as fast as float32, with
    others half as fast. So a matrix product is timed, in milliseconds. A CPU that emulates them
    takes seconds for a large one; that it is hopeless shows in a small one.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if _product_time(torch.bfloat16, _SMALL) > _HOPELESS * _product_time(torch.float32, _SMALL):
        return False
    return 1.25 * _product_time(torch.bfloat16, _LARGE) < _product_time(torch.float32, _LARGE)


def _product_time(dtype: torch.dtype, size: int) -> float:
    """Seconds of the fastest of a few products of two matrices on the CPU."""
    matrix = torch.ones(size, size, dtype=dtype)
    times = []
    for _ in range(_TRIALS):
        start = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - start)
    return min(times)
