"""Data parallelism with torchrun: each process computes the gradients of its batch, and all use their mean.

This pays off on a CPU too: one single-threaded process per core sees more samples than one process with several
threads.
"""

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def join_processes() -> None:
    """Join the processes that torchrun started; a single process has nothing to join."""
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def process_rank() -> int:
    """0 ... number of processes - 1."""
    return dist.get_rank() if dist.is_initialized() else 0


def num_processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def wait_for_all() -> None:
    """Return when every process has reached this call."""
    if dist.is_initialized():
        dist.barrier()


def any_process(condition: bool) -> bool:
    """Whether the condition holds in any process. Every process must ask."""
    if not dist.is_initialized():
        return condition
    device = torch.device("cuda", process_rank()) if torch.cuda.is_available() else torch.device("cpu")
    count = torch.tensor(float(condition), device=device)
    dist.all_reduce(count)
    return bool(count)


@torch.no_grad()
def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace each `.grad` by its mean over the processes."""
    if not dist.is_initialized():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])  # one message instead of one per gradient
    dist.all_reduce(flat)
    flat /= num_processes()
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, parts, strict=True):
        gradient.copy_(mean.view_as(gradient))
