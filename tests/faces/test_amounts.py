"""How much of a change is applied."""

from __future__ import annotations

import torch

from c2p_core.faces.amounts import AS_FOUND, MAX_AMOUNT, Amounts, scale_change
from c2p_core.faces.canvas import Change

CHANGE = Change(
    torch.full((2, 4, 4), 3.0),
    torch.full((3, 8, 8), 0.2),
    torch.ones(2, 8, 8),
    lambda maps: 0.1 * maps[:1].expand(3, -1, -1)[None],
    ("lipstick",),
)


def test_each_part_is_scaled_by_its_own_amount_and_that_of_everything() -> None:
    scaled = scale_change(CHANGE, Amounts(amount=0.5, shape=0.0, light=1.2, makeup=0.5))
    assert scaled.displacement.eq(0).all()
    assert torch.allclose(scaled.density, torch.tensor(0.2 * 0.6))
    assert torch.allclose(scaled.paint(CHANGE.maps), torch.tensor(0.1 * 0.25))
    assert scaled.products == CHANGE.products


def test_unscaled_changes_are_returned_unchanged() -> None:
    assert scale_change(CHANGE, AS_FOUND) is CHANGE


def test_two_amounts_together_go_no_further_than_one() -> None:
    assert Amounts(amount=1.2, shape=1.2, light=0.5, makeup=1.0).factors() == (MAX_AMOUNT, 0.6, MAX_AMOUNT)
