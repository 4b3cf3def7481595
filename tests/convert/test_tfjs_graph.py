from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.convert.published import import_script

read_tfjs_graph, UnreadableGraph = (
    import_script("tfjs_file").read_tfjs_graph,
    import_script("tfjs_file").UnreadableGraph,
)
TfjsGraph, load_tfjs_graph = import_script("tfjs_graph").TfjsGraph, import_script("tfjs_graph").load_tfjs_graph

INPUT = {"name": "x", "op": "Placeholder"}


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def make_attributes(**values: Any) -> dict[str, Any]:
    """Attributes in the form in which TensorFlow.js writes them."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, bool):
            result[key] = {"b": value}
        elif isinstance(value, str):
            result[key] = {"s": encode(value)}
        elif value and isinstance(value[0], str):
            result[key] = {"list": {"s": [encode(item) for item in value]}}
        else:
            result[key] = {"list": {"i": [str(item) for item in value]}}
    return result


def write_model(folder: Path, nodes: list[dict[str, Any]], **constants: np.ndarray) -> Path:
    specs = [
        {"name": name, "shape": list(value.shape), "dtype": "int32" if value.dtype.kind == "i" else "float32"}
        for name, value in constants.items()
    ]
    data = b"".join(v.astype("<i4" if v.dtype.kind == "i" else "<f4").tobytes() for v in constants.values())
    const_nodes = [{"name": name, "op": "Const"} for name in constants]
    model = {
        "format": "graph-model",
        "modelTopology": {"node": [INPUT, *const_nodes, *nodes]},
        "weightsManifest": [{"paths": ["weights.bin"], "weights": specs}],
    }
    (folder / "weights.bin").write_bytes(data)
    (folder / "model.json").write_text(json.dumps(model))
    return folder / "model.json"


def compile_model(folder: Path, nodes: list[dict[str, Any]], **constants: np.ndarray) -> TfjsGraph:
    return load_tfjs_graph(write_model(folder, nodes, **constants), nodes[-1]["name"])


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def picture(size: int = 9, channels: int = 4) -> torch.Tensor:
    return torch.from_numpy(draw(2, size, size, channels))


def make_conv(
    name: str, source: str, weight: str, stride: int = 1, padding: str = "SAME", **more: Any
) -> dict[str, Any]:
    attr = make_attributes(strides=[1, stride, stride, 1], padding=padding, data_format="NHWC", **more.pop("attr", {}))
    return {"name": name, "op": "Conv2D", "input": [source, weight], "attr": attr} | more


def to_nchw(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 3, 1, 2)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("size", [8, 9])
def test_a_convolution_with_stride_2_pads_more_at_the_far_end(tmp_path: Path, size: int, depthwise: bool) -> None:
    weight = draw(3, 3, 4, 1 if depthwise else 5)
    node = make_conv("y", "x", "w", stride=2) | ({"op": "DepthwiseConv2dNative"} if depthwise else {})
    result = compile_model(tmp_path, [node], w=weight)(picture(size))
    padded = F.pad(to_nchw(picture(size)), (0, 1, 0, 1) if size == 8 else (1, 1, 1, 1))
    kernel = torch.from_numpy(weight).permute((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
    expected = F.conv2d(padded, kernel, stride=2, groups=4 if depthwise else 1)
    torch.testing.assert_close(to_nchw(result), expected, atol=1e-5, rtol=1e-5)


def test_a_depthwise_convolution_keeps_the_order_of_its_channels(tmp_path: Path) -> None:
    weight = draw(3, 3, 4, 2)
    node = make_conv("y", "x", "w") | {"op": "DepthwiseConv2dNative"}
    result = compile_model(tmp_path, [node], w=weight)(picture())
    for channel in range(4):
        for multiple in range(2):
            kernel = torch.from_numpy(weight[:, :, channel, multiple])[None, None]
            expected = F.conv2d(to_nchw(picture())[:, channel : channel + 1], kernel, padding=1)[:, 0]
            torch.testing.assert_close(result[..., 2 * channel + multiple], expected, atol=1e-5, rtol=1e-5)


def test_operations_after_a_convolution_are_folded_into_it(tmp_path: Path) -> None:
    nodes = [
        make_conv("c", "x", "w"),
        {"name": "m", "op": "Mul", "input": ["c", "factor"]},
        {"name": "a", "op": "AddV2", "input": ["m", "offset"]},
        {"name": "r", "op": "Relu", "input": ["a"]},
        {"name": "low", "op": "Minimum", "input": ["r", "six"]},
        {"name": "y", "op": "Maximum", "input": ["low", "zero"]},
    ]
    weight, factor, offset = draw(3, 3, 4, 5), 3 * draw(5), draw(5)
    constants = {"w": weight, "factor": factor, "offset": offset, "six": np.float32(6), "zero": np.float32(0)}
    graph = compile_model(tmp_path, nodes, **constants)
    plain = F.conv2d(to_nchw(picture()), torch.from_numpy(weight).permute(3, 2, 0, 1), padding=1)
    expected = (plain * torch.from_numpy(factor)[:, None, None] + torch.from_numpy(offset)[:, None, None]).clamp(0, 6)
    torch.testing.assert_close(to_nchw(graph(picture())), expected, atol=1e-4, rtol=1e-4)
    assert len(graph.steps) == 1


def test_a_value_with_two_readers_is_not_changed_for_one_of_them(tmp_path: Path) -> None:
    nodes = [
        make_conv("c", "x", "w"),
        {"name": "m", "op": "Mul", "input": ["c", "two"]},
        {"name": "r", "op": "Relu", "input": ["c"]},
        {"name": "y", "op": "Sub", "input": ["m", "r"]},
    ]
    weight = draw(1, 1, 4, 4)
    result = compile_model(tmp_path, nodes, w=weight, two=np.float32(2))(picture())
    plain = picture() @ torch.from_numpy(weight[0, 0])
    torch.testing.assert_close(result, 2 * plain - plain.relu(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_pieces_of_a_prelu_become_one(tmp_path: Path, swapped: bool) -> None:
    nodes = [
        make_conv("c", "x", "w", padding="VALID"),
        {"name": "positive", "op": "Maximum", "input": ["zero", "c"]},
        {"name": "negative", "op": "Minimum", "input": ["zero", "c"]},
        {"name": "scaled", "op": "Mul", "input": ["slopes", "negative"]},
        {"name": "y", "op": "AddV2", "input": ["scaled", "positive"] if swapped else ["positive", "scaled"]},
    ]
    weight, slopes = draw(3, 3, 4, 5), draw(5)
    graph = compile_model(tmp_path, nodes, w=weight, slopes=slopes, zero=np.float32(0))
    plain = F.conv2d(to_nchw(picture()), torch.from_numpy(weight).permute(3, 2, 0, 1))
    expected = F.prelu(plain, torch.from_numpy(slopes))
    torch.testing.assert_close(to_nchw(graph(picture())), expected, atol=1e-5, rtol=1e-5)
    assert len(graph.steps) == 1


def test_padding_before_a_convolution_is_folded_into_it(tmp_path: Path) -> None:
    nodes = [
        {"name": "p", "op": "Pad", "input": ["x", "pads"]},
        make_conv("y", "p", "w", stride=2, padding="VALID"),
    ]
    weight, pads = draw(3, 3, 4, 5), np.array([[0, 0], [2, 1], [1, 1], [0, 0]])
    graph = compile_model(tmp_path, nodes, w=weight, pads=pads)
    expected = F.conv2d(F.pad(to_nchw(picture()), (1, 1, 2, 1)), torch.from_numpy(weight).permute(3, 2, 0, 1), stride=2)
    torch.testing.assert_close(to_nchw(graph(picture())), expected, atol=1e-5, rtol=1e-5)
    assert len(graph.steps) == 1


@pytest.mark.parametrize("activation", ["Relu", "Relu6", "Prelu"])
@pytest.mark.parametrize("op", ["_FusedConv2D", "FusedDepthwiseConv2dNative"])
def test_fused_convolutions(tmp_path: Path, op: str, activation: str) -> None:
    fused = {"fused_ops": ["BiasAdd", activation]}
    node = make_conv("y", "x", "w", attr=fused) | {"op": op, "input": ["x", "w", "b", "slopes"]}
    depthwise = op.startswith("FusedDepthwise")
    weight, bias, slopes = draw(3, 3, 4, 1 if depthwise else 4), 4 * draw(4), draw(4)
    result = compile_model(tmp_path, [node], w=weight, b=bias, slopes=slopes)(picture())
    kernel = torch.from_numpy(weight).permute((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
    plain = F.conv2d(to_nchw(picture()), kernel, torch.from_numpy(bias), padding=1, groups=4 if depthwise else 1)
    functions = {"Relu": F.relu, "Relu6": F.relu6, "Prelu": lambda x: F.prelu(x, torch.from_numpy(slopes))}
    torch.testing.assert_close(to_nchw(result), functions[activation](plain), atol=1e-5, rtol=1e-5)


def test_flatten_follows_tensorflows_order_and_a_product_its_normalisation(tmp_path: Path) -> None:
    nodes = [
        {"name": "f", "op": "Reshape", "input": ["x", "shape"]},
        {"name": "d", "op": "_FusedMatMul", "input": ["f", "w", "b"], "attr": make_attributes(fused_ops=["BiasAdd"])},
        {"name": "m", "op": "Mul", "input": ["d", "factor"]},
        {"name": "y", "op": "Sub", "input": ["m", "offset"]},
    ]
    weight, bias, factor, offset = draw(36, 3), draw(3), draw(3), draw(3)
    shape = np.array([-1, 36])
    graph = compile_model(tmp_path, nodes, w=weight, b=bias, factor=factor, offset=offset, shape=shape)
    expected = (picture(3).numpy().reshape(-1, 36) @ weight + bias) * factor - offset
    np.testing.assert_allclose(graph(picture(3)).numpy(), expected, atol=1e-5)
    assert len(graph.steps) == 2


def test_mean_over_the_picture(tmp_path: Path) -> None:
    node = {"name": "y", "op": "Mean", "input": ["x", "axes"], "attr": make_attributes(keep_dims=False)}
    result = compile_model(tmp_path, [node], axes=np.array([1, 2]))(picture())
    torch.testing.assert_close(result, picture().mean((1, 2)))


def test_gradients_of_every_kind_of_step(tmp_path: Path) -> None:
    nodes = [
        {"name": "s", "op": "Sub", "input": ["half", "x"]},
        make_conv("c", "s", "w", stride=2),
        {"name": "r", "op": "Relu6", "input": ["c"]},
        make_conv("d", "r", "dw") | {"op": "DepthwiseConv2dNative"},
        {"name": "q", "op": "Prelu", "input": ["d", "slopes"]},
        make_conv("e", "q", "pw"),
        {"name": "t", "op": "AddV2", "input": ["e", "q"]},
        {"name": "k", "op": "Mean", "input": ["t", "axes"]},
        {"name": "y", "op": "MatMul", "input": ["k", "m"]},
    ]
    graph = compile_model(
        tmp_path,
        nodes,
        half=np.float32(0.5),
        w=draw(3, 3, 4, 5),
        dw=draw(3, 3, 5, 1),
        slopes=draw(5),
        pw=draw(1, 1, 5, 5),
        axes=np.array([1, 2]),
        m=draw(5, 3),
    ).double()
    x = picture(6).double().requires_grad_()
    assert torch.autograd.gradcheck(graph, (x,), atol=1e-6)


@pytest.mark.parametrize("kind", ["float16", "uint8", "uint16"])
def test_quantised_weights_are_restored(tmp_path: Path, kind: str) -> None:
    path = write_model(tmp_path, [], w=draw(50))
    model = json.loads(path.read_text())
    stored = np.arange(50).astype(kind)
    quantisation = {"dtype": kind} if kind == "float16" else {"dtype": kind, "scale": 0.25, "min": -3.0}
    model["weightsManifest"][0]["weights"][0]["quantization"] = quantisation
    path.write_text(json.dumps(model))
    (tmp_path / "weights.bin").write_bytes(stored.tobytes())
    expected = np.arange(50) if kind == "float16" else np.arange(50) * 0.25 - 3
    np.testing.assert_allclose(read_tfjs_graph(path).constants["w"], expected)


def test_an_unknown_operation_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UnreadableGraph, match="Erfinv"):
        compile_model(tmp_path, [{"name": "y", "op": "Erfinv", "input": ["x"]}])


def test_cycles_are_refused(tmp_path: Path) -> None:
    nodes = [{"name": "a", "op": "Relu", "input": ["b"]}, {"name": "b", "op": "Relu", "input": ["a"]}]
    with pytest.raises(UnreadableGraph, match="circle"):
        compile_model(tmp_path, nodes)


@pytest.mark.parametrize("change", [-1, 1])
def test_weights_of_the_wrong_length_are_refused(tmp_path: Path, change: int) -> None:
    path = write_model(tmp_path, [make_conv("y", "x", "w")], w=draw(3, 3, 4, 4))
    weights = tmp_path / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:change] if change < 0 else weights.read_bytes() + b"x")
    with pytest.raises(UnreadableGraph, match=r"model\.json"):
        load_tfjs_graph(path, "y")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "graph-model"}', '{"format": "layers-model"}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(UnreadableGraph):
        load_tfjs_graph(tmp_path / "model.json", "y")


def test_weights_outside_the_folder_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path, [], w=draw(3))
    path.write_text(path.read_text().replace("weights.bin", "../weights.bin"))
    with pytest.raises(UnreadableGraph, match="elsewhere"):
        read_tfjs_graph(path)
