from __future__ import annotations

import numpy as np
import pytest
import torch

from c2p_core.recognition import dlib_resnet, faceres, mobileface
from c2p_core.recognition.alignment import Template, crop_chips

DLIB, FACERES, MOBILEFACE = dlib_resnet.TEMPLATE, faceres.TEMPLATE, mobileface.TEMPLATE

TEMPLATES = pytest.mark.parametrize("template", [DLIB, FACERES, MOBILEFACE], ids=["dlib", "faceres", "mobileface"])


def mesh_like(template: Template, scale: float = 1.0, turn: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)):
    """A mesh whose points lie as the template wants them, but moved; the points it doesn't use lie anywhere."""
    points = np.random.default_rng(0).uniform(0, 1, (468, 2))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    for place, indices in zip(template.points, template.mesh, strict=True):
        points[list(indices)] = scale * rotation @ np.array(place) + np.array(shift)
    return torch.tensor(points, dtype=torch.float32)[None]


def smooth(size: int) -> torch.Tensor:
    """A picture in which each place has its own colour, smooth enough to survive resampling."""
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    return torch.stack([x / size, y / size, 0.5 + 0.3 * torch.sin(x / 20) * torch.cos(y / 25)])[None]


@TEMPLATES
def test_a_face_already_aligned_to_the_template_is_only_cropped(template: Template) -> None:
    image = torch.rand(1, 3, template.size + 10, template.size + 10, generator=torch.Generator().manual_seed(0))
    cut = crop_chips(image, mesh_like(template, shift=(3, 4)), template)
    torch.testing.assert_close(cut, image[:, :, 4 : 4 + template.size, 3 : 3 + template.size], atol=1e-3, rtol=0)


@TEMPLATES
@pytest.mark.parametrize("scale", [0.7, 1.8, 3.3])
def test_every_pixel_is_sampled_at_its_transformed_position(template: Template, scale: float) -> None:
    image = smooth(int(scale * template.size * 1.5) + 40)
    turn, shift = 0.2, (0.25 * scale * template.size, 20.0)
    cut = crop_chips(image, mesh_like(template, scale, turn, shift), template)
    centres = np.arange(template.size) + 0.5
    x, y = np.meshgrid(centres, centres)
    expected_x = (scale * (np.cos(turn) * x - np.sin(turn) * y) + shift[0]) / image.shape[3]
    expected_y = (scale * (np.sin(turn) * x + np.cos(turn) * y) + shift[1]) / image.shape[2]
    inside = (expected_x > 0.02) & (expected_x < 0.98) & (expected_y > 0.02) & (expected_y < 0.98)
    assert inside.mean() > 0.8
    np.testing.assert_allclose(cut[0, 0].numpy()[inside], expected_x[inside], atol=2e-3)
    np.testing.assert_allclose(cut[0, 1].numpy()[inside], expected_y[inside], atol=2e-3)


def test_fine_patterns_are_averaged_when_a_face_shrinks() -> None:
    stripes = (torch.arange(900) % 2).float().expand(1, 3, 900, 900)
    cut = crop_chips(stripes, mesh_like(DLIB, 4, shift=(100, 100)), DLIB)
    assert (cut - 0.5).abs().max() < 0.15


def test_each_face_of_a_batch_is_cropped_independently() -> None:
    image = smooth(400)
    meshes = [mesh_like(DLIB, scale, shift=(20, 30)) for scale in (1.4, 1.4)]
    meshes[1] = meshes[1] + 50
    together = crop_chips(image.expand(2, -1, -1, -1), torch.cat(meshes), DLIB)
    alone = torch.cat([crop_chips(image, mesh, DLIB) for mesh in meshes])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_gradients_reach_picture_and_mesh() -> None:
    template = Template(6, MOBILEFACE.points, MOBILEFACE.mesh)
    image = smooth(160).double().requires_grad_()
    mesh = mesh_like(MOBILEFACE, 0.9, 0.1, (5, 6)).double().requires_grad_()
    value = crop_chips(image, mesh, template).square().sum()
    by_image, by_mesh = torch.autograd.grad(value, (image, mesh))
    moved = torch.zeros_like(mesh)
    moved[0, 4, 0] = 1e-4
    with torch.no_grad():
        up, down = (crop_chips(image, mesh + sign * moved, template).square().sum() for sign in (1, -1))
    assert by_mesh[0, 4, 0].item() == pytest.approx(((up - down) / 2e-4).item(), rel=1e-3)
    assert by_image.abs().sum() > 0
