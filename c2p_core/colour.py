"""Colour conversion: transfer curves, optical density, CIE L*a*b*."""

from __future__ import annotations

import torch
from torch import Tensor

# Optical density is computed from at least this much linear light, or black would be infinitely dense.
DARKEST = 1e-3
LUMINANCE = torch.tensor([0.2126, 0.7152, 0.0722])
"""Weights of linear red, green and blue in luminance (CIE Y)."""
# Rows X, Y, Z, each normalised to D65 white.
_TO_XYZ = torch.tensor(
    [[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8728]],
)


def srgb_to_linear(encoded: Tensor) -> Tensor:
    """sRGB-encoded values in 0..1 to linear light in 0..1 (IEC 61966-2-1), differentiable."""
    low = encoded / 12.92
    high = ((encoded.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(encoded <= 0.04045, low, high)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Linear light in 0..1 to sRGB-encoded values in 0..1, differentiable, clipped at the ends."""
    linear = linear.clamp(0.0, 1.0)
    low = linear * 12.92
    high = 1.055 * linear.clamp(min=0.0031308) ** (1.0 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, low, high)


def decode(encoded: Tensor, gamma: float | None) -> Tensor:
    """A photo's encoded values in 0..1 to linear light: the sRGB curve if ``gamma`` is None, else a power law."""
    return srgb_to_linear(encoded) if gamma is None else encoded.clamp(min=0.0) ** gamma


def encode(linear: Tensor, gamma: float | None) -> Tensor:
    """The inverse of ``decode``, clipped at the ends."""
    return linear_to_srgb(linear) if gamma is None else linear.clamp(0.0, 1.0) ** (1.0 / gamma)


def lab(linear: Tensor) -> Tensor:
    """Linear sRGB (3, ...) to CIE L*a*b* (D65) of the same shape, differentiable."""
    xyz = torch.tensordot(_TO_XYZ.to(linear), linear, dims=1)
    cube = torch.where(xyz > 0.008856, xyz.clamp(min=0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = cube[0], cube[1], cube[2]
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def difference(before: Tensor, after: Tensor) -> Tensor:
    """CIE94 colour difference of two CIE L*a*b* pictures (3, ...) as (...); differentiable, also at no difference.

    On skin it is within a few per cent of CIEDE2000, which is not smooth.
    """
    delta = after - before
    chroma = (before[1:] ** 2).sum(0).sqrt()
    delta_chroma = (after[1:] ** 2).sum(0).clamp(min=1e-6).sqrt() - chroma
    hue = ((delta[1:] ** 2).sum(0) - delta_chroma**2).clamp(min=0.0)
    squared_length = delta[0] ** 2 + (delta_chroma / (1 + 0.045 * chroma)) ** 2 + hue / (1 + 0.015 * chroma) ** 2
    length: Tensor = (squared_length + 1e-4).sqrt() - 1e-2
    return length


def density(linear: Tensor) -> Tensor:
    """Optical density, the negative natural logarithm of linear light; 0 for white."""
    return -torch.log(linear.clamp(min=DARKEST))
