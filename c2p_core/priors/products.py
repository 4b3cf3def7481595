"""Makeup products painted on a face: few numbers each, differentiable, anchored to the dense landmarks.

A code is a (9, 6) tensor of unconstrained reals, one row per entry of ``PRODUCTS``: three for the colour, then
opacity, extent and softness. ``decode`` maps them into ranges that look like makeup: free colour is for lips and eyes
only; brows, blush, contour and highlight mix three natural pigments of their own.

Where a product lies is a *level* map in its own units: low inside, rising outwards. What is painted is the smooth
function ``sigmoid((extent - level) / softness)``, so that the same maps serve any resolution.

What is painted is a change of optical density, coat on coat, towards the pigment's density in the light that falls
there. The photo's own pixels are multiplied by its exponential, which keeps pores, hairs and gloss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter
from torch import Tensor

from c2p_core.colour import DARKEST, LUMINANCE, density, srgb_to_linear
from c2p_core.faces.regions import INNER_LIPS, OUTER_LIPS, OVAL
from c2p_core.priors.lips import (
    CLOSED,
    combine_lips,
    find_mouth_interior,
    fit_lip,
    share_colour_model,
    smoothstep,
    snap_outline,
)

Array = NDArray[np.float32]
Rgb = tuple[float, float, float]

PRODUCTS = ("contour", "blush", "highlight", "eyeshadow", "brow", "eyeliner", "lashes", "lips", "lip_liner")
CODE_SHAPE = (len(PRODUCTS), 6)
_AT = {name: index for index, name in enumerate(PRODUCTS)}
# A raw opacity at or below this decodes to exactly nothing.
ABSENT = -6.0

# Far outside any product, in the units of its level map.
_FAR = 8.0


@dataclass(frozen=True)
class _Range:
    """What a product may do.

    ``palette`` is None for free colour, three sRGB colours to mix, or (``relative``) three densities added to the
    skin's own. ``limit`` bounds the density change.
    ``extent`` and ``softness`` are in the units of the product's level map.
    """

    opacity: float
    extent: tuple[float, float]
    softness: tuple[float, float]
    limit: float
    palette: tuple[Rgb, Rgb, Rgb] | None = None
    relative: bool = False


_BROWN_TO_BLACK = ((0.06, 0.05, 0.05), (0.27, 0.18, 0.12), (0.50, 0.38, 0.26))
_CHEEK = ((0.90, 0.42, 0.50), (0.95, 0.50, 0.36), (0.52, 0.16, 0.28))
_SHADE = ((0.62, 0.80, 0.86), (0.50, 0.80, 1.02), (0.70, 0.78, 0.78))
_GLOW = ((-0.42, -0.42, -0.42), (-0.46, -0.42, -0.30), (-0.42, -0.36, -0.36))

_RANGES: dict[str, _Range] = {
    "contour": _Range(0.60, (0.30, 1.30), (0.40, 0.80), 0.8, _SHADE, relative=True),
    "blush": _Range(0.75, (0.20, 1.10), (0.50, 0.90), 0.9, _CHEEK),
    "highlight": _Range(0.90, (0.20, 1.10), (0.40, 0.80), 0.6, _GLOW, relative=True),
    "eyeshadow": _Range(0.95, (0.25, 0.85), (0.07, 0.22), 2.6),
    "brow": _Range(0.80, (-0.012, 0.012), (0.008, 0.022), 2.0, _BROWN_TO_BLACK),
    "eyeliner": _Range(0.97, (0.010, 0.040), (0.004, 0.014), 3.5),
    "lashes": _Range(0.90, (0.003, 0.014), (0.003, 0.006), 3.0, _BROWN_TO_BLACK),
    # No lipstick goes beyond the lips' edge: what is softer starts farther in.
    "lips": _Range(0.95, (-0.016, -0.006), (0.004, 0.009), 3.0),
    "lip_liner": _Range(0.85, (0.006, 0.014), (0.003, 0.006), 2.2),
}


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
class Regions:
    """Where each product lies, on one pixel grid.

    Attributes:
        level: (9, H, W) float32, low inside and rising outwards, in each product's own units.
        gate: (9, H, W) float32 in 0..1, what must stay clean: eyeballs, mouth opening, everything beside the face.
    """

    level: Tensor
    gate: Tensor

    def to(self, device: torch.device) -> Regions:
        return Regions(self.level.to(device), self.gate.to(device))


@dataclass(frozen=True)
class Decoded:
    """A code in its own units.

    Attributes:
        pigment: (9, 3) linear colour; for contour and highlight a density change relative to the skin.
        opacity, extent, softness: (9,).
    """

    pigment: Tensor
    opacity: Tensor
    extent: Tensor
    softness: Tensor


def decode(code: Tensor) -> Decoded:
    """Bounded product parameters of a (9, 6) code.

    A raw opacity <= ``ABSENT`` decodes to exactly 0, yet keeps a gradient, so that a search can bring a product back.
    """
    raw = code.unbind(0)
    pigments = []
    for name, row in zip(PRODUCTS, raw, strict=True):
        limits = _RANGES[name]
        if limits.palette is None:
            pigments.append(srgb_to_linear(0.03 + 0.94 * torch.sigmoid(row[:3])))
        else:
            mixed = torch.softmax(row[:3], 0) @ code.new_tensor(limits.palette)
            pigments.append(mixed if limits.relative else srgb_to_linear(mixed))
    smooth = torch.sigmoid(code[:, 3])
    floor = float(torch.sigmoid(torch.tensor(ABSENT)))
    share = (smooth - floor) / (1.0 - floor)
    opacity = share + (share.clamp(min=0.0) - share).detach()
    low, high = _bounds(code, "extent")
    extent = low + (high - low) * torch.sigmoid(code[:, 4])
    low, high = _bounds(code, "softness")
    softness = low + (high - low) * torch.sigmoid(code[:, 5])
    top = code.new_tensor([_RANGES[name].opacity for name in PRODUCTS])
    return Decoded(torch.stack(pigments), top * opacity, extent, softness)


def _bounds(like: Tensor, name: str) -> tuple[Tensor, Tensor]:
    pairs = like.new_tensor([getattr(_RANGES[product], name) for product in PRODUCTS])
    return pairs[:, 0], pairs[:, 1]


def bare_code() -> Tensor:
    """The code of a face without any product; every number but the opacities is in the middle of its range."""
    code = torch.zeros(CODE_SHAPE)
    code[:, 3] = ABSENT
    return code


def product_row(product: str, colour: Rgb | None, opacity: float, extent: float = 0.5, softness: float = 0.5) -> Tensor:
    """One row of a code: a product from its sRGB colour (0..1) and shares 0..1 of its ranges.

    The colour is brought to the nearest that the product can have; None means the middle of its palette. Contour and
    highlight have no colour of their own and ignore it.
    """
    limits = _RANGES[product]
    row = torch.zeros(6)
    if colour is not None and not limits.relative:
        if limits.palette is None:
            row[:3] = torch.logit(((torch.tensor(colour) - 0.03) / 0.94).clamp(0.02, 0.98))
        else:
            row[:3] = _mixture(torch.tensor(colour), torch.tensor(limits.palette)).log()
    row[3] = torch.logit(torch.tensor(opacity).clamp(0.0, 0.98)).clamp(min=ABSENT)
    row[4:] = torch.logit(torch.tensor([extent, softness]).clamp(0.03, 0.97))
    return row


def _mixture(colour: Tensor, palette: Tensor) -> Tensor:
    """Shares (3,) of the palette's three colours, each at least 2 %, whose mixture is nearest to the colour."""
    steps = torch.linspace(0.0, 1.0, 33)
    first, second = torch.meshgrid(steps, steps, indexing="ij")
    shares = torch.stack([first, second, 1.0 - first - second], -1).reshape(-1, 3)
    shares = shares[shares[:, 2] >= 0].clamp(min=0.02)
    shares = shares / shares.sum(1, keepdim=True)
    nearest = ((shares @ palette - colour) ** 2).sum(1).argmin()
    return shares[nearest]


