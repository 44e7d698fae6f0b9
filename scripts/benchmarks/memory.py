"""The peak memory of a process."""

import math
import resource
import sys
from pathlib import Path


def peak_mebibytes(process: int | str = "self") -> float:
    """The most memory that a running process, by its number, has had since its program began, in MiB.

    Linux says so in /proc. What getrusage says there is more: a started process takes over the peak of the one that
    started it. Elsewhere there is only that, and only of this process: of another it is nan.
    """
    status = Path(f"/proc/{process}/status")
    if status.exists():
        return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    if process != "self":
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
