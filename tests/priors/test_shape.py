"""Shape: symmetric, limited, still where it must be, straight where lines are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from c2p_core.faces.align import CANVAS
from c2p_core.faces.canonical import cell_centres
from c2p_core.priors.expression import Conditions
from c2p_core.priors.shape import SIZE, ShapeField, bending_vector, build_field, elastic_vector, strain_excess

CELLS = 32


def field(hold: np.ndarray | None = None, forbidden: Conditions | None = None) -> ShapeField:
    """On the mean face itself, with nothing held and nothing forbidden unless it is said."""
    canonical = cell_centres(CELLS).astype(np.float32)
    hold = np.zeros(CELLS * CELLS, np.float32) if hold is None else hold
    nothing = np.zeros((1, CELLS * CELLS))
    return build_field(canonical, CELLS, hold, forbidden or Conditions(nothing, nothing))


def code(seed: int = 0, size: float = 1.0) -> torch.Tensor:
    return size * torch.randn(2 * SIZE, generator=torch.Generator().manual_seed(seed))


def test_a_zero_code_has_no_displacement() -> None:
    assert torch.equal(field().displacement(torch.zeros(2 * SIZE), 3.0), torch.zeros(2, CELLS, CELLS))


def test_left_and_right_move_alike() -> None:
    moved = field().displacement(code(), 3.0)
    mirrored = moved.flip(2)
    assert torch.allclose(moved[0], -mirrored[0], atol=1e-4)
    assert torch.allclose(moved[1], mirrored[1], atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_no_control_point_moves_farther_than_the_limit(seed: int) -> None:
    shifts = field().displacement(code(seed, 100.0), 3.0).norm(dim=0)
    assert 0.5 * 3.0 < float(shifts.max()) <= 3.0 + 1e-5


def test_a_small_code_is_not_attenuated() -> None:
    down = torch.zeros(2, SIZE)
    down[1] = 0.01
    middle = field().displacement(down.flatten(), 3.0)[:, CELLS // 2, CELLS // 2]
    assert middle.tolist() == pytest.approx([0.0, 0.03], abs=1e-5)


def test_displacements_meet_the_conditions() -> None:
    """One cell still, and another that may go sideways only as far as its neighbour does, and down freely."""
    still = np.zeros((1, CELLS, CELLS))
    still[0, 12, 10] = 1.0
    together = np.zeros((1, CELLS, CELLS))
    together[0, 20, 20:22] = 1.0, -1.0
    sideways = np.concatenate([still, together])
    bound = field(forbidden=Conditions(sideways.reshape(2, -1), still.reshape(1, -1)))
    moved = torch.stack([bound.displacement(code(seed, 10.0), 3.0) for seed in range(4)])
    assert float(moved[:, :, 12, 10].abs().max()) < 1e-4
    assert torch.allclose(moved[:, 0, 20, 20], moved[:, 0, 20, 21], atol=1e-4)
    assert float((moved[:, 1, 20, 20] - moved[:, 1, 20, 21]).abs().max()) > 0.01
    assert float(moved[:, :, 20, 20].abs().max()) > 0.3


def test_held_cells_do_not_move() -> None:
    hold = np.zeros((CELLS, CELLS), np.float32)
    hold[10:14] = 1.0
    moved = field(hold.ravel()).displacement(code(), 3.0)
    assert torch.equal(moved[:, 10:14], torch.zeros(2, 4, CELLS))
    assert float(moved.abs().max()) > 0


def test_bending_a_straight_line_has_energy_and_moving_it_has_none() -> None:
    lines = torch.zeros(3, CELLS, CELLS)
    lines[0, 16], lines[1] = 1.0, 1.0  # a horizontal line
    across = torch.arange(CELLS) / CANVAS
    shifted, bent = torch.zeros(2, CELLS, CELLS), torch.zeros(2, CELLS, CELLS)
    shifted[1] = 1.0 + across
    bent[1] = (10 * across) ** 2
    assert float(bending_vector(bent, lines).square().sum()) > 1000 * float(
        bending_vector(shifted, lines).square().sum()
    )


def test_deforming_a_stiff_feature_has_more_energy() -> None:
    bent = torch.zeros(2, CELLS, CELLS)
    bent[0, 8] = 1.0
    stiff = torch.ones(CELLS, CELLS)
    stiff[6:10] = 5.0
    usual = elastic_vector(bent, torch.ones(CELLS, CELLS)).square().sum()
    assert float(elastic_vector(bent, stiff).square().sum()) == pytest.approx(5 * float(usual))


def _stretch(strain: float) -> torch.Tensor:
    """(2, 20, 20) in cells: everything is stretched sideways by this much."""
    return torch.stack([strain * torch.arange(20.0).expand(20, 20), torch.zeros(20, 20)])


def test_strain_within_the_limit_has_no_excess() -> None:
    assert float(strain_excess(_stretch(0.3), torch.ones(20, 20), 0.35)) == 0.0


def test_strain_beyond_the_limit_has_its_squared_excess() -> None:
    assert float(strain_excess(_stretch(0.7), torch.ones(20, 20), 0.35)) == pytest.approx(1.0, rel=1e-4)


def test_strain_outside_the_face_has_no_excess() -> None:
    assert float(strain_excess(_stretch(0.7), torch.zeros(20, 20), 0.35)) == 0.0
