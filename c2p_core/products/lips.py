"""Finds the exact edge of the lips: landmarks give its approximate position, the picture's colours refine it.

Lengths are in eye distances. Upper and lower lip have separate colour models: they may differ more from each other than
from the skin beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

Points = NDArray[np.float64]
Map = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Range of the edge around the landmarks, inwards and outwards, and its step: a beard may hide most of a lip, but lips
# are hardly ever larger than their landmarks. Near a corner, where lips are thin, the range is this share of the
# distance to it.
_INWARDS, _OUTWARDS, _STEP = 0.10, 0.03, 0.004
_INWARDS_AT_CORNER = 0.3
# The edge maximises the difference between the means over this many steps on either side.
_WINDOW = 6
# Costs relative to the full difference between lips and skin: of an offset of _INWARDS from the landmarks, and of the
# squared difference in steps between neighbouring points.
_OFFSET_COST, _BEND_COST = 0.3, 0.012
# This close to its corners the mouth is a line in shadow, whose colours do not show the edge.
_CORNER = 0.10
# Distance between lip and skin in standard deviations at which confidence in colour is 0, and 1.
_ALIKE, _APART = 1.0, 2.2
# Standard deviations in optical density of light and shade around a mouth, and of colour noise.
_SHADE, _NOISE = 0.20, 0.02
# Samples of lip colour lie this deep inside the outline and this far outside the opening; samples of skin colour lie
# between these distances from the outline.
_INSIDE, _OUTSIDE_OPENING, _NEAR, _FAR = 0.015, 0.008, 0.04, 0.15
_MIN_SAMPLES = 12
# Likeness up to which a pixel is not lip, and from which it is.
_NO_LIP, _LIP = 0.12, 0.45
# A lip with less confidence than the first uses the colour model of the other one, if that has more than the second.
_LOW_CONFIDENCE, _HIGH_CONFIDENCE = 0.3, 0.6
# The mouth's interior is searched for within this distance of its opening. In optical density, teeth are at least this
# much brighter than the surrounding lips, with less than this share of their hue; the dark of the mouth is this much
# darker.
_INTERIOR = 0.06
_TEETH_BRIGHTER, _TEETH_HUE, _DARKER = 0.15, 0.5, 1.3
_SURROUNDINGS = 0.08
# A mouth whose opening is nowhere deeper than this shows no teeth.
CLOSED = 0.025
# How far the colour model of each lip is used beyond the line between the lips: the landmarks' error there.
_LINE_ERROR = 0.05


@dataclass(frozen=True)
class Lip:
    """Colour model of one lip.

    Attributes:
        confidence: confidence 0..1 that colour distinguishes it from the skin beside it.
        likeness: (H, W) 0 for the colour of skin, 1 for that of the lip.
    """

    confidence: float
    likeness: Map

    @property
    def visible_mask(self) -> Map:
        """(H, W) mask 0..1 of where the lip may be visible; 0 where it certainly is not."""
        return 1.0 - self.confidence * (1.0 - smoothstep(self.likeness, _NO_LIP, _LIP))


def fit_lip(tone: Map, level: Map, opening: Map, region: Mask) -> Lip:
    """Fit the colour model of a lip: a linear discriminant against skin that gives little weight to light and shade.

    Args:
        tone: (H, W, 3) optical density of the picture.
        level: (H, W) signed distance to the outline of the lips, negative inside.
        opening: (H, W) signed distance to the mouth's opening.
        region: (H, W) mask of this lip and the skin beside it.
    """
    masks = (
        region & (level < -_INSIDE) & (opening > _OUTSIDE_OPENING),
        region & (level > _NEAR) & (level < _FAR),
    )
    if min(int(mask.sum()) for mask in masks) < _MIN_SAMPLES:
        return Lip(0.0, np.zeros(level.shape))
    lip, skin = (np.median(tone[mask], axis=0) for mask in masks)
    spread = sum(np.cov(tone[mask], rowvar=False) for mask in masks) / 2
    spread = spread + _SHADE**2 * np.ones((3, 3)) + _NOISE**2 * np.eye(3)
    direction = np.linalg.solve(spread, lip - skin)
    separation = float(direction @ (lip - skin))
    confidence = float(np.clip((separation**0.5 - _ALIKE) / (_APART - _ALIKE), 0.0, 1.0))
    return Lip(confidence, np.clip((tone - skin) @ direction / max(separation, 1e-9), 0.0, 1.0))


def share_colour_model(upper: Lip, lower: Lip) -> tuple[Lip, Lip]:
    """Return both models; a lip without a reliable model gets that of the other one."""
    if upper.confidence < _LOW_CONFIDENCE and lower.confidence > _HIGH_CONFIDENCE:
        return lower, lower
    if lower.confidence < _LOW_CONFIDENCE and upper.confidence > _HIGH_CONFIDENCE:
        return upper, upper
    return upper, lower


def combine_lips(upper: Lip, lower: Lip, above: Map) -> Map:
    """(H, W) mask 0..1 of both lips; ``above`` is each pixel's height above the line between the lips."""
    upper_weight, lower_weight = (np.clip(1.0 + sign * above / _LINE_ERROR, 0.0, 1.0) for sign in (1.0, -1.0))
    return np.maximum(upper_weight * upper.visible_mask, lower_weight * lower.visible_mask)


