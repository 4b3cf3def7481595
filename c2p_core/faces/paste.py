"""Put what was found on the canvas back into the photo, at the photo's own resolution and in its own colour space.

The photo's own pixels are moved and multiplied, so that pores, hairs and grain stay. Work goes in strips, so that
memory does not grow with the picture; pixels that nothing changes are not touched at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from c2p_core.colour import LUMINANCE, decode, encode
from c2p_core.faces.align import CANVAS, Alignment, transform_points
from c2p_core.faces.canvas import Change
from c2p_core.imageio import own_gamma
from c2p_core.photo import Photo

_STRIP_PIXELS = 1_000_000
# The products' edges are drawn at up to this many points per canvas pixel.
_FINEST = 4
# In pixels of the maps: what lies farther from all paint is not painted by any finer drawing either.
_AROUND_PAINT = 5
# Below these a change can't be seen and would only cost a rounding.
_STILL = 0.004  # photo px
INVISIBLE_DENSITY = 2e-4  # density
_INVISIBLE = 0.02  # alpha

_FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}


@dataclass(frozen=True)
class Strip:
    """What becomes of the pixels of some of the photo's rows and columns; N of them change.

    Attributes:
        rows, columns: where it lies in the photo.
        touched: (rows, columns) which pixels change.
        fetched: (C, N) their colours after the move, encoded 0..1, C being 1 or 3.
        toned: (N,) which of them also change their density.
        density: (C, N) that is added to them altogether.
        increments: (products, C, N) what the products asked for have in it.
    """

    rows: slice
    columns: slice
    touched: NDArray[np.bool_]
    fetched: Tensor
    toned: Tensor
    density: Tensor
    increments: Tensor

    def painted(self, gamma: float | None) -> Tensor:
        """(C, N) encoded 0..1: moved and toned."""
        toned = encode(decode(self.fetched, gamma) * torch.exp(-self.density), gamma)
        return torch.where(self.toned, toned, self.fetched)


def paste(photo: Photo, changes: list[tuple[Alignment, Change]]) -> Photo:
    """The photo with every face changed; pixels outside the faces are bit-identical.

    Args:
        photo: upright picture; its alpha channel stays.
        changes: one alignment and change per face.
    """
    pixels = photo.pixels.copy()
    gamma = own_gamma(photo)
    for alignment, change in changes:
        # Each face is read from what earlier ones left, so that overlapping faces add up.
        source = pixels.copy() if len(changes) > 1 else photo.pixels
        for strip in compute_strips(source, alignment, change):
            write_strip(pixels, strip, strip.painted(gamma))
    return photo.with_pixels(pixels)


def write_strip(pixels: NDArray[Any], strip: Strip, colours: Tensor) -> None:
    """Write (C, N) encoded colours in 0..1 to the strip's pixels of a photo, in the photo's own numbers."""
    target = pixels[strip.rows, strip.columns, : len(colours)]
    target[strip.touched] = from_unit(colours.T.numpy(), pixels.dtype)


def full_scale(dtype: np.dtype[Any]) -> float:
    """The number that stands for 1.0."""
    return _FULL_SCALE[dtype]


def from_unit(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values in 0..1 as numbers of the photo's own type."""
    scaled = values * np.float32(full_scale(dtype))
    return scaled if dtype == np.float32 else np.rint(scaled).astype(dtype)


def to_unit(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """The inverse of ``from_unit``."""
    return pixels.astype(np.float32) / np.float32(full_scale(pixels.dtype))


def canvas_box(source: NDArray[Any], alignment: Alignment) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) of the face's canvas within the photo; x1 <= x0 or y1 <= y0 when it lies outside."""
    height, width = source.shape[:2]
    corners = transform_points(
        alignment.to_photo, np.array([[0, 0], [CANVAS, 0], [0, CANVAS], [CANVAS, CANVAS]], np.float64)
    )
    x0, y0 = (int(v) for v in np.clip(np.floor(corners.min(0)), 0, [width, height]))
    x1, y1 = (int(v) for v in np.clip(np.ceil(corners.max(0)), 0, [width, height]))
    return x0, y0, x1, y1


