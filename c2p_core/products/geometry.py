"""The regions of makeup products on a face, computed from the dense landmarks.

A region is an entry of ``REGIONS`` and has two maps: a *level* in units of its own, low inside and rising outwards, and
a *gate* in 0..1, which is 0 where there must be no makeup. A product's record names its region.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter
from torch import Tensor

from c2p_core.colour import density
from c2p_core.faces.regions import INNER_LIPS, OUTER_LIPS, OVAL
from c2p_core.products.catalogue import CATALOGUE
from c2p_core.products.lips import (
    CLOSED,
    combine_lips,
    find_mouth_interior,
    fit_lip,
    share_colour_model,
    smoothstep,
    snap_outline,
)

Array = NDArray[np.float32]
Map = NDArray[np.float64]
"""(H, W) values on the canvas, (H, W, 2) positions or (N, 2) points; lengths are in eye distances."""

# A level far outside of any product.
_FAR = 8.0


@dataclass(frozen=True)
class _Side:
    """Mesh points of one half of the face; lids run from the inner to the outer corner, brows from nose to temple."""

    upper_lid: tuple[int, ...]
    lower_lid: tuple[int, ...]
    brow_low: tuple[int, ...]
    brow_high: tuple[int, ...]
    cheek: tuple[int, int]
    hollow: tuple[int, ...]
    jaw: tuple[int, ...]
    temple: tuple[int, ...]
    cheekbone: tuple[int, ...]


_LEFT = _Side(
    (133, 173, 157, 158, 159, 160, 161, 246, 33),
    (133, 155, 154, 153, 145, 144, 163, 7, 33),
    (55, 65, 52, 53, 46),
    (107, 66, 105, 63, 70),
    (205, 227),
    (177, 147, 187),
    (58, 172, 136, 150),
    (127, 162, 21, 54),
    (116, 117, 118),
)
_RIGHT = _Side(
    (362, 398, 384, 385, 386, 387, 388, 466, 263),
    (362, 382, 381, 380, 374, 373, 390, 249, 263),
    (285, 295, 282, 283, 276),
    (336, 296, 334, 293, 300),
    (425, 447),
    (401, 376, 411),
    (288, 397, 365, 379),
    (356, 389, 251, 284),
    (345, 346, 347),
)
_NOSE = (168, 6, 197, 195, 5)


@dataclass(frozen=True)
class ProductMaps:
    """The maps of where all products go, on one pixel grid.

    Attributes:
        level: (9, H, W) float32, low inside and rising outwards, in each product's own units.
        gate: (9, H, W) float32 in 0..1; 0 on eyeballs, in the mouth's opening and outside of the face.
    """

    level: Tensor
    gate: Tensor

    def to(self, device: torch.device) -> ProductMaps:
        return ProductMaps(self.level.to(device), self.gate.to(device))

    def mask_covered(self, visible: Tensor) -> ProductMaps:
        """Leave out what is covered; ``visible``: (H, W) 0..1."""
        return ProductMaps(self.level, self.gate * visible)


def build_product_maps(mesh: Array, size: int, eye_distance: float, linear: Tensor | None = None) -> ProductMaps:
    """Compute level maps and gates of all products.

    Args:
        mesh: (468, 2) MediaPipe points in pixels of the canvas.
        size: width and height of the canvas in pixels.
        eye_distance: in pixels of the canvas; the unit of lengths.
        linear: (3, size, size) the canvas in linear light, in which the edge of the lips is detected; without it, the
            mesh gives their outline.
    """
    face = FaceGeometry(mesh, size, eye_distance, linear)
    maps = {
        name: (REGIONS[name].level(face), REGIONS[name].gate(face)) for name in {p.region for p in CATALOGUE.values()}
    }
    levels, gates = zip(*(maps[product.region] for product in CATALOGUE.values()), strict=True)
    return ProductMaps(
        torch.from_numpy(np.stack(levels).astype(np.float32)), torch.from_numpy(np.stack(gates).astype(np.float32))
    )


class FaceGeometry:
    """The geometry that regions are computed from, in eye distances; shared maps are computed once.

    Attributes:
        points: (468, 2) mesh points.
        xy: (size, size, 2) position of each pixel of the canvas.
        pixel: length of a pixel.
    """

    def __init__(self, mesh: Array, size: int, eye_distance: float, linear: Tensor | None) -> None:
        """Arguments as those of ``build_product_maps``."""
        self.points: Map = (np.asarray(mesh, np.float64) / eye_distance).astype(np.float64)
        axis = (np.arange(size) + 0.5) / eye_distance
        self.xy: Map = np.stack(np.meshgrid(axis, axis), -1)
        self.pixel = 1.0 / eye_distance
        self._linear = linear

    def make_empty_level(self) -> Map:
        """The level map of an empty region, to be lowered where a product belongs."""
        return np.full(self.xy.shape[:2], _FAR)

    @cached_property
    def eyes(self) -> tuple[_Eye, _Eye]:
        """The image's left and right eye."""
        return _make_eye(self.points, _LEFT), _make_eye(self.points, _RIGHT)

    @cached_property
    def eye_openings(self) -> Map:
        """Signed distance to the outline of the nearer eye."""
        distance = self.make_empty_level()
        for eye in self.eyes:
            outline = np.concatenate([eye.upper, eye.lower[-2:0:-1]])
            np.minimum(distance, _measure_outline(outline, self.xy, 0.5), out=distance)
        return distance

    @cached_property
    def oval(self) -> Map:
        """Signed distance to the outline of the face."""
        return _measure_outline(self.points[list(OVAL)], self.xy, 0.5)

    @cached_property
    def lips(self) -> tuple[Map, Map]:
        """Signed distance to the outline of the lips, and a mask 0..1 of where they are visible."""
        tone = None if self._linear is None else _measure_tone(self._linear, self.pixel)
        return _detect_lips(self.points, self.xy, self.pixel, tone, self.oval)

    @cached_property
    def skin(self) -> Map:
        """The face without the eyeballs, 0..1."""
        return _step(-self.oval + 0.02, 0.03) * _step(self.eye_openings, max(0.006, 0.5 * self.pixel))

    @cached_property
    def cheeks(self) -> Map:
        """The face without eyes, their rims and lips, 0..1."""
        away_from_eyes = _step(self.eye_openings - 0.05, 0.02)
        return _step(-self.oval + 0.02, 0.03) * away_from_eyes * _step(self.lips[0], 0.02)


