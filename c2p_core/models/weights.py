"""Loads shipped weights into networks."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from c2p_core.errors import ModelUnavailable

Network = TypeVar("Network", bound=nn.Module)


def load_weights(network: Network, path: Path) -> Network:
    """Load a .safetensors file into a network and return it, frozen and in eval mode.

    The file may hold half-precision tensors; the network computes in single precision.

    Raises:
        ModelUnavailable: the file is missing or damaged, or its tensors are not those of the network.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelUnavailable("network-unreadable", path=str(path), reason=str(error)) from error
    own = {name: tensor.shape for name, tensor in network.state_dict().items()}
    types = {tensor.dtype for tensor in tensors.values()}
    if {name: tensor.shape for name, tensor in tensors.items()} != own or not types <= {torch.float32, torch.float16}:
        raise ModelUnavailable("network-wrong", path=str(path))
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)
