"""How PyTorch and its libraries say that a graphics card is full."""

from __future__ import annotations


def is_out_of_gpu_memory(error: BaseException) -> bool:
    """Whether this says that the graphics card has too little memory.

    By name and words: torch has a class for one of the ways in which it says so, and who asks may do without torch.
    """
    said = str(error).lower()
    full = "_status_alloc_failed" in said or ("cuda" in said and "out of memory" in said)
    return full or type(error).__name__ == "OutOfMemoryError"
