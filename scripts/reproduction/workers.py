"""Distribute work over several processes: on a CPU, networks this small gain more from that than from threads."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

import torch
from tqdm import tqdm

from dataset_diffusion.parallel import end_with_parent

Job = TypeVar("Job")


def run_in_processes(
    work: Callable[[Job], None], jobs: Sequence[Job], at_once: int, what: str, unit: str, jobs_a_process: int = 1
) -> None:
    """Call `work` with each job, several at once, with a progress bar; the first failure ends all.

    Each process has its share of the cores and does about `jobs_a_process` jobs; then new processes are started.
    """
    if not jobs:
        return
    # Not max_tasks_per_child: in Python 3.11 a pool whose processes end can fail to start others and wait forever
    # (CPython issue 115634).
    size = at_once * jobs_a_process
    with tqdm(total=len(jobs), desc=what, unit=unit, dynamic_ncols=True) as bar:
        for start in range(0, len(jobs), size):
            _run(work, jobs[start : start + size], at_once, bar)


def _run(work: Callable[[Job], None], jobs: Sequence[Job], at_once: int, bar: "tqdm[None]") -> None:
    threads = max(1, num_cores() // at_once)
    with ProcessPoolExecutor(at_once, get_context("spawn"), _start_worker, (threads,)) as pool:
        running = [pool.submit(work, job) for job in jobs]
        try:
            for finished in as_completed(running):
                finished.result()
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    # A job that kept running after its study was killed would write where the resumed study writes.
    end_with_parent()


def num_cores() -> int:
    """The number of cores that this process can use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_at_once() -> int:
    """One process on a GPU, one per core on a CPU."""
    return 1 if torch.cuda.is_available() else num_cores()
