"""Reads NVIDIA's StyleGAN2 pickles (stylegan2-ada-pytorch) without executing any code in them.

Such a file contains whole objects with the source code of their classes. This reader only builds tensors, plain
containers and inert shells, and refuses every other name.
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

# Maximum nesting depth of modules in such files.
_DEEPEST = 8


class _Shell:
    """Stands in for an object of any class: keeps its state and does nothing."""

    def __init__(self, *more: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Options(dict[str, Any]):
    """Stands in for a dictionary whose keys can be read as attributes."""


def _rebuild_persistent(meta: object) -> _Shell:
    shell = _Shell()
    shell.state = meta.get("state") if isinstance(meta, dict) else None
    return shell


def _load_storage(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _rebuild_tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *more: object) -> Tensor:
    if not isinstance(storage, (torch.UntypedStorage, torch.storage.TypedStorage)):
        raise pickle.UnpicklingError("a tensor without numbers")
    dtype = storage.dtype if isinstance(storage, torch.storage.TypedStorage) else torch.uint8
    # as_strided checks bounds; set_ alone would enlarge the storage, exposing arbitrary memory.
    return torch.empty(0, dtype=dtype).set_(storage).as_strided(size, stride, offset)


def _rebuild_parameter(data: object, *more: object) -> object:
    return data


def _ignore_scalar(*more: object) -> None:
    """Stands in for a NumPy scalar, such as a layer's gain, which follows from the layer's shape."""


_ALLOWED: dict[tuple[str, str], Callable[..., object]] = {
    ("builtins", "set"): set,
    ("collections", "OrderedDict"): OrderedDict,
    ("dnnlib.util", "EasyDict"): _Options,
    ("numpy", "dtype"): _Shell,
    ("numpy._core.multiarray", "scalar"): _ignore_scalar,
    ("numpy.core.multiarray", "scalar"): _ignore_scalar,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): _load_storage,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _rebuild_persistent,
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
    # Visit each object once: objects of a malicious file may refer to each other, or millions of times to one.
    if not isinstance(state, Mapping) or id(module) in visited or prefix.count(".") > _DEEPEST:
        return
    visited.add(id(module))
    for kind in ("_parameters", "_buffers"):
        found.update({f"{prefix}{name}": t for name, t in _get_mapping(state, kind).items() if isinstance(t, Tensor)})
    for name, child in _get_mapping(state, "_modules").items():
        _collect(child, f"{prefix}{name}.", found, visited)


def _get_mapping(state: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    held = state.get(kind)
    return held if isinstance(held, Mapping) else {}
