"""A model in ONNX as a network of torch, through which gradients flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from c2p_core.errors import first_line
from c2p_core.gpu_memory import is_out_of_gpu_memory
from c2p_core.recognition.onnx_file import OnnxFile
from c2p_core.recognition.onnx_node import Apply, Node, Unsupported
from c2p_core.recognition.onnx_operators import OPERATORS

if TYPE_CHECKING:
    from onnx import AttributeProto, NodeProto, TensorProto

_OLDEST_OPSET = 7  # before it, operators broadcast otherwise
_ONNX_DOMAINS = ("", "ai.onnx")


class Unconvertible(Exception):
    """Some operators of a model can't be converted.

    Attributes:
        operators: their names, each with the unsupported feature if it is not the whole operator.
    """

    def __init__(self, operators: Sequence[str]) -> None:
        super().__init__(", ".join(operators))
        self.operators = tuple(operators)


@dataclass(frozen=True)
class _Step:
    """One operator: its function and the names of its inputs and outputs; ``last``: inputs that are not used later."""

    operator: str
    apply: Apply
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    last: tuple[str, ...]


class OnnxNetwork(nn.Module):
    """Maps the input of a model to its first output; weights are buffers in single precision."""

    def __init__(self, file: OnnxFile) -> None:
        """Convert a model.

        Raises:
            Unconvertible: it has operators that ``onnx_operators`` does not know.
        """
        super().__init__()
        graph = file.model.graph
        stored = {tensor.name: _to_torch(tensor) for tensor in graph.initializer}
        self._steps, constants = _build_steps(file, set(stored))
        self._input, self._output = file.input, graph.output[0].name
        # Extents and axes stay on the CPU, where reading them does not wait for a graphics card.
        self._integers: dict[str, Tensor] = {}
        self._weights: dict[str, str] = {}
        for number, (name, value) in enumerate((stored | constants).items()):
            if value.is_floating_point():
                self._weights[name] = f"weight{number}"
                self.register_buffer(f"weight{number}", value)
            else:
                self._integers[name] = value

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, lambda step, inputs: step.apply(*inputs))

    def rehearse(self, x: Tensor) -> Tensor:
        """Like ``forward``, but reports operators that turn out to be unsupported for their inputs.

        Raises:
            Unconvertible: names the operator that fails.
        """

        def apply(step: _Step, inputs: list[Tensor | None]) -> Any:
            try:
                return step.apply(*inputs)
            except Unsupported as error:
                raise Unconvertible([f"{step.operator} ({error})"]) from error
            # The inputs of operators in a hostile or unusual model may cause any error.
            except Exception as error:
                # There may be enough memory at another time or on another device.
                if isinstance(error, MemoryError) or is_out_of_gpu_memory(error):
                    raise
                raise Unconvertible([f"{step.operator} ({first_line(error)})"]) from error

        return self._run(x, apply)

    def _run(self, x: Tensor, apply: Callable[[_Step, list[Tensor | None]], Any]) -> Tensor:
        values: dict[str, Tensor] = {**self._integers, self._input: x}
        values |= {name: self.get_buffer(buffer) for name, buffer in self._weights.items()}
        for step in self._steps:
            outputs = apply(step, [_move(values[name], x.device) if name else None for name in step.inputs])
            values.update(zip(step.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=False))
            for name in step.last:
                del values[name]
        return values[self._output]


def _move(value: Tensor, device: torch.device) -> Tensor:
    """Move floats to the device; those computed from extents start on the CPU."""
    return value.to(device) if value.is_floating_point() else value


def _build_steps(file: OnnxFile, stored: set[str]) -> tuple[tuple[_Step, ...], dict[str, Tensor]]:
    """Build the steps in order, and the values of constants.

    Args:
        file: the model.
        stored: names of its weights.

    Raises:
        Unconvertible: names all operators that have no function.
    """
    graph = file.model.graph
    opset = next((entry.version for entry in file.model.opset_import if entry.domain in _ONNX_DOMAINS), 0)
    if opset < _OLDEST_OPSET:
        raise Unconvertible([f"opset {opset}"])
    refused: dict[str, None] = {}
    operators: list[tuple[NodeProto, Apply]] = []
    constants: dict[str, Tensor] = {}
    for node in graph.node:
        try:
            apply = _make_function(node, opset)
        except Unsupported as error:
            refused[str(error)] = None
            continue
        if node.op_type == "Constant":
            constants[node.output[0]] = apply()
        else:
            operators.append((node, apply))
    if refused:
        raise Unconvertible(list(refused))
    output = graph.output[0].name
    names = {file.input, "", *stored, *constants}
    last_use = {
        name: index for index, (node, _) in enumerate(operators) for name in node.input if name not in ("", output)
    }
    steps = []
    for index, (node, apply) in enumerate(operators):
        if unknown := [name for name in node.input if name not in names]:
            raise Unconvertible([f"{node.op_type} ({unknown[0]})"])
        names.update(node.output)
        last = tuple(dict.fromkeys(name for name in node.input if last_use.get(name) == index))
        steps.append(_Step(node.op_type, apply, tuple(node.input), tuple(node.output), last))
    if output not in names:
        raise Unconvertible([output])
    return tuple(steps), constants


def _make_function(node: NodeProto, opset: int) -> Apply:
    """Make the function of a node.

    Raises:
        Unsupported: names the operator.
    """
    from onnx import defs

    if node.domain not in _ONNX_DOMAINS:
        raise Unsupported(f"{node.domain}.{node.op_type}")
    operator = OPERATORS.get(node.op_type)
    if operator is None:
        raise Unsupported(node.op_type)
    try:
        version = defs.get_schema(node.op_type, opset, "").since_version
    except defs.SchemaError as error:
        raise Unsupported(f"{node.op_type} of opset {opset}") from error
    if version > operator.newest:
        raise Unsupported(f"{node.op_type} of version {version}")
    outputs = len([name for name in node.output if name])
    try:
        return operator.make(Node({entry.name: _read_attribute(entry) for entry in node.attribute}, outputs, opset))
    except Unsupported as error:
        raise Unsupported(f"{node.op_type} ({error})") from error


def _read_attribute(attribute: AttributeProto) -> Any:
    """Read an attribute as a Python value or a tensor."""
    from onnx import helper

    value = helper.get_attribute_value(attribute)
    if attribute.HasField("t"):
        return _to_torch(attribute.t)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value


def _to_torch(stored: TensorProto) -> Tensor:
    """Convert a stored tensor; floats become single precision."""
    from onnx import numpy_helper

    try:
        value = torch.from_numpy(numpy_helper.to_array(stored).copy())
    except TypeError as error:
        raise Unconvertible([f"values of type {stored.data_type}"]) from error
    return value.float() if value.is_floating_point() else value