@dataclass(frozen=True)
class Ground:
    """What a photo brings to painting: all that does not depend on the code.

    Attributes:
        maps: (22, H, W), smooth, to be resampled to any grid: 9 levels, 9 times what carries paint (0..1), 3 optical
            densities and 1 log luminance of the low-passed photo.
        light: (9,) mean log luminance about each product, the same for every part and grid of one face.
    """

    maps: Tensor
    light: Tensor

    def on(self, maps: Tensor) -> Ground:
        """The same face with its maps resampled."""
        return Ground(maps, self.light)


def ground(regions: Regions, skin: Tensor) -> Ground:
    """Prepare a whole face for ``paint_on``; arguments as in ``paint``."""
    weights = LUMINANCE.to(skin)[:, None, None]
    brightness = (skin * weights).sum(0).clamp(min=DARKEST).log()
    carries = regions.gate * _takes_paint(regions, skin)
    usual = decode(bare_code().to(skin))
    light = _weighted_mean(brightness, regions.gate * _mask(usual, regions.level))
    return Ground(torch.cat([regions.level, carries, density(skin), brightness[None]]), light)


def paint(code: Tensor, regions: Regions, skin: Tensor) -> Tensor:
    """Density increments of every product, on the regions' grid: ``ground`` and ``paint_on`` in one.

    Args:
        code: (9, 6).
        regions: from ``build_regions``, of the whole face.
        skin: (3, H, W) linear light, low-passed (``skin_map``), on the same grid.

    Returns:
        As ``paint_on``.
    """
    return paint_on(code, ground(regions, skin))


