"""Where lips end on a picture: the dense landmarks say about where, the picture's own colours say where exactly.

Lengths are in eye distances. Upper and lower lip are told from skin each by itself: they may differ more from one
another than from the skin beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

Points = NDArray[np.float64]
Map = NDArray[np.float64]
Mask = NDArray[np.bool_]

# How far the edge of the lips may lie from where the landmarks put it, inwards and outwards: a beard hides the better
# part of a lip, while nobody's lips are much larger than they were measured. Near a corner both lips are thin.
_INWARDS, _OUTWARDS, _STEP = 0.10, 0.03, 0.004
_INWARDS_AT_CORNER = 0.3
# The edge is where the means over so many steps on both of its sides differ most.
_BESIDE = 6
# What it costs, in units of the whole difference between lips and skin, to lie _INWARDS off the landmarks, and to lie
# one step farther off than at the neighbouring point.
_AWAY, _BENT = 0.3, 0.012
# So close to its corners a mouth is a line in shadow, whose colours tell nothing of its edge.
_CORNER = 0.10
# Standard deviations between lips and skin below which colour tells nothing, and from which on all.
_ALIKE, _APART = 1.0, 2.2
# Standard deviation of the optical density that light and shade have about a mouth, and of the noise of colours.
_SHADE, _NOISE = 0.20, 0.02
# How deep inside the lips, and how far beside them, colours are surely those of lips and of skin.
_INSIDE, _OUTSIDE_OPENING, _NEAR, _FAR = 0.015, 0.008, 0.04, 0.15
_FEWEST = 12
# Likeness below which there is no lip, and from which on there is one.
_NO_LIP, _LIP = 0.12, 0.45
# A lip that is told from skin by less than the first, while the other one is by more than the second, is taken to look
# like the other one.
_UNTOLD, _TOLD = 0.3, 0.6
# Within this distance of the mouth's opening may be what lies behind it. Teeth are so much brighter than the lips about
# them, in optical density, and have less than this share of their hue; the mouth's dark is so much darker.
_BEHIND = 0.06
_TEETH_BRIGHTER, _TEETH_HUE, _DARKER = 0.15, 0.5, 1.3
_ABOUT = 0.08
# A mouth whose opening is nowhere farther than this from its rim shows no teeth.
CLOSED = 0.025
# How far one lip's colours are looked for beyond the line between the lips, which landmarks may miss by so much.
_MISSED = 0.05


@dataclass(frozen=True)
class Lip:
    """How one lip differs from the skin beside it.

    Attributes:
        sure: 0 where they can't be told apart by colour, up to 1.
        likeness: (H, W) 0 for the colour of skin, 1 for that of the lip.
    """

    sure: float
    likeness: Map

    @property
    def shows(self) -> Map:
        """(H, W) 0..1: 0 where surely no lip is seen."""
        return 1.0 - self.sure * (1.0 - smoothstep(self.likeness, _NO_LIP, _LIP))


def fit_lip(tone: Map, level: Map, opening: Map, beside: Mask) -> Lip:
    """Tell a lip from skin by a linear discriminant to which differences of light count for little.

    Args:
        tone: (H, W, 3) optical density of the picture.
        level: (H, W) signed distance to the outline of the lips, negative inside.
        opening: (H, W) the same for the mouth's opening.
        beside: (H, W) bool, this lip and the skin beside it.
    """
    places = (
        beside & (level < -_INSIDE) & (opening > _OUTSIDE_OPENING),
        beside & (level > _NEAR) & (level < _FAR),
    )
    if min(int(place.sum()) for place in places) < _FEWEST:
        return Lip(0.0, np.zeros(level.shape))
    own, skin = (np.median(tone[place], axis=0) for place in places)
    spread = sum(np.cov(tone[place], rowvar=False) for place in places) / 2
    spread = spread + _SHADE**2 * np.ones((3, 3)) + _NOISE**2 * np.eye(3)
    towards = np.linalg.solve(spread, own - skin)
    apart = float(towards @ (own - skin))
    sure = float(np.clip((apart**0.5 - _ALIKE) / (_APART - _ALIKE), 0.0, 1.0))
    return Lip(sure, np.clip((tone - skin) @ towards / max(apart, 1e-9), 0.0, 1.0))


def share_colour_model(upper: Lip, lower: Lip) -> tuple[Lip, Lip]:
    """Both lips, one as the other where its own place on the picture is unlike any lip."""
    if upper.sure < _UNTOLD and lower.sure > _TOLD:
        return lower, lower
    if lower.sure < _UNTOLD and upper.sure > _TOLD:
        return upper, upper
    return upper, lower


def combine_lips(upper: Lip, lower: Lip, above: Map) -> Map:
    """(H, W) 0..1, where a lip shows; ``above`` is how far a pixel lies above the line between the lips."""
    over, under = (np.clip(1.0 + sign * above / _MISSED, 0.0, 1.0) for sign in (1.0, -1.0))
    return np.maximum(over * upper.shows, under * lower.shows)


def find_mouth_interior(tone: Map, lips: Map, likeness: Map, opening: Map, pixel: float) -> Map:
    """(H, W) 0..1: teeth, and the dark of the mouth, as told by the lips about them.

    Args:
        tone: (H, W, 3) optical density of the picture.
        lips: (H, W) 0..1, where there surely are lips.
        likeness: (H, W) how much each pixel has of a lip's colour, 0..1.
        opening: (H, W) signed distance to the mouth's opening, negative inside.
        pixel: side of a pixel.
    """
    sigma = _ABOUT / pixel
    weight = gaussian_filter(lips, sigma) + 1e-4
    about = np.stack([gaussian_filter(tone[..., c] * lips, sigma) / weight for c in range(3)], -1)
    darker = (tone - about).mean(-1)
    hue, own = (np.linalg.norm(t - t.mean(-1, keepdims=True), axis=-1) for t in (tone, about))
    pale = 1.0 - smoothstep(hue / (own + 1e-3), _TEETH_HUE, 1.5 * _TEETH_HUE)
    # A shine on the lips may be as pale, but has something of their colour; only in the opening paleness is enough.
    bright = smoothstep(-darker, _TEETH_BRIGHTER, 2 * _TEETH_BRIGHTER) * (1.0 - smoothstep(likeness, 0.6, 0.9))
    white = smoothstep(-darker, 3 * _TEETH_BRIGHTER, 5 * _TEETH_BRIGHTER)
    inside = 1.0 - smoothstep(opening, -0.01, 0.01)
    teeth = pale * np.maximum(np.maximum(bright, white), inside) * (float(-opening.min()) > CLOSED)
    dark = smoothstep(darker, _DARKER, 1.5 * _DARKER)
    return np.asarray(np.maximum(teeth, dark) * (1.0 - smoothstep(opening, 0.7 * _BEHIND, _BEHIND)))


def snap_outline(outline: Points, lower: Lip, upper: Lip, pixel: float) -> Points:
    """The outline of the lips moved to where the picture shows their edge; where it shows none, it stays.

    Args:
        outline: (2 * N, 2) closed, from one corner of the mouth along the lower lip to the other, back along the upper.
        lower: the lower lip on the picture.
        upper: the upper one.
        pixel: side of one of the picture's pixels.

    Returns:
        (2 * N, 2).
    """
    half = len(outline) // 2
    along = np.roll(outline, -1, axis=0) - np.roll(outline, 1, axis=0)
    normals = np.stack([along[:, 1], -along[:, 0]], 1) / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    following = np.roll(outline, -1, axis=0)
    area = float((outline[:, 0] * following[:, 1] - following[:, 0] * outline[:, 1]).sum())
    normals = normals * np.sign(area)  # outwards, in the mirror too
    shift = np.zeros(len(outline))
    for part, its in ((np.arange(half + 1), lower), (np.arange(half, 2 * half + 1) % len(outline), upper)):
        if its.sure > 0:
            shift[part] = _shift(outline[part], normals[part], its, pixel)
    return np.asarray(outline + shift[:, None] * normals)


def _shift(line: Points, normals: Points, its: Lip, pixel: float) -> NDArray[np.float64]:
    """(M,) how far along its normals each point of a line from corner to corner moves, so that it follows the edge."""
    low, high = -round(_INWARDS / _STEP), round(_OUTWARDS / _STEP)
    offsets = _STEP * np.arange(low, high + 1)
    wide = _STEP * np.arange(low - _BESIDE, high + _BESIDE + 1)
    at = (line[:, None] + wide[:, None] * normals[:, None]) / pixel - 0.5
    profile = map_coordinates(its.likeness, [at[..., 1], at[..., 0]], order=1, mode="nearest")
    total = np.cumsum(np.pad(profile, ((0, 0), (1, 0))), axis=1)
    middle = np.arange(len(offsets)) + _BESIDE
    inside = (total[:, middle] - total[:, middle - _BESIDE]) / _BESIDE
    outside = (total[:, middle + _BESIDE + 1] - total[:, middle + 1]) / _BESIDE
    from_corner = np.minimum(*(np.linalg.norm(line - end, axis=1) for end in (line[0], line[-1])))
    tells = its.sure * np.clip(from_corner / _CORNER, 0.0, 1.0)
    cost = _AWAY * np.abs(offsets) / _INWARDS - tells[:, None] * (inside - outside)
    cost = np.where(offsets < -_INWARDS_AT_CORNER * from_corner[:, None] - 1e-9, 1e3, cost)
    # Dynamic programming: the cheapest offsets from corner to corner.
    bent = _BENT * (np.arange(len(offsets))[:, None] - np.arange(len(offsets))) ** 2
    best, came = cost[0], []
    for here in cost[1:]:
        ways = best[:, None] + bent
        came.append(ways.argmin(0))
        best = ways.min(0) + here
    path = [int(best.argmin())]
    for before in reversed(came):
        path.append(int(before[path[-1]]))
    # Steps are coarser than an edge can be seen at full size.
    return np.convolve(np.pad(offsets[path[::-1]], 2, mode="edge"), np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9, "valid")


def smoothstep(values: Map, low: float, high: float) -> Map:
    """0 up to ``low``, 1 from ``high`` on, smooth between."""
    share = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))
