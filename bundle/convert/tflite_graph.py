"""Reads a TensorFlow Lite graph's operations and their constants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from conversion import Linear
from numpy.typing import NDArray


@dataclass(frozen=True)
class Operation:
    """One operation of a graph.

    Attributes:
        kind: TensorFlow Lite's name for it, such as CONV_2D.
        constants: its inputs; None for those that are computed.
    """

    kind: str
    constants: tuple[NDArray[Any] | None, ...]


def read_operations(content: bytes) -> Iterator[Operation]:
    """Read a graph's operations with their constants, in the order of execution."""
    # A delegate would replace operations of the file by its own.
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    operations = interpreter._get_ops_details()
    computed = {int(index) for op in operations for index in op["outputs"]}
    computed |= {int(detail["index"]) for detail in interpreter.get_input_details()}
    for op in operations:
        inputs = [int(index) for index in op["inputs"] if index >= 0]
        constants = (None if index in computed else np.array(interpreter.get_tensor(index)) for index in inputs)
        yield Operation(op["op_name"], tuple(constants))


def read_linear(operation: Operation) -> Linear:
    """Read a CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED, in double precision."""
    _, weight, bias = operation.constants
    assert weight is not None and bias is not None
    kernel = torch.from_numpy(weight.astype(np.float64))
    if operation.kind == "CONV_2D":  # (outputs, rows, columns, inputs)
        kernel = kernel.permute(0, 3, 1, 2)
    elif operation.kind == "DEPTHWISE_CONV_2D":  # (1, rows, columns, channels)
        kernel = kernel.permute(3, 0, 1, 2)
    else:
        kernel = kernel[:, :, None, None]
    return Linear(kernel, torch.from_numpy(bias.astype(np.float64)))


def merge(first: Linear, second: Linear) -> Linear:
    """Merge two consecutive pointwise layers without an activation between them; the second's PReLU is kept."""
    assert first.slopes is None
    second_matrix, first_matrix = second.weight[:, :, 0, 0], first.weight[:, :, 0, 0]
    return Linear(
        (second_matrix @ first_matrix)[:, :, None, None], second_matrix @ first.bias + second.bias, second.slopes
    )
