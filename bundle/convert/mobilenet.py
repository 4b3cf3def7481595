"""Converts facelib's recogniser MobileNet from TensorFlow Lite into bundle/models/mobilenet.safetensors.

    python bundle/convert/mobilenet.py [FOLDER]

The batch normalisation before the dense layer is folded into it; the others already are, in the published weights.
"""

from __future__ import annotations

from pathlib import Path

import torch
from conversion import Published, fill, run
from tflite_graph import Operation, read_linear, read_operations
from torch import Tensor

from c2p_core.recognition.mobilenet import MobileNet

FILE = "mobilenet_fp32.tflite"
PUBLISHED = Published(
    "pip",
    "facelib==1.0",
    "facelib/facerec/feature_extraction/data",
    {FILE: "4aa5b168fb48d618c234114b5807b4c13067595a30ac451c47cf522f6afb7ed6"},
    python="3.7",
)
_KINDS = ("SUB", "MUL", "PAD", "CONV_2D", "DEPTHWISE_CONV_2D", "MEAN", "ADD", "FULLY_CONNECTED")


def _get_constant(operation: Operation) -> Tensor:
    return next(torch.from_numpy(constant).double() for constant in operation.constants if constant is not None)


def convert(folder: Path) -> MobileNet:
    """Convert the published file in ``folder``, in single precision."""
    graph = list(read_operations((folder / FILE).read_bytes()))
    unknown = {operation.kind for operation in graph} - set(_KINDS)
    if unknown:
        raise SystemExit(f"The graph has operations that this conversion does not know: {', '.join(sorted(unknown))}.")
    # The graph starts with the normalisation of the picture and ends with that of the features and the dense layer.
    middle, (factor, offset, dense) = graph[2:-4], graph[-3:]
    assert (float(_get_constant(graph[0])), float(_get_constant(graph[1]))) == (127.5, 1 / 128)
    network = MobileNet()
    fill(network, [read_linear(operation) for operation in middle if operation.kind != "PAD"])
    head = read_linear(dense)
    weight = head.weight[:, :, 0, 0]
    network.head.copy_(weight * _get_constant(factor))
    network.bias.copy_(head.bias + weight @ _get_constant(offset))
    return network.eval()


if __name__ == "__main__":
    run(__doc__, PUBLISHED, ("mobilenet", convert))
