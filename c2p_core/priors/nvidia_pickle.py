"""Reads NVIDIA's StyleGAN2 pickles (stylegan2-ada-pytorch) without running anything that is in them.

Such a file holds whole objects together with the source code of their classes. Here it builds tensors, plain
containers and inert shells only; every other name in it is refused before anything of the file is done.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from c2p_core.errors import ModelUnavailable

# The deepest that the networks of such files nest.
_DEEPEST = 8


class _Shell:
    """Stands for an object of any class: keeps its state and does nothing."""

    def __init__(self, *more: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Options(dict[str, Any]):
    """Stands for a dictionary whose keys can be read as attributes."""


def _persistent(meta: object) -> _Shell:
    shell = _Shell()
    shell.state = meta.get("state") if isinstance(meta, dict) else None
    return shell


def _storage(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *more: object) -> Tensor:
    if not isinstance(storage, (torch.UntypedStorage, torch.storage.TypedStorage)):
        raise pickle.UnpicklingError("a tensor without numbers")
    dtype = storage.dtype if isinstance(storage, torch.storage.TypedStorage) else torch.uint8
    # This checks bounds; set_ by itself would enlarge the storage, by whatever lies there in memory.
    return torch.empty(0, dtype=dtype).set_(storage).as_strided(size, stride, offset)


def _parameter(data: object, *more: object) -> object:
    return data


def _number(*more: object) -> None:
    """Stands for a number of NumPy's: layers keep their gains so, which follow from their shapes."""


_ALLOWED: dict[tuple[str, str], Callable[..., object]] = {
    ("builtins", "set"): set,
    ("collections", "OrderedDict"): OrderedDict,
    ("dnnlib.util", "EasyDict"): _Options,
    ("numpy", "dtype"): _Shell,
    ("numpy._core.multiarray", "scalar"): _number,
    ("numpy.core.multiarray", "scalar"): _number,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no weights need")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: object) -> Any:
        raise pickle.UnpicklingError("it refers to things outside of itself")


def read_nvidia(path: Path) -> dict[str, Tensor]:
    """The tensors of ``G_ema``, named as in its ``state_dict``.

    Raises:
        ModelUnavailable: the file is damaged, is no such pickle, or asks for anything but tensors.
    """
    try:
        with path.open("rb") as file:
            content = _Reader(file).load()
    except OSError as error:
        raise ModelUnavailable("model-unreadable", path=str(path), reason=error.strerror) from error
    # A damaged pickle may fail in any way.
    except Exception as error:
        raise ModelUnavailable("pickle-unsafe", file=path.name, reason=str(error)) from error
    average = content.get("G_ema") if isinstance(content, dict) else None
    if not isinstance(average, _Shell):
        raise ModelUnavailable("pickle-without-generator", file=path.name)
    found: dict[str, Tensor] = {}
    _collect(average, "", found, set())
    return found


def _collect(module: object, prefix: str, found: dict[str, Tensor], visited: set[int]) -> None:
    state = module.state if isinstance(module, _Shell) else None
    # Once each: objects of a hostile file may hold one another, or one of them a million times.
    if not isinstance(state, Mapping) or id(module) in visited or prefix.count(".") > _DEEPEST:
        return
    visited.add(id(module))
    for kind in ("_parameters", "_buffers"):
        found.update({f"{prefix}{name}": t for name, t in _of(state, kind).items() if isinstance(t, Tensor)})
    for name, child in _of(state, "_modules").items():
        _collect(child, f"{prefix}{name}.", found, visited)


def _of(state: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    held = state.get(kind)
    return held if isinstance(held, Mapping) else {}
