"""Regions of a face on its canvas."""

from __future__ import annotations

import numpy as np

from c2p_core.faces import regions
from c2p_core.faces.canvas import CanvasFace


def test_skin_fades_slowly_over_the_forehead_where_the_outline_ends_on_bare_skin(astronaut_canvas: CanvasFace) -> None:
    mesh = astronaut_canvas.mesh.numpy()
    pixels = np.full((256, 256, 3), (0.8, 0.6, 0.5), np.float32)
    column = regions.skin_mask(pixels, mesh)[:, int(mesh[10, 0])]
    top, brows = int(mesh[10, 1]), int(mesh[[66, 296], 1].min())
    steepest = np.abs(np.diff(column[top - 5 : brows])).max()
    assert column[top] < 0.05 < 0.6 < column[brows - 4]
    assert steepest < 0.1


def test_distances_follow_landmarks_that_move(astronaut_canvas: CanvasFace) -> None:
    mesh = astronaut_canvas.mesh.numpy().copy()
    before = regions.signed_distance(mesh, regions.OVAL)
    mesh += 10.0
    np.testing.assert_allclose(regions.signed_distance(mesh, regions.OVAL)[10:, 10:], before[:-10, :-10], atol=0.5)
    assert regions.signed_distance(mesh, regions.OVAL) is regions.signed_distance(mesh, regions.OVAL)
