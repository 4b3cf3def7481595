"""Applies a change defined on the canvas to the photo, at its full resolution and in its colour space.

The photo's own pixels are moved and multiplied, which keeps pores, hairs and grain. Working in strips bounds the memory
needed; pixels outside the change stay bit-identical.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from c2p_core.colour import LUMINANCE, decode, encode
from c2p_core.faces.align import CANVAS, Alignment, transform_points
from c2p_core.faces.canvas import Change
from c2p_core.io.colour_profiles import measure_gamma
from c2p_core.photo import Photo
from c2p_core.tone_curve import ToneCurve, fit_tone_curve

STRIP_PIXELS = 1_000_000
"""Pixels of the photo that are processed at a time; bounds the memory needed."""
# Products are rendered at up to this many samples per canvas pixel.
_MAX_SAMPLES = 4
# Distance in map pixels from all paint beyond which finer rendering paints nothing either.
_PAINT_MARGIN = 5
# Changes below these limits are invisible and would only add rounding errors.
_INVISIBLE_SHIFT = 0.004  # photo px
INVISIBLE_DENSITY = 2e-4  # density
_TRANSPARENT = 0.02  # alpha
_CURVE_SIDE = 512  # pixels a side from which a tone curve is measured

_FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}


@dataclass(frozen=True)
class Strip:
    """The change of one strip of the photo, in which N pixels change.

    Attributes:
        rows, columns: of the strip in the photo.
        touched: (rows, columns) mask of the pixels that change.
        warped: (C, N) their colours after the displacement, encoded 0..1; C is 1 or 3.
        toned: (N,) mask of those whose density changes too.
        density: (C, N) total density added.
        increments: (products, C, N) share of the requested products in it.
    """

    rows: slice
    columns: slice
    touched: NDArray[np.bool_]
    warped: Tensor
    toned: Tensor
    density: Tensor
    increments: Tensor

    def painted(self, gamma: float | None) -> Tensor:
        """(C, N) encoded colours 0..1 after displacement and density."""
        toned = encode(decode(self.warped, gamma) * torch.exp(-self.density), gamma)
        return torch.where(self.toned, toned, self.warped)


def paste(photo: Photo, changes: list[tuple[Alignment, Change]]) -> Photo:
    """Apply changes to the faces of a photo; pixels outside the faces stay bit-identical.

    Args:
        photo: upright picture; its alpha channel is kept.
        changes: one alignment and change per face.
    """
    pixels = photo.pixels.copy()
    gamma = measure_gamma(photo)
    for alignment, change in changes:
        # Read from the result of earlier faces, so that changes of overlapping faces add up.
        source = pixels.copy() if len(changes) > 1 else photo.pixels
        for strip in compute_strips(source, alignment, change, gamma):
            write_strip(pixels, strip, strip.painted(gamma))
    return photo.with_pixels(pixels)


def blend_selection(photo: NDArray[Any], protected: NDArray[Any], selection: NDArray[Any]) -> NDArray[Any]:
    """Blend protected pixels into the photo by a (H, W, 1) uint8 selection."""
    partly_selected = (photo != protected).any(axis=2) & (selection[..., 0] < 255)
    opacity = selection[partly_selected].astype(np.float32) / 255
    before, after = photo[partly_selected].astype(np.float32), protected[partly_selected].astype(np.float32)
    blended = before + (after - before) * opacity
    result = protected.copy()
    result[partly_selected] = blended if photo.dtype == np.float32 else np.rint(blended).astype(photo.dtype)
    return result


def write_strip(pixels: NDArray[Any], strip: Strip, colours: Tensor) -> None:
    """Write (C, N) encoded colours in 0..1 to the strip's pixels, in the photo's type."""
    target = pixels[strip.rows, strip.columns, : len(colours)]
    target[strip.touched] = from_unit(colours.T.numpy(), pixels.dtype)


def full_scale(dtype: np.dtype[Any]) -> float:
    """The value of a pixel type that represents 1.0."""
    return _FULL_SCALE[dtype]


def from_unit(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert values in 0..1 to the photo's type."""
    scaled = values * np.float32(full_scale(dtype))
    return scaled if dtype == np.float32 else np.rint(scaled).astype(dtype)


