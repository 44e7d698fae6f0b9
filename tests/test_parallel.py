import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dataset_diffusion import parallel
from dataset_diffusion.errors import InputError
from dataset_diffusion.parallel import parallel_map


def square_but_not_99(number: int) -> int:
    if number == 99:
        raise InputError("99: cannot be squared")
    return number * number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_until_the_first_error(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "FEW", 4)
    read = []
    # Endless, but read only as far as the processes need.
    items = (read.append(number) or number for number in itertools.count())
    results = parallel_map(square_but_not_99, items, workers)
    assert list(itertools.islice(results, 40)) == [number * number for number in range(40)]
    assert len(read) <= 40 + parallel.CHUNK * (parallel.CHUNKS_AHEAD * workers + 1)
    with pytest.raises(InputError, match="99: cannot be squared"):
        list(results)


def test_few_items_start_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "ProcessPoolExecutor", None)
    assert list(parallel_map(abs, range(-3, 0), 2)) == [3, 2, 1]


def write_process_and_wait(path: Path) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(60)


def test_processes_end_if_their_parent_is_killed(tmp_path: Path) -> None:
    paths = [str(tmp_path / str(index)) for index in range(parallel.FEW)]
    code = f"""
from pathlib import Path
from dataset_diffusion.parallel import parallel_map
from tests.test_parallel import write_process_and_wait
list(parallel_map(write_process_and_wait, map(Path, {paths}), 2))
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    written = [tmp_path / str(index) for index in (0, parallel.CHUNK)]  # the first item of each process
    wait_until(lambda: all(path.exists() and path.read_text() for path in written))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not any(is_running(int(path.read_text())) for path in written))


def is_running(process: int) -> bool:
    """Whether a process exists and has not ended; a zombie has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
