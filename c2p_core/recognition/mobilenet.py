"""MobileNet with 128 values: a face recogniser of the package facelib, trained with the ArcFace loss.

Source: A. Howard et al., MobileNets, 2017; J. Deng et al., ArcFace, CVPR 2019. Weights: facelib 1.0 (K. Yildiz, MIT),
trained on MS1M-ArcFace; from its TensorFlow Lite file by ``bundle/convert/mobilenet.py``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from c2p_core.recognition.tf_layers import Convolution, load_weights

CHIP_SIZE = 112
VALUES = 128
_STEM = 32
# Channels after each pair of layers, and its stride.
_PAIRS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def _pads(stride: int) -> tuple[int, int]:
    """Keras pads by hand before it halves: always one pixel after, also where SAME would put one on each side."""
    return (1, 1) if stride == 1 else (0, 1)


class MobileNet(nn.Module):
    """Maps aligned chips (B, 3, 112, 112), RGB in 0..1, to descriptors (B, 128) of any length."""

    def __init__(self) -> None:
        super().__init__()
        layers = [Convolution(3, _STEM, 3, 2, pads=_pads(2), activation="relu6")]
        channels = _STEM
        for outputs, stride in _PAIRS:
            look = Convolution(channels, channels, 3, stride, depthwise=True, pads=_pads(stride), activation="relu6")
            layers += [look, Convolution(channels, outputs, activation="relu6")]
            channels = outputs
        self.layers = nn.Sequential(*layers)
        self.register_buffer("head", torch.zeros(VALUES, channels))
        self.register_buffer("bias", torch.zeros(VALUES))
        self.head: Tensor
        self.bias: Tensor

    def forward(self, chips: Tensor) -> Tensor:
        # The published graph does this itself, from 0..255.
        x = chips.permute(0, 2, 3, 1).contiguous() * (255 / 128) - 127.5 / 128
        features: Tensor = self.layers(x)
        return torch.addmm(self.bias, features.mean((1, 2)), self.head.t())


def load_mobilenet(path: Path) -> MobileNet:
    """The network in ``path`` (a .safetensors file), frozen and in eval mode.

    Raises:
        ModelUnavailable: the file is missing or damaged, or holds another network.
    """
    network = MobileNet()
    load_weights(network, path)
    return network.eval()
