"""Run many small pieces of work on several processes, in order, with few of them in memory."""

import itertools
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 16
"""Items that a process takes at once."""
CHUNKS_AHEAD = 4
"""Chunks queued ahead for each process."""
FEW = 64
"""This many items are done before processes would have started."""


def parallel_map(
    function: Callable[[Item], Result], items: Iterable[Item], num_workers: int | None = None
) -> Iterator[Result]:
    """`map` on `num_workers` processes (None: one per core), with the results in the order of the items.

    `items` is read only as far as the processes need, so it can be endless; `function` and the items must be picklable.
    With one worker, or for few items, no process is started. The first exception from `function` is raised here.
    """
    workers = available_cores() if num_workers is None else num_workers
    iterator = iter(items)
    first = list(itertools.islice(iterator, FEW))
    iterator = itertools.chain(first, iterator)
    if workers <= 1 or len(first) < FEW:
        yield from map(function, iterator)
        return
    chunks = iter(lambda: list(itertools.islice(iterator, CHUNK)), [])
    # Spawned, not forked: a process that holds a GPU or threads cannot be forked safely.
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool:
        pending: deque[Future[list[Result]]] = deque()
        try:
            for chunk in chunks:
                pending.append(pool.submit(_apply, function, chunk))
                if len(pending) >= CHUNKS_AHEAD * workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    # Ctrl-C reaches every process of a terminal; the parent ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """Make this process, which multiprocessing started, end as soon as its parent has ended, for whatever reason.

    A parent that is killed (SIGKILL, or out of memory) cannot end its processes, and an executor's processes wait for
    work forever.
    """
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _apply(function: Callable[[Item], Result], chunk: list[Item]) -> list[Result]:
    return [function(item) for item in chunk]