def paint_on(code: Tensor, canvas: Ground) -> Tensor:
    """Density increments (9, 3, H, W) of every product: the painted photo is ``linear * exp(-increments.sum(0))``.

    Exactly 0 where a product is absent. Each stays within its product's density limit, and so nearly does the sum,
    because a later coat starts from what the earlier ones left.
    """
    count = len(PRODUCTS)
    level, carries = canvas.maps[:count], canvas.maps[count : 2 * count].clamp(0.0, 1.0)
    coat, brightness = canvas.maps[2 * count : 2 * count + 3], canvas.maps[-1]
    made = decode(code)
    alpha = made.opacity[:, None, None] * carries * _mask(made, level)
    shading = _shading(brightness, canvas.light)
    pigment = density(made.pigment)
    increments = []
    for index, name in enumerate(PRODUCTS):
        limits = _RANGES[name]
        if limits.relative:
            step = made.pigment[index]
            increment = alpha[index] * (limits.limit * torch.tanh(step / limits.limit))[:, None, None]
        else:
            difference = pigment[index][:, None, None] - shading[index] - coat
            increment = alpha[index] * limits.limit * torch.tanh(difference / limits.limit)
        coat = coat + increment
        increments.append(increment)
    return torch.stack(increments)


def _mask(made: Decoded, level: Tensor) -> Tensor:
    return torch.sigmoid((made.extent[:, None, None] - level) / made.softness[:, None, None])


def _shading(brightness: Tensor, light: Tensor) -> Tensor:
    """Logarithm (9, H, W) of the light on each pigment: the face's exposure, and the shading within the product.

    A face's brightness is its skin's reflectance times the light; about half (in logarithm) is taken for light.
    """
    mean = light[:, None, None]
    exposure = 0.45 * (mean - math.log(0.36)).clamp(-2.3, 1.1)
    return exposure + 0.85 * (brightness - mean).clamp(-2.3, 1.4)


