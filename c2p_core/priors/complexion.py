"""Complexion: a linear generative model of the patterns of light and tone on real faces.

Probabilistic PCA (Tipping and Bishop 1999) of optical density over the mean face, after removing each face's mean
colour; trained by ``bundle/train/complexion.py``. Codes are whitened: under the model their coordinates are
independent with mean 0 and variance 1, and their squared length is the squared Mahalanobis distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from c2p_core.errors import ModelUnavailable

# Relative optical density of shade on skin in red, green and blue. Shade on skin is warm, because the light that
# reaches it has passed through skin nearby; neutral grey looks like dirt.
_SHADE = torch.tensor([0.82, 1.0, 1.08])


@dataclass(frozen=True)
class Limits:
    """How much lighter and darker skin may get at most, in optical density."""

    lighter: float
    darker: float


@dataclass(frozen=True)
class Basis:
    """The learned model.

    Attributes:
        mesh: (468, 2) the mean face on its canvas.
        components: (K, 3, n, n) density patterns over the mean face's canvas, one standard deviation each.
        extent: (n, n) 1 where the model was learned.
    """

    mesh: Tensor
    components: Tensor
    extent: Tensor


def load_basis(path: Path) -> Basis:
    """Load ``complexion.safetensors``.

    Raises:
        ModelUnavailable: a tensor is missing or has the wrong shape.
    """
    tensors = load_file(path)
    try:
        mesh, components, extent = tensors["mesh"], tensors["components"], tensors["extent"]
    except KeyError as missing:
        raise ModelUnavailable("complexion-incomplete", file=path.name, missing=str(missing)) from None
    count, side = len(components), extent.shape[0]
    if mesh.shape != (468, 2) or extent.shape != (side, side) or components.shape != (count, 3, side, side):
        raise ModelUnavailable("complexion-wrong", file=path.name)
    return Basis(mesh.float(), components.float(), extent.float())


def bound_light(shade: Tensor, limits: Limits) -> Tensor:
    """Bound a change of light, as density, smoothly to the limits."""
    darker = limits.darker * torch.tanh(shade.clamp(min=0) / limits.darker)
    return darker - limits.lighter * torch.tanh((-shade).clamp(min=0) / limits.lighter)


def skin_density(shade: Tensor, limits: Limits) -> Tensor:
    """Turn a (H, W) change of light into a bounded (3, H, W) density that leaves the skin's hue natural."""
    return _SHADE.to(shade)[:, None, None] * bound_light(shade, limits)
