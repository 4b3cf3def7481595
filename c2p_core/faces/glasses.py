"""Glasses on a face's canvas, told by the closed line of a rim about each eye.

Neither colour nor fine relief tells wire frames from wrinkles. What no wrinkle does is run on around the eye, from the
temple below it to the nose, and over the bridge of the nose. The weights were fitted on 1,323 synthetic faces; see
``benchmarks/EXPERIMENTS.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from skimage.draw import polygon2mask

from c2p_core.faces import regions
from c2p_core.faces.align import CANVAS, CANVAS_EYES, LEFT_EYE, RIGHT_EYE

# Rims are sought from above the temple (0 degrees points to it) downwards and up again beside the nose, so many canvas
# px from the eye's middle, and not on its lids.
_ANGLES = np.deg2rad(np.arange(-35.0, 216.0, 5.0))
_RADII = np.arange(13.0, 42.0)
_LIDS = 8.0
# What a px of change between one angle and the next costs, and the most that there may be.
_BEND, _MOST = 0.15, 2
# A change of light per canvas px, in natural logarithms, that counts as half an edge.
_EDGE = 0.035
_WINDOW = 7  # angles
_BRIDGE = 0.22  # of the distance between the inner corners of the eyes, to both sides of their middle
_BRIDGE_ROWS = np.arange(-26.0, 12.0)
_BRIDGE_CURVES = (-0.075, 0.0, 0.01, 0.025)
# Log odds of glasses: per unit of the rim's mean edge, its weakest stretch, the bridge, the skin's own edges and the
# rim's distance below the lids in canvas px; of the eye that shows less of a rim.
_WEIGHTS, _BIAS = np.array([16.3, 10.1, 10.8, -11.8, 0.21]), -24.4
# Log odds at which a face counts as one without glasses, and with them; between, it holds them in part.
_NONE, _SURE = -0.9, -0.2
_FRAME = 5.0  # canvas px, from the rim's inner edge to where skin may move again
_FADE = 4.0
_BELOW_EYES = 4.0  # canvas px, how far below the middle of the eyes bridge and arms of the glasses may lie


@dataclass(frozen=True)
class Rim:
    """The line about one eye that looks most like a rim.

    Attributes:
        points: (angles, 2) canvas pixels, from the temple below the eye to the nose.
        edge: (angles,) how much of an edge it is there, 0..1.
        below: mean distance in canvas pixels to the lids, in the third below the eye.
    """

    points: NDArray[np.float32]
    edge: NDArray[np.float32]
    below: float


def glasses_mask(pixels: NDArray[np.float32], mesh: NDArray[np.float32]) -> regions.Map:
    """Where glasses are, (CANVAS, CANVAS) 0..1: lenses, rims, bridge and arms; 0 everywhere without any.

    Args:
        pixels: (CANVAS, CANVAS, 3) sRGB 0..1.
        mesh: (468, 2) canvas pixels.
    """
    rims, odds = find_rims(pixels, mesh)
    worn = float(regions.ramp(np.asarray(-odds), -_SURE, -_NONE))
    if worn == 0.0:
        return np.zeros((CANVAS, CANVAS), dtype=np.float32)
    inside = np.zeros((CANVAS, CANVAS), dtype=bool)
    for rim in rims:
        inside |= polygon2mask((CANVAS, CANVAS), rim.points[:, ::-1] - 0.5)
    # Upper rims lie at the brows, or above them where a lens is wide.
    brows = mesh[[*regions.LEFT_BROW, *regions.RIGHT_BROW], 1]
    top = min(float(brows.min()), *(float(rim.points[:, 1].min()) for rim in rims))
    inside[max(0, round(top)) : round(CANVAS_EYES[1] + _BELOW_EYES)] = True
    away = distance_transform_edt(~inside).astype(np.float32)
    return worn * regions.ramp(away, _FRAME, _FRAME + _FADE)


def find_rims(pixels: NDArray[np.float32], mesh: NDArray[np.float32]) -> tuple[tuple[Rim, Rim], float]:
    """The best rim about each eye, and the log odds that they are glasses."""
    light = np.log(np.clip(gaussian_filter(pixels.mean(-1), 1.0), 0.03, 1.0))
    down, right = np.gradient(light)
    rims = (_rim(right, down, mesh, LEFT_EYE, -1), _rim(right, down, mesh, RIGHT_EYE, 1))
    seen = np.array(
        [
            min(float(rim.edge.mean()) for rim in rims),
            min(float(np.convolve(rim.edge, np.full(_WINDOW, 1 / _WINDOW), "valid").min()) for rim in rims),
            _bridge(down, mesh),
            float(_edge(np.hypot(right, down))[_bare(mesh)].mean()),
            min(rim.below for rim in rims),
        ]
    )
    return rims, float(seen @ _WEIGHTS + _BIAS)


def _edge(slope: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.abs(slope) / (np.abs(slope) + _EDGE), dtype=np.float32)


def _at(values: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(map_coordinates(values, [y - 0.5, x - 0.5], order=1, mode="nearest"), dtype=np.float32)


def _rim(
    right: NDArray[np.float32],
    down: NDArray[np.float32],
    mesh: NDArray[np.float32],
    eye: tuple[int, ...],
    temple: int,
) -> Rim:
    """The strongest line about an eye, by dynamic programming over angles; ``temple`` is the sign of x to it."""
    middle = mesh[list(eye)].mean(0)
    out = np.stack([temple * np.cos(_ANGLES), np.sin(_ANGLES)])
    x, y = (middle[axis] + out[axis][:, None] * _RADII for axis in (0, 1))
    lids = _at(regions.signed_distance(mesh, eye), x, y)
    edge = _edge(_at(right, x, y) * out[0][:, None] + _at(down, x, y) * out[1][:, None])
    edge *= np.clip((lids - _LIDS + 2.0) / 2.0, 0.0, 1.0)
    steps = range(-_MOST, _MOST + 1)
    best, came = edge[0], []
    for here in edge[1:]:
        wide = np.pad(best, _MOST, constant_values=-np.inf)
        ways = np.stack([wide[_MOST + step : _MOST + step + len(best)] - _BEND * abs(step) for step in steps])
        came.append(ways.argmax(0) - _MOST)
        best = ways.max(0) + here
    path = [int(best.argmax())]
    for step in reversed(came):
        path.append(path[-1] + int(step[path[-1]]))
    line = (np.arange(len(_ANGLES)), np.array(path[::-1]))
    third = len(_ANGLES) // 3
    return Rim(
        np.stack([x[line], y[line]], -1).astype(np.float32), edge[line], float(lids[line][third : 2 * third].mean())
    )


def _bridge(down: NDArray[np.float32], mesh: NDArray[np.float32]) -> float:
    """0..1: the strongest line over the bridge of the nose."""
    inner = mesh[[133, 362]]
    middle, half = inner.mean(0), _BRIDGE * float(np.linalg.norm(inner[1] - inner[0]))
    x = np.arange(-half, half + 0.1)
    y = _BRIDGE_ROWS[:, None, None] + np.array(_BRIDGE_CURVES)[:, None] * x**2
    edge = _edge(_at(down, np.broadcast_to(middle[0] + x, y.shape), middle[1] + y))
    return float(np.quantile(edge, 0.3, axis=-1).max())


def _bare(mesh: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Skin within the face's outline, away from eyes, brows and lips."""
    return np.asarray(
        (regions.signed_distance(mesh, regions.OVAL) < -8)
        & (regions.eyes_distance(mesh) > 8)
        & (regions.brows_distance(mesh) > 5)
        & (regions.signed_distance(mesh, regions.OUTER_LIPS) > 4)
    )