def _measure_tone(linear: Tensor, pixel: float) -> Map:
    """(H, W, 3) optical density of a picture, smoothed against noise."""
    tone = density(linear).permute(1, 2, 0).cpu().numpy().astype(np.float64)
    return np.stack([gaussian_filter(tone[..., channel], max(0.8, 0.011 / pixel)) for channel in range(3)], -1)


def _detect_lips(points: Map, xy: Map, pixel: float, tone: Map | None, face: Map) -> tuple[Map, Map]:
    """Signed distance to the outline of the lips, and a mask 0..1 of where they are visible, without the opening.

    The picture takes precedence over the mesh where its colours distinguish lips from skin, teeth and hairs.
    """
    mesh_outline = _fit_closed_spline(points[list(OUTER_LIPS)])
    inner = points[list(INNER_LIPS)]
    opening = _measure_outline(inner, xy, 0.2)
    closed = _step(opening, max(0.006, 0.5 * pixel))
    outer = _measure_outline(mesh_outline, xy, 0.3)
    if tone is None:
        return outer, closed
    corner = len(inner) // 2
    between = np.concatenate([inner[:1], 0.5 * (inner[1:corner] + inner[:corner:-1]), inner[corner : corner + 1]])
    between = between[between[:, 0].argsort()]
    above = np.interp(xy[..., 0], between[:, 0], between[:, 1]) - xy[..., 1]
    below_nose = (xy[..., 1] > points[2, 1] + 0.03) & (face < -0.05)
    hidden = np.zeros(outer.shape)
    # The second pass fits the colours within the detected edge and without teeth, which improves the edge.
    for _ in range(2):
        usable = below_nose & (hidden < 0.5)
        upper, lower = share_colour_model(
            *(fit_lip(tone, outer, opening, usable & part) for part in (above > 0, above <= 0))
        )
        outer = _measure_outline(snap_outline(mesh_outline, lower, upper, pixel), xy, 0.3)
        visible = combine_lips(upper, lower, above)
        likeness = np.maximum(upper.confidence * upper.likeness, lower.confidence * lower.likeness)
        hidden = find_mouth_interior(tone, visible * (outer < -0.015) * (opening > 0.008), likeness, opening, pixel)
    smooth = max(1.0, 0.014 / pixel)
    # Well inside the lips, other colours are highlights or shadows.
    visible = gaussian_filter(np.maximum(visible, smoothstep(-outer, 0.04, 0.07)) * (1.0 - hidden), smooth)
    # Lip colour inside the opening of the mesh is lip, and a closed mouth has no opening; deep inside a wide opening,
    # where the tongue may be, the mesh decides.
    lip_colour = smoothstep(gaussian_filter(likeness, smooth), 0.4, 0.7) * _step(opening + 0.05, 0.015)
    if float(-opening.min()) < CLOSED:
        lip_colour = np.ones(opening.shape)
    return outer, np.maximum(closed, lip_colour) * smoothstep(visible, 0.3, 0.95)


