"""Every operator of ONNX that converts to torch computes what onnxruntime does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import NodeProto, helper, numpy_helper

from c2p_core.recognition.onnx_file import read_onnx
from c2p_core.recognition.onnx_network import OnnxNetwork, Unconvertible
from c2p_core.recognition.onnx_operators import OPERATORS
from tests.recognition.onnx_models import OPSET, model, run, save, weights

Shape = tuple[int, ...]


def node(operator: str, *inputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, ["x", *inputs], ["y"], **attributes)


def ints(**values: Sequence[int]) -> dict[str, np.ndarray]:
    return {name: np.array(value, np.int64) for name, value in values.items()}


BN = {"scale": (6,), "bias": (6,), "mean": (6,)}
PICTURE = (2, 6, 9, 8)


def case(
    name: str,
    nodes: NodeProto | Sequence[NodeProto],
    stored: dict[str, np.ndarray] | None = None,
    shape: Shape = PICTURE,
    opset: int = OPSET,
) -> Any:
    return pytest.param([nodes] if isinstance(nodes, NodeProto) else list(nodes), stored or {}, shape, opset, id=name)


def make_positive(**shapes: Shape) -> dict[str, np.ndarray]:
    return {name: np.abs(value) + 0.1 for name, value in weights(1, **shapes).items()}


CASES = [
    *(
        case(name, node(name))
        for name in ("Abs", "Erf", "Exp", "HardSwish", "Identity", "Neg", "Relu", "Sigmoid", "Tanh")
    ),
    *(case(name, node(name)) for name in ("GlobalAveragePool", "GlobalMaxPool", "Softplus", "HardSigmoid", "Elu")),
    case("HardSigmoid with slope", node("HardSigmoid", alpha=0.3, beta=0.4)),
    case("Elu with slope", node("Elu", alpha=0.7)),
    case("LeakyRelu", node("LeakyRelu", alpha=0.2)),
    case("Sqrt", [helper.make_node("Abs", ["x"], ["p"]), helper.make_node("Sqrt", ["p"], ["y"])]),
    case("Reciprocal", [helper.make_node("Exp", ["x"], ["p"]), helper.make_node("Reciprocal", ["p"], ["y"])]),
    case("Gelu", node("Gelu"), opset=20),
    case("Gelu by tanh", node("Gelu", approximate="tanh"), opset=20),
    *(
        case(name, node(name, "other"), make_positive(other=(6, 1, 8)))
        for name in ("Add", "Sub", "Mul", "Div", "Max", "Min")
    ),
    case("Pow", node("Pow", "power"), {"power": np.array(2, np.float32)}),
    case("Conv", node("Conv", "w", "b", pads=[1, 1, 1, 1]), weights(w=(4, 6, 3, 3), b=(4,))),
    case("Conv without bias", node("Conv", "w"), weights(w=(4, 6, 1, 1))),
    case(
        "Conv depthwise, strided, dilated, unevenly padded",
        node("Conv", "w", group=6, strides=[2, 1], dilations=[1, 2], pads=[0, 1, 1, 2]),
        weights(w=(6, 1, 3, 3)),
    ),
    case("Conv SAME_UPPER", node("Conv", "w", auto_pad="SAME_UPPER", strides=[2, 2]), weights(w=(4, 6, 3, 3))),
    case("Conv SAME_LOWER", node("Conv", "w", auto_pad="SAME_LOWER", strides=[2, 2]), weights(w=(4, 6, 2, 3))),
    case("MaxPool", node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])),
    case("MaxPool of one pixel", node("MaxPool", kernel_shape=[1, 1], strides=[2, 2])),
    case("MaxPool uneven", node("MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[0, 0, 1, 1])),
    case("MaxPool by ceiling", node("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)),
    case("AveragePool", node("AveragePool", kernel_shape=[3, 2], strides=[2, 2])),
    case("AveragePool padded", node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 1])),
    case(
        "AveragePool with its padding",
        node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    ),
    case(
        "BatchNormalization",
        node("BatchNormalization", "scale", "bias", "mean", "variance", epsilon=1e-3),
        weights(**BN) | make_positive(variance=(6,)),
    ),
    case(
        "BatchNormalization of vectors, old",
        node("BatchNormalization", "scale", "bias", "mean", "variance"),
        weights(**BN) | make_positive(variance=(6,)),
        (3, 6),
        9,
    ),
    case("PRelu by channel", node("PRelu", "s"), weights(s=(6, 1, 1))),
    case("PRelu of vectors", node("PRelu", "s"), weights(s=(6,)), (3, 6)),
    case("PRelu with one slope", node("PRelu", "s"), weights(s=(1,))),
    case("PRelu by column", node("PRelu", "s"), weights(s=(8,))),
    case("InstanceNormalization", node("InstanceNormalization", "scale", "bias"), weights(scale=(6,), bias=(6,))),
    case("LayerNormalization", node("LayerNormalization", "s", "b", axis=-2), weights(s=(9, 8), b=(9, 8))),
    case("LpNormalization", node("LpNormalization", axis=1, p=2)),
    case(
        "Clip",
        node("Clip", "low", "high"),
        {"low": np.float32([0])[0:1].reshape(()), "high": np.array(0.5, np.float32)},
    ),
    case("Clip from above", node("Clip", "", "high"), {"high": np.array(0.5, np.float32)}),
    case("Clip, old", node("Clip", min=0.0, max=6.0), opset=7),
    case("Gemm", node("Gemm", "m", "c", transB=1, alpha=0.5, beta=2.0), weights(m=(4, 6), c=(4,)), (3, 6)),
    case("Gemm transposed", node("Gemm", "m", transA=1), weights(m=(3, 4)), (3, 6)),
    case("MatMul", node("MatMul", "m"), weights(m=(8, 5))),
    case("Concat", node("Concat", "more", axis=1), weights(more=(2, 3, 9, 8))),
    case("Flatten", node("Flatten")),
    case("Flatten at another axis", node("Flatten", axis=-1)),
    case("Reshape", node("Reshape", "shape"), ints(shape=[0, 3, -1])),
    case("Transpose", node("Transpose", perm=[0, 2, 3, 1])),
    case("Transpose all", node("Transpose")),
    case("Squeeze, old", node("Squeeze", axes=[1, -1]), shape=(2, 1, 5, 1), opset=11),
    case("Squeeze", node("Squeeze", "axes"), ints(axes=[1]), shape=(2, 1, 5, 1)),
    case("Squeeze all", node("Squeeze"), shape=(2, 1, 5, 1)),
    case("Unsqueeze, old", node("Unsqueeze", axes=[0, 3]), opset=11, shape=(2, 3)),
    case("Unsqueeze", node("Unsqueeze", "axes"), ints(axes=[-1, 1]), shape=(2, 3)),
    case(
        "Split",
        [
            helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=1),
            helper.make_node("Concat", ["b", "a"], ["y"], axis=1),
        ],
        ints(sizes=[2, 4]),
    ),
    case(
        "Split, old",
        [
            helper.make_node("Split", ["x"], ["a", "b"], axis=1, split=[1, 5]),
            helper.make_node("Concat", ["b", "a"], ["y"], axis=1),
        ],
        opset=11,
    ),
    case(
        "Split evenly",
        [
            helper.make_node("Split", ["x"], ["a", "b"], axis=2, num_outputs=2),
            helper.make_node("Concat", ["b", "a"], ["y"], axis=2),
        ],
        opset=18,
    ),
    case("Slice", node("Slice", "s", "e", "a", "t"), ints(s=[1, -4], e=[5, 2**62], a=[1, -1], t=[2, 1])),
    case("Slice, old", node("Slice", starts=[1], ends=[-1], axes=[2]), opset=9),
    case("Gather", node("Gather", "at", axis=1), ints(at=[[0, -1], [2, 2]])),
    case("Gather one", node("Gather", "at", axis=-1), {"at": np.array(3, np.int64)}),
    case("Expand", node("Expand", "shape"), ints(shape=[1, 4, 1]), shape=(2, 1, 3)),
    case("Cast", [helper.make_node("Cast", ["x"], ["z"], to=7), helper.make_node("Cast", ["z"], ["y"], to=1)]),
    case(
        "Equal and Where",
        [
            helper.make_node("Cast", ["x"], ["z"], to=7),
            helper.make_node("Equal", ["z", "zero"], ["same"]),
            helper.make_node("Where", ["same", "row", "x"], ["y"]),
        ],
        {"zero": np.array(0, np.int64)} | make_positive(row=(8,)),
    ),
    case(
        "Mod of whole numbers",
        [
            helper.make_node("Mul", ["x", "k"], ["l"]),
            helper.make_node("Cast", ["l"], ["z"], to=7),
            helper.make_node("Mod", ["z", "three"], ["m"]),
            helper.make_node("Cast", ["m"], ["y"], to=1),
        ],
        {"k": np.float32([9]), "three": np.array(3, np.int64)},
    ),
    case("Mod of fractions", node("Mod", "k", fmod=1), {"k": np.float32([0.3])}),
    case("Dropout", node("Dropout")),
    case("Dropout, old", node("Dropout", ratio=0.4), opset=7),
    case(
        "Pad", node("Pad", "pads", "value"), ints(pads=[0, 1, 2, 0, 0, 0, 1, 3]) | {"value": np.array(0.5, np.float32)}
    ),
    case("Pad, old", node("Pad", pads=[0, 0, 1, 1, 0, 0, 2, 0], value=-1.0), opset=10),
    case("Pad by the edge", node("Pad", "pads", mode="edge"), ints(pads=[0, 0, 1, 2, 0, 0, 2, 1])),
    case("Pad by reflection", node("Pad", "pads", mode="reflect"), ints(pads=[0, 0, 1, 2, 0, 0, 2, 1])),
    case("Pad of named axes", node("Pad", "pads", "", "axes"), ints(pads=[1, 2, 3, 0], axes=[3, 1]), opset=18),
    *(
        case(f"{name}, old", node(name, axes=[2, 3], keepdims=0), opset=11)
        for name in ("ReduceMean", "ReduceL2", "ReduceSum")
    ),
    *(case(name, node(name, "axes"), ints(axes=[-1]), opset=18) for name in ("ReduceMean", "ReduceL2", "ReduceMax")),
    case("ReduceSum", node("ReduceSum", "axes", keepdims=0), ints(axes=[1])),
    case("ReduceMean of all", node("ReduceMean"), opset=18),
    case("ReduceMean of nothing", node("ReduceMean", noop_with_empty_axes=1), opset=18),
    case("Softmax", node("Softmax", axis=1)),
    case("Softmax, old", node("Softmax", axis=1), opset=11),
    case(
        "Shape, Gather, Unsqueeze, Concat, Reshape, as torch exports a flattening",
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
            helper.make_node("Unsqueeze", ["n", "axis"], ["first"]),
            helper.make_node("Concat", ["first", "rest"], ["shape"], axis=0),
            helper.make_node("Reshape", ["x", "shape"], ["y"]),
        ],
        {"zero": np.array(0, np.int64)} | ints(axis=[0], rest=[-1]),
    ),
    case(
        "Constant",
        [
            helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.float32([[2.0], [3.0]]))),
            helper.make_node("Constant", [], ["v"], value_float=0.5),
            helper.make_node("Mul", ["x", "k"], ["z"]),
            helper.make_node("Add", ["z", "v"], ["y"]),
        ],
        shape=(2, 3),
    ),
    case(
        "ConstantOfShape",
        [
            helper.make_node("ConstantOfShape", ["extent"], ["ones"], value=numpy_helper.from_array(np.int64([1]))),
            helper.make_node("Expand", ["x", "ones"], ["y"]),
        ],
        ints(extent=[2]),
        shape=(2, 3),
    ),
]


@pytest.mark.parametrize(("nodes", "stored", "shape", "opset"), CASES)
def test_an_operator_computes_the_same_as_onnxruntime(
    nodes: list[NodeProto], stored: dict[str, np.ndarray], shape: Shape, opset: int, tmp_path: Path
) -> None:
    onnx_model = model(nodes, stored, shape, opset=opset)
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    expected = run(onnx_model, x)
    output = OnnxNetwork(read_onnx(save(onnx_model, tmp_path / "m.onnx"))).rehearse(torch.from_numpy(x))
    np.testing.assert_allclose(output.numpy(), expected, atol=1e-5, rtol=1e-4)
    assert output.shape == expected.shape


def test_every_operator_has_a_case() -> None:
    assert {entry.op_type for parameters in CASES for entry in parameters.values[0]} == set(OPERATORS)


def convert(onnx_model: Any, path: Path) -> OnnxNetwork:
    return OnnxNetwork(read_onnx(save(onnx_model, path / "m.onnx")))


def list_refused_operators(onnx_model: Any, path: Path) -> tuple[str, ...]:
    with pytest.raises(Unconvertible) as caught:
        convert(onnx_model, path).rehearse(torch.zeros(PICTURE))
    return caught.value.operators


def test_all_operators_that_do_not_convert_are_named_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Hardmax", ["x"], ["a"]),
        helper.make_node("Hardmax", ["a"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Sin", ["c"], ["y"]),
    ]
    assert list_refused_operators(model(nodes, {}), tmp_path) == ("Hardmax", "Sin")


def test_an_operator_of_another_domain_is_named_with_it(tmp_path: Path) -> None:
    onnx_model = model(
        [helper.make_node("FusedConv", ["x"], ["y"], domain="com.microsoft")], {}, domains=["com.microsoft"]
    )
    assert list_refused_operators(onnx_model, tmp_path) == ("com.microsoft.FusedConv",)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (node("Pad", "pads", mode="wrap"), "Pad (mode = wrap)"),
        (node("Cast", to=13), "Cast (to = 13)"),
        (node("Conv", "w"), "Conv (3 dimensions)"),
    ],
)
def test_an_unsupported_feature_of_an_operator_is_named(made: NodeProto, said: str, tmp_path: Path) -> None:
    stored = ints(pads=[0] * 8) | weights(w=(4, 6, 3))
    network_input = torch.zeros(PICTURE if "Conv" not in said else (2, 6, 9))
    with pytest.raises(Unconvertible) as caught:
        convert(model([made], stored, network_input.shape, opset=19), tmp_path).rehearse(network_input)
    assert caught.value.operators == (said,)


def test_operators_newer_than_their_functions_are_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, "Relu", replace(OPERATORS["Relu"], newest=13))
    assert list_refused_operators(model([node("Relu")], {}), tmp_path) == ("Relu of version 14",)


def test_models_with_the_older_broadcasting_rules_are_not_converted(tmp_path: Path) -> None:
    assert list_refused_operators(model([node("Relu")], {}, opset=6), tmp_path) == ("opset 6",)


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("MPS backend out of memory")]
)
def test_too_little_memory_does_not_mark_a_network_as_unconvertible(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(x: torch.Tensor) -> torch.Tensor:
        raise error

    monkeypatch.setitem(OPERATORS, "Relu", replace(OPERATORS["Relu"], make=lambda node: run_out))
    with pytest.raises(type(error)) as caught:
        convert(model([node("Relu")], {}, PICTURE), tmp_path).rehearse(torch.zeros(PICTURE))
    assert caught.value is error


def test_weights_that_are_also_listed_as_inputs_are_weights(tmp_path: Path) -> None:
    onnx_model = model([node("Conv", "w")], weights(w=(4, 3, 3, 3)), stored_as_inputs=True)
    assert convert(onnx_model, tmp_path).rehearse(torch.zeros(1, 3, 112, 112)).shape == (1, 4, 110, 110)


def test_half_precision_models_are_computed_in_single_precision(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=10),
        helper.make_node("Mul", ["h", "k"], ["z"]),
        helper.make_node("Cast", ["z"], ["y"], to=1),
    ]
    network = convert(model(nodes, {"k": np.float16([3])}), tmp_path)
    assert network.rehearse(torch.full((1, 1), 0.3)).dtype == torch.float32


def test_gradients_are_exact(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("PRelu", ["c", "s"], ["y"])]
    network = convert(model(nodes, weights(w=(4, 3, 3, 3), s=(4, 1, 1))), tmp_path).double()
    x = torch.rand(1, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (x,))


def test_all_tensors_move_to_the_device_of_the_picture(tmp_path: Path) -> None:
    """torch's device of mere shapes stands in for a graphics card: it does not mix with the processor either."""
    nodes = [
        helper.make_node("Shape", ["x"], ["extents"]),
        helper.make_node("Cast", ["extents"], ["fractions"], to=1),
        helper.make_node("ReduceMax", ["fractions"], ["most"], axes=[0]),
        helper.make_node("ConstantOfShape", ["one"], ["zero"]),
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.float32([[2.0] * 8]))),
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Div", ["c", "most"], ["d"]),
        helper.make_node("Add", ["d", "zero"], ["e"]),
        helper.make_node("Mul", ["e", "k"], ["g"]),
        helper.make_node("Equal", ["extents", "extents"], ["same"]),
        helper.make_node("Gather", ["same", "one"], ["yes"]),
        helper.make_node("Where", ["yes", "g", "zero"], ["f"]),
        helper.make_node("Gather", ["extents", "one"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["f", "shape"], ["y"]),
    ]
    onnx_model = model(nodes, weights(w=(4, 6, 1, 1)) | ints(one=[1], rest=[-1]), PICTURE)
    network = convert(onnx_model, tmp_path)
    x = np.random.default_rng(0).standard_normal(PICTURE).astype(np.float32)
    np.testing.assert_allclose(network(torch.from_numpy(x)).numpy(), run(onnx_model, x), atol=1e-5)
    moved = network.to("meta")(torch.empty(PICTURE, device="meta"))
    assert (moved.device.type, moved.shape) == ("meta", run(onnx_model, x).shape)
