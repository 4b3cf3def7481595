"""The limits of a change adapt to the strength and to the face."""

from __future__ import annotations

import pytest

from c2p_core.priors.strength import adapt_to_lines, strength_limits


@pytest.mark.parametrize(("typical", "share"), [(0.0, 0.25), (0.095, 0.5), (0.19, 1.0), (0.5, 1.0)])
def test_the_fewer_lines_a_face_has_the_fewer_may_be_added(typical: float, share: float) -> None:
    limits = strength_limits(0.5)
    assert adapt_to_lines(limits, typical).lines == pytest.approx(share * limits.lines)
