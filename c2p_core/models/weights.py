"""Fills networks from the weights that ship."""

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
    """The network with its weights from a .safetensors file, frozen and in eval mode.

    The file may hold tensors in half precision; the network computes in single precision.

    Raises:
        ModelUnavailable: the file is missing or damaged, or holds other tensors than the network's.
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
