"""dd-generate with a pipeline of each newer family: killed midway, compared with an uninterrupted run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset_diffusion.cli import generate as cli
from tests.test_generate import tree
from tests.tiny_families import BUILDERS

NUM_IMAGES = 10
CHECKOUT = Path(__file__).parents[2]

# Imports torch once and forks for each command line that it reads; the fork is the process killed.
SERVER = """
import os, sys
from dataset_diffusion.cli import generate
from dataset_diffusion.generators import loading
for line in sys.stdin:
    folder, *sys.argv[1:] = line.split()
    process = os.fork()
    if not process:
        os.chdir(folder)
        generate.main()
        os._exit(0)
    print(process, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    process = subprocess.Popen([sys.executable, "-c", SERVER], env=environment, cwd=CHECKOUT, **pipes)  # type: ignore[call-overload]
    yield process
    process.stdin.close()
    process.wait()


def run_and_kill(server: subprocess.Popen[str], folder: Path, arguments: list[str], finished: int) -> None:
    """Start a run in `folder`, and kill it once `finished` images exist."""
    server.stdin.write(" ".join([str(folder), *arguments]) + "\n")
    server.stdin.flush()
    process = int(server.stdout.readline())
    deadline = time.monotonic() + 120
    while len(list(folder.glob("data/JPEGImages/*.jpg"))) < finished:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    assert int(server.stdout.readline()) == -signal.SIGKILL


@pytest.mark.parametrize("family", BUILDERS)
def test_killed_runs_end_with_the_same_folder_as_an_uninterrupted_one(
    server: subprocess.Popen[str], family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [
        "output_dir=data",
        f"num_images={NUM_IMAGES}",
        "batch_size=2",
        f"model.path={BUILDERS[family](tmp_path / 'model')}",
        "model.device=cpu",
        "sampler.num_inference_steps=1",
        "sampler.image_size=[32,32]",
        "sampler.scheduler=null",
    ]
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
    run_and_kill(server, tmp_path / "killed", arguments, 1)
    run_and_kill(server, tmp_path / "killed", arguments, 4)
    made = len(list(tmp_path.glob("killed/data/JPEGImages/*.jpg")))
    assert 4 <= made < NUM_IMAGES
    for name in ("killed", "whole"):
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setattr(sys, "argv", ["dd-generate", *arguments])
        cli.main()
    assert tree(tmp_path / "killed/data") == tree(tmp_path / "whole/data")
    assert len(list(tmp_path.glob("whole/data/JPEGImages/*.jpg"))) == NUM_IMAGES
