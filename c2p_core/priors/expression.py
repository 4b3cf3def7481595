"""Linear conditions on a displacement that keep a face's expression and character.

They hold when
- eyes and brows do not move at all: heights and slopes of the brows, openings and positions of the eyes;
- lips, teeth and the skin around them do not move at all: corners, opening, thickness and width stay;
- the nose does not move: people notice a wider or bulbous one first;
- the face keeps its width, and the jaw's outline moves like a smooth curve, so that it never dents.
``build_conditions`` builds them, ``enforce`` corrects displacements to meet them. Without keep_expression only the eyes
are held: identity depends on them most, and moving them would distort the catchlights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag
from scipy.sparse import csc_matrix, diags, eye, kron
from scipy.sparse.linalg import splu

from c2p_core.faces.align import CANVAS, LEFT_EYE, RIGHT_EYE
from c2p_core.faces.regions import INNER_LIPS, LEFT_BROW, NOSE, OUTER_LIPS, OVAL, RIGHT_BROW

EYES = (*LEFT_EYE, *RIGHT_EYE)
LIPS = tuple(dict.fromkeys((*OUTER_LIPS, *INNER_LIPS)))
NOSE_BODY = (
    6, 197, 195, 5, 4, 1, 19, 94, 2, 122, 351, 196, 419, 3, 248, 51, 281, 45, 275, 174, 399, 236, 456, 134, 363,
    220, 440, 131, 360, 198, 420, 48, 278, 49, 279, 102, 331, 129, 358, 209, 429, 217, 437, 188, 412, 115, 344,
    218, 438, 219, 439, 64, 294, 98, 327, 97, 326, 240, 460, 235, 455, 59, 289,
)  # fmt: skip
"""Mesh points of the nose from between the eyes down to its base."""
STILL = (*EYES, *LEFT_BROW, *RIGHT_BROW, *LIPS, *NOSE_BODY)
"""Mesh points that do not move where the expression is kept."""
_UPPER_INNER_LIP = (191, 80, 81, 82, 13, 312, 311, 310, 415)
_LOWER_INNER_LIP = (95, 88, 178, 87, 14, 317, 402, 318, 324)
# Skin around the lips does not move either, or their outline would bend wherever the mesh misses it by a few pixels.
_AROUND_LIPS = (4.0, 8.0)  # canvas px
_AROUND_NOSE = 4.0
_ABOVE_EYES = 8.0  # canvas px above the eyes from which downwards the face keeps its width
# The jaw may get longer, rounder or squarer: its displacement is a polynomial of this degree along the outline.
_JAW_DEGREE = 2
# Eigenvalues below this share of the largest are rounding errors.
_RANK_TOLERANCE = 1e-11
_SMOOTH_WITHIN = 4.5  # cells over which corrections fade out

Floats = NDArray[np.float64]
Moves = TypeVar("Moves", NDArray[np.float32], NDArray[np.float64])


@dataclass(frozen=True)
class Conditions:
    """Linear conditions on a displacement of a face, which meets them if both products are 0.

    Attributes:
        sideways, down: (C, cells * cells) matrices, the factors of the displacement along x and along y.
    """

    sideways: Floats
    down: Floats


def build_conditions(mesh: NDArray[np.float32], cells: int, keep_expression: bool = True) -> Conditions:
    """Build the conditions on a displacement of a face.

    Args:
        mesh: (468, 2) canvas pixels.
        cells: side of the displacement's grid.
        keep_expression: if False, the only condition is that the eyes do not move.
    """
    if not keep_expression:
        eyes = _bilinear_weights(mesh[list(EYES)], cells)
        return Conditions(eyes, eyes)
    around_lips = [_expand_outline(mesh[list(OUTER_LIPS)], pixels) for pixels in _AROUND_LIPS]
    around_nose = _expand_outline(mesh[list(NOSE)], _AROUND_NOSE)
    points = [mesh[list(STILL)], _sample_between_lips(mesh), *around_lips, around_nose]
    still = _bilinear_weights(np.concatenate(points), cells)
    jaw_points = jaw_outline(mesh)
    jaw = _complement_of_polynomials(_arc_length(jaw_points), _JAW_DEGREE) @ _bilinear_weights(jaw_points, cells)
    width = _bilinear_weights(face_sides(mesh), cells)
    return Conditions(np.concatenate([still, jaw, width]), np.concatenate([still, jaw]))


def enforce(conditions: Conditions, moves: Moves, movable: NDArray[np.bool_]) -> Moves:
    """Correct displacements to meet the conditions exactly.

    The correction has the least energy, its size and curvature together, so that movement of the skin around lips and
    nose fades out gradually. (Removing the forbidden directions from the code instead would leave almost no movement:
    every control point affects a lip, a brow or the nose.)

    Args:
        conditions: see ``build_conditions``.
        moves: (2 * cells * cells, N) displacements.
        movable: (cells, cells) where the correction may act; elsewhere the displacements are kept.

    Returns:
        the corrected displacements, of the same shape.
    """
    inside = np.flatnonzero(movable)
    active_rows = np.concatenate([inside, inside + movable.size])
    # Column by column: the order of sums decides on the last bits, and pixels should not change between versions.
    active = np.asfortranarray(block_diag(conditions.sideways[:, inside], conditions.down[:, inside]))
    values, vectors = np.linalg.eigh(active @ active.T)
    independent = values > _RANK_TOLERANCE * values[-1]
    if not independent.any():
        return moves
    active = (vectors[:, independent].T @ active) / np.sqrt(values[independent])[:, None]
    solver = splu(_energy_matrix(movable))
    responses = np.concatenate([solver.solve(np.ascontiguousarray(half.T)) for half in np.hsplit(active, 2)])
    moved = moves[active_rows].astype(np.float64)
    corrected = moves.copy()
    corrected[active_rows] = moved - responses @ np.linalg.solve(active @ responses, active @ moved)
    return corrected


def _energy_matrix(movable: NDArray[np.bool_]) -> csc_matrix:
    """(N, N) sparse energy matrix of a correction on the N movable cells, which is zero elsewhere."""
    cells = len(movable)
    second = diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(cells, cells))
    laplacian = (kron(eye(cells), second) + kron(second, eye(cells))).tocsc()
    curvature = laplacian[:, np.flatnonzero(movable)]
    return (eye(curvature.shape[1]) + _SMOOTH_WITHIN**4 * (curvature.T @ curvature)).tocsc()


def _sample_between_lips(mesh: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 2) points between the lips: they do not move, and so teeth do not either."""
    upper, lower = mesh[list(_UPPER_INNER_LIP)], mesh[list(_LOWER_INNER_LIP)]
    return np.concatenate([upper + share * (lower - upper) for share in (0.25, 0.5, 0.75)])


