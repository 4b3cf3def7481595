"""Which displacements of a face change its mood or its character, as linear conditions on the displacement.

A face stays itself, in the same mood, while
- eyes and brows do not move at all: heights and slopes of the brows, openings and positions of the eyes;
- lips, teeth and the skin around them do not move at all: corners, opening, thickness and width stay;
- the nose does not move: a wider or bulbous one is the first thing that people see;
- the face keeps its width, and the jaw's outline moves like a smooth curve, so that it never dents.
All of these are linear in the displacement. ``conditions`` states them, ``enforce`` makes displacements meet them.
Where the user gives up the expression, the eyes alone are kept: who it is depends on them, and so do their catchlights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
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
# The skin around lips keeps still too, or their outline would bend wherever the mesh misses it by a few pixels.
_AROUND_LIPS = (4.0, 8.0)  # canvas px
_AROUND_NOSE = 4.0
_ABOVE_EYES = 8.0  # canvas px: from here down the face keeps its width
# The jaw may get longer, rounder and more square: polynomials up to this degree along its outline.
_JAW_DEGREE = 2
# Eigenvalues below this share of the largest are rounding.
_RANK_TOLERANCE = 1e-11
_SMOOTH_WITHIN = 4.5  # cells over which what meets the conditions fades into what is free

Floats = NDArray[np.float64]


def conditions(mesh: NDArray[np.float32], cells: int, keep_expression: bool = True) -> Floats:
    """The conditions on a displacement of this face.

    Args:
        mesh: (468, 2) canvas pixels.
        cells: side of the grid that carries the displacement.
        keep_expression: False leaves the condition that the eyes keep still, and no other.

    Returns:
        (C, 2 * cells * cells): times the flattened (2, cells, cells) displacement it is 0 where the face keeps its
        expression and character.
    """
    if not keep_expression:
        return np.asarray(np.kron(np.eye(2), _sampling(mesh[list(EYES)], cells)), dtype=np.float64)
    around_lips = [_grown(mesh[list(OUTER_LIPS)], pixels) for pixels in _AROUND_LIPS]
    around_nose = _grown(mesh[list(NOSE)], _AROUND_NOSE)
    points = [mesh[list(STILL)], _between_lips(mesh), *around_lips, around_nose]
    still = _sampling(np.concatenate(points), cells)
    jaw_points = jaw_outline(mesh)
    jaw = _beyond_polynomial(_along(jaw_points), _JAW_DEGREE) @ _sampling(jaw_points, cells)
    width = _sampling(face_sides(mesh), cells)

    sideways, down = np.concatenate([still, jaw, width]), np.concatenate([still, jaw])
    return np.block(
        [[sideways, np.zeros((len(sideways), cells * cells))], [np.zeros((len(down), cells * cells)), down]]
    )


def enforce(rows: Floats, moves: Floats, movable: NDArray[np.bool_]) -> Floats:
    """Displacements that meet the conditions exactly, each changed as little and as smoothly as that can be.

    Of all changes that lead there it is the one of least energy, its size and its curvature together, so that the
    skin around what keeps still gives way gradually. Taking the forbidden directions out of a code instead would leave
    a face next to nothing: every control point reaches some lip, brow or nose.

    Args:
        rows: (C, 2 * cells * cells) conditions.
        moves: (2 * cells * cells, N) displacements.
        movable: (cells, cells) where the change may be; elsewhere the displacements stay as they are.
    """
    inside = np.flatnonzero(movable)
    both = np.concatenate([inside, inside + movable.size])
    own = rows[:, both]
    values, vectors = np.linalg.eigh(own @ own.T)
    independent = values > _RANK_TOLERANCE * values[-1]
    if not independent.any():
        return moves
    own = (vectors[:, independent].T @ own) / np.sqrt(values[independent])[:, None]
    solver = splu(_energy(movable))
    responses = np.concatenate([solver.solve(np.ascontiguousarray(half.T)) for half in np.hsplit(own, 2)])
    changed = moves.copy()
    changed[both] -= responses @ np.linalg.solve(own @ responses, own @ moves[both])
    return changed


def _energy(movable: NDArray[np.bool_]) -> csc_matrix:
    """(N, N) sparse: the energy of a change on the N movable cells, which is zero beyond them."""
    cells = len(movable)
    second = diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(cells, cells))
    laplacian = (kron(eye(cells), second) + kron(second, eye(cells))).tocsc()
    curvature = laplacian[:, np.flatnonzero(movable)]
    return (eye(curvature.shape[1]) + _SMOOTH_WITHIN**4 * (curvature.T @ curvature)).tocsc()


def _between_lips(mesh: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 2) points in the mouth, so that teeth keep still with the lips."""
    upper, lower = mesh[list(_UPPER_INNER_LIP)], mesh[list(_LOWER_INNER_LIP)]
    return np.concatenate([upper + share * (lower - upper) for share in (0.25, 0.5, 0.75)])


def _grown(outline: NDArray[np.float32], pixels: float) -> NDArray[np.float32]:
    """(N, 2) the points of an outline, moved outwards from its middle."""
    outwards = outline - outline.mean(0)
    return np.asarray(outline + pixels * outwards / np.linalg.norm(outwards, axis=1, keepdims=True), dtype=np.float32)


def face_sides(mesh: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 2) points of the outline from the eyes down, on both sides and below the chin."""
    outline = mesh[list(OVAL)]
    return np.asarray(outline[outline[:, 1] > mesh[168, 1] - _ABOVE_EYES])


def jaw_outline(mesh: NDArray[np.float32]) -> Floats:
    """(N, 2) points of the outline from ear to ear below the tip of the nose, in order."""
    outline = mesh[list(OVAL)].astype(np.float64)
    # The outline begins on the forehead, so that its lower part is one piece.
    return np.asarray(outline[outline[:, 1] > mesh[4, 1]])


def _along(points: Floats) -> Floats:
    """(N,) the way along a polyline, from -1 to 1."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    way = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(2 * way / way[-1] - 1)


def _beyond_polynomial(at: Floats, degree: int) -> Floats:
    """(N, N) projector onto what no polynomial of the degree in ``at`` explains."""
    powers, _ = np.linalg.qr(np.vander((at - at.mean()) / np.ptp(at), degree + 1))
    return np.asarray(np.eye(len(at)) - powers @ powers.T)


def _sampling(points: NDArray[np.floating], cells: int) -> Floats:
    """(N, cells * cells) bilinear weights of the grid's cells at (N, 2) canvas points, zero beyond the canvas."""
    at = points.astype(np.float64) * (cells / CANVAS) - 0.5
    low = np.floor(at).astype(int)
    rows = np.zeros((len(points), cells * cells))
    number = np.arange(len(points))
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = low[:, 0] + dx, low[:, 1] + dy
            share = (1 - np.abs(at[:, 0] - x)) * (1 - np.abs(at[:, 1] - y))
            inside = (x >= 0) & (x < cells) & (y >= 0) & (y < cells)
            rows[number[inside], (y * cells + x)[inside]] += share[inside]
    return rows
