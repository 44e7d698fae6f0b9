"""What the machine at hand is good at."""

import time

import torch

_SIZE = 1024
_TRIALS = 5


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
