"""dlib's face recognition network (ResNet with 29 convolutions, 128 values) as a torch module.

Source: D. E. King, dlib face_recognition_resnet_model_v1 (2017), weights CC0; architecture as published in dlib's
example dnn_face_recognition_ex.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c2p_core.errors import ModelUnavailable
from c2p_core.recognition.dlib_file import DlibLayer, DlibNetwork, read_dlib_network
from c2p_core.recognition.tf_layers import round_weights

CHIP_SIZE = 150
_STEM = ["con", "affine", "relu", "max_pool"]
_BLOCK = ["con", "affine", "relu", "con", "affine"]
_END = ["add_prev", "relu"]
_HALVING_END = ["avg_pool", *_END]
_HEAD = ["avg_pool", "fc"]


def _expect(layers: Sequence[DlibLayer], kinds: list[str]) -> Sequence[DlibLayer]:
    """The next layers, which have to be of these kinds."""
    found = [layer.kind for layer in layers[: len(kinds)]]
    if found != kinds:
        raise ModelUnavailable(f"The dlib network has {found} where {kinds} belong; run `c2p models verify`.")
    return layers[: len(kinds)]


def _folded(con: DlibLayer, affine: DlibLayer) -> nn.Conv2d:
    """Convolution and the per-channel affine map after it as one convolution."""
    weight, bias = con.tensors
    gamma, beta = affine.tensors
    stride, padding = con.sizes[3], con.sizes[5]
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], stride=stride, padding=padding)
    conv.weight.data = (weight * gamma[:, None, None, None]).contiguous(memory_format=torch.channels_last)
    conv.bias = nn.Parameter(bias * gamma + beta)
    return conv


def _padded(x: Tensor, channels: int, rows: int, columns: int) -> Tensor:
    return F.pad(x, (0, columns - x.shape[3], 0, rows - x.shape[2], 0, channels - x.shape[1]))


class _Block(nn.Module):
    """Two 3x3 convolutions and the shortcut; when it halves the picture the shortcut is a 2x2 mean."""

    def __init__(self, first: nn.Conv2d, second: nn.Conv2d, halves: bool) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.halves = halves

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(F.relu(self.first(x), inplace=True))
        if self.halves:
            x = F.avg_pool2d(x, 2)
        if x.shape != change.shape:
            # dlib adds tensors of unequal size by filling the smaller one up with zeros at its far ends.
            size = [max(a, b) for a, b in zip(x.shape[1:], change.shape[1:], strict=True)]
            x, change = _padded(x, *size), _padded(change, *size)
        return F.relu(change + x, inplace=True)


class DlibResNet(nn.Module):
    """Maps aligned chips (B, 3, 150, 150), RGB in 0..1, to descriptors (B, 128) as dlib computes them."""

    def __init__(self, network: DlibNetwork) -> None:
        super().__init__()
        layers = network.layers
        stem = _expect(layers, _STEM)
        self.stem = _folded(stem[0], stem[1])
        # The stem has no padding, so that the normalisation of the input can move into it.
        assert self.stem.bias is not None
        mean = torch.tensor(network.mean_rgb) / 256
        self.stem.bias.data -= (self.stem.weight.data.sum((2, 3)) * mean).sum(1)
        self.stem.weight.data *= 255 / 256
        layers = layers[len(_STEM) :]
        blocks: list[nn.Module] = []
        while len(layers) > len(_HEAD):
            first, affine1, _, second, affine2 = _expect(layers, _BLOCK)
            layers = layers[len(_BLOCK) :]
            end = _HALVING_END if layers[0].kind == "avg_pool" else _END
            _expect(layers, end)
            layers = layers[len(end) :]
            blocks.append(_Block(_folded(first, affine1), _folded(second, affine2), halves=end is _HALVING_END))
        self.blocks = nn.Sequential(*blocks)
        self.register_buffer("head", _expect(layers, _HEAD)[1].tensors[0])

    def forward(self, chips: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(chips.contiguous(memory_format=torch.channels_last)), inplace=True), 3, 2)
        features: Tensor = self.blocks(x).mean((2, 3))
        assert isinstance(self.head, Tensor)
        return features @ self.head


def load_dlib_resnet(path: Path) -> DlibResNet:
    """The network in ``path``, frozen and in eval mode.

    Raises:
        ModelUnavailable: when the file is damaged or holds another network.
    """
    network = read_dlib_network(path)
    if (network.rows, network.columns) != (CHIP_SIZE, CHIP_SIZE):
        raise ModelUnavailable(f"{path} is a network for {network.columns}x{network.rows} px; run `c2p models verify`.")
    loaded = DlibResNet(network).eval().requires_grad_(False)
    round_weights(loaded)
    return loaded