def _takes_paint(regions: Regions, skin: Tensor) -> Tensor:
    """What of each product's place can carry it, (9, H, W) in 0..1: skin but no glasses or hair; hairs of the brow.

    Skin is what is not much darker than the cheeks and has about their hue. An eye behind sunglasses gets no liner.
    """
    tone = density(skin)
    dark = tone.mean(0)
    hue = tone - dark
    cheeks = regions.gate[_AT["blush"]] * torch.sigmoid((0.8 - regions.level[_AT["blush"]]) / 0.3)
    own_dark, own_hue = _weighted_mean(dark, cheeks), _weighted_mean(hue, cheeks)
    other = ((hue - own_hue[:, None, None]).square().sum(0).sqrt() - 0.35).clamp(min=0.0) / 0.3
    off = (dark - own_dark).abs()
    skin_like = torch.exp(-((off - 1.1).clamp(min=0.0) / 0.5).square() - other.square())
    # Deep-set eyes lie in shadow; only glasses are darker still.
    lid_like = torch.exp(-((off - 1.9).clamp(min=0.0) / 0.4).square() - other.square())

    lid = regions.gate[_AT["eyeshadow"]] * torch.sigmoid((0.6 - regions.level[_AT["eyeshadow"]]) / 0.1)
    eyes_show = ((_weighted_mean(lid_like, lid) - 0.35) / 0.3).clamp(0.0, 1.0)
    brow = regions.gate[_AT["brow"]] * torch.sigmoid(-regions.level[_AT["brow"]] / 0.01)
    hairy = torch.sigmoid((dark - _weighted_mean(dark, brow)) / 0.12 + 0.8)
    everywhere = torch.ones_like(dark)
    carries = {
        "contour": skin_like,
        "blush": skin_like,
        "highlight": skin_like,
        "eyeshadow": lid_like,
        "brow": hairy,
        "eyeliner": eyes_show * everywhere,
        "lashes": eyes_show * everywhere,
    }
    return torch.stack([carries.get(name, everywhere) for name in PRODUCTS])


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean over the last two dimensions; 0 where there is no weight at all."""
    return (values * weight).sum((-2, -1)) / weight.sum((-2, -1)).clamp(min=1e-6)


def skin_map(linear: Tensor, eye_distance: float) -> Tensor:
    """Low-passed linear photo (3, H, W): colour and shading without texture; ``eye_distance`` in its pixels."""
    sigma = 0.035 * eye_distance
    radius = max(1, int(2.5 * sigma + 0.5))
    at = torch.arange(-radius, radius + 1, dtype=linear.dtype, device=linear.device)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = kernel / kernel.sum()
    tone = density(linear)[:, None]
    tone = F.conv2d(F.pad(tone, (radius, radius, 0, 0), mode="replicate"), kernel[None, None, None, :])
    tone = F.conv2d(F.pad(tone, (0, 0, radius, radius), mode="replicate"), kernel[None, None, :, None])
    return torch.exp(-tone[:, 0])


def build_regions(mesh: Array, size: int, eye_distance: float, linear: Tensor | None = None) -> Regions:
    """Level maps and gates of all products.

    Args:
        mesh: (468, 2) MediaPipe points in pixels of the canvas.
        size: width and height of the canvas in pixels.
        eye_distance: in pixels of the canvas; the unit of lengths.
        linear: (3, size, size) the canvas in linear light, in which the lips' edge is looked for; without it they end
            where the mesh has their outline.
    """
    points = (np.asarray(mesh, np.float64) / eye_distance).astype(np.float64)
    axis = (np.arange(size) + 0.5) / eye_distance
    xy = np.stack(np.meshgrid(axis, axis), -1)
    pixel = 1.0 / eye_distance

    level = {name: np.full((size, size), _FAR) for name in PRODUCTS}
    eyes = np.full((size, size), _FAR)
    for side in (_LEFT, _RIGHT):
        _add_eye(points, side, xy, level, eyes)
        _add_cheek(points, side, xy, level)
    _add_centre(points, xy, level)
    face = _polygon(points[list(OVAL)], xy, 0.5)
    outer, lips_show = _lips(points, xy, pixel, None if linear is None else _tone(linear, pixel), face)
    level["lips"] = outer
    level["lip_liner"] = np.abs(outer + 0.018)

    oval = _step(-face + 0.02, 0.03)
    open_eyes = _step(eyes, max(0.006, 0.5 * pixel))
    lips_out = _step(outer, 0.02)
    away_from_eyes = _step(eyes - 0.05, 0.02)
    gate = dict.fromkeys(PRODUCTS, oval * open_eyes)
    for name in ("lips", "lip_liner"):
        gate[name] = lips_show
    for name in ("contour", "blush", "highlight"):
        gate[name] = oval * away_from_eyes * lips_out
    return Regions(
        torch.from_numpy(np.stack([level[name] for name in PRODUCTS]).astype(np.float32)),
        torch.from_numpy(np.stack([gate[name] for name in PRODUCTS]).astype(np.float32)),
    )


def _tone(linear: Tensor, pixel: float) -> NDArray[np.float64]:
    """(H, W, 3) optical density of a picture without its grain."""
    tone = density(linear).permute(1, 2, 0).cpu().numpy().astype(np.float64)
    return np.stack([gaussian_filter(tone[..., channel], max(0.8, 0.011 / pixel)) for channel in range(3)], -1)


def _lips(
    points: NDArray[np.float64],
    xy: NDArray[np.float64],
    pixel: float,
    tone: NDArray[np.float64] | None,
    face: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Signed distance to the outline of the lips, and where they show (0..1): not in the mouth's opening.

    Where the picture tells lips from skin, teeth and hairs, it decides, not the mesh.
    """
    mesh_outline = _closed_spline(points[list(OUTER_LIPS)])
    inner = points[list(INNER_LIPS)]
    opening = _polygon(inner, xy, 0.2)
    closed = _step(opening, max(0.006, 0.5 * pixel))
    outer = _polygon(mesh_outline, xy, 0.3)
    if tone is None:
        return outer, closed
    half = len(inner) // 2
    between = np.concatenate([inner[:1], 0.5 * (inner[1:half] + inner[:half:-1]), inner[half : half + 1]])
    between = between[between[:, 0].argsort()]
    above = np.interp(xy[..., 0], between[:, 0], between[:, 1]) - xy[..., 1]
    below_nose = (xy[..., 1] > points[2, 1] + 0.03) & (face < -0.05)
    hidden = np.zeros(outer.shape)
    # What is learned within the found edge, and without teeth, finds it better.
    for _ in range(2):
        seen = below_nose & (hidden < 0.5)
        upper, lower = share_colour_model(
            *(fit_lip(tone, outer, opening, seen & part) for part in (above > 0, above <= 0))
        )
        outer = _polygon(snap_outline(mesh_outline, lower, upper, pixel), xy, 0.3)
        show, like = (
            combine_lips(upper, lower, above),
            np.maximum(upper.sure * upper.likeness, lower.sure * lower.likeness),
        )
        hidden = find_mouth_interior(tone, show * (outer < -0.015) * (opening > 0.008), like, opening, pixel)
    smooth = max(1.0, 0.014 / pixel)
    # Amid the lips what has not quite their colour is a shine or a shadow.
    show = gaussian_filter(np.maximum(show, smoothstep(-outer, 0.04, 0.07)) * (1.0 - hidden), smooth)
    # A lip that lies in what the mesh takes for the opening is one, and a closed mouth has none; amid a wide one, where
    # the tongue may be, the mesh decides.
    found = smoothstep(gaussian_filter(like, smooth), 0.4, 0.7) * _step(opening + 0.05, 0.015)
    if float(-opening.min()) < CLOSED:
        found = np.ones(opening.shape)
    return outer, np.maximum(closed, found) * smoothstep(show, 0.3, 0.95)


