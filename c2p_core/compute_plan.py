"""Plans how a run uses its device, and the fallbacks when the memory of a graphics card runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from c2p_core.device import CPU, release_memory
from c2p_core.errors import Message
from c2p_core.gpu_memory import is_out_of_gpu_memory

_Result = TypeVar("_Result")

# Faces whose search runs in one batch; tests/priors/test_memory_budget.py measures the memory of one.
_FACES_AT_ONCE = 8


@dataclass(frozen=True)
class ComputePlan:
    """How a run uses its device.

    Attributes:
        device: to compute on.
        faces_at_once: how many faces of a photo are searched in one batch.
        recorded: whether the kernels of networks are recorded once and replayed as one (CUDA graphs).
        lean: whether a step uses a single recogniser and keeps saved tensors in the computer's memory.
    """

    device: torch.device
    faces_at_once: int = 1
    recorded: bool = False
    lean: bool = False


@dataclass(frozen=True)
class Attempt:
    """A plan, and a notice for the user if it is not the first one."""

    plan: ComputePlan
    notice: Message | None


def plan_attempts(device: torch.device, faces: int) -> tuple[Attempt, ...]:
    """The plans for a photo, in order of preference; the last one needs no graphics card.

    Args:
        device: to compute on.
        faces: how many faces of the photo are protected.
    """
    if device.type == "cpu":
        return (Attempt(ComputePlan(CPU), None),)
    plan = ComputePlan(device, min(faces, _FACES_AT_ONCE), recorded=device.type == "cuda")
    attempts = [Attempt(plan, None)]
    if plan.faces_at_once > 1:
        plan = replace(plan, faces_at_once=1)
        attempts.append(Attempt(plan, Message("faces-in-turns")))
    if plan.recorded:
        plan = replace(plan, recorded=False)
        attempts.append(Attempt(plan, Message("search-without-graphs")))
    attempts.append(Attempt(replace(plan, lean=True), Message("search-in-turns")))
    attempts.append(Attempt(ComputePlan(CPU), Message("photo-on-processor")))
    return tuple(attempts)


def run_first_that_fits(
    release: Callable[[], None], attempts: Sequence[Attempt], work: Callable[[Attempt], _Result]
) -> _Result:
    """Try one plan after the other until one does not run out of GPU memory; return its result.

    Args:
        release: frees loaded models; called before each further attempt.
        attempts: in order of preference; errors with the last one propagate.
        work: does all of the work under a plan.
    """
    for attempt in attempts[:-1]:
        try:
            return work(attempt)
        except RuntimeError as error:
            if not is_out_of_gpu_memory(error):
                raise
        # Outside the handler: the exception holds references to the tensors of the failed attempt.
        release()
        release_memory()
    return work(attempts[-1])