@dataclass(frozen=True)
class _Eye:
    """One eye's lines, (N, 2) each: lids from the inner to the outer corner, brows from nose to temple.

    Attributes:
        upper, lower: the lids.
        brow_low, brow_high: knots of the brow's edges.
        wing: the line of a liner beyond the outer corner.
        width: from corner to corner.
    """

    upper: Map
    lower: Map
    brow_low: Map
    brow_high: Map
    wing: Map
    width: float


def _make_eye(points: Map, side: _Side) -> _Eye:
    upper = _fit_spline(points[list(side.upper_lid)], 25)
    lower = _fit_spline(points[list(side.lower_lid)], 25)
    brow_low, brow_high = points[list(side.brow_low)], points[list(side.brow_high)]
    corner, tail = upper[-1], 0.5 * (brow_low[-1] + brow_high[-1])
    width = float(np.linalg.norm(upper[-1] - upper[0]))
    # The wing continues the sweep of the lower lid.
    sweep = _normalise(_normalise(corner - lower[-7]) + 0.7 * _normalise(tail - corner))
    wing = corner + sweep * (0.42 * width) * np.linspace(0, 1, 9)[1:, None]
    return _Eye(upper, lower, brow_low, brow_high, wing, width)


def _measure_eyeliner(face: FaceGeometry) -> Map:
    """Thin at the inner corner, with a wing."""
    level = face.make_empty_level()
    for eye in face.eyes:
        # The line leaves the lid before the outer corner, where lids droop, and starts beside the tear duct.
        drawn = _fit_spline(np.concatenate([eye.upper[3:-4:3], eye.wing[1::3]]), 33)
        line, along = _measure_line(drawn, face.xy, 0.6)
        inner_share = 24
        on_lid = np.clip(along / inner_share, 0, 1)
        on_wing = np.clip((along - inner_share) / (len(drawn) - 1 - inner_share), 0, 1)
        thick = (0.22 + 0.78 * on_lid**1.3) * (1.0 - 0.75 * on_wing)
        np.minimum(level, line / thick + 0.045 * on_wing, out=level)
    return level


def _measure_eyeshadow(face: FaceGeometry) -> Map:
    """0 at the lash line, 1 at the brow; a narrow band under the eye; fades towards the temple."""
    level = face.make_empty_level()
    for eye in face.eyes:
        lid, position = _measure_line(np.concatenate([eye.upper, eye.wing[:5]]), face.xy, 1.2)
        brow, _ = _measure_line(_fit_spline(eye.brow_low, 15), face.xy, 1.2)
        # The inner third is lighter, or the shadow would have a hard edge beside the nose.
        inner = 1.0 - np.clip(position / (0.6 * (len(eye.upper) - 1)), 0, 1)
        rise = lid / (lid + brow + 1e-6) + 0.5 * inner**1.5
        area = np.concatenate([eye.upper, eye.wing[:6], _fit_spline(eye.brow_low, 15)[::-1]])
        beside = np.maximum(_measure_outline(area, face.xy, 1.2), 0.0)
        under, position = _measure_line(eye.lower, face.xy, 0.6)
        below = 0.3 + under / 0.16 + 0.35 * (1.0 - np.clip(position / (len(eye.lower) - 1), 0, 1))
        np.minimum(level, _soft_minimum(rise + beside / 0.14, below, 0.08), out=level)
    return level


def _measure_lashes(face: FaceGeometry) -> Map:
    level = face.make_empty_level()
    for eye in face.eyes:
        np.minimum(level, _measure_lash_fan(eye.upper, eye.lower, eye.width, face.xy), out=level)
    return level


def _measure_brow(face: FaceGeometry) -> Map:
    level = face.make_empty_level()
    for eye in face.eyes:
        outline = np.concatenate([_fit_spline(eye.brow_low, 15), _fit_spline(eye.brow_high, 15)[::-1]])
        np.minimum(level, _measure_outline(outline, face.xy, 0.4), out=level)
    return level


