"""The operators of ONNX as functions of torch, for networks with gradients.

Each entry of ``OPERATORS`` states the newest definition that it follows, and turns a node's attributes into a function
from the node's inputs to its output. Older definitions give the same result or differ in the place of an argument.
Source: the operator schemas of ONNX (onnx.ai/onnx/operators), opset 7 to 25.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.recognition.onnx_layers import (
    make_average_pool,
    make_batch_normalization,
    make_conv,
    make_gemm,
    make_instance_normalization,
    make_layer_normalization,
    make_max_pool,
    make_over_positions,
    make_reduce,
    make_softmax,
    prelu,
)
from c2p_core.recognition.onnx_node import Apply, Node, Operator, Unsupported, without_attributes
from c2p_core.recognition.onnx_shapes import (
    expand,
    make_cast,
    make_constant,
    make_constant_of_shape,
    make_flatten,
    make_gather,
    make_pad,
    make_reshape,
    make_shape,
    make_slice,
    make_split,
    make_squeeze,
    make_transpose,
    make_unsqueeze,
)


def _make_clip(node: Node) -> Apply:
    def apply(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        bounds = [
            node.get(name) if bound is None else bound.to(x.dtype) for name, bound in (("min", low), ("max", high))
        ]
        return x if all(bound is None for bound in bounds) else torch.clamp(x, *bounds)

    return apply


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _choose(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    # Values computed from extents are not on the graphics card.
    return torch.where(condition.to(yes.device), yes, no.to(yes.device))


def _make_variadic(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Node], Apply]:
    def apply(first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = function(first, other)
        return first

    return without_attributes(apply)


def _make_dropout(node: Node) -> Apply:
    if node.outputs > 1:
        raise Unsupported("its mask")
    return lambda x, *options: x


OPERATORS: dict[str, Operator] = {
    "Abs": Operator(13, without_attributes(torch.abs)),
    "Add": Operator(14, without_attributes(torch.add)),
    "AveragePool": Operator(22, make_average_pool),
    "BatchNormalization": Operator(15, make_batch_normalization),
    "Cast": Operator(28, make_cast),
    "Clip": Operator(13, _make_clip),
    "Concat": Operator(13, lambda node: lambda *parts: torch.cat(parts, node.get("axis"))),
    "Constant": Operator(25, make_constant),
    "ConstantOfShape": Operator(25, make_constant_of_shape),
    "Conv": Operator(22, make_conv),
    "Div": Operator(14, without_attributes(_divide)),
    "Dropout": Operator(22, _make_dropout),
    "Elu": Operator(22, lambda node: lambda x: F.elu(x, node.get("alpha", 1.0))),
    "Equal": Operator(19, without_attributes(torch.eq)),
    "Erf": Operator(13, without_attributes(torch.erf)),
    "Exp": Operator(13, without_attributes(torch.exp)),
    "Expand": Operator(13, without_attributes(expand)),
    "Flatten": Operator(25, make_flatten),
    "Gather": Operator(13, make_gather),
    "Gelu": Operator(20, lambda node: lambda x: F.gelu(x, approximate=node.get("approximate", "none"))),
    "Gemm": Operator(13, make_gemm),
    "GlobalAveragePool": Operator(22, make_over_positions(torch.mean)),
    "GlobalMaxPool": Operator(22, make_over_positions(torch.amax)),
    "HardSigmoid": Operator(
        22, lambda node: lambda x: (x * node.get("alpha", 0.2) + node.get("beta", 0.5)).clamp(0.0, 1.0)
    ),
    "HardSwish": Operator(22, without_attributes(F.hardswish)),
    "Identity": Operator(25, without_attributes(lambda x: x)),
    "InstanceNormalization": Operator(22, make_instance_normalization),
    "LayerNormalization": Operator(17, make_layer_normalization),
    "LeakyRelu": Operator(16, lambda node: lambda x: F.leaky_relu(x, node.get("alpha", 0.01))),
    "LpNormalization": Operator(
        22, lambda node: lambda x: F.normalize(x, node.get("p", 2), node.get("axis", -1), eps=1e-30)
    ),
    "MatMul": Operator(13, without_attributes(torch.matmul)),
    "Max": Operator(13, _make_variadic(torch.maximum)),
    "MaxPool": Operator(22, make_max_pool),
    "Min": Operator(13, _make_variadic(torch.minimum)),
    "Mod": Operator(13, lambda node: torch.fmod if node.get("fmod", 0) else torch.remainder),
    "Mul": Operator(14, without_attributes(torch.mul)),
    "Neg": Operator(13, without_attributes(torch.neg)),
    "PRelu": Operator(16, without_attributes(prelu)),
    "Pad": Operator(25, make_pad),
    "Pow": Operator(15, without_attributes(torch.pow)),
    "Reciprocal": Operator(13, without_attributes(torch.reciprocal)),
    "ReduceL2": Operator(18, make_reduce(torch.linalg.vector_norm)),
    "ReduceMax": Operator(20, make_reduce(torch.amax)),
    "ReduceMean": Operator(18, make_reduce(torch.mean)),
    "ReduceSum": Operator(13, make_reduce(torch.sum)),
    "Relu": Operator(14, without_attributes(torch.relu)),
    "Reshape": Operator(25, make_reshape),
    "Shape": Operator(25, make_shape),
    "Sigmoid": Operator(13, without_attributes(torch.sigmoid)),
    "Slice": Operator(13, make_slice),
    "Softmax": Operator(13, make_softmax),
    "Softplus": Operator(22, without_attributes(F.softplus)),
    "Split": Operator(18, make_split),
    "Sqrt": Operator(13, without_attributes(torch.sqrt)),
    "Squeeze": Operator(25, make_squeeze),
    "Sub": Operator(14, without_attributes(torch.sub)),
    "Tanh": Operator(13, without_attributes(torch.tanh)),
    "Transpose": Operator(25, make_transpose),
    "Unsqueeze": Operator(25, make_unsqueeze),
    "Where": Operator(16, without_attributes(_choose)),
}
"""By name, in ONNX's own domain."""
