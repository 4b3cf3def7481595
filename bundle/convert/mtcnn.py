"""Converts the detector MTCNN from facenet-pytorch's files into bundle/models/mtcnn.safetensors, in single precision.

python bundle/convert/mtcnn.py [FOLDER]
"""

from __future__ import annotations

from pathlib import Path

import torch
from conversion import Published, parse_folder, write_weights

from c2p_core.faces.mtcnn import Mtcnn

PUBLISHED = Published(
    "pip",
    "facenet-pytorch==2.5.3",
    "facenet_pytorch/data",
    {
        "pnet.pt": "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
        "rnet.pt": "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
        "onet.pt": "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
    },
)


def convert(folder: Path) -> Mtcnn:
    """Convert the published files in ``folder``."""
    network = Mtcnn()
    for name, part in network.named_children():
        published = torch.load(folder / f"{name}.pt", weights_only=True)
        # Both define their layers in the order in which they are computed.
        part.load_state_dict(dict(zip(part.state_dict(), published.values(), strict=True)))
    return network.eval().requires_grad_(False)


if __name__ == "__main__":
    with PUBLISHED.provide(parse_folder(__doc__)) as folder:
        write_weights(convert(folder).state_dict(), "mtcnn")
