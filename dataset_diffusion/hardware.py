"""What the machine at hand is good at."""

import time

import torch

from dataset_diffusion.errors import InputError

_SIZE = 1024
_TRIALS = 5


def choose_device(name: str, setting: str) -> torch.device:
    """The device of a name: auto, cpu, cuda, cuda:0 or mps. Raises InputError "setting=name: ..." if there is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = name.partition(":")
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": torch.backends.mps.is_available()}
    if kind not in counts or not (index.isdecimal() or not index):
        raise InputError(f"{setting}={name}: must be auto, cpu, cuda, cuda:0 (1, ...) or mps")
    if int(index or 0) >= counts[kind]:
        raise InputError(f"{setting}={name}: this machine, or this build of torch, has no such device; try auto")
    return torch.device(name)


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether bfloat16 is worth its lost digits on `device`: at least 1.25 times as fast as float32.

    CPUs that have its instructions differ too much for a list of them: with some it is twice as fast as float32, with
    others half as fast. So a matrix product is timed, in milliseconds.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return 1.25 * _product_time(torch.bfloat16) < _product_time(torch.float32)


def _product_time(dtype: torch.dtype) -> float:
    """Seconds of the fastest of a few products of two matrices on the CPU."""
    matrix = torch.ones(_SIZE, _SIZE, dtype=dtype)
    times = []
    for _ in range(_TRIALS):
        start = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - start)
    return min(times)
