"""What is bent already is not bent again, and the whole stays within the limit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from c2p_core.faces.align import CANVAS_EYE_DISTANCE
from c2p_core.faces.canvas import warp_points
from c2p_core.priors.bent import find_bent, measure_room

CELLS = 64
SPREAD = (np.random.default_rng(0).random((468, 2)) * 160 + 48).astype(np.float32)


def wave(size: float) -> torch.Tensor:
    """(2, 64, 64) displacement of this size."""
    phase = torch.linspace(0, 6.28, CELLS)
    return size * torch.stack([phase.sin().expand(CELLS, CELLS), phase.cos().expand(CELLS, CELLS)])


@pytest.mark.parametrize("already", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("size", [0.1, 20.0])
def test_what_was_moved_and_what_is_moved_never_add_up_to_more_than_the_limit(already: float, size: float) -> None:
    limit = 1.0 / CANVAS_EYE_DISTANCE  # one canvas pixel
    origin = SPREAD - np.array([already, 0.0], np.float32)
    confined = measure_room(SPREAD, origin, limit).confine(wave(size))
    moved = warp_points(confined, torch.from_numpy(SPREAD)) - torch.from_numpy(origin)
    assert float(moved.norm(dim=1).mean()) <= max(already, 1.0) + 1e-4
    # A small movement is left as it is where there is room for it.
    assert torch.equal(confined, wave(size)) is (size == 0.1 and already < 1)


def test_only_where_a_face_was_moved_is_it_bent() -> None:
    moved = SPREAD[:, 0] > 160
    origin = SPREAD + np.where(moved[:, None], [3.0, 0.0], 0.0).astype(np.float32)
    bent = find_bent(SPREAD, origin, CELLS).reshape(CELLS, CELLS)[16:48]
    assert bent[:, 46:50].min() == 1 and bent[:, 14:26].max() < 0.2


def test_a_face_that_was_not_moved_may_be_moved_as_ever() -> None:
    assert find_bent(SPREAD, SPREAD, CELLS).max() == 0
