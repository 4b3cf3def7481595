"""What every generative prior offers the optimiser, which knows none of them by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.faces.align import CANVAS

if TYPE_CHECKING:
    from c2p_core.guidance.clip import TextGuidance

Code = dict[str, Tensor]
"""A latent code in named parts, each free to move without bounds; the prior's own limits make it a face."""


@dataclass(frozen=True)
class CanvasFace:
    """A face ready to be searched.

    Attributes:
        pixels: (3, 256, 256) sRGB 0..1, see ``faces.align``.
        mesh: (468, 2) points in canvas pixels.
    """

    pixels: Tensor
    mesh: Tensor


@dataclass(frozen=True)
class Change:
    """What reaches the photo: free of resolution, in canvas coordinates.

    The changed photo shows at p what was painted at q = p + displacement(p); painting multiplies linear light by
    exp(-(density(q) + sum of paint(maps(q)))).

    Attributes:
        displacement: (2, h, w) canvas pixels, over the whole canvas.
        density: (3, h, w) optical density added.
        maps: (M, H, W) smooth maps from which the products are painted at any resolution.
        paint: (M, h, w) maps at some grid -> (products, 3, h, w) density increments there.
        products: names in the order that ``paint`` returns.
    """

    displacement: Tensor
    density: Tensor
    maps: Tensor
    paint: Callable[[Tensor], Tensor]
    products: tuple[str, ...]


@dataclass(frozen=True)
class Rendered:
    """A code's picture, and what was done to the face to get it; differentiable.

    Attributes:
        pixels: (3, 256, 256) sRGB 0..1.
        displacement: (2, h, w) canvas pixels, over the whole canvas, as in ``Change``.
        density: (3, 256, 256) optical density added before the pixels moved, products included.
    """

    pixels: Tensor
    displacement: Tensor
    density: Tensor


def moved(displacement: Tensor, points: Tensor) -> Tensor:
    """Where (N, 2) canvas points of the face go."""
    grid = (2 * points / CANVAS - 1)[None, None]
    shift = F.grid_sample(displacement[None], grid, align_corners=False)[0, :, 0].T
    # The photo shows at p what was at p + shift, so that what was here went the other way.
    return points - shift


def warped(pixels: Tensor, displacement: Tensor, everywhere: Tensor) -> Tensor:
    """(3, H, W) pixels moved by a (2, h, w) displacement; ``everywhere`` is the (H, W, 2) grid that moves nothing."""
    shift = grown(displacement).permute(1, 2, 0)
    grid = (everywhere + shift * (2.0 / CANVAS))[None]
    return F.grid_sample(pixels[None], grid, align_corners=False, padding_mode="border")[0]


def grown(field: Tensor) -> Tensor:
    """A (C, n, n) field on the whole canvas: bicubic, as two matrix products, since torch's own takes several times as
    long on the way back.
    """
    weights = _enlarging(field.shape[-1], field.device, field.dtype)
    whole: Tensor = weights @ field @ weights.T
    return whole


@cache
def _enlarging(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(CANVAS, side): what each row of a grid adds to the canvas's rows."""
    rows = torch.eye(side, dtype=dtype)[:, None, :, None].expand(-1, -1, -1, 2)
    grown = F.interpolate(rows, (CANVAS, 2), mode="bicubic", align_corners=False)
    return grown[:, 0, :, 0].T.contiguous().to(device)


def gaussian(field: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of a (C, n, n) field, its rim included."""
    weights = _blurring(field.shape[-1], sigma, field.device, field.dtype)
    blurred: Tensor = weights @ field @ weights.T
    return blurred


@cache
def _blurring(side: int, sigma: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(side, side): what each row adds to the blurred rows."""
    at = torch.arange(side, device=device, dtype=dtype)
    weights = torch.exp(-0.5 * ((at[:, None] - at) / sigma) ** 2)
    return weights / weights.sum(1, keepdim=True)


class Inverted(Protocol):
    """One face as the prior sees it."""

    def start(self, prompt: str = "", guidance: TextGuidance | None = None, seed: int = 0) -> Code:
        """Where the search starts: the face unchanged, or in the look that the text model likes best for the prompt."""

    def render(self, code: Code) -> Rendered:
        """The code's picture, differentiable."""

    def latent_loss(self, code: Code, rendered: Rendered) -> Tensor:
        """Scalar: how unlikely the code is under the prior (``losses.latent_loss``)."""

    def visibility_penalty(self, rendered: Rendered) -> Tensor:
        """Scalar: by how much the change is more visible than the strength allows (``losses.visibility_penalty``)."""

    def change(self, code: Code) -> Change:
        """The same as ``render``, but for a photo of any size."""


class Prior(Protocol):
    """A generative model of what may be done to a face."""

    def invert(self, face: CanvasFace, strength: float, keep_expression: bool = True) -> Inverted:
        """The face's own place in the latent space, with limits that follow ``strength`` 0..1.

        ``keep_expression`` says whether brows, lips, nose and jaw are held to their form (``priors.expression``); the
        eyes keep still either way.
        """
