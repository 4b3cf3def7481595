"""What is bent already is not bent again, and the whole stays within the limit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from c2p_core.colour import linear_to_srgb, srgb_to_linear
from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE
from c2p_core.faces.canonical import load_mean_face
from c2p_core.faces.canvas import CanvasFace, warp_points
from c2p_core.models.store import ModelStore
from c2p_core.priors.earlier import bound_tone, find_earlier_change, measure_movement_budget
from c2p_core.priors.renderer import FaceRenderer
from c2p_core.priors.strength import compute_strength_limits
from c2p_core.products.catalogue import PRODUCTS
from c2p_core.products.codes import make_bare_code, product_row

CELLS = 64
SPREAD = (np.random.default_rng(0).random((468, 2)) * 160 + 48).astype(np.float32)


def make_wave(size: float) -> torch.Tensor:
    """(2, 64, 64) displacement of this size."""
    phase = torch.linspace(0, 6.28, CELLS)
    return size * torch.stack([phase.sin().expand(CELLS, CELLS), phase.cos().expand(CELLS, CELLS)])


@pytest.mark.parametrize("already", [0.0, 0.25, 0.5, 1.5])
@pytest.mark.parametrize("size", [0.1, 20.0])
def test_earlier_and_new_movements_together_stay_within_the_limit(already: float, size: float) -> None:
    limit = 1.0 / CANVAS_EYE_DISTANCE  # one canvas pixel
    origin = SPREAD - np.array([already, 0.0], np.float32)
    confined = measure_movement_budget(SPREAD, origin, limit).confine(make_wave(size))
    moved = warp_points(confined, torch.from_numpy(SPREAD)) - torch.from_numpy(origin)
    assert float(moved.norm(dim=1).mean()) <= max(already, 1.0) + 1e-4
    # A small movement is left as it is where there is room for it.
    assert torch.equal(confined, make_wave(size)) is (size == 0.1 and already < 0.3)
    # One that was moved is not moved again.
    assert (float(confined.abs().max()) < 1e-4) is (already > 0.3)


@pytest.fixture(scope="module")
def darkened(astronaut_canvas: CanvasFace) -> CanvasFace:
    """The face with a dark cheek and a green patch, and a brighter photo around it all."""
    y, x = torch.meshgrid(torch.arange(CANVAS), torch.arange(CANVAS), indexing="ij")
    cheek = 0.25 * torch.exp(-((x - 90) ** 2 + (y - 150) ** 2) / 400)
    linear = srgb_to_linear(astronaut_canvas.pixels) * torch.exp(-cheek)
    linear[:, 70:85, 120:140] = torch.tensor([0.0, 0.5, 0.0])[:, None, None]
    return replace(astronaut_canvas, pixels=linear_to_srgb(1.2 * linear), original=astronaut_canvas)


def test_earlier_tone_is_distinguished_from_global_and_local_edits(darkened: CanvasFace) -> None:
    assert darkened.original is not None
    earlier = find_earlier_change(darkened, darkened.original, 0.02)
    assert float(earlier.tone[150, 90]) == pytest.approx(0.25, abs=0.06)
    assert float(earlier.tone[165, 160].abs()) < 0.05, "the photo's brightness is no tone"
    assert float(earlier.edited[78, 130]) == 1 and float(earlier.edited[150, 90]) < 0.1
    assert earlier.budget.remaining == pytest.approx(0.02 * CANVAS_EYE_DISTANCE)


def test_tone_of_both_runs_together_stays_within_the_limit() -> None:
    limit = torch.full((CANVAS, CANVAS), 0.3)
    for earlier, asked, given in (
        (0.2, 0.5, 0.1),
        (0.2, -0.6, -0.5),
        (0.4, 0.1, 0.0),
        (-0.4, -0.1, 0.0),
        (0.0, 0.1, 0.1),
    ):
        added = bound_tone(torch.full((3, CANVAS, CANVAS), asked), torch.full_like(limit, earlier), limit, limit)
        assert added.flatten().tolist() == pytest.approx([given] * added.numel(), abs=1e-4)


def test_a_face_to_be_strengthened_already_has_its_look_and_its_shape(
    darkened: CanvasFace, astronaut_canvas: CanvasFace, store: ModelStore
) -> None:
    bent = replace(darkened, original=replace(astronaut_canvas, mesh=astronaut_canvas.mesh + 2.0))
    limits = compute_strength_limits(0.5)
    renderer = FaceRenderer(bent, load_mean_face(store.obtain("complexion")), limits, torch.device("cpu"))
    look = make_bare_code()
    look[PRODUCTS.index("lips")] = product_row("lips", (0.7, 0.1, 0.1), 1.0)
    worn = renderer.with_look(look)
    code = worn.start()
    unchanged = worn.render(worn.displacement(code), torch.zeros(CANVAS, CANVAS), code)
    assert torch.allclose(unchanged.pixels, bent.pixels, atol=1e-3)
    assert float(worn.displacement({"shape": torch.ones_like(code["shape"])}).abs().max()) < 1e-4
