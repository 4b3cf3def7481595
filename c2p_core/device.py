"""Where to compute: on the graphics card or on the processor."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar

import torch

from c2p_core.api import Device
from c2p_core.errors import BadRequest
from c2p_core.gpu_memory import is_out_of_gpu_memory

CPU = torch.device("cpu")
_Result = TypeVar("_Result")


def pick_device(name: Device, warnings: list[str] | None = None) -> torch.device:
    """The device to compute on; ``warnings`` gets a sentence when there is a graphics card that "auto" can't use.

    Raises:
        BadRequest: "cuda" was asked for and is not there, or can't be used.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return CPU
    if not torch.cuda.is_available():
        raise BadRequest("There is no CUDA device here; use --device cpu or auto.")
    why = why_gpu_is_unusable()
    if why and name == "cuda":
        raise BadRequest(f"There is no CUDA device here that PyTorch can use ({why}); use --device cpu or auto.")
    if why and warnings is not None:
        warnings.append(f"PyTorch can't use the graphics card ({why}); the processor does its work.")
    return CPU if why else torch.device("cuda")


def run_first_that_fits(release: Callable[[], None], *attempts: Callable[[], _Result]) -> _Result:
    """The result of the first attempt that the graphics card has memory for; the last one should need no card.

    ``release`` frees what is loaded, before each further attempt.
    """
    for attempt in attempts[:-1]:
        try:
            return attempt()
        except RuntimeError as error:
            if not is_out_of_gpu_memory(error):
                raise
        # Only now: until here the error held what the attempt had made.
        release()
        torch.cuda.empty_cache()
    return attempts[-1]()


@cache
def why_gpu_is_unusable() -> str:
    """Why nothing can be computed on the graphics card that PyTorch has found, empty if it can be.

    PyTorch finds cards too that it was built without code for.
    """
    try:
        torch.ones(1, device="cuda").add(1).item()
    except RuntimeError as error:
        if is_out_of_gpu_memory(error):
            return ""  # it works, and another program fills it
        return str(error).partition("\n")[0] or type(error).__name__
    return ""
