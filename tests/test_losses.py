"""The terms of the search's loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from c2p_core.losses import adversarial_loss, clip_loss, latent_loss, visibility_penalty


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize(
    ("similarity", "loss"),
    [(0.1, 0.0), (0.3, 0.0), (0.4, 0.1 / 0.7), (0.5, 0.2 / 0.7), (0.6, (0.3 + 3 * 0.1) / 0.7)],
)
def test_the_adversarial_loss_begins_at_the_margin_and_is_steeper_above_the_threshold(
    similarity: float, loss: float
) -> None:
    actual = adversarial_loss(number(similarity), None, far1=0.5, impostor_std=0.1, margin=2.0)
    assert float(actual) == pytest.approx(loss)


@pytest.mark.parametrize(("similarity", "loss"), [(0.3, 0.5 * 0.5), (0.6, 0.0), (0.9, 0.0)])
def test_the_decoy_loss_is_zero_half_a_margin_above_the_threshold(similarity: float, loss: float) -> None:
    actual = adversarial_loss(number(0.0), number(similarity), far1=0.5, impostor_std=0.1, margin=2.0)
    assert float(actual) == pytest.approx(loss)


@pytest.mark.parametrize(
    ("change", "loss"), [((0.0, 0.0), 1.0), ((10.0, 0.0), 0.0), ((0.0, 9.0), 1.0), ((-9.0, 0.0), 2.0)]
)
def test_the_clip_loss_is_one_minus_the_cosine_of_change_and_text(change: tuple[float, float], loss: float) -> None:
    before = torch.rand(1, 2)
    actual = clip_loss(before, before + torch.tensor([change]), torch.tensor([1.0, 0.0]))
    assert float(actual) == pytest.approx(loss, abs=1e-4)


def test_the_latent_loss_is_the_mean_square_of_each_part_and_the_bending() -> None:
    parts = [torch.full((4,), 2.0), torch.full((3, 3), 1.0)]
    assert float(latent_loss(parts, torch.tensor(0.5))) == pytest.approx(4.0 + 1.0 + 0.5)


def test_the_visibility_penalty_is_zero_within_the_limits() -> None:
    assert float(visibility_penalty(torch.tensor([0.0, 0.7, 1.0]), torch.tensor(0.0))) == 0.0
    assert float(visibility_penalty(torch.tensor([0.0, 3.0, 2.0]), torch.tensor(0.5))) == pytest.approx(4 + 1 + 5)
