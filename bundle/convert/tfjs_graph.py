"""Runs frozen TensorFlow.js graph models in torch, with gradients.

The graph is compiled into a list of torch modules: constants become weights in torch's order, scales and offsets are
folded into the convolution before them, chains of minimum and maximum become one clamp, and the parts of a PReLU become
one. Tensors keep TensorFlow's order (batch, row, column, channel), which torch's convolutions read as channels-last
without a copy, so reductions, reshapes and per-channel constants need no special case.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from conversion import Linear
from numpy.typing import NDArray
from tfjs_file import Graph, Node, UnreadableGraph, read_tfjs_graph
from torch import Tensor, nn

from c2p_core.recognition.tf_layers import Clamp, same_padding

_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "AddV2": torch.add,
    "BiasAdd": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
}


class _Activation(nn.Module):
    """A clamp or a PReLU on tensors with the channel in dimension 1; overwrites its input."""

    def __init__(self) -> None:
        super().__init__()
        self.low = -math.inf
        self.high = math.inf
        self.register_buffer("slopes", None)
        self.slopes: Tensor | None

    @property
    def is_identity(self) -> bool:
        return self.slopes is None and self.low == -math.inf and self.high == math.inf

    def clamp_min(self, bound: float) -> None:
        self.low, self.high = max(self.low, bound), max(self.high, bound)

    def clamp_max(self, bound: float) -> None:
        self.low, self.high = min(self.low, bound), min(self.high, bound)

    def forward(self, x: Tensor) -> Tensor:
        if self.slopes is not None:
            return F.prelu(x, self.slopes)
        if self.high == math.inf:
            return F.relu_(x) if self.low == 0 else x.clamp(min=self.low)
        if self.low == -math.inf:
            return x.clamp(max=self.high)
        clamped: Tensor = Clamp.apply(x, self.low, self.high)  # type: ignore[no-untyped-call]
        return clamped


class _Step(nn.Module):
    """A computation followed by ``activation``."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = _Activation()

    def activate(self, x: Tensor) -> Tensor:
        """Apply the activation to a fresh tensor whose channel is in dimension 1."""
        result: Tensor = self.activation(x)
        return result

    def activate_channel_last(self, x: Tensor) -> Tensor:
        """Apply the activation to a copy of a tensor whose channel is last."""
        return x if self.activation.is_identity else self.activate(x.clone().movedim(-1, 1)).movedim(1, -1)


class _Weighted(_Step):
    """A linear map with a bias, into which per-channel operations that follow can be folded."""

    bias: Tensor

    @abstractmethod
    def scale(self, factor: Tensor) -> None:
        """Scale each channel of the result."""

    def shift(self, offset: Tensor) -> None:
        self.bias += offset


class _Conv(_Weighted):
    """A convolution, ordinary or depthwise; ``pads`` is None for SAME, else (top, bottom, left, right)."""

    def __init__(
        self,
        weight: Tensor,
        groups: int,
        strides: tuple[int, int],
        dilations: tuple[int, int],
        pads: tuple[int, int, int, int] | None,
    ) -> None:
        super().__init__()
        self.groups, self.strides, self.dilations, self.pads = groups, strides, dilations, pads
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", torch.zeros(weight.shape[0]))
        self.weight: Tensor

    def scale(self, factor: Tensor) -> None:
        self.weight *= factor.expand(len(self.bias))[:, None, None, None]
        self.bias *= factor

    @property
    def _pointwise(self) -> bool:
        return self.weight.shape[2:] == (1, 1) and self.groups == 1 and self.strides == (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self._pointwise and self.pads in (None, (0, 0, 0, 0)):
            # Much faster as a matrix product than torch's convolution at batch size 1.
            rows = torch.addmm(self.bias, x.reshape(-1, x.shape[3]), self.weight[:, :, 0, 0].t())
            return self.activate(rows).view(*x.shape[:3], -1)
        x = x.permute(0, 3, 1, 2)
        top, bottom, left, right = self.pads if self.pads is not None else self._compute_same_pads(x)
        weight = self.weight
        if (top, left) != (bottom, right):
            if self.groups > 1 and (bottom - top, right - left) == (1, 1) and self.dilations == (1, 1):
                # One more pixel after than before: pad both sides equally, with a kernel that ignores the first pixel.
                weight = F.pad(weight, (1, 0, 1, 0))
                top, left = bottom, right
            else:
                x = F.pad(x, (left, right, top, bottom))
                top, left = 0, 0
        x = F.conv2d(x, weight, self.bias, self.strides, (top, left), self.dilations, self.groups)
        return self.activate(x).permute(0, 2, 3, 1)

    def _compute_same_pads(self, x: Tensor) -> tuple[int, int, int, int]:
        rows, columns = (
            dilation * (kernel - 1) + 1 for dilation, kernel in zip(self.dilations, self.weight.shape[2:], strict=True)
        )
        return same_padding(x.shape[2], rows, self.strides[0]) + same_padding(x.shape[3], columns, self.strides[1])


class _MatMul(_Weighted):
    """(batch, in) times a constant (in, out)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", torch.zeros(weight.shape[1]))
        self.weight: Tensor

    def scale(self, factor: Tensor) -> None:
        self.weight *= factor
        self.bias *= factor

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(torch.addmm(self.bias, x, self.weight))


class _Affine(_Weighted):
    """A factor and an offset, scalar or per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(1))
        self.register_buffer("bias", torch.zeros(1))
        self.factor: Tensor

    def scale(self, factor: Tensor) -> None:
        self.factor = self.factor * factor
        self.bias = self.bias * factor

    def shift(self, offset: Tensor) -> None:
        self.bias = self.bias + offset

    def forward(self, x: Tensor) -> Tensor:
        return self.activate_channel_last(x * self.factor + self.bias)


