"""Which displacements of a face change its mood or its character, as linear conditions on the displacement.

A face stays itself, in the same mood, while
- eyes and brows do not move at all: heights and slopes of the brows, openings and positions of the eyes;
- the lips move as one rigid piece, if at all: corners, opening, thickness and width stay;
- the nose keeps its width and the form of its tip and wings, and gets longer or shorter as a whole at most;
- the jaw's outline moves like a smooth curve, so that it never dents.
All of these are linear in the displacement. ``conditions`` states them, ``null_projector`` takes them out of a code.
Where the user gives up the expression, the eyes alone are kept: who it is depends on them, and so do their catchlights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2p_core.faces.align import CANVAS, LEFT_EYE, RIGHT_EYE
from c2p_core.faces.regions import INNER_LIPS, LEFT_BROW, NOSE, OUTER_LIPS, OVAL, RIGHT_BROW

EYES = (*LEFT_EYE, *RIGHT_EYE)
STILL = (*EYES, *LEFT_BROW, *RIGHT_BROW)
LIPS = tuple(dict.fromkeys((*OUTER_LIPS, *INNER_LIPS)))
# The jaw may get wider, longer, rounder and more square: polynomials up to this degree along its outline.
_JAW_DEGREE = 3
# Singular values below this share of the largest are rounding.
_RANK_TOLERANCE = 1e-5

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
    still = _sampling(mesh[list(STILL)], cells)
    lips = _sampling(mesh[list(LIPS)], cells)
    lips = lips - lips.mean(0)
    nose_points = mesh[list(NOSE)].astype(np.float64)
    nose = _sampling(nose_points, cells)
    length = _beyond_polynomial(nose_points[:, 1], 1) @ nose
    jaw_points = jaw_outline(mesh)
    jaw = _beyond_polynomial(_along(jaw_points), _JAW_DEGREE) @ _sampling(jaw_points, cells)
    both = [np.block([[rows, np.zeros_like(rows)], [np.zeros_like(rows), rows]]) for rows in (still, lips, jaw)]
    sideways = np.block([nose, np.zeros_like(nose)])
    up_and_down = np.block([np.zeros_like(length), length])
    return np.concatenate([*both, sideways, up_and_down])


def null_projector(rows: Floats) -> NDArray[np.float32]:
    """(N, N) orthogonal projector onto the codes that meet (C, N) conditions exactly."""
    _, singular, directions = np.linalg.svd(rows, full_matrices=False)
    bound = directions[singular > _RANK_TOLERANCE * singular[0]] if singular[0] > 0 else directions[:0]
    return np.asarray(np.eye(rows.shape[1]) - bound.T @ bound, dtype=np.float32)


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
