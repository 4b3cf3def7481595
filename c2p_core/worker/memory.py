"""Returns freed memory to the system; has no effect without glibc."""

from __future__ import annotations

import ctypes
import sys

_M_ARENA_MAX = -8  # of glibc's malloc.h


def share_one_heap() -> None:
    """Make all threads share one heap, because per-thread heaps retain freed memory."""
    _call_glibc("mallopt", _M_ARENA_MAX, 1)


def give_back() -> None:
    """Return freed memory, which glibc would retain, to the system."""
    _call_glibc("malloc_trim", 0)


def _call_glibc(name: str, *arguments: int) -> None:
    if sys.platform == "linux":
        function = getattr(ctypes.CDLL(None), name, None)  # other C libraries have none
        if function is not None:
            function(*arguments)
