"""Chooses between graphics card and processor; frees and measures memory."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F

from c2p_core.api import Device
from c2p_core.errors import BadRequest, Message, first_line
from c2p_core.gpu_memory import is_out_of_gpu_memory

CPU = torch.device("cpu")
_APPLE = "Apple GPU (MPS)"


def pick_device(name: Device, warnings: list[Message] | None = None) -> torch.device:
    """Pick the device to compute on; "auto" appends to ``warnings`` when there is a graphics card that it can't use.

    "auto" takes CUDA only. Apple's MPS has to be named, because the search has not been evaluated on it yet.

    Raises:
        BadRequest: ``name`` is "cuda" or "mps" and there is no such usable graphics card.
    """
    kind = "cuda" if name == "auto" else name
    if kind == "cpu" or (name == "auto" and not _is_available(kind)):
        return CPU
    if not _is_available(kind):
        raise BadRequest("cuda-missing") if kind == "cuda" else BadRequest("mps-missing")
    problem = find_gpu_problem(kind)
    if problem and name == "cuda":
        raise BadRequest("cuda-unusable", reason=problem)
    if problem and name == "mps":
        raise BadRequest("mps-unusable", reason=problem)
    if problem and warnings is not None:
        warnings.append(Message("gpu-unusable", reason=problem))
    return CPU if problem else torch.device(kind)


def _is_available(kind: str) -> bool:
    return torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()


@cache
def find_gpu_problem(kind: str = "cuda") -> str:
    """Find out why PyTorch can't compute on the graphics card that it reports; empty if it can.

    PyTorch also reports cards for which its build has no kernels, and MPS lacks some of them in older systems.

    Args:
        kind: "cuda" or "mps".
    """
    try:
        torch.ones(1, device=kind).add(1).item()
        if kind == "mps":
            _differentiate_sampling(kind)
    except RuntimeError as error:
        if is_out_of_gpu_memory(error):
            return ""  # usable, but its memory is full at the moment
        return first_line(error)
    return ""


def _differentiate_sampling(kind: str) -> None:
    """Run the operation that every search step needs; with ``PYTORCH_ENABLE_MPS_FALLBACK`` it may run on the CPU."""
    picture = torch.ones(1, 1, 2, 2, device=kind, requires_grad=True)
    grid = torch.zeros(1, 1, 1, 2, device=kind, requires_grad=True)
    F.grid_sample(picture, grid, padding_mode="border", align_corners=False).sum().backward()


def name_device(device: torch.device) -> str | None:
    """The name of the graphics card; None for the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _APPLE if device.type == "mps" else None


def release_memory() -> None:
    """Give memory that PyTorch keeps for later use back to the graphics cards."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def begin_measuring(device: torch.device) -> None:
    """Reset the peak that ``measure_peak_memory`` returns."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def measure_peak_memory(device: torch.device) -> int | None:
    """Measure the peak of the graphics card's memory in bytes; None on a processor.

    MPS keeps no record of the peak. The memory allocated by its driver is an upper limit: it shrinks only on release.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    return None
