"""One process, or several: which one this is, and what it needs to work alongside the others."""

import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Self

import torch
from torch import distributed

from dataset_diffusion.errors import InputError
from dataset_diffusion.hardware import find_device

LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
)
"""Where torchrun and accelerate, then srun, give the rank, the number of processes, and the rank on this machine."""


@dataclass(frozen=True)
class Share:
    """This is process `rank` (from 0) of `count` processes that share the work.

    `local_rank` is its number on its machine, or None if unknown. `shows_progress` is true for one of the processes
    that share a terminal.
    """

    rank: int = 0
    count: int = 1
    local_rank: int | None = None
    shows_progress: bool = True

    def __str__(self) -> str:
        return f"{self.rank}/{self.count}"

    def owns(self, number: int) -> bool:
        """Whether the piece of work with this number (from 0) is this process's: every `count`-th one is."""
        return number % self.count == self.rank

    def device_name(self, name: str) -> str:
        """This process's device where the settings say "auto" or "cuda": the GPU with its number on its machine.

        A launcher can show each process only one GPU, which is then the first for all of them.
        """
        num_gpus = torch.cuda.device_count()
        if name not in ("auto", "cuda") or self.local_rank is None or not num_gpus:
            return name
        return f"cuda:{self.local_rank % num_gpus}"


class Stopped(KeyboardInterrupt):
    """A signal asked the process to stop; `status` is the exit status for it: 143 for SIGTERM, 130 for SIGINT."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


@dataclass
class StopSignals:
    """Within its `with` block, SIGTERM and SIGINT raise Stopped, but not during work that must finish first.

    Signals reach only the main thread; in any other thread this does nothing.
    """

    _is_deferred: bool = False
    _pending: int | None = None
    _before: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Finish the block before a stop takes effect; a second Ctrl-C does not wait for it."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
        if self._pending is not None:
            raise Stopped(self._pending)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        is_impatient = number == signal.SIGINT and self._pending == signal.SIGINT
        self._pending = self._pending or number
        if is_impatient or not self._is_deferred:
            raise Stopped(number)


def find_share(shard: str | None, environment: Mapping[str, str] = os.environ) -> Share:
    """Which process this is: as the setting `shard` says ("0/4"), or torchrun, accelerate or srun; else the only one.

    Raises InputError if `shard` does not have this form, or if the launcher's variables are not whole numbers.
    """
    if shard is not None:
        return Share(*parse_shard(shard))
    shares = (_read_share(names, environment) for names in LAUNCHERS)
    return next((share for share in shares if share), Share())


def find_torchrun_share(environment: Mapping[str, str] = os.environ) -> Share:
    """Which process of a training this is: as torchrun says if it started this one; otherwise the only one.

    Raises InputError if its variables are not whole numbers.
    """
    return (under_torchrun(environment) and _read_share(LAUNCHERS[0], environment)) or Share()


def _read_share(names: Sequence[str], environment: Mapping[str, str]) -> Share | None:
    """What a launcher's variables say; None if they are not set."""
    values = [environment.get(name, "") for name in names]
    if not (values[0] and values[1]):
        return None
    if not all(re.fullmatch(r"\d+", value) for value in values if value):
        raise InputError(f"{', '.join(names)}: must be whole numbers in the environment, but are {values}")
    rank, count = int(values[0]), int(values[1])
    return Share(rank, count, int(values[2] or 0), shows_progress=rank == 0)


def parse_shard(shard: str) -> tuple[int, int]:
    """The two numbers of "i/N", i from 0. Raises InputError for anything else."""
    numbers = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not numbers or int(numbers[1]) >= int(numbers[2]):
        raise InputError(f"shard={shard}: must be i/N, i from 0 to N - 1, e.g. 0/4, 1/4, 2/4, 3/4 for four processes")
    return int(numbers[1]), int(numbers[2])


def under_torchrun(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun started this process."""
    return "LOCAL_RANK" in environment and "WORLD_SIZE" in environment


@contextmanager
def joined_processes(device_name: str) -> Iterator[torch.device]:
    """Join torchrun's other processes if it started this one; yields the device of this process.

    With "auto" or "cuda", each process takes the GPU with its own number.
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
