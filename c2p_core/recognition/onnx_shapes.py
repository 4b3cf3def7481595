"""ONNX's operators on shapes and positions as functions of torch: reshaping, slicing, padding, constants."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.recognition.onnx_file import MOST_ELEMENTS
from c2p_core.recognition.onnx_node import Apply, Node, Unsupported, read_ints


def make_flatten(node: Node) -> Apply:
    axis = node.get("axis", 1)
    return lambda x: x.reshape(math.prod(x.shape[: axis if axis >= 0 else axis + x.ndim]), -1)


def make_reshape(node: Node) -> Apply:
    def apply(x: Tensor, shape: Tensor) -> Tensor:
        extents = read_ints(shape) or []
        if not node.get("allowzero", 0):
            extents = [x.shape[axis] if extent == 0 else extent for axis, extent in enumerate(extents)]
        return x.reshape(extents)

    return apply


def make_transpose(node: Node) -> Apply:
    return lambda x: x.permute(node.get("perm") or list(reversed(range(x.ndim))))


def make_squeeze(node: Node) -> Apply:
    def apply(x: Tensor, axes: Tensor | None = None) -> Tensor:
        dims = read_ints(axes) or node.get("axes")
        return x.squeeze() if dims is None else x.squeeze(tuple(dims))

    return apply


def make_unsqueeze(node: Node) -> Apply:
    def apply(x: Tensor, axes: Tensor | None = None) -> Tensor:
        dims = read_ints(axes) or node.get("axes")
        rank = x.ndim + len(dims)
        for axis in sorted(axis % rank for axis in dims):
            x = x.unsqueeze(axis)
        return x

    return apply


def make_split(node: Node) -> Apply:
    axis = node.get("axis", 0)

    def apply(x: Tensor, sizes: Tensor | None = None) -> Any:
        lengths = read_ints(sizes) or node.get("split")
        return x.split(lengths or math.ceil(x.shape[axis] / node.outputs), axis)

    return apply


def make_slice(node: Node) -> Apply:
    def apply(x: Tensor, *inputs: Tensor | None) -> Tensor:
        starts, ends, axes, steps = [*map(read_ints, inputs), None, None, None, None][:4]
        starts, ends, axes = starts or node.get("starts"), ends or node.get("ends"), axes or node.get("axes")
        for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
            step = 1 if steps is None else steps[number]
            if step < 1:
                raise Unsupported("negative steps")
            index = [slice(None)] * x.ndim
            index[number if axes is None else axes[number]] = slice(start, end, step)
            x = x[tuple(index)]
        return x

    return apply


def make_gather(node: Node) -> Apply:
    axis = node.get("axis", 0)

    def apply(x: Tensor, indices: Tensor) -> Tensor:
        dim = axis % x.ndim
        flat = indices.reshape(-1).to(x.device).long()
        selected = x.index_select(dim, torch.where(flat < 0, flat + x.shape[dim], flat))
        return selected.reshape((*x.shape[:dim], *indices.shape, *x.shape[dim + 1 :]))

    return apply


def make_shape(node: Node) -> Apply:
    return lambda x: torch.tensor(list(x.shape)[slice(node.get("start", 0), node.get("end"))], dtype=torch.int64)


_TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}


def make_cast(node: Node) -> Apply:
    dtype = _TYPES.get(node.get("to"))
    if dtype is None:
        raise Unsupported(f"to = {node.get('to')}")
    # Half precision would only lose what the search needs.
    dtype = torch.float32 if dtype == torch.float16 else dtype
    return lambda x: x.to(dtype)


def make_constant(node: Node) -> Apply:
    for name, kind in (("value_float", torch.float32), ("value_int", torch.int64)):
        for plural in (name, f"{name}s"):
            if (value := node.get(plural)) is not None:
                constant = torch.tensor(value, dtype=kind)
                return lambda: constant
    value = node.get("value")
    if not isinstance(value, Tensor):
        raise Unsupported("its value")
    return lambda: value


def make_constant_of_shape(node: Node) -> Apply:
    value: Tensor = node.get("value", torch.zeros(1))

    def apply(shape: Tensor) -> Tensor:
        extents = read_ints(shape) or []
        if math.prod(extents) > MOST_ELEMENTS:
            raise Unsupported(f"shape {extents}")
        return value.reshape(-1)[0].expand(extents)

    return apply


def expand(x: Tensor, shape: Tensor) -> Tensor:
    extents = torch.broadcast_shapes(x.shape, torch.Size(read_ints(shape) or []))
    if math.prod(extents) > MOST_ELEMENTS:
        raise Unsupported(f"shape {list(extents)}")
    return x.expand(extents)


def make_pad(node: Node) -> Apply:
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(node.get("mode", "constant"))
    if mode is None:
        raise Unsupported(f"mode = {node.get('mode')}")

    def apply(x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
        flat_pads = read_ints(pads) or node.get("pads")
        padded_axes = [axis % x.ndim for axis in read_ints(axes) or range(x.ndim)]
        ends = {
            axis: (flat_pads[number], flat_pads[number + len(padded_axes)]) for number, axis in enumerate(padded_axes)
        }
        flat = [end for axis in reversed(range(x.ndim)) for end in ends.get(axis, (0, 0))]
        if mode != "constant":
            if any(flat[4:]):
                raise Unsupported(f"mode = {node.get('mode')} of other axes than the picture's")
            return F.pad(x, flat[:4], mode)
        return F.pad(x, flat, value=node.get("value", 0.0) if value is None else float(value))

    return apply