def _measure_lash_fan(upper: Map, lower: Map, width: float, xy: Map) -> Map:
    """Distance to a fan of curved lashes; lashes get thinner towards the tip."""
    centre = 0.5 * (upper + lower).mean(0) + 0.25 * (upper[0] + upper[-1])
    best = np.full(xy.shape[:2], _FAR)
    count = 20
    for number in range(count):
        share = (number + 1.5) / (count + 1)
        index = min(int(share * (len(upper) - 1)), len(upper) - 1)
        root = upper[index]
        out = _normalise(root - centre)
        lean = _normalise(upper[-1] - upper[0]) * (0.9 * (share - 0.35))
        length = width * (0.10 + 0.13 * share * (1.3 - 0.5 * share))
        middle = root + 0.55 * length * _normalise(out * 0.7 + lean * 1.4)
        tip = root + length * _normalise(out * 1.2 + lean)
        stroke, along = _measure_line(np.stack([root, middle, tip]), xy, 0.1)
        np.minimum(best, stroke + 0.004 * along / 2.0, out=best)
    return best


def _measure_blush(face: FaceGeometry) -> Map:
    """From the apple of the cheek to the temple."""
    level, points = face.make_empty_level(), face.points
    for side in (_LEFT, _RIGHT):
        apple, temple = points[side.cheek[0]], points[side.cheek[1]]
        middle = points[side.cheekbone[1]]
        start = 0.65 * apple + 0.35 * middle
        blush, along = _measure_line(np.stack([start, 0.45 * start + 0.55 * temple]), face.xy, 1.2)
        size = 0.30 - 0.06 * np.clip(along, 0, 1)
        np.minimum(level, (blush / size) ** 2, out=level)
    return level


def _measure_contour(face: FaceGeometry) -> Map:
    """In the hollow of the cheek, along jaw and temple, and along both sides of the nose."""
    level, points = face.make_empty_level(), face.points
    for side in (_LEFT, _RIGHT):
        hollow = points[list(side.hollow)]
        hollow[-1] = 0.7 * hollow[-2] + 0.3 * hollow[-1]
        contour = (_measure_line(hollow, face.xy, 0.8)[0] / 0.14) ** 2
        for stroke, size in ((side.jaw, 0.12), (side.temple, 0.16)):
            contour = _soft_minimum(contour, (_measure_line(points[list(stroke)], face.xy, 0.8)[0] / size) ** 2, 0.2)
        level = _soft_minimum(level, contour, 0.2)
    bridge, across = points[list(_NOSE)], _normalise(points[263] - points[33]) * 0.15
    for sign in (-1.0, 1.0):
        shade = 0.35 + (_measure_line(bridge[:4] + sign * across, face.xy, 0.4)[0] / 0.06) ** 2
        level = _soft_minimum(level, shade, 0.2)
    return level


def _measure_highlight(face: FaceGeometry) -> Map:
    """On the cheekbone, under the brow's arch, on the nose bridge, the Cupid's bow and the chin."""
    level, points = face.make_empty_level(), face.points
    for side in (_LEFT, _RIGHT):
        bone = points[list(side.cheekbone)]
        glow = (_measure_line(bone, face.xy, 0.6)[0] / 0.11) ** 2
        arch = 0.62 * points[list(side.brow_low[2:])] + 0.38 * points[list(side.upper_lid[5:8])]
        glow = np.minimum(glow, 0.25 + (_measure_line(arch, face.xy, 0.4)[0] / 0.07) ** 2)
        np.minimum(level, glow, out=level)
    glow = (_measure_line(points[list(_NOSE)], face.xy, 0.5)[0] / 0.055) ** 2
    bow = 0.6 * points[[37, 0, 267]] + 0.4 * points[[164, 164, 164]]
    for stroke, size in ((bow, 0.045), (points[[201, 200, 421]], 0.09)):
        glow = np.minimum(glow, 0.25 + (_measure_line(stroke, face.xy, 0.4)[0] / size) ** 2)
    np.minimum(level, glow, out=level)
    return level


@dataclass(frozen=True)
class ProductRegion:
    """The region of a product: functions of the face that return (H, W) maps, a level and a gate in 0..1."""

    level: Callable[[FaceGeometry], Map]
    gate: Callable[[FaceGeometry], Map]


