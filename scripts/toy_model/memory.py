"""How glibc handles memory that is freed."""

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
"""Parameters of mallopt, as malloc.h numbers them."""


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next allocation; elsewhere this does nothing.

    By default it gives large blocks back to the system. Every step of a training on the CPU would then ask for the same
    100,000 pages again, and the system would clear each of them. To be called before threads allocate.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 64 * 2**20), (_ARENA_MAX, 1)):
        mallopt(parameter, value)
