"""How much memory that is free again stays with a process; glibc only, elsewhere nothing is done."""

from __future__ import annotations

import ctypes
import sys

_M_ARENA_MAX = -8  # of glibc's malloc.h


def share_one_heap() -> None:
    """Otherwise every thread gets a heap of its own and keeps parts of what passed through it."""
    _ask_glibc("mallopt", _M_ARENA_MAX, 1)


def give_back() -> None:
    """glibc keeps what was freed; other programs have a better use for it."""
    _ask_glibc("malloc_trim", 0)


def _ask_glibc(name: str, *arguments: int) -> None:
    if sys.platform == "linux":
        function = getattr(ctypes.CDLL(None), name, None)  # other C libraries have none
        if function is not None:
            function(*arguments)
