"""Loads weights into networks: shipped ones, and the published checkpoints of others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from c2p_core.errors import Message, ModelUnavailable, first_line

Network = TypeVar("Network", bound=nn.Module)

# Counts the batches of the training. Files of old versions of torch lack it, and nothing here uses it.
_COUNTER = "num_batches_tracked"
_NAMED = 5  # tensors that an error names


def load_weights(network: Network, path: Path) -> Network:
    """Load a file into a network and return it, frozen and in eval mode.

    Args:
        network: any; the file must have just its tensors.
        path: .safetensors, which may hold half-precision tensors; or a checkpoint of torch (.pt, .pth), of which only
            tensors are read. The network computes in single precision.

    Raises:
        ModelUnavailable: the file is missing or damaged, or its tensors are not those of the network.
    """
    if path.suffix == ".safetensors":
        _load_shipped(network, path)
    else:
        _load_checkpoint(network, path)
    return network.eval().requires_grad_(False)


def _load_shipped(network: nn.Module, path: Path) -> None:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelUnavailable("network-unreadable", path=str(path), reason=str(error)) from error
    own = {name: tensor.shape for name, tensor in network.state_dict().items()}
    types = {tensor.dtype for tensor in tensors.values()}
    if {name: tensor.shape for name, tensor in tensors.items()} != own or not types <= {torch.float32, torch.float16}:
        raise ModelUnavailable("network-wrong", path=str(path))
    network.load_state_dict(tensors)


def _load_checkpoint(network: nn.Module, path: Path) -> None:
    tensors = _read_checkpoint(path)
    own = {name: tensor.shape for name, tensor in network.state_dict().items() if not name.endswith(_COUNTER)}
    groups = {
        "tensors-missing": [name for name in own if name not in tensors],
        "tensors-unknown": [name for name in tensors if name not in own],
        "tensors-misshaped": [name for name in own if name in tensors and tensors[name].shape != own[name]],
    }
    why = [
        Message("tensors-missing", names=_some(groups["tensors-missing"])),
        Message("tensors-unknown", names=_some(groups["tensors-unknown"])),
        Message("tensors-misshaped", names=_some(groups["tensors-misshaped"])),
    ]
    if any(groups.values()):
        found = [message for message, names in zip(why, groups.values(), strict=True) if names]
        raise ModelUnavailable("checkpoint-wrong-tensors", file=path.name, why=found)
    if broken := [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise ModelUnavailable("checkpoint-not-finite", file=path.name, names=_some(broken))
    network.load_state_dict(tensors, strict=False)


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, without the counters of batches.

    Raises:
        ModelUnavailable: the file is missing or damaged, or holds something else.
    """
    try:
        size = path.stat().st_size
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelUnavailable("model-unreadable", path=str(path), reason=error.strerror) from error
    # A damaged or hostile file may fail in any way.
    except Exception as error:
        raise ModelUnavailable("checkpoint-unreadable", file=path.name, reason=first_line(error)) from error
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) and not value.is_sparse and value.dtype in _TYPES
        for name, value in content.items()
    ):
        raise ModelUnavailable("checkpoint-no-network", file=path.name)
    # A few bytes can represent a tensor of any size that repeats them.
    if sum(value.numel() * value.element_size() for value in content.values()) > size:
        raise ModelUnavailable("checkpoint-too-small", file=path.name)
    return {name: value for name, value in content.items() if not name.endswith(_COUNTER)}


_TYPES = (torch.float32, torch.float16, torch.int64)


def _some(names: list[str]) -> list[str]:
    return [*names[:_NAMED], *(["…"] if len(names) > _NAMED else [])]
