"""The devices of this machine, and what they are good at."""

import re
import time
from collections.abc import Sequence

import torch

from dataset_diffusion.errors import InputError

_SMALL, _LARGE = 256, 1024
_TRIALS = 5
_HOPELESS = 32
"""When emulated, a small product takes about two hundred times as long as in float32."""


def find_device(name: str, setting: str = "device", kinds: Sequence[str] = ("cuda", "cpu")) -> torch.device:
    """The device called `name`: one of `kinds`, or a GPU by its number ("cuda:1"); "auto" is the first kind available.

    Raises InputError naming the setting for any other name, and for a device that this machine does not have.
    """
    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if name == "auto":
        name = next(kind for kind in kinds if counts[kind])
    parts = re.fullmatch(r"([a-z]+)(?::(\d+))?", name)
    if not parts or parts[1] not in kinds:
        raise InputError(f"{setting}={name}: must be auto, {', '.join(kinds)}, or a GPU by its number, e.g. cuda:1")
    if int(parts[2] or 0) >= counts[parts[1]]:
        raise InputError(f"{setting}={name}: this machine, or this build of torch, has no such device; try auto")
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """What rounding depends on: a GPU's name; for a CPU, the instructions that torch uses and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"cpu {torch.backends.cpu.get_cpu_capability()}, threads: {torch.get_num_threads()}"
    return device.type


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether bfloat16 is worth its lost digits on `device`: at least 1.25 times as fast as float32.

    CPUs that have bfloat16 instructions differ too much to be listed: on some it is twice as fast as float32, on others
    half as fast. So a matrix product is timed, which takes milliseconds. A CPU that emulates the instructions takes
    seconds for a large product; a small one already shows that it is hopeless.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if _product_time(torch.bfloat16, _SMALL) > _HOPELESS * _product_time(torch.float32, _SMALL):
        return False
    return 1.25 * _product_time(torch.bfloat16, _LARGE) < _product_time(torch.float32, _LARGE)


def _product_time(dtype: torch.dtype, size: int) -> float:
    """Seconds that the fastest of a few products of two matrices takes on the CPU."""
    matrix = torch.ones(size, size, dtype=dtype)
    times = []
    for _ in range(_TRIALS):
        start = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - start)
    return min(times)
