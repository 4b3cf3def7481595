"""Reads NVIDIA's StyleGAN2 pickles (stylegan2-ada-pytorch) without executing any code in them.

Such a file contains whole objects with the source code of their classes. This reader only builds tensors, plain
containers and inert shells (`models.inert_pickle`), and refuses every other name.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from c2p_core.errors import ModelUnavailable, get_reason
from c2p_core.models.inert_pickle import (
    CONTAINERS,
    Builder,
    InertReader,
    Shell,
    StandIns,
    UnsafePickle,
    collect_tensors,
)


class _Storages:
    """Loads the storages of tensors, which are nested pickles in the file."""

    def __init__(self, size: int) -> None:
        """``size``: of the file in bytes."""
        self._left = size

    def load(self, data: bytes) -> Any:
        """Load the storage of one tensor.

        Raises:
            UnsafePickle: the storages are larger than the file.
        """
        # Or a file could have the same storage loaded many times.
        self._left -= len(data)
        if self._left < 0 or data.startswith(b"PK"):
            raise UnsafePickle("pickle-larger-than-file")
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _rebuild_tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *more: object) -> Tensor:
    if not isinstance(storage, (torch.UntypedStorage, torch.storage.TypedStorage)):
        raise UnsafePickle("pickle-tensor-without-numbers")
    dtype = storage.dtype if isinstance(storage, torch.storage.TypedStorage) else torch.uint8
    # as_strided checks bounds; set_ alone would enlarge the storage, exposing arbitrary memory.
    return torch.empty(0, dtype=dtype).set_(storage).as_strided(size, stride, offset)


def _ignore_scalar(*more: object) -> None:
    """Stands in for a NumPy scalar, such as a layer's gain, which follows from the layer's shape."""


_KNOWN: StandIns = {
    **CONTAINERS,
    ("builtins", "set"): Shell,
    ("dnnlib.util", "EasyDict"): Shell,
    ("numpy", "dtype"): Shell,
    ("numpy._core.multiarray", "scalar"): Builder(_ignore_scalar),
    ("numpy.core.multiarray", "scalar"): Builder(_ignore_scalar),
    ("torch._utils", "_rebuild_tensor_v2"): Builder(_rebuild_tensor),
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): Shell,
}


def read_nvidia(path: Path) -> dict[str, Tensor]:
    """The tensors of ``G_ema``, named as in its ``state_dict``.

    Raises:
        ModelUnavailable: the file is damaged, is no such pickle, or asks for anything but tensors.
    """
    try:
        storages = {("torch.storage", "_load_from_bytes"): Builder(_Storages(path.stat().st_size).load)}
        with path.open("rb") as file:
            content = InertReader(file, {**_KNOWN, **storages}, strict=True).load()
    except OSError as error:
        raise ModelUnavailable("model-unreadable", path=str(path), reason=error.strerror) from error
    # A damaged pickle may fail in any way.
    except Exception as error:
        raise ModelUnavailable("pickle-unsafe", file=path.name, reason=get_reason(error)) from error
    average = content.get("G_ema") if isinstance(content, dict) else None
    if not isinstance(average, Shell):
        raise ModelUnavailable("pickle-without-generator", file=path.name)
    return collect_tensors(average, Tensor)
