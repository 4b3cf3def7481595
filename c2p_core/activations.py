"""Keeps the tensors saved for a backward pass in the computer's memory instead of the graphics card's."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

_SavedTensor = Tensor | tuple[torch.device, Tensor]


def keep_in_main_memory() -> AbstractContextManager[None]:
    """A context in which tensors saved for the backward pass are moved from the card to the computer's memory.

    The card then only holds the activations of the current layer, so that a search or tuning of any depth fits; moving
    them takes time. Results are bit-identical, and on a processor nothing changes.
    """
    return torch.autograd.graph.saved_tensors_hooks(_move_to_main_memory, _move_back)


def _move_to_main_memory(saved: Tensor) -> _SavedTensor:
    # Weights stay on the card in any case.
    if saved.device.type == "cpu" or is_weight(saved):
        return saved
    return saved.device, saved.to("cpu")


def is_weight(saved: Tensor) -> bool:
    """Whether a tensor is a network's weights, or a view of them, such as the transpose that a dense layer saves."""
    return isinstance(saved if saved._base is None else saved._base, nn.Parameter)


def _move_back(stored: _SavedTensor) -> Tensor:
    if isinstance(stored, Tensor):
        return stored
    device, saved = stored
    return saved.to(device)