def _expand_outline(outline: NDArray[np.float32], pixels: float) -> NDArray[np.float32]:
    """Move the (N, 2) points of an outline away from its centre."""
    outwards = outline - outline.mean(0)
    return np.asarray(outline + pixels * outwards / np.linalg.norm(outwards, axis=1, keepdims=True), dtype=np.float32)


def face_sides(mesh: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 2) points of the face's outline from the eyes downwards, including the chin."""
    outline = mesh[list(OVAL)]
    return np.asarray(outline[outline[:, 1] > mesh[168, 1] - _ABOVE_EYES])


def jaw_outline(mesh: NDArray[np.float32]) -> Floats:
    """(N, 2) points of the face's outline below the tip of the nose, in order from ear to ear."""
    outline = mesh[list(OVAL)].astype(np.float64)
    # The outline starts on the forehead, so the lower part is contiguous.
    return np.asarray(outline[outline[:, 1] > mesh[4, 1]])


def _arc_length(points: Floats) -> Floats:
    """(N,) arc length along a polyline, scaled to -1..1."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    length_so_far = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(2 * length_so_far / length_so_far[-1] - 1)


def _complement_of_polynomials(positions: Floats, degree: int) -> Floats:
    """(N, N) projector onto the complement of the polynomials in ``positions`` up to a degree."""
    powers, _ = np.linalg.qr(np.vander((positions - positions.mean()) / np.ptp(positions), degree + 1))
    return np.asarray(np.eye(len(positions)) - powers @ powers.T)


def _bilinear_weights(points: NDArray[np.floating], cells: int) -> Floats:
    """(N, cells * cells) bilinear interpolation weights of a grid at (N, 2) canvas points; zero outside the canvas."""
    positions = points.astype(np.float64) * (cells / CANVAS) - 0.5
    low = np.floor(positions).astype(int)
    weights = np.zeros((len(points), cells * cells))
    point_numbers = np.arange(len(points))
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = low[:, 0] + dx, low[:, 1] + dy
            share = (1 - np.abs(positions[:, 0] - x)) * (1 - np.abs(positions[:, 1] - y))
            inside = (x >= 0) & (x < cells) & (y >= 0) & (y < cells)
            weights[point_numbers[inside], (y * cells + x)[inside]] += share[inside]
    return weights
