"""Converts facelib's recogniser MobileNet from TensorFlow Lite.

    python bundle/convert/mobilenet.py [TFLITE]

Without TFLITE, pip fetches the package that holds the published file. Writes bundle/models/mobilenet.safetensors.
The batch normalisation before the dense layer becomes part of it; the others already are part of the
published weights.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from tflite_graph import Operation, checked, fill, from_pip, linear, operations, write
from torch import Tensor

from c2p_core.recognition.mobilenet import MobileNet

PACKAGE = "facelib==1.0"
PYTHON = "3.7"
MEMBER = "facelib/facerec/feature_extraction/data/mobilenet_fp32.tflite"
SHA256 = "4aa5b168fb48d618c234114b5807b4c13067595a30ac451c47cf522f6afb7ed6"
_KINDS = ("SUB", "MUL", "PAD", "CONV_2D", "DEPTHWISE_CONV_2D", "MEAN", "ADD", "FULLY_CONNECTED")


def published() -> bytes:
    """The published file."""
    with tempfile.TemporaryDirectory() as folder:
        return checked(from_pip(PACKAGE, PYTHON, MEMBER, Path(folder)), SHA256, f"{MEMBER} of {PACKAGE}")


def _constant(operation: Operation) -> Tensor:
    return next(torch.from_numpy(constant).double() for constant in operation.constants if constant is not None)


def converted(content: bytes) -> MobileNet:
    """The network of a published file."""
    graph = list(operations(content))
    unknown = {operation.kind for operation in graph} - set(_KINDS)
    if unknown:
        raise SystemExit(f"The graph has operations that this conversion does not know: {', '.join(sorted(unknown))}.")
    # It begins with the normalisation of the picture and ends with that of the features and the dense layer.
    middle, (factor, offset, dense) = graph[2:-4], graph[-3:]
    assert (float(_constant(graph[0])), float(_constant(graph[1]))) == (127.5, 1 / 128)
    network = MobileNet()
    fill(network, [linear(operation) for operation in middle if operation.kind != "PAD"])
    head = linear(dense)
    weight = head.weight[:, :, 0, 0]
    network.head.copy_(weight * _constant(factor))
    network.bias.copy_(head.bias + weight @ _constant(offset))
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tflite", type=Path, nargs="?")
    given: Path | None = parser.parse_args().tflite
    content = checked(given.read_bytes(), SHA256, str(given)) if given else published()
    write(converted(content), "mobilenet")


if __name__ == "__main__":
    main()
