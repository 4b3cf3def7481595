"""Keeps what a backward pass needs in the computer's memory instead of the graphics card's."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

_Kept = Tensor | tuple[torch.device, Tensor]


def keep_in_main_memory() -> AbstractContextManager[None]:
    """Within it, what operations on a graphics card save for the backward pass waits in the computer's memory.

    Of the activations, the card then only holds those of the layer at work, so that a search or a tuning of any depth
    fits; the way to and fro takes time. Results are the same to the bit, and on a processor nothing changes.
    """
    return torch.autograd.graph.saved_tensors_hooks(_put_aside, _fetch)


def _put_aside(saved: Tensor) -> _Kept:
    # Weights stay on the card in any case.
    if saved.device.type == "cpu" or is_weight(saved):
        return saved
    return saved.device, saved.to("cpu")


def is_weight(saved: Tensor) -> bool:
    """Whether a tensor is a network's weights, or a view of them, such as the transpose that a dense layer saves."""
    return isinstance(saved if saved._base is None else saved._base, nn.Parameter)


def _fetch(kept: _Kept) -> Tensor:
    if isinstance(kept, Tensor):
        return kept
    device, saved = kept
    return saved.to(device)
