"""The expectation over transformations."""

from __future__ import annotations

from dataclasses import replace

import torch

from c2p_core.eot import Transform, draw_transform
from c2p_core.faces.mirror import MIRROR

STILL = Transform(shrink=1.0, gamma=1.0, noise=0.0, mirrored=False, scale=1.0, angle=0.0, shift=torch.zeros(2))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_neutral_transform_changes_nothing() -> None:
    pixels, mesh = torch.rand(3, 256, 256), torch.rand(468, 2) * 256
    assert torch.allclose(STILL.apply_image(pixels, generator()), pixels, atol=2e-4)
    assert torch.allclose(STILL.apply_landmarks(mesh), mesh, atol=1e-3)


def test_the_same_seed_draws_the_same() -> None:
    first, second = draw_transform(generator(3)), draw_transform(generator(3))
    # Without the tensor, which is equal to nothing from Python 3.13 on.
    assert {**vars(first), "shift": None} == {**vars(second), "shift": None}
    assert torch.equal(first.shift, second.shift)


def test_shrinking_loses_detail_and_keeps_the_mean() -> None:
    pixels = torch.rand(3, 256, 256)
    small = replace(STILL, shrink=0.5).apply_image(pixels, generator())
    assert float(small.std()) < 0.7 * float(pixels.std())
    assert abs(float(small.mean() - pixels.mean())) < 0.01


def test_landmarks_rotate_about_their_centre() -> None:
    mesh = torch.rand(468, 2) * 256
    turned = replace(STILL, angle=0.3, scale=1.1).apply_landmarks(mesh)
    assert torch.allclose(turned.mean(0), mesh.mean(0), atol=1e-2)
    spread = (turned - turned.mean(0)).norm() / (mesh - mesh.mean(0)).norm()
    assert abs(float(spread) - 1.1) < 1e-3


def test_gradients_reach_the_picture() -> None:
    pixels = torch.rand(3, 256, 256, requires_grad=True)
    replace(STILL, shrink=0.6, gamma=0.9).apply_image(pixels, generator()).sum().backward()
    assert pixels.grad is not None and float(pixels.grad.abs().min()) > 0


def test_mirror_pairs_left_and_right_landmarks() -> None:
    mirror = torch.tensor(MIRROR)
    assert torch.equal(mirror[mirror], torch.arange(468))
    assert (MIRROR[33], MIRROR[61], MIRROR[1]) == (263, 291, 1)  # eye corners, mouth corners, tip of the nose


def test_a_mirrored_picture_keeps_its_landmarks_on_the_face() -> None:
    mesh = torch.rand(468, 2) * 256
    pixels = torch.rand(3, 256, 256)
    x, y = mesh[61].long().tolist()
    seen = replace(STILL, mirrored=True).apply_image(pixels, generator())
    points = replace(STILL, mirrored=True).apply_landmarks(mesh)
    assert torch.allclose(points[291], torch.stack([256 - mesh[61, 0], mesh[61, 1]]), atol=1e-3)
    assert torch.allclose(seen[:, y, 255 - x], pixels[:, y, x], atol=2e-4)
