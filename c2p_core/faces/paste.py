"""Put what was found on the canvas back into the photo, at the photo's own resolution and in its own colour space.

The photo's own pixels are moved and multiplied, so that pores, hairs and grain stay. Work goes in strips, so that
memory does not grow with the picture; pixels that nothing changes are not touched at all.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from c2p_core.api import Photo
from c2p_core.colour import decode, encode
from c2p_core.faces.align import CANVAS, Alignment, apply
from c2p_core.imageio import own_gamma
from c2p_core.priors.prior import Change

_STRIP_PIXELS = 1_000_000
# The products' edges are drawn at up to this many points per canvas pixel.
_FINEST = 4
# Below these a change can't be seen and would only cost a rounding.
_STILL = 0.004  # photo px
_PALE = 2e-4  # density

_FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}


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
        _paste_one(pixels.copy() if len(changes) > 1 else photo.pixels, pixels, alignment, change, gamma)
    return photo.with_pixels(pixels)


def _paste_one(
    source: NDArray[np.generic],
    target: NDArray[np.generic],
    alignment: Alignment,
    change: Change,
    gamma: float | None,
) -> None:
    height, width = source.shape[:2]
    corners = apply(alignment.to_photo, np.array([[0, 0], [CANVAS, 0], [0, CANVAS], [CANVAS, CANVAS]], np.float64))
    x0, y0 = (int(v) for v in np.clip(np.floor(corners.min(0)), 0, [width, height]))
    x1, y1 = (int(v) for v in np.clip(np.ceil(corners.max(0)), 0, [width, height]))
    if x1 <= x0 or y1 <= y0:
        return
    fields = _fields(change, CANVAS * int(np.clip(np.ceil(alignment.scale), 1, _FINEST)))
    rows = max(1, _STRIP_PIXELS // (x1 - x0))
    for top in range(y0, y1, rows):
        _paste_strip(source, target, (x0, top, x1, min(y1, top + rows)), alignment, fields, gamma)


def _fields(change: Change, side: int) -> Tensor:
    """(5, side, side) over the canvas: displacement in canvas pixels, and the density that each place ends up with.

    The products' edges are drawn here, finer than the canvas; from here on the photo only costs five channels a pixel.
    """
    fields = []
    centres = (torch.arange(side) + 0.5) * (CANVAS / side)
    for rows in centres.split(CANVAS):
        gy, gx = torch.meshgrid(rows, centres, indexing="ij")
        place = torch.stack([gx, gy], -1)
        shift = _sample(change.displacement, place, "bicubic")
        origin = place + shift.permute(1, 2, 0)
        density = _sample(change.density, origin, "bicubic")
        fields.append(torch.cat([shift, density + change.paint(_sample(change.maps, origin, "bicubic")).sum(0)]))
    return torch.cat(fields, 1)


def _paste_strip(
    source: NDArray[np.generic],
    target: NDArray[np.generic],
    box: tuple[int, int, int, int],
    alignment: Alignment,
    fields: Tensor,
    gamma: float | None,
) -> None:
    x0, y0, x1, y1 = box
    to_canvas = torch.as_tensor(alignment.to_canvas, dtype=torch.float32)
    to_photo = torch.as_tensor(alignment.to_photo, dtype=torch.float32)
    gy, gx = torch.meshgrid(torch.arange(y0, y1) + 0.5, torch.arange(x0, x1) + 0.5, indexing="ij")
    place = torch.stack([gx, gy], -1) @ to_canvas[:, :2].T + to_canvas[:, 2]
    here = _sample(fields, place, "bilinear")
    shift = here[:2].permute(1, 2, 0) @ to_photo[:, :2].T
    on_canvas = ((place > 0) & (place < CANVAS)).all(-1)
    moved = (shift.norm(dim=-1) > _STILL) & on_canvas
    toned = (here[2:].abs().amax(0) > _PALE) & on_canvas
    touched = moved | toned
    if not bool(touched.any()):
        return

    height, width = source.shape[:2]
    reach = int(np.ceil(float(shift.abs().max()))) + 3
    sx0, sy0, sx1, sy1 = max(0, x0 - reach), max(0, y0 - reach), min(width, x1 + reach), min(height, y1 + reach)
    colours = source.shape[2] if source.shape[2] in (1, 3) else source.shape[2] - 1
    full = _FULL_SCALE[source.dtype]
    region = torch.from_numpy(source[sy0:sy1, sx0:sx1, :colours].astype(np.float32) / full).permute(2, 0, 1)
    at = (torch.stack([gx, gy], -1) + shift)[touched] - torch.tensor([sx0, sy0], dtype=torch.float32)
    grid = 2 * at / torch.tensor([sx1 - sx0, sy1 - sy0], dtype=torch.float32) - 1
    fetched = F.grid_sample(region[None], grid[None, None], mode="bicubic", padding_mode="border", align_corners=False)[
        0, :, 0
    ].clamp(0, 1)
    still = region[:, y0 - sy0 : y1 - sy0, x0 - sx0 : x1 - sx0][:, touched]
    fetched = torch.where(moved[touched], fetched, still)
    density = here[2:, touched]
    if colours == 1:
        density = (density * torch.tensor([0.2126, 0.7152, 0.0722])[:, None]).sum(0, keepdim=True)
    painted = encode(decode(fetched, gamma) * torch.exp(-density), gamma)
    result = torch.where(toned[touched], painted, fetched).T.numpy() * full
    if source.dtype != np.float32:
        result = np.rint(result)
    target[y0:y1, x0:x1, :colours][touched.numpy()] = result.astype(source.dtype)


def _sample(field: Tensor, place: Tensor, mode: str) -> Tensor:
    """(C, h, w) field laid over the canvas, at (H, W, 2) canvas points -> (C, H, W)."""
    grid = 2 * place / CANVAS - 1
    return F.grid_sample(field[None], grid[None], mode=mode, padding_mode="border", align_corners=False)[0]
