"""The residual networks of face.evoLVe and InsightFace_Pytorch, with the names of tensors in their published files.

Source: J. Deng et al., ArcFace: additive angular margin loss for deep face recognition, CVPR 2019 (the units); J. Hu et
al., Squeeze-and-excitation networks, CVPR 2018 (the attention of IR-SE).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from c2p_core.recognition.alignment import five_point_template

VALUES = 512
# The alignment of networks trained with the ArcFace loss; without weights at hand no other zoom could be measured.
TEMPLATE = five_point_template(112, 1.0)
_CHANNELS = (64, 64, 128, 256, 512)
# Rows and columns of the last feature map, for a chip of 112 x 112.
_SIDE = 7
_REDUCTION = 16


class _Attention(nn.Module):
    """Squeeze and excitation: scales each channel by a factor in 0..1 that depends on the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // _REDUCTION, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(means))))


class _Unit(nn.Module):
    """Normalisation, two 3x3 convolutions, the second one strided, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, attention: bool) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inputs != outputs:
            strided = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(strided, nn.BatchNorm2d(outputs))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        if attention:
            self.res_layer.append(_Attention(outputs))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return result


class ArcFaceResnet(nn.Module):
    """Maps aligned chips (B, 3, 112, 112), RGB in 0..1, to descriptors (B, 512) of any length."""

    def __init__(self, units: tuple[int, int, int, int], attention: bool) -> None:
        """``units`` of each stage; the first of a stage halves the picture."""
        super().__init__()
        stem = _CHANNELS[0]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem), nn.PReLU(stem)
        )
        self.body = nn.Sequential()
        for (inputs, outputs), count in zip(pairwise(_CHANNELS), units, strict=True):
            self.body.append(_Unit(inputs, outputs, 2, attention))
            self.body.extend(_Unit(outputs, outputs, 1, attention) for _ in range(count - 1))
        last = _CHANNELS[-1]
        # Dropout does nothing here, but its index counts in the names of tensors.
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(last),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(last * _SIDE * _SIDE, VALUES),
            nn.BatchNorm1d(VALUES),
        )

    def forward(self, chips: Tensor) -> Tensor:
        features: Tensor = self.output_layer(self.body(self.input_layer(chips * 2 - 1)))
        return features
