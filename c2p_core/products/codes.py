"""Makeup as a code for the search: a few unbounded numbers per product.

A code is a (9, 6) tensor of unconstrained reals, one row for each of the nine products: three for the colour, then
opacity, extent and softness. ``decode`` maps them into ranges that look like makeup: lips and eyes may have any colour;
brows, lashes, blush, contour and highlight mix three natural pigments each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from c2p_core.colour import srgb_to_linear
from c2p_core.products.catalogue import CATALOGUE, PRODUCTS, Rgb

CODE_SHAPE = (len(PRODUCTS), 6)
# A raw opacity at or below this decodes to exactly 0.
ABSENT = -6.0


@dataclass(frozen=True)
class Decoded:
    """A decoded code: the parameters of all products.

    Attributes:
        pigment: (9, 3) linear colour; for contour and highlight a change of the skin's density.
        opacity, extent, softness: (9,), in the units of each product's level map; opacity in 0..1.
    """

    pigment: Tensor
    opacity: Tensor
    extent: Tensor
    softness: Tensor


def decode(code: Tensor) -> Decoded:
    """Decode a (9, 6) code to bounded parameters of products.

    A raw opacity <= ``ABSENT`` decodes to exactly 0, but keeps a gradient, so that a search can bring a product back.
    """
    raw = code.unbind(0)
    pigments = []
    for product, row in zip(CATALOGUE.values(), raw, strict=True):
        if product.palette is None:
            pigments.append(srgb_to_linear(0.03 + 0.94 * torch.sigmoid(row[:3])))
        else:
            mixed = torch.softmax(row[:3], 0) @ code.new_tensor(product.palette)
            pigments.append(mixed if product.relative else srgb_to_linear(mixed))
    smooth = torch.sigmoid(code[:, 3])
    floor = float(torch.sigmoid(torch.tensor(ABSENT)))
    share = (smooth - floor) / (1.0 - floor)
    opacity = share + (share.clamp(min=0.0) - share).detach()
    low, high = _get_bounds(code, "extent")
    extent = low + (high - low) * torch.sigmoid(code[:, 4])
    low, high = _get_bounds(code, "softness")
    softness = low + (high - low) * torch.sigmoid(code[:, 5])
    top = code.new_tensor([product.opacity for product in CATALOGUE.values()])
    return Decoded(torch.stack(pigments), top * opacity, extent, softness)


def _get_bounds(like: Tensor, name: str) -> tuple[Tensor, Tensor]:
    pairs = like.new_tensor([getattr(product, name) for product in CATALOGUE.values()])
    return pairs[:, 0], pairs[:, 1]


def make_bare_code() -> Tensor:
    """The code of a face without makeup; every number but the opacities is in the middle of its range."""
    code = torch.zeros(CODE_SHAPE)
    code[:, 3] = ABSENT
    return code


def product_row(product: str, colour: Rgb | None, opacity: float, extent: float = 0.5, softness: float = 0.5) -> Tensor:
    """One row of a code: a product of an sRGB colour (0..1), the rest as fractions 0..1 of its ranges.

    The nearest colour that the product can have is used; None means the middle of its palette. Contour and
    highlight only change the skin's density and ignore the colour.
    """
    record = CATALOGUE[product]
    row = torch.zeros(6)
    if colour is not None and not record.relative:
        if record.palette is None:
            row[:3] = torch.logit(((torch.tensor(colour) - 0.03) / 0.94).clamp(0.02, 0.98))
        else:
            row[:3] = _find_mixture(torch.tensor(colour), torch.tensor(record.palette)).log()
    row[3] = torch.logit(torch.tensor(opacity).clamp(0.0, 0.98)).clamp(min=ABSENT)
    row[4:] = torch.logit(torch.tensor([extent, softness]).clamp(0.03, 0.97))
    return row


def _find_mixture(colour: Tensor, palette: Tensor) -> Tensor:
    """Find the mixture of the palette's three colours nearest to a colour: their shares (3,), each at least 2 %."""
    steps = torch.linspace(0.0, 1.0, 33)
    first, second = torch.meshgrid(steps, steps, indexing="ij")
    shares = torch.stack([first, second, 1.0 - first - second], -1).reshape(-1, 3)
    shares = shares[shares[:, 2] >= 0].clamp(min=0.02)
    shares = shares / shares.sum(1, keepdim=True)
    nearest = ((shares @ palette - colour) ** 2).sum(1).argmin()
    return shares[nearest]
