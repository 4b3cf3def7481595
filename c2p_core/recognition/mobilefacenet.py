"""MobileFaceNet with 192 values: a face recogniser for phones. Family arcface, licence Apache-2.0.

Source: S. Chen et al., MobileFaceNets: efficient CNNs for accurate real-time face verification on mobile devices, CCBR
2018; J. Deng et al., ArcFace, CVPR 2019. Weights: the project MobileFaceNet_TF (sirius-ai, Apache-2.0), trained on
MS-Celeb-1M, as converted to TensorFlow Lite for Android-MobileFaceNet-MTCNN-FaceAntiSpoofing (syaringan357, MIT); from
there by ``bundle/convert/mobilefacenet.py``, which also merges consecutive linear layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from c2p_core.recognition.alignment import five_point_template
from c2p_core.recognition.tf_layers import Convolution

VALUES = 192
# The alignment of networks trained with the ArcFace loss; d' 7.2 at zooms of 0.9, 1 and 1.1.
TEMPLATE = five_point_template(112, 1.0)
_STEM = 64
# Stages of residual blocks: channels inside a block, channels between blocks, blocks, stride of the first one.
_STAGES = ((128, 64, 5, 2), (256, 128, 7, 2), (512, 128, 1, 2), (256, 128, 2, 1))
_FEATURES = 512
_SIDE = 7  # rows and columns of the last feature map, for a chip of 112 x 112


class _Block(nn.Module):
    """An inverted residual: pointwise expansion, depthwise convolution, pointwise projection, and a shortcut."""

    def __init__(self, inputs: int, inside: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.shortcut = stride == 1 and inputs == outputs
        self.widen = Convolution(inputs, inside, activation="prelu")
        self.look = Convolution(inside, inside, 3, stride, depthwise=True, pads="same", activation="prelu")
        self.narrow = Convolution(inside, outputs)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.narrow(self.look(self.widen(x)))
        return change + x if self.shortcut else change


class MobileFaceNet(nn.Module):
    """Maps aligned chips (B, 3, 112, 112), RGB in 0..1, to descriptors (B, 192) of any length.

    The published network's pointwise layer before its first block is merged into that block, and its two dense layers
    at the end into one: there is nothing between them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            Convolution(3, _STEM, 3, 2, pads="same", activation="prelu"),
            Convolution(_STEM, _STEM, 3, depthwise=True, pads="same", activation="prelu"),
        )
        blocks: list[nn.Module] = []
        channels = _STEM
        for inside, outputs, count, first in _STAGES:
            for stride in (first, *[1] * (count - 1)):
                blocks.append(_Block(channels, inside, outputs, stride))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.features = Convolution(channels, _FEATURES, activation="prelu")
        # Global depthwise convolution: a weight for each position and channel instead of a mean over positions.
        self.register_buffer("places", torch.zeros(_SIDE, _SIDE, _FEATURES))
        self.register_buffer("head", torch.zeros(VALUES, _FEATURES))
        self.register_buffer("bias", torch.zeros(VALUES))
        self.places: Tensor
        self.head: Tensor
        self.bias: Tensor

    def forward(self, chips: Tensor) -> Tensor:
        # The published graph's input is (0..255 - 127.5) / 128.
        x = chips.permute(0, 2, 3, 1).contiguous() * (255 / 128) - 127.5 / 128
        features: Tensor = self.features(self.blocks(self.stem(x)))
        return torch.addmm(self.bias, (features * self.places).sum((1, 2)), self.head.t())


NETWORK = MobileFaceNet
