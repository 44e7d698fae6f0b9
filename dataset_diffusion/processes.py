"""One process, or several under torchrun."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from dataset_diffusion.hardware import find_device


def under_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "LOCAL_RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def joined_processes(device_name: str) -> Iterator[torch.device]:
    """Join the other processes of torchrun, if it started this one; yields the device of this process.

    With "auto" or "cuda" each process takes the GPU of its own number.
    """
    if not under_torchrun():
        yield find_device(device_name)
        return
    device = find_device(device_name)
    if device.type == "cuda":
        device = find_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()
