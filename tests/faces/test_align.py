"""Alignment: the canvas holds the face upright, and nothing is lost between canvas and photo."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from c2p_core.api import Face
from c2p_core.faces.align import (
    CANVAS_EYE_DISTANCE,
    CANVAS_EYES,
    LEFT_EYE,
    RIGHT_EYE,
    Alignment,
    align,
    crop,
    fit_similarity,
    transform_points,
)

angles = st.floats(-math.pi, math.pi)
scales = st.floats(0.05, 40.0)
shifts = st.floats(-5000.0, 5000.0)


def matrix(angle: float, scale: float, x: float, y: float) -> np.ndarray:
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


@given(angles, scales, shifts, shifts)
def test_canvas_and_photo_transforms_are_inverse(angle: float, scale: float, x: float, y: float) -> None:
    alignment = Alignment(matrix(angle, scale, x, y))
    points = np.array([[0.0, 0.0], [128.0, 40.0], [256.0, 256.0]])
    there = alignment.to_photo[:, :2] @ points.T + alignment.to_photo[:, 2:]
    back = alignment.to_canvas[:, :2] @ there + alignment.to_canvas[:, 2:]
    assert np.allclose(back.T, points, atol=1e-6)


@given(angles, scales, st.floats(-100, 100), st.floats(-100, 100))
def test_fit_similarity_recovers_the_transform(angle: float, scale: float, x: float, y: float) -> None:
    source = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.3, 2.0], [-1.0, 1.0]], dtype=torch.float64)
    wanted = torch.from_numpy(matrix(angle, scale, x, y))
    target = source @ wanted[:, :2].T + wanted[:, 2]
    assert torch.allclose(fit_similarity(source, target), wanted, atol=1e-8)


def test_fit_similarity_has_gradients() -> None:
    source = torch.rand(2, 5, 2, dtype=torch.float64, requires_grad=True)
    target = torch.rand(5, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: fit_similarity(s, target), (source,))


def test_the_eyes_are_level_at_their_position_on_the_canvas(astronaut_face: Face) -> None:
    alignment = align(astronaut_face.mesh, astronaut_face.eye_distance)
    mesh = transform_points(alignment.to_canvas, astronaut_face.mesh)
    left, right = mesh[list(LEFT_EYE)].mean(0), mesh[list(RIGHT_EYE)].mean(0)
    assert np.allclose((left + right) / 2, CANVAS_EYES, atol=1e-3)
    assert abs(right[1] - left[1]) < 1e-3
    # The eye distance counts depth, so that a face seen a little from the side shows a little less.
    assert 0.9 * CANVAS_EYE_DISTANCE < right[0] - left[0] <= CANVAS_EYE_DISTANCE + 1e-3


def test_a_crop_through_the_identity_is_the_picture() -> None:
    photo = torch.rand(3, 32, 32)
    assert torch.allclose(crop(photo, matrix(0, 1, 0, 0), 32), photo, atol=1e-5)


def test_a_shrinking_crop_averages_instead_of_skipping_pixels() -> None:
    stripes = (torch.arange(256) % 2).float().expand(1, 256, 256)
    small = crop(stripes, matrix(0, 8, 0, 0), 32)
    assert torch.allclose(small[:, 2:-2, 2:-2], torch.full((1, 28, 28), 0.5), atol=0.05)


def test_border_pixels_repeat_outside_the_photo() -> None:
    photo = torch.ones(3, 8, 8) * 0.25
    assert torch.allclose(crop(photo, matrix(0, 1, -20, -20), 16), torch.full((3, 16, 16), 0.25))
