"""A graphics card that is none: tensors on it are computed by the processor, under the rules of a real one.

As on a real card, operations between it and the processor's memory are errors, and as on Apple's MPS there are no
numbers in double precision. So whatever runs here moves what it has to, and computes nothing that MPS can't.

PyTorch lets one further device be defined in Python, which is this one; it has a name of its own, for "cuda" and "mps"
can't be defined anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("fakegpu")
DEVICE = torch.device("fakegpu", 0)
_RESHAPES_IN_PLACE = ("aten::squeeze_", "aten::unsqueeze_", "aten::t_", "aten::transpose_")
_MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


# ``torch.tensor`` and ``new_tensor`` pass by what is below; they need these.
_LIBRARY = torch.library.Library("aten", "IMPL")


class OnCard(torch.Tensor):
    """A tensor that says it is on the card; ``raw`` has its values."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> OnCard:
        if raw.dtype == torch.float64:
            raise TypeError("Cannot convert a tensor to float64: this card has no double precision.")
        made: OnCard = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, raw.size(), strides=raw.stride(), storage_offset=raw.storage_offset(), dtype=raw.dtype, device=DEVICE
        )
        made.raw = raw
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class _Card(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


@contextmanager
def fake_gpu() -> Iterator[torch.device]:
    """Within it, tensors can be made on the card."""
    with _Card():
        yield DEVICE


def _list_tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _list_tensors(value)


def _map_tensors(convert: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """Arguments or results of an operator with other tensors in them; torch's own ``tree_map`` takes far longer."""
    if isinstance(value, torch.Tensor):
        return convert(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_map_tensors(convert, part) for part in value)
    return value


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [*_list_tensors(args), *_list_tensors(kwargs.values())]
    here = [tensor for tensor in tensors if not isinstance(tensor, OnCard)]
    on_card_tensors = [tensor for tensor in tensors if isinstance(tensor, OnCard)]
    # Scalars, and the processor's indices, may meet tensors on a card.
    mixed = on_card_tensors and any(tensor.dim() and tensor.is_floating_point() for tensor in here)
    if mixed and func not in _MOVES:
        raise RuntimeError(f"Expected all tensors of {func} to be on the same device.")
    device = kwargs.get("device")
    on_card = bool(on_card_tensors) if device is None else torch.device(device).type == DEVICE.type
    if func is torch.ops.aten.copy_.default:
        on_card = isinstance(args[0], OnCard)
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    by_id = {id(tensor.raw): tensor for tensor in on_card_tensors}

    def unwrap(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.raw if isinstance(tensor, OnCard) else tensor

    def wrap(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) in by_id:
            return by_id[id(tensor)]
        return OnCard(tensor) if on_card else tensor

    if on_card_tensors and func._schema.name in _RESHAPES_IN_PLACE:
        # The tensor that says it is on the card has to change its shape too.
        with torch._C._DisableTorchDispatch():
            func(*args, **kwargs)
    raw = {name: _map_tensors(unwrap, value) for name, value in kwargs.items()}
    return _map_tensors(wrap, func(*_map_tensors(unwrap, args), **raw))


def _empty(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> torch.Tensor:
    return OnCard(torch.empty_strided(size, stride, dtype=dtype))


def _copy(target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    raw = target.raw if isinstance(target, OnCard) else target
    raw.copy_(source.raw if isinstance(source, OnCard) else source)
    return target


_LIBRARY.impl("empty_strided", _empty, "PrivateUse1")
_LIBRARY.impl("copy_", _copy, "PrivateUse1")
