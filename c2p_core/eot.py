"""Expectation over transformations (EOT, Athalye et al. 2018): random transformations before recognition.

One draw per search step keeps the search from overfitting to one exact crop.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE
from c2p_core.faces.mirror import MIRROR


@dataclass(frozen=True)
class Transform:
    """The parameters of one random transformation.

    Attributes:
        shrink: factor 0.4..1 by which the canvas is downscaled before it is scaled back; 1 does nothing.
        gamma: exponent applied to the encoded values.
        noise: standard deviation of coding and sensor noise, for values in 0..1.
        mirrored: whether the picture is flipped. Recognisers match a person with their mirror image, and a change that
            fools them on both transfers better.
        scale, angle, shift: error of the recogniser's alignment, as a factor, in radians and in canvas pixels (2,).
    """

    shrink: float
    gamma: float
    noise: float
    mirrored: bool
    scale: float
    angle: float
    shift: Tensor

    def apply_image(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Transform a picture; differentiable.

        Args:
            pixels: (3, CANVAS, CANVAS) sRGB 0..1.
            generator: draws the noise, on the CPU.
        """
        if self.shrink < 1.0:
            small = round(CANVAS * self.shrink)
            pixels = F.interpolate(pixels[None], (small, small), mode="bilinear", antialias=True)[0]
            pixels = F.interpolate(pixels[None], (CANVAS, CANVAS), mode="bilinear", align_corners=False)[0]
        pixels = pixels.clamp(1e-4, 1.0) ** self.gamma
        noise = torch.randn(pixels.shape, generator=generator).to(pixels.device)
        pixels = pixels + self.noise * noise
        return pixels.flip(-1) if self.mirrored else pixels

    def apply_landmarks(self, mesh: Tensor) -> Tensor:
        """Where (468, 2) canvas landmarks lie in the transformed picture, with the alignment error added."""
        if self.mirrored:
            mesh = torch.stack([CANVAS - mesh[:, 0], mesh[:, 1]], 1)[list(MIRROR)]
        centre = mesh.mean(0)
        angle = torch.tensor([self.angle]).to(mesh)
        cos, sin = torch.cos(angle) * self.scale, torch.sin(angle) * self.scale
        rotation = torch.stack([torch.cat([cos, -sin]), torch.cat([sin, cos])])
        return (mesh - centre) @ rotation.T + centre + self.shift.to(mesh)


def draw_transform(generator: torch.Generator) -> Transform:
    """Draw a random transformation; ``generator`` is on the CPU."""

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    return Transform(
        shrink=1.0 if uniform(0, 1) < 0.4 else uniform(0.4, 1.0),
        gamma=uniform(0.85, 1.18),
        noise=uniform(0.0, 0.02),
        mirrored=uniform(0, 1) < 0.5,
        scale=uniform(0.92, 1.08),
        angle=uniform(-0.08, 0.08),
        shift=(torch.rand(2, generator=generator) - 0.5) * 0.12 * CANVAS_EYE_DISTANCE,
    )
