"""MobileFaceNet of InsightFace_Pytorch, 512 values, the "MobileFace" of the CLIP2Protect paper. Brought by the user.

Source: S. Chen et al., MobileFaceNets, CCBR 2018; TreB1eN, InsightFace_Pytorch; the file ``mobile_face.pth`` that
AMT-GAN (S. Hu et al., CVPR 2022) distributes. Its author states no licence for the weights, which were trained on
MS-Celeb-1M.
"""

from __future__ import annotations

from torch import Tensor, nn

from c2p_core.recognition.arcface_resnet import TEMPLATE

__all__ = ["NETWORK", "TEMPLATE", "MobileFaceNet"]

VALUES = 512
_STEM = 64
_FEATURES = 512
_SIDE = 7  # rows and columns of the last feature map, for a chip of 112 x 112
# Of each stage: name of the block that halves the picture, channels inside it and after it; name of the residual
# blocks, channels inside them, their number.
_STAGES = (
    ("conv_23", 128, 64, "conv_3", 128, 4),
    ("conv_34", 256, 128, "conv_4", 256, 6),
    ("conv_45", 512, 128, "conv_5", 256, 2),
)


class _Convolution(nn.Module):
    """A convolution and its normalisation, then PReLU if ``activated``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        pad: int = 0,
        activated: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, pad, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        if activated:
            self.prelu = nn.PReLU(outputs)
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return self.prelu(x) if self.activated else x


class _Block(nn.Module):
    """An inverted residual: pointwise expansion, depthwise convolution, pointwise projection."""

    def __init__(self, inputs: int, inside: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = _Convolution(inputs, inside)
        self.conv_dw = _Convolution(inside, inside, 3, stride, inside, 1)
        self.project = _Convolution(inside, outputs, activated=False)
        self.shortcut = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.project(self.conv_dw(self.conv(x)))
        return x + change if self.shortcut else change


class _Residuals(nn.Module):
    """A row of blocks with shortcuts."""

    def __init__(self, channels: int, inside: int, count: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(_Block(channels, inside, channels, 1) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.model(x)
        return result


class MobileFaceNet(nn.Module):
    """Maps aligned chips (B, 3, 112, 112), RGB in 0..1, to descriptors (B, 512) of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _Convolution(3, _STEM, 3, 2, pad=1)
        self.conv2_dw = _Convolution(_STEM, _STEM, 3, groups=_STEM, pad=1)
        channels = _STEM
        for halving, inside, outputs, residual, between, count in _STAGES:
            self.add_module(halving, _Block(channels, inside, outputs, 2))
            self.add_module(residual, _Residuals(outputs, between, count))
            channels = outputs
        self.conv_6_sep = _Convolution(channels, _FEATURES)
        self.conv_6_dw = _Convolution(_FEATURES, _FEATURES, _SIDE, groups=_FEATURES, activated=False)
        self.linear = nn.Linear(_FEATURES, VALUES, bias=False)
        self.bn = nn.BatchNorm1d(VALUES)

    def forward(self, chips: Tensor) -> Tensor:
        x = self.conv2_dw(self.conv1(chips * 2 - 1))
        for halving, _, _, residual, _, _ in _STAGES:
            x = self.get_submodule(residual)(self.get_submodule(halving)(x))
        features: Tensor = self.bn(self.linear(self.conv_6_dw(self.conv_6_sep(x)).flatten(1)))
        return features


NETWORK = MobileFaceNet
