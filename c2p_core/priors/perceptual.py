"""How alike faces look to the lower layers of a face recogniser: a perceptual distance of a free licence."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c2p_core.models.weights import load_weights
from c2p_core.recognition.faceres import Faceres

SIDE = 128
# The middle of an FFHQ-aligned picture of SIDE pixels, where a face lies as large as half of the recogniser's chip.
_FACE = slice(8, 120)
# Convolutions, counted from the first, whose feature maps are compared: a half, a quarter and an eighth of the size.
_COMPARED = (2, 6, 10)


class Perceptual:
    """Distances between (B, 3, h, h) FFHQ-aligned pictures in -1..1, of any size; gradients flow to the first."""

    def __init__(self, path: Path, device: torch.device) -> None:
        """Load the recogniser faceres from ``path``."""
        self._path = path
        self._network = load_weights(Faceres(), path).to(device)
        self._seen: list[Tensor] = []
        for at in _COMPARED:
            self._network.layers[at].register_forward_hook(self._keep)

    def copy_to(self, device: torch.device) -> Perceptual:
        """The same on another device, loaded anew: the one it comes from may have no room for a copy."""
        return Perceptual(self._path, device)

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Three feature maps and the descriptor."""
        face = pictures.float()
        if face.shape[2] < SIDE:
            face = F.interpolate(face, (SIDE, SIDE), mode="bilinear", align_corners=False)
        elif face.shape[2] > SIDE:
            face = F.avg_pool2d(face, face.shape[2] // SIDE)
        self._seen.clear()
        descriptor: Tensor = self._network((face[:, :, _FACE, _FACE] + 1) / 2)
        found = [*self._seen, descriptor]
        self._seen.clear()
        return found

    def distance(self, made: Tensor, wanted: Tensor) -> Tensor:
        """Mean relative distance of the features of two batches."""
        with torch.no_grad():
            goals = self.features(wanted)
        return self.distance_to(made, goals)

    def distance_to(self, made: Tensor, goals: list[Tensor]) -> Tensor:
        """The same, to features that are known."""
        pairs = zip(self.features(made), goals, strict=True)
        return torch.stack([F.l1_loss(a, b) / (b.abs().mean() + 1e-6) for a, b in pairs]).mean()

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], made: Tensor) -> None:
        self._seen.append(made)
