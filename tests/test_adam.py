"""The search's optimiser takes the steps of torch's."""

from __future__ import annotations

import torch
from torch import Tensor

from c2p_core.adam import Adam

RATES, BETAS = (0.3, 0.05), (0.5, 0.8)


def make_parameters() -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=draw).requires_grad_() for shape in ((5, 7), (3,), (2, 2))]


def loss(parameters: list[Tensor]) -> Tensor:
    """Of all parameters but the last."""
    return sum((parameter**4 - parameter).sum() for parameter in parameters[:2])  # type: ignore[return-value]


def test_steps_with_falling_rates_are_those_of_torch_to_the_last_bit() -> None:
    ours, theirs = make_parameters(), make_parameters()
    adam = Adam(dict(zip(ours, (*RATES, 1.0), strict=True)), BETAS)
    groups = [{"params": [part], "lr": rate} for part, rate in zip(theirs, (*RATES, 1.0), strict=True)]
    reference = torch.optim.Adam(groups, betas=BETAS)
    schedule = torch.optim.lr_scheduler.LambdaLR(reference, lambda step: 1.0 - 0.95 * step / 20)
    for step in range(20):
        for optimiser, parameters in ((adam, ours), (reference, theirs)):
            optimiser.zero_grad()
            loss(parameters).backward()
        adam.step(1.0 - 0.95 * step / 20)
        reference.step()
        schedule.step()
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_a_parameter_without_a_gradient_stays() -> None:
    parameters = make_parameters()
    before = parameters[2].clone()
    adam = Adam(dict.fromkeys(parameters, 1.0), BETAS)
    loss(parameters).backward()
    adam.step()
    assert torch.equal(parameters[2], before)
