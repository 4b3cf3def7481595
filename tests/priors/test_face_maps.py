"""Where tone may change, and how far."""

from __future__ import annotations

import numpy as np
import pytest

from c2p_core.faces.align import CANVAS
from c2p_core.faces.canvas import CanvasFace
from c2p_core.faces.regions import OUTER_LIPS, brows_distance, signed_distance
from c2p_core.priors.face_maps import tone_scales


def even_skin(value: float) -> np.ndarray:
    return np.full((CANVAS, CANVAS, 3), value, np.float32)


def test_lighter_tone_does_not_outline_brows_and_lips(astronaut_canvas: CanvasFace) -> None:
    mesh = astronaut_canvas.mesh.numpy()
    lighter, _ = tone_scales(even_skin(0.6), mesh)
    to_feature = np.minimum(brows_distance(mesh), signed_distance(mesh, OUTER_LIPS))
    assert lighter[to_feature < 2].max() < 0.2
    assert lighter[to_feature > 16].min() == 1.0


def test_nearly_white_skin_is_hardly_darkened(astronaut_canvas: CanvasFace) -> None:
    mesh = astronaut_canvas.mesh.numpy()
    darker = {value: tone_scales(even_skin(value), mesh)[1] for value in (0.6, 0.75, 0.97)}
    np.testing.assert_array_equal(darker[0.6], darker[0.75])
    assert darker[0.97] == pytest.approx(0.3 * darker[0.6])
