"""Synthetic people towards whose embeddings a face can be moved; chosen by ``bundle/train/decoys.py``."""

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
    """Each person as seen by the given recognisers: (D,) unit vectors by recogniser name.

    Raises:
        ModelUnavailable: the file is missing or damaged, or lacks one of the recognisers.
    """
    try:
        stored = load_file(path, str(device))
        people = [stored[recogniser.name].unbind() for recogniser in recognisers]
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelUnavailable(f"The decoys in {path} can't be read ({error}); install the program again.") from error
    names = [recogniser.name for recogniser in recognisers]
    return tuple(dict(zip(names, person, strict=True)) for person in zip(*people, strict=True))


def nearest_decoy(own: dict[str, Tensor], decoys: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The synthetic identity that is nearest to a face, and so the least visible way to another one; {} of none.

    Args:
        own: per recogniser name, (D,) unit embedding of the face; these recognisers decide.
        decoys: as ``load_decoys`` gives them.
    """
    return max(decoys, key=lambda decoy: sum(float(own[name] @ decoy[name]) for name in own), default={})
