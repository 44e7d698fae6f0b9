"""The peak memory of a process."""

import math
import resource
import sys
from pathlib import Path


def peak_mebibytes(process: int | str = "self") -> float:
    """The peak memory of a running process, given by its id, since its program started, in MiB.

    Linux reports it in /proc. getrusage reports more there, because a child process inherits the peak of its parent.
    Other systems have only getrusage, and only for this process; for any other the result is nan.
    """
    status = Path(f"/proc/{process}/status")
    if status.exists():
        return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    if process != "self":
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