def _add_eye(
    points: NDArray[np.float64],
    side: _Side,
    xy: NDArray[np.float64],
    level: dict[str, NDArray[np.float64]],
    eyes: NDArray[np.float64],
) -> None:
    """Eyeshadow, liner, lashes and brow of one eye, and the eye opening."""
    upper = _spline(points[list(side.upper_lid)], 25)
    lower = _spline(points[list(side.lower_lid)], 25)
    brow_low, brow_high = points[list(side.brow_low)], points[list(side.brow_high)]
    corner, tail = upper[-1], 0.5 * (brow_low[-1] + brow_high[-1])
    width = float(np.linalg.norm(upper[-1] - upper[0]))
    outline = np.concatenate([upper, lower[-2:0:-1]])
    np.minimum(eyes, _polygon(outline, xy, 0.5), out=eyes)

    # Liner: thin at the inner corner, a wing that follows the lower lid's sweep.
    sweep = _unit(_unit(corner - lower[-7]) + 0.7 * _unit(tail - corner))
    wing = corner + sweep * (0.42 * width) * np.linspace(0, 1, 9)[1:, None]
    # It leaves the lid before the corner, where lids droop, and starts beside the tear duct.
    drawn = _spline(np.concatenate([upper[3:-4:3], wing[1::3]]), 33)
    line, along = _polyline(drawn, xy, 0.6)
    inner_share = 24
    on_lid = np.clip(along / inner_share, 0, 1)
    on_wing = np.clip((along - inner_share) / (len(drawn) - 1 - inner_share), 0, 1)
    thick = (0.22 + 0.78 * on_lid**1.3) * (1.0 - 0.75 * on_wing)
    np.minimum(level["eyeliner"], line / thick + 0.045 * on_wing, out=level["eyeliner"])

    # Shadow: 0 at the lash line, 1 at the brow; a narrow band under the eye; out to the temple it fades.
    lid, place = _polyline(np.concatenate([upper, wing[:5]]), xy, 1.2)
    brow, _ = _polyline(_spline(brow_low, 15), xy, 1.2)
    # The inner third stays lighter, or the shadow would end beside the nose like a box.
    inner = 1.0 - np.clip(place / (0.6 * (len(upper) - 1)), 0, 1)
    rise = lid / (lid + brow + 1e-6) + 0.5 * inner**1.5
    area = np.concatenate([upper, wing[:6], _spline(brow_low, 15)[::-1]])
    beside = np.maximum(_polygon(area, xy, 1.2), 0.0)
    under, place = _polyline(lower, xy, 0.6)
    below = 0.3 + under / 0.16 + 0.35 * (1.0 - np.clip(place / (len(lower) - 1), 0, 1))
    shadow = _soft_minimum(rise + beside / 0.14, below, 0.08)
    np.minimum(level["eyeshadow"], shadow, out=level["eyeshadow"])

    np.minimum(level["lashes"], _lash_level(upper, lower, width, xy), out=level["lashes"])
    brow_outline = np.concatenate([_spline(brow_low, 15), _spline(brow_high, 15)[::-1]])
    np.minimum(level["brow"], _polygon(brow_outline, xy, 0.4), out=level["brow"])


