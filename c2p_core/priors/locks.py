"""Locks: parts of a face that shape does not move at all, whether or not the expression is kept.

Cells of the displacement's grid that a lock reaches do not move, so that every pixel of the part stays where it is at
any resolution; beside it movement sets in softly. Light and products may still change a locked part.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, cKDTree

from c2p_core.api import Part
from c2p_core.faces.align import CANVAS
from c2p_core.faces.canonical import cell_centres
from c2p_core.faces.regions import LEFT_BROW, NOSE, OUTER_LIPS, RIGHT_BROW, Map, ramp, signed_distance
from c2p_core.priors.expression import NOSE_BODY, jaw_outline

# Canvas px beside a part up to which nothing moves, and from which on everything may. A cell of the grid reaches two
# cells far where the displacement is enlarged, 11 px across; brows are thicker than their landmarks indicate.
_BESIDE = (13.0, 28.0)
_EVERY = 2.0  # canvas px between points along the jaw
_NOSE = (*NOSE_BODY, *NOSE)


def unlocked_mask(mesh: NDArray[np.float32], locks: Iterable[Part]) -> Map:
    """(256, 256) mask 0..1 of where shape may move the face: 0 on locked parts and close to them."""
    mask = np.ones((CANVAS, CANVAS), np.float32)
    for part in locks:
        mask = np.minimum(mask, 1.0 - ramp(_distance(mesh, part), *_BESIDE))
    return mask


def _distance(mesh: NDArray[np.float32], part: Part) -> Map:
    """(256, 256) distance in canvas pixels to a part; 0 or less on it."""
    if part == "jaw":
        tree = cKDTree(_fill_gaps(jaw_outline(mesh)))
        return np.asarray(tree.query(cell_centres(CANVAS))[0].reshape(CANVAS, CANVAS), dtype=np.float32)
    if part == "nose":
        # From between the eyes to the wings, which no outline of the mesh surrounds.
        hull = ConvexHull(mesh[list(_NOSE)].astype(np.float64)).vertices
        return signed_distance(mesh, tuple(_NOSE[index] for index in hull))
    outlines = {"brows": (LEFT_BROW, RIGHT_BROW), "mouth": (OUTER_LIPS,)}[part]
    return np.asarray(np.minimum.reduce([signed_distance(mesh, outline) for outline in outlines]))


def _fill_gaps(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points along a polyline, close to each other."""
    length_so_far = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    positions = np.linspace(0.0, length_so_far[-1], int(length_so_far[-1] / _EVERY) + 2)
    return np.stack([np.interp(positions, length_so_far, axis) for axis in line.T], 1)
