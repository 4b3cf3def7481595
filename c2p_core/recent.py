"""Keeps the latest results of slow functions of pictures for the next run on the same photo, such as a preview."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

_Result = TypeVar("_Result")


class Recent(Generic[_Result]):
    """The latest results of a function, by the digest of its arguments; may be used from several threads."""

    def __init__(self, capacity: int) -> None:
        """``capacity``: number of results that are kept."""
        self._capacity = capacity
        self._kept: OrderedDict[bytes, _Result] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes, compute: Callable[[], _Result]) -> _Result:
        """The result kept for a key, or else that of ``compute``, which is kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        result = compute()
        with self._lock:
            self._kept[key] = result
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return result


def digest(*values: NDArray[Any] | bytes | str | float | tuple[str, ...] | None) -> bytes:
    """A digest of arguments: arrays with their shape and type, and plain values."""
    total = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray):
            total.update(repr((value.shape, value.dtype.str)).encode())
            # Row by row, so that a part of a large picture is not copied as a whole.
            for row in [value] if value.flags.c_contiguous else value:
                total.update(np.ascontiguousarray(row).data)
        elif isinstance(value, bytes):
            total.update(repr(len(value)).encode() + value)
        else:
            total.update(repr((type(value).__name__, value)).encode())
    return total.digest()