REGIONS: dict[str, ProductRegion] = {
    "contour": ProductRegion(_measure_contour, lambda face: face.cheeks),
    "blush": ProductRegion(_measure_blush, lambda face: face.cheeks),
    "highlight": ProductRegion(_measure_highlight, lambda face: face.cheeks),
    "eyeshadow": ProductRegion(_measure_eyeshadow, lambda face: face.skin),
    "brow": ProductRegion(_measure_brow, lambda face: face.skin),
    "eyeliner": ProductRegion(_measure_eyeliner, lambda face: face.skin),
    "lashes": ProductRegion(_measure_lashes, lambda face: face.skin),
    "lips": ProductRegion(lambda face: face.lips[0], lambda face: face.lips[1]),
    "lip_liner": ProductRegion(lambda face: np.abs(face.lips[0] + 0.018), lambda face: face.lips[1]),
}
"""Regions by the names that products' records use; a product with a region of its own adds one."""


def _normalise(vector: Map) -> Map:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))


def _fit_spline(knots: Map, count: int) -> Map:
    """A smooth open curve through the knots, (count, 2)."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1) + 1e-6)])
    return np.asarray(CubicSpline(lengths, knots, bc_type="natural")(np.linspace(0, lengths[-1], count)))


def _fit_closed_spline(knots: Map) -> Map:
    """A smooth closed curve through the knots, three points per knot; the corners (first and eleventh) stay sharp."""
    half = len(knots) // 2
    under = _fit_spline(knots[: half + 1], 3 * half + 1)
    over = _fit_spline(np.concatenate([knots[half:], knots[:1]]), 3 * half + 1)
    return np.concatenate([under[:-1], over[:-1]])


def _soft_minimum(a: Map, b: Map, width: float) -> Map:
    """Minimum with a rounded crease, never above the true minimum."""
    return np.asarray(np.minimum(a, b) - width * np.log1p(np.exp(-np.abs(a - b) / width)))


def _step(distance: Map, width: float) -> Map:
    """Smooth step from 0 below zero to 1 above, over about ``width`` on both sides."""
    share = np.clip(0.5 + 0.5 * distance / (1.5 * width), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))


def _find_window(line: Map, xy: Map, reach: float) -> tuple[slice, slice]:
    """Rows and columns within ``reach`` of the line's bounding box."""
    low, high = line.min(0) - reach, line.max(0) + reach
    columns = np.searchsorted(xy[0, :, 0], [low[0], high[0]])
    rows = np.searchsorted(xy[:, 0, 1], [low[1], high[1]])
    return slice(rows[0], rows[1]), slice(columns[0], columns[1])


def _measure_line(line: Map, xy: Map, reach: float) -> tuple[Map, Map]:
    """Distance of every pixel to an open line, and the position of the nearest point (segment number plus fraction).

    Distances are clipped to ``reach``, so that there is no step that would ring when the map is resampled.
    """
    distance = np.full(xy.shape[:2], reach)
    position = np.zeros(xy.shape[:2])
    rows, columns = _find_window(line, xy, reach)
    part = xy[rows, columns].astype(np.float32)
    best = np.full(part.shape[:2], np.float32(reach**2))
    nearest = np.zeros(part.shape[:2], np.float32)
    for index in range(len(line) - 1):
        start, step = line[index].astype(np.float32), (line[index + 1] - line[index]).astype(np.float32)
        x, y = part[..., 0] - start[0], part[..., 1] - start[1]
        share = np.clip((x * step[0] + y * step[1]) / max(float(step @ step), 1e-9), 0.0, 1.0)
        square = (x - share * step[0]) ** 2 + (y - share * step[1]) ** 2
        nearer = square < best
        best = np.where(nearer, square, best)
        nearest = np.where(nearer, index + share, nearest)
    distance[rows, columns] = np.sqrt(best)
    position[rows, columns] = nearest
    return distance, position


def _measure_outline(outline: Map, xy: Map, reach: float) -> Map:
    """Signed distance to a closed outline, negative inside, clipped to ``reach`` outside."""
    distance, _ = _measure_line(np.concatenate([outline, outline[:1]]), xy, reach)
    rows, columns = _find_window(outline, xy, 0.0)
    part = xy[rows, columns]
    inside = np.zeros(part.shape[:2], bool)
    for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if start[1] == end[1]:
            continue
        crosses = (start[1] > part[..., 1]) != (end[1] > part[..., 1])
        crossing = start[0] + (part[..., 1] - start[1]) * (end[0] - start[0]) / (end[1] - start[1])
        inside ^= crosses & (part[..., 0] < crossing)
    distance[rows, columns] = np.where(inside, -distance[rows, columns], distance[rows, columns])
    return distance
