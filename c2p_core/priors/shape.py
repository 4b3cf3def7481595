"""Shape: smooth local displacements of the photo's own pixels, like a retoucher's liquify tool.

The displacement is a cubic B-spline over a grid of control points on the mean face, about twelve cells across. It is
left-right symmetric in the face's own frame and fades out at the face's outline. Control points are bounded first; all
that follows is linear, which lets conditions on the displacement (``priors.expression``) be met exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c2p_core.faces.align import CANVAS
from c2p_core.priors.earlier import MovementBudget
from c2p_core.priors.expression import Conditions, enforce

CELL = 13.0  # canvas px; the face is about 150 px wide
_LEFT, _TOP, _BOTTOM = 44.0, 36.0, 236.0  # control points cover the face and a little more
_HALF_COLUMNS = int(np.ceil((CANVAS / 2 - _LEFT) / CELL)) + 1
_ROWS = int(np.ceil((_BOTTOM - _TOP) / CELL)) + 1
_HELD = 0.98  # cells held at least this much do not move at all
SIZE = _HALF_COLUMNS * _ROWS
"""Number of control points on one half of the face; the code has two numbers for each."""


@dataclass(frozen=True)
class ShapeField:
    """The displacement field of one face, linear in bounded control points.

    Attributes:
        cells: side of the square grid over the canvas on which the field is evaluated.
        moves: (2 * cells * cells, 2 * SIZE) canvas pixels per pixel of a control point on the mean face: first the
            sideways movements, antisymmetric across the face's middle, then the vertical ones, symmetric; each is
            corrected to meet the conditions of ``expression``.
        budget: how far a face that was moved before may still move; None when it was not.
    """

    cells: int
    moves: Tensor
    budget: MovementBudget | None = None

    def to(self, device: torch.device) -> ShapeField:
        return ShapeField(self.cells, self.moves.to(device), None if self.budget is None else self.budget.to(device))

    def displacement(self, code: Tensor, limit: float) -> Tensor:
        """Compute the displacement of a code.

        Args:
            code: (2 * SIZE,) in units of ``limit``.
            limit: maximum movement of a control point, in canvas pixels; approached smoothly.

        Returns:
            (2, cells, cells) canvas pixels: the result shows at p what was at p + displacement(p).
        """
        pairs = code.reshape(2, SIZE)
        pairs = pairs * (limit / torch.sqrt(1.0 + pairs.square().sum(0, keepdim=True)))
        displacement = (self.moves @ pairs.flatten()).reshape(2, self.cells, self.cells)
        return displacement if self.budget is None else self.budget.confine(displacement)


def control_weights(canonical: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cubic B-spline weights at (N, 2) points of the mean face: symmetric and antisymmetric, each (N, SIZE)."""
    middle = CANVAS / 2
    columns = np.arange(-_HALF_COLUMNS + 1, _HALF_COLUMNS) * CELL + middle
    rows = np.arange(_ROWS) * CELL + _TOP
    x = _cubic_bspline((canonical[:, :1] - columns) / CELL)
    y = _cubic_bspline((canonical[:, 1:] - rows) / CELL)
    centre = _HALF_COLUMNS - 1
    right, left = x[:, centre:].copy(), x[:, centre::-1].copy()
    even = right + left
    even[:, 0] = x[:, centre]
    odd = right - left
    odd[:, 0] = 0.0
    return _outer_product(even, y), _outer_product(odd, y)


