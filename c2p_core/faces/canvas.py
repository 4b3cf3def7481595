"""The face canvas: a face on it, a change to it, and operations with fields over it.

Fields are (C, n, n) grids over the whole canvas; displacements are in canvas pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.faces.align import CANVAS
from c2p_core.recent import digest


@dataclass(frozen=True)
class CanvasFace:
    """A face on its canvas.

    Attributes:
        pixels: (3, 256, 256) sRGB 0..1, see ``faces.align``.
        mesh: (468, 2) points in canvas pixels.
        visible: (256, 256) mask 0..1 of where nothing covers it, see ``faces.visibility``; None when nothing does.
        original: the same face on this canvas, in the original of a photo that is protected already; None when this is
            the original.
    """

    pixels: Tensor
    mesh: Tensor
    visible: Tensor | None = None
    original: CanvasFace | None = None

    def digest(self) -> bytes:
        """A digest of the face."""
        visible = None if self.visible is None else self.visible.cpu().numpy()
        original = None if self.original is None else self.original.digest()
        return digest(self.pixels.cpu().numpy(), self.mesh.cpu().numpy(), visible, original)

    def to(self, device: torch.device) -> CanvasFace:
        visible = None if self.visible is None else self.visible.to(device)
        original = None if self.original is None else self.original.to(device)
        return CanvasFace(self.pixels.to(device), self.mesh.to(device), visible, original)


@dataclass(frozen=True)
class Change:
    """A change of a face in canvas coordinates, for a photo of any resolution.

    The changed photo shows at p what the painted photo shows at q = p + displacement(p); painting multiplies linear
    light by exp(-(density(q) + sum of paint(maps(q)))).

    Attributes:
        displacement: (2, h, w) canvas pixels, over the whole canvas.
        density: (3, h, w) optical density added.
        maps: (M, H, W) smooth maps, the input of ``paint`` once they are resampled to the resolution needed.
        paint: maps (M, h, w) to (products, 3, h, w) density increments.
        products: names of the products, in the order of ``paint``'s result.
        toned: whether the photo is black and white in an ink other than black: densities are then of luminance, the
            same in all channels, and change each pixel along the photo's tone curve.
    """

    displacement: Tensor
    density: Tensor
    maps: Tensor
    paint: Callable[[Tensor], Tensor]
    products: tuple[str, ...]
    toned: bool = False


def make_unpainted_change(displacement: Tensor, density: Tensor, toned: bool = False) -> Change:
    """A change without products; arguments as those of ``Change``."""
    maps = torch.zeros(1, 1, 1)
    return Change(displacement, density, maps, lambda maps: maps.new_zeros(0, 3, *maps.shape[1:]), (), toned)


def warp_points(displacement: Tensor, points: Tensor) -> Tensor:
    """Move (N, 2) canvas points of the face by a displacement."""
    grid = (2 * points / CANVAS - 1)[None, None]
    shift = F.grid_sample(displacement[None], grid, align_corners=False)[0, :, 0].T
    # The photo shows at p what was at p + shift: points of the face move by -shift.
    return points - shift


def warp_image(pixels: Tensor, displacement: Tensor) -> Tensor:
    """Warp (3, CANVAS, CANVAS) pixels by a displacement."""
    shift = upsample(displacement).permute(1, 2, 0)
    grid = (_identity_grid(pixels.device) + shift * (2.0 / CANVAS))[None]
    return F.grid_sample(pixels[None], grid, align_corners=False, padding_mode="border")[0]


def upsample(field: Tensor) -> Tensor:
    """Upsample a (C, n, n) field to (C, CANVAS, CANVAS), bicubically.

    As two matrix products: the backward pass of torch's own interpolation takes several times as long.
    """
    weights = _upsampling_weights(field.shape[-1], field.device, field.dtype)
    upsampled: Tensor = weights @ field @ weights.T
    return upsampled


def gaussian_blur(field: Tensor, sigma: float) -> Tensor:
    """Blur a (C, n, n) field, normalised at its borders; ``sigma`` in cells."""
    weights = _blur_weights(field.shape[-1], sigma, field.device, field.dtype)
    blurred: Tensor = weights @ field @ weights.T
    return blurred


@cache
def _identity_grid(device: torch.device) -> Tensor:
    """(CANVAS, CANVAS, 2): the sampling grid that moves nothing."""
    centres = (torch.arange(CANVAS, device=device) + 0.5) * (2.0 / CANVAS) - 1.0
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y], -1)


@cache
def _upsampling_weights(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(CANVAS, side) weights of a grid's rows in the canvas's rows."""
    rows = torch.eye(side, dtype=dtype)[:, None, :, None].expand(-1, -1, -1, 2)
    weights = F.interpolate(rows, (CANVAS, 2), mode="bicubic", align_corners=False)
    return weights[:, 0, :, 0].T.contiguous().to(device)


@cache
def _blur_weights(side: int, sigma: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(side, side) weights of the rows in the blurred rows."""
    rows = torch.arange(side, device=device, dtype=dtype)
    weights = torch.exp(-0.5 * ((rows[:, None] - rows) / sigma) ** 2)
    # Far from the centre they are denormal numbers, which make a matrix product twenty times slower.
    weights = torch.where(weights < 1e-12, 0.0, weights)
    return weights / weights.sum(1, keepdim=True)
