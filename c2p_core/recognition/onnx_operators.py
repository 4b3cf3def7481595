"""The operators of ONNX as functions of torch, for networks with gradients.

Each entry of ``OPERATORS`` has the newest definition that it follows, and makes of a node's attributes a function from
the node's inputs to its output. Older definitions give the same or are told apart by where an argument is. Source: the
operator schemas of ONNX (onnx.ai/onnx/operators), opset 7 to 25.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Apply = Callable[..., Any]
"""From the inputs of a node, None where an optional one is left out, to its output or the tuple of its outputs."""
_MOST_ELEMENTS = 1 << 28


class Unsupported(Exception):
    """A node uses what its operator's function here can't do; the text names it."""


@dataclass(frozen=True)
class Node:
    """What an operator's function depends on besides its inputs.

    Attributes:
        attributes: by name; tensors are torch's.
        outputs: how many are used.
        opset: version of the operators in the model.
    """

    attributes: Mapping[str, Any]
    outputs: int
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)


@dataclass(frozen=True)
class Operator:
    """The newest version of an operator's definition that ``make`` follows, and what makes its function."""

    newest: int
    make: Callable[[Node], Apply]


def _ints(value: Tensor | None) -> list[int] | None:
    return None if value is None else [int(entry) for entry in value.reshape(-1).tolist()]


def _same(apply: Apply) -> Callable[[Node], Apply]:
    """For operators without attributes."""
    return lambda node: apply


