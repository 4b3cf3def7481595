"""Synthetic people towards whose embeddings a face can be moved; chosen by ``bundle/train/decoys.py``."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from c2p_core.errors import ModelUnavailable


def read_decoys(path: Path, device: torch.device) -> dict[str, Tensor]:
    """(people, D) unit vectors by recogniser; row i is the same person for all of them.

    Raises:
        ModelUnavailable: the file is missing or damaged.
    """
    try:
        return load_file(path, str(device))
    except (OSError, SafetensorError) as error:
        raise ModelUnavailable(f"The decoys in {path} can't be read ({error}); install the program again.") from error
