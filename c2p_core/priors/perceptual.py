"""A perceptual distance of faces under a free licence: features of the lower layers of a face recogniser."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c2p_core.accelerated import move_network
from c2p_core.models.weights import load_weights
from c2p_core.recognition.faceres import Faceres

SIDE = 128
# Crop of an FFHQ-aligned picture of SIDE pixels in which the face has half the size of the recogniser's chip.
_FACE = slice(8, 120)
# Indices of the convolutions whose feature maps are compared: at a half, a quarter and an eighth of the size.
_COMPARED = (2, 6, 10)


class Perceptual:
    """Distances between (B, 3, h, h) FFHQ-aligned pictures in -1..1, of any size; gradients flow to the first.

    Attributes:
        network: the recogniser whose features are compared.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        """Load the weights of the recogniser faceres from ``path``."""
        self._path = path
        self.network = move_network(load_weights(Faceres(), path), device)
        self._recorded: list[Tensor] = []
        for index in _COMPARED:
            self.network.layers[index].register_forward_hook(self._record)

    def copy_to(self, device: torch.device) -> Perceptual:
        """Load a copy on another device from the file, since this device may lack the memory for a copy."""
        return Perceptual(self._path, device)

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Compute three feature maps and the descriptor of (B, 3, h, h) pictures."""
        face = pictures.float()
        if face.shape[2] < SIDE:
            face = F.interpolate(face, (SIDE, SIDE), mode="bilinear", align_corners=False)
        elif face.shape[2] > SIDE:
            face = F.avg_pool2d(face, face.shape[2] // SIDE)
        self._recorded.clear()
        descriptor: Tensor = self.network((face[:, :, _FACE, _FACE] + 1) / 2)
        features = [*self._recorded, descriptor]
        self._recorded.clear()
        return features

    def distance(self, pictures: Tensor, targets: Tensor) -> Tensor:
        """Scalar mean relative distance between the features of two batches."""
        with torch.no_grad():
            target_features = self.features(targets)
        return self.distance_to(pictures, target_features)

    def distance_to(self, pictures: Tensor, target_features: list[Tensor]) -> Tensor:
        """``distance`` to features that were computed before."""
        pairs = zip(self.features(pictures), target_features, strict=True)
        return torch.stack([F.l1_loss(a, b) / (b.abs().mean() + 1e-6) for a, b in pairs]).mean()

    def _record(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._recorded.append(output)
