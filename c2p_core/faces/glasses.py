"""Detects glasses on a face's canvas by the line of the rim around each eye.

Neither colour nor fine relief distinguishes wire frames from wrinkles. But no wrinkle continues around the eye, from
the temple below it to the nose, and across the bridge of the nose. The weights were fitted on 1,323 synthetic faces;
see ``benchmarks/EXPERIMENTS.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from skimage.draw import polygon2mask

from c2p_core.faces import regions
from c2p_core.faces.align import CANVAS, CANVAS_EYES, LEFT_EYE, RIGHT_EYE

# Where rims are searched for: angles around the centre of the eye (0 degrees points to the temple) from above the
# temple downwards and up again beside the nose; distances from the centre in canvas px; distance to keep from the lids.
_ANGLES = np.deg2rad(np.arange(-35.0, 216.0, 5.0))
_RADII = np.arange(13.0, 42.0)
_LIDS = 8.0
# Cost per px by which the radius changes between neighbouring angles, and the largest change allowed.
_STEP_COST, _MAX_STEP = 0.15, 2
# Gradient of log light per canvas px that counts as an edge of strength 0.5.
_EDGE = 0.035
_WINDOW = 7  # angles
_BRIDGE = 0.22  # half the width of the bridge, as a share of the distance between the inner corners of the eyes
_BRIDGE_ROWS = np.arange(-26.0, 12.0)
_BRIDGE_CURVES = (-0.075, 0.0, 0.01, 0.025)
# Log odds of glasses, by logistic regression on the rim's mean edge, its weakest stretch, the bridge, the skin's edges
# and the rim's distance below the lids in canvas px; rim features are those of the eye with the weaker rim.
_WEIGHTS, _BIAS = np.array([16.3, 10.1, 10.8, -11.8, 0.21]), -24.4
# Log odds up to which the mask is 0, and from which on it is 1; a ramp between.
_NONE, _SURE = -0.9, -0.2
_FRAME = 5.0  # canvas px outside the rim's line that belong to the frame
_FADE = 4.0
_BELOW_EYES = 4.0  # canvas px that bridge and temples of the glasses may lie below the eye line


@dataclass(frozen=True)
class Rim:
    """The line around one eye that looks most like a rim.

    Attributes:
        points: (angles, 2) canvas pixels, from the temple below the eye to the nose.
        edge: (angles,) edge strength along it, 0..1.
        distance: mean distance to the lids in canvas pixels, over the third below the eye.
    """

    points: NDArray[np.float32]
    edge: NDArray[np.float32]
    distance: float


def detect_glasses(pixels: NDArray[np.float32], mesh: NDArray[np.float32]) -> regions.Map:
    """Compute a (CANVAS, CANVAS) mask 0..1 of glasses: lenses, rims, bridge and temples; 0 everywhere without glasses.

    Args:
        pixels: (CANVAS, CANVAS, 3) sRGB 0..1.
        mesh: (468, 2) canvas pixels.
    """
    rims, odds = find_rims(pixels, mesh)
    certainty = float(regions.ramp(np.asarray(-odds), -_SURE, -_NONE))
    if certainty == 0.0:
        return np.zeros((CANVAS, CANVAS), dtype=np.float32)
    inside = np.zeros((CANVAS, CANVAS), dtype=bool)
    for rim in rims:
        inside |= polygon2mask((CANVAS, CANVAS), rim.points[:, ::-1] - 0.5)
    # Upper rims lie at the brows, or above them on large lenses.
    brows = mesh[[*regions.LEFT_BROW, *regions.RIGHT_BROW], 1]
    top = min(float(brows.min()), *(float(rim.points[:, 1].min()) for rim in rims))
    inside[max(0, round(top)) : round(CANVAS_EYES[1] + _BELOW_EYES)] = True
    outside = distance_transform_edt(~inside).astype(np.float32)
    return certainty * regions.ramp(outside, _FRAME, _FRAME + _FADE)


def find_rims(pixels: NDArray[np.float32], mesh: NDArray[np.float32]) -> tuple[tuple[Rim, Rim], float]:
    """Find the best rim around each eye, and the log odds that they are glasses."""
    light = np.log(np.clip(gaussian_filter(pixels.mean(-1), 1.0), 0.03, 1.0))
    down, right = np.gradient(light)
    rims = (_trace_rim(right, down, mesh, LEFT_EYE, -1), _trace_rim(right, down, mesh, RIGHT_EYE, 1))
    features = np.array(
        [
            min(float(rim.edge.mean()) for rim in rims),
            min(float(np.convolve(rim.edge, np.full(_WINDOW, 1 / _WINDOW), "valid").min()) for rim in rims),
            _bridge_strength(down, mesh),
            float(_edge_strength(np.hypot(right, down))[_bare_skin(mesh)].mean()),
            min(rim.distance for rim in rims),
        ]
    )
    return rims, float(features @ _WEIGHTS + _BIAS)


def _edge_strength(slope: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.abs(slope) / (np.abs(slope) + _EDGE), dtype=np.float32)


def _sample(values: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(map_coordinates(values, [y - 0.5, x - 0.5], order=1, mode="nearest"), dtype=np.float32)


def _trace_rim(
    right: NDArray[np.float32],
    down: NDArray[np.float32],
    mesh: NDArray[np.float32],
    eye: tuple[int, ...],
    temple: int,
) -> Rim:
    """Trace the strongest line around an eye by dynamic programming; ``temple`` is the sign of x towards the temple."""
    centre = mesh[list(eye)].mean(0)
    directions = np.stack([temple * np.cos(_ANGLES), np.sin(_ANGLES)])
    x, y = (centre[axis] + directions[axis][:, None] * _RADII for axis in (0, 1))
    lids = _sample(regions.signed_distance(mesh, eye), x, y)
    edge = _edge_strength(_sample(right, x, y) * directions[0][:, None] + _sample(down, x, y) * directions[1][:, None])
    edge *= np.clip((lids - _LIDS + 2.0) / 2.0, 0.0, 1.0)
    steps = range(-_MAX_STEP, _MAX_STEP + 1)
    best, steps_taken = edge[0], []
    for strengths in edge[1:]:
        padded = np.pad(best, _MAX_STEP, constant_values=-np.inf)
        totals = np.stack(
            [padded[_MAX_STEP + step : _MAX_STEP + step + len(best)] - _STEP_COST * abs(step) for step in steps]
        )
        steps_taken.append(totals.argmax(0) - _MAX_STEP)
        best = totals.max(0) + strengths
    path = [int(best.argmax())]
    for step in reversed(steps_taken):
        path.append(path[-1] + int(step[path[-1]]))
    line = (np.arange(len(_ANGLES)), np.array(path[::-1]))
    third = len(_ANGLES) // 3
    return Rim(
        np.stack([x[line], y[line]], -1).astype(np.float32), edge[line], float(lids[line][third : 2 * third].mean())
    )


def _bridge_strength(down: NDArray[np.float32], mesh: NDArray[np.float32]) -> float:
    """Strength 0..1 of the strongest line across the bridge of the nose."""
    inner = mesh[[133, 362]]
    centre, half = inner.mean(0), _BRIDGE * float(np.linalg.norm(inner[1] - inner[0]))
    x = np.arange(-half, half + 0.1)
    y = _BRIDGE_ROWS[:, None, None] + np.array(_BRIDGE_CURVES)[:, None] * x**2
    edge = _edge_strength(_sample(down, np.broadcast_to(centre[0] + x, y.shape), centre[1] + y))
    return float(np.quantile(edge, 0.3, axis=-1).max())


def _bare_skin(mesh: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(CANVAS, CANVAS) mask of skin within the face's outline, away from eyes, brows and lips."""
    return np.asarray(
        (regions.signed_distance(mesh, regions.OVAL) < -8)
        & (regions.eyes_distance(mesh) > 8)
        & (regions.brows_distance(mesh) > 5)
        & (regions.signed_distance(mesh, regions.OUTER_LIPS) > 4)
    )
