"""Face recognisers from the models of Human (V. Mandic), converted to TensorFlow.js from other people's work.

faceres and faceres-deep: A. Savchenko, Efficient facial representations for age, gender and identity recognition in
organizing photo albums using multi-output ConvNet, PeerJ CS 2019; MobileNet. mobileface: becauseofAI, MobileFace
identification V3, 2018.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from c2p_core.recognition.tf_layers import round_weights
from c2p_core.recognition.tfjs_graph import load_tfjs_graph

# Blue, green, red: the order in which the network was trained, as Caffe models are.
_IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)


class Faceres(nn.Module):
    """Chips (B, 3, 224, 224), RGB in 0..1, to descriptors (B, 1024)."""

    def __init__(self, model: Path) -> None:
        super().__init__()
        self.graph = load_tfjs_graph(model, "global_pooling/Mean")
        round_weights(self.graph)
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN_BGR))
        self.mean: Tensor

    def forward(self, chips: Tensor) -> Tensor:
        descriptors: Tensor = self.graph(chips.flip(1).permute(0, 2, 3, 1).contiguous() * 255 - self.mean)
        return descriptors


class MobileFace(nn.Module):
    """Chips (B, 3, 112, 112), RGB in 0..1, to descriptors (B, 256)."""

    def __init__(self, model: Path) -> None:
        super().__init__()
        # The graph begins with its own normalisation of 0..255.
        self.graph = load_tfjs_graph(model, "batchnorm0/add_1")
        round_weights(self.graph)

    def forward(self, chips: Tensor) -> Tensor:
        descriptors: Tensor = self.graph(chips.permute(0, 2, 3, 1).contiguous() * 255)
        return descriptors
