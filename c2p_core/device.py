"""Chooses between graphics card and processor, and falls back when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar

import torch

from c2p_core.api import Device
from c2p_core.errors import BadRequest, Message
from c2p_core.gpu_memory import is_out_of_gpu_memory

CPU = torch.device("cpu")
_Result = TypeVar("_Result")


def pick_device(name: Device, warnings: list[Message] | None = None) -> torch.device:
    """Pick the device to compute on; "auto" appends to ``warnings`` when there is a graphics card that it can't use.

    Raises:
        BadRequest: ``name`` is "cuda" and there is no usable graphics card.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return CPU
    if not torch.cuda.is_available():
        raise BadRequest("cuda-missing")
    why = find_gpu_problem()
    if why and name == "cuda":
        raise BadRequest("cuda-unusable", reason=why)
    if why and warnings is not None:
        warnings.append(Message("gpu-unusable", reason=why))
    return CPU if why else torch.device("cuda")


def run_first_that_fits(release: Callable[[], None], *attempts: Callable[[], _Result]) -> _Result:
    """Run attempts in turn until one does not run out of GPU memory, and return its result.

    Args:
        release: frees loaded models; called before each further attempt.
        attempts: in order of preference; the last one should not need the graphics card, and its errors propagate.
    """
    for attempt in attempts[:-1]:
        try:
            return attempt()
        except RuntimeError as error:
            if not is_out_of_gpu_memory(error):
                raise
        # Outside the handler: the exception holds references to the tensors of the failed attempt.
        release()
        torch.cuda.empty_cache()
    return attempts[-1]()


@cache
def find_gpu_problem() -> str:
    """Why PyTorch can't compute on the graphics card that it reports; empty when it can.

    PyTorch also reports cards for which its build has no kernels.
    """
    try:
        torch.ones(1, device="cuda").add(1).item()
    except RuntimeError as error:
        if is_out_of_gpu_memory(error):
            return ""  # usable, but its memory is full at the moment
        return str(error).partition("\n")[0] or type(error).__name__
    return ""