class _Binary(_Step):
    """An element-wise operation on two computed values."""

    def __init__(self, op: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.op = op

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.activate_channel_last(self.op(a, b))


class _Pad(_Step):
    """Zeros around rows and columns: (top, bottom, left, right)."""

    def __init__(self, pads: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.pads = pads

    def forward(self, x: Tensor) -> Tensor:
        top, bottom, left, right = self.pads
        return self.activate_channel_last(F.pad(x, (0, 0, left, right, top, bottom)))


class _Mean(_Step):
    def __init__(self, axes: list[int], keep: bool) -> None:
        super().__init__()
        self.axes, self.keep = axes, keep

    def forward(self, x: Tensor) -> Tensor:
        return self.activate_channel_last(x.mean(self.axes, keepdim=self.keep))


class _Reshape(_Step):
    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return self.activate_channel_last(x.reshape(self.shape))


class TfjsGraph(nn.Module):
    """A compiled graph: maps (B, rows, columns, channels), TensorFlow's order, to its output."""

    def __init__(self, steps: Sequence[_Step], wiring: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        self._wiring = list(wiring)

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for step, inputs in zip(self.steps, self._wiring, strict=True):
            values.append(step(*(values[i] for i in inputs)))
        return values[-1]

    def list_convolutions(self) -> list[Linear]:
        """List all convolutions in order, with the operations folded into them."""
        return [Linear(s.weight, s.bias, s.activation.slopes) for s in self.steps if isinstance(s, _Conv)]

    def get_dense(self) -> tuple[Tensor, Tensor]:
        """The weight, (outputs, inputs), and the bias of the graph's only matrix product."""
        (step,) = (step for step in self.steps if isinstance(step, _MatMul))
        return step.weight.t(), step.bias


class _Compiler:
    """Compiles topologically sorted nodes into steps. Value 0 is the graph's input."""

    def __init__(self, graph: Graph, order: Sequence[Node]) -> None:
        self._constants = graph.constants
        self._uses = Counter(name for node in order for name in node.inputs)
        self._slots: dict[str, int] = {}
        self.steps: list[_Step] = []
        self.wiring: list[tuple[int, ...]] = []
        for node in order:
            self._slots[node.name] = self._compile(node)

    def _get_constant(self, node: Node, position: int) -> Tensor:
        if position >= len(node.inputs) or node.inputs[position] not in self._constants:
            raise _make_unsupported_error(node, "a computed value where only constants are supported")
        return torch.tensor(self._constants[node.inputs[position]])

    def _emit(self, step: _Step, *inputs: int) -> int:
        self.steps.append(step)
        self.wiring.append(inputs)
        return len(self.steps)

    def _find_producer(self, name: str) -> _Step | None:
        """The step that computes ``name``, if it has a single reader and may thus be modified; else None."""
        slot = self._slots[name]
        return self.steps[slot - 1] if slot > 0 and self._uses[name] == 1 else None

    def _compile(self, node: Node) -> int:
        if node.op == "Placeholder":
            return 0
        if node.op == "Identity":
            self._uses[node.inputs[0]] += self._uses[node.name] - 1
            return self._slots[node.inputs[0]]
        if node.op in ("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative"):
            return self._compile_convolution(node)
        if node.op in ("MatMul", "_FusedMatMul"):
            if node.get_flag("transpose_a"):
                raise _make_unsupported_error(node, "transpose_a")
            weight = self._get_constant(node, 1)
            weight = weight.t() if node.get_flag("transpose_b") else weight
            return self._emit_fused(node, _MatMul(weight.contiguous()))
        if node.op in _BINARY:
            return self._compile_binary(node)
        if node.op in ("Relu", "Relu6", "Prelu"):
            return self._compile_activation(node)
        source = self._slots[node.inputs[0]]
        if node.op == "Pad":
            pads = self._get_constant(node, 1).tolist()
            if len(pads) != 4 or pads[0] != [0, 0] or pads[3] != [0, 0]:
                raise _make_unsupported_error(node, f"paddings {pads}")
            return self._emit(_Pad((*pads[1], *pads[2])), source)
        if node.op == "Mean":
            axes = self._get_constant(node, 1).flatten().tolist()
            return self._emit(_Mean(axes, node.get_flag("keep_dims")), source)
        if node.op == "Reshape":
            return self._emit(_Reshape(self._get_constant(node, 1).tolist()), source)
        raise UnreadableGraph(f"The model needs the TensorFlow operation {node.op} ({node.name}), which is not there.")

    def _compile_convolution(self, node: Node) -> int:
        if node.get_text("data_format", "NHWC") != "NHWC":
            raise _make_unsupported_error(node, "a data format other than NHWC")
        weight = self._get_constant(node, 1)  # (rows, columns, in, out), depthwise: (rows, columns, in, multiplier)
        groups = 1
        if "Depthwise" in node.op:
            groups = weight.shape[2]
            weight = weight.flatten(2)[:, :, None]
        strides, dilations = node.get_integers("strides")[1:3], (node.get_integers("dilations") or [1, 1, 1, 1])[1:3]
        padding = node.get_text("padding", "VALID")
        if padding not in ("SAME", "VALID"):
            raise _make_unsupported_error(node, f"{padding} padding")
        pads = None if padding == "SAME" else (0, 0, 0, 0)
        source, producer = self._slots[node.inputs[0]], self._find_producer(node.inputs[0])
        if isinstance(producer, _Pad) and producer.activation.is_identity and source == len(self.steps) and pads:
            pads = producer.pads
            self.steps.pop()
            (source,) = self.wiring.pop()
        step = _Conv(weight.permute(3, 2, 0, 1), groups, (strides[0], strides[1]), (dilations[0], dilations[1]), pads)
        return self._emit_fused(node, step, source)

    def _emit_fused(self, node: Node, step: _Weighted, source: int | None = None) -> int:
        """Emit ``step`` with the operations that TensorFlow's converter fused into it."""
        position = 2
        for name in node.get_texts("fused_ops"):
            if name == "BiasAdd":
                step.shift(self._get_constant(node, position))
                position += 1
            elif name == "Prelu":
                step.activation.slopes = self._get_constant(node, position).flatten()
                position += 1
            elif name in ("Relu", "Relu6"):
                _clamp(step.activation, name)
            else:
                raise _make_unsupported_error(node, f"a fused {name}")
        return self._emit(step, self._slots[node.inputs[0]] if source is None else source)

    def _compile_binary(self, node: Node) -> int:
        constants = [name in self._constants for name in node.inputs]
        if not any(constants):
            return self._emit(_Binary(_BINARY[node.op]), *(self._slots[name] for name in node.inputs))
        if all(constants):
            raise _make_unsupported_error(node, "two constants")
        position = constants.index(True)
        value, name = self._get_constant(node, position).float(), node.inputs[1 - position]
        if node.op in ("Maximum", "Minimum"):
            if value.numel() != 1:
                raise _make_unsupported_error(node, "a bound for each channel")
            step, slot = self._find_modifiable_step(name, lambda step: step.activation.slopes is None)
            bound = step.activation.clamp_min if node.op == "Maximum" else step.activation.clamp_max
            bound(float(value))
            return slot
        if value.ndim > 1 and value.numel() != value.shape[-1]:
            raise _make_unsupported_error(node, f"a constant of shape {tuple(value.shape)}")
        value = value.flatten()
        step, slot = self._find_modifiable_step(
            name, lambda step: isinstance(step, _Weighted) and step.activation.is_identity
        )
        assert isinstance(step, _Weighted)
        if node.op == "Mul":
            step.scale(value)
        elif node.op == "Sub" and position == 0:  # constant minus value
            step.scale(torch.tensor([-1.0]))
            step.shift(value)
        else:
            step.shift(-value if node.op == "Sub" else value)
        return slot

    def _compile_activation(self, node: Node) -> int:
        step, slot = self._find_modifiable_step(node.inputs[0], lambda step: step.activation.slopes is None)
        if node.op != "Prelu":
            _clamp(step.activation, node.op)
            return slot
        if not step.activation.is_identity:
            step, slot = self._append_identity(node.inputs[0])
        step.activation.slopes = self._get_constant(node, 1).flatten()
        return slot

    def _find_modifiable_step(self, name: str, may_change: Callable[[_Step], bool]) -> tuple[_Step, int]:
        """Find the step that computes ``name`` if it may be modified, else append an identity step."""
        step = self._find_producer(name)
        if step is not None and may_change(step):
            return step, self._slots[name]
        return self._append_identity(name)

    def _append_identity(self, name: str) -> tuple[_Step, int]:
        step = _Affine()
        return step, self._emit(step, self._slots[name])


def _clamp(activation: _Activation, op: str) -> None:
    activation.clamp_min(0.0)
    if op == "Relu6":
        activation.clamp_max(6.0)


def _make_unsupported_error(node: Node, feature: str) -> UnreadableGraph:
    return UnreadableGraph(f"The model's operation {node.op} ({node.name}) uses {feature}, which is not supported.")


def _merge_prelus(graph: Graph) -> dict[str, Node]:
    """Replace every max(x, 0) + slope * min(x, 0) by one Prelu node."""

    def find_bounded_input(name: str, op: str) -> str | None:
        """Return x if ``name`` is op(x, 0)."""
        node = graph.nodes[name]
        others = [i for i in node.inputs if not _is_zero(graph.constants.get(i))]
        return others[0] if node.op == op and len(node.inputs) == 2 and len(others) == 1 else None

    nodes = dict(graph.nodes)
    for node in graph.nodes.values():
        if node.op not in ("Add", "AddV2"):
            continue
        for positive, negative in (node.inputs, node.inputs[::-1]):
            product = graph.nodes[negative]
            if product.op != "Mul":
                continue
            for slopes, part in (product.inputs, product.inputs[::-1]):
                x = find_bounded_input(positive, "Maximum")
                if x is not None and slopes in graph.constants and find_bounded_input(part, "Minimum") == x:
                    nodes[node.name] = replace(node, op="Prelu", inputs=(x, slopes))
    return nodes


def _is_zero(value: NDArray[Any] | None) -> bool:
    return value is not None and value.size == 1 and not np.any(value)


def _sort_nodes(nodes: dict[str, Node], constants: dict[str, NDArray[Any]], output: str) -> list[Node]:
    """Sort the nodes that ``output`` depends on topologically, without constants."""
    order: dict[str, Node] = {}
    open_nodes: set[str] = set()
    stack = [output]
    while stack:
        name = stack[-1]
        if name not in nodes:
            raise UnreadableGraph(f"The model has no value {name!r}.")
        waiting = [i for i in nodes[name].inputs if i not in order and i not in constants]
        if name in order or not waiting:
            order.setdefault(name, nodes[name])
            open_nodes.discard(name)
            stack.pop()
        elif name in open_nodes:
            raise UnreadableGraph(f"The model's operations run in a circle at {name!r}.")
        else:
            open_nodes.add(name)
            stack += waiting
    return list(order.values())


def compile_graph(graph: Graph, output: str) -> TfjsGraph:
    """Compile the part of a graph that one output depends on.

    Args:
        graph: the whole model.
        output: name of the output node.

    Raises:
        UnreadableGraph: an operation is not supported; the message names it.
    """
    compiler = _Compiler(graph, _sort_nodes(_merge_prelus(graph), graph.constants, output))
    return TfjsGraph(compiler.steps, compiler.wiring).eval()


def load_tfjs_graph(path: Path, output: str) -> TfjsGraph:
    """Read and compile ``path`` (a ``.json``) up to the node ``output``."""
    return compile_graph(read_tfjs_graph(path), output)
