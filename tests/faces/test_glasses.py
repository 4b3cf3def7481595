"""Glasses are told from a bare face by their rims, and keep still."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from c2p_core.faces.align import CANVAS, LEFT_EYE, RIGHT_EYE
from c2p_core.faces.canvas import CanvasFace
from c2p_core.faces.glasses import detect_glasses, find_rims
from c2p_core.models.store import ModelStore
from c2p_core.priors.complexion import load_basis
from c2p_core.priors.makeup import MakeupPrior

_SCALE = 4  # drawn so many times larger, then reduced
_RADIUS = 27.0
_WIRE = (30, 25, 25)


def draw_glasses(face: CanvasFace, width: float) -> NDArray[np.float32]:
    """(256, 256, 3): the face with round glasses whose dark wire is ``width`` canvas pixels wide."""
    mesh = face.mesh.numpy()
    image = Image.fromarray((face.pixels.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).resize((256 * _SCALE,) * 2)
    pen = ImageDraw.Draw(image)
    left, right = mesh[list(LEFT_EYE)].mean(0), mesh[list(RIGHT_EYE)].mean(0)
    for x, y in (left, right):
        box = [(x - _RADIUS) * _SCALE, (y - _RADIUS) * _SCALE, (x + _RADIUS) * _SCALE, (y + _RADIUS) * _SCALE]
        pen.ellipse(box, outline=_WIRE, width=round(width * _SCALE))
    bridge = [(left[0] + _RADIUS, left[1] - 6), (right[0] - _RADIUS, right[1] - 6)]
    pen.line([(x * _SCALE, y * _SCALE) for x, y in bridge], fill=_WIRE, width=round(width * _SCALE))
    return np.array(image.resize((256, 256), Image.Resampling.BOX), dtype=np.float32) / np.float32(255)


@pytest.mark.parametrize("width", [1.0, 5.0])
def test_thin_and_thick_glasses_are_found_with_their_bridge(astronaut_canvas: CanvasFace, width: float) -> None:
    mesh = astronaut_canvas.mesh.numpy()
    mask = detect_glasses(draw_glasses(astronaut_canvas, width), mesh)
    left, right = mesh[list(LEFT_EYE)].mean(0), mesh[list(RIGHT_EYE)].mean(0)
    below = np.round(left + np.array([0.0, _RADIUS])).astype(int)
    bridge = np.round((left + right) / 2 - np.array([0.0, 6.0])).astype(int)
    chin = np.round(mesh[152]).astype(int)
    assert mask[below[1], below[0]] == mask[bridge[1], bridge[0]] == 1.0
    assert mask[chin[1], chin[0]] == 0.0


def test_the_rim_is_traced_within_three_pixels(astronaut_canvas: CanvasFace) -> None:
    mesh = astronaut_canvas.mesh.numpy()
    (left, _), _ = find_rims(draw_glasses(astronaut_canvas, 2.0), mesh)
    away = np.linalg.norm(left.points - mesh[list(LEFT_EYE)].mean(0), axis=1)
    assert abs(np.median(away) - _RADIUS) < 3.0


def test_a_face_without_glasses_has_an_empty_mask(astronaut_canvas: CanvasFace) -> None:
    bare = astronaut_canvas.pixels.permute(1, 2, 0).numpy()
    assert detect_glasses(bare, astronaut_canvas.mesh.numpy()).max() == 0.0


def test_the_search_moves_no_rim(astronaut_canvas: CanvasFace, store: ModelStore) -> None:
    with_glasses = replace(
        astronaut_canvas, pixels=torch.from_numpy(draw_glasses(astronaut_canvas, 2.0)).permute(2, 0, 1)
    )
    face = MakeupPrior(load_basis(store.obtain("complexion")), torch.device("cpu")).invert(with_glasses, 0.7)
    generator = torch.Generator().manual_seed(0)
    code = {name: torch.randn(part.shape, generator=generator) for name, part in face.start().items()}
    moved = face.render(code).displacement.norm(dim=0).numpy()
    rims, _ = find_rims(draw_glasses(astronaut_canvas, 2.0), astronaut_canvas.mesh.numpy())
    for rim in rims:
        x, y = (rim.points * len(moved) / CANVAS).astype(int).T
        assert moved[y, x].max() < 0.3 < 1.0 < moved.max()
