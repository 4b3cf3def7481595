"""Recognises errors of PyTorch and its libraries that mean a graphics card is out of memory."""

from __future__ import annotations

# How messages name CUDA and Apple's MPS.
_CARDS = ("cuda", "mps")


def is_out_of_gpu_memory(error: BaseException) -> bool:
    """Whether an error means that the graphics card is out of memory.

    Judged by the error's class name and text: torch has a class for only some of these errors, and this module has to
    work without torch.
    """
    text = str(error).lower()
    out_of_memory = "_status_alloc_failed" in text or ("out of memory" in text and any(card in text for card in _CARDS))
    return out_of_memory or type(error).__name__ == "OutOfMemoryError"
