"""Small models in ONNX that tests make, and what onnxruntime computes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

FLOAT = onnx.TensorProto.FLOAT
OPSET = 17


def weights(seed: int = 0, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Random weights by name."""
    generator = np.random.default_rng(seed)
    return {name: (generator.standard_normal(shape) * 0.3).astype(np.float32) for name, shape in shapes.items()}


def model(
    nodes: Sequence[NodeProto],
    stored: dict[str, np.ndarray],
    shape: Sequence[int | str | None] = ("n", 3, 112, 112),
    *,
    opset: int = OPSET,
    stored_as_inputs: bool = False,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model from ``x`` to ``y``."""
    inputs = [helper.make_tensor_value_info("x", FLOAT, list(shape))]
    if stored_as_inputs:
        inputs += [helper.make_tensor_value_info(name, FLOAT, value.shape) for name, value in stored.items()]
    graph = helper.make_graph(
        list(nodes),
        "test",
        inputs,
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    versions = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=versions, ir_version=8)


def recogniser(
    size: int = 112, shape: Sequence[int | str | None] | None = None, more: Sequence[NodeProto] = ()
) -> onnx.ModelProto:
    """A tiny recogniser with 16 values; ``more`` comes before its last layer, from ``f`` to ``h``."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], strides=[4, 4], pads=[1, 1, 1, 1]),
        helper.make_node("PRelu", ["c", "s"], ["p"]),
        helper.make_node("AveragePool", ["p"], ["a"], kernel_shape=[7, 7], strides=[7, 7]),
        helper.make_node("Flatten", ["a"], ["f"]),
        *(more or [helper.make_node("Identity", ["f"], ["h"])]),
        helper.make_node("Gemm", ["h", "m", "v"], ["y"], transB=1),
    ]
    side = ((size - 1) // 4 + 1) // 7
    stored = weights(w=(8, 3, 3, 3), b=(8,), s=(8, 1, 1), m=(16, 8 * side * side), v=(16,))
    return model(nodes, stored, shape or ("n", 3, size, size))


def save(made: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(made.SerializeToString())
    return path


def run(made: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """What onnxruntime makes of an input."""
    import onnxruntime

    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Any = session.run(None, {session.get_inputs()[0].name: x})[0]
    return np.asarray(found)
