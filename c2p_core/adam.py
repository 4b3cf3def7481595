"""Adam (Kingma and Ba 2015), with the operations of torch's, so that results are the same to the last bit.

``torch.optim`` imports torch's compiler, which takes every process that searches about two seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_EPSILON = 1e-8


@dataclass
class _Averages:
    """Running averages of a parameter's gradients and of their squares."""

    gradient: Tensor
    square: Tensor
    steps: int = 0


class Adam:
    """Minimises a loss by the gradients (``Tensor.grad``) of its parameters."""

    def __init__(self, rates: Mapping[Tensor, float], betas: tuple[float, float]) -> None:
        """Args:
        rates: the learning rate of each parameter; parameters are leaves that require gradients.
        betas: decay rates of the averages of gradients and of their squares.
        """
        self._rates = rates
        self._betas = betas
        self._averages: dict[Tensor, _Averages] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._rates:
            parameter.grad = None

    @torch.no_grad()
    def step(self, scale: float = 1.0) -> None:
        """Update the parameters that have gradients, with all learning rates multiplied by ``scale``."""
        beta, square_beta = self._betas
        for parameter, rate in self._rates.items():
            gradient = parameter.grad
            if gradient is None:
                continue
            averages = self._averages.get(parameter)
            if averages is None:
                averages = _Averages(torch.zeros_like(parameter), torch.zeros_like(parameter))
                self._averages[parameter] = averages
            averages.steps += 1
            averages.gradient.lerp_(gradient, 1 - beta)
            averages.square.mul_(square_beta).addcmul_(gradient, gradient, value=1 - square_beta)
            size = rate * scale / (1 - beta**averages.steps)
            correction = (1 - square_beta**averages.steps) ** 0.5
            parameter.addcdiv_(averages.gradient, (averages.square.sqrt() / correction).add_(_EPSILON), value=-size)
