"""Returns freed memory to the system; has no effect without glibc."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_M_ARENA_MAX = -8  # of glibc's malloc.h
_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
_MUCH = 256 << 20  # bytes


class _MallocInformation(ctypes.Structure):
    """glibc's ``struct mallinfo2``; ``fordblks`` is the number of free bytes."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _FIELDS)


def share_one_heap() -> None:
    """Make all threads share one heap, because per-thread heaps retain freed memory."""
    _call_glibc("mallopt", _M_ARENA_MAX, 1)


def give_back_if_much() -> None:
    """Return freed memory where it is much: memory that is needed again soon has to be cleared by the system."""
    information = _call_glibc("mallinfo2", result=_MallocInformation)
    if information is None or information.fordblks > _MUCH:
        give_back()


def give_back() -> None:
    """Return freed memory, which glibc would retain, to the system."""
    _call_glibc("malloc_trim", 0)


def _call_glibc(name: str, *arguments: int, result: Any = ctypes.c_int) -> Any:
    """The result of a function of glibc; None without it."""
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
    if function is None:
        return None
    function.restype = result
    return function(*arguments)
