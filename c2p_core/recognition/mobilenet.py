"""MobileNet with 128 values: a face recogniser of the package facelib. Family arcface, licence MIT.

Source: A. Howard et al., MobileNets, 2017; J. Deng et al., ArcFace, CVPR 2019. Weights: facelib 1.0 (K. Yildiz, MIT),
trained on MS1M-ArcFace; from its TensorFlow Lite file by ``bundle/convert/mobilenet.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from c2p_core.recognition.alignment import five_point_template
from c2p_core.recognition.tf_layers import MOBILENET_CHANNELS, make_mobilenet_layers

VALUES = 128
# The alignment of networks trained with the ArcFace loss; d' 8.0, 8.0 and 7.6 at zooms of 0.9, 1 and 1.1.
TEMPLATE = five_point_template(112, 1.0)


class MobileNet(nn.Module):
    """Maps aligned chips (B, 3, 112, 112), RGB in 0..1, to descriptors (B, 128) of any length."""

    def __init__(self) -> None:
        super().__init__()
        # Keras pads strided layers explicitly: always one pixel after, even where SAME would pad both sides.
        self.layers = make_mobilenet_layers((0, 1))
        self.register_buffer("head", torch.zeros(VALUES, MOBILENET_CHANNELS))
        self.register_buffer("bias", torch.zeros(VALUES))
        self.head: Tensor
        self.bias: Tensor

    def forward(self, chips: Tensor) -> Tensor:
        # The published graph has this normalisation, from 0..255.
        x = chips.permute(0, 2, 3, 1).contiguous() * (255 / 128) - 127.5 / 128
        features: Tensor = self.layers(x)
        return torch.addmm(self.bias, features.mean((1, 2)), self.head.t())


NETWORK = MobileNet
