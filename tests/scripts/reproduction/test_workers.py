"""Jobs distributed to processes: all are done, and failures are not swallowed."""

import os
from pathlib import Path

import pytest

from scripts.reproduction.workers import run_in_processes


def touch(path: Path) -> None:
    path.write_text("done")


def write_process(path: Path) -> None:
    path.write_text(str(os.getpid()))


def test_all_jobs_are_done(tmp_path: Path) -> None:
    paths = [tmp_path / str(index) for index in range(3)]
    run_in_processes(touch, paths, 2, "files", "file", jobs_a_process=2)
    assert all(path.read_text() == "done" for path in paths)


def test_processes_are_replaced_after_their_jobs(tmp_path: Path) -> None:
    paths = [tmp_path / str(index) for index in range(3)]
    run_in_processes(write_process, paths, 1, "files", "file", jobs_a_process=2)
    assert len({path.read_text() for path in paths}) == 2


def test_the_first_failure_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run_in_processes(touch, [tmp_path / "missing" / "file"], 1, "files", "file")
