"""Synthetic identities that decoy mode moves a face towards; chosen by ``bundle/train/decoys.py``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from c2p_core.errors import Message, ModelUnavailable, get_reason
from c2p_core.recognition import Recogniser


def load_decoys(path: Path, recognisers: Sequence[Recogniser], device: torch.device) -> tuple[dict[str, Tensor], ...]:
    """Load the embeddings of each synthetic identity: (D,) unit vectors by recogniser name.

    Recognisers without embeddings in the file are left out (``list_decoy_warnings``); if all are, there are no decoys.

    Raises:
        ModelUnavailable: the file is missing or damaged.
    """
    try:
        stored = load_file(path, str(device))
    except (OSError, SafetensorError) as error:
        raise ModelUnavailable("decoys-unreadable", path=str(path), reason=get_reason(error)) from error
    names = [recogniser.name for recogniser in recognisers if recogniser.name in stored]
    vectors_by_name = [stored[name].unbind() for name in names]
    return tuple(dict(zip(names, vectors, strict=True)) for vectors in zip(*vectors_by_name, strict=True))


def list_decoy_warnings(recognisers: Sequence[Recogniser], decoys: Sequence[dict[str, Tensor]]) -> list[Message]:
    """A message for each recogniser without embeddings of the decoys."""
    known = decoys[0] if decoys else {}
    return [Message("recogniser-without-decoys", name=r.name) for r in recognisers if r.name not in known]


def nearest_decoy(embeddings: dict[str, Tensor], decoys: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Choose the decoy most similar to a face, which needs the smallest change; {} when there are no decoys.

    Args:
        embeddings: per recogniser name, (D,) unit embedding of the face; recognisers that the decoys lack are ignored.
        decoys: see ``load_decoys``.
    """
    return max(
        decoys,
        key=lambda decoy: sum(float(embeddings[name] @ decoy[name]) for name in embeddings if name in decoy),
        default={},
    )