def _pads(node: Node, x: Tensor, kernel: list[int]) -> list[int]:
    """Padding of a picture's axes as ``F.pad`` takes it: the last axis first, before and after."""
    automatic = node.get("auto_pad", "NOTSET")
    axes = len(kernel)
    if automatic in ("NOTSET", "VALID"):
        pads = node.get("pads", [0] * 2 * axes) if automatic == "NOTSET" else [0] * 2 * axes
        return [pads[axis + end * axes] for axis in reversed(range(axes)) for end in (0, 1)]
    found = []
    strides, dilations = node.get("strides", [1] * axes), node.get("dilations", [1] * axes)
    for axis in reversed(range(axes)):
        extent = x.shape[2 + axis]
        covered = (kernel[axis] - 1) * dilations[axis] + 1
        total = max((math.ceil(extent / strides[axis]) - 1) * strides[axis] + covered - extent, 0)
        ends = [total // 2, total - total // 2]
        found += ends if automatic == "SAME_UPPER" else ends[::-1]
    return found


def _picture(x: Tensor) -> None:
    if x.ndim != 4:
        raise Unsupported(f"{x.ndim} dimensions")


def _conv(node: Node) -> Apply:
    def apply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        _picture(x)
        left, right, top, bottom = _pads(node, x, list(weight.shape[2:]))
        pad: int | tuple[int, int] = (top, left)
        if (left, top) != (right, bottom):
            x, pad = F.pad(x, (left, right, top, bottom)), 0
        strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
        return F.conv2d(x, weight, bias, strides, pad, dilations, node.get("group", 1))

    return apply


def _max_pool(node: Node) -> Apply:
    if node.outputs > 1:
        raise Unsupported("indices")

    def apply(x: Tensor) -> Tensor:
        _picture(x)
        kernel = node.get("kernel_shape")
        pads = _pads(node, x, kernel)
        if any(pads):
            x = F.pad(x, pads, value=-math.inf)
        strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
        return F.max_pool2d(x, kernel, strides, 0, dilations, bool(node.get("ceil_mode", 0)))

    return apply


def _average_pool(node: Node) -> Apply:
    if any(step != 1 for step in node.get("dilations", [1])):
        raise Unsupported("dilations")

    def apply(x: Tensor) -> Tensor:
        _picture(x)
        kernel, strides, ceil = node.get("kernel_shape"), node.get("strides", [1, 1]), bool(node.get("ceil_mode", 0))
        pads = _pads(node, x, kernel)
        if not any(pads):
            return F.avg_pool2d(x, kernel, strides, 0, ceil)
        if ceil:
            raise Unsupported("ceil_mode with pads")
        means = F.avg_pool2d(F.pad(x, pads), kernel, strides)
        if node.get("count_include_pad", 0):
            return means
        return means / F.avg_pool2d(F.pad(torch.ones_like(x), pads), kernel, strides)

    return apply


def _over_positions(reduce: Callable[..., Tensor]) -> Callable[[Node], Apply]:
    return _same(lambda x: reduce(x, dim=tuple(range(2, x.ndim)), keepdim=True))


def _batch_normalization(node: Node) -> Apply:
    if node.get("training_mode", 0) or node.outputs > 1:
        raise Unsupported("training_mode")
    if not node.get("spatial", 1):
        raise Unsupported("spatial = 0")
    epsilon = node.get("epsilon", 1e-5)
    return lambda x, scale, bias, mean, variance: F.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    channels = x.shape[1] if x.ndim > 1 else 1
    if slope.numel() == 1 or (slope.ndim == x.ndim - 1 and slope.shape[0] == channels == slope.numel()):
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


def _clip(node: Node) -> Apply:
    def apply(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        bounds = [
            node.get(name) if given is None else given.to(x.dtype) for name, given in (("min", low), ("max", high))
        ]
        return x if all(bound is None for bound in bounds) else torch.clamp(x, *bounds)

    return apply


def _gemm(node: Node) -> Apply:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)

    def apply(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        product = (a.T if node.get("transA", 0) else a) @ (b.T if node.get("transB", 0) else b)
        product = product if alpha == 1.0 else alpha * product
        return product if c is None else product + (c if beta == 1.0 else beta * c)

    return apply


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _flatten(node: Node) -> Apply:
    axis = node.get("axis", 1)
    return lambda x: x.reshape(math.prod(x.shape[: axis if axis >= 0 else axis + x.ndim]), -1)


def _reshape(node: Node) -> Apply:
    def apply(x: Tensor, shape: Tensor) -> Tensor:
        wanted = _ints(shape) or []
        if not node.get("allowzero", 0):
            wanted = [x.shape[at] if extent == 0 else extent for at, extent in enumerate(wanted)]
        return x.reshape(wanted)

    return apply


def _transpose(node: Node) -> Apply:
    return lambda x: x.permute(node.get("perm") or list(reversed(range(x.ndim))))


def _squeeze(node: Node) -> Apply:
    def apply(x: Tensor, axes: Tensor | None = None) -> Tensor:
        given = _ints(axes) or node.get("axes")
        return x.squeeze() if given is None else x.squeeze(tuple(given))

    return apply


def _unsqueeze(node: Node) -> Apply:
    def apply(x: Tensor, axes: Tensor | None = None) -> Tensor:
        given = _ints(axes) or node.get("axes")
        rank = x.ndim + len(given)
        for axis in sorted(axis % rank for axis in given):
            x = x.unsqueeze(axis)
        return x

    return apply


def _split(node: Node) -> Apply:
    axis = node.get("axis", 0)

    def apply(x: Tensor, sizes: Tensor | None = None) -> Any:
        given = _ints(sizes) or node.get("split")
        return x.split(given or math.ceil(x.shape[axis] / node.outputs), axis)

    return apply


def _slice(node: Node) -> Apply:
    def apply(x: Tensor, *given: Tensor | None) -> Tensor:
        starts, ends, axes, steps = [*map(_ints, given), None, None, None, None][:4]
        starts, ends, axes = starts or node.get("starts"), ends or node.get("ends"), axes or node.get("axes")
        for at, (start, end) in enumerate(zip(starts, ends, strict=True)):
            step = 1 if steps is None else steps[at]
            if step < 1:
                raise Unsupported("negative steps")
            index = [slice(None)] * x.ndim
            index[at if axes is None else axes[at]] = slice(start, end, step)
            x = x[tuple(index)]
        return x

    return apply


def _gather(node: Node) -> Apply:
    axis = node.get("axis", 0)

    def apply(x: Tensor, indices: Tensor) -> Tensor:
        at = axis % x.ndim
        flat = indices.reshape(-1).to(x.device).long()
        found = x.index_select(at, torch.where(flat < 0, flat + x.shape[at], flat))
        return found.reshape((*x.shape[:at], *indices.shape, *x.shape[at + 1 :]))

    return apply


def _shape(node: Node) -> Apply:
    return lambda x: torch.tensor(list(x.shape)[slice(node.get("start", 0), node.get("end"))], dtype=torch.int64)


_TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}


def _cast(node: Node) -> Apply:
    wanted = _TYPES.get(node.get("to"))
    if wanted is None:
        raise Unsupported(f"to = {node.get('to')}")
    # Half precision would only lose what the search needs.
    wanted = torch.float32 if wanted == torch.float16 else wanted
    return lambda x: x.to(wanted)


def _constant(node: Node) -> Apply:
    for name, kind in (("value_float", torch.float32), ("value_int", torch.int64)):
        for plural in (name, f"{name}s"):
            if (value := node.get(plural)) is not None:
                made = torch.tensor(value, dtype=kind)
                return lambda: made
    value = node.get("value")
    if not isinstance(value, Tensor):
        raise Unsupported("its value")
    return lambda: value


def _constant_of_shape(node: Node) -> Apply:
    value: Tensor = node.get("value", torch.zeros(1))
    if value.is_floating_point():
        raise Unsupported("fractions")  # it would not know on which device

    def apply(shape: Tensor) -> Tensor:
        extents = _ints(shape) or []
        if math.prod(extents) > _MOST_ELEMENTS:
            raise Unsupported(f"shape {extents}")
        return value.reshape(-1)[0].expand(extents)

    return apply


def _expand(x: Tensor, shape: Tensor) -> Tensor:
    extents = torch.broadcast_shapes(x.shape, torch.Size(_ints(shape) or []))
    if math.prod(extents) > _MOST_ELEMENTS:
        raise Unsupported(f"shape {list(extents)}")
    return x.expand(extents)


def _pad(node: Node) -> Apply:
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(node.get("mode", "constant"))
    if mode is None:
        raise Unsupported(f"mode = {node.get('mode')}")

    def apply(x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
        given = _ints(pads) or node.get("pads")
        named = [axis % x.ndim for axis in _ints(axes) or range(x.ndim)]
        ends = {axis: (given[at], given[at + len(named)]) for at, axis in enumerate(named)}
        flat = [end for axis in reversed(range(x.ndim)) for end in ends.get(axis, (0, 0))]
        if mode != "constant":
            if any(flat[4:]):
                raise Unsupported(f"mode = {node.get('mode')} of other axes than the picture's")
            return F.pad(x, flat[:4], mode)
        return F.pad(x, flat, value=node.get("value", 0.0) if value is None else float(value))

    return apply


def _reduce(function: Callable[..., Tensor]) -> Callable[[Node], Apply]:
    """Reductions take their axes from an attribute or, later, from an input."""

    def make(node: Node) -> Apply:
        def apply(x: Tensor, axes: Tensor | None = None) -> Tensor:
            given = _ints(axes) or node.get("axes")
            if not given and node.get("noop_with_empty_axes", 0):
                return x
            return function(x, dim=tuple(given or range(x.ndim)), keepdim=bool(node.get("keepdims", 1)))

        return apply

    return make


def _softmax(node: Node) -> Apply:
    if node.opset >= 13:
        return lambda x: x.softmax(node.get("axis", -1))

    def apply(x: Tensor) -> Tensor:
        axis = node.get("axis", 1) % x.ndim
        return x.reshape(math.prod(x.shape[:axis]), -1).softmax(-1).reshape(x.shape)

    return apply


def _layer_normalization(node: Node) -> Apply:
    if node.outputs > 1:
        raise Unsupported("mean and deviation")

    def apply(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.layer_norm(x, x.shape[node.get("axis", -1) :], scale, bias, node.get("epsilon", 1e-5))

    return apply


def _instance_normalization(node: Node) -> Apply:
    return lambda x, scale, bias: F.instance_norm(x, weight=scale, bias=bias, eps=node.get("epsilon", 1e-5))


def _variadic(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Node], Apply]:
    def apply(first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = function(first, other)
        return first

    return _same(apply)


def _dropout(node: Node) -> Apply:
    if node.outputs > 1:
        raise Unsupported("its mask")
    return lambda x, *options: x


OPERATORS: dict[str, Operator] = {
    "Abs": Operator(13, _same(torch.abs)),
    "Add": Operator(14, _same(torch.add)),
    "AveragePool": Operator(22, _average_pool),
    "BatchNormalization": Operator(15, _batch_normalization),
    "Cast": Operator(28, _cast),
    "Clip": Operator(13, _clip),
    "Concat": Operator(13, lambda node: lambda *parts: torch.cat(parts, node.get("axis"))),
    "Constant": Operator(25, _constant),
    "ConstantOfShape": Operator(25, _constant_of_shape),
    "Conv": Operator(22, _conv),
    "Div": Operator(14, _same(_divide)),
    "Dropout": Operator(22, _dropout),
    "Elu": Operator(22, lambda node: lambda x: F.elu(x, node.get("alpha", 1.0))),
    "Erf": Operator(13, _same(torch.erf)),
    "Exp": Operator(13, _same(torch.exp)),
    "Expand": Operator(13, _same(_expand)),
    "Flatten": Operator(25, _flatten),
    "Gather": Operator(13, _gather),
    "Gelu": Operator(20, lambda node: lambda x: F.gelu(x, approximate=node.get("approximate", "none"))),
    "Gemm": Operator(13, _gemm),
    "GlobalAveragePool": Operator(22, _over_positions(torch.mean)),
    "GlobalMaxPool": Operator(22, _over_positions(torch.amax)),
    "HardSigmoid": Operator(
        22, lambda node: lambda x: (x * node.get("alpha", 0.2) + node.get("beta", 0.5)).clamp(0.0, 1.0)
    ),
    "HardSwish": Operator(22, _same(F.hardswish)),
    "Identity": Operator(25, _same(lambda x: x)),
    "InstanceNormalization": Operator(22, _instance_normalization),
    "LayerNormalization": Operator(17, _layer_normalization),
    "LeakyRelu": Operator(16, lambda node: lambda x: F.leaky_relu(x, node.get("alpha", 0.01))),
    "LpNormalization": Operator(
        22, lambda node: lambda x: F.normalize(x, node.get("p", 2), node.get("axis", -1), eps=1e-30)
    ),
    "MatMul": Operator(13, _same(torch.matmul)),
    "Max": Operator(13, _variadic(torch.maximum)),
    "MaxPool": Operator(22, _max_pool),
    "Min": Operator(13, _variadic(torch.minimum)),
    "Mul": Operator(14, _same(torch.mul)),
    "Neg": Operator(13, _same(torch.neg)),
    "PRelu": Operator(16, _same(_prelu)),
    "Pad": Operator(25, _pad),
    "Pow": Operator(15, _same(torch.pow)),
    "Reciprocal": Operator(13, _same(torch.reciprocal)),
    "ReduceL2": Operator(18, _reduce(torch.linalg.vector_norm)),
    "ReduceMax": Operator(20, _reduce(torch.amax)),
    "ReduceMean": Operator(18, _reduce(torch.mean)),
    "ReduceSum": Operator(13, _reduce(torch.sum)),
    "Relu": Operator(14, _same(torch.relu)),
    "Reshape": Operator(25, _reshape),
    "Shape": Operator(25, _shape),
    "Sigmoid": Operator(13, _same(torch.sigmoid)),
    "Slice": Operator(13, _slice),
    "Softmax": Operator(13, _softmax),
    "Softplus": Operator(22, _same(F.softplus)),
    "Split": Operator(18, _split),
    "Sqrt": Operator(13, _same(torch.sqrt)),
    "Squeeze": Operator(25, _squeeze),
    "Sub": Operator(14, _same(torch.sub)),
    "Tanh": Operator(13, _same(torch.tanh)),
    "Transpose": Operator(25, _transpose),
    "Unsqueeze": Operator(25, _unsqueeze),
}
"""By name, in ONNX's own domain."""
