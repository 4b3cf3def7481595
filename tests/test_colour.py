"""Colour conversion against scikit-image and itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede94, rgb2lab

from c2p_core import colour


def test_linear_light_is_inverted_exactly() -> None:
    encoded = torch.linspace(0, 1, 256)
    assert torch.allclose(colour.linear_to_srgb(colour.srgb_to_linear(encoded)), encoded, atol=1e-5)


@pytest.mark.parametrize("gamma", [None, 1.8, 2.2])
def test_a_photos_own_curve_is_inverted_exactly(gamma: float | None) -> None:
    encoded = torch.linspace(0, 1, 256)
    assert torch.allclose(colour.encode(colour.decode(encoded, gamma), gamma), encoded, atol=1e-5)


def test_lab_agrees_with_scikit_image() -> None:
    encoded = np.random.default_rng(0).random((8, 8, 3))
    ours = colour.lab(colour.srgb_to_linear(torch.from_numpy(encoded).permute(2, 0, 1).float()))
    assert np.allclose(ours.permute(1, 2, 0).numpy(), rgb2lab(encoded), atol=0.2)


def test_density_is_the_logarithm_of_light() -> None:
    light = torch.tensor([1.0, 0.5, 0.0])
    assert torch.allclose(torch.exp(-colour.density(light))[:2], light[:2])
    assert torch.isfinite(colour.density(light)).all()


def test_the_colour_difference_agrees_with_scikit_image() -> None:
    generator = np.random.default_rng(0)
    before = rgb2lab(generator.random((8, 8, 3)))
    after = before + generator.normal(0, 4, before.shape)
    ours = colour.difference(*(torch.from_numpy(p).permute(2, 0, 1) for p in (before, after)))
    assert np.allclose(ours.numpy(), deltaE_ciede94(before, after), atol=0.05)


def test_the_gradient_of_a_zero_colour_difference_is_finite() -> None:
    after = torch.full((3, 2, 2), 30.0, requires_grad=True)
    difference = colour.difference(torch.full((3, 2, 2), 30.0), after)
    difference.sum().backward()
    assert float(difference.detach().abs().max()) < 1e-3
    assert after.grad is not None and bool(torch.isfinite(after.grad).all())
