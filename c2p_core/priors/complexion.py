"""Complexion: light-and-tone patterns that real faces show, learned as a linear generative model.

Probabilistic PCA (Tipping and Bishop 1999) of optical density over the mean face, each face's own mean colour removed,
trained by ``bundle/train/complexion.py``. A code is whitened: under the model its coordinates are independent, mean 0
and variance 1, and its squared length is the Mahalanobis distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from c2p_core.errors import ModelUnavailable

# Optical-density directions of what can happen to skin, red, green, blue: less or more light on it, melanin, blood.
# Shade on skin is warm, because light that reaches it has passed through skin nearby; neutral grey looks like dirt.
# Melanin and haemoglobin roughly after Jacques, Optical properties of biological tissues (2013), at sRGB's primaries.
_OPTICS = torch.tensor([[0.82, 1.0, 1.08], [0.45, 0.85, 1.35], [0.25, 1.30, 1.00]])


@dataclass(frozen=True)
class Limits:
    """One-sided limits of the change in optical density.

    Attributes:
        lighter, darker: of light on the skin (shine, shade).
        paler, tanner: of melanin.
        blanched, flushed: of blood.
    """

    lighter: float
    darker: float
    paler: float
    tanner: float
    blanched: float
    flushed: float


@dataclass(frozen=True)
class Basis:
    """The learned model.

    Attributes:
        mesh: (468, 2) the mean face on its canvas.
        components: (K, 3, n, n) density patterns over the mean face's canvas, one standard deviation each.
        extent: (n, n) 1 inside the region that was learned.
    """

    mesh: Tensor
    components: Tensor
    extent: Tensor


def load_basis(path: Path) -> Basis:
    """Read ``complexion.safetensors``.

    Raises:
        ModelUnavailable: a tensor is missing or has the wrong shape.
    """
    tensors = load_file(path)
    try:
        mesh, components, extent = tensors["mesh"], tensors["components"], tensors["extent"]
    except KeyError as missing:
        raise ModelUnavailable(f"{path.name} lacks {missing}; run 'c2p models fetch' to get it again.") from None
    count, side = len(components), extent.shape[0]
    if mesh.shape != (468, 2) or extent.shape != (side, side) or components.shape != (count, 3, side, side):
        raise ModelUnavailable(f"{path.name} does not hold a complexion model; run 'c2p models fetch' to get it again.")
    return Basis(mesh.float(), components.float(), extent.float())


def within(density: Tensor, limits: Limits) -> Tensor:
    """Bring a (3, H, W) density change into what skin can do, smoothly: never green, never a rainbow."""
    optics = _OPTICS.to(density)
    shade, melanin, blood = torch.einsum("ij,jhw->ihw", torch.linalg.inv(optics.T), density)
    parts = torch.stack(
        [
            _one_sided(shade, limits.lighter, limits.darker),
            _one_sided(melanin, limits.paler, limits.tanner),
            _one_sided(blood, limits.blanched, limits.flushed),
        ]
    )
    return torch.einsum("ji,jhw->ihw", optics, parts)


def _one_sided(x: Tensor, below: float, above: float) -> Tensor:
    return above * torch.tanh(x.clamp(min=0) / above) - below * torch.tanh((-x).clamp(min=0) / below)
