"""The limits of a change adapt to the strength and to the face."""

from __future__ import annotations

import pytest

from c2p_core.priors.strength import adapt_to_lines, compute_strength_limits


@pytest.mark.parametrize(("typical", "share"), [(0.0, 0.25), (0.095, 0.5), (0.19, 1.0), (0.5, 1.0)])
def test_the_fewer_lines_a_face_has_the_fewer_may_be_added(typical: float, share: float) -> None:
    limits = compute_strength_limits(0.5)
    assert adapt_to_lines(limits, typical).new_lines == pytest.approx(share * limits.new_lines)


@pytest.mark.parametrize(("strength", "shape", "light"), [(0.25, 0.5, 0.5), (0.5, 1.0, 1.0), (1.0, 1.5, 1.2)])
def test_above_the_default_shape_grows_faster_than_light(strength: float, shape: float, light: float) -> None:
    limits, usual = compute_strength_limits(strength), compute_strength_limits(0.5)
    assert limits.shape / usual.shape == limits.displacement / usual.displacement == pytest.approx(shape)
    for name in ("complexion", "grain", "colour_shift", "patchiness", "new_lines"):
        assert getattr(limits, name) / getattr(usual, name) == pytest.approx(light)
