"""How glibc handles freed memory."""

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
"""Parameters of mallopt, numbered as in malloc.h."""


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next allocation; with other C libraries this does nothing.

    By default it returns large blocks to the system. Every training step on the CPU would then request the same 100,000
    pages again, and the system would clear each of them. Call this before threads allocate.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 64 * 2**20), (_ARENA_MAX, 1)):
        mallopt(parameter, value)