def find_mouth_interior(tone: Map, lips: Map, likeness: Map, opening: Map, pixel: float) -> Map:
    """(H, W) mask 0..1 of teeth and the dark of the mouth, by comparison with the lips around them.

    Args:
        tone: (H, W, 3) optical density of the picture.
        lips: (H, W) mask 0..1 of pixels that certainly are lips.
        likeness: (H, W) likeness 0..1 of each pixel to the lips' colour.
        opening: (H, W) signed distance to the mouth's opening, negative inside.
        pixel: side of a pixel.
    """
    sigma = _SURROUNDINGS / pixel
    weight = gaussian_filter(lips, sigma) + 1e-4
    surroundings = np.stack([gaussian_filter(tone[..., c] * lips, sigma) / weight for c in range(3)], -1)
    darker = (tone - surroundings).mean(-1)
    hue, surrounding_hue = (np.linalg.norm(t - t.mean(-1, keepdims=True), axis=-1) for t in (tone, surroundings))
    pale = 1.0 - smoothstep(hue / (surrounding_hue + 1e-3), _TEETH_HUE, 1.5 * _TEETH_HUE)
    # Highlights on the lips may be as pale but keep some of their colour; paleness alone only suffices in the opening.
    bright = smoothstep(-darker, _TEETH_BRIGHTER, 2 * _TEETH_BRIGHTER) * (1.0 - smoothstep(likeness, 0.6, 0.9))
    white = smoothstep(-darker, 3 * _TEETH_BRIGHTER, 5 * _TEETH_BRIGHTER)
    inside = 1.0 - smoothstep(opening, -0.01, 0.01)
    teeth = pale * np.maximum(np.maximum(bright, white), inside) * (float(-opening.min()) > CLOSED)
    dark = smoothstep(darker, _DARKER, 1.5 * _DARKER)
    return np.asarray(np.maximum(teeth, dark) * (1.0 - smoothstep(opening, 0.7 * _INTERIOR, _INTERIOR)))


def snap_outline(outline: Points, lower: Lip, upper: Lip, pixel: float) -> Points:
    """Move the outline of the lips to the edge visible in the picture; without a visible edge it is kept.

    Args:
        outline: (2 * N, 2) closed, from one corner of the mouth along the lower lip to the other, back along the upper.
        lower: model of the lower lip.
        upper: model of the upper lip.
        pixel: side of one of the picture's pixels.

    Returns:
        (2 * N, 2).
    """
    half = len(outline) // 2
    tangents = np.roll(outline, -1, axis=0) - np.roll(outline, 1, axis=0)
    normals = np.stack([tangents[:, 1], -tangents[:, 0]], 1) / np.maximum(
        np.linalg.norm(tangents, axis=1, keepdims=True), 1e-9
    )
    following = np.roll(outline, -1, axis=0)
    area = float((outline[:, 0] * following[:, 1] - following[:, 0] * outline[:, 1]).sum())
    normals = normals * np.sign(area)  # outwards, for either orientation
    shift = np.zeros(len(outline))
    for part, model in ((np.arange(half + 1), lower), (np.arange(half, 2 * half + 1) % len(outline), upper)):
        if model.confidence > 0:
            shift[part] = _find_edge_offsets(outline[part], normals[part], model, pixel)
    return np.asarray(outline + shift[:, None] * normals)


def _find_edge_offsets(line: Points, normals: Points, model: Lip, pixel: float) -> NDArray[np.float64]:
    """(M,) offsets along the normals that move the points of a line, from corner to corner, to the edge."""
    low, high = -round(_INWARDS / _STEP), round(_OUTWARDS / _STEP)
    offsets = _STEP * np.arange(low, high + 1)
    wide = _STEP * np.arange(low - _WINDOW, high + _WINDOW + 1)
    positions = (line[:, None] + wide[:, None] * normals[:, None]) / pixel - 0.5
    profile = map_coordinates(model.likeness, [positions[..., 1], positions[..., 0]], order=1, mode="nearest")
    total = np.cumsum(np.pad(profile, ((0, 0), (1, 0))), axis=1)
    middle = np.arange(len(offsets)) + _WINDOW
    inside = (total[:, middle] - total[:, middle - _WINDOW]) / _WINDOW
    outside = (total[:, middle + _WINDOW + 1] - total[:, middle + 1]) / _WINDOW
    from_corner = np.minimum(*(np.linalg.norm(line - end, axis=1) for end in (line[0], line[-1])))
    confidence = model.confidence * np.clip(from_corner / _CORNER, 0.0, 1.0)
    cost = _OFFSET_COST * np.abs(offsets) / _INWARDS - confidence[:, None] * (inside - outside)
    cost = np.where(offsets < -_INWARDS_AT_CORNER * from_corner[:, None] - 1e-9, 1e3, cost)
    # Dynamic programming: the cheapest offsets from corner to corner.
    bend_cost = _BEND_COST * (np.arange(len(offsets))[:, None] - np.arange(len(offsets))) ** 2
    best, choices = cost[0], []
    for costs in cost[1:]:
        totals = best[:, None] + bend_cost
        choices.append(totals.argmin(0))
        best = totals.min(0) + costs
    path = [int(best.argmin())]
    for before in reversed(choices):
        path.append(int(before[path[-1]]))
    # Smoothed: the steps would be visible at full resolution.
    return np.convolve(np.pad(offsets[path[::-1]], 2, mode="edge"), np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9, "valid")


def smoothstep(values: Map, low: float, high: float) -> Map:
    """Cubic ramp from 0 at ``low`` to 1 at ``high``."""
    share = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))
