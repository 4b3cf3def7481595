"""Returns freed memory to the system; glibc only, elsewhere nothing is done."""

from __future__ import annotations

import ctypes
import sys

_M_ARENA_MAX = -8  # of glibc's malloc.h


def share_one_heap() -> None:
    """Make all threads share one heap: with heaps of their own, threads retain freed memory."""
    _call_glibc("mallopt", _M_ARENA_MAX, 1)


def give_back() -> None:
    """Return freed memory to the system, which glibc would retain."""
    _call_glibc("malloc_trim", 0)


def _call_glibc(name: str, *arguments: int) -> None:
    if sys.platform == "linux":
        function = getattr(ctypes.CDLL(None), name, None)  # other C libraries have none
        if function is not None:
            function(*arguments)