def to_unit(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Convert pixels of the photo's type to float32 in 0..1."""
    unit = pixels.astype(np.float32)
    unit /= np.float32(full_scale(pixels.dtype))
    return unit


def canvas_box(source: NDArray[Any], alignment: Alignment) -> tuple[int, int, int, int]:
    """Box (x0, y0, x1, y1) of the face's canvas within the photo; x1 <= x0 or y1 <= y0 if it lies outside."""
    height, width = source.shape[:2]
    corners = transform_points(
        alignment.to_photo, np.array([[0, 0], [CANVAS, 0], [0, CANVAS], [CANVAS, CANVAS]], np.float64)
    )
    x0, y0 = (int(v) for v in np.clip(np.floor(corners.min(0)), 0, [width, height]))
    x1, y1 = (int(v) for v in np.clip(np.ceil(corners.max(0)), 0, [width, height]))
    return x0, y0, x1, y1


def compute_strips(
    source: NDArray[Any], alignment: Alignment, change: Change, gamma: float | None, products: Sequence[int] = ()
) -> Iterator[Strip]:
    """Compute the change of a photo in strips from top to bottom; strips without a changed pixel are left out.

    Args:
        source: (H, W, channels) the photo's unchanged pixels.
        alignment: of the face.
        change: of the face.
        gamma: see ``colour.decode``.
        products: indices of those whose own increments the strips contain.
    """
    x0, y0, x1, y1 = canvas_box(source, alignment)
    if x1 <= x0 or y1 <= y0:
        return
    fields = _render_fields(change, CANVAS * int(np.clip(np.ceil(alignment.scale), 1, _MAX_SAMPLES)), products)
    curve = _fit_tone_curve(source[y0:y1, x0:x1], gamma) if change.toned else None
    rows = max(1, STRIP_PIXELS // (x1 - x0))
    for top in range(y0, y1, rows):
        strip = _compute_strip(source, (x0, top, x1, min(y1, top + rows)), alignment, fields)
        if strip is not None:
            yield strip if curve is None else _follow_curve(strip, curve, gamma)


def _fit_tone_curve(pixels: NDArray[Any], gamma: float | None) -> ToneCurve | None:
    """The tone curve of (h, w, channels) pixels of the photo, in its own colour space."""
    if pixels.shape[2] < 3:
        return None
    thinned = pixels[:: 1 + pixels.shape[0] // _CURVE_SIDE, :: 1 + pixels.shape[1] // _CURVE_SIDE].reshape(
        -1, pixels.shape[2]
    )
    opaque = thinned[thinned[:, 3] > 0] if pixels.shape[2] == 4 else thinned
    return fit_tone_curve(decode(torch.from_numpy(to_unit(opaque[:, :3])).T, gamma))


def _follow_curve(strip: Strip, curve: ToneCurve, gamma: float | None) -> Strip:
    """The strip with its densities of luminance converted to densities along the tone curve."""
    factors = curve.follow(decode(strip.warped, gamma), strip.density[0])
    return replace(strip, density=strip.density * factors, increments=strip.increments * factors)


def _render_fields(change: Change, side: int, products: Sequence[int]) -> Tensor:
    """Render a change as (5 + 3 per requested product, side, side) channels over the canvas.

    The channels are the displacement in canvas pixels, the density after displacement, and each requested product's
    share of it. Products are rendered here, finer than the canvas, so that the cost per photo pixel is a few channels
    only.
    """
    fields = []
    paint_mask = _paint_mask(change)
    centres = (torch.arange(side) + 0.5) * (CANVAS / side)
    for rows in centres.split(CANVAS):
        gy, gx = torch.meshgrid(rows, centres, indexing="ij")
        points = torch.stack([gx, gy], -1)
        shift = _sample(change.displacement, points, "bicubic")
        origin = points + shift.permute(1, 2, 0)
        density = _sample(change.density, origin, "bicubic")
        increments = torch.zeros(len(products), *density.shape)
        near_paint = _sample(paint_mask, origin, "nearest")[0] > 0
        if bool(near_paint.any()):
            paint = change.paint(_sample(change.maps, origin[near_paint][None], "bicubic"))[:, :, 0]
            density[:, near_paint] += paint.sum(0)
            increments[:, :, near_paint] = paint[list(products)]
        fields.append(torch.cat([shift, density, *increments]))
    return torch.cat(fields, 1)


def _paint_mask(change: Change) -> Tensor:
    """(1, H, W) mask on the grid of the maps: 1 wherever a product may paint."""
    if not change.products:
        return torch.zeros(1, *change.maps.shape[1:])
    painted = change.paint(change.maps).abs().amax((0, 1)) > INVISIBLE_DENSITY / 10
    return F.max_pool2d(painted.float()[None], 2 * _PAINT_MARGIN + 1, 1, _PAINT_MARGIN)


def _compute_strip(
    source: NDArray[Any], box: tuple[int, int, int, int], alignment: Alignment, fields: Tensor
) -> Strip | None:
    x0, y0, x1, y1 = box
    to_canvas = torch.as_tensor(alignment.to_canvas, dtype=torch.float32)
    to_photo = torch.as_tensor(alignment.to_photo, dtype=torch.float32)
    gy, gx = torch.meshgrid(torch.arange(y0, y1) + 0.5, torch.arange(x0, x1) + 0.5, indexing="ij")
    points = torch.stack([gx, gy], -1) @ to_canvas[:, :2].T + to_canvas[:, 2]
    sampled = _sample(fields, points, "bilinear")
    shift = sampled[:2].permute(1, 2, 0) @ to_photo[:, :2].T
    on_canvas = ((points > 0) & (points < CANVAS)).all(-1)
    moved = (shift.norm(dim=-1) > _INVISIBLE_SHIFT) & on_canvas
    toned = (sampled[2:5].abs().amax(0) > INVISIBLE_DENSITY) & on_canvas
    touched = moved | toned
    if not bool(touched.any()):
        return None

    height, width = source.shape[:2]
    margin = int(np.ceil(float(shift.abs().max()))) + 3
    sx0, sy0, sx1, sy1 = max(0, x0 - margin), max(0, y0 - margin), min(width, x1 + margin), min(height, y1 + margin)
    colours = source.shape[2] if source.shape[2] in (1, 3) else source.shape[2] - 1
    source_values = torch.from_numpy(to_unit(source[sy0:sy1, sx0:sx1])).permute(2, 0, 1)
    colours_around, alpha = source_values[:colours], source_values[colours:]
    sources = (torch.stack([gx, gy], -1) + shift)[touched] - torch.tensor([sx0, sy0], dtype=torch.float32)
    grid = 2 * sources / torch.tensor([sx1 - sx0, sy1 - sy0], dtype=torch.float32) - 1
    still = colours_around[:, y0 - sy0 : y1 - sy0, x0 - sx0 : x1 - sx0][:, touched]
    warped = _sample_colours(colours_around, alpha, grid, still)
    density = sampled[2:, touched].unflatten(0, (-1, 3))
    if colours == 1:
        density = (density * LUMINANCE[:, None]).sum(1, keepdim=True)
    return Strip(
        slice(y0, y1),
        slice(x0, x1),
        touched.numpy(),
        torch.where(moved[touched], warped, still),
        toned[touched],
        density[0],
        density[1:],
    )


def _sample_colours(colours_around: Tensor, alpha: Tensor, grid: Tensor, still: Tensor) -> Tensor:
    """Sample (C, h, w) colours at (N, 2) points in -1..1, as (C, N).

    Colours of transparent pixels must not become visible: if a (1, h, w) alpha is given and is not opaque everywhere,
    colours are weighted by it, and fully transparent points keep the (C, N) colours ``still``.
    """
    if not len(alpha) or bool((alpha == 1).all()):
        return _sample_bicubic(colours_around, grid).clamp(0, 1)
    premultiplied = _sample_bicubic(torch.cat([colours_around * alpha, alpha]), grid)
    return torch.where(
        premultiplied[-1] > _TRANSPARENT,
        (premultiplied[:-1] / premultiplied[-1].clamp(min=_TRANSPARENT)).clamp(0, 1),
        still,
    )


def _sample_bicubic(colours_around: Tensor, grid: Tensor) -> Tensor:
    sampled = F.grid_sample(
        colours_around[None], grid[None, None], mode="bicubic", padding_mode="border", align_corners=False
    )
    return sampled[0, :, 0]


def _sample(field: Tensor, points: Tensor, mode: str) -> Tensor:
    """Sample a (C, h, w) field over the canvas at (H, W, 2) canvas points, as (C, H, W)."""
    grid = 2 * points / CANVAS - 1
    return F.grid_sample(field[None], grid[None], mode=mode, padding_mode="border", align_corners=False)[0]
