"""Facial regions on the canvas, from the mesh and the picture: outlines, distances, skin."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.draw import polygon2mask

from c2p_core.faces.align import CANVAS, LEFT_EYE, RIGHT_EYE
from c2p_core.recent import Recent, digest

OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
LEFT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
RIGHT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
# Around the nose's tip and wings.
NOSE = (4, 45, 220, 115, 48, 64, 98, 97, 2, 326, 327, 294, 278, 344, 440, 275)

# Canvas pixels over which changes of the skin fade out towards the face's outline.
_FADE, _FADE_ON_FOREHEAD = 10.0, 40.0

Map = NDArray[np.float32]

# The maps of one face need it three times.
_likenesses: Recent[Map] = Recent(2)


def signed_distance(mesh: NDArray[np.float32], outline: tuple[int, ...]) -> Map:
    """(CANVAS, CANVAS) distance in canvas pixels to the outline, negative inside; not to be written to."""
    points = np.ascontiguousarray(mesh[list(outline)])
    return _signed_distance(points.tobytes(), points.dtype.str)


# The maps of one face need the same few outlines many times.
@lru_cache(maxsize=16)
def _signed_distance(points: bytes, dtype: str) -> Map:
    inside = polygon2mask((CANVAS, CANVAS), np.frombuffer(points, dtype).reshape(-1, 2)[:, ::-1] - 0.5)
    if inside.any():
        outside = distance_transform_edt(~inside) - 0.5
        distance: Map = np.where(inside, 0.5 - distance_transform_edt(inside), outside).astype(np.float32)
    else:
        distance = np.full((CANVAS, CANVAS), float(CANVAS), dtype=np.float32)
    distance.setflags(write=False)
    return distance


def ramp(distance: Map, start: float, end: float) -> Map:
    """1 up to ``start``, 0 from ``end`` on, smooth between."""
    t = np.clip((distance - start) / (end - start), 0.0, 1.0)
    return np.asarray(1.0 - t * t * (3.0 - 2.0 * t), dtype=np.float32)


def eyes_distance(mesh: NDArray[np.float32]) -> Map:
    """Signed distance to the nearer eye opening."""
    return np.minimum(signed_distance(mesh, LEFT_EYE), signed_distance(mesh, RIGHT_EYE))


def brows_distance(mesh: NDArray[np.float32]) -> Map:
    """Signed distance to the nearer brow."""
    return np.minimum(signed_distance(mesh, LEFT_BROW), signed_distance(mesh, RIGHT_BROW))


def skin_mask(pixels: NDArray[np.float32], mesh: NDArray[np.float32]) -> Map:
    """(CANVAS, CANVAS) mask 0..1 of the skin whose tone may change: without eyes, mouth and surroundings.

    Args:
        pixels: (CANVAS, CANVAS, 3) sRGB 0..1.
        mesh: (468, 2) canvas pixels.
    """
    inner = ramp(-signed_distance(mesh, INNER_LIPS), -2.0, 0.5)
    return skin_likeness(pixels, mesh) * _interior(mesh) * ramp(-eyes_distance(mesh), -7.0, -1.5) * inner


def _interior(mesh: NDArray[np.float32]) -> Map:
    """Mask of the face's interior, with a wide ramp on the forehead, where the outline crosses bare skin."""
    top, brows = float(mesh[list(OVAL), 1].min()), float(mesh[[*LEFT_BROW, *RIGHT_BROW], 1].min())
    forehead = np.clip((brows - np.arange(CANVAS)[:, None] - 0.5) / max(1.0, brows - top), 0.0, 1.0)
    width = _FADE + (_FADE_ON_FOREHEAD - _FADE) * forehead
    return ramp(np.asarray(signed_distance(mesh, OVAL) / width, dtype=np.float32), -1.0, 0.0)


def skin_likeness(pixels: NDArray[np.float32], mesh: NDArray[np.float32]) -> Map:
    """(CANVAS, CANVAS) similarity 0..1 of each pixel to this face's skin, anywhere on the canvas; not to be written to.

    Hair over the forehead, beards, hats and frames of glasses differ in colour from this face's cheeks, nose and chin.

    Args:
        pixels: (CANVAS, CANVAS, 3) sRGB 0..1.
        mesh: (468, 2) canvas pixels.
    """
    return _likenesses.get(digest(pixels, mesh), lambda: _measure_skin_likeness(pixels, mesh))


def _measure_skin_likeness(pixels: NDArray[np.float32], mesh: NDArray[np.float32]) -> Map:
    lips = signed_distance(mesh, OUTER_LIPS)
    # Below the eyes, where there are rarely glasses or hair.
    below_eyes = np.arange(CANVAS)[:, None] > mesh[[145, 374], 1].max() + 8
    bare = below_eyes & (signed_distance(mesh, OVAL) < -8) & (lips > 3)
    smooth = np.stack([gaussian_filter(pixels[..., c], 1.5) for c in range(3)], axis=-1)
    tone = np.log(np.clip(smooth, 0.02, 1.0))
    # Light changes all channels alike; any other difference means another material.
    light, hue = tone.mean(-1), tone - tone.mean(-1, keepdims=True)
    typical_light = np.median(light[bare])
    typical_hue = np.median(hue[bare], axis=0)
    hue_scale = max(0.05, 2.0 * float(np.median(np.abs(hue[bare] - typical_hue).max(-1))))
    light_scale = max(0.30, 2.5 * float(np.median(np.abs(light[bare] - typical_light))))
    deviation = np.hypot(np.abs(hue - typical_hue).max(-1) / hue_scale, (light - typical_light) / light_scale)
    likeness = ramp(gaussian_filter(deviation, 1.0).astype(np.float32), 1.6, 3.0)
    skin: Map = gaussian_filter(likeness, 2.0).astype(np.float32)
    skin.setflags(write=False)
    return skin