def compute_strips(
    source: NDArray[Any], alignment: Alignment, change: Change, products: Sequence[int] = ()
) -> Iterator[Strip]:
    """What a change does to a photo, in strips from top to bottom; those without any changed pixel are left out.

    Args:
        source: (H, W, channels) the photo's pixels as they were.
        alignment: where the face lies.
        change: what to do with it.
        products: numbers of those whose own increments the strips shall carry.
    """
    x0, y0, x1, y1 = canvas_box(source, alignment)
    if x1 <= x0 or y1 <= y0:
        return
    fields = _fields(change, CANVAS * int(np.clip(np.ceil(alignment.scale), 1, _FINEST)), products)
    rows = max(1, _STRIP_PIXELS // (x1 - x0))
    for top in range(y0, y1, rows):
        strip = _strip(source, (x0, top, x1, min(y1, top + rows)), alignment, fields)
        if strip is not None:
            yield strip


def _fields(change: Change, side: int, products: Sequence[int]) -> Tensor:
    """(5 + 3 per product asked for, side, side) over the canvas: displacement in canvas pixels, the density that each
    place ends up with, and what each product has in it.

    The products' edges are drawn here, finer than the canvas; from here on the photo only costs some channels a pixel.
    """
    fields = []
    near_paint = _near_paint(change)
    centres = (torch.arange(side) + 0.5) * (CANVAS / side)
    for rows in centres.split(CANVAS):
        gy, gx = torch.meshgrid(rows, centres, indexing="ij")
        place = torch.stack([gx, gy], -1)
        shift = _sample(change.displacement, place, "bicubic")
        origin = place + shift.permute(1, 2, 0)
        density = _sample(change.density, origin, "bicubic")
        increments = torch.zeros(len(products), *density.shape)
        near = _sample(near_paint, origin, "nearest")[0] > 0
        if bool(near.any()):
            paint = change.paint(_sample(change.maps, origin[near][None], "bicubic"))[:, :, 0]
            density[:, near] += paint.sum(0)
            increments[:, :, near] = paint[list(products)]
        fields.append(torch.cat([shift, density, *increments]))
    return torch.cat(fields, 1)


def _near_paint(change: Change) -> Tensor:
    """(1, H, W) on the grid of the maps: 1 wherever a product may paint something, 0 where it is not worth a try."""
    if not change.products:
        return torch.zeros(1, *change.maps.shape[1:])
    painted = change.paint(change.maps).abs().amax((0, 1)) > INVISIBLE_DENSITY / 10
    return F.max_pool2d(painted.float()[None], 2 * _AROUND_PAINT + 1, 1, _AROUND_PAINT)


def _strip(
    source: NDArray[Any], where: tuple[int, int, int, int], alignment: Alignment, fields: Tensor
) -> Strip | None:
    x0, y0, x1, y1 = where
    to_canvas = torch.as_tensor(alignment.to_canvas, dtype=torch.float32)
    to_photo = torch.as_tensor(alignment.to_photo, dtype=torch.float32)
    gy, gx = torch.meshgrid(torch.arange(y0, y1) + 0.5, torch.arange(x0, x1) + 0.5, indexing="ij")
    place = torch.stack([gx, gy], -1) @ to_canvas[:, :2].T + to_canvas[:, 2]
    here = _sample(fields, place, "bilinear")
    shift = here[:2].permute(1, 2, 0) @ to_photo[:, :2].T
    on_canvas = ((place > 0) & (place < CANVAS)).all(-1)
    moved = (shift.norm(dim=-1) > _STILL) & on_canvas
    toned = (here[2:5].abs().amax(0) > INVISIBLE_DENSITY) & on_canvas
    touched = moved | toned
    if not bool(touched.any()):
        return None

    height, width = source.shape[:2]
    reach = int(np.ceil(float(shift.abs().max()))) + 3
    sx0, sy0, sx1, sy1 = max(0, x0 - reach), max(0, y0 - reach), min(width, x1 + reach), min(height, y1 + reach)
    colours = source.shape[2] if source.shape[2] in (1, 3) else source.shape[2] - 1
    whole = torch.from_numpy(to_unit(source[sy0:sy1, sx0:sx1])).permute(2, 0, 1)
    region, alpha = whole[:colours], whole[colours:]
    at = (torch.stack([gx, gy], -1) + shift)[touched] - torch.tensor([sx0, sy0], dtype=torch.float32)
    grid = 2 * at / torch.tensor([sx1 - sx0, sy1 - sy0], dtype=torch.float32) - 1
    still = region[:, y0 - sy0 : y1 - sy0, x0 - sx0 : x1 - sx0][:, touched]
    fetched = _fetched(region, alpha, grid, still)
    density = here[2:, touched].unflatten(0, (-1, 3))
    if colours == 1:
        density = (density * LUMINANCE[:, None]).sum(1, keepdim=True)
    return Strip(
        slice(y0, y1),
        slice(x0, x1),
        touched.numpy(),
        torch.where(moved[touched], fetched, still),
        toned[touched],
        density[0],
        density[1:],
    )


def _fetched(region: Tensor, alpha: Tensor, grid: Tensor, still: Tensor) -> Tensor:
    """(C, N) what of (C, h, w) colours lies at (N, 2) points in -1..1.

    Colours beneath transparent pixels are invisible and must stay so: where an (1, h, w) alpha is given, and is not
    opaque everywhere, colours weigh as much as can be seen of them, and where nothing can, (C, N) ``still`` stays.
    """
    if not len(alpha) or bool((alpha == 1).all()):
        return _bicubic(region, grid).clamp(0, 1)
    seen = _bicubic(torch.cat([region * alpha, alpha]), grid)
    return torch.where(seen[-1] > _INVISIBLE, (seen[:-1] / seen[-1].clamp(min=_INVISIBLE)).clamp(0, 1), still)


def _bicubic(region: Tensor, grid: Tensor) -> Tensor:
    sampled = F.grid_sample(region[None], grid[None, None], mode="bicubic", padding_mode="border", align_corners=False)
    return sampled[0, :, 0]


def _sample(field: Tensor, place: Tensor, mode: str) -> Tensor:
    """(C, h, w) field laid over the canvas, at (H, W, 2) canvas points -> (C, H, W)."""
    grid = 2 * place / CANVAS - 1
    return F.grid_sample(field[None], grid[None], mode=mode, padding_mode="border", align_corners=False)[0]
