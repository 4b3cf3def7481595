"""Put what was found on the canvas back into the photo, at the photo's own resolution and in its own colour space.

The photo's own pixels are moved and multiplied, so that pores, hairs and grain stay. Work goes in strips, so that memory
does not grow with the picture; pixels that nothing changes are not touched at all.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from c2p_core.api import Photo
from c2p_core.colour import linear_to_srgb, srgb_to_linear
from c2p_core.faces.align import CANVAS, Alignment, apply
from c2p_core.priors.prior import Change

_STRIP_PIXELS = 1_000_000
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
    for alignment, change in changes:
        # Each face is read from what earlier ones left, so that overlapping faces add up.
        _paste_one(pixels.copy() if len(changes) > 1 else photo.pixels, pixels, alignment, change)
    return photo.with_pixels(pixels)


def _paste_one(source: NDArray[np.generic], target: NDArray[np.generic], alignment: Alignment, change: Change) -> None:
    height, width = source.shape[:2]
    corners = apply(alignment.to_photo, np.array([[0, 0], [CANVAS, 0], [0, CANVAS], [CANVAS, CANVAS]], np.float64))
    x0, y0 = (int(v) for v in np.clip(np.floor(corners.min(0)), 0, [width, height]))
    x1, y1 = (int(v) for v in np.clip(np.ceil(corners.max(0)), 0, [width, height]))
    if x1 <= x0 or y1 <= y0:
        return
    rows = max(1, _STRIP_PIXELS // (x1 - x0))
    for top in range(y0, y1, rows):
        _paste_strip(source, target, (x0, top, x1, min(y1, top + rows)), alignment, change)


def _paste_strip(
    source: NDArray[np.generic],
    target: NDArray[np.generic],
    box: tuple[int, int, int, int],
    alignment: Alignment,
    change: Change,
) -> None:
    x0, y0, x1, y1 = box
    to_canvas = torch.as_tensor(alignment.to_canvas, dtype=torch.float32)
    to_photo = torch.as_tensor(alignment.to_photo, dtype=torch.float32)
    gy, gx = torch.meshgrid(torch.arange(y0, y1) + 0.5, torch.arange(x0, x1) + 0.5, indexing="ij")
    place = torch.stack([gx, gy], -1) @ to_canvas[:, :2].T + to_canvas[:, 2]
    on_canvas = ((place > 0) & (place < CANVAS)).all(-1)
    shift = _sample(change.displacement, place).permute(1, 2, 0) * on_canvas[..., None]
    origin = place + shift
    density = _sample(change.density, origin) + change.paint(_sample(change.maps, origin)).sum(0)
    density = density * on_canvas
    shift_in_photo = shift @ to_photo[:, :2].T
    moved = shift_in_photo.norm(dim=-1) > _STILL
    toned = density.abs().amax(0) > _PALE
    touched = moved | toned
    if not bool(touched.any()):
        return

    reach = int(np.ceil(float(shift_in_photo.abs().max()))) + 3
    height, width = source.shape[:2]
    sx0, sy0, sx1, sy1 = max(0, x0 - reach), max(0, y0 - reach), min(width, x1 + reach), min(height, y1 + reach)
    colours = source.shape[2] if source.shape[2] in (1, 3) else source.shape[2] - 1
    full = _FULL_SCALE[source.dtype]
    region = source[sy0:sy1, sx0:sx1, :colours].astype(np.float32) / full
    tensor = torch.from_numpy(region).permute(2, 0, 1)
    at = torch.stack([gx, gy], -1) + shift_in_photo - torch.tensor([sx0, sy0], dtype=torch.float32)
    grid = 2 * at / torch.tensor([sx1 - sx0, sy1 - sy0], dtype=torch.float32) - 1
    fetched = F.grid_sample(tensor[None], grid[None], mode="bicubic", padding_mode="border", align_corners=False)[0]
    still = tensor[:, y0 - sy0 : y1 - sy0, x0 - sx0 : x1 - sx0]
    fetched = torch.where(moved, fetched.clamp(0, 1), still)
    if colours == 1:
        density = (density * torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]).sum(0, keepdim=True)
    painted = linear_to_srgb(srgb_to_linear(fetched) * torch.exp(-density))
    result = torch.where(toned, painted, fetched).permute(1, 2, 0).numpy() * full
    if source.dtype != np.float32:
        result = np.rint(result)
    mask = touched.numpy()
    target[y0:y1, x0:x1, :colours][mask] = result[mask].astype(source.dtype)


def _sample(field: Tensor, place: Tensor) -> Tensor:
    """(C, h, w) field laid over the canvas, at (H, W, 2) canvas points -> (C, H, W), cubic."""
    grid = 2 * place / CANVAS - 1
    return F.grid_sample(field[None], grid[None], mode="bicubic", padding_mode="border", align_corners=False)[0]
