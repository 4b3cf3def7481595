"""The tone curve of toned black-and-white photos: sepia, cyanotype, selenium, split tones.

Such a photo has one colour for each brightness. A change of brightness must change the colour accordingly, or it looks
like another ink.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c2p_core.colour import DARKEST, LUMINANCE

_POINTS = 64  # of the curve, each the mean of equally many pixels
# Step in density over which the curve's slope is measured where the density hardly changes.
_STEP = 0.01
# A picture is toned if the chroma of 95 % of its pixels is as near to the curve's as this share of its lightest tones
# (90th percentile). Among 200 colour portraits the lowest was 0.058, then 0.083; of 30 sepia and split-toned ones,
# saved as JPEG 75 at 256 px, the highest was 0.040.
_SPREAD, _FEW_POINTS = 0.05, 24


@dataclass(frozen=True)
class ToneCurve:
    """One colour for each luminance, as logarithms of linear light.

    Attributes:
        luminance: (points,) rising.
        channels: (3, points) red, green and blue.
    """

    luminance: Tensor
    channels: Tensor

    def follow(self, linear: Tensor, density: Tensor) -> Tensor:
        """Compute the factors that turn a density into one along the curve; differentiable by ``density``.

        Args:
            linear: (3, ...) linear light of the pixels.
            density: (...) density to add to their luminance.

        Returns:
            (3, ...) the factors by which ``density`` is multiplied for each channel.
        """
        weights = LUMINANCE.to(linear).view(3, *[1] * (linear.ndim - 1))
        start = torch.log((linear * weights).sum(0).clamp(min=DARKEST))
        step = torch.where(density.abs() > _STEP, density, torch.full_like(density, _STEP))
        factors: Tensor = (self._look_up(start) - self._look_up(start - step)) / step
        return factors

    def _look_up(self, luminance: Tensor) -> Tensor:
        """Look up (3, ...) channels of a (...) luminance: linear between the points, constant hue beyond the ends."""
        inside = luminance.clamp(float(self.luminance[0]), float(self.luminance[-1]))
        above = torch.searchsorted(self.luminance, inside.detach().contiguous()).clamp(1, len(self.luminance) - 1)
        low, high = self.luminance[above - 1], self.luminance[above]
        fraction = (inside - low) / (high - low)
        interpolated: Tensor = self.channels[:, above - 1] * (1 - fraction) + self.channels[:, above] * fraction
        return interpolated + (luminance - inside)


def fit_tone_curve(linear: Tensor) -> ToneCurve | None:
    """Fit the curve to the (3, N) linear light of a toned picture; None if it has too few tones."""
    weights = LUMINANCE.to(linear)
    order = (linear * weights[:, None]).sum(0).argsort()
    size = linear.shape[1] // _POINTS
    if size == 0:
        return None
    averages = linear[:, order[: size * _POINTS]].unflatten(1, (_POINTS, size)).mean(2)
    ends = linear[:, order[[0, -1]]]
    channels = torch.cat([ends[:, :1], averages, ends[:, 1:]], 1).clamp(min=DARKEST)
    luminance = torch.log((channels * weights[:, None]).sum(0))
    # Equal tones would be a vertical line.
    rising = torch.cat([luminance.new_ones(1), luminance.diff()]) > 1e-6
    if int(rising.sum()) < 2:
        return None
    return ToneCurve(luminance[rising].contiguous(), torch.log(channels[:, rising]))


def is_toned(*parts: NDArray[np.floating]) -> bool:
    """Whether each of some (N, 3) sets of a picture's pixels, sRGB in 0..1, has one chroma for each brightness."""
    return all(_measure_spread(part) < _SPREAD for part in parts)


def _measure_spread(pixels: NDArray[np.floating]) -> float:
    """How far the chroma of pixels is from that of others of their brightness, as a share of the lightest tones."""
    size = len(pixels) // _FEW_POINTS
    if size == 0:
        return np.inf
    luma = pixels @ LUMINANCE.numpy()
    order = np.argsort(luma, kind="stable")
    chroma = (pixels[:, [0, 2]] - pixels[:, [1]])[order]
    medians = np.median(chroma[: size * _FEW_POINTS].reshape(_FEW_POINTS, size, 2), axis=1)
    positions, centres = np.arange(len(chroma)), (np.arange(_FEW_POINTS) + 0.5) * size
    curve = np.stack([np.interp(positions, centres, medians[:, i]) for i in range(2)], axis=1)
    spread = np.percentile(np.abs(chroma - curve).max(1), 95)
    return float(spread / max(0.05, float(np.percentile(luma, 90))))
