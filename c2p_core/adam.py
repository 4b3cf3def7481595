"""Adam (Kingma and Ba 2015) by torch's functions.

The classes of ``torch.optim`` import torch's compiler when the first of them is made, which takes every process that
searches about two seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adam import adam


@dataclass(frozen=True)
class _State:
    """Of a parameter: running averages of its gradients and of their squares, and the number of steps."""

    gradient: Tensor
    square: Tensor
    steps: Tensor


class Adam:
    """Minimises a loss by the gradients (``Tensor.grad``) of its parameters."""

    def __init__(self, rates: Mapping[Tensor, float], betas: tuple[float, float]) -> None:
        """Args:
        rates: the learning rate of each parameter; parameters are leaves that require gradients.
        betas: decay rates of the averages of gradients and of their squares.
        """
        self._rates = rates
        self._betas = betas
        self._states = {
            parameter: _State(torch.zeros_like(parameter), torch.zeros_like(parameter), torch.tensor(0.0))
            for parameter in rates
        }

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._rates:
            parameter.grad = None

    @torch.no_grad()
    def step(self, scale: float = 1.0) -> None:
        """Update the parameters that have gradients, with all learning rates multiplied by ``scale``."""
        for parameter, state in self._states.items():
            if parameter.grad is None:
                continue
            adam(
                [parameter],
                [parameter.grad],
                [state.gradient],
                [state.square],
                [],
                [state.steps],
                amsgrad=False,
                beta1=self._betas[0],
                beta2=self._betas[1],
                lr=self._rates[parameter] * scale,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )
