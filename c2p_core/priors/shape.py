"""Shape: smooth local displacements of the photo's own pixels, as in a retoucher's liquify tool.

A grid of control points lies over the mean face, about twelve cells across it; cubic B-splines between them. The field
is left-right symmetric in the face's own frame and fades out at the face's outline. No control point goes farther than
the limit; from there on everything is linear, so that conditions on the displacement (``priors.expression``) can be met
exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c2p_core.faces.align import CANVAS
from c2p_core.priors.expression import enforce

CELL = 13.0  # canvas px; the face is about 150 px wide
_LEFT, _TOP, _BOTTOM = 44.0, 36.0, 236.0  # control points cover the face and a little more
_HALF_COLUMNS = int(np.ceil((CANVAS / 2 - _LEFT) / CELL)) + 1
_ROWS = int(np.ceil((_BOTTOM - _TOP) / CELL)) + 1
_HELD = 0.98  # from this share on a cell does not move at all
SIZE = _HALF_COLUMNS * _ROWS
"""Control points on one half of the face; the code has two numbers for each."""


@dataclass(frozen=True)
class ShapeField:
    """The control grid as this face sees it.

    Attributes:
        cells: side of the square grid over the canvas on which the field is evaluated.
        moves: (2 * cells * cells, 2 * SIZE) canvas pixels per pixel that a control point goes on the mean face: first
            sideways, antisymmetric across the face's middle, then up and down, symmetric; each corrected so that it
            meets the conditions of ``expression``.
    """

    cells: int
    moves: Tensor

    def to(self, device: torch.device) -> ShapeField:
        return ShapeField(self.cells, self.moves.to(device))

    def displacement(self, code: Tensor, limit: float) -> Tensor:
        """Displacement in canvas pixels.

        Args:
            code: (2 * SIZE,) in units of ``limit``.
            limit: no control point goes farther than this, in canvas pixels; approached smoothly.

        Returns:
            (2, cells, cells): the pixel at p shows what was at p + displacement(p).
        """
        pairs = code.reshape(2, SIZE)
        pairs = pairs * (limit / torch.sqrt(1.0 + pairs.square().sum(0, keepdim=True)))
        return (self.moves @ pairs.flatten()).reshape(2, self.cells, self.cells)


def control_weights(canonical: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cubic B-spline weights at points of the mean face: symmetric and antisymmetric, each (N, SIZE)."""
    middle = CANVAS / 2
    columns = np.arange(-_HALF_COLUMNS + 1, _HALF_COLUMNS) * CELL + middle
    rows = np.arange(_ROWS) * CELL + _TOP
    x = _cubic((canonical[:, :1] - columns) / CELL)
    y = _cubic((canonical[:, 1:] - rows) / CELL)
    centre = _HALF_COLUMNS - 1
    right, left = x[:, centre:].copy(), x[:, centre::-1].copy()
    even = right + left
    even[:, 0] = x[:, centre]
    odd = right - left
    odd[:, 0] = 0.0
    return _outer(even, y), _outer(odd, y)


def _outer(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray((x[:, :, None] * y[:, None, :]).reshape(len(x), -1), dtype=np.float32)


def _cubic(t: NDArray[np.floating]) -> NDArray[np.float64]:
    """The cubic B-spline of unit knots, 2/3 at its centre."""
    a = np.abs(t)
    near = 2.0 / 3.0 - a**2 + a**3 / 2.0
    far = np.clip(2.0 - a, 0.0, None) ** 3 / 6.0
    return np.asarray(np.where(a < 1.0, near, far))


def build_field(
    canonical: NDArray[np.float32], cells: int, held: NDArray[np.float32], forbidden: NDArray[np.float64]
) -> ShapeField:
    """The field of one face.

    Args:
        canonical: (cells * cells, 2) where each cell of the canvas lies on the mean face.
        cells: side of the grid.
        held: (cells * cells,) 0 where the face may move, 1 where it must not.
        forbidden: (C, 2 * cells * cells) conditions that every displacement of the field meets: times it they are 0.
    """
    even, odd = control_weights(canonical)
    movable = held < _HELD
    free = np.where(movable, 1.0 - held, 0.0)[:, None]
    axes = _axes(canonical, cells)
    own = np.stack([odd * free, even * free], 1)
    # Cells, axes of the canvas, axes of the mean face, control points.
    moves = (axes[:, :, :, None] * own[:, None]).transpose(1, 0, 2, 3).reshape(2 * cells * cells, 2 * SIZE)
    moves = enforce(forbidden, moves.astype(np.float64), movable.reshape(cells, cells))
    return ShapeField(cells, torch.from_numpy(moves.astype(np.float32)))


def _axes(canonical: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """Inverse Jacobian of the map to the mean face, kept within what a turned head can do."""
    step = CANVAS / cells
    grid = canonical.reshape(cells, cells, 2)
    slopes = np.gradient(grid, step, axis=(0, 1))
    jacobian = np.stack([slopes[1], slopes[0]], axis=-1).reshape(-1, 2, 2).astype(np.float64)
    flat = np.abs(np.linalg.det(jacobian)) < 0.2
    jacobian[flat] = np.eye(2)
    return np.asarray(np.clip(np.linalg.inv(jacobian), -1.5, 1.5), dtype=np.float32)


def bending_vector(displacement: Tensor, lines: Tensor) -> Tensor:
    """How straight lines would bend: the second derivative, along the line, of the shift across it.

    Args:
        displacement: (2, n, n).
        lines: (3, n, n): strength of the line at a cell, and its unit direction (x, y).

    Returns:
        vector linear in the displacement; its squared length is the energy, a mean over the cells.
    """
    inner = lines[:, 1:-1, 1:-1]
    strength, tx, ty = inner[0], inner[1], inner[2]
    d = displacement
    xx = d[:, 1:-1, 2:] - 2 * d[:, 1:-1, 1:-1] + d[:, 1:-1, :-2]
    yy = d[:, 2:, 1:-1] - 2 * d[:, 1:-1, 1:-1] + d[:, :-2, 1:-1]
    xy = (d[:, 2:, 2:] - d[:, 2:, :-2] - d[:, :-2, 2:] + d[:, :-2, :-2]) / 4
    along = xx * tx**2 + 2 * xy * tx * ty + yy * ty**2
    across = along[1] * tx - along[0] * ty
    bent: Tensor = ((strength / strength.numel()).sqrt() * across).flatten()
    return bent


def elastic_vector(displacement: Tensor, stiffness: Tensor) -> Tensor:
    """Elastic deformation: the differences of neighbouring cells.

    Args:
        displacement: (2, n, n).
        stiffness: (n, n), the weight of each cell; features that are stiffer than the skin around keep their form.

    Returns:
        vector linear in the displacement; its squared length is the energy, a mean over both axes and all cells.
    """
    across, down = displacement.diff(dim=2)[:, :-1], displacement.diff(dim=1)[:, :, :-1]
    weights = (stiffness[:-1, :-1] / across.numel()).sqrt()
    return (torch.stack([across, down]) * weights).flatten()


def strain_excess(displacement: Tensor, where: Tensor, limit: float) -> Tensor:
    """How much skin is stretched or squeezed beyond ``limit``: squeezed, a soft fold becomes a hard line.

    Args:
        displacement: (2, n, n), in cells.
        where: (n, n) weight of each cell.
        limit: of the strain, the Frobenius norm of the displacement's gradient; from 1 on skin could fold over.

    Returns:
        scalar, mean of the squared excess in units of the limit.
    """
    across, down = displacement.diff(dim=2)[:, :-1], displacement.diff(dim=1)[:, :, :-1]
    strain = ((across**2 + down**2).sum(0) + 1e-8).sqrt()
    weights = where[:-1, :-1]
    return (torch.relu(strain / limit - 1.0).square() * weights).sum() / weights.sum().clamp(min=1.0)
