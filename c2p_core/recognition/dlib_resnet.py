"""dlib's face recognition network: a ResNet with 29 convolutions and 128 values. Family dlib, licence CC0-1.0.

Source: D. E. King, dlib_face_recognition_resnet_model_v1, 2017; architecture as published in dlib's example
dnn_face_recognition_ex. Weights: dlib's .dat file, by ``bundle/convert/dlib_resnet.py``, which folds the affine layers
and the normalisation of the picture (mean subtracted, then divided by 256) into the convolutions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c2p_core.recognition.alignment import Template

VALUES = 128
_STEM = 32
# Channels and number of residual blocks of each stage; all stages but the first begin by halving the picture.
_STAGES = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))


def _make_template(size: int, padding: float) -> Template:
    """dlib's ``get_face_chip`` for its five points: eye corners and nose base in a unit square, padded."""
    mean_shape = (
        (0.8595674595992, 0.2134981538014),
        (0.6460604764104, 0.2289674387677),
        (0.1205750620789, 0.2137274526848),
        (0.3340850613712, 0.2290642403242),
        (0.4901123135679, 0.6277975316475),
    )
    scale = size / (1 + 2 * padding)
    points = tuple(((x + padding) * scale, (y + padding) * scale) for x, y in mean_shape)
    return Template(size, points, ((263,), (362,), (33,), (133,), (2,)))


TEMPLATE = _make_template(150, 0.25)


def _pad(x: Tensor, channels: int, rows: int, columns: int) -> Tensor:
    return F.pad(x, (0, columns - x.shape[3], 0, rows - x.shape[2], 0, channels - x.shape[1]))


class _Block(nn.Module):
    """Two 3x3 convolutions and the shortcut; when it halves the picture the shortcut is a 2x2 mean."""

    def __init__(self, inputs: int, outputs: int, halves: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=2 if halves else 1, padding=0 if halves else 1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.halves = halves

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(F.relu(self.first(x), inplace=True))
        if self.halves:
            x = F.avg_pool2d(x, 2)
        if x.shape != change.shape:
            # dlib adds tensors of unequal size by padding the smaller one with zeros at the far ends.
            size = [max(a, b) for a, b in zip(x.shape[1:], change.shape[1:], strict=True)]
            x, change = _pad(x, *size), _pad(change, *size)
        return F.relu(change + x, inplace=True)


class DlibResNet(nn.Module):
    """Maps aligned chips (B, 3, 150, 150), RGB in 0..1, to descriptors (B, 128) as dlib computes them."""

    def __init__(self) -> None:
        super().__init__()
        # It has no padding, so the normalisation of the picture could be folded into it.
        self.stem = nn.Conv2d(3, _STEM, 7, stride=2)
        blocks: list[nn.Module] = []
        channels = _STEM
        for stage, (outputs, count) in enumerate(_STAGES):
            for number in range(count):
                blocks.append(_Block(channels, outputs, halves=stage > 0 and number == 0))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.register_buffer("head", torch.zeros(channels, VALUES))
        self.head: Tensor
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, chips: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(chips.contiguous(memory_format=torch.channels_last)), inplace=True), 3, 2)
        features: Tensor = self.blocks(x).mean((2, 3))
        return features @ self.head


NETWORK = DlibResNet
