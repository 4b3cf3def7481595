"""Synthetic identities towards which decoy mode moves a face; chosen by ``bundle/train/decoys.py``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from c2p_core.errors import ModelUnavailable
from c2p_core.recognition import Recogniser


def load_decoys(path: Path, recognisers: Sequence[Recogniser], device: torch.device) -> tuple[dict[str, Tensor], ...]:
    """Load the embeddings of each synthetic identity: (D,) unit vectors by recogniser name.

    Raises:
        ModelUnavailable: the file is missing or damaged, or lacks one of the recognisers.
    """
    try:
        stored = load_file(path, str(device))
        embeddings = [stored[recogniser.name].unbind() for recogniser in recognisers]
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelUnavailable(f"The decoys in {path} can't be read ({error}); install the program again.") from error
    names = [recogniser.name for recogniser in recognisers]
    return tuple(dict(zip(names, vectors, strict=True)) for vectors in zip(*embeddings, strict=True))


def nearest_decoy(own: dict[str, Tensor], decoys: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Choose the decoy most similar to a face, which needs the smallest change; {} when there are no decoys.

    Args:
        own: per recogniser name, (D,) unit embedding of the face.
        decoys: see ``load_decoys``.
    """
    return max(decoys, key=lambda decoy: sum(float(own[name] @ decoy[name]) for name in own), default={})
