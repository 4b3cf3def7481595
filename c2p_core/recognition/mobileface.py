"""MobileFace identification V3, 256 values. Family mobileface, licence MIT.

Source: becauseofAI, MobileFace, 2018; training data not stated. Weights: the model mobileface of Human (V. Mandic), by
``bundle/convert/mobileface.py``, which folds the batch normalisations into the layers before them.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from c2p_core.recognition.alignment import five_point_template
from c2p_core.recognition.tf_layers import Convolution

VALUES = 256
# d' 2.2 at a zoom of 1, 1.9 at 0.9, 2.0 at 1.1.
TEMPLATE = five_point_template(112, 1.0)
_STEM = 32
_STAGES = (32, 32, 64, 128)
# Pixels of the last feature map, for a chip of 112 x 112.
_POSITIONS = 4 * 4


class _Stage(nn.Module):
    """A pointwise convolution, a strided depthwise one, and a residual branch of two depthwise ones."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mix = Convolution(inputs, outputs)
        self.halve, self.first, self.second = (
            Convolution(outputs, outputs, 3, stride, depthwise=True, pads=(1, 1), activation="prelu")
            for stride in (2, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.halve(self.mix(x))
        change: Tensor = self.second(self.first(x))
        return change + x


class MobileFace(nn.Module):
    """Maps aligned chips (B, 3, 112, 112), RGB in 0..1, to descriptors (B, 256) of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, _STEM, 3, 2, pads=(1, 1), activation="prelu")
        channels = (_STEM, *_STAGES)
        self.stages = nn.Sequential(*(_Stage(*pair) for pair in pairwise(channels)))
        self.register_buffer("head", torch.zeros(VALUES, _POSITIONS * channels[-1]))
        self.register_buffer("bias", torch.zeros(VALUES))
        self.head: Tensor
        self.bias: Tensor

    def forward(self, chips: Tensor) -> Tensor:
        # The published graph's input is (0..255 - 127.5) / 128.
        x = chips.permute(0, 2, 3, 1).contiguous() * (255 / 128) - 127.5 / 128
        features: Tensor = self.stages(self.stem(x))
        return torch.addmm(self.bias, features.flatten(1), self.head.t())


NETWORK = MobileFace