def _lash_level(
    upper: NDArray[np.float64], lower: NDArray[np.float64], width: float, xy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance to a fan of curved lashes; a lash grows thinner to its tip."""
    centre = 0.5 * (upper + lower).mean(0) + 0.25 * (upper[0] + upper[-1])
    best = np.full(xy.shape[:2], _FAR)
    count = 20
    for number in range(count):
        share = (number + 1.5) / (count + 1)
        place = min(int(share * (len(upper) - 1)), len(upper) - 1)
        root = upper[place]
        out = _unit(root - centre)
        lean = _unit(upper[-1] - upper[0]) * (0.9 * (share - 0.35))
        length = width * (0.10 + 0.13 * share * (1.3 - 0.5 * share))
        middle = root + 0.55 * length * _unit(out * 0.7 + lean * 1.4)
        tip = root + length * _unit(out * 1.2 + lean)
        stroke, along = _polyline(np.stack([root, middle, tip]), xy, 0.1)
        np.minimum(best, stroke + 0.004 * along / 2.0, out=best)
    return best


def _add_cheek(
    points: NDArray[np.float64],
    side: _Side,
    xy: NDArray[np.float64],
    level: dict[str, NDArray[np.float64]],
) -> None:
    """Blush from the apple to the temple, contour in the hollow, along jaw and temple, highlight on the cheekbone."""
    apple, temple = points[side.cheek[0]], points[side.cheek[1]]
    middle = points[side.cheekbone[1]]
    start = 0.65 * apple + 0.35 * middle
    blush, along = _polyline(np.stack([start, 0.45 * start + 0.55 * temple]), xy, 1.2)
    size = 0.30 - 0.06 * np.clip(along, 0, 1)
    np.minimum(level["blush"], (blush / size) ** 2, out=level["blush"])

    hollow = points[list(side.hollow)]
    hollow[-1] = 0.7 * hollow[-2] + 0.3 * hollow[-1]
    contour = (_polyline(hollow, xy, 0.8)[0] / 0.14) ** 2
    for stroke, size_ in ((side.jaw, 0.12), (side.temple, 0.16)):
        contour = _soft_minimum(contour, (_polyline(points[list(stroke)], xy, 0.8)[0] / size_) ** 2, 0.2)
    level["contour"][:] = _soft_minimum(level["contour"], contour, 0.2)

    bone = points[list(side.cheekbone)]
    glow = (_polyline(bone, xy, 0.6)[0] / 0.11) ** 2
    arch = 0.62 * points[list(side.brow_low[2:])] + 0.38 * points[list(side.upper_lid[5:8])]
    glow = np.minimum(glow, 0.25 + (_polyline(arch, xy, 0.4)[0] / 0.07) ** 2)
    np.minimum(level["highlight"], glow, out=level["highlight"])


def _add_centre(points: NDArray[np.float64], xy: NDArray[np.float64], level: dict[str, NDArray[np.float64]]) -> None:
    """Highlight on the nose bridge, the Cupid's bow and the chin; contour along both sides of the nose."""
    bridge = points[list(_NOSE)]
    glow = (_polyline(bridge, xy, 0.5)[0] / 0.055) ** 2
    bow = 0.6 * points[[37, 0, 267]] + 0.4 * points[[164, 164, 164]]
    for stroke, size in ((bow, 0.045), (points[[201, 200, 421]], 0.09)):
        glow = np.minimum(glow, 0.25 + (_polyline(stroke, xy, 0.4)[0] / size) ** 2)
    np.minimum(level["highlight"], glow, out=level["highlight"])
    across = _unit(points[263] - points[33]) * 0.15
    for sign in (-1.0, 1.0):
        shade = 0.35 + (_polyline(bridge[:4] + sign * across, xy, 0.4)[0] / 0.06) ** 2
        level["contour"][:] = _soft_minimum(level["contour"], shade, 0.2)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))


