"""The measuring tools of the benchmarks."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.benchmarks.memory import peak_mebibytes
from scripts.benchmarks.validation import fastest_by_turns

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports a child's peak memory without its parent's")
@pytest.mark.parametrize("own", [0, 100])
def test_the_peak_memory_is_only_that_of_the_process_itself(own: int) -> None:
    assert b"x" * 2**28  # This process has used more.
    code = f"from scripts.benchmarks.memory import peak_mebibytes; b'x' * (2**20 * {own}); print(peak_mebibytes())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert own < float(said.stdout) < own + 100 < peak_mebibytes()


def test_two_compared_functions_take_turns() -> None:
    calls: list[str] = []
    times = fastest_by_turns(lambda: calls.append("first"), lambda: calls.append("second"))
    assert calls == ["first", "second"] * 3
    assert len(times) == 2
