"""Recognises errors which mean that the computer's memory, rather than a graphics card's, is full."""

from __future__ import annotations

import errno

from c2p_core.errors import C2PError

# Messages of libraries that don't raise MemoryError: torch and oneDNN, libvips, the system's mmap and loader, and
# Python's threads.
_PHRASES = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "enforce fail at alloc_cpu",
    "bad_alloc",
    "could not create a primitive",
    "failed to map segment from shared object",
    "can't start new thread",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that led to it, means that memory is full."""
    current: BaseException | None = error
    while current is not None:
        if _reports_full_memory(current):
            return True
        current = current.__cause__ or current.__context__
    return False


def _reports_full_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM  # its text may contain the name of a file
    text = "" if isinstance(error, C2PError) else str(error).lower()
    return isinstance(error, MemoryError) or any(phrase in text for phrase in _PHRASES)