def _spline(knots: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """A smooth open curve through the knots, (count, 2)."""
    at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1) + 1e-6)])
    return np.asarray(CubicSpline(at, knots, bc_type="natural")(np.linspace(0, at[-1], count)))


def _closed_spline(knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """A smooth closed curve through the knots, three points a knot, mouth corners (first and eleventh) kept sharp."""
    half = len(knots) // 2
    under = _spline(knots[: half + 1], 3 * half + 1)
    over = _spline(np.concatenate([knots[half:], knots[:1]]), 3 * half + 1)
    return np.concatenate([under[:-1], over[:-1]])


def _soft_minimum(a: NDArray[np.float64], b: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Minimum with a rounded crease, never above the true one."""
    return np.asarray(np.minimum(a, b) - width * np.log1p(np.exp(-np.abs(a - b) / width)))


def _step(distance: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """0 below, 1 above zero, over about ``width`` to both sides."""
    share = np.clip(0.5 + 0.5 * distance / (1.5 * width), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))


def _window(line: NDArray[np.float64], xy: NDArray[np.float64], reach: float) -> tuple[slice, slice]:
    """Rows and columns within ``reach`` of the line's bounding box."""
    low, high = line.min(0) - reach, line.max(0) + reach
    columns = np.searchsorted(xy[0, :, 0], [low[0], high[0]])
    rows = np.searchsorted(xy[:, 0, 1], [low[1], high[1]])
    return slice(rows[0], rows[1]), slice(columns[0], columns[1])


def _polyline(
    line: NDArray[np.float64], xy: NDArray[np.float64], reach: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of every pixel to an open line and the place of the nearest point (segment number plus share).

    Distances beyond ``reach`` are cut to it, without a step that would ring when the map is resampled.
    """
    distance = np.full(xy.shape[:2], reach)
    place = np.zeros(xy.shape[:2])
    rows, columns = _window(line, xy, reach)
    part = xy[rows, columns].astype(np.float32)
    best = np.full(part.shape[:2], np.float32(reach**2))
    where = np.zeros(part.shape[:2], np.float32)
    for index in range(len(line) - 1):
        start, step = line[index].astype(np.float32), (line[index + 1] - line[index]).astype(np.float32)
        x, y = part[..., 0] - start[0], part[..., 1] - start[1]
        share = np.clip((x * step[0] + y * step[1]) / max(float(step @ step), 1e-9), 0.0, 1.0)
        square = (x - share * step[0]) ** 2 + (y - share * step[1]) ** 2
        nearer = square < best
        best = np.where(nearer, square, best)
        where = np.where(nearer, index + share, where)
    distance[rows, columns] = np.sqrt(best)
    place[rows, columns] = where
    return distance, place


def _polygon(outline: NDArray[np.float64], xy: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """Signed distance to a closed outline, negative inside, cut to ``reach`` outside."""
    distance, _ = _polyline(np.concatenate([outline, outline[:1]]), xy, reach)
    rows, columns = _window(outline, xy, 0.0)
    part = xy[rows, columns]
    inside = np.zeros(part.shape[:2], bool)
    for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if start[1] == end[1]:
            continue
        crosses = (start[1] > part[..., 1]) != (end[1] > part[..., 1])
        at = start[0] + (part[..., 1] - start[1]) * (end[0] - start[0]) / (end[1] - start[1])
        inside ^= crosses & (part[..., 0] < at)
    distance[rows, columns] = np.where(inside, -distance[rows, columns], distance[rows, columns])
    return distance
