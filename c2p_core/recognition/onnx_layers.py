"""ONNX's layers as functions of torch: convolutions, pools, normalisations, products, reductions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.recognition.onnx_node import Apply, Node, Unsupported, read_ints, without_attributes


def _compute_pads(node: Node, x: Tensor, kernel: list[int]) -> list[int]:
    """Compute the padding of a picture's axes in the order of ``F.pad``: the last axis first, before and after."""
    automatic = node.get("auto_pad", "NOTSET")
    axes = len(kernel)
    if automatic in ("NOTSET", "VALID"):
        pads = node.get("pads", [0] * 2 * axes) if automatic == "NOTSET" else [0] * 2 * axes
        return [pads[axis + end * axes] for axis in reversed(range(axes)) for end in (0, 1)]
    same_pads = []
    strides, dilations = node.get("strides", [1] * axes), node.get("dilations", [1] * axes)
    for axis in reversed(range(axes)):
        extent = x.shape[2 + axis]
        kernel_extent = (kernel[axis] - 1) * dilations[axis] + 1
        total = max((math.ceil(extent / strides[axis]) - 1) * strides[axis] + kernel_extent - extent, 0)
        ends = [total // 2, total - total // 2]
        same_pads += ends if automatic == "SAME_UPPER" else ends[::-1]
    return same_pads


def _require_picture(x: Tensor) -> None:
    if x.ndim != 4:
        raise Unsupported(f"{x.ndim} dimensions")


def make_conv(node: Node) -> Apply:
    def apply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        _require_picture(x)
        left, right, top, bottom = _compute_pads(node, x, list(weight.shape[2:]))
        pad: int | tuple[int, int] = (top, left)
        if (left, top) != (right, bottom):
            x, pad = F.pad(x, (left, right, top, bottom)), 0
        strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
        return F.conv2d(x, weight, bias, strides, pad, dilations, node.get("group", 1))

    return apply


def make_max_pool(node: Node) -> Apply:
    if node.outputs > 1:
        raise Unsupported("indices")

    def apply(x: Tensor) -> Tensor:
        _require_picture(x)
        kernel = node.get("kernel_shape")
        pads = _compute_pads(node, x, kernel)
        if any(pads):
            x = F.pad(x, pads, value=-math.inf)
        strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
        return F.max_pool2d(x, kernel, strides, 0, dilations, bool(node.get("ceil_mode", 0)))

    return apply


def make_average_pool(node: Node) -> Apply:
    if any(step != 1 for step in node.get("dilations", [1])):
        raise Unsupported("dilations")

    def apply(x: Tensor) -> Tensor:
        _require_picture(x)
        kernel, strides, ceil = node.get("kernel_shape"), node.get("strides", [1, 1]), bool(node.get("ceil_mode", 0))
        pads = _compute_pads(node, x, kernel)
        if not any(pads):
            return F.avg_pool2d(x, kernel, strides, 0, ceil)
        if ceil:
            raise Unsupported("ceil_mode with pads")
        means = F.avg_pool2d(F.pad(x, pads), kernel, strides)
        if node.get("count_include_pad", 0):
            return means
        return means / F.avg_pool2d(F.pad(torch.ones_like(x), pads), kernel, strides)

    return apply


def make_over_positions(reduce: Callable[..., Tensor]) -> Callable[[Node], Apply]:
    return without_attributes(lambda x: reduce(x, dim=tuple(range(2, x.ndim)), keepdim=True))


def make_batch_normalization(node: Node) -> Apply:
    if node.get("training_mode", 0) or node.outputs > 1:
        raise Unsupported("training_mode")
    if not node.get("spatial", 1):
        raise Unsupported("spatial = 0")
    epsilon = node.get("epsilon", 1e-5)
    return lambda x, scale, bias, mean, variance: F.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    channels = x.shape[1] if x.ndim > 1 else 1
    if slope.numel() == 1 or (slope.ndim == x.ndim - 1 and slope.shape[0] == channels == slope.numel()):
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


def make_gemm(node: Node) -> Apply:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)

    def apply(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        product = (a.T if node.get("transA", 0) else a) @ (b.T if node.get("transB", 0) else b)
        product = product if alpha == 1.0 else alpha * product
        return product if c is None else product + (c if beta == 1.0 else beta * c)

    return apply


def make_reduce(function: Callable[..., Tensor]) -> Callable[[Node], Apply]:
    """Reductions take their axes from an attribute or, later, from an input."""

    def make(node: Node) -> Apply:
        def apply(x: Tensor, axes: Tensor | None = None) -> Tensor:
            dims = read_ints(axes) or node.get("axes")
            if not dims and node.get("noop_with_empty_axes", 0):
                return x
            return function(x, dim=tuple(dims or range(x.ndim)), keepdim=bool(node.get("keepdims", 1)))

        return apply

    return make


def make_softmax(node: Node) -> Apply:
    if node.opset >= 13:
        return lambda x: x.softmax(node.get("axis", -1))

    def apply(x: Tensor) -> Tensor:
        axis = node.get("axis", 1) % x.ndim
        return x.reshape(math.prod(x.shape[:axis]), -1).softmax(-1).reshape(x.shape)

    return apply


def make_layer_normalization(node: Node) -> Apply:
    if node.outputs > 1:
        raise Unsupported("mean and deviation")

    def apply(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.layer_norm(x, x.shape[node.get("axis", -1) :], scale, bias, node.get("epsilon", 1e-5))

    return apply


def make_instance_normalization(node: Node) -> Apply:
    return lambda x, scale, bias: F.instance_norm(x, weight=scale, bias=bias, eps=node.get("epsilon", 1e-5))