def _outer_product(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray((x[:, :, None] * y[:, None, :]).reshape(len(x), -1), dtype=np.float32)


def _cubic_bspline(t: NDArray[np.floating]) -> NDArray[np.float64]:
    """The cubic B-spline with unit knot spacing, 2/3 at its centre."""
    a = np.abs(t)
    near = 2.0 / 3.0 - a**2 + a**3 / 2.0
    far = np.clip(2.0 - a, 0.0, None) ** 3 / 6.0
    return np.asarray(np.where(a < 1.0, near, far))


def build_field(
    canonical: NDArray[np.float32],
    cells: int,
    hold: NDArray[np.float32],
    conditions: Conditions,
    budget: MovementBudget | None = None,
) -> ShapeField:
    """Build the displacement field of one face.

    Args:
        canonical: (cells * cells, 2) position of each canvas cell on the mean face.
        cells: side of the grid.
        hold: (cells * cells,) 0 where the face may move, 1 where it must not.
        conditions: that every displacement of the field meets.
        budget: see ``ShapeField``.
    """
    even, odd = control_weights(canonical)
    movable = hold < _HELD
    mobility = np.where(movable, 1.0 - hold, 0.0)[:, None]
    axes = _inverse_jacobians(canonical, cells)
    weights = np.stack([odd * mobility, even * mobility], 1)
    # Cells, axes of the canvas, axes of the mean face, control points.
    moves = (axes[:, :, :, None] * weights[:, None]).transpose(1, 0, 2, 3).reshape(2 * cells * cells, 2 * SIZE)
    return ShapeField(cells, torch.from_numpy(enforce(conditions, moves, movable.reshape(cells, cells))), budget)


def _inverse_jacobians(canonical: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """(cells * cells, 2, 2) inverse Jacobian of the map to the mean face, within the range of turned heads."""
    step = CANVAS / cells
    grid = canonical.reshape(cells, cells, 2)
    slopes = np.gradient(grid, step, axis=(0, 1))
    jacobian = np.stack([slopes[1], slopes[0]], axis=-1).reshape(-1, 2, 2).astype(np.float64)
    flat = np.abs(np.linalg.det(jacobian)) < 0.2
    jacobian[flat] = np.eye(2)
    return np.asarray(np.clip(np.linalg.inv(jacobian), -1.5, 1.5), dtype=np.float32)


def bending_vector(displacement: Tensor, lines: Tensor) -> Tensor:
    """Bending of straight lines: the second derivative, along the line, of the displacement across it.

    Args:
        displacement: (2, n, n).
        lines: (3, n, n) strength of the line at each cell, and its unit direction (x, y).

    Returns:
        vector, linear in the displacement; its squared length is the energy, a mean over the cells.
    """
    inner = lines[:, 1:-1, 1:-1]
    strength, tx, ty = inner[0], inner[1], inner[2]
    d = displacement
    xx = d[:, 1:-1, 2:] - 2 * d[:, 1:-1, 1:-1] + d[:, 1:-1, :-2]
    yy = d[:, 2:, 1:-1] - 2 * d[:, 1:-1, 1:-1] + d[:, :-2, 1:-1]
    xy = (d[:, 2:, 2:] - d[:, 2:, :-2] - d[:, :-2, 2:] + d[:, :-2, :-2]) / 4
    along = xx * tx**2 + 2 * xy * tx * ty + yy * ty**2
    across = along[1] * tx - along[0] * ty
    weighted: Tensor = ((strength / strength.numel()).sqrt() * across).flatten()
    return weighted


def elastic_vector(displacement: Tensor, stiffness: Tensor) -> Tensor:
    """Elastic deformation: differences between neighbouring cells.

    Args:
        displacement: (2, n, n).
        stiffness: (n, n) weight of each cell; stiffer features keep their shape better.

    Returns:
        vector, linear in the displacement; its squared length is the energy, a mean over both axes and all cells.
    """
    across, down = displacement.diff(dim=2)[:, :-1], displacement.diff(dim=1)[:, :, :-1]
    weights = (stiffness[:-1, :-1] / across.numel()).sqrt()
    return (torch.stack([across, down]) * weights).flatten()


def strain_excess(displacement: Tensor, weight: Tensor, limit: float) -> Tensor:
    """Excess of the skin's strain over ``limit``; compression beyond it turns soft folds into hard lines.

    Args:
        displacement: (2, n, n), in cells.
        weight: (n, n) weight of each cell.
        limit: of the strain, which is the Frobenius norm of the displacement's gradient; from 1 on skin may fold over.

    Returns:
        scalar, mean squared excess in units of the limit.
    """
    across, down = displacement.diff(dim=2)[:, :-1], displacement.diff(dim=1)[:, :, :-1]
    strain = ((across**2 + down**2).sum(0) + 1e-8).sqrt()
    inner_weight = weight[:-1, :-1]
    return (torch.relu(strain / limit - 1.0).square() * inner_weight).sum() / inner_weight.sum().clamp(min=1.0)
