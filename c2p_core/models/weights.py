"""Loads weights into networks: shipped ones and published checkpoints."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from c2p_core.errors import Message, ModelUnavailable, first_line

Network = TypeVar("Network", bound=nn.Module)

# Counts the batches of the training. Files from old versions of torch lack it, and nothing here uses it.
_COUNTER = "num_batches_tracked"
_TYPES = (torch.float32, torch.float16, torch.int64)
_ARCHIVE = b"PK\x03\x04"
_MAX_NAMES = 20  # names that an error lists before it only counts the rest


def load_weights(network: Network, path: Path) -> Network:
    """Load a file into a network and return it, frozen and in eval mode.

    Args:
        network: any; the file must have exactly its tensors.
        path: .safetensors, which may hold half-precision tensors; or a checkpoint of torch (.pt, .pth), from which only
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
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    types = {tensor.dtype for tensor in tensors.values()}
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes or not types <= {
        torch.float32,
        torch.float16,
    }:
        raise ModelUnavailable("network-wrong", path=str(path))
    network.load_state_dict(tensors)


def _load_checkpoint(network: nn.Module, path: Path) -> None:
    content = read_checkpoint(path)
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) and not value.is_sparse and value.dtype in _TYPES
        for name, value in content.items()
    ):
        raise ModelUnavailable("checkpoint-no-network", file=path.name)
    check_stored_size(content.values(), path)
    tensors = {name: value for name, value in content.items() if not name.endswith(_COUNTER)}
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items() if not name.endswith(_COUNTER)}
    check_tensors(tensors, shapes, path)
    network.load_state_dict(tensors, strict=False)


def read_checkpoint(path: Path, classes: Sequence[type] = ()) -> object:
    """Read a file written by torch.save, without running any code in it.

    Args:
        path: of the file.
        classes: of plain values that it may hold in addition to tensors and containers.

    Raises:
        ModelUnavailable: the file is missing or damaged, or holds something else.
    """
    try:
        _check_unpacked_size(path)
        with torch.serialization.safe_globals(list(classes)):
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except ModelUnavailable:
        raise
    except OSError as error:
        raise ModelUnavailable("model-unreadable", path=str(path), reason=error.strerror) from error
    # A damaged or hostile file may fail in any way.
    except Exception as error:
        raise ModelUnavailable("checkpoint-unreadable", file=path.name, reason=first_line(error)) from error
    return content


def _check_unpacked_size(path: Path) -> None:
    """Refuse an archive that becomes larger when it is unpacked; torch never compresses its archives."""
    with path.open("rb") as file:
        # torch decides by these bytes, too.
        if file.read(len(_ARCHIVE)) != _ARCHIVE:
            return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > path.stat().st_size:
        raise ModelUnavailable("checkpoint-too-small", file=path.name)


def check_stored_size(tensors: Iterable[Tensor], path: Path) -> None:
    """Refuse tensors that are larger than their file: a stride of 0 can repeat a few bytes to any size.

    Raises:
        ModelUnavailable: they are, or the file is gone.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelUnavailable("model-unreadable", path=str(path), reason=error.strerror) from error
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors) > size:
        raise ModelUnavailable("checkpoint-too-small", file=path.name)


def check_tensors(
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    path: Path,
    optional: Collection[str] = (),
) -> None:
    """Refuse tensors of a file that are not those of a network, or not finite.

    Args:
        tensors: of the file.
        shapes: the shape of each tensor of the network, by its name in the file.
        path: of the file.
        optional: names of tensors that some files lack.

    Raises:
        ModelUnavailable: tensors are missing, unknown, of the wrong shape or not finite; the message names them.
    """
    misshaped = [
        f"{name} {tuple(tensors[name].shape)} instead of {shape}"
        for name, shape in shapes.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    missing = [name for name in shapes if name not in tensors and name not in optional]
    unknown = [name for name in tensors if name not in shapes]
    why = [
        *([Message("tensors-missing", names=abbreviate_names(missing))] if missing else []),
        *([Message("tensors-unknown", names=abbreviate_names(unknown))] if unknown else []),
        *([Message("tensors-misshaped", names=abbreviate_names(misshaped))] if misshaped else []),
    ]
    if why:
        raise ModelUnavailable("checkpoint-wrong-tensors", file=path.name, why=why)
    if not_finite := [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise ModelUnavailable("checkpoint-not-finite", file=path.name, names=abbreviate_names(not_finite))


def abbreviate_names(names: Sequence[str]) -> list[str]:
    """The first names, and the number of the others."""
    return [*names[:_MAX_NAMES], *([f"… (+{len(names) - _MAX_NAMES})"] if len(names) > _MAX_NAMES else [])]
