"""What happens to pictures on their way to a recogniser: the expectation over transformations (Athalye et al. 2018).

One random draw per search step keeps the search from finding what only one exact crop shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE
from c2p_core.faces.mirror import MIRROR


@dataclass(frozen=True)
class Draw:
    """One way in which a picture may arrive.

    Attributes:
        shrink: the canvas is resized to this share of its side and back, 0.4..1; 1 leaves it.
        gamma: exponent of the encoded values.
        noise: standard deviation of what coding and sensors add, in 0..1 units.
        mirrored: recognisers take a person and their mirror image for the same; what fools both is less of an accident.
        scale, angle, shift: by how much the recogniser's crop misses, as factor, radians and canvas pixels (2,).
    """

    shrink: float
    gamma: float
    noise: float
    mirrored: bool
    scale: float
    angle: float
    shift: Tensor


def draw(generator: torch.Generator) -> Draw:
    """A random transformation; ``generator`` lives on the CPU."""

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    return Draw(
        shrink=1.0 if uniform(0, 1) < 0.4 else uniform(0.4, 1.0),
        gamma=uniform(0.85, 1.18),
        noise=uniform(0.0, 0.02),
        mirrored=uniform(0, 1) < 0.5,
        scale=uniform(0.92, 1.08),
        angle=uniform(-0.08, 0.08),
        shift=(torch.rand(2, generator=generator) - 0.5) * 0.12 * CANVAS_EYE_DISTANCE,
    )


def picture(pixels: Tensor, how: Draw, generator: torch.Generator) -> Tensor:
    """(3, H, W) sRGB 0..1 as it arrives, differentiable."""
    if how.shrink < 1.0:
        small = round(CANVAS * how.shrink)
        pixels = F.interpolate(pixels[None], (small, small), mode="bilinear", antialias=True)[0]
        pixels = F.interpolate(pixels[None], (CANVAS, CANVAS), mode="bilinear", align_corners=False)[0]
    pixels = pixels.clamp(1e-4, 1.0) ** how.gamma
    noise = torch.randn(pixels.shape, generator=generator).to(pixels.device)
    pixels = pixels + how.noise * noise
    return pixels.flip(-1) if how.mirrored else pixels


def points(mesh: Tensor, how: Draw) -> Tensor:
    """(N, 2) landmarks as a detector that misses a little finds them."""
    if how.mirrored:
        mesh = torch.stack([CANVAS - mesh[:, 0], mesh[:, 1]], 1)[list(MIRROR)]
    centre = mesh.mean(0)
    turn = torch.tensor([how.angle]).to(mesh)
    cos, sin = torch.cos(turn) * how.scale, torch.sin(turn) * how.scale
    rotation = torch.stack([torch.cat([cos, -sin]), torch.cat([sin, cos])])
    return (mesh - centre) @ rotation.T + centre + how.shift.to(mesh)
